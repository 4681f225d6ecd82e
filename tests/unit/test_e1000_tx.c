/*
 * 82540EM: sending. Every kind of descriptor, offloads, and what a driver should not do.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "e1000_fixture.h"

static const uint8_t to_all[6] = {0xff, 0xff, 0xff, 0xff, 0xff, 0xff};
static const uint8_t to_some[6] = {0x01, 0x00, 0x5e, 0, 0, 1};
static const uint8_t to_one[6] = {0x52, 0x54, 0, 1, 2, 3};

static void legacy(struct e_driver *d, uint64_t gpa, uint32_t len, uint32_t cmd)
{
	e_tx_put(d, gpa, len | E_CMD(cmd));
}

static void data(struct e_driver *d, uint64_t gpa, uint32_t len, uint32_t cmd, uint64_t popts)
{
	e_tx_put(d, gpa,
		 len | 1u << 20 | E_CMD(cmd | TXD_CMD_DEXT) | popts << 40 | UINT64_C(0x2005) << 48);
}

static void context(struct e_driver *d, uint32_t ip, uint32_t tu, uint64_t hdrlen, uint64_t mss,
		    uint32_t cmd)
{
	e_tx_put(d, ip | (uint64_t)tu << 32, E_CMD(cmd | TXD_CMD_DEXT) | hdrlen << 40 | mss << 48);
}

static uint16_t sum(const uint8_t *p, size_t len, uint32_t sum)
{
	for (size_t i = 0; i < len; i++)
		sum += i & 1 ? p[i] : (uint32_t)p[i] << 8;
	while (sum >> 16)
		sum = (sum & 0xffff) + (sum >> 16);
	return (uint16_t)sum;
}

/* ---- legacy descriptors ---- */

static void test_legacy(void **state)
{
	struct e_driver *d = e_new();
	const uint8_t *f = e_frame(d, E_TXBUF, 1514, to_one);

	e_store(d, E1000_IMS, ICR_TXDW);
	legacy(d, E_TXBUF, 1514, E_EOP);
	e_tx_go(d);
	assert_int_equal(nf_n_sent(d->nf), 1);
	assert_int_equal(nf_sent(d->nf, 0)->len, 1514);
	assert_memory_equal(nf_sent(d->nf, 0)->data, f, 1514);
	assert_int_equal(nf_sent(d->nf, 0)->hdr.flags, 0);
	assert_true(e_tx_is_done(d, 0));
	assert_true(nf_irq(d->nf));
	assert_int_equal(e_load(d, E1000_ICR), ICR_TXDW | ICR_TXQE);
	assert_int_equal(e_load(d, E1000_TDH), 1);
	/* Without RS: no DD, no TXDW */
	legacy(d, E_TXBUF, 100, TXD_CMD_EOP | TXD_CMD_IFCS);
	e_tx_go(d);
	assert_int_equal(nf_n_sent(d->nf), 2);
	assert_false(e_tx_is_done(d, 1));
	assert_int_equal(e_load(d, E1000_ICR), ICR_TXQE);
	/* In pieces, one of them empty; each is reported. */
	legacy(d, E_TXBUF, 10, TXD_CMD_RS);
	legacy(d, 0, 10, TXD_CMD_RS);
	legacy(d, E_TXBUF + 10, 0, TXD_CMD_RS);
	legacy(d, E_TXBUF + 10, 190, E_EOP);
	e_tx_go(d);
	assert_int_equal(nf_sent(d->nf, 2)->len, 200);
	assert_memory_equal(nf_sent(d->nf, 2)->data, f, 200);
	for (uint32_t i = 2; i < 6; i++)
		assert_true(e_tx_is_done(d, i));
	e_free(d);
}

