/*
 * Intel 8255x: registers, EEPROM, PHY, interrupts and the command unit, as a driver uses them.
 */
#include "i8255x_driver.h"

#include "dev/eth_filter.h"

static const char *const models[] = {"i82551", "i82557b", "i82559er"};
#define N_MODELS (sizeof(models) / sizeof(models[0]))

/* ---- registers ---- */

static void test_identity(void **state)
{
	static const struct {
		uint16_t device;
		uint8_t revision;
		uint32_t flash;
		bool pm;
	} is[] = {
		{0x1209, 0x0f, 128 << 10, true},
		{0x1229, 0x02, 1 << 20, false},
		{0x1209, 0x09, 128 << 10, true},
	};

	for (unsigned int i = 0; i < N_MODELS; i++) {
		struct nic_fixture *nf = card(models[i]);
		struct pci_device *pci = pci_of(nf->dev);

		assert_int_equal(nf_config_read(nf, 0, 2), 0x8086);
		assert_int_equal(nf_config_read(nf, 2, 2), is[i].device);
		assert_int_equal(nf_config_read(nf, 8, 4), 0x02000000 | is[i].revision);
		assert_int_equal(nf_config_read(nf, 0x2c, 4), 0x11001af4);
		assert_int_equal(nf_config_read(nf, 6, 2) & 0x10, is[i].pm ? 0x10 : 0);
		assert_int_equal(pci->bar[0].size, 4096);
		assert_true(pci->bar[0].prefetchable);
		assert_int_equal(pci->bar[1].size, 64);
		assert_int_equal(pci->bar[2].size, is[i].flash);
		/* reset values */
		assert_int_equal(nf_load(nf, 0, 4), 0);
		assert_int_equal(nf_load(nf, 0x10, 4), 0x10000000);
		assert_int_equal(nf_load(nf, 0x100, 4), 0); /* behind the registers */
		assert_int_equal(nf_in(nf, 0x10, 4), 0x10000000);
		assert_int_equal(nf_load(nf, 0x1d, 1), is[i].device == 0x1209 ? 7 : 0);
		nf_free(nf);
	}
}

/* e100_eeprom_read() */
static uint16_t eeprom_word(struct nic_fixture *nf, unsigned int *addr_len, unsigned int addr)
{
	uint32_t command = (6u << *addr_len | addr) << 16;
	uint16_t data = 0;

	nf_store(nf, 0x0e, 1, 3);
	for (int i = 31; i >= 0; i--) {
		uint8_t control = command >> i & 1 ? 2 | 4 : 2;

		nf_store(nf, 0x0e, 1, control);
		nf_store(nf, 0x0e, 1, control | 1);
		control = (uint8_t)nf_load(nf, 0x0e, 1);
		if (!(control & 8) && i > 16) {
			*addr_len -= (unsigned int)(i - 16);
			i = 17;
		}
		data = (uint16_t)(data << 1 | (control & 8 ? 1 : 0));
	}
	nf_store(nf, 0x0e, 1, 0);
	return data;
}

static void test_eeprom(void **state)
{
	for (unsigned int m = 0; m < N_MODELS; m++) {
		struct nic_fixture *nf = card(models[m]);
		unsigned int addr_len = 8;
		uint16_t word[64], sum = 0;

		eeprom_word(nf, &addr_len, 0);
		assert_int_equal(addr_len, 6);
		for (unsigned int i = 0; i < 64; i++) {
			word[i] = eeprom_word(nf, &addr_len, i);
			sum += word[i];
		}
		assert_int_equal(sum, 0xbaba);
		assert_memory_equal(word, mac, 6);
		assert_int_equal(word[5] >> 8, m == 1 ? 1 : 3);
		assert_int_equal(word[6], 0x0701);
		assert_int_equal(word[10], 0x4000);
		nf_free(nf);
	}
}

