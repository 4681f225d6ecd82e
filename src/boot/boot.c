/*
 * See boot.h: prepare (open, tell the format, plan, check, build tables), load (write it all).
 *
 * Control thread. What is written at load lies in ranges that were checked at prepare, so that
 * after a good prepare only reading the files can fail.
 */
#include "boot/boot.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "boot/acpi.h"
#include "boot/embed.h"
#include "boot/loader.h"
#include "boot/smbios.h"
#include "bus/pc.h"

/* BIOS data area, IBM PC/AT BIOS: what is left of low memory. Old kernels read it to find the EBDA.
 */
#define BDA_EBDA_SEGMENT 0x40e
#define BDA_MEMORY_SIZE	 0x413 /* KiB */

static const struct boot_format *const formats[] = {&bzimage_format, &pvh_format,
						    &multiboot_format};

/* ---- prepare ---- */

struct known_file {
	size_t offset;
	const char *magic;
	size_t len;
	const char *what;
};

/* What people give for a kernel by mistake, and what to do then. */
static const struct known_file known_files[] = {
	{0, "\177ELF", 4,
	 "an ELF file that has neither a PVH note nor a multiboot header (a Linux kernel needs "
	 "CONFIG_PVH=y; or give its bzImage)"},
	{0, "\037\213", 2, "compressed by gzip (unpack it: gunzip)"},
	{0, "\3757zXZ", 5, "compressed by xz (unpack it: unxz)"},
	{0, "\050\265\057\375", 4, "compressed by zstd (unpack it: unzstd)"},
	{0, "070701", 6, "a cpio archive, such as an initial RAM disk (-initrd takes it)"},
	{0, "QFI\373", 4, "a qcow2 disk image (-drive takes disks)"},
	{0, "MZ", 2, "an EFI program, but no Linux bzImage for x86"},
	{0x38, "ARMd", 4, "a Linux kernel for ARM; one for x86 is needed"},
	{510, "\125\252", 2, "a boot sector or disk image (-drive takes disks)"},
};

static int say_unknown(const struct boot *boot, struct err *err)
{
	uint64_t entry;

	if (elf_match(boot)) { /* broken, or for another processor? */
		int rc = elf_pvh_entry(boot, &entry, err);

		if (rc < 0)
			return rc;
	}
	for (size_t i = 0; i < sizeof(known_files) / sizeof(known_files[0]); i++) {
		const struct known_file *k = &known_files[i];

		if (boot->head_len >= k->offset + k->len &&
		    !memcmp(boot->head + k->offset, k->magic, k->len))
			return err_set(err, -ENOEXEC, "%s: not a kernel: %s", boot->kernel.option,
				       k->what);
	}
	return err_set(
		err, -ENOEXEC,
		"%s: not a kernel (it takes a Linux bzImage, an ELF file with a PVH note, or a "
		"multiboot 1 kernel)",
		boot->kernel.option);
}

static int open_images(struct boot *boot, const struct boot_config *config, struct err *err)
{
	int rc;

	if (!config->kernel)
		return err_set(err, -EINVAL,
			       "no kernel to start (give -kernel FILE, or -kernel "
			       "builtin: for the guest that is part of vireo)");
	if (strcmp(config->kernel, BOOT_BUILTIN) == 0)
		rc = image_bytes(&boot->kernel, "-kernel", BOOT_BUILTIN,
				 config->builtin ? config->builtin : embed_guest,
				 config->builtin ? config->builtin_size
						 : (size_t)(embed_guest_end - embed_guest),
				 err);
	else
		rc = image_open(&boot->kernel, "-kernel", config->kernel, err);
	if (rc == 0 && config->initrd)
		rc = image_open(&boot->initrd, "-initrd", config->initrd, err);
	if (rc < 0)
		return rc;
	boot->head_len = boot->kernel.size < BOOT_HEAD_SIZE ? boot->kernel.size : BOOT_HEAD_SIZE;
	return image_read(&boot->kernel, 0, boot->head, boot->head_len, err);
}

static int check_ram(const struct boot *boot, struct err *err)
{
	if (mem_ptr(boot->mem, 0, PC_LOW_RAM_END) &&
	    mem_ptr(boot->mem, PC_BIOS_BASE, PC_BIOS_END - PC_BIOS_BASE))
		return 0;
	return err_set(err, -EINVAL,
		       "less than 1 MiB of RAM: no room for a kernel (give it more with -m)");
}

