/*
 * dev/pcnet.c as a driver sees it: registers, interrupts, loopback, suspend, EEPROM; and a hostile
 * driver.
 */
#include "pcnet_driver.h"

/* ---- registers ---- */

static void test_identity(void **state)
{
	struct nic_fixture *nf = nf_new("pcnet", "mac=52:54:00:aa:bb:cc");
	struct drv d = {.nf = nf};
	static const uint16_t bcrs[][2] = {
		{0, 5},	      {1, 5},	    {2, 2},  {4, 0x00c0},  {5, 0x0084},
		{6, 0x0088},  {7, 0x0090},  {9, 0},  {18, 0x9001}, {19, 0xa000},
		{20, 0x0200}, {22, 0xff06}, {32, 0}, {33, 0},	   {255, 0},
	};
	uint16_t sum = 0;

	assert_int_equal(nf_config_read(nf, 0, 4), 0x20001022);
	assert_int_equal(nf_config_read(nf, 8, 4), 0x02000010);
	assert_int_equal(nf_config_read(nf, 0x2c, 4), 0);
	assert_int_equal(nf_config_read(nf, 0x3c, 4) >> 8, 0xff0601);
	assert_int_equal(nf_config_read(nf, 6, 2), 0x0280);

	assert_int_equal(csr(&d, 0), CSR0_STOP);
	assert_int_equal(nf_in(nf, 0x12, 2), 0);
	assert_int_equal(csr(&d, 88) | (uint32_t)csr(&d, 89) << 16, 0x02621003);
	assert_int_equal(nf_in(nf, 0x12, 2), 89);
	assert_int_equal(csr(&d, 3), 0);
	assert_int_equal(csr(&d, 4), 0x0115);
	assert_int_equal(csr(&d, 5), 0);
	assert_int_equal(csr(&d, 80), 0x1410);
	assert_int_equal(csr(&d, 100), 0x0200);
	for (unsigned int i = 0; i < 3; i++)
		assert_int_equal(csr(&d, 12 + i), mac[2 * i] | mac[2 * i + 1] << 8);
	for (unsigned int i = 0; i < sizeof(bcrs) / sizeof(bcrs[0]); i++)
		assert_int_equal(bcr(&d, bcrs[i][0]), bcrs[i][1]);

	for (unsigned int i = 0; i < 6; i++)
		assert_int_equal(nf_in(nf, i, 1), mac[i]);
	assert_int_equal(nf_in(nf, 9, 1), 0x11);
	assert_int_equal(nf_in(nf, 14, 2), 0x5757);
	for (unsigned int i = 0; i < 16; i++)
		sum += i == 12 || i == 13 ? 0 : (uint16_t)nf_in(nf, i, 1);
	assert_int_equal(nf_in(nf, 12, 2), sum);
	assert_int_equal(nf_load(nf, 0, 4), 0xaa005452);
	nf_free(nf);
}

static void test_dword_io(void **state)
{
	struct nic_fixture *nf = nf_new("pcnet", "mac=52:54:00:aa:bb:cc");

	nf_out(nf, 0x10, 4, 0);
	nf_out(nf, 0x14, 4, 18);
	assert_int_equal(nf_in(nf, 0x14, 4), 18);
	assert_int_equal(nf_in(nf, 0x1c, 4), 0x9081);
	assert_int_equal(nf_in(nf, 0x1c, 2), 0);
	nf_store(nf, 0x14, 4, 88);
	assert_int_equal(nf_load(nf, 0x10, 4), 0x1003);
	nf_store(nf, 0x14, 4, 20);
	nf_store(nf, 0x1c, 4, 3);
	assert_int_equal(nf_load(nf, 0x1c, 4), 0x0303);
	/* Reset ends neither mode nor style. */
	nf_load(nf, 0x18, 4);
	assert_int_equal(nf_load(nf, 0x14, 4), 0);
	assert_int_equal(nf_load(nf, 0x10, 4), CSR0_STOP);
	nf_store(nf, 0x14, 4, 58);
	assert_int_equal(nf_load(nf, 0x10, 4), 0x0303);
	assert_int_equal(nf_in(nf, 0, 1), mac[0]);
	device_reset(nf->dev);
	nf_place_bars(nf);
	assert_int_equal(nf_in(nf, 0x10, 2), CSR0_STOP);
	nf_free(nf);
}

