/*
 * The monitor that people type into, on a character back end.
 */
#ifndef VIREO_CTL_MONITOR_H
#define VIREO_CTL_MONITOR_H

#include "base/err.h"

struct char_backend;
struct machine;
struct monitor;

/* Serves the monitor on chr until monitor_destroy(). Control thread. 0 or -ENOMEM. */
int monitor_create(struct monitor **monitor, struct machine *machine, struct char_backend *chr,
		   struct err *err);
void monitor_destroy(struct monitor *monitor);

#endif
