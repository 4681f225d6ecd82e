/*
 * -netdev macvtap, on a TAP that plays the physical card: what goes out on the wire is read from it, what
 * is written to it came in from there.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/wait.h>

#include "hostnet_fixture.h"
#include "net/netlink.h"

#define HDR 12

static const uint8_t mac_a[6] = {0x52, 0x54, 0, 0, 0, 0xa};
static const uint8_t mac_b[6] = {0x52, 0x54, 0, 0, 0, 0xb};
static const uint8_t mac_far[6] = {0x52, 0x54, 0, 0, 0, 0xf};
static const uint8_t mac_all[6] = {0xff, 0xff, 0xff, 0xff, 0xff, 0xff};

static bool no_macvtap;

/* The wire, a control loop, and the host that back ends get. */
struct world {
	int wire;
	struct loop *loop;
	struct net_host host;
};

static struct world *world_make(void)
{
	struct world *w = calloc(1, sizeof(*w));
	struct err err = {0};

	assert_non_null(w);
	w->wire = hn_wire("w0");
	assert_int_equal(loop_create(&w->loop, "control", 0, &err), 0);
	w->host.control = w->loop;
	return w;
}

static void world_end(struct world *w)
{
	loop_destroy(w->loop);
	close(w->wire);
	free(w);
}

static struct netlink_link get(const char *name)
{
	struct netlink_link link;
	struct err err = {0};

	if (netlink_get(name, 0, &link, &err))
		fail_msg("%s: %s", name, err.msg);
	return link;
}

static const char *name_of(struct net_backend *net)
{
	static char name[IFNAMSIZ];
	json_t *object = json_object();

	net_info(net, object);
	snprintf(name, sizeof(name), "%s", json_string_value(json_object_get(object, "ifname")));
	json_decref(object);
	return name;
}

/* A back end whose guest has this address. */
static struct net_backend *guest(struct world *w, const char *text, const uint8_t mac[6])
{
	struct net_backend *net = hn_create_or_fail(&w->host, text);
	struct err err = {0};

	if (net_set_mac(net, mac, &err))
		fail_msg("%s", err.msg);
	assert_int_equal(net->ops->set_offloads(net, 0, net->has_hdr ? HDR : 0), 0);
	return net;
}

static size_t make_frame(uint8_t *frame, const uint8_t to[6], const uint8_t from[6], uint8_t seed)
{
	memcpy(frame, to, 6);
	memcpy(frame + 6, from, 6);
	frame[12] = 0x88;
	frame[13] = 0xb5;
	for (int i = 14; i < 200; i++)
		frame[i] = (uint8_t)(seed + i);
	return 200;
}

static void guest_sends(struct net_backend *net, const uint8_t to[6], const uint8_t from[6],
			uint8_t seed)
{
	uint8_t buf[HDR + 200] = {0};
	struct iovec iov = {buf, HDR + make_frame(buf + HDR, to, from, seed)};

	assert_int_equal(net->ops->send(net->queue[0], &iov, 1), 0);
}

static void guest_has(struct net_backend *net, const uint8_t to[6], const uint8_t from[6],
		      uint8_t seed)
{
	uint8_t buf[2048], frame[200];
	struct iovec iov = {buf, sizeof(buf)};

	make_frame(frame, to, from, seed);
	assert_true(hn_readable(net->ops->fd(net->queue[0]), 2000));
	assert_int_equal(net->ops->recv(net->queue[0], &iov, 1), HDR + 200);
	assert_memory_equal(buf + HDR, frame, 200);
}

static void guest_has_none(struct net_backend *net)
{
	assert_false(hn_readable(net->ops->fd(net->queue[0]), 50));
}

static void wire_gives(struct world *w, const uint8_t to[6], const uint8_t from[6], uint8_t seed)
{
	uint8_t frame[200];

	make_frame(frame, to, from, seed);
	assert_int_equal(write(w->wire, frame, 200), 200);
}

static void wire_has(struct world *w, const uint8_t to[6], const uint8_t from[6], uint8_t seed)
{
	uint8_t buf[2048], frame[200];

	make_frame(frame, to, from, seed);
	assert_true(hn_readable(w->wire, 2000));
	assert_int_equal(read(w->wire, buf, sizeof(buf)), 200);
	assert_memory_equal(buf, frame, 200);
}

/* ---- tests ---- */

