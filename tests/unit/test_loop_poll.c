/*
 * The event loop's polling, base/loop_poll.c: pollers, when it sleeps and that no wake-up is lost,
 * and for how long it spins for work to come.
 */
#include <sched.h>

#include "loop_fixture.h"

/* ---- pollers ---- */

/* As a virtqueue: work is a number in shared memory; the doorbell is only rung when armed. */
struct ring {
	struct loop_poller poller;
	struct loop_fd lf;
	unsigned int made, taken; /* atomic */
	bool armed;		  /* atomic */
	int prepares, wakes;
};

static bool ring_poll(struct loop_poller *p)
{
	struct ring *r = p->opaque;
	unsigned int made = __atomic_load_n(&r->made, __ATOMIC_ACQUIRE);

	if (r->taken == made)
		return false;
	__atomic_store_n(&r->taken, made, __ATOMIC_RELEASE);
	return true;
}

static bool ring_prepare(struct loop_poller *p)
{
	struct ring *r = p->opaque;

	r->prepares++;
	__atomic_store_n(&r->armed, true, __ATOMIC_SEQ_CST);
	return __atomic_load_n(&r->made, __ATOMIC_SEQ_CST) != r->taken;
}

static void ring_woken(struct loop_poller *p)
{
	struct ring *r = p->opaque;

	r->wakes++;
	__atomic_store_n(&r->armed, false, __ATOMIC_RELAXED);
}

static void ring_kicked(struct loop_fd *lf, uint32_t events)
{
	drain(lf->fd);
}

static void ring_make(struct ring *r)
{
	__atomic_fetch_add(&r->made, 1, __ATOMIC_SEQ_CST);
	if (__atomic_load_n(&r->armed, __ATOMIC_SEQ_CST))
		kick(r->lf.fd);
}

/* Ping-pong with a producer that waits for each item: one lost wake-up and it hangs. */
static void ping_pong(uint64_t poll_max_ns, int rounds)
{
	struct loop *loop = make(poll_max_ns);
	struct ring r = {.poller = {ring_poll, ring_prepare, ring_woken, &r},
			 .lf = {.ready = ring_kicked}};
	struct err err;

	r.lf.fd = eventfd(0, EFD_NONBLOCK);
	loop_fd_add(loop, &r.lf, EPOLLIN);
	loop_poller_add(loop, &r.poller);
	assert_int_equal(loop_start(loop, &err), 0);
	for (int i = 1; i <= rounds; i++) {
		uint64_t end = loop_now_ns() + 10000 * MS;

		ring_make(&r);
		while (__atomic_load_n(&r.taken, __ATOMIC_ACQUIRE) != (unsigned int)i)
			assert_true(loop_now_ns() < end);
		if (i % 64 == 0)
			usleep(100);
	}
	loop_join(loop);
	assert_int_equal(r.prepares, r.wakes);
	loop_poller_del(loop, &r.poller);
	loop_fd_del(&r.lf);
	close(r.lf.fd);
	loop_destroy(loop);
}

static void test_poller(void **state)
{
	ping_pong(0, 3000);
	ping_pong(3000, 3000);
	ping_pong(200000, 3000);
}

/* A poller whose work wakes nobody: the loop stays awake for it, and then sleeps; a kick has it asked
 * again. */
struct awake {
	struct loop_poller poller;
	struct loop *loop;
	unsigned int asked;
	bool wanted;	   /* by another thread */
	uint64_t found_ns; /* when that was seen */
	uint64_t slept_ns; /* the first sleep */
};

static bool awake_poll(struct loop_poller *p)
{
	struct awake *a = p->opaque;

	a->asked++;
	if (!__atomic_exchange_n(&a->wanted, false, __ATOMIC_SEQ_CST))
		return false;
	a->found_ns = loop_now_ns();
	return true;
}

static bool awake_prepare(struct loop_poller *p)
{
	struct awake *a = p->opaque;

	if (!a->slept_ns)
		a->slept_ns = loop_now_ns();
	return __atomic_load_n(&a->wanted, __ATOMIC_SEQ_CST);
}

