/*
 * Posted and shadowed registers (bus/posted.c, and its part of bus/bus.c), on a fake kernel. The
 * device is a register file: a write goes into a log, a read of register 0x40 says how long the log
 * is.
 */
#include <errno.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/loop.h"
#include "bus/bus.h"
#include "bus/posted.h"
#include "fake_vm.h"

#define BAR	UINT64_C(0xe0000000)
#define ELSE	UINT64_C(0xe0010000)
#define PORT	0xc000
#define TAIL	0x10 /* marked: TAIL to TAIL + 15 */
#define COUNT	0x40 /* not marked */
#define LOG	4096
#define A_WHILE 200000000 /* ns: for what takes milliseconds */

struct entry {
	uint64_t offset, value;
	unsigned int size;
};

struct card {
	pthread_mutex_t lock;
	struct bus_region mem, io;
	struct posted posted;
	struct entry log[LOG];
	unsigned int n;
};

struct fixture {
	struct vm *vm;
	struct bus *bus;
	struct loop *loop;
	struct card card;
};

static uint64_t card_read(void *opaque, uint64_t offset, unsigned int size)
{
	struct card *c = opaque;

	return offset == COUNT ? c->n : 0;
}

static void card_write(void *opaque, uint64_t offset, unsigned int size, uint64_t value)
{
	struct card *c = opaque;

	c->log[c->n++ % LOG] = (struct entry){offset, value, size};
}

static const struct region_ops card_ops = {.read = card_read, .write = card_write};

static void card_make(struct fixture *f, struct card *c)
{
	memset(c, 0, sizeof(*c));
	pthread_mutex_init(&c->lock, NULL);
	bus_region_init(&c->mem, "card.mem", BUS_MMIO, 0x100, &card_ops, c, &c->lock);
	bus_region_init(&c->io, "card.io", BUS_PIO, 0x100, &card_ops, c, &c->lock);
	posted_init(&c->posted, f->bus, f->loop);
	assert_int_equal(posted_mark(&c->posted, &c->mem, TAIL, 16), 0);
	assert_int_equal(posted_mark(&c->posted, &c->io, TAIL, 16), 0);
}

static void card_end(struct fixture *f, struct card *c)
{
	bus_unmap(&c->mem);
	bus_unmap(&c->io);
	bus_synchronize(f->bus);
	posted_fini(&c->posted);
	pthread_mutex_destroy(&c->lock);
}

static int set_up(void **state)
{
	struct fixture *f = calloc(1, sizeof(*f));
	struct err err;

	assert_non_null(f);
	assert_int_equal(vm_create(&f->vm, &err), 0);
	assert_int_equal(bus_create(&f->bus, f->vm, &err), 0);
	assert_int_equal(loop_create(&f->loop, "io", 32768, &err), 0);
	card_make(f, &f->card);
	assert_int_equal(bus_map(f->bus, &f->card.mem, BAR), 0);
	assert_int_equal(bus_map(f->bus, &f->card.io, PORT), 0);
	posted_set_mode(&f->card.posted, POSTED_WRITES);
	*state = f;
	return 0;
}

static int tear_down(void **state)
{
	struct fixture *f = *state;

	loop_join(f->loop);
	card_end(f, &f->card);
	assert_int_equal(fake_vm_zones(f->vm), 0);
	assert_int_equal(fake_vm_shadows(f->vm), 0);
	loop_destroy(f->loop);
	bus_destroy(f->bus);
	vm_destroy(f->vm);
	free(f);
	return 0;
}

/* ---- the guest ---- */

/* true = it didn't exit */
static bool store_as(struct fixture *f, unsigned int vcpu, bool pio, uint64_t addr,
		     unsigned int size, uint64_t value)
{
	if (fake_vm_guest_write(f->vm, pio, addr, size, value))
		return true;
	bus_write(f->bus, vcpu, pio ? BUS_PIO : BUS_MMIO, addr, size, value);
	return false;
}

static bool store(struct fixture *f, uint64_t addr, unsigned int size, uint64_t value)
{
	return store_as(f, 0, false, addr, size, value);
}

