/*
 * The serial port at the wire level: what a driver sees in the registers, and bytes through a real
 * character back end.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "char/char.h"
#include "fake_platform.h"

#define COM1 0x3f8
#define IRQ  4

enum {
	RBR = COM1,
	IER,
	IIR,
	LCR,
	MCR,
	LSR,
	MSR,
	SCR,
	THR = RBR,
	FCR = IIR
};

static struct fake_platform fp;
static struct device *uart;
static int peer = -1;
static char path[64];

static struct char_backend *socket_backend(void)
{
	struct opt_list list = {0};
	struct char_backend *chr;
	struct err err = {0};
	char text[128];
	bool mux;

	snprintf(text, sizeof(text), "unix:%s,server=on,wait=off", path);
	assert_int_equal(char_parse_short("-serial", text, &list, &mux, &err), 0);
	chr = char_create(fp.p.control, &list, &err);
	if (!chr)
		print_message("%s\n", err.msg);
	assert_non_null(chr);
	opt_free(&list);
	return chr;
}

static void connect_peer(void)
{
	struct sockaddr_un a = {.sun_family = AF_UNIX};

	snprintf(a.sun_path, sizeof(a.sun_path), "%s", path);
	peer = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0);
	assert_true(peer >= 0);
	assert_int_equal(connect(peer, (struct sockaddr *)&a, sizeof(a)), 0);
	fp_run(&fp, 10);
}

static int setup(void **state)
{
	struct err err = {0};

	snprintf(path, sizeof(path), "/tmp/vireo-test-uart-%d", (int)getpid());
	fp_init(&fp);
	fp.chr = socket_backend();
	uart = fp_device(&fp, "isa-serial", "serial0", "chardev=c", &err);
	assert_non_null(uart);
	connect_peer();
	return 0;
}

static int teardown(void **state)
{
	device_destroy(uart);
	fp_run(&fp, 1); /* what was deferred */
	char_destroy(fp.chr);
	close(peer);
	fp_destroy(&fp);
	return 0;
}

static uint8_t in(uint16_t port)
{
	return (uint8_t)fp_in(&fp, port, 1);
}

static void out(uint16_t port, uint8_t value)
{
	fp_out(&fp, port, 1, value);
}

static void say(const char *text)
{
	assert_int_equal(write(peer, text, strlen(text)), strlen(text));
	fp_run(&fp, 10);
}

static void test_registers(void **state)
{
	assert_int_equal(in(LSR), 0x60);
	assert_int_equal(in(IIR), 0x01);
	assert_int_equal(in(MSR), 0xb0);
	out(SCR, 0x5a);
	assert_int_equal(in(SCR), 0x5a);
	out(IER, 0xff);
	assert_int_equal(in(IER), 0x0f);
	out(MCR, 0xff);
	assert_int_equal(in(MCR), 0x1f);
	out(LCR, 0x83);
	out(RBR, 0x34);
	out(IER, 0x12);
	assert_int_equal(in(RBR), 0x34);
	assert_int_equal(in(IER), 0x12);
	out(LCR, 0x03);
	assert_int_equal(in(LCR), 0x03);
	assert_int_equal(in(IER), 0x0f);
	out(FCR, 0x01);
	assert_int_equal(in(IIR)&0xc0, 0xc0);
	out(FCR, 0x00);
	assert_int_equal(in(IIR)&0xc0, 0x00);
	/* two registers in one access */
	fp_out(&fp, SCR - 1, 2, 0x7700);
	assert_int_equal(fp_in(&fp, SCR - 1, 2) >> 8, 0x77);
}

static void test_loopback(void **state)
{
	out(FCR, 0x01);
	out(MCR, 0x1a);
	assert_int_equal(in(MSR)&0xf0, 0x90);
	out(MCR, 0x15);
	assert_int_equal(in(MSR), 0x60 | 0x0b); /* CTS, DSR, DCD changed */
	assert_int_equal(in(MSR), 0x60);
	out(MCR, 0x10);
	assert_int_equal(in(MSR), 0x06); /* DSR changed, RI's trailing edge */
	for (unsigned int i = 0; i < 17; i++)
		out(THR, (uint8_t)i);
	assert_int_equal(in(LSR), 0x63); /* one too many: overrun, told once */
	assert_int_equal(in(LSR), 0x61);
	for (unsigned int i = 0; i < 16; i++)
		assert_int_equal(in(RBR), i);
	assert_int_equal(in(LSR), 0x60);
	out(MCR, 0x00);
	fp_run(&fp, 5);
	assert_true(read(peer, &(char){0}, 1) < 0);
}

static void test_transmit(void **state)
{
	char buf[32];

	out(MCR, 0x08);
	out(IER, 0x02);
	/* enabling while empty is a cause; reading IIR takes it */
	assert_true(fake_vm_level(fp.p.vm, IRQ));
	assert_int_equal(in(IIR), 0x02);
	assert_false(fake_vm_level(fp.p.vm, IRQ));
	assert_int_equal(in(IIR), 0x01);
	for (const char *s = "hello, world"; *s; s++)
		out(THR, (uint8_t)*s);
	assert_true(fake_vm_level(fp.p.vm, IRQ));
	assert_true(read(peer, buf, sizeof(buf)) < 0); /* nothing from the vCPU's thread */
	fp_run(&fp, 10);
	assert_int_equal(read(peer, buf, sizeof(buf)), 12);
	assert_memory_equal(buf, "hello, world", 12);
}

