/*
 * MSI: capability, messages, mask and pending bits. PCI Local Bus 3.0 §6.8.1.
 *
 * All registers are in configuration space, so everything but msi_notify() and the queries runs under the device's lock. A
 * vector is connected (bus/msi_vector.h) while MSI is enabled, the function may master the bus, software has allocated so
 * many vectors, and the vector's mask bit is clear. Its message is the one in the capability with the vector's number in the
 * low bits of the data.
 */
#include "bus/msi.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "bus/msi_vector.h"

enum {
	CAP_MSI = 0x05,
	CAP_SIZE = 0x0e,
	CAP_SIZE_MASKABLE = 0x18,

	/* In the capability, 64-bit layout. */
	MESSAGE_CONTROL = 0x02,
	MESSAGE_ADDRESS = 0x04,
	MESSAGE_DATA = 0x0c,
	MASK_BITS = 0x10,
	PENDING_BITS = 0x14,

	CONTROL_ENABLE = 0x0001,
	CONTROL_MME = 0x0070, /* multiple message enable: log2 of what software gave */
	CONTROL_64BIT = 0x0080,
	CONTROL_MASKABLE = 0x0100,

	MSI_VECTORS_MAX = 32,
};

struct msi {
	unsigned int n, log2;
	unsigned int cap; /* offset in configuration space */
	bool maskable;
	bool enabled;		/* atomic */
	unsigned int allocated; /* atomic */
	struct log_limit log;
	struct msi_vector vector[MSI_VECTORS_MAX];
};

static const uint8_t *reg(const struct pci_device *pci, unsigned int offset)
{
	return pci->config + pci->msi->cap + offset;
}

static void vector_update(struct pci_device *pci, unsigned int i)
{
	struct vm *vm = pci->dev.platform->vm;
	struct msi *m = pci->msi;
	uint32_t masked = m->maskable ? pci_get32(reg(pci, MASK_BITS)) : 0;
	struct vm_msi msi;
	int r;

	if (!m->enabled || !pci->bus_master || i >= m->allocated || masked >> i & 1) {
		msi_vector_disconnect(vm, &m->vector[i]);
		return;
	}
	msi.address = pci_get32(reg(pci, MESSAGE_ADDRESS)) |
		      (uint64_t)pci_get32(reg(pci, MESSAGE_ADDRESS + 4)) << 32;
	msi.data = (pci_get16(reg(pci, MESSAGE_DATA)) & ~(m->allocated - 1)) | i;
	r = msi_vector_connect(vm, &m->vector[i], msi);
	if (r)
		log_limited(&m->log, "%s: MSI %u (address 0x%llx, data 0x%x): %s", pci->dev.id, i,
			    (unsigned long long)msi.address, msi.data, strerror(-r));
}

void msi_update(struct pci_device *pci)
{
	for (unsigned int i = 0; i < pci->msi->n; i++)
		vector_update(pci, i);
}

void msi_config_read(struct pci_device *pci)
{
	struct msi *m = pci->msi;

	if (m->maskable)
		pci_put32(pci->config + m->cap + PENDING_BITS,
			  (uint32_t)msi_vector_pending(m->vector, m->n));
}

static void set_control(struct pci_device *pci)
{
	struct msi *m = pci->msi;
	uint16_t control = pci_get16(reg(pci, MESSAGE_CONTROL));
	unsigned int log2 = (control & CONTROL_MME) >> 4;

	__atomic_store_n(&m->allocated, 1U << (log2 < m->log2 ? log2 : m->log2), __ATOMIC_RELAXED);
	__atomic_store_n(&m->enabled, control & CONTROL_ENABLE, __ATOMIC_RELAXED);
}

void msi_config_written(struct pci_device *pci, unsigned int offset, unsigned int size)
{
	struct msi *m = pci->msi;
	bool was = m->enabled;

	if (offset + size <= m->cap || offset >= m->cap + CAP_SIZE_MASKABLE)
		return;
	set_control(pci);
	for (unsigned int i = 0; i < m->n; i++) {
		if (m->enabled && !was)
			msi_vector_clear(&m->vector[i]); /* of the time before: INTx had it */
		if (m->enabled)
			vector_update(pci, i);
		else
			msi_vector_release(pci->dev.platform->vm, &m->vector[i]);
	}
}

