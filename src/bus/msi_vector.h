/*
 * One message-signalled interrupt: an eventfd that KVM turns into a message while it is connected.
 *
 * Whoever has the interrupt to deliver writes to the eventfd, connected or not. Not connected, what
 * is written stays in it: that is the pending bit. Connecting hands it to KVM, which injects what
 * is pending. Shared by MSI-X and MSI.
 *
 * All but msi_vector_notify() under the device's lock.
 */
#ifndef VIREO_BUS_MSI_VECTOR_H
#define VIREO_BUS_MSI_VECTOR_H

#include <stdbool.h>

#include "kvm/vm.h"

struct msi_vector {
	int fd;		/* eventfd, non-blocking; lives as long as the device */
	int gsi;	/* route; -1 = none (made when first connected) */
	bool connected; /* fd is an irqfd on gsi */
	bool routed;	/* the route stands for msi */
	struct vm_msi msi;
};

/* 0 or -errno (no more file descriptors). */
int msi_vector_init(struct msi_vector *v);
/* Connects, or stays connected, with this message. 0; -errno when the kernel refuses the message or
 * has no route left: then it is not connected, and what is notified stays pending. */
int msi_vector_connect(struct vm *vm, struct msi_vector *v, struct vm_msi msi);
void msi_vector_disconnect(struct vm *vm, struct msi_vector *v);
/* Disconnects and gives the route back; the eventfd stays. */
void msi_vector_release(struct vm *vm, struct msi_vector *v);
/* Throws away what is pending; not connected. */
void msi_vector_clear(struct msi_vector *v);
/* Releases and closes. */
void msi_vector_destroy(struct vm *vm, struct msi_vector *v);
/* Bit i of the result: v[i] is pending (written while not connected). n <= 64. */
uint64_t msi_vector_pending(const struct msi_vector *v, unsigned int n);
/* One interrupt. Any thread. */
void msi_vector_notify(const struct msi_vector *v);

#endif
