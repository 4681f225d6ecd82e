/*
 * The inside of an event loop, for loop.c, loop_call.c and loop_poll.c alone. The theory is in loop.c.
 */
#ifndef VIREO_BASE_LOOP_IMPL_H
#define VIREO_BASE_LOOP_IMPL_H

#include <pthread.h>

#include "base/counter.h"
#include "base/loop.h"

#define LOOP_BATCH 64 /* events taken by one epoll_wait */

struct loop_job {
	void (*fn)(void *arg);
	void *arg;
	enum {
		JOB_NEW,
		JOB_QUEUED,
		JOB_TAKEN,
		JOB_DONE
	} state;
	bool is_call; /* lives on the caller's stack, which waits; else allocated */
	STAILQ_ENTRY(loop_job) link;
};
STAILQ_HEAD(loop_jobs, loop_job);

struct loop {
	char name[16];
	int epoll_fd;
	int wake_fd;
	bool has_pwait2; /* time-outs in ns */
	pthread_t thread;
	bool started;

	/* Any thread. */
	pthread_mutex_t lock;
	pthread_cond_t changed; /* a call has returned, or the loop has another owner */
	struct loop_jobs jobs;	/* lock */
	bool running;		/* lock: loop_run() owns it, or loop_start()'s thread will */
	pthread_t owner;	/* atomic, written under lock; 0 = nobody */
	bool pending;		/* atomic: jobs isn't empty */
	bool sleeping;		/* atomic: about to be, or in, epoll_wait */
	bool quit;		/* atomic */
	uint64_t poll_max_ns;	/* atomic */
	struct counter wakeups, polls, poll_hits, poll_ns;

	/* The owner's. */
	TAILQ_HEAD(loop_timers, loop_timer) timers; /* by deadline */
	TAILQ_HEAD(, loop_poller) pollers;
	uint64_t awake_until;		      /* the latest that a poller asked for */
	bool in_timers;			      /* handlers of timers are being run */
	struct loop_poller *next_poller;      /* of the walk that is under way */
	struct epoll_event batch[LOOP_BATCH]; /* entries of removed fds become NULL */
	int batch_n;
	uint64_t now;	    /* end of the last round */
	uint64_t last_work; /* when work was found last */
	uint64_t last_look; /* when the descriptors were looked at last */
	uint64_t slept_at;  /* when it went to sleep since then; 0 = it didn't */
	bool spun;	    /* has it spun since then? */
	bool yielded;	    /* in that time, its processor to others */
	struct loop_awake awake;

	/* loop_poll.c's. */
	uint64_t window;	 /* how long to spin after the last work */
	uint64_t cap;		 /* no longer than that, for now; 0 = poll_max_ns */
	uint64_t caught;	 /* how long it took lately when a spin caught work; 0 = none did */
	int spin_score;		 /* spins that paid, less those that didn't */
	unsigned int cap_left;	 /* that often work comes before a longer spin is tried */
	unsigned int spin_pause; /* that often work comes before the next spin */
	unsigned int next_cap, next_pause;
};

/* loop.c */
void loop_wake(struct loop *loop); /* ends epoll_wait; any thread, signal handlers too */

/* loop_call.c */
void loop_own(struct loop *loop, pthread_t who); /* under lock; 0 = nobody from now on */
bool loop_jobs_run(struct loop *loop);		 /* what was queued up to now; true = something */

/* loop_poll.c. The owner's thread. */
bool loop_pollers_run(struct loop *loop);     /* true = one has found work */
bool loop_pollers_prepare(struct loop *loop); /* true = don't sleep */
void loop_pollers_woken(struct loop *loop);
void loop_note_work(struct loop *loop);	       /* work was found at loop->now */
uint64_t loop_window(const struct loop *loop); /* ns to spin after the last work */

#endif
