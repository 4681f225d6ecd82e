/*
 * A virtio device over PCI without a guest, for tests: a toy with three queues that echoes, on a
 * fake VM, with a real I/O thread; and the driver's side of bringing it up by either interface. /
 */
#ifndef VIREO_TESTS_VPCI_FIXTURE_H
#define VIREO_TESTS_VPCI_FIXTURE_H

#include <errno.h>
#include <linux/virtio_ids.h>
#include <linux/virtio_pci.h>
#include <sched.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "base/iov.h"
#include "fake_platform.h"
#include "vdriver.h"
#include "virtio/pci.h"

/* ---- the toy: what is in a chain's readable part comes back in its writable part ---- */

#define QUEUES	 3
#define TOY_SIZE 16

struct toy {
	struct virtio_dev vdev;
	uint8_t config[8];
	char *opt_iothread;
	unsigned int starts, stops; /* atomic */
	uint64_t features;
	unsigned int resets;
};

static const struct opt_desc toy_opts[] = {
	{.name = "iothread", .type = OPT_STRING, .offset = offsetof(struct toy, opt_iothread)},
	{.type = OPT_END},
};

static inline int toy_realize(struct virtio_dev *dev, struct err *err)
{
	struct platform *p = dev->device->platform;
	struct toy *toy = (struct toy *)dev;

	for (unsigned int i = 0; i < QUEUES; i++) {
		dev->queue[i].size_max = TOY_SIZE;
		dev->queue[i].loop = p->io_thread_get(p, toy->opt_iothread, "toy", err);
		if (!dev->queue[i].loop)
			return err->code;
	}
	dev->n_queues = QUEUES;
	dev->config_size = sizeof(toy->config);
	dev->features_offered = virtio_bit(0) | virtio_bit(5);
	memcpy(toy->config, "\x52\x54\x00\x12\x34\x56\x01\x00", 8);
	return 0;
}

static inline uint64_t toy_config_read(struct virtio_dev *dev, uint32_t offset, unsigned int size)
{
	return virtio_config_load(((struct toy *)dev)->config, offset, size);
}

static inline void toy_config_write(struct virtio_dev *dev, uint32_t offset, unsigned int size,
				    uint64_t value)
{
	memcpy(((struct toy *)dev)->config + offset, &value, size);
}

static inline void toy_start(struct virtio_queue *queue)
{
	__atomic_fetch_add(&((struct toy *)queue->dev)->starts, 1, __ATOMIC_SEQ_CST);
}

static inline void toy_stop(struct virtio_queue *queue)
{
	__atomic_fetch_add(&((struct toy *)queue->dev)->stops, 1, __ATOMIC_SEQ_CST);
}

static inline bool toy_work(struct virtio_queue *queue)
{
	struct iovec iov[8];
	struct virtq_chain c;
	uint8_t buf[64];
	unsigned int n = 0;

	while (n < 4 && virtq_pop(&queue->ring, &c, iov, 8) == 1) {
		size_t len = iov_read(c.iov, c.n_out, 0, buf, sizeof(buf));

		virtq_fill(&queue->ring, &c,
			   (uint32_t)iov_write(c.iov + c.n_out, c.n_in, 0, buf, len));
		n++;
	}
	virtq_flush(&queue->ring);
	return n;
}

static inline void toy_features(struct virtio_dev *dev)
{
	((struct toy *)dev)->features = dev->features;
}

static inline void toy_reset(struct virtio_dev *dev)
{
	((struct toy *)dev)->resets++;
}

static inline void toy_link(struct virtio_dev *dev, bool up)
{
	((struct toy *)dev)->config[6] = up;
	virtio_config_changed(dev);
}

static const struct virtio_model toy = {
	.id = VIRTIO_ID_NET,
	.pci_class = 0x020000,
	.vectors = 3,
	.realize = toy_realize,
	.config_read = toy_config_read,
	.config_write = toy_config_write,
	.queue_start = toy_start,
	.queue_stop = toy_stop,
	.work = toy_work,
	.features_ready = toy_features,
	.reset = toy_reset,
	.set_link = toy_link,
};

VIRTIO_PCI_MODEL(toy, "test-toy-pci", NULL, "echoes", struct toy, toy_opts, NULL);

/* ---- the guest ---- */

