/*
 * The board's chips at the wire level: identities, interrupt routing, reset, ACPI registers, IDE,
 * keyboard controller.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <string.h>

#include "bus/pc.h"
#include "dev/piix4_pm.h"
#include "fake_platform.h"

static struct fake_platform fp;
static struct device *host, *isa, *ide, *pm, *kbd;
static struct pci_device *toy;

static const struct pci_identity toy_identity = {.vendor = 0x1234, .interrupt_pin = 1};
static const struct device_model toy_model = {
	.name = "toy",
	.size = sizeof(struct pci_device),
	.opts = {{pci_device_opts, 0}},
	.pci = &toy_identity,
};

static struct device *make(const char *model, const char *options)
{
	struct err err = {0};
	struct device *dev = fp_device(&fp, model, model, options, &err);

	if (!dev)
		print_message("%s\n", err.msg);
	assert_non_null(dev);
	return dev;
}

static int setup(void **state)
{
	static const struct pci_windows windows = {0xc000, 0x3f00, 0xc0000000, 0x3ec00000};
	static const uint8_t gsi[4] = {5, 9, 10, 11};
	struct err err = {0};

	fp_init(&fp);
	host = make("i440FX", "addr=0");
	isa = make("PIIX3", "addr=1");
	ide = make("piix3-ide", "addr=1.1");
	pm = make("PIIX4_PM", "addr=1.3");
	kbd = make("i8042", NULL);
	toy = pci_of(fp_device_of(&fp, &toy_model, "toy", "addr=4", &err));
	assert_non_null(toy);
	assert_int_equal(pci_bus_assign(fp.p.pci, &windows, gsi, &err), 0);
	return 0;
}

static int teardown(void **state)
{
	device_destroy(&toy->dev);
	device_destroy(kbd);
	device_destroy(pm);
	device_destroy(ide);
	device_destroy(isa);
	device_destroy(host);
	fp_run(&fp, 1);
	fp_destroy(&fp);
	return 0;
}

static uint32_t in(uint16_t port, unsigned int size)
{
	return fp_in(&fp, port, size);
}

static void out(uint16_t port, unsigned int size, uint32_t value)
{
	fp_out(&fp, port, size, value);
}

/* As `lspci -nn` shows them: address, id, class, revision, header type. */
static void test_identity(void **state)
{
	static const struct {
		unsigned int slot, function;
		uint32_t id, class;
		uint8_t header;
	} chip[] = {
		{0, 0, 0x12378086, 0x06000002, 0x00},
		{1, 0, 0x70008086, 0x06010000, 0x80},
		{1, 1, 0x70108086, 0x01018000, 0x00},
		{1, 3, 0x71138086, 0x06800003, 0x00},
	};

	for (unsigned int i = 0; i < 4; i++) {
		unsigned int s = chip[i].slot, f = chip[i].function;

		assert_int_equal(fp_config_read(&fp, s, f, 0x00, 4), chip[i].id);
		assert_int_equal(fp_config_read(&fp, s, f, 0x08, 4), chip[i].class);
		assert_int_equal(fp_config_read(&fp, s, f, 0x0e, 1), chip[i].header);
		assert_int_equal(fp_config_read(&fp, s, f, 0x2c, 4), 0x11001af4);
	}
	assert_int_equal(fp_config_read(&fp, 1, 3, 0x3c, 2), 0x0109);
	assert_int_equal(fp_config_read(&fp, 0, 0, 0x04, 2), 0x0006);
	fp_config_write(&fp, 0, 0, 0x59, 1, 0xff);
	assert_int_equal(fp_config_read(&fp, 0, 0, 0x59, 1), 0xf0);
	assert_int_equal(fp_config_read(&fp, 0, 0, 0x72, 1), 0x02);
}