static void test_padding_and_fcs(void **state)
{
	struct e_driver *d = e_new();

	e_frame(d, E_TXBUF, 100, to_one);
	legacy(d, E_TXBUF, 20, E_EOP);
	e_tx_go(d);
	assert_int_equal(nf_sent(d->nf, 0)->len, 60);
	assert_int_equal(nf_sent(d->nf, 0)->data[20], 0);
	e_store(d, E1000_TCTL, TCTL_EN);
	legacy(d, E_TXBUF, 20, E_EOP);
	e_tx_go(d);
	assert_int_equal(nf_sent(d->nf, 1)->len, 20);
	/* The driver's own FCS, in a descriptor of its own and more */
	legacy(d, E_TXBUF, 98, 0);
	legacy(d, E_TXBUF + 98, 1, 0);
	legacy(d, E_TXBUF + 200, 3, TXD_CMD_EOP | TXD_CMD_RS);
	e_tx_go(d);
	assert_int_equal(nf_sent(d->nf, 2)->len, 98);
	e_free(d);
}

static void test_legacy_csum(void **state)
{
	struct e_driver *d = e_new();
	const uint8_t *f = e_frame(d, E_TXBUF, 200, to_one);
	const struct fake_sent *s;

	e_tx_put(d, E_TXBUF, 200 | 50u << 16 | E_CMD(E_EOP | TXD_CMD_IC) | UINT64_C(34) << 40);
	e_tx_go(d);
	s = nf_sent(d->nf, 0);
	assert_int_equal(s->hdr.flags, NET_HDR_NEEDS_CSUM);
	assert_int_equal(s->hdr.csum_start, 34);
	assert_int_equal(s->hdr.csum_offset, 16);
	/* In front of what is summed up: done here */
	e_tx_put(d, E_TXBUF, 200 | 20u << 16 | E_CMD(E_EOP | TXD_CMD_IC) | UINT64_C(34) << 40);
	e_tx_go(d);
	s = nf_sent(d->nf, 1);
	assert_int_equal(s->hdr.flags, 0);
	assert_int_equal((uint16_t)~sum(f + 34, 166, 0), s->data[20] << 8 | s->data[21]);
	/* Out of the frame: none */
	e_tx_put(d, E_TXBUF, 200 | 199u << 16 | E_CMD(E_EOP | TXD_CMD_IC) | UINT64_C(34) << 40);
	e_tx_put(d, E_TXBUF, 200 | 50u << 16 | E_CMD(E_EOP | TXD_CMD_IC) | UINT64_C(200) << 40);
	e_tx_go(d);
	assert_memory_equal(nf_sent(d->nf, 2)->data, f, 200);
	assert_memory_equal(nf_sent(d->nf, 3)->data, f, 200);
	e_free(d);
}

/* ---- data descriptors ---- */

static const uint8_t ip4_tcp[] = {0x08, 0x00, 0x45, 0,	  0, 0, 0x12, 0x34, 0x40, 0, 0x40,
				  0x06, 0,    0,    10,	  0, 0, 1,    10,   0,	  0, 2,
				  4,	5,    0,    80,	  0, 0, 0,    1,    0,	  0, 0,
				  2,	0x50, 0x18, 0x10, 0, 0, 0,    0,    0};

/* Payload behind Ethernet, IPv4 and TCP headers; the pseudo-header's sum as drivers leave it. */
static void tcp4(struct e_driver *d, uint32_t gpa, size_t len)
{
	uint8_t *f = e_frame(d, gpa, len, to_one);
	uint16_t pseudo;

	memcpy(f + 12, ip4_tcp, sizeof(ip4_tcp));
	f[16] = (uint8_t)((len - 14) >> 8);
	f[17] = (uint8_t)(len - 14);
	pseudo = sum(f + 26, 8, 6 + (uint32_t)len - 34);
	f[50] = (uint8_t)(pseudo >> 8);
	f[51] = (uint8_t)pseudo;
}

#define IP4_CSUM  (14u | 24u << 8 | 33u << 16)
#define TCP4_CSUM (34u | 50u << 8)

