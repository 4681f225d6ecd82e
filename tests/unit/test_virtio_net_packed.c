/*
 * virtio-net on packed rings: that frames go both ways, and that queues which hold buffers go on
 * after bus mastering was taken away. What the device does with frames is test_virtio_net.c's.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "pdriver.h"
#include "vnet_fixture.h"

#define RING_SIZE 11 /* not a power of two */
#define HDR	  12
#define PACKED	  virtio_bit(VIRTIO_F_RING_PACKED)

static uint8_t pattern[65536];

static void ring_up(struct vnet_fixture *f, struct pdriver *p, unsigned int index)
{
	struct virtio_queue *queue = &f->vn->vdev.queue[index];

	pdriver_init(p, &f->mem, VNET_RINGS + 0x10000 * index, RING_SIZE);
	queue->config = (struct virtq_config){
		.size = RING_SIZE, .desc = p->desc, .avail = p->driver, .used = p->device};
	virtio_queue_enable(queue);
	assert_true(queue->enabled);
}

static struct vnet_fixture *start(struct pdriver *rx, struct pdriver *tx, uint64_t features)
{
	const uint8_t status = VIRTIO_CONFIG_S_ACKNOWLEDGE | VIRTIO_CONFIG_S_DRIVER;
	struct vnet_fixture *f = vnet_fixture_new("netdev=n0", true, 0, NULL);
	struct virtio_dev *dev = &f->vn->vdev;

	for (unsigned int i = 0; i < sizeof(pattern); i++)
		pattern[i] = (uint8_t)(i * 7 + i / 251);
	dev->features_offered |= PACKED;
	virtio_set_dma(dev, true);
	virtio_set_status(dev, status, false);
	virtio_set_features(dev, features | PACKED | virtio_bit(VIRTIO_F_VERSION_1));
	virtio_set_status(dev, status | VIRTIO_CONFIG_S_FEATURES_OK, false);
	ring_up(f, rx, VNET_RXQ);
	ring_up(f, tx, VNET_TXQ);
	virtio_set_status(dev, status | VIRTIO_CONFIG_S_FEATURES_OK | VIRTIO_CONFIG_S_DRIVER_OK,
			  false);
	return f;
}

static uint8_t *at(struct vnet_fixture *f, uint64_t offset)
{
	return f->ram + (VNET_BUFFERS - VNET_RAM) + offset;
}

static struct pdriver_used take(struct pdriver *p)
{
	struct pdriver_used u = {0};

	assert_true(pdriver_take(p, &u));
	return u;
}

static void test_send(void **state)
{
	const struct vdriver_buf bufs[] = {{VNET_BUFFERS, HDR, false},
					   {VNET_BUFFERS + 100, 60, false},
					   {VNET_BUFFERS + 300, 1000, false}};
	struct pdriver rx, tx;
	struct vnet_fixture *f = start(&rx, &tx, 0);

	memcpy(at(f, 100), pattern, 60);
	memcpy(at(f, 300), pattern + 60, 1000);
	for (unsigned int i = 1; i <= 50; i++) {
		pdriver_add(&tx, bufs, 3);
		pdriver_add(&tx, bufs, 2);
		assert_true(vnet_step(f));
		assert_int_equal(f->fake.n_sent, 2 * i);
		assert_false(take(&tx).wrote);
		assert_false(take(&tx).wrote);
		assert_false(pdriver_pending(&tx));
	}
	assert_int_equal(f->interrupts[VNET_TXQ], 50);
	vnet_fixture_free(f);
}

static void give(struct vnet_fixture *f, struct pdriver *rx, unsigned int n, uint32_t len)
{
	for (unsigned int i = 0; i < n; i++) {
		struct vdriver_buf buf = {VNET_BUFFERS + 4096 * (uint64_t)i, len, true};

		pdriver_add(rx, &buf, 1);
	}
}

/* A frame in several buffers; between frames the queue stops with buffers in the device's hands. */
static void test_receive(void **state)
{
	struct pdriver rx, tx;
	struct vnet_fixture *f = start(&rx, &tx, virtio_bit(VIRTIO_NET_F_MRG_RXBUF));
	const uint32_t len = 1500, part = 600;

	for (unsigned int i = 0; i < 40; i++) {
		give(f, &rx, 3, part);
		fake_incoming(f, pattern, len);
		assert_true(vnet_step(f));
		assert_int_equal(((struct net_hdr *)at(f, 0))->num_buffers, 3);
		assert_int_equal(take(&rx).len, part);
		assert_int_equal(take(&rx).len, part);
		assert_int_equal(take(&rx).len, len + HDR - 2 * part);
		assert_memory_equal(at(f, HDR), pattern, part - HDR);
		assert_memory_equal(at(f, 4096), pattern + part - HDR, part);
		assert_false(pdriver_pending(&rx));
		if (i % 4)
			continue;
		/* Five buffers, one of them used: the others are in the window, and given back. */
		give(f, &rx, 5, part);
		fake_incoming(f, pattern, 60);
		assert_true(vnet_step(f));
		assert_int_equal(take(&rx).len, 60 + HDR);
		virtio_set_dma(&f->vn->vdev, false);
		assert_false(pdriver_pending(&rx));
		virtio_set_dma(&f->vn->vdev, true);
		for (unsigned int j = 0; j < 4; j++) {
			fake_incoming(f, pattern, 60);
			assert_true(vnet_step(f));
			assert_int_equal(take(&rx).len, 60 + HDR);
		}
	}
	assert_false(virtio_is_latched(&f->vn->vdev));
	vnet_fixture_free(f);
}

static void test_malformed(void **state)
{
	struct pdriver rx, tx;
	struct vnet_fixture *f = start(&rx, &tx, 0);

	pdriver_put(&rx, VNET_RAM + VNET_RAM_SIZE - 1, 2, 0, VRING_DESC_F_WRITE);
	fake_incoming(f, pattern, 60);
	assert_true(vnet_step(f));
	assert_true(virtio_is_latched(&f->vn->vdev));
	vnet_fixture_free(f);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_send),
		cmocka_unit_test(test_receive),
		cmocka_unit_test(test_malformed),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
