/*
 * Errors that a person reads.
 *
 * A function that can fail while a VM is being set up takes a `struct err *` as its last
 * argument, fills it and returns a negative errno. The message says what was asked, what is
 * wrong and what to do next; callers put their own context in front on the way up:
 *
 *	vireo: -netdev tap,id=n0,vhost=on: /dev/vhost-net: No such file or directory (modprobe ...)
 *
 * At run time nothing uses this: a data path counts, drops or latches (base/counter.h, base/log.h).
 */
#ifndef VIREO_BASE_ERR_H
#define VIREO_BASE_ERR_H

#include <stdarg.h>

struct err {
	int code;      /* negative errno, 0 = no error */
	char msg[512]; /* one line, no newline */
};

/* Sets code (a negative errno) and the message; returns code. err may be NULL: only code counts
 * then. */
int err_set(struct err *err, int code, const char *fmt, ...) __attribute__((format(printf, 3, 4)));

/* Like err_set with errno: -errno is the code, and ": <strerror>" is appended to the message. */
int err_errno(struct err *err, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

/* Control characters in the pieces become '?'; what doesn't fit is cut. */

/* Puts text in front of the message, as "text: message"; returns the code that is set. */
int err_prefix(struct err *err, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

/* Appends text to the message, as "message text" (advice in parentheses); returns the code. */
int err_hint(struct err *err, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

#endif
