/*
 * A driver for dev/pcnet.c in tests: registers, initialization block, rings, in each software
 * style. Bring-up is in the order in which Linux's pcnet32 does it.
 */
#ifndef VIREO_TESTS_PCNET_DRIVER_H
#define VIREO_TESTS_PCNET_DRIVER_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "dev/eth_filter.h"
#include "dev/pcnet.h"
#include "nic_fixture.h"

#define INIT_BLOCK 0x1000
#define RX_RING	   0x2000
#define TX_RING	   0x6000
#define RX_BUF(i)  (0x100000u + (i)*0x800u)
#define TX_BUF(i)  (0x800000u + (i)*0x1000u)
#define RX_SIZE	   1544

#define OWN 0x8000
#define ERR 0x4000
#define STP 0x0200
#define ENP 0x0100

static const uint8_t mac[6] = {0x52, 0x54, 0x00, 0xaa, 0xbb, 0xcc};
static const uint8_t multicast[6] = {0x01, 0x00, 0x5e, 0x00, 0x00, 0xfb};

/* A driver. */
struct drv {
	struct nic_fixture *nf;
	unsigned int style;
	unsigned int rx_len, tx_len; /* descriptors */
	unsigned int rx, tx;	     /* next */
};

static inline uint16_t csr(struct drv *d, unsigned int n)
{
	nf_out(d->nf, 0x12, 2, n);
	return (uint16_t)nf_in(d->nf, 0x10, 2);
}

static inline void set_csr(struct drv *d, unsigned int n, uint16_t v)
{
	nf_out(d->nf, 0x12, 2, n);
	nf_out(d->nf, 0x10, 2, v);
}

static inline uint16_t bcr(struct drv *d, unsigned int n)
{
	nf_out(d->nf, 0x12, 2, n);
	return (uint16_t)nf_in(d->nf, 0x16, 2);
}

static inline void set_bcr(struct drv *d, unsigned int n, uint16_t v)
{
	nf_out(d->nf, 0x12, 2, n);
	nf_out(d->nf, 0x16, 2, v);
}

static inline unsigned int desc_size(const struct drv *d)
{
	return d->style ? 16 : 8;
}

static inline uint64_t rx_desc(const struct drv *d, unsigned int i)
{
	return RX_RING + (uint64_t)i * desc_size(d);
}

static inline uint64_t tx_desc(const struct drv *d, unsigned int i)
{
	return TX_RING + (uint64_t)i * desc_size(d);
}

/* Flags: bits 31-16 of the second word. */
static inline void put_desc(struct drv *d, uint64_t gpa, uint32_t addr, unsigned int len,
			    uint16_t flags)
{
	struct nic_fixture *nf = d->nf;
	uint16_t bcnt = (uint16_t)-len | 0xf000;

	if (d->style == 0) {
		nf_put(nf, gpa, 2, addr & 0xffff);
		nf_put(nf, gpa + 4, 2, bcnt);
		nf_put(nf, gpa + 6, 2, 0);
		nf_put(nf, gpa + 2, 2, (flags & 0xff00) | (addr >> 16 & 0xff));
		return;
	}
	nf_put(nf, gpa + (d->style == 3 ? 8 : 0), 4, addr);
	nf_put(nf, gpa + (d->style == 3 ? 0 : 8), 4, 0);
	nf_put(nf, gpa + 12, 4, 0x75736572); /* user space */
	nf_put(nf, gpa + 4, 4, (uint32_t)flags << 16 | bcnt);
}

static inline uint16_t desc_flags(const struct drv *d, uint64_t gpa)
{
	if (d->style == 0)
		return nf_get(d->nf, gpa + 2, 2) & 0xff00;
	return (uint16_t)nf_get(d->nf, gpa + 6, 2);
}

/* MCNT, or the transmitter's errors as bits 31-16 of TMD2. */
static inline uint32_t desc_word(const struct drv *d, uint64_t gpa, bool tx)
{
	if (d->style == 0)
		return (uint32_t)nf_get(d->nf, gpa + 6, 2) << (tx ? 16 : 0);
	return (uint32_t)nf_get(d->nf, gpa + (d->style == 3 ? 0 : 8), 4);
}

static inline void rx_give(struct drv *d, unsigned int i)
{
	put_desc(d, rx_desc(d, i), RX_BUF(i), RX_SIZE, OWN);
}

static inline unsigned int log2_of(unsigned int n)
{
	return n > 1 ? 1 + log2_of(n / 2) : 0;
}

static inline void put_init_block(struct drv *d, uint16_t mode, uint64_t ladrf)
{
	struct nic_fixture *nf = d->nf;
	unsigned int rlen = log2_of(d->rx_len), tlen = log2_of(d->tx_len);

	nf_put(nf, INIT_BLOCK, 2, mode);
	if (d->style) {
		nf_put(nf, INIT_BLOCK + 2, 2, rlen << 4 | tlen << 12);
		memcpy(nf->ram + INIT_BLOCK + 4, mac, 6);
		nf_put(nf, INIT_BLOCK + 12, 8, ladrf);
		nf_put(nf, INIT_BLOCK + 20, 4, RX_RING);
		nf_put(nf, INIT_BLOCK + 24, 4, TX_RING);
	} else {
		memcpy(nf->ram + INIT_BLOCK + 2, mac, 6);
		nf_put(nf, INIT_BLOCK + 8, 8, ladrf);
		nf_put(nf, INIT_BLOCK + 16, 4, RX_RING | rlen << 29);
		nf_put(nf, INIT_BLOCK + 20, 4, TX_RING | tlen << 29);
	}
}

