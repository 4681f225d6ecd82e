/*
 * Hostile cases for the RTL8139, in classic and C+ mode: see hostile_nic.h. All that the card may write
 * to lies in scratch memory.
 *
 *	scratch + 0        a ring of descriptors
 *	        + 256 KiB  another, or the receive ring
 *	        + 512 KiB  what is sent, and received into
 */
#include <linux/pci_regs.h>

#include "clock.h"
#include "hostile_nic.h"
#include "lib.h"
#include "memory.h"
#include "rtl8139.h"

#define OTHER_RING 0x40000
#define BUFFERS	   0x80000
#define N_DESC	   64

#define DTCCR	   0x10 /* 64 bits, C+: where the tally counters go */
#define DTCCR_CMD  0x08
#define TCR_LBK	   0x60000
#define TPPOLL_NPQ 0x40
#define TPPOLL_HPQ 0x80
#define OWN	   0x80000000
#define EOR	   0x40000000
#define FS	   0x20000000
#define LS	   0x10000000
#define LGSEN	   0x08000000

struct descriptor {
	volatile uint32_t command, vlan;
	volatile uint64_t address;
};

static void set8(struct hostile_nic *h, uint32_t offset, uint32_t value)
{
	hostile_nic_store(h, offset, 1, value);
}

static void set16(struct hostile_nic *h, uint32_t offset, uint32_t value)
{
	hostile_nic_store(h, offset, 2, value);
}

static void set32(struct hostile_nic *h, uint32_t offset, uint32_t value)
{
	hostile_nic_store(h, offset, 4, value);
}

static void set64(struct hostile_nic *h, uint32_t offset, uint64_t value)
{
	set32(h, offset + 4, value >> 32);
	set32(h, offset, value);
}

/* Reset, all on, everything let in, loopback: there is something to receive. */
static void fresh(struct hostile_nic *h, bool cplus)
{
	set8(h, RTL8139_CR, RTL8139_CR_RST);
	set8(h, RTL8139_9346CR, 0xc0);
	if (cplus)
		set16(h, RTL8139_CPCR, 0x2b);
	set8(h, RTL8139_CR, RTL8139_CR_RE | RTL8139_CR_TE);
	set32(h, RTL8139_TCR, RTL8139_TCR_IFG | RTL8139_TCR_MXDMA | TCR_LBK);
	set32(h, RTL8139_RCR, 0xf | RTL8139_RCR_MXDMA | RTL8139_RCR_RXFTH);
}

/* Classic: frames from there, the receive ring there. */
static void classic_place(struct hostile_nic *h, uint64_t detail)
{
	static const uint16_t lengths[] = {0, 1, 13, 60, 1514, 1792, 1793, 0x1fff};

	for (uint32_t rx = 0; rx < 2; rx++) {
		fresh(h, false);
		set32(h, RTL8139_RBSTART,
		      rx ? hostile_nic_place(h, detail) : memory_address(h->scratch) + OTHER_RING);
		for (uint32_t i = 0; i < 32; i++) {
			set32(h, RTL8139_TSA + 4 * (i % 4),
			      (rx ? memory_address(h->scratch) : hostile_nic_place(h, detail)) +
				      i / 4);
			set32(h, RTL8139_TSD + 4 * (i % 4), lengths[i % ARRAY_SIZE(lengths)]);
		}
		hostile_nic_settle();
	}
}

/* Classic: the driver says that it has read what never came, and makes the ring grow and shrink. */
static void classic_ring(struct hostile_nic *h, uint64_t detail)
{
	fresh(h, false);
	set32(h, RTL8139_RBSTART, memory_address(h->scratch) + OTHER_RING);
	for (uint32_t i = 0; i < 4; i++)
		set32(h, RTL8139_TSA + 4 * i, memory_address(h->scratch) + BUFFERS);
	for (uint32_t i = 0; i < h->count / 2; i++) {
		uint64_t r = random_next(&h->seed);

		set16(h, RTL8139_CAPR, r >> 16);
		if (r % 7 == 0)
			set16(h, RTL8139_CBR, r >> 32);
		if (r % 5 == 0)
			set32(h, RTL8139_RCR, (r >> 20 & 0x1880) | 0xf);
		set32(h, RTL8139_TSD + 4 * (i % 4), (r >> 48 & 0x3ff) | (r >> 40 & 0x3f0000));
		if (r % 11 == 0)
			set32(h, RTL8139_RBSTART, hostile_nic_address(h));
	}
	hostile_nic_settle();
}

