/*
 * virtio over PCI: identity, capabilities and registers, as firmware and drivers use them.
 */
#include "vpci_fixture.h"

/* ---- what lspci sees ---- */

static uint32_t bar_size(struct fix *f, unsigned int reg)
{
	uint32_t was = fp_config_read(&f->fp, SLOT, 0, reg, 4), mask;

	fp_config_write(&f->fp, SLOT, 0, reg, 4, 0xffffffff);
	mask = fp_config_read(&f->fp, SLOT, 0, reg, 4);
	fp_config_write(&f->fp, SLOT, 0, reg, 4, was);
	mask &= reg == 0x30 ? ~0x7ffU : mask & 1 ? ~3U : ~15U;
	return mask ? ~mask + 1 : 0;
}

static unsigned int vendor_caps(struct fix *f, unsigned int *msix)
{
	unsigned int types = 0;

	*msix = 0;
	for (unsigned int c = fp_config_read(&f->fp, SLOT, 0, 0x34, 1); c;
	     c = fp_config_read(&f->fp, SLOT, 0, c + 1, 1)) {
		if (fp_config_read(&f->fp, SLOT, 0, c, 1) == 0x11)
			*msix = c;
		else
			types |= 1U << fp_config_read(&f->fp, SLOT, 0, c + 3, 1);
	}
	return types;
}

static void test_transitional_identity(void **state)
{
	struct fix *f = start_toy(NULL);
	unsigned int msix;

	fp_config_write(&f->fp, SLOT, 0, 4, 2, 0);
	assert_int_equal(fp_config_read(&f->fp, SLOT, 0, 0, 4), 0x10001af4);
	assert_int_equal(fp_config_read(&f->fp, SLOT, 0, 8, 4), 0x02000000);
	assert_int_equal(fp_config_read(&f->fp, SLOT, 0, 0x2c, 4), 0x00011af4);
	assert_int_equal(fp_config_read(&f->fp, SLOT, 0, 0x3d, 1), 1);
	assert_int_equal(bar_size(f, 0x10), 32);
	assert_int_equal(fp_config_read(&f->fp, SLOT, 0, 0x10, 4) & 3, 1);
	assert_int_equal(bar_size(f, 0x14), 4096);
	assert_int_equal(fp_config_read(&f->fp, SLOT, 0, 0x14, 4) & 15, 0);
	assert_int_equal(bar_size(f, 0x20), 16384);
	assert_int_equal(fp_config_read(&f->fp, SLOT, 0, 0x20, 4) & 15, 0xc);
	assert_int_equal(bar_size(f, 0x30), 65536);
	assert_int_equal(vendor_caps(f, &msix), 0x3e);			   /* types 1 to 5 */
	assert_int_equal(fp_config_read(&f->fp, SLOT, 0, msix + 2, 2), 2); /* Count=3 */
	assert_int_equal(fp_config_read(&f->fp, SLOT, 0, msix + 4, 4), 1);
	assert_int_equal(fp_config_read(&f->fp, SLOT, 0, msix + 8, 4), 0x800 | 1);
	finish(f);
}

static void test_other_identities(void **state)
{
	struct fix *f = start_toy("disable-legacy=on");
	unsigned int msix;

	assert_int_equal(fp_config_read(&f->fp, SLOT, 0, 0, 4), 0x10411af4);
	assert_int_equal(fp_config_read(&f->fp, SLOT, 0, 8, 1), 1);
	assert_true(fp_config_read(&f->fp, SLOT, 0, 0x2e, 2) >= 0x40);
	assert_int_equal(bar_size(f, 0x10), 0);
	modern_up(f, 0);
	echo(f, 0, 1);
	finish(f);

	f = start_toy("disable-modern=on,vectors=0");
	assert_int_equal(fp_config_read(&f->fp, SLOT, 0, 0, 4), 0x10001af4);
	assert_int_equal(bar_size(f, 0x20), 0);
	assert_int_equal(vendor_caps(f, &msix), 0);
	assert_int_equal(msix, 0);
	legacy_up(f, 0);
	echo(f, 0, 1);
	finish(f);

	f = start_toy("vectors=200");
	vendor_caps(f, &msix);
	assert_int_equal(bar_size(f, 0x14), 4096);
	assert_int_equal(fp_config_read(&f->fp, SLOT, 0, msix + 8, 4), 3200 | 1);
	device_destroy(f->dev);
	f->dev = fp_device(&f->fp, "test-toy-pci", "d0", "disable-legacy=on,disable-modern=on",
			   &f->err);
	assert_null(f->dev);
	assert_non_null(strstr(f->err.msg, "disable-modern"));
	f->dev = fp_device(&f->fp, "test-toy-pci", "d0", "vectors=2049", &f->err);
	assert_null(f->dev);
	assert_non_null(strstr(f->err.msg, "vectors=2049"));
	f->dev = fp_device(&f->fp, "test-toy-pci", "d0", "vectors=2048", &f->err);
	assert_non_null(f->dev);
	finish(f);
}

