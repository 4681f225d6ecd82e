/*
 * RTL8029 as its drivers see it: sending, interrupts, loopback.
 */
#include "ne2k_driver.h"

/* ---- transmission ---- */

static void test_transmit(void **state)
{
	static const unsigned int sizes[] = {14, 60, 61, 64, 255, 256, 257, 1513, 1514, 1518};
	struct nic_fixture *nf = up();
	uint8_t frame[1600];

	for (unsigned int i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
		unsigned int page = i & 1 ? TX_PAGE + 6 : TX_PAGE, len = sizes[i];

		make(frame, sizeof(frame), broadcast, (uint8_t)i);
		block_write(nf, page << 8, frame, len, 4);
		trigger(nf, page, len);
		assert_int_equal(nf_n_sent(nf), i + 1);
		assert_int_equal(nf_sent(nf, i)->len, len); /* as it is: the chip pads nothing */
		assert_memory_equal(nf_sent(nf, i)->data, frame, len);
		assert_true(nf_irq(nf));
		assert_int_equal(in(nf, ISR), 2);
		assert_int_equal(in(nf, TSR), 3);
		assert_int_equal(in(nf, CMD), 0x22);
		assert_int_equal(in(nf, CLDALO) | in(nf, 2) << 8, (page << 8) + len);
		out(nf, 2, ISR);
		assert_false(nf_irq(nf));
	}
	assert_int_equal(counter_get(&nf->nic->counters.interrupts), 10);
	nf_free(nf);
}

/* What no station would take: sent, as far as the card knows. */
static void test_transmit_odd(void **state)
{
	struct nic_fixture *nf = up();
	uint8_t frame[2000];

	make(frame, sizeof(frame), broadcast, 1);
	block_write(nf, TX_PAGE << 8, frame, 2000, 4);
	trigger(nf, TX_PAGE, 1519);
	assert_int_equal(in(nf, ISR), 2);
	trigger(nf, TX_PAGE, 0);
	assert_int_equal(in(nf, ISR), 2);
	assert_int_equal(nf_n_sent(nf), 0);
	assert_int_equal(counter_get(&nf->nic->counters.tx_bad), 2);
	/* no memory there: aborted */
	out(nf, 0xff, ISR);
	trigger(nf, 0, 100);
	assert_int_equal(in(nf, ISR), 8);
	assert_int_equal(in(nf, TSR), 0x0a);
	trigger(nf, 0xbf, 257);
	trigger(nf, 0xc0, 1);
	trigger(nf, 0xff, 65535);
	assert_int_equal(nf_n_sent(nf), 0);
	trigger(nf, 0xbf, 256);
	assert_int_equal(nf_n_sent(nf), 1);
	/* an FCS of the driver's own (TCR.CRC): taken away if right */
	eth_fcs(eth_crc_le(frame, 100), frame + 100);
	block_write(nf, TX_PAGE << 8, frame, 104, 4);
	out(nf, 1, TXCR);
	trigger(nf, TX_PAGE, 104);
	assert_int_equal(nf_n_sent(nf), 2);
	assert_int_equal(nf_sent(nf, 1)->len, 100);
	trigger(nf, TX_PAGE, 103);
	trigger(nf, TX_PAGE, 3);
	assert_int_equal(nf_n_sent(nf), 2);
	/* a card that is stopped sends nothing */
	out(nf, 0, TXCR);
	out(nf, NODMA + STOP + TRANS, CMD);
	assert_int_equal(in(nf, CMD), NODMA + STOP);
	assert_int_equal(nf_n_sent(nf), 2);
	nf_free(nf);
}

static void test_transmit_full(void **state)
{
	struct nic_fixture *nf = up();
	uint8_t frame[100];

	make(frame, sizeof(frame), broadcast, 1);
	block_write(nf, TX_PAGE << 8, frame, sizeof(frame), 4);
	nf_full(nf, true);
	trigger(nf, TX_PAGE, sizeof(frame));
	assert_int_equal(in(nf, CMD), 0x26);
	assert_int_equal(in(nf, ISR), 0);
	out(nf, NODMA + TRANS + START, CMD); /* once is enough */
	nf_run(nf);
	assert_int_equal(in(nf, CMD), 0x26);
	nf_full(nf, false);
	nf_run(nf);
	assert_int_equal(nf_n_sent(nf), 1);
	assert_int_equal(in(nf, CMD), 0x22);
	assert_int_equal(in(nf, ISR), 2);
	/* stopped while it waits: not sent, and the driver can tell */
	out(nf, 2, ISR);
	nf_full(nf, true);
	trigger(nf, TX_PAGE, sizeof(frame));
	out(nf, NODMA + STOP, CMD);
	assert_int_equal(in(nf, CMD), 0x21);
	nf_full(nf, false);
	nf_run(nf);
	assert_int_equal(in(nf, ISR), 0x80);
	assert_int_equal(nf_n_sent(nf), 1);
	nf_free(nf);
}