static void test_checksums(void **state)
{
	struct e_driver *d = e_new();
	const struct fake_sent *s;

	tcp4(d, E_TXBUF, 300);
	context(d, IP4_CSUM, TCP4_CSUM, 0, 0, TXD_CMD_RS);
	data(d, E_TXBUF, 300, E_EOP, TXD_POPTS_IXSM | TXD_POPTS_TXSM);
	e_tx_go(d);
	s = nf_sent(d->nf, 0);
	assert_true(e_tx_is_done(d, 0));
	assert_true(e_tx_is_done(d, 1));
	assert_int_equal(s->len, 300);
	assert_int_equal(sum(s->data + 14, 20, 0), 0xffff);
	assert_int_equal(s->hdr.flags, NET_HDR_NEEDS_CSUM);
	assert_int_equal(s->hdr.csum_start, 34);
	assert_int_equal(s->hdr.csum_offset, 16);
	/* The guest's memory is as it was. */
	assert_int_equal(d->nf->ram[E_TXBUF + 24], 0);
	/* The context stays; POPTS of the first descriptor count. */
	data(d, E_TXBUF, 60, 0, TXD_POPTS_IXSM);
	data(d, E_TXBUF + 60, 240, E_EOP, TXD_POPTS_TXSM);
	e_tx_go(d);
	s = nf_sent(d->nf, 1);
	assert_int_equal(sum(s->data + 14, 20, 0), 0xffff);
	assert_int_equal(s->hdr.flags, 0);
	/* With an end: inclusive, and done here */
	context(d, IP4_CSUM, TCP4_CSUM | 99u << 16, 0, 0, 0);
	data(d, E_TXBUF, 300, E_EOP, TXD_POPTS_TXSM);
	e_tx_go(d);
	s = nf_sent(d->nf, 2);
	assert_int_equal(s->hdr.flags, 0);
	assert_int_equal((uint16_t)~sum(d->nf->ram + E_TXBUF + 34, 66, 0),
			 s->data[50] << 8 | s->data[51]);
	e_free(d);
}

/* A back end without offloads: the same frames, complete. */
static void test_plain_back_end(void **state)
{
	struct e_driver *d = e_new_with(false, 0, "netdev=n0");
	const struct fake_sent *s;

	tcp4(d, E_TXBUF, 300);
	context(d, IP4_CSUM, TCP4_CSUM, 0, 0, 0);
	data(d, E_TXBUF, 300, E_EOP, TXD_POPTS_IXSM | TXD_POPTS_TXSM);
	e_tx_go(d);
	s = nf_sent(d->nf, 0);
	assert_int_equal(s->len, 300);
	assert_int_equal(sum(s->data + 34, 266, sum(s->data + 26, 8, 6 + 266)), 0xffff);
	/* 54 of headers, 1000, 1000, 500 of payload */
	tcp4(d, E_TXBUF, 2554);
	context(d, IP4_CSUM, TCP4_CSUM, 54, 1000, TXD_CMD_TSE | TXD_TUCMD_TCP | 2);
	data(d, E_TXBUF, 2554, E_EOP | TXD_CMD_TSE, TXD_POPTS_IXSM | TXD_POPTS_TXSM);
	e_tx_go(d);
	assert_int_equal(nf_n_sent(d->nf), 4);
	for (unsigned int i = 1; i < 4; i++) {
		s = nf_sent(d->nf, i);
		assert_int_equal(s->len, i < 3 ? 1054 : 554);
		assert_int_equal(sum(s->data + 14, 20, 0), 0xffff);
		assert_int_equal(sum(s->data + 34, s->len - 34,
				     sum(s->data + 26, 8, 6 + (uint32_t)s->len - 34)),
				 0xffff);
	}
	e_free(d);
}

