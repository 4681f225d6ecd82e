/*
 * The guest of -netdev user in tests: a front end that speaks Ethernet, ARP, IPv4 and UDP; and servers on the host's
 * loopback, at ports that the kernel picks. Nothing leaves the host. After <cmocka.h>.
 */
#ifndef VIREO_TESTS_USER_GUEST_H
#define VIREO_TESTS_USER_GUEST_H

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "base/csum.h"
#include "net/net.h"

#define ETH 14
#define IP  20
#define L4  (ETH + IP)

static const uint8_t guest_mac[6] = {0x52, 0x54, 0, 0x12, 0x34, 0x56};
static const uint8_t router_mac[6] = {0x52, 0x55, 10, 0, 2, 2};
static const uint8_t guest_ip[4] = {10, 0, 2, 15}, router_ip[4] = {10, 0, 2, 2};

/* ---- making one ---- */

static inline struct net_backend *create(const char *options, struct err *err)
{
	struct opt_list list;
	struct net_backend *net;
	char text[1024];

	memset(err, 0, sizeof(*err));
	snprintf(text, sizeof(text), "user,id=n0%s%s", *options ? "," : "", options);
	assert_int_equal(opt_parse(&list, "-netdev", text, "type", err), 0);
	opt_take(&list, "type");
	opt_take(&list, "id");
	net = net_create(NULL, "user", "n0", &list, err);
	if (!net) {
		assert_non_null(strstr(err->msg, list.text));
		assert_null(strchr(err->msg, '\n'));
	}
	opt_free(&list);
	return net;
}

static inline struct net_backend *start(const char *options)
{
	struct err err;
	struct net_backend *net = create(options, &err);

	if (!net)
		fail_msg("%s", err.msg);
	assert_int_equal(net->ops->set_offloads(net, 0, 0), 0);
	return net;
}

static inline void refused(const char *options, int code, const char *word)
{
	struct err err;

	assert_null(create(options, &err));
	if (err.code != code || !strstr(err.msg, word))
		fail_msg("expected %d and \"%s\", got %d: %s", code, word, err.code, err.msg);
}

/* ---- frames ---- */

static uint8_t out[2048]; /* the guest sends */
static uint8_t in[65536]; /* it has received */
static size_t in_len;

static inline uint16_t get16(const uint8_t *p)
{
	return (uint16_t)(p[0] << 8 | p[1]);
}

static inline void put16(uint8_t *p, unsigned int v)
{
	p[0] = (uint8_t)(v >> 8);
	p[1] = (uint8_t)v;
}

static inline void put32(uint8_t *p, uint32_t v)
{
	put16(p, v >> 16);
	put16(p + 2, v & 0xffff);
}

static inline uint32_t get32(const uint8_t *p)
{
	return (uint32_t)get16(p) << 16 | get16(p + 2);
}

static inline void send_frame(struct net_backend *net, size_t len)
{
	struct iovec iov[2] = {{out, 20}, {out + 20, len - 20}};

	assert_int_equal(net->ops->send(net->queue[0], iov, 2), 0);
}

static inline bool receive(struct net_backend *net)
{
	struct iovec iov[2] = {{in, 30}, {in + 30, sizeof(in) - 30}};
	ssize_t r = net->ops->recv(net->queue[0], iov, 2);

	if (r == -EAGAIN)
		return false;
	assert_true(r >= ETH);
	in_len = (size_t)r;
	return true;
}

static inline bool readable(struct net_backend *net, int ms)
{
	struct pollfd p = {.fd = net->ops->fd(net->queue[0]), .events = POLLIN};

	return poll(&p, 1, ms) == 1;
}

/* The next frame, which has to come within 2 s, as the file descriptor says. */
static inline void expect_frame(struct net_backend *net)
{
	struct timespec t;
	time_t end;

	clock_gettime(CLOCK_MONOTONIC, &t);
	for (end = t.tv_sec + 3; t.tv_sec < end; clock_gettime(CLOCK_MONOTONIC, &t)) {
		if (receive(net))
			return;
		readable(net, 2000);
	}
	fail_msg("no frame came");
}

/* No frame comes for a while. */
static inline void expect_nothing(struct net_backend *net)
{
	for (int i = 0; i < 5; i++) {
		assert_false(receive(net));
		readable(net, 20);
	}
}

