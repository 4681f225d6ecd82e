/*
 * The packed ring (virtio 1.3 section 2.8) behind ring.h: one ring of descriptors, which the driver
 * makes available and the device turns into used ones, and an event structure for each side.
 *
 * The flags of the first descriptor added since the last ring_publish() are written by that; the
 * device reads in order, so it sees nothing behind it before. Loads and stores keep their order on
 * x86, as in ring.c.
 */
#include "ring_packed.h"

#include "lib.h"
#include "memory.h"

#define F_AVAIL	    (1 << VRING_PACKED_DESC_F_AVAIL)
#define F_USED	    (1 << VRING_PACKED_DESC_F_USED)
#define WRAP	    (1 << VRING_PACKED_EVENT_F_WRAP_CTR)
#define EVENT_FLAGS 3
#define END_OF_LIST 0xffff

void ring_packed_init(struct ring *ring)
{
	uint8_t *base = memory_alloc(ring->size * sizeof(*ring->entries) + 64, 4096);

	ring->entries = (void *)base;
	/* Both in the cache line behind the ring. */
	base += (ring->size * sizeof(*ring->entries) + 7) & -8;
	ring->driver_event = (void *)base;
	ring->device_event = (void *)(base + 4);
	ring->lengths = memory_alloc(ring->size * sizeof(*ring->lengths), 64);
	ring->avail_wrap = ring->used_wrap = true;
}

uint16_t ring_packed_flags(const struct ring *ring)
{
	return ring->avail_wrap ? F_AVAIL : F_USED;
}

static void advance(const struct ring *ring, uint16_t *at, bool *wrap, uint16_t n)
{
	*at += n;
	if (*at >= ring->size) {
		*at -= ring->size;
		*wrap = !*wrap;
	}
}

/* One descriptor, at the next place. */
static void put(struct ring *ring, uint64_t address, uint32_t length, uint16_t id, uint16_t flags)
{
	volatile struct vring_packed_desc *e = &ring->entries[ring->avail_at];

	flags |= ring_packed_flags(ring);
	e->addr = address;
	e->len = length;
	e->id = id;
	if (ring->n_unpublished++) {
		barrier();
		e->flags = flags;
	} else {
		ring->first_at = ring->avail_at;
		ring->first_flags = flags;
	}
	advance(ring, &ring->avail_at, &ring->avail_wrap, 1);
}

/* In an indirect table only one flag means something (section 2.8.7). */
static void put_table(struct ring *ring, uint16_t id, const struct ring_segment *segments,
		      uint32_t n_out, uint32_t n)
{
	struct vring_packed_desc *table = (void *)&ring->tables[id * RING_MAX_INDIRECT];

	for (uint32_t i = 0; i < n; i++)
		table[i] = (struct vring_packed_desc){
			.addr = segments[i].address,
			.len = segments[i].length,
			.flags = i >= n_out ? VRING_DESC_F_WRITE : 0,
		};
	put(ring, memory_address(table), n * sizeof(*table), id, VRING_DESC_F_INDIRECT);
}

bool ring_packed_add(struct ring *ring, const struct ring_segment *segments, uint32_t n_out,
		     uint32_t n_in, void *cookie)
{
	uint32_t n = n_out + n_in, needed = n;
	uint16_t id = ring->free_head;

	if (ring->indirect && n > 1 && n <= RING_MAX_INDIRECT)
		needed = 1;
	if (ring->n_free < needed)
		return false;
	ring->free_head = ring->next[id];
	ring->next[id] = END_OF_LIST;
	ring->n_free -= needed;
	ring->cookies[id] = cookie;
	ring->lengths[id] = needed;
	ring->avail_index++;
	if (needed < n) {
		put_table(ring, id, segments, n_out, n);
		return true;
	}
	for (uint32_t i = 0; i < n; i++)
		put(ring, segments[i].address, segments[i].length, id,
		    (i >= n_out ? VRING_DESC_F_WRITE : 0) | (i + 1 < n ? VRING_DESC_F_NEXT : 0));
	return true;
}

