/*
 * See nic.h: the models there are, and how tests choose one.
 */
#include "nic.h"

#include <linux/pci_regs.h>

#include "irq.h"
#include "lib.h"
#include "memory.h"

static const struct nic_ops *const models[] = {&virtio_net_ops, &rtl8139_ops, &rtl8139_cplus_ops,
					       &e1000_ops};

static bool read_config(const struct test *test, const struct test_arg *args, struct nic_config *c)
{
	c->index = test_number(test, args, "index");
	c->queue_size = test_number(test, args, "queue");
	c->rx_buffer = test_number(test, args, "buffer");
	c->segments = test_number(test, args, "segments");
	c->mtu = test_number(test, args, "mtu");
	c->mergeable = test_number(test, args, "mrg");
	c->offload_rx = test_number(test, args, "offload");
	c->event_index = test_number(test, args, "event-index");
	c->indirect = test_number(test, args, "indirect");
	c->packed = test_number(test, args, "packed");
	c->promiscuous = test_number(test, args, "promisc");
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

bool nic_refuse(struct nic *nic, const char *reason)
{
	nic->error = reason;
	return false;
}

void nic_slots_init(struct nic_slots *slots, struct nic *nic, uint32_t n)
{
	*slots = (struct nic_slots){.n = n, .stride = (nic->frame_max + 63) & -64};
	slots->buffers = memory_alloc((uint64_t)n * slots->stride, 4096);
	nic->n_slots = n;
}

bool nic_slots_get(struct nic_slots *slots, struct nic_slot *slot)
{
	if (slots->got - slots->reaped == slots->n)
		return false;
	slot->number = slots->got++ % slots->n;
	slot->frame = slots->buffers + (uint64_t)slot->number * slots->stride;
	return true;
}

bool nic_intx_open(struct nic_intx *intx, struct nic *nic, const struct pci_device *pci,
		   enum virtio_interrupts interrupts)
{
	intx->input = -1;
	if (interrupts == VIRTIO_POLLED)
		return true;
	if (interrupts != VIRTIO_INTX)
		return nic_refuse(nic, "no-msix");
	intx->acknowledged = irq_count[IRQ_INTX];
	pci_command(pci, 0, PCI_COMMAND_INTX_DISABLE);
	intx->input = irq_intx_route(pci);
	return intx->input >= 0 || nic_refuse(nic, "no-pin");
}

void nic_intx_close(struct nic_intx *intx)
{
	if (intx->input >= 0)
		irq_intx_off(intx->input);
}

/* One that came, now or late: the card is disarmed, so the level has ended or soon will. */
static void let_next_through(struct nic_intx *intx)
{
	if (irq_count[IRQ_INTX] == intx->acknowledged)
		return;
	intx->acknowledged = irq_count[IRQ_INTX];
	irq_intx_done(intx->input);
}

bool nic_intx_wait(struct nic_intx *intx, struct nic *nic, bool tx, uint64_t timeout_ns)
{
	bool happened = true;
	uint32_t seen;

	if (intx->input < 0 || intx->ready(nic, tx))
		return true;
	let_next_through(intx);
	seen = irq_count[IRQ_INTX];
	intx->arm(nic, tx);
	if (!intx->ready(nic, tx))
		happened = irq_wait(IRQ_INTX, seen, timeout_ns);
	intx->disarm(nic);
	nic->interrupts += irq_count[IRQ_INTX] - seen;
	let_next_through(intx);
	return happened;
}

bool nic_fail(const struct test *test, struct nic *nic, const char *reason)
{
	nic_close(nic);
	return test_fail(test, reason);
}
