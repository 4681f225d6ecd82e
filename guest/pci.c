/*
 * See pci.h.
 */
#include "pci.h"

#include <linux/pci_regs.h>

#include "gate.h"
#include "lib.h"
#include "memory.h"

#define CONFIG_ADDRESS 0xcf8
#define CONFIG_DATA    0xcfc
#define CONFIG_ENABLE  0x80000000

/*
 * Where BARs go that nobody placed: above RAM, below the APICs and firmware; ports as firmware
 * does.
 */
#define WINDOW_MEMORY 0xe0000000
#define WINDOW_IO     0xc000

#define CLASS_BRIDGE	     0x06
#define HEADER_MULTIFUNCTION 0x80
#define MAX_CAPABILITIES     48 /* as many as fit: a longer list is a loop */

static struct pci_device devices[PCI_MAX_DEVICES];
static uint32_t n_devices;
static uint64_t next_memory = WINDOW_MEMORY;
static uint32_t next_io = WINDOW_IO;

static uint16_t select(const struct pci_device *dev, uint32_t offset)
{
	gate_out32(CONFIG_ADDRESS, CONFIG_ENABLE | dev->bus << 16 | dev->slot << 11 |
					   dev->function << 8 | (offset & 0xfc));
	return CONFIG_DATA + (offset & 3);
}

uint32_t pci_read32(const struct pci_device *dev, uint32_t offset)
{
	return gate_in32(select(dev, offset));
}

uint16_t pci_read16(const struct pci_device *dev, uint32_t offset)
{
	return gate_in16(select(dev, offset));
}

uint8_t pci_read8(const struct pci_device *dev, uint32_t offset)
{
	return gate_in8(select(dev, offset));
}

void pci_write32(const struct pci_device *dev, uint32_t offset, uint32_t value)
{
	gate_out32(select(dev, offset), value);
}

void pci_write16(const struct pci_device *dev, uint32_t offset, uint16_t value)
{
	gate_out16(select(dev, offset), value);
}

void pci_write8(const struct pci_device *dev, uint32_t offset, uint8_t value)
{
	gate_out8(select(dev, offset), value);
}

void pci_command(const struct pci_device *dev, uint16_t set, uint16_t clear)
{
	uint16_t command = pci_read16(dev, PCI_COMMAND);

	pci_write16(dev, PCI_COMMAND, (command & ~clear) | set);
}

/* Writes a BAR's address with decoding off, as a move has to be. */
static void write_bar(const struct pci_device *dev, uint32_t i)
{
	const struct pci_bar *bar = &dev->bars[i];
	uint32_t offset = PCI_BASE_ADDRESS_0 + 4 * i;

	pci_write32(dev, offset, bar->address);
	if (bar->is_64bit)
		pci_write32(dev, offset + 4, bar->address >> 32);
}

/* Sizes BAR i (PCI 3.0 section 6.2.5.1); decoding is off. Returns how many registers it takes. */
static uint32_t read_bar(struct pci_device *dev, uint32_t i)
{
	struct pci_bar *bar = &dev->bars[i];
	uint32_t offset = PCI_BASE_ADDRESS_0 + 4 * i;
	uint32_t old = pci_read32(dev, offset), ones, high = 0, high_ones;
	uint64_t mask;

	pci_write32(dev, offset, ~0u);
	ones = pci_read32(dev, offset);
	pci_write32(dev, offset, old);
	if (!ones)
		return 1;
	if (ones & PCI_BASE_ADDRESS_SPACE_IO) {
		bar->is_io = true;
		bar->address = old & PCI_BASE_ADDRESS_IO_MASK;
		bar->size = -(ones & (uint32_t)PCI_BASE_ADDRESS_IO_MASK) & 0xffff;
		return 1;
	}
	mask = (ones & (uint32_t)PCI_BASE_ADDRESS_MEM_MASK) | 0xffffffff00000000;
	if ((ones & PCI_BASE_ADDRESS_MEM_TYPE_MASK) == PCI_BASE_ADDRESS_MEM_TYPE_64 && i < 5) {
		bar->is_64bit = true;
		high = pci_read32(dev, offset + 4);
		pci_write32(dev, offset + 4, ~0u);
		high_ones = pci_read32(dev, offset + 4);
		pci_write32(dev, offset + 4, high);
		mask = (uint32_t)mask | (uint64_t)high_ones << 32;
	}
	bar->address = (old & (uint32_t)PCI_BASE_ADDRESS_MEM_MASK) | (uint64_t)high << 32;
	bar->size = -mask;
	return bar->is_64bit ? 2 : 1;
}

static void place_bar(struct pci_device *dev, uint32_t i)
{
	struct pci_bar *bar = &dev->bars[i];

	if (!bar->size || bar->address)
		return;
	if (bar->is_io) {
		next_io = (next_io + bar->size - 1) & -bar->size;
		bar->address = next_io;
		next_io += bar->size;
	} else {
		next_memory = (next_memory + bar->size - 1) & -bar->size;
		bar->address = next_memory;
		next_memory += bar->size;
	}
	write_bar(dev, i);
}

