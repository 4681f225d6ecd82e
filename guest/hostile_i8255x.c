/*
 * Hostile cases for the 8255x ("Intel 8255x 10/100 Mbps Ethernet Controller Family, Open Source Software
 * Developer Manual", chapter 6): see hostile_nic.h.
 *
 *	scratch + 0        command blocks
 *	        + 64 KiB   receive frame descriptors, buffer descriptors
 *	        + 512 KiB  what is sent, and received into
 */
#include "clock.h"
#include "hostile_nic.h"
#include "lib.h"
#include "memory.h"

#define RFDS	0x10000
#define BUFFERS 0x80000

#define SCB_COMMAND 0x02
#define SCB_POINTER 0x04
#define PORT	    0x08
#define EEPROM	    0x0e
#define MDI	    0x10

#define CU_START	0x10
#define CU_RESUME	0x20
#define CU_DUMP_ADDRESS 0x40
#define CU_DUMP		0x50
#define CU_BASE		0x60
#define RU_START	0x01
#define RU_RESUME	0x02
#define RU_BASE		0x06

#define PORT_RESET     0
#define PORT_SELF_TEST 1
#define PORT_DUMP      3

#define CB_EL	     0x8000
#define CB_S	     0x4000
#define CB_FLEXIBLE  0x0008
#define CB_ADDRESS   1
#define CB_CONFIGURE 2
#define CB_MULTICAST 3
#define CB_TRANSMIT  4
#define CB_MICROCODE 5
#define CB_DUMP	     6
#define CB_COMPLETE  0x8000

struct block {
	volatile uint16_t status, command;
	volatile uint32_t link;
	volatile uint32_t parameter[10];
};

static void command(struct hostile_nic *h, uint32_t what, uint32_t pointer)
{
	hostile_nic_store(h, SCB_POINTER, 4, pointer);
	hostile_nic_store(h, SCB_COMMAND, 2, 0x100 | what);
	for (uint32_t i = 0; i < 100 && hostile_nic_load(h, SCB_COMMAND, 1); i++)
		;
}

static void fresh(struct hostile_nic *h)
{
	hostile_nic_store(h, PORT, 4, PORT_RESET);
	hostile_nic_settle();
	command(h, CU_BASE, 0);
	command(h, RU_BASE, 0);
}

static struct block *block(struct hostile_nic *h, uint32_t i)
{
	return (struct block *)h->scratch + i;
}

static void put(struct hostile_nic *h, uint32_t i, uint32_t what, uint32_t link)
{
	struct block *b = block(h, i);

	b->status = 0;
	b->command = what;
	b->link = link;
}

/* A receive frame descriptor: no bits, linked to itself, of so many bytes. */
static void put_rfd(struct hostile_nic *h, uint32_t what, uint32_t buffer, uint32_t size)
{
	uint32_t *r = (uint32_t *)(h->scratch + RFDS);

	r[0] = what << 16;
	r[1] = memory_address(r);
	r[2] = buffer;
	r[3] = size << 16;
}

/* detail: a place, for every address that there is. */
static void bad_place(struct hostile_nic *h, uint64_t detail)
{
	uint32_t bad = hostile_nic_place(h, detail), good = memory_address(h->scratch);

	fresh(h);
	command(h, CU_START, bad);
	command(h, RU_START, bad);
	command(h, CU_DUMP_ADDRESS, bad);
	command(h, CU_DUMP, 0);
	command(h, CU_BASE, bad);
	command(h, CU_START, good);
	hostile_nic_settle();
	for (uint32_t what = 0; what < 8; what++) {
		fresh(h);
		put(h, 0, what, good + sizeof(struct block));
		for (uint32_t i = 0; i < 10; i++)
			block(h, 0)->parameter[i] = bad;
		put(h, 1, what | CB_FLEXIBLE, bad);
		block(h, 1)->parameter[0] = bad;
		block(h, 1)->parameter[1] = 0xff000000;
		command(h, CU_START, good);
		hostile_nic_settle();
	}
	fresh(h);
	put_rfd(h, CB_FLEXIBLE, bad, 0);
	command(h, RU_START, good + RFDS);
	hostile_nic_settle();
	hostile_nic_store(h, PORT, 4, (bad & ~0xfu) | PORT_SELF_TEST);
	hostile_nic_store(h, PORT, 4, (bad & ~0xfu) | PORT_DUMP);
	hostile_nic_settle();
}

/* detail: a command; a block of it whose link leads back to itself. */
static void loop(struct hostile_nic *h, uint64_t detail)
{
	uint32_t good = memory_address(h->scratch);

	fresh(h);
	put(h, 0, detail, good);
	block(h, 0)->parameter[0] = ~0u; /* no TBD array; else: all counts at their highest */
	block(h, 0)->parameter[1] = 64 | 0x8000;
	command(h, CU_START, good);
	for (uint32_t i = 0; i < 16; i++) {
		command(h, i % 2 ? CU_RESUME : CU_START, good);
		hostile_nic_settle();
	}
}

