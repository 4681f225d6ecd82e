/*
 * virtio-blk: the disk of virtio 1.3 §5.2, legacy interface included.
 *
 *	chain:  | type, ioprio, sector | data out ... |    | data in ... | status |
 *	          what we read                               what we write
 *
 *	pop a batch -> a request each, to the back end -> one blk_kick()
 *	... complete, in any order -> status byte, fill -> one flush for what completed together
 *
 * Data goes between guest memory and the back end; nothing is copied here. Where the pieces are cut
 * (the framing) says nothing: the header is the first 16 bytes, the status the last one, as
 * ANY_LAYOUT and virtio 1.x have it.
 *
 * Threads: each queue has an I/O thread of its own, or all share the one of iothread=. A queue's
 * requests are allocated at realize, as many as the queue has entries, and belong to its thread.
 * Options and configuration space are the control thread's and, under the device lock, the vCPUs';
 * `writeback` alone is read by the I/O threads.
 *
 * A request that can't be done is answered with UNSUPP or IOERR. One that has no room for a header
 * or for the answer latches the device, as a malformed ring does.
 *
 * What it does not do: SCSI commands, barriers, zones, secure erase, lifetime, geometry.
 */
#include <endian.h>
#include <errno.h>
#include <linux/virtio_blk.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/iov.h"
#include "blk/blk.h"
#include "virtio/pci.h"

#define SECTOR	     512u
#define SEGMENTS_MAX 254u
#define SPLITS \
	8u /* more pieces than descriptors: where a buffer goes over the end of a memory range */
#define BATCH 128u /* requests taken before others on the thread have their turn */
/* Requests handed on together. What is in the host's page cache is done when io_uring_enter
 * returns, so the guest can go on with a few while the next few are served: with 32 in flight, 481
 * k requests/s by 8, 299 k by 128 (4 KiB, median of 5, a guest that polls). */
#define PART	      8u
#define RANGE_SECTORS (1u << 22) /* of one discard or write-zeroes: 2 GiB */
#define BLOCK_MAX     65536u

struct vblk_queue;

struct vblk_request {
	struct blk_request blk;
	struct vblk_queue *vq;
	struct vblk_request *next_free;
	struct virtq_chain chain;
	uint8_t *status;
};

struct vblk_counters {
	struct counter unsupported, refused;
};

struct vblk_queue {
	struct virtio_queue *queue;
	struct blk_queue *blk;
	struct vblk_request *requests, *free;
	struct iovec *iov; /* iov_max for each request, in the same order */
	struct vblk_counters counters;
};

struct virtio_blk {
	struct virtio_dev vdev;
	struct blk_backend *blk;
	struct virtio_blk_config config; /* little-endian, as the driver reads it */
	struct vblk_queue *vq;		 /* one for each queue */
	unsigned int iov_max;
	uint32_t block; /* logical block, bytes */
	bool writeback; /* relaxed atomics: writes are done before they are stable */
	/* options */
	struct {
		char *drive, *serial, *iothread;
		uint16_t num_queues, queue_size;
		uint32_t logical_block_size, physical_block_size, min_io_size, opt_io_size;
		int write_cache; /* enum opt_tri */
		bool discard, write_zeroes, config_wce;
	} opt;
};

#define VBLK_OPT(field, opt_name, kind, ...)                                                      \
	{                                                                                         \
		.name = opt_name, .type = kind, .offset = offsetof(struct virtio_blk, opt.field), \
		__VA_ARGS__                                                                       \
	}

