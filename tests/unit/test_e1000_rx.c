/*
 * 82540EM: receiving. Buffers of every size, filters, VLAN tags, checksums, statistics, bad rings.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "e1000_fixture.h"

static const uint8_t broadcast[6] = {0xff, 0xff, 0xff, 0xff, 0xff, 0xff};
static const uint8_t group[6] = {0x01, 0x00, 0x5e, 0x01, 0x02, 0x03};

/* ---- receiving ---- */

static void test_receive(void **state)
{
	struct e_driver *d = e_new();
	uint8_t f[1514];
	uint64_t s;

	e_store(d, E1000_IMS, ICR_RXT0);
	for (size_t len = 60; len <= 1514; len += 97) {
		e_incoming(f, E_MAC, len);
		s = e_rx(d, f, len);
		assert_int_equal(e_rx_len(s), len + 4);
		assert_int_equal(e_rx_stat(s), RXD_STAT_DD | RXD_STAT_EOP | RXD_STAT_IXSM);
		assert_memory_equal(e_rx_data(d, d->rx_next - 1), f, len);
		assert_true(nf_irq(d->nf));
		assert_true(e_load(d, E1000_ICR) & ICR_RXT0);
		e_rx_refill(d);
	}
	/* A short one is padded. */
	e_incoming(f, E_MAC, 20);
	s = e_rx(d, f, 20);
	assert_int_equal(e_rx_len(s), 64);
	assert_int_equal(e_rx_data(d, d->rx_next - 1)[20], 0);
	/* Stripped */
	e_store(d, E1000_RCTL, RCTL_EN | RCTL_BAM | RCTL_SECRC);
	e_incoming(f, E_MAC, 100);
	assert_int_equal(e_rx_len(e_rx(d, f, 100)), 100);
	e_free(d);
}

static void test_fcs(void **state)
{
	struct e_driver *d = e_new_with(true, NF_OFFLOADS, "netdev=n0,fcs=on");
	/* 60 zeros but for the destination */
	uint8_t f[60] = {0xff, 0xff, 0xff, 0xff, 0xff, 0xff}, fcs[4];
	struct iovec iov[2] = {{NULL, 0}, {f, 60}};
	struct nic_rx rx = {.len = 60, .iov = iov, .n = 2};

	nic_rx_fcs(&rx, fcs);
	assert_int_equal(e_rx_len(e_rx(d, f, 60)), 64);
	assert_memory_equal(e_rx_data(d, 0) + 60, fcs, 4);
	e_free(d);
}

static void test_ring_wraps(void **state)
{
	struct e_driver *d = e_new();
	uint8_t f[60];

	e_setup_rx(d, 8, RCTL_BAM);
	e_incoming(f, broadcast, 60);
	for (int i = 0; i < 20; i++) {
		f[20] = (uint8_t)i;
		assert_true(e_rx(d, f, 60));
		assert_int_equal(e_rx_data(d, (uint32_t)i % 8)[20], i);
		e_rx_refill(d);
	}
	assert_int_equal(e_load(d, E1000_RDH), 20 % 8);
	e_free(d);
}

static void test_no_buffers(void **state)
{
	struct e_driver *d = e_new();
	uint8_t f[60];

	e_setup_rx(d, 8, RCTL_BAM);
	e_load(d, E1000_ICR);
	e_incoming(f, broadcast, 60);
	for (int i = 0; i < 10; i++)
		nf_rx(d->nf, f, 60);
	nf_run(d->nf);
	for (int i = 0; i < 7; i++)
		assert_true(e_rx_take(d));
	assert_false(e_rx_take(d));
	assert_int_equal(e_load(d, E1000_RDH), e_load(d, E1000_RDT));
	/* Half of 8 were left at some time. */
	assert_int_equal(e_load(d, E1000_ICR), ICR_RXT0 | ICR_RXDMT0);
	e_rx_refill(d);
	nf_run(d->nf);
	for (int i = 0; i < 3; i++)
		assert_true(e_rx_take(d));
	e_free(d);
}

