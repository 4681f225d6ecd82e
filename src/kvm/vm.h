/*
 * The VM in the kernel: memory slots, interrupt controller, interrupt routes, irqfd, ioeventfd.
 *
 * src/kvm is the only place that includes <linux/kvm.h>; nothing of it shows in these headers.
 * All calls are thread-safe: the kernel serialises them, and the route table has a lock of its own.
 */
#ifndef VIREO_KVM_VM_H
#define VIREO_KVM_VM_H

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/err.h"
#include "kvm/mem.h"

#define VM_GSI_PINS 24 /* IOAPIC inputs; GSIs from here on are MSI routes */

struct vm;

/* Opens /dev/kvm, checks the API version (12) and what vireo can't do without, makes a VM with
 * in-kernel PIC, IOAPIC, LAPICs and PIT. The error says what to do (load kvm_intel/kvm_amd, join
 * group kvm ...). */
int vm_create(struct vm **vm, struct err *err);
void vm_destroy(struct vm *vm);

/* Gives the guest the ranges of mem. Before the first vCPU runs. */
int vm_set_memory(struct vm *vm, const struct mem *mem, struct err *err);

/* ---- interrupt lines ---- */
/* Sets the level of an IOAPIC/PIC input, gsi < VM_GSI_PINS. */
void vm_irq_set(struct vm *vm, unsigned int gsi, bool level);

/* ---- MSI ---- */
struct vm_msi {
	uint64_t address; /* as the guest wrote it */
	uint32_t data;
};

/* A route: one GSI that stands for a message, so that an irqfd can send it. */
int vm_msi_route_alloc(struct vm *vm); /* GSI, or -ENOSPC: about 4000 are all taken */
/* 0; -EINVAL: the GSI isn't allocated, or KVM refuses the message; -ENOMEM. After an error the GSI
 * stands for what it stood for before. */
int vm_msi_route_set(struct vm *vm, int gsi, struct vm_msi msi);
void vm_msi_route_free(struct vm *vm, int gsi);

/* Ties an eventfd to a GSI: a write to fd injects it, with no exit of any thread to vireo.
 * Attaching an fd that is already readable injects at once. */
int vm_irqfd_attach(struct vm *vm, int fd, int gsi);
int vm_irqfd_detach(struct vm *vm, int fd, int gsi);

/* ---- doorbells ---- */
struct vm_doorbell {
	uint64_t address; /* guest-physical, or port */
	bool pio;
	uint8_t size; /* 1, 2, 4, 8; 0 = any size (MMIO; the value isn't looked at: the fastest) */
	bool match;   /* only writes of this value */
	uint64_t value;
	int fd; /* eventfd that is signalled in place of an exit */
};

int vm_doorbell_add(struct vm *vm, const struct vm_doorbell *bell);
int vm_doorbell_del(struct vm *vm, const struct vm_doorbell *bell);

/* ---- state of the in-kernel devices (PIC, IOAPIC, PIT): as made, put back at reset ---- */
int vm_reset(struct vm *vm);

#endif
