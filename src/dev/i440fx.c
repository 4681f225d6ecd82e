/*
 * The host bridge: Intel 82441FX PMC of the 440FX PCIset (290549), §3.2 (configuration registers).
 *
 * Its registers are storage. The shadow RAM between 640 KiB and 1 MiB is always RAM here (PAM
 * changes nothing), there is no SMRAM, and RAM needs no timings; software that programs them reads
 * back what it wrote.
 */
#include "bus/pci.h"

#define PCICMD	0x04
#define PCISTS	0x06
#define MLT	0x0d
#define PMCCFG	0x50
#define PAM0	0x59
#define PAM_END 0x60
#define DRB_END 0x68 /* DRAM row boundaries follow the PAMs */
#define SMRAM	0x72
#define ERRCMD	0x90

static int i440fx_realize(struct device *dev, struct err *err)
{
	struct pci_device *pci = pci_of(dev);

	pci_put16(pci->config + PCICMD, 0x0006); /* MAE, BME: hard-wired */
	pci_put16(pci->config + PCISTS, 0x0280); /* DEVSEL# medium, fast back-to-back */
	pci_put16(pci->wmask + PCICMD, 0x0140);	 /* SERRE, PERRE */
	pci->wmask[0x0c] = 0;
	pci->wmask[0x3c] = 0;
	pci->wmask[MLT] = 0xf8;
	pci_put16(pci->wmask + PMCCFG, 0xffff);
	for (unsigned int i = PAM0; i < DRB_END; i++)
		pci->wmask[i] = i == PAM0 ? 0xf0 : i < PAM_END ? 0x33 : 0xff;
	pci->wmask[SMRAM] = 0x7f;
	pci->wmask[ERRCMD] = 0xff;
	return 0;
}

static void i440fx_reset(struct device *dev)
{
	struct pci_device *pci = pci_of(dev);

	pci->config[SMRAM] = 0x02; /* C_BASE_SEG: 0xa0000 */
	for (unsigned int i = PAM_END; i < DRB_END; i++)
		pci->config[i] = 0x01;
}

static const struct pci_identity i440fx_identity = {
	.vendor = 0x8086,
	.device = 0x1237,
	.subsystem_vendor = 0x1af4,
	.subsystem = 0x1100,
	.class = 0x060000,
	.revision = 2,
};

static const struct device_model i440fx_model = {
	.name = "i440FX",
	.help = "host bridge",
	.size = sizeof(struct pci_device),
	.opts = {{pci_device_opts, 0}},
	.pci = &i440fx_identity,
	.internal = true,
	.realize = i440fx_realize,
	.reset = i440fx_reset,
};

DEVICE_MODEL(i440fx_model);
