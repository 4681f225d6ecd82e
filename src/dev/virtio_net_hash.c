/*
 * virtio-net: the hash over a received frame's addresses and ports, for receive-side scaling and hash
 * reports. Virtio 1.3 §5.1.6.4.3; the function is Toeplitz's, as Microsoft's specification of RSS has
 * it ("RSS hashing functions", with the suite of values that the unit test checks).
 *
 * Frames may have up to two VLAN tags. IPv4 options and IPv6 extension headers are stepped over; a
 * fragment has addresses and no ports, the first one, too. Every step is bounded by the bytes that are
 * there, and by HASH_EXTENSIONS.
 */
#include <endian.h>
#include <netinet/in.h>
#include <string.h>

#include "base/be.h"
#include "dev/virtio_net.h"

#define HASH_EXTENSIONS 8 /* IPv6 extension headers; a packet with more has no ports */

enum {
	ETHERTYPE_AT = 12,
	ETHERTYPE_8021Q = 0x8100,
	ETHERTYPE_8021AD = 0x88a8,
	ETHERTYPE_IPV4 = 0x0800,
	ETHERTYPE_IPV6 = 0x86dd,
	IPV4_HEADER = 20,
	IPV4_FRAGMENT = 6,
	IPV4_IS_FRAGMENT = 0x3fff, /* more fragments, or an offset */
	IPV4_PROTOCOL = 9,
	IPV4_SOURCE = 12,
	IPV6_HEADER = 40,
	IPV6_NEXT_HEADER = 6,
	IPV6_SOURCE = 8,
	IPV6_DESTINATION = 24,
	IPV6_ROUTING_TYPE2 = 2,	  /* RFC 6275 §6.4 */
	IPV6_HOME_ADDRESS = 0xc9, /* RFC 6275 §6.3 */
};

#define TYPE(name) VIRTIO_NET_RSS_HASH_TYPE_##name

const uint32_t vnet_hash_types = TYPE(IPv4) | TYPE(TCPv4) | TYPE(UDPv4) | TYPE(IPv6) | TYPE(TCPv6) |
				 TYPE(UDPv6) | TYPE(IP_EX) | TYPE(TCP_EX) | TYPE(UDP_EX);

/* What is found of a frame. */
struct flow {
	const uint8_t *source, *destination;	   /* addresses */
	const uint8_t *ex_source, *ex_destination; /* as extension headers have them */
	const uint8_t *ports;			   /* both; NULL: none */
	uint8_t protocol;			   /* of what has them */
	bool ipv6, extended;
};

uint32_t vnet_toeplitz(const uint8_t key[VNET_RSS_KEY], const uint8_t *data, size_t len)
{
	uint64_t window; /* the key's bits from the current one on */
	uint32_t hash = 0;

	memcpy(&window, key, sizeof(window));
	window = be64toh(window);
	for (size_t i = 0; i < len; i++) {
		for (unsigned int bit = 0; bit < 8; bit++)
			hash ^= (uint32_t)(window >> (32 - bit)) &
				-(uint32_t)(data[i] >> (7 - bit) & 1);
		window = window << 8 | (i + 8 < VNET_RSS_KEY ? key[i + 8] : 0);
	}
	return hash;
}

static bool find_ipv4(struct flow *f, const uint8_t *ip, const uint8_t *end)
{
	size_t header;

	if (end - ip < IPV4_HEADER || *ip >> 4 != 4)
		return false;
	header = (*ip & 15) * 4u;
	f->source = ip + IPV4_SOURCE;
	f->destination = f->source + 4;
	f->protocol = ip[IPV4_PROTOCOL];
	if (header >= IPV4_HEADER && (size_t)(end - ip) >= header + 4 &&
	    !(be16_get(ip + IPV4_FRAGMENT) & IPV4_IS_FRAGMENT))
		f->ports = ip + header;
	return true;
}

/* The home address among a destination options header's options. */
static void find_home(struct flow *f, const uint8_t *at, const uint8_t *end)
{
	while (at < end) {
		if (!*at) { /* Pad1 */
			at++;
			continue;
		}
		if (end - at < 2 || end - at < 2 + at[1])
			return;
		if (*at == IPV6_HOME_ADDRESS && at[1] == 16)
			f->ex_source = at + 2;
		at += 2 + at[1];
	}
}

/* One extension header, `what`, at `at`. Returns where the next one is; NULL: no more can be told. */
static const uint8_t *step_over(struct flow *f, uint8_t what, const uint8_t *at, const uint8_t *end)
{
	size_t len;

	if (what == IPPROTO_FRAGMENT || end - at < 8)
		return NULL;
	len = 8 + 8 * (size_t)at[1];
	if ((size_t)(end - at) < len)
		return NULL;
	if (what == IPPROTO_DSTOPTS)
		find_home(f, at + 2, at + len);
	if (what == IPPROTO_ROUTING && at[2] == IPV6_ROUTING_TYPE2 && len == 24)
		f->ex_destination = at + 8;
	return at + len;
}

