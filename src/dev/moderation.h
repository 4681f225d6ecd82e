/*
 * Interrupt moderation: an interrupt that may come, but not more often than every so many ns.
 *
 *	cause -> moderation_ask() -> true: raise it now
 *				  -> false: the model's function is called when the interval is over
 *
 * A timer of the card's, under its lock; nothing runs while nothing is asked for.
 */
#ifndef VIREO_DEV_MODERATION_H
#define VIREO_DEV_MODERATION_H

#include "dev/nic.h"

struct moderation {
	struct nic_timer timer;
	uint64_t interval_ns; /* 0: as often as asked */
	uint64_t next_ns;     /* not before */
	bool waiting;
	void (*due)(struct moderation *m);
};

void moderation_init(struct moderation *m, struct nic *nic, void (*due)(struct moderation *m));
void moderation_reset(struct moderation *m);
/* May it be raised now? If not, due() will be called (once) when it may. */
bool moderation_ask(struct moderation *m);

#endif
