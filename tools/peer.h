/*
 * The host's end of the test traffic: what peer.c, peer_link.c and peer_floor.c share.
 */
#ifndef TOOLS_PEER_H
#define TOOLS_PEER_H

#include <linux/if_packet.h>
#include <linux/virtio_net.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/socket.h>
#include <time.h>

#include "frame.h"

#define LINK_BATCH 64 /* frames for each system call */

struct peer_options {
	const char *interface;
	const char *mode;
	uint64_t count; /* frames; 0: no limit */
	uint32_t size;	/* bytes of a frame, without FCS */
	uint64_t rate;	/* frames per second, 0: as fast as they go */
	double seconds; /* end after that long at the latest */
	double idle;	/* end when nothing came for so long, seconds */
	uint32_t gso;	/* send TCP frames with this segment size, bytes */
	bool csum;	/* send TCP frames with a partial checksum */
	bool tcp;	/* receive TCP frames */
	bool spin;	/* poll instead of sleeping */
	bool wait;	/* for the guest's ready frame */
	bool read;	/* floor: the reading side */
	bool vnet_hdr;	/* floor: TAP with virtio_net_hdr */
};

/* A packet socket on an interface, with buffers for a batch each way; virtio_net_hdr in front. */
struct link {
	int fd;
	bool spin;
	uint8_t mac[6];
	uint32_t stride; /* bytes of a buffer */
	uint8_t *in, *out;
	uint32_t in_length[LINK_BATCH], out_length[LINK_BATCH]; /* bytes of the frames */
	struct virtio_net_hdr in_header[LINK_BATCH], out_header[LINK_BATCH];
	struct mmsghdr messages[LINK_BATCH];
	struct iovec vectors[LINK_BATCH][2];
	struct sockaddr_ll to; /* the interface, and the protocol of what is sent */
	uint64_t retries;      /* sends that found the device's queue full */
	uint64_t system_calls;
};

static inline uint64_t now_ns(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec * 1000000000ull + t.tv_nsec;
}

/* Opens a packet socket for frames of this protocol (host order). Returns 0 or -errno. */
int link_open(struct link *link, const char *interface, uint16_t protocol, bool spin);
void link_close(struct link *link);

/*
 * Receives up to max frames into in[], lengths in in_length[]. Returns how many, 0 if none came
 * within timeout_ns, or -errno.
 */
int link_receive(struct link *link, uint32_t max, uint64_t timeout_ns);

/*
 * Sends out[0 .. n), all of them: where the device's queue is full it tries again, until the
 * deadline (now_ns() clock). Returns 0 or -errno (-ETIMEDOUT).
 */
int link_send(struct link *link, uint32_t n, uint64_t deadline_ns);

/* Frames that the socket dropped since the last call, because nobody read fast enough. */
uint64_t link_drops(struct link *link);

static inline uint8_t *link_in(struct link *link, uint32_t i)
{
	return link->in + (uint64_t)i * link->stride;
}

static inline uint8_t *link_out(struct link *link, uint32_t i)
{
	return link->out + (uint64_t)i * link->stride;
}

/* What the bare system calls on a TAP cost: the ceiling for any monitor. Returns an exit status. */
int peer_floor(const struct peer_options *options);

#endif
