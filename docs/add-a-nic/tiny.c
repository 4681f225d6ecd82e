/*
 * tiny: the made-up network card of docs/add-a-nic.md.
 *
 * One memory BAR of 4 KiB with 32-bit registers, two rings of descriptors in the driver's memory, one
 * interrupt. All numbers are little-endian. Its data sheet is the page.
 *
 * Runs under the device's lock, which dev/nic.c and the bus take: on vCPU threads and the I/O thread.
 * Descriptors and buffers are the guest's; it owns no memory.
 */
#include <endian.h>
#include <errno.h>
#include <string.h>

#include "bus/pci.h"
#include "dev/eth_filter.h"
#include "dev/nic.h"

/* Registers: offsets in the BAR. */
#define CTRL	0x00 /* TX_ON, RX_ON, PROMISC; RESET clears all */
#define STATUS	0x04 /* read-only: LINK */
#define CAUSE	0x08 /* interrupt causes; writing 1 clears */
#define MASK	0x0c /* causes that interrupt */
#define MAC_LO	0x10 /* read-only: bytes 0-3 of the station address, byte 0 lowest */
#define MAC_HI	0x14 /* read-only: bytes 4-5 */
#define TX_RING 0x20 /* guest-physical address of the ring, a multiple of 16 */
#define TX_SIZE 0x24 /* its descriptors, 1-256 */
#define TX_TAIL 0x28 /* index behind the last descriptor that is filled in */
#define RX_RING 0x30
#define RX_SIZE 0x34
#define RX_TAIL 0x38 /* index behind the last descriptor with an empty buffer */

#define CTRL_TX_ON   0x01
#define CTRL_RX_ON   0x02
#define CTRL_PROMISC 0x04
#define CTRL_RESET   0x80

#define STATUS_LINK 0x01

#define CAUSE_TX   0x01 /* a frame was sent */
#define CAUSE_RX   0x02 /* a frame was received */
#define CAUSE_LINK 0x04 /* the cable went in or out */

#define RING_MAX 256

struct tiny_desc {
	uint64_t address; /* of the buffer */
	uint16_t
		length; /* bytes: of the frame to be sent; of the buffer, and then of the frame in it */
	uint16_t flags; /* DONE: set by the card */
	uint32_t reserved;
};
#define DESC_DONE 0x01

struct tiny_ring {
	uint32_t base, size, tail;
	uint32_t head; /* the card's: the next descriptor */
};

struct tiny {
	struct pci_device pci; /* first */
	struct nic nic;
	uint32_t ctrl, cause, mask;
	struct tiny_ring tx, rx;
	struct frame frame; /* being sent */
};

static struct tiny *tiny_of(struct nic *nic)
{
	return (struct tiny *)((uint8_t *)nic - offsetof(struct tiny, nic));
}

/* ---- interrupts ---- */

static void tiny_update_interrupt(struct tiny *tiny)
{
	pci_intx_set(&tiny->pci, tiny->cause & tiny->mask);
}

static void tiny_raise(struct tiny *tiny, uint32_t cause)
{
	tiny->cause |= cause;
	if (tiny->cause & tiny->mask)
		counter_add(&tiny->nic.counters.interrupts, 1);
	tiny_update_interrupt(tiny);
}

/* ---- rings ---- */

static uint64_t desc_address(const struct tiny_ring *ring)
{
	return ring->base + (uint64_t)ring->head * sizeof(struct tiny_desc);
}

/* The descriptor at the ring's head; false: there is none, or it can't be read. */
static bool ring_peek(struct tiny *tiny, const struct tiny_ring *ring, struct tiny_desc *desc)
{
	if (!pci_may_dma(&tiny->pci) || ring->head >= ring->size || ring->tail >= ring->size ||
	    ring->head == ring->tail)
		return false;
	return mem_read(tiny->pci.dev.platform->mem, desc_address(ring), desc, sizeof(*desc)) == 0;
}

