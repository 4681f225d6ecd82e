/*
 * virtio-net's own parts, shared by its files and nobody else:
 *
 *	virtio_net.c           the model: options, queues, configuration space, link
 *	virtio_net_features.c  feature bits: what is offered, what was taken
 *	virtio_net_rx.c        receive queues
 *	virtio_net_tx.c        send queues
 *	virtio_net_ctrl.c      the control queue: commands
 *	virtio_net_filter.c    the receive filter
 *	virtio_net_mq.c        queue pairs, and how settings reach them
 *	virtio_net_hash.c      the hash over a frame's addresses and ports
 *	virtio_net_rss.c       which pair a frame goes to by its hash; from pair to pair
 *	virtio_net_coal.c      interrupts put off
 *	virtio_net_rings.c     queues that the back end serves itself
 *
 * Queues come in pairs, a receive and a send queue, and each pair has an I/O thread (with iothread=, all
 * of them the same one), a queue of the back end and a struct vnet_pair that only this thread touches:
 * nothing on the data path takes a lock. The control queue is served by pair 0's thread. What it sets it
 * writes to virtio_net.set; then each pair's own thread copies that (vnet_apply()), while pair 0's waits
 * for it. So a command that has been answered is in force on all pairs.
 *
 * Who waits for whom: a thread with the device lock for any pair's, pair 0's for the others', and no
 * other pair's thread for anybody. What other threads see as well is said to be atomic.
 */
#ifndef VIREO_DEV_VIRTIO_NET_H
#define VIREO_DEV_VIRTIO_NET_H

#include <linux/virtio_ids.h>
#include <linux/virtio_net.h>

#include "net/net.h"
#include "virtio/virtio.h"

/* Of virtio 1.2 and 1.3, in case the system's header is older. */
#ifndef VIRTIO_NET_F_GUEST_USO4
#define VIRTIO_NET_F_GUEST_USO4 54
#define VIRTIO_NET_F_GUEST_USO6 55
#define VIRTIO_NET_F_HOST_USO	56
#endif
#ifndef VIRTIO_NET_F_VQ_NOTF_COAL
#define VIRTIO_NET_F_VQ_NOTF_COAL	 52
#define VIRTIO_NET_CTRL_NOTF_COAL_VQ_SET 2
#define VIRTIO_NET_CTRL_NOTF_COAL_VQ_GET 3
#endif

#define VNET_HDR_MAX sizeof(struct virtio_net_hdr_v1_hash) /* 20: with a hash report */
#define VNET_BATCH   64 /* frames per flush, and before others of the loop get their turn */
#define VNET_IOV \
	1023 /* pieces of one system call: one below the kernel's limit, for the overflow */
#define VNET_MAC_TABLE \
	64 /* addresses of each kind that the filter knows; more: all of that kind pass */
#define VNET_CTRL_SIZE 64  /* entries of the control queue */
#define VNET_RSS_TABLE 128 /* entries of the indirection table */
#define VNET_RSS_KEY   40  /* bytes: IPv6 addresses and ports, and 32 bits more */

struct vnet_slot;

/* The hash as it stands in a header, little-endian. */
struct vnet_hash {
	uint32_t value;
	uint16_t report; /* VIRTIO_NET_HASH_REPORT_* */
	uint16_t padding;
};

/* A frame that was read, and has yet to find room. */
struct vnet_frame {
	size_t len;	     /* bytes, header included */
	size_t direct;	     /* of which lie in the window already */
	const uint8_t *rest; /* where the others are */
	struct vnet_hash hash;
	struct vnet_slot *slot; /* another pair's, who read it; NULL: this one did */
};

