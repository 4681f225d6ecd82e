/*
 * Frames of all kinds for net_send_frame(): scattered over memory that nobody may write, and a back
 * end in memory that has what arrives checked by offload_packet.h.
 */
#ifndef VIREO_TESTS_OFFLOAD_FIXTURE_H
#define VIREO_TESTS_OFFLOAD_FIXTURE_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <errno.h>

#include "base/iov.h"
#include "offload_packet.h"

#define PIECES_MAX 64

/* ---- the front end's frame: in pieces, each in memory of its own, which nobody may write ---- */

struct pieces {
	struct iovec iov[PIECES_MAX + 1];
	int n;
};

/* All pieces are `size` bytes, the first `first`; what is left over is in the last. */
static inline void scatter(struct pieces *f, const uint8_t *data, size_t len, size_t first,
			   size_t size)
{
	size_t at = 0;

	for (f->n = 1; at < len; f->n++) {
		size_t want = f->n == 1 ? first : size;
		struct iovec *iov = &f->iov[f->n];

		if (f->n == PIECES_MAX || want > len - at)
			want = len - at;
		iov->iov_len = want;
		iov->iov_base = malloc(want);
		memcpy(iov->iov_base, data + at, want);
		at += want;
	}
}

/* Gives them back, after a look whether they are as they were. */
static inline void gather(struct pieces *f, const uint8_t *data)
{
	size_t at = 0;

	for (int i = 1; i < f->n; at += f->iov[i++].iov_len) {
		if (data)
			assert_memory_equal(f->iov[i].iov_base, data + at, f->iov[i].iov_len);
		free(f->iov[i].iov_base);
	}
}

/* ---- a back end in memory ---- */

struct sink {
	struct net_backend net; /* first */
	struct net_queue queue;
	unsigned int room; /* frames that it takes before it is full */
	unsigned int frames;
	struct net_hdr hdr; /* of the last frame */
	size_t len;
	uint8_t frame[NET_FRAME_MAX];
	struct packet_check *check;
	uint8_t whole[NET_FRAME_MAX];
	/* in */
	unsigned int set_offloads, set_hdr_len;
	ssize_t gives; /* recv(): bytes, or -errno */
};

static inline int sink_send(struct net_queue *q, const struct iovec *iov, int n)
{
	struct sink *s = (struct sink *)q->net;
	size_t hdr_len = s->net.hdr_len, len = iov_size(iov, (size_t)n) - hdr_len;

	assert_true(n > 0);
	assert_true(len <= sizeof(s->frame));
	if (!s->room)
		return -EAGAIN;
	s->room--;
	s->frames++;
	memset(&s->hdr, 0, sizeof(s->hdr));
	iov_read(iov, (size_t)n, 0, &s->hdr, hdr_len);
	s->len = iov_read(iov, (size_t)n, hdr_len, s->frame, sizeof(s->frame));
	if (s->check && s->check->p->hdr.gso_type == NET_GSO_UDP)
		packet_check_fragment(s->check, &s->hdr, s->frame, s->len, s->whole);
	else if (s->check)
		packet_check_segment(s->check, &s->hdr, s->frame, s->len);
	return 0;
}

static inline ssize_t sink_recv(struct net_queue *q, const struct iovec *iov, int n)
{
	struct sink *s = (struct sink *)q->net;
	struct net_hdr hdr = {.flags = NET_HDR_NEEDS_CSUM, .csum_start = 34, .num_buffers = 9};

	if (s->gives < 0)
		return s->gives;
	iov_write(iov, (size_t)n, 0, &hdr, q->net->hdr_len);
	iov_write(iov, (size_t)n, q->net->hdr_len, "frame", 5);
	return s->gives;
}

static inline int sink_set_offloads(struct net_backend *net, unsigned int offloads,
				    unsigned int hdr_len)
{
	struct sink *s = (struct sink *)net;

	s->set_offloads = offloads;
	s->set_hdr_len = net->hdr_len = hdr_len;
	return 0;
}

static const struct net_backend_ops sink_ops = {
	.name = "sink",
	.send = sink_send,
	.recv = sink_recv,
	.set_offloads = sink_set_offloads,
};

static inline struct sink *sink_new(unsigned int offloads_out, unsigned int hdr_len)
{
	struct sink *s = calloc(1, sizeof(*s));

	s->net.ops = &sink_ops;
	s->net.has_hdr = hdr_len != 0;
	s->net.hdr_len = hdr_len;
	s->net.offloads_out = offloads_out;
	s->net.n_queues = 1;
	s->net.queue[0] = &s->queue;
	s->queue.net = &s->net;
	s->room = ~0u;
	return s;
}

/* Sends a packet in pieces through s, which is full after every `burst` frames; the result is
 * checked whole. Returns the frames that it became. */
static inline unsigned int send_packet(struct sink *s, const struct packet *p, size_t first,
				       size_t size, unsigned int burst)
{
	struct packet_check check = {
		.p = p, .unit = p->hdr.gso_size, .partial = s->net.offloads_out & NET_OFFLOAD_CSUM};
	size_t whole = p->len - (p->hdr.gso_type == NET_GSO_UDP ? p->l4 : p->payload);
	struct pieces f;
	int r;

	scatter(&f, p->data, p->len, first, size);
	s->check = &check;
	do {
		s->room = burst;
		r = net_send_frame(&s->queue, &p->hdr, f.iov, f.n);
	} while (r == -EAGAIN);
	s->check = NULL;
	gather(&f, p->data);
	assert_int_equal(r, 0);
	if (check.wrong)
		fail_msg("frame %u, %zu bytes: not so: %s", check.frames, s->len, check.wrong);
	assert_int_equal(check.done, whole);
	assert_int_equal(counter_get(&s->queue.counters.tx_dropped_refused), 0);
	assert_int_equal(s->queue.segments_sent, 0);
	return check.frames;
}

static const struct packet_kind kinds[] = {
	{.gso_type = NET_GSO_TCPV4, .payload = 60000},
	{.gso_type = NET_GSO_TCPV4, .tags = 1, .ip_opt = 8, .tcp_opt = 12, .payload = 9000},
	{.gso_type = NET_GSO_TCPV4, .tags = 2, .ip_opt = 40, .tcp_opt = 40, .payload = 4001},
	{.gso_type = NET_GSO_TCPV6, .payload = 60001},
	{.gso_type = NET_GSO_TCPV6, .tags = 1, .ip_opt = 1, .tcp_opt = 12, .payload = 9000},
	{.gso_type = NET_GSO_TCPV6, .ip_opt = 3, .payload = 3000},
	{.gso_type = NET_GSO_UDP_L4, .payload = 50000},
	{.gso_type = NET_GSO_UDP_L4, .ipv6 = true, .tags = 1, .payload = 5001},
	{.gso_type = NET_GSO_UDP, .payload = 60000},
	{.gso_type = NET_GSO_UDP, .tags = 1, .ip_opt = 4, .payload = 3001},
	{.gso_type = NET_GSO_UDP, .ipv6 = true, .payload = 60000},
	{.gso_type = NET_GSO_UDP, .ipv6 = true, .tags = 2, .ip_opt = 2, .payload = 3007},
};
#define N_KINDS (sizeof(kinds) / sizeof(kinds[0]))

#endif
