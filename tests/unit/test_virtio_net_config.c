/*
 * virtio-net without its rings: options, feature bits, configuration space, link.
 */
#include "vnet_driver.h"

static void test_features(void **state)
{
	struct err err;
	struct vnet_fixture *f;
	const uint64_t all = F(CSUM) | F(GUEST_CSUM) | F(CTRL_GUEST_OFFLOADS) | F(MAC) | F(GSO) |
			     F(GUEST_TSO4) | F(GUEST_TSO6) | F(GUEST_ECN) | F(GUEST_UFO) |
			     F(HOST_TSO4) | F(HOST_TSO6) | F(HOST_ECN) | F(HOST_UFO) |
			     F(MRG_RXBUF) | F(STATUS) | F(CTRL_VQ) | F(CTRL_RX) | F(CTRL_VLAN) |
			     F(CTRL_RX_EXTRA) | F(CTRL_MAC_ADDR) | F(GUEST_ANNOUNCE);

	f = vnet_fixture_new("netdev=n0", true, ALL_OFFLOADS, &err);
	assert_int_equal(f->vn->vdev.features_offered & ((1u << 24) - 1), all);
	assert_int_equal(f->vn->vdev.config_size, 8);
	vnet_fixture_free(f);
	f = vnet_fixture_new(
		"netdev=n0,host_mtu=9000,csum=off,guest_tso4=off,guest_tso6=off,ctrl_vq=off", true,
		ALL_OFFLOADS, &err);
	assert_int_equal(f->vn->vdev.features_offered & ((1u << 24) - 1),
			 F(GUEST_CSUM) | F(GUEST_UFO) | F(MAC) | F(MRG_RXBUF) | F(STATUS) | F(MTU));
	assert_int_equal(f->vn->vdev.config_size, 12);
	assert_int_equal(virtio_config_read(&f->vn->vdev, 10, 2), 9000);
	assert_int_equal(f->vn->vdev.n_queues, 2);
	vnet_fixture_free(f);
}

/* A back end's one bit for UDP segmentation stands for two of the guest's. */
static void test_uso(void **state)
{
	const uint64_t both = F(GUEST_USO4) | F(GUEST_USO6);
	struct err err;
	struct vnet_fixture *f = vnet_fixture_new("netdev=n0", true, ALL_OFFLOADS, &err);

	assert_false(f->vn->vdev.features_offered & (both | F(HOST_USO)));
	vnet_fixture_free(f);
	for (unsigned int i = 0; i < 2; i++) {
		f = vnet_fixture_new("netdev=n0", true, ALL_OFFLOADS | NET_OFFLOAD_USO, &err);
		assert_int_equal(f->vn->vdev.features_offered & (both | F(HOST_USO)),
				 both | F(HOST_USO));
		vnet_driver_ok(f, F(GUEST_CSUM) | (i ? both : F(GUEST_USO4)), false, 256);
		assert_int_equal(f->fake.offloads, NET_OFFLOAD_CSUM | (i ? NET_OFFLOAD_USO : 0));
		assert_int_equal(f->vn->set.big, i);
		vnet_fixture_free(f);
	}
	/* segments are made here for a back end that takes no headers */
	f = vnet_fixture_new("netdev=n0", false, 0, &err);
	assert_int_equal(f->vn->vdev.features_offered & (both | F(HOST_USO)), F(HOST_USO));
	vnet_fixture_free(f);
}

/* What the guest is told of the card. */
static void test_config(void **state)
{
	struct err err;
	struct vnet_fixture *f = vnet_fixture_new("netdev=n0,speed=25000,duplex=full,failover=on",
						  true, ALL_OFFLOADS, &err);

	assert_true(f->vn->vdev.features_offered & F(SPEED_DUPLEX));
	assert_true(f->vn->vdev.features_offered & F(STANDBY));
	assert_int_equal(virtio_config_read(&f->vn->vdev, 12, 4), 25000);
	assert_int_equal(virtio_config_read(&f->vn->vdev, 16, 1), 1);
	assert_int_equal(f->vn->vdev.config_size, 17);
	vnet_fixture_free(f);
	f = vnet_fixture_new("netdev=n0,duplex=half", true, ALL_OFFLOADS, &err);
	assert_int_equal(virtio_config_read(&f->vn->vdev, 12, 4), 0xffffffff);
	assert_int_equal(virtio_config_read(&f->vn->vdev, 16, 1), 0);
	vnet_fixture_free(f);
	f = vnet_fixture_new("netdev=n0", true, ALL_OFFLOADS, &err);
	assert_false(f->vn->vdev.features_offered & (F(SPEED_DUPLEX) | F(STANDBY)));
	vnet_fixture_free(f);
}