/* The receive queue's state between frames: see virtio_net_rx.c. */
struct vnet_rx {
	struct iovec iov[VNET_IOV + 1]; /* [iov_first, iov_end): pieces of the window, in order */
	struct virtq_chain *chain;	/* [chain_first, chain_end): its chains */
	unsigned int chains;		/* room in chain[]: as many as the queue has entries */
	unsigned int iov_first, iov_end;
	unsigned int chain_first, chain_end;
	size_t bytes;	   /* room in the window */
	size_t want;	   /* bytes of a frame that should find a place in the window */
	unsigned int calm; /* frames in a row that would have fitted want_small */
	struct vnet_frame frame;
	bool held; /* it waits for buffers */
	bool running;
	bool starved;	     /* waits for buffers, not for frames */
	bool readable;	     /* the file descriptor says that there is a frame */
	unsigned int misses; /* polls in a row that found no frame */
	uint8_t *overflow;   /* where a frame goes on that is longer than the window's room */
};

/* Chains popped at a time. Measured, CPU time per 64-byte frame sent: 810 ns one by one, 753 ns in
 * groups (medians of 3, alternating, beside a busy guest). */
#define VNET_TX_GROUP 16

/* The send queue's state: see virtio_net_tx.c. */
struct vnet_tx {
	struct iovec iov[VNET_IOV]; /* [0, iov_end): the group's pieces */
	struct vnet_tx_frame {
		struct virtq_chain chain;
		unsigned int first, n; /* of iov: what is sent of it */
		struct net_hdr hdr;    /* for a back end that carries none: a copy */
	} frame[VNET_TX_GROUP];
	unsigned int next, end; /* frames [next, end) are not sent yet */
	unsigned int iov_end;
	bool blocked;  /* the back end was full: the group waits */
	bool writable; /* the file descriptor says that there is room */
};

/* Which frames the guest wants. Virtio 1.3 §5.1.6.5.1-3. */
struct vnet_filter {
	bool promisc, allmulti, alluni, nomulti, nouni, nobcast;
	bool vlans_on;		     /* only frames with no tag, or one in vlans */
	unsigned int n_uni, n_multi; /* VNET_MAC_TABLE + 1: the table was too long, all pass */
	uint8_t uni[VNET_MAC_TABLE][6], multi[VNET_MAC_TABLE][6];
	uint64_t vlans[4096 / 64];
};

/* What a frame is hashed for, and which pair it goes to. Virtio 1.3 §5.1.6.5.6.4, §5.1.6.5.7. */
struct vnet_rss {
	bool on;	      /* one of the next two */
	bool steer;	      /* by the table below; else it stays on the pair that read it */
	bool report;	      /* the header has room for the hash */
	uint32_t types;	      /* VIRTIO_NET_RSS_HASH_TYPE_* that are hashed */
	uint16_t mask;	      /* entries of the table, less 1 */
	uint8_t unclassified; /* pair of a frame that has no hash */
	uint8_t table[VNET_RSS_TABLE]; /* pairs */
	uint8_t key[VNET_RSS_KEY];
};

/* When an interrupt is sent: after so many frames, or so long. Either 0: at once. */
struct vnet_coal_limits {
	uint32_t max_packets, max_usecs; /* as the driver's structure has them */
};

/* What negotiation and the control queue set. */
struct vnet_settings {
	unsigned int hdr_len; /* bytes of header in each buffer: 10, 12 or 20 */
	bool mergeable;
	bool guest_csum;
	bool big;	    /* the guest takes frames of up to NET_FRAME_MAX */
	unsigned int pairs; /* that frames move on: [0, pairs) */
	struct vnet_filter filter;
	struct vnet_rss rss;
	struct vnet_coal_limits coal[2]; /* of queues that start, [VNET_RXQ] and [VNET_TXQ] */
};

/* Interrupts of a queue that are put off: see virtio_net_coal.c. */
struct vnet_coal {
	struct virtio_queue *queue; /* NULL: it doesn't run */
	struct vnet_coal_limits limits;
	void (*notify)(struct virtq *q); /* the transport's */
	uint64_t frames;		 /* since the driver is owed an interrupt */
	bool pending;			 /* it is */
	struct loop_timer timer;
	struct counter *coalesced;
};