static void test_mdi(void **state)
{
	struct nic_fixture *nf = card("i82559er");

	nf_store(nf, 3, 1, 0);
	assert_int_equal(phy_get(nf, 0), 0x3100);
	assert_int_equal(phy_get(nf, 1), 0x782d);
	assert_int_equal(phy_get(nf, 2), 0x02a8);
	assert_int_equal(phy_get(nf, 3), 0x0154);
	assert_int_equal(phy_get(nf, 16), 3); /* 100 Mbit/s, full duplex */
	assert_int_equal(phy_get(nf, 18), 1);
	phy_set(nf, 27, 5);
	assert_int_equal(phy_get(nf, 27), 5);
	phy_set(nf, 28, 0x80);
	assert_int_equal(phy_get(nf, 28), 0x80);
	for (unsigned int phy = 0; phy < 32; phy++)
		assert_int_equal(mdi(nf, 2, phy, 2, 0), phy == 1 ? 0x02a8 : 0xffff);
	mdi(nf, 1, 7, 0, 0x8000); /* nobody's */

	/* forced to 10 Mbit/s half duplex */
	phy_set(nf, 0, 0);
	assert_int_equal(phy_get(nf, 16), 0);
	assert_int_equal(nf_load(nf, 0x1d, 1), 1);
	phy_set(nf, 0, 0x8000);
	assert_int_equal(phy_get(nf, 0), 0x3100);

	/* with an interrupt */
	assert_false(nf_irq(nf));
	nf_store(nf, 0x10, 4, 0x20000000 | 2 << 26 | 1 << 21 | 3 << 16);
	assert_true(nf_irq(nf));
	assert_int_equal(ack(nf), 0x08);
	assert_false(nf_irq(nf));
	nf_free(nf);
}

static void test_link(void **state)
{
	struct nic_fixture *nf = card("i82551");

	assert_true(phy_get(nf, 1) & 4);
	nf_link(nf, false);
	assert_false(phy_get(nf, 1) & 4);
	assert_int_equal(nf_load(nf, 0x1d, 1) & 1, 0);
	assert_int_equal(nf_load(nf, 0x1b, 1), 0x80); /* PMDR: the link changed */
	nf_store(nf, 0x1b, 1, 0x80);
	assert_int_equal(nf_load(nf, 0x1b, 1), 0);
	nf_link(nf, true);
	phy_get(nf, 1);
	assert_true(phy_get(nf, 1) & 4);
	nf_free(nf);

	nf = nf_new("i82557b", NULL); /* no cable at all */
	assert_false(phy_get(nf, 1) & 4);
	nf_free(nf);
}

static void test_interrupts(void **state)
{
	struct nic_fixture *nf = card("i82559er");

	/* by software, masked and not */
	nf_store(nf, 3, 1, 3);
	assert_int_equal(nf_load(nf, 3, 1), 1); /* SI reads 0 */
	assert_int_equal(nf_load(nf, 1, 1), SWI);
	assert_false(nf_irq(nf));
	nf_store(nf, 3, 1, 0);
	assert_true(nf_irq(nf));
	nf_store(nf, 3, 1, 0xfc); /* SWI has no mask bit of its own */
	assert_true(nf_irq(nf));
	nf_store(nf, 0, 1, 0xff); /* the status byte is read-only */
	assert_int_equal(ack(nf), SWI);
	assert_false(nf_irq(nf));

	/* by cause */
	for (unsigned int bit = 4; bit < 8; bit++) {
		nf_store(nf, 3, 1, 0);
		cb_put(nf, 0, COMMAND_EL | COMMAND_I, 0);
		scb(nf, 0x10, CB(0)); /* CX and CNA */
		assert_true(nf_irq(nf));
		nf_store(nf, 3, 1, 0xa0);
		assert_false(nf_irq(nf));
		nf_store(nf, 3, 1, 0x20);
		assert_true(nf_irq(nf));
		nf_store(nf, 1, 1, CX);
		assert_false(nf_irq(nf));
		nf_store(nf, 3, 1, 1u << bit);
		assert_int_equal(nf_load(nf, 3, 1), 1u << bit);
		assert_int_equal(nf_irq(nf), bit != 5);
		assert_int_equal(ack(nf), CNA);
	}
	nf_free(nf);

	nf = card("i82557b"); /* has no masks by cause, and no registers behind 17h */
	nf_store(nf, 3, 1, 0xfc);
	assert_int_equal(nf_load(nf, 3, 1), 0);
	nf_store(nf, 0x18, 4, 0xffffffff);
	assert_int_equal(nf_load(nf, 0x18, 4), 0);
	nf_free(nf);
}

