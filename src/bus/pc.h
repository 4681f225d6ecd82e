/*
 * The PC: addresses, ports and interrupt lines that the board's parts and the tables about them
 * (boot/acpi.c, boot/dsdt.asl) must agree on. x86's own facts, in one place.
 *
 * Sources: Intel 82440FX (290549), 82371SB PIIX3 (290550), 82371AB PIIX4 (290562), 82093AA IOAPIC
 * (290566), SDM vol. 3A chapter 11 (local APIC).
 *
 * dsdt.asl includes this file, so it holds plain macros only (numbers without suffixes); what is C
 * proper stands behind #ifndef VIREO_ASL. Addresses are guest-physical, or ports; sizes are bytes.
 */
#ifndef VIREO_BUS_PC_H
#define VIREO_BUS_PC_H

/* ---- memory ---- */
#define PC_LOW_RAM_END	  0xa0000 /* VGA memory and option ROMs follow */
#define PC_EBDA		  0x9fc00 /* extended BIOS data area, up to PC_LOW_RAM_END */
#define PC_VGA_BASE	  0xa0000
#define PC_VGA_SIZE	  0x20000
#define PC_HIGH_RAM	  0xc0000 /* RAM again from here on: shadow RAM, then what is above 1 MiB */
#define PC_BIOS_BASE	  0xe0000 /* tables: ACPI here, SMBIOS in the upper half */
#define PC_SMBIOS_BASE	  0xf0000
#define PC_BIOS_END	  0x100000
#define PC_RAM_HOLE	  0xc0000000 /* RAM below 4 GiB ends here at most; the rest is from 4 GiB on */
#define PC_PCI_MEM_BASE	  0xc0000000 /* window for memory BARs */
#define PC_PCI_MEM_SIZE	  0x3ec00000
#define PC_IOAPIC_BASE	  0xfec00000
#define PC_LAPIC_BASE	  0xfee00000
#define PC_HOLE_RESERVED  0xfec00000 /* from here to 4 GiB: the APICs, and KVM's own pages */
#define PC_RAM_ABOVE_HOLE 0x100000000

/* ---- ports ---- */
#define PC_PORT_I8042_DATA    0x60
#define PC_PORT_I8042_COMMAND 0x64
#define PC_PORT_CMOS	      0x70 /* index; data at the next port */
#define PC_PORT_POST	      0x80
#define PC_PORT_APM	      0xb2  /* PIIX4 APMC: not an SMI command port here, see below */
#define PC_PORT_DEBUG_EXIT    0x501 /* isa-debug-exit's default */
#define PC_PORT_ELCR	      0x4d0
#define PC_PORT_PCI_ADDRESS   0xcf8
#define PC_PORT_PCI_DATA      0xcfc
#define PC_PORT_RESET	      0xcf9 /* RCR: a rising bit 2 resets, PIIX3 §2.5.6 */
#define PC_RESET_VALUE	      0x06
#define PC_PCI_IO_BASE	      0xc000 /* window for I/O BARs, as firmware places them */
#define PC_PCI_IO_SIZE	      0x3f00

/* Serial ports and their interrupts. */
#define PC_PORT_COM1 0x3f8
#define PC_PORT_COM2 0x2f8
#define PC_PORT_COM3 0x3e8
#define PC_PORT_COM4 0x2e8
#define PC_IRQ_COM1  4 /* and COM3 */
#define PC_IRQ_COM2  3 /* and COM4 */

#define PC_IRQ_KEYBOARD 1
#define PC_IRQ_RTC	8
#define PC_IRQ_SCI	9
#define PC_IRQ_MOUSE	12

/* GSI, that is IOAPIC input, of the PIT (ISA IRQ 0), told by an override in the MADT. All other ISA
 * interrupts have the GSI of their own number. */
#define PC_GSI_TIMER 2

#define PC_CMOS_CENTURY 0x32 /* CMOS index of the century in BCD (FADT CENTURY) */

/*
 * ---- ACPI fixed hardware: the PIIX4 power management function, 00:01.3 ----
 * The board is in ACPI mode from reset on: SCI_EN (PM1_CNT bit 0) reads 1, there is no SMI command
 * port (FADT SMI_CMD is 0). SLP_TYP of S5 is 0 (PIIX4 §7.2.3 SUS_TYP "soft off"). The PM timer has
 * 24 bits at 3.579545 MHz.
 */
#define PC_PM_BASE     0x600 /* PMBASE after reset: as firmware programs it */
#define PC_PM_SIZE     0x40
#define PC_PM1_EVT     0x600 /* PM1_STS, PM1_EN: 2 + 2 bytes */
#define PC_PM1_CNT     0x604
#define PC_PM_TMR      0x608
#define PC_GPE0	       0xafe0 /* GPE0_STS, GPE0_EN: 2 + 2 bytes */
#define PC_GPE0_SIZE   4
#define PC_SLP_TYP_S5  0
#define PC_PM_TIMER_HZ 3579545

/* ---- PCI: who sits where on bus 0 ---- */
#define PC_SLOT_HOST 0 /* 82440FX */
#define PC_SLOT_PIIX 1
#define PC_PIIX_ISA  0 /* functions of PC_SLOT_PIIX */
#define PC_PIIX_IDE  1
#define PC_PIIX_PM   3

/* PIRQRC[A:D] in 00:01.0's configuration space: bits 3:0 the ISA interrupt, bit 7 = not routed
 * (PIIX3 §2.2.5). */
#define PC_PIRQRC	  0x60
#define PC_PIRQRC_DISABLE 0x80

#ifndef VIREO_ASL
#include <stdint.h>

/* Which PIRQ (0-3 = A-D) interrupt pin `pin` (1-4 = INTA-INTD) of a slot is wired to. The DSDT's
 * _PRT says the same. */
static inline unsigned int pc_pirq(unsigned int slot, unsigned int pin)
{
	return (slot + pin + 2) & 3;
}
#endif

#endif
