/*
 * The driver's part of the tests of the 82540EM: rings in guest memory, set up in the order of
 * Linux's driver.
 */
#ifndef VIREO_TESTS_E1000_FIXTURE_H
#define VIREO_TESTS_E1000_FIXTURE_H

#include <linux/mii.h>

#include "dev/e1000_regs.h"
#include "nic_fixture.h"

#define E_MAC	 "\x52\x54\x00\xaa\xbb\xcc"
#define E_TX	 0x10000u  /* transmit ring */
#define E_RX	 0x20000u  /* receive ring */
#define E_TXBUF	 0x100000u /* transmit buffers, 128 KiB each: what a test wants */
#define E_RXBUF	 0x400000u /* receive buffers, 16 KiB each */
#define E_RXSTEP 0x4000u

#define E_CMD(c) ((uint64_t)(c) << 24)
#define E_EOP	 (TXD_CMD_EOP | TXD_CMD_IFCS | TXD_CMD_RS)

struct e_driver {
	struct nic_fixture *nf;
	uint32_t tx_n, rx_n, tx_tail, tx_clean, rx_next;
};

static inline uint32_t e_load(struct e_driver *d, uint32_t offset)
{
	return (uint32_t)nf_load(d->nf, offset, 4);
}

static inline void e_store(struct e_driver *d, uint32_t offset, uint32_t value)
{
	nf_store(d->nf, offset, 4, value);
}

static inline uint16_t e_phy_read(struct e_driver *d, unsigned int reg)
{
	e_store(d, E1000_MDIC, reg << 16 | 1u << 21 | (uint32_t)MDIC_OP_READ << 26);
	return (uint16_t)e_load(d, E1000_MDIC);
}

static inline void e_phy_write(struct e_driver *d, unsigned int reg, uint16_t value)
{
	e_store(d, E1000_MDIC, value | reg << 16 | 1u << 21 | (uint32_t)MDIC_OP_WRITE << 26);
}

/* e1000_reset_hw(): through the I/O BAR. */
static inline void e_reset_hw(struct e_driver *d)
{
	e_store(d, E1000_IMC, 0xffffffff);
	e_store(d, E1000_RCTL, 0);
	e_store(d, E1000_TCTL, TCTL_PSP);
	e_load(d, E1000_STATUS);
	nf_out(d->nf, 0, 4, E1000_CTRL);
	nf_out(d->nf, 4, 4, e_load(d, E1000_CTRL) | CTRL_RST);
	e_store(d, E1000_IMC, 0xffffffff);
	e_load(d, E1000_ICR);
}

static inline void e_setup_tx(struct e_driver *d, uint32_t n)
{
	d->tx_n = n;
	d->tx_tail = d->tx_clean = 0;
	memset(d->nf->ram + E_TX, 0, n * 16);
	e_store(d, E1000_TDLEN, n * 16);
	e_store(d, E1000_TDBAH, 0);
	e_store(d, E1000_TDBAL, E_TX);
	e_store(d, E1000_TDT, 0);
	e_store(d, E1000_TDH, 0);
	e_store(d, E1000_TCTL, TCTL_EN | TCTL_PSP);
}

/* One descriptor is always the driver's: RDT = n - 1. */
static inline void e_setup_rx(struct e_driver *d, uint32_t n, uint32_t rctl)
{
	d->rx_n = n;
	d->rx_next = 0;
	memset(d->nf->ram + E_RX, 0, n * 16);
	for (uint32_t i = 0; i < n; i++)
		nf_put(d->nf, E_RX + 16 * i, 8, E_RXBUF + i * E_RXSTEP);
	e_store(d, E1000_RDLEN, n * 16);
	e_store(d, E1000_RDBAH, 0);
	e_store(d, E1000_RDBAL, E_RX);
	e_store(d, E1000_RDT, 0);
	e_store(d, E1000_RDH, 0);
	e_store(d, E1000_RCTL, rctl | RCTL_EN);
	e_store(d, E1000_RDT, n - 1);
}

