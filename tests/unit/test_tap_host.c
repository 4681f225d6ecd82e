/*
 * -netdev tap: what becomes of an interface that was there before, and of frames while the cable is out where the
 * card has a long header. In a network namespace of this test's own.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "hostnet_fixture.h"
#include "net/netlink.h"

#define TAP_FLAGS (IFF_TAP | IFF_NO_PI | IFF_VNET_HDR)

#define need_interfaces()        \
	do {                     \
		if (*hn_why_not) \
			skip();  \
	} while (0)

static void make_bridge(const char *name, bool on)
{
	char text[IFNAMSIZ];

	snprintf(text, sizeof(text), "%s", name);
	if (hn_control(on ? SIOCBRADDBR : SIOCBRDELBR, text)) {
		print_message("skipping: this kernel has no bridge: %s\n", strerror(errno));
		skip();
	}
}

static int master_of(const char *name)
{
	struct netlink_link link;

	assert_int_equal(netlink_get(name, 0, &link, NULL), 0);
	return link.master;
}

static void rename_to(const char *from, const char *to)
{
	struct ifreq ifr = {0};

	snprintf(ifr.ifr_name, sizeof(ifr.ifr_name), "%s", from);
	snprintf(ifr.ifr_newname, sizeof(ifr.ifr_newname), "%s", to);
	assert_int_equal(hn_control(SIOCSIFNAME, &ifr), 0);
}

/* One that was there is left as it was: out of the bridge, and down or up as before. */
static void test_left_as_it_was(void **state)
{
	struct net_backend *net;

	need_interfaces();
	make_bridge("br0", true);
	hn_tap_persist("mine0", TAP_FLAGS, true);
	for (int up = 0; up < 2; up++) {
		hn_set_up("mine0", up);
		net = hn_create_or_fail(NULL, "tap,id=n0,ifname=mine0,br=br0");
		assert_true(hn_flags("mine0") & IFF_UP);
		assert_true(master_of("mine0"));
		net_destroy(net);
		assert_false(master_of("mine0"));
		assert_int_equal(!!(hn_flags("mine0") & IFF_UP), up);
	}
	/* also by another name */
	hn_set_up("mine0", false);
	net = hn_create_or_fail(NULL, "tap,id=n0,ifname=mine0,br=br0");
	hn_set_up("mine0", false);
	rename_to("mine0", "other0");
	hn_set_up("other0", true);
	net_destroy(net);
	assert_false(master_of("other0"));
	hn_tap_persist("other0", TAP_FLAGS, false);
	make_bridge("br0", false);
}

/* The longest header that a card can have, with a hash in it. */
static void test_cable_out(void **state)
{
	uint8_t frame[100], buf[200];
	struct iovec iov = {buf, sizeof(buf)};
	struct net_backend *net;
	int s;

	need_interfaces();
	net = hn_create_or_fail(NULL, "tap,id=n0,ifname=tap0,vnet_hdr=on");
	assert_int_equal(net->ops->set_offloads(net, 0, 20), 0);
	hn_set_up("tap0", true);
	s = hn_packet_socket("tap0", HN_ETHERTYPE);
	hn_frame(frame, sizeof(frame), 0);
	net_set_link(net, false);
	for (int i = 0; i < 3; i++)
		assert_int_equal(send(s, frame, sizeof(frame), 0), sizeof(frame));
	assert_true(hn_readable(net->ops->fd(net->queue[0]), 1000));
	assert_int_equal(net->ops->recv(net->queue[0], &iov, 1), -EAGAIN);
	assert_int_equal(counter_get(&net->queue[0]->counters.rx_dropped_down), 3);
	assert_int_equal(counter_get(&net->queue[0]->counters.rx_dropped_error), 0);
	net_set_link(net, true);
	assert_int_equal(send(s, frame, sizeof(frame), 0), sizeof(frame));
	assert_int_equal(net->ops->recv(net->queue[0], &iov, 1), 20 + sizeof(frame));
	close(s);
	net_destroy(net);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_left_as_it_was),
		cmocka_unit_test(test_cable_out),
	};

	hn_init();
	return cmocka_run_group_tests(tests, NULL, NULL);
}
