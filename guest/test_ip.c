/*
 * net-ip: a network that is known by its protocols only. The guest takes an address by DHCP (RFC 2131),
 * asks for the router by ARP (RFC 826), pings it (RFC 792), and exchanges UDP datagrams with a port there
 * that echoes; then it echoes itself, for whoever is led to its port 7. One packet at a time, IPv4 without
 * options, no fragments; every byte that comes back is compared.
 */
#include "clock.h"
#include "frame.h"
#include "lib.h"
#include "memory.h"
#include "nic.h"
#include "serial.h"

#define ETHERTYPE_IPV4 0x0800
#define ETHERTYPE_ARP  0x0806
#define PROTOCOL_ICMP  1
#define PROTOCOL_UDP   17
#define UDP_HEADER     8
#define ICMP_HEADER    8
#define L4	       (FRAME_ETHERNET + FRAME_IPV4)
#define ECHO_PORT      7
#define OWN_PORT       40000
#define DHCP_SERVER    67
#define DHCP_CLIENT    68
#define DHCP_OPTIONS   240 /* offset, behind the magic cookie */
#define DHCP_XID       0x76697265
#define RETRY_NS       (500 * NS_PER_MS)
#define FRAME_BYTES    1514

static const struct test_param ip_params[] = {
	{"count", "200", "UDP datagrams there and back"},
	{"size", "1000", "bytes of each, without headers"},
	{"pings", "5", "echo requests, first"},
	{"port", "7", "of the router's that echoes UDP"},
	{"to", "router", "dns: the name server instead, pings and port"},
	{"serve", "0", "echo so many datagrams that come to port 7, at the end"},
	{"peer", "20000", "wait so long for each step, milliseconds"},
	NIC_PARAMS,
	{NULL, NULL, NULL},
};

struct ip_test {
	struct nic *nic;
	uint64_t timeout_ns;
	uint8_t address[4], router[4], dns[4];
	uint8_t peer[4], peer_mac[6];
	uint8_t frame[FRAME_BYTES]; /* as it came in */
	uint32_t length;
	uint64_t bad; /* checksums */
};

/* ---- frames out ---- */

static uint8_t *start_frame(struct ip_test *t, struct nic_slot *slot, const uint8_t *to,
			    uint16_t type)
{
	uint64_t start = clock_ns();

	while (!nic_get(t->nic, slot)) {
		nic_reap(t->nic);
		if (t->nic->broken || clock_ns() - start > NS_PER_S)
			return NULL;
	}
	memset(slot->frame, 0, 60);
	memcpy(slot->frame, to, 6);
	memcpy(slot->frame + 6, t->nic->mac, 6);
	frame_put16(slot->frame + 12, type);
	return slot->frame;
}

static void finish_frame(struct ip_test *t, const struct nic_slot *slot, uint32_t length)
{
	nic_send(t->nic, slot, MAX(length, 60u), NULL);
	nic_flush(t->nic);
}

/* The IPv4 header in front of `length` bytes. */
static void put_ip(uint8_t *frame, uint8_t protocol, const uint8_t *from, const uint8_t *to,
		   uint32_t length)
{
	uint8_t *ip = frame + FRAME_ETHERNET;

	memset(ip, 0, FRAME_IPV4);
	ip[0] = 0x45;
	frame_put16(ip + 2, FRAME_IPV4 + length);
	ip[8] = 64;
	ip[9] = protocol;
	memcpy(ip + 12, from, 4);
	memcpy(ip + 16, to, 4);
	frame_put16(ip + 10, ~frame_sum(ip, FRAME_IPV4, 0));
}

/* Without a checksum, as UDP over IPv4 may be (RFC 768). */
static void put_udp(uint8_t *frame, uint16_t from, uint16_t to, uint32_t length)
{
	uint8_t *udp = frame + L4;

	frame_put16(udp, from);
	frame_put16(udp + 2, to);
	frame_put16(udp + 4, UDP_HEADER + length);
	frame_put16(udp + 6, 0);
}

/* ---- frames in ---- */

