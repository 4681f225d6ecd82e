/*
 * Frames put together by a NIC: pieces, pulling, VLAN tags, checksums, segmentation offload.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <stdlib.h>
#include <string.h>

#include "base/csum.h"
#include "base/iov.h"
#include "dev/eth_filter.h"
#include "dev/frame.h"
#include "vdriver.h"

#define RAM 0x10000

struct fixture {
	struct mem mem;
	uint8_t *ram;
	struct frame f;
};

static int setup(void **state)
{
	struct fixture *x = calloc(1, sizeof(*x));

	x->ram = vdriver_ram(&x->mem, 0, RAM);
	for (unsigned int i = 0; i < RAM; i++)
		x->ram[i] = (uint8_t)(i * 7 + (i >> 8));
	frame_reset(&x->f);
	*state = x;
	return 0;
}

static int teardown(void **state)
{
	struct fixture *x = *state;

	vdriver_ram_free(&x->mem);
	free(x);
	return 0;
}

/* The frame's bytes; its length is checked. */
static void flat(const struct frame *f, uint8_t *out, size_t len)
{
	assert_false(f->bad);
	assert_int_equal(f->len, len);
	assert_int_equal(iov_size(f->iov + 1, (size_t)f->n - 1), len);
	assert_int_equal(iov_read(f->iov + 1, (size_t)f->n - 1, 0, out, len), len);
}

static void test_pieces(void **state)
{
	struct fixture *x = *state;
	uint8_t out[128];

	frame_add(&x->f, &x->mem, 0x100, 10);
	frame_add(&x->f, &x->mem, 0x10a, 10); /* goes on where the first ends: one piece */
	assert_int_equal(x->f.n, 2);
	frame_add(&x->f, &x->mem, 0x50, 0);
	frame_add(&x->f, &x->mem, 0x300, 5);
	assert_int_equal(x->f.n, 3);
	frame_pad(&x->f, FRAME_MIN);
	flat(&x->f, out, FRAME_MIN);
	assert_memory_equal(out, x->ram + 0x100, 20);
	assert_memory_equal(out + 20, x->ram + 0x300, 5);
	for (int i = 25; i < FRAME_MIN; i++)
		assert_int_equal(out[i], 0);
	frame_pad(&x->f, FRAME_MIN); /* long enough */
	assert_int_equal(x->f.len, FRAME_MIN);
}

static void test_bad(void **state)
{
	struct fixture *x = *state;

	frame_add(&x->f, &x->mem, RAM - 4, 5);
	assert_true(x->f.bad);
	frame_reset(&x->f);
	frame_add(&x->f, &x->mem, UINT64_MAX - 3, 8);
	assert_true(x->f.bad);
	frame_reset(&x->f);
	/* A packet that never ends: too long, or of too many pieces. */
	for (int i = 0; i < 100; i++)
		frame_add(&x->f, &x->mem, (uint64_t)(i & 1) * 0x4000, 0x1000);
	assert_true(x->f.bad);
	assert_true(x->f.n <= FRAME_IOV);
	frame_reset(&x->f);
	for (int i = 0; i < 1000; i++)
		frame_add(&x->f, &x->mem, (uint64_t)(i & 1) * 0x4000, 1);
	assert_true(x->f.bad);
	assert_true(x->f.n <= FRAME_IOV);
	assert_false(frame_pull(&x->f, 1));
	frame_reset(&x->f);
	assert_false(x->f.bad);
	assert_false(frame_pull(&x->f, 1));
}

