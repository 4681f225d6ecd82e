/*
 * Inside src/machine: the machine, for the files that make it and run it.
 */
#ifndef VIREO_MACHINE_INTERNAL_H
#define VIREO_MACHINE_INTERNAL_H

#include "bus/device.h"
#include "machine/machine.h"
#include "machine/pool.h"

struct boot;
struct vcpu;

struct processor { /* a vCPU and what its callbacks need */
	struct machine *machine;
	unsigned int index;
	struct vcpu *vcpu;
};

struct plugged { /* a device that is in the machine */
	struct device *dev;
	TAILQ_ENTRY(plugged) link;
};

struct machine {
	struct platform platform; /* first: machine_of() */
	const struct vm_config *config;
	struct loop *loop;
	struct vm *vm;
	struct mem mem;
	struct bus *bus;
	struct pci_bus *pci;
	struct pool pool;
	struct cpuid *cpuid;
	struct boot *boot;
	struct processor *processor;
	unsigned int n_processors;
	TAILQ_HEAD(plugged_list, plugged) devices;
	struct device *pm;		   /* the one with the power button */
	struct char_backend *monitor_side; /* of the terminal that serial port and monitor share */
	unsigned int n_nics;		   /* for MAC addresses */
	enum machine_state state;
	int status;	     /* for the process. Atomic */
	unsigned int events; /* what devices and vCPUs asked for: bits of enum request. Atomic */
	int exit_value;	     /* of REQUEST_EXIT. Atomic */
};

/* Bits of machine.events. */
enum request {
	REQUEST_RESET = 1,
	REQUEST_POWEROFF = 2,
	REQUEST_EXIT = 4,
	REQUEST_ERROR = 8
};

/* Everything as after power-on, the kernel loaded, the first vCPU at its entry. vCPUs stand still.
 * first: they have just been made. 0 or -errno with err set. */
int machine_power_on(struct machine *m, bool first, struct err *err);
/* Asks the control thread to act on it, soon. Any thread. */
void machine_request(struct machine *m, enum request request);

#endif
