/*
 * The vhost-user back end's own parts, shared by its files and nobody else:
 *
 *	vhost_user.c       the back end: options, what network code calls, information
 *	vhost_user_peer.c  the peer: comes, agrees, goes, comes again
 *	vhost_user_ring.c  memory and rings, shown to a peer and taken back
 *	vhost_user_msg.c   messages
 *
 * Threads. The control thread has the sockets: it accepts or connects, agrees with a peer, and closes. Rings are
 * started and stopped by whoever has the device's lock. What both need is under `lock`, inside the device's lock;
 * with it held a peer is waited for, for a bounded time (vhost_user_msg.h), and nobody else. A thread that finds
 * the peer failed shuts the socket down; the control thread sees it hang up, and does the rest.
 */
#ifndef VIREO_NET_VHOST_USER_H
#define VIREO_NET_VHOST_USER_H

#include <pthread.h>

#include "base/log.h"
#include "net/net.h"
#include "net/vhost_user_msg.h"

#define VU_RINGS_MAX (NET_QUEUES_MAX * NET_RINGS)
/* Entries of the longest ring, where the front end doesn't say. */
#define VU_RING_SIZE 1024

struct vu_ring {
	struct net_ring ring; /* as the front end started it; position: where it starts */
	bool started;	      /* by the front end */
	bool running;	      /* the peer of now has it */
	bool served;	      /* a peer has had it since it was started */
};

struct vu {
	struct net_backend net; /* first */
	char *chardev;
	uint16_t n_queues;
	bool vhostforce;
	uint8_t mac[6]; /* the card's; with the lock */
	struct net_queue queue[NET_QUEUES_MAX];

	/* The control thread's. */
	struct net_socket socket;
	struct loop_fd listener, watch; /* watch: channel.fd */
	struct loop_timer
		retry; /* to listen or connect again; to give up waiting for a first answer */
	int error_fd;  /* eventfd: the peer says that a ring makes no sense */
	struct loop_fd error;
	struct log_limit said;

	pthread_mutex_t lock;
	/* All below: with the lock. */
	struct vu_channel channel;
	bool agreed;		     /* the peer of now is what was asked for */
	uint64_t features, protocol; /* the peer's, and what is used of its protocol features */
	uint64_t max_queues;	     /* pairs that the peer has */
	uint64_t max_slots;	     /* memory regions that it takes */
	struct vu_net_config config; /* what it says of itself; size 0: nothing */
	const struct mem *mem;	     /* NULL: no driver has negotiated */
	uint64_t driver_features;    /* with mem */
	bool shown;		     /* features and mem were shown to the peer of now */
	unsigned int active;	     /* pairs that carry frames */
	struct vu_ring ring[VU_RINGS_MAX];
	int inflight_fd; /* -1 = none yet */
	struct vu_inflight inflight;
	struct vu_counters counters;
};

static inline struct vu *vu_of(struct net_backend *net)
{
	return (struct vu *)net;
}

/* Entries of the longest ring that there can be, and that an inflight region has room for: a peer goes
 * there by the index of a descriptor. */
static inline uint16_t vu_ring_size_max(const struct vu *vu)
{
	return vu->net.ring_size_max ? vu->net.ring_size_max : VU_RING_SIZE;
}

static inline bool vu_has(const struct vu *vu, enum vu_protocol bit)
{
	return vu->protocol >> bit & 1;
}

/* ---- vhost_user_peer.c: control thread, without the lock ---- */

/* Gets to the first peer, or begins to wait for one. 0 or -errno with err set. */
int vu_peer_begin(struct vu *vu, struct err *err);
void vu_peer_end(struct vu *vu);

/* ---- vhost_user_ring.c: with the lock. Where they return -errno, the channel has failed. ---- */

/* Features that a driver has negotiated and the peer of now lacks. */
uint64_t vu_missing(const struct vu *vu);
/* Shows the peer the driver's features and memory, if there are any and it hasn't seen them, and every
 * ring that was started. */
int vu_show(struct vu *vu);
int vu_ring_go(struct vu *vu, unsigned int index);
/* Takes the ring back from the peer, if that has it, and says where it stands. */
void vu_ring_halt(struct vu *vu, unsigned int index);
int vu_ring_call(struct vu *vu, unsigned int index);
int vu_ring_enable(struct vu *vu, unsigned int index);
/* All rings are stopped: the memory is the guest's alone again. */
void vu_hide(struct vu *vu);
/* The peer is gone: what it had stays started. */
void vu_rings_lost(struct vu *vu);

#endif
