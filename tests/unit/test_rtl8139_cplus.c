/*
 * The RTL8139C+ in mode C+, and what either mode does with a hostile driver.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <sched.h>

#include "base/loop_impl.h"
#include "rtl8139_driver.h"

/* ---- mode C+ ---- */

static void poll_tx(struct nic_fixture *nf)
{
	nf_store(nf, REG_TPPOLL, 1, TPPOLL_NPQ);
	nf_run(nf);
}

static void test_cplus_send(void **state)
{
	struct nic_fixture *nf = start_cplus(0);
	unsigned int i, k;

	for (i = 0; i < 150; i++) { /* more than twice round */
		k = i % 64;
		make_frame(nf->ram + BUFFER, 60 + i, broadcast);
		put_tx(nf, k, (k == 63 ? EOR : 0) | FS | LS, BUFFER, 60 + i);
		poll_tx(nf);
		assert_int_equal(nf_n_sent(nf), i + 1);
		assert_int_equal(nf_sent(nf, i)->len, 60 + i);
		assert_memory_equal(nf_sent(nf, i)->data, nf->ram + BUFFER, 60 + i);
		assert_int_equal(nf_get(nf, TXD + 16 * k, 4),
				 (k == 63 ? EOR : 0) | FS | LS | (60 + i));
		assert_true(nf_irq(nf));
		assert_int_equal(take_isr(nf), INT_TOK | INT_TDU);
	}
	poll_tx(nf); /* nothing there */
	assert_int_equal(nf_load(nf, REG_ISR, 2), 0);
	nf_free(nf);
}

/* A frame in three pieces; the first descriptor is given last, as 8139cp does. */
static void test_cplus_pieces(void **state)
{
	struct nic_fixture *nf = start_cplus(0);

	make_frame(nf->ram + BUFFER, 1000, broadcast);
	put_tx(nf, 1, 0, BUFFER + 100, 400);
	put_tx(nf, 2, LS, BUFFER + 500, 500);
	poll_tx(nf);
	assert_int_equal(nf_n_sent(nf), 0);
	put_tx(nf, 0, FS, BUFFER, 100);
	poll_tx(nf);
	assert_int_equal(nf_n_sent(nf), 1);
	assert_int_equal(nf_sent(nf, 0)->len, 1000);
	assert_memory_equal(nf_sent(nf, 0)->data, nf->ram + BUFFER, 1000);
	assert_int_equal(nf_get(nf, TXD, 4), FS | 100);
	assert_int_equal(nf_get(nf, TXD + 16, 4), 400);
	assert_int_equal(nf_get(nf, TXD + 32, 4), LS | 500);
	/* one whose end isn't there yet */
	put_tx(nf, 3, FS, BUFFER, 100);
	poll_tx(nf);
	assert_int_equal(nf_n_sent(nf), 1);
	put_tx(nf, 4, LS, BUFFER + 100, 100);
	poll_tx(nf);
	assert_int_equal(nf_n_sent(nf), 2);
	assert_int_equal(nf_sent(nf, 1)->len, 200);
	nf_free(nf);
}

/* The high priority ring goes first. */
static void test_cplus_priority(void **state)
{
	struct nic_fixture *nf = start_cplus(0);

	nf_store(nf, REG_THPDS, 4, STATS);
	put_tx(nf, 0, FS | LS, BUFFER, 100);
	nf_put(nf, STATS + 8, 8, BUFFER);
	nf_put(nf, STATS, 4, (uint32_t)OWN | EOR | FS | LS | 200);
	nf_store(nf, REG_TPPOLL, 1, TPPOLL_HPQ | TPPOLL_NPQ);
	nf_run(nf);
	assert_int_equal(nf_n_sent(nf), 2);
	assert_int_equal(nf_sent(nf, 0)->len, 200);
	assert_int_equal(nf_sent(nf, 1)->len, 100);
	nf_free(nf);
}

static void test_cplus_burst_and_full(void **state)
{
	struct nic_fixture *nf = start_cplus(0);
	unsigned int i;

	for (i = 0; i < 64; i++)
		put_tx(nf, i, (i == 63 ? EOR : 0) | FS | LS, BUFFER, 60 + i);
	nf_full(nf, true);
	poll_tx(nf);
	assert_int_equal(nf_n_sent(nf), 0);
	assert_int_equal(nf_get(nf, TXD, 4), (uint32_t)OWN | FS | LS | 60);
	nf_store(nf, REG_TPPOLL, 1, TPPOLL_NPQ);
	nf_full(nf, false);
	nf_run(nf);
	assert_int_equal(nf_n_sent(nf), 64);
	for (i = 0; i < 64; i++)
		assert_int_equal(nf_sent(nf, i)->len, 60 + i);
	take_isr(nf);
	/* the transmitter is switched off while a frame waits: it is sent, its descriptor stays */
	nf_full(nf, true);
	put_tx(nf, 0, FS | LS, BUFFER, 99);
	poll_tx(nf);
	nf_store(nf, REG_CR, 1, CR_RE);
	nf_store(nf, REG_CR, 1, CR_RE | CR_TE);
	nf_full(nf, false);
	nf_run(nf);
	assert_int_equal(nf_n_sent(nf), 65);
	assert_int_equal(nf_get(nf, TXD, 4), (uint32_t)OWN | FS | LS | 99);
	nf_free(nf);
}

