/*
 * virtio over PCI, the legacy registers: BAR 0, I/O ports. Virtio 1.3 §4.1.4.10 and the "Legacy
 * Interface" sections.
 *
 *	 0 device features   4 driver features   8 queue PFN   12 queue size    14 queue select
 *	16 queue notify     18 device status    19 ISR
 *	20 configuration vector   22 queue vector     (both only while MSI-X is enabled)
 *	20 or 24: device configuration
 *
 * A queue is one page number: descriptor table, available ring and, from the next page boundary,
 * used ring (§2.7.2). Numbers are in the guest's byte order, which is little-endian here.
 */
#include <linux/virtio_pci.h>

#include "virtio/pci_internal.h"

struct legacy_header {
	uint32_t device_features, driver_features, queue_pfn;
	uint16_t queue_size, queue_select, queue_notify;
	uint8_t status, isr;
	uint16_t config_vector, queue_vector;
};
_Static_assert(sizeof(struct legacy_header) == VIRTIO_PCI_CONFIG_OFF(true), "legacy header");

static uint64_t header_size(const struct virtio_pci *vp)
{
	return VIRTIO_PCI_CONFIG_OFF(msix_enabled(&vp->pci));
}

static uint64_t legacy_read(void *opaque, uint64_t offset, unsigned int size)
{
	struct virtio_pci *vp = opaque;
	struct virtio_dev *vdev = vp->vdev;
	const struct virtio_queue *queue = virtio_pci_selected(vp);
	struct legacy_header h;

	if (offset >= header_size(vp))
		return virtio_config_read(vdev, offset - header_size(vp), size);
	h = (struct legacy_header){
		.device_features = (uint32_t)virtio_features_offered(vdev, true),
		.driver_features = (uint32_t)vdev->features,
		.queue_size = queue ? queue->size_max : 0,
		.queue_select = vp->queue_select,
		.status = virtio_get_status(vdev),
		.config_vector = __atomic_load_n(&vp->config_vector, __ATOMIC_RELAXED),
		.queue_vector = virtio_pci_selected_vector(vp),
	};
	if (queue && queue->enabled)
		h.queue_pfn = (uint32_t)(queue->config.desc >> VIRTIO_PCI_QUEUE_ADDR_SHIFT);
	if (offset <= VIRTIO_PCI_ISR && VIRTIO_PCI_ISR < offset + size)
		h.isr = virtio_pci_isr_read(vp);
	return virtio_config_load(&h, (uint32_t)offset, size);
}

static void queue_pfn_write(struct virtio_queue *queue, uint32_t pfn)
{
	const uint64_t align = VIRTIO_PCI_VRING_ALIGN;
	struct virtq_config *config = &queue->config;
	uint64_t used_min;

	if (!pfn) {
		virtio_queue_disable(queue);
		return;
	}
	if (queue->enabled)
		return;
	config->size = queue->size_max;
	config->desc = (uint64_t)pfn << VIRTIO_PCI_QUEUE_ADDR_SHIFT;
	config->avail = config->desc + sizeof(struct vring_desc) * config->size;
	used_min = config->avail + sizeof(uint16_t) * (3 + (uint64_t)config->size);
	config->used = (used_min + align - 1) & ~(align - 1);
	virtio_queue_enable(queue);
}

static void legacy_write(void *opaque, uint64_t offset, unsigned int size, uint64_t value)
{
	struct virtio_pci *vp = opaque;
	struct virtio_dev *vdev = vp->vdev;
	struct virtio_queue *queue = virtio_pci_selected(vp);

	if (offset >= header_size(vp)) {
		virtio_config_write(vdev, offset - header_size(vp), size, value);
		return;
	}
	/* A write that isn't as wide as its register is none. */
	switch (offset << 4 | size) {
	case VIRTIO_PCI_GUEST_FEATURES << 4 | 4:
		virtio_set_features(vdev, (uint32_t)value);
		break;
	case VIRTIO_PCI_QUEUE_PFN << 4 | 4:
		if (queue)
			queue_pfn_write(queue, (uint32_t)value);
		break;
	case VIRTIO_PCI_QUEUE_SEL << 4 | 2:
		vp->queue_select = (uint16_t)value;
		break;
	case VIRTIO_PCI_QUEUE_NOTIFY << 4 | 2:
		if (value < vdev->n_queues)
			virtio_queue_kick(&vdev->queue[value]);
		break;
	case VIRTIO_PCI_STATUS << 4 | 1:
		virtio_pci_set_status(vp, (uint8_t)value, true);
		break;
	case VIRTIO_MSI_CONFIG_VECTOR << 4 | 2:
		virtio_pci_set_config_vector(vp, (uint16_t)value);
		break;
	case VIRTIO_MSI_QUEUE_VECTOR << 4 | 2:
		if (queue)
			virtio_pci_set_queue_vector(vp, queue, (uint16_t)value);
		break;
	}
}

/* Not `unaligned`: the bus cuts accesses so that none straddles the end of the header. */
static const struct region_ops legacy_ops = {
	.read = legacy_read,
	.write = legacy_write,
	.min = 1,
	.max = 4,
};

int virtio_pci_legacy_init(struct virtio_pci *vp, struct err *err)
{
	uint64_t size = 32;
	int ret;

	while (size < VIRTIO_PCI_CONFIG_OFF(true) + (uint64_t)vp->vdev->config_size)
		size *= 2;
	bus_region_init(&vp->legacy, "virtio-pci.legacy", BUS_PIO, size, &legacy_ops, vp,
			&vp->pci.dev.lock);
	ret = pci_bar_add_space(&vp->pci, 0, PCI_BAR_IO, false, size);
	if (!ret)
		ret = pci_bar_add_region(&vp->pci, 0, 0, &vp->legacy);
	return ret ? err_set(err, ret, "%s: BAR 0", vp->pci.dev.id) : 0;
}
