/*
 * Frames whose headers don't fit them, and frames at the limits of what there can be: dropped and
 * counted, nothing of them is sent.
 */
#include "offload_fixture.h"

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

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_lies),
		cmocka_unit_test(test_csum_lies),
		cmocka_unit_test(test_bounds),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