static inline struct e_driver *e_new_with(bool has_hdr, unsigned int offloads, const char *options)
{
	struct e_driver *d = calloc(1, sizeof(*d));

	d->nf = nf_new_with("e1000", options, has_hdr, offloads);
	e_reset_hw(d);
	e_store(d, E1000_CTRL, e_load(d, E1000_CTRL) | CTRL_SLU);
	e_phy_write(d, MII_BMCR, BMCR_ANENABLE | BMCR_ANRESTART);
	e_store(d, E1000_VET, 0x8100);
	e_setup_tx(d, 64);
	e_setup_rx(d, 64, RCTL_BAM);
	e_load(d, E1000_ICR);
	return d;
}

static inline struct e_driver *e_new(void)
{
	return e_new_with(true, NF_OFFLOADS, "mac=52:54:00:aa:bb:cc,netdev=n0");
}

static inline void e_free(struct e_driver *d)
{
	nf_free(d->nf);
	free(d);
}

/* ---- sending ---- */

static inline void e_tx_put(struct e_driver *d, uint64_t lo, uint64_t hi)
{
	nf_put(d->nf, E_TX + 16 * d->tx_tail, 8, lo);
	nf_put(d->nf, E_TX + 16 * d->tx_tail + 8, 8, hi);
	d->tx_tail = (d->tx_tail + 1) % d->tx_n;
}

static inline void e_tx_go(struct e_driver *d)
{
	e_store(d, E1000_TDT, d->tx_tail);
}

static inline bool e_tx_is_done(struct e_driver *d, uint32_t i)
{
	return nf_get(d->nf, E_TX + 16 * i + 12, 1) & TXD_STAT_DD;
}

/* A frame from the card's address, filled with a pattern. Returns its place. */
static inline uint8_t *e_frame(struct e_driver *d, uint32_t gpa, size_t len, const void *to)
{
	uint8_t *f = d->nf->ram + gpa;

	for (size_t i = 0; i < len; i++)
		f[i] = (uint8_t)(i * 7 + len);
	memcpy(f, to, 6);
	memcpy(f + 6, E_MAC, 6);
	f[12] = 0x88;
	f[13] = 0xb5; /* local experimental */
	return f;
}

/* ---- receiving ---- */

#define E_OTHER "\x52\x54\x00\x01\x02\x03"

/* A frame from outside. */
static inline size_t e_incoming(uint8_t *f, const void *to, size_t len)
{
	for (size_t i = 0; i < len; i++)
		f[i] = (uint8_t)(i * 5 + 1);
	memcpy(f, to, 6);
	memcpy(f + 6, E_OTHER, 6);
	f[12] = 0x88;
	f[13] = 0xb5;
	return len;
}

static inline uint64_t e_rx_status(struct e_driver *d, uint32_t i)
{
	return nf_get(d->nf, E_RX + 16 * i + 8, 8);
}

static inline uint8_t *e_rx_data(struct e_driver *d, uint32_t i)
{
	return d->nf->ram + nf_get(d->nf, E_RX + 16 * i, 8);
}

/* The next descriptor's second half, cleared; 0: it isn't done. */
static inline uint64_t e_rx_take(struct e_driver *d)
{
	uint64_t status = e_rx_status(d, d->rx_next);

	if (!(status >> RXD_STATUS_SHIFT & RXD_STAT_DD))
		return 0;
	nf_put(d->nf, E_RX + 16 * d->rx_next + 8, 8, 0);
	d->rx_next = (d->rx_next + 1) % d->rx_n;
	return status;
}

static inline uint32_t e_rx_len(uint64_t status)
{
	return (uint16_t)status;
}

static inline uint8_t e_rx_stat(uint64_t status)
{
	return (uint8_t)(status >> RXD_STATUS_SHIFT);
}

/* A frame comes in, and is taken or not. */
static inline uint64_t e_rx(struct e_driver *d, const void *data, size_t len)
{
	nf_rx(d->nf, data, len);
	nf_run(d->nf);
	return e_rx_take(d);
}

/* Gives the descriptor before the next back. */
static inline void e_rx_refill(struct e_driver *d)
{
	e_store(d, E1000_RDT, (d->rx_next + d->rx_n - 1) % d->rx_n);
}

#endif
