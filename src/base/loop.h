/*
 * Event loop: file descriptors, timers, calls from other threads, and adaptive polling.
 *
 * One loop is one thread. The control thread has one, each I/O thread has one. epoll underneath;
 * a timer is an entry in a sorted list that sets epoll's time-out (timerfd not needed).
 *
 *	           wait (epoll)  <------------------+
 *	              |                             |  nothing for poll_max_ns
 *	   fd ready / timer / call                  |
 *	              v                             |
 *	          handlers  ---> pollers: "did you find work?" --yes--> again
 *
 * Adaptive polling: a wake-up of a sleeping thread costs about 20 us, a spinning one sees work
 * in under 1 us. After work was found the loop asks its pollers again and again until none has
 * found any for a window that grows while polling pays (work arrives within poll_max_ns) and
 * shrinks to 0 while it doesn't. With no work it sleeps in epoll: an idle VM wakes nobody. A poller
 * whose work can't wake anybody keeps the loop awake for as long as it says (awake_until_ns).
 *
 * Unless said otherwise, a function is called on the loop's own thread, or before it runs.
 */
#ifndef VIREO_BASE_LOOP_H
#define VIREO_BASE_LOOP_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/epoll.h>
#include <sys/queue.h>

#include "base/err.h"

struct loop;

/* A file descriptor that is watched. The owner keeps the struct alive while it is added. */
struct loop_fd {
	/* events: EPOLLIN | EPOLLOUT | EPOLLERR | EPOLLHUP */
	void (*ready)(struct loop_fd *lf, uint32_t events);
	void *opaque;
	int fd;
	uint32_t events;   /* set by loop_fd_add/_mod */
	struct loop *loop; /* NULL when not added */
};

/* A timer, one shot: re-arm from the handler for a period. */
struct loop_timer {
	void (*expired)(struct loop_timer *t);
	void *opaque;
	uint64_t deadline_ns; /* CLOCK_MONOTONIC; 0 = not armed */
	TAILQ_ENTRY(loop_timer) link;
};

/* Something that can look for work without a system call (a ring's index, say).
 * sleep_prepare() arms the notification that wakes the loop (enables the guest's doorbell) and
 * returns true if work came in meanwhile, in which case the loop doesn't sleep; woken() may disarm
 * it again. Both may be NULL. */
struct loop_poller {
	bool (*poll)(struct loop_poller *p); /* does the work; true = there was some */
	bool (*sleep_prepare)(struct loop_poller *p);
	void (*woken)(struct loop_poller *p);
	void *opaque;
	/* The loop spins and doesn't sleep before this time (CLOCK_MONOTONIC), whatever its window
	 * is. The poller's to set, on the loop's thread; sleep_prepare() is called when it has
	 * passed. */
	uint64_t awake_until_ns;
	TAILQ_ENTRY(loop_poller) link;
};

/* What the loop did, for `info io`. */
struct loop_stats {
	uint64_t wakeups;   /* returns from epoll_wait that had slept or found events */
	uint64_t polls;	    /* rounds over the pollers */
	uint64_t poll_hits; /* rounds that found work */
	uint64_t poll_ns;   /* time spent in rounds that found none */
};

/* Makes a loop; name (<= 15 characters) becomes the thread's name. poll_max_ns: longest time to
 * spin after the last work; 0 = never. Returns 0 or a negative errno. */
int loop_create(struct loop **loop, const char *name, uint64_t poll_max_ns, struct err *err);
void loop_destroy(struct loop *loop); /* not running any more; NULL is fine */

/* Start a thread of its own that runs the loop, or run it on the calling thread, until
 * loop_quit(). From loop_start() on the loop runs, even if the thread hasn't begun yet. */
int loop_start(struct loop *loop, struct err *err);
void loop_run(struct loop *loop);
/* Ends this run, or the next one if it hasn't begun. What was posted before still runs. Any thread,
 * also from a signal handler. */
void loop_quit(struct loop *loop);
/* loop_quit() and wait for the thread of loop_start(), if there is one. */
void loop_join(struct loop *loop);

const char *loop_name(const struct loop *loop);
struct loop_stats loop_stats(const struct loop *loop); /* any thread */
bool loop_is_current(const struct loop *loop);	       /* are we on its thread? any thread */
/* How it goes while a poller keeps the loop awake: times that work came, ever, and how many of these came only when
 * the loop had given its processor to others after a long spin. Many are a sign that whoever makes the work
 * needs the processor that the loop spins on. Loop's thread. */
struct loop_awake {
	uint64_t work, late;
};
struct loop_awake loop_awake(const struct loop *loop);
/* In a handler: had the loop gone to sleep before this work came? Loop's thread. */
bool loop_had_slept(const struct loop *loop);
void loop_set_poll_max(struct loop *loop, uint64_t ns); /* any thread */
uint64_t loop_poll_max(const struct loop *loop);	/* any thread */

/* Level-triggered. 0 or a negative errno: -EPERM = a regular file, which is always ready and can't
 * be watched. */
int loop_fd_add(struct loop *loop, struct loop_fd *lf, uint32_t events);
/* 0 = keep it added, but quiet: not even EPOLLHUP is told. */
int loop_fd_mod(struct loop_fd *lf, uint32_t events);
/* No handler of lf runs after it; NULL loop is fine. Before the fd is closed. */
void loop_fd_del(struct loop_fd *lf);

void loop_timer_set(struct loop *loop, struct loop_timer *t, uint64_t deadline_ns);
void loop_timer_cancel(struct loop *loop, struct loop_timer *t);

void loop_poller_add(struct loop *loop, struct loop_poller *p);
void loop_poller_del(struct loop *loop, struct loop_poller *p);

/* Runs fn(arg) on the loop's thread and waits until it has returned. On the loop's own thread, or
 * while the loop doesn't run, it is a plain call. Any thread. Two loops must not loop_call() each
 * other. */
void loop_call(struct loop *loop, void (*fn)(void *arg), void *arg);

/* Runs fn(arg) on the loop's thread soon, in the order of the posts. Any thread; doesn't wait.
 * Returns 0, or -ENOMEM (then fn will not run). While the loop doesn't run the post waits;
 * loop_destroy() drops it. */
int loop_post(struct loop *loop, void (*fn)(void *arg), void *arg);

/* Has the pollers asked again soon, if the loop sleeps. For a poller whose sleep_prepare() looks at
 * what was stored before this call (sequentially consistent, both). Any thread; doesn't wait,
 * allocates nothing. */
void loop_kick(struct loop *loop);

/* CLOCK_MONOTONIC in ns. */
uint64_t loop_now_ns(void);

#endif
