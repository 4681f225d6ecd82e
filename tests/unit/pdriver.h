/*
 * The driver's side of a packed virtqueue, for tests, beside vdriver.h: lays the ring out in guest
 * memory, makes chains available, reads what comes back. Virtio 1.3 §2.8. pdriver_desc() writes any
 * nonsense anywhere.
 *
 * Buffer ids are given out so that they are not the entries' numbers.
 */
#ifndef VIREO_TESTS_PDRIVER_H
#define VIREO_TESTS_PDRIVER_H

#include "vdriver.h"

#define PD_AVAIL (1u << VRING_PACKED_DESC_F_AVAIL)
#define PD_USED	 (1u << VRING_PACKED_DESC_F_USED)
#define PD_WRAP	 (1u << VRING_PACKED_EVENT_F_WRAP_CTR)

struct pdriver {
	const struct mem *mem;
	uint16_t size;
	uint64_t desc, driver, device; /* guest-physical */
	uint16_t avail_at, used_at;
	bool avail_wrap, used_wrap;
	uint16_t next_id;
	uint16_t descs[32768]; /* entries of a chain, by id */
};

struct pdriver_used {
	uint32_t len;
	uint16_t id;
	bool wrote; /* the flag that says that len means something */
};

/* A ring at gpa (a multiple of 16), the two event structures behind it. */
static inline void pdriver_init(struct pdriver *d, const struct mem *mem, uint64_t gpa,
				uint16_t size)
{
	*d = (struct pdriver){
		.mem = mem, .size = size, .desc = gpa, .avail_wrap = true, .used_wrap = true};
	d->driver = gpa + 16 * (uint64_t)size;
	d->device = d->driver + 4;
	d->next_id = size / 2;
}

/* Bytes from gpa on that the ring takes. */
static inline uint64_t pdriver_bytes(const struct pdriver *d)
{
	return 16 * (uint64_t)d->size + 8;
}

static inline struct vring_packed_desc *pdriver_at(struct pdriver *d, uint64_t table, uint16_t i)
{
	struct vring_packed_desc *p =
		mem_ptr(d->mem, table + 16 * (uint64_t)i, sizeof(struct vring_packed_desc));

	if (!p)
		abort();
	return p;
}

/* Any descriptor; the flags last, with release, for a device on another thread. */
static inline void pdriver_desc(struct pdriver *d, uint64_t table, uint16_t i, uint64_t addr,
				uint32_t len, uint16_t id, uint16_t flags)
{
	struct vring_packed_desc v = {addr, len, id, flags};
	struct vring_packed_desc *p = pdriver_at(d, table, i);

	memcpy(p, &v, offsetof(struct vring_packed_desc, flags));
	__atomic_store_n(&p->flags, flags, __ATOMIC_RELEASE);
}

static inline void pdriver_step(struct pdriver *d, uint16_t *at, bool *wrap, uint16_t n)
{
	*at = (uint16_t)(*at + n);
	if (*at >= d->size) {
		*at = (uint16_t)(*at - d->size);
		*wrap = !*wrap;
	}
}

static inline uint16_t pdriver_flags(bool wrap)
{
	return wrap ? PD_AVAIL : PD_USED;
}

/* A chain at the next entries, the first one's flags last; returns its id. The caller sees to it
 * that there is room. */
static inline uint16_t pdriver_add(struct pdriver *d, const struct vdriver_buf *buf, unsigned int n)
{
	uint16_t id = d->next_id++ % d->size, at = d->avail_at;
	bool wrap = d->avail_wrap;

	pdriver_step(d, &at, &wrap, (uint16_t)n);
	for (unsigned int i = n; i-- > 0;) {
		uint16_t e = d->avail_at;
		bool w = d->avail_wrap;

		pdriver_step(d, &e, &w, (uint16_t)i);
		pdriver_desc(d, d->desc, e, buf[i].gpa, buf[i].len, id,
			     (uint16_t)((buf[i].in ? VRING_DESC_F_WRITE : 0) |
					(i + 1 < n ? VRING_DESC_F_NEXT : 0) | pdriver_flags(w)));
	}
	d->avail_at = at;
	d->avail_wrap = wrap;
	d->descs[id] = (uint16_t)n;
	return id;
}

/* One descriptor of any kind at the next entry, available, as a chain of its own. */
static inline void pdriver_put(struct pdriver *d, uint64_t addr, uint32_t len, uint16_t id,
			       uint16_t flags)
{
	pdriver_desc(d, d->desc, d->avail_at, addr, len, id, flags | pdriver_flags(d->avail_wrap));
	d->descs[id % 32768] = 1;
	pdriver_step(d, &d->avail_at, &d->avail_wrap, 1);
}

static inline bool pdriver_pending(struct pdriver *d)
{
	uint16_t flags =
		__atomic_load_n(&pdriver_at(d, d->desc, d->used_at)->flags, __ATOMIC_ACQUIRE);

	return (flags & (PD_AVAIL | PD_USED)) == (d->used_wrap ? PD_AVAIL | PD_USED : 0);
}

/* The next used descriptor; false when there is none. */
static inline bool pdriver_take(struct pdriver *d, struct pdriver_used *u)
{
	const struct vring_packed_desc *p = pdriver_at(d, d->desc, d->used_at);

	if (!pdriver_pending(d))
		return false;
	*u = (struct pdriver_used){p->len, p->id, p->flags & VRING_DESC_F_WRITE};
	if (u->id >= d->size || !d->descs[u->id])
		abort();
	pdriver_step(d, &d->used_at, &d->used_wrap, d->descs[u->id]);
	d->descs[u->id] = 0;
	return true;
}

static inline void pdriver_set_event(struct pdriver *d, uint16_t flags, uint16_t entry, bool wrap)
{
	struct vdriver v = {.mem = d->mem};

	vdriver_put16(&v, d->driver, (uint16_t)(entry | (wrap ? PD_WRAP : 0)));
	vdriver_put16(&v, d->driver + 2, flags);
}

/* What the device asks: flags << 16 | wrap << 15 | entry. */
static inline uint32_t pdriver_device_event(struct pdriver *d)
{
	struct vdriver v = {.mem = d->mem};

	return vdriver_get16(&v, d->device) | (uint32_t)vdriver_get16(&v, d->device + 2) << 16;
}

#endif
