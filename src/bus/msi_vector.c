/*
 * One message-signalled interrupt; see msi_vector.h. PCI Local Bus 3.0 §6.8.
 */
#include "bus/msi_vector.h"

#include <errno.h>
#include <poll.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "base/eventfd.h"

int msi_vector_init(struct msi_vector *v)
{
	*v = (struct msi_vector){.gsi = -1};
	v->fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	return v->fd < 0 ? -errno : 0;
}

static bool same_message(struct vm_msi a, struct vm_msi b)
{
	return a.address == b.address && a.data == b.data;
}

int msi_vector_connect(struct vm *vm, struct msi_vector *v, struct vm_msi msi)
{
	int r;

	if (v->connected && same_message(v->msi, msi))
		return 0;
	if (v->gsi < 0) {
		r = vm_msi_route_alloc(vm);
		if (r < 0)
			return r;
		v->gsi = r;
		v->routed = false;
	}
	if (!v->routed || !same_message(v->msi, msi)) {
		v->routed = false;
		r = vm_msi_route_set(vm, v->gsi, msi);
		if (r) {
			msi_vector_disconnect(vm, v);
			return r;
		}
		v->msi = msi;
		v->routed = true;
	}
	if (!v->connected) {
		r = vm_irqfd_attach(vm, v->fd, v->gsi);
		if (r)
			return r;
		v->connected = true;
	}
	return 0;
}

void msi_vector_disconnect(struct vm *vm, struct msi_vector *v)
{
	if (v->connected)
		vm_irqfd_detach(vm, v->fd, v->gsi);
	v->connected = false;
}

void msi_vector_release(struct vm *vm, struct msi_vector *v)
{
	msi_vector_disconnect(vm, v);
	if (v->gsi >= 0)
		vm_msi_route_free(vm, v->gsi);
	v->gsi = -1;
	v->routed = false;
}

void msi_vector_clear(struct msi_vector *v)
{
	uint64_t count;

	/* Nothing in it is fine too. */
	if (!v->connected)
		(void)eventfd_take(v->fd, &count);
}

void msi_vector_destroy(struct vm *vm, struct msi_vector *v)
{
	msi_vector_release(vm, v);
	if (v->fd >= 0)
		close(v->fd);
	v->fd = -1;
}

uint64_t msi_vector_pending(const struct msi_vector *v, unsigned int n)
{
	struct pollfd p[64];
	uint64_t bits = 0;
	unsigned int i;

	/* A connected one is KVM's to read: what might be in it for a moment is not pending. poll()
	 * skips -1. */
	for (i = 0; i < n && i < 64; i++)
		p[i] = (struct pollfd){.fd = v[i].connected ? -1 : v[i].fd, .events = POLLIN};
	if (poll(p, i, 0) <= 0)
		return 0;
	while (i-- > 0)
		bits |= (uint64_t) !!(p[i].revents & POLLIN) << i;
	return bits;
}

void msi_vector_notify(const struct msi_vector *v)
{
	uint64_t one = 1;

	/* EAGAIN: 2^64 - 2 are pending already, which is as good as one more. */
	if (write(v->fd, &one, sizeof(one)) < 0)
		return;
}
