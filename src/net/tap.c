/*
 * -netdev tap: frames through a TAP interface, or a MacVTap's file descriptor.
 *
 * A frame is one write() or read() on the file descriptor, straight from and into guest memory,
 * with a struct net_hdr in front where IFF_VNET_HDR is on; the kernel checks the header and does
 * checksums and segmentation. sendmmsg() doesn't apply to a TAP, and io_uring in batches of 64
 * measured no faster than one call per frame.
 *
 * Measured on a 64-byte frame, ns per call: write 620, writev of 1 piece no different, of 2 pieces
 * 700; read 430, readv 500 with 1 or 2 pieces, 575 with 44. So: no more pieces than needed.
 *
 * An interface that is down (EIO), deleted (EBADFD) or that refuses a frame (EINVAL and others)
 * costs that frame. What vireo makes is not persistent: the interface goes when the file descriptor
 * does.
 *
 * Threads: open and close on the control thread; send and recv on the queue's; set_offloads on
 * either, while no frame moves.
 */
#include <errno.h>
#include <limits.h>
#include <linux/if_tun.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "base/log.h"
#include "net/tap.h"

#ifndef TUN_F_USO4 /* Linux 6.2 */
#define TUN_F_USO4 0x20
#define TUN_F_USO6 0x40
#endif

/* With the link down, frames thrown away at most before others of the loop get their turn. */
#define TAP_DISCARD_MAX 64
/* Bytes of each that are read: as many as the longest header, or the kernel gives an error for it. */
#define TAP_SCRAP 64

static const struct opt_desc tap_opts[] = {
	TAP_OPT(ifname, OPT_STRING,
		.help = "name of the interface, made if it isn't there; none: the kernel picks "
			"one"),
	TAP_OPT(fd, OPT_STRING, .help = "number of an open file descriptor of a TAP or MacVTap"),
	TAP_OPT(fds, OPT_STRING, .help = "the same for its queues: N:N:..."),
	TAP_OPT(br, OPT_STRING, .help = "put the interface into this bridge, and set it up"),
	TAP_OPT(script, OPT_STRING, .help = "program run with the interface's name; no = none",
		.def = "no"),
	TAP_OPT(downscript, OPT_STRING, .help = "the same, at the end", .def = "no"),
	TAP_COMMON_OPTS,
	{.name = NULL, .type = OPT_END},
};

static struct tap *tap_of(struct net_backend *net)
{
	return (struct tap *)net;
}

/* ---- data path ---- */

static int tap_send_failed(struct tap_queue *tq, int code)
{
	struct net_counters *c = &tq->q.counters;

	switch (code) {
	case EAGAIN:
	case EINTR:
		counter_add(&c->tx_blocked, 1);
		return -EAGAIN;
	case EIO:
	case EBADFD:
	case ENODEV:
	case ENOLINK:
	case ENETDOWN:
		counter_add(&c->tx_dropped_down, 1);
		log_limited(&tq->log, "%s: interface %s is %s: frames are lost", tq->q.net->id,
			    tap_of(tq->q.net)->dev.name, code == EIO ? "down" : "gone");
		return 0;
	default:
		counter_add(&c->tx_dropped_refused, 1);
		return 0;
	}
}

int tap_send(struct net_queue *q, const struct iovec *iov, int n)
{
	struct tap_queue *tq = (struct tap_queue *)q;
	ssize_t r;

	if (net_link_is_down(q->net)) {
		counter_add(&q->counters.tx_dropped_down, 1);
		return 0;
	}
	r = n == 1 ? write(tq->fd, iov->iov_base, iov->iov_len) : writev(tq->fd, iov, n);
	counter_add(&q->counters.tx_syscalls, 1);
	if (r < 0)
		return tap_send_failed(tq, errno);
	counter_add(&q->counters.tx_packets, 1);
	counter_add(&q->counters.tx_bytes, (uint64_t)r - q->net->hdr_len);
	return 0;
}

static ssize_t tap_recv_failed(struct tap_queue *tq, int code)
{
	if (code == EAGAIN || code == EINTR)
		return -EAGAIN;
	if (code == EBADFD || code == ENODEV) {
		if (!tq->gone)
			log_warn("%s: interface %s is gone: no frames any more", tq->q.net->id,
				 tap_of(tq->q.net)->dev.name);
		tq->gone = true;
		return -ENODEV;
	}
	counter_add(&tq->q.counters.rx_dropped_error, 1);
	return -code;
}

