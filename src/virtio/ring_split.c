/*
 * The split virtqueue, device side: see ring.h. Virtio 1.3 §2.7; the structures are those of
 * <linux/virtio_ring.h>.
 *
 * Runs on the queue's I/O thread; no lock, no allocation. The rings and buffers are the guest's
 * memory, which it may change at any moment, so every word of it is read once, by one load, into a
 * local, and only the local is believed.
 *
 * The two races of suppression, both of the kind "store mine, full barrier, load yours" on both
 * sides (§2.7.13.4.1, §2.7.14): the barrier of virtq_split_flush() pairs with the driver's between
 * arming used_event or avail->flags and looking at used->idx again; that of virtq_split_kicks_on()
 * pairs with the driver's between publishing avail->idx and looking at avail_event or used->flags.
 *
 * What it does not do: endianness other than the host's (x86-64: little, as virtio
 * 1.x and as a legacy guest here has it).
 */
#include <linux/virtio_ring.h>

#include "virtio/ring_internal.h"

/* ---- guest words ---- */

/* A descriptor, as read. */
struct desc {
	uint64_t addr;
	uint32_t len;
	uint16_t flags, next;
};

static inline uint16_t load16(const __virtio16 *p)
{
	return __atomic_load_n(p, __ATOMIC_RELAXED);
}

static inline void store16(__virtio16 *p, uint16_t v)
{
	__atomic_store_n(p, v, __ATOMIC_RELAXED);
}

static inline struct desc desc_load(const struct vring_desc *p)
{
	const volatile struct virtq_any64 *w = (const volatile struct virtq_any64 *)p;
	uint64_t addr = w[0].v, rest = w[1].v;

	return (struct desc){addr, (uint32_t)rest, (uint16_t)(rest >> 32), (uint16_t)(rest >> 48)};
}

/* §2.7.7.2, §2.7.10: each side's event word stands behind the other side's ring. */
static inline __virtio16 *used_event(const struct virtq *q)
{
	return &q->avail->ring[q->size];
}

static inline __virtio16 *avail_event(const struct virtq *q)
{
	return (__virtio16 *)(void *)&q->used->ring[q->size];
}

/* ---- start and stop ---- */

static uint64_t avail_bytes(uint16_t size)
{
	return 6 + 2 * (uint64_t)size;
}

static uint64_t used_bytes(uint16_t size)
{
	return 6 + 8 * (uint64_t)size;
}

const char *virtq_split_config_error(const struct mem *mem, const struct virtq_config *config)
{
	uint16_t size = config->size;

	if (!size || size & (size - 1) || size > VIRTQ_SIZE_MAX)
		return "the queue's size is not a power of two within the limit";
	if (config->desc % VRING_DESC_ALIGN_SIZE)
		return "the descriptor table is not aligned to 16 bytes";
	if (config->avail % VRING_AVAIL_ALIGN_SIZE)
		return "the available ring is not aligned to 2 bytes";
	if (config->used % VRING_USED_ALIGN_SIZE)
		return "the used ring is not aligned to 4 bytes";
	if (!mem_ptr(mem, config->desc, sizeof(struct vring_desc) * size))
		return "the descriptor table is not in RAM";
	if (!mem_ptr(mem, config->avail, avail_bytes(size)))
		return "the available ring is not in RAM";
	if (!mem_ptr(mem, config->used, used_bytes(size)))
		return "the used ring is not in RAM";
	return NULL;
}

int virtq_split_start(struct virtq *q, uint32_t position)
{
	const struct virtq_config *config = &q->config;

	if (position == VIRTQ_POSITION_NEW)
		position = 0;
	q->desc = mem_ptr(q->mem, config->desc, sizeof(struct vring_desc) * q->size);
	q->avail = mem_ptr(q->mem, config->avail, avail_bytes(q->size));
	q->used = mem_ptr(q->mem, config->used, used_bytes(q->size));
	/* At a position no chain is in flight, so both rings stand at the same index. */
	q->avail_next = q->avail_seen = q->used_next = q->used_flushed = (uint16_t)position;
	q->signalled = false;
	return 0;
}

uint32_t virtq_split_stop(struct virtq *q)
{
	q->desc = NULL;
	q->avail = NULL;
	q->used = NULL;
	return q->avail_next;
}

/* ---- pop ---- */

/* Looks at avail->idx. 1 = there is something to pop, 0 = nothing, -EPROTO. */
static int avail_look(struct virtq *q)
{
	uint16_t idx;

	if (q->latched)
		return -EPROTO;
	/* The entries and descriptors below idx are read after it. */
	idx = __atomic_load_n(&q->avail->idx, __ATOMIC_ACQUIRE);
	if ((uint16_t)(idx - q->avail_next) > q->size)
		return virtq_malformed(q,
				       "the available index jumps by more than the queue's size");
	q->avail_seen = idx;
	return idx != q->avail_next;
}

/* Where the descriptors go on: the indirect table that d describes. §2.7.5.3. NULL with the
 * reason. */
static const struct vring_desc *indirect_table(struct virtq *q, const struct desc *d, bool nested,
					       const char **reason)
{
	const void *table;

	if (!q->config.indirect)
		*reason = "an indirect descriptor, which was not negotiated";
	else if (nested)
		*reason = "an indirect descriptor within an indirect table";
	else if (d->flags & VRING_DESC_F_NEXT)
		*reason = "an indirect descriptor that has a next one";
	else if (!d->len || d->len % sizeof(struct vring_desc))
		*reason = "an indirect table whose length is not a multiple of 16";
	else if (!(table = virtq_piece(q, d->addr, d->len)))
		*reason = "an indirect table that is not in RAM";
	else
		return table;
	return NULL;
}

