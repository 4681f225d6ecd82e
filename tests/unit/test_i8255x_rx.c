/*
 * Intel 8255x: the receive unit, and what a card that sends to itself makes of it.
 */
#include "i8255x_driver.h"

#include "dev/eth_filter.h"

static const char *const models[] = {"i82551", "i82557b", "i82559er"};
#define N_MODELS (sizeof(models) / sizeof(models[0]))

static const uint8_t broadcast[6] = {0xff, 0xff, 0xff, 0xff, 0xff, 0xff};
static const uint8_t other[6] = {0x52, 0x54, 0x00, 0x00, 0x00, 0x01};
static const uint8_t group[6] = {0x01, 0x00, 0x5e, 0x00, 0x00, 0x05};

/* e100's ring: a frame for each RFD; at the sentinel of size 0 there is an RNR, and a new start. */
static void test_ring(void **state)
{
	for (unsigned int m = 0; m < N_MODELS; m++) {
		struct nic_fixture *nf = card(models[m]);
		uint8_t frame[N_RFDS][1514];

		bring_up(nf);
		rx_start(nf);
		for (unsigned int round = 0, at = 0; round < 3; round++) {
			unsigned int sentinel = (N_RFDS - 2 + at) % N_RFDS;

			for (unsigned int i = 0; i < N_RFDS - 2; i++) {
				size_t len = i ? 60 + 100 * i : 1514;

				make_frame(frame[i], len, mac, (uint8_t)(i + round));
				nf_rx(nf, frame[i], len);
			}
			nf_run(nf);
			for (unsigned int i = 0; i < N_RFDS - 2; i++) {
				uint32_t rfd = RFD((at + i) % N_RFDS);
				size_t len = i ? 60 + 100 * i : 1514;

				assert_int_equal(nf_get(nf, rfd, 2), 0xa020);
				assert_int_equal(nf_get(nf, rfd + 12, 2), 0xc000 | len);
				assert_memory_equal(nf->ram + rfd + 16, frame[i], len);
				assert_int_equal(nf->ram[rfd + 16 + len], 0xee);
			}
			assert_int_equal(nf_get(nf, RFD(sentinel), 2), 0);
			nf_run(nf);
			assert_int_equal(RU_STATE(nf), 2);
			assert_true(nf_irq(nf));
			assert_int_equal(ack(nf), FR | RNR);

			/* a frame waits; the ring is filled up again, and started */
			nf_rx(nf, frame[1], 160);
			nf_run(nf);
			assert_int_equal(ack(nf), 0);
			for (unsigned int i = 0; i < N_RFDS; i++)
				rfd_put(nf, i, 0, (i + 1) % N_RFDS, RFD_ROOM);
			at = sentinel;
			nf_put(nf, RFD((at + N_RFDS - 1) % N_RFDS) + 2, 2, COMMAND_EL);
			nf_put(nf, RFD((at + N_RFDS - 1) % N_RFDS) + 14, 2, 0);
			scb(nf, 0x01, RFD(at));
			nf_run(nf);
			assert_int_equal(nf_get(nf, RFD(at), 2), 0xa020);
			assert_int_equal(ack(nf), FR);
			at = (at + 1) % N_RFDS;
		}
		scb(nf, 0x50, 0);
		assert_int_equal(nf_get(nf, STATS + 36, 4), 3 * (N_RFDS - 1));
		nf_free(nf);
	}
}

