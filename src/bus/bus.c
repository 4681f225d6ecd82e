/*
 * Dispatch of port and memory accesses.
 *
 * Look-up and reclamation. A space's table is an array of intervals, sorted, without overlap. A
 * reader (a vCPU) announces itself by storing the current epoch, loads the table pointer, uses the
 * table, and stores 0. Whoever replaces a table raises the epoch after the swap and puts the old
 * one on a list: it is freed once every reader is at 0 or at an epoch that came after. A mapping
 * changed from within a handler (a guest moving a BAR) leaves its old table on the list until the
 * next change: a reader can't wait for itself.
 *
 * Posted writes (bus/posted.h) come out of a ring, in the order in which the guest made them, by
 * whoever drains: an I/O thread that polls, or a vCPU, because every exit empties the ring before it
 * is served. One thread drains at a time (posted_lock), and counts as one more reader; an entry
 * leaves the ring when its handler has returned, so an empty ring needs no lock to be believed.
 */
#include "bus/bus.h"

#include <errno.h>
#include <immintrin.h>
#include <sched.h>
#include <stdlib.h>
#include <string.h>

#include "base/loop.h"
#include "bus/bus_internal.h"
#include "bus/posted.h"
#include "kvm/vm.h"

#define PIO_END 0x10000
#define SPIN_NS 20000 /* about what waking a thread takes (base/loop.h) */

#define COUNTER(field, space, name, help)                               \
	{                                                               \
		name, offsetof(struct bus_counters, field[space]), help \
	}
const struct counter_desc bus_counter_table[] = {
	COUNTER(reads, BUS_PIO, "pio-reads", "port reads that reached vireo"),
	COUNTER(writes, BUS_PIO, "pio-writes", "port writes that reached vireo"),
	COUNTER(unclaimed, BUS_PIO, "pio-unclaimed", "of these, to no device"),
	COUNTER(posted, BUS_PIO, "pio-posted", "port writes taken without an exit"),
	COUNTER(reads, BUS_MMIO, "mmio-reads", "memory reads that reached vireo"),
	COUNTER(writes, BUS_MMIO, "mmio-writes", "memory writes that reached vireo"),
	COUNTER(unclaimed, BUS_MMIO, "mmio-unclaimed", "of these, to no device"),
	COUNTER(posted, BUS_MMIO, "mmio-posted",
		"memory writes taken without an exit (reads of shadowed registers can't be "
		"counted: nobody sees them)"),
	{"posted-lost", offsetof(struct bus_counters, posted_lost),
	 "of the writes taken without an exit, those whose register was gone by then"},
	{0},
};

int bus_create(struct bus **out, struct vm *vm, struct err *err)
{
	struct bus *bus = aligned_alloc(64, sizeof(*bus));

	*out = NULL;
	if (!bus)
		return err_set(err, -ENOMEM, "out of memory");
	memset(bus, 0, sizeof(*bus));
	bus->vm = vm;
	bus->epoch = 1;
	pthread_mutex_init(&bus->lock, NULL);
	pthread_mutex_init(&bus->posted_lock, NULL);
	TAILQ_INIT(&bus->posters);
	for (int s = 0; s < BUS_SPACES; s++) {
		TAILQ_INIT(&bus->mapped[s]);
		bus->table[s] = calloc(1, sizeof(struct table));
		if (!bus->table[s]) {
			bus_destroy(bus);
			return err_set(err, -ENOMEM, "out of memory");
		}
	}
	*out = bus;
	return 0;
}

void bus_destroy(struct bus *bus)
{
	struct table *t;

	if (!bus)
		return;
	while ((t = bus->retired)) {
		bus->retired = t->next;
		free(t);
	}
	for (int s = 0; s < BUS_SPACES; s++)
		free(bus->table[s]);
	pthread_mutex_destroy(&bus->lock);
	pthread_mutex_destroy(&bus->posted_lock);
	free(bus);
}

void bus_region_init(struct bus_region *region, const char *name, enum bus_space space,
		     uint64_t size, const struct region_ops *ops, void *opaque,
		     pthread_mutex_t *lock)
{
	memset(region, 0, sizeof(*region));
	region->name = name;
	region->ops = ops;
	region->opaque = opaque;
	region->lock = lock;
	region->size = size;
	region->space = space;
	TAILQ_INIT(&region->doorbells);
}

