/*
 * Inside src/kvm: what its files share, and nobody else sees.
 */
#ifndef VIREO_KVM_INTERNAL_H
#define VIREO_KVM_INTERNAL_H

#include <linux/kvm.h>
#include <pthread.h>

#include "kvm/vm.h"

/* Entries of the route table: KVM_MAX_IRQ_ROUTES of x86 (arch/x86/include/asm/kvm_host.h). The pins
 * take 39 of them for 24 GSIs, as ISA interrupts go to the PICs and to the IOAPIC. */
#define VM_ROUTES_MAX 4096
#define VM_GSIS_MAX   (VM_ROUTES_MAX - 39 + VM_GSI_PINS)

/* Memory slots: RAM's ranges come first, then shadows. 32 slots is what the oldest KVMs have. */
#define VM_SHADOW_SLOT MEM_RANGES_MAX
#define VM_SHADOWS_MAX (32 - VM_SHADOW_SLOT)

struct vm_shadow {
	uint64_t gpa, size; /* size 0: free */
};

struct vm {
	int kvm_fd, vm_fd;

	/* Interrupt routes: the kernel takes the table as a whole. */
	pthread_mutex_t route_lock;
	struct kvm_irq_routing_entry *routes; /* VM_ROUTES_MAX */
	unsigned int n_routes;
	uint8_t gsi_used[VM_ROUTES_MAX / 8]; /* VM_GSIS_MAX bits */

	/* vm_mmio.c's */
	struct kvm_coalesced_mmio_ring *ring; /* atomic; NULL: none */
	pthread_mutex_t shadow_lock;
	struct vm_shadow shadow[VM_SHADOWS_MAX];

	/* The in-kernel devices as they were made. */
	struct kvm_irqchip chip[3]; /* PIC master, slave, IOAPIC */
	struct kvm_pit_state2 pit;
};

/* What vireo can't do without; all are in Linux since 4.13. Ends with name NULL. */
struct kvm_need {
	int cap;
	const char *name;
};
extern const struct kvm_need kvm_needs[];

/* vm_mmio.c: the ring of coalesced writes can be had through any vCPU's file descriptor. The first
 * one does; where there is none to be had, there are no zones. */
void vm_ring_attach(struct vm *vm, int vcpu_fd);
void vm_ring_detach(struct vm *vm);

/* Opens /dev/kvm and checks the API version; the fd, or a negative errno with the reason in err. */
int kvm_open(struct err *err);

#endif
