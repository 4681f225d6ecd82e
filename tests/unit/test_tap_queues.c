/*
 * TAPs with several queues, with real interfaces in a network namespace of this test's own: which queues
 * carry frames, that flows come back on the queue that they were sent on, fds=, refusals. Skipped, with
 * the reason, where a namespace or a TAP can't be made.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <net/ethernet.h>

#include "hostnet_fixture.h"

#define FRAME 60

/* A UDP datagram of flow i, there (from the guest) or back. */
static void make_frame(uint8_t *frame, unsigned int i, bool back)
{
	static const uint8_t start[34] = {0x52, 0x54, 0, 1, 2,	3, 2, 0, 0, 0,	0,  1, 8,
					  0,	0x45, 0, 0, 46, 0, 0, 0, 0, 64, 17, 0, 0};
	uint8_t *ip = frame + 14, *udp = frame + 34;

	memset(frame, 0, FRAME);
	memcpy(frame, start, sizeof(start));
	memcpy(ip + 12, back ? "\x0a\0\0\1" : "\x0a\0\0\2", 4);
	memcpy(ip + 16, back ? "\x0a\0\0\2" : "\x0a\0\0\1", 4);
	udp[back ? 2 : 0] = 0x40;
	udp[back ? 3 : 1] = (uint8_t)i;
	udp[back ? 0 : 2] = 0x20;
	udp[5] = 26;
}

/* The queue on which a frame comes in; -1: on none within a moment. */
static int comes_on(struct net_backend *net, uint8_t port)
{
	for (int tries = 0; tries < 20; tries++) {
		for (unsigned int i = 0; i < net->n_queues; i++) {
			uint8_t buf[2048];
			struct iovec iov = {buf, sizeof(buf)};

			if (!hn_readable(net->ops->fd(net->queue[i]), 0))
				continue;
			assert_true(net->ops->recv(net->queue[i], &iov, 1) > 0);
			if (buf[net->hdr_len + 37] == port && buf[net->hdr_len + 36] == 0x40)
				return (int)i;
		}
		usleep(5000);
	}
	return -1;
}

/* Sends flow i out on queue `queue`, and back from the host; returns where it comes in. */
static int there_and_back(struct net_backend *net, int s, unsigned int flow, unsigned int queue)
{
	uint8_t buf[12 + FRAME] = {0};
	struct iovec iov = {buf, net->hdr_len + FRAME};
	struct counter *sent = &net->queue[queue]->counters.tx_packets;
	uint64_t before = counter_get(sent);

	make_frame(buf + net->hdr_len, flow, false);
	assert_int_equal(net->ops->send(net->queue[queue], &iov, 1), 0);
	assert_int_equal(counter_get(sent), before + 1);
	make_frame(buf, flow, true);
	assert_int_equal(send(s, buf, FRAME, 0), FRAME);
	return comes_on(net, (uint8_t)flow);
}

static void check_queues(struct net_backend *net, const char *name)
{
	int s;

	hn_set_up(name, true);
	s = hn_packet_socket(name, ETH_P_IP);
	assert_int_equal(net->n_queues, 4);
	assert_int_equal(there_and_back(net, s, 0, 0), 0);
	assert_int_equal(net->ops->set_queues(net, 4), 0);
	for (unsigned int flow = 1; flow < 33; flow++)
		assert_int_equal(there_and_back(net, s, flow, flow % 4), (int)(flow % 4));
	/* queues that are none any more get nothing */
	assert_int_equal(net->ops->set_queues(net, 2), 0);
	for (unsigned int flow = 40; flow < 56; flow++)
		assert_true(there_and_back(net, s, flow, 0) < 2);
	assert_int_equal(net->ops->set_queues(net, 1), 0);
	assert_int_equal(net->ops->set_queues(net, 3), 0);
	for (unsigned int flow = 60; flow < 66; flow++)
		assert_int_equal(there_and_back(net, s, flow, flow % 3), (int)(flow % 3));
	/* offloads and the header's length hold for all, also those that come later */
	if (net->has_hdr) {
		assert_int_equal(net->ops->set_offloads(net, 0, 12), 0);
		assert_int_equal(net->ops->set_queues(net, 4), 0);
		for (unsigned int flow = 70; flow < 78; flow++)
			assert_int_equal(there_and_back(net, s, flow, flow % 4), (int)(flow % 4));
	}
	close(s);
}

