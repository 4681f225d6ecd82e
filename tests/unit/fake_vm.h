/*
 * A VM for tests that is none: implements kvm/vm.h and records what was asked of it.
 *
 * A test is built with fake_vm.c in place of the library's KVM part (list unit_tests_fake_vm in
 * meson.build). vm_create() makes one, vm_destroy() ends it and checks nothing; a test may make
 * several. All calls are thread-safe, as the real ones.
 *
 * Unlike the kernel, the fake looks at an attached eventfd only when it is asked:
 * fake_vm_messages() first takes what is in them, so a test that writes to an irqfd and then asks
 * sees the message.
 */
#ifndef VIREO_TESTS_FAKE_VM_H
#define VIREO_TESTS_FAKE_VM_H

#include "kvm/vm.h"

#define FAKE_VM_MESSAGES  256  /* kept; more are counted only */
#define FAKE_VM_ROUTES	  4096 /* MSI routes; vm_msi_route_alloc() then says -ENOSPC */
#define FAKE_VM_IRQFDS	  4096
#define FAKE_VM_DOORBELLS 512
#define FAKE_VM_ZONES	  64
#define FAKE_VM_SHADOWS	  24
#define FAKE_VM_RING	  170 /* entries; it is full with one less, as the kernel's */

/* ---- interrupt lines ---- */
bool fake_vm_level(struct vm *vm, unsigned int gsi);
/* Times that the line went from low to high since vm_create() or the last call: reads and clears.
 */
unsigned int fake_vm_edges(struct vm *vm, unsigned int gsi);

/* ---- messages: by irqfds of routes ---- */
/* How many since the last fake_vm_clear_messages(). */
unsigned int fake_vm_messages(struct vm *vm);
/* The i-th of them (i < FAKE_VM_MESSAGES). */
struct vm_msi fake_vm_message(struct vm *vm, unsigned int i);
void fake_vm_clear_messages(struct vm *vm);
unsigned int fake_vm_routes(struct vm *vm); /* allocated now */
unsigned int fake_vm_irqfds(struct vm *vm); /* attached now */
/* Makes vm_msi_route_set() refuse (-EINVAL) messages with this address, as the kernel may; 0 =
 * none. */
void fake_vm_refuse_address(struct vm *vm, uint64_t address);

/* ---- doorbells ---- */
unsigned int fake_vm_doorbells(struct vm *vm); /* registered now */
/* A guest's write as the kernel looks at it: true = a doorbell took it (its eventfd was signalled),
 * or a zone did (it is in the ring); false = it would exit. */
bool fake_vm_guest_write(struct vm *vm, bool pio, uint64_t address, unsigned int size,
			 uint64_t value);

/* ---- accesses that don't exit ---- */
/* A host that has neither (the default is that it has both). */
void fake_vm_no_zones(struct vm *vm, bool absent);
void fake_vm_no_shadows(struct vm *vm, bool absent);
unsigned int fake_vm_zones(struct vm *vm);   /* registered now */
unsigned int fake_vm_shadows(struct vm *vm); /* standing now */
unsigned int fake_vm_ring(struct vm *vm);    /* writes in the ring now */
/* A guest's read as the kernel looks at it: true = memory answered it, false = it would exit. */
bool fake_vm_guest_read(struct vm *vm, uint64_t address, unsigned int size, uint64_t *value);

#endif
