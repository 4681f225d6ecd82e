/*
 * Inside boot/: what a kernel format is, and what it shares with boot.c.
 *
 * A format plans and later finishes. Planning reads headers only and turns them into spans: pieces
 * of guest RAM with what goes into them. boot.c checks each span (in RAM, not on the tables below),
 * finds a place for the initial RAM disk, and at each boot fills the spans from the files. Then the
 * format writes its information structure and says how the processor starts.
 *
 * Low memory, the same for all formats. The tables are gone once a kernel has copied what it wants:
 *
 *	0x70000  GDT
 *	0x71000  information structure (boot_params, hvm_start_info, multiboot information), 2 pages
 *	0x73000  page tables: the first 4 GiB, each address its own (64-bit entry only), 6 pages
 *	0x79000  a page of stack, growing down from 0x7a000
 *	0x80000  command line, up to 64 KiB
 *	0x9fc00  EBDA: empty; 0xe0000 ACPI, 0xf0000 SMBIOS
 *
 * The tables stay clear of the last pages below the EBDA, where Linux puts a trampoline while it
 * still uses the page tables that it was given.
 */
#ifndef VIREO_BOOT_LOADER_H
#define VIREO_BOOT_LOADER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "boot/image.h"
#include "boot/memmap.h"
#include "kvm/mem.h"
#include "kvm/vcpu.h"

#define BOOT_GDT	  0x70000
#define BOOT_INFO	  0x71000
#define BOOT_INFO_SIZE	  0x2000
#define BOOT_PAGE_TABLES  0x73000
#define BOOT_STACK_TOP	  0x7a000
#define BOOT_CMDLINE	  0x80000
#define BOOT_CMDLINE_SIZE 0x10000
#define BOOT_TABLES_END	  0x90000
#define BOOT_PAGE	  0x1000
#define BOOT_4G		  0x100000000ull

#define BOOT_CODE_SELECTOR 0x10 /* __BOOT_CS and __BOOT_DS of Linux's protocol; flat */
#define BOOT_DATA_SELECTOR 0x18

#define BOOT_HEAD_SIZE 8192 /* enough to tell each format: multiboot looks farthest */
#define BOOT_SPANS_MAX 64

struct boot_span {
	uint64_t gpa, size;		 /* in RAM */
	uint64_t file_offset, file_size; /* the kernel's bytes that go to its start; zeros follow */
	bool keep;			 /* what follows the file's bytes needn't be zero */
};

struct boot_format;

struct boot {
	const struct boot_format *format;
	const struct mem *mem;
	struct boot_image kernel, initrd; /* initrd.size 0: none */
	char *cmdline;
	size_t cmdline_len;	      /* without the NUL */
	uint8_t head[BOOT_HEAD_SIZE]; /* of the kernel; zeros where it is shorter */
	size_t head_len;

	/* Firmware's tables, as they are copied to PC_BIOS_BASE and PC_SMBIOS_BASE. */
	struct memmap map;
	uint8_t *acpi, *smbios;
	size_t acpi_size, smbios_size;
	uint64_t rsdp;

	/* Filled by the format's plan(). */
	struct boot_span span[BOOT_SPANS_MAX];
	unsigned int n_spans;
	uint64_t entry;	      /* guest-physical */
	uint64_t cmdline_max; /* characters that the kernel takes */
	uint64_t initrd_max;  /* last address that the RAM disk may use */
	bool initrd_above_4g; /* where it doesn't fit below initrd_max, it may go anywhere */
	bool initrd_low;      /* close behind the kernel, not as high as possible */
	uint8_t bz_header[0x290 - 0x1f1]; /* bzImage: setup header, from offset 0x1f1 */
	size_t bz_header_len;
	bool bz_64; /* bzImage: 64-bit entry */

	uint64_t initrd_gpa;
};

struct boot_format {
	const char *name;
	/* Looks at boot->head and the kernel: is it this format? No error: what is broken is
	 * plan()'s to say. */
	bool (*match)(const struct boot *boot);
	/* 0 or -errno with a message that starts with boot->kernel.option. */
	int (*plan)(struct boot *boot, struct err *err);
	/* Spans, RAM disk, command line, GDT and firmware tables are in RAM; info: BOOT_INFO_SIZE
	 * zero bytes at BOOT_INFO. Sets the entry's mode, rip and registers; segments and GDT are
	 * set already. */
	void (*finish)(const struct boot *boot, uint8_t *info, struct vcpu_entry *entry);
};

extern const struct boot_format bzimage_format, pvh_format, multiboot_format;

/* Adds a span after checking that RAM is there and boot's tables are not; size 0 adds nothing. */
int boot_span_add(struct boot *boot, const struct boot_span *span, struct err *err);
/* The first address from `from` on, a multiple of align (a power of two), that has size bytes of
 * RAM in one piece below `limit` and off the tables. 0 = none. */
uint64_t boot_find_ram(const struct boot *boot, uint64_t from, uint64_t size, uint64_t align,
		       uint64_t limit);
/* The same, but as high as possible. */
uint64_t boot_find_ram_high(const struct boot *boot, uint64_t from, uint64_t size, uint64_t align,
			    uint64_t limit);
/* Usable RAM above 1 MiB in one piece up to the hole: its end, for messages and multiboot's
 * mem_upper. */
uint64_t boot_low_ram_end(const struct boot *boot);

/* ELF files, for PVH and multiboot: */
bool elf_match(const struct boot *boot);
/* Adds a span for each PT_LOAD (by physical address). e_entry, translated to a physical address by
 * the segment that it lies in, goes to *entry. */
int elf_plan(struct boot *boot, uint64_t *entry, struct err *err);
/* Finds the PVH entry point in the notes: 1 found, 0 none, -errno when a note or header is broken.
 */
int elf_pvh_entry(const struct boot *boot, uint64_t *entry, struct err *err);

#endif
