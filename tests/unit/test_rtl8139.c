/*
 * The RTL8139 as its drivers see it: identity, registers, classic mode. test_rtl8139_cplus.c has mode C+.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "rtl8139_driver.h"

/* ---- identity, EEPROM, configuration ---- */

static void test_identity(void **state)
{
	struct nic_fixture *nf = nf_new("rtl8139", OPTIONS);

	assert_int_equal(nf_config_read(nf, 0, 4), 0x813910ec);
	assert_int_equal(nf_config_read(nf, 8, 4), 0x02000020);
	assert_int_equal(nf_config_read(nf, 0x2c, 4), 0x11001af4);
	assert_int_equal(nf_config_read(nf, 0x3d, 1), 1);
	assert_int_equal(nf->io_bar, 0);
	assert_int_equal(nf->mem_bar, 1);
	assert_int_equal(nf_load(nf, REG_TCR, 4) & 0x7cc00000, 0x74800000);
	assert_int_equal(nf_in(nf, REG_RERID, 1), 0x20);
	nf_free(nf);

	nf = nf_new("rtl8139", CLASSIC);
	assert_int_equal(nf_config_read(nf, 8, 4), 0x02000010);
	assert_int_equal(nf_load(nf, REG_TCR, 4) & 0x7cc00000, 0x74000000);
	nf_store(nf, REG_CPCR, 2, 3);
	assert_int_equal(nf_load(nf, REG_CPCR, 2), 0); /* none of these here */
	nf_store(nf, REG_RDSAR, 4, 0x1234);
	assert_int_equal(nf_load(nf, REG_RDSAR, 4), 0);
	nf_free(nf);
}

static void test_eeprom(void **state)
{
	struct nic_fixture *nf = nf_new("rtl8139", OPTIONS);
	unsigned int i;

	assert_int_not_equal(read_eeprom(nf, 0, 8), 0x8129); /* so it has 6 address bits */
	assert_int_equal(read_eeprom(nf, 0, 6), 0x8129);
	assert_int_equal(read_eeprom(nf, 1, 6), 0x10ec);
	assert_int_equal(read_eeprom(nf, 2, 6), 0x8139);
	for (i = 0; i < 3; i++)
		assert_int_equal(read_eeprom(nf, 7 + i, 6), mac[2 * i] | mac[2 * i + 1] << 8);
	for (i = 0; i < 6; i++)
		assert_int_equal(nf_in(nf, REG_IDR + i, 1), mac[i]);

	/* another address, as a driver sets it; auto-load brings the first one back */
	nf_store(nf, REG_IDR, 4, 0x03020100);
	nf_store(nf, REG_IDR + 4, 2, 0x0504);
	assert_int_equal(nf_load(nf, REG_IDR + 2, 2), 0x0302);
	reset_chip(nf);
	assert_int_equal(nf_load(nf, REG_IDR, 4), 0x03020100);
	nf_store(nf, REG_9346CR, 1, 0x40);
	assert_int_equal(nf_load(nf, REG_9346CR, 1), 0);
	assert_int_equal(nf_load(nf, REG_IDR, 4), 0xaa005452);
	nf_free(nf);
}

static void test_config_lock(void **state)
{
	struct nic_fixture *nf = nf_new("rtl8139", OPTIONS);

	assert_int_equal(nf_load(nf, REG_CONFIG1, 1), 0x0c);
	nf_store(nf, REG_CONFIG1, 1, 0xff);
	nf_store(nf, REG_CONFIG3, 1, 0xff);
	nf_store(nf, REG_CONFIG4, 1, 0xff);
	assert_int_equal(nf_load(nf, REG_CONFIG1, 1), 0x0c);
	assert_int_equal(nf_load(nf, REG_CONFIG3, 2), 0x0001);
	nf_store(nf, REG_CONFIG5, 1, 0xff); /* this one isn't locked */
	assert_int_equal(nf_load(nf, REG_CONFIG5, 1), 0x7f);
	nf_store(nf, REG_9346CR, 1, 0xc0);
	assert_int_equal(nf_load(nf, REG_9346CR, 1), 0xc0);
	nf_store(nf, REG_CONFIG1, 1, 0xff);
	nf_store(nf, REG_CONFIG3, 2, 0xffff); /* CONFIG4, too */
	assert_int_equal(nf_load(nf, REG_CONFIG1, 1), 0xff);
	assert_int_equal(nf_load(nf, REG_CONFIG3, 1), 0x75);
	assert_int_equal(nf_load(nf, REG_CONFIG4, 1), 0xf5);
	nf_store(nf, REG_9346CR, 1, 0);
	reset_chip(nf);
	assert_int_equal(nf_load(nf, REG_CONFIG1, 1), 0xff);
	device_reset(nf->dev);
	nf_place_bars(nf);
	assert_int_equal(nf_load(nf, REG_CONFIG1, 1), 0x0c);
	assert_int_equal(nf_load(nf, REG_CONFIG5, 1), 0);
	nf_free(nf);
}

