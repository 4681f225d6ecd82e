/*
 * Event loop: pollers, and how long it is worth while to spin before sleeping.
 *
 * The window follows what came of the last decision: work that arrived within poll_max_ns, but after
 * the loop had gone to sleep, doubles it; work that arrived later than any spinning would have
 * lasted halves it, down to nothing.
 *
 * That alone would be fooled where whoever makes the work needs the processor that we spin on: then
 * it always comes right after we have gone to sleep, and never before. So a score is kept of
 * spins that caught work, and of those after which work came as soon as we slept, by how long they
 * were. When the score is at its worst, and spins that caught something were much shorter than those
 * that didn't, no spin is longer than that for a while; else there is no spinning at all. Either
 * lasts longer each time, until spins pay again. The loop's thread.
 */
#include "base/loop_impl.h"

/* The polling window's first step up from 0; it doubles from there. Below it there is no window. */
#define WINDOW_STEP_NS 4000u

/* What a wake-up takes (loop.h): part of a wait that ended in sleep, but not of one spent spinning. */
#define WAKE_NS 20000u

/* The score. What a spin has saved that caught work, a wake-up; what one has cost that lasted for all of
 * poll_max_ns, and was in vain: shorter ones cost less. Where they take turns (a request to somebody who needs
 * this processor, and an answer that comes at once), spinning is slower than none: measured, 43 us for a round
 * trip, and 30 us without. */
#define SCORE_HIT  16
#define SCORE_MISS 32
#define SCORE_MAX  (24 * SCORE_HIT)
/* On the second and later attempts, it is given up again when that much is lost. */
#define SCORE_RETRY (8 * SCORE_HIT)
/* How long there is no spinning, or no long one, in times that work came. What a retry costs that fails, SCORE_RETRY
 * in vain, is little beside so many wake-ups. */
#define PAUSE_MIN 64u
#define PAUSE_MAX 1024u
#define CAP_MAX	  4096u

void loop_poller_add(struct loop *loop, struct loop_poller *p)
{
	TAILQ_INSERT_TAIL(&loop->pollers, p, link);
}

void loop_poller_del(struct loop *loop, struct loop_poller *p)
{
	if (loop->next_poller == p)
		loop->next_poller = TAILQ_NEXT(p, link);
	TAILQ_REMOVE(&loop->pollers, p, link);
}

/* Walks the pollers, of which any may be removed on the way. */
static struct loop_poller *poller_first(struct loop *loop)
{
	struct loop_poller *p = TAILQ_FIRST(&loop->pollers);

	loop->next_poller = p ? TAILQ_NEXT(p, link) : NULL;
	return p;
}

static struct loop_poller *poller_next(struct loop *loop)
{
	struct loop_poller *p = loop->next_poller;

	loop->next_poller = p ? TAILQ_NEXT(p, link) : NULL;
	return p;
}

bool loop_pollers_run(struct loop *loop)
{
	struct loop_poller *p;
	bool hit = false;

	loop->awake_until = 0;
	if (TAILQ_EMPTY(&loop->pollers))
		return false;
	for (p = poller_first(loop); p; p = poller_next(loop))
		hit |= p->poll(p);
	TAILQ_FOREACH(p, &loop->pollers, link)
		if (p->awake_until_ns > loop->awake_until)
			loop->awake_until = p->awake_until_ns;
	counter_add(&loop->polls, 1);
	if (hit)
		counter_add(&loop->poll_hits, 1);
	return hit;
}

bool loop_pollers_prepare(struct loop *loop)
{
	bool busy = false;

	for (struct loop_poller *p = poller_first(loop); p; p = poller_next(loop)) {
		if (p->sleep_prepare)
			busy |= p->sleep_prepare(p);
	}
	return busy;
}

void loop_pollers_woken(struct loop *loop)
{
	for (struct loop_poller *p = poller_first(loop); p; p = poller_next(loop)) {
		if (p->woken)
			p->woken(p);
	}
}

