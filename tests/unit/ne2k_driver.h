/*
 * The driver's part of the tests of the RTL8029: the card is brought up as Linux's ne2k-pci does it
 * (same registers, same order), frames are sent and received by programmed I/O.
 */
#ifndef VIREO_TESTS_NE2K_DRIVER_H
#define VIREO_TESTS_NE2K_DRIVER_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "dev/ne2k_pci.h"
#include "nic_fixture.h"

#define OPTIONS "mac=52:54:00:aa:bb:cc,netdev=n0"

/* Linux's names (8390.h), page 0 unless said otherwise. */
enum {
	CMD = 0,
	CLDALO = 1,
	STARTPG = 1,
	STOPPG = 2,
	BOUNDARY = 3,
	TSR = 4,
	TPSR = 4,
	TCNTLO = 5,
	FIFO = 6,
	TCNTHI = 6,
	ISR = 7,
	RSARLO = 8,
	RSARHI = 9,
	RCNTLO = 10,
	RCNTHI = 11,
	RXCR = 12,
	RSR = 12,
	TXCR = 13,
	COUNTER0 = 13,
	DCFG = 14,
	IMR = 15,
	COUNTER2 = 15,
	PHYS = 1, /* page 1 */
	CURPAG = 7,
	MULT = 8,
	DATAPORT = 0x10,
	RESET = 0x1f,
};

enum {
	STOP = 1,
	START = 2,
	TRANS = 4,
	RREAD = 8,
	RWRITE = 0x10,
	RSEND = 0x18,
	NODMA = 0x20,
	PAGE1 = 0x40,
	PAGE2 = 0x80,
	PAGE3 = 0xc0,
};

#define TX_PAGE	 0x40
#define RX_START 0x4c
#define RX_STOP	 0x80

static const uint8_t mac[6] = {0x52, 0x54, 0, 0xaa, 0xbb, 0xcc};
static const uint8_t broadcast[6] = {255, 255, 255, 255, 255, 255};

static inline uint8_t in(struct nic_fixture *nf, unsigned int reg)
{
	return (uint8_t)nf_in(nf, reg, 1);
}

static inline void out(struct nic_fixture *nf, unsigned int value, unsigned int reg)
{
	nf_out(nf, reg, 1, value);
}

static inline uint8_t in_page(struct nic_fixture *nf, unsigned int page, unsigned int reg)
{
	uint8_t value;

	out(nf, NODMA + page, CMD);
	value = in(nf, reg);
	out(nf, NODMA, CMD);
	return value;
}

static inline void out_page(struct nic_fixture *nf, unsigned int page, unsigned int value,
			    unsigned int reg)
{
	out(nf, NODMA + page, CMD);
	out(nf, value, reg);
	out(nf, NODMA, CMD);
}

/* ---- the driver ---- */

static inline void driver_reset(struct nic_fixture *nf)
{
	out(nf, in(nf, RESET), RESET);
	assert_true(in(nf, ISR) & 0x80);
	out(nf, 0xff, ISR);
}

static inline void driver_init(struct nic_fixture *nf, bool start)
{
	out(nf, NODMA + STOP, CMD);
	out(nf, 0x49, DCFG);
	out(nf, 0, RCNTLO);
	out(nf, 0, RCNTHI);
	out(nf, 0x20, RXCR);
	out(nf, 0x02, TXCR);
	out(nf, TX_PAGE, TPSR);
	out(nf, RX_START, STARTPG);
	out(nf, RX_STOP - 1, BOUNDARY);
	out(nf, RX_STOP, STOPPG);
	out(nf, 0xff, ISR);
	out(nf, 0, IMR);
	out(nf, NODMA + PAGE1 + STOP, CMD);
	for (unsigned int i = 0; i < 6; i++) {
		out(nf, mac[i], PHYS + i);
		assert_int_equal(in(nf, PHYS + i), mac[i]);
	}
	out(nf, RX_START, CURPAG);
	out(nf, NODMA + STOP, CMD);
	if (!start)
		return;
	out(nf, 0xff, ISR);
	out(nf, 0x3f, IMR);
	out(nf, NODMA + START, CMD);
	out(nf, 0, TXCR);
	out(nf, 4, RXCR);
}

