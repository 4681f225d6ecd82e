/*
 * What both formats of the virtqueue have in common: see ring.h. Counters, configuration, latching.
 *
 * virtq_start() and virtq_stop() run on the queue's I/O thread; virtq_config_error() on any.
 */
#include <linux/virtio_ring.h>
#include <stddef.h>

#include "virtio/ring_internal.h"

const struct counter_desc virtq_counter_table[] = {
	{"kicks", offsetof(struct virtq_counters, kicks), "doorbells that arrived"},
	{"chains", offsetof(struct virtq_counters, chains), "buffer chains taken from the driver"},
	{"batches", offsetof(struct virtq_counters, batches),
	 "times that used chains were published"},
	{"notified", offsetof(struct virtq_counters, notified), "interrupts sent"},
	{"suppressed", offsetof(struct virtq_counters, suppressed),
	 "batches without an interrupt, as the driver wished"},
	{"malformed", offsetof(struct virtq_counters, malformed),
	 "times that this ring's contents latched the device"},
	{NULL, 0, NULL},
};

const char *virtq_config_error(const struct mem *mem, const struct virtq_config *config)
{
	return config->packed ? virtq_packed_config_error(mem, config)
			      : virtq_split_config_error(mem, config);
}

int virtq_start(struct virtq *q, const struct virtq_config *config, uint32_t position)
{
	int ret;

	if (virtq_config_error(q->mem, config))
		return -EINVAL;
	q->config = *config;
	q->size = config->size;
	q->packed = config->packed;
	q->near = &q->mem->range[0];
	ret = q->packed ? virtq_packed_start(q, position) : virtq_split_start(q, position);
	if (ret)
		return ret;
	q->latched = false;
	q->kicks = true;
	virtq_kicks_off(q);
	return 0;
}

uint32_t virtq_stop(struct virtq *q)
{
	return q->packed ? virtq_packed_stop(q) : virtq_split_stop(q);
}

void virtq_latch(struct virtq *q, const char *reason)
{
	if (q->latched)
		return;
	q->latched = true;
	if (!q->packed)
		q->avail_seen = q->avail_next; /* sends the next pop down its slow path */
	counter_add(&q->counters.malformed, 1);
	q->broken(q, reason);
}

int virtq_malformed(struct virtq *q, const char *reason)
{
	virtq_latch(q, reason);
	return -EPROTO;
}