static void test_cplus_tx_checksums(void **state)
{
	struct nic_fixture *nf = start_cplus(0);
	uint8_t *frame = nf->ram + BUFFER;
	size_t len = make_packet(frame, 6, 200, 0);
	uint16_t ip;
	const struct fake_sent *sent;

	memcpy(&ip, frame + 24, 2);
	memset(frame + 24, 0xee, 2); /* whatever is there */
	memset(frame + 50, 0xee, 2);
	put_tx(nf, 0, FS | LS | 0x50000, BUFFER, (uint32_t)len);
	poll_tx(nf);
	sent = nf_sent(nf, 0);
	assert_memory_equal(sent->data + 24, &ip, 2);
	assert_int_equal(sent->hdr.flags, NET_HDR_NEEDS_CSUM);
	assert_int_equal(sent->hdr.csum_start, 34);
	assert_int_equal(sent->hdr.csum_offset, 16);
	assert_int_equal(frame[24], 0xee); /* the driver's own isn't touched */

	len = make_packet(frame, 17, 10, 0); /* UDP, shorter than a frame must be */
	put_tx(nf, 1, FS | LS | 0x60000, BUFFER, (uint32_t)len);
	poll_tx(nf);
	sent = nf_sent(nf, 1);
	assert_int_equal(sent->len, 60);
	assert_int_equal(sent->hdr.csum_start, 34);
	assert_int_equal(sent->hdr.csum_offset, 6);

	make_frame(frame, 100, broadcast); /* no IP at all: as it is */
	put_tx(nf, 2, FS | LS | 0x70000, BUFFER, 100);
	poll_tx(nf);
	assert_int_equal(nf_sent(nf, 2)->hdr.flags, 0);
	assert_memory_equal(nf_sent(nf, 2)->data, frame, 100);
	nf_free(nf);
}

static void test_cplus_large_send(void **state)
{
	struct nic_fixture *nf = start_cplus(0);
	uint8_t *frame = nf->ram + BUFFER;
	size_t len = make_packet(frame, 6, 20000, 0);
	const struct fake_sent *sent;

	put_tx(nf, 0, FS | 0x08000000 | 1448 << 16, BUFFER, 54);
	put_tx(nf, 1, LS | 0x08000000 | 1448 << 16, BUFFER + 54, (uint32_t)len - 54);
	poll_tx(nf);
	sent = nf_sent(nf, 0);
	assert_int_equal(sent->len, len);
	assert_int_equal(sent->hdr.gso_type, NET_GSO_TCPV4);
	assert_int_equal(sent->hdr.gso_size, 1448);
	assert_int_equal(sent->hdr.hdr_len, 54);
	assert_int_equal(nf_get(nf, TXD, 4), FS | 54); /* no error bits where MSS was */
	assert_int_equal(take_isr(nf), INT_TOK | INT_TDU);

	put_tx(nf, 2, FS | LS | 0x08000000, BUFFER, (uint32_t)len); /* MSS 0 */
	poll_tx(nf);
	assert_int_equal(nf_n_sent(nf), 1);
	assert_int_equal(nf_get(nf, TXD + 32, 4), FS | LS | 0x00800000 | len);
	assert_int_equal(take_isr(nf), INT_TER | INT_TDU);
	put_tx(nf, 3, FS | LS, BUFFER, (uint32_t)len); /* too long without */
	poll_tx(nf);
	assert_int_equal(nf_n_sent(nf), 1);
	assert_int_equal(take_isr(nf), INT_TER | INT_TDU);
	nf_free(nf);
}

static void test_cplus_tx_vlan(void **state)
{
	struct nic_fixture *nf = start_cplus(0);
	uint8_t *frame = nf->ram + BUFFER;
	size_t len = make_packet(frame, 6, 20000, 0);
	const struct fake_sent *sent;

	nf_put(nf, TXD + 4, 4, 0x20000 | 0x6420); /* TAGC; tag 0x2064, byte by byte */
	put_tx(nf, 0, FS | LS, BUFFER, 100);
	nf_put(nf, TXD + 16 + 4, 4, 0x20000 | 0x6420);
	put_tx(nf, 1, FS | LS | 0x08000000 | 1000 << 16, BUFFER, (uint32_t)len);
	poll_tx(nf);
	sent = nf_sent(nf, 0);
	assert_int_equal(sent->len, 104);
	assert_memory_equal(sent->data, frame, 12);
	assert_memory_equal(sent->data + 12, "\x81\x00\x20\x64", 4);
	assert_memory_equal(sent->data + 16, frame + 12, 88);
	sent = nf_sent(nf, 1);
	assert_int_equal(sent->len, len + 4);
	assert_int_equal(sent->hdr.hdr_len, 58);
	assert_int_equal(sent->hdr.csum_start, 38);
	nf_free(nf);
}

