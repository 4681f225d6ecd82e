/*
 * One VM as asked for: filled by ctl/ from a command line, checked once by machine_create().
 *
 * Nothing here is opened or looked up yet. Devices and back ends stand in the order of the command
 * line; each keeps the words it came from (struct opt_list), which its own option table takes
 * apart.
 */
#ifndef VIREO_MACHINE_CONFIG_H
#define VIREO_MACHINE_CONFIG_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/queue.h>
#include <time.h>

#include "base/opt.h"
#include "kvm/cpuid.h"
#include "kvm/mem.h"

enum config_kind {
	CONFIG_CHARDEV,	 /* type = char driver: socket, pty, file, null, stdio */
	CONFIG_NETDEV,	 /* type = tap ... */
	CONFIG_BLOCKDEV, /* type = format driver: raw */
	CONFIG_OBJECT,	 /* type = iothread ... */
	CONFIG_DEVICE,	 /* type = model */
	CONFIG_KINDS
};

struct config_item {
	enum config_kind kind;
	char *type;	      /* as in "-device TYPE,..." */
	char *id;	      /* NULL: none given; the machine makes one up */
	struct opt_list list; /* the rest */
	TAILQ_ENTRY(config_item) link;
};

enum rtc_base {
	RTC_UTC,
	RTC_LOCALTIME,
	RTC_DATE
};

struct vm_config {
	char *name, *uuid;
	struct cpu_topology topology;
	char *cpu_model; /* "host,+x,-y" */
	struct mem_config memory;
	char *kernel, *initrd, *append; /* kernel "builtin:" is the guest that is part of vireo */
	bool no_reboot, no_shutdown;
	bool start_paused; /* -S */
	enum rtc_base rtc_base;
	time_t rtc_date; /* RTC_DATE: seconds since the epoch, UTC */
	struct {
		char *chardev; /* id of a CONFIG_CHARDEV; NULL: no such port */
	} serial[4];
	/* -nographic, mon:stdio: the chardev that the first serial port and the monitor share. */
	char *mux_chardev;
	TAILQ_HEAD(config_items, config_item) items;
};

void vm_config_init(struct vm_config *config); /* defaults: 1 CPU, 128 MiB, host CPU, UTC */
/* Appends an item; type and id are copied, list is taken over. 0 or -ENOMEM. */
int vm_config_add(struct vm_config *config, enum config_kind kind, const char *type, const char *id,
		  struct opt_list *list);
void vm_config_free(struct vm_config *config);

#endif
