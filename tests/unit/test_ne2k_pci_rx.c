/*
 * RTL8029 as its drivers see it: receiving, a ring that is full or overflows, the filter; and rings
 * of drivers that mean harm.
 */
#include "ne2k_driver.h"

static void test_receive(void **state)
{
	static const unsigned int sizes[] = {14, 60, 244, 248, 249, 252, 1000, 1514, 1518};
	struct nic_fixture *nf = up();
	uint8_t frame[1600], buf[1600], fcs[4], status;
	unsigned int current = RX_START;

	/* often enough that frames lie over the ring's end at every page */
	for (unsigned int i = 0; i < 200; i++) {
		unsigned int len = sizes[i % 9], real = len < 60 ? 60 : len;

		make(frame, sizeof(frame), i & 1 ? mac : broadcast, (uint8_t)i);
		if (len < 60)
			memset(frame + len, 0, 60 - len);
		nf_rx(nf, frame, len);
		nf_run(nf);
		assert_true(nf_irq(nf));
		assert_int_equal(in(nf, ISR), 1);
		current += (4 + real + 4 + 255) / 256;
		if (current >= RX_STOP)
			current -= RX_STOP - RX_START;
		assert_int_equal(in_page(nf, PAGE1, CURPAG), current);
		assert_int_equal(receive(nf, buf, &status), real);
		assert_memory_equal(buf, frame, real);
		assert_int_equal(status, i & 1 ? 0x01 : 0x21);
		assert_int_equal(in(nf, RSR), status);
		assert_false(nf_irq(nf));
		assert_int_equal(receive(nf, buf, &status), 0);
	}
	/* with its FCS behind it */
	make(frame, sizeof(frame), mac, 1);
	nf_rx(nf, frame, 600);
	out(nf, RX_START, STARTPG);
	out(nf, RX_STOP - 1, BOUNDARY);
	out_page(nf, PAGE1, RX_START, CURPAG);
	nf_run(nf);
	block_read(nf, (RX_START << 8) + 4, buf, 604, 4);
	eth_fcs(eth_crc_le(frame, 600), fcs);
	assert_memory_equal(buf + 600, fcs, 4);
	assert_int_equal(in(nf, CLDALO) | in(nf, 2) << 8, (RX_START << 8) + 608);
	nf_free(nf);
}

/* ---- a full ring ---- */

/* Several at a time, up to a full ring; the rest waits until there is room, nothing is lost. */
static void test_ring_full(void **state)
{
	struct nic_fixture *nf = up();
	static uint8_t frames[40][1514];
	uint8_t buf[1600];

	for (unsigned int i = 0; i < 40; i++) {
		make(frames[i], 1514, mac, (uint8_t)i);
		nf_rx(nf, frames[i], 1514);
	}
	nf_run(nf);
	assert_int_equal(in(nf, ISR), 1);
	assert_int_equal(counter_get(&nf->nic->counters.rx_frames),
			 8); /* 51 pages, 6 each, one left free */
	for (unsigned int i = 0; i < 40; i++) {
		assert_int_equal(receive(nf, buf, NULL), 1514);
		assert_memory_equal(buf, frames[i], 1514);
		nf_run(nf);
	}
	assert_int_equal(receive(nf, buf, NULL), 0);
	assert_int_equal(in(nf, COUNTER2), 0);
	assert_true(counter_get(&nf->nic->counters.rx_no_buffer) > 0);
	nf_free(nf);
}

/* The frame at BNRY by "send packet", which takes no other register. */
static void send_packet(struct nic_fixture *nf, uint8_t *buf, unsigned int len)
{
	unsigned int left = len + 8;

	out(nf, RSEND + START, CMD);
	for (unsigned int i = 0; i < left; i += 4) {
		uint32_t v = nf_in(nf, DATAPORT, 4);

		memcpy(buf + i, &v, 4);
	}
}

