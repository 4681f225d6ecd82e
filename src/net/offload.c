/*
 * Offloads in software: what a front end leaves to do and a back end doesn't take. Virtio 1.3
 * §5.1.6.2 says what a header means; RFC 791, 8200, 768 and 9293 what becomes of the packets.
 *
 *	as it is     the back end takes all that the header asks for: header in front, one send()
 *	checksum     summed up over the guest's memory, written into a copy of the frame's start
 *	segments     one send() each: a copy of the headers, patched, in front of a slice of the
 *		     guest's payload
 *
 *	frame	     | Ethernet | IP | TCP |  payload .................................  |
 *	segment 0    |   head[], patched   |  size bytes  |
 *	segment 1    |   head[], patched   |		  |  size bytes	 |		 ...
 *
 * TCP (TSO) and UDP (USO) segments are packets of their own. The fragments of a UDP datagram (UFO)
 * have its one UDP header in the first; IPv6 gets a fragment header (RFC 8200 §4.5) in front of it.
 *
 * Payload is never copied, and never written: the memory is the guest's. It may change it
 * meanwhile: headers are looked at in the copy only, and what is cut is cut by lengths taken once.
 * A header that doesn't fit its frame costs that frame.
 *
 * A back end that is full in the middle of a frame gets the rest later: net_queue.segments_sent
 * says how many it has. Nothing else is kept between calls.
 *
 * Not here: encapsulated packets (a tunnel's inner TCP), and large receive: what comes in is passed
 * on.
 *
 * Runs on the thread of the queue.
 */
#include <errno.h>
#include <netinet/in.h>
#include <string.h>

#include "base/be.h"
#include "base/csum.h"
#include "base/iov.h"
#include "net/net.h"

/* Bytes at a frame's start that are copied to be changed: Ethernet, two VLAN tags, IPv4 and TCP
 * with all options need 142. */
#define OFFLOAD_HEAD 256
/* Pieces of a frame: as many as a system call takes (UIO_MAXIOV). */
#define OFFLOAD_IOV 1024
/* Segments of a frame: 64 KiB in pieces of 48 bytes, the least that Linux's TCP sends
 * (TCP_MIN_SND_MSS). A bound on what a frame can cost. */
#define OFFLOAD_SEGMENTS (65536 / 48 + 1)

/* A header that no bit of NET_OFFLOAD_* stands for: always done here, or refused. */
#define NEEDS_SOFTWARE (1u << 31)

enum {
	ETHERTYPE_AT = 12,
	ETHERTYPE_8021Q = 0x8100,
	ETHERTYPE_8021AD = 0x88a8,
	ETHERTYPE_IPV4 = 0x0800,
	ETHERTYPE_IPV6 = 0x86dd,
	IPV4_LEN = 2, /* offsets in the headers */
	IPV4_ID = 4,
	IPV4_FRAGMENT = 6,
	IPV4_PROTOCOL = 9,
	IPV4_CSUM = 10,
	IPV4_MORE_FRAGMENTS = 0x2000,
	IPV4_IS_FRAGMENT = 0x3fff, /* more fragments, or an offset */
	IPV6_LEN = 4,
	IPV6_NEXT_HEADER = 6,
	IPV6_HEADER = 40,
	IPV6_FRAGMENT_HEADER = 8,
	IPV6_MORE_FRAGMENTS = 1,
	TCP_SEQUENCE = 4,
	TCP_OFFSET = 12,
	TCP_FLAGS = 13,
	TCP_CSUM = 16,
	TCP_HEADER = 20,
	TCP_FIN = 0x01,
	TCP_PSH = 0x08,
	TCP_CWR = 0x80,
	UDP_LEN = 4,
	UDP_CSUM = 6,
	UDP_HEADER = 8,
};

/* A frame on its way: pieces for one send() of the back end. */
struct outgoing {
	struct net_hdr hdr;
	struct iovec iov[OFFLOAD_IOV];
	size_t n;
	size_t frame; /* index of the first piece behind the header */
};

/* A frame to be cut. */
struct cut {
	const struct net_hdr *hdr;
	const struct iovec *iov; /* the frame */
	size_t n;
	size_t len; /* of it, bytes */

	uint8_t head[OFFLOAD_HEAD]; /* its start: looked at, and patched for each segment */
	size_t copied;
	size_t l3, l4;	/* offsets of the IP header, and of TCP's or UDP's */
	size_t next;	/* offset of the byte that names what is at l4 */
	size_t payload; /* offset of what is cut */
	bool ipv6;

