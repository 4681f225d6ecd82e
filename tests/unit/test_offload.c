/*
 * Frames sent through back ends that can do less than the front end asks for: one in memory, whose
 * frames are checked by offload_packet.h, and a TAP in a namespace of this test's own, where the
 * host's kernel checks them: it drops what has a wrong checksum, and puts together what was cut.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <arpa/inet.h>
#include <cmocka.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <sched.h>
#include <stdio.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/iov.h"
#include "offload_packet.h"

#define PIECES_MAX 64

static const char *why_not; /* there is no TAP */

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

static int sink_send(struct net_queue *q, const struct iovec *iov, int n)
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

static ssize_t sink_recv(struct net_queue *q, const struct iovec *iov, int n)
{
	struct sink *s = (struct sink *)q->net;
	struct net_hdr hdr = {.flags = NET_HDR_NEEDS_CSUM, .csum_start = 34, .num_buffers = 9};

	if (s->gives < 0)
		return s->gives;
	iov_write(iov, (size_t)n, 0, &hdr, q->net->hdr_len);
	iov_write(iov, (size_t)n, q->net->hdr_len, "frame", 5);
	return s->gives;
}

static int sink_set_offloads(struct net_backend *net, unsigned int offloads, unsigned int hdr_len)
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

static struct sink *sink_new(unsigned int offloads_out, unsigned int hdr_len)
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

/* ---- the front end's frame: in pieces, each in memory of its own, which nobody may write ---- */

struct pieces {
	struct iovec iov[PIECES_MAX + 1];
	int n;
};

/* All pieces are `size` bytes, the first `first`; what is left over is in the last. */
static void scatter(struct pieces *f, const uint8_t *data, size_t len, size_t first, size_t size)
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
static void gather(struct pieces *f, const uint8_t *data)
{
	size_t at = 0;

	for (int i = 1; i < f->n; at += f->iov[i++].iov_len) {
		if (data)
			assert_memory_equal(f->iov[i].iov_base, data + at, f->iov[i].iov_len);
		free(f->iov[i].iov_base);
	}
}

/* Sends a packet in pieces through s, which is full after every `burst` frames; the result is
 * checked whole. Returns the frames that it became. */
static unsigned int send_packet(struct sink *s, const struct packet *p, size_t first, size_t size,
				unsigned int burst)
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

static void test_segments(void **state)
{
	static const uint16_t sizes[] = {1448, 536, 1461, 65, 2999, 40000};
	static const size_t cuts[][2] = {{4096, 4096}, {1, 1}, {54, 1500}, {13, 777}, {65536, 1}};

	for (size_t k = 0; k < N_KINDS; k++) {
		for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
			struct packet p;
			size_t cut;

			packet_make(&p, &kinds[k], sizes[i]);
			if (p.len - p.payload <= sizes[i]) {
				free(p.data);
				continue; /* fits: the test after the next */
			}
			for (cut = 0; cut < sizeof(cuts) / sizeof(cuts[0]); cut++) {
				struct sink *s = sink_new(0, cut % 2 ? 0 : 10);

				send_packet(s, &p, cuts[cut][0], cuts[cut][1], ~0u);
				free(s);
			}
			free(p.data);
		}
	}
}

/* Checksums are left to a back end that takes them; of a datagram in fragments they can't be. */
static void test_segments_partial(void **state)
{
	for (size_t k = 0; k < N_KINDS; k++) {
		struct sink *s = sink_new(NET_OFFLOAD_CSUM, 12);
		struct packet p;
		unsigned int n;

		packet_make(&p, &kinds[k], 1000);
		n = send_packet(s, &p, 100, 3000, ~0u);
		assert_int_equal(n, s->frames);
		assert_in_range(n, 3, 61);
		free(p.data);
		free(s);
	}
}

/* Full after every frame, or every few: nothing is lost, nothing is sent twice. */
static void test_full(void **state)
{
	for (size_t k = 0; k < N_KINDS; k++) {
		for (unsigned int burst = 1; burst < 5; burst++) {
			struct sink *s = sink_new(0, 10);
			struct packet p;

			packet_make(&p, &kinds[k], 1448);
			s->queue.fragment_id = ~0u;
			send_packet(s, &p, 2048, 2048, burst);
			send_packet(s, &p, 2048, 2048, burst);
			assert_int_equal(
				s->queue.fragment_id,
				p.hdr.gso_type == NET_GSO_UDP && p.ipv6 ? 1 : s->queue.fragment_id);
			free(p.data);
			free(s);
		}
	}
}

