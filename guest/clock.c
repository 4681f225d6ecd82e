/*
 * See clock.h. Where the TSC's frequency is to be had, best first: kvmclock (Linux's
 * Documentation/virt/kvm/x86/msr.rst), the timing leaf 0x40000010 of hypervisors, CPUID leaf
 * 0x15, and last a measurement against channel 2 of the i8254.
 */
#include "clock.h"

#include "gate.h"
#include "lib.h"

#define MSR_KVM_SYSTEM_TIME_NEW	 0x4b564d01
#define KVM_CPUID_BASE		 0x40000000
#define KVM_FEATURE_CLOCKSOURCE2 (1 << 3)
#define HYPERVISOR_TIMING_LEAF	 0x40000010
#define CPUID_TSC_LEAF		 0x15

#define PIT_HZ	      1193182
#define PIT_CHANNEL_2 0x42
#define PIT_MODE      0x43
#define PORT_B	      0x61
#define PORT_B_GATE_2 0x01
#define PORT_B_OUT_2  0x20
#define PIT_COUNT     59659 /* 50 ms */
#define PIT_MAX_POLLS 1000000

struct pvclock_vcpu_time_info {
	uint32_t version;
	uint32_t pad0;
	uint64_t tsc_timestamp;
	uint64_t system_time;
	uint32_t tsc_to_system_mul;
	int8_t tsc_shift;
	uint8_t flags;
	uint8_t pad[2];
};

static volatile struct pvclock_vcpu_time_info pvclock __attribute__((aligned(64)));
static uint64_t hz;
static uint64_t ns_per_tick; /* 32.32 fixed point */
static const char *source;

uint64_t clock_hz(void)
{
	return hz;
}

const char *clock_source(void)
{
	return source;
}

uint64_t clock_ticks_to_ns(uint64_t ticks)
{
	return (unsigned __int128)ticks * ns_per_tick >> 32;
}

static uint64_t hz_from_kvmclock(void)
{
	uint32_t regs[4], mul;
	uint64_t f;
	int shift;

	gate_cpuid(KVM_CPUID_BASE, 0, regs);
	if (regs[1] != 0x4b4d564b || regs[2] != 0x564b4d56) /* "KVMKVMKVM" */
		return 0;
	gate_cpuid(KVM_CPUID_BASE + 1, 0, regs);
	if (!(regs[0] & KVM_FEATURE_CLOCKSOURCE2))
		return 0;
	gate_wrmsr(MSR_KVM_SYSTEM_TIME_NEW, (uintptr_t)&pvclock | 1);
	mul = pvclock.tsc_to_system_mul;
	shift = pvclock.tsc_shift;
	gate_wrmsr(MSR_KVM_SYSTEM_TIME_NEW, 0);
	if (!mul || shift < -31 || shift > 31)
		return 0;
	/* ns = (ticks << shift) * mul >> 32 */
	f = (NS_PER_S << 32) / mul;
	return shift < 0 ? f << -shift : f >> shift;
}

static uint64_t hz_from_timing_leaf(void)
{
	uint32_t regs[4];

	gate_cpuid(KVM_CPUID_BASE, 0, regs);
	if (regs[0] < HYPERVISOR_TIMING_LEAF || regs[0] > KVM_CPUID_BASE + 0xff)
		return 0;
	gate_cpuid(HYPERVISOR_TIMING_LEAF, 0, regs);
	return regs[0] * 1000ull;
}

static uint64_t hz_from_cpuid(void)
{
	uint32_t regs[4];

	gate_cpuid(0, 0, regs);
	if (regs[0] < CPUID_TSC_LEAF)
		return 0;
	gate_cpuid(CPUID_TSC_LEAF, 0, regs);
	return regs[0] ? (uint64_t)regs[2] * regs[1] / regs[0] : 0;
}

static uint64_t hz_from_pit(void)
{
	uint32_t polls = 0;
	uint64_t start;

	gate_out8(PORT_B, PORT_B_GATE_2);
	gate_out8(PIT_MODE, 0xb0); /* channel 2, both bytes, mode 0: OUT rises at the end */
	gate_out8(PIT_CHANNEL_2, PIT_COUNT & 0xff);
	gate_out8(PIT_CHANNEL_2, PIT_COUNT >> 8);
	start = clock_ticks();
	while (!(gate_in8(PORT_B) & PORT_B_OUT_2))
		if (++polls == PIT_MAX_POLLS)
			return 0;
	return (clock_ticks() - start) * PIT_HZ / PIT_COUNT;
}

void clock_init(void)
{
	static const struct {
		const char *name;
		uint64_t (*hz)(void);
	} sources[] = {
		{"kvmclock", hz_from_kvmclock},
		{"timing-leaf", hz_from_timing_leaf},
		{"cpuid", hz_from_cpuid},
		{"pit", hz_from_pit},
	};

	for (uint32_t i = 0; i < ARRAY_SIZE(sources) && !hz; i++) {
		hz = sources[i].hz();
		source = sources[i].name;
	}
	if (!hz) {
		hz = NS_PER_S;
		source = "unknown";
	}
	ns_per_tick = (NS_PER_S << 32) / hz;
}
