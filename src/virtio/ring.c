/*
 * The split virtqueue, device side: see ring.h. Virtio 1.3 §2.7; the structures are those of
 * <linux/virtio_ring.h>.
 *
 * Runs on the queue's I/O thread; no lock, no allocation. The rings and buffers are the guest's
 * memory, which it may change at any moment, so every word of it is read once, by one load, into a
 * local, and only the local is believed.
 *
 * The two races of suppression, both of the kind "store mine, full barrier, load yours" on both
 * sides (§2.7.13.4.1, §2.7.14): the barrier of virtq_flush() pairs with the driver's between arming
 * used_event or avail->flags and looking at used->idx again; that of virtq_kicks_on() pairs with
 * the driver's between publishing avail->idx and looking at avail_event or used->flags.
 *
 * What it does not do: packed rings; endianness other than the host's (x86-64: little, as virtio
 * 1.x and as a legacy guest here has it).
 */
#include <errno.h>
#include <linux/virtio_ring.h>
#include <stddef.h>

#include "virtio/ring.h"

const struct counter_desc virtq_counter_table[] = {
	{"kicks", offsetof(struct virtq_counters, kicks), "doorbells that arrived"},
	{"chains", offsetof(struct virtq_counters, chains), "buffer chains taken from the driver"},
	{"batches", offsetof(struct virtq_counters, batches), "updates of the used ring's index"},
	{"notified", offsetof(struct virtq_counters, notified), "interrupts sent"},
	{"suppressed", offsetof(struct virtq_counters, suppressed),
	 "batches without an interrupt, as the driver wished"},
	{"malformed", offsetof(struct virtq_counters, malformed),
	 "times that this ring's contents latched the device"},
	{NULL, 0, NULL},
};

/* ---- guest words ---- */

/* A descriptor, as read. */
struct desc {
	uint64_t addr;
	uint32_t len;
	uint16_t flags, next;
};

/* An indirect table may stand at any address (§2.7.5.3 asks for no alignment). */
struct any64 {
	uint64_t v;
} __attribute__((packed, may_alias));

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
	const volatile struct any64 *w = (const volatile struct any64 *)p;
	uint64_t addr = w[0].v, rest = w[1].v;

	return (struct desc){addr, (uint32_t)rest, (uint16_t)(rest >> 32), (uint16_t)(rest >> 48)};
}

