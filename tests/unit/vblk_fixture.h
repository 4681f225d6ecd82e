/*
 * A virtio-blk without a VM: the model on a transport made of function pointers, a disk that lives
 * in memory, guest memory from calloc(). For the tests of the device at the level of its rings, and
 * for its fuzz harness.
 *
 * Nothing runs by itself: vblk_step() does what the I/O thread would, until there is nothing left
 * to do.
 */
#ifndef VIREO_TESTS_VBLK_FIXTURE_H
#define VIREO_TESTS_VBLK_FIXTURE_H

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <linux/virtio_blk.h>

#include "base/iov.h"
#include "blk/blk.h"
#include "vdriver.h"
#include "virtio/pci.h"

#define VBLK_RAM      0x100000 /* guest-physical start of RAM */
#define VBLK_RAM_SIZE 0x50000
#define VBLK_RINGS    VBLK_RAM		   /* two rings, 32 KiB each */
#define VBLK_BUFFERS  (VBLK_RAM + 0x10000) /* for the test */
#define VBLK_DISK     0x10000		   /* bytes */
#define VBLK_QUEUES   2
#define VBLK_HELD     2048

/* The disk. What is submitted is held until fake_disk_complete(), unless `eager`: then the kick
 * completes it. */
struct fake_disk {
	struct blk_backend blk; /* first */
	struct blk_queue queue[VBLK_QUEUES];
	unsigned int n_queues;
	uint8_t data[VBLK_DISK];
	struct blk_request *held[VBLK_HELD];
	unsigned int n_held, n_kicks, n_fua, n_flush, n_discard, n_zeroes, n_unmap;
	bool eager;
	int result; /* what requests are answered; 0: they are done */
};

static inline struct fake_disk *fake_disk_of(struct blk_backend *blk)
{
	return (struct fake_disk *)blk;
}

static inline int fake_disk_open(struct blk_backend *blk, struct loop *loop,
				 struct blk_queue **queue, struct err *err)
{
	struct fake_disk *disk = fake_disk_of(blk);

	*queue = &disk->queue[disk->n_queues++];
	(*queue)->blk = blk;
	return 0;
}

static inline void fake_disk_close(struct blk_queue *queue)
{
	if (fake_disk_of(queue->blk)->n_held)
		abort(); /* requests in flight */
}

static inline int fake_disk_do(struct fake_disk *disk, struct blk_request *req)
{
	uint8_t *at = disk->data + req->offset;

	if (req->op == BLK_READ || req->op == BLK_WRITE) {
		if (iov_size(req->iov, (size_t)req->n_iov) != req->length)
			abort(); /* the front end broke the contract */
	}
	switch (req->op) {
	case BLK_READ:
		iov_write(req->iov, (size_t)req->n_iov, 0, at, req->length);
		break;
	case BLK_WRITE:
		disk->n_fua += req->fua;
		iov_read(req->iov, (size_t)req->n_iov, 0, at, req->length);
		break;
	case BLK_FLUSH:
		disk->n_flush++;
		break;
	case BLK_DISCARD:
		disk->n_discard++;
		break;
	case BLK_WRITE_ZEROES:
		disk->n_zeroes++;
		disk->n_unmap += req->may_unmap;
		memset(at, 0, req->length);
		break;
	}
	return 0;
}

/* Completes the held request i (of the order they came in). */
static inline void fake_disk_complete(struct fake_disk *disk, unsigned int i)
{
	struct blk_request *req = disk->held[i];

	memmove(&disk->held[i], &disk->held[i + 1], (--disk->n_held - i) * sizeof(disk->held[0]));
	req->done(req, disk->result ? disk->result : fake_disk_do(disk, req));
}

/* Completes all and tells the front end, as a back end does. */
static inline void fake_disk_complete_all(struct fake_disk *disk)
{
	while (disk->n_held)
		fake_disk_complete(disk, 0);
	for (unsigned int i = 0; i < disk->n_queues; i++)
		disk->queue[i].completed(&disk->queue[i]);
}