/* A frame without end, buffers that aren't RAM, a ring that isn't, no cable. */
static void test_cplus_tx_errors(void **state)
{
	struct nic_fixture *nf = start_cplus(0);
	unsigned int i;

	for (i = 0; i < 64; i++)
		put_tx(nf, i, i == 63 ? EOR : 0, BUFFER, 60);
	poll_tx(nf);
	assert_int_equal(nf_n_sent(nf), 0);
	assert_int_equal(take_isr(nf), INT_TER | INT_TDU);
	for (i = 0; i < 64; i++)
		assert_int_equal(nf_get(nf, TXD + 16 * i, 4), (i == 63 ? EOR : 0) | 0x800000 | 60);
	put_tx(nf, 0, EOR | FS, BUFFER, 60); /* a ring of one that never ends */
	poll_tx(nf);
	assert_int_equal(take_isr(nf), INT_TER | INT_TDU);
	put_tx(nf, 0, FS | LS, 0xfe000000, 60);
	put_tx(nf, 1, FS | LS, BUFFER, 60);
	poll_tx(nf);
	assert_int_equal(nf_n_sent(nf), 1);
	assert_int_equal(nf_get(nf, TXD, 4), FS | LS | 0x800000 | 60);
	assert_int_equal(take_isr(nf), INT_TER | INT_TOK | INT_TDU);
	nf_link(nf, false);
	take_isr(nf);
	put_tx(nf, 2, FS | LS, BUFFER, 60);
	poll_tx(nf);
	assert_int_equal(nf_get(nf, TXD + 32, 4), FS | LS | 0xa00000 | 60);
	take_isr(nf);
	nf_store(nf, REG_TNPDS, 4, 0xfffffff0);
	nf_store(nf, REG_TNPDS + 4, 4, 0xffffffff);
	poll_tx(nf);
	assert_int_equal(take_isr(nf), INT_SERR);
	nf_free(nf);
}

static void give_rx(struct nic_fixture *nf, unsigned int i, uint32_t size)
{
	put_rx(nf, i, i == 63 ? EOR : 0, size);
}

static void test_cplus_receive(void **state)
{
	struct nic_fixture *nf = start_cplus(0);
	uint8_t frame[1514], fcs[4];
	unsigned int i, k, len;

	for (i = 0; i < 150; i++) {
		k = i % 64;
		len = 60 + i * 37 % 1455;
		make_frame(frame, len, i & 1 ? mac : broadcast);
		nf_rx(nf, frame, len);
		nf_run(nf);
		assert_true(nf_irq(nf));
		assert_int_equal(take_isr(nf), INT_ROK);
		assert_int_equal(nf_get(nf, RXD + 16 * k, 4),
				 (k == 63 ? EOR : 0) | FS | LS | (i & 1 ? 0x02000000 : 0x01000000) |
					 (len + 4));
		assert_int_equal(nf_get(nf, RXD + 16 * k + 4, 4), 0);
		assert_memory_equal(nf->ram + RXB + 0x2000 * k, frame, len);
		eth_fcs(eth_crc_le(frame, len), fcs);
		assert_memory_equal(nf->ram + RXB + 0x2000 * k + len, fcs, 4);
		give_rx(nf, k, 1536);
	}
	make_frame(frame, 60, other);
	nf_rx(nf, frame, 60);
	nf_run(nf);
	assert_int_equal(nf_load(nf, REG_ISR, 2), 0);
	nf_free(nf);
}

static void test_cplus_rx_pieces(void **state)
{
	struct nic_fixture *nf = start_cplus_with(0, 256);
	uint8_t frame[1514];
	unsigned int i;

	make_frame(frame, 1514, mac);
	nf_rx(nf, frame, 1514);
	nf_rx(nf, frame, 252);
	nf_run(nf);
	for (i = 0; i < 6; i++) {
		assert_int_equal(nf_get(nf, RXD + 16 * i, 4),
				 i < 5 ? (i ? 0 : FS) | 256 : LS | 0x02000000 | 1518);
		assert_memory_equal(nf->ram + RXB + 0x2000 * i, frame + 256 * i,
				    i < 5 ? 256 : 1514 - 1280);
	}
	assert_int_equal(nf_get(nf, RXD + 16 * 6, 4), FS | LS | 0x02000000 | 256);
	assert_int_equal(nf_get(nf, RXD + 16 * 7, 4), (uint32_t)OWN | 256);
	nf_free(nf);
}