	size_t size; /* bytes of payload in each segment but the last */
	unsigned int segments;
};

static size_t min_size(size_t a, size_t b)
{
	return a < b ? a : b;
}

/* ---- one send() ---- */

static void out_start(struct outgoing *out, const struct net_queue *q)
{
	memset(&out->hdr, 0, sizeof(out->hdr));
	out->n = 0;
	if (q->net->hdr_len)
		out->iov[out->n++] = (struct iovec){&out->hdr, q->net->hdr_len};
	out->frame = out->n;
}

static void out_add(struct outgoing *out, void *data, size_t len)
{
	if (len)
		out->iov[out->n++] = (struct iovec){data, len};
}

/* Bytes [offset, offset+len) of the guest's frame. false: too many pieces. */
static bool out_add_slice(struct outgoing *out, const struct iovec *iov, size_t n, size_t offset,
			  size_t len)
{
	size_t added = iov_slice(out->iov + out->n, OFFLOAD_IOV - out->n, iov, n, offset, len);
	bool whole = iov_size(out->iov + out->n, added) == len;

	out->n += added;
	return whole;
}

static int out_send(struct outgoing *out, struct net_queue *q)
{
	return q->net->ops->send(q, out->iov, (int)out->n);
}

static int refuse(struct net_queue *q)
{
	counter_add(&q->counters.tx_dropped_refused, 1);
	q->segments_sent = 0;
	return 0;
}

/* The checksum as it stands in a packet. 0 would say "none" in UDP; 0xffff is the same number, and
 * right for all. */
static void store_csum(uint8_t *at, uint64_t sum)
{
	uint16_t csum = csum_finish(sum);

	if (!csum)
		csum = 0xffff;
	memcpy(at, &csum, sizeof(csum));
}

/* ---- checksum alone ---- */

static int send_with_csum(struct net_queue *q, const struct net_hdr *hdr, const struct iovec *iov,
			  size_t n)
{
	size_t at = (size_t)hdr->csum_start + hdr->csum_offset, len = iov_size(iov, n);
	uint8_t head[OFFLOAD_HEAD];
	struct outgoing out;

	if (at + 2 > sizeof(head) || at + 2 > len || len > NET_FRAME_MAX)
		return refuse(q);
	iov_read(iov, n, 0, head, at + 2);
	out_start(&out, q);
	out_add(&out, head, at + 2);
	if (!out_add_slice(&out, iov, n, at + 2, len - at - 2))
		return refuse(q);
	/* What the driver left there counts: the pseudo-header's sum. */
	store_csum(head + at,
		   csum_add_iov(0, out.iov + out.frame, out.n - out.frame, hdr->csum_start, len));
	return out_send(&out, q);
}

/* ---- where the headers are ---- */

/* Offset of the IP header, behind up to two VLAN tags; 0: it isn't IP. */
static bool find_l3(struct cut *c)
{
	size_t at = ETHERTYPE_AT;

	for (int tags = 0; at + 2 <= c->copied; tags++, at += 4) {
		uint16_t type = be16_get(c->head + at);

		c->l3 = at + 2;
		c->ipv6 = type == ETHERTYPE_IPV6;
		if (type == ETHERTYPE_IPV4 || type == ETHERTYPE_IPV6)
			return true;
		if (tags == 2 || (type != ETHERTYPE_8021Q && type != ETHERTYPE_8021AD))
			return false;
	}
	return false;
}

static bool find_l4_ipv4(struct cut *c)
{
	const uint8_t *ip = c->head + c->l3;

	if (c->l3 + 20 > c->copied || *ip >> 4 != 4 ||
	    be16_get(ip + IPV4_FRAGMENT) & IPV4_IS_FRAGMENT)
		return false;
	c->next = c->l3 + IPV4_PROTOCOL;
	c->l4 = c->l3 + (*ip & 15) * 4u;
	return c->l4 >= c->l3 + 20;
}

