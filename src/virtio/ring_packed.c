/*
 * The packed virtqueue, device side: see ring.h. Virtio 1.3 §2.8; the structures are those of
 * <linux/virtio_ring.h>.
 *
 *	                          avail_at (pop)
 *	                              v
 *	ring    | used | used | A  B  B  C | D  E  . . . . |      B: a chain of two
 *	                        ^
 *	                    used_at (fill)
 *
 * One ring, which both sides write. AVAIL and USED in a descriptor's flags say whose it is: against
 * a wrap counter, 1 at first and changed at every round, AVAIL = counter, USED = not the counter is
 * the driver's "available", both = counter is the device's "used". The device reads along in ring
 * order. A chain that is done, in whatever order, is one used descriptor at used_at, which then goes
 * on by as many entries as the chain had; what stood there belongs to chains that were read before,
 * so nothing is lost.
 *
 * A batch is published by one store, as with the split ring: its used descriptors are written as
 * they come, but the first one only at the flush. The driver looks at entries in order and stops at
 * that one; a frame in several buffers is so seen whole or not at all (§2.8.9).
 *
 * Length, id and flags of a descriptor are 8 aligned bytes: read by one load and written by one
 * store, acquire and release (§2.8.21, §2.8.22). The address before them is read after them.
 *
 * Suppression is of the kind "store mine, full barrier, load yours" on both sides: the barrier of
 * virtq_packed_flush() pairs with the driver's between writing its event structure and looking for
 * used descriptors again; that of virtq_packed_kicks_on() with the driver's between making
 * descriptors available and reading the device's event structure.
 *
 * Runs on the queue's I/O thread; no lock, no allocation. Every word of the guest's is read once.
 *
 * What it does not do: VIRTIO_F_IN_ORDER; notification data.
 */
#include <linux/virtio_ring.h>
#include <stddef.h>
#include <stdlib.h>

#include "virtio/ring_internal.h"

#define F_AVAIL	    (1u << VRING_PACKED_DESC_F_AVAIL)
#define F_USED	    (1u << VRING_PACKED_DESC_F_USED)
#define EVENT_WRAP  (1u << VRING_PACKED_EVENT_F_WRAP_CTR)
#define EVENT_FLAGS 3u /* the other bits are reserved */
#define EVENT_BYTES 4
#define EVENT_ALIGN 4

/* The halves of a descriptor, or the whole of an event structure, in one access. */
struct half {
	uint64_t v;
} __attribute__((may_alias));

struct event {
	uint32_t v;
} __attribute__((may_alias));

/* A descriptor, as read. */
struct desc {
	uint64_t addr;
	uint32_t len;
	uint16_t id, flags;
};

/* A chain that is being put together. */
struct building {
	struct iovec *iov;
	unsigned int max;
	uint64_t bytes[2];	/* out, in */
	unsigned int pieces[2]; /* out, in */
};

/* ---- guest words ---- */

static inline struct desc desc_of(uint64_t addr, uint64_t rest)
{
	return (struct desc){addr, (uint32_t)rest, (uint16_t)(rest >> 32), (uint16_t)(rest >> 48)};
}

/* The flags first, then what they vouch for. */
static inline struct desc desc_load(const struct vring_packed_desc *p)
{
	const struct half *h = (const struct half *)p;
	uint64_t rest = __atomic_load_n(&h[1].v, __ATOMIC_ACQUIRE);

	return desc_of(__atomic_load_n(&h[0].v, __ATOMIC_RELAXED), rest);
}

static inline void used_store(struct vring_packed_desc *p, uint64_t rest)
{
	/* The driver that sees the flags sees the length, the id and the buffers. */
	__atomic_store_n(&((struct half *)p)[1].v, rest, __ATOMIC_RELEASE);
}

static inline bool is_available(uint16_t flags, bool wrap)
{
	return (flags & (F_AVAIL | F_USED)) == (wrap ? F_AVAIL : F_USED);
}

/* What the driver reads before it rings the doorbell; entry and wrap count with FLAG_DESC. */
static void device_event(struct virtq *q, uint16_t flags, uint16_t entry, bool wrap)
{
	uint32_t v = entry | (wrap ? EVENT_WRAP : 0) | (uint32_t)flags << 16;

	__atomic_store_n(&((struct event *)q->device)->v, v, __ATOMIC_RELAXED);
}

/* ---- start and stop ---- */

const char *virtq_packed_config_error(const struct mem *mem, const struct virtq_config *config)
{
	if (!config->size || config->size > VIRTQ_SIZE_MAX)
		return "the queue's size is not within the limit";
	if (config->desc % VRING_DESC_ALIGN_SIZE)
		return "the descriptor ring is not aligned to 16 bytes";
	if (config->avail % EVENT_ALIGN)
		return "the driver's event structure is not aligned to 4 bytes";
	if (config->used % EVENT_ALIGN)
		return "the device's event structure is not aligned to 4 bytes";
	if (!mem_ptr(mem, config->desc, sizeof(struct vring_packed_desc) * config->size))
		return "the descriptor ring is not in RAM";
	if (!mem_ptr(mem, config->avail, EVENT_BYTES))
		return "the driver's event structure is not in RAM";
	if (!mem_ptr(mem, config->used, EVENT_BYTES))
		return "the device's event structure is not in RAM";
	return NULL;
}