static void test_filter(void **state)
{
	struct e_driver *d = e_new();
	uint8_t f[60];
	/* where the 12 bits of the hash come from, by RCTL.MO; §13.5.1 */
	static const uint8_t shift[4] = {4, 3, 2, 0};

	e_incoming(f, E_OTHER, 60);
	assert_false(e_rx(d, f, 60));
	e_store(d, E1000_RCTL, RCTL_EN | RCTL_UPE);
	assert_int_equal(e_rx_stat(e_rx(d, f, 60)) & RXD_STAT_PIF, RXD_STAT_PIF);
	e_incoming(f, broadcast, 60);
	assert_false(e_rx(d, f, 60));
	e_incoming(f, group, 60);
	assert_false(e_rx(d, f, 60));
	e_store(d, E1000_RCTL, RCTL_EN | RCTL_MPE);
	assert_true(e_rx(d, f, 60));
	for (uint32_t mo = 0; mo < 4; mo++) {
		uint32_t bit = (uint32_t)(group[5] << 8 | group[4]) >> shift[mo] & 0xfff;

		e_store(d, E1000_RCTL, RCTL_EN | mo << 12);
		assert_false(e_rx(d, f, 60));
		e_store(d, E1000_MTA + 4 * (bit >> 5), 1u << (bit & 31));
		assert_true(e_rx_stat(e_rx(d, f, 60)) & RXD_STAT_PIF);
		e_store(d, E1000_MTA + 4 * (bit >> 5), 0);
	}
	/* The last of the exact addresses, then by source */
	e_store(d, E1000_RA + 8 * 15, 0x00545222);
	e_store(d, E1000_RA + 8 * 15 + 4, 0x80000302);
	assert_false(e_rx(d, f, 60));
	e_store(d, E1000_RA + 8 * 15, 0x01005452);
	e_store(d, E1000_RA + 8 * 15 + 4, 0x80000302);
	e_incoming(f, E_OTHER, 60);
	assert_false(e_rx_stat(e_rx(d, f, 60)) & RXD_STAT_PIF);
	e_incoming(f, group, 60);
	assert_false(e_rx(d, f, 60));
	e_store(d, E1000_RA + 8 * 15 + 4, 0x80010302);
	assert_true(e_rx(d, f, 60));
	e_free(d);
}

static size_t tagged(uint8_t *f, const uint8_t *to, uint16_t tci)
{
	e_incoming(f, to, 104);
	f[12] = 0x81;
	f[13] = 0x00;
	f[14] = (uint8_t)(tci >> 8);
	f[15] = (uint8_t)tci;
	return 104;
}

static void test_vlan(void **state)
{
	struct e_driver *d = e_new();
	uint8_t f[104];
	uint64_t s;

	tagged(f, broadcast, 0x6123);
	s = e_rx(d, f, 104);
	assert_int_equal(e_rx_len(s), 108);
	assert_false(e_rx_stat(s) & RXD_STAT_VP);
	e_store(d, E1000_CTRL, CTRL_SLU | CTRL_VME);
	s = e_rx(d, f, 104);
	assert_int_equal(e_rx_len(s), 104);
	assert_true(e_rx_stat(s) & RXD_STAT_VP);
	assert_int_equal(s >> RXD_SPECIAL_SHIFT, 0x6123);
	assert_memory_equal(e_rx_data(d, 1), f, 12);
	assert_memory_equal(e_rx_data(d, 1) + 12, f + 16, 88);
	e_store(d, E1000_RCTL, RCTL_EN | RCTL_BAM | RCTL_VFE);
	assert_false(e_rx(d, f, 104));
	e_store(d, E1000_VFTA + 4 * (0x123 >> 5), 1u << (0x123 & 31));
	assert_true(e_rx(d, f, 104));
	e_store(d, E1000_RCTL, RCTL_EN | RCTL_BAM | RCTL_VFE | RCTL_CFIEN | RCTL_CFI);
	assert_false(e_rx(d, f, 104));
	tagged(f, broadcast, 0x7123);
	assert_true(e_rx(d, f, 104));
	e_free(d);
}

/* Every size of buffer, and frames of several. */
static void test_buffer_sizes(void **state)
{
	static const struct {
		uint32_t rctl, size;
	} sizes[] = {
		{3u << 16, 256},
		{2u << 16, 512},
		{1u << 16, 1024},
		{0, 2048},
		{RCTL_BSEX | 3u << 16, 4096},
		{RCTL_BSEX | 2u << 16, 8192},
		{RCTL_BSEX | 1u << 16, 16384},
	};
	struct e_driver *d = e_new();
	static uint8_t f[9014];

	for (unsigned int i = 0; i < 7; i++) {
		uint32_t left = 9014 + 4, n, at = 0;
		uint64_t s;

		e_setup_rx(d, 64, RCTL_BAM | RCTL_LPE | sizes[i].rctl);
		e_incoming(f, broadcast, 9014);
		for (s = e_rx(d, f, 9014); s; s = e_rx_take(d)) {
			n = left < sizes[i].size ? left : sizes[i].size;
			assert_int_equal(e_rx_len(s), n);
			left -= n;
			assert_int_equal(!!(e_rx_stat(s) & RXD_STAT_EOP), !left);
			if (left > 4)
				assert_memory_equal(e_rx_data(d, d->rx_next - 1), f + at, n);
			at += n;
		}
		assert_int_equal(left, 0);
		assert_int_equal(e_load(d, E1000_RDH), d->rx_next);
	}
	e_free(d);
}