static void test_states(void **state)
{
	struct nic_fixture *nf = card("i82559er");
	uint8_t frame[64];

	make_frame(frame, 64, mac, 1);
	bring_up(nf);
	scb(nf, 0x02, 0); /* resume, while idle: ignored */
	assert_int_equal(RU_STATE(nf), 0);

	rfd_put(nf, 0, COMMAND_S, 1, RFD_ROOM);
	rfd_put(nf, 1, COMMAND_EL, 2, RFD_ROOM);
	rfd_put(nf, 2, 0, 3, RFD_ROOM);
	rfd_put(nf, 3, 0, 4, RFD_ROOM);
	scb(nf, 0x01, RFD(0));
	for (unsigned int i = 0; i < 3; i++)
		nf_rx(nf, frame, 64);
	nf_run(nf);
	assert_int_equal(RU_STATE(nf), 1);
	assert_int_equal(ack(nf), FR | RNR);
	assert_int_equal(nf_get(nf, RFD(1), 2), 0);
	scb(nf, 0x02, 0);
	nf_run(nf);
	assert_int_equal(RU_STATE(nf),
			 2); /* EL: the frame is there, and then there is no more room */
	assert_int_equal(ack(nf), FR | RNR);
	assert_int_equal(nf_get(nf, RFD(1), 2), 0xa020);
	scb(nf, 0x02, 0); /* prohibited there */
	assert_int_equal(RU_STATE(nf), 2);
	scb(nf, 0x01, RFD(2));
	nf_run(nf);
	assert_int_equal(nf_get(nf, RFD(2), 2), 0xa020);
	assert_int_equal(RU_STATE(nf), 4);
	assert_int_equal(ack(nf), FR);
	scb(nf, 0x04, 0); /* abort */
	assert_int_equal(RU_STATE(nf), 0);
	assert_int_equal(ack(nf), RNR);
	scb(nf, 0x04, 0);
	assert_int_equal(ack(nf), 0);

	/* relative to the RU base */
	scb(nf, 0x06, RFD(0));
	rfd_put(nf, 4, COMMAND_EL, 0, RFD_ROOM);
	scb(nf, 0x01, RFD(4) - RFD(0));
	nf_rx(nf, frame, 64);
	nf_run(nf);
	assert_int_equal(nf_get(nf, RFD(4), 2), 0xa020);
	nf_free(nf);
}

/* Which frames are for the card, and what the status says about why. 0: not. */
static void test_filter(void **state)
{
	static const struct {
		const uint8_t *to;
		unsigned int byte;
		uint8_t value;
		uint16_t status;
	} cases[] = {
		{mac, 15, 0x48, 0xa020},       {broadcast, 15, 0x48, 0xa022},
		{other, 15, 0x48, 0},	       {group, 15, 0x48, 0xa022}, /* in the table */
		{broadcast, 15, 0x4a, 0},				  /* broadcast disable */
		{mac, 15, 0x49, 0xa020},       {other, 15, 0x49, 0xa026}, /* promiscuous */
		{broadcast, 15, 0x49, 0xa022}, {other, 21, 0x0d, 0},
		{other, 20, 0x7f, 0xa022}, /* multiple IA: it is in the table, too */
		{mac, 20, 0x7f, 0xa020},
	};
	struct nic_fixture *nf = card("i82559er");
	uint8_t frame[64];

	bring_up(nf);
	nf_put(nf, CB(0) + 8, 2, 12);
	memcpy(nf->ram + CB(0) + 10, group, 6);
	memcpy(nf->ram + CB(0) + 16, other, 6);
	assert_int_equal(cb_run(nf, 3), 0xa000);
	for (unsigned int i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		configure_byte(nf, cases[i].byte, cases[i].value);
		make_frame(frame, 64, cases[i].to, 1);
		assert_int_equal(rx_one(nf, frame, 64), cases[i].status);
	}

	/* a new list replaces the old one; all multicast takes the rest */
	nf_put(nf, CB(0) + 8, 2, 0);
	assert_int_equal(cb_run(nf, 3), 0xa000);
	make_frame(frame, 64, group, 1);
	assert_int_equal(rx_one(nf, frame, 64), 0);
	configure_byte(nf, 21, 0x0d);
	assert_int_equal(rx_one(nf, frame, 64), 0xa022);
	nf_free(nf);
}

