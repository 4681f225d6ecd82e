/*
 * virtio-net (virtio 1.3 section 5.1), one queue pair, behind the interface of nic.h.
 *
 * A send slot is one buffer: the virtio_net_hdr, then the frame. A receive buffer likewise; with
 * mergeable buffers a frame may take several, without them and with offloads on they are 64 KiB
 * each.
 */
#include <linux/virtio_config.h>
#include <linux/virtio_ids.h>
#include <linux/virtio_net.h>

#include "lib.h"
#include "memory.h"
#include "nic.h"
#include "ring.h"

#define RX_QUEUE 0
#define TX_QUEUE 1

#define HEADER_ROOM   64 /* room for the virtio_net_hdr, so that frames start on a cache line */
#define BIG_BUFFER    (HEADER_ROOM + 65536 + 64)
#define PLAIN_BUFFER  (HEADER_ROOM + 1600)
#define MAX_TX_PIECES 32

struct virtio_net {
	struct virtio_device dev;
	struct ring rx, tx;
	struct nic_config config;
	uint32_t header;   /* bytes of virtio_net_hdr */
	bool split_header; /* it needs a descriptor of its own (legacy, section 2.7.4.1) */
	bool rx_dirty;	   /* buffers added and not published */
	int rx_vector, tx_vector;

	uint8_t *tx_buffers;
	uint32_t tx_stride;
	uint32_t *tx_free; /* stack of slot numbers */
	uint32_t n_tx_free;

	uint8_t *rx_buffers;
	uint32_t rx_stride;
};

static struct virtio_net *net_of(struct nic *nic)
{
	return nic->priv;
}

static struct virtio_net_hdr_mrg_rxbuf *header_of(struct virtio_net *net, uint8_t *frame)
{
	return (void *)(frame - net->header);
}

static uint64_t wanted_features(const struct nic_config *c)
{
	uint64_t f = 1ull << VIRTIO_NET_F_MAC | 1ull << VIRTIO_F_ANY_LAYOUT;

	if (c->event_index)
		f |= 1ull << VIRTIO_RING_F_EVENT_IDX;
	if (c->indirect)
		f |= 1ull << VIRTIO_RING_F_INDIRECT_DESC;
	if (c->packed)
		f |= 1ull << VIRTIO_F_RING_PACKED;
	if (c->mergeable)
		f |= 1ull << VIRTIO_NET_F_MRG_RXBUF;
	if (c->offload_tx)
		f |= 1ull << VIRTIO_NET_F_CSUM | 1ull << VIRTIO_NET_F_HOST_TSO4 |
		     1ull << VIRTIO_NET_F_HOST_TSO6 | 1ull << VIRTIO_NET_F_HOST_ECN;
	if (c->offload_rx)
		f |= 1ull << VIRTIO_NET_F_GUEST_CSUM | 1ull << VIRTIO_NET_F_GUEST_TSO4 |
		     1ull << VIRTIO_NET_F_GUEST_TSO6 | 1ull << VIRTIO_NET_F_GUEST_ECN;
	return f;
}

/* MSI-X: entry 0 for the receive queue, 1 for the send queue. */
static bool set_up_queues(struct virtio_net *net)
{
	struct virtio_device *dev = &net->dev;
	bool msix = net->config.interrupts == VIRTIO_MSIX;

	if (!virtio_enable_interrupts(dev, net->config.interrupts))
		return false;
	net->rx_vector = virtio_vector(dev, 0);
	net->tx_vector = virtio_vector(dev, 1);
	return virtio_queue_setup(dev, RX_QUEUE, net->config.queue_size, msix ? 0 : -1, &net->rx) &&
	       virtio_queue_setup(dev, TX_QUEUE, net->config.queue_size, msix ? 1 : -1, &net->tx);
}

static void add_rx(struct virtio_net *net, uint32_t i)
{
	uint8_t *frame = net->rx_buffers + i * net->rx_stride + HEADER_ROOM;
	struct ring_segment s[2] = {
		{memory_address(header_of(net, frame)), net->header},
		{memory_address(frame), net->rx_stride - HEADER_ROOM},
	};

	/* The cookie is the buffer's number + 1: it can't be NULL. */
	if (net->split_header) {
		ring_add(&net->rx, s, 0, 2, (void *)(uintptr_t)(i + 1));
	} else {
		s[0].length += s[1].length;
		ring_add(&net->rx, s, 0, 1, (void *)(uintptr_t)(i + 1));
	}
	net->rx_dirty = true;
}

