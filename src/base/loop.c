/*
 * Event loop over epoll: see loop.h.
 *
 * Who may touch what. Everything in struct loop belongs to the thread that *owns* the loop: the one
 * in loop_run(), or, while it doesn't run, a thread inside loop_call(). Other threads reach only
 * the queue of calls (under `lock`), the atomics, and the eventfd. The owners of loop_fd,
 * loop_timer and loop_poller keep those structs; a post is allocated in loop_call.c, a call lives on its
 * caller's stack.
 *
 * Going to sleep without losing a wake-up. Two kinds of work arrive while the loop makes up its
 * mind, and each has its own handshake:
 *
 *   loop thread                         another thread: post, quit
 *   -----------                         --------------------------
 *   sleeping = true                     queue it, pending = true (or quit = true)
 *   [full barrier]                      [full barrier]
 *   pending or quit? don't sleep        sleeping? write the eventfd
 *   epoll_wait
 *
 * Either the loop sees the work, or the other sees `sleeping`; and the eventfd is in the epoll set,
 * so a write before epoll_wait() begins ends it just as well.
 *
 * A poller's work (a ring index in guest memory) has the same handshake inside sleep_prepare():
 * it arms the notification, full barrier, looks again. What comes later makes an eventfd of the
 * poller's own readable, which is in the epoll set, level-triggered: it can't be missed either.
 *
 * The eventfd of posts is edge-triggered: each write wakes, and nobody needs to read it.
 *
 * What it does not do: priorities, signals, children.
 */
#include <errno.h>
#include <immintrin.h>
#include <limits.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <time.h>
#include <unistd.h>

#include "base/loop_impl.h"

/* While there is work the descriptors are looked at this often, so that no poller starves them; and
 * while spinning in vain this often, because a kick or a frame arrives there. */
#define LOOK_BUSY_NS 20000u
#define LOOK_IDLE_NS 1000u

/* From then on a loop that is kept awake lets others have the processor in between: whoever makes the
 * work may be waiting for it. */
#define YIELD_NS 50000u

uint64_t loop_now_ns(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * 1000000000u + ts.tv_nsec;
}

/* ---- making and ending ---- */

int loop_create(struct loop **out, const char *name, uint64_t poll_max_ns, struct err *err)
{
	struct loop *loop = calloc(1, sizeof(*loop));
	struct epoll_event ev = {.events = EPOLLIN | EPOLLET};
	struct timespec zero = {0};
	int ret;

	if (!loop)
		return err_set(err, -ENOMEM, "event loop %s: out of memory", name);
	snprintf(loop->name, sizeof(loop->name), "%s", name);
	loop->epoll_fd = loop->wake_fd = -1;
	loop->poll_max_ns = poll_max_ns;
	STAILQ_INIT(&loop->jobs);
	TAILQ_INIT(&loop->timers);
	TAILQ_INIT(&loop->pollers);
	pthread_mutex_init(&loop->lock, NULL);
	pthread_cond_init(&loop->changed, NULL);

	loop->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
	if (loop->epoll_fd < 0) {
		ret = err_errno(err, "event loop %s: epoll_create1", name);
		goto fail;
	}
	loop->wake_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (loop->wake_fd < 0) {
		ret = err_errno(err, "event loop %s: eventfd", name);
		goto fail;
	}
	if (epoll_ctl(loop->epoll_fd, EPOLL_CTL_ADD, loop->wake_fd, &ev) < 0) {
		ret = err_errno(err, "event loop %s: epoll_ctl", name);
		goto fail;
	}
	/* Since Linux 5.11; without it, time-outs are rounded up to milliseconds. */
	loop->has_pwait2 = epoll_pwait2(loop->epoll_fd, loop->batch, LOOP_BATCH, &zero, NULL) >= 0;
	*out = loop;
	return 0;
fail:
	loop_destroy(loop);
	return ret;
}