/* Gives it back to the driver, and goes on to the next. */
static void ring_done(struct tiny *tiny, struct tiny_ring *ring, struct tiny_desc *desc)
{
	desc->flags = htole16(DESC_DONE);
	mem_write(tiny->pci.dev.platform->mem, desc_address(ring), desc, sizeof(*desc));
	ring->head = (ring->head + 1) % ring->size;
}

/* ---- sending ---- */

static void tiny_send(struct tiny *tiny)
{
	const struct mem *mem = tiny->pci.dev.platform->mem;
	struct tiny_desc desc;
	int n;

	if (!(tiny->ctrl & CTRL_TX_ON))
		return;
	for (n = 0; n < NIC_TX_BURST && ring_peek(tiny, &tiny->tx, &desc); n++) {
		frame_reset(&tiny->frame);
		frame_add(&tiny->frame, mem, le64toh(desc.address), le16toh(desc.length));
		frame_pad(&tiny->frame, FRAME_MIN);
		if (nic_send(&tiny->nic, &tiny->frame, NULL) == -EAGAIN)
			break; /* tiny_tx_resume() comes */
		ring_done(tiny, &tiny->tx, &desc);
	}
	if (n == NIC_TX_BURST)
		nic_tx_later(&tiny->nic);
	if (n)
		tiny_raise(tiny, CAUSE_TX);
}

static void tiny_tx_resume(struct nic *nic)
{
	tiny_send(tiny_of(nic));
}

/* ---- receiving ---- */

static int tiny_rx_buffers(struct nic *nic, struct iovec *iov, int max)
{
	struct tiny *tiny = tiny_of(nic);
	struct tiny_desc desc;
	int n;

	if (!(tiny->ctrl & CTRL_RX_ON) || !ring_peek(tiny, &tiny->rx, &desc))
		return 1;
	n = mem_iov(tiny->pci.dev.platform->mem, le64toh(desc.address), le16toh(desc.length),
		    iov + 1, max - 1);
	return n > 0 ? n + 1 : 1;
}

static bool tiny_wants(const struct tiny *tiny, const uint8_t *destination)
{
	return tiny->ctrl & CTRL_PROMISC || eth_is_multicast(destination) ||
	       !memcmp(destination, tiny->nic.mac, 6);
}

static void tiny_rx_frame(struct nic *nic, struct nic_rx *rx)
{
	struct tiny *tiny = tiny_of(nic);
	struct tiny_desc desc;

	if (!tiny_wants(tiny, rx->start)) {
		counter_add(&nic->counters.rx_filtered, 1);
		return;
	}
	if (rx->len > rx->room) {
		counter_add(&nic->counters.rx_too_long, 1);
		return;
	}
	if (!ring_peek(tiny, &tiny->rx, &desc))
		return;
	desc.length = htole16((uint16_t)rx->len);
	ring_done(tiny, &tiny->rx, &desc);
	tiny_raise(tiny, CAUSE_RX);
}

static void tiny_link_changed(struct nic *nic)
{
	tiny_raise(tiny_of(nic), CAUSE_LINK);
}

static const struct nic_ops tiny_nic_ops = {
	.rx_buffers = tiny_rx_buffers,
	.rx_frame = tiny_rx_frame,
	.tx_resume = tiny_tx_resume,
	.link_changed = tiny_link_changed,
};

/* ---- registers ---- */

static void tiny_reset(struct device *dev)
{
	struct tiny *tiny = (struct tiny *)dev;

	tiny->ctrl = tiny->cause = tiny->mask = 0;
	memset(&tiny->tx, 0, sizeof(tiny->tx));
	memset(&tiny->rx, 0, sizeof(tiny->rx));
	tiny_update_interrupt(tiny);
	nic_reset(&tiny->nic);
}