/* Bytes, words and dwords are the same registers, by ports and by memory. */
static void test_access(void **state)
{
	struct nic_fixture *nf = nf_new("rtl8139", OPTIONS);
	unsigned int i;

	for (i = 0; i < 8; i++)
		nf_out(nf, REG_MAR + i, 1, 0x10 + i);
	assert_int_equal(nf_load(nf, REG_MAR, 4), 0x13121110);
	assert_int_equal(nf_in(nf, REG_MAR + 6, 2), 0x1716);
	nf_store(nf, REG_IMR, 4, 0xffff0005); /* ISR beside it */
	assert_int_equal(nf_load(nf, REG_IMR, 2), 5);
	nf_out(nf, REG_IMR + 1, 1, 0x80);
	assert_int_equal(nf_load(nf, REG_IMR, 2), 0x8005);
	nf_store(nf, REG_RCR, 4, 0xffffffff);
	assert_int_equal(nf_load(nf, REG_RCR, 4), 0x0f03ffbf);
	nf_store(nf, REG_TCR, 4, 0xffffffff);
	assert_int_equal(nf_load(nf, REG_TCR, 4), 0x778f07f0);
	for (i = REG_CRC; i < REG_CONFIG5; i += 4)
		nf_store(nf, i, 4, i * 0x01010101);
	for (i = REG_CRC; i < REG_CONFIG5; i += 4)
		assert_int_equal(nf_load(nf, i, 4), i * 0x01010101);
	for (i = 0xed; i < 0x100; i++)
		nf_store(nf, i, 1, 0xff);
	for (i = 0xed; i < 0x100; i++)
		assert_int_equal(nf_load(nf, i, 1), 0);
	assert_int_equal(nf_load(nf, REG_TPPOLL, 1), 0);
	nf_free(nf);
}

/* ---- classic mode ---- */

static void test_classic_send(void **state)
{
	struct nic_fixture *nf = start_classic();
	unsigned int i;

	assert_int_equal(nf_load(nf, REG_TSAD_SUMMARY, 2), 0x000f);
	for (i = 0; i < 6; i++) {
		send_classic(nf, i % 4, 60 + 240 * i);
		assert_int_equal(nf_n_sent(nf), i + 1);
		assert_int_equal(nf_sent(nf, i)->len, 60 + 240 * i);
		assert_memory_equal(nf_sent(nf, i)->data, nf->ram + BUFFER + 0x1000 * (i % 4),
				    60 + 240 * i);
		assert_int_equal(nf_load(nf, REG_TSD + 4 * (i % 4), 4), 0x8a000 | (60 + 240 * i));
		assert_true(nf_irq(nf));
		assert_int_equal(take_isr(nf), INT_TOK);
	}
	assert_int_equal(nf_load(nf, REG_TSAD_SUMMARY, 2), 0xf00f);
	nf_store(nf, REG_TSD + 8, 4, 0x2000 | 60); /* OWN set: nothing to send */
	assert_int_equal(nf_load(nf, REG_TSAD_SUMMARY, 2), 0xb00f);
	assert_int_equal(nf_n_sent(nf), 6);
	assert_int_equal(counter_get(&nf->nic->counters.interrupts), 6);
	nf_free(nf);
}

/* Descriptors are sent in turn, whatever the order in which they are given. */
static void test_classic_order(void **state)
{
	struct nic_fixture *nf = start_classic();

	send_classic(nf, 1, 101);
	send_classic(nf, 3, 103);
	assert_int_equal(nf_n_sent(nf), 0);
	send_classic(nf, 0, 100);
	assert_int_equal(nf_n_sent(nf), 2);
	send_classic(nf, 2, 102);
	assert_int_equal(nf_n_sent(nf), 4);
	for (unsigned int i = 0; i < 4; i++)
		assert_int_equal(nf_sent(nf, i)->len, 100 + i);
	nf_free(nf);
}

