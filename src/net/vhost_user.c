/*
 * -netdev vhost-user: another process, a switch most likely, serves the guest's rings in the guest's memory.
 * "Vhost-user Protocol" (see vhost_user_msg.h); vireo's part of it is in four files (vhost_user.h).
 *
 * No frame passes vireo: doorbells and interrupts are eventfds that the peer is given, and frames are what it
 * makes of the rings. So it is for virtio devices alone, and what it can do is what the peer can.
 *
 * The guest is offered what the peer of the start has; with none there yet (wait=off), what is common to all that are
 * known. A peer that comes later and lacks what the driver has negotiated is refused: the link stays down.
 *
 * What it does not do: logging for migration, IOTLB messages, requests by the peer (so nothing is known of a
 * link's state at the peer's other side but what GET_CONFIG says when it comes), setting its MTU.
 */
#include "net/vhost_user.h"

#include <errno.h>
#include <linux/virtio_config.h>
#include <linux/virtio_net.h>
#include <linux/virtio_ring.h>
#include <stdio.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "base/eventfd.h"

#define BIT(n) (UINT64_C(1) << (n))

#define VU_RING_FEATURES                                                                   \
	(BIT(VIRTIO_F_VERSION_1) | BIT(VIRTIO_RING_F_EVENT_IDX) |                          \
	 BIT(VIRTIO_RING_F_INDIRECT_DESC) | BIT(VIRTIO_F_NOTIFY_ON_EMPTY) |                \
	 BIT(VIRTIO_F_ANY_LAYOUT) | BIT(VIRTIO_F_IN_ORDER) | BIT(VIRTIO_NET_F_MRG_RXBUF) | \
	 BIT(VIRTIO_NET_F_MQ))

/* Of a peer that isn't there yet. */
#define VU_COMMON_FEATURES                                        \
	(BIT(VIRTIO_F_VERSION_1) | BIT(VIRTIO_RING_F_EVENT_IDX) | \
	 BIT(VIRTIO_RING_F_INDIRECT_DESC) | BIT(VIRTIO_NET_F_MRG_RXBUF) | BIT(VIRTIO_NET_F_MQ))

/* Not in the headers of older kernels. */
#define VU_GUEST_USO4 54
#define VU_GUEST_USO6 55
#define VU_HOST_USO   56

#define VU_GSO_FEATURES                                                                          \
	(BIT(VIRTIO_NET_F_GSO) | BIT(VIRTIO_NET_F_CSUM) | BIT(VIRTIO_NET_F_HOST_TSO4) |          \
	 BIT(VIRTIO_NET_F_HOST_TSO6) | BIT(VIRTIO_NET_F_HOST_ECN) | BIT(VIRTIO_NET_F_HOST_UFO) | \
	 BIT(VU_HOST_USO) | BIT(VIRTIO_NET_F_GUEST_CSUM) | BIT(VIRTIO_NET_F_GUEST_TSO4) |        \
	 BIT(VIRTIO_NET_F_GUEST_TSO6) | BIT(VIRTIO_NET_F_GUEST_ECN) |                            \
	 BIT(VIRTIO_NET_F_GUEST_UFO) | BIT(VU_GUEST_USO4) | BIT(VU_GUEST_USO6))

static const struct opt_desc vu_opts[] = {
	{"chardev", OPT_STRING, offsetof(struct vu, chardev), NULL,
	 "id of the -chardev socket on which the peer is"},
	{"queues", OPT_U16, offsetof(struct vu, n_queues), "1", "queue pairs", 1, NET_QUEUES_MAX},
	{"vhostforce", OPT_BOOL, offsetof(struct vu, vhostforce), "on",
	 "on: also for drivers without MSI-X; it can't be off"},
	{NULL, OPT_END},
};

#define VU_COUNTER(field, tag, text)                                                     \
	{                                                                                \
		.name = tag, .offset = offsetof(struct vu_counters, field), .help = text \
	}

