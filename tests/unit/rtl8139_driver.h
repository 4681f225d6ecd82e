/*
 * What the tests of the RTL8139 have in common: frames, and a driver that brings the card up as Linux's 8139too
 * (classic mode) and 8139cp (C+) do.
 */
#ifndef VIREO_TESTS_RTL8139_DRIVER_H
#define VIREO_TESTS_RTL8139_DRIVER_H

#include <arpa/inet.h>

#include "nic_fixture.h"

#include "base/csum.h"
#include "dev/eth_filter.h"
#include "dev/rtl8139.h"

#define MAC	"52:54:00:aa:bb:cc"
#define OPTIONS "mac=" MAC ",netdev=n0"
#define CLASSIC OPTIONS ",cplus=off"

enum {
	RING = 0x100000,  /* classic: receive ring */
	BUFFER = 0x80000, /* transmit buffers */
	TXD = 0x20000,
	RXD = 0x21000,
	RXB = 0x200000,
	STATS = 0x30000,
	OWN = (int)0x80000000,
	EOR = 0x40000000,
	FS = 0x20000000,
	LS = 0x10000000,
	TOO_MASK = 0xc07f, /* what 8139too enables */
};

static const uint8_t mac[6] = {0x52, 0x54, 0x00, 0xaa, 0xbb, 0xcc};

/* ---- frames ---- */

static inline void make_frame(uint8_t *frame, size_t len, const uint8_t to[6])
{
	for (size_t i = 0; i < len; i++)
		frame[i] = (uint8_t)(i * 7 + len);
	memcpy(frame, to, 6);
	frame[12] = 0x88;
	frame[13] = 0xb5;
}

/* IPv4 in Ethernet, with `payload` bytes of TCP's or UDP's; wrong: which checksums are. */
enum {
	WRONG_IP = 1,
	WRONG_L4 = 2,
};

static inline size_t make_packet(uint8_t *frame, uint8_t protocol, size_t payload, int wrong)
{
	size_t header = protocol == 6 ? 20 : 8, len = 34 + header + payload;
	uint8_t *ip = frame + 14, *l4 = frame + 34;
	uint16_t at = protocol == 6 ? 16 : 6, sum;

	make_frame(frame, len, mac);
	frame[12] = 8;
	frame[13] = 0;
	memset(ip, 0, 20 + header);
	ip[0] = 0x45;
	ip[2] = (uint8_t)((len - 14) >> 8);
	ip[3] = (uint8_t)(len - 14);
	ip[8] = 64;
	ip[9] = protocol;
	memcpy(ip + 12, (uint8_t[]){10, 0, 0, 1, 10, 0, 0, 2}, 8);
	l4[1] = 7;
	l4[3] = 9;
	if (protocol == 6) {
		l4[12] = 0x50;
	} else {
		l4[4] = (uint8_t)((len - 34) >> 8);
		l4[5] = (uint8_t)(len - 34);
	}
	sum = csum_finish(csum_add(0, ip, 20) + (wrong & WRONG_IP ? 1 : 0));
	memcpy(ip + 10, &sum, 2);
	sum = csum_finish(csum_add(0, l4, len - 34) + csum_add(0, ip + 12, 8) +
			  (uint64_t)(protocol << 8) + htons((uint16_t)(len - 34)) +
			  (wrong & WRONG_L4 ? 1 : 0));
	memcpy(l4 + at, &sum, 2);
	return len;
}

static const uint8_t broadcast[6] = {0xff, 0xff, 0xff, 0xff, 0xff, 0xff};
static const uint8_t group[6] = {0x01, 0x00, 0x5e, 0x00, 0x00, 0x01};
static const uint8_t other[6] = {0x52, 0x54, 0x00, 0x01, 0x02, 0x03};

/* ---- the driver ---- */

static inline uint16_t read_eeprom(struct nic_fixture *nf, unsigned int location, int address_bits)
{
	unsigned int command = location | 6u << address_bits, value = 0;
	int i;

	nf_store(nf, REG_9346CR, 1, 0x80);
	nf_store(nf, REG_9346CR, 1, 0x88);
	for (i = 4 + address_bits; i >= 0; i--) {
		unsigned int bit = command >> i & 1 ? 2 : 0;

		nf_store(nf, REG_9346CR, 1, 0x88 | bit);
		nf_store(nf, REG_9346CR, 1, 0x88 | bit | 4);
	}
	nf_store(nf, REG_9346CR, 1, 0x88);
	for (i = 16; i > 0; i--) {
		nf_store(nf, REG_9346CR, 1, 0x8c);
		value = value << 1 | (nf_load(nf, REG_9346CR, 1) & 1);
		nf_store(nf, REG_9346CR, 1, 0x88);
	}
	nf_store(nf, REG_9346CR, 1, 0);
	return (uint16_t)value;
}

static inline void reset_chip(struct nic_fixture *nf)
{
	nf_store(nf, REG_CR, 1, CR_RST);
	assert_int_equal(nf_load(nf, REG_CR, 1), CR_BUFE);
}

static inline void set_mac(struct nic_fixture *nf)
{
	nf_store(nf, REG_9346CR, 1, 0xc0);
	nf_store(nf, REG_IDR, 4, 0xaa005452);
	nf_store(nf, REG_IDR + 4, 4, 0xccbb);
}

