/*
 * The PIIX4's power management function: ACPI fixed hardware, and a general purpose event block.
 * Intel 82371AB PIIX4 (290562) chapter 7; ACPI 6.4 §4.8.3 (fixed hardware), §4.8.4 (general purpose
 * events).
 *
 * The board is in ACPI mode from reset on (bus/pc.h): SCI_EN reads 1, PMBASE is programmed and
 * enabled. The system control interrupt is ISA interrupt 9, level. Only soft off (SLP_TYP 0) is a
 * sleep state.
 *
 * The timer counts CLOCK_MONOTONIC at 3.579545 MHz, 24 bits. TMR_STS (bit 23 of the timer changed)
 * is worked out when somebody looks; a host timer runs only while the guest has enabled that
 * interrupt.
 *
 * Registers: vCPU threads, device's lock. The host timer: control thread.
 * Not there: SMBus, SMIs, device monitors, throttling (they read as zero or as written).
 */
#include "dev/piix4_pm.h"

#include <errno.h>
#include <string.h>

#include "bus/pc.h"
#include "bus/pci.h"
#include "dev/defer.h"
#include "kvm/vm.h"

#define PMBASE		 0x40 /* configuration space: §7.1.12 */
#define PMBASE_MASK	 0xffc0
#define PMBASE_IO	 0x01
#define PMREGMISC	 0x80
#define PMREGMISC_PMIOSE 0x01
#define INTERRUPT_LINE	 0x3c

#define TIMER_MASK 0xffffffU
#define TIMER_HALF 0x800000U

enum {
	/* Offsets from PMBASE, §7.2. */
	REG_PM1_STS = 0,
	REG_PM1_EN = 2,
	REG_PM1_CNT = 4,
	REG_PM_TMR = 8,
	REG_PM1_END = 12,

	TMR_STS = 1 << 0,
	BM_STS = 1 << 4,
	GBL_STS = 1 << 5,
	PWRBTN_STS = 1 << 8,
	RTC_STS = 1 << 10,
	WAK_STS = 1 << 15,
	STS_MASK = TMR_STS | BM_STS | GBL_STS | PWRBTN_STS | RTC_STS | WAK_STS,
	EN_MASK = TMR_STS | GBL_STS | PWRBTN_STS | RTC_STS,

	CNT_SCI_EN = 1 << 0,
	CNT_SLP_EN = 1 << 13,
	CNT_MASK = 0x1c02, /* SLP_TYP, BM_RLD: what can be read back */
};

#define CNT_SLP_TYP(cnt) ((cnt) >> 10 & 7)

struct pm {
	struct pci_device pci;
	struct bus_region pm1, gpe, apm;
	struct loop_timer timer;
	struct defer *arm; /* sets the timer on the control thread */
	uint16_t sts, en, cnt;
	uint32_t half; /* the timer's bits 23 and up when TMR_STS was last looked at */
	uint8_t gpe_sts[PC_GPE0_SIZE / 2], gpe_en[PC_GPE0_SIZE / 2];
	uint8_t apm_regs[2];
	bool sci;
};

static struct pm *pm_of(struct device *dev)
{
	return (struct pm *)dev;
}

/* ---- timer ---- */

/* Ticks since boot of the host; the guest sees the low 24 bits. */
static uint64_t ticks(void)
{
	unsigned __int128 ns = loop_now_ns();

	return (uint64_t)(ns * PC_PM_TIMER_HZ / 1000000000);
}

static uint64_t ns_of_tick(uint64_t tick)
{
	return (uint64_t)(((unsigned __int128)tick * 1000000000 + PC_PM_TIMER_HZ - 1) /
			  PC_PM_TIMER_HZ);
}

static void look_at_timer(struct pm *pm)
{
	uint32_t half = (uint32_t)(ticks() / TIMER_HALF);

	if (half != pm->half)
		pm->sts |= TMR_STS;
	pm->half = half;
}

/* ---- system control interrupt ---- */

static void update_sci(struct pm *pm)
{
	bool sci = pm->sts & pm->en & EN_MASK;

	for (unsigned int i = 0; i < sizeof(pm->gpe_sts); i++)
		sci |= pm->gpe_sts[i] & pm->gpe_en[i];
	if (sci == pm->sci)
		return;
	pm->sci = sci;
	vm_irq_set(pm->pci.dev.platform->vm, PC_IRQ_SCI, sci);
}

