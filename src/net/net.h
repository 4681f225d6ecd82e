/*
 * Network back ends: the contract between a NIC model and the way out of the host.
 *
 * A back end is a -netdev; it has one or more queues, each used by one I/O thread. A frame is a
 * list of pieces of guest memory behind a virtio_net_hdr (struct net_hdr, virtio 1.3 §5.1.6): the
 * offload language between any front end and any back end. A back end that can't do an offload
 * doesn't offer it (offloads_out, offloads_in), and the front end doesn't offer it to its guest.
 * Frames are read straight into the front end's free buffers: no bounce, no peek.
 *
 * A frame that the host doesn't take, for whatever reason, is lost and counted: the guest sees a
 * bad cable, never an error.
 */
#ifndef VIREO_NET_NET_H
#define VIREO_NET_NET_H

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>
#include <sys/uio.h>

#include "base/counter.h"
#include "base/err.h"
#include "base/loop.h"
#include "base/opt.h"
#include "kvm/mem.h"

#define NET_QUEUES_MAX 16

/* Bytes of the longest frame, without header: 64 KiB of IP behind an Ethernet header with a VLAN
 * tag. */
#define NET_FRAME_MAX (65536 + 18)

/* virtio 1.3 §5.1.6, little-endian; the first 10 bytes are the legacy header, num_buffers goes with
 * mergeable buffers. */
struct net_hdr {
	uint8_t flags;	  /* NET_HDR_* */
	uint8_t gso_type; /* NET_GSO_* */
	uint16_t hdr_len, gso_size, csum_start, csum_offset;
	uint16_t num_buffers;
} __attribute__((packed));

enum {
	NET_HDR_NEEDS_CSUM =
		1, /* the checksum of [csum_start, end) is to be put at csum_start + csum_offset */
	NET_HDR_DATA_VALID = 2, /* whoever sent it has checked it */
};

enum {
	NET_GSO_NONE = 0,
	NET_GSO_TCPV4 = 1,
	NET_GSO_UDP = 3,
	NET_GSO_TCPV6 = 4,
	NET_GSO_UDP_L4 = 5,
	NET_GSO_ECN = 0x80,
};

/* What a side can take without help. */
enum {
	NET_OFFLOAD_CSUM = 1 << 0, /* frames with a partial checksum */
	NET_OFFLOAD_TSO4 = 1 << 1,
	NET_OFFLOAD_TSO6 = 1 << 2,
	NET_OFFLOAD_ECN = 1 << 3,
	NET_OFFLOAD_UFO = 1 << 4,
	NET_OFFLOAD_USO = 1 << 5, /* UDP segmentation (NET_GSO_UDP_L4), IPv4 and IPv6 */
};

struct net_counters {
	struct counter tx_packets, tx_bytes, rx_packets, rx_bytes; /* from the guest's side */
	struct counter tx_syscalls, rx_syscalls;
	struct counter tx_dropped_down;	   /* link or interface down, or gone */
	struct counter tx_dropped_refused; /* the host refused the frame */
	struct counter tx_blocked;	 /* times that the host's queue was full: kept, not lost */
	struct counter rx_dropped_down;	 /* link down: read and thrown away */
	struct counter rx_dropped_error; /* the host gave an error in a frame's place */
	struct counter rx_dropped_full;	 /* more than the guest took, and than could wait */
};
extern const struct counter_desc net_counter_table[];

struct net_backend;
struct net_queue;

/* Where such a socket is. */
struct net_socket {
	char path[108];		  /* of a Unix socket */
	bool server;		  /* listen there, and take one peer at a time; else connect */
	unsigned int reconnect_s; /* client: seconds between attempts; 0 = once */
	bool wait;		  /* server: have a peer before the guest starts */
	int listen_fd; /* server: listens already; the -chardev closes it, and removes path */
	int fd;	       /* the peer that is there already, the taker's from now on; -1 = none */
};

