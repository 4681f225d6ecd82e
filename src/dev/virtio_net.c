/*
 * virtio-net: the network card of virtio 1.3 §5.1, legacy interface included.
 *
 * This file: options, queues, configuration space and link; virtio_net.h lists the others, and says
 * which thread does what. Options and the configuration space are the control thread's and, under the
 * device lock, the vCPUs'.
 *
 * What it does not do: hashes of tunnelled packets, coalesced segments told apart (RSC_EXT), device
 * statistics, flow filters.
 */
#include "dev/virtio_net.h"

#include <errno.h>
#include <limits.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "virtio/pci.h"

static const char *const vnet_duplex_names[] = {"unknown", "half", "full", NULL};

#define VNET_OPT(field, kind, ...)                                                              \
	{                                                                                       \
		.name = #field, .type = kind, .offset = offsetof(struct virtio_net, opt.field), \
		__VA_ARGS__                                                                     \
	}
#define offsetofend(type, member) ((uint32_t)(offsetof(type, member) + sizeof(((type *)0)->member)))
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
	VNET_OPT(mq, OPT_BOOL, .def = "off",
		 .help = "as many queue pairs as the netdev has queues, each with an I/O thread"),
	VNET_OPT(rss, OPT_BOOL, .def = "off",
		 .help = "let the guest say which queue a flow is received on"),
	VNET_OPT(hash, OPT_BOOL, .def = "off",
		 .help = "tell the guest the hash of received frames"),
	VNET_OPT(speed, OPT_U32, .max = INT_MAX,
		 .help = "speed in Mbit/s that the guest is told; 0: not said"),
	VNET_OPT(duplex, OPT_ENUM, .names = vnet_duplex_names,
		 .help = "duplex mode that the guest is told"),
	VNET_OPT(failover, OPT_BOOL, .def = "off",
		 .help = "the guest may use it as standby for another card of this MAC address"),
	VNET_FEATURE(csum, "offer to complete checksums of sent frames"),
	VNET_FEATURE(gso, "offer large sent frames by the old feature bit"),
	VNET_FEATURE(host_tso4, "offer to segment large TCP/IPv4 frames"),
	VNET_FEATURE(host_tso6, "offer to segment large TCP/IPv6 frames"),
	VNET_FEATURE(host_ecn, "offer to segment TCP with ECN"),
	VNET_FEATURE(host_ufo, "offer to fragment large UDP frames"),
	VNET_FEATURE(host_uso, "offer to segment large UDP frames"),
	VNET_FEATURE(guest_csum, "let received frames have partial checksums"),
	VNET_FEATURE(guest_tso4, "let large TCP/IPv4 frames be received"),
	VNET_FEATURE(guest_tso6, "let large TCP/IPv6 frames be received"),
	VNET_FEATURE(guest_ecn, "let large TCP frames with ECN be received"),
	VNET_FEATURE(guest_ufo, "let large UDP frames be received"),
	VNET_FEATURE(guest_uso4, "let large UDP/IPv4 frames be received in segments' sizes"),
	VNET_FEATURE(guest_uso6, "let large UDP/IPv6 frames be received in segments' sizes"),
	VNET_FEATURE(mrg_rxbuf, "let a received frame take several buffers"),
	VNET_FEATURE(status, "tell the link's state"),
	VNET_FEATURE(ctrl_vq, "have a control queue"),
	VNET_FEATURE(ctrl_rx, "filter by address"),
	VNET_FEATURE(ctrl_vlan, "filter by VLAN"),
	VNET_FEATURE(ctrl_rx_extra, "more filter modes"),
	VNET_FEATURE(ctrl_mac_addr, "let the guest set its address by command"),
	VNET_FEATURE(ctrl_guest_offloads, "let the guest change its offloads while it runs"),
	VNET_FEATURE(guest_announce, "let the guest be asked to announce its address"),
	VNET_FEATURE(notf_coal, "let the guest have interrupts put off"),
	{.name = NULL, .type = OPT_END},
};

#define VNET_COUNTER(field, tag, text)                                                     \
	{                                                                                  \
		.name = tag, .offset = offsetof(struct vnet_counters, field), .help = text \
	}

