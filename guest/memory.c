/*
 * See memory.h. Mappings above 4 GiB are added to the static page tables of start.S from here, in
 * ring 3, which reaches them like all memory; entries only ever go from not present to present,
 * so nothing needs to be flushed.
 */
#include "memory.h"

#include "boot.h"
#include "lib.h"
#include "power.h"
#include "serial.h"

#define GIB	    (1ull << 30)
#define PTE_TABLE   0x67
#define PTE_NOCACHE 0xff /* present, writable, user, PWT, PCD, accessed, dirty, 2 MiB */
#define MAX_GIBS    8

extern char image_end[];
extern uint64_t pdpt[512];

static uint64_t next, end;
static uint64_t top; /* what memory_reserve_top() took, 0: nothing yet */
static uint64_t tables[MAX_GIBS][512] __attribute__((aligned(4096)));
static uint32_t n_tables;

void memory_init(void)
{
	uint64_t start = (uintptr_t)image_end;

	for (uint32_t i = 0; i < boot.n_ranges; i++) {
		const struct boot_range *r = &boot.ranges[i];

		if (r->type == BOOT_RANGE_RAM && r->address <= start &&
		    r->address + r->size > start)
			end = MIN(r->address + r->size, 3 * GIB);
	}
	next = start;
}

void *memory_alloc(uint64_t size, uint64_t align)
{
	uint64_t at = (next + align - 1) & -align;

	if (at + size > end) {
		report("error=out-of-memory wanted=%lu free=%lu", size, end - next);
		power_end(POWER_EXIT_ERROR);
	}
	next = at + size;
	return memset((void *)at, 0, size);
}

void *memory_reserve_top(uint64_t size)
{
	if (!top) {
		top = (end - size) & -4096ull;
		end = top;
	}
	return (void *)top;
}

uint64_t memory_mark(void)
{
	return next;
}

void memory_release(uint64_t mark)
{
	next = mark;
}

static bool map_gib(uint64_t index)
{
	uint64_t *table;

	if (index >= 511)
		return false;
	if (pdpt[index])
		return true;
	if (n_tables == MAX_GIBS)
		return false;
	table = tables[n_tables++];
	for (uint64_t i = 0; i < 512; i++)
		table[i] = (index * GIB + (i << 21)) | PTE_NOCACHE;
	barrier();
	pdpt[index] = (uintptr_t)table | PTE_TABLE;
	return true;
}

void *memory_map_device(uint64_t address, uint64_t size)
{
	if (!address || !size || address + size < address)
		return NULL;
	for (uint64_t g = address / GIB; g <= (address + size - 1) / GIB; g++)
		if (!map_gib(g))
			return NULL;
	return (void *)address;
}