/* A frame that says it is large, and isn't: of one segment, or none. */
static void test_not_large(void **state)
{
	static const unsigned int payloads[] = {0, 1, 999, 1000};

	for (size_t k = 0; k < N_KINDS; k++) {
		for (size_t i = 0; i < 4; i++) {
			struct packet_kind kind = kinds[k];
			struct sink *s = sink_new(i & 1 ? NET_OFFLOAD_CSUM : 0, 10);
			struct packet_check check = {.unit = 1000, .partial = i & 1};
			struct packet p;
			struct pieces f;

			kind.payload = payloads[i];
			packet_make(&p, &kind, 1008);
			scatter(&f, p.data, p.len, 20, 20);
			assert_int_equal(net_send_frame(&s->queue, &p.hdr, f.iov, f.n), 0);
			assert_int_equal(s->frames, 1);
			assert_int_equal(s->len, p.len);
			check.p = &p;
			packet_check_csum(&check, &s->hdr, s->frame, s->len);
			assert_null(check.wrong);
			gather(&f, p.data);
			free(p.data);
			free(s);
		}
	}
}

/* ECN alone is what the back end lacks: the segments are as in RFC 3168 §6.1.2, for any of TSO. */
static void test_ecn(void **state)
{
	struct sink *s = sink_new(NET_OFFLOAD_CSUM | NET_OFFLOAD_TSO4, 10);
	struct packet p;
	struct pieces f;

	packet_make(&p, &kinds[0], 1448);
	scatter(&f, p.data, p.len, 4096, 4096);
	assert_int_equal(net_send_frame(&s->queue, &p.hdr, f.iov, f.n), 0);
	assert_int_equal(s->frames, 1);
	assert_int_equal(s->len, p.len);
	gather(&f, p.data);
	p.hdr.gso_type |= NET_GSO_ECN;
	assert_int_equal(send_packet(s, &p, 4096, 4096, ~0u), 42);
	s->net.offloads_out |= NET_OFFLOAD_ECN;
	scatter(&f, p.data, p.len, 4096, 4096);
	assert_int_equal(net_send_frame(&s->queue, &p.hdr, f.iov, f.n), 0);
	assert_int_equal(s->hdr.gso_type, NET_GSO_TCPV4 | NET_GSO_ECN);
	gather(&f, p.data);
	free(p.data);
	free(s);
}

/* What the back end takes is left alone: one send, the caller's pieces, the header in front. */
static void test_as_is(void **state)
{
	static const unsigned int all = NET_OFFLOAD_CSUM | NET_OFFLOAD_TSO4 | NET_OFFLOAD_TSO6 |
					NET_OFFLOAD_ECN | NET_OFFLOAD_UFO | NET_OFFLOAD_USO;
	struct net_hdr none = {0};

	for (size_t k = 0; k < N_KINDS; k++) {
		struct sink *s = sink_new(all, 12);
		struct packet p;
		struct pieces f;

		packet_make(&p, &kinds[k], 1448);
		scatter(&f, p.data, p.len, 1000, 2000);
		p.hdr.num_buffers = 7;
		p.hdr.flags |= NET_HDR_DATA_VALID;
		assert_int_equal(net_send_frame(&s->queue, &p.hdr, f.iov, f.n), 0);
		p.hdr.num_buffers = 0;
		p.hdr.flags = NET_HDR_NEEDS_CSUM;
		assert_int_equal(s->frames, 1);
		assert_int_equal(s->len, p.len);
		assert_memory_equal(s->frame, p.data, p.len);
		assert_memory_equal(&s->hdr, &p.hdr, sizeof(p.hdr));

		assert_int_equal(net_send_frame(&s->queue, NULL, f.iov, f.n), 0);
		assert_memory_equal(&s->hdr, &none, sizeof(none));
		s->net.hdr_len = 0;
		assert_int_equal(net_send_frame(&s->queue, NULL, f.iov, f.n), 0);
		assert_int_equal(s->len, p.len);
		s->room = 0;
		assert_int_equal(net_send_frame(&s->queue, NULL, f.iov, f.n), -EAGAIN);
		gather(&f, p.data);
		free(p.data);
		free(s);
	}
}

