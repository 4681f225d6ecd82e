/*
 * virtio-net's notification coalescing: when interrupts come, by number and by time, on a loop that runs.
 */
#define VNET_PAIRS     2
#define VNET_RING_SIZE 64
#include "vnet_driver.h"

#define FEATURES \
	(F(CTRL_VQ) | F(MQ) | F(NOTF_COAL) | F(VQ_NOTF_COAL) | F(GUEST_ANNOUNCE) | F(STATUS))
#define FOREVER 1000000000 /* us: no test waits so long */

static uint8_t pattern[100];

static struct vnet_fixture *start_pairs(uint64_t features)
{
	return start("netdev=n0,mq=on", features, false);
}

static uint8_t set(struct vnet_fixture *f, uint8_t what, uint32_t packets, uint32_t usecs)
{
	const uint32_t data[2] = {packets, usecs};

	return command(f, VIRTIO_NET_CTRL_NOTF_COAL, what, data, sizeof(data));
}

static uint8_t set_queue(struct vnet_fixture *f, uint16_t index, uint32_t packets, uint32_t usecs)
{
	const struct {
		uint16_t index, reserved;
		uint32_t packets, usecs;
	} data = {index, 0xffff, packets, usecs};

	return command(f, VIRTIO_NET_CTRL_NOTF_COAL, VIRTIO_NET_CTRL_NOTF_COAL_VQ_SET, &data,
		       sizeof(data));
}

static void check_queue(struct vnet_fixture *f, uint16_t index, uint32_t packets, uint32_t usecs)
{
	const uint16_t data[2] = {index, 0};
	uint32_t got[2];

	assert_int_equal(command_more(f, VIRTIO_NET_CTRL_NOTF_COAL,
				      VIRTIO_NET_CTRL_NOTF_COAL_VQ_GET, data, sizeof(data), 8),
			 VIRTIO_NET_OK);
	memcpy(got, at(f, 9), 8);
	assert_int_equal(got[0], packets);
	assert_int_equal(got[1], usecs);
}

static void send_frames(struct vnet_fixture *f, unsigned int n)
{
	for (; n; n--) {
		vdriver_add(&f->tx, &(struct vdriver_buf){VNET_BUFFERS + 4096, 80, false}, 1);
		assert_true(vnet_step(f));
	}
}

static void receive_frames(struct vnet_fixture *f, unsigned int n)
{
	for (; n; n--) {
		vdriver_add(&f->rx, &(struct vdriver_buf){VNET_BUFFERS + 8192, 1600, true}, 1);
		fake_incoming(f, pattern, 64);
		assert_true(vnet_step(f));
	}
}

static void test_packets(void **state)
{
	struct vnet_fixture *f = start_pairs(FEATURES);

	send_frames(f, 3);
	assert_int_equal(f->interrupts[VNET_TXQ], 3);
	assert_int_equal(set(f, VIRTIO_NET_CTRL_NOTF_COAL_TX_SET, 5, FOREVER), VIRTIO_NET_OK);
	send_frames(f, 4);
	assert_int_equal(f->interrupts[VNET_TXQ], 3);
	assert_int_equal(vdriver_used_idx(&f->tx), 7); /* published all the same */
	send_frames(f, 1);
	assert_int_equal(f->interrupts[VNET_TXQ], 4);
	send_frames(f, 5);
	assert_int_equal(f->interrupts[VNET_TXQ], 5);
	/* the other kind is as it was */
	receive_frames(f, 2);
	assert_int_equal(f->interrupts[VNET_RXQ], 2);
	assert_int_equal(set(f, VIRTIO_NET_CTRL_NOTF_COAL_RX_SET, 3, FOREVER), VIRTIO_NET_OK);
	receive_frames(f, 3);
	assert_int_equal(f->interrupts[VNET_RXQ], 3);
	/* fewer than have been sent: at once */
	send_frames(f, 4);
	assert_int_equal(set(f, VIRTIO_NET_CTRL_NOTF_COAL_TX_SET, 2, FOREVER), VIRTIO_NET_OK);
	assert_int_equal(f->interrupts[VNET_TXQ], 6);
	/* off, in each of the ways */
	for (unsigned int i = 0; i < 3; i++) {
		unsigned int before = f->interrupts[VNET_TXQ];

		assert_int_equal(set(f, VIRTIO_NET_CTRL_NOTF_COAL_TX_SET, 50, FOREVER), 0);
		send_frames(f, 1);
		assert_int_equal(f->interrupts[VNET_TXQ], before);
		assert_int_equal(set(f, VIRTIO_NET_CTRL_NOTF_COAL_TX_SET,
				     i == 0   ? 0
				     : i == 1 ? 1
					      : 9,
				     i == 2 ? 0 : FOREVER),
				 0);
		assert_int_equal(f->interrupts[VNET_TXQ], before + 1);
		send_frames(f, 2);
		assert_int_equal(f->interrupts[VNET_TXQ], before + 3);
	}
	vnet_fixture_free(f);
}

