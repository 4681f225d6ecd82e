/*
 * Two users on one terminal: the console and the monitor, switched by keys.
 *
 * The mux is the user of the terminal's back end, and gives its own two users a back end each,
 * whose driver is here. Input goes to the one that has the keyboard. The console's output goes out
 * as it comes, the monitor's only while it has the keyboard. Keys after Ctrl-a are commands and
 * looked for before anything is held back: as long as fewer than CHAR_BUFFER bytes wait for a user
 * that takes nothing, Ctrl-a x works.
 *
 *	terminal --input--> mux --+--> end[0], the console
 *	         <--write--       +--> end[1], the monitor
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "char/driver.h"

#define CTRL_A 0x01

struct char_mux {
	struct char_backend *terminal;
	struct char_backend *end[2];
	unsigned int focus;
	bool escape; /* the last byte was Ctrl-a */
	void (*quit)(void *opaque);
	void *opaque;
};

static const char help_text[] = "\r\n"
				"Ctrl-a h       this help\r\n"
				"Ctrl-a x       quit vireo\r\n"
				"Ctrl-a c       switch between the console and the monitor\r\n"
				"Ctrl-a Ctrl-a  send Ctrl-a\r\n";

/* ---- the ends ---- */

static void end_close(struct char_backend *chr)
{
}

static ssize_t end_write(struct char_backend *chr, const void *buf, size_t n)
{
	return char_write(chr->mux->terminal, buf, n);
}

/* Room in the end that has the keyboard: the terminal is read again. */
static void end_watch(struct char_backend *chr, bool in, bool out)
{
	struct char_mux *mux = chr->mux;

	if (in && chr == mux->end[mux->focus])
		char_accept(mux->terminal);
}

static const struct char_driver end_driver = {
	.name = "mux",
	.size = sizeof(struct char_backend),
	.close = end_close,
	.write = end_write,
	.watch = end_watch,
};

/* ---- the terminal's user ---- */

static void mux_focus(struct char_mux *mux, unsigned int focus)
{
	mux->focus = focus;
	if (focus)
		char_write(mux->terminal, "\r\n", 2);
	char_set_connected(mux->end[1], focus == 1 && mux->terminal->connected);
}

static void mux_command(struct char_mux *mux, uint8_t key)
{
	switch (key) {
	case 'x':
		if (mux->quit)
			mux->quit(mux->opaque);
		break;
	case 'c':
		mux_focus(mux, !mux->focus);
		break;
	case 'h':
	case '?':
		char_write(mux->terminal, help_text, sizeof(help_text) - 1);
		break;
	default: /* a slip of the finger */
		break;
	}
}

static size_t mux_input(void *opaque, const uint8_t *buf, size_t n)
{
	static const uint8_t ctrl_a = CTRL_A;
	struct char_mux *mux = opaque;
	size_t i = 0;

	while (i < n) {
		struct char_backend *end = mux->end[mux->focus];
		size_t room = end->events ? char_room(end) : n; /* no user: it drops */
		const uint8_t *key;
		size_t plain;

		if (mux->escape) {
			bool literal = buf[i] == CTRL_A || buf[i] == 'a';

			if (literal && !room)
				break;
			mux->escape = false;
			if (literal)
				char_push(end, &ctrl_a, 1);
			else
				mux_command(mux, buf[i]);
			i++;
			continue;
		}
		key = memchr(buf + i, CTRL_A, n - i);
		plain = key ? (size_t)(key - (buf + i)) : n - i;
		if (!plain) {
			mux->escape = true;
			i++;
			continue;
		}
		if (!room)
			break;
		if (plain > room)
			plain = room;
		char_push(end, buf + i, plain);
		i += plain;
	}
	return i;
}

static void mux_writable(void *opaque)
{
	struct char_mux *mux = opaque;

	char_writable(mux->end[0]);
	char_writable(mux->end[1]);
}

static void mux_opened(void *opaque, bool opened)
{
	struct char_mux *mux = opaque;

	char_set_connected(mux->end[0], opened);
	char_set_connected(mux->end[1], opened && mux->focus == 1);
}

static const struct char_events mux_events = {
	.input = mux_input,
	.writable = mux_writable,
	.opened = mux_opened,
};

/* ---- making and ending ---- */

struct char_backend *char_mux_terminal(const struct char_mux *mux)
{
	return mux->terminal;
}

void char_mux_free(struct char_mux *mux)
{
	for (int i = 0; i < 2; i++) {
		if (mux->end[i])
			char_free(mux->end[i]);
	}
	free(mux);
}

static int mux_end(struct char_mux *mux, int i)
{
	char id[64];

	snprintf(id, sizeof(id), "%s.%d", mux->terminal->id, i);
	mux->end[i] = char_alloc(&end_driver, mux->terminal->loop, id);
	if (!mux->end[i])
		return -ENOMEM;
	mux->end[i]->mux = mux;
	mux->end[i]->description = strdup(mux->terminal->description);
	if (!mux->end[i]->description)
		return -ENOMEM;
	mux->end[i]->open = true;
	return 0;
}

int char_mux(struct char_backend *chr, void (*quit)(void *opaque), void *opaque,
	     struct char_backend **first, struct char_backend **second, struct err *err)
{
	struct char_mux *mux;

	if (chr->mux || chr->events)
		return err_set(err, -EBUSY, "-chardev %s has a user already", chr->id);
	mux = calloc(1, sizeof(*mux));
	if (!mux)
		return err_set(err, -ENOMEM, "out of memory");
	mux->terminal = chr;
	mux->quit = quit;
	mux->opaque = opaque;
	if (mux_end(mux, 0) < 0 || mux_end(mux, 1) < 0) {
		char_mux_free(mux);
		return err_set(err, -ENOMEM, "out of memory");
	}
	chr->mux = mux;
	*first = mux->end[0];
	*second = mux->end[1];
	char_attach(chr, &mux_events, mux);
	return 0;
}
