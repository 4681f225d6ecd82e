/*
 * virtio over PCI, the card: identity, options, MSI-X, interrupts, doorbells, reset. Virtio 1.3
 * §4.1.
 *
 * Interrupts are raised by I/O threads and, for the configuration, by any thread. With MSI-X
 * enabled that is a write to the vector's eventfd, no lock, no system call of another kind.
 * Without, ISR status and the INTx level must change together, or a read of the ISR between the two
 * would lose an interrupt; a small lock holds them together.
 *
 * Doorbells are tied when a queue starts and untied when it stops, so a write that comes at another
 * time exits and reaches the register's handler, which knows what it means then.
 *
 * What it does not do: packed rings' notification data, MSI (only MSI-X and INTx), SR-IOV.
 */
#include <errno.h>
#include <linux/virtio_ids.h>
#include <linux/virtio_pci.h>

#include "virtio/pci_internal.h"

#define VIRTIO_VENDOR	 0x1af4
#define MODERN_ID	 0x1040 /* + device type, §4.1.2 */
#define MODERN_SUBSYSTEM 0x1100 /* the one that drivers for Windows are installed by */
#define ISR_QUEUE	 1
#define ROM_SIZE	 0x10000
#define MSIX_BAR	 1
#define MSIX_PBA	 0x800
#define MSIX_VECTORS_MAX 2048
#define CLASS_NETWORK	 0x02
#define PCI_DEVICE_ID	 0x02
#define PCI_REVISION	 0x08
#define PCI_CLASS	 0x09
#define PCI_SUBSYSTEM_ID 0x2e

const struct pci_identity virtio_pci_identity = {
	.vendor = VIRTIO_VENDOR,
	.subsystem_vendor = VIRTIO_VENDOR,
	.interrupt_pin = 1,
};

const struct opt_desc virtio_pci_opts[] = {
	{.name = "disable-legacy",
	 .type = OPT_TRI,
	 .offset = offsetof(struct virtio_pci, opt_disable_legacy),
	 .def = "auto",
	 .help = "on: the modern interface (virtio 1.x) only; auto: transitional where the type "
		 "allows it"},
	{.name = "disable-modern",
	 .type = OPT_BOOL,
	 .offset = offsetof(struct virtio_pci, opt_disable_modern),
	 .def = "off",
	 .help = "on: the legacy interface (0.9.5) only"},
	{.name = "vectors",
	 .type = OPT_STRING,
	 .offset = offsetof(struct virtio_pci, opt_vectors),
	 .help = "MSI-X vectors, 0 to 2048; 0: INTx only; without it: what suits the device"},
	{.name = "event_idx",
	 .type = OPT_BOOL,
	 .offset = offsetof(struct virtio_pci, opt_event_idx),
	 .def = "on",
	 .help = "offer event indexes (fewer doorbells and interrupts)"},
	{.name = "indirect_desc",
	 .type = OPT_BOOL,
	 .offset = offsetof(struct virtio_pci, opt_indirect),
	 .def = "on",
	 .help = "offer indirect descriptors"},
	{.name = "packed",
	 .type = OPT_BOOL,
	 .offset = offsetof(struct virtio_pci, opt_packed),
	 .def = "off",
	 .help = "offer packed rings (virtio 1.1 and later; the modern interface only)"},
	{.name = "ioeventfd",
	 .type = OPT_BOOL,
	 .offset = offsetof(struct virtio_pci, opt_ioeventfd),
	 .def = "on",
	 .help = "doorbells go to the I/O thread without an exit to vireo"},
	{.type = OPT_END},
};

static struct virtio_pci *vp_of(struct device *dev)
{
	return (struct virtio_pci *)dev;
}

static struct virtio_pci *vp_of_vdev(struct virtio_dev *vdev)
{
	return vp_of(vdev->device);
}

/* ---- interrupts, any thread ---- */

static void isr_raise(struct virtio_pci *vp, uint8_t bit)
{
	pthread_mutex_lock(&vp->isr_lock);
	/* When the bit is set, the line is up already, and the guest's read of the ISR is still to
	 * come. */
	if (!(vp->isr & bit)) {
		vp->isr |= bit;
		pci_intx_set(&vp->pci, true);
	}
	pthread_mutex_unlock(&vp->isr_lock);
}

/* §4.1.4.5. */
uint8_t virtio_pci_isr_read(struct virtio_pci *vp)
{
	uint8_t isr;

	pthread_mutex_lock(&vp->isr_lock);
	isr = vp->isr;
	vp->isr = 0;
	if (isr)
		pci_intx_set(&vp->pci, false);
	pthread_mutex_unlock(&vp->isr_lock);
	return isr;
}

