/*
 * A platform for tests: fake VM, the real bus, PCI bus and control loop, no processors.
 *
 * A test plays the guest: fp_in/fp_out and fp_load/fp_store are its accesses, fp_config_* goes
 * through ports 0xcf8/0xcfc as a guest does. The control loop runs only inside fp_run().
 */
#ifndef VIREO_TESTS_FAKE_PLATFORM_H
#define VIREO_TESTS_FAKE_PLATFORM_H

#include "base/loop.h"
#include "bus/bus.h"
#include "bus/device.h"
#include "bus/pci.h"
#include "fake_vm.h"

struct char_backend;

#define FP_EVENTS 16

struct fake_platform {
	struct platform p;
	struct char_backend *chr; /* what char_get gives, whatever the id; NULL: an error */
	enum platform_event event[FP_EVENTS];
	int event_value[FP_EVENTS];
	unsigned int n_events; /* atomic */
	struct loop_timer stop;
};

/* Aborts the test program when something can't be made. */
void fp_init(struct fake_platform *fp);
void fp_destroy(struct fake_platform *fp); /* devices are destroyed already */

/* A device of the model, options as on a command line ("addr=3,romfile=x"; NULL = none). NULL with
 * err set. */
struct device *fp_device(struct fake_platform *fp, const char *model, const char *id,
			 const char *options, struct err *err);
/* The same for a model that isn't registered. */
struct device *fp_device_of(struct fake_platform *fp, const struct device_model *model,
			    const char *id, const char *options, struct err *err);

uint32_t fp_in(struct fake_platform *fp, uint16_t port, unsigned int size);
void fp_out(struct fake_platform *fp, uint16_t port, unsigned int size, uint32_t value);
uint64_t fp_load(struct fake_platform *fp, uint64_t addr, unsigned int size);
void fp_store(struct fake_platform *fp, uint64_t addr, unsigned int size, uint64_t value);
uint32_t fp_config_read(struct fake_platform *fp, unsigned int slot, unsigned int function,
			unsigned int offset, unsigned int size);
void fp_config_write(struct fake_platform *fp, unsigned int slot, unsigned int function,
		     unsigned int offset, unsigned int size, uint32_t value);

/* Runs the control loop for so many ms on the calling thread. */
void fp_run(struct fake_platform *fp, unsigned int ms);
/* Runs what was posted to the control loop up to now, and returns. */
void fp_run_posted(struct fake_platform *fp);

#endif