/* Control thread: the timer stands while its interrupt is wanted and not there yet. */
static void arm(void *opaque)
{
	struct pm *pm = opaque;
	struct loop *loop = pm->pci.dev.platform->control;
	uint64_t next = 0;

	pthread_mutex_lock(&pm->pci.dev.lock);
	look_at_timer(pm);
	update_sci(pm);
	if (pm->en & TMR_STS && !(pm->sts & TMR_STS))
		next = ns_of_tick(((uint64_t)pm->half + 1) * TIMER_HALF);
	pthread_mutex_unlock(&pm->pci.dev.lock);
	if (next)
		loop_timer_set(loop, &pm->timer, next);
	else
		loop_timer_cancel(loop, &pm->timer);
}

static void timer_expired(struct loop_timer *t)
{
	arm(t->opaque);
}

void piix4_pm_power_button(struct device *dev)
{
	struct pm *pm = pm_of(dev);

	pthread_mutex_lock(&dev->lock);
	pm->sts |= PWRBTN_STS;
	update_sci(pm);
	pthread_mutex_unlock(&dev->lock);
}

/* ---- PM1 block ---- */

static uint64_t pm1_read(void *opaque, uint64_t offset, unsigned int size)
{
	struct pm *pm = opaque;
	uint8_t image[PC_PM_SIZE] = {0};
	uint64_t value = 0;

	if (offset < REG_PM1_EN)
		look_at_timer(pm);
	pci_put16(image + REG_PM1_STS, pm->sts);
	pci_put16(image + REG_PM1_EN, pm->en);
	pci_put16(image + REG_PM1_CNT, pm->cnt | CNT_SCI_EN);
	pci_put32(image + REG_PM_TMR, (uint32_t)ticks() & TIMER_MASK);
	memcpy(&value, image + offset, size);
	return value;
}

static void write_cnt(struct pm *pm, uint16_t value)
{
	struct platform *p = pm->pci.dev.platform;

	pm->cnt = value & CNT_MASK;
	if (value & CNT_SLP_EN && CNT_SLP_TYP(value) == PC_SLP_TYP_S5)
		p->event(p, PLATFORM_POWEROFF, 0);
}

static void pm1_write(void *opaque, uint64_t offset, unsigned int size, uint64_t value)
{
	struct pm *pm = opaque;
	uint8_t mask[PC_PM_SIZE] = {0}, image[PC_PM_SIZE] = {0};
	uint16_t m;

	memset(mask + offset, 0xff, size);
	memcpy(image + offset, &value, size);

	look_at_timer(pm);
	pm->sts &= (uint16_t) ~(pci_get16(image + REG_PM1_STS) & STS_MASK);
	m = pci_get16(mask + REG_PM1_EN);
	pm->en = (uint16_t)((pm->en & ~m) | (pci_get16(image + REG_PM1_EN) & EN_MASK));
	m = pci_get16(mask + REG_PM1_CNT);
	if (m)
		write_cnt(pm, (uint16_t)((pm->cnt & ~m) | pci_get16(image + REG_PM1_CNT)));
	update_sci(pm);
	if (offset < REG_PM1_CNT && pm->en & TMR_STS)
		defer_kick(pm->arm);
}

static const struct region_ops pm1_ops = {
	.read = pm1_read,
	.write = pm1_write,
	.min = 1,
	.max = 4,
};

/* ---- GPE0 block: status (write 1 to clear), then enable ---- */

static uint64_t gpe_read(void *opaque, uint64_t offset, unsigned int size)
{
	const struct pm *pm = opaque;
	unsigned int half = sizeof(pm->gpe_sts);

	return offset < half ? pm->gpe_sts[offset] : pm->gpe_en[offset - half];
}

static void gpe_write(void *opaque, uint64_t offset, unsigned int size, uint64_t value)
{
	struct pm *pm = opaque;
	unsigned int half = sizeof(pm->gpe_sts);

	if (offset < half)
		pm->gpe_sts[offset] &= (uint8_t)~value;
	else
		pm->gpe_en[offset - half] = (uint8_t)value;
	update_sci(pm);
}

static const struct region_ops gpe_ops = {
	.read = gpe_read,
	.write = gpe_write,
	.min = 1,
	.max = 1,
};

/* ---- APMC and APMS (0xb2, 0xb3): storage. No SMI comes of them. ---- */

static uint64_t apm_read(void *opaque, uint64_t offset, unsigned int size)
{
	return ((const struct pm *)opaque)->apm_regs[offset];
}

static void apm_write(void *opaque, uint64_t offset, unsigned int size, uint64_t value)
{
	((struct pm *)opaque)->apm_regs[offset] = (uint8_t)value;
}

