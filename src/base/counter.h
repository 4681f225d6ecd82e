/*
 * Counters: every path counts, cheaply and always; `info io` and others read them.
 *
 * A counter has one writer at a time (the thread that owns the queue, the vCPU), so that an
 * increment is a plain load, add and store, made visible to readers without tearing; no lock
 * prefix. What several threads write uses counter_add_shared().
 *
 * A struct of counters is described by a table of names and places, as options are.
 */
#ifndef VIREO_BASE_COUNTER_H
#define VIREO_BASE_COUNTER_H

#include <stddef.h>
#include <stdint.h>

#define COUNTER_LOST "lost: "

struct counter {
	uint64_t v;
};

struct counter_desc {
	const char *name; /* "tx-packets"; ends with NULL */
	size_t offset;	  /* of the struct counter in the owner's struct */
	/* What is counted, and the unit where it isn't "how many". Starts with COUNTER_LOST where each
	 * one is a frame that is gone for good. */
	const char *help;
};

static inline void counter_add(struct counter *c, uint64_t n)
{
	__atomic_store_n(&c->v, __atomic_load_n(&c->v, __ATOMIC_RELAXED) + n, __ATOMIC_RELAXED);
}

static inline void counter_add_shared(struct counter *c, uint64_t n)
{
	__atomic_fetch_add(&c->v, n, __ATOMIC_RELAXED);
}

static inline uint64_t counter_get(const struct counter *c)
{
	return __atomic_load_n(&c->v, __ATOMIC_RELAXED);
}

/* Called once per struct of counters: owner ("n0"), part ("queue 0"; NULL = none), table and base.
 * What lists counters takes one of these and calls it for each set that it has. */
typedef void counter_visit(void *opaque, const char *owner, const char *part,
			   const struct counter_desc *table, const void *base);

#endif
