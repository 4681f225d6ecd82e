/*
 * virtio over PCI under a hostile driver: the input is a list of accesses to the registers of a toy
 * device with two queues, to its configuration space and to guest memory, mixed with moments at
 * which its I/O thread runs. The first byte chooses the device's options. Its queues are also lent to
 * somebody else, who is as careful, and taken back. What must hold after each step is in check().
 */
#include <errno.h>
#include <linux/virtio_ids.h>
#include <linux/virtio_pci.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>

#include "base/iov.h"
#include "fake_platform.h"
#include "vdriver.h"
#include "virtio/pci.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);

#define SLOT	 4
#define IO	 0xc000
#define BAR1	 0xfe000000
#define BAR4	 0xfe010000
#define RAM_SIZE 0x8000
#define QUEUES	 2
#define STEPS	 400

struct toy {
	struct virtio_dev vdev;
	uint8_t config[12];
	bool up[QUEUES]; /* between queue_start and queue_stop */
	enum virtio_lend policy;
	struct borrowed {
		bool has;
		struct virtq ring;
		struct virtio_loan loan;
	} borrowed[QUEUES];
};

static const struct opt_desc toy_opts[] = {{.type = OPT_END}};

static int toy_realize(struct virtio_dev *dev, struct err *err)
{
	dev->n_queues = QUEUES;
	dev->config_size = sizeof(((struct toy *)dev)->config);
	dev->features_offered = 0x23;
	dev->lends = true;
	for (unsigned int i = 0; i < QUEUES; i++) {
		dev->queue[i].size_max = 8;
		dev->queue[i].loop = dev->device->platform->control;
	}
	return 0;
}

static uint64_t toy_read(struct virtio_dev *dev, uint32_t offset, unsigned int size)
{
	return virtio_config_load(((struct toy *)dev)->config, offset, size);
}

static void toy_write(struct virtio_dev *dev, uint32_t offset, unsigned int size, uint64_t value)
{
	memcpy(((struct toy *)dev)->config + offset, &value, size);
}

static bool *toy_up(struct virtio_queue *queue)
{
	return &((struct toy *)queue->dev)->up[queue->ring.index];
}

static void toy_start(struct virtio_queue *queue)
{
	if (*toy_up(queue) || !queue->dev->started || !queue->dev->dma)
		abort();
	*toy_up(queue) = true;
}

static void toy_stop(struct virtio_queue *queue)
{
	if (!*toy_up(queue))
		abort();
	*toy_up(queue) = false;
}

static bool echo(struct virtq *ring)
{
	struct iovec iov[8];
	struct virtq_chain c;
	unsigned int n = 0;
	uint8_t buf[64];
	int ret = 0;

	while (n < 4 && (ret = virtq_pop(ring, &c, iov, 8)) == 1) {
		size_t len = iov_read(c.iov, c.n_out, 0, buf, sizeof(buf));

		virtq_fill(ring, &c, (uint32_t)iov_write(c.iov + c.n_out, c.n_in, 0, buf, len));
		n++;
	}
	if (ret == -E2BIG)
		virtq_latch(ring, "too many pieces");
	virtq_flush(ring);
	return n;
}

static bool toy_work(struct virtio_queue *queue)
{
	if (!*toy_up(queue))
		abort();
	return echo(&queue->ring);
}

/* ---- somebody else ---- */

static struct borrowed *toy_borrowed(struct virtio_queue *queue)
{
	return &((struct toy *)queue->dev)->borrowed[queue->ring.index];
}

static void borrowed_notify(struct virtq *q)
{
	(void)!eventfd_write(((struct borrowed *)q->opaque)->loan.call_fd, 1);
}

static void borrowed_broken(struct virtq *q, const char *reason)
{
}

static enum virtio_lend toy_lend(struct virtio_queue *queue, const struct virtio_loan *loan)
{
	struct borrowed *b = toy_borrowed(queue);
	struct toy *toy = (struct toy *)queue->dev;