/* Lengths: padding, a length in place of a type, FCS, too long, too long for the RFD. */
static void test_lengths(void **state)
{
	struct nic_fixture *nf = card("i82559er");
	uint8_t frame[2000], fcs[4];

	bring_up(nf);
	make_frame(frame, sizeof(frame), mac, 1);
	assert_int_equal(rx_one(nf, frame, 42), 0xa020);
	assert_int_equal(nf_get(nf, RFD(0) + 12, 2), 0xc000 | 60);
	for (unsigned int i = 42; i < 60; i++)
		assert_int_equal(nf->ram[RFD(0) + 16 + i], 0);
	assert_int_equal(nf_load(nf, 0x14, 4), 60);

	configure_byte(nf, 18, 0xfe); /* with FCS, long ones too */
	assert_int_equal(rx_one(nf, frame, 1518), 0xa020);
	assert_int_equal(nf_get(nf, RFD(0) + 12, 2), 0xc000 | 1522);
	eth_fcs(eth_crc_add(ETH_CRC_START, frame, 1518), fcs);
	assert_memory_equal(nf->ram + RFD(0) + 16 + 1518, fcs, 4);
	assert_int_equal(nf->ram[RFD(0) + 16 + 1522], 0);
	assert_int_equal(rx_one(nf, frame, 1519), 0x8220);
	assert_int_equal(nf_get(nf, RFD(0) + 12, 2), 0xc000 | 1522);
	assert_int_equal(nf->ram[RFD(0) + 16 + 1522], 0);

	configure_byte(nf, 18, 0xf2); /* not long */
	assert_int_equal(rx_one(nf, frame, 1514), 0xa020);
	assert_int_equal(rx_one(nf, frame, 1515), 0);
	assert_int_equal(RU_STATE(nf), 4); /* the RFD waits for another */
	port(nf, 2);
	scb(nf, 0x50, 0);
	assert_int_equal(nf_get(nf, STATS + 48, 4), 1); /* receive resource errors */

	/* bad frames are kept, if the driver wants them */
	configure_byte(nf, 6, 0xb2);
	configure_byte(nf, 18, 0xf2);
	frame[12] = 0; /* a length */
	frame[13] = 20;
	assert_int_equal(rx_one(nf, frame, 60), 0xa000);
	assert_int_equal(nf_get(nf, RFD(0) + 12, 2), 0xc000 | 60);
	configure_byte(nf, 18, 0xf3); /* stripping */
	assert_int_equal(rx_one(nf, frame, 60), 0xa000);
	assert_int_equal(nf_get(nf, RFD(0) + 12, 2), 0xc000 | 34);
	nf_free(nf);

	nf = card("i82557b"); /* has no "long receive OK" */
	bring_up(nf);
	configure_byte(nf, 18, 0xfa);
	make_frame(frame, sizeof(frame), mac, 1);
	assert_int_equal(rx_one(nf, frame, 1515), 0);
	port(nf, 2);
	configure_byte(nf, 6, 0xb2); /* save bad frames */
	assert_int_equal(rx_one(nf, frame, 1515), 0x8020);
	assert_int_equal(nf_get(nf, RFD(0) + 12, 2), 0xc000 | 1515);
	nf_free(nf);
}

/* Flexible mode: frames in chains of buffers. */
static void rbd_put(struct nic_fixture *nf, unsigned int i, unsigned int next, uint32_t buffer,
		    uint16_t size)
{
	nf_put(nf, RBD(i), 4, 0);
	nf_put(nf, RBD(i) + 4, 4, RBD(next));
	nf_put(nf, RBD(i) + 8, 4, buffer);
	nf_put(nf, RBD(i) + 12, 4, size);
}

