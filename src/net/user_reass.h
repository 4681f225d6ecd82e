/*
 * -netdev user: makes IPv4 packets whole that the guest sends in fragments (RFC 791 §3.2).
 *
 * libslirp 4.7 can do that itself, but not with fragments that a driver would never send: some made it write
 * outside its memory. So it gets none to see. Here memory is bounded: USER_DATAGRAMS packets at a time,
 * of which the oldest gives way.
 */
#ifndef VIREO_NET_USER_REASS_H
#define VIREO_NET_USER_REASS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define USER_DATAGRAMS 8

struct user_datagram;

/* What is there of each; USER_DATAGRAMS of them, zeroed. */
struct user_reass {
	struct user_datagram *datagram;
};

/* 0 or -ENOMEM. _free after a failure is fine. */
int user_reass_init(struct user_reass *r);
void user_reass_free(struct user_reass *r);

/* Is this Ethernet frame of len bytes an IPv4 packet that libslirp would take for a fragment? */
bool user_is_fragment(const uint8_t *frame, size_t len);

/* Takes such a frame; now: CLOCK_MONOTONIC, ns. Returns the frame with the whole packet if this was the
 * last that was missing, *len bytes, valid until the next call; NULL: some are missing, or it makes no sense and
 * was dropped. */
const uint8_t *user_reass_add(struct user_reass *r, const uint8_t *frame, size_t *len,
			      uint64_t now);

#endif