/* A back end that doesn't take: THRE holds the guest back, and no byte is lost. */
static void test_flow_control(void **state)
{
	unsigned int sent = 0, got = 0, stalls = 0;
	uint8_t buf[4096];
	ssize_t n;

	out(MCR, 0x08);
	while (sent < 1 << 20) {
		if (in(LSR)&0x20) {
			out(THR, (uint8_t)(sent * 7 + (sent >> 8)));
			sent++;
			continue;
		}
		stalls++;
		assert_int_equal(in(LSR)&0x40, 0);
		fp_run(&fp, 1);
		if (in(LSR)&0x20)
			continue;
		/* the peer's buffers are full */
		n = read(peer, buf, sizeof(buf));
		for (ssize_t i = 0; i < n; i++, got++)
			assert_int_equal(buf[i], (uint8_t)(got * 7 + (got >> 8)));
	}
	assert_true(stalls > 0);
	out(IER, 0x02);
	in(IIR);
	while (got < sent) {
		n = read(peer, buf, sizeof(buf));
		for (ssize_t i = 0; i < n; i++, got++)
			assert_int_equal(buf[i], (uint8_t)(got * 7 + (got >> 8)));
		if (n < 0)
			fp_run(&fp, 1);
	}
	assert_true(in(LSR)&0x20);
}

static void test_receive(void **state)
{
	out(MCR, 0x08);
	out(FCR, 0x01 | 0x80); /* trigger at 8 */
	out(IER, 0x01);
	say("abc");
	assert_true(fake_vm_level(fp.p.vm, IRQ));
	assert_int_equal(in(IIR), 0xcc); /* time-out: below the trigger */
	assert_int_equal(in(LSR), 0x61);
	assert_int_equal(in(RBR), 'a');
	assert_int_equal(in(RBR), 'b');
	assert_true(fake_vm_level(fp.p.vm, IRQ));
	assert_int_equal(in(RBR), 'c');
	assert_false(fake_vm_level(fp.p.vm, IRQ));
	assert_int_equal(in(IIR), 0xc1);
	say("0123456789abcdefghijklmnopqrstuvwxyz");
	assert_int_equal(in(IIR), 0xc4);
	for (const char *s = "0123456789abcdef"; *s; s++)
		assert_int_equal(in(RBR), *s);
	assert_int_equal(in(LSR), 0x60);
	fp_run(&fp, 10); /* the rest comes when there is room */
	for (const char *s = "ghijklmnopqrstuv"; *s; s++)
		assert_int_equal(in(RBR), *s);
	fp_run(&fp, 10);
	for (const char *s = "wxyz"; *s; s++)
		assert_int_equal(in(RBR), *s);
	assert_int_equal(in(RBR), 0);
	/* without FIFO: one at a time */
	out(FCR, 0x00);
	say("xy");
	assert_int_equal(in(IIR), 0x04);
	assert_int_equal(in(RBR), 'x');
	assert_int_equal(in(LSR), 0x60);
	fp_run(&fp, 10);
	assert_int_equal(in(RBR), 'y');
}

static void test_priorities(void **state)
{
	out(FCR, 0x01);
	out(MCR, 0x10); /* loop-back: no line */
	for (unsigned int i = 0; i < 17; i++)
		out(THR, 0);
	out(IER, 0x0f);
	assert_false(fake_vm_level(fp.p.vm, IRQ));
	assert_int_equal(in(IIR), 0xc6);
	in(LSR);
	assert_int_equal(in(IIR), 0xc4);
	out(FCR, 0x03);
	assert_int_equal(in(IIR), 0xc2);
	assert_int_equal(in(IIR), 0xc0);
	in(MSR);
	assert_int_equal(in(IIR), 0xc1);
	/* OUT2 gates */
	out(IER, 0x00);
	out(MCR, 0x00);
	out(IER, 0x02);
	assert_false(fake_vm_level(fp.p.vm, IRQ));
	out(MCR, 0x08);
	assert_true(fake_vm_level(fp.p.vm, IRQ));
	device_reset(uart);
	assert_false(fake_vm_level(fp.p.vm, IRQ));
}

static void test_last_words(void **state)
{
	struct char_backend *chr = fp.chr;
	struct err err = {0};
	char buf[8];

	out(THR, '!');
	device_destroy(uart);
	assert_int_equal(read(peer, buf, sizeof(buf)), 1);
	/* without a back end, at a place of its own choice */
	uart = fp_device(&fp, "isa-serial", "s", "iobase=0x3e8,irq=7", &err);
	assert_non_null(uart);
	out(0x3e8, 'x');
	assert_int_equal(in(0x3ed), 0x60);
	out(0x3ec, 0x08);
	out(0x3e9, 0x02);
	assert_true(fake_vm_level(fp.p.vm, 7));
	fp.chr = NULL;
	assert_null(fp_device(&fp, "isa-serial", "t", "chardev=nobody,index=1", &err));
	assert_non_null(strstr(err.msg, "nobody"));
	assert_null(fp_device(&fp, "isa-serial", "t", "index=4", &err));
	fp.chr = chr;
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_registers, setup, teardown),
		cmocka_unit_test_setup_teardown(test_loopback, setup, teardown),
		cmocka_unit_test_setup_teardown(test_transmit, setup, teardown),
		cmocka_unit_test_setup_teardown(test_flow_control, setup, teardown),
		cmocka_unit_test_setup_teardown(test_receive, setup, teardown),
		cmocka_unit_test_setup_teardown(test_priorities, setup, teardown),
		cmocka_unit_test_setup_teardown(test_last_words, setup, teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