/* A store before it is seen by others before a load after it is done. */
static inline void full_barrier(void)
{
	__asm__ volatile("lock; addl $0, -4(%%rsp)" ::: "memory", "cc");
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

const char *virtq_config_error(const struct mem *mem, const struct virtq_config *config)
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

int virtq_start(struct virtq *q, const struct virtq_config *config, uint32_t position)
{
	if (virtq_config_error(q->mem, config))
		return -EINVAL;
	q->config = *config;
	q->size = config->size;
	q->desc = mem_ptr(q->mem, config->desc, sizeof(struct vring_desc) * q->size);
	q->avail = mem_ptr(q->mem, config->avail, avail_bytes(q->size));
	q->used = mem_ptr(q->mem, config->used, used_bytes(q->size));
	q->near = &q->mem->range[0];
	/* At a position no chain is in flight, so both rings stand at the same index. */
	q->avail_next = q->avail_seen = q->used_next = q->used_flushed = (uint16_t)position;
	q->signalled = false;
	q->latched = false;
	q->kicks = true;
	virtq_kicks_off(q);
	return 0;
}

uint32_t virtq_stop(struct virtq *q)
{
	q->desc = NULL;
	q->avail = NULL;
	q->used = NULL;
	return q->avail_next;
}

void virtq_latch(struct virtq *q, const char *reason)
{
	if (q->latched)
		return;
	q->latched = true;
	q->avail_seen = q->avail_next; /* sends the next pop down its slow path */
	counter_add(&q->counters.malformed, 1);
	q->broken(q, reason);
}

static int malformed(struct virtq *q, const char *reason)
{
	virtq_latch(q, reason);
	return -EPROTO;
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
		return malformed(q, "the available index jumps by more than the queue's size");
	q->avail_seen = idx;
	return idx != q->avail_next;
}

/* len bytes at gpa in one piece, or NULL; remembers the range. */
static inline void *piece(struct virtq *q, uint64_t gpa, uint64_t len)
{
	const struct mem_range *r = q->near;
	uint64_t offset = gpa - r->gpa;

	if (offset < r->size && len <= r->size - offset)
		return r->hva + offset;
	for (unsigned int i = 0; i < q->mem->n_ranges; i++) {
		r = &q->mem->range[i];
		offset = gpa - r->gpa;
		if (offset < r->size && len <= r->size - offset) {
			q->near = r;
			return r->hva + offset;
		}
	}
	return NULL;
}

/* One buffer into iov; the number of pieces (nearly always 1), -E2BIG, -EFAULT. */
static inline int buffer(struct virtq *q, const struct desc *d, struct iovec *iov, unsigned int max)
{
	void *hva;

	if (!max)
		return -E2BIG;
	hva = piece(q, d->addr, d->len);
	if (!hva)
		return mem_iov(q->mem, d->addr, d->len, iov, (int)max);
	iov->iov_base = hva;
	iov->iov_len = d->len;
	return 1;
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
	else if (!(table = piece(q, d->addr, d->len)))
		*reason = "an indirect table that is not in RAM";
	else
		return table;
	return NULL;
}

int virtq_pop(struct virtq *q, struct virtq_chain *chain, struct iovec *iov, unsigned int max)
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
		return malformed(q, "the head of a chain is outside the descriptor table");
	for (;;) {
		unsigned int used = pieces[0] + pieces[1];
		bool in;

		if (!left--)
			return malformed(q, "a descriptor chain loops");
		d = desc_load(&table[i]);
		if (d.flags & VRING_DESC_F_INDIRECT) {
			table = indirect_table(q, &d, nested, &reason);
			if (!table)
				return malformed(q, reason);
			nested = true; /* not told by the address: it may be the ring's own table */
			n = left = d.len / sizeof(struct vring_desc);
			i = 0;
			continue;
		}
		in = d.flags & VRING_DESC_F_WRITE;
		if (!in && pieces[1])
			return malformed(q, "a readable descriptor follows a writable one");
		if (!d.len)
			return malformed(q, "a descriptor of no length");
		ret = buffer(q, &d, iov + used, max - used);
		if (ret == -E2BIG)
			return ret;
		if (ret < 0)
			return malformed(q, "a buffer is not in RAM");
		pieces[in] += ret;
		bytes[in] += d.len;
		if (!(d.flags & VRING_DESC_F_NEXT))
			break;
		i = d.next;
		if (i >= n)
			return malformed(q, "a next index is outside its descriptor table");
	}
	/* §2.7.5.2: no chain is longer than 2^32 bytes in total. */
	if (bytes[0] + bytes[1] > UINT32_MAX)
		return malformed(q, "a descriptor chain of 4 GiB or more");
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

void virtq_unpop(struct virtq *q, uint16_t n)
{
	if (q->latched)
		return;
	q->avail_next -= n;
	counter_add(&q->counters.chains, -(uint64_t)n);
}

bool virtq_pending(struct virtq *q)
{
	return q->avail_next != q->avail_seen || avail_look(q) > 0;
}

/* ---- fill and flush ---- */

void virtq_fill(struct virtq *q, const struct virtq_chain *chain, uint32_t written)
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
	if (q->config.notify_on_empty && q->used_next == q->avail_next && !virtq_pending(q))
		return true;
	if (!q->config.event_idx)
		return !(load16(&q->avail->flags) & VRING_AVAIL_F_NO_INTERRUPT);
	/* §2.7.8: the driver names the entry whose use it waits for. */
	return first || vring_need_event(load16(used_event(q)), q->used_flushed, old);
}

void virtq_flush(struct virtq *q)
{
	uint16_t old = q->used_flushed;

	if (q->used_next == old || q->latched)
		return;
	/* The driver that sees idx sees the entries and the buffers below it. */
	__atomic_store_n(&q->used->idx, q->used_next, __ATOMIC_RELEASE);
	q->used_flushed = q->used_next;
	counter_add(&q->counters.batches, 1);
	full_barrier(); /* see the head of this file */
	if (!wants_interrupt(q, old)) {
		counter_add(&q->counters.suppressed, 1);
		return;
	}
	counter_add(&q->counters.notified, 1);
	q->notify(q);
}

/* ---- doorbells ---- */

void virtq_kicks_off(struct virtq *q)
{
	if (!q->kicks)
		return;
	q->kicks = false;
	/* With event indexes silence is an avail_event left behind: it comes round once in 65536
	 * entries. */
	if (!q->config.event_idx)
		store16(&q->used->flags, VRING_USED_F_NO_NOTIFY);
}

bool virtq_kicks_on(struct virtq *q)
{
	q->kicks = true;
	if (q->config.event_idx)
		store16(avail_event(q), q->avail_next);
	else
		store16(&q->used->flags, 0);
	full_barrier(); /* see the head of this file */
	return virtq_pending(q);
}
