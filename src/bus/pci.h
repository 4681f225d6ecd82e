/*
 * PCI: configuration space, BARs, INTx. Conventional PCI, PCI Local Bus 3.0; one bus, 32 slots of 8
 * functions.
 *
 * A PCI device starts with struct pci_device. Its model's realize() adds BARs and capabilities;
 * what the guest writes to the command register and the BARs maps and unmaps their regions.
 * Handlers get (opaque, offset). Configuration space is little-endian.
 */
#ifndef VIREO_BUS_PCI_H
#define VIREO_BUS_PCI_H

#include "bus/bus.h"
#include "bus/device.h"

#define PCI_CONFIG_SIZE 256
#define PCI_BARS	7 /* 0-5, and the expansion ROM */
#define PCI_BAR_ROM	6
#define PCI_ANY_SLOT	0xffff

struct pci_identity {
	uint16_t vendor, device;
	uint16_t subsystem_vendor, subsystem;
	uint32_t class; /* 24 bits: base class, sub-class, interface */
	uint8_t revision;
	uint8_t interrupt_pin; /* 1 = INTA; 0 = none */
	/* File name of its option ROM as distributions have it ("efi-e1000.rom"): an expansion ROM if that
	 * file is installed and romfile= says nothing else. NULL = none. */
	const char *rom;
};

enum pci_bar_kind {
	PCI_BAR_NONE,
	PCI_BAR_IO,
	PCI_BAR_MEM32,
	PCI_BAR_MEM64
};

struct pci_bar {
	enum pci_bar_kind kind;
	bool prefetchable;
	uint64_t size;		       /* bytes, a power of two */
	struct bus_region region;      /* the whole BAR; unused where the device gave its own
					  (pci_bar_add_region) */
	struct bus_region *regions[4]; /* what is mapped with this BAR, at these offsets */
	uint64_t offsets[4];
	unsigned int n_regions;
	uint64_t mapped; /* where, now; 0 = it isn't (bus/pci.c's; relaxed atomics) */
};

struct pci_device {
	struct device dev;
	struct pci_bus *bus;
	uint8_t slot, function;
	uint8_t config[PCI_CONFIG_SIZE];
	uint8_t wmask[PCI_CONFIG_SIZE];	  /* bits that the guest can write */
	uint8_t w1cmask[PCI_CONFIG_SIZE]; /* bits that writing 1 clears */
	struct pci_bar bar[PCI_BARS];
	uint8_t cap_next; /* where the next capability goes */
	bool intx_level;  /* what the device drives; see pci_intx_set(). Atomic */
	bool intx_driven; /* the same as its line sees it: off while INTx is disabled (bus's lock)
			   */
	bool bus_master; /* command register bit 2: DMA is allowed. Read by I/O threads (relaxed) */
	struct msix *msix;   /* NULL: none */
	struct msi *msi;     /* NULL: none */
	uint32_t rom_window; /* set by realize(): wants a ROM BAR of so many bytes even without
				romfile (reads as ones) */
	uint8_t *rom;	     /* contents of the expansion ROM, bar[6].size bytes; NULL: all ones */

	/* Hooks of the device; may be NULL. Called with the device's lock held.
	 * config_written: after the bytes were stored. config_read: before; may refresh config[].
	 */
	void (*config_written)(struct pci_device *pci, unsigned int offset, unsigned int size);
	void (*config_read)(struct pci_device *pci, unsigned int offset, unsigned int size);
	/* bus_master changed */
	void (*bus_master_changed)(struct pci_device *pci, bool on);

	/* options */
	char *opt_addr; /* "3", "3.1", "0x3.0x1": slot.function, hexadecimal with or without 0x */
	bool opt_multifunction;
	char *opt_romfile; /* NULL: what the model wants (rom_window, identity's rom); "": no ROM BAR */
	uint32_t opt_rombar; /* 0: no ROM BAR */
};
/* A model with .pci names this table first in its opts, at offset 0. */
extern const struct opt_desc
	pci_device_opts[]; /* addr, multifunction, romfile, rombar: fills struct pci_device */

static inline struct pci_device *pci_of(struct device *dev)
{
	return (struct pci_device *)dev;
}

/* ---- the bus: made by the machine ---- */

int pci_bus_create(struct pci_bus **bus, struct bus *io, struct err *err);
void pci_bus_destroy(struct pci_bus *bus); /* no function is plugged in any more */
/* set: gives a PIRQ's (0-3 = A-D) level to the interrupt controller; called with the bus's INTx
 * lock held, from any thread: it may take a leaf lock of its own and no device's. Called at once
 * for all four with their levels. */
void pci_bus_set_router(struct pci_bus *bus,
			void (*set)(void *opaque, unsigned int pirq, bool level), void *opaque);
/* Port 0xcf9 lies inside CONFADD, which takes dwords only; byte accesses to it go to these (the
 * PIIX3's reset control; NULL = none). Called on a vCPU's thread with no lock held. */
