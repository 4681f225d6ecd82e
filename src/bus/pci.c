/*
 * The PCI bus: slots, configuration mechanism #1 and INTx. PCI Local Bus 3.0 §3.2.2.3 and §2.2.6.
 *
 * Threads and locks. Functions come and go on the control thread; vCPUs find them in `seen` without
 * a lock, and bus_synchronize() (a hidden function waits for it) keeps one alive while a vCPU is
 * using it. An access to a function's configuration space holds that function's lock. INTx has a
 * lock of its own, because I/O threads drive lines too; it is taken with or without a device's lock
 * held, and nothing but the router (a leaf) is called under it:
 *
 *	device's lock -> INTx lock -> router's lock -> KVM
 *	device's lock -> bus tables' lock -> KVM
 *
 * INTx: a slot's pins are wired to the PIRQs in rotation, so that cards that all use INTA don't all
 * share one line; what the PIRQs mean to the interrupt controller is the south bridge's business
 * (the router).
 *
 * What it does not do: bridges, PCI Express, special cycles.
 */
#include "bus/pci.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "bus/pc.h"
#include "bus/pci_internal.h"

#define CONFADD_ENABLE UINT32_C(0x80000000)
#define CONFADD_WMASK  UINT32_C(0x80fffffc)
#define FIRST_SLOT     2 /* for devices without addr=: 0 and 1 are the board's */

/* ---- configuration mechanism #1 ---- */

static uint64_t confadd_read(void *opaque, uint64_t offset, unsigned int size)
{
	struct pci_bus *bus = opaque;

	if (offset == 0 && size == 4)
		return __atomic_load_n(&bus->confadd, __ATOMIC_RELAXED);
	if (offset == 1 && size == 1 && bus->cf9_read)
		return bus->cf9_read(bus->cf9_opaque);
	return UINT64_MAX;
}

static void confadd_write(void *opaque, uint64_t offset, unsigned int size, uint64_t value)
{
	struct pci_bus *bus = opaque;

	if (offset == 0 && size == 4)
		__atomic_store_n(&bus->confadd, (uint32_t)value & CONFADD_WMASK, __ATOMIC_RELAXED);
	else if (offset == 1 && size == 1 && bus->cf9_write)
		bus->cf9_write(bus->cf9_opaque, (uint8_t)value);
}

/* confadd: 31 enable, 23:16 bus, 15:11 slot, 10:8 function, 7:2 register. There is one bus, number
 * 0. */
static bool confadd_selects(uint32_t confadd)
{
	return confadd & CONFADD_ENABLE && (confadd >> 16 & 0xff) == 0;
}

static uint64_t confdata_read(void *opaque, uint64_t offset, unsigned int size)
{
	struct pci_bus *bus = opaque;
	uint32_t a = __atomic_load_n(&bus->confadd, __ATOMIC_RELAXED);

	if (!confadd_selects(a))
		return UINT64_MAX;
	return pci_config_read(bus, a >> 11 & 31, a >> 8 & 7, (a & 0xfc) + (unsigned int)offset,
			       size);
}

static void confdata_write(void *opaque, uint64_t offset, unsigned int size, uint64_t value)
{
	struct pci_bus *bus = opaque;
	uint32_t a = __atomic_load_n(&bus->confadd, __ATOMIC_RELAXED);

	if (confadd_selects(a))
		pci_config_write(bus, a >> 11 & 31, a >> 8 & 7, (a & 0xfc) + (unsigned int)offset,
				 size, (uint32_t)value);
}

static const struct region_ops confadd_ops = {
	.read = confadd_read,
	.write = confadd_write,
	.min = 1,
	.max = 4,
};

static const struct region_ops confdata_ops = {
	.read = confdata_read,
	.write = confdata_write,
	.min = 1,
	.max = 4,
	.unaligned = true, /* byte enables: any bytes within the dword */
};

static bool config_in_bounds(unsigned int offset, unsigned int size)
{
	return (size == 1 || size == 2 || size == 4) && offset <= PCI_CONFIG_SIZE - size;
}

uint32_t pci_config_read(struct pci_bus *bus, unsigned int slot, unsigned int function,
			 unsigned int offset, unsigned int size)
{
	struct pci_device *pci = pci_bus_find(bus, slot, function);
	uint32_t value;

	if (!pci || !config_in_bounds(offset, size))
		return size < 4 ? (1U << size * 8) - 1 : UINT32_MAX;
	pthread_mutex_lock(&pci->dev.lock);
	value = pci_device_config_read(pci, offset, size);
	pthread_mutex_unlock(&pci->dev.lock);
	return value;
}

void pci_config_write(struct pci_bus *bus, unsigned int slot, unsigned int function,
		      unsigned int offset, unsigned int size, uint32_t value)
{
	struct pci_device *pci = pci_bus_find(bus, slot, function);

	if (!pci || !config_in_bounds(offset, size))
		return;
	pthread_mutex_lock(&pci->dev.lock);
	pci_device_config_write(pci, offset, size, value);
	pthread_mutex_unlock(&pci->dev.lock);
}

