/*
 * Character back ends: where the bytes of a serial port, a monitor or a console go.
 *
 * stdio, pty, file, unix socket (server or client) and null, one file each (char/driver.h is their
 * contract); made from -serial, -monitor and -chardev. One front end at a time. Everything runs on
 * one loop (the control thread's), and no call blocks: what can't be written at once is refused,
 * and `writable` says when to try again. With nobody connected bytes are dropped, as on a line with
 * no terminal. The process ignores SIGPIPE.
 */
#ifndef VIREO_CHAR_CHAR_H
#define VIREO_CHAR_CHAR_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include "base/counter.h"
#include "base/err.h"
#include "base/loop.h"
#include "base/opt.h"

struct char_backend;

/* What the user of a back end gets told, on the loop's thread. None of them may destroy the back
 * end. */
struct char_events {
	/* Bytes came in; returns how many were taken. After fewer than n nothing more comes until
	 * char_accept(). */
	size_t (*input)(void *opaque, const uint8_t *buf, size_t n);
	void (*writable)(void *opaque);		   /* after a short char_write(); may be NULL */
	void (*opened)(void *opaque, bool opened); /* a peer came or went; may be NULL */
};

struct char_counters {
	struct counter in, out, dropped; /* bytes */
};
extern const struct counter_desc char_counter_table[];

/* Makes a back end from what was written after -chardev (list with backend=..., id=...), or NULL
 * with err set. */
struct char_backend *char_create(struct loop *loop, struct opt_list *list, struct err *err);
/* The short forms of -serial, -parallel and -monitor as an option list for char_create(): "stdio",
 * "pty", "null", "none" (as null), "file:PATH", "unix:PATH,server=on,wait=off", and "mon:" before
 * any of them, which sets mux. "chardev:ID" is the caller's. 0, -EINVAL or -ENOMEM. */
int char_parse_short(const char *option, const char *text, struct opt_list *list, bool *mux,
		     struct err *err);
/* Closes, gives the terminal back, removes the socket it made. NULL is fine. */
void char_destroy(struct char_backend *chr);
void char_help(FILE *out); /* -chardev help */

/* One user at a time; NULL events to leave. If somebody is connected, opened(true) comes at once;
 * so does input that the user before has not taken. Nothing is read while there is no user. */
void char_attach(struct char_backend *chr, const struct char_events *events, void *opaque);
/* Writes what can be written now; returns the bytes taken (0..n). Loop's thread. Nobody connected:
 * all are taken and counted as dropped. */
size_t char_write(struct char_backend *chr, const void *buf, size_t n);
void char_accept(struct char_backend *chr); /* input again, after a short input() */

/* A socket whose peers speak a protocol of their own, in descriptors that are passed, say. */
struct char_socket {
	const char *path; /* lives as long as the back end */
	bool server, wait;
	unsigned int reconnect_s;
	int listen_fd; /* server; stays the back end's. -1 = none */
	int fd;	       /* the peer that is there already; the taker's from now on. -1 = none */
};
/* Takes a socket away from its back end, which only keeps the path from now on (and removes it in the
 * end): accepting and connecting are the taker's. 0, or -EINVAL with err set: it is no socket. */
int char_take_socket(struct char_backend *chr, struct char_socket *out, struct err *err);

const char *char_id(const struct char_backend *chr);
/* "stdio", "pty:/dev/pts/3", "file:/x", "unix:/run/x.sock,server=on", "null" */
const char *char_describe(const struct char_backend *chr);
const struct char_counters *char_counters(const struct char_backend *chr);

/* Two users on one terminal (-nographic, mon:stdio): Ctrl-a x quits, Ctrl-a c switches, Ctrl-a h
 * helps, Ctrl-a Ctrl-a (or a) sends Ctrl-a. Takes over the back end, which has no user of its own
 * from now on; the two returned ones are used in its place. One char_destroy(), of any of the
 * three, ends them all.
 *
 * first has the keyboard to begin with; it is told of the terminal's peers, and writes at any time.
 * second is told opened(true) when it gets the keyboard and opened(false) when it loses it, and
 * what it writes without it is dropped. quit runs on the loop's thread, and may be NULL. 0, -EBUSY
 * or -ENOMEM. */
int char_mux(struct char_backend *chr, void (*quit)(void *opaque), void *opaque,
	     struct char_backend **first, struct char_backend **second, struct err *err);

#endif