/* Pulling more and more of a frame of pieces of all sizes never changes it. */
static void test_cut(void **state)
{
	struct fixture *x = *state;
	struct frame *f = &x->f;
	uint8_t out[128], end[8], fcs[FRAME_FCS];

	frame_add(f, &x->mem, 0x100, 50);
	frame_add(f, &x->mem, 0x200, 3);
	frame_add(f, &x->mem, 0x300, 5);
	assert_true(frame_cut(f, 6, end)); /* a piece, and a part of the one in front */
	assert_memory_equal(end, x->ram + 0x202, 1);
	assert_memory_equal(end + 1, x->ram + 0x300, 5);
	assert_int_equal(f->n, 3);
	flat(f, out, 52);
	assert_true(frame_cut(f, 2, NULL)); /* all of one */
	assert_int_equal(f->n, 2);
	flat(f, out, 50);
	assert_memory_equal(out, x->ram + 0x100, 50);
	/* What was pulled is shorter, then. */
	assert_true(frame_pull(f, 50));
	assert_true(frame_cut(f, 10, NULL));
	assert_int_equal(f->pulled, 40);
	frame_add(f, &x->mem, 0x400, 10);
	assert_true(frame_pull(f, 45));
	flat(f, out, 50);
	assert_memory_equal(out, x->ram + 0x100, 40);
	assert_memory_equal(out + 40, x->ram + 0x400, 10);
	/* Nothing would be left. */
	assert_false(frame_cut(f, 50, NULL));
	flat(f, out, 50);
	assert_false(frame_take_fcs(f, fcs)); /* isn't one */
	frame_reset(f);
	frame_add(f, &x->mem, 0x100, 60);
	eth_fcs(eth_crc_le(x->ram + 0x100, 60), end);
	frame_add_host(f, end, FRAME_FCS);
	assert_true(frame_take_fcs(f, fcs));
	assert_memory_equal(fcs, end, FRAME_FCS);
	flat(f, out, 60);
	frame_add(f, &x->mem, RAM, 10);
	assert_false(frame_cut(f, 1, NULL)); /* bad */
}

static void test_pull(void **state)
{
	struct fixture *x = *state;
	uint8_t before[400], after[400];

	srand(1);
	for (int round = 0; round < 300; round++) {
		frame_reset(&x->f);
		while (x->f.len < 300)
			frame_add(&x->f, &x->mem, (uint64_t)rand() % 0x8000,
				  1 + (size_t)rand() % 60);
		flat(&x->f, before, x->f.len);
		for (size_t n = 0; n <= FRAME_HEAD; n += 1 + (size_t)rand() % 70) {
			assert_true(frame_pull(&x->f, n));
			flat(&x->f, after, x->f.len);
			assert_memory_equal(before, after, x->f.len);
			assert_memory_equal(x->f.head, before, n);
		}
		assert_false(frame_pull(&x->f, FRAME_HEAD + 1));
	}
}

static void test_pull_with_no_room(void **state)
{
	struct fixture *x = *state;

	for (int i = 0; i < FRAME_IOV - 1; i++)
		frame_add(&x->f, &x->mem, (uint64_t)(i & 1) * 0x4000 + (uint64_t)i * 8, 4);
	assert_false(x->f.bad);
	assert_int_equal(x->f.n, FRAME_IOV);
	assert_false(frame_pull(&x->f, 2));
	assert_true(x->f.bad);
}

static void test_vlan(void **state)
{
	struct fixture *x = *state;
	struct net_hdr hdr = {.flags = NET_HDR_NEEDS_CSUM, .csum_start = 34, .hdr_len = 54};
	uint8_t out[104];

	for (size_t pulled = 0; pulled <= 60; pulled += 20) {
		frame_reset(&x->f);
		frame_add(&x->f, &x->mem, 0x1000, 100);
		assert_true(frame_pull(&x->f, pulled));
		assert_true(frame_insert_vlan(&x->f, 0x6123, pulled ? NULL : &hdr));
		flat(&x->f, out, 104);
		assert_memory_equal(out, x->ram + 0x1000, 12);
		assert_memory_equal(out + 12, "\x81\x00\x61\x23", 4);
		assert_memory_equal(out + 16, x->ram + 0x100c, 88);
	}
	assert_int_equal(hdr.csum_start, 38);
	assert_int_equal(hdr.hdr_len, 58);
	frame_reset(&x->f);
	frame_add(&x->f, &x->mem, 0, 11);
	assert_false(frame_insert_vlan(&x->f, 1, NULL));
}