static void test_routing(void **state)
{
	unsigned int pirq = pc_pirq(4, 1);
	static const uint8_t gsi[4] = {5, 9, 10, 11};

	for (unsigned int i = 0; i < 4; i++)
		assert_int_equal(fp_config_read(&fp, 1, 0, 0x60 + i, 1), gsi[i]);
	assert_int_equal(fp_config_read(&fp, 4, 0, 0x3c, 1), gsi[pirq]);
	pci_intx_set(toy, true);
	assert_true(fake_vm_level(fp.p.vm, gsi[pirq]));
	/* moved while it is high, cut off, on again */
	fp_config_write(&fp, 1, 0, 0x60 + pirq, 1, 7);
	assert_false(fake_vm_level(fp.p.vm, gsi[pirq]));
	assert_true(fake_vm_level(fp.p.vm, 7));
	fp_config_write(&fp, 1, 0, 0x60 + pirq, 1, 0x87);
	assert_false(fake_vm_level(fp.p.vm, 7));
	/* not for PCI: the timer's, the clock's */
	fp_config_write(&fp, 1, 0, 0x60 + pirq, 1, 0);
	assert_false(fake_vm_level(fp.p.vm, 0));
	fp_config_write(&fp, 1, 0, 0x60 + pirq, 1, 8);
	assert_false(fake_vm_level(fp.p.vm, 8));
	fp_config_write(&fp, 1, 0, 0x60 + pirq, 1, 15);
	assert_true(fake_vm_level(fp.p.vm, 15));
	device_reset(isa);
	assert_false(fake_vm_level(fp.p.vm, 15));
	assert_int_equal(fp_config_read(&fp, 1, 0, 0x60, 4), 0x80808080);
	out(0x4d0, 1, 0xff);
	out(0x4d1, 1, 0xff);
	assert_int_equal(in(0x4d0, 2), 0xdef8);
}

static void expect_event(enum platform_event event)
{
	assert_int_equal(fp.n_events, 1);
	assert_int_equal(fp.event[0], event);
	fp.n_events = 0;
}

static void test_reset(void **state)
{
	out(0xcf9, 1, 0x02);
	assert_int_equal(fp.n_events, 0);
	assert_int_equal(in(0xcf9, 1), 0x02);
	out(0xcf9, 1, 0x06);
	expect_event(PLATFORM_RESET);
	out(0xcf9, 1, 0x06); /* no edge */
	assert_int_equal(fp.n_events, 0);
	out(0x64, 1, 0xfe);
	expect_event(PLATFORM_RESET);
	out(0x92, 1, 0x03);
	expect_event(PLATFORM_RESET);
	out(0x64, 1, 0xd1);
	out(0x60, 1, 0x02);
	expect_event(PLATFORM_RESET);
}

static void test_pm1(void **state)
{
	uint32_t a, b;

	assert_int_equal(fp_config_read(&fp, 1, 3, 0x40, 2), PC_PM_BASE | 1);
	assert_int_equal(in(PC_PM1_CNT, 2), 1);
	out(PC_PM1_EVT + 2, 2, 0xffff);
	assert_int_equal(in(PC_PM1_EVT + 2, 2), 0x0521);
	out(PC_PM1_EVT + 2, 2, 0x0100);
	piix4_pm_power_button(pm);
	assert_true(fake_vm_level(fp.p.vm, PC_IRQ_SCI));
	assert_int_equal(in(PC_PM1_EVT, 2), 0x0100);
	assert_int_equal(in(PC_PM1_EVT + 1, 1), 0x01);
	out(PC_PM1_EVT, 2, 0x0100);
	assert_false(fake_vm_level(fp.p.vm, PC_IRQ_SCI));
	/* the timer: 24 bits, forward at its rate */
	a = in(PC_PM_TMR, 4);
	fp_run(&fp, 20);
	b = in(PC_PM_TMR, 4);
	assert_in_range((b - a) & 0xffffff, PC_PM_TIMER_HZ / 50, PC_PM_TIMER_HZ);
	/* other sleep states are none; soft off */
	out(PC_PM1_CNT, 2, 0x2000 | 5 << 10);
	assert_int_equal(fp.n_events, 0);
	assert_int_equal(in(PC_PM1_CNT, 2), 5 << 10 | 1);
	out(PC_PM1_CNT, 2, 0x2000);
	expect_event(PLATFORM_POWEROFF);
	out(PC_PM1_CNT + 1, 1, 0x20);
	expect_event(PLATFORM_POWEROFF);
}