static inline void put_csum(uint8_t *at, uint64_t sum)
{
	uint16_t csum = csum_finish(sum);

	memcpy(at, &csum, 2);
}

/* Headers around `len` bytes at L4 of out[], their checksum at L4 + csum; sent to `to`. */
static inline void send_ip(struct net_backend *net, uint8_t protocol, const uint8_t *to, size_t len,
			   size_t csum)
{
	uint8_t *ip = out + ETH;
	uint64_t sum = 0;

	memcpy(out, router_mac, 6);
	memcpy(out + 6, guest_mac, 6);
	put16(out + 12, 0x0800);
	memset(ip, 0, IP);
	ip[0] = 0x45;
	put16(ip + 2, (unsigned int)(IP + len));
	ip[8] = 64;
	ip[9] = protocol;
	memcpy(ip + 12, guest_ip, 4);
	memcpy(ip + 16, to, 4);
	put_csum(ip + 10, csum_add(0, ip, IP));
	if (protocol != IPPROTO_ICMP)
		sum = csum_add(0, ip + 12, 8) + htons(protocol) + htons((uint16_t)len);
	put16(out + L4 + csum, 0);
	put_csum(out + L4 + csum, csum_add(sum, out + L4, len));
	send_frame(net, L4 + len);
}

static inline void check_ip(uint8_t protocol, const uint8_t *from)
{
	const uint8_t *ip = in + ETH;
	size_t len = get16(ip + 2) - IP;
	uint64_t sum = 0;

	assert_int_equal(get16(in + 12), 0x0800);
	assert_int_equal(ip[9], protocol);
	assert_memory_equal(ip + 12, from, 4);
	assert_int_equal(csum_finish(csum_add(0, ip, IP)), 0);
	if (protocol != IPPROTO_ICMP)
		sum = csum_add(0, ip + 12, 8) + htons(protocol) + htons((uint16_t)len);
	assert_int_equal(csum_finish(csum_add(sum, in + L4, len)), 0);
	in_len = L4 + len;
}

static inline void send_arp(struct net_backend *net, int op, const uint8_t *target)
{
	static const uint8_t head[6] = {0, 1, 8, 0, 6, 4};

	memset(out, 0xff, 6);
	memcpy(out + 6, guest_mac, 6);
	put16(out + 12, 0x0806);
	memcpy(out + 14, head, 6);
	put16(out + 20, (unsigned int)op);
	memcpy(out + 22, guest_mac, 6);
	memcpy(out + 28, guest_ip, 4);
	memset(out + 32, 0, 6);
	memcpy(out + 38, target, 4);
	send_frame(net, 60);
}

/* So that the back end knows the guest's address. */
static inline void meet(struct net_backend *net)
{
	send_arp(net, 1, router_ip);
	expect_frame(net);
	assert_int_equal(get16(in + 12), 0x0806);
	assert_int_equal(get16(in + 20), 2);
	assert_memory_equal(in + 22, router_mac, 6);
	assert_memory_equal(in + 28, router_ip, 4);
}

static inline void send_udp(struct net_backend *net, uint16_t from, uint16_t to, const void *data,
			    size_t len)
{
	put16(out + L4, from);
	put16(out + L4 + 2, to);
	put16(out + L4 + 4, (unsigned int)(8 + len));
	memcpy(out + L4 + 8, data, len);
	send_ip(net, IPPROTO_UDP, router_ip, 8 + len, 6);
}

/* ---- the host's side ---- */

static inline int host_socket(int type, uint16_t *port)
{
	struct sockaddr_in sin = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	socklen_t len = sizeof(sin);
	int s = socket(AF_INET, type, 0);

	assert_int_equal(bind(s, (struct sockaddr *)&sin, sizeof(sin)), 0);
	assert_int_equal(getsockname(s, (struct sockaddr *)&sin, &len), 0);
	if (type == SOCK_STREAM)
		assert_int_equal(listen(s, 8), 0);
	*port = ntohs(sin.sin_port);
	return s;
}

static inline struct net_counters *counters(struct net_backend *net)
{
	return &net->queue[0]->counters;
}

#endif