static const struct counter_desc vu_counter_table[] = {
	VU_COUNTER(connects, "connects", "peers that came, and were taken"),
	VU_COUNTER(disconnects, "disconnects", "of these, that went or were dropped"),
	VU_COUNTER(refused, "refused", "peers that lack queues or features"),
	VU_COUNTER(requests, "requests", "messages to peers"),
	VU_COUNTER(bad_replies, "bad-replies", "answers that were wrong, or said no"),
	VU_COUNTER(timeouts, "timeouts", "answers that didn't come in time"),
	VU_COUNTER(ring_errors, "ring-errors", "times that a peer found a ring wrong"),
	{.name = NULL},
};

/* ---- rings; device's lock ---- */

static struct vu_ring *vu_ring_of(struct net_queue *q, enum net_ring_index which,
				  unsigned int *index)
{
	*index = q->index * NET_RINGS + which; /* receiveq1, transmitq1, ...: virtio 1.3 §5.1.2 */
	return &vu_of(q->net)->ring[*index];
}

static int vu_rings_prepare(struct net_backend *net, const struct mem *mem, uint64_t features)
{
	struct vu *vu = vu_of(net);

	if (mem && (features & ~net->ring_features || mem->fd < 0))
		return -EINVAL;
	pthread_mutex_lock(&vu->lock);
	vu_hide(vu);
	vu->mem = mem;
	vu->driver_features = features;
	if (!mem) {
		vu->active = 1;
	} else if (vu->agreed && vu_missing(vu)) {
		counter_add(&vu->counters.refused, 1);
		vu_channel_fail(&vu->channel, "it lacks features that the guest uses");
	} else {
		vu_show(vu);
	}
	pthread_mutex_unlock(&vu->lock);
	return 0;
}

/* Are the ring's areas where a peer can find them, in one piece each? */
static bool vu_ring_is_in_ram(const struct vu *vu, const struct net_ring *ring)
{
	uint64_t n = ring->size;

	return n && mem_ptr(vu->mem, ring->desc, 16 * n) &&
	       mem_ptr(vu->mem, ring->avail, 6 + 2 * n) && mem_ptr(vu->mem, ring->used, 6 + 8 * n);
}

static int vu_ring_start(struct net_queue *q, enum net_ring_index which,
			 const struct net_ring *ring)
{
	struct vu *vu = vu_of(q->net);
	unsigned int index;
	struct vu_ring *r = vu_ring_of(q, which, &index);
	int ret = 0;

	pthread_mutex_lock(&vu->lock);
	if (!vu->mem || r->started)
		ret = -EINVAL;
	else if (!vu_ring_is_in_ram(vu, ring))
		ret = -EFAULT;
	else if (ring->size > vu_ring_size_max(vu))
		ret = -E2BIG;
	if (!ret) {
		*r = (struct vu_ring){.ring = *ring, .started = true};
		vu_ring_go(vu, index); /* when that fails, the next peer will get it */
	}
	pthread_mutex_unlock(&vu->lock);
	return ret;
}

static void vu_ring_stop(struct net_queue *q, enum net_ring_index which, struct net_ring *ring)
{
	struct vu *vu = vu_of(q->net);
	unsigned int index;
	struct vu_ring *r = vu_ring_of(q, which, &index);

	pthread_mutex_lock(&vu->lock);
	if (r->started)
		vu_ring_halt(vu, index);
	r->started = false;
	ring->position = r->ring.position;
	pthread_mutex_unlock(&vu->lock);
}

static void vu_ring_set_call(struct net_queue *q, enum net_ring_index which, int call_fd)
{
	struct vu *vu = vu_of(q->net);
	unsigned int index;
	struct vu_ring *r = vu_ring_of(q, which, &index);

	pthread_mutex_lock(&vu->lock);
	r->ring.call_fd = call_fd;
	vu_ring_call(vu, index);
	pthread_mutex_unlock(&vu->lock);
}