static int build_tables(struct boot *boot, const struct boot_config *config, struct err *err)
{
	const struct acpi_config acpi = {
		.cpus = config->cpus,
		.apic_ids = config->apic_ids,
		.serial_ports = config->serial_ports,
		.keyboard = config->keyboard,
	};
	const size_t acpi_room = PC_SMBIOS_BASE - PC_BIOS_BASE;
	const size_t smbios_room = PC_BIOS_END - PC_SMBIOS_BASE;
	uint8_t uuid[16];
	long n;
	int rc;

	rc = smbios_parse_uuid(config->uuid, uuid, err);
	if (rc < 0)
		return rc;
	boot->acpi = malloc(acpi_room);
	boot->smbios = malloc(smbios_room);
	if (!boot->acpi || !boot->smbios)
		return err_set(err, -ENOMEM, "out of memory");
	n = acpi_build(&acpi, PC_BIOS_BASE, boot->acpi, acpi_room);
	if (n < 0)
		return err_set(err, n, "-smp %u: the ACPI tables have room for 1 to %u processors",
			       config->cpus, ACPI_CPUS_MAX);
	boot->acpi_size = n;
	boot->rsdp = PC_BIOS_BASE;
	n = smbios_build(uuid, PC_SMBIOS_BASE, boot->smbios, smbios_room);
	if (n < 0)
		return err_set(err, n, "-uuid: the SMBIOS tables don't fit");
	boot->smbios_size = n;
	return 0;
}

static int check_entry(const struct boot *boot, struct err *err)
{
	for (unsigned int i = 0; i < boot->n_spans; i++)
		if (boot->entry >= boot->span[i].gpa &&
		    boot->entry - boot->span[i].gpa < boot->span[i].size)
			return 0;
	return err_set(err, -EINVAL, "%s: its entry point 0x%llx is in nothing that is loaded",
		       boot->kernel.option, (unsigned long long)boot->entry);
}

static int place_initrd(struct boot *boot, struct err *err)
{
	const uint64_t size = boot->initrd.size;
	uint64_t limit = boot->initrd_max < BOOT_4G ? boot->initrd_max + 1 : BOOT_4G, end = 0;

	if (size == 0)
		return 0;
	for (unsigned int i = 0; i < boot->n_spans; i++)
		if (boot->span[i].gpa + boot->span[i].size > end)
			end = boot->span[i].gpa + boot->span[i].size;
	if (boot->initrd_low)
		boot->initrd_gpa = boot_find_ram(boot, end, size, BOOT_PAGE, limit);
	else
		boot->initrd_gpa = boot_find_ram_high(boot, PC_BIOS_END, size, BOOT_PAGE, limit);
	if (!boot->initrd_gpa && boot->initrd_above_4g)
		boot->initrd_gpa =
			boot_find_ram_high(boot, PC_BIOS_END, size, BOOT_PAGE, UINT64_MAX);
	if (boot->initrd_gpa)
		return 0;
	return err_set(
		err, -ENOMEM,
		"%s: %llu MiB don't fit into the guest's RAM beside the kernel, which takes up "
		"to %llu MiB of it and wants the RAM disk below %llu MiB (give it more RAM with "
		"-m, or a smaller file)",
		boot->initrd.option, (unsigned long long)(size + 0xfffff) >> 20,
		(unsigned long long)(end + 0xfffff) >> 20, (unsigned long long)limit >> 20);
}

static int take_cmdline(struct boot *boot, const struct boot_config *config, struct err *err)
{
	uint64_t max = BOOT_CMDLINE_SIZE - 1;

	if (boot->cmdline_max < max)
		max = boot->cmdline_max;
	boot->cmdline = strdup(config->cmdline ? config->cmdline : "");
	if (!boot->cmdline)
		return err_set(err, -ENOMEM, "out of memory");
	boot->cmdline_len = strlen(boot->cmdline);
	if (boot->cmdline_len > max)
		return err_set(
			err, -E2BIG,
			"-append: the command line has %zu characters, the kernel takes %llu "
			"(shorten it)",
			boot->cmdline_len, (unsigned long long)max);
	return 0;
}

static int prepare(struct boot *boot, const struct boot_config *config, struct err *err)
{
	int rc = open_images(boot, config, err);

	if (rc == 0)
		rc = check_ram(boot, err);
	if (rc < 0)
		return rc;
	memmap_build(&boot->map, boot->mem);
	for (size_t i = 0; !boot->format && i < sizeof(formats) / sizeof(formats[0]); i++)
		if (formats[i]->match(boot))
			boot->format = formats[i];
	if (!boot->format)
		return say_unknown(boot, err);
	rc = boot->format->plan(boot, err);
	if (rc == 0)
		rc = check_entry(boot, err);
	if (rc == 0)
		rc = place_initrd(boot, err);
	if (rc == 0)
		rc = take_cmdline(boot, config, err);
	if (rc == 0)
		rc = build_tables(boot, config, err);
	return rc;
}

