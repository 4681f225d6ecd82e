/*
 * vhost-net: the kernel's, on a TAP in a network namespace of this test's own, with this test as the
 * guest. Skipped, with the reason, where there is none. What is refused is tested everywhere.
 *
 * Frames are of the local experimental EtherType 0x88b5; a packet socket is the other end.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <linux/virtio_config.h>
#include <linux/virtio_net.h>
#include <linux/virtio_ring.h>
#include <sys/eventfd.h>
#include <sys/mman.h>

#include "hostnet_fixture.h"
#include "vdriver.h"

#define RAM	 0x100000
#define RAM_SIZE 0x200000
#define SIZE	 64
#define BUF(i)	 (RAM + 0x100000 + 4096 * (uint64_t)(i))
#define LEN	 100 /* bytes of a frame */
#define BIT(n)	 (UINT64_C(1) << (n))

static char no_vhost[128]; /* why; empty: there is vhost-net */
static struct loop *control;
static struct net_host host;

/* ---- what is refused ---- */

static void test_refusals(void **state)
{
	char text[80];
	struct err err;
	struct net_backend *net;
	int null = open("/dev/null", O_RDWR);

	if (*hn_why_not)
		skip();
	hn_refused_by(&host, "tap,id=n0,vhost=on,vhostfd=999", -EBADF, "999");
	snprintf(text, sizeof(text), "tap,id=n0,vhostfd=%d", null);
	hn_refused_by(&host, text, -EINVAL, "not an open /dev/vhost-net");
	assert_true(fcntl(null, F_GETFD) >= 0); /* left as it was */
	hn_refused_by(&host, "tap,id=n0,vhostfd=x", -EINVAL, "vhostfd=x");
	hn_refused_by(&host, "tap,id=n0,vhostfd=", -EINVAL, "vhostfd=");
	hn_refused_by(&host, "tap,id=n0,vhostfds=3:4", -EINVAL, "2 file descriptors for 1 queue");
	hn_refused_by(&host, "tap,id=n0,vhostfds=3:99999999999999999", -EINVAL, "not the number");
	if (*no_vhost) {
		hn_refused_by(&host, "tap,id=n0,vhost=on", -ENOENT, "modprobe vhost_net");
		hn_refused_by(&host, "tap,id=n0,vhostforce=on", -ENOENT, "vhost=off");
	}
	/* Not asked for: used where it works, and else nothing is said. */
	net = hn_create(&host, "tap,id=n0", &err);
	assert_non_null(net);
	assert_int_equal(!net->ring_features, *no_vhost != 0);
	assert_false(net->rings_asked);
	net_destroy(net);
	net = hn_create(&host, "tap,id=n0,vhost=off", &err);
	assert_non_null(net);
	assert_int_equal(net->ring_features, 0);
	net_destroy(net);
	close(null);
}

/* ---- a guest's rings ---- */

struct guest {
	struct net_backend *net;
	struct net_queue *q;
	struct mem mem;
	struct vdriver d[NET_RINGS];
	struct net_ring ring[NET_RINGS];
	struct net_events events;
	unsigned int hdr_len, broken[NET_RINGS];
	int packets; /* the other end */
	uint8_t n;   /* frames sent or received */
};

static void broken(void *opaque, struct net_queue *q, enum net_ring_index which)
{
	((struct guest *)opaque)->broken[which]++;
}

static struct guest *begin(struct guest *g, const char *options, uint64_t features)
{
	char text[80];

	memset(g, 0, sizeof(*g));
	g->mem = (struct mem){.n_ranges = 1, .size = RAM_SIZE};
	g->mem.range[0] = (struct mem_range){.gpa = RAM,
					     .size = RAM_SIZE,
					     .hva = mmap(NULL, RAM_SIZE, PROT_READ | PROT_WRITE,
							 MAP_PRIVATE | MAP_ANONYMOUS, -1, 0)};
	snprintf(text, sizeof(text), "tap,id=n0,ifname=vh0,vhost=on%s%s", options ? "," : "",
		 options ? options : "");
	g->net = hn_create_or_fail(&host, text);
	assert_true(g->net->rings_asked);
	g->q = g->net->queue[0];
	g->events = (struct net_events){.ring_broken = broken};
	g->net->events = &g->events;
	g->net->events_opaque = g;
	g->hdr_len = features & (BIT(VIRTIO_NET_F_MRG_RXBUF) | BIT(VIRTIO_F_VERSION_1)) ? 12 : 10;
	assert_int_equal(g->net->ops->set_offloads(g->net, 0, g->net->has_hdr ? g->hdr_len : 0), 0);
	hn_set_up("vh0", true);
	g->packets = hn_packet_socket("vh0", HN_ETHERTYPE);
	for (unsigned int i = 0; i < NET_RINGS; i++) {
		vdriver_init(&g->d[i], &g->mem, RAM + 0x10000 * i, SIZE);
		g->ring[i] = (struct net_ring){.size = SIZE,
					       .desc = g->d[i].desc,
					       .avail = g->d[i].avail,
					       .used = g->d[i].used,
					       .position = UINT32_MAX,
					       .kick_fd = eventfd(0, EFD_NONBLOCK),
					       .call_fd = eventfd(0, EFD_NONBLOCK)};
	}
	assert_int_equal(
		g->net->ops->rings_prepare(g->net, &g->mem, features & g->net->ring_features), 0);
	return g;
}

