/*
 * See hostile_nic.h: the runner, and the cases for any card.
 *
 * Stores at random happen with bus mastering off: a card that takes pieces of an address from here and
 * there would else write anywhere in the guest. For the cards whose address registers are known to be
 * whole words, they happen once more with bus mastering on, with addresses that do no harm.
 */
#include "hostile_nic.h"

#include <linux/pci_regs.h>

#include "clock.h"
#include "frame.h"
#include "gate.h"
#include "lib.h"
#include "memory.h"
#include "nic.h"
#include "serial.h"
#include "traffic.h"

#define ACCESS_LIMIT NS_PER_S
#define SETTLE_NS    (2 * NS_PER_MS)
#define PROOF_FRAMES 64
#define PROOF_SIZE   64
#define PROOF_LIMIT  (5 * NS_PER_S)

static const struct test_param params[] = {
	{"nic", "rtl8139", "model: rtl8139, e1000, pcnet, ne2k_pci, i82551, i82557b, i82559er"},
	{"index", "0", "which of several"},
	{"what", "all", "cases whose names start like this, or all"},
	{"seed", "1", "of the random cases"},
	{"count", "1000", "steps of each random case"},
	{NULL, NULL, NULL},
};

static const struct model {
	const char *name;
	uint16_t vendor, device;
	const struct hostile_nic_case *cases; /* its own */
	/* How it is brought back: by drivers, NULL behind the last, or by a function. */
	const struct nic_ops *const *drivers;
	const char *(*prove)(struct hostile_nic *h);
	bool whole_addresses; /* registers with addresses are words, each good by itself */
} models[] = {
	{
		.name = "rtl8139",
		.vendor = 0x10ec,
		.device = 0x8139,
		.cases = hostile_rtl8139_cases,
		.drivers = (const struct nic_ops *const[]){&rtl8139_ops, &rtl8139_cplus_ops, NULL},
		.whole_addresses = true,
	},
	{
		.name = "e1000",
		.vendor = 0x8086,
		.device = 0x100e,
		.cases = hostile_e1000_cases,
		.drivers = (const struct nic_ops *const[]){&e1000_ops, NULL},
		.whole_addresses = true,
	},
	{"pcnet", 0x1022, 0x2000, hostile_pcnet_cases, NULL, hostile_pcnet_prove, false},
	{"ne2k_pci", 0x10ec, 0x8029, hostile_ne2k_cases, NULL, hostile_ne2k_prove, false},
	{"i82551", 0x8086, 0x1209, hostile_i8255x_cases, NULL, hostile_i8255x_prove, false},
	{"i82557b", 0x8086, 0x1229, hostile_i8255x_cases, NULL, hostile_i8255x_prove, false},
	{"i82559er", 0x8086, 0x1209, hostile_i8255x_cases, NULL, hostile_i8255x_prove, false},
};

/* Registers are reached through the first BAR of memory, where there is one. */
static void choose_bar(struct hostile_nic *h)
{
	for (h->bar = 0; h->bar < PCI_N_BARS; h->bar++)
		if (h->pci->bars[h->bar].size && !h->pci->bars[h->bar].is_io)
			return;
	h->bar = 0;
}

static void account(struct hostile_nic *h, uint32_t offset, uint64_t start)
{
	uint64_t ns = clock_ns() - start;

	h->accesses++;
	if (ns > h->worst_ns) {
		h->worst_ns = ns;
		h->worst_offset = offset;
	}
}

static uint32_t load_port(uint16_t port, uint32_t size)
{
	return size == 1 ? gate_in8(port) : size == 2 ? gate_in16(port) : gate_in32(port);
}

static void store_port(uint16_t port, uint32_t size, uint32_t value)
{
	if (size == 1)
		gate_out8(port, value);
	else if (size == 2)
		gate_out16(port, value);
	else
		gate_out32(port, value);
}

uint32_t hostile_nic_load(struct hostile_nic *h, uint32_t offset, uint32_t size)
{
	const struct pci_bar *bar = &h->pci->bars[h->bar];
	uint64_t at = bar->address + offset, start = clock_ns();
	uint32_t value;

	if (bar->is_io)
		value = load_port(at, size);
	else if (size == 1)
		value = *(volatile uint8_t *)at;
	else if (size == 2)
		value = *(volatile uint16_t *)at;
	else
		value = *(volatile uint32_t *)at;
	account(h, offset, start);
	return value;
}

void hostile_nic_store(struct hostile_nic *h, uint32_t offset, uint32_t size, uint32_t value)
{
	const struct pci_bar *bar = &h->pci->bars[h->bar];
	uint64_t at = bar->address + offset, start = clock_ns();

	barrier();
	if (bar->is_io)
		store_port(at, size, value);
	else if (size == 1)
		*(volatile uint8_t *)at = value;
	else if (size == 2)
		*(volatile uint16_t *)at = value;
	else
		*(volatile uint32_t *)at = value;
	account(h, offset, start);
}