/* Descriptors run out: nothing is lost, and no register has to be written to go on. */
static void test_cplus_rx_dry(void **state)
{
	struct nic_fixture *nf = start_cplus(0);
	uint8_t frame[100];
	unsigned int i;

	make_frame(frame, 100, mac);
	for (i = 0; i < 60; i++)
		nf_rx(nf, frame, 100);
	nf_run(nf);
	for (i = 0; i < 10; i++)
		nf_rx(nf, frame, 100);
	nf_run_ms(nf, 3);
	assert_int_equal(take_isr(nf), INT_ROK | INT_RXOVW);
	nf_run_ms(nf, 3);
	assert_int_equal(nf_load(nf, REG_ISR, 2), 0); /* said once */
	for (i = 0; i < 64; i++) {
		assert_int_equal(nf_get(nf, RXD + 16 * i, 4) & (uint32_t)OWN, 0);
		give_rx(nf, i, 1536);
	}
	for (i = 0; i < 500 && !nf_load(nf, REG_ISR, 2); i++)
		nf_run_ms(nf, 2);
	assert_int_equal(nf_load(nf, REG_ISR, 2), INT_ROK);
	for (i = 0; i < 7; i++)
		assert_int_equal(nf_get(nf, RXD + 16 * i, 4) & (uint32_t)OWN,
				 i < 6 ? 0 : (uint32_t)OWN);
	assert_int_equal(nf_load(nf, REG_MPC, 4), 0);
	/* the same, with a driver that acknowledges */
	for (i = 0; i < 64; i++)
		nf_rx(nf, frame, 100);
	nf_run(nf);
	assert_int_equal(nf_load(nf, REG_ISR, 2) & INT_RXOVW, INT_RXOVW);
	nf_store(nf, REG_ISR, 2,
		 0xffff); /* and has yet to give some back: nobody is woken for that */
	assert_true(nf->nic->starved);
	for (i = 0; i < 64; i++)
		give_rx(nf, i, 1536);
	nf_store(nf, REG_ISR, 2, 0xffff);
	assert_false(nf->nic->starved);
	nf_run(nf);
	assert_int_equal(nf_load(nf, REG_ISR, 2), INT_ROK);
	nf_free(nf);
}

static void test_cplus_rx_too_long(void **state)
{
	struct nic_fixture *nf = start_cplus(0);
	static uint8_t frame[5000];

	nf->fake.net.frame_max = 9000;
	make_frame(frame, 5000, mac);
	nf_rx(nf, frame, 4092);
	nf_rx(nf, frame, 4093);
	nf_run(nf);
	assert_int_equal(take_isr(nf), INT_ROK | INT_RER);
	assert_int_equal(nf_get(nf, RXD + 32, 4), LS | 0x02000000 | 4096);
	put_rx(nf, 3, EOR, 1536); /* a ring that begins with three used ones */
	nf_rx(nf, frame, 1532);
	nf_rx(nf, frame, 1532);
	nf_run(nf);
	assert_int_equal(nf_get(nf, RXD + 48, 4), EOR | FS | LS | 0x02000000 | 1536);
	assert_int_equal(take_isr(nf), INT_ROK | INT_RXOVW);
	put_rx(nf, 0, EOR, 1536); /* the ring is one descriptor now: too small for a long one */
	nf_store(nf, REG_RDSAR, 4, RXD);
	nf_run(nf);
	take_isr(nf);
	put_rx(nf, 0, EOR, 1536);
	nf_store(nf, REG_ISR, 2, 0);
	nf_rx(nf, frame, 1533);
	nf_run(nf);
	assert_int_equal(nf_load(nf, REG_MPC, 4), 1);
	assert_int_equal(nf_load(nf, REG_ISR, 2), INT_RXOVW);
	assert_int_equal(nf_get(nf, RXD, 4), (uint32_t)OWN | EOR | 1536);
	nf_free(nf);
}

static uint32_t rx_status(struct nic_fixture *nf, unsigned int *k, const uint8_t *frame, size_t len,
			  const struct net_hdr *hdr)
{
	uint32_t status;

	nf_rx_hdr(nf, hdr ? hdr : &(struct net_hdr){0}, frame, len);
	nf_run(nf);
	status = (uint32_t)nf_get(nf, RXD + 16 * *k, 4);
	assert_int_equal(status & 0x1fff, (len < 60 ? 60 : len) + 4);
	assert_int_equal(status & (uint32_t)(OWN | FS | LS), FS | LS);
	*k = (*k + 1) % 64;
	return status & 0x3e000;
}