/* Twice as long as the last time. */
static unsigned int next_time(unsigned int *next, unsigned int max)
{
	unsigned int n = *next > PAUSE_MIN ? *next : PAUSE_MIN;

	*next = n < max ? 2 * n : n;
	return n;
}

/* A spin has caught work. */
static void spin_hit(struct loop *loop)
{
	uint64_t took = loop->now - loop->last_work;

	loop->caught = loop->caught ? loop->caught - loop->caught / 8 + took / 8 : took;
	loop->spin_score += SCORE_HIT;
	if (loop->spin_score > 0)
		loop->next_pause = PAUSE_MIN;
	if (loop->spin_score < SCORE_MAX)
		return;
	loop->spin_score = SCORE_MAX;
	if (!loop->cap)
		loop->next_cap = PAUSE_MIN;
}

/* Would shorter spins than one of so many ns have caught as much? Then they are, for a while. */
static bool spin_shorter(struct loop *loop, uint64_t than)
{
	uint64_t enough = loop->caught + loop->caught / 2;

	if (!loop->caught || enough > than / 2)
		return false;
	loop->cap = enough > WINDOW_STEP_NS ? enough : WINDOW_STEP_NS;
	loop->cap_left = next_time(&loop->next_cap, CAP_MAX);
	loop->spin_score = 0;
	return true;
}

/* Work came as soon as a spin was over. */
static void spin_miss(struct loop *loop, uint64_t max)
{
	uint64_t spent = loop->slept_at - loop->last_work;

	loop->spin_score -= spent < max ? (int)(1 + SCORE_MISS * spent / max) : SCORE_MISS;
	if (loop->spin_score > -SCORE_MAX)
		return;
	if (!spin_shorter(loop, spent)) {
		loop->spin_score = SCORE_RETRY - SCORE_MAX;
		loop->spin_pause = next_time(&loop->next_pause, PAUSE_MAX);
		loop->cap = 0;
	}
	loop->caught = 0;
}

/* If the loop had gone to sleep before it came, was that a mistake? The wait up to now says whether
 * spinning for poll_max_ns would have caught it. */
static void window_adapt(struct loop *loop, uint64_t max)
{
	if (loop->now - loop->last_work <= max + WAKE_NS)
		loop->window = loop->window ? loop->window * 2 : WINDOW_STEP_NS;
	else
		loop->window /= 2;
	if (loop->window < WINDOW_STEP_NS)
		loop->window = 0;
	if (loop->window > max)
		loop->window = max;
}

void loop_note_work(struct loop *loop)
{
	uint64_t max = __atomic_load_n(&loop->poll_max_ns, __ATOMIC_RELAXED);

	if (loop->spin_pause)
		loop->spin_pause--;
	if (loop->cap && !--loop->cap_left) {
		loop->cap = 0;
		loop->spin_score = 0; /* long ones have to earn their own */
	}
	if (loop->slept_at) {
		if (loop->spun && loop->now - loop->slept_at <= max)
			spin_miss(loop, max);
		window_adapt(loop, max);
	} else if (loop->yielded) {
		loop->awake.late++;
	} else if (loop->spun) {
		spin_hit(loop);
	}
	loop->awake.work++;
	loop->slept_at = 0;
	loop->spun = loop->yielded = false;
	loop->last_work = loop->now;
}

uint64_t loop_window(const struct loop *loop)
{
	uint64_t max = __atomic_load_n(&loop->poll_max_ns, __ATOMIC_RELAXED);

	if (loop->spin_pause)
		return 0;
	if (loop->cap && loop->cap < max)
		max = loop->cap;
	return loop->window < max ? loop->window : max;
}

struct loop_awake loop_awake(const struct loop *loop)
{
	return loop->awake;
}

bool loop_had_slept(const struct loop *loop)
{
	return loop->slept_at;
}
