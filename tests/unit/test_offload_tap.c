/*
 * Segments and fragments that net_send_frame() makes, given to the host's kernel through a TAP in a
 * network namespace of this test's own: it drops what has a wrong checksum, and puts together what
 * was cut. Skipped, with the reason, where there is no TAP.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <arpa/inet.h>
#include <cmocka.h>

#include "hostnet_fixture.h"
#include "offload_fixture.h"

/* An interface without a header, with a neighbour that is this test. NULL: it can't be made. */
static struct net_backend *tap_new(void)
{
	static const char *const commands[] = {
		"ip link set vt0 address 02:00:00:00:00:01",
		"ip link set vt0 up",
		"ip addr add 10.0.0.1/24 dev vt0",
		"ip addr add fd00::1/64 dev vt0 nodad",
		"ip neigh add 10.0.0.2 lladdr 52:54:00:00:00:02 dev vt0",
		"ip neigh add fd00::2 lladdr 52:54:00:00:00:02 dev vt0",
	};
	struct net_backend *net = hn_create_or_fail(NULL, "tap,id=n0,ifname=vt0,vnet_hdr=off");

	for (size_t i = 0; i < sizeof(commands) / sizeof(commands[0]); i++) {
		char line[128];

		snprintf(line, sizeof(line), "%s 2>/dev/null", commands[i]);
		if (system(line)) {
			print_message("skipped: \"%s\" failed\n", commands[i]);
			net_destroy(net);
			return NULL;
		}
	}
	assert_int_equal(net_set_frame_offloads(net, ~0u), 0);
	assert_int_equal(net->hdr_len, 0);
	return net;
}

/* A socket of the kernel's at the address that packets go to. */
static int server(const struct packet *p)
{
	struct sockaddr_in6 in6 = {.sin6_family = AF_INET6, .sin6_port = htons(5001)};
	struct sockaddr_in in = {.sin_family = AF_INET, .sin_port = htons(5001)};
	int type = p->tcp ? SOCK_STREAM : SOCK_DGRAM, one = 1, room = 1 << 20;
	int s = socket(p->ipv6 ? AF_INET6 : AF_INET, type | SOCK_NONBLOCK, 0);

	assert_true(s >= 0);
	setsockopt(s, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one));
	setsockopt(s, SOL_SOCKET, SO_RCVBUF, &room, sizeof(room));
	assert_int_equal(bind(s, p->ipv6 ? (struct sockaddr *)&in6 : (struct sockaddr *)&in,
			      p->ipv6 ? sizeof(in6) : sizeof(in)),
			 0);
	if (p->tcp)
		assert_int_equal(listen(s, 1), 0);
	return s;
}

static void wait_readable(int fd)
{
	assert_true(hn_readable(fd, 50000));
}

static void tap_send_packet(struct net_backend *net, const struct packet *p)
{
	struct pieces f;

	scatter(&f, p->data, p->len, 40, 4096);
	assert_int_equal(net_send_frame(net->queue[0], &p->hdr, f.iov, f.n), 0);
	gather(&f, p->data);
}

/* Reads what is to be p's payload, in datagrams of `size` bytes (0: a stream). */
static void expect_payload(int s, const struct packet *p, size_t size)
{
	static uint8_t buf[NET_FRAME_MAX];
	size_t at = p->payload;

	while (at < p->len) {
		ssize_t r;

		wait_readable(s);
		r = recv(s, buf, sizeof(buf), 0);
		assert_true(r > 0 && (size_t)r <= p->len - at);
		if (size)
			assert_int_equal(r, size < p->len - at ? size : p->len - at);
		assert_memory_equal(buf, p->data + at, (size_t)r);
		at += (size_t)r;
	}
}

static void check_udp(struct net_backend *net, const struct packet_kind *kind)
{
	struct packet p;
	int s;

	packet_make(&p, kind, kind->gso_type == NET_GSO_UDP ? 1400 : 1448);
	s = server(&p);
	/* twice: fragments of one must not be taken for the other's */
	for (int i = 0; i < 2; i++) {
		tap_send_packet(net, &p);
		expect_payload(s, &p, kind->gso_type == NET_GSO_UDP ? kind->payload : 1448);
		if (!p.ipv6)
			packet_put(p.data + p.l3 + 4, 2, 0x100);
	}
	free(p.data);
	close(s);
}

