/*
 * The machine: owns every object of one VM, in the order of the command line, and its life cycle.
 *
 *	machine_create: KVM -> RAM -> buses -> board -> back ends and devices -> vCPUs (parked)
 *	machine_run:    load the kernel -> let go -> control loop ... -> status
 *	                        ^                         |
 *	                        +----- reset: all stand still, every device reset
 *
 * All calls on the control thread, unless said otherwise.
 */
#ifndef VIREO_MACHINE_MACHINE_H
#define VIREO_MACHINE_MACHINE_H

#include <jansson.h>

#include "base/counter.h"
#include "base/err.h"
#include "base/loop.h"
#include "machine/config.h"

struct char_backend;
struct device;
struct machine;
struct net_backend;

enum machine_state {
	MACHINE_PRELAUNCH, /* made; -S */
	MACHINE_RUNNING,
	MACHINE_PAUSED,	  /* by stop */
	MACHINE_SHUTDOWN, /* the guest powered off, -no-shutdown */
	MACHINE_ERROR,	  /* a vCPU can't go on */
	MACHINE_QUIT,	  /* machine_run() is about to return */
};

/* Makes everything; every error of configuration is found here, before any guest instruction runs.
 * config stays the caller's, and outlives the machine. 0 or -errno with err set. */
int machine_create(struct machine **machine, const struct vm_config *config, struct err *err);
/* Runs the VM until it is over; returns the exit status for the process. */
int machine_run(struct machine *machine);
void machine_destroy(struct machine *machine);

struct loop *machine_loop(struct machine *machine); /* the control loop */
enum machine_state machine_state(const struct machine *machine);
/* "running", "paused", "prelaunch", "shutdown", "internal-error", "quit" */
const char *machine_state_name(enum machine_state state);
const struct vm_config *machine_config(const struct machine *machine);

void machine_stop(struct machine *machine); /* vCPUs stand still */
void machine_cont(struct machine *machine);
void machine_reset(struct machine *machine); /* as the reset button; a stopped VM stays stopped */
void machine_powerdown(struct machine *machine);	/* presses the ACPI power button */
void machine_quit(struct machine *machine, int status); /* any thread, signal handlers too */

/* What there is, in the order of creation. */
void machine_each_device(struct machine *machine, void (*fn)(struct device *dev, void *opaque),
			 void *opaque);
void machine_each_net(struct machine *machine,
		      void (*fn)(struct net_backend *net, struct device *user, void *opaque),
		      void *opaque);
void machine_each_counter(struct machine *machine, counter_visit *visit, void *opaque);
/* The board's and the bus's PCI functions go through pci_bus_each() of machine_pci(). */
struct pci_bus *machine_pci(struct machine *machine);
/* set_link NAME on|off: NAME is a NIC's id or a netdev's. 0, -ENOENT. */
int machine_set_link(struct machine *machine, const char *name, bool up);
/* announce_self: asks the drivers of all NICs, or of the one that set_link would mean, to announce their
 * addresses. How many were asked (a driver may not take such requests), -ENOENT. */
int machine_announce(struct machine *machine, const char *name);
/* hostfwd_add and hostfwd_remove (net_backend_ops.forward). netdev: its id; NULL: the one that has such rules.
 * 0 or -errno with err set. */
int machine_forward(struct machine *machine, const char *netdev, const char *rule, bool add,
		    struct err *err);
/* The character back end of that id, claimed for the monitor; NULL with err set. Of the one that
 * the first serial port shares (config.mux_chardev): the monitor's side. */
struct char_backend *machine_monitor_char(struct machine *machine, const char *id, struct err *err);

#endif
