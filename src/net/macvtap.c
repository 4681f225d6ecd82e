/*
 * -netdev macvtap: a MacVTap on an interface of the host's, made for the guest and taken away again.
 *
 *	guest's card --- /dev/tapN --- macvtap0 --+-- eth0 --- network
 *	guest's card --- /dev/tapM --- macvtap1 --+
 *
 * It is TAP and bridge in one: the kernel receives for each macvtap's address on the parent, and hands
 * its frames to the character device, which has a TAP's ioctls. What passes through that is tap.c's.
 * Source: <linux/if_link.h> (MACVLAN_MODE_*); macvlan.c, macvtap.c and tap.c of Linux 6.1 for what becomes of
 * frames and for what a character device answers.
 *
 * Addresses: the parent gives a macvtap only frames for its address, and all multicast
 * (IFF_ALLMULTI: the guest's own card filters). So the macvtap has the address of the guest's card, and
 * gets a new one when the driver sets one, unless mac= pins it. The kernel refuses an address that the
 * parent or another macvtap on it has.
 *
 * The cable: in as long as macvtap and parent are up and have carrier, which netlink tells. A parent
 * that is deleted takes the macvtap with it, for good.
 *
 * What is made is deleted in close; a guard process does it when vireo is killed (net/netlink.h). The
 * parent is not touched: it is not set up, and gets its address back where passthru changed it (by the
 * kernel).
 *
 * Threads: all but the data path, and set_mac without err, on the control thread.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/if_link.h>
#include <linux/if_tun.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include "net/tap.h"

struct macvtap {
	struct tap tap; /* first */
	struct netlink_guard guard;
	struct netlink_watch parent;
	bool made, up, parent_up;
	uint64_t mac_wanted;	    /* byte 0 lowest. Atomic */
	struct loop_fd mac_changed; /* eventfd: mac_wanted is another one */
	struct log_limit mac_log;
	/* options; ifname is tap's */
	char *link;
	int mode;
	uint8_t mac[6];
};

static const char *const macvtap_modes[] = {"bridge", "vepa", "private", "passthru", NULL};
static const unsigned int macvtap_mode_value[] = {MACVLAN_MODE_BRIDGE, MACVLAN_MODE_VEPA,
						  MACVLAN_MODE_PRIVATE, MACVLAN_MODE_PASSTHRU};

#define MACVTAP_OPT(field, kind, ...)                                                    \
	{                                                                                \
		.name = #field, .type = kind, .offset = offsetof(struct macvtap, field), \
		__VA_ARGS__                                                              \
	}

static const struct opt_desc macvtap_opts[] = {
	MACVTAP_OPT(link, OPT_STRING, .help = "the host's interface that it stands on: eth0"),
	MACVTAP_OPT(mode, OPT_ENUM, .names = macvtap_modes, .def = "bridge",
		    .help = "how it reaches others on that interface: bridge, directly; vepa, "
			    "through the "
			    "switch outside; private, not at all; passthru, there is no other"),
	MACVTAP_OPT(
		mac, OPT_MAC,
		.help = "its address for good; none: the card's, also when the guest changes it"),
	TAP_OPT(ifname, OPT_STRING, .help = "its name; none: macvtap0, macvtap1 ..."),
	TAP_COMMON_OPTS,
	{.name = NULL, .type = OPT_END},
};

static struct macvtap *macvtap_of(struct net_backend *net)
{
	return (struct macvtap *)net;
}

static bool mac_given(const struct macvtap *m)
{
	static const uint8_t none[6];

	return memcmp(m->mac, none, 6) != 0;
}

/* ---- its address ---- */

static int macvtap_apply_mac(struct macvtap *m, const uint8_t mac[6], struct err *err)
{
	int r = netlink_set_mac(m->tap.dev.index, mac, err);

	if (r == -EADDRINUSE || r == -EBUSY)
		return err_set(err, r,
			       "%s: %s, or another macvtap on it, has the card's address "
			       "%02x:%02x:%02x:%02x:%02x:%02x already (give the card its own mac=)",
			       m->tap.dev.name, m->link, mac[0], mac[1], mac[2], mac[3], mac[4],
			       mac[5]);
	return r ? err_prefix(err, "%s: setting its address", m->tap.dev.name) : 0;
}