static void test_tso4(void **state)
{
	struct e_driver *d = e_new();
	const struct fake_sent *s;

	tcp4(d, E_TXBUF, 60054);
	context(d, IP4_CSUM, TCP4_CSUM, 54, 1448, TXD_CMD_TSE | TXD_TUCMD_TCP | 2);
	data(d, E_TXBUF, 54, TXD_CMD_TSE, TXD_POPTS_IXSM | TXD_POPTS_TXSM);
	for (uint32_t i = 0; i < 60000; i += 15000)
		data(d, E_TXBUF + 54 + i, 15000, (i == 45000 ? E_EOP : 0) | TXD_CMD_TSE, 0);
	e_tx_go(d);
	assert_int_equal(nf_n_sent(d->nf), 1);
	s = nf_sent(d->nf, 0);
	assert_int_equal(s->len, 60054);
	assert_int_equal(s->hdr.gso_type, NET_GSO_TCPV4);
	assert_int_equal(s->hdr.gso_size, 1448);
	assert_int_equal(s->hdr.hdr_len, 54);
	assert_int_equal(s->hdr.flags, NET_HDR_NEEDS_CSUM);
	assert_int_equal(s->data[16] << 8 | s->data[17], 60040);
	assert_int_equal(sum(s->data + 14, 20, 0), 0xffff);
	assert_memory_equal(s->data + 54, d->nf->ram + E_TXBUF + 54, 60000);
	assert_int_equal(e_load(d, E1000_TSCTC), 1);
	assert_int_equal(e_load(d, E1000_GPTC), 42);
	assert_int_equal(e_load(d, E1000_GOTCL), 60000 + 42 * (54 + 4));
	e_free(d);
}

static void test_tso6(void **state)
{
	struct e_driver *d = e_new();
	uint8_t *f = e_frame(d, E_TXBUF, 5074, to_one);
	const struct fake_sent *s;

	memcpy(f + 12, "\x86\xdd\x60\0\0\0\0\0\x06\x40", 10);
	memset(f + 54, 0, 20);
	f[66] = 0x50;
	context(d, 14, 54u | 70u << 8, 74, 1000, TXD_CMD_TSE | TXD_TUCMD_TCP);
	data(d, E_TXBUF, 5074, E_EOP | TXD_CMD_TSE, TXD_POPTS_TXSM);
	e_tx_go(d);
	s = nf_sent(d->nf, 0);
	assert_int_equal(s->hdr.gso_type, NET_GSO_TCPV6);
	assert_int_equal(s->hdr.csum_start, 54);
	assert_int_equal(s->data[18] << 8 | s->data[19], 5020);
	e_free(d);
}

/* The contexts with and without segmentation are two. */
static void test_two_contexts(void **state)
{
	struct e_driver *d = e_new();

	tcp4(d, E_TXBUF, 3054);
	context(d, IP4_CSUM, TCP4_CSUM, 54, 1000, TXD_CMD_TSE | TXD_TUCMD_TCP | 2);
	context(d, 0, 14u | 20u << 8, 0, 0, 0);
	data(d, E_TXBUF, 3054, E_EOP | TXD_CMD_TSE, TXD_POPTS_IXSM | TXD_POPTS_TXSM);
	data(d, E_TXBUF, 100, E_EOP, TXD_POPTS_TXSM);
	e_tx_go(d);
	assert_int_equal(nf_sent(d->nf, 0)->hdr.gso_size, 1000);
	assert_int_equal(nf_sent(d->nf, 1)->hdr.csum_start, 14);
	assert_int_equal(nf_sent(d->nf, 1)->hdr.csum_offset, 6);
	e_free(d);
}

static void test_bad_tso(void **state)
{
	static const struct {
		uint32_t ip, tu;
		uint64_t hdrlen, mss;
		uint32_t cmd;
	} bad[] = {
		{IP4_CSUM, TCP4_CSUM, 54, 0, TXD_TUCMD_TCP},
		{IP4_CSUM, TCP4_CSUM, 0, 1000, TXD_TUCMD_TCP},
		{IP4_CSUM, TCP4_CSUM, 255, 0, TXD_TUCMD_TCP},
		{IP4_CSUM, TCP4_CSUM, 54, 1000, 0},
		{IP4_CSUM, 14u, 54, 1000, TXD_TUCMD_TCP},
		{255, 255, 255, 0xffff, TXD_TUCMD_TCP},
		{0, 0, 0, 0, TXD_TUCMD_TCP},
	};
	struct e_driver *d = e_new();
	unsigned int n = sizeof(bad) / sizeof(bad[0]);

	tcp4(d, E_TXBUF, 3054);
	for (unsigned int i = 0; i < n; i++) {
		context(d, bad[i].ip, bad[i].tu, bad[i].hdrlen, bad[i].mss,
			bad[i].cmd | TXD_CMD_TSE);
		data(d, E_TXBUF, 3054, E_EOP | TXD_CMD_TSE, TXD_POPTS_IXSM | TXD_POPTS_TXSM);
		e_tx_go(d);
		assert_true(e_tx_is_done(d, 2 * i + 1));
	}
	assert_int_equal(nf_n_sent(d->nf), 0);
	assert_int_equal(e_load(d, E1000_TSCTFC), n);
	assert_int_equal(e_load(d, E1000_TSCTC), 0);
	e_free(d);
}