static inline struct nic_fixture *up_with(const char *options)
{
	struct nic_fixture *nf = nf_new("ne2k_pci", options);

	driver_reset(nf);
	driver_init(nf, true);
	return nf;
}

static inline struct nic_fixture *up(void)
{
	return up_with(OPTIONS);
}

static inline void remote(struct nic_fixture *nf, unsigned int command, unsigned int address,
			  unsigned int count)
{
	out(nf, NODMA + START, CMD);
	out(nf, 0x40, ISR);
	out(nf, count & 0xff, RCNTLO);
	out(nf, count >> 8, RCNTHI);
	out(nf, address & 0xff, RSARLO);
	out(nf, address >> 8, RSARHI);
	out(nf, command + START, CMD);
}

/* Words of `size` bytes, then the rest as Linux does it. */
static inline void block_read(struct nic_fixture *nf, unsigned int address, void *buf,
			      unsigned int count, unsigned int size)
{
	uint8_t *p = buf;
	unsigned int left = count;

	remote(nf, RREAD, address, count);
	while (left) {
		uint32_t v;

		while (size > left)
			size /= 2;
		v = nf_in(nf, DATAPORT, size);
		memcpy(p, &v, size);
		p += size;
		left -= size;
	}
	assert_true(in(nf, ISR) & 0x40);
	out(nf, 0x40, ISR);
}

static inline void block_write(struct nic_fixture *nf, unsigned int address, const void *buf,
			       unsigned int count, unsigned int size)
{
	const uint8_t *p = buf;
	unsigned int left = (count + 1) & ~1u;

	remote(nf, RWRITE, address, left);
	while (left) {
		uint32_t v = 0;

		while (size > left)
			size /= 2;
		memcpy(&v, p, size <= count ? size : count);
		nf_out(nf, DATAPORT, size, v);
		p += size;
		left -= size;
		count -= size <= count ? size : count;
	}
	assert_true(in(nf, ISR) & 0x40);
	out(nf, 0x40, ISR);
}

static inline void trigger(struct nic_fixture *nf, unsigned int page, unsigned int len)
{
	out(nf, NODMA, CMD);
	assert_false(in(nf, CMD) & TRANS);
	out(nf, len & 0xff, TCNTLO);
	out(nf, len >> 8, TCNTHI);
	out(nf, page, TPSR);
	out(nf, NODMA + TRANS + START, CMD);
}

static inline void make(uint8_t *frame, size_t len, const uint8_t to[6], uint8_t seed)
{
	memcpy(frame, to, 6);
	memcpy(frame + 6, "\x02\0\0\0\0\x01\x88\xb5", 8);
	for (size_t i = 14; i < len; i++)
		frame[i] = (uint8_t)(seed + i * 7);
}

/* The next frame in the ring, as ei_receive() takes it; returns its length, 0: there is none. */
static inline unsigned int receive(struct nic_fixture *nf, uint8_t *buf, uint8_t *status)
{
	uint8_t current = in_page(nf, PAGE1, CURPAG), header[4];
	unsigned int frame = in(nf, BOUNDARY) + 1u, len;

	if (frame >= RX_STOP)
		frame = RX_START;
	if (frame == current)
		return 0;
	block_read(nf, frame << 8, header, 4, 4);
	len = header[2] + 256u * header[3] - 4;
	assert_in_range(header[1], RX_START, RX_STOP - 1);
	if (status)
		*status = header[0];
	block_read(nf, (frame << 8) + 4, buf, len, 4);
	out(nf, header[1] - 1u, BOUNDARY);
	out(nf, 5, ISR);
	return len;
}

#endif