/* What is owed is told when the queue stops, and nothing later. */
static void test_stop(void **state)
{
	struct vnet_fixture *f = start_pairs(FEATURES);

	assert_int_equal(set(f, VIRTIO_NET_CTRL_NOTF_COAL_TX_SET, 5, FOREVER), 0);
	send_frames(f, 1);
	assert_int_equal(f->interrupts[VNET_TXQ], 0);
	virtio_set_dma(&f->vn->vdev, false);
	assert_int_equal(f->interrupts[VNET_TXQ], 1);
	assert_int_equal(f->vn->pair[0].tx_coal.timer.deadline_ns, 0);
	virtio_set_dma(&f->vn->vdev, true);
	/* the limits of all send queues are in force again */
	send_frames(f, 4);
	assert_int_equal(f->interrupts[VNET_TXQ], 1);
	send_frames(f, 1);
	assert_int_equal(f->interrupts[VNET_TXQ], 2);
	/* and gone with a reset */
	virtio_set_status(&f->vn->vdev, 0, false);
	memset(f->ram, 0, VNET_BUFFERS - VNET_RAM);
	vnet_driver_ok(f, FEATURES, false, 64);
	send_frames(f, 2);
	assert_int_equal(f->interrupts[VNET_TXQ], 4);
	vnet_fixture_free(f);
}

static void test_queues(void **state)
{
	struct vnet_fixture *f = start_pairs(FEATURES);

	assert_int_equal(set(f, VIRTIO_NET_CTRL_NOTF_COAL_RX_SET, 10, 20), 0);
	assert_int_equal(set(f, VIRTIO_NET_CTRL_NOTF_COAL_TX_SET, 30, 40), 0);
	check_queue(f, 0, 10, 20);
	check_queue(f, 2, 10, 20);
	check_queue(f, 3, 30, 40);
	assert_int_equal(set_queue(f, 2, 50, 60), 0);
	assert_int_equal(set_queue(f, 1, 70, 80), 0);
	check_queue(f, 0, 10, 20);
	check_queue(f, 1, 70, 80);
	check_queue(f, 2, 50, 60);
	check_queue(f, 3, 30, 40);
	assert_int_equal(set(f, VIRTIO_NET_CTRL_NOTF_COAL_TX_SET, 1, 2), 0);
	check_queue(f, 1, 1, 2);
	/* the control queue, and none at all */
	assert_int_equal(set_queue(f, 4, 1, 1), VIRTIO_NET_ERR);
	assert_int_equal(set_queue(f, 5, 1, 1), VIRTIO_NET_ERR);
	assert_int_equal(set_queue(f, 0xffff, 1, 1), VIRTIO_NET_ERR);
	/* one that is disabled */
	virtio_queue_disable(&f->vn->vdev.queue[3]);
	assert_int_equal(set_queue(f, 3, 1, 1), VIRTIO_NET_ERR);
	vnet_fixture_free(f);
}