static void test_too_long(void **state)
{
	struct e_driver *d = e_new();
	static uint8_t f[20000];

	e_incoming(f, broadcast, 1519);
	assert_false(e_rx(d, f, 1519));
	assert_int_equal(e_load(d, E1000_ROC), 1);
	assert_true(e_rx(d, f, 1518));
	e_store(d, E1000_RCTL, RCTL_EN | RCTL_BAM | RCTL_SBP);
	assert_true(e_rx(d, f, 1519));
	e_setup_rx(d, 64, RCTL_BAM | RCTL_LPE);
	assert_false(e_rx(d, f, 16381));
	assert_int_equal(e_load(d, E1000_ROC), 1);
	assert_int_equal(e_rx_len(e_rx(d, f, 16380)), 2048);
	/* More than the ring has: lost, and said. */
	e_setup_rx(d, 8, RCTL_BAM | RCTL_LPE | 3u << 16);
	e_load(d, E1000_ICR);
	assert_false(e_rx(d, f, 7 * 256));
	assert_int_equal(e_load(d, E1000_ICR), ICR_RXO);
	assert_int_equal(e_load(d, E1000_MPC), 1);
	assert_true(e_rx(d, f, 7 * 256 - 4));
	e_free(d);
}

/* A frame of several descriptors waits for the last of them; but not for more than can be taken for one: 63 of the
 * smallest buffers are less than the longest frame. */
static void test_waits(void **state)
{
	struct e_driver *d = e_new();
	static uint8_t f[9018];

	d->nf->fake.net.frame_max = sizeof(f);
	e_setup_rx(d, 64, RCTL_BAM | RCTL_LPE);
	e_store(d, E1000_RDT, 4);
	e_incoming(f, broadcast, sizeof(f));
	assert_false(e_rx(d, f, sizeof(f)));
	e_store(d, E1000_RDT, 5);
	nf_run(d->nf);
	for (int i = 0; i < 4; i++)
		assert_int_equal(e_rx_len(e_rx_take(d)), 2048);
	assert_int_equal(e_rx_len(e_rx_take(d)), sizeof(f) + 4 - 4 * 2048);
	assert_int_equal(e_load(d, E1000_MPC), 0);

	d->nf->fake.net.frame_max = NET_FRAME_MAX;
	e_setup_rx(d, 128, RCTL_BAM | RCTL_LPE | 3u << 16);
	e_store(d, E1000_RDT, 100);
	assert_true(e_rx(d, f, 60));
	assert_true(e_rx(d, f, sizeof(f)));
	e_free(d);
}

/* A TCP/IPv4 frame, its IP checksum right; TCP's as it comes. */
static size_t tcp4(uint8_t *f)
{
	static const uint8_t headers[] = {
		0x08, 0x00, 0x45, 0x00, 0x00, 0x30, 0x12, 0x34, 0x00, 0x00, 0x40, 0x06, 0x00, 0x00,
		10,   0,    0,	  1,	10,   0,    0,	  2,	0x04, 0x00, 0x00, 0x50, 0,    0,
		0,    1,    0,	  0,	0,    2,    0x50, 0x10, 0x10, 0x00, 0,	  0,	0,    0};
	uint32_t sum = 0;

	e_incoming(f, E_MAC, 62);
	memcpy(f + 12, headers, sizeof(headers));
	for (unsigned int i = 14; i < 34; i += 2)
		sum += (uint32_t)(f[i] << 8 | f[i + 1]);
	sum = ~((sum & 0xffff) + (sum >> 16));
	f[24] = (uint8_t)(sum >> 8);
	f[25] = (uint8_t)sum;
	return 62;
}