void hostile_nic_settle(void)
{
	uint64_t start = clock_ns();

	while (clock_ns() - start < SETTLE_NS)
		pause();
}

/* The card's registers, or what is not there. */
static uint64_t memory_bar(const struct hostile_nic *h)
{
	for (uint32_t i = 0; i < PCI_N_BARS; i++)
		if (h->pci->bars[i].size && !h->pci->bars[i].is_io)
			return h->pci->bars[i].address;
	return hostile_hole();
}

uint64_t hostile_nic_place(const struct hostile_nic *h, enum hostile_place place)
{
	switch (place) {
	case IN_HOLE:
		return hostile_hole();
	case IN_BAR:
		return memory_bar(h);
	case AT_END:
		return memory_address(h->scratch) + HOSTILE_SCRATCH - 64;
	case AT_WRAP32:
		return 0x100000000 - 64;
	case AT_WRAP:
		return -64ull;
	default:
		return memory_address(h->scratch) + HOSTILE_SCRATCH / 2;
	}
}

void hostile_nic_frame(uint8_t *at)
{
	static const uint8_t peer[6] = FRAME_PEER_MAC;

	memset(at, 0, 64);
	memcpy(at, peer, sizeof(peer));
	memcpy(at + 6, peer, sizeof(peer));
	frame_put16(at + 12, FRAME_ETHERTYPE);
}

uint64_t hostile_nic_address(struct hostile_nic *h)
{
	uint64_t r = random_next(&h->seed);

	switch (r >> 61) {
	case 0:
		return 0;
	case 1:
		return memory_bar(h) + (r & 0xff);
	case 2:
		return (uint32_t)r | 0xc0000000;
	case 3:
		return r | 3ull << 30;
	default:
		return memory_address(h->scratch) + r % HOSTILE_SCRATCH;
	}
}

static uint32_t any_value(struct hostile_nic *h)
{
	uint64_t r = random_next(&h->seed);

	switch (r >> 62) {
	case 0:
		return 1u << (r & 31);
	case 1:
		return r & 1 ? ~0u : 0;
	default:
		return r;
	}
}

/* Bit 0 of the case's detail: with bus mastering on, whole words with addresses that do no harm. */
static void random_accesses(struct hostile_nic *h, uint64_t detail)
{
	pci_command(h->pci, detail ? PCI_COMMAND_MASTER : 0, detail ? 0 : PCI_COMMAND_MASTER);
	for (uint32_t i = 0; i < h->count; i++) {
		uint64_t r = random_next(&h->seed);
		uint32_t size = detail ? 4 : 1u << r % 3, offset;

		h->bar = (r >> 8) % PCI_N_BARS;
		if (!h->pci->bars[h->bar].size)
			continue;
		offset = (r >> 16) % h->pci->bars[h->bar].size & -size;
		/* Most registers are in the first few hundred bytes of a large BAR. */
		if (r >> 63)
			offset &= 0x1ff;
		if (r >> 62 & 1)
			hostile_nic_load(h, offset, size);
		else
			hostile_nic_store(h, offset, size,
					  detail ? (uint32_t)hostile_nic_address(h) : any_value(h));
	}
	hostile_nic_settle();
}

static void random_config(struct hostile_nic *h, uint64_t detail)
{
	for (uint32_t i = 0; i < h->count; i++) {
		uint64_t r = random_next(&h->seed);
		uint32_t offset = r & 0xff;

		if (r >> 62 == 0)
			pci_write8(h->pci, offset, r >> 16);
		else if (r >> 62 == 1)
			pci_write16(h->pci, offset & ~1u, r >> 16);
		else if (r >> 62 == 2)
			pci_write32(h->pci, offset & ~3u, any_value(h));
		else
			pci_read32(h->pci, offset & ~3u);
	}
}

/* Accesses that no register has: wider than it, or across two. */
static void crooked_accesses(struct hostile_nic *h, uint64_t detail)
{
	pci_command(h->pci, 0, PCI_COMMAND_MASTER);
	for (h->bar = 0; h->bar < PCI_N_BARS; h->bar++) {
		uint64_t size = h->pci->bars[h->bar].size;

		for (uint32_t offset = 1; size && offset + 4 < MIN(size, 256u); offset += 7) {
			hostile_nic_load(h, offset, 4);
			hostile_nic_load(h, offset, 2);
			hostile_nic_store(h, offset, 4, offset * 0x01010101);
		}
		if (size && !h->pci->bars[h->bar].is_io)
			*(volatile uint64_t *)(h->pci->bars[h->bar].address + size - 8) = ~0ull;
	}
}

static const struct hostile_nic_case any_cases[] = {
	{"any-registers", random_accesses, 0},
	{"any-crooked", crooked_accesses, 0},
	{"any-config", random_config, 0},
	{NULL, NULL, 0},
};

static const struct hostile_nic_case word_cases[] = {
	{"any-dma", random_accesses, 1},
	{NULL, NULL, 0},
};

