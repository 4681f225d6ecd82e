/*
 * Event loop: work that other threads bring, loop_call() and loop_post().
 *
 * Both put a job into a queue under the loop's lock; the loop's thread takes the whole queue once a
 * round. A call waits for its job. The loop may start or end meanwhile, so a caller whose job has
 * not been taken, and who finds the loop without an owner, becomes the owner for that long and runs
 * the job itself: nobody waits for a loop that doesn't run, and a job never runs beside a handler.
 */
#include <errno.h>
#include <stdlib.h>

#include "base/loop_impl.h"

/* Under lock. True if the loop's thread has to be woken: loop_wake(), when the lock is free. */
static bool job_queue(struct loop *loop, struct loop_job *job)
{
	STAILQ_INSERT_TAIL(&loop->jobs, job, link);
	job->state = JOB_QUEUED;
	__atomic_store_n(&loop->pending, true, __ATOMIC_SEQ_CST);
	/* Pairs with loop_sleep(): sleeping first, then pending. */
	return __atomic_load_n(&loop->sleeping, __ATOMIC_SEQ_CST);
}

int loop_post(struct loop *loop, void (*fn)(void *arg), void *arg)
{
	struct loop_job *job = calloc(1, sizeof(*job));
	bool wake;

	if (!job)
		return -ENOMEM;
	job->fn = fn;
	job->arg = arg;
	pthread_mutex_lock(&loop->lock);
	wake = job_queue(loop, job);
	pthread_mutex_unlock(&loop->lock);
	if (wake)
		loop_wake(loop);
	return 0;
}

/* Under lock: makes the calling thread the owner, or nobody. */
void loop_own(struct loop *loop, pthread_t who)
{
	__atomic_store_n(&loop->owner, who, __ATOMIC_RELAXED);
	pthread_cond_broadcast(&loop->changed);
}

void loop_call(struct loop *loop, void (*fn)(void *arg), void *arg)
{
	struct loop_job job = {.fn = fn, .arg = arg, .is_call = true};

	if (loop_is_current(loop)) {
		fn(arg);
		return;
	}
	/* The loop may start, or end, at any moment: who gets hold of the call first runs it. */
	pthread_mutex_lock(&loop->lock);
	while (job.state != JOB_DONE) {
		/* No owner: nobody has taken it, for the loop leaves no call behind. */
		if (!loop->owner && !loop->running) {
			if (job.state == JOB_QUEUED)
				STAILQ_REMOVE(&loop->jobs, &job, loop_job, link);
			loop_own(loop, pthread_self());
			pthread_mutex_unlock(&loop->lock);
			fn(arg);
			pthread_mutex_lock(&loop->lock);
			loop_own(loop, 0);
			break;
		}
		if (loop->running && job.state == JOB_NEW && job_queue(loop, &job))
			loop_wake(loop);
		pthread_cond_wait(&loop->changed, &loop->lock);
	}
	pthread_mutex_unlock(&loop->lock);
}

/* Runs what was queued up to now. True if there was something. */
bool loop_jobs_run(struct loop *loop)
{
	struct loop_jobs jobs = STAILQ_HEAD_INITIALIZER(jobs);
	struct loop_job *job;

	if (!__atomic_load_n(&loop->pending, __ATOMIC_RELAXED))
		return false;
	pthread_mutex_lock(&loop->lock);
	STAILQ_CONCAT(&jobs, &loop->jobs);
	__atomic_store_n(&loop->pending, false, __ATOMIC_RELAXED);
	STAILQ_FOREACH(job, &jobs, link)
		job->state = JOB_TAKEN;
	pthread_mutex_unlock(&loop->lock);
	if (STAILQ_EMPTY(&jobs))
		return false;
	while ((job = STAILQ_FIRST(&jobs))) {
		STAILQ_REMOVE_HEAD(&jobs, link);
		job->fn(job->arg);
		if (!job->is_call) {
			free(job);
			continue;
		}
		pthread_mutex_lock(&loop->lock);
		job->state = JOB_DONE;
		pthread_cond_broadcast(&loop->changed);
		pthread_mutex_unlock(&loop->lock);
	}
	return true;
}
