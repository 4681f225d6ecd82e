/*
 * virtio-net: the network card of virtio 1.3 §5.1, legacy interface included.
 *
 * This file: options, features, configuration space and link. Receiving is in virtio_net_rx.c,
 * sending in virtio_net_tx.c, the control queue in virtio_net_ctrl.c.
 *
 * Threads: one I/O thread serves all queues. Options and the configuration space are the control
 * thread's and, under the device lock, the vCPUs'.
 *
 * What it does not do: several queue pairs, announcements, receive-side scaling.
 */
#include "dev/virtio_net.h"

#include <errno.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/iov.h"
#include "virtio/pci.h"

#define VNET_OPT(field, kind, ...)                                                              \
	{                                                                                       \
		.name = #field, .type = kind, .offset = offsetof(struct virtio_net, opt.field), \
		__VA_ARGS__                                                                     \
	}
#define VNET_FEATURE(field, text) VNET_OPT(field, OPT_BOOL, .def = "on", .help = text)

static const struct opt_desc vnet_opts[] = {
	VNET_OPT(netdev, OPT_STRING,
		 .help = "id of the -netdev it is plugged into; none: no cable"),
	VNET_OPT(mac, OPT_MAC, .help = "MAC address; none: 52:54:00:12:34:56 and on"),
	VNET_OPT(host_mtu, OPT_U16, .max = 65535,
		 .help = "MTU in bytes that the guest is told, 68 or more; 0: none"),
	VNET_OPT(iothread, OPT_STRING,
		 .help = "id of the -object iothread that serves it; none: its own"),
	VNET_OPT(rx_queue_size, OPT_U16, .def = "256", .min = 16, .max = VIRTQ_SIZE_MAX,
		 .help = "entries of the receive queue, a power of two"),
	VNET_OPT(tx_queue_size, OPT_U16, .def = "256", .min = 16, .max = VIRTQ_SIZE_MAX,
		 .help = "entries of the send queue, a power of two"),
	VNET_FEATURE(csum, "offer to complete checksums of sent frames"),
	VNET_FEATURE(gso, "offer large sent frames by the old feature bit"),
	VNET_FEATURE(host_tso4, "offer to segment large TCP/IPv4 frames"),
	VNET_FEATURE(host_tso6, "offer to segment large TCP/IPv6 frames"),
	VNET_FEATURE(host_ecn, "offer to segment TCP with ECN"),
	VNET_FEATURE(host_ufo, "offer to fragment large UDP frames"),
	VNET_FEATURE(guest_csum, "let received frames have partial checksums"),
	VNET_FEATURE(guest_tso4, "let large TCP/IPv4 frames be received"),
	VNET_FEATURE(guest_tso6, "let large TCP/IPv6 frames be received"),
	VNET_FEATURE(guest_ecn, "let large TCP frames with ECN be received"),
	VNET_FEATURE(guest_ufo, "let large UDP frames be received"),
	VNET_FEATURE(mrg_rxbuf, "let a received frame take several buffers"),
	VNET_FEATURE(status, "tell the link's state"),
	VNET_FEATURE(ctrl_vq, "have a control queue"),
	VNET_FEATURE(ctrl_rx, "filter by address"),
	VNET_FEATURE(ctrl_vlan, "filter by VLAN"),
	VNET_FEATURE(ctrl_rx_extra, "more filter modes"),
	VNET_FEATURE(ctrl_mac_addr, "let the guest set its address by command"),
	VNET_FEATURE(ctrl_guest_offloads, "let the guest change its offloads while it runs"),
	{.name = NULL, .type = OPT_END},
};

#define VNET_COUNTER(field, tag, text)                                                     \
	{                                                                                  \
		.name = tag, .offset = offsetof(struct vnet_counters, field), .help = text \
	}

static const struct counter_desc vnet_counter_table[] = {
	VNET_COUNTER(rx_no_buffer, "rx-no-buffer",
		     "times that the guest's receive ring ran out of buffers"),
	VNET_COUNTER(rx_filtered, "rx-filtered", "frames the guest didn't want"),
	VNET_COUNTER(rx_too_long, "rx-too-long", "lost: frames longer than the guest's buffers"),
	VNET_COUNTER(rx_held, "rx-held", "frames that waited for more buffers; nothing lost"),
	VNET_COUNTER(rx_bounced, "rx-bounced", "bytes of long frames that were copied"),
	VNET_COUNTER(rx_dropped_reset, "rx-dropped-reset", "lost: held when the queue stopped"),
	VNET_COUNTER(tx_no_cable, "tx-no-cable", "lost: sent without a netdev"),
	VNET_COUNTER(ctrl_commands, "ctrl-commands", "commands of the driver"),
	VNET_COUNTER(ctrl_refused, "ctrl-refused", "of which answered with an error"),
	{.name = NULL},
};

