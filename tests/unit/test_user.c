/*
 * -netdev user: options, frames that are right, and frames that are not.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <pthread.h>

#include "net/user.h"
#include "net/user_queue.h"
#include "user_guest.h"

static void test_options(void **state)
{
	refused("net=10.0.2", -EINVAL, "is no network");
	refused("net=10.0.2.0/33", -EINVAL, "is no netmask");
	refused("net=10.0.2.0/255.0.255.0", -EINVAL, "gaps");
	refused("net=10.0.2.0/30", -EINVAL, "1 to 27 bits");
	refused("host=10.0.3.2", -EINVAL, "is not in the guest's network");
	refused("host=10.0.2.255", -EINVAL, "broadcast");
	refused("host=10.0.2.3", -EINVAL, "three addresses");
	refused("dns=x", -EINVAL, "no IPv4 address");
	refused("dhcpstart=10.0.2.0", -EINVAL, "network's own");
	refused("ipv6-net=fec0::/200", -EINVAL, "is no network");
	refused("ipv6-host=fe80::1", -EINVAL, "ipv6-net=");
	refused("ipv4=off,ipv6=off", -EINVAL, "leave nothing");
	refused("mtu=100", -ERANGE, "mtu");
	refused("mtu=65522", -ERANGE, "mtu");
	refused("tftp=/nonexistent", -ENOENT, "/nonexistent");
	refused("hostname=a123456789b123456789c123456789d12", -EINVAL, "32 characters");
	refused("hostfw=tcp::1-:1", -EINVAL, "did you mean 'hostfwd'");
	refused("hostfwd=tcp::0x50-:80", -EINVAL, "the host's port");
	net_destroy(start("net=192.168.7.0/255.255.255.0,host=192.168.7.1,dns=192.168.7.2,"
			  "dhcpstart=192.168.7.100,hostname=x,domainname=y.z,dnssearch=a.b,"
			  "dnssearch=c.d,restrict=on,ipv6=off,mtu=9000"));
	net_destroy(start("net=172.20.0.0"));
	net_destroy(
		start("ipv6-net=2001:db8:1::/48,ipv6-host=2001:db8:1::9,ipv6-dns=2001:db8:1::8"));
}

static void check_rule(const char *rule, const char *text)
{
	struct user_addresses a = {.net.s_addr = htonl(0x0a000200),
				   .mask.s_addr = htonl(0xffffff00),
				   .dhcpstart.s_addr = htonl(0x0a00020f)};
	struct user_forward f;
	struct err err = {0};
	char got[USER_FORWARD_TEXT];

	assert_int_equal(user_forward_parse(rule, true, &a, &f, &err), text ? 0 : -EINVAL);
	if (text) {
		user_forward_text(&f, got, sizeof(got));
		assert_string_equal(got, text);
	} else {
		assert_non_null(strstr(err.msg, rule));
		assert_non_null(strstr(err.msg, "[tcp|udp]:"));
	}
}

static void test_rules(void **state)
{
	check_rule("tcp:127.0.0.1:2222-:22", "tcp:127.0.0.1:2222-10.0.2.15:22");
	check_rule(":127.0.0.1:2222-:22", "tcp:127.0.0.1:2222-10.0.2.15:22");
	check_rule("tcp::2222-:22", "tcp:0.0.0.0:2222-10.0.2.15:22");
	check_rule("udp::0-10.0.2.77:53", "udp:0.0.0.0:0-10.0.2.77:53");
	check_rule("udp:255.255.255.255:65535-10.0.2.177:65535",
		   "udp:255.255.255.255:65535-10.0.2.177:65535");
	for (const char *const *bad = (const char *const[]){"",
							    ":",
							    "tcp",
							    "tcp:",
							    "tcp::",
							    "tcp::22",
							    "tcp::22-",
							    "tcp::22-:",
							    "sctp::1-:1",
							    "tcp::-:22",
							    "tcp::22-:0",
							    "tcp::65536-:22",
							    "tcp::22-:65536",
							    "tcp::22-:99999999999",
							    "tcp:1.2.3:22-:22",
							    "tcp:localhost:22-:22",
							    "tcp::22-10.0.3.15:22",
							    "tcp::22-:22x",
							    "tcp::22-:22-",
							    "tcp::+22-:22",
							    "tcp:: 22-:22",
							    "tcp:1.2.3.4.5.6.7.8.9:22-:22",
							    "tcp:127.0.0.1-:22",
							    NULL};
	     *bad; bad++)
		check_rule(*bad, NULL);
}

static void test_queue(void **state)
{
	struct user_queue q = {.bytes = malloc(USER_QUEUE_BYTES)};
	uint32_t lens[4096], first = 0, end = 0, len;
	static uint8_t frame[65536];
	const uint8_t *got;
	bool full = false;

	srand(1);
	for (int i = 0; i < 400000; i++) {
		/* Fuller and emptier by turns. */
		if (rand() % 100 < (i / 20000 % 2 ? 70 : 30) && end - first < 4096) {
			len = rand() % 8 ? (uint32_t)rand() % 200 : (uint32_t)rand() % 65536;
			memset(frame, (int)(end * 7), len);
			if (user_queue_put(&q, frame, len))
				lens[end++ % 4096] = len;
			else
				full = true;
		} else {
			got = user_queue_take(&q, &len);
			if (!got) {
				assert_int_equal(first, end);
				continue;
			}
			assert_int_equal(len, lens[first % 4096]);
			assert_true(got + len <= q.bytes + USER_QUEUE_BYTES);
			for (uint32_t k = 0; k < len; k += len / 3 + 1)
				assert_int_equal(got[k], (uint8_t)(first * 7));
			first++;
		}
		assert_int_equal(q.frames, end - first);
	}
	assert_true(full);
	free(q.bytes);
}