static void test_rx_checksums(void **state)
{
	struct e_driver *d = e_new();
	struct net_hdr valid = {.flags = NET_HDR_DATA_VALID};
	uint8_t f[62];
	uint64_t s;

	tcp4(f);
	assert_true(e_rx_stat(e_rx(d, f, 62)) & RXD_STAT_IXSM);
	e_store(d, E1000_RXCSUM, RXCSUM_IPOFLD | RXCSUM_TUOFLD);
	assert_int_equal(d->nf->fake.offloads, NET_OFFLOAD_CSUM);
	/* Nobody has checked TCP's: not said to be. */
	s = e_rx(d, f, 62);
	assert_int_equal(e_rx_stat(s), RXD_STAT_DD | RXD_STAT_EOP | RXD_STAT_IPCS);
	nf_rx_hdr(d->nf, &valid, f, 62);
	nf_run(d->nf);
	s = e_rx_take(d);
	assert_int_equal(e_rx_stat(s), RXD_STAT_DD | RXD_STAT_EOP | RXD_STAT_IPCS | RXD_STAT_TCPCS);
	assert_int_equal(s >> RXD_ERRORS_SHIFT & 0xff, 0);
	f[24] ^= 1;
	s = e_rx(d, f, 62);
	assert_int_equal(s >> RXD_ERRORS_SHIFT & 0xff, RXD_ERR_IPE);
	/* A partial checksum is completed. */
	tcp4(f);
	memcpy(f + 50, "\x12\x34", 2);
	nf_rx_hdr(
		d->nf,
		&(struct net_hdr){.flags = NET_HDR_NEEDS_CSUM, .csum_start = 34, .csum_offset = 16},
		f, 62);
	nf_run(d->nf);
	assert_true(e_rx_stat(e_rx_take(d)) & RXD_STAT_TCPCS);
	assert_memory_not_equal(e_rx_data(d, d->rx_next - 1) + 50, f + 50, 2);
	/* A fragment has none. */
	f[20] = 0x20;
	nf_rx_hdr(d->nf, &valid, f, 62);
	nf_run(d->nf);
	assert_false(e_rx_stat(e_rx_take(d)) & RXD_STAT_TCPCS);
	/* The packet checksum, from byte 60 on: two bytes and the FCS's zeros */
	e_store(d, E1000_RXCSUM, 60);
	s = e_rx(d, f, 62);
	assert_int_equal(s >> RXD_CSUM_SHIFT & 0xffff, f[60] | f[61] << 8);
	e_free(d);
}

/* Descriptors with no address, or a wrong one, take no data. */
static void test_null_descriptors(void **state)
{
	struct e_driver *d = e_new();
	uint8_t f[600];
	uint64_t s;

	e_setup_rx(d, 16, RCTL_BAM | 3u << 16);
	nf_put(d->nf, E_RX, 8, 0);
	nf_put(d->nf, E_RX + 16 * 2, 8, NF_RAM_SIZE - 100);
	nf_put(d->nf, E_RX + 16 * 3, 8, NF_MMIO_BASE); /* its own registers */
	e_incoming(f, broadcast, 600);
	s = e_rx(d, f, 600);
	assert_int_equal(s, (uint64_t)RXD_STAT_DD << RXD_STATUS_SHIFT);
	assert_int_equal(e_rx_len(e_rx_take(d)), 256);
	assert_int_equal(e_rx_len(e_rx_take(d)), 0);
	assert_int_equal(e_rx_len(e_rx_take(d)), 0);
	assert_int_equal(e_rx_len(e_rx_take(d)), 256);
	s = e_rx_take(d);
	assert_int_equal(e_rx_len(s), 600 + 4 - 512);
	assert_true(e_rx_stat(s) & RXD_STAT_EOP);
	assert_memory_equal(d->nf->ram + E_RXBUF + E_RXSTEP, f, 256);
	assert_memory_equal(d->nf->ram + E_RXBUF + 4 * E_RXSTEP, f + 256, 256);
	/* Nothing but such ones */
	for (uint32_t i = 0; i < 16; i++)
		nf_put(d->nf, E_RX + 16 * i, 8, 0);
	e_rx_refill(d);
	nf_rx(d->nf, f, 600);
	nf_run(d->nf);
	assert_int_equal(e_load(d, E1000_RDH), e_load(d, E1000_RDT));
	e_free(d);
}

static void test_bad_rings(void **state)
{
	static const struct {
		uint32_t reg, value;
	} bad[] = {
		{E1000_RDLEN, 0},	   {E1000_RDBAL, NF_RAM_SIZE - 64},
		{E1000_RDBAH, 0x80000000}, {E1000_RDBAL, 0xfffffff0},
		{E1000_RDH, 64},	   {E1000_RDH, 0xffff},
		{E1000_RDT, 64},	   {E1000_RDT, 0xffff},
		{E1000_RCTL, RCTL_BAM},
	};
	struct e_driver *d = e_new();
	uint8_t f[60];

	e_incoming(f, broadcast, 60);
	for (unsigned int i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		e_setup_rx(d, 64, RCTL_BAM);
		e_store(d, bad[i].reg, bad[i].value);
		assert_false(e_rx(d, f, 60));
		assert_int_equal(e_rx_status(d, 0), 0);
		e_setup_rx(d, 64, RCTL_BAM); /* what waited comes now */
		nf_run(d->nf);
		assert_true(e_rx_take(d));
	}
	/* Bus mastering off */
	nf_config_write(d->nf, 4, 2, 3);
	assert_false(e_rx(d, f, 60));
	nf_config_write(d->nf, 4, 2, 7);
	nf_run(d->nf);
	assert_true(e_rx_take(d));
	/* No cable */
	nf_link(d->nf, false);
	e_store(d, E1000_RCTL, RCTL_EN | RCTL_BAM);
	assert_false(e_rx(d, f, 60));
	e_free(d);
}

