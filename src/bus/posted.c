/*
 * What becomes of the marks on registers: zones and shadows, made and taken back (bus/posted.h).
 *
 *	exits at marked registers --16 in 1 ms--> wanted --I/O thread--> engaged: zones stand, it polls
 *	                                             ^                      |
 *	                                             +---- zones gone <-----+ nothing posted for HOLD_NS
 *
 * vCPUs count exits and ask; the I/O thread does it, in its poller, because making zones is slow.
 * Unmapping and changes of mode take them away at once, on the thread that they happen on.
 *
 * Locks: the bus's, inside any device's, for modes and for what stands (posted_realise()). The ring
 * is drained under posted_lock (bus.c), outside any device's. An I/O thread holds neither when it
 * waits.
 *
 * How long an engagement lasts. Getting engaged costs 16 exits, and a zone that is taken away soon
 * after it was put in makes the kernel wait for 3-8 ms (Linux 6.18; kvm/vm.h), during which this
 * thread does nothing else: so it stands for STAY_NS at least. After that it ends when nothing has
 * been posted for HOLD_NS, longer than a vCPU that lost its processor to another thread is away: a
 * time slice of the host's scheduler, 3-4 ms. Spinning in vain it lets others have the processor
 * (base/loop.c). Every STAY_NS it is judged: one that saves few exits, below 4 in 1 ms, costs more
 * than it gives (it has lost its processor, say, or spins on the vCPU's); it ends, and the next one
 * waits, each time for longer.
 */
#include "bus/posted.h"

#include <errno.h>
#include <sched.h>
#include <string.h>
#include <sys/mman.h>

#include "bus/bus_internal.h"
#include "kvm/vm.h"

#define ENGAGE_EXITS	 16u
#define ENGAGE_WINDOW_NS UINT64_C(1000000)
#define HOLD_NS		 UINT64_C(5000000)
#define STAY_NS		 UINT64_C(20000000)
#define PAID_EXITS	 4u /* in ENGAGE_WINDOW_NS, on average */
#define LATE_WORK	 4u /* of so much work, one may have waited for the processor that is spun on */
#define QUIET_POLLS	 100u /* in vain, in a row, besides HOLD_NS */
#define PAUSE_MIN_NS	 UINT64_C(50000000)
#define PAUSE_MAX_NS	 UINT64_C(1600000000)

#define PAGE_BYTES UINT64_C(4096)

#define COUNTER(field, name, help)                                  \
	{                                                           \
		name, offsetof(struct posted_counters, field), help \
	}
const struct counter_desc posted_counter_table[] = {
	COUNTER(posted, "posted", "register writes taken without an exit"),
	COUNTER(bells, "bells", "doorbells served that took a register write without an exit"),
	COUNTER(engagements, "engagements", "times that registers were set up to be posted"),
	COUNTER(engaged_us, "engaged-us", "time spent polling for posted writes, in us"),
	COUNTER(shadows, "shadows",
		"times that a page of registers was set up to be read without an exit"),
	{0},
};

/* ---- what stands; bus->lock held ---- */

static bool mark_wanted(const struct posted *p, const struct posted_mark *m)
{
	const struct bus_region *r = m->region;

	return p->engaged && p->mode == POSTED_WRITES && r->bus == p->bus &&
	       bus_owns(p->bus, r, r->base + m->offset, m->size);
}

static void mark_remove(struct posted *p, struct posted_mark *m)
{
	vm_zone_del(p->bus->vm, m->at, m->size, m->region->space == BUS_PIO);
	m->stands = false;
}

static void mark_add(struct posted *p, struct posted_mark *m)
{
	m->at = m->region->base + m->offset;
	/* From now on whoever exits looks at the ring. */
	__atomic_store_n(&p->bus->posting, true, __ATOMIC_RELAXED);
	m->stands = vm_zone_add(p->bus->vm, m->at, m->size, m->region->space == BUS_PIO) == 0;
}

