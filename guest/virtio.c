/*
 * See virtio.h.
 */
#include "virtio.h"

#include <linux/pci_regs.h>
#include <linux/virtio_config.h>

#include "clock.h"
#include "gate.h"
#include "lib.h"
#include "memory.h"
#include "pci.h"
#include "ring.h"

#define VIRTIO_VENDOR	   0x1af4
#define VIRTIO_MODERN_BASE 0x1040 /* PCI device id of a modern-only device: this + type */
#define VIRTIO_TRANS_FIRST 0x1000 /* transitional ids; the subsystem id is the type */
#define VIRTIO_TRANS_LAST  0x103f

#define RESET_TIMEOUT	  (2 * NS_PER_S)
#define VIRTIO_NO_VECTOR  0xffff
#define LEGACY_PAGE_SHIFT 12

static uint16_t type_of(const struct pci_device *pci)
{
	if (pci->vendor != VIRTIO_VENDOR)
		return 0;
	if (pci->device >= VIRTIO_TRANS_FIRST && pci->device <= VIRTIO_TRANS_LAST)
		return pci->subsystem;
	return pci->device > VIRTIO_MODERN_BASE ? pci->device - VIRTIO_MODERN_BASE : 0;
}

static struct pci_device *find(uint16_t type, uint32_t index)
{
	for (uint32_t i = 0; i < pci_count(); i++)
		if (type_of(pci_get(i)) == type && !index--)
			return pci_get(i);
	return NULL;
}

/*
 * Takes one capability of the vendor-specific kind (section 4.1.4). The first of each type
 * counts.
 */
static void take_capability(struct virtio_device *dev, uint32_t at)
{
	uint8_t type = pci_read8(dev->pci, at + VIRTIO_PCI_CAP_CFG_TYPE);
	uint8_t bar = pci_read8(dev->pci, at + VIRTIO_PCI_CAP_BAR);
	uint32_t offset = pci_read32(dev->pci, at + VIRTIO_PCI_CAP_OFFSET);
	volatile uint8_t *base = pci_map_bar(dev->pci, bar);

	if (!base)
		return;
	if (type == VIRTIO_PCI_CAP_COMMON_CFG && !dev->common) {
		dev->common = (volatile void *)(base + offset);
		dev->common_bar = bar;
	} else if (type == VIRTIO_PCI_CAP_ISR_CFG && !dev->isr) {
		dev->isr = base + offset;
	} else if (type == VIRTIO_PCI_CAP_DEVICE_CFG && !dev->config) {
		dev->config = base + offset;
	} else if (type == VIRTIO_PCI_CAP_NOTIFY_CFG && !dev->notify) {
		dev->notify = base + offset;
		dev->notify_bar = bar;
		dev->notify_multiplier = pci_read32(dev->pci, at + VIRTIO_PCI_NOTIFY_CAP_MULT);
	}
}

static bool find_modern(struct virtio_device *dev)
{
	uint32_t at = 0;

	while ((at = pci_find_capability(dev->pci, PCI_CAP_ID_VNDR, at)))
		take_capability(dev, at);
	return dev->common && dev->notify && dev->isr;
}

static bool find_legacy(struct virtio_device *dev)
{
	if (dev->pci->device > VIRTIO_TRANS_LAST || !dev->pci->bars[0].is_io)
		return false;
	dev->port = dev->pci->bars[0].address;
	return true;
}

bool virtio_open(struct virtio_device *dev, uint16_t type, uint32_t index,
		 enum virtio_transport transport)
{
	*dev = (struct virtio_device){.pci = find(type, index), .type = type, .intx_input = -1};
	if (!dev->pci)
		return false;
	pci_command(dev->pci, PCI_COMMAND_IO | PCI_COMMAND_MEMORY, PCI_COMMAND_INTX_DISABLE);
	virtio_find_msix(dev);
	if (transport == VIRTIO_LEGACY || !find_modern(dev)) {
		if (transport == VIRTIO_MODERN || !find_legacy(dev))
			return false;
		dev->legacy = true;
	}
	/* Only once nothing is left of an earlier driver may the device reach memory. */
	if (!virtio_reset(dev))
		return false;
	pci_command(dev->pci, PCI_COMMAND_MASTER, 0);
	return true;
}

