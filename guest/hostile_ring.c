/*
 * Hostile cases in the ring's own memory (virtio 1.3 section 2.7): descriptors, chains, indirect
 * tables, the available ring.
 */
#include "boot.h"
#include "clock.h"
#include "hostile.h"
#include "lib.h"
#include "memory.h"
#include "pci.h"

#define NEXT	 VRING_DESC_F_NEXT
#define WRITE	 VRING_DESC_F_WRITE
#define INDIRECT VRING_DESC_F_INDIRECT

/*
 * A good request as plain descriptors 0, 1 ...; returns how many. A case then breaks one of them.
 */
static uint32_t good_chain(struct hostile *h)
{
	struct ring_segment s[3];
	uint32_t n_in, n_out = target_request(&h->t, s, &n_in), n = n_out + n_in;

	for (uint32_t i = 0; i < n; i++)
		hostile_desc(h, i, s[i].address, s[i].length,
			     (i >= n_out ? WRITE : 0) | (i + 1 < n ? NEXT : 0), i + 1);
	return n;
}

static void go(struct hostile *h)
{
	hostile_offer(h, 0);
	hostile_kick(h);
}

/* detail: what the last descriptor's next points to. */
static const char *loop(struct hostile *h)
{
	uint32_t n = good_chain(h);

	h->t.ring.desc[n - 1].flags |= NEXT;
	h->t.ring.desc[n - 1].next = hostile_now->detail == 1 ? n - 1 : 0;
	go(h);
	return NULL;
}

/* A loop over the whole ring: as many descriptors as there are, and round again. */
static const char *long_loop(struct hostile *h)
{
	uint16_t size = h->t.ring.size, flags = good_chain(h) && h->t.ring.desc[0].flags & WRITE;

	for (uint16_t i = 0; i < size; i++)
		hostile_desc(h, i, memory_address(h->scratch) + i * 64, 64, flags * WRITE | NEXT,
			     (i + 1) % size);
	go(h);
	return NULL;
}

static const char *next_range(struct hostile *h)
{
	uint32_t n = good_chain(h);

	h->t.ring.desc[n - 1].flags |= NEXT;
	h->t.ring.desc[n - 1].next = hostile_now->detail ? 0xffff : h->t.ring.size;
	go(h);
	return NULL;
}

static const char *head_range(struct hostile *h)
{
	good_chain(h);
	hostile_offer(h, hostile_now->detail ? 0xffff : h->t.ring.size);
	hostile_kick(h);
	return NULL;
}

enum place {
	HOLE,
	HIGH_HOLE,
	OWN_BAR,
	ACROSS_END,
	BEYOND,
	WRAP,
	TOP,
	HUGE
};

/* detail: where the last descriptor's buffer is. */
static const char *address(struct hostile *h)
{
	volatile struct vring_desc *d = &h->t.ring.desc[good_chain(h) - 1];
	const struct pci_device *pci = h->t.dev.pci;

	switch (hostile_now->detail) {
	case HOLE:
		d->addr = hostile_hole();
		break;
	case HIGH_HOLE: /* not the APIC's page: what a device writes there is an interrupt */
		d->addr = 0xfed10000;
		break;
	case OWN_BAR:
		d->addr = pci->bars[h->t.dev.legacy ? 1 : h->t.dev.common_bar].address;
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
	case TOP:
		d->addr = ~0ull;
		break;
	case HUGE:
		d->addr = memory_address(h->scratch);
		d->len = 0xffffffff;
		break;
	}
	go(h);
	return NULL;
}

/* detail: 1: every descriptor, 0: only the last one. */
static const char *zero_length(struct hostile *h)
{
	uint32_t n = good_chain(h);

	h->t.ring.desc[n - 1].len = 0;
	for (uint32_t i = 0; hostile_now->detail && i < n; i++)
		h->t.ring.desc[i].len = 0;
	go(h);
	return NULL;
}

/* detail: by how much the index moves on. */
static const char *avail_jump(struct hostile *h)
{
	good_chain(h);
	for (uint16_t i = 0; i < h->t.ring.size; i++)
		h->t.ring.avail->ring[i] = 0;
	h->t.ring.avail_index += hostile_now->detail ? hostile_now->detail : h->t.ring.size + 1ull;
	hostile_kick(h);
	return NULL;
}

/* One chain offered as often as the ring has room: legal for a device to do, if odd. */
static const char *same_head(struct hostile *h)
{
	good_chain(h);
	for (uint16_t i = 0; i < h->t.ring.size; i++)
		hostile_offer(h, 0);
	hostile_kick(h);
	return NULL;
}

static const char *swapped(struct hostile *h)
{
	uint64_t at = memory_address(h->scratch);

	hostile_desc(h, 0, at, 512, WRITE | NEXT, 1);
	hostile_desc(h, 1, at + 512, 512, NEXT, 2);
	hostile_desc(h, 2, at + 1024, 512, WRITE, 0);
	go(h);
	return NULL;
}

