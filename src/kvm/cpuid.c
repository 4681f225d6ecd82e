/*
 * The CPUID template of a VM: what KVM supports on this host, filtered, with topology.
 * Intel SDM vol. 2A CPUID and vol. 3A §9.9 (topology, APIC ids); AMD APM vol. 3 appendix E;
 * Linux Documentation/virt/kvm/api.rst (KVM_GET_SUPPORTED_CPUID) and kvm/x86/cpuid.rst.
 *
 * Everything here runs on the control thread, before the vCPUs do. The template is one allocation,
 * owned by the caller of cpuid_create(); it is never written again.
 *
 * What KVM leaves to its user, and is done here: the hypervisor bit, the TSC-deadline bit (KVM says
 * it by a capability instead), leaves that describe the host's own topology, and leaves of things
 * that vireo gives no guest (SGX, Intel PT, SEV).
 *
 *	APIC id:   | socket | core | thread |    each field a whole number of bits
 *	                     core_bits thread_bits
 *
 * Bits that KVM keeps up to date itself as the guest runs (OSXSAVE, OSPKE, APIC, the size of the
 * XSAVE area) are left alone.
 */
#include "kvm/cpuid.h"

#include <cpuid.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/ioctl.h>

#include "kvm/cpuid_internal.h"
#include "kvm/internal.h"

#define CPUID_APIC_ID_MAX 254 /* an xAPIC id has 8 bits and 255 is broadcast */

/* ---- the table ---- */

struct kvm_cpuid_entry2 *cpuid_find(struct cpuid_table *table, uint32_t leaf, uint32_t subleaf)
{
	for (unsigned int i = 0; i < table->n; i++) {
		struct kvm_cpuid_entry2 *e = &table->entry[i];

		if (e->function != leaf)
			continue;
		if (!(e->flags & KVM_CPUID_FLAG_SIGNIFCANT_INDEX) || e->index == subleaf)
			return e;
	}
	return NULL;
}

struct kvm_cpuid_entry2 *cpuid_get(struct cpuid_table *table, uint32_t leaf, uint32_t subleaf,
				   bool indexed)
{
	struct kvm_cpuid_entry2 *e = cpuid_find(table, leaf, subleaf);

	if (e || table->n == CPUID_ENTRIES_MAX)
		return e;
	e = &table->entry[table->n++];
	*e = (struct kvm_cpuid_entry2){
		.function = leaf,
		.index = indexed ? subleaf : 0,
		.flags = indexed ? KVM_CPUID_FLAG_SIGNIFCANT_INDEX : 0,
	};
	return e;
}

void cpuid_drop(struct cpuid_table *table, uint32_t leaf)
{
	unsigned int kept = 0;

	for (unsigned int i = 0; i < table->n; i++)
		if (table->entry[i].function != leaf)
			table->entry[kept++] = table->entry[i];
	table->n = kept;
}

uint32_t *cpuid_reg(struct kvm_cpuid_entry2 *entry, enum cpuid_reg reg)
{
	switch (reg) {
	case CPUID_EAX:
		return &entry->eax;
	case CPUID_EBX:
		return &entry->ebx;
	case CPUID_ECX:
		return &entry->ecx;
	default:
		return &entry->edx;
	}
}

bool cpuid_test(struct cpuid_table *table, uint32_t leaf, uint32_t subleaf, enum cpuid_reg reg,
		unsigned int bit)
{
	struct kvm_cpuid_entry2 *e = cpuid_find(table, leaf, subleaf);

	return e && *cpuid_reg(e, reg) >> bit & 1;
}

bool cpuid_is_amd(struct cpuid_table *table)
{
	struct kvm_cpuid_entry2 *e = cpuid_find(table, 0, 0);
	char vendor[12];

	if (!e)
		return false;
	memcpy(vendor, &e->ebx, 4);
	memcpy(vendor + 4, &e->edx, 4);
	memcpy(vendor + 8, &e->ecx, 4);
	return !memcmp(vendor, "AuthenticAMD", 12) || !memcmp(vendor, "HygonGenuine", 12);
}

/* ---- the filter ---- */

static void clear_bits(struct cpuid_table *table, uint32_t leaf, uint32_t subleaf,
		       enum cpuid_reg reg, uint32_t mask)
{
	struct kvm_cpuid_entry2 *e = cpuid_find(table, leaf, subleaf);

	if (e)
		*cpuid_reg(e, reg) &= ~mask;
}

/* Leaves that would speak of the host's own topology or of what no guest of vireo's gets. Topology
 * comes back in set_topology(). */
