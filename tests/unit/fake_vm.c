/*
 * A VM for tests that is none; see fake_vm.h. Everything is in one struct behind one lock.
 */
#include "fake_vm.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/eventfd.h"

struct fake_route {
	bool used, set;
	struct vm_msi msi;
};

struct fake_irqfd {
	int fd, gsi;
};

struct fake_zone {
	uint64_t address;
	uint32_t size;
	bool pio;
};

struct fake_shadow {
	uint64_t gpa, size;
	const uint8_t *host;
};

struct vm {
	pthread_mutex_t lock;
	bool level[VM_GSI_PINS];
	unsigned int edges[VM_GSI_PINS];
	struct fake_route route[FAKE_VM_ROUTES];
	struct fake_irqfd irqfd[FAKE_VM_IRQFDS];
	unsigned int n_irqfds;
	struct vm_msi message[FAKE_VM_MESSAGES];
	unsigned int n_messages;
	uint64_t refuse;
	struct vm_doorbell bell[FAKE_VM_DOORBELLS];
	unsigned int n_bells;
	bool no_zones, no_shadows;
	struct fake_zone zone[FAKE_VM_ZONES];
	unsigned int n_zones;
	struct fake_shadow shadow[FAKE_VM_SHADOWS];
	unsigned int n_shadows;
	struct vm_posted_write ring[FAKE_VM_RING];
	uint32_t first, last; /* atomics */
};

int vm_create(struct vm **vm, struct err *err)
{
	struct vm *v = calloc(1, sizeof(*v));

	if (!v)
		return err_set(err, -ENOMEM, "fake VM: no memory");
	pthread_mutex_init(&v->lock, NULL);
	*vm = v;
	return 0;
}

void vm_destroy(struct vm *vm)
{
	if (!vm)
		return;
	pthread_mutex_destroy(&vm->lock);
	free(vm);
}

int vm_set_memory(struct vm *vm, const struct mem *mem, struct err *err)
{
	return 0;
}

int vm_reset(struct vm *vm)
{
	return 0;
}

/* ---- interrupt lines ---- */

void vm_irq_set(struct vm *vm, unsigned int gsi, bool level)
{
	if (gsi >= VM_GSI_PINS)
		abort(); /* a caller's bug: the contract forbids it */
	pthread_mutex_lock(&vm->lock);
	if (level && !vm->level[gsi])
		vm->edges[gsi]++;
	vm->level[gsi] = level;
	pthread_mutex_unlock(&vm->lock);
}

bool fake_vm_level(struct vm *vm, unsigned int gsi)
{
	bool level;

	pthread_mutex_lock(&vm->lock);
	level = vm->level[gsi];
	pthread_mutex_unlock(&vm->lock);
	return level;
}

unsigned int fake_vm_edges(struct vm *vm, unsigned int gsi)
{
	unsigned int n;

	pthread_mutex_lock(&vm->lock);
	n = vm->edges[gsi];
	vm->edges[gsi] = 0;
	pthread_mutex_unlock(&vm->lock);
	return n;
}

/* ---- messages ---- */

static void record(struct vm *vm, struct vm_msi msi)
{
	if (vm->n_messages < FAKE_VM_MESSAGES)
		vm->message[vm->n_messages] = msi;
	vm->n_messages++;
}

/* Takes what an attached eventfd holds: one message for any number of writes, as in the kernel. */
static void take(struct vm *vm, const struct fake_irqfd *irqfd)
{
	unsigned int i = (unsigned int)(irqfd->gsi - VM_GSI_PINS);
	uint64_t count;

	if (irqfd->gsi < VM_GSI_PINS) {
		if (eventfd_take(irqfd->fd, &count))
			vm->edges[irqfd->gsi]++;
		return;
	}
	if (i >= FAKE_VM_ROUTES || !eventfd_take(irqfd->fd, &count))
		return;
	if (vm->route[i].set)
		record(vm, vm->route[i].msi);
}

unsigned int fake_vm_messages(struct vm *vm)
{
	unsigned int i, n;

	pthread_mutex_lock(&vm->lock);
	for (i = 0; i < vm->n_irqfds; i++)
		take(vm, &vm->irqfd[i]);
	n = vm->n_messages;
	pthread_mutex_unlock(&vm->lock);
	return n;
}