/* ---- tables; bus->lock held ---- */

static int by_value(const void *a, const void *b)
{
	uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;

	return x < y ? -1 : x > y;
}

/* The region mapped last of those that cover [base, last], which no region covers in part. */
static struct bus_region *topmost(struct bus *bus, enum bus_space space, uint64_t base)
{
	struct bus_region *r, *top = NULL;

	TAILQ_FOREACH(r, &bus->mapped[space], link)
		if (base >= r->base && base - r->base < r->size)
			top = r;
	return top;
}

static struct table *table_build(struct bus *bus, enum bus_space space)
{
	struct bus_region *r;
	unsigned int n = 0, edges = 0;
	uint64_t *edge;
	struct table *t;

	TAILQ_FOREACH(r, &bus->mapped[space], link)
		n++;
	edge = calloc(2 * n + 1, sizeof(*edge));
	t = calloc(1, sizeof(*t) + 2 * n * sizeof(t->at[0]));
	if (!edge || !t) {
		free(edge);
		free(t);
		return NULL;
	}
	TAILQ_FOREACH(r, &bus->mapped[space], link) {
		edge[edges++] = r->base;
		edge[edges++] = r->base + r->size; /* wraps to 0 at the very end of the space */
	}
	qsort(edge, edges, sizeof(*edge), by_value);
	for (unsigned int i = 0; i < edges; i++) {
		struct interval *prev = t->n ? &t->at[t->n - 1] : NULL;
		uint64_t last = i + 1 < edges ? edge[i + 1] - 1 : UINT64_MAX;

		if (i + 1 < edges && edge[i] == edge[i + 1])
			continue;
		r = topmost(bus, space, edge[i]);
		if (!r)
			continue;
		if (prev && prev->region == r && prev->last + 1 == edge[i])
			prev->last = last;
		else
			t->at[t->n++] = (struct interval){edge[i], last, r->base, r};
	}
	free(edge);
	return t;
}

static uint64_t oldest_reader(struct bus *bus)
{
	uint64_t oldest = UINT64_MAX;

	for (unsigned int i = 0; i <= BUS_READERS_MAX; i++) {
		uint64_t e = __atomic_load_n(&bus->reader[i].epoch, __ATOMIC_SEQ_CST);

		if (e && e < oldest)
			oldest = e;
	}
	return oldest;
}

static void table_replace(struct bus *bus, enum bus_space space, struct table *new)
{
	struct table *old = bus->table[space], **p;
	uint64_t oldest;

	__atomic_store_n(&bus->table[space], new, __ATOMIC_SEQ_CST);
	old->retired = __atomic_add_fetch(&bus->epoch, 1, __ATOMIC_SEQ_CST);
	old->next = bus->retired;
	bus->retired = old;
	oldest = oldest_reader(bus);
	for (p = &bus->retired; *p;) {
		struct table *t = *p;

		if (t->retired <= oldest) {
			*p = t->next;
			free(t);
		} else {
			p = &t->next;
		}
	}
}

/* ---- doorbells; bus->lock held ---- */

static struct vm_doorbell bell_of(const struct bus_region *region, const struct bus_doorbell *bell)
{
	return (struct vm_doorbell){
		.address = region->base + bell->offset,
		.pio = region->space == BUS_PIO,
		.size = bell->size,
		.match = bell->match,
		.value = bell->value,
		.fd = bell->fd,
	};
}

static void bells_set(struct bus_region *region, bool on)
{
	struct bus_doorbell *bell;

	TAILQ_FOREACH(bell, &region->doorbells, link) {
		struct vm_doorbell vb = bell_of(region, bell);

		/* One that KVM refuses (two at one place) still works: the write exits. */
		if (on)
			vm_doorbell_add(region->bus->vm, &vb);
		else
			vm_doorbell_del(region->bus->vm, &vb);
	}
}

int bus_doorbell_add(struct bus_region *region, struct bus_doorbell *bell)
{
	struct bus *bus = region->bus;
	struct vm_doorbell vb;
	int rc = 0;

	if (bus)
		pthread_mutex_lock(&bus->lock);
	TAILQ_INSERT_TAIL(&region->doorbells, bell, link);
	if (bus) {
		vb = bell_of(region, bell);
		rc = vm_doorbell_add(bus->vm, &vb);
		pthread_mutex_unlock(&bus->lock);
	}
	return rc;
}