static void macvtap_mac_changed(struct loop_fd *lf, uint32_t events)
{
	struct macvtap *m = lf->opaque;
	struct err err = {0};
	uint64_t mac, count;
	uint8_t bytes[6];

	if (read(lf->fd, &count, sizeof(count)) < 0)
		return;
	mac = __atomic_load_n(&m->mac_wanted, __ATOMIC_ACQUIRE);
	memcpy(bytes, &mac, 6);
	if (macvtap_apply_mac(m, bytes, &err))
		log_limited(&m->mac_log, "%s: %s", m->tap.net.id, err.msg);
}

static int macvtap_set_mac(struct net_backend *net, const uint8_t mac[6], struct err *err)
{
	struct macvtap *m = macvtap_of(net);
	uint64_t wanted = 0, one = 1;

	if (mac_given(m))
		return 0;
	memcpy(&wanted, mac, 6);
	if (__atomic_exchange_n(&m->mac_wanted, wanted, __ATOMIC_ACQ_REL) == wanted)
		return 0;
	if (err)
		return macvtap_apply_mac(m, mac, err);
	if (m->mac_changed.opaque && write(m->mac_changed.fd, &one, sizeof(one)) < 0)
		return -errno;
	return 0;
}

static int macvtap_watch_mac(struct macvtap *m, struct err *err)
{
	int r;

	if (!m->tap.net.host)
		return 0;
	m->mac_changed.fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (m->mac_changed.fd < 0)
		return err_errno(err, "eventfd");
	m->mac_changed.ready = macvtap_mac_changed;
	r = loop_fd_add(m->tap.net.host->control, &m->mac_changed, EPOLLIN);
	if (r) {
		close(m->mac_changed.fd);
		return err_set(err, r, "watching an eventfd: %s", strerror(-r));
	}
	m->mac_changed.opaque = m;
	return 0;
}

/* ---- the cable ---- */

static bool macvtap_link_up(const struct netlink_link *link)
{
	return link && link->flags & IFF_UP && link->carrier;
}

static void macvtap_changed(struct netlink_watch *w, const struct netlink_link *link)
{
	struct macvtap *m = w->opaque;

	tap_changed(w, link);
	if (!link && m->made) {
		log_warn("%s: interface %s was deleted, or %s below it: no frames any more",
			 m->tap.net.id, m->tap.dev.name, m->link);
		m->made = false;
		netlink_guard_end(&m->guard);
	}
	m->up = macvtap_link_up(link);
	net_set_carrier(&m->tap.net, m->up && m->parent_up);
}

static void macvtap_parent_changed(struct netlink_watch *w, const struct netlink_link *link)
{
	struct macvtap *m = w->opaque;

	m->parent_up = macvtap_link_up(link);
	net_set_carrier(&m->tap.net, m->up && m->parent_up);
}

/* ---- the character device ---- */

static int macvtap_node_error(const struct macvtap *m, const char *path, int code, struct err *err)
{
	errno = code;
	err_errno(err, "%s, the character device of %s", path, m->tap.dev.name);
	if (code == EPERM || code == EACCES)
		return err_hint(
			err, "(only root of the whole host has access to it, not of a user "
			     "namespace, nor a container whose devices are limited: have it "
			     "opened outside and use -netdev tap,fd=N, or -netdev tap, bridge or "
			     "user instead)");
	return err->code;
}

/* A file descriptor for each queue; the first is dev.fd. -errno. */
static int macvtap_open_queues(struct macvtap *m, const char *path, struct err *err)
{
	struct tap *tap = &m->tap;

	for (tap->n_fds = 0; tap->n_fds < tap->queues; tap->n_fds++) {
		int fd = open(path, O_RDWR | O_NONBLOCK | O_CLOEXEC);

		if (fd < 0)
			return macvtap_node_error(m, path, errno, err);
		tap->queue[tap->n_fds].fd = fd;
		if (!tap->n_fds)
			tap->dev.fd = fd;
	}
	return 0;
}

/* The kernel names the node tapN after the interface's index, which is not the only one of that number
 * where there are several network namespaces. The device's own number tells. */
