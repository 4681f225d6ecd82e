/*
 * reboot: resets the machine, which starts the guest again with the same command line; and again,
 * until it has run `count` times. The count is kept in CMOS memory that firmware leaves alone,
 * since RAM is not what outlives a reset by right.
 */
#include "clock.h"
#include "gate.h"
#include "lib.h"
#include "power.h"
#include "serial.h"
#include "test.h"

#define CMOS_INDEX 0x70
#define CMOS_DATA  0x71
#define CMOS_COUNT 0x6e /* two bytes: the count and its complement, which says that it is one */
#define CMOS_CHECK 0x6f

static const struct test_param params[] = {
	{"count", "10", "reboots, at most 200"},
	{"by", "reset", "reset: PIIX3 and keyboard controller; triple-fault"},
	{NULL, NULL, NULL},
};

static uint8_t cmos_read(uint8_t index)
{
	gate_out8(CMOS_INDEX, index);
	return gate_in8(CMOS_DATA);
}

static void cmos_write(uint8_t index, uint8_t value)
{
	gate_out8(CMOS_INDEX, index);
	gate_out8(CMOS_DATA, value);
}

static bool run(const struct test *test, const struct test_arg *args)
{
	uint32_t count = test_number(test, args, "count"), done = cmos_read(CMOS_COUNT);

	if (count > 200)
		return test_fail(test, "count-too-big");
	if ((cmos_read(CMOS_CHECK) ^ 0xff) != done)
		done = 0;
	if (done < count) {
		report("test=%s reboot=%u", test->name, done + 1);
		cmos_write(CMOS_COUNT, done + 1);
		cmos_write(CMOS_CHECK, ~(done + 1));
		if (cmos_read(CMOS_COUNT) != done + 1)
			return test_fail(test, "cmos-keeps-nothing");
		if (!strcmp(test_string(test, args, "by"), "triple-fault"))
			gate_triple_fault();
		power_reset();
		return test_fail(test, "still-here");
	}
	cmos_write(CMOS_CHECK, 0);
	cmos_write(CMOS_COUNT, 0);
	test_result(test, true);
	report(" reboots=%u", done);
	return true;
}

const struct test test_reboot = {
	.name = "reboot",
	.help = "resets the machine and starts again",
	.params = params,
	.run = run,
};
