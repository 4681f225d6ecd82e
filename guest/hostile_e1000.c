/*
 * Hostile cases for the e1000: see hostile_nic.h. All that the card may write to lies in scratch memory.
 *
 *	scratch + 0        a ring
 *	        + 256 KiB  another
 *	        + 512 KiB  what is sent, and received into
 */
#include <linux/pci_regs.h>

#include "e1000.h"
#include "hostile_nic.h"
#include "lib.h"
#include "memory.h"

#define OTHER_RING 0x40000
#define BUFFERS	   0x80000
#define N_DESC	   64
#define RING_BYTES (N_DESC * 16)

static void set(struct hostile_nic *h, uint32_t offset, uint32_t value)
{
	hostile_nic_store(h, offset, 4, value);
}

/* Reset, link up, both directions on; loopback by the PHY, so that there is something to receive. */
static void fresh(struct hostile_nic *h)
{
	set(h, E1000_CTRL, E1000_CTRL_RST);
	set(h, E1000_CTRL, E1000_CTRL_SLU | E1000_CTRL_FD);
	set(h, E1000_MDIC, E1000_MDIC_WRITE | E1000_MDIC_BMCR | E1000_BMCR_LOOP);
	set(h, E1000_TCTL, E1000_TCTL_EN | E1000_TCTL_PSP);
	set(h, E1000_RCTL,
	    E1000_RCTL_EN | E1000_RCTL_UPE | E1000_RCTL_MPE | E1000_RCTL_BAM | E1000_RCTL_LPE |
		    E1000_RCTL_LBM_PHY);
}

/* From now on to the cable. */
static void end_loopback(struct hostile_nic *h)
{
	set(h, E1000_MDIC, E1000_MDIC_WRITE | E1000_MDIC_BMCR | E1000_BMCR_DEFAULT);
	set(h, E1000_RCTL, E1000_RCTL_EN | E1000_RCTL_UPE);
}

/* base: of E1000_TDBAL or E1000_RDBAL. */
static void set_ring(struct hostile_nic *h, uint32_t base, uint64_t address, uint32_t bytes,
		     uint32_t head, uint32_t tail)
{
	set(h, base, address);
	set(h, base + 4, address >> 32);
	set(h, base + 8, bytes);
	set(h, base + 0x10, head);
	set(h, base + 0x18, tail);
}

/* n legacy descriptors of one frame each. */
static void fill_tx(void *ring, uint64_t buffer, uint32_t length, uint32_t n)
{
	struct e1000_tx_desc *d = ring;

	for (uint32_t i = 0; i < n; i++) {
		d[i].address = buffer;
		d[i].command = E1000_TXD_EOP | E1000_TXD_RS | E1000_TXD_IFCS | length;
		d[i].status = 0;
	}
}

static void fill_rx(void *ring, uint64_t buffer, uint32_t n)
{
	struct e1000_rx_desc *d = ring;

	for (uint32_t i = 0; i < n; i++) {
		d[i].address = buffer;
		d[i].status = 0;
	}
}

#define RING_CASE(rx, place, bytes, head, tail)                                                    \
	((uint64_t)(rx) << 63 | (uint64_t)(place) << 56 | (uint64_t)(bytes) << 32 | (head) << 16 | \
	 (tail))

/* detail: a RING_CASE. The other direction's ring is in order. */
static void bad_ring(struct hostile_nic *h, uint64_t detail)
{
	enum hostile_place place = detail >> 56 & 0x7f;
	uint64_t address = place ? hostile_nic_place(h, place) : memory_address(h->scratch), other;
	uint32_t bytes = (detail >> 32 & 0xffffff) << 4, head = detail >> 16 & 0xffff;
	uint32_t tail = detail & 0xffff, base = detail >> 63 ? E1000_RDBAL : E1000_TDBAL;

	fresh(h);
	other = memory_address(h->scratch) + OTHER_RING;
	if (base == E1000_RDBAL) {
		fill_rx(h->scratch, memory_address(h->scratch) + BUFFERS, 4096);
		fill_tx(h->scratch + OTHER_RING, memory_address(h->scratch) + BUFFERS, 64, N_DESC);
		set_ring(h, base, address, bytes, head, tail);
		set_ring(h, E1000_TDBAL, other, RING_BYTES, 0, N_DESC - 1);
	} else {
		fill_tx(h->scratch, memory_address(h->scratch) + BUFFERS, 64, 4096);
		fill_rx(h->scratch + OTHER_RING, memory_address(h->scratch) + BUFFERS, N_DESC);
		set_ring(h, E1000_RDBAL, other, RING_BYTES, 0, N_DESC - 1);
		set_ring(h, base, address, bytes, head, tail);
	}
	hostile_nic_settle();
	for (uint32_t i = 0; i < 8; i++) {
		set(h, base + 0x18, tail + i * 0x1111);
		set(h, base + 0x10, head ^ i);
		set(h, base + 8, bytes << i);
		set(h, E1000_TDT, i);
	}
	hostile_nic_settle();
}

