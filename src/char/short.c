/*
 * The short forms of -serial, -parallel and -monitor: one word for what -chardev says in options.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "char/char.h"

/* Forms that other monitors know: named, to say that it isn't a typing error. */
static const char *const unsupported[] = {"tcp:",  "telnet:", "websocket:", "udp:",    "vc",
					  "pipe:", "COM",     "con:",	    "braille", "msmouse"};

static int unknown(const char *option, const char *text, struct err *err)
{
	const char *why = "is not a character device";

	for (size_t i = 0; i < sizeof(unsupported) / sizeof(unsupported[0]); i++) {
		if (!strncmp(text, unsupported[i], strlen(unsupported[i])))
			why = "is not supported";
	}
	if (text[0] == '/')
		why = "is a host device, which is not supported";
	return err_set(
		err, -EINVAL,
		"%s %s: '%s' %s (stdio, pty, null, file:PATH, unix:PATH[,server=on][,wait=off]"
		" or chardev:ID; mon:stdio shares it with the monitor)",
		option, text, text, why);
}

int char_parse_short(const char *option, const char *text, struct opt_list *list, bool *mux,
		     struct err *err)
{
	const char *whole = text, *backend = NULL, *path = NULL, *options = "";
	char *said = NULL;
	int ret;

	*mux = !strncmp(text, "mon:", 4);
	if (*mux)
		text += 4;
	if (!strcmp(text, "stdio") || !strcmp(text, "pty") || !strcmp(text, "null")) {
		backend = text;
	} else if (!strcmp(text, "none")) {
		backend = "null";
	} else if (!strncmp(text, "file:", 5)) {
		backend = "file";
		path = text + 5; /* to the end, commas and all */
	} else if (!strncmp(text, "unix:", 5)) {
		backend = "socket";
		options = text + 5;
	} else {
		return unknown(option, whole, err);
	}

	ret = opt_parse(list, option, options, "path", err);
	if (ret)
		return ret;
	if (asprintf(&said, "%s %s", option, whole) < 0)
		ret = -ENOMEM;
	if (!ret) {
		free(list->text);
		list->text = said;
		ret = opt_add(list, "backend", backend);
	}
	if (!ret && path)
		ret = opt_add(list, "path", path);
	/* Under a mux Ctrl-C is the guest's; Ctrl-a x quits. */
	if (!ret && *mux && !strcmp(backend, "stdio"))
		ret = opt_add(list, "signal", "off");
	if (ret) {
		opt_free(list);
		err_set(err, ret, "%s: out of memory", option);
	}
	return ret;
}