int virtq_packed_start(struct virtq *q, uint32_t position)
{
	const struct virtq_config *config = &q->config;
	uint16_t at;

	if (position == VIRTQ_POSITION_NEW)
		position = EVENT_WRAP << 16 | EVENT_WRAP;
	at = position & (EVENT_WRAP - 1);
	/* At a position no chain is in flight, so both stand at the same entry. */
	if (position >> 16 != (position & UINT16_MAX) || at >= q->size)
		return -EINVAL;
	q->descs = calloc(q->size, sizeof(q->descs[0]));
	if (!q->descs)
		return -ENOMEM;
	q->ring = mem_ptr(q->mem, config->desc, sizeof(struct vring_packed_desc) * q->size);
	q->driver = mem_ptr(q->mem, config->avail, EVENT_BYTES);
	q->device = mem_ptr(q->mem, config->used, EVENT_BYTES);
	q->avail_at = q->used_at = at;
	q->avail_wrap = q->used_wrap = position & EVENT_WRAP;
	q->in_flight = q->batch = q->pop_at = 0;
	return 0;
}

uint32_t virtq_packed_stop(struct virtq *q)
{
	uint32_t avail = q->avail_at | (q->avail_wrap ? EVENT_WRAP : 0);
	uint32_t used = q->used_at | (q->used_wrap ? EVENT_WRAP : 0);

	free(q->descs);
	q->descs = NULL;
	q->ring = NULL;
	q->driver = NULL;
	q->device = NULL;
	return used << 16 | avail;
}

/* ---- pop ---- */

/* A buffer of the chain. 0, -E2BIG, -EPROTO. */
static inline int element(struct virtq *q, struct building *b, const struct desc *d)
{
	unsigned int used = b->pieces[0] + b->pieces[1];
	bool in = d->flags & VRING_DESC_F_WRITE;
	int ret;

	if (!in && b->pieces[1])
		return virtq_malformed(q, "a readable descriptor follows a writable one");
	if (!d->len)
		return virtq_malformed(q, "a descriptor of no length");
	ret = virtq_buffer(q, d->addr, d->len, b->iov + used, b->max - used);
	if (ret == -E2BIG)
		return ret;
	if (ret < 0)
		return virtq_malformed(q, "a buffer is not in RAM");
	b->pieces[in] += ret;
	b->bytes[in] += d->len;
	return 0;
}

/* The buffers of an indirect table, which d describes: all of its entries, in order; NEXT and the
 * id mean nothing there (§2.8.7). As many as b has room for are looked at. 0, -E2BIG, -EPROTO. */
static int indirect(struct virtq *q, struct building *b, const struct desc *d)
{
	const volatile struct virtq_any64 *w;

	if (!q->config.indirect)
		return virtq_malformed(q, "an indirect descriptor, which was not negotiated");
	if (d->flags & VRING_DESC_F_NEXT)
		return virtq_malformed(q, "an indirect descriptor that has a next one");
	if (!d->len || d->len % sizeof(struct vring_packed_desc))
		return virtq_malformed(q, "an indirect table whose length is not a multiple of 16");
	w = virtq_piece(q, d->addr, d->len);
	if (!w)
		return virtq_malformed(q, "an indirect table that is not in RAM");
	for (uint32_t i = 0; i < d->len / sizeof(struct vring_packed_desc); i++, w += 2) {
		struct desc e = desc_of(w[0].v, w[1].v);
		int ret;

		/* To be ignored, says §2.8.7 of all flags but one; but who sets this one means a
		 * table, and would have it taken for data. */
		if (e.flags & VRING_DESC_F_INDIRECT)
			return virtq_malformed(q,
					       "an indirect descriptor within an indirect table");
		ret = element(q, b, &e);
		if (ret)
			return ret;
	}
	return 0;
}

