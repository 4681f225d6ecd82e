/*
 * See target.h.
 */
#include "target.h"

#include <linux/virtio_blk.h>
#include <linux/virtio_config.h>
#include <linux/virtio_ids.h>
#include <linux/virtio_net.h>

#include "clock.h"
#include "frame.h"
#include "lib.h"
#include "memory.h"

#define WORK_TIMEOUT (2 * NS_PER_S)
#define SECTOR	     512

/* Queues of a net device with one pair (virtio 1.3 section 5.1.2). */
#define NET_RX	 0
#define NET_TX	 1
#define NET_CTRL 2

static const struct {
	const char *name;
	uint16_t type;
	uint16_t queue;
	uint64_t features;
} kinds[] = {
	{"net", VIRTIO_ID_NET, NET_TX, 0},
	{"net-rx", VIRTIO_ID_NET, NET_RX, 0},
	{"net-ctrl", VIRTIO_ID_NET, NET_CTRL,
	 1ull << VIRTIO_NET_F_CTRL_VQ | 1ull << VIRTIO_NET_F_CTRL_RX},
	{"blk", VIRTIO_ID_BLOCK, 0, 0},
	{"rng", VIRTIO_ID_RNG, 0, 0},
};

bool target_choose(struct target *t, const struct test *test, const struct test_arg *args)
{
	const char *name = test_string(test, args, "device");

	*t = (struct target){.index = test_number(test, args, "index")};
	for (uint32_t i = 0; i < ARRAY_SIZE(kinds); i++) {
		if (strcmp(kinds[i].name, name))
			continue;
		t->name = kinds[i].name;
		t->type = kinds[i].type;
		t->queue = kinds[i].queue;
		t->features = kinds[i].features;
	}
	if (!t->name)
		return test_fail(test, "bad-device");
	if (!virtio_open(&t->dev, t->type, t->index, t->transport))
		return test_fail(test, "no-device");
	t->buffer = memory_alloc(4096, 4096);
	return true;
}

bool target_start(struct target *t, uint64_t features, enum virtio_interrupts interrupts)
{
	/* From the PCI device up: a hostile test may have moved or switched off anything. */
	if (!virtio_open(&t->dev, t->type, t->index, t->transport) ||
	    !virtio_negotiate(&t->dev, features | t->features | 1ull << VIRTIO_F_ANY_LAYOUT) ||
	    !virtio_enable_interrupts(&t->dev, interrupts))
		return false;
	t->vector = virtio_vector(&t->dev, TARGET_MSIX_ENTRY);
	if (!virtio_queue_setup(&t->dev, t->queue, TARGET_QUEUE_SIZE,
				interrupts == VIRTIO_MSIX ? TARGET_MSIX_ENTRY : -1, &t->ring))
		return false;
	virtio_ready(&t->dev);
	return true;
}

void target_stop(struct target *t)
{
	virtio_close(&t->dev);
}

static uint32_t net_request(struct target *t, struct ring_segment segments[3], uint32_t *n_in)
{
	uint64_t at = memory_address(t->buffer);
	uint8_t *frame = t->buffer + sizeof(struct virtio_net_hdr_mrg_rxbuf);

	switch (t->queue) {
	case NET_RX:
		segments[0] = (struct ring_segment){at, 64};
		segments[1] = (struct ring_segment){at + 64, 2048};
		*n_in = 2;
		return 0;
	case NET_CTRL:
		t->buffer[0] = VIRTIO_NET_CTRL_RX;
		t->buffer[1] = VIRTIO_NET_CTRL_RX_PROMISC;
		t->buffer[2] = 1;
		segments[0] = (struct ring_segment){at, sizeof(struct virtio_net_ctrl_hdr)};
		segments[1] = (struct ring_segment){at + 2, 1};
		segments[2] = (struct ring_segment){at + 64, 1};
		*n_in = 1;
		return 2;
	default:
		memcpy(frame, (const uint8_t[6])FRAME_PEER_MAC, 6);
		frame[6] = 0x02;
		frame_put16(frame + 12, FRAME_ETHERTYPE);
		segments[0] = (struct ring_segment){at, sizeof(struct virtio_net_hdr_mrg_rxbuf)};
		segments[1] = (struct ring_segment){memory_address(frame), 60};
		return 2;
	}
}

uint32_t target_request(struct target *t, struct ring_segment segments[3], uint32_t *n_in)
{
	uint64_t at = memory_address(t->buffer);
	struct virtio_blk_outhdr *blk = (void *)t->buffer;

	memset(t->buffer, 0, 4096);
	*n_in = 0;
	switch (t->type) {
	case VIRTIO_ID_NET:
		return net_request(t, segments, n_in);
	case VIRTIO_ID_BLOCK:
		blk->type = VIRTIO_BLK_T_IN;
		segments[0] = (struct ring_segment){at, sizeof(*blk)};
		segments[1] = (struct ring_segment){at + SECTOR, SECTOR};
		segments[2] = (struct ring_segment){at + 2 * SECTOR, 1};
		*n_in = 2;
		return 1;
	default:
		segments[0] = (struct ring_segment){at, 16};
		*n_in = 1;
		return 0;
	}
}

bool target_submit(struct target *t)
{
	struct ring_segment segments[3];
	uint32_t n_in, n_out = target_request(t, segments, &n_in);

	if (!ring_add(&t->ring, segments, n_out, n_in, t))
		return false;
	ring_publish(&t->ring);
	return true;
}

bool target_finish(struct target *t, uint64_t timeout_ns)
{
	uint64_t start = clock_ns();
	uint32_t length;

	while (!ring_take(&t->ring, &length)) {
		if (t->ring.broken || clock_ns() - start > timeout_ns)
			return false;
		pause();
	}
	return true;
}

bool target_works(struct target *t)
{
	return target_submit(t) && target_finish(t, WORK_TIMEOUT);
}
