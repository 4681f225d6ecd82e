/*
 * RTL8029 as its drivers see it: brought up as Linux's ne2k-pci does (same registers, same order),
 * frames both ways, every mode of the data port, ring and overflow, filter, loopback, EEPROM; and
 * drivers that mean harm.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <sched.h>
#include <stdlib.h>
#include <string.h>

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

static uint8_t in(struct nic_fixture *nf, unsigned int reg)
{
	return (uint8_t)nf_in(nf, reg, 1);
}

static void out(struct nic_fixture *nf, unsigned int value, unsigned int reg)
{
	nf_out(nf, reg, 1, value);
}

static uint8_t in_page(struct nic_fixture *nf, unsigned int page, unsigned int reg)
{
	uint8_t value;

	out(nf, NODMA + page, CMD);
	value = in(nf, reg);
	out(nf, NODMA, CMD);
	return value;
}

static void out_page(struct nic_fixture *nf, unsigned int page, unsigned int value,
		     unsigned int reg)
{
	out(nf, NODMA + page, CMD);
	out(nf, value, reg);
	out(nf, NODMA, CMD);
}

/* ---- the driver ---- */

static void driver_reset(struct nic_fixture *nf)
{
	out(nf, in(nf, RESET), RESET);
	assert_true(in(nf, ISR) & 0x80);
	out(nf, 0xff, ISR);
}

static void driver_init(struct nic_fixture *nf, bool start)
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

static struct nic_fixture *up_with(const char *options)
{
	struct nic_fixture *nf = nf_new("ne2k_pci", options);

	driver_reset(nf);
	driver_init(nf, true);
	return nf;
}

static struct nic_fixture *up(void)
{
	return up_with(OPTIONS);
}