static void test_access_rules(void **state)
{
	struct drv d;
	struct nic_fixture *nf = start(&d);

	set_csr(&d, 8, 0x1234);
	assert_int_equal(csr(&d, 8), 0);
	set_csr(&d, 15, 0x8000);
	assert_int_equal(csr(&d, 15), 0);
	set_bcr(&d, 20, 0);
	assert_int_equal(bcr(&d, 20), 0x0302);
	set_bcr(&d, 22, 0x1818);
	assert_int_equal(bcr(&d, 22), 0xff06);
	set_csr(&d, 88, 0xffff);
	assert_int_equal(csr(&d, 88), 0x1003);
	set_csr(&d, 124, 8);
	assert_int_equal(csr(&d, 124), 0);
	set_csr(&d, 4, 0x8915);
	set_csr(&d, 124, 8);
	assert_int_equal(csr(&d, 124), 8);

	set_csr(&d, 5, CSR5_SPND);
	assert_int_equal(csr(&d, 5), CSR5_SPND);
	set_csr(&d, 8, 0x1234);
	assert_int_equal(csr(&d, 8), 0x1234);
	set_bcr(&d, 22, 0x1818);
	assert_int_equal(nf_config_read(nf, 0x3e, 2), 0x1818);
	assert_int_equal(csr(&d, 0) & (CSR0_RXON | CSR0_TXON), CSR0_RXON | CSR0_TXON);
	set_csr(&d, 0, CSR0_STOP);
	assert_int_equal(csr(&d, 0), CSR0_STOP);
	assert_int_equal(csr(&d, 5), 0);
	/* What pcnet32 writes when it closes: a style that isn't one. */
	set_bcr(&d, 20, 4);
	assert_int_equal(bcr(&d, 20), 0x0200);

	/* LEDs. */
	set_bcr(&d, 4, 0x40ff);
	assert_int_equal(bcr(&d, 4), 0x80c0);
	set_bcr(&d, 2, 0x1002);
	set_bcr(&d, 4, 0x40c1);
	assert_int_equal(bcr(&d, 4), 0xc0c1);
	set_bcr(&d, 9, 0xffff);
	assert_int_equal(bcr(&d, 9), 7);
	/* APROM. */
	nf_out(nf, 10, 1, 0x77);
	assert_int_equal(nf_in(nf, 10, 1), 0);
	set_bcr(&d, 2, 0x0102);
	nf_out(nf, 10, 1, 0x77);
	assert_int_equal(nf_in(nf, 10, 1), 0x77);
	nf_free(nf);
}

static void test_init_block(void **state)
{
	struct nic_fixture *nf = nf_new("pcnet", "netdev=n0");
	struct drv d;

	for (unsigned int style = 0; style <= 3; style++) {
		up(&d, nf, style, 16, 8, 0x4000, UINT64_C(0x8877665544332211));
		assert_int_equal(csr(&d, 15), 0x4000);
		assert_int_equal(csr(&d, 8), 0x2211);
		assert_int_equal(csr(&d, 11), 0x8877);
		assert_int_equal(csr(&d, 12), 0x5452);
		assert_int_equal(csr(&d, 14), 0xccbb);
		assert_int_equal(csr(&d, 24), RX_RING);
		assert_int_equal(csr(&d, 30), TX_RING);
		assert_int_equal(csr(&d, 76), (uint16_t)-16);
		assert_int_equal(csr(&d, 78), (uint16_t)-8);
		assert_int_equal(csr(&d, 6), style ? 0x3400 : 0x3400);
		assert_int_equal(csr(&d, 16), INIT_BLOCK);
		assert_int_equal(csr(&d, 28), RX_RING);
		assert_int_equal(csr(&d, 26), rx_desc(&d, 1));
	}
	/* the longest rings that a code can say */
	up(&d, nf, 2, 512, 512, 0, 0);
	assert_int_equal(csr(&d, 76), (uint16_t)-512);
	set_csr(&d, 0, CSR0_STOP);
	nf_put(nf, INIT_BLOCK + 2, 2, 0xfff0);
	set_csr(&d, 0, CSR0_INIT);
	assert_int_equal(csr(&d, 76), (uint16_t)-512);
	assert_int_equal(csr(&d, 78), (uint16_t)-512);
	nf_free(nf);
}

/* ---- interrupts ---- */

