/*
 * virtio-net: feature bits. Virtio 1.3 §5.1.3. What is offered follows from the options and from what the back
 * end can do; what the driver has taken becomes settings of the queues, and offloads of the back end.
 *
 * Threads: the offer is made on the control thread, negotiation runs with the device lock; the guest's
 * offloads change on pair 0's thread, too.
 */
#include <errno.h>
#include <stddef.h>

#include "dev/virtio_net.h"

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
	VNET_BIT(HOST_USO, NET_OFFLOAD_USO, 0, host_uso),
	VNET_BIT(GSO, NET_OFFLOAD_TSO4 | NET_OFFLOAD_TSO6 | NET_OFFLOAD_ECN, 0, gso),
	VNET_BIT(GUEST_CSUM, 0, NET_OFFLOAD_CSUM, guest_csum),
	VNET_BIT(GUEST_TSO4, 0, NET_OFFLOAD_TSO4, guest_tso4),
	VNET_BIT(GUEST_TSO6, 0, NET_OFFLOAD_TSO6, guest_tso6),
	VNET_BIT(GUEST_ECN, 0, NET_OFFLOAD_ECN, guest_ecn),
	VNET_BIT(GUEST_UFO, 0, NET_OFFLOAD_UFO, guest_ufo),
	VNET_BIT(GUEST_USO4, 0, NET_OFFLOAD_USO, guest_uso4),
	VNET_BIT(GUEST_USO6, 0, NET_OFFLOAD_USO, guest_uso6),
	VNET_BIT(MRG_RXBUF, 0, 0, mrg_rxbuf),
	VNET_BIT(STATUS, 0, 0, status),
	VNET_BIT(CTRL_VQ, 0, 0, ctrl_vq),
	VNET_BIT(CTRL_RX, 0, 0, ctrl_rx),
	VNET_BIT(CTRL_VLAN, 0, 0, ctrl_vlan),
	VNET_BIT(CTRL_RX_EXTRA, 0, 0, ctrl_rx_extra),
	VNET_BIT(CTRL_MAC_ADDR, 0, 0, ctrl_mac_addr),
	VNET_BIT(CTRL_GUEST_OFFLOADS, 0, NET_OFFLOAD_CSUM, ctrl_guest_offloads),
	VNET_BIT(GUEST_ANNOUNCE, 0, 0, guest_announce),
	VNET_BIT(NOTF_COAL, 0, 0, notf_coal),
	VNET_BIT(VQ_NOTF_COAL, 0, 0, notf_coal),
	VNET_BIT(RSS, 0, 0, rss),
	VNET_BIT(HASH_REPORT, 0, 0, hash),
	VNET_BIT(STANDBY, 0, 0, failover),
};

/* What makes no sense without another bit, which a driver could otherwise take alone (§5.1.3.1). */
static const struct {
	uint64_t bits, need;
} vnet_depends[] = {
#define B(name) (UINT64_C(1) << VIRTIO_NET_F_##name)
	{B(HOST_TSO4) | B(HOST_TSO6) | B(HOST_UFO) | B(HOST_USO) | B(GSO), B(CSUM)},
	{B(HOST_ECN), B(HOST_TSO4) | B(HOST_TSO6)},
	{B(GUEST_TSO4) | B(GUEST_TSO6) | B(GUEST_UFO) | B(GUEST_USO4) | B(GUEST_USO6),
	 B(GUEST_CSUM)},
	{B(GUEST_ECN), B(GUEST_TSO4) | B(GUEST_TSO6)},
	{B(CTRL_RX) | B(CTRL_VLAN) | B(CTRL_RX_EXTRA) | B(CTRL_MAC_ADDR) | B(CTRL_GUEST_OFFLOADS) |
		 B(GUEST_ANNOUNCE) | B(MQ) | B(RSS) | B(HASH_REPORT) | B(NOTF_COAL) |
		 B(VQ_NOTF_COAL),
	 B(CTRL_VQ)},
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
	if (vn->net->has_hdr || vnet_rings_can(vn))
		return vn->net->offloads_out;
	return NET_OFFLOAD_CSUM | NET_OFFLOAD_TSO4 | NET_OFFLOAD_TSO6 | NET_OFFLOAD_ECN |
	       NET_OFFLOAD_UFO | NET_OFFLOAD_USO;
}

