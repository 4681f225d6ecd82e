/*
 * Hostile cases for the PCnet-PCI (AMD's datasheet of the Am79C970A): see hostile_nic.h. Registers
 * are reached as double words, descriptors are of style 2.
 *
 *	scratch + 0        the initialization block
 *	        + 64 KiB   the transmit ring
 *	        + 128 KiB  the receive ring
 *	        + 512 KiB  what is sent, and received into
 */
#include "clock.h"
#include "hostile_nic.h"
#include "lib.h"
#include "memory.h"

#define TX_RING 0x10000
#define RX_RING 0x20000
#define BUFFERS 0x80000
#define N_LOG	9 /* descriptors of each ring: 512, the most that the block can ask for */

#define RDP   0x10
#define RAP   0x14
#define RESET 0x18
#define BDP   0x1c

#define CSR0_INIT	  0x001
#define CSR0_STRT	  0x002
#define CSR0_STOP	  0x004
#define CSR0_TDMD	  0x008
#define CSR0_IDON	  0x100
#define CSR4_DMAPLUS_APAD 0x4915 /* as drivers set it: padding, counters masked */
#define MODE_PROM	  0x8000
#define MODE_LOOP	  0x0044 /* internal loopback */
#define STYLE_2		  0x102

#define OWN	0x80000000
#define STP	0x02000000
#define ENP	0x01000000
#define BCNT(n) (0xf000 | (-(n)&0xfff))

static void csr(struct hostile_nic *h, uint32_t number, uint32_t value)
{
	hostile_nic_store(h, RAP, 4, number);
	hostile_nic_store(h, RDP, 4, value);
}

static void bcr(struct hostile_nic *h, uint32_t number, uint32_t value)
{
	hostile_nic_store(h, RAP, 4, number);
	hostile_nic_store(h, BDP, 4, value);
}

/* Reset, by the register's place in either mode of access; then double words, by a first store to RDP. */
static void fresh(struct hostile_nic *h)
{
	hostile_nic_load(h, RESET, 4);
	hostile_nic_load(h, 0x14, 2);
	hostile_nic_store(h, RDP, 4, 0);
	bcr(h, 20, STYLE_2);
	csr(h, 4, CSR4_DMAPLUS_APAD);
}

static uint32_t *word(struct hostile_nic *h, uint32_t offset)
{
	return (uint32_t *)(h->scratch + offset);
}

/* Both rings, every descriptor alike. */
static void fill_rings(struct hostile_nic *h, uint32_t tx_flags, uint64_t tx, uint64_t rx)
{
	for (uint32_t i = 0; i < 1u << N_LOG; i++) {
		uint32_t *t = word(h, TX_RING + 16 * i), *r = word(h, RX_RING + 16 * i);

		t[0] = tx;
		t[1] = tx_flags;
		t[2] = 0;
		r[0] = rx;
		r[1] = OWN | BCNT(1536);
		r[2] = 0;
	}
}

static void fill_block(struct hostile_nic *h, uint32_t mode, uint32_t tx_ring, uint32_t rx_ring)
{
	uint32_t *b = word(h, 0);

	b[0] = mode | N_LOG << 20 | (uint32_t)N_LOG << 28;
	b[1] = 0x00000052;
	b[2] = 0;
	b[3] = b[4] = ~0u;
	b[5] = rx_ring;
	b[6] = tx_ring;
}

static void start(struct hostile_nic *h, uint32_t block)
{
	csr(h, 1, block & 0xffff);
	csr(h, 2, block >> 16);
	csr(h, 0, CSR0_INIT);
	hostile_nic_settle();
	csr(h, 0, CSR0_STRT | CSR0_TDMD);
}

/* Tells it to send, often. */
static void demand(struct hostile_nic *h)
{
	for (uint32_t i = 0; i < 32; i++)
		csr(h, 0, CSR0_TDMD);
	hostile_nic_settle();
}

/* detail: a place; of the block, the rings and the buffers in turn. */
static void bad_place(struct hostile_nic *h, uint64_t detail)
{
	uint32_t bad = hostile_nic_place(h, detail), good = memory_address(h->scratch);

	for (uint32_t what = 0; what < 5; what++) {
		fresh(h);
		fill_rings(h, OWN | STP | ENP | BCNT(64), what == 3 ? bad : good + BUFFERS,
			   what == 4 ? bad : good + BUFFERS);
		fill_block(h, MODE_PROM | (what == 4 ? MODE_LOOP : 0),
			   what == 1 ? bad : good + TX_RING, what == 2 ? bad : good + RX_RING);
		start(h, what ? good : bad);
		demand(h);
	}
}

