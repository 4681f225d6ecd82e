/*
 * -netdev user: TCP out of the guest and into it, with a guest that knows just enough of TCP; and what of the
 * host's a guest can have.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <fcntl.h>
#include <sys/resource.h>

#include "user_guest.h"

/* ---- TCP: one segment at a time ---- */

struct tcp {
	struct net_backend *net;
	uint8_t peer[4];
	uint16_t port, own;
	uint32_t seq, ack;
};

enum {
	FIN = 1,
	SYN = 2,
	RST = 4,
	ACK = 16
};

static void tcp_send(struct tcp *t, uint8_t flags, const void *data, size_t len)
{
	uint8_t *tcp = out + L4;

	put16(tcp, t->own);
	put16(tcp + 2, t->port);
	put32(tcp + 4, t->seq);
	put32(tcp + 8, t->ack);
	tcp[12] = 5 << 4;
	tcp[13] = flags;
	put16(tcp + 14, 65535);
	put16(tcp + 18, 0);
	if (len)
		memcpy(tcp + 20, data, len);
	send_ip(t->net, IPPROTO_TCP, t->peer, 20 + len, 16);
	t->seq += (uint32_t)len + !!(flags & (SYN | FIN));
}

/* The next segment to t; its flags. Data of it: at in + L4 + header, *len bytes; acknowledged. */
static uint8_t tcp_expect(struct tcp *t, size_t *at, size_t *len)
{
	uint8_t flags;

	do {
		expect_frame(t->net);
		if (get16(in + 12) == 0x0806 && get16(in + 20) == 1)
			send_arp(t->net, 2, in + 28); /* who has the guest's address? */
	} while (get16(in + 12) != 0x0800);
	check_ip(IPPROTO_TCP, t->peer);
	assert_int_equal(get16(in + L4 + 2), t->own);
	flags = in[L4 + 13];
	*at = L4 + (in[L4 + 12] >> 4) * 4u;
	*len = in_len - *at;
	if (flags & SYN)
		t->ack = get32(in + L4 + 4);
	else if (*len)
		assert_int_equal(get32(in + L4 + 4), t->ack);
	t->ack += (uint32_t)*len + !!(flags & (SYN | FIN));
	return flags;
}

static void tcp_connect(struct tcp *t)
{
	size_t at, len;

	tcp_send(t, SYN, NULL, 0);
	assert_int_equal(tcp_expect(t, &at, &len), SYN | ACK);
	tcp_send(t, ACK, NULL, 0);
}

static int host_connect(int type, uint16_t port)
{
	struct sockaddr_in sin = {.sin_family = AF_INET,
				  .sin_addr.s_addr = htonl(INADDR_LOOPBACK),
				  .sin_port = htons(port)};
	int s = socket(AF_INET, type, 0);

	assert_int_equal(connect(s, (struct sockaddr *)&sin, sizeof(sin)), 0);
	return s;
}

/* A port that nobody has at the moment. */
static uint16_t free_port(int type)
{
	uint16_t port;

	close(host_socket(type, &port));
	return port;
}

