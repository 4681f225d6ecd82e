/*
 * The VM in the kernel: memory slots, interrupt controller, interrupt routes, irqfd, ioeventfd,
 * coalesced writes.
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

/* ---- accesses that don't exit ---- */

/* A zone: writes to [address, address + size) are put into a ring that vireo shares with the kernel
 * (api.rst, KVM_REGISTER_COALESCED_MMIO), and the guest goes on at once. Nobody is told. One that
 * isn't wholly in a zone, or finds the ring full, exits. One ring per VM holds the writes of all
 * vCPUs, in order; which processor made one isn't said. Zones must not overlap.
 * 0; -ENOTSUP: not on this host, or there is no vCPU yet; another negative errno.
 * Linux 6.18 and later put a zone in within microseconds; taking one away then takes until the
 * grace period of the last one put in is over: 3-8 ms (250 Hz) within 10 ms, else 30 us. */
int vm_zone_add(struct vm *vm, uint64_t address, uint32_t size, bool pio);
/* When it returns, no write goes into the ring any more that wasn't there already. */
int vm_zone_del(struct vm *vm, uint64_t address, uint32_t size, bool pio);

struct vm_posted_write {
	uint64_t address; /* guest-physical, or port */
	uint64_t value;	  /* little-endian number of `size` bytes */
	bool pio;
	uint8_t size; /* 1 to 8 */
};

#define VM_POSTED_MAX 170 /* the ring never holds more */

/* How many of the writes made up to now hasn't vm_posted_done() been called for? 0 is exact; any other
 * figure may be too large while another thread takes them. Two loads, any thread. */
unsigned int vm_posted_waiting(const struct vm *vm);
/* The oldest of them: true and *w is filled. It stays in the ring until vm_posted_done(), so that
 * who finds the ring empty knows that all before has been carried out. One thread at a time. */
bool vm_posted_peek(struct vm *vm, struct vm_posted_write *w);
void vm_posted_done(struct vm *vm);

/* Shows `size` bytes at host (both page-aligned) to the guest at gpa, read-only: loads are plain
 * memory accesses, stores exit (or go where zones and doorbells lead them). 0; -ENOTSUP; -EEXIST
 * where there is memory already; -ENOSPC; -EINVAL. */
int vm_shadow_add(struct vm *vm, uint64_t gpa, const void *host, uint64_t size);
/* Taking one away costs a guest dearly on some hosts (KVM may drop all its page tables). */
int vm_shadow_del(struct vm *vm, uint64_t gpa);

/* ---- state of the in-kernel devices (PIC, IOAPIC, PIT): as made, put back at reset ---- */
int vm_reset(struct vm *vm);

#endif
