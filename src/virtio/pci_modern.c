/*
 * virtio over PCI, the modern registers: BAR 4, memory, and the capabilities that point there.
 * Virtio 1.3 §4.1.4.
 *
 *	0x0000  common configuration     struct virtio_pci_common_cfg, and queue_reset
 *	0x1000  ISR status               one byte, cleared by reading
 *	0x2000  device configuration
 *	0x3000  doorbells                queue n at 4 * n; what is written doesn't matter
 *
 * A fifth capability lets firmware reach these through configuration space, where it can't map
 * memory (§4.1.4.9).
 */
#include <linux/virtio_pci.h>

#include "virtio/pci_internal.h"

#define BAR		4
#define REGION_SIZE	0x1000
#define BELL_SIZE	4 /* notify_off_multiplier */
#define PCI_CAP_ID_VNDR 0x09
#define CFG_DATA	(sizeof(struct virtio_pci_cap)) /* pci_cfg_data, in its capability */

/* ---- common configuration, §4.1.4.3 ---- */

struct common_cfg {
	struct virtio_pci_common_cfg basic;
	uint16_t queue_notify_data; /* VIRTIO_F_NOTIF_CONFIG_DATA isn't offered */
	uint16_t queue_reset; /* write 1; when the write is done, the reset is, and it reads as 0 */
};

static uint32_t word_of(uint64_t features, uint32_t select)
{
	return select < 2 ? (uint32_t)(features >> 32 * select) : 0;
}

static uint64_t common_read(void *opaque, uint64_t offset, unsigned int size)
{
	struct virtio_pci *vp = opaque;
	struct virtio_dev *vdev = vp->vdev;
	const struct virtio_queue *queue = virtio_pci_selected(vp);
	struct common_cfg cfg = {0};
	struct virtio_pci_common_cfg *c = &cfg.basic;

	if (offset + size > sizeof(cfg))
		return 0;
	*c = (struct virtio_pci_common_cfg){
		.device_feature_select = vp->device_feature_select,
		.device_feature =
			word_of(virtio_features_offered(vdev, false), vp->device_feature_select),
		.guest_feature_select = vp->driver_feature_select,
		.guest_feature = word_of(vdev->features, vp->driver_feature_select),
		.msix_config = __atomic_load_n(&vp->config_vector, __ATOMIC_RELAXED),
		.num_queues = (uint16_t)vdev->n_queues,
		.device_status = virtio_get_status(vdev),
		.config_generation = __atomic_load_n(&vdev->config_generation, __ATOMIC_RELAXED),
		.queue_select = vp->queue_select,
		.queue_msix_vector = virtio_pci_selected_vector(vp),
	};
	if (queue) {
		c->queue_size = queue->config.size;
		c->queue_enable = queue->enabled;
		c->queue_notify_off = queue->ring.index;
		c->queue_desc_lo = (uint32_t)queue->config.desc;
		c->queue_desc_hi = (uint32_t)(queue->config.desc >> 32);
		c->queue_avail_lo = (uint32_t)queue->config.avail;
		c->queue_avail_hi = (uint32_t)(queue->config.avail >> 32);
		c->queue_used_lo = (uint32_t)queue->config.used;
		c->queue_used_hi = (uint32_t)(queue->config.used >> 32);
	}
	return virtio_config_load(&cfg, (uint32_t)offset, size);
}

static void driver_feature_write(struct virtio_pci *vp, uint32_t value)
{
	uint64_t features = vp->vdev->features;

	if (vp->driver_feature_select == 0)
		features = (features & ~(uint64_t)UINT32_MAX) | value;
	else if (vp->driver_feature_select == 1)
		features = (features & UINT32_MAX) | (uint64_t)value << 32;
	virtio_set_features(vp->vdev, features);
}

static void half_write(uint64_t *address, bool high, uint32_t value)
{
	if (high)
		*address = (*address & UINT32_MAX) | (uint64_t)value << 32;
	else
		*address = (*address & ~(uint64_t)UINT32_MAX) | value;
}

