/*
 * The real-time clock: conversion of its registers, and the chip at the wire level.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <string.h>
#include <time.h>

#include "dev/rtc_time.h"
#include "fake_platform.h"

#define NS_PER_MS 1000000u
#define IRQ	  8

static const struct rtc_format bcd24 = {false, true};
static const struct rtc_format bcd12 = {false, false};
static const struct rtc_format bin24 = {true, true};
static const struct rtc_format bin12 = {true, false};

/* ---- conversion ---- */

static void test_encode(void **state)
{
	uint8_t c[0x40] = {0};

	rtc_time_encode(c, 951782399, bcd24); /* Mon 28 Feb 2000 23:59:59 */
	assert_memory_equal(c, "\x59\0\x59\0\x23\0\x02\x28\x02\x00", 10);
	assert_int_equal(c[0x32], 0x20);
	rtc_time_encode(c, 951782399, bcd12);
	assert_int_equal(c[4], 0x91);
	rtc_time_encode(c, 951782399, bin24);
	assert_memory_equal(c, "\x3b\0\x3b\0\x17\0\x02\x1c\x02\x00", 10);
	rtc_time_encode(c, 951782400, bin12); /* midnight is 12 a.m. */
	assert_int_equal(c[4], 12);
	assert_int_equal(c[7], 29);
	rtc_time_encode(c, 951782400 + 43200, bin12); /* noon is 12 p.m. */
	assert_int_equal(c[4], 0x8c);
}

static void test_round_trip(void **state)
{
	static const struct rtc_format formats[] = {
		{false, true}, {false, false}, {true, true}, {true, false}};
	uint8_t c[0x40];

	for (unsigned int f = 0; f < 4; f++) {
		for (int64_t t = -2000000000; t < INT64_C(8000000000); t += 12345677) {
			rtc_time_encode(c, t, formats[f]);
			assert_int_equal(rtc_time_decode(c, formats[f]), t);
		}
	}
}

static void test_alarm(void **state)
{
	uint8_t c[0x40] = {0};
	int64_t day = INT64_C(86400) * 20000;

	c[1] = 0x30;
	c[3] = 0x15;
	c[5] = 0x07;
	assert_int_equal(rtc_time_next_alarm(c, day, bcd24), day + 7 * 3600 + 15 * 60 + 30);
	assert_int_equal(rtc_time_next_alarm(c, day + 7 * 3600 + 15 * 60 + 30, bcd24),
			 day + 86400 + 7 * 3600 + 15 * 60 + 30);
	c[5] = 0xff;
	assert_int_equal(rtc_time_next_alarm(c, day + 3600, bcd24), day + 3600 + 15 * 60 + 30);
	c[3] = 0xc0;
	assert_int_equal(rtc_time_next_alarm(c, day + 31, bcd24), day + 90);
	c[1] = 0xff;
	assert_int_equal(rtc_time_next_alarm(c, day + 31, bcd24), day + 32);
	c[5] = 0x87; /* 7 p.m. */
	c[3] = 0;
	c[1] = 0;
	assert_int_equal(rtc_time_next_alarm(c, day, bcd12), day + 19 * 3600);
	c[5] = 0x25;
	assert_int_equal(rtc_time_next_alarm(c, day, bcd24), -1);
}

/* ---- the chip ---- */

static struct fake_platform fp;
static struct device *rtc;

static int setup(void **state)
{
	struct err err = {0};

	fp_init(&fp);
	rtc = fp_device(&fp, "mc146818rtc", "rtc", "base=951782390,ram-below-4g=3G,ram-above-4g=5G",
			&err);
	if (!rtc)
		print_message("%s\n", err.msg);
	assert_non_null(rtc);
	return 0;
}

static int teardown(void **state)
{
	device_destroy(rtc);
	fp_run(&fp, 1);
	fp_destroy(&fp);
	return 0;
}

