/*
 * Interfaces over rtnetlink; libmnl packs and unpacks.
 *
 * Control thread, but for netlink_guard_main(), which is a process of its own. No memory outlives a
 * call.
 */
#include "net/netlink.h"

#include <errno.h>
#include <libmnl/libmnl.h>
#include <linux/if_link.h>
#include <linux/rtnetlink.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/sysmacros.h>

#include "net/netlink_impl.h"

#define NETLINK_REQUEST 512 /* bytes: the longest message that is put together here is under 200 */
#define NETLINK_ANSWER	32768 /* iproute2 takes as much; the kernel makes no larger ones */
#define NETLINK_NAMES	4096

/* The kernel's words about an error are an attribute behind it (NETLINK_EXT_ACK). */
static const char *netlink_words(const struct nlmsghdr *nlh)
{
	const size_t offset = sizeof(struct nlmsgerr);
	const struct nlattr *attr;

	/* Not capped (a kernel without NETLINK_CAP_ACK): the request stands before them. */
	if (!(nlh->nlmsg_flags & NLM_F_ACK_TLVS) || !(nlh->nlmsg_flags & NLM_F_CAPPED) ||
	    mnl_nlmsg_get_payload_len(nlh) <= offset)
		return NULL;
	mnl_attr_for_each(attr, nlh, offset) if (mnl_attr_get_type(attr) == NLMSGERR_ATTR_MSG &&
						 mnl_attr_validate(attr, MNL_TYPE_NUL_STRING) >=
							 0) return mnl_attr_get_str(attr);
	return NULL;
}

static int netlink_failed(const struct nlmsghdr *nlh, struct err *err)
{
	const struct nlmsgerr *e = mnl_nlmsg_get_payload(nlh);
	const char *words;

	if (mnl_nlmsg_get_payload_len(nlh) < sizeof(*e))
		return err_set(err, -EBADMSG, "netlink: an answer that is too short");
	if (!e->error)
		return 0;
	words = netlink_words(nlh);
	return err_set(err, e->error, "%s%s%s%s", strerror(-e->error), words ? " (" : "",
		       words ? words : "", words ? ")" : "");
}

static struct mnl_socket *netlink_open(int bus, int flags, unsigned int groups, struct err *err)
{
	struct mnl_socket *s = mnl_socket_open2(bus, SOCK_CLOEXEC | flags);
	int on = 1;

	if (!s || mnl_socket_bind(s, groups, MNL_SOCKET_AUTOPID) < 0) {
		err_errno(err, "netlink");
		if (s)
			mnl_socket_close(s);
		return NULL;
	}
	/* Only the words of errors are lost where the kernel knows neither of these. */
	mnl_socket_setsockopt(s, NETLINK_EXT_ACK, &on, sizeof(on));
	mnl_socket_setsockopt(s, NETLINK_CAP_ACK, &on, sizeof(on));
	return s;
}

/* Sends a request and takes the answer; link: filled from it, where one is asked for. */
static int netlink_talk(struct nlmsghdr *nlh, struct netlink_link *link, struct err *err)
{
	uint8_t answer[NETLINK_ANSWER] __attribute__((aligned(NLMSG_ALIGNTO)));
	struct mnl_socket *s = netlink_open(NETLINK_ROUTE, 0, 0, err);
	const struct nlmsghdr *got = (const struct nlmsghdr *)answer;
	ssize_t n;
	int r;

	if (!s)
		return err ? err->code : -EPROTONOSUPPORT;
	nlh->nlmsg_flags |= NLM_F_REQUEST | (link ? 0 : NLM_F_ACK);
	nlh->nlmsg_seq = 1;
	n = mnl_socket_sendto(s, nlh, nlh->nlmsg_len);
	while (n >= 0 && (n = mnl_socket_recvfrom(s, answer, sizeof(answer))) < 0 && errno == EINTR)
		n = 0;
	if (n < 0)
		r = err_errno(err, "netlink");
	else if (!mnl_nlmsg_ok(got, (int)n) || got->nlmsg_seq != 1)
		r = err_set(err, -EBADMSG, "netlink: an answer that makes no sense");
	else if (got->nlmsg_type == NLMSG_ERROR)
		r = netlink_failed(got, err);
	else
		r = link && netlink_parse_link(got, link)
			    ? 0
			    : err_set(err, -EBADMSG, "netlink: an unexpected answer");
	mnl_socket_close(s);
	return r;
}