	if (b->has || *toy_up(queue) || !queue->dev->started || !queue->dev->dma)
		abort();
	if (toy->policy != VIRTIO_LEND_DONE)
		return toy->policy;
	b->loan = *loan;
	b->ring = (struct virtq){.mem = queue->ring.mem,
				 .notify = borrowed_notify,
				 .broken = borrowed_broken,
				 .opaque = b};
	if (virtq_start(&b->ring, &queue->config, loan->position))
		abort();
	b->has = true;
	return VIRTIO_LEND_DONE;
}

static uint32_t toy_return(struct virtio_queue *queue)
{
	struct borrowed *b = toy_borrowed(queue);

	if (!b->has)
		abort();
	b->has = false;
	return virtq_stop(&b->ring);
}

static void toy_call(struct virtio_queue *queue, int call_fd)
{
	struct borrowed *b = toy_borrowed(queue);

	if (!b->has || call_fd < 0)
		abort();
	b->loan.call_fd = call_fd;
}

static void toy_link(struct virtio_dev *dev, bool up)
{
	((struct toy *)dev)->config[6] = up;
	virtio_config_changed(dev);
}

static const struct virtio_model toy = {
	.id = VIRTIO_ID_NET,
	.pci_class = 0x020000,
	.vectors = 3,
	.realize = toy_realize,
	.config_read = toy_read,
	.config_write = toy_write,
	.queue_start = toy_start,
	.queue_stop = toy_stop,
	.work = toy_work,
	.queue_lend = toy_lend,
	.queue_return = toy_return,
	.queue_call = toy_call,
	.set_link = toy_link,
};

VIRTIO_PCI_MODEL(toy, "fuzz-toy-pci", NULL, "echoes", struct toy, toy_opts, NULL);

/* ---- the input ---- */

struct input {
	const uint8_t *data;
	size_t left;
};

static uint64_t take(struct input *in, unsigned int bytes)
{
	uint64_t v = 0;

	for (unsigned int i = 0; i < bytes && in->left; i++, in->data++, in->left--)
		v |= (uint64_t)*in->data << 8 * i;
	return v;
}

struct fuzz {
	struct fake_platform fp;
	struct mem mem;
	struct device *dev;
	struct virtio_pci *vp;
	struct input in;
};

static void map(struct fuzz *f)
{
	fp_config_write(&f->fp, SLOT, 0, 0x10, 4, IO);
	fp_config_write(&f->fp, SLOT, 0, 0x14, 4, BAR1);
	fp_config_write(&f->fp, SLOT, 0, 0x20, 4, BAR4);
	fp_config_write(&f->fp, SLOT, 0, 0x24, 4, 0);
	fp_config_write(&f->fp, SLOT, 0, 4, 2, 7);
}

