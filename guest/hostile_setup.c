/*
 * Hostile cases in the way a device is brought up (virtio 1.3 sections 3.1, 4.1.4.3): features,
 * status, sizes and places of queues, vectors.
 */
#include <linux/virtio_config.h>
#include <linux/virtio_net.h>

#include "boot.h"
#include "frame.h"
#include "hostile.h"
#include "lib.h"
#include "memory.h"
#include "pci.h"

#define STATUS_DRIVER (VIRTIO_CONFIG_S_ACKNOWLEDGE | VIRTIO_CONFIG_S_DRIVER)

/* From reset to before FEATURES_OK. */
static bool begin(struct hostile *h)
{
	struct target *t = &h->t;

	if (!virtio_open(&t->dev, t->type, t->index, t->transport))
		return false;
	virtio_set_status(&t->dev, STATUS_DRIVER);
	return true;
}

static bool features_ok(struct hostile *h)
{
	virtio_set_status(&h->t.dev, STATUS_DRIVER | VIRTIO_CONFIG_S_FEATURES_OK);
	return virtio_status(&h->t.dev) & VIRTIO_CONFIG_S_FEATURES_OK;
}

/* The device up to the point where queues are set up. */
static bool begin_queues(struct hostile *h)
{
	return virtio_open(&h->t.dev, h->t.type, h->t.index, h->t.transport) &&
	       virtio_negotiate(&h->t.dev, 0);
}

static void finish(struct hostile *h)
{
	virtio_ready(&h->t.dev);
	for (uint32_t i = 0; i < 3; i++)
		*virtio_doorbell(&h->t.dev, h->t.queue) = h->t.queue;
}

/* detail: the features accepted that were not offered. */
static const char *not_offered(struct hostile *h)
{
	uint64_t offered, wanted = hostile_now->detail;

	if (!begin(h))
		return "no-reset";
	offered = virtio_offered(&h->t.dev);
	if (!(wanted & ~offered))
		return NULL;
	virtio_accept(&h->t.dev, wanted | 1ull << VIRTIO_F_VERSION_1);
	return features_ok(h) ? "features-accepted-that-were-not-offered" : NULL;
}

static const char *no_features_ok(struct hostile *h)
{
	if (!begin(h))
		return "no-reset";
	virtio_accept(&h->t.dev, 1ull << VIRTIO_F_VERSION_1);
	virtio_set_status(&h->t.dev, STATUS_DRIVER | VIRTIO_CONFIG_S_DRIVER_OK);
	finish(h);
	return NULL;
}

/* Features changed after the device has agreed to them. */
static const char *features_late(struct hostile *h)
{
	virtio_accept(&h->t.dev, ~0ull);
	virtio_accept(&h->t.dev, 0);
	return target_works(&h->t) || virtio_needs_reset(&h->t.dev) ? NULL : "stopped-working";
}

/* Every status value once, with doorbells. */
static const char *status_walk(struct hostile *h)
{
	for (uint32_t i = 0; i < 256; i++) {
		virtio_set_status(&h->t.dev, i);
		ring_bell(&h->t.ring);
	}
	return NULL;
}

static const char *early_bell(struct hostile *h)
{
	if (!begin_queues(h))
		return "no-start";
	*virtio_doorbell(&h->t.dev, h->t.queue) = h->t.queue;
	for (uint32_t i = 0; i < 64; i++)
		*(volatile uint16_t *)(h->t.dev.notify + 2 * i) = random_next(&h->seed);
	return NULL;
}

/* detail: the size, 0x10000: twice the maximum. */
static const char *queue_size(struct hostile *h)
{
	uint64_t at = memory_address(h->scratch);
	uint32_t size = hostile_now->detail;

	if (!begin_queues(h))
		return "no-start";
	if (size == 0x10000)
		size = virtio_queue_max(&h->t.dev, h->t.queue) * 2;
	memset(h->scratch, 0, HOSTILE_SCRATCH);
	virtio_queue_place(&h->t.dev, h->t.queue, size, at, at + 0x80000, at + 0xc0000);
	h->refused = !h->t.dev.common->queue_enable;
	finish(h);
	return NULL;
}

enum part {
	DESC,
	AVAIL,
	USED,
	ALL
};
enum place {
	HOLE,
	OWN_BAR,
	HIGH,
	WRAP,
	RAM_END,
	ODD,
	NOTHING
};