static void interrupt(struct virtio_pci *vp, const uint16_t *vector, uint8_t isr_bit)
{
	uint16_t v;

	if (!msix_enabled(&vp->pci)) {
		isr_raise(vp, isr_bit);
		return;
	}
	v = __atomic_load_n(vector, __ATOMIC_RELAXED);
	if (v != VIRTIO_MSI_NO_VECTOR)
		msix_notify(&vp->pci, v);
}

static void notify_queue(struct virtio_dev *vdev, struct virtio_queue *queue)
{
	struct virtio_pci *vp = vp_of_vdev(vdev);

	interrupt(vp, &vp->queue_vector[queue->ring.index], ISR_QUEUE);
}

static void notify_config(struct virtio_dev *vdev)
{
	struct virtio_pci *vp = vp_of_vdev(vdev);

	interrupt(vp, &vp->config_vector, VIRTIO_PCI_ISR_CONFIG);
}

static void set_vector(struct virtio_pci *vp, uint16_t *vector, uint16_t value)
{
	if (value >= msix_vectors(&vp->pci))
		value = VIRTIO_MSI_NO_VECTOR;
	__atomic_store_n(vector, value, __ATOMIC_RELAXED);
}

void virtio_pci_set_config_vector(struct virtio_pci *vp, uint16_t value)
{
	set_vector(vp, &vp->config_vector, value);
}

void virtio_pci_set_queue_vector(struct virtio_pci *vp, struct virtio_queue *queue, uint16_t value)
{
	set_vector(vp, &vp->queue_vector[queue->ring.index], value);
	virtio_queue_call_changed(queue);
}

/* With the lock. */
static int call_fd(struct virtio_dev *vdev, struct virtio_queue *queue)
{
	struct virtio_pci *vp = vp_of_vdev(vdev);
	int fd;

	if (!msix_enabled(&vp->pci))
		return -ENOTSUP;
	fd = msix_fd(&vp->pci, vp->queue_vector[queue->ring.index]);
	return fd < 0 ? -ENOENT : fd;
}

/* MSI-X came or went: the interrupts of queues that others serve go elsewhere. */
static void msix_changed(struct virtio_pci *vp)
{
	if (vp->msix_seen == msix_enabled(&vp->pci))
		return;
	vp->msix_seen = !vp->msix_seen;
	for (unsigned int i = 0; i < vp->vdev->n_queues; i++)
		virtio_queue_call_changed(&vp->vdev->queue[i]);
}

/* ---- doorbells, §4.1.5.2 ---- */

static void doorbell(struct virtio_dev *vdev, struct virtio_queue *queue, bool on)
{
	struct virtio_pci *vp = vp_of_vdev(vdev);
	unsigned int i = queue->ring.index;
	struct bus_doorbell *bell = &vp->bell[i];

	if (on == (vp->bell_region[i] != NULL) || !vp->opt_ioeventfd)
		return;
	if (!on) {
		bus_doorbell_del(vp->bell_region[i], bell);
		vp->bell_region[i] = NULL;
		return;
	}
	*bell = (struct bus_doorbell){.fd = queue->kick_fd};
	if (vdev->legacy) { /* one port for all: the value says which */
		bell->offset = VIRTIO_PCI_QUEUE_NOTIFY;
		bell->size = 2;
		bell->match = true;
		bell->value = i;
		vp->bell_region[i] = &vp->legacy;
	} else { /* an address each */
		bell->offset = 4 * (uint64_t)i;
		vp->bell_region[i] = &vp->modern[VIRTIO_PCI_NOTIFY];
	}
	/* One that KVM refuses stays listed, and its writes exit to the handler, which does the
	 * same. */
	(void)bus_doorbell_add(vp->bell_region[i], bell);
}

/* ---- status, reset, configuration space ---- */

static void registers_reset(struct virtio_pci *vp)
{
	virtio_pci_isr_read(vp);
	vp->queue_select = 0;
	vp->device_feature_select = vp->driver_feature_select = 0;
	__atomic_store_n(&vp->config_vector, VIRTIO_MSI_NO_VECTOR, __ATOMIC_RELAXED);
	for (unsigned int i = 0; i < VIRTIO_QUEUES_MAX; i++)
		__atomic_store_n(&vp->queue_vector[i], VIRTIO_MSI_NO_VECTOR, __ATOMIC_RELAXED);
}

static void reset(struct virtio_pci *vp)
{
	virtio_reset(vp->vdev);
	vp->msix_seen = msix_enabled(&vp->pci);
	virtio_set_dma(vp->vdev, pci_may_dma(&vp->pci));
	registers_reset(vp);
}

