/*
 * The test frames that the guest and the host's peer (tools/peer.c) exchange, and can check:
 * which one it is, and each byte of it.
 *
 *	plain    Ethernet, type 0x88b5 (IEEE 802 local experimental 1)
 *	         | frame_header | body | trailer |
 *	TCP      Ethernet, IPv4 192.0.2.x, TCP port 0x88b5 (for checksum and segmentation offload)
 *	         | frame_header | body | trailer |
 *
 * The body depends on the header's salt alone, so that a sender who has filled a buffer once only
 * rewrites header and trailer for each frame; header and trailer both hold a check of sequence
 * number, salt and length, so that parts of different frames don't pass for one. Numbers are
 * little-endian. Shared by a freestanding program and a Linux program: nothing here calls
 * anything.
 */
#ifndef GUEST_FRAME_H
#define GUEST_FRAME_H

#include <stdbool.h>
#include <stdint.h>

#define FRAME_ETHERTYPE 0x88b5
#define FRAME_PORT	0x88b5
#define FRAME_MAGIC	0x6f697276 /* "vrio" */

#define FRAME_ETHERNET	   14 /* bytes of an Ethernet header */
#define FRAME_IPV4	   20
#define FRAME_TCP	   20
#define FRAME_IP_OFFSET	   FRAME_ETHERNET
#define FRAME_TCP_OFFSET   (FRAME_ETHERNET + FRAME_IPV4)
#define FRAME_TCP_HEADERS  (FRAME_ETHERNET + FRAME_IPV4 + FRAME_TCP)
#define FRAME_TCP_CHECKSUM 16 /* offset of the checksum in a TCP header */
#define FRAME_TRAILER	   4
#define FRAME_MAX	   (65535 + FRAME_ETHERNET)

/* Where frames go when the sender doesn't know better: a local unicast address, nobody's own. */
#define FRAME_PEER_MAC                             \
	{                                          \
		0x02, 0x00, 0x00, 0x00, 0x88, 0xb5 \
	}

enum frame_kind {
	FRAME_DATA = 1,
	FRAME_READY = 2, /* the sender is there; answered with the same by a peer that is, too */
	FRAME_STOP = 3,	 /* no more comes; sequence: how many there were */
};

struct frame_header {
	uint32_t magic;
	uint16_t kind;
	uint16_t salt;
	uint64_t sequence; /* from 0 */
	uint32_t length;   /* of the whole frame, from the destination address on, in bytes */
	uint32_t check;
} __attribute__((packed));

/* The smallest frames that hold headers and trailer. */
#define FRAME_MIN     (FRAME_ETHERNET + sizeof(struct frame_header) + FRAME_TRAILER)
#define FRAME_MIN_TCP (FRAME_TCP_HEADERS + sizeof(struct frame_header) + FRAME_TRAILER)

static inline uint32_t frame_check(uint64_t sequence, uint16_t salt, uint16_t kind, uint32_t length)
{
	uint64_t x =
		(sequence + 1) * 0x9e3779b97f4a7c15 + ((uint64_t)length << 32 | kind << 16 | salt);

	x ^= x >> 29;
	x *= 0xbf58476d1ce4e5b9;
	return x >> 32;
}

/* The body is a row of 8-byte words; word i of a body: */
static inline uint64_t frame_word(uint16_t salt, uint64_t i)
{
	return (salt + 1) * 0x9e3779b97f4a7c15 + i * 0xbf58476d1ce4e5b9;
}

static inline void frame_store(uint8_t *to, uint64_t value, uint32_t bytes)
{
	for (uint32_t i = 0; i < bytes; i++)
		to[i] = value >> (8 * i);
}

static inline void frame_fill_body(uint8_t *to, uint32_t length, uint16_t salt)
{
	uint32_t i;

	for (i = 0; i + 8 <= length; i += 8)
		__builtin_memcpy(to + i, &(uint64_t){frame_word(salt, i / 8)}, 8);
	frame_store(to + i, frame_word(salt, i / 8), length - i);
}

/* True if these bytes are the body's, from its offset-th byte on. */
static inline bool frame_body_ok(const uint8_t *from, uint32_t length, uint16_t salt,
				 uint32_t offset)
{
	uint64_t wrong = 0, word;

	for (; length && offset % 8; length--, offset++)
		wrong |= *from++ ^ (uint8_t)(frame_word(salt, offset / 8) >> (8 * (offset % 8)));
	for (; length >= 8; length -= 8, offset += 8, from += 8) {
		__builtin_memcpy(&word, from, 8);
		wrong |= word ^ frame_word(salt, offset / 8);
	}
	for (; length; length--, offset++)
		wrong |= *from++ ^ (uint8_t)(frame_word(salt, offset / 8) >> (8 * (offset % 8)));
	return !wrong;
}

static inline uint16_t frame_get16(const uint8_t *p)
{
	return p[0] << 8 | p[1];
}