static void test_interrupts(void **state)
{
	struct drv d;
	struct nic_fixture *nf = start(&d);
	uint8_t frame[60];

	fill(frame, 60, mac, 1);
	/* NAPI: masked, unmasked, acknowledged in between */
	nf_rx(nf, frame, 60);
	nf_run(nf);
	assert_true(nf_irq(nf));
	assert_int_equal(csr(&d, 0) & 0xffc0, CSR0_RINT | CSR0_INTR | CSR0_IENA);
	set_csr(&d, 0, csr(&d, 0) & (uint16_t)~0x004f);
	assert_int_equal(csr(&d, 0) & 0xffc0, 0);
	set_csr(&d, 3, csr(&d, 3) | 0x5f00);
	nf_rx(nf, frame, 60);
	nf_run(nf);
	assert_false(nf_irq(nf));
	assert_int_equal(csr(&d, 0) & 0xff80, CSR0_RINT);
	set_csr(&d, 3, csr(&d, 3) & 0x00ff);
	assert_false(nf_irq(nf));
	assert_int_equal(csr(&d, 0) & 0xff80, CSR0_RINT | CSR0_INTR);
	set_csr(&d, 0, CSR0_IENA);
	assert_true(nf_irq(nf));
	set_csr(&d, 0, CSR0_RINT | CSR0_IENA);
	assert_false(nf_irq(nf));

	set_csr(&d, 4, 0x0915 | CSR4_UINTCMD);
	assert_true(nf_irq(nf));
	assert_int_equal(csr(&d, 4) & (CSR4_UINT | CSR4_UINTCMD), CSR4_UINT);
	set_csr(&d, 4, 0x0915 | CSR4_UINT);
	assert_false(nf_irq(nf));
	set_csr(&d, 4, 0x0915 | CSR4_UINTCMD);
	set_csr(&d, 0, CSR0_STOP);
	assert_false(nf_irq(nf));
	assert_int_equal(csr(&d, 4) & CSR4_UINT, 0);

	set_csr(&d, 0, CSR0_INIT | CSR0_STRT | CSR0_IENA);
	assert_true(nf_irq(nf));
	assert_int_equal(csr(&d, 0), CSR0_IDON | CSR0_INTR | CSR0_IENA | CSR0_RXON | CSR0_TXON |
					     CSR0_STRT | CSR0_INIT);
	set_csr(&d, 0, CSR0_STOP | CSR0_INIT | CSR0_STRT | CSR0_IENA);
	assert_int_equal(csr(&d, 0), CSR0_STOP);
	assert_false(nf_irq(nf));
	/* reset takes it back as well */
	set_csr(&d, 0, CSR0_INIT | CSR0_STRT | CSR0_IENA);
	assert_true(nf_irq(nf));
	device_reset(nf->dev);
	assert_false(nf_irq(nf));
	nf_free(nf);
}

/* ---- loopback ---- */

/* pcnet32's own test: ethtool -t. */
static void test_loopback(void **state)
{
	struct nic_fixture *nf = nf_new("pcnet", "netdev=n0");
	uint8_t frame[75];
	struct drv d;

	for (unsigned int style = 0; style <= 3; style++) {
		up(&d, nf, style, 32, 16, 0, 0);
		set_csr(&d, 0, CSR0_STOP);
		clear_rings(&d);
		set_csr(&d, 0, CSR0_INIT);
		assert_true(csr(&d, 0) & CSR0_IDON);
		set_csr(&d, 0, 0);
		set_csr(&d, 0, CSR0_STOP);
		for (unsigned int i = 0; i < 4; i++) {
			fill(nf->ram + TX_BUF(i), 75, mac, (uint8_t)i);
			put_desc(&d, tx_desc(&d, i), TX_BUF(i), 75, OWN | STP | ENP);
		}
		set_bcr(&d, 32, bcr(&d, 32) | 2);
		set_csr(&d, 15, (csr(&d, 15) & 0xfffc) | 0x0044);
		set_csr(&d, 0, CSR0_STRT);
		nf_run(nf);
		set_csr(&d, 0, CSR0_STOP);
		for (unsigned int i = 0; i < 4; i++) {
			fill(frame, 75, mac, (uint8_t)i);
			assert_received(&d, frame, 75);
		}
		assert_int_equal(nf_n_sent(nf), 0);
	}
	nf_free(nf);
}