void loop_destroy(struct loop *loop)
{
	struct loop_job *job;

	if (!loop)
		return;
	while ((job = STAILQ_FIRST(&loop->jobs))) {
		STAILQ_REMOVE_HEAD(&loop->jobs, link);
		free(job); /* nobody waits in loop_call() any more, so it is a post */
	}
	if (loop->wake_fd >= 0)
		close(loop->wake_fd);
	if (loop->epoll_fd >= 0)
		close(loop->epoll_fd);
	pthread_cond_destroy(&loop->changed);
	pthread_mutex_destroy(&loop->lock);
	free(loop);
}

static void *loop_thread(void *arg)
{
	loop_run(arg);
	return NULL;
}

int loop_start(struct loop *loop, struct err *err)
{
	sigset_t all, old;
	int ret;

	/* From now on calls wait for the thread, even before it has begun. */
	pthread_mutex_lock(&loop->lock);
	loop->running = true;
	pthread_mutex_unlock(&loop->lock);
	/* Signals are for the thread that expects them, never for an I/O thread. */
	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &old);
	ret = pthread_create(&loop->thread, NULL, loop_thread, loop);
	pthread_sigmask(SIG_SETMASK, &old, NULL);
	if (ret) {
		pthread_mutex_lock(&loop->lock);
		loop->running = false;
		pthread_cond_broadcast(&loop->changed);
		pthread_mutex_unlock(&loop->lock);
		return err_set(err, -ret, "event loop %s: can't start a thread: %s", loop->name,
			       strerror(ret));
	}
	pthread_setname_np(loop->thread, loop->name);
	loop->started = true;
	return 0;
}

void loop_wake(struct loop *loop)
{
	uint64_t one = 1;

	/* Fails only when the counter is full, and then the loop has been woken anyway. */
	if (write(loop->wake_fd, &one, sizeof(one)) < 0)
		return;
}

void loop_quit(struct loop *loop)
{
	int saved = errno; /* may be a signal handler */

	__atomic_store_n(&loop->quit, true, __ATOMIC_SEQ_CST);
	loop_wake(loop);
	errno = saved;
}

void loop_join(struct loop *loop)
{
	if (!loop->started)
		return;
	loop_quit(loop);
	pthread_mutex_lock(&loop->lock); /* it may still wait to begin */
	pthread_cond_broadcast(&loop->changed);
	pthread_mutex_unlock(&loop->lock);
	pthread_join(loop->thread, NULL);
	loop->started = false;
	__atomic_store_n(&loop->quit, false, __ATOMIC_SEQ_CST);
}

/* ---- small things ---- */

const char *loop_name(const struct loop *loop)
{
	return loop->name;
}

struct loop_stats loop_stats(const struct loop *loop)
{
	return (struct loop_stats){
		.wakeups = counter_get(&loop->wakeups),
		.polls = counter_get(&loop->polls),
		.poll_hits = counter_get(&loop->poll_hits),
		.poll_ns = counter_get(&loop->poll_ns),
	};
}

bool loop_is_current(const struct loop *loop)
{
	/* Only the owner itself ever stores its own identity, so nobody else can read it as true.
	 */
	return __atomic_load_n(&loop->owner, __ATOMIC_RELAXED) == pthread_self();
}

void loop_set_poll_max(struct loop *loop, uint64_t ns)
{
	__atomic_store_n(&loop->poll_max_ns, ns, __ATOMIC_RELAXED);
}

uint64_t loop_poll_max(const struct loop *loop)
{
	return __atomic_load_n(&loop->poll_max_ns, __ATOMIC_RELAXED);
}

void loop_kick(struct loop *loop)
{
	/* Pairs with loop_sleep(): sleeping first, then sleep_prepare() looks. */
	if (__atomic_load_n(&loop->sleeping, __ATOMIC_SEQ_CST))
		loop_wake(loop);
}

/* ---- file descriptors ---- */

static int fd_ctl(struct loop_fd *lf, int op, uint32_t events)
{
	struct epoll_event ev = {.events = events, .data.ptr = lf};

	return epoll_ctl(lf->loop->epoll_fd, op, lf->fd, &ev) < 0 ? -errno : 0;
}