static void test_made_and_gone(void **state)
{
	static const uint8_t multicast[6] = {0x33, 0x33, 0, 0, 0, 1};
	struct net_backend *net;
	struct world *w;
	char name[IFNAMSIZ];

	if (*hn_why_not || no_macvtap)
		skip();
	w = world_make();
	net = guest(w, "macvtap,id=n0,link=w0", mac_a);
	snprintf(name, sizeof(name), "%s", name_of(net));
	assert_string_equal(name, "macvtap0");
	assert_true(net->has_hdr);
	assert_true(net->offloads_out & NET_OFFLOAD_TSO4);
	assert_int_equal(net->frame_max, 1518);
	assert_memory_equal(get(name).mac, mac_a, 6);
	assert_int_equal(get(name).lower, get("w0").index);
	assert_false(net_link_is_down(net));
	/* out, in, broadcast, multicast that the host knows nothing of; not another's */
	guest_sends(net, mac_far, mac_a, 1);
	wire_has(w, mac_far, mac_a, 1);
	wire_gives(w, mac_a, mac_far, 2);
	guest_has(net, mac_a, mac_far, 2);
	wire_gives(w, mac_all, mac_far, 3);
	guest_has(net, mac_all, mac_far, 3);
	wire_gives(w, multicast, mac_far, 4);
	guest_has(net, multicast, mac_far, 4);
	wire_gives(w, mac_b, mac_far, 5);
	guest_has_none(net);
	net_destroy(net);
	assert_int_equal(if_nametoindex(name), 0);
	assert_int_not_equal(if_nametoindex("w0"), 0);
	world_end(w);
}

static void test_modes(void **state)
{
	struct net_backend *a, *b;
	struct world *w;

	if (*hn_why_not || no_macvtap)
		skip();
	w = world_make();
	/* two guests reach each other, and the wire doesn't see it */
	a = guest(w, "macvtap,id=n0,link=w0,mode=bridge,ifname=mva", mac_a);
	b = guest(w, "macvtap,id=n0,link=w0,mode=bridge,ifname=mvb", mac_b);
	guest_sends(a, mac_b, mac_a, 1);
	guest_has(b, mac_b, mac_a, 1);
	guest_sends(b, mac_a, mac_b, 2);
	guest_has(a, mac_a, mac_b, 2);
	assert_false(hn_readable(w->wire, 50));
	guest_sends(a, mac_all, mac_a, 3);
	guest_has(b, mac_all, mac_a, 3);
	wire_has(w, mac_all, mac_a, 3);
	net_destroy(a);
	net_destroy(b);
	/* private: not at all */
	a = guest(w, "macvtap,id=n0,link=w0,mode=private", mac_a);
	b = guest(w, "macvtap,id=n0,link=w0,mode=private", mac_b);
	guest_sends(a, mac_b, mac_a, 4);
	wire_has(w, mac_b, mac_a, 4);
	wire_gives(w, mac_b, mac_a, 4); /* a switch that sends it back */
	guest_sends(a, mac_all, mac_a, 5);
	wire_has(w, mac_all, mac_a, 5);
	guest_has(b, mac_b, mac_a, 4); /* unicast: the switch's word is taken */
	guest_has_none(b);
	net_destroy(a);
	net_destroy(b);
	/* vepa: by way of the switch */
	a = guest(w, "macvtap,id=n0,link=w0,mode=vepa", mac_a);
	b = guest(w, "macvtap,id=n0,link=w0,mode=vepa", mac_b);
	guest_sends(a, mac_b, mac_a, 6);
	wire_has(w, mac_b, mac_a, 6);
	guest_has_none(b);
	wire_gives(w, mac_b, mac_a, 6);
	guest_has(b, mac_b, mac_a, 6);
	net_destroy(a);
	net_destroy(b);
	world_end(w);
}

/* The card itself: it takes the guest's address, all frames, and gets its own address back. */
static void test_passthru(void **state)
{
	struct net_backend *net;
	struct netlink_link before;
	struct world *w;

	if (*hn_why_not || no_macvtap)
		skip();
	w = world_make();
	before = get("w0");
	net = guest(w, "macvtap,id=n0,link=w0,mode=passthru", mac_a);
	assert_memory_equal(get("w0").mac, mac_a, 6);
	wire_gives(w, mac_b, mac_far, 1);
	guest_has(net, mac_b, mac_far, 1);
	hn_refused("macvtap,id=n0,link=w0", -EINVAL, "mode passthru has to be alone");
	net_destroy(net);
	assert_memory_equal(get("w0").mac, before.mac, 6);
	world_end(w);
}

struct wanted {
	const char *name;
	const uint8_t *mac;
};

static bool has_mac(void *arg)
{
	const struct wanted *wanted = arg;

	return !memcmp(get(wanted->name).mac, wanted->mac, 6);
}

