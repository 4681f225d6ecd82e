/*
 * Dispatch of port and memory accesses: who answers, in which pieces, with which offsets; doorbells
 * that move with their region; and tables that change under readers.
 */
#include <errno.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <cmocka.h>

#include "bus/bus.h"
#include "fake_vm.h"

#define ONES UINT64_MAX

/* A region that writes down what reaches it. A read answers with its tag in every byte, or, with
 * tag 0, with the offset of each. */
struct probe {
	struct bus_region region;
	uint8_t tag;
	unsigned int n;
	struct {
		bool write;
		uint64_t offset, value;
		unsigned int size;
	} seen[16];
};

static uint64_t probe_read(void *opaque, uint64_t offset, unsigned int size)
{
	struct probe *p = opaque;
	uint64_t value = 0;

	assert_true(offset < p->region.size && size <= p->region.size - offset);
	for (unsigned int i = 0; i < 8; i++) /* more bytes than were asked for: the bus cuts */
		value |= (uint64_t)(p->tag ? p->tag : (uint8_t)(offset + i)) << 8 * i;
	p->seen[p->n].write = false;
	p->seen[p->n].offset = offset;
	p->seen[p->n++].size = size;
	return value;
}

static void probe_write(void *opaque, uint64_t offset, unsigned int size, uint64_t value)
{
	struct probe *p = opaque;

	assert_true(offset < p->region.size && size <= p->region.size - offset);
	p->seen[p->n].write = true;
	p->seen[p->n].offset = offset;
	p->seen[p->n].value = value;
	p->seen[p->n++].size = size;
}

static const struct region_ops any = {.read = probe_read, .write = probe_write};
static const struct region_ops whole = {
	.read = probe_read, .write = probe_write, .unaligned = true};
static const struct region_ops bytes = {.read = probe_read, .write = probe_write, .max = 1};
static const struct region_ops words = {
	.read = probe_read, .write = probe_write, .min = 4, .max = 4};
static const struct region_ops mute = {.read = NULL, .write = NULL};

static struct vm *vm;
static struct bus *bus;

static int setup(void **state)
{
	struct err err;

	assert_int_equal(vm_create(&vm, &err), 0);
	assert_int_equal(bus_create(&bus, vm, &err), 0);
	return 0;
}

static int teardown(void **state)
{
	assert_int_equal(fake_vm_doorbells(vm), 0);
	bus_destroy(bus);
	vm_destroy(vm);
	return 0;
}

static void probe_map(struct probe *p, enum bus_space space, uint64_t base, uint64_t size,
		      uint8_t tag, const struct region_ops *ops)
{
	memset(p, 0, sizeof(*p));
	p->tag = tag;
	bus_region_init(&p->region, "probe", space, size, ops, p, NULL);
	assert_int_equal(bus_map(bus, &p->region, base), 0);
}

static uint64_t load(uint64_t addr, unsigned int size)
{
	return bus_read(bus, 0, BUS_MMIO, addr, size);
}

static void store(uint64_t addr, unsigned int size, uint64_t value)
{
	bus_write(bus, 0, BUS_MMIO, addr, size, value);
}

static void check_seen(struct probe *p, unsigned int i, uint64_t offset, unsigned int size)
{
	assert_true(i < p->n);
	assert_int_equal(p->seen[i].offset, offset);
	assert_int_equal(p->seen[i].size, size);
}

/* ---- who answers ---- */

static void test_nobody(void **state)
{
	assert_int_equal(load(0x1000, 4), 0xffffffff);
	assert_int_equal(load(UINT64_MAX, 1), 0xff);
	assert_true(load(UINT64_MAX - 3, 8) == ONES);
	assert_int_equal(bus_read(bus, 0, BUS_PIO, 0x1234, 2), 0xffff);
	store(0x1000, 8, 1);
	bus_write(bus, 0, BUS_PIO, 0xffff, 4, 1);
	assert_int_equal(counter_get(&bus_counters(bus)->reads[BUS_MMIO]), 3);
	assert_int_equal(counter_get(&bus_counters(bus)->unclaimed[BUS_MMIO]), 4);
	assert_int_equal(counter_get(&bus_counters(bus)->unclaimed[BUS_PIO]), 2);
	assert_int_equal(counter_get(&bus_counters(bus)->writes[BUS_PIO]), 1);
}