/* detail: part << 8 | place. */
static const char *queue_place(struct hostile *h)
{
	uint64_t at = memory_address(h->scratch), places[3] = {at, at + 0x1000, at + 0x2000},
		 bad = 0;
	uint32_t part = hostile_now->detail >> 8;

	if (!begin_queues(h))
		return "no-start";
	switch (hostile_now->detail & 0xff) {
	case HOLE:
		bad = hostile_hole() & ~0xfffull;
		break;
	case OWN_BAR:
		bad = h->t.dev.pci->bars[h->t.dev.common_bar].address;
		break;
	case HIGH:
		bad = 1ull << 52;
		break;
	case WRAP:
		bad = ~0ull & ~15ull;
		break;
	case RAM_END:
		bad = (boot_low_ram_end() - 16) & ~15ull;
		break;
	case ODD:
		bad = at + 0x3001;
		break;
	}
	memset(h->scratch, 0, 0x10000);
	for (uint32_t i = DESC; i <= USED; i++)
		if (part == ALL || part == i)
			places[i] = bad;
	/* Something to fetch, where the ring is in RAM. */
	if (part != AVAIL && part != ALL)
		*(volatile uint16_t *)(h->scratch + 0x1002) = 1;
	virtio_queue_place(&h->t.dev, h->t.queue, TARGET_QUEUE_SIZE, places[0], places[1],
			   places[2]);
	h->refused = !h->t.dev.common->queue_enable;
	finish(h);
	return NULL;
}

/* The queue's addresses changed after DRIVER_OK; they may count or not, but harm nobody. */
static const char *queue_moved(struct hostile *h)
{
	uint64_t at = hostile_hole() & ~0xfffull;

	target_submit(&h->t);
	virtio_queue_place(&h->t.dev, h->t.queue, TARGET_QUEUE_SIZE, at, at + 0x1000, at + 0x2000);
	for (uint32_t i = 0; i < 8; i++)
		ring_bell(&h->t.ring);
	return NULL;
}

/* Queues that there are not. */
static const char *queue_absent(struct hostile *h)
{
	static const uint16_t absent[] = {200, 1000, 0x7fff, 0xffff};
	uint64_t at = memory_address(h->scratch);

	for (uint32_t i = 0; i < ARRAY_SIZE(absent); i++) {
		if (virtio_queue_max(&h->t.dev, absent[i]))
			return "absent-queue-has-a-size";
		virtio_queue_place(&h->t.dev, absent[i], 64, at, at + 0x1000, at + 0x2000);
		*virtio_doorbell(&h->t.dev, absent[i]) = absent[i];
	}
	return target_works(&h->t) ? NULL : "stopped-working";
}

/* Vectors that there are not must read back as none (section 4.1.5.1.2). */
static const char *vector_absent(struct hostile *h)
{
	h->t.dev.common->queue_select = h->t.queue;
	h->t.dev.common->queue_msix_vector = 0x7fe;
	if (h->t.dev.common->queue_msix_vector != VIRTIO_MSI_NO_VECTOR)
		return "queue-vector-accepted";
	h->t.dev.common->msix_config = 0x7fe;
	if (h->t.dev.common->msix_config != VIRTIO_MSI_NO_VECTOR)
		return "config-vector-accepted";
	return target_works(&h->t) ? NULL : "stopped-working";
}

/* A virtio_net_hdr with anything in it, in front of a frame of any length. */
static const char *net_header(struct hostile *h)
{
	struct virtio_net_hdr_mrg_rxbuf *header = (void *)h->scratch;
	uint8_t *frame = h->scratch + sizeof(*header);

	for (uint32_t i = 0; i < h->count; i++) {
		uint64_t r = random_next(&h->seed);
		struct ring_segment s = {memory_address(header),
					 sizeof(*header) + (r >> 40) % 70000};

		frame_put_tcp(frame, 1514, i);
		if (r & 1)
			frame[FRAME_IP_OFFSET + (r >> 8) % 20] = r >> 16;
		header->hdr.flags = r >> 1 & 7;
		header->hdr.gso_type = (r & 0x30 ? r >> 4 & 5 : r >> 4) & 0xff;
		header->hdr.gso_size = r >> 24 & (r & 2 ? 0xffff : 0xff);
		header->hdr.hdr_len = r >> 32 & (r & 4 ? 0xffff : 0xff);
		header->hdr.csum_start = random_next(&h->seed) & (r & 8 ? 0xffff : 0x7f);
		header->hdr.csum_offset = random_next(&h->seed) & (r & 16 ? 0xffff : 0x1f);
		header->num_buffers = random_next(&h->seed);
		if (!ring_add(&h->t.ring, &s, 1, 0, h))
			return "ring-full";
		ring_publish(&h->t.ring);
		if (!target_finish(&h->t, 2000000000ull))
			return virtio_needs_reset(&h->t.dev) ? NULL : "frame-not-done";
	}
	return NULL;
}