static bool find_ipv6(struct flow *f, const uint8_t *ip, const uint8_t *end)
{
	const uint8_t *at = ip + IPV6_HEADER;
	uint8_t what;

	if (end - ip < IPV6_HEADER || *ip >> 4 != 6)
		return false;
	f->ipv6 = true;
	f->source = f->ex_source = ip + IPV6_SOURCE;
	f->destination = f->ex_destination = ip + IPV6_DESTINATION;
	what = ip[IPV6_NEXT_HEADER];
	for (unsigned int i = 0; i <= HASH_EXTENSIONS; i++) {
		const uint8_t *next;

		if (what != IPPROTO_HOPOPTS && what != IPPROTO_ROUTING && what != IPPROTO_DSTOPTS &&
		    what != IPPROTO_FRAGMENT) {
			f->protocol = what;
			if (end - at >= 4)
				f->ports = at;
			return true;
		}
		f->extended = true;
		next = step_over(f, what, at, end);
		if (!next)
			return true;
		what = *at;
		at = next;
	}
	return true;
}

static bool find_flow(struct flow *f, const uint8_t *head, size_t len)
{
	const uint8_t *end = head + len;
	size_t at = ETHERTYPE_AT;

	for (int tags = 0; at + 2 <= len; tags++, at += 4) {
		unsigned int type = be16_get(head + at);

		if (type == ETHERTYPE_IPV4)
			return find_ipv4(f, head + at + 2, end);
		if (type == ETHERTYPE_IPV6)
			return find_ipv6(f, head + at + 2, end);
		if (tags == 2 || (type != ETHERTYPE_8021Q && type != ETHERTYPE_8021AD))
			return false;
	}
	return false;
}

/* The kinds of hash in the order in which they are tried. */
static const struct hash_kind {
	uint32_t type;
	uint16_t report;
	bool ipv6, extended; /* extended: of packets with extension headers, and their addresses */
	uint8_t protocol;    /* 0: addresses alone */
} hash_kinds[] = {
	{TYPE(TCPv4), VIRTIO_NET_HASH_REPORT_TCPv4, false, false, IPPROTO_TCP},
	{TYPE(UDPv4), VIRTIO_NET_HASH_REPORT_UDPv4, false, false, IPPROTO_UDP},
	{TYPE(IPv4), VIRTIO_NET_HASH_REPORT_IPv4, false, false, 0},
	{TYPE(TCP_EX), VIRTIO_NET_HASH_REPORT_TCPv6_EX, true, true, IPPROTO_TCP},
	{TYPE(UDP_EX), VIRTIO_NET_HASH_REPORT_UDPv6_EX, true, true, IPPROTO_UDP},
	{TYPE(IP_EX), VIRTIO_NET_HASH_REPORT_IPv6_EX, true, true, 0},
	{TYPE(TCPv6), VIRTIO_NET_HASH_REPORT_TCPv6, true, false, IPPROTO_TCP},
	{TYPE(UDPv6), VIRTIO_NET_HASH_REPORT_UDPv6, true, false, IPPROTO_UDP},
	{TYPE(IPv6), VIRTIO_NET_HASH_REPORT_IPv6, true, false, 0},
};

static uint32_t hash_flow(const struct flow *f, const struct hash_kind *kind,
			  const uint8_t key[VNET_RSS_KEY])
{
	const size_t n = f->ipv6 ? 16 : 4;
	uint8_t data[2 * 16 + 4];
	size_t len = 2 * n;

	memcpy(data, kind->extended ? f->ex_source : f->source, n);
	memcpy(data + n, kind->extended ? f->ex_destination : f->destination, n);
	if (kind->protocol) {
		memcpy(data + len, f->ports, 4);
		len += 4;
	}
	return vnet_toeplitz(key, data, len);
}

bool vnet_hash(uint32_t types, const uint8_t key[VNET_RSS_KEY], const uint8_t *head, size_t len,
	       struct vnet_hash *hash)
{
	struct flow f = {0};

	*hash = (struct vnet_hash){.report = htole16(VIRTIO_NET_HASH_REPORT_NONE)};
	if (!find_flow(&f, head, len))
		return false;
	for (size_t i = 0; i < sizeof(hash_kinds) / sizeof(hash_kinds[0]); i++) {
		const struct hash_kind *kind = &hash_kinds[i];

		if (!(types & kind->type) || kind->ipv6 != f.ipv6 ||
		    (kind->extended && !f.extended) ||
		    (kind->protocol && (!f.ports || f.protocol != kind->protocol)))
			continue;
		hash->value = htole32(hash_flow(&f, kind, key));
		hash->report = htole16(kind->report);
		return true;
	}
	return false;
}
