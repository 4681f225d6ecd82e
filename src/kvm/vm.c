/*
 * The VM in the kernel (Linux Documentation/virt/kvm/api.rst).
 */
#include "kvm/vm.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "kvm/internal.h"

/* The pins as KVM wires them by default: 0-15 to the PICs, 0-23 to the IOAPIC, 0 to its input 2. */
static void route_pins(struct vm *vm)
{
	for (unsigned int gsi = 0; gsi < VM_GSI_PINS; gsi++) {
		struct kvm_irq_routing_entry *e;

		if (gsi < 16) {
			e = &vm->routes[vm->n_routes++];
			e->gsi = gsi;
			e->type = KVM_IRQ_ROUTING_IRQCHIP;
			e->u.irqchip.irqchip =
				gsi < 8 ? KVM_IRQCHIP_PIC_MASTER : KVM_IRQCHIP_PIC_SLAVE;
			e->u.irqchip.pin = gsi & 7;
		}
		if (gsi != 2) { /* the cascade */
			e = &vm->routes[vm->n_routes++];
			e->gsi = gsi;
			e->type = KVM_IRQ_ROUTING_IRQCHIP;
			e->u.irqchip.irqchip = KVM_IRQCHIP_IOAPIC;
			e->u.irqchip.pin = gsi == 0 ? 2 : gsi;
		}
		vm->gsi_used[gsi / 8] |= 1 << gsi % 8;
	}
}

/* route_lock held. */
static int routes_commit(struct vm *vm)
{
	struct kvm_irq_routing *table;
	int rc = 0;

	table = calloc(1, sizeof(*table) + vm->n_routes * sizeof(table->entries[0]));
	if (!table)
		return -ENOMEM;
	table->nr = vm->n_routes;
	memcpy(table->entries, vm->routes, vm->n_routes * sizeof(table->entries[0]));
	if (ioctl(vm->vm_fd, KVM_SET_GSI_ROUTING, table) < 0)
		rc = -errno;
	free(table);
	return rc;
}

static int make_irqchip(struct vm *vm, struct err *err)
{
	struct kvm_pit_config pit = {.flags = KVM_PIT_SPEAKER_DUMMY};
	uint64_t identity_map = 0xfffbc000;
	int rc;

	/* Three pages and one that Intel's real mode needs, in the PCI hole below the BIOS. */
	if (ioctl(vm->vm_fd, KVM_SET_IDENTITY_MAP_ADDR, &identity_map) < 0 ||
	    ioctl(vm->vm_fd, KVM_SET_TSS_ADDR, 0xfffbd000) < 0)
		return err_errno(err, "/dev/kvm: KVM_SET_TSS_ADDR");
	if (ioctl(vm->vm_fd, KVM_CREATE_IRQCHIP, 0) < 0)
		return err_errno(err, "/dev/kvm: KVM_CREATE_IRQCHIP");
	if (ioctl(vm->vm_fd, KVM_CREATE_PIT2, &pit) < 0)
		return err_errno(err, "/dev/kvm: KVM_CREATE_PIT2");
	route_pins(vm);
	rc = routes_commit(vm);
	if (rc < 0)
		return err_set(err, rc, "/dev/kvm: KVM_SET_GSI_ROUTING: %s", strerror(-rc));
	for (int i = 0; i < 3; i++) {
		vm->chip[i].chip_id = i;
		if (ioctl(vm->vm_fd, KVM_GET_IRQCHIP, &vm->chip[i]) < 0)
			return err_errno(err, "/dev/kvm: KVM_GET_IRQCHIP");
	}
	if (ioctl(vm->vm_fd, KVM_GET_PIT2, &vm->pit) < 0)
		return err_errno(err, "/dev/kvm: KVM_GET_PIT2");
	return 0;
}