static void test_cplus_rx_checksums(void **state)
{
	struct nic_fixture *nf = start_cplus(CPCR_RXCHKSUM);
	struct net_hdr partial = {.flags = NET_HDR_NEEDS_CSUM, .csum_start = 34, .csum_offset = 16};
	uint8_t frame[1514];
	unsigned int k = 0;
	size_t len;
	uint16_t whole, sum;

	assert_int_equal(nf->fake.offloads, NET_OFFLOAD_CSUM);
	len = make_packet(frame, 6, 100, 0);
	assert_int_equal(rx_status(nf, &k, frame, len, NULL), 0x10000);
	len = make_packet(frame, 6, 3, 0); /* with padding */
	assert_int_equal(rx_status(nf, &k, frame, len, NULL), 0x10000);
	len = make_packet(frame, 6, 101, WRONG_L4);
	assert_int_equal(rx_status(nf, &k, frame, len, NULL), 0x12000);
	len = make_packet(frame, 17, 101, 0);
	assert_int_equal(rx_status(nf, &k, frame, len, NULL), 0x20000);
	len = make_packet(frame, 17, 100, WRONG_L4);
	assert_int_equal(rx_status(nf, &k, frame, len, NULL), 0x24000);
	len = make_packet(frame, 17, 100, WRONG_IP);
	assert_int_equal(rx_status(nf, &k, frame, len, NULL), 0x38000);
	len = make_packet(frame, 1, 100, 0);
	assert_int_equal(rx_status(nf, &k, frame, len, NULL), 0x30000);
	make_frame(frame, 100, mac);
	assert_int_equal(rx_status(nf, &k, frame, 100, NULL), 0);
	make_packet(frame, 6, 100, 0);
	assert_int_equal(rx_status(nf, &k, frame, 100, NULL), 0); /* cut short */
	/* a checksum that was left to us */
	len = make_packet(frame, 6, 100, 0);
	memcpy(&whole, frame + 50, 2);
	sum = csum_fold(csum_add(0, frame + 26, 8) + (6 << 8) + htons((uint16_t)(len - 34)));
	memcpy(frame + 50, &sum, 2);
	assert_int_equal(rx_status(nf, &k, frame, len, &partial), 0x10000);
	assert_memory_equal(nf->ram + RXB + 0x2000 * (k - 1) + 50, &whole, 2);
	nf_store(nf, REG_CPCR, 2, CPCR_CPRX | CPCR_CPTX);
	assert_int_equal(nf->fake.offloads, 0);
	len = make_packet(frame, 6, 100, 0);
	assert_int_equal(rx_status(nf, &k, frame, len, NULL), 0);
	nf_free(nf);
}

static void test_cplus_rx_vlan(void **state)
{
	struct nic_fixture *nf = start_cplus(CPCR_RXVLAN | CPCR_RXCHKSUM);
	uint8_t frame[200], tagged[204];
	size_t len = make_packet(frame, 17, 100, 0);

	memcpy(tagged, frame, 12);
	memcpy(tagged + 12, "\x81\x00\x20\x64", 4);
	memcpy(tagged + 16, frame + 12, len - 12);
	nf_rx(nf, tagged, len + 4);
	nf_run(nf);
	assert_int_equal(nf_get(nf, RXD, 4), FS | LS | 0x02020000 | (len + 4));
	assert_int_equal(nf_get(nf, RXD + 4, 4), 0x10000 | 0x6420);
	assert_memory_equal(nf->ram + RXB, frame, len);
	nf_store(nf, REG_CPCR, 2, CPCR_CPRX | CPCR_CPTX);
	nf_rx(nf, tagged, len + 4);
	nf_run(nf);
	assert_int_equal(nf_get(nf, RXD + 16, 4), FS | LS | 0x02000000 | (len + 8));
	assert_memory_equal(nf->ram + RXB + 0x2000, tagged, len + 4);
	nf_free(nf);
}

static void test_cplus_loopback(void **state)
{
	struct nic_fixture *nf = start_cplus(CPCR_RXCHKSUM);
	uint8_t *frame = nf->ram + BUFFER;
	size_t len = make_packet(frame, 6, 200, 0);

	memset(frame + 50, 0, 2);
	nf_store(nf, REG_TCR, 4, 0x03060600);
	put_tx(nf, 0, FS | LS | 0x50000, BUFFER, (uint32_t)len);
	poll_tx(nf);
	assert_int_equal(nf_n_sent(nf), 0);
	assert_int_equal(nf_get(nf, RXD, 4), FS | LS | 0x02010000 | (len + 4));
	assert_int_equal(nf_get(nf, TXD, 4), FS | LS | len);
	put_tx(nf, 1, FS | LS | 0x08000000 | 100 << 16, BUFFER, (uint32_t)len);
	poll_tx(nf);
	assert_int_equal(nf_get(nf, TXD + 16, 4), FS | LS | 0x800000 | len);
	assert_int_equal(counter_get(&nf->nic->counters.looped), 1);
	nf_free(nf);
}