static void test_loopback_modes(void **state)
{
	struct drv d;
	struct nic_fixture *nf = start(&d);
	uint8_t *buf = nf->ram + TX_BUF(0), frame[100];

	fill(frame, 100, mac, 7);
	memcpy(buf, frame, 100);
	eth_fcs(eth_crc_le(frame, 100), buf + 100);

	/* internal: the wire's frames wait; the driver's FCS is checked; runts are taken */
	up(&d, nf, 2, 8, 8, CSR15_LOOP | CSR15_INTL | CSR15_DXMTFCS, 0);
	set_csr(&d, 4, 0x0115);
	put_desc(&d, tx_desc(&d, 0), TX_BUF(0), 104, OWN | STP | ENP);
	put_desc(&d, tx_desc(&d, 1), TX_BUF(0), 50, OWN | STP | ENP);
	put_desc(&d, tx_desc(&d, 2), TX_BUF(0), 20, OWN | STP | ENP | 0x2000);
	tdmd(&d);
	nf_rx(nf, frame, 100);
	nf_run(nf);
	assert_int_equal(nf_n_sent(nf), 0);
	assert_received(&d, frame, 100);
	assert_int_equal(desc_flags(&d, rx_desc(&d, 1)), ERR | 0x0800 | STP | ENP | 0x40);
	assert_int_equal(desc_word(&d, rx_desc(&d, 1), false), 50);
	assert_memory_equal(nf->ram + RX_BUF(1), frame, 50);
	d.rx = 2;
	assert_received(&d, frame, 20);
	assert_true(desc_flags(&d, rx_desc(&d, 3)) & OWN);
	/* without a descriptor it is missed at once */
	for (unsigned int i = 0; i < 8; i++)
		put_desc(&d, rx_desc(&d, i), RX_BUF(i), RX_SIZE, 0);
	put_desc(&d, tx_desc(&d, 3), TX_BUF(0), 104, OWN | STP | ENP);
	tdmd(&d);
	assert_true(csr(&d, 0) & CSR0_MISS);
	assert_int_equal(csr(&d, 112), 1);
	/* not for this card */
	set_csr(&d, 0, CSR0_MISS | CSR0_IENA);
	memcpy(buf, multicast, 6);
	put_desc(&d, tx_desc(&d, 4), TX_BUF(0), 104, OWN | STP | ENP);
	tdmd(&d);
	assert_int_equal(csr(&d, 112), 1);
	memcpy(buf, mac, 6);

	/* a collision, forced */
	up(&d, nf, 2, 4, 4, CSR15_LOOP | CSR15_INTL | CSR15_FCOLL, 0);
	put_desc(&d, tx_desc(&d, 0), TX_BUF(0), 100, OWN | STP | ENP);
	tdmd(&d);
	assert_int_equal(desc_word(&d, tx_desc(&d, 0), true), 0x04000000);
	assert_true(desc_flags(&d, rx_desc(&d, 0)) & OWN);

	/* external: onto the wire and back; what waited since comes first */
	up(&d, nf, 2, 4, 4, CSR15_LOOP, 0);
	nf_run(nf);
	assert_received(&d, frame, 100);
	put_desc(&d, tx_desc(&d, 0), TX_BUF(0), 100, OWN | STP | ENP);
	tdmd(&d);
	assert_sent(nf, 0, frame, 100);
	assert_received(&d, frame, 100);

	/* receiver off */
	up(&d, nf, 2, 4, 4, CSR15_LOOP | CSR15_INTL | CSR15_DRX, 0);
	assert_int_equal(csr(&d, 0) & (CSR0_TXON | CSR0_RXON), CSR0_TXON);
	put_desc(&d, tx_desc(&d, 0), TX_BUF(0), 100, OWN | STP | ENP);
	tdmd(&d);
	assert_int_equal(desc_flags(&d, tx_desc(&d, 0)), STP | ENP);
	assert_true(desc_flags(&d, rx_desc(&d, 0)) & OWN);
	nf_free(nf);
}

/* ---- suspend, bus master, EEPROM ---- */

static void test_suspend(void **state)
{
	struct drv d;
	struct nic_fixture *nf = start(&d);
	uint8_t frame[60];

	fill(frame, 60, mac, 1);
	tx_frame(&d, 60, 0);
	nf_rx(nf, frame, 60);
	nf_run(nf);
	set_csr(&d, 5, CSR5_SPND);
	tx_frame(&d, 60, 0);
	nf_rx(nf, frame, 60);
	nf_run_ms(nf, 10);
	assert_int_equal(nf_n_sent(nf), 1);
	assert_true(desc_flags(&d, rx_desc(&d, 1)) & OWN);
	/* ethtool -d: every register */
	for (unsigned int i = 0; i < 128; i++)
		csr(&d, i);
	for (unsigned int i = 0; i < 36; i++)
		bcr(&d, i);
	set_csr(&d, 5, 0);
	nf_run(nf);
	assert_int_equal(nf_n_sent(nf), 2);
	assert_received(&d, frame, 60);
	assert_received(&d, frame, 60);
	nf_free(nf);
}