/* ---- the bus ---- */

int pci_bus_create(struct pci_bus **bus, struct bus *io, struct err *err)
{
	struct pci_bus *b = calloc(1, sizeof(*b));

	if (!b)
		return err_set(err, -ENOMEM, "PCI: no memory for the bus");
	b->io = io;
	pthread_mutex_init(&b->intx_lock, NULL);
	bus_region_init(&b->confadd_region, "pci.confadd", BUS_PIO, 4, &confadd_ops, b, NULL);
	bus_region_init(&b->confdata_region, "pci.confdata", BUS_PIO, 4, &confdata_ops, b, NULL);
	if (bus_map(io, &b->confadd_region, PC_PORT_PCI_ADDRESS) ||
	    bus_map(io, &b->confdata_region, PC_PORT_PCI_DATA)) {
		pci_bus_destroy(b);
		return err_set(err, -ENOMEM, "PCI: no memory for the configuration ports");
	}
	*bus = b;
	return 0;
}

void pci_bus_destroy(struct pci_bus *bus)
{
	if (!bus)
		return;
	bus_unmap(&bus->confadd_region);
	bus_unmap(&bus->confdata_region);
	bus_synchronize(bus->io);
	pthread_mutex_destroy(&bus->intx_lock);
	free(bus);
}

void pci_bus_reset(struct pci_bus *bus)
{
	__atomic_store_n(&bus->confadd, 0, __ATOMIC_RELAXED);
}

void pci_bus_set_port_cf9(struct pci_bus *bus, uint8_t (*read)(void *opaque),
			  void (*write)(void *opaque, uint8_t value), void *opaque)
{
	bus->cf9_read = read;
	bus->cf9_write = write;
	bus->cf9_opaque = opaque;
}

struct pci_device *pci_bus_find(struct pci_bus *bus, unsigned int slot, unsigned int function)
{
	if (slot >= PCI_SLOTS || function >= PCI_FUNCTIONS)
		return NULL;
	return __atomic_load_n(&bus->seen[slot][function], __ATOMIC_ACQUIRE);
}

void pci_bus_each(struct pci_bus *bus, void (*fn)(struct pci_device *pci, void *opaque),
		  void *opaque)
{
	for (unsigned int slot = 0; slot < PCI_SLOTS; slot++) {
		for (unsigned int function = 0; function < PCI_FUNCTIONS; function++) {
			struct pci_device *pci = pci_bus_find(bus, slot, function);

			if (pci)
				fn(pci, opaque);
		}
	}
}

/* ---- INTx ---- */

void pci_bus_set_router(struct pci_bus *bus,
			void (*set)(void *opaque, unsigned int pirq, bool level), void *opaque)
{
	pthread_mutex_lock(&bus->intx_lock);
	bus->route = set;
	bus->route_opaque = opaque;
	for (unsigned int pirq = 0; set && pirq < 4; pirq++)
		set(opaque, pirq, bus->drivers[pirq] > 0);
	pthread_mutex_unlock(&bus->intx_lock);
}

/* Makes the line see what the device drives, if INTx isn't disabled. INTx lock held. */
static void intx_drive(struct pci_device *pci)
{
	struct pci_bus *bus = pci->bus;
	uint8_t command = __atomic_load_n(&pci->config[PCI_COMMAND + 1], __ATOMIC_RELAXED);
	bool drive = __atomic_load_n(&pci->intx_level, __ATOMIC_RELAXED) &&
		     !(command & PCI_COMMAND_INTX_DISABLE >> 8);
	unsigned int pin = pci->config[PCI_INTERRUPT_PIN], pirq;

	if (drive == pci->intx_driven || !pin)
		return;
	pci->intx_driven = drive;
	pirq = pc_pirq(pci->slot, pin);
	bus->drivers[pirq] += drive ? 1 : -1U;
	if (bus->route && bus->drivers[pirq] == drive)
		bus->route(bus->route_opaque, pirq, drive);
}

void pci_intx_update(struct pci_device *pci)
{
	pthread_mutex_lock(&pci->bus->intx_lock);
	intx_drive(pci);
	pthread_mutex_unlock(&pci->bus->intx_lock);
}

void pci_intx_set(struct pci_device *pci, bool active)
{
	pthread_mutex_lock(&pci->bus->intx_lock);
	__atomic_store_n(&pci->intx_level, active, __ATOMIC_RELAXED);
	intx_drive(pci);
	pthread_mutex_unlock(&pci->bus->intx_lock);
}

/* ---- slots ---- */

