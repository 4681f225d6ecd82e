/*
 * virtio-net: queue pairs. Virtio 1.3 §5.1.2, §5.1.6.5.6 (automatic receive steering).
 *
 *	queue      0    1    2    3  ...  2N-2  2N-1   2N
 *	           rx0  tx0  rx1  tx1     rxN-1 txN-1  control     MQ or RSS was taken
 *	           rx0  tx0  control                               it wasn't
 *
 * N is how many queues the back end has. A pair's thread serves its two queues of the guest's and its one of
 * the back end's; who spreads flows over these is the back end's affair (a TAP remembers on which queue
 * a flow was sent last). Frames move on the first n pairs, which the driver says; the rest sleep.
 *
 * How a setting reaches a pair: see virtio_net.h. While queues run it is pair 0's thread that calls
 * vnet_apply(), and the threads of the others never wait for it or for each other, so these calls
 * can't go round in a circle; a vCPU that resets the device meanwhile waits, with the device lock, for
 * one thread after the other, and none of them ever takes that lock.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "dev/virtio_net.h"

/* ---- settings ---- */

static void pair_apply(void *arg)
{
	struct vnet_pair *p = arg;
	bool was_active = p->active;

	p->set = p->vn->set;
	p->active = p->index < p->set.pairs;
	if (p->active == was_active)
		return;
	if (p->rxq->running)
		vnet_rx_activate(p);
	if (p->txq->running)
		vnet_tx_activate(p);
	vnet_watch(p);
}

void vnet_apply(struct virtio_net *vn)
{
	for (unsigned int i = 0; i < vn->n_pairs; i++)
		loop_call(vn->pair[i].loop, pair_apply, &vn->pair[i]);
}

/* Others only look at it, for people. */
static void set_pairs(struct virtio_net *vn, unsigned int n)
{
	__atomic_store_n(&vn->set.pairs, n, __ATOMIC_RELAXED);
}

int vnet_set_pairs(struct virtio_net *vn, unsigned int n)
{
	const struct net_backend *net = vn->net;
	unsigned int old = vn->set.pairs;
	int r = 0;

	/* No pair reads from a queue of the back end that isn't one. */
	if (n < old) {
		set_pairs(vn, n);
		vnet_apply(vn);
	}
	if (net && net->ops->set_queues && net->n_queues > 1)
		r = net->ops->set_queues(vn->net, n);
	set_pairs(vn, r ? old : n);
	vnet_apply(vn);
	return r;
}

void vnet_reset_pairs(struct virtio_net *vn)
{
	if (!vnet_set_pairs(vn, 1))
		return;
	/* The interface is gone, as a rule. */
	set_pairs(vn, 1);
	vnet_apply(vn);
}

bool vnet_ctrl_mq(struct virtio_net *vn, struct vnet_command *c)
{
	uint16_t n;

	if (c->command != VIRTIO_NET_CTRL_MQ_VQ_PAIRS_SET)
		return vnet_ctrl_rss(vn, c);
	if (!virtio_has(&vn->vdev, VIRTIO_NET_F_MQ) || !vnet_take(c, &n, sizeof(n)) ||
	    !vnet_at_end(c) || !n || n > vn->n_pairs)
		return false;
	if (vnet_set_pairs(vn, n))
		return false;
	/* Steering is automatic from now on. */
	vn->set.rss.steer = false;
	vn->set.rss.on = vn->set.rss.report;
	return true;
}

/* ---- queues ---- */

struct vnet_pair *vnet_pair_of(const struct virtio_net *vn, const struct virtio_queue *queue)
{
	unsigned int index = queue->ring.index;

	return index == vn->ctrl || index / 2 >= vn->n_pairs ? NULL : &vn->pair[index / 2];
}

void vnet_layout(struct virtio_net *vn, bool multi)
{
	struct virtio_dev *dev = &vn->vdev;
	struct virtio_queue *queue = &dev->queue[VNET_CTRLQ];

	vn->ctrl = multi ? 2 * vn->n_pairs : VNET_CTRLQ;
	if (vn->n_pairs == 1)
		return;
	queue->loop = vn->pair[multi].loop;
	queue->size_max = multi ? vn->opt.rx_queue_size : VNET_CTRL_SIZE;
	/* A legacy driver may have its rings already. */
	if (!queue->enabled)
		queue->config.size = queue->size_max;
}

/* ---- life ---- */

static int pair_make(struct virtio_net *vn, unsigned int i, struct err *err)
{
	struct device *dev = vn->vdev.device;
	struct platform *platform = dev->platform;
	struct vnet_pair *p = &vn->pair[i];
	char name[24]; /* 15 characters of it count */

	p->vn = vn;
	p->index = i;
	p->rxq = &vn->vdev.queue[2 * i];
	p->txq = &vn->vdev.queue[2 * i + 1];
	p->lf.fd = -1;
	p->lf.ready = vnet_ready;
	p->lf.opaque = p;
	p->rx.chains = vn->opt.rx_queue_size;
	p->rx.chain = calloc(p->rx.chains, sizeof(p->rx.chain[0]));
	p->rx.overflow = malloc(VNET_HDR_MAX + NET_FRAME_MAX);
	if (!p->rx.chain || !p->rx.overflow)
		return err_set(err, -ENOMEM, "out of memory");
	if (vn->net && !vn->net->rings_only) {
		p->nq = vn->net->queue[i];
		p->lf.fd = vn->net->ops->fd(p->nq);
	}
	if (i)
		snprintf(name, sizeof(name), "io-%.9s.%u", dev->id, i);
	else
		snprintf(name, sizeof(name), "io-%.12s", dev->id);
	p->loop = platform->io_thread_get(platform, vn->opt.iothread, name, err);
	return p->loop ? 0 : err ? err->code : -ENOMEM;
}

int vnet_pairs_make(struct virtio_net *vn, struct err *err)
{
	size_t size;
	int r = 0;

	vn->n_pairs = vn->opt.mq && vn->opt.ctrl_vq && vn->net ? vn->net->n_queues : 1;
	size = vn->n_pairs * sizeof(vn->pair[0]);
	vn->pair = aligned_alloc(_Alignof(struct vnet_pair), size);
	if (!vn->pair)
		return err_set(err, -ENOMEM, "out of memory");
	memset(vn->pair, 0, size);
	for (unsigned int i = 0; i < vn->n_pairs && !r; i++)
		r = pair_make(vn, i, err);
	return r;
}

void vnet_pairs_free(struct virtio_net *vn)
{
	struct platform *platform = vn->vdev.device->platform;

	for (unsigned int i = 0; vn->pair && i < vn->n_pairs; i++) {
		struct vnet_pair *p = &vn->pair[i];

		if (p->loop)
			platform->io_thread_put(platform, p->loop);
		free(p->rx.chain);
		free(p->rx.overflow);
	}
	free(vn->pair);
	vn->pair = NULL;
	vn->n_pairs = 0;
}
