/*
 * A PCI card for tests of the bus: registers of each kind that bus/posted.h tells apart. It does
 * nothing else, and no driver but the built-in guest's test `posted` knows it. All registers are 32
 * bits.
 *
 *	BAR 0, memory, 8 KiB
 *	0x0000	VALUE	w   appended to the log; posted in mode 1
 *	0x0010	COUNT	r   values in the log
 *	0x0014	HASH	r   of them, in order: hash = hash * 31 + value
 *	0x0018	FRESH	r   values since it was read last: clears on read
 *	0x001c	MODE	rw  0: every access exits; 1: VALUE is posted; 2: the second page is shadowed
 *	0x0020	BELL	w   the value 1 rings: an ioeventfd, served by the I/O thread
 *	0x0024	RUNG	r   how often it was served
 *	0x0028	SEEN	r   COUNT as it was when it was served last
 *	0x002c	CLEAR	w   forgets the log; mode 0
 *	0x1000	COUNT again, at 0x1004 HASH: reads have no side effect in this page
 *
 *	BAR 1, ports, 16 bytes: VALUE, COUNT, HASH at 0, 4, 8; VALUE is posted in mode 1
 *
 * Registers are under the device's lock, which the I/O thread takes for the bell too.
 */
#include <errno.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "base/loop.h"
#include "bus/pci.h"
#include "bus/posted.h"

#define BAR_SIZE  0x2000
#define PAGE_TWO  0x1000
#define PORT_SIZE 16

enum {
	VALUE = 0x00,
	COUNT = 0x10,
	HASH = 0x14,
	FRESH = 0x18,
	MODE = 0x1c,
	BELL = 0x20,
	RUNG = 0x24,
	SEEN = 0x28,
	CLEAR = 0x2c,
	COUNT_TWO = PAGE_TWO,
	HASH_TWO = PAGE_TWO + 4,
};

struct posted_test {
	struct pci_device pci;
	struct loop *loop;
	struct posted posted;
	int shadow;
	struct bus_doorbell bell;
	struct loop_fd bell_fd;
	uint32_t count, hash, fresh, mode, rung, seen;
	char *opt_iothread;
};

static struct posted_test *test_of(struct device *dev)
{
	return (struct posted_test *)dev;
}

static void show(struct posted_test *t)
{
	posted_shadow_set(&t->posted, t->shadow, COUNT_TWO, 4, t->count);
	posted_shadow_set(&t->posted, t->shadow, HASH_TWO, 4, t->hash);
}

static void append(struct posted_test *t, uint32_t value)
{
	t->count++;
	t->fresh++;
	t->hash = t->hash * 31 + value;
	show(t);
}

static void clear(struct posted_test *t)
{
	t->count = t->hash = t->fresh = t->mode = t->rung = t->seen = 0;
	posted_set_mode(&t->posted, POSTED_NONE);
	show(t);
}

static uint64_t mem_read(void *opaque, uint64_t offset, unsigned int size)
{
	struct posted_test *t = opaque;
	uint32_t value;

	switch (offset) {
	case COUNT:
	case COUNT_TWO:
		return t->count;
	case HASH:
	case HASH_TWO:
		return t->hash;
	case FRESH:
		value = t->fresh;
		t->fresh = 0;
		return value;
	case MODE:
		return t->mode;
	case RUNG:
		return t->rung;
	case SEEN:
		return t->seen;
	default:
		return offset >= PAGE_TWO ? UINT32_MAX : 0;
	}
}

static void mem_write(void *opaque, uint64_t offset, unsigned int size, uint64_t value)
{
	struct posted_test *t = opaque;

	switch (offset) {
	case VALUE:
		append(t, (uint32_t)value);
		break;
	case MODE:
		t->mode = value > POSTED_READS ? 0 : (uint32_t)value;
		posted_set_mode(&t->posted, (enum posted_mode)t->mode);
		break;
	case CLEAR:
		clear(t);
		break;
	default:
		break;
	}
}

static const struct region_ops mem_ops = {.read = mem_read, .write = mem_write, .min = 4, .max = 4};

static uint64_t port_read(void *opaque, uint64_t offset, unsigned int size)
{
	struct posted_test *t = opaque;

	return offset == 4 ? t->count : offset == 8 ? t->hash : 0;
}

static void port_write(void *opaque, uint64_t offset, unsigned int size, uint64_t value)
{
	if (offset == 0)
		append(opaque, (uint32_t)value);
}

