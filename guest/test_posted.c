/*
 * posted: writes that vireo takes without an exit, and what must hold for them: on the card
 * posted-test, whose registers are described in vireo's src/dev/posted_test.c.
 *
 *	store_exit	every store exits
 *	store_posted	the register is posted (while the monitor's thread polls)
 *	load_exit	every load exits
 *	load_shadow	the page is shadowed
 *	bell		a store that rings, until the next
 *
 * are nanoseconds each (load_shadow: picoseconds). Before that, stores to the posted register
 * alternate with loads that count and hash what has arrived: a load finds all stores before it done.
 */
#include "clock.h"
#include "gate.h"
#include "lib.h"
#include "pci.h"
#include "serial.h"
#include "test.h"

#define VENDOR 0x1234
#define DEVICE 0xb005

/* BAR 0, in 32-bit words; BAR 1, in bytes. */
enum {
	VALUE = 0x00 / 4,
	COUNT = 0x10 / 4,
	HASH = 0x14 / 4,
	FRESH = 0x18 / 4,
	MODE = 0x1c / 4,
	BELL = 0x20 / 4,
	RUNG = 0x24 / 4,
	SEEN = 0x28 / 4,
	CLEAR = 0x2c / 4,
	COUNT_TWO = 0x1000 / 4,
	HASH_TWO = 0x1004 / 4,

	PORT_VALUE = 0,
	PORT_COUNT = 4,
};

enum {
	MODE_EXIT,
	MODE_POSTED,
	MODE_SHADOWED
};

#define SETTLE (50 * NS_PER_MS) /* for the monitor to see that there is traffic */
#define PORTS  50		/* port writes in the test of order */

static const struct test_param params[] = {
	{"count", "20000", "stores in the test of order, and of each kind that doesn't exit"},
	{"seed", "1", "of the values"},
	{NULL, NULL, NULL},
};

struct card {
	volatile uint32_t *reg;
	uint16_t port;
	uint32_t count, hash; /* what it must have */
	uint32_t fresh;
	uint64_t random;
};

static void put(struct card *c)
{
	uint32_t value = (uint32_t)random_next(&c->random);

	c->count++;
	c->fresh++;
	c->hash = c->hash * 31 + value;
	c->reg[VALUE] = value;
}

static void put_port(struct card *c)
{
	c->count++;
	c->fresh++;
	c->hash = c->hash * 31 + c->count;
	gate_out32(c->port + PORT_VALUE, c->count);
}

/* Reads one of the registers that exit, in turn. */
static bool holds(struct card *c, uint32_t i)
{
	uint32_t fresh = c->fresh;

	switch (i % 5) {
	case 0:
		return c->reg[COUNT] == c->count;
	case 1:
		return c->reg[HASH] == c->hash;
	case 2:
		c->fresh = 0;
		return c->reg[FRESH] == fresh;
	case 3:
		return c->reg[COUNT_TWO] == c->count && c->reg[HASH_TWO] == c->hash;
	default:
		return gate_in32(c->port + PORT_COUNT) == c->count;
	}
}

static const char *check_order(struct card *c, uint32_t count)
{
	uint32_t rung = 0;

	c->reg[MODE] = MODE_POSTED;
	for (uint32_t i = 0; i < count; i++) {
		put(c);
		if (random_next(&c->random) % 32 == 0 && !holds(c, i))
			return "order";
		if (i % (count / PORTS + 1) == 0)
			put_port(c);
		if (i % (count / PORTS + 1) == 7) {
			c->reg[BELL] = 1;
			rung++;
		}
	}
	/* The bells are served after what was posted before them. */
	for (uint64_t start = clock_ns(); c->reg[RUNG] != rung;)
		if (clock_ns() - start > NS_PER_S)
			return "bells";
	if (c->reg[COUNT] != c->count || c->reg[HASH] != c->hash)
		return "lost";
	put(c);
	c->reg[BELL] = 1;
	for (uint64_t start = clock_ns(); c->reg[RUNG] != rung + 1;)
		if (clock_ns() - start > NS_PER_S)
			return "bells";
	return c->reg[SEEN] == c->count ? NULL : "bell-before-write";
}