static void test_classic_short_and_long(void **state)
{
	struct nic_fixture *nf = start_classic();
	uint8_t zeros[46] = {0};

	send_classic(nf, 0, 14);
	assert_int_equal(nf_sent(nf, 0)->len, 60);
	assert_memory_equal(nf_sent(nf, 0)->data + 14, zeros, 46);
	send_classic(nf, 1, 1792);
	assert_int_equal(nf_sent(nf, 1)->len, 1792);
	take_isr(nf);
	send_classic(nf, 2, 1793); /* too long: aborted */
	assert_int_equal(nf_n_sent(nf), 2);
	assert_int_equal(nf_load(nf, REG_TSD + 8, 4), 0x40082000 | 1793);
	assert_int_equal(nf_load(nf, REG_TSAD_SUMMARY, 2) & 0x4444, 0x0044);
	assert_int_equal(take_isr(nf), INT_TER);
	nf_store(nf, REG_TCR, 4, 0x03000681);
	nf_store(nf, REG_TSAD + 12, 4, 0xfffff000); /* not RAM */
	send_classic(nf, 3, 60);
	assert_int_equal(take_isr(nf), INT_TER | INT_SERR);
	send_classic(nf, 0, 0);
	assert_int_equal(nf_n_sent(nf), 2);
	send_classic(nf, 1, 60);
	assert_int_equal(nf_n_sent(nf), 3);
	nf_free(nf);
}

static void test_classic_full(void **state)
{
	struct nic_fixture *nf = start_classic();

	nf_full(nf, true);
	send_classic(nf, 0, 100);
	send_classic(nf, 1, 200);
	assert_int_equal(nf_n_sent(nf), 0);
	assert_int_equal(nf_load(nf, REG_TSAD_SUMMARY, 2), 0x000c);
	assert_int_equal(nf_load(nf, REG_ISR, 2), 0);
	nf_full(nf, false);
	nf_run(nf);
	assert_int_equal(nf_n_sent(nf), 2);
	assert_int_equal(nf_load(nf, REG_TSAD_SUMMARY, 2), 0x300f);
	nf_full(nf, true);
	send_classic(nf, 2, 100);
	reset_chip(nf); /* what waited is forgotten */
	nf_full(nf, false);
	nf_run(nf);
	assert_int_equal(nf_n_sent(nf), 2);
	nf_free(nf);
}

/* The transmitter off, no bus mastering: nothing is sent. */
static void test_classic_off(void **state)
{
	struct nic_fixture *nf = start_classic();

	nf_store(nf, REG_CR, 1, CR_RE);
	send_classic(nf, 0, 60);
	assert_int_equal(nf_n_sent(nf), 0);
	nf_store(nf, REG_CR, 1, CR_RE | CR_TE);
	assert_int_equal(nf_load(nf, REG_TSD, 4), 0x2000);
	nf_config_write(nf, 4, 2, 3);
	send_classic(nf, 0, 60);
	assert_int_equal(nf_n_sent(nf), 0);
	nf_config_write(nf, 4, 2, 7);
	send_classic(nf, 0, 60);
	assert_int_equal(nf_n_sent(nf), 1);
	nf_free(nf);
}

struct classic_ring {
	uint32_t at; /* the driver's cur_rx */
	uint32_t size;
};

/* rtl8139_rx(): one frame, which must be this one; true if it was there. */
static bool take_classic(struct nic_fixture *nf, struct classic_ring *ring, const uint8_t *frame,
			 size_t len, uint16_t status)
{
	uint32_t at = ring->at % ring->size, left = ring->size - at - 4;
	uint8_t copy[4100], fcs[4];

	if (nf_load(nf, REG_CR, 1) & CR_BUFE)
		return false;
	assert_int_equal(nf_get(nf, RING + at, 2), status);
	assert_int_equal(nf_get(nf, RING + at + 2, 2), len + 4);
	if (len + 4 > left && (!(nf_load(nf, REG_RCR, 4) & RCR_WRAP) || ring->size == 65536)) {
		memcpy(copy, nf->ram + RING + at + 4, left);
		memcpy(copy + left, nf->ram + RING, len + 4 - left);
	} else {
		memcpy(copy, nf->ram + RING + at + 4, len + 4);
	}
	assert_memory_equal(copy, frame, len);
	eth_fcs(eth_crc_le(frame, len), fcs);
	assert_memory_equal(copy + len, fcs, 4);
	ring->at = (uint32_t)(ring->at + len + 4 + 4 + 3) & ~3u;
	nf_store(nf, REG_CAPR, 2, (uint16_t)(ring->at - 16));
	nf_store(nf, REG_ISR, 2, INT_ROK | INT_RXOVW | INT_FOVW);
	return true;
}