static bool ip_is_right(struct ip_test *t)
{
	const uint8_t *ip = t->frame + FRAME_ETHERNET;
	uint32_t length = frame_get16(ip + 2), l4 = length - FRAME_IPV4, sum;

	if (ip[0] != 0x45 || length < FRAME_IPV4 + 8 || length + FRAME_ETHERNET > t->length)
		return false;
	t->length = length + FRAME_ETHERNET; /* less the padding */
	sum = ip[9] == PROTOCOL_UDP ? frame_sum(ip + 12, 8, PROTOCOL_UDP + l4) : 0;
	if (frame_sum(ip, FRAME_IPV4, 0) == 0xffff &&
	    ((ip[9] == PROTOCOL_UDP && !frame_get16(t->frame + L4 + 6)) ||
	     frame_sum(t->frame + L4, l4, sum) == 0xffff))
		return true;
	t->bad++;
	return false;
}

/* Answers who asks for our address. */
static void answer_arp(struct ip_test *t)
{
	const uint8_t *arp = t->frame + FRAME_ETHERNET;
	struct nic_slot slot;
	uint8_t *reply;

	if (t->length < FRAME_ETHERNET + 28 || frame_get16(arp + 6) != 1 ||
	    memcmp(arp + 24, t->address, 4))
		return;
	reply = start_frame(t, &slot, arp + 8, ETHERTYPE_ARP);
	if (!reply)
		return;
	reply += FRAME_ETHERNET;
	memcpy(reply, arp, 6);
	frame_put16(reply + 6, 2);
	memcpy(reply + 8, t->nic->mac, 6);
	memcpy(reply + 14, t->address, 4);
	memcpy(reply + 18, arp + 8, 10);
	finish_frame(t, &slot, FRAME_ETHERNET + 28);
}

/* Takes a frame, if there is one for us: 0, or its type. Requests by ARP are answered here. */
static uint16_t take(struct ip_test *t)
{
	struct nic_frame frame;
	uint16_t type = 0;

	nic_reap(t->nic);
	if (!nic_receive(t->nic, &frame))
		return 0;
	t->length = 0;
	for (uint32_t i = 0; i < frame.n_parts && frame.length <= FRAME_BYTES; i++) {
		memcpy(t->frame + t->length, frame.parts[i].data, frame.parts[i].length);
		t->length += frame.parts[i].length;
	}
	nic_release(t->nic, &frame);
	nic_refill(t->nic);
	if (t->length >= FRAME_ETHERNET + 28)
		type = frame_get16(t->frame + 12);
	if (type == ETHERTYPE_ARP)
		answer_arp(t);
	if (type == ETHERTYPE_IPV4 && !ip_is_right(t))
		type = 0;
	return type;
}

/* Is what came in such a packet, and to this port (UDP), or such a message (ICMP)? */
static bool is_packet(const struct ip_test *t, uint16_t type, uint8_t protocol, uint16_t what)
{
	return type == ETHERTYPE_IPV4 && t->frame[FRAME_ETHERNET + 9] == protocol &&
	       what == (protocol == PROTOCOL_UDP ? frame_get16(t->frame + L4 + 2) : t->frame[L4]);
}

/* Waits for such a packet for up to ns. */
static bool wait_packet(struct ip_test *t, uint8_t protocol, uint16_t what, uint64_t ns)
{
	uint64_t start = clock_ns();

	while (!t->nic->broken && clock_ns() - start < ns) {
		if (is_packet(t, take(t), protocol, what))
			return true;
		nic_wait(t->nic, false, ns);
	}
	return false;
}

/* ---- DHCP ---- */

static const uint8_t broadcast[6] = {0xff, 0xff, 0xff, 0xff, 0xff, 0xff};
static const uint8_t nobody[4];

/* kind: 1 DISCOVER, 3 REQUEST (of t->address from t->router) */
static void send_dhcp(struct ip_test *t, uint8_t kind)
{
	struct nic_slot slot;
	uint8_t *frame = start_frame(t, &slot, broadcast, ETHERTYPE_IPV4), *p, *o;
	uint32_t length = 300;

	if (!frame)
		return;
	p = frame + L4 + UDP_HEADER;
	memset(p, 0, length);
	p[0] = 1; /* request */
	p[1] = 1; /* Ethernet */
	p[2] = 6;
	frame_put16(p + 4, DHCP_XID >> 16);
	frame_put16(p + 6, DHCP_XID & 0xffff);
	memcpy(p + 28, t->nic->mac, 6);
	memcpy(p + DHCP_OPTIONS - 4, "\x63\x82\x53\x63", 4);
	o = p + DHCP_OPTIONS;
	memcpy(o, "\x35\x01", 2);
	o[2] = kind;
	o += 3;
	if (kind == 3) {
		memcpy(o, "\x32\x04", 2); /* the address asked for */
		memcpy(o + 2, t->address, 4);
		memcpy(o + 6, "\x36\x04", 2); /* whose offer is taken */
		memcpy(o + 8, t->router, 4);
		o += 12;
	}
	*o = 0xff;
	put_ip(frame, PROTOCOL_UDP, nobody, (const uint8_t *)"\xff\xff\xff\xff",
	       UDP_HEADER + length);
	put_udp(frame, DHCP_CLIENT, DHCP_SERVER, length);
	finish_frame(t, &slot, L4 + UDP_HEADER + length);
}

