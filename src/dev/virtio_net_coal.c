/*
 * virtio-net: notification coalescing, interrupts put off until there is more to tell. Virtio 1.3
 * §5.1.6.5.9.
 *
 * Frames are published at once, as always: a driver that polls sees no difference. Only the interrupt
 * that the ring asks for is kept back, until the queue has moved max_packets frames since, or max_usecs
 * have gone by. With either of them 0 the ring's interrupts pass by this file.
 *
 * Runs on the pair's thread; the control queue's on pair 0's. Where a back end serves the rings itself,
 * none of this applies.
 */
#include "dev/virtio_net.h"

static bool coal_is_on(const struct vnet_coal *c)
{
	return c->limits.max_packets > 1 && c->limits.max_usecs;
}

static void coal_send(struct vnet_coal *c)
{
	c->pending = false;
	c->frames = 0;
	loop_timer_cancel(c->queue->loop, &c->timer);
	c->notify(&c->queue->ring);
}

static void coal_expired(struct loop_timer *t)
{
	struct vnet_coal *c = t->opaque;

	if (c->pending)
		coal_send(c);
}

/* In the place of the transport's function: virtq.notify. */
static void coal_notify(struct virtq *q)
{
	const struct virtio_queue *queue = q->opaque;
	struct vnet_pair *p = vnet_pair_of(vnet_of(queue->dev), queue);
	struct vnet_coal *c = queue == p->rxq ? &p->rx_coal : &p->tx_coal;

	if (c->pending)
		counter_add(c->coalesced, 1);
	c->pending = true;
}

void vnet_coal_count(struct vnet_coal *c, unsigned int frames)
{
	c->frames += frames;
	if (c->frames >= c->limits.max_packets)
		coal_send(c);
	else if (!c->timer.deadline_ns)
		loop_timer_set(c->queue->loop, &c->timer,
			       loop_now_ns() + UINT64_C(1000) * c->limits.max_usecs);
}

void vnet_coal_set(struct vnet_coal *c, const struct vnet_coal_limits *limits)
{
	c->limits = *limits;
	if (!c->queue)
		return;
	c->queue->ring.notify = coal_is_on(c) ? coal_notify : c->notify;
	if (c->pending && (!coal_is_on(c) || c->frames >= c->limits.max_packets))
		coal_send(c);
}

void vnet_coal_start(struct vnet_coal *c, struct virtio_queue *queue,
		     const struct vnet_coal_limits *limits, struct counter *coalesced)
{
	c->queue = queue;
	c->notify = queue->ring.notify;
	c->coalesced = coalesced;
	c->timer.expired = coal_expired;
	c->timer.opaque = c;
	/* One that goes on where it was has its own; the driver knows of no stop. */
	vnet_coal_set(c, queue->position == VIRTQ_POSITION_NEW ? limits : &c->limits);
}

void vnet_coal_stop(struct vnet_coal *c)
{
	if (!c->queue)
		return;
	/* The frames are there already: their interrupt isn't lost with the queue. */
	if (c->pending)
		coal_send(c);
	c->queue->ring.notify = c->notify;
	c->queue = NULL;
}

/* ---- commands ---- */

struct coal_change {
	struct vnet_coal *coal;
	struct vnet_coal_limits limits;
	bool get; /* the other way round */
};

static void coal_change(void *arg)
{
	struct coal_change *change = arg;

	if (change->get)
		change->limits = change->coal->limits;
	else
		vnet_coal_set(change->coal, &change->limits);
}

/* Of one queue; false: it is none that receives or sends, or isn't enabled. */
static bool coal_queue(struct virtio_net *vn, unsigned int index, struct coal_change *change)
{
	struct vnet_pair *p;

	/* One that the back end serves is enabled, too: its limits are remembered, and that is all. */
	if (index >= vn->vdev.n_queues || !(p = vnet_pair_of(vn, &vn->vdev.queue[index])) ||
	    !__atomic_load_n(&vn->vdev.queue[index].enabled, __ATOMIC_RELAXED))
		return false;
	change->coal = index % 2 ? &p->tx_coal : &p->rx_coal;
	loop_call(p->loop, coal_change, change);
	return true;
}

/* All queues of one kind, those that start later too. */
static bool coal_kind(struct virtio_net *vn, struct vnet_command *c, unsigned int kind)
{
	struct coal_change change = {0};

	if (!virtio_has(&vn->vdev, VIRTIO_NET_F_NOTF_COAL) ||
	    !vnet_take(c, &change.limits, sizeof(change.limits)) || !vnet_at_end(c))
		return false;
	vn->set.coal[kind] = change.limits;
	for (unsigned int i = 0; i < vn->n_pairs; i++)
		coal_queue(vn, 2 * i + kind, &change);
	return true;
}

bool vnet_ctrl_coal(struct virtio_net *vn, struct vnet_command *c)
{
	struct coal_change change = {.get = c->command == VIRTIO_NET_CTRL_NOTF_COAL_VQ_GET};
	uint16_t which[2]; /* index, reserved */

	if (c->command == VIRTIO_NET_CTRL_NOTF_COAL_TX_SET)
		return coal_kind(vn, c, VNET_TXQ);
	if (c->command == VIRTIO_NET_CTRL_NOTF_COAL_RX_SET)
		return coal_kind(vn, c, VNET_RXQ);
	if ((c->command != VIRTIO_NET_CTRL_NOTF_COAL_VQ_SET && !change.get) ||
	    !virtio_has(&vn->vdev, VIRTIO_NET_F_VQ_NOTF_COAL) ||
	    !vnet_take(c, which, sizeof(which)) ||
	    (!change.get && !vnet_take(c, &change.limits, sizeof(change.limits))) ||
	    !vnet_at_end(c) || !coal_queue(vn, which[0], &change))
		return false;
	if (change.get) {
		memcpy(c->result, &change.limits, sizeof(change.limits));
		c->result_len = sizeof(change.limits);
	}
	return true;
}
