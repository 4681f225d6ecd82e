/*
 * The event loop, base/loop.c and base/loop_call.c: file descriptors, timers, calls and posts.
 * Polling is test_loop_poll.c's.
 */
#include <errno.h>
#include <fcntl.h>

#include "loop_fixture.h"

/* ---- file descriptors ---- */

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

static void quit(void *loop)
{
	loop_quit(loop);
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
		cmocka_unit_test(test_name),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
