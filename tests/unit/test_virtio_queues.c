/*
 * virtio over PCI: queues at work. Doorbells, interrupts, early legacy drivers, bus mastering,
 * latching, reset, on a real I/O thread; packed rings; and virtio-rng. /
 */
#include "pdriver.h"
#include "vpci_fixture.h"

/* ---- traffic ---- */

static void traffic(struct fix *f)
{
	for (unsigned int round = 0; round < 200; round++) {
		unsigned int n = round % 7 + 1;

		for (unsigned int i = 0; i < n; i++)
			put(f, round % QUEUES, (uint8_t)i);
		kick(f, round % QUEUES);
		for (unsigned int i = 0; i < n; i++)
			expect_echo(f, round % QUEUES, (uint8_t)i);
	}
}

static void test_modern_msix(void **state)
{
	struct fix *f = start_toy(NULL);

	msix_on(f, 3);
	modern_up(f, virtio_bit(VIRTIO_RING_F_EVENT_IDX));
	assert_int_equal(fake_vm_doorbells(f->fp.p.vm), QUEUES);
	assert_int_equal(f->toy->starts, QUEUES);
	put(f, 0, 1);
	assert_true(kick(f, 0));
	expect_echo(f, 0, 1);
	eventually(messages(f, 0x41) == 1);
	assert_int_equal(messages(f, 0x42), 0);
	echo(f, 1, 2);
	eventually(messages(f, 0x42) == 1);
	traffic(f);
	assert_false(intx(f));
	set_status(f, 0);
	assert_int_equal(f->toy->stops, QUEUES);
	assert_int_equal(fake_vm_doorbells(f->fp.p.vm), 0);
	finish(f);
}

static void test_modern_polling(void **state)
{
	struct fix *f = plug(setup(100000), "test-toy-pci", NULL);

	modern_up(f, 0);
	traffic(f);
	set_status(f, 0);
	modern_up(f, virtio_bit(VIRTIO_RING_F_EVENT_IDX));
	traffic(f);
	finish(f); /* while running */
}

static void test_no_ioeventfd(void **state)
{
	struct fix *f = start_toy("ioeventfd=off");

	modern_up(f, 0);
	assert_int_equal(fake_vm_doorbells(f->fp.p.vm), 0);
	put(f, 0, 1);
	assert_false(kick(f, 0));
	expect_echo(f, 0, 1);
	legacy_up(f, 0);
	traffic(f);
	finish(f);
}

static void test_legacy_intx(void **state)
{
	struct fix *f = start_toy(NULL);

	legacy_up(f, 0);
	assert_int_equal(fake_vm_doorbells(f->fp.p.vm), QUEUES);
	assert_false(intx(f));
	echo(f, 2, 1);
	eventually(intx(f));
	assert_int_equal(fp_in(&f->fp, IO + VIRTIO_PCI_ISR, 1), 1);
	assert_false(intx(f));
	assert_int_equal(fp_in(&f->fp, IO + VIRTIO_PCI_ISR, 1), 0);
	virtio_pci_set_link(f->dev, false);
	assert_true(intx(f));
	assert_int_equal(fp_load(&f->fp, ISR, 1), 2);
	assert_false(intx(f));
	traffic(f);
	/* One queue is taken back, and given again elsewhere. */
	fp_out(&f->fp, IO + VIRTIO_PCI_QUEUE_SEL, 2, 1);
	fp_out(&f->fp, IO + VIRTIO_PCI_QUEUE_PFN, 4, 0);
	assert_int_equal(fp_in(&f->fp, IO + VIRTIO_PCI_QUEUE_PFN, 4), 0);
	echo(f, 0, 3);
	vdriver_init(&f->d[1], &f->mem, RING0 + 4 * RING, TOY_SIZE);
	fp_out(&f->fp, IO + VIRTIO_PCI_QUEUE_PFN, 4, (RING0 + 4 * RING) >> 12);
	echo(f, 1, 4);
	/* MSI-X comes on: the line goes down. */
	eventually(intx(f));
	msix_on(f, 3);
	assert_false(intx(f));
	finish(f);
}

/* §3.1.2: before DRIVER_OK, even before features. */
static void test_legacy_early(void **state)
{
	struct fix *f = start_toy(NULL);

	legacy_queues(f);
	put(f, 0, 1);
	assert_false(kick(f, 0));
	expect_echo(f, 0, 1);
	fp_out(&f->fp, IO + VIRTIO_PCI_GUEST_FEATURES, 4, 1);
	assert_int_equal(f->toy->features, 1);
	echo(f, 0, 2);
	fp_out(&f->fp, IO + VIRTIO_PCI_STATUS, 1, ACK | DRIVER | GO);
	traffic(f);
	finish(f);
}

