/*
 * The whole board under a hostile guest: configuration space, BARs that move, MSI-X, every port and
 * address.
 *
 * Input: operations, one byte each with its operands behind it. A card with MSI-X and one of ports
 * and memory share the bus with the board's chips; handlers check that no access leaves their
 * region. At the end everything is unplugged, and nothing may be left of it in the (fake) VM.
 */
#include <stdlib.h>
#include <string.h>

#include "bus/msi.h"
#include "bus/msix.h"
#include "fake_platform.h"
#include "input.h"

#define VECTORS 65
#define SLOTS	8

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

struct card {
	struct pci_device pci;
	struct bus_doorbell bell;
	uint8_t mem[0x180], io[24];
};

static void check(bool ok)
{
	if (!ok)
		abort();
}

static uint64_t card_read(void *opaque, uint64_t offset, unsigned int size)
{
	uint64_t value = 0;

	check(offset + size <= sizeof(((struct card *)opaque)->mem));
	memcpy(&value, ((struct card *)opaque)->mem + offset, size);
	return value;
}

static void card_write(void *opaque, uint64_t offset, unsigned int size, uint64_t value)
{
	check(offset + size <= sizeof(((struct card *)opaque)->mem));
	memcpy(((struct card *)opaque)->mem + offset, &value, size);
}

static uint64_t io_read(void *opaque, uint64_t offset, unsigned int size)
{
	check(offset < sizeof(((struct card *)opaque)->io) && size == 1);
	return ((struct card *)opaque)->io[offset];
}

static void io_write(void *opaque, uint64_t offset, unsigned int size, uint64_t value)
{
	check(offset < sizeof(((struct card *)opaque)->io) && size == 1);
	((struct card *)opaque)->io[offset] = (uint8_t)value;
	pci_intx_set(opaque, value & 1);
}

static const struct region_ops mem_ops = {card_read, card_write, 0, 0, true};
static const struct region_ops io_ops = {io_read, io_write, 1, 1, false};

static int realize(struct device *dev, struct err *err)
{
	struct card *c = (struct card *)dev;
	struct pci_device *pci = &c->pci;
	int r;

	pci->rom_window = 4096;
	check(!pci_bar_add(pci, 0, PCI_BAR_IO, sizeof(c->io), "card.io", &io_ops, c));
	check(!pci_bar_add(pci, 1, PCI_BAR_MEM32, sizeof(c->mem), "card.mem", &mem_ops, c));
	check(!pci_bar_add_space(pci, 4, PCI_BAR_MEM64, true, 0x1000));
	r = msix_init(pci, 4, VECTORS, 0, 0x800, err);
	c->bell = (struct bus_doorbell){.offset = 4, .size = 2, .fd = r ? -1 : msix_fd(pci, 0)};
	check(!bus_doorbell_add(&pci->bar[1].region, &c->bell));
	check(!msi_init(pci, 4, true, err));
	return r;
}

static void unrealize(struct device *dev)
{
	bus_doorbell_del(&pci_of(dev)->bar[1].region, &((struct card *)dev)->bell);
	msix_destroy(pci_of(dev));
	msi_destroy(pci_of(dev));
}

static const struct pci_identity identity = {
	.vendor = 0x1234, .device = 1, .class = 0x020000, .interrupt_pin = 1};

static const struct device_model card_model = {
	.name = "card",
	.size = sizeof(struct card),
	.opts = {{pci_device_opts, 0}},
	.pci = &identity,
	.realize = realize,
	.unrealize = unrealize,
};

/* Where something is, most of the time; else anywhere. */
static uint64_t address(struct fake_platform *fp, struct input *in, bool pio)
{
	static const uint16_t ports[] = {0x60,	0x64,  0x70,  0x92,  0xb2,  0x2f8, 0x3f8,
					 0x4d0, 0x501, 0x600, 0xcf8, 0xcfc, 0xafe0};
	uint8_t how = (uint8_t)input_take(in, 1);
	struct pci_device *pci;

	if (how >= 0xf0)
		return input_take(in, pio ? 2 : 8);
	if (pio && how < 0x80)
		return ports[how % (sizeof(ports) / sizeof(ports[0]))] + input_take(in, 1) % 16;
	pci = pci_bus_find(fp->p.pci, how % SLOTS, 0);
	if (!pci)
		return 0;
	return pci_bar_address(pci, (how >> 3) % PCI_BARS) + input_take(in, 2) % 0x1010;
}