static uint64_t load(struct fixture *f, uint64_t addr, unsigned int size)
{
	uint64_t value;

	if (fake_vm_guest_read(f->vm, addr, size, &value))
		return value;
	return bus_read(f->bus, 0, BUS_MMIO, addr, size);
}

/* ---- the I/O thread's turn, where it has none of its own ---- */

static void quit(void *arg)
{
	loop_quit(arg);
}

static void turn(struct fixture *f)
{
	/* A post runs before the pollers do, so two: the second ends the round after. */
	for (int i = 0; i < 2; i++) {
		assert_int_equal(loop_post(f->loop, quit, f->loop), 0);
		loop_run(f->loop);
	}
}

static void stop(struct loop_timer *t)
{
	loop_quit(t->opaque);
}

static void run_for(struct fixture *f, uint64_t ns)
{
	struct loop_timer t = {.expired = stop, .opaque = f->loop};

	loop_timer_set(f->loop, &t, loop_now_ns() + ns);
	loop_run(f->loop);
}

/* No traffic, until no zone stands. */
static void go_quiet(struct fixture *f)
{
	for (int i = 0; i < 1000 && posted_stands(&f->card.posted); i++)
		run_for(f, 10000000);
	assert_false(posted_stands(&f->card.posted));
}

/* Traffic, until the zones stand; then what it left is forgotten. */
static void engage(struct fixture *f)
{
	for (int i = 0; i < 1000 && !posted_stands(&f->card.posted); i++) {
		store(f, BAR + TAIL, 4, 0);
		if (i % 50 == 49)
			turn(f);
	}
	assert_true(posted_stands(&f->card.posted));
	turn(f);
	f->card.n = 0;
}

/* ---- order ---- */

static void test_in_order(void **state)
{
	struct fixture *f = *state;
	struct card *c = &f->card;

	engage(f);
	assert_int_equal(fake_vm_zones(f->vm), 2);
	for (unsigned int i = 0; i < 8; i++)
		assert_true(store(f, BAR + TAIL + i % 4 * 4, 4, 100 + i));
	assert_true(store_as(f, 0, true, PORT + TAIL + 2, 2, 0x1234));
	assert_int_equal(fake_vm_ring(f->vm), 9);
	assert_int_equal(c->n, 0);

	turn(f);
	assert_int_equal(fake_vm_ring(f->vm), 0);
	assert_int_equal(c->n, 9);
	for (unsigned int i = 0; i < 8; i++) {
		assert_int_equal(c->log[i].offset, TAIL + i % 4 * 4);
		assert_int_equal(c->log[i].value, 100 + i);
		assert_int_equal(c->log[i].size, 4);
	}
	assert_int_equal(c->log[8].offset, TAIL + 2);
	assert_int_equal(c->log[8].value, 0x1234);
	assert_int_equal(counter_get(&bus_counters(f->bus)->posted[BUS_PIO]), 1);
	assert_int_equal(counter_get(&bus_counters(f->bus)->posted_lost), 0);
}

/* Every exit, wherever it goes, finds what was posted before it done. */
static void test_exits_drain(void **state)
{
	struct fixture *f = *state;
	struct card *c = &f->card;

	engage(f);
	assert_true(store(f, BAR + TAIL, 4, 1));
	assert_true(store(f, BAR + TAIL, 4, 2));
	assert_int_equal(load(f, BAR + COUNT, 4), 2);

	assert_true(store(f, BAR + TAIL, 4, 3));
	assert_false(store(f, BAR + COUNT, 4, 4)); /* not marked */
	assert_int_equal(c->n, 4);
	assert_int_equal(c->log[2].value, 3);
	assert_int_equal(c->log[3].value, 4);

	assert_true(store(f, BAR + TAIL, 4, 5));
	assert_int_equal(bus_read(f->bus, 1, BUS_PIO, 0x70, 1), 0xff); /* nobody's */
	assert_int_equal(c->n, 5);

	/* Half in the marked registers, half not: an exit. */
	assert_true(store(f, BAR + TAIL + 12, 4, 6));
	assert_false(store(f, BAR + TAIL + 12, 8, 7));
	assert_int_equal(c->log[5].value, 6);
	assert_int_equal(c->log[6].value, 7);

	/* What doesn't exit drains by itself. */
	assert_true(store(f, BAR + TAIL, 4, 8));
	posted_bell(&c->posted);
	assert_int_equal(c->log[c->n - 1].value, 8);
	assert_int_equal(counter_get(&c->posted.counters.bells), 1);
}

