/*
 * What the tests of base/loop.c have in common: a loop that runs for as long as a test wants, and
 * who comes to it.
 */
#ifndef VIREO_TESTS_LOOP_FIXTURE_H
#define VIREO_TESTS_LOOP_FIXTURE_H

#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/loop_impl.h"

#define MS 1000000ull

static inline struct loop *make(uint64_t poll_max_ns)
{
	struct loop *loop;
	struct err err;

	assert_int_equal(loop_create(&loop, "test", poll_max_ns, &err), 0);
	return loop;
}

static inline void kick(int fd)
{
	uint64_t one = 1;

	assert_int_equal(write(fd, &one, sizeof(one)), sizeof(one));
}

static inline void drain(int fd)
{
	uint64_t n;

	assert_int_equal(read(fd, &n, sizeof(n)), sizeof(n));
}

static inline void quit_timer(struct loop_timer *t)
{
	loop_quit(t->opaque);
}

/* Runs the loop for ms milliseconds. */
static inline void run_for(struct loop *loop, uint64_t ms)
{
	struct loop_timer t = {.expired = quit_timer, .opaque = loop};

	loop_timer_set(loop, &t, loop_now_ns() + ms * MS);
	loop_run(loop);
	loop_timer_cancel(loop, &t);
}

/* A file descriptor that is counted when it is readable. */
struct watch {
	struct loop_fd lf;
	struct loop_fd *other; /* deleted or made quiet by the handler */
	bool mod;
	int runs;
};

static inline void watch_ready(struct loop_fd *lf, uint32_t events)
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

static inline void watch_init(struct watch *w)
{
	*w = (struct watch){.lf = {.ready = watch_ready, .opaque = w}};
	w->lf.fd = eventfd(0, EFD_NONBLOCK);
	assert_true(w->lf.fd >= 0);
}

/* A call, or something posted. */
struct note {
	struct loop *loop;
	int n;
	bool current;
};

static inline void count(void *arg)
{
	struct note *note = arg;

	note->n++;
	note->current = loop_is_current(note->loop);
}

#endif
