/*
 * dev/pcnet_ring.c as a driver and the wire see it: sending, receiving, rings of all lengths.
 */
#include "pcnet_driver.h"

/* ---- transmit ---- */

static void test_send(void **state)
{
	struct nic_fixture *nf = nf_new("pcnet", "netdev=n0");
	uint8_t data[1514];
	struct drv d;

	for (unsigned int style = 0; style <= 3; style++) {
		up(&d, nf, style, 4, 4, 0, 0);
		nf_forget_sent(nf);
		for (unsigned int i = 0; i < 10; i++) {
			unsigned int len = i == 9 ? 1514 : 60 + 100 * i, at = d.tx;

			tx_frame(&d, len, (uint8_t)(style + i));
			assert_int_equal(desc_flags(&d, tx_desc(&d, at)), STP | ENP);
			assert_int_equal(desc_word(&d, tx_desc(&d, at), true), 0);
			fill(data, len, (const uint8_t *)"\2\0\0\0\0\1", (uint8_t)(style + i));
			assert_sent(nf, i, data, len);
			if (style)
				assert_int_equal(nf_get(nf, tx_desc(&d, at) + 12, 4), 0x75736572);
			assert_int_equal(csr(&d, 34), tx_desc(&d, d.tx));
			assert_true(nf_irq(nf));
			assert_int_equal(ack(&d) & 0xff00, CSR0_TINT);
			assert_false(nf_irq(nf));
		}
	}
	assert_int_equal(csr(&d, 0), CSR0_INIT | CSR0_STRT | CSR0_TXON | CSR0_RXON | CSR0_IENA);
	nf_free(nf);
}

static void test_send_chain(void **state)
{
	struct drv d;
	struct nic_fixture *nf = start(&d);
	uint8_t data[1500];

	fill(data, sizeof(data), (const uint8_t *)"\2\0\0\0\0\1", 9);
	/* five pieces, one of them empty, around the end of the ring */
	d.tx = 13;
	set_csr(&d, 0, CSR0_STOP);
	set_csr(&d, 74, (uint16_t)(13 - 16));
	assert_int_equal(csr(&d, 34), tx_desc(&d, 13));
	set_csr(&d, 0, CSR0_STRT | CSR0_IENA);
	d.tx = 0; /* STRT begins at the base again */
	for (unsigned int i = 0, at = 0; i < 5; i++) {
		unsigned int len = i == 2 ? 0 : i == 4 ? 1100 : i == 0 ? 14 : 193;

		memcpy(nf->ram + TX_BUF(d.tx), data + at, len);
		tx_put(&d, len, (uint16_t)(OWN | (i == 0 ? STP : 0) | (i == 4 ? ENP : 0)));
		at += len;
	}
	tdmd(&d);
	assert_int_equal(nf_n_sent(nf), 1);
	assert_sent(nf, 0, data, 1500);
	for (unsigned int i = 0; i < 5; i++)
		assert_int_equal(desc_flags(&d, tx_desc(&d, i)) & (OWN | ERR), 0);
	/* descriptors without STP are skipped */
	tx_put(&d, 100, OWN);
	tx_put(&d, 100, OWN | ENP);
	tx_frame(&d, 60, 1);
	assert_int_equal(nf_n_sent(nf), 2);
	assert_int_equal(desc_flags(&d, tx_desc(&d, 5)), 0);
	assert_int_equal(desc_flags(&d, tx_desc(&d, 6)), ENP);
	nf_free(nf);
}