static void test_queues(void **state)
{
	struct net_backend *net;

	if (*hn_why_not)
		skip();
	for (unsigned int i = 0; i < 2; i++) {
		net = hn_create_or_fail(NULL, i ? "tap,id=n0,ifname=vq0,queues=4,vnet_hdr=off"
						: "tap,id=n0,ifname=vq0,queues=4");
		check_queues(net, "vq0");
		net_destroy(net);
		assert_int_equal(if_nametoindex("vq0"), 0);
	}
}

#define QUEUE (IFF_TAP | IFF_NO_PI | IFF_VNET_HDR)

static void test_fds(void **state)
{
	char text[120];
	int fd[4], other;

	hn_refused("tap,id=n0,fds=3:x", -EINVAL, "not the numbers");
	hn_refused("tap,id=n0,fds=3::4", -EINVAL, "not the numbers");
	hn_refused("tap,id=n0,fds=3:", -EINVAL, "not the numbers");
	hn_refused("tap,id=n0,fds=3:3", -EINVAL, "twice");
	hn_refused("tap,id=n0,fds=3:4,queues=2", -EINVAL, "queues=2");
	hn_refused("tap,id=n0,fds=3:4,fd=3", -EINVAL, "same thing twice");
	hn_refused("tap,id=n0,fds=3:4,ifname=vq1", -EINVAL, "stands alone");
	hn_refused("tap,id=n0,fds=987:988", -EBADF, "no file is open");
	if (*hn_why_not)
		skip();
	for (int i = 0; i < 4; i++)
		fd[i] = hn_tap("vq1", QUEUE | IFF_MULTI_QUEUE);
	other = hn_tap("vq2", QUEUE | IFF_MULTI_QUEUE);
	snprintf(text, sizeof(text), "tap,id=n0,fds=%d:%d:%d", fd[0], fd[1], other);
	hn_refused(text, -EINVAL, "one of vq2");
	close(other);
	other = hn_tap("vq2", IFF_TAP | IFF_NO_PI);
	snprintf(text, sizeof(text), "tap,id=n0,fds=%d:%d", fd[0], other);
	hn_refused(text, -EINVAL, "one of vq2");
	close(other);
	/* what was refused is still open, and its owner's */
	snprintf(text, sizeof(text), "tap,id=n0,fds=%d:%d:%d:%d", fd[0], fd[1], fd[2], fd[3]);
	struct net_backend *net = hn_create_or_fail(NULL, text);
	check_queues(net, "vq1");
	net_destroy(net);
	assert_int_equal(if_nametoindex("vq1"), 0);
}

static void test_refusals(void **state)
{
	hn_refused("tap,id=n0,queues=0", -ERANGE, "queues");
	hn_refused("tap,id=n0,queues=17", -ERANGE, "queues");
	if (*hn_why_not)
		skip();
	/* one that is there, with one queue */
	hn_tap_persist("vq3", QUEUE, true);
	hn_refused("tap,id=n0,ifname=vq3,queues=2", -EINVAL, "multi_queue");
	net_destroy(hn_create_or_fail(NULL, "tap,id=n0,ifname=vq3"));
	hn_tap_persist("vq3", QUEUE, false);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_queues),
		cmocka_unit_test(test_fds),
		cmocka_unit_test(test_refusals),
	};

	hn_init();
	return cmocka_run_group_tests(tests, NULL, NULL);
}
