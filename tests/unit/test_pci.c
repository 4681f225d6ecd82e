/*
 * PCI at the wire level: configuration mechanism #1, BARs, ROM, INTx, slots, firmware's part, with
 * toy devices.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>
#include <errno.h>

#include "fake_platform.h"

struct toy {
	struct pci_device pci;
	uint32_t reg[16]; /* the memory BAR */
	uint8_t port[32]; /* the I/O BAR */
	unsigned int masters;
};

/* Handlers run on any thread, where cmocka can't fail a test. */
static void in_region(uint64_t offset, unsigned int size)
{
	if (offset > 64 - size) {
		fprintf(stderr, "access at 0x%llx leaves the region\n", (unsigned long long)offset);
		abort();
	}
}

static uint64_t toy_mem_read(void *opaque, uint64_t offset, unsigned int size)
{
	in_region(offset, size);
	return ((struct toy *)opaque)->reg[offset / 4];
}

static void toy_mem_write(void *opaque, uint64_t offset, unsigned int size, uint64_t value)
{
	in_region(offset, size);
	((struct toy *)opaque)->reg[offset / 4] = (uint32_t)value;
}

static uint64_t toy_io_read(void *opaque, uint64_t offset, unsigned int size)
{
	return ((struct toy *)opaque)->port[offset];
}

static void toy_io_write(void *opaque, uint64_t offset, unsigned int size, uint64_t value)
{
	((struct toy *)opaque)->port[offset] = (uint8_t)value;
}

static const struct region_ops toy_mem = {toy_mem_read, toy_mem_write, 4, 4, false};
static const struct region_ops toy_io = {toy_io_read, toy_io_write, 1, 1, false};

static void master_changed(struct pci_device *pci, bool on)
{
	((struct toy *)pci)->masters++;
}

static int toy_realize(struct device *dev, struct err *err)
{
	struct toy *t = (struct toy *)dev;

	assert_int_equal(pci_bar_add(&t->pci, 0, PCI_BAR_IO, 32, "toy.io", &toy_io, t), 0);
	assert_int_equal(pci_bar_add(&t->pci, 1, PCI_BAR_MEM32, 64, "toy.mem", &toy_mem, t), 0);
	assert_int_equal(pci_bar_add_space(&t->pci, 2, PCI_BAR_MEM64, true, 0x3000), 0);
	assert_int_equal(pci_bar_add_space(&t->pci, 3, PCI_BAR_MEM32, false, 64), -EINVAL);
	assert_int_equal(pci_cap_add(&t->pci, 0x09, 8), 0x40);
	t->pci.rom_window = 0x10000;
	t->pci.bus_master_changed = master_changed;
	return 0;
}

static const struct pci_identity toy_identity = {
	.vendor = 0x1234,
	.device = 0x5678,
	.subsystem_vendor = 0x9abc,
	.subsystem = 0xdef0,
	.class = 0x020000,
	.revision = 7,
	.interrupt_pin = 1,
};

static const struct device_model toy_model = {
	.name = "toy",
	.size = sizeof(struct toy),
	.opts = {{pci_device_opts, 0}},
	.pci = &toy_identity,
	.realize = toy_realize,
};

static struct fake_platform fp;

static struct toy *toy(const char *id, const char *options)
{
	struct err err = {0};
	struct device *dev = fp_device_of(&fp, &toy_model, id, options, &err);

	if (!dev)
		print_message("%s\n", err.msg);
	assert_non_null(dev);
	return (struct toy *)dev;
}

static int setup(void **state)
{
	fp_init(&fp);
	return 0;
}

static int teardown(void **state)
{
	fp_destroy(&fp);
	return 0;
}

