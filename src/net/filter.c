/*
 * Filters in front of a back end: see filter.h.
 *
 *	front end -> net->ops: struct filtered -> each filter's frame()
 *	                              |
 *	                              v
 *	                         the back end's own operations
 *
 * Added and removed on the control thread while no queue is in use; frames pass on the queues' threads.
 */
#include "net/filter.h"

#include <errno.h>
#include <stdlib.h>

#include "base/iov.h"
#include "base/log.h"

/* Where net->ops of a back end with filters points to. */
struct filtered {
	struct net_backend_ops ops; /* first */
	const struct net_backend_ops *inner;
	uint64_t ring_features;
	bool rings_forced, rings_asked;
	struct net_filter *first;
};

static struct filtered *filtered_of(const struct net_backend *net)
{
	return (struct filtered *)net->ops;
}

static void filter_frame(const struct net_queue *q, bool sent, const struct iovec *iov, int n,
			 size_t bytes)
{
	size_t skip = q->net->hdr_len;

	for (struct net_filter *f = filtered_of(q->net)->first; f && bytes > skip; f = f->next)
		f->frame(f, sent, iov, (size_t)n, skip, bytes - skip);
}

static int filter_send(struct net_queue *q, const struct iovec *iov, int n)
{
	bool down = net_link_is_down(q->net);
	int r = filtered_of(q->net)->inner->send(q, iov, n);

	if (!r && !down)
		filter_frame(q, true, iov, n, iov_size(iov, (size_t)n));
	return r;
}

static ssize_t filter_recv(struct net_queue *q, const struct iovec *iov, int n)
{
	ssize_t r = filtered_of(q->net)->inner->recv(q, iov, n);

	if (r > 0)
		filter_frame(q, false, iov, n, (size_t)r);
	return r;
}

static int filter_insert(struct net_backend *net, struct err *err)
{
	struct filtered *fd;

	if (net->rings_only)
		return err_set(
			err, -ENOTSUP,
			"frames of a netdev of type %s pass vireo by, so that none of them can be "
			"seen (look at them where its peer is)",
			net->ops->name);
	fd = calloc(1, sizeof(*fd));
	if (!fd)
		return err_set(err, -ENOMEM, "out of memory");
	fd->inner = net->ops;
	fd->ops = *net->ops;
	fd->ops.send = filter_send;
	fd->ops.recv = filter_recv;
	fd->ring_features = net->ring_features;
	fd->rings_forced = net->rings_forced;
	fd->rings_asked = net->rings_asked;
	if (net->ops->ring_start && net->ring_features)
		log_warn(
			"%s: its frames are to be seen, so the kernel doesn't move them (no vhost)",
			net->id);
	fd->ops.rings_prepare = NULL;
	fd->ops.ring_start = NULL;
	fd->ops.ring_stop = NULL;
	fd->ops.ring_set_call = NULL;
	net->ring_features = 0;
	net->rings_forced = net->rings_asked = false;
	net->filtered = true;
	net->ops = &fd->ops;
	return 0;
}

int net_filter_add(struct net_backend *net, struct net_filter *f, struct err *err)
{
	struct net_filter **at;
	int r = net->filtered ? 0 : filter_insert(net, err);

	if (r)
		return r;
	for (at = &filtered_of(net)->first; *at; at = &(*at)->next)
		;
	f->next = NULL;
	*at = f;
	return 0;
}

void net_filter_remove(struct net_backend *net, struct net_filter *f)
{
	struct filtered *fd = filtered_of(net);
	struct net_filter **at;

	for (at = &fd->first; *at; at = &(*at)->next) {
		if (*at == f) {
			*at = f->next;
			break;
		}
	}
	if (fd->first)
		return;
	net->ops = fd->inner;
	net->ring_features = fd->ring_features;
	net->rings_forced = fd->rings_forced;
	net->rings_asked = fd->rings_asked;
	net->filtered = false;
	free(fd);
}