/* detail: a place. Frames from there, and into there. */
static void bad_buffer(struct hostile_nic *h, uint64_t detail)
{
	static const uint16_t lengths[] = {0, 1, 13, 14, 60, 1514, 16288, 0xffff};
	struct e1000_tx_desc *tx = (void *)h->scratch;
	struct e1000_rx_desc *rx = (void *)(h->scratch + OTHER_RING);
	uint64_t bad = hostile_nic_place(h, detail);

	fresh(h);
	fill_tx(tx, memory_address(h->scratch) + BUFFERS, 64, N_DESC);
	fill_rx(rx, memory_address(h->scratch) + BUFFERS, N_DESC);
	for (uint32_t i = 0; i < N_DESC; i++) {
		if (i % 2)
			rx[i].address = bad + i / 2;
		if (i % 3)
			continue;
		tx[i].address = bad + i;
		tx[i].command = (tx[i].command & ~0xffffu) | lengths[i / 3 % ARRAY_SIZE(lengths)];
	}
	set_ring(h, E1000_RDBAL, memory_address(rx), RING_BYTES, 0, N_DESC - 1);
	set_ring(h, E1000_TDBAL, memory_address(tx), RING_BYTES, 0, N_DESC - 1);
	hostile_nic_settle();
}

/* detail: DCMD bits of every descriptor; none ends a frame. Round and round the longest ring. */
static void endless(struct hostile_nic *h, uint64_t detail)
{
	struct e1000_tx_desc *tx = (void *)h->scratch;
	uint32_t n = 4096;

	fresh(h);
	for (uint32_t i = 0; i < n; i++) {
		tx[i].address = memory_address(h->scratch) + BUFFERS;
		tx[i].command = detail | (detail & E1000_TXD_DEXT ? 0xfffff : 0xffff);
		tx[i].status = 0;
	}
	set_ring(h, E1000_TDBAL, memory_address(tx), n * 16, 0, 0);
	for (uint32_t i = 1; i < 32; i++)
		set(h, E1000_TDT, i % 2 ? n - 1 : n / 2);
	hostile_nic_settle();
}

struct tso_case {
	uint32_t ip, tcp; /* start, offset and end of the checksums */
	uint32_t payload;
	uint16_t mss;
	uint8_t header;
};

/* A context and data that contradict each other. detail: 1: to the cable. */
static void bad_tso(struct hostile_nic *h, uint64_t detail)
{
	static const struct tso_case cases[] = {
		{0, 0, 0, 0, 0},
		{0x00210e0e, 0x00003222, 0, 0, 54},
		{0x00210e0e, 0x00003222, 65000, 0, 54},
		{0x00210e0e, 0x00003222, 0xfffff, 1, 54},
		{0x00210e0e, 0x00003222, 0xfffff, 1, 0},
		{0x00210e0e, 0x00003222, 65000, 0xffff, 255},
		{0x00210e0e, 0x00003222, 65000, 1448, 255},
		{0x00210e0e, 0x00003222, 65000, 1448, 1},
		{0xfffffefe, 0xffffffff, 65000, 1448, 54},
		{0x0000ff00, 0x0001ff00, 65000, 1448, 54},
		{0x000a1810, 0x00083828, 65000, 1448, 54},
	};
	struct e1000_tx_desc *tx = (void *)h->scratch;
	uint32_t command = E1000_TXD_DEXT | E1000_TXD_TSE;

	fresh(h);
	if (detail)
		end_loopback(h);
	set_ring(h, E1000_TDBAL, memory_address(tx), RING_BYTES, 0, 0);
	for (uint32_t i = 0; i < ARRAY_SIZE(cases) * 4; i++) {
		const struct tso_case *c = &cases[i / 4];
		uint32_t n = 4;

		tx[0].address = (uint64_t)c->tcp << 32 | c->ip;
		tx[0].command = command | E1000_TXD_TCP | (i & 1 ? E1000_TXD_IP : 0) | c->payload;
		tx[0].status = (uint32_t)c->mss << 16 | c->header << 8;
		for (uint32_t j = 1; j < n; j++) {
			tx[j].address = memory_address(h->scratch) + BUFFERS;
			tx[j].command = command | E1000_TXD_DATA | (i & 2 ? 16384 : j - 1) |
					(j == n - 1 ? E1000_TXD_EOP | E1000_TXD_RS : 0);
			tx[j].status = E1000_TXD_IXSM | E1000_TXD_TXSM;
		}
		set(h, E1000_TDH, 0);
		set(h, E1000_TDT, n);
	}
	hostile_nic_settle();
}

