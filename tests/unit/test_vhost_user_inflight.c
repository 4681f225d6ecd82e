/*
 * The vhost-user back end and a peer's inflight region: it has as many entries as the longest ring of the card, for
 * a peer writes at the index of a descriptor ("Inflight I/O tracking": "equal to the virtqueue size").
 */
#include <signal.h>

#include "vhost_user_fixture.h"

#define INFLIGHT (1u << 12)

static void meet(struct fixture *f)
{
	f->peer = vu_peer_new();
	f->peer->protocol |= INFLIGHT;
	start_with_peer(f, "vhost-user,id=n0,chardev=c0");
}

static int start_ring(struct fixture *f, uint16_t size)
{
	const struct net_ring ring = {.size = size,
				      .desc = 1 * MiB,
				      .avail = 2 * MiB,
				      .used = 3 * MiB,
				      .position = UINT32_MAX,
				      .kick_fd = f->kick[0],
				      .call_fd = f->call[0]};

	return f->net->ops->ring_start(f->net->queue[0], NET_RING_RX, &ring);
}

static unsigned int entries(struct fixture *f, uint32_t request)
{
	const struct vu_peer_msg *m = vu_peer_last(f->peer, request, 0);

	assert_non_null(m);
	assert_int_equal(vu_peer_u32(m, 16) & 0xffff, 2); /* rings */
	return vu_peer_u32(m, 16) >> 16;
}

/* Each time that a driver negotiates, and whatever it makes of what it is offered. */
static void test_size(void **state)
{
	static const uint16_t sizes[] = {64, 256, 1024, 4096, 32768};
	struct fixture *f = *state;

	meet(f);
	for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
		f->net->ring_size_max = sizes[i];
		prepare(f, MODERN);
		assert_int_equal(start_ring(f, sizes[i]), 0);
		ring_stop(f, 0);
		assert_int_equal(entries(f, 31), sizes[i]);
		assert_int_equal(entries(f, 32), sizes[i]);
	}
}

/* Where a front end doesn't say, no ring is longer than the region. */
static void test_not_said(void **state)
{
	struct fixture *f = *state;

	meet(f);
	prepare(f, MODERN);
	assert_int_equal(start_ring(f, 2048), -E2BIG);
	assert_int_equal(start_ring(f, 1024), 0);
	assert_int_equal(entries(f, 32), 1024);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(test_size),
		TEST(test_not_said),
	};

	signal(SIGPIPE, SIG_IGN); /* as vireo's main() does */
	return cmocka_run_group_tests(tests, NULL, NULL);
}
