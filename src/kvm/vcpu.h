/*
 * A virtual processor: its thread, its run loop, its registers at start.
 *
 * The thread runs KVM_RUN until it is told to stop; exits go to the ops below, on the vCPU's
 * thread. Pausing and stopping are requests from the control thread that wait for the vCPU to be
 * out of the guest (a signal, and kvm_run.immediate_exit so that none is lost).
 */
#ifndef VIREO_KVM_VCPU_H
#define VIREO_KVM_VCPU_H

#include <stdbool.h>
#include <stdint.h>

#include "base/counter.h"
#include "base/err.h"
#include "kvm/cpuid.h"

struct vm;
struct vcpu;

enum vcpu_stop {
	VCPU_STOP_RESET,    /* triple fault, or KVM_EXIT_SHUTDOWN */
	VCPU_STOP_INTERNAL, /* KVM can't go on (emulation failure ...): log says what */
};

/* What a vCPU asks of its machine. All run on the vCPU's thread. value: little-endian number of
 * `size` bytes. */
struct vcpu_ops {
	uint64_t (*pio_read)(void *opaque, uint16_t port, unsigned int size);
	void (*pio_write)(void *opaque, uint16_t port, unsigned int size, uint64_t value);
	uint64_t (*mmio_read)(void *opaque, uint64_t addr, unsigned int size);
	void (*mmio_write)(void *opaque, uint64_t addr, unsigned int size, uint64_t value);
	/* The vCPU can't go on; it parks until it is reset, or destroyed. Must not wait for it. */
	void (*stopped)(void *opaque, unsigned int index, enum vcpu_stop why);
};

struct vcpu_counters {
	struct counter exits; /* returns from KVM_RUN */
	struct counter pio_in, pio_out, mmio_read, mmio_write;
	struct counter interrupted; /* by a signal: pause, stop */
	struct counter other;
};
extern const struct counter_desc vcpu_counter_table[];

/* Where a processor starts: the registers that a boot protocol asks for. */
enum vcpu_mode {
	VCPU_REAL16,
	VCPU_PROTECTED32,
	VCPU_LONG64
};
struct vcpu_entry {
	enum vcpu_mode mode;
	uint64_t rip, rsp, rsi, rax, rbx;
	uint64_t cr3; /* VCPU_LONG64: page tables, already in guest memory */
	/* VCPU_PROTECTED32/_LONG64: flat segments; the GDT the protocol wants is at gdt_base */
	uint64_t gdt_base;
	uint16_t gdt_limit;
	uint16_t cs, ds; /* selectors */
};

/* Makes vCPU `index` (APIC id by the topology of cpuid) and its thread, parked. */
int vcpu_create(struct vcpu **vcpu, struct vm *vm, unsigned int index, const struct cpuid *cpuid,
		const struct vcpu_ops *ops, void *opaque, struct err *err);
void vcpu_destroy(struct vcpu *vcpu); /* ends and joins the thread */

/* Control thread: let it run; make it stand still and wait until it does. Both idempotent. */
void vcpu_resume(struct vcpu *vcpu);
void vcpu_pause(struct vcpu *vcpu);
/* The first half of vcpu_pause(), so that many can be told before one is waited for. */
void vcpu_pause_request(struct vcpu *vcpu);

/* Paused only, before it goes on: tells a guest with kvmclock that it stood still, so that its
 * watchdogs don't take the gap for a lock-up. */
void vcpu_tell_paused(struct vcpu *vcpu);

/* Paused only: registers, LAPIC, MSRs as they were when it was made (power-on). */
int vcpu_reset(struct vcpu *vcpu);
/* Paused only, the first processor: registers for a kernel's entry. */
int vcpu_set_entry(struct vcpu *vcpu, const struct vcpu_entry *entry);

const struct vcpu_counters *vcpu_counters(const struct vcpu *vcpu);

#endif