static void test_send_underflow(void **state)
{
	struct drv d;
	struct nic_fixture *nf = start(&d);

	tx_put(&d, 100, OWN | STP);
	tx_put(&d, 100, OWN);
	tdmd(&d);
	assert_int_equal(nf_n_sent(nf), 0);
	assert_int_equal(desc_flags(&d, tx_desc(&d, 0)), STP);
	assert_int_equal(desc_flags(&d, tx_desc(&d, 1)), ERR);
	assert_int_equal(desc_word(&d, tx_desc(&d, 1), true), 0xc0000000); /* BUFF, UFLO */
	assert_int_equal(csr(&d, 0) & (CSR0_TXON | CSR0_TINT), CSR0_TINT);
	tx_frame(&d, 60, 1);
	assert_int_equal(nf_n_sent(nf), 0);

	/* with DXSUFLO the transmitter goes on */
	up(&d, nf, 2, 4, 4, 0, 0);
	set_csr(&d, 3, CSR3_DXSUFLO);
	tx_put(&d, 100, OWN | STP);
	tdmd(&d);
	tx_frame(&d, 60, 1);
	assert_int_equal(nf_n_sent(nf), 1);

	/* a ring that is one frame without an end; a ring of one */
	up(&d, nf, 2, 4, 4, 0, 0);
	for (unsigned int i = 0; i < 4; i++)
		tx_put(&d, 100, OWN | STP);
	tdmd(&d);
	assert_false(csr(&d, 0) & CSR0_TXON);
	up(&d, nf, 0, 1, 1, 0, 0);
	tx_put(&d, 100, OWN | STP);
	tdmd(&d);
	assert_false(csr(&d, 0) & CSR0_TXON);
	assert_int_equal(nf_n_sent(nf), 1);

	/* and one that is longer than any frame: dropped, its rest skipped */
	up(&d, nf, 2, 4, 256, 0, 0);
	for (unsigned int i = 0; i < 255; i++)
		put_desc(&d, tx_desc(&d, i), TX_BUF(0), 4095, (uint16_t)(OWN | (i ? 0 : STP)));
	tdmd(&d);
	nf_run(nf);
	assert_int_equal(nf_n_sent(nf), 1);
	assert_true(csr(&d, 0) & CSR0_TXON);
	assert_int_equal(desc_flags(&d, tx_desc(&d, 254)), 0);
	d.tx = 255;
	tx_frame(&d, 60, 1);
	assert_int_equal(nf_n_sent(nf), 2);
	nf_free(nf);
}

static void test_send_fcs(void **state)
{
	struct drv d;
	struct nic_fixture *nf = start(&d);
	uint8_t *buf = nf->ram + TX_BUF(0), data[100];

	/* the driver makes the FCS, right and wrong */
	up(&d, nf, 2, 4, 4, CSR15_DXMTFCS, 0);
	set_csr(&d, 4, 0x0115);
	fill(data, 100, (const uint8_t *)"\2\0\0\0\0\1", 3);
	memcpy(buf, data, 100);
	eth_fcs(eth_crc_le(data, 100), buf + 100);
	put_desc(&d, tx_desc(&d, 0), TX_BUF(0), 104, OWN | STP | ENP);
	put_desc(&d, tx_desc(&d, 1), TX_BUF(0), 103, OWN | STP | ENP);
	put_desc(&d, tx_desc(&d, 2), TX_BUF(0), 100, OWN | STP | ENP | 0x2000);
	tdmd(&d);
	assert_int_equal(nf_n_sent(nf), 2);
	assert_sent(nf, 0, data, 100);
	assert_sent(nf, 1, data, 100);
	assert_int_equal(desc_flags(&d, tx_desc(&d, 1)), STP | ENP);
	/* FCS in buffers of its own, byte by byte */
	up(&d, nf, 2, 4, 8, CSR15_DXMTFCS, 0);
	set_csr(&d, 4, 0x0115);
	put_desc(&d, tx_desc(&d, 0), TX_BUF(0), 100, OWN | STP);
	for (unsigned int i = 0; i < 4; i++) {
		nf->ram[TX_BUF(i + 1)] = buf[100 + i];
		put_desc(&d, tx_desc(&d, 1 + i), TX_BUF(i + 1), 1,
			 (uint16_t)(OWN | (i == 3 ? ENP : 0)));
	}
	tdmd(&d);
	assert_sent(nf, 2, data, 100);
	/* APAD_XMT overrides both */
	set_csr(&d, 4, 0x0915);
	put_desc(&d, tx_desc(&d, 5), TX_BUF(0), 20, OWN | STP | ENP);
	tdmd(&d);
	memset(data + 20, 0, 40);
	assert_sent(nf, 3, data, 60);
	/* without it, a runt is a runt */
	up(&d, nf, 1, 4, 8, 0, 0);
	set_csr(&d, 4, 0x0115);
	put_desc(&d, tx_desc(&d, 0), TX_BUF(0), 20, OWN | STP | ENP);
	tdmd(&d);
	assert_sent(nf, 4, data, 20);
	/* ILACC style: NO_FCS */
	put_desc(&d, tx_desc(&d, 1), TX_BUF(0), 104, OWN | STP | ENP | 0x2000);
	tdmd(&d);
	assert_int_equal(nf_sent(nf, 5)->len, 100);
	nf_free(nf);
}

