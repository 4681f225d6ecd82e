/*
 * The virtqueue, device side: pop, fill, one flush. Virtio 1.3 §2.7 (split), with the legacy layout
 * of §2.7.2, and §2.8 (packed).
 *
 *	            descriptor table          available ring      used ring
 *	            addr len flags next       flags idx ring[]    flags idx ring[]
 *	driver ---> writes                    writes, doorbell    reads <------------ interrupt
 *	device      reads (once, checked)     reads <--- pop      writes <--- fill ... flush
 *
 * Packed, there is one ring: a used descriptor takes the place of an available one, and who owns it
 * is told by two flags in it, against a counter that changes with every round (ring_packed.c).
 *
 * A queue belongs to one I/O thread; nothing here takes a lock. Every word of the guest's is read
 * once and checked: a ring that makes no sense latches the queue and, through `broken`, the device;
 * it never ends or hangs anything. The work that a chain can cause is bounded by the size of its
 * table and by the iovecs that the caller has.
 *
 * The functions are the interface; the fields "of the I/O thread" are the rings' own business. The
 * format is a branch on a constant of the queue in front of direct calls, so that neither pays for
 * the other.
 */
#ifndef VIREO_VIRTIO_RING_H
#define VIREO_VIRTIO_RING_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/uio.h>

#include "base/counter.h"
#include "base/err.h"
#include "kvm/mem.h"

#define VIRTQ_SIZE_MAX 32768 /* entries, the most that virtio has; a power of two for split rings */

/* A position (see virtq_start()) that stands for a ring nobody has used yet, of either format. */
#define VIRTQ_POSITION_NEW UINT32_MAX

struct vring_avail;
struct vring_desc;
struct vring_packed_desc;
struct vring_packed_desc_event;
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
	bool packed;		  /* negotiated: avail and used are event suppression structures */
	bool event_idx, indirect; /* negotiated */
	bool notify_on_empty;	  /* negotiated; legacy drivers only */
};

/* A chain of buffers: what the driver wrote for us (out), then what it wants written (in). The
 * pieces are in the caller's array: iov[0..n_out), iov[n_out..n_out+n_in). No piece is empty. */
struct virtq_chain {
	struct iovec *iov;
	uint16_t n_out, n_in; /* pieces */
	uint16_t head;	      /* descriptor index, packed: buffer id; for virtq_fill */
	uint16_t descs;	      /* packed: entries of the ring it takes; for virtq_fill */
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
	const struct mem_range *near; /* where the last buffer was found */
	uint16_t size;
	bool packed;
	bool kicks; /* doorbells are asked for */
	bool latched;
	union {
		struct { /* split */
			struct vring_desc *desc;
			struct vring_avail *avail;
			struct vring_used *used;
			uint16_t avail_next;   /* next entry of the available ring to pop */
			uint16_t avail_seen;   /* avail->idx as last read, and found good */
			uint16_t used_next;    /* next entry of the used ring to fill */
			uint16_t used_flushed; /* used->idx as last published */
			bool signalled;	       /* flushed since start: used_event means something */
		};
		struct { /* packed */
			struct vring_packed_desc *ring;
			const struct vring_packed_desc_event *driver;
			struct vring_packed_desc_event *device;
			uint16_t avail_at, used_at; /* next entries to pop, and to fill */
			bool avail_wrap, used_wrap; /* the wrap counters there */
			uint16_t in_flight;	    /* entries popped, not flushed */
			uint16_t batch;		    /* of these: filled */
			uint16_t batch_at;	    /* where the batch starts */
			uint64_t batch_first;	    /* len, id, flags to be written there */
			uint16_t pop_at;	    /* where descs goes on */
			uint16_t *descs;	    /* of the `size` chains popped last, a ring */
		};
	};
};

/* What is wrong with a configuration (a size that can't be, an area not aligned or outside RAM), or
 * NULL. */
const char *virtq_config_error(const struct mem *mem, const struct virtq_config *config);