static void test_flexible(void **state)
{
	struct nic_fixture *nf = card("i82557b");
	uint8_t frame[600];

	bring_up(nf);
	for (unsigned int i = 0; i < 8; i++) {
		rbd_put(nf, i, i + 1, BUF(i), 256);
		rfd_put(nf, i, COMMAND_SF, i + 1, 0);
	}
	nf_put(nf, RBD(4) + 12, 2, 0x8000 | 256); /* EL */
	nf_put(nf, RFD(0) + 8, 4, RBD(0));
	scb(nf, 0x01, RFD(0));
	make_frame(frame, sizeof(frame), mac, 1);

	nf_rx(nf, frame, 600);
	nf_run(nf);
	assert_int_equal(nf_get(nf, RFD(0), 2), 0xa020);
	assert_int_equal(nf_get(nf, RFD(0) + 12, 2), 0xc000);
	assert_int_equal(nf_get(nf, RBD(0), 2), 0x4000 | 256);
	assert_int_equal(nf_get(nf, RBD(1), 2), 0x4000 | 256);
	assert_int_equal(nf_get(nf, RBD(2), 2), 0xc000 | 88);
	assert_memory_equal(nf->ram + BUF(0), frame, 256);
	assert_memory_equal(nf->ram + BUF(2), frame + 512, 88);

	nf_rx(nf, frame, 256); /* exactly one buffer */
	nf_run(nf);
	assert_int_equal(nf_get(nf, RFD(1), 2), 0xa020);
	assert_int_equal(nf_get(nf, RFD(1) + 8, 4), RBD(3));
	assert_int_equal(nf_get(nf, RBD(3), 2), 0xc000 | 256);
	assert_int_equal(RU_STATE(nf), 4);

	nf_rx(nf, frame, 300); /* more than there is */
	nf_run(nf);
	assert_int_equal(nf_get(nf, RFD(2), 2), 0x8220);
	assert_int_equal(nf_get(nf, RBD(4), 2), 0xc000 | 256);
	assert_int_equal(RU_STATE(nf), 10); /* no resources, for there are no RBDs */
	assert_int_equal(ack(nf), FR | RNR);
	nf_rx(nf, frame, 60);
	nf_run(nf);
	assert_int_equal(ack(nf), 0);
	scb(nf, 0x07, 0); /* RBD resume, but EL is still set */
	assert_int_equal(RU_STATE(nf), 10);
	nf_put(nf, RBD(4) + 12, 2, 256);
	scb(nf, 0x07, 0);
	nf_run(nf);
	assert_int_equal(RU_STATE(nf), 4);
	assert_int_equal(nf_get(nf, RFD(3), 2), 0xa020);
	assert_int_equal(nf_get(nf, RBD(5), 2), 0xc000 | 60);
	nf_free(nf);
}

/* e100's loopback tests: inside the MAC, and in the PHY. */
static void test_loopback(void **state)
{
	for (unsigned int m = 0; m < 2 * N_MODELS; m++) {
		struct nic_fixture *nf = card(models[m / 2]);
		uint8_t frame[64];

		bring_up(nf);
		configure_byte(nf, 10, m & 1 ? 0xee : 0x6e);
		if (m & 1)
			phy_set(nf, 0, 0x4000);
		rx_start(nf);
		memset(nf->ram + BUF(0), 0xff, 1500);
		tcb_put(nf, 0, COMMAND_EL, BUF(0), 1500);
		scb(nf, 0x10, CB(0));
		nf_run(nf);
		assert_int_equal(nf_n_sent(nf), 0);
		assert_int_equal(nf_get(nf, RFD(0), 2), 0xa022);
		assert_memory_equal(nf->ram + RFD(0) + 16, nf->ram + BUF(0), 1500);

		/* meanwhile the wire isn't heard */
		make_frame(frame, 64, mac, 1);
		nf_rx(nf, frame, 64);
		nf_run(nf);
		assert_int_equal(nf_get(nf, RFD(1), 2), 0);

		/* into itself: the RFD is the frame that is sent */
		tcb_put(nf, 0, COMMAND_EL, RFD(1), 1500);
		memset(nf->ram + RFD(1) + 16, 0xff, 12);
		scb(nf, 0x10, CB(0));
		port(nf, 2);
		tcb_put(nf, 0, COMMAND_EL, BUF(0), 1500); /* and with the receiver off */
		scb(nf, 0x10, CB(0));
		phy_set(nf, 0, 0x3000);
		configure_byte(nf, 10, 0x2e);
		tcb_put(nf, 0, COMMAND_EL, BUF(0), 1500);
		scb(nf, 0x10, CB(0));
		assert_int_equal(nf_n_sent(nf), 1);
		nf_free(nf);
	}
}