/* The registers of the selected queue. offset_size as in common_write(). */
static void queue_write(struct virtio_pci *vp, struct virtio_queue *queue, uint64_t offset_size,
			uint32_t value)
{
	struct virtq_config *config = &queue->config;
	bool high = offset_size >> 4 & 4; /* half of a 64-bit register */

	if (offset_size == (VIRTIO_PCI_COMMON_Q_MSIX << 4 | 2)) {
		virtio_pci_set_queue_vector(vp, queue, (uint16_t)value);
		return;
	}
	if (offset_size == (offsetof(struct common_cfg, queue_reset) << 4 | 2)) {
		if (value == 1 && virtio_queue_reset(queue))
			virtio_pci_set_queue_vector(vp, queue, VIRTIO_MSI_NO_VECTOR);
		return;
	}
	/* The rest is settled then. §4.1.4.3.2: 0 to queue_enable is forbidden. */
	if (queue->enabled)
		return;
	switch (offset_size) {
	case VIRTIO_PCI_COMMON_Q_SIZE << 4 | 2:
		config->size = (uint16_t)value;
		break;
	case VIRTIO_PCI_COMMON_Q_ENABLE << 4 | 2:
		if (value == 1)
			virtio_queue_enable(queue);
		break;
	case VIRTIO_PCI_COMMON_Q_DESCLO << 4 | 4:
	case VIRTIO_PCI_COMMON_Q_DESCHI << 4 | 4:
		half_write(&config->desc, high, value);
		break;
	case VIRTIO_PCI_COMMON_Q_AVAILLO << 4 | 4:
	case VIRTIO_PCI_COMMON_Q_AVAILHI << 4 | 4:
		half_write(&config->avail, high, value);
		break;
	case VIRTIO_PCI_COMMON_Q_USEDLO << 4 | 4:
	case VIRTIO_PCI_COMMON_Q_USEDHI << 4 | 4:
		half_write(&config->used, high, value);
		break;
	}
}

static void common_write(void *opaque, uint64_t offset, unsigned int size, uint64_t value)
{
	struct virtio_pci *vp = opaque;
	struct virtio_queue *queue = virtio_pci_selected(vp);

	/* §4.1.3.1: as wide as the register, 64-bit ones as two halves; anything else is no
	 * write. */
	switch (offset << 4 | size) {
	case VIRTIO_PCI_COMMON_DFSELECT << 4 | 4:
		vp->device_feature_select = (uint32_t)value;
		break;
	case VIRTIO_PCI_COMMON_GFSELECT << 4 | 4:
		vp->driver_feature_select = (uint32_t)value;
		break;
	case VIRTIO_PCI_COMMON_GF << 4 | 4:
		driver_feature_write(vp, (uint32_t)value);
		break;
	case VIRTIO_PCI_COMMON_MSIX << 4 | 2:
		virtio_pci_set_config_vector(vp, (uint16_t)value);
		break;
	case VIRTIO_PCI_COMMON_STATUS << 4 | 1:
		virtio_pci_set_status(vp, (uint8_t)value, false);
		break;
	case VIRTIO_PCI_COMMON_Q_SELECT << 4 | 2:
		vp->queue_select = (uint16_t)value;
		break;
	default:
		if (queue)
			queue_write(vp, queue, offset << 4 | size, (uint32_t)value);
		break;
	}
}

static const struct region_ops common_ops = {
	.read = common_read,
	.write = common_write,
	.min = 1,
	.max = 4,
};

/* ---- the other regions ---- */

static uint64_t isr_read(void *opaque, uint64_t offset, unsigned int size)
{
	return offset ? 0 : virtio_pci_isr_read(opaque);
}

static const struct region_ops isr_ops = {
	.read = isr_read,
	.min = 1,
	.max = 4,
};

