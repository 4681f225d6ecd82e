/*
 * virtio-net's hash: the published values for Toeplitz, and which fields of which packets are hashed.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <arpa/inet.h>
#include <cmocka.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <string.h>

#include "dev/virtio_net.h"

#define TYPE(name)   VIRTIO_NET_RSS_HASH_TYPE_##name
#define REPORT(name) VIRTIO_NET_HASH_REPORT_##name

/* Microsoft, "Verifying the RSS Hash Calculation" (Windows driver documentation). */
static const uint8_t key[VNET_RSS_KEY] = {
	0x6d, 0x5a, 0x56, 0xda, 0x25, 0x5b, 0x0e, 0xc2, 0x41, 0x67, 0x25, 0x3d, 0x43, 0xa3,
	0x8f, 0xb0, 0xd0, 0xca, 0x2b, 0xcb, 0xae, 0x7b, 0x30, 0xb4, 0x77, 0xcb, 0x2d, 0xa3,
	0x80, 0x30, 0xf2, 0x0c, 0x6a, 0x42, 0xb7, 0x3b, 0xbe, 0xac, 0x01, 0xfa};

static const struct {
	const char *destination;
	uint16_t destination_port;
	const char *source;
	uint16_t source_port;
	uint32_t addresses, tcp; /* the hashes */
} suite[] = {
	{"161.142.100.80", 1766, "66.9.149.187", 2794, 0x323e8fc2, 0x51ccc178},
	{"65.69.140.83", 4739, "199.92.111.2", 14230, 0xd718262a, 0xc626b0ea},
	{"12.22.207.184", 38024, "24.19.198.95", 12898, 0xd2d0a5de, 0x5c2b394a},
	{"209.142.163.6", 2217, "38.27.205.30", 48228, 0x82989176, 0xafc7327f},
	{"202.188.127.2", 1303, "153.39.163.191", 44251, 0x5d1809c5, 0x10e828a2},
	{"3ffe:2501:200:3::1", 1766, "3ffe:2501:200:1fff::7", 2794, 0x2cc18cd5, 0x40207d3d},
	{"ff02::1", 4739, "3ffe:501:8::260:97ff:fe40:efab", 14230, 0x0f0c461c, 0xdde51bbf},
	{"fe80::200:f8ff:fe21:67cf", 38024, "3ffe:1900:4545:3:200:f8ff:fe21:67cf", 44251,
	 0x4b61e985, 0x02d1feef},
};

static void put16(uint8_t *at, unsigned int v)
{
	at[0] = (uint8_t)(v >> 8);
	at[1] = (uint8_t)v;
}

/* A packet of the suite's row i, with so many VLAN tags and bytes of IPv4 options or IPv6 extension
 * headers (a destination options header, empty). Returns its length. */
static size_t make(uint8_t *frame, unsigned int i, uint8_t protocol, unsigned int tags,
		   size_t extra)
{
	bool ipv6 = strchr(suite[i].source, ':');
	int family = ipv6 ? AF_INET6 : AF_INET;
	uint8_t *at = frame + 12;

	memset(frame, 0, 256);
	for (; tags; tags--, at += 4)
		put16(at, tags == 2 ? 0x88a8 : 0x8100);
	put16(at, ipv6 ? 0x86dd : 0x0800);
	at += 2;
	if (ipv6) {
		at[0] = 0x60;
		at[6] = extra ? 60 : protocol;
		inet_pton(family, suite[i].source, at + 8);
		inet_pton(family, suite[i].destination, at + 24);
		at += 40;
		if (extra) {
			at[0] = protocol;
			at[1] = (uint8_t)(extra / 8 - 1);
			at[2] = 1; /* PadN */
			at[3] = (uint8_t)(extra - 4);
		}
	} else {
		at[0] = (uint8_t)(0x45 + extra / 4);
		at[9] = protocol;
		inet_pton(family, suite[i].source, at + 12);
		inet_pton(family, suite[i].destination, at + 16);
		at += 20;
	}
	at += extra;
	put16(at, suite[i].source_port);
	put16(at + 2, suite[i].destination_port);
	return (size_t)(at + 20 - frame);
}