static uint64_t tiny_read(void *opaque, uint64_t offset, unsigned int size)
{
	const struct tiny *tiny = opaque;
	const uint8_t *mac = tiny->nic.mac;

	switch (offset) {
	case CTRL:
		return tiny->ctrl;
	case STATUS:
		return tiny->nic.link ? STATUS_LINK : 0;
	case CAUSE:
		return tiny->cause;
	case MASK:
		return tiny->mask;
	case MAC_LO:
		return mac[0] | mac[1] << 8 | mac[2] << 16 | (uint32_t)mac[3] << 24;
	case MAC_HI:
		return mac[4] | mac[5] << 8;
	default:
		return 0;
	}
}

/* The three registers of a ring, from its base's offset on. A new base or size begins the ring anew. */
static void tiny_write_ring(struct tiny_ring *ring, unsigned int reg, uint32_t value)
{
	if (reg == 0)
		ring->base = value & ~15u;
	else if (reg == 4)
		ring->size = value <= RING_MAX ? value : 0;
	else
		ring->tail = value;
	if (reg != 8)
		ring->head = ring->tail = 0;
}

static void tiny_write(void *opaque, uint64_t offset, unsigned int size, uint64_t value)
{
	struct tiny *tiny = opaque;

	switch (offset) {
	case CTRL:
		if (value & CTRL_RESET)
			tiny_reset(&tiny->pci.dev);
		else
			tiny->ctrl = value & (CTRL_TX_ON | CTRL_RX_ON | CTRL_PROMISC);
		break;
	case CAUSE:
		tiny->cause &= ~(uint32_t)value;
		break;
	case MASK:
		tiny->mask = value & (CAUSE_TX | CAUSE_RX | CAUSE_LINK);
		break;
	case TX_RING:
	case TX_SIZE:
	case TX_TAIL:
		tiny_write_ring(&tiny->tx, (unsigned int)offset - TX_RING, (uint32_t)value);
		break;
	case RX_RING:
	case RX_SIZE:
	case RX_TAIL:
		tiny_write_ring(&tiny->rx, (unsigned int)offset - RX_RING, (uint32_t)value);
		break;
	}
	tiny_update_interrupt(tiny);
	tiny_send(tiny);
	nic_rx_kick(&tiny->nic);
}

static const struct region_ops tiny_ops = {
	.read = tiny_read,
	.write = tiny_write,
	.min = 4,
	.max = 4,
};

/* ---- the model ---- */

static int tiny_realize(struct device *dev, struct err *err)
{
	struct tiny *tiny = (struct tiny *)dev;

	if (pci_bar_add(&tiny->pci, 0, PCI_BAR_MEM32, 4096, "tiny", &tiny_ops, tiny))
		return err_set(err, -ENOMEM, "%s: no memory for its BAR", dev->id);
	return nic_realize(&tiny->nic, dev, &tiny_nic_ops, err);
}

static void tiny_unrealize(struct device *dev)
{
	nic_unrealize(&((struct tiny *)dev)->nic);
}

static void tiny_info(struct device *dev, json_t *object)
{
	nic_info(&((struct tiny *)dev)->nic, object);
}

static void tiny_counters(struct device *dev, counter_visit *visit, void *opaque)
{
	nic_counters(&((struct tiny *)dev)->nic, visit, opaque);
}

static void tiny_set_link(struct device *dev, bool up)
{
	nic_set_link(&((struct tiny *)dev)->nic, up);
}

static const struct pci_identity tiny_identity = {
	.vendor = 0x1234,
	.device = 0x0001,
	.class = 0x020000,
	.interrupt_pin = 1,
};

static const struct device_model tiny_model = {
	.name = "tiny",
	.help = "the network card of docs/add-a-nic.md",
	.size = sizeof(struct tiny),
	.opts = {{pci_device_opts, 0}, {nic_opts, offsetof(struct tiny, nic)}},
	.pci = &tiny_identity,
	.nic = "tiny",
	.realize = tiny_realize,
	.reset = tiny_reset,
	.unrealize = tiny_unrealize,
	.info = tiny_info,
	.counters = tiny_counters,
	.set_link = tiny_set_link,
};
DEVICE_MODEL(tiny_model);
