/*
 * Hostile cases below virtio: BARs that move or go away while the device is live, bus mastering
 * taken away, MSI-X tables full of nonsense, and bounded random writes to registers, ports and
 * configuration space. A BAR may be put over RAM: RAM wins, on any machine.
 */
#include <linux/pci_regs.h>

#include "clock.h"
#include "gate.h"
#include "hostile.h"
#include "irq.h"
#include "lib.h"
#include "memory.h"
#include "pci.h"

#define MSIX_ENTRY_WORDS 4
#define MOVE_STEP	 (1 << 20) /* bytes; each of several moves goes so much farther */

/* Writes a BAR without switching decoding off, as no driver should. */
static void put_bar(struct hostile *h, uint64_t address)
{
	uint32_t bar = h->t.dev.legacy ? 0 : h->t.dev.common_bar;

	pci_write32(h->t.dev.pci, PCI_BASE_ADDRESS_0 + 4 * bar, address);
	if (h->t.dev.pci->bars[bar].is_64bit)
		pci_write32(h->t.dev.pci, PCI_BASE_ADDRESS_0 + 4 * bar + 4, address >> 32);
}

/* detail: where to. */
static const char *bar_moved(struct hostile *h)
{
	uint64_t home = h->t.dev.pci->bars[h->t.dev.legacy ? 0 : h->t.dev.common_bar].address;

	for (uint32_t i = 0; i < 8; i++) {
		target_submit(&h->t);
		put_bar(h, hostile_now->detail + (uint64_t)i * MOVE_STEP);
		for (uint32_t j = 0; j < 4; j++)
			ring_bell(&h->t.ring);
		put_bar(h, home);
		ring_bell(&h->t.ring);
		if (!target_finish(&h->t, NS_PER_S))
			return "request-lost";
	}
	return NULL;
}

/* The BAR where it should be works at its new place, and only there. */
static const char *bar_moved_well(struct hostile *h)
{
	struct pci_device *pci = h->t.dev.pci;
	uint32_t bar = h->t.dev.common_bar;
	uint64_t offset = memory_address(h->t.dev.common) - pci->bars[bar].address;
	uint64_t new = hostile_hole() & -pci->bars[bar].size;
	volatile struct virtio_pci_common_cfg *there = (void *)(new + offset);
	uint8_t status = h->t.dev.common->device_status;

	pci_command(pci, 0, PCI_COMMAND_MEMORY);
	put_bar(h, new);
	pci_command(pci, PCI_COMMAND_MEMORY, 0);
	if (there->device_status != status)
		return "not-at-new-place";
	if (h->t.dev.common->device_status == status)
		return "still-at-old-place";
	return NULL;
}

/* detail: the command bit taken away while requests are on their way. */
static const char *command_off(struct hostile *h)
{
	uint16_t bit = hostile_now->detail;

	for (uint32_t i = 0; i < 8; i++) {
		target_submit(&h->t);
		pci_command(h->t.dev.pci, 0, bit);
		target_submit(&h->t);
		ring_bell(&h->t.ring);
		pci_command(h->t.dev.pci, bit, 0);
		ring_bell(&h->t.ring);
		if (bit == PCI_COMMAND_MASTER)
			continue; /* what it could not reach meanwhile may be lost */
		if (!target_finish(&h->t, NS_PER_S) || !target_finish(&h->t, NS_PER_S))
			return "request-lost";
	}
	return NULL;
}

/*
 * MSI-X entries that mean nothing, enabled and used. Vectors and delivery modes stay such that an
 * interrupt that does arrive is harmless.
 */
static const char *msix_garbage(struct hostile *h)
{
	struct virtio_device *dev = &h->t.dev;

	if (!dev->msix_table)
		return NULL;
	for (uint32_t i = 0; i < dev->n_msix; i++) {
		volatile uint32_t *entry = &dev->msix_table[MSIX_ENTRY_WORDS * i];

		entry[0] = random_next(&h->seed);
		entry[1] = random_next(&h->seed);
		entry[2] = (random_next(&h->seed) & ~0x7ffull) | irq_msi_data(2);
		entry[3] = random_next(&h->seed) & 1;
	}
	pci_write16(dev->pci, dev->msix + PCI_MSIX_FLAGS, PCI_MSIX_FLAGS_ENABLE);
	if (!dev->legacy) {
		dev->common->queue_select = h->t.queue;
		dev->common->queue_msix_vector = 0;
	}
	for (uint32_t i = 0; i < 16; i++) {
		ring_arm(&h->t.ring, 1);
		if (!target_works(&h->t))
			return "stopped-working";
	}
	pci_write16(dev->pci, dev->msix + PCI_MSIX_FLAGS, 0);
	return NULL;
}

static const char *random_config(struct hostile *h)
{
	const struct pci_device *pci = h->t.dev.pci;

	for (uint32_t i = 0; i < h->count; i++) {
		uint64_t r = random_next(&h->seed);
		uint32_t offset = r & 0xff;

		switch (r >> 62) {
		case 0:
			pci_write8(pci, offset, r >> 16);
			break;
		case 1:
			pci_write16(pci, offset & ~1u, r >> 16);
			break;
		case 2:
			pci_write32(pci, offset & ~3u, hostile_value(h));
			break;
		default:
			pci_read32(pci, offset & ~3u);
		}
		/* Interrupts to anywhere could hit the guest itself. */
		if (h->t.dev.msix && !(i % 4))
			pci_write16(pci, h->t.dev.msix + PCI_MSIX_FLAGS, 0);
	}
	if (h->t.dev.msix)
		pci_write16(pci, h->t.dev.msix + PCI_MSIX_FLAGS, 0);
	return NULL;
}