/* Descriptors at random, bad and good; they mean something often enough. detail: 1: to the cable. */
static void random_descriptors(struct hostile_nic *h, uint64_t detail)
{
	struct e1000_tx_desc *tx = (void *)h->scratch;
	struct e1000_rx_desc *rx = (void *)(h->scratch + OTHER_RING);

	fresh(h);
	if (detail)
		end_loopback(h);
	set_ring(h, E1000_RDBAL, memory_address(rx), RING_BYTES, 0, N_DESC - 1);
	set_ring(h, E1000_TDBAL, memory_address(tx), RING_BYTES, 0, 0);
	for (uint32_t i = 0; i < h->count; i++) {
		struct e1000_tx_desc *d = &tx[i % N_DESC];
		uint64_t r = random_next(&h->seed);

		d->address =
			r & 1 ? hostile_nic_address(h) : random_next(&h->seed) & 0x3f3f3f3f3f3f3f;
		if (!(r & 1 || r & 2))
			d->address = memory_address(h->scratch) + BUFFERS + (r >> 40);
		d->command = (r >> 8 & 0xff300000) | (r & 4 ? r >> 32 & 0xfffff : r >> 32 & 0x7ff);
		d->status = r & 8 ? random_next(&h->seed) : 0x300;
		rx[i % N_DESC].address = hostile_nic_address(h);
		if (i % 8 == 7)
			set(h, E1000_TDT, (i + 1) % N_DESC);
		if (i % 16 == 15)
			set(h, E1000_RDT, i % N_DESC);
		if (i % 100 == 99)
			set(h, E1000_RCTL, (random_next(&h->seed) & 0x07ffffff) | E1000_RCTL_EN);
	}
	hostile_nic_settle();
}

/*
 * The card's receiver writes over both rings while it sends from them: descriptors change under it.
 */
static void into_itself(struct hostile_nic *h, uint64_t detail)
{
	struct e1000_tx_desc *tx = (void *)h->scratch;

	fresh(h);
	fill_tx(tx, memory_address(tx), detail, N_DESC);
	fill_rx(h->scratch + RING_BYTES, memory_address(tx), N_DESC);
	set_ring(h, E1000_RDBAL, memory_address(tx) + (detail & 1 ? 0 : RING_BYTES), RING_BYTES, 0,
		 N_DESC - 1);
	set_ring(h, E1000_TDBAL, memory_address(tx), RING_BYTES, 0, 0);
	for (uint32_t i = 0; i < 32; i++) {
		set(h, E1000_TDT, i % 2 ? N_DESC - 1 : N_DESC / 2);
		set(h, E1000_RDT, i % 2 ? 0 : N_DESC - 1);
	}
	hostile_nic_settle();
}

/* Bit-banging with no protocol in it, words that aren't there, a PHY that isn't there. */
static void eeprom_and_phy(struct hostile_nic *h, uint64_t detail)
{
	for (uint32_t i = 0; i < h->count; i++) {
		uint64_t r = random_next(&h->seed);

		switch (r >> 62) {
		case 0:
		case 1:
			set(h, E1000_EECD, r & 0xff);
			hostile_nic_load(h, E1000_EECD, 4);
			break;
		case 2:
			set(h, E1000_EERD, r & 0xffffffff);
			hostile_nic_load(h, E1000_EERD, 4);
			break;
		default:
			set(h, E1000_MDIC, r & 0xffffffff);
			hostile_nic_load(h, E1000_MDIC, 4);
		}
	}
}

/* All causes at all times, with every timer at its shortest and longest. */
static void interrupts(struct hostile_nic *h, uint64_t detail)
{
	static const uint32_t timers[] = {0x00c4, 0x2820, 0x282c, 0x3820, 0x382c};

	fresh(h);
	fill_tx(h->scratch, memory_address(h->scratch) + BUFFERS, 64 | 0x80000000, N_DESC);
	fill_rx(h->scratch + OTHER_RING, memory_address(h->scratch) + BUFFERS, N_DESC);
	set_ring(h, E1000_RDBAL, memory_address(h->scratch) + OTHER_RING, RING_BYTES, 0, 1);
	set_ring(h, E1000_TDBAL, memory_address(h->scratch), RING_BYTES, 0, 0);
	for (uint32_t i = 0; i < 200; i++) {
		uint64_t r = random_next(&h->seed);

		set(h, timers[r % ARRAY_SIZE(timers)], r >> 60 ? r >> 56 : ~0u);
		set(h, E1000_IMS, ~0u);
		set(h, E1000_ICS, r >> 32);
		set(h, E1000_TDT, i % N_DESC);
		set(h, E1000_RDT, i % N_DESC);
		if (i % 3)
			hostile_nic_load(h, E1000_ICR, 4);
	}
	hostile_nic_settle();
	set(h, E1000_IMC, ~0u);
}