/* Pieces of registers: 16 bits at a time, bytes, through ports. */
static void test_access_sizes(void **state)
{
	struct nic_fixture *nf = card("i82559er");

	nf_out(nf, 4, 2, 0x5678);
	nf_out(nf, 6, 1, 0x34);
	nf_out(nf, 7, 1, 0x12);
	assert_int_equal(nf_load(nf, 4, 4), 0x12345678);
	assert_int_equal(nf_in(nf, 5, 2), 0x3456);
	nf_put(nf, SELF_TEST + 4, 4, 1);
	nf_out(nf, 8, 2, SELF_TEST | 1);
	assert_int_equal(nf_get(nf, SELF_TEST + 4, 4), 1); /* not yet */
	nf_out(nf, 10, 2, 0);
	assert_int_equal(nf_get(nf, SELF_TEST + 4, 4), 0);
	nf_out(nf, 0x18, 4, 0xffffffff); /* early receive, flow control, PMDR */
	assert_int_equal(nf_in(nf, 0x18, 4), 0x000007ff);
	nf_out(nf, 0x1c, 4, 0xffffffff);
	assert_int_equal(nf_in(nf, 0x1c, 4), 0x00000703);
	for (unsigned int offset = 0x20; offset < 0x40; offset += 4)
		assert_int_equal(nf_in(nf, offset, 4), 0);
	nf_store(nf, 0xffc, 4, 0xffffffff);
	nf_free(nf);
}

static void test_port(void **state)
{
	struct nic_fixture *nf = card("i82559er");
	uint8_t c[22];

	bring_up(nf);
	config_default(c, true);
	c[15] |= 1;
	configure(nf, c);
	rx_start(nf);

	port(nf, DUMP | 3);
	assert_memory_equal(nf->ram + DUMP, c, 22);

	/* selective: the units, and nothing else */
	port(nf, 2);
	assert_int_equal(RU_STATE(nf), 0);
	port(nf, DUMP | 3);
	assert_memory_equal(nf->ram + DUMP, c, 22);

	port(nf, 0);
	port(nf, DUMP | 3);
	assert_int_equal(nf->ram[DUMP + 15], 0xc8);
	assert_int_equal(nf_load(nf, 4, 4), 0);
	port(nf, 0xfffffff1); /* a self-test that ends nowhere, and what there isn't */
	port(nf, 0x0000000f);

	/* power states: D3 and back is a reset */
	bring_up(nf);
	rx_start(nf);
	nf_config_write(nf, 0x44, 2, 3);
	assert_int_equal(nf_config_read(nf, 0x44, 2), 3);
	nf_config_write(nf, 0x44, 2, 0);
	assert_int_equal(RU_STATE(nf), 0);
	nf_free(nf);
}

/* ---- transmit ---- */

/* As e100: a ring, a command with S set, the S of the one before cleared, CU resume. */
static void test_ring(void **state)
{
	for (unsigned int m = 0; m < N_MODELS; m++) {
		struct nic_fixture *nf = card(models[m]);
		uint8_t frame[1514];

		bring_up(nf);
		for (unsigned int i = 0; i < 3 * N_CBS; i++) {
			unsigned int at = i % N_CBS, before = (i + N_CBS - 1) % N_CBS;
			size_t len = i % 3 ? 60 + i * 30 : 1514;

			make_frame(frame, len, mac, (uint8_t)i);
			memcpy(nf->ram + BUF(at), frame, len);
			tcb_put(nf, at, COMMAND_S | (m == 1 ? COMMAND_I : 0x1f00), BUF(at),
				(uint16_t)len);
			nf->ram[CB(before) + 3] &= (uint8_t) ~(COMMAND_S >> 8);
			scb(nf, i ? 0x20 : 0x10, CB(at));
			assert_int_equal(nf_get(nf, CB(at), 2), 0xa000);
			assert_int_equal(CU_STATE(nf), 1);
			assert_int_equal(nf_n_sent(nf), i + 1);
			assert_int_equal(nf_sent(nf, i)->len, len);
			assert_memory_equal(nf_sent(nf, i)->data, frame, len);
			/* CNA at once, or late enough not to be seen here */
			assert_int_equal(ack(nf), m == 1 ? CX | CNA : 0);
		}
		nf_run_ms(nf, 2);
		assert_int_equal(ack(nf), m == 1 ? 0 : CNA);
		scb(nf, 0x70, 0);
		assert_int_equal(nf_get(nf, STATS, 4), 3 * N_CBS);
		assert_int_equal(nf_get(nf, STATS + (m == 1 ? 64 : 80), 4), 0xa007);
		nf_free(nf);
	}
}