/* Nothing else may be in the pages: reads there wouldn't reach it. */
static bool shadow_wanted(const struct posted *p, const struct posted_shadow *s)
{
	const struct bus_region *r = s->region;
	uint64_t at = r->base + s->offset, own = r->size - s->offset;

	return p->warm && p->mode == POSTED_READS && r->bus == p->bus && !(at % PAGE_BYTES) &&
	       at + s->size - 1 >= at && bus_owns(p->bus, r, at, own < s->size ? own : s->size) &&
	       !bus_shares(p->bus, r, at, s->size);
}

static void shadow_remove(struct posted *p, struct posted_shadow *s)
{
	vm_shadow_del(p->bus->vm, s->at);
	s->stands = false;
	/* A BAR that moves comes to rest first. */
	if (s->region->bus != p->bus)
		__atomic_store_n(&p->warm, false, __ATOMIC_RELAXED);
}

static void shadow_add(struct posted *p, struct posted_shadow *s)
{
	s->at = s->region->base + s->offset;
	s->stands = vm_shadow_add(p->bus->vm, s->at, s->page, s->size) == 0;
	counter_add(&p->counters.shadows, s->stands);
}

static void remove_stale(struct posted *p)
{
	for (unsigned int i = 0; i < p->n_marks; i++) {
		struct posted_mark *m = &p->mark[i];

		if (m->stands && (!mark_wanted(p, m) || m->at != m->region->base + m->offset))
			mark_remove(p, m);
	}
	for (unsigned int i = 0; i < p->n_shadows; i++) {
		struct posted_shadow *s = &p->shadow[i];

		if (s->stands && (!shadow_wanted(p, s) || s->at != s->region->base + s->offset))
			shadow_remove(p, s);
	}
}

static void add_missing(struct posted *p)
{
	for (unsigned int i = 0; i < p->n_marks; i++)
		if (!p->mark[i].stands && mark_wanted(p, &p->mark[i]))
			mark_add(p, &p->mark[i]);
	for (unsigned int i = 0; i < p->n_shadows; i++)
		if (!p->shadow[i].stands && shadow_wanted(p, &p->shadow[i]))
			shadow_add(p, &p->shadow[i]);
}

void posted_realise(struct bus *bus)
{
	struct posted *p;

	/* First everybody's old, then the new: one's may lie where another's was. */
	TAILQ_FOREACH(p, &bus->posters, link)
		remove_stale(p);
	TAILQ_FOREACH(p, &bus->posters, link)
		add_missing(p);
}

static bool stands(const struct posted *p)
{
	for (unsigned int i = 0; i < p->n_marks; i++)
		if (p->mark[i].stands)
			return true;
	for (unsigned int i = 0; i < p->n_shadows; i++)
		if (p->shadow[i].stands)
			return true;
	return false;
}

bool posted_stands(struct posted *p)
{
	bool r;

	pthread_mutex_lock(&p->bus->lock);
	r = stands(p);
	pthread_mutex_unlock(&p->bus->lock);
	return r;
}

void posted_set_mode(struct posted *p, enum posted_mode mode)
{
	pthread_mutex_lock(&p->bus->lock);
	if (p->mode != mode) {
		__atomic_store_n(&p->mode, mode, __ATOMIC_RELAXED);
		__atomic_store_n(&p->warm, false, __ATOMIC_RELAXED);
		posted_realise(p->bus);
	}
	pthread_mutex_unlock(&p->bus->lock);
}

/* ---- exits at marked registers: any thread ---- */