static void *awake_kicker(void *arg)
{
	struct awake *a = arg;

	usleep(20000);
	__atomic_store_n(&a->wanted, true, __ATOMIC_SEQ_CST);
	loop_kick(a->loop);
	return NULL;
}

static void test_awake(void **state)
{
	struct loop *loop = make(0); /* by itself it wouldn't spin at all */
	struct awake a = {.poller = {awake_poll, awake_prepare, NULL, &a}, .loop = loop};
	struct loop_stats before, after;
	uint64_t start = loop_now_ns();
	pthread_t thread;

	loop_poller_add(loop, &a.poller);
	a.poller.awake_until_ns = start + 5 * MS;
	run_for(loop, 10);
	assert_in_range(a.slept_ns - start, 5 * MS, 10 * MS + 1000 * MS);
	assert_true(a.asked > 50);

	before = loop_stats(loop);
	run_for(loop, 30);
	after = loop_stats(loop);
	assert_true(after.polls - before.polls <= 6);

	assert_int_equal(pthread_create(&thread, NULL, awake_kicker, &a), 0);
	start = loop_now_ns();
	run_for(loop, 200);
	pthread_join(thread, NULL);
	assert_true(a.found_ns >= start);
	assert_true(a.found_ns < start + 190 * MS);
	loop_poller_del(loop, &a.poller);
	loop_destroy(loop);
}

/* Idle, with pollers, after work: it must fall asleep, and stay so. */
static void test_idle(void **state)
{
	struct loop *loop = make(100000);
	struct ring r = {.poller = {ring_poll, ring_prepare, ring_woken, &r}};
	struct loop_stats before, after;

	loop_poller_add(loop, &r.poller);
	r.made = 1;
	run_for(loop, 5);
	before = loop_stats(loop);
	run_for(loop, 30);
	after = loop_stats(loop);
	assert_true(after.wakeups - before.wakeups <= 3);
	assert_true(after.polls - before.polls <= 6);
	loop_poller_del(loop, &r.poller);
	loop_destroy(loop);
}

struct busy {
	struct loop_poller poller;
	struct loop *loop;
	struct loop_poller *kill;
	int runs;
};

static bool busy_poll(struct loop_poller *p)
{
	struct busy *b = p->opaque;

	b->runs++;
	if (b->kill)
		loop_poller_del(b->loop, b->kill);
	b->kill = NULL;
	return true;
}

/* A poller that always finds work starves neither descriptors nor timers nor posts. */
static void test_busy_poller(void **state)
{
	for (uint64_t poll = 0; poll <= 50000; poll += 50000) {
		struct loop *loop = make(poll);
		struct busy b = {{busy_poll, NULL, NULL, &b}, loop};
		struct note note = {loop};
		struct watch w;

		watch_init(&w);
		loop_fd_add(loop, &w.lf, EPOLLIN);
		loop_poller_add(loop, &b.poller);
		loop_post(loop, count, &note);
		kick(w.lf.fd);
		run_for(loop, 5);
		assert_int_equal(note.n, 1);
		assert_int_equal(w.runs, 1);
		assert_true(b.runs > 1);
		loop_poller_del(loop, &b.poller);
		loop_fd_del(&w.lf);
		close(w.lf.fd);
		loop_destroy(loop);
	}
}

/* Pollers that remove themselves, or the next one, in the middle of a walk. */
static void test_poller_del(void **state)
{
	struct loop *loop = make(0);
	struct busy b[3];

	for (int i = 0; i < 3; i++) {
		b[i] = (struct busy){{busy_poll, NULL, NULL, &b[i]}, loop};
		loop_poller_add(loop, &b[i].poller);
	}
	b[0].kill = &b[1].poller;
	b[2].kill = &b[2].poller;
	run_for(loop, 1);
	assert_true(b[0].runs > 1);
	assert_int_equal(b[1].runs, 0);
	assert_int_equal(b[2].runs, 1);
	loop_destroy(loop);
}

/* ---- the window for which it spins ---- */