void virtio_pci_set_status(struct virtio_pci *vp, uint8_t status, bool legacy)
{
	if (!status) {
		reset(vp);
		return;
	}
	/* Linux before 2.6.34 drives its legacy devices without ever setting the bus master bit. */
	if (legacy && status & VIRTIO_CONFIG_S_DRIVER_OK && !pci_may_dma(&vp->pci))
		virtio_set_dma(vp->vdev, true);
	virtio_set_status(vp->vdev, status, legacy);
}

void virtio_pci_reset(struct device *dev)
{
	reset(vp_of(dev));
}

static void bus_master_changed(struct pci_device *pci, bool on)
{
	virtio_set_dma(((struct virtio_pci *)pci)->vdev, on);
}

static void config_written(struct pci_device *pci, unsigned int offset, unsigned int size)
{
	struct virtio_pci *vp = (struct virtio_pci *)pci;

	/* With MSI-X on, INTx is off: a line left up would storm on those who share it. */
	if (msix_enabled(pci) && __atomic_load_n(&pci->intx_level, __ATOMIC_RELAXED))
		virtio_pci_isr_read(vp);
	msix_changed(vp);
	virtio_pci_cfg_written(vp, offset, size);
}

/* ---- making ---- */

/* §4.1.2.1: types that existed before virtio 1.0 have a second identity. 0 = this one has none. */
static uint16_t transitional_id(uint16_t type)
{
	switch (type) {
	case VIRTIO_ID_NET:
		return VIRTIO_TRANS_ID_NET;
	case VIRTIO_ID_BLOCK:
		return VIRTIO_TRANS_ID_BLOCK;
	case VIRTIO_ID_BALLOON:
		return VIRTIO_TRANS_ID_BALLOON;
	case VIRTIO_ID_CONSOLE:
		return VIRTIO_TRANS_ID_CONSOLE;
	case VIRTIO_ID_SCSI:
		return VIRTIO_TRANS_ID_SCSI;
	case VIRTIO_ID_RNG:
		return VIRTIO_TRANS_ID_RNG;
	case VIRTIO_ID_9P:
		return VIRTIO_TRANS_ID_9P;
	}
	return 0;
}

static int choose_interfaces(struct virtio_pci *vp, struct err *err)
{
	uint16_t trans = transitional_id(vp->vdev->model->id);

	vp->has_legacy = trans && vp->opt_disable_legacy != OPT_ON;
	vp->has_modern = !vp->opt_disable_modern;
	if (vp->opt_packed && !vp->has_modern)
		return err_set(
			err, -EINVAL,
			"%s: packed=on needs the modern interface (leave out disable-modern=on)",
			vp->pci.dev.id);
	if (vp->has_legacy || vp->has_modern)
		return 0;
	return err_set(err, -EINVAL, "%s: %s (leave out disable-modern=on)", vp->pci.dev.id,
		       trans ? "disable-legacy=on and disable-modern=on leave no interface"
			     : "this type of device has no legacy interface");
}

static void put16(uint8_t *p, uint16_t v)
{
	p[0] = (uint8_t)v;
	p[1] = (uint8_t)(v >> 8);
}

static void identify(struct virtio_pci *vp)
{
	const struct virtio_model *model = vp->vdev->model;
	uint8_t *c = vp->pci.config;

	put16(c + PCI_DEVICE_ID,
	      vp->has_legacy ? transitional_id(model->id) : (uint16_t)(MODERN_ID + model->id));
	put16(c + PCI_SUBSYSTEM_ID, vp->has_legacy ? model->id : MODERN_SUBSYSTEM);
	c[PCI_REVISION] = !vp->has_legacy;
	c[PCI_CLASS] = (uint8_t)model->pci_class;
	put16(c + PCI_CLASS + 1, (uint16_t)(model->pci_class >> 8));
	if (model->pci_class >> 16 == CLASS_NETWORK)
		vp->pci.rom_window = ROM_SIZE;
}

static int add_msix(struct virtio_pci *vp, struct err *err)
{
	uint64_t n = vp->vdev->vectors, pba, size;
	int ret;

	if (vp->opt_vectors && (opt_parse_u64(vp->opt_vectors, &n) || n > MSIX_VECTORS_MAX))
		return err_set(err, -EINVAL, "%s: vectors=%s is not a number from 0 to %d",
			       vp->pci.dev.id, vp->opt_vectors, MSIX_VECTORS_MAX);
	if (!n)
		return 0;
	/* In the usual page as long as the table leaves room there, else right behind the table. */
	pba = n <= MSIX_PBA / 16 ? MSIX_PBA : n * 16;
	size = pba + (n + 63) / 64 * 8;
	ret = pci_bar_add_space(&vp->pci, MSIX_BAR, PCI_BAR_MEM32, false,
				size > 0x1000 ? size : 0x1000);
	if (ret)
		return err_set(err, ret, "%s: BAR %d", vp->pci.dev.id, MSIX_BAR);
	return msix_init(&vp->pci, MSIX_BAR, (unsigned int)n, 0, (uint32_t)pba, err);
}

