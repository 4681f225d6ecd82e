/*
 * TAP and MacVTap with vhost-net: the options vhost, vhostfd, vhostfds and vhostforce, and the ring operations of
 * net/net.h.
 *
 *	vhost=on        the kernel moves the frames of virtio cards whose driver uses MSI-X; else vireo does
 *	vhostforce=on   also where it uses none; what vhost doesn't know isn't offered to the guest
 *	vhost=off       vireo does
 *	none of them    on where it works, and where it doesn't, nothing is said
 */
#include <errno.h>

#include "net/tap.h"
#include "net/vhost_net.h"

static struct tap *tap_of(struct net_backend *net)
{
	return (struct tap *)net;
}

/* ---- the rings: net/net.h ---- */

int tap_rings_prepare(struct net_backend *net, const struct mem *mem, uint64_t features)
{
	return vhost_net_prepare(tap_of(net)->vhost_net, mem, features);
}

int tap_ring_start(struct net_queue *q, enum net_ring_index which, const struct net_ring *ring)
{
	return vhost_net_start(tap_of(q->net)->vhost_net, q, which, ring);
}

void tap_ring_stop(struct net_queue *q, enum net_ring_index which, struct net_ring *ring)
{
	vhost_net_stop(tap_of(q->net)->vhost_net, q, which, ring);
}

void tap_ring_set_call(struct net_queue *q, enum net_ring_index which, int call_fd)
{
	vhost_net_set_call(tap_of(q->net)->vhost_net, q, which, call_fd);
}

/* ---- set-up ---- */

static bool tap_vhost_asked(const struct tap *tap)
{
	return tap->vhost == OPT_ON || tap->vhostforce || tap->vhostfd || tap->vhostfds;
}

int tap_vhost_check(struct tap *tap, struct err *err)
{
	const char *other = tap->vhostforce ? "vhostforce=on"
			    : tap->vhostfd  ? "vhostfd="
			    : tap->vhostfds ? "vhostfds="
					    : NULL;

	if (tap->vhost == OPT_OFF && other)
		return err_set(err, -EINVAL, "vhost=off and %s contradict each other", other);
	if (tap->vhostfd && tap->vhostfds)
		return err_set(err, -EINVAL,
			       "vhostfd= and vhostfds= are the same thing twice "
			       "(vhostfd= for one queue, vhostfds= for several)");
	return 0;
}

/* vhostfd=N or vhostfds=N:N:..., one for each queue. */
static int tap_vhost_numbers(const struct tap *tap, int *fds, struct err *err)
{
	const char *key = tap->vhostfd ? "vhostfd" : "vhostfds";
	const char *value = tap->vhostfd ? tap->vhostfd : tap->vhostfds;
	int n = tap_fds_of(key, value, fds, NET_QUEUES_MAX, err), want = (int)tap->net.n_queues;

	if (n < 0 || n == want)
		return n < 0 ? n : 0;
	return err_set(err, -EINVAL, "%s=%s: %d file descriptor%s for %d queue%s%s", key, value, n,
		       n == 1 ? "" : "s", want, want == 1 ? "" : "s",
		       tap->vhostfd ? " (vhostfds=N:N:...)" : "");
}

int tap_vhost_open(struct tap *tap, struct err *err)
{
	struct net_backend *net = &tap->net;
	const char *given = tap->vhostfd ? tap->vhostfd : tap->vhostfds;
	bool asked = tap_vhost_asked(tap);
	int fds[NET_QUEUES_MAX], r = 0;
	struct err quiet = {0};

	if (tap->vhost == OPT_OFF || (!asked && !net->host))
		return 0;
	if (!net->host)
		return err_set(err, -ENOTSUP, "vhost=on needs a control thread");
	if (given)
		r = tap_vhost_numbers(tap, fds, err);
	if (!r)
		r = vhost_net_open(&tap->vhost_net, net, net->n_queues, given ? fds : NULL, asked,
				   asked ? err : &quiet);
	if (r)
		return asked ? r : 0;
	net->ring_features = vhost_net_features(tap->vhost_net);
	net->rings_asked = asked;
	net->rings_forced = tap->vhostforce;
	return 0;
}

void tap_vhost_close(struct tap *tap)
{
	vhost_net_close(tap->vhost_net);
	tap->vhost_net = NULL;
	tap->net.ring_features = 0;
}
