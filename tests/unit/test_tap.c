/*
 * TAP, with real interfaces in a network namespace of this test's own. Skipped, with the reason,
 * where that can't be made.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <net/ethernet.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/wait.h>

#include "hostnet_fixture.h"

static void wait_readable(int fd)
{
	assert_true(hn_readable(fd, 2000));
}

/* Frames both ways with a header of hdr_len bytes, in one piece and in several. */
static void check_traffic(struct net_backend *net, const char *name, unsigned int hdr_len)
{
	uint8_t buf[4096], frame[1514];
	struct net_queue *q = net->queue[0];
	struct iovec iov[4];
	int s = hn_packet_socket(name, HN_ETHERTYPE);

	assert_int_equal(net->ops->set_offloads(net, 0, hdr_len), 0);
	assert_int_equal(net->hdr_len, hdr_len);
	assert_int_equal(net->frame_max, 1518);
	hn_frame(frame, sizeof(frame), 1);
	memset(buf, 0, sizeof(buf));

	/* out: header and frame apart, the frame in two */
	iov[0] = (struct iovec){buf, hdr_len};
	iov[1] = (struct iovec){frame, 100};
	iov[2] = (struct iovec){frame + 100, sizeof(frame) - 100};
	assert_int_equal(net->ops->send(q, hdr_len ? iov : iov + 1, hdr_len ? 3 : 2), 0);
	wait_readable(s);
	assert_int_equal(recv(s, buf, sizeof(buf), 0), sizeof(frame));
	assert_memory_equal(buf, frame, sizeof(frame));

	/* in: nothing there, then one frame over three pieces */
	hn_frame(frame, sizeof(frame), 2);
	iov[0] = (struct iovec){buf, 7};
	iov[1] = (struct iovec){buf + 7, 93};
	iov[2] = (struct iovec){buf + 100, sizeof(buf) - 100};
	assert_int_equal(net->ops->recv(q, iov, 3), -EAGAIN);
	assert_int_equal(send(s, frame, sizeof(frame), 0), sizeof(frame));
	wait_readable(net->ops->fd(q));
	memset(buf, 0xee, sizeof(buf));
	assert_int_equal(net->ops->recv(q, iov, 3), sizeof(frame) + hdr_len);
	assert_memory_equal(buf + hdr_len, frame, sizeof(frame));
	if (hdr_len)
		assert_int_equal(((struct net_hdr *)buf)->gso_type, 0);
	close(s);
}

static void test_create(void **state)
{
	struct net_backend *net;

	if (*hn_why_not)
		skip();
	net = hn_create_or_fail(NULL, "tap,id=n0,ifname=vt0");
	assert_int_not_equal(if_nametoindex("vt0"), 0);
	assert_true(net->has_hdr);
	assert_int_equal(net->offloads_out & net->offloads_in & ~NET_OFFLOAD_USO, /* Linux 6.2 */
			 NET_OFFLOAD_CSUM | NET_OFFLOAD_TSO4 | NET_OFFLOAD_TSO6 | NET_OFFLOAD_ECN |
				 NET_OFFLOAD_UFO);
	hn_set_up("vt0", true);
	check_traffic(net, "vt0", 10);
	check_traffic(net, "vt0", 12);
	assert_int_equal(counter_get(&net->queue[0]->counters.tx_packets), 2);
	assert_int_equal(counter_get(&net->queue[0]->counters.tx_bytes), 2 * 1514);
	assert_int_equal(counter_get(&net->queue[0]->counters.rx_packets), 2);
	assert_int_equal(counter_get(&net->queue[0]->counters.rx_bytes), 2 * 1514);
	/* what vireo made goes with it */
	net_destroy(net);
	assert_int_equal(if_nametoindex("vt0"), 0);
}