/* What a decent driver does, so that the input doesn't need to find it. */
static void bring_up(struct fuzz *f, bool legacy)
{
	map(f);
	if (legacy) {
		fp_out(&f->fp, IO + VIRTIO_PCI_STATUS, 1, 0);
		fp_out(&f->fp, IO + VIRTIO_PCI_STATUS, 1, 3);
		for (unsigned int i = 0; i < QUEUES; i++) {
			fp_out(&f->fp, IO + VIRTIO_PCI_QUEUE_SEL, 2, i);
			fp_out(&f->fp, IO + VIRTIO_PCI_QUEUE_PFN, 4, 2 + 2 * i);
		}
		fp_out(&f->fp, IO + VIRTIO_PCI_GUEST_FEATURES, 4, (uint32_t)take(&f->in, 4));
		fp_out(&f->fp, IO + VIRTIO_PCI_STATUS, 1, 7);
		return;
	}
	fp_store(&f->fp, BAR4 + VIRTIO_PCI_COMMON_STATUS, 1, 0);
	fp_store(&f->fp, BAR4 + VIRTIO_PCI_COMMON_STATUS, 1, 3);
	fp_store(&f->fp, BAR4 + VIRTIO_PCI_COMMON_GFSELECT, 4, 0);
	fp_store(&f->fp, BAR4 + VIRTIO_PCI_COMMON_GF, 4, take(&f->in, 4) & 0x30000023);
	fp_store(&f->fp, BAR4 + VIRTIO_PCI_COMMON_GFSELECT, 4, 1);
	fp_store(&f->fp, BAR4 + VIRTIO_PCI_COMMON_GF, 4, 0x101);
	fp_store(&f->fp, BAR4 + VIRTIO_PCI_COMMON_STATUS, 1, 11);
	for (unsigned int i = 0; i < QUEUES; i++) {
		fp_store(&f->fp, BAR4 + VIRTIO_PCI_COMMON_Q_SELECT, 2, i);
		fp_store(&f->fp, BAR4 + VIRTIO_PCI_COMMON_Q_DESCLO, 4, 0x2000 + 0x2000 * i);
		fp_store(&f->fp, BAR4 + VIRTIO_PCI_COMMON_Q_AVAILLO, 4, 0x2080 + 0x2000 * i);
		fp_store(&f->fp, BAR4 + VIRTIO_PCI_COMMON_Q_USEDLO, 4, 0x3000 + 0x2000 * i);
		fp_store(&f->fp, BAR4 + VIRTIO_PCI_COMMON_Q_ENABLE, 2, 1);
	}
	fp_store(&f->fp, BAR4 + VIRTIO_PCI_COMMON_STATUS, 1, 15);
}

/* The I/O thread's turn. */
static void run(struct virtio_queue *queue)
{
	struct borrowed *b = toy_borrowed(queue);

	if (b->has) {
		echo(&b->ring);
		if (b->ring.latched)
			virtio_latch(queue->dev, "the other side finds nonsense");
		if (queue->call.loop)
			queue->call.ready(&queue->call, EPOLLIN);
	}
	if (!queue->running)
		return;
	queue->kick.ready(&queue->kick, EPOLLIN);
	if (queue->running)
		queue->poller.poll(&queue->poller);
	if (queue->running)
		queue->poller.sleep_prepare(&queue->poller);
	if (virtio_is_latched(queue->dev)) { /* virtio_latch() has rung its own bell */
		if (queue->running)
			queue->kick.ready(&queue->kick, EPOLLIN);
		if (queue->running)
			abort();
	}
}

static void memory(struct fuzz *f)
{
	uint64_t at = take(&f->in, 2) % RAM_SIZE;
	unsigned int n = (unsigned int)take(&f->in, 1) % 32;

	for (unsigned int i = 0; i < n && at + i < RAM_SIZE; i++)
		f->mem.range[0].hva[at + i] = (uint8_t)take(&f->in, 1);
}

/* Who is to serve the queues from now on; one of them at once. */
static void lend(struct fuzz *f, unsigned int how)
{
	struct toy *toy = (struct toy *)f->vp->vdev;

	toy->policy = how % 3;
	pthread_mutex_lock(&f->dev->lock);
	virtio_queue_restart(&f->vp->vdev->queue[take(&f->in, 1) % QUEUES]);
	pthread_mutex_unlock(&f->dev->lock);
}