static const struct counter_desc vnet_counter_table[] = {
	VNET_COUNTER(ctrl_commands, "ctrl-commands", "commands of the driver"),
	VNET_COUNTER(ctrl_refused, "ctrl-refused", "of which answered with an error"),
	VNET_COUNTER(announced, "announced", "times that the guest has announced its address"),
	{.name = NULL},
};

#define VNET_PAIR_COUNTER(field, tag, text)                                                     \
	{                                                                                       \
		.name = tag, .offset = offsetof(struct vnet_pair_counters, field), .help = text \
	}

static const struct counter_desc vnet_pair_counter_table[] = {
	VNET_PAIR_COUNTER(rx_no_buffer, "rx-no-buffer",
			  "times that the guest's receive ring ran out of buffers"),
	VNET_PAIR_COUNTER(rx_filtered, "rx-filtered", "lost: frames the guest didn't want"),
	VNET_PAIR_COUNTER(rx_too_long, "rx-too-long",
			  "lost: frames longer than the guest's buffers"),
	VNET_PAIR_COUNTER(rx_held, "rx-held", "frames that waited for more buffers; nothing lost"),
	VNET_PAIR_COUNTER(rx_bounced, "rx-bounced",
			  "bytes of long or steered frames that were copied"),
	VNET_PAIR_COUNTER(rx_dropped_reset, "rx-dropped-reset",
			  "lost: held, or handed over (RSS), when the queue stopped"),
	VNET_PAIR_COUNTER(rx_steered, "rx-steered", "frames handed to another pair (RSS)"),
	VNET_PAIR_COUNTER(rx_steer_full, "rx-steer-full",
			  "lost: another pair was behind, or didn't run (RSS)"),
	VNET_PAIR_COUNTER(tx_no_cable, "tx-no-cable", "lost: sent without a netdev"),
	VNET_PAIR_COUNTER(coalesced, "coalesced", "interrupts put off until one was due already"),
	{.name = NULL},
};

/* ---- the back end's file descriptor ---- */

void vnet_watch(struct vnet_pair *p)
{
	uint32_t events = 0;

	if (p->active && p->rx.running && !p->rx.starved)
		events |= EPOLLIN;
	if (p->active && p->tx.blocked)
		events |= EPOLLOUT;
	if (p->gone || !events)
		loop_fd_del(&p->lf);
	else if (p->lf.loop)
		loop_fd_mod(&p->lf, events);
	else
		loop_fd_add(p->loop, &p->lf, events);
}

void vnet_ready(struct loop_fd *lf, uint32_t events)
{
	struct vnet_pair *p = lf->opaque;

	p->rx.readable = p->tx.writable = true;
	if (events & (EPOLLIN | EPOLLERR | EPOLLHUP))
		virtio_queue_work(p->rxq);
	/* An error that reading didn't show would be reported for ever. */
	if (events & (EPOLLERR | EPOLLHUP) && !(events & EPOLLIN)) {
		p->gone = true;
		vnet_watch(p);
	}
	if (p->tx.blocked && (events & EPOLLOUT || p->gone))
		virtio_queue_work(p->txq);
}

/* ---- queues ---- */

static bool vnet_work(struct virtio_queue *queue)
{
	struct virtio_net *vn = vnet_of(queue->dev);
	struct vnet_pair *p = vnet_pair_of(vn, queue);

	if (p)
		return queue == p->rxq ? vnet_rx_work(p) : vnet_tx_work(p);
	return queue->ring.index == vn->ctrl && vnet_ctrl_work(vn);
}

static void vnet_queue_start(struct virtio_queue *queue)
{
	struct virtio_net *vn = vnet_of(queue->dev);
	struct vnet_pair *p = vnet_pair_of(vn, queue);

	if (!p) {
		/* One that is no queue may have been enabled. */
		virtio_queue_want_kicks(queue, queue->ring.index == vn->ctrl);
	} else if (queue == p->rxq) {
		vnet_coal_start(&p->rx_coal, queue, &p->set.coal[VNET_RXQ], &p->counters.coalesced);
		vnet_rx_start(p);
	} else {
		vnet_coal_start(&p->tx_coal, queue, &p->set.coal[VNET_TXQ], &p->counters.coalesced);
		vnet_tx_start(p);
	}
}