static uint64_t ring_features(const struct virtio_pci *vp)
{
	uint64_t f = 0;

	if (vp->opt_event_idx)
		f |= virtio_bit(VIRTIO_RING_F_EVENT_IDX);
	if (vp->opt_indirect)
		f |= virtio_bit(VIRTIO_RING_F_INDIRECT_DESC);
	if (vp->has_legacy)
		f |= virtio_bit(VIRTIO_F_ANY_LAYOUT) | virtio_bit(VIRTIO_F_NOTIFY_ON_EMPTY);
	if (vp->has_modern)
		f |= virtio_bit(VIRTIO_F_VERSION_1) | virtio_bit(VIRTIO_F_RING_RESET);
	if (vp->opt_packed)
		f |= virtio_bit(VIRTIO_F_RING_PACKED);
	return f;
}

static int add_registers(struct virtio_pci *vp, struct err *err)
{
	int ret = 0;

	if (vp->has_legacy)
		ret = virtio_pci_legacy_init(vp, err);
	if (!ret && vp->has_modern)
		ret = virtio_pci_modern_init(vp, err);
	if (!ret)
		ret = add_msix(vp, err);
	return ret;
}

int virtio_pci_realize(struct device *dev, struct err *err)
{
	struct virtio_pci *vp = vp_of(dev);
	struct virtio_dev *vdev = (struct virtio_dev *)((char *)dev + VIRTIO_PCI_OFFSET);
	int ret;

	vp->vdev = vdev;
	vdev->model = dev->model->data;
	vdev->device = dev;
	vdev->vectors = vdev->model->vectors;
	vdev->notify_queue = notify_queue;
	vdev->notify_config = notify_config;
	vdev->doorbell = doorbell;
	vdev->call_fd = call_fd;
	ret = choose_interfaces(vp, err);
	if (ret)
		return ret;
	ret = vdev->model->realize(vdev, err);
	if (ret)
		return ret;
	identify(vp);
	ret = add_registers(vp, err);
	if (!ret)
		ret = virtio_dev_init(vdev, ring_features(vp), err);
	if (ret) {
		msix_destroy(&vp->pci);
		if (vdev->model->unrealize)
			vdev->model->unrealize(vdev);
		return ret;
	}
	pthread_mutex_init(&vp->isr_lock, NULL);
	registers_reset(vp);
	vp->pci.config_written = config_written;
	vp->pci.bus_master_changed = bus_master_changed;
	return 0;
}

void virtio_pci_unrealize(struct device *dev)
{
	struct virtio_pci *vp = vp_of(dev);

	virtio_dev_destroy(vp->vdev);
	if (vp->vdev->model->unrealize)
		vp->vdev->model->unrealize(vp->vdev);
	msix_destroy(&vp->pci);
	pthread_mutex_destroy(&vp->isr_lock);
}

/* ---- what a person sees and does; control thread ---- */

void virtio_pci_info(struct device *dev, json_t *object)
{
	struct virtio_pci *vp = vp_of(dev);

	json_object_set_new(object, "transport",
			    json_string(!vp->has_legacy	  ? "modern"
					: !vp->has_modern ? "legacy"
							  : "transitional"));
	json_object_set_new(object, "vectors", json_integer(msix_vectors(&vp->pci)));
	json_object_set_new(object, "msix", json_boolean(msix_enabled(&vp->pci)));
	virtio_info(vp->vdev, object);
}

void virtio_pci_counters(struct device *dev, counter_visit *visit, void *opaque)
{
	virtio_counters(vp_of(dev)->vdev, visit, opaque);
}

/* With the lock: the model changes configuration space. */
void virtio_pci_set_link(struct device *dev, bool up)
{
	struct virtio_dev *vdev = vp_of(dev)->vdev;

	if (!vdev->model->set_link)
		return;
	pthread_mutex_lock(&dev->lock);
	vdev->model->set_link(vdev, up);
	pthread_mutex_unlock(&dev->lock);
}

bool virtio_pci_announce(struct device *dev)
{
	struct virtio_dev *vdev = vp_of(dev)->vdev;
	bool asked;

	if (!vdev->model->announce)
		return false;
	pthread_mutex_lock(&dev->lock);
	asked = vdev->model->announce(vdev);
	pthread_mutex_unlock(&dev->lock);
	return asked;
}