static void test_tally(void **state)
{
	struct nic_fixture *nf = start_cplus(0);
	uint8_t frame[100];

	nf_store(nf, REG_MAR, 4, 0xffffffff);
	nf_store(nf, REG_MAR + 4, 4, 0xffffffff);
	nf_store(nf, REG_RCR, 4, RCR_AB | RCR_AM | RCR_APM);
	make_frame(frame, 100, mac);
	nf_rx(nf, frame, 100);
	nf_rx(nf, frame, 100);
	nf_run(nf);
	make_frame(frame, 100, broadcast);
	nf_rx(nf, frame, 100);
	nf_run(nf);
	make_frame(frame, 100, group);
	nf_rx(nf, frame, 100);
	nf_run(nf);
	put_tx(nf, 0, FS | LS, BUFFER, 60);
	put_tx(nf, 1, FS | LS, 0xfe000000, 60);
	poll_tx(nf);
	nf_store(nf, REG_DTCCR + 4, 4, 0);
	nf_store(nf, REG_DTCCR, 4, STATS | 8);
	assert_int_equal(nf_load(nf, REG_DTCCR, 4), STATS);
	assert_int_equal(nf_get(nf, STATS, 8), 1);	/* tx_ok */
	assert_int_equal(nf_get(nf, STATS + 8, 8), 4);	/* rx_ok */
	assert_int_equal(nf_get(nf, STATS + 16, 8), 1); /* tx_er */
	assert_int_equal(nf_get(nf, STATS + 40, 8), 2); /* physical */
	assert_int_equal(nf_get(nf, STATS + 48, 8), 1); /* broadcast */
	assert_int_equal(nf_get(nf, STATS + 56, 4), 1); /* multicast */
	nf_store(nf, REG_DTCCR, 4, 0xfe000000 | 8);	/* not RAM */
	assert_int_equal(nf_load(nf, REG_DTCCR, 4) & 8, 0);
	nf_free(nf);
}

/* C+ reception with classic transmission, and back. */
static void test_mixed_modes(void **state)
{
	struct nic_fixture *nf = start_cplus(0);
	uint8_t frame[100];

	nf_store(nf, REG_CPCR, 2, CPCR_CPRX);
	nf_store(nf, REG_TSAD, 4, BUFFER);
	assert_int_equal(nf_load(nf, REG_TSD, 4), 0x2000);
	send_classic(nf, 0, 77);
	assert_int_equal(nf_sent(nf, 0)->len, 77);
	make_frame(frame, 100, mac);
	nf_rx(nf, frame, 100);
	nf_run(nf);
	assert_int_equal(nf_get(nf, RXD, 4), FS | LS | 0x02000000 | 104);
	assert_int_equal(take_isr(nf), INT_TOK | INT_ROK);
	nf_free(nf);
}

/* Rings that lie where there is no RAM, or in the card's own registers; garbage in CAPR. */
static void test_hostile_rx(void **state)
{
	static const uint32_t nowhere[] = {0xe1000000, 0xfffffff0, NF_RAM_SIZE - 16, 0xc000c000};
	uint8_t frame[1514];
	unsigned int i;

	make_frame(frame, 1514, mac);
	for (i = 0; i < 4; i++) {
		struct nic_fixture *nf = start_classic();

		nf_store(nf, REG_RBSTART, 4, nowhere[i]);
		nf_rx(nf, frame, 1514);
		nf_run(nf);
		nf_store(nf, REG_CAPR, 2, 0x1237);
		nf_store(nf, REG_RBSTART, 4, RING);
		nf_store(nf, REG_CAPR, 2, 0xffff);
		nf_run(nf);
		nf_free(nf);

		nf = start_cplus(0);
		nf_store(nf, REG_RDSAR, 4, nowhere[i]);
		nf_store(nf, REG_RDSAR + 4, 4, i & 1 ? 0xffffffff : 0);
		nf_rx(nf, frame, 1514);
		nf_run_ms(nf, 1);
		nf_store(nf, REG_RDSAR, 4, RXD);
		nf_store(nf, REG_RDSAR + 4, 4, 0);
		nf_put(nf, RXD + 8, 8, nowhere[i]);
		nf_run_ms(nf, 1);
		for (unsigned int k = 0; k < 64; k++)
			put_rx(nf, k, 0, 0); /* no room at all, and no end */
		nf_run_ms(nf, 1);
		nf_free(nf);
	}
}

static void test_two_cards(void **state)
{
	struct nic_fixture *a = start_classic(), *b = start_cplus(0);

	send_classic(a, 0, 60);
	assert_int_equal(nf_n_sent(a), 1);
	assert_int_equal(nf_n_sent(b), 0);
	put_tx(b, 0, FS | LS, BUFFER, 60);
	poll_tx(b);
	assert_int_equal(nf_n_sent(b), 1);
	nf_free(a);
	nf_free(b);
}

/* ---- accesses without exits (bus/posted.h) ---- */

static struct rtl8139 *card_of(struct nic_fixture *nf)
{
	return (struct rtl8139 *)nf->dev;
}

static uint64_t address_of(struct nic_fixture *nf, unsigned int reg)
{
	return pci_bar_address(pci_of(nf->dev), (unsigned int)nf->mem_bar) + reg;
}

