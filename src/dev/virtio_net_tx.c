/*
 * virtio-net: the send queue. Virtio 1.3 §5.1.6.2.
 *
 *	pop a group of chains -> for each: one write by the back end, straight from guest memory ->
 * fill
 *	-> after VNET_BATCH frames, or when there are no more, one flush
 *
 * Chains are popped in groups so that the frames' first cache lines, which the guest's processor
 * has written a moment ago, are on their way while the frames before them are sent: see the figures
 * at VNET_TX_GROUP.
 *
 * The header is not looked at: it goes to the back end as it is, and the kernel behind it checks it
 * against the frame. For a back end without a header it is copied out, and net_send_frame() does
 * what it says.
 *
 * A back end that is full keeps the rest of the group waiting; a queue that stops gives it back.
 */
#include <errno.h>

#include "base/iov.h"
#include "dev/virtio_net.h"

/* The back end has no header: takes it out of the frame. In its place is one piece for
 * net_send_frame(). */
static void tx_take_header(struct virtio_net *vn, struct vnet_tx_frame *frame)
{
	struct iovec *iov = vn->tx.iov;
	size_t cut = vn->hdr_len;

	iov_read(iov + frame->first, frame->n, 0, &frame->hdr, cut);
	for (; frame->n && cut >= iov[frame->first].iov_len; frame->n--)
		cut -= iov[frame->first++].iov_len;
	if (frame->n) {
		iov[frame->first].iov_base = (uint8_t *)iov[frame->first].iov_base + cut;
		iov[frame->first].iov_len -= cut;
	}
	frame->first--;
	frame->n++;
}

/* The next chain goes to the end of the group; false: there is none, or none that can be sent. */
static bool tx_pop(struct virtio_net *vn)
{
	struct virtq *q = &vn->vdev.queue[VNET_TXQ].ring;
	struct vnet_tx *tx = &vn->tx;
	struct vnet_tx_frame *frame = &tx->frame[tx->end];
	const bool has_hdr = !vn->net || vn->net->has_hdr;
	const unsigned int first = tx->iov_end + !has_hdr;
	struct iovec *iov = tx->iov + first;
	int r = first < VNET_IOV ? virtq_pop(q, &frame->chain, iov, VNET_IOV - first) : -E2BIG;

	if (r == -E2BIG && !tx->iov_end)
		virtq_latch(q, "a frame to be sent of too many pieces");
	if (r <= 0)
		return false;
	if (frame->chain.out_bytes < vn->hdr_len) {
		virtq_latch(q, "a frame to be sent is shorter than its header");
		return false;
	}
	__builtin_prefetch(iov->iov_base);
	__builtin_prefetch((uint8_t *)iov->iov_base + 64);
	frame->first = first;
	frame->n = frame->chain.n_out;
	tx->iov_end = first + frame->chain.n_out + frame->chain.n_in;
	tx->end++;
	if (!has_hdr)
		tx_take_header(vn, frame);
	return true;
}

static void tx_clear(struct vnet_tx *tx)
{
	tx->next = tx->end = tx->iov_end = 0;
}

/* The next frame to be sent; NULL: there is none. */
static struct vnet_tx_frame *tx_next(struct virtio_net *vn)
{
	struct vnet_tx *tx = &vn->tx;

	if (tx->next == tx->end) {
		tx_clear(tx);
		while (tx->end < VNET_TX_GROUP && tx_pop(vn))
			;
		if (vn->vdev.queue[VNET_TXQ].ring.latched)
			tx_clear(tx);
	}
	return tx->next < tx->end ? &tx->frame[tx->next] : NULL;
}

static int tx_send(struct virtio_net *vn, const struct vnet_tx_frame *frame)
{
	if (!vn->net) {
		counter_add(&vn->counters.tx_no_cable, 1);
		return 0;
	}
	if (vn->net->has_hdr)
		return vn->net->ops->send(vn->nq, vn->tx.iov + frame->first, (int)frame->n);
	if (frame->n == 1) {
		/* A header and nothing behind it. */
		counter_add(&vn->nq->counters.tx_dropped_refused, 1);
		return 0;
	}
	return net_send_frame(vn->nq, &frame->hdr, vn->tx.iov + frame->first, (int)frame->n);
}

bool vnet_tx_work(struct virtio_net *vn)
{
	struct virtio_queue *queue = &vn->vdev.queue[VNET_TXQ];
	struct vnet_tx *tx = &vn->tx;
	const struct vnet_tx_frame *frame;
	bool blocked = tx->blocked;
	int n = 0;

	if (blocked && !tx->writable)
		return false;
	tx->blocked = tx->writable = false;
	while (n < VNET_BATCH && (frame = tx_next(vn))) {
		if (tx_send(vn, frame) == -EAGAIN) {
			tx->blocked = true;
			break;
		}
		virtq_fill(&queue->ring, &frame->chain, 0);
		tx->next++;
		n++;
	}
	virtq_flush(&queue->ring);
	if (tx->blocked != blocked) {
		virtio_queue_want_kicks(queue, !tx->blocked);
		vnet_watch(vn);
	}
	return n > 0;
}

void vnet_tx_stop(struct virtio_net *vn)
{
	struct vnet_tx *tx = &vn->tx;

	virtq_unpop(&vn->vdev.queue[VNET_TXQ].ring, (uint16_t)(tx->end - tx->next));
	tx_clear(tx);
	tx->blocked = false;
	if (vn->nq)
		vn->nq->segments_sent = 0; /* the frame that waited may not come again */
	vnet_watch(vn);
}