int virtq_split_pop(struct virtq *q, struct virtq_chain *chain, struct iovec *iov, unsigned int max)
{
	const struct vring_desc *table = q->desc;
	uint32_t n = q->size, left = n; /* entries of the table; those that may still be read */
	uint64_t bytes[2] = {0, 0};	/* out, in */
	unsigned int pieces[2] = {0, 0};
	const char *reason = NULL;
	bool nested = false;
	struct desc d;
	uint16_t head, i;
	int ret;

	if (q->avail_next == q->avail_seen) {
		ret = avail_look(q);
		if (ret <= 0)
			return ret;
	}
	head = i = load16(&q->avail->ring[q->avail_next & (q->size - 1)]);
	if (head >= n)
		return virtq_malformed(q, "the head of a chain is outside the descriptor table");
	for (;;) {
		unsigned int used = pieces[0] + pieces[1];
		bool in;

		if (!left--)
			return virtq_malformed(q, "a descriptor chain loops");
		d = desc_load(&table[i]);
		if (d.flags & VRING_DESC_F_INDIRECT) {
			table = indirect_table(q, &d, nested, &reason);
			if (!table)
				return virtq_malformed(q, reason);
			nested = true; /* not told by the address: it may be the ring's own table */
			n = left = d.len / sizeof(struct vring_desc);
			i = 0;
			continue;
		}
		in = d.flags & VRING_DESC_F_WRITE;
		if (!in && pieces[1])
			return virtq_malformed(q, "a readable descriptor follows a writable one");
		if (!d.len)
			return virtq_malformed(q, "a descriptor of no length");
		ret = virtq_buffer(q, d.addr, d.len, iov + used, max - used);
		if (ret == -E2BIG)
			return ret;
		if (ret < 0)
			return virtq_malformed(q, "a buffer is not in RAM");
		pieces[in] += ret;
		bytes[in] += d.len;
		if (!(d.flags & VRING_DESC_F_NEXT))
			break;
		i = d.next;
		if (i >= n)
			return virtq_malformed(q, "a next index is outside its descriptor table");
	}
	/* §2.7.5.2: no chain is longer than 2^32 bytes in total. */
	if (bytes[0] + bytes[1] > UINT32_MAX)
		return virtq_malformed(q, "a descriptor chain of 4 GiB or more");
	*chain = (struct virtq_chain){.iov = iov,
				      .n_out = (uint16_t)pieces[0],
				      .n_in = (uint16_t)pieces[1],
				      .head = head,
				      .out_bytes = (uint32_t)bytes[0],
				      .in_bytes = (uint32_t)bytes[1]};
	q->avail_next++;
	counter_add(&q->counters.chains, 1);
	return 1;
}

void virtq_split_unpop(struct virtq *q, uint16_t n)
{
	if (q->latched)
		return;
	q->avail_next -= n;
	counter_add(&q->counters.chains, -(uint64_t)n);
}

bool virtq_split_pending(struct virtq *q)
{
	return q->avail_next != q->avail_seen || avail_look(q) > 0;
}

/* ---- fill and flush ---- */

void virtq_split_fill(struct virtq *q, const struct virtq_chain *chain, uint32_t written)
{
	struct vring_used_elem *e = &q->used->ring[q->used_next++ & (q->size - 1)];

	__atomic_store_n(&e->id, chain->head, __ATOMIC_RELAXED);
	__atomic_store_n(&e->len, written, __ATOMIC_RELAXED);
}

/* Does the driver want to hear that used->idx went from old to where it is now? */
static bool wants_interrupt(struct virtq *q, uint16_t old)
{
	bool first = !q->signalled;

	q->signalled = true;
	/* Legacy, when offered and taken: an interrupt when the queue runs empty, whatever else was
	 * asked. */
	if (q->config.notify_on_empty && q->used_next == q->avail_next && !virtq_split_pending(q))
		return true;
	if (!q->config.event_idx)
		return !(load16(&q->avail->flags) & VRING_AVAIL_F_NO_INTERRUPT);
	/* §2.7.8: the driver names the entry whose use it waits for. */
	return first || vring_need_event(load16(used_event(q)), q->used_flushed, old);
}

void virtq_split_flush(struct virtq *q)
{
	uint16_t old = q->used_flushed;

	if (q->used_next == old || q->latched)
		return;
	/* The driver that sees idx sees the entries and the buffers below it. */
	__atomic_store_n(&q->used->idx, q->used_next, __ATOMIC_RELEASE);
	q->used_flushed = q->used_next;
	counter_add(&q->counters.batches, 1);
	virtq_full_barrier(); /* see the head of this file */
	if (!wants_interrupt(q, old)) {
		counter_add(&q->counters.suppressed, 1);
		return;
	}
	counter_add(&q->counters.notified, 1);
	q->notify(q);
}

/* ---- doorbells ---- */

void virtq_split_kicks_off(struct virtq *q)
{
	if (!q->kicks)
		return;
	q->kicks = false;
	/* With event indexes silence is an avail_event left behind: it comes round once in 65536
	 * entries. */
	if (!q->config.event_idx)
		store16(&q->used->flags, VRING_USED_F_NO_NOTIFY);
}

bool virtq_split_kicks_on(struct virtq *q)
{
	q->kicks = true;
	if (q->config.event_idx)
		store16(avail_event(q), q->avail_next);
	else
		store16(&q->used->flags, 0);
	virtq_full_barrier(); /* see the head of this file */
	return virtq_split_pending(q);
}
