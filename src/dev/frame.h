/*
 * A frame that a driver wants sent, put together from the pieces that its descriptors name.
 *
 * Pieces are guest memory, never copied; what the card itself adds or changes (a VLAN tag, a header
 * whose checksum it fills in, padding) is in the frame's own small buffers, put in the place of the
 * guest's bytes. A frame has a bound: what a descriptor chain adds beyond NET_FRAME_MAX bytes or
 * FRAME_IOV pieces makes it bad, and a bad frame is dropped when it ends: so a packet that never ends
 * costs nothing but its descriptors.
 *
 * Whoever holds the device's lock.
 */
#ifndef VIREO_DEV_FRAME_H
#define VIREO_DEV_FRAME_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/uio.h>

#include "kvm/mem.h"
#include "net/net.h"

#define FRAME_IOV  256 /* pieces, header's included */
#define FRAME_HEAD 256 /* bytes that can be pulled into the frame's own memory */
#define FRAME_FCS  4   /* bytes of the check sequence behind a frame on the wire */
#define FRAME_MIN  60  /* bytes of the shortest Ethernet frame, without FCS (IEEE 802.3 §3.2.8) */

struct frame {
	struct iovec iov[FRAME_IOV]; /* [0] is for the back end's header; [1, n) the frame */
	int n;			     /* 1: empty */
	size_t len;		     /* bytes */
	bool bad;		     /* too long, too many pieces, or a piece that isn't RAM */
	size_t pulled;		     /* bytes at the start that lie in head[] */
	uint8_t head[FRAME_HEAD];
};

/* Empty, not bad. */
void frame_reset(struct frame *f);
/* Appends len bytes of guest memory at gpa, or of memory that lives until the frame is sent. len 0 is
 * nothing. What can't be added makes the frame bad. */
void frame_add(struct frame *f, const struct mem *mem, uint64_t gpa, size_t len);
void frame_add_host(struct frame *f, const void *data, size_t len);
/* Appends zeros until the frame has `len` bytes (<= FRAME_MIN). */
void frame_pad(struct frame *f, size_t len);
/* Takes the last n bytes off, and gives them in `end` (NULL: nobody wants them). false: bad, or not longer than
 * that; nothing is changed. */
bool frame_cut(struct frame *f, size_t n, void *end);
/* The same with an FCS that the driver has put there itself. false: not there, or wrong; frames like that
 * reach nobody. */
bool frame_take_fcs(struct frame *f, uint8_t fcs[FRAME_FCS]);
/* Makes the first len bytes (<= FRAME_HEAD) the frame's own, copied once into head[]: they can be
 * looked at and changed there, and the guest can't change them any more. false: the frame is shorter, or
 * bad. */
bool frame_pull(struct frame *f, size_t len);
/* Puts an 802.1Q tag (type 0x8100; priority, CFI and VLAN id: tci, host order) behind the two addresses, and
 * moves the offsets in hdr (NULL: none) on by its 4 bytes. false: too short, or no room. */
bool frame_insert_vlan(struct frame *f, uint16_t tci, struct net_hdr *hdr);
/* Puts the ones' complement checksum of bytes [start, end) (end 0 = the frame's end) into the two bytes
 * at `at`, big-endian; a result of 0 stays 0. The bytes at `at` count with what they hold. Pulls what
 * it changes. false: out of the frame, or `at` beyond FRAME_HEAD. */
bool frame_insert_csum(struct frame *f, size_t start, size_t at, size_t end);
/* Leaves that to the back end: fills hdr in (NEEDS_CSUM) if [start, end of frame) is what is summed up.
 * false: out of the frame. */
bool frame_want_csum(const struct frame *f, size_t start, size_t at, struct net_hdr *hdr);
/* The same for a card that finds the place itself, and leaves nothing to the driver: with an IPv4 header at
 * l3 and no fragment, the TCP or UDP checksum (which is meant, says protocol: 6 or 17) is left to the back
 * end, over a pseudo-header that is summed up here. false: it isn't such a packet; nothing is changed. */
bool frame_want_l4_csum(struct frame *f, size_t l3, uint8_t protocol, struct net_hdr *hdr);
/* Makes hdr say that the frame is TCP to be cut into segments of mss bytes of payload (TSO), with the
 * IPv4 or IPv6 header at l3, the TCP header at l4; header_len: bytes of all headers. As virtio wants it
 * (1.3 §5.1.6.2): the IP header's length and checksum and TCP's partial checksum over the pseudo-header
 * of the whole are filled in, in head[]; whatever the driver left there. A frame of one segment or less
 * gets NEEDS_CSUM alone. false: no such headers, mss 0, or header_len out of the frame: the frame can't be
 * sent so. */
bool frame_want_tso(struct frame *f, size_t l3, size_t l4, size_t header_len, unsigned int mss,
		    struct net_hdr *hdr);

#endif
