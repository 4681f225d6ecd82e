/*
 * PVH: an ELF file whose Xen note names a 32-bit entry point.
 *
 * Source: Xen docs/misc/pvh.pandoc and public/arch-x86/hvm/start_info.h, version 1. The processor
 * starts in 32-bit protected mode without paging, flat segments, interrupts off, %ebx = address of
 * hvm_start_info. Linux (CONFIG_PVH), the built-in guest and others start so.
 *
 * All addresses in the structures are guest-physical; the 32-bit entry can reach those below 4 GiB,
 * so the RAM disk stays there.
 */
#include <errno.h>

#include "boot/loader.h"

#define XEN_HVM_START_MAGIC_VALUE 0x336ec578

struct hvm_start_info {
	uint32_t magic;
	uint32_t version;
	uint32_t flags; /* SIF_xxx: none */
	uint32_t nr_modules;
	uint64_t modlist_paddr;
	uint64_t cmdline_paddr;
	uint64_t rsdp_paddr;
	uint64_t memmap_paddr;
	uint32_t memmap_entries;
	uint32_t reserved;
};

struct hvm_modlist_entry {
	uint64_t paddr;
	uint64_t size; /* bytes */
	uint64_t cmdline_paddr;
	uint64_t reserved;
};

struct hvm_memmap_table_entry {
	uint64_t addr;
	uint64_t size;
	uint32_t type; /* E820's */
	uint32_t reserved;
};

/* How the information pages are used. */
struct pvh_page {
	struct hvm_start_info start;
	struct hvm_modlist_entry module;
	struct hvm_memmap_table_entry map[MEMMAP_MAX];
};
_Static_assert(sizeof(struct hvm_start_info) == 56, "start_info.h, version 1");
_Static_assert(sizeof(struct pvh_page) <= BOOT_INFO_SIZE, "must fit");

static bool pvh_match(const struct boot *boot)
{
	uint64_t entry;

	return elf_match(boot) && elf_pvh_entry(boot, &entry, NULL) == 1;
}

static int pvh_plan(struct boot *boot, struct err *err)
{
	uint64_t ignored, entry = 0;
	int rc = elf_pvh_entry(boot, &entry, err);

	if (rc < 0)
		return rc;
	if (entry >= BOOT_4G)
		return err_set(err, -EINVAL, "%s: the PVH entry point 0x%llx is not below 4 GiB",
			       boot->kernel.option, (unsigned long long)entry);
	boot->entry = entry;
	boot->initrd_max = BOOT_4G - 1;
	boot->cmdline_max = BOOT_CMDLINE_SIZE - 1;
	return elf_plan(boot, &ignored, err);
}

static void pvh_finish(const struct boot *boot, uint8_t *info, struct vcpu_entry *entry)
{
	struct pvh_page *page = (struct pvh_page *)info; /* BOOT_INFO is page-aligned */

	page->start = (struct hvm_start_info){
		.magic = XEN_HVM_START_MAGIC_VALUE,
		.version = 1,
		.cmdline_paddr = BOOT_CMDLINE,
		.rsdp_paddr = boot->rsdp,
		.memmap_paddr = BOOT_INFO + offsetof(struct pvh_page, map),
		.memmap_entries = boot->map.n,
	};
	if (boot->initrd.size) {
		page->start.nr_modules = 1;
		page->start.modlist_paddr = BOOT_INFO + offsetof(struct pvh_page, module);
		page->module = (struct hvm_modlist_entry){.paddr = boot->initrd_gpa,
							  .size = boot->initrd.size};
	}
	for (unsigned int i = 0; i < boot->map.n; i++)
		page->map[i] = (struct hvm_memmap_table_entry){.addr = boot->map.entry[i].address,
							       .size = boot->map.entry[i].size,
							       .type = boot->map.entry[i].type};
	entry->mode = VCPU_PROTECTED32;
	entry->rip = boot->entry;
	entry->rbx = BOOT_INFO;
}

const struct boot_format pvh_format = {
	.name = "PVH",
	.match = pvh_match,
	.plan = pvh_plan,
	.finish = pvh_finish,
};
