/*
 * virtio-net with several queue pairs: which queues move frames, where the control queue is, that what
 * it sets reaches every pair; with threads, that neither resets nor commands wait for each other.
 */
#define VNET_PAIRS     3
#define VNET_RING_SIZE 64
#include "vnet_driver.h"

static uint8_t pattern[4096]; /* frames: broadcast */

static struct vdriver *ring(struct vnet_fixture *f, unsigned int index)
{
	return index == 0 ? &f->rx : index == 1 ? &f->tx : &f->more[index - 2];
}

static uint8_t set_pairs(struct vnet_fixture *f, uint16_t n)
{
	return command(f, VIRTIO_NET_CTRL_MQ, VIRTIO_NET_CTRL_MQ_VQ_PAIRS_SET, &n, 2);
}

/* A frame of the driver's on pair i's send queue: does it get out? */
static bool sends(struct vnet_fixture *f, unsigned int i)
{
	unsigned int n = f->fake.n_sent;

	vdriver_add(ring(f, 2 * i + 1), &(struct vdriver_buf){VNET_BUFFERS + 4096, 80, false}, 1);
	assert_true(vnet_step(f));
	assert_true(vnet_sleeps(f));
	if (f->fake.n_sent == n)
		return false;
	assert_int_equal(f->fake.n_sent, n + 1);
	assert_int_equal(f->fake.kept[n]->queue, i);
	return true;
}

/* A frame on the back end's queue i: is it received on pair i? */
static bool receives(struct vnet_fixture *f, unsigned int i)
{
	struct vring_used_elem e;

	vdriver_add(ring(f, 2 * i), &(struct vdriver_buf){VNET_BUFFERS + 8192, 1600, true}, 1);
	f->fake.incoming[f->fake.in_end % 64].queue = i;
	fake_incoming(f, pattern, 100);
	f->fake.incoming[(f->fake.in_end - 1) % 64].queue = i;
	assert_true(vnet_step(f));
	assert_true(vnet_sleeps(f));
	for (unsigned int other = 0; other < VNET_PAIRS; other++)
		if (other != i && ring(f, 2 * other)->mem)
			assert_false(vdriver_take(ring(f, 2 * other), &e));
	if (!vdriver_take(ring(f, 2 * i), &e)) {
		f->fake.in_first = f->fake.in_end;
		return false;
	}
	assert_int_equal(e.len, 112);
	return true;
}

static void test_layout(void **state)
{
	struct err err;
	struct vnet_fixture *f = vnet_fixture_new("netdev=n0,mq=on", true, ALL_OFFLOADS, &err);

	assert_true(f->vn->vdev.features_offered & F(MQ));
	assert_int_equal(f->vn->vdev.n_queues, 2 * VNET_PAIRS + 1);
	assert_int_equal(f->vn->vdev.vectors, 2 * VNET_PAIRS + 2);
	assert_int_equal(virtio_config_read(&f->vn->vdev, 8, 2), VNET_PAIRS);
	assert_int_equal(f->vn->vdev.config_size, 10);
	vnet_fixture_free(f);
	/* without mq=on, or with no control queue to say it by, one pair */
	for (unsigned int i = 0; i < 2; i++) {
		f = vnet_fixture_new(i ? "netdev=n0,mq=on,ctrl_vq=off" : "netdev=n0", true,
				     ALL_OFFLOADS, &err);
		assert_false(f->vn->vdev.features_offered & F(MQ));
		assert_int_equal(f->vn->vdev.n_queues, 3 - i);
		assert_int_equal(f->fake.n_active, 1);
		vnet_fixture_free(f);
	}
}

/* A driver that doesn't take MQ finds its control queue behind the first pair. */
static void no_multi_queue(bool legacy)
{
	struct vnet_fixture *f = start("netdev=n0,mq=on", F(CTRL_VQ) | F(CTRL_RX), legacy);
	uint8_t off = 0;

	assert_int_equal(f->vn->ctrl, VNET_CTRLQ);
	if (!legacy)
		assert_int_equal(f->vn->vdev.queue[2].config.size, VNET_CTRL_SIZE);
	assert_int_equal(command(f, VIRTIO_NET_CTRL_RX, VIRTIO_NET_CTRL_RX_PROMISC, &off, 1), 0);
	assert_true(sends(f, 0));
	assert_int_equal(set_pairs(f, 2), VIRTIO_NET_ERR);
	assert_int_equal(f->fake.n_active, 1);
	vnet_fixture_free(f);
}

static void test_not_negotiated(void **state)
{
	no_multi_queue(false);
	no_multi_queue(true);
}

