/*
 * virtio-net's control queue on a card with everything that it can set: queue pairs, RSS and hash reports, filters,
 * offloads, coalescing. Commands of any class, length and contents, with frames on every queue of the back
 * end in between, and resets. What must hold after each step: nothing spins, and no pair that isn't in use
 * touches its queue of the back end (the fake one aborts).
 *
 * Input: a byte of set-up, the features, then operations of a byte each with their operands.
 */
#include <stdint.h>

#include "input.h"

/* Small, as every run clears it. */
#define VNET_PAIRS    3
#define VNET_RAM_SIZE 0x100000
#include "vnet_fixture.h"

#define BUFFERS 0x10000 /* offset from VNET_BUFFERS of what is given to the card */

static uint8_t *at(struct vnet_fixture *f, uint64_t offset)
{
	return f->ram + (VNET_BUFFERS - VNET_RAM) + offset;
}

static struct vdriver *ring(struct vnet_fixture *f, unsigned int index)
{
	return index == 0 ? &f->rx : index == 1 ? &f->tx : &f->more[index - 2];
}

/* Most tables are of a size that fits, or the rest would never be reached. */
static uint32_t command_length(struct input *in, uint8_t class, uint8_t what)
{
	static const uint8_t right[8][4] = {
		{1, 1, 1, 1}, {8, 6}, {2, 2}, {0}, {2, 0, 53}, {8}, {8, 8, 12, 4},
	};
	uint8_t how = (uint8_t)input_take(in, 1);

	return how & 1 ? (uint16_t)input_take(in, 2) % 1024 : right[class % 8][what % 4];
}

static void command(struct vnet_fixture *f, struct input *in)
{
	uint8_t class = (uint8_t)input_take(in, 1), what = (uint8_t)input_take(in, 1);
	uint32_t len = command_length(in, class, what);
	struct vdriver_buf buf[3] = {{VNET_BUFFERS, 2, false},
				     {VNET_BUFFERS + 16, len, false},
				     {VNET_BUFFERS + 8, 1 + (what & 8), true}};

	at(f, 0)[0] = class % 9;
	at(f, 0)[1] = what & 7;
	for (uint32_t i = 0; i < len; i++)
		at(f, 16)[i] = (uint8_t)input_take(in, 1);
	if (!len)
		buf[1] = buf[2];
	vdriver_add(&f->ctrl, buf, len ? 3 : 2);
}

/* An RSS table that makes sense but for, perhaps, one field. */
static void rss(struct vnet_fixture *f, struct input *in)
{
	struct {
		uint16_t command;
		uint32_t types;
		uint16_t mask, unclassified, table[4], max_tx;
		uint8_t key_len, key[40];
	} __attribute__((packed))
	c = {.command = VIRTIO_NET_CTRL_MQ | VIRTIO_NET_CTRL_MQ_RSS_CONFIG << 8,
	     .mask = 3,
	     .key_len = 40};
	struct vdriver_buf buf[2] = {{VNET_BUFFERS, sizeof(c), false},
				     {VNET_BUFFERS + 256, 1, true}};
	uint8_t choice = (uint8_t)input_take(in, 1);

	c.types = (uint16_t)input_take(in, 2) % 0x200;
	c.unclassified = choice % VNET_PAIRS;
	c.max_tx = (uint16_t)(1 + choice / 4 % VNET_PAIRS);
	for (unsigned int i = 0; i < 4; i++)
		c.table[i] = (uint16_t)((choice >> 2 * i & 3) % VNET_PAIRS);
	for (unsigned int i = 0; i < 40; i += 4)
		c.key[i] = (uint8_t)input_take(in, 1);
	if (choice & 128)
		((uint8_t *)&c)[2 + (uint8_t)input_take(in, 1) % (sizeof(c) - 2)] =
			(uint8_t)input_take(in, 1);
	memcpy(at(f, 0), &c, sizeof(c));
	vdriver_add(&f->ctrl, buf, 2);
}

static void give(struct vnet_fixture *f, struct input *in, unsigned int index)
{
	struct vdriver *d = ring(f, index % (2 * VNET_PAIRS));
	uint32_t len = (uint16_t)input_take(in, 2);

	if (d->mem && len)
		vdriver_add(d,
			    &(struct vdriver_buf){VNET_BUFFERS + BUFFERS +
							  (uint16_t)input_take(in, 2) % 0x8000,
						  len, !(index & 1)},
			    1);
}

static void frame(struct vnet_fixture *f, struct input *in, unsigned int queue)
{
	static uint8_t data[70000];
	uint16_t len = (uint16_t)input_take(in, 2);

	if (f->fake.in_end - f->fake.in_first >= 64)
		return;
	for (unsigned int i = 12; i < 60; i++)
		data[i] = (uint8_t)input_take(in, 1);
	fake_incoming(f, data, len);
	f->fake.incoming[(f->fake.in_end - 1) % 64].queue = queue % VNET_PAIRS;
}

static void up(struct vnet_fixture *f, struct input *in)
{
	uint8_t how = (uint8_t)input_take(in, 1);
	uint64_t features =
		how & 2 ? ~0ull
			: (uint64_t)(uint32_t)input_take(in, 4) << 32 | (uint32_t)input_take(in, 4);

	vnet_driver_ok(f, features | virtio_bit(VIRTIO_NET_F_CTRL_VQ), how & 1,
		       (uint16_t)(1u << (4 + (how >> 2) % 3)));
}

static void operation(struct vnet_fixture *f, struct input *in)
{
	struct virtio_dev *dev = &f->vn->vdev;
	uint8_t what = (uint8_t)input_take(in, 1);

	switch (what & 15) {
	case 0:
	case 1:
	case 2:
		command(f, in);
		break;
	case 3:
	case 4:
		rss(f, in);
		break;
	case 5:
	case 6:
	case 7:
		give(f, in, what >> 4);
		break;
	case 8:
	case 9:
	case 10:
		frame(f, in, what >> 4);
		break;
	case 11:
		f->fake.full = what & 16;
		f->fake.set_queues_result = what & 32 ? -EBADFD : 0;
		f->fake.set_offloads_result = what & 64 ? -EBADFD : 0;
		break;
	case 12:
		virtio_set_dma(dev, what & 16);
		break;
	case 13:
		f->fake.set_queues_result = f->fake.set_offloads_result = 0;
		f->fake.full = false;
		virtio_set_status(dev, 0, false);
		memset(f->ram, 0, VNET_BUFFERS - VNET_RAM);
		memset(f->more, 0, sizeof(f->more));
		f->fake.in_first = f->fake.in_end;
		up(f, in);
		break;
	case 14:
		vnet_announce(dev);
		virtio_config_read(dev, (uint8_t)input_take(in, 1), 1u << (what >> 4) % 4);
		break;
	default:
		virtio_queue_disable(&dev->queue[(what >> 4) % dev->n_queues]);
		break;
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct input in = {data, size};
	uint8_t how = (uint8_t)input_take(&in, 1);
	struct err err;
	struct vnet_fixture *f = vnet_fixture_new(how & 1 ? "netdev=n0,mq=on,rss=on,hash=on"
							  : "netdev=n0,mq=on,rss=on",
						  !(how & 2), how & 2 ? 0 : 63, &err);

	if (!f)
		abort();
	up(f, &in);
	while (in.n) {
		operation(f, &in);
		if (!vnet_step(f) || (!virtio_is_latched(&f->vn->vdev) && !vnet_sleeps(f)))
			abort();
	}
	vnet_fixture_free(f);
	return 0;
}