static inline void clear_rings(struct drv *d)
{
	for (unsigned int i = 0; i < d->rx_len; i++)
		rx_give(d, i);
	for (unsigned int i = 0; i < d->tx_len; i++)
		put_desc(d, tx_desc(d, i), 0, 0, 0);
	d->rx = d->tx = 0;
}

/* The card as its driver has it up: interrupts on, running. */
static inline void up(struct drv *d, struct nic_fixture *nf, unsigned int style,
		      unsigned int rx_len, unsigned int tx_len, uint16_t mode, uint64_t ladrf)
{
	*d = (struct drv){.nf = nf, .style = style, .rx_len = rx_len, .tx_len = tx_len};
	nf_in(nf, 0x14, 2);
	assert_int_equal(csr(d, 0), CSR0_STOP);
	set_bcr(d, 20, (uint16_t)style);
	set_bcr(d, 2, bcr(d, 2) | 2);
	clear_rings(d);
	put_init_block(d, mode, ladrf);
	set_csr(d, 1, INIT_BLOCK);
	set_csr(d, 2, 0);
	set_csr(d, 4, 0x0915);
	set_csr(d, 0, CSR0_INIT);
	assert_true(csr(d, 0) & CSR0_IDON);
	set_csr(d, 0, CSR0_STRT | CSR0_IENA);
	set_csr(d, 0, CSR0_IDON | CSR0_IENA);
}

static inline struct nic_fixture *start(struct drv *d)
{
	struct nic_fixture *nf = nf_new("pcnet", "mac=52:54:00:aa:bb:cc,netdev=n0");

	up(d, nf, 2, 32, 16, 0, 0);
	return nf;
}

static inline void fill(uint8_t *p, unsigned int len, const uint8_t to[6], uint8_t seed)
{
	for (unsigned int i = 0; i < len; i++)
		p[i] = (uint8_t)(i * 7 + seed);
	memcpy(p, to, 6);
	p[12] = 0x08;
	p[13] = 0;
}

/* A descriptor for len bytes of the frame in TX_BUF(i). */
static inline void tx_put(struct drv *d, unsigned int len, uint16_t flags)
{
	uint64_t gpa = tx_desc(d, d->tx);

	put_desc(d, gpa, TX_BUF(d->tx), len, flags);
	d->tx = (d->tx + 1) % d->tx_len;
}

static inline void tdmd(struct drv *d)
{
	set_csr(d, 0, CSR0_TDMD | CSR0_IENA);
}

/* One frame in one buffer, as pcnet32 sends it. */
static inline void tx_frame(struct drv *d, unsigned int len, uint8_t seed)
{
	fill(d->nf->ram + TX_BUF(d->tx), len, (const uint8_t *)"\2\0\0\0\0\1", seed);
	tx_put(d, len, OWN | STP | ENP);
	tdmd(d);
}

static inline void assert_sent(struct nic_fixture *nf, unsigned int i, const uint8_t *data,
			       size_t len)
{
	assert_true(i < nf_n_sent(nf));
	assert_int_equal(nf_sent(nf, i)->len, len);
	assert_memory_equal(nf_sent(nf, i)->data, data, len);
}

/* The next receive descriptor holds that frame and its FCS. It goes back to the card. */
static inline void assert_received(struct drv *d, const uint8_t *frame, size_t len)
{
	uint64_t gpa = rx_desc(d, d->rx);
	uint8_t fcs[4];

	assert_int_equal(desc_flags(d, gpa) & 0xff00, STP | ENP);
	assert_int_equal(desc_word(d, gpa, false) & 0xffff, len + 4);
	assert_memory_equal(d->nf->ram + RX_BUF(d->rx), frame, len);
	eth_fcs(eth_crc_le(frame, len), fcs);
	assert_memory_equal(d->nf->ram + RX_BUF(d->rx) + len, fcs, 4);
	rx_give(d, d->rx);
	d->rx = (d->rx + 1) % d->rx_len;
}

static inline uint16_t ack(struct drv *d)
{
	uint16_t v = csr(d, 0);

	set_csr(d, 0, v & 0xff00);
	set_csr(d, 0, CSR0_IENA);
	return v;
}

/* The I/O thread, until the card doesn't poll its transmit ring any more. */
static inline void run_tx_polls(struct drv *d)
{
	const struct pcnet *p = (const struct pcnet *)d->nf->dev;

	for (unsigned int ms = 0; p->tx_poll.deadline_ns && ms < 10000; ms++)
		nf_run_ms(d->nf, 1);
	assert_int_equal(p->tx_poll.deadline_ns, 0);
}

/* Until it has sent n frames, or doesn't poll. */
static inline void run_until_sent(struct drv *d, unsigned int n)
{
	for (unsigned int ms = 0; nf_n_sent(d->nf) < n && ms < 10000; ms++)
		nf_run_ms(d->nf, 1);
	assert_int_equal(nf_n_sent(d->nf), n);
}

/* Until the card gives its driver the next descriptor. */
static inline void run_until_received(struct drv *d)
{
	for (unsigned int ms = 0; desc_flags(d, rx_desc(d, d->rx)) & OWN && ms < 10000; ms++)
		nf_run_ms(d->nf, 1);
	assert_false(desc_flags(d, rx_desc(d, d->rx)) & OWN);
}

/* Until it misses a frame. */
static inline void run_until_missed(struct drv *d)
{
	for (unsigned int ms = 0; !(csr(d, 0) & CSR0_MISS) && ms < 10000; ms++)
		nf_run_ms(d->nf, 1);
	assert_true(csr(d, 0) & CSR0_MISS);
}

#endif
