/*
 * Multiboot 1, for small kernels: Multiboot Specification 0.6.96.
 *
 * The header is in the first 8 KiB of the file and says where the kernel goes: by the addresses in
 * the header itself ("a.out kludge", flag bit 16), else by the ELF program headers, 32 bit as the
 * specification has it, or 64 bit. The processor starts in 32-bit protected mode, %eax = magic,
 * %ebx = multiboot information. An initial RAM disk becomes the only module; the boot device, the
 * symbol table, drives, APM and VBE are not told.
 */
#include <errno.h>
#include <string.h>

#include "boot/loader.h"
#include "bus/pc.h"

#define MULTIBOOT_HEADER_MAGIC	   0x1badb002 /* §3.1.2 */
#define MULTIBOOT_BOOTLOADER_MAGIC 0x2badb002 /* §3.2 */
#define MULTIBOOT_PAGE_ALIGN	   0x00000001
#define MULTIBOOT_MEMORY_INFO	   0x00000002
#define MULTIBOOT_VIDEO_MODE	   0x00000004
#define MULTIBOOT_AOUT_KLUDGE	   0x00010000
#define MULTIBOOT_MUST_KNOW \
	0x0000ffff /* a loader must refuse those of these that it doesn't know */

#define MULTIBOOT_INFO_MEMORY	   0x001
#define MULTIBOOT_INFO_CMDLINE	   0x004
#define MULTIBOOT_INFO_MODS	   0x008
#define MULTIBOOT_INFO_MEM_MAP	   0x040
#define MULTIBOOT_INFO_LOADER_NAME 0x200

struct multiboot_header {
	uint32_t magic, flags, checksum;
	uint32_t header_addr, load_addr, load_end_addr, bss_end_addr, entry_addr;
};

struct multiboot_info { /* §3.3 */
	uint32_t flags;
	uint32_t mem_lower, mem_upper; /* KiB, from 0 and from 1 MiB */
	uint32_t boot_device;
	uint32_t cmdline;
	uint32_t mods_count, mods_addr;
	uint32_t syms[4];
	uint32_t mmap_length, mmap_addr; /* bytes */
	uint32_t drives_length, drives_addr;
	uint32_t config_table;
	uint32_t boot_loader_name;
	uint32_t apm_table;
};

struct multiboot_module {
	uint32_t mod_start, mod_end; /* end: the first byte behind */
	uint32_t string;
	uint32_t reserved;
};

struct multiboot_mmap {
	uint32_t size; /* of the rest of the entry */
	uint64_t base_addr, length;
	uint32_t type;
} __attribute__((packed));

/* How the information pages are used. */
struct multiboot_page {
	struct multiboot_info info;
	struct multiboot_module module;
	char empty_string[4];
	char loader_name[8];
	struct multiboot_mmap map[MEMMAP_MAX];
};
_Static_assert(sizeof(struct multiboot_mmap) == 24, "§3.3");
_Static_assert(sizeof(struct multiboot_page) <= BOOT_INFO_SIZE, "must fit");

/* Offset of the header in the head; -1 = none. Fields past the file's end read as zero. */
static long find_header(const struct boot *boot, struct multiboot_header *h)
{
	for (size_t at = 0; at + 12 <= boot->head_len; at += 4) {
		size_t n = BOOT_HEAD_SIZE - at < sizeof(*h) ? BOOT_HEAD_SIZE - at : sizeof(*h);

		memset(h, 0, sizeof(*h));
		memcpy(h, boot->head + at, n);
		if (h->magic == MULTIBOOT_HEADER_MAGIC &&
		    (uint32_t)(h->magic + h->flags + h->checksum) == 0)
			return (long)at;
	}
	return -1;
}

static bool multiboot_match(const struct boot *boot)
{
	struct multiboot_header h;

	return find_header(boot, &h) >= 0;
}

/* §3.1.3: the header lies at header_addr once loaded, which gives the place of all else. */
static int plan_kludge(struct boot *boot, const struct multiboot_header *h, uint64_t at,
		       struct err *err)
{
	uint64_t back = (uint64_t)h->header_addr - h->load_addr; /* wraps if it is before */
	uint64_t offset = at - back, file_size, size;