static const struct opt_desc vblk_opts[] = {
	VBLK_OPT(drive, "drive", OPT_STRING, .help = "id of the -drive or -blockdev that it shows"),
	VBLK_OPT(serial, "serial", OPT_STRING, .help = "serial number, 20 characters at most"),
	VBLK_OPT(iothread, "iothread", OPT_STRING,
		 .help = "id of the -object iothread that serves it; none: one per queue"),
	VBLK_OPT(num_queues, "num-queues", OPT_U16, .def = "1", .min = 1, .max = VIRTIO_QUEUES_MAX,
		 .help = "queues, for as many vCPUs to use without waiting for each other"),
	VBLK_OPT(queue_size, "queue-size", OPT_U16, .def = "256", .min = 4, .max = VIRTQ_SIZE_MAX,
		 .help = "entries of each queue, a power of two"),
	VBLK_OPT(logical_block_size, "logical_block_size", OPT_U32, .max = BLOCK_MAX,
		 .help = "smallest transfer in bytes; 0: what the image needs"),
	VBLK_OPT(physical_block_size, "physical_block_size", OPT_U32, .max = BLOCK_MAX,
		 .help = "block of the medium in bytes; 0: what the image has"),
	VBLK_OPT(min_io_size, "min_io_size", OPT_U32, .max = 32u << 20,
		 .help = "transfers that suit the medium, bytes; 0: not said"),
	VBLK_OPT(opt_io_size, "opt_io_size", OPT_U32, .max = 1u << 30,
		 .help = "transfers that suit it best, bytes; 0: not said"),
	VBLK_OPT(write_cache, "write-cache", OPT_TRI, .def = "auto",
		 .help = "writes are done before they are on the medium; flush puts them there"),
	VBLK_OPT(config_wce, "config-wce", OPT_BOOL, .def = "on",
		 .help = "let the guest turn its write cache on and off"),
	VBLK_OPT(discard, "discard", OPT_BOOL, .def = "on",
		 .help = "offer to discard, where the image does (discard=unmap there)"),
	VBLK_OPT(write_zeroes, "write-zeroes", OPT_BOOL, .def = "on",
		 .help = "offer to write zeros without sending them"),
	{.name = NULL, .type = OPT_END},
};

static const struct counter_desc vblk_counter_table[] = {
	{"unsupported", offsetof(struct vblk_counters, unsupported),
	 "requests of a kind that was not offered"},
	{"refused", offsetof(struct vblk_counters, refused),
	 "requests whose length, place or flags make no sense"},
	{NULL, 0, NULL},
};

static struct virtio_blk *vblk_of(struct virtio_dev *dev)
{
	return (struct virtio_blk *)dev;
}

static struct vblk_queue *vq_of(struct virtio_queue *queue)
{
	return &vblk_of(queue->dev)->vq[queue->ring.index];
}

/* ---- answering ---- */

/* Gives the chain back. All that it offers to be written counts as written, because the status is
 * at its end. */
static void answer(struct vblk_request *req, uint8_t status)
{
	struct vblk_queue *vq = req->vq;

	/* The guest may have had this byte written on another queue before: the order is its own.
	 * */
	__atomic_store_n(req->status, status, __ATOMIC_RELAXED);
	virtq_fill(&vq->queue->ring, &req->chain, req->chain.in_bytes);
	req->next_free = vq->free;
	vq->free = req;
}

static void refuse(struct vblk_request *req, uint8_t status)
{
	struct vblk_counters *c = &req->vq->counters;

	counter_add(status == VIRTIO_BLK_S_UNSUPP ? &c->unsupported : &c->refused, 1);
	answer(req, status);
}

static void request_done(struct blk_request *blk, int result)
{
	struct vblk_request *req = blk->opaque;

	answer(req, !result		    ? VIRTIO_BLK_S_OK
		    : result == -EOPNOTSUPP ? VIRTIO_BLK_S_UNSUPP
					    : VIRTIO_BLK_S_IOERR);
}

/* A run of requests is done: one interrupt for all. If the queue waited for a free request, the
 * loop now finds it asking for doorbells again, and chains that wait. */
static void requests_completed(struct blk_queue *blk)
{
	struct vblk_queue *vq = blk->opaque;

	virtq_flush(&vq->queue->ring);
	virtio_queue_want_kicks(vq->queue, true);
}

/* ---- requests ---- */

/* Takes n bytes off the front of *count pieces. */
static void trim_front(struct iovec **iov, unsigned int *count, size_t n)
{
	while (*count && n >= (*iov)->iov_len) {
		n -= (*iov)->iov_len;
		(*iov)++;
		(*count)--;
	}
	if (n) {
		(*iov)->iov_base = (uint8_t *)(*iov)->iov_base + n;
		(*iov)->iov_len -= n;
	}
}

/* Takes the last byte off the pieces and says where it is; there is at least one byte. */
static uint8_t *trim_last(struct iovec *iov, unsigned int *count)
{
	while (!iov[*count - 1].iov_len)
		(*count)--;
	iov += *count - 1;
	if (!--iov->iov_len)
		(*count)--;
	return (uint8_t *)iov->iov_base + iov->iov_len;
}

