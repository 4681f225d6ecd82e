/*
 * Hostile cases in a packed ring's own memory (virtio 1.3 section 2.8): descriptors, chains,
 * indirect tables, wrap counters, event structures, and where these are.
 */
#include "boot.h"
#include "hostile.h"
#include "lib.h"
#include "memory.h"
#include "ring_packed.h"

#define NEXT	 VRING_DESC_F_NEXT
#define WRITE	 VRING_DESC_F_WRITE
#define INDIRECT VRING_DESC_F_INDIRECT
#define BOTH	 (1 << VRING_PACKED_DESC_F_AVAIL | 1 << VRING_PACKED_DESC_F_USED)

/* Entries that a case prepares, before the device sees any. */
static struct vring_packed_desc draft[TARGET_QUEUE_SIZE + 1];

/* A good request in the draft; returns how many entries. A case then breaks one of them. */
static uint32_t good(struct hostile *h)
{
	struct ring_segment s[3];
	uint32_t n_in, n_out = target_request(&h->t, s, &n_in), n = n_out + n_in;

	for (uint32_t i = 0; i < n; i++)
		draft[i] = (struct vring_packed_desc){s[i].address, s[i].length, 0,
						      (i >= n_out ? WRITE : 0) |
							      (i + 1 < n ? NEXT : 0)};
	return n;
}

/* Makes n entries of the draft available, the first one last, and tells the device. */
static void offer(struct hostile *h, uint32_t n)
{
	struct ring *ring = &h->t.ring;

	for (uint32_t i = n; i-- > 0;) {
		uint32_t at = ring->avail_at + i;
		volatile struct vring_packed_desc *e = &ring->entries[at % ring->size];

		e->addr = draft[i].addr;
		e->len = draft[i].len;
		e->id = draft[i].id;
		barrier();
		e->flags =
			draft[i].flags ^ ring_packed_flags(ring) ^ (at / ring->size & 1 ? BOTH : 0);
	}
	barrier_store_load();
	ring_bell(ring);
}

/* Every entry of the ring goes on with the next. */
static const char *loop(struct hostile *h)
{
	uint16_t write = good(h) && draft[0].flags & WRITE;

	for (uint32_t i = 0; i < h->t.ring.size; i++)
		draft[i] = (struct vring_packed_desc){memory_address(h->scratch) + i * 64, 64, 0,
						      write * WRITE | NEXT};
	offer(h, h->t.ring.size);
	return NULL;
}

/* The chain goes on with an entry that isn't available: detail: flags of it that are changed. */
static const char *open_chain(struct hostile *h)
{
	uint32_t n = good(h);

	draft[n - 1].flags |= NEXT;
	draft[n] = draft[n - 1];
	draft[n].flags ^= hostile_now->detail;
	offer(h, n + 1);
	return NULL;
}

/* detail: the id of the last entry, 0x10000: the ring's size. */
static const char *id(struct hostile *h)
{
	uint32_t n = good(h), wanted = hostile_now->detail;

	draft[n - 1].id = wanted == 0x10000 ? h->t.ring.size : wanted;
	offer(h, n);
	return NULL;
}

enum place {
	HOLE,
	ACROSS_END,
	BEYOND,
	WRAP,
	HUGE
};

/* detail: where the last entry's buffer is. */
static const char *address(struct hostile *h)
{
	uint32_t n = good(h);
	struct vring_packed_desc *d = &draft[n - 1];

	switch (hostile_now->detail) {
	case HOLE:
		d->addr = hostile_hole();
		break;
	case ACROSS_END:
		d->addr = boot_low_ram_end() - 8;
		d->len = 1 << 16;
		break;
	case BEYOND:
		d->addr = 1ull << 52;
		break;
	case WRAP:
		d->addr = ~0ull - 7;
		d->len = 4096;
		break;
	case HUGE:
		d->addr = memory_address(h->scratch);
		d->len = 0xffffffff;
		break;
	}
	offer(h, n);
	return NULL;
}

static const char *zero_length(struct hostile *h)
{
	uint32_t n = good(h);

	draft[n - 1].len = 0;
	offer(h, n);
	return NULL;
}

static const char *swapped(struct hostile *h)
{
	uint64_t at = memory_address(h->scratch);

	draft[0] = (struct vring_packed_desc){at, 512, 0, WRITE | NEXT};
	draft[1] = (struct vring_packed_desc){at + 512, 512, 0, NEXT};
	draft[2] = (struct vring_packed_desc){at + 1024, 512, 0, WRITE};
	offer(h, 3);
	return NULL;
}

/* A chain in byte-long pieces, as long as the ring. */
static const char *crumbs(struct hostile *h)
{
	uint16_t size = h->t.ring.size, write = good(h) && draft[0].flags & WRITE;

	for (uint32_t i = 0; i < size; i++)
		draft[i] = (struct vring_packed_desc){memory_address(h->scratch) + i, 1, 0,
						      write * WRITE | (i + 1 < size ? NEXT : 0)};
	offer(h, size);
	return NULL;
}