/* detail: every transmit descriptor's flags. The card's all the time, and no frame ends. */
static void endless(struct hostile_nic *h, uint64_t detail)
{
	uint32_t good = memory_address(h->scratch);

	fresh(h);
	fill_rings(h, detail, good + BUFFERS, good + BUFFERS);
	fill_block(h, MODE_PROM, good + TX_RING, good + RX_RING);
	start(h, good);
	for (uint32_t i = 0; i < 8; i++) {
		fill_rings(h, detail, good + BUFFERS, good + BUFFERS);
		demand(h);
	}
}

/* Lengths and places of the rings are changed under it, lengths of 0 and of 65536 among them. */
static void lengths(struct hostile_nic *h, uint64_t detail)
{
	static const uint16_t values[] = {0, 1, 0xffff, 0x8000, 0x7fff};
	uint32_t good = memory_address(h->scratch);

	for (uint32_t i = 0; i < ARRAY_SIZE(values) * 2; i++) {
		fresh(h);
		fill_rings(h, OWN | STP | ENP | BCNT(64), good + BUFFERS, good + BUFFERS);
		fill_block(h, MODE_PROM | MODE_LOOP, good + TX_RING, good + RX_RING);
		start(h, good);
		csr(h, 0, CSR0_STOP);
		csr(h, i % 2 ? 76 : 78, values[i / 2]);
		csr(h, 0, CSR0_STRT);
		demand(h);
	}
}

/* What comes in goes over the ring that it is sent from. */
static void itself(struct hostile_nic *h, uint64_t detail)
{
	uint32_t good = memory_address(h->scratch);

	for (uint32_t i = 0; i < 8; i++) {
		fresh(h);
		fill_rings(h, OWN | STP | ENP | BCNT(1500), good + TX_RING, good + TX_RING);
		fill_block(h, MODE_PROM | MODE_LOOP, good + TX_RING,
			   good + (i % 2 ? TX_RING : RX_RING));
		start(h, good);
		demand(h);
	}
}

/* Control registers at random while it runs, but for those that hold pieces of addresses or the style. */
static void random_csrs(struct hostile_nic *h, uint64_t detail)
{
	uint32_t good = memory_address(h->scratch);

	fresh(h);
	fill_rings(h, OWN | STP | ENP | BCNT(64), good + BUFFERS, good + BUFFERS);
	fill_block(h, MODE_PROM, good + TX_RING, good + RX_RING);
	start(h, good);
	for (uint32_t i = 0; i < h->count / 2; i++) {
		uint64_t r = random_next(&h->seed);
		uint32_t number = r % 128;

		if (number == 1 || number == 2 || (number >= 16 && number <= 39) || number == 58 ||
		    (number >= 60 && number <= 65) || number == 84 || number == 85)
			number = 0;
		if (r >> 63)
			csr(h, number, r >> 16 & 0xffff);
		else if (number % 32 != 20)
			bcr(h, number % 32, r >> 16 & 0xffff);
		hostile_nic_load(h, i % 2 ? RDP : BDP, 4);
	}
	hostile_nic_settle();
}

const struct hostile_nic_case hostile_pcnet_cases[] = {
	{"in-hole", bad_place, IN_HOLE},
	{"in-bar", bad_place, IN_BAR},
	{"past-end", bad_place, AT_END},
	{"wraps", bad_place, AT_WRAP32},
	{"endless", endless, OWN | BCNT(4096)},
	{"endless-starts", endless, OWN | STP | BCNT(1500)},
	{"endless-empty", endless, OWN | 0xf000},
	{"endless-ends", endless, OWN | ENP | BCNT(1)},
	{"lengths", lengths, 0},
	{"itself", itself, 0},
	{"registers", random_csrs, 0},
	{NULL, NULL, 0},
};

const char *hostile_pcnet_prove(struct hostile_nic *h)
{
	uint32_t good = memory_address(h->scratch);
	volatile uint32_t *flags = word(h, TX_RING + 4);
	uint64_t begin;

	fresh(h);
	fill_rings(h, 0, good + BUFFERS, good + BUFFERS + 4096);
	hostile_nic_frame(h->scratch + BUFFERS);
	*flags = OWN | STP | ENP | BCNT(64);
	fill_block(h, 0, good + TX_RING, good + RX_RING);
	start(h, good);
	begin = clock_ns();
	while (*flags & OWN)
		if (clock_ns() - begin > NS_PER_S)
			return "does-not-send";
	hostile_nic_load(h, RESET, 4);
	return NULL;
}