static void test_no_header(void **state)
{
	struct net_backend *net;

	if (*hn_why_not)
		skip();
	net = hn_create_or_fail(NULL, "tap,id=n0,ifname=vt0,vnet_hdr=off");
	assert_false(net->has_hdr);
	assert_int_equal(net->offloads_in | net->offloads_out, 0);
	hn_set_up("vt0", true);
	check_traffic(net, "vt0", 0);
	assert_int_equal(net->ops->set_offloads(net, NET_OFFLOAD_CSUM, 0), -EINVAL);
	assert_int_equal(net->ops->set_offloads(net, 0, 12), -EINVAL);
	net_destroy(net);
}

static void test_kernel_picks_name(void **state)
{
	struct net_backend *net;
	json_t *object = json_object();
	const char *name;

	if (*hn_why_not)
		skip();
	net = hn_create_or_fail(
		NULL, "tap,id=n0,vnet_hdr=on,script=no,downscript=no,vhost=off,queues=1,sndbuf=0");
	net_info(net, object);
	name = json_string_value(json_object_get(object, "ifname"));
	assert_memory_equal(name, "tap", 3);
	assert_int_not_equal(if_nametoindex(name), 0);
	json_decref(object);
	net_destroy(net);
}

static void test_attach(void **state)
{
	struct net_backend *net;

	if (*hn_why_not)
		skip();
	/* One that was made by somebody else, even with multi_queue, stays when vireo goes. */
	hn_tap_persist("vp0", IFF_TAP | IFF_NO_PI | IFF_MULTI_QUEUE, true);
	hn_set_up("vp0", true);
	net = hn_create_or_fail(NULL, "tap,id=n0,ifname=vp0");
	check_traffic(net, "vp0", 12);
	net_destroy(net);
	assert_int_not_equal(if_nametoindex("vp0"), 0);
	hn_tap_persist("vp0", IFF_TAP | IFF_NO_PI | IFF_MULTI_QUEUE, false);
	assert_int_equal(if_nametoindex("vp0"), 0);
}

static void test_fd(void **state)
{
	struct net_backend *net;
	char text[80];
	int fd;

	if (*hn_why_not)
		skip();
	fd = hn_tap("vf0", IFF_TAP | IFF_NO_PI | IFF_VNET_HDR);
	fcntl(fd, F_SETFL, 0); /* vireo makes it non-blocking */
	hn_set_up("vf0", true);
	snprintf(text, sizeof(text), "tap,id=n0,fd=%d,vnet_hdr=off", fd);
	hn_refused(text, -EINVAL, "IFF_VNET_HDR");
	snprintf(text, sizeof(text), "tap,id=n0,fd=%d,ifname=vf0", fd);
	hn_refused(text, -EINVAL, "stands alone");
	snprintf(text, sizeof(text), "tap,id=n0,fd=%d", fd);
	net = hn_create_or_fail(NULL, text);
	assert_true(net->has_hdr);
	check_traffic(net, "vf0", 12);
	net_destroy(net);
	assert_int_equal(if_nametoindex("vf0"), 0);
}

static void test_bad_fd(void **state)
{
	char text[80];
	int fd;

	hn_refused("tap,id=n0,fd=x", -EINVAL, "not the number");
	hn_refused("tap,id=n0,fd=987", -EBADF, "no file is open");
	fd = open("/dev/null", O_RDWR);
	snprintf(text, sizeof(text), "tap,id=n0,fd=%d", fd);
	hn_refused(text, -EINVAL, "neither a TAP");
	close(fd);
	if (*hn_why_not)
		skip();
	fd = open("/dev/net/tun", O_RDWR); /* no interface yet */
	snprintf(text, sizeof(text), "tap,id=n0,fd=%d", fd);
	hn_refused(text, -EINVAL, "neither a TAP");
	close(fd);
	fd = hn_tap("vtun0", IFF_TUN | IFF_NO_PI);
	snprintf(text, sizeof(text), "tap,id=n0,fd=%d", fd);
	hn_refused(text, -EINVAL, "is a TUN");
	close(fd);
}

