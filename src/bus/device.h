/*
 * Devices: the model (what it is, immutable, one file) and the instance (one card in one VM).
 *
 * A model is a constant struct, registered by the last line of its file:
 *
 *	DEVICE_MODEL(rtl8139_model);
 *
 * The registry is for names only. Instances are made by the machine in the order of the command
 * line, and may come and go while the VM runs.
 *
 *	device_create:  allocate -> apply option tables -> bus part (slot, config space)
 *	                -> model->realize -> device_reset -> the guest can see it
 *	device_reset:   lock -> bus part -> model->reset -> unlock
 *	device_destroy: the guest can't reach it -> model->unrealize -> bus part -> free
 *
 * A device's registers have one lock, device.lock: the bus holds it around every handler. What runs
 * on I/O threads (queues) doesn't take it.
 */
#ifndef VIREO_BUS_DEVICE_H
#define VIREO_BUS_DEVICE_H

#include <jansson.h>
#include <pthread.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/counter.h"
#include "base/err.h"
#include "base/opt.h"

struct blk_backend;
struct bus;
struct char_backend;
struct device;
struct loop;
struct mem;
struct net_backend;
struct pci_bus;
struct pci_identity;
struct platform;
struct vm;

enum platform_event {
	PLATFORM_RESET,	   /* the guest asks for a reboot */
	PLATFORM_POWEROFF, /* S5 */
	PLATFORM_EXIT,	   /* end vireo with status `value` (isa-debug-exit) */
};

/* What the machine lends its devices: the buses, memory, threads and back ends. One per VM. */
struct platform {
	struct vm *vm;
	struct mem *mem;
	struct bus *bus;
	struct pci_bus *pci;
	struct loop *control; /* the control thread's loop: timers, character devices */

	/* Tells the machine; returns at once, any thread. The machine acts on its control thread.
	 */
	void (*event)(struct platform *p, enum platform_event event, int value);

	/* An I/O thread's loop: the one made by -object iothread,id=NAME, or with id NULL a new one
	 * of its own, called `name` (<= 15 characters). Lent until io_thread_put(). NULL with err
	 * set. */
	struct loop *(*io_thread_get)(struct platform *p, const char *id, const char *name,
				      struct err *err);
	void (*io_thread_put)(struct platform *p, struct loop *loop);

	/* Find a back end by its id and claim it: it serves one device at a time. NULL with err set
	 * when there is none or it is taken. The _put gives it back. */
	struct net_backend *(*net_get)(struct platform *p, const char *id, struct device *user,
				       struct err *err);
	struct blk_backend *(*blk_get)(struct platform *p, const char *id, struct device *user,
				       struct err *err);
	struct char_backend *(*char_get)(struct platform *p, const char *id, struct device *user,
					 struct err *err);
	void (*net_put)(struct platform *p, struct net_backend *net);
	void (*blk_put)(struct platform *p, struct blk_backend *blk);
	void (*char_put)(struct platform *p, struct char_backend *chr);

	/* Is there an -object rng-random of this id? Any number of devices may use it. 0, or -ENOENT with
	 * err set. */
	int (*rng_check)(struct platform *p, const char *id, struct err *err);

	/* A MAC address for a NIC that was given none: 52:54:00:12:34:56 and on, in order of the
	 * calls. */
	void (*mac_default)(struct platform *p, uint8_t mac[6]);
};

/* An option table and the place in the instance that it fills. */
struct device_opts {
	const struct opt_desc *table; /* NULL ends the list */
	size_t offset;		      /* bytes from the start of the instance */
};

#define DEVICE_OPTS_MAX 4

struct device_model {
	const char *name;	  /* "rtl8139": -device rtl8139 */
	const char *const *alias; /* other names, ends with NULL; may be NULL */
	const char *help;	  /* one line */
	size_t size; /* of the instance; starts with struct pci_device (pci set) or struct device */
	struct device_opts opts[DEVICE_OPTS_MAX];
	const struct pci_identity *pci; /* NULL: not a PCI device */
	const char *nic;		/* name under -net nic,model=; NULL: no NIC */
	uint8_t nic_rank;		/* its place in the list of these; 0: behind, by name */
	bool internal;			/* part of the board; not for -device */
	const void *data;		/* for code that several models share */

	int (*realize)(struct device *dev,
		       struct err *err);   /* everything that can fail; registers not yet reset */
	void (*reset)(struct device *dev); /* registers as at power-on; the lock is held */
	void (*unrealize)(struct device *dev); /* undoes realize; vCPUs can't reach it any more */
	void (*info)(struct device *dev, json_t *object); /* adds members for `info` commands */
	void (*counters)(struct device *dev, counter_visit *visit, void *opaque);
	void (*set_link)(struct device *dev, bool up); /* NICs: cable in or out; control thread */
	/* NICs: asks the driver to tell the network where its address is; false: it takes no such
	 * request. Control thread. May be NULL. */
	bool (*announce)(struct device *dev);
};

struct device {
	const struct device_model *model;
	struct platform *platform;
	char *id; /* as given, or "model#n"; unique in the VM */
	pthread_mutex_t lock;
	unsigned int waiters; /* vCPUs that wait for the lock. Atomic */
};

/* Makes a device of the model and plugs it in. list: its options ("driver" and "id" are taken by
 * the caller); every pair must be known to a table of the model; NULL = all defaults. id is copied.
 * Control thread. NULL with err set. */
struct device *device_create(struct platform *p, const struct device_model *model, const char *id,
			     struct opt_list *list, struct err *err);
void device_reset(struct device *dev);
void device_destroy(struct device *dev);

/* Prints the options of a model, all its tables: -device NAME,help. */
void device_help(FILE *out, const struct device_model *model);

/* The registry. By name or alias; NULL = none. _each: in order of name; false from fn ends it. */
const struct device_model *device_model_find(const char *name);
void device_model_each(bool (*fn)(const struct device_model *model, void *opaque), void *opaque);

/* Last line of a model's file. */
#define DEVICE_MODEL(m)                                   \
	static const struct device_model *const m##_entry \
		__attribute__((used, section("device_models"))) = &(m)

#endif