void bus_doorbell_del(struct bus_region *region, struct bus_doorbell *bell)
{
	struct bus *bus = region->bus;
	struct vm_doorbell vb;

	if (bus)
		pthread_mutex_lock(&bus->lock);
	TAILQ_REMOVE(&region->doorbells, bell, link);
	if (bus) {
		vb = bell_of(region, bell);
		vm_doorbell_del(bus->vm, &vb);
		pthread_mutex_unlock(&bus->lock);
	}
}

/* ---- mapping ---- */

int bus_map(struct bus *bus, struct bus_region *region, uint64_t base)
{
	enum bus_space space = region->space;
	struct table *t;

	if (!region->size || base + region->size - 1 < base ||
	    (space == BUS_PIO && base + region->size - 1 >= PIO_END))
		return -EINVAL;
	bus_unmap(region);
	pthread_mutex_lock(&bus->lock);
	region->base = base;
	region->bus = bus;
	TAILQ_INSERT_TAIL(&bus->mapped[space], region, link);
	t = table_build(bus, space);
	if (!t) {
		TAILQ_REMOVE(&bus->mapped[space], region, link);
		region->bus = NULL;
		pthread_mutex_unlock(&bus->lock);
		return -ENOMEM;
	}
	table_replace(bus, space, t);
	bells_set(region, true);
	posted_realise(bus);
	pthread_mutex_unlock(&bus->lock);
	return 0;
}

void bus_unmap(struct bus_region *region)
{
	struct bus *bus = region->bus;
	struct table *t;

	if (!bus)
		return;
	pthread_mutex_lock(&bus->lock);
	bells_set(region, false);
	TAILQ_REMOVE(&bus->mapped[region->space], region, link);
	t = table_build(bus, region->space);
	if (t) {
		table_replace(bus, region->space, t);
	} else { /* no memory: what can't be rebuilt is shrunk in place to nothing */
		struct table *old = bus->table[region->space];

		for (unsigned int i = 0; i < old->n; i++)
			if (old->at[i].region == region)
				__atomic_store_n(&old->at[i].region, NULL, __ATOMIC_SEQ_CST);
	}
	region->bus = NULL;
	posted_realise(bus);
	pthread_mutex_unlock(&bus->lock);
}

void bus_synchronize(struct bus *bus)
{
	uint64_t now = __atomic_add_fetch(&bus->epoch, 1, __ATOMIC_SEQ_CST);

	while (oldest_reader(bus) < now)
		sched_yield();
}

/* ---- access ---- */

/* The interval that addr lies in, or NULL. */
static const struct interval *find(const struct table *t, uint64_t addr)
{
	unsigned int low = 0, high = t->n;

	while (low < high) {
		unsigned int mid = (low + high) / 2;

		if (addr > t->at[mid].last)
			low = mid + 1;
		else
			high = mid;
	}
	return low < t->n && addr >= t->at[low].base ? &t->at[low] : NULL;
}

bool bus_owns(struct bus *bus, const struct bus_region *region, uint64_t base, uint64_t size)
{
	const struct interval *at = find(bus->table[region->space], base);

	return at && at->region == region && at->last - base >= size - 1;
}

bool bus_shares(struct bus *bus, const struct bus_region *region, uint64_t base, uint64_t size)
{
	struct bus_region *r;

	TAILQ_FOREACH(r, &bus->mapped[region->space], link)
		if (r != region && r->base <= base + size - 1 && base <= r->base + r->size - 1)
			return true;
	return false;
}

/* The largest power of two up to `left` and max that offset is aligned to. */
static unsigned int piece(const struct region_ops *ops, uint64_t offset, unsigned int left)
{
	unsigned int n = ops->max ? ops->max : 8;

	while (n > left || (!ops->unaligned && offset & (n - 1)))
		n /= 2;
	return n;
}

static uint64_t piece_read(struct bus_region *r, uint64_t offset, unsigned int size)
{
	unsigned int min = r->ops->min;
	uint64_t word, mask = size == 8 ? UINT64_MAX : (UINT64_C(1) << 8 * size) - 1;

	if (size >= min)
		return r->ops->read(r->opaque, offset, size) & mask;
	word = offset & ~(uint64_t)(min - 1);
	if (word + min > r->size)
		return mask;
	return r->ops->read(r->opaque, word, min) >> 8 * (offset - word) & mask;
}

