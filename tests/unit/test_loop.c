/* The event loop: base/loop.c. */
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/loop_impl.h"

#define MS 1000000ull

static struct loop *make(uint64_t poll_max_ns)
{
	struct loop *loop;
	struct err err;

	assert_int_equal(loop_create(&loop, "test", poll_max_ns, &err), 0);
	return loop;
}

static void kick(int fd)
{
	uint64_t one = 1;

	assert_int_equal(write(fd, &one, sizeof(one)), sizeof(one));
}

static void drain(int fd)
{
	uint64_t n;

	assert_int_equal(read(fd, &n, sizeof(n)), sizeof(n));
}

static void quit(void *loop)
{
	loop_quit(loop);
}

static void quit_timer(struct loop_timer *t)
{
	loop_quit(t->opaque);
}

/* Runs the loop for ms milliseconds. */
static void run_for(struct loop *loop, uint64_t ms)
{
	struct loop_timer t = {.expired = quit_timer, .opaque = loop};

	loop_timer_set(loop, &t, loop_now_ns() + ms * MS);
	loop_run(loop);
	loop_timer_cancel(loop, &t);
}

/* ---- file descriptors ---- */

struct watch {
	struct loop_fd lf;
	struct loop_fd *other; /* deleted or made quiet by the handler */
	bool mod;
	int runs;
};

static void watch_ready(struct loop_fd *lf, uint32_t events)
{
	struct watch *w = lf->opaque;

	assert_true(events & EPOLLIN);
	drain(lf->fd);
	__atomic_fetch_add(&w->runs, 1, __ATOMIC_RELAXED);
	if (w->other && w->mod)
		assert_int_equal(loop_fd_mod(w->other, 0), 0);
	else if (w->other)
		loop_fd_del(w->other);
}

static void watch_init(struct watch *w)
{
	*w = (struct watch){.lf = {.ready = watch_ready, .opaque = w}};
	w->lf.fd = eventfd(0, EFD_NONBLOCK);
	assert_true(w->lf.fd >= 0);
}

static void test_fd(void **state)
{
	struct loop *loop = make(0);
	struct watch w;

	watch_init(&w);
	assert_int_equal(loop_fd_add(loop, &w.lf, EPOLLIN), 0);
	assert_int_equal(loop_fd_add(loop, &w.lf, EPOLLIN), -EEXIST);
	kick(w.lf.fd);
	run_for(loop, 5);
	assert_int_equal(w.runs, 1);

	assert_int_equal(loop_fd_mod(&w.lf, 0), 0);
	kick(w.lf.fd);
	run_for(loop, 5);
	assert_int_equal(w.runs, 1);
	assert_int_equal(loop_fd_mod(&w.lf, EPOLLIN), 0);
	run_for(loop, 5);
	assert_int_equal(w.runs, 2);

	loop_fd_del(&w.lf);
	loop_fd_del(&w.lf);
	assert_null(w.lf.loop);
	assert_int_equal(loop_fd_mod(&w.lf, EPOLLIN), -ENOENT);
	kick(w.lf.fd);
	run_for(loop, 5);
	assert_int_equal(w.runs, 2);
	close(w.lf.fd);
	loop_destroy(loop);
}

/* Two are ready in one batch, and the first removes or silences the second. */
static void test_fd_stale(void **state)
{
	for (int mod = 0; mod < 2; mod++) {
		struct loop *loop = make(0);
		struct watch a, b;

		watch_init(&a);
		watch_init(&b);
		a.other = &b.lf;
		b.other = &a.lf;
		a.mod = b.mod = mod;
		loop_fd_add(loop, &a.lf, EPOLLIN);
		loop_fd_add(loop, &b.lf, EPOLLIN);
		kick(a.lf.fd);
		kick(b.lf.fd);
		run_for(loop, 5);
		assert_int_equal(a.runs + b.runs, 1);
		loop_fd_del(&a.lf);
		loop_fd_del(&b.lf);
		close(a.lf.fd);
		close(b.lf.fd);
		loop_destroy(loop);
	}
}

static void nothing(struct loop_fd *lf, uint32_t events)
{
	fail();
}

/* A closed pipe hangs up for ever: a quiet descriptor must not spin on it, nor be told. */
static void test_fd_quiet_hangup(void **state)
{
	struct loop *loop = make(0);
	struct loop_fd lf = {.ready = nothing};
	int p[2];

	assert_int_equal(pipe(p), 0);
	lf.fd = p[0];
	assert_int_equal(loop_fd_add(loop, &lf, 0), 0);
	close(p[1]);
	run_for(loop, 10);
	assert_true(loop_stats(loop).wakeups <= 3);
	loop_fd_del(&lf);
	close(p[0]);
	loop_destroy(loop);
}