/* "slot[.function]", hexadecimal with or without 0x. */
static int parse_addr(const char *text, unsigned int *slot, unsigned int *function)
{
	unsigned long s, f = 0;
	char *end;

	if (!text[0] || strspn(text, "0123456789abcdefABCDEFxX.") != strlen(text))
		return -EINVAL;
	s = strtoul(text, &end, 16);
	if (end == text)
		return -EINVAL;
	if (*end == '.') {
		text = end + 1;
		f = strtoul(text, &end, 16);
		if (end == text)
			return -EINVAL;
	}
	if (*end || s >= PCI_SLOTS || f >= PCI_FUNCTIONS)
		return -EINVAL;
	*slot = (unsigned int)s;
	*function = (unsigned int)f;
	return 0;
}

static struct pci_device *any_in_slot(const struct pci_bus *bus, unsigned int slot)
{
	for (unsigned int f = 0; f < PCI_FUNCTIONS; f++) {
		if (bus->plugged[slot][f])
			return bus->plugged[slot][f];
	}
	return NULL;
}

/* The first empty slot, in the order in which devices come. */
static int choose_slot(struct pci_device *pci, struct err *err)
{
	for (unsigned int slot = FIRST_SLOT; slot < PCI_SLOTS; slot++) {
		if (!any_in_slot(pci->bus, slot)) {
			pci->slot = (uint8_t)slot;
			return 0;
		}
	}
	return err_set(
		err, -ENOSPC,
		"%s: no free PCI slot: all %d are taken (put several devices into one slot with "
		"multifunction=on,addr=SLOT.0 and addr=SLOT.1 ...)",
		pci->dev.id, PCI_SLOTS);
}

static bool is_multifunction(const struct pci_device *pci)
{
	return pci->config[PCI_HEADER_TYPE] & PCI_HEADER_MULTIFUNCTION;
}

/* May `pci` have the address that it asks for? A guest looks at functions 1-7 only where function 0
 * says that there are. */
static int check_slot(struct pci_device *pci, struct err *err)
{
	struct pci_bus *bus = pci->bus;
	struct pci_device *other = bus->plugged[pci->slot][pci->function];
	struct pci_device *f0 = bus->plugged[pci->slot][0];

	if (other)
		return err_set(err, -EBUSY,
			       "%s: PCI address %02x.%x is taken by %s (choose another addr=, or "
			       "leave addr= out)",
			       pci->dev.id, pci->slot, pci->function, other->dev.id);
	if (pci->function && f0 && !is_multifunction(f0))
		return err_set(err, -EINVAL,
			       "%s: PCI address %02x.%x: %s in function 0 of that slot is a "
			       "single-function device (give it multifunction=on)",
			       pci->dev.id, pci->slot, pci->function, f0->dev.id);
	other = any_in_slot(bus, pci->slot);
	if (!pci->function && other && !pci->opt_multifunction)
		return err_set(
			err, -EINVAL,
			"%s: PCI address %02x.0: %s is in function %x of that slot, so function "
			"0 must have multifunction=on",
			pci->dev.id, pci->slot, other->dev.id, other->function);
	return 0;
}

int pci_device_plug(struct pci_device *pci, struct err *err)
{
	unsigned int slot, function;
	int r;

	pci->bus = pci->dev.platform->pci;
	if (pci->opt_addr) {
		if (parse_addr(pci->opt_addr, &slot, &function))
			return err_set(err, -EINVAL,
				       "%s: addr=%s is no PCI address (SLOT or SLOT.FUNCTION in "
				       "hexadecimal: slot 0 to 1f, function 0 to 7)",
				       pci->dev.id, pci->opt_addr);
		pci->slot = (uint8_t)slot;
		pci->function = (uint8_t)function;
		r = check_slot(pci, err);
	} else {
		r = choose_slot(pci, err);
	}
	if (r)
		return r;
	pci_header_init(pci);
	pci->bus->plugged[pci->slot][pci->function] = pci;
	return 0;
}

int pci_device_show(struct pci_device *pci, struct err *err)
{
	int r = pci_rom_init(pci, err);

	if (r)
		return r;
	__atomic_store_n(&pci->bus->seen[pci->slot][pci->function], pci, __ATOMIC_RELEASE);
	return 0;
}

void pci_device_hide(struct pci_device *pci)
{
	__atomic_store_n(&pci->bus->seen[pci->slot][pci->function], NULL, __ATOMIC_RELEASE);
	/* A vCPU that found it before may still be in its configuration space, and could map a BAR
	 * again. */
	bus_synchronize(pci->bus->io);
	pthread_mutex_lock(&pci->dev.lock);
	pci_unmap_all(pci);
	pthread_mutex_unlock(&pci->dev.lock);
	bus_synchronize(pci->bus->io);
	pci_intx_set(pci, false);
}

void pci_device_unplug(struct pci_device *pci)
{
	pci_rom_free(pci);
	pci->bus->plugged[pci->slot][pci->function] = NULL;
}