/* ---- the back end's file descriptor ---- */

void vnet_watch(struct virtio_net *vn)
{
	uint32_t events = 0;

	if (vn->rx.running && !vn->rx.starved)
		events |= EPOLLIN;
	if (vn->tx.blocked)
		events |= EPOLLOUT;
	if (vn->gone || !events)
		loop_fd_del(&vn->lf);
	else if (vn->lf.loop)
		loop_fd_mod(&vn->lf, events);
	else
		loop_fd_add(vn->loop, &vn->lf, events);
}

static void vnet_ready(struct loop_fd *lf, uint32_t events)
{
	struct virtio_net *vn = lf->opaque;

	vn->rx.readable = vn->tx.writable = true;
	if (events & (EPOLLIN | EPOLLERR | EPOLLHUP))
		virtio_queue_work(&vn->vdev.queue[VNET_RXQ]);
	/* An error that reading didn't show would be reported for ever. */
	if (events & (EPOLLERR | EPOLLHUP) && !(events & EPOLLIN)) {
		vn->gone = true;
		vnet_watch(vn);
	}
	if (vn->tx.blocked && (events & EPOLLOUT || vn->gone))
		virtio_queue_work(&vn->vdev.queue[VNET_TXQ]);
}

/* ---- queues ---- */

static bool vnet_work(struct virtio_queue *queue)
{
	struct virtio_net *vn = vnet_of(queue->dev);

	switch (queue->ring.index) {
	case VNET_RXQ:
		return vnet_rx_work(vn);
	case VNET_TXQ:
		return vnet_tx_work(vn);
	default:
		return vnet_ctrl_work(vn);
	}
}

static void vnet_queue_start(struct virtio_queue *queue)
{
	if (queue->ring.index == VNET_RXQ)
		vnet_rx_start(vnet_of(queue->dev));
}

static void vnet_queue_stop(struct virtio_queue *queue)
{
	if (queue->ring.index == VNET_RXQ)
		vnet_rx_stop(vnet_of(queue->dev));
	else if (queue->ring.index == VNET_TXQ)
		vnet_tx_stop(vnet_of(queue->dev));
}

/* ---- features ---- */

/* Device feature bits, and what of the options and the back end they need. */
static const struct {
	uint8_t bit;
	uint8_t out, in; /* NET_OFFLOAD_* that the back end must have */
	size_t option;	 /* of a bool in the instance */
} vnet_features[] = {
#define VNET_BIT(name, outs, ins, opt_field)                                               \
	{                                                                                  \
		VIRTIO_NET_F_##name, outs, ins, offsetof(struct virtio_net, opt.opt_field) \
	}
	VNET_BIT(CSUM, NET_OFFLOAD_CSUM, 0, csum),
	VNET_BIT(HOST_TSO4, NET_OFFLOAD_TSO4, 0, host_tso4),
	VNET_BIT(HOST_TSO6, NET_OFFLOAD_TSO6, 0, host_tso6),
	VNET_BIT(HOST_ECN, NET_OFFLOAD_ECN, 0, host_ecn),
	VNET_BIT(HOST_UFO, NET_OFFLOAD_UFO, 0, host_ufo),
	VNET_BIT(GSO, NET_OFFLOAD_TSO4 | NET_OFFLOAD_TSO6 | NET_OFFLOAD_ECN, 0, gso),
	VNET_BIT(GUEST_CSUM, 0, NET_OFFLOAD_CSUM, guest_csum),
	VNET_BIT(GUEST_TSO4, 0, NET_OFFLOAD_TSO4, guest_tso4),
	VNET_BIT(GUEST_TSO6, 0, NET_OFFLOAD_TSO6, guest_tso6),
	VNET_BIT(GUEST_ECN, 0, NET_OFFLOAD_ECN, guest_ecn),
	VNET_BIT(GUEST_UFO, 0, NET_OFFLOAD_UFO, guest_ufo),
	VNET_BIT(MRG_RXBUF, 0, 0, mrg_rxbuf),
	VNET_BIT(STATUS, 0, 0, status),
	VNET_BIT(CTRL_VQ, 0, 0, ctrl_vq),
	VNET_BIT(CTRL_RX, 0, 0, ctrl_rx),
	VNET_BIT(CTRL_VLAN, 0, 0, ctrl_vlan),
	VNET_BIT(CTRL_RX_EXTRA, 0, 0, ctrl_rx_extra),
	VNET_BIT(CTRL_MAC_ADDR, 0, 0, ctrl_mac_addr),
	VNET_BIT(CTRL_GUEST_OFFLOADS, 0, NET_OFFLOAD_CSUM, ctrl_guest_offloads),
};