static void test_one(void **state)
{
	struct probe p;

	probe_map(&p, BUS_MMIO, 0x1000, 0x100, 0, &any);
	assert_int_equal(load(0x1010, 4), 0x13121110);
	check_seen(&p, 0, 0x10, 4);
	assert_true(load(0x1000, 8) == UINT64_C(0x0706050403020100));
	store(0x10f8, 8, UINT64_C(0x1122334455667788));
	check_seen(&p, 2, 0xf8, 8);
	assert_true(p.seen[2].value == UINT64_C(0x1122334455667788));
	assert_int_equal(load(0xfff, 1), 0xff);
	assert_int_equal(load(0x1100, 1), 0xff);
	assert_int_equal(p.n, 3);
	assert_int_equal(bus_read(bus, 0, BUS_PIO, 0x1010, 1), 0xff); /* another space */
	bus_unmap(&p.region);
	bus_unmap(&p.region); /* no-op */
	assert_int_equal(load(0x1010, 4), 0xffffffff);
	assert_int_equal(p.n, 3);
}

static void test_no_handlers(void **state)
{
	struct probe p;

	probe_map(&p, BUS_MMIO, 0, 16, 0, &mute);
	assert_int_equal(load(0, 2), 0xffff);
	store(0, 2, 1);
	assert_int_equal(counter_get(&bus_counters(bus)->unclaimed[BUS_MMIO]), 0);
	bus_unmap(&p.region);
}

/* One access over what two regions and nobody answer. */
static void test_across_regions(void **state)
{
	struct probe a, b;

	probe_map(&a, BUS_MMIO, 0x1000, 4, 0xaa, &any);
	probe_map(&b, BUS_MMIO, 0x1004, 2, 0xbb, &any);
	assert_true(load(0x1000, 8) == UINT64_C(0xffffbbbbaaaaaaaa));
	assert_true(load(0xffe, 8) == UINT64_C(0xbbbbaaaaaaaaffff));
	store(0x1002, 4, 0x44332211);
	check_seen(&a, a.n - 1, 2, 2);
	assert_int_equal(a.seen[a.n - 1].value, 0x2211);
	check_seen(&b, b.n - 1, 0, 2);
	assert_int_equal(b.seen[b.n - 1].value, 0x4433);
	bus_unmap(&a.region);
	bus_unmap(&b.region);
}

/* The one mapped last is on top, and what it hid shows again when it goes. */
static void test_overlap(void **state)
{
	struct probe low, top, inner;

	probe_map(&low, BUS_MMIO, 0x1000, 0x100, 1, &any);
	probe_map(&top, BUS_MMIO, 0x1080, 0x100, 2, &any);
	probe_map(&inner, BUS_MMIO, 0x10c0, 4, 3, &any);
	assert_int_equal(load(0x107c, 8) >> 24, UINT64_C(0x0202020201));
	assert_true(load(0x10bc, 8) == UINT64_C(0x0303030302020202));
	assert_true(load(0x10c2, 4) == 0x02020303);
	check_seen(&top, top.n - 1, 0x44, 2); /* its own offset behind the hole in it */
	bus_unmap(&top.region);
	assert_true(load(0x10c2, 4) == 0x01010303);
	assert_int_equal(load(0x1100, 1), 0xff);
	/* Mapped again it is on top again, though it was made first. */
	assert_int_equal(bus_map(bus, &low.region, 0x1000), 0);
	assert_true(load(0x10c2, 4) == 0x01010101);
	bus_unmap(&low.region);
	assert_int_equal(load(0x10c2, 1), 3);
	bus_unmap(&inner.region);
}

static void test_move(void **state)
{
	struct probe p;

	probe_map(&p, BUS_MMIO, 0x1000, 16, 0, &any);
	assert_int_equal(bus_map(bus, &p.region, 0x2000), 0);
	assert_int_equal(load(0x1000, 1), 0xff);
	assert_int_equal(load(0x2003, 1), 3);
	assert_int_equal(bus_map(bus, &p.region, 0x2001), 0); /* over itself */
	assert_int_equal(load(0x2003, 1), 2);
	assert_int_equal(bus_map(bus, &p.region, UINT64_MAX - 14), -EINVAL);
	assert_int_equal(load(0x2003, 1), 2); /* where it was */
	bus_unmap(&p.region);
}

