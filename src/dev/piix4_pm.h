/*
 * The PIIX4 power management function: what the machine tells it.
 */
#ifndef VIREO_DEV_PIIX4_PM_H
#define VIREO_DEV_PIIX4_PM_H

#include "bus/device.h"

/* Presses the power button: PM1_STS.PWRBTN_STS, and an SCI where the guest wants it. dev: of model
 * "PIIX4_PM". Any thread. */
void piix4_pm_power_button(struct device *dev);

#endif
