/*
 * See ring.h; the packed ring is in ring_packed.c. x86 keeps loads in order, and stores in order, so that compiler barriers do, except
 * between publishing and reading what the device asked for (ring_publish(), ring_arm()).
 */
#include "ring.h"

#include "gate.h"
#include "lib.h"
#include "memory.h"
#include "ring_packed.h"

#define END_OF_LIST 0xffff

/* With the event index an interrupt can't be forbidden, only be put off by this many. */
#define FAR_AWAY 0x8000

static void split_init(struct ring *ring)
{
	uint16_t size = ring->size;
	uint8_t *base = memory_alloc(vring_size(size, 4096), 4096);

	ring->desc = (void *)base;
	ring->avail = (void *)(base + size * sizeof(struct vring_desc));
	ring->used = (void *)((memory_address(&ring->avail->ring[size + 1]) + 4095) & -4096ull);
	ring->used_event = &ring->avail->ring[size];
	ring->avail_event = (volatile uint16_t *)&ring->used->ring[size];
}

void ring_init(struct ring *ring, uint16_t index, uint16_t size, bool event_index, bool indirect,
	       bool packed)
{
	*ring = (struct ring){
		.index = index,
		.size = size,
		.event_index = event_index,
		.indirect = indirect,
		.packed = packed,
		.n_free = size,
	};
	if (packed)
		ring_packed_init(ring);
	else
		split_init(ring);
	ring->cookies = memory_alloc(size * sizeof(*ring->cookies), 64);
	ring->next = memory_alloc(size * sizeof(*ring->next), 64);
	if (indirect)
		ring->tables =
			memory_alloc(size * RING_MAX_INDIRECT * sizeof(struct vring_desc), 64);
	for (uint32_t i = 0; i < size; i++)
		ring->next[i] = i + 1 < size ? i + 1 : END_OF_LIST;
	ring_disarm(ring);
}

/* Fills an indirect table. */
static void fill_table(struct vring_desc *table, const struct ring_segment *segments,
		       uint32_t n_out, uint32_t n)
{
	for (uint32_t i = 0; i < n; i++)
		table[i] = (struct vring_desc){
			.addr = segments[i].address,
			.len = segments[i].length,
			.flags = (i >= n_out ? VRING_DESC_F_WRITE : 0) |
				 (i + 1 < n ? VRING_DESC_F_NEXT : 0),
			.next = i + 1,
		};
}

static void fill_chain(struct ring *ring, uint16_t head, const struct ring_segment *segments,
		       uint32_t n_out, uint32_t n)
{
	uint16_t d = head;

	for (uint32_t i = 0; i < n; i++) {
		volatile struct vring_desc *desc = &ring->desc[d];
		bool last = i + 1 == n;

		desc->addr = segments[i].address;
		desc->len = segments[i].length;
		desc->flags =
			(i >= n_out ? VRING_DESC_F_WRITE : 0) | (last ? 0 : VRING_DESC_F_NEXT);
		if (!last) {
			desc->next = ring->next[d];
			d = ring->next[d];
		}
	}
}

bool ring_add(struct ring *ring, const struct ring_segment *segments, uint32_t n_out, uint32_t n_in,
	      void *cookie)
{
	uint32_t n = n_out + n_in, needed = n;
	uint16_t head = ring->free_head, last = head;

	if (ring->packed)
		return ring_packed_add(ring, segments, n_out, n_in, cookie);
	if (ring->indirect && n > 1 && n <= RING_MAX_INDIRECT)
		needed = 1;
	if (ring->n_free < needed)
		return false;
	for (uint32_t i = 1; i < needed; i++)
		last = ring->next[last];
	if (needed < n) {
		struct vring_desc *table = &ring->tables[head * RING_MAX_INDIRECT];

		fill_table(table, segments, n_out, n);
		ring->desc[head].addr = memory_address(table);
		ring->desc[head].len = n * sizeof(*table);
		ring->desc[head].flags = VRING_DESC_F_INDIRECT;
	} else {
		fill_chain(ring, head, segments, n_out, n);
	}
	ring->free_head = ring->next[last];
	ring->next[last] = END_OF_LIST;
	ring->n_free -= needed;
	ring->cookies[head] = cookie;
	ring->avail->ring[ring->avail_index & (ring->size - 1)] = head;
	ring->avail_index++;
	return true;
}

void ring_bell(struct ring *ring)
{
	ring->n_doorbells++;
	if (ring->doorbell)
		*ring->doorbell = ring->index;
	else
		gate_out16(ring->port, ring->index);
}

bool ring_publish(struct ring *ring)
{
	uint16_t old = ring->published_index, new = ring->avail_index;
	bool wanted;

	if (ring->packed)
		return ring_packed_publish(ring);
	if (old == new)
		return false;
	barrier();
	ring->avail->idx = new;
	ring->published_index = new;
	/* Pairs with the device's, between asking for a doorbell and reading avail->idx again. */
	barrier_store_load();
	if (ring->event_index)
		wanted = vring_need_event(*ring->avail_event, new, old);
	else
		wanted = !(ring->used->flags & VRING_USED_F_NO_NOTIFY);
	if (wanted)
		ring_bell(ring);
	return wanted;
}

uint16_t ring_pending(const struct ring *ring)
{
	if (ring->packed)
		return ring_packed_pending(ring);
	return ring->used->idx - ring->used_index;
}

uint16_t ring_in_flight(const struct ring *ring)
{
	return ring->avail_index - ring->used_index;
}

static void free_chain(struct ring *ring, uint16_t head)
{
	uint16_t last = head, n = 1;

	while (ring->next[last] != END_OF_LIST) {
		last = ring->next[last];
		n++;
	}
	ring->next[last] = ring->free_head;
	ring->free_head = head;
	ring->n_free += n;
}

void *ring_take(struct ring *ring, uint32_t *length)
{
	volatile struct vring_used_elem *elem;
	uint32_t head;
	void *cookie;

	if (ring->packed)
		return ring_packed_take(ring, length);
	if (!ring_pending(ring))
		return NULL;
	barrier();
	elem = &ring->used->ring[ring->used_index & (ring->size - 1)];
	head = elem->id;
	*length = elem->len;
	if (ring_pending(ring) > ring->size || head >= ring->size || !ring->cookies[head]) {
		ring->broken = true;
		return NULL;
	}
	cookie = ring->cookies[head];
	ring->cookies[head] = NULL;
	ring->used_index++;
	free_chain(ring, head);
	if (!ring->armed && (uint16_t)(ring->used_index - ring->suppressed_at) > FAR_AWAY / 4)
		ring_disarm(ring);
	return cookie;
}

bool ring_arm(struct ring *ring, uint16_t n)
{
	if (ring->packed)
		return ring_packed_arm(ring, n);
	ring->armed = true;
	if (ring->event_index)
		*ring->used_event = ring->used_index + n - 1;
	else
		ring->avail->flags = 0;
	/*
	 * Pairs with the device's, between writing used->idx and reading what the driver asked
	 * for.
	 */
	barrier_store_load();
	return ring_pending(ring) < (ring->event_index ? n : 1);
}

void ring_disarm(struct ring *ring)
{
	if (ring->packed) {
		ring_packed_disarm(ring);
		return;
	}
	ring->armed = false;
	ring->suppressed_at = ring->used_index;
	if (ring->event_index)
		*ring->used_event = ring->used_index + FAR_AWAY;
	else
		ring->avail->flags = VRING_AVAIL_F_NO_INTERRUPT;
}
