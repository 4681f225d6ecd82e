/*
 * The vhost-user back end and a peer that does as it should: agreeing, memory and rings, several
 * queues. A peer that comes and goes is test_vhost_user_restart.c's, one that lies
 * test_vhost_user_lies.c's.
 */
#include "vhost_user_fixture.h"

/* ---- agreeing ---- */

static void test_agree(void **state)
{
	struct fixture *f = *state;
	json_t *info = json_object();

	f->peer = vu_peer_new();
	f->peer->features |= PACKED | 1ull << 33 | 1 << 26;
	f->peer->protocol |= 1 << 5 | 1 << 10; /* requests by the peer: not taken */
	start_with_peer(f, "vhost-user,id=n0,chardev=c0");
	assert_true(f->net->rings_only);
	assert_true(f->net->has_hdr);
	assert_null(f->net->ops->send);
	assert_false(net_link_is_down(f->net));
	/* VERSION_1, EVENT_IDX, INDIRECT, MQ, MRG_RXBUF, HOST_TSO4, both CSUMs: no packed rings, no IOMMU. */
	assert_int_equal(f->net->ring_features, MODERN | 0x30000000 | 1 << 22 | 0x8803);
	assert_int_equal(f->net->offloads_out, NET_OFFLOAD_CSUM | NET_OFFLOAD_TSO4);
	assert_int_equal(f->net->offloads_in, NET_OFFLOAD_CSUM);
	story_is(f, "1 15 16 17 3");
	assert_int_equal(vu_peer_u64(vu_peer_last(f->peer, 16, 0), 0), 1 << 0 | 1 << 3);
	assert_int_equal(vu_peer_last(f->peer, 16, 0)->flags, 1);
	assert_int_equal(vu_peer_last(f->peer, 3, 0)->flags, 1 | 8);
	net_info(f->net, info);
	assert_true(json_is_true(json_object_get(info, "peer")));
	assert_int_equal(json_integer_value(json_object_get(info, "peer-queues")), 8);
	assert_int_equal(json_array_size(json_object_get(info, "peer-protocol")), 2);
	json_decref(info);
	assert_int_equal(counter_of(f, "connects"), 1);
	assert_int_equal(counter_of(f, "requests"), 5);
}

static void test_plain_peer(void **state)
{
	struct fixture *f = *state;

	f->peer = vu_peer_new();
	f->peer->features = MODERN;
	start_with_peer(f, "vhost-user,id=n0,chardev=c0");
	story_is(f, "1 3");
	assert_int_equal(f->net->ring_features, MODERN);
	prepare(f, MODERN);
	ring_start(f, 0);
	ring_stop(f, 0); /* its answer tells that all before it has arrived */
	story_is(f, "1 3 2 5 8 10 9 14 13 12 11"); /* no ENABLE there */
	assert_int_equal(vu_peer_last(f->peer, 8, 0)->flags, 1);
	assert_int_equal(vu_peer_u64(vu_peer_last(f->peer, 2, 0), 0), MODERN);
}

static void test_config(void **state)
{
	struct fixture *f = *state;

	f->peer = vu_peer_new();
	f->peer->protocol |= 1 << 9;
	f->peer->features |= 1 << 16;
	f->peer->config_status = 0; /* its own link is down */
	start_with_peer(f, "vhost-user,id=n0,chardev=c0");
	story_is(f, "1 15 16 17 24 3");
	assert_true(net_link_is_down(f->net));
	peer_dies(f);
	f->peer->protocol |= 1 << 9;
	f->peer->features |= 1 << 16;
	f->peer->config_status = 1;
	peer_comes(f);
	assert_false(net_link_is_down(f->net));
}

