/*
 * virtio-net's control queue, and the receive filter that it sets, at the level of the rings.
 */
#include "vnet_driver.h"

/* Does a frame with this destination (and VLAN, when not negative) get through? */
static bool passes(struct vnet_fixture *f, const char *mac, int vlan)
{
	static uint8_t frame[64];
	struct vring_used_elem e;

	memset(frame, 0, sizeof(frame));
	assert_int_equal(opt_parse_mac(mac, frame), 0);
	frame[12] = 8;
	if (vlan >= 0) {
		frame[12] = 0x81;
		frame[14] = (uint8_t)(0x60 | vlan >> 8); /* with a priority */
		frame[15] = (uint8_t)vlan;
	}
	give(f, 8192, 1530);
	fake_incoming(f, frame, sizeof(frame));
	assert_true(vnet_step(f));
	assert_int_equal(f->fake.in_first, f->fake.in_end);
	return vdriver_take(&f->rx, &e);
}

#define OWN   "52:54:00:12:34:56"
#define OTHER "52:54:00:00:00:99"
#define MULTI "01:00:5e:00:00:fb"
#define ALL   "ff:ff:ff:ff:ff:ff"

static void test_filter(void **state)
{
	struct vnet_fixture *f = start(
		"netdev=n0", F(CTRL_VQ) | F(CTRL_RX) | F(CTRL_RX_EXTRA) | F(CTRL_MAC_ADDR), false);
	static const uint8_t tables[4 + 6 + 4 + 6] = {1, 0, 0, 0, 0x52, 0x54, 0,    0, 0, 0x99,
						      1, 0, 0, 0, 1,	0,    0x5e, 0, 0, 0xfb};
	static uint8_t many[4 + 100 * 6 + 4] = {100};
	static const uint8_t mac[6] = {0x52, 0x54, 0, 0, 0, 0x77};
	const uint8_t on = 1, off = 0;

	assert_true(passes(f, OTHER, -1)); /* until the driver says otherwise */
	assert_int_equal(command(f, VIRTIO_NET_CTRL_RX, VIRTIO_NET_CTRL_RX_PROMISC, &off, 1), 0);
	assert_true(passes(f, OWN, -1));
	assert_true(passes(f, ALL, -1));
	assert_false(passes(f, OTHER, -1));
	assert_false(passes(f, MULTI, -1));
	assert_int_equal(counter_get(&f->vn->pair[0].counters.rx_filtered), 2);
	assert_int_equal(command(f, VIRTIO_NET_CTRL_MAC, VIRTIO_NET_CTRL_MAC_TABLE_SET, tables,
				 sizeof(tables)),
			 0);
	assert_true(passes(f, OTHER, -1));
	assert_true(passes(f, MULTI, -1));
	assert_false(passes(f, "01:00:5e:00:00:fc", -1));
	assert_int_equal(command(f, VIRTIO_NET_CTRL_RX, VIRTIO_NET_CTRL_RX_ALLMULTI, &on, 1), 0);
	assert_true(passes(f, "01:00:5e:00:00:fc", -1));
	assert_int_equal(command(f, VIRTIO_NET_CTRL_RX, VIRTIO_NET_CTRL_RX_NOMULTI, &on, 1), 0);
	assert_false(passes(f, MULTI, -1));
	assert_int_equal(command(f, VIRTIO_NET_CTRL_RX, VIRTIO_NET_CTRL_RX_NOBCAST, &on, 1), 0);
	assert_false(passes(f, ALL, -1));
	assert_int_equal(command(f, VIRTIO_NET_CTRL_RX, VIRTIO_NET_CTRL_RX_ALLUNI, &on, 1), 0);
	assert_true(passes(f, "52:54:00:00:00:42", -1));
	assert_int_equal(command(f, VIRTIO_NET_CTRL_RX, VIRTIO_NET_CTRL_RX_NOUNI, &on, 1), 0);
	assert_false(passes(f, OWN, -1));
	assert_int_equal(command(f, VIRTIO_NET_CTRL_RX, VIRTIO_NET_CTRL_RX_NOUNI, &off, 1), 0);
	assert_int_equal(command(f, VIRTIO_NET_CTRL_RX, VIRTIO_NET_CTRL_RX_ALLUNI, &off, 1), 0);
	/* another address of its own */
	assert_int_equal(command(f, VIRTIO_NET_CTRL_MAC, VIRTIO_NET_CTRL_MAC_ADDR_SET, mac, 6), 0);
	assert_true(passes(f, "52:54:00:00:00:77", -1));
	assert_false(passes(f, OWN, -1));
	assert_int_equal(virtio_config_read(&f->vn->vdev, 5, 1), 0x77);
	/* more addresses than the table holds: all pass, of that kind */
	assert_int_equal(
		command(f, VIRTIO_NET_CTRL_MAC, VIRTIO_NET_CTRL_MAC_TABLE_SET, many, sizeof(many)),
		0);
	assert_true(passes(f, "52:54:00:00:00:42", -1));
	/* a reset forgets all of it */
	virtio_set_status(&f->vn->vdev, 0, false);
	assert_int_equal(virtio_config_read(&f->vn->vdev, 5, 1), 0x56);
	assert_true(vnet_filter_is_open(&f->vn->set.filter));
	vnet_fixture_free(f);
}