static uint64_t device_read(void *opaque, uint64_t offset, unsigned int size)
{
	struct virtio_pci *vp = opaque;

	return virtio_config_read(vp->vdev, offset, size);
}

static void device_write(void *opaque, uint64_t offset, unsigned int size, uint64_t value)
{
	struct virtio_pci *vp = opaque;

	virtio_config_write(vp->vdev, offset, size, value);
}

static const struct region_ops device_ops = {
	.read = device_read,
	.write = device_write,
	.min = 1,
	.max = 8,
};

static uint64_t notify_read(void *opaque, uint64_t offset, unsigned int size)
{
	return 0;
}

/* A doorbell that KVM didn't take: none is tied (ioeventfd=off, or the driver isn't ready). */
static void notify_write(void *opaque, uint64_t offset, unsigned int size, uint64_t value)
{
	struct virtio_pci *vp = opaque;

	if (offset / BELL_SIZE < vp->vdev->n_queues)
		virtio_queue_kick(&vp->vdev->queue[offset / BELL_SIZE]);
}

static const struct region_ops notify_ops = {
	.read = notify_read,
	.write = notify_write,
	.min = 1,
	.max = 8,
};

/* ---- the PCI configuration access capability, §4.1.4.9 ---- */

/* The region, and the offset in it, that the capability points at now; size 0: at nothing. */
static struct bus_region *cfg_target(struct virtio_pci *vp, uint32_t *offset, unsigned int *size)
{
	const uint8_t *c = vp->pci.config + vp->cfg_cap;
	uint32_t at = (uint32_t)virtio_config_load(c, VIRTIO_PCI_CAP_OFFSET, 4);
	uint32_t length = (uint32_t)virtio_config_load(c, VIRTIO_PCI_CAP_LENGTH, 4);

	if (c[VIRTIO_PCI_CAP_BAR] != BAR || (length != 1 && length != 2 && length != 4) ||
	    at % length || at / REGION_SIZE >= VIRTIO_PCI_REGIONS)
		return NULL;
	*offset = at % REGION_SIZE;
	*size = length;
	return &vp->modern[at / REGION_SIZE];
}

static bool touches_cfg_data(const struct virtio_pci *vp, unsigned int offset, unsigned int size)
{
	unsigned int data = vp->cfg_cap + CFG_DATA;

	return offset < data + 4 && offset + size > data;
}

static void cfg_read(struct pci_device *pci, unsigned int offset, unsigned int size)
{
	struct virtio_pci *vp = (struct virtio_pci *)pci;
	struct bus_region *region;
	unsigned int width;
	uint32_t at, value;

	if (!touches_cfg_data(vp, offset, size))
		return;
	region = cfg_target(vp, &at, &width);
	if (!region)
		return;
	value = (uint32_t)region->ops->read(vp, at, width);
	memcpy(pci->config + vp->cfg_cap + CFG_DATA, &value, width);
}

void virtio_pci_cfg_written(struct virtio_pci *vp, unsigned int offset, unsigned int size)
{
	struct bus_region *region;
	unsigned int width;
	uint64_t value;
	uint32_t at;

	if (!vp->cfg_cap || !touches_cfg_data(vp, offset, size))
		return;
	region = cfg_target(vp, &at, &width);
	if (!region || !region->ops->write)
		return;
	value = virtio_config_load(vp->pci.config, vp->cfg_cap + CFG_DATA, width);
	region->ops->write(vp, at, width, value);
}

/* ---- making ---- */

/* A vendor capability; body: what follows the three bytes that all capabilities have. Its offset,
 * or -ENOSPC. */