/* Without bus mastering nothing is touched; afterwards the rings go on where they were. */
static void test_bus_master(void **state)
{
	struct fix *f = start_toy(NULL);

	modern_up(f, 0);
	traffic(f);
	fp_config_write(&f->fp, SLOT, 0, 4, 2, 3);
	assert_int_equal(f->toy->stops, QUEUES);
	put(f, 0, 1);
	kick(f, 0);
	for (int i = 0; i < 100; i++)
		sched_yield();
	assert_int_equal(vdriver_used_idx(&f->d[0]), f->d[0].used_seen);
	fp_config_write(&f->fp, SLOT, 0, 4, 2, 7);
	expect_echo(f, 0, 1);
	traffic(f);
	/* Off at DRIVER_OK, on later. */
	fp_config_write(&f->fp, SLOT, 0, 4, 2, 3);
	modern_up(f, 0);
	put(f, 0, 1);
	kick(f, 0);
	fp_config_write(&f->fp, SLOT, 0, 4, 2, 7);
	expect_echo(f, 0, 1);
	/* Old Linux, on the legacy interface, never sets it. */
	fp_config_write(&f->fp, SLOT, 0, 4, 2, 3);
	legacy_up(f, 0);
	traffic(f);
	fp_out(&f->fp, IO + VIRTIO_PCI_STATUS, 1, 0);
	assert_false(f->vp->vdev->dma);
	finish(f);
}

static void test_latch(void **state)
{
	struct fix *f = start_toy(NULL);

	msix_on(f, 3);
	modern_up(f, 0);
	echo(f, 0, 1);
	vdriver_desc(&f->d[1], f->d[1].desc, 0, UINT64_MAX - 3, 16, 0, 0);
	vdriver_offer(&f->d[1], 0);
	kick(f, 1);
	eventually(status(f) & NEEDS_RESET);
	eventually(messages(f, 0x40) == 1);
	eventually(__atomic_load_n(&f->toy->stops, __ATOMIC_SEQ_CST) == QUEUES);
	assert_int_equal(counter_get(&f->vp->vdev->latched), 1);
	assert_int_equal(counter_get(&f->vp->vdev->queue[1].ring.counters.malformed), 1);
	put(f, 0, 2);
	kick(f, 0);
	fp_config_write(&f->fp, SLOT, 0, 4, 2, 3);
	fp_config_write(&f->fp, SLOT, 0, 4, 2, 7);
	for (int i = 0; i < 100; i++)
		sched_yield();
	assert_int_equal(vdriver_used_idx(&f->d[0]), f->d[0].used_seen);
	set_status(f, 0);
	assert_int_equal(status(f), 0);
	modern_up(f, 0);
	traffic(f);
	assert_int_equal(counter_get(&f->vp->vdev->latched), 1);
	finish(f);
}

/* Reset in the middle of traffic, many times; and the machine's reset. */
static void test_reset(void **state)
{
	struct fix *f = plug(setup(20000), "test-toy-pci", NULL);

	for (unsigned int i = 0; i < 200; i++) {
		if (i % 2)
			modern_up(f, i % 4 == 1 ? virtio_bit(VIRTIO_RING_F_EVENT_IDX) : 0);
		else
			legacy_up(f, 0);
		for (uint8_t t = 0; t < 5; t++) {
			put(f, i % QUEUES, t);
			kick(f, i % QUEUES);
		}
		if (i % 3)
			expect_echo(f, i % QUEUES, 0);
	}
	device_reset(f->dev);
	assert_int_equal(virtio_get_status(f->vp->vdev), 0);
	assert_int_equal(f->toy->starts, f->toy->stops);
	assert_int_equal(fake_vm_doorbells(f->fp.p.vm), 0);
	map(f);
	modern_up(f, 0);
	echo(f, 0, 1);
	finish(f);
}

/* ---- packed rings ---- */

#define PACKED	    virtio_bit(VIRTIO_F_RING_PACKED)
#define PACKED_SIZE (TOY_SIZE - 3)