static void test_bus_master(void **state)
{
	struct drv d;
	struct nic_fixture *nf = start(&d);
	uint8_t frame[60];

	fill(frame, 60, mac, 1);
	nf_config_write(nf, 4, 2, 3);
	tx_frame(&d, 60, 0);
	nf_rx(nf, frame, 60);
	nf_run(nf);
	assert_int_equal(nf_n_sent(nf), 0);
	assert_true(desc_flags(&d, rx_desc(&d, 0)) & OWN);
	nf_config_write(nf, 4, 2, 7);
	nf_run(nf);
	assert_int_equal(nf_n_sent(nf), 1);
	assert_received(&d, frame, 60);
	/* initialization waits for the bus */
	set_csr(&d, 0, CSR0_STOP);
	nf_config_write(nf, 4, 2, 3);
	clear_rings(&d);
	set_csr(&d, 0, CSR0_INIT | CSR0_STRT | CSR0_IENA);
	assert_int_equal(csr(&d, 0), CSR0_INIT | CSR0_STRT | CSR0_IENA);
	nf_config_write(nf, 4, 2, 7);
	assert_true(csr(&d, 0) & CSR0_IDON);
	assert_true(nf_irq(nf));
	nf_rx(nf, frame, 60);
	nf_run(nf);
	assert_received(&d, frame, 60);
	nf_free(nf);
}

/* Clocks `n` bits into the EEPROM, highest first; returns what came out during them. */
static uint16_t ee_bits(struct drv *d, uint16_t bits, unsigned int n)
{
	uint16_t out = 0;

	for (unsigned int i = n; i-- > 0;) {
		uint16_t v = (uint16_t)(0x14 | (bits >> i & 1));

		set_bcr(d, 19, v);
		set_bcr(d, 19, v | 2);
		out = (uint16_t)(out << 1 | (bcr(d, 19) & 1));
	}
	return out;
}

static void test_eeprom(void **state)
{
	struct nic_fixture *nf = nf_new("pcnet", "mac=52:54:00:aa:bb:cc");
	struct drv d = {.nf = nf};
	uint8_t sum = 0;

	for (unsigned int i = 0; i < 18; i++) {
		uint16_t word;

		set_bcr(&d, 19, 0x10);
		ee_bits(&d, (uint16_t)(0x180 | i), 9);
		word = ee_bits(&d, 0, 16);
		set_bcr(&d, 19, 0x10);
		if (i < 8)
			assert_int_equal(word, nf_in(nf, 2 * i, 2));
		sum += (uint8_t)(word + (word >> 8));
	}
	assert_int_equal(sum, 0xff);
	set_bcr(&d, 19, 0);
	assert_int_equal(bcr(&d, 19), 0xa000);
	/* another address into it: EWEN, WRITE; then the card reads it, and finds its checksum
	 * wrong */
	set_bcr(&d, 19, 0x10);
	ee_bits(&d, 0x130, 9);
	set_bcr(&d, 19, 0x10);
	ee_bits(&d, 0x142, 9);
	ee_bits(&d, 0xddbb, 16);
	set_bcr(&d, 19, 0x10);
	set_bcr(&d, 19, 0x4000);
	assert_int_equal(bcr(&d, 19), 0x2000);
	assert_int_equal(nf_in(nf, 5, 1), 0xcc);
	nf_free(nf);
}

/* ---- hostile ---- */

static void assert_aborted(struct drv *d)
{
	assert_int_equal(csr(d, 0), CSR0_STOP);
	assert_true(csr(d, 5) & CSR5_SINT);
	assert_true(nf_config_read(d->nf, 6, 2) & 0x2000);
	nf_config_write(d->nf, 6, 2, 0x2000);
	assert_false(nf_config_read(d->nf, 6, 2) & 0x2000);
	set_csr(d, 5, CSR5_SINT);
	assert_false(csr(d, 5) & CSR5_SINT);
}

