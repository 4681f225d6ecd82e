/*
 * A virtio-net without a VM: the model on a transport made of function pointers, a back end that
 * lives in memory, guest memory from calloc(). For the tests of the device at the level of its
 * rings, and for its fuzz harness.
 *
 * Nothing runs by itself: vnet_step() does what the I/O thread would, until there is nothing left
 * to do.
 */
#ifndef VIREO_TESTS_VNET_FIXTURE_H
#define VIREO_TESTS_VNET_FIXTURE_H

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "dev/virtio_net.h"
#include "fake_net.h"
#include "vdriver.h"
#include "virtio/pci.h"

#define VNET_RAM 0x100000 /* guest-physical start of RAM */
#ifndef VNET_RAM_SIZE
#define VNET_RAM_SIZE 0x400000 /* bytes */
#endif
#ifndef VNET_PAIRS
#define VNET_PAIRS 1 /* queues of the back end */
#endif
#define VNET_RINGS   VNET_RAM			       /* the rings, 64 KiB each */
#define VNET_BUFFERS (VNET_RAM + 0x40000 * VNET_PAIRS) /* for the test */

struct vnet_fixture {
	struct mem mem;
	uint8_t *ram;
	struct platform platform;
	struct device device;
	struct loop *loop;
	struct loop *loops[VNET_PAIRS];
	unsigned int n_loops;
	struct fake_net fake;
	struct virtio_net *vn;
	struct vdriver rx, tx, ctrl;
	struct vdriver more[2 * (VNET_PAIRS - 1) + 1]; /* of the other pairs: rx, tx, rx ... */
	unsigned int interrupts[2 * VNET_PAIRS + 1], config_interrupts;
	bool net_taken;
};

static inline struct vnet_fixture *vnet_fixture_of(struct platform *p)
{
	return (struct vnet_fixture *)((uint8_t *)p - offsetof(struct vnet_fixture, platform));
}

/* iothread=each: as many threads as are asked for. */
static inline struct loop *vnet_thread_get(struct platform *p, const char *id, const char *name,
					   struct err *err)
{
	struct vnet_fixture *f = vnet_fixture_of(p);

	if (!id || strcmp(id, "each") != 0)
		return f->loop;
	if (f->n_loops == VNET_PAIRS || loop_create(&f->loops[f->n_loops], name, 0, NULL))
		abort();
	return f->loops[f->n_loops++];
}

static inline void vnet_thread_put(struct platform *p, struct loop *loop)
{
}

static inline struct net_backend *vnet_net_get(struct platform *p, const char *id,
					       struct device *user, struct err *err)
{
	struct vnet_fixture *f = vnet_fixture_of(p);

	if (strcmp(id, "n0") != 0) {
		err_set(err, -ENOENT, "there is no netdev %s", id);
		return NULL;
	}
	f->net_taken = true;
	return &f->fake.net;
}

static inline void vnet_net_put(struct platform *p, struct net_backend *net)
{
	vnet_fixture_of(p)->net_taken = false;
}

static inline void vnet_mac_default(struct platform *p, uint8_t mac[6])
{
	static const uint8_t first[6] = {0x52, 0x54, 0, 0x12, 0x34, 0x56};

	memcpy(mac, first, 6);
}

static inline void vnet_notify_queue(struct virtio_dev *dev, struct virtio_queue *queue)
{
	__atomic_fetch_add(&vnet_fixture_of(dev->device->platform)->interrupts[queue->ring.index],
			   1, __ATOMIC_RELAXED);
}

static inline void vnet_notify_config(struct virtio_dev *dev)
{
	vnet_fixture_of(dev->device->platform)->config_interrupts++;
}

static inline void vnet_doorbell(struct virtio_dev *dev, struct virtio_queue *queue, bool on)
{
}

/* The model with these -device options ("netdev=n0,..."); has_hdr and offloads: what the back end
 * can do. NULL when its realize() refused, err says why. */