/* Counts loosely: vCPUs that do so at once may lose one. */
static void note(struct posted *p)
{
	uint64_t now = loop_now_ns();
	uint32_t n;

	if (now < __atomic_load_n(&p->not_before_ns, __ATOMIC_RELAXED))
		return;
	if (now - __atomic_load_n(&p->exits_since, __ATOMIC_RELAXED) > ENGAGE_WINDOW_NS) {
		__atomic_store_n(&p->exits_since, now, __ATOMIC_RELAXED);
		__atomic_store_n(&p->exits, 1, __ATOMIC_RELAXED);
		return;
	}
	n = __atomic_load_n(&p->exits, __ATOMIC_RELAXED) + 1;
	__atomic_store_n(&p->exits, n, __ATOMIC_RELAXED);
	/* Pairs with prepare(), by way of loop_kick(). */
	if (n >= ENGAGE_EXITS && !__atomic_exchange_n(&p->wanted, true, __ATOMIC_SEQ_CST))
		loop_kick(p->loop);
}

void posted_note_write(struct bus_region *region, uint64_t offset)
{
	struct posted *p = region->posted;

	if (__atomic_load_n(&p->mode, __ATOMIC_RELAXED) != POSTED_WRITES ||
	    __atomic_load_n(&p->engaged, __ATOMIC_RELAXED))
		return;
	for (unsigned int i = 0; i < p->n_marks; i++) {
		const struct posted_mark *m = &p->mark[i];

		if (m->region == region && offset >= m->offset && offset - m->offset < m->size) {
			note(p);
			return;
		}
	}
}

void posted_note_read(struct bus_region *region, uint64_t offset)
{
	struct posted *p = region->posted;

	if (__atomic_load_n(&p->mode, __ATOMIC_RELAXED) != POSTED_READS ||
	    __atomic_load_n(&p->warm, __ATOMIC_RELAXED))
		return;
	for (unsigned int i = 0; i < p->n_shadows; i++) {
		const struct posted_shadow *s = &p->shadow[i];

		if (s->region == region && offset >= s->offset && offset - s->offset < s->size) {
			note(p);
			return;
		}
	}
}

void posted_taken(struct posted *p)
{
	counter_add(&p->counters.posted, 1);
}

/* ---- the I/O thread ---- */

/* Not again for a while, which is longer each time that it didn't pay. */
static void rest(struct posted *p, uint64_t now)
{
	p->pause_ns = p->pause_ns ? p->pause_ns * 2 : PAUSE_MIN_NS;
	if (p->pause_ns > PAUSE_MAX_NS)
		p->pause_ns = PAUSE_MAX_NS;
	__atomic_store_n(&p->not_before_ns, now + p->pause_ns, __ATOMIC_RELAXED);
}

/* May this thread spin? Not when it was told not to (poll-max-ns=0), nor where it would keep the vCPUs
 * from the only processor that there is. */
static bool may_spin(const struct posted *p)
{
	cpu_set_t cpus;

	return loop_poll_max(p->loop) > 0 &&
	       (sched_getaffinity(0, sizeof(cpus), &cpus) || CPU_COUNT(&cpus) > 1);
}

/* Says whether marks of the mode may stand, and makes it so; are there any that do? */
static bool allow(struct posted *p, bool on)
{
	bool r;

	pthread_mutex_lock(&p->bus->lock);
	if (!on)
		__atomic_store_n(&p->engaged, false, __ATOMIC_RELAXED);
	else if (p->mode == POSTED_WRITES)
		__atomic_store_n(&p->engaged, may_spin(p), __ATOMIC_RELAXED);
	else if (p->mode == POSTED_READS)
		__atomic_store_n(&p->warm, true, __ATOMIC_RELAXED);
	posted_realise(p->bus);
	r = stands(p);
	if (!r)
		__atomic_store_n(&p->warm, false, __ATOMIC_RELAXED);
	pthread_mutex_unlock(&p->bus->lock);
	return r;
}

static void engage(struct posted *p)
{
	bool was = p->engaged;
	uint64_t now;

	__atomic_store_n(&p->wanted, false, __ATOMIC_RELAXED);
	/* No write from an earlier mode is left behind a shadow. */
	bus_posted_drain(p->bus);
	if (!allow(p, true)) {
		if (!was)
			allow(p, false);
		rest(p, loop_now_ns());
		return;
	}
	if (was || !p->engaged)
		return; /* shadows need nobody */
	now = loop_now_ns();
	counter_add(&p->counters.engagements, 1);
	p->judged_at = now;
	p->judged_posted = p->posted_seen = counter_get(&p->counters.posted);
	p->judged_awake = loop_awake(p->loop);
	p->quiet = 0;
	p->poller.awake_until_ns = now + STAY_NS;
}