/* ---- the ends of the spaces ---- */

static void test_pio_end(void **state)
{
	struct probe p;

	probe_map(&p, BUS_PIO, 0xfff8, 8, 0, &any);
	assert_int_equal(bus_read(bus, 0, BUS_PIO, 0xffff, 1), 7);
	assert_int_equal(bus_read(bus, 0, BUS_PIO, 0xfffe, 4), 0xffff0706);
	assert_int_equal(bus_map(bus, &p.region, 0xfff9), -EINVAL);
	assert_int_equal(bus_map(bus, &p.region, 0x10000), -EINVAL);
	assert_int_equal(bus_map(bus, &p.region, UINT64_MAX - 7), -EINVAL);
	assert_int_equal(bus_map(bus, &p.region, UINT64_MAX), -EINVAL);
	assert_int_equal(bus_read(bus, 0, BUS_PIO, 0xffff, 1), 7);
	bus_unmap(&p.region);
	bus_region_init(&p.region, "none", BUS_MMIO, 0, &any, &p, NULL);
	assert_int_equal(bus_map(bus, &p.region, 0), -EINVAL);
	probe_map(&p, BUS_PIO, 0, 0x10000, 1, &any);
	assert_int_equal(bus_read(bus, 0, BUS_PIO, 0xffff, 1), 1);
	bus_unmap(&p.region);
}

static void test_mmio_end(void **state)
{
	struct probe p, all;

	probe_map(&p, BUS_MMIO, UINT64_MAX - 7, 8, 0, &any);
	assert_true(load(UINT64_MAX - 7, 8) == UINT64_C(0x0706050403020100));
	assert_int_equal(load(UINT64_MAX, 1), 7);
	assert_int_equal(load(0, 1), 0xff); /* it doesn't go on there */
	assert_int_equal(bus_map(bus, &p.region, UINT64_MAX - 6), -EINVAL);
	probe_map(&all, BUS_MMIO, 1, UINT64_MAX, 9, &any);
	assert_int_equal(load(UINT64_MAX, 1), 9);
	assert_int_equal(load(0, 1), 0xff);
	bus_unmap(&all.region);
	assert_int_equal(load(UINT64_MAX, 1), 7);
	bus_unmap(&p.region);
}

/* ---- pieces ---- */

static void test_alignment(void **state)
{
	struct probe p;

	probe_map(&p, BUS_MMIO, 0x1000, 64, 0, &any);
	assert_int_equal(load(0x1001, 4), 0x04030201);
	assert_int_equal(p.n, 3);
	check_seen(&p, 0, 1, 1);
	check_seen(&p, 1, 2, 2);
	check_seen(&p, 2, 4, 1);
	bus_unmap(&p.region);
	/* It is the offset that counts, not the address. */
	probe_map(&p, BUS_MMIO, 0x1001, 64, 0, &any);
	load(0x1001, 8);
	assert_int_equal(p.n, 1);
	bus_unmap(&p.region);
	probe_map(&p, BUS_MMIO, 0x1000, 64, 0, &whole);
	assert_int_equal(load(0x1001, 4), 0x04030201);
	check_seen(&p, 0, 1, 4);
	bus_unmap(&p.region);
}

static void test_max(void **state)
{
	struct probe p;

	probe_map(&p, BUS_MMIO, 0, 16, 0, &bytes);
	store(2, 4, 0x44332211);
	assert_int_equal(p.n, 4);
	for (unsigned int i = 0; i < 4; i++) {
		check_seen(&p, i, 2 + i, 1);
		assert_int_equal(p.seen[i].value, 0x11 * (i + 1));
	}
	bus_unmap(&p.region);
	probe_map(&p, BUS_MMIO, 0, 16, 0, &words);
	assert_true(load(0, 8) == UINT64_C(0x0706050403020100));
	check_seen(&p, 1, 4, 4);
	bus_unmap(&p.region);
}

