/*
 * The PHY's registers, as a driver reads and writes them.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "dev/mii.h"

static void assert_state(const struct mii *mii, bool up, unsigned int speed, bool full_duplex)
{
	struct mii_link link = mii_state(mii);

	assert_int_equal(link.up, up);
	assert_int_equal(link.speed, speed);
	assert_int_equal(link.full_duplex, full_duplex);
}

static void test_power_on(void **state)
{
	struct mii mii;

	mii_init(&mii, 0x02a8, 0x0154, false);
	assert_int_equal(mii_read(&mii, MII_BMCR), 0x3100);
	assert_int_equal(mii_read(&mii, MII_BMSR), 0x7809); /* no cable yet */
	assert_int_equal(mii_read(&mii, MII_PHYSID1), 0x02a8);
	assert_int_equal(mii_read(&mii, MII_PHYSID2), 0x0154);
	assert_int_equal(mii_read(&mii, MII_ADVERTISE), 0x01e1);
	assert_int_equal(mii_read(&mii, MII_LPA), 0);
	assert_int_equal(mii_read(&mii, MII_CTRL1000), 0);
	assert_int_equal(mii_read(&mii, MII_ESTATUS), 0);
	assert_int_equal(mii_read(&mii, 16), 0);
	assert_int_equal(mii_read(&mii, 31), 0);
	assert_int_equal(mii_read(&mii, 1000), 0);
	assert_false(mii_state(&mii).up);

	mii_set_link(&mii, true);
	assert_int_equal(mii_read(&mii, MII_BMSR), 0x7809 | BMSR_LSTATUS | BMSR_ANEGCOMPLETE);
	assert_int_equal(mii_read(&mii, MII_LPA) & 0x01e1, 0x01e1);
	assert_int_equal(mii_read(&mii, MII_EXPANSION), EXPANSION_NWAY);
	assert_state(&mii, true, 100, true);
}

static void test_gigabit(void **state)
{
	struct mii mii;

	mii_init(&mii, 0x0141, 0x0c20, true);
	mii_set_link(&mii, true);
	assert_int_equal(mii_read(&mii, MII_BMCR), 0x1140);
	assert_int_equal(mii_read(&mii, MII_BMSR), 0x7909 | BMSR_LSTATUS | BMSR_ANEGCOMPLETE);
	assert_int_equal(mii_read(&mii, MII_CTRL1000), 0x0300);
	assert_int_equal(mii_read(&mii, MII_STAT1000), 0x3c00);
	assert_int_equal(mii_read(&mii, MII_ESTATUS), 0x3000);
	assert_state(&mii, true, 1000, true);

	/* gigabit not offered */
	assert_false(mii_write(&mii, MII_CTRL1000, 0)); /* not before it is negotiated again */
	assert_state(&mii, true, 1000, true);
	assert_true(mii_write(&mii, MII_BMCR, BMCR_ANENABLE | BMCR_ANRESTART));
	assert_state(&mii, true, 100, true);
	assert_int_equal(mii_read(&mii, MII_BMCR), BMCR_ANENABLE); /* ANRESTART cleared itself */

	/* forced */
	assert_true(mii_write(&mii, MII_BMCR, BMCR_SPEED1000));
	assert_state(&mii, true, 1000, false);
	assert_int_equal(mii_read(&mii, MII_LPA), 0);
	assert_int_equal(mii_read(&mii, MII_STAT1000), 0);
	assert_true(mii_write(&mii, MII_BMCR, BMCR_RESET));
	assert_int_equal(mii_read(&mii, MII_BMCR), 0x1140);
	assert_state(&mii, true, 1000, true);
}

