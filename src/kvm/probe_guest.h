/*
 * Inside src/kvm: a few instructions run in a throw-away VM, and what came of them.
 */
#ifndef VIREO_KVM_PROBE_GUEST_H
#define VIREO_KVM_PROBE_GUEST_H

#include "base/err.h"
#include "kvm/probe.h"

/* ns per instruction from which code is taken to be interpreted: that costs 600 to 800, a processor
 * below 10. */
#define PROBE_EMULATED_NS 100.0

enum probe_outcome {
	PROBE_RAN,
	PROBE_INTERNAL_ERROR, /* KVM_EXIT_INTERNAL_ERROR: its instruction emulator gave up */
	PROBE_FAULTED,	      /* an exception (triple fault), or the wrong result */
	PROBE_REFUSED,	      /* KVM wouldn't start it so */
	PROBE_NOT_TRIED,      /* the guest's processor hasn't the instruction */
};

struct probe_guest {
	/* 64-bit mode, CPL 0 */
	enum probe_outcome arithmetic, cmpxchg16b, sse, xgetbv, hlt;
	double cpl0_ns; /* per instruction of the arithmetic loop; 0 when it didn't run */
	/* 64-bit mode, CPL 3, and 16-bit real mode, where firmware and other processors start */
	enum probe_outcome user, real_mode;
	double cpl3_ns;
	enum probe_verdict verdict;
	char why[256]; /* the verdict in a sentence */
};

const char *probe_outcome_name(enum probe_outcome outcome);
const char *probe_verdict_name(enum probe_verdict verdict);

/* Runs it all, in a VM of its own on kvm_fd. 0, or -errno when no VM could be made at all. */
int probe_guest_run(struct probe_guest *result, int kvm_fd, struct err *err);

#endif