/* What the I/O thread does, doorbell included. */
static void run_thread(struct nic_fixture *nf)
{
	struct rtl8139 *r = card_of(nf);

	for (unsigned int i = 0; i < 3; i++) {
		r->posted.poller.poll(&r->posted.poller);
		r->bell_fd.ready(&r->bell_fd, EPOLLIN);
		r->ticker.poll(&r->ticker);
		nf_run(nf);
	}
}

/* Traffic, until there is something that takes accesses; false: this host's processor is alone. */
static bool warm_up(struct nic_fixture *nf, bool write, unsigned int reg, uint32_t value)
{
	cpu_set_t cpus;

	loop_set_poll_max(nf->nic->loop, 1000000);
	for (unsigned int i = 0; i < 1000 && !posted_stands(&card_of(nf)->posted); i++) {
		for (unsigned int k = 0; k < 32; k++) {
			if (write)
				nf_store(nf, reg, 2, value);
			else
				nf_load(nf, reg, 2);
		}
		run_thread(nf);
	}
	if (sched_getaffinity(0, sizeof(cpus), &cpus) == 0 && CPU_COUNT(&cpus) == 1)
		return false;
	assert_true(posted_stands(&card_of(nf)->posted));
	return true;
}

static void test_posted_writes(void **state)
{
	struct nic_fixture *nf = nf_new("rtl8139", CLASSIC);
	struct vm *vm = nf->fp.p.vm;
	uint8_t frame[1000];
	unsigned int i;

	start_classic_with(nf, RCR_TOO);
	if (!warm_up(nf, true, REG_CAPR, 0xfff0)) {
		nf_free(nf);
		skip();
	}
	for (i = 0; i < 4; i++)
		assert_true(fake_vm_guest_write(vm, false, address_of(nf, REG_TSD + 4 * i), 4,
						100 + i));
	assert_int_equal(nf_n_sent(nf), 0);
	assert_int_equal(nf_load(nf, REG_TSAD_SUMMARY, 2), 0xf00f); /* a read comes behind them */
	assert_int_equal(nf_n_sent(nf), 4);
	for (i = 0; i < 4; i++) {
		assert_int_equal(nf_sent(nf, i)->len, 100 + i);
		assert_true(fake_vm_guest_write(vm, false, address_of(nf, REG_TSD + 4 * i), 4,
						200 + i));
	}
	run_thread(nf); /* nobody reads */
	assert_int_equal(nf_n_sent(nf), 8);
	/* what isn't marked exits */
	assert_false(fake_vm_guest_write(vm, false, address_of(nf, REG_ISR), 2, 0xffff));
	assert_false(fake_vm_guest_write(vm, false, address_of(nf, REG_CR), 1, 0));

	make_frame(frame, 1000, mac);
	nf_rx(nf, frame, 1000);
	run_thread(nf);
	assert_true(fake_vm_guest_write(vm, false, address_of(nf, REG_CAPR), 2, 1008 - 16));
	assert_int_equal(nf_load(nf, REG_CR, 1), CR_RE | CR_TE | CR_BUFE);

	assert_true(fake_vm_guest_write(vm, false, address_of(nf, REG_TSD), 4, 300));
	nf_store(nf, REG_CR, 1, CR_RST); /* the frame goes first, then nothing stands any more */
	assert_int_equal(nf_n_sent(nf), 9);
	assert_false(posted_stands(&card_of(nf)->posted));
	assert_int_equal(fake_vm_zones(vm), 0);
	nf_free(nf);
}

static void test_shadow(void **state)
{
	struct nic_fixture *nf = start_cplus(0);
	struct vm *vm = nf->fp.p.vm;
	uint64_t value, before;
	unsigned int i;

	warm_up(nf, false, REG_ISR, 0);
	assert_int_equal(fake_vm_shadows(vm), 1);
	nf_store(nf, REG_MAR, 4, 0x12345678);
	nf_store(nf, REG_9346CR, 1, 0xc0);
	nf_store(nf, REG_CONFIG1, 1, 0xed);
	nf_link(nf, false);
	nf_link(nf, true);
	put_tx(nf, 0, FS | LS, BUFFER, 60);
	poll_tx(nf);
	for (i = 0; i < REG_END; i++) {
		if (i / 4 == REG_TCTR / 4)
			continue;
		assert_true(fake_vm_guest_read(vm, address_of(nf, i), 1, &value));
		assert_int_equal(value, nf_load(nf, i, 1));
	}
	assert_true(fake_vm_guest_read(vm, address_of(nf, REG_ISR), 2, &value));
	assert_int_equal(value, INT_PUN | INT_TOK | INT_TDU);
	nf_store(nf, REG_ISR, 2, value);
	assert_true(fake_vm_guest_read(vm, address_of(nf, REG_ISR), 2, &value));
	assert_int_equal(value, 0);
	/* beyond the BAR there is nothing */
	assert_true(fake_vm_guest_read(vm, address_of(nf, REG_END), 4, &value));
	assert_int_equal(value, 0xffffffff);
	/* the counter goes on; who writes it gets the real one */
	run_thread(nf);
	assert_true(fake_vm_guest_read(vm, address_of(nf, REG_TCTR), 4, &before));
	nf_run_ms(nf, 1);
	run_thread(nf);
	assert_true(fake_vm_guest_read(vm, address_of(nf, REG_TCTR), 4, &value));
	assert_true((uint32_t)(value - before) >= 1000000 / 30);
	nf_store(nf, REG_TCTR, 4, 0);
	assert_int_equal(fake_vm_shadows(vm), 0);
	nf_free(nf);
}