/* ---- VLAN ---- */

static void test_vlan(void **state)
{
	struct e_driver *d = e_new();
	const struct fake_sent *s;

	tcp4(d, E_TXBUF, 300);
	context(d, IP4_CSUM, TCP4_CSUM, 0, 0, 0);
	data(d, E_TXBUF, 300, E_EOP | TXD_CMD_VLE, TXD_POPTS_TXSM);
	e_tx_go(d);
	assert_int_equal(nf_sent(d->nf, 0)->len, 300); /* VME is off */
	e_store(d, E1000_CTRL, CTRL_SLU | CTRL_VME);
	e_store(d, E1000_VET, 0x88a8);
	data(d, E_TXBUF, 300, E_EOP | TXD_CMD_VLE, TXD_POPTS_TXSM);
	legacy(d, E_TXBUF, 42, E_EOP | TXD_CMD_VLE);
	e_tx_go(d);
	s = nf_sent(d->nf, 1);
	assert_int_equal(s->len, 304);
	assert_memory_equal(s->data, d->nf->ram + E_TXBUF, 12);
	assert_memory_equal(s->data + 12, "\x88\xa8\x20\x05\x08\x00", 6);
	assert_memory_equal(s->data + 16, d->nf->ram + E_TXBUF + 12, 288);
	assert_int_equal(s->hdr.csum_start, 38);
	assert_int_equal(s->hdr.csum_offset, 16);
	assert_int_equal(nf_sent(d->nf, 2)->len, 60);
	/* With segmentation */
	tcp4(d, E_TXBUF, 3054);
	context(d, IP4_CSUM, TCP4_CSUM, 54, 1000, TXD_CMD_TSE | TXD_TUCMD_TCP | 2);
	data(d, E_TXBUF, 3054, E_EOP | TXD_CMD_TSE | TXD_CMD_VLE, TXD_POPTS_IXSM);
	e_tx_go(d);
	s = nf_sent(d->nf, 3);
	assert_int_equal(s->len, 3058);
	assert_int_equal(s->hdr.hdr_len, 58);
	assert_int_equal(s->hdr.gso_size, 1000);
	assert_int_equal(s->hdr.csum_start, 38);
	e_free(d);
}

/* ---- the ring ---- */

static void test_wrap_and_bursts(void **state)
{
	struct e_driver *d = e_new();

	e_setup_tx(d, 256);
	e_frame(d, E_TXBUF, 60, to_one);
	for (int round = 0; round < 3; round++) {
		for (int i = 0; i < 250; i++)
			legacy(d, E_TXBUF, 60, E_EOP);
		e_tx_go(d);
		assert_int_equal(nf_n_sent(d->nf), NIC_TX_BURST);
		assert_int_equal(e_load(d, E1000_ICR), ICR_TXDW);
		nf_run(d->nf);
		assert_int_equal(nf_n_sent(d->nf), 250);
		assert_int_equal(e_load(d, E1000_TDH), e_load(d, E1000_TDT));
		assert_true(e_load(d, E1000_ICR) & ICR_TXQE);
		nf_forget_sent(d->nf);
	}
	e_free(d);
}

static void test_back_end_full(void **state)
{
	struct e_driver *d = e_new();

	e_frame(d, E_TXBUF, 60, to_one);
	nf_full(d->nf, true);
	for (int i = 0; i < 5; i++)
		legacy(d, E_TXBUF, 60, E_EOP);
	e_tx_go(d);
	nf_run(d->nf);
	assert_int_equal(nf_n_sent(d->nf), 0);
	assert_false(e_tx_is_done(d, 0));
	assert_int_equal(e_load(d, E1000_TDH), 0);
	nf_full(d->nf, false);
	nf_run(d->nf);
	assert_int_equal(nf_n_sent(d->nf), 5);
	assert_true(e_tx_is_done(d, 0));
	assert_int_equal(e_load(d, E1000_TDH), 5);
	/* What waits is gone with a reset. */
	nf_full(d->nf, true);
	legacy(d, E_TXBUF, 60, E_EOP);
	e_tx_go(d);
	e_reset_hw(d);
	nf_full(d->nf, false);
	nf_run(d->nf);
	assert_int_equal(nf_n_sent(d->nf), 5);
	e_free(d);
}