static struct nlmsghdr *netlink_start(void *buf, uint16_t type, int index)
{
	struct nlmsghdr *nlh = mnl_nlmsg_put_header(buf);
	struct ifinfomsg *ifi = mnl_nlmsg_put_extra_header(nlh, sizeof(*ifi));

	nlh->nlmsg_type = type;
	ifi->ifi_family = AF_UNSPEC;
	ifi->ifi_index = index;
	return nlh;
}

/* Newer kernels' are longer: what is added stands at the end. */
static void netlink_take_stats(const struct nlattr *attr, struct netlink_link *link)
{
	struct rtnl_link_stats64 stats = {0};
	size_t len = mnl_attr_get_payload_len(attr);

	memcpy(&stats, mnl_attr_get_payload(attr), len < sizeof(stats) ? len : sizeof(stats));
	link->rx_dropped = stats.rx_dropped;
	link->tx_dropped = stats.tx_dropped;
}

static void netlink_take_attr(const struct nlattr *attr, struct netlink_link *link)
{
	const struct nlattr *in;

	switch (mnl_attr_get_type(attr)) {
	case IFLA_IFNAME:
		if (mnl_attr_validate(attr, MNL_TYPE_NUL_STRING) >= 0)
			snprintf(link->name, sizeof(link->name), "%s", mnl_attr_get_str(attr));
		break;
	case IFLA_MTU:
		if (mnl_attr_validate(attr, MNL_TYPE_U32) >= 0)
			link->mtu = mnl_attr_get_u32(attr);
		break;
	case IFLA_MASTER:
		if (mnl_attr_validate(attr, MNL_TYPE_U32) >= 0)
			link->master = (int)mnl_attr_get_u32(attr);
		break;
	case IFLA_LINK:
		if (mnl_attr_validate(attr, MNL_TYPE_U32) >= 0)
			link->lower = (int)mnl_attr_get_u32(attr);
		break;
	case IFLA_CARRIER:
		if (mnl_attr_validate(attr, MNL_TYPE_U8) >= 0)
			link->carrier = mnl_attr_get_u8(attr);
		break;
	case IFLA_ADDRESS:
		if (mnl_attr_get_payload_len(attr) == sizeof(link->mac))
			memcpy(link->mac, mnl_attr_get_payload(attr), sizeof(link->mac));
		break;
	case IFLA_STATS64:
		netlink_take_stats(attr, link);
		break;
	case IFLA_LINKINFO:
		mnl_attr_for_each_nested(in, attr) if (mnl_attr_get_type(in) == IFLA_INFO_KIND &&
						       mnl_attr_validate(in, MNL_TYPE_STRING) >= 0)
			snprintf(link->kind, sizeof(link->kind), "%.*s",
				 (int)mnl_attr_get_payload_len(in), mnl_attr_get_str(in));
		break;
	default:
		break;
	}
}

bool netlink_parse_link(const struct nlmsghdr *nlh, struct netlink_link *link)
{
	const struct ifinfomsg *ifi = mnl_nlmsg_get_payload(nlh);
	const struct nlattr *attr;

	if (nlh->nlmsg_type != RTM_NEWLINK || mnl_nlmsg_get_payload_len(nlh) < sizeof(*ifi))
		return false;
	memset(link, 0, sizeof(*link));
	link->index = ifi->ifi_index;
	link->flags = ifi->ifi_flags;
	mnl_attr_for_each(attr, nlh, sizeof(*ifi)) netlink_take_attr(attr, link);
	return true;
}