static void test_rx_statistics(void **state)
{
	struct e_driver *d = e_new();
	static uint8_t f[1514];
	uint32_t low;

	assert_true(e_rx(d, f, e_incoming(f, E_MAC, 60)));
	assert_true(e_rx(d, f, e_incoming(f, broadcast, 61)));
	assert_false(e_rx(d, f, e_incoming(f, group, 200)));
	e_store(d, E1000_RCTL, RCTL_EN | RCTL_BAM | RCTL_MPE);
	assert_true(e_rx(d, f, e_incoming(f, group, 1514)));
	assert_int_equal(e_load(d, E1000_TPR), 4);
	assert_int_equal(e_load(d, E1000_TPR), 0);
	assert_int_equal(e_load(d, E1000_GPRC), 3);
	assert_int_equal(e_load(d, E1000_BPRC), 1);
	assert_int_equal(e_load(d, E1000_MPRC), 1);
	assert_int_equal(e_load(d, E1000_PRC64), 1);
	assert_int_equal(e_load(d, E1000_PRC64 + 4), 1);
	assert_int_equal(e_load(d, E1000_PRC64 + 20), 1);
	assert_int_equal(e_load(d, E1000_TORL), 64 + 65 + 204 + 1518);
	assert_int_equal(e_load(d, E1000_TORL), 64 + 65 + 204 + 1518);
	assert_int_equal(e_load(d, E1000_TORL + 4), 0);
	assert_int_equal(e_load(d, E1000_TORL), 0);
	/* What comes between the two halves isn't lost. */
	low = e_load(d, E1000_GORCL);
	assert_int_equal(low, 64 + 65 + 1518);
	assert_true(e_rx(d, f, e_incoming(f, broadcast, 100)));
	assert_int_equal(e_load(d, E1000_GORCL + 4), 0);
	assert_int_equal(e_load(d, E1000_GORCL), 104);
	e_free(d);
}

/* MAC control: PAUSE is counted and may be discarded, others may pass whoever they are for. */
static void test_mac_control(void **state)
{
	static const uint8_t pause[6] = {0x01, 0x80, 0xc2, 0, 0, 1};
	struct e_driver *d = e_new();
	uint8_t f[60];

	e_store(d, E1000_FCT, 0x8808);
	e_incoming(f, pause, 60);
	memcpy(f + 12, "\x88\x08\x00\x01\x00\x10", 6);
	e_store(d, E1000_RCTL, RCTL_EN | RCTL_MPE);
	assert_true(e_rx(d, f, 60));
	assert_int_equal(e_load(d, E1000_FCRUC), 1);
	e_store(d, E1000_CTRL, CTRL_SLU | CTRL_RFCE);
	e_store(d, E1000_RCTL, RCTL_EN | RCTL_MPE | RCTL_DPF);
	assert_false(e_rx(d, f, 60));
	assert_int_equal(e_load(d, E1000_XOFFRXC), 1);
	f[15] = 2;
	e_store(d, E1000_RCTL, RCTL_EN);
	assert_false(e_rx(d, f, 60));
	e_store(d, E1000_RCTL, RCTL_EN | RCTL_PMCF);
	assert_true(e_rx(d, f, 60));
	e_free(d);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_receive),
		cmocka_unit_test(test_fcs),
		cmocka_unit_test(test_ring_wraps),
		cmocka_unit_test(test_no_buffers),
		cmocka_unit_test(test_filter),
		cmocka_unit_test(test_vlan),
		cmocka_unit_test(test_buffer_sizes),
		cmocka_unit_test(test_too_long),
		cmocka_unit_test(test_waits),
		cmocka_unit_test(test_rx_checksums),
		cmocka_unit_test(test_null_descriptors),
		cmocka_unit_test(test_bad_rings),
		cmocka_unit_test(test_rx_statistics),
		cmocka_unit_test(test_mac_control),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