int loop_fd_add(struct loop *loop, struct loop_fd *lf, uint32_t events)
{
	int ret;

	if (lf->loop)
		return -EEXIST;
	lf->loop = loop;
	lf->events = events;
	ret = fd_ctl(lf, EPOLL_CTL_ADD, events);
	if (ret < 0)
		lf->loop = NULL;
	else if (!events)
		fd_ctl(lf, EPOLL_CTL_DEL, 0);
	return ret;
}

/* epoll reports EPOLLERR and EPOLLHUP whether asked or not, so one that is to be quiet is out of
 * the set. */
int loop_fd_mod(struct loop_fd *lf, uint32_t events)
{
	int ret;

	if (!lf->loop)
		return -ENOENT;
	if (events == lf->events)
		return 0;
	if (!events)
		ret = fd_ctl(lf, EPOLL_CTL_DEL, 0);
	else
		ret = fd_ctl(lf, lf->events ? EPOLL_CTL_MOD : EPOLL_CTL_ADD, events);
	if (!ret)
		lf->events = events;
	return ret;
}

void loop_fd_del(struct loop_fd *lf)
{
	struct loop *loop = lf->loop;

	if (!loop)
		return;
	if (lf->events)
		fd_ctl(lf, EPOLL_CTL_DEL, 0);
	for (int i = 0; i < loop->batch_n; i++) {
		if (loop->batch[i].data.ptr == lf)
			loop->batch[i].data.ptr = NULL;
	}
	lf->loop = NULL;
	lf->events = 0;
}

/* Waits for the descriptors; timeout_ns < 0: for ever. Fills the batch; the number of events. */
static int fds_wait(struct loop *loop, int64_t timeout_ns)
{
	int n;

	if (loop->has_pwait2 && timeout_ns > 0) {
		struct timespec ts = {timeout_ns / 1000000000, timeout_ns % 1000000000};

		n = epoll_pwait2(loop->epoll_fd, loop->batch, LOOP_BATCH, &ts, NULL);
	} else {
		int64_t ms = timeout_ns < 0 ? -1 : (timeout_ns + 999999) / 1000000;

		n = epoll_wait(loop->epoll_fd, loop->batch, LOOP_BATCH,
			       ms > INT_MAX ? INT_MAX : ms);
	}
	if (n < 0)
		n = 0; /* EINTR: the round begins again */
	if (n || timeout_ns)
		counter_add(&loop->wakeups, 1);
	return n;
}

/* Runs the handlers of the batch. True if there was one. */
static bool fds_dispatch(struct loop *loop, int n)
{
	bool any = false;

	loop->batch_n = n;
	for (int i = 0; i < n; i++) {
		struct loop_fd *lf = loop->batch[i].data.ptr;
		uint32_t events;

		if (!lf)
			continue; /* the wake-up, or removed by a handler before */
		events = loop->batch[i].events & (lf->events | EPOLLERR | EPOLLHUP);
		if (!events || !lf->events)
			continue; /* a handler before has changed what it waits for */
		any = true;
		lf->ready(lf, events);
	}
	loop->batch_n = 0;
	return any;
}

/* ---- timers ---- */

void loop_timer_set(struct loop *loop, struct loop_timer *t, uint64_t deadline_ns)
{
	struct loop_timer *before;

	loop_timer_cancel(loop, t);
	/* One that a handler arms in the past is for the next round: others come first. */
	if (loop->in_timers && deadline_ns <= loop->now)
		deadline_ns = loop->now + 1;
	t->deadline_ns = deadline_ns ? deadline_ns : 1;
	before = TAILQ_LAST(&loop->timers, loop_timers);
	while (before && before->deadline_ns > t->deadline_ns)
		before = TAILQ_PREV(before, loop_timers, link);
	if (before)
		TAILQ_INSERT_AFTER(&loop->timers, before, t, link);
	else
		TAILQ_INSERT_HEAD(&loop->timers, t, link);
}

void loop_timer_cancel(struct loop *loop, struct loop_timer *t)
{
	if (!t->deadline_ns)
		return;
	TAILQ_REMOVE(&loop->timers, t, link);
	t->deadline_ns = 0;
}

