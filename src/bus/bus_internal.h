/*
 * The bus, between bus.c (tables, dispatch) and posted.c (what the marks on registers become).
 */
#ifndef VIREO_BUS_BUS_INTERNAL_H
#define VIREO_BUS_BUS_INTERNAL_H

#include "bus/bus.h"

struct interval {
	uint64_t base, last; /* inclusive: the end of the MMIO space doesn't fit in 64 bits */
	/* Where the region began when the table was built: another vCPU may be moving it, and its
	 * handlers must never see an offset that isn't in it. */
	uint64_t region_base;
	struct bus_region *region;
};

struct table {
	struct table *next; /* on the list of retired ones */
	uint64_t retired;   /* epoch from which on nobody new can have it */
	unsigned int n;
	struct interval at[];
};

struct reader {
	uint64_t epoch; /* 0 = not reading */
} __attribute__((aligned(64)));

#define BUS_DRAINER BUS_READERS_MAX /* the reader that carries out posted writes */

struct bus {
	struct vm *vm;
	struct table *table[BUS_SPACES];
	uint64_t epoch;
	struct reader reader[BUS_READERS_MAX + 1];
	struct bus_counters counters;
	bool posting; /* atomic: a zone has stood */

	/* Held while posted writes are carried out; taken before any device's lock. */
	pthread_mutex_t posted_lock;
	uint64_t drained; /* how many were, ever; atomic */

	pthread_mutex_t lock;			     /* all below, and changes of the tables */
	TAILQ_HEAD(, bus_region) mapped[BUS_SPACES]; /* in the order of mapping */
	struct table *retired;
	TAILQ_HEAD(, posted) posters;
};

/* bus.c, bus->lock held. Does the region, and no other, answer for all of [base, base + size)? Does
 * any other have a byte of it, hidden or not? */
bool bus_owns(struct bus *bus, const struct bus_region *region, uint64_t base, uint64_t size);
bool bus_shares(struct bus *bus, const struct bus_region *region, uint64_t base, uint64_t size);

/* bus.c: bus_posted_drain() for a thread that polls and needn't wait: true when there was something,
 * or another thread is at it. */
bool bus_posted_poll(struct bus *bus);

/* posted.c. bus->lock held: mappings, modes or engagements have changed; makes zones and shadows as
 * they are to be now. */
void posted_realise(struct bus *bus);
/* A region with marks: an access to it exited. Any thread. */
void posted_note_read(struct bus_region *region, uint64_t offset);
void posted_note_write(struct bus_region *region, uint64_t offset);
/* posted_lock held: one of its writes came out of the ring. */
void posted_taken(struct posted *p);

#endif