/* Bus mastering and memory decoding come and go under it, and the card is reset while it sends. */
static void pulled_away(struct hostile_nic *h, uint64_t detail)
{
	for (uint32_t i = 0; i < 8; i++) {
		fresh(h);
		fill_tx(h->scratch, memory_address(h->scratch) + BUFFERS, 64, N_DESC);
		fill_rx(h->scratch + OTHER_RING, memory_address(h->scratch) + BUFFERS, N_DESC);
		set_ring(h, E1000_RDBAL, memory_address(h->scratch) + OTHER_RING, RING_BYTES, 0,
			 N_DESC - 1);
		pci_command(h->pci, 0, PCI_COMMAND_MASTER);
		set_ring(h, E1000_TDBAL, memory_address(h->scratch), RING_BYTES, 0, 32);
		pci_command(h->pci, PCI_COMMAND_MASTER, PCI_COMMAND_MEMORY);
		set(h, E1000_TDT, 40);
		pci_command(h->pci, PCI_COMMAND_MEMORY, 0);
		set(h, E1000_TDT, 50);
		set(h, E1000_CTRL, E1000_CTRL_RST);
		set(h, E1000_TDT, 60);
	}
}

const struct hostile_nic_case hostile_e1000_cases[] = {
	{"tx-ring-empty", bad_ring, RING_CASE(0, IN_SCRATCH, 0, 0, 5)},
	{"tx-ring-in-hole", bad_ring, RING_CASE(0, IN_HOLE, 256, 0, 255)},
	{"tx-ring-in-bar", bad_ring, RING_CASE(0, IN_BAR, 256, 0, 255)},
	{"tx-ring-past-end", bad_ring, RING_CASE(0, AT_END, 256, 0, 255)},
	{"tx-ring-wraps", bad_ring, RING_CASE(0, AT_WRAP, 256, 0, 255)},
	{"tx-ring-longest", bad_ring, RING_CASE(0, IN_SCRATCH, 0xffff, 0, 0xffff)},
	{"tx-tail-too-far", bad_ring, RING_CASE(0, IN_SCRATCH, 8, 0, 0xffff)},
	{"tx-head-too-far", bad_ring, RING_CASE(0, IN_SCRATCH, 8, 0xffff, 0)},
	{"tx-both-too-far", bad_ring, RING_CASE(0, IN_SCRATCH, 8, 0x8000, 0xf000)},
	{"rx-ring-empty", bad_ring, RING_CASE(1, IN_SCRATCH, 0, 0, 5)},
	{"rx-ring-in-hole", bad_ring, RING_CASE(1, IN_HOLE, 256, 0, 255)},
	{"rx-ring-in-bar", bad_ring, RING_CASE(1, IN_BAR, 256, 0, 255)},
	{"rx-ring-past-end", bad_ring, RING_CASE(1, AT_END, 256, 0, 255)},
	{"rx-ring-wraps", bad_ring, RING_CASE(1, AT_WRAP, 256, 0, 255)},
	{"rx-ring-longest", bad_ring, RING_CASE(1, IN_SCRATCH, 0xffff, 0, 0xffff)},
	{"rx-tail-too-far", bad_ring, RING_CASE(1, IN_SCRATCH, 8, 0, 0xffff)},
	{"rx-head-too-far", bad_ring, RING_CASE(1, IN_SCRATCH, 8, 0xffff, 0)},
	{"buffer-in-hole", bad_buffer, IN_HOLE},
	{"buffer-in-bar", bad_buffer, IN_BAR},
	{"buffer-past-end", bad_buffer, AT_END},
	{"buffer-wraps", bad_buffer, AT_WRAP},
	{"endless-legacy", endless, 0},
	{"endless-data", endless, E1000_TXD_DEXT | E1000_TXD_DATA},
	{"endless-tso", endless, E1000_TXD_DEXT | E1000_TXD_DATA | E1000_TXD_TSE},
	{"endless-contexts", endless, E1000_TXD_DEXT},
	{"tso-out", bad_tso, 1},
	{"tso-looped", bad_tso, 0},
	{"descriptors-out", random_descriptors, 1},
	{"descriptors-looped", random_descriptors, 0},
	{"itself-small", into_itself, 64},
	{"itself-large", into_itself, 1024},
	{"itself-one-ring", into_itself, 65},
	{"eeprom", eeprom_and_phy, 0},
	{"interrupts", interrupts, 0},
	{"pulled-away", pulled_away, 0},
	{NULL, NULL, 0},
};