static void filter_leaves(struct cpuid_table *table)
{
	static const uint32_t dropped[] = {
		0x0b,	    0x1f,	/* extended topology */
		0x12,	    0x14,	/* SGX, Intel PT */
		0x8000001e, 0x80000026, /* AMD's topology */
		0x8000001f,		/* SEV */
	};
	unsigned int kept = 0;

	for (size_t i = 0; i < sizeof(dropped) / sizeof(dropped[0]); i++)
		cpuid_drop(table, dropped[i]);
	clear_bits(table, 7, 0, CPUID_EBX, 1u << 2 | 1u << 25); /* SGX, Intel PT */
	clear_bits(table, 7, 0, CPUID_ECX, 1u << 30);		/* SGX launch control */
	/* KVM makes this MSR up on every host; AMD's processors have none. */
	if (cpuid_is_amd(table))
		clear_bits(table, 7, 0, CPUID_EDX, 1u << 29); /* ARCH_CAPABILITIES */

	/* Entries of zeros say no more than their absence. */
	for (unsigned int i = 0; i < table->n; i++) {
		const struct kvm_cpuid_entry2 *e = &table->entry[i];

		if (e->eax | e->ebx | e->ecx | e->edx)
			table->entry[kept++] = *e;
	}
	table->n = kept;
}

/* The brand string, leaves 0x80000002-4: some KVMs leave it blank; the guest is told what it runs
 * on. */
static void set_brand(struct cpuid_table *table)
{
	for (uint32_t leaf = 0x80000002; leaf <= 0x80000004; leaf++) {
		struct kvm_cpuid_entry2 *e = cpuid_get(table, leaf, 0, false);

		if (e && !(e->eax | e->ebx | e->ecx | e->edx))
			__get_cpuid(leaf, &e->eax, &e->ebx, &e->ecx, &e->edx);
	}
}

/* ---- topology ---- */

static unsigned int bits_for(unsigned int count)
{
	unsigned int bits = 0;

	while (bits < 31 && 1u << bits < count)
		bits++;
	return bits;
}

/* Cache sharing, Intel leaf 4 and AMD leaf 0x8000001d: EAX[4:0] type (0 = no more), EAX[7:5] level,
 * EAX[25:14] ids that share it - 1; Intel alone has EAX[31:26] core ids in the package - 1. */
static void set_caches(struct cpuid *cpuid, uint32_t leaf, bool amd)
{
	unsigned int per_core = cpuid->topology.threads;
	unsigned int per_socket = per_core * cpuid->topology.cores;
	unsigned int cores = 1u << cpuid->core_bits;

	if (!amd) { /* Intel counts addressable ids, AMD processors */
		per_core = 1u << cpuid->thread_bits;
		per_socket = 1u << (cpuid->core_bits + cpuid->thread_bits);
	}
	for (uint32_t i = 0; i < 32; i++) {
		struct kvm_cpuid_entry2 *e = cpuid_find(&cpuid->table, leaf, i);
		unsigned int share;

		if (!e || !(e->eax & 0x1f))
			return;
		share = (e->eax >> 5 & 7) >= 3 ? per_socket : per_core;
		e->eax &= 0x3fff;
		e->eax |= ((share - 1) & 0xfff) << 14;
		if (!amd)
			e->eax |= ((cores > 64 ? 64 : cores) - 1) << 26;
	}
}

/* Leaves 0xb and 0x1f: a subleaf per level. EAX[4:0] = bits to shift an id right for the next
 * level, EBX[15:0] = processors of this level, ECX[15:8] = what level, EDX = the id (per vCPU). */
static int set_extended(struct cpuid *cpuid, uint32_t leaf)
{
	const struct cpu_topology *t = &cpuid->topology;
	struct kvm_cpuid_entry2 *thread = cpuid_get(&cpuid->table, leaf, 0, true);
	struct kvm_cpuid_entry2 *core = cpuid_get(&cpuid->table, leaf, 1, true);

	if (!thread || !core)
		return -E2BIG;
	thread->eax = cpuid->thread_bits;
	thread->ebx = t->threads;
	thread->ecx = 1 << 8 | 0;
	core->eax = cpuid->thread_bits + cpuid->core_bits;
	core->ebx = t->threads * t->cores;
	core->ecx = 2 << 8 | 1;
	return 0;
}