static void test_options(void **state)
{
	struct fixture *f = *state;

	refused(f, "vhost-user,id=n0", -EINVAL, "chardev=ID");
	refused(f, "vhost-user,id=n0,chardev=c1", -ENOENT, "'c1'");
	refused(f, "vhost-user,id=n0,chardev=c0,queues=17", -ERANGE, "queues");
	refused(f, "vhost-user,id=n0,chardev=c0,queues=0", -ERANGE, "queues");
	refused(f, "vhost-user,id=n0,chardev=c0,vhostforce=off", -EINVAL, "no other way");
	f->host.socket = NULL;
	refused(f, "vhost-user,id=n0,chardev=c0", -ENOTSUP, "character devices");
}

/* ---- rings ---- */

static void test_rings(void **state)
{
	struct fixture *f = *state;
	const struct vu_peer_msg *m;

	f->peer = vu_peer_new();
	start_with_peer(f, "vhost-user,id=n0,chardev=c0");
	assert_int_equal(f->net->ops->rings_prepare(f->net, &f->mem, MODERN | 1 << 7), -EINVAL);
	prepare(f, MODERN | 1 << 15);
	ring_start(f, 0);
	ring_start(f, 1);
	story_is(f, "1 15 16 17 3 2 5 8 10 9 14 13 12 18 8 10 9 14 13 12 18");
	assert_int_equal(vu_peer_u64(vu_peer_last(f->peer, 2, 0), 0), MODERN | 1 << 15 | 1 << 30);

	m = vu_peer_last(f->peer, 5, 0);
	assert_int_equal(m->size, 8 + 2 * 32);
	assert_int_equal(vu_peer_u32(m, 0), 2);
	assert_int_equal(m->n_fds, 2);
	assert_int_equal(vu_peer_u64(m, 8), 0);
	assert_int_equal(vu_peer_u64(m, 16), 4 * MiB);
	assert_int_equal(vu_peer_u64(m, 24), (uintptr_t)f->mem.range[0].hva);
	assert_int_equal(vu_peer_u64(m, 40), HIGH);
	assert_int_equal(vu_peer_u64(m, 40 + 24), 4 * MiB);

	m = vu_peer_last(f->peer, 8, 0);
	assert_int_equal(vu_peer_u32(m, 0), 1);
	assert_int_equal(vu_peer_u32(m, 4), 256);
	assert_int_equal(vu_peer_u32(vu_peer_last(f->peer, 10, 0), 4), 0);
	m = vu_peer_last(f->peer, 9, 0);
	assert_int_equal(m->size, 40);
	assert_int_equal(vu_peer_u64(m, 8), (uintptr_t)f->mem.range[0].hva + DESC + 0x1000);
	assert_int_equal(vu_peer_u64(m, 16), (uintptr_t)f->mem.range[0].hva + USED + 0x1000);
	assert_int_equal(vu_peer_u64(m, 24), (uintptr_t)f->mem.range[0].hva + AVAIL + 0x1000);

	/* The eventfds are those of ring 0. */
	m = vu_peer_last(f->peer, 12, 1);
	assert_int_equal(vu_peer_u64(m, 0), 0);
	eventfd_write(m->fd[0], 5);
	assert_int_equal(seen(f->kick[0]), 5);
	eventfd_write(vu_peer_last(f->peer, 13, 1)->fd[0], 6);
	assert_int_equal(seen(f->call[0]), 6);
	assert_int_equal(vu_peer_u32(vu_peer_last(f->peer, 18, 0), 4), 1);

	/* An interrupt that goes elsewhere, and nowhere. */
	f->net->ops->ring_set_call(f->net->queue[0], NET_RING_TX, f->call[5]);
	m = vu_peer_last(f->peer, 13, 0);
	assert_int_equal(vu_peer_u64(m, 0), 1);
	eventfd_write(m->fd[0], 7);
	assert_int_equal(seen(f->call[5]), 7);
	f->net->ops->ring_set_call(f->net->queue[0], NET_RING_TX, -1);
	m = vu_peer_last(f->peer, 13, 0);
	assert_int_equal(vu_peer_u64(m, 0), 1 | 1 << 8);
	assert_int_equal(m->n_fds, 0);
}