static int macvtap_open_node(struct macvtap *m, dev_t dev, struct err *err)
{
	char path[64];
	struct stat st;
	int r;

	if (!dev)
		return err_set(
			err, -ENODEV,
			"the kernel didn't tell the device number of %s (its uevents are off)",
			m->tap.dev.name);
	snprintf(path, sizeof(path), "/dev/tap%d", m->tap.dev.index);
	if (!stat(path, &st) && S_ISCHR(st.st_mode) && st.st_rdev == dev)
		return macvtap_open_queues(m, path, err);
	/* No such node, or another's: one of our own, for as long as it takes to open it. */
	snprintf(path, sizeof(path), "/dev/vireo-tap%u:%u.%d", major(dev), minor(dev),
		 (int)getpid());
	if (mknod(path, S_IFCHR | 0600, dev))
		return macvtap_node_error(m, path, errno, err);
	r = macvtap_open_queues(m, path, err);
	unlink(path);
	return r;
}

static int macvtap_set_iff(struct macvtap *m, struct err *err)
{
	struct tap *tap = &m->tap;
	bool can = tapdev_has_vnet_hdr(tap->dev.fd);

	if (tap->vnet_hdr == OPT_ON && !can)
		return err_set(
			err, -ENOTSUP,
			"vnet_hdr=on: this host's MacVTap has no IFF_VNET_HDR (vnet_hdr=off)");
	tap->dev.vnet_hdr = can && tap->vnet_hdr != OPT_OFF;
	for (unsigned int i = 0; i < tap->n_fds; i++) {
		struct ifreq ifr = {0};

		ifr.ifr_flags =
			(short)(IFF_TAP | IFF_NO_PI | (tap->dev.vnet_hdr ? IFF_VNET_HDR : 0) |
				(tap->queues > 1 ? IFF_MULTI_QUEUE : 0));
		if (ioctl(tap->queue[i].fd, TUNSETIFF, &ifr))
			return err_errno(err, "%s: setting it up", tap->dev.name);
	}
	return 0;
}

/* ---- open and close ---- */

static int macvtap_make_error(const struct macvtap *m, int code, struct err *err)
{
	const char *name = m->tap.ifname ? m->tap.ifname : "";
	struct netlink_link there;

	switch (code) {
	case -EPERM:
		return err_set(err, code,
			       "no permission to make a macvtap on %s (run as root; as a user: "
			       "-netdev bridge, or -netdev user)",
			       m->link);
	case -EEXIST:
		if (!netlink_get(name, 0, &there, NULL) && !strcmp(there.kind, "macvtap"))
			return err_set(err, code,
				       "ifname=%s: there is a macvtap of that name (another "
				       "ifname=; or, if "
				       "nobody uses it: ip link delete %s)",
				       name, name);
		return err_set(err, code,
			       "ifname=%s: there is an interface of that name (another ifname=)",
			       name);
	case -ENAMETOOLONG:
		return err_set(err, code,
			       "ifname=%s: the name of an interface has 1 to 15 characters", name);
	case -EOPNOTSUPP:
		return err_set(err, code, "this host's kernel has no macvtap (modprobe macvtap)");
	case -EBUSY:
		return err_set(
			err, code,
			"link=%s: it is in use by a bridge or a bond, or as the one link of a "
			"macvtap in mode passthru (use -netdev tap,br= with its bridge)",
			m->link);
	case -EINVAL:
		return err_set(
			err, code,
			"link=%s: no macvtap can stand on it in mode=%s (it is no Ethernet, or "
			"has another macvtap: mode passthru has to be alone)",
			m->link, macvtap_modes[m->mode]);
	default:
		return err_prefix(err, "link=%s: no macvtap can be made on it", m->link);
	}
}