/* The address follows the guest's, unless it was given. */
static void test_addresses(void **state)
{
	static const uint8_t group[6] = {1, 2, 3, 4, 5, 6};
	struct net_backend *net, *other;
	struct wanted wanted = {"macvtap0", mac_b};
	struct err err = {0};
	struct world *w;

	if (*hn_why_not || no_macvtap)
		skip();
	w = world_make();
	net = guest(w, "macvtap,id=n0,link=w0", mac_a);
	/* as from an I/O thread: the control loop does it */
	assert_int_equal(net_set_mac(net, mac_b, NULL), 0);
	assert_memory_equal(get("macvtap0").mac, mac_a, 6);
	assert_true(hn_run_until(w->loop, has_mac, &wanted));
	assert_int_equal(net_set_mac(net, group, NULL), 0);
	wire_gives(w, mac_b, mac_far, 1);
	guest_has(net, mac_b, mac_far, 1);
	wire_gives(w, mac_a, mac_far, 2);
	guest_has_none(net);
	/* no two of one address: at the start an error, later said, and what was stays */
	other = hn_create_or_fail(&w->host, "macvtap,id=n0,link=w0");
	assert_int_not_equal(net_set_mac(other, mac_b, &err), 0);
	assert_non_null(strstr(err.msg, "52:54:00:00:00:0b already (give the card its own mac=)"));
	net_destroy(other);
	other = guest(w, "macvtap,id=n0,link=w0,mac=52:54:00:00:00:0c", mac_a);
	assert_int_equal(get("macvtap1").mac[5], 0xc);
	assert_int_equal(net_set_mac(other, mac_a, NULL), 0);
	assert_int_equal(net_set_mac(net, get("macvtap1").mac, NULL), 0);
	wanted.mac = mac_a;
	assert_false(hn_run_until(w->loop, has_mac, &wanted));
	assert_memory_equal(get("macvtap0").mac, mac_b, 6);
	assert_int_equal(get("macvtap1").mac[5], 0xc);
	net_destroy(other);
	net_destroy(net);
	world_end(w);
}

static unsigned int carrier_told;

static void carrier(void *opaque)
{
	carrier_told++;
}

static const struct net_events events = {.carrier = carrier};

static bool is_down(void *arg)
{
	return net_link_is_down(arg);
}

static bool is_up(void *arg)
{
	return !net_link_is_down(arg);
}

static bool is_9000(void *arg)
{
	return net_frame_max(arg) == 9018;
}

static void test_cable(void **state)
{
	struct net_backend *net;
	int off = 0, on = 1;
	struct world *w;

	if (*hn_why_not || no_macvtap)
		skip();
	w = world_make();
	carrier_told = 0;
	net = guest(w, "macvtap,id=n0,link=w0", mac_a);
	net->events = &events;
	assert_true(hn_run_until(w->loop, is_up, net));
	assert_int_equal(carrier_told, 0);
	/* the parent's cable */
	assert_int_equal(ioctl(w->wire, TUNSETCARRIER, &off), 0);
	assert_true(hn_run_until(w->loop, is_down, net));
	guest_sends(net, mac_far, mac_a, 1);
	assert_int_equal(counter_get(&net->queue[0]->counters.tx_dropped_down), 1);
	assert_int_equal(ioctl(w->wire, TUNSETCARRIER, &on), 0);
	assert_true(hn_run_until(w->loop, is_up, net));
	assert_int_equal(carrier_told, 2);
	/* the parent, and the macvtap, down and up */
	hn_set_up("w0", false);
	assert_true(hn_run_until(w->loop, is_down, net));
	hn_set_up("w0", true);
	assert_true(hn_run_until(w->loop, is_up, net));
	hn_set_up("macvtap0", false);
	assert_true(hn_run_until(w->loop, is_down, net));
	hn_set_up("macvtap0", true);
	assert_true(hn_run_until(w->loop, is_up, net));
	guest_sends(net, mac_far, mac_a, 2);
	wire_has(w, mac_far, mac_a, 2);
	/* the MTU */
	hn_set_mtu("w0", 9000);
	hn_set_mtu("macvtap0", 9000);
	assert_true(hn_run_until(w->loop, is_9000, net));
	net_destroy(net);
	/* made on one that is down: no cable from the start */
	hn_set_up("w0", false);
	net = hn_create_or_fail(&w->host, "macvtap,id=n0,link=w0");
	assert_true(net_link_is_down(net));
	assert_false(hn_flags("w0") & IFF_UP); /* it is not ours to set up */
	net_destroy(net);
	world_end(w);
}