static void submit_transfer(struct virtio_blk *vb, struct vblk_request *req, enum blk_op op,
			    uint64_t sector, const struct iovec *iov, unsigned int n,
			    uint64_t length)
{
	struct blk_request *blk = &req->blk;

	/* §5.2.6.1: whole sectors; and whole blocks, because the image can't do less. */
	if (length % vb->block || sector > UINT64_MAX / SECTOR || sector * SECTOR % vb->block) {
		refuse(req, VIRTIO_BLK_S_IOERR);
		return;
	}
	blk->op = op;
	blk->offset = sector * SECTOR;
	blk->length = length;
	blk->iov = iov;
	blk->n_iov = (int)n;
	blk->fua = op == BLK_WRITE && !__atomic_load_n(&vb->writeback, __ATOMIC_RELAXED);
	blk_submit(req->vq->blk, blk);
}

static void submit_flush(struct vblk_request *req)
{
	req->blk.op = BLK_FLUSH;
	req->blk.offset = req->blk.length = 0;
	blk_submit(req->vq->blk, &req->blk);
}

/* DISCARD and WRITE_ZEROES: one range, §5.2.6.2. */
static void submit_range(struct virtio_blk *vb, struct vblk_request *req, enum blk_op op,
			 const struct iovec *iov, unsigned int n, uint64_t length)
{
	unsigned int feature = op == BLK_DISCARD ? VIRTIO_BLK_F_DISCARD : VIRTIO_BLK_F_WRITE_ZEROES;
	struct virtio_blk_discard_write_zeroes range;
	uint32_t sectors, flags;
	uint64_t sector;

	if (!(vb->vdev.features_offered >> feature & 1)) {
		refuse(req, VIRTIO_BLK_S_UNSUPP);
		return;
	}
	if (length != sizeof(range)) {
		refuse(req, VIRTIO_BLK_S_IOERR);
		return;
	}
	iov_read(iov, n, 0, &range, sizeof(range));
	sector = le64toh(range.sector);
	sectors = le32toh(range.num_sectors);
	flags = le32toh(range.flags);
	if (flags & ~(op == BLK_DISCARD ? 0u : VIRTIO_BLK_WRITE_ZEROES_FLAG_UNMAP)) {
		refuse(req, VIRTIO_BLK_S_UNSUPP);
		return;
	}
	if (sectors > RANGE_SECTORS || sector > UINT64_MAX / SECTOR ||
	    sector * SECTOR % vb->block || (uint64_t)sectors * SECTOR % vb->block) {
		refuse(req, VIRTIO_BLK_S_IOERR);
		return;
	}
	req->blk.op = op;
	req->blk.offset = sector * SECTOR;
	req->blk.length = (uint64_t)sectors * SECTOR;
	req->blk.may_unmap = flags & VIRTIO_BLK_WRITE_ZEROES_FLAG_UNMAP;
	blk_submit(req->vq->blk, &req->blk);
}

static void get_id(struct virtio_blk *vb, struct vblk_request *req, const struct iovec *iov,
		   unsigned int n)
{
	char id[VIRTIO_BLK_ID_BYTES] = {0};

	if (vb->opt.serial)
		memcpy(id, vb->opt.serial, strnlen(vb->opt.serial, sizeof(id)));
	iov_write(iov, n, 0, id, sizeof(id));
	answer(req, VIRTIO_BLK_S_OK);
}

/* What the chain asks for. The header has been found long enough and the answer has its byte. */
static void serve(struct virtio_blk *vb, struct vblk_request *req)
{
	struct virtq_chain *chain = &req->chain;
	struct iovec *out = chain->iov, *in = chain->iov + chain->n_out;
	unsigned int n_out = chain->n_out, n_in = chain->n_in;
	struct virtio_blk_outhdr header;
	uint64_t sector;

	iov_read(out, n_out, 0, &header, sizeof(header));
	trim_front(&out, &n_out, sizeof(header));
	req->status = trim_last(in, &n_in);
	sector = le64toh(header.sector);
	switch (le32toh(header.type)) {
	case VIRTIO_BLK_T_IN:
		submit_transfer(vb, req, BLK_READ, sector, in, n_in, chain->in_bytes - 1);
		break;
	case VIRTIO_BLK_T_OUT:
		submit_transfer(vb, req, BLK_WRITE, sector, out, n_out,
				chain->out_bytes - sizeof(header));
		break;
	case VIRTIO_BLK_T_FLUSH:
		submit_flush(req);
		break;
	case VIRTIO_BLK_T_DISCARD:
		submit_range(vb, req, BLK_DISCARD, out, n_out, chain->out_bytes - sizeof(header));
		break;
	case VIRTIO_BLK_T_WRITE_ZEROES:
		submit_range(vb, req, BLK_WRITE_ZEROES, out, n_out,
			     chain->out_bytes - sizeof(header));
		break;
	case VIRTIO_BLK_T_GET_ID:
		get_id(vb, req, in, n_in);
		break;
	default:
		refuse(req, VIRTIO_BLK_S_UNSUPP);
	}
}

