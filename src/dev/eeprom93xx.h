/*
 * A Microwire serial EEPROM of 16-bit words: 93C46 (64 words), 93C56/66 (128/256 words), as cards have it on
 * four pins that their driver wiggles. Source: Microchip/Atmel AT93C46/56/66 data sheet: start bit, 2-bit opcode,
 * address; READ gives a 0 and then 16 bits, highest first, and goes on to the next word while CS stays high;
 * EWEN, EWDS, WRITE, ERASE, WRAL, ERAL. A write is finished at once (DO reads 1, ready).
 */
#ifndef VIREO_DEV_EEPROM93XX_H
#define VIREO_DEV_EEPROM93XX_H

#include <stdbool.h>
#include <stdint.h>

#define EEPROM93XX_WORDS_MAX 256

struct eeprom93xx {
	uint16_t word[EEPROM93XX_WORDS_MAX];
	uint8_t address_bits; /* 6: 93C46; 8: 93C56, 93C66 */
	uint16_t words;	      /* 64, 128 or 256 */
	bool write_enabled;
	/* the pins as they were last, and the shift register */
	bool cs, sk, data_out;
	uint8_t phase;
	uint8_t count;
	uint32_t shift;
	uint8_t address;
};

/* words: 64, 128 or 256; contents are all ones until the caller fills word[]. */
void eeprom93xx_init(struct eeprom93xx *e, unsigned int words);
/* Deselected, writing disabled: power-on. Contents stay. */
void eeprom93xx_reset(struct eeprom93xx *e);
/* The pins' new levels: chip select, clock, data in. */
void eeprom93xx_pins(struct eeprom93xx *e, bool cs, bool sk, bool di);
/* DO's level now; 1 where nothing drives it. */
static inline bool eeprom93xx_out(const struct eeprom93xx *e)
{
	return e->data_out;
}

#endif
