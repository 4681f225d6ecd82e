/*
 * Deferred work; see defer.h. The struct outlives its owner while a post is in the loop: then the
 * post frees it.
 */
#include "dev/defer.h"

#include <stdlib.h>

struct defer {
	struct loop *loop;
	void (*fn)(void *opaque); /* NULL: the owner is gone. Loop's thread */
	void *opaque;
	bool posted; /* atomic */
};

struct defer *defer_create(struct loop *loop, void (*fn)(void *opaque), void *opaque)
{
	struct defer *d = calloc(1, sizeof(*d));

	if (d)
		*d = (struct defer){.loop = loop, .fn = fn, .opaque = opaque};
	return d;
}

static void run(void *arg)
{
	struct defer *d = arg;

	/* Before fn: what is asked for while it runs is asked for again. */
	__atomic_store_n(&d->posted, false, __ATOMIC_SEQ_CST);
	if (d->fn)
		d->fn(d->opaque);
	else
		free(d);
}

void defer_kick(struct defer *d)
{
	if (__atomic_exchange_n(&d->posted, true, __ATOMIC_SEQ_CST))
		return;
	if (loop_post(d->loop, run, d)) /* no memory: the next kick tries again */
		__atomic_store_n(&d->posted, false, __ATOMIC_SEQ_CST);
}

void defer_destroy(struct defer *d)
{
	if (!d)
		return;
	d->fn = NULL;
	if (!__atomic_load_n(&d->posted, __ATOMIC_SEQ_CST))
		free(d);
}
