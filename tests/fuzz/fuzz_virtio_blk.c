/*
 * virtio-blk under a driver that writes whatever it likes: requests of any kind in chains of any
 * shape, words of the rings overwritten, a disk that answers late, out of order or with errors,
 * resets in between. Guest memory is of exact size, so that ASan sees any access outside it; the
 * disk aborts on a request that leaves it; a loop that doesn't end is seen by vblk_step().
 *
 * Input: a byte of set-up, then operations of a byte each with their operands; it ends where they
 * end.
 */
#include <stdint.h>

#include "input.h"
#include "vblk_fixture.h"

/* A request's header, of a kind that is mostly known, in the buffers at `gpa`. */
static void put_header(struct vblk_fixture *f, struct input *in, uint64_t gpa)
{
	static const uint32_t types[] = {VIRTIO_BLK_T_IN,	    VIRTIO_BLK_T_OUT,
					 VIRTIO_BLK_T_FLUSH,	    VIRTIO_BLK_T_DISCARD,
					 VIRTIO_BLK_T_WRITE_ZEROES, VIRTIO_BLK_T_GET_ID,
					 VIRTIO_BLK_T_IN,	    VIRTIO_BLK_T_SCSI_CMD};
	uint8_t what = (uint8_t)input_take(in, 1);
	struct virtio_blk_outhdr header = {.type = types[what & 7]};

	if (what & 8)
		header.type = (uint32_t)input_take(in, 4);
	header.sector = input_take(in, what & 16 ? 8 : 1);
	memcpy(f->ram + (gpa - VBLK_RAM), &header, sizeof(header));
	if (what & 32) {
		struct virtio_blk_discard_write_zeroes range = {
			.sector = input_take(in, what & 64 ? 8 : 1),
			.num_sectors = (uint32_t)input_take(in, what & 64 ? 4 : 1),
			.flags = (uint32_t)input_take(in, 1),
		};

		memcpy(f->ram + (gpa - VBLK_RAM) + sizeof(header), &range, sizeof(range));
	}
}

/* A chain of the right order: what is read, then what is written. Lengths are the fuzzer's. */
static void add_request(struct vblk_fixture *f, struct input *in, struct vdriver *d)
{
	uint64_t gpa = VBLK_BUFFERS + (input_take(in, 1) << 10);
	uint8_t what = (uint8_t)input_take(in, 1);
	unsigned int n_out = 1 + (what & 3), n_in = what >> 2 & 3;
	struct vdriver_buf buf[8];
	unsigned int n = 0;

	if (gpa > VBLK_RAM + VBLK_RAM_SIZE - 64)
		gpa = VBLK_BUFFERS;
	put_header(f, in, gpa);
	for (unsigned int i = 0; i < n_out + n_in; i++) {
		uint32_t len = i ? (uint32_t)input_take(in, 1) << (what >> 4 & 7)
				 : 16u + (what & 128 ? 16u : 0u);

		buf[n++] = (struct vdriver_buf){gpa, len, i >= n_out};
		gpa += len;
	}
	buf[n++] = (struct vdriver_buf){gpa, 1, true};
	vdriver_add(d, buf, n);
}

/* Up to 8 descriptors of any kind, most of them within RAM. */
static void add_chain(struct vblk_fixture *f, struct input *in, struct vdriver *d)
{
	unsigned int n = 1 + input_take(in, 1) % 8;
	uint16_t head = d->next_desc % d->size;

	for (unsigned int i = 0; i < n; i++) {
		uint32_t what = (uint32_t)input_take(in, 1);
		uint32_t len = (uint32_t)input_take(in, what & 8 ? 3 : 1);
		uint64_t gpa = VBLK_BUFFERS + input_take(in, 2) * 4;
		uint16_t index = d->next_desc++ % d->size;
		uint16_t flags = (uint16_t)(what & 6); /* write, indirect */

		if (what & 16)
			gpa = input_take(in, 4) << (what & 32 ? 8 : 0);
		if (i + 1 < n || what & 64)
			flags |= VRING_DESC_F_NEXT;
		vdriver_desc(d, d->desc, index, gpa, len, flags,
			     what & 128 ? (uint16_t)input_take(in, 1) : d->next_desc % d->size);
	}
	vdriver_offer(d, head);
}

static void up(struct vblk_fixture *f, struct input *in)
{
	uint8_t how = (uint8_t)input_take(in, 1);

	vblk_driver_ok(f, how & 2 ? ~UINT64_C(0) : input_take(in, 4), how & 1,
		       (uint16_t)(1u << (3 + (how >> 2) % 4)));
}

static void operation(struct vblk_fixture *f, struct input *in)
{
	static const int results[] = {0, -EIO, -ENOSPC, -EOPNOTSUPP};
	uint8_t what = (uint8_t)input_take(in, 1);
	unsigned int queue = (what >> 4) % f->dev->n_queues;
	struct vdriver *d = &f->ring[queue];

	switch (what & 15) {
	case 0:
	case 1:
	case 2:
	case 3:
		add_request(f, in, d);
		break;
	case 4:
	case 5:
		add_chain(f, in, d);
		break;
	case 6:
		if (f->disk.n_held)
			fake_disk_complete(&f->disk,
					   (unsigned int)input_take(in, 1) % f->disk.n_held);
		break;
	case 7:
		fake_disk_complete_all(&f->disk);
		break;
	case 8:
		f->ram[input_take(in, 3) % VBLK_RAM_SIZE] = (uint8_t)input_take(in, 1);
		break;
	case 9:
		vdriver_put16(d, d->avail + (input_take(in, 1) & ~UINT64_C(1)),
			      (uint16_t)input_take(in, 2));
		break;
	case 10:
		vdriver_publish(d, (uint16_t)input_take(in, 2));
		break;
	case 11:
		f->disk.eager = what & 16;
		f->disk.result = results[what >> 6];
		break;
	case 12:
		virtio_set_status(f->dev, 0, false);
		memset(f->ram, 0, VBLK_BUFFERS - VBLK_RAM);
		up(f, in);
		break;
	case 13:
		virtio_set_dma(f->dev, what & 16);
		break;
	case 14:
		virtio_config_write(f->dev, input_take(in, 1), 1u << (what >> 4) % 4,
				    input_take(in, 4));
		virtio_config_read(f->dev, input_take(in, 1), 1u << (what >> 4) % 4);
		break;
	default:
		break; /* a step */
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct input in = {data, size};
	uint8_t how = (uint8_t)input_take(&in, 1);
	const struct blk_info info = {
		.size = VBLK_DISK,
		.logical_block = how & 1 ? 4096 : 512,
		.physical_block = 4096,
		.readonly = how & 2,
		.discard = !(how & 4),
		.write_zeroes = !(how & 4),
		.write_cache = true,
	};
	struct err err;
	struct vblk_fixture *f =
		vblk_fixture_new(how & 8 ? "drive=d0,queue-size=8"
					 : "drive=d0,num-queues=2,queue-size=64,serial=abc",
				 &info, &err);

	if (!f)
		abort();
	f->disk.eager = how & 16;
	up(f, &in);
	while (in.n) {
		operation(f, &in);
		if (!vblk_step(f))
			abort();
	}
	vblk_fixture_free(f);
	return 0;
}