static void test_send_errors(void **state)
{
	struct drv d;
	struct nic_fixture *nf = start(&d);

	/* babble: sent all the same */
	fill(nf->ram + TX_BUF(0), 1515, (const uint8_t *)"\2\0\0\0\0\1", 0);
	tx_put(&d, 1515, OWN | STP | ENP);
	tdmd(&d);
	assert_int_equal(nf_sent(nf, 0)->len, 1515);
	assert_int_equal(csr(&d, 0) & 0xff00, CSR0_ERR | CSR0_BABL | CSR0_TINT);
	ack(&d);
	/* no cable: loss of carrier */
	nf_link(nf, false);
	assert_int_equal(bcr(&d, 4), 0x00c0);
	tx_frame(&d, 60, 0);
	assert_int_equal(desc_flags(&d, tx_desc(&d, 1)), ERR | STP | ENP);
	assert_int_equal(desc_word(&d, tx_desc(&d, 1), true), 0x08000000);
	nf_link(nf, true);
	assert_int_equal(bcr(&d, 4), 0x80c0);
	tx_frame(&d, 60, 0);
	assert_int_equal(nf_n_sent(nf), 2);
	assert_int_equal(desc_flags(&d, tx_desc(&d, 2)), STP | ENP);
	nf_free(nf);
}

static void test_send_interrupts(void **state)
{
	struct drv d;
	struct nic_fixture *nf = start(&d);

	set_csr(&d, 5, CSR5_LTINTEN);
	tx_frame(&d, 60, 0);
	assert_false(nf_irq(nf));
	fill(nf->ram + TX_BUF(1), 60, (const uint8_t *)"\2\0\0\0\0\1", 0);
	tx_put(&d, 60, OWN | STP | ENP | 0x1000);
	tdmd(&d);
	assert_true(nf_irq(nf));
	ack(&d);
	set_csr(&d, 5, CSR5_TOKINTD);
	tx_frame(&d, 60, 0);
	assert_false(nf_irq(nf));
	nf_link(nf, false);
	tx_frame(&d, 60, 0);
	assert_true(nf_irq(nf));
	nf_link(nf, true);
	ack(&d);
	set_csr(&d, 5, 0);
	/* transmit start, unmasked */
	set_csr(&d, 4, 0x0911);
	set_csr(&d, 3, CSR0_TINT);
	assert_true(nf_irq(nf)); /* TXSTRT was there already */
	set_csr(&d, 4, 0x0919);
	assert_false(nf_irq(nf));
	tx_frame(&d, 60, 0);
	assert_true(nf_irq(nf));
	assert_true(csr(&d, 4) & CSR4_TXSTRT);
	nf_free(nf);
}

static void test_send_full(void **state)
{
	struct drv d;
	struct nic_fixture *nf = start(&d);

	nf_full(nf, true);
	tx_frame(&d, 100, 1);
	tx_frame(&d, 101, 2);
	assert_int_equal(desc_flags(&d, tx_desc(&d, 0)), OWN | STP | ENP);
	assert_false(nf_irq(nf));
	nf_run(nf);
	assert_int_equal(nf_n_sent(nf), 0);
	nf_full(nf, false);
	nf_run(nf);
	assert_int_equal(nf_n_sent(nf), 2);
	assert_int_equal(nf_sent(nf, 0)->len, 100);
	assert_int_equal(nf_sent(nf, 1)->len, 101);
	assert_int_equal(desc_flags(&d, tx_desc(&d, 1)), STP | ENP);
	assert_true(nf_irq(nf));

	/* stopped while it waits: nothing comes after */
	nf_full(nf, true);
	tx_frame(&d, 100, 1);
	set_csr(&d, 0, CSR0_STOP);
	nf_full(nf, false);
	nf_run(nf);
	assert_int_equal(nf_n_sent(nf), 2);
	assert_true(desc_flags(&d, tx_desc(&d, 2)) & OWN);
	nf_free(nf);
}