int netlink_get(const char *name, int index, struct netlink_link *out, struct err *err)
{
	uint8_t buf[NETLINK_REQUEST] __attribute__((aligned(NLMSG_ALIGNTO)));
	struct nlmsghdr *nlh = netlink_start(buf, RTM_GETLINK, name ? 0 : index);

	if (name && (!*name || strlen(name) >= IFNAMSIZ))
		return err_set(err, *name ? -ENAMETOOLONG : -ENODEV,
			       "the name of an interface has 1 to 15 characters");
	if (name)
		mnl_attr_put_strz(nlh, IFLA_IFNAME, name);
	mnl_attr_put_u32(nlh, IFLA_EXT_MASK, RTEXT_FILTER_SKIP_STATS);
	return netlink_talk(nlh, out, err);
}

int netlink_get_stats(int index, struct netlink_link *out, struct err *err)
{
	uint8_t buf[NETLINK_REQUEST] __attribute__((aligned(NLMSG_ALIGNTO)));

	return netlink_talk(netlink_start(buf, RTM_GETLINK, index), out, err);
}

int netlink_set_flags(int index, unsigned int flags, unsigned int mask, struct err *err)
{
	uint8_t buf[NETLINK_REQUEST] __attribute__((aligned(NLMSG_ALIGNTO)));
	struct nlmsghdr *nlh = netlink_start(buf, RTM_NEWLINK, index);
	struct ifinfomsg *ifi = mnl_nlmsg_get_payload(nlh);

	ifi->ifi_flags = flags;
	ifi->ifi_change = mask;
	return netlink_talk(nlh, NULL, err);
}

int netlink_set_mtu(int index, unsigned int mtu, struct err *err)
{
	uint8_t buf[NETLINK_REQUEST] __attribute__((aligned(NLMSG_ALIGNTO)));
	struct nlmsghdr *nlh = netlink_start(buf, RTM_NEWLINK, index);

	mnl_attr_put_u32(nlh, IFLA_MTU, mtu);
	return netlink_talk(nlh, NULL, err);
}

int netlink_set_mac(int index, const uint8_t mac[6], struct err *err)
{
	uint8_t buf[NETLINK_REQUEST] __attribute__((aligned(NLMSG_ALIGNTO)));
	struct nlmsghdr *nlh = netlink_start(buf, RTM_NEWLINK, index);

	mnl_attr_put(nlh, IFLA_ADDRESS, 6, mac);
	return netlink_talk(nlh, NULL, err);
}

int netlink_set_master(int index, int master, struct err *err)
{
	uint8_t buf[NETLINK_REQUEST] __attribute__((aligned(NLMSG_ALIGNTO)));
	struct nlmsghdr *nlh = netlink_start(buf, RTM_NEWLINK, index);
	struct netlink_link link;
	int r;

	/* The kernel would take it out of the bridge where it is. */
	if (master) {
		r = netlink_get(NULL, index, &link, err);
		if (r)
			return r;
		if (link.master)
			return err_set(err, -EBUSY, "it is in a bridge already");
	}
	mnl_attr_put_u32(nlh, IFLA_MASTER, (uint32_t)master);
	return netlink_talk(nlh, NULL, err);
}

size_t netlink_put_delete(void *buf, int index)
{
	struct nlmsghdr *nlh = netlink_start(buf, RTM_DELLINK, index);

	nlh->nlmsg_flags = NLM_F_REQUEST | NLM_F_ACK;
	return nlh->nlmsg_len;
}

int netlink_delete(int index, struct err *err)
{
	uint8_t buf[NETLINK_REQUEST] __attribute__((aligned(NLMSG_ALIGNTO)));

	netlink_put_delete(buf, index);
	return netlink_talk((struct nlmsghdr *)buf, NULL, err);
}

/* ---- macvtap ---- */

/* A uevent is strings, each with its 0 (Documentation/core-api/kobject.rst): fills the device number of the
 * character device that was added below the interface `name`. */