/* The value of an option of 4 bytes, or of the message's kind (1 byte); false: it isn't there. */
static bool dhcp_option(const struct ip_test *t, uint8_t code, uint8_t *value, uint32_t bytes)
{
	uint32_t at = L4 + UDP_HEADER + DHCP_OPTIONS;

	while (at + 2 <= t->length && t->frame[at] != 0xff) {
		uint32_t length = t->frame[at + 1];

		if (!t->frame[at]) {
			at++; /* padding */
			continue;
		}
		if (t->frame[at] == code && length >= bytes && at + 2 + length <= t->length) {
			memcpy(value, t->frame + at + 2, bytes);
			return true;
		}
		at += 2 + length;
	}
	return false;
}

/* One message, and the answer of kind `answer`. */
static bool dhcp_step(struct ip_test *t, uint8_t kind, uint8_t answer)
{
	uint64_t start = clock_ns();
	uint8_t got;

	while (!t->nic->broken && clock_ns() - start < t->timeout_ns) {
		send_dhcp(t, kind);
		if (wait_packet(t, PROTOCOL_UDP, DHCP_CLIENT, RETRY_NS) &&
		    dhcp_option(t, 53, &got, 1) && got == answer) {
			memcpy(t->address, t->frame + L4 + UDP_HEADER + 16, 4);
			dhcp_option(t, 6, t->dns, 4);
			return dhcp_option(t, 54, t->router, 4);
		}
	}
	return false;
}

/* ---- the steps ---- */

static bool find_peer(struct ip_test *t)
{
	uint64_t start = clock_ns(), sent = 0;
	const uint8_t *arp = t->frame + FRAME_ETHERNET;
	struct nic_slot slot;
	uint8_t *request;

	while (!t->nic->broken && clock_ns() - start < t->timeout_ns) {
		if (clock_ns() - sent > RETRY_NS) {
			sent = clock_ns();
			request = start_frame(t, &slot, broadcast, ETHERTYPE_ARP);
			if (!request)
				return false;
			request += FRAME_ETHERNET;
			memcpy(request, "\x00\x01\x08\x00\x06\x04\x00\x01", 8);
			memcpy(request + 8, t->nic->mac, 6);
			memcpy(request + 14, t->address, 4);
			memcpy(request + 24, t->peer, 4);
			finish_frame(t, &slot, FRAME_ETHERNET + 28);
		}
		if (take(t) == ETHERTYPE_ARP && frame_get16(arp + 6) == 2 &&
		    !memcmp(arp + 14, t->peer, 4)) {
			memcpy(t->peer_mac, arp + 8, 6);
			return true;
		}
		nic_wait(t->nic, false, RETRY_NS);
	}
	return false;
}

/* The body of packet i, each time another. */
static void fill(uint8_t *body, uint32_t size, uint64_t i)
{
	frame_fill_body(body, size, (uint16_t)(i * 7 + 1));
}

static bool body_is(const struct ip_test *t, uint32_t header, uint32_t size, uint64_t i)
{
	return t->length == L4 + header + size &&
	       frame_body_ok(t->frame + L4 + header, size, (uint16_t)(i * 7 + 1), 0);
}

static bool ping(struct ip_test *t, uint32_t size, uint16_t i)
{
	struct nic_slot slot;
	uint8_t *frame = start_frame(t, &slot, t->peer_mac, ETHERTYPE_IPV4), *icmp;

	if (!frame)
		return false;
	icmp = frame + L4;
	memset(icmp, 0, ICMP_HEADER);
	icmp[0] = 8;
	frame_put16(icmp + 6, i);
	fill(icmp + ICMP_HEADER, size, i);
	frame_put16(icmp + 2, ~frame_sum(icmp, ICMP_HEADER + size, 0));
	put_ip(frame, PROTOCOL_ICMP, t->address, t->peer, ICMP_HEADER + size);
	finish_frame(t, &slot, L4 + ICMP_HEADER + size);
	return wait_packet(t, PROTOCOL_ICMP, 0, t->timeout_ns) &&
	       frame_get16(t->frame + L4 + 6) == i && body_is(t, ICMP_HEADER, size, i);
}

