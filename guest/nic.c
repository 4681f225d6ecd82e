/*
 * See nic.h: the models there are, and how tests choose one.
 */
#include "nic.h"

#include "irq.h"
#include "lib.h"
#include "memory.h"

extern const struct nic_ops virtio_net_ops;

static const struct nic_ops *const models[] = {&virtio_net_ops};

static bool read_config(const struct test *test, const struct test_arg *args, struct nic_config *c)
{
	c->index = test_number(test, args, "index");
	c->queue_size = test_number(test, args, "queue");
	c->rx_buffer = test_number(test, args, "buffer");
	c->segments = test_number(test, args, "segments");
	c->mergeable = test_number(test, args, "mrg");
	c->offload_rx = test_number(test, args, "offload");
	c->event_index = test_number(test, args, "event-index");
	c->indirect = test_number(test, args, "indirect");
	return virtio_transport_by_name(test_string(test, args, "transport"), &c->transport) &&
	       virtio_interrupts_by_name(test_string(test, args, "irq"), &c->interrupts);
}

struct nic *nic_open(const struct test *test, const struct test_arg *args, uint32_t frame_size,
		     bool offload_tx)
{
	struct nic_config config = {.frame_size = frame_size, .offload_tx = offload_tx};
	struct nic *nic = memory_alloc(sizeof(*nic), 64);

	if (!read_config(test, args, &config)) {
		test_fail(test, "bad-parameter");
		return NULL;
	}
	for (uint32_t i = 0; i < ARRAY_SIZE(models); i++)
		if (!strcmp(models[i]->name, test_string(test, args, "nic")))
			nic->ops = models[i];
	if (!nic->ops || !nic->ops->open(nic, &config)) {
		test_fail(test, nic->ops ? nic->error : "unknown-nic");
		return NULL;
	}
	if (config.interrupts != VIRTIO_POLLED)
		irq_tick(true);
	return nic;
}

void nic_close(struct nic *nic)
{
	nic->ops->close(nic);
	irq_tick(false);
}

bool nic_fail(const struct test *test, struct nic *nic, const char *reason)
{
	nic_close(nic);
	return test_fail(test, reason);
}