/* Has the time since it was judged last been worth it? If not, the next engagement has to wait. */
static bool judge(struct posted *p, uint64_t now)
{
	uint64_t posted = counter_get(&p->counters.posted), ns = now - p->judged_at;
	struct loop_awake awake = loop_awake(p->loop);
	bool good = (posted - p->judged_posted) * ENGAGE_WINDOW_NS >= ns * PAID_EXITS &&
		    (awake.late - p->judged_awake.late) * LATE_WORK <=
			    awake.work - p->judged_awake.work;

	p->judged_awake = awake;
	counter_add(&p->counters.engaged_us, ns / 1000);
	p->judged_at = now;
	p->judged_posted = posted;
	if (good)
		p->pause_ns = 0;
	else
		rest(p, now);
	return good;
}

static void disengage(struct posted *p)
{
	uint64_t now = loop_now_ns();

	allow(p, false);
	p->poller.awake_until_ns = 0;
	/* A last bit that is short says little: that it is quiet now. */
	if (now - p->judged_at >= STAY_NS)
		judge(p, now);
	else
		counter_add(&p->counters.engaged_us, (now - p->judged_at) / 1000);
	/* The zones are gone: what is in the ring is all there is. */
	bus_posted_drain(p->bus);
}

/* Takes what is in the ring, and stays awake for as long as its own writes come, whoever took them:
 * others may be busy while this one is quiet. True = something came. */
static bool look(struct posted *p)
{
	bool hit = bus_posted_poll(p->bus);
	uint64_t seen = counter_get(&p->counters.posted), now;

	if (seen == p->posted_seen) {
		p->quiet++;
		return hit;
	}
	p->quiet = 0;
	p->posted_seen = seen;
	now = loop_now_ns();
	if (now + HOLD_NS > p->poller.awake_until_ns)
		p->poller.awake_until_ns = now + HOLD_NS;
	if (now - p->judged_at >= STAY_NS && !judge(p, now))
		disengage(p);
	return true;
}

static bool poll(struct loop_poller *poller)
{
	struct posted *p = poller->opaque;

	if (__atomic_load_n(&p->wanted, __ATOMIC_RELAXED)) {
		engage(p);
		return true;
	}
	return p->engaged && look(p);
}

/* The loop is about to sleep. Time alone doesn't say that all is quiet: this thread may have been off
 * its processor. */
static bool prepare(struct loop_poller *poller)
{
	struct posted *p = poller->opaque;

	if (p->engaged) {
		if (!look(p) && p->quiet >= QUIET_POLLS)
			disengage(p);
		return true;
	}
	return __atomic_load_n(&p->wanted, __ATOMIC_SEQ_CST);
}

void posted_bell(struct posted *p)
{
	counter_add(&p->counters.bells, 1);
	bus_posted_drain(p->bus);
}

/* ---- making and ending ---- */

static void poller_up(void *arg)
{
	struct posted *p = arg;

	loop_poller_add(p->loop, &p->poller);
}

static void poller_down(void *arg)
{
	struct posted *p = arg;

	loop_poller_del(p->loop, &p->poller);
	if (p->engaged)
		disengage(p);
}

void posted_init(struct posted *p, struct bus *bus, struct loop *loop)
{
	memset(p, 0, sizeof(*p));
	p->bus = bus;
	p->loop = loop;
	p->poller = (struct loop_poller){.poll = poll, .sleep_prepare = prepare, .opaque = p};
	pthread_mutex_lock(&bus->lock);
	TAILQ_INSERT_TAIL(&bus->posters, p, link);
	pthread_mutex_unlock(&bus->lock);
	loop_call(loop, poller_up, p);
}

