/*
 * Posted writes, shadows, moving BARs and modes, against what must hold: every write that reaches a
 * handler is later than all before it, and an exit finds the ring empty.
 *
 * Input: operations on three cards of two pages each, that a guest maps anywhere in a window of a
 * few pages, on top of each other too. The third has no marks.
 */
#include <stdlib.h>

#include "base/loop.h"
#include "bus/bus.h"
#include "bus/posted.h"
#include "fake_vm.h"
#include "input.h"

#define CARDS	3
#define WINDOW	UINT64_C(0xe0000000)
#define PAGES	8
#define PORTS	0xc000
#define OPS_MAX 400
#define STEP	64 /* of addresses; marks are multiples of it */

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

struct card {
	struct fuzz *f;
	struct bus_region mem, io;
	struct posted posted;
	int shadow;
	pthread_mutex_t lock;
};

struct fuzz {
	struct input in;
	struct vm *vm;
	struct bus *bus;
	struct loop *loop;
	struct card card[CARDS];
	uint64_t number; /* of the guest's writes */
	uint64_t seen;	 /* the latest that arrived */
};

static void check(bool ok)
{
	if (!ok)
		abort();
}

static uint64_t card_read(void *opaque, uint64_t offset, unsigned int size)
{
	struct card *c = opaque;

	check(offset + size <= (offset < c->mem.size ? c->mem.size : c->io.size));
	return c->f->seen;
}

/* All writes are 8 bytes; one that goes to two regions comes in pieces. */
static void card_write(void *opaque, uint64_t offset, unsigned int size, uint64_t value)
{
	struct fuzz *f = ((struct card *)opaque)->f;

	if (size != 8)
		return;
	check(value > f->seen && value <= f->number);
	f->seen = value;
}

static const struct region_ops ops = {.read = card_read, .write = card_write, .unaligned = true};

static void quit(void *arg)
{
	loop_quit(arg);
}

static void turn(struct fuzz *f)
{
	check(loop_post(f->loop, quit, f->loop) == 0);
	loop_run(f->loop);
}

static void make(struct fuzz *f)
{
	struct err err;

	check(vm_create(&f->vm, &err) == 0);
	check(bus_create(&f->bus, f->vm, &err) == 0);
	check(loop_create(&f->loop, "io", 1000, &err) == 0);
	for (unsigned int i = 0; i < CARDS; i++) {
		struct card *c = &f->card[i];

		c->f = f;
		pthread_mutex_init(&c->lock, NULL);
		bus_region_init(&c->mem, "mem", BUS_MMIO, 0x1000 + 0x800 * i, &ops, c, &c->lock);
		bus_region_init(&c->io, "io", BUS_PIO, 0x100, &ops, c, &c->lock);
		if (i == CARDS - 1)
			continue;
		posted_init(&c->posted, f->bus, f->loop);
		check(posted_mark(&c->posted, &c->mem, 0, STEP) == 0);
		check(posted_mark(&c->posted, &c->mem, 3 * STEP, 2 * STEP) == 0);
		check(posted_mark(&c->posted, &c->io, 0, STEP) == 0);
		c->shadow = posted_shadow(&c->posted, &c->mem, 0, 0x1000);
		check(c->shadow >= 0);
	}
}

static void end(struct fuzz *f)
{
	for (unsigned int i = 0; i < CARDS; i++) {
		bus_unmap(&f->card[i].mem);
		bus_unmap(&f->card[i].io);
	}
	bus_synchronize(f->bus);
	for (unsigned int i = 0; i < CARDS; i++) {
		posted_fini(&f->card[i].posted);
		pthread_mutex_destroy(&f->card[i].lock);
	}
	check(!fake_vm_zones(f->vm) && !fake_vm_shadows(f->vm));
	loop_destroy(f->loop);
	bus_destroy(f->bus);
	vm_destroy(f->vm);
}

static void access_one(struct fuzz *f, bool write, bool pio)
{
	uint64_t addr = input_take(&f->in, 2), value;
	enum bus_space space = pio ? BUS_PIO : BUS_MMIO;

	if (pio)
		addr = PORTS + addr % 0x800;
	else
		addr = WINDOW + addr % (PAGES * 0x1000 / STEP) * STEP + addr / 4096;
	if (write) {
		if (fake_vm_guest_write(f->vm, pio, addr, 8, ++f->number))
			return;
		bus_write(f->bus, 0, space, addr, 8, f->number);
	} else {
		if (!pio && fake_vm_guest_read(f->vm, addr, 8, &value))
			return;
		bus_read(f->bus, 0, space, addr, 8);
	}
	check(!fake_vm_ring(f->vm));
}

static void operation(struct fuzz *f)
{
	uint8_t op = (uint8_t)input_take(&f->in, 1);
	struct card *c = &f->card[(op >> 3) % CARDS];
	uint64_t where;

	switch (op & 7) {
	case 0:
	case 1:
		for (unsigned int i = 0; i < 1 + (op >> 6) * 80u; i++)
			access_one(f, true, op & 1);
		break;
	case 2:
		access_one(f, false, op >> 7);
		break;
	case 3:
		where = input_take(&f->in, 1);
		if (where & 1)
			bus_map(f->bus, &c->io, PORTS + where * 4);
		else
			bus_map(f->bus, &c->mem,
				WINDOW + (where >> 1) % PAGES * 0x1000 + (where >> 6) * STEP);
		break;
	case 4:
		bus_unmap(op >> 7 ? &c->io : &c->mem);
		break;
	case 5:
		if (c->posted.bus)
			posted_set_mode(&c->posted, (enum posted_mode)((op >> 5) % 3));
		break;
	case 6: /* traffic; else time would decide */
		c->posted.wanted = true;
		c->posted.not_before_ns = 0;
		turn(f);
		break;
	default:
		if (op >> 7)
			bus_posted_drain(f->bus);
		else
			turn(f);
		break;
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct fuzz *f = calloc(1, sizeof(*f));

	check(f);
	make(f);
	f->in = (struct input){data, size};
	for (int i = 0; f->in.n && i < OPS_MAX; i++)
		operation(f);
	end(f);
	free(f);
	return 0;
}
