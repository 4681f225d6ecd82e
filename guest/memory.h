/*
 * Guest RAM for drivers and tests, and access to device memory. Everything is identity mapped: an
 * address is a guest-physical address.
 */
#ifndef GUEST_MEMORY_H
#define GUEST_MEMORY_H

#include <stdint.h>

/* Takes the RAM behind the image. boot_parse() comes first. */
void memory_init(void);

/*
 * Returns zeroed memory: size bytes, align a power of two. Ends the guest with a message if there
 * is no more. Nothing is freed singly: memory_mark() and memory_release() work as a stack.
 */
void *memory_alloc(uint64_t size, uint64_t align);
uint64_t memory_mark(void);
void memory_release(uint64_t mark);

/*
 * The last size bytes of the RAM that memory_alloc() takes from, for good: nothing of the guest's
 * lies behind them, so that what is written too far does no harm.
 */
void *memory_reserve_top(uint64_t size);

/*
 * Maps device memory, uncached, at its own address; below 4 GiB it always is. NULL if impossible.
 */
void *memory_map_device(uint64_t address, uint64_t size);

/* The guest-physical address of guest memory, for a device. */
static inline uint64_t memory_address(const volatile void *p)
{
	return (uintptr_t)p;
}

#endif