/* A parent that is deleted takes all with it, but not vireo. */
static void test_parent_gone(void **state)
{
	struct net_backend *net;
	uint8_t buf[2048];
	struct iovec iov = {buf, sizeof(buf)};
	struct world *w;

	if (*hn_why_not || no_macvtap)
		skip();
	w = world_make();
	net = guest(w, "macvtap,id=n0,link=w0", mac_a);
	assert_int_equal(netlink_delete(get("w0").index, NULL), 0);
	assert_int_equal(if_nametoindex("macvtap0"), 0);
	/* before the news is read */
	guest_sends(net, mac_far, mac_a, 1);
	assert_true(net->ops->recv(net->queue[0], &iov, 1) < 0);
	assert_true(hn_run_until(w->loop, is_down, net));
	guest_sends(net, mac_far, mac_a, 1);
	assert_true(counter_get(&net->queue[0]->counters.tx_dropped_down) >= 1);
	assert_true(net->ops->recv(net->queue[0], &iov, 1) < 0);
	net_set_mac(net, mac_b, NULL);
	net_destroy(net);
	world_end(w);
}

static void test_refusals(void **state)
{
	struct netlink_link parent;
	struct net_backend *net;
	struct world *w;

	hn_refused("macvtap,id=n0", -EINVAL, "needs link=");
	if (*hn_why_not || no_macvtap)
		skip();
	w = world_make();
	hn_refused("macvtap,id=n0,link=nothing0", -ENODEV, "there is no such interface");
	hn_refused("macvtap,id=n0,link=abcdefghijklmnop", -ENAMETOOLONG, "no such interface");
	hn_refused("macvtap,id=n0,link=w0,ifname=abcdefghijklmnop", -ENAMETOOLONG, "1 to 15");
	hn_refused("macvtap,id=n0,link=w0,ifname=a/b", -EINVAL, "can't be the name");
	hn_refused("macvtap,id=n0,link=w0,ifname=a%d", -EINVAL, "can't be the name");
	hn_refused("macvtap,id=n0,link=w0,ifname=w0", -EEXIST,
		   "there is an interface of that name");
	net = hn_create_or_fail(NULL, "macvtap,id=n0,link=w0,ifname=mine");
	hn_refused("macvtap,id=n0,link=w0,ifname=mine", -EEXIST, "ip link delete mine");
	net_destroy(net);
	hn_refused("macvtap,id=n0,link=w0,mode=bond", -EINVAL, "mode");
	hn_refused("macvtap,id=n0,link=lo", -EINVAL, "no Ethernet");
	hn_refused("macvtap,id=n0,link=w0,mac=01:00:00:00:00:01", -EINVAL, "group address");
	/* all of these have left nothing behind */
	if (!hn_control(SIOCBRADDBR, (void *)"vbr0")) {
		parent = get("w0");
		assert_int_equal(netlink_set_master(parent.index, get("vbr0").index, NULL), 0);
		hn_refused("macvtap,id=n0,link=w0", -EBUSY, "in use by a bridge");
		assert_int_equal(netlink_delete(get("vbr0").index, NULL), 0);
	}
	assert_int_equal(if_nametoindex("macvtap0"), 0);
	world_end(w);
}

/* A UDP datagram of one of many flows, from the wire. */
static void wire_gives_flow(struct world *w, uint8_t flow)
{
	uint8_t f[60] = {0};

	memcpy(f, mac_a, 6);
	memcpy(f + 6, mac_far, 6);
	f[12] = 8; /* IPv4 */
	f[14] = 0x45;
	f[17] = 46;
	f[22] = 64;
	f[23] = 17;
	f[29] = f[33] = 1;
	f[35] = flow; /* source port */
	f[37] = 53;
	f[39] = 26;
	assert_int_equal(write(w->wire, f, sizeof(f)), sizeof(f));
}

static unsigned int take_all(struct net_backend *net, unsigned int queue)
{
	uint8_t buf[2048];
	struct iovec iov = {buf, sizeof(buf)};
	unsigned int n = 0;

	while (net->ops->recv(net->queue[queue], &iov, 1) > 0)
		n++;
	return n;
}