static void test_enable(void **state)
{
	struct e_driver *d = e_new();

	e_frame(d, E_TXBUF, 60, to_one);
	e_store(d, E1000_TCTL, 0);
	legacy(d, E_TXBUF, 60, E_EOP);
	e_tx_go(d);
	assert_int_equal(nf_n_sent(d->nf), 0);
	e_store(d, E1000_TCTL, TCTL_EN);
	assert_int_equal(nf_n_sent(d->nf), 1);
	nf_config_write(d->nf, 4, 2, 3);
	legacy(d, E_TXBUF, 60, E_EOP);
	e_tx_go(d);
	assert_int_equal(nf_n_sent(d->nf), 1);
	nf_config_write(d->nf, 4, 2, 7);
	nf_run(d->nf);
	assert_int_equal(nf_n_sent(d->nf), 2);
	nf_link(d->nf, false);
	legacy(d, E_TXBUF, 60, E_EOP);
	e_tx_go(d);
	assert_int_equal(nf_n_sent(d->nf), 2);
	assert_true(e_tx_is_done(d, 2));
	e_free(d);
}

static void test_delay(void **state)
{
	struct e_driver *d = e_new();

	e_store(d, E1000_TIDV, 0xffff); /* 67 ms */
	e_store(d, E1000_TADV, 0xffff);
	e_store(d, E1000_IMS, ICR_TXDW);
	e_frame(d, E_TXBUF, 60, to_one);
	legacy(d, E_TXBUF, 60, E_EOP | TXD_CMD_IDE);
	e_tx_go(d);
	assert_true(e_tx_is_done(d, 0));
	assert_false(nf_irq(d->nf));
	nf_run_ms(d->nf, 200);
	assert_true(nf_irq(d->nf));
	e_load(d, E1000_ICR);
	/* One without IDE doesn't wait, and takes along what does. */
	legacy(d, E_TXBUF, 60, E_EOP | TXD_CMD_IDE);
	legacy(d, E_TXBUF, 60, E_EOP);
	e_tx_go(d);
	assert_true(nf_irq(d->nf));
	e_load(d, E1000_ICR);
	nf_run_ms(d->nf, 100);
	assert_false(nf_irq(d->nf));
	e_free(d);
}

static void test_low_threshold(void **state)
{
	struct e_driver *d = e_new();

	e_setup_tx(d, 128);
	e_store(d, E1000_TXDCTL, 2u << 25);
	e_frame(d, E_TXBUF, 60, to_one);
	for (int i = 0; i < 64 + 17; i++)
		legacy(d, E_TXBUF, 60, E_EOP);
	e_tx_go(d);
	assert_false(e_load(d, E1000_ICR) & ICR_TXD_LOW);
	nf_run(d->nf);
	assert_true(e_load(d, E1000_ICR) & ICR_TXD_LOW);
	e_free(d);
}

static void test_statistics(void **state)
{
	struct e_driver *d = e_new();

	e_frame(d, E_TXBUF, 60, to_one);
	e_frame(d, E_TXBUF + 0x1000, 200, to_all);
	e_frame(d, E_TXBUF + 0x2000, 1514, to_some);
	legacy(d, E_TXBUF, 60, E_EOP);
	legacy(d, E_TXBUF + 0x1000, 200, E_EOP);
	legacy(d, E_TXBUF + 0x2000, 1514, E_EOP);
	e_tx_go(d);
	assert_int_equal(e_load(d, E1000_GPTC), 3);
	assert_int_equal(e_load(d, E1000_TPT), 3);
	assert_int_equal(e_load(d, E1000_BPTC), 1);
	assert_int_equal(e_load(d, E1000_MPTC), 1);
	assert_int_equal(e_load(d, E1000_PTC64), 1);
	assert_int_equal(e_load(d, E1000_PTC64 + 8), 1);
	assert_int_equal(e_load(d, E1000_PTC64 + 20), 1);
	assert_int_equal(e_load(d, E1000_TOTL), 64 + 204 + 1518);
	e_free(d);
}