static void test_arp_and_ping(void **state)
{
	struct net_backend *net = start("");

	assert_false(net->has_hdr);
	assert_int_equal(net->frame_max, 1514);
	assert_int_equal(net->ops->set_offloads(net, NET_OFFLOAD_CSUM, 0), -EINVAL);
	assert_int_equal(net->ops->set_offloads(net, 0, 12), -EINVAL);
	expect_nothing(net);
	assert_false(readable(net, 0));
	meet(net);
	expect_nothing(net);
	assert_false(readable(net, 0));

	memset(out + L4, 0, 8);
	out[L4] = 8;
	memset(out + L4 + 8, 0xa5, 500);
	send_ip(net, IPPROTO_ICMP, router_ip, 508, 2);
	assert_true(readable(net, 0));
	expect_frame(net);
	check_ip(IPPROTO_ICMP, router_ip);
	assert_int_equal(in[L4], 0);
	assert_int_equal(in_len, L4 + 508);
	assert_memory_equal(in + L4 + 8, out + L4 + 8, 500);
	assert_int_equal(counter_get(&counters(net)->tx_packets), 2);
	assert_int_equal(counter_get(&counters(net)->rx_packets), 2);
	net_destroy(net);
}

/* Nobody outside is pinged by IPv6; the router is. */
static void test_ping6(void **state)
{
	static const uint8_t guest[16] = {0xfe, 0xc0, [15] = 15};
	static const uint8_t router[16] = {0xfe, 0xc0, [15] = 2}, far[16] = {0x20, 1, [15] = 2};
	struct net_backend *net = start("");

	for (int i = 0; i < 2; i++) {
		uint8_t *ip = out + ETH;

		memset(out, 0, 100);
		memcpy(out, router_mac, 6);
		memcpy(out + 6, guest_mac, 6);
		put16(out + 12, 0x86dd);
		ip[0] = 0x60;
		put16(ip + 4, 16);
		ip[6] = IPPROTO_ICMPV6;
		ip[7] = 64;
		memcpy(ip + 8, guest, 16);
		memcpy(ip + 24, i ? far : router, 16);
		ip[40] = 128;
		put_csum(ip + 42, csum_add(htons(IPPROTO_ICMPV6) + htons(16), ip + 8, 32 + 16));
		send_frame(net, ETH + 40 + 16);
	}
	assert_int_equal(counter_get(&counters(net)->tx_dropped_refused), 1);
	/* The answer waits until the guest's address is known. */
	expect_frame(net);
	assert_int_equal(get16(in + 12), 0x86dd);
	assert_int_equal(in[ETH + 6], IPPROTO_ICMPV6);
	net_destroy(net);
}