static void test_no_cable(void **state)
{
	struct nic_fixture *nf = up();
	uint8_t frame[100];

	make(frame, sizeof(frame), mac, 1);
	nf_link(nf, false);
	trigger(nf, TX_PAGE, 60);
	assert_int_equal(in(nf, ISR), 2);
	assert_int_equal(in(nf, TSR), 0x13); /* no carrier */
	assert_int_equal(nf_n_sent(nf), 0);
	assert_int_equal(counter_get(&nf->nic->counters.tx_no_cable), 1);
	nf_link(nf, true);
	trigger(nf, TX_PAGE, 60);
	assert_int_equal(in(nf, TSR), 3);
	assert_int_equal(nf_n_sent(nf), 1);
	nf_free(nf);
	/* one that never had a cable */
	nf = up_with("mac=52:54:00:aa:bb:cc");
	trigger(nf, TX_PAGE, 60);
	assert_int_equal(in(nf, TSR), 0x13);
	nf_free(nf);
}

static void test_interrupts(void **state)
{
	struct nic_fixture *nf = up();
	uint8_t frame[64];

	make(frame, sizeof(frame), mac, 1);
	out(nf, 0, IMR);
	nf_rx(nf, frame, sizeof(frame));
	nf_run(nf);
	trigger(nf, TX_PAGE, 60);
	assert_int_equal(in(nf, ISR), 3);
	assert_false(nf_irq(nf));
	out(nf, 1, IMR);
	assert_true(nf_irq(nf));
	out(nf, 1, ISR);
	out(nf, 1, ISR);
	assert_false(nf_irq(nf));
	out(nf, 0xff, IMR);
	assert_true(nf_irq(nf));
	out(nf, NODMA + STOP, CMD);
	out(nf, 0x7f, ISR);
	assert_int_equal(in(nf, ISR), 0x80); /* no interrupt of its own */
	assert_false(nf_irq(nf));
	trigger(nf, TX_PAGE, 60);
	assert_true(nf_irq(nf));
	in(nf, RESET);
	assert_false(nf_irq(nf));
	nf_free(nf);
}

/* ---- loopback: DP8390D §12 ---- */

static void loop(struct nic_fixture *nf, unsigned int tcr, const uint8_t *frame, unsigned int len)
{
	out(nf, 0x40, DCFG);
	out(nf, tcr, TXCR);
	out(nf, 0, RXCR);
	out(nf, 0xff, ISR);
	block_write(nf, TX_PAGE << 8, frame, len, 1);
	trigger(nf, TX_PAGE, len);
}

static void test_loopback(void **state)
{
	struct nic_fixture *nf = up();
	uint8_t frame[64], twice[114], fcs[4], fifo[8];

	make(frame, sizeof(frame), mac, 5);
	eth_fcs(eth_crc_le(frame, 57), fcs);
	loop(nf, 2, frame, 57); /* 57 + 4 = 8 * 7 + 5 */
	assert_int_equal(in(nf, TSR), 0x53);
	assert_int_equal(in(nf, RSR), 0x02);
	assert_int_equal(in(nf, ISR), 0x06);
	for (int i = 0; i < 8; i++)
		fifo[i] = in(nf, FIFO);
	assert_int_equal(fifo[0], 61);
	assert_int_equal(fifo[1] | fifo[2], 0);
	assert_int_equal(fifo[3], frame[56]);
	assert_memory_equal(fifo + 4, fcs, 4);
	loop(nf, 4, frame, 57);
	assert_int_equal(in(nf, TSR), 0x43);
	loop(nf, 6, frame, 57);
	assert_int_equal(in(nf, TSR), 0x03);
	/* an FCS of the driver's: address and CRC recognition */
	memcpy(frame + 57, fcs, 4);
	loop(nf, 3, frame, 61);
	assert_int_equal(in(nf, RSR), 0x01);
	assert_int_equal(in(nf, ISR), 0x02);
	frame[60] ^= 1;
	loop(nf, 3, frame, 61);
	assert_int_equal(in(nf, RSR), 0x02);
	assert_int_equal(in(nf, ISR), 0x06);
	frame[5] ^= 1;
	loop(nf, 3, frame, 61); /* not for this card: not checked */
	assert_int_equal(in(nf, RSR), 0x01);
	assert_int_equal(in(nf, ISR), 0x02);
	/* word mode: every second byte takes part, the odd ones with DCR.BOS = 0 */
	for (unsigned int i = 0; i < 57; i++)
		twice[2 * i] = (uint8_t) ~(twice[2 * i + 1] = frame[i]);
	block_write(nf, TX_PAGE << 8, twice, 114, 1);
	out(nf, 0x41, DCFG);
	out(nf, 2, TXCR);
	trigger(nf, TX_PAGE, 114);
	eth_fcs(eth_crc_le(frame, 57), fcs);
	assert_int_equal(in(nf, FIFO), 61);
	for (int i = 1; i < 4; i++)
		fifo[i] = in(nf, FIFO);
	assert_int_equal(fifo[3], frame[56]);
	for (int i = 0; i < 4; i++)
		assert_int_equal(in(nf, FIFO), fcs[i]);
	/* nothing at all; everything */
	trigger(nf, TX_PAGE, 0);
	trigger(nf, TX_PAGE, 1);
	out(nf, 0x40, DCFG);
	trigger(nf, TX_PAGE, 0x8000);
	assert_int_equal(nf_n_sent(nf), 0); /* the wire is left alone */
	assert_int_equal(counter_get(&nf->nic->counters.looped), 10);
	nf_free(nf);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_transmit),      cmocka_unit_test(test_transmit_odd),
		cmocka_unit_test(test_transmit_full), cmocka_unit_test(test_no_cable),
		cmocka_unit_test(test_interrupts),    cmocka_unit_test(test_loopback),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