/* The virtio capability that is a window on the BARs (section 4.1.4.9), with anything in it. */
static const char *random_window(struct hostile *h)
{
	const struct pci_device *pci = h->t.dev.pci;
	uint32_t at = 0;

	while ((at = pci_find_capability(pci, PCI_CAP_ID_VNDR, at)))
		if (pci_read8(pci, at + VIRTIO_PCI_CAP_CFG_TYPE) == VIRTIO_PCI_CAP_PCI_CFG)
			break;
	for (uint32_t i = 0; at && i < h->count; i++) {
		uint64_t r = random_next(&h->seed);

		pci_write8(pci, at + VIRTIO_PCI_CAP_BAR, r & 7);
		pci_write32(pci, at + VIRTIO_PCI_CAP_OFFSET, r & 8 ? r >> 32 : r >> 32 & 0x7fff);
		pci_write32(pci, at + VIRTIO_PCI_CAP_LENGTH,
			    r & 16 ? r >> 40 : 1ull << (r >> 40 & 3));
		if (r & 32)
			pci_read32(pci, at + sizeof(struct virtio_pci_cap));
		else
			pci_write32(pci, at + sizeof(struct virtio_pci_cap), hostile_value(h));
	}
	return NULL;
}

/* True if a write there sets part of a queue's address. */
static bool is_queue_address(struct hostile *h, volatile uint8_t *p)
{
	volatile uint8_t *common = (void *)h->t.dev.common;

	return p + 4 > common + VIRTIO_PCI_COMMON_Q_DESCLO &&
	       p < common + VIRTIO_PCI_COMMON_Q_USEDHI + 4;
}

/* Registers of the modern transport, in their BAR. */
static const char *random_registers(struct hostile *h)
{
	const struct pci_bar *bar = &h->t.dev.pci->bars[h->t.dev.common_bar];

	for (uint32_t i = 0; i < h->count; i++) {
		uint64_t r = random_next(&h->seed);
		/* Mostly the first registers of the common structure, where things happen. */
		volatile uint8_t *p =
			r & 3 ? (volatile uint8_t *)h->t.dev.common + (r >> 8 & 0x3f)
			      : (volatile uint8_t *)bar->address + (r >> 8) % (bar->size - 8);
		uint32_t value = hostile_value(h);

		/* Whole words there, or the parts could add up to an address of the guest's own. */
		if (is_queue_address(h, p))
			*(volatile uint32_t *)(memory_address(p) & ~3ull) = hostile_address(h);
		else if (r >> 62 == 0)
			*p = value;
		else if (r >> 62 == 1)
			*(volatile uint16_t *)p = value;
		else if (r >> 62 == 2)
			*(volatile uint32_t *)p = value;
		else
			(void)*(volatile uint32_t *)p;
		ring_bell(&h->t.ring);
	}
	return NULL;
}

/* The legacy ports; a queue's page is never one of the guest's own. */
static const char *random_ports(struct hostile *h)
{
	const struct pci_bar *bar = &h->t.dev.pci->bars[0];

	if (!bar->is_io)
		return NULL;
	for (uint32_t i = 0; i < h->count; i++) {
		uint64_t r = random_next(&h->seed);
		uint16_t port = bar->address + (r >> 8) % bar->size;
		uint32_t value = random_next(&h->seed);

		if (port - bar->address < 12 && port + 4 - bar->address > 8)
			gate_out32(bar->address + VIRTIO_PCI_QUEUE_PFN, value | 0xc0000);
		else if (r >> 62 == 0)
			gate_out8(port, value);
		else if (r >> 62 == 1)
			gate_out16(port, value);
		else if (r >> 62 == 2)
			gate_out32(port, value);
		else
			gate_in32(port);
	}
	return NULL;
}

const struct hostile_case hostile_pci_cases[] = {
	{"pci-bar-moved", MAY_LATCH, NEEDS_MODERN, bar_moved, 0xe8000000},
	{"pci-bar-over-ram", MAY_LATCH, NEEDS_MODERN, bar_moved, 0x01000000},
	{"pci-bar-over-image", MAY_LATCH, NEEDS_MODERN, bar_moved, 0x00100000},
	{"pci-bar-over-apic", MAY_LATCH, NEEDS_MODERN, bar_moved, 0xfee00000},
	{"pci-bar-over-firmware", MAY_LATCH, NEEDS_MODERN, bar_moved, 0xfff00000},
	{"pci-bar-zero", MAY_LATCH, NEEDS_MODERN, bar_moved, 0},
	{"pci-bar-high", MAY_LATCH, NEEDS_MODERN, bar_moved, 1ull << 40},
	{"pci-bar-moved-well", MAY_LATCH, NEEDS_MODERN, bar_moved_well, 0},
	{"pci-memory-off", MAY_LATCH, NEEDS_MODERN, command_off, PCI_COMMAND_MEMORY},
	{"pci-io-off", MAY_LATCH, 0, command_off, PCI_COMMAND_IO},
	{"pci-master-off", MAY_LATCH, 0, command_off, PCI_COMMAND_MASTER},
	{"pci-msix-garbage", MAY_LATCH, NEEDS_MODERN, msix_garbage, 0},
	{"pci-config-random", MAY_LATCH, 0, random_config, 0},
	{"pci-window-random", MAY_LATCH, NEEDS_MODERN, random_window, 0},
	{"pci-registers-random", MAY_LATCH, NEEDS_MODERN, random_registers, 0},
	{"pci-ports-random", MAY_LATCH, 0, random_ports, 0},
	{NULL, 0, 0, NULL, 0},
};