static void test_pm_timer_interrupt(void **state)
{
	out(PC_PM1_EVT, 2, 1);
	out(PC_PM1_EVT + 2, 2, 1);
	fp_run(&fp, 2500); /* half of the counter's way: 2.34 s */
	assert_true(fake_vm_level(fp.p.vm, PC_IRQ_SCI));
	out(PC_PM1_EVT, 2, 1);
	assert_false(fake_vm_level(fp.p.vm, PC_IRQ_SCI));
}

static void test_pm_moves(void **state)
{
	fp_config_write(&fp, 1, 3, 0x40, 2, 0x0700);
	assert_int_equal(in(PC_PM1_CNT, 2), 0xffff);
	assert_int_equal(in(0x704, 2), 1);
	fp_config_write(&fp, 1, 3, 0x80, 1, 0);
	assert_int_equal(in(0x704, 2), 0xffff);
	out(PC_GPE0 + 2, 2, 0x1234);
	assert_int_equal(in(PC_GPE0, 4), 0x12340000);
	device_reset(pm);
	assert_int_equal(in(PC_PM1_CNT, 2), 1);
	assert_int_equal(in(PC_GPE0, 4), 0);
}

static void test_ide(void **state)
{
	uint16_t bm = (uint16_t)(fp_config_read(&fp, 1, 1, 0x20, 4) & 0xfffe);

	assert_int_equal(pci_bar_address(pci_of(ide), 4), bm);
	assert_int_equal(in(0x1f7, 1), 0xff);
	assert_int_equal(in(0x177, 1), 0xff);
	assert_int_equal(fp_config_read(&fp, 1, 1, 0x40, 4), 0);
	out(bm, 1, 0xff);
	assert_int_equal(in(bm, 1), 0x09);
	out(bm + 2, 1, 0x66);
	assert_int_equal(in(bm + 2, 1), 0x60);
	out(bm + 12, 4, 0x12345677);
	assert_int_equal(in(bm + 12, 4), 0x12345674);
}

/* What Linux's i8042 driver asks, and answers without waiting. */
static void test_i8042(void **state)
{
	assert_int_equal(in(0x64, 1) & 1, 0);
	out(0x64, 1, 0xaa);
	assert_int_equal(in(0x64, 1) & 1, 1);
	assert_int_equal(in(0x60, 1), 0x55);
	assert_int_equal(in(0x64, 1) & 5, 4);
	out(0x64, 1, 0x60);
	out(0x60, 1, 0x45);
	out(0x64, 1, 0x20);
	assert_true(fake_vm_level(fp.p.vm, 1));
	assert_int_equal(in(0x60, 1), 0x45);
	assert_false(fake_vm_level(fp.p.vm, 1));
	/* the mouse: loop-back comes back as not the mouse's, the port's test fails */
	out(0x64, 1, 0xd3);
	out(0x60, 1, 0x5a);
	assert_int_equal(in(0x64, 1) & 0x21, 0x01);
	assert_int_equal(in(0x60, 1), 0x5a);
	out(0x64, 1, 0xa9);
	assert_int_equal(in(0x60, 1), 0x01);
	/* the keyboard: time-out at once */
	out(0x60, 1, 0xf2);
	assert_int_equal(in(0x64, 1) & 0x41, 0x41);
	assert_int_equal(in(0x60, 1), 0xfe);
	out(0x64, 1, 0xd0);
	assert_int_equal(in(0x60, 1), 0x03);
	out(0x92, 1, 0);
	assert_int_equal(in(0x92, 1), 0);
	out(0x64, 1, 0xdf);
	assert_int_equal(in(0x92, 1), 2);
	out(0x64, 1, 0x7f);
	out(0x60, 1, 0x99);
	out(0x64, 1, 0x3f);
	assert_int_equal(in(0x60, 1), 0x99);
	assert_int_equal(fp.n_events, 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_identity, setup, teardown),
		cmocka_unit_test_setup_teardown(test_routing, setup, teardown),
		cmocka_unit_test_setup_teardown(test_reset, setup, teardown),
		cmocka_unit_test_setup_teardown(test_pm1, setup, teardown),
		cmocka_unit_test_setup_teardown(test_pm_timer_interrupt, setup, teardown),
		cmocka_unit_test_setup_teardown(test_pm_moves, setup, teardown),
		cmocka_unit_test_setup_teardown(test_ide, setup, teardown),
		cmocka_unit_test_setup_teardown(test_i8042, setup, teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
