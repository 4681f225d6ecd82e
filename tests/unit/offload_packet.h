/*
 * Packets to be cut, and the check of what they were cut into. All of it byte by byte from the
 * RFCs, with no code in common with src/net/offload.c: this is the other opinion.
 */
#ifndef VIREO_TESTS_OFFLOAD_PACKET_H
#define VIREO_TESTS_OFFLOAD_PACKET_H

#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "net/net.h"

/* What a packet is made of. */
struct packet_kind {
	uint8_t gso_type;    /* NET_GSO_*, without ECN */
	bool ipv6;	     /* for UDP; TCP says it by its type */
	unsigned int tags;   /* 802.1Q */
	unsigned int ip_opt; /* bytes of IPv4 options, or of IPv6 extension headers (times 8) */
	unsigned int tcp_opt;
	unsigned int payload;
};

struct packet {
	uint8_t *data;
	size_t len;
	size_t l3, l4, payload;
	bool ipv6, tcp;
	struct net_hdr hdr;
};

static inline void packet_put(uint8_t *p, unsigned int bytes, uint64_t v)
{
	while (bytes--) {
		p[bytes] = (uint8_t)v;
		v >>= 8;
	}
}

static inline uint32_t packet_get(const uint8_t *p, unsigned int bytes)
{
	uint32_t v = 0;

	while (bytes--)
		v = v << 8 | *p++;
	return v;
}

/* RFC 1071 §1, one word at a time. */
static inline uint16_t packet_sum(uint16_t seed, const uint8_t *p, size_t len)
{
	uint32_t sum = seed;

	for (size_t i = 0; i < len; i++) {
		sum += i % 2 ? p[i] : (uint32_t)p[i] << 8;
		sum = (sum & 0xffff) + (sum >> 16);
	}
	return (uint16_t)sum;
}

/* RFC 9293 §3.1, RFC 8200 §8.1. */
static inline uint16_t packet_pseudo(const uint8_t *ip, bool ipv6, uint8_t protocol, size_t len)
{
	uint8_t tail[4] = {0, protocol, (uint8_t)(len >> 8), (uint8_t)len};

	return packet_sum(packet_sum(0, ipv6 ? ip + 8 : ip + 12, ipv6 ? 32 : 8), tail, 4);
}

static inline void packet_ip(struct packet *p, const struct packet_kind *k)
{
	uint8_t *ip = p->data + p->l3, protocol = p->tcp ? 6 : 17;

	if (!p->ipv6) {
		ip[0] = (uint8_t)(0x45 + k->ip_opt / 4);
		packet_put(ip + 2, 2, p->len - p->l3);
		packet_put(ip + 4, 2, 0xfff0); /* wraps soon */
		packet_put(ip + 6, 2, 0x4000);
		ip[8] = 64;
		ip[9] = protocol;
		packet_put(ip + 12, 4, 0x0a000002);
		packet_put(ip + 16, 4, 0x0a000001);
		memset(ip + 20, 1, k->ip_opt); /* no operation */
		packet_put(ip + 10, 2, (uint16_t)~packet_sum(0, ip, 20 + k->ip_opt));
		return;
	}
	ip[0] = 0x60;
	packet_put(ip + 4, 2, p->len - p->l3 - 40);
	ip[6] = protocol;
	ip[7] = 64;
	packet_put(ip + 8, 2, 0xfd00);
	ip[23] = 2;
	packet_put(ip + 24, 2, 0xfd00);
	ip[39] = 1;
	for (unsigned int i = 0; i < k->ip_opt; i++) {
		/* hop-by-hop options: one PadN of 4 bytes; destination options after that */
		uint8_t *ext = ip + 40 + 8 * i;

		ip[6] = 0;
		ext[0] = i + 1 < k->ip_opt ? 60 : protocol;
		ext[2] = 1;
		ext[3] = 4;
	}
}

