/*
 * The few library functions that a freestanding program needs: memory, strings, numbers, bits.
 */
#ifndef GUEST_LIB_H
#define GUEST_LIB_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define ARRAY_SIZE(a) (sizeof(a) / sizeof((a)[0]))
#define MIN(a, b)     ((a) < (b) ? (a) : (b))
#define MAX(a, b)     ((a) > (b) ? (a) : (b))

void *memcpy(void *to, const void *from, size_t bytes);
void *memmove(void *to, const void *from, size_t bytes);
void *memset(void *to, int byte, size_t bytes);
int memcmp(const void *a, const void *b, size_t bytes);
size_t strlen(const char *s);
int strcmp(const char *a, const char *b);
int strncmp(const char *a, const char *b, size_t n);

/*
 * Parses a number: decimal, or hexadecimal after 0x, with an optional suffix k, M or G (powers of
 * 1024). The whole of [s, s + len) has to be one. False if it isn't.
 */
bool parse_number(const char *s, size_t len, uint64_t *value);

static inline uint16_t swap16(uint16_t v)
{
	return __builtin_bswap16(v);
}

static inline uint32_t swap32(uint32_t v)
{
	return __builtin_bswap32(v);
}

/* A compiler barrier: what x86's strong ordering needs between ordinary loads, and stores. */
static inline void barrier(void)
{
	__asm__ volatile("" ::: "memory");
}

/* Orders earlier stores before later loads, the one reordering that x86 does. */
static inline void barrier_store_load(void)
{
	__asm__ volatile("lock; addl $0, -4(%%rsp)" ::: "memory", "cc");
}

static inline void pause(void)
{
	__asm__ volatile("pause" ::: "memory");
}

/* A small, fast generator (xorshift64*) for tests; the same seed gives the same run. */
static inline uint64_t random_next(uint64_t *state)
{
	uint64_t x = *state ? *state : 0x9e3779b97f4a7c15;

	x ^= x >> 12;
	x ^= x << 25;
	x ^= x >> 27;
	*state = x;
	return x * 0x2545f4914f6cdd1d;
}

#endif
