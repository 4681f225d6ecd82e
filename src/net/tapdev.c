/*
 * TAP interfaces: the ioctls of set-up, with an answer in words for each way they fail.
 */
#include "net/tapdev.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/if_tun.h>
#include <linux/sockios.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "net/netlink.h"

#define TAPDEV_PATH "/dev/net/tun"

extern char **environ;

bool tapdev_has_vnet_hdr(int fd)
{
	unsigned int features = 0;

	return !ioctl(fd, TUNGETFEATURES, &features) && features & IFF_VNET_HDR;
}

int tapdev_open_control(struct err *err)
{
	int fd = open(TAPDEV_PATH, O_RDWR | O_NONBLOCK | O_CLOEXEC);

	if (fd >= 0)
		return fd;
	err_errno(err, "%s", TAPDEV_PATH);
	if (errno == ENOENT || errno == ENODEV || errno == ENXIO)
		return err_hint(err, "(this host's kernel has no TUN/TAP: modprobe tun)");
	if (errno == EACCES || errno == EPERM)
		return err_hint(err, "(its usual mode is 0666: ask for access to it, or use fd=)");
	return err ? err->code : -errno;
}

/* A copy of the name in ifr; false when it doesn't fit. */
static bool tapdev_set_name(struct ifreq *ifr, const char *name)
{
	memset(ifr, 0, sizeof(*ifr));
	if (strlen(name) >= IFNAMSIZ)
		return false;
	strcpy(ifr->ifr_name, name);
	return true;
}

static int tapdev_ioctl(unsigned long request, void *arg)
{
	int s = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0), r, code;

	if (s < 0)
		return -errno;
	r = ioctl(s, request, arg);
	code = r < 0 ? -errno : 0;
	close(s);
	return code;
}

/* Where fd comes from somebody else, its interface may live in another network namespace, and one of the
 * same name here: they have different addresses. */
static int tapdev_index(int fd, const char *name)
{
	struct ifreq there = {0}, here;

	if (!tapdev_set_name(&here, name) || ioctl(fd, SIOCGIFHWADDR, &there) ||
	    tapdev_ioctl(SIOCGIFHWADDR, &here) ||
	    memcmp(there.ifr_hwaddr.sa_data, here.ifr_hwaddr.sa_data, 6))
		return 0;
	return (int)if_nametoindex(name);
}

static int tapdev_attach_error(const char *name, bool exists, bool multi, int code, struct err *err)
{
	switch (code) {
	case EPERM:
	case EACCES:
		if (exists)
			return err_set(
				err, -code,
				"no permission to use the interface %s (it belongs to another "
				"user: ip tuntap add dev %s mode tap user NAME)",
				name, name);
		return err_set(
			err, -code,
			"no permission to make the interface %s (run as root, or let root make it: "
			"ip tuntap add dev %s mode tap user NAME)",
			name, name);
	case EBUSY:
		return err_set(err, -code, "the interface %s is in use by another program", name);
	case EINVAL:
		if (exists && multi)
			return err_set(err, -code,
				       "the interface %s exists and is no TAP with several queues "
				       "(ip tuntap add dev %s mode tap multi_queue, or queues=1)",
				       name, name);
		if (exists)
			return err_set(err, -code,
				       "the interface %s exists and is no TAP (choose another "
				       "ifname=, or put it into a bridge and use br=)",
				       name);
		return err_set(err, -code, "\"%s\" can't be the name of an interface", name);
	default:
		errno = code;
		return err_errno(err, "the interface %s can't be made", name);
	}
}

static short tapdev_flags(bool vnet_hdr, bool multi)
{
	return (short)(IFF_TAP | IFF_NO_PI | (vnet_hdr ? IFF_VNET_HDR : 0) |
		       (multi ? IFF_MULTI_QUEUE : 0));
}

static int tapdev_make(struct tapdev *dev, int fd, const char *name, bool vnet_hdr, bool multi,
		       struct err *err)
{
	struct ifreq ifr;
	bool exists;
	int code;

