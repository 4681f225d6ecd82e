/*
 * Filters: who looks at each frame that passes a back end, both ways, on any front end.
 *
 * A filter stands between front end and back end by taking the place of the back end's operations: with no
 * filter there is nothing on the way, not even a branch. What serves the guest's rings past vireo (vhost)
 * can't be looked at: a back end with a filter has no ring_start().
 */
#ifndef VIREO_NET_FILTER_H
#define VIREO_NET_FILTER_H

#include <stdbool.h>
#include <stddef.h>
#include <sys/uio.h>

#include "base/err.h"
#include "net/net.h"

struct net_filter {
	/* A frame of len bytes, behind its header and as it passes: checksums and segmentation may be left
	 * to do. It starts `skip` bytes into the pieces. sent: by the guest. Thread of the queue; several
	 * queues at a time. The memory is the guest's, which may write to it. */
	void (*frame)(struct net_filter *f, bool sent, const struct iovec *iov, size_t n,
		      size_t skip, size_t len);
	struct net_filter *next; /* filter.c's */
};

/* While no queue is in use: control thread, before front ends take the back end, after they have left. 0, or
 * -errno with err set. Removed before the back end is destroyed. */
int net_filter_add(struct net_backend *net, struct net_filter *f, struct err *err);
void net_filter_remove(struct net_backend *net, struct net_filter *f);

#endif