void pci_bus_set_port_cf9(struct pci_bus *bus, uint8_t (*read)(void *opaque),
			  void (*write)(void *opaque, uint8_t value), void *opaque);
/* Power-on state of the bus itself: CONFADD. */
void pci_bus_reset(struct pci_bus *bus);
/* Visits the functions in order of address. */
void pci_bus_each(struct pci_bus *bus, void (*fn)(struct pci_device *pci, void *opaque),
		  void *opaque);
/* The function at slot.function, or NULL. */
struct pci_device *pci_bus_find(struct pci_bus *bus, unsigned int slot, unsigned int function);

/* Configuration access by configuration mechanism #1 (ports 0xcf8/0xcfc; PCI 3.0 §3.2.2.3.2). The
 * two ports are regions of the bus, mapped by pci_bus_create(). These serve tests and the firmware
 * part of boot/. Absent function: all ones. */
uint32_t pci_config_read(struct pci_bus *bus, unsigned int slot, unsigned int function,
			 unsigned int offset, unsigned int size);
void pci_config_write(struct pci_bus *bus, unsigned int slot, unsigned int function,
		      unsigned int offset, unsigned int size, uint32_t value);

/* Called by device_create() and friends for models with .pci. _plug: slot and header, before
 * realize; _show: ROM BAR, and the guest can see it; _reset: command register, BARs, INTx, MSI-X as
 * at power-on, device's lock held; _hide: the guest can't reach it any more, and no handler runs
 * when it returns, before unrealize; _unplug: frees the slot, after it. */
int pci_device_plug(struct pci_device *pci, struct err *err);
int pci_device_show(struct pci_device *pci, struct err *err);
void pci_device_reset(struct pci_device *pci);
void pci_device_hide(struct pci_device *pci);
void pci_device_unplug(struct pci_device *pci);

/* What firmware does before an operating system is loaded: gives every BAR an address out of the
 * windows, sets the interrupt line registers and the PIIX3 links, enables I/O and memory decoding.
 * Vcpus stand still. -ENOSPC when the windows are too small. */
struct pci_windows {
	uint64_t io_base, io_size;
	uint64_t mem_base, mem_size; /* below 4 GiB */
};
int pci_bus_assign(struct pci_bus *bus, const struct pci_windows *windows,
		   const uint8_t pirq_gsi[4], struct err *err);

/* ---- for models, in realize ---- */

/* A BAR that is one region. size is rounded up to a power of two. ops as in bus.h, opaque = theirs.
 * 0, -EINVAL (index taken, size), -ENOMEM. */
int pci_bar_add(struct pci_device *pci, unsigned int index, enum pci_bar_kind kind, uint64_t size,
		const char *name, const struct region_ops *ops, void *opaque);
/* An empty BAR (reads as ones) into which regions are put. */
int pci_bar_add_space(struct pci_device *pci, unsigned int index, enum pci_bar_kind kind,
		      bool prefetchable, uint64_t size);
/* Puts a region of the caller's into a BAR at offset. Up to 4 per BAR. */
int pci_bar_add_region(struct pci_device *pci, unsigned int index, uint64_t offset,
		       struct bus_region *region);
/* Appends a capability of `size` bytes, id and next pointer included; returns its offset in config
 * space, -ENOSPC. The body is zero, read-only; the caller fills config[] and wmask[]. */
int pci_cap_add(struct pci_device *pci, uint8_t id, uint8_t size);
/* Little-endian accesses to config[] and wmask[]; the device's lock held, or before it is shown. */
static inline uint16_t pci_get16(const uint8_t *p)
{
	return (uint16_t)(p[0] | p[1] << 8);
}

static inline uint32_t pci_get32(const uint8_t *p)
{
	return pci_get16(p) | (uint32_t)pci_get16(p + 2) << 16;
}

static inline void pci_put16(uint8_t *p, uint16_t v)
{
	p[0] = (uint8_t)v;
	p[1] = (uint8_t)(v >> 8);
}

static inline void pci_put32(uint8_t *p, uint32_t v)
{
	pci_put16(p, (uint16_t)v);
	pci_put16(p + 2, (uint16_t)(v >> 16));
}

/* Where BAR `index` is mapped now; 0 = it isn't. */
uint64_t pci_bar_address(const struct pci_device *pci, unsigned int index);

/* Drives INTx (active = true). Level; honours the command register's interrupt-disable bit and the
 * status bit. Any thread; lines shared by several functions are OR-ed. */
void pci_intx_set(struct pci_device *pci, bool active);

/* May the device touch guest memory? (bus master enable) Any thread. */
static inline bool pci_may_dma(const struct pci_device *pci)
{
	return __atomic_load_n(&pci->bus_master, __ATOMIC_RELAXED);
}

#endif