static void test_classic_receive(void **state)
{
	struct nic_fixture *nf = start_classic();
	struct classic_ring ring = {0, 32768};
	uint8_t frame[1514];
	unsigned int i, len;

	for (i = 0; i < 200; i++) { /* several times round */
		len = 60 + i * 37 % 1455;
		make_frame(frame, len, i & 1 ? mac : broadcast);
		nf_rx(nf, frame, len);
		nf_run(nf);
		assert_true(nf_irq(nf));
		assert_int_equal(nf_load(nf, REG_ISR, 2), INT_ROK);
		assert_true(take_classic(nf, &ring, frame, len, i & 1 ? 0x4001 : 0x2001));
		assert_int_equal(nf_load(nf, REG_CBR, 2), ring.at % ring.size);
		assert_int_equal(nf_load(nf, REG_CR, 1), CR_RE | CR_TE | CR_BUFE);
		assert_false(nf_irq(nf));
	}
	nf_rx(nf, frame, 20); /* shorter than a frame can be */
	nf_run(nf);
	memset(frame + 20, 0, 40);
	assert_true(take_classic(nf, &ring, frame, 60, 0x4001));
	nf_free(nf);
}

/* A driver that acknowledges and leaves a frame in the ring is told again when it wants interrupts. */
static void test_classic_left(void **state)
{
	struct nic_fixture *nf = start_classic();
	struct classic_ring ring = {0, 32768};
	uint8_t frame[60];
	unsigned int i;

	make_frame(frame, sizeof(frame), mac);
	for (i = 0; i < 2; i++)
		nf_rx(nf, frame, sizeof(frame));
	nf_run(nf);
	nf_store(nf, REG_IMR, 2, 0);
	assert_true(take_classic(nf, &ring, frame, sizeof(frame), 0x4001));
	assert_int_equal(nf_load(nf, REG_ISR, 2), 0);
	nf_store(nf, REG_IMR, 2, INT_TOK);
	assert_int_equal(nf_load(nf, REG_ISR, 2), 0);
	nf_store(nf, REG_IMR, 2, INT_ROK);
	assert_true(nf_irq(nf));
	assert_true(take_classic(nf, &ring, frame, sizeof(frame), 0x4001));
	nf_store(nf, REG_IMR, 2, INT_ROK);
	assert_false(nf_irq(nf));
	nf_free(nf);
}

/* Every size of ring, with and without WRAP; filled until frames have to wait. */
static void test_classic_rings(void **state)
{
	uint8_t frame[1514];
	unsigned int i, k, sent, got;

	for (i = 0; i < 8; i++) {
		struct nic_fixture *nf = nf_new("rtl8139", CLASSIC);
		struct classic_ring ring = {0, 8192u << i / 2};

		start_classic_with(nf, i / 2 << RCR_RBLEN_SHIFT | (i & 1 ? RCR_WRAP : 0));
		make_frame(frame, 1514, mac);
		for (k = 0, sent = got = 0; k < 6; k++) {
			for (unsigned int n = 0; n < 50; n++, sent++)
				nf_rx(nf, frame, 1514);
			nf_run(nf);
			assert_int_equal(nf_load(nf, REG_MPC, 4), 0);
			while (take_classic(nf, &ring, frame, 1514, 0x4001)) {
				got++;
				nf_run(nf);
			}
			assert_int_equal(got, sent);
		}
		assert_int_equal(nf_load(nf, REG_ISR, 2), 0);
		if (ring.size < 65536)
			assert_true(counter_get(&nf->nic->counters.rx_no_buffer) > 0);
		nf_free(nf);
	}
}

/* Frames wait, because the ring is full. A driver that has read a part of it and acknowledged is told again. */
static void test_classic_full_ring(void **state)
{
	struct nic_fixture *nf = nf_new("rtl8139", CLASSIC);
	struct classic_ring ring = {0, 8192};
	uint8_t frame[100];
	unsigned int i, n;

	start_classic_with(nf, 0);
	make_frame(frame, 100, mac);
	for (i = 0; i < 3; i++) {
		for (n = 0; n < 40; n++)
			nf_rx(nf, frame, 100);
		nf_run(nf);
	}
	for (n = 0; n < 5; n++)
		assert_true(take_classic(nf, &ring, frame, 100, 0x4001));
	assert_int_equal(nf_load(nf, REG_ISR, 2), 0);
	for (i = 0; i < 500 && !nf_load(nf, REG_ISR, 2); i++)
		nf_run_ms(nf, 2);
	assert_int_equal(nf_load(nf, REG_ISR, 2), INT_ROK);
	assert_true(nf_irq(nf));
	for (n = 5; n < 120; n++) {
		assert_true(take_classic(nf, &ring, frame, 100, 0x4001));
		nf_run(nf);
	}
	assert_int_equal(nf_load(nf, REG_CR, 1), CR_RE | CR_TE | CR_BUFE);
	nf_free(nf);
}