static void allocate_buffers(struct nic *nic)
{
	struct virtio_net *net = net_of(nic);
	uint32_t n_rx = net->rx.size, pieces = MAX(net->config.segments, 1u);

	if (virtio_has(&net->dev, VIRTIO_NET_F_MRG_RXBUF))
		net->rx_stride = net->config.rx_buffer;
	else
		net->rx_stride = net->config.offload_rx ? BIG_BUFFER
							: MAX(PLAIN_BUFFER, net->config.rx_buffer);
	net->rx_stride = (net->rx_stride + 63) & -64;
	if (net->split_header && !net->rx.indirect)
		n_rx /= 2;
	net->rx_buffers = memory_alloc((uint64_t)n_rx * net->rx_stride, 4096);
	for (uint32_t i = 0; i < n_rx; i++)
		add_rx(net, i);

	nic->frame_max = net->config.frame_size;
	nic->n_slots = net->tx.size;
	if (!net->tx.indirect)
		nic->n_slots /= pieces + net->split_header;
	net->tx_stride = (HEADER_ROOM + net->config.frame_size + 63) & -64;
	net->tx_buffers = memory_alloc((uint64_t)nic->n_slots * net->tx_stride, 4096);
	net->tx_free = memory_alloc(nic->n_slots * sizeof(*net->tx_free), 64);
	for (uint32_t i = 0; i < nic->n_slots; i++)
		net->tx_free[net->n_tx_free++] = nic->n_slots - 1 - i;
}

static bool net_open(struct nic *nic, const struct nic_config *config)
{
	struct virtio_net *net = memory_alloc(sizeof(*net), 64);
	struct virtio_device *dev = &net->dev;

	nic->priv = net;
	net->config = *config;
	if (!virtio_open(dev, VIRTIO_ID_NET, config->index, config->transport))
		return nic_refuse(nic, "no-device");
	if (!virtio_negotiate(dev, wanted_features(config)))
		return nic_refuse(nic, "features-refused");
	if (config->offload_tx && !virtio_has(dev, VIRTIO_NET_F_HOST_TSO4))
		return nic_refuse(nic, "no-tso");
	if (config->offload_rx && !virtio_has(dev, VIRTIO_NET_F_GUEST_TSO4))
		return nic_refuse(nic, "no-receive-offload");
	net->header = !dev->legacy || virtio_has(dev, VIRTIO_NET_F_MRG_RXBUF)
			      ? sizeof(struct virtio_net_hdr_mrg_rxbuf)
			      : sizeof(struct virtio_net_hdr);
	net->split_header = dev->legacy && !virtio_has(dev, VIRTIO_F_ANY_LAYOUT);
	if (!set_up_queues(net))
		return nic_refuse(nic, "no-queues");
	for (uint32_t i = 0; i < 6; i++)
		nic->mac[i] = virtio_has(dev, VIRTIO_NET_F_MAC) ? virtio_config8(dev, i)
								: "\x52\x54\x00\x12\x34\x56"[i];
	allocate_buffers(nic);
	virtio_ready(dev);
	ring_publish(&net->rx);
	net->rx_dirty = false;
	return true;
}

static void net_close(struct nic *nic)
{
	virtio_close(&net_of(nic)->dev);
}

static bool net_get(struct nic *nic, struct nic_slot *slot)
{
	struct virtio_net *net = net_of(nic);

	if (!net->n_tx_free)
		return false;
	slot->number = net->tx_free[--net->n_tx_free];
	slot->frame = net->tx_buffers + slot->number * net->tx_stride + HEADER_ROOM;
	return true;
}

static void fill_header(struct virtio_net *net, uint8_t *frame, const struct nic_offload *offload)
{
	struct virtio_net_hdr *h = (void *)header_of(net, frame);

	/* The buffer's header is zero from the start, so without offload there is nothing to do. */
	if (!offload)
		return;
	h->flags = offload->checksum ? VIRTIO_NET_HDR_F_NEEDS_CSUM : 0;
	h->csum_start = offload->csum_start;
	h->csum_offset = offload->csum_offset;
	h->gso_type = offload->gso_size ? VIRTIO_NET_HDR_GSO_TCPV4 : VIRTIO_NET_HDR_GSO_NONE;
	h->gso_size = offload->gso_size;
	h->hdr_len = offload->gso_size ? offload->header : 0;
}

/* Cuts the frame into the configured number of pieces, the header with the first or apart. */
static uint32_t cut(struct virtio_net *net, uint8_t *frame, uint32_t length,
		    struct ring_segment *segments)
{
	uint32_t pieces = MIN(MAX(net->config.segments, 1u), MAX_TX_PIECES), n = 0, at = 0;