static void test_refusals(void **state)
{
	int fd;

	hn_refused("tap,id=n0,vhost=on", -ENOTSUP,
		   "vhost=on"); /* there is no control thread here */
	hn_refused("tap,id=n0,vhost=off,vhostforce=on", -EINVAL, "vhostforce=on contradict");
	hn_refused("tap,id=n0,vhost=off,vhostfd=3", -EINVAL, "vhostfd= contradict");
	hn_refused("tap,id=n0,vhostfd=3,vhostfds=3", -EINVAL, "vhostfds=");
	hn_refused("tap,id=n0,vnet_hdr=maybe", -EINVAL, "vnet_hdr");
	if (*hn_why_not)
		skip();
	hn_refused("tap,id=n0,ifname=abcdefghijklmnop", -ENAMETOOLONG, "15 characters");
	hn_refused("tap,id=n0,ifname=a/b", -EINVAL, "can't be the name");
	hn_refused("tap,id=n0,ifname=lo", -EINVAL, "is no TAP");
	fd = hn_tap("vb0", IFF_TAP | IFF_NO_PI);
	hn_refused("tap,id=n0,ifname=vb0", -EBUSY, "in use");
	close(fd);
}

/* An ordinary user can make no interface, and is told what would help. */
static void test_permission(void **state)
{
	int status, fd;
	pid_t pid;

	if (*hn_why_not)
		skip();
	/* One that has no owner is anybody's. */
	hn_tap_persist("vp0", IFF_TAP | IFF_NO_PI, true);
	fd = hn_tap("vp0", IFF_TAP | IFF_NO_PI);
	assert_int_equal(ioctl(fd, TUNSETOWNER, 0UL), 0);
	close(fd);
	fflush(NULL);
	pid = fork();
	if (!pid) {
		struct err err;

		if (setresuid(65534, 65534, 65534))
			_exit(1);
		if (access("/dev/net/tun", R_OK | W_OK)) /* its mode here is not the usual one */
			_exit(!hn_create(NULL, "tap,id=n0", &err) && err.code == -EACCES &&
					      strstr(err.msg, "fd=")
				      ? 0
				      : 4);
		if (hn_create(NULL, "tap,id=n0,ifname=vt9", &err) || err.code != -EPERM ||
		    !strstr(err.msg, "ip tuntap add dev vt9 mode tap user"))
			_exit(2);
		if (hn_create(NULL, "tap,id=n0,ifname=vp0", &err) || err.code != -EPERM ||
		    !strstr(err.msg, "vp0"))
			_exit(3);
		_exit(0);
	}
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_int_equal(status, 0);
	hn_tap_persist("vp0", IFF_TAP | IFF_NO_PI, false);
}

static void test_bridge(void **state)
{
	struct net_backend *net;
	struct ifreq ifr = {0};

	if (*hn_why_not)
		skip();
	if (hn_control(SIOCBRADDBR, (void *)"vbr0")) {
		print_message("skipped: this kernel makes no bridge: %s\n", strerror(errno));
		skip();
	}
	hn_refused("tap,id=n0,br=nobridge", -ENODEV, "no such interface");
	hn_refused("tap,id=n0,br=lo", -EOPNOTSUPP, "is no bridge");
	hn_set_mtu("vbr0", 9000);

	net = hn_create_or_fail(NULL, "tap,id=n0,ifname=vt0,br=vbr0");
	assert_true(hn_flags("vt0") & IFF_UP);
	assert_int_equal(net->frame_max, 9018); /* the bridge's MTU */
	snprintf(ifr.ifr_name, sizeof(ifr.ifr_name), "vbr0");
	ifr.ifr_ifindex = (int)if_nametoindex("vt0");
	assert_int_equal(hn_control(SIOCBRADDIF, &ifr), -1);
	assert_int_equal(errno, EBUSY); /* it is in already */
	net_destroy(net);

	/* A TAP that stays leaves the bridge again. */
	hn_tap_persist("vp0", IFF_TAP | IFF_NO_PI, true);
	net_destroy(hn_create_or_fail(NULL, "tap,id=n0,ifname=vp0,br=vbr0"));
	ifr.ifr_ifindex = (int)if_nametoindex("vp0");
	assert_int_equal(hn_control(SIOCBRADDIF, &ifr), 0);
	hn_refused("tap,id=n0,ifname=vp0,br=vbr0", -EBUSY, "in a bridge already");
	hn_tap_persist("vp0", IFF_TAP | IFF_NO_PI, false);
	assert_int_equal(hn_control(SIOCBRDELBR, (void *)"vbr0"), 0);
}