/* Many commands for one start: in bursts, with pauses between them. */
static void test_long_list(void **state)
{
	struct nic_fixture *nf = card("i82559er");

	bring_up(nf);
	for (unsigned int i = 0; i < 200; i++) {
		uint32_t cb = CB(0) + 0x40 * i;

		nf_put(nf, cb, 4, (i == 199 ? COMMAND_EL : 0u) << 16 | (4u | COMMAND_SF) << 16);
		nf_put(nf, cb + 4, 4, cb + 0x40);
		nf_put(nf, cb + 8, 4, 0xffffffff);
		nf_put(nf, cb + 12, 4, 0x01e00000);
		nf_put(nf, cb + 16, 4, BUF(0));
		nf_put(nf, cb + 20, 4, 60 + i);
	}
	scb(nf, 0x10, CB(0));
	assert_int_equal(CU_STATE(nf), 2);
	assert_int_equal(nf_n_sent(nf), NIC_TX_BURST);
	nf_run_ms(nf, 20);
	assert_int_equal(CU_STATE(nf), 0);
	assert_int_equal(nf_n_sent(nf), 200);
	assert_int_equal(nf_sent(nf, 199)->len, 60 + 199);
	assert_int_equal(ack(nf), CNA);
	nf_free(nf);
}

/* Simplified mode: the frame is in the TCB. */
static void test_simplified(void **state)
{
	struct nic_fixture *nf = card("i82557b");

	bring_up(nf);
	make_frame(nf->ram + CB(0) + 16, 100, mac, 1);
	nf_put(nf, CB(0) + 8, 4, 0xffffffff);
	nf_put(nf, CB(0) + 12, 4, 0x00e08000 | 100);
	assert_int_equal(cb_run(nf, 4), 0xa000);
	assert_int_equal(nf_sent(nf, 0)->len, 100);
	assert_memory_equal(nf_sent(nf, 0)->data, nf->ram + CB(0) + 16, 100);
	nf_free(nf);
}

/* TBDs: in an array, behind data in the TCB, in an extended TCB. */
static void test_flexible(void **state)
{
	uint8_t frame[400];

	make_frame(frame, sizeof(frame), mac, 9);
	for (unsigned int m = 0; m < N_MODELS; m++) {
		struct nic_fixture *nf = card(models[m]);
		bool extended = m != 1;
		uint32_t data = CB(0) + (extended ? 32 : 16), tbd = BUF(8);

		bring_up(nf);
		/* 20 bytes in the TCB, then 4 buffers: 10, 0, 300, 70; a fifth that doesn't
		 * count */
		memcpy(nf->ram + data, frame, 20);
		memcpy(nf->ram + BUF(0), frame + 20, 10);
		memcpy(nf->ram + BUF(1) + 3, frame + 30, 300);
		memcpy(nf->ram + BUF(2) + 1, frame + 330, 70);
		nf_put(nf, CB(0) + 8, 4, tbd);
		nf_put(nf, CB(0) + 12, 4, 0x04e00000 | 20);
		for (unsigned int i = 0; i < 5; i++) {
			static const uint16_t len[5] = {10, 0, 300, 70, 50};
			const uint32_t at[5] = {BUF(0), BUF(5), BUF(1) + 3, BUF(2) + 1, BUF(3)};
			uint32_t entry = !extended ? tbd + 8 * i
					 : i < 2   ? CB(0) + 16 + 8 * i
						   : tbd + 8 * (i - 2);

			nf_put(nf, entry, 4, at[i]);
			nf_put(nf, entry + 4, 4, len[i]);
		}
		assert_int_equal(cb_run(nf, 4 | COMMAND_SF), 0xa000);
		assert_int_equal(nf_sent(nf, 0)->len, 400);
		assert_memory_equal(nf_sent(nf, 0)->data, frame, 400);

		/* EL ends the list, whatever the number says */
		nf->ram[(extended ? tbd : tbd + 16) + 6] = 1;
		nf->ram[CB(0) + 15] = 0xff;
		assert_int_equal(cb_run(nf, 4 | COMMAND_SF), 0xa000);
		assert_int_equal(nf_sent(nf, 1)->len, 330);
		nf_free(nf);
	}
}