/* A checksum over any range, in the memory of a copy, with what the field held. */
static void test_csum(void **state)
{
	uint8_t data[1000];

	for (size_t i = 0; i < sizeof(data); i++)
		data[i] = (uint8_t)(i * 11 + (i >> 8));
	for (unsigned int round = 0; round < 300; round++) {
		struct sink *s = sink_new(0, round & 1 ? 12 : 0);
		struct net_hdr hdr = {.flags = NET_HDR_NEEDS_CSUM};
		size_t at, len = 60 + (size_t)rand() % 940;
		struct pieces f;

		hdr.csum_start = (uint16_t)(rand() % 58);
		hdr.csum_offset = (uint16_t)(rand() % (59 - hdr.csum_start)) & 0xfffe;
		at = (size_t)hdr.csum_start + hdr.csum_offset;
		scatter(&f, data, len, (size_t)rand() % 70 + 1, (size_t)rand() % 50 + 1);
		assert_int_equal(net_send_frame(&s->queue, &hdr, f.iov, f.n), 0);
		assert_int_equal(s->len, len);
		assert_int_equal(s->hdr.flags, 0);
		assert_int_equal(
			packet_get(s->frame + at, 2),
			(uint16_t)~packet_sum(0, data + hdr.csum_start, len - hdr.csum_start));
		/* and nothing else has changed */
		memcpy(s->frame + at, data + at, 2);
		assert_memory_equal(s->frame, data, len);
		gather(&f, data);

		/* the same in place */
		scatter(&f, data, len, 33, 40);
		assert_true(net_complete_csum(&hdr, f.iov + 1, f.n - 1));
		iov_read(f.iov + 1, (size_t)f.n - 1, 0, s->frame, len);
		assert_int_equal(
			packet_get(s->frame + at, 2),
			(uint16_t)~packet_sum(0, data + hdr.csum_start, len - hdr.csum_start));
		gather(&f, NULL);
		free(s);
	}
}

/* A sum that comes out as 0 is sent as 0xffff: in UDP, 0 says that there is none (RFC 768). */
static void test_csum_zero(void **state)
{
	struct sink *s = sink_new(0, 0);
	uint8_t data[64] = {[0] = 1, [36] = 0xff, [37] = 0xff};
	struct net_hdr hdr = {.flags = NET_HDR_NEEDS_CSUM, .csum_start = 34, .csum_offset = 6};
	struct pieces f;

	scatter(&f, data, sizeof(data), 30, 30);
	assert_int_equal(net_send_frame(&s->queue, &hdr, f.iov, f.n), 0);
	assert_int_equal(packet_get(s->frame + 40, 2), 0xffff);
	gather(&f, data);
	free(s);
}

/* ---- headers that don't fit ---- */

static void lie(const struct packet *p, const char *what, unsigned int offloads_out)
{
	struct sink *s = sink_new(offloads_out, 10);
	struct pieces f;

	scatter(&f, p->data, p->len, 64, 1000);
	s->queue.segments_sent = 0;
	assert_int_equal(net_send_frame(&s->queue, &p->hdr, f.iov, f.n), 0);
	if (s->frames || counter_get(&s->queue.counters.tx_dropped_refused) != 1)
		fail_msg("%s: %u frames were sent", what, s->frames);
	gather(&f, p->data);
	free(s);
}