static void test_fd_refused(void **state)
{
	struct loop *loop = make(0);
	struct loop_fd lf = {.ready = nothing, .fd = open("/proc/self/exe", O_RDONLY)};

	assert_int_equal(loop_fd_add(loop, &lf, EPOLLIN), -EPERM);
	assert_null(lf.loop);
	close(lf.fd);
	assert_int_equal(loop_fd_add(loop, &lf, 0), -EBADF);
	loop_destroy(loop);
}

struct note {
	struct loop *loop;
	int n;
	bool current;
};

static void count(void *arg)
{
	struct note *note = arg;

	note->n++;
	note->current = loop_is_current(note->loop);
}

/* ---- timers ---- */

struct tick {
	struct loop_timer t;
	struct loop *loop;
	char *log;
	char name;
	int again;		 /* re-arm that often, in the past */
	struct loop_timer *kill; /* cancel this one */
};

static void tick_expired(struct loop_timer *t)
{
	struct tick *k = t->opaque;

	assert_int_equal(t->deadline_ns, 0);
	k->log[strlen(k->log)] = k->name;
	if (k->again && k->again--)
		loop_timer_set(k->loop, t, 1);
	if (k->kill)
		loop_timer_cancel(k->loop, k->kill);
}

static void test_timers(void **state)
{
	struct loop *loop = make(0);
	char log[32] = "";
	struct tick k[5];
	uint64_t now = loop_now_ns();

	for (int i = 0; i < 5; i++) {
		k[i] = (struct tick){{.expired = tick_expired}, loop, log, 'a' + i};
		k[i].t.opaque = &k[i];
	}
	loop_timer_set(loop, &k[0].t, now + 5 * MS);
	loop_timer_set(loop, &k[1].t, now + 3 * MS);
	loop_timer_set(loop, &k[2].t, now + 3 * MS); /* as set, when the same */
	loop_timer_set(loop, &k[3].t, 0);	     /* at once */
	k[3].again = 2;
	loop_timer_set(loop, &k[4].t, now + 6 * MS);
	k[0].kill = &k[4].t;
	loop_timer_set(loop, &k[4].t, now + 7 * MS); /* moved */
	run_for(loop, 12);
	assert_string_equal(log, "dddbca");
	loop_destroy(loop);
}

struct always {
	struct loop_timer t;
	struct loop *loop;
	int runs;
};

static void always_expired(struct loop_timer *t)
{
	struct always *a = t->opaque;

	a->runs++;
	loop_timer_set(a->loop, t, 1);
}

/* A timer that is always due starves neither descriptors nor posts. */
static void test_timer_always(void **state)
{
	struct loop *loop = make(0);
	struct always a = {{.expired = always_expired, .opaque = &a}, loop};
	struct note note = {loop};
	struct watch w;

	watch_init(&w);
	loop_fd_add(loop, &w.lf, EPOLLIN);
	loop_post(loop, count, &note);
	kick(w.lf.fd);
	loop_timer_set(loop, &a.t, 1);
	run_for(loop, 5);
	assert_true(a.runs > 1);
	assert_int_equal(w.runs, 1);
	assert_int_equal(note.n, 1);
	loop_timer_cancel(loop, &a.t);
	loop_fd_del(&w.lf);
	close(w.lf.fd);
	loop_destroy(loop);
}

static void test_timer_precision(void **state)
{
	struct loop *loop = make(0);
	uint64_t start = loop_now_ns();

	run_for(loop, 3);
	assert_true(loop_now_ns() - start >= 3 * MS);
	assert_true(loop_stats(loop).wakeups <= 2); /* never early, so never twice */
	loop_destroy(loop);
}

/* ---- calls and posts ---- */

static void count_nested(void *arg)
{
	struct note *note = arg;

	count(note);
	loop_call(note->loop, count, note);
}

static void test_call(void **state)
{
	struct loop *loop = make(0);
	struct note note = {loop};
	struct err err;

	loop_call(loop, count_nested, &note); /* stands still: a plain call */
	assert_int_equal(note.n, 2);
	assert_false(loop_is_current(loop));

	assert_int_equal(loop_start(loop, &err), 0);
	for (int i = 0; i < 100; i++)
		loop_call(loop, count_nested, &note);
	assert_int_equal(note.n, 202);
	assert_true(note.current);
	loop_join(loop);
	loop_call(loop, count, &note);
	assert_int_equal(note.n, 203);

	assert_int_equal(loop_start(loop, &err), 0); /* and again */
	loop_call(loop, count, &note);
	loop_join(loop);
	loop_join(loop);
	assert_int_equal(note.n, 204);
	loop_destroy(loop);
	loop_destroy(NULL);
}