static void test_classic_too_long(void **state)
{
	struct nic_fixture *nf = start_classic();
	struct classic_ring ring = {0, 32768};
	static uint8_t frame[9000];

	nf->fake.net.frame_max = 9000;
	make_frame(frame, 4092, mac);
	nf_rx(nf, frame, 4092);
	nf_run(nf);
	assert_true(take_classic(nf, &ring, frame, 4092, 0x4001));
	nf_rx(nf, frame, 4093); /* with its FCS longer than 4 KiB */
	nf_rx(nf, frame, 9000);
	nf_run(nf);
	assert_int_equal(take_isr(nf), INT_RER);
	nf_store(nf, REG_RCR, 4, RCR_APM); /* 8 KiB */
	ring.size = 8192;
	nf_rx(nf, frame, 4000);
	nf_run(nf);
	nf_rx(nf, frame, 2500); /* there is room for an ordinary one, but not for this */
	nf_run(nf);
	assert_int_equal(nf_load(nf, REG_ISR, 2), INT_ROK);
	nf_rx(nf, frame, 1600);
	nf_run(nf);
	assert_int_equal(nf_load(nf, REG_MPC, 4), 0);
	nf_free(nf);

	nf = nf_new("rtl8139", CLASSIC);
	nf->fake.net.frame_max = 9000;
	start_classic_with(nf, 0);
	ring = (struct classic_ring){0, 8192};
	nf_rx(nf, frame, 4000);
	nf_rx(nf, frame, 2000);
	nf_rx(nf, frame, 2500);
	nf_rx(nf, frame, 100);
	nf_run(nf);
	assert_int_equal(nf_load(nf, REG_MPC, 4), 1);
	assert_int_equal(nf_load(nf, REG_ISR, 2), INT_ROK | INT_RXOVW);
	assert_true(take_classic(nf, &ring, frame, 4000, 0x4001));
	assert_true(take_classic(nf, &ring, frame, 2000, 0x4001));
	assert_true(take_classic(nf, &ring, frame, 100, 0x4001));
	nf_store(nf, REG_MPC, 4, 0x1234);
	assert_int_equal(nf_load(nf, REG_MPC, 4), 0);
	nf_free(nf);
}

/* rtl8139_rx_err(): the receiver off and on again begins at the ring's start. */
static void test_classic_restart(void **state)
{
	struct nic_fixture *nf = start_classic();
	struct classic_ring ring = {0, 32768};
	uint8_t frame[100];

	make_frame(frame, 100, mac);
	nf_rx(nf, frame, 100);
	nf_run(nf);
	nf_store(nf, REG_CR, 1, CR_TE);
	nf_rx(nf, frame, 100);
	nf_run(nf);
	assert_int_equal(nf_load(nf, REG_CBR, 2), 108);
	nf_store(nf, REG_CR, 1, CR_TE | CR_RE);
	assert_int_equal(nf_load(nf, REG_CBR, 2), 0);
	assert_int_equal(nf_load(nf, REG_CAPR, 2), 0xfff0);
	nf_run(nf);
	assert_true(take_classic(nf, &ring, frame, 100, 0x4001));
	nf_free(nf);
}

static bool is_taken(struct nic_fixture *nf, const uint8_t to[6], uint16_t status)
{
	struct classic_ring ring = {nf_load(nf, REG_CBR, 2), 32768};
	static uint8_t frame[64];

	make_frame(frame, 64, to);
	nf_rx(nf, frame, 64);
	nf_run(nf);
	return take_classic(nf, &ring, frame, 64, status);
}

/* Some drivers turn the receiver on, and say only then where the ring is, as Linux's 8139too once did: frames that
 * come in between don't go to address 0. */
