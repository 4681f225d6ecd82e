/*
 * Guest accesses that don't exit: coalesced writes and read-only memory slots (Linux
 * Documentation/virt/kvm/api.rst, KVM_REGISTER_COALESCED_MMIO, KVM_SET_USER_MEMORY_REGION).
 *
 * The kernel has one ring of coalesced writes per VM, in a page that is part of every vCPU's mapping,
 * at the page number that KVM_CHECK_EXTENSION gives. It is mapped here by itself, so that it can
 * be read until the VM ends, whatever becomes of the vCPUs.
 *
 *	kernel: entry[last] = write; barrier; last = last + 1	(under its own lock; exits when full)
 *	vireo:  look at last; entry[first]; carry it out; first = first + 1
 *
 * Both capabilities are optional. Zones are for whoever takes what is in the ring (the bus); that is
 * one thread at a time. Shadows have a lock of their own here.
 */
#include <errno.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>

#include "kvm/internal.h"

#define RING_BYTES 4096
#define PAGE_MASK  UINT64_C(4095)

/* KVM_COALESCED_MMIO_MAX of <linux/kvm.h>, which has no PAGE_SIZE outside the kernel. */
#define RING_ENTRIES \
	((RING_BYTES - sizeof(struct kvm_coalesced_mmio_ring)) / sizeof(struct kvm_coalesced_mmio))
_Static_assert(RING_ENTRIES <= VM_POSTED_MAX, "the ring is larger than promised");

void vm_ring_attach(struct vm *vm, int vcpu_fd)
{
	int page = ioctl(vm->vm_fd, KVM_CHECK_EXTENSION, KVM_CAP_COALESCED_MMIO);
	void *ring;

	if (page <= 0 || vm->ring)
		return;
	ring = mmap(NULL, RING_BYTES, PROT_READ | PROT_WRITE, MAP_SHARED, vcpu_fd,
		    (off_t)page * RING_BYTES);
	if (ring != MAP_FAILED)
		__atomic_store_n(&vm->ring, ring, __ATOMIC_RELEASE);
}

void vm_ring_detach(struct vm *vm)
{
	if (vm->ring)
		munmap(vm->ring, RING_BYTES);
	vm->ring = NULL;
}

static struct kvm_coalesced_mmio_ring *ring_of(const struct vm *vm)
{
	return __atomic_load_n(&vm->ring, __ATOMIC_ACQUIRE);
}

static int zone(struct vm *vm, unsigned long request, uint64_t address, uint32_t size, bool pio)
{
	struct kvm_coalesced_mmio_zone z = {.addr = address, .size = size, .pio = pio};

	if (!ring_of(vm) ||
	    (pio && ioctl(vm->vm_fd, KVM_CHECK_EXTENSION, KVM_CAP_COALESCED_PIO) <= 0))
		return -ENOTSUP;
	return ioctl(vm->vm_fd, request, &z) < 0 ? -errno : 0;
}

int vm_zone_add(struct vm *vm, uint64_t address, uint32_t size, bool pio)
{
	return zone(vm, KVM_REGISTER_COALESCED_MMIO, address, size, pio);
}

int vm_zone_del(struct vm *vm, uint64_t address, uint32_t size, bool pio)
{
	return zone(vm, KVM_UNREGISTER_COALESCED_MMIO, address, size, pio);
}

unsigned int vm_posted_waiting(const struct vm *vm)
{
	const struct kvm_coalesced_mmio_ring *ring = ring_of(vm);
	uint32_t first, last;

	if (!ring)
		return 0;
	/* last comes first: what was in the ring then has been carried out if first has come as far.
	 * The other way round, a ring that went all the way round in between would look empty. first
	 * pairs with vm_posted_done(). */
	last = __atomic_load_n(&ring->last, __ATOMIC_ACQUIRE);
	first = __atomic_load_n(&ring->first, __ATOMIC_ACQUIRE);
	return (last + RING_ENTRIES - first) % RING_ENTRIES;
}

bool vm_posted_peek(struct vm *vm, struct vm_posted_write *w)
{
	struct kvm_coalesced_mmio_ring *ring = ring_of(vm);
	const struct kvm_coalesced_mmio *e;
	uint32_t first;

	if (!ring)
		return false;
	first = __atomic_load_n(&ring->first, __ATOMIC_RELAXED);
	/* Pairs with the kernel's smp_wmb() between the entry and last. */
	if (first == __atomic_load_n(&ring->last, __ATOMIC_ACQUIRE))
		return false;
	e = &ring->coalesced_mmio[first % RING_ENTRIES];
	*w = (struct vm_posted_write){
		.address = e->phys_addr,
		.pio = e->pio == 1,
		.size = e->len < sizeof(e->data) ? (uint8_t)e->len : sizeof(e->data),
	};
	memcpy(&w->value, e->data, w->size);
	return true;
}

void vm_posted_done(struct vm *vm)
{
	struct kvm_coalesced_mmio_ring *ring = ring_of(vm);
	uint32_t first = __atomic_load_n(&ring->first, __ATOMIC_RELAXED);

	__atomic_store_n(&ring->first, (first + 1) % RING_ENTRIES, __ATOMIC_RELEASE);
}

/* ---- read-only memory ---- */

static int slot_set(struct vm *vm, unsigned int i, uint64_t gpa, const void *host, uint64_t size)
{
	struct kvm_userspace_memory_region slot = {
		.slot = VM_SHADOW_SLOT + i,
		.flags = KVM_MEM_READONLY,
		.guest_phys_addr = gpa,
		.memory_size = size,
		.userspace_addr = (uintptr_t)host,
	};

	return ioctl(vm->vm_fd, KVM_SET_USER_MEMORY_REGION, &slot) < 0 ? -errno : 0;
}

int vm_shadow_add(struct vm *vm, uint64_t gpa, const void *host, uint64_t size)
{
	unsigned int i;
	int rc = -ENOSPC;

	if (!size || (gpa | (uintptr_t)host | size) & PAGE_MASK)
		return -EINVAL;
	if (ioctl(vm->vm_fd, KVM_CHECK_EXTENSION, KVM_CAP_READONLY_MEM) <= 0)
		return -ENOTSUP;
	pthread_mutex_lock(&vm->shadow_lock);
	for (i = 0; i < VM_SHADOWS_MAX && vm->shadow[i].size; i++)
		;
	if (i < VM_SHADOWS_MAX)
		rc = slot_set(vm, i, gpa, host, size);
	if (rc == 0)
		vm->shadow[i] = (struct vm_shadow){gpa, size};
	pthread_mutex_unlock(&vm->shadow_lock);
	return rc;
}

int vm_shadow_del(struct vm *vm, uint64_t gpa)
{
	int rc = -ENOENT;

	pthread_mutex_lock(&vm->shadow_lock);
	for (unsigned int i = 0; i < VM_SHADOWS_MAX && rc; i++) {
		if (!vm->shadow[i].size || vm->shadow[i].gpa != gpa)
			continue;
		rc = slot_set(vm, i, gpa, NULL, 0);
		if (rc)
			break;
		vm->shadow[i].size = 0;
	}
	pthread_mutex_unlock(&vm->shadow_lock);
	return rc;
}