/* Steps over extension headers that may stand in every fragment. RFC 8200 §4. */
static bool find_l4_ipv6(struct cut *c)
{
	if (c->l3 + IPV6_HEADER > c->copied || c->head[c->l3] >> 4 != 6)
		return false;
	c->next = c->l3 + IPV6_NEXT_HEADER;
	c->l4 = c->l3 + IPV6_HEADER;
	while (c->l4 + 2 <= c->copied &&
	       (c->head[c->next] == IPPROTO_HOPOPTS || c->head[c->next] == IPPROTO_ROUTING ||
		c->head[c->next] == IPPROTO_DSTOPTS)) {
		c->next = c->l4;
		c->l4 += (c->head[c->l4 + 1] + 1) * 8u;
	}
	return true;
}

/* Are the headers those that hdr speaks of, and all of them in head[]? Sets payload. */
static bool check_l4(struct cut *c, uint8_t type)
{
	bool tcp = type == NET_GSO_TCPV4 || type == NET_GSO_TCPV6;
	size_t header = tcp ? TCP_HEADER : UDP_HEADER;

	if ((type == NET_GSO_TCPV4 && c->ipv6) || (type == NET_GSO_TCPV6 && !c->ipv6) ||
	    c->l4 + header > c->copied || c->head[c->next] != (tcp ? IPPROTO_TCP : IPPROTO_UDP) ||
	    c->hdr->csum_start != c->l4 || c->hdr->csum_offset != (tcp ? TCP_CSUM : UDP_CSUM))
		return false;
	if (tcp)
		header = (c->head[c->l4 + TCP_OFFSET] >> 4) * 4u;
	c->payload = type == NET_GSO_UDP ? c->l4 : c->l4 + header;
	return header >= UDP_HEADER && (!tcp || header >= TCP_HEADER) &&
	       c->l4 + header <= c->copied;
}

/* Fills c in; false: the header doesn't fit the frame. */
static bool cut_init(struct cut *c, const struct net_hdr *hdr, const struct iovec *iov, size_t n)
{
	uint8_t type = hdr->gso_type & (uint8_t)~NET_GSO_ECN;

	*c = (struct cut){.hdr = hdr, .iov = iov, .n = n, .len = iov_size(iov, n)};
	if (type != NET_GSO_TCPV4 && type != NET_GSO_TCPV6 && type != NET_GSO_UDP &&
	    type != NET_GSO_UDP_L4)
		return false;
	/* A driver has to set NEEDS_CSUM: virtio 1.3 §5.1.6.2.1. */
	if (!(hdr->flags & NET_HDR_NEEDS_CSUM) || c->len > NET_FRAME_MAX)
		return false;
	c->copied = iov_read(iov, n, 0, c->head, sizeof(c->head));
	if (!find_l3(c) || !(c->ipv6 ? find_l4_ipv6(c) : find_l4_ipv4(c)) || !check_l4(c, type))
		return false;
	c->size = hdr->gso_size;
	if (type == NET_GSO_UDP)
		c->size &= ~(size_t)7; /* fragments are counted in 8 bytes */
	if (!c->size)
		return false;
	c->segments = (unsigned int)((c->len - c->payload + c->size - 1) / c->size);
	/* A segment's IP length has 16 bits. */
	return c->segments <= 1 || (c->segments <= OFFLOAD_SEGMENTS &&
				    c->payload + c->size + IPV6_FRAGMENT_HEADER - c->l3 <= 65535);
}

/* ---- segments ---- */

/* The IP header in front of `len` more bytes of packet behind the byte at `end`; id is what it adds
 * to IPv4's identification, fragment its word of flags and offset. */
static void patch_ip(struct cut *c, size_t len, unsigned int id, uint16_t fragment)
{
	uint8_t *ip = c->head + c->l3;
	size_t header = c->l4 - c->l3;

	if (c->ipv6) {
		be16_put(ip + IPV6_LEN, header - IPV6_HEADER + len);
		return;
	}
	be16_put(ip + IPV4_LEN, header + len);
	be16_put(ip + IPV4_ID, id);
	be16_put(ip + IPV4_FRAGMENT, fragment);
	be16_put(ip + IPV4_CSUM, 0);
	store_csum(ip + IPV4_CSUM, csum_add(0, ip, header));
}

/* The checksum of a segment with `len` bytes from TCP's or UDP's header on. `partial` is what the
 * driver left: the pseudo-header's sum, for the length of the whole, which is taken out again. */