static inline void fake_disk_submit(struct blk_queue *queue, struct blk_request *req)
{
	struct fake_disk *disk = fake_disk_of(queue->blk);

	if (disk->n_held == VBLK_HELD)
		abort(); /* more than both queues' entries */
	disk->held[disk->n_held++] = req;
}

static inline void fake_disk_kick(struct blk_queue *queue)
{
	struct fake_disk *disk = fake_disk_of(queue->blk);

	disk->n_kicks++;
	if (disk->eager)
		fake_disk_complete_all(disk);
}

static inline void fake_disk_drain(struct blk_queue *queue)
{
	fake_disk_complete_all(fake_disk_of(queue->blk));
}

static const struct blk_ops fake_disk_ops = {
	.name = "fake",
	.size = sizeof(struct fake_disk),
	.queue_open = fake_disk_open,
	.queue_close = fake_disk_close,
	.submit = fake_disk_submit,
	.kick = fake_disk_kick,
	.drain = fake_disk_drain,
};

struct vblk_fixture {
	struct mem mem;
	uint8_t *ram;
	struct platform platform;
	struct device device;
	struct loop *loop;
	struct fake_disk disk;
	struct virtio_dev *dev;
	struct vdriver ring[VBLK_QUEUES];
	unsigned int interrupts[VBLK_QUEUES], config_interrupts;
	unsigned int threads; /* lent */
	bool disk_taken;
};

static inline struct vblk_fixture *vblk_fixture_of(struct platform *p)
{
	return (struct vblk_fixture *)((uint8_t *)p - offsetof(struct vblk_fixture, platform));
}

static inline struct loop *vblk_thread_get(struct platform *p, const char *id, const char *name,
					   struct err *err)
{
	if (id && strcmp(id, "io0") != 0) {
		err_set(err, -ENOENT, "there is no iothread %s", id);
		return NULL;
	}
	vblk_fixture_of(p)->threads++;
	return vblk_fixture_of(p)->loop;
}

static inline void vblk_thread_put(struct platform *p, struct loop *loop)
{
	vblk_fixture_of(p)->threads--;
}

static inline struct blk_backend *vblk_blk_get(struct platform *p, const char *id,
					       struct device *user, struct err *err)
{
	struct vblk_fixture *f = vblk_fixture_of(p);

	if (strcmp(id, "d0") != 0) {
		err_set(err, -ENOENT, "there is no drive %s", id);
		return NULL;
	}
	f->disk_taken = true;
	return &f->disk.blk;
}

static inline void vblk_blk_put(struct platform *p, struct blk_backend *blk)
{
	vblk_fixture_of(p)->disk_taken = false;
}

static inline void vblk_notify_queue(struct virtio_dev *dev, struct virtio_queue *queue)
{
	vblk_fixture_of(dev->device->platform)->interrupts[queue->ring.index]++;
}

static inline void vblk_notify_config(struct virtio_dev *dev)
{
	vblk_fixture_of(dev->device->platform)->config_interrupts++;
}

static inline void vblk_doorbell(struct virtio_dev *dev, struct virtio_queue *queue, bool on)
{
}

static inline void vblk_fixture_end(struct vblk_fixture *f)
{
	opt_release(device_model_find("virtio-blk-pci")->opts[2].table, f->dev);
	if (f->disk_taken || f->threads)
		abort(); /* not given back */
	loop_destroy(f->loop);
	vdriver_ram_free(&f->mem);
	pthread_mutex_destroy(&f->device.lock);
	free(f->dev);
	free(f);
}

/* The model with these -device options ("drive=d0,..."), on a disk of this kind. NULL when its
 * realize() refused, err says why. */
