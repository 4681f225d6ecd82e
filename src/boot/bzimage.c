/*
 * Linux bzImage: Linux Documentation/arch/x86/boot.rst ("the document"), protocols 2.02 to 2.15.
 *
 *	file:  boot sector and setup code, (setup_sects + 1) * 512 bytes | protected-mode kernel
 *
 * Only the second part is loaded; the setup code is for real mode. The kernel starts at its 64-bit
 * entry (load address + 0x200: page tables that map the low 4 GiB to themselves, %rsi =
 * boot_params) where it has one, else at the 32-bit entry (load address, paging off, %esi).
 * boot_params starts as zeros and the kernel's own setup header, as the document asks, so that a
 * field which is unknown here keeps the kernel's value.
 *
 * What is not used: the real-mode entry, EFI handover, setup_data (the kernel's own value stays),
 * old zImages that load at 64 KiB.
 */
#include <asm/bootparam.h>
#include <errno.h>
#include <stddef.h>
#include <string.h>

#include "boot/loader.h"
#include "bus/pc.h"

#define SETUP_HEADER	   0x1f1      /* offset in the file, and in boot_params */
#define SETUP_HEADER_MAGIC 0x53726448 /* "HdrS" */
#define BOOT_FLAG	   0xaa55
#define BOOT_FLAG_OFFSET   0x1fe
#define MAGIC_OFFSET	   0x202
#define JUMP_LENGTH_OFFSET 0x201 /* the header ends at 0x202 + this byte */
#define ENTRY_64	   0x200
#define LOADER_UNDEFINED   0xff /* type_of_loader: no id assigned */
#define VIDEO_MODE_NORMAL  0xffff
#define LOAD_ADDRESS_OLD   0x100000   /* before protocol 2.10 */
#define INITRD_MAX_OLD	   0x37ffffff /* before 2.03 */
#define CMDLINE_MAX_OLD	   255	      /* before 2.06 */
#define PTE_PRESENT_RW	   0x3
#define PTE_LARGE	   0x80

_Static_assert(offsetof(struct boot_params, hdr) == SETUP_HEADER, "boot_params");
_Static_assert(sizeof(struct boot_params) == BOOT_PAGE, "boot_params");
_Static_assert(sizeof(struct setup_header) <= sizeof(((struct boot *)0)->bz_header), "header");
_Static_assert(MEMMAP_MAX <= E820_MAX_ENTRIES_ZEROPAGE, "memory map");

static bool bzimage_match(const struct boot *boot)
{
	uint32_t magic;
	uint16_t flag;

	memcpy(&magic, boot->head + MAGIC_OFFSET, sizeof(magic));
	memcpy(&flag, boot->head + BOOT_FLAG_OFFSET, sizeof(flag));
	return flag == BOOT_FLAG && magic == SETUP_HEADER_MAGIC;
}

/* The header as this kernel's protocol version has it: what is not in it yet has the value that the
 * document gives for older versions. */
static void read_header(struct boot *boot, struct setup_header *h)
{
	size_t len = MAGIC_OFFSET + boot->head[JUMP_LENGTH_OFFSET] - SETUP_HEADER;
	uint16_t version;

	if (len > sizeof(boot->bz_header))
		len = sizeof(boot->bz_header);
	memcpy(boot->bz_header, boot->head + SETUP_HEADER, len);
	boot->bz_header_len = len;
	memset(h, 0, sizeof(*h));
	memcpy(h, boot->bz_header, len < sizeof(*h) ? len : sizeof(*h));
	if (h->setup_sects == 0)
		h->setup_sects = 4;
	version = h->version;
	if (version < 0x20c)
		h->xloadflags = 0;
	if (version < 0x20a) {
		h->pref_address = LOAD_ADDRESS_OLD;
		h->init_size = 0;
	}
	if (version < 0x206)
		h->cmdline_size = CMDLINE_MAX_OLD;
	if (version < 0x205) {
		h->relocatable_kernel = 0;
		h->kernel_alignment = 0;
	}
	if (version < 0x204)
		h->syssize = 0; /* only its low half is valid */
	if (version < 0x203)
		h->initrd_addr_max = INITRD_MAX_OLD;
}

static int check_header(const struct boot *boot, const struct setup_header *h, struct err *err)
{
	if (boot->bz_header_len < offsetof(struct setup_header, cmd_line_ptr) + 4 ||
	    h->version < 0x202)
		return err_set(err, -ENOTSUP,
			       "%s: boot protocol %u.%02u is too old (2.02 is the oldest: Linux "
			       "2.4 or newer)",
			       boot->kernel.option, h->version >> 8, h->version & 0xff);
	if (!(h->loadflags & LOADED_HIGH))
		return err_set(err, -ENOTSUP,
			       "%s: a zImage, which loads below 640 KiB (build a bzImage)",
			       boot->kernel.option);
	if (h->kernel_alignment & (h->kernel_alignment - 1))
		return err_set(err, -EINVAL,
			       "%s: broken header: kernel_alignment 0x%x is not a power of two",
			       boot->kernel.option, h->kernel_alignment);
	return 0;
}

/* Where the protected-mode kernel goes: its preferred address, else, if it can be moved, the first
 * place that fits. */