/* ---- features and status ---- */

static void test_features(void **state)
{
	struct fix *f = start_toy(NULL);
	const uint64_t v1 = virtio_bit(VIRTIO_F_VERSION_1);

	assert_int_equal(offered(f), v1 | virtio_bit(VIRTIO_F_RING_RESET) |
					     virtio_bit(VIRTIO_RING_F_EVENT_IDX) |
					     virtio_bit(VIRTIO_RING_F_INDIRECT_DESC) | 0x21);
	assert_int_equal(fp_in(&f->fp, IO, 4), virtio_bit(VIRTIO_RING_F_EVENT_IDX) |
						       virtio_bit(VIRTIO_RING_F_INDIRECT_DESC) |
						       virtio_bit(VIRTIO_F_ANY_LAYOUT) |
						       virtio_bit(VIRTIO_F_NOTIFY_ON_EMPTY) | 0x21);
	set_status(f, ACK | DRIVER);
	/* Not offered; and legacy bits are not offered to a modern driver. */
	set_features(f, v1 | 2);
	set_status(f, ACK | DRIVER | OK);
	assert_int_equal(status(f), ACK | DRIVER);
	set_features(f, v1 | virtio_bit(VIRTIO_F_NOTIFY_ON_EMPTY));
	set_status(f, ACK | DRIVER | OK);
	assert_int_equal(status(f), ACK | DRIVER);
	/* No VERSION_1. */
	set_features(f, 1);
	set_status(f, ACK | DRIVER | OK);
	assert_int_equal(status(f), ACK | DRIVER);
	/* DRIVER_OK goes nowhere without FEATURES_OK. */
	set_status(f, ACK | DRIVER | GO);
	assert_int_equal(status(f), ACK | DRIVER);
	assert_int_equal(f->toy->features, 0);
	set_features(f, v1 | 1);
	set_status(f, ACK | DRIVER | OK);
	assert_int_equal(status(f), ACK | DRIVER | OK);
	assert_int_equal(f->toy->features, v1 | 1);
	set_features(f, v1); /* settled */
	assert_int_equal(f->vp->vdev->features, v1 | 1);
	set_status(f, NEEDS_RESET | ACK | DRIVER | OK); /* not the driver's to set */
	assert_int_equal(status(f), ACK | DRIVER | OK);
	set_status(f, 0);
	assert_int_equal(status(f), 0);
	assert_int_equal(counter_get(&f->vp->vdev->refused), 3);

	/* A legacy driver that takes what isn't there gets what is. */
	legacy_up(f, 0xffffffff);
	assert_int_equal(f->toy->features, fp_in(&f->fp, IO, 4));
	finish(f);
}