static void vnet_queue_stop(struct virtio_queue *queue)
{
	struct vnet_pair *p = vnet_pair_of(vnet_of(queue->dev), queue);

	if (p && queue == p->rxq) {
		vnet_rx_stop(p);
		vnet_coal_stop(&p->rx_coal);
	} else if (p) {
		vnet_tx_stop(p);
		vnet_coal_stop(&p->tx_coal);
	}
}

/* ---- configuration space ---- */

static uint64_t vnet_config_read(struct virtio_dev *dev, uint32_t offset, unsigned int size)
{
	struct virtio_net *vn = vnet_of(dev);
	uint64_t mac = __atomic_load_n(&vn->mac, __ATOMIC_RELAXED), value = 0;
	struct virtio_net_config config = {
		.status = __atomic_load_n(&vn->status, __ATOMIC_RELAXED),
		.max_virtqueue_pairs = (uint16_t)vn->n_pairs,
		.mtu = vn->opt.host_mtu,
		.speed = vn->opt.speed ? vn->opt.speed : UINT32_MAX,
		.duplex = vn->opt.duplex ? (uint8_t)(vn->opt.duplex - 1) : UINT8_MAX,
		.rss_max_key_size = VNET_RSS_KEY,
		.rss_max_indirection_table_length = VNET_RSS_TABLE,
		.supported_hash_types = vnet_hash_types,
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
	/* It writes byte by byte: the back end is told when the last one is there. */
	if (offset + size == 6)
		vnet_set_mac(vn, mac);
	else
		__atomic_store_n(&vn->mac, mac, __ATOMIC_RELAXED);
}

void vnet_set_mac(struct virtio_net *vn, uint64_t mac)
{
	uint8_t bytes[8];

	__atomic_store_n(&vn->mac, mac, __ATOMIC_RELAXED);
	memcpy(bytes, &mac, sizeof(bytes));
	if (vn->net)
		net_set_mac(vn->net, bytes, NULL);
}

/* Legacy drivers see this space in a port BAR whose size is a power of two: no more bytes than
 * there is need for. */
static uint32_t vnet_config_size(uint64_t features)
{
#define END(field) offsetofend(struct virtio_net_config, field)
	static const struct {
		uint8_t bit;
		uint32_t size;
	} ends[] = {
		{VIRTIO_NET_F_STATUS, END(status)},
		{VIRTIO_NET_F_MQ, END(max_virtqueue_pairs)},
		{VIRTIO_NET_F_MTU, END(mtu)},
		{VIRTIO_NET_F_SPEED_DUPLEX, END(duplex)},
		{VIRTIO_NET_F_RSS, END(supported_hash_types)},
		{VIRTIO_NET_F_HASH_REPORT, END(supported_hash_types)},
	};
	uint32_t size = END(mac);
#undef END

	for (size_t i = 0; i < sizeof(ends) / sizeof(ends[0]); i++)
		if (features & virtio_bit(ends[i].bit) && size < ends[i].size)
			size = ends[i].size;
	return size;
}

/* The device lock is held. */
static void vnet_set_link(struct virtio_dev *dev, bool up)
{
	struct virtio_net *vn = vnet_of(dev);

	if (vn->net)
		net_set_link(vn->net, up);
	vnet_rings_restart(vn);
	vnet_link_update(vn);
}

bool vnet_announce(struct virtio_dev *dev)
{
	if (!virtio_has(dev, VIRTIO_NET_F_GUEST_ANNOUNCE) ||
	    !(virtio_get_status(dev) & VIRTIO_CONFIG_S_DRIVER_OK))
		return false;
	__atomic_or_fetch(&vnet_of(dev)->status, VIRTIO_NET_S_ANNOUNCE, __ATOMIC_RELAXED);
	virtio_config_changed(dev);
	return true;
}

/* ---- life ---- */

static void vnet_reset(struct virtio_dev *dev)
{
	struct virtio_net *vn = vnet_of(dev);
	uint64_t mac = 0;

	memcpy(&mac, vn->opt.mac, 6);
	if (__atomic_load_n(&vn->mac, __ATOMIC_RELAXED) != mac)
		vnet_set_mac(vn, mac);
	__atomic_and_fetch(&vn->status, (uint16_t)~VIRTIO_NET_S_ANNOUNCE, __ATOMIC_RELAXED);
	vnet_layout(vn, true);
	memset(&vn->set.rss, 0, sizeof(vn->set.rss));
	memset(&vn->set.coal, 0, sizeof(vn->set.coal));
	for (unsigned int i = 0; i < vn->n_pairs; i++)
		vn->pair[i].rx_coal.limits = vn->pair[i].tx_coal.limits =
			(struct vnet_coal_limits){0};
	vnet_filter_reset(&vn->set.filter);
	vnet_reset_pairs(vn);
	vnet_rings_reset(vn);
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

	vnet_rings_end(vn);
	vnet_rss_free(vn);
	vnet_pairs_free(vn);
	if (vn->net)
		p->net_put(p, vn->net);
	vn->net = NULL;
}

/* Takes back end and I/O threads; the caller gives them back when this fails. */
static int vnet_acquire(struct virtio_net *vn, struct err *err)
{
	struct device *dev = vn->vdev.device;
	struct platform *p = dev->platform;
	static const uint8_t no_mac[6];
	int r;

	if (!memcmp(vn->opt.mac, no_mac, 6))
		p->mac_default(p, vn->opt.mac);
	if (vn->opt.netdev) {
		vn->net = p->net_get(p, vn->opt.netdev, dev, err);
		if (!vn->net)
			return err ? err->code : -ENODEV;
	}
	r = vnet_pairs_make(vn, err);
	if (!r && vn->opt.rss)
		r = vnet_rss_make(vn, err);
	if (!r && vn->net)
		r = net_set_mac(vn->net, vn->opt.mac, err);
	return r;
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
	memcpy(&vn->mac, vn->opt.mac, 6);
	vnet_rings_init(vn);
	dev->features_offered = vnet_offer(vn);
	dev->config_size = vnet_config_size(dev->features_offered);
	/* The configuration's, and one for each queue. Of a single pair commands are polled for. */
	if (vn->n_pairs > 1)
		dev->vectors = 2 * vn->n_pairs + 2;
	dev->n_queues = 2 * vn->n_pairs + vn->opt.ctrl_vq;
	for (unsigned int i = 0; i < vn->n_pairs; i++) {
		vn->pair[i].rxq->loop = vn->pair[i].txq->loop = vn->pair[i].loop;
		vn->pair[i].rxq->size_max = vn->opt.rx_queue_size;
		vn->pair[i].txq->size_max = vn->opt.tx_queue_size;
	}
	dev->queue[2 * vn->n_pairs].loop = vn->pair[0].loop;
	dev->queue[2 * vn->n_pairs].size_max = VNET_CTRL_SIZE;
	vn->set.pairs = vn->n_pairs;
	vnet_reset(dev);
	vnet_link_update(vn);
	return 0;
}

/* ---- for people ---- */

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
			    json_boolean(__atomic_load_n(&vn->status, __ATOMIC_RELAXED) &
					 VIRTIO_NET_S_LINK_UP));
	json_object_set_new(object, "queue-pairs", json_integer(vn->n_pairs));
	json_object_set_new(object, "queue-pairs-used",
			    json_integer(__atomic_load_n(&vn->set.pairs, __ATOMIC_RELAXED)));
	vnet_rings_info(vn, object);
}

static void vnet_counters(struct virtio_dev *dev, counter_visit *visit, void *opaque)
{
	struct virtio_net *vn = vnet_of(dev);
	char part[24];

	visit(opaque, dev->device->id, NULL, vnet_counter_table, &vn->counters);
	for (unsigned int i = 0; i < vn->n_pairs; i++) {
		snprintf(part, sizeof(part), "pair %u", i);
		visit(opaque, dev->device->id, part, vnet_pair_counter_table,
		      &vn->pair[i].counters);
	}
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
	.queue_lend = vnet_queue_lend,
	.queue_return = vnet_queue_return,
	.queue_call = vnet_queue_call,
	.features_ready = vnet_features_ready,
	.reset = vnet_reset,
	.info = vnet_info,
	.counters = vnet_counters,
	.set_link = vnet_set_link,
	.announce = vnet_announce,
};

static const char *const virtio_net_aliases[] = {"virtio-net", NULL};
VIRTIO_PCI_MODEL(virtio_net_model, "virtio-net-pci", virtio_net_aliases, "virtio network card",
		 struct virtio_net, vnet_opts, "virtio");