static const struct region_ops apm_ops = {
	.read = apm_read,
	.write = apm_write,
	.min = 1,
	.max = 1,
};

/* ---- configuration space ---- */

static void map_pm1(struct pm *pm)
{
	const uint8_t *c = pm->pci.config;
	uint16_t base = pci_get16(c + PMBASE) & PMBASE_MASK;

	if (!(c[PMREGMISC] & PMREGMISC_PMIOSE) || !base)
		bus_unmap(&pm->pm1);
	else if (!pm->pm1.bus || pm->pm1.base != base)
		bus_map(pm->pci.dev.platform->bus, &pm->pm1, base); /* or it doesn't answer */
}

static void config_written(struct pci_device *pci, unsigned int offset, unsigned int size)
{
	map_pm1((struct pm *)pci);
}

static int pm_realize(struct device *dev, struct err *err)
{
	struct platform *p = dev->platform;
	struct pm *pm = pm_of(dev);
	uint8_t *wmask = pm->pci.wmask;

	pci_put16(pm->pci.config + 0x06, 0x0280); /* status: DEVSEL# medium, fast back-to-back */
	pci_put16(wmask + 0x04, 0x0001);
	pci_put16(wmask + PMBASE, PMBASE_MASK);
	wmask[PMREGMISC] = PMREGMISC_PMIOSE;
	wmask[INTERRUPT_LINE] = 0;	  /* the SCI is no PCI interrupt */
	memset(wmask + 0x44, 0xff, 0x3c); /* CNTA-CNTB, GPI control, device resources A-J */
	pm->pci.config_written = config_written;

	pm->timer = (struct loop_timer){.expired = timer_expired, .opaque = pm};
	pm->arm = defer_create(p->control, arm, pm);
	if (!pm->arm)
		return err_set(err, -ENOMEM, "%s: no memory", dev->id);
	bus_region_init(&pm->pm1, "piix4.pm", BUS_PIO, PC_PM_SIZE, &pm1_ops, pm, &dev->lock);
	bus_region_init(&pm->gpe, "piix4.gpe0", BUS_PIO, PC_GPE0_SIZE, &gpe_ops, pm, &dev->lock);
	bus_region_init(&pm->apm, "piix4.apm", BUS_PIO, 2, &apm_ops, pm, &dev->lock);
	if (bus_map(p->bus, &pm->gpe, PC_GPE0) || bus_map(p->bus, &pm->apm, PC_PORT_APM)) {
		dev->model->unrealize(dev);
		return err_set(err, -ENOMEM, "%s: no memory", dev->id);
	}
	return 0;
}

static void pm_unrealize(struct device *dev)
{
	struct pm *pm = pm_of(dev);

	bus_unmap(&pm->pm1);
	bus_unmap(&pm->gpe);
	bus_unmap(&pm->apm);
	bus_synchronize(dev->platform->bus);
	loop_timer_cancel(dev->platform->control, &pm->timer);
	defer_destroy(pm->arm);
}

static void pm_reset(struct device *dev)
{
	struct pm *pm = pm_of(dev);
	uint8_t *c = pm->pci.config;

	pm->sts = pm->en = pm->cnt = 0;
	pm->half = (uint32_t)(ticks() / TIMER_HALF);
	memset(pm->gpe_sts, 0, sizeof(pm->gpe_sts));
	memset(pm->gpe_en, 0, sizeof(pm->gpe_en));
	memset(pm->apm_regs, 0, sizeof(pm->apm_regs));
	update_sci(pm);

	pci_put16(c + PMBASE, PC_PM_BASE | PMBASE_IO);
	c[PMREGMISC] = PMREGMISC_PMIOSE;
	c[INTERRUPT_LINE] = PC_IRQ_SCI;
	map_pm1(pm);
}

static const struct pci_identity pm_identity = {
	.vendor = 0x8086,
	.device = 0x7113,
	.subsystem_vendor = 0x1af4,
	.subsystem = 0x1100,
	.class = 0x068000,
	.revision = 3,
	.interrupt_pin = 1,
};

static const struct device_model pm_model = {
	.name = "PIIX4_PM",
	.help = "ACPI function of the south bridge",
	.size = sizeof(struct pm),
	.opts = {{pci_device_opts, 0}},
	.pci = &pm_identity,
	.internal = true,
	.realize = pm_realize,
	.reset = pm_reset,
	.unrealize = pm_unrealize,
};

DEVICE_MODEL(pm_model);