/* Takes the next chain and sees to it; false: there is none, or none can be taken now. */
static bool take(struct virtio_blk *vb, struct vblk_queue *vq)
{
	struct virtq *ring = &vq->queue->ring;
	struct vblk_request *req = vq->free;
	int r;

	if (!req) {
		/* A driver that makes one buffer available twice can get here: go on when one is
		 * done. */
		virtio_queue_want_kicks(vq->queue, false);
		return false;
	}
	r = virtq_pop(ring, &req->chain, vq->iov + (size_t)(req - vq->requests) * vb->iov_max,
		      vb->iov_max);
	if (r == -E2BIG)
		virtq_latch(ring, "a disk request of too many pieces");
	if (r <= 0)
		return false;
	if (req->chain.out_bytes < sizeof(struct virtio_blk_outhdr)) {
		virtq_latch(ring, "a disk request is shorter than its header");
		return false;
	}
	if (!req->chain.in_bytes) {
		virtq_latch(ring, "a disk request has no room for its status");
		return false;
	}
	vq->free = req->next_free;
	serve(vb, req);
	return true;
}

static bool vblk_work(struct virtio_queue *queue)
{
	struct virtio_blk *vb = vblk_of(queue->dev);
	struct vblk_queue *vq = vq_of(queue);
	unsigned int n = 0;

	while (n < BATCH && take(vb, vq)) {
		if (++n % PART == 0)
			blk_kick(vq->blk);
	}
	if (!n)
		return false;
	if (n % PART)
		blk_kick(vq->blk);
	virtq_flush(&queue->ring);
	return true;
}

static void vblk_queue_stop(struct virtio_queue *queue)
{
	blk_drain(vq_of(queue)->blk);
	virtq_flush(&queue->ring);
}

/* ---- configuration space ---- */

static void set_writeback(struct virtio_blk *vb, bool on)
{
	vb->config.wce = on;
	__atomic_store_n(&vb->writeback, on, __ATOMIC_RELAXED);
}

static bool cache_default(const struct virtio_blk *vb)
{
	return vb->opt.write_cache != OPT_OFF && vb->blk->info.write_cache;
}

static uint64_t vblk_config_read(struct virtio_dev *dev, uint32_t offset, unsigned int size)
{
	return virtio_config_load(&vblk_of(dev)->config, offset, size);
}

static void vblk_config_write(struct virtio_dev *dev, uint32_t offset, unsigned int size,
			      uint64_t value)
{
	if (offset == offsetof(struct virtio_blk_config, wce) && size == 1 &&
	    virtio_has(dev, VIRTIO_BLK_F_CONFIG_WCE))
		set_writeback(vblk_of(dev), value & 1);
}

/* §5.2.5.2: a driver that doesn't know FLUSH wants its writes stable when they are done. */
static void vblk_features_ready(struct virtio_dev *dev)
{
	struct virtio_blk *vb = vblk_of(dev);

	if (!virtio_has(dev, VIRTIO_BLK_F_CONFIG_WCE))
		set_writeback(vb, cache_default(vb) && virtio_has(dev, VIRTIO_BLK_F_FLUSH));
}

static void vblk_reset(struct virtio_dev *dev)
{
	set_writeback(vblk_of(dev), cache_default(vblk_of(dev)));
}

/* ---- making and ending ---- */

static bool is_power_of_two(uint32_t n)
{
	return n && !(n & (n - 1));
}