static inline void packet_make(struct packet *p, const struct packet_kind *k, uint16_t mss)
{
	unsigned int i;

	memset(p, 0, sizeof(*p));
	p->tcp = k->gso_type == NET_GSO_TCPV4 || k->gso_type == NET_GSO_TCPV6;
	p->ipv6 = p->tcp ? k->gso_type == NET_GSO_TCPV6 : k->ipv6;
	p->l3 = 14 + 4 * k->tags;
	p->l4 = p->l3 + (p->ipv6 ? 40 + 8 * k->ip_opt : 20 + k->ip_opt);
	p->payload = p->l4 + (p->tcp ? 20 + k->tcp_opt : 8);
	p->len = p->payload + k->payload;
	p->data = calloc(1, p->len);
	memcpy(p->data, "\x02\0\0\0\0\x01\x52\x54\0\0\0\x02", 12);
	for (i = 0; i < k->tags; i++)
		packet_put(p->data + 12 + 4 * i, 4, 0x81000005);
	packet_put(p->data + 12 + 4 * i, 2, p->ipv6 ? 0x86dd : 0x0800);
	packet_ip(p, k);
	packet_put(p->data + p->l4, 4, 0x30391389);
	if (p->tcp) {
		packet_put(p->data + p->l4 + 4, 4, 0xffffff00);
		packet_put(p->data + p->l4 + 12, 2, 0x50d9 + (k->tcp_opt / 4 << 12));
		memset(p->data + p->l4 + 20, 1, k->tcp_opt);
	} else {
		packet_put(p->data + p->l4 + 4, 2, p->len - p->l4);
	}
	packet_put(p->data + p->l4 + (p->tcp ? 16 : 6), 2,
		   packet_pseudo(p->data + p->l3, p->ipv6, p->tcp ? 6 : 17, p->len - p->l4));
	for (i = 0; i < k->payload; i++)
		p->data[p->payload + i] = (uint8_t)(i * 7 + (i >> 8));
	p->hdr = (struct net_hdr){.flags = NET_HDR_NEEDS_CSUM,
				  .gso_type = k->gso_type,
				  .hdr_len = (uint16_t)p->payload,
				  .gso_size = mss,
				  .csum_start = (uint16_t)p->l4,
				  .csum_offset = p->tcp ? 16 : 6};
}

/* What has come of a packet: fed with each frame in order. */
struct packet_check {
	const struct packet *p;
	unsigned int unit; /* bytes of payload expected in each but the last */
	bool partial;	   /* checksums are left to the next */
	size_t done;	   /* bytes of payload seen */
	unsigned int frames;
	uint32_t fragment_id;
	const char *wrong; /* what, NULL = nothing */
};

#define PACKET_EXPECT(what)               \
	do {                              \
		if (!(what) && !c->wrong) \
			c->wrong = #what; \
	} while (0)

static inline void packet_check_ip(struct packet_check *c, const uint8_t *ip, size_t len)
{
	const struct packet *p = c->p;
	const uint8_t *was = p->data + p->l3;
	size_t header = p->l4 - p->l3;

	if (p->ipv6) {
		PACKET_EXPECT(packet_get(ip + 4, 2) == len - 40);
		PACKET_EXPECT(!memcmp(ip, was, 4));
		PACKET_EXPECT(!memcmp(ip + 7, was + 7, 33));
		return;
	}
	PACKET_EXPECT(packet_get(ip + 2, 2) == len);
	PACKET_EXPECT(packet_sum(0, ip, header) == 0xffff);
	PACKET_EXPECT(!memcmp(ip, was, 2));
	PACKET_EXPECT(!memcmp(ip + 8, was + 8, 2));
	PACKET_EXPECT(!memcmp(ip + 12, was + 12, header - 12));
}

static inline void packet_check_csum(struct packet_check *c, const struct net_hdr *hdr,
				     const uint8_t *frame, size_t len)
{
	const struct packet *p = c->p;
	uint8_t protocol = p->tcp ? 6 : 17;
	uint16_t pseudo = packet_pseudo(frame + p->l3, p->ipv6, protocol, len - p->l4);
	unsigned int at = p->tcp ? 16 : 6;
	uint32_t field = packet_get(frame + p->l4 + at, 2);

	PACKET_EXPECT(hdr->gso_type == 0);
	PACKET_EXPECT(hdr->flags == (c->partial ? 1 : 0));
	if (c->partial) {
		PACKET_EXPECT(hdr->csum_start == p->l4 && hdr->csum_offset == at);
		PACKET_EXPECT(field % 0xffff == pseudo % 0xffff);
	} else {
		PACKET_EXPECT(packet_sum(pseudo, frame + p->l4, len - p->l4) == 0xffff);
		PACKET_EXPECT(field);
	}
}