void posted_fini(struct posted *p)
{
	if (!p->bus)
		return;
	posted_set_mode(p, POSTED_NONE);
	loop_call(p->loop, poller_down, p);
	pthread_mutex_lock(&p->bus->lock);
	TAILQ_REMOVE(&p->bus->posters, p, link);
	pthread_mutex_unlock(&p->bus->lock);
	for (unsigned int i = 0; i < p->n_marks; i++)
		p->mark[i].region->posted = NULL;
	for (unsigned int i = 0; i < p->n_shadows; i++) {
		p->shadow[i].region->posted = NULL;
		munmap(p->shadow[i].page, p->shadow[i].size);
	}
	memset(p, 0, sizeof(*p));
}

/* ---- marks ---- */

static int check_region(const struct posted *p, const struct bus_region *region)
{
	return region->bus || (region->posted && region->posted != p) ? -EBUSY : 0;
}

int posted_mark(struct posted *p, struct bus_region *region, uint64_t offset, uint32_t size)
{
	int r = check_region(p, region);

	if (r)
		return r;
	if (!size || offset >= region->size || size > region->size - offset)
		return -EINVAL;
	/* Taking away one of two zones that overlap takes away both (vm_zone_del()). */
	for (unsigned int i = 0; i < p->n_marks; i++) {
		const struct posted_mark *m = &p->mark[i];

		if (m->region == region && offset < m->offset + m->size &&
		    m->offset < offset + size)
			return -EINVAL;
	}
	if (p->n_marks == POSTED_MARKS_MAX)
		return -ENOSPC;
	p->mark[p->n_marks++] =
		(struct posted_mark){.region = region, .offset = offset, .size = size};
	region->posted = p;
	return 0;
}

int posted_shadow(struct posted *p, struct bus_region *region, uint64_t offset, uint64_t size)
{
	uint64_t own = region->size - offset;
	int r = check_region(p, region);
	uint8_t *page;

	if (r)
		return r;
	if (region->space != BUS_MMIO || !size || (offset | size) % PAGE_BYTES ||
	    offset >= region->size || size > (own + PAGE_BYTES - 1) / PAGE_BYTES * PAGE_BYTES)
		return -EINVAL;
	for (unsigned int i = 0; i < p->n_shadows; i++) {
		const struct posted_shadow *s = &p->shadow[i];

		if (s->region == region && offset < s->offset + s->size &&
		    s->offset < offset + size)
			return -EINVAL;
	}
	if (p->n_shadows == POSTED_SHADOWS_MAX)
		return -ENOSPC;
	page = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (page == MAP_FAILED)
		return -ENOMEM;
	memset(page, 0xff, size);
	p->shadow[p->n_shadows] = (struct posted_shadow){
		.region = region, .offset = offset, .size = size, .page = page};
	region->posted = p;
	return (int)p->n_shadows++;
}

void posted_shadow_set(struct posted *p, int shadow, uint64_t offset, unsigned int size,
		       uint64_t value)
{
	struct posted_shadow *s = &p->shadow[shadow];
	uint8_t *at = s->page + (offset - s->offset);

	if (offset < s->offset || offset - s->offset > s->size - size || offset % size)
		return; /* not in this one */
	/* x86 keeps stores in order: who sees a later interrupt sees this. */
	switch (size) {
	case 1:
		__atomic_store_n(at, (uint8_t)value, __ATOMIC_RELEASE);
		break;
	case 2:
		__atomic_store_n((uint16_t *)(void *)at, (uint16_t)value, __ATOMIC_RELEASE);
		break;
	case 4:
		__atomic_store_n((uint32_t *)(void *)at, (uint32_t)value, __ATOMIC_RELEASE);
		break;
	case 8:
		__atomic_store_n((uint64_t *)(void *)at, value, __ATOMIC_RELEASE);
		break;
	default:
		break;
	}
}