static int set_topology_amd(struct cpuid *cpuid, unsigned int per_socket)
{
	struct kvm_cpuid_entry2 *ext = cpuid_find(&cpuid->table, 0x80000001, 0);
	struct kvm_cpuid_entry2 *size = cpuid_find(&cpuid->table, 0x80000008, 0);
	struct kvm_cpuid_entry2 *e;

	if (size) { /* ECX[7:0] processors - 1, ECX[15:12] width of an id within the package */
		size->ecx &= ~0xf0ffu;
		size->ecx |= ((per_socket > 256 ? 256 : per_socket) - 1) & 0xff;
		size->ecx |= (cpuid->core_bits + cpuid->thread_bits) << 12;
	}
	if (!ext)
		return 0;
	ext->ecx &= ~(1u << 1);
	if (per_socket > 1)
		ext->ecx |= 1u << 1; /* CmpLegacy */
	if (!(ext->ecx & 1u << 22))
		return 0; /* no TopologyExtensions */
	set_caches(cpuid, 0x8000001d, true);
	e = cpuid_get(&cpuid->table, 0x8000001e, 0, false);
	if (!e)
		return -E2BIG;
	e->ebx = (cpuid->topology.threads - 1) << 8; /* the rest is per vCPU */
	return 0;
}

/* Raises a range's highest leaf (EAX of its first) to what is there now, and lowers it likewise
 * where `exact`. */
static void set_highest(struct cpuid_table *table, uint32_t first, uint32_t at_least, bool exact)
{
	struct kvm_cpuid_entry2 *e = cpuid_find(table, first, 0);
	uint32_t highest = at_least;

	if (!e)
		return;
	for (unsigned int i = 0; i < table->n; i++) {
		uint32_t leaf = table->entry[i].function;

		if (leaf >> 16 == first >> 16 && leaf > highest)
			highest = leaf;
	}
	if (exact || e->eax < highest)
		e->eax = highest;
}

static int set_topology(struct cpuid *cpuid)
{
	const struct cpu_topology *t = &cpuid->topology;
	unsigned int per_socket = t->cores * t->threads;
	struct kvm_cpuid_entry2 *base = cpuid_find(&cpuid->table, 0, 0);
	struct kvm_cpuid_entry2 *e = cpuid_find(&cpuid->table, 1, 0);
	bool amd = cpuid_is_amd(&cpuid->table);
	int r;

	if (!base || !e)
		return -EINVAL;
	e->ebx &= 0x0000ffff;
	e->ebx |= (per_socket > 255 ? 255 : per_socket) << 16;
	e->edx &= ~(1u << 28);
	if (per_socket > 1)
		e->edx |= 1u << 28; /* HTT: EBX[23:16] is valid */

	r = set_extended(cpuid, 0x0b);
	if (!r && base->eax >= 0x1f)
		r = set_extended(cpuid, 0x1f);
	if (!r && amd)
		r = set_topology_amd(cpuid, per_socket);
	if (!r && !amd)
		set_caches(cpuid, 4, false);
	set_highest(&cpuid->table, 0, 0x0b, false);
	set_highest(&cpuid->table, 0x80000000, 0x80000000, true);
	return r;
}

uint32_t cpuid_apic_id(const struct cpuid *cpuid, unsigned int index)
{
	unsigned int threads = cpuid->topology.threads, cores = cpuid->topology.cores;
	uint32_t thread = index % threads;
	uint32_t core = index / threads % cores;
	uint32_t socket = index / threads / cores;

	return (socket << cpuid->core_bits | core) << cpuid->thread_bits | thread;
}

static int check_topology(struct cpuid *cpuid, const struct cpu_topology *t, struct err *err)
{
	if (!t->cpus || !t->sockets || !t->cores || !t->threads ||
	    (uint64_t)t->sockets * t->cores * t->threads < t->cpus)
		return err_set(err, -EINVAL,
			       "-smp %u,sockets=%u,cores=%u,threads=%u: "
			       "sockets * cores * threads must be at least the number of CPUs",
			       t->cpus, t->sockets, t->cores, t->threads);
	cpuid->topology = *t;
	cpuid->thread_bits = bits_for(t->threads);
	cpuid->core_bits = bits_for(t->cores);
	if (cpuid->thread_bits + cpuid->core_bits > 8 ||
	    cpuid_apic_id(cpuid, t->cpus - 1) > CPUID_APIC_ID_MAX)
		return err_set(err, -EINVAL,
			       "-smp %u,sockets=%u,cores=%u,threads=%u: the last APIC id would be "
			       "above %u (fewer CPUs, or cores and threads that are powers of two)",
			       t->cpus, t->sockets, t->cores, t->threads, CPUID_APIC_ID_MAX);
	return 0;
}

/* ---- putting it together ---- */