struct vm_msi fake_vm_message(struct vm *vm, unsigned int i)
{
	struct vm_msi msi = {0};

	pthread_mutex_lock(&vm->lock);
	if (i < vm->n_messages && i < FAKE_VM_MESSAGES)
		msi = vm->message[i];
	pthread_mutex_unlock(&vm->lock);
	return msi;
}

void fake_vm_clear_messages(struct vm *vm)
{
	fake_vm_messages(vm);
	pthread_mutex_lock(&vm->lock);
	vm->n_messages = 0;
	pthread_mutex_unlock(&vm->lock);
}

void fake_vm_refuse_address(struct vm *vm, uint64_t address)
{
	pthread_mutex_lock(&vm->lock);
	vm->refuse = address;
	pthread_mutex_unlock(&vm->lock);
}

int vm_msi_route_alloc(struct vm *vm)
{
	int i, gsi = -ENOSPC;

	pthread_mutex_lock(&vm->lock);
	for (i = 0; i < FAKE_VM_ROUTES && gsi < 0; i++) {
		if (!vm->route[i].used) {
			vm->route[i] = (struct fake_route){.used = true};
			gsi = VM_GSI_PINS + i;
		}
	}
	pthread_mutex_unlock(&vm->lock);
	return gsi;
}

int vm_msi_route_set(struct vm *vm, int gsi, struct vm_msi msi)
{
	int i = gsi - VM_GSI_PINS, r = 0;

	pthread_mutex_lock(&vm->lock);
	if (i < 0 || i >= FAKE_VM_ROUTES || !vm->route[i].used) {
		r = -EINVAL;
	} else if (vm->refuse && msi.address == vm->refuse) {
		r = -EINVAL;
	} else {
		vm->route[i].msi = msi;
		vm->route[i].set = true;
	}
	pthread_mutex_unlock(&vm->lock);
	return r;
}

void vm_msi_route_free(struct vm *vm, int gsi)
{
	int i = gsi - VM_GSI_PINS;

	pthread_mutex_lock(&vm->lock);
	if (i < 0 || i >= FAKE_VM_ROUTES || !vm->route[i].used)
		abort(); /* freed twice */
	vm->route[i].used = false;
	pthread_mutex_unlock(&vm->lock);
}

unsigned int fake_vm_routes(struct vm *vm)
{
	unsigned int i, n = 0;

	pthread_mutex_lock(&vm->lock);
	for (i = 0; i < FAKE_VM_ROUTES; i++)
		n += vm->route[i].used;
	pthread_mutex_unlock(&vm->lock);
	return n;
}

int vm_irqfd_attach(struct vm *vm, int fd, int gsi)
{
	unsigned int i;
	int r = 0;

	pthread_mutex_lock(&vm->lock);
	for (i = 0; i < vm->n_irqfds; i++) {
		if (vm->irqfd[i].fd == fd)
			r = -EBUSY; /* as the kernel: an eventfd is one irqfd */
	}
	if (!r && vm->n_irqfds == FAKE_VM_IRQFDS)
		r = -ENOSPC;
	if (!r) {
		vm->irqfd[vm->n_irqfds++] = (struct fake_irqfd){fd, gsi};
		take(vm, &vm->irqfd[vm->n_irqfds - 1]);
	}
	pthread_mutex_unlock(&vm->lock);
	return r;
}

int vm_irqfd_detach(struct vm *vm, int fd, int gsi)
{
	unsigned int i;

	pthread_mutex_lock(&vm->lock);
	for (i = 0; i < vm->n_irqfds; i++) {
		if (vm->irqfd[i].fd == fd && vm->irqfd[i].gsi == gsi) {
			take(vm, &vm->irqfd[i]); /* the kernel would have by now */
			vm->irqfd[i] = vm->irqfd[--vm->n_irqfds];
			break;
		}
	}
	pthread_mutex_unlock(&vm->lock);
	return 0;
}

unsigned int fake_vm_irqfds(struct vm *vm)
{
	unsigned int n;

	pthread_mutex_lock(&vm->lock);
	n = vm->n_irqfds;
	pthread_mutex_unlock(&vm->lock);
	return n;
}

/* ---- doorbells ---- */

static bool same_bell(const struct vm_doorbell *a, const struct vm_doorbell *b)
{
	return a->address == b->address && a->pio == b->pio && a->size == b->size &&
	       a->match == b->match && (!a->match || a->value == b->value);
}