/* What makes no sense without another bit, which a driver could otherwise take alone (§5.1.3.1). */
static const struct {
	uint64_t bits, need;
} vnet_depends[] = {
#define B(name) (UINT64_C(1) << VIRTIO_NET_F_##name)
	{B(HOST_TSO4) | B(HOST_TSO6) | B(HOST_UFO) | B(GSO), B(CSUM)},
	{B(HOST_ECN), B(HOST_TSO4) | B(HOST_TSO6)},
	{B(GUEST_TSO4) | B(GUEST_TSO6) | B(GUEST_UFO), B(GUEST_CSUM)},
	{B(GUEST_ECN), B(GUEST_TSO4) | B(GUEST_TSO6)},
	{B(CTRL_RX) | B(CTRL_VLAN) | B(CTRL_RX_EXTRA) | B(CTRL_MAC_ADDR) | B(CTRL_GUEST_OFFLOADS),
	 B(CTRL_VQ)},
#undef B
};

static uint64_t vnet_consistent(uint64_t features)
{
	for (size_t i = 0; i < sizeof(vnet_depends) / sizeof(vnet_depends[0]); i++)
		if (!(features & vnet_depends[i].need))
			features &= ~vnet_depends[i].bits;
	return features;
}

/* What the guest may leave to be done. A back end that carries no header gets frames through
 * net_send_frame(), which does all of it. */
static unsigned int vnet_offloads_out(const struct virtio_net *vn)
{
	if (!vn->net)
		return 0;
	if (vn->net->has_hdr)
		return vn->net->offloads_out;
	return NET_OFFLOAD_CSUM | NET_OFFLOAD_TSO4 | NET_OFFLOAD_TSO6 | NET_OFFLOAD_ECN |
	       NET_OFFLOAD_UFO;
}

static uint64_t vnet_offer(const struct virtio_net *vn)
{
	uint64_t features = virtio_bit(VIRTIO_NET_F_MAC);
	unsigned int out = vnet_offloads_out(vn);
	unsigned int in = vn->net ? vn->net->offloads_in : 0;

	for (size_t i = 0; i < sizeof(vnet_features) / sizeof(vnet_features[0]); i++) {
		const bool *option = (const bool *)((const uint8_t *)vn + vnet_features[i].option);

		if (*option && (vnet_features[i].out & out) == vnet_features[i].out &&
		    (vnet_features[i].in & in) == vnet_features[i].in)
			features |= virtio_bit(vnet_features[i].bit);
	}
	if (vn->opt.host_mtu)
		features |= virtio_bit(VIRTIO_NET_F_MTU);
	return vnet_consistent(features);
}

int vnet_set_guest_offloads(struct virtio_net *vn, uint64_t features)
{
	unsigned int offloads = 0, big;
	int r;

	features = vnet_consistent(features);
	for (size_t i = 0; i < sizeof(vnet_features) / sizeof(vnet_features[0]); i++)
		if (vnet_features[i].bit != VIRTIO_NET_F_CTRL_GUEST_OFFLOADS &&
		    features & virtio_bit(vnet_features[i].bit))
			offloads |= vnet_features[i].in;
	big = offloads & (NET_OFFLOAD_TSO4 | NET_OFFLOAD_TSO6 | NET_OFFLOAD_UFO);
	if (vn->net) {
		r = vn->net->ops->set_offloads(vn->net, offloads,
					       vn->net->has_hdr ? vn->hdr_len : 0);
		if (r)
			return r;
	}
	vn->guest_csum = offloads & NET_OFFLOAD_CSUM;
	vn->big = big;
	return 0;
}