/* Transmit buffer descriptors: as many as there can be, of every length, in a frame that never ends. */
static void endless(struct hostile_nic *h, uint64_t detail)
{
	uint32_t good = memory_address(h->scratch), *tbd = (uint32_t *)(h->scratch + RFDS);

	fresh(h);
	for (uint32_t i = 0; i < 4096; i++) {
		tbd[2 * i] = good + BUFFERS;
		tbd[2 * i + 1] = detail;
	}
	put(h, 0, CB_TRANSMIT | CB_FLEXIBLE, good);
	block(h, 0)->parameter[0] = memory_address(tbd);
	block(h, 0)->parameter[1] = 0xff000000 | 0x3fff;
	command(h, CU_START, good);
	hostile_nic_settle();
}

/* Lists longer than what they lie in: multicast addresses, configuration, microcode at RAM's end. */
static void too_long(struct hostile_nic *h, uint64_t detail)
{
	static const uint8_t commands[] = {CB_ADDRESS,	CB_CONFIGURE, CB_MULTICAST,
					   CB_TRANSMIT, CB_MICROCODE, CB_DUMP};
	uint8_t *end = h->scratch + HOSTILE_SCRATCH - 16;
	struct block *b = (struct block *)end;

	for (uint32_t i = 0; i < ARRAY_SIZE(commands); i++) {
		fresh(h);
		b->status = 0;
		b->command = CB_EL | commands[i];
		b->link = 0;
		b->parameter[0] = 0xffff3fff;
		b->parameter[1] = 0x00003fff;
		command(h, CU_START, memory_address(end));
		hostile_nic_settle();
	}
}

/* Blocks and links at random; what is followed lies in scratch memory or nowhere. */
static void random_blocks(struct hostile_nic *h, uint64_t detail)
{
	uint32_t good = memory_address(h->scratch);

	fresh(h);
	put_rfd(h, 0, good + BUFFERS, 0x3fff);
	command(h, RU_START, good + RFDS);
	for (uint32_t i = 0; i < h->count / 4; i++) {
		for (uint32_t j = 0; j < 16; j++) {
			uint64_t r = random_next(&h->seed);

			put(h, j, r & 0xe01f,
			    r >> 63 ? hostile_nic_address(h)
				    : memory_address(block(h, r >> 32 & 15)));
			for (uint32_t k = 0; k < 10; k++)
				block(h, j)->parameter[k] = hostile_nic_address(h);
			if (r >> 62 & 1)
				block(h, j)->parameter[1] = r >> 16;
		}
		command(h, i % 3 ? CU_RESUME : CU_START, good);
		if (i % 16 == 15)
			command(h, i & 16 ? RU_RESUME : RU_START, good + RFDS);
	}
	hostile_nic_settle();
}

static void eeprom_and_mdi(struct hostile_nic *h, uint64_t detail)
{
	for (uint32_t i = 0; i < h->count; i++) {
		uint64_t r = random_next(&h->seed);

		if (r >> 63)
			hostile_nic_store(h, MDI, 4, r);
		else
			hostile_nic_store(h, EEPROM, 2, r & 0xf);
		hostile_nic_load(h, r >> 63 ? MDI : EEPROM, r >> 63 ? 4 : 2);
	}
}

const struct hostile_nic_case hostile_i8255x_cases[] = {
	{"in-hole", bad_place, IN_HOLE},
	{"in-bar", bad_place, IN_BAR},
	{"past-end", bad_place, AT_END},
	{"wraps", bad_place, AT_WRAP32},
	{"loop-nop", loop, 0},
	{"loop-configure", loop, CB_CONFIGURE},
	{"loop-transmit", loop, CB_TRANSMIT},
	{"loop-suspend", loop, CB_S | CB_TRANSMIT},
	{"loop-dump", loop, CB_DUMP},
	{"endless", endless, 0x3fff},
	{"endless-empty", endless, 0},
	{"too-long", too_long, 0},
	{"blocks", random_blocks, 0},
	{"eeprom", eeprom_and_mdi, 0},
	{NULL, NULL, 0},
};

const char *hostile_i8255x_prove(struct hostile_nic *h)
{
	uint32_t good = memory_address(h->scratch);
	uint64_t begin;

	fresh(h);
	put(h, 0, CB_EL | CB_TRANSMIT, good);
	block(h, 0)->parameter[0] = ~0u;
	block(h, 0)->parameter[1] = 64 | 0x8000 | 0xe0 << 16;
	hostile_nic_frame((uint8_t *)&block(h, 0)->parameter[2]);
	command(h, CU_START, good);
	begin = clock_ns();
	while (!(block(h, 0)->status & CB_COMPLETE))
		if (clock_ns() - begin > NS_PER_S)
			return "does-not-send";
	hostile_nic_store(h, PORT, 4, PORT_RESET);
	return NULL;
}
