/*
 * RTL8029 as its drivers see it: identity, registers on all pages, EEPROM, and its memory behind
 * the data port, also by writes that don't exit. What it sends is test_ne2k_pci_tx.c's, what it
 * receives test_ne2k_pci_rx.c's.
 */
#include <sched.h>

#include "ne2k_driver.h"

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
		cmocka_unit_test(test_identity),    cmocka_unit_test(test_probe),
		cmocka_unit_test(test_registers),   cmocka_unit_test(test_eeprom),
		cmocka_unit_test(test_config),	    cmocka_unit_test(test_memory),
		cmocka_unit_test(test_memory_ends), cmocka_unit_test(test_send_packet),
		cmocka_unit_test(test_posted),	    cmocka_unit_test(test_two),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