static int vu_set_queues(struct net_backend *net, unsigned int n)
{
	struct vu *vu = vu_of(net);

	if (!n || n > net->n_queues)
		return -EINVAL;
	pthread_mutex_lock(&vu->lock);
	if (vu->active != n) {
		vu->active = n;
		for (unsigned int i = 0; i < net->n_queues * NET_RINGS; i++)
			vu_ring_enable(vu, i);
	}
	pthread_mutex_unlock(&vu->lock);
	return 0;
}

static int vu_set_mac(struct net_backend *net, const uint8_t mac[6], struct err *err)
{
	struct vu *vu = vu_of(net);

	pthread_mutex_lock(&vu->lock);
	memcpy(vu->mac, mac, sizeof(vu->mac));
	pthread_mutex_unlock(&vu->lock);
	return 0;
}

/* What the guest takes, the peer knows by the features. */
static int vu_set_offloads(struct net_backend *net, unsigned int offloads, unsigned int hdr_len)
{
	net->hdr_len = hdr_len;
	return 0;
}

/* ---- life ---- */

static void vu_ring_error(struct loop_fd *lf, uint32_t events)
{
	struct vu *vu = lf->opaque;
	uint64_t n;

	if (!eventfd_take(lf->fd, &n))
		return;
	counter_add(&vu->counters.ring_errors, 1);
	log_limited(&vu->said, "%s: the vhost-user peer says that a ring makes no sense",
		    vu->net.id);
}

/* What the guest can be offered. */
static void vu_offer(struct vu *vu)
{
	static const struct {
		unsigned int out, in; /* feature bits */
		unsigned int offload;
	} table[] = {
		{VIRTIO_NET_F_CSUM, VIRTIO_NET_F_GUEST_CSUM, NET_OFFLOAD_CSUM},
		{VIRTIO_NET_F_HOST_TSO4, VIRTIO_NET_F_GUEST_TSO4, NET_OFFLOAD_TSO4},
		{VIRTIO_NET_F_HOST_TSO6, VIRTIO_NET_F_GUEST_TSO6, NET_OFFLOAD_TSO6},
		{VIRTIO_NET_F_HOST_ECN, VIRTIO_NET_F_GUEST_ECN, NET_OFFLOAD_ECN},
		{VIRTIO_NET_F_HOST_UFO, VIRTIO_NET_F_GUEST_UFO, NET_OFFLOAD_UFO},
		{VU_HOST_USO, VU_GUEST_USO4, NET_OFFLOAD_USO},
	};
	uint64_t features = VU_COMMON_FEATURES;

	if (vu->agreed) {
		features = vu->features & (VU_RING_FEATURES | VU_GSO_FEATURES);
		if (vu_has(vu, VU_P_INFLIGHT_SHMFD)) /* see vhost_user_ring.c */
			features |= vu->features & BIT(VIRTIO_F_RING_PACKED);
	}
	vu->net.ring_features = features;
	for (size_t i = 0; i < sizeof(table) / sizeof(table[0]); i++) {
		if (features & BIT(table[i].out))
			vu->net.offloads_out |= table[i].offload;
		if (features & BIT(table[i].in))
			vu->net.offloads_in |= table[i].offload;
	}
}

static void vu_close(struct net_backend *net)
{
	struct vu *vu = vu_of(net);

	vu_peer_end(vu);
	loop_fd_del(&vu->error);
	if (vu->error_fd >= 0)
		close(vu->error_fd);
	if (vu->inflight_fd >= 0)
		close(vu->inflight_fd);
	pthread_mutex_destroy(&vu->lock);
}

static int vu_open_error_fd(struct vu *vu, struct err *err)
{
	int r;

	vu->error_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (vu->error_fd < 0)
		return err_errno(err, "eventfd");
	vu->error = (struct loop_fd){.ready = vu_ring_error, .opaque = vu, .fd = vu->error_fd};
	r = loop_fd_add(vu->net.host->control, &vu->error, EPOLLIN);
	return r ? err_set(err, r, "eventfd: %s", strerror(-r)) : 0;
}

