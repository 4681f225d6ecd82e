/*
 * PCI, between pci.c (the bus), pci_config.c (a function's configuration space) and pci_assign.c
 * (firmware's part). Registers of the header: PCI Local Bus 3.0 §6.1-6.2.
 */
#ifndef VIREO_BUS_PCI_INTERNAL_H
#define VIREO_BUS_PCI_INTERNAL_H

#include "bus/pci.h"

enum {
	PCI_VENDOR_ID = 0x00,
	PCI_DEVICE_ID = 0x02,
	PCI_COMMAND = 0x04,
	PCI_STATUS = 0x06,
	PCI_REVISION_ID = 0x08,
	PCI_CLASS_CODE = 0x09, /* 3 bytes */
	PCI_CACHE_LINE_SIZE = 0x0c,
	PCI_LATENCY_TIMER = 0x0d,
	PCI_HEADER_TYPE = 0x0e,
	PCI_BASE_ADDRESS = 0x10, /* six dwords */
	PCI_SUBSYSTEM_VENDOR_ID = 0x2c,
	PCI_SUBSYSTEM_ID = 0x2e,
	PCI_ROM_ADDRESS = 0x30,
	PCI_CAPABILITIES_PTR = 0x34,
	PCI_INTERRUPT_LINE = 0x3c,
	PCI_INTERRUPT_PIN = 0x3d,
	PCI_HEADER_END = 0x40,
};

enum {
	PCI_COMMAND_IO = 1 << 0,
	PCI_COMMAND_MEMORY = 1 << 1,
	PCI_COMMAND_MASTER = 1 << 2,
	PCI_COMMAND_PARITY = 1 << 6,
	PCI_COMMAND_SERR = 1 << 8,
	PCI_COMMAND_INTX_DISABLE = 1 << 10,

	PCI_STATUS_INTERRUPT = 1 << 3,
	PCI_STATUS_CAPABILITIES = 1 << 4,
	PCI_STATUS_W1C = 0xf900,

	PCI_HEADER_MULTIFUNCTION = 0x80,
	PCI_ROM_ENABLE = 1,
};

#define PCI_SLOTS     32
#define PCI_FUNCTIONS 8

struct pci_bus {
	struct bus *io;
	struct bus_region confadd_region, confdata_region;
	uint32_t confadd; /* atomic */
	/* Every function that is plugged in (control thread's), and those that the guest can see
	 * (atomic: set by the control thread, read by vCPUs). */
	struct pci_device *plugged[PCI_SLOTS][PCI_FUNCTIONS];
	struct pci_device *seen[PCI_SLOTS][PCI_FUNCTIONS];

	pthread_mutex_t intx_lock;
	unsigned int drivers[4]; /* functions that drive PIRQ A-D now */
	void (*route)(void *opaque, unsigned int pirq, bool level);
	void *route_opaque;

	uint8_t (*cf9_read)(void *opaque);
	void (*cf9_write)(void *opaque, uint8_t value);
	void *cf9_opaque;
};

/* pci.c: the command register or the device changed its mind; drive the line accordingly. Any
 * thread. */
void pci_intx_update(struct pci_device *pci);

/* pci_config.c: header of a function that was just plugged in; accesses, in bounds, device's lock
 * held. */
void pci_header_init(struct pci_device *pci);
uint32_t pci_device_config_read(struct pci_device *pci, unsigned int offset, unsigned int size);
void pci_device_config_write(struct pci_device *pci, unsigned int offset, unsigned int size,
			     uint32_t value);
/* Where in config space BAR `index` has its register. */
unsigned int pci_bar_register(unsigned int index);
/* Makes the ROM BAR that options and model ask for. */
int pci_rom_init(struct pci_device *pci, struct err *err);
void pci_rom_free(struct pci_device *pci);
void pci_unmap_all(struct pci_device *pci);

#endif