/* The back end's own cable. */
static void test_carrier(void **state)
{
	struct vnet_fixture *f = start("netdev=n0", F(STATUS), false);
	struct virtio_dev *dev = &f->vn->vdev;

	net_set_carrier(&f->fake.net, false);
	assert_int_equal(virtio_config_read(dev, 6, 2), 0);
	assert_int_equal(f->config_interrupts, 1);
	/* both have to be in */
	dev->model->set_link(dev, false);
	net_set_carrier(&f->fake.net, true);
	assert_int_equal(virtio_config_read(dev, 6, 2), 0);
	dev->model->set_link(dev, true);
	assert_int_equal(virtio_config_read(dev, 6, 2), VIRTIO_NET_S_LINK_UP);
	assert_int_equal(f->config_interrupts, 2);
	dev->model->unrealize(dev);
	assert_null(f->fake.net.events);
	assert_int_equal(dev->model->realize(dev, NULL), 0);
	vnet_fixture_free(f);
}

static void refused(const char *options, const char *word)
{
	struct err err = {0};

	assert_null(vnet_fixture_new(options, true, 0, &err));
	if (!strstr(err.msg, word))
		fail_msg("expected \"%s\": %s", word, err.msg);
}

static void test_options(void **state)
{
	refused("netdev=n1", "n1");
	refused("netdev=n0,mac=01:00:00:00:00:01", "group address");
	refused("netdev=n0,host_mtu=67", "host_mtu=67");
	refused("netdev=n0,rx_queue_size=300", "power of two");
	refused("netdev=n0,tx_queue_size=300", "power of two");
	refused("netdev=n0,tx_queue_size=65536", "tx_queue_size");
}

static void test_no_cable(void **state)
{
	struct vnet_fixture *f = start("mac=52:54:00:aa:bb:cc", ~0ull, false);

	assert_int_equal(virtio_config_read(&f->vn->vdev, 0, 4), 0xaa005452);
	assert_int_equal(virtio_config_read(&f->vn->vdev, 6, 2), 0); /* link down */
	give(f, 0, 1530);
	vdriver_add(&f->tx, &(struct vdriver_buf){VNET_BUFFERS, 80, false}, 1);
	assert_true(vnet_step(f));
	assert_int_equal(vdriver_used_idx(&f->tx), 1);
	assert_int_equal(counter_get(&f->vn->pair[0].counters.tx_no_cable), 1);
	vnet_fixture_free(f);
}

static void test_link(void **state)
{
	struct vnet_fixture *f = start("netdev=n0", F(STATUS), false);
	struct virtio_dev *dev = &f->vn->vdev;
	uint8_t generation = dev->config_generation;

	assert_int_equal(virtio_config_read(dev, 6, 2), VIRTIO_NET_S_LINK_UP);
	dev->model->set_link(dev, false);
	assert_int_equal(virtio_config_read(dev, 6, 2), 0);
	assert_true(net_link_is_down(&f->fake.net));
	assert_int_equal(f->config_interrupts, 1);
	assert_int_not_equal(dev->config_generation, generation);
	dev->model->set_link(dev, true);
	assert_int_equal(virtio_config_read(dev, 6, 2), VIRTIO_NET_S_LINK_UP);
	assert_false(net_link_is_down(&f->fake.net));
	vnet_fixture_free(f);
}

static void test_legacy_mac(void **state)
{
	struct vnet_fixture *f = start("netdev=n0,ctrl_vq=off", 0, true);

	virtio_config_write(&f->vn->vdev, 4, 2, 0x9988);
	assert_int_equal(virtio_config_read(&f->vn->vdev, 0, 4), 0x12005452);
	assert_int_equal(virtio_config_read(&f->vn->vdev, 4, 2), 0x9988);
	virtio_config_write(&f->vn->vdev, 6, 2, 0xffff); /* status: read-only */
	assert_int_equal(virtio_config_read(&f->vn->vdev, 6, 2), VIRTIO_NET_S_LINK_UP);
	vnet_fixture_free(f);
	f = start("netdev=n0", 0, false);
	virtio_config_write(&f->vn->vdev, 0, 4, 0);
	assert_int_equal(virtio_config_read(&f->vn->vdev, 0, 4), 0x12005452);
	vnet_fixture_free(f);
}

static void visit(void *opaque, const char *owner, const char *part,
		  const struct counter_desc *table, const void *base)
{
	unsigned int n = 0;

	assert_string_equal(owner, "nic0");
	while (table[n].name)
		n++;
	assert_int_equal(n,
			 (part ? sizeof(struct vnet_pair_counters) : sizeof(struct vnet_counters)) /
				 sizeof(struct counter));
	(*(unsigned int *)opaque)++;
}

static void test_info(void **state)
{
	struct vnet_fixture *f = start("netdev=n0", 0, false);
	const struct virtio_model *model = f->vn->vdev.model;
	json_t *object = json_object();
	unsigned int visits = 0;

	model->info(&f->vn->vdev, object);
	assert_string_equal(json_string_value(json_object_get(object, "mac")), "52:54:00:12:34:56");
	assert_true(json_is_true(json_object_get(object, "link")));
	model->counters(&f->vn->vdev, visit, &visits);
	assert_int_equal(visits, 2);
	json_decref(object);
	vnet_fixture_free(f);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_features), cmocka_unit_test(test_uso),
		cmocka_unit_test(test_config),	 cmocka_unit_test(test_options),
		cmocka_unit_test(test_no_cable), cmocka_unit_test(test_link),
		cmocka_unit_test(test_carrier),	 cmocka_unit_test(test_legacy_mac),
		cmocka_unit_test(test_info),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