static void test_send_burst(void **state)
{
	struct nic_fixture *nf = nf_new("pcnet", "netdev=n0");
	struct drv d;

	up(&d, nf, 3, 4, 256, 0, 0);
	for (unsigned int i = 0; i < 200; i++) {
		fill(nf->ram + TX_BUF(i), 60 + i, (const uint8_t *)"\2\0\0\0\0\1", (uint8_t)i);
		tx_put(&d, 60 + i, OWN | STP | ENP);
	}
	tdmd(&d);
	assert_int_equal(nf_n_sent(nf), NIC_TX_BURST);
	nf_run(nf);
	assert_int_equal(nf_n_sent(nf), 200);
	for (unsigned int i = 0; i < 200; i++)
		assert_int_equal(nf_sent(nf, i)->len, 60 + i);
	nf_free(nf);
}

/* The card looks by itself: always while the driver never says TDMD, for a while once it did. */
static void test_send_polling(void **state)
{
	struct drv d;
	struct nic_fixture *nf = start(&d);

	for (unsigned int i = 0; i < 3; i++) {
		nf_run_ms(nf, 40);
		fill(nf->ram + TX_BUF(i), 60, (const uint8_t *)"\2\0\0\0\0\1", 0);
		tx_put(&d, 60, OWN | STP | ENP);
		assert_int_equal(nf_n_sent(nf), i);
		run_until_sent(&d, i + 1);
	}
	tx_frame(&d, 60, 0);
	fill(nf->ram + TX_BUF(4), 60, (const uint8_t *)"\2\0\0\0\0\1", 0);
	tx_put(&d, 60, OWN | STP | ENP);
	run_until_sent(&d, 5);
	run_tx_polls(&d);
	tx_put(&d, 60, OWN | STP | ENP);
	nf_run_ms(nf, 10);
	assert_int_equal(nf_n_sent(nf), 5);
	tdmd(&d);
	assert_int_equal(nf_n_sent(nf), 6);

	/* TXDPOLL: never */
	up(&d, nf, 2, 4, 4, 0, 0);
	set_csr(&d, 4, 0x1915);
	run_tx_polls(&d);
	tx_put(&d, 60, OWN | STP | ENP);
	nf_run_ms(nf, 10);
	assert_int_equal(nf_n_sent(nf), 6);
	nf_free(nf);
}

/* ---- receive ---- */

static void test_receive(void **state)
{
	struct nic_fixture *nf = nf_new("pcnet", "netdev=n0");
	static const unsigned int sizes[] = {60, 61, 64, 200, 1000, 1514};
	uint8_t frame[1514];
	struct drv d;

	for (unsigned int style = 0; style <= 3; style++) {
		up(&d, nf, style, 4, 4, 0, 0);
		for (unsigned int i = 0; i < 6; i++) {
			fill(frame, sizes[i], mac, (uint8_t)(style * 16 + i));
			nf_rx(nf, frame, sizes[i]);
			nf_run(nf);
			if (style)
				assert_int_equal(desc_flags(&d, rx_desc(&d, d.rx)) & 0x70, 0x40);
			assert_received(&d, frame, sizes[i]);
			assert_true(nf_irq(nf));
			assert_int_equal(ack(&d) & 0xff00, CSR0_RINT);
			assert_false(nf_irq(nf));
		}
		assert_int_equal(csr(&d, 28), rx_desc(&d, 2));
		assert_int_equal(csr(&d, 72), (uint16_t)-2);
	}
	/* short ones come padded, all at once too */
	fill(frame, 60, mac, 1);
	memset(frame + 20, 0, 40);
	for (unsigned int i = 0; i < 2; i++)
		nf_rx(nf, frame, 20);
	nf_run(nf);
	assert_received(&d, frame, 60);
	assert_received(&d, frame, 60);
	nf_free(nf);
}