static void test_pairs_set(void **state)
{
	struct vnet_fixture *f = start("netdev=n0,mq=on", F(CTRL_VQ) | F(MQ), false);

	assert_int_equal(f->vn->ctrl, 2 * VNET_PAIRS);
	assert_int_equal(f->fake.n_active, 1);
	assert_true(sends(f, 0));
	assert_true(receives(f, 0));
	assert_false(sends(f, 1));
	assert_false(receives(f, 2));
	assert_int_equal(set_pairs(f, 0), VIRTIO_NET_ERR);
	assert_int_equal(set_pairs(f, VNET_PAIRS + 1), VIRTIO_NET_ERR);
	assert_int_equal(set_pairs(f, 0xffff), VIRTIO_NET_ERR);
	/* what waited goes out as soon as the pair may send */
	assert_int_equal(set_pairs(f, 3), VIRTIO_NET_OK);
	assert_int_equal(f->fake.n_active, 3);
	assert_int_equal(f->fake.n_sent, 2);
	for (unsigned int i = 0; i < 3; i++) {
		assert_true(sends(f, i));
		assert_true(receives(f, i));
	}
	assert_int_equal(set_pairs(f, 2), VIRTIO_NET_OK);
	assert_int_equal(f->fake.n_active, 2);
	assert_true(receives(f, 1));
	assert_false(sends(f, 2));
	assert_false(receives(f, 2));
	/* a back end that refuses: as before */
	f->fake.set_queues_result = -EBADFD;
	assert_int_equal(set_pairs(f, 3), VIRTIO_NET_ERR);
	assert_int_equal(set_pairs(f, 1), VIRTIO_NET_ERR);
	f->fake.set_queues_result = 0;
	assert_true(receives(f, 1));
	assert_false(receives(f, 2));
	/* a reset leaves one, of a back end that is gone, too */
	f->fake.set_queues_result = -EBADFD;
	virtio_set_status(&f->vn->vdev, 0, false);
	assert_false(f->vn->pair[1].active);
	f->fake.set_queues_result = 0;
	virtio_set_status(&f->vn->vdev, 0, false);
	assert_int_equal(f->fake.n_active, 1);
	assert_false(f->vn->pair[1].active);
	vnet_fixture_free(f);
}

static void test_legacy(void **state)
{
	struct vnet_fixture *f = start("netdev=n0,mq=on", F(CTRL_VQ) | F(MQ) | F(MRG_RXBUF), true);

	assert_int_equal(f->vn->ctrl, 2 * VNET_PAIRS);
	assert_int_equal(set_pairs(f, 3), VIRTIO_NET_OK);
	for (unsigned int i = 0; i < 3; i++) {
		assert_true(sends(f, i));
		assert_true(receives(f, i));
	}
	vnet_fixture_free(f);
}

/* A frame that waits for buffers is dropped when its pair gets out of use, and nothing else is. */
static void test_inactive_while_held(void **state)
{
	struct vnet_fixture *f = start("netdev=n0,mq=on", F(CTRL_VQ) | F(MQ) | F(MRG_RXBUF), false);
	struct vring_used_elem e;

	assert_int_equal(set_pairs(f, 2), VIRTIO_NET_OK);
	vdriver_add(&f->more[0], &(struct vdriver_buf){VNET_BUFFERS + 8192, 100, true}, 1);
	fake_incoming(f, pattern, 300);
	f->fake.incoming[(f->fake.in_end - 1) % 64].queue = 1;
	assert_true(vnet_step(f));
	assert_true(f->vn->pair[1].rx.held);
	assert_int_equal(set_pairs(f, 1), VIRTIO_NET_OK);
	assert_false(f->vn->pair[1].rx.held);
	assert_int_equal(counter_get(&f->vn->pair[1].counters.rx_dropped_reset), 1);
	vdriver_add(&f->more[0], &(struct vdriver_buf){VNET_BUFFERS + 8292, 300, true}, 1);
	assert_true(vnet_step(f));
	assert_true(vnet_sleeps(f));
	assert_int_equal(set_pairs(f, 2), VIRTIO_NET_OK);
	fake_incoming(f, pattern, 50);
	f->fake.incoming[(f->fake.in_end - 1) % 64].queue = 1;
	assert_true(vnet_step(f));
	assert_true(vdriver_take(&f->more[0], &e));
	assert_int_equal(e.id, 0);
	assert_int_equal(e.len, 62);
	vnet_fixture_free(f);
}

