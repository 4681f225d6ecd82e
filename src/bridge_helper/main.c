/*
 * vireo-bridge-helper [--use-vnet] --br=NAME --fd=N: makes a TAP, puts it into the bridge NAME, sets it
 * up, and sends its file descriptor over the Unix socket N.
 *
 * For users without rights of their own: installed setuid root or with the file capability
 * cap_net_admin, it does this one thing, for the bridges that the administrator's list allows
 * (bridge_helper/acl.h). QEMU's helper has the same words and the same answer (one byte with
 * SCM_RIGHTS), so that either monitor can call either helper.
 *
 * What it doesn't trust: the environment (emptied first), its standard file descriptors, its arguments,
 * and the list, if others than root may write to it. Rights are given up before anything of the
 * caller's is looked at: what stays is the caller's own user and CAP_NET_ADMIN, with no way to get more
 * by exec. So the list is read with the caller's rights, too.
 *
 * One thread. The TAP vanishes when the last copy of its file descriptor is closed.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/capability.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/auxv.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "bridge_helper/acl.h"
#include "net/tapdev.h"

/* BRIDGE_CONF: the list's path, from the build. */

struct options {
	const char *bridge;
	int fd;
	bool vnet;
};

static int usage(struct err *err)
{
	return err_set(err, -EINVAL,
		       "usage: vireo-bridge-helper [--use-vnet] --br=BRIDGE --fd=UNIX-SOCKET");
}

static int parse(int argc, char **argv, struct options *o, struct err *err)
{
	for (int i = 1; i < argc; i++) {
		const char *word = argv[i];
		char *end;

		if (!strcmp(word, "--use-vnet")) {
			o->vnet = true;
		} else if (!strncmp(word, "--br=", 5)) {
			o->bridge = word + 5;
		} else if (!strncmp(word, "--fd=", 5)) {
			long n = strtol(word + 5, &end, 10);

			if (end == word + 5 || *end || n < 0 || n > 1 << 20)
				return usage(err);
			o->fd = (int)n;
		} else {
			return usage(err);
		}
	}
	if (!o->bridge || o->fd < 0)
		return usage(err);
	if (!*o->bridge || strlen(o->bridge) >= IFNAMSIZ)
		return err_set(err, -EINVAL, "the name of a bridge has 1 to 15 characters");
	return 0;
}

/* What is opened later must not get one of these numbers. */
static bool fill_standard_fds(void)
{
	int fd;

	do
		fd = open("/dev/null", O_RDWR);
	while (fd >= 0 && fd <= 2);
	if (fd > 2)
		close(fd);
	return fd > 2;
}

/* CAP_NET_ADMIN and the caller's user is all that is left; 0 or -errno. */
static int give_up_rights(struct err *err)
{
	struct __user_cap_header_struct head = {.version = _LINUX_CAPABILITY_VERSION_3};
	struct __user_cap_data_struct data[2] = {0};
	const uint32_t admin = 1u << CAP_NET_ADMIN;
	bool can;

	if (syscall(SYS_capget, &head, data))
		return err_errno(err, "capget");
	can = data[0].permitted & admin;
	if (prctl(PR_SET_KEEPCAPS, 1) || setresgid(getgid(), getgid(), getgid()) ||
	    setresuid(getuid(), getuid(), getuid()))
		return err_errno(err, "giving up rights");
	memset(data, 0, sizeof(data));
	if (can)
		data[0].permitted = data[0].effective = admin;
	if (syscall(SYS_capset, &head, data) || prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0))
		return err_errno(err, "giving up rights");
	return 0;
}

static int check_socket(int fd, struct err *err)
{
	int domain = 0;
	socklen_t len = sizeof(domain);

	if (getsockopt(fd, SOL_SOCKET, SO_DOMAIN, &domain, &len) || domain != AF_UNIX)
		return err_set(err, -ENOTSOCK, "--fd=%d: not a Unix socket", fd);
	return 0;
}

static int check_access(const char *bridge, bool privileged, struct err *err)
{
	struct acl acl = {.bridge = bridge, .include = acl_file, .trusted_only = privileged};
	int r = acl_file(&acl, BRIDGE_CONF, 0, err);

	if (r == -ENOENT)
		return err_set(err, r, "%s is not there (root makes it; a line \"allow %s\")",
			       BRIDGE_CONF, bridge);
	if (!r && !acl_allows(&acl))
		return err_set(err, -EACCES, "%s doesn't allow the bridge %s (a line \"allow %s\")",
			       BRIDGE_CONF, bridge, bridge);
	return r;
}

/* fd: /dev/net/tun. */
static int make_tap(const struct options *o, int fd, struct tapdev *dev, struct err *err)
{
	int r;

	if (o->vnet && !tapdev_has_vnet_hdr(fd))
		return err_set(err, -ENOTSUP, "--use-vnet: this host's TAP has no IFF_VNET_HDR");
	r = tapdev_attach(dev, fd, NULL, o->vnet, err);
	return r ? r : tapdev_bridge_add(dev, o->bridge, err);
}

static int send_fd(int s, int fd, struct err *err)
{
	char byte = 0, control[CMSG_SPACE(sizeof(fd))] __attribute__((aligned(8))) = {0};
	struct iovec iov = {&byte, 1};
	struct msghdr msg = {.msg_iov = &iov,
			     .msg_iovlen = 1,
			     .msg_control = control,
			     .msg_controllen = sizeof(control)};
	struct cmsghdr *c = CMSG_FIRSTHDR(&msg);
	ssize_t n;

	c->cmsg_level = SOL_SOCKET;
	c->cmsg_type = SCM_RIGHTS;
	c->cmsg_len = CMSG_LEN(sizeof(fd));
	memcpy(CMSG_DATA(c), &fd, sizeof(fd));
	do
		n = sendmsg(s, &msg, MSG_NOSIGNAL);
	while (n < 0 && errno == EINTR);
	return n == 1 ? 0 : err_errno(err, "--fd=%d: sending the TAP", s);
}

int main(int argc, char **argv)
{
	bool privileged = getauxval(AT_SECURE);
	struct options o = {.fd = -1};
	struct tapdev dev = {.fd = -1};
	struct err err = {0};
	int r, tun;

	clearenv();
	if (!fill_standard_fds())
		return 1;
	tun = tapdev_open_control(&err); /* its mode need not let users in */
	r = tun < 0 ? tun : give_up_rights(&err);
	if (!r)
		r = parse(argc, argv, &o, &err);
	if (!r)
		r = check_socket(o.fd, &err);
	if (!r)
		r = check_access(o.bridge, privileged, &err);
	if (!r)
		r = make_tap(&o, tun, &dev, &err);
	if (!r)
		r = send_fd(o.fd, dev.fd, &err);
	if (r)
		fprintf(stderr, "vireo-bridge-helper: %s\n", err.msg);
	return r ? 1 : 0;
}
