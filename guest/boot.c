/*
 * See boot.h. Structures after Xen's public/arch-x86/hvm/start_info.h, version 1 (version 0 has no
 * memory map), and the Multiboot Specification 0.6.96, section 3.3.
 */
#include "boot.h"

#include "layout.h"
#include "lib.h"

struct hvm_start_info {
	uint32_t magic;
	uint32_t version;
	uint32_t flags;
	uint32_t nr_modules;
	uint64_t modlist_paddr;
	uint64_t cmdline_paddr;
	uint64_t rsdp_paddr;
	uint64_t memmap_paddr;
	uint32_t memmap_entries;
	uint32_t reserved;
};

struct hvm_memmap_table_entry {
	uint64_t addr;
	uint64_t size;
	uint32_t type;
	uint32_t reserved;
};

#define MULTIBOOT_INFO_MEMORY  0x1
#define MULTIBOOT_INFO_CMDLINE 0x4
#define MULTIBOOT_INFO_MMAP    0x40

struct multiboot_info {
	uint32_t flags;
	uint32_t mem_lower; /* KiB */
	uint32_t mem_upper; /* KiB from 1 MiB on */
	uint32_t boot_device;
	uint32_t cmdline;
	uint32_t mods_count;
	uint32_t mods_addr;
	uint32_t syms[4];
	uint32_t mmap_length;
	uint32_t mmap_addr;
};

struct multiboot_mmap_entry {
	uint32_t size; /* of the rest of the entry */
	uint64_t addr;
	uint64_t len;
	uint32_t type;
} __attribute__((packed));

struct boot_info boot = {.protocol = "unknown"};

static void *at(uint64_t address)
{
	return (void *)(uintptr_t)address;
}

static void add_range(uint64_t address, uint64_t size, uint32_t type)
{
	if (boot.n_ranges < BOOT_MAX_RANGES)
		boot.ranges[boot.n_ranges++] = (struct boot_range){address, size, type};
}

static void copy_command_line(uint64_t address)
{
	const char *from = at(address);
	uint32_t i;

	for (i = 0; address && from[i] && i < sizeof(boot.command_line) - 1; i++)
		boot.command_line[i] = from[i];
	boot.command_line[i] = '\0';
}

static void parse_pvh(const struct hvm_start_info *info)
{
	const struct hvm_memmap_table_entry *map;

	boot.protocol = "pvh";
	copy_command_line(info->cmdline_paddr);
	boot.rsdp = info->rsdp_paddr;
	if (info->version < 1)
		return;
	map = at(info->memmap_paddr);
	for (uint32_t i = 0; i < info->memmap_entries; i++)
		add_range(map[i].addr, map[i].size, map[i].type);
}

static void parse_multiboot(const struct multiboot_info *info)
{
	boot.protocol = "multiboot";
	if (info->flags & MULTIBOOT_INFO_CMDLINE)
		copy_command_line(info->cmdline);
	if (info->flags & MULTIBOOT_INFO_MMAP) {
		uint32_t offset = 0;

		while (offset < info->mmap_length) {
			const struct multiboot_mmap_entry *e = at(info->mmap_addr + offset);

			add_range(e->addr, e->len, e->type);
			offset += e->size + sizeof(e->size);
		}
	} else if (info->flags & MULTIBOOT_INFO_MEMORY) {
		add_range(0, (uint64_t)info->mem_lower << 10, BOOT_RANGE_RAM);
		add_range(1 << 20, (uint64_t)info->mem_upper << 10, BOOT_RANGE_RAM);
	}
}

void boot_parse(uint32_t magic, uint32_t info)
{
	const struct hvm_start_info *pvh = at(info);

	if (magic == MULTIBOOT_START_MAGIC)
		parse_multiboot(at(info));
	else if (pvh->magic == PVH_START_MAGIC)
		parse_pvh(pvh);
}

static uint64_t ram_end(uint64_t from, uint64_t to)
{
	uint64_t end = 0;

	for (uint32_t i = 0; i < boot.n_ranges; i++) {
		const struct boot_range *r = &boot.ranges[i];

		if (r->type == BOOT_RANGE_RAM && r->address >= from && r->address < to)
			end = MAX(end, r->address + r->size);
	}
	return end;
}

uint64_t boot_low_ram_end(void)
{
	return ram_end(0, 1ull << 32);
}

uint64_t boot_high_ram_end(void)
{
	return ram_end(1ull << 32, ~0ull);
}