static inline void frame_put16(uint8_t *p, uint16_t value)
{
	p[0] = value >> 8;
	p[1] = value;
}

/*
 * Internet checksum arithmetic (RFC 1071): the sum of big-endian words, folded, not complemented.
 */
static inline uint16_t frame_sum(const uint8_t *p, uint32_t length, uint32_t sum)
{
	for (uint32_t i = 0; i + 1 < length; i += 2)
		sum += frame_get16(p + i);
	if (length & 1)
		sum += p[length - 1] << 8;
	while (sum >> 16)
		sum = (sum & 0xffff) + (sum >> 16);
	return sum;
}

/*
 * The sum over TCP's pseudo header: what a sender leaves in the checksum for an offload to
 * complete.
 */
static inline uint16_t frame_pseudo_sum(const uint8_t *ip)
{
	return frame_sum(ip + 12, 8, 6 + frame_get16(ip + 2) - FRAME_IPV4);
}

/*
 * Writes Ethernet, IPv4 and TCP headers for a frame of `length` bytes. The TCP checksum is left
 * for an offload to complete: it holds the pseudo header's sum.
 */
static inline void frame_put_tcp(uint8_t *frame, uint32_t length, uint32_t sequence)
{
	static const uint8_t addresses[8] = {192, 0, 2, 2, 192, 0, 2, 1};
	uint8_t *ip = frame + FRAME_IP_OFFSET, *tcp = frame + FRAME_TCP_OFFSET;

	frame_put16(frame + 12, 0x0800);
	__builtin_memset(ip, 0, FRAME_IPV4 + FRAME_TCP);
	ip[0] = 0x45;
	frame_put16(ip + 2, length - FRAME_ETHERNET);
	frame_put16(ip + 6, 0x4000); /* don't fragment */
	ip[8] = 64;
	ip[9] = 6;
	__builtin_memcpy(ip + 12, addresses, 8);
	frame_put16(ip + 10, ~frame_sum(ip, FRAME_IPV4, 0));
	frame_put16(tcp, FRAME_PORT);
	frame_put16(tcp + 2, FRAME_PORT);
	frame_put16(tcp + 4, sequence >> 16);
	frame_put16(tcp + 6, sequence);
	tcp[12] = 5 << 4;
	tcp[13] = 0x18; /* PSH, ACK */
	frame_put16(tcp + 14, 0xffff);
	frame_put16(tcp + FRAME_TCP_CHECKSUM, frame_pseudo_sum(ip));
}

/* Offset of the frame_header in a frame that starts with these bytes, 0 if it is none of ours. */
static inline uint32_t frame_header_offset(const uint8_t *frame, uint32_t length)
{
	uint32_t offset = 0, magic;

	if (length >= FRAME_MIN && frame_get16(frame + 12) == FRAME_ETHERTYPE)
		offset = FRAME_ETHERNET;
	else if (length >= FRAME_MIN_TCP && frame_get16(frame + 12) == 0x0800 &&
		 frame[FRAME_IP_OFFSET] == 0x45 && frame[FRAME_IP_OFFSET + 9] == 6 &&
		 frame_get16(frame + FRAME_TCP_OFFSET + 2) == FRAME_PORT)
		offset = FRAME_TCP_HEADERS;
	if (!offset)
		return 0;
	__builtin_memcpy(&magic, frame + offset, sizeof(magic));
	return magic == FRAME_MAGIC ? offset : 0;
}

/* Writes header and trailer; the frame's header is at `offset`. */
static inline void frame_seal(uint8_t *frame, uint32_t offset, uint32_t length, uint16_t kind,
			      uint16_t salt, uint64_t sequence)
{
	struct frame_header h = {
		.magic = FRAME_MAGIC,
		.kind = kind,
		.salt = salt,
		.sequence = sequence,
		.length = length,
		.check = frame_check(sequence, salt, kind, length),
	};

	__builtin_memcpy(frame + offset, &h, sizeof(h));
	__builtin_memcpy(frame + length - FRAME_TRAILER, &h.check, FRAME_TRAILER);
}

/* Copies the header out and checks it alone. False if it contradicts itself or the length. */
static inline bool frame_open(const uint8_t *frame, uint32_t offset, uint32_t length,
			      struct frame_header *h)
{
	__builtin_memcpy(h, frame + offset, sizeof(*h));
	return h->length == length &&
	       h->check == frame_check(h->sequence, h->salt, h->kind, length);
}

/* Checks body and trailer of a frame in one piece, whose header is h. */
static inline bool frame_content_ok(const uint8_t *frame, uint32_t offset,
				    const struct frame_header *h)
{
	uint32_t body = offset + sizeof(*h);

	return frame_body_ok(frame + body, h->length - body - FRAME_TRAILER, h->salt, 0) &&
	       !__builtin_memcmp(frame + h->length - FRAME_TRAILER, &h->check, FRAME_TRAILER);
}

#endif