/* detail: the flags of all descriptors: nothing to read, or nothing to write. */
static const char *one_way(struct hostile *h)
{
	uint64_t at = memory_address(h->scratch);

	hostile_desc(h, 0, at, 16, hostile_now->detail | NEXT, 1);
	hostile_desc(h, 1, at + 16, 512, hostile_now->detail, 0);
	go(h);
	return NULL;
}

/* Too short for any header, by one byte each way. */
static const char *short_request(struct hostile *h)
{
	uint64_t at = memory_address(h->scratch);

	hostile_desc(h, 0, at, 1, NEXT, 1);
	hostile_desc(h, 1, at + 16, 1, WRITE, 0);
	go(h);
	return NULL;
}

/* Chains in byte-long descriptors, as many as the ring has. */
static const char *crumbs(struct hostile *h)
{
	uint16_t size = h->t.ring.size, write = good_chain(h) && h->t.ring.desc[0].flags & WRITE;

	memset(h->scratch, 0, 65536);
	for (uint16_t i = 0; i < size; i++)
		hostile_desc(h, i, memory_address(h->scratch) + i, 1,
			     (write || i == size - 1 ? WRITE : 0) | (i + 1 < size ? NEXT : 0),
			     i + 1);
	go(h);
	return NULL;
}

enum table {
	EMPTY,
	ODD,
	PART,
	VAST,
	NESTED,
	TABLE_LOOP,
	TABLE_RANGE,
	OUTSIDE,
	TABLE_WRAP,
	BOTH,
	LONG,
	REFUSED
};

#define LONG_TABLE 4096

/* A good request in an indirect table, in scratch memory. Returns the entries. */
static uint32_t good_table(struct hostile *h, struct vring_desc *table)
{
	struct ring_segment s[3];
	uint32_t n_in, n_out = target_request(&h->t, s, &n_in), n = n_out + n_in;

	for (uint32_t i = 0; i < n; i++)
		table[i] = (struct vring_desc){s[i].address, s[i].length,
					       (i >= n_out ? WRITE : 0) | (i + 1 < n ? NEXT : 0),
					       i + 1};
	return n;
}

static void long_table(struct hostile *h, struct vring_desc *table, uint16_t write)
{
	uint64_t at = memory_address(h->scratch) + LONG_TABLE * sizeof(*table);

	for (uint32_t i = 0; i < LONG_TABLE; i++)
		table[i] =
			(struct vring_desc){at, 16, write | (i + 1 < LONG_TABLE ? NEXT : 0), i + 1};
}

/* detail: what is wrong with the table. */
static const char *indirect(struct hostile *h)
{
	struct vring_desc *table = (void *)h->scratch;
	uint32_t n = good_table(h, table);
	uint64_t at = memory_address(table);
	uint32_t length = n * sizeof(*table);
	uint16_t flags = INDIRECT;

	switch (hostile_now->detail) {
	case EMPTY:
		length = 0;
		break;
	case ODD:
		length += 5;
		break;
	case PART:
		length = sizeof(*table) - 1;
		break;
	case VAST:
		length = 0xfffffff0;
		break;
	case NESTED:
		table[0] = (struct vring_desc){at + 256, 16, INDIRECT, 0};
		table[16] = (struct vring_desc){at + 512, 16, 0, 0};
		break;
	case TABLE_LOOP:
		table[n - 1].flags |= NEXT;
		table[n - 1].next = 0;
		break;
	case TABLE_RANGE:
		table[n - 1].flags |= NEXT;
		table[n - 1].next = n;
		break;
	case OUTSIDE:
		at = hostile_hole();
		break;
	case TABLE_WRAP:
		at = ~0ull - 15;
		length = 64;
		break;
	case BOTH:
		flags |= NEXT;
		hostile_desc(h, 1, memory_address(h->scratch) + 4096, 16,
			     table[n - 1].flags & WRITE, 0);
		break;
	case LONG:
		long_table(h, table, table[0].flags & WRITE);
		length = LONG_TABLE * sizeof(*table);
		break;
	default: /* REFUSED: a good table, but the feature was not negotiated */
		break;
	}
	hostile_desc(h, 0, at, length, flags, 1);
	go(h);
	return NULL;
}

/* Random descriptors and heads, while the device works. */
static const char *random_ring(struct hostile *h)
{
	struct ring *ring = &h->t.ring;
	uint64_t mark = memory_mark();

	for (uint32_t step = 0; step < h->count; step++) {
		uint64_t r = random_next(&h->seed);

		for (uint32_t i = 0; i < 4; i++) {
			hostile_desc(h, random_next(&h->seed) % ring->size, hostile_address(h),
				     random_next(&h->seed) >> (random_next(&h->seed) % 64),
				     random_next(&h->seed) & 7,
				     random_next(&h->seed) % (ring->size + 1));
		}
		for (uint32_t i = r >> 60; i > 0; i--)
			hostile_offer(h, random_next(&h->seed) % (ring->size + 1));
		if (!(r & 0x1f))
			ring->avail_index += r >> 48;
		hostile_kick(h);
		if (step % 16)
			continue;
		/* Once latched the device looks at nothing: start again. */
		if (virtio_needs_reset(&h->t.dev)) {
			memory_release(mark);
			if (!target_start(&h->t, 1ull << VIRTIO_RING_F_INDIRECT_DESC,
					  VIRTIO_POLLED))
				return "no-restart";
		}
	}
	return NULL;
}