void virtio_close(struct virtio_device *dev)
{
	virtio_reset(dev);
	virtio_disable_interrupts(dev);
	pci_command(dev->pci, PCI_COMMAND_INTX_DISABLE, PCI_COMMAND_MASTER);
}

uint8_t virtio_status(const struct virtio_device *dev)
{
	return dev->legacy ? gate_in8(dev->port + VIRTIO_PCI_STATUS) : dev->common->device_status;
}

void virtio_set_status(const struct virtio_device *dev, uint8_t status)
{
	if (dev->legacy)
		gate_out8(dev->port + VIRTIO_PCI_STATUS, status);
	else
		dev->common->device_status = status;
}

bool virtio_reset(const struct virtio_device *dev)
{
	uint64_t start = clock_ns();

	virtio_set_status(dev, 0);
	while (virtio_status(dev))
		if (clock_ns() - start > RESET_TIMEOUT)
			return false;
	return true;
}

uint64_t virtio_offered(const struct virtio_device *dev)
{
	uint64_t low;

	if (dev->legacy)
		return gate_in32(dev->port + VIRTIO_PCI_HOST_FEATURES);
	dev->common->device_feature_select = 0;
	low = dev->common->device_feature;
	dev->common->device_feature_select = 1;
	return low | (uint64_t)dev->common->device_feature << 32;
}

void virtio_accept(const struct virtio_device *dev, uint64_t features)
{
	if (dev->legacy) {
		gate_out32(dev->port + VIRTIO_PCI_GUEST_FEATURES, features);
		return;
	}
	dev->common->guest_feature_select = 0;
	dev->common->guest_feature = features;
	dev->common->guest_feature_select = 1;
	dev->common->guest_feature = features >> 32;
}

bool virtio_negotiate(struct virtio_device *dev, uint64_t wanted)
{
	uint8_t status = VIRTIO_CONFIG_S_ACKNOWLEDGE | VIRTIO_CONFIG_S_DRIVER;

	virtio_set_status(dev, VIRTIO_CONFIG_S_ACKNOWLEDGE);
	virtio_set_status(dev, status);
	if (!dev->legacy)
		wanted |= 1ull << VIRTIO_F_VERSION_1;
	dev->features = virtio_offered(dev) & wanted;
	if ((dev->features ^ wanted) >> VIRTIO_F_RING_PACKED & 1)
		return false;
	virtio_accept(dev, dev->features);
	if (dev->legacy)
		return true;
	virtio_set_status(dev, status | VIRTIO_CONFIG_S_FEATURES_OK);
	return virtio_status(dev) & VIRTIO_CONFIG_S_FEATURES_OK;
}

bool virtio_has(const struct virtio_device *dev, uint32_t feature)
{
	return dev->features >> feature & 1;
}

bool virtio_needs_reset(const struct virtio_device *dev)
{
	return virtio_status(dev) & VIRTIO_CONFIG_S_NEEDS_RESET;
}

void virtio_ready(const struct virtio_device *dev)
{
	virtio_set_status(dev, virtio_status(dev) | VIRTIO_CONFIG_S_DRIVER_OK);
}

static void select_queue(const struct virtio_device *dev, uint16_t index)
{
	if (dev->legacy)
		gate_out16(dev->port + VIRTIO_PCI_QUEUE_SEL, index);
	else
		dev->common->queue_select = index;
}

uint16_t virtio_queue_max(const struct virtio_device *dev, uint16_t index)
{
	select_queue(dev, index);
	return dev->legacy ? gate_in16(dev->port + VIRTIO_PCI_QUEUE_NUM) : dev->common->queue_size;
}

static void set64(volatile __le32 *low, uint64_t value)
{
	low[0] = value;
	low[1] = value >> 32;
}