/* rtl8139_hw_start() */
static inline void start_classic_with(struct nic_fixture *nf, uint32_t rcr)
{
	reset_chip(nf);
	set_mac(nf);
	nf_store(nf, REG_RBSTART, 4, RING);
	nf_store(nf, REG_CR, 1, CR_RE | CR_TE);
	nf_store(nf, REG_RCR, 4, rcr | RCR_AB | RCR_APM);
	nf_store(nf, REG_TCR, 4, 0x03000680);
	nf_store(nf, REG_CONFIG3, 1, nf_load(nf, REG_CONFIG3, 1) & ~0x20u);
	nf_store(nf, REG_9346CR, 1, 0);
	for (unsigned int i = 0; i < 4; i++)
		nf_store(nf, REG_TSAD + 4 * i, 4, BUFFER + 0x1000 * i);
	nf_store(nf, REG_MPC, 4, 0);
	nf_store(nf, REG_MAR, 4, 0);
	nf_store(nf, REG_MAR + 4, 4, 0);
	nf_store(nf, REG_MULINT, 2, nf_load(nf, REG_MULINT, 2) & 0xf000);
	assert_int_equal(nf_load(nf, REG_CR, 1), CR_RE | CR_TE | CR_BUFE);
	nf_store(nf, REG_IMR, 2, TOO_MASK);
}

#define RCR_TOO (2 << RCR_RBLEN_SHIFT | RCR_WRAP | 7 << 13 | 7 << 8)

static inline struct nic_fixture *start_classic(void)
{
	struct nic_fixture *nf = nf_new("rtl8139", CLASSIC);

	start_classic_with(nf, RCR_TOO);
	return nf;
}

static inline void put_rx(struct nic_fixture *nf, unsigned int i, uint32_t flags, uint32_t size)
{
	nf_put(nf, RXD + 16 * i + 4, 4, 0);
	nf_put(nf, RXD + 16 * i + 8, 8, RXB + 0x2000 * i);
	nf_put(nf, RXD + 16 * i, 4, (uint32_t)OWN | flags | size);
}

static inline void put_tx(struct nic_fixture *nf, unsigned int i, uint32_t flags, uint64_t buffer,
			  uint32_t len)
{
	nf_put(nf, TXD + 16 * i + 8, 8, buffer);
	nf_put(nf, TXD + 16 * i, 4, (uint32_t)OWN | flags | len);
}

/* cp_init_hw(); 64 receive descriptors of 1536 bytes. */
static inline struct nic_fixture *start_cplus_with(uint16_t cpcr, uint32_t buffer)
{
	struct nic_fixture *nf = nf_new("rtl8139", OPTIONS);
	unsigned int i;

	for (i = 0; i < 64; i++)
		put_rx(nf, i, i == 63 ? EOR : 0, buffer);
	reset_chip(nf);
	set_mac(nf);
	nf_store(nf, REG_CPCR, 2, cpcr | CPCR_CPRX | CPCR_CPTX);
	nf_store(nf, REG_THPDS, 4, 0);
	nf_store(nf, REG_THPDS + 4, 4, 0);
	nf_store(nf, REG_RDSAR, 4, RXD);
	nf_store(nf, REG_RDSAR + 4, 4, 0);
	nf_store(nf, REG_TNPDS, 4, TXD);
	nf_store(nf, REG_TNPDS + 4, 4, 0);
	nf_store(nf, REG_CR, 1, CR_RE | CR_TE);
	nf_store(nf, REG_ETTHR, 1, 6);
	nf_store(nf, REG_RCR, 4, 0xa400 | RCR_AB | RCR_APM);
	nf_store(nf, REG_MAR, 4, 0);
	nf_store(nf, REG_MAR + 4, 4, 0);
	nf_store(nf, REG_TCR, 4, 0x03000600);
	nf_store(nf, REG_CONFIG1, 1, nf_load(nf, REG_CONFIG1, 1) | 0x21);
	nf_store(nf, REG_CONFIG3, 1, 0x40);
	nf_store(nf, REG_CONFIG5, 1, nf_load(nf, REG_CONFIG5, 1) & 1);
	nf_store(nf, REG_MULINT, 2, 0);
	nf_store(nf, REG_9346CR, 1, 0);
	nf_store(nf, REG_IMR, 2, 0x80ff);
	return nf;
}

static inline struct nic_fixture *start_cplus(uint16_t cpcr)
{
	return start_cplus_with(cpcr, 1536);
}

static inline uint16_t take_isr(struct nic_fixture *nf)
{
	uint16_t isr = (uint16_t)nf_load(nf, REG_ISR, 2);

	nf_store(nf, REG_ISR, 2, isr);
	assert_int_equal(nf_load(nf, REG_ISR, 2), 0);
	assert_false(nf_irq(nf));
	return isr;
}

static inline void send_classic(struct nic_fixture *nf, unsigned int i, size_t len)
{
	make_frame(nf->ram + BUFFER + 0x1000 * i, len, broadcast);
	nf_store(nf, REG_TSD + 4 * i, 4, 0x80000 | len);
	nf_run(nf);
}

#endif