static void check(const uint8_t *frame, size_t len, uint32_t types, uint32_t value, uint16_t report)
{
	struct vnet_hash hash = {1, 2, 3};

	assert_int_equal(vnet_hash(types, key, frame, len, &hash), report != REPORT(NONE));
	assert_int_equal(hash.value, value);
	assert_int_equal(hash.report, report);
	assert_int_equal(hash.padding, 0);
}

static void test_suite(void **state)
{
	const uint32_t tcp = TYPE(TCPv4) | TYPE(TCPv6), ip = TYPE(IPv4) | TYPE(IPv6),
		       udp = TYPE(UDPv4) | TYPE(UDPv6);
	uint8_t frame[256];

	for (unsigned int i = 0; i < sizeof(suite) / sizeof(suite[0]); i++) {
		bool v6 = i > 4;

		for (unsigned int tags = 0; tags < 3; tags++) {
			size_t len = make(frame, i, IPPROTO_TCP, tags, 0);

			check(frame, len, tcp | ip, suite[i].tcp,
			      v6 ? REPORT(TCPv6) : REPORT(TCPv4));
			check(frame, len, tcp, suite[i].tcp, v6 ? REPORT(TCPv6) : REPORT(TCPv4));
			check(frame, len, ip | udp, suite[i].addresses,
			      v6 ? REPORT(IPv6) : REPORT(IPv4));
			check(frame, len, udp, 0, REPORT(NONE));
			check(frame, len, 0, 0, REPORT(NONE));
			len = make(frame, i, IPPROTO_UDP, tags, 0);
			check(frame, len, vnet_hash_types, suite[i].tcp,
			      v6 ? REPORT(UDPv6) : REPORT(UDPv4));
			check(frame, len, tcp | ip, suite[i].addresses,
			      v6 ? REPORT(IPv6) : REPORT(IPv4));
			/* neither */
			len = make(frame, i, IPPROTO_SCTP, tags, 0);
			check(frame, len, vnet_hash_types, suite[i].addresses,
			      v6 ? REPORT(IPv6) : REPORT(IPv4));
		}
	}
}

static void test_options(void **state)
{
	uint8_t frame[256];
	size_t len;

	/* IPv4 options are stepped over; without room for ports, the addresses are left */
	len = make(frame, 0, IPPROTO_TCP, 0, 40);
	check(frame, len, vnet_hash_types, suite[0].tcp, REPORT(TCPv4));
	check(frame, 14 + 60 + 3, vnet_hash_types, suite[0].addresses, REPORT(IPv4));
	check(frame, 14 + 60 + 3, TYPE(TCPv4), 0, REPORT(NONE));
	/* fragments: the first one, too */
	for (unsigned int i = 0; i < 3; i++) {
		len = make(frame, 0, IPPROTO_TCP, 0, 0);
		put16(frame + 14 + 6, i == 0 ? 0x2000 : i == 1 ? 0x2010 : 0x0010);
		check(frame, len, vnet_hash_types, suite[0].addresses, REPORT(IPv4));
	}
	put16(frame + 14 + 6, 0x4000); /* don't fragment: it isn't one */
	check(frame, len, vnet_hash_types, suite[0].tcp, REPORT(TCPv4));
	/* not what the type says, a header shorter than can be */
	frame[14] = 0x65;
	check(frame, len, vnet_hash_types, 0, REPORT(NONE));
	frame[14] = 0x44;
	check(frame, len, vnet_hash_types, suite[0].addresses, REPORT(IPv4));
	put16(frame + 12, 0x0806);
	check(frame, len, vnet_hash_types, 0, REPORT(NONE));
	/* three tags */
	len = make(frame, 0, IPPROTO_TCP, 2, 0);
	memmove(frame + 16, frame + 12, len - 12);
	check(frame, len + 4, vnet_hash_types, 0, REPORT(NONE));
}