/* A ring that is full makes the writer exit, after all that is in it. */
static void test_full_ring(void **state)
{
	struct fixture *f = *state;
	struct card *c = &f->card;
	unsigned int n = 0;

	engage(f);
	while (n < 1000 && store(f, BAR + TAIL, 4, n))
		n++;
	assert_int_equal(n, FAKE_VM_RING - 1);
	assert_int_equal(c->n, n + 1);
	for (unsigned int i = 0; i <= n; i++)
		assert_int_equal(c->log[i].value, i);

	for (unsigned int i = 0; i < 100; i++)
		store(f, BAR + TAIL, 4, i);
	assert_int_equal(bus_posted_drain(f->bus), 100);
	assert_int_equal(bus_posted_drain(f->bus), 0);
}

/* ---- BARs ---- */

static void test_bar_moves(void **state)
{
	struct fixture *f = *state;
	struct card *c = &f->card, *other = calloc(1, sizeof(*other));
	struct bus_region plain;

	assert_non_null(other);
	engage(f);
	/* Zones go with the BAR. */
	assert_int_equal(bus_map(f->bus, &c->mem, ELSE), 0);
	assert_int_equal(fake_vm_zones(f->vm), 2);
	assert_false(store(f, BAR + TAIL, 4, 1));
	assert_true(store(f, ELSE + TAIL, 4, 2));

	/* What is in the ring for a BAR that is gone goes nowhere. */
	bus_unmap(&c->mem);
	assert_int_equal(fake_vm_zones(f->vm), 1);
	assert_int_equal(bus_posted_drain(f->bus), 1);
	assert_int_equal(c->n, 0);
	assert_int_equal(counter_get(&bus_counters(f->bus)->posted_lost), 1);

	/* Nor to a device that isn't made for it. */
	assert_int_equal(bus_map(f->bus, &c->mem, ELSE), 0);
	assert_true(store(f, ELSE + TAIL, 4, 3));
	bus_unmap(&c->mem);
	bus_region_init(&plain, "plain", BUS_MMIO, 0x100, &card_ops, c, NULL);
	assert_int_equal(bus_map(f->bus, &plain, ELSE), 0);
	assert_int_equal(bus_posted_drain(f->bus), 1);
	assert_int_equal(c->n, 0);
	assert_int_equal(counter_get(&bus_counters(f->bus)->posted_lost), 2);
	bus_unmap(&plain);

	/* One that posts gets what is at its address now. */
	assert_int_equal(bus_map(f->bus, &c->mem, BAR), 0);
	assert_true(store(f, BAR + TAIL, 4, 4));
	bus_unmap(&c->mem);
	card_make(f, other);
	assert_int_equal(bus_map(f->bus, &other->mem, BAR), 0);
	assert_int_equal(bus_posted_drain(f->bus), 1);
	assert_int_equal(other->n, 1);
	card_end(f, other);
	free(other);
}

/* A zone stands only where the region answers: what covers it gets exits. */
static void test_covered(void **state)
{
	struct fixture *f = *state;
	struct card *c = &f->card;
	struct bus_region cover;

	engage(f);
	bus_region_init(&cover, "cover", BUS_MMIO, 4, &card_ops, c, &c->lock);
	assert_int_equal(bus_map(f->bus, &cover, BAR + TAIL + 4), 0);
	assert_int_equal(fake_vm_zones(f->vm), 1);
	assert_false(store(f, BAR + TAIL + 4, 4, 9));
	assert_int_equal(c->log[0].offset, 0);
	bus_unmap(&cover);
	assert_int_equal(fake_vm_zones(f->vm), 2);
}

/* ---- what is refused ---- */

