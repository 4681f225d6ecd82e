/*
 * virtio over PCI without a guest: the registers as a driver uses them, on a toy device with three
 * queues that echoes, and on virtio-rng. The queues run on a real I/O thread; the VM is a fake.
 */
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

static int toy_realize(struct virtio_dev *dev, struct err *err)
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

static uint64_t toy_config_read(struct virtio_dev *dev, uint32_t offset, unsigned int size)
{
	return virtio_config_load(((struct toy *)dev)->config, offset, size);
}

static void toy_config_write(struct virtio_dev *dev, uint32_t offset, unsigned int size,
			     uint64_t value)
{
	memcpy(((struct toy *)dev)->config + offset, &value, size);
}

static void toy_start(struct virtio_queue *queue)
{
	__atomic_fetch_add(&((struct toy *)queue->dev)->starts, 1, __ATOMIC_SEQ_CST);
}

static void toy_stop(struct virtio_queue *queue)
{
	__atomic_fetch_add(&((struct toy *)queue->dev)->stops, 1, __ATOMIC_SEQ_CST);
}

static bool toy_work(struct virtio_queue *queue)
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

static void toy_features(struct virtio_dev *dev)
{
	((struct toy *)dev)->features = dev->features;
}

static void toy_reset(struct virtio_dev *dev)
{
	((struct toy *)dev)->resets++;
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

static struct loop *io_thread_get(struct platform *p, const char *id, const char *name,
				  struct err *err)
{
	return ((struct fix *)p)->loop;
}

static void io_thread_put(struct platform *p, struct loop *loop)
{
}

static struct fix *setup(uint64_t poll_ns)
{
	struct fix *f = calloc(1, sizeof(*f));

	assert_non_null(f);
	fp_init(&f->fp);
	vdriver_ram(&f->mem, RAM, 0x40000);
	f->fp.p.mem = &f->mem;
	f->fp.p.io_thread_get = io_thread_get;
	f->fp.p.io_thread_put = io_thread_put;
	assert_int_equal(loop_create(&f->loop, "io", poll_ns, &f->err), 0);
	assert_int_equal(loop_start(f->loop, &f->err), 0);
	return f;
}

static void map(struct fix *f)
{
	fp_config_write(&f->fp, SLOT, 0, 0x10, 4, IO);
	fp_config_write(&f->fp, SLOT, 0, 0x14, 4, TAB);
	fp_config_write(&f->fp, SLOT, 0, 0x20, 4, BAR4);
	fp_config_write(&f->fp, SLOT, 0, 0x24, 4, 0);
	fp_config_write(&f->fp, SLOT, 0, 4, 2, 7);
}

static struct fix *plug(struct fix *f, const char *model, const char *options)
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

static struct fix *start_toy(const char *options)
{
	return plug(setup(0), "test-toy-pci", options);
}

static void finish(struct fix *f)
{
	device_destroy(f->dev);
	loop_join(f->loop);
	loop_destroy(f->loop);
	fp_destroy(&f->fp);
	vdriver_ram_free(&f->mem);
	free(f);
}

static uint32_t rd(struct fix *f, uint64_t offset, unsigned int size)
{
	return (uint32_t)fp_load(&f->fp, COMMON + offset, size);
}

static void wr(struct fix *f, uint64_t offset, unsigned int size, uint64_t value)
{
	fp_store(&f->fp, COMMON + offset, size, value);
}

static uint8_t status(struct fix *f)
{
	return (uint8_t)rd(f, VIRTIO_PCI_COMMON_STATUS, 1);
}

static void set_status(struct fix *f, uint8_t value)
{
	wr(f, VIRTIO_PCI_COMMON_STATUS, 1, value);
}

static void set_features(struct fix *f, uint64_t features)
{
	for (unsigned int i = 0; i < 2; i++) {
		wr(f, VIRTIO_PCI_COMMON_GFSELECT, 4, i);
		wr(f, VIRTIO_PCI_COMMON_GF, 4, (uint32_t)(features >> 32 * i));
	}
}

static uint64_t offered(struct fix *f)
{
	uint64_t lo, hi;

	wr(f, VIRTIO_PCI_COMMON_DFSELECT, 4, 0);
	lo = rd(f, VIRTIO_PCI_COMMON_DF, 4);
	wr(f, VIRTIO_PCI_COMMON_DFSELECT, 4, 1);
	hi = rd(f, VIRTIO_PCI_COMMON_DF, 4);
	return hi << 32 | lo;
}

static void queue_addresses(struct fix *f, unsigned int i)
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

static void modern_up(struct fix *f, uint64_t features)
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

static void legacy_queues(struct fix *f)
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

static void legacy_up(struct fix *f, uint32_t features)
{
	legacy_queues(f);
	fp_out(&f->fp, IO + VIRTIO_PCI_GUEST_FEATURES, 4, features);
	fp_out(&f->fp, IO + VIRTIO_PCI_STATUS, 1, ACK | DRIVER | GO);
	assert_int_equal(fp_in(&f->fp, IO + VIRTIO_PCI_STATUS, 1), ACK | DRIVER | GO);
}

/* A doorbell, as the kernel or, failing that, vireo takes it. True: the kernel did. */
static bool kick(struct fix *f, unsigned int i)
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

static void put(struct fix *f, unsigned int i, uint8_t tag)
{
	const struct vdriver_buf bufs[] = {{BUF + 256 * (uint64_t)tag, 16, false},
					   {BUF + 256 * (uint64_t)tag + 128, 32, true}};
	uint8_t data[16];

	memset(data, tag, sizeof(data));
	mem_write(&f->mem, bufs[0].gpa, data, sizeof(data));
	vdriver_add(&f->d[i], bufs, 2);
}

static void expect_echo(struct fix *f, unsigned int i, uint8_t tag)
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

static void echo(struct fix *f, unsigned int i, uint8_t tag)
{
	put(f, i, tag);
	kick(f, i);
	expect_echo(f, i, tag);
}

/* MSI-X on, vector i sends data 0x40 + i. */
static void msix_on(struct fix *f, unsigned int n)
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

static unsigned int messages(struct fix *f, uint32_t data)
{
	unsigned int n = fake_vm_messages(f->fp.p.vm), hits = 0;

	for (unsigned int i = 0; i < n; i++)
		hits += fake_vm_message(f->fp.p.vm, i).data == data;
	return hits;
}

/* What MSI-X-less interrupts do to the pin: INTA of slot 4 and the fixture without router: the
 * model's own level. */
static bool intx(struct fix *f)
{
	return __atomic_load_n(&f->vp->pci.intx_level, __ATOMIC_SEQ_CST);
}

/* ---- what lspci sees ---- */

static uint32_t bar_size(struct fix *f, unsigned int reg)
{
	uint32_t was = fp_config_read(&f->fp, SLOT, 0, reg, 4), mask;

	fp_config_write(&f->fp, SLOT, 0, reg, 4, 0xffffffff);
	mask = fp_config_read(&f->fp, SLOT, 0, reg, 4);
	fp_config_write(&f->fp, SLOT, 0, reg, 4, was);
	mask &= reg == 0x30 ? ~0x7ffU : mask & 1 ? ~3U : ~15U;
	return mask ? ~mask + 1 : 0;
}

static unsigned int vendor_caps(struct fix *f, unsigned int *msix)
{
	unsigned int types = 0;

	*msix = 0;
	for (unsigned int c = fp_config_read(&f->fp, SLOT, 0, 0x34, 1); c;
	     c = fp_config_read(&f->fp, SLOT, 0, c + 1, 1)) {
		if (fp_config_read(&f->fp, SLOT, 0, c, 1) == 0x11)
			*msix = c;
		else
			types |= 1U << fp_config_read(&f->fp, SLOT, 0, c + 3, 1);
	}
	return types;
}

static void test_transitional_identity(void **state)
{
	struct fix *f = start_toy(NULL);
	unsigned int msix;

	fp_config_write(&f->fp, SLOT, 0, 4, 2, 0);
	assert_int_equal(fp_config_read(&f->fp, SLOT, 0, 0, 4), 0x10001af4);
	assert_int_equal(fp_config_read(&f->fp, SLOT, 0, 8, 4), 0x02000000);
	assert_int_equal(fp_config_read(&f->fp, SLOT, 0, 0x2c, 4), 0x00011af4);
	assert_int_equal(fp_config_read(&f->fp, SLOT, 0, 0x3d, 1), 1);
	assert_int_equal(bar_size(f, 0x10), 32);
	assert_int_equal(fp_config_read(&f->fp, SLOT, 0, 0x10, 4) & 3, 1);
	assert_int_equal(bar_size(f, 0x14), 4096);
	assert_int_equal(fp_config_read(&f->fp, SLOT, 0, 0x14, 4) & 15, 0);
	assert_int_equal(bar_size(f, 0x20), 16384);
	assert_int_equal(fp_config_read(&f->fp, SLOT, 0, 0x20, 4) & 15, 0xc);
	assert_int_equal(bar_size(f, 0x30), 65536);
	assert_int_equal(vendor_caps(f, &msix), 0x3e);			   /* types 1 to 5 */
	assert_int_equal(fp_config_read(&f->fp, SLOT, 0, msix + 2, 2), 2); /* Count=3 */
	assert_int_equal(fp_config_read(&f->fp, SLOT, 0, msix + 4, 4), 1);
	assert_int_equal(fp_config_read(&f->fp, SLOT, 0, msix + 8, 4), 0x800 | 1);
	finish(f);
}

static void test_other_identities(void **state)
{
	struct fix *f = start_toy("disable-legacy=on");
	unsigned int msix;

	assert_int_equal(fp_config_read(&f->fp, SLOT, 0, 0, 4), 0x10411af4);
	assert_int_equal(fp_config_read(&f->fp, SLOT, 0, 8, 1), 1);
	assert_true(fp_config_read(&f->fp, SLOT, 0, 0x2e, 2) >= 0x40);
	assert_int_equal(bar_size(f, 0x10), 0);
	modern_up(f, 0);
	echo(f, 0, 1);
	finish(f);

	f = start_toy("disable-modern=on,vectors=0");
	assert_int_equal(fp_config_read(&f->fp, SLOT, 0, 0, 4), 0x10001af4);
	assert_int_equal(bar_size(f, 0x20), 0);
	assert_int_equal(vendor_caps(f, &msix), 0);
	assert_int_equal(msix, 0);
	legacy_up(f, 0);
	echo(f, 0, 1);
	finish(f);

	f = start_toy("vectors=200");
	vendor_caps(f, &msix);
	assert_int_equal(bar_size(f, 0x14), 4096);
	assert_int_equal(fp_config_read(&f->fp, SLOT, 0, msix + 8, 4), 3200 | 1);
	device_destroy(f->dev);
	f->dev = fp_device(&f->fp, "test-toy-pci", "d0", "disable-legacy=on,disable-modern=on",
			   &f->err);
	assert_null(f->dev);
	assert_non_null(strstr(f->err.msg, "disable-modern"));
	f->dev = fp_device(&f->fp, "test-toy-pci", "d0", "vectors=2049", &f->err);
	assert_null(f->dev);
	assert_non_null(strstr(f->err.msg, "vectors=2049"));
	f->dev = fp_device(&f->fp, "test-toy-pci", "d0", "vectors=2048", &f->err);
	assert_non_null(f->dev);
	finish(f);
}

/* ---- features and status ---- */

static void test_features(void **state)
{
	struct fix *f = start_toy(NULL);
	const uint64_t v1 = virtio_bit(VIRTIO_F_VERSION_1);

	assert_int_equal(offered(f), v1 | virtio_bit(VIRTIO_RING_F_EVENT_IDX) |
					     virtio_bit(VIRTIO_RING_F_INDIRECT_DESC) | 0x21);
	assert_int_equal(fp_in(&f->fp, IO, 4), virtio_bit(VIRTIO_RING_F_EVENT_IDX) |
						       virtio_bit(VIRTIO_RING_F_INDIRECT_DESC) |
						       virtio_bit(VIRTIO_F_ANY_LAYOUT) |
						       virtio_bit(VIRTIO_F_NOTIFY_ON_EMPTY) | 0x21);
	set_status(f, ACK | DRIVER);
	/* Not offered; and legacy bits are not offered to a modern driver. */
	set_features(f, v1 | 2);
	set_status(f, ACK | DRIVER | OK);
	assert_int_equal(status(f), ACK | DRIVER);
	set_features(f, v1 | virtio_bit(VIRTIO_F_NOTIFY_ON_EMPTY));
	set_status(f, ACK | DRIVER | OK);
	assert_int_equal(status(f), ACK | DRIVER);
	/* No VERSION_1. */
	set_features(f, 1);
	set_status(f, ACK | DRIVER | OK);
	assert_int_equal(status(f), ACK | DRIVER);
	/* DRIVER_OK goes nowhere without FEATURES_OK. */
	set_status(f, ACK | DRIVER | GO);
	assert_int_equal(status(f), ACK | DRIVER);
	assert_int_equal(f->toy->features, 0);
	set_features(f, v1 | 1);
	set_status(f, ACK | DRIVER | OK);
	assert_int_equal(status(f), ACK | DRIVER | OK);
	assert_int_equal(f->toy->features, v1 | 1);
	set_features(f, v1); /* settled */
	assert_int_equal(f->vp->vdev->features, v1 | 1);
	set_status(f, NEEDS_RESET | ACK | DRIVER | OK); /* not the driver's to set */
	assert_int_equal(status(f), ACK | DRIVER | OK);
	set_status(f, 0);
	assert_int_equal(status(f), 0);
	assert_int_equal(counter_get(&f->vp->vdev->refused), 3);

	/* A legacy driver that takes what isn't there gets what is. */
	legacy_up(f, 0xffffffff);
	assert_int_equal(f->toy->features, fp_in(&f->fp, IO, 4));
	finish(f);
}

static void test_queue_registers(void **state)
{
	struct fix *f = start_toy(NULL);

	assert_int_equal(rd(f, VIRTIO_PCI_COMMON_NUMQ, 2), QUEUES);
	wr(f, VIRTIO_PCI_COMMON_Q_SELECT, 2, QUEUES);
	assert_int_equal(rd(f, VIRTIO_PCI_COMMON_Q_SIZE, 2), 0);
	wr(f, VIRTIO_PCI_COMMON_Q_ENABLE, 2, 1);
	wr(f, VIRTIO_PCI_COMMON_Q_MSIX, 2, 0);
	wr(f, VIRTIO_PCI_COMMON_Q_SELECT, 2, 2);
	assert_int_equal(rd(f, VIRTIO_PCI_COMMON_Q_SIZE, 2), TOY_SIZE);
	assert_int_equal(rd(f, VIRTIO_PCI_COMMON_Q_NOFF, 2), 2);
	assert_int_equal(rd(f, VIRTIO_PCI_COMMON_Q_MSIX, 2), VIRTIO_MSI_NO_VECTOR);
	wr(f, VIRTIO_PCI_COMMON_Q_MSIX, 2, 2);
	assert_int_equal(rd(f, VIRTIO_PCI_COMMON_Q_MSIX, 2), 2);
	wr(f, VIRTIO_PCI_COMMON_Q_MSIX, 2, 3); /* there are three: 0, 1, 2 */
	assert_int_equal(rd(f, VIRTIO_PCI_COMMON_Q_MSIX, 2), VIRTIO_MSI_NO_VECTOR);
	/* Nonsense isn't enabled. */
	wr(f, VIRTIO_PCI_COMMON_Q_ENABLE, 2, 1);
	assert_int_equal(rd(f, VIRTIO_PCI_COMMON_Q_ENABLE, 2), 0);
	queue_addresses(f, 2);
	wr(f, VIRTIO_PCI_COMMON_Q_SIZE, 2, 2 * TOY_SIZE);
	wr(f, VIRTIO_PCI_COMMON_Q_ENABLE, 2, 1);
	assert_int_equal(rd(f, VIRTIO_PCI_COMMON_Q_ENABLE, 2), 0);
	wr(f, VIRTIO_PCI_COMMON_Q_SIZE, 2, TOY_SIZE / 2);
	wr(f, VIRTIO_PCI_COMMON_Q_DESCHI, 4, 1);
	wr(f, VIRTIO_PCI_COMMON_Q_ENABLE, 2, 1);
	assert_int_equal(rd(f, VIRTIO_PCI_COMMON_Q_ENABLE, 2), 0);
	wr(f, VIRTIO_PCI_COMMON_Q_DESCHI, 4, 0);
	wr(f, VIRTIO_PCI_COMMON_Q_ENABLE, 2, 2); /* only 1 enables */
	assert_int_equal(rd(f, VIRTIO_PCI_COMMON_Q_ENABLE, 2), 0);
	wr(f, VIRTIO_PCI_COMMON_Q_ENABLE, 2, 1);
	assert_int_equal(rd(f, VIRTIO_PCI_COMMON_Q_ENABLE, 2), 1);
	/* Settled. */
	wr(f, VIRTIO_PCI_COMMON_Q_SIZE, 2, 1);
	wr(f, VIRTIO_PCI_COMMON_Q_USEDHI, 4, 7);
	wr(f, VIRTIO_PCI_COMMON_Q_ENABLE, 2, 0);
	assert_int_equal(rd(f, VIRTIO_PCI_COMMON_Q_SIZE, 2), TOY_SIZE / 2);
	assert_int_equal(rd(f, VIRTIO_PCI_COMMON_Q_USEDHI, 4), 0);
	assert_int_equal(rd(f, VIRTIO_PCI_COMMON_Q_ENABLE, 2), 1);
	/* Not as wide as the register: no write. */
	wr(f, VIRTIO_PCI_COMMON_STATUS, 2, ACK);
	assert_int_equal(status(f), 0);
	wr(f, VIRTIO_PCI_COMMON_Q_SELECT, 1, 1);
	assert_int_equal(rd(f, VIRTIO_PCI_COMMON_Q_SELECT, 2), 2);
	finish(f);
}

static void test_config_space(void **state)
{
	struct fix *f = start_toy(NULL);
	uint8_t gen = (uint8_t)rd(f, VIRTIO_PCI_COMMON_CFGGENERATION, 1);

	assert_int_equal(fp_load(&f->fp, DEVICE, 8), UINT64_C(0x0001563412005452));
	assert_int_equal(fp_load(&f->fp, DEVICE + 4, 2), 0x5634);
	assert_int_equal(fp_load(&f->fp, DEVICE + 8, 4), 0);
	assert_int_equal(fp_load(&f->fp, DEVICE + 0xffc, 4), 0);
	fp_store(&f->fp, DEVICE + 2, 1, 0x77);
	fp_store(&f->fp, DEVICE + 8, 4, 0x77777777);
	assert_int_equal(f->toy->config[2], 0x77);
	assert_int_equal(fp_in(&f->fp, IO + 20, 4), 0x12775452);
	assert_int_equal(fp_in(&f->fp, IO + 28, 4), 0);
	msix_on(f, 3);
	assert_int_equal(fp_in(&f->fp, IO + 24, 4), 0x12775452);
	assert_int_equal(fp_in(&f->fp, IO + 20, 2), VIRTIO_MSI_NO_VECTOR);
	virtio_pci_set_link(f->dev, false);
	assert_int_equal(messages(f, 0x40), 0); /* no driver yet */
	modern_up(f, 0);
	virtio_pci_set_link(f->dev, true);
	assert_int_equal(messages(f, 0x40), 1);
	assert_int_equal((uint8_t)rd(f, VIRTIO_PCI_COMMON_CFGGENERATION, 1), (uint8_t)(gen + 2));
	finish(f);
}

/* ---- traffic ---- */

static void traffic(struct fix *f)
{
	for (unsigned int round = 0; round < 200; round++) {
		unsigned int n = round % 7 + 1;

		for (unsigned int i = 0; i < n; i++)
			put(f, round % QUEUES, (uint8_t)i);
		kick(f, round % QUEUES);
		for (unsigned int i = 0; i < n; i++)
			expect_echo(f, round % QUEUES, (uint8_t)i);
	}
}

static void test_modern_msix(void **state)
{
	struct fix *f = start_toy(NULL);

	msix_on(f, 3);
	modern_up(f, virtio_bit(VIRTIO_RING_F_EVENT_IDX));
	assert_int_equal(fake_vm_doorbells(f->fp.p.vm), QUEUES);
	assert_int_equal(f->toy->starts, QUEUES);
	put(f, 0, 1);
	assert_true(kick(f, 0));
	expect_echo(f, 0, 1);
	eventually(messages(f, 0x41) == 1);
	assert_int_equal(messages(f, 0x42), 0);
	echo(f, 1, 2);
	eventually(messages(f, 0x42) == 1);
	traffic(f);
	assert_false(intx(f));
	set_status(f, 0);
	assert_int_equal(f->toy->stops, QUEUES);
	assert_int_equal(fake_vm_doorbells(f->fp.p.vm), 0);
	finish(f);
}

static void test_modern_polling(void **state)
{
	struct fix *f = plug(setup(100000), "test-toy-pci", NULL);

	modern_up(f, 0);
	traffic(f);
	set_status(f, 0);
	modern_up(f, virtio_bit(VIRTIO_RING_F_EVENT_IDX));
	traffic(f);
	finish(f); /* while running */
}

static void test_no_ioeventfd(void **state)
{
	struct fix *f = start_toy("ioeventfd=off");

	modern_up(f, 0);
	assert_int_equal(fake_vm_doorbells(f->fp.p.vm), 0);
	put(f, 0, 1);
	assert_false(kick(f, 0));
	expect_echo(f, 0, 1);
	legacy_up(f, 0);
	traffic(f);
	finish(f);
}

static void test_legacy_intx(void **state)
{
	struct fix *f = start_toy(NULL);

	legacy_up(f, 0);
	assert_int_equal(fake_vm_doorbells(f->fp.p.vm), QUEUES);
	assert_false(intx(f));
	echo(f, 2, 1);
	eventually(intx(f));
	assert_int_equal(fp_in(&f->fp, IO + VIRTIO_PCI_ISR, 1), 1);
	assert_false(intx(f));
	assert_int_equal(fp_in(&f->fp, IO + VIRTIO_PCI_ISR, 1), 0);
	virtio_pci_set_link(f->dev, false);
	assert_true(intx(f));
	assert_int_equal(fp_load(&f->fp, ISR, 1), 2);
	assert_false(intx(f));
	traffic(f);
	/* One queue is taken back, and given again elsewhere. */
	fp_out(&f->fp, IO + VIRTIO_PCI_QUEUE_SEL, 2, 1);
	fp_out(&f->fp, IO + VIRTIO_PCI_QUEUE_PFN, 4, 0);
	assert_int_equal(fp_in(&f->fp, IO + VIRTIO_PCI_QUEUE_PFN, 4), 0);
	echo(f, 0, 3);
	vdriver_init(&f->d[1], &f->mem, RING0 + 4 * RING, TOY_SIZE);
	fp_out(&f->fp, IO + VIRTIO_PCI_QUEUE_PFN, 4, (RING0 + 4 * RING) >> 12);
	echo(f, 1, 4);
	/* MSI-X comes on: the line goes down. */
	eventually(intx(f));
	msix_on(f, 3);
	assert_false(intx(f));
	finish(f);
}

/* §3.1.2: before DRIVER_OK, even before features. */
static void test_legacy_early(void **state)
{
	struct fix *f = start_toy(NULL);

	legacy_queues(f);
	put(f, 0, 1);
	assert_false(kick(f, 0));
	expect_echo(f, 0, 1);
	fp_out(&f->fp, IO + VIRTIO_PCI_GUEST_FEATURES, 4, 1);
	assert_int_equal(f->toy->features, 1);
	echo(f, 0, 2);
	fp_out(&f->fp, IO + VIRTIO_PCI_STATUS, 1, ACK | DRIVER | GO);
	traffic(f);
	finish(f);
}

/* Without bus mastering nothing is touched; afterwards the rings go on where they were. */
static void test_bus_master(void **state)
{
	struct fix *f = start_toy(NULL);

	modern_up(f, 0);
	traffic(f);
	fp_config_write(&f->fp, SLOT, 0, 4, 2, 3);
	assert_int_equal(f->toy->stops, QUEUES);
	put(f, 0, 1);
	kick(f, 0);
	for (int i = 0; i < 100; i++)
		sched_yield();
	assert_int_equal(vdriver_used_idx(&f->d[0]), f->d[0].used_seen);
	fp_config_write(&f->fp, SLOT, 0, 4, 2, 7);
	expect_echo(f, 0, 1);
	traffic(f);
	/* Off at DRIVER_OK, on later. */
	fp_config_write(&f->fp, SLOT, 0, 4, 2, 3);
	modern_up(f, 0);
	put(f, 0, 1);
	kick(f, 0);
	fp_config_write(&f->fp, SLOT, 0, 4, 2, 7);
	expect_echo(f, 0, 1);
	/* Old Linux, on the legacy interface, never sets it. */
	fp_config_write(&f->fp, SLOT, 0, 4, 2, 3);
	legacy_up(f, 0);
	traffic(f);
	fp_out(&f->fp, IO + VIRTIO_PCI_STATUS, 1, 0);
	assert_false(f->vp->vdev->dma);
	finish(f);
}

static void test_latch(void **state)
{
	struct fix *f = start_toy(NULL);

	msix_on(f, 3);
	modern_up(f, 0);
	echo(f, 0, 1);
	vdriver_desc(&f->d[1], f->d[1].desc, 0, UINT64_MAX - 3, 16, 0, 0);
	vdriver_offer(&f->d[1], 0);
	kick(f, 1);
	eventually(status(f) & NEEDS_RESET);
	eventually(messages(f, 0x40) == 1);
	eventually(__atomic_load_n(&f->toy->stops, __ATOMIC_SEQ_CST) == QUEUES);
	assert_int_equal(counter_get(&f->vp->vdev->latched), 1);
	assert_int_equal(counter_get(&f->vp->vdev->queue[1].ring.counters.malformed), 1);
	put(f, 0, 2);
	kick(f, 0);
	fp_config_write(&f->fp, SLOT, 0, 4, 2, 3);
	fp_config_write(&f->fp, SLOT, 0, 4, 2, 7);
	for (int i = 0; i < 100; i++)
		sched_yield();
	assert_int_equal(vdriver_used_idx(&f->d[0]), f->d[0].used_seen);
	set_status(f, 0);
	assert_int_equal(status(f), 0);
	modern_up(f, 0);
	traffic(f);
	assert_int_equal(counter_get(&f->vp->vdev->latched), 1);
	finish(f);
}

/* Reset in the middle of traffic, many times; and the machine's reset. */
static void test_reset(void **state)
{
	struct fix *f = plug(setup(20000), "test-toy-pci", NULL);

	for (unsigned int i = 0; i < 200; i++) {
		if (i % 2)
			modern_up(f, i % 4 == 1 ? virtio_bit(VIRTIO_RING_F_EVENT_IDX) : 0);
		else
			legacy_up(f, 0);
		for (uint8_t t = 0; t < 5; t++) {
			put(f, i % QUEUES, t);
			kick(f, i % QUEUES);
		}
		if (i % 3)
			expect_echo(f, i % QUEUES, 0);
	}
	device_reset(f->dev);
	assert_int_equal(virtio_get_status(f->vp->vdev), 0);
	assert_int_equal(f->toy->starts, f->toy->stops);
	assert_int_equal(fake_vm_doorbells(f->fp.p.vm), 0);
	map(f);
	modern_up(f, 0);
	echo(f, 0, 1);
	finish(f);
}

/* The registers through configuration space, as firmware does. */
static void test_pci_cfg(void **state)
{
	struct fix *f = start_toy(NULL);
	unsigned int cap = f->vp->cfg_cap;

#define POINT(offset, length)                                            \
	do {                                                             \
		fp_config_write(&f->fp, SLOT, 0, cap + 4, 1, 4);         \
		fp_config_write(&f->fp, SLOT, 0, cap + 8, 4, (offset));  \
		fp_config_write(&f->fp, SLOT, 0, cap + 12, 4, (length)); \
	} while (0)
	POINT(VIRTIO_PCI_COMMON_NUMQ, 2);
	assert_int_equal(fp_config_read(&f->fp, SLOT, 0, cap + 16, 2), QUEUES);
	POINT(0x2000, 4);
	assert_int_equal(fp_config_read(&f->fp, SLOT, 0, cap + 16, 4), 0x12005452);
	POINT(VIRTIO_PCI_COMMON_STATUS, 1);
	fp_config_write(&f->fp, SLOT, 0, cap + 16, 1, ACK);
	assert_int_equal(status(f), ACK);
	assert_int_equal(fp_config_read(&f->fp, SLOT, 0, cap + 16, 1), ACK);
	modern_up(f, 0);
	put(f, 1, 9);
	POINT(0x3004, 2);
	fp_config_write(&f->fp, SLOT, 0, cap + 16, 2, 1);
	expect_echo(f, 1, 9);
	/* Nonsense goes nowhere. */
	POINT(0x3001, 2);
	fp_config_write(&f->fp, SLOT, 0, cap + 16, 4, 0xffffffff);
	POINT(0xfffffffc, 4);
	fp_config_write(&f->fp, SLOT, 0, cap + 16, 4, 0xffffffff);
	fp_config_read(&f->fp, SLOT, 0, cap + 16, 4);
	POINT(0x4000, 4);
	fp_config_read(&f->fp, SLOT, 0, cap + 16, 4);
	POINT(0, 8);
	fp_config_read(&f->fp, SLOT, 0, cap + 16, 4);
	POINT(0x1000, 1); /* the ISR has no write */
	fp_config_write(&f->fp, SLOT, 0, cap + 16, 1, 3);
	fp_config_write(&f->fp, SLOT, 0, cap + 4, 1, 0);
	fp_config_write(&f->fp, SLOT, 0, cap + 16, 4, 0xffffffff);
#undef POINT
	echo(f, 0, 1);
	finish(f);
}

/* ---- virtio-rng ---- */

static void test_rng(void **state)
{
	struct fix *f = setup(0);
	struct vring_used_elem e;
	uint8_t a[64] = {0}, b[64] = {0};

	plug(f, "virtio-rng-pci", "rng=rng0,max-bytes=100,period=50");
	assert_int_equal(fp_config_read(&f->fp, SLOT, 0, 0, 4), 0x10051af4);
	assert_int_equal(fp_config_read(&f->fp, SLOT, 0, 8, 4), 0x00ff0000);
	set_status(f, ACK | DRIVER);
	set_features(f, virtio_bit(VIRTIO_F_VERSION_1));
	set_status(f, ACK | DRIVER | OK);
	vdriver_init(&f->d[0], &f->mem, RING0, 8);
	wr(f, VIRTIO_PCI_COMMON_Q_SELECT, 2, 0);
	assert_int_equal(rd(f, VIRTIO_PCI_COMMON_Q_SIZE, 2), 8);
	wr(f, VIRTIO_PCI_COMMON_Q_DESCLO, 4, (uint32_t)f->d[0].desc);
	wr(f, VIRTIO_PCI_COMMON_Q_AVAILLO, 4, (uint32_t)f->d[0].avail);
	wr(f, VIRTIO_PCI_COMMON_Q_USEDLO, 4, (uint32_t)f->d[0].used);
	wr(f, VIRTIO_PCI_COMMON_Q_ENABLE, 2, 1);
	set_status(f, ACK | DRIVER | OK | GO);
	for (int i = 0; i < 2; i++) {
		const struct vdriver_buf buf = {BUF + 64 * (uint64_t)i, 64, true};

		vdriver_add(&f->d[0], &buf, 1);
	}
	kick(f, 0);
	eventually(vdriver_used_idx(&f->d[0]) == 2);
	assert_true(vdriver_take(&f->d[0], &e));
	assert_int_equal(e.len, 64);
	mem_read(&f->mem, BUF, a, 64);
	mem_read(&f->mem, BUF + 64, b, 64);
	assert_memory_not_equal(a, b, 64);
	assert_true(vdriver_take(&f->d[0], &e));
	assert_int_equal(e.len, 36); /* the rest of the period's 100 */
	{
		const struct vdriver_buf buf = {BUF, 64, true};
		uint64_t asked = loop_now_ns();

		vdriver_add(&f->d[0], &buf, 1);
		kick(f, 0);
		eventually(vdriver_used_idx(&f->d[0]) == 3);
		assert_true(loop_now_ns() - asked < 5000000000u);
		assert_true(vdriver_take(&f->d[0], &e));
		assert_int_equal(e.len, 64);
	}
	finish(f);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_transitional_identity),
		cmocka_unit_test(test_other_identities),
		cmocka_unit_test(test_features),
		cmocka_unit_test(test_queue_registers),
		cmocka_unit_test(test_config_space),
		cmocka_unit_test(test_modern_msix),
		cmocka_unit_test(test_modern_polling),
		cmocka_unit_test(test_no_ioeventfd),
		cmocka_unit_test(test_legacy_intx),
		cmocka_unit_test(test_legacy_early),
		cmocka_unit_test(test_bus_master),
		cmocka_unit_test(test_latch),
		cmocka_unit_test(test_reset),
		cmocka_unit_test(test_pci_cfg),
		cmocka_unit_test(test_rng),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