static void test_receive_chain(void **state)
{
	struct drv d;
	struct nic_fixture *nf = start(&d);
	uint8_t frame[700], got[704];

	/* buffers of 300 bytes: 700 + FCS needs three */
	for (unsigned int i = 0; i < d.rx_len; i++)
		put_desc(&d, rx_desc(&d, i), RX_BUF(i), 300, OWN);
	fill(frame, sizeof(frame), mac, 5);
	nf_rx(nf, frame, 700);
	nf_rx(nf, frame, 296); /* fills one to the last byte, with its FCS */
	nf_rx(nf, frame, 297);
	nf_run(nf);
	assert_int_equal(desc_flags(&d, rx_desc(&d, 0)), STP);
	assert_int_equal(desc_flags(&d, rx_desc(&d, 1)), 0);
	assert_int_equal(desc_flags(&d, rx_desc(&d, 2)), ENP | 0x40);
	assert_int_equal(desc_word(&d, rx_desc(&d, 2), false), 704);
	for (unsigned int i = 0; i < 3; i++)
		memcpy(got + 300 * i, nf->ram + RX_BUF(i), i < 2 ? 300 : 104);
	assert_memory_equal(got, frame, 700);
	eth_fcs(eth_crc_le(frame, 700), got);
	assert_memory_equal(got, got + 700, 4);
	assert_int_equal(desc_flags(&d, rx_desc(&d, 3)), STP | ENP | 0x40);
	assert_int_equal(desc_word(&d, rx_desc(&d, 3), false), 300);
	assert_int_equal(desc_flags(&d, rx_desc(&d, 4)), STP);
	assert_int_equal(desc_flags(&d, rx_desc(&d, 5)), ENP | 0x40);
	assert_true(desc_flags(&d, rx_desc(&d, 6)) & OWN);
	ack(&d);

	/* the chain ends too early: BUFF and OFLO in the last, no ENP */
	put_desc(&d, rx_desc(&d, 8), RX_BUF(8), 300, 0);
	nf_rx(nf, frame, 700);
	nf_run(nf);
	assert_int_equal(desc_flags(&d, rx_desc(&d, 6)), STP);
	assert_int_equal(desc_flags(&d, rx_desc(&d, 7)), ERR | 0x1400);
	assert_int_equal(ack(&d) & 0xff00, CSR0_RINT);
	/* and the next frame has the one behind */
	put_desc(&d, rx_desc(&d, 8), RX_BUF(8), 300, OWN);
	nf_rx(nf, frame, 100);
	d.rx = 8;
	run_until_received(&d);
	assert_int_equal(desc_flags(&d, rx_desc(&d, 8)), STP | ENP | 0x40);
	nf_free(nf);
}

static void test_receive_filter(void **state)
{
	struct drv d;
	struct nic_fixture *nf = start(&d);
	static const uint8_t broadcast[6] = {0xff, 0xff, 0xff, 0xff, 0xff, 0xff};
	static const uint8_t other[6] = {0x52, 0x54, 0, 1, 2, 3};
	const uint8_t *to[4] = {mac, broadcast, multicast, other};
	uint64_t hash = UINT64_C(1) << eth_hash_index(ETH_HASH_LE_TOP6, multicast);
	static const struct {
		uint16_t mode;
		bool hash;
		uint16_t taken[4]; /* the match bits with 1 in front; 0: filtered */
	} cases[] = {
		{0, false, {0x140, 0x110, 0, 0}},
		{0, true, {0x140, 0x110, 0x120, 0}},
		{CSR15_DRCVBC, true, {0x140, 0, 0x120, 0}},
		{CSR15_DRCVPA, true, {0, 0x110, 0x120, 0}},
		{CSR15_PROM, false, {0x140, 0x110, 0x100, 0x100}},
		{CSR15_PROM | CSR15_DRCVPA | CSR15_DRCVBC, false, {0x100, 0x100, 0x100, 0x100}},
	};
	uint8_t frame[4][60];

	for (unsigned int i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		up(&d, nf, 2, 4, 4, cases[i].mode, cases[i].hash ? hash : 0);
		for (unsigned int k = 0; k < 4; k++) {
			uint64_t gpa = rx_desc(&d, d.rx);

			fill(frame[k], 60, to[k], 1);
			nf_rx(nf, frame[k], 60);
			nf_run(nf);
			assert_int_equal(!(desc_flags(&d, gpa) & OWN), !!cases[i].taken[k]);
			if (!cases[i].taken[k])
				continue;
			assert_int_equal(desc_flags(&d, gpa) & 0x70, cases[i].taken[k] & 0xff);
			assert_received(&d, frame[k], 60);
		}
	}
	/* as pcnet32 changes it under way */
	up(&d, nf, 2, 4, 4, 0, 0);
	set_csr(&d, 5, CSR5_SPND);
	set_csr(&d, 15, csr(&d, 15) | CSR15_PROM);
	nf_rx(nf, frame[3], 60);
	nf_run(nf);
	assert_true(desc_flags(&d, rx_desc(&d, 0)) & OWN);
	set_csr(&d, 5, 0);
	nf_run(nf);
	assert_received(&d, frame[3], 60);
	nf_free(nf);
}