	if (net->split_header)
		segments[n++] =
			(struct ring_segment){memory_address(header_of(net, frame)), net->header};
	for (uint32_t i = 0; i < pieces; i++) {
		uint32_t end = (uint64_t)length * (i + 1) / pieces;

		segments[n++] = (struct ring_segment){memory_address(frame + at), end - at};
		at = end;
	}
	if (!net->split_header) {
		segments[0].address -= net->header;
		segments[0].length += net->header;
	}
	return n;
}

static void net_send(struct nic *nic, const struct nic_slot *slot, uint32_t length,
		     const struct nic_offload *offload)
{
	struct virtio_net *net = net_of(nic);
	struct ring_segment segments[MAX_TX_PIECES + 1];
	uint32_t n;

	fill_header(net, slot->frame, offload);
	n = cut(net, slot->frame, length, segments);
	if (!ring_add(&net->tx, segments, n, 0, (void *)(uintptr_t)(slot->number + 1)))
		nic->broken = true;
}

static void net_flush(struct nic *nic)
{
	struct virtio_net *net = net_of(nic);

	ring_publish(&net->tx);
	nic->tx_doorbells = net->tx.n_doorbells;
}

static uint32_t net_reap(struct nic *nic)
{
	struct virtio_net *net = net_of(nic);
	uint32_t n = 0, length;
	void *cookie;

	while ((cookie = ring_take(&net->tx, &length))) {
		net->tx_free[net->n_tx_free++] = (uintptr_t)cookie - 1;
		n++;
	}
	nic->broken |= net->tx.broken;
	return n;
}

static void add_part(struct virtio_net *net, struct nic_frame *frame, void *cookie, uint32_t length,
		     bool first)
{
	uint32_t buffer = (uintptr_t)cookie - 1;
	uint8_t *data = net->rx_buffers + buffer * net->rx_stride + HEADER_ROOM;

	/* A further buffer of a merged frame has no header: data starts where the buffer does. */
	if (first)
		length -= net->header;
	else
		data -= net->header;
	frame->parts[frame->n_parts] = (struct nic_part){data, length};
	frame->buffers[frame->n_parts++] = buffer;
	frame->length += length;
}

static bool net_receive(struct nic *nic, struct nic_frame *frame)
{
	struct virtio_net *net = net_of(nic);
	struct virtio_net_hdr_mrg_rxbuf *h;
	uint32_t length, n_buffers = 1;
	void *cookie = ring_take(&net->rx, &length);

	nic->broken |= net->rx.broken;
	if (!cookie)
		return false;
	frame->n_parts = 0;
	frame->length = 0;
	if (length < net->header) {
		nic->broken = true;
		return false;
	}
	add_part(net, frame, cookie, length, true);
	h = header_of(net, frame->parts[0].data);
	frame->has_checksum = h->hdr.flags;
	frame->gso_size = h->hdr.gso_type ? h->hdr.gso_size : 0;
	if (virtio_has(&net->dev, VIRTIO_NET_F_MRG_RXBUF))
		n_buffers = h->num_buffers;
	for (uint32_t i = 1; i < n_buffers; i++) {
		/* All of a frame's buffers are used at once (section 5.1.6.4). */
		cookie = i < NIC_MAX_PARTS ? ring_take(&net->rx, &length) : NULL;
		if (!cookie) {
			nic->broken = true;
			return false;
		}
		add_part(net, frame, cookie, length, false);
	}
	return true;
}

static void net_release(struct nic *nic, const struct nic_frame *frame)
{
	for (uint32_t i = 0; i < frame->n_parts; i++)
		add_rx(net_of(nic), frame->buffers[i]);
}

static void net_refill(struct nic *nic)
{
	struct virtio_net *net = net_of(nic);

	if (!net->rx_dirty)
		return;
	net->rx_dirty = false;
	ring_publish(&net->rx);
	nic->rx_doorbells = net->rx.n_doorbells;
}

static bool net_wait(struct nic *nic, bool tx, uint64_t timeout_ns)
{
	struct virtio_net *net = net_of(nic);
	struct ring *ring = tx ? &net->tx : &net->rx;
	uint16_t n = tx ? MAX(ring_in_flight(ring) * 3 / 4, 1) : 1;
	bool happened =
		virtio_wait(&net->dev, ring, n, tx ? net->tx_vector : net->rx_vector, timeout_ns);

	nic->interrupts = net->dev.n_interrupts;
	return happened;
}

const struct nic_ops virtio_net_ops = {
	.name = "virtio-net",
	.open = net_open,
	.close = net_close,
	.get = net_get,
	.send = net_send,
	.flush = net_flush,
	.reap = net_reap,
	.receive = net_receive,
	.release = net_release,
	.refill = net_refill,
	.wait = net_wait,
};