/* The registers are 0 already. */
void msi_reset(struct pci_device *pci)
{
	struct msi *m = pci->msi;

	set_control(pci);
	for (unsigned int i = 0; i < m->n; i++) {
		msi_vector_release(pci->dev.platform->vm, &m->vector[i]);
		msi_vector_clear(&m->vector[i]);
	}
}

/* ---- life ---- */

static int add_capability(struct pci_device *pci)
{
	struct msi *m = pci->msi;
	int cap = pci_cap_add(pci, CAP_MSI, m->maskable ? CAP_SIZE_MASKABLE : CAP_SIZE);
	uint8_t *w;

	if (cap < 0)
		return cap;
	m->cap = (unsigned int)cap;
	pci_put16(pci->config + cap + MESSAGE_CONTROL,
		  (uint16_t)(m->log2 << 1 | CONTROL_64BIT | (m->maskable ? CONTROL_MASKABLE : 0)));
	w = pci->wmask + cap;
	pci_put16(w + MESSAGE_CONTROL, CONTROL_ENABLE | CONTROL_MME);
	pci_put32(w + MESSAGE_ADDRESS, ~UINT32_C(3));
	pci_put32(w + MESSAGE_ADDRESS + 4, UINT32_MAX);
	pci_put16(w + MESSAGE_DATA, UINT16_MAX);
	if (m->maskable)
		pci_put32(w + MASK_BITS, UINT32_MAX >> (MSI_VECTORS_MAX - m->n));
	return 0;
}

void msi_destroy(struct pci_device *pci)
{
	struct msi *m = pci->msi;

	if (!m)
		return;
	for (unsigned int i = 0; i < m->n; i++)
		msi_vector_destroy(pci->dev.platform->vm, &m->vector[i]);
	free(m);
	pci->msi = NULL;
}

int msi_init(struct pci_device *pci, unsigned int vectors, bool maskable, struct err *err)
{
	struct msi *m;
	int r = 0;

	if (!vectors || vectors > MSI_VECTORS_MAX || vectors & (vectors - 1))
		return err_set(err, -EINVAL, "%s: MSI with %u vectors (1, 2, 4, 8, 16 or 32)",
			       pci->dev.id, vectors);
	m = calloc(1, sizeof(*m));
	if (!m)
		return err_set(err, -ENOMEM, "%s: no memory for MSI", pci->dev.id);
	pci->msi = m;
	m->maskable = maskable;
	m->log2 = (unsigned int)__builtin_ctz(vectors);
	while (m->n < vectors && !r) {
		r = msi_vector_init(&m->vector[m->n]);
		if (!r)
			m->n++;
	}
	if (!r)
		r = add_capability(pci);
	if (r) {
		msi_destroy(pci);
		return err_set(err, r, "%s: MSI with %u vectors: %s", pci->dev.id, vectors,
			       strerror(-r));
	}
	set_control(pci);
	return 0;
}

/* ---- queries, any thread ---- */

bool msi_enabled(const struct pci_device *pci)
{
	return pci->msi && __atomic_load_n(&pci->msi->enabled, __ATOMIC_RELAXED);
}

unsigned int msi_allocated(const struct pci_device *pci)
{
	return pci->msi ? __atomic_load_n(&pci->msi->allocated, __ATOMIC_RELAXED) : 0;
}

int msi_fd(const struct pci_device *pci, unsigned int vector)
{
	return pci->msi && vector < pci->msi->n ? pci->msi->vector[vector].fd : -1;
}

void msi_notify(const struct pci_device *pci, unsigned int vector)
{
	if (pci->msi && vector < pci->msi->n)
		msi_vector_notify(&pci->msi->vector[vector]);
}
