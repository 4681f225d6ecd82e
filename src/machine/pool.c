/*
 * Back ends and I/O threads of a VM, and who has them.
 */
#include "machine/pool.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/loop.h"
#include "blk/blk.h"
#include "char/char.h"
#include "net/net.h"

/* How long an I/O thread looks for work before it sleeps, by default. A wake-up costs about 20 us:
 * a window of that order at most doubles what a thread burns for it (the competitive ratio of
 * spin-then-block). */
#define POLL_MAX_NS "32768"

static const char *const kind_name[POOL_KINDS] = {"-chardev", "-netdev", "-drive/-blockdev",
						  "-object iothread", "-object rng-random"};

struct thread_opts {
	uint64_t poll_max_ns;
};

static const struct opt_desc thread_opts[] = {
	{"poll-max-ns", OPT_U64, offsetof(struct thread_opts, poll_max_ns), POLL_MAX_NS,
	 "longest time to spin before sleeping, in ns; 0 = never spin", .max = 1000000000},
	{0, OPT_END},
};

struct rng_opts {
	char *filename;
};

static const struct opt_desc rng_opts[] = {
	{"filename", OPT_STRING, offsetof(struct rng_opts, filename), "/dev/urandom",
	 "the host's random device: /dev/urandom or /dev/random"},
	{0, OPT_END},
};

void pool_init(struct pool *pool, struct loop *control)
{
	pool->control = control;
	TAILQ_INIT(&pool->entries);
}

static void entry_close(struct pool *pool, struct pool_entry *e)
{
	TAILQ_REMOVE(&pool->entries, e, link);
	switch (e->kind) {
	case POOL_CHAR:
		char_destroy(e->object);
		break;
	case POOL_NET:
		net_destroy(e->object);
		break;
	case POOL_BLK:
		blk_destroy(e->object);
		break;
	case POOL_THREAD:
		loop_join(e->object);
		loop_destroy(e->object);
		break;
	default:
		break;
	}
	free(e->id);
	free(e);
}

void pool_destroy(struct pool *pool)
{
	while (!TAILQ_EMPTY(&pool->entries))
		entry_close(pool, TAILQ_LAST(&pool->entries, pool_entries));
}

int pool_add(struct pool *pool, enum pool_kind kind, const char *id, void *object)
{
	struct pool_entry *e = calloc(1, sizeof(*e));

	if (e)
		e->id = strdup(id);
	if (!e || !e->id) {
		free(e);
		return -ENOMEM;
	}
	e->kind = kind;
	e->object = object;
	TAILQ_INSERT_TAIL(&pool->entries, e, link);
	return 0;
}

struct pool_entry *pool_find(struct pool *pool, enum pool_kind kind, const char *id)
{
	struct pool_entry *e;

	TAILQ_FOREACH (e, &pool->entries, link)
		if (e->kind == kind && !strcmp(e->id, id))
			return e;
	return NULL;
}

void *pool_claim(struct pool *pool, enum pool_kind kind, const char *id, struct device *user,
		 struct err *err)
{
	struct pool_entry *e = pool_find(pool, kind, id);

	if (!e) {
		char known[256] = "";
		size_t n = 0;

		TAILQ_FOREACH (e, &pool->entries, link)
			if (e->kind == kind && n < sizeof(known) - 1)
				n += snprintf(known + n, sizeof(known) - n, "%s%s", n ? ", " : "",
					      e->id);
		if (n)
			err_set(err, -ENOENT, "no %s has the id '%s' (there is: %s)",
				kind_name[kind], id, known);
		else
			err_set(err, -ENOENT, "no %s has the id '%s' (there is none)",
				kind_name[kind], id);
		return NULL;
	}
	if (e->claimed) {
		err_set(err, -EBUSY, "%s id=%s is in use by %s already", kind_name[kind], id,
			e->user ? e->user->id : "the monitor");
		return NULL;
	}
	e->claimed = true;
	e->user = user;
	return e->object;
}

void pool_release(struct pool *pool, void *object)
{
	struct pool_entry *e;

	TAILQ_FOREACH (e, &pool->entries, link) {
		if (e->object == object) {
			e->claimed = false;
			e->user = NULL;
			return;
		}
	}
}

/* ---- making ---- */

static struct loop *thread_start(const char *name, uint64_t poll_max_ns, struct err *err)
{
	struct loop *loop;

