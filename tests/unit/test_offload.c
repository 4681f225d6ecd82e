/*
 * Frames sent through a back end that can do less than the front end asks for: cut into segments
 * and fragments, with the checksums that it doesn't make; each is checked by offload_packet.h.
 * Headers that lie are test_offload_lies.c's; what the host's kernel makes of the segments,
 * test_offload_tap.c's.
 */
#include "offload_fixture.h"

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

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_segments), cmocka_unit_test(test_segments_partial),
		cmocka_unit_test(test_full),	 cmocka_unit_test(test_not_large),
		cmocka_unit_test(test_ecn),	 cmocka_unit_test(test_as_is),
		cmocka_unit_test(test_csum),	 cmocka_unit_test(test_csum_zero),
		cmocka_unit_test(test_recv),	 cmocka_unit_test(test_set_offloads),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