/* Loopback into the buffer that is being sent, and into the ring's own middle. */
static void classic_itself(struct hostile_nic *h, uint64_t detail)
{
	fresh(h, false);
	set32(h, RTL8139_RBSTART, memory_address(h->scratch));
	for (uint32_t i = 0; i < 256; i++) {
		set32(h, RTL8139_TSA + 4 * (i % 4), memory_address(h->scratch) + i * 64);
		set32(h, RTL8139_TSD + 4 * (i % 4), 1792);
		if (i % 16 == 15)
			set16(h, RTL8139_CAPR, i * 97);
	}
	hostile_nic_settle();
}

static void fill(struct hostile_nic *h, uint32_t offset, uint32_t command, uint64_t address,
		 uint32_t n)
{
	struct descriptor *d = (void *)(h->scratch + offset);

	for (uint32_t i = 0; i < n; i++) {
		d[i].command = command;
		d[i].vlan = 0;
		d[i].address = address;
	}
}

static void set_rings(struct hostile_nic *h, uint64_t tx, uint64_t rx)
{
	set64(h, RTL8139_RDSAR, rx);
	set64(h, RTL8139_TNPDS, tx);
	set64(h, RTL8139_THPDS, tx);
}

static void poll(struct hostile_nic *h, uint32_t n)
{
	for (uint32_t i = 0; i < n; i++)
		set8(h, RTL8139_TPPOLL, i % 2 ? TPPOLL_NPQ : TPPOLL_NPQ | TPPOLL_HPQ);
	hostile_nic_settle();
}

/* C+: the rings there. detail bit 8: the receive ring, else the one that is sent from. */
static void cplus_ring(struct hostile_nic *h, uint64_t detail)
{
	uint64_t scratch = memory_address(h->scratch), bad = hostile_nic_place(h, detail & 0xff);

	fresh(h, true);
	fill(h, 0, OWN | FS | LS | 64, scratch + BUFFERS, N_DESC);
	fill(h, OTHER_RING, OWN | 2048, scratch + BUFFERS, N_DESC);
	if (detail & 0x100)
		set_rings(h, scratch, bad);
	else
		set_rings(h, bad, scratch + OTHER_RING);
	poll(h, 16);
}

/* C+: frames from there and into there, of every length. */
static void cplus_buffer(struct hostile_nic *h, uint64_t detail)
{
	uint64_t scratch = memory_address(h->scratch), bad = hostile_nic_place(h, detail);
	struct descriptor *tx = (void *)h->scratch, *rx = (void *)(h->scratch + OTHER_RING);

	fresh(h, true);
	fill(h, 0, OWN | FS | LS | 64, scratch + BUFFERS, N_DESC);
	fill(h, OTHER_RING, OWN | 2048, scratch + BUFFERS, N_DESC);
	for (uint32_t i = 0; i < N_DESC; i++) {
		if (i % 2)
			rx[i].address = bad;
		if (i % 5 == 4)
			rx[i].command = OWN | (i % 3);
		if (i % 3)
			continue;
		tx[i].address = bad + i;
		tx[i].command = OWN | FS | LS | (1u << i / 3 % 17) >> 1;
	}
	tx[N_DESC - 1].command |= EOR;
	rx[N_DESC - 1].command |= EOR;
	set_rings(h, scratch, scratch + OTHER_RING);
	poll(h, 8);
}

/*
 * C+: detail is every descriptor's first word. All are the card's, all the time: what it gives back
 * is given to it again, and none ends the frame, or none ends the ring.
 */
static void cplus_endless(struct hostile_nic *h, uint64_t detail)
{
	uint64_t scratch = memory_address(h->scratch);

	fresh(h, true);
	fill(h, OTHER_RING, OWN | 2048, scratch + BUFFERS, N_DESC);
	for (uint32_t i = 0; i < 32; i++) {
		/* 16384 descriptors: no ring of the card's is that long. */
		fill(h, 0, detail, scratch + BUFFERS, OTHER_RING / sizeof(struct descriptor));
		if (!i)
			set_rings(h, scratch, scratch + OTHER_RING);
		set8(h, RTL8139_TPPOLL, TPPOLL_NPQ);
	}
	hostile_nic_settle();
}