static void patch_csum(struct cut *c, struct outgoing *out, unsigned int offloads_out,
		       uint16_t partial, size_t len)
{
	uint8_t *at = c->head + c->l4 + c->hdr->csum_offset;
	uint64_t sum =
		(uint64_t)partial + ~htonl((uint32_t)(c->len - c->l4)) + htonl((uint32_t)len);

	if (offloads_out & NET_OFFLOAD_CSUM) {
		uint16_t pseudo = csum_fold(sum);

		memcpy(at, &pseudo, sizeof(pseudo));
		out->hdr.flags = NET_HDR_NEEDS_CSUM;
		out->hdr.csum_start = c->hdr->csum_start;
		out->hdr.csum_offset = c->hdr->csum_offset;
		return;
	}
	be16_put(at, 0);
	sum = csum_add_iov(sum, out->iov + out->frame, out->n - out->frame, c->l4, len);
	store_csum(at, sum);
}

/* TCP and UDP: each segment is a packet of its own. */
static int send_segments(struct net_queue *q, struct cut *c)
{
	uint8_t *l4 = c->head + c->l4;
	bool tcp = c->hdr->csum_offset == TCP_CSUM;
	uint32_t sequence = be32_get(l4 + TCP_SEQUENCE);
	uint8_t flags = tcp ? l4[TCP_FLAGS] : 0;
	unsigned int id = be16_get(c->head + c->l3 + IPV4_ID);
	uint16_t fragment = be16_get(c->head + c->l3 + IPV4_FRAGMENT); /* don't fragment, or 0 */
	uint16_t partial;
	struct outgoing out;

	memcpy(&partial, l4 + c->hdr->csum_offset, sizeof(partial));
	for (unsigned int i = q->segments_sent; i < c->segments; i++) {
		size_t start = c->payload + i * c->size, size = min_size(c->size, c->len - start);
		size_t len = c->payload - c->l4 + size;
		int r;

		patch_ip(c, len, id + i, fragment);
		if (tcp) {
			be32_put(l4 + TCP_SEQUENCE, sequence + (uint32_t)(i * c->size));
			l4[TCP_FLAGS] =
				flags & (uint8_t) ~((i ? TCP_CWR : 0) |
						    (i + 1 < c->segments ? TCP_FIN | TCP_PSH : 0));
		} else {
			be16_put(l4 + UDP_LEN, len);
		}
		out_start(&out, q);
		out_add(&out, c->head, c->payload);
		if (!out_add_slice(&out, c->iov, c->n, start, size))
			return refuse(q);
		patch_csum(c, &out, q->net->offloads_out, partial, len);
		r = out_send(&out, q);
		if (r) {
			q->segments_sent = i;
			return r;
		}
	}
	q->segments_sent = 0;
	return 0;
}

/* UDP's old way: the datagram, its checksum complete, in IP fragments. */
static int send_fragments(struct net_queue *q, struct cut *c)
{
	uint8_t *l4 = c->head + c->l4;
	uint8_t extra[IPV6_FRAGMENT_HEADER] = {IPPROTO_UDP};
	size_t extra_len = c->ipv6 ? sizeof(extra) : 0;
	unsigned int id = be16_get(c->head + c->l3 + IPV4_ID);
	struct outgoing out;

	store_csum(l4 + UDP_CSUM, csum_add_iov(0, c->iov, c->n, c->l4, c->len));
	if (c->ipv6)
		c->head[c->next] = IPPROTO_FRAGMENT;
	be32_put(extra + 4, q->fragment_id);
	for (unsigned int i = q->segments_sent; i < c->segments; i++) {
		size_t offset = i * c->size, size = min_size(c->size, c->len - c->l4 - offset);
		size_t own = i ? 0 : UDP_HEADER; /* with the checksum filled in */
		bool more = i + 1 < c->segments;
		int r;

		patch_ip(c, extra_len + size, id,
			 (uint16_t)(offset / 8 | (more ? IPV4_MORE_FRAGMENTS : 0)));
		be16_put(extra + 2, offset | (more ? IPV6_MORE_FRAGMENTS : 0));
		out_start(&out, q);
		out_add(&out, c->head, c->l4);
		out_add(&out, extra, extra_len);
		out_add(&out, l4, own);
		if (!out_add_slice(&out, c->iov, c->n, c->l4 + offset + own, size - own))
			return refuse(q);
		r = out_send(&out, q);
		if (r) {
			q->segments_sent = i;
			return r;
		}
	}
	q->segments_sent = 0;
	q->fragment_id++;
	return 0;
}

/* ---- for front ends ---- */