static bool exchange(struct ip_test *t, uint16_t port, uint32_t size, uint64_t i)
{
	struct nic_slot slot;
	uint8_t *frame = start_frame(t, &slot, t->peer_mac, ETHERTYPE_IPV4);

	if (!frame)
		return false;
	fill(frame + L4 + UDP_HEADER, size, i);
	put_ip(frame, PROTOCOL_UDP, t->address, t->peer, UDP_HEADER + size);
	put_udp(frame, OWN_PORT, port, size);
	finish_frame(t, &slot, L4 + UDP_HEADER + size);
	return wait_packet(t, PROTOCOL_UDP, OWN_PORT, t->timeout_ns) &&
	       frame_get16(t->frame + L4) == port && body_is(t, UDP_HEADER, size, i);
}

/* Echoes one datagram. */
static bool serve(struct ip_test *t)
{
	struct nic_slot slot;
	uint8_t *frame;
	uint32_t size;

	if (!wait_packet(t, PROTOCOL_UDP, ECHO_PORT, t->timeout_ns))
		return false;
	size = t->length - L4 - UDP_HEADER;
	frame = start_frame(t, &slot, t->frame + 6, ETHERTYPE_IPV4);
	if (!frame)
		return false;
	memcpy(frame + L4 + UDP_HEADER, t->frame + L4 + UDP_HEADER, size);
	put_ip(frame, PROTOCOL_UDP, t->address, t->frame + FRAME_ETHERNET + 12, UDP_HEADER + size);
	put_udp(frame, ECHO_PORT, frame_get16(t->frame + L4), size);
	finish_frame(t, &slot, L4 + UDP_HEADER + size);
	return true;
}

static void say_address(const char *name, const uint8_t *a)
{
	say(" %s=%d.%d.%d.%d", name, a[0], a[1], a[2], a[3]);
}

/* NULL, or the step that failed. */
static const char *run_steps(struct ip_test *t, const struct test *test,
			     const struct test_arg *args, uint64_t *done)
{
	uint64_t count = test_number(test, args, "count"), n = test_number(test, args, "serve");
	uint64_t pings = test_number(test, args, "pings");
	uint32_t size = test_number(test, args, "size");
	uint16_t port = test_number(test, args, "port");

	if (!dhcp_step(t, 1, 2) || !dhcp_step(t, 3, 5))
		return "no-dhcp";
	memcpy(t->peer, strcmp(test_string(test, args, "to"), "dns") ? t->router : t->dns, 4);
	if (!find_peer(t))
		return "no-peer";
	for (uint64_t i = 0; i < pings; i++)
		if (!ping(t, 56 + 300 * (i % 4), i))
			return "no-ping";
	for (; *done < count; ++*done)
		if (!exchange(t, port, size, *done))
			return "no-echo";
	if (n)
		report("serving port=%d", ECHO_PORT);
	for (uint64_t i = 0; i < n; i++)
		if (!serve(t))
			return "nobody-came";
	return NULL;
}

static bool run_ip(const struct test *test, const struct test_arg *args)
{
	struct ip_test *t = memory_alloc(sizeof(*t), 64);
	uint64_t done = 0, start = clock_ns();
	const char *failed;

	if (test_number(test, args, "size") > FRAME_BYTES - L4 - UDP_HEADER)
		return test_fail(test, "size-too-big");
	t->timeout_ns = test_number(test, args, "peer") * NS_PER_MS;
	t->nic = nic_open(test, args, FRAME_BYTES, false);
	if (!t->nic)
		return false;
	failed = run_steps(t, test, args, &done);
	test_result(test, !failed && !t->bad);
	if (failed)
		say(" reason=%s", failed);
	say_address("address", t->address);
	say_address("router", t->router);
	say_address("dns", t->dns);
	report(" round_trips=%lu bad=%lu ns=%lu interrupts=%lu", done, t->bad, clock_ns() - start,
	       t->nic->interrupts);
	nic_close(t->nic);
	return !failed && !t->bad;
}

const struct test test_net_ip = {
	.name = "net-ip",
	.help = "DHCP, ARP, ping and UDP with a router that is a host",
	.params = ip_params,
	.run = run_ip,
};