/* detail: what is done to the AVAIL and USED bits of all entries of a ring full of requests. */
static const char *wrong_round(struct hostile *h)
{
	uint16_t size = h->t.ring.size;

	good(h);
	for (uint32_t i = 1; i < size; i++)
		draft[i] = draft[0];
	for (uint32_t i = 0; i < size; i++) {
		draft[i].id = i;
		draft[i].flags = (draft[i].flags & WRITE) ^ hostile_now->detail;
	}
	offer(h, size);
	/* And the round after it, before anything can have been used. */
	for (uint32_t i = 0; i < size; i++)
		draft[i].flags ^= BOTH;
	offer(h, size);
	return NULL;
}

enum table {
	EMPTY,
	ODD,
	PART,
	VAST,
	NESTED,
	OUTSIDE,
	TABLE_WRAP,
	AND_NEXT,
	IN_CHAIN,
	LONG,
	OWN_RING
};

#define LONG_TABLE 4096

/* The draft's n entries as a table in scratch memory. */
static struct vring_packed_desc *make_table(struct hostile *h, uint32_t n)
{
	struct vring_packed_desc *table = (void *)h->scratch;

	for (uint32_t i = 0; i < n; i++)
		table[i] = draft[i];
	return table;
}

/* detail: what is wrong with the table. */
static const char *indirect(struct hostile *h)
{
	uint32_t n = good(h), write = draft[0].flags & WRITE;
	struct vring_packed_desc *table = make_table(h, n);
	struct vring_packed_desc d = {memory_address(table), n * sizeof(*table), 0, INDIRECT};

	switch (hostile_now->detail) {
	case EMPTY:
		d.len = 0;
		break;
	case ODD:
		d.len += 5;
		break;
	case PART:
		d.len = sizeof(*table) - 1;
		break;
	case VAST:
		d.len = 0xfffffff0;
		break;
	case NESTED:
		table[n - 1].flags |= INDIRECT;
		break;
	case OUTSIDE:
		d.addr = hostile_hole();
		break;
	case TABLE_WRAP:
		d.addr = ~0ull - 15;
		d.len = 64;
		break;
	case AND_NEXT:
		d.flags |= NEXT;
		draft[1] = table[n - 1];
		break;
	case IN_CHAIN:
		draft[0].flags |= NEXT;
		draft[1] = d;
		offer(h, 2);
		return NULL;
	case LONG:
		for (uint32_t i = 0; i < LONG_TABLE; i++)
			table[i] = (struct vring_packed_desc){memory_address(h->scratch) +
								      LONG_TABLE * sizeof(*table),
							      16, 0, write};
		d.len = LONG_TABLE * sizeof(*table);
		break;
	case OWN_RING:
		d.addr = memory_address(h->t.ring.entries);
		d.len = h->t.ring.size * sizeof(*table);
		break;
	}
	draft[0] = d;
	offer(h, 1 + (hostile_now->detail == AND_NEXT));
	return NULL;
}

/* detail: the driver's event structure; the device does its work and may interrupt or not. */
static const char *event(struct hostile *h)
{
	*(volatile uint32_t *)h->t.ring.driver_event = hostile_now->detail;
	for (uint32_t i = 0; i < 3 * h->t.ring.size; i++)
		if (!target_works(&h->t))
			return "not-working";
	return NULL;
}

/* Random descriptors and events while the device works. */
static const char *random_ring(struct hostile *h)
{
	uint64_t mark = memory_mark();

	for (uint32_t step = 0; step < h->count; step++) {
		struct ring *ring = &h->t.ring;
		uint32_t n = random_next(&h->seed) % 8 + 1;

		for (uint32_t i = 0; i < n; i++)
			draft[i] = (struct vring_packed_desc){
				hostile_address(h),
				random_next(&h->seed) >> (random_next(&h->seed) % 64),
				random_next(&h->seed) % (ring->size + 1),
				(random_next(&h->seed) & 7) |
					(random_next(&h->seed) % 16 ? 0 : BOTH)};
		*(volatile uint32_t *)ring->driver_event = random_next(&h->seed);
		offer(h, n);
		ring->avail_at += n;
		if (ring->avail_at >= ring->size) {
			ring->avail_at -= ring->size;
			ring->avail_wrap = !ring->avail_wrap;
		}
		if (step % 16 || !virtio_needs_reset(&h->t.dev))
			continue;
		/* Once latched the device looks at nothing: start again. */
		memory_release(mark);
		if (!target_start(&h->t, 1ull << VIRTIO_RING_F_INDIRECT_DESC, VIRTIO_POLLED))
			return "no-restart";
	}
	return NULL;
}

enum setup {
	SIZE_NONE,
	SIZE_OVER,
	RING_ODD,
	RING_HOLE,
	EVENT_ODD,
	EVENT_HOLE,
	SAME_PLACE
};

