/*
 * 82540EM, as a driver sees it: registers, EEPROM, PHY, interrupts. test_e1000_rx.c receives,
 * test_e1000_tx.c sends.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "e1000_fixture.h"

static const uint8_t broadcast[6] = {0xff, 0xff, 0xff, 0xff, 0xff, 0xff};

/* ---- registers ---- */

static void test_identity(void **state)
{
	struct e_driver *d = e_new();

	assert_int_equal(nf_config_read(d->nf, 0, 4), 0x100e8086);
	assert_int_equal(nf_config_read(d->nf, 8, 4), 0x02000003);
	assert_int_equal(nf_config_read(d->nf, 0x2c, 4), 0x11001af4);
	assert_int_equal(d->nf->mem_bar, 0);
	assert_int_equal(d->nf->io_bar, 1);
	e_free(d);
}

static void test_reset_values(void **state)
{
	struct e_driver d = {nf_new("e1000", "mac=52:54:00:aa:bb:cc,netdev=n0")};

	assert_int_equal(e_load(&d, E1000_CTRL), 0x201);
	assert_int_equal(e_load(&d, E1000_STATUS), 0x283);
	assert_int_equal(e_load(&d, E1000_PBA), 0x00100030);
	assert_int_equal(e_load(&d, E1000_LEDCTL), 0x07061302);
	assert_int_equal(e_load(&d, E1000_RA), 0xaa005452);
	assert_int_equal(e_load(&d, E1000_RA + 4), 0x8000ccbb);
	assert_int_equal(e_load(&d, E1000_RCTL), 0);
	assert_int_equal(e_load(&d, 0x1fffc), 0);
	nf_free(d.nf);
}

/* As the driver's self-test does it (ethtool -t): patterns, and the bits that have to stick. */
static void pattern(struct e_driver *d, uint32_t reg, uint32_t mask, uint32_t write)
{
	static const uint32_t patterns[] = {0x5a5a5a5a, 0xa5a5a5a5, 0, 0xffffffff};

	for (unsigned int i = 0; i < 4; i++) {
		e_store(d, reg, patterns[i] & write);
		assert_int_equal(e_load(d, reg), patterns[i] & write & mask);
	}
}

static void set_and_check(struct e_driver *d, uint32_t reg, uint32_t mask, uint32_t write)
{
	e_store(d, reg, write & mask);
	assert_int_equal(e_load(d, reg) & mask, write & mask);
}

static void test_patterns(void **state)
{
	struct e_driver *d = e_new();
	uint32_t status = e_load(d, E1000_STATUS);

	e_reset_hw(d);
	e_store(d, E1000_STATUS, 0xfffff833);
	assert_int_equal(e_load(d, E1000_STATUS), status);
	pattern(d, E1000_FCAL, 0xffffffff, 0xffffffff);
	pattern(d, E1000_FCAH, 0xffff, 0xffffffff);
	pattern(d, E1000_FCT, 0xffff, 0xffffffff);
	pattern(d, E1000_VET, 0xffff, 0xffffffff);
	pattern(d, E1000_RDTR, 0xffff, 0xffffffff);
	pattern(d, E1000_RDBAH, 0xffffffff, 0xffffffff);
	pattern(d, E1000_RDLEN, 0xfff80, 0xfffff);
	pattern(d, E1000_RDH, 0xffff, 0xffff);
	pattern(d, E1000_RDT, 0xffff, 0xffff);
	pattern(d, E1000_FCRTH, 0xfff8, 0xfff8);
	pattern(d, E1000_FCTTV, 0xffff, 0xffff);
	pattern(d, E1000_TIPG, 0x3fffffff, 0x3fffffff);
	pattern(d, E1000_TDBAH, 0xffffffff, 0xffffffff);
	pattern(d, E1000_TDLEN, 0xfff80, 0xfffff);
	set_and_check(d, E1000_RCTL, 0xffffffff, 0);
	set_and_check(d, E1000_RCTL, 0x06dfb3fe, 0x003ffffb);
	nf_run(d->nf);
	set_and_check(d, E1000_TCTL, 0xffffffff, 0);
	set_and_check(d, E1000_RCTL, 0x06dfb3fe, 0xffffffff);
	pattern(d, E1000_RDBAL, 0xfffffff0, 0xffffffff);
	pattern(d, E1000_TXCW, 0xc000ffff, 0xffff);
	pattern(d, E1000_TDBAL, 0xfffffff0, 0xffffffff);
	pattern(d, E1000_TIDV, 0xffff, 0xffff);
	for (uint32_t i = 0; i < 15; i++)
		pattern(d, E1000_RA + 8 * i + 4, 0x8003ffff, 0xffffffff);
	for (uint32_t i = 0; i < 128; i++)
		pattern(d, E1000_MTA + 4 * i, 0xffffffff, 0xffffffff);
	e_free(d);
}