int vm_doorbell_add(struct vm *vm, const struct vm_doorbell *bell)
{
	unsigned int i;
	int r = 0;

	pthread_mutex_lock(&vm->lock);
	for (i = 0; i < vm->n_bells; i++) {
		if (same_bell(&vm->bell[i], bell))
			r = -EEXIST;
	}
	if (!r && vm->n_bells == FAKE_VM_DOORBELLS)
		r = -ENOSPC;
	if (!r)
		vm->bell[vm->n_bells++] = *bell;
	pthread_mutex_unlock(&vm->lock);
	return r;
}

int vm_doorbell_del(struct vm *vm, const struct vm_doorbell *bell)
{
	unsigned int i;
	int r = -ENOENT;

	pthread_mutex_lock(&vm->lock);
	for (i = 0; i < vm->n_bells && r; i++) {
		if (same_bell(&vm->bell[i], bell) && vm->bell[i].fd == bell->fd) {
			vm->bell[i] = vm->bell[--vm->n_bells];
			r = 0;
		}
	}
	pthread_mutex_unlock(&vm->lock);
	return r;
}

unsigned int fake_vm_doorbells(struct vm *vm)
{
	unsigned int n;

	pthread_mutex_lock(&vm->lock);
	n = vm->n_bells;
	pthread_mutex_unlock(&vm->lock);
	return n;
}

/* Lock held: into the ring, where a zone holds all of it and there is room. */
static bool zone_takes(struct vm *vm, bool pio, uint64_t address, unsigned int size, uint64_t value)
{
	uint32_t last = vm->last, next = (last + 1) % FAKE_VM_RING;

	for (unsigned int i = 0; i < vm->n_zones; i++) {
		const struct fake_zone *z = &vm->zone[i];

		if (z->pio != pio || address < z->address || address - z->address >= z->size ||
		    size > z->size - (address - z->address))
			continue;
		if (next == __atomic_load_n(&vm->first, __ATOMIC_ACQUIRE))
			return false;
		vm->ring[last] = (struct vm_posted_write){
			.address = address,
			.value = size == 8 ? value : value & ((UINT64_C(1) << 8 * size) - 1),
			.pio = pio,
			.size = (uint8_t)size,
		};
		__atomic_store_n(&vm->last, next, __ATOMIC_RELEASE);
		return true;
	}
	return false;
}

bool fake_vm_guest_write(struct vm *vm, bool pio, uint64_t address, unsigned int size,
			 uint64_t value)
{
	const struct vm_doorbell *b;
	uint64_t one = 1;
	unsigned int i;
	bool taken;
	int fd = -1;

	pthread_mutex_lock(&vm->lock);
	for (i = 0; i < vm->n_bells && fd < 0; i++) {
		b = &vm->bell[i];
		if (b->pio == pio && b->address == address && (!b->size || b->size == size) &&
		    (!b->match || b->value == value))
			fd = b->fd;
	}
	if (fd < 0) {
		taken = zone_takes(vm, pio, address, size, value);
		pthread_mutex_unlock(&vm->lock);
		return taken;
	}
	pthread_mutex_unlock(&vm->lock);
	if (write(fd, &one, sizeof(one)) != sizeof(one))
		abort();
	return true;
}

/* ---- accesses that don't exit ---- */

int vm_zone_add(struct vm *vm, uint64_t address, uint32_t size, bool pio)
{
	int r = 0;

	pthread_mutex_lock(&vm->lock);
	if (vm->no_zones)
		r = -ENOTSUP;
	else if (vm->n_zones == FAKE_VM_ZONES)
		r = -ENOSPC;
	for (unsigned int i = 0; i < vm->n_zones; i++) {
		const struct fake_zone *z = &vm->zone[i];

		if (z->pio == pio && address < z->address + z->size && z->address < address + size)
			abort(); /* the contract forbids it */
	}
	if (!r)
		vm->zone[vm->n_zones++] = (struct fake_zone){address, size, pio};
	pthread_mutex_unlock(&vm->lock);
	return r;
}