/* C+: large send of what has no headers, or the wrong ones, or more headers than frame. */
static void cplus_large_send(struct hostile_nic *h, uint64_t detail)
{
	static const uint8_t ihl[] = {0x40, 0x45, 0x4f, 0x60, 0x00}, thl[] = {0, 0x50, 0xf0};
	static const uint16_t lengths[] = {0, 13, 14, 33, 34, 53, 54, 55, 1514, 65535};
	static const uint16_t mss[] = {0, 1, 1448, 2047};
	struct descriptor *tx = (void *)h->scratch;
	uint8_t *frame = h->scratch + BUFFERS;

	fresh(h, true);
	set_rings(h, memory_address(tx), memory_address(h->scratch) + OTHER_RING);
	for (uint32_t i = 0; i < ARRAY_SIZE(lengths) * 60; i++) {
		memset(frame, 0, 64);
		frame[12] = 8;
		frame[14] = ihl[i % ARRAY_SIZE(ihl)];
		frame[16] = i % 2 ? 0xff : 0;
		frame[23] = i % 4 ? 6 : 17;
		frame[34 + 12] = thl[i / 5 % ARRAY_SIZE(thl)];
		tx->address = memory_address(frame);
		tx->command = OWN | EOR | FS | LS | LGSEN |
			      (uint32_t)mss[i / 15 % ARRAY_SIZE(mss)] << 16 | lengths[i / 60];
		set8(h, RTL8139_TPPOLL, TPPOLL_NPQ);
	}
	hostile_nic_settle();
}

static void cplus_random(struct hostile_nic *h, uint64_t detail)
{
	struct descriptor *tx = (void *)h->scratch, *rx = (void *)(h->scratch + OTHER_RING);

	fresh(h, true);
	set_rings(h, memory_address(tx), memory_address(rx));
	for (uint32_t i = 0; i < h->count; i++) {
		uint64_t r = random_next(&h->seed);

		tx[i % N_DESC].address =
			r & 1 ? hostile_nic_address(h) : memory_address(h->scratch) + BUFFERS;
		tx[i % N_DESC].command = (uint32_t)(r >> 32) | (r & 6 ? OWN : 0);
		rx[i % N_DESC].address = hostile_nic_address(h);
		rx[i % N_DESC].command = (uint32_t)(r >> 16) | OWN;
		if (i % 8 == 7)
			set8(h, RTL8139_TPPOLL, r >> 8);
		if (i % 50 == 49) {
			set16(h, RTL8139_CPCR, r >> 24 & 0x7f);
			set8(h, RTL8139_CR, RTL8139_CR_RE | RTL8139_CR_TE);
		}
		if (i % 70 == 69)
			set64(h, DTCCR, (hostile_nic_address(h) & -64ull) | DTCCR_CMD);
	}
	hostile_nic_settle();
}

/* C+: what comes in is written over both rings while they are worked off. */
static void cplus_itself(struct hostile_nic *h, uint64_t detail)
{
	uint64_t scratch = memory_address(h->scratch);

	fresh(h, true);
	for (uint32_t i = 0; i < 32; i++) {
		fill(h, 0, OWN | FS | LS | detail, scratch, N_DESC);
		fill(h, N_DESC * 16, OWN | 2048, scratch, N_DESC);
		set_rings(h, scratch, i % 2 ? scratch : scratch + N_DESC * 16);
		poll(h, 1);
	}
}

/* Bit-banging with no protocol in it, autoload, counters dumped where there is no memory. */
static void eeprom_and_tally(struct hostile_nic *h, uint64_t detail)
{
	for (uint32_t i = 0; i < h->count; i++) {
		uint64_t r = random_next(&h->seed);

		set8(h, RTL8139_9346CR, i % 8 ? 0x80 | (r & 0xf) : r);
		hostile_nic_load(h, RTL8139_9346CR, 1);
		if (i % 16)
			continue;
		set64(h, DTCCR, hostile_nic_place(h, r % 6) | (r >> 32 & 0x3f) | DTCCR_CMD);
		hostile_nic_load(h, DTCCR, 4);
	}
}