/* Queues that the back end serves itself: see virtio_net_rings.c. Device lock. */
struct vnet_rings {
	bool prepared;	   /* the back end has been shown the guest's memory */
	bool failed;	   /* it couldn't take a ring; till the driver negotiates anew */
	const char *why;   /* what speaks against lending queues; NULL: nothing yet */
	char failure[128]; /* that, where it failed */
};

struct vnet_counters {
	struct counter ctrl_commands, ctrl_refused, announced;
};

struct vnet_pair_counters {
	struct counter rx_no_buffer; /* the ring ran out of buffers */
	struct counter rx_filtered;
	struct counter rx_too_long;
	struct counter rx_held;
	struct counter rx_bounced;
	struct counter rx_dropped_reset;
	struct counter rx_steered, rx_steer_full;
	struct counter tx_no_cable;
	struct counter coalesced;
};

struct vnet_options {
	uint8_t mac[6];
	char *netdev, *iothread;
	uint16_t host_mtu, rx_queue_size, tx_queue_size;
	uint32_t speed;
	int duplex; /* enum vnet_duplex */
	bool csum, gso, host_tso4, host_tso6, host_ecn, host_ufo, host_uso;
	bool guest_csum, guest_tso4, guest_tso6, guest_ecn, guest_ufo, guest_uso4, guest_uso6;
	bool mrg_rxbuf, status, ctrl_vq, ctrl_rx, ctrl_vlan, ctrl_rx_extra, ctrl_mac_addr;
	bool ctrl_guest_offloads, guest_announce, notf_coal, mq, rss, hash, failover;
};

/* Queues of the first pair; pair i has 2 i and 2 i + 1. The control queue is behind the last pair that
 * was negotiated (virtio_net.ctrl). */
enum {
	VNET_RXQ,
	VNET_TXQ,
	VNET_CTRLQ, /* where there is one pair */
	VNET_QUEUES
};

struct vnet_handover;
struct virtio_net;

/* A queue pair: its thread's, all of it. */
struct vnet_pair {
	struct virtio_net *vn;
	unsigned int index;
	struct loop *loop;
	struct net_queue
		*nq; /* NULL: frames don't pass here (no cable, or the back end serves rings) */
	struct loop_fd lf; /* the back end's */
	bool gone;	   /* the back end will never give a frame again */
	bool active;	   /* index < set.pairs */
	struct virtio_queue *rxq, *txq;
	struct vnet_settings set;
	struct vnet_coal rx_coal, tx_coal;
	struct vnet_handover *handover; /* NULL: no RSS */
	struct vnet_rx rx;
	struct vnet_tx tx;
	struct vnet_pair_counters counters;
} __attribute__((aligned(64)));

struct virtio_net {
	struct virtio_dev vdev; /* first */
	struct vnet_options opt;
	struct net_backend *net; /* NULL: no cable */
	unsigned int n_pairs;
	struct vnet_pair *pair;	  /* n_pairs */
	unsigned int ctrl;	  /* index of the control queue; written while no queue runs */
	uint64_t mac;		  /* byte 0 of the address lowest. Atomic */
	uint16_t status;	  /* VIRTIO_NET_S_*. Atomic */
	struct vnet_settings set; /* pair 0's thread, or the device lock while no queue runs */
	struct iovec ctrl_iov[VNET_IOV];
	struct vnet_rings rings;
	struct vnet_counters counters;
};

static inline struct virtio_net *vnet_of(struct virtio_dev *dev)
{
	return (struct virtio_net *)dev;
}

/* ---- virtio_net.c ---- */

/* Watches the back end's file descriptor for what the queues wait for now. Pair's thread. */
void vnet_watch(struct vnet_pair *p);
void vnet_ready(struct loop_fd *lf, uint32_t events);
/* Asks the driver to announce its address on the network; false: it takes no such request. Device lock. */
bool vnet_announce(struct virtio_dev *dev);
/* The driver has given the card this address. Any thread. */
void vnet_set_mac(struct virtio_net *vn, uint64_t mac);

