/*
 * MSI-X at the wire level: capability, table, masks, pending bits, routes; messages seen through
 * the fake VM.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <errno.h>
#include <string.h>
#include <unistd.h>

#include "bus/msi.h"
#include "bus/msix.h"
#include "fake_platform.h"

#define BASE	UINT64_C(0xe0000000)
#define TABLE	BASE
#define PBA	(BASE + 0x800)
#define VECTORS 70
#define CAP	0x40

static struct fake_platform fp;
static struct pci_device *pci;
static struct vm *vm;

static int toy_realize(struct device *dev, struct err *err)
{
	assert_int_equal(pci_bar_add_space(pci_of(dev), 1, PCI_BAR_MEM32, false, 0x1000), 0);
	assert_int_equal(msix_init(pci_of(dev), 1, VECTORS, 0, 0x800, err), 0);
	return msi_init(pci_of(dev), 4, true, err);
}

static void toy_unrealize(struct device *dev)
{
	msix_destroy(pci_of(dev));
	msi_destroy(pci_of(dev));
}

static const struct pci_identity toy_identity = {.vendor = 0x1234, .device = 1, .class = 0x020000};

static const struct device_model toy_model = {
	.name = "toy",
	.size = sizeof(struct pci_device),
	.opts = {{pci_device_opts, 0}},
	.pci = &toy_identity,
	.realize = toy_realize,
	.unrealize = toy_unrealize,
};

static int setup(void **state)
{
	struct err err = {0};

	fp_init(&fp);
	vm = fp.p.vm;
	pci = pci_of(fp_device_of(&fp, &toy_model, "toy", NULL, &err));
	assert_non_null(pci);
	fp_config_write(&fp, 2, 0, 0x14, 4, (uint32_t)BASE);
	fp_config_write(&fp, 2, 0, 0x04, 2, 6);
	return 0;
}

static int teardown(void **state)
{
	device_destroy(&pci->dev);
	assert_int_equal(fake_vm_routes(vm), 0);
	assert_int_equal(fake_vm_irqfds(vm), 0);
	fp_destroy(&fp);
	return 0;
}

static void control(unsigned int value)
{
	fp_config_write(&fp, 2, 0, CAP + 2, 2, value);
}

static void entry(unsigned int v, uint64_t address, uint32_t data, bool masked)
{
	fp_store(&fp, TABLE + v * 16, 4, (uint32_t)address);
	fp_store(&fp, TABLE + v * 16 + 4, 4, address >> 32);
	fp_store(&fp, TABLE + v * 16 + 8, 4, data);
	fp_store(&fp, TABLE + v * 16 + 12, 4, masked);
}

static void test_capability(void **state)
{
	assert_int_equal(fp_config_read(&fp, 2, 0, CAP, 4), (VECTORS - 1) << 16 | 0x11);
	assert_int_equal(fp_config_read(&fp, 2, 0, CAP + 4, 4), 0x001);
	assert_int_equal(fp_config_read(&fp, 2, 0, CAP + 8, 4), 0x801);
	control(0xffff);
	assert_int_equal(fp_config_read(&fp, 2, 0, CAP + 2, 2), 0xc000 | (VECTORS - 1));
	assert_true(msix_enabled(pci));
	assert_int_equal(msix_vectors(pci), VECTORS);
	device_reset(&pci->dev);
	assert_false(msix_enabled(pci));
	assert_int_equal(fp_config_read(&fp, 2, 0, CAP + 2, 2), VECTORS - 1);
}

static void test_table(void **state)
{
	/* power-on: all masked; 4 and 8 bytes */
	assert_int_equal(fp_load(&fp, TABLE + 12, 4), 1);
	fp_store(&fp, TABLE + 16, 8, UINT64_C(0x11223344fee00000));
	assert_int_equal(fp_load(&fp, TABLE + 16, 4), 0xfee00000);
	assert_int_equal(fp_load(&fp, TABLE + 20, 4), 0x11223344);
	fp_store(&fp, TABLE + 24, 8, UINT64_C(0xffffffff00000041));
	assert_int_equal(fp_load(&fp, TABLE + 24, 8), UINT64_C(0x100000041));
	/* narrow writes don't exist */
	fp_store(&fp, TABLE + 16, 1, 0);
	assert_int_equal(fp_load(&fp, TABLE + 16, 4), 0xfee00000);
	/* past the last entry */
	assert_int_equal(fp_load(&fp, TABLE + VECTORS * 16, 4), 0xffffffff);
	fp_store(&fp, TABLE + VECTORS * 16, 4, 1);
}

