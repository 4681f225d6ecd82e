/*
 * The driver's side of an Intel 8255x, for tests: what Linux's e100 does, in its order, and less
 * well-behaved things.
 */
#ifndef VIREO_TESTS_I8255X_DRIVER_H
#define VIREO_TESTS_I8255X_DRIVER_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "nic_fixture.h"

/* In guest memory. */
#define CB(i)	     (0x10000u + 0x400u * (i)) /* command blocks */
#define BUF(i)	     (0x80000u + 0x1000u * (i))
#define RFD(i)	     (0x40000u + 0x800u * (i))
#define RBD(i)	     (0x60000u + 0x10u * (i))
#define STATS	     0x8000u
#define SELF_TEST    0x9000u
#define DUMP	     0xa000u
#define N_CBS	     16u
#define N_RFDS	     8u
#define RFD_ROOM     1522
#define COMMAND_EL   0x8000u
#define COMMAND_S    0x4000u
#define COMMAND_I    0x2000
#define COMMAND_NC   0x0010
#define COMMAND_SF   0x0008
#define CNA	     0x20
#define CX	     0x80
#define FR	     0x40
#define RNR	     0x10
#define SWI	     0x04
#define CU_STATE(nf) (nf_load(nf, 0, 1) >> 6 & 3)
#define RU_STATE(nf) (nf_load(nf, 0, 1) >> 2 & 15)

static const uint8_t mac[6] = {0x52, 0x54, 0x00, 0xaa, 0xbb, 0xcc};

static inline struct nic_fixture *card(const char *model)
{
	return nf_new(model, "mac=52:54:00:aa:bb:cc,netdev=n0");
}

/* ---- registers ---- */

static inline void port(struct nic_fixture *nf, uint32_t value)
{
	nf_store(nf, 0x08, 4, value);
}

static inline void scb(struct nic_fixture *nf, uint8_t command, uint32_t pointer)
{
	assert_int_equal(nf_load(nf, 2, 1), 0); /* the one before is accepted */
	nf_store(nf, 4, 4, pointer);
	nf_store(nf, 2, 1, command);
}

/* What is pending, which is taken. */
static inline uint8_t ack(struct nic_fixture *nf)
{
	uint8_t stat = (uint8_t)nf_load(nf, 1, 1);

	nf_store(nf, 1, 1, stat);
	return stat;
}

static inline uint32_t mdi(struct nic_fixture *nf, unsigned int op, unsigned int phy,
			   unsigned int reg, uint16_t data)
{
	assert_true(nf_load(nf, 0x10, 4) & 0x10000000);
	nf_store(nf, 0x10, 4, op << 26 | phy << 21 | reg << 16 | data);
	assert_true(nf_load(nf, 0x10, 4) & 0x10000000);
	return (uint32_t)nf_load(nf, 0x10, 4) & 0xffff;
}

static inline uint16_t phy_get(struct nic_fixture *nf, unsigned int reg)
{
	return (uint16_t)mdi(nf, 2, 1, reg, 0);
}

static inline void phy_set(struct nic_fixture *nf, unsigned int reg, uint16_t value)
{
	mdi(nf, 1, 1, reg, value);
}

/* ---- command blocks ---- */

static inline void cb_put(struct nic_fixture *nf, unsigned int i, uint16_t command,
			  unsigned int next)
{
	nf_put(nf, CB(i), 2, 0);
	nf_put(nf, CB(i) + 2, 2, command);
	nf_put(nf, CB(i) + 4, 4, CB(next));
}

/* One command on its own; its status. */
static inline uint16_t cb_run(struct nic_fixture *nf, uint16_t command)
{
	cb_put(nf, 0, COMMAND_EL | command, 1);
	scb(nf, 0x10, CB(0));
	assert_int_equal(CU_STATE(nf), 0);
	ack(nf);
	return (uint16_t)nf_get(nf, CB(0), 2);
}

/* As e100 configures it. */
static inline void config_default(uint8_t c[22], bool extended)
{
	static const uint8_t bytes[22] = {
		0x16, 0x08, 0x00, 0x00, 0x00, 0x00, 0x32, 0x07, 0x01, 0x00, 0x2e,
		0x00, 0x60, 0x00, 0xf2, 0x48, 0x00, 0x40, 0xf2, 0xc0, 0x3f, 0x05,
	};

	memcpy(c, bytes, 22);
	if (extended) {
		c[3] = 0x01;
		c[6] = 0x26; /* extended TCBs, TCO statistics */
		c[18] |= 0x08;
		c[19] |= 0x04;
	}
}

