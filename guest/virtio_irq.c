/*
 * Interrupts of a virtio device: MSI-X (PCI 3.0 section 6.8.2), or INTx with the ISR status
 * register (virtio 1.3 section 4.1.4.5). See virtio.h.
 */
#include <linux/pci_regs.h>

#include "gate.h"
#include "irq.h"
#include "lib.h"
#include "pci.h"
#include "ring.h"
#include "virtio.h"

#define MSIX_ENTRY_WORDS 4

void virtio_find_msix(struct virtio_device *dev)
{
	uint32_t table, pending;
	volatile uint8_t *base;

	dev->msix = pci_find_capability(dev->pci, PCI_CAP_ID_MSIX, 0);
	if (!dev->msix)
		return;
	table = pci_read32(dev->pci, dev->msix + PCI_MSIX_TABLE);
	pending = pci_read32(dev->pci, dev->msix + PCI_MSIX_PBA);
	dev->n_msix = (pci_read16(dev->pci, dev->msix + PCI_MSIX_FLAGS) & PCI_MSIX_FLAGS_QSIZE) + 1;
	base = pci_map_bar(dev->pci, table & PCI_MSIX_TABLE_BIR);
	if (base)
		dev->msix_table = (volatile void *)(base + (table & PCI_MSIX_TABLE_OFFSET));
	base = pci_map_bar(dev->pci, pending & PCI_MSIX_PBA_BIR);
	if (base)
		dev->msix_pending = (volatile void *)(base + (pending & PCI_MSIX_PBA_OFFSET));
	pci_write16(dev->pci, dev->msix + PCI_MSIX_FLAGS, 0);
}

void virtio_disable_interrupts(struct virtio_device *dev)
{
	if (dev->interrupts == VIRTIO_MSIX)
		pci_write16(dev->pci, dev->msix + PCI_MSIX_FLAGS, 0);
	if (dev->interrupts == VIRTIO_INTX)
		irq_intx_off(dev->intx_input);
	dev->interrupts = VIRTIO_POLLED;
}

bool virtio_enable_interrupts(struct virtio_device *dev, enum virtio_interrupts kind)
{
	if (kind == VIRTIO_MSIX) {
		if (!dev->msix_table)
			return false;
		pci_write16(dev->pci, dev->msix + PCI_MSIX_FLAGS, PCI_MSIX_FLAGS_ENABLE);
	} else if (kind == VIRTIO_INTX) {
		dev->acknowledged = irq_count[IRQ_INTX];
		dev->intx_input = irq_intx_route(dev->pci);
		if (dev->intx_input < 0)
			return false;
	}
	dev->interrupts = kind;
	return true;
}

void virtio_msix_set(const struct virtio_device *dev, uint32_t entry, int vector)
{
	volatile uint32_t *words = &dev->msix_table[MSIX_ENTRY_WORDS * entry];

	/* Address and data of an entry that isn't masked must not change. */
	words[3] = PCI_MSIX_ENTRY_CTRL_MASKBIT;
	words[0] = irq_msi_address();
	words[1] = 0;
	words[2] = irq_msi_data(vector);
	words[3] = 0;
}

void virtio_msix_mask(const struct virtio_device *dev, uint32_t entry, bool masked)
{
	dev->msix_table[MSIX_ENTRY_WORDS * entry + 3] = masked ? PCI_MSIX_ENTRY_CTRL_MASKBIT : 0;
}

uint8_t virtio_isr(const struct virtio_device *dev)
{
	return dev->legacy ? gate_in8(dev->port + VIRTIO_PCI_ISR) : *dev->isr;
}

int virtio_vector(const struct virtio_device *dev, uint32_t entry)
{
	int vector = IRQ_INTX;

	if (dev->interrupts == VIRTIO_MSIX) {
		vector = irq_alloc();
		virtio_msix_set(dev, entry, vector);
	}
	return vector;
}

/* An INTx that came, now or earlier: ends the level, lets the next one through. */
static void acknowledge(struct virtio_device *dev)
{
	if (dev->interrupts != VIRTIO_INTX || irq_count[IRQ_INTX] == dev->acknowledged)
		return;
	dev->acknowledged = irq_count[IRQ_INTX];
	virtio_isr(dev);
	irq_intx_done(dev->intx_input);
}

bool virtio_wait(struct virtio_device *dev, struct ring *ring, uint16_t n, int vector,
		 uint64_t timeout_ns)
{
	bool happened = true;
	uint32_t seen;

	if (dev->interrupts == VIRTIO_POLLED)
		return true;
	acknowledge(dev);
	seen = irq_count[vector];
	if (ring_arm(ring, n))
		happened = irq_wait(vector, seen, timeout_ns);
	ring_disarm(ring);
	dev->n_interrupts += irq_count[vector] - seen;
	acknowledge(dev);
	return happened;
}

bool virtio_interrupts_by_name(const char *name, enum virtio_interrupts *kind)
{
	static const char *const names[] = {
		[VIRTIO_POLLED] = "0", [VIRTIO_MSIX] = "1", [VIRTIO_INTX] = "intx"};

	for (uint32_t i = 0; i < ARRAY_SIZE(names); i++) {
		if (!strcmp(name, names[i])) {
			*kind = i;
			return true;
		}
	}
	return false;
}
