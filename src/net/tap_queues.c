/*
 * TAPs and MacVTaps with several queues: a file descriptor each, of which the kernel uses those that are
 * attached. Source: Linux Documentation/networking/tuntap.rst §3.3.
 *
 * The kernel spreads received flows over the attached queues: a flow that the guest has sent on queue i
 * comes back on queue i, others by their hash. A queue that is detached loses what waits in it, and
 * answers every read and write with an error.
 *
 * Threads: the control thread, and where frames move, the one of the front end that sets how many
 * queues they move on.
 */
#include <errno.h>
#include <string.h>
#include <unistd.h>

#include "net/tap.h"
#include "net/vhost_net.h"

int tap_set_queues(struct net_backend *net, unsigned int n)
{
	struct tap *tap = (struct tap *)net;
	int r = 0;

	/* vhost takes no queue that is detached, and is to let go of one first. */
	if (tap->vhost_net && n < tap->n_active)
		r = vhost_net_set_queues(tap->vhost_net, n);
	while (!r && tap->n_active > n) {
		r = tapdev_use_queue(tap->queue[tap->n_active - 1].fd, false);
		tap->n_active -= !r;
	}
	while (!r && tap->n_active < n) {
		r = tapdev_use_queue(tap->queue[tap->n_active].fd, true);
		tap->n_active += !r;
	}
	if (!r && tap->vhost_net)
		r = vhost_net_set_queues(tap->vhost_net, n);
	return r;
}

int tap_fds_of(const char *key, const char *value, int *fds, unsigned int max, struct err *err)
{
	const char *p = value;
	unsigned int n = 0;

	do {
		size_t len = strcspn(p, ":");
		char text[12] = "";
		uint64_t fd;

		if (len < sizeof(text))
			memcpy(text, p, len);
		if (!*text || opt_parse_u64(text, &fd) || fd > INT_MAX)
			return err_set(err, -EINVAL, "%s=%s: not the number%s of %s", key, value,
				       strchr(value, ':') ? "s" : "",
				       strchr(value, ':') ? "open file descriptors"
							  : "a file descriptor");
		for (unsigned int i = 0; i < n; i++)
			if (fds[i] == (int)fd)
				return err_set(err, -EINVAL, "%s=%s: %s is there twice", key, value,
					       text);
		if (n == max)
			return err_set(err, -EINVAL, "%s=%s: %u at most", key, value, max);
		fds[n++] = (int)fd;
		p += len;
	} while (*p++);
	return (int)n;
}

int tap_fds_adopt(struct tap *tap, struct err *err)
{
	const char *key = tap->fd ? "fd" : "fds";
	int fds[NET_QUEUES_MAX] = {0};
	int n = tap_fds_of(key, tap->fd ? tap->fd : tap->fds, fds, tap->fd ? 1 : NET_QUEUES_MAX,
			   err);

	for (int i = 0; i < n; i++) {
		struct tapdev other;
		int r = tapdev_adopt(i ? &other : &tap->dev, fds[i], err);

		if (r)
			return r;
		if (i && strcmp(other.name, tap->dev.name) != 0)
			return err_set(err, -EINVAL, "fds=%s: %d is a queue of %s and %d one of %s",
				       tap->fds, fds[0], tap->dev.name, fds[i], other.name);
		if (i && other.vnet_hdr != tap->dev.vnet_hdr)
			return err_set(err, -EINVAL,
				       "fds=%s: some of them were opened with IFF_VNET_HDR, and "
				       "some without",
				       tap->fds);
		tap->queue[i].fd = fds[i];
	}
	if (n < 0)
		return n;
	tap->n_fds = (unsigned int)n;
	return 0;
}

int tap_fds_add(struct tap *tap, struct err *err)
{
	for (tap->n_fds = 1; tap->n_fds < tap->queues; tap->n_fds++) {
		int fd = tapdev_add_queue(&tap->dev, err);

		if (fd < 0)
			return fd;
		tap->queue[tap->n_fds].fd = fd;
	}
	return 0;
}

void tap_fds_close(struct tap *tap)
{
	for (unsigned int i = 1; i < tap->n_fds; i++)
		close(tap->queue[i].fd);
	tap->n_fds = 0;
}