static void test_refused(void **state)
{
	struct vnet_fixture *f = start_pairs(FEATURES);
	const uint8_t data[64] = {0};

	for (uint8_t what = 0; what < 6; what++)
		for (uint32_t len = 0; len < sizeof(data); len++) {
			uint32_t right = what < 2 ? 8 : what == 2 ? 12 : what == 3 ? 4 : ~0u;

			assert_int_equal(
				command_more(f, VIRTIO_NET_CTRL_NOTF_COAL, what, data, len, 8),
				len == right ? VIRTIO_NET_OK : VIRTIO_NET_ERR);
		}
	/* no room for what is asked: the answer, and as much as fits */
	assert_int_equal(command_more(f, VIRTIO_NET_CTRL_NOTF_COAL, 3, data, 4, 3), VIRTIO_NET_OK);
	assert_int_equal(at(f, 0)[12], 0xee);
	assert_false(virtio_is_latched(&f->vn->vdev));
	vnet_fixture_free(f);
	f = start_pairs(F(CTRL_VQ));
	assert_int_equal(set(f, VIRTIO_NET_CTRL_NOTF_COAL_TX_SET, 1, 2), VIRTIO_NET_ERR);
	assert_int_equal(set_queue(f, 0, 1, 2), VIRTIO_NET_ERR);
	vnet_fixture_free(f);
}

/* With the loop running: the interrupt comes by time. */
static void test_time(void **state)
{
	struct vnet_fixture *f = start_pairs(FEATURES);
	struct virtio_queue *queue = &f->vn->vdev.queue[VNET_TXQ];
	uint64_t begin;

	assert_int_equal(set(f, VIRTIO_NET_CTRL_NOTF_COAL_TX_SET, 1000, 20000), 0);
	vdriver_add(&f->tx, &(struct vdriver_buf){VNET_BUFFERS + 4096, 80, false}, 1);
	begin = loop_now_ns();
	assert_int_equal(loop_start(f->loop, NULL), 0);
	eventfd_write(queue->kick_fd, 1);
	while (!__atomic_load_n(&f->interrupts[VNET_TXQ], __ATOMIC_RELAXED) &&
	       loop_now_ns() - begin < 10000000000)
		usleep(1000);
	loop_join(f->loop);
	assert_int_equal(f->interrupts[VNET_TXQ], 1);
	assert_true(loop_now_ns() - begin >= 20000000);
	assert_false(f->vn->pair[0].tx_coal.pending);
	vnet_fixture_free(f);
}

/* The driver is asked to announce itself, does, and says so. */
static void test_announce(void **state)
{
	struct vnet_fixture *f = start_pairs(FEATURES);
	struct virtio_dev *dev = &f->vn->vdev;

	assert_int_equal(virtio_config_read(dev, 6, 2), VIRTIO_NET_S_LINK_UP);
	assert_true(vnet_announce(dev));
	assert_int_equal(virtio_config_read(dev, 6, 2),
			 VIRTIO_NET_S_LINK_UP | VIRTIO_NET_S_ANNOUNCE);
	assert_int_equal(f->config_interrupts, 1);
	assert_int_equal(command(f, VIRTIO_NET_CTRL_ANNOUNCE, 1, NULL, 0), VIRTIO_NET_ERR);
	assert_int_equal(command(f, VIRTIO_NET_CTRL_ANNOUNCE, 0, pattern, 1), VIRTIO_NET_ERR);
	assert_int_equal(
		command(f, VIRTIO_NET_CTRL_ANNOUNCE, VIRTIO_NET_CTRL_ANNOUNCE_ACK, NULL, 0),
		VIRTIO_NET_OK);
	assert_int_equal(virtio_config_read(dev, 6, 2), VIRTIO_NET_S_LINK_UP);
	assert_int_equal(counter_get(&f->vn->counters.announced), 1);
	vnet_fixture_free(f);
	f = start_pairs(F(CTRL_VQ) | F(STATUS));
	assert_false(vnet_announce(&f->vn->vdev));
	assert_int_equal(f->config_interrupts, 0);
	assert_int_equal(command(f, VIRTIO_NET_CTRL_ANNOUNCE, 0, NULL, 0), VIRTIO_NET_ERR);
	vnet_fixture_free(f);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_packets), cmocka_unit_test(test_stop),
		cmocka_unit_test(test_queues),	cmocka_unit_test(test_refused),
		cmocka_unit_test(test_time),	cmocka_unit_test(test_announce),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