/* Link down: what came in meanwhile is thrown away. A cut frame is gone just the same. */
static ssize_t tap_discard(struct tap_queue *tq)
{
	uint8_t scrap[TAP_SCRAP];
	ssize_t r = 0;

	for (int i = 0; i < TAP_DISCARD_MAX; i++) {
		r = read(tq->fd, scrap, sizeof(scrap));
		counter_add(&tq->q.counters.rx_syscalls, 1);
		if (r < 0)
			return tap_recv_failed(tq, errno);
		counter_add(&tq->q.counters.rx_dropped_down, 1);
	}
	return -EAGAIN;
}

ssize_t tap_recv(struct net_queue *q, const struct iovec *iov, int n)
{
	struct tap_queue *tq = (struct tap_queue *)q;
	ssize_t r;

	if (net_link_is_down(q->net))
		return tap_discard(tq);
	r = n == 1 ? read(tq->fd, iov->iov_base, iov->iov_len) : readv(tq->fd, iov, n);
	counter_add(&q->counters.rx_syscalls, 1);
	if (r < 0)
		return tap_recv_failed(tq, errno);
	counter_add(&q->counters.rx_packets, 1);
	counter_add(&q->counters.rx_bytes, (uint64_t)r - q->net->hdr_len);
	return r;
}

int tap_fd(struct net_queue *q)
{
	return ((struct tap_queue *)q)->fd;
}

/* ---- set-up ---- */

/* 18: Ethernet header and a VLAN tag. */
static void tap_set_mtu(struct net_backend *net, unsigned int mtu)
{
	net_set_frame_max(net, mtu && mtu < NET_FRAME_MAX - 18 ? mtu + 18 : NET_FRAME_MAX);
}

int tap_set_offloads(struct net_backend *net, unsigned int offloads, unsigned int hdr_len)
{
	struct tap *tap = tap_of(net);
	unsigned int mtu = tapdev_mtu(&tap->dev);
	unsigned long flags = 0;
	int size = (int)hdr_len;

	tap_set_mtu(net, mtu);
	if (!net->has_hdr)
		return offloads || hdr_len ? -EINVAL : 0;
	if (offloads & ~net->offloads_in)
		return -EINVAL;
	if (offloads & NET_OFFLOAD_CSUM)
		flags |= TUN_F_CSUM;
	if (offloads & NET_OFFLOAD_TSO4)
		flags |= TUN_F_TSO4;
	if (offloads & NET_OFFLOAD_TSO6)
		flags |= TUN_F_TSO6;
	if (offloads & NET_OFFLOAD_ECN)
		flags |= TUN_F_TSO_ECN;
	if (offloads & NET_OFFLOAD_UFO)
		flags |= TUN_F_UFO;
	if (offloads & NET_OFFLOAD_USO)
		flags |= TUN_F_USO4 | TUN_F_USO6;
	/* Of a MacVTap each queue has its own header; a TAP's queue that is detached has nothing to say. */
	for (unsigned int i = 0; i < tap->n_fds; i++)
		if (ioctl(tap->queue[i].fd, TUNSETVNETHDRSZ, &size) && (!i || errno != EBADFD))
			return -errno;
	/* Other queues may be moving frames, but not when it changes. */
	if (net->hdr_len != hdr_len)
		__atomic_store_n(&net->hdr_len, hdr_len, __ATOMIC_RELAXED); /* net_info() */
	return ioctl(tap->dev.fd, TUNSETOFFLOAD, flags) ? -errno : 0;
}

/* What the kernel behind the file descriptor takes; leaves all of it off. */
static unsigned int tap_probe_offloads(int fd)
{
	static const unsigned long base = TUN_F_CSUM | TUN_F_TSO4 | TUN_F_TSO6 | TUN_F_TSO_ECN;
	unsigned int offloads = 0;

	if (!ioctl(fd, TUNSETOFFLOAD, base))
		offloads = NET_OFFLOAD_CSUM | NET_OFFLOAD_TSO4 | NET_OFFLOAD_TSO6 | NET_OFFLOAD_ECN;
	if (offloads && !ioctl(fd, TUNSETOFFLOAD, base | TUN_F_UFO))
		offloads |= NET_OFFLOAD_UFO;
	if (offloads && !ioctl(fd, TUNSETOFFLOAD, base | TUN_F_USO4 | TUN_F_USO6))
		offloads |= NET_OFFLOAD_USO;
	ioctl(fd, TUNSETOFFLOAD, 0UL);
	return offloads;
}

static bool tap_script_given(const char *script)
{
	return script && *script && strcmp(script, "no") != 0;
}

/* Of the options that all kinds have. */
int tap_check_common(struct tap *tap, struct err *err)
{
	if (tap->queues != 1 && (tap->fd || tap->fds))
		return err_set(err, -EINVAL,
			       "queues=%u: how many queues there are is said by fds=N:N:...",
			       tap->queues);
	return tap_vhost_check(tap, err);
}