/* UDP to the host, whose IPv6 header says that it is longer than the frame. */
static void test_ipv6_lengths(void **state)
{
	struct net_backend *net = start("");
	uint8_t *ip = out + ETH;

	memset(out, 0, 100);
	memcpy(out, router_mac, 6);
	memcpy(out + 6, guest_mac, 6);
	put16(out + 12, 0x86dd);
	ip[0] = 0x60;
	ip[6] = IPPROTO_UDP;
	for (unsigned int len = 17; len < 65536; len += 89) {
		put16(ip + 4, len);
		put16(ip + 44, len);
		send_frame(net, ETH + 40 + 16);
	}
	/* and UDP's own that is too short, or too long */
	put16(ip + 4, 16);
	for (unsigned int len = 0; len < 30; len += len == 7 ? 10 : 1) {
		put16(ip + 44, len);
		send_frame(net, ETH + 40 + 16);
	}
	ip[0] = 0x50;
	put16(ip + 4, 16);
	send_frame(net, ETH + 40 + 16);
	assert_int_equal(counter_get(&counters(net)->tx_packets), 0);
	net_destroy(net);
}

static const uint8_t *dhcp_option(uint8_t code)
{
	for (size_t at = L4 + 8 + 240; at + 2 < in_len && in[at] != 255; at += 2u + in[at + 1])
		if (in[at] == code)
			return in + at + 2;
	return NULL;
}

static void test_dhcp(void **state)
{
	static const uint8_t options[] = {0x63, 0x82, 0x53, 0x63, 53, 1, 1, 255};
	struct net_backend *net = start("hostname=alpha,domainname=beta.example");
	uint8_t *dhcp = out + L4 + 8;

	memset(out, 0, sizeof(out));
	put16(out + L4, 68);
	put16(out + L4 + 2, 67);
	put16(out + L4 + 4, 8 + 300);
	dhcp[0] = dhcp[1] = 1;
	dhcp[2] = 6;
	memcpy(dhcp + 28, guest_mac, 6);
	memcpy(dhcp + 236, options, sizeof(options));
	send_ip(net, IPPROTO_UDP, (const uint8_t *)"\xff\xff\xff\xff", 308, 6);
	expect_frame(net);
	check_ip(IPPROTO_UDP, router_ip);
	assert_memory_equal(in + L4 + 8 + 16, guest_ip, 4);
	assert_int_equal(*dhcp_option(53), 2);
	assert_memory_equal(dhcp_option(1), "\xff\xff\xff\x00", 4);
	assert_memory_equal(dhcp_option(3), router_ip, 4);
	assert_memory_equal(dhcp_option(6), "\x0a\x00\x02\x03", 4);
	assert_memory_equal(dhcp_option(12), "alpha", 5);
	assert_memory_equal(dhcp_option(15), "beta.example", 12);
	net_destroy(net);
}

static void test_udp(void **state)
{
	struct net_backend *net = start("");
	struct sockaddr_in from;
	socklen_t from_len = sizeof(from);
	uint16_t port;
	int s = host_socket(SOCK_DGRAM, &port);
	char buf[100];

	meet(net);
	send_udp(net, 1234, port, "hello", 5);
	assert_int_equal(recvfrom(s, buf, sizeof(buf), 0, (struct sockaddr *)&from, &from_len), 5);
	assert_memory_equal(buf, "hello", 5);
	expect_nothing(net);
	assert_int_equal(sendto(s, "world!", 6, 0, (struct sockaddr *)&from, from_len), 6);
	assert_true(readable(net, 2000));
	expect_frame(net);
	check_ip(IPPROTO_UDP, router_ip);
	assert_int_equal(get16(in + L4), port);
	assert_int_equal(get16(in + L4 + 2), 1234);
	assert_memory_equal(in + L4 + 8, "world!", 6);
	close(s);
	net_destroy(net);
}

/* The datagram that send_udp() made: bytes [from, to) of it, from L4 on. */
static void send_fragment(struct net_backend *net, const uint8_t *whole, size_t from, size_t to,
			  bool more)
{
	uint8_t *ip = out + ETH;

	memcpy(out, whole, L4);
	memcpy(out + L4, whole + L4 + from, to - from);
	put16(ip + 2, (unsigned int)(IP + to - from));
	put16(ip + 6, (unsigned int)(from / 8) | (more ? 0x2000u : 0));
	put16(ip + 10, 0);
	put_csum(ip + 10, csum_add(0, ip, IP));
	send_frame(net, L4 + to - from);
}