	if (!name)
		name = "tap%d";
	exists = if_nametoindex(name) != 0;
	if (!tapdev_set_name(&ifr, name)) {
		close(fd);
		return err_set(err, -ENAMETOOLONG,
			       "ifname=%s: the name of an interface has 15 characters at most",
			       name);
	}
	ifr.ifr_flags = tapdev_flags(vnet_hdr, multi);
	code = ioctl(fd, TUNSETIFF, &ifr) ? errno : 0;
	if (code == EINVAL && exists && !multi) {
		/* A TAP made with multi_queue only takes users that say so. */
		ifr.ifr_flags = tapdev_flags(vnet_hdr, true);
		code = ioctl(fd, TUNSETIFF, &ifr) ? errno : 0;
	}
	if (code) {
		close(fd);
		return tapdev_attach_error(name, exists, multi, code, err);
	}
	dev->fd = fd;
	memcpy(dev->name, ifr.ifr_name, IFNAMSIZ);
	dev->index = tapdev_index(fd, dev->name);
	dev->created = !exists;
	dev->vnet_hdr = vnet_hdr;
	return 0;
}

int tapdev_attach(struct tapdev *dev, int fd, const char *name, bool vnet_hdr, struct err *err)
{
	return tapdev_make(dev, fd, name, vnet_hdr, false, err);
}

int tapdev_attach_multi(struct tapdev *dev, int fd, const char *name, bool vnet_hdr,
			struct err *err)
{
	return tapdev_make(dev, fd, name, vnet_hdr, true, err);
}

int tapdev_add_queue(const struct tapdev *dev, struct err *err)
{
	int fd = tapdev_open_control(err), code;
	struct ifreq ifr;

	if (fd < 0)
		return fd;
	tapdev_set_name(&ifr, dev->name);
	ifr.ifr_flags = tapdev_flags(dev->vnet_hdr, true);
	if (!ioctl(fd, TUNSETIFF, &ifr))
		return fd;
	code = errno;
	close(fd);
	return tapdev_attach_error(dev->name, true, true, code, err);
}

int tapdev_use_queue(int fd, bool on)
{
	struct ifreq ifr = {.ifr_flags = on ? IFF_ATTACH_QUEUE : IFF_DETACH_QUEUE};

	return ioctl(fd, TUNSETQUEUE, &ifr) ? -errno : 0;
}

int tapdev_adopt(struct tapdev *dev, int fd, struct err *err)
{
	struct ifreq ifr;
	int fl = fcntl(fd, F_GETFL);

	memset(&ifr, 0, sizeof(ifr));
	if (fl < 0)
		return err_set(err, -EBADF, "fd=%d: no file is open under that number", fd);
	if (ioctl(fd, TUNGETIFF, &ifr))
		return err_set(err, -EINVAL, "fd=%d: neither a TAP with an interface nor a MacVTap",
			       fd);
	if ((ifr.ifr_flags & (IFF_TUN | IFF_TAP)) != IFF_TAP)
		return err_set(err, -EINVAL,
			       "fd=%d: %s is a TUN, with no Ethernet (make it with mode tap)", fd,
			       ifr.ifr_name);
	/* Whether it was opened with IFF_NO_PI, as it must be, can't be asked: that bit of the
	 * answer also means that no filter is attached (IFF_NOFILTER). */
	if (fcntl(fd, F_SETFL, fl | O_NONBLOCK) || fcntl(fd, F_SETFD, FD_CLOEXEC))
		return err_errno(err, "fd=%d: fcntl", fd);
	dev->fd = fd;
	memcpy(dev->name, ifr.ifr_name, IFNAMSIZ);
	dev->index = tapdev_index(fd, dev->name);
	dev->created = false;
	dev->vnet_hdr = ifr.ifr_flags & IFF_VNET_HDR;
	return 0;
}

unsigned int tapdev_mtu(const struct tapdev *dev)
{
	struct ifreq ifr;

	if (!dev->index)
		return 0;
	tapdev_set_name(&ifr, dev->name);
	return tapdev_ioctl(SIOCGIFMTU, &ifr) ? 0 : (unsigned int)ifr.ifr_mtu;
}

/* A bridge without an address of its own takes the lowest of its ports': a TAP that came and went
 * would change it. 0xfe is the highest first byte of a locally administered unicast address. */
static void tapdev_raise_address(const struct netlink_link *link)
{
	uint8_t mac[6];

	memcpy(mac, link->mac, sizeof(mac));
	mac[0] = 0xfe;
	netlink_set_mac(link->index, mac, NULL);
}