static void test_refused(void **state)
{
	struct fixture *f = *state;
	struct posted *p = &f->card.posted, other;
	struct bus_region r, io;

	bus_region_init(&r, "r", BUS_MMIO, 0x2100, &card_ops, &f->card, NULL);
	bus_region_init(&io, "io", BUS_PIO, 0x40, &card_ops, &f->card, NULL);
	assert_int_equal(posted_mark(p, &f->card.mem, 0x80, 4), -EBUSY); /* mapped */
	assert_int_equal(posted_mark(p, &r, 0x20f0, 0x11), -EINVAL);
	assert_int_equal(posted_mark(p, &r, 0x2100, 1), -EINVAL);
	assert_int_equal(posted_mark(p, &r, 0, 0), -EINVAL);
	assert_int_equal(posted_mark(p, &r, UINT64_MAX, 4), -EINVAL);
	assert_int_equal(posted_mark(p, &r, 0x10, 8), 0);
	assert_int_equal(posted_mark(p, &r, 0x14, 8), -EINVAL); /* overlaps */
	assert_int_equal(posted_mark(p, &r, 0x0c, 8), -EINVAL);
	assert_int_equal(posted_mark(p, &r, 0x18, 8), 0);

	assert_int_equal(posted_shadow(p, &io, 0, 0x1000), -EINVAL); /* ports */
	assert_int_equal(posted_shadow(p, &r, 0x800, 0x1000), -EINVAL);
	assert_int_equal(posted_shadow(p, &r, 0, 0x800), -EINVAL);
	assert_int_equal(posted_shadow(p, &r, 0x2000, 0x2000), -EINVAL);
	assert_int_equal(posted_shadow(p, &r, 0x3000, 0x1000), -EINVAL);
	assert_int_equal(posted_shadow(p, &r, 0x1000, 0x2000), 0);
	assert_int_equal(posted_shadow(p, &r, 0x2000, 0x1000), -EINVAL);

	posted_init(&other, f->bus, f->loop);
	assert_int_equal(posted_mark(&other, &r, 0x40, 4), -EBUSY); /* another's */
	for (unsigned int i = 0; i < POSTED_MARKS_MAX; i++)
		assert_int_equal(posted_mark(&other, &io, i, 1), 0);
	assert_int_equal(posted_mark(&other, &io, 0x20, 1), -ENOSPC);
	posted_fini(&other);
	assert_null(io.posted);
}

/* ---- life of an engagement ---- */

static void test_engage(void **state)
{
	struct fixture *f = *state;
	struct posted *p = &f->card.posted;

	/* A few writes now and then are no traffic. */
	for (int i = 0; i < 40; i++) {
		store(f, BAR + TAIL, 4, i);
		if (i % 8 == 7)
			run_for(f, 2000000);
	}
	assert_false(posted_stands(p));
	/* Nor are other registers. */
	for (int i = 0; i < 100; i++)
		store(f, BAR + COUNT, 4, i);
	turn(f);
	assert_false(posted_stands(p));

	engage(f);
	assert_int_equal(counter_get(&p->counters.engagements), 1);
	/* It takes what is posted by itself, and doesn't stay so when all is quiet. */
	store(f, BAR + TAIL, 4, 77);
	for (int i = 0; i < 1000 && f->card.n == 0; i++)
		run_for(f, 1000000);
	assert_int_equal(f->card.n, 1);
	go_quiet(f);
	assert_int_equal(fake_vm_zones(f->vm), 0);
	assert_true(counter_get(&p->counters.engaged_us) >= 1000);
	assert_false(store(f, BAR + TAIL, 4, 78));
	assert_int_equal(f->card.log[1].value, 78);
}

/* An idle machine wakes nobody: the loop sleeps when it is over. */
static void test_sleeps(void **state)
{
	struct fixture *f = *state;
	uint64_t before;

	engage(f);
	go_quiet(f);
	before = loop_stats(f->loop).polls;
	run_for(f, A_WHILE);
	assert_in_range(loop_stats(f->loop).polls - before, 0, 50);
}

