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

static int tapdev_attach_error(const char *name, bool exists, int code, struct err *err)
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

int tapdev_attach(struct tapdev *dev, int fd, const char *name, bool vnet_hdr, struct err *err)
{
	const short flags = (short)(IFF_TAP | IFF_NO_PI | (vnet_hdr ? IFF_VNET_HDR : 0));
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
	ifr.ifr_flags = flags;
	code = ioctl(fd, TUNSETIFF, &ifr) ? errno : 0;
	if (code == EINVAL && exists) {
		/* A TAP made with multi_queue only takes users that say so. */
		ifr.ifr_flags = (short)(flags | IFF_MULTI_QUEUE);
		code = ioctl(fd, TUNSETIFF, &ifr) ? errno : 0;
	}
	if (code) {
		close(fd);
		return tapdev_attach_error(name, exists, code, err);
	}
	dev->fd = fd;
	memcpy(dev->name, ifr.ifr_name, IFNAMSIZ);
	dev->created = !exists;
	dev->vnet_hdr = vnet_hdr;
	return 0;
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
	dev->created = false;
	dev->vnet_hdr = ifr.ifr_flags & IFF_VNET_HDR;
	return 0;
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

unsigned int tapdev_mtu(const struct tapdev *dev)
{
	struct ifreq ifr;

	tapdev_set_name(&ifr, dev->name);
	return tapdev_ioctl(SIOCGIFMTU, &ifr) ? 0 : (unsigned int)ifr.ifr_mtu;
}

static int tapdev_up(const struct tapdev *dev)
{
	struct ifreq ifr;
	int r;

	tapdev_set_name(&ifr, dev->name);
	r = tapdev_ioctl(SIOCGIFFLAGS, &ifr);
	if (r || ifr.ifr_flags & IFF_UP)
		return r;
	ifr.ifr_flags |= IFF_UP;
	return tapdev_ioctl(SIOCSIFFLAGS, &ifr);
}

/* A bridge without an address of its own takes the lowest of its ports': a TAP that came and went
 * would change it. 0xfe is the highest first byte of a locally administered unicast address. */
static void tapdev_raise_address(const struct tapdev *dev)
{
	struct ifreq ifr;

	tapdev_set_name(&ifr, dev->name);
	if (tapdev_ioctl(SIOCGIFHWADDR, &ifr))
		return;
	ifr.ifr_hwaddr.sa_data[0] = (char)0xfe;
	tapdev_ioctl(SIOCSIFHWADDR, &ifr);
}

static int tapdev_bridge_error(const char *bridge, const char *name, int code, struct err *err)
{
	switch (code) {
	case -ENODEV:
		return err_set(err, code,
			       "br=%s: there is no such interface (ip link add %s type bridge)",
			       bridge, bridge);
	case -EOPNOTSUPP:
	case -EINVAL:
	case -ENOTTY:
		return err_set(err, code, "br=%s: the interface %s is no bridge", bridge, bridge);
	case -EBUSY:
		return err_set(err, code, "br=%s: %s is in a bridge already (leave br= out)",
			       bridge, name);
	case -EPERM:
		return err_set(
			err, code,
			"br=%s: no permission to put %s into it (run as root, or let root do "
			"it and use fd= or ifname= alone)",
			bridge, name);
	default:
		errno = -code;
		return err_errno(err, "br=%s: %s can't be put into it", bridge, name);
	}
}

int tapdev_bridge_add(const struct tapdev *dev, const char *bridge, struct err *err)
{
	struct ifreq ifr, mtu;
	int r;

	if (!tapdev_set_name(&ifr, bridge))
		return err_set(err, -ENAMETOOLONG,
			       "br=%s: the name of an interface has 15 characters at most", bridge);
	if (dev->created) {
		tapdev_raise_address(dev);
		/* A port with a smaller MTU would pull the bridge's down. */
		mtu = ifr;
		if (!tapdev_ioctl(SIOCGIFMTU, &mtu)) {
			memcpy(mtu.ifr_name, dev->name, IFNAMSIZ);
			tapdev_ioctl(SIOCSIFMTU, &mtu);
		}
	}
	ifr.ifr_ifindex = (int)if_nametoindex(dev->name);
	r = tapdev_ioctl(SIOCBRADDIF, &ifr);
	if (r)
		return tapdev_bridge_error(bridge, dev->name, r, err);
	r = tapdev_up(dev);
	if (r) {
		errno = -r;
		return err_errno(err, "br=%s: %s can't be set up", bridge, dev->name);
	}
	return 0;
}

void tapdev_bridge_remove(const struct tapdev *dev, const char *bridge)
{
	struct ifreq ifr;

	if (!tapdev_set_name(&ifr, bridge))
		return;
	ifr.ifr_ifindex = (int)if_nametoindex(dev->name);
	tapdev_ioctl(SIOCBRDELIF, &ifr);
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