static void put16(uint8_t *p, unsigned int v)
{
	p[0] = (uint8_t)(v >> 8);
	p[1] = (uint8_t)v;
}

/* An IPv4 or IPv6 packet of TCP or UDP at ram[0x2000], behind 14 bytes of Ethernet; returns its length. */
static size_t make_packet(struct fixture *x, bool v6, uint8_t protocol, size_t payload)
{
	uint8_t *ip = x->ram + 0x2000 + 14, *l4 = ip + (v6 ? 40 : 20);
	size_t header = protocol == 6 ? 20 : 8;

	memset(ip, 0, 100);
	ip[0] = v6 ? 0x60 : 0x45;
	put16(ip + (v6 ? 4 : 2), (unsigned int)(header + payload + (v6 ? 0 : 20)));
	ip[v6 ? 6 : 9] = protocol;
	for (int i = 0; i < (v6 ? 32 : 8); i++)
		ip[(v6 ? 8 : 12) + i] = (uint8_t)(i * 31 + 1);
	put16(l4, 1000);
	put16(l4 + 2, 2000);
	if (protocol == 6)
		l4[12] = 0x50;
	else
		put16(l4 + 4, (unsigned int)(header + payload));
	return (size_t)(l4 - (x->ram + 0x2000)) + header + payload;
}

/* What a receiver's sum over pseudo-header and segment gives: 0xffff if all is well. */
static uint16_t receiver_sum(const uint8_t *frame, size_t len, bool v6, uint8_t protocol)
{
	const uint8_t *ip = frame + 14;
	size_t l4 = v6 ? 54 : 34;
	uint8_t rest[4] = {0, protocol, (uint8_t)((len - l4) >> 8), (uint8_t)(len - l4)};
	uint64_t sum = csum_add(0, ip + (v6 ? 8 : 12), v6 ? 32 : 8);

	sum = csum_add(csum_fold(sum), rest, 4);
	return csum_fold(csum_add(csum_fold(sum), frame + l4, len - l4));
}

static void test_l4_csum(void **state)
{
	struct fixture *x = *state;
	uint8_t out[2000];

	for (int tcp = 0; tcp < 2; tcp++) {
		uint8_t protocol = tcp ? 6 : 17;
		size_t len = make_packet(x, false, protocol, 333);
		struct net_hdr hdr = {0};

		frame_reset(&x->f);
		frame_add(&x->f, &x->mem, 0x2000, len);
		assert_true(frame_want_l4_csum(&x->f, 14, protocol, &hdr));
		assert_int_equal(hdr.flags, NET_HDR_NEEDS_CSUM);
		assert_int_equal(hdr.csum_start, 34);
		assert_int_equal(hdr.csum_offset, tcp ? 16 : 6);
		/* What the back end then does. */
		assert_true(frame_insert_csum(&x->f, 34, 34u + hdr.csum_offset, 0));
		flat(&x->f, out, len);
		assert_int_equal(receiver_sum(out, len, false, protocol), 0xffff);
		/* Of the other kind, a fragment, no IPv4. */
		frame_reset(&x->f);
		frame_add(&x->f, &x->mem, 0x2000, len);
		assert_false(frame_want_l4_csum(&x->f, 14, tcp ? 17 : 6, &hdr));
		x->ram[0x2000 + 14 + 6] = 0x20;
		frame_reset(&x->f);
		frame_add(&x->f, &x->mem, 0x2000, len);
		assert_false(frame_want_l4_csum(&x->f, 14, protocol, &hdr));
		assert_false(frame_want_l4_csum(&x->f, 250, protocol, &hdr));
	}
}