/* Reset with requests on their way; the ring must be left alone afterwards. */
static const char *reset_traffic(struct hostile *h)
{
	uint64_t mark = memory_mark();

	for (uint32_t i = 0; i < 20; i++) {
		uint64_t start;
		uint16_t used;

		memory_release(mark);
		if (!target_start(&h->t, 0, VIRTIO_POLLED))
			return "no-restart";
		good_chain(h);
		for (uint16_t j = 0; j < h->t.ring.size; j++)
			hostile_offer(h, 0);
		hostile_kick(h);
		for (start = clock_ns(); clock_ns() - start < i * 10000;)
			pause();
		if (!virtio_reset(&h->t.dev))
			return "no-reset";
		used = h->t.ring.used->idx;
		for (start = clock_ns(); clock_ns() - start < NS_PER_MS;)
			if (h->t.ring.used->idx != used)
				return "ring-written-after-reset";
	}
	return NULL;
}

const struct hostile_case hostile_ring_cases[] = {
	{"ring-loop", MUST_LATCH, 0, loop, 0},
	{"ring-loop-self", MUST_LATCH, 0, loop, 1},
	{"ring-loop-long", MUST_LATCH, 0, long_loop, 0},
	{"ring-next-size", MUST_LATCH, 0, next_range, 0},
	{"ring-next-ffff", MUST_LATCH, 0, next_range, 1},
	{"ring-head-size", MUST_LATCH, 0, head_range, 0},
	{"ring-head-ffff", MUST_LATCH, 0, head_range, 1},
	{"ring-address-hole", MUST_LATCH, 0, address, HOLE},
	{"ring-address-high-hole", MUST_LATCH, 0, address, HIGH_HOLE},
	{"ring-address-own-bar", MUST_LATCH, 0, address, OWN_BAR},
	{"ring-address-across-end", MUST_LATCH, 0, address, ACROSS_END},
	{"ring-address-beyond", MUST_LATCH, 0, address, BEYOND},
	{"ring-address-wrap", MUST_LATCH, 0, address, WRAP},
	{"ring-address-top", MUST_LATCH, 0, address, TOP},
	{"ring-length-huge", MUST_LATCH, 0, address, HUGE},
	{"ring-length-zero-last", MAY_LATCH, 0, zero_length, 0},
	{"ring-length-zero-all", MAY_LATCH, 0, zero_length, 1},
	{"ring-avail-jump", MUST_LATCH, 0, avail_jump, 0},
	{"ring-avail-jump-far", MUST_LATCH, 0, avail_jump, 0x8000},
	{"ring-avail-back", MUST_LATCH, 0, avail_jump, 0xffff},
	{"ring-same-head", MAY_LATCH, 0, same_head, 0},
	{"ring-order-swapped", MUST_LATCH, 0, swapped, 0},
	{"ring-read-only", MAY_LATCH, 0, one_way, 0},
	{"ring-write-only", MAY_LATCH, 0, one_way, WRITE},
	{"ring-short", MAY_LATCH, 0, short_request, 0},
	{"ring-crumbs", MAY_LATCH, 0, crumbs, 0},
	{"ring-indirect-empty", MUST_LATCH, NEEDS_INDIRECT, indirect, EMPTY},
	{"ring-indirect-odd", MUST_LATCH, NEEDS_INDIRECT, indirect, ODD},
	{"ring-indirect-part", MUST_LATCH, NEEDS_INDIRECT, indirect, PART},
	{"ring-indirect-vast", MUST_LATCH, NEEDS_INDIRECT, indirect, VAST},
	{"ring-indirect-nested", MUST_LATCH, NEEDS_INDIRECT, indirect, NESTED},
	{"ring-indirect-loop", MUST_LATCH, NEEDS_INDIRECT, indirect, TABLE_LOOP},
	{"ring-indirect-range", MUST_LATCH, NEEDS_INDIRECT, indirect, TABLE_RANGE},
	{"ring-indirect-outside", MUST_LATCH, NEEDS_INDIRECT, indirect, OUTSIDE},
	{"ring-indirect-wrap", MUST_LATCH, NEEDS_INDIRECT, indirect, TABLE_WRAP},
	{"ring-indirect-and-next", MAY_LATCH, NEEDS_INDIRECT, indirect, BOTH},
	{"ring-indirect-long", MAY_LATCH, NEEDS_INDIRECT, indirect, LONG},
	{"ring-indirect-refused", MAY_LATCH, 0, indirect, REFUSED},
	{"ring-random", MAY_LATCH, NEEDS_INDIRECT, random_ring, 0},
	{"ring-reset-traffic", MAY_LATCH, 0, reset_traffic, 0},
	{NULL, 0, 0, NULL, 0},
};