static void note_thread(void *arg)
{
	*(pthread_t *)arg = pthread_self();
}

/* A call right after loop_start() runs on the new thread, not here. */
static void test_call_at_start(void **state)
{
	for (int i = 0; i < 30; i++) {
		struct loop *loop = make(0);
		pthread_t thread = pthread_self();
		struct err err;

		assert_int_equal(loop_start(loop, &err), 0);
		loop_call(loop, note_thread, &thread);
		assert_false(pthread_equal(thread, pthread_self()));
		loop_join(loop);
		loop_call(loop, note_thread, &thread);
		assert_true(pthread_equal(thread, pthread_self()));
		loop_destroy(loop);
	}
}

static void *call_much(void *arg)
{
	for (int i = 0; i < 300; i++)
		loop_call(((struct note *)arg)->loop, count, arg);
	return NULL;
}

/* Callers must get through while the loop starts and ends all the time. */
static void test_call_quit_race(void **state)
{
	for (uint64_t poll = 0; poll <= 50000; poll += 50000) {
		struct loop *loop = make(poll);
		struct note note = {loop};
		pthread_t threads[3];
		struct err err;

		for (int i = 0; i < 3; i++)
			pthread_create(&threads[i], NULL, call_much, &note);
		for (int i = 0; i < 50; i++) {
			assert_int_equal(loop_start(loop, &err), 0);
			loop_call(loop, count, &note);
			loop_join(loop);
		}
		for (int i = 0; i < 3; i++)
			pthread_join(threads[i], NULL);
		assert_int_equal(note.n, 950); /* also: never two at a time */
		loop_destroy(loop);
	}
}

struct order {
	int next, bad;
};

struct order_post {
	struct order *order;
	int n;
};

static void in_order(void *arg)
{
	struct order_post *p = arg;

	if (p->order->next++ != p->n)
		p->order->bad++;
}

static void test_post(void **state)
{
	struct loop *loop = make(0);
	struct order order = {0};
	struct order_post posts[500];
	struct err err;

	for (int i = 0; i < 500; i++)
		posts[i] = (struct order_post){&order, i};
	for (int i = 0; i < 10; i++) /* before it runs */
		assert_int_equal(loop_post(loop, in_order, &posts[i]), 0);
	assert_int_equal(order.next, 0);
	assert_int_equal(loop_start(loop, &err), 0);
	for (int i = 10; i < 500; i++)
		assert_int_equal(loop_post(loop, in_order, &posts[i]), 0);
	loop_join(loop); /* what was posted before the end still runs */
	assert_int_equal(order.next, 500);
	assert_int_equal(order.bad, 0);
	loop_post(loop, in_order, &posts[0]); /* dropped by loop_destroy() */
	loop_destroy(loop);
	assert_int_equal(order.next, 500);
}

static void test_quit_before_run(void **state)
{
	struct loop *loop = make(0);

	loop_quit(loop);
	loop_run(loop);
	loop_post(loop, quit, loop);
	loop_run(loop);
	loop_destroy(loop);
}

static void start_and_join(void *arg)
{
	struct err err;

	assert_int_equal(loop_start(arg, &err), 0);
	loop_join(arg);
}

/* A call that owns the loop, starts it and waits for its end. */
static void test_join_inside_call(void **state)
{
	struct loop *loop = make(0);

	loop_call(loop, start_and_join, loop);
	loop_destroy(loop);
}

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

/* Idle, with pollers, after work: it must fall asleep, and stay so. */
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

static void test_name(void **state)
{
	struct loop *loop;
	struct err err;

	assert_int_equal(loop_create(&loop, "a-name-that-is-too-long", 0, &err), 0);
	assert_string_equal(loop_name(loop), "a-name-that-is-");
	loop_destroy(loop);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_fd),
		cmocka_unit_test(test_fd_stale),
		cmocka_unit_test(test_fd_quiet_hangup),
		cmocka_unit_test(test_fd_refused),
		cmocka_unit_test(test_timers),
		cmocka_unit_test(test_timer_always),
		cmocka_unit_test(test_timer_precision),
		cmocka_unit_test(test_call),
		cmocka_unit_test(test_call_at_start),
		cmocka_unit_test(test_call_quit_race),
		cmocka_unit_test(test_post),
		cmocka_unit_test(test_quit_before_run),
		cmocka_unit_test(test_join_inside_call),
		cmocka_unit_test(test_poller),
		cmocka_unit_test(test_awake),
		cmocka_unit_test(test_idle),
		cmocka_unit_test(test_window),
		cmocka_unit_test(test_window_shared_processor),
		cmocka_unit_test(test_window_shorter),
		cmocka_unit_test(test_busy_poller),
		cmocka_unit_test(test_poller_del),
		cmocka_unit_test(test_name),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
