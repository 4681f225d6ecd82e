/*
 * The south bridge's ISA function: Intel 82371SB PIIX3 (290550), §2.2 (configuration), §2.5.6
 * (reset control), §2.5.3.4 (ELCR).
 *
 * What it does here: routes the PCI interrupts to ISA interrupts (PIRQRC[A:D]), and resets the
 * machine (RCR, port 0xcf9). The rest of its registers are storage: DMA, timers and interrupt
 * controllers are KVM's.
 *
 * An ISA interrupt is high while any PIRQ routed to it is. pirq[] and route[] have a lock of their
 * own, a leaf: PIRQs change from any thread under the PCI bus's INTx lock, routes under the
 * device's lock.
 *
 * KVM's interrupt controllers answer the ELCR's ports themselves where they are in the kernel; the
 * registers here serve a VM without that.
 */
#include <errno.h>
#include <string.h>

#include "bus/pc.h"
#include "bus/pci.h"
#include "kvm/vm.h"

#define ISA_IRQS	 16
#define PIRQRC_IRQ	 0x0f
#define PIRQRC_USABLE	 0xdef8 /* 3-7, 9-12, 14, 15: §2.2.5 */
#define RCR_RESET	 0x04	/* RCPU: 0 to 1 resets */
#define RCR_MASK	 0x06	/* with SRST */
#define ELCR_MASK_MASTER 0xf8	/* 0, 1, 2, 8 and 13 are always edge */
#define ELCR_MASK_SLAVE	 0xde

struct piix3 {
	struct pci_device pci;
	struct bus_region elcr_region;
	uint8_t elcr[2];
	uint8_t rcr;

	pthread_mutex_t irq_lock; /* below */
	bool pirq[4];
	uint8_t route[4]; /* PIRQRC[A:D] */
	uint16_t driven;  /* ISA interrupts that are high */
};

static struct piix3 *piix3_of(struct device *dev)
{
	return (struct piix3 *)dev;
}

/* ---- interrupt routing ---- */

/* irq_lock held. */
static void drive(struct piix3 *s)
{
	uint16_t want = 0, changed;

	for (unsigned int i = 0; i < 4; i++) {
		if (s->pirq[i] && !(s->route[i] & PC_PIRQRC_DISABLE))
			want |= (uint16_t)(1U << (s->route[i] & PIRQRC_IRQ));
	}
	want &= PIRQRC_USABLE;
	changed = want ^ s->driven;
	s->driven = want;
	for (unsigned int irq = 0; irq < ISA_IRQS; irq++) {
		if (changed >> irq & 1)
			vm_irq_set(s->pci.dev.platform->vm, irq, want >> irq & 1);
	}
}

static void set_pirq(void *opaque, unsigned int pirq, bool level)
{
	struct piix3 *s = opaque;

	pthread_mutex_lock(&s->irq_lock);
	s->pirq[pirq] = level;
	drive(s);
	pthread_mutex_unlock(&s->irq_lock);
}

static void take_routes(struct piix3 *s)
{
	pthread_mutex_lock(&s->irq_lock);
	memcpy(s->route, s->pci.config + PC_PIRQRC, sizeof(s->route));
	drive(s);
	pthread_mutex_unlock(&s->irq_lock);
}

static void config_written(struct pci_device *pci, unsigned int offset, unsigned int size)
{
	take_routes((struct piix3 *)pci);
}

/* ---- ports ---- */

static uint8_t rcr_read(void *opaque)
{
	struct piix3 *s = opaque;
	uint8_t value;

	pthread_mutex_lock(&s->pci.dev.lock);
	value = s->rcr;
	pthread_mutex_unlock(&s->pci.dev.lock);
	return value;
}

static void rcr_write(void *opaque, uint8_t value)
{
	struct piix3 *s = opaque;
	struct platform *p = s->pci.dev.platform;
	bool reset;

	pthread_mutex_lock(&s->pci.dev.lock);
	reset = value & RCR_RESET && !(s->rcr & RCR_RESET);
	s->rcr = value & RCR_MASK;
	pthread_mutex_unlock(&s->pci.dev.lock);
	if (reset)
		p->event(p, PLATFORM_RESET, 0);
}

static uint64_t elcr_read(void *opaque, uint64_t offset, unsigned int size)
{
	return ((const struct piix3 *)opaque)->elcr[offset];
}

static void elcr_write(void *opaque, uint64_t offset, unsigned int size, uint64_t value)
{
	((struct piix3 *)opaque)->elcr[offset] =
		(uint8_t)value & (offset ? ELCR_MASK_SLAVE : ELCR_MASK_MASTER);
}