static void test_header(void **state)
{
	struct toy *t = toy("a", NULL);

	assert_int_equal(t->pci.slot, 2);
	assert_int_equal(fp_config_read(&fp, 2, 0, 0x00, 4), 0x56781234);
	assert_int_equal(fp_config_read(&fp, 2, 0, 0x02, 2), 0x5678);
	assert_int_equal(fp_config_read(&fp, 2, 0, 0x08, 4), 0x02000007);
	assert_int_equal(fp_config_read(&fp, 2, 0, 0x0b, 1), 0x02);
	assert_int_equal(fp_config_read(&fp, 2, 0, 0x2c, 4), 0xdef09abc);
	assert_int_equal(fp_config_read(&fp, 2, 0, 0x06, 2), 0x0010);
	assert_int_equal(fp_config_read(&fp, 2, 0, 0x34, 1), 0x40);
	assert_int_equal(fp_config_read(&fp, 2, 0, 0x40, 2), 0x0009);
	assert_int_equal(fp_config_read(&fp, 2, 0, 0x3d, 1), 1);
	fp_config_write(&fp, 2, 0, 0x00, 4, 0);
	assert_int_equal(fp_config_read(&fp, 2, 0, 0x00, 4), 0x56781234);
	fp_config_write(&fp, 2, 0, 0x3c, 1, 11);
	assert_int_equal(fp_config_read(&fp, 2, 0, 0x3c, 2), 0x010b);
	/* nobody there */
	assert_int_equal(fp_config_read(&fp, 3, 0, 0, 4), 0xffffffff);
	assert_int_equal(fp_config_read(&fp, 2, 1, 0, 2), 0xffff);
	fp_config_write(&fp, 3, 0, 4, 2, 7);
	device_destroy(&t->pci.dev);
	assert_int_equal(fp_config_read(&fp, 2, 0, 0, 4), 0xffffffff);
}

static void test_ports(void **state)
{
	struct toy *t = toy("a", NULL);

	fp_out(&fp, 0xcf8, 4, 0x80001003);
	assert_int_equal(fp_in(&fp, 0xcf8, 4), 0x80001000);
	/* not dwords: not CONFADD's */
	fp_out(&fp, 0xcf8, 2, 0xffff);
	fp_out(&fp, 0xcfb, 1, 0);
	assert_int_equal(fp_in(&fp, 0xcf8, 4), 0x80001000);
	assert_int_equal(fp_in(&fp, 0xcfc, 4), 0x56781234);
	assert_int_equal(fp_in(&fp, 0xcfd, 1), 0x12);
	assert_int_equal(fp_in(&fp, 0xcfd, 2), 0x7812);
	/* disabled, or another bus */
	fp_out(&fp, 0xcf8, 4, 0x00001000);
	assert_int_equal(fp_in(&fp, 0xcfc, 4), 0xffffffff);
	fp_out(&fp, 0xcf8, 4, 0x80011000);
	assert_int_equal(fp_in(&fp, 0xcfc, 4), 0xffffffff);
	pci_bus_reset(fp.p.pci);
	assert_int_equal(fp_in(&fp, 0xcf8, 4), 0);
	device_destroy(&t->pci.dev);
}

static void test_bars(void **state)
{
	struct toy *t = toy("a", NULL);

	/* sizes */
	for (unsigned int i = 0x10; i < 0x20; i += 4)
		fp_config_write(&fp, 2, 0, i, 4, 0xffffffff);
	assert_int_equal(fp_config_read(&fp, 2, 0, 0x10, 4), 0xffffffe1);
	assert_int_equal(fp_config_read(&fp, 2, 0, 0x14, 4), 0xffffffc0);
	assert_int_equal(fp_config_read(&fp, 2, 0, 0x18, 4), 0xffffc00c);
	assert_int_equal(fp_config_read(&fp, 2, 0, 0x1c, 4), 0xffffffff);
	fp_config_write(&fp, 2, 0, 0x20, 4, 0xffffffff);
	assert_int_equal(fp_config_read(&fp, 2, 0, 0x20, 4), 0);

	/* on, moved, off */
	fp_config_write(&fp, 2, 0, 0x10, 4, 0xc000);
	fp_config_write(&fp, 2, 0, 0x14, 4, 0xe0000000);
	assert_int_equal(fp_load(&fp, 0xe0000004, 4), 0xffffffff);
	fp_config_write(&fp, 2, 0, 0x04, 2, 3);
	assert_int_equal(pci_bar_address(&t->pci, 0), 0xc000);
	assert_int_equal(pci_bar_address(&t->pci, 1), 0xe0000000);
	fp_store(&fp, 0xe0000004, 4, 0x11223344);
	assert_int_equal(t->reg[1], 0x11223344);
	fp_out(&fp, 0xc01f, 1, 0x5a);
	assert_int_equal(t->port[31], 0x5a);
	fp_config_write(&fp, 2, 0, 0x14, 4, 0xe1000000);
	assert_int_equal(fp_load(&fp, 0xe0000004, 4), 0xffffffff);
	assert_int_equal(fp_load(&fp, 0xe1000004, 4), 0x11223344);
	/* sized while decoding: nowhere meanwhile */
	fp_config_write(&fp, 2, 0, 0x14, 4, 0xffffffff);
	assert_int_equal(pci_bar_address(&t->pci, 1), 0);
	assert_int_equal(fp_load(&fp, 0xffffffc4, 4), 0xffffffff);
	fp_config_write(&fp, 2, 0, 0x14, 4, 0xe1000000);
	fp_config_write(&fp, 2, 0, 0x04, 2, 1);
	assert_int_equal(fp_load(&fp, 0xe1000004, 4), 0xffffffff);
	assert_int_equal(fp_in(&fp, 0xc01f, 1), 0x5a);
	/* a port address that doesn't exist */
	fp_config_write(&fp, 2, 0, 0x10, 4, 0x1c000);
	assert_int_equal(pci_bar_address(&t->pci, 0), 0);

	/* 64 bits: above 4 GiB, byte by byte */
	fp_config_write(&fp, 2, 0, 0x18, 4, 0);
	fp_config_write(&fp, 2, 0, 0x1c, 4, 0);
	fp_config_write(&fp, 2, 0, 0x04, 2, 2);
	fp_config_write(&fp, 2, 0, 0x1c, 1, 1);
	assert_int_equal(pci_bar_address(&t->pci, 2), UINT64_C(0x100000000));
	fp_config_write(&fp, 2, 0, 0x1f, 1, 0x80);
	assert_int_equal(pci_bar_address(&t->pci, 2), 0);

	device_reset(&t->pci.dev);
	assert_int_equal(fp_config_read(&fp, 2, 0, 0x14, 4), 0);
	assert_int_equal(fp_config_read(&fp, 2, 0, 0x04, 2), 0);
	assert_int_equal(pci_bar_address(&t->pci, 1), 0);
	device_destroy(&t->pci.dev);
}