static void step(struct fuzz *f)
{
	uint8_t op = (uint8_t)take(&f->in, 1);
	unsigned int size = 1U << (op >> 6), narrow = size < 4 ? size : 4;
	unsigned int offset;

	switch (op & 15) {
	case 0:
		offset = (unsigned int)take(&f->in, 1);
		fp_out(&f->fp, (uint16_t)(IO + offset % 64), narrow,
		       (uint32_t)take(&f->in, narrow));
		break;
	case 1:
		fp_in(&f->fp, (uint16_t)(IO + take(&f->in, 1) % 64), narrow);
		break;
	case 2:
	case 3:
		offset = (unsigned int)take(&f->in, 1) % 64;
		fp_store(&f->fp, BAR4 + offset, size, take(&f->in, size));
		break;
	case 4:
		offset = (unsigned int)take(&f->in, 2) % 0x4000;
		fp_store(&f->fp, BAR4 + offset, size, take(&f->in, size));
		break;
	case 5:
		fp_load(&f->fp, BAR4 + take(&f->in, 2) % 0x4000, size);
		break;
	case 6:
		offset = (unsigned int)take(&f->in, 1) & ~(narrow - 1);
		fp_config_write(&f->fp, SLOT, 0, offset, narrow, (uint32_t)take(&f->in, narrow));
		break;
	case 7:
		fp_config_read(&f->fp, SLOT, 0, (unsigned int)take(&f->in, 1) & ~(narrow - 1),
			       narrow);
		break;
	case 8:
		offset = (unsigned int)take(&f->in, 2) % 0x1000;
		fp_store(&f->fp, BAR1 + offset, size, take(&f->in, size));
		break;
	case 9:
	case 10:
		memory(f);
		break;
	case 11: /* the control thread's turn, or an I/O thread's */
		if (op & 0x20) {
			f->vp->vdev->halt.ready(&f->vp->vdev->halt, EPOLLIN);
			break;
		}
		/* fallthrough */
	case 12:
		run(&f->vp->vdev->queue[op >> 4 & 1]);
		break;
	case 13:
		fake_vm_guest_write(f->fp.p.vm, op & 0x10,
				    op & 0x10 ? IO + VIRTIO_PCI_QUEUE_NOTIFY
					      : BAR4 + 0x3000 + 4 * (uint64_t)(op >> 5 & 1),
				    2, op >> 5 & 1);
		break;
	case 14:
		bring_up(f, op & 0x10);
		break;
	case 15:
		if (op & 0x10)
			virtio_pci_set_link(f->dev, op & 0x20);
		else if (op & 0x20)
			lend(f, op >> 6);
		else
			device_reset(f->dev);
		break;
	}
}

static void check(const struct fuzz *f)
{
	const struct virtio_dev *vdev = f->vp->vdev;
	unsigned int bells = 0, status = virtio_get_status(vdev);

	if (vdev->started && !vdev->legacy && !(status & VIRTIO_CONFIG_S_FEATURES_OK))
		abort();
	if (status & VIRTIO_CONFIG_S_DRIVER_OK &&
	    vdev->features & ~virtio_features_offered(vdev, vdev->legacy))
		abort();
	for (unsigned int i = 0; i < QUEUES; i++) {
		const struct virtio_queue *queue = &vdev->queue[i];

		bells += f->vp->bell_region[i] != NULL;
		if ((queue->running || queue->lent) &&
		    (!queue->enabled || !vdev->started || !vdev->dma))
			abort();
		if (queue->running && queue->lent)
			abort();
		if (((const struct toy *)vdev)->borrowed[i].has != (queue->lent && !queue->parked))
			abort();
		if (queue->enabled && virtq_config_error(&f->mem, &queue->config))
			abort();
	}
	if (bells && !vdev->started)
		abort();
	if (fake_vm_doorbells(f->fp.p.vm) > bells)
		abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
	static const char *const options[] = {
		"addr=4",
		"addr=4,disable-legacy=on",
		"addr=4,disable-modern=on",
		"addr=4,vectors=0",
	};
	struct fuzz f = {.in = {data, len}};
	struct err err;

	fp_init(&f.fp);
	vdriver_ram(&f.mem, 0, RAM_SIZE);
	f.fp.p.mem = &f.mem;
	f.dev = fp_device(&f.fp, "fuzz-toy-pci", "d0", options[take(&f.in, 1) % 4], &err);
	if (!f.dev)
		abort();
	f.vp = (struct virtio_pci *)f.dev;
	map(&f);
	for (unsigned int i = 0; i < STEPS && f.in.left; i++) {
		step(&f);
		check(&f);
	}
	device_destroy(f.dev);
	fp_destroy(&f.fp);
	vdriver_ram_free(&f.mem);
	return 0;
}