static void remote(struct nic_fixture *nf, unsigned int command, unsigned int address,
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
static void block_read(struct nic_fixture *nf, unsigned int address, void *buf, unsigned int count,
		       unsigned int size)
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

static void block_write(struct nic_fixture *nf, unsigned int address, const void *buf,
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

static void trigger(struct nic_fixture *nf, unsigned int page, unsigned int len)
{
	out(nf, NODMA, CMD);
	assert_false(in(nf, CMD) & TRANS);
	out(nf, len & 0xff, TCNTLO);
	out(nf, len >> 8, TCNTHI);
	out(nf, page, TPSR);
	out(nf, NODMA + TRANS + START, CMD);
}

static void make(uint8_t *frame, size_t len, const uint8_t to[6], uint8_t seed)
{
	memcpy(frame, to, 6);
	memcpy(frame + 6, "\x02\0\0\0\0\x01\x88\xb5", 8);
	for (size_t i = 14; i < len; i++)
		frame[i] = (uint8_t)(seed + i * 7);
}

/* The next frame in the ring, as ei_receive() takes it; returns its length, 0: there is none. */
static unsigned int receive(struct nic_fixture *nf, uint8_t *buf, uint8_t *status)
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

/* ---- identity ---- */

static void test_identity(void **state)
{
	struct nic_fixture *nf = nf_new("ne2k_pci", OPTIONS);

	assert_int_equal(nf_config_read(nf, 0, 4), 0x802910ec);
	assert_int_equal(nf_config_read(nf, 8, 4) >> 8, 0x020000);
	assert_int_equal(nf_config_read(nf, 0x2c, 4), 0x11001af4);
	assert_int_equal(nf_config_read(nf, 0x3d, 1), 1);
	assert_int_equal(nf->io_bar, 0);
	assert_int_equal(nf->mem_bar, -1);
	nf_config_write(nf, 0x10, 4, 0xffffffff);
	assert_int_equal(nf_config_read(nf, 0x10, 4), 0xffffff01);
	nf_free(nf);
}

/* What Linux's probe does. */
static void test_probe(void **state)
{
	static const uint8_t sequence[][2] = {
		{NODMA + STOP, CMD}, {0x49, DCFG}, {0, RCNTLO},		 {0, RCNTHI},  {0, IMR},
		{0xff, ISR},	     {0x20, RXCR}, {0x02, TXCR},	 {32, RCNTLO}, {0, RCNTHI},
		{0, RSARLO},	     {0, RSARHI},  {RREAD + START, CMD},
	};
	struct nic_fixture *nf = nf_new("ne2k_pci", OPTIONS);
	uint8_t prom[32];

	assert_int_equal(in(nf, CMD), NODMA + STOP); /* power-on */
	assert_int_equal(in(nf, ISR), 0x80);
	out(nf, NODMA + PAGE1 + STOP, CMD);
	in(nf, 0x0d);
	out(nf, 0xff, 0x0d);
	out(nf, NODMA, CMD);
	in(nf, COUNTER0);
	assert_int_equal(in(nf, COUNTER0), 0);
	driver_reset(nf);
	for (size_t i = 0; i < sizeof(sequence) / sizeof(sequence[0]); i++)
		out(nf, sequence[i][0], sequence[i][1]);
	for (int i = 0; i < 32; i++)
		prom[i] = in(nf, DATAPORT);
	assert_memory_equal(prom, mac, 6);
	assert_int_equal(prom[14], 0x57);
	assert_int_equal(prom[15], 0x57);
	assert_true(in(nf, ISR) & 0x40);

	/* the same by words (BSD, iPXE), and by bytes in byte mode: doubled */
	block_read(nf, 0, prom, 32, 2);
	for (unsigned int i = 0; i < 12; i++)
		assert_int_equal(prom[i], mac[i / 2]);
	out(nf, 0x48, DCFG);
	block_read(nf, 0, prom, 32, 1);
	for (unsigned int i = 0; i < 12; i++)
		assert_int_equal(prom[i], mac[i / 2]);
	assert_int_equal(prom[28] << 8 | prom[31], 0x5757);
	block_read(nf, 32 + 28, prom, 4, 1);
	assert_memory_equal(prom, "BBBB", 4);
	nf_free(nf);
}

/* As read from real cards: linux-kernel, 2002-07-11. */
static void test_registers(void **state)
{
	struct nic_fixture *nf = up();
	static const uint8_t page2[16] = {0xa2, 0x4c, 0x80, 0xff, 0x40, 0xff, 0xff, 0xff,
					  0xff, 0xff, 0xff, 0xff, 0xc4, 0xe0, 0xc9, 0xbf};
	static const uint8_t page3[16] = {0xe2, 0x30, 0xff, 0x00, 0xff, 0x00, 0x30, 0xff,
					  0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x29, 0x80};

	out(nf, PAGE2, CMD); /* neither STA nor STP, RD = 000: as before */
	for (unsigned int i = 0; i < 16; i++)
		assert_int_equal(in(nf, i), page2[i]);
	assert_int_equal(nf_in(nf, 0xc, 4), 0xbfc9e0c4);
	out(nf, PAGE3, CMD);
	for (unsigned int i = 0; i < 16; i++)
		assert_int_equal(in(nf, i), page3[i]);
	out(nf, 0, CMD);
	assert_int_equal(in(nf, CMD), 0x22);
	assert_int_equal(in(nf, 0x0a), 'P');
	assert_int_equal(in(nf, 0x0b), 'C');
	assert_int_equal(in(nf, 5), 0);
	assert_int_equal(in(nf, 14), 0);
	assert_true(in(nf, TSR) & 2);
	/* MAR, and wide accesses */
	out(nf, PAGE1 + NODMA, CMD);
	nf_out(nf, MULT, 4, 0x44332211);
	nf_out(nf, MULT + 4, 2, 0x6655);
	assert_int_equal(nf_in(nf, MULT, 4), 0x44332211);
	assert_int_equal(in(nf, MULT + 5), 0x66);
	/* nothing there */
	assert_int_equal(nf_in(nf, 0x20, 4), 0);
	nf_out(nf, 0x40, 4, 1);
	/* reset takes what the datasheet says, no more */
	out(nf, NODMA, CMD);
	out(nf, 0x06, TXCR);
	in(nf, RESET);
	assert_int_equal(in(nf, CMD), NODMA + STOP);
	assert_int_equal(in(nf, ISR), 0x80);
	out(nf, 0xff, ISR);
	assert_int_equal(in(nf, ISR), 0x80);
	assert_int_equal(in_page(nf, PAGE2, TXCR), 0xe0);
	assert_int_equal(in_page(nf, PAGE2, IMR), 0x80);
	assert_int_equal(in_page(nf, PAGE2, STARTPG), 0x4c);
	assert_int_equal(in_page(nf, PAGE1, MULT), 0x11);
	device_reset(nf->dev);
	nf_place_bars(nf);
	assert_int_equal(in_page(nf, PAGE2, STARTPG), 0);
	assert_int_equal(in_page(nf, PAGE1, MULT), 0);
	nf_free(nf);
}

/* ---- page 3 ---- */

static void ee_clock(struct nic_fixture *nf, unsigned int bit)
{
	out(nf, 0x88 | bit << 1, 1);
	out(nf, 0x8c | bit << 1, 1);
}

static uint16_t ee_command(struct nic_fixture *nf, uint32_t command, unsigned int bits,
			   unsigned int answer)
{
	uint16_t value = 0;

	out(nf, 0x80, 1);
	while (bits--)
		ee_clock(nf, command >> bits & 1);
	while (answer--) {
		ee_clock(nf, 0);
		value = (uint16_t)(value << 1 | (in(nf, 1) & 1));
	}
	out(nf, 0x80, 1);
	out(nf, 0, 1);
	return value;
}

static void test_eeprom(void **state)
{
	struct nic_fixture *nf = nf_new("ne2k_pci", OPTIONS);
	uint8_t prom[2];

	out(nf, PAGE3 + NODMA + STOP, CMD);
	assert_int_equal(ee_command(nf, 6 << 6 | 0, 9, 16), 0x3000);
	assert_int_equal(ee_command(nf, 6 << 6 | 1, 9, 16), 0x5452);
	assert_int_equal(ee_command(nf, 6 << 6 | 3, 9, 16), 0xccbb);
	assert_int_equal(ee_command(nf, 6 << 6 | 60, 9, 16), 0x10ec);
	assert_int_equal(ee_command(nf, 6 << 6 | 63, 9, 16), 0x1100);
	/* written, it is not in effect before it is loaded; then it is, and survives a reset */
	ee_command(nf, 0x4f << 2, 9, 0);
	ee_command(nf, (5u << 6 | 1) << 16 | 0x1202, 25, 0);
	ee_command(nf, (5u << 6 | 0) << 16 | 0x7080, 25, 0);
	assert_int_equal(in(nf, 5), 0);
	out(nf, 0x40, 1);
	assert_int_equal(in(nf, 1), 0x30); /* done */
	assert_int_equal(in(nf, 5), 0x80);
	assert_int_equal(in(nf, 6), 0x70);
	device_reset(nf->dev);
	nf_place_bars(nf);
	out(nf, 0x49, DCFG);
	block_read(nf, 0, prom, 2, 2);
	assert_int_equal(prom[0], 0x02);
	nf_free(nf);
}

static void test_config(void **state)
{
	struct nic_fixture *nf = up();

	/* Linux's set_realtek_fdx() */
	out(nf, 0xc0 + NODMA, CMD);
	out(nf, 0x40, 6);
	assert_int_equal(in(nf, 6), 0x30); /* locked */
	out(nf, 0xc0, 1);
	out(nf, 0x40, 6);
	assert_int_equal(in(nf, 6), 0x70); /* full duplex; LEDs aren't the driver's */
	out(nf, 0xff, 5);
	assert_int_equal(in(nf, 5), 0xe0);
	assert_int_equal(in(nf, 3), 4); /* the coaxial cable was chosen */
	out(nf, 0, 5);
	assert_int_equal(in(nf, 3), 0);
	nf_link(nf, false);
	assert_int_equal(in(nf, 3), 4); /* no link on twisted pair */
	nf_link(nf, true);
	assert_int_equal(in(nf, 3), 0);
	out(nf, 0x00, 1);
	out(nf, 0, 6);
	assert_int_equal(in(nf, 6), 0x70);
	nf_free(nf);
}

/* ---- remote DMA ---- */

static void test_memory(void **state)
{
	struct nic_fixture *nf = up();
	uint8_t data[1000], back[1000];

	for (unsigned int i = 0; i < sizeof(data); i++)
		data[i] = (uint8_t)(i * 3 + 1);
	for (unsigned int size = 1; size <= 4; size *= 2) {
		/* byte mode for bytes: in word mode each would take a word */
		out(nf, size == 1 ? 0x48 : 0x49, DCFG);
		block_write(nf, 0x4100, data, sizeof(data), size);
		memset(back, 0, sizeof(back));
		block_read(nf, 0x4100, back, sizeof(back), size);
		assert_memory_equal(back, data, sizeof(data));
	}
	/* any mix */
	memset(back, 0, sizeof(back));
	remote(nf, RREAD, 0x4100, 8);
	assert_int_equal(nf_in(nf, DATAPORT, 2), data[0] | data[1] << 8);
	assert_int_equal(in(nf, 8) | in(nf, 9) << 8, 0x4102); /* CRDA */
	assert_int_equal(nf_in(nf, DATAPORT + 4, 4),
			 data[2] | data[3] << 8 | data[4] << 16 | data[5] << 24);
	assert_false(in(nf, ISR) & 0x40);
	assert_int_equal(in(nf, DATAPORT), data[6]); /* and takes data[7] with it */
	assert_true(in(nf, ISR) & 0x40);
	assert_int_equal(nf_in(nf, DATAPORT, 4), 0xffffffff); /* over */
	/* an odd count */
	remote(nf, RREAD, 0x4100, 3);
	nf_in(nf, DATAPORT, 2);
	assert_int_equal(in(nf, DATAPORT), data[2]);
	assert_true(in(nf, ISR) & 0x40);
	/* 0 bytes are done at once */
	out(nf, 0x40, ISR);
	out(nf, RREAD + START, CMD);
	assert_true(in(nf, ISR) & 0x40);
	/* aborted: nothing more */
	remote(nf, RWRITE, 0x4100, 4);
	out(nf, NODMA, CMD);
	nf_out(nf, DATAPORT, 4, 0);
	block_read(nf, 0x4100, back, 4, 4);
	assert_memory_equal(back, data, 4);
	/* reading doesn't write, and the other way round */
	remote(nf, RREAD, 0x4100, 4);
	nf_out(nf, DATAPORT, 4, 0);
	assert_int_equal(nf_in(nf, DATAPORT, 2), data[0] | data[1] << 8);
	nf_free(nf);
}

/* All of the 32 KiB are there, nothing around them; the ring wraps. */
static void test_memory_ends(void **state)
{
	struct nic_fixture *nf = up();
	uint8_t data[512], back[512];

	memset(data, 0xa5, sizeof(data));
	block_write(nf, 0x3f00, data, 512, 4);
	block_read(nf, 0x3f00, back, 512, 4);
	assert_int_equal(back[255], 0xff);
	assert_int_equal(back[256], 0xa5);
	block_write(nf, 0xbf00, data, 512, 4);
	block_read(nf, 0xbf00, back, 512, 4);
	assert_int_equal(back[255], 0xa5);
	assert_int_equal(back[256], 0xff);
	/* up to the end of addresses and around: the PROM */
	out(nf, 0, STOPPG);
	block_write(nf, 0xfffe, data, 4, 4);
	block_read(nf, 0xfffe, back, 4, 4);
	assert_int_equal(back[0], 0xff);

	out(nf, RX_STOP, STOPPG);
	data[1] = 1;
	data[2] = 2;
	block_write(nf, 0x7ffe, data, 4, 2);
	out(nf, 0, STOPPG);
	block_read(nf, RX_START << 8, back, 2, 2);
	assert_int_equal(back[0], 2);
	block_read(nf, 0x7ffe, back, 4, 4);
	assert_int_equal(back[1], 1);
	nf_free(nf);
}

static void test_send_packet(void **state)
{
	struct nic_fixture *nf = up();
	uint8_t frame[100], back[104];

	make(frame, sizeof(frame), mac, 1);
	nf_rx(nf, frame, sizeof(frame));
	nf_run(nf);
	out(nf, RX_START, BOUNDARY);
	out(nf, RSEND + START, CMD); /* without DCR.ARM: isn't executed */
	assert_int_equal(in(nf, CMD) & 0x38, NODMA);
	out(nf, 0x59, DCFG);
	out(nf, RSEND + START, CMD);
	for (int i = 0; i < 104; i += 4) {
		uint32_t v = nf_in(nf, DATAPORT, 4);

		memcpy(back + i, &v, 4);
	}
	assert_true(in(nf, ISR) & 0x40);
	assert_int_equal(back[1], RX_START + 1);
	assert_memory_equal(back + 4, frame, 100);
	assert_int_equal(in(nf, BOUNDARY), RX_START + 1);
	nf_free(nf);
}

/* ---- transmission ---- */

static void test_transmit(void **state)
{
	static const unsigned int sizes[] = {14, 60, 61, 64, 255, 256, 257, 1513, 1514, 1518};
	struct nic_fixture *nf = up();
	uint8_t frame[1600];

	for (unsigned int i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
		unsigned int page = i & 1 ? TX_PAGE + 6 : TX_PAGE, len = sizes[i];

		make(frame, sizeof(frame), broadcast, (uint8_t)i);
		block_write(nf, page << 8, frame, len, 4);
		trigger(nf, page, len);
		assert_int_equal(nf_n_sent(nf), i + 1);
		assert_int_equal(nf_sent(nf, i)->len, len); /* as it is: the chip pads nothing */
		assert_memory_equal(nf_sent(nf, i)->data, frame, len);
		assert_true(nf_irq(nf));
		assert_int_equal(in(nf, ISR), 2);
		assert_int_equal(in(nf, TSR), 3);
		assert_int_equal(in(nf, CMD), 0x22);
		assert_int_equal(in(nf, CLDALO) | in(nf, 2) << 8, (page << 8) + len);
		out(nf, 2, ISR);
		assert_false(nf_irq(nf));
	}
	assert_int_equal(counter_get(&nf->nic->counters.interrupts), 10);
	nf_free(nf);
}

/* What no station would take: sent, as far as the card knows. */
static void test_transmit_odd(void **state)
{
	struct nic_fixture *nf = up();
	uint8_t frame[2000];

	make(frame, sizeof(frame), broadcast, 1);
	block_write(nf, TX_PAGE << 8, frame, 2000, 4);
	trigger(nf, TX_PAGE, 1519);
	assert_int_equal(in(nf, ISR), 2);
	trigger(nf, TX_PAGE, 0);
	assert_int_equal(in(nf, ISR), 2);
	assert_int_equal(nf_n_sent(nf), 0);
	assert_int_equal(counter_get(&nf->nic->counters.tx_bad), 2);
	/* no memory there: aborted */
	out(nf, 0xff, ISR);
	trigger(nf, 0, 100);
	assert_int_equal(in(nf, ISR), 8);
	assert_int_equal(in(nf, TSR), 0x0a);
	trigger(nf, 0xbf, 257);
	trigger(nf, 0xc0, 1);
	trigger(nf, 0xff, 65535);
	assert_int_equal(nf_n_sent(nf), 0);
	trigger(nf, 0xbf, 256);
	assert_int_equal(nf_n_sent(nf), 1);
	/* an FCS of the driver's own (TCR.CRC): taken away if right */
	eth_fcs(eth_crc_le(frame, 100), frame + 100);
	block_write(nf, TX_PAGE << 8, frame, 104, 4);
	out(nf, 1, TXCR);
	trigger(nf, TX_PAGE, 104);
	assert_int_equal(nf_n_sent(nf), 2);
	assert_int_equal(nf_sent(nf, 1)->len, 100);
	trigger(nf, TX_PAGE, 103);
	trigger(nf, TX_PAGE, 3);
	assert_int_equal(nf_n_sent(nf), 2);
	/* a card that is stopped sends nothing */
	out(nf, 0, TXCR);
	out(nf, NODMA + STOP + TRANS, CMD);
	assert_int_equal(in(nf, CMD), NODMA + STOP);
	assert_int_equal(nf_n_sent(nf), 2);
	nf_free(nf);
}

static void test_transmit_full(void **state)
{
	struct nic_fixture *nf = up();
	uint8_t frame[100];

	make(frame, sizeof(frame), broadcast, 1);
	block_write(nf, TX_PAGE << 8, frame, sizeof(frame), 4);
	nf_full(nf, true);
	trigger(nf, TX_PAGE, sizeof(frame));
	assert_int_equal(in(nf, CMD), 0x26);
	assert_int_equal(in(nf, ISR), 0);
	out(nf, NODMA + TRANS + START, CMD); /* once is enough */
	nf_run(nf);
	assert_int_equal(in(nf, CMD), 0x26);
	nf_full(nf, false);
	nf_run(nf);
	assert_int_equal(nf_n_sent(nf), 1);
	assert_int_equal(in(nf, CMD), 0x22);
	assert_int_equal(in(nf, ISR), 2);
	/* stopped while it waits: not sent, and the driver can tell */
	out(nf, 2, ISR);
	nf_full(nf, true);
	trigger(nf, TX_PAGE, sizeof(frame));
	out(nf, NODMA + STOP, CMD);
	assert_int_equal(in(nf, CMD), 0x21);
	nf_full(nf, false);
	nf_run(nf);
	assert_int_equal(in(nf, ISR), 0x80);
	assert_int_equal(nf_n_sent(nf), 1);
	nf_free(nf);
}

static void test_no_cable(void **state)
{
	struct nic_fixture *nf = up();
	uint8_t frame[100];

	make(frame, sizeof(frame), mac, 1);
	nf_link(nf, false);
	trigger(nf, TX_PAGE, 60);
	assert_int_equal(in(nf, ISR), 2);
	assert_int_equal(in(nf, TSR), 0x13); /* no carrier */
	assert_int_equal(nf_n_sent(nf), 0);
	assert_int_equal(counter_get(&nf->nic->counters.tx_no_cable), 1);
	nf_link(nf, true);
	trigger(nf, TX_PAGE, 60);
	assert_int_equal(in(nf, TSR), 3);
	assert_int_equal(nf_n_sent(nf), 1);
	nf_free(nf);
	/* one that never had a cable */
	nf = up_with("mac=52:54:00:aa:bb:cc");
	trigger(nf, TX_PAGE, 60);
	assert_int_equal(in(nf, TSR), 0x13);
	nf_free(nf);
}

/* ---- reception ---- */

static void test_receive(void **state)
{
	static const unsigned int sizes[] = {14, 60, 244, 248, 249, 252, 1000, 1514, 1518};
	struct nic_fixture *nf = up();
	uint8_t frame[1600], buf[1600], fcs[4], status;
	unsigned int current = RX_START;

	/* often enough that frames lie over the ring's end at every page */
	for (unsigned int i = 0; i < 200; i++) {
		unsigned int len = sizes[i % 9], real = len < 60 ? 60 : len;

		make(frame, sizeof(frame), i & 1 ? mac : broadcast, (uint8_t)i);
		if (len < 60)
			memset(frame + len, 0, 60 - len);
		nf_rx(nf, frame, len);
		nf_run(nf);
		assert_true(nf_irq(nf));
		assert_int_equal(in(nf, ISR), 1);
		current += (4 + real + 4 + 255) / 256;
		if (current >= RX_STOP)
			current -= RX_STOP - RX_START;
		assert_int_equal(in_page(nf, PAGE1, CURPAG), current);
		assert_int_equal(receive(nf, buf, &status), real);
		assert_memory_equal(buf, frame, real);
		assert_int_equal(status, i & 1 ? 0x01 : 0x21);
		assert_int_equal(in(nf, RSR), status);
		assert_false(nf_irq(nf));
		assert_int_equal(receive(nf, buf, &status), 0);
	}
	/* with its FCS behind it */
	make(frame, sizeof(frame), mac, 1);
	nf_rx(nf, frame, 600);
	out(nf, RX_START, STARTPG);
	out(nf, RX_STOP - 1, BOUNDARY);
	out_page(nf, PAGE1, RX_START, CURPAG);
	nf_run(nf);
	block_read(nf, (RX_START << 8) + 4, buf, 604, 4);
	eth_fcs(eth_crc_le(frame, 600), fcs);
	assert_memory_equal(buf + 600, fcs, 4);
	assert_int_equal(in(nf, CLDALO) | in(nf, 2) << 8, (RX_START << 8) + 608);
	nf_free(nf);
}

/* Several at a time, up to a full ring; the rest waits until there is room, nothing is lost. */
static void test_ring_full(void **state)
{
	struct nic_fixture *nf = up();
	static uint8_t frames[40][1514];
	uint8_t buf[1600];

	for (unsigned int i = 0; i < 40; i++) {
		make(frames[i], 1514, mac, (uint8_t)i);
		nf_rx(nf, frames[i], 1514);
	}
	nf_run(nf);
	assert_int_equal(in(nf, ISR), 1);
	assert_int_equal(counter_get(&nf->nic->counters.rx_frames),
			 8); /* 51 pages, 6 each, one left free */
	for (unsigned int i = 0; i < 40; i++) {
		assert_int_equal(receive(nf, buf, NULL), 1514);
		assert_memory_equal(buf, frames[i], 1514);
		nf_run(nf);
	}
	assert_int_equal(receive(nf, buf, NULL), 0);
	assert_int_equal(in(nf, COUNTER2), 0);
	assert_true(counter_get(&nf->nic->counters.rx_no_buffer) > 0);
	nf_free(nf);
}

/* The frame at BNRY by "send packet", which takes no other register. */
static void send_packet(struct nic_fixture *nf, uint8_t *buf, unsigned int len)
{
	unsigned int left = len + 8;

	out(nf, RSEND + START, CMD);
	for (unsigned int i = 0; i < left; i += 4) {
		uint32_t v = nf_in(nf, DATAPORT, 4);

		memcpy(buf + i, &v, 4);
	}
}

/* While the ring is full, the I/O thread is woken by what makes room, and by nothing else. */
static void test_ring_full_kicks(void **state)
{
	struct nic_fixture *nf = up();
	static uint8_t frames[10][1514];
	uint8_t buf[1600];

	for (unsigned int i = 0; i < 10; i++) {
		make(frames[i], 1514, mac, (uint8_t)i);
		nf_rx(nf, frames[i], 1514);
	}
	nf_run(nf);
	assert_int_equal(counter_get(&nf->nic->counters.rx_frames), 8);
	out(nf, 0x59, DCFG);
	out(nf, 0x3f, IMR);
	block_read(nf, RX_START << 8, buf, 4, 4);
	assert_false(nf->nic->kicked);
	out(nf, RX_START, BOUNDARY);
	assert_false(nf->nic->kicked); /* a page isn't room for a frame */
	send_packet(nf, buf, 1514);
	assert_memory_equal(buf + 4, frames[0], 1514);
	assert_true(nf->nic->kicked);
	nf_run(nf);
	assert_int_equal(counter_get(&nf->nic->counters.rx_frames), 9);
	nf_free(nf);
}

/* As on a wire: lost, OVW; Linux's ei_rx_overrun(). */
static void test_overflow(void **state)
{
	struct nic_fixture *nf = up_with(OPTIONS ",rx_wait=off");
	static uint8_t frames[20][1514];
	uint8_t buf[1600], value;
	unsigned int got = 0;

	for (unsigned int i = 0; i < 20; i++)
		make(frames[i], 1514, mac, (uint8_t)i);
	for (unsigned int round = 0; round < 3; round++) {
		for (unsigned int i = 0; i < 20; i++)
			nf_rx(nf, frames[i], 1514);
		nf_run(nf);
		assert_true(in(nf, ISR) & 0x10);
		assert_true(in(nf, ISR) &
			    0x80); /* "set when a receive buffer ring overflow occurs" */
		assert_true(nf_irq(nf));
		assert_int_equal(in(nf, RSR), 0x10);

		value = in(nf, CMD) & TRANS;
		out(nf, NODMA + STOP, CMD);
		assert_false(value);
		out(nf, 0, RCNTLO);
		out(nf, 0, RCNTHI);
		out(nf, 2, TXCR);
		out(nf, NODMA + START, CMD);
		nf_run(nf); /* in loopback: nothing comes in */
		for (got = 0; receive(nf, buf, NULL); got++)
			assert_memory_equal(buf, frames[got], 1514);
		assert_int_equal(got, 8);
		out(nf, 0x10, ISR);
		out(nf, 0, TXCR);
		assert_int_equal(in(nf, COUNTER2), 1);
		assert_int_equal(in(nf, COUNTER2), 0);
		/* what came in meanwhile */
		nf->fake.in_first = nf->fake.in_end;
		nf_run(nf);
		assert_int_equal(in(nf, ISR), 0);
	}
	/* room made without a restart will do, too */
	for (unsigned int i = 0; i < 10; i++)
		nf_rx(nf, frames[i], 1514);
	nf_run(nf);
	assert_int_equal(in(nf, ISR) & 0x90, 0x90);
	assert_int_equal(receive(nf, buf, NULL), 1514);
	assert_int_equal(in(nf, ISR) & 0x90, 0x10);
	nf_run(nf);
	for (got = 0; receive(nf, buf, NULL); got++)
		;
	assert_int_equal(got, 8);
	assert_memory_equal(buf, frames[9], 1514); /* [8] was lost */
	nf_free(nf);
}

static void offer(struct nic_fixture *nf, const uint8_t to[6], bool expected)
{
	uint8_t frame[64], buf[100], before = in(nf, RSR);

	make(frame, sizeof(frame), to, 9);
	nf_rx(nf, frame, sizeof(frame));
	nf_run(nf);
	assert_int_equal(receive(nf, buf, NULL), expected ? 64 : 0);
	if (!expected)
		assert_int_equal(in(nf, RSR), before);
}

static void test_filter(void **state)
{
	static const uint8_t other[6] = {0x52, 0x54, 0, 0xaa, 0xbb, 0xcd};
	static const uint8_t group[6] = {0x01, 0x00, 0x5e, 0x00, 0x00, 0x01};
	static const uint8_t group2[6] = {0x33, 0x33, 0, 0, 0, 1};
	unsigned int hash = eth_crc_be(group, 6) >> 26;
	struct nic_fixture *nf = up();

	offer(nf, mac, true);
	offer(nf, broadcast, true);
	offer(nf, other, false);
	offer(nf, group, false);
	assert_int_equal(counter_get(&nf->nic->counters.rx_filtered), 2);
	out(nf, 0, RXCR);
	offer(nf, broadcast, false);
	offer(nf, mac, true);
	/* the driver's table: bits[crc >> 29] |= 1 << (crc >> 26 & 7) */
	out_page(nf, PAGE1, 1u << (hash & 7), MULT + (hash >> 3));
	offer(nf, group, false);
	out(nf, 0x0c, RXCR);
	offer(nf, group, true);
	offer(nf, group2, false);
	for (unsigned int i = 0; i < 8; i++)
		out_page(nf, PAGE1, 0xff, MULT + i);
	offer(nf, group2, true);
	offer(nf, other, false);
	out(nf, 0x1c, RXCR);
	offer(nf, other, true);
	out(nf, 0x10, RXCR); /* promiscuous: of physical addresses only */
	offer(nf, other, true);
	offer(nf, group, false);
	offer(nf, broadcast, false);
	/* another station address */
	out(nf, 4, RXCR);
	out_page(nf, PAGE1, 0xcd, PHYS + 5);
	offer(nf, mac, false);
	offer(nf, other, true);
	/* monitor mode: looked at, counted, not kept */
	out(nf, 0x24, RXCR);
	{
		uint8_t frame[64], current = in_page(nf, PAGE1, CURPAG);

		make(frame, sizeof(frame), other, 1);
		for (int i = 0; i < 200; i++) {
			nf_rx(nf, frame, sizeof(frame));
			nf_run(nf);
			assert_int_equal(in(nf, ISR), i < 127 ? 0 : 0x20);
		}
		assert_int_equal(in(nf, RSR), 0x41);
		assert_int_equal(in_page(nf, PAGE1, CURPAG), current);
		assert_true(nf_irq(nf));
		assert_int_equal(in(nf, COUNTER2), 192); /* stays there */
		out(nf, 0x20, ISR);
		assert_false(nf_irq(nf));
	}
	nf_free(nf);
}

/* Frames that no wire brings. */
static void test_too_long(void **state)
{
	struct nic_fixture *nf = nf_new("ne2k_pci", OPTIONS);
	static uint8_t frame[9000];
	uint8_t buf[1600];

	nf->fake.net.frame_max = 9018;
	driver_init(nf, true);
	make(frame, sizeof(frame), mac, 3);
	nf_rx(nf, frame, 1519);
	nf_rx(nf, frame, 9000);
	nf_rx(nf, frame, 1518);
	nf_run(nf);
	assert_int_equal(receive(nf, buf, NULL), 1518);
	assert_int_equal(receive(nf, buf, NULL), 0);
	assert_int_equal(counter_get(&nf->nic->counters.rx_too_long), 2);
	nf_free(nf);
}

static void test_off(void **state)
{
	struct nic_fixture *nf = up();
	uint8_t frame[64], buf[100];

	make(frame, sizeof(frame), mac, 1);
	out(nf, NODMA + STOP, CMD);
	nf_rx(nf, frame, sizeof(frame));
	nf_run(nf);
	assert_int_equal(in_page(nf, PAGE1, CURPAG), RX_START);
	driver_init(nf, false);
	nf_run(nf);
	assert_int_equal(in_page(nf, PAGE1, CURPAG), RX_START);
	driver_init(nf, true);
	nf_run(nf);
	assert_int_equal(receive(nf, buf, NULL), 64);
	nf_free(nf);
}

/* PRX, acknowledged when frames have come since the driver looked: it stays, but not for ever. */
static void test_acknowledge(void **state)
{
	struct nic_fixture *nf = up();
	static uint8_t frames[30][64];
	uint8_t buf[100];

	for (unsigned int i = 0; i < 30; i++)
		make(frames[i], 64, mac, (uint8_t)i);
	/* Linux: 9 at a time */
	for (unsigned int i = 0; i < 30; i++)
		nf_rx(nf, frames[i], 64);
	nf_run(nf);
	for (unsigned int i = 0; i < 30; i++) {
		assert_true(nf_irq(nf));
		assert_int_equal(receive(nf, buf, NULL), 64);
		assert_memory_equal(buf, frames[i], 64);
	}
	assert_false(nf_irq(nf));
	/* one that comes after the last look at CURR */
	assert_int_equal(receive(nf, buf, NULL), 0);
	nf_rx(nf, frames[0], 64);
	nf_rx(nf, frames[1], 64);
	nf_run(nf);
	out(nf, 5, ISR);
	assert_true(nf_irq(nf));
	/* one that acknowledges first, and reads later */
	out(nf, 5, ISR);
	assert_false(nf_irq(nf));
	assert_int_equal(receive(nf, buf, NULL), 64);
	assert_int_equal(receive(nf, buf, NULL), 64);
	assert_int_equal(receive(nf, buf, NULL), 0);
	nf_free(nf);
}

static void test_interrupts(void **state)
{
	struct nic_fixture *nf = up();
	uint8_t frame[64];

	make(frame, sizeof(frame), mac, 1);
	out(nf, 0, IMR);
	nf_rx(nf, frame, sizeof(frame));
	nf_run(nf);
	trigger(nf, TX_PAGE, 60);
	assert_int_equal(in(nf, ISR), 3);
	assert_false(nf_irq(nf));
	out(nf, 1, IMR);
	assert_true(nf_irq(nf));
	out(nf, 1, ISR);
	out(nf, 1, ISR);
	assert_false(nf_irq(nf));
	out(nf, 0xff, IMR);
	assert_true(nf_irq(nf));
	out(nf, NODMA + STOP, CMD);
	out(nf, 0x7f, ISR);
	assert_int_equal(in(nf, ISR), 0x80); /* no interrupt of its own */
	assert_false(nf_irq(nf));
	trigger(nf, TX_PAGE, 60);
	assert_true(nf_irq(nf));
	in(nf, RESET);
	assert_false(nf_irq(nf));
	nf_free(nf);
}

/* ---- loopback: DP8390D §12 ---- */

static void loop(struct nic_fixture *nf, unsigned int tcr, const uint8_t *frame, unsigned int len)
{
	out(nf, 0x40, DCFG);
	out(nf, tcr, TXCR);
	out(nf, 0, RXCR);
	out(nf, 0xff, ISR);
	block_write(nf, TX_PAGE << 8, frame, len, 1);
	trigger(nf, TX_PAGE, len);
}

static void test_loopback(void **state)
{
	struct nic_fixture *nf = up();
	uint8_t frame[64], twice[114], fcs[4], fifo[8];

	make(frame, sizeof(frame), mac, 5);
	eth_fcs(eth_crc_le(frame, 57), fcs);
	loop(nf, 2, frame, 57); /* 57 + 4 = 8 * 7 + 5 */
	assert_int_equal(in(nf, TSR), 0x53);
	assert_int_equal(in(nf, RSR), 0x02);
	assert_int_equal(in(nf, ISR), 0x06);
	for (int i = 0; i < 8; i++)
		fifo[i] = in(nf, FIFO);
	assert_int_equal(fifo[0], 61);
	assert_int_equal(fifo[1] | fifo[2], 0);
	assert_int_equal(fifo[3], frame[56]);
	assert_memory_equal(fifo + 4, fcs, 4);
	loop(nf, 4, frame, 57);
	assert_int_equal(in(nf, TSR), 0x43);
	loop(nf, 6, frame, 57);
	assert_int_equal(in(nf, TSR), 0x03);
	/* an FCS of the driver's: address and CRC recognition */
	memcpy(frame + 57, fcs, 4);
	loop(nf, 3, frame, 61);
	assert_int_equal(in(nf, RSR), 0x01);
	assert_int_equal(in(nf, ISR), 0x02);
	frame[60] ^= 1;
	loop(nf, 3, frame, 61);
	assert_int_equal(in(nf, RSR), 0x02);
	assert_int_equal(in(nf, ISR), 0x06);
	frame[5] ^= 1;
	loop(nf, 3, frame, 61); /* not for this card: not checked */
	assert_int_equal(in(nf, RSR), 0x01);
	assert_int_equal(in(nf, ISR), 0x02);
	/* word mode: every second byte takes part, the odd ones with DCR.BOS = 0 */
	for (unsigned int i = 0; i < 57; i++)
		twice[2 * i] = (uint8_t) ~(twice[2 * i + 1] = frame[i]);
	block_write(nf, TX_PAGE << 8, twice, 114, 1);
	out(nf, 0x41, DCFG);
	out(nf, 2, TXCR);
	trigger(nf, TX_PAGE, 114);
	eth_fcs(eth_crc_le(frame, 57), fcs);
	assert_int_equal(in(nf, FIFO), 61);
	for (int i = 1; i < 4; i++)
		fifo[i] = in(nf, FIFO);
	assert_int_equal(fifo[3], frame[56]);
	for (int i = 0; i < 4; i++)
		assert_int_equal(in(nf, FIFO), fcs[i]);
	/* nothing at all; everything */
	trigger(nf, TX_PAGE, 0);
	trigger(nf, TX_PAGE, 1);
	out(nf, 0x40, DCFG);
	trigger(nf, TX_PAGE, 0x8000);
	assert_int_equal(nf_n_sent(nf), 0); /* the wire is left alone */
	assert_int_equal(counter_get(&nf->nic->counters.looped), 10);
	nf_free(nf);
}

/* ---- drivers that mean harm ---- */

/* Rings of any shape, anywhere. What the card writes, it writes into its memory (ASan sees to
 * that). */
static void test_bad_rings(void **state)
{
	static const uint8_t shapes[][4] = {
		/* start, stop, boundary, current */
		{0x40, 0x40, 0x40, 0x40}, {0x80, 0x40, 0x50, 0x60}, {0, 0xff, 0, 0},
		{0, 0x80, 0x3f, 0x40},	  {0x40, 0xff, 0xfe, 0xc0}, {0xbf, 0xc0, 0xbf, 0xbf},
		{0x40, 0x41, 0x40, 0x40}, {0x40, 0xc0, 0xff, 0xbf}, {0x40, 0x46, 0, 0x45},
		{0x40, 0x47, 0x41, 0x40}, {0xb9, 0xc0, 0xb9, 0xbf}, {0x40, 0xc1, 0x50, 0x60},
		{0xff, 0xff, 0xff, 0xff}, {0x4c, 0x80, 0x4b, 0x4c}, {0x4c, 0x80, 0x4c, 0x4b},
	};

	for (int wait = 0; wait < 2; wait++) {
		struct nic_fixture *nf = up_with(wait ? OPTIONS : OPTIONS ",rx_wait=off");
		static uint8_t frame[1518];

		make(frame, sizeof(frame), mac, 1);
		for (size_t i = 0; i < sizeof(shapes) / sizeof(shapes[0]); i++) {
			out(nf, NODMA + STOP, CMD);
			out(nf, shapes[i][0], STARTPG);
			out(nf, shapes[i][1], STOPPG);
			out(nf, shapes[i][2], BOUNDARY);
			out_page(nf, PAGE1, shapes[i][3], CURPAG);
			nf->fake.in_first = nf->fake.in_end;
			for (unsigned int k = 0; k < 12; k++)
				nf_rx(nf, frame, 60 + k * 132);
			out(nf, NODMA + START, CMD);
			nf_run(nf);
			out(nf, NODMA + START, CMD);
			nf_run(nf);
			remote(nf, RREAD, 0xfff0, 0xffff);
			for (int k = 0; k < 20; k++)
				nf_in(nf, DATAPORT, 4);
		}
		nf_free(nf);
	}
}

/* Linux writes PSTART - 1 into BNRY: the last page of the ring is meant, and is kept free. */
static void test_boundary_before_start(void **state)
{
	struct nic_fixture *nf = up();
	static uint8_t frames[20][1514];

	for (unsigned int i = 0; i < 20; i++) {
		make(frames[i], 1514, mac, (uint8_t)i);
		nf_rx(nf, frames[i], 1514);
	}
	out(nf, RX_START - 1, BOUNDARY);
	nf_run(nf);
	assert_int_equal(counter_get(&nf->nic->counters.rx_frames), 8);
	nf_free(nf);
}

/* A ring that holds no full-sized frame takes what it can, and overflows. */
static void test_small_ring(void **state)
{
	struct nic_fixture *nf = up();
	static uint8_t frame[1514];

	make(frame, sizeof(frame), mac, 1);
	out(nf, 0x50, STARTPG);
	out(nf, 0x54, STOPPG);
	out(nf, 0x53, BOUNDARY);
	out_page(nf, PAGE1, 0x50, CURPAG);
	nf_rx(nf, frame, 300);
	nf_run(nf);
	assert_int_equal(in(nf, ISR), 1);
	assert_int_equal(in_page(nf, PAGE1, CURPAG), 0x52);
	nf_rx(nf, frame, 1514);
	nf_run(nf);
	assert_int_equal(in(nf, ISR), 0x91);
	nf_free(nf);
}

/* Writes to the data port that don't exit (bus/posted.h): any register, read or written, comes behind them. */
static void test_posted(void **state)
{
	struct nic_fixture *nf = up();
	struct posted *posted = &((struct ne2k *)nf->dev)->posted;
	struct vm *vm = nf->fp.p.vm;
	uint64_t port = pci_bar_address(pci_of(nf->dev), 0) + DATAPORT;
	uint8_t data[64] = {0}, back[64];
	cpu_set_t cpus;

	loop_set_poll_max(nf->nic->loop, 1000000);
	for (unsigned int i = 0; i < 1000 && !posted_stands(posted); i++) {
		for (unsigned int k = 0; k < 32; k++)
			nf_out(nf, DATAPORT, 4, 0);
		posted->poller.poll(&posted->poller);
	}
	if (sched_getaffinity(0, sizeof(cpus), &cpus) == 0 && CPU_COUNT(&cpus) == 1) {
		nf_free(nf);
		skip();
	}
	assert_true(posted_stands(posted));
	make(data, sizeof(data), broadcast, 77);
	remote(nf, RWRITE, TX_PAGE << 8, sizeof(data));
	for (unsigned int i = 0; i < 60; i += 4)
		assert_true(fake_vm_guest_write(vm, true, port, 4, pci_get32(data + i)));
	assert_true(fake_vm_guest_write(vm, true, port, 2, pci_get16(data + 60)));
	assert_false(in(nf, ISR) & 0x40);
	assert_true(fake_vm_guest_write(vm, true, port + 4, 2, pci_get16(data + 62)));
	assert_true(in(nf, ISR) & 0x40);
	assert_true(counter_get(&posted->counters.posted) >= 17);
	assert_false(fake_vm_guest_write(vm, true, port - DATAPORT + CMD, 1, START));
	assert_false(fake_vm_guest_write(vm, true, port - DATAPORT + RESET, 1, 0));
	trigger(nf, TX_PAGE, sizeof(data));
	assert_int_equal(nf_n_sent(nf), 1);
	assert_memory_equal(nf_sent(nf, 0)->data, data, sizeof(data));
	/* nobody reads: the I/O thread takes them */
	remote(nf, RWRITE, TX_PAGE << 8, 4);
	assert_true(fake_vm_guest_write(vm, true, port, 4, 0x01020304));
	posted->poller.poll(&posted->poller);
	block_read(nf, TX_PAGE << 8, back, 4, 4);
	assert_int_equal(pci_get32(back), 0x01020304);
	nf_free(nf);

	nf = up_with(OPTIONS ",posted=off");
	posted = &((struct ne2k *)nf->dev)->posted;
	for (unsigned int k = 0; k < 3200; k++)
		nf_out(nf, DATAPORT, 4, 0);
	posted->poller.poll(&posted->poller);
	assert_false(posted_stands(posted));
	nf_free(nf);
}

/* Two cards don't share anything. */
static void test_two(void **state)
{
	struct nic_fixture *a = up(), *b = up();
	uint8_t frame[64], buf[64];

	make(frame, sizeof(frame), mac, 1);
	block_write(a, TX_PAGE << 8, frame, 64, 4);
	block_read(b, TX_PAGE << 8, buf, 64, 4);
	assert_memory_not_equal(buf, frame, 64);
	nf_rx(a, frame, 64);
	nf_run(a);
	nf_run(b);
	assert_true(nf_irq(a));
	assert_false(nf_irq(b));
	nf_free(a);
	nf_free(b);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_identity),
		cmocka_unit_test(test_probe),
		cmocka_unit_test(test_registers),
		cmocka_unit_test(test_eeprom),
		cmocka_unit_test(test_config),
		cmocka_unit_test(test_memory),
		cmocka_unit_test(test_memory_ends),
		cmocka_unit_test(test_send_packet),
		cmocka_unit_test(test_transmit),
		cmocka_unit_test(test_transmit_odd),
		cmocka_unit_test(test_transmit_full),
		cmocka_unit_test(test_no_cable),
		cmocka_unit_test(test_receive),
		cmocka_unit_test(test_ring_full),
		cmocka_unit_test(test_ring_full_kicks),
		cmocka_unit_test(test_overflow),
		cmocka_unit_test(test_filter),
		cmocka_unit_test(test_too_long),
		cmocka_unit_test(test_off),
		cmocka_unit_test(test_acknowledge),
		cmocka_unit_test(test_interrupts),
		cmocka_unit_test(test_loopback),
		cmocka_unit_test(test_bad_rings),
		cmocka_unit_test(test_boundary_before_start),
		cmocka_unit_test(test_small_ring),
		cmocka_unit_test(test_posted),
		cmocka_unit_test(test_two),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