static void write_script(const char *path, const char *text)
{
	FILE *f = fopen(path, "w");

	assert_non_null(f);
	fputs(text, f);
	fclose(f);
	chmod(path, 0755);
}

static void test_scripts(void **state)
{
	char dir[] = "/tmp/vireo-test-XXXXXX", text[512], up[64], down[64], log[64], got[64] = "";
	FILE *f;

	if (*hn_why_not)
		skip();
	assert_non_null(mkdtemp(dir));
	snprintf(up, sizeof(up), "%s/up", dir);
	snprintf(down, sizeof(down), "%s/down", dir);
	snprintf(log, sizeof(log), "%s/log", dir);
	snprintf(text, sizeof(text), "#!/bin/sh\necho up $1 $# >> %s\n", log);
	write_script(up, text);
	snprintf(text, sizeof(text), "#!/bin/sh\necho down $1 $# >> %s\n", log);
	write_script(down, text);
	snprintf(text, sizeof(text), "tap,id=n0,ifname=vt0,script=%s,downscript=%s", up, down);
	net_destroy(hn_create_or_fail(NULL, text));
	f = fopen(log, "r");
	assert_non_null(f);
	assert_true(fread(got, 1, sizeof(got) - 1, f) > 0);
	fclose(f);
	assert_string_equal(got, "up vt0 1\ndown vt0 1\n");

	write_script(up, "#!/bin/sh\nexit 3\n");
	snprintf(text, sizeof(text), "tap,id=n0,ifname=vt0,script=%s", up);
	hn_refused(text, -EIO, "status 3");
	unlink(up);
	hn_refused(text, -ENOENT, "can't be run");
	unlink(down);
	unlink(log);
	rmdir(dir);
}

