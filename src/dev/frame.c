/*
 * A frame to be sent, put together; frame.h has the picture. Nothing here can fail worse than by making
 * the frame bad.
 */
#include "dev/frame.h"

#include <arpa/inet.h>
#include <string.h>

#include "base/be.h"
#include "base/csum.h"
#include "base/iov.h"
#include "dev/eth_filter.h"

#define ETH_ADDRESSES 12 /* bytes in front of the type, or of an 802.1Q tag */
#define VLAN_TAG      4

#define IP4_HEADER   20 /* bytes, without options */
#define IP6_HEADER   40
#define TCP_HEADER   20
#define PROTOCOL_TCP 6
#define TCP_CSUM     16 /* offset in the header (RFC 9293 §3.1) */
#define UDP_CSUM     6
#define TCP_FLAGS    13
#define TCP_CWR	     0x80

/* A checksum, which has its byte order already. */
static void put_csum(uint8_t *p, uint16_t csum)
{
	memcpy(p, &csum, sizeof(csum));
}

void frame_reset(struct frame *f)
{
	f->n = 1;
	f->len = f->pulled = 0;
	f->bad = false;
}

/* The frame's pieces, as base/iov.h takes them. */
static const struct iovec *pieces(const struct frame *f, size_t *n)
{
	*n = (size_t)f->n - 1;
	return f->iov + 1;
}

/* Room for len more bytes? If not, the frame is bad from now on. */
static bool frame_takes(struct frame *f, size_t len)
{
	if (!f->bad && len <= NET_FRAME_MAX - f->len)
		return true;
	f->bad = true;
	return false;
}

void frame_add(struct frame *f, const struct mem *mem, uint64_t gpa, size_t len)
{
	struct iovec *last = &f->iov[f->n - 1];
	int r;

	if (!len || !frame_takes(f, len))
		return;
	r = mem_iov(mem, gpa, len, f->iov + f->n, FRAME_IOV - f->n);
	if (r <= 0) {
		f->bad = true;
		return;
	}
	f->len += len;
	/* Descriptors that name one buffer bit by bit make one piece. */
	if (r == 1 && f->n > 1 && (uint8_t *)last->iov_base + last->iov_len == last[1].iov_base)
		last->iov_len += len;
	else
		f->n += r;
}

void frame_add_host(struct frame *f, const void *data, size_t len)
{
	if (!len || !frame_takes(f, len))
		return;
	if (f->n == FRAME_IOV) {
		f->bad = true;
		return;
	}
	f->iov[f->n++] = (struct iovec){(void *)data, len};
	f->len += len;
}

void frame_pad(struct frame *f, size_t len)
{
	static const uint8_t zeros[FRAME_MIN];

	if (f->len < len && len - f->len <= sizeof(zeros))
		frame_add_host(f, zeros, len - f->len);
}

bool frame_cut(struct frame *f, size_t n, void *end)
{
	struct iovec *last;

	if (f->bad || f->len <= n)
		return false;
	if (end)
		iov_read(f->iov + 1, (size_t)f->n - 1, f->len - n, end, n);
	f->len -= n;
	if (f->pulled > f->len)
		f->pulled = f->len;
	for (last = &f->iov[f->n - 1]; n >= last->iov_len; last--, f->n--)
		n -= last->iov_len;
	last->iov_len -= n;
	return true;
}

bool frame_take_fcs(struct frame *f, uint8_t fcs[FRAME_FCS])
{
	uint32_t crc = ETH_CRC_START;
	uint8_t right[FRAME_FCS];

	if (!frame_cut(f, FRAME_FCS, fcs))
		return false;
	for (int i = 1; i < f->n; i++)
		crc = eth_crc_add(crc, f->iov[i].iov_base, f->iov[i].iov_len);
	eth_fcs(crc, right);
	return !memcmp(fcs, right, FRAME_FCS);
}

bool frame_pull(struct frame *f, size_t len)
{
	size_t need, n;
	int first = f->pulled ? 2 : 1, used;

	if (f->bad || len > f->len || len > FRAME_HEAD)
		return false;
	if (len <= f->pulled)
		return true;
	need = len - f->pulled;
	n = (size_t)(f->n - first);
	iov_read(f->iov + first, n, 0, f->head + f->pulled, need);
	for (used = first; need && need >= f->iov[used].iov_len; used++)
		need -= f->iov[used].iov_len;
	if (used == 1 && f->n == FRAME_IOV) {
		f->bad = true;
		return false;
	}
	if (need) {
		f->iov[used].iov_base = (uint8_t *)f->iov[used].iov_base + need;
		f->iov[used].iov_len -= need;
	}
	memmove(f->iov + 2, f->iov + used, (size_t)(f->n - used) * sizeof(f->iov[0]));
	f->n += 2 - used;
	f->iov[1] = (struct iovec){f->head, len};
	f->pulled = len;
	return true;
}