/* ---- virtio_net_features.c ---- */

/* The device feature bits that the options and the back end allow. */
uint64_t vnet_offer(struct virtio_net *vn);
/* Settings as the driver's features have them: virtio_model.features_ready. */
void vnet_features_ready(struct virtio_dev *dev);
/* Tells the back end and the pairs what the guest takes from now on: GUEST_* feature bits. Pair 0's
 * thread, or no queue runs. 0 or -errno: then all is as it was. */
int vnet_set_guest_offloads(struct virtio_net *vn, uint64_t features);

/* ---- virtio_net_mq.c ---- */

/* Makes the pairs with their threads and queues of the back end (vn->net). When it fails, and later:
 * vnet_pairs_free(). */
int vnet_pairs_make(struct virtio_net *vn, struct err *err);
void vnet_pairs_free(struct virtio_net *vn);
/* Hands vn->set to every pair; in force when it returns. Pair 0's thread, or no queue runs. */
void vnet_apply(struct virtio_net *vn);
/* Frames move on pairs [0, n) from now on. The same threads. 0 or -errno. */
int vnet_set_pairs(struct virtio_net *vn, unsigned int n);
/* On the first one, whatever the back end says to that. No queue runs. */
void vnet_reset_pairs(struct virtio_net *vn);
/* Who serves which queue, with the control queue behind the last pair (multi) or the first. Device
 * lock, no queue runs. */
void vnet_layout(struct virtio_net *vn, bool multi);
/* The pair that a queue belongs to; NULL: none, it is the control queue or no queue at all. */
struct vnet_pair *vnet_pair_of(const struct virtio_net *vn, const struct virtio_queue *queue);

/* ---- virtio_net_rx.c, virtio_net_tx.c: pair's thread ---- */

void vnet_rx_start(struct vnet_pair *p);
void vnet_rx_stop(struct vnet_pair *p);
bool vnet_rx_work(struct vnet_pair *p);
/* The pair has become active, or is so no more. */
void vnet_rx_activate(struct vnet_pair *p);
/* Up to len bytes of a frame that the pair has just read; returns how many there were. */
size_t vnet_rx_peek(const struct vnet_pair *p, const struct vnet_frame *f, size_t offset, void *buf,
		    size_t len);

void vnet_tx_start(struct vnet_pair *p);
void vnet_tx_stop(struct vnet_pair *p);
bool vnet_tx_work(struct vnet_pair *p);
void vnet_tx_activate(struct vnet_pair *p);

/* ---- virtio_net_ctrl.c, virtio_net_filter.c: pair 0's thread ---- */

/* A control command: what follows class and command, and what it gives back beside the answer. */
struct vnet_command {
	uint8_t class, command;
	const struct iovec *iov;
	unsigned int n;
	size_t offset; /* of the next byte to take */
	uint8_t result[8];
	size_t result_len;
};

bool vnet_take(struct vnet_command *c, void *buf, size_t len); /* false: it is shorter */
bool vnet_at_end(const struct vnet_command *c);

bool vnet_ctrl_work(struct virtio_net *vn);

/* The commands of a class, each: true = done. What they change in vn->set is handed to the pairs by the
 * caller. */
bool vnet_ctrl_rx(struct virtio_net *vn, struct vnet_command *c);
bool vnet_ctrl_mac(struct virtio_net *vn, struct vnet_command *c);
bool vnet_ctrl_vlan(struct virtio_net *vn, struct vnet_command *c);
bool vnet_ctrl_mq(struct virtio_net *vn, struct vnet_command *c);
bool vnet_ctrl_rss(struct virtio_net *vn, struct vnet_command *c); /* of MQ: the other two */
bool vnet_ctrl_coal(struct virtio_net *vn, struct vnet_command *c);