static void test_ring_last(void **state)
{
	struct nic_fixture *nf = nf_new("rtl8139", CLASSIC);
	struct classic_ring ring = {0, 32768};
	uint8_t frame[100];

	make_frame(frame, sizeof(frame), mac);
	for (int round = 0; round < 2; round++) {
		reset_chip(nf);
		nf_rx(nf, frame, sizeof(frame));
		nf_store(nf, REG_CR, 1, CR_RE | CR_TE);
		nf_store(nf, REG_RCR, 4, RCR_TOO | RCR_AB | RCR_APM);
		nf_run(nf);
		assert_int_equal(nf_get(nf, 0, 8), 0);
		assert_int_equal(nf_load(nf, REG_ISR, 2), 0);
		nf_store(nf, REG_RBSTART, 4, RING);
		nf_run(nf);
		ring.at = 0;
		assert_true(take_classic(nf, &ring, frame, sizeof(frame), 0x4001));
		assert_int_equal(nf_load(nf, REG_CR, 1), CR_RE | CR_TE | CR_BUFE);
	}
	nf_free(nf);

	nf = nf_new("rtl8139", OPTIONS);
	nf_put(nf, 0, 4, 0xf000ff53); /* as a BIOS leaves it: bit 31 would be OWN */
	nf_put(nf, 8, 4, RXB);
	reset_chip(nf);
	nf_rx(nf, frame, sizeof(frame));
	nf_store(nf, REG_CPCR, 2, CPCR_CPRX | CPCR_CPTX);
	nf_store(nf, REG_CR, 1, CR_RE | CR_TE);
	nf_store(nf, REG_RCR, 4, RCR_AB | RCR_APM);
	nf_run(nf);
	assert_int_equal(nf_get(nf, 0, 4), 0xf000ff53);
	put_rx(nf, 0, EOR, 1536);
	nf_store(nf, REG_RDSAR, 4, RXD);
	nf_run(nf);
	assert_int_equal(nf_get(nf, RXD, 4) & 0x1fff, sizeof(frame) + 4);
	assert_memory_equal(nf->ram + RXB, frame, sizeof(frame));
	nf_free(nf);
}

static void test_filter(void **state)
{
	struct nic_fixture *nf = start_classic();
	unsigned int index = eth_hash_index(ETH_HASH_BE_TOP6, group);

	assert_true(is_taken(nf, mac, 0x4001));
	assert_true(is_taken(nf, broadcast, 0x2001));
	assert_false(is_taken(nf, other, 0));
	assert_false(is_taken(nf, group, 0));
	nf_store(nf, REG_RCR, 4, RCR_TOO | RCR_AM);
	assert_false(is_taken(nf, mac, 0));
	assert_false(is_taken(nf, broadcast, 0));
	assert_false(is_taken(nf, group, 0));
	nf_store(nf, REG_MAR + index / 32 * 4, 4, 1u << index % 32);
	assert_true(is_taken(nf, group, 0x8001));
	nf_store(nf, REG_MAR, 4, 0xffffffff);
	nf_store(nf, REG_MAR + 4, 4, 0xffffffff);
	nf_store(nf, REG_RCR, 4, RCR_TOO | RCR_AAP | RCR_APM);
	assert_true(is_taken(nf, other, 0x0001));
	assert_true(is_taken(nf, mac, 0x4001));
	assert_false(is_taken(nf, group, 0));
	assert_false(is_taken(nf, broadcast, 0));
	assert_int_equal(counter_get(&nf->nic->counters.rx_filtered), 7);
	nf_free(nf);
}

/* A frame that isn't taken leaves nothing in the ring. */
static void test_filter_leaves_no_trace(void **state)
{
	struct nic_fixture *nf = start_classic();
	static uint8_t frame[1514], zeros[1600];

	make_frame(frame, 1514, other);
	nf_rx(nf, frame, 1514);
	nf_run(nf);
	assert_memory_equal(nf->ram + RING, zeros, sizeof(zeros));
	nf_free(nf);
}

static void test_loopback(void **state)
{
	struct nic_fixture *nf = start_classic();
	struct classic_ring ring = {0, 32768};

	nf_store(nf, REG_TCR, 4, 0x03060600);
	send_classic(nf, 0, 300);
	assert_int_equal(nf_n_sent(nf), 0);
	assert_int_equal(nf_load(nf, REG_ISR, 2), INT_TOK | INT_ROK);
	assert_true(take_classic(nf, &ring, nf->ram + BUFFER, 300, 0x2001));
	nf_link(nf, false); /* the cable has nothing to do with it */
	send_classic(nf, 1, 100);
	assert_true(take_classic(nf, &ring, nf->ram + BUFFER + 0x1000, 100, 0x2001));
	/* into its own ring, over and over, until that is full */
	nf_store(nf, REG_TSAD + 8, 4, RING);
	nf_store(nf, REG_TSAD + 12, 4, RING);
	nf_store(nf, REG_TSAD, 4, RING);
	nf_store(nf, REG_TSAD + 4, 4, RING);
	memcpy(nf->ram + RING, broadcast, 6);
	for (unsigned int i = 0; i < 100; i++)
		nf_store(nf, REG_TSD + 4 * ((i + 2) % 4), 4, 1500);
	assert_int_equal(nf_load(nf, REG_TSAD_SUMMARY, 2) & 0xf, 0xf);
	nf_free(nf);
}

/* ---- what both modes have ---- */

