/*
 * virtio-net: rings that the back end serves itself (vhost in the host's kernel, or another process).
 *
 *	driver ready -> virtio_lend.c -> vnet_queue_lend() -> net: rings_prepare(), ring_start()
 *	reset, latched, cable out ...... vnet_queue_return() -> net: ring_stop() -> position
 *
 * Receive and send queues are lent where the back end can take them and nothing speaks against it; else
 * this device's I/O threads serve them, with send() and recv(). What speaks against it is found when
 * the driver is ready, and holds until it negotiates anew: no MSI-X, unless that is forced; a feature
 * that the back end doesn't know. While somebody has pulled the cable the queues are here, too: frames are
 * thrown away here and counted. The control queue is always this device's.
 *
 * With rings_only there are no send() and recv(): then a queue that can't be lent is parked.
 *
 * The receive filter isn't applied to what the back end puts into the ring: it is the guest's wish for
 * less work, and guests look at addresses again.
 *
 * All with the device lock held, but for the back end's events: control thread, any locks of the back
 * end's. ring_broken() so takes none.
 */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "dev/virtio_net.h"

/* Not yet in every <linux/virtio_net.h>. */
#define F_HASH_REPORT 57
#define F_RSS	      60

/* What this device does itself, whoever serves the rings. */
#define OWN_FEATURES                                                                        \
	(virtio_bit(VIRTIO_NET_F_MTU) | virtio_bit(VIRTIO_NET_F_MAC) |                      \
	 virtio_bit(VIRTIO_NET_F_STATUS) | virtio_bit(VIRTIO_NET_F_CTRL_VQ) |               \
	 virtio_bit(VIRTIO_NET_F_CTRL_RX) | virtio_bit(VIRTIO_NET_F_CTRL_VLAN) |            \
	 virtio_bit(VIRTIO_NET_F_CTRL_RX_EXTRA) | virtio_bit(VIRTIO_NET_F_GUEST_ANNOUNCE) | \
	 virtio_bit(VIRTIO_NET_F_MQ) | virtio_bit(VIRTIO_NET_F_CTRL_MAC_ADDR) |             \
	 virtio_bit(VIRTIO_NET_F_NOTF_COAL) | virtio_bit(VIRTIO_NET_F_VQ_NOTF_COAL) |       \
	 virtio_bit(VIRTIO_NET_F_SPEED_DUPLEX) | virtio_bit(VIRTIO_NET_F_STANDBY) |         \
	 virtio_bit(VIRTIO_F_ANY_LAYOUT) | virtio_bit(VIRTIO_F_RING_RESET))

bool vnet_rings_can(const struct virtio_net *vn)
{
	return vn->net && vn->net->ring_features && vn->net->ops->ring_start;
}

/* The back end's queue of a receive or send queue; NULL: it is the control queue, or none. */
static struct net_queue *rings_queue(const struct virtio_queue *queue, enum net_ring_index *which)
{
	const struct virtio_net *vn = vnet_of(queue->dev);
	const struct vnet_pair *p = vnet_pair_of(vn, queue);

	if (!p)
		return NULL;
	*which = queue == p->txq ? NET_RING_TX : NET_RING_RX;
	return vn->net->queue[p->index];
}

/* ---- what speaks against it ---- */

static const char *rings_missing(uint64_t features)
{
	if (features & virtio_bit(VIRTIO_F_RING_PACKED))
		return "packed rings";
	if (features & virtio_bit(F_HASH_REPORT))
		return "hash reports";
	if (features & virtio_bit(F_RSS))
		return "receive-side scaling";
	return "a feature that it doesn't know";
}

static const char *rings_refusal(const struct virtio_net *vn, const struct virtio_loan *loan)
{
	const struct net_backend *net = vn->net;
	uint64_t missing = vn->vdev.features & ~(net->ring_features | OWN_FEATURES);

	if (vn->rings.failed)
		return vn->rings.failure;
	if (__atomic_load_n(&net->link_down, __ATOMIC_RELAXED))
		return "the cable is out";
	if (!loan->direct && !net->rings_forced && !net->rings_only)
		return "no MSI-X";
	return missing ? rings_missing(missing) : NULL;
}

/* Says so where somebody has asked for it; once. */
static enum virtio_lend rings_refuse(struct virtio_net *vn, const char *why)
{
	const struct net_backend *net = vn->net;

	if (!vn->rings.why && net->rings_asked &&
	    !__atomic_load_n(&net->link_down, __ATOMIC_RELAXED))
		log_limited(&vn->vdev.log,
			    "%s: netdev %s: vhost is not used (%s): vireo moves the frames itself",
			    vn->vdev.device->id, net->id, why);
	vn->rings.why = why;
	return net->rings_only ? VIRTIO_LEND_PARK : VIRTIO_LEND_NOT;
}

/* Not in the middle of it: then all queues are served here. */
static enum virtio_lend rings_fail(struct virtio_net *vn, const char *what, int code)
{
	struct virtio_dev *dev = &vn->vdev;

	snprintf(vn->rings.failure, sizeof(vn->rings.failure), "%s: %s", what, strerror(-code));
	vn->rings.failed = true;
	for (unsigned int i = 0; i < dev->n_queues; i++)
		if (dev->queue[i].lent)
			virtio_queue_restart(&dev->queue[i]);
	return rings_refuse(vn, vn->rings.failure);
}

/* ---- for virtio_lend.c ---- */

