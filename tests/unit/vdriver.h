/*
 * The driver's side of a split virtqueue, for tests: lays a ring out in guest memory, writes
 * descriptors, offers chains and reads what comes back. It can write nonsense, too: every word is
 * the test's to choose. Virtio 1.3 §2.7.
 *
 * vdriver_ram() makes a `struct mem` over plain memory, of exactly the size asked for, so that ASan
 * sees any access that leaves it.
 */
#ifndef VIREO_TESTS_VDRIVER_H
#define VIREO_TESTS_VDRIVER_H

#include <linux/virtio_ring.h>
#include <stdlib.h>
#include <string.h>

#include "kvm/mem.h"

/* One range of `size` bytes at gpa, zeroed, added to mem; aligned to 16 bytes, no more. */
static inline uint8_t *vdriver_ram(struct mem *mem, uint64_t gpa, size_t size)
{
	uint8_t *hva = calloc(1, size);

	if (!hva)
		abort();
	mem->range[mem->n_ranges++] = (struct mem_range){.gpa = gpa, .size = size, .hva = hva};
	mem->size += size;
	return hva;
}

static inline void vdriver_ram_free(struct mem *mem)
{
	for (unsigned int i = 0; i < mem->n_ranges; i++)
		free(mem->range[i].hva);
	memset(mem, 0, sizeof(*mem));
}

struct vdriver {
	const struct mem *mem;
	uint16_t size;
	uint64_t desc, avail, used; /* guest-physical */
	uint16_t avail_idx;	    /* published */
	uint16_t used_seen;	    /* taken by vdriver_take() */
	uint16_t next_desc;	    /* vdriver_add() uses the table round and round */
};

/* With release and acquire, so that a device on another thread sees what was written before. */
static inline void vdriver_put16(struct vdriver *d, uint64_t gpa, uint16_t v)
{
	uint16_t *p = mem_ptr(d->mem, gpa, sizeof(v));

	if (!p)
		abort();
	__atomic_store_n(p, v, __ATOMIC_RELEASE);
}

static inline uint16_t vdriver_get16(struct vdriver *d, uint64_t gpa)
{
	uint16_t *p = mem_ptr(d->mem, gpa, sizeof(uint16_t));

	if (!p)
		abort();
	return __atomic_load_n(p, __ATOMIC_ACQUIRE);
}

/* A ring at gpa (a multiple of 4096), in the layout of the legacy interface, which any device
 * takes. */
static inline void vdriver_init(struct vdriver *d, const struct mem *mem, uint64_t gpa,
				uint16_t size)
{
	*d = (struct vdriver){.mem = mem, .size = size, .desc = gpa};
	d->avail = gpa + 16 * (uint64_t)size;
	d->used = (d->avail + 6 + 2 * (uint64_t)size + 4095) & ~UINT64_C(4095);
}

/* Bytes from gpa on that the ring takes. */
static inline uint64_t vdriver_bytes(const struct vdriver *d)
{
	return d->used + 6 + 8 * (uint64_t)d->size - d->desc;
}

static inline void vdriver_desc(struct vdriver *d, uint64_t table, uint16_t i, uint64_t addr,
				uint32_t len, uint16_t flags, uint16_t next)
{
	struct vring_desc v = {addr, len, flags, next};

	if (mem_write(d->mem, table + 16 * (uint64_t)i, &v, sizeof(v)))
		abort();
}

/* Sets avail->idx. */
static inline void vdriver_publish(struct vdriver *d, uint16_t idx)
{
	d->avail_idx = idx;
	vdriver_put16(d, d->avail + 2, idx);
}

/* Puts a head into the available ring and publishes it. */
static inline void vdriver_offer(struct vdriver *d, uint16_t head)
{
	vdriver_put16(d, d->avail + 4 + 2 * (d->avail_idx % d->size), head);
	vdriver_publish(d, (uint16_t)(d->avail_idx + 1));
}

struct vdriver_buf {
	uint64_t gpa;
	uint32_t len;
	bool in; /* the device writes it */
};

/* A chain in the descriptor table (the caller sees to it that entries are free); returns its head.
 */
static inline uint16_t vdriver_add(struct vdriver *d, const struct vdriver_buf *buf, unsigned int n)
{
	uint16_t head = d->next_desc % d->size;

	for (unsigned int i = 0; i < n; i++) {
		uint16_t at = d->next_desc++ % d->size;

		vdriver_desc(d, d->desc, at, buf[i].gpa, buf[i].len,
			     (uint16_t)((buf[i].in ? VRING_DESC_F_WRITE : 0) |
					(i + 1 < n ? VRING_DESC_F_NEXT : 0)),
			     d->next_desc % d->size);
	}
	vdriver_offer(d, head);
	return head;
}

static inline uint16_t vdriver_used_idx(struct vdriver *d)
{
	return vdriver_get16(d, d->used + 2);
}

/* The next entry of the used ring; false when there is none. */
static inline bool vdriver_take(struct vdriver *d, struct vring_used_elem *e)
{
	if (vdriver_used_idx(d) == d->used_seen)
		return false;
	if (mem_read(d->mem, d->used + 4 + 8 * (uint64_t)(d->used_seen % d->size), e, sizeof(*e)))
		abort();
	d->used_seen++;
	return true;
}

/* What the driver asks of interrupts, and what the device asks of doorbells. */
static inline void vdriver_set_avail_flags(struct vdriver *d, uint16_t flags)
{
	vdriver_put16(d, d->avail, flags);
}

static inline void vdriver_set_used_event(struct vdriver *d, uint16_t idx)
{
	vdriver_put16(d, d->avail + 4 + 2 * (uint64_t)d->size, idx);
}

static inline uint16_t vdriver_used_flags(struct vdriver *d)
{
	return vdriver_get16(d, d->used);
}

static inline uint16_t vdriver_avail_event(struct vdriver *d)
{
	return vdriver_get16(d, d->used + 4 + 8 * (uint64_t)d->size);
}

#endif
