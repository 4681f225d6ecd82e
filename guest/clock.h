/*
 * Time, from the TSC, which ring 3 reads without an exit.
 */
#ifndef GUEST_CLOCK_H
#define GUEST_CLOCK_H

#include <stdint.h>

/* Finds the TSC's frequency. */
void clock_init(void);

/* TSC ticks per second, and where that figure came from. */
uint64_t clock_hz(void);
const char *clock_source(void);

/* Ticks to nanoseconds. */
uint64_t clock_ticks_to_ns(uint64_t ticks);

static inline uint64_t clock_ticks(void)
{
	uint32_t low, high;

	__asm__ volatile("rdtsc" : "=a"(low), "=d"(high)::"memory");
	return (uint64_t)high << 32 | low;
}

/* Nanoseconds since the TSC was zero: differences mean something, the value doesn't. */
static inline uint64_t clock_ns(void)
{
	return clock_ticks_to_ns(clock_ticks());
}

#define NS_PER_MS 1000000ull
#define NS_PER_S  1000000000ull

#endif
