/*
 * Back ends and I/O threads of a VM, and who has them.
 */
#include "machine/pool.h"

#include <errno.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/loop.h"
#include "blk/blk.h"
#include "char/char.h"
#include "net/dump.h"
#include "net/net.h"

/* How long an I/O thread looks for work before it sleeps, by default. A wake-up costs about 20 us:
 * a window of that order at most doubles what a thread burns for it (the competitive ratio of
 * spin-then-block). */
#define POLL_MAX_NS "32768"

static const char *const kind_name[POOL_KINDS] = {"-chardev",		"-netdev",
						  "-drive/-blockdev",	"-object iothread",
						  "-object rng-random", "-object filter-dump"};

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

/* net_host.socket: the chardev is the back end's from now on. */
static int pool_net_socket(const struct net_host *host, const char *chardev, struct net_socket *out,
			   struct err *err)
{
	struct pool *pool = host->opaque;
	struct char_backend *chr = pool_claim(pool, POOL_CHAR, chardev, NULL, err);
	struct char_socket socket;
	int r;

	if (!chr)
		return err->code;
	pool_find(pool, POOL_CHAR, chardev)->taken = true;
	r = char_take_socket(chr, &socket, err);
	if (r) {
		pool_release(pool, chr);
		return r;
	}
	*out = (struct net_socket){.server = socket.server,
				   .reconnect_s = socket.reconnect_s,
				   .wait = socket.wait,
				   .listen_fd = socket.listen_fd,
				   .fd = socket.fd};
	snprintf(out->path, sizeof(out->path), "%s", socket.path); /* it fits: it is bound */
	return 0;
}

void pool_init(struct pool *pool, struct loop *control)
{
	pool->control = control;
	pool->net_host =
		(struct net_host){.control = control, .socket = pool_net_socket, .opaque = pool};
	TAILQ_INIT(&pool->entries);
}

static void entry_remove(struct pool *pool, struct pool_entry *e)
{
	TAILQ_REMOVE(&pool->entries, e, link);
	free(e->id);
	free(e);
}

static void entry_close(struct pool *pool, struct pool_entry *e)
{
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
	case POOL_DUMP:
		net_dump_destroy(e->object);
		break;
	case POOL_THREAD:
		loop_join(e->object);
		loop_destroy(e->object);
		break;
	default:
		break;
	}
	entry_remove(pool, e);
}

void pool_destroy(struct pool *pool)
{
	struct pool_entry *e;

	while ((e = TAILQ_LAST(&pool->entries, pool_entries)))
		entry_close(pool, e); /* NOLINT(clang-analyzer-unix.Malloc): it takes e off */
}

/* An entry for an object that is to be made. NULL with err set. */
static struct pool_entry *entry_add(struct pool *pool, enum pool_kind kind, const char *id,
				    struct err *err)
{
	struct pool_entry *e = calloc(1, sizeof(*e));

	if (e)
		e->id = strdup(id);
	if (!e || !e->id) {
		free(e);
		err_set(err, -ENOMEM, "out of memory");
		return NULL;
	}
	e->kind = kind;
	TAILQ_INSERT_TAIL(&pool->entries, e, link);
	return e;
}

struct pool_entry *pool_find(struct pool *pool, enum pool_kind kind, const char *id)
{
	struct pool_entry *e;

	TAILQ_FOREACH(e, &pool->entries, link)
		if (e->kind == kind && !strcmp(e->id, id))
			return e;
	return NULL;
}

struct pool_entry *pool_need(struct pool *pool, enum pool_kind kind, const char *id,
			     struct err *err)
{
	struct pool_entry *e = pool_find(pool, kind, id);
	char known[256] = "there is none";
	size_t n = 0;

	if (e)
		return e;
	TAILQ_FOREACH(e, &pool->entries, link)
		if (e->kind == kind && n < sizeof(known) - 1)
			n += snprintf(known + n, sizeof(known) - n, "%s%s",
				      n ? ", " : "there is: ", e->id);
	err_set(err, -ENOENT, "no %s has the id '%s' (%s)", kind_name[kind], id, known);
	return NULL;
}

void *pool_claim(struct pool *pool, enum pool_kind kind, const char *id, struct device *user,
		 struct err *err)
{
	struct pool_entry *e = pool_need(pool, kind, id, err);