static void test_rom(void **state)
{
	char path[] = "/tmp/vireo-test-rom-XXXXXX", options[64];
	struct err err = {0};
	int fd = mkstemp(path);
	struct toy *t = toy("empty", NULL);

	assert_true(fd >= 0);
	fp_config_write(&fp, 2, 0, 0x30, 4, 0xffffffff);
	assert_int_equal(fp_config_read(&fp, 2, 0, 0x30, 4), 0xffff0001);
	fp_config_write(&fp, 2, 0, 0x30, 4, 0xe8000000);
	fp_config_write(&fp, 2, 0, 0x04, 2, 2);
	assert_int_equal(pci_bar_address(&t->pci, PCI_BAR_ROM), 0);
	fp_config_write(&fp, 2, 0, 0x30, 4, 0xe8000001);
	assert_int_equal(pci_bar_address(&t->pci, PCI_BAR_ROM), 0xe8000000);
	assert_int_equal(fp_load(&fp, 0xe8000000, 2), 0xffff);
	device_destroy(&t->pci.dev);

	assert_int_equal(write(fd, "\x55\xaa\x03", 3), 3);
	snprintf(options, sizeof(options), "romfile=%s", path);
	t = toy("full", options);
	fp_config_write(&fp, 2, 0, 0x30, 4, 0xfffff801);
	assert_int_equal(fp_config_read(&fp, 2, 0, 0x30, 4), 0xfffff801); /* 2 KiB */
	fp_config_write(&fp, 2, 0, 0x30, 4, 0xe8000001);
	fp_config_write(&fp, 2, 0, 0x04, 2, 2);
	assert_int_equal(fp_load(&fp, 0xe8000000, 4), 0xff03aa55);
	fp_store(&fp, 0xe8000000, 4, 0);
	assert_int_equal(fp_load(&fp, 0xe8000001, 1), 0xaa);
	device_destroy(&t->pci.dev);

	t = toy("none", "rombar=0");
	fp_config_write(&fp, 2, 0, 0x30, 4, 0xffffffff);
	assert_int_equal(fp_config_read(&fp, 2, 0, 0x30, 4), 0);
	device_destroy(&t->pci.dev);

	assert_null(fp_device_of(&fp, &toy_model, "x", "romfile=/nonexistent", &err));
	assert_non_null(strstr(err.msg, "romfile=/nonexistent: No such file"));
	close(fd);
	unlink(path);
}

