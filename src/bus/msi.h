/*
 * MSI: one to 32 messages, described in configuration space. PCI Local Bus 3.0 §6.8.1.
 *
 * Vectors are eventfds, as in MSI-X (msix.h has the idea): whoever has an interrupt writes, masked or not.
 */
#ifndef VIREO_BUS_MSI_H
#define VIREO_BUS_MSI_H

#include "bus/pci.h"

struct msi;

/* Adds the capability: 64-bit address; maskable = with mask and pending bits. vectors: 1, 2, 4, 8, 16 or 32. 0 or -errno. */
int msi_init(struct pci_device *pci, unsigned int vectors, bool maskable, struct err *err);
void msi_destroy(struct pci_device *pci); /* in unrealize; no-op without MSI */

/* Called by pci_config.c: at reset, before a read, after a write, and when bus master enable changed. */
void msi_reset(struct pci_device *pci);
void msi_config_read(struct pci_device *pci);
void msi_config_written(struct pci_device *pci, unsigned int offset, unsigned int size);
void msi_update(struct pci_device *pci);

bool msi_enabled(const struct pci_device *pci); /* any thread */
unsigned int
msi_allocated(const struct pci_device *pci); /* vectors that software gave it; any thread */

/* The eventfd of a vector; -1 when out of range. Lives as long as the device. */
int msi_fd(const struct pci_device *pci, unsigned int vector);
/* Delivers: one write to the eventfd. A vector that software gave nothing for keeps it pending. Any thread. */
void msi_notify(const struct pci_device *pci, unsigned int vector);

#endif