static void test_padding(void **state)
{
	for (unsigned int m = 0; m < N_MODELS; m++) {
		struct nic_fixture *nf = card(models[m]);

		bring_up(nf);
		make_frame(nf->ram + BUF(0), 42, mac, 1);
		tcb_put(nf, 0, COMMAND_EL, BUF(0), 42);
		scb(nf, 0x10, CB(0));
		assert_int_equal(nf_sent(nf, 0)->len, 60);
		assert_memory_equal(nf_sent(nf, 0)->data, nf->ram + BUF(0), 42);
		for (unsigned int i = 42; i < 60; i++)
			assert_int_equal(nf_sent(nf, 0)->data[i], m == 1 ? 0x7e : 0);
		configure_byte(nf, 18, 0xf0); /* off */
		tcb_put(nf, 0, COMMAND_EL, BUF(0), 42);
		scb(nf, 0x10, CB(0));
		assert_int_equal(nf_sent(nf, 1)->len, 42);
		nf_free(nf);
	}
}

/* The card's address as the source; the CRC from memory. */
static void test_source_and_crc(void **state)
{
	struct nic_fixture *nf = card("i82559er");
	uint8_t frame[104], own[6] = {2, 4, 6, 8, 10, 12};

	bring_up(nf);
	memcpy(nf->ram + CB(0) + 8, own, 6);
	assert_int_equal(cb_run(nf, 1), 0xa000);
	configure_byte(nf, 10, 0x26); /* NSAI off */
	make_frame(frame, 100, mac, 1);
	memcpy(nf->ram + BUF(0), frame, 100);
	tcb_put(nf, 0, COMMAND_EL, BUF(0), 100);
	scb(nf, 0x10, CB(0));
	memcpy(frame + 6, own, 6);
	assert_memory_equal(nf_sent(nf, 0)->data, frame, 100);

	eth_fcs(eth_crc_add(ETH_CRC_START, frame, 100), frame + 100);
	memcpy(nf->ram + BUF(0), frame, 104);
	tcb_put(nf, 0, COMMAND_EL | COMMAND_NC, BUF(0), 104);
	scb(nf, 0x10, CB(0));
	assert_int_equal(nf_sent(nf, 1)->len, 100);
	assert_memory_equal(nf_sent(nf, 1)->data, frame, 100);
	nf->ram[BUF(0) + 50] ^= 1;
	tcb_put(nf, 0, COMMAND_EL | COMMAND_NC, BUF(0), 104);
	scb(nf, 0x10, CB(0));
	for (uint16_t len = 0; len <= 4; len++) {
		tcb_put(nf, 0, COMMAND_EL | COMMAND_NC, BUF(0), len);
		scb(nf, 0x10, CB(0));
		assert_int_equal(nf_get(nf, CB(0), 2), 0x9000);
	}
	assert_int_equal(nf_n_sent(nf), 2);
	nf_free(nf);
}

/* The back end is full: the unit waits, and a resume that comes meanwhile isn't lost. */
static void test_no_room(void **state)
{
	struct nic_fixture *nf = card("i82559er");

	bring_up(nf);
	nf_full(nf, true);
	tcb_put(nf, 0, COMMAND_S, BUF(0), 60);
	scb(nf, 0x10, CB(0));
	assert_int_equal(CU_STATE(nf), 2);
	assert_int_equal(nf_get(nf, CB(0), 2), 0);
	nf_run(nf);
	tcb_put(nf, 1, COMMAND_S, BUF(1), 61);
	nf->ram[CB(0) + 3] &= (uint8_t) ~(COMMAND_S >> 8);
	scb(nf, 0x20, 0);
	scb(nf, 0x10, CB(5)); /* prohibited now */
	assert_int_equal(CU_STATE(nf), 2);
	nf_full(nf, false);
	nf_run(nf);
	assert_int_equal(CU_STATE(nf), 1);
	assert_int_equal(nf_n_sent(nf), 2);
	assert_int_equal(nf_sent(nf, 1)->len, 61);

	/* a reset while it waits */
	nf_full(nf, true);
	tcb_put(nf, 2, COMMAND_S, BUF(0), 60);
	nf->ram[CB(1) + 3] &= (uint8_t) ~(COMMAND_S >> 8);
	scb(nf, 0x20, 0);
	assert_int_equal(CU_STATE(nf), 2);
	port(nf, 0);
	nf_full(nf, false);
	nf_run(nf);
	assert_int_equal(nf_n_sent(nf), 2);
	nf_free(nf);
}

