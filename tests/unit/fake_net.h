/*
 * A network back end for tests that lives in memory: what is queued for the guest, what it sent.
 */
#ifndef VIREO_TESTS_FAKE_NET_H
#define VIREO_TESTS_FAKE_NET_H

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "base/iov.h"
#include "net/net.h"

#define FAKE_NET_KEPT 256

/* A frame that was sent. */
struct fake_sent {
	unsigned int queue;
	struct net_hdr hdr; /* zero where the back end has none */
	size_t len;	    /* bytes of data[] */
	uint8_t data[];
};

/* What it gives is `incoming`, what it took is in `sent` and `kept`. With several queues, the first of what
 * comes in is there for its own queue only. */
struct fake_net {
	struct net_backend net; /* first */
	struct net_queue queue, more[NET_QUEUES_MAX - 1];
	unsigned int n_active; /* set_queues() */
	int set_queues_result;
	int fd, more_fd[NET_QUEUES_MAX - 1];
	struct fake_frame {
		struct net_hdr hdr;
		const uint8_t *data;
		size_t len;
		unsigned int queue;
	} incoming[64];
	unsigned int in_first, in_end;
	bool gone, full;	 /* recv() says -ENODEV; send() says -EAGAIN */
	uint8_t sent[128 << 10]; /* the last frame, header first */
	size_t sent_len;
	unsigned int n_sent, pieces_max;
	struct fake_sent *kept[FAKE_NET_KEPT]; /* the first ones, all of each */
	unsigned int offloads;		       /* as set last */
	int set_offloads_result;
};

static inline struct fake_sent *fake_net_keep(const struct net_queue *q, const struct iovec *iov,
					      int n)
{
	size_t len = iov_size(iov, (size_t)n), hdr = q->net->hdr_len;
	struct fake_sent *sent = calloc(1, sizeof(*sent) + len);

	if (!sent || len < hdr)
		abort();
	sent->queue = q->index;
	iov_read(iov, (size_t)n, 0, &sent->hdr, hdr < sizeof(sent->hdr) ? hdr : sizeof(sent->hdr));
	sent->len = iov_read(iov, (size_t)n, hdr, sent->data, len);
	return sent;
}

static inline int fake_send(struct net_queue *q, const struct iovec *iov, int n)
{
	struct fake_net *fake = (struct fake_net *)q->net;

	if (n <= 0 || q->index >= fake->n_active)
		abort();
	if (fake->full) {
		counter_add(&q->counters.tx_blocked, 1);
		return -EAGAIN;
	}
	fake->sent_len = iov_read(iov, (size_t)n, 0, fake->sent, sizeof(fake->sent));
	if (fake->n_sent < FAKE_NET_KEPT)
		fake->kept[fake->n_sent] = fake_net_keep(q, iov, n);
	fake->n_sent++;
	counter_add(&q->counters.tx_packets, 1);
	return 0;
}

static inline ssize_t fake_recv(struct net_queue *q, const struct iovec *iov, int n)
{
	struct fake_net *fake = (struct fake_net *)q->net;
	const struct fake_frame *f = &fake->incoming[fake->in_first % 64];
	size_t hdr = fake->net.hdr_len, len;

	if (n <= 0 || q->index >= fake->n_active)
		abort(); /* a TAP's queue that is detached gives nothing but errors */
	if ((unsigned int)n > fake->pieces_max)
		fake->pieces_max = (unsigned int)n;
	if (fake->gone)
		return -ENODEV;
	if (net_link_is_down(q->net))
		fake->in_first = fake->in_end; /* thrown away */
	if (fake->in_first == fake->in_end || f->queue != q->index)
		return -EAGAIN;
	fake->in_first++;
	/* As a TAP: 10 bytes are written whatever the header's length is. */
	iov_write(iov, (size_t)n, 0, &f->hdr, hdr < 10 ? hdr : 10);
	len = hdr + iov_write(iov, (size_t)n, hdr, f->data, f->len);
	counter_add(&q->counters.rx_packets, 1);
	return (ssize_t)len;
}

static inline int fake_fd(struct net_queue *q)
{
	const struct fake_net *fake = (const struct fake_net *)q->net;

	return q->index ? fake->more_fd[q->index - 1] : fake->fd;
}

static inline int fake_set_offloads(struct net_backend *net, unsigned int offloads,
				    unsigned int hdr_len)
{
	struct fake_net *fake = (struct fake_net *)net;

	if (offloads & ~net->offloads_in || (!net->has_hdr && hdr_len) ||
	    (offloads && !(offloads & NET_OFFLOAD_CSUM)))
		abort(); /* the front end broke the contract */
	if (fake->set_offloads_result)
		return fake->set_offloads_result;
	fake->offloads = offloads;
	net->hdr_len = hdr_len;
	return 0;
}

static inline int fake_set_queues(struct net_backend *net, unsigned int n)
{
	struct fake_net *fake = (struct fake_net *)net;

	if (!n || n > net->n_queues)
		abort();
	if (fake->set_queues_result)
		return fake->set_queues_result;
	fake->n_active = n;
	return 0;
}

static inline int fake_open(struct net_backend *net, struct err *err)
{
	return 0;
}

static inline void fake_close(struct net_backend *net)
{
}

static const struct net_backend_ops fake_ops = {
	.name = "fake",
	.open = fake_open,
	.close = fake_close,
	.send = fake_send,
	.recv = fake_recv,
	.fd = fake_fd,
	.set_offloads = fake_set_offloads,
	.set_queues = fake_set_queues,
};

static inline void fake_net_init(struct fake_net *fake, bool has_hdr, unsigned int offloads)
{
	memset(fake, 0, sizeof(*fake));
	fake->net = (struct net_backend){.ops = &fake_ops,
					 .id = (char *)"n0",
					 .n_queues = 1,
					 .queue = {&fake->queue},
					 .offloads_out = offloads,
					 .offloads_in = offloads,
					 .has_hdr = has_hdr,
					 .frame_max = 1518};
	fake->queue.net = &fake->net;
	fake->n_active = 1;
	fake->fd = eventfd(0, EFD_NONBLOCK);
}

/* Before a device takes it. */
static inline void fake_net_set_queues(struct fake_net *fake, unsigned int n)
{
	fake->net.n_queues = n;
	for (unsigned int i = 1; i < n; i++) {
		fake->more[i - 1] = (struct net_queue){.net = &fake->net, .index = i};
		fake->net.queue[i] = &fake->more[i - 1];
		fake->more_fd[i - 1] = eventfd(0, EFD_NONBLOCK);
	}
	fake->n_active = n;
}

static inline void fake_net_forget_sent(struct fake_net *fake)
{
	for (unsigned int i = 0; i < fake->n_sent && i < FAKE_NET_KEPT; i++) {
		free(fake->kept[i]);
		fake->kept[i] = NULL;
	}
	fake->n_sent = 0;
}

static inline void fake_net_end(struct fake_net *fake)
{
	fake_net_forget_sent(fake);
	close(fake->fd);
	for (unsigned int i = 1; i < fake->net.n_queues; i++)
		close(fake->more_fd[i - 1]);
}

/* Queues a frame for the guest; data must live until it is read. */
static inline void fake_net_incoming(struct fake_net *fake, const struct net_hdr *hdr,
				     const void *data, size_t len)
{
	fake->incoming[fake->in_end++ % 64] =
		(struct fake_frame){.hdr = *hdr, .data = data, .len = len};
}

#endif