static int check_options(struct virtio_blk *vb, struct err *err)
{
	const struct blk_info *info = &vb->blk->info;
	uint32_t physical = vb->opt.physical_block_size;

	vb->block = vb->opt.logical_block_size;
	if (!vb->block)
		vb->block = info->logical_block;
	if (!physical)
		physical = info->physical_block;
	if (physical < vb->block)
		physical = vb->block;
	vb->opt.physical_block_size = physical;
	if (!is_power_of_two(vb->block) || vb->block < SECTOR || vb->block < info->logical_block)
		return err_set(err, -EINVAL,
			       "logical_block_size=%u: a power of two is needed, and at least %u, "
			       "which drive %s needs",
			       vb->block, info->logical_block, vb->opt.drive);
	if (!is_power_of_two(physical))
		return err_set(err, -EINVAL, "physical_block_size=%u is not a power of two",
			       physical);
	if (!is_power_of_two(vb->opt.queue_size))
		return err_set(err, -EINVAL, "queue-size=%u is not a power of two",
			       vb->opt.queue_size);
	if (vb->opt.serial && strlen(vb->opt.serial) > VIRTIO_BLK_ID_BYTES)
		return err_set(err, -EINVAL, "serial=%s is longer than %d characters",
			       vb->opt.serial, VIRTIO_BLK_ID_BYTES);
	return 0;
}

static void set_config(struct virtio_blk *vb)
{
	const struct blk_info *info = &vb->blk->info;
	struct virtio_blk_config *c = &vb->config;
	struct virtio_dev *dev = &vb->vdev;
	uint32_t segments = vb->opt.queue_size - 2u;

	if (segments > SEGMENTS_MAX)
		segments = SEGMENTS_MAX;
	vb->iov_max = segments + 2 + SPLITS;
	c->capacity = htole64(info->size / vb->block * (vb->block / SECTOR));
	c->seg_max = htole32(segments);
	c->blk_size = htole32(vb->block);
	c->physical_block_exp = __builtin_ctz(vb->opt.physical_block_size / vb->block);
	c->min_io_size = htole16(vb->opt.min_io_size / vb->block);
	c->opt_io_size = htole32(vb->opt.opt_io_size / vb->block);
	c->num_queues = htole16(vb->opt.num_queues);
	dev->features_offered = virtio_bit(VIRTIO_BLK_F_SEG_MAX) |
				virtio_bit(VIRTIO_BLK_F_BLK_SIZE) |
				virtio_bit(VIRTIO_BLK_F_TOPOLOGY) | virtio_bit(VIRTIO_BLK_F_FLUSH);
	if (vb->opt.config_wce)
		dev->features_offered |= virtio_bit(VIRTIO_BLK_F_CONFIG_WCE);
	if (vb->opt.num_queues > 1)
		dev->features_offered |= virtio_bit(VIRTIO_BLK_F_MQ);
	if (info->readonly)
		dev->features_offered |= virtio_bit(VIRTIO_BLK_F_RO);
	if (info->discard && vb->opt.discard) {
		dev->features_offered |= virtio_bit(VIRTIO_BLK_F_DISCARD);
		c->max_discard_sectors = htole32(RANGE_SECTORS);
		c->max_discard_seg = htole32(1);
		c->discard_sector_alignment = htole32(vb->block / SECTOR);
	}
	if (info->write_zeroes && vb->opt.write_zeroes) {
		dev->features_offered |= virtio_bit(VIRTIO_BLK_F_WRITE_ZEROES);
		c->max_write_zeroes_sectors = htole32(RANGE_SECTORS);
		c->max_write_zeroes_seg = htole32(1);
		c->write_zeroes_may_unmap = info->discard;
	}
	set_writeback(vb, cache_default(vb));
}

static int queue_make(struct virtio_blk *vb, unsigned int index, struct err *err)
{
	struct virtio_queue *queue = &vb->vdev.queue[index];
	struct platform *p = vb->vdev.device->platform;
	struct vblk_queue *vq = &vb->vq[index];
	unsigned int n = vb->opt.queue_size;
	char name[16];
	int r;

	queue->size_max = n;
	vq->queue = queue;
	/* Untouched memory costs none: what is never in flight at once stays so, because the last
	 * one freed is the next. */
	vq->requests = calloc(n, sizeof(*vq->requests));
	vq->iov = calloc((size_t)n * vb->iov_max, sizeof(*vq->iov));
	if (!vq->requests || !vq->iov)
		return err_set(err, -ENOMEM, "out of memory");
	for (unsigned int i = n; i-- > 0;) {
		struct vblk_request *req = &vq->requests[i];

		req->vq = vq;
		req->blk.done = request_done;
		req->blk.opaque = req;
		req->next_free = vq->free;
		vq->free = req;
	}
	snprintf(name, sizeof(name), "%.11s.%hhu", vb->vdev.device->id, (uint8_t)index);
	queue->loop = p->io_thread_get(p, vb->opt.iothread, name, err);
	if (!queue->loop)
		return err && err->code ? err->code : -ENOMEM;
	r = blk_queue_open(vb->blk, queue->loop, &vq->blk, err);
	if (r)
		return r;
	vq->blk->completed = requests_completed;
	vq->blk->opaque = vq;
	return 0;
}

