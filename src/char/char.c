/*
 * Character back ends: making them, and what all drivers have in common (char/driver.h): the input
 * buffer and its back-pressure, drops, counters.
 *
 * One loop's thread. A back end is freed by char_destroy(), never from one of its own callbacks.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "char/driver.h"

const struct counter_desc char_counter_table[] = {
	{"in-bytes", offsetof(struct char_counters, in), "bytes from the peer"},
	{"out-bytes", offsetof(struct char_counters, out), "bytes to the peer"},
	{"dropped-bytes", offsetof(struct char_counters, dropped),
	 "bytes lost: nobody was there, or the peer went away"},
	{NULL},
};

/* ---- the registry ---- */

extern const struct char_driver *const __start_char_drivers[];
extern const struct char_driver *const __stop_char_drivers[];

/* The driver whose name follows, in the order of the alphabet; NULL: that was the last. */
static const struct char_driver *driver_after(const char *name)
{
	const struct char_driver *next = NULL;

	for (const struct char_driver *const *d = __start_char_drivers; d < __stop_char_drivers;
	     d++) {
		if (strcmp((*d)->name, name) > 0 && (!next || strcmp((*d)->name, next->name) < 0))
			next = *d;
	}
	return next;
}

static const struct char_driver *driver_find(const char *name)
{
	for (const struct char_driver *const *d = __start_char_drivers; d < __stop_char_drivers;
	     d++) {
		if (!strcmp((*d)->name, name))
			return *d;
	}
	return NULL;
}

void char_help(FILE *out)
{
	const struct char_driver *d = driver_after("");

	for (; d; d = driver_after(d->name)) {
		fprintf(out, "%s: %s\n", d->name, d->help);
		opt_help(out, d->opts);
	}
}

static int driver_unknown(const char *name, const struct opt_list *list, struct err *err)
{
	const struct char_driver *d = driver_after("");

	err_set(err, -EINVAL, "%s: no character back end is called '%s' (there are:",
		list->text ? list->text : "-chardev", name);
	for (; d; d = driver_after(d->name))
		err_hint(err, driver_after(d->name) ? "%s," : "%s)", d->name);
	return -EINVAL;
}

/* ---- making and ending ---- */

struct char_backend *char_alloc(const struct char_driver *driver, struct loop *loop, const char *id)
{
	struct char_backend *chr = calloc(1, driver->size);

	if (!chr)
		return NULL;
	chr->driver = driver;
	chr->loop = loop;
	chr->id = strdup(id);
	if (!chr->id) {
		free(chr);
		return NULL;
	}
	return chr;
}

void char_free(struct char_backend *chr)
{
	if (chr->driver->opts)
		opt_release(chr->driver->opts, chr);
	free(chr->description);
	free(chr->id);
	free(chr);
}

static int char_open(struct char_backend *chr, struct opt_list *list, struct err *err)
{
	const struct opt_desc *const tables[] = {chr->driver->opts};
	int ret = opt_apply(chr->driver->opts, chr, list, err);

	if (!ret)
		ret = opt_all_used(list, tables, 1, err);
	if (ret)
		return ret;
	ret = chr->driver->open(chr, err);
	if (!ret && !chr->description)
		ret = err_set(err, -ENOMEM, "out of memory");
	if (ret) {
		chr->driver->close(chr);
		return list->text ? err_prefix(err, "%s", list->text) : ret;
	}
	chr->open = true;
	return 0;
}

struct char_backend *char_create(struct loop *loop, struct opt_list *list, struct err *err)
{
	const char *name = opt_take(list, "backend");
	const char *id = opt_take(list, "id");
	const struct char_driver *driver;
	struct char_backend *chr;

	if (!name) {
		err_set(err, -EINVAL, "%s: which back end? (-chardev help lists them)",
			list->text ? list->text : "-chardev");
		return NULL;
	}
	driver = driver_find(name);
	if (!driver) {
		driver_unknown(name, list, err);
		return NULL;
	}
	chr = char_alloc(driver, loop, id ? id : name);
	if (!chr) {
		err_set(err, -ENOMEM, "-chardev %s: out of memory", name);
		return NULL;
	}
	if (char_open(chr, list, err) < 0) {
		char_free(chr);
		return NULL;
	}
	return chr;
}