static void test_queue_registers(void **state)
{
	struct fix *f = start_toy(NULL);

	assert_int_equal(rd(f, VIRTIO_PCI_COMMON_NUMQ, 2), QUEUES);
	wr(f, VIRTIO_PCI_COMMON_Q_SELECT, 2, QUEUES);
	assert_int_equal(rd(f, VIRTIO_PCI_COMMON_Q_SIZE, 2), 0);
	wr(f, VIRTIO_PCI_COMMON_Q_ENABLE, 2, 1);
	wr(f, VIRTIO_PCI_COMMON_Q_MSIX, 2, 0);
	wr(f, VIRTIO_PCI_COMMON_Q_SELECT, 2, 2);
	assert_int_equal(rd(f, VIRTIO_PCI_COMMON_Q_SIZE, 2), TOY_SIZE);
	assert_int_equal(rd(f, VIRTIO_PCI_COMMON_Q_NOFF, 2), 2);
	assert_int_equal(rd(f, VIRTIO_PCI_COMMON_Q_MSIX, 2), VIRTIO_MSI_NO_VECTOR);
	wr(f, VIRTIO_PCI_COMMON_Q_MSIX, 2, 2);
	assert_int_equal(rd(f, VIRTIO_PCI_COMMON_Q_MSIX, 2), 2);
	wr(f, VIRTIO_PCI_COMMON_Q_MSIX, 2, 3); /* there are three: 0, 1, 2 */
	assert_int_equal(rd(f, VIRTIO_PCI_COMMON_Q_MSIX, 2), VIRTIO_MSI_NO_VECTOR);
	/* Nonsense isn't enabled, and latches. */
	assert_int_equal(status(f), 0);
	wr(f, VIRTIO_PCI_COMMON_Q_ENABLE, 2, 1);
	assert_int_equal(rd(f, VIRTIO_PCI_COMMON_Q_ENABLE, 2), 0);
	assert_int_equal(status(f), NEEDS_RESET);
	queue_addresses(f, 2);
	wr(f, VIRTIO_PCI_COMMON_Q_SIZE, 2, 2 * TOY_SIZE);
	wr(f, VIRTIO_PCI_COMMON_Q_ENABLE, 2, 1);
	assert_int_equal(rd(f, VIRTIO_PCI_COMMON_Q_ENABLE, 2), 0);
	wr(f, VIRTIO_PCI_COMMON_Q_SIZE, 2, TOY_SIZE / 2);
	wr(f, VIRTIO_PCI_COMMON_Q_DESCHI, 4, 1);
	wr(f, VIRTIO_PCI_COMMON_Q_ENABLE, 2, 1);
	assert_int_equal(rd(f, VIRTIO_PCI_COMMON_Q_ENABLE, 2), 0);
	wr(f, VIRTIO_PCI_COMMON_Q_DESCHI, 4, 0);
	wr(f, VIRTIO_PCI_COMMON_Q_ENABLE, 2, 2); /* only 1 enables */
	assert_int_equal(rd(f, VIRTIO_PCI_COMMON_Q_ENABLE, 2), 0);
	wr(f, VIRTIO_PCI_COMMON_Q_ENABLE, 2, 1);
	assert_int_equal(rd(f, VIRTIO_PCI_COMMON_Q_ENABLE, 2), 1);
	/* Settled. */
	wr(f, VIRTIO_PCI_COMMON_Q_SIZE, 2, 1);
	wr(f, VIRTIO_PCI_COMMON_Q_USEDHI, 4, 7);
	wr(f, VIRTIO_PCI_COMMON_Q_ENABLE, 2, 0);
	assert_int_equal(rd(f, VIRTIO_PCI_COMMON_Q_SIZE, 2), TOY_SIZE / 2);
	assert_int_equal(rd(f, VIRTIO_PCI_COMMON_Q_USEDHI, 4), 0);
	assert_int_equal(rd(f, VIRTIO_PCI_COMMON_Q_ENABLE, 2), 1);
	/* Not as wide as the register: no write. */
	wr(f, VIRTIO_PCI_COMMON_STATUS, 2, ACK);
	assert_int_equal(status(f), NEEDS_RESET);
	wr(f, VIRTIO_PCI_COMMON_Q_SELECT, 1, 1);
	assert_int_equal(rd(f, VIRTIO_PCI_COMMON_Q_SELECT, 2), 2);
	finish(f);
}