/* What a back end may need of its surroundings. */
struct net_host {
	struct loop *control; /* the control thread's loop */
	/* A -chardev of type socket that the back end takes over, to speak its own protocol there. */
	int (*socket)(const struct net_host *host, const char *chardev, struct net_socket *out,
		      struct err *err);
	void *opaque;
};

/* The rings of one queue pair, from the guest's side. */
enum net_ring_index {
	NET_RING_RX, /* the guest receives */
	NET_RING_TX,
	NET_RINGS
};

/* A ring of the guest's (virtio 1.3 §2.7, or §2.8 when packed was negotiated), for a back end that serves
 * it itself (vhost). Addresses are guest-physical. */
struct net_ring {
	uint16_t size; /* entries */
	uint64_t desc, avail, used;
	/* Where it starts, and in ring_stop() where it stopped: the available ring's index; packed: bits
	 * 0-14 the next entry to pop, 15 the wrap counter there, 16-30 and 31 the same of the next
	 * entry to fill. UINT32_MAX: nobody has used it yet. */
	uint32_t position;
	int kick_fd; /* eventfd of the doorbell */
	int call_fd; /* eventfd of the interrupt */
};

/* What the front end wants to be told; control thread. */
struct net_events {
	/* The back end's own link (its peer, its carrier) came or went: net_link_is_down(). Takes the
	 * device's lock, so never called from within ring operations. May be NULL. */
	void (*carrier)(void *opaque);
	/* Whoever serves a ring finds that it makes no sense: the device is to latch. Takes no lock, so
	 * that the back end may hold its own. May be NULL. */
	void (*ring_broken)(void *opaque, struct net_queue *q, enum net_ring_index which);
};

struct net_backend_ops {
	const char *name; /* "tap": -netdev tap */
	const char *help;
	const struct opt_desc *opts;
	size_t size;	    /* of the instance; starts with struct net_backend */
	bool shares_memory; /* another process will be given the guest's memory */

	/* Fills n_queues, queue[], offloads_out, offloads_in, has_hdr, frame_max. Options are
	 * applied. */
	int (*open)(struct net_backend *net, struct err *err);
	void (*close)(struct net_backend *net);

	/* Sends a frame: iov[0..n), n > 0, starts with net->hdr_len bytes of header (none when 0),
	 * in however many pieces. Queue's thread. 0 = taken (or lost and counted), -EAGAIN = full:
	 * try again when the file descriptor is writable. */
	int (*send)(struct net_queue *q, const struct iovec *iov, int n);
	/* Reads one frame, header first, into the pieces; returns its length in bytes, header
	 * included, -EAGAIN when there is none now, -ENODEV when there will never be one again (its
	 * interface was deleted: stop watching fd), another negative errno in the place of one
	 * frame (counted). Queue's thread. A frame longer than the pieces is cut: offer
	 * net->hdr_len + net->frame_max bytes, or with offloads taken that make frames larger,
	 * NET_FRAME_MAX. */
	ssize_t (*recv)(struct net_queue *q, const struct iovec *iov, int n);
	/* The file descriptor that is readable when recv() has something, and writable when send()
	 * takes again. The same for as long as the back end is open. */
	int (*fd)(struct net_queue *q);
	/* What the *guest* takes from now on (NET_OFFLOAD_*, a subset of offloads_in; all others
	 * need NET_OFFLOAD_CSUM), and the header's length that both sides use: 10 or 12 bytes, 0
	 * where has_hdr is false. Sets hdr_len and frame_max. Before the queues are used, or
	 * between frames. 0 or -errno. */
	int (*set_offloads)(struct net_backend *net, unsigned int offloads, unsigned int hdr_len);
	void (*info)(struct net_backend *net, json_t *object);
	/* Queues [0, n) carry frames from now on, 1 <= n <= n_queues, and the host spreads its flows
	 * over them. NULL: there is one, or it makes no difference. 0 or -errno. */
	int (*set_queues)(struct net_backend *net, unsigned int n);
	/* Ports of the host's that lead into the guest: rule is what hostfwd= says, to take one away what stands
	 * in front of its '-'. Control thread; 0 or -errno with err set. And the connections that there are,
	 * as an array of lines for people. Both NULL: this back end has none. */
	int (*forward)(struct net_backend *net, const char *rule, bool add, struct err *err);
	json_t *(*connections)(struct net_backend *net);
	/* The guest's card has this address: see net_set_mac(). NULL: it makes no difference. */
	int (*set_mac)(struct net_backend *net, const uint8_t mac[6], struct err *err);
	/* Counters of the back end as a whole, if it has any. NULL: none. */
	void (*counters)(struct net_backend *net, counter_visit *visit, void *opaque);