/* Opens the card with this driver, sends, closes it. NULL, or what went wrong. */
static const char *prove(const struct hostile_nic *h, const struct nic_ops *ops, uint32_t index)
{
	struct nic_config config = {
		.index = index,
		.frame_size = 128,
		.queue_size = 256,
		.rx_buffer = 2048,
		.promiscuous = true,
	};
	uint64_t start = clock_ns();
	struct nic nic = {.ops = ops};
	struct traffic_sender s;
	uint32_t sent = 0, done = 0;
	struct nic_slot slot;

	if (!ops->open(&nic, &config))
		return nic.error;
	traffic_init(&s, &nic, TRAFFIC_PLAIN, PROOF_SIZE, 0);
	while (done < PROOF_FRAMES && clock_ns() - start < PROOF_LIMIT) {
		while (sent < PROOF_FRAMES && nic_get(&nic, &slot))
			traffic_send(&s, &slot, FRAME_READY, sent++);
		nic_flush(&nic);
		done += nic_reap(&nic);
	}
	nic_close(&nic);
	return done < PROOF_FRAMES ? "does-not-send" : NULL;
}

/* From whatever state to a card that does its work. NULL, or what is wrong with it. */
static const char *recover(struct hostile_nic *h, const struct model *m, uint32_t index)
{
	const char *problem = NULL;

	pci_restore_bars(h->pci);
	pci_command(h->pci, PCI_COMMAND_IO | PCI_COMMAND_MEMORY, 0);
	for (uint32_t i = 0; m->drivers && m->drivers[i] && !problem; i++)
		problem = prove(h, m->drivers[i], index);
	if (m->prove) {
		choose_bar(h);
		pci_command(h->pci, PCI_COMMAND_MASTER, 0);
		problem = m->prove(h);
	}
	pci_command(h->pci, PCI_COMMAND_INTX_DISABLE, PCI_COMMAND_MASTER);
	return problem;
}

static bool run_case(struct hostile_nic *h, const struct model *m, const struct hostile_nic_case *c,
		     uint32_t index)
{
	uint64_t mark = memory_mark(), start = clock_ns();
	const char *problem;
	bool ok;

	h->worst_ns = h->accesses = h->worst_offset = 0;
	choose_bar(h);
	memset(h->scratch, 0, HOSTILE_SCRATCH);
	pci_command(h->pci, PCI_COMMAND_IO | PCI_COMMAND_MEMORY | PCI_COMMAND_MASTER, 0);
	c->run(h, c->detail);
	start = clock_ns() - start;
	problem = recover(h, m, index);
	ok = !problem && h->worst_ns < ACCESS_LIMIT;
	test_result(h->test, ok);
	report(" case=%s nic=%s ns=%lu accesses=%lu worst_ns=%lu worst_offset=0x%x problem=%s",
	       c->name, m->name, start, h->accesses, h->worst_ns, h->worst_offset,
	       problem ? problem
	       : ok    ? "none"
		       : "slow");
	memory_release(mark);
	return ok;
}

static bool run_cases(struct hostile_nic *h, const struct test_arg *args, const struct model *m,
		      const struct hostile_nic_case *c, uint32_t *n)
{
	const char *what = test_string(h->test, args, "what");
	bool ok = true;

	for (; c && c->name; c++) {
		if (strcmp(what, "all") && strncmp(c->name, what, strlen(what)))
			continue;
		h->seed = test_number(h->test, args, "seed");
		h->count = test_number(h->test, args, "count");
		++*n;
		ok = run_case(h, m, c, test_number(h->test, args, "index")) && ok;
	}
	return ok;
}

static bool run(const struct test *test, const struct test_arg *args)
{
	const char *name = test_string(test, args, "nic"), *problem;
	uint32_t index = test_number(test, args, "index"), n = 0;
	struct hostile_nic h = {.test = test};
	const struct model *m = NULL;
	bool ok;

	for (uint32_t i = 0; i < ARRAY_SIZE(models); i++)
		if (!strcmp(models[i].name, name))
			m = &models[i];
	if (!m)
		return test_fail(test, "unknown-nic");
	h.pci = pci_find(m->vendor, m->device, index);
	if (!h.pci)
		return test_fail(test, "no-device");
	h.scratch = memory_reserve_top(HOSTILE_SCRATCH);
	problem = recover(&h, m, index);
	if (problem)
		return test_fail(test, problem);
	ok = run_cases(&h, args, m, any_cases, &n);
	if (m->whole_addresses)
		ok = run_cases(&h, args, m, word_cases, &n) && ok;
	ok = run_cases(&h, args, m, m->cases, &n) && ok;
	test_result(test, n && ok);
	report(" case=all nic=%s cases=%u", name, n);
	return n && ok;
}

const struct test test_hostile_nic = {
	.name = "hostile-nic",
	.help = "does to an emulated NIC what no driver should, and checks that it recovers",
	.params = params,
	.run = run,
};