/* Can there be a hash behind the header? A back end that has a header must take it that long. */
static bool vnet_can_report(struct virtio_net *vn)
{
	struct net_backend *net = vn->net;
	int r;

	if (!net || !net->has_hdr)
		return net;
	r = net->ops->set_offloads(net, 0, VNET_HDR_MAX);
	return !r && !net->ops->set_offloads(net, 0, sizeof(struct net_hdr));
}

uint64_t vnet_offer(struct virtio_net *vn)
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
	if (vn->opt.speed || vn->opt.duplex)
		features |= virtio_bit(VIRTIO_NET_F_SPEED_DUPLEX);
	if (vn->n_pairs > 1)
		features |= virtio_bit(VIRTIO_NET_F_MQ);
	if (!vn->net)
		features &= ~B(RSS);
	if (features & B(HASH_REPORT) && !vnet_can_report(vn))
		features &= ~B(HASH_REPORT);
	return vnet_consistent(features);
}

/* NET_OFFLOAD_* that the guest takes. */
static unsigned int vnet_offloads_in(uint64_t features)
{
	unsigned int offloads = 0;

	features = vnet_consistent(features);
	for (size_t i = 0; i < sizeof(vnet_features) / sizeof(vnet_features[0]); i++)
		if (vnet_features[i].bit != VIRTIO_NET_F_CTRL_GUEST_OFFLOADS &&
		    features & virtio_bit(vnet_features[i].bit))
			offloads |= vnet_features[i].in;
	/* A back end doesn't tell these two apart. */
	if (!(features & B(GUEST_USO4)) || !(features & B(GUEST_USO6)))
		offloads &= ~(unsigned int)NET_OFFLOAD_USO;
	return offloads;
}

int vnet_set_guest_offloads(struct virtio_net *vn, uint64_t features)
{
	unsigned int offloads = vnet_offloads_in(features);
	bool was_big = vn->set.big, big;
	int r = 0;

	big = offloads & (NET_OFFLOAD_TSO4 | NET_OFFLOAD_TSO6 | NET_OFFLOAD_UFO | NET_OFFLOAD_USO);
	/* Queues are ready for large frames before the first one can come, and after the last. */
	if (big && !was_big) {
		vn->set.big = true;
		vnet_apply(vn);
	}
	if (vn->net)
		r = vn->net->ops->set_offloads(vn->net, offloads,
					       vn->net->has_hdr ? vn->set.hdr_len : 0);
	if (r) {
		vn->set.big = was_big;
	} else {
		vn->set.big = big;
		vn->set.guest_csum = offloads & NET_OFFLOAD_CSUM;
	}
	vnet_apply(vn);
	return r;
}

static unsigned int vnet_hdr_len(const struct virtio_dev *dev)
{
	if (virtio_has(dev, VIRTIO_NET_F_HASH_REPORT))
		return VNET_HDR_MAX;
	if (virtio_has(dev, VIRTIO_F_VERSION_1) || virtio_has(dev, VIRTIO_NET_F_MRG_RXBUF))
		return sizeof(struct net_hdr);
	return offsetof(struct net_hdr, num_buffers);
}

void vnet_features_ready(struct virtio_dev *dev)
{
	struct virtio_net *vn = vnet_of(dev);

	vnet_rings_negotiated(vn);
	vnet_layout(vn, dev->features & (B(MQ) | B(RSS)));
	vn->set.mergeable = virtio_has(dev, VIRTIO_NET_F_MRG_RXBUF);
	vn->set.hdr_len = vnet_hdr_len(dev);
	vn->set.rss.on = vn->set.rss.report = virtio_has(dev, VIRTIO_NET_F_HASH_REPORT);
	/* With no VLAN ever added, a driver that can filter them wants none. */
	vn->set.filter.vlans_on = virtio_has(dev, VIRTIO_NET_F_CTRL_VLAN);
	/* Fails only when the interface is gone, and then no frame will show it. */
	if (vnet_set_guest_offloads(vn, dev->features))
		log_limited(&dev->log, "%s: netdev %s doesn't take the guest's offloads",
			    dev->device->id, vn->net->id);
}