static const struct region_ops port_ops = {
	.read = port_read, .write = port_write, .min = 4, .max = 4};

/* I/O thread. */
static void bell_ready(struct loop_fd *lf, uint32_t events)
{
	struct posted_test *t = lf->opaque;
	uint64_t n;

	if (read(lf->fd, &n, sizeof(n)) != sizeof(n))
		return;
	posted_bell(&t->posted);
	pthread_mutex_lock(&t->pci.dev.lock);
	t->rung += (uint32_t)n;
	t->seen = t->count;
	pthread_mutex_unlock(&t->pci.dev.lock);
}

static void test_reset(struct device *dev)
{
	clear(test_of(dev));
}

static void unwatch(void *arg)
{
	struct posted_test *t = arg;

	loop_fd_del(&t->bell_fd);
}

static void test_unrealize(struct device *dev)
{
	struct posted_test *t = test_of(dev);

	if (t->bell.fd >= 0) {
		bus_doorbell_del(&t->pci.bar[0].region, &t->bell);
		loop_call(t->loop, unwatch, t);
		close(t->bell.fd);
	}
	posted_fini(&t->posted);
	dev->platform->io_thread_put(dev->platform, t->loop);
}

struct watch {
	struct posted_test *t;
	int r;
};

static void watch(void *arg)
{
	struct watch *w = arg;

	w->r = loop_fd_add(w->t->loop, &w->t->bell_fd, EPOLLIN);
}

static int bell_make(struct posted_test *t)
{
	struct watch w = {.t = t};

	t->bell = (struct bus_doorbell){.offset = BELL, .size = 4, .match = true, .value = 1};
	t->bell.fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (t->bell.fd < 0)
		return -errno;
	t->bell_fd = (struct loop_fd){.ready = bell_ready, .opaque = t, .fd = t->bell.fd};
	loop_call(t->loop, watch, &w);
	return w.r ? w.r : bus_doorbell_add(&t->pci.bar[0].region, &t->bell);
}

static int marks_make(struct posted_test *t)
{
	struct bus_region *mem = &t->pci.bar[0].region, *port = &t->pci.bar[1].region;
	int r;

	posted_init(&t->posted, t->pci.dev.platform->bus, t->loop);
	r = posted_mark(&t->posted, mem, VALUE, 4);
	if (!r)
		r = posted_mark(&t->posted, port, 0, 4);
	if (!r)
		r = t->shadow = posted_shadow(&t->posted, mem, PAGE_TWO, PAGE_TWO);
	return r < 0 ? r : 0;
}

static int test_realize(struct device *dev, struct err *err)
{
	struct posted_test *t = test_of(dev);
	int r;

	t->bell.fd = -1;
	t->loop = dev->platform->io_thread_get(dev->platform, t->opt_iothread, "posted-test", err);
	if (!t->loop)
		return err_prefix(err, "%s", dev->id);
	r = pci_bar_add(&t->pci, 0, PCI_BAR_MEM32, BAR_SIZE, "posted-test.mem", &mem_ops, t);
	if (!r)
		r = pci_bar_add(&t->pci, 1, PCI_BAR_IO, PORT_SIZE, "posted-test.io", &port_ops, t);
	if (!r)
		r = marks_make(t);
	if (!r)
		r = bell_make(t);
	if (r) {
		test_unrealize(dev);
		return err_set(err, r, "%s: its registers can't be made", dev->id);
	}
	return 0;
}

static void test_counters(struct device *dev, counter_visit *visit, void *opaque)
{
	visit(opaque, dev->id, "posted", posted_counter_table, &test_of(dev)->posted.counters);
}

static const struct pci_identity test_identity = {
	.vendor = 0x1234,
	.device = 0xb005,
	.class = 0xff0000,
};

static const struct opt_desc test_opts[] = {
	{.name = "iothread",
	 .type = OPT_STRING,
	 .offset = offsetof(struct posted_test, opt_iothread),
	 .help = "id of an -object iothread; without it a thread of its own"},
	{.type = OPT_END},
};

static const struct device_model posted_test_model = {
	.name = "posted-test",
	.help = "card with registers of each kind, for tests of the bus",
	.size = sizeof(struct posted_test),
	.opts = {{pci_device_opts, 0}, {test_opts, 0}},
	.pci = &test_identity,
	.realize = test_realize,
	.reset = test_reset,
	.unrealize = test_unrealize,
	.counters = test_counters,
};

DEVICE_MODEL(posted_test_model);
