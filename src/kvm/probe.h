/*
 * What this host's KVM can do: `vireo probe`, and the reason in words when a VM can't be made.
 */
#ifndef VIREO_KVM_PROBE_H
#define VIREO_KVM_PROBE_H

#include <jansson.h>
#include <stdio.h>

#include "base/err.h"

/* How guest code runs, found by running a few instructions in a throw-away VM. */
enum probe_verdict {
	PROBE_ORDINARY, /* kernels run natively: any guest */
	PROBE_EMULATED, /* kernel mode is interpreted or lacks instructions: no ordinary kernel */
	PROBE_BROKEN,	/* not even the probe's code runs */
};

/* Everything that was found, as one value (the caller owns it): API version, vCPU limits,
 * capabilities by name with their numbers, the verdict with its measurements, IOMMU, vhost-net,
 * TUN, and sentences in "summary". NULL with err set where there is no usable /dev/kvm: the error
 * says why and what to do. */
json_t *probe_host(struct err *err);

/* Prints the value of probe_host() for people: a line per fact, then the sentences. */
void probe_print_text(FILE *out, const json_t *value);

/* Runs the throw-away VM only. 0 and the verdict, or -errno. why: one sentence, at most n bytes. */
int probe_guest_code(enum probe_verdict *verdict, char *why, size_t n, struct err *err);

#endif