#define SLOT 4
#define IO   0xc000
#define TAB  0xfe000000
#define BAR4 0xfe010000

#define COMMON BAR4
#define ISR    (BAR4 + 0x1000)
#define DEVICE (BAR4 + 0x2000)
#define NOTIFY (BAR4 + 0x3000)

#define RAM   0x100000
#define RING0 RAM
#define RING  0x4000 /* bytes per queue's ring */
#define BUF   (RAM + 0x20000)

#define ACK	    VIRTIO_CONFIG_S_ACKNOWLEDGE
#define DRIVER	    VIRTIO_CONFIG_S_DRIVER
#define OK	    VIRTIO_CONFIG_S_FEATURES_OK
#define GO	    VIRTIO_CONFIG_S_DRIVER_OK
#define NEEDS_RESET VIRTIO_CONFIG_S_NEEDS_RESET

struct fix {
	struct fake_platform fp;
	struct mem mem;
	struct loop *loop;
	struct device *dev;
	struct virtio_pci *vp;
	struct toy *toy;
	struct vdriver d[QUEUES];
	bool legacy;
	struct err err;
};

static inline int rng_check(struct platform *p, const char *id, struct err *err)
{
	return strcmp(id, "rng0") ? err_set(err, -ENOENT, "no rng %s", id) : 0;
}

static inline struct loop *io_thread_get(struct platform *p, const char *id, const char *name,
					 struct err *err)
{
	return ((struct fix *)p)->loop;
}

static inline void io_thread_put(struct platform *p, struct loop *loop)
{
}

static inline struct fix *setup(uint64_t poll_ns)
{
	struct fix *f = calloc(1, sizeof(*f));

	assert_non_null(f);
	fp_init(&f->fp);
	vdriver_ram(&f->mem, RAM, 0x40000);
	f->fp.p.mem = &f->mem;
	f->fp.p.io_thread_get = io_thread_get;
	f->fp.p.rng_check = rng_check;
	f->fp.p.io_thread_put = io_thread_put;
	assert_int_equal(loop_create(&f->loop, "io", poll_ns, &f->err), 0);
	assert_int_equal(loop_start(f->loop, &f->err), 0);
	return f;
}

static inline void map(struct fix *f)
{
	fp_config_write(&f->fp, SLOT, 0, 0x10, 4, IO);
	fp_config_write(&f->fp, SLOT, 0, 0x14, 4, TAB);
	fp_config_write(&f->fp, SLOT, 0, 0x20, 4, BAR4);
	fp_config_write(&f->fp, SLOT, 0, 0x24, 4, 0);
	fp_config_write(&f->fp, SLOT, 0, 4, 2, 7);
}

static inline struct fix *plug(struct fix *f, const char *model, const char *options)
{
	char text[128];

	snprintf(text, sizeof(text), "addr=%x%s%s", SLOT, options ? "," : "",
		 options ? options : "");
	f->dev = fp_device(&f->fp, model, "d0", text, &f->err);
	if (!f->dev)
		fail_msg("%s", f->err.msg);
	f->vp = (struct virtio_pci *)f->dev;
	f->toy = (struct toy *)f->vp->vdev;
	map(f);
	return f;
}

static inline struct fix *start_toy(const char *options)
{
	return plug(setup(0), "test-toy-pci", options);
}

static inline void finish(struct fix *f)
{
	device_destroy(f->dev);
	loop_join(f->loop);
	loop_destroy(f->loop);
	fp_destroy(&f->fp);
	vdriver_ram_free(&f->mem);
	free(f);
}

static inline uint32_t rd(struct fix *f, uint64_t offset, unsigned int size)
{
	return (uint32_t)fp_load(&f->fp, COMMON + offset, size);
}

static inline void wr(struct fix *f, uint64_t offset, unsigned int size, uint64_t value)
{
	fp_store(&f->fp, COMMON + offset, size, value);
}

static inline uint8_t status(struct fix *f)
{
	return (uint8_t)rd(f, VIRTIO_PCI_COMMON_STATUS, 1);
}

static inline void set_status(struct fix *f, uint8_t value)
{
	wr(f, VIRTIO_PCI_COMMON_STATUS, 1, value);
}