/* Padding isn't summed up, whatever is in it. */
static void test_l4_csum_padded(void **state)
{
	struct fixture *x = *state;
	size_t len = make_packet(x, false, 17, 1);
	struct net_hdr hdr = {0};
	uint8_t out[FRAME_MIN];

	frame_add(&x->f, &x->mem, 0x2000, len);
	frame_add(&x->f, &x->mem, 0x700, FRAME_MIN - len);
	assert_true(frame_want_l4_csum(&x->f, 14, 17, &hdr));
	assert_int_equal(hdr.flags, 0);
	flat(&x->f, out, FRAME_MIN);
	assert_int_equal(receiver_sum(out, len, false, 17), 0xffff);
}

static void test_tso(void **state)
{
	struct fixture *x = *state;

	for (int v6 = 0; v6 < 2; v6++) {
		size_t l4 = v6 ? 54 : 34, header = l4 + 20, len = make_packet(x, v6, 6, 5000);
		struct net_hdr hdr = {0};
		uint8_t out[6000];

		put16(x->ram + 0x2000 + 14 + (v6 ? 4 : 2), 0); /* as drivers leave them */
		frame_reset(&x->f);
		frame_add(&x->f, &x->mem, 0x2000, len);
		assert_true(frame_want_tso(&x->f, 14, l4, header, 1448, &hdr));
		assert_int_equal(hdr.gso_type, v6 ? NET_GSO_TCPV6 : NET_GSO_TCPV4);
		assert_int_equal(hdr.gso_size, 1448);
		assert_int_equal(hdr.hdr_len, header);
		assert_int_equal(hdr.csum_start, l4);
		assert_int_equal(hdr.csum_offset, 16);
		flat(&x->f, out, len);
		if (!v6)
			assert_int_equal(csum_fold(csum_add(0, out + 14, 20)), 0xffff);
		assert_int_equal(out[14 + (v6 ? 4 : 2)] << 8 | out[14 + (v6 ? 5 : 3)],
				 len - 14 - (v6 ? 40 : 0));
		assert_true(frame_insert_csum(&x->f, l4, l4 + 16, 0));
		flat(&x->f, out, len);
		assert_int_equal(receiver_sum(out, len, v6, 6), 0xffff);

		/* What fits into one segment isn't cut. */
		memset(&hdr, 0, sizeof(hdr));
		frame_reset(&x->f);
		frame_add(&x->f, &x->mem, 0x2000, len);
		assert_true(frame_want_tso(&x->f, 14, l4, header, 5000, &hdr));
		assert_int_equal(hdr.gso_type, NET_GSO_NONE);
		assert_int_equal(hdr.flags, NET_HDR_NEEDS_CSUM);

		assert_false(frame_want_tso(&x->f, 14, l4, header, 0, &hdr));
		assert_false(frame_want_tso(&x->f, 14, l4, len, 1448, &hdr));
		assert_false(frame_want_tso(&x->f, 14, l4, l4 + 19, 1448, &hdr));
		assert_false(frame_want_tso(&x->f, 14, 15, header, 1448, &hdr));
		assert_false(frame_want_tso(&x->f, 14, l4, FRAME_HEAD + 1, 1448, &hdr));
		assert_false(frame_want_tso(&x->f, SIZE_MAX - 20, SIZE_MAX, header, 1448, &hdr));
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_pieces, setup, teardown),
		cmocka_unit_test_setup_teardown(test_bad, setup, teardown),
		cmocka_unit_test_setup_teardown(test_cut, setup, teardown),
		cmocka_unit_test_setup_teardown(test_pull, setup, teardown),
		cmocka_unit_test_setup_teardown(test_pull_with_no_room, setup, teardown),
		cmocka_unit_test_setup_teardown(test_vlan, setup, teardown),
		cmocka_unit_test_setup_teardown(test_l4_csum, setup, teardown),
		cmocka_unit_test_setup_teardown(test_l4_csum_padded, setup, teardown),
		cmocka_unit_test_setup_teardown(test_tso, setup, teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