int boot_prepare(struct boot **out, const struct boot_config *config, struct mem *mem,
		 struct err *err)
{
	struct boot *boot = calloc(1, sizeof(*boot));
	int rc;

	*out = NULL;
	if (!boot)
		return err_set(err, -ENOMEM, "out of memory");
	boot->mem = mem;
	boot->kernel.fd = boot->initrd.fd = -1;
	rc = prepare(boot, config, err);
	if (rc < 0) {
		boot_free(boot);
		return rc;
	}
	*out = boot;
	return 0;
}

void boot_free(struct boot *boot)
{
	if (!boot)
		return;
	image_close(&boot->kernel);
	image_close(&boot->initrd);
	free(boot->cmdline);
	free(boot->acpi);
	free(boot->smbios);
	free(boot);
}

const char *boot_protocol(const struct boot *boot)
{
	return boot->format->name;
}

/* ---- load ---- */

static int load_span(const struct boot *boot, const struct boot_span *span, struct err *err)
{
	uint8_t *to = mem_ptr(boot->mem, span->gpa, span->size);
	int rc;

	if (!to)
		return err_set(err, -EFAULT, "%s: RAM is gone", boot->kernel.option);
	rc = image_read(&boot->kernel, span->file_offset, to, span->file_size, err);
	if (rc == 0 && !span->keep)
		memset(to + span->file_size, 0, span->size - span->file_size);
	return rc;
}

static int load_initrd(const struct boot *boot, struct err *err)
{
	uint8_t *to;

	if (boot->initrd.size == 0)
		return 0;
	to = mem_ptr(boot->mem, boot->initrd_gpa, boot->initrd.size);
	if (!to)
		return err_set(err, -EFAULT, "%s: RAM is gone", boot->initrd.option);
	return image_read(&boot->initrd, 0, to, boot->initrd.size, err);
}

/* The descriptors that boot.rst wants, flat: 4 GiB, CPL 0. The code segment is 64-bit where the
 * kernel starts so. */
static void write_gdt(uint8_t *low, const struct vcpu_entry *entry)
{
	const uint64_t code = entry->mode == VCPU_LONG64 ? 0x00af9b000000ffff : 0x00cf9b000000ffff;
	const uint64_t gdt[] = {0, 0, code, 0x00cf93000000ffff};

	memcpy(low + BOOT_GDT, gdt, sizeof(gdt));
}

/* Firmware's tables, and what the format doesn't write itself. low: RAM from address 0 on. */
static void write_low(const struct boot *boot, uint8_t *low)
{
	const uint16_t ebda_segment = PC_EBDA >> 4, memory_kib = PC_EBDA >> 10;
	uint8_t *bios = mem_ptr(boot->mem, PC_BIOS_BASE, PC_BIOS_END - PC_BIOS_BASE);

	memcpy(low + BDA_EBDA_SEGMENT, &ebda_segment, sizeof(ebda_segment));
	memcpy(low + BDA_MEMORY_SIZE, &memory_kib, sizeof(memory_kib));
	memset(low + PC_EBDA, 0, PC_LOW_RAM_END - PC_EBDA);
	memset(bios, 0, PC_BIOS_END - PC_BIOS_BASE);
	memcpy(bios, boot->acpi, boot->acpi_size);
	memcpy(bios + (PC_SMBIOS_BASE - PC_BIOS_BASE), boot->smbios, boot->smbios_size);
	memcpy(low + BOOT_CMDLINE, boot->cmdline, boot->cmdline_len + 1);
	memset(low + BOOT_INFO, 0, BOOT_INFO_SIZE);
}

int boot_load(struct boot *boot, struct vcpu_entry *entry, struct err *err)
{
	uint8_t *low = mem_ptr(boot->mem, 0, PC_LOW_RAM_END);
	int rc = low ? 0 : err_set(err, -EFAULT, "%s: RAM is gone", boot->kernel.option);

	*entry = (struct vcpu_entry){
		.gdt_base = BOOT_GDT,
		.gdt_limit = 4 * 8 - 1,
		.cs = BOOT_CODE_SELECTOR,
		.ds = BOOT_DATA_SELECTOR,
	};
	for (unsigned int i = 0; rc == 0 && i < boot->n_spans; i++)
		rc = load_span(boot, &boot->span[i], err);
	if (rc == 0)
		rc = load_initrd(boot, err);
	if (rc < 0)
		return rc;
	write_low(boot, low);
	boot->format->finish(boot, low + BOOT_INFO, entry);
	write_gdt(low, entry);
	return 0;
}