static void start(struct guest *g, enum net_ring_index which)
{
	assert_int_equal(g->net->ops->ring_start(g->q, which, &g->ring[which]), 0);
	eventfd_write(g->ring[which].kick_fd, 1);
}

static void stop(struct guest *g, enum net_ring_index which)
{
	g->net->ops->ring_stop(g->q, which, &g->ring[which]);
}

static void end(struct guest *g)
{
	assert_int_equal(g->net->ops->rings_prepare(g->net, NULL, 0), 0);
	g->net->events = NULL;
	net_destroy(g->net);
	for (unsigned int i = 0; i < NET_RINGS; i++) {
		close(g->ring[i].kick_fd);
		close(g->ring[i].call_fd);
	}
	close(g->packets);
	munmap(g->mem.range[0].hva, RAM_SIZE);
}

/* The guest has something to send. */
static void put_tx(struct guest *g)
{
	const struct vdriver_buf buf = {BUF(g->n % SIZE), g->hdr_len + LEN, false};
	uint8_t data[12 + LEN] = {0};

	hn_frame(data + g->hdr_len, LEN, g->n);
	mem_write(&g->mem, buf.gpa, data, g->hdr_len + LEN);
	vdriver_add(&g->d[NET_RING_TX], &buf, 1);
}

static void expect_sent(struct guest *g)
{
	uint8_t want[LEN], got[2048];

	hn_frame(want, LEN, g->n);
	assert_true(hn_readable(g->packets, 5000));
	assert_int_equal(recv(g->packets, got, sizeof(got), 0), LEN);
	assert_memory_equal(got, want, LEN);
	g->n++;
}

static void expect_call(struct guest *g, enum net_ring_index which)
{
	struct vring_used_elem e;
	eventfd_t n;

	for (int i = 0;; i++) {
		assert_true(i < 100);
		vdriver_set_used_event(&g->d[which], g->d[which].used_seen);
		__atomic_thread_fence(__ATOMIC_SEQ_CST);
		if (vdriver_take(&g->d[which], &e))
			return;
		assert_true(hn_readable(g->ring[which].call_fd, 5000));
		eventfd_read(g->ring[which].call_fd, &n);
		sched_yield();
	}
}

static void tx(struct guest *g)
{
	put_tx(g);
	eventfd_write(g->ring[NET_RING_TX].kick_fd, 1);
	expect_sent(g);
	expect_call(g, NET_RING_TX);
}

/* A frame comes into the guest's next buffer. */
static void put_rx(struct guest *g)
{
	const struct vdriver_buf buf = {BUF(100 + g->n % SIZE), 2048, true};
	uint8_t dirt[2048];

	memset(dirt, 0xee, sizeof(dirt));
	mem_write(&g->mem, buf.gpa, dirt, sizeof(dirt));
	vdriver_add(&g->d[NET_RING_RX], &buf, 1);
}

static void come(struct guest *g)
{
	uint8_t frame[LEN];

	hn_frame(frame, LEN, g->n);
	assert_int_equal(send(g->packets, frame, LEN, 0), LEN);
}

static void expect_received(struct guest *g)
{
	uint8_t want[LEN], got[12 + LEN];

	expect_call(g, NET_RING_RX);
	hn_frame(want, LEN, g->n);
	mem_read(&g->mem, BUF(100 + g->n % SIZE), got, g->hdr_len + LEN);
	assert_memory_equal(got + g->hdr_len, want, LEN);
	assert_int_equal(got[1], 0); /* gso_type */
	if (g->hdr_len == 12)
		assert_int_equal(got[10], 1); /* buffers */
	g->n++;
}

static void rx(struct guest *g)
{
	put_rx(g);
	eventfd_write(g->ring[NET_RING_RX].kick_fd, 1);
	come(g);
	expect_received(g);
}

/* ---- traffic ---- */