int virtq_packed_pop(struct virtq *q, struct virtq_chain *chain, struct iovec *iov,
		     unsigned int max)
{
	struct building b = {.iov = iov, .max = max};
	uint16_t at = q->avail_at, left = q->size - q->in_flight, n = 0;
	bool wrap = q->avail_wrap;
	struct desc d;
	int ret;

	if (q->latched)
		return -EPROTO;
	if (!left) /* every entry is in our hands */
		return 0;
	d = desc_load(&q->ring[at]);
	if (!is_available(d.flags, wrap))
		return 0;
	for (;;) {
		n++;
		if (!(d.flags & VRING_DESC_F_INDIRECT))
			ret = element(q, &b, &d);
		else if (n == 1)
			ret = indirect(q, &b, &d);
		else /* §2.8.19 */
			ret = virtq_malformed(q, "an indirect descriptor in a chain");
		if (ret)
			return ret;
		if (++at == q->size) {
			at = 0;
			wrap = !wrap;
		}
		if (!(d.flags & VRING_DESC_F_NEXT))
			break;
		if (n == left)
			return virtq_malformed(q, "a descriptor chain loops");
		d = desc_load(&q->ring[at]);
		/* §2.8.6: the flags are right in all descriptors, once they are in the first. */
		if (!is_available(d.flags, wrap))
			return virtq_malformed(q, "a chain has a descriptor that is not available");
	}
	/* The last one has it. */
	if (d.id >= q->size)
		return virtq_malformed(q, "a buffer id is outside the queue's size");
	if (b.bytes[0] + b.bytes[1] > UINT32_MAX)
		return virtq_malformed(q, "a descriptor chain of 4 GiB or more");
	*chain = (struct virtq_chain){.iov = iov,
				      .n_out = (uint16_t)b.pieces[0],
				      .n_in = (uint16_t)b.pieces[1],
				      .head = d.id,
				      .descs = n,
				      .out_bytes = (uint32_t)b.bytes[0],
				      .in_bytes = (uint32_t)b.bytes[1]};
	q->descs[q->pop_at] = n;
	q->pop_at = q->pop_at + 1 < q->size ? q->pop_at + 1 : 0;
	q->avail_at = at;
	q->avail_wrap = wrap;
	q->in_flight += n;
	counter_add(&q->counters.chains, 1);
	return 1;
}

void virtq_packed_unpop(struct virtq *q, uint16_t n)
{
	if (q->latched)
		return;
	for (uint16_t i = 0; i < n; i++) {
		uint16_t descs;

		q->pop_at = (q->pop_at ? q->pop_at : q->size) - 1;
		descs = q->descs[q->pop_at];
		q->in_flight -= descs;
		if (q->avail_at < descs) {
			q->avail_at += q->size;
			q->avail_wrap = !q->avail_wrap;
		}
		q->avail_at -= descs;
	}
	counter_add(&q->counters.chains, -(uint64_t)n);
}

bool virtq_packed_pending(struct virtq *q)
{
	return !q->latched && q->in_flight < q->size &&
	       is_available(__atomic_load_n(&q->ring[q->avail_at].flags, __ATOMIC_RELAXED),
			    q->avail_wrap);
}

/* ---- fill and flush ---- */

void virtq_packed_fill(struct virtq *q, const struct virtq_chain *chain, uint32_t written)
{
	uint64_t flags = (q->used_wrap ? F_AVAIL | F_USED : 0) | (written ? VRING_DESC_F_WRITE : 0);
	uint64_t rest = written | (uint64_t)chain->head << 32 | flags << 48;

	if (q->batch) {
		used_store(&q->ring[q->used_at], rest);
	} else {
		q->batch_at = q->used_at;
		q->batch_first = rest;
	}
	q->batch += chain->descs;
	q->used_at += chain->descs;
	if (q->used_at >= q->size) {
		q->used_at -= q->size;
		q->used_wrap = !q->used_wrap;
	}
}

/* Does the driver want to hear of the batch of n entries from `at` on? */
static bool wants_interrupt(struct virtq *q, uint16_t at, bool wrap, uint16_t n)
{
	uint32_t v = __atomic_load_n(&((const struct event *)q->driver)->v, __ATOMIC_RELAXED);
	uint16_t entry = v & (EVENT_WRAP - 1);
	int ahead;

	switch (v >> 16 & EVENT_FLAGS) {
	case VRING_PACKED_EVENT_FLAG_DISABLE:
		return false;
	case VRING_PACKED_EVENT_FLAG_DESC:
		break;
	default:
		return true;
	}
	/* Nonsense is better answered by an interrupt too many than by none. */
	if (!q->config.event_idx || entry >= q->size)
		return true;
	/* Two rounds, one with the counter set and one without, until the same place comes again.
	 */
	ahead = entry - at + (wrap == !!(v & EVENT_WRAP) ? 0 : q->size);
	if (ahead < 0)
		ahead += 2 * q->size;
	return ahead < n;
}

void virtq_packed_flush(struct virtq *q)
{
	uint16_t n = q->batch;

	if (!n || q->latched)
		return;
	used_store(&q->ring[q->batch_at], q->batch_first);
	q->batch = 0;
	q->in_flight -= n;
	counter_add(&q->counters.batches, 1);
	virtq_full_barrier(); /* see the head of this file */
	if (!wants_interrupt(q, q->batch_at, q->batch_first >> 48 & F_USED, n)) {
		counter_add(&q->counters.suppressed, 1);
		return;
	}
	counter_add(&q->counters.notified, 1);
	q->notify(q);
}

/* ---- doorbells ---- */

void virtq_packed_kicks_off(struct virtq *q)
{
	if (!q->kicks)
		return;
	q->kicks = false;
	device_event(q, VRING_PACKED_EVENT_FLAG_DISABLE, 0, false);
}

bool virtq_packed_kicks_on(struct virtq *q)
{
	q->kicks = true;
	if (q->config.event_idx)
		device_event(q, VRING_PACKED_EVENT_FLAG_DESC, q->avail_at, q->avail_wrap);
	else
		device_event(q, VRING_PACKED_EVENT_FLAG_ENABLE, 0, false);
	virtq_full_barrier(); /* see the head of this file */
	return virtq_packed_pending(q);
}