static inline void set_features(struct fix *f, uint64_t features)
{
	for (unsigned int i = 0; i < 2; i++) {
		wr(f, VIRTIO_PCI_COMMON_GFSELECT, 4, i);
		wr(f, VIRTIO_PCI_COMMON_GF, 4, (uint32_t)(features >> 32 * i));
	}
}

static inline uint64_t offered(struct fix *f)
{
	uint64_t lo, hi;

	wr(f, VIRTIO_PCI_COMMON_DFSELECT, 4, 0);
	lo = rd(f, VIRTIO_PCI_COMMON_DF, 4);
	wr(f, VIRTIO_PCI_COMMON_DFSELECT, 4, 1);
	hi = rd(f, VIRTIO_PCI_COMMON_DF, 4);
	return hi << 32 | lo;
}

static inline void queue_addresses(struct fix *f, unsigned int i)
{
	struct vdriver *d = &f->d[i];

	vdriver_init(d, &f->mem, RING0 + i * RING, TOY_SIZE);
	memset(mem_ptr(&f->mem, d->desc, vdriver_bytes(d)), 0, vdriver_bytes(d));
	wr(f, VIRTIO_PCI_COMMON_Q_SELECT, 2, i);
	wr(f, VIRTIO_PCI_COMMON_Q_SIZE, 2, TOY_SIZE);
	wr(f, VIRTIO_PCI_COMMON_Q_DESCLO, 8, d->desc); /* the bus makes two halves of it */
	wr(f, VIRTIO_PCI_COMMON_Q_AVAILLO, 4, (uint32_t)d->avail);
	wr(f, VIRTIO_PCI_COMMON_Q_AVAILHI, 4, 0);
	wr(f, VIRTIO_PCI_COMMON_Q_USEDLO, 4, (uint32_t)d->used);
	wr(f, VIRTIO_PCI_COMMON_Q_USEDHI, 4, 0);
}

static inline void modern_up(struct fix *f, uint64_t features)
{
	f->legacy = false;
	set_status(f, 0);
	assert_int_equal(status(f), 0);
	set_status(f, ACK);
	set_status(f, ACK | DRIVER);
	set_features(f, features | virtio_bit(VIRTIO_F_VERSION_1));
	set_status(f, ACK | DRIVER | OK);
	assert_int_equal(status(f), ACK | DRIVER | OK);
	for (unsigned int i = 0; i < f->vp->vdev->n_queues; i++) {
		queue_addresses(f, i);
		wr(f, VIRTIO_PCI_COMMON_Q_MSIX, 2, i == 0 ? 1 : 2);
		wr(f, VIRTIO_PCI_COMMON_Q_ENABLE, 2, 1);
		assert_int_equal(rd(f, VIRTIO_PCI_COMMON_Q_ENABLE, 2), 1);
	}
	wr(f, VIRTIO_PCI_COMMON_MSIX, 2, 0);
	set_status(f, ACK | DRIVER | OK | GO);
	assert_int_equal(status(f), ACK | DRIVER | OK | GO);
}

static inline void legacy_queues(struct fix *f)
{
	f->legacy = true;
	fp_out(&f->fp, IO + VIRTIO_PCI_STATUS, 1, 0);
	fp_out(&f->fp, IO + VIRTIO_PCI_STATUS, 1, ACK);
	fp_out(&f->fp, IO + VIRTIO_PCI_STATUS, 1, ACK | DRIVER);
	for (unsigned int i = 0; i < QUEUES; i++) {
		vdriver_init(&f->d[i], &f->mem, RING0 + i * RING, TOY_SIZE);
		memset(mem_ptr(&f->mem, f->d[i].desc, vdriver_bytes(&f->d[i])), 0,
		       vdriver_bytes(&f->d[i]));
		fp_out(&f->fp, IO + VIRTIO_PCI_QUEUE_SEL, 2, i);
		assert_int_equal(fp_in(&f->fp, IO + VIRTIO_PCI_QUEUE_NUM, 2), TOY_SIZE);
		assert_int_equal(fp_in(&f->fp, IO + VIRTIO_PCI_QUEUE_PFN, 4), 0);
		fp_out(&f->fp, IO + VIRTIO_PCI_QUEUE_PFN, 4, (uint32_t)(f->d[i].desc >> 12));
		assert_int_equal(fp_in(&f->fp, IO + VIRTIO_PCI_QUEUE_PFN, 4), f->d[i].desc >> 12);
	}
}