static const struct region_ops elcr_ops = {
	.read = elcr_read,
	.write = elcr_write,
	.min = 1,
	.max = 1,
};

/* ---- model ---- */

static int piix3_realize(struct device *dev, struct err *err)
{
	/* Offset, writable bits: §2.2.4 to §2.2.16. */
	static const struct {
		uint8_t offset, mask;
	} storage[] = {
		{0x4c, 0xff}, {0x4e, 0xff}, {0x4f, 0x01}, {0x60, 0x8f}, {0x61, 0x8f}, {0x62, 0x8f},
		{0x63, 0x8f}, {0x69, 0xfe}, {0x6a, 0x03}, {0x70, 0xff}, {0x71, 0xff}, {0x76, 0x8f},
		{0x77, 0x8f}, {0x78, 0xff}, {0x79, 0xff}, {0x80, 0x7f}, {0x82, 0x0f}, {0xa0, 0x1f},
		{0xa2, 0xff}, {0xa3, 0xff}, {0xa4, 0xff}, {0xa5, 0xff}, {0xa6, 0xff}, {0xa7, 0xff},
		{0xa8, 0xff}, {0xaa, 0xff}, {0xac, 0xff}, {0xae, 0xff},
	};
	struct piix3 *s = piix3_of(dev);
	struct platform *p = dev->platform;

	pci_put16(s->pci.config + 0x04, 0x0007); /* I/O, memory, master: hard-wired */
	pci_put16(s->pci.config + 0x06, 0x0200); /* DEVSEL# medium */
	s->pci.config[0x0e] = 0x80;		 /* there are more functions */
	pci_put16(s->pci.wmask + 0x04, 0x0108);	 /* SERR#, special cycles */
	s->pci.wmask[0x0c] = s->pci.wmask[0x0d] = s->pci.wmask[0x3c] = 0;
	for (unsigned int i = 0; i < sizeof(storage) / sizeof(storage[0]); i++)
		s->pci.wmask[storage[i].offset] = storage[i].mask;
	s->pci.config_written = config_written;

	bus_region_init(&s->elcr_region, "piix3.elcr", BUS_PIO, 2, &elcr_ops, s, &dev->lock);
	if (bus_map(p->bus, &s->elcr_region, PC_PORT_ELCR))
		return err_set(err, -ENOMEM, "%s: no memory", dev->id);
	pthread_mutex_init(&s->irq_lock, NULL);
	memset(s->route, PC_PIRQRC_DISABLE, sizeof(s->route));
	pci_bus_set_port_cf9(p->pci, rcr_read, rcr_write, s);
	pci_bus_set_router(p->pci, set_pirq, s);
	return 0;
}

static void piix3_unrealize(struct device *dev)
{
	struct piix3 *s = piix3_of(dev);

	pci_bus_set_port_cf9(dev->platform->pci, NULL, NULL, NULL);
	pci_bus_set_router(dev->platform->pci, NULL, NULL);
	bus_unmap(&s->elcr_region);
	bus_synchronize(dev->platform->bus);
	pthread_mutex_destroy(&s->irq_lock);
}

static void piix3_reset(struct device *dev)
{
	struct piix3 *s = piix3_of(dev);
	uint8_t *c = s->pci.config;

	c[0x4c] = 0x4d;		     /* IORT */
	pci_put16(c + 0x4e, 0x0003); /* XBCS */
	memset(c + PC_PIRQRC, PC_PIRQRC_DISABLE, 4);
	c[0x69] = 0x02;		  /* TOM */
	c[0x70] = c[0x71] = 0x80; /* MBIRQ0, 1 */
	c[0x76] = c[0x77] = 0x0c; /* MBDMA0, 1 */
	c[0xa0] = 0x08;		  /* SMICNTL */
	c[0xa8] = 0x0f;		  /* FTMR */
	s->rcr = 0;
	memset(s->elcr, 0, sizeof(s->elcr));
	take_routes(s);
}

static const struct pci_identity piix3_identity = {
	.vendor = 0x8086,
	.device = 0x7000,
	.subsystem_vendor = 0x1af4,
	.subsystem = 0x1100,
	.class = 0x060100,
};

static const struct device_model piix3_model = {
	.name = "PIIX3",
	.help = "ISA function of the south bridge",
	.size = sizeof(struct piix3),
	.opts = {{pci_device_opts, 0}},
	.pci = &piix3_identity,
	.internal = true,
	.realize = piix3_realize,
	.reset = piix3_reset,
	.unrealize = piix3_unrealize,
};

DEVICE_MODEL(piix3_model);