static int macvtap_make(struct macvtap *m, struct netlink_link *parent, dev_t *dev, struct err *err)
{
	struct tapdev *td = &m->tap.dev;
	struct netlink_link link;
	int r;

	if (!m->link || !*m->link)
		return err_set(err, -EINVAL,
			       "needs link=, the host's interface that it stands on (link=eth0)");
	if (m->tap.ifname && strpbrk(m->tap.ifname, "%/: "))
		return err_set(err, -EINVAL, "ifname=%s can't be the name of an interface",
			       m->tap.ifname);
	if (m->mac[0] & 1)
		return err_set(err, -EINVAL,
			       "mac=: a group address (the first byte of a card's own is even)");
	r = netlink_get(m->link, 0, parent, err);
	if (r == -ENODEV || r == -ENAMETOOLONG)
		return err_set(err, r, "link=%s: there is no such interface (ip link lists them)",
			       m->link);
	if (r)
		return err_prefix(err, "link=%s", m->link);
	r = netlink_add_macvtap(m->tap.ifname, parent->index, macvtap_mode_value[m->mode],
				mac_given(m) ? m->mac : NULL, &link, dev, err);
	if (r)
		return macvtap_make_error(m, r, err);
	m->made = true;
	td->index = link.index;
	memcpy(td->name, link.name, sizeof(td->name));
	return netlink_guard_start(&m->guard, link.index, err);
}

static void macvtap_unmake(struct macvtap *m)
{
	struct err err = {0};

	netlink_unwatch(&m->parent);
	netlink_unwatch(&m->tap.watch);
	if (m->mac_changed.opaque) {
		loop_fd_del(&m->mac_changed);
		close(m->mac_changed.fd);
		m->mac_changed.opaque = NULL;
	}
	if (m->made && netlink_delete(m->tap.dev.index, &err) && err.code != -ENODEV)
		log_warn("%s: interface %s can't be deleted: %s", m->tap.net.id, m->tap.dev.name,
			 err.msg);
	m->made = false;
	netlink_guard_end(&m->guard);
}

/* Once it is there: its file descriptors, and up. */
static int macvtap_start(struct macvtap *m, const struct netlink_link *parent, dev_t dev,
			 struct err *err)
{
	int r = macvtap_open_node(m, dev, err);

	if (!r)
		r = macvtap_set_iff(m, err);
	if (!r)
		r = netlink_set_flags(m->tap.dev.index, IFF_UP | IFF_ALLMULTI,
				      IFF_UP | IFF_ALLMULTI, err);
	if (r == -EADDRINUSE || r == -EBUSY)
		r = err_set(err, r, "mac=: %s, or another macvtap on it, has this address already",
			    m->link);
	if (!r)
		r = macvtap_watch_mac(m, err);
	if (r) {
		for (unsigned int i = 0; i < m->tap.n_fds; i++)
			close(m->tap.queue[i].fd);
		m->tap.dev.fd = -1;
		return r;
	}
	/* Until the watches tell. */
	m->parent_up = m->up = macvtap_link_up(parent);
	net_set_carrier(&m->tap.net, m->up);
	m->tap.watch.changed = macvtap_changed;
	if (m->tap.net.host) {
		m->parent.index = parent->index;
		m->parent.changed = macvtap_parent_changed;
		m->parent.opaque = m;
		netlink_watch(&m->parent, m->tap.net.host->control, NULL);
	}
	return tap_start(&m->tap, err);
}

static int macvtap_open(struct net_backend *net, struct err *err)
{
	struct macvtap *m = macvtap_of(net);
	struct netlink_link parent;
	dev_t dev = 0;
	int r;

	m->tap.dev.fd = -1;
	r = tap_check_common(&m->tap, err);
	if (!r)
		r = macvtap_make(m, &parent, &dev, err);
	if (!r)
		r = macvtap_start(m, &parent, dev, err);
	if (r)
		macvtap_unmake(m);
	return r;
}

static void macvtap_close(struct net_backend *net)
{
	tap_close(net);
	macvtap_unmake(macvtap_of(net));
}

static void macvtap_info(struct net_backend *net, json_t *object)
{
	struct macvtap *m = macvtap_of(net);

	tap_info(net, object);
	json_object_set_new(object, "parent", json_string(m->link));
	json_object_set_new(object, "mode", json_string(macvtap_modes[m->mode]));
}

static const struct net_backend_ops macvtap_ops = {
	.name = "macvtap",
	.help = "a MacVTap, made on an interface of the host's",
	.opts = macvtap_opts,
	.size = sizeof(struct macvtap),
	.open = macvtap_open,
	.close = macvtap_close,
	.info = macvtap_info,
	.set_mac = macvtap_set_mac,
	TAP_COMMON_OPS,
};
NET_BACKEND(macvtap_ops);
