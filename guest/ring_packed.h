/*
 * The packed ring's half of ring.h: what its functions do when `packed` is set.
 */
#ifndef GUEST_RING_PACKED_H
#define GUEST_RING_PACKED_H

#include "ring.h"

/* Size, lists and cookies are there. */
void ring_packed_init(struct ring *ring);
bool ring_packed_add(struct ring *ring, const struct ring_segment *segments, uint32_t n_out,
		     uint32_t n_in, void *cookie);
bool ring_packed_publish(struct ring *ring);
void *ring_packed_take(struct ring *ring, uint32_t *length);
uint16_t ring_packed_pending(const struct ring *ring);
bool ring_packed_arm(struct ring *ring, uint16_t n);
void ring_packed_disarm(struct ring *ring);

/* The AVAIL and USED bits that make the next descriptor available. */
uint16_t ring_packed_flags(const struct ring *ring);

#endif
