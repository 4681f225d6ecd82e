/*
 * The south bridge's IDE function: Intel 82371SB PIIX3 (290550), §2.3 (configuration), §2.7 (bus
 * master registers).
 *
 * Present, as every PC with this chip set has it, with no drive on either channel. IDETIM's decode
 * bits are off after reset, and nobody answers the legacy ports: they read as ones, which is what
 * an empty channel's do. The bus master registers are storage with the chip's read-only and
 * write-1-to-clear bits; a started transfer has nobody to serve.
 */
#include "bus/pci.h"

#define IDETIM	     0x40 /* two words, primary and secondary */
#define SIDETIM	     0x44
#define BMIBA_BAR    4
#define BMIBA_SIZE   16
#define CHANNEL_SIZE 8

enum {
	BMIC = 0,   /* command: bit 0 start, bit 3 direction */
	BMIS = 2,   /* status */
	BMIDTP = 4, /* descriptor table pointer, dword-aligned */

	BMIC_MASK = 0x09,
	BMIS_W1C = 0x06, /* interrupt, error */
	BMIS_RW = 0x60,	 /* drive 0 and 1 can do DMA */
};

struct piix3_ide {
	struct pci_device pci;
	uint8_t bm[BMIBA_SIZE];
};

static uint64_t bm_read(void *opaque, uint64_t offset, unsigned int size)
{
	return ((const struct piix3_ide *)opaque)->bm[offset];
}

static void bm_write(void *opaque, uint64_t offset, unsigned int size, uint64_t value)
{
	struct piix3_ide *s = opaque;
	uint8_t *reg = &s->bm[offset], v = (uint8_t)value;

	switch (offset % CHANNEL_SIZE) {
	case BMIC:
		*reg = v & BMIC_MASK;
		break;
	case BMIS:
		*reg = (uint8_t)((*reg & ~(v & BMIS_W1C) & ~BMIS_RW) | (v & BMIS_RW));
		break;
	case BMIDTP:
		*reg = v & 0xfc;
		break;
	case BMIDTP + 1:
	case BMIDTP + 2:
	case BMIDTP + 3:
		*reg = v;
		break;
	default: /* reserved */
		break;
	}
}

static const struct region_ops bm_ops = {
	.read = bm_read,
	.write = bm_write,
	.min = 1,
	.max = 1,
};

static int ide_realize(struct device *dev, struct err *err)
{
	struct piix3_ide *s = (struct piix3_ide *)dev;
	int r;

	pci_put16(s->pci.config + 0x06, 0x0280); /* DEVSEL# medium, fast back-to-back */
	pci_put16(s->pci.wmask + 0x04, 0x0005);	 /* I/O, bus master */
	s->pci.wmask[0x0c] = s->pci.wmask[0x3c] = 0;
	s->pci.wmask[0x0d] = 0xf0;
	pci_put32(s->pci.wmask + IDETIM, 0xf3fff3ff);
	s->pci.wmask[SIDETIM] = 0xff;
	r = pci_bar_add(&s->pci, BMIBA_BAR, PCI_BAR_IO, BMIBA_SIZE, "piix3.ide-bm", &bm_ops, s);
	return r ? err_set(err, r, "%s: its bus master registers can't be made", dev->id) : 0;
}

static void ide_reset(struct device *dev)
{
	struct piix3_ide *s = (struct piix3_ide *)dev;

	for (unsigned int i = 0; i < BMIBA_SIZE; i++)
		s->bm[i] = 0;
}

static const struct pci_identity ide_identity = {
	.vendor = 0x8086,
	.device = 0x7010,
	.subsystem_vendor = 0x1af4,
	.subsystem = 0x1100,
	.class = 0x010180, /* IDE, bus master, both channels in legacy mode */
};

static const struct device_model ide_model = {
	.name = "piix3-ide",
	.help = "IDE function of the south bridge, no drives",
	.size = sizeof(struct piix3_ide),
	.opts = {{pci_device_opts, 0}},
	.pci = &ide_identity,
	.internal = true,
	.realize = ide_realize,
	.reset = ide_reset,
};

DEVICE_MODEL(ide_model);