static int vu_check_options(const struct vu *vu, struct err *err)
{
	if (!vu->net.host || !vu->net.host->socket)
		return err_set(err, -ENOTSUP, "nobody here knows character devices");
	if (!vu->chardev)
		return err_set(err, -EINVAL, "which socket? (chardev=ID of a -chardev socket)");
	if (!vu->vhostforce)
		return err_set(err, -EINVAL,
			       "vhostforce=off: there is no other way than the peer's");
	return 0;
}

static int vu_open(struct net_backend *net, struct err *err)
{
	struct vu *vu = vu_of(net);
	int r = vu_check_options(vu, err);

	if (!r)
		r = net->host->socket(net->host, vu->chardev, &vu->socket, err);
	if (r)
		return r;
	pthread_mutex_init(&vu->lock, NULL);
	vu->channel.fd = vu->error_fd = vu->inflight_fd = -1;
	vu->active = 1;
	net->rings_only = net->rings_forced = net->has_hdr = true;
	net->frame_max = 1518;
	net->n_queues = vu->n_queues;
	for (unsigned int i = 0; i < vu->n_queues; i++) {
		vu->queue[i] = (struct net_queue){.net = net, .index = i};
		net->queue[i] = &vu->queue[i];
	}
	r = vu_open_error_fd(vu, err);
	if (!r)
		r = vu_peer_begin(vu, err);
	if (r)
		vu_close(net);
	else
		vu_offer(vu);
	return r;
}

/* ---- for people ---- */

static json_t *vu_protocol_names(uint64_t protocol)
{
	static const struct {
		enum vu_protocol bit;
		const char *name;
	} names[] = {
		{VU_P_MQ, "mq"},
		{VU_P_RARP, "rarp"},
		{VU_P_REPLY_ACK, "reply-ack"},
		{VU_P_CONFIG, "config"},
		{VU_P_INFLIGHT_SHMFD, "inflight"},
		{VU_P_CONFIGURE_MEM_SLOTS, "mem-slots"},
		{VU_P_STATUS, "status"},
	};
	json_t *array = json_array();

	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++)
		if (protocol >> names[i].bit & 1)
			json_array_append_new(array, json_string(names[i].name));
	return array;
}

static void vu_info(struct net_backend *net, json_t *object)
{
	struct vu *vu = vu_of(net);
	unsigned int running = 0;
	char features[24];

	pthread_mutex_lock(&vu->lock);
	for (unsigned int i = 0; i < net->n_queues * NET_RINGS; i++)
		running += vu->ring[i].running;
	snprintf(features, sizeof(features), "0x%llx", (unsigned long long)vu->features);
	json_object_set_new(object, "socket", json_string(vu->socket.path));
	json_object_set_new(object, "server", json_boolean(vu->socket.server));
	json_object_set_new(object, "peer", json_boolean(vu->agreed));
	if (vu->agreed) {
		json_object_set_new(object, "peer-features", json_string(features));
		json_object_set_new(object, "peer-protocol", vu_protocol_names(vu->protocol));
		json_object_set_new(object, "peer-queues",
				    json_integer((json_int_t)vu->max_queues));
	}
	json_object_set_new(object, "rings-running", json_integer(running));
	pthread_mutex_unlock(&vu->lock);
}

static void vu_counters(struct net_backend *net, counter_visit *visit, void *opaque)
{
	visit(opaque, net->id, "peer", vu_counter_table, &vu_of(net)->counters);
}

static const struct net_backend_ops vu_ops = {
	.name = "vhost-user",
	.help = "another process that serves the guest's rings (a virtual switch)",
	.opts = vu_opts,
	.size = sizeof(struct vu),
	.shares_memory = true,
	.open = vu_open,
	.close = vu_close,
	.set_offloads = vu_set_offloads,
	.set_queues = vu_set_queues,
	.set_mac = vu_set_mac,
	.info = vu_info,
	.counters = vu_counters,
	.rings_prepare = vu_rings_prepare,
	.ring_start = vu_ring_start,
	.ring_stop = vu_ring_stop,
	.ring_set_call = vu_ring_set_call,
};
NET_BACKEND(vu_ops);