static void vblk_unrealize(struct virtio_dev *dev)
{
	struct virtio_blk *vb = vblk_of(dev);
	struct platform *p = dev->device->platform;

	for (unsigned int i = 0; vb->vq && i < vb->opt.num_queues; i++) {
		struct vblk_queue *vq = &vb->vq[i];

		blk_queue_close(vq->blk);
		if (dev->queue[i].loop)
			p->io_thread_put(p, dev->queue[i].loop);
		dev->queue[i].loop = NULL;
		free(vq->requests);
		free(vq->iov);
	}
	free(vb->vq);
	vb->vq = NULL;
	if (vb->blk)
		p->blk_put(p, vb->blk);
	vb->blk = NULL;
}

static int vblk_realize(struct virtio_dev *dev, struct err *err)
{
	struct virtio_blk *vb = vblk_of(dev);
	struct platform *p = dev->device->platform;
	int r = 0;

	if (!vb->opt.drive)
		return err_set(err, -EINVAL,
			       "which disk? (drive=ID of a -drive if=none or -blockdev)");
	vb->blk = p->blk_get(p, vb->opt.drive, dev->device, err);
	if (!vb->blk)
		return err && err->code ? err->code : -ENOENT;
	r = check_options(vb, err);
	if (!r) {
		set_config(vb);
		dev->n_queues = vb->opt.num_queues;
		dev->vectors = dev->n_queues + 1;
		dev->config_size = offsetof(struct virtio_blk_config, unused1) + 3;
		vb->vq = calloc(dev->n_queues, sizeof(*vb->vq));
		if (!vb->vq)
			r = err_set(err, -ENOMEM, "out of memory");
	}
	for (unsigned int i = 0; !r && i < dev->n_queues; i++)
		r = queue_make(vb, i, err);
	if (r)
		vblk_unrealize(dev);
	return r;
}

/* ---- what a person sees ---- */

static void vblk_info(struct virtio_dev *dev, json_t *object)
{
	struct virtio_blk *vb = vblk_of(dev);

	json_object_set_new(object, "drive", json_string(vb->opt.drive));
	json_object_set_new(object, "bytes", json_integer((json_int_t)vb->blk->info.size));
	json_object_set_new(object, "read-only", json_boolean(vb->blk->info.readonly));
	json_object_set_new(object, "write-cache",
			    json_boolean(__atomic_load_n(&vb->writeback, __ATOMIC_RELAXED)));
}

static void vblk_counters(struct virtio_dev *dev, counter_visit *visit, void *opaque)
{
	struct virtio_blk *vb = vblk_of(dev);
	char part[24];

	for (unsigned int i = 0; i < dev->n_queues; i++) {
		snprintf(part, sizeof(part), "queue %u", i);
		visit(opaque, dev->device->id, part, vblk_counter_table, &vb->vq[i].counters);
		visit(opaque, dev->device->id, part, blk_counter_table, &vb->vq[i].blk->counters);
	}
}

static const char *const vblk_aliases[] = {"virtio-blk", NULL};

static const struct virtio_model virtio_blk = {
	.id = 2,
	.pci_class = 0x010000, /* SCSI storage, as virtio disks have had it from the start */
	.vectors = 2,
	.realize = vblk_realize,
	.unrealize = vblk_unrealize,
	.config_read = vblk_config_read,
	.config_write = vblk_config_write,
	.queue_stop = vblk_queue_stop,
	.work = vblk_work,
	.features_ready = vblk_features_ready,
	.reset = vblk_reset,
	.info = vblk_info,
	.counters = vblk_counters,
};
VIRTIO_PCI_MODEL(virtio_blk, "virtio-blk-pci", vblk_aliases, "virtio disk", struct virtio_blk,
		 vblk_opts, NULL);
