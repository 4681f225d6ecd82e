/*
 * PCI configuration space by mechanism 1 (PCI Local Bus 3.0, section 3.2.2.3.2), and BARs. Register
 * names are those of Linux's pci_regs.h.
 */
#ifndef GUEST_PCI_H
#define GUEST_PCI_H

#include <stdbool.h>
#include <stdint.h>

#define PCI_MAX_DEVICES 32
#define PCI_N_BARS	6

struct pci_bar {
	uint64_t address; /* bus address, 0 if there is none */
	uint64_t size;	  /* bytes, 0: no BAR here */
	bool is_io;
	bool is_64bit;
};

struct pci_device {
	uint8_t bus, slot, function;
	uint16_t vendor, device;
	uint16_t subsystem_vendor, subsystem;
	uint8_t revision;
	uint32_t class; /* base class, subclass, interface */
	uint8_t header_type;
	uint8_t interrupt_pin; /* 1: INTA, 0: none */
	struct pci_bar bars[PCI_N_BARS];
};

/*
 * Finds the functions of bus 0 and behind bridges, sizes their BARs, places those that have no
 * place.
 */
void pci_scan(void);

uint32_t pci_count(void);
struct pci_device *pci_get(uint32_t index);

/* The n-th (from 0) function with this identity, NULL if there is none. */
struct pci_device *pci_find(uint16_t vendor, uint16_t device, uint32_t n);

uint32_t pci_read32(const struct pci_device *dev, uint32_t offset);
uint16_t pci_read16(const struct pci_device *dev, uint32_t offset);
uint8_t pci_read8(const struct pci_device *dev, uint32_t offset);
void pci_write32(const struct pci_device *dev, uint32_t offset, uint32_t value);
void pci_write16(const struct pci_device *dev, uint32_t offset, uint16_t value);
void pci_write8(const struct pci_device *dev, uint32_t offset, uint8_t value);

/* The offset of the first capability with this id behind `from` (0: the first of all), or 0. */
uint32_t pci_find_capability(const struct pci_device *dev, uint8_t id, uint32_t from);

/* Sets and clears bits of the command register. */
void pci_command(const struct pci_device *dev, uint16_t set, uint16_t clear);

/*
 * Takes bus mastering and INTx from all devices: a test is over, and its memory is the next
 * one's.
 */
void pci_quiesce(void);

/* Maps a memory BAR; NULL if it isn't one. */
volatile void *pci_map_bar(const struct pci_device *dev, uint32_t bar);

/* Puts back what the BARs were, after something wrote over them. */
void pci_restore_bars(const struct pci_device *dev);

#endif
