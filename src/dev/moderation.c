/*
 * Interrupt moderation; see moderation.h. Under the device's lock.
 */
#include "dev/moderation.h"

static void moderation_due(struct nic_timer *t)
{
	struct moderation *m = (struct moderation *)t;

	m->waiting = false;
	m->due(m);
}

void moderation_init(struct moderation *m, struct nic *nic, void (*due)(struct moderation *m))
{
	*m = (struct moderation){.due = due};
	nic_timer_init(&m->timer, nic, moderation_due);
}

void moderation_reset(struct moderation *m)
{
	nic_timer_cancel(&m->timer);
	m->interval_ns = m->next_ns = 0;
	m->waiting = false;
}

bool moderation_ask(struct moderation *m)
{
	uint64_t now;

	if (m->waiting)
		return false;
	if (!m->interval_ns)
		return true;
	now = loop_now_ns();
	if (now >= m->next_ns) {
		m->next_ns = now + m->interval_ns;
		return true;
	}
	m->waiting = true;
	nic_timer_set(&m->timer, m->next_ns);
	return false;
}
