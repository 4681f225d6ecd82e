/*
 * See power.h. isa-debug-exit is the pseudo device at port 0xf4 that ends a monitor with a
 * status; a write to it where it isn't there does nothing. Power-off: PIIX4 datasheet (Intel
 * 290562), sections 7.1 (PMBA, PMREGMISC) and 7.2 (PMCNTRL).
 */
#include "power.h"

#include "clock.h"
#include "gate.h"
#include "pci.h"

#define DEBUG_EXIT_PORT 0xf4

#define PIIX4_VENDOR		 0x8086
#define PIIX4_ACPI		 0x7113
#define PIIX4_PMBA		 0x40
#define PIIX4_PMBA_MASK		 0xffc0
#define PIIX4_PMREGMISC		 0x80
#define PIIX4_PMIOSE		 0x01 /* decode the ports at PMBA */
#define PMCNTRL			 0x04
#define PMCNTRL_SUS_EN		 0x2000
#define PMCNTRL_SUS_TYP_SOFT_OFF 0 /* SLP_TYP of \_S5 */
#define PMBA_DEFAULT		 0x600

#define RST_CNT		   0xcf9
#define RST_CNT_FULL	   0x06
#define KEYBOARD_COMMAND   0x64
#define KEYBOARD_PULSE_RST 0xfe

static enum power_way chosen_way;
static int64_t chosen_value = -1;

void power_choose(enum power_way way, int64_t value)
{
	chosen_way = way;
	chosen_value = value;
}

enum power_way power_chosen_way(void)
{
	return chosen_way;
}

int64_t power_chosen_value(void)
{
	return chosen_value;
}

static void wait_ms(uint32_t ms)
{
	uint64_t start = clock_ns();

	while (clock_ns() - start < ms * NS_PER_MS)
		__asm__ volatile("pause");
}

static void power_off(void)
{
	struct pci_device *acpi = pci_find(PIIX4_VENDOR, PIIX4_ACPI, 0);
	uint16_t base;

	if (!acpi)
		return;
	base = pci_read32(acpi, PIIX4_PMBA) & PIIX4_PMBA_MASK;
	if (!base) {
		base = PMBA_DEFAULT;
		pci_write32(acpi, PIIX4_PMBA, base | 1);
	}
	pci_write8(acpi, PIIX4_PMREGMISC, pci_read8(acpi, PIIX4_PMREGMISC) | PIIX4_PMIOSE);
	gate_out16(base + PMCNTRL, PMCNTRL_SUS_EN | PMCNTRL_SUS_TYP_SOFT_OFF);
	wait_ms(100);
}

void power_reset(void)
{
	gate_out8(RST_CNT, RST_CNT_FULL & ~0x04);
	gate_out8(RST_CNT, RST_CNT_FULL);
	wait_ms(100);
	gate_out8(KEYBOARD_COMMAND, KEYBOARD_PULSE_RST);
	wait_ms(100);
}

void power_end(uint32_t status)
{
	enum power_way way = chosen_way;

	if (way == POWER_HALT)
		gate_hlt_forever();
	if (way == POWER_AUTO || way == POWER_EXIT)
		gate_out32(DEBUG_EXIT_PORT, chosen_value >= 0 ? chosen_value : status);
	if (way == POWER_AUTO || way == POWER_OFF)
		power_off();
	if (way != POWER_TRIPLE_FAULT)
		power_reset();
	gate_triple_fault();
}