static void test_io_bar_and_aliases(void **state)
{
	struct e_driver *d = e_new();

	nf_out(d->nf, 0, 4, E1000_FCTTV);
	nf_out(d->nf, 4, 4, 0x1234);
	assert_int_equal(nf_in(d->nf, 0, 4), E1000_FCTTV);
	assert_int_equal(nf_in(d->nf, 4, 4), 0x1234);
	assert_int_equal(e_load(d, E1000_FCTTV), 0x1234);
	nf_out(d->nf, 0, 4, 0x80000); /* flash, of which there is none */
	nf_out(d->nf, 4, 4, 0xffffffff);
	assert_int_equal(nf_in(d->nf, 4, 4), 0);
	e_store(d, 0x440, 0x55); /* TIDV's */
	assert_int_equal(e_load(d, E1000_TIDV), 0x55);
	e_store(d, 0x40 + 8, 0x11223344);
	assert_int_equal(e_load(d, E1000_RA + 8), 0x11223344);
	e_store(d, 0x200 + 4 * 127, 0x1);
	assert_int_equal(e_load(d, E1000_MTA + 4 * 127), 0x1);
	e_store(d, 0x8018, 0x7f);
	assert_int_equal(e_load(d, E1000_TDFT), 0x7f);
	/* Registers have 32 bits: less is dropped when written. */
	nf_store(d->nf, E1000_FCTTV, 2, 0x9999);
	assert_int_equal(e_load(d, E1000_FCTTV), 0x1234);
	assert_int_equal(nf_load(d->nf, E1000_FCTTV, 1), 0x34);
	e_free(d);
}

/* CTRL.RST: registers, not the PHY, the tables, PBA. */
static void test_mac_reset(void **state)
{
	struct e_driver *d = e_new();

	e_store(d, E1000_PBA, 40);
	e_store(d, E1000_MTA, 7);
	e_store(d, E1000_RA + 8, 7);
	e_store(d, E1000_RA + 12, 0x80000007);
	e_store(d, E1000_IMS, 0xff);
	e_phy_write(d, MII_ADVERTISE, 0x0501);
	e_reset_hw(d);
	assert_int_equal(e_load(d, E1000_PBA), 24u << 16 | 40);
	assert_int_equal(e_load(d, E1000_MTA), 7);
	assert_int_equal(e_load(d, E1000_RA + 12), 0);
	assert_int_equal(e_load(d, E1000_RA + 4), 0x8000ccbb);
	assert_int_equal(e_load(d, E1000_IMS), 0);
	assert_int_equal(e_load(d, E1000_RCTL), 0);
	assert_int_equal(e_load(d, E1000_TDLEN), 0);
	assert_int_equal(e_phy_read(d, MII_ADVERTISE), 0x0501);
	e_free(d);
}

/* ---- EEPROM ---- */

static uint16_t eerd(struct e_driver *d, unsigned int word)
{
	uint32_t value;

	e_store(d, E1000_EERD, word << 8 | EERD_START);
	value = e_load(d, E1000_EERD);
	assert_true(value & EERD_DONE);
	return (uint16_t)(value >> 16);
}

static void clock_pin(struct e_driver *d, uint32_t pins)
{
	e_store(d, E1000_EECD, pins | EECD_SK);
	e_store(d, E1000_EECD, pins);
}

/* The driver's way: request, select, opcode and address out, 16 bits in. */
static uint16_t bang(struct e_driver *d, unsigned int word)
{
	uint32_t pins = EECD_REQ | EECD_CS;
	uint16_t value = 0;

	e_store(d, E1000_EECD, EECD_REQ);
	assert_true(e_load(d, E1000_EECD) & EECD_GNT);
	e_store(d, E1000_EECD, pins);
	for (int i = 8; i >= 0; i--)
		clock_pin(d, pins | ((6u << 6 | word) >> i & 1 ? EECD_DI : 0));
	for (int i = 0; i < 16; i++) {
		e_store(d, E1000_EECD, pins | EECD_SK);
		value = (uint16_t)(value << 1 | !!(e_load(d, E1000_EECD) & EECD_DO));
		e_store(d, E1000_EECD, pins);
	}
	e_store(d, E1000_EECD, 0);
	assert_false(e_load(d, E1000_EECD) & EECD_GNT);
	return value;
}