/* One that saved little isn't repeated at once, and longer each time. */
static void test_pause(void **state)
{
	struct fixture *f = *state;
	struct posted *p = &f->card.posted;
	uint64_t first;

	engage(f);
	go_quiet(f);
	first = p->pause_ns;
	assert_true(first > 0);
	for (int i = 0; i < 100; i++)
		store(f, BAR + TAIL, 4, i);
	turn(f);
	if (loop_now_ns() < p->not_before_ns)
		assert_int_equal(counter_get(&p->counters.engagements), 1);
	run_for(f, first);
	engage(f);
	go_quiet(f);
	assert_true(p->pause_ns > first);

	/* One that pays puts that right. */
	run_for(f, p->pause_ns);
	engage(f);
	for (int i = 0; i < 40; i++) {
		for (int j = 0; j < 100; j++)
			assert_true(store(f, BAR + TAIL, 4, j));
		turn(f);
	}
	go_quiet(f);
	assert_int_equal(p->pause_ns, 0);
}

/* Hosts and threads that can't: every access exits, and nobody tries all the time. */
static void test_absent(void **state)
{
	struct fixture *f = *state;
	struct posted *p = &f->card.posted;

	fake_vm_no_zones(f->vm, true);
	for (int i = 0; i < 200; i++) {
		assert_false(store(f, BAR + TAIL, 4, i));
		turn(f);
	}
	assert_int_equal(counter_get(&p->counters.engagements), 0);
	assert_int_equal(f->card.n, 200);
	assert_true(p->not_before_ns > 0);

	fake_vm_no_zones(f->vm, false);
	loop_set_poll_max(f->loop, 0); /* it may not spin */
	run_for(f, p->pause_ns);
	for (int i = 0; i < 200; i++) {
		assert_false(store(f, BAR + TAIL, 4, i));
		turn(f);
	}
	assert_int_equal(counter_get(&p->counters.engagements), 0);
	assert_false(p->engaged);
}

/* ---- shadows ---- */

static int shadowed(struct fixture *f)
{
	struct card *c = &f->card;
	int s;

	bus_unmap(&c->mem);
	s = posted_shadow(&c->posted, &c->mem, 0, 4096);
	assert_int_equal(bus_map(f->bus, &c->mem, BAR), 0);
	posted_set_mode(&c->posted, POSTED_READS);
	return s;
}

static void warm(struct fixture *f)
{
	for (int i = 0; i < 1000 && !posted_stands(&f->card.posted); i++) {
		load(f, BAR + COUNT, 4);
		if (i % 50 == 49)
			turn(f);
	}
	assert_true(posted_stands(&f->card.posted));
}

static void test_shadow(void **state)
{
	struct fixture *f = *state;
	struct card *c = &f->card;
	int s = shadowed(f);
	uint64_t value;

	posted_shadow_set(&c->posted, s, COUNT, 4, 0x11223344);
	posted_shadow_set(&c->posted, s, 0x48, 8, UINT64_C(0x8877665544332211));
	posted_shadow_set(&c->posted, s, 0x44, 1, 0x5a);
	posted_shadow_set(&c->posted, s, 0x46, 2, 0xbeef);
	assert_false(fake_vm_guest_read(f->vm, BAR + COUNT, 4, &value));
	warm(f);
	assert_int_equal(fake_vm_zones(f->vm), 0); /* never both */
	assert_int_equal(load(f, BAR + COUNT, 4), 0x11223344);
	assert_int_equal(load(f, BAR + 0x44, 4), 0xbeefff5a);
	assert_true(load(f, BAR + 0x48, 8) == UINT64_C(0x8877665544332211));
	assert_int_equal(load(f, BAR + 0x100, 4), 0xffffffff); /* behind the region */
	posted_shadow_set(&c->posted, s, 0xffe, 4, 0);	       /* not aligned: nothing */
	posted_shadow_set(&c->posted, s, 0x1000, 4, 0);	       /* not in it */
	assert_int_equal(load(f, BAR + 0xffc, 4), 0xffffffff);
	assert_false(store(f, BAR + TAIL, 4, 1)); /* writes exit */

	/* It stays when all is quiet, and goes with the BAR, to where it is used. */
	run_for(f, A_WHILE / 4);
	assert_int_equal(fake_vm_shadows(f->vm), 1);
	assert_int_equal(bus_map(f->bus, &c->mem, ELSE), 0);
	assert_int_equal(fake_vm_shadows(f->vm), 0);
	assert_int_equal(bus_map(f->bus, &c->mem, BAR), 0);
	warm(f);
	assert_int_equal(counter_get(&c->posted.counters.shadows), 2);
	posted_set_mode(&c->posted, POSTED_NONE);
	assert_int_equal(fake_vm_shadows(f->vm), 0);
}