/* TSO and USO. */
static inline void packet_check_segment(struct packet_check *c, const struct net_hdr *hdr,
					const uint8_t *frame, size_t len)
{
	const struct packet *p = c->p;
	const uint8_t *l4 = frame + p->l4, *was = p->data + p->l4;
	size_t left = p->len - p->payload - c->done, expected = left < c->unit ? left : c->unit;
	bool first = !c->done, last = left == expected;

	PACKET_EXPECT(len == p->payload + expected);
	if (c->wrong)
		return;
	PACKET_EXPECT(!memcmp(frame, p->data, p->l3));
	packet_check_ip(c, frame + p->l3, len - p->l3);
	if (!p->ipv6) {
		PACKET_EXPECT(packet_get(frame + p->l3 + 4, 2) == ((0xfff0 + c->frames) & 0xffff));
		PACKET_EXPECT(packet_get(frame + p->l3 + 6, 2) == 0x4000);
	} else {
		PACKET_EXPECT(!memcmp(frame + p->l3 + 6, p->data + p->l3 + 6, 1));
		PACKET_EXPECT(
			!memcmp(frame + p->l3 + 40, p->data + p->l3 + 40, p->l4 - p->l3 - 40));
	}
	packet_check_csum(c, hdr, frame, len);
	PACKET_EXPECT(!memcmp(l4, was, 4));
	if (p->tcp) {
		uint8_t flags = was[13];

		if (!first)
			flags &= 0x7f; /* CWR: RFC 3168 §6.1.2 */
		if (!last)
			flags &= 0xf6; /* FIN, PSH */
		PACKET_EXPECT(packet_get(l4 + 4, 4) ==
			      (uint32_t)(packet_get(was + 4, 4) + c->done));
		PACKET_EXPECT(!memcmp(l4 + 8, was + 8, 5));
		PACKET_EXPECT(l4[13] == flags);
		PACKET_EXPECT(!memcmp(l4 + 14, was + 14, 2));
		PACKET_EXPECT(!memcmp(l4 + 18, was + 18, p->payload - p->l4 - 18));
	} else {
		PACKET_EXPECT(packet_get(l4 + 4, 2) == 8 + expected);
	}
	PACKET_EXPECT(!memcmp(frame + p->payload, p->data + p->payload + c->done, expected));
	c->done += expected;
	c->frames++;
}

/* UFO: `whole` is where the datagram is put together, from the UDP header on. */
static inline void packet_check_fragment(struct packet_check *c, const struct net_hdr *hdr,
					 const uint8_t *frame, size_t len, uint8_t *whole)
{
	const struct packet *p = c->p;
	size_t extra = p->ipv6 ? 8 : 0, unit = c->unit / 8 * 8, left = p->len - p->l4 - c->done;
	size_t expected = left < unit ? left : unit;
	const uint8_t *at = frame + p->l4;
	bool more = left > expected;

	PACKET_EXPECT(hdr->flags == 0 && hdr->gso_type == 0);
	PACKET_EXPECT(len == p->l4 + extra + expected);
	if (c->wrong)
		return;
	PACKET_EXPECT(!memcmp(frame, p->data, p->l3));
	packet_check_ip(c, frame + p->l3, len - p->l3);
	if (p->ipv6) {
		if (!c->frames)
			c->fragment_id = packet_get(at + 4, 4);
		PACKET_EXPECT(at[0] == 17 && at[1] == 0);
		PACKET_EXPECT(packet_get(at + 2, 2) == (c->done | more));
		PACKET_EXPECT(packet_get(at + 4, 4) == c->fragment_id);
	} else {
		PACKET_EXPECT(packet_get(frame + p->l3 + 4, 2) == 0xfff0);
		PACKET_EXPECT(packet_get(frame + p->l3 + 6, 2) ==
			      (c->done / 8 | (more ? 0x2000u : 0)));
	}
	memcpy(whole + c->done, at + extra, expected);
	c->done += expected;
	c->frames++;
	if (more)
		return;
	PACKET_EXPECT(!memcmp(whole, p->data + p->l4, 6));
	PACKET_EXPECT(!memcmp(whole + 8, p->data + p->l4 + 8, c->done - 8));
	PACKET_EXPECT(packet_sum(packet_pseudo(p->data + p->l3, p->ipv6, 17, c->done), whole,
				 c->done) == 0xffff);
}

#endif