static void test_traffic(void **state)
{
	static const struct {
		const char *options;
		uint64_t features;
	} cases[] = {
		{NULL, BIT(VIRTIO_F_VERSION_1) | BIT(VIRTIO_NET_F_MRG_RXBUF)},
		{NULL, 0},
		{"vnet_hdr=off", BIT(VIRTIO_NET_F_MRG_RXBUF)},
		{"vnet_hdr=off", BIT(VIRTIO_F_ANY_LAYOUT)},
		{NULL, BIT(VIRTIO_F_ANY_LAYOUT)}, /* a bit that vhost means otherwise */
		{"vhostforce=on", BIT(VIRTIO_F_VERSION_1) | BIT(VIRTIO_NET_F_MRG_RXBUF) |
					  BIT(VIRTIO_RING_F_EVENT_IDX)},
	};
	struct guest g;

	if (*no_vhost)
		skip();
	for (unsigned int c = 0; c < sizeof(cases) / sizeof(cases[0]); c++) {
		begin(&g, cases[c].options, cases[c].features);
		assert_int_equal(!(g.net->ring_features & BIT(VIRTIO_NET_F_CSUM)), !g.net->has_hdr);
		/* What is in the ring before, and what waits in the TAP. */
		put_tx(&g);
		start(&g, NET_RING_TX);
		expect_sent(&g);
		expect_call(&g, NET_RING_TX);
		put_rx(&g);
		come(&g);
		start(&g, NET_RING_RX);
		expect_received(&g);
		for (int i = 0; i < 100; i++) {
			tx(&g);
			rx(&g);
		}
		stop(&g, NET_RING_RX);
		stop(&g, NET_RING_TX);
		assert_int_equal(g.ring[NET_RING_RX].position, 101);
		assert_int_equal(g.ring[NET_RING_TX].position, 101);
		assert_int_equal(g.broken[0] + g.broken[1], 0);
		end(&g);
	}
}

/* Stopped and started where it was, with frames on their way: none is lost, none comes twice. */
static void test_positions(void **state)
{
	struct guest g;

	if (*no_vhost)
		skip();
	begin(&g, NULL, BIT(VIRTIO_F_VERSION_1) | BIT(VIRTIO_NET_F_MRG_RXBUF));
	for (uint32_t i = 1; i < 50; i++) {
		start(&g, NET_RING_RX);
		start(&g, NET_RING_TX);
		rx(&g);
		tx(&g);
		/* Frames that vhost may have taken out of the TAP's queue, with no buffer for them. */
		if (i % 2)
			come(&g);
		stop(&g, NET_RING_TX);
		stop(&g, NET_RING_RX);
		assert_int_equal(g.ring[NET_RING_RX].position, vdriver_used_idx(&g.d[NET_RING_RX]));
		assert_int_equal(g.ring[NET_RING_TX].position, i);
		if (i % 2) {
			put_rx(&g);
			start(&g, NET_RING_RX);
			expect_received(&g);
			stop(&g, NET_RING_RX);
		}
	}
	end(&g);
}

static void test_call_moves(void **state)
{
	struct guest g;
	eventfd_t n;
	int old;

	if (*no_vhost)
		skip();
	begin(&g, NULL, BIT(VIRTIO_F_VERSION_1));
	start(&g, NET_RING_TX);
	for (int i = 0; i < 20; i++) {
		tx(&g);
		old = g.ring[NET_RING_TX].call_fd;
		(void)!eventfd_read(old, &n);
		g.ring[NET_RING_TX].call_fd = eventfd(0, EFD_NONBLOCK);
		g.net->ops->ring_set_call(g.q, NET_RING_TX, g.ring[NET_RING_TX].call_fd);
		tx(&g);
		assert_false(hn_readable(old, 0));
		close(old);
	}
	stop(&g, NET_RING_TX);
	end(&g);
}

/* Rings of a pair that isn't used stand still, and go on where they were. */
static void test_queues(void **state)
{
	struct net_backend *net;
	struct guest g;

	if (*no_vhost)
		skip();
	begin(&g, "queues=3", BIT(VIRTIO_F_VERSION_1));
	net = g.net;
	assert_int_equal(net->n_queues, 3);
	g.q = net->queue[1];
	start(&g, NET_RING_TX); /* not used yet */
	start(&g, NET_RING_RX);
	put_tx(&g);
	eventfd_write(g.ring[NET_RING_TX].kick_fd, 1);
	assert_false(hn_readable(g.packets, 50));
	for (unsigned int i = 0; i < 10; i++) {
		assert_int_equal(net->ops->set_queues(net, 2 + i % 2), 0);
		expect_sent(&g); /* with no doorbell */
		expect_call(&g, NET_RING_TX);
		tx(&g);
		assert_int_equal(net->ops->set_queues(net, 1), 0);
		put_tx(&g);
		eventfd_write(g.ring[NET_RING_TX].kick_fd, 1);
		assert_false(hn_readable(g.packets, 20));
	}
	/* Stopped while it isn't used. */
	stop(&g, NET_RING_RX);
	stop(&g, NET_RING_TX);
	assert_int_equal(g.ring[NET_RING_TX].position, 20);
	assert_int_equal(net->ops->set_queues(net, 3), 0);
	start(&g, NET_RING_TX);
	expect_sent(&g);
	expect_call(&g, NET_RING_TX);
	stop(&g, NET_RING_TX);
	assert_int_equal(g.broken[NET_RING_TX], 0);
	end(&g);
}

