/*
 * Inside src/kvm: the parts of the CPUID template, so that each can be tested without a VM.
 *
 *	KVM_GET_SUPPORTED_CPUID -> filter -> names (+feature, -feature) -> consistency -> topology
 *
 * A template holds what all vCPUs share; cpuid_install() writes the APIC id into a copy.
 */
#ifndef VIREO_KVM_CPUID_INTERNAL_H
#define VIREO_KVM_CPUID_INTERNAL_H

#include <linux/kvm.h>

#include "kvm/cpuid.h"

#define CPUID_ENTRIES_MAX 256 /* the kernel's own limit, KVM_MAX_CPUID_ENTRIES (80 before 5.11) */

struct cpuid_table {
	struct kvm_cpuid_entry2 entry[CPUID_ENTRIES_MAX];
	unsigned int n;
};

struct cpuid {
	struct cpuid_table table;
	struct cpu_topology topology;
	unsigned int thread_bits, core_bits; /* widths of the fields of an APIC id */
};

enum cpuid_reg {
	CPUID_EAX,
	CPUID_EBX,
	CPUID_ECX,
	CPUID_EDX
};

/* A feature's place: one bit of one register of one leaf. */
struct cpuid_feature {
	const char *name; /* small letters, '-' where /proc/cpuinfo has '_' and QEMU either */
	uint32_t leaf, subleaf;
	enum cpuid_reg reg;
	uint8_t bit;
};

/* Rows with names that people write; one name may stand for several bits. Ends with name NULL. */
extern const struct cpuid_feature cpuid_features[];

/* Finds the entry; NULL = not there. */
struct kvm_cpuid_entry2 *cpuid_find(struct cpuid_table *table, uint32_t leaf, uint32_t subleaf);
/* Finds it or adds a zero one; NULL = no room. indexed: the subleaf (ECX) counts. */
struct kvm_cpuid_entry2 *cpuid_get(struct cpuid_table *table, uint32_t leaf, uint32_t subleaf,
				   bool indexed);
/* Removes all subleaves of a leaf. */
void cpuid_drop(struct cpuid_table *table, uint32_t leaf);
uint32_t *cpuid_reg(struct kvm_cpuid_entry2 *entry, enum cpuid_reg reg);
/* One bit of the table; clear when the leaf isn't there. */
bool cpuid_test(struct cpuid_table *table, uint32_t leaf, uint32_t subleaf, enum cpuid_reg reg,
		unsigned int bit);
bool cpuid_is_amd(struct cpuid_table *table); /* or its licensee Hygon: AMD's leaves count */

/* Applies the words after the model's name ("+avx,-svm,x2apic=off"); each feature asked for must be
 * in `table` (what the host supports). Then drops what can't stand without what was taken away. 0,
 * or -EINVAL / -ENOTSUP with err. */
int cpuid_apply_words(struct cpuid_table *table, const char *model, const char *words,
		      struct err *err);
/* Makes dependent bits and leaves consistent: no AVX without XSAVE, XCR0's bits as the features
 * need them. */
void cpuid_make_consistent(struct cpuid_table *table);

/* The whole of it from what KVM says it supports. tsc_deadline: KVM_CAP_TSC_DEADLINE_TIMER. */
int cpuid_build(struct cpuid *cpuid, const struct cpuid_table *supported, bool tsc_deadline,
		const char *model, const struct cpu_topology *topology, struct err *err);
/* The table for one vCPU, with its APIC id. */
void cpuid_for_vcpu(const struct cpuid *cpuid, unsigned int index, struct cpuid_table *out);

#endif
