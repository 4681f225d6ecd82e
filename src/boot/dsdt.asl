/*
 * The board as ACPI tells it: 82440FX and PIIX3/4 (bus/pc.h has the numbers). ACPI 6.4.
 *
 * What depends on the VM comes from the SSDT that acpi.c makes: \VDEV says which optional devices
 * are there (bits 0-3: COM1-4, bit 4: PS/2 keyboard and mouse), and processors are devices there.
 *
 * The C preprocessor goes over this file, with VIREO_ASL defined, before iasl compiles it.
 */
#include "bus/pc.h"

DefinitionBlock ("dsdt.aml", "DSDT", 2, "VIREO", "VIREODSD", 1)
{
	External (\VDEV, IntObj)

	/* Soft off: SLP_TYP for PM1a_CNT and PM1b_CNT. Other sleep states there are none. */
	Name (\_S5, Package () {PC_SLP_TYP_S5, PC_SLP_TYP_S5, 0, 0})

	Scope (\_SB)
	{
		Device (PCI0)
		{
			Name (_HID, EisaId ("PNP0A03"))
			Name (_UID, 0)
			Name (_BBN, 0)
			Name (_CRS, ResourceTemplate ()
			{
				WordBusNumber (ResourceProducer, MinFixed, MaxFixed, PosDecode,
					0, 0, 0xff, 0, 0x100)
				IO (Decode16, PC_PORT_PCI_ADDRESS, PC_PORT_PCI_ADDRESS, 1, 8)
				WordIO (ResourceProducer, MinFixed, MaxFixed, PosDecode, EntireRange,
					0, 0, 0xcf7, 0, 0xcf8)
				WordIO (ResourceProducer, MinFixed, MaxFixed, PosDecode, EntireRange,
					0, 0xd00, 0xffff, 0, 0xf300)
				DWordMemory (ResourceProducer, PosDecode, MinFixed, MaxFixed,
					Cacheable, ReadWrite,
					0, PC_VGA_BASE, 0xbffff, 0, PC_VGA_SIZE)
				DWordMemory (ResourceProducer, PosDecode, MinFixed, MaxFixed,
					NonCacheable, ReadWrite,
					0, PC_PCI_MEM_BASE, 0xfebfffff, 0, PC_PCI_MEM_SIZE)
			})

			/* Pin P (0-3) of slot S is wired to PIRQ (S + P + 3) mod 4: pc_pirq(). */
			Method (_PRT, 0, Serialized)
			{
				Local0 = Package (128) {}
				Local1 = 0
				While (Local1 < 128)
				{
					Local2 = (Local1 + (Local1 >> 2) + 3) & 3
					If (Local2 == 0)
					{
						Local3 = Package () {0, 0, LNKA, 0}
					}
					ElseIf (Local2 == 1)
					{
						Local3 = Package () {0, 0, LNKB, 0}
					}
					ElseIf (Local2 == 2)
					{
						Local3 = Package () {0, 0, LNKC, 0}
					}
					Else
					{
						Local3 = Package () {0, 0, LNKD, 0}
					}
					Local3[0] = ((Local1 >> 2) << 16) | 0xffff
					Local3[1] = Local1 & 3
					Local0[Local1] = Local3
					Local1++
				}
				Return (Local0)
			}

			/* PIIX3: the ISA bridge, its interrupt routing registers, and what sits behind it. */
			Device (ISA)
			{
				Name (_ADR, (PC_SLOT_PIIX << 16) | PC_PIIX_ISA)

				OperationRegion (PIRQ, PCI_Config, PC_PIRQRC, 4)
				Field (PIRQ, ByteAcc, NoLock, Preserve)
				{
					RCA, 8,
					RCB, 8,
					RCC, 8,
					RCD, 8
				}

				Device (RTC)
				{
					Name (_HID, EisaId ("PNP0B00"))
					Name (_CRS, ResourceTemplate ()
					{
						IO (Decode16, PC_PORT_CMOS, PC_PORT_CMOS, 1, 2)
						IRQNoFlags () {PC_IRQ_RTC}
					})
				}

				Device (KBD)
				{
					Name (_HID, EisaId ("PNP0303"))
					Name (_CRS, ResourceTemplate ()
					{
						IO (Decode16, PC_PORT_I8042_DATA, PC_PORT_I8042_DATA, 1, 1)
						IO (Decode16, PC_PORT_I8042_COMMAND, PC_PORT_I8042_COMMAND, 1, 1)
						IRQNoFlags () {PC_IRQ_KEYBOARD}
					})
					Method (_STA)
					{
						Return (HERE (4))
					}
				}

				Device (MOU)
				{
					Name (_HID, EisaId ("PNP0F13"))
					Name (_CRS, ResourceTemplate ()
					{
						IRQNoFlags () {PC_IRQ_MOUSE}
					})
					Method (_STA)
					{
						Return (HERE (4))
					}
				}

				/* _STA of an optional device: bit Arg0 of \VDEV. */
				Method (HERE, 1)
				{
					If ((\VDEV >> Arg0) & 1)
					{
						Return (0xf)
					}
					Return (0)
				}

#define SERIAL_PORT(name, number, port, irq) \
				Device (name) \
				{ \
					Name (_HID, EisaId ("PNP0501")) \
					Name (_UID, number) \
					Name (_CRS, ResourceTemplate () \
					{ \
						IO (Decode16, port, port, 1, 8) \
						IRQNoFlags () {irq} \
					}) \
					Method (_STA) \
					{ \
						Return (HERE (number - 1)) \
					} \
				}
				SERIAL_PORT (COM1, 1, PC_PORT_COM1, PC_IRQ_COM1)
				SERIAL_PORT (COM2, 2, PC_PORT_COM2, PC_IRQ_COM2)
				SERIAL_PORT (COM3, 3, PC_PORT_COM3, PC_IRQ_COM1)
				SERIAL_PORT (COM4, 4, PC_PORT_COM4, PC_IRQ_COM2)

				/* Ports that no driver is to take: power management, GPE0. */
				Device (SYSR)
				{
					Name (_HID, EisaId ("PNP0C02"))
					Name (_UID, 1)
					Name (_CRS, ResourceTemplate ()
					{
						IO (Decode16, PC_PM_BASE, PC_PM_BASE, 1, PC_PM_SIZE)
						IO (Decode16, PC_GPE0, PC_GPE0, 1, PC_GPE0_SIZE)
						IO (Decode16, PC_PORT_ELCR, PC_PORT_ELCR, 1, 2)
					})
				}
			}
		}

		/*
		 * PCI interrupt links: a link's setting is the PIIX3's routing register. Level-triggered, and
		 * active-high like the MADT's overrides for these inputs: no inverter stands before KVM's IOAPIC.
		 */
#define LINK(name, number, reg) \
		Device (name) \
		{ \
			Name (_HID, EisaId ("PNP0C0F")) \
			Name (_UID, number) \
			Name (_PRS, ResourceTemplate () \
			{ \
				Interrupt (ResourceConsumer, Level, ActiveHigh, Shared) {5, 10, 11} \
			}) \
			Method (_STA) \
			{ \
				If (reg & PC_PIRQRC_DISABLE) \
				{ \
					Return (0x9) \
				} \
				Return (0xb) \
			} \
			Name (BUF, ResourceTemplate () \
			{ \
				Interrupt (ResourceConsumer, Level, ActiveHigh, Shared, , , INT) {0} \
			}) \
			CreateDWordField (BUF, INT._INT, IRQ) \
			Method (_CRS, 0, Serialized) \
			{ \
				IRQ = 0 \
				If (!(reg & PC_PIRQRC_DISABLE)) \
				{ \
					IRQ = reg \
				} \
				Return (BUF) \
			} \
			Method (_SRS, 1) \
			{ \
				CreateDWordField (Arg0, 5, WANT) \
				reg = WANT \
			} \
			Method (_DIS) \
			{ \
				reg |= PC_PIRQRC_DISABLE \
			} \
		}
		LINK (LNKA, 1, \_SB.PCI0.ISA.RCA)
		LINK (LNKB, 2, \_SB.PCI0.ISA.RCB)
		LINK (LNKC, 3, \_SB.PCI0.ISA.RCC)
		LINK (LNKD, 4, \_SB.PCI0.ISA.RCD)
	}
}