static void test_no_cable(void **state)
{
	struct nic_fixture *nf = card("i82559er");

	bring_up(nf);
	nf_link(nf, false);
	tcb_put(nf, 0, COMMAND_EL, BUF(0), 60);
	scb(nf, 0x10, CB(0));
	assert_int_equal(nf_get(nf, CB(0), 2), 0xa000);
	nf_link(nf, true);
	phy_set(nf, 0, 0x0400); /* isolated */
	tcb_put(nf, 0, COMMAND_EL, BUF(0), 60);
	scb(nf, 0x10, CB(0));
	assert_int_equal(nf_n_sent(nf), 0);
	nf_free(nf);
}

/* ---- the command unit's states ---- */

static void test_suspend(void **state)
{
	struct nic_fixture *nf = card("i82559er");
	uint8_t c[22];

	bring_up(nf);
	scb(nf, 0x20, 0); /* idle: ignored */
	assert_int_equal(CU_STATE(nf), 0);
	cb_put(nf, 0, COMMAND_S, 1);
	cb_put(nf, 1, COMMAND_S | COMMAND_I, 2);
	cb_put(nf, 2, COMMAND_EL | COMMAND_S, 3);
	scb(nf, 0x10, CB(0));
	assert_int_equal(CU_STATE(nf), 1);
	assert_int_equal(ack(nf), CNA);
	scb(nf, 0x20, 0); /* S is still set */
	assert_int_equal(CU_STATE(nf), 1);
	assert_int_equal(nf_get(nf, CB(1), 2), 0);
	nf_put(nf, CB(0) + 2, 2, 0);
	nf_put(nf, CB(0) + 4, 4, 0x123456); /* the link was remembered */
	scb(nf, 0x20, 0);
	assert_int_equal(CU_STATE(nf), 1);
	assert_int_equal(nf_get(nf, CB(1), 2), 0xa000);
	assert_int_equal(ack(nf), CNA | CX);
	scb(nf, 0xa0, 0); /* static resume: although S is set */
	assert_int_equal(CU_STATE(nf), 0);
	assert_int_equal(nf_get(nf, CB(2), 2), 0xa000);
	assert_int_equal(ack(nf), CNA);

	/* CI: an interrupt when it goes idle only */
	config_default(c, true);
	c[6] |= 8;
	configure(nf, c);
	cb_put(nf, 0, COMMAND_S, 1);
	scb(nf, 0x10, CB(0));
	assert_int_equal(ack(nf), 0);
	cb_put(nf, 0, COMMAND_EL, 1);
	scb(nf, 0x10, CB(0)); /* start, from suspended */
	assert_int_equal(ack(nf), CNA);

	/* relative to the CU base */
	scb(nf, 0x60, CB(0));
	cb_put(nf, 3, COMMAND_EL, 0);
	scb(nf, 0x10, CB(3) - CB(0));
	assert_int_equal(nf_get(nf, CB(3), 2), 0xa000);
	for (unsigned int command = 0; command < 256; command += 16) {
		if (command != 0x10)
			scb(nf, (uint8_t)command, 0); /* reserved ones among them */
	}
	nf_free(nf);
}

/* The CNA interrupt that comes late comes once, and not if the unit is active again. */
static void test_cna_delay(void **state)
{
	struct nic_fixture *nf = card("i82551");

	bring_up(nf);
	cb_put(nf, 0, COMMAND_S | 0x1f00, 1);
	scb(nf, 0x10, CB(0));
	assert_int_equal(ack(nf), 0);
	cb_put(nf, 1, COMMAND_EL, 0);
	nf_put(nf, CB(0) + 2, 2, 0);
	scb(nf, 0x20, 0);
	assert_int_equal(ack(nf), CNA); /* of going idle */
	nf_run_ms(nf, 2);
	assert_int_equal(ack(nf), 0);
	cb_put(nf, 0, COMMAND_S | 0x0100, 1);
	scb(nf, 0x10, CB(0));
	nf_run_ms(nf, 2);
	assert_int_equal(ack(nf), CNA);
	nf_run_ms(nf, 1);
	assert_int_equal(ack(nf), 0);
	nf_free(nf);
}