static void test_stop_and_go(void **state)
{
	struct fixture *f = *state;
	struct net_ring ring;

	f->peer = vu_peer_new();
	start_with_peer(f, "vhost-user,id=n0,chardev=c0");
	prepare(f, MODERN);
	ring_start(f, 0);
	set_index(f, AVAIL, 80);
	set_index(f, USED, 77);
	f->peer->base[0] = 77;
	assert_int_equal(ring_stop(f, 0), 77);
	/* Bus mastering comes back, say: where it was, whatever the used ring says. */
	ring = a_ring(f, 0);
	ring.position = 77;
	assert_int_equal(f->net->ops->ring_start(f->net->queue[0], NET_RING_RX, &ring), 0);
	assert_int_equal(vu_peer_u32(vu_peer_last(f->peer, 10, 0), 4), 77);
	/* A position that can't be: the used ring's is taken. */
	f->peer->base[0] = 81;
	assert_int_equal(ring_stop(f, 0), 77);
	user_run(f->loop, 10);
	assert_false(net_link_is_down(f->net));
	assert_int_equal(f->carriers, 0);
}

static void test_ring_errors(void **state)
{
	struct fixture *f = *state;
	struct net_ring ring = a_ring(f, 0);
	struct net_queue *q;

	f->peer = vu_peer_new();
	start_with_peer(f, "vhost-user,id=n0,chardev=c0");
	q = f->net->queue[0];
	assert_int_equal(f->net->ops->ring_start(q, NET_RING_RX, &ring), -EINVAL); /* no memory */
	prepare(f, MODERN);
	ring.used = 4 * MiB - 64;
	assert_int_equal(f->net->ops->ring_start(q, NET_RING_RX, &ring), -EFAULT);
	ring = a_ring(f, 0);
	ring.desc = UINT64_MAX - 7;
	assert_int_equal(f->net->ops->ring_start(q, NET_RING_RX, &ring), -EFAULT);
	ring_start(f, 0);
	ring = a_ring(f, 0);
	assert_int_equal(f->net->ops->ring_start(q, NET_RING_RX, &ring), -EINVAL); /* twice */
	/* The peer finds fault with it: counted, and no more. */
	eventfd_write(vu_peer_last(f->peer, 14, 0)->fd[0], 1);
	user_run(f->loop, 10);
	assert_int_equal(counter_of(f, "ring-errors"), 1);
	assert_false(net_link_is_down(f->net));
}

static void test_memory_slots(void **state)
{
	struct fixture *f = *state;
	const struct vu_peer_msg *m;

	f->peer = vu_peer_new();
	f->peer->protocol |= 1 << 15 | 1 << 16;
	start_with_peer(f, "vhost-user,id=n0,chardev=c0");
	prepare(f, MODERN);
	ring_start(f, 0);
	ring_stop(f, 0);
	assert_int_equal(f->net->ops->rings_prepare(f->net, NULL, 0), 0);
	/* Status: FEATURES_OK, DRIVER_OK, reset. */
	story_is(f, "1 15 16 17 36 3 2 37 37 39 8 10 9 14 13 12 18 39 11 39 38 38");
	m = vu_peer_last(f->peer, 37, 0);
	assert_int_equal(m->size, 40);
	assert_int_equal(m->n_fds, 1);
	assert_int_equal(vu_peer_u64(m, 8), HIGH);
	assert_int_equal(vu_peer_last(f->peer, 38, 0)->n_fds, 0);
	assert_int_equal(vu_peer_u64(vu_peer_last(f->peer, 39, 1), 0), 1 | 2 | 8 | 4);
	assert_int_equal(vu_peer_u64(vu_peer_last(f->peer, 39, 0), 0), 0);
	/* The driver again. */
	prepare(f, MODERN);
	assert_int_equal(vu_peer_last(f->peer, 39, 0)->payload[0], 1 | 2 | 8);
}

