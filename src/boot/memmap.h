/*
 * The memory map that firmware would tell: which guest-physical ranges are RAM to use, and which
 * are taken. ACPI 6.4 §15, "System Address Map Interfaces" (E820); PVH and multiboot have the same
 * types.
 */
#ifndef VIREO_BOOT_MEMMAP_H
#define VIREO_BOOT_MEMMAP_H

#include <stdint.h>

#include "kvm/mem.h"

#define MEMMAP_USABLE	1
#define MEMMAP_RESERVED 2

/* Each range of RAM may be cut in two by the tables below 1 MiB, and there are 3 reserved entries.
 */
#define MEMMAP_MAX (2 * MEM_RANGES_MAX + 3)

struct memmap_entry {
	uint64_t address, size; /* bytes */
	uint32_t type;
};

struct memmap {
	struct memmap_entry entry[MEMMAP_MAX]; /* rising, no overlap */
	unsigned int n;
};

/* RAM is usable but for [PC_EBDA, PC_BIOS_END), of which the EBDA and the BIOS area are reserved
 * and the rest is left out; so is [PC_HOLE_RESERVED, 4 GiB). */
void memmap_build(struct memmap *map, const struct mem *mem);

#endif
