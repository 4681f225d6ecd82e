/*
 * The vhost-user back end and a peer that answers badly, late or not at all: it is given up, and
 * nobody waits for it longer than a second.
 */
#include "vhost_user_fixture.h"

/* A vCPU doesn't wait for a second; what a busy host adds to that isn't ours. */
#define LIMIT_MS 2500

static uint64_t now_ms(void)
{
	return loop_now_ns() / 1000000;
}

/* While the VM is made. */
static void test_lies_at_first(void **state)
{
	static const uint32_t at[] = {1, 15, 17, 3};
	struct fixture *f = *state;
	uint64_t start = now_ms();

	for (unsigned int lie = PEER_HONEST + 1; lie < PEER_LATE; lie++) {
		for (unsigned int i = 0; i < 4; i++) {
			struct err err;

			if (lie == PEER_NO_FD || (lie == PEER_REFUSES && at[i] != 3))
				continue; /* nothing to see */
			if (lie <= PEER_DRIBBLES && i != lie % 2 * 3)
				continue; /* they take their time */
			f->peer = vu_peer_new();
			f->peer->lie = lie;
			f->peer->lie_at = at[i];
			connect_peer(f);
			start = now_ms();
			if (create(f, "vhost-user,id=n0,chardev=c0", &err))
				fail_msg("lie %u at %u is believed", lie, at[i]);
			if (now_ms() - start > LIMIT_MS)
				fail_msg("lie %u at %u took %d ms", lie, at[i],
					 (int)(now_ms() - start));
			assert_non_null(strstr(err.msg, f->path));
			vu_peer_end(f->peer);
			f->peer = NULL;
		}
	}
}

/* While a driver starts its rings: all of it takes less than a second, and succeeds. */
static void test_lies_later(void **state)
{
	static const uint32_t at[] = {2, 5, 8, 10, 9, 13, 12, 18, 11};
	struct fixture *f = *state;

	for (unsigned int lie = PEER_HONEST + 1; lie < PEER_LIES; lie++) {
		for (unsigned int i = 0; i < sizeof(at) / sizeof(at[0]); i++) {
			uint64_t start;

			if (lie == PEER_NO_FD || (lie == PEER_REFUSES && at[i] == 11))
				continue;
			if ((lie <= PEER_DRIBBLES || lie == PEER_LATE) && i != 2 * (lie % 5))
				continue;
			f->peer = vu_peer_new();
			connect_peer(f);
			create_or_fail(f, "vhost-user,id=n0,chardev=c0,queues=3");
			f->peer->lie_at = lie == PEER_LATE ? 0 : at[i];
			f->peer->lie = lie;
			start = now_ms();
			prepare(f, MODERN);
			for (unsigned int k = 0; k < 6; k++)
				ring_start(f, k);
			for (unsigned int k = 0; k < 6; k++)
				assert_int_equal(ring_stop(f, k), 0);
			if (now_ms() - start > LIMIT_MS)
				fail_msg("lie %u at %u took %d ms", lie, at[i],
					 (int)(now_ms() - start));
			user_run(f->loop, 2);
			if (!net_link_is_down(f->net))
				fail_msg("lie %u at %u is believed", lie, at[i]);
			assert_int_equal(f->carriers, 1);
			f->carriers = 0;
			net_destroy(f->net);
			f->net = NULL;
			vu_peer_end(f->peer);
			f->peer = NULL;
		}
	}
}

/* One that comes back only to be silent: nobody waits for it, and the next one gets its turn. */
static void test_comes_and_is_silent(void **state)
{
	struct fixture *f = *state;
	uint64_t start;

	f->peer = vu_peer_new();
	start_with_peer(f, "vhost-user,id=n0,chardev=c0");
	prepare(f, MODERN);
	ring_start(f, 0);
	peer_dies(f);
	f->peer->lie = PEER_SILENT;
	start = now_ms();
	peer_comes(f);
	ring_stop(f, 0);
	ring_start(f, 0);
	assert_true(now_ms() - start < 500);
	assert_int_equal(counter_of(f, "timeouts"), 0);
	user_run(f->loop, 3000);
	assert_int_equal(counter_of(f, "timeouts"), 1);
	assert_true(net_link_is_down(f->net));
	vu_peer_end(f->peer);
	f->peer = vu_peer_new();
	/* This one says hello, and no more: that is less than a second. */
	f->peer->lie = PEER_SILENT;
	f->peer->lie_at = 2;
	start = now_ms();
	peer_comes(f);
	assert_true(now_ms() - start <
		    500); /* it waits: after one that was no good there is a pause */
	user_run(f->loop, 1000);
	assert_true(now_ms() - start < 1000 + LIMIT_MS);
	assert_int_equal(counter_of(f, "timeouts"), 2);
	vu_peer_end(f->peer);
	f->peer = vu_peer_new();
	peer_comes(f);
	user_run(f->loop, 1100);
	assert_false(net_link_is_down(f->net));
	assert_non_null(vu_peer_last(f->peer, 12, 0));
}

static void test_inflight_lies(void **state)
{
	static const enum vu_peer_lie lies[] = {PEER_FDS, PEER_NO_FD, PEER_SHORT, PEER_CLOSES};
	struct fixture *f = *state;

	for (unsigned int i = 0; i < 4; i++) {
		f->peer = vu_peer_new();
		f->peer->protocol |= 1 << 12;
		f->peer->lie = lies[i];
		f->peer->lie_at = 31;
		connect_peer(f);
		create_or_fail(f, "vhost-user,id=n0,chardev=c0");
		prepare(f, MODERN);
		user_run(f->loop, 2);
		assert_true(net_link_is_down(f->net));
		net_destroy(f->net);
		f->net = NULL;
		vu_peer_end(f->peer);
		f->peer = NULL;
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(test_lies_at_first),
		TEST(test_lies_later),
		TEST(test_comes_and_is_silent),
		TEST(test_inflight_lies),
	};

	signal(SIGPIPE, SIG_IGN);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
