/*
 * virtio-net: queues that stop and go on without the driver having a hand in it (the cable out and in, bus mastering
 * off and on): what it has set of them stays.
 */
#define VNET_PAIRS     2
#define VNET_RING_SIZE 64
#include "vnet_driver.h"

#define FEATURES (F(CTRL_VQ) | F(MQ) | F(NOTF_COAL) | F(VQ_NOTF_COAL))
#define FOREVER	 1000000000 /* us: no test waits so long */

static void set_queue(struct vnet_fixture *f, uint16_t index, uint32_t packets, uint32_t usecs)
{
	const struct {
		uint16_t index, reserved;
		uint32_t packets, usecs;
	} data = {index, 0, packets, usecs};

	assert_int_equal(command(f, VIRTIO_NET_CTRL_NOTF_COAL, VIRTIO_NET_CTRL_NOTF_COAL_VQ_SET,
				 &data, sizeof(data)),
			 VIRTIO_NET_OK);
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

static void restart(struct vnet_fixture *f, unsigned int index)
{
	virtio_queue_restart(&f->vn->vdev.queue[index]);
}

static void test_limits(void **state)
{
	const uint32_t all[2] = {10, 20};
	struct vnet_fixture *f = start("netdev=n0,mq=on", FEATURES, false);
	struct virtio_dev *dev = &f->vn->vdev;

	assert_int_equal(command(f, VIRTIO_NET_CTRL_NOTF_COAL, VIRTIO_NET_CTRL_NOTF_COAL_RX_SET,
				 all, sizeof(all)),
			 VIRTIO_NET_OK);
	set_queue(f, 0, 50, 60);
	set_queue(f, 1, 70, 80);
	for (unsigned int i = 0; i < 4; i++)
		restart(f, i);
	check_queue(f, 0, 50, 60);
	check_queue(f, 1, 70, 80);
	check_queue(f, 2, 10, 20);
	check_queue(f, 3, 0, 0);
	virtio_set_dma(dev, false);
	virtio_set_dma(dev, true);
	check_queue(f, 0, 50, 60);
	check_queue(f, 2, 10, 20);
	/* A queue that the driver enables anew has those of all; and none after a reset. */
	virtio_queue_disable(&dev->queue[0]);
	virtio_queue_enable(&dev->queue[0]);
	check_queue(f, 0, 10, 20);
	virtio_set_status(dev, 0, false);
	memset(f->ram, 0, VNET_BUFFERS - VNET_RAM);
	vnet_driver_ok(f, FEATURES, false, VNET_RING_SIZE);
	restart(f, 1);
	for (unsigned int i = 0; i < 4; i++)
		check_queue(f, (uint16_t)i, 0, 0);
	vnet_fixture_free(f);
}

/* A frame that another pair has read, and that hadn't found its way yet, is counted where it was to go. */
static void test_handed_over(void **state)
{
	const uint16_t pairs = 2;
	static uint8_t frame[64];
	struct vnet_fixture *f = start("netdev=n0,mq=on,rss=on", FEATURES, false);
	struct virtio_dev *dev = &f->vn->vdev;
	struct vnet_pair *to = &f->vn->pair[1];

	assert_int_equal(command(f, VIRTIO_NET_CTRL_MQ, VIRTIO_NET_CTRL_MQ_VQ_PAIRS_SET, &pairs,
				 sizeof(pairs)),
			 VIRTIO_NET_OK);
	f->vn->pair[0].set.rss = (struct vnet_rss){.on = true, .steer = true, .unclassified = 1};
	give(f, 0x1000, 2000);
	fake_incoming(f, frame, sizeof(frame));
	f->vn->pair[0].rx.readable = true;
	assert_true(virtio_queue_work(&dev->queue[0]));
	assert_int_equal(counter_get(&f->vn->pair[0].counters.rx_steered), 1);
	assert_int_equal(counter_get(&to->counters.rx_dropped_reset), 0);
	virtio_queue_disable(&dev->queue[2]);
	assert_int_equal(counter_get(&to->counters.rx_dropped_reset), 1);
	vnet_fixture_free(f);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_limits),
		cmocka_unit_test(test_handed_over),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