static void test_few_slots(void **state)
{
	struct fixture *f = *state;

	f->peer = vu_peer_new();
	f->peer->protocol |= 1 << 15;
	f->peer->slots = 2;
	connect_peer(f);
	refused(f, "vhost-user,id=n0,chardev=c0", -ENOTSUP, "too few ranges");
}

static void test_queues(void **state)
{
	struct fixture *f = *state;
	unsigned int n;

	f->peer = vu_peer_new();
	start_with_peer(f, "vhost-user,id=n0,chardev=c0,queues=3");
	assert_int_equal(f->net->n_queues, 3);
	prepare(f, MODERN | 1 << 22);
	for (unsigned int i = 0; i < 6; i++)
		ring_start(f, i);
	/* The first pair alone, until the driver asks for more. */
	assert_int_equal(vu_peer_u32(vu_peer_last(f->peer, 18, 0), 4), 0);
	assert_int_equal(vu_peer_u32(vu_peer_last(f->peer, 18, 4), 4), 1);
	assert_int_equal(f->net->ops->set_queues(f->net, 2), 0);
	assert_int_equal(vu_peer_u64(vu_peer_last(f->peer, 18, 5), 0), 1ull << 32);
	assert_int_equal(vu_peer_u64(vu_peer_last(f->peer, 18, 2), 0), 3 | 1ull << 32);
	assert_int_equal(vu_peer_u64(vu_peer_last(f->peer, 18, 1), 0), 4);
	n = f->peer->n;
	assert_int_equal(f->net->ops->set_queues(f->net, 2), 0);
	assert_int_equal(f->peer->n, n);
	assert_int_equal(f->net->ops->set_queues(f->net, 4), -EINVAL);
	assert_int_equal(f->net->ops->set_queues(f->net, 0), -EINVAL);
}

/* A peer hears of all rings before the first one starts, if the driver knows of several pairs. */
static void test_rings_are_named(void **state)
{
	struct fixture *f = *state;

	f->peer = vu_peer_new();
	start_with_peer(f, "vhost-user,id=n0,chardev=c0,queues=2");
	prepare(f, MODERN);
	story_is(f, "1 15 16 17 3 2 5");
	prepare(f, MODERN | 1 << 22);
	story_is(f, "1 15 16 17 3 2 5 2 5 13 13");
	assert_int_equal(vu_peer_u64(vu_peer_last(f->peer, 13, 1), 0), 2 | 1 << 8);
	assert_int_equal(vu_peer_u64(vu_peer_last(f->peer, 13, 0), 0), 3 | 1 << 8);
	ring_start(f, 2);
	ring_start(f, 3);
	ring_stop(f, 3); /* its answer tells that all before it has arrived */
	assert_int_equal(vu_peer_u64(vu_peer_last(f->peer, 13, 0), 0), 3);
}

static void test_few_queues(void **state)
{
	struct fixture *f = *state;

	f->peer = vu_peer_new();
	f->peer->queues = 1;
	connect_peer(f);
	refused(f, "vhost-user,id=n0,chardev=c0,queues=2", -ENOTSUP, "fewer queues");
	vu_peer_end(f->peer);
	f->peer = vu_peer_new();
	f->peer->protocol = 0;
	connect_peer(f);
	refused(f, "vhost-user,id=n0,chardev=c0,queues=2", -ENOTSUP, "fewer queues");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(test_agree),	TEST(test_plain_peer),	 TEST(test_config),
		TEST(test_options),	TEST(test_rings),	 TEST(test_stop_and_go),
		TEST(test_ring_errors), TEST(test_memory_slots), TEST(test_few_slots),
		TEST(test_queues),	TEST(test_few_queues),	 TEST(test_rings_are_named),
	};

	signal(SIGPIPE, SIG_IGN);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