/* Work within the longest window: it opens. Then work beyond it: it closes. */
static void test_window(void **state)
{
	struct loop *loop = make(5 * MS);
	struct watch w;
	struct loop_stats before, after;
	struct err err;

	watch_init(&w);
	loop_fd_add(loop, &w.lf, EPOLLIN);
	assert_int_equal(loop_start(loop, &err), 0);
	for (int i = 0; i < 30; i++) {
		kick(w.lf.fd);
		usleep(1000);
	}
	before = loop_stats(loop);
	assert_true(before.poll_ns > 1 * MS); /* it spun */
	loop_set_poll_max(loop, 20000);
	for (int i = 0; i < 20; i++) {
		kick(w.lf.fd);
		usleep(2000);
	}
	before = loop_stats(loop);
	for (int i = 0; i < 20; i++) {
		kick(w.lf.fd);
		usleep(2000);
	}
	after = loop_stats(loop);
	/* No spinning any more, but for kicks that a busy machine has brought together. */
	assert_true(after.poll_ns - before.poll_ns < 100000);
	loop_join(loop);
	loop_fd_del(&w.lf);
	close(w.lf.fd);
	loop_destroy(loop);
}

static void pin(void *cpu)
{
	cpu_set_t set;

	CPU_ZERO(&set);
	CPU_SET(*(int *)cpu, &set);
	sched_setaffinity(0, sizeof(set), &set);
}

/* Who makes the work shares a processor with the loop: spinning can only hold it up, and must stop,
 * though work comes all the time. */
static void test_window_shared_processor(void **state)
{
	struct loop *loop = make(200000);
	int cpu = sched_getcpu();
	cpu_set_t before;
	struct loop_stats stats;
	struct watch w;
	struct err err;

	watch_init(&w);
	loop_fd_add(loop, &w.lf, EPOLLIN);
	sched_getaffinity(0, sizeof(before), &before);
	pin(&cpu);
	assert_int_equal(loop_start(loop, &err), 0);
	loop_call(loop, pin, &cpu);
	for (int i = 1; i <= 3000; i++) {
		kick(w.lf.fd);
		while (__atomic_load_n(&w.runs, __ATOMIC_RELAXED) < i)
			sched_yield();
	}
	stats = loop_stats(loop);
	loop_join(loop);
	sched_setaffinity(0, sizeof(before), &before);
	/* The most that it could burn is 3000 windows, 600 ms. */
	assert_true(stats.poll_ns < 60 * MS);
	loop_fd_del(&w.lf);
	close(w.lf.fd);
	loop_destroy(loop);
}

/* As if work came after_ns after the last, or after the loop has gone to sleep: whoever makes it needs the
 * processor. How long the loop has spun for it, ns. */
static uint64_t come(struct loop *loop, uint64_t after_ns, bool asleep)
{
	uint64_t window = loop_window(loop), spun = window;

	if (!asleep && after_ns <= window) {
		spun = after_ns;
		loop->slept_at = 0;
		loop->now = loop->last_work + after_ns;
	} else {
		loop->slept_at = loop->last_work + window;
		loop->now = asleep ? loop->slept_at + after_ns : loop->last_work + after_ns;
	}
	loop->spun = window;
	loop_note_work(loop);
	return spun;
}

/* Requests come from somebody who shares the loop's processor, answers from somebody who doesn't, and at
 * once: spins are as long as it takes for an answer, and no longer; and longest again where that pays. */
static void test_window_shorter(void **state)
{
	struct loop *loop = make(32768);
	uint64_t spun = 0, caught = 0;

	loop->now = loop->last_work = MS;
	for (int i = 0; i < 4000; i++) {
		caught += loop_window(loop) >= 4000;
		come(loop, 4000, false);
		spun += come(loop, 7000, true);
	}
	assert_true(spun < 4000 * 8000ull);
	assert_true(caught > 3500);
	spun = 0;
	for (int i = 0; i < 10000; i++)
		spun += come(loop, 25000, false);
	assert_true(spun > 5000 * 25000ull);
	loop_destroy(loop);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_poller),
		cmocka_unit_test(test_awake),
		cmocka_unit_test(test_idle),
		cmocka_unit_test(test_busy_poller),
		cmocka_unit_test(test_poller_del),
		cmocka_unit_test(test_window),
		cmocka_unit_test(test_window_shared_processor),
		cmocka_unit_test(test_window_shorter),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