/* Maps the rings and starts at `position`: VIRTQ_POSITION_NEW, or what virtq_stop() returned for
 * such a configuration. q->mem is set. Doorbells are off. 0, or -EINVAL: virtq_config_error() says
 * why, or the position is none of such a ring. */
int virtq_start(struct virtq *q, const struct virtq_config *config, uint32_t position);
/* Forgets the rings; returns the position. Every chain has been filled and flushed, or given back
 * by virtq_unpop(). The position: split, the index of the next entry; packed, bits 0-14 the next
 * entry to pop, 15 the wrap counter there, 16-30 and 31 the same of the next entry to fill. */
uint32_t virtq_stop(struct virtq *q);

/* Latches by a device's own judgement (a header too short, no room for an answer). */
void virtq_latch(struct virtq *q, const char *reason);

/* ---- the two formats; callers want the functions below ---- */

int virtq_split_pop(struct virtq *q, struct virtq_chain *chain, struct iovec *iov,
		    unsigned int max);
void virtq_split_unpop(struct virtq *q, uint16_t n);
void virtq_split_fill(struct virtq *q, const struct virtq_chain *chain, uint32_t written);
void virtq_split_flush(struct virtq *q);
bool virtq_split_pending(struct virtq *q);
void virtq_split_kicks_off(struct virtq *q);
bool virtq_split_kicks_on(struct virtq *q);

int virtq_packed_pop(struct virtq *q, struct virtq_chain *chain, struct iovec *iov,
		     unsigned int max);
void virtq_packed_unpop(struct virtq *q, uint16_t n);
void virtq_packed_fill(struct virtq *q, const struct virtq_chain *chain, uint32_t written);
void virtq_packed_flush(struct virtq *q);
bool virtq_packed_pending(struct virtq *q);
void virtq_packed_kicks_off(struct virtq *q);
bool virtq_packed_kicks_on(struct virtq *q);

/* Takes the next chain into at most `max` pieces of iov (max <= 65535). 1 = got one, 0 = none,
 * -EPROTO = the ring is malformed (latched), -E2BIG = it needs more pieces than max (not taken:
 * call again with more, or latch). */
static inline int virtq_pop(struct virtq *q, struct virtq_chain *chain, struct iovec *iov,
			    unsigned int max)
{
	return q->packed ? virtq_packed_pop(q, chain, iov, max)
			 : virtq_split_pop(q, chain, iov, max);
}

/* Gives the n chains popped last back, as if never popped. None of them has been filled. */
static inline void virtq_unpop(struct virtq *q, uint16_t n)
{
	if (q->packed)
		virtq_packed_unpop(q, n);
	else
		virtq_split_unpop(q, n);
}

/* Gives the chain to the driver, `written` bytes put into its in pieces. Seen by the driver at the
 * next flush. */
static inline void virtq_fill(struct virtq *q, const struct virtq_chain *chain, uint32_t written)
{
	if (q->packed)
		virtq_packed_fill(q, chain, written);
	else
		virtq_split_fill(q, chain, written);
}

/* Publishes what was filled, in one store, and interrupts the driver if it wants that. */
static inline void virtq_flush(struct virtq *q)
{
	if (q->packed)
		virtq_packed_flush(q);
	else
		virtq_split_flush(q);
}

/* Are there chains to pop? One load of avail->idx, or of a descriptor's flags, at most. */
static inline bool virtq_pending(struct virtq *q)
{
	return q->packed ? virtq_packed_pending(q) : virtq_split_pending(q);
}

/* Doorbells off while we look by ourselves; on before we sleep. _on returns true when there is
 * something to pop, which may have come without a doorbell. */
static inline void virtq_kicks_off(struct virtq *q)
{
	if (q->packed)
		virtq_packed_kicks_off(q);
	else
		virtq_split_kicks_off(q);
}

static inline bool virtq_kicks_on(struct virtq *q)
{
	return q->packed ? virtq_packed_kicks_on(q) : virtq_split_kicks_on(q);
}

#endif