/* Does the device want to hear of n more entries from `at` on? */
static bool wants_bell(const struct ring *ring, uint16_t at, bool wrap, uint16_t n)
{
	uint32_t event = *(volatile uint32_t *)ring->device_event;
	int32_t entry = event & (WRAP - 1), ahead;

	switch (event >> 16 & EVENT_FLAGS) {
	case VRING_PACKED_EVENT_FLAG_DISABLE:
		return false;
	case VRING_PACKED_EVENT_FLAG_DESC:
		ahead = entry - at + (wrap == !!(event & WRAP) ? 0 : ring->size);
		if (ahead < 0)
			ahead += 2 * ring->size;
		return ahead < n;
	default:
		return true;
	}
}

bool ring_packed_publish(struct ring *ring)
{
	uint16_t n = ring->n_unpublished;
	bool wanted;

	if (!n)
		return false;
	barrier();
	ring->entries[ring->first_at].flags = ring->first_flags;
	ring->n_unpublished = 0;
	ring->published_index = ring->avail_index;
	/* Pairs with the device's, between asking for a doorbell and looking again. */
	barrier_store_load();
	wanted = wants_bell(ring, ring->first_at, ring->first_flags & F_AVAIL, n);
	if (wanted)
		ring_bell(ring);
	return wanted;
}

static bool is_used(const struct ring *ring, uint16_t at, bool wrap)
{
	uint16_t flags = ring->entries[at].flags & (F_AVAIL | F_USED);

	return flags == (wrap ? F_AVAIL | F_USED : 0);
}

/* Used and not taken: chains, and how many entries they have. */
static uint16_t pending(const struct ring *ring, uint16_t *entries)
{
	uint16_t at = ring->used_at, chains = 0;
	bool wrap = ring->used_wrap;

	*entries = 0;
	while (chains < ring_in_flight(ring) && is_used(ring, at, wrap)) {
		uint16_t id = ring->entries[at].id, n = id < ring->size ? ring->lengths[id] : 1;

		chains++;
		*entries += n;
		advance(ring, &at, &wrap, n);
	}
	return chains;
}

uint16_t ring_packed_pending(const struct ring *ring)
{
	uint16_t entries;

	return pending(ring, &entries);
}

void *ring_packed_take(struct ring *ring, uint32_t *length)
{
	volatile struct vring_packed_desc *e = &ring->entries[ring->used_at];
	uint16_t id;
	void *cookie;

	if (!is_used(ring, ring->used_at, ring->used_wrap) || !ring_in_flight(ring))
		return NULL;
	barrier();
	id = e->id;
	/* Without the flag the length means nothing (section 2.8.4). */
	*length = e->flags & VRING_DESC_F_WRITE ? e->len : 0;
	if (id >= ring->size || !ring->cookies[id]) {
		ring->broken = true;
		return NULL;
	}
	cookie = ring->cookies[id];
	ring->cookies[id] = NULL;
	ring->used_index++;
	advance(ring, &ring->used_at, &ring->used_wrap, ring->lengths[id]);
	ring->n_free += ring->lengths[id];
	ring->next[id] = ring->free_head;
	ring->free_head = id;
	return cookie;
}

static void driver_event(struct ring *ring, uint16_t off_wrap, uint16_t flags)
{
	*(volatile uint32_t *)ring->driver_event = off_wrap | (uint32_t)flags << 16;
}

bool ring_packed_arm(struct ring *ring, uint16_t n)
{
	uint16_t at = ring->used_at, entries;
	bool wrap = ring->used_wrap;

	ring->armed = true;
	if (!ring->event_index)
		n = 1;
	n = MIN(n, ring->size);
	advance(ring, &at, &wrap, n - 1);
	if (ring->event_index)
		driver_event(ring, at | (wrap ? WRAP : 0), VRING_PACKED_EVENT_FLAG_DESC);
	else
		driver_event(ring, 0, VRING_PACKED_EVENT_FLAG_ENABLE);
	/* Pairs with the device's, between marking entries used and reading the event. */
	barrier_store_load();
	pending(ring, &entries);
	return entries < n;
}

void ring_packed_disarm(struct ring *ring)
{
	ring->armed = false;
	driver_event(ring, 0, VRING_PACKED_EVENT_FLAG_DISABLE);
}