static struct net_ring rings_describe(const struct virtio_queue *queue)
{
	return (struct net_ring){
		.size = queue->config.size,
		.desc = queue->config.desc,
		.avail = queue->config.avail,
		.used = queue->config.used,
		.kick_fd = -1,
		.call_fd = -1,
	};
}

enum virtio_lend vnet_queue_lend(struct virtio_queue *queue, const struct virtio_loan *loan)
{
	struct virtio_net *vn = vnet_of(queue->dev);
	struct net_ring ring = rings_describe(queue);
	struct net_backend *net = vn->net;
	enum net_ring_index which;
	struct net_queue *q;
	const char *why;
	int r;

	if (!vnet_rings_can(vn) || !(q = rings_queue(queue, &which)))
		return VIRTIO_LEND_NOT;
	why = rings_refusal(vn, loan);
	if (why)
		return rings_refuse(vn, why);
	if (!vn->rings.prepared) {
		r = net->ops->rings_prepare(net, queue->ring.mem,
					    queue->dev->features & net->ring_features);
		if (r)
			return rings_fail(vn, "preparing it failed", r);
		vn->rings.prepared = true;
	}
	ring.position = loan->position;
	ring.kick_fd = loan->kick_fd;
	ring.call_fd = loan->call_fd;
	r = net->ops->ring_start(q, which, &ring);
	if (r)
		return rings_fail(vn, "starting a ring failed", r);
	vn->rings.why = NULL;
	return VIRTIO_LEND_DONE;
}

uint32_t vnet_queue_return(struct virtio_queue *queue)
{
	struct net_ring ring = rings_describe(queue);
	enum net_ring_index which;
	struct net_queue *q = rings_queue(queue, &which);

	q->net->ops->ring_stop(q, which, &ring);
	return ring.position;
}

void vnet_queue_call(struct virtio_queue *queue, int call_fd)
{
	enum net_ring_index which;
	struct net_queue *q = rings_queue(queue, &which);

	q->net->ops->ring_set_call(q, which, call_fd);
}

/* ---- the back end's events ---- */

static void rings_broken(void *opaque, struct net_queue *q, enum net_ring_index which)
{
	struct virtio_net *vn = opaque;

	virtio_latch(&vn->vdev, which == NET_RING_RX
					? "vhost finds that a receive ring makes no sense"
					: "vhost finds that a send ring makes no sense");
}

static void rings_carrier(void *opaque)
{
	struct virtio_net *vn = opaque;

	pthread_mutex_lock(&vn->vdev.device->lock);
	vnet_link_update(vn);
	pthread_mutex_unlock(&vn->vdev.device->lock);
}

void vnet_link_update(struct virtio_net *vn)
{
	bool up = vn->net && !net_link_is_down(vn->net);
	const uint16_t bit = VIRTIO_NET_S_LINK_UP;
	uint16_t old = up ? __atomic_fetch_or(&vn->status, bit, __ATOMIC_RELAXED)
			  : __atomic_fetch_and(&vn->status, (uint16_t)~bit, __ATOMIC_RELAXED);

	if (!!(old & bit) != up)
		virtio_config_changed(&vn->vdev);
}

/* ---- for virtio_net.c ---- */

void vnet_rings_init(struct virtio_net *vn)
{
	static const struct net_events events = {.carrier = rings_carrier,
						 .ring_broken = rings_broken};

	if (!vn->net)
		return;
	vn->net->events = &events;
	vn->net->events_opaque = vn;
	vn->net->ring_size_max = vn->opt.rx_queue_size > vn->opt.tx_queue_size
					 ? vn->opt.rx_queue_size
					 : vn->opt.tx_queue_size;
	vn->vdev.lends = vnet_rings_can(vn);
	if (vn->vdev.lends && (vn->net->rings_only || vn->net->rings_forced))
		vn->vdev.features_limit = vn->net->ring_features | OWN_FEATURES;
}

void vnet_rings_negotiated(struct virtio_net *vn)
{
	vn->rings = (struct vnet_rings){0};
}

void vnet_rings_reset(struct virtio_net *vn)
{
	/* Nobody has anything to do with the guest's memory any more. */
	if (vn->rings.prepared)
		vn->net->ops->rings_prepare(vn->net, NULL, 0);
	vn->rings = (struct vnet_rings){0};
}

void vnet_rings_end(struct virtio_net *vn)
{
	vnet_rings_reset(vn);
	if (vn->net)
		vn->net->events = NULL;
}

void vnet_rings_restart(struct virtio_net *vn)
{
	struct virtio_dev *dev = &vn->vdev;
	enum net_ring_index which;

	for (unsigned int i = 0; vnet_rings_can(vn) && i < dev->n_queues; i++)
		if (rings_queue(&dev->queue[i], &which))
			virtio_queue_restart(&dev->queue[i]);
}

void vnet_rings_info(struct virtio_net *vn, json_t *object)
{
	struct virtio_dev *dev = &vn->vdev;
	bool lent = false;

	if (!vn->net || !vn->net->ops->ring_start)
		return;
	pthread_mutex_lock(&dev->device->lock);
	for (unsigned int i = 0; i < dev->n_queues; i++)
		lent |= dev->queue[i].lent && !dev->queue[i].parked;
	json_object_set_new(object, "vhost",
			    lent	    ? json_string("on")
			    : vn->rings.why ? json_sprintf("fallback: %s", vn->rings.why)
					    : json_string("off"));
	pthread_mutex_unlock(&dev->device->lock);
}