/* ---- loopback ---- */

static void loopback(struct e_driver *d)
{
	uint64_t s;

	nf_forget_sent(d->nf);
	e_load(d, E1000_ICR);
	for (int i = 0; i < 100; i++) {
		uint8_t *f = e_frame(d, E_TXBUF, 1024, to_all);

		f[50] = (uint8_t)i;
		legacy(d, E_TXBUF, 1024, E_EOP);
		e_tx_go(d);
		s = e_rx_take(d);
		assert_int_equal(e_rx_len(s), 1028);
		assert_memory_equal(e_rx_data(d, (d->rx_next + d->rx_n - 1) % d->rx_n), f, 1024);
		e_rx_refill(d);
	}
	assert_true(e_load(d, E1000_ICR) & ICR_RXT0);
	assert_int_equal(nf_n_sent(d->nf), 0);
	/* The wire is cut. */
	nf_rx(d->nf, d->nf->ram + E_TXBUF, 60);
	nf_run(d->nf);
	assert_false(e_rx_take(d));
	/* A checksum is there, too. */
	tcp4(d, E_TXBUF, 300);
	memcpy(d->nf->ram + E_TXBUF, to_all, 6);
	context(d, IP4_CSUM, TCP4_CSUM, 0, 0, 0);
	data(d, E_TXBUF, 300, E_EOP, TXD_POPTS_IXSM | TXD_POPTS_TXSM);
	e_tx_go(d);
	assert_int_equal(e_rx_len(e_rx_take(d)), 304);
	s = (d->rx_next + d->rx_n - 1) % d->rx_n;
	assert_int_equal(sum(e_rx_data(d, (uint32_t)s) + 34, 266,
			     sum(e_rx_data(d, (uint32_t)s) + 26, 8, 6 + 266)),
			 0xffff);
	e_rx_refill(d);
}

static void test_loopback(void **state)
{
	struct e_driver *d = e_new();

	e_store(d, E1000_RCTL, RCTL_EN | RCTL_BAM | RCTL_LBM_MAC << 6);
	loopback(d);
	e_store(d, E1000_RCTL, RCTL_EN | RCTL_BAM);
	e_phy_write(d, MII_BMCR, BMCR_LOOPBACK | BMCR_SPEED1000 | BMCR_FULLDPLX);
	loopback(d);
	/* Without a cable, too */
	nf_link(d->nf, false);
	loopback(d);
	/* No buffers: lost */
	for (int i = 0; i < 100; i++) {
		legacy(d, E_TXBUF, 1024, E_EOP);
		e_tx_go(d);
	}
	assert_int_equal(e_load(d, E1000_RDH), e_load(d, E1000_RDT));
	e_free(d);
}

/* ---- what a driver should not do ---- */

static void test_bad_rings(void **state)
{
	static const struct {
		uint32_t reg, value;
	} bad[] = {
		{E1000_TDLEN, 0},
		{E1000_TDBAL, NF_RAM_SIZE - 64},
		{E1000_TDBAH, 0x7fffffff},
		{E1000_TDBAL, 0xfffffff0},
		{E1000_TDBAL, NF_MMIO_BASE},
		{E1000_TDH, 64},
		{E1000_TDH, 0xffff},
		{E1000_TDLEN, 0xfff80},
	};
	struct e_driver *d = e_new();

	e_frame(d, E_TXBUF, 60, to_one);
	for (unsigned int i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		e_setup_tx(d, 64);
		if (bad[i].value == 0xfff80)
			e_store(d, E1000_TDBAL, NF_RAM_SIZE - 4096);
		e_store(d, bad[i].reg, bad[i].value);
		legacy(d, E_TXBUF, 60, E_EOP);
		e_tx_go(d);
		nf_run(d->nf);
		assert_int_equal(nf_n_sent(d->nf), 0);
	}
	e_setup_tx(d, 64);
	e_store(d, E1000_TDT, 64);
	e_store(d, E1000_TDT, 0xffff);
	assert_int_equal(e_load(d, E1000_TDH), 0);
	legacy(d, E_TXBUF, 60, E_EOP);
	e_tx_go(d);
	assert_int_equal(nf_n_sent(d->nf), 1);
	e_free(d);
}