static void packed_queues(struct fix *f, struct pdriver *p)
{
	for (unsigned int i = 0; i < QUEUES; i++) {
		pdriver_init(&p[i], &f->mem, RING0 + i * RING, PACKED_SIZE);
		memset(mem_ptr(&f->mem, p[i].desc, pdriver_bytes(&p[i])), 0, pdriver_bytes(&p[i]));
		wr(f, VIRTIO_PCI_COMMON_Q_SELECT, 2, i);
		wr(f, VIRTIO_PCI_COMMON_Q_SIZE, 2, PACKED_SIZE);
		wr(f, VIRTIO_PCI_COMMON_Q_DESCLO, 8, p[i].desc);
		wr(f, VIRTIO_PCI_COMMON_Q_AVAILLO, 8, p[i].driver);
		wr(f, VIRTIO_PCI_COMMON_Q_USEDLO, 8, p[i].device);
		wr(f, VIRTIO_PCI_COMMON_Q_ENABLE, 2, 1);
	}
}

static void packed_features(struct fix *f, uint64_t features)
{
	f->legacy = false;
	set_status(f, 0);
	set_status(f, ACK | DRIVER);
	set_features(f, features | PACKED | virtio_bit(VIRTIO_F_VERSION_1));
	set_status(f, ACK | DRIVER | OK);
}

static void packed_up(struct fix *f, struct pdriver *p, uint64_t features)
{
	packed_features(f, features);
	assert_int_equal(status(f), ACK | DRIVER | OK);
	packed_queues(f, p);
	set_status(f, ACK | DRIVER | OK | GO);
	assert_int_equal(status(f), ACK | DRIVER | OK | GO);
}

static void packed_echo(struct fix *f, struct pdriver *p, unsigned int i, uint8_t tag)
{
	const struct vdriver_buf bufs[] = {{BUF, 16, false}, {BUF + 128, 32, true}};
	struct pdriver_used u = {0};
	uint8_t data[16], back[16];
	uint16_t id;

	memset(data, tag, sizeof(data));
	mem_write(&f->mem, BUF, data, sizeof(data));
	id = pdriver_add(&p[i], bufs, 2);
	kick(f, i);
	eventually(pdriver_pending(&p[i]));
	assert_true(pdriver_take(&p[i], &u));
	assert_int_equal(u.id, id);
	assert_true(u.wrote);
	assert_int_equal(u.len, 16);
	mem_read(&f->mem, BUF + 128, back, sizeof(back));
	assert_memory_equal(data, back, sizeof(data));
}

/* The queues go on where they were when the device may reach memory again; a reset starts anew. */
static void test_packed(void **state)
{
	struct fix *f = start_toy("packed=on");
	struct pdriver p[QUEUES];

	assert_true(offered(f) & PACKED);
	for (unsigned int features = 0; features < 2; features++) {
		packed_up(f, p, features ? virtio_bit(VIRTIO_RING_F_EVENT_IDX) : 0);
		for (unsigned int i = 0; i < 60; i++) {
			packed_echo(f, p, i % QUEUES, (uint8_t)i);
			if (i % 7)
				continue;
			fp_config_write(&f->fp, SLOT, 0, 4, 2, 3);
			fp_config_write(&f->fp, SLOT, 0, 4, 2, 7);
		}
	}
	legacy_up(f, 0);
	traffic(f);
	modern_up(f, 0);
	traffic(f);
	packed_up(f, p, 0);
	pdriver_put(&p[1], UINT64_MAX - 3, 16, 0, 0);
	kick(f, 1);
	eventually(status(f) & NEEDS_RESET);
	packed_up(f, p, 0);
	packed_echo(f, p, 1, 9);
	finish(f);
}

