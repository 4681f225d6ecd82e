/*
 * The real-time clock under a hostile guest, and its conversion of any bytes to a time and back.
 *
 * Input: 64 bytes of CMOS memory for the conversion, then operations on the chip: pairs of index
 * and data, where index 0x80 and up is a read, 0xff lets the control loop run.
 */
#include <stdlib.h>
#include <string.h>

#include "dev/rtc_time.h"
#include "fake_platform.h"
#include "input.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void convert(struct input *in)
{
	uint8_t cmos[64], again[64];

	for (unsigned int i = 0; i < sizeof(cmos); i++)
		cmos[i] = (uint8_t)input_take(in, 1);
	memcpy(again, cmos, sizeof(again));
	for (unsigned int f = 0; f < 4; f++) {
		struct rtc_format format = {.binary = f & 1, .hours24 = f & 2};
		int64_t t = rtc_time_decode(cmos, format);
		int64_t alarm = rtc_time_next_alarm(cmos, t, format);

		if (alarm != -1 && (alarm <= t || alarm > t + 86400))
			abort();
		/* The century has two digits. */
		if (t < INT64_C(-62000000000) || t >= INT64_C(253402300800))
			continue;
		rtc_time_encode(again, t, format);
		if (rtc_time_decode(again, format) != t)
			abort();
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct input in = {data, size};
	struct fake_platform fp;
	struct device *rtc;
	struct err err;

	convert(&in);
	fp_init(&fp);
	rtc = fp_device(&fp, "mc146818rtc", "rtc", NULL, &err);
	if (!rtc)
		abort();
	for (unsigned int i = 0; in.n && i < 500; i++) {
		uint8_t index = (uint8_t)input_take(&in, 1), value = (uint8_t)input_take(&in, 1);

		fp_out(&fp, 0x70, 1, index);
		if (index == 0xff)
			fp_run_posted(&fp);
		else if (index & 0x80)
			fp_in(&fp, 0x71, 1);
		else
			fp_out(&fp, 0x71, 1, value);
	}
	device_destroy(rtc);
	fp_run_posted(&fp);
	fp_destroy(&fp);
	return 0;
}
