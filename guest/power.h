/*
 * How the guest ends.
 */
#ifndef GUEST_POWER_H
#define GUEST_POWER_H

#include <stdint.h>

/* Values for isa-debug-exit; the monitor's exit status is (value << 1) | 1. */
#define POWER_EXIT_OK	  0 /* all tests passed */
#define POWER_EXIT_FAILED 1 /* a test failed */
#define POWER_EXIT_ERROR  2 /* the guest could not go on */
#define POWER_EXIT_TRAP	  3 /* an exception that was not expected */

enum power_way {
	POWER_AUTO, /* debug exit, then power-off, then reset */
	POWER_EXIT,
	POWER_OFF,
	POWER_REBOOT,
	POWER_TRIPLE_FAULT,
	POWER_HALT,
};

/* What power_end() does. value is for isa-debug-exit, or -1 for the status of the tests. */
void power_choose(enum power_way way, int64_t value);

enum power_way power_chosen_way(void);
int64_t power_chosen_value(void);

/* Ends the guest, as chosen. */
void power_end(uint32_t status) __attribute__((noreturn));

/* Resets by the RST_CNT register of the PIIX3, then by the keyboard controller. May return. */
void power_reset(void);

#endif