static void read_bars(struct pci_device *dev)
{
	uint16_t command = pci_read16(dev, PCI_COMMAND);

	pci_write16(dev, PCI_COMMAND, command & ~(PCI_COMMAND_IO | PCI_COMMAND_MEMORY));
	for (uint32_t i = 0; i < PCI_N_BARS;)
		i += read_bar(dev, i);
	for (uint32_t i = 0; i < PCI_N_BARS; i++)
		place_bar(dev, i);
	pci_write16(dev, PCI_COMMAND, command);
}

void pci_restore_bars(const struct pci_device *dev)
{
	pci_command(dev, 0, PCI_COMMAND_IO | PCI_COMMAND_MEMORY);
	for (uint32_t i = 0; i < PCI_N_BARS; i++)
		if (dev->bars[i].size)
			write_bar(dev, i);
}

/* Returns false if there is no such function. */
static bool scan_function(struct pci_device *dev)
{
	uint32_t id = pci_read32(dev, PCI_VENDOR_ID);
	uint32_t class;

	if (id == 0xffffffff || id == 0)
		return false;
	dev->vendor = id;
	dev->device = id >> 16;
	class = pci_read32(dev, PCI_CLASS_REVISION);
	dev->revision = class;
	dev->class = class >> 8;
	dev->header_type = pci_read8(dev, PCI_HEADER_TYPE);
	dev->interrupt_pin = pci_read8(dev, PCI_INTERRUPT_PIN);
	if ((dev->header_type & 0x7f) == PCI_HEADER_TYPE_NORMAL) {
		dev->subsystem_vendor = pci_read16(dev, PCI_SUBSYSTEM_VENDOR_ID);
		dev->subsystem = pci_read16(dev, PCI_SUBSYSTEM_ID);
		/* Host bridges are left alone: to switch their decoding off may cost RAM. */
		if (dev->class >> 16 != CLASS_BRIDGE)
			read_bars(dev);
	}
	return true;
}

static void scan_bus(uint8_t bus)
{
	for (uint32_t slot = 0; slot < 32; slot++) {
		uint32_t n_functions = 1;

		for (uint32_t function = 0; function < n_functions; function++) {
			struct pci_device *dev = &devices[n_devices];
			uint8_t secondary;

			if (n_devices == PCI_MAX_DEVICES)
				return;
			*dev = (struct pci_device){.bus = bus, .slot = slot, .function = function};
			if (!scan_function(dev))
				continue;
			n_devices++;
			if (!function && (dev->header_type & HEADER_MULTIFUNCTION))
				n_functions = 8;
			if ((dev->header_type & 0x7f) != PCI_HEADER_TYPE_BRIDGE)
				continue;
			secondary = pci_read8(dev, PCI_SECONDARY_BUS);
			if (secondary > bus)
				scan_bus(secondary);
		}
	}
}

void pci_scan(void)
{
	n_devices = 0;
	scan_bus(0);
}

uint32_t pci_count(void)
{
	return n_devices;
}

struct pci_device *pci_get(uint32_t index)
{
	return index < n_devices ? &devices[index] : NULL;
}

struct pci_device *pci_find(uint16_t vendor, uint16_t device, uint32_t n)
{
	for (uint32_t i = 0; i < n_devices; i++)
		if (devices[i].vendor == vendor && devices[i].device == device && !n--)
			return &devices[i];
	return NULL;
}

void pci_quiesce(void)
{
	for (uint32_t i = 0; i < n_devices; i++) {
		const struct pci_device *dev = &devices[i];

		if (dev->class >> 16 != CLASS_BRIDGE &&
		    pci_read16(dev, PCI_COMMAND) & PCI_COMMAND_MASTER)
			pci_command(dev, PCI_COMMAND_INTX_DISABLE, PCI_COMMAND_MASTER);
	}
}

uint32_t pci_find_capability(const struct pci_device *dev, uint8_t id, uint32_t from)
{
	uint32_t at;

	if (!(pci_read16(dev, PCI_STATUS) & PCI_STATUS_CAP_LIST))
		return 0;
	at = pci_read8(dev, from ? from + PCI_CAP_LIST_NEXT : PCI_CAPABILITY_LIST) & 0xfc;
	for (uint32_t i = 0; at && i < MAX_CAPABILITIES; i++) {
		if (pci_read8(dev, at + PCI_CAP_LIST_ID) == id)
			return at;
		at = pci_read8(dev, at + PCI_CAP_LIST_NEXT) & 0xfc;
	}
	return 0;
}

volatile void *pci_map_bar(const struct pci_device *dev, uint32_t bar)
{
	const struct pci_bar *b;

	if (bar >= PCI_N_BARS)
		return NULL;
	b = &dev->bars[bar];
	if (!b->size || b->is_io)
		return NULL;
	return memory_map_device(b->address, b->size);
}
