/*
 * virtio over PCI, between pci.c (the card: identity, capabilities, interrupts, doorbells),
 * pci_legacy.c and pci_modern.c (the two sets of registers). All with the device lock held.
 */
#ifndef VIREO_VIRTIO_PCI_INTERNAL_H
#define VIREO_VIRTIO_PCI_INTERNAL_H

#include "virtio/pci.h"

/* pci.c */

/* Reads the ISR status: clears it and takes INTx back. */
uint8_t virtio_pci_isr_read(struct virtio_pci *vp);
/* Set a vector register; a vector that doesn't exist becomes VIRTIO_MSI_NO_VECTOR (virtio 1.3
 * §4.1.5.1.2.2). */
void virtio_pci_set_config_vector(struct virtio_pci *vp, uint16_t value);
void virtio_pci_set_queue_vector(struct virtio_pci *vp, struct virtio_queue *queue, uint16_t value);
/* Device status written; 0 also puts the transport's registers back. */
void virtio_pci_set_status(struct virtio_pci *vp, uint8_t status, bool legacy);

/* The queue that queue_select selects, or NULL. */
static inline struct virtio_queue *virtio_pci_selected(struct virtio_pci *vp)
{
	return vp->queue_select < vp->vdev->n_queues ? &vp->vdev->queue[vp->queue_select] : NULL;
}

/* What its vector register holds. */
static inline uint16_t virtio_pci_selected_vector(const struct virtio_pci *vp)
{
	return vp->queue_select < vp->vdev->n_queues
		       ? __atomic_load_n(&vp->queue_vector[vp->queue_select], __ATOMIC_RELAXED)
		       : 0xffff;
}

/* pci_legacy.c, pci_modern.c: make their BARs (and capabilities). 0 or -errno. */
int virtio_pci_legacy_init(struct virtio_pci *vp, struct err *err);
int virtio_pci_modern_init(struct virtio_pci *vp, struct err *err);
/* pci_modern.c: configuration space was written: the PCI configuration access capability may be
 * meant. */
void virtio_pci_cfg_written(struct virtio_pci *vp, unsigned int offset, unsigned int size);

#endif