void char_destroy(struct char_backend *chr)
{
	struct char_mux *mux;

	if (!chr)
		return;
	mux = chr->mux;
	if (mux)
		chr = char_mux_terminal(mux);
	chr->events = NULL;
	chr->driver->close(chr);
	if (mux)
		char_mux_free(mux);
	char_free(chr);
}

/* ---- input ---- */

size_t char_room(const struct char_backend *chr)
{
	return sizeof(chr->held) - chr->held_len;
}

void char_rewatch(struct char_backend *chr)
{
	if (chr->open)
		chr->driver->watch(chr, chr->events && char_room(chr) > 0, chr->write_waits);
}

/* Gives the user what is held, as far as it takes it. */
static void deliver(struct char_backend *chr)
{
	if (chr->delivering)
		return; /* called from input(): the loop below goes on */
	chr->delivering = true;
	while (chr->events && chr->held_len && !chr->stalled) {
		size_t n = chr->held_len;
		size_t taken;

		chr->stalled = true; /* unless all is taken, or input() calls char_accept() */
		taken = chr->events->input(chr->opaque, chr->held + chr->held_start, n);
		if (taken >= n) {
			taken = n;
			chr->stalled = false;
		}
		chr->held_start += taken;
		chr->held_len -= taken;
		if (taken == 0)
			break;
	}
	chr->delivering = false;
}

void char_push(struct char_backend *chr, const void *buf, size_t n)
{
	size_t room = char_room(chr);

	counter_add(&chr->counters.in, n);
	if (n > room || !chr->events) {
		counter_add(&chr->counters.dropped, chr->events ? n - room : n);
		n = chr->events ? room : 0;
	}
	if (chr->held_start + chr->held_len + n > sizeof(chr->held)) {
		memmove(chr->held, chr->held + chr->held_start, chr->held_len);
		chr->held_start = 0;
	}
	memcpy(chr->held + chr->held_start + chr->held_len, buf, n);
	chr->held_len += n;
	deliver(chr);
	char_rewatch(chr);
}

void char_accept(struct char_backend *chr)
{
	chr->stalled = false;
	deliver(chr);
	char_rewatch(chr);
}

void char_attach(struct char_backend *chr, const struct char_events *events, void *opaque)
{
	chr->events = events;
	chr->opaque = opaque;
	chr->stalled = false;
	chr->write_waits = false;
	if (events && events->opened && chr->connected)
		events->opened(opaque, true);
	char_accept(chr);
}

/* ---- output ---- */

size_t char_write(struct char_backend *chr, const void *buf, size_t n)
{
	ssize_t done;

	if (!n)
		return 0;
	done = chr->connected ? chr->driver->write(chr, buf, n) : -ENOTCONN;
	if (done < 0) {
		counter_add(&chr->counters.dropped, n);
		return n;
	}
	counter_add(&chr->counters.out, done);
	if ((size_t)done < n && !chr->write_waits) {
		chr->write_waits = true;
		char_rewatch(chr);
	}
	return done;
}

void char_writable(struct char_backend *chr)
{
	if (!chr->write_waits)
		return;
	chr->write_waits = false;
	char_rewatch(chr);
	if (chr->events && chr->events->writable)
		chr->events->writable(chr->opaque);
}

void char_set_connected(struct char_backend *chr, bool connected)
{
	if (chr->connected == connected)
		return;
	chr->connected = connected;
	if (!chr->open)
		return;
	if (chr->events && chr->events->opened)
		chr->events->opened(chr->opaque, connected);
	/* What waits for room has none to wait for now: it is tried again, and dropped. */
	if (!connected)
		char_writable(chr);
}

int char_take_socket(struct char_backend *chr, struct char_socket *out, struct err *err)
{
	if (!chr->driver->take)
		return err_set(err, -EINVAL, "-chardev id=%s is no socket, but %s", chr->id,
			       chr->description);
	chr->driver->take(chr, out);
	return 0;
}

/* ---- what it is ---- */

const char *char_id(const struct char_backend *chr)
{
	return chr->id;
}

const char *char_describe(const struct char_backend *chr)
{
	return chr->description;
}

const struct char_counters *char_counters(const struct char_backend *chr)
{
	return &chr->counters;
}