/* What the control queue sets is every pair's. */
static void test_settings(void **state)
{
	struct vnet_fixture *f = start("netdev=n0,mq=on",
				       F(CTRL_VQ) | F(MQ) | F(CTRL_RX) | F(CTRL_GUEST_OFFLOADS) |
					       F(GUEST_CSUM) | F(GUEST_TSO4) | F(MRG_RXBUF),
				       false);
	uint64_t offloads = F(GUEST_CSUM);
	uint8_t off = 0;

	pattern[5] = 0x55; /* nobody's group */
	assert_int_equal(set_pairs(f, 3), VIRTIO_NET_OK);
	assert_true(f->vn->pair[2].set.big);
	assert_true(receives(f, 2));
	assert_int_equal(command(f, VIRTIO_NET_CTRL_RX, VIRTIO_NET_CTRL_RX_PROMISC, &off, 1), 0);
	for (unsigned int i = 0; i < 3; i++) {
		assert_false(receives(f, i));
		assert_int_equal(counter_get(&f->vn->pair[i].counters.rx_filtered), 1);
	}
	assert_int_equal(command(f, VIRTIO_NET_CTRL_GUEST_OFFLOADS, 0, &offloads, 8), 0);
	for (unsigned int i = 0; i < 3; i++) {
		assert_false(f->vn->pair[i].set.big);
		assert_true(f->vn->pair[i].set.guest_csum);
	}
	pattern[5] = 0xff;
	vnet_fixture_free(f);
}

/* A driver may enable queues that there are none of without MQ, and kick them. */
static void test_stray_queues(void **state)
{
	struct vnet_fixture *f = start("netdev=n0,mq=on", F(CTRL_VQ), false);

	for (unsigned int i = 3; i < f->vn->vdev.n_queues; i++) {
		struct vdriver *d = &f->more[i - 2];

		vnet_ring_up(f, d, i, 64);
		vdriver_add(d, &(struct vdriver_buf){VNET_BUFFERS, 2, false}, 1);
		assert_true(vnet_step(f));
		assert_true(vnet_sleeps(f));
		assert_int_equal(vdriver_used_idx(d), 0);
	}
	assert_false(virtio_is_latched(&f->vn->vdev));
	vnet_fixture_free(f);
}

/* ---- with threads ---- */

struct worker {
	struct vnet_fixture *f;
	bool stop; /* atomic */
	unsigned int commands;
};

/* The driver's side of the control queue: sets pairs, up and down, as fast as it is answered. */
static void *change_pairs(void *arg)
{
	struct worker *w = arg;
	struct vnet_fixture *f = w->f;

	for (uint16_t n = 1; !__atomic_load_n(&w->stop, __ATOMIC_RELAXED); n = n % VNET_PAIRS + 1) {
		struct vdriver_buf buf[3] = {{VNET_BUFFERS, 2, false},
					     {VNET_BUFFERS + 16, 2, false},
					     {VNET_BUFFERS + 8, 1, true}};
		struct vring_used_elem e;

		at(f, 0)[0] = VIRTIO_NET_CTRL_MQ;
		at(f, 0)[1] = VIRTIO_NET_CTRL_MQ_VQ_PAIRS_SET;
		memcpy(at(f, 16), &n, 2);
		vdriver_add(&f->ctrl, buf, 3);
		eventfd_write(f->vn->vdev.queue[f->vn->ctrl].kick_fd, 1);
		while (!vdriver_take(&f->ctrl, &e) && !__atomic_load_n(&w->stop, __ATOMIC_RELAXED))
			usleep(50);
		w->commands++;
	}
	return NULL;
}

/* Bus mastering goes away and comes back, under the lock as on a vCPU, while commands are under way: if
 * anybody waited for anybody in a circle, this would not end. */
static void test_threads(void **state)
{
	struct vnet_fixture *f =
		vnet_fixture_new("netdev=n0,mq=on,iothread=each", true, ALL_OFFLOADS, NULL);
	struct worker w = {.f = f};
	pthread_t thread;

	for (unsigned int i = 0; i < VNET_PAIRS; i++)
		assert_int_equal(loop_start(f->vn->pair[i].loop, NULL), 0);
	vnet_driver_ok(f, F(CTRL_VQ) | F(MQ), false, 64);
	assert_int_equal(pthread_create(&thread, NULL, change_pairs, &w), 0);
	for (unsigned int i = 0; i < 300; i++) {
		pthread_mutex_lock(&f->device.lock);
		virtio_set_dma(&f->vn->vdev, i % 2);
		pthread_mutex_unlock(&f->device.lock);
		usleep(500);
	}
	__atomic_store_n(&w.stop, true, __ATOMIC_RELAXED);
	pthread_join(thread, NULL);
	assert_true(w.commands > 1);
	virtio_set_status(&f->vn->vdev, 0, false);
	for (unsigned int i = 0; i < VNET_PAIRS; i++)
		loop_join(f->vn->pair[i].loop);
	vnet_fixture_free(f);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_layout),
		cmocka_unit_test(test_not_negotiated),
		cmocka_unit_test(test_pairs_set),
		cmocka_unit_test(test_legacy),
		cmocka_unit_test(test_inactive_while_held),
		cmocka_unit_test(test_settings),
		cmocka_unit_test(test_stray_queues),
		cmocka_unit_test(test_threads),
	};

	memset(pattern, 0xff, 6);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
