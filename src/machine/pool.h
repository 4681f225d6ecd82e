/*
 * What devices are lent: back ends by id, each to one device at a time, and I/O threads.
 */
#ifndef VIREO_MACHINE_POOL_H
#define VIREO_MACHINE_POOL_H

#include <stdbool.h>
#include <stdio.h>
#include <sys/queue.h>

#include "base/counter.h"
#include "base/err.h"
#include "bus/device.h"
#include "machine/config.h"
#include "net/net.h"

enum pool_kind {
	POOL_CHAR,
	POOL_NET,
	POOL_BLK,
	POOL_THREAD,
	POOL_RNG,
	POOL_DUMP,
	POOL_KINDS
};

struct pool_entry {
	enum pool_kind kind;
	char *id;
	void *object; /* struct char_backend, net_backend, blk_backend, loop, net_dump; POOL_RNG: unused */
	struct device *user; /* POOL_THREAD: unused, a thread may serve several devices */
	bool claimed;	     /* also by the monitor, which is no device */
	bool taken;	     /* by a network back end, which is none either */
	bool anonymous;	     /* a thread made for one device */
	TAILQ_ENTRY(pool_entry) link;
};

struct pool {
	struct loop *control;
	struct net_host net_host;		      /* what network back ends are given */
	TAILQ_HEAD(pool_entries, pool_entry) entries; /* in order of creation */
};

void pool_init(struct pool *pool, struct loop *control);
void pool_destroy(struct pool *pool); /* closes everything, last made first */

/* Items name others: those of turn 0 none, those of turn N such of turns before. */
#define POOL_TURNS 3
unsigned int pool_turn(const struct config_item *item);
/* Opens what an item asks for (all kinds but CONFIG_DEVICE). Ids are unique within a kind. 0 or
 * -errno with err set. */
int pool_open(struct pool *pool, struct config_item *item, struct err *err);
/* Calls visit for the counters of everything in the pool. */
void pool_each_counter(struct pool *pool, counter_visit *visit, void *opaque);

struct pool_entry *pool_find(struct pool *pool, enum pool_kind kind, const char *id);
/* The same; NULL with err set, which names the ones that exist. */
struct pool_entry *pool_need(struct pool *pool, enum pool_kind kind, const char *id,
			     struct err *err);
/* Finds and claims; user NULL is the monitor. NULL with err set: no such id (the ones that exist
 * are named), or taken. */
void *pool_claim(struct pool *pool, enum pool_kind kind, const char *id, struct device *user,
		 struct err *err);
void pool_release(struct pool *pool, void *object);

void pool_object_help(FILE *out); /* -object help */

/* struct platform's io_thread_get and _put. */
struct loop *pool_thread_get(struct pool *pool, const char *id, const char *name, struct err *err);
void pool_thread_put(struct pool *pool, struct loop *loop);

#endif