static void test_deliver(void **state)
{
	entry(0, 0xfee00000, 0x41, false);
	entry(69, UINT64_C(0x1fee01000), 0x42, false);
	assert_int_equal(fake_vm_routes(vm), 0); /* lazily */
	control(0x8000);
	assert_int_equal(fake_vm_routes(vm), 2);
	assert_int_equal(fake_vm_irqfds(vm), 2);
	msix_notify(pci, 0);
	msix_notify(pci, 69);
	msix_notify(pci, 70);
	assert_int_equal(fake_vm_messages(vm), 2);
	assert_int_equal(fake_vm_message(vm, 0).data, 0x41);
	assert_true(fake_vm_message(vm, 1).address == UINT64_C(0x1fee01000));
	/* a message changed while it isn't masked */
	fp_store(&fp, TABLE + 8, 4, 0x51);
	fake_vm_clear_messages(vm);
	msix_notify(pci, 0);
	assert_int_equal(fake_vm_messages(vm), 1);
	assert_int_equal(fake_vm_message(vm, 0).data, 0x51);
	assert_int_equal(msix_fd(pci, 70), -1);
	/* disabled: routes are given back */
	control(0);
	assert_int_equal(fake_vm_routes(vm), 0);
	msix_notify(pci, 0);
	fake_vm_clear_messages(vm);
	/* what came while it was disabled isn't delivered after */
	control(0x8000);
	assert_int_equal(fake_vm_messages(vm), 0);
}

static void test_vector_mask(void **state)
{
	entry(3, 0xfee00000, 0x43, true);
	entry(66, 0xfee00000, 0x44, true);
	control(0x8000);
	msix_notify(pci, 3);
	msix_notify(pci, 3);
	msix_notify(pci, 66);
	assert_int_equal(fake_vm_messages(vm), 0);
	assert_int_equal(fp_load(&fp, PBA, 8), 1 << 3);
	assert_int_equal(fp_load(&fp, PBA + 8, 4), 1 << 2);
	assert_int_equal(fp_load(&fp, PBA + 12, 4), 0);
	fp_store(&fp, PBA, 8, 0);
	assert_int_equal(fp_load(&fp, PBA, 4), 1 << 3);
	/* unmasked: one message, not pending any more */
	fp_store(&fp, TABLE + 3 * 16 + 12, 4, 0);
	assert_int_equal(fake_vm_messages(vm), 1);
	assert_int_equal(fake_vm_message(vm, 0).data, 0x43);
	assert_int_equal(fp_load(&fp, PBA, 4), 0);
	/* masked again: the route stays, the irqfd goes */
	fp_store(&fp, TABLE + 3 * 16 + 12, 4, 1);
	assert_int_equal(fake_vm_routes(vm), 1);
	assert_int_equal(fake_vm_irqfds(vm), 0);
}

static void test_function_mask(void **state)
{
	entry(1, 0xfee00000, 0x45, false);
	control(0xc000);
	msix_notify(pci, 1);
	assert_int_equal(fake_vm_messages(vm), 0);
	assert_int_equal(fp_load(&fp, PBA, 4), 2);
	control(0x8000);
	assert_int_equal(fake_vm_messages(vm), 1);
	control(0xc000);
	assert_int_equal(fake_vm_irqfds(vm), 0);
}

static void test_bus_master(void **state)
{
	entry(1, 0xfee00000, 0x45, false);
	control(0x8000);
	fp_config_write(&fp, 2, 0, 0x04, 2, 2);
	msix_notify(pci, 1);
	assert_int_equal(fake_vm_messages(vm), 0);
	fp_config_write(&fp, 2, 0, 0x04, 2, 6);
	assert_int_equal(fake_vm_messages(vm), 1);
}

static void test_garbage(void **state)
{
	fake_vm_refuse_address(vm, 0xdeadbeec);
	entry(0, 0xdeadbeec, 0xffffffff, false);
	entry(1, 0xfee00000, 0x46, false);
	control(0x8000);
	msix_notify(pci, 0);
	msix_notify(pci, 1);
	assert_int_equal(fake_vm_messages(vm), 1);
	assert_int_equal(fake_vm_message(vm, 0).data, 0x46);
	/* mended: what was pending comes */
	fp_store(&fp, TABLE, 4, 0xfee00000);
	assert_int_equal(fake_vm_messages(vm), 2);
	/* broken while connected */
	fp_store(&fp, TABLE + 16, 4, 0xdeadbeec);
	msix_notify(pci, 1);
	assert_int_equal(fake_vm_messages(vm), 2);
}

