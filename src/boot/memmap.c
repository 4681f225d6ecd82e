/*
 * See memmap.h. Control thread.
 */
#include "boot/memmap.h"

#include <stdbool.h>

#include "bus/pc.h"

static void add(struct memmap *map, uint64_t from, uint64_t to, uint32_t type)
{
	if (from < to)
		map->entry[map->n++] = (struct memmap_entry){from, to - from, type};
}

static uint64_t min(uint64_t a, uint64_t b)
{
	return a < b ? a : b;
}

static uint64_t max(uint64_t a, uint64_t b)
{
	return a > b ? a : b;
}

void memmap_build(struct memmap *map, const struct mem *mem)
{
	bool low_done = false, hole_done = false;

	map->n = 0;
	for (unsigned int i = 0; i < mem->n_ranges; i++) {
		uint64_t from = mem->range[i].gpa, to = from + mem->range[i].size;

		add(map, from, min(to, PC_EBDA), MEMMAP_USABLE);
		if (!low_done && to > PC_EBDA) {
			add(map, PC_EBDA, PC_LOW_RAM_END, MEMMAP_RESERVED);
			add(map, PC_BIOS_BASE, PC_BIOS_END, MEMMAP_RESERVED);
			low_done = true;
		}
		if (!hole_done && to > PC_RAM_ABOVE_HOLE) {
			add(map, PC_HOLE_RESERVED, PC_RAM_ABOVE_HOLE, MEMMAP_RESERVED);
			hole_done = true;
		}
		add(map, max(from, PC_BIOS_END), to, MEMMAP_USABLE);
	}
	if (!hole_done)
		add(map, PC_HOLE_RESERVED, PC_RAM_ABOVE_HOLE, MEMMAP_RESERVED);
}