static void test_commands(void **state)
{
	struct nic_fixture *nf = card("i82551");

	bring_up(nf);
	assert_int_equal(cb_run(nf, 0), 0xa000);
	assert_int_equal(cb_run(nf, 7), 0xa000); /* diagnose */
	memset(nf->ram + CB(0) + 8, 0xff, 134 * 4);
	assert_int_equal(cb_run(nf, 5), 0xa000); /* load microcode */
	nf_put(nf, CB(0) + 8, 4, DUMP);
	assert_int_equal(cb_run(nf, 6), 0xa000); /* dump */
	assert_memory_equal(nf->ram + DUMP + 0x20, mac, 6);
	nf_put(nf, CB(0) + 8, 4, NF_RAM_SIZE - 100);
	assert_int_equal(cb_run(nf, 6), 0x8000); /* not in RAM: not OK */

	/* configure: as many bytes as it is told, and as it has */
	nf->ram[DUMP + 15] = 0;
	memset(nf->ram + CB(0) + 8, 0, 32);
	nf->ram[CB(0) + 8] = 8;
	nf->ram[CB(0) + 8 + 15] = 0xff;
	assert_int_equal(cb_run(nf, 2), 0xa000);
	port(nf, DUMP | 3);
	assert_int_equal(nf->ram[DUMP + 15], 0x48);
	nf->ram[CB(0) + 8] = 0x3f;
	nf->ram[CB(0) + 8 + 31] = 0x77;
	assert_int_equal(cb_run(nf, 2), 0xa000);
	port(nf, DUMP | 3);
	assert_int_equal(nf->ram[DUMP + 31], 0x77);
	nf_free(nf);
}

static void test_statistics(void **state)
{
	static const struct {
		const char *model;
		uint8_t byte6;
		unsigned int at;
	} cases[] = {
		{"i82557b", 0x00, 64},	{"i82557b", 0x24, 64},	{"i82559er", 0x30, 64},
		{"i82559er", 0x10, 76}, {"i82559er", 0x34, 80}, {"i82551", 0x14, 80},
	};

	for (unsigned int i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct nic_fixture *nf = card(cases[i].model);
		unsigned int at = cases[i].at;

		bring_up(nf);
		configure_byte(nf, 6, cases[i].byte6);
		for (unsigned int n = 0; n < 3; n++) {
			tcb_put(nf, 0, COMMAND_EL, BUF(0), n == 2 ? 0 : 60);
			scb(nf, 0x10, CB(0));
		}
		memset(nf->ram + STATS, 0xee, 128);
		for (unsigned int reset = 0; reset < 3; reset++) {
			scb(nf, reset ? 0x70 : 0x50, 0);
			assert_int_equal(nf_get(nf, STATS, 4), reset < 2 ? 2 : 0);
			assert_int_equal(nf_get(nf, STATS + 12, 4), reset < 2 ? 1 : 0);
			assert_int_equal(nf_get(nf, STATS + at, 4), reset ? 0xa007 : 0xa005);
			assert_int_equal(nf_get(nf, STATS + at + 4, 4), 0xeeeeeeee);
		}
		nf_free(nf);
	}
}

/* ---- hostile ---- */

/* A command linked to itself goes on for ever, and nobody has to wait for it. */
static void test_endless_list(void **state)
{
	struct nic_fixture *nf = card("i82559er");

	bring_up(nf);
	tcb_put(nf, 0, 0, BUF(0), 60);
	nf_put(nf, CB(0) + 4, 4, CB(0));
	scb(nf, 0x10, CB(0));
	assert_int_equal(nf_n_sent(nf), NIC_TX_BURST);
	nf_run_ms(nf, 5);
	assert_in_range(nf_n_sent(nf), 2 * NIC_TX_BURST, 51 * NIC_TX_BURST);
	assert_int_equal(CU_STATE(nf), 2);
	port(nf, 2);
	nf_forget_sent(nf);
	nf_run_ms(nf, 2);
	assert_int_equal(nf_n_sent(nf), 0);
	assert_int_equal(CU_STATE(nf), 0);
	nf_free(nf);
}

