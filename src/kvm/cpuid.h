/*
 * What processor the guest sees: the host's CPUID as KVM supports it, filtered, with topology.
 * Source: Intel SDM vol. 2A CPUID, AMD APM vol. 3 appendix E; KVM's leaves 0x40000000+:
 * Linux Documentation/virt/kvm/x86/cpuid.rst.
 */
#ifndef VIREO_KVM_CPUID_H
#define VIREO_KVM_CPUID_H

#include <stdbool.h>
#include <stdint.h>

#include "base/err.h"

struct vm;

struct cpu_topology {
	unsigned int cpus; /* vCPUs at start */
	unsigned int sockets, cores,
		threads; /* sockets * cores * threads >= cpus, all at least 1 */
};

struct cpuid; /* a finished template, the same for all vCPUs but for APIC ids */

/* model: "host", "max", with ",+feature,-feature,feature=on|off" (names as in /proc/cpuinfo and
 * QEMU's); NULL = host. Unknown models and features, and features that the host lacks, are errors
 * that name them. */
int cpuid_create(struct cpuid **cpuid, struct vm *vm, const char *model,
		 const struct cpu_topology *topology, struct err *err);
void cpuid_destroy(struct cpuid *cpuid);

/* The APIC id of vCPU index, from the topology (SDM vol. 3A 9.9.1: power-of-two fields). */
uint32_t cpuid_apic_id(const struct cpuid *cpuid, unsigned int index);

/* KVM_SET_CPUID2 on a vCPU's fd with its own APIC id; 0 or -errno. */
int cpuid_install(const struct cpuid *cpuid, int vcpu_fd, unsigned int index);

#endif