static void test_precedence(void **state)
{
	static const struct {
		uint16_t offered;
		bool up;
		unsigned int speed;
		bool full_duplex;
	} cases[] = {
		{ADVERTISE_100FULL | ADVERTISE_100HALF, true, 100, true},
		{ADVERTISE_100HALF | ADVERTISE_10FULL, true, 100, false},
		{ADVERTISE_10FULL | ADVERTISE_10HALF, true, 10, true},
		{ADVERTISE_10HALF, true, 10, false},
		{0, false, 10, false},
	};
	struct mii mii;

	mii_init(&mii, 1, 2, false);
	mii_set_link(&mii, true);
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		mii_write(&mii, MII_ADVERTISE, ADVERTISE_CSMA | cases[i].offered);
		mii_write(&mii, MII_BMCR, BMCR_ANENABLE | BMCR_ANRESTART);
		assert_state(&mii, cases[i].up, cases[i].speed, cases[i].full_duplex);
	}
	/* a 10/100 PHY has no gigabit bit to force */
	mii_write(&mii, MII_BMCR, BMCR_SPEED1000 | BMCR_FULLDPLX);
	assert_int_equal(mii_read(&mii, MII_BMCR), BMCR_FULLDPLX);
	assert_state(&mii, true, 10, true);
	mii_write(&mii, MII_CTRL1000, 0xffff);
	assert_int_equal(mii_read(&mii, MII_CTRL1000), 0);
}

static void test_latch(void **state)
{
	struct mii mii;

	mii_init(&mii, 1, 2, false);
	mii_set_link(&mii, true);
	assert_true(mii_read(&mii, MII_BMSR) & BMSR_LSTATUS);
	mii_set_link(&mii, false);
	assert_false(mii_read(&mii, MII_BMSR) & BMSR_LSTATUS);
	assert_false(mii_read(&mii, MII_BMSR) & BMSR_LSTATUS);
	mii_set_link(&mii, true);
	assert_true(mii_read(&mii, MII_BMSR) & BMSR_LSTATUS);

	/* it was out for a moment, and is in again: the first read tells */
	mii_set_link(&mii, false);
	mii_set_link(&mii, true);
	assert_true(mii_state(&mii).up);
	assert_false(mii_read(&mii, MII_BMSR) & BMSR_LSTATUS);
	assert_true(mii_read(&mii, MII_BMSR) & BMSR_LSTATUS);

	/* a reset leaves the cable alone */
	mii_reset(&mii);
	assert_true(mii_state(&mii).up);
	mii_set_link(&mii, false);
	mii_reset(&mii);
	assert_false(mii_state(&mii).up);
}

static void test_control(void **state)
{
	struct mii mii;

	mii_init(&mii, 1, 2, false);
	mii_set_link(&mii, true);
	assert_true(mii_write(&mii, MII_BMCR, BMCR_ANENABLE | BMCR_PDOWN));
	assert_false(mii_state(&mii).up);
	assert_int_equal(mii_read(&mii, MII_LPA), 0);
	assert_true(mii_write(&mii, MII_BMCR, BMCR_ANENABLE | BMCR_ISOLATE) == false);
	assert_true(mii_write(&mii, MII_BMCR, BMCR_ANENABLE));
	assert_state(&mii, true, 100, true);
	assert_false(mii_read(&mii, MII_BMSR) & BMSR_LSTATUS);
	assert_true(mii_read(&mii, MII_BMSR) & BMSR_LSTATUS);

	/* loopback is up without a cable */
	mii_set_link(&mii, false);
	assert_true(mii_write(&mii, MII_BMCR, BMCR_LOOPBACK | BMCR_FULLDPLX | BMCR_SPEED100));
	assert_state(&mii, true, 100, true);
	assert_true(mii_write(&mii, MII_BMCR, BMCR_RESET));
	assert_false(mii_state(&mii).up);
}

static void test_read_only(void **state)
{
	struct mii mii;

	mii_init(&mii, 0x1234, 0x5678, true);
	mii_set_link(&mii, true);
	mii_read(&mii, MII_BMSR);
	for (unsigned int reg = 0; reg < 64; reg++) {
		uint16_t before = mii_read(&mii, reg);

		if (reg == MII_BMCR || reg == MII_ADVERTISE || reg == MII_CTRL1000 || reg == 7)
			continue;
		assert_false(mii_write(&mii, reg, (uint16_t)~before));
		assert_int_equal(mii_read(&mii, reg), before);
	}
	mii_write(&mii, MII_ADVERTISE, 0xffff);
	assert_int_equal(mii_read(&mii, MII_ADVERTISE), 0xbfff); /* acknowledge isn't software's */
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_power_on),   cmocka_unit_test(test_gigabit),
		cmocka_unit_test(test_precedence), cmocka_unit_test(test_latch),
		cmocka_unit_test(test_control),	   cmocka_unit_test(test_read_only),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