static inline struct vblk_fixture *vblk_fixture_new(const char *options,
						    const struct blk_info *info, struct err *err)
{
	const struct device_model *model = device_model_find("virtio-blk-pci");
	const struct device_opts *opts = &model->opts[2];
	struct vblk_fixture *f = calloc(1, sizeof(*f));
	size_t size = (model->size - VIRTIO_PCI_OFFSET + 63) & ~(size_t)63;
	struct opt_list list;
	int r;

	if (!f || opts->offset != VIRTIO_PCI_OFFSET)
		abort();
	f->ram = vdriver_ram(&f->mem, VBLK_RAM, VBLK_RAM_SIZE);
	if (loop_create(&f->loop, "test", 0, NULL))
		abort();
	f->platform = (struct platform){.mem = &f->mem,
					.io_thread_get = vblk_thread_get,
					.io_thread_put = vblk_thread_put,
					.blk_get = vblk_blk_get,
					.blk_put = vblk_blk_put};
	f->device.platform = &f->platform;
	f->device.id = (char *)"disk0";
	pthread_mutex_init(&f->device.lock, NULL);
	f->disk.blk.ops = &fake_disk_ops;
	f->disk.blk.id = (char *)"d0";
	f->disk.blk.info = *info;
	f->dev = aligned_alloc(64, size);
	memset(f->dev, 0, size);
	f->dev->model = model->data;
	f->dev->device = &f->device;
	f->dev->notify_queue = vblk_notify_queue;
	f->dev->notify_config = vblk_notify_config;
	f->dev->doorbell = vblk_doorbell;
	r = opt_parse(&list, "-device", options, NULL, err);
	if (!r)
		r = opt_apply(opts->table, f->dev, &list, err);
	if (!r)
		r = f->dev->model->realize(f->dev, err);
	opt_free(&list);
	if (!r)
		r = virtio_dev_init(f->dev,
				    virtio_bit(VIRTIO_RING_F_EVENT_IDX) |
					    virtio_bit(VIRTIO_RING_F_INDIRECT_DESC) |
					    virtio_bit(VIRTIO_F_VERSION_1) |
					    virtio_bit(VIRTIO_F_ANY_LAYOUT),
				    err);
	if (!r)
		return f;
	vblk_fixture_end(f);
	return NULL;
}

static inline void vblk_fixture_free(struct vblk_fixture *f)
{
	virtio_dev_destroy(f->dev);
	f->dev->model->unrealize(f->dev);
	vblk_fixture_end(f);
}

static inline void vblk_ring_up(struct vblk_fixture *f, unsigned int index, uint16_t size)
{
	struct virtio_queue *queue = &f->dev->queue[index];
	struct vdriver *d = &f->ring[index];

	vdriver_init(d, &f->mem, VBLK_RINGS + 0x8000 * index, size);
	queue->config = (struct virtq_config){
		.size = size, .desc = d->desc, .avail = d->avail, .used = d->used};
	virtio_queue_enable(queue);
}

/* What a driver does up to DRIVER_OK: takes `features` (those that are offered), makes its rings.
 * */
static inline void vblk_driver_ok(struct vblk_fixture *f, uint64_t features, bool legacy,
				  uint16_t ring_size)
{
	uint8_t status = VIRTIO_CONFIG_S_ACKNOWLEDGE | VIRTIO_CONFIG_S_DRIVER;

	virtio_set_dma(f->dev, true);
	virtio_set_status(f->dev, status, legacy);
	if (!legacy)
		features |= virtio_bit(VIRTIO_F_VERSION_1);
	virtio_set_features(f->dev, features & virtio_features_offered(f->dev, legacy));
	if (!legacy)
		virtio_set_status(f->dev, status |= VIRTIO_CONFIG_S_FEATURES_OK, legacy);
	for (unsigned int i = 0; i < f->dev->n_queues && i < VBLK_QUEUES; i++)
		vblk_ring_up(f, i, ring_size);
	virtio_set_status(f->dev, status | VIRTIO_CONFIG_S_DRIVER_OK, legacy);
}

/* What the I/O thread does until it would sleep; false when that took more than 100000 rounds. */
static inline bool vblk_step(struct vblk_fixture *f)
{
	bool work = true;

	for (unsigned int rounds = 0; work; rounds++) {
		if (rounds > 100000)
			return false;
		work = false;
		for (unsigned int i = 0; i < f->dev->n_queues; i++) {
			struct virtio_queue *queue = &f->dev->queue[i];

			if (!queue->running)
				continue;
			work |= queue->poller.poll(&queue->poller);
			if (virtio_is_latched(f->dev)) {
				queue->kick.ready(&queue->kick, EPOLLIN);
				work = true;
			}
		}
	}
	return true;
}

#endif