static uint8_t get(uint8_t index)
{
	fp_out(&fp, 0x70, 1, index);
	return (uint8_t)fp_in(&fp, 0x71, 1);
}

static void put(uint8_t index, uint8_t value)
{
	fp_out(&fp, 0x70, 1, index);
	fp_out(&fp, 0x71, 1, value);
}

static void test_clock(void **state)
{
	assert_int_equal(get(0x0a) & 0x7f, 0x26);
	assert_int_equal(get(0x0b), 0x02);
	assert_int_equal(get(0x0d), 0x80);
	assert_in_range(get(0x00), 0x50, 0x52);
	assert_int_equal(get(0x02), 0x59);
	assert_int_equal(get(0x04), 0x23);
	assert_int_equal(get(0x07), 0x28);
	assert_int_equal(get(0x32), 0x20);
	/* set: it stands, then goes on from there */
	put(0x0b, 0x82);
	put(0x00, 0x58);
	put(0x02, 0x34);
	put(0x04, 0x12);
	put(0x07, 0x31);
	put(0x08, 0x12);
	put(0x09, 0x99);
	put(0x32, 0x19);
	fp_run(&fp, 20);
	assert_int_equal(get(0x00), 0x58);
	assert_int_equal(get(0x0a) & 0x80, 0);
	put(0x0b, 0x02);
	assert_int_equal(get(0x00), 0x58);
	assert_int_equal(get(0x09), 0x99);
	/* the other formats show the same time */
	put(0x0b, 0x06);
	assert_int_equal(get(0x02), 34);
	assert_int_equal(get(0x09), 99);
	put(0x0b, 0x00);
	assert_int_equal(get(0x04), 0x92);
	fp_run(&fp, 1050);
	assert_int_equal(get(0x00), 0x59);
	/* a system reset leaves it alone */
	device_reset(rtc);
	assert_int_equal(get(0x02), 0x34);
}

/* Letting the divider go: the next update comes half a second later. */
static void test_divider(void **state)
{
	uint64_t begin;
	uint8_t second;

	put(0x0b, 0x82);
	put(0x0a, 0x76);
	put(0x00, 0x10);
	put(0x0b, 0x02);
	fp_run(&fp, 20);
	assert_int_equal(get(0x00), 0x10);
	begin = loop_now_ns();
	put(0x0a, 0x26);
	fp_run(&fp, 300);
	second = get(0x00);
	if (loop_now_ns() - begin < 490 * NS_PER_MS) /* a busy host may have slept longer */
		assert_int_equal(second, 0x10);
	while (loop_now_ns() - begin < 550 * NS_PER_MS)
		fp_run(&fp, 50);
	second = get(0x00);
	if (loop_now_ns() - begin < 1490 * NS_PER_MS)
		assert_int_equal(second, 0x11);
}

static void test_periodic(void **state)
{
	unsigned int n;

	put(0x0a, 0x26); /* 1024 Hz */
	assert_int_equal(get(0x0c) & 0xf0, 0);
	fp_run(&fp, 3);
	assert_int_equal(get(0x0c) & 0xc0, 0x40); /* flag without interrupt */
	assert_int_equal(fake_vm_edges(fp.p.vm, IRQ), 0);
	put(0x0b, 0x42);
	fp_run(&fp, 5);
	/* one edge until C is read */
	assert_true(fake_vm_level(fp.p.vm, IRQ));
	assert_int_equal(fake_vm_edges(fp.p.vm, IRQ), 1);
	assert_int_equal(get(0x0c) & 0xc0, 0xc0);
	for (unsigned int i = 0; i < 50; i++) {
		fp_run(&fp, 2);
		get(0x0c);
	}
	n = fake_vm_edges(fp.p.vm, IRQ);
	assert_in_range(n, 40, 101);
	put(0x0b, 0x02);
	get(0x0c);
	assert_false(fake_vm_level(fp.p.vm, IRQ));
	fp_run(&fp, 5);
	assert_int_equal(fake_vm_edges(fp.p.vm, IRQ), 0);
}