/* What a host can do to a running TAP: each costs frames, and is counted where it happened. */
static void test_losses(void **state)
{
	struct net_backend *net;
	struct net_counters *c;
	struct ifreq ifr = {0};
	uint8_t buf[2048] = {0};
	struct iovec iov = {buf, 12 + 64};
	int s;

	if (*hn_why_not)
		skip();
	net = hn_create_or_fail(NULL, "tap,id=n0,ifname=vt0");
	c = &net->queue[0]->counters;
	net->ops->set_offloads(net, 0, 12);
	hn_frame(buf + 12, 64, 0);

	/* down */
	assert_int_equal(net->ops->send(net->queue[0], &iov, 1), 0);
	assert_int_equal(counter_get(&c->tx_dropped_down), 1);
	hn_set_up("vt0", true);
	assert_int_equal(net->ops->send(net->queue[0], &iov, 1), 0);
	assert_int_equal(counter_get(&c->tx_packets), 1);

	/* refused: too short for Ethernet, shorter than the header, a header that makes no sense */
	iov.iov_len = 12 + 5;
	assert_int_equal(net->ops->send(net->queue[0], &iov, 1), 0);
	iov.iov_len = 3;
	assert_int_equal(net->ops->send(net->queue[0], &iov, 1), 0);
	iov.iov_len = 12 + 64;
	((struct net_hdr *)buf)->gso_type = 0x55;
	assert_int_equal(net->ops->send(net->queue[0], &iov, 1), 0);
	((struct net_hdr *)buf)->gso_type = 0;
	assert_int_equal(counter_get(&c->tx_dropped_refused), 3);

	/* link down, both ways */
	s = hn_packet_socket("vt0", HN_ETHERTYPE);
	net_set_link(net, false);
	assert_int_equal(net->ops->send(net->queue[0], &iov, 1), 0);
	assert_int_equal(counter_get(&c->tx_dropped_down), 2);
	assert_int_equal(send(s, buf + 12, 64, 0), 64);
	assert_int_equal(send(s, buf + 12, 64, 0), 64);
	iov.iov_len = sizeof(buf);
	assert_int_equal(net->ops->recv(net->queue[0], &iov, 1), -EAGAIN);
	assert_int_equal(counter_get(&c->rx_dropped_down), 2);
	net_set_link(net, true);
	assert_int_equal(net->ops->recv(net->queue[0], &iov, 1), -EAGAIN);
	assert_int_equal(send(s, buf + 12, 64, 0), 64);
	assert_int_equal(net->ops->recv(net->queue[0], &iov, 1), 12 + 64);
	close(s);

	/* deleted under our feet: moving it away and ending that namespace would do, too */
	snprintf(ifr.ifr_name, sizeof(ifr.ifr_name), "vt0");
	if (system("ip link del vt0 2>/dev/null") == 0) {
		iov.iov_len = 12 + 64;
		assert_int_equal(net->ops->send(net->queue[0], &iov, 1), 0);
		assert_int_equal(counter_get(&c->tx_dropped_down), 3);
		assert_int_equal(net->ops->recv(net->queue[0], &iov, 1), -ENODEV);
		assert_int_equal(net->ops->recv(net->queue[0], &iov, 1), -ENODEV);
	}
	net_destroy(net);
}

struct full {
	unsigned int found;
	uint64_t n;
};

static void visit_full(void *opaque, const char *owner, const char *part,
		       const struct counter_desc *table, const void *base)
{
	struct full *full = opaque;

	if (strcmp(part, "interface") != 0)
		return;
	assert_string_equal(owner, "n0");
	assert_string_equal(table[0].name, "rx-dropped-full");
	assert_int_equal(strncmp(table[0].help, COUNTER_LOST, strlen(COUNTER_LOST)), 0);
	assert_null(table[1].name);
	full->found++;
	full->n = counter_get(base);
}

static uint64_t lost_to_full_queue(struct net_backend *net)
{
	struct full full = {0};

	net_counters_each(net, visit_full, &full);
	assert_int_equal(full.found, 1);
	return full.n;
}

/* What the kernel drops because nobody reads shows, whoever should have; what it dropped before doesn't. */
static void test_full_queue(void **state)
{
	struct net_backend *net;
	uint8_t frame[64];
	struct ifreq ifr = {.ifr_qlen = 10};
	struct full full = {0};
	int s;

	if (*hn_why_not)
		skip();
	hn_frame(frame, sizeof(frame), 0);
	for (unsigned int round = 0; round < 2; round++) {
		net = hn_create_or_fail(NULL, "tap,id=n0,ifname=vt0");
		assert_int_equal(lost_to_full_queue(net), 0);
		snprintf(ifr.ifr_name, sizeof(ifr.ifr_name), "vt0");
		hn_set_up("vt0", true);
		s = hn_packet_socket("vt0", HN_ETHERTYPE);
		assert_int_equal(ioctl(s, SIOCSIFTXQLEN, &ifr), 0);
		/* Whether a sender is told depends on what stands before the interface. */
		for (unsigned int i = 0; i < 30; i++)
			assert_true(send(s, frame, sizeof(frame), 0) > 0 || errno == ENOBUFS);
		assert_int_equal(lost_to_full_queue(net), 20);
		/* It lasts as long as somebody wants it to. */
		assert_int_equal(ioctl(net->ops->fd(net->queue[0]), TUNSETPERSIST, !round), 0);
		close(s);
		if (round && system("ip link del vt0 2>/dev/null") == 0)
			net_counters_each(net, visit_full, &full);
		assert_int_equal(full.found, 0);
		net_destroy(net);
	}
}