static void operation(struct fake_platform *fp, struct input *in, struct device **cards)
{
	static const unsigned int sizes[] = {1, 2, 4, 8};
	uint8_t op = (uint8_t)input_take(in, 1);
	unsigned int bytes = sizes[op >> 3 & 3], where = (unsigned int)input_take(in, 1);
	struct device *card = cards[where & 1];
	uint64_t addr;

	switch (op & 7) {
	case 0:
		addr = input_take(in, 1);
		fp_config_write(fp, where % SLOTS, where >> 5, (unsigned int)addr,
				bytes > 4 ? 4 : bytes, (uint32_t)input_take(in, bytes));
		break;
	case 1:
		fp_config_read(fp, where % SLOTS, where >> 5, (unsigned int)input_take(in, 1),
			       bytes > 4 ? 4 : bytes);
		break;
	case 2:
		addr = address(fp, in, true);
		fp_out(fp, (uint16_t)addr, bytes > 4 ? 4 : bytes, (uint32_t)input_take(in, bytes));
		break;
	case 3:
		fp_in(fp, (uint16_t)address(fp, in, true), bytes > 4 ? 4 : bytes);
		break;
	case 4:
		addr = address(fp, in, false);
		fp_store(fp, addr, bytes, input_take(in, bytes));
		break;
	case 5:
		fp_load(fp, address(fp, in, false), bytes);
		break;
	case 6:
		msix_notify(pci_of(card), where >> 1);
		msi_notify(pci_of(card), where >> 1);
		pci_intx_set(pci_of(card), bytes == 1);
		break;
	default:
		if (where < 0x20)
			device_reset(card);
		fp_run_posted(fp);
		break;
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static const char *const parts[][2] = {
		{"i440FX", "addr=0"},	  {"PIIX3", "addr=1"},	    {"piix3-ide", "addr=1.1"},
		{"PIIX4_PM", "addr=1.3"}, {"i8042", NULL},	    {"mc146818rtc", NULL},
		{"isa-serial", NULL},	  {"isa-debug-exit", NULL},
	};
	static const struct pci_windows windows = {0xc000, 0x3f00, 0xc0000000, 0x3ec00000};
	static const uint8_t gsi[4] = {10, 10, 11, 11};
	const unsigned int n = sizeof(parts) / sizeof(parts[0]);
	struct input in = {data, size};
	struct device *dev[sizeof(parts) / sizeof(parts[0])], *cards[2];
	struct fake_platform fp;
	struct err err;

	fp_init(&fp);
	for (unsigned int i = 0; i < n; i++)
		check((dev[i] = fp_device(&fp, parts[i][0], parts[i][0], parts[i][1], &err)));
	check((cards[0] = fp_device_of(&fp, &card_model, "a", NULL, &err)));
	check((cards[1] = fp_device_of(&fp, &card_model, "b", NULL, &err)));
	check(!pci_bus_assign(fp.p.pci, &windows, gsi, &err));

	for (unsigned int i = 0; in.n && i < 1000; i++)
		operation(&fp, &in, cards);

	device_destroy(cards[0]);
	check(fake_vm_irqfds(fp.p.vm) <= VECTORS + 4);
	device_destroy(cards[1]);
	check(!fake_vm_irqfds(fp.p.vm) && !fake_vm_routes(fp.p.vm) && !fake_vm_doorbells(fp.p.vm));
	for (unsigned int i = n; i-- > 0;)
		device_destroy(dev[i]);
	fp_run_posted(&fp);
	fp_destroy(&fp);
	return 0;
}