static void test_slots(void **state)
{
	struct toy *a = toy("a", NULL), *b = toy("b", "addr=0x5.0x0,multifunction=on"),
		   *c = toy("c", "addr=5.7"), *d = toy("d", "addr=1f"), *e = toy("e", NULL);
	struct err err = {0};

	assert_int_equal(a->pci.slot, 2);
	assert_int_equal(b->pci.slot, 5);
	assert_int_equal(c->pci.function, 7);
	assert_int_equal(d->pci.slot, 31);
	assert_int_equal(e->pci.slot, 3);
	assert_int_equal(fp_config_read(&fp, 5, 0, 0x0e, 1), 0x80);
	assert_int_equal(fp_config_read(&fp, 5, 7, 0x00, 2), 0x1234);

	assert_null(fp_device_of(&fp, &toy_model, "f", "addr=5.7", &err));
	assert_string_equal(err.msg, "f: PCI address 05.7 is taken by c (choose another addr=, or "
				     "leave addr= out)");
	assert_null(fp_device_of(&fp, &toy_model, "f", "addr=2.1", &err));
	assert_non_null(strstr(err.msg, "a in function 0 of that slot is a single-function"));
	assert_null(fp_device_of(&fp, &toy_model, "f", "addr=20", &err));
	assert_null(fp_device_of(&fp, &toy_model, "f", "addr=1.8", &err));
	assert_null(fp_device_of(&fp, &toy_model, "f", "addr=", &err));
	assert_null(fp_device_of(&fp, &toy_model, "f", "addr=3.", &err));
	assert_null(fp_device_of(&fp, &toy_model, "f", "addr=-1", &err));
	assert_null(fp_device_of(&fp, &toy_model, "f", "adr=3", &err));
	assert_non_null(strstr(err.msg, "addr"));
	device_destroy(&b->pci.dev);
	assert_null(fp_device_of(&fp, &toy_model, "f", "addr=5", &err));
	assert_non_null(strstr(err.msg, "c is in function 7"));

	device_destroy(&a->pci.dev);
	device_destroy(&c->pci.dev);
	device_destroy(&d->pci.dev);
	device_destroy(&e->pci.dev);
}

static void test_slots_full(void **state)
{
	struct device *dev[32];
	struct err err = {0};

	for (unsigned int i = 2; i < 32; i++)
		dev[i] = &toy("x", NULL)->pci.dev;
	assert_null(fp_device_of(&fp, &toy_model, "last", NULL, &err));
	assert_non_null(strstr(err.msg, "last: no free PCI slot"));
	for (unsigned int i = 2; i < 32; i++)
		device_destroy(dev[i]);
}

static bool pirq[4];
static unsigned int pirq_calls;

static void route(void *opaque, unsigned int n, bool level)
{
	pirq[n] = level;
	pirq_calls++;
}

static void test_intx(void **state)
{
	struct toy *a = toy("a", "addr=3"), *b = toy("b", "addr=7"), *c = toy("c", "addr=4");

	pci_bus_set_router(fp.p.pci, route, NULL);
	pirq_calls = 0;
	/* slots 3 and 7 share a line, 4 has the next */
	pci_intx_set(&a->pci, true);
	assert_true(pirq[2] && !pirq[3]);
	pci_intx_set(&b->pci, true);
	pci_intx_set(&b->pci, true);
	assert_int_equal(pirq_calls, 1);
	pci_intx_set(&a->pci, false);
	assert_true(pirq[2]);
	pci_intx_set(&c->pci, true);
	assert_true(pirq[3]);
	assert_int_equal(fp_config_read(&fp, 7, 0, 6, 2), 0x0018);
	assert_int_equal(fp_config_read(&fp, 3, 0, 6, 2), 0x0010);
	/* disabled: off the line, the status bit stays */
	fp_config_write(&fp, 7, 0, 4, 2, 0x400);
	assert_false(pirq[2]);
	assert_int_equal(fp_config_read(&fp, 7, 0, 6, 2), 0x0018);
	fp_config_write(&fp, 7, 0, 4, 2, 0);
	assert_true(pirq[2]);
	device_reset(&b->pci.dev);
	assert_false(pirq[2]);
	device_destroy(&c->pci.dev);
	assert_false(pirq[3]);
	device_destroy(&a->pci.dev);
	device_destroy(&b->pci.dev);
	pci_bus_set_router(fp.p.pci, NULL, NULL);
}

static void test_bus_master(void **state)
{
	struct toy *t = toy("a", NULL);

	assert_false(pci_may_dma(&t->pci));
	fp_config_write(&fp, 2, 0, 4, 1, 4);
	assert_true(pci_may_dma(&t->pci));
	fp_config_write(&fp, 2, 0, 4, 1, 4);
	assert_int_equal(t->masters, 1);
	device_reset(&t->pci.dev);
	assert_false(pci_may_dma(&t->pci));
	assert_int_equal(t->masters, 2);
	device_destroy(&t->pci.dev);
}

