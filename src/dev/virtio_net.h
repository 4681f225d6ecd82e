/*
 * virtio-net's own parts, shared by its files and nobody else:
 *
 *	virtio_net.c       the model: options, features, configuration space, link
 *	virtio_net_rx.c    the receive queue
 *	virtio_net_tx.c    the send queue
 *	virtio_net_ctrl.c  the control queue, and the receive filter that it sets
 *
 * All three queues are served by one I/O thread, so nothing here needs a lock: what the control
 * queue sets, the receive queue reads on the same thread. What other threads see as well is said to
 * be atomic.
 */
#ifndef VIREO_DEV_VIRTIO_NET_H
#define VIREO_DEV_VIRTIO_NET_H

#include <linux/virtio_ids.h>
#include <linux/virtio_net.h>

#include "net/net.h"
#include "virtio/virtio.h"

#define VNET_HDR_MAX sizeof(struct net_hdr)
#define VNET_BATCH   64 /* frames per flush, and before others of the loop get their turn */
#define VNET_IOV \
	1023 /* pieces of one system call: one below the kernel's limit, for the overflow */
#define VNET_MAC_TABLE \
	64 /* addresses of each kind that the filter knows; more: all of that kind pass */

/* The receive queue's state between frames: see virtio_net_rx.c. */
struct vnet_rx {
	struct iovec iov[VNET_IOV + 1]; /* [iov_first, iov_end): pieces of the window, in order */
	struct virtq_chain chain[VIRTQ_SIZE_MAX]; /* [chain_first, chain_end): its chains */
	unsigned int iov_first, iov_end;
	unsigned int chain_first, chain_end;
	size_t bytes;	    /* room in the window */
	size_t want;	    /* bytes of a frame that should find a place in the window */
	unsigned int calm;  /* frames in a row that would have fitted want_small */
	size_t held;	    /* bytes of a frame that waits for buffers; 0 = none */
	size_t held_direct; /* of which lie in the window already */
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

struct vnet_counters {
	struct counter rx_no_buffer; /* the ring ran out of buffers */
	struct counter rx_filtered;
	struct counter rx_too_long;
	struct counter rx_held;
	struct counter rx_bounced;
	struct counter rx_dropped_reset;
	struct counter tx_no_cable;
	struct counter ctrl_commands, ctrl_refused;
};

struct vnet_options {
	uint8_t mac[6];
	char *netdev, *iothread;
	uint16_t host_mtu, rx_queue_size, tx_queue_size;
	bool csum, gso, host_tso4, host_tso6, host_ecn, host_ufo;
	bool guest_csum, guest_tso4, guest_tso6, guest_ecn, guest_ufo;
	bool mrg_rxbuf, status, ctrl_vq, ctrl_rx, ctrl_vlan, ctrl_rx_extra, ctrl_mac_addr;
	bool ctrl_guest_offloads;
};

enum {
	VNET_RXQ,
	VNET_TXQ,
	VNET_CTRLQ,
	VNET_QUEUES
};

struct virtio_net {
	struct virtio_dev vdev; /* first */
	struct vnet_options opt;
	struct loop *loop;
	struct net_backend *net; /* NULL: no cable */
	struct net_queue *nq;
	struct loop_fd lf; /* the back end's */
	bool gone;	   /* the back end will never give a frame again */
	uint64_t mac;	   /* byte 0 of the address lowest. Atomic */
	bool link_up;	   /* atomic */
	/* Set by negotiation. */
	unsigned int hdr_len; /* bytes of header in each buffer: 10 or 12 */
	bool mergeable;
	bool guest_csum;
	bool big; /* the guest takes frames of up to NET_FRAME_MAX */
	struct vnet_rx rx;
	struct vnet_tx tx;
	struct iovec ctrl_iov[VNET_IOV];
	struct vnet_filter filter;
	struct vnet_counters counters;
};

static inline struct virtio_net *vnet_of(struct virtio_dev *dev)
{
	return (struct virtio_net *)dev;
}

/* Watches the back end's file descriptor for what the queues wait for now. I/O thread. */
void vnet_watch(struct virtio_net *vn);
/* Tells the back end what the guest takes: NET_OFFLOAD_* of GUEST_* feature bits. */
int vnet_set_guest_offloads(struct virtio_net *vn, uint64_t features);

void vnet_rx_start(struct virtio_net *vn);
void vnet_rx_stop(struct virtio_net *vn);
bool vnet_rx_work(struct virtio_net *vn);

bool vnet_tx_work(struct virtio_net *vn);
void vnet_tx_stop(struct virtio_net *vn);

bool vnet_ctrl_work(struct virtio_net *vn);
/* Everything passes, as long as the driver hasn't said otherwise. */
void vnet_filter_reset(struct virtio_net *vn);
/* Does the guest want the frame that starts with these 18 bytes? */
bool vnet_filter_passes(const struct virtio_net *vn, const uint8_t start[18]);
/* Does every frame pass, whatever it is? */
static inline bool vnet_filter_is_open(const struct vnet_filter *f)
{
	return f->promisc && !f->vlans_on;
}

#endif
