/*
 * Starting a guest without firmware: a kernel, an initial RAM disk and a command line are put into
 * guest RAM together with the tables that firmware would have made (memory map, ACPI, SMBIOS), and
 * the first processor's registers are set as the kernel's boot protocol asks.
 *
 * Which protocol is found by looking into the kernel, in this order:
 *	1. Linux bzImage	Linux Documentation/arch/x86/boot.rst, 64-bit entry, else 32-bit
 *	2. ELF with PVH note	Xen's x86/HVM direct boot ABI, hvm_start_info version 1
 *	3. multiboot 1		Multiboot Specification 0.6.96
 *
 * Control thread only. A struct boot holds the open files; the images are read straight into guest
 * RAM at each boot_load(), so nothing of them stays in vireo's own memory.
 */
#ifndef VIREO_BOOT_BOOT_H
#define VIREO_BOOT_BOOT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "kvm/mem.h"
#include "kvm/vcpu.h"

#define BOOT_BUILTIN "builtin:" /* the name of the guest that is part of vireo */

struct boot;

struct boot_config {
	const char *kernel;  /* path, or BOOT_BUILTIN. NULL: -EINVAL, as there is nothing to run */
	const char *initrd;  /* path; NULL = none */
	const char *cmdline; /* NULL = empty */
	const void *builtin; /* what BOOT_BUILTIN stands for; NULL = the guest that is embedded in
				vireo */
	size_t builtin_size; /* bytes */
	unsigned int cpus;   /* at least 1 */
	const uint32_t *apic_ids; /* of each of the cpus; NULL: 0, 1, 2 ... */
	const char *uuid;	  /* "8-4-4-4-12" hex digits, for SMBIOS; NULL = none set */
	uint8_t serial_ports;	  /* which of COM1-4 are there: bits 0-3 */
	bool keyboard; /* there is a PS/2 controller with keyboard and mouse (not just its reset
			  command) */
};

/* Opens and checks everything, and builds the tables, before any guest runs. mem: RAM with its
 * ranges added; it must outlive the boot. The config and its strings are needed during the call
 * only, but for builtin. 0 or a negative errno, with err saying which option is wrong, why, and
 * what to do. */
int boot_prepare(struct boot **boot, const struct boot_config *config, struct mem *mem,
		 struct err *err);

/* Writes images and tables into RAM and says how the first processor starts. At start, and again at
 * each reboot, as the guest may have overwritten all of it. vCPUs stand still. 0, or -errno when a
 * file can't be read any more. */
int boot_load(struct boot *boot, struct vcpu_entry *entry, struct err *err);

void boot_free(struct boot *boot); /* NULL is fine */

/* "bzImage", "PVH" or "multiboot". */
const char *boot_protocol(const struct boot *boot);

#endif