/* ---- what it costs ---- */

static void settle(struct card *c, uint32_t reg, bool store)
{
	uint64_t start = clock_ns();

	while (clock_ns() - start < SETTLE) {
		if (store)
			c->reg[reg] = 0;
		else
			(void)c->reg[reg];
	}
}

static uint32_t time_stores(struct card *c, uint32_t reg, uint32_t value, uint32_t count)
{
	uint64_t start = clock_ticks();

	for (uint32_t i = 0; i < count; i++)
		c->reg[reg] = value;
	return clock_ticks_to_ns(clock_ticks() - start) / count;
}

/* In picoseconds: one that doesn't exit takes less than a nanosecond. */
static uint64_t time_loads(struct card *c, uint32_t reg, uint32_t count)
{
	uint64_t start = clock_ticks();

	for (uint32_t i = 0; i < count; i++)
		(void)c->reg[reg];
	return clock_ticks_to_ns(clock_ticks() - start) * 1000 / count;
}

/* A shadow follows: whatever it is read by, it has the latest. */
static const char *check_shadow(struct card *c)
{
	for (uint32_t i = 0; i < 1000; i++) {
		put(c);
		if (c->reg[COUNT_TWO] != c->count || c->reg[HASH_TWO] != c->hash)
			return "shadow";
		if (i % 100 == 99) {
			c->reg[MODE] = i & 128 ? MODE_POSTED : MODE_SHADOWED;
			settle(c, COUNT_TWO, false);
		}
	}
	return NULL;
}

static void measure(struct card *c, uint32_t count)
{
	uint32_t few = MIN(count, 1000u), store_exit, store_posted, bell;
	uint64_t load_exit, load_shadow;

	c->reg[MODE] = MODE_EXIT;
	store_exit = time_stores(c, VALUE, 1, few);
	load_exit = time_loads(c, COUNT, few);
	c->reg[MODE] = MODE_POSTED;
	settle(c, VALUE, true);
	store_posted = time_stores(c, VALUE, 1, count);
	bell = time_stores(c, BELL, 1, count);
	c->reg[MODE] = MODE_SHADOWED;
	settle(c, COUNT_TWO, false);
	load_shadow = time_loads(c, COUNT_TWO, count);
	report(" store_exit_ns=%u store_posted_ns=%u load_exit_ns=%lu load_shadow_ps=%lu "
	       "bell_ns=%u",
	       store_exit, store_posted, load_exit / 1000, load_shadow, bell);
}

static bool run(const struct test *test, const struct test_arg *args)
{
	uint64_t wanted = test_number(test, args, "count");
	uint32_t count = wanted && wanted < UINT32_MAX ? (uint32_t)wanted : 1;
	struct pci_device *pci = pci_find(VENDOR, DEVICE, 0);
	struct card c = {.random = test_number(test, args, "seed")};
	const char *wrong;

	if (!pci)
		return test_fail(test, "no-device");
	pci_command(pci, 3, 0); /* ports and memory */
	c.reg = pci_map_bar(pci, 0);
	c.port = (uint16_t)pci->bars[1].address;
	c.reg[CLEAR] = 1;
	wrong = check_order(&c, count);
	if (!wrong) {
		c.reg[MODE] = MODE_SHADOWED;
		wrong = check_shadow(&c);
	}
	if (wrong)
		return test_fail(test, wrong);
	test_result(test, true);
	measure(&c, count);
	c.reg[CLEAR] = 1;
	return true;
}

const struct test test_posted = {
	.name = "posted",
	.help = "register writes and reads that don't exit, on the card posted-test",
	.params = params,
	.run = run,
};