#define LIE(k, mss, ...)                                 \
	do {                                             \
		struct packet p;                         \
		packet_make(&p, &kinds[k], mss);         \
		uint8_t *d = p.data;                     \
		struct net_hdr *h = &p.hdr;              \
		(void)d;                                 \
		(void)h;                                 \
		__VA_ARGS__;                             \
		lie(&p, #__VA_ARGS__, 0);                \
		lie(&p, #__VA_ARGS__, NET_OFFLOAD_CSUM); \
		free(p.data);                            \
	} while (0)

static void test_lies(void **state)
{
	LIE(0, 0, );
	LIE(0, 1448, h->gso_type = 2);
	LIE(0, 1448, h->gso_type = 6);
	LIE(0, 1448, h->gso_type = 0x7f);
	LIE(0, 1448, h->gso_type = NET_GSO_ECN);
	LIE(0, 1448, h->gso_type = NET_GSO_TCPV6);
	LIE(0, 1448, h->gso_type = NET_GSO_UDP);
	LIE(0, 1448, h->gso_type = NET_GSO_UDP_L4);
	LIE(3, 1448, h->gso_type = NET_GSO_TCPV4);
	LIE(8, 1448, h->gso_type = NET_GSO_TCPV4);
	LIE(0, 1448, h->flags = 0);
	LIE(0, 1448, h->csum_start = 0);
	LIE(0, 1448, h->csum_start++);
	LIE(0, 1448, h->csum_start = 65535);
	LIE(0, 1448, h->csum_offset = 6);
	LIE(0, 1448, h->csum_offset = 65535);
	LIE(8, 1448, h->csum_offset = 16);
	LIE(0, 40, ); /* 1500 segments */
	LIE(6, 1, );
	LIE(8, 7, );				  /* fragments of 0 bytes */
	LIE(8, 8, );				  /* 7501 of them */
	LIE(0, 1448, d[12] = 9);		  /* not IP */
	LIE(0, 1448, d[13] = 0xdd, d[12] = 0x86); /* not IPv4 */
	LIE(0, 1448, d[14] = 0x65);
	LIE(0, 1448, d[14] = 0x44);
	LIE(0, 1448, d[14] = 0x46);
	LIE(0, 1448, d[14 + 9] = 17);
	LIE(0, 1448, d[14 + 6] = 0x20); /* a fragment */
	LIE(0, 1448, d[14 + 7] = 1);
	LIE(0, 1448, d[34 + 12] = 0x40);	/* a TCP header of 16 bytes */
	LIE(1, 1448, memset(d + 12, 0x81, 20)); /* tags without end */
	LIE(3, 1448, d[14] = 0x40);
	LIE(3, 1448, d[14 + 6] = 0); /* extension headers that aren't there */
	LIE(3, 1448, d[14 + 6] = 51);
	LIE(5, 1448, d[14 + 41] = 255); /* one that ends out of the frame */
	LIE(0, 1448, p.len = 53);	/* cut in the headers */
	LIE(0, 1448, p.len = 20);
	LIE(0, 1448, p.len = 13);
	LIE(0, 1448, p.len = 1);
	LIE(3, 1448, p.len = 50);
	LIE(3, 1448, p.len = 73);
	LIE(8, 1448, p.len = 41);
}

static void test_csum_lies(void **state)
{
	static const uint16_t at[][2] = {{59, 0},	 {0, 59},   {60, 0},
					 {65535, 65535}, {30, 300}, {255, 0}};
	struct sink *s = sink_new(0, 0);
	uint8_t data[300] = {0};
	struct pieces f;

	for (size_t i = 0; i < sizeof(at) / sizeof(at[0]); i++) {
		struct net_hdr hdr = {NET_HDR_NEEDS_CSUM, .csum_start = at[i][0],
				      .csum_offset = at[i][1]};
		bool long_one = at[i][0] == 255; /* in the frame, but not in what is copied */

		scatter(&f, data, long_one ? 300 : 60, 50, 50);
		assert_int_equal(net_send_frame(&s->queue, &hdr, f.iov, f.n), 0);
		assert_int_equal(counter_get(&s->queue.counters.tx_dropped_refused), i + 1);
		assert_int_equal(net_complete_csum(&hdr, f.iov + 1, f.n - 1), long_one);
		hdr.flags = 0;
		assert_true(net_complete_csum(&hdr, f.iov + 1, f.n - 1));
		gather(&f, NULL);
	}
	assert_int_equal(s->frames, 0);
	free(s);
}

/* The limits of what there can be: pieces, bytes, segments. */
static void test_bounds(void **state)
{
	static struct iovec iov[1100];
	struct sink *s = sink_new(0, 10);
	struct packet p;
	struct packet_kind kind = kinds[0];
	uint8_t *longer = calloc(1, NET_FRAME_MAX + 1);

	/* 1365 segments of 48 bytes, each with all its pieces */
	kind.payload = 65480;
	packet_make(&p, &kind, 48);
	assert_int_equal(send_packet(s, &p, 54, 1100, ~0u), 1365);

	/* more pieces than a system call takes: headers, and a payload byte by byte */
	iov[1] = (struct iovec){p.data, 60};
	for (int i = 2; i < 1100; i++)
		iov[i] = (struct iovec){p.data + 58 + i, 1};
	p.hdr.gso_type = 0;
	assert_int_equal(net_send_frame(&s->queue, &p.hdr, iov, 1100), 0);
	assert_int_equal(counter_get(&s->queue.counters.tx_dropped_refused), 1);
	p.hdr.gso_type = NET_GSO_TCPV4;
	p.hdr.gso_size = 1060;
	assert_int_equal(net_send_frame(&s->queue, &p.hdr, iov, 1100), 0);
	assert_int_equal(counter_get(&s->queue.counters.tx_dropped_refused), 2);
	p.hdr.gso_size = 1000; /* but a segment has few enough */
	assert_int_equal(net_send_frame(&s->queue, &p.hdr, iov, 1100), 0);
	assert_int_equal(counter_get(&s->queue.counters.tx_dropped_refused), 2);
	p.hdr.gso_type = NET_GSO_UDP;
	p.hdr.csum_offset = 6;
	p.data[14 + 9] = 17;
	p.hdr.gso_size = 1060;
	assert_int_equal(net_send_frame(&s->queue, &p.hdr, iov, 1100), 0);
	assert_int_equal(counter_get(&s->queue.counters.tx_dropped_refused), 3);

	/* a frame that is too long */
	memcpy(longer, p.data, 100);
	iov[1] = (struct iovec){longer, NET_FRAME_MAX + 1};
	assert_int_equal(net_send_frame(&s->queue, &p.hdr, iov, 2), 0);
	p.hdr.gso_type = 0;
	assert_int_equal(net_send_frame(&s->queue, &p.hdr, iov, 2), 0);
	assert_int_equal(counter_get(&s->queue.counters.tx_dropped_refused), 5);
	free(longer);
	free(p.data);
	free(s);
}

/* ---- receive, and set-up ---- */

static void test_recv(void **state)
{
	struct sink *s = sink_new(0, 10);
	struct net_hdr hdr;
	uint8_t buf[16];
	struct iovec iov[2] = {{0}, {buf, sizeof(buf)}};

	s->gives = 15;
	assert_int_equal(net_recv_frame(&s->queue, &hdr, iov, 2), 5);
	assert_memory_equal(buf, "frame", 5);
	assert_int_equal(hdr.flags, NET_HDR_NEEDS_CSUM);
	assert_int_equal(hdr.csum_start, 34);
	assert_int_equal(hdr.num_buffers, 0);
	s->gives = 9; /* shorter than the header */
	assert_int_equal(net_recv_frame(&s->queue, &hdr, iov, 2), -EINVAL);
	assert_int_equal(counter_get(&s->queue.counters.rx_dropped_error), 1);
	s->gives = -EAGAIN;
	assert_int_equal(net_recv_frame(&s->queue, &hdr, iov, 2), -EAGAIN);
	s->gives = -ENODEV;
	assert_int_equal(net_recv_frame(&s->queue, &hdr, iov, 2), -ENODEV);
	s->net.hdr_len = 0;
	s->gives = 5;
	hdr.flags = 0xff;
	assert_int_equal(net_recv_frame(&s->queue, &hdr, iov, 2), 5);
	assert_int_equal(hdr.flags, 0);
	free(s);
}

static void test_set_offloads(void **state)
{
	struct sink *s = sink_new(0, 10);

	s->net.offloads_in = NET_OFFLOAD_CSUM | NET_OFFLOAD_TSO4;
	assert_int_equal(net_set_frame_offloads(&s->net, NET_OFFLOAD_CSUM | NET_OFFLOAD_TSO6), 0);
	assert_int_equal(s->set_offloads, NET_OFFLOAD_CSUM);
	assert_int_equal(s->set_hdr_len, 10);
	assert_int_equal(net_set_frame_offloads(&s->net, NET_OFFLOAD_TSO4), 0);
	assert_int_equal(s->set_offloads, 0);
	s->net.offloads_in = 0;
	s->net.has_hdr = false;
	assert_int_equal(net_set_frame_offloads(&s->net, ~0u), 0);
	assert_int_equal(s->set_offloads, 0);
	assert_int_equal(s->set_hdr_len, 0);
	free(s);
}

/* ---- the kernel's opinion ---- */

/* An interface without a header, with a neighbour that is this test. NULL: it can't be made. */
static struct net_backend *tap_new(void)
{
	static const char *const commands[] = {
		"ip link set vt0 address 02:00:00:00:00:01",
		"ip link set vt0 up",
		"ip addr add 10.0.0.1/24 dev vt0",
		"ip addr add fd00::1/64 dev vt0 nodad",
		"ip neigh add 10.0.0.2 lladdr 52:54:00:00:00:02 dev vt0",
		"ip neigh add fd00::2 lladdr 52:54:00:00:00:02 dev vt0",
	};
	struct opt_list list;
	struct err err = {0};
	struct net_backend *net;

	assert_int_equal(
		opt_parse(&list, "-netdev", "tap,id=n0,ifname=vt0,vnet_hdr=off", "type", &err), 0);
	opt_take(&list, "type");
	opt_take(&list, "id");
	net = net_create(NULL, "tap", "n0", &list, &err);
	if (!net)
		fail_msg("%s", err.msg);
	opt_free(&list);
	for (size_t i = 0; i < sizeof(commands) / sizeof(commands[0]); i++) {
		char line[128];

		snprintf(line, sizeof(line), "%s 2>/dev/null", commands[i]);
		if (system(line)) {
			print_message("skipped: \"%s\" failed\n", commands[i]);
			net_destroy(net);
			return NULL;
		}
	}
	assert_int_equal(net_set_frame_offloads(net, ~0u), 0);
	assert_int_equal(net->hdr_len, 0);
	return net;
}

/* A socket of the kernel's at the address that packets go to. */
static int server(const struct packet *p)
{
	struct sockaddr_in6 in6 = {.sin6_family = AF_INET6, .sin6_port = htons(5001)};
	struct sockaddr_in in = {.sin_family = AF_INET, .sin_port = htons(5001)};
	int type = p->tcp ? SOCK_STREAM : SOCK_DGRAM, one = 1, room = 1 << 20;
	int s = socket(p->ipv6 ? AF_INET6 : AF_INET, type | SOCK_NONBLOCK, 0);

	assert_true(s >= 0);
	setsockopt(s, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one));
	setsockopt(s, SOL_SOCKET, SO_RCVBUF, &room, sizeof(room));
	assert_int_equal(bind(s, p->ipv6 ? (struct sockaddr *)&in6 : (struct sockaddr *)&in,
			      p->ipv6 ? sizeof(in6) : sizeof(in)),
			 0);
	if (p->tcp)
		assert_int_equal(listen(s, 1), 0);
	return s;
}

static void wait_readable(int fd)
{
	struct pollfd pfd = {fd, POLLIN, 0};

	assert_int_equal(poll(&pfd, 1, 50000), 1);
}

static void tap_send_packet(struct net_backend *net, const struct packet *p)
{
	struct pieces f;

	scatter(&f, p->data, p->len, 40, 4096);
	assert_int_equal(net_send_frame(net->queue[0], &p->hdr, f.iov, f.n), 0);
	gather(&f, p->data);
}

/* Reads what is to be p's payload, in datagrams of `size` bytes (0: a stream). */
static void expect_payload(int s, const struct packet *p, size_t size)
{
	static uint8_t buf[NET_FRAME_MAX];
	size_t at = p->payload;

	while (at < p->len) {
		ssize_t r;

		wait_readable(s);
		r = recv(s, buf, sizeof(buf), 0);
		assert_true(r > 0 && (size_t)r <= p->len - at);
		if (size)
			assert_int_equal(r, size < p->len - at ? size : p->len - at);
		assert_memory_equal(buf, p->data + at, (size_t)r);
		at += (size_t)r;
	}
}

static void check_udp(struct net_backend *net, const struct packet_kind *kind)
{
	struct packet p;
	int s;

	packet_make(&p, kind, kind->gso_type == NET_GSO_UDP ? 1400 : 1448);
	s = server(&p);
	/* twice: fragments of one must not be taken for the other's */
	for (int i = 0; i < 2; i++) {
		tap_send_packet(net, &p);
		expect_payload(s, &p, kind->gso_type == NET_GSO_UDP ? kind->payload : 1448);
		if (!p.ipv6)
			packet_put(p.data + p.l3 + 4, 2, 0x100);
	}
	free(p.data);
	close(s);
}

/* A segment without payload: SYN, or the ACK that ends the handshake. */
static void send_control(struct net_backend *net, const struct packet_kind *kind, uint8_t flags,
			 uint32_t sequence, uint32_t ack)
{
	struct packet_kind empty = *kind;
	struct packet p;

	empty.payload = 0;
	packet_make(&p, &empty, 0);
	p.hdr.gso_type = NET_GSO_NONE;
	packet_put(p.data + p.l4 + 4, 4, sequence);
	packet_put(p.data + p.l4 + 8, 4, ack);
	p.data[p.l4 + 13] = flags;
	packet_put(p.data + p.l4 + 14, 2, 65535);
	tap_send_packet(net, &p);
	free(p.data);
}

/* Reads from the interface until the kernel answers a SYN; returns its sequence number. */
static uint32_t syn_ack(struct net_backend *net, const struct packet *p)
{
	for (;;) {
		uint8_t buf[2048];
		struct iovec iov[2] = {{0}, {buf, sizeof(buf)}};
		struct net_hdr hdr;
		ssize_t r;

		wait_readable(net->ops->fd(net->queue[0]));
		r = net_recv_frame(net->queue[0], &hdr, iov, 2);
		if (r >= 54 && packet_get(buf + 12, 2) == packet_get(p->data + 12, 2) &&
		    buf[p->l3 + (p->ipv6 ? 6 : 9)] == 6 && buf[p->l4 + 13] == 0x12)
			return packet_get(buf + p->l4 + 4, 4);
	}
}

static void check_tcp(struct net_backend *net, const struct packet_kind *kind)
{
	struct packet p;
	uint32_t sequence, ack;
	uint8_t byte;
	int s, c;

	packet_make(&p, kind, 1448);
	s = server(&p);
	sequence = packet_get(p.data + p.l4 + 4, 4);
	send_control(net, kind, 0x02, sequence - 1, 0);
	ack = syn_ack(net, &p) + 1;
	send_control(net, kind, 0x10, sequence, ack);
	packet_put(p.data + p.l4 + 8, 4, ack);
	packet_put(p.data + p.l4 + 14, 2, 65535);
	tap_send_packet(net, &p);
	wait_readable(s);
	c = accept(s, NULL, NULL);
	assert_true(c >= 0);
	expect_payload(c, &p, 0);
	wait_readable(c);
	assert_int_equal(recv(c, &byte, 1, 0), 0); /* FIN, once, at the end */
	free(p.data);
	close(c);
	close(s);
}

static void test_kernel(void **state)
{
	static const struct packet_kind tcp4 = {.gso_type = NET_GSO_TCPV4, .payload = 60000};
	static const struct packet_kind tcp6 = {.gso_type = NET_GSO_TCPV6, .payload = 59999};
	static const struct packet_kind udp[] = {
		{.gso_type = NET_GSO_UDP_L4, .payload = 50000},
		{.gso_type = NET_GSO_UDP_L4, .ipv6 = true, .payload = 50001},
		{.gso_type = NET_GSO_UDP, .payload = 60000},
		{.gso_type = NET_GSO_UDP, .ip_opt = 4, .payload = 5001},
		{.gso_type = NET_GSO_UDP, .ipv6 = true, .payload = 60000},
		{.gso_type = NET_GSO_UDP, .ipv6 = true, .ip_opt = 1, .payload = 5001},
	};
	struct net_backend *net = why_not ? NULL : tap_new();

	if (!net)
		skip();
	check_tcp(net, &tcp4);
	check_tcp(net, &tcp6);
	for (size_t i = 0; i < sizeof(udp) / sizeof(udp[0]); i++)
		check_udp(net, &udp[i]);
	assert_int_equal(counter_get(&net->queue[0]->counters.tx_dropped_refused), 0);
	net_destroy(net);
}

int main(void)
{
	static char reason[128];
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_segments),     cmocka_unit_test(test_segments_partial),
		cmocka_unit_test(test_full),	     cmocka_unit_test(test_not_large),
		cmocka_unit_test(test_ecn),	     cmocka_unit_test(test_as_is),
		cmocka_unit_test(test_csum),	     cmocka_unit_test(test_csum_zero),
		cmocka_unit_test(test_lies),	     cmocka_unit_test(test_csum_lies),
		cmocka_unit_test(test_bounds),	     cmocka_unit_test(test_recv),
		cmocka_unit_test(test_set_offloads), cmocka_unit_test(test_kernel),
	};

	if (unshare(CLONE_NEWNET)) {
		snprintf(reason, sizeof(reason),
			 "a network namespace can't be made: %s (run as root)", strerror(errno));
		why_not = reason;
	} else if (access("/dev/net/tun", R_OK | W_OK)) {
		snprintf(reason, sizeof(reason), "/dev/net/tun: %s", strerror(errno));
		why_not = reason;
	}
	if (why_not)
		print_message("skipping what needs a TAP: %s\n", why_not);

	return cmocka_run_group_tests(tests, NULL, NULL);
}