/* Device configuration written, where drivers only read. */
static const char *config_written(struct hostile *h)
{
	if (!h->t.dev.config)
		return NULL;
	for (uint32_t i = 0; i < 64; i++)
		h->t.dev.config[i] = 0xff;
	for (uint32_t i = 0; i < 64; i += 4)
		*(volatile uint32_t *)(h->t.dev.config + i) = random_next(&h->seed);
	return NULL;
}

#define FRESH (NEEDS_MODERN | NEEDS_FRESH)

const struct hostile_case hostile_setup_cases[] = {
	{"setup-features-all", MAY_LATCH, FRESH, not_offered, ~0ull},
	{"setup-features-high", MAY_LATCH, FRESH, not_offered, 1ull << 63},
	{"setup-features-packed", MAY_LATCH, FRESH, not_offered, 1ull << VIRTIO_F_RING_PACKED},
	{"setup-features-late", MAY_LATCH, NEEDS_MODERN, features_late, 0},
	{"setup-no-features-ok", MAY_LATCH, FRESH, no_features_ok, 0},
	{"setup-status-walk", MAY_LATCH, 0, status_walk, 0},
	{"setup-early-bell", MAY_LATCH, FRESH, early_bell, 0},
	{"setup-size-zero", MAY_LATCH, FRESH, queue_size, 0},
	{"setup-size-odd", MAY_LATCH, FRESH, queue_size, 63},
	{"setup-size-one", MAY_LATCH, FRESH, queue_size, 1},
	{"setup-size-over", MAY_LATCH, FRESH, queue_size, 0x10000},
	{"setup-size-max", MAY_LATCH, FRESH, queue_size, 0xffff},
	{"setup-desc-hole", MUST_LATCH, FRESH, queue_place, DESC << 8 | HOLE},
	{"setup-avail-hole", MUST_LATCH, FRESH, queue_place, AVAIL << 8 | HOLE},
	{"setup-used-hole", MUST_LATCH, FRESH, queue_place, USED << 8 | HOLE},
	{"setup-all-hole", MUST_LATCH, FRESH, queue_place, ALL << 8 | HOLE},
	{"setup-desc-own-bar", MUST_LATCH, FRESH, queue_place, DESC << 8 | OWN_BAR},
	{"setup-avail-own-bar", MUST_LATCH, FRESH, queue_place, AVAIL << 8 | OWN_BAR},
	{"setup-used-own-bar", MUST_LATCH, FRESH, queue_place, USED << 8 | OWN_BAR},
	{"setup-all-high", MUST_LATCH, FRESH, queue_place, ALL << 8 | HIGH},
	{"setup-all-wrap", MUST_LATCH, FRESH, queue_place, ALL << 8 | WRAP},
	{"setup-desc-ram-end", MUST_LATCH, FRESH, queue_place, DESC << 8 | RAM_END},
	{"setup-avail-ram-end", MUST_LATCH, FRESH, queue_place, AVAIL << 8 | RAM_END},
	{"setup-used-ram-end", MUST_LATCH, FRESH, queue_place, USED << 8 | RAM_END},
	{"setup-desc-odd", MAY_LATCH, FRESH, queue_place, DESC << 8 | ODD},
	{"setup-avail-odd", MAY_LATCH, FRESH, queue_place, AVAIL << 8 | ODD},
	{"setup-used-odd", MAY_LATCH, FRESH, queue_place, USED << 8 | ODD},
	{"setup-all-nothing", MAY_LATCH, FRESH, queue_place, ALL << 8 | NOTHING},
	{"setup-queue-moved", MAY_LATCH, NEEDS_MODERN, queue_moved, 0},
	{"setup-queue-absent", MAY_LATCH, NEEDS_MODERN, queue_absent, 0},
	{"setup-vector-absent", MAY_LATCH, NEEDS_MODERN, vector_absent, 0},
	{"setup-net-header", MAY_LATCH, NEEDS_NET, net_header, 0},
	{"setup-config-written", MAY_LATCH, NEEDS_MODERN, config_written, 0},
	{NULL, 0, 0, NULL, 0},
};