/* A segment without payload: SYN, or the ACK that ends the handshake. */
static void send_control(struct net_backend *net, const struct packet_kind *kind, uint8_t flags,
			 uint32_t sequence, uint32_t ack)
{
	struct packet_kind empty = *kind;
	struct packet p;

	empty.payload = 0;
	packet_make(&p, &empty, 0);
	p.hdr.gso_type = NET_GSO_NONE;
	packet_put(p.data + p.l4 + 4, 4, sequence);
	packet_put(p.data + p.l4 + 8, 4, ack);
	p.data[p.l4 + 13] = flags;
	packet_put(p.data + p.l4 + 14, 2, 65535);
	tap_send_packet(net, &p);
	free(p.data);
}

/* Reads from the interface until the kernel answers a SYN; returns its sequence number. */
static uint32_t syn_ack(struct net_backend *net, const struct packet *p)
{
	for (;;) {
		uint8_t buf[2048];
		struct iovec iov[2] = {{0}, {buf, sizeof(buf)}};
		struct net_hdr hdr;
		ssize_t r;

		wait_readable(net->ops->fd(net->queue[0]));
		r = net_recv_frame(net->queue[0], &hdr, iov, 2);
		if (r >= 54 && packet_get(buf + 12, 2) == packet_get(p->data + 12, 2) &&
		    buf[p->l3 + (p->ipv6 ? 6 : 9)] == 6 && buf[p->l4 + 13] == 0x12)
			return packet_get(buf + p->l4 + 4, 4);
	}
}

static void check_tcp(struct net_backend *net, const struct packet_kind *kind)
{
	struct packet p;
	uint32_t sequence, ack;
	uint8_t byte;
	int s, c;

	packet_make(&p, kind, 1448);
	s = server(&p);
	sequence = packet_get(p.data + p.l4 + 4, 4);
	send_control(net, kind, 0x02, sequence - 1, 0);
	ack = syn_ack(net, &p) + 1;
	send_control(net, kind, 0x10, sequence, ack);
	packet_put(p.data + p.l4 + 8, 4, ack);
	packet_put(p.data + p.l4 + 14, 2, 65535);
	tap_send_packet(net, &p);
	wait_readable(s);
	c = accept(s, NULL, NULL);
	assert_true(c >= 0);
	expect_payload(c, &p, 0);
	wait_readable(c);
	assert_int_equal(recv(c, &byte, 1, 0), 0); /* FIN, once, at the end */
	free(p.data);
	close(c);
	close(s);
}

static void test_kernel(void **state)
{
	static const struct packet_kind tcp4 = {.gso_type = NET_GSO_TCPV4, .payload = 60000};
	static const struct packet_kind tcp6 = {.gso_type = NET_GSO_TCPV6, .payload = 59999};
	static const struct packet_kind udp[] = {
		{.gso_type = NET_GSO_UDP_L4, .payload = 50000},
		{.gso_type = NET_GSO_UDP_L4, .ipv6 = true, .payload = 50001},
		{.gso_type = NET_GSO_UDP, .payload = 60000},
		{.gso_type = NET_GSO_UDP, .ip_opt = 4, .payload = 5001},
		{.gso_type = NET_GSO_UDP, .ipv6 = true, .payload = 60000},
		{.gso_type = NET_GSO_UDP, .ipv6 = true, .ip_opt = 1, .payload = 5001},
	};
	struct net_backend *net = *hn_why_not ? NULL : tap_new();

	if (!net)
		skip();
	check_tcp(net, &tcp4);
	check_tcp(net, &tcp6);
	for (size_t i = 0; i < sizeof(udp) / sizeof(udp[0]); i++)
		check_udp(net, &udp[i]);
	assert_int_equal(counter_get(&net->queue[0]->counters.tx_dropped_refused), 0);
	net_destroy(net);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_kernel),
	};

	hn_enter();
	return cmocka_run_group_tests(tests, NULL, NULL);
}