/* A device that somebody else has opened; one that is taken. */
static void test_vhostfd(void **state)
{
	char text[80];
	struct guest g;
	int fd;

	if (*no_vhost)
		skip();
	fd = open("/dev/vhost-net", O_RDWR);
	assert_true(fd >= 0);
	snprintf(text, sizeof(text), "vhostfd=%d", fd);
	begin(&g, text, BIT(VIRTIO_F_VERSION_1) | BIT(VIRTIO_NET_F_MRG_RXBUF));
	assert_true(fcntl(fd, F_GETFD) & FD_CLOEXEC);
	start(&g, NET_RING_RX);
	rx(&g);
	stop(&g, NET_RING_RX);
	snprintf(text, sizeof(text), "tap,id=n1,vhostfd=%d", fd);
	hn_refused_by(&host, text, -EBUSY, "in use");
	end(&g);
	assert_int_equal(fcntl(fd, F_GETFD), -1); /* closed with the back end */
}

/* ---- rings that make no sense ---- */

static void test_broken(void **state)
{
	struct guest g;

	if (*no_vhost)
		skip();
	for (unsigned int round = 0; round < 3; round++) {
		begin(&g, NULL, BIT(VIRTIO_F_VERSION_1));
		start(&g, NET_RING_TX);
		start(&g, NET_RING_RX);
		tx(&g);
		switch (round) {
		case 0: /* a head outside the table */
			vdriver_offer(&g.d[NET_RING_TX], 1000);
			break;
		case 1: /* a buffer outside RAM */
			vdriver_desc(&g.d[NET_RING_TX], g.d[NET_RING_TX].desc, 7, UINT64_MAX - 100,
				     64, 0, 0);
			vdriver_offer(&g.d[NET_RING_TX], 7);
			break;
		default: /* an index that jumps */
			vdriver_publish(&g.d[NET_RING_TX], 30000);
			break;
		}
		eventfd_write(g.ring[NET_RING_TX].kick_fd, 1);
		for (int i = 0; i < 100 && !g.broken[NET_RING_TX]; i++)
			hn_run(control, 20);
		assert_true(g.broken[NET_RING_TX]);
		assert_int_equal(g.broken[NET_RING_RX], 0);
		stop(&g, NET_RING_RX);
		stop(&g, NET_RING_TX);
		/* Nothing of it is left for the next. */
		g.broken[NET_RING_TX] = 0;
		hn_run(control, 20);
		assert_int_equal(g.broken[NET_RING_TX], 0);
		end(&g);
	}
}

static void test_bad_ring(void **state)
{
	struct net_ring bad;
	struct guest g;

	if (*no_vhost)
		skip();
	begin(&g, NULL, BIT(VIRTIO_F_VERSION_1));
	bad = g.ring[NET_RING_TX];
	bad.used = RAM + RAM_SIZE - 16;
	assert_true(g.net->ops->ring_start(g.q, NET_RING_TX, &bad) < 0);
	bad = g.ring[NET_RING_TX];
	bad.size = 3;
	assert_true(g.net->ops->ring_start(g.q, NET_RING_TX, &bad) < 0);
	start(&g, NET_RING_TX);
	tx(&g);
	stop(&g, NET_RING_TX);
	end(&g);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_refusals),  cmocka_unit_test(test_traffic),
		cmocka_unit_test(test_positions), cmocka_unit_test(test_call_moves),
		cmocka_unit_test(test_broken),	  cmocka_unit_test(test_bad_ring),
		cmocka_unit_test(test_vhostfd),	  cmocka_unit_test(test_queues),
	};

	hn_init();
	if (*hn_why_not)
		snprintf(no_vhost, sizeof(no_vhost), "%s", hn_why_not);
	else if (access("/dev/vhost-net", R_OK | W_OK))
		snprintf(no_vhost, sizeof(no_vhost), "/dev/vhost-net: %s", strerror(errno));
	if (!*hn_why_not && *no_vhost)
		print_message("skipping what needs vhost-net: %s\n", no_vhost);
	if (loop_create(&control, "test", 0, NULL))
		return 1;
	host.control = control;
	return cmocka_run_group_tests(tests, NULL, NULL);
}