static void test_link_down(void **state)
{
	struct nic_fixture *nf = card("i82559er");
	uint8_t frame[64];

	bring_up(nf);
	make_frame(frame, 64, mac, 1);
	phy_set(nf, 0, 0x0800); /* powered down */
	assert_int_equal(rx_one(nf, frame, 64), 0);
	phy_set(nf, 0, 0x3100);
	assert_int_equal(rx_one(nf, frame, 64), 0xa020);
	nf_free(nf);
}

/* An RFD linked to itself, buffers without end, lists and buffers that aren't in RAM. */
static void test_hostile(void **state)
{
	static const uint32_t places[] = {
		NF_RAM_SIZE - 4, NF_RAM_SIZE - 20, NF_RAM_SIZE, 0xfffffff0, NF_MMIO_BASE,
	};
	struct nic_fixture *nf = card("i82559er");
	uint8_t frame[1514];

	bring_up(nf);
	make_frame(frame, sizeof(frame), mac, 1);
	rfd_put(nf, 0, 0, 0, RFD_ROOM);
	scb(nf, 0x01, RFD(0));
	for (unsigned int i = 0; i < 50; i++)
		nf_rx(nf, frame, sizeof(frame));
	nf_run(nf);
	assert_int_equal(RU_STATE(nf), 4);

	for (unsigned int i = 0; i < sizeof(places) / sizeof(places[0]); i++) {
		scb(nf, 0x04, 0);
		ack(nf);
		scb(nf, 0x01, places[i]);
		nf_rx(nf, frame, 60);
		nf_run(nf);
		assert_int_equal(RU_STATE(nf), 2);
		assert_int_equal(ack(nf), RNR);
		rfd_put(nf, 0, COMMAND_SF, 1, 0); /* RBDs there */
		nf_put(nf, RFD(0) + 8, 4, places[i]);
		scb(nf, 0x01, RFD(0));
		nf_run(nf);
		assert_int_equal(RU_STATE(nf) & 7, 2);
		rfd_put(nf, 0, COMMAND_SF, 1, 0); /* buffers there */
		rbd_put(nf, 0, 0, places[i], 0x3fff);
		nf_put(nf, RFD(0) + 8, 4, RBD(0));
		scb(nf, 0x01, RFD(0));
		nf_run(nf);
		assert_int_equal(RU_STATE(nf) & 7, 2);
	}
	/* An RBD of no or one byte, linked to itself. With one byte the frame's own address is
	 * lost in it, and so the frame. */
	for (uint16_t size = 0; size < 2; size++) {
		rfd_put(nf, 0, COMMAND_SF | COMMAND_EL, 1, 0);
		rbd_put(nf, 0, 0, BUF(0), size);
		nf_put(nf, RFD(0) + 8, 4, RBD(0));
		scb(nf, 0x01, RFD(0));
		nf_rx(nf, frame, sizeof(frame));
		nf_run(nf);
		assert_int_equal(RU_STATE(nf) & 7, size ? 4 : 2);
	}
	/* the buffers are the RFD and the RBD themselves */
	rfd_put(nf, 0, COMMAND_SF, 0, 0);
	rbd_put(nf, 0, 0, RFD(0), 16);
	nf_put(nf, RFD(0) + 8, 4, RBD(0));
	scb(nf, 0x01, RFD(0));
	nf_rx(nf, frame, sizeof(frame));
	nf_run(nf);

	nf_config_write(nf, 4, 2, 3); /* no bus mastering, then there is */
	rfd_put(nf, 0, COMMAND_EL, 1, RFD_ROOM);
	scb(nf, 0x01, RFD(0));
	nf_rx(nf, frame, 60);
	nf_run(nf);
	assert_int_equal(nf_get(nf, RFD(0), 2), 0);
	nf_config_write(nf, 4, 2, 7);
	nf_run(nf);
	assert_int_equal(nf_get(nf, RFD(0), 2), 0xa020);
	nf_free(nf);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_ring),	  cmocka_unit_test(test_states),
		cmocka_unit_test(test_filter),	  cmocka_unit_test(test_lengths),
		cmocka_unit_test(test_flexible),  cmocka_unit_test(test_loopback),
		cmocka_unit_test(test_link_down), cmocka_unit_test(test_hostile),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
