/*
 * Errors that a person reads: a code and one line of text, grown at both ends on the way up.
 *
 * Any thread; the caller owns the struct (mostly on its stack). Text that doesn't fit is cut.
 * The pieces come from command lines, JSON and file names, so control characters are replaced:
 * a message stays one line whatever it quotes.
 */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "base/err.h"

static void format(char *buf, size_t size, const char *fmt, va_list ap)
	__attribute__((format(printf, 3, 0)));

static void format(char *buf, size_t size, const char *fmt, va_list ap)
{
	if (vsnprintf(buf, size, fmt, ap) < 0)
		buf[0] = '\0';
	for (; *buf; buf++) {
		unsigned char c = *buf;

		if (c < 0x20 || c == 0x7f)
			*buf = '?';
	}
}

/* Puts the concatenation of three strings into err->msg, which may be one of them. */
static void join(struct err *err, const char *a, const char *b, const char *c)
{
	char msg[sizeof(err->msg)];
	size_t n = 0;
	const char *part[] = {a, b, c};

	for (size_t i = 0; i < 3; i++) {
		size_t len = strnlen(part[i], sizeof(msg) - 1 - n);

		memcpy(msg + n, part[i], len);
		n += len;
	}
	msg[n] = '\0';
	memcpy(err->msg, msg, n + 1);
}

int err_set(struct err *err, int code, const char *fmt, ...)
{
	char text[sizeof(err->msg)];
	va_list ap;

	if (!err)
		return code;
	va_start(ap, fmt);
	format(text, sizeof(text), fmt, ap);
	va_end(ap);
	err->code = code;
	join(err, text, "", "");
	return code;
}

int err_errno(struct err *err, const char *fmt, ...)
{
	int code = -errno;
	char text[sizeof(err->msg)];
	char why[128];
	va_list ap;

	if (!err)
		return code;
	va_start(ap, fmt);
	format(text, sizeof(text), fmt, ap);
	va_end(ap);
	err->code = code;
	join(err, text, ": ", strerror_r(-code, why, sizeof(why)));
	errno = -code;
	return code;
}

int err_prefix(struct err *err, const char *fmt, ...)
{
	char text[sizeof(err->msg)];
	va_list ap;

	if (!err)
		return -EINVAL;
	va_start(ap, fmt);
	format(text, sizeof(text), fmt, ap);
	va_end(ap);
	join(err, text, ": ", err->msg);
	return err->code;
}

int err_hint(struct err *err, const char *fmt, ...)
{
	char text[sizeof(err->msg)];
	va_list ap;

	if (!err)
		return -EINVAL;
	va_start(ap, fmt);
	format(text, sizeof(text), fmt, ap);
	va_end(ap);
	join(err, err->msg, " ", text);
	return err->code;
}