/* detail: what is wrong with the queue's size or places. */
static const char *setup(struct hostile *h)
{
	uint64_t at = memory_address(h->scratch), places[3] = {at, at + 0x8000, at + 0x9000};
	uint32_t size = TARGET_QUEUE_SIZE - 1;
	struct target *t = &h->t;

	if (!virtio_open(&t->dev, t->type, t->index, t->transport) ||
	    !virtio_negotiate(&t->dev, t->features))
		return "no-start";
	switch (hostile_now->detail) {
	case SIZE_NONE:
		size = 0;
		break;
	case SIZE_OVER:
		size = virtio_queue_max(&t->dev, t->queue) + 1;
		break;
	case RING_ODD:
		places[0] += 8;
		break;
	case RING_HOLE:
		places[0] = hostile_hole() & -16ull;
		break;
	case EVENT_ODD:
		places[1] += 2;
		break;
	case EVENT_HOLE:
		places[2] = hostile_hole() & -16ull;
		break;
	case SAME_PLACE: /* the device writes its event over the first entry: harm to the guest's */
		places[1] = places[2] = at;
		break;
	}
	virtio_queue_place(&t->dev, t->queue, size, places[0], places[1], places[2]);
	h->refused = !t->dev.common->queue_enable;
	virtio_ready(&t->dev);
	for (uint32_t i = 0; i < 3; i++)
		*virtio_doorbell(&t->dev, t->queue) = t->queue;
	return NULL;
}

#define FRESH (NEEDS_MODERN | NEEDS_FRESH)

const struct hostile_case hostile_packed_cases[] = {
	{"packed-loop", MUST_LATCH, 0, loop, 0},
	{"packed-chain-unavailable", MUST_LATCH, 0, open_chain, BOTH},
	{"packed-chain-used", MUST_LATCH, 0, open_chain, 1 << VRING_PACKED_DESC_F_USED},
	{"packed-id-size", MUST_LATCH, 0, id, 0x10000},
	{"packed-id-ffff", MUST_LATCH, 0, id, 0xffff},
	{"packed-address-hole", MUST_LATCH, 0, address, HOLE},
	{"packed-address-across-end", MUST_LATCH, 0, address, ACROSS_END},
	{"packed-address-beyond", MUST_LATCH, 0, address, BEYOND},
	{"packed-address-wrap", MUST_LATCH, 0, address, WRAP},
	{"packed-length-huge", MUST_LATCH, 0, address, HUGE},
	{"packed-length-zero", MAY_LATCH, 0, zero_length, 0},
	{"packed-order-swapped", MUST_LATCH, 0, swapped, 0},
	{"packed-crumbs", MAY_LATCH, 0, crumbs, 0},
	{"packed-round-early", MAY_LATCH, 0, wrong_round, 0},
	{"packed-round-never", MAY_LATCH, 0, wrong_round, BOTH},
	{"packed-indirect-empty", MUST_LATCH, NEEDS_INDIRECT, indirect, EMPTY},
	{"packed-indirect-odd", MUST_LATCH, NEEDS_INDIRECT, indirect, ODD},
	{"packed-indirect-part", MUST_LATCH, NEEDS_INDIRECT, indirect, PART},
	{"packed-indirect-vast", MUST_LATCH, NEEDS_INDIRECT, indirect, VAST},
	{"packed-indirect-nested", MAY_LATCH, NEEDS_INDIRECT, indirect, NESTED},
	{"packed-indirect-outside", MUST_LATCH, NEEDS_INDIRECT, indirect, OUTSIDE},
	{"packed-indirect-wrap", MUST_LATCH, NEEDS_INDIRECT, indirect, TABLE_WRAP},
	{"packed-indirect-and-next", MAY_LATCH, NEEDS_INDIRECT, indirect, AND_NEXT},
	{"packed-indirect-in-chain", MAY_LATCH, NEEDS_INDIRECT, indirect, IN_CHAIN},
	{"packed-indirect-long", MAY_LATCH, NEEDS_INDIRECT, indirect, LONG},
	{"packed-indirect-own-ring", MAY_LATCH, NEEDS_INDIRECT, indirect, OWN_RING},
	{"packed-indirect-refused", MAY_LATCH, 0, indirect, NESTED},
	{"packed-event-reserved", MAY_LATCH, 0, event, 3 << 16},
	{"packed-event-not-negotiated", MAY_LATCH, 0, event, 2 << 16 | 5},
	{"packed-event-beyond", MAY_LATCH, 0, event, 2 << 16 | 0x7fff},
	{"packed-random", MAY_LATCH, NEEDS_INDIRECT, random_ring, 0},
	{"packed-size-none", MUST_LATCH, FRESH, setup, SIZE_NONE},
	{"packed-size-over", MUST_LATCH, FRESH, setup, SIZE_OVER},
	{"packed-ring-odd", MUST_LATCH, FRESH, setup, RING_ODD},
	{"packed-ring-hole", MUST_LATCH, FRESH, setup, RING_HOLE},
	{"packed-event-odd", MUST_LATCH, FRESH, setup, EVENT_ODD},
	{"packed-event-hole", MUST_LATCH, FRESH, setup, EVENT_HOLE},
	{"packed-same-place", MAY_LATCH, FRESH, setup, SAME_PLACE},
	{NULL, 0, 0, NULL, 0},
};