static void test_interrupt_mask(void **state)
{
	struct nic_fixture *nf = start_classic();

	nf_store(nf, REG_IMR, 2, INT_ROK);
	send_classic(nf, 0, 60);
	assert_false(nf_irq(nf));
	assert_int_equal(nf_load(nf, REG_ISR, 2), INT_TOK);
	nf_store(nf, REG_IMR, 2, INT_TOK);
	assert_true(nf_irq(nf));
	nf_store(nf, REG_ISR, 2, INT_ROK);
	assert_true(nf_irq(nf));
	nf_store(nf, REG_ISR, 1, INT_TOK); /* the low byte */
	assert_false(nf_irq(nf));
	assert_int_equal(nf_load(nf, REG_ISR, 2), 0);
	nf_free(nf);
}

static void test_link(void **state)
{
	struct nic_fixture *nf = start_classic();

	assert_int_equal(nf_load(nf, REG_MSR, 1), 0x10);
	assert_int_equal(nf_load(nf, REG_BMSR, 2) & 0x24, 0x24);
	assert_int_equal(nf_load(nf, REG_BMSR, 2), nf_load(nf, REG_BMSR, 2));
	assert_int_equal(nf_load(nf, REG_ANLPAR, 2) & 0x0100, 0x0100);
	nf_link(nf, false);
	assert_true(nf_irq(nf));
	assert_int_equal(nf_load(nf, REG_ISR, 2), INT_PUN);
	assert_int_equal(nf_load(nf, REG_CSCR, 2) & 0x0c08, 0x0800);
	assert_int_equal(nf_load(nf, REG_MSR, 1), 0x14);
	assert_int_equal(nf_load(nf, REG_BMSR, 2) & 0x24, 0);
	take_isr(nf);
	assert_int_equal(nf_load(nf, REG_CSCR, 2) & 0x0c08, 0);
	send_classic(nf, 0, 60); /* lost; carrier sense lost */
	assert_int_equal(nf_load(nf, REG_TSD, 4), 0x8008a000 | 60);
	assert_int_equal(nf_n_sent(nf), 0);
	take_isr(nf);
	nf_link(nf, true);
	assert_int_equal(take_isr(nf), INT_PUN);
	assert_int_equal(nf_load(nf, REG_MSR, 1), 0x10);
	assert_int_equal(nf_load(nf, REG_BMSR, 2) & 0x24, 0x24);
	nf_free(nf);

	nf = nf_new("rtl8139", "mac=" MAC); /* no cable at all */
	assert_int_equal(nf_load(nf, REG_MSR, 1), 0x14);
	start_classic_with(nf, RCR_TOO);
	send_classic(nf, 0, 60);
	assert_int_equal(counter_get(&nf->nic->counters.tx_no_cable), 1);
	nf_free(nf);
}

static void test_mii(void **state)
{
	struct nic_fixture *nf = nf_new("rtl8139", OPTIONS);
	uint16_t bmcr = (uint16_t)nf_load(nf, REG_BMCR, 2);

	assert_int_equal(bmcr, 0x3100);
	nf_store(nf, REG_BMCR, 2, 0); /* locked: speed, negotiation and duplex stay */
	assert_int_equal(nf_load(nf, REG_BMCR, 2), bmcr);
	nf_store(nf, REG_9346CR, 1, 0xc0);
	nf_store(nf, REG_BMCR, 2, 0x0100); /* 10 Mbit/s, full duplex, forced */
	assert_int_equal(nf_load(nf, REG_BMCR, 2), 0x0100);
	assert_int_equal(nf_load(nf, REG_MSR, 1), 0x18);
	assert_int_equal(nf_load(nf, REG_ISR, 2), INT_PUN);
	nf_store(nf, REG_ANAR, 2, 0x0021);
	assert_int_equal(nf_load(nf, REG_ANAR, 2), 0x0021);
	nf_store(nf, REG_BMCR, 2, 0x1200);
	assert_int_equal(nf_load(nf, REG_MSR, 1), 0x18);
	nf_store(nf, REG_BMCR, 2, 0x8000);
	assert_int_equal(nf_load(nf, REG_BMCR, 2), 0x3100);
	assert_int_equal(nf_load(nf, REG_MSR, 1), 0x10);
	nf_free(nf);
}