static void test_min(void **state)
{
	struct probe p;

	probe_map(&p, BUS_MMIO, 0, 18, 0, &words);
	assert_int_equal(load(5, 1), 5);
	check_seen(&p, 0, 4, 4);
	assert_int_equal(load(6, 2), 0x0706);
	check_seen(&p, 1, 4, 4);
	store(4, 2, 1); /* part of a word: dropped */
	assert_int_equal(p.n, 2);
	store(2, 8, UINT64_C(0x1122334455667788)); /* the whole word in it arrives */
	assert_int_equal(p.n, 3);
	check_seen(&p, 2, 4, 4);
	assert_int_equal(p.seen[2].value, 0x33445566);
	assert_int_equal(load(16, 2), 0xffff); /* a word that isn't whole */
	assert_int_equal(p.n, 3);
	bus_unmap(&p.region);
}

/* ---- doorbells ---- */

static bool signalled(int fd)
{
	uint64_t n;

	return read(fd, &n, sizeof(n)) == sizeof(n);
}

static void test_doorbell_moves(void **state)
{
	int fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
	struct bus_doorbell early = {.offset = 8, .size = 2, .match = true, .value = 1, .fd = fd};
	struct bus_doorbell late = {.offset = 4, .size = 0, .fd = fd};
	struct probe p;

	bus_region_init(&p.region, "probe", BUS_MMIO, 16, &any, &p, NULL);
	assert_int_equal(bus_doorbell_add(&p.region, &early), 0);
	assert_int_equal(fake_vm_doorbells(vm), 0);
	assert_int_equal(bus_map(bus, &p.region, 0x1000), 0);
	assert_int_equal(bus_doorbell_add(&p.region, &late), 0);
	assert_int_equal(fake_vm_doorbells(vm), 2);
	assert_true(fake_vm_guest_write(vm, false, 0x1008, 2, 1) && signalled(fd));
	assert_false(fake_vm_guest_write(vm, false, 0x1008, 2, 2));
	assert_false(fake_vm_guest_write(vm, true, 0x1008, 2, 1));
	assert_int_equal(bus_map(bus, &p.region, 0x8000), 0);
	assert_false(fake_vm_guest_write(vm, false, 0x1008, 2, 1));
	assert_true(fake_vm_guest_write(vm, false, 0x8004, 4, 77) && signalled(fd));
	bus_doorbell_del(&p.region, &early);
	assert_int_equal(fake_vm_doorbells(vm), 1);
	bus_unmap(&p.region);
	assert_int_equal(fake_vm_doorbells(vm), 0);
	bus_doorbell_del(&p.region, &late);
	assert_int_equal(bus_map(bus, &p.region, 0x1000), 0);
	assert_int_equal(fake_vm_doorbells(vm), 0);
	bus_unmap(&p.region);
	close(fd);
}

/* KVM takes one bell at a place. The other comes to life when there is room, and neither's going
 * takes the other away. */
static void test_doorbell_refused(void **state)
{
	int fd[2] = {eventfd(0, EFD_NONBLOCK), eventfd(0, EFD_NONBLOCK)};
	struct bus_doorbell bell[2] = {{.offset = 0, .size = 4, .fd = fd[0]},
				       {.offset = 0, .size = 4, .fd = fd[1]}};
	struct probe p[2];

	for (int i = 0; i < 2; i++)
		bus_region_init(&p[i].region, "probe", BUS_PIO, 4, &any, &p[i], NULL);
	assert_int_equal(bus_map(bus, &p[0].region, 0x100), 0);
	assert_int_equal(bus_map(bus, &p[1].region, 0x100), 0);
	assert_int_equal(bus_doorbell_add(&p[0].region, &bell[0]), 0);
	assert_int_equal(bus_doorbell_add(&p[1].region, &bell[1]), -EEXIST);
	assert_int_equal(bus_map(bus, &p[1].region, 0x200), 0);
	assert_true(fake_vm_guest_write(vm, true, 0x200, 4, 0) && signalled(fd[1]));
	assert_int_equal(bus_map(bus, &p[1].region, 0x100), 0);
	bus_doorbell_del(&p[1].region, &bell[1]);
	assert_true(fake_vm_guest_write(vm, true, 0x100, 4, 0) && signalled(fd[0]));
	for (int i = 0; i < 2; i++) {
		bus_unmap(&p[i].region);
		close(fd[i]);
	}
}

/* ---- readers and a table that changes ---- */

#define MOVES	2000
#define READERS 2