int cpuid_build(struct cpuid *cpuid, const struct cpuid_table *supported, bool tsc_deadline,
		const char *model, const struct cpu_topology *topology, struct err *err)
{
	const char *words;
	size_t len;
	struct kvm_cpuid_entry2 *e;
	int r;

	if (!model)
		model = "host";
	len = strcspn(model, ",");
	words = model[len] ? model + len + 1 : "";
	if (!((len == 4 && !strncasecmp(model, "host", 4)) ||
	      (len == 3 && !strncasecmp(model, "max", 3))))
		return err_set(err, -EINVAL,
			       "-cpu %s: no CPU model '%.*s' (host and max, which give the host's "
			       "processor, can be had; -cpu host,-feature takes a feature away)",
			       model, (int)len, model);
	r = check_topology(cpuid, topology, err);
	if (r)
		return r;

	cpuid->table = *supported;
	e = cpuid_find(&cpuid->table, 1, 0);
	if (!e)
		return err_set(err, -ENOTSUP, "KVM_GET_SUPPORTED_CPUID gives no leaf 1");
	e->ecx |= 1u << 31; /* hypervisor */
	e->ecx &= ~(1u << 24);
	if (tsc_deadline)
		e->ecx |= 1u << 24;
	filter_leaves(&cpuid->table);
	set_brand(&cpuid->table);
	r = cpuid_apply_words(&cpuid->table, model, words, err);
	if (r)
		return r;
	cpuid_make_consistent(&cpuid->table);
	r = set_topology(cpuid);
	if (r)
		return err_set(err, r, "-cpu %s: more than %u CPUID entries", model,
			       CPUID_ENTRIES_MAX);
	return 0;
}

void cpuid_for_vcpu(const struct cpuid *cpuid, unsigned int index, struct cpuid_table *out)
{
	uint32_t id = cpuid_apic_id(cpuid, index);
	uint32_t core = index / cpuid->topology.threads % cpuid->topology.cores;
	uint32_t socket = index / cpuid->topology.threads / cpuid->topology.cores;

	*out = cpuid->table;
	for (unsigned int i = 0; i < out->n; i++) {
		struct kvm_cpuid_entry2 *e = &out->entry[i];

		switch (e->function) {
		case 1:
			e->ebx = (e->ebx & 0x00ffffff) | id << 24;
			break;
		case 0x0b:
		case 0x1f:
			e->edx = id;
			break;
		case 0x8000001e: /* EBX[7:0] core within the package, ECX[7:0] node */
			e->eax = id;
			e->ebx = (e->ebx & 0xff00) | (core & 0xff);
			e->ecx = socket & 0xff;
			break;
		}
	}
}

/* KVM_GET_SUPPORTED_CPUID into table. */
static int read_supported(int kvm_fd, struct cpuid_table *table, struct err *err)
{
	struct kvm_cpuid2 *buf = calloc(1, sizeof(*buf) + sizeof(table->entry));
	int r = 0;

	if (!buf)
		return err_set(err, -ENOMEM, "no memory for the CPUID table");
	buf->nent = CPUID_ENTRIES_MAX;
	if (ioctl(kvm_fd, KVM_GET_SUPPORTED_CPUID, buf)) {
		r = err_errno(err, "KVM_GET_SUPPORTED_CPUID");
	} else {
		table->n = buf->nent;
		memcpy(table->entry, buf->entries, buf->nent * sizeof(table->entry[0]));
	}
	free(buf);
	return r;
}

int cpuid_create(struct cpuid **cpuid, struct vm *vm, const char *model,
		 const struct cpu_topology *topology, struct err *err)
{
	struct cpuid_table *supported = calloc(1, sizeof(*supported));
	struct cpuid *c = calloc(1, sizeof(*c));
	int r;

	*cpuid = NULL;
	if (!c || !supported)
		r = err_set(err, -ENOMEM, "no memory for the CPUID table");
	else
		r = read_supported(vm->kvm_fd, supported, err);
	if (!r) {
		int deadline = ioctl(vm->kvm_fd, KVM_CHECK_EXTENSION, KVM_CAP_TSC_DEADLINE_TIMER);

		r = cpuid_build(c, supported, deadline > 0, model, topology, err);
	}
	free(supported);
	if (r)
		free(c);
	else
		*cpuid = c;
	return r;
}

void cpuid_destroy(struct cpuid *cpuid)
{
	free(cpuid);
}

int cpuid_install(const struct cpuid *cpuid, int vcpu_fd, unsigned int index)
{
	struct cpuid_table *table = malloc(sizeof(*table));
	struct kvm_cpuid2 *buf = calloc(1, sizeof(*buf) + sizeof(table->entry));
	int r = -ENOMEM;

	if (table && buf) {
		cpuid_for_vcpu(cpuid, index, table);
		buf->nent = table->n;
		memcpy(buf->entries, table->entry, table->n * sizeof(table->entry[0]));
		r = ioctl(vcpu_fd, KVM_SET_CPUID2, buf) ? -errno : 0;
	}
	free(table);
	free(buf);
	return r;
}
