/*
 * ACPI tables for the board of bus/pc.h. ACPI 6.4; written so that old kernels take them too: RSDT
 * beside XSDT, FADT revision 4, no MCFG, no HPET.
 *
 *	RSDP -> XSDT, RSDT -> FADT -> DSDT (dsdt.asl), FACS
 *			   -> MADT	processors, IOAPIC, interrupt overrides
 *			   -> SSDT	processor devices, which optional devices are there
 */
#ifndef VIREO_BOOT_ACPI_H
#define VIREO_BOOT_ACPI_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define ACPI_CPUS_MAX 1024 /* what the tables have room for; KVM may allow fewer */

struct acpi_config {
	unsigned int cpus;	  /* 1 to ACPI_CPUS_MAX */
	const uint32_t *apic_ids; /* of each; NULL: 0, 1, 2 ... */
	uint8_t serial_ports;	  /* which of COM1-4 are there: bits 0-3 */
	bool keyboard;		  /* there is a PS/2 controller */
};

/* Writes all tables into buf as they are to lie at guest-physical address base (a multiple of 64,
 * below 4 GiB); the RSDP is first. Returns the bytes used, or -ENOSPC, -EINVAL. */
long acpi_build(const struct acpi_config *config, uint64_t base, uint8_t *buf, size_t size);

#endif
