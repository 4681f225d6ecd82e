/*
 * virtio-net under a driver that writes whatever it likes: chains of any shape on its three rings,
 * words of the rings overwritten, frames of any length coming in, a back end that is full or gone,
 * resets in between. Guest memory is of exact size, so that ASan sees any access outside it; a loop
 * that doesn't end is seen by vnet_step().
 *
 * Input: a byte of set-up, then operations of a byte each with their operands; it ends where they
 * end.
 */
#include <stdint.h>

/* Small, as every run clears it: the rings, and 128 KiB of buffers. */
#define VNET_RAM_SIZE 0x60000
#include "vnet_fixture.h"

struct input {
	const uint8_t *data;
	size_t left;
};

static uint32_t take(struct input *in, unsigned int bytes)
{
	uint32_t v = 0;

	for (unsigned int i = 0; i < bytes && in->left; i++, in->left--)
		v |= (uint32_t)*in->data++ << 8 * i;
	return v;
}

static struct vdriver *ring(struct vnet_fixture *f, unsigned int i)
{
	return i % 3 == 0 ? &f->rx : i % 3 == 1 ? &f->tx : &f->ctrl;
}

/* Up to 8 descriptors, most of them within RAM. */
static void add_chain(struct vnet_fixture *f, struct input *in, struct vdriver *d)
{
	unsigned int n = 1 + take(in, 1) % 8;
	uint16_t head = d->next_desc % d->size;

	for (unsigned int i = 0; i < n; i++) {
		uint32_t what = take(in, 1), len = take(in, what & 8 ? 3 : 1);
		uint64_t gpa = VNET_BUFFERS + (uint64_t)take(in, 2) * 16;
		uint16_t at = d->next_desc++ % d->size;
		uint16_t flags = (uint16_t)(what & 6); /* write, indirect */

		if (what & 16)
			gpa = (uint64_t)take(in, 4) << (what & 32 ? 8 : 0);
		if (i + 1 < n || what & 64)
			flags |= VRING_DESC_F_NEXT;
		vdriver_desc(d, d->desc, at, gpa, len, flags,
			     what & 128 ? (uint16_t)take(in, 1) : d->next_desc % d->size);
	}
	vdriver_offer(d, head);
}

/* A well-formed control command. */
static void add_command(struct vnet_fixture *f, struct input *in)
{
	uint32_t len = take(in, 1);
	struct vdriver_buf buf[3] = {{VNET_BUFFERS, 2, false},
				     {VNET_BUFFERS + 2, len ? len : 1, false},
				     {VNET_BUFFERS + 1024, 1, true}};

	for (uint32_t i = 0; i < len + 3; i++)
		f->ram[VNET_BUFFERS - VNET_RAM + i] = (uint8_t)take(in, 1);
	vdriver_add(&f->ctrl, buf, 3);
}

static void up(struct vnet_fixture *f, struct input *in)
{
	uint8_t how = (uint8_t)take(in, 1);

	vnet_driver_ok(f, how & 2 ? ~0ull : (uint64_t)take(in, 4), how & 1,
		       (uint16_t)(1u << (4 + (how >> 2) % 4)));
}

static void operation(struct vnet_fixture *f, struct input *in)
{
	static uint8_t frame[70000];
	struct virtio_dev *dev = &f->vn->vdev;
	uint8_t what = (uint8_t)take(in, 1);
	struct vdriver *d = ring(f, what >> 4);
	unsigned int queue = (unsigned int)(what >> 4) % 3;

	if (!d->mem)
		return; /* no control queue */
	switch (what & 15) {
	case 0:
	case 1:
	case 2:
	case 3:
		add_chain(f, in, d);
		break;
	case 4:
		if (f->ctrl.mem)
			add_command(f, in);
		break;
	case 5:
	case 6:
		if (f->fake.in_end - f->fake.in_first < 64) {
			f->fake.incoming[f->fake.in_end % 64].hdr.flags = what;
			fake_incoming(f, frame, take(in, what & 16 ? 2 : 1));
		}
		break;
	case 7:
		f->ram[take(in, 3) % VNET_RAM_SIZE] = (uint8_t)take(in, 1);
		break;
	case 8:
		vdriver_put16(d, d->avail + (take(in, 1) & ~1u), (uint16_t)take(in, 2));
		break;
	case 9:
		vdriver_publish(d, (uint16_t)take(in, 2));
		break;
	case 10:
		f->fake.full = what & 16;
		f->fake.gone = what & 32;
		break;
	case 11:
		virtio_set_status(dev, 0, false);
		memset(f->ram, 0, VNET_BUFFERS - VNET_RAM);
		f->vn->pair[0].gone = f->fake.gone = f->fake.full = false;
		up(f, in);
		break;
	case 12:
		virtio_set_dma(dev, what & 16);
		break;
	case 13:
		virtio_config_write(dev, take(in, 1), 1u << queue, take(in, 4));
		virtio_config_read(dev, take(in, 1), 1u << queue);
		break;
	case 14:
		dev->model->set_link(dev, what & 16);
		break;
	default:
		break; /* a step */
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct input in = {data, size};
	uint8_t how = (uint8_t)take(&in, 1);
	struct err err;
	struct vnet_fixture *f = vnet_fixture_new(how & 1   ? "netdev=n0,ctrl_vq=off"
						  : how & 2 ? "netdev=n0,mrg_rxbuf=off"
							    : "netdev=n0",
						  !(how & 4), how & 4 ? 0 : 31, &err);

	if (!f)
		abort();
	up(f, &in);
	while (in.left) {
		operation(f, &in);
		if (!vnet_step(f))
			abort();
	}
	vnet_fixture_free(f);
	return 0;
}