static void test_tcp(void **state)
{
	struct net_backend *net = start("");
	struct tcp t = {.net = net, .peer = {10, 0, 2, 2}, .own = 2000, .seq = 77};
	int s = host_socket(SOCK_STREAM, &t.port), c;
	static uint8_t data[256 << 10], got[256 << 10];
	size_t n = 0, at, len;
	ssize_t r;

	meet(net);
	tcp_connect(&t);
	c = accept(s, NULL, NULL);
	for (size_t i = 0; i < sizeof(data); i++)
		data[i] = (uint8_t)(i * 31 + i / 256);
	/* out: as much as the peer takes */
	for (size_t i = 0; i < 64; i++) {
		tcp_send(&t, ACK, data + i * 1000, 1000);
		while (receive(net))
			;
	}
	while (n < 64000) {
		r = recv(c, got + n, sizeof(got) - n, 0);
		assert_true(r > 0);
		n += (size_t)r;
	}
	assert_memory_equal(got, data, 64000);
	/* in: more than a window */
	fcntl(c, F_SETFL, O_NONBLOCK);
	for (size_t sent = n = 0; n < sizeof(data);) {
		r = send(c, data + sent, sizeof(data) - sent, 0);
		sent += r > 0 ? (size_t)r : 0;
		tcp_expect(&t, &at, &len);
		assert_true(n + len <= sizeof(data));
		memcpy(got + n, in + at, len);
		n += len;
		tcp_send(&t, ACK, NULL, 0);
	}
	assert_memory_equal(got, data, sizeof(data));
	/* the end, from the host's side */
	close(c);
	while (!(tcp_expect(&t, &at, &len) & FIN))
		;
	tcp_send(&t, ACK | FIN, NULL, 0);
	expect_frame(net);
	close(s);
	net_destroy(net);
}

/* Nobody listens: the guest is told at once. */
static void test_tcp_refused(void **state)
{
	struct net_backend *net = start("");
	struct tcp t = {.net = net, .peer = {10, 0, 2, 2}, .own = 2000, .seq = 77};
	size_t at, len;

	t.port = free_port(SOCK_STREAM);
	meet(net);
	tcp_send(&t, SYN, NULL, 0);
	assert_true(tcp_expect(&t, &at, &len) & RST);
	net_destroy(net);
}

/* The guest's side of a connection that comes in: takes it, echoes `size` bytes. */
static void serve_tcp(struct tcp *t, int c, const uint8_t *data, size_t size)
{
	uint8_t got[64];
	size_t at, len;

	do
		expect_frame(t->net);
	while (get16(in + 12) == 0x0806 && (send_arp(t->net, 2, in + 28), true));
	check_ip(IPPROTO_TCP, router_ip);
	t->port = get16(in + L4);
	assert_int_equal(get16(in + L4 + 2), t->own);
	assert_int_equal(in[L4 + 13], SYN);
	t->ack = get32(in + L4 + 4) + 1;
	tcp_send(t, SYN | ACK, NULL, 0);
	assert_int_equal(tcp_expect(t, &at, &len), ACK);
	assert_int_equal(send(c, data, size, 0), size);
	do
		tcp_expect(t, &at, &len);
	while (!len);
	assert_int_equal(len, size);
	tcp_send(t, ACK, in + at, len);
	receive(t->net);
	assert_int_equal(recv(c, got, sizeof(got), 0), size);
	assert_memory_equal(got, data, size);
}

static void test_hostfwd(void **state)
{
	uint16_t tcp = free_port(SOCK_STREAM), udp = free_port(SOCK_DGRAM), more;
	struct net_backend *net;
	struct tcp t = {.peer = {10, 0, 2, 2}, .own = 22, .seq = 5};
	struct err err = {0};
	char text[200];
	int c;

	snprintf(text, sizeof(text), "hostfwd=tcp:127.0.0.1:%u-:22,hostfwd=udp:127.0.0.1:%u-:53",
		 tcp, udp);
	t.net = net = start(text);
	meet(net);
	c = host_connect(SOCK_STREAM, tcp);
	serve_tcp(&t, c, (const uint8_t *)"in and out", 10);
	close(c);
	while (receive(net) || readable(net, 50))
		;
	c = host_connect(SOCK_DGRAM, udp);
	assert_int_equal(send(c, "question", 8, 0), 8);
	expect_frame(net);
	check_ip(IPPROTO_UDP, router_ip);
	assert_int_equal(get16(in + L4 + 2), 53);
	assert_memory_equal(in + L4 + 8, "question", 8);
	send_udp(net, 53, get16(in + L4), "answer", 6);
	assert_int_equal(recv(c, text, sizeof(text), 0), 6);
	assert_memory_equal(text, "answer", 6);
	close(c);

	/* by command */
	more = free_port(SOCK_STREAM);
	snprintf(text, sizeof(text), "tcp:127.0.0.1:%u-:80", more);
	assert_int_equal(net->ops->forward(net, text, true, &err), 0);
	assert_int_equal(net->ops->forward(net, text, true, &err), -EADDRINUSE);
	assert_non_null(strstr(err.msg, "TCP port"));
	t.own = 80;
	c = host_connect(SOCK_STREAM, more);
	serve_tcp(&t, c, (const uint8_t *)"again", 5);
	close(c);
	assert_int_equal(net->ops->forward(net, text, false, &err), -EINVAL);
	snprintf(text, sizeof(text), "tcp:127.0.0.1:%u", more);
	assert_int_equal(net->ops->forward(net, text, false, &err), 0);
	assert_int_equal(net->ops->forward(net, text, false, &err), -ENOENT);
	assert_int_equal(net->ops->forward(net, "x", true, &err), -EINVAL);
	net_destroy(net);
}