static int cap_add(struct virtio_pci *vp, uint8_t type, uint8_t cap_len, uint32_t offset,
		   uint32_t length)
{
	int at = pci_cap_add(&vp->pci, PCI_CAP_ID_VNDR, cap_len);
	uint8_t *c = vp->pci.config + at;

	if (at < 0)
		return at;
	c[VIRTIO_PCI_CAP_LEN] = cap_len;
	c[VIRTIO_PCI_CAP_CFG_TYPE] = type;
	c[VIRTIO_PCI_CAP_BAR] = BAR;
	memcpy(c + VIRTIO_PCI_CAP_OFFSET, &offset, 4);
	memcpy(c + VIRTIO_PCI_CAP_LENGTH, &length, 4);
	return at;
}

static int caps_add(struct virtio_pci *vp)
{
	const uint8_t plain = sizeof(struct virtio_pci_cap);
	const uint32_t multiplier = BELL_SIZE;
	int notify, cfg;

	notify = cap_add(vp, VIRTIO_PCI_CAP_NOTIFY_CFG, sizeof(struct virtio_pci_notify_cap),
			 VIRTIO_PCI_NOTIFY * REGION_SIZE, BELL_SIZE * VIRTIO_QUEUES_MAX);
	if (notify < 0)
		return notify;
	memcpy(vp->pci.config + notify + VIRTIO_PCI_NOTIFY_CAP_MULT, &multiplier, 4);
	cfg = cap_add(vp, VIRTIO_PCI_CAP_PCI_CFG, sizeof(struct virtio_pci_cfg_cap), 0, 0);
	if (cfg < 0)
		return cfg;
	vp->cfg_cap = (unsigned int)cfg;
	vp->pci.wmask[cfg + VIRTIO_PCI_CAP_BAR] = 0xff;
	memset(vp->pci.wmask + cfg + VIRTIO_PCI_CAP_OFFSET, 0xff, 12); /* offset, length, data */
	vp->pci.config_read = cfg_read;
	if (vp->vdev->config_size) {
		int ret = cap_add(vp, VIRTIO_PCI_CAP_DEVICE_CFG, plain,
				  VIRTIO_PCI_DEVICE * REGION_SIZE, vp->vdev->config_size);

		if (ret < 0)
			return ret;
	}
	cfg = cap_add(vp, VIRTIO_PCI_CAP_ISR_CFG, plain, VIRTIO_PCI_ISR_STATUS * REGION_SIZE, 1);
	if (cfg < 0)
		return cfg;
	return cap_add(vp, VIRTIO_PCI_CAP_COMMON_CFG, plain, VIRTIO_PCI_COMMON * REGION_SIZE,
		       sizeof(struct common_cfg));
}

int virtio_pci_modern_init(struct virtio_pci *vp, struct err *err)
{
	static const struct {
		const char *name;
		const struct region_ops *ops;
	} regions[VIRTIO_PCI_REGIONS] = {
		[VIRTIO_PCI_COMMON] = {"virtio-pci.common", &common_ops},
		[VIRTIO_PCI_ISR_STATUS] = {"virtio-pci.isr", &isr_ops},
		[VIRTIO_PCI_DEVICE] = {"virtio-pci.device", &device_ops},
		[VIRTIO_PCI_NOTIFY] = {"virtio-pci.notify", &notify_ops},
	};
	int ret = pci_bar_add_space(&vp->pci, BAR, PCI_BAR_MEM64, true,
				    VIRTIO_PCI_REGIONS * REGION_SIZE);

	for (unsigned int i = 0; i < VIRTIO_PCI_REGIONS && !ret; i++) {
		bus_region_init(&vp->modern[i], regions[i].name, BUS_MMIO, REGION_SIZE,
				regions[i].ops, vp, &vp->pci.dev.lock);
		ret = pci_bar_add_region(&vp->pci, BAR, (uint64_t)i * REGION_SIZE, &vp->modern[i]);
	}
	if (ret)
		return err_set(err, ret, "%s: BAR %d", vp->pci.dev.id, BAR);
	ret = caps_add(vp);
	return ret < 0 ? err_set(err, ret, "%s: no room for its capabilities", vp->pci.dev.id) : 0;
}
