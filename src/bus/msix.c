/*
 * MSI-X: capability, table and pending-bit array. PCI Local Bus 3.0 §6.8.2; the idea is told in
 * msix.h.
 *
 * A vector is connected (its eventfd is an irqfd) while MSI-X is enabled, the function may master
 * the bus, and neither the function's nor the vector's mask is set. Routes are made when a vector
 * is first connected, so that a table of 2048 whose driver uses three costs three; they are given
 * back when MSI-X is disabled.
 *
 * Everything but msix_notify() and the queries runs under the device's lock: table and PBA are
 * regions with that lock, the configuration writes hold it.
 */
#include "bus/msix.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "bus/msi_vector.h"

#define CAP_MSIX	 0x11
#define CAP_SIZE	 12
#define MESSAGE_CONTROL	 2 /* in the capability */
#define TABLE_OFFSET	 4
#define PBA_OFFSET	 8
#define CONTROL_ENABLE	 0x8000
#define CONTROL_MASK	 0x4000
#define ENTRY_SIZE	 16
#define ENTRY_ADDRESS	 0
#define ENTRY_DATA	 8
#define ENTRY_CONTROL	 12
#define ENTRY_MASKED	 1U /* the one bit of vector control that there is */
#define MSIX_VECTORS_MAX 2048

struct msix {
	unsigned int n;
	unsigned int cap; /* offset in configuration space */
	bool enabled;	  /* atomic */
	bool masked;	  /* function mask */
	struct bus_region table_region, pba_region;
	struct log_limit log;
	uint8_t *table; /* n entries of 16 bytes, as the guest sees them */
	struct msi_vector vector[];
};

static uint8_t *entry_of(const struct msix *m, unsigned int vector)
{
	return m->table + (size_t)vector * ENTRY_SIZE;
}

/* Makes the vector connected or not, as the registers have it. */
static void vector_update(struct pci_device *pci, unsigned int vector)
{
	struct vm *vm = pci->dev.platform->vm;
	struct msix *m = pci->msix;
	struct msi_vector *v = &m->vector[vector];
	const uint8_t *entry = entry_of(m, vector);
	struct vm_msi msi;
	int r;

	if (!m->enabled || m->masked || !pci->bus_master ||
	    pci_get32(entry + ENTRY_CONTROL) & ENTRY_MASKED) {
		msi_vector_disconnect(vm, v);
		return;
	}
	msi.address = pci_get32(entry + ENTRY_ADDRESS) |
		      (uint64_t)pci_get32(entry + ENTRY_ADDRESS + 4) << 32;
	msi.data = pci_get32(entry + ENTRY_DATA);
	r = msi_vector_connect(vm, v, msi);
	if (r)
		log_limited(&m->log, "%s: MSI-X vector %u (address 0x%llx, data 0x%x): %s",
			    pci->dev.id, vector, (unsigned long long)msi.address, msi.data,
			    strerror(-r));
}

void msix_update(struct pci_device *pci)
{
	for (unsigned int i = 0; i < pci->msix->n; i++)
		vector_update(pci, i);
}

/* ---- table and PBA ---- */

static uint64_t table_read(void *opaque, uint64_t offset, unsigned int size)
{
	const struct msix *m = ((struct pci_device *)opaque)->msix;
	uint64_t value = pci_get32(m->table + offset);

	if (size == 8)
		value |= (uint64_t)pci_get32(m->table + offset + 4) << 32;
	return value;
}

static void table_write(void *opaque, uint64_t offset, unsigned int size, uint64_t value)
{
	struct pci_device *pci = opaque;
	struct msix *m = pci->msix;
	unsigned int vector = (unsigned int)(offset / ENTRY_SIZE);
	uint8_t *entry = entry_of(m, vector);

	pci_put32(m->table + offset, (uint32_t)value);
	if (size == 8)
		pci_put32(m->table + offset + 4, (uint32_t)(value >> 32));
	/* Reserved: reads as zero. */
	pci_put32(entry + ENTRY_CONTROL, pci_get32(entry + ENTRY_CONTROL) & ENTRY_MASKED);
	vector_update(pci, vector);
}

static uint64_t pba_read(void *opaque, uint64_t offset, unsigned int size)
{
	const struct msix *m = ((struct pci_device *)opaque)->msix;
	unsigned int first = (unsigned int)offset * 8, n = size * 8;

	if (first >= m->n)
		return 0;
	return msi_vector_pending(&m->vector[first], n < m->n - first ? n : m->n - first);
}

static void pba_write(void *opaque, uint64_t offset, unsigned int size, uint64_t value)
{
	/* read-only */
}

/* §6.8.2: software uses aligned accesses of 4 or 8 bytes; anything else is undefined. */
static const struct region_ops table_ops = {
	.read = table_read,
	.write = table_write,
	.min = 4,
	.max = 8,
};

static const struct region_ops pba_ops = {
	.read = pba_read,
	.write = pba_write,
	.min = 4,
	.max = 8,
};

/* ---- life ---- */

static void msix_free(struct pci_device *pci)
{
	struct msix *m = pci->msix;

	for (unsigned int i = 0; i < m->n; i++)
		msi_vector_destroy(pci->dev.platform->vm, &m->vector[i]);
	free(m->table);
	free(m);
	pci->msix = NULL;
}

