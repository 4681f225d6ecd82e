/*
 * The MC146818's time registers as numbers: between the bytes of the CMOS memory and seconds since
 * 1970. Plain functions, no clock in them. cmos: at least 0x33 bytes.
 */
#ifndef VIREO_DEV_RTC_TIME_H
#define VIREO_DEV_RTC_TIME_H

#include <stdbool.h>
#include <stdint.h>

/* How the registers are written: register B's DM (binary, else BCD) and 24/12. */
struct rtc_format {
	bool binary;
	bool hours24;
};

/* Is it one that the clock changes: seconds to year without the alarms, or the century? */
bool rtc_time_is_register(unsigned int index);
/* For the years 0 to 9999. */
void rtc_time_encode(uint8_t *cmos, int64_t seconds, struct rtc_format format);
/* Fields out of range are brought into it (the 31st of February is the 2nd or 3rd of March). */
int64_t rtc_time_decode(const uint8_t *cmos, struct rtc_format format);
/* The first second after `after` at which the alarm registers match (11xxxxxx matches anything); -1
 * = no such time of day exists. */
int64_t rtc_time_next_alarm(const uint8_t *cmos, int64_t after, struct rtc_format format);

#endif