static void test_nowhere(void **state)
{
	static const uint32_t places[] = {
		NF_RAM_SIZE - 4, NF_RAM_SIZE, 0xfffffffc, 0xfffffff0, NF_MMIO_BASE, 0x80000001,
	};
	struct nic_fixture *nf = card("i82559er");

	bring_up(nf);
	for (unsigned int i = 0; i < sizeof(places) / sizeof(places[0]); i++) {
		uint32_t at = places[i];

		scb(nf, 0x10, at);
		assert_int_equal(CU_STATE(nf), 0);
		assert_true(ack(nf) & CNA);
		scb(nf, 0x40, at);
		scb(nf, 0x50, 0);
		port(nf, (at & ~0xfu) | 3);
		tcb_put(nf, 0, COMMAND_EL, at, 60);
		scb(nf, 0x10, CB(0));
		assert_int_equal(nf_get(nf, CB(0), 2), 0x9000);
		tcb_put(nf, 0, COMMAND_EL, BUF(0), 60); /* TBDs that aren't there */
		nf_put(nf, CB(0) + 8, 4, at);
		nf->ram[CB(0) + 15] = 255;
		nf_put(nf, CB(0) + 20, 4, 0);
		nf_put(nf, CB(0) + 28, 4, 0);
		scb(nf, 0x10, CB(0));
		assert_int_equal(nf_get(nf, CB(0), 2), 0x9000);
		nf_put(nf, CB(0) + 4, 4, at); /* a link to it */
		nf_put(nf, CB(0) + 2, 2, 0);
		scb(nf, 0x10, CB(0));
		assert_int_equal(CU_STATE(nf), 0);
	}
	/* a list of addresses that leaves RAM */
	nf_put(nf, NF_RAM_SIZE - 64, 4, 3u << 16 | COMMAND_EL << 16);
	nf_put(nf, NF_RAM_SIZE - 56, 2, 0x3fff);
	scb(nf, 0x10, NF_RAM_SIZE - 64);
	assert_int_equal(nf_get(nf, NF_RAM_SIZE - 64, 2), 0x8000);
	/* a frame of 255 pieces of 16383 bytes */
	tcb_put(nf, 0, COMMAND_EL, BUF(0), 0x3fff);
	nf->ram[CB(0) + 15] = 255;
	for (unsigned int i = 0; i < 255; i++)
		nf_put(nf, CB(0) + 16 + 8 * i, 8, UINT64_C(0x3fff) << 32 | BUF(0));
	scb(nf, 0x10, CB(0));
	assert_int_equal(nf_get(nf, CB(0), 2), 0x9000);
	assert_int_equal(nf_n_sent(nf), 0);

	/* without bus mastering nothing moves */
	nf_config_write(nf, 4, 2, 3);
	tcb_put(nf, 0, COMMAND_EL, BUF(0), 60);
	scb(nf, 0x10, CB(0));
	assert_int_equal(nf_get(nf, CB(0), 2), 0);
	assert_int_equal(nf_n_sent(nf), 0);
	nf_free(nf);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_identity),
		cmocka_unit_test(test_eeprom),
		cmocka_unit_test(test_mdi),
		cmocka_unit_test(test_link),
		cmocka_unit_test(test_interrupts),
		cmocka_unit_test(test_access_sizes),
		cmocka_unit_test(test_port),
		cmocka_unit_test(test_ring),
		cmocka_unit_test(test_long_list),
		cmocka_unit_test(test_simplified),
		cmocka_unit_test(test_flexible),
		cmocka_unit_test(test_padding),
		cmocka_unit_test(test_source_and_crc),
		cmocka_unit_test(test_no_room),
		cmocka_unit_test(test_no_cable),
		cmocka_unit_test(test_suspend),
		cmocka_unit_test(test_cna_delay),
		cmocka_unit_test(test_commands),
		cmocka_unit_test(test_statistics),
		cmocka_unit_test(test_endless_list),
		cmocka_unit_test(test_nowhere),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
