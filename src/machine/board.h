/*
 * The board: what a PC has before anything is plugged into it.
 */
#ifndef VIREO_MACHINE_BOARD_H
#define VIREO_MACHINE_BOARD_H

#include <stdbool.h>

#include "base/err.h"
#include "bus/device.h"
#include "kvm/mem.h"
#include "machine/config.h"

/* Shows RAM where a PC has it: below the VGA hole, above it up to the PCI hole, and from 4 GiB on.
 * 0 or -errno with err set. */
int board_map_ram(struct mem *mem, struct err *err);

/* Makes the chipset and the ISA devices through `plug`, which creates a device of the model with
 * the options given ("key=value,..." or NULL) and keeps it. 0 or -errno with err set. */
int board_create(const struct vm_config *config,
		 struct device *(*plug)(void *opaque, const char *model, const char *options,
					struct err *err),
		 void *opaque, struct err *err);

/* What firmware does before it hands over: BARs, interrupt links, decoding. vCPUs stand still. */
int board_set_up_pci(struct platform *platform, struct err *err);

#endif