/* Power-on: every vector masked, nothing pending, disabled. */
static void clear(struct pci_device *pci)
{
	struct msix *m = pci->msix;

	__atomic_store_n(&m->enabled, false, __ATOMIC_RELAXED);
	m->masked = false;
	memset(m->table, 0, (size_t)m->n * ENTRY_SIZE);
	for (unsigned int i = 0; i < m->n; i++) {
		pci_put32(entry_of(m, i) + ENTRY_CONTROL, ENTRY_MASKED);
		msi_vector_release(pci->dev.platform->vm, &m->vector[i]);
		msi_vector_clear(&m->vector[i]);
	}
}

static int add_capability(struct pci_device *pci, unsigned int bar, uint32_t table_offset,
			  uint32_t pba_offset)
{
	int cap = pci_cap_add(pci, CAP_MSIX, CAP_SIZE);
	uint8_t *c;

	if (cap < 0)
		return cap;
	c = pci->config + cap;
	pci_put16(c + MESSAGE_CONTROL, (uint16_t)(pci->msix->n - 1));
	pci_put16(pci->wmask + cap + MESSAGE_CONTROL, CONTROL_ENABLE | CONTROL_MASK);
	pci_put32(c + TABLE_OFFSET, table_offset | bar);
	pci_put32(c + PBA_OFFSET, pba_offset | bar);
	pci->msix->cap = (unsigned int)cap;
	return 0;
}

static int add_regions(struct pci_device *pci, unsigned int bar, uint32_t table_offset,
		       uint32_t pba_offset)
{
	struct msix *m = pci->msix;
	int r;

	bus_region_init(&m->table_region, "msix.table", BUS_MMIO, (uint64_t)m->n * ENTRY_SIZE,
			&table_ops, pci, &pci->dev.lock);
	bus_region_init(&m->pba_region, "msix.pba", BUS_MMIO, (m->n + 63) / 64 * 8, &pba_ops, pci,
			&pci->dev.lock);
	r = pci_bar_add_region(pci, bar, table_offset, &m->table_region);
	return r ? r : pci_bar_add_region(pci, bar, pba_offset, &m->pba_region);
}

int msix_init(struct pci_device *pci, unsigned int bar, unsigned int vectors, uint32_t table_offset,
	      uint32_t pba_offset, struct err *err)
{
	struct msix *m;
	int r = 0;

	if (!vectors || vectors > MSIX_VECTORS_MAX || (table_offset | pba_offset) & 7 || bar > 5)
		return err_set(err, -EINVAL, "%s: MSI-X with %u vectors (1 to %d)", pci->dev.id,
			       vectors, MSIX_VECTORS_MAX);
	m = calloc(1, sizeof(*m) + vectors * sizeof(m->vector[0]));
	if (m)
		m->table = calloc(vectors, ENTRY_SIZE);
	if (!m || !m->table) {
		free(m);
		return err_set(err, -ENOMEM, "%s: no memory for MSI-X", pci->dev.id);
	}
	pci->msix = m;
	while (m->n < vectors && !r) {
		r = msi_vector_init(&m->vector[m->n]);
		if (!r)
			m->n++;
	}
	if (!r)
		r = add_regions(pci, bar, table_offset, pba_offset);
	if (!r)
		r = add_capability(pci, bar, table_offset, pba_offset);
	if (r) {
		msix_free(pci);
		return err_set(err, r, "%s: MSI-X with %u vectors: %s%s", pci->dev.id, vectors,
			       strerror(-r),
			       r == -EMFILE ? " (raise the limit of open files, ulimit -n)" : "");
	}
	clear(pci);
	return 0;
}

void msix_destroy(struct pci_device *pci)
{
	if (pci->msix)
		msix_free(pci);
}

void msix_reset(struct pci_device *pci)
{
	if (pci->msix)
		clear(pci);
}

void msix_config_written(struct pci_device *pci, unsigned int offset, unsigned int size)
{
	struct msix *m = pci->msix;
	uint16_t control = pci_get16(pci->config + m->cap + MESSAGE_CONTROL);
	bool enabled = control & CONTROL_ENABLE, masked = control & CONTROL_MASK;
	bool was = m->enabled;

	if (enabled == was && masked == m->masked)
		return;
	__atomic_store_n(&m->enabled, enabled, __ATOMIC_RELAXED);
	m->masked = masked;
	for (unsigned int i = 0; i < m->n; i++) {
		if (enabled && !was)
			msi_vector_clear(&m->vector[i]); /* of the time before: INTx had it */
		if (enabled)
			vector_update(pci, i);
		else
			msi_vector_release(pci->dev.platform->vm, &m->vector[i]);
	}
}

/* ---- queries, any thread ---- */

bool msix_enabled(const struct pci_device *pci)
{
	return pci->msix && __atomic_load_n(&pci->msix->enabled, __ATOMIC_RELAXED);
}

unsigned int msix_vectors(const struct pci_device *pci)
{
	return pci->msix ? pci->msix->n : 0;
}

int msix_fd(const struct pci_device *pci, unsigned int vector)
{
	return vector < msix_vectors(pci) ? pci->msix->vector[vector].fd : -1;
}

void msix_notify(const struct pci_device *pci, unsigned int vector)
{
	if (vector < msix_vectors(pci))
		msi_vector_notify(&pci->msix->vector[vector]);
}