static void test_fragments(void **state)
{
	struct net_backend *net = start("");
	uint8_t whole[sizeof(out)], got[2048], data[1200];
	uint16_t port;
	int s = host_socket(SOCK_DGRAM, &port);

	for (size_t i = 0; i < sizeof(data); i++)
		data[i] = (uint8_t)(i * 13);
	meet(net);
	send_udp(net, 1234, port, data, sizeof(data));
	assert_int_equal(recv(s, got, sizeof(got), 0), sizeof(data));
	memcpy(whole, out, sizeof(whole));
	/* in order, and the last first; others in between make another packet */
	whole[ETH + 5] = 1;
	send_fragment(net, whole, 0, 400, true);
	send_fragment(net, whole, 400, 808, true);
	whole[ETH + 5] = 2;
	send_fragment(net, whole, 800, 1208, false);
	whole[ETH + 5] = 1;
	send_fragment(net, whole, 808, 1208, false);
	assert_int_equal(recv(s, got, sizeof(got), 0), sizeof(data));
	assert_memory_equal(got, data, sizeof(data));
	whole[ETH + 5] = 2;
	send_fragment(net, whole, 400, 800, true);
	assert_int_equal(recv(s, got, sizeof(got), MSG_DONTWAIT), -1);
	send_fragment(net, whole, 0, 400, true);
	assert_int_equal(recv(s, got, sizeof(got), 0), sizeof(data));
	assert_memory_equal(got, data, sizeof(data));
	/* what overlaps, goes on behind the end, or has two ends, costs the packet */
	whole[ETH + 5] = 3;
	send_fragment(net, whole, 0, 408, true);
	send_fragment(net, whole, 400, 808, true);
	send_fragment(net, whole, 808, 1208, false);
	send_fragment(net, whole, 400, 800, false);
	send_fragment(net, whole, 800, 1200, true);
	assert_int_equal(recv(s, got, sizeof(got), MSG_DONTWAIT), -1);
	/* more than are kept: the first has given way */
	for (uint8_t id = 10; id < 10 + 9; id++) {
		whole[ETH + 5] = id;
		send_fragment(net, whole, 0, 600, true);
	}
	whole[ETH + 5] = 10;
	send_fragment(net, whole, 600, 1208, false);
	assert_int_equal(recv(s, got, sizeof(got), MSG_DONTWAIT), -1);
	whole[ETH + 5] = 18;
	send_fragment(net, whole, 600, 1208, false);
	assert_int_equal(recv(s, got, sizeof(got), 0), sizeof(data));
	close(s);
	net_destroy(net);
}

static void test_lengths(void **state)
{
	struct net_backend *net = start("");
	static uint8_t long_frame[70000];
	struct iovec iov = {long_frame, 13};

	net->ops->send(net->queue[0], &iov, 1);
	iov.iov_len = 0;
	net->ops->send(net->queue[0], &iov, 1);
	iov.iov_len = 65536;
	net->ops->send(net->queue[0], &iov, 1);
	assert_int_equal(counter_get(&counters(net)->tx_dropped_refused), 3);
	iov.iov_len = 65535;
	net->ops->send(net->queue[0], &iov, 1);
	iov.iov_len = 14;
	net->ops->send(net->queue[0], &iov, 1);
	assert_int_equal(counter_get(&counters(net)->tx_packets), 2);
	net_destroy(net);
}

/* Frames that are mostly right, with bytes changed, cut, and at random. */
static void test_garbage(void **state)
{
	static const uint8_t protocols[] = {1, 6, 17, 58, 2, 255};
	static const uint16_t types[] = {0x0800, 0x0806, 0x86dd, 0x88f8, 0x1234};
	struct net_backend *net = start("restrict=on");

	srand(7);
	for (int i = 0; i < 20000; i++) {
		size_t len = 20 + (size_t)rand() % 1500;
		struct iovec iov = {out, len};

		for (size_t k = 0; k < 100; k++)
			out[k] = (uint8_t)rand();
		put16(out + 12, types[rand() % 5]);
		if (out[12] == 0x86)
			out[14] = 0x60 | (out[14] & 15);
		else
			out[14] = rand() % 4 ? 0x45 : (uint8_t)rand();
		if (rand() % 8)
			put16(out + 16, (unsigned int)(len - ETH));
		out[23] = protocols[rand() % 6];
		if (rand() % 2)
			memcpy(out + 26, guest_ip, 4), memcpy(out + 30, router_ip, 4);
		if (rand() % 4 && out[12] == 8) {
			memset(out + 24, 0, 2);
			put_csum(out + 24, csum_add(0, out + ETH, (out[14] & 15) * 4u));
		}
		net->ops->send(net->queue[0], &iov, 1);
		while (i % 16 == 0 && receive(net))
			;
	}
	while (receive(net))
		;
	meet(net);
	net_destroy(net);
}

