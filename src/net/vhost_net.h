/*
 * vhost-net: the host's kernel serves a guest's rings and moves frames between them and a TAP, MacVTap or
 * packet socket.
 *
 * Source: <linux/vhost.h>, Linux drivers/vhost/{vhost,net}.c. One open vhost device per queue pair, each
 * with a kernel thread of its own from vhost_net_prepare() on.
 *
 * A back end whose frames pass through such a file descriptor (net->ops->fd()) has one of these and sets
 * its ring operations (net/net.h) to functions that call the ones here, which have the same contracts.
 * All functions are thread-safe, but for open and close: control thread.
 */
#ifndef VIREO_NET_VHOST_NET_H
#define VIREO_NET_VHOST_NET_H

#include "net/net.h"

struct vhost_net;

/* For the first n queues of net, whose has_hdr is settled. fds: as many open vhost devices, which are
 * v's from then on, or NULL: /dev/vhost-net is opened for each. own: be their owner now, so that a
 * device that another process owns is an error here. 0, or -errno with advice in err, and then fds are
 * as they were. */
int vhost_net_open(struct vhost_net **v, struct net_backend *net, unsigned int n, const int *fds,
		   bool own, struct err *err);
void vhost_net_close(struct vhost_net *v); /* NULL is fine */

/* The virtio feature bits that it can do for net: net->ring_features. */
uint64_t vhost_net_features(const struct vhost_net *v);

/* Of net/net.h: rings_prepare(), ring_start(), ring_stop(), ring_set_call(). */
int vhost_net_prepare(struct vhost_net *v, const struct mem *mem, uint64_t features);
int vhost_net_start(struct vhost_net *v, struct net_queue *q, enum net_ring_index which,
		    const struct net_ring *ring);
void vhost_net_stop(struct vhost_net *v, struct net_queue *q, enum net_ring_index which,
		    struct net_ring *ring);
void vhost_net_set_call(struct vhost_net *v, struct net_queue *q, enum net_ring_index which,
			int call_fd);

/* Only the rings of pairs [0, n) move frames from now on (the first one, to begin with); those of the others stay
 * where they are, and go on there. A TAP's queue that is detached can't be served: call it before one is
 * detached, and after one was attached. 0 or -errno. */
int vhost_net_set_queues(struct vhost_net *v, unsigned int n);

#endif
