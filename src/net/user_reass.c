/*
 * Reassembly of IPv4 packets: see user_reass.h.
 *
 * What is there is marked in a map of blocks of 8 bytes, the unit of fragments. None may come twice: fragments that
 * overlap are not what a sender makes of a packet (RFC 5722 says so for IPv6), and cost the packet. So
 * a packet is whole when as many bytes have come as its last fragment says that there are.
 *
 *	datagram->bytes	     | Ethernet | IP header | payload ....................... |
 *						    ^ PAYLOAD; in front of it the first fragment's headers
 *
 * No timers: one that is older than REASS_NS is dropped when somebody looks.
 *
 * The caller has a lock around it. Frames are the caller's, copies that nobody changes.
 */
#include "net/user_reass.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/be.h"
#include "base/csum.h"

#define REASS_NS    UINT64_C(30000000000)
#define ETH	    14
#define IP_MIN	    20
#define IP_MAX	    60 /* bytes of a header with all options */
#define PAYLOAD	    (ETH + IP_MAX)
#define PAYLOAD_MAX (65535 - ETH - IP_MAX)
#define BLOCKS	    (65536 / 8)

enum { /* offsets in the header, and bits of its word of flags and offset */
	IP_LEN = 2,
	IP_ID = 4,
	IP_FRAGMENT = 6,
	IP_PROTOCOL = 9,
	IP_CSUM = 10,
	IP_ADDRESSES = 12,
	IP_RESERVED = 0x8000,
	IP_DONT = 0x4000,
	IP_MORE = 0x2000,
	IP_OFFSET = 0x1fff,
};

/* What fragments of a packet have in common. */
struct user_key {
	uint8_t addresses[8], id[2], protocol;
};

struct user_datagram {
	bool used;
	struct user_key key;
	uint64_t started; /* ns */
	size_t header;	  /* bytes of the first fragment's IP header; 0: it isn't there */
	size_t received;  /* bytes of payload */
	size_t end;	  /* behind the last that is there */
	size_t total;	  /* of all; 0: not known yet */
	uint64_t map[BLOCKS / 64];
	uint8_t bytes[PAYLOAD + PAYLOAD_MAX + 8];
};

/* One fragment. */
struct user_fragment {
	const uint8_t *ip;
	size_t header, offset, size;
	bool more;
};

int user_reass_init(struct user_reass *r)
{
	r->datagram = calloc(USER_DATAGRAMS, sizeof(*r->datagram));
	return r->datagram ? 0 : -ENOMEM;
}

void user_reass_free(struct user_reass *r)
{
	free(r->datagram);
	r->datagram = NULL;
}

bool user_is_fragment(const uint8_t *frame, size_t len)
{
	return len >= ETH + IP_MIN && be16_get(frame + 12) == 0x0800 &&
	       be16_get(frame + ETH + IP_FRAGMENT) & (uint16_t)~IP_DONT;
}

/* false: it makes no sense. */
static bool parse(const uint8_t *frame, size_t len, struct user_fragment *f)
{
	const uint8_t *ip = frame + ETH;
	uint16_t word = be16_get(ip + IP_FRAGMENT);
	size_t packet = be16_get(ip + IP_LEN);

	f->ip = ip;
	f->header = (*ip & 15u) * 4;
	if (*ip >> 4 != 4 || f->header < IP_MIN || packet <= f->header || packet > len - ETH ||
	    word & IP_RESERVED)
		return false;
	if (csum_finish(csum_add(0, ip, f->header)))
		return false;
	f->size = packet - f->header;
	f->offset = (word & IP_OFFSET) * 8u;
	f->more = word & IP_MORE;
	return !(f->more && f->size % 8) && f->offset + f->size <= PAYLOAD_MAX;
}

/* The packet that the fragment is of, or room for it. */
static struct user_datagram *find(struct user_reass *r, const struct user_key *key, uint64_t now)
{
	struct user_datagram *d, *room = NULL;

	for (d = r->datagram; d < r->datagram + USER_DATAGRAMS; d++) {
		if (d->used && now - d->started > REASS_NS)
			d->used = false;
		if (d->used && !memcmp(&d->key, key, sizeof(*key)))
			return d;
		if (!room || (room->used && (!d->used || d->started < room->started)))
			room = d;
	}
	room->used = true;
	room->key = *key;
	room->started = now;
	room->header = room->received = room->end = room->total = 0;
	memset(room->map, 0, sizeof(room->map));
	return room;
}

/* Marks the fragment's blocks; false: one of them is there. */
static bool mark(struct user_datagram *d, const struct user_fragment *f)
{
	for (size_t b = f->offset / 8; b < (f->offset + f->size + 7) / 8; b++) {
		if (d->map[b / 64] >> b % 64 & 1)
			return false;
		d->map[b / 64] |= UINT64_C(1) << b % 64;
	}
	return true;
}

/* Puts a fragment in; false: it contradicts what is there. */
static bool put(struct user_datagram *d, const uint8_t *frame, const struct user_fragment *f)
{
	size_t end = f->offset + f->size;

	if (!f->more && d->total && d->total != end)
		return false;
	if (!f->more)
		d->total = end;
	if (end > d->end)
		d->end = end;
	if ((d->total && d->end > d->total) || !mark(d, f))
		return false;
	memcpy(d->bytes + PAYLOAD + f->offset, f->ip + f->header, f->size);
	d->received += f->size;
	if (!f->offset) {
		d->header = f->header;
		memcpy(d->bytes + PAYLOAD - f->header - ETH, frame, ETH + f->header);
	}
	return true;
}

const uint8_t *user_reass_add(struct user_reass *r, const uint8_t *frame, size_t *len, uint64_t now)
{
	struct user_fragment f;
	struct user_datagram *d;
	struct user_key key;
	uint16_t csum;
	uint8_t *ip;

	if (!parse(frame, *len, &f))
		return NULL;
	memcpy(key.addresses, f.ip + IP_ADDRESSES, sizeof(key.addresses));
	memcpy(key.id, f.ip + IP_ID, sizeof(key.id));
	key.protocol = f.ip[IP_PROTOCOL];
	d = find(r, &key, now);
	if (!put(d, frame, &f)) {
		d->used = false;
		return NULL;
	}
	if (!d->header || !d->total || d->received != d->total)
		return NULL;
	d->used = false;
	ip = d->bytes + PAYLOAD - d->header;
	be16_put(ip + IP_LEN, d->header + d->total);
	be16_put(ip + IP_FRAGMENT, 0);
	be16_put(ip + IP_CSUM, 0);
	csum = csum_finish(csum_add(0, ip, d->header));
	memcpy(ip + IP_CSUM, &csum, sizeof(csum));
	*len = ETH + d->header + d->total;
	return ip - ETH;
}