static void test_update_and_alarm(void **state)
{
	put(0x01, 0xff);
	put(0x03, 0xff);
	put(0x05, 0xff);
	get(0x0c);
	put(0x0b, 0x32); /* alarm each second, and update */
	fp_run(&fp, 1050);
	assert_int_equal(get(0x0c) & 0xb0, 0xb0);
	assert_in_range(fake_vm_edges(fp.p.vm, IRQ), 1, 2);
	put(0x05, 0x04); /* not in the next hours */
	put(0x0b, 0x22);
	get(0x0c);
	fp_run(&fp, 1050);
	assert_int_equal(get(0x0c) & 0xb0, 0x10);
	put(0x0b, 0x72);
	fp_run(&fp, 10);
	device_reset(rtc);
	assert_false(fake_vm_level(fp.p.vm, IRQ));
	assert_int_equal(get(0x0b), 0x02);
}

static void test_nvram(void **state)
{
	assert_int_equal(get(0x15) | get(0x16) << 8, 640);
	assert_int_equal(get(0x17) | get(0x18) << 8, 63 * 1024);
	assert_int_equal(get(0x30) | get(0x31) << 8, 63 * 1024);
	assert_int_equal(get(0x34) | get(0x35) << 8, (3072 - 16) * 16);
	assert_int_equal(get(0x5b) | get(0x5c) << 8 | get(0x5d) << 16, 5 << 14);
	put(0x7f, 0xa5);
	assert_int_equal(get(0xff), 0xa5); /* bit 7 is the NMI mask */
	put(0x0d, 0);
	assert_int_equal(get(0x0d), 0x80);
	assert_int_equal(fp_in(&fp, 0x70, 1), 0xff);
}

/* Whatever is in the registers, the clock is some time and goes on. */
static void test_garbage(void **state)
{
	for (unsigned int b = 0; b < 8; b += 2) {
		put(0x0b, 0x80 | (uint8_t)b);
		for (uint8_t i = 0; i < 10; i++)
			put(i, 0xff);
		put(0x32, 0xff);
		put(0x0b, (uint8_t)b | 0x70);
		for (uint8_t i = 0; i < 14; i++)
			get(i);
		fp_run(&fp, 2);
	}
	for (uint8_t i = 0; i < 10; i++)
		put(i, 0xee);
	get(0x0c);
}

static void test_base(void **state)
{
	struct err err = {0};
	struct device *dev;
	time_t now = time(NULL);
	struct tm tm;

	assert_null(fp_device(&fp, "mc146818rtc", "x", "base=yesterday", &err));
	assert_non_null(strstr(err.msg, "base=yesterday"));
	device_destroy(rtc);
	dev = fp_device(&fp, "mc146818rtc", "x", "base=localtime", &err);
	assert_non_null(dev);
	localtime_r(&now, &tm);
	assert_int_equal(get(0x04), tm.tm_hour / 10 << 4 | tm.tm_hour % 10);
	device_destroy(dev);
	rtc = fp_device(&fp, "mc146818rtc", "x", NULL, &err);
	gmtime_r(&now, &tm);
	assert_int_equal(get(0x07), tm.tm_mday / 10 << 4 | tm.tm_mday % 10);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_encode),
		cmocka_unit_test(test_round_trip),
		cmocka_unit_test(test_alarm),
		cmocka_unit_test_setup_teardown(test_clock, setup, teardown),
		cmocka_unit_test_setup_teardown(test_divider, setup, teardown),
		cmocka_unit_test_setup_teardown(test_periodic, setup, teardown),
		cmocka_unit_test_setup_teardown(test_update_and_alarm, setup, teardown),
		cmocka_unit_test_setup_teardown(test_nvram, setup, teardown),
		cmocka_unit_test_setup_teardown(test_garbage, setup, teardown),
		cmocka_unit_test_setup_teardown(test_base, setup, teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
