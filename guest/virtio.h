/*
 * A virtio device behind its PCI transport (virtio 1.3 section 4.1): modern, by the capabilities
 * in configuration space, or legacy, by BAR 0's ports (section 4.1.4.10). Feature bits and
 * registers have the names of Linux's virtio headers.
 */
#ifndef GUEST_VIRTIO_H
#define GUEST_VIRTIO_H

#include <linux/virtio_pci.h>
#include <stdbool.h>
#include <stdint.h>

struct pci_device;
struct ring;

enum virtio_transport {
	VIRTIO_AUTO,
	VIRTIO_MODERN,
	VIRTIO_LEGACY
};

enum virtio_interrupts {
	VIRTIO_POLLED,
	VIRTIO_MSIX,
	VIRTIO_INTX
};

struct virtio_device {
	struct pci_device *pci;
	uint16_t type; /* device id: linux/virtio_ids.h */
	bool legacy;
	uint64_t features; /* negotiated */

	/* Modern. */
	volatile struct virtio_pci_common_cfg *common;
	volatile uint8_t *isr;
	volatile uint8_t *config;
	volatile uint8_t *notify;
	uint32_t notify_multiplier;
	uint8_t common_bar, notify_bar;

	/* Legacy. */
	uint16_t port;

	/* Interrupts. */
	enum virtio_interrupts interrupts;
	uint32_t msix;		       /* capability's offset, 0 if there is none */
	uint32_t n_msix;	       /* entries in the table */
	volatile uint32_t *msix_table; /* 4 words each: address, upper address, data, control */
	volatile uint32_t *msix_pending;
	int intx_input;
	uint32_t acknowledged; /* INTx: irq_count[] at the last acknowledgement */
	uint64_t n_interrupts; /* that virtio_wait() saw */
};

/*
 * Finds the index-th (from 0) device of this type and its registers, enables it, resets it. False
 * if there is none, or it doesn't have that transport.
 */
bool virtio_open(struct virtio_device *dev, uint16_t type, uint32_t index,
		 enum virtio_transport transport);

/* Resets, disables interrupts. */
void virtio_close(struct virtio_device *dev);

/* Status register, and reset: writes 0 and waits for it to read 0. False if it never does. */
uint8_t virtio_status(const struct virtio_device *dev);
void virtio_set_status(const struct virtio_device *dev, uint8_t status);
bool virtio_reset(const struct virtio_device *dev);

/* Feature bits that the device offers. */
uint64_t virtio_offered(const struct virtio_device *dev);

/* Writes the driver's features, with nothing checked. */
void virtio_accept(const struct virtio_device *dev, uint64_t features);

/*
 * From reset to FEATURES_OK (section 3.1.1, steps 1-6), with those of the wanted features that are
 * offered: they are in dev->features then. False if the device refuses, or if packed rings are
 * wanted and not offered: who asks for them tests them.
 */
bool virtio_negotiate(struct virtio_device *dev, uint64_t wanted);

bool virtio_has(const struct virtio_device *dev, uint32_t feature);

/* Finds the MSI-X table and switches MSI-X off; switches interrupts off. For open and close. */
void virtio_find_msix(struct virtio_device *dev);
void virtio_disable_interrupts(struct virtio_device *dev);

/*
 * Turns interrupts of this kind on, before the queues are set up. False if the device has not got
 * it.
 */
bool virtio_enable_interrupts(struct virtio_device *dev, enum virtio_interrupts kind);

/*
 * Takes a vector for MSI-X table entry `entry` and sets the entry up; with INTx it is always the
 * pin's. Returns the vector.
 */
int virtio_vector(const struct virtio_device *dev, uint32_t entry);

/*
 * Sleeps until n more chains of the ring are used, by the interrupt at this vector (without the
 * event index: until one is). Returns at once if interrupts are not enabled. False: nothing in
 * timeout_ns.
 */
bool virtio_wait(struct virtio_device *dev, struct ring *ring, uint16_t n, int vector,
		 uint64_t timeout_ns);

/*
 * Sets MSI-X table entry `entry` to interrupt at `vector` (irq.h), and masks or unmasks an entry.
 */
void virtio_msix_set(const struct virtio_device *dev, uint32_t entry, int vector);
void virtio_msix_mask(const struct virtio_device *dev, uint32_t entry, bool masked);

/* Reads the ISR status, which acknowledges INTx. */
uint8_t virtio_isr(const struct virtio_device *dev);

/* Entries that the queue can have, 0 if there is no such queue. */
uint16_t virtio_queue_max(const struct virtio_device *dev, uint16_t index);

/*
 * Makes the ring of queue `index`, of at most `size` entries (modern; legacy can't choose), and
 * tells the device. msix: table entry for its interrupts, or -1.
 */
bool virtio_queue_setup(struct virtio_device *dev, uint16_t index, uint16_t size, int msix,
			struct ring *ring);

/* Hands the device a ring at these addresses; nothing is checked. Modern only. */
void virtio_queue_place(const struct virtio_device *dev, uint16_t index, uint16_t size,
			uint64_t desc, uint64_t avail, uint64_t used);

/* DRIVER_OK. */
void virtio_ready(const struct virtio_device *dev);

/* True if the device has latched DEVICE_NEEDS_RESET. */
bool virtio_needs_reset(const struct virtio_device *dev);

/* Device-specific configuration. */
uint8_t virtio_config8(const struct virtio_device *dev, uint32_t offset);
uint16_t virtio_config16(const struct virtio_device *dev, uint32_t offset);
uint32_t virtio_config32(const struct virtio_device *dev, uint32_t offset);
uint64_t virtio_config64(const struct virtio_device *dev, uint32_t offset);

/* Where a queue's doorbell is (modern). */
volatile uint16_t *virtio_doorbell(const struct virtio_device *dev, uint16_t index);

/* auto, modern, legacy; and 0 (polled), 1 (MSI-X), intx. False if the name is none of these. */
bool virtio_transport_by_name(const char *name, enum virtio_transport *transport);
bool virtio_interrupts_by_name(const char *name, enum virtio_interrupts *kind);

#endif