/* While the ring is full, the I/O thread is woken by what makes room, and by nothing else. */
static void test_ring_full_kicks(void **state)
{
	struct nic_fixture *nf = up();
	static uint8_t frames[10][1514];
	uint8_t buf[1600];

	for (unsigned int i = 0; i < 10; i++) {
		make(frames[i], 1514, mac, (uint8_t)i);
		nf_rx(nf, frames[i], 1514);
	}
	nf_run(nf);
	assert_int_equal(counter_get(&nf->nic->counters.rx_frames), 8);
	out(nf, 0x59, DCFG);
	out(nf, 0x3f, IMR);
	block_read(nf, RX_START << 8, buf, 4, 4);
	assert_false(nf->nic->kicked);
	out(nf, RX_START, BOUNDARY);
	assert_false(nf->nic->kicked); /* a page isn't room for a frame */
	send_packet(nf, buf, 1514);
	assert_memory_equal(buf + 4, frames[0], 1514);
	assert_true(nf->nic->kicked);
	nf_run(nf);
	assert_int_equal(counter_get(&nf->nic->counters.rx_frames), 9);
	nf_free(nf);
}

/* As on a wire: lost, OVW; Linux's ei_rx_overrun(). */
static void test_overflow(void **state)
{
	struct nic_fixture *nf = up_with(OPTIONS ",rx_wait=off");
	static uint8_t frames[20][1514];
	uint8_t buf[1600], value;
	unsigned int got = 0;

	for (unsigned int i = 0; i < 20; i++)
		make(frames[i], 1514, mac, (uint8_t)i);
	for (unsigned int round = 0; round < 3; round++) {
		for (unsigned int i = 0; i < 20; i++)
			nf_rx(nf, frames[i], 1514);
		nf_run(nf);
		assert_true(in(nf, ISR) & 0x10);
		assert_true(in(nf, ISR) &
			    0x80); /* "set when a receive buffer ring overflow occurs" */
		assert_true(nf_irq(nf));
		assert_int_equal(in(nf, RSR), 0x10);

		value = in(nf, CMD) & TRANS;
		out(nf, NODMA + STOP, CMD);
		assert_false(value);
		out(nf, 0, RCNTLO);
		out(nf, 0, RCNTHI);
		out(nf, 2, TXCR);
		out(nf, NODMA + START, CMD);
		nf_run(nf); /* in loopback: nothing comes in */
		for (got = 0; receive(nf, buf, NULL); got++)
			assert_memory_equal(buf, frames[got], 1514);
		assert_int_equal(got, 8);
		out(nf, 0x10, ISR);
		out(nf, 0, TXCR);
		assert_int_equal(in(nf, COUNTER2), 1);
		assert_int_equal(in(nf, COUNTER2), 0);
		/* what came in meanwhile */
		nf->fake.in_first = nf->fake.in_end;
		nf_run(nf);
		assert_int_equal(in(nf, ISR), 0);
	}
	/* room made without a restart will do, too */
	for (unsigned int i = 0; i < 10; i++)
		nf_rx(nf, frames[i], 1514);
	nf_run(nf);
	assert_int_equal(in(nf, ISR) & 0x90, 0x90);
	assert_int_equal(receive(nf, buf, NULL), 1514);
	assert_int_equal(in(nf, ISR) & 0x90, 0x10);
	nf_run(nf);
	for (got = 0; receive(nf, buf, NULL); got++)
		;
	assert_int_equal(got, 8);
	assert_memory_equal(buf, frames[9], 1514); /* [8] was lost */
	nf_free(nf);
}

/* A ring that holds no full-sized frame takes what it can, and overflows. */
static void test_small_ring(void **state)
{
	struct nic_fixture *nf = up();
	static uint8_t frame[1514];

	make(frame, sizeof(frame), mac, 1);
	out(nf, 0x50, STARTPG);
	out(nf, 0x54, STOPPG);
	out(nf, 0x53, BOUNDARY);
	out_page(nf, PAGE1, 0x50, CURPAG);
	nf_rx(nf, frame, 300);
	nf_run(nf);
	assert_int_equal(in(nf, ISR), 1);
	assert_int_equal(in_page(nf, PAGE1, CURPAG), 0x52);
	nf_rx(nf, frame, 1514);
	nf_run(nf);
	assert_int_equal(in(nf, ISR), 0x91);
	nf_free(nf);
}