static void timers_run(struct loop *loop)
{
	struct loop_timer *t;

	loop->in_timers = true;
	while ((t = TAILQ_FIRST(&loop->timers)) && t->deadline_ns <= loop->now) {
		loop_timer_cancel(loop, t);
		t->expired(t);
	}
	loop->in_timers = false;
}

/* ---- the loop ---- */

/* Looks at the descriptors without waiting. */
static bool fds_look(struct loop *loop)
{
	loop->last_look = loop->now;
	return fds_dispatch(loop, fds_wait(loop, 0));
}

/* Waits for the next event, timer, post or quit, and runs the handlers of what is ready. */
static bool loop_sleep(struct loop *loop)
{
	struct loop_timer *t = TAILQ_FIRST(&loop->timers);
	int64_t timeout_ns = -1;
	bool stay;
	int n = 0;

	if (t) {
		if (t->deadline_ns <= loop->now)
			return fds_look(loop); /* a timer that is always due starves nobody */
		timeout_ns = t->deadline_ns - loop->now;
		if (timeout_ns < 0)
			timeout_ns = INT64_MAX;
	}
	/* Pairs with job_queue() and loop_quit(): sleeping first, then look at what they write. */
	__atomic_store_n(&loop->sleeping, true, __ATOMIC_SEQ_CST);
	stay = loop_pollers_prepare(loop);
	stay |= __atomic_load_n(&loop->pending, __ATOMIC_SEQ_CST);
	stay |= __atomic_load_n(&loop->quit, __ATOMIC_SEQ_CST);
	if (!stay) {
		if (!loop->slept_at)
			loop->slept_at = loop->now;
		n = fds_wait(loop, timeout_ns);
	}
	__atomic_store_n(&loop->sleeping, false, __ATOMIC_RELAXED);
	loop_pollers_woken(loop);
	loop->now = loop->last_look = loop_now_ns();
	return fds_dispatch(loop, n);
}

static void loop_round(struct loop *loop)
{
	uint64_t before = loop->now;
	bool work, spin;

	work = loop_jobs_run(loop);
	timers_run(loop);
	work |= loop_pollers_run(loop);
	loop->now = loop_now_ns();

	if (work) {
		loop_note_work(loop);
		if (loop->now - loop->last_look >= LOOK_BUSY_NS)
			fds_look(loop);
		return;
	}
	spin = loop->now - loop->last_work < loop_window(loop);
	if (spin || loop->now < loop->awake_until) {
		if (loop->now - loop->last_look >= LOOK_IDLE_NS && fds_look(loop)) {
			loop_note_work(loop);
			return;
		}
		loop->spun = true;
		counter_add(&loop->poll_ns, loop->now - before);
		if (!spin && loop->now - loop->last_work > YIELD_NS) {
			loop->yielded = true;
			sched_yield();
		} else {
			_mm_pause();
		}
		return;
	}
	if (loop_sleep(loop))
		loop_note_work(loop);
}

void loop_run(struct loop *loop)
{
	pthread_mutex_lock(&loop->lock);
	/* A call that began while the loop stood still ends first. It may want the loop to end. */
	while (loop->owner && !__atomic_load_n(&loop->quit, __ATOMIC_SEQ_CST))
		pthread_cond_wait(&loop->changed, &loop->lock);
	if (loop->owner) {
		loop->running = false;
		__atomic_store_n(&loop->quit, false, __ATOMIC_SEQ_CST);
		pthread_mutex_unlock(&loop->lock);
		return;
	}
	loop->running = true;
	loop_own(loop, pthread_self());
	pthread_mutex_unlock(&loop->lock);

	loop->now = loop->last_work = loop->last_look = loop_now_ns();
	while (!__atomic_load_n(&loop->quit, __ATOMIC_SEQ_CST))
		loop_round(loop);
	loop_jobs_run(loop); /* those who wait in loop_call() from now on run it themselves */

	__atomic_store_n(&loop->quit, false, __ATOMIC_SEQ_CST);
	pthread_mutex_lock(&loop->lock);
	loop->running = false;
	loop_own(loop, 0);
	pthread_mutex_unlock(&loop->lock);
}
