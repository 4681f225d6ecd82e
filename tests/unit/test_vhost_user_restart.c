/*
 * The vhost-user back end and a peer that isn't there yet, dies, or comes again: the link, where
 * the rings go on, what was under way.
 */
#include "vhost_user_fixture.h"

static void test_dies_and_comes(void **state)
{
	struct fixture *f = *state;

	f->peer = vu_peer_new();
	start_with_peer(f, "vhost-user,id=n0,chardev=c0");
	prepare(f, MODERN);
	ring_start(f, 0);
	ring_start(f, 1);
	set_index(f, AVAIL, 100);
	set_index(f, USED, 42);
	peer_dies(f);
	assert_true(net_link_is_down(f->net));
	assert_int_equal(f->carriers, 1);
	assert_int_equal(seen(f->call[0]), 0);
	peer_comes(f);
	assert_false(net_link_is_down(f->net));
	assert_int_equal(f->carriers, 2);
	story_is(f, "1 15 16 17 3 2 5 8 10 9 14 13 12 18 8 10 9 14 13 12 18");
	assert_int_equal(vu_peer_u32(vu_peer_last(f->peer, 10, 1), 4), 42);
	assert_int_equal(vu_peer_u32(vu_peer_last(f->peer, 10, 0), 4), 0);
	/* What the dead one may have swallowed. */
	assert_int_equal(seen(f->kick[0]), 1);
	assert_int_equal(seen(f->call[0]), 1);
	assert_int_equal(counter_of(f, "connects"), 2);
	assert_int_equal(counter_of(f, "disconnects"), 1);
	/* Dies again; the driver resets meanwhile. */
	peer_dies(f);
	set_index(f, USED, 43);
	assert_int_equal(ring_stop(f, 0), 43);
	assert_int_equal(ring_stop(f, 1), 0);
	assert_int_equal(f->net->ops->rings_prepare(f->net, NULL, 0), 0);
	peer_comes(f);
	story_is(f, "1 15 16 17 3");
	prepare(f, MODERN);
	ring_start(f, 0);
	assert_int_equal(vu_peer_u32(vu_peer_last(f->peer, 10, 0), 4), 0);
}

static void test_none_yet(void **state)
{
	struct fixture *f = *state;

	f->peer = vu_peer_new();
	be_server(f); /* wait=off */
	create_or_fail(f, "vhost-user,id=n0,chardev=c0");
	assert_true(net_link_is_down(f->net));
	assert_int_equal(f->net->ring_features, MODERN | 0x30000000 | 1 << 22 | 1 << 15);
	assert_int_equal(f->net->offloads_out, 0);
	prepare(f, MODERN);
	ring_start(f, 0);
	peer_comes(f);
	assert_false(net_link_is_down(f->net));
	story_is(f, "1 15 16 17 3 2 5 8 10 9 14 13 12 18");
}

static void test_lacks_features(void **state)
{
	struct fixture *f = *state;

	f->peer = vu_peer_new();
	start_with_peer(f, "vhost-user,id=n0,chardev=c0");
	prepare(f, MODERN | 1 << 15);
	ring_start(f, 0);
	peer_dies(f);
	f->peer->features &= ~(1ull << 15);
	peer_comes(f);
	assert_true(net_link_is_down(f->net));
	assert_int_equal(counter_of(f, "refused"), 1);
	/* It may agree with a driver that uses less. */
	ring_stop(f, 0);
	assert_int_equal(f->net->ops->rings_prepare(f->net, NULL, 0), 0);
	prepare(f, MODERN);
	ring_start(f, 0);
	vu_peer_end(f->peer);
	f->peer = vu_peer_new();
	f->peer->features &= ~(1ull << 15);
	peer_comes(f);
	user_run(f->loop, 1100); /* after one that was no good there is a pause */
	assert_false(net_link_is_down(f->net));
	ring_stop(f, 0);
	/* And is given up for one that uses more. */
	prepare(f, MODERN | 1 << 15);
	user_run(f->loop, 10);
	assert_true(net_link_is_down(f->net));
	assert_int_equal(counter_of(f, "refused"), 2);
}