/* PRX, acknowledged when frames have come since the driver looked: it stays, but not for ever. */
static void test_acknowledge(void **state)
{
	struct nic_fixture *nf = up();
	static uint8_t frames[30][64];
	uint8_t buf[100];

	for (unsigned int i = 0; i < 30; i++)
		make(frames[i], 64, mac, (uint8_t)i);
	/* Linux: 9 at a time */
	for (unsigned int i = 0; i < 30; i++)
		nf_rx(nf, frames[i], 64);
	nf_run(nf);
	for (unsigned int i = 0; i < 30; i++) {
		assert_true(nf_irq(nf));
		assert_int_equal(receive(nf, buf, NULL), 64);
		assert_memory_equal(buf, frames[i], 64);
	}
	assert_false(nf_irq(nf));
	/* one that comes after the last look at CURR */
	assert_int_equal(receive(nf, buf, NULL), 0);
	nf_rx(nf, frames[0], 64);
	nf_rx(nf, frames[1], 64);
	nf_run(nf);
	out(nf, 5, ISR);
	assert_true(nf_irq(nf));
	/* one that acknowledges first, and reads later */
	out(nf, 5, ISR);
	assert_false(nf_irq(nf));
	assert_int_equal(receive(nf, buf, NULL), 64);
	assert_int_equal(receive(nf, buf, NULL), 64);
	assert_int_equal(receive(nf, buf, NULL), 0);
	nf_free(nf);
}

/* ---- what isn't received ---- */

static void offer(struct nic_fixture *nf, const uint8_t to[6], bool expected)
{
	uint8_t frame[64], buf[100], before = in(nf, RSR);

	make(frame, sizeof(frame), to, 9);
	nf_rx(nf, frame, sizeof(frame));
	nf_run(nf);
	assert_int_equal(receive(nf, buf, NULL), expected ? 64 : 0);
	if (!expected)
		assert_int_equal(in(nf, RSR), before);
}

static void test_filter(void **state)
{
	static const uint8_t other[6] = {0x52, 0x54, 0, 0xaa, 0xbb, 0xcd};
	static const uint8_t group[6] = {0x01, 0x00, 0x5e, 0x00, 0x00, 0x01};
	static const uint8_t group2[6] = {0x33, 0x33, 0, 0, 0, 1};
	unsigned int hash = eth_crc_be(group, 6) >> 26;
	struct nic_fixture *nf = up();

	offer(nf, mac, true);
	offer(nf, broadcast, true);
	offer(nf, other, false);
	offer(nf, group, false);
	assert_int_equal(counter_get(&nf->nic->counters.rx_filtered), 2);
	out(nf, 0, RXCR);
	offer(nf, broadcast, false);
	offer(nf, mac, true);
	/* the driver's table: bits[crc >> 29] |= 1 << (crc >> 26 & 7) */
	out_page(nf, PAGE1, 1u << (hash & 7), MULT + (hash >> 3));
	offer(nf, group, false);
	out(nf, 0x0c, RXCR);
	offer(nf, group, true);
	offer(nf, group2, false);
	for (unsigned int i = 0; i < 8; i++)
		out_page(nf, PAGE1, 0xff, MULT + i);
	offer(nf, group2, true);
	offer(nf, other, false);
	out(nf, 0x1c, RXCR);
	offer(nf, other, true);
	out(nf, 0x10, RXCR); /* promiscuous: of physical addresses only */
	offer(nf, other, true);
	offer(nf, group, false);
	offer(nf, broadcast, false);
	/* another station address */
	out(nf, 4, RXCR);
	out_page(nf, PAGE1, 0xcd, PHYS + 5);
	offer(nf, mac, false);
	offer(nf, other, true);
	/* monitor mode: looked at, counted, not kept */
	out(nf, 0x24, RXCR);
	{
		uint8_t frame[64], current = in_page(nf, PAGE1, CURPAG);

		make(frame, sizeof(frame), other, 1);
		for (int i = 0; i < 200; i++) {
			nf_rx(nf, frame, sizeof(frame));
			nf_run(nf);
			assert_int_equal(in(nf, ISR), i < 127 ? 0 : 0x20);
		}
		assert_int_equal(in(nf, RSR), 0x41);
		assert_int_equal(in_page(nf, PAGE1, CURPAG), current);
		assert_true(nf_irq(nf));
		assert_int_equal(in(nf, COUNTER2), 192); /* stays there */
		out(nf, 0x20, ISR);
		assert_false(nf_irq(nf));
	}
	nf_free(nf);
}

/* Frames that no wire brings. */
static void test_too_long(void **state)
{
	struct nic_fixture *nf = nf_new("ne2k_pci", OPTIONS);
	static uint8_t frame[9000];
	uint8_t buf[1600];

	nf->fake.net.frame_max = 9018;
	driver_init(nf, true);
	make(frame, sizeof(frame), mac, 3);
	nf_rx(nf, frame, 1519);
	nf_rx(nf, frame, 9000);
	nf_rx(nf, frame, 1518);
	nf_run(nf);
	assert_int_equal(receive(nf, buf, NULL), 1518);
	assert_int_equal(receive(nf, buf, NULL), 0);
	assert_int_equal(counter_get(&nf->nic->counters.rx_too_long), 2);
	nf_free(nf);
}

