/*
 * What firmware does to the PCI bus before an operating system is loaded: addresses for all BARs,
 * interrupt lines, the PIIX3's links, decoding on. PCI Local Bus 3.0 §6.2.5, §6.2.4 (interrupt
 * line); PIIX3 (290550) §2.2.5 (PIRQRC).
 *
 * The largest BARs come first, in the order of their functions where sizes are equal: each is
 * aligned to its size, so that no gaps arise (but a memory BAR takes a page at least). Everything is
 * written through configuration space, as software does.
 *
 * A function whose interrupt line register can't be written (the ACPI function: its interrupt is no
 * PCI one) keeps it.
 */
#include <errno.h>
#include <stdlib.h>

#include "bus/pc.h"
#include "bus/pci.h"
#include "bus/pci_internal.h"

#define PAGE_BYTES   4096u
#define PIIX3_VENDOR 0x8086
#define PIIX3_DEVICE 0x7000

struct want {
	struct pci_device *pci;
	unsigned int index, order;
};

struct wants {
	struct want *want;
	unsigned int n;
};

static void collect(struct pci_device *pci, void *opaque)
{
	struct wants *w = opaque;

	for (unsigned int i = 0; i < PCI_BARS; i++) {
		if (pci->bar[i].kind != PCI_BAR_NONE) {
			w->want[w->n] = (struct want){pci, i, w->n};
			w->n++;
		}
	}
}

static int by_size(const void *a, const void *b)
{
	const struct want *x = a, *y = b;
	uint64_t sx = x->pci->bar[x->index].size, sy = y->pci->bar[y->index].size;

	if (sx != sy)
		return sx > sy ? -1 : 1;
	return x->order < y->order ? -1 : 1;
}

static void config_write(struct pci_device *pci, unsigned int offset, unsigned int size,
			 uint32_t value)
{
	pci_config_write(pci->bus, pci->slot, pci->function, offset, size, value);
}

static uint32_t config_read(struct pci_device *pci, unsigned int offset, unsigned int size)
{
	return pci_config_read(pci->bus, pci->slot, pci->function, offset, size);
}

static int place(const struct want *want, uint64_t *next, uint64_t end, struct err *err)
{
	struct pci_device *pci = want->pci;
	const struct pci_bar *bar = &pci->bar[want->index];
	unsigned int reg = pci_bar_register(want->index);
	uint64_t size = bar->size, addr;

	/* A page holds one BAR, so that it can be shown to the guest as memory (bus/posted.h). */
	if (bar->kind != PCI_BAR_IO && size < PAGE_BYTES)
		size = PAGE_BYTES;
	addr = (*next + size - 1) & ~(size - 1);
	if (addr < *next || addr > end || size > end - addr)
		return err_set(err, -ENOSPC,
			       "%s: no room for its BAR %u of %llu bytes in the PCI %s window",
			       pci->dev.id, want->index, (unsigned long long)bar->size,
			       bar->kind == PCI_BAR_IO ? "port" : "memory");
	config_write(pci, reg, 4, (uint32_t)addr);
	if (bar->kind == PCI_BAR_MEM64)
		config_write(pci, reg + 4, 4, (uint32_t)(addr >> 32));
	*next = addr + size;
	return 0;
}

static void set_line(struct pci_device *pci, const uint8_t pirq_gsi[4])
{
	unsigned int pin = config_read(pci, PCI_INTERRUPT_PIN, 1);

	if (pin)
		config_write(pci, PCI_INTERRUPT_LINE, 1, pirq_gsi[pc_pirq(pci->slot, pin)]);
}

static void set_links(struct pci_device *pci, const uint8_t pirq_gsi[4])
{
	if (config_read(pci, PCI_VENDOR_ID, 2) != PIIX3_VENDOR ||
	    config_read(pci, PCI_DEVICE_ID, 2) != PIIX3_DEVICE)
		return;
	for (unsigned int i = 0; i < 4; i++)
		config_write(pci, PC_PIRQRC + i, 1, pirq_gsi[i]);
}

static void finish(struct pci_device *pci, void *opaque)
{
	uint32_t command = config_read(pci, PCI_COMMAND, 2);

	set_line(pci, opaque);
	set_links(pci, opaque);
	config_write(pci, PCI_COMMAND, 2, command | PCI_COMMAND_IO | PCI_COMMAND_MEMORY);
}

int pci_bus_assign(struct pci_bus *bus, const struct pci_windows *windows,
		   const uint8_t pirq_gsi[4], struct err *err)
{
	uint64_t io = windows->io_base, io_end = io + windows->io_size;
	uint64_t mem = windows->mem_base, mem_end = mem + windows->mem_size;
	struct wants w = {0};
	int r = 0;

	w.want = calloc(PCI_SLOTS * PCI_FUNCTIONS * PCI_BARS, sizeof(*w.want));
	if (!w.want)
		return err_set(err, -ENOMEM, "PCI: no memory to place the BARs");
	pci_bus_each(bus, collect, &w);
	qsort(w.want, w.n, sizeof(*w.want), by_size);
	for (unsigned int i = 0; i < w.n && !r; i++) {
		if (w.want[i].pci->bar[w.want[i].index].kind == PCI_BAR_IO)
			r = place(&w.want[i], &io, io_end, err);
		else
			r = place(&w.want[i], &mem, mem_end, err);
	}
	free(w.want);
	if (!r)
		pci_bus_each(bus, finish, (void *)(uintptr_t)pirq_gsi);
	return r;
}