	/* ---- serving the guest's rings, so that frames pass vireo by; NULL where packets only ----
	 *
	 * Thread with the device's lock (a vCPU, or the control thread), and no I/O thread uses the
	 * queue meanwhile.
	 *
	 * Before the first ring_start() after each negotiation: the guest's memory, which the back end
	 * may show to others, and the driver's feature bits (subset of ring_features). NULL mem: all
	 * rings are stopped, the memory is not to be touched any more. 0 or -errno. */
	int (*rings_prepare)(struct net_backend *net, const struct mem *mem, uint64_t features);
	/* From when it returns 0 on, the back end serves the ring, and send() and recv() are not called. */
	int (*ring_start)(struct net_queue *q, enum net_ring_index which,
			  const struct net_ring *ring);
	/* Returns when the ring is not touched any more, with ring->position filled; frames taken from
	 * the host or the guest are not lost. It always succeeds: a peer that doesn't answer costs the
	 * position it had reported last. */
	void (*ring_stop)(struct net_queue *q, enum net_ring_index which, struct net_ring *ring);
	/* The interrupt goes to another eventfd. */
	void (*ring_set_call)(struct net_queue *q, enum net_ring_index which, int call_fd);
};

struct net_queue {
	struct net_backend *net;
	unsigned int index;
	unsigned int segments_sent; /* net_send_frame(): of the frame that waits for room */
	uint32_t fragment_id;	    /* net_send_frame(): of the next IPv6 packet that is cut */
	struct net_counters counters;
};

struct net_backend {
	const struct net_backend_ops *ops;
	char *id;
	unsigned int n_queues;
	struct net_queue *queue[NET_QUEUES_MAX];
	unsigned int offloads_out; /* the back end takes these frames from the guest */
	unsigned int offloads_in;  /* it can be told to give such frames to the guest */
	bool has_hdr;		   /* carries struct net_hdr; else hdr_len must be 0 */
	unsigned int hdr_len;	   /* as set last */
	unsigned int frame_max;	   /* bytes of the longest frame it gives with no offloads taken; no
				      header. The host may change it: net_frame_max() */
	bool link_down; /* net_set_link() off: frames are dropped both ways. Relaxed atomics */
	const struct net_host *host; /* outlives it; NULL in some tests */

	/* Back ends with ring_start(): set by open. */
	uint64_t ring_features; /* virtio feature bits that the rings' server knows */
	bool rings_only;	/* there is no send() and recv(): for virtio devices alone */
	/* rings are wanted also from a driver without MSI-X (vhostforce) */
	bool rings_forced;
	bool rings_asked; /* by option (vhost=on): a card that lends no rings refuses the back end */

	/* Somebody looks at each frame (net/filter.h): rings are not served, ops has no ring_start(). */
	bool filtered;

	bool no_carrier; /* the back end's own link is down. Relaxed atomics */
	/* The front end's: entries of its longest ring; 0: it doesn't say. */
	uint16_t ring_size_max;
	/* The front end's: set when it takes the back end, and back to NULL when it leaves. */
	const struct net_events *events;
	void *events_opaque;
};

/* Makes a back end from -netdev's options (type and id are taken by the caller; id is copied). NULL
 * with err set, list->text in front. host may be NULL: back ends that need it are refused then. */
