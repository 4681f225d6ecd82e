/*
 * Hostile cases for the NE2000 on PCI (datasheets of the RTL8029AS and the DP8390D): see
 * hostile_nic.h. The card has memory of its own and uses none of the guest's; everything goes through
 * ports.
 */
#include "clock.h"
#include "hostile_nic.h"
#include "lib.h"

enum {
	CR = 0x00,
	PSTART = 0x01,
	PSTOP = 0x02,
	BNRY = 0x03,
	TPSR = 0x04,
	TBCR = 0x05, /* two bytes; ISR is between them and the next */
	ISR = 0x07,
	RSAR = 0x08,
	RBCR = 0x0a,
	RCR = 0x0c,
	TCR = 0x0d,
	DCR = 0x0e,
	IMR = 0x0f,
	DATA = 0x10,
	RESET = 0x1f,
	CURR = 0x07, /* of page 1 */
};

#define CR_STOP	   0x21
#define CR_START   0x22
#define CR_PAGE1   0x61
#define CR_READ	   0x0a
#define CR_WRITE   0x12
#define CR_SEND	   0x26
#define ISR_PTX	   0x02
#define LOOPBACK   0x02 /* of TCR: internal */
#define TX_PAGE	   0x40
#define RX_PAGE	   0x46
#define END_PAGE   0x80
#define EVERYTHING 0x1f

static void set(struct hostile_nic *h, uint32_t offset, uint32_t value)
{
	hostile_nic_store(h, offset, 1, value);
}

static void set_ring(struct hostile_nic *h, uint8_t start, uint8_t stop, uint8_t boundary,
		     uint8_t current)
{
	set(h, CR, CR_STOP);
	set(h, PSTART, start);
	set(h, PSTOP, stop);
	set(h, BNRY, boundary);
	set(h, CR, CR_PAGE1);
	set(h, CURR, current);
	set(h, CR, CR_STOP);
}

static void fresh(struct hostile_nic *h)
{
	set(h, RESET, hostile_nic_load(h, RESET, 1));
	set(h, CR, CR_STOP);
	set(h, DCR, 0x49);
	set(h, RBCR, 0);
	set(h, RBCR + 1, 0);
	set(h, RCR, EVERYTHING);
	set(h, TCR, LOOPBACK);
	set_ring(h, RX_PAGE, END_PAGE, RX_PAGE, RX_PAGE + 1);
	set(h, ISR, 0xff);
	set(h, IMR, 0);
	set(h, CR, CR_START);
}

static void remote(struct hostile_nic *h, uint16_t address, uint16_t bytes, uint8_t what)
{
	set(h, RSAR, address);
	set(h, RSAR + 1, address >> 8);
	set(h, RBCR, bytes);
	set(h, RBCR + 1, bytes >> 8);
	set(h, CR, what);
}

static void send(struct hostile_nic *h, uint8_t page, uint16_t bytes)
{
	set(h, TPSR, page);
	set(h, TBCR, bytes);
	set(h, TBCR + 1, bytes >> 8);
	set(h, CR, CR_SEND);
}

/* The data port, over the ends of the card's memory and of the address range, in all widths. */
static void data_port(struct hostile_nic *h, uint64_t detail)
{
	static const uint16_t addresses[] = {0, 0x1f, 0x20, 0x3fff, 0x7ffe, 0x7fff, 0x8000, 0xffff};

	fresh(h);
	for (uint32_t i = 0; i < ARRAY_SIZE(addresses) * 4; i++) {
		set(h, DCR, i % 2 ? 0x48 : 0x49);
		remote(h, addresses[i / 4], i % 3 ? 0xffff : i, i & 2 ? CR_READ : CR_WRITE);
		for (uint32_t j = 0; j < 12; j++) {
			if (i & 2)
				hostile_nic_load(h, DATA, 1u << j % 3);
			else
				hostile_nic_store(h, DATA, 1u << j % 3, 0x5a5a5a5a);
		}
	}
}

/* Rings upside down, empty, past the card's memory, with pointers that aren't in them, while frames come. */
static void rings(struct hostile_nic *h, uint64_t detail)
{
	static const uint8_t bad[][4] = {
		{0x46, 0x46, 0x46, 0x46}, {0x80, 0x46, 0x46, 0x47}, {0x00, 0x00, 0x00, 0x00},
		{0x00, 0xff, 0x00, 0x01}, {0xff, 0xff, 0xff, 0xff}, {0x46, 0x80, 0xff, 0x47},
		{0x46, 0x80, 0x46, 0xff}, {0x46, 0x80, 0x00, 0x80}, {0x46, 0x80, 0x47, 0x7f},
		{0x7f, 0x80, 0x7f, 0x7f}, {0xf0, 0xff, 0xf0, 0xfe}, {0x46, 0x47, 0x46, 0x46},
	};

	for (uint32_t i = 0; i < ARRAY_SIZE(bad); i++) {
		fresh(h);
		set_ring(h, bad[i][0], bad[i][1], bad[i][2], bad[i][3]);
		set(h, CR, CR_START);
		for (uint32_t j = 0; j < 8; j++) {
			set(h, TCR, j % 4 < 2 ? LOOPBACK : 0);
			send(h, TX_PAGE, 60 + 200 * j);
			set(h, BNRY, bad[i][j % 4]);
		}
		hostile_nic_settle();
	}
}

static void lengths(struct hostile_nic *h, uint64_t detail)
{
	static const uint16_t sizes[] = {0, 1, 13, 59, 1514, 1518, 1519, 0x3fff, 0xffff};
	static const uint8_t pages[] = {0, 0x3f, 0x40, 0x7f, 0x80, 0xff};

	fresh(h);
	for (uint32_t i = 0; i < ARRAY_SIZE(sizes) * ARRAY_SIZE(pages); i++) {
		set(h, TCR, i % 2 ? LOOPBACK : 0);
		send(h, pages[i % ARRAY_SIZE(pages)], sizes[i / ARRAY_SIZE(pages)]);
	}
	hostile_nic_settle();
}

static void random_registers(struct hostile_nic *h, uint64_t detail)
{
	fresh(h);
	for (uint32_t i = 0; i < h->count; i++) {
		uint64_t r = random_next(&h->seed);

		if (r >> 63)
			hostile_nic_load(h, r & 0x1f, 1u << (r >> 8) % 3);
		else
			hostile_nic_store(h, r & 0x1f, 1u << (r >> 8) % 3, r >> 16);
	}
	hostile_nic_settle();
}

const struct hostile_nic_case hostile_ne2k_cases[] = {
	{"data-port", data_port, 0},	    {"rings", rings, 0}, {"lengths", lengths, 0},
	{"registers", random_registers, 0}, {NULL, NULL, 0},
};

const char *hostile_ne2k_prove(struct hostile_nic *h)
{
	uint8_t frame[64];
	uint64_t begin;

	fresh(h);
	set(h, TCR, 0);
	hostile_nic_frame(frame);
	remote(h, TX_PAGE << 8, sizeof(frame), CR_WRITE);
	for (uint32_t i = 0; i < sizeof(frame); i += 2)
		hostile_nic_store(h, DATA, 2, frame[i] | frame[i + 1] << 8);
	send(h, TX_PAGE, sizeof(frame));
	begin = clock_ns();
	while (!(hostile_nic_load(h, ISR, 1) & ISR_PTX))
		if (clock_ns() - begin > NS_PER_S)
			return "does-not-send";
	set(h, CR, CR_STOP);
	return NULL;
}