static void test_packed_refused(void **state)
{
	struct fix *f = start_toy(NULL);
	struct pdriver p[QUEUES];

	/* Not offered by default. */
	assert_false(offered(f) & PACKED);
	packed_features(f, 0);
	assert_int_equal(status(f), ACK | DRIVER);
	finish(f);

	/* Without the modern interface there is none. */
	f = setup(0);
	assert_null(
		fp_device(&f->fp, "test-toy-pci", "d0", "packed=on,disable-modern=on", &f->err));
	assert_non_null(strstr(f->err.msg, "packed=on"));
	f->dev = fp_device(&f->fp, "test-toy-pci", "d0", "disable-modern=on", &f->err);
	assert_non_null(f->dev);
	finish(f);

	f = start_toy("packed=on");
	/* An event structure that is not aligned. */
	packed_features(f, 0);
	packed_queues(f, p);
	set_status(f, 0);
	packed_features(f, 0);
	wr(f, VIRTIO_PCI_COMMON_Q_SIZE, 2, PACKED_SIZE);
	wr(f, VIRTIO_PCI_COMMON_Q_DESCLO, 8, RING0);
	wr(f, VIRTIO_PCI_COMMON_Q_AVAILLO, 8, RING0 + RING - 2);
	wr(f, VIRTIO_PCI_COMMON_Q_USEDLO, 8, RING0 + RING);
	wr(f, VIRTIO_PCI_COMMON_Q_ENABLE, 2, 1);
	assert_int_equal(rd(f, VIRTIO_PCI_COMMON_Q_ENABLE, 2), 0);
	assert_true(status(f) & NEEDS_RESET);
	/* Packed rings enabled, then the other format negotiated: their size is none of its. */
	set_status(f, 0);
	set_status(f, ACK | DRIVER);
	set_features(f, PACKED | virtio_bit(VIRTIO_F_VERSION_1));
	packed_queues(f, p);
	set_features(f, virtio_bit(VIRTIO_F_VERSION_1));
	set_status(f, ACK | DRIVER | OK);
	set_status(f, ACK | DRIVER | OK | GO);
	eventually(status(f) & NEEDS_RESET);
	packed_up(f, p, 0);
	packed_echo(f, p, 2, 1);
	finish(f);
}

/* ---- virtio-rng ---- */

static void test_rng(void **state)
{
	struct fix *f = setup(0);
	struct vring_used_elem e;
	uint8_t a[64] = {0}, b[64] = {0};

	plug(f, "virtio-rng-pci", "rng=rng0,max-bytes=100,period=50");
	assert_int_equal(fp_config_read(&f->fp, SLOT, 0, 0, 4), 0x10051af4);
	assert_int_equal(fp_config_read(&f->fp, SLOT, 0, 8, 4), 0x00ff0000);
	set_status(f, ACK | DRIVER);
	set_features(f, virtio_bit(VIRTIO_F_VERSION_1));
	set_status(f, ACK | DRIVER | OK);
	vdriver_init(&f->d[0], &f->mem, RING0, 8);
	wr(f, VIRTIO_PCI_COMMON_Q_SELECT, 2, 0);
	assert_int_equal(rd(f, VIRTIO_PCI_COMMON_Q_SIZE, 2), 8);
	wr(f, VIRTIO_PCI_COMMON_Q_DESCLO, 4, (uint32_t)f->d[0].desc);
	wr(f, VIRTIO_PCI_COMMON_Q_AVAILLO, 4, (uint32_t)f->d[0].avail);
	wr(f, VIRTIO_PCI_COMMON_Q_USEDLO, 4, (uint32_t)f->d[0].used);
	wr(f, VIRTIO_PCI_COMMON_Q_ENABLE, 2, 1);
	set_status(f, ACK | DRIVER | OK | GO);
	for (int i = 0; i < 2; i++) {
		const struct vdriver_buf buf = {BUF + 64 * (uint64_t)i, 64, true};

		vdriver_add(&f->d[0], &buf, 1);
	}
	kick(f, 0);
	eventually(vdriver_used_idx(&f->d[0]) == 2);
	assert_true(vdriver_take(&f->d[0], &e));
	assert_int_equal(e.len, 64);
	mem_read(&f->mem, BUF, a, 64);
	mem_read(&f->mem, BUF + 64, b, 64);
	assert_memory_not_equal(a, b, 64);
	assert_true(vdriver_take(&f->d[0], &e));
	assert_int_equal(e.len, 36); /* the rest of the period's 100 */
	{
		const struct vdriver_buf buf = {BUF, 64, true};
		uint64_t asked = loop_now_ns();

		vdriver_add(&f->d[0], &buf, 1);
		kick(f, 0);
		eventually(vdriver_used_idx(&f->d[0]) == 3);
		assert_true(loop_now_ns() - asked < 5000000000u);
		assert_true(vdriver_take(&f->d[0], &e));
		assert_int_equal(e.len, 64);
	}
	finish(f);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_modern_msix),  cmocka_unit_test(test_modern_polling),
		cmocka_unit_test(test_no_ioeventfd), cmocka_unit_test(test_legacy_intx),
		cmocka_unit_test(test_legacy_early), cmocka_unit_test(test_bus_master),
		cmocka_unit_test(test_latch),	     cmocka_unit_test(test_reset),
		cmocka_unit_test(test_packed),	     cmocka_unit_test(test_packed_refused),
		cmocka_unit_test(test_rng),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
