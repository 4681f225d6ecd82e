/*
 * virtio-net: a send queue. Virtio 1.3 §5.1.6.2.
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
static void tx_take_header(struct vnet_pair *p, struct vnet_tx_frame *frame)
{
	struct iovec *iov = p->tx.iov;
	size_t cut = p->set.hdr_len;

	iov_read(iov + frame->first, frame->n, 0, &frame->hdr,
		 cut < sizeof(frame->hdr) ? cut : sizeof(frame->hdr));
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
static bool tx_pop(struct vnet_pair *p)
{
	struct virtq *q = &p->txq->ring;
	struct vnet_tx *tx = &p->tx;
	struct vnet_tx_frame *frame = &tx->frame[tx->end];
	const bool has_hdr = !p->nq || p->nq->net->has_hdr;
	const unsigned int first = tx->iov_end + !has_hdr;
	struct iovec *iov = tx->iov + first;
	int r = first < VNET_IOV ? virtq_pop(q, &frame->chain, iov, VNET_IOV - first) : -E2BIG;

	if (r == -E2BIG && !tx->iov_end)
		virtq_latch(q, "a frame to be sent of too many pieces");
	if (r <= 0)
		return false;
	if (frame->chain.out_bytes < p->set.hdr_len) {
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
		tx_take_header(p, frame);
	return true;
}

static void tx_clear(struct vnet_tx *tx)
{
	tx->next = tx->end = tx->iov_end = 0;
}

/* The next frame to be sent; NULL: there is none. */
static struct vnet_tx_frame *tx_next(struct vnet_pair *p)
{
	struct vnet_tx *tx = &p->tx;

	if (tx->next == tx->end) {
		tx_clear(tx);
		while (tx->end < VNET_TX_GROUP && tx_pop(p))
			;
		if (p->txq->ring.latched)
			tx_clear(tx);
	}
	return tx->next < tx->end ? &tx->frame[tx->next] : NULL;
}

static int tx_send(struct vnet_pair *p, const struct vnet_tx_frame *frame)
{
	if (!p->nq) {
		counter_add(&p->counters.tx_no_cable, 1);
		return 0;
	}
	if (p->nq->net->has_hdr)
		return p->nq->net->ops->send(p->nq, p->tx.iov + frame->first, (int)frame->n);
	if (frame->n == 1) {
		/* A header and nothing behind it. */
		counter_add(&p->nq->counters.tx_dropped_refused, 1);
		return 0;
	}
	return net_send_frame(p->nq, &frame->hdr, p->tx.iov + frame->first, (int)frame->n);
}

bool vnet_tx_work(struct vnet_pair *p)
{
	struct virtio_queue *queue = p->txq;
	struct vnet_tx *tx = &p->tx;
	const struct vnet_tx_frame *frame;
	bool blocked = tx->blocked;
	int n = 0;

	if (!p->active || (blocked && !tx->writable))
		return false;
	tx->blocked = tx->writable = false;
	while (n < VNET_BATCH && (frame = tx_next(p))) {
		if (tx_send(p, frame) == -EAGAIN) {
			tx->blocked = true;
			break;
		}
		virtq_fill(&queue->ring, &frame->chain, 0);
		tx->next++;
		n++;
	}
	virtq_flush(&queue->ring);
	vnet_coal_flushed(&p->tx_coal, (unsigned int)n);
	if (tx->blocked != blocked) {
		virtio_queue_want_kicks(queue, !tx->blocked);
		vnet_watch(p);
	}
	return n > 0;
}

void vnet_tx_start(struct vnet_pair *p)
{
	virtio_queue_want_kicks(p->txq, p->active);
}

void vnet_tx_activate(struct vnet_pair *p)
{
	virtio_queue_want_kicks(p->txq, p->active && !p->tx.blocked);
}

void vnet_tx_stop(struct vnet_pair *p)
{
	struct vnet_tx *tx = &p->tx;

	virtq_unpop(&p->txq->ring, (uint16_t)(tx->end - tx->next));
	tx_clear(tx);
	tx->blocked = false;
	if (p->nq)
		p->nq->segments_sent = 0; /* the frame that waited may not come again */
	vnet_watch(p);
}