/* The timer at its shortest, all causes enabled, never acknowledged, then all the time. */
static void interrupts(struct hostile_nic *h, uint64_t detail)
{
	uint64_t start = clock_ns();

	fresh(h, false);
	set32(h, RTL8139_RBSTART, memory_address(h->scratch) + OTHER_RING);
	set16(h, RTL8139_IMR, 0xffff);
	set32(h, RTL8139_TIMERINT, 1);
	while (clock_ns() - start < 20 * NS_PER_MS) {
		set32(h, RTL8139_TCTR, 0);
		set16(h, RTL8139_ISR, 0xffff);
		set32(h, RTL8139_TSA, memory_address(h->scratch) + BUFFERS);
		set32(h, RTL8139_TSD, 64);
		set32(h, RTL8139_TIMERINT, random_next(&h->seed) % 4);
	}
	set16(h, RTL8139_IMR, 0);
}

/* Bus mastering and memory decoding come and go under it, and the card is reset while it sends. */
static void pulled_away(struct hostile_nic *h, uint64_t detail)
{
	uint64_t scratch = memory_address(h->scratch);

	for (uint32_t i = 0; i < 8; i++) {
		fresh(h, true);
		fill(h, 0, OWN | FS | LS | 64, scratch + BUFFERS, N_DESC);
		fill(h, OTHER_RING, OWN | 2048, scratch + BUFFERS, N_DESC);
		pci_command(h->pci, 0, PCI_COMMAND_MASTER);
		set_rings(h, scratch, scratch + OTHER_RING);
		set8(h, RTL8139_TPPOLL, TPPOLL_NPQ);
		pci_command(h->pci, PCI_COMMAND_MASTER, PCI_COMMAND_MEMORY);
		set8(h, RTL8139_TPPOLL, TPPOLL_NPQ);
		pci_command(h->pci, PCI_COMMAND_MEMORY, 0);
		set8(h, RTL8139_TPPOLL, TPPOLL_NPQ);
		set8(h, RTL8139_CR, RTL8139_CR_RST);
		set8(h, RTL8139_TPPOLL, TPPOLL_NPQ);
		set32(h, RTL8139_TSD, 64);
	}
}

const struct hostile_nic_case hostile_rtl8139_cases[] = {
	{"classic-in-hole", classic_place, IN_HOLE},
	{"classic-in-bar", classic_place, IN_BAR},
	{"classic-past-end", classic_place, AT_END},
	{"classic-wraps", classic_place, AT_WRAP32},
	{"classic-ring", classic_ring, 0},
	{"classic-itself", classic_itself, 0},
	{"cplus-tx-ring-in-hole", cplus_ring, IN_HOLE},
	{"cplus-tx-ring-in-bar", cplus_ring, IN_BAR},
	{"cplus-tx-ring-past-end", cplus_ring, AT_END},
	{"cplus-tx-ring-wraps32", cplus_ring, AT_WRAP32},
	{"cplus-tx-ring-wraps", cplus_ring, AT_WRAP},
	{"cplus-rx-ring-in-hole", cplus_ring, 0x100 | IN_HOLE},
	{"cplus-rx-ring-in-bar", cplus_ring, 0x100 | IN_BAR},
	{"cplus-rx-ring-past-end", cplus_ring, 0x100 | AT_END},
	{"cplus-rx-ring-wraps", cplus_ring, 0x100 | AT_WRAP},
	{"cplus-buffer-in-hole", cplus_buffer, IN_HOLE},
	{"cplus-buffer-in-bar", cplus_buffer, IN_BAR},
	{"cplus-buffer-past-end", cplus_buffer, AT_END},
	{"cplus-buffer-wraps", cplus_buffer, AT_WRAP},
	{"cplus-endless-frame", cplus_endless, OWN | 0xffff},
	{"cplus-endless-ring", cplus_endless, OWN | FS | LS | 64},
	{"cplus-endless-empty", cplus_endless, OWN},
	{"cplus-endless-one", cplus_endless, OWN | EOR | FS | 1},
	{"cplus-large-send", cplus_large_send, 0},
	{"cplus-descriptors", cplus_random, 0},
	{"cplus-itself-small", cplus_itself, 64},
	{"cplus-itself-large", cplus_itself, 1500},
	{"eeprom", eeprom_and_tally, 0},
	{"interrupts", interrupts, 0},
	{"pulled-away", pulled_away, 0},
	{NULL, NULL, 0},
};