void virtio_queue_place(const struct virtio_device *dev, uint16_t index, uint16_t size,
			uint64_t desc, uint64_t avail, uint64_t used)
{
	select_queue(dev, index);
	dev->common->queue_size = size;
	set64(&dev->common->queue_desc_lo, desc);
	set64(&dev->common->queue_avail_lo, avail);
	set64(&dev->common->queue_used_lo, used);
	dev->common->queue_enable = 1;
}

volatile uint16_t *virtio_doorbell(const struct virtio_device *dev, uint16_t index)
{
	uint32_t offset;

	select_queue(dev, index);
	offset = dev->common->queue_notify_off;
	return (volatile void *)(dev->notify + offset * dev->notify_multiplier);
}

static void queue_vector(const struct virtio_device *dev, uint16_t index, uint16_t entry)
{
	select_queue(dev, index);
	if (!dev->legacy)
		dev->common->queue_msix_vector = entry;
	else if (dev->interrupts == VIRTIO_MSIX)
		gate_out16(dev->port + VIRTIO_MSI_QUEUE_VECTOR, entry);
}

bool virtio_queue_setup(struct virtio_device *dev, uint16_t index, uint16_t size, int msix,
			struct ring *ring)
{
	uint16_t max = virtio_queue_max(dev, index);

	if (!max)
		return false;
	ring_init(ring, index, dev->legacy ? max : MIN(size, max),
		  virtio_has(dev, VIRTIO_RING_F_EVENT_IDX),
		  virtio_has(dev, VIRTIO_RING_F_INDIRECT_DESC),
		  virtio_has(dev, VIRTIO_F_RING_PACKED));
	queue_vector(dev, index, msix < 0 ? VIRTIO_NO_VECTOR : msix);
	if (dev->legacy) {
		ring->port = dev->port + VIRTIO_PCI_QUEUE_NOTIFY;
		gate_out32(dev->port + VIRTIO_PCI_QUEUE_PFN,
			   memory_address(ring->desc) >> LEGACY_PAGE_SHIFT);
		return true;
	}
	if (ring->packed)
		virtio_queue_place(dev, index, ring->size, memory_address(ring->entries),
				   memory_address(ring->driver_event),
				   memory_address(ring->device_event));
	else
		virtio_queue_place(dev, index, ring->size, memory_address(ring->desc),
				   memory_address(ring->avail), memory_address(ring->used));
	ring->doorbell = virtio_doorbell(dev, index);
	return true;
}

uint8_t virtio_config8(const struct virtio_device *dev, uint32_t offset)
{
	if (dev->legacy)
		return gate_in8(dev->port + VIRTIO_PCI_CONFIG_OFF(dev->interrupts == VIRTIO_MSIX) +
				offset);
	return dev->config ? dev->config[offset] : 0;
}

uint16_t virtio_config16(const struct virtio_device *dev, uint32_t offset)
{
	if (dev->legacy)
		return virtio_config8(dev, offset) | virtio_config8(dev, offset + 1) << 8;
	return dev->config ? *(volatile uint16_t *)(dev->config + offset) : 0;
}

uint32_t virtio_config32(const struct virtio_device *dev, uint32_t offset)
{
	if (dev->legacy)
		return virtio_config16(dev, offset) | (uint32_t)virtio_config16(dev, offset + 2)
							      << 16;
	return dev->config ? *(volatile uint32_t *)(dev->config + offset) : 0;
}

uint64_t virtio_config64(const struct virtio_device *dev, uint32_t offset)
{
	return virtio_config32(dev, offset) | (uint64_t)virtio_config32(dev, offset + 4) << 32;
}

bool virtio_transport_by_name(const char *name, enum virtio_transport *transport)
{
	static const char *const names[] = {
		[VIRTIO_AUTO] = "auto", [VIRTIO_MODERN] = "modern", [VIRTIO_LEGACY] = "legacy"};

	for (uint32_t i = 0; i < ARRAY_SIZE(names); i++) {
		if (!strcmp(name, names[i])) {
			*transport = i;
			return true;
		}
	}
	return false;
}