static inline void configure(struct nic_fixture *nf, const uint8_t c[22])
{
	memcpy(nf->ram + CB(0) + 8, c, 22);
	assert_int_equal(cb_run(nf, 2), 0xa000);
}

static inline bool is_extended(struct nic_fixture *nf)
{
	return nf_config_read(nf, 2, 2) == 0x1209;
}

/* e100_hw_init(), without microcode. */
static inline void bring_up(struct nic_fixture *nf)
{
	uint8_t c[22];

	port(nf, 2);
	port(nf, 0);
	nf_store(nf, 3, 1, 1);
	nf_put(nf, SELF_TEST, 8, UINT64_C(0xffffffff00000000));
	port(nf, SELF_TEST | 1);
	assert_int_not_equal(nf_get(nf, SELF_TEST, 4), 0);
	assert_int_equal(nf_get(nf, SELF_TEST + 4, 4), 0);
	assert_int_equal(nf_load(nf, 3, 1), 0);
	nf_store(nf, 3, 1, 1);
	assert_int_equal(phy_get(nf, 2), 0x02a8);
	scb(nf, 0x60, 0);
	scb(nf, 0x06, 0);
	config_default(c, is_extended(nf));
	configure(nf, c);
	memcpy(nf->ram + CB(0) + 8, mac, 6);
	assert_int_equal(cb_run(nf, 1), 0xa000);
	scb(nf, 0x40, STATS);
	scb(nf, 0x70, 0);
	ack(nf);
	nf_store(nf, 3, 1, 0);
}

/* Gives configure byte n. */
static inline void configure_byte(struct nic_fixture *nf, unsigned int n, uint8_t value)
{
	uint8_t c[22];

	config_default(c, is_extended(nf));
	c[n] = value;
	configure(nf, c);
}

/* ---- frames ---- */

/* Bytes that depend on where they are and on `seed`, to a destination. */
static inline void make_frame(uint8_t *frame, size_t len, const uint8_t to[6], uint8_t seed)
{
	for (size_t i = 0; i < len; i++)
		frame[i] = (uint8_t)(i * 7 + seed + (i >> 8));
	memcpy(frame, to, 6);
	if (len >= 14) {
		frame[12] = 0x08;
		frame[13] = 0x00;
	}
}

/* A transmit command with one buffer, as e100 makes it. */
static inline void tcb_put(struct nic_fixture *nf, unsigned int i, uint16_t flags, uint32_t buffer,
			   uint16_t len)
{
	cb_put(nf, i, (uint16_t)(4 | COMMAND_SF | flags), (i + 1) % N_CBS);
	nf_put(nf, CB(i) + 8, 4, CB(i) + 16);
	nf_put(nf, CB(i) + 12, 4, 0x01e00000); /* no data here, threshold, one TBD */
	nf_put(nf, CB(i) + 16, 4, buffer);
	nf_put(nf, CB(i) + 20, 4, len);
}

/* ---- receive frame area ---- */

static inline void rfd_put(struct nic_fixture *nf, unsigned int i, uint16_t command,
			   unsigned int next, uint16_t size)
{
	memset(nf->ram + RFD(i), 0, 16);
	nf_put(nf, RFD(i) + 2, 2, command);
	nf_put(nf, RFD(i) + 4, 4, RFD(next));
	nf_put(nf, RFD(i) + 8, 4, 0xffffffff);
	nf_put(nf, RFD(i) + 14, 2, size);
	memset(nf->ram + RFD(i) + 16, 0xee, RFD_ROOM);
}

/* A ring of RFDs, the last but one of them as e100's sentinel; started. */
static inline void rx_start(struct nic_fixture *nf)
{
	for (unsigned int i = 0; i < N_RFDS; i++)
		rfd_put(nf, i, 0, (i + 1) % N_RFDS, RFD_ROOM);
	nf_put(nf, RFD(N_RFDS - 2) + 2, 2, COMMAND_EL);
	nf_put(nf, RFD(N_RFDS - 2) + 14, 2, 0);
	scb(nf, 0x01, RFD(0));
	assert_int_equal(RU_STATE(nf), 4);
}

/* One RFD alone, with EL; a frame goes in. Its status. */
static inline uint16_t rx_one(struct nic_fixture *nf, const void *frame, size_t len)
{
	rfd_put(nf, 0, COMMAND_EL, 1, RFD_ROOM);
	scb(nf, 0x01, RFD(0));
	nf_rx(nf, frame, len);
	nf_run(nf);
	ack(nf);
	return (uint16_t)nf_get(nf, RFD(0), 2);
}

#endif
