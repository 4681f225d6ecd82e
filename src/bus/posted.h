/*
 * Emulation without exits: marks on the registers of a device.
 *
 * Every access to a register is an exit, and that is the cost of emulation. A model says which
 * registers could do without, and the bus makes that true while there is traffic:
 *
 *	posted	  a write that may be taken later, in order, in a batch: ring tails, acknowledgements.
 *		  It goes into a ring of the kernel's, and the device's I/O thread, which polls,
 *		  hands it to the region's handler.
 *	shadowed  a page whose reads have no side effect. The guest reads memory that the model keeps
 *		  up to date. Writes to it exit as ever.
 *	bell	  a write whose value says nothing new: struct bus_doorbell (bus/bus.h), with a
 *		  value to match.
 *
 * Marks are invisible to a model's logic: the same handlers are called with the same values in the
 * same order, marked or not, and where KVM has neither, every access exits.
 *
 * Order. PCI lets writes be posted, and has a read of a device push the writes to it that were made
 * before (PCI 3.0 §3.2.5, appendix E). Here every exit carries out what is in the ring before it is
 * served, whatever it is for. A read of a shadow doesn't exit, and can't push: so a device posts
 * writes or shadows reads, and never both at a time (enum posted_mode). A driver that writes a
 * register and reads any register of the same device back finds the write done.
 *
 * A zone rings no bell: it stands only while the I/O thread polls ("engaged"), and is taken back
 * when the device goes quiet. From then on the next write exits, and wakes. Shadows need nobody;
 * once there is traffic they stand until the BAR moves or the mode changes.
 *
 * What a model promises. A region with marks has short handlers (store the tail; leave the work to
 * the I/O thread, or do a burst of it where a vCPU drains), which never wait for an I/O thread; they
 * run on any thread that drains. The I/O thread drains before it serves a doorbell (posted_bell())
 * and before it reads by itself what the guest posts. A register with a doorbell isn't marked as
 * posted.
 *
 *	posted_init()				in realize
 *	posted_mark(p, region, offset, size)	before the region is mapped
 *	posted_set_mode(p, POSTED_WRITES)	any time, in handlers too
 *	posted_fini()				in unrealize
 *
 * Owned by the device, as a member of its instance.
 */
#ifndef VIREO_BUS_POSTED_H
#define VIREO_BUS_POSTED_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/queue.h>

#include "base/counter.h"
#include "base/loop.h"
#include "bus/bus.h"

enum posted_mode {
	POSTED_NONE,   /* every access exits */
	POSTED_WRITES, /* the marks of posted_mark() */
	POSTED_READS,  /* the marks of posted_shadow() */
};

#define POSTED_MARKS_MAX   16
#define POSTED_SHADOWS_MAX 4

struct posted_counters {
	struct counter posted, bells, engagements, engaged_us, shadows;
};
extern const struct counter_desc posted_counter_table[];

/* The fields are bus/posted.c's. */
struct posted_mark {
	struct bus_region *region;
	uint64_t offset;
	uint32_t size;
	bool stands; /* as a zone, at this address */
	uint64_t at;
};

struct posted_shadow {
	struct bus_region *region;
	uint64_t offset, size; /* of the region's part; bytes, whole pages */
	uint8_t *page;
	bool stands; /* as a memory slot, at this address */
	uint64_t at;
};

struct posted {
	struct bus *bus;
	struct loop *loop;
	struct posted_mark mark[POSTED_MARKS_MAX];
	struct posted_shadow shadow[POSTED_SHADOWS_MAX];
	unsigned int n_marks, n_shadows;
	struct posted_counters counters;
	TAILQ_ENTRY(posted) link; /* of the bus */

	/* Written under the bus's lock, read by anyone. */
	enum posted_mode mode;
	bool engaged; /* the I/O thread polls: zones may stand. It alone writes this */
	bool warm;    /* shadows may stand */

	/* Any thread: exits that marks would have saved. */
	bool wanted;		/* the I/O thread is asked to engage */
	uint32_t exits;		/* since then: */
	uint64_t exits_since;	/* ns */
	uint64_t not_before_ns; /* the next engagement */

	/* The I/O thread's. */
	struct loop_poller poller;
	struct loop_awake judged_awake;
	uint64_t judged_at, judged_posted, posted_seen, pause_ns;
	unsigned int quiet; /* looks in vain, in a row */
};

/* Before any mark. loop: of the I/O thread that will poll. Mode: none. Control thread. */
void posted_init(struct posted *p, struct bus *bus, struct loop *loop);
/* The regions are unmapped, and bus_synchronize() has been called. Waits for the I/O thread. Nothing
 * to do for one that is all zero. */
void posted_fini(struct posted *p);

/* Marks the registers [offset, offset + size) of a region as posted. A write is taken so when all of
 * it lies within; registers that follow each other are best one mark. All marks of a region are of
 * one struct posted, and are made before it is mapped. 0; -EINVAL: not within the region, or
 * overlaps another mark; -EBUSY: it is mapped, or another's; -ENOSPC. */
int posted_mark(struct posted *p, struct bus_region *region, uint64_t offset, uint32_t size);

/* Marks [offset, offset + size) of a memory region as shadowed: offset is page-aligned, size whole
 * pages, but at the end of the region, where the rest of the page must be free: it then reads as
 * ones, as unclaimed addresses do. (Where the page isn't free or not aligned, reads exit.)
 * Returns the shadow's number, or as posted_mark(); -ENOMEM. All bytes are ones. */
int posted_shadow(struct posted *p, struct bus_region *region, uint64_t offset, uint64_t size);
/* What the guest reads at the offset within the region: 1, 2, 4 or 8 bytes, naturally aligned,
 * replaced as one. For every shadow that the register is in, at every change, before the interrupt
 * that tells of it. Any thread; the caller sees to it that one does at a time. */
void posted_shadow_set(struct posted *p, int shadow, uint64_t offset, unsigned int size,
		       uint64_t value);

/* From now on. When it returns, nothing stands any more that the new mode hasn't. Any thread,
 * in handlers and with the device's lock held too; it may take milliseconds when the mode changes
 * (kvm/vm.h, vm_zone_add()). */
void posted_set_mode(struct posted *p, enum posted_mode mode);

/* I/O thread: a doorbell has rung. Carries out what was posted before it. */
void posted_bell(struct posted *p);

/* Does the I/O thread poll for posted writes now, so that work may be left to it? Any thread. */
static inline bool posted_engaged(const struct posted *p)
{
	return __atomic_load_n(&p->engaged, __ATOMIC_RELAXED);
}

/* Is anything of it realised now? For tests and `info`. Any thread. */
bool posted_stands(struct posted *p);

#endif