static int tapdev_find_bridge(const char *bridge, struct netlink_link *link, struct err *err)
{
	int r = netlink_get(bridge, 0, link, err);

	if (r == -ENODEV)
		return err_set(err, r,
			       "br=%s: there is no such interface (ip link add %s type bridge)",
			       bridge, bridge);
	if (r == -ENAMETOOLONG)
		return err_set(err, r, "br=%s: the name of an interface has 15 characters at most",
			       bridge);
	if (r)
		return err_prefix(err, "br=%s", bridge);
	if (!strcmp(link->kind, "openvswitch"))
		return err_set(err, -EOPNOTSUPP,
			       "br=%s is Open vSwitch's, which takes ports from its own database "
			       "alone (leave br= out: ovs-vsctl add-port %s IFNAME)",
			       bridge, bridge);
	if (strcmp(link->kind, "bridge") != 0)
		return err_set(err, -EOPNOTSUPP, "br=%s: the interface %s is no bridge", bridge,
			       bridge);
	return 0;
}

static int tapdev_bridge_error(const char *bridge, const char *name, int code, struct err *err)
{
	switch (code) {
	case -EBUSY:
		return err_set(err, code, "br=%s: %s is in a bridge already (leave br= out)",
			       bridge, name);
	case -EPERM:
		return err_set(err, code,
			       "br=%s: no permission to put %s into it (run as root, use -netdev "
			       "bridge, or let root do it and use fd= or ifname= alone)",
			       bridge, name);
	default:
		return err_prefix(err, "br=%s: %s can't be put into it", bridge, name);
	}
}

int tapdev_bridge_add(struct tapdev *dev, const char *bridge, struct err *err)
{
	struct netlink_link port, br;
	int r = tapdev_find_bridge(bridge, &br, err);

	if (r)
		return r;
	r = netlink_get(dev->name, 0, &port, err);
	if (r)
		return err_prefix(err, "br=%s: %s can't be put into it", bridge, dev->name);
	if (dev->created) {
		tapdev_raise_address(&port);
		/* A port with a smaller MTU would pull the bridge's down. */
		netlink_set_mtu(port.index, br.mtu, NULL);
	}
	r = netlink_set_master(port.index, br.index, err);
	if (r)
		return tapdev_bridge_error(bridge, dev->name, r, err);
	r = netlink_set_flags(port.index, IFF_UP, IFF_UP, err);
	if (r) {
		err_prefix(err, "br=%s: %s can't be set up", bridge, dev->name);
		netlink_set_master(port.index, 0, NULL);
	}
	dev->raised = !r && !(port.flags & IFF_UP);
	return r;
}

void tapdev_bridge_remove(const struct tapdev *dev, const char *bridge)
{
	struct netlink_link port, br;

	/* Somebody may have put it into another one meanwhile, which is then that somebody's affair; or given
	 * it another name. */
	if (netlink_get(NULL, dev->index, &port, NULL) || netlink_get(bridge, 0, &br, NULL) ||
	    port.master != br.index)
		return;
	netlink_set_master(port.index, 0, NULL);
	if (dev->raised)
		netlink_set_flags(port.index, 0, IFF_UP, NULL);
}

int tapdev_script(const struct tapdev *dev, const char *path, struct err *err)
{
	char *argv[] = {(char *)path, (char *)dev->name, NULL};
	posix_spawnattr_t attr;
	sigset_t none, all;
	int r, status;
	pid_t pid;

	/* vireo's threads block signals; a script must not inherit that. */
	sigemptyset(&none);
	sigfillset(&all);
	posix_spawnattr_init(&attr);
	posix_spawnattr_setsigmask(&attr, &none);
	posix_spawnattr_setsigdefault(&attr, &all);
	posix_spawnattr_setflags(&attr, POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF);
	r = posix_spawn(&pid, path, NULL, &attr, argv, environ);
	posix_spawnattr_destroy(&attr);
	if (r) {
		errno = r;
		return err_errno(err, "%s can't be run", path);
	}
	while (waitpid(pid, &status, 0) < 0)
		if (errno != EINTR)
			return err_errno(err, "%s: waiting for it", path);
	if (WIFSIGNALED(status))
		return err_set(err, -EIO, "\"%s %s\" was ended by signal %d", path, dev->name,
			       WTERMSIG(status));
	if (WEXITSTATUS(status))
		return err_set(err, -EIO, "\"%s %s\" ended with status %d", path, dev->name,
			       WEXITSTATUS(status));
	return 0;
}