static int tap_check_options(struct tap *tap, struct err *err)
{
	if ((tap->fd || tap->fds) && (tap->ifname || tap->br || tap_script_given(tap->script) ||
				      tap_script_given(tap->downscript)))
		return err_set(err, -EINVAL,
			       "fd%s= stands alone: who opened it names, bridges and sets up the "
			       "interface (no ifname=, br=, script=, downscript=)",
			       tap->fds ? "s" : "");
	if (tap->fd && tap->fds)
		return err_set(err, -EINVAL,
			       "fd= and fds= are the same thing twice (fd= for one queue, fds= for "
			       "several)");
	return 0;
}

static int tap_open_fd(struct tap *tap, struct err *err)
{
	int r = tap_fds_adopt(tap, err);

	if (!r && tap->vnet_hdr != OPT_AUTO && (tap->vnet_hdr == OPT_ON) != tap->dev.vnet_hdr)
		r = err_set(err, -EINVAL, "vnet_hdr=%s: fd=%s was opened with%s IFF_VNET_HDR",
			    tap->vnet_hdr == OPT_ON ? "on" : "off", tap->fd ? tap->fd : tap->fds,
			    tap->vnet_hdr == OPT_ON ? "out" : "");
	if (r) {
		tap->n_fds = 0;
		tap->dev.fd = -1;
	}
	return r;
}

static int tap_open_name(struct tap *tap, struct err *err)
{
	int fd = tapdev_open_control(err), r;
	bool can;

	if (fd < 0)
		return fd;
	can = tapdev_has_vnet_hdr(fd);
	if (tap->vnet_hdr == OPT_ON && !can) {
		close(fd);
		return err_set(err, -ENOTSUP,
			       "vnet_hdr=on: this host's TAP has no IFF_VNET_HDR (vnet_hdr=off)");
	}
	if (tap->queues == 1)
		return tapdev_attach(&tap->dev, fd, tap->ifname, can && tap->vnet_hdr != OPT_OFF,
				     err);
	r = tapdev_attach_multi(&tap->dev, fd, tap->ifname, can && tap->vnet_hdr != OPT_OFF, err);
	if (r)
		return r;
	r = tap_fds_add(tap, err);
	if (r)
		tap_close(&tap->net);
	return r;
}

void tap_close(struct net_backend *net)
{
	struct tap *tap = tap_of(net);
	struct err err = {0};

	if (tap->dev.fd < 0)
		return;
	netlink_unwatch(&tap->watch);
	tap_vhost_close(tap);
	if (tap->script_ran && tap_script_given(tap->downscript) &&
	    tapdev_script(&tap->dev, tap->downscript, &err))
		log_warn("%s: downscript: %s", net->id, err.msg);
	if (tap->bridged && !tap->dev.created)
		tapdev_bridge_remove(&tap->dev, tap->br);
	tap_fds_close(tap);
	close(tap->dev.fd);
	tap->dev.fd = -1;
}

/* Everything after the file descriptor is there. */
static int tap_set_up(struct tap *tap, struct err *err)
{
	struct net_backend *net = &tap->net;
	int sndbuf = tap->sndbuf ? (int)tap->sndbuf : INT_MAX;
	int r;

	/* INT_MAX is also what lets the kernel build short frames in place. */
	for (unsigned int i = 0; i < tap->n_fds; i++)
		if (ioctl(tap->queue[i].fd, TUNSETSNDBUF, &sndbuf) && tap->sndbuf)
			return err_errno(err, "sndbuf=%d", sndbuf);
	net->has_hdr = tap->dev.vnet_hdr;
	if (net->has_hdr)
		net->offloads_in = net->offloads_out = tap_probe_offloads(tap->dev.fd);
	if (tap->br && !tap->bridged) {
		r = tapdev_bridge_add(&tap->dev, tap->br, err);
		if (r)
			return r;
		tap->bridged = true;
	}
	if (tap_script_given(tap->script)) {
		r = tapdev_script(&tap->dev, tap->script, err);
		if (r)
			return err_prefix(err, "script");
	}
	tap->script_ran = true;
	r = tap_set_offloads(net, 0, net->has_hdr ? offsetof(struct net_hdr, num_buffers) : 0);
	if (r) {
		errno = -r;
		return err_errno(err, "interface %s: setting it up", tap->dev.name);
	}
	return 0;
}

void tap_changed(struct netlink_watch *w, const struct netlink_link *link)
{
	struct tap *tap = w->opaque;

	if (!link) {
		tap->bridged = false;
		return; /* whoever uses the file descriptor finds out and says so */
	}
	tap_set_mtu(&tap->net, link->mtu);
	if (tap->bridged && link->master != tap->bridge) {
		log_warn("%s: interface %s is no longer in the bridge %s: nothing behind it is "
			 "reached (ip link set %s master BRIDGE)",
			 tap->net.id, tap->dev.name, tap->br, tap->dev.name);
		tap->bridged = false;
	}
}