/* Where other registers are in the page, or the page doesn't begin with the region: exits. */
static void test_shadow_shared(void **state)
{
	struct fixture *f = *state;
	struct card *c = &f->card;
	struct bus_region neighbour;

	shadowed(f);
	bus_region_init(&neighbour, "n", BUS_MMIO, 16, &card_ops, c, &c->lock);
	warm(f);
	assert_int_equal(bus_map(f->bus, &neighbour, BAR + 0xff0), 0);
	assert_int_equal(fake_vm_shadows(f->vm), 0);
	bus_unmap(&neighbour);
	assert_int_equal(fake_vm_shadows(f->vm), 1);
	assert_int_equal(bus_map(f->bus, &neighbour, BAR + 0xff8), 0);
	assert_int_equal(fake_vm_shadows(f->vm), 0);
	assert_int_equal(bus_map(f->bus, &neighbour, BAR - 16), 0);
	assert_int_equal(fake_vm_shadows(f->vm), 1);
	bus_unmap(&neighbour);

	assert_int_equal(bus_map(f->bus, &c->mem, BAR + 0x100), 0);
	for (int i = 0; i < 100; i++)
		load(f, BAR + 0x100 + COUNT, 4);
	turn(f);
	assert_int_equal(fake_vm_shadows(f->vm), 0);
	assert_int_equal(load(f, BAR + 0x100 + COUNT, 4), c->n);

	fake_vm_no_shadows(f->vm, true);
	assert_int_equal(bus_map(f->bus, &c->mem, BAR), 0);
	run_for(f, c->posted.pause_ns);
	for (int i = 0; i < 100; i++)
		load(f, BAR + COUNT, 4);
	turn(f);
	assert_int_equal(fake_vm_shadows(f->vm), 0);
}

/* From one mode to the other under traffic: no read passes a write. */
static void test_modes(void **state)
{
	struct fixture *f = *state;
	struct card *c = &f->card;
	int s = shadowed(f);

	posted_set_mode(&c->posted, POSTED_WRITES);
	engage(f);
	assert_int_equal(fake_vm_zones(f->vm), 2);
	assert_true(store(f, BAR + TAIL, 4, 1));
	posted_set_mode(&c->posted, POSTED_READS);
	assert_int_equal(fake_vm_zones(f->vm), 0);
	assert_int_equal(fake_vm_shadows(f->vm), 0);
	for (int i = 0; i < 100; i++) {
		posted_shadow_set(&c->posted, s, COUNT, 4, c->n);
		load(f, BAR + COUNT, 4);
	}
	assert_int_equal(c->n, 1);
	turn(f);
	assert_int_equal(fake_vm_shadows(f->vm), 1);
	/* Back, while the I/O thread still polls: at once. */
	posted_set_mode(&c->posted, POSTED_WRITES);
	assert_int_equal(fake_vm_shadows(f->vm), 0);
	assert_int_equal(fake_vm_zones(f->vm), 2);
	assert_true(store(f, BAR + TAIL, 4, 2));
	assert_int_equal(load(f, BAR + COUNT, 4), 2);
}

/* ---- threads ---- */

#define WRITES 3000u

struct vcpu_thread {
	pthread_t thread;
	struct fixture *f;
	unsigned int index;
	unsigned int errors;
};

/* Each vCPU has a register of its own; it reads back how many of its writes have been done. */
struct counts {
	pthread_mutex_t lock;
	struct bus_region mem;
	struct posted posted;
	uint64_t last[2], n[2], bad;
};

static uint64_t counts_read(void *opaque, uint64_t offset, unsigned int size)
{
	struct counts *c = opaque;

	return c->n[offset / 8 % 2];
}

static void counts_write(void *opaque, uint64_t offset, unsigned int size, uint64_t value)
{
	struct counts *c = opaque;
	unsigned int i = offset / 8 % 2;

	c->bad += value != c->last[i] + 1;
	c->last[i] = value;
	c->n[i]++;
}