static void test_timer(void **state)
{
	struct nic_fixture *nf = start_classic();
	uint32_t a, b;

	nf_store(nf, REG_TCTR, 4, 0);
	a = (uint32_t)nf_load(nf, REG_TCTR, 4);
	nf_run_ms(nf, 2);
	b = (uint32_t)nf_load(nf, REG_TCTR, 4);
	assert_true(b - a >= 2000000 / 30);
	assert_int_equal(nf_load(nf, REG_ISR, 2), 0);
	nf_store(nf, REG_TIMERINT, 4, 3000000 / 30);
	nf_store(nf, REG_TCTR, 4, 1);
	assert_int_equal(nf_load(nf, REG_TIMERINT, 4), 100000);
	for (int i = 0; i < 1000 && !nf_irq(nf); i++)
		nf_run_ms(nf, 2);
	assert_true(nf_irq(nf));
	assert_int_equal(take_isr(nf), INT_TIMEOUT);
	assert_true((uint32_t)nf_load(nf, REG_TCTR, 4) >= 100000);
	nf_run_ms(nf, 4);
	assert_int_equal(nf_load(nf, REG_ISR, 2), 0); /* the next time is when it has gone round */
	nf_store(nf, REG_TIMERINT, 4, 0);
	nf_store(nf, REG_TCTR, 4, 1);
	nf_run_ms(nf, 4);
	assert_int_equal(nf_load(nf, REG_ISR, 2), 0);
	nf_free(nf);
}

/* A handler that leaves what interrupts, again and again, is let go on for a while. */
static void test_interrupt_storm(void **state)
{
	struct nic_fixture *nf = start_cplus(0);
	unsigned int n;

	nf_store(nf, REG_IMR, 2, INT_SWINT);
	nf_store(nf, REG_TPPOLL, 1, TPPOLL_FSWINT);
	for (int i = 0; i < 2; i++) {
		assert_true(nf_irq(nf));
		for (n = 0; nf_irq(nf); n++) {
			assert_true(n < 16);
			nf_store(nf, REG_ISR, 2, INT_ROK);
			nf_run(nf);
		}
		assert_int_equal(n, 16);
		assert_int_equal(nf_load(nf, REG_ISR, 2), INT_SWINT);
		for (n = 0; n < 500 && !nf_irq(nf); n++)
			nf_run_ms(nf, 2);
	}
	for (n = 0; n < 16; n++)
		nf_store(nf, REG_ISR, 2, INT_ROK);
	assert_false(nf_irq(nf));
	nf_store(nf, REG_ISR, 2, INT_SWINT); /* as soon as it is acknowledged, the next one comes */
	nf_store(nf, REG_TPPOLL, 1, TPPOLL_FSWINT);
	assert_true(nf_irq(nf));
	nf_free(nf);
}

static void test_soft_reset(void **state)
{
	struct nic_fixture *nf = start_cplus(0);

	nf_store(nf, REG_MAR, 4, 0x12345678);
	nf_store(nf, REG_TPPOLL, 1, TPPOLL_FSWINT);
	assert_int_equal(nf_load(nf, REG_ISR, 2), INT_SWINT);
	reset_chip(nf);
	assert_int_equal(nf_load(nf, REG_ISR, 2), 0);
	assert_int_equal(nf_load(nf, REG_IMR, 2), 0);
	assert_int_equal(nf_load(nf, REG_CPCR, 2), 0);
	assert_int_equal(nf_load(nf, REG_TSD + 4, 4), 0x2000);
	assert_int_equal(nf_load(nf, REG_CAPR, 4), 0xfff0);
	assert_int_equal(nf_load(nf, REG_RCR, 4), 0);
	assert_int_equal(nf_load(nf, REG_MAR, 4), 0x12345678);
	assert_int_equal(nf_load(nf, REG_IDR, 4), 0xaa005452);
	nf_free(nf);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_identity),
		cmocka_unit_test(test_eeprom),
		cmocka_unit_test(test_config_lock),
		cmocka_unit_test(test_access),
		cmocka_unit_test(test_classic_send),
		cmocka_unit_test(test_classic_order),
		cmocka_unit_test(test_classic_short_and_long),
		cmocka_unit_test(test_classic_full),
		cmocka_unit_test(test_classic_off),
		cmocka_unit_test(test_classic_receive),
		cmocka_unit_test(test_classic_left),
		cmocka_unit_test(test_classic_rings),
		cmocka_unit_test(test_classic_full_ring),
		cmocka_unit_test(test_classic_too_long),
		cmocka_unit_test(test_classic_restart),
		cmocka_unit_test(test_ring_last),
		cmocka_unit_test(test_filter),
		cmocka_unit_test(test_filter_leaves_no_trace),
		cmocka_unit_test(test_loopback),
		cmocka_unit_test(test_interrupt_mask),
		cmocka_unit_test(test_link),
		cmocka_unit_test(test_mii),
		cmocka_unit_test(test_timer),
		cmocka_unit_test(test_interrupt_storm),
		cmocka_unit_test(test_soft_reset),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