static void test_eeprom(void **state)
{
	struct e_driver *d = e_new();
	uint16_t sum = 0;

	assert_true(e_load(d, E1000_EECD) & EECD_PRES);
	assert_false(e_load(d, E1000_EECD) & 1u << 9); /* 64 words */
	for (unsigned int i = 0; i < 64; i++) {
		assert_int_equal(eerd(d, i), bang(d, i));
		sum = (uint16_t)(sum + eerd(d, i));
	}
	assert_int_equal(sum, 0xbaba);
	assert_int_equal(eerd(d, 0), 0x5452);
	assert_int_equal(eerd(d, 2), 0xccbb);
	assert_int_equal(eerd(d, 0xd), 0x100e);
	assert_int_equal(eerd(d, 0x8b), eerd(d, 0xb)); /* addresses wrap */
	e_store(d, E1000_EERD, 3u << 8);
	assert_false(e_load(d, E1000_EERD) & EERD_DONE);
	e_free(d);
}

/* ---- PHY and link ---- */

static void test_phy(void **state)
{
	struct e_driver *d = e_new();

	assert_int_equal(e_phy_read(d, MII_PHYSID1), 0x0141);
	assert_int_equal(e_phy_read(d, MII_PHYSID2), 0x0c20);
	assert_true(e_phy_read(d, MII_BMSR) & BMSR_LSTATUS);
	assert_int_equal(e_phy_read(d, 17), 0xac00);
	e_store(d, E1000_MDIC, 2u << 21 | (uint32_t)MDIC_OP_READ << 26);
	assert_true(e_load(d, E1000_MDIC) & MDIC_ERROR);
	e_store(d, E1000_MDIC, 1u << 21 | (uint32_t)MDIC_OP_READ << 26 | MDIC_INT);
	assert_int_equal(e_load(d, E1000_MDIC) & (MDIC_ERROR | MDIC_READY), MDIC_READY);
	assert_true(e_load(d, E1000_ICR) & ICR_MDAC);
	e_phy_write(d, 20, 0x0c70);
	assert_int_equal(e_phy_read(d, 20), 0x0c70);
	e_phy_write(d, 17, 0xffff);
	assert_int_equal(e_phy_read(d, 17), 0xac00);
	/* 100 Mbit/s, half duplex, forced */
	e_phy_write(d, MII_BMCR, BMCR_SPEED100);
	assert_int_equal(e_load(d, E1000_STATUS), 0x142);
	e_phy_write(d, MII_BMCR, BMCR_PDOWN);
	assert_int_equal(e_load(d, E1000_STATUS) & STATUS_LU, 0);
	e_store(d, E1000_CTRL, CTRL_PHY_RST);
	assert_true(e_load(d, E1000_STATUS) & STATUS_LU);
	e_free(d);
}

static void test_link(void **state)
{
	struct e_driver *d = e_new();

	e_store(d, E1000_IMS, ICR_LSC);
	nf_link(d->nf, false);
	assert_true(nf_irq(d->nf));
	assert_int_equal(e_load(d, E1000_ICR), ICR_LSC);
	assert_false(nf_irq(d->nf));
	assert_int_equal(e_load(d, E1000_STATUS) & STATUS_LU, 0);
	assert_false(e_phy_read(d, MII_BMSR) & BMSR_LSTATUS);
	nf_link(d->nf, true);
	assert_int_equal(e_load(d, E1000_ICR), ICR_LSC);
	assert_true(e_load(d, E1000_STATUS) & STATUS_LU);
	/* Negotiated anew: the driver is told. */
	e_phy_write(d, MII_BMCR, BMCR_ANENABLE | BMCR_ANRESTART);
	assert_int_equal(e_load(d, E1000_ICR), ICR_LSC);
	e_free(d);
}

/* ---- interrupts ---- */