/* Without it all goes on, but the host's changes aren't noticed. */
static void tap_watch(struct tap *tap)
{
	struct netlink_link link;

	if (!tap->net.host || !tap->dev.index)
		return;
	if (tap->bridged && !netlink_get(NULL, tap->dev.index, &link, NULL))
		tap->bridge = link.master;
	tap->watch.index = tap->dev.index;
	tap->watch.opaque = tap;
	if (!tap->watch.changed)
		tap->watch.changed = tap_changed;
	netlink_watch(&tap->watch, tap->net.host->control, NULL);
}

/* What waits for the guest is the interface's output for a TAP, and its input for a MacVTap. */
static int tap_dropped(const struct tap *tap, uint64_t *dropped)
{
	struct netlink_link link;
	int r = tap->dev.index ? netlink_get_stats(tap->dev.index, &link, NULL) : -ENODEV;

	if (!r)
		*dropped = strcmp(link.kind, "macvtap") != 0 ? link.tx_dropped : link.rx_dropped;
	return r;
}

int tap_start(struct tap *tap, struct err *err)
{
	struct net_backend *net = &tap->net;
	int r;

	tap->queue[0].fd = tap->dev.fd;
	if (!tap->n_fds)
		tap->n_fds = 1;
	tap->n_active = net->n_queues = tap->n_fds;
	for (unsigned int i = 0; i < tap->n_fds; i++) {
		tap->queue[i].q.net = net;
		tap->queue[i].q.index = i;
		net->queue[i] = &tap->queue[i].q;
	}
	r = tap_set_up(tap, err);
	if (!r)
		r = tap_vhost_open(tap, err);
	if (!r && tap_set_queues(net, 1)) /* until somebody wants more */
		r = err_set(err, -EINVAL, "interface %s is none with several queues (multi_queue)",
			    tap->dev.name);
	if (r) {
		tap_close(net);
		return r;
	}
	tap_dropped(tap, &tap->dropped_before);
	tap_watch(tap);
	return 0;
}

static int tap_open(struct net_backend *net, struct err *err)
{
	struct tap *tap = tap_of(net);
	int r;

	tap->dev.fd = -1;
	r = tap_check_options(tap, err);
	if (!r)
		r = tap_check_common(tap, err);
	if (!r)
		r = tap->fd || tap->fds ? tap_open_fd(tap, err) : tap_open_name(tap, err);
	if (r)
		return r;
	return tap_start(tap, err);
}

/* A MacVTap by fd= is somebody else's, but one with another address is a riddle to whoever runs it. */
static int tap_set_mac(struct net_backend *net, const uint8_t mac[6], struct err *err)
{
	const struct tapdev *dev = &tap_of(net)->dev;
	struct netlink_link link;

	if (err && dev->index && !netlink_get(NULL, dev->index, &link, NULL) &&
	    !strcmp(link.kind, "macvtap") && memcmp(link.mac, mac, 6) != 0)
		log_warn("%s: the card's address is not that of %s, which gets no frames for it "
			 "(mac=%02x:%02x:%02x:%02x:%02x:%02x on the card)",
			 net->id, dev->name, link.mac[0], link.mac[1], link.mac[2], link.mac[3],
			 link.mac[4], link.mac[5]);
	return 0;
}

void tap_info(struct net_backend *net, json_t *object)
{
	struct tap *tap = tap_of(net);

	json_object_set_new(object, "ifname", json_string(tap->dev.name));
	json_object_set_new(object, "vnet-hdr", json_boolean(net->has_hdr));
	if (tap->br)
		json_object_set_new(object, "br", json_string(tap->br));
}

void tap_counters(struct net_backend *net, counter_visit *visit, void *opaque)
{
	static const struct counter_desc table[] = {
		{"rx-dropped-full", 0,
		 "lost: the guest took them too slowly, and the interface's queue was full"},
		{.name = NULL},
	};
	const struct tap *tap = tap_of(net);
	struct counter full;

	if (tap_dropped(tap, &full.v))
		return;
	full.v -= tap->dropped_before;
	visit(opaque, net->id, "interface", table, &full);
}

static const struct net_backend_ops tap_ops = {
	.name = "tap",
	.help = "a TAP interface of the host",
	.opts = tap_opts,
	.size = sizeof(struct tap),
	.open = tap_open,
	.close = tap_close,
	.info = tap_info,
	.set_mac = tap_set_mac,
	TAP_COMMON_OPS,
};
NET_BACKEND(tap_ops);