/* What a back end has to offer to take such a frame as it is. */
static unsigned int offloads_needed(const struct net_hdr *hdr)
{
	unsigned int needed = hdr->flags & NET_HDR_NEEDS_CSUM ? NET_OFFLOAD_CSUM : 0;

	if (hdr->gso_type & NET_GSO_ECN)
		needed |= NET_OFFLOAD_ECN;
	switch (hdr->gso_type & ~NET_GSO_ECN) {
	case NET_GSO_NONE:
		return needed;
	case NET_GSO_TCPV4:
		return needed | NET_OFFLOAD_TSO4;
	case NET_GSO_TCPV6:
		return needed | NET_OFFLOAD_TSO6;
	case NET_GSO_UDP:
		return needed | NET_OFFLOAD_UFO;
	case NET_GSO_UDP_L4:
		return needed | NET_OFFLOAD_USO;
	default:
		return NEEDS_SOFTWARE;
	}
}

static bool takes(const struct net_backend *net, const struct net_hdr *hdr)
{
	return !(offloads_needed(hdr) & ~net->offloads_out);
}

static int send_as_is(struct net_queue *q, struct net_hdr *hdr, struct iovec *iov, int n)
{
	if (!q->net->hdr_len)
		return q->net->ops->send(q, iov + 1, n - 1);
	iov[0] = (struct iovec){hdr, q->net->hdr_len};
	return q->net->ops->send(q, iov, n);
}

/* Apart from net_send_frame(), which runs for every frame and needs little stack. */
static __attribute__((noinline)) int send_cut(struct net_queue *q, struct net_hdr *hdr,
					      struct iovec *iov, int n)
{
	struct cut c;

	if (!cut_init(&c, hdr, iov + 1, (size_t)n - 1))
		return refuse(q);
	if (c.segments > 1)
		return c.payload == c.l4 ? send_fragments(q, &c) : send_segments(q, &c);
	/* It fits: a frame like any other. */
	hdr->gso_type = NET_GSO_NONE;
	if (takes(q->net, hdr))
		return send_as_is(q, hdr, iov, n);
	return send_with_csum(q, hdr, iov + 1, (size_t)n - 1);
}

int net_send_frame(struct net_queue *q, const struct net_hdr *hdr, struct iovec *iov, int n)
{
	struct net_hdr h = {0};

	if (hdr) {
		h = *hdr;
		h.flags &= NET_HDR_NEEDS_CSUM;
		h.num_buffers = 0;
	}
	if (takes(q->net, &h))
		return send_as_is(q, &h, iov, n);
	if (h.gso_type != NET_GSO_NONE)
		return send_cut(q, &h, iov, n);
	return send_with_csum(q, &h, iov + 1, (size_t)n - 1);
}

ssize_t net_recv_frame(struct net_queue *q, struct net_hdr *hdr, struct iovec *iov, int n)
{
	size_t hdr_len = q->net->hdr_len;
	ssize_t r;

	memset(hdr, 0, sizeof(*hdr));
	if (!hdr_len)
		return q->net->ops->recv(q, iov + 1, n - 1);
	iov[0] = (struct iovec){hdr, hdr_len};
	r = q->net->ops->recv(q, iov, n);
	if (r < 0)
		return r;
	if ((size_t)r < hdr_len) {
		counter_add(&q->counters.rx_dropped_error, 1);
		return -EINVAL;
	}
	return r - (ssize_t)hdr_len;
}

int net_set_frame_offloads(struct net_backend *net, unsigned int offloads)
{
	offloads &= net->offloads_in;
	if (!(offloads & NET_OFFLOAD_CSUM))
		offloads = 0; /* all others build on it */
	return net->ops->set_offloads(net, offloads,
				      net->has_hdr ? offsetof(struct net_hdr, num_buffers) : 0);
}

bool net_complete_csum(const struct net_hdr *hdr, const struct iovec *iov, int n)
{
	size_t at = (size_t)hdr->csum_start + hdr->csum_offset, len = iov_size(iov, (size_t)n);
	uint8_t csum[2];

	if (!(hdr->flags & NET_HDR_NEEDS_CSUM))
		return true;
	if (at + 2 > len)
		return false;
	store_csum(csum, csum_add_iov(0, iov, (size_t)n, hdr->csum_start, len));
	iov_write(iov, (size_t)n, at, csum, sizeof(csum));
	return true;
}