static void test_filter_vlan(void **state)
{
	struct vnet_fixture *f = start("netdev=n0", F(CTRL_VQ) | F(CTRL_VLAN), false);
	uint16_t id = 0x123, bad = 4096;

	assert_true(passes(f, OTHER, -1));
	assert_false(passes(f, OTHER, 0x123));
	assert_int_equal(command(f, VIRTIO_NET_CTRL_VLAN, VIRTIO_NET_CTRL_VLAN_ADD, &id, 2), 0);
	assert_true(passes(f, OTHER, 0x123));
	assert_false(passes(f, OTHER, 0x122));
	assert_int_equal(command(f, VIRTIO_NET_CTRL_VLAN, VIRTIO_NET_CTRL_VLAN_DEL, &id, 2), 0);
	assert_false(passes(f, OTHER, 0x123));
	assert_int_equal(command(f, VIRTIO_NET_CTRL_VLAN, VIRTIO_NET_CTRL_VLAN_ADD, &bad, 2), 1);
	vnet_fixture_free(f);
}

static void test_guest_offloads(void **state)
{
	const uint64_t taken = F(CTRL_VQ) | F(CTRL_GUEST_OFFLOADS) | F(GUEST_CSUM) | F(GUEST_TSO4);
	struct vnet_fixture *f = start("netdev=n0", taken, false);
	uint64_t offloads;

	assert_int_equal(f->fake.offloads, NET_OFFLOAD_CSUM | NET_OFFLOAD_TSO4);
	offloads = F(GUEST_CSUM);
	assert_int_equal(command(f, VIRTIO_NET_CTRL_GUEST_OFFLOADS, 0, &offloads, 8), 0);
	assert_int_equal(f->fake.offloads, NET_OFFLOAD_CSUM);
	/* large frames without checksums make no sense: none are given */
	offloads = F(GUEST_TSO4);
	assert_int_equal(command(f, VIRTIO_NET_CTRL_GUEST_OFFLOADS, 0, &offloads, 8), 0);
	assert_int_equal(f->fake.offloads, 0);
	offloads = F(GUEST_CSUM) | F(GUEST_TSO6); /* not negotiated */
	assert_int_equal(command(f, VIRTIO_NET_CTRL_GUEST_OFFLOADS, 0, &offloads, 8), 1);
	offloads = F(GUEST_CSUM);
	f->fake.set_offloads_result = -EBADFD;
	assert_int_equal(command(f, VIRTIO_NET_CTRL_GUEST_OFFLOADS, 0, &offloads, 8), 1);
	assert_int_equal(counter_get(&f->vn->counters.ctrl_refused), 2);
	vnet_fixture_free(f);
}

/* Every class and command with every length of data up to 64: an answer, and never more than that.
 */
static void test_commands_of_any_size(void **state)
{
	struct vnet_fixture *f = start("netdev=n0", ~0ull, false);
	uint8_t data[64];

	memset(data, 0xff, sizeof(data));
	for (unsigned int class = 0; class < 8; class ++)
		for (unsigned int what = 0; what < 8; what++)
			for (uint32_t len = 0; len <= sizeof(data); len++) {
				uint8_t answer =
					command(f, (uint8_t) class, (uint8_t)what, data, len);

				assert_true(answer == VIRTIO_NET_OK || answer == VIRTIO_NET_ERR);
			}
	assert_false(virtio_is_latched(&f->vn->vdev));
	vnet_fixture_free(f);
}

static void test_commands_malformed(void **state)
{
	struct vnet_fixture *f = start("netdev=n0", F(CTRL_VQ) | F(CTRL_RX), false);
	struct vdriver_buf buf[2] = {{VNET_BUFFERS, 1, false}, {VNET_BUFFERS + 8, 1, true}};

	vdriver_add(&f->ctrl, buf, 2); /* no command byte */
	assert_true(vnet_step(f));
	assert_true(virtio_is_latched(&f->vn->vdev));
	virtio_set_status(&f->vn->vdev, 0, false);
	memset(f->ram, 0, 0x40000);
	vnet_driver_ok(f, F(CTRL_VQ), false, 256);
	buf[0].len = 3;
	vdriver_add(&f->ctrl, buf, 1); /* no room for the answer */
	assert_true(vnet_step(f));
	assert_true(virtio_is_latched(&f->vn->vdev));
	vnet_fixture_free(f);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_filter),
		cmocka_unit_test(test_filter_vlan),
		cmocka_unit_test(test_guest_offloads),
		cmocka_unit_test(test_commands_of_any_size),
		cmocka_unit_test(test_commands_malformed),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