static void vnet_features_ready(struct virtio_dev *dev)
{
	struct virtio_net *vn = vnet_of(dev);

	vn->mergeable = virtio_has(dev, VIRTIO_NET_F_MRG_RXBUF);
	vn->hdr_len = virtio_has(dev, VIRTIO_F_VERSION_1) || vn->mergeable
			      ? VNET_HDR_MAX
			      : offsetof(struct net_hdr, num_buffers);
	/* With no VLAN ever added, a driver that can filter them wants none. */
	vn->filter.vlans_on = virtio_has(dev, VIRTIO_NET_F_CTRL_VLAN);
	/* Fails only when the interface is gone, and then no frame will show it. */
	if (vnet_set_guest_offloads(vn, dev->features))
		log_limited(&dev->log, "%s: netdev %s doesn't take the guest's offloads",
			    dev->device->id, vn->net->id);
}

/* ---- configuration space ---- */

static uint64_t vnet_config_read(struct virtio_dev *dev, uint32_t offset, unsigned int size)
{
	struct virtio_net *vn = vnet_of(dev);
	uint64_t mac = __atomic_load_n(&vn->mac, __ATOMIC_RELAXED), value = 0;
	struct virtio_net_config config = {
		.status =
			__atomic_load_n(&vn->link_up, __ATOMIC_RELAXED) ? VIRTIO_NET_S_LINK_UP : 0,
		.max_virtqueue_pairs = 1,
		.mtu = vn->opt.host_mtu,
	};

	memcpy(config.mac, &mac, sizeof(config.mac));
	if (offset < sizeof(config) && size <= sizeof(config) - offset)
		memcpy(&value, (const uint8_t *)&config + offset, size);
	return value;
}

/* A legacy driver sets its address here (§5.1.4.3); a modern one can't. */
static void vnet_config_write(struct virtio_dev *dev, uint32_t offset, unsigned int size,
			      uint64_t value)
{
	struct virtio_net *vn = vnet_of(dev);
	uint64_t mac = __atomic_load_n(&vn->mac, __ATOMIC_RELAXED);

	if (!dev->legacy || virtio_has(dev, VIRTIO_NET_F_CTRL_MAC_ADDR) || offset >= 6 ||
	    size > 6 - offset)
		return;
	memcpy((uint8_t *)&mac + offset, &value, size);
	__atomic_store_n(&vn->mac, mac, __ATOMIC_RELAXED);
}

/* Legacy drivers see this space in a port BAR whose size is a power of two: no more bytes than
 * there is need for. */
static uint32_t vnet_config_size(uint64_t features)
{
	if (features & virtio_bit(VIRTIO_NET_F_MTU))
		return offsetof(struct virtio_net_config, mtu) + 2;
	if (features & virtio_bit(VIRTIO_NET_F_STATUS))
		return offsetof(struct virtio_net_config, status) + 2;
	return offsetof(struct virtio_net_config, mac) + 6;
}

/* ---- life ---- */

static void vnet_reset(struct virtio_dev *dev)
{
	struct virtio_net *vn = vnet_of(dev);
	uint64_t mac = 0;

	memcpy(&mac, vn->opt.mac, 6);
	__atomic_store_n(&vn->mac, mac, __ATOMIC_RELAXED);
	vnet_filter_reset(vn);
}

static int vnet_check_options(struct virtio_net *vn, struct err *err)
{
	const struct vnet_options *o = &vn->opt;

	if (o->mac[0] & 1)
		return err_set(
			err, -EINVAL,
			"mac=%02x:%02x:%02x:%02x:%02x:%02x is a group address (the first byte "
			"of a card's own is even)",
			o->mac[0], o->mac[1], o->mac[2], o->mac[3], o->mac[4], o->mac[5]);
	if (o->host_mtu && o->host_mtu < 68)
		return err_set(err, -EINVAL, "host_mtu=%u: 68 is the least that IP works with",
			       o->host_mtu);
	if (o->rx_queue_size & (o->rx_queue_size - 1))
		return err_set(err, -EINVAL, "rx_queue_size=%u is not a power of two",
			       o->rx_queue_size);
	if (o->tx_queue_size & (o->tx_queue_size - 1))
		return err_set(err, -EINVAL, "tx_queue_size=%u is not a power of two",
			       o->tx_queue_size);
	return 0;
}

static void vnet_unrealize(struct virtio_dev *dev)
{
	struct virtio_net *vn = vnet_of(dev);
	struct platform *p = dev->device->platform;

	if (vn->net)
		p->net_put(p, vn->net);
	if (vn->loop)
		p->io_thread_put(p, vn->loop);
	free(vn->rx.overflow);
	vn->net = NULL;
	vn->loop = NULL;
	vn->rx.overflow = NULL;
}

