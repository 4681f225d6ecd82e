/*
 * What the back ends have in common whose frames pass through a TAP's file descriptor: -netdev tap,
 * bridge (a helper program makes the TAP) and macvtap. They differ in how they come by it.
 *
 * The struct of such a back end starts with struct tap, its options have TAP_COMMON_OPTS among them, its
 * operations TAP_COMMON_OPS. Its open fills tap->dev and ends with tap_start(); its close ends with
 * tap_close().
 */
#ifndef VIREO_NET_TAP_H
#define VIREO_NET_TAP_H

#include <limits.h>

#include "base/log.h"
#include "net/net.h"
#include "net/netlink.h"
#include "net/tapdev.h"

struct tap_queue {
	struct net_queue q; /* first */
	int fd;
	bool gone; /* the interface was deleted */
	struct log_limit log;
};

struct tap {
	struct net_backend net; /* first */
	struct tap_queue queue[NET_QUEUES_MAX];
	unsigned int n_fds;    /* of queue[]: open; [0].fd is dev.fd */
	unsigned int n_active; /* of these: carry frames */
	struct tapdev dev;
	struct netlink_watch watch; /* the interface's changes, where they can be watched */
	bool bridged;
	int bridge; /* its index, as long as the interface is in it */
	bool script_ran;
	struct vhost_net *vhost_net; /* NULL: vireo moves the frames */
	uint64_t dropped_before;     /* by the interface's queues, until it became ours */
	/* options */
	char *ifname, *fd, *fds, *br, *script, *downscript;
	int vnet_hdr; /* enum opt_tri */
	uint64_t sndbuf;
	int vhost; /* enum opt_tri */
	char *vhostfd, *vhostfds;
	bool vhostforce;
	uint32_t queues;
};

/* A row of an option table, for a field of struct tap. */
#define TAP_OPT(field, kind, ...)                                                                \
	{                                                                                        \
		.name = #field, .type = kind, .offset = offsetof(struct tap, field), __VA_ARGS__ \
	}

#define TAP_COMMON_OPTS                                                                        \
	TAP_OPT(vnet_hdr, OPT_TRI, .def = "auto",                                              \
		.help = "checksums and large frames cross as they are; auto = where the "      \
			"host can"),                                                           \
		TAP_OPT(sndbuf, OPT_SIZE, .max = INT_MAX,                                      \
			.help = "bytes in flight towards the host; 0 = no limit, which never " \
				"drops"),                                                      \
		TAP_OPT(vhost, OPT_TRI, .def = "auto",                                         \
			.help = "the host's kernel moves the frames of virtio cards; auto = "  \
				"where it can"),                                               \
		TAP_OPT(vhostfd, OPT_STRING,                                                   \
			.help = "number of an open file descriptor of /dev/vhost-net"),        \
		TAP_OPT(vhostfds, OPT_STRING, .help = "the same for several queues: N:N:..."), \
		TAP_OPT(vhostforce, OPT_BOOL, .def = "off",                                    \
			.help = "on: vhost=on, also for guests without MSI-X"),                \
		TAP_OPT(queues, OPT_U32, .def = "1", .min = 1, .max = NET_QUEUES_MAX,          \
			.help = "queues, for as many pairs of a virtio card with mq=on")

#define TAP_COMMON_OPS                                                                      \
	.send = tap_send, .recv = tap_recv, .fd = tap_fd, .set_offloads = tap_set_offloads, \
	.set_queues = tap_set_queues, .counters = tap_counters,                             \
	.rings_prepare = tap_rings_prepare, .ring_start = tap_ring_start,                   \
	.ring_stop = tap_ring_stop, .ring_set_call = tap_ring_set_call

/* What tap_start() sets as watch.changed unless the back end has one of its own, which then calls this:
 * takes over a new MTU, says that the bridge is gone. */
void tap_changed(struct netlink_watch *w, const struct netlink_link *link);

/* The options of TAP_COMMON_OPTS, before anything is made. */
int tap_check_common(struct tap *tap, struct err *err);

/* dev is there, and with several queues, queue[1..].fd and n_fds: sets up and describes the back end.
 * On failure everything is closed. */
int tap_start(struct tap *tap, struct err *err);

void tap_close(struct net_backend *net);
int tap_send(struct net_queue *q, const struct iovec *iov, int n);
ssize_t tap_recv(struct net_queue *q, const struct iovec *iov, int n);
int tap_fd(struct net_queue *q);
int tap_set_offloads(struct net_backend *net, unsigned int offloads, unsigned int hdr_len);
void tap_info(struct net_backend *net, json_t *object);
/* What the kernel has dropped because a queue of the interface was full: it counts for all of them together, and also
 * where vhost reads them. */
void tap_counters(struct net_backend *net, counter_visit *visit, void *opaque);

/* tap_queues.c. _set_queues: of net/net.h, as long as the host's interface is there. _fds_of: the numbers
 * of key=N:N:..., up to max of them; returns how many there were, or -errno. _fds_close: all but dev.fd. */
int tap_set_queues(struct net_backend *net, unsigned int n);
int tap_fds_of(const char *key, const char *value, int *fds, unsigned int max, struct err *err);
int tap_fds_adopt(struct tap *tap, struct err *err);
int tap_fds_add(struct tap *tap, struct err *err);
void tap_fds_close(struct tap *tap);

/* tap_vhost.c. _check: the options' sense; _open: when queues and header are there, vhost_net stays NULL
 * where it isn't used; _close: before the queues go. */
int tap_vhost_check(struct tap *tap, struct err *err);
int tap_vhost_open(struct tap *tap, struct err *err);
void tap_vhost_close(struct tap *tap);
int tap_rings_prepare(struct net_backend *net, const struct mem *mem, uint64_t features);
int tap_ring_start(struct net_queue *q, enum net_ring_index which, const struct net_ring *ring);
void tap_ring_stop(struct net_queue *q, enum net_ring_index which, struct net_ring *ring);
void tap_ring_set_call(struct net_queue *q, enum net_ring_index which, int call_fd);

#endif
