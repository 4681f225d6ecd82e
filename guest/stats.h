/*
 * Order statistics of measured times.
 */
#ifndef GUEST_STATS_H
#define GUEST_STATS_H

#include <stdint.h>

/* Sorts in place, ascending. */
void stats_sort(uint32_t *values, uint32_t n);

/* The value at permille/1000 of a sorted row that isn't empty. */
uint32_t stats_at(const uint32_t *values, uint32_t n, uint32_t permille);

/* Appends " min_ns= median_ns= p99_ns= max_ns= " of n values to the line; sorts them. */
void stats_say(uint32_t *values, uint32_t n);

#endif