static inline struct vnet_fixture *vnet_fixture_new(const char *options, bool has_hdr,
						    unsigned int offloads, struct err *err)
{
	const struct device_model *model = device_model_find("virtio-net-pci");
	const struct device_opts *opts = &model->opts[2];
	struct vnet_fixture *f = calloc(1, sizeof(*f));
	struct opt_list list;
	struct virtio_dev *dev;
	int r;

	if (!f || !model || opts->offset != VIRTIO_PCI_OFFSET)
		abort();
	f->ram = vdriver_ram(&f->mem, VNET_RAM, VNET_RAM_SIZE);
	if (loop_create(&f->loop, "test", 0, NULL))
		abort();
	f->platform = (struct platform){.mem = &f->mem,
					.io_thread_get = vnet_thread_get,
					.io_thread_put = vnet_thread_put,
					.net_get = vnet_net_get,
					.net_put = vnet_net_put,
					.mac_default = vnet_mac_default};
	f->device.platform = &f->platform;
	f->device.id = (char *)"nic0";
	pthread_mutex_init(&f->device.lock, NULL);
	fake_net_init(&f->fake, has_hdr, offloads);
	fake_net_set_queues(&f->fake, VNET_PAIRS);
	/* aligned as behind the transport's struct */
	f->vn = aligned_alloc(64, (sizeof(struct virtio_net) + 63) & ~(size_t)63);
	memset(f->vn, 0, sizeof(struct virtio_net));
	dev = &f->vn->vdev;
	dev->model = model->data;
	dev->device = &f->device;
	dev->notify_queue = vnet_notify_queue;
	dev->notify_config = vnet_notify_config;
	dev->doorbell = vnet_doorbell;
	r = opt_parse(&list, "-device", options, NULL, err);
	if (!r)
		r = opt_apply(opts->table, f->vn, &list, err);
	if (!r)
		r = dev->model->realize(dev, err);
	opt_free(&list);
	if (!r)
		r = virtio_dev_init(dev,
				    virtio_bit(VIRTIO_RING_F_EVENT_IDX) |
					    virtio_bit(VIRTIO_RING_F_INDIRECT_DESC) |
					    virtio_bit(VIRTIO_F_VERSION_1) |
					    virtio_bit(VIRTIO_F_ANY_LAYOUT),
				    err);
	if (!r)
		return f;
	opt_release(opts->table, f->vn);
	loop_destroy(f->loop);
	fake_net_end(&f->fake);
	vdriver_ram_free(&f->mem);
	free(f->vn);
	free(f);
	return NULL;
}

static inline void vnet_fixture_free(struct vnet_fixture *f)
{
	struct virtio_dev *dev = &f->vn->vdev;

	virtio_dev_destroy(dev);
	dev->model->unrealize(dev);
	opt_release(device_model_find("virtio-net-pci")->opts[2].table, f->vn);
	for (unsigned int i = 0; i < f->n_loops; i++)
		loop_destroy(f->loops[i]);
	loop_destroy(f->loop);
	fake_net_end(&f->fake);
	vdriver_ram_free(&f->mem);
	free(f->vn);
	free(f);
}

static inline void vnet_ring_up(struct vnet_fixture *f, struct vdriver *d, unsigned int index,
				uint16_t size)
{
	struct virtio_queue *queue = &f->vn->vdev.queue[index];

	vdriver_init(d, &f->mem, VNET_RINGS + 0x10000 * index, size);
	queue->config = (struct virtq_config){
		.size = size, .desc = d->desc, .avail = d->avail, .used = d->used};
	virtio_queue_enable(queue);
}

/* A legacy driver makes its rings before the device knows what it has negotiated. */
static inline unsigned int vnet_legacy_ctrl(const struct vnet_fixture *f)
{
	return virtio_has(&f->vn->vdev, VIRTIO_NET_F_MQ) ? 2 * f->vn->n_pairs : VNET_CTRLQ;
}

/* What a driver does up to DRIVER_OK: takes `features` (those that are offered), makes its rings.
 */
