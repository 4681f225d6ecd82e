/*
 * The serial EEPROM, as a driver that wiggles its pins sees it.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "dev/eeprom93xx.h"

enum {
	EWEN = 0x3,
	EWDS = 0x0,
	WRAL = 0x1,
	ERAL = 0x2,
};

static void clock_bit(struct eeprom93xx *e, bool di)
{
	eeprom93xx_pins(e, true, false, di);
	eeprom93xx_pins(e, true, true, di);
}

static void clock_bits(struct eeprom93xx *e, unsigned int value, int n)
{
	while (n-- > 0)
		clock_bit(e, value >> n & 1);
}

static void begin(struct eeprom93xx *e, unsigned int opcode, unsigned int address)
{
	eeprom93xx_pins(e, false, false, false);
	eeprom93xx_pins(e, true, false, false);
	clock_bits(e, 4 | opcode, 3);
	clock_bits(e, address, e->address_bits);
}

static void end(struct eeprom93xx *e)
{
	eeprom93xx_pins(e, true, false, false);
	eeprom93xx_pins(e, false, false, false);
}

static unsigned int take_word(struct eeprom93xx *e)
{
	unsigned int i, value = 0;

	for (i = 0; i < 16; i++) {
		clock_bit(e, false);
		value = value << 1 | eeprom93xx_out(e);
	}
	return value;
}

static unsigned int read_word(struct eeprom93xx *e, unsigned int address)
{
	unsigned int value;

	begin(e, 2, address);
	assert_false(eeprom93xx_out(e)); /* the dummy bit */
	value = take_word(e);
	end(e);
	assert_true(eeprom93xx_out(e));
	return value;
}

static void write_word(struct eeprom93xx *e, unsigned int address, unsigned int value)
{
	begin(e, 1, address);
	clock_bits(e, value, 16);
	end(e);
	eeprom93xx_pins(e, true, false, false);
	assert_true(eeprom93xx_out(e)); /* ready */
	end(e);
}

static void extended(struct eeprom93xx *e, unsigned int which)
{
	begin(e, 0, which << (e->address_bits - 2));
}

static void test_read(void **state)
{
	static const unsigned int sizes[] = {64, 128, 256};
	struct eeprom93xx e;
	unsigned int i, k;

	for (k = 0; k < 3; k++) {
		eeprom93xx_init(&e, sizes[k]);
		assert_int_equal(e.address_bits, k ? 8 : 6);
		assert_int_equal(read_word(&e, 5), 0xffff);
		for (i = 0; i < sizes[k]; i++)
			e.word[i] = (uint16_t)(0x8129 + i * 0x1357);
		for (i = 0; i < sizes[k]; i++)
			assert_int_equal(read_word(&e, i), (uint16_t)(0x8129 + i * 0x1357));
	}
	eeprom93xx_init(&e, 128);
	e.word[3] = 0x1234;
	assert_int_equal(read_word(&e, 0x83), 0x1234); /* a 93C56 has an address bit too many */
}

/* Zeros before the start bit, and clocks without chip select, are nothing. */
static void test_start_bit(void **state)
{
	struct eeprom93xx e;
	int i;

	eeprom93xx_init(&e, 64);
	e.word[9] = 0xa5c3;
	for (i = 0; i < 20; i++) {
		eeprom93xx_pins(&e, false, true, true);
		eeprom93xx_pins(&e, false, false, true);
	}
	eeprom93xx_pins(&e, true, false, false);
	clock_bits(&e, 0, 5);
	clock_bits(&e, 6, 3);
	clock_bits(&e, 9, 6);
	assert_false(eeprom93xx_out(&e));
	assert_int_equal(take_word(&e), 0xa5c3);
	/* the clock may already be high when the chip is selected: no edge */
	end(&e);
	eeprom93xx_pins(&e, true, true, true);
	eeprom93xx_pins(&e, true, false, true);
	clock_bits(&e, 6, 3);
	clock_bits(&e, 9, 6);
	assert_int_equal(take_word(&e), 0xa5c3);
}

static void test_sequential_read(void **state)
{
	struct eeprom93xx e;
	unsigned int i;

	eeprom93xx_init(&e, 64);
	for (i = 0; i < 64; i++)
		e.word[i] = (uint16_t)(i << 8 | i);
	begin(&e, 2, 62);
	assert_int_equal(take_word(&e), 0x3e3e);
	assert_int_equal(take_word(&e), 0x3f3f);
	assert_int_equal(take_word(&e), 0x0000);
	assert_int_equal(take_word(&e), 0x0101);
	end(&e);
}

static void test_write(void **state)
{
	struct eeprom93xx e;

	eeprom93xx_init(&e, 64);
	write_word(&e, 7, 0x1111);
	assert_int_equal(read_word(&e, 7), 0xffff); /* disabled at power-on */
	extended(&e, EWEN);
	end(&e);
	write_word(&e, 7, 0x1111);
	write_word(&e, 63, 0x8001);
	assert_int_equal(read_word(&e, 7), 0x1111);
	assert_int_equal(read_word(&e, 63), 0x8001);

	begin(&e, 1, 7); /* cut short: no effect */
	clock_bits(&e, 0x5555, 15);
	end(&e);
	assert_int_equal(read_word(&e, 7), 0x1111);

	begin(&e, 3, 7);
	end(&e);
	assert_int_equal(read_word(&e, 7), 0xffff);

	extended(&e, WRAL);
	clock_bits(&e, 0x4242, 16);
	end(&e);
	assert_int_equal(read_word(&e, 0), 0x4242);
	assert_int_equal(read_word(&e, 63), 0x4242);
	extended(&e, ERAL);
	end(&e);
	assert_int_equal(read_word(&e, 33), 0xffff);

	extended(&e, EWDS);
	end(&e);
	write_word(&e, 7, 0x1111);
	extended(&e, WRAL);
	clock_bits(&e, 0x4242, 16);
	end(&e);
	begin(&e, 3, 7);
	end(&e);
	assert_int_equal(read_word(&e, 7), 0xffff);
	assert_int_equal(read_word(&e, 8), 0xffff);
}

/* A driver that resets the card in the middle of a command. */
static void test_reset(void **state)
{
	struct eeprom93xx e;

	eeprom93xx_init(&e, 256);
	e.word[200] = 0xbeef;
	extended(&e, EWEN);
	end(&e);
	begin(&e, 2, 200);
	clock_bits(&e, 0, 3);
	eeprom93xx_reset(&e);
	assert_true(eeprom93xx_out(&e));
	assert_false(e.write_enabled);
	assert_int_equal(read_word(&e, 200), 0xbeef);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_read),
		cmocka_unit_test(test_start_bit),
		cmocka_unit_test(test_sequential_read),
		cmocka_unit_test(test_write),
		cmocka_unit_test(test_reset),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