	if (loop_create(&loop, name, poll_max_ns, err) < 0)
		return NULL;
	if (loop_start(loop, err) < 0) {
		loop_destroy(loop);
		return NULL;
	}
	return loop;
}

static void *object_open(struct config_item *item, enum pool_kind *kind, struct err *err)
{
	const struct opt_desc *tables[] = {NULL};
	struct thread_opts thread;
	struct rng_opts rng;
	void *object = NULL;

	if (!strcmp(item->type, "iothread")) {
		*kind = POOL_THREAD;
		tables[0] = thread_opts;
		if (opt_apply(thread_opts, &thread, &item->list, err) < 0 ||
		    opt_all_used(&item->list, tables, 1, err) < 0)
			return NULL;
		return thread_start(item->id, thread.poll_max_ns, err);
	}
	if (!strcmp(item->type, "rng-random")) {
		*kind = POOL_RNG;
		tables[0] = rng_opts;
		if (opt_apply(rng_opts, &rng, &item->list, err) < 0)
			return NULL;
		if (opt_all_used(&item->list, tables, 1, err) == 0) {
			if (!strcmp(rng.filename, "/dev/urandom") ||
			    !strcmp(rng.filename, "/dev/random"))
				object = item; /* nothing to open: entropy comes by getrandom(2) */
			else
				err_set(err, -EINVAL,
					"%s: entropy comes from the kernel: filename=/dev/urandom "
					"or /dev/random",
					item->list.text);
		}
		opt_release(rng_opts, &rng);
		return object;
	}
	err_set(err, -EINVAL, "%s: no object type '%s' (there is: iothread, rng-random)",
		item->list.text, item->type);
	return NULL;
}

int pool_open(struct pool *pool, struct config_item *item, struct err *err)
{
	enum pool_kind kind;
	void *object;

	switch (item->kind) {
	case CONFIG_CHARDEV:
		kind = POOL_CHAR;
		break;
	case CONFIG_NETDEV:
		kind = POOL_NET;
		break;
	case CONFIG_BLOCKDEV:
		kind = POOL_BLK;
		break;
	default:
		kind = strcmp(item->type, "rng-random") ? POOL_THREAD : POOL_RNG;
		break;
	}
	if (!item->id)
		return err_set(err, -EINVAL, "%s: needs id=", item->list.text);
	if (pool_find(pool, kind, item->id))
		return err_set(err, -EEXIST, "%s: the id '%s' is taken already", item->list.text,
			       item->id);
	switch (kind) {
	case POOL_CHAR:
		object = char_create(pool->control, &item->list, err);
		break;
	case POOL_NET:
		object = net_create(item->type, item->id, &item->list, err);
		break;
	case POOL_BLK:
		object = blk_create(item->id, &item->list, err);
		break;
	default:
		object = object_open(item, &kind, err);
		break;
	}
	if (!object)
		return err->code ? err->code : -EINVAL;
	return pool_add(pool, kind, item->id, object);
}

void pool_object_help(FILE *out)
{
	fprintf(out, "-object iothread,id=ID: an I/O thread that several devices may share\n");
	opt_help(out, thread_opts);
	fprintf(out, "-object rng-random,id=ID: the host's random numbers, for virtio-rng\n");
	opt_help(out, rng_opts);
}

struct loop *pool_thread_get(struct pool *pool, const char *id, const char *name, struct err *err)
{
	struct pool_entry *e;
	struct loop *loop;

	if (id) {
		e = pool_find(pool, POOL_THREAD, id);
		if (!e)
			err_set(err, -ENOENT,
				"no I/O thread has the id '%s' (-object iothread,id=%s makes one)",
				id, id);
		return e ? e->object : NULL;
	}
	loop = thread_start(name, strtoull(POLL_MAX_NS, NULL, 10), err);
	if (!loop)
		return NULL;
	if (pool_add(pool, POOL_THREAD, name, loop) < 0) {
		loop_join(loop);
		loop_destroy(loop);
		err_set(err, -ENOMEM, "out of memory");
		return NULL;
	}
	TAILQ_LAST(&pool->entries, pool_entries)->anonymous = true;
	return loop;
}

void pool_thread_put(struct pool *pool, struct loop *loop)
{
	struct pool_entry *e;

	TAILQ_FOREACH (e, &pool->entries, link) {
		if (e->object == loop && e->anonymous) {
			entry_close(pool, e);
			return;
		}
	}
}