/* A mutex isn't fair: an I/O thread that takes it again and again keeps others waiting, unless it can see
 * that they do. */
static void region_lock(struct bus_region *r)
{
	if (!pthread_mutex_trylock(r->lock))
		return;
	if (r->waiters)
		__atomic_fetch_add(r->waiters, 1, __ATOMIC_RELAXED);
	pthread_mutex_lock(r->lock);
	if (r->waiters)
		__atomic_fetch_sub(r->waiters, 1, __ATOMIC_RELAXED);
}

static uint64_t region_read(struct bus_region *r, uint64_t offset, unsigned int size)
{
	uint64_t value = 0;
	unsigned int n;

	if (!r->ops->read)
		return UINT64_MAX;
	if (r->lock)
		region_lock(r);
	for (unsigned int i = 0; i < size; i += n) {
		n = piece(r->ops, offset + i, size - i);
		value |= piece_read(r, offset + i, n) << 8 * i;
	}
	if (r->lock)
		pthread_mutex_unlock(r->lock);
	return value;
}

static void region_write(struct bus_region *r, uint64_t offset, unsigned int size, uint64_t value)
{
	unsigned int n;

	if (!r->ops->write)
		return;
	if (r->lock)
		region_lock(r);
	for (unsigned int i = 0; i < size; i += n) {
		uint64_t part = value >> 8 * i;

		n = piece(r->ops, offset + i, size - i);
		if (n < 8)
			part &= (UINT64_C(1) << 8 * n) - 1;
		if (n >= r->ops->min)
			r->ops->write(r->opaque, offset + i, n, part);
	}
	if (r->lock)
		pthread_mutex_unlock(r->lock);
}

/* Announces the reader (see the head of the file) and gives it the table. */
static const struct table *enter(struct bus *bus, unsigned int reader, enum bus_space space)
{
	uint64_t epoch = __atomic_load_n(&bus->epoch, __ATOMIC_SEQ_CST);

	/* Sequentially consistent with table_replace(): either it sees this epoch, or we see its
	 * table. */
	__atomic_store_n(&bus->reader[reader].epoch, epoch, __ATOMIC_SEQ_CST);
	return __atomic_load_n(&bus->table[space], __ATOMIC_SEQ_CST);
}

static void leave(struct bus *bus, unsigned int reader)
{
	__atomic_store_n(&bus->reader[reader].epoch, 0, __ATOMIC_RELEASE);
}

/* Between enter() and leave(): the region at addr, the offset in it, and how many of the `left`
 * bytes from there on it answers. Where there is none: NULL, for one byte. */
static struct bus_region *claim(const struct table *t, uint64_t addr, unsigned int left,
				uint64_t *offset, unsigned int *n)
{
	const struct interval *at = find(t, addr);
	uint64_t after; /* bytes of the interval behind the one at addr */

	*n = 1;
	if (!at)
		return NULL;
	*offset = addr - at->region_base;
	after = at->last - addr;
	*n = after >= left - 1 ? left : (unsigned int)after + 1;
	return __atomic_load_n(&at->region, __ATOMIC_RELAXED);
}

/* ---- posted writes ---- */

/* One write out of the ring. Only a region that posts gets it: by what bus/posted.h asks of its
 * handlers they may run here. Where another answers by now, a BAR was moved by one vCPU while
 * another wrote, and the write was the earlier of the two. */
static void take(struct bus *bus, const struct vm_posted_write *w)
{
	enum bus_space space = w->pio ? BUS_PIO : BUS_MMIO;
	const struct table *t = enter(bus, BUS_DRAINER, space);
	uint64_t offset;
	unsigned int n;

	counter_add(&bus->counters.posted[space], 1);
	for (unsigned int i = 0; i < w->size; i += n) {
		struct bus_region *r = claim(t, w->address + i, w->size - i, &offset, &n);

		if (r && r->posted) {
			posted_taken(r->posted);
			region_write(r, offset, n, w->value >> 8 * i);
		} else if (!i) {
			counter_add(&bus->counters.posted_lost, 1);
		}
	}
	leave(bus, BUS_DRAINER);
}