static void test_bell(void **state)
{
	struct nic_fixture *nf = start_cplus(0);
	struct vm *vm = nf->fp.p.vm;

	put_tx(nf, 0, FS | LS, BUFFER, 60);
	assert_true(fake_vm_guest_write(vm, false, address_of(nf, REG_TPPOLL), 1, TPPOLL_NPQ));
	assert_int_equal(nf_n_sent(nf), 0);
	run_thread(nf);
	assert_int_equal(nf_n_sent(nf), 1);
	assert_false(fake_vm_guest_write(vm, false, address_of(nf, REG_TPPOLL), 1, TPPOLL_HPQ));
	assert_false(fake_vm_guest_write(vm, false, address_of(nf, REG_TPPOLL), 1, TPPOLL_FSWINT));
	nf_store(nf, REG_CR, 1, 0);
	assert_false(fake_vm_guest_write(vm, false, address_of(nf, REG_TPPOLL), 1, TPPOLL_NPQ));
	assert_int_equal(fake_vm_doorbells(vm), 0);
	nf_free(nf);

	nf = nf_new("rtl8139", OPTIONS ",posted=off");
	nf_store(nf, REG_CPCR, 2, 3);
	nf_store(nf, REG_CR, 1, CR_RE | CR_TE);
	assert_int_equal(fake_vm_doorbells(nf->fp.p.vm), 0);
	nf_free(nf);
}

/* One that wakes the I/O thread for each frame goes, where frames are answers, and comes back when there is much to
 * do. */
static void test_bell_rests(void **state)
{
	struct nic_fixture *nf = start_cplus(0);
	struct rtl8139 *r = card_of(nf);
	struct vm *vm = nf->fp.p.vm;
	unsigned int sent = 0;

	for (; sent < 1000 && fake_vm_doorbells(vm); sent++) {
		if (sent >= 128)
			counter_add(&r->nic.counters.rx_frames, 1);
		put_tx(nf, sent % 64, FS | LS | (sent % 64 == 63 ? EOR : 0), BUFFER, 60);
		assert_true(
			fake_vm_guest_write(vm, false, address_of(nf, REG_TPPOLL), 1, TPPOLL_NPQ));
		nf->nic->loop->slept_at = 1; /* it wakes up for that */
		run_thread(nf);
		assert_int_equal(nf_n_sent(nf), sent + 1);
	}
	assert_int_equal(sent, 192);
	assert_int_equal(fake_vm_doorbells(vm), 0);
	r->bell_rests_until = 0;
	for (unsigned int i = 0; i < 1000 && !fake_vm_doorbells(vm); i++) {
		put_tx(nf, sent % 64, FS | LS | (sent % 64 == 63 ? EOR : 0), BUFFER, 60);
		nf_store(nf, REG_TPPOLL, 1, TPPOLL_NPQ);
		assert_int_equal(nf_n_sent(nf), ++sent);
	}
	assert_int_equal(fake_vm_doorbells(vm), 1);
	nf_free(nf);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_cplus_send),
		cmocka_unit_test(test_cplus_pieces),
		cmocka_unit_test(test_cplus_priority),
		cmocka_unit_test(test_cplus_burst_and_full),
		cmocka_unit_test(test_cplus_tx_checksums),
		cmocka_unit_test(test_cplus_large_send),
		cmocka_unit_test(test_cplus_tx_vlan),
		cmocka_unit_test(test_cplus_tx_errors),
		cmocka_unit_test(test_cplus_receive),
		cmocka_unit_test(test_cplus_rx_pieces),
		cmocka_unit_test(test_cplus_rx_dry),
		cmocka_unit_test(test_cplus_rx_too_long),
		cmocka_unit_test(test_cplus_rx_checksums),
		cmocka_unit_test(test_cplus_rx_vlan),
		cmocka_unit_test(test_cplus_loopback),
		cmocka_unit_test(test_tally),
		cmocka_unit_test(test_mixed_modes),
		cmocka_unit_test(test_hostile_rx),
		cmocka_unit_test(test_two_cards),
		cmocka_unit_test(test_posted_writes),
		cmocka_unit_test(test_shadow),
		cmocka_unit_test(test_bell),
		cmocka_unit_test(test_bell_rests),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