static const struct region_ops counts_ops = {.read = counts_read, .write = counts_write};

static void *vcpu(void *arg)
{
	struct vcpu_thread *t = arg;
	uint64_t reg = BAR + 8 * t->index, seen, rng = t->index + 1;

	for (unsigned int i = 1; i <= WRITES; i++) {
		store_as(t->f, t->index, false, reg, 4, i);
		rng = rng * UINT64_C(6364136223846793005) + 1442695040888963407;
		if (rng >> 60)
			continue;
		seen = bus_read(t->f->bus, t->index, BUS_MMIO, reg, 4);
		t->errors += seen != i;
	}
	return NULL;
}

static void test_threads(void **state)
{
	struct fixture *f = *state;
	struct vcpu_thread t[2] = {{.f = f, .index = 0}, {.f = f, .index = 1}};
	struct counts c = {.bad = 0};
	struct err err;

	bus_unmap(&f->card.mem);
	pthread_mutex_init(&c.lock, NULL);
	bus_region_init(&c.mem, "counts", BUS_MMIO, 0x1000, &counts_ops, &c, &c.lock);
	posted_init(&c.posted, f->bus, f->loop);
	assert_int_equal(posted_mark(&c.posted, &c.mem, 0, 16), 0);
	posted_set_mode(&c.posted, POSTED_WRITES);
	assert_int_equal(bus_map(f->bus, &c.mem, BAR), 0);
	assert_int_equal(loop_start(f->loop, &err), 0);
	/* On a busy host it may take a while until the loop's thread has its turn. */
	for (int round = 0; round < 4 || (round < 400 && !counter_get(&c.posted.counters.posted));
	     round++) {
		memset(c.last, 0, sizeof(c.last));
		memset(c.n, 0, sizeof(c.n));
		for (int i = 0; i < 2; i++)
			assert_int_equal(pthread_create(&t[i].thread, NULL, vcpu, &t[i]), 0);
		/* Modes come and go meanwhile, and neighbours are mapped. */
		for (int i = 0; round & 1 && i < 20; i++) {
			posted_set_mode(&c.posted, i & 1 ? POSTED_WRITES : POSTED_NONE);
			assert_int_equal(bus_map(f->bus, &f->card.mem, ELSE + 4096 * (i & 1)), 0);
		}
		posted_set_mode(&c.posted, POSTED_WRITES);
		for (int i = 0; i < 2; i++)
			pthread_join(t[i].thread, NULL);
		bus_posted_drain(f->bus);
		pthread_mutex_lock(&c.lock);
		assert_int_equal(c.bad, 0);
		assert_int_equal(c.n[0], WRITES);
		assert_int_equal(c.n[1], WRITES);
		pthread_mutex_unlock(&c.lock);
		assert_int_equal(t[0].errors + t[1].errors, 0);
	}
	assert_true(counter_get(&c.posted.counters.posted) > 0);
	bus_unmap(&c.mem);
	bus_synchronize(f->bus);
	posted_fini(&c.posted);
	pthread_mutex_destroy(&c.lock);
}

/* Exits wake a loop that sleeps, and it engages without being asked otherwise. */
static void test_wakes(void **state)
{
	struct fixture *f = *state;
	struct err err;
	uint64_t end = loop_now_ns() + UINT64_C(10000000000);

	assert_int_equal(loop_start(f->loop, &err), 0);
	while (!counter_get(&f->card.posted.counters.engagements) && loop_now_ns() < end)
		store(f, BAR + TAIL, 4, 0);
	assert_true(loop_now_ns() < end);
	/* And taken by it alone: nothing exits here. */
	while (fake_vm_ring(f->vm) && loop_now_ns() < end)
		;
	assert_true(loop_now_ns() < end);
}

int main(void)
{
#define T(name) cmocka_unit_test_setup_teardown(test_##name, set_up, tear_down)
	const struct CMUnitTest tests[] = {
		T(in_order), T(exits_drain),   T(full_ring), T(bar_moves), T(covered),
		T(refused),  T(engage),	       T(sleeps),    T(pause),	   T(absent),
		T(shadow),   T(shadow_shared), T(modes),     T(threads),   T(wakes),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