/* Everything passes, as long as the driver hasn't said otherwise. */
void vnet_filter_reset(struct vnet_filter *f);
/* Does the guest, whose address is *own, want the frame that starts with these 18 bytes? */
bool vnet_filter_passes(const struct vnet_filter *f, const uint64_t *own, const uint8_t start[18]);
/* Does every frame pass, whatever it is? */
static inline bool vnet_filter_is_open(const struct vnet_filter *f)
{
	return f->promisc && !f->vlans_on;
}

/* ---- virtio_net_hash.c ---- */

/* Toeplitz over up to VNET_RSS_KEY - 4 bytes. */
uint32_t vnet_toeplitz(const uint8_t key[VNET_RSS_KEY], const uint8_t *data, size_t len);
/* Bytes of a frame's start that may matter. */
#define VNET_HASH_HEAD 256
/* Hashes a frame by its first len bytes, as types (VIRTIO_NET_RSS_HASH_TYPE_*) say. false: none of them
 * fits it; the hash is 0, NONE. */
bool vnet_hash(uint32_t types, const uint8_t key[VNET_RSS_KEY], const uint8_t *head, size_t len,
	       struct vnet_hash *hash);
extern const uint32_t vnet_hash_types; /* all that there are */

/* ---- virtio_net_rss.c: pair's thread ---- */

int vnet_rss_make(struct virtio_net *vn, struct err *err); /* p->handover of all pairs */
void vnet_rss_free(struct virtio_net *vn);
/* The pair receives, or does so no more. Nothing to do without RSS. */
void vnet_rss_open(struct vnet_pair *p);
void vnet_rss_close(struct vnet_pair *p);
/* Hashes a frame that the pair has read. true: it is the pair's own, f->hash is set; false: it has been
 * handed to the right pair, or lost and counted. */
bool vnet_rss_keeps(struct vnet_pair *p, struct vnet_frame *f);
/* Has another pair handed something over? */
bool vnet_rss_waiting(const struct vnet_pair *p);
/* Takes it; vnet_rss_done() when f->rest is not needed any more. */
bool vnet_rss_take(struct vnet_pair *p, struct vnet_frame *f);
void vnet_rss_done(struct vnet_slot *slot);

/* ---- virtio_net_coal.c: pair's thread ---- */

/* limits: of a queue that the driver has just enabled. */
void vnet_coal_start(struct vnet_coal *c, struct virtio_queue *queue,
		     const struct vnet_coal_limits *limits, struct counter *coalesced);
void vnet_coal_stop(struct vnet_coal *c);
/* Other limits, in force at once. */
void vnet_coal_set(struct vnet_coal *c, const struct vnet_coal_limits *limits);
void vnet_coal_count(struct vnet_coal *c, unsigned int frames);
/* So many frames were flushed. */
static inline void vnet_coal_flushed(struct vnet_coal *c, unsigned int frames)
{
	if (c->pending)
		vnet_coal_count(c, frames);
}

/* ---- virtio_net_rings.c; device lock held ---- */

/* The model's functions for virtio/virtio.h: */
enum virtio_lend vnet_queue_lend(struct virtio_queue *queue, const struct virtio_loan *loan);
uint32_t vnet_queue_return(struct virtio_queue *queue);
void vnet_queue_call(struct virtio_queue *queue, int call_fd);
/* Can the back end serve rings? Then what it can't do isn't to be offered as done in software. */
bool vnet_rings_can(const struct virtio_net *vn);
/* At realize, when vn->net is there (which may be NULL); _end: at unrealize, before it goes. */
void vnet_rings_init(struct virtio_net *vn);
void vnet_rings_end(struct virtio_net *vn);
void vnet_rings_negotiated(struct virtio_net *vn); /* features_ready() */
void vnet_rings_reset(struct virtio_net *vn);
/* The cable was plugged in or out: asks anew who serves the queues. */
void vnet_rings_restart(struct virtio_net *vn);
/* Says who does ("vhost"). Takes the device lock. */
void vnet_rings_info(struct virtio_net *vn, json_t *object);
/* Tells the driver, where the link's state has changed. */
void vnet_link_update(struct virtio_net *vn);

#endif