int vm_zone_del(struct vm *vm, uint64_t address, uint32_t size, bool pio)
{
	int r = -ENOENT;

	pthread_mutex_lock(&vm->lock);
	for (unsigned int i = 0; i < vm->n_zones && r; i++) {
		const struct fake_zone *z = &vm->zone[i];

		if (z->pio == pio && z->address == address && z->size == size) {
			vm->zone[i] = vm->zone[--vm->n_zones];
			r = 0;
		}
	}
	pthread_mutex_unlock(&vm->lock);
	return r;
}

unsigned int vm_posted_waiting(const struct vm *vm)
{
	uint32_t last = __atomic_load_n(&vm->last, __ATOMIC_ACQUIRE); /* before first */

	return (last + FAKE_VM_RING - __atomic_load_n(&vm->first, __ATOMIC_ACQUIRE)) % FAKE_VM_RING;
}

bool vm_posted_peek(struct vm *vm, struct vm_posted_write *w)
{
	if (!vm_posted_waiting(vm))
		return false;
	*w = vm->ring[vm->first];
	return true;
}

void vm_posted_done(struct vm *vm)
{
	if (!vm_posted_waiting(vm))
		abort(); /* nothing was there */
	__atomic_store_n(&vm->first, (vm->first + 1) % FAKE_VM_RING, __ATOMIC_RELEASE);
}

int vm_shadow_add(struct vm *vm, uint64_t gpa, const void *host, uint64_t size)
{
	int r = 0;

	if (!size || (gpa | (uintptr_t)host | size) & 4095)
		return -EINVAL;
	pthread_mutex_lock(&vm->lock);
	if (vm->no_shadows)
		r = -ENOTSUP;
	else if (vm->n_shadows == FAKE_VM_SHADOWS)
		r = -ENOSPC;
	for (unsigned int i = 0; i < vm->n_shadows && !r; i++) {
		const struct fake_shadow *s = &vm->shadow[i];

		if (gpa < s->gpa + s->size && s->gpa < gpa + size)
			r = -EEXIST;
	}
	if (!r)
		vm->shadow[vm->n_shadows++] = (struct fake_shadow){gpa, size, host};
	pthread_mutex_unlock(&vm->lock);
	return r;
}

int vm_shadow_del(struct vm *vm, uint64_t gpa)
{
	int r = -ENOENT;

	pthread_mutex_lock(&vm->lock);
	for (unsigned int i = 0; i < vm->n_shadows && r; i++) {
		if (vm->shadow[i].gpa == gpa) {
			vm->shadow[i] = vm->shadow[--vm->n_shadows];
			r = 0;
		}
	}
	pthread_mutex_unlock(&vm->lock);
	return r;
}

void fake_vm_no_zones(struct vm *vm, bool absent)
{
	vm->no_zones = absent;
}

void fake_vm_no_shadows(struct vm *vm, bool absent)
{
	vm->no_shadows = absent;
}

unsigned int fake_vm_zones(struct vm *vm)
{
	unsigned int n;

	pthread_mutex_lock(&vm->lock);
	n = vm->n_zones;
	pthread_mutex_unlock(&vm->lock);
	return n;
}

unsigned int fake_vm_shadows(struct vm *vm)
{
	unsigned int n;

	pthread_mutex_lock(&vm->lock);
	n = vm->n_shadows;
	pthread_mutex_unlock(&vm->lock);
	return n;
}

unsigned int fake_vm_ring(struct vm *vm)
{
	unsigned int n;

	pthread_mutex_lock(&vm->lock);
	n = (vm->last + FAKE_VM_RING - __atomic_load_n(&vm->first, __ATOMIC_RELAXED)) %
	    FAKE_VM_RING;
	pthread_mutex_unlock(&vm->lock);
	return n;
}

bool fake_vm_guest_read(struct vm *vm, uint64_t address, unsigned int size, uint64_t *value)
{
	bool found = false;

	pthread_mutex_lock(&vm->lock);
	for (unsigned int i = 0; i < vm->n_shadows && !found; i++) {
		const struct fake_shadow *s = &vm->shadow[i];

		if (address < s->gpa || address - s->gpa > s->size - size)
			continue;
		*value = 0;
		for (unsigned int b = 0; b < size; b++)
			*value |= (uint64_t)__atomic_load_n(s->host + (address - s->gpa) + b,
							    __ATOMIC_RELAXED)
				  << 8 * b;
		found = true;
	}
	pthread_mutex_unlock(&vm->lock);
	return found;
}