/* Takes back end and I/O thread; the caller gives them back when this fails. */
static int vnet_acquire(struct virtio_net *vn, struct err *err)
{
	struct device *dev = vn->vdev.device;
	struct platform *p = dev->platform;
	static const uint8_t no_mac[6];
	char name[16];

	vn->rx.overflow = malloc(VNET_HDR_MAX + NET_FRAME_MAX);
	if (!vn->rx.overflow)
		return err_set(err, -ENOMEM, "out of memory");
	if (!memcmp(vn->opt.mac, no_mac, 6))
		p->mac_default(p, vn->opt.mac);
	if (vn->opt.netdev) {
		vn->net = p->net_get(p, vn->opt.netdev, dev, err);
		if (!vn->net)
			return err ? err->code : -ENODEV;
		vn->nq = vn->net->queue[0];
		vn->lf.fd = vn->net->ops->fd(vn->nq);
		vn->lf.ready = vnet_ready;
		vn->lf.opaque = vn;
	}
	snprintf(name, sizeof(name), "io-%s", dev->id);
	vn->loop = p->io_thread_get(p, vn->opt.iothread, name, err);
	return vn->loop ? 0 : err ? err->code : -ENOMEM;
}

static int vnet_realize(struct virtio_dev *dev, struct err *err)
{
	struct virtio_net *vn = vnet_of(dev);
	int r = vnet_check_options(vn, err);

	if (!r)
		r = vnet_acquire(vn, err);
	if (r) {
		vnet_unrealize(dev);
		return r;
	}
	vn->link_up = vn->net && !net_link_is_down(vn->net);
	dev->features_offered = vnet_offer(vn);
	dev->config_size = vnet_config_size(dev->features_offered);
	dev->n_queues = vn->opt.ctrl_vq ? VNET_QUEUES : VNET_QUEUES - 1;
	for (unsigned int i = 0; i < dev->n_queues; i++)
		dev->queue[i].loop = vn->loop;
	dev->queue[VNET_RXQ].size_max = vn->opt.rx_queue_size;
	dev->queue[VNET_TXQ].size_max = vn->opt.tx_queue_size;
	dev->queue[VNET_CTRLQ].size_max = 64;
	vnet_reset(dev);
	return 0;
}

/* ---- for people ---- */

static void vnet_set_link(struct virtio_dev *dev, bool up)
{
	struct virtio_net *vn = vnet_of(dev);

	if (vn->net)
		net_set_link(vn->net, up);
	__atomic_store_n(&vn->link_up, up && vn->net, __ATOMIC_RELAXED);
	virtio_config_changed(dev);
}

static void vnet_info(struct virtio_dev *dev, json_t *object)
{
	struct virtio_net *vn = vnet_of(dev);
	uint64_t mac = __atomic_load_n(&vn->mac, __ATOMIC_RELAXED);
	char text[18];

	snprintf(text, sizeof(text), "%02x:%02x:%02x:%02x:%02x:%02x", (int)(mac & 0xff),
		 (int)(mac >> 8 & 0xff), (int)(mac >> 16 & 0xff), (int)(mac >> 24 & 0xff),
		 (int)(mac >> 32 & 0xff), (int)(mac >> 40 & 0xff));
	json_object_set_new(object, "mac", json_string(text));
	json_object_set_new(object, "link",
			    json_boolean(__atomic_load_n(&vn->link_up, __ATOMIC_RELAXED)));
}

static void vnet_counters(struct virtio_dev *dev, counter_visit *visit, void *opaque)
{
	visit(opaque, dev->device->id, NULL, vnet_counter_table, &vnet_of(dev)->counters);
}

static const struct virtio_model virtio_net_model = {
	.id = VIRTIO_ID_NET,
	.pci_class = 0x020000,
	.vectors = 3, /* configuration, receive, send: commands are polled for by drivers */
	.realize = vnet_realize,
	.unrealize = vnet_unrealize,
	.config_read = vnet_config_read,
	.config_write = vnet_config_write,
	.queue_start = vnet_queue_start,
	.queue_stop = vnet_queue_stop,
	.work = vnet_work,
	.features_ready = vnet_features_ready,
	.reset = vnet_reset,
	.info = vnet_info,
	.counters = vnet_counters,
	.set_link = vnet_set_link,
};

static const char *const virtio_net_aliases[] = {"virtio-net", NULL};
VIRTIO_PCI_MODEL(virtio_net_model, "virtio-net-pci", virtio_net_aliases, "virtio network card",
		 struct virtio_net, vnet_opts, "virtio");