struct mover {
	struct bus_region region;
	pthread_mutex_t lock;
	unsigned int hits; /* lock */
	bool wrong;	   /* lock */
	bool stop;	   /* atomic */
};

static uint64_t mover_read(void *opaque, uint64_t offset, unsigned int size)
{
	struct mover *m = opaque;

	m->hits++;
	if (offset >= m->region.size)
		m->wrong = true;
	return offset;
}

static const struct region_ops mover_ops = {.read = mover_read};

struct reader {
	struct mover *m;
	unsigned int index;
};

static void *read_on(void *arg)
{
	struct reader *r = arg;

	while (!__atomic_load_n(&r->m->stop, __ATOMIC_RELAXED)) {
		for (uint64_t addr = 0xff0; addr < 0x1200; addr += 0x10) {
			uint64_t v = bus_read(bus, r->index, BUS_MMIO, addr, 1);

			/* 0x40 bytes at 0x1000 or at 0x1100: the offset tells no other place. */
			if (v != 0xff && v != (addr & 0xff)) {
				pthread_mutex_lock(&r->m->lock);
				r->m->wrong = true;
				pthread_mutex_unlock(&r->m->lock);
			}
		}
	}
	return NULL;
}

/* A region that is moved while others use it never sees an offset that isn't in it, and after
 * bus_synchronize() nobody is in its handler. */
static void test_moved_under_readers(void **state)
{
	struct reader reader[READERS];
	pthread_t thread[READERS];
	struct mover m = {.lock = PTHREAD_MUTEX_INITIALIZER};
	unsigned int hits;

	bus_region_init(&m.region, "mover", BUS_MMIO, 0x40, &mover_ops, &m, &m.lock);
	for (unsigned int i = 0; i < READERS; i++) {
		reader[i] = (struct reader){&m, i};
		assert_int_equal(pthread_create(&thread[i], NULL, read_on, &reader[i]), 0);
	}
	for (unsigned int i = 0; i < MOVES; i++) {
		assert_int_equal(bus_map(bus, &m.region, i & 1 ? 0x1100 : 0x1000), 0);
		if (i % 16)
			continue;
		bus_unmap(&m.region);
		bus_synchronize(bus);
		hits = m.hits; /* no lock: nobody is there */
		sched_yield();
		assert_int_equal(hits, m.hits);
	}
	assert_int_equal(bus_map(bus, &m.region, 0x1000), 0);
	do {
		sched_yield();
		pthread_mutex_lock(&m.lock);
		hits = m.hits;
		pthread_mutex_unlock(&m.lock);
	} while (!hits);
	__atomic_store_n(&m.stop, true, __ATOMIC_RELAXED);
	for (unsigned int i = 0; i < READERS; i++)
		pthread_join(thread[i], NULL);
	assert_false(m.wrong);
	bus_unmap(&m.region);
}

/* A BAR that moves itself, as a guest does by a write to it. */
static void move_self(void *opaque, uint64_t offset, unsigned int size, uint64_t value)
{
	struct probe *p = opaque;

	assert_int_equal(bus_map(bus, &p->region, value), 0);
}

static void test_moved_by_its_handler(void **state)
{
	static const struct region_ops ops = {.read = probe_read, .write = move_self};
	struct probe p;

	probe_map(&p, BUS_MMIO, 0, 0x10, 1, &ops);
	for (uint64_t base = 0; base < 100; base++)
		store(base * 0x10, 4, (base + 1) * 0x10);
	assert_int_equal(load(100 * 0x10, 1), 1);
	bus_unmap(&p.region);
	bus_synchronize(bus);
}

#define CASE(t) cmocka_unit_test_setup_teardown(t, setup, teardown)

int main(void)
{
	static const struct CMUnitTest tests[] = {
		CASE(test_nobody),
		CASE(test_one),
		CASE(test_no_handlers),
		CASE(test_across_regions),
		CASE(test_overlap),
		CASE(test_move),
		CASE(test_pio_end),
		CASE(test_mmio_end),
		CASE(test_alignment),
		CASE(test_max),
		CASE(test_min),
		CASE(test_doorbell_moves),
		CASE(test_doorbell_refused),
		CASE(test_moved_under_readers),
		CASE(test_moved_by_its_handler),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
