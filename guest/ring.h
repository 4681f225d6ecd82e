/*
 * A driver's side of a virtqueue, in the verbs add, publish, take. What is behind them is the
 * split ring (virtio 1.3 section 2.7) or the packed one (section 2.8), with indirect descriptors
 * and the event index where negotiated.
 *
 *	ring_add() ... ring_add()	chains of buffers, not visible to the device yet
 *	ring_publish()			visible; rings the doorbell if the device wants that
 *	ring_take()			one used chain's cookie, NULL if there is none
 *
 * Interrupts start suppressed; ring_arm() asks for one. The ring's memory is guest RAM that
 * ring_init() took; buffers belong to the caller, and to the device from ring_publish() to
 * ring_take().
 */
#ifndef GUEST_RING_H
#define GUEST_RING_H

#include <linux/virtio_ring.h>
#include <stdbool.h>
#include <stdint.h>

#define RING_MAX_SIZE	  1024
#define RING_MAX_INDIRECT 64 /* segments in an indirect table */

struct ring_segment {
	uint64_t address; /* guest-physical */
	uint32_t length;  /* bytes */
};

struct ring {
	uint16_t index; /* the queue's */
	uint16_t size;
	bool event_index;
	bool indirect;
	bool packed;

	/* Shared with the device: split. */
	volatile struct vring_desc *desc;
	volatile struct vring_avail *avail;
	volatile struct vring_used *used;
	volatile uint16_t *used_event;	/* what the driver asks, behind avail->ring */
	volatile uint16_t *avail_event; /* what the device asks, behind used->ring */

	/* Packed. */
	volatile struct vring_packed_desc *entries;
	volatile struct vring_packed_desc_event *driver_event; /* what the driver asks */
	volatile struct vring_packed_desc_event *device_event; /* what the device asks */

	/* The driver's own. Packed: a buffer's id where the split ring has the head. */
	struct vring_desc *tables; /* RING_MAX_INDIRECT for each head */
	void **cookies;		   /* by head */
	uint16_t *next; /* list of free descriptors, and each chain's own; packed: of free ids */
	uint16_t free_head;
	uint16_t n_free;	  /* descriptors */
	uint16_t avail_index;	  /* added */
	uint16_t published_index; /* visible to the device */
	uint16_t used_index;	  /* taken */
	uint16_t suppressed_at;	  /* used_index when used_event was last pushed away */
	uint16_t *lengths;	  /* packed: entries, by id */
	uint16_t avail_at, used_at;
	bool avail_wrap, used_wrap;
	uint16_t n_unpublished, first_at, first_flags; /* entries added and not visible */
	bool armed;
	bool broken; /* the device returned what it doesn't have: nothing is taken any more */

	/* The doorbell: a store, or a port where that is NULL. */
	volatile uint16_t *doorbell;
	uint16_t port;

	uint64_t n_doorbells;
};

/*
 * Makes an empty ring. Split: of a power of two, in the legacy layout, the used part on a page of
 * its own (section 2.7.2).
 */
void ring_init(struct ring *ring, uint16_t index, uint16_t size, bool event_index, bool indirect,
	       bool packed);

/*
 * Adds a chain: n_out segments that the device reads, then n_in that it writes. Several segments go
 * into an indirect table if that was negotiated. False if there is no room. cookie isn't NULL.
 */
bool ring_add(struct ring *ring, const struct ring_segment *segments, uint32_t n_out, uint32_t n_in,
	      void *cookie);

/* Returns true if the doorbell was rung. */
bool ring_publish(struct ring *ring);

/* length: bytes the device wrote. */
void *ring_take(struct ring *ring, uint32_t *length);

/* Chains that the device has used and nobody has taken. */
uint16_t ring_pending(const struct ring *ring);

/* Chains that the device has not returned. */
uint16_t ring_in_flight(const struct ring *ring);

/*
 * Asks for an interrupt once n more chains are used (without the event index: one; packed: n more
 * descriptors). False if they are already: then none may come.
 */
bool ring_arm(struct ring *ring, uint16_t n);
void ring_disarm(struct ring *ring);

/* Rings, whether the device wants it or not. */
void ring_bell(struct ring *ring);

#endif