static void test_port_taken(void **state)
{
	uint16_t port;
	int s = host_socket(SOCK_STREAM, &port);
	char text[80], word[80];

	snprintf(text, sizeof(text), "hostfwd=tcp:127.0.0.1:%u-:22", port);
	snprintf(word, sizeof(word), "TCP port %u of the host: Address already in use", port);
	refused(text, -EADDRINUSE, word);
	close(s);
	s = host_socket(SOCK_DGRAM, &port);
	snprintf(text, sizeof(text), "hostfwd=udp:127.0.0.1:%u-:22", port);
	refused(text, -EADDRINUSE, "UDP port");
	close(s);
}

/* restrict=on: the guest is led into, and gets nowhere itself. */
static void test_restrict(void **state)
{
	uint16_t port = free_port(SOCK_STREAM), udp;
	struct tcp t = {.peer = {10, 0, 2, 2}, .own = 22, .seq = 5};
	int s = host_socket(SOCK_DGRAM, &udp), c;
	char text[80];

	snprintf(text, sizeof(text), "restrict=on,hostfwd=tcp:127.0.0.1:%u-:22", port);
	t.net = start(text);
	meet(t.net);
	c = host_connect(SOCK_STREAM, port);
	serve_tcp(&t, c, (const uint8_t *)"inwards", 7);
	close(c);
	while (receive(t.net) || readable(t.net, 50))
		;
	send_udp(t.net, 1, udp, "outwards", 8);
	assert_int_equal(recv(s, text, sizeof(text), MSG_DONTWAIT), -1);
	close(s);
	net_destroy(t.net);
}

/* A guest that opens connections without end gets no more than its share of file descriptors. */
static void test_sockets(void **state)
{
	struct rlimit old, limit;
	struct net_backend *net;
	struct tcp t = {.peer = {10, 0, 2, 2}};
	int s = host_socket(SOCK_STREAM, &t.port), fd;

	getrlimit(RLIMIT_NOFILE, &old);
	limit = old;
	limit.rlim_cur = 128;
	setrlimit(RLIMIT_NOFILE, &limit);
	t.net = net = start("");
	meet(net);
	for (int i = 0; i < 300; i++) {
		t.own = (uint16_t)(3000 + i);
		tcp_send(&t, SYN, NULL, 0);
		while (receive(net))
			;
		t.seq = 0;
	}
	assert_true(counter_get(&counters(net)->tx_dropped_refused) > 200);
	fd = dup(0);
	assert_true(fd >= 0);
	close(fd);
	meet(net);
	net_destroy(net);
	setrlimit(RLIMIT_NOFILE, &old);
	close(s);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_tcp),	 cmocka_unit_test(test_tcp_refused),
		cmocka_unit_test(test_hostfwd),	 cmocka_unit_test(test_port_taken),
		cmocka_unit_test(test_restrict), cmocka_unit_test(test_sockets),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