int vm_create(struct vm **out, struct err *err)
{
	struct vm *vm = calloc(1, sizeof(*vm));
	int rc;

	*out = NULL;
	if (!vm)
		return err_set(err, -ENOMEM, "out of memory");
	vm->kvm_fd = vm->vm_fd = -1;
	pthread_mutex_init(&vm->route_lock, NULL);
	pthread_mutex_init(&vm->shadow_lock, NULL);
	vm->routes = calloc(VM_ROUTES_MAX, sizeof(*vm->routes));
	rc = vm->routes ? kvm_open(err) : err_set(err, -ENOMEM, "out of memory");
	if (rc < 0)
		goto fail;
	vm->kvm_fd = rc;
	for (const struct kvm_need *need = kvm_needs; need->name; need++) {
		if (ioctl(vm->kvm_fd, KVM_CHECK_EXTENSION, need->cap) <= 0) {
			rc = err_set(err, -ENOTSUP,
				     "/dev/kvm: %s is missing (this host's KVM is too old)",
				     need->name);
			goto fail;
		}
	}
	/* A signal that falls into the creation (it takes a while) is no reason to fail. */
	do {
		vm->vm_fd = ioctl(vm->kvm_fd, KVM_CREATE_VM, 0);
	} while (vm->vm_fd < 0 && errno == EINTR);
	if (vm->vm_fd < 0) {
		rc = err_errno(err, "/dev/kvm: KVM_CREATE_VM");
		goto fail;
	}
	rc = make_irqchip(vm, err);
	if (rc < 0)
		goto fail;
	*out = vm;
	return 0;
fail:
	vm_destroy(vm);
	return rc;
}

void vm_destroy(struct vm *vm)
{
	if (!vm)
		return;
	vm_ring_detach(vm);
	if (vm->vm_fd >= 0)
		close(vm->vm_fd);
	if (vm->kvm_fd >= 0)
		close(vm->kvm_fd);
	pthread_mutex_destroy(&vm->route_lock);
	pthread_mutex_destroy(&vm->shadow_lock);
	free(vm->routes);
	free(vm);
}

int vm_set_memory(struct vm *vm, const struct mem *mem, struct err *err)
{
	for (unsigned int i = 0; i < mem->n_ranges; i++) {
		struct kvm_userspace_memory_region slot = {
			.slot = i,
			.guest_phys_addr = mem->range[i].gpa,
			.memory_size = mem->range[i].size,
			.userspace_addr = (uintptr_t)mem->range[i].hva,
		};

		if (ioctl(vm->vm_fd, KVM_SET_USER_MEMORY_REGION, &slot) < 0)
			return err_errno(err,
					 "-m: /dev/kvm: %" PRIu64 " MiB of RAM at 0x%" PRIx64
					 " (KVM_SET_USER_MEMORY_REGION)",
					 mem->range[i].size >> 20, mem->range[i].gpa);
	}
	return 0;
}

void vm_irq_set(struct vm *vm, unsigned int gsi, bool level)
{
	struct kvm_irq_level irq = {.irq = gsi, .level = level};

	if (gsi < VM_GSI_PINS)
		ioctl(vm->vm_fd, KVM_IRQ_LINE, &irq);
}

/* route_lock held. */
static bool gsi_used(const struct vm *vm, int gsi)
{
	return gsi >= VM_GSI_PINS && gsi < VM_GSIS_MAX && vm->gsi_used[gsi / 8] & 1 << gsi % 8;
}

/* route_lock held. The message of a GSI, or NULL when it has none yet. */
static struct kvm_irq_routing_entry *route_find(struct vm *vm, int gsi)
{
	for (unsigned int i = vm->n_routes; i-- > 0;)
		if (vm->routes[i].gsi == (uint32_t)gsi && vm->routes[i].type == KVM_IRQ_ROUTING_MSI)
			return &vm->routes[i];
	return NULL;
}

