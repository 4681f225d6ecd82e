/*
 * The MC146818's time registers; see rtc_time.h. MC146818A/D, "Time, calendar, and alarm
 * locations", table 2.
 *
 * The century (the PC's addition, at bus/pc.h's PC_CMOS_CENTURY) is BCD in both modes.
 */
#include "dev/rtc_time.h"

#include <time.h>

#include "bus/pc.h"

enum {
	SECONDS = 0,
	SECONDS_ALARM = 1,
	MINUTES = 2,
	MINUTES_ALARM = 3,
	HOURS = 4,
	HOURS_ALARM = 5,
	WEEKDAY = 6, /* 1 = Sunday */
	DAY = 7,
	MONTH = 8,
	YEAR = 9,

	HOURS_PM = 0x80,
	ALARM_ANY = 0xc0,
};

#define DAY_SECONDS 86400

static uint8_t to_bcd(int n)
{
	return (uint8_t)(n / 10 << 4 | n % 10);
}

static int from_bcd(uint8_t b)
{
	return (b >> 4) * 10 + (b & 15);
}

static uint8_t put(int n, struct rtc_format format)
{
	return format.binary ? (uint8_t)n : to_bcd(n);
}

static int get(uint8_t b, struct rtc_format format)
{
	return format.binary ? b : from_bcd(b);
}

static uint8_t put_hour(int hour, struct rtc_format format)
{
	if (format.hours24)
		return put(hour, format);
	return put(hour % 12 ? hour % 12 : 12, format) | (hour >= 12 ? HOURS_PM : 0);
}

static int get_hour(uint8_t b, struct rtc_format format)
{
	if (format.hours24)
		return get(b, format);
	return get(b & (uint8_t)~HOURS_PM, format) % 12 + (b & HOURS_PM ? 12 : 0);
}

bool rtc_time_is_register(unsigned int index)
{
	return index == SECONDS || index == MINUTES || index == HOURS ||
	       (index >= WEEKDAY && index <= YEAR) || index == PC_CMOS_CENTURY;
}

void rtc_time_encode(uint8_t *cmos, int64_t seconds, struct rtc_format format)
{
	time_t t = seconds;
	struct tm tm = {0};
	int year;

	gmtime_r(&t, &tm);
	year = tm.tm_year + 1900;
	cmos[SECONDS] = put(tm.tm_sec, format);
	cmos[MINUTES] = put(tm.tm_min, format);
	cmos[HOURS] = put_hour(tm.tm_hour, format);
	cmos[WEEKDAY] = put(tm.tm_wday + 1, format);
	cmos[DAY] = put(tm.tm_mday, format);
	cmos[MONTH] = put(tm.tm_mon + 1, format);
	cmos[YEAR] = put(year % 100, format);
	cmos[PC_CMOS_CENTURY] = to_bcd(year / 100);
}

int64_t rtc_time_decode(const uint8_t *cmos, struct rtc_format format)
{
	struct tm tm = {
		.tm_sec = get(cmos[SECONDS], format),
		.tm_min = get(cmos[MINUTES], format),
		.tm_hour = get_hour(cmos[HOURS], format),
		.tm_mday = get(cmos[DAY], format),
		.tm_mon = get(cmos[MONTH], format) - 1,
		.tm_year = from_bcd(cmos[PC_CMOS_CENTURY]) * 100 + get(cmos[YEAR], format) - 1900,
	};

	return timegm(&tm);
}

static bool matches(uint8_t alarm, int value, struct rtc_format format)
{
	return (alarm & ALARM_ANY) == ALARM_ANY || get(alarm, format) == value;
}

static bool matches_hour(uint8_t alarm, int hour, struct rtc_format format)
{
	return (alarm & ALARM_ANY) == ALARM_ANY || get_hour(alarm, format) == hour;
}

int64_t rtc_time_next_alarm(const uint8_t *cmos, int64_t after, struct rtc_format format)
{
	int64_t t = after + 1, end = t + DAY_SECONDS;

	/* At most 24 + 60 + 60 steps: what doesn't match is skipped whole. */
	while (t < end) {
		int64_t day = t % DAY_SECONDS < 0 ? t % DAY_SECONDS + DAY_SECONDS : t % DAY_SECONDS;
		int second = (int)(day % 60), minute = (int)(day / 60 % 60),
		    hour = (int)(day / 3600);

		if (!matches_hour(cmos[HOURS_ALARM], hour, format))
			t += 3600 - day % 3600;
		else if (!matches(cmos[MINUTES_ALARM], minute, format))
			t += 60 - second;
		else if (!matches(cmos[SECONDS_ALARM], second, format))
			t++;
		else
			return t;
	}
	return -1;
}