static void test_config_space(void **state)
{
	struct fix *f = start_toy(NULL);
	uint8_t gen = (uint8_t)rd(f, VIRTIO_PCI_COMMON_CFGGENERATION, 1);

	assert_int_equal(fp_load(&f->fp, DEVICE, 8), UINT64_C(0x0001563412005452));
	assert_int_equal(fp_load(&f->fp, DEVICE + 4, 2), 0x5634);
	assert_int_equal(fp_load(&f->fp, DEVICE + 8, 4), 0);
	assert_int_equal(fp_load(&f->fp, DEVICE + 0xffc, 4), 0);
	fp_store(&f->fp, DEVICE + 2, 1, 0x77);
	fp_store(&f->fp, DEVICE + 8, 4, 0x77777777);
	assert_int_equal(f->toy->config[2], 0x77);
	assert_int_equal(fp_in(&f->fp, IO + 20, 4), 0x12775452);
	assert_int_equal(fp_in(&f->fp, IO + 28, 4), 0);
	msix_on(f, 3);
	assert_int_equal(fp_in(&f->fp, IO + 24, 4), 0x12775452);
	assert_int_equal(fp_in(&f->fp, IO + 20, 2), VIRTIO_MSI_NO_VECTOR);
	virtio_pci_set_link(f->dev, false);
	assert_int_equal(messages(f, 0x40), 0); /* no driver yet */
	modern_up(f, 0);
	virtio_pci_set_link(f->dev, true);
	assert_int_equal(messages(f, 0x40), 1);
	assert_int_equal((uint8_t)rd(f, VIRTIO_PCI_COMMON_CFGGENERATION, 1), (uint8_t)(gen + 2));
	finish(f);
}

/* The registers through configuration space, as firmware does. */
static void test_pci_cfg(void **state)
{
	struct fix *f = start_toy(NULL);
	unsigned int cap = f->vp->cfg_cap;

#define POINT(offset, length)                                            \
	do {                                                             \
		fp_config_write(&f->fp, SLOT, 0, cap + 4, 1, 4);         \
		fp_config_write(&f->fp, SLOT, 0, cap + 8, 4, (offset));  \
		fp_config_write(&f->fp, SLOT, 0, cap + 12, 4, (length)); \
	} while (0)
	POINT(VIRTIO_PCI_COMMON_NUMQ, 2);
	assert_int_equal(fp_config_read(&f->fp, SLOT, 0, cap + 16, 2), QUEUES);
	POINT(0x2000, 4);
	assert_int_equal(fp_config_read(&f->fp, SLOT, 0, cap + 16, 4), 0x12005452);
	POINT(VIRTIO_PCI_COMMON_STATUS, 1);
	fp_config_write(&f->fp, SLOT, 0, cap + 16, 1, ACK);
	assert_int_equal(status(f), ACK);
	assert_int_equal(fp_config_read(&f->fp, SLOT, 0, cap + 16, 1), ACK);
	modern_up(f, 0);
	put(f, 1, 9);
	POINT(0x3004, 2);
	fp_config_write(&f->fp, SLOT, 0, cap + 16, 2, 1);
	expect_echo(f, 1, 9);
	/* Nonsense goes nowhere. */
	POINT(0x3001, 2);
	fp_config_write(&f->fp, SLOT, 0, cap + 16, 4, 0xffffffff);
	POINT(0xfffffffc, 4);
	fp_config_write(&f->fp, SLOT, 0, cap + 16, 4, 0xffffffff);
	fp_config_read(&f->fp, SLOT, 0, cap + 16, 4);
	POINT(0x4000, 4);
	fp_config_read(&f->fp, SLOT, 0, cap + 16, 4);
	POINT(0, 8);
	fp_config_read(&f->fp, SLOT, 0, cap + 16, 4);
	POINT(0x1000, 1); /* the ISR has no write */
	fp_config_write(&f->fp, SLOT, 0, cap + 16, 1, 3);
	fp_config_write(&f->fp, SLOT, 0, cap + 4, 1, 0);
	fp_config_write(&f->fp, SLOT, 0, cap + 16, 4, 0xffffffff);
#undef POINT
	echo(f, 0, 1);
	finish(f);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_transitional_identity),
		cmocka_unit_test(test_other_identities),
		cmocka_unit_test(test_features),
		cmocka_unit_test(test_queue_registers),
		cmocka_unit_test(test_config_space),
		cmocka_unit_test(test_pci_cfg),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