int vm_msi_route_alloc(struct vm *vm)
{
	int gsi;

	pthread_mutex_lock(&vm->route_lock);
	for (gsi = VM_GSI_PINS; gsi < VM_GSIS_MAX; gsi++)
		if (!gsi_used(vm, gsi))
			break;
	if (gsi < VM_GSIS_MAX)
		vm->gsi_used[gsi / 8] |= 1 << gsi % 8;
	pthread_mutex_unlock(&vm->route_lock);
	return gsi < VM_GSIS_MAX ? gsi : -ENOSPC;
}

/* route_lock held. */
static int route_set(struct vm *vm, int gsi, struct vm_msi msi)
{
	struct kvm_irq_routing_entry *e = route_find(vm, gsi), old;
	bool added = !e;
	int rc;

	if (added)
		e = &vm->routes[vm->n_routes++];
	old = *e;
	*e = (struct kvm_irq_routing_entry){
		.gsi = gsi,
		.type = KVM_IRQ_ROUTING_MSI,
		.u.msi = {.address_lo = (uint32_t)msi.address,
			  .address_hi = (uint32_t)(msi.address >> 32),
			  .data = msi.data},
	};
	rc = routes_commit(vm);
	if (rc < 0) { /* KVM refuses some addresses: what was there stays */
		*e = old;
		if (added)
			vm->n_routes--;
	}
	return rc;
}

int vm_msi_route_set(struct vm *vm, int gsi, struct vm_msi msi)
{
	int rc;

	pthread_mutex_lock(&vm->route_lock);
	rc = gsi_used(vm, gsi) ? route_set(vm, gsi, msi) : -EINVAL;
	pthread_mutex_unlock(&vm->route_lock);
	return rc;
}

void vm_msi_route_free(struct vm *vm, int gsi)
{
	struct kvm_irq_routing_entry *e;

	pthread_mutex_lock(&vm->route_lock);
	if (gsi_used(vm, gsi)) {
		e = route_find(vm, gsi);
		if (e) {
			*e = vm->routes[--vm->n_routes];
			routes_commit(vm);
		}
		vm->gsi_used[gsi / 8] &= ~(1 << gsi % 8);
	}
	pthread_mutex_unlock(&vm->route_lock);
}

static int irqfd(struct vm *vm, int fd, int gsi, uint32_t flags)
{
	struct kvm_irqfd req = {.fd = fd, .gsi = gsi, .flags = flags};

	return ioctl(vm->vm_fd, KVM_IRQFD, &req) < 0 ? -errno : 0;
}

int vm_irqfd_attach(struct vm *vm, int fd, int gsi)
{
	return irqfd(vm, fd, gsi, 0);
}

int vm_irqfd_detach(struct vm *vm, int fd, int gsi)
{
	return irqfd(vm, fd, gsi, KVM_IRQFD_FLAG_DEASSIGN);
}

static int doorbell(struct vm *vm, const struct vm_doorbell *bell, uint32_t flags)
{
	struct kvm_ioeventfd req = {
		.addr = bell->address,
		.len = bell->size,
		.datamatch = bell->match ? bell->value : 0,
		.fd = bell->fd,
		.flags = flags | (bell->pio ? KVM_IOEVENTFD_FLAG_PIO : 0) |
			 (bell->match ? KVM_IOEVENTFD_FLAG_DATAMATCH : 0),
	};

	return ioctl(vm->vm_fd, KVM_IOEVENTFD, &req) < 0 ? -errno : 0;
}

int vm_doorbell_add(struct vm *vm, const struct vm_doorbell *bell)
{
	return doorbell(vm, bell, 0);
}

int vm_doorbell_del(struct vm *vm, const struct vm_doorbell *bell)
{
	return doorbell(vm, bell, KVM_IOEVENTFD_FLAG_DEASSIGN);
}

int vm_reset(struct vm *vm)
{
	for (int i = 0; i < 3; i++)
		if (ioctl(vm->vm_fd, KVM_SET_IRQCHIP, &vm->chip[i]) < 0)
			return -errno;
	return ioctl(vm->vm_fd, KVM_SET_PIT2, &vm->pit) < 0 ? -errno : 0;
}