/* As the driver's self-test does it. */
static void test_causes(void **state)
{
	struct e_driver *d = e_new();

	for (unsigned int i = 0; i < 10; i++) {
		e_store(d, E1000_IMC, 0xffffffff);
		e_store(d, E1000_ICS, 1u << i);
		assert_false(nf_irq(d->nf));
		e_store(d, E1000_IMS, 1u << i);
		assert_int_equal(e_load(d, E1000_IMS), 1u << i);
		assert_true(nf_irq(d->nf));
		assert_int_equal(e_load(d, E1000_ICR), 1u << i);
		assert_false(nf_irq(d->nf));
		e_store(d, E1000_ICS, ~(1u << i) & 0x7fff);
		assert_false(nf_irq(d->nf));
		e_load(d, E1000_ICR);
	}
	e_store(d, E1000_ICS, ICR_LSC | ICR_RXO);
	e_store(d, E1000_ICR, ICR_LSC);
	assert_int_equal(e_load(d, E1000_ICR), ICR_RXO);
	assert_int_equal(d->nf->nic->counters.interrupts.v, 10);
	e_free(d);
}

/* The interval is 16.8 ms at most, in which a busy machine may do nothing else: once in a few times
 * is enough. */
static bool is_held_back(struct e_driver *d)
{
	for (int i = 0; i < 20; i++) {
		e_load(d, E1000_ICR);
		e_store(d, E1000_ICS, ICR_RXT0);
		if (!nf_irq(d->nf))
			return true;
	}
	return false;
}

static void test_throttle(void **state)
{
	struct e_driver *d = e_new();

	e_store(d, E1000_ITR, 0xffff);
	e_store(d, E1000_IMS, ICR_RXT0);
	e_store(d, E1000_ICS, ICR_RXT0);
	assert_true(nf_irq(d->nf));
	assert_true(is_held_back(d));
	nf_run_ms(d->nf, 100);
	assert_true(nf_irq(d->nf));
	assert_true(is_held_back(d));
	e_store(d, E1000_ITR, 0);
	assert_true(nf_irq(d->nf));
	e_free(d);
}

static void test_rx_delay(void **state)
{
	struct e_driver *d = e_new();
	uint8_t f[64];

	e_incoming(f, broadcast, 60);
	e_store(d, E1000_RDTR, 50000); /* 51 ms */
	e_store(d, E1000_RADV, 60000);
	e_store(d, E1000_IMS, ICR_RXT0);
	assert_true(e_rx(d, f, 60));
	assert_false(nf_irq(d->nf));
	nf_run_ms(d->nf, 150);
	assert_true(nf_irq(d->nf));
	e_load(d, E1000_ICR);
	/* FPD */
	assert_true(e_rx(d, f, 60));
	assert_false(nf_irq(d->nf));
	e_store(d, E1000_RDTR, 50000 | DELAY_FPD);
	assert_true(nf_irq(d->nf));
	/* What asks again and again gets it after RADV all the same. */
	e_load(d, E1000_ICR);
	for (int i = 0; i < 10 && !nf_irq(d->nf); i++) {
		nf_rx(d->nf, f, 60);
		nf_run_ms(d->nf, 20);
	}
	assert_true(nf_irq(d->nf));
	e_free(d);
}

/* Two cards have nothing in common; one without a cable works, too. */
static void test_two(void **state)
{
	struct e_driver *a = e_new(), *b = e_new_with(true, NF_OFFLOADS, "mac=52:54:00:aa:bb:cd");

	e_store(a, E1000_FCTTV, 1);
	assert_int_equal(e_load(b, E1000_FCTTV), 0);
	assert_int_equal(e_load(b, E1000_STATUS) & STATUS_LU, 0);
	assert_int_equal(e_load(b, E1000_RA + 4), 0x8000cdbb);
	device_reset(b->nf->dev);
	e_free(b);
	assert_true(e_load(a, E1000_STATUS) & STATUS_LU);
	e_free(a);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_identity),  cmocka_unit_test(test_reset_values),
		cmocka_unit_test(test_patterns),  cmocka_unit_test(test_io_bar_and_aliases),
		cmocka_unit_test(test_mac_reset), cmocka_unit_test(test_eeprom),
		cmocka_unit_test(test_phy),	  cmocka_unit_test(test_link),
		cmocka_unit_test(test_causes),	  cmocka_unit_test(test_throttle),
		cmocka_unit_test(test_rx_delay),  cmocka_unit_test(test_two),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