static uint64_t choose_address(const struct boot *boot, const struct setup_header *h, uint64_t size)
{
	uint64_t align = h->kernel_alignment ? h->kernel_alignment : BOOT_PAGE, at;

	if (!h->relocatable_kernel)
		return h->pref_address;
	at = boot_find_ram(boot, h->pref_address, size, align, BOOT_4G);
	return at ? at : h->pref_address; /* boot_span_add() says what is wrong with it */
}

static int bzimage_plan(struct boot *boot, struct err *err)
{
	struct boot_span span = {.keep = true}; /* the kernel clears its own memory */
	struct setup_header h;
	uint64_t wanted;
	int rc;

	read_header(boot, &h);
	rc = check_header(boot, &h, err);
	if (rc < 0)
		return rc;
	span.file_offset = (h.setup_sects + 1) * 512;
	if (span.file_offset >= boot->kernel.size)
		return err_set(err, -EINVAL, "%s: cut short: only its setup code is there",
			       boot->kernel.option);
	span.file_size = boot->kernel.size - span.file_offset;
	/* syssize counts paragraphs of 16 bytes, the last of which may not be whole. A signature
	 * may follow it. */
	wanted = (uint64_t)h.syssize * 16;
	if (wanted > span.file_size + 15)
		return err_set(err, -EINVAL,
			       "%s: cut short: the file has %llu bytes, its header says %llu (copy "
			       "or build it again)",
			       boot->kernel.option, (unsigned long long)boot->kernel.size,
			       (unsigned long long)(span.file_offset + wanted));
	if (wanted && wanted < span.file_size)
		span.file_size = wanted;
	span.size = h.init_size > span.file_size ? h.init_size : span.file_size;
	span.gpa = choose_address(boot, &h, span.size);
	if (span.gpa >= BOOT_4G || span.gpa + span.size > BOOT_4G)
		return err_set(err, -EINVAL,
			       "%s: broken header: it wants to run at 0x%llx, above 4 GiB",
			       boot->kernel.option, (unsigned long long)span.gpa);
	boot->bz_64 = h.xloadflags & XLF_KERNEL_64;
	boot->entry = span.gpa + (boot->bz_64 ? ENTRY_64 : 0);
	boot->cmdline_max = h.cmdline_size;
	boot->initrd_max = h.initrd_addr_max;
	boot->initrd_above_4g = boot->bz_64 && (h.xloadflags & XLF_CAN_BE_LOADED_ABOVE_4G);
	return boot_span_add(boot, &span, err);
}

/* The low 4 GiB, each address its own, in 2 MiB pages: PML4, page-directory-pointer table, 4 page
 * directories (SDM vol. 3A §4.5). */
static void write_page_tables(const struct boot *boot)
{
	uint64_t *table = mem_ptr(boot->mem, BOOT_PAGE_TABLES, 6 * BOOT_PAGE);
	uint64_t *directories = table + 2 * 512;

	memset(table, 0, 2 * BOOT_PAGE);
	table[0] = (BOOT_PAGE_TABLES + BOOT_PAGE) | PTE_PRESENT_RW;
	for (unsigned int i = 0; i < 4; i++)
		table[512 + i] = (BOOT_PAGE_TABLES + (2 + i) * BOOT_PAGE) | PTE_PRESENT_RW;
	for (uint64_t i = 0; i < 4 * 512; i++)
		directories[i] = i << 21 | PTE_LARGE | PTE_PRESENT_RW;
}

static void bzimage_finish(const struct boot *boot, uint8_t *info, struct vcpu_entry *entry)
{
	struct boot_params *bp = (struct boot_params *)info; /* BOOT_INFO is page-aligned */

	memcpy(info + SETUP_HEADER, boot->bz_header, boot->bz_header_len);
	bp->hdr.vid_mode = VIDEO_MODE_NORMAL;
	bp->hdr.type_of_loader = LOADER_UNDEFINED;
	bp->hdr.loadflags &= ~(CAN_USE_HEAP | KEEP_SEGMENTS);
	bp->hdr.code32_start = boot->span[0].gpa;
	bp->hdr.cmd_line_ptr = BOOT_CMDLINE;
	bp->hdr.ramdisk_image = (uint32_t)boot->initrd_gpa;
	bp->hdr.ramdisk_size = (uint32_t)boot->initrd.size;
	bp->ext_ramdisk_image = boot->initrd_gpa >> 32;
	bp->ext_ramdisk_size = boot->initrd.size >> 32;
	bp->acpi_rsdp_addr = boot->rsdp;
	bp->e820_entries = boot->map.n;
	for (unsigned int i = 0; i < boot->map.n; i++)
		bp->e820_table[i] =
			(struct boot_e820_entry){boot->map.entry[i].address,
						 boot->map.entry[i].size, boot->map.entry[i].type};
	entry->rip = boot->entry;
	entry->rsi = BOOT_INFO;
	entry->rsp = BOOT_STACK_TOP;
	if (boot->bz_64) {
		write_page_tables(boot);
		entry->mode = VCPU_LONG64;
		entry->cr3 = BOOT_PAGE_TABLES;
	} else {
		entry->mode = VCPU_PROTECTED32;
	}
}

const struct boot_format bzimage_format = {
	.name = "bzImage",
	.match = bzimage_match,
	.plan = bzimage_plan,
	.finish = bzimage_finish,
};