static inline void vnet_driver_ok(struct vnet_fixture *f, uint64_t features, bool legacy,
				  uint16_t ring_size)
{
	struct virtio_dev *dev = &f->vn->vdev;
	uint8_t status = VIRTIO_CONFIG_S_ACKNOWLEDGE | VIRTIO_CONFIG_S_DRIVER;

	virtio_set_dma(dev, true);
	virtio_set_status(dev, status, legacy);
	if (!legacy)
		features |= virtio_bit(VIRTIO_F_VERSION_1);
	virtio_set_features(dev, features & virtio_features_offered(dev, legacy));
	if (!legacy)
		virtio_set_status(dev, status |= VIRTIO_CONFIG_S_FEATURES_OK, legacy);
	vnet_ring_up(f, &f->rx, VNET_RXQ, ring_size);
	vnet_ring_up(f, &f->tx, VNET_TXQ, ring_size);
	if (dev->features & (virtio_bit(VIRTIO_NET_F_MQ) | virtio_bit(VIRTIO_NET_F_RSS)))
		for (unsigned int i = 2; i < 2 * f->vn->n_pairs; i++)
			vnet_ring_up(f, &f->more[i - 2], i, ring_size);
	if (dev->n_queues > VNET_CTRLQ)
		vnet_ring_up(f, &f->ctrl, legacy ? vnet_legacy_ctrl(f) : f->vn->ctrl,
			     VNET_CTRL_SIZE);
	virtio_set_status(dev, status | VIRTIO_CONFIG_S_DRIVER_OK, legacy);
}

/* Is there something that a pair waits for at the back end's file descriptor? Then tells it. */
static inline bool vnet_fd_ready(struct vnet_fixture *f, struct vnet_pair *p)
{
	struct loop_fd *lf = &p->lf;
	uint32_t ready = 0;

	if (f->fake.in_first != f->fake.in_end &&
	    f->fake.incoming[f->fake.in_first % 64].queue == p->index)
		ready |= EPOLLIN;
	if (!f->fake.full)
		ready |= EPOLLOUT;
	ready &= lf->events;
	if (f->fake.gone)
		ready |= EPOLLERR;
	if (!lf->loop || !lf->events || !ready)
		return false;
	lf->ready(lf, ready);
	return true;
}

/* What the I/O threads do until they would sleep; false when that took more than a million rounds.
 */
static inline bool vnet_step(struct vnet_fixture *f)
{
	struct virtio_dev *dev = &f->vn->vdev;
	bool work = true;

	for (unsigned int rounds = 0; work; rounds++) {
		if (rounds > 1000000)
			return false;
		work = false;
		for (unsigned int i = 0; i < dev->n_queues; i++)
			if (dev->queue[i].running)
				work |= dev->queue[i].poller.poll(&dev->queue[i].poller);
		for (unsigned int i = 0; i < f->vn->n_pairs; i++)
			work |= vnet_fd_ready(f, &f->vn->pair[i]);
		for (unsigned int i = 0; i < dev->n_queues; i++)
			if (dev->queue[i].running && virtio_is_latched(dev)) {
				dev->queue[i].kick.ready(&dev->queue[i].kick, EPOLLIN);
				work = true;
			}
	}
	return true;
}

/* Would the loop go to sleep now? After vnet_step(), it has to. */
static inline bool vnet_sleeps(struct vnet_fixture *f)
{
	struct virtio_dev *dev = &f->vn->vdev;

	for (unsigned int i = 0; i < dev->n_queues; i++)
		if (dev->queue[i].running &&
		    dev->queue[i].poller.sleep_prepare(&dev->queue[i].poller))
			return false;
	return true;
}

/* Queues a frame for the guest; data must live until it is read. */
static inline void fake_incoming(struct vnet_fixture *f, const void *data, size_t len)
{
	fake_net_incoming(&f->fake, &(struct net_hdr){0}, data, len);
}

#endif