	if (!e)
		return NULL;
	if (e->claimed) {
		err_set(err, -EBUSY, "%s id=%s is in use by %s already", kind_name[kind], id,
			e->user	   ? e->user->id
			: e->taken ? "a -netdev"
				   : "the monitor");
		return NULL;
	}
	e->claimed = true;
	e->user = user;
	return e->object;
}

void pool_release(struct pool *pool, void *object)
{
	struct pool_entry *e;

	TAILQ_FOREACH(e, &pool->entries, link) {
		if (e->object == object) {
			e->claimed = e->taken = false;
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

static struct loop *iothread_open(struct config_item *item, struct err *err)
{
	static const struct opt_desc *const tables[] = {thread_opts};
	struct thread_opts opts;

	if (opt_apply(thread_opts, &opts, &item->list, err) < 0 ||
	    opt_all_used(&item->list, tables, 1, err) < 0)
		return NULL;
	return thread_start(item->id, opts.poll_max_ns, err);
}

/* Nothing to open: entropy comes by getrandom(2). */
static int rng_check(struct config_item *item, struct err *err)
{
	static const struct opt_desc *const tables[] = {rng_opts};
	struct rng_opts opts;
	int rc = opt_apply(rng_opts, &opts, &item->list, err);

	if (rc < 0)
		return rc;
	rc = opt_all_used(&item->list, tables, 1, err);
	if (rc == 0 && strcmp(opts.filename, "/dev/urandom") &&
	    strcmp(opts.filename, "/dev/random"))
		rc = err_set(err, -EINVAL,
			     "%s: entropy comes from the kernel: filename=/dev/urandom or "
			     "/dev/random",
			     item->list.text);
	opt_release(rng_opts, &opts);
	return rc;
}

static struct net_dump *dump_open(struct pool *pool, struct config_item *item, struct err *err)
{
	static const struct opt_desc *const tables[] = {net_dump_opts};
	struct pool_entry *net = NULL;
	struct net_dump *dump = NULL;
	struct net_dump_opts opts;

	if (opt_apply(net_dump_opts, &opts, &item->list, err) < 0)
		return NULL;
	if (opt_all_used(&item->list, tables, 1, err) < 0) {
		opt_release(net_dump_opts, &opts);
		return NULL;
	}
	if (opts.netdev)
		net = pool_need(pool, POOL_NET, opts.netdev, err);
	else
		err_set(err, -EINVAL, "needs netdev=");
	if (net)
		dump = net_dump_create(item->id, net->object, &opts, err);
	if (!dump)
		err_prefix(err, "%s", item->list.text);
	opt_release(net_dump_opts, &opts);
	return dump;
}

unsigned int pool_turn(const struct config_item *item)
{
	if (item->kind == CONFIG_OBJECT && !strcmp(item->type, "filter-dump"))
		return 2;
	return item->kind == CONFIG_NETDEV ? 1 : 0;
}

/* What an item is; -EINVAL with err set: no such type of -object. */
static int kind_of(const struct config_item *item, struct err *err)
{
	switch (item->kind) {
	case CONFIG_CHARDEV:
		return POOL_CHAR;
	case CONFIG_NETDEV:
		return POOL_NET;
	case CONFIG_BLOCKDEV:
		return POOL_BLK;
	default:
		if (!strcmp(item->type, "iothread"))
			return POOL_THREAD;
		if (!strcmp(item->type, "rng-random"))
			return POOL_RNG;
		if (!strcmp(item->type, "filter-dump"))
			return POOL_DUMP;
		return err_set(err, -EINVAL,
			       "%s: no object type '%s' (there is: iothread, rng-random, "
			       "filter-dump)",
			       item->list.text, item->type);
	}
}

/* Makes the entry's object. false with err set. */
static bool entry_open(struct pool *pool, struct pool_entry *e, struct config_item *item,
		       struct err *err)
{
	switch (e->kind) {
	case POOL_CHAR:
		e->object = char_create(pool->control, &item->list, err);
		break;
	case POOL_NET:
		e->object = net_create(&pool->net_host, item->type, item->id, &item->list, err);
		break;
	case POOL_BLK:
		e->object = blk_create(item->id, &item->list, err);
		break;
	case POOL_THREAD:
		e->object = iothread_open(item, err);
		break;
	case POOL_DUMP:
		e->object = dump_open(pool, item, err);
		break;
	default:
		return rng_check(item, err) == 0;
	}
	return e->object;
}

int pool_open(struct pool *pool, struct config_item *item, struct err *err)
{
	struct pool_entry *e;
	int kind;

	if (!item->id)
		return err_set(err, -EINVAL, "%s: needs id=", item->list.text);
	kind = kind_of(item, err);
	if (kind < 0)
		return kind;
	if (pool_find(pool, kind, item->id))
		return err_set(err, -EEXIST, "%s: the id '%s' is taken already", item->list.text,
			       item->id);
	e = entry_add(pool, kind, item->id, err);
	if (!e)
		return err->code;
	if (entry_open(pool, e, item, err))
		return 0;
	entry_remove(pool, e);
	return err->code ? err->code : -EINVAL;
}

void pool_object_help(FILE *out)
{
	fprintf(out, "-object iothread,id=ID: an I/O thread that several devices may share\n");
	opt_help(out, thread_opts);
	fprintf(out, "-object rng-random,id=ID: the host's random numbers, for virtio-rng\n");
	opt_help(out, rng_opts);
	fprintf(out, "-object filter-dump,id=ID: a netdev's frames, both ways, into a file\n");
	opt_help(out, net_dump_opts);
}

struct loop *pool_thread_get(struct pool *pool, const char *id, const char *name, struct err *err)
{
	struct pool_entry *e;
	char entry_id[32];

	if (id) {
		e = pool_find(pool, POOL_THREAD, id);
		if (!e)
			err_set(err, -ENOENT,
				"no I/O thread has the id '%s' (-object iothread,id=%s makes one)",
				id, id);
		return e ? e->object : NULL;
	}
	/* Threads of two cards of a model have the same name; what shows them needs two ids. */
	snprintf(entry_id, sizeof(entry_id), "%s", name);
	for (unsigned int n = 1; pool_find(pool, POOL_THREAD, entry_id); n++)
		snprintf(entry_id, sizeof(entry_id), "%s.%u", name, n);
	e = entry_add(pool, POOL_THREAD, entry_id, err);
	if (!e)
		return NULL;
	e->anonymous = true;
	e->object = thread_start(name, strtoull(POLL_MAX_NS, NULL, 10), err);
	if (e->object)
		return e->object;
	entry_remove(pool, e);
	return NULL;
}

void pool_thread_put(struct pool *pool, struct loop *loop)
{
	struct pool_entry *e;

	TAILQ_FOREACH(e, &pool->entries, link) {
		if (e->object == loop && e->anonymous) {
			entry_close(pool, e);
			return;
		}
	}
}

/* ---- counters ---- */

struct thread_counters { /* struct loop_stats */
	struct counter wakeups, polls, poll_hits, poll_ns;
};

static const struct counter_desc thread_counter_table[] = {
	{"wakeups", offsetof(struct thread_counters, wakeups), "returns from the wait for events"},
	{"polls", offsetof(struct thread_counters, polls), "rounds of looking for work"},
	{"poll-hits", offsetof(struct thread_counters, poll_hits), "of these, with work found"},
	{"poll-ns", offsetof(struct thread_counters, poll_ns), "ns spent in rounds without"},
	{0},
};

static void visit_thread(const struct pool_entry *e, counter_visit *visit, void *opaque)
{
	struct loop_stats stats = loop_stats(e->object);
	struct thread_counters counters = {
		.wakeups = {stats.wakeups},
		.polls = {stats.polls},
		.poll_hits = {stats.poll_hits},
		.poll_ns = {stats.poll_ns},
	};

	visit(opaque, e->id, "thread", thread_counter_table, &counters);
}

void pool_each_counter(struct pool *pool, counter_visit *visit, void *opaque)
{
	struct pool_entry *e;

	TAILQ_FOREACH(e, &pool->entries, link) {
		if (e->kind == POOL_CHAR)
			visit(opaque, e->id, NULL, char_counter_table, char_counters(e->object));
		else if (e->kind == POOL_NET)
			net_counters_each(e->object, visit, opaque);
		else if (e->kind == POOL_DUMP)
			visit(opaque, e->id, "dump", net_dump_counter_table,
			      net_dump_counters(e->object));
		else if (e->kind == POOL_THREAD)
			visit_thread(e, visit, opaque);
	}
}