static void test_client(void **state)
{
	struct fixture *f = *state;
	int listener;

	f->socket.reconnect_s = 1;
	f->peer = vu_peer_new();
	create_or_fail(f, "vhost-user,id=n0,chardev=c0"); /* nobody there */
	assert_true(net_link_is_down(f->net));
	user_run(f->loop, 1100);
	assert_true(net_link_is_down(f->net));
	listener = listen_there(f);
	vu_peer_start_at(f->peer, listener);
	user_run(f->loop, 1100);
	assert_false(net_link_is_down(f->net));
	peer_dies(f);
	assert_true(net_link_is_down(f->net));
	vu_peer_start_at(f->peer, listener);
	user_run(f->loop, 1100);
	assert_false(net_link_is_down(f->net));
	assert_int_equal(counter_of(f, "connects"), 2);
	close(listener);
	/* Without reconnect= it stays away. */
	f->socket.reconnect_s = 0;
	net_destroy(f->net);
	vu_peer_end(f->peer);
	f->peer = vu_peer_new();
	connect_peer(f);
	create_or_fail(f, "vhost-user,id=n0,chardev=c0");
	peer_dies(f);
	assert_true(net_link_is_down(f->net));
}

static void test_announce(void **state)
{
	static const uint8_t mac[6] = {2, 3, 4, 5, 6, 7};
	struct fixture *f = *state;

	f->peer = vu_peer_new();
	f->peer->protocol |= 1 << 2;
	start_with_peer(f, "vhost-user,id=n0,chardev=c0");
	net_set_mac(f->net, mac, NULL);
	prepare(f, MODERN);
	ring_start(f, 0);
	assert_null(vu_peer_last(f->peer, 19, 0));
	peer_dies(f);
	f->peer->protocol |= 1 << 2;
	peer_comes(f);
	assert_non_null(vu_peer_last(f->peer, 19, 0));
	assert_memory_equal(vu_peer_last(f->peer, 19, 0)->payload, mac, 6);
}

/* ---- the inflight region ---- */

static void test_inflight(void **state)
{
	struct fixture *f = *state;
	/* version 1, 256 entries, ..., used_idx, old_used_idx; the wrap counters */
	uint16_t region[12] = {0, 0, 0, 0, 1, 256, 0, 0, 8, 7, 0x0101};
	const struct vu_peer_msg *m;

	f->peer = vu_peer_new();
	f->peer->protocol |= 1 << 12;
	f->peer->features |= PACKED;
	start_with_peer(f, "vhost-user,id=n0,chardev=c0");
	assert_true(f->net->ring_features & PACKED);
	prepare(f, MODERN | PACKED);
	ring_start(f, 0);
	ring_start(f, 1);
	story_is(f, "1 15 16 17 3 2 5 31 32 8 10 9 14 13 12 18 8 10 9 14 13 12 18");
	assert_int_equal(vu_peer_u32(vu_peer_last(f->peer, 10, 0), 4), 0x80008000);
	m = vu_peer_last(f->peer, 32, 0);
	assert_int_equal(m->size, 24);
	assert_int_equal(vu_peer_u64(m, 0), 64 * 1024);
	assert_int_equal(vu_peer_u32(m, 16), 2 | 1024 << 16);
	assert_int_equal(m->n_fds, 1);
	assert_int_equal(pwrite(m->fd[0], region, sizeof(region), 0), sizeof(region));
	region[9] = 300; /* ring 1's makes no sense */
	assert_int_equal(pwrite(m->fd[0], region, sizeof(region), 32 * 1024), sizeof(region));

	/* The next peer gets the same region, and the position in it; ring 1's nobody knows. */
	peer_dies(f);
	ring_stop(f, 1);
	f->peer->protocol |= 1 << 12;
	f->peer->features |= PACKED;
	peer_comes(f);
	story_is(f, "1 15 16 17 3 2 5 32 8 10 9 14 13 12 18");
	assert_int_equal(vu_peer_u32(vu_peer_last(f->peer, 10, 0), 4), 0x80078007);
	f->peer->base[0] = 0x00090008; /* stopped well: no region needed */
	assert_int_equal(ring_stop(f, 0), 0x00090008);
	ring_start(f, 1);
	/* Cut short, by a peer that means no good. */
	assert_int_equal(ftruncate(vu_peer_last(f->peer, 32, 0)->fd[0], 100), 0);
	peer_dies(f);
	f->peer->protocol |= 1 << 12;
	f->peer->features |= PACKED;
	peer_comes(f);
	assert_true(net_link_is_down(f->net));
	/* A new driver has a new region. */
	ring_stop(f, 1);
	assert_int_equal(f->net->ops->rings_prepare(f->net, NULL, 0), 0);
	prepare(f, MODERN);
	vu_peer_end(f->peer);
	f->peer = vu_peer_new();
	f->peer->protocol |= 1 << 12;
	peer_comes(f);
	user_run(f->loop, 1100);
	assert_non_null(vu_peer_last(f->peer, 31, 0));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(test_dies_and_comes), TEST(test_none_yet), TEST(test_lacks_features),
		TEST(test_client),	   TEST(test_announce), TEST(test_inflight),
	};

	signal(SIGPIPE, SIG_IGN);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