static void test_reset(void **state)
{
	entry(0, 0xfee00000, 0x41, false);
	control(0x8000);
	fp_store(&fp, TABLE + 12, 4, 1);
	msix_notify(pci, 0);
	device_reset(&pci->dev);
	fp_config_write(&fp, 2, 0, 0x14, 4, (uint32_t)BASE);
	fp_config_write(&fp, 2, 0, 0x04, 2, 6);
	assert_int_equal(fp_load(&fp, TABLE, 8), 0);
	assert_int_equal(fp_load(&fp, TABLE + 12, 4), 1);
	assert_int_equal(fp_load(&fp, PBA, 8), 0);
	assert_int_equal(fake_vm_routes(vm), 0);
}

static void test_bad_init(void **state)
{
	struct err err = {0};
	struct msix *m = pci->msix;

	assert_int_equal(msix_init(pci, 1, 0, 0, 0x800, &err), -EINVAL);
	assert_int_equal(msix_init(pci, 1, 2049, 0, 0x800, &err), -EINVAL);
	assert_int_equal(msix_init(pci, 1, 4, 4, 0x800, &err), -EINVAL);
	pci->msix = NULL;
	assert_int_equal(msix_init(pci, 2, 4, 0, 0x800, &err), -EINVAL);
	assert_int_equal(msix_init(pci, 1, 257, 0, 0x800, &err), -EINVAL);
	assert_null(pci->msix);
	pci->msix = m;
}

/* ---- MSI ---- */

#define MSI 0x4c

static void msi_set(unsigned int offset, unsigned int size, uint32_t value)
{
	fp_config_write(&fp, 2, 0, MSI + offset, size, value);
}

static void test_msi(void **state)
{
	assert_int_equal(fp_config_read(&fp, 2, 0, MSI, 4), 0x01844005);
	msi_set(0x4, 4, 0xfee00003);
	msi_set(0x8, 4, 1);
	msi_set(0xc, 2, 0x4043);
	assert_int_equal(fp_config_read(&fp, 2, 0, MSI + 4, 4), 0xfee00000);
	/* two of four */
	msi_set(0x2, 2, 0x11);
	assert_true(msi_enabled(pci));
	assert_int_equal(msi_allocated(pci), 2);
	assert_int_equal(fake_vm_routes(vm), 2);
	msi_notify(pci, 0);
	msi_notify(pci, 1);
	msi_notify(pci, 2);
	msi_notify(pci, 4);
	assert_int_equal(fake_vm_messages(vm), 2);
	assert_int_equal(fake_vm_message(vm, 0).data, 0x4042);
	assert_int_equal(fake_vm_message(vm, 1).data, 0x4043);
	assert_true(fake_vm_message(vm, 1).address == UINT64_C(0x1fee00000));
	/* masked: pending, then delivered */
	msi_set(0x10, 4, 0xffffffff);
	assert_int_equal(fp_config_read(&fp, 2, 0, MSI + 0x10, 4), 0xf);
	msi_notify(pci, 1);
	assert_int_equal(fake_vm_messages(vm), 2);
	assert_int_equal(fp_config_read(&fp, 2, 0, MSI + 0x14, 4), 0x6);
	msi_set(0x10, 1, 0);
	assert_int_equal(fake_vm_messages(vm), 3);
	/* more than it has: all four */
	msi_set(0x2, 2, 0x71);
	assert_int_equal(msi_allocated(pci), 4);
	fp_config_write(&fp, 2, 0, 0x04, 2, 2);
	assert_int_equal(fake_vm_irqfds(vm), 0);
	msi_set(0x2, 2, 0);
	assert_int_equal(fake_vm_routes(vm), 0);
	assert_int_equal(msi_fd(pci, 4), -1);
	device_reset(&pci->dev);
	assert_int_equal(fp_config_read(&fp, 2, 0, MSI + 0x4, 4), 0);
	assert_int_equal(fp_config_read(&fp, 2, 0, MSI + 0x14, 4), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_capability, setup, teardown),
		cmocka_unit_test_setup_teardown(test_table, setup, teardown),
		cmocka_unit_test_setup_teardown(test_deliver, setup, teardown),
		cmocka_unit_test_setup_teardown(test_vector_mask, setup, teardown),
		cmocka_unit_test_setup_teardown(test_function_mask, setup, teardown),
		cmocka_unit_test_setup_teardown(test_bus_master, setup, teardown),
		cmocka_unit_test_setup_teardown(test_garbage, setup, teardown),
		cmocka_unit_test_setup_teardown(test_reset, setup, teardown),
		cmocka_unit_test_setup_teardown(test_bad_init, setup, teardown),
		cmocka_unit_test_setup_teardown(test_msi, setup, teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
