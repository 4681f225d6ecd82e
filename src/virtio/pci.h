/*
 * virtio over PCI: legacy, transitional and modern. Virtio 1.3 §4.1; its legacy interface §4.1.4.10
 * (0.9.5).
 *
 * A transitional network card, as the guest's lspci shows it:
 *
 *	1af4:1000, subsystem 1af4:0001
 *	BAR 0  I/O ports, 32        legacy registers, device configuration
 *	BAR 1  memory, 4K           MSI-X table at 0, PBA at 0x800
 *	BAR 4  memory, 16K, 64-bit  modern registers: common, ISR, configuration, doorbells
 *	ROM    64K
 *
 * Doorbells are ioeventfds on the queue's eventfd: no exit reaches vireo for them.
 *
 * Registers run on vCPU threads with the device lock; interrupts are raised on any thread.
 */
#ifndef VIREO_VIRTIO_PCI_H
#define VIREO_VIRTIO_PCI_H

#include "bus/msix.h"
#include "bus/pci.h"
#include "virtio/virtio.h"

/* Regions of BAR 4, a page each. */
enum {
	VIRTIO_PCI_COMMON,
	VIRTIO_PCI_ISR_STATUS,
	VIRTIO_PCI_DEVICE,
	VIRTIO_PCI_NOTIFY,
	VIRTIO_PCI_REGIONS
};

struct virtio_pci {
	struct pci_device pci;
	struct virtio_dev *vdev; /* in the same allocation, behind this struct */
	bool has_legacy, has_modern;
	struct bus_region legacy;		      /* BAR 0 */
	struct bus_region modern[VIRTIO_PCI_REGIONS]; /* BAR 4 */
	unsigned int cfg_cap; /* offset of the PCI configuration access capability; 0 = none */
	struct bus_doorbell bell[VIRTIO_QUEUES_MAX];
	struct bus_region *bell_region[VIRTIO_QUEUES_MAX]; /* where it is tied; NULL: it isn't */
	pthread_mutex_t isr_lock;			   /* ISR and INTx level change together */
	uint8_t isr;					   /* 1 = queue, 2 = configuration */
	uint16_t config_vector, queue_vector[VIRTIO_QUEUES_MAX]; /* relaxed atomics */
	bool msix_seen; /* was MSI-X on when we looked last? */
	uint16_t queue_select;
	uint32_t device_feature_select, driver_feature_select;
	/* options */
	int opt_disable_legacy; /* enum opt_tri; auto = off */
	bool opt_disable_modern;
	char *opt_vectors; /* NULL: what the model wants */
	bool opt_event_idx, opt_indirect, opt_packed, opt_ioeventfd;
};
extern const struct opt_desc virtio_pci_opts[];

/* The shared half of every virtio-*-pci device_model. */
int virtio_pci_realize(struct device *dev, struct err *err);
void virtio_pci_unrealize(struct device *dev);
void virtio_pci_reset(struct device *dev);
void virtio_pci_info(struct device *dev, json_t *object);
void virtio_pci_counters(struct device *dev, counter_visit *visit, void *opaque);
void virtio_pci_set_link(struct device *dev, bool up);
bool virtio_pci_announce(struct device *dev);
extern const struct pci_identity virtio_pci_identity; /* vendor; the rest is filled in by realize */

/* Where the virtio device starts in the instance. */
#define VIRTIO_PCI_OFFSET ((sizeof(struct virtio_pci) + 63) & ~(size_t)63)

/* Last line of a virtio model's file: its device on PCI. type is the instance's struct (starts with
 * struct virtio_dev), table its options; nic is the name under -net nic,model= or NULL. */
#define VIRTIO_PCI_MODEL(vmodel, pciname, aliases, text, type, table, nicname)                    \
	static const struct device_model vmodel##_pci = {                                         \
		.name = pciname,                                                                  \
		.alias = aliases,                                                                 \
		.help = text,                                                                     \
		.size = VIRTIO_PCI_OFFSET + sizeof(type),                                         \
		.opts = {{pci_device_opts, 0}, {virtio_pci_opts, 0}, {table, VIRTIO_PCI_OFFSET}}, \
		.pci = &virtio_pci_identity,                                                      \
		.nic = nicname,                                                                   \
		.data = &vmodel,                                                                  \
		.realize = virtio_pci_realize,                                                    \
		.reset = virtio_pci_reset,                                                        \
		.unrealize = virtio_pci_unrealize,                                                \
		.info = virtio_pci_info,                                                          \
		.counters = virtio_pci_counters,                                                  \
		.set_link = virtio_pci_set_link,                                                  \
		.announce = virtio_pci_announce,                                                  \
	};                                                                                        \
	DEVICE_MODEL(vmodel##_pci)

#endif
