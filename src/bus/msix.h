/*
 * MSI-X: a table of messages and a pending-bit array in a BAR. PCI 3.0 §6.8.2.
 *
 * Each vector is an eventfd. Whoever has an interrupt to deliver (an I/O thread, vhost in the
 * kernel) writes to it, masked or not. Unmasked, the eventfd is an irqfd of KVM's. Masked, it is
 * detached, and what is written stays in it: that is the pending bit; unmasking attaches it again,
 * and KVM injects what is pending. So nobody on a data path looks at the mask.
 */
#ifndef VIREO_BUS_MSIX_H
#define VIREO_BUS_MSIX_H

#include "bus/pci.h"

struct msix;

/* Adds the capability and puts table and PBA into the BAR (made before with pci_bar_add_space).
 * vectors: 1 to 2048. Offsets in bytes, 8-aligned. */
int msix_init(struct pci_device *pci, unsigned int bar, unsigned int vectors, uint32_t table_offset,
	      uint32_t pba_offset, struct err *err);
void msix_destroy(struct pci_device *pci); /* in unrealize; no-op without MSI-X */
void msix_reset(struct pci_device *pci);
/* Message control may have changed. Called by pci_config.c after every write, as msix_reset() at
 * reset. */
void msix_config_written(struct pci_device *pci, unsigned int offset, unsigned int size);
/* Bus master enable changed: without it no message leaves the function. Called by pci_config.c. */
void msix_update(struct pci_device *pci);

bool msix_enabled(const struct pci_device *pci); /* any thread */
unsigned int msix_vectors(const struct pci_device *pci);

/* The eventfd of a vector; -1 when out of range. Lives as long as the device. */
int msix_fd(const struct pci_device *pci, unsigned int vector);
/* Delivers: one write to the eventfd. Out of range: nothing. Any thread. */
void msix_notify(const struct pci_device *pci, unsigned int vector);

#endif
