/*
 * What the loader told: command line, memory map, ACPI root. Copied at start, so that the loader's
 * own tables may be overwritten afterwards.
 */
#ifndef GUEST_BOOT_H
#define GUEST_BOOT_H

#include <stdint.h>

#define BOOT_MAX_RANGES 32

#define BOOT_RANGE_RAM 1 /* E820 types, ACPI 6.4 section 15 */

struct boot_range {
	uint64_t address; /* bytes */
	uint64_t size;	  /* bytes */
	uint32_t type;
};

struct boot_info {
	const char *protocol; /* "pvh", "multiboot" or "unknown" */
	uint64_t rsdp;	      /* guest-physical address of the ACPI RSDP, 0 if not told */
	uint32_t n_ranges;
	struct boot_range ranges[BOOT_MAX_RANGES];
	char command_line[2048];
};

extern struct boot_info boot;

/* magic: %eax at entry; info: %ebx at entry. */
void boot_parse(uint32_t magic, uint32_t info);

/* The end of guest RAM below 4 GiB and above it (0 if none there), in bytes. */
uint64_t boot_low_ram_end(void);
uint64_t boot_high_ram_end(void);

#endif