bool frame_insert_vlan(struct frame *f, uint16_t tci, struct net_hdr *hdr)
{
	uint8_t *tag = f->head + ETH_ADDRESSES;

	if (!frame_pull(f, ETH_ADDRESSES) || f->pulled > FRAME_HEAD - VLAN_TAG ||
	    !frame_takes(f, VLAN_TAG))
		return false;
	memmove(tag + VLAN_TAG, tag, f->pulled - ETH_ADDRESSES);
	be16_put(tag, 0x8100);
	be16_put(tag + 2, tci);
	f->pulled += VLAN_TAG;
	f->len += VLAN_TAG;
	f->iov[1].iov_len = f->pulled;
	if (hdr && hdr->flags & NET_HDR_NEEDS_CSUM)
		hdr->csum_start = (uint16_t)(hdr->csum_start + VLAN_TAG);
	if (hdr && hdr->hdr_len)
		hdr->hdr_len = (uint16_t)(hdr->hdr_len + VLAN_TAG);
	return true;
}

bool frame_insert_csum(struct frame *f, size_t start, size_t at, size_t end)
{
	const struct iovec *iov;
	size_t n;

	if (!end || end > f->len)
		end = f->len;
	if (start >= end || at > FRAME_HEAD - 2 || !frame_pull(f, at + 2))
		return false;
	iov = pieces(f, &n);
	put_csum(f->head + at, csum_finish(csum_add_iov(0, iov, n, start, end - start)));
	return true;
}

bool frame_want_csum(const struct frame *f, size_t start, size_t at, struct net_hdr *hdr)
{
	if (f->bad || at < start || at + 2 > f->len || at + 2 < at || start > UINT16_MAX ||
	    at - start > UINT16_MAX)
		return false;
	hdr->flags |= NET_HDR_NEEDS_CSUM;
	hdr->csum_start = (uint16_t)start;
	hdr->csum_offset = (uint16_t)(at - start);
	return true;
}

/* The sum over an IPv4 pseudo-header (RFC 9293 §3.1), or IPv6's (RFC 8200 §8.1): addresses, protocol, and the
 * length of what comes behind. */
static uint16_t pseudo_header(const uint8_t *ip, bool v6, uint8_t protocol, size_t len)
{
	uint64_t sum = v6 ? csum_add(0, ip + 8, 32) : csum_add(0, ip + 12, 8);

	sum = csum_fold(sum) + (uint64_t)htons(protocol) + htons((uint16_t)(len >> 16)) +
	      htons((uint16_t)len);
	return csum_fold(sum);
}

bool frame_want_l4_csum(struct frame *f, size_t l3, uint8_t protocol, struct net_hdr *hdr)
{
	size_t l4, at, total;
	const uint8_t *ip;

	if (l3 > FRAME_HEAD - IP4_HEADER || !frame_pull(f, l3 + IP4_HEADER))
		return false;
	ip = f->head + l3;
	l4 = l3 + (size_t)(ip[0] & 0xf) * 4;
	total = be16_get(ip + 2);
	at = l4 + (protocol == PROTOCOL_TCP ? TCP_CSUM : UDP_CSUM);
	if (ip[0] >> 4 != 4 || l4 < l3 + IP4_HEADER || ip[9] != protocol ||
	    be16_get(ip + 6) & 0x3fff || total > f->len - l3 || l3 + total < at + 2 ||
	    !frame_pull(f, at + 2))
		return false;
	put_csum(f->head + at, pseudo_header(ip, false, protocol, l3 + total - l4));
	/* Bytes behind the packet (padding) don't count, and the back end would take them in. */
	if (l3 + total < f->len)
		return frame_insert_csum(f, l4, at, l3 + total);
	return frame_want_csum(f, l4, at, hdr);
}

bool frame_want_tso(struct frame *f, size_t l3, size_t l4, size_t header_len, unsigned int mss,
		    struct net_hdr *hdr)
{
	size_t behind;
	uint8_t *ip;
	bool v6;

	if (!mss || mss > UINT16_MAX || header_len > FRAME_HEAD || header_len >= f->len ||
	    l3 > header_len || l4 < l3 + IP4_HEADER || header_len < l4 + TCP_HEADER ||
	    !frame_pull(f, header_len))
		return false;
	ip = f->head + l3;
	v6 = ip[0] >> 4 == 6;
	behind = f->len - l3;
	if ((!v6 && ip[0] >> 4 != 4) || (v6 && l4 < l3 + IP6_HEADER) ||
	    behind - (v6 ? IP6_HEADER : 0) > UINT16_MAX)
		return false;
	if (v6) {
		be16_put(ip + 4, (uint16_t)(behind - IP6_HEADER));
	} else {
		size_t ihl = (size_t)(ip[0] & 0xf) * 4;

		if (ihl != l4 - l3)
			return false;
		be16_put(ip + 2, (uint16_t)behind);
		be16_put(ip + 10, 0);
		put_csum(ip + 10, csum_finish(csum_add(0, ip, ihl)));
	}
	put_csum(f->head + l4 + TCP_CSUM, pseudo_header(ip, v6, PROTOCOL_TCP, f->len - l4));
	if (!frame_want_csum(f, l4, l4 + TCP_CSUM, hdr))
		return false;
	if (f->len - header_len <= mss)
		return true;
	hdr->gso_type = v6 ? NET_GSO_TCPV6 : NET_GSO_TCPV4;
	if (f->head[l4 + TCP_FLAGS] & TCP_CWR)
		hdr->gso_type |= NET_GSO_ECN;
	hdr->gso_size = (uint16_t)mss;
	hdr->hdr_len = (uint16_t)header_len;
	return true;
}