static bool netlink_uevent_dev(const char *text, size_t len, const char *name, dev_t *dev)
{
	unsigned int major = 0, minor = 0;
	bool macvtap = false, added = false, ours = false;
	char path[64];

	snprintf(path, sizeof(path), "/net/%s/macvtap/tap", name);
	for (const char *at = text; at < text + len; at += strlen(at) + 1) {
		if (!strncmp(at, "DEVPATH=", 8))
			ours = strstr(at, path);
		else if (!strcmp(at, "ACTION=add"))
			added = true;
		else if (!strcmp(at, "SUBSYSTEM=macvtap"))
			macvtap = true;
		else if (!strncmp(at, "MAJOR=", 6))
			major = (unsigned int)strtoul(at + 6, NULL, 10);
		else if (!strncmp(at, "MINOR=", 6))
			minor = (unsigned int)strtoul(at + 6, NULL, 10);
	}
	if (!ours || !added || !macvtap || !major)
		return false;
	*dev = makedev(major, minor);
	return true;
}

/* The uevents that came while the interface was made. They are this network namespace's, which can't be
 * said of what is mounted on /sys. */
static dev_t netlink_find_dev(struct mnl_socket *uevents, const char *name)
{
	struct sockaddr_nl from = {.nl_pid = 1};
	char text[8192];
	dev_t dev = 0;
	ssize_t n;

	for (;;) {
		socklen_t len = sizeof(from);

		n = recvfrom(mnl_socket_get_fd(uevents), text, sizeof(text) - 1, 0,
			     (struct sockaddr *)&from, &len);
		if (n < 0 && (errno == EINTR || errno == ENOBUFS))
			continue;
		if (n < 0)
			return dev;
		text[n] = 0;
		if (!from.nl_pid) /* the kernel */
			netlink_uevent_dev(text, (size_t)n, name, &dev);
	}
}

/* Asks for one with that name. */
static int netlink_new_macvtap(const char *name, int lower, unsigned int mode, const uint8_t *mac,
			       struct err *err)
{
	uint8_t buf[NETLINK_REQUEST] __attribute__((aligned(NLMSG_ALIGNTO)));
	struct nlmsghdr *nlh = netlink_start(buf, RTM_NEWLINK, 0);
	struct nlattr *info, *data;

	nlh->nlmsg_flags = NLM_F_CREATE | NLM_F_EXCL;
	mnl_attr_put_strz(nlh, IFLA_IFNAME, name);
	mnl_attr_put_u32(nlh, IFLA_LINK, (uint32_t)lower);
	if (mac)
		mnl_attr_put(nlh, IFLA_ADDRESS, 6, mac);
	info = mnl_attr_nest_start(nlh, IFLA_LINKINFO);
	mnl_attr_put_strz(nlh, IFLA_INFO_KIND, "macvtap");
	data = mnl_attr_nest_start(nlh, IFLA_INFO_DATA);
	mnl_attr_put_u32(nlh, IFLA_MACVLAN_MODE, mode);
	mnl_attr_nest_end(nlh, data);
	mnl_attr_nest_end(nlh, info);
	return netlink_talk(nlh, NULL, err);
}

int netlink_add_macvtap(const char *name, int lower, unsigned int mode, const uint8_t *mac,
			struct netlink_link *out, dev_t *dev, struct err *err)
{
	struct mnl_socket *uevents;
	char made_up[IFNAMSIZ];
	int r = -EEXIST;

	if (name && (!*name || strlen(name) >= IFNAMSIZ))
		return err_set(err, -ENAMETOOLONG,
			       "the name of an interface has 1 to 15 characters");
	uevents = netlink_open(NETLINK_KOBJECT_UEVENT, SOCK_NONBLOCK, 1, NULL);
	if (name)
		r = netlink_new_macvtap(name, lower, mode, mac, err);
	/* Who else makes some at the same time may be faster. */
	for (unsigned int i = 0; !name && r == -EEXIST && i < NETLINK_NAMES; i++) {
		snprintf(made_up, sizeof(made_up), "macvtap%u", i);
		if (!if_nametoindex(made_up))
			r = netlink_new_macvtap(made_up, lower, mode, mac, err);
	}
	if (!name)
		name = made_up;
	if (!r)
		r = netlink_get(name, 0, out, err);
	*dev = !r && uevents ? netlink_find_dev(uevents, name) : 0;
	if (uevents)
		mnl_socket_close(uevents);
	return r;
}