static void test_queues(void **state)
{
	struct net_backend *net;
	unsigned int n[2];
	struct world *w;

	if (*hn_why_not || no_macvtap)
		skip();
	w = world_make();
	net = guest(w, "macvtap,id=n0,link=w0,queues=2", mac_a);
	assert_int_equal(net->n_queues, 2);
	/* one at first */
	for (uint8_t i = 0; i < 32; i++)
		wire_gives_flow(w, i);
	assert_true(hn_readable(net->ops->fd(net->queue[0]), 2000));
	assert_int_equal(take_all(net, 0), 32);
	assert_int_equal(net->ops->set_queues(net, 2), 0);
	for (uint8_t i = 0; i < 32; i++)
		wire_gives_flow(w, i);
	assert_true(hn_readable(net->ops->fd(net->queue[1]), 2000));
	n[0] = take_all(net, 0);
	n[1] = take_all(net, 1);
	assert_int_equal(n[0] + n[1], 32);
	assert_true(n[0] && n[1]);
	assert_int_equal(net->ops->set_queues(net, 1), 0);
	for (uint8_t i = 0; i < 32; i++)
		wire_gives_flow(w, i);
	assert_true(hn_readable(net->ops->fd(net->queue[0]), 2000));
	assert_int_equal(take_all(net, 0), 32);
	net_destroy(net);
	assert_int_equal(if_nametoindex("macvtap0"), 0);
	world_end(w);
}

/* A user may not, and is told what would do. */
static void test_permission(void **state)
{
	struct world *w;
	int status;
	pid_t pid;

	if (*hn_why_not || no_macvtap)
		skip();
	w = world_make();
	fflush(NULL);
	pid = fork();
	if (!pid) {
		struct err err;

		if (setresuid(65534, 65534, 65534))
			_exit(1);
		_exit(!hn_create(NULL, "macvtap,id=n0,link=w0", &err) && err.code == -EPERM &&
				      strstr(err.msg, "-netdev bridge")
			      ? 0
			      : 2);
	}
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_int_equal(status, 0);
	world_end(w);
}

static bool has_gone(void *arg)
{
	return !if_nametoindex(arg);
}

static void test_killed(void **state)
{
	struct world *w;
	int fds[2];
	pid_t pid;
	char byte;

	if (*hn_why_not || no_macvtap)
		skip();
	w = world_make();
	assert_int_equal(pipe2(fds, O_CLOEXEC), 0);
	fflush(NULL);
	pid = fork();
	if (!pid) {
		hn_create_or_fail(NULL, "macvtap,id=n0,link=w0,ifname=mvk");
		if (write(fds[1], "", 1) == 1)
			pause();
		_exit(1);
	}
	assert_int_equal(read(fds[0], &byte, 1), 1);
	assert_int_not_equal(if_nametoindex("mvk"), 0);
	kill(pid, SIGKILL);
	waitpid(pid, NULL, 0);
	assert_true(hn_run_until(w->loop, has_gone, (void *)"mvk"));
	close(fds[0]);
	close(fds[1]);
	world_end(w);
}

/* The kernel names /dev/tapN after the index, which another namespace's has, too: then the number
 * decides. */
static void test_node_of_another(void **state)
{
	struct net_backend *net, *other;
	char path[64];
	struct stat st;
	struct world *w;
	unsigned int index;

	if (*hn_why_not || no_macvtap)
		skip();
	w = world_make();
	net = guest(w, "macvtap,id=n0,link=w0", mac_a);
	index = if_nametoindex("macvtap0");
	snprintf(path, sizeof(path), "/dev/tap%u", index + 1);
	if (!stat(path, &st) || mknod(path, S_IFCHR | 0600, makedev(1, 3))) {
		net_destroy(net);
		world_end(w);
		skip();
	}
	other = guest(w, "macvtap,id=n0,link=w0", mac_b);
	unlink(path);
	assert_int_equal(if_nametoindex("macvtap1"), index + 1);
	guest_sends(other, mac_a, mac_b, 1);
	guest_has(net, mac_a, mac_b, 1);
	net_destroy(other);
	net_destroy(net);
	world_end(w);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_made_and_gone),	cmocka_unit_test(test_modes),
		cmocka_unit_test(test_passthru),	cmocka_unit_test(test_addresses),
		cmocka_unit_test(test_queues),		cmocka_unit_test(test_cable),
		cmocka_unit_test(test_parent_gone),	cmocka_unit_test(test_refusals),
		cmocka_unit_test(test_permission),	cmocka_unit_test(test_killed),
		cmocka_unit_test(test_node_of_another),
	};

	hn_init();
	if (!*hn_why_not) {
		struct netlink_link link;
		struct err err = {0};
		int wire = hn_wire("w0");
		dev_t dev;

		no_macvtap = netlink_add_macvtap(NULL, (int)if_nametoindex("w0"), 4, NULL, &link,
						 &dev, &err);
		if (no_macvtap)
			print_message("skipping: no macvtap: %s\n", err.msg);
		close(wire);
	}
	return cmocka_run_group_tests(tests, NULL, NULL);
}