static void test_full(void **state)
{
	struct net_backend *net = start("");
	unsigned int frames = 0;

	for (int i = 0; i < 40000; i++)
		send_arp(net, 1, router_ip);
	assert_true(counter_get(&counters(net)->rx_dropped_full) > 0);
	assert_true(readable(net, 0));
	while (receive(net))
		frames++;
	assert_int_equal(frames + counter_get(&counters(net)->rx_dropped_full), 40000);
	assert_false(readable(net, 0));
	meet(net);
	net_destroy(net);
}

static void test_link(void **state)
{
	struct net_backend *net = start("ipv6=off");

	send_arp(net, 1, router_ip);
	net_set_link(net, false);
	assert_false(receive(net));
	assert_false(readable(net, 0));
	assert_int_equal(counter_get(&counters(net)->rx_dropped_down), 1);
	send_arp(net, 1, router_ip);
	assert_int_equal(counter_get(&counters(net)->tx_dropped_down), 1);
	assert_false(receive(net));
	net_set_link(net, true);
	meet(net);
	net_destroy(net);
}

/* With nothing to do there is no timer: not even the one second that libslirp asks for. */
static void test_idle(void **state)
{
	struct net_backend *net = start("ipv6=off");

	meet(net);
	assert_false(receive(net));
	assert_false(readable(net, 1300));
	net_destroy(net);
}

/* A vCPU sends, the I/O thread receives, the monitor asks. */
#define REQUESTS 3000

static void *sender(void *arg)
{
	for (int i = 0; i < REQUESTS; i++)
		send_arp(arg, 1, router_ip);
	return NULL;
}

static void *receiver(void *arg)
{
	for (int i = 0; i < REQUESTS;)
		if (receive(arg))
			i++;
		else if (!readable(arg, 5000))
			break;
	return NULL;
}

static void test_threads(void **state)
{
	struct net_backend *net = start("");
	struct err err = {0};
	pthread_t thread[2];

	pthread_create(&thread[0], NULL, sender, net);
	pthread_create(&thread[1], NULL, receiver, net);
	for (int i = 0; i < 50; i++) {
		json_decref(net->ops->connections(net));
		assert_int_equal(net->ops->forward(net, "udp:127.0.0.1:0-:7", true, &err), 0);
	}
	pthread_join(thread[0], NULL);
	pthread_join(thread[1], NULL);
	assert_int_equal(counter_get(&counters(net)->rx_packets), REQUESTS);
	net_destroy(net);
}

static void test_info(void **state)
{
	struct net_backend *net = start("restrict=on,hostfwd=udp:127.0.0.1:0-:7");
	json_t *object = json_object(), *lines = net->ops->connections(net);

	net_info(net, object);
	assert_string_equal(json_string_value(json_object_get(object, "net")), "10.0.2.0/24");
	assert_true(json_is_true(json_object_get(object, "restrict")));
	assert_string_equal(
		json_string_value(json_array_get(json_object_get(object, "hostfwd"), 0)),
		"udp:127.0.0.1:0-10.0.2.15:7");
	assert_int_equal(json_array_size(lines), 2); /* the first is a heading */
	assert_non_null(strstr(json_string_value(json_array_get(lines, 1)), "HOST_FORWARD"));
	json_decref(lines);
	json_decref(object);
	net_destroy(net);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_options),	  cmocka_unit_test(test_rules),
		cmocka_unit_test(test_queue),	  cmocka_unit_test(test_arp_and_ping),
		cmocka_unit_test(test_ping6),	  cmocka_unit_test(test_ipv6_lengths),
		cmocka_unit_test(test_dhcp),	  cmocka_unit_test(test_udp),
		cmocka_unit_test(test_fragments), cmocka_unit_test(test_lengths),
		cmocka_unit_test(test_garbage),	  cmocka_unit_test(test_full),
		cmocka_unit_test(test_link),	  cmocka_unit_test(test_idle),
		cmocka_unit_test(test_threads),	  cmocka_unit_test(test_info),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