	if (h->load_addr > h->header_addr || back > at)
		return err_set(err, -EINVAL,
			       "%s: broken multiboot header: load address 0x%x is before the file",
			       boot->kernel.option, h->load_addr);
	file_size = boot->kernel.size - offset;
	if (h->load_end_addr) {
		if (h->load_end_addr < h->load_addr || h->load_end_addr - h->load_addr > file_size)
			return err_set(err, -EINVAL,
				       "%s: cut short or broken: the multiboot header's load end "
				       "0x%x is not in the file",
				       boot->kernel.option, h->load_end_addr);
		file_size = h->load_end_addr - h->load_addr;
	}
	size = file_size;
	if (h->bss_end_addr) {
		if (h->bss_end_addr < h->load_addr + file_size)
			return err_set(err, -EINVAL,
				       "%s: broken multiboot header: bss ends at 0x%x, in the "
				       "loaded part",
				       boot->kernel.option, h->bss_end_addr);
		size = h->bss_end_addr - h->load_addr;
	}
	boot->entry = h->entry_addr;
	return boot_span_add(boot,
			     &(struct boot_span){.gpa = h->load_addr,
						 .size = size,
						 .file_offset = offset,
						 .file_size = file_size},
			     err);
}

static int multiboot_plan(struct boot *boot, struct err *err)
{
	struct multiboot_header h = {0};
	long at = find_header(boot, &h);
	uint32_t unknown;
	int rc;

	unknown = h.flags & MULTIBOOT_MUST_KNOW & ~(MULTIBOOT_PAGE_ALIGN | MULTIBOOT_MEMORY_INFO);
	if (unknown & MULTIBOOT_VIDEO_MODE)
		return err_set(err, -ENOTSUP,
			       "%s: a multiboot kernel that asks for a video mode; vireo has no "
			       "display to give it (clear bit 2 of its header's flags)",
			       boot->kernel.option);
	if (unknown)
		return err_set(err, -ENOTSUP,
			       "%s: a multiboot kernel that needs unknown features (flags 0x%x)",
			       boot->kernel.option, h.flags);
	boot->initrd_max = BOOT_4G - 1;
	boot->initrd_low = true; /* small kernels map little and look behind themselves */
	boot->cmdline_max = BOOT_CMDLINE_SIZE - 1;
	if (h.flags & MULTIBOOT_AOUT_KLUDGE)
		return plan_kludge(boot, &h, at, err);
	if (!elf_match(boot))
		return err_set(err, -EINVAL,
			       "%s: a multiboot kernel with neither addresses in its header nor "
			       "an ELF header",
			       boot->kernel.option);
	rc = elf_plan(boot, &boot->entry, err);
	if (rc == 0 && boot->entry >= BOOT_4G)
		return err_set(err, -EINVAL, "%s: the entry point 0x%llx is not below 4 GiB",
			       boot->kernel.option, (unsigned long long)boot->entry);
	return rc;
}

static void multiboot_finish(const struct boot *boot, uint8_t *info, struct vcpu_entry *entry)
{
	struct multiboot_page *page = (struct multiboot_page *)info; /* BOOT_INFO is page-aligned */

	page->info = (struct multiboot_info){
		.flags = MULTIBOOT_INFO_MEMORY | MULTIBOOT_INFO_CMDLINE | MULTIBOOT_INFO_MEM_MAP |
			 MULTIBOOT_INFO_LOADER_NAME,
		.mem_lower = PC_EBDA >> 10,
		.mem_upper = (boot_low_ram_end(boot) - PC_BIOS_END) >> 10,
		.cmdline = BOOT_CMDLINE,
		.mmap_length = boot->map.n * sizeof(page->map[0]),
		.mmap_addr = BOOT_INFO + offsetof(struct multiboot_page, map),
		.boot_loader_name = BOOT_INFO + offsetof(struct multiboot_page, loader_name),
	};
	memcpy(page->loader_name, "vireo", sizeof("vireo"));
	if (boot->initrd.size) {
		page->info.flags |= MULTIBOOT_INFO_MODS;
		page->info.mods_count = 1;
		page->info.mods_addr = BOOT_INFO + offsetof(struct multiboot_page, module);
		page->module = (struct multiboot_module){
			.mod_start = boot->initrd_gpa,
			.mod_end = boot->initrd_gpa + boot->initrd.size,
			.string = BOOT_INFO + offsetof(struct multiboot_page, empty_string),
		};
	}
	for (unsigned int i = 0; i < boot->map.n; i++)
		page->map[i] = (struct multiboot_mmap){
			.size = sizeof(page->map[0]) - sizeof(page->map[0].size),
			.base_addr = boot->map.entry[i].address,
			.length = boot->map.entry[i].size,
			.type = boot->map.entry[i].type,
		};
	entry->mode = VCPU_PROTECTED32;
	entry->rip = boot->entry;
	entry->rax = MULTIBOOT_BOOTLOADER_MAGIC;
	entry->rbx = BOOT_INFO;
}

const struct boot_format multiboot_format = {
	.name = "multiboot",
	.match = multiboot_match,
	.plan = multiboot_plan,
	.finish = multiboot_finish,
};