static inline void legacy_up(struct fix *f, uint32_t features)
{
	legacy_queues(f);
	fp_out(&f->fp, IO + VIRTIO_PCI_GUEST_FEATURES, 4, features);
	fp_out(&f->fp, IO + VIRTIO_PCI_STATUS, 1, ACK | DRIVER | GO);
	assert_int_equal(fp_in(&f->fp, IO + VIRTIO_PCI_STATUS, 1), ACK | DRIVER | GO);
}

/* A doorbell, as the kernel or, failing that, vireo takes it. True: the kernel did. */
static inline bool kick(struct fix *f, unsigned int i)
{
	uint64_t addr = f->legacy ? IO + VIRTIO_PCI_QUEUE_NOTIFY : NOTIFY + 4 * (uint64_t)i;

	if (fake_vm_guest_write(f->fp.p.vm, f->legacy, addr, 2, i))
		return true;
	if (f->legacy)
		fp_out(&f->fp, (uint16_t)addr, 2, i);
	else
		fp_store(&f->fp, addr, 2, i);
	return false;
}

#define eventually(cond)                                                \
	do {                                                            \
		uint64_t end_ = loop_now_ns() + UINT64_C(10000000000);  \
		while (!(cond)) {                                       \
			if (loop_now_ns() > end_)                       \
				fail_msg("never came true: %s", #cond); \
			sched_yield();                                  \
		}                                                       \
	} while (0)

static inline void put(struct fix *f, unsigned int i, uint8_t tag)
{
	const struct vdriver_buf bufs[] = {{BUF + 256 * (uint64_t)tag, 16, false},
					   {BUF + 256 * (uint64_t)tag + 128, 32, true}};
	uint8_t data[16];

	memset(data, tag, sizeof(data));
	mem_write(&f->mem, bufs[0].gpa, data, sizeof(data));
	vdriver_add(&f->d[i], bufs, 2);
}

static inline void expect_echo(struct fix *f, unsigned int i, uint8_t tag)
{
	struct vring_used_elem e;
	uint8_t data[16], want[16];

	eventually(vdriver_used_idx(&f->d[i]) != f->d[i].used_seen);
	assert_true(vdriver_take(&f->d[i], &e));
	assert_int_equal(e.len, 16);
	memset(want, tag, sizeof(want));
	mem_read(&f->mem, BUF + 256 * (uint64_t)tag + 128, data, sizeof(data));
	assert_memory_equal(data, want, sizeof(want));
}

static inline void echo(struct fix *f, unsigned int i, uint8_t tag)
{
	put(f, i, tag);
	kick(f, i);
	expect_echo(f, i, tag);
}

/* MSI-X on, vector i sends data 0x40 + i. */
static inline void msix_on(struct fix *f, unsigned int n)
{
	unsigned int cap = fp_config_read(&f->fp, SLOT, 0, 0x34, 1);

	while (fp_config_read(&f->fp, SLOT, 0, cap, 1) != 0x11)
		cap = fp_config_read(&f->fp, SLOT, 0, cap + 1, 1);
	for (unsigned int i = 0; i < n; i++) {
		fp_store(&f->fp, TAB + 16 * i, 4, 0xfee00000);
		fp_store(&f->fp, TAB + 16 * i + 4, 4, 0);
		fp_store(&f->fp, TAB + 16 * i + 8, 4, 0x40 + i);
		fp_store(&f->fp, TAB + 16 * i + 12, 4, 0);
	}
	fp_config_write(&f->fp, SLOT, 0, cap + 2, 2, 0x8000);
}

static inline unsigned int messages(struct fix *f, uint32_t data)
{
	unsigned int n = fake_vm_messages(f->fp.p.vm), hits = 0;

	for (unsigned int i = 0; i < n; i++)
		hits += fake_vm_message(f->fp.p.vm, i).data == data;
	return hits;
}

/* What MSI-X-less interrupts do to the pin: INTA of slot 4 and the fixture without router: the
 * model's own level. */
static inline bool intx(struct fix *f)
{
	return __atomic_load_n(&f->vp->pci.intx_level, __ATOMIC_SEQ_CST);
}

#endif