static void test_off(void **state)
{
	struct nic_fixture *nf = up();
	uint8_t frame[64], buf[100];

	make(frame, sizeof(frame), mac, 1);
	out(nf, NODMA + STOP, CMD);
	nf_rx(nf, frame, sizeof(frame));
	nf_run(nf);
	assert_int_equal(in_page(nf, PAGE1, CURPAG), RX_START);
	driver_init(nf, false);
	nf_run(nf);
	assert_int_equal(in_page(nf, PAGE1, CURPAG), RX_START);
	driver_init(nf, true);
	nf_run(nf);
	assert_int_equal(receive(nf, buf, NULL), 64);
	nf_free(nf);
}

/* ---- drivers that mean harm ---- */

/* Rings of any shape, anywhere. What the card writes, it writes into its memory (ASan sees to
 * that). */
static void test_bad_rings(void **state)
{
	static const uint8_t shapes[][4] = {
		/* start, stop, boundary, current */
		{0x40, 0x40, 0x40, 0x40}, {0x80, 0x40, 0x50, 0x60}, {0, 0xff, 0, 0},
		{0, 0x80, 0x3f, 0x40},	  {0x40, 0xff, 0xfe, 0xc0}, {0xbf, 0xc0, 0xbf, 0xbf},
		{0x40, 0x41, 0x40, 0x40}, {0x40, 0xc0, 0xff, 0xbf}, {0x40, 0x46, 0, 0x45},
		{0x40, 0x47, 0x41, 0x40}, {0xb9, 0xc0, 0xb9, 0xbf}, {0x40, 0xc1, 0x50, 0x60},
		{0xff, 0xff, 0xff, 0xff}, {0x4c, 0x80, 0x4b, 0x4c}, {0x4c, 0x80, 0x4c, 0x4b},
	};

	for (int wait = 0; wait < 2; wait++) {
		struct nic_fixture *nf = up_with(wait ? OPTIONS : OPTIONS ",rx_wait=off");
		static uint8_t frame[1518];

		make(frame, sizeof(frame), mac, 1);
		for (size_t i = 0; i < sizeof(shapes) / sizeof(shapes[0]); i++) {
			out(nf, NODMA + STOP, CMD);
			out(nf, shapes[i][0], STARTPG);
			out(nf, shapes[i][1], STOPPG);
			out(nf, shapes[i][2], BOUNDARY);
			out_page(nf, PAGE1, shapes[i][3], CURPAG);
			nf->fake.in_first = nf->fake.in_end;
			for (unsigned int k = 0; k < 12; k++)
				nf_rx(nf, frame, 60 + k * 132);
			out(nf, NODMA + START, CMD);
			nf_run(nf);
			out(nf, NODMA + START, CMD);
			nf_run(nf);
			remote(nf, RREAD, 0xfff0, 0xffff);
			for (int k = 0; k < 20; k++)
				nf_in(nf, DATAPORT, 4);
		}
		nf_free(nf);
	}
}

/* Linux writes PSTART - 1 into BNRY: the last page of the ring is meant, and is kept free. */
static void test_boundary_before_start(void **state)
{
	struct nic_fixture *nf = up();
	static uint8_t frames[20][1514];

	for (unsigned int i = 0; i < 20; i++) {
		make(frames[i], 1514, mac, (uint8_t)i);
		nf_rx(nf, frames[i], 1514);
	}
	out(nf, RX_START - 1, BOUNDARY);
	nf_run(nf);
	assert_int_equal(counter_get(&nf->nic->counters.rx_frames), 8);
	nf_free(nf);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_receive),
		cmocka_unit_test(test_ring_full),
		cmocka_unit_test(test_ring_full_kicks),
		cmocka_unit_test(test_overflow),
		cmocka_unit_test(test_small_ring),
		cmocka_unit_test(test_acknowledge),
		cmocka_unit_test(test_filter),
		cmocka_unit_test(test_too_long),
		cmocka_unit_test(test_off),
		cmocka_unit_test(test_bad_rings),
		cmocka_unit_test(test_boundary_before_start),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