static void test_bad_frames(void **state)
{
	struct e_driver *d = e_new();

	e_frame(d, E_TXBUF, 2000, to_one);
	legacy(d, NF_RAM_SIZE - 10, 60, E_EOP); /* past the end */
	legacy(d, NF_MMIO_BASE, 60, E_EOP);	/* its own registers */
	legacy(d, UINT64_MAX - 10, 60, E_EOP);	/* wraps */
	legacy(d, E_TXBUF, 0, E_EOP);		/* nothing */
	data(d, E_TXBUF, 0xfffff, E_EOP, 0);	/* too long */
	legacy(d, E_TXBUF, 3, TXD_CMD_EOP);	/* not even an FCS */
	e_tx_go(d);
	for (uint32_t i = 0; i < 5; i++)
		assert_true(e_tx_is_done(d, i));
	assert_int_equal(nf_n_sent(d->nf), 1);
	nf_forget_sent(d->nf);
	legacy(d, E_TXBUF, 60, E_EOP);
	e_tx_go(d);
	assert_int_equal(nf_n_sent(d->nf), 1);
	e_free(d);
}

/* A packet that never ends costs its descriptors, and the ring goes on. */
static void test_endless(void **state)
{
	struct e_driver *d = e_new();

	e_frame(d, E_TXBUF, 2000, to_one);
	for (int i = 0; i < 5000; i++) {
		legacy(d, E_TXBUF + 64 * (i & 7), 32, 0);
		if (i % 60 == 59)
			e_tx_go(d);
	}
	e_tx_go(d);
	assert_int_equal(nf_n_sent(d->nf), 0);
	assert_int_equal(e_load(d, E1000_TDH), e_load(d, E1000_TDT));
	legacy(d, E_TXBUF, 32, E_EOP);
	e_tx_go(d);
	assert_int_equal(nf_n_sent(d->nf), 0);
	legacy(d, E_TXBUF, 60, E_EOP);
	e_tx_go(d);
	assert_int_equal(nf_n_sent(d->nf), 1);
	/* The largest ring, nothing but contexts */
	e_store(d, E1000_TDBAL, 0x200000);
	e_store(d, E1000_TDLEN, 0xfff80);
	for (uint32_t i = 0; i < 65528; i++)
		nf_put(d->nf, 0x200000 + 16 * i + 8, 8, E_CMD(TXD_CMD_DEXT | TXD_CMD_RS));
	e_store(d, E1000_TDH, 0);
	e_store(d, E1000_TDT, 65527);
	nf_run(d->nf);
	assert_int_equal(e_load(d, E1000_TDH), 65527);
	e_free(d);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_legacy),
		cmocka_unit_test(test_padding_and_fcs),
		cmocka_unit_test(test_legacy_csum),
		cmocka_unit_test(test_checksums),
		cmocka_unit_test(test_plain_back_end),
		cmocka_unit_test(test_tso4),
		cmocka_unit_test(test_tso6),
		cmocka_unit_test(test_two_contexts),
		cmocka_unit_test(test_bad_tso),
		cmocka_unit_test(test_vlan),
		cmocka_unit_test(test_wrap_and_bursts),
		cmocka_unit_test(test_back_end_full),
		cmocka_unit_test(test_enable),
		cmocka_unit_test(test_delay),
		cmocka_unit_test(test_low_threshold),
		cmocka_unit_test(test_statistics),
		cmocka_unit_test(test_loopback),
		cmocka_unit_test(test_bad_rings),
		cmocka_unit_test(test_bad_frames),
		cmocka_unit_test(test_endless),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