static void test_not_ram(void **state)
{
	struct drv d;
	struct nic_fixture *nf = start(&d);
	static const uint32_t nowhere[] = {NF_RAM_SIZE, NF_RAM_SIZE - 8, 0xfffffff0, NF_MMIO_BASE};
	uint8_t frame[60];

	fill(frame, 60, mac, 1);
	for (unsigned int i = 0; i < sizeof(nowhere) / sizeof(nowhere[0]); i++) {
		up(&d, nf, 2, 4, 4, 0, 0);
		set_csr(&d, 0, CSR0_STOP);
		set_csr(&d, 1, (uint16_t)nowhere[i]);
		set_csr(&d, 2, (uint16_t)(nowhere[i] >> 16));
		set_csr(&d, 0, CSR0_INIT | CSR0_STRT | CSR0_IENA);
		assert_aborted(&d);
		/* transmit ring */
		up(&d, nf, 2, 4, 4, 0, 0);
		set_csr(&d, 0, CSR0_STOP);
		set_csr(&d, 30, (uint16_t)nowhere[i]);
		set_csr(&d, 31, (uint16_t)(nowhere[i] >> 16));
		set_csr(&d, 0, CSR0_STRT);
		if (nowhere[i] != NF_RAM_SIZE - 8) /* rounded down to RAM */
			assert_aborted(&d);
		/* receive ring */
		up(&d, nf, 2, 4, 4, 0, 0);
		set_csr(&d, 0, CSR0_STOP);
		set_csr(&d, 24, (uint16_t)nowhere[i]);
		set_csr(&d, 25, (uint16_t)(nowhere[i] >> 16));
		set_csr(&d, 0, CSR0_STRT);
		nf_rx(nf, frame, 60);
		nf_run(nf);
		if (nowhere[i] != NF_RAM_SIZE - 8)
			assert_aborted(&d);
		/* buffers */
		up(&d, nf, 2, 4, 4, 0, 0);
		put_desc(&d, tx_desc(&d, 0), nowhere[i], 60, OWN | STP | ENP);
		tdmd(&d);
		assert_aborted(&d);
		up(&d, nf, 2, 4, 4, 0, 0);
		nf_run(nf);
		d.rx = csr(&d, 72) & 3;
		put_desc(&d, rx_desc(&d, d.rx), nowhere[i], 60, OWN);
		nf_rx(nf, frame, 60);
		nf_run(nf);
		assert_aborted(&d);
	}
	/* and all is well after that */
	up(&d, nf, 2, 4, 4, 0, 0);
	nf_run(nf);
	assert_received(&d, frame, 60);
	nf_free(nf);
}

/* Rings on top of themselves, of the initialization block and of the buffers; every ring length. */
static void test_overlaps(void **state)
{
	struct drv d;
	struct nic_fixture *nf = start(&d);
	static uint8_t frame[1514];

	memset(frame, 0xff, sizeof(frame));
	for (unsigned int style = 0; style <= 3; style++) {
		up(&d, nf, style, 4, 4, CSR15_PROM, ~UINT64_C(0));
		set_csr(&d, 0, CSR0_STOP);
		set_csr(&d, 24, TX_RING);
		set_csr(&d, 76, 0);
		set_csr(&d, 78, 0);
		for (unsigned int i = 0; i < 0x8000; i += 16)
			put_desc(&d, TX_RING + i, TX_RING + i / 2, 1500,
				 OWN | STP | (i & 32 ? ENP : 0));
		set_csr(&d, 15, CSR15_PROM | CSR15_LOOP | (style & 1 ? CSR15_INTL : 0));
		set_csr(&d, 0, CSR0_STRT | CSR0_IENA);
		for (unsigned int i = 0; i < 40; i++)
			nf_rx(nf, frame, sizeof(frame));
		tdmd(&d);
		nf_run(nf);
	}
	nf_free(nf);
}

static void test_two_cards(void **state)
{
	struct drv a, b;
	struct nic_fixture *one = start(&a), *two = start(&b);

	tx_frame(&a, 60, 1);
	assert_int_equal(nf_n_sent(one), 1);
	assert_int_equal(nf_n_sent(two), 0);
	assert_true(nf_irq(one));
	assert_false(nf_irq(two));
	nf_free(one);
	tx_frame(&b, 60, 1);
	assert_int_equal(nf_n_sent(two), 1);
	nf_free(two);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_identity),       cmocka_unit_test(test_dword_io),
		cmocka_unit_test(test_access_rules),   cmocka_unit_test(test_init_block),
		cmocka_unit_test(test_interrupts),     cmocka_unit_test(test_loopback),
		cmocka_unit_test(test_loopback_modes), cmocka_unit_test(test_suspend),
		cmocka_unit_test(test_bus_master),     cmocka_unit_test(test_eeprom),
		cmocka_unit_test(test_not_ram),	       cmocka_unit_test(test_overlaps),
		cmocka_unit_test(test_two_cards),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