static void test_extensions(void **state)
{
	const uint32_t ex = TYPE(TCP_EX) | TYPE(UDP_EX) | TYPE(IP_EX);
	const uint32_t plain = TYPE(TCPv6) | TYPE(UDPv6) | TYPE(IPv6);
	uint8_t frame[256], *extra = frame + 14 + 40;
	size_t len = make(frame, 5, IPPROTO_TCP, 0, 24);

	/* no home address, no other destination: the addresses are the packet's */
	check(frame, len, ex | plain, suite[5].tcp, REPORT(TCPv6_EX));
	check(frame, len, plain, suite[5].tcp, REPORT(TCPv6));
	check(frame, len, TYPE(UDP_EX) | TYPE(IP_EX), suite[5].addresses, REPORT(IPv6_EX));
	check(frame, len, TYPE(UDP_EX) | TYPE(IPv6), suite[5].addresses, REPORT(IPv6));
	check(frame, make(frame, 5, IPPROTO_TCP, 0, 0), ex, 0, REPORT(NONE));
	check(frame, make(frame, 5, IPPROTO_UDP, 0, 24), ex, suite[5].tcp, REPORT(UDPv6_EX));

	/* a home address: row 6's source stands there, and row 5's in the header */
	len = make(frame, 6, IPPROTO_TCP, 0, 24);
	extra[2] = 1, extra[3] = 2; /* PadN to 4 n + 2 */
	extra[6] = 0xc9, extra[7] = 16;
	memcpy(extra + 8, frame + 14 + 8, 16);
	inet_pton(AF_INET6, suite[5].source, frame + 14 + 8);
	check(frame, len, ex | plain, suite[6].tcp, REPORT(TCPv6_EX));
	check(frame, len, TYPE(IP_EX), suite[6].addresses, REPORT(IPv6_EX));

	/* a routing header of type 2 with row 7's destination */
	len = make(frame, 7, IPPROTO_TCP, 0, 24);
	frame[14 + 6] = IPPROTO_ROUTING;
	extra[2] = 2, extra[3] = 1;
	memcpy(extra + 8, frame + 14 + 24, 16);
	inet_pton(AF_INET6, suite[5].destination, frame + 14 + 24);
	check(frame, len, ex | plain, suite[7].tcp, REPORT(TCPv6_EX));

	/* a fragment has no ports */
	len = make(frame, 5, IPPROTO_TCP, 0, 8);
	frame[14 + 6] = IPPROTO_FRAGMENT;
	check(frame, len, ex | plain, suite[5].addresses, REPORT(IPv6_EX));
	check(frame, len, plain, suite[5].addresses, REPORT(IPv6));
	/* a header that is longer than the packet, and one that goes on and on */
	len = make(frame, 5, IPPROTO_TCP, 0, 24);
	extra[1] = 255;
	check(frame, len, plain, suite[5].addresses, REPORT(IPv6));
	make(frame, 5, IPPROTO_TCP, 0, 8);
	for (unsigned int i = 0; i < 25; i++) {
		extra[8 * i] = 60;
		extra[8 * i + 1] = 0;
	}
	check(frame, 256, plain, suite[5].addresses, REPORT(IPv6));
}

/* Of every length, memory of exactly that length. */
static void test_short(void **state)
{
	for (unsigned int i = 0; i < sizeof(suite) / sizeof(suite[0]); i++)
		for (unsigned int kind = 0; kind < 3; kind++) {
			uint8_t frame[256];
			size_t len = make(frame, i, IPPROTO_TCP, kind, 24 * (kind == 2));

			for (size_t n = 0; n <= len; n++) {
				uint8_t *exact = malloc(n + !n);
				struct vnet_hash hash;

				memcpy(exact, frame, n);
				vnet_hash(vnet_hash_types, key, exact, n, &hash);
				free(exact);
			}
		}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_suite),
		cmocka_unit_test(test_options),
		cmocka_unit_test(test_extensions),
		cmocka_unit_test(test_short),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
