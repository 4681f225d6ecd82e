/*
 * -chardev, -serial, -monitor, and what -nographic makes of them.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "char/char.h"
#include "ctl/cmdline.h"
#include "machine/names.h"

/* Adds a chardev item; the list must have backend= and id= in it. */
static int add_chardev(struct cmdline *cl, const char *option, struct opt_list *list,
		       struct err *err)
{
	const char *backend = opt_get(list, "backend"), *id = opt_get(list, "id");

	if (!backend || !id)
		return err_set(err, -EINVAL, "%s: needs a back end and id= (socket,id=c0,path=...)",
			       list->text);
	if (!strcmp(backend, "stdio")) {
		if (cl->stdio_user)
			return err_set(
				err, -EINVAL,
				"%s: stdio is taken by %s already (-serial mon:stdio shares it "
				"between console and monitor)",
				option, cl->stdio_user);
		cl->stdio_user = option;
	}
	return vm_config_add(&cl->vm, CONFIG_CHARDEV, backend, id, list);
}

int cmdline_chardev(struct cmdline *cl, const char *text, struct err *err)
{
	struct opt_list list = {0};
	int rc;

	if (cmdline_asks_help(cl, text, names_list_chardevs))
		return 0;
	rc = cmdline_options(&list, "-chardev", text, "backend", err);
	if (rc == 0)
		rc = add_chardev(cl, "-chardev", &list, err);
	opt_free(&list);
	return rc;
}

/* "chardev:ID" or a short form; the id of the chardev goes to *id. */
static int short_chardev(struct cmdline *cl, const char *option, const char *text, char **id,
			 bool *mux, struct err *err)
{
	struct opt_list list = {0};
	char made_up[32];
	int rc;

	*mux = false;
	if (!strncmp(text, "chardev:", 8)) {
		*id = strdup(text + 8);
		return *id ? 0 : -ENOMEM;
	}
	rc = char_parse_short(option, text, &list, mux, err);
	if (rc < 0)
		return rc;
	cmdline_make_id(cl, option + 1, made_up, sizeof(made_up));
	rc = opt_add(&list, "id", made_up);
	if (rc == 0)
		rc = add_chardev(cl, option, &list, err);
	opt_free(&list);
	*id = strdup(made_up);
	return rc < 0 || *id ? rc : -ENOMEM;
}

int cmdline_serial(struct cmdline *cl, const char *text, struct err *err)
{
	bool mux;
	int rc;

	cl->has_serial = true;
	if (!strcmp(text, "none"))
		return 0;
	if (cl->n_serial == 4)
		return cmdline_refuse(err, "-serial", text, "a PC has four serial ports");
	rc = short_chardev(cl, "-serial", text, &cl->vm.serial[cl->n_serial].chardev, &mux, err);
	if (rc < 0)
		return rc;
	if (mux && cl->n_serial)
		return cmdline_refuse(err, "-serial", text, "mon: goes with the first serial port");
	if (mux) {
		cl->has_monitor = true;
		rc = cmdline_replace(&cl->vm.mux_chardev, cl->vm.serial[0].chardev);
	}
	cl->n_serial++;
	return rc;
}

int cmdline_monitor(struct cmdline *cl, const char *text, struct err *err)
{
	char *id = NULL;
	bool mux;
	int rc;

	cl->has_monitor = true;
	if (!strcmp(text, "none"))
		return 0;
	if (cl->n_monitors == CMDLINE_MONITORS_MAX - 1)
		return cmdline_refuse(err, "-monitor", text, "at most 4 monitors");
	rc = short_chardev(cl, "-monitor", text, &id, &mux, err);
	if (rc == 0 && mux)
		rc = cmdline_refuse(err, "-monitor", text,
				    "mon: goes with -serial (-serial mon:stdio)");
	if (rc < 0)
		free(id);
	else
		cl->monitors[cl->n_monitors++] = id;
	return rc;
}

/* What a VM has without having asked for it, and what -nographic means. */
int cmdline_char_defaults(struct cmdline *cl, struct err *err)
{
	int rc = 0;

	if (!cl->nographic && !cl->display_none && !cl->nodefaults)
		return err_set(err, -EINVAL,
			       "this version has no display: add -nographic (console on this "
			       "terminal) or -display none");
	if (cl->nodefaults)
		return 0;
	if (cl->nographic && !cl->has_serial && !cl->has_monitor && !cl->stdio_user)
		return cmdline_serial(cl, "mon:stdio", err);
	if (!cl->has_serial)
		rc = cmdline_serial(cl, cl->nographic && !cl->stdio_user ? "stdio" : "null", err);
	if (rc == 0 && !cl->has_monitor && cl->nographic && !cl->stdio_user)
		rc = cmdline_monitor(cl, "stdio", err);
	return rc;
}