struct net_backend *net_create(const struct net_host *host, const char *type, const char *id,
			       struct opt_list *list, struct err *err);
/* Will a back end of this type need guest memory that can be shared? Unknown types don't. */
bool net_type_shares_memory(const char *type);
void net_destroy(struct net_backend *net); /* no queue is in use any more; NULL is fine */
void net_help(FILE *out);		   /* -netdev help: each type and its options */

/* The cable, in or out: while out, frames are dropped and counted. Any thread. */
void net_set_link(struct net_backend *net, bool up);
static inline bool net_link_is_down(const struct net_backend *net)
{
	return __atomic_load_n(&net->link_down, __ATOMIC_RELAXED) ||
	       __atomic_load_n(&net->no_carrier, __ATOMIC_RELAXED);
}
/* For back ends: the carrier came or went; tells the front end. Control thread. */
void net_set_carrier(struct net_backend *net, bool up);

/* ---- for front ends that know nothing of what the back end can do: src/net/offload.c ----
 *
 * Both move one frame and do in software what the back end lacks: the header itself, checksums,
 * segmentation. Queue's thread. iov[0] is lent for the header, its contents are overwritten; the frame
 * is iov[1..n), n > 1, and is not written to.
 *
 * Sends what hdr (num_buffers left out; NULL: a frame with nothing left to do) says. 0 = taken, or lost
 * and counted: a header that doesn't fit the frame is counted as refused. -EAGAIN = full, as send() of
 * the back end; the caller then comes again with the same frame: of a frame that is cut into segments
 * here, those that were taken are not sent twice. Whoever gives such a frame up instead sets
 * q->segments_sent to 0. The kernel's bound on pieces (1024) holds; a frame that has to be changed is
 * refused with more than 1020. */
int net_send_frame(struct net_queue *q, const struct net_hdr *hdr, struct iovec *iov, int n);
/* Reads a frame into iov[1..n) and its header into hdr (all zero where the back end has none). Returns
 * the frame's length without header, and otherwise what recv() of the back end does. */
ssize_t net_recv_frame(struct net_queue *q, struct net_hdr *hdr, struct iovec *iov, int n);
/* Before these two are used: the header's length that they work with, and what the front end takes
 * (NET_OFFLOAD_*; what the back end lacks is left out). 0 or -errno. */
int net_set_frame_offloads(struct net_backend *net, unsigned int offloads);
/* Fills in the checksum that hdr (NEEDS_CSUM) leaves to whoever takes the frame, in the frame's own
 * memory; iov[0..n) is the frame. false: the header doesn't fit the frame. */
bool net_complete_csum(const struct net_hdr *hdr, const struct iovec *iov, int n);

/* The front end's card has this address: for back ends that are to receive for it. With err: control
 * thread, before frames move; it has taken effect when this returns 0, and what fails fills err. NULL err: any
 * thread, takes effect soon, and what fails is logged. A group address is ignored. */
int net_set_mac(struct net_backend *net, const uint8_t mac[6], struct err *err);

/* For back ends: the longest frame has changed while queues run. */
static inline void net_set_frame_max(struct net_backend *net, unsigned int bytes)
{
	__atomic_store_n(&net->frame_max, bytes, __ATOMIC_RELAXED);
}
static inline unsigned int net_frame_max(const struct net_backend *net)
{
	return __atomic_load_n(&net->frame_max, __ATOMIC_RELAXED);
}

/* Adds id, type, link and what the type has to tell to a JSON object; any thread. */
void net_info(struct net_backend *net, json_t *object);
/* Visits the counters of each queue, as ("n0", "queue 0"). */
void net_counters_each(struct net_backend *net, counter_visit *visit, void *opaque);

/* Last line of a back end's file. */
#define NET_BACKEND(o)                                       \
	static const struct net_backend_ops *const o##_entry \
		__attribute__((used, section("net_backends"))) = &(o)

#endif
