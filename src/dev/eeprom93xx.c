/*
 * A Microwire serial EEPROM: see eeprom93xx.h. Source: Atmel AT93C46/56/66 data sheet, "Functional Description"
 * and "Instruction Set".
 *
 *	     ___________________________________________________________
 *	CS _|                                                           |_
 *	DI   0 0 1 | 1 0 | A5 ... A0 |
 *	       start opcode  address
 *	DO   1 1 1   1 1   1  ...  0  D15 ... D0 D15 (of the next word) ...
 *	                           dummy bit
 *
 * A bit goes in, and the next comes out, at SK's rising edge. What is cut short by CS has no effect.
 * Whoever holds the device's lock.
 */
#include <string.h>

#include "dev/eeprom93xx.h"

enum {
	PHASE_START, /* waiting for the start bit */
	PHASE_OPCODE,
	PHASE_ADDRESS,
	PHASE_READ,  /* data goes out */
	PHASE_WRITE, /* data comes in: one word */
	PHASE_WRAL,  /* data comes in: every word */
	PHASE_DONE,  /* nothing more until CS falls */
};

enum {
	OP_EXTENDED = 0, /* the two highest address bits say which */
	OP_WRITE = 1,
	OP_READ = 2,
	OP_ERASE = 3,

	EXT_EWDS = 0,
	EXT_WRAL = 1,
	EXT_ERAL = 2,
	EXT_EWEN = 3,
};

void eeprom93xx_init(struct eeprom93xx *e, unsigned int words)
{
	memset(e, 0, sizeof(*e));
	memset(e->word, 0xff, sizeof(e->word));
	e->words = (uint16_t)words;
	e->address_bits = words > 64 ? 8 : 6;
	eeprom93xx_reset(e);
}

void eeprom93xx_reset(struct eeprom93xx *e)
{
	e->write_enabled = false;
	e->cs = false;
	e->sk = false;
	e->data_out = true;
	e->phase = PHASE_START;
	e->count = 0;
	e->shift = 0;
	e->address = 0;
}

static void go_to(struct eeprom93xx *e, unsigned int phase)
{
	e->phase = (uint8_t)phase;
	e->count = 0;
	e->shift = phase == PHASE_ADDRESS ? e->shift : 0;
}

static void fill(struct eeprom93xx *e, uint16_t value)
{
	unsigned int i;

	for (i = 0; e->write_enabled && i < e->words; i++)
		e->word[i] = value;
}

static void extended(struct eeprom93xx *e, unsigned int which)
{
	go_to(e, PHASE_DONE);
	switch (which) {
	case EXT_EWEN:
	case EXT_EWDS:
		e->write_enabled = which == EXT_EWEN;
		break;
	case EXT_ERAL:
		fill(e, 0xffff);
		break;
	case EXT_WRAL:
		go_to(e, PHASE_WRAL);
		break;
	}
}

/* Opcode and address are in. */
static void instruction(struct eeprom93xx *e)
{
	unsigned int opcode = e->shift >> e->address_bits & 3;
	unsigned int address = e->shift & ((1u << e->address_bits) - 1);

	e->address = (uint8_t)(address & (e->words - 1u)); /* a 93C56 ignores A7 */
	switch (opcode) {
	case OP_READ:
		go_to(e, PHASE_READ);
		e->data_out = false;
		break;
	case OP_WRITE:
		go_to(e, PHASE_WRITE);
		break;
	case OP_ERASE:
		if (e->write_enabled)
			e->word[e->address] = 0xffff;
		go_to(e, PHASE_DONE);
		break;
	case OP_EXTENDED:
		extended(e, address >> (e->address_bits - 2));
		break;
	}
}

static void next_out(struct eeprom93xx *e)
{
	e->data_out = e->word[e->address] >> (15 - e->count) & 1;
	if (++e->count < 16)
		return;
	e->count = 0;
	e->address = (uint8_t)((e->address + 1u) & (e->words - 1u));
}

static void data_in(struct eeprom93xx *e)
{
	uint16_t value = (uint16_t)e->shift;

	if (e->phase == PHASE_WRAL)
		fill(e, value);
	else if (e->write_enabled)
		e->word[e->address] = value;
	go_to(e, PHASE_DONE);
}

static void clock_rises(struct eeprom93xx *e, bool di)
{
	if (e->phase == PHASE_READ) {
		next_out(e);
		return;
	}
	e->shift = e->shift << 1 | di;
	e->count++;
	switch (e->phase) {
	case PHASE_START:
		if (di)
			go_to(e, PHASE_OPCODE);
		break;
	case PHASE_OPCODE:
		if (e->count == 2)
			go_to(e, PHASE_ADDRESS);
		break;
	case PHASE_ADDRESS:
		if (e->count == e->address_bits)
			instruction(e);
		break;
	case PHASE_WRITE:
	case PHASE_WRAL:
		if (e->count == 16)
			data_in(e);
		break;
	}
}

void eeprom93xx_pins(struct eeprom93xx *e, bool cs, bool sk, bool di)
{
	if (!cs) {
		/* DO isn't driven; and when CS rises again after a write it says ready, which is 1, too */
		e->data_out = true;
		go_to(e, PHASE_START);
	} else if (e->cs && sk && !e->sk) {
		clock_rises(e, di);
	}
	e->cs = cs;
	e->sk = sk;
}
