/*
 * See hostile.h: the runner, and what the cases have in common.
 */
#include "hostile.h"

#include <linux/pci_regs.h>
#include <linux/virtio_config.h>

#include "boot.h"
#include "clock.h"
#include "lib.h"
#include "memory.h"
#include "pci.h"
#include "serial.h"

static const struct test_param params[] = {
	TARGET_PARAMS,
	{"what", "all", "cases whose names start like this, or all"},
	{"transport", "auto", "auto, modern or legacy"},
	{"packed", "0", "1: the cases of packed rings, on packed rings"},
	{"strict", "1", "a device that doesn't latch where it should has failed"},
	{"wait", "200", "for the device to latch, milliseconds"},
	{"seed", "1", "of the random cases"},
	{"count", "500", "steps of each random case"},
	{NULL, NULL, NULL},
};

static const struct hostile_case *const split_tables[] = {
	hostile_ring_cases, hostile_setup_cases, hostile_pci_cases, hostile_ctrl_cases, NULL};
static const struct hostile_case *const packed_tables[] = {hostile_packed_cases, NULL};

const struct hostile_case *hostile_now;

void hostile_desc(struct hostile *h, uint16_t i, uint64_t address, uint32_t length, uint16_t flags,
		  uint16_t next)
{
	volatile struct vring_desc *d = &h->t.ring.desc[i];

	d->addr = address;
	d->len = length;
	d->flags = flags;
	d->next = next;
}

void hostile_offer(struct hostile *h, uint16_t head)
{
	struct ring *ring = &h->t.ring;

	ring->avail->ring[ring->avail_index++ & (ring->size - 1)] = head;
}

void hostile_kick(struct hostile *h)
{
	barrier();
	h->t.ring.avail->idx = h->t.ring.avail_index;
	barrier_store_load();
	ring_bell(&h->t.ring);
}

uint64_t hostile_hole(void)
{
	return MIN(boot_low_ram_end() + (16 << 20), 0xdff00000);
}

uint32_t hostile_value(struct hostile *h)
{
	uint64_t r = random_next(&h->seed);

	switch (r >> 62) {
	case 0:
		return r & 0xfff;
	case 1:
		return memory_address(h->scratch) + (r & (HOSTILE_SCRATCH - 4));
	case 2:
		return r & 1 ? 0xffffffff : 0;
	default:
		return r | 0xc0000000;
	}
}

uint64_t hostile_address(struct hostile *h)
{
	uint64_t r = random_next(&h->seed);

	switch (r >> 61) {
	case 0:
		return r | 3ull << 30;
	case 1:
	case 2:
		return (uint32_t)r | 3ull << 30;
	default:
		return memory_address(h->scratch) + r % HOSTILE_SCRATCH;
	}
}

static bool starts_with(const char *s, const char *prefix)
{
	return !strncmp(s, prefix, strlen(prefix));
}

static bool wait_latched(struct hostile *h, uint32_t ms)
{
	uint64_t start = clock_ns();

	do {
		if (virtio_needs_reset(&h->t.dev))
			return true;
	} while (clock_ns() - start < ms * NS_PER_MS);
	return false;
}

/* From whatever state to a device that does its work. */
static bool recover(struct hostile *h)
{
	struct pci_device *pci = h->t.dev.pci;

	pci_restore_bars(pci);
	pci_command(pci, PCI_COMMAND_IO | PCI_COMMAND_MEMORY | PCI_COMMAND_MASTER, 0);
	if (!target_start(&h->t, 0, VIRTIO_POLLED))
		return false;
	return target_works(&h->t);
}

/* Why this case can't be run here, NULL if it can. Starts the device. */
static const char *prepare(struct hostile *h, const struct hostile_case *c)
{
	uint64_t features = 0;

	if (c->needs & NEEDS_MODERN && h->t.dev.legacy)
		return "legacy";
	if (c->needs & NEEDS_NET && strcmp(h->t.name, "net") != 0)
		return "not-net";
	if (c->needs & NEEDS_CTRL && strcmp(h->t.name, "net-ctrl") != 0)
		return "not-net-ctrl";
	if (c->needs & NEEDS_INDIRECT)
		features |= 1ull << VIRTIO_RING_F_INDIRECT_DESC;
	if (c->needs & NEEDS_FRESH)
		return NULL;
	if (!target_start(&h->t, features, VIRTIO_POLLED) || !target_works(&h->t))
		return "not-working-before";
	if (c->needs & NEEDS_INDIRECT && !h->t.ring.indirect)
		return "no-indirect";
	return NULL;
}

static bool run_case(struct hostile *h, const struct hostile_case *c, bool strict, uint32_t wait_ms)
{
	uint64_t mark = memory_mark();
	const char *reason = prepare(h, c), *problem;
	bool latched, recovered, ok;

	if (reason) {
		ok = strcmp(reason, "not-working-before");
		report("test=%s result=%s case=%s device=%s reason=%s", h->test->name,
		       ok ? "skip" : "fail", c->name, h->t.name, reason);
		return ok;
	}
	hostile_now = c;
	memset(h->scratch, 0, HOSTILE_SCRATCH);
	h->refused = false;
	problem = c->run(h);
	latched = wait_latched(h,
			       c->latch == MUST_LATCH && !h->refused ? wait_ms : MIN(wait_ms, 20u));
	recovered = recover(h);
	ok = recovered && !problem && (latched || h->refused || c->latch == MAY_LATCH || !strict);
	test_result(h->test, ok);
	report(" case=%s device=%s latched=%d refused=%d expected=%s recovered=%d problem=%s",
	       c->name, h->t.name, latched, h->refused, c->latch == MUST_LATCH ? "1" : "any",
	       recovered, problem ? problem : "none");
	target_stop(&h->t);
	memory_release(mark);
	return ok;
}

static bool run(const struct test *test, const struct test_arg *args)
{
	const char *what = test_string(test, args, "what");
	bool strict = test_number(test, args, "strict"), packed = test_number(test, args, "packed");
	const struct hostile_case *const *tables = packed ? packed_tables : split_tables;
	uint32_t wait_ms = test_number(test, args, "wait"), n = 0, failed = 0;
	enum virtio_transport transport;
	struct hostile h = {.test = test};

	if (!virtio_transport_by_name(test_string(test, args, "transport"), &transport))
		return test_fail(test, "bad-parameter");
	if (!target_choose(&h.t, test, args))
		return false;
	h.t.transport = transport;
	if (packed)
		h.t.features |= 1ull << VIRTIO_F_RING_PACKED;
	if (!target_start(&h.t, 0, VIRTIO_POLLED) || !target_works(&h.t))
		return test_fail(test, "device-does-not-work");
	h.scratch = memory_reserve_top(HOSTILE_SCRATCH);
	for (uint32_t i = 0; tables[i]; i++) {
		for (const struct hostile_case *c = tables[i]; c->name; c++) {
			if (strcmp(what, "all") && !starts_with(c->name, what))
				continue;
			h.seed = test_number(test, args, "seed");
			h.count = test_number(test, args, "count");
			n++;
			failed += !run_case(&h, c, strict, wait_ms);
		}
	}
	test_result(test, n && !failed);
	report(" case=all device=%s cases=%u failed=%u", h.t.name, n, failed);
	return n && !failed;
}

const struct test test_hostile = {
	.name = "hostile",
	.help = "does to a device what no driver should, and checks that it recovers",
	.params = params,
	.run = run,
};