/* posted_lock held. As many as the ring holds: those that come meanwhile are for the next. */
static unsigned int drain(struct bus *bus)
{
	struct vm_posted_write w;
	unsigned int n;

	for (n = 0; n < VM_POSTED_MAX && vm_posted_peek(bus->vm, &w); n++) {
		take(bus, &w);
		/* Pairs with bus_posted_drain(), which adds what it finds in the ring: so an entry is
		 * counted before it leaves that, and never missed by both. */
		__atomic_store_n(&bus->drained, bus->drained + 1, __ATOMIC_RELEASE);
		vm_posted_done(bus->vm);
	}
	return n;
}

/* Another thread is draining, and waiting for it asleep would take longer than it does: true when it
 * has come as far as `end`, or to an empty ring. False, with the lock held: it is our turn. */
static bool drained_by_another(struct bus *bus, uint64_t end)
{
	uint64_t until = loop_now_ns() + SPIN_NS;

	while (pthread_mutex_trylock(&bus->posted_lock)) {
		if (__atomic_load_n(&bus->drained, __ATOMIC_ACQUIRE) >= end ||
		    !vm_posted_waiting(bus->vm))
			return true;
		if (loop_now_ns() >= until) {
			pthread_mutex_lock(&bus->posted_lock);
			break;
		}
		_mm_pause();
	}
	return false;
}

unsigned int bus_posted_drain(struct bus *bus)
{
	unsigned int n, waiting;
	uint64_t end;

	if (!__atomic_load_n(&bus->posting, __ATOMIC_RELAXED))
		return 0;
	/* None means that all before has been carried out, not just taken. */
	waiting = vm_posted_waiting(bus->vm);
	if (!waiting)
		return 0;
	/* No less than when those that wait are done: looked at later, and counted before an entry
	 * leaves the ring. */
	end = __atomic_load_n(&bus->drained, __ATOMIC_ACQUIRE) + waiting;
	if (pthread_mutex_trylock(&bus->posted_lock) && drained_by_another(bus, end))
		return 0;
	n = drain(bus);
	pthread_mutex_unlock(&bus->posted_lock);
	return n;
}

bool bus_posted_poll(struct bus *bus)
{
	if (!vm_posted_waiting(bus->vm))
		return false;
	if (pthread_mutex_trylock(&bus->posted_lock))
		return true; /* somebody is at it */
	drain(bus);
	pthread_mutex_unlock(&bus->posted_lock);
	return true;
}

/* ---- exits ---- */

uint64_t bus_read(struct bus *bus, unsigned int reader, enum bus_space space, uint64_t addr,
		  unsigned int size)
{
	const struct table *t;
	uint64_t value = 0, offset;
	unsigned int n;

	bus_posted_drain(bus);
	t = enter(bus, reader, space);
	counter_add_shared(&bus->counters.reads[space], 1);
	for (unsigned int i = 0; i < size; i += n) {
		struct bus_region *r = claim(t, addr + i, size - i, &offset, &n);
		uint64_t part = 0xff;

		if (r) {
			if (r->posted)
				posted_note_read(r, offset);
			part = region_read(r, offset, n);
		} else if (!i) {
			counter_add_shared(&bus->counters.unclaimed[space], 1);
		}
		value |= (part & UINT64_MAX >> (64 - 8 * n)) << 8 * i;
	}
	leave(bus, reader);
	return value;
}

void bus_write(struct bus *bus, unsigned int reader, enum bus_space space, uint64_t addr,
	       unsigned int size, uint64_t value)
{
	const struct table *t;
	uint64_t offset;
	unsigned int n;

	bus_posted_drain(bus);
	t = enter(bus, reader, space);
	counter_add_shared(&bus->counters.writes[space], 1);
	for (unsigned int i = 0; i < size; i += n) {
		struct bus_region *r = claim(t, addr + i, size - i, &offset, &n);

		if (r) {
			if (r->posted)
				posted_note_write(r, offset);
			region_write(r, offset, n, value >> 8 * i);
		} else if (!i) {
			counter_add_shared(&bus->counters.unclaimed[space], 1);
		}
	}
	leave(bus, reader);
}

const struct bus_counters *bus_counters(const struct bus *bus)
{
	return &bus->counters;
}
