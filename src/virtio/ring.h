/*
 * The virtqueue, device side: pop, fill, one flush. Virtio 1.3 §2.7 (split), and the legacy layout
 * of §2.7.2.
 *
 *	            descriptor table          available ring      used ring
 *	            addr len flags next       flags idx ring[]    flags idx ring[]
 *	driver ---> writes                    writes, doorbell    reads <------------ interrupt
 *	device      reads (once, checked)     reads <--- pop      writes <--- fill ... flush
 *
 * A queue belongs to one I/O thread; nothing here takes a lock. Every word of the guest's is read
 * once and checked: a ring that makes no sense latches the queue and, through `broken`, the device;
 * it never ends or hangs anything. The work that a chain can cause is bounded by the size of its
 * table and by the iovecs that the caller has.
 *
 * The functions are the interface; the fields "of the I/O thread" are the split ring's own
 * business, so that another ring format can stand behind the same calls.
 */
#ifndef VIREO_VIRTIO_RING_H
#define VIREO_VIRTIO_RING_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/uio.h>

#include "base/counter.h"
#include "base/err.h"
#include "kvm/mem.h"

#define VIRTQ_SIZE_MAX 1024 /* entries; a power of two for split rings */

struct vring_avail;
struct vring_desc;
struct vring_used;

struct virtq_counters {
	struct counter kicks;	   /* doorbells that arrived */
	struct counter chains;	   /* popped */
	struct counter batches;	   /* flushes that published something */
	struct counter notified;   /* interrupts sent */
	struct counter suppressed; /* flushes that sent none: the driver didn't want it */
	struct counter malformed;  /* times that this queue was the one that latched */
};
extern const struct counter_desc virtq_counter_table[];

/* What the driver set before it enabled the queue. */
struct virtq_config {
	uint16_t size;
	uint64_t desc, avail, used; /* guest-physical; "driver" and "device" area */
	bool event_idx, indirect;   /* negotiated */
	bool notify_on_empty;	    /* negotiated; legacy drivers only */
};

/* A chain of buffers: what the driver wrote for us (out), then what it wants written (in). The
 * pieces are in the caller's array: iov[0..n_out), iov[n_out..n_out+n_in). No piece is empty. */
struct virtq_chain {
	struct iovec *iov;
	uint16_t n_out, n_in; /* pieces */
	uint16_t head;	      /* descriptor index; for virtq_fill */
	uint32_t out_bytes, in_bytes;
};

struct virtq {
	/* Set by the owner (transport) and read by anyone. */
	uint16_t index;
	struct virtq_config config; /* as started */
	const struct mem *mem;
	void (*notify)(struct virtq *q);		     /* deliver its interrupt */
	void (*broken)(struct virtq *q, const char *reason); /* latch the device */
	void *opaque;
	struct virtq_counters counters;

	/* The I/O thread's. Pointers into guest memory, valid between start and stop. */
	struct vring_desc *desc;
	struct vring_avail *avail;
	struct vring_used *used;
	const struct mem_range *near; /* where the last buffer was found */
	uint16_t size;
	uint16_t avail_next;   /* next entry of the available ring to pop */
	uint16_t avail_seen;   /* avail->idx as last read, and found good */
	uint16_t used_next;    /* next entry of the used ring to fill */
	uint16_t used_flushed; /* used->idx as last published */
	bool signalled;	       /* flushed since start: used_event means something */
	bool kicks;	       /* doorbells are asked for */
	bool latched;
};

/* What is wrong with a configuration (size not a power of two, an area not aligned or outside RAM),
 * or NULL. */
const char *virtq_config_error(const struct mem *mem, const struct virtq_config *config);

/* Maps the rings and starts at `position`: 0, or what virtq_stop() returned. q->mem is set.
 * Doorbells are off. 0, or -EINVAL: virtq_config_error() says why. */
int virtq_start(struct virtq *q, const struct virtq_config *config, uint32_t position);
/* Forgets the rings; returns the position. Every chain has been filled and flushed, or given back
 * by virtq_unpop(). */
uint32_t virtq_stop(struct virtq *q);

/* Takes the next chain into at most `max` pieces of iov (max <= 65535). 1 = got one, 0 = none,
 * -EPROTO = the ring is malformed (latched), -E2BIG = it needs more pieces than max (not taken:
 * call again with more, or latch). */
int virtq_pop(struct virtq *q, struct virtq_chain *chain, struct iovec *iov, unsigned int max);
/* Gives the n chains popped last back, as if never popped. None of them has been filled. */
void virtq_unpop(struct virtq *q, uint16_t n);
/* Gives the chain to the driver, `written` bytes put into its in pieces. Seen by the driver at the
 * next flush. */
void virtq_fill(struct virtq *q, const struct virtq_chain *chain, uint32_t written);
/* Publishes what was filled, in one store, and interrupts the driver if it wants that. */
void virtq_flush(struct virtq *q);

/* Are there chains to pop? One load of avail->idx at most. */
bool virtq_pending(struct virtq *q);
/* Doorbells off while we look by ourselves; on before we sleep. _on returns true when there is
 * something to pop, which may have come without a doorbell. */
void virtq_kicks_off(struct virtq *q);
bool virtq_kicks_on(struct virtq *q);

/* Latches by a device's own judgement (a header too short, no room for an answer). */
void virtq_latch(struct virtq *q, const char *reason);

#endif