static void test_receive_strip(void **state)
{
	struct drv d;
	struct nic_fixture *nf = start(&d);
	uint8_t frame[60];

	set_csr(&d, 4, 0x0d15);
	fill(frame, 60, mac, 1);
	frame[12] = 0;
	frame[13] = 20;
	nf_rx(nf, frame, 60);
	nf_run(nf);
	assert_int_equal(desc_word(&d, rx_desc(&d, 0), false), 34);
	assert_memory_equal(nf->ram + RX_BUF(0), frame, 34);
	d.rx = 1;
	/* lengths from 46 on, and types, are left alone */
	frame[13] = 46;
	nf_rx(nf, frame, 60);
	nf_run(nf);
	assert_received(&d, frame, 60);
	nf_free(nf);
}

static void test_receive_align(void **state)
{
	struct drv d;
	struct nic_fixture *nf = start(&d);
	uint8_t frame[60];

	set_csr(&d, 0, CSR0_STOP);
	set_csr(&d, 122, 1);
	set_csr(&d, 0, CSR0_STRT | CSR0_IENA);
	fill(frame, 60, mac, 1);
	nf_rx(nf, frame, 60);
	nf_run(nf);
	assert_int_equal(desc_word(&d, rx_desc(&d, 0), false), 64);
	assert_memory_equal(nf->ram + RX_BUF(0) + 2, frame, 60);
	nf_free(nf);
}

/* A frame finds no descriptor: it waits, and is missed when that takes too long. */
static void test_receive_missed(void **state)
{
	struct drv d;
	struct nic_fixture *nf = start(&d);
	uint8_t frame[1514];

	up(&d, nf, 2, 4, 4, 0, 0);
	set_csr(&d, 5, CSR5_SPND);
	set_csr(&d, CSR_RXPOLLINT, 0xffff); /* as fast as can be */
	set_csr(&d, 5, 0);
	fill(frame, 1514, mac, 1);
	for (unsigned int i = 0; i < 5; i++)
		nf_rx(nf, frame, 1514);
	nf_run(nf);
	for (unsigned int i = 0; i < 4; i++)
		assert_false(desc_flags(&d, rx_desc(&d, i)) & OWN);
	assert_int_equal(ack(&d) & 0xff00, CSR0_RINT);
	/* found by polling */
	assert_received(&d, frame, 1514);
	d.rx = 0;
	run_until_received(&d);
	d.rx = 1;
	/* at once, at an access to CSR0 */
	nf_rx(nf, frame, 1514);
	nf_run(nf);
	assert_received(&d, frame, 1514);
	set_csr(&d, 0, CSR0_IENA);
	nf_run(nf);
	assert_false(desc_flags(&d, rx_desc(&d, 1)) & OWN);
	ack(&d);

	assert_int_equal(csr(&d, 112), 0);
	nf_rx(nf, frame, 1514);
	run_until_missed(&d);
	assert_int_equal(csr(&d, 112), 1);
	assert_true(nf_irq(nf));
	assert_int_equal(ack(&d) & 0xff00, CSR0_ERR | CSR0_MISS);
	/* now those that come are missed at once, but for what the filter takes out */
	nf_rx(nf, frame, 1514);
	nf_rx(nf, frame + 100, 1000);
	nf_run(nf);
	assert_int_equal(csr(&d, 112), 2);
	assert_received(&d, frame, 1514);
	nf_rx(nf, frame, 1514);
	nf_run(nf);
	assert_received(&d, frame, 1514);
	ack(&d);
	/* the counter's end */
	set_csr(&d, 5, CSR5_SPND);
	set_csr(&d, 112, 0xffff);
	set_csr(&d, 5, 0);
	for (unsigned int i = 0; i < 4; i++)
		put_desc(&d, rx_desc(&d, i), RX_BUF(i), RX_SIZE, 0);
	nf_rx(nf, frame, 1514);
	run_until_missed(&d);
	assert_int_equal(csr(&d, 112), 0);
	assert_true(csr(&d, 4) & CSR4_MFCO);
	set_csr(&d, 0, CSR0_STOP);
	assert_false(csr(&d, 4) & CSR4_MFCO);
	nf_free(nf);
}

