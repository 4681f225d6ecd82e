/*
 * Character drivers: the contract between char.c and the files that know a kind of back end.
 *
 * A driver is one file: an instance that begins with struct char_backend, an option table, four
 * operations, and CHAR_DRIVER() as the last line. Between it and the user stands char.c, with a
 * buffer for input: a driver reads while there is room (char_room), whatever the user takes.
 *
 *	driver: descriptor readable -> char_push() -> buffer -> input()       the user
 *	        write()             <---------------------------- char_write()
 *	        watch(in, out)      <- char.c: room in the buffer? output waiting?
 */
#ifndef VIREO_CHAR_DRIVER_H
#define VIREO_CHAR_DRIVER_H

#include <sys/types.h>

#include "char/char.h"

/* Bytes of input that are held for a user who doesn't take them. As much as a terminal holds itself
 * (N_TTY_BUF_SIZE), so that a mux sees Ctrl-a behind what a stuck guest has left. */
#define CHAR_BUFFER 4096

struct char_mux;

struct char_driver {
	const char *name; /* "pty": -chardev pty */
	const char *help;
	const struct opt_desc *opts; /* places in the instance */
	size_t size;		     /* of the instance; begins with struct char_backend */

	/* The options are in their fields. Sets description, and connected where that is so from
	 * the start. 0 or a negative errno with err set. */
	int (*open)(struct char_backend *chr, struct err *err);
	/* Also after open() has failed; the instance was zero before it. */
	void (*close)(struct char_backend *chr);
	/* The bytes taken; 0 = full, call char_writable() when it isn't any more; a negative errno
	 * = they are lost. Only while connected. */
	ssize_t (*write)(struct char_backend *chr, const void *buf, size_t n);
	/* From now on wait for input (there is room), for room for output. Comes more often than it
	 * changes. */
	void (*watch)(struct char_backend *chr, bool in, bool out);
	/* char_take_socket(); NULL = it is none. */
	void (*take)(struct char_backend *chr, struct char_socket *out);
};

struct char_backend {
	const struct char_driver *driver;
	struct loop *loop;
	char *id;
	char *description;
	bool connected; /* somebody takes the output; char_set_connected() once it is open */

	/* The rest is char.c's. */
	const struct char_events *events;
	void *opaque;
	bool open;	   /* open() has returned 0 */
	bool stalled;	   /* input() took less than there was */
	bool delivering;   /* inside input() */
	bool write_waits;  /* a write was short */
	size_t held_start; /* bytes [held_start, held_start + held_len) of held wait for the user */
	size_t held_len;
	uint8_t held[CHAR_BUFFER];
	struct char_counters counters;
	struct char_mux *mux; /* that this one belongs to */
};

/* All on the loop's thread. */
size_t char_room(const struct char_backend *chr); /* bytes that char_push() takes now */
void char_push(struct char_backend *chr, const void *buf, size_t n);
void char_writable(struct char_backend *chr);			   /* there is room for output */
void char_set_connected(struct char_backend *chr, bool connected); /* a peer came or went */
void char_rewatch(struct char_backend *chr); /* calls watch() again: the descriptor is another */

/* mux.c: frees the mux and its two ends, after the back end beneath them was closed. */
struct char_backend *char_mux_terminal(const struct char_mux *mux);
void char_mux_free(struct char_mux *mux);
/* A back end of char.c's making, with no options and no registry. NULL: out of memory. */
struct char_backend *char_alloc(const struct char_driver *driver, struct loop *loop,
				const char *id);
void char_free(struct char_backend *chr);

/* Last line of a driver's file. */
#define CHAR_DRIVER(d)                                   \
	static const struct char_driver *const d##_entry \
		__attribute__((used, section("char_drivers"))) = &(d)

#endif