static void test_assign(void **state)
{
	static const struct pci_windows windows = {0xc000, 0x3f00, 0xc0000000, 0x3ec00000};
	static const struct pci_windows small = {0xc000, 0x3f00, 0xc0000000, 0x8000};
	static const uint8_t gsi[4] = {5, 9, 10, 11};
	struct toy *a = toy("a", "addr=3"), *b = toy("b", "addr=4");
	struct err err = {0};

	assert_int_equal(pci_bus_assign(fp.p.pci, &windows, gsi, &err), 0);
	for (unsigned int i = 0; i < PCI_BARS; i++) {
		uint64_t x = pci_bar_address(&a->pci, i), y = pci_bar_address(&b->pci, i);

		if (i == PCI_BAR_ROM || a->pci.bar[i].kind == PCI_BAR_NONE)
			continue;
		assert_true(x && y && x != y);
		assert_int_equal(x % a->pci.bar[i].size, 0);
		assert_int_equal(y % a->pci.bar[i].size, 0);
	}
	assert_int_equal(fp_config_read(&fp, 3, 0, 0x04, 2), 3);
	assert_int_equal(fp_config_read(&fp, 3, 0, 0x3c, 1), 10);
	assert_int_equal(fp_config_read(&fp, 4, 0, 0x3c, 1), 11);
	assert_int_equal(pci_bus_assign(fp.p.pci, &small, gsi, &err), -ENOSPC);
	device_destroy(&a->pci.dev);
	device_destroy(&b->pci.dev);
}

/* ---- threads ---- */

#define ROUNDS 20000

static void *mover(void *opaque)
{
	for (unsigned int i = 0; i < ROUNDS; i++)
		pci_config_write(fp.p.pci, 2, 0, 0x14, 4, i & 1 ? 0xe0000000 : 0xe0001000);
	return opaque;
}

static void *toucher(void *opaque)
{
	for (unsigned int i = 0; i < ROUNDS; i++) {
		bus_write(fp.p.bus, 1, BUS_MMIO, 0xe0000000 + i % 16 * 4, 4, i);
		bus_read(fp.p.bus, 1, BUS_MMIO, 0xe0001000 + i % 16 * 4, 4);
	}
	return opaque;
}

static void *interrupter(void *opaque)
{
	for (unsigned int i = 0; i < ROUNDS; i++)
		pci_intx_set(opaque, i & 1);
	pci_intx_set(opaque, false);
	return NULL;
}

/* Two processors and an I/O thread at one function, and functions that come and go beside it. */
static void test_threads(void **state)
{
	struct toy *t = toy("a", "addr=2");
	pthread_t thread[3];

	pci_bus_set_router(fp.p.pci, route, NULL);
	fp_config_write(&fp, 2, 0, 4, 2, 2);
	assert_int_equal(pthread_create(&thread[0], NULL, mover, NULL), 0);
	assert_int_equal(pthread_create(&thread[1], NULL, toucher, NULL), 0);
	assert_int_equal(pthread_create(&thread[2], NULL, interrupter, t), 0);
	for (unsigned int i = 0; i < 200; i++) {
		struct toy *u = toy("b", "addr=3");

		pci_config_write(fp.p.pci, 3, 0, 0x14, 4, 0xe0000020);
		pci_config_write(fp.p.pci, 3, 0, 4, 2, 2);
		device_destroy(&u->pci.dev);
	}
	for (unsigned int i = 0; i < 3; i++)
		pthread_join(thread[i], NULL);
	assert_false(pirq[0] || pirq[1] || pirq[2] || pirq[3]);
	pci_bus_set_router(fp.p.pci, NULL, NULL);
	device_destroy(&t->pci.dev);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_header, setup, teardown),
		cmocka_unit_test_setup_teardown(test_ports, setup, teardown),
		cmocka_unit_test_setup_teardown(test_bars, setup, teardown),
		cmocka_unit_test_setup_teardown(test_rom, setup, teardown),
		cmocka_unit_test_setup_teardown(test_slots, setup, teardown),
		cmocka_unit_test_setup_teardown(test_slots_full, setup, teardown),
		cmocka_unit_test_setup_teardown(test_intx, setup, teardown),
		cmocka_unit_test_setup_teardown(test_bus_master, setup, teardown),
		cmocka_unit_test_setup_teardown(test_assign, setup, teardown),
		cmocka_unit_test_setup_teardown(test_threads, setup, teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