static void test_receive_long(void **state)
{
	struct drv d;
	struct nic_fixture *nf = start(&d);
	static uint8_t frame[9000];

	up(&d, nf, 2, 8, 4, 0, 0);
	fill(frame, sizeof(frame), mac, 1);
	/* a chain of three buffers */
	nf_rx(nf, frame, 4000);
	nf_run(nf);
	assert_int_equal(desc_flags(&d, rx_desc(&d, 0)), STP);
	assert_int_equal(desc_flags(&d, rx_desc(&d, 2)), ENP | 0x40);
	assert_int_equal(desc_word(&d, rx_desc(&d, 2), false), 4004);
	/* longer than MCNT */
	nf_rx(nf, frame, 9000);
	nf_rx(nf, frame, 4092);
	nf_run(nf);
	assert_true(desc_flags(&d, rx_desc(&d, 3)) & OWN);
	nf_rx(nf, frame, 100);
	nf_run(nf);
	assert_int_equal(desc_word(&d, rx_desc(&d, 3), false), 104);
	/* a ring that is one small buffer */
	up(&d, nf, 2, 1, 1, 0, 0);
	put_desc(&d, rx_desc(&d, 0), RX_BUF(0), 64, OWN);
	nf_rx(nf, frame, 100);
	nf_run(nf);
	assert_int_equal(desc_flags(&d, rx_desc(&d, 0)), ERR | STP | 0x1400);
	nf_free(nf);
}

/* ---- rings of all lengths ---- */

static void test_ring_lengths(void **state)
{
	struct nic_fixture *nf = nf_new("pcnet", "netdev=n0");
	static const unsigned int odd[] = {1, 3, 5, 100, 511};
	uint8_t frame[60];
	struct drv d;

	fill(frame, 60, mac, 1);
	for (unsigned int code = 0; code <= 9; code++) {
		unsigned int len = 1u << code;

		up(&d, nf, code & 1 ? 3 : 2, len, len, 0, 0);
		for (unsigned int i = 0; i < 2 * len + 1; i++) {
			nf_rx(nf, frame, 60);
			tx_frame(&d, 60, 0);
			nf_run(nf);
			assert_received(&d, frame, 60);
			assert_int_equal(desc_flags(&d, tx_desc(&d, i % len)), STP | ENP);
		}
	}
	for (unsigned int k = 0; k < sizeof(odd) / sizeof(odd[0]); k++) {
		up(&d, nf, 2, 512, 512, 0, 0);
		set_csr(&d, 0, CSR0_STOP);
		d.rx_len = d.tx_len = odd[k];
		clear_rings(&d);
		/* past the ring nothing may be looked at */
		put_desc(&d, rx_desc(&d, odd[k]), 0xfffff000, RX_SIZE, OWN);
		put_desc(&d, tx_desc(&d, odd[k]), 0xfffff000, RX_SIZE, OWN | STP | ENP);
		set_csr(&d, 76, (uint16_t)-odd[k]);
		set_csr(&d, 78, (uint16_t)-odd[k]);
		set_csr(&d, 0, CSR0_STRT | CSR0_IENA);
		for (unsigned int i = 0; i < 2 * odd[k] + 1; i++) {
			nf_rx(nf, frame, 60);
			tx_frame(&d, 60, 0);
			nf_run(nf);
			assert_received(&d, frame, 60);
		}
	}
	nf_free(nf);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_send),	       cmocka_unit_test(test_send_chain),
		cmocka_unit_test(test_send_underflow), cmocka_unit_test(test_send_fcs),
		cmocka_unit_test(test_send_errors),    cmocka_unit_test(test_send_interrupts),
		cmocka_unit_test(test_send_full),      cmocka_unit_test(test_send_burst),
		cmocka_unit_test(test_send_polling),   cmocka_unit_test(test_receive),
		cmocka_unit_test(test_receive_chain),  cmocka_unit_test(test_receive_filter),
		cmocka_unit_test(test_receive_strip),  cmocka_unit_test(test_receive_align),
		cmocka_unit_test(test_receive_missed), cmocka_unit_test(test_receive_long),
		cmocka_unit_test(test_ring_lengths),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