/* Large frames cross when they were negotiated, as one; the kernel takes the header's word for it.
 */
static void test_large_frames(void **state)
{
	struct net_backend *net;
	static uint8_t buf[12 + 60000];
	struct net_hdr *hdr = (struct net_hdr *)buf;
	uint8_t *ip = buf + 12 + 14, *tcp = ip + 20;
	const unsigned int total = sizeof(buf) - 12 - 14;
	struct iovec iov = {buf, sizeof(buf)};
	int s;

	if (*hn_why_not)
		skip();
	net = hn_create_or_fail(NULL, "tap,id=n0,ifname=vt0");
	hn_set_up("vt0", true);
	assert_int_equal(net->ops->set_offloads(net, NET_OFFLOAD_CSUM | NET_OFFLOAD_TSO4, 12), 0);
	assert_int_equal(net->ops->set_offloads(net, NET_OFFLOAD_TSO4, 12), -EINVAL);
	assert_int_equal(net->ops->set_offloads(net, 0, 12), 0);
	hn_frame(buf + 12, sizeof(buf) - 12, 0);
	ip[0] = 0x45;
	ip[1] = 0;
	ip[2] = (uint8_t)(total >> 8);
	ip[3] = (uint8_t)total;
	ip[6] = ip[7] = 0;
	ip[8] = 64;
	ip[9] = 6;
	tcp[12] = 0x50;
	*hdr = (struct net_hdr){.flags = 1,
				.gso_type = 1,
				.hdr_len = 54,
				.gso_size = 1448,
				.csum_start = 34,
				.csum_offset = 16};
	buf[12 + 12] = 8; /* IPv4 */
	buf[12 + 13] = 0;
	s = socket(AF_PACKET, SOCK_RAW, htons(ETH_P_IP));
	assert_int_equal(net->ops->send(net->queue[0], &iov, 1), 0);
	wait_readable(s);
	assert_int_equal(recv(s, buf, sizeof(buf), MSG_TRUNC), sizeof(buf) - 12);
	/* UDP segmentation, from Linux 6.2 on: the same, as a datagram in 42 pieces */
	if (net->offloads_out & NET_OFFLOAD_USO) {
		const unsigned int uso = NET_OFFLOAD_CSUM | NET_OFFLOAD_USO;

		assert_int_equal(net->ops->set_offloads(net, uso, 12), 0);
		memmove(buf + 12, buf, sizeof(buf) - 12);
		ip[9] = 17;
		tcp[4] = (uint8_t)((total - 20) >> 8);
		tcp[5] = (uint8_t)(total - 20);
		*hdr = (struct net_hdr){.flags = 1,
					.gso_type = NET_GSO_UDP_L4,
					.hdr_len = 42,
					.gso_size = 1448,
					.csum_start = 34,
					.csum_offset = 6};
		assert_int_equal(net->ops->send(net->queue[0], &iov, 1), 0);
		assert_int_equal(counter_get(&net->queue[0]->counters.tx_dropped_refused), 0);
		wait_readable(s);
		assert_int_equal(recv(s, buf, sizeof(buf), MSG_TRUNC), sizeof(buf) - 12);
	}
	close(s);
	net_destroy(net);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_create),
		cmocka_unit_test(test_no_header),
		cmocka_unit_test(test_kernel_picks_name),
		cmocka_unit_test(test_attach),
		cmocka_unit_test(test_fd),
		cmocka_unit_test(test_bad_fd),
		cmocka_unit_test(test_refusals),
		cmocka_unit_test(test_permission),
		cmocka_unit_test(test_bridge),
		cmocka_unit_test(test_scripts),
		cmocka_unit_test(test_losses),
		cmocka_unit_test(test_full_queue),
		cmocka_unit_test(test_large_frames),
	};

	hn_init();
	return cmocka_run_group_tests(tests, NULL, NULL);
}
