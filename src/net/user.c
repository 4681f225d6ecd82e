/*
 * -netdev user: the guest's network is a TCP/IP stack in this process, libslirp, which speaks to the host
 * through ordinary sockets. No privileges, and nothing of the host's network is touched.
 *
 *	send() -> slirp_input() ----------------> sockets, timers
 *	                 |                            | epoll (this back end's file descriptor)
 *	                 v                            v
 *	recv() <------- queue <------ slirp_pollfds_poll()
 *
 * No thread of its own. The file descriptor that the front end watches is an epoll, which holds libslirp's
 * sockets, a timer, and the *bell*, an eventfd. It is readable when recv() has something to do: a socket
 * is ready, libslirp's timer has run out, frames are queued, or send() has changed what to wait for. recv()
 * takes a frame from the queue, and only when there is none lets libslirp look at its sockets: what
 * the guest doesn't take stays in the sockets, and so with whoever sends. Only answers that libslirp
 * gives at once (to ARP, DHCP, TCP's acknowledgements) can find the queue full; they are lost and counted.
 *
 * libslirp is told of time-outs by slirp_pollfds_fill(): 2 ms for acknowledgements, half a second while
 * there is any connection, a second for nothing in particular, which is ignored here. After USER_IDLE_NS
 * in which nothing has come from either side nothing that waits for half seconds matters any more
 * (libslirp's UDP sockets live 4 minutes, TIME_WAIT and retransmissions end before): an idle guest with
 * idle connections wakes nobody. IPv6's router advertisements, every few minutes, have a deadline of their own.
 *
 * libslirp gets a copy of each frame, because it looks at some words more than once, and no fragments of IP
 * packets but what user_reass.c has made of them. It isn't reentrant:
 * `lock` is around all calls, and taken by send() (the queue's thread, or a vCPU's), recv() and the
 * control thread; nothing else is locked under it. What it keeps for the whole process are a clock in ms
 * and a copy of /etc/resolv.conf's server; two instances write the same there.
 *
 * A guest can make libslirp use memory and file descriptors: connections are bounded (user_is_refused()).
 */
#include <errno.h>
#include <net/ethernet.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#include "base/be.h"
#include "base/iov.h"
#include "net/user_impl.h"

/* TCP connections at a time: each has two buffers of 128 KiB in libslirp. */
#define USER_TCP_MAX 1024

#define USER_OPT(name_, field, kind, ...)                                                \
	{                                                                                \
		.name = name_, .type = kind, .offset = offsetof(struct user, opt.field), \
		__VA_ARGS__                                                              \
	}

static const struct opt_desc user_opt_table[] = {
	USER_OPT("ipv4", ipv4, OPT_BOOL, .def = "on", .help = "IPv4 in the guest's network"),
	USER_OPT("ipv6", ipv6, OPT_BOOL, .def = "on", .help = "IPv6 there"),
	USER_OPT("net", net, OPT_STRING, .def = "10.0.2.0/24", .help = "its addresses"),
	USER_OPT("host", host, OPT_STRING, .help = "the host's address there; none: the 2nd"),
	USER_OPT("dns", dns, OPT_STRING, .help = "the name server's; none: the 3rd"),
	USER_OPT("dhcpstart", dhcpstart, OPT_STRING,
		 .help = "the first of 16 that DHCP gives; none: the 15th"),
	USER_OPT("ipv6-net", ipv6_net, OPT_STRING, .def = "fec0::/64", .help = "the same of IPv6"),
	USER_OPT("ipv6-host", ipv6_host, OPT_STRING, .help = "the host's; none: the 2nd"),
	USER_OPT("ipv6-dns", ipv6_dns, OPT_STRING, .help = "the name server's; none: the 3rd"),
	USER_OPT("hostname", hostname, OPT_STRING, .help = "the guest's name, by DHCP"),
	USER_OPT("domainname", domainname, OPT_STRING, .help = "its domain, by DHCP"),
	USER_OPT("dnssearch", dnssearch, OPT_STRINGS, .help = "a domain to search, by DHCP"),
	USER_OPT("restrict", restricted, OPT_BOOL, .def = "off",
		 .help = "the guest reaches neither host nor network; hostfwd works"),
	USER_OPT("hostfwd", hostfwd, OPT_STRINGS,
		 .help = "[tcp|udp]:[hostaddr]:hostport-[guestaddr]:guestport: a port of the "
			 "host's that leads into the guest"),
	USER_OPT("tftp", tftp, OPT_STRING, .help = "folder that the guest can read by TFTP"),
	USER_OPT("tftp-server-name", tftp_server_name, OPT_STRING, .help = "by DHCP"),
	USER_OPT("bootfile", bootfile, OPT_STRING, .help = "by DHCP: what to load by TFTP"),
	USER_OPT("mtu", mtu, OPT_U32, .def = "1500", .min = 1280, .max = USER_MTU_MAX,
		 .help = "longest packet for the guest, bytes; the guest's own is to be the same"),
	{.name = NULL, .type = OPT_END},
};

/* ---- what a guest can't have ---- */

/* At the limit no new connections are made. UDP has no mark of what is new, and goes on for longer. */
static bool user_is_refused(struct user *u, size_t len)
{
	const uint8_t *ip = u->in + USER_ETH;
	bool v6 = *ip >> 4 == 6;
	size_t tcp = USER_ETH + (v6 ? 40 : (*ip & 15u) * 4);
	bool is_new;

	if (u->sockets < u->sockets_max || be16_get(u->in + 12) == ETHERTYPE_ARP)
		return false;
	if (tcp + 14 <= len && ip[v6 ? 6 : 9] == IPPROTO_TCP)
		is_new = (u->in[tcp + 13] & 0x12) == 0x02; /* SYN without ACK */
	else
		is_new = u->sockets >= u->sockets_max + u->sockets_max / 2;
	if (is_new)
		log_limited(&u->log, "%s: the guest has %u sockets open: no more", u->net.id,
			    u->sockets);
	return is_new;
}

/* What libslirp 4.7 doesn't look at itself, or not carefully. A datagram that says it is shorter than its header becomes a very long one. */
static bool user_check_udp(const uint8_t *udp, size_t room)
{
	return room >= 8 && be16_get(udp + 4) >= 8 && be16_get(udp + 4) <= room;
}

static bool user_check_ipv4(const uint8_t *ip, size_t room)
{
	size_t header = (*ip & 15u) * 4, whole = room < 20 ? 0 : be16_get(ip + 2);

	if (*ip >> 4 != 4 || header < 20 || whole < header || whole > room)
		return false;
	return ip[9] != IPPROTO_UDP || user_check_udp(ip + header, whole - header);
}

/* The same; beyond what has come is somebody else's memory. And for an echo request to anybody but itself all that libslirp
 * has is a line in the log, each time. */
static bool user_check_ipv6(const struct user *u, const uint8_t *ip, size_t room)
{
	static const uint8_t link_local[15] = {0xfe, 0x80};
	size_t whole = room < 40 ? SIZE_MAX : 40 + (size_t)be16_get(ip + 4);
	const uint8_t *to = ip + 24;

	if (*ip >> 4 != 6 || whole > room)
		return false;
	if (ip[6] == IPPROTO_UDP)
		return user_check_udp(ip + 40, whole - 40);
	if (ip[6] != IPPROTO_ICMPV6 || whole == 40 || ip[40] != 128)
		return true;
	return !memcmp(to, &u->addr.host6, 16) || !memcmp(to, &u->addr.dns6, 16) ||
	       (!memcmp(to, link_local, 15) && (to[15] == 2 || to[15] == 3));
}

static bool user_check(const struct user *u, const uint8_t *frame, size_t len)
{
	switch (be16_get(frame + 12)) {
	case ETHERTYPE_IP:
		return user_check_ipv4(frame + USER_ETH, len - USER_ETH);
	case ETHERTYPE_IPV6:
		return user_check_ipv6(u, frame + USER_ETH, len - USER_ETH);
	default:
		return true;
	}
}

/* ---- data path ---- */

/* Gives libslirp the frame in u->in, or what it makes whole; false: it is not to be had. */
static bool user_input(struct user *u, size_t len)
{
	const uint8_t *frame = u->in;

	if (user_is_refused(u, len))
		return false;
	u->active_ns = loop_now_ns();
	if (user_is_fragment(frame, len))
		frame = user_reass_add(&u->reass, frame, &len, u->active_ns);
	if (!frame)
		return true;
	if (!user_check(u, frame, len))
		return false;
	u->changed = true;
	slirp_input(u->slirp, frame, (int)len);
	user_ring(u, true);
	return true;
}

static int user_send(struct net_queue *q, const struct iovec *iov, int n)
{
	struct user *u = user_of(q->net);
	size_t len = iov_size(iov, (size_t)n);

	if (net_link_is_down(q->net)) {
		counter_add(&q->counters.tx_dropped_down, 1);
		return 0;
	}
	pthread_mutex_lock(&u->lock);
	if (len <= sizeof(u->in))
		iov_read(iov, (size_t)n, 0, u->in, len);
	if (len < USER_ETH || len > sizeof(u->in) || !user_input(u, len)) {
		counter_add(&q->counters.tx_dropped_refused, 1);
	} else {
		counter_add(&q->counters.tx_packets, 1);
		counter_add(&q->counters.tx_bytes, len);
	}
	pthread_mutex_unlock(&u->lock);
	return 0;
}

/* Link down: libslirp goes on, and what it gives is thrown away. */
static void user_discard(struct user *u)
{
	counter_add(&u->queue.counters.rx_dropped_down, u->out.frames);
	u->out.frames = 0;
	user_run(u);
	counter_add(&u->queue.counters.rx_dropped_down, u->out.frames);
	u->out.frames = 0;
}

static ssize_t user_recv(struct net_queue *q, const struct iovec *iov, int n)
{
	struct user *u = user_of(q->net);
	const uint8_t *frame;
	ssize_t r = -EAGAIN;
	uint32_t len;

	pthread_mutex_lock(&u->lock);
	if (net_link_is_down(q->net))
		user_discard(u);
	else if (!u->out.frames)
		user_run(u);
	frame = user_queue_take(&u->out, &len);
	if (frame) {
		r = (ssize_t)iov_write(iov, (size_t)n, 0, frame, len);
		counter_add(&q->counters.rx_packets, 1);
		counter_add(&q->counters.rx_bytes, (uint64_t)r);
	}
	user_ring(u, u->out.frames || u->changed);
	pthread_mutex_unlock(&u->lock);
	return r;
}

static int user_fd(struct net_queue *q)
{
	return user_of(q->net)->epoll;
}

/* libslirp's frames have no header: there is nothing to be taken. */
static int user_set_offloads(struct net_backend *net, unsigned int offloads, unsigned int hdr_len)
{
	net->frame_max = user_of(net)->opt.mtu + USER_ETH;
	return offloads || hdr_len ? -EINVAL : 0;
}

/* ---- set-up ---- */

static int user_check_options(const struct user_opts *o, struct err *err)
{
	/* RFC 951: 128 bytes with a zero at the end. */
	if (o->bootfile && strlen(o->bootfile) > 127)
		return err_set(err, -EINVAL, "bootfile=%s: has more than 127 characters",
			       o->bootfile);
	/* libslirp's own limit of what goes into an option of DHCP's. */
	if (o->hostname && strlen(o->hostname) > 32)
		return err_set(err, -EINVAL, "hostname=%s: has more than 32 characters",
			       o->hostname);
	if (o->domainname && strlen(o->domainname) > 255)
		return err_set(err, -EINVAL, "domainname=%s: has more than 255 characters",
			       o->domainname);
	if (o->tftp_server_name && strlen(o->tftp_server_name) > 255)
		return err_set(err, -EINVAL, "tftp-server-name=%s: has more than 255 characters",
			       o->tftp_server_name);
	if (o->tftp && access(o->tftp, R_OK | X_OK))
		return err_errno(err, "tftp=%s", o->tftp);
	return 0;
}

/* Memory, and bounds. */
static int user_prepare(struct user *u, struct err *err)
{
	struct rlimit limit = {.rlim_cur = 1024};

	/* Half of what a process may have, and so that one that starts another has some left. */
	getrlimit(RLIMIT_NOFILE, &limit);
	u->sockets_max =
		limit.rlim_cur / 2 < USER_TCP_MAX ? (unsigned int)limit.rlim_cur / 2 : USER_TCP_MAX;
	u->out.bytes = malloc(USER_QUEUE_BYTES);
	if (!u->out.bytes || user_reass_init(&u->reass))
		return err_set(err, -ENOMEM, "out of memory");
	return 0;
}

static int user_start(struct user *u, struct err *err)
{
	const struct user_opts *o = &u->opt;
	const struct user_addresses *a = &u->addr;
	const SlirpConfig config = {
		.version = 4,
		.restricted = o->restricted,
		.in_enabled = o->ipv4,
		.vnetwork = a->net,
		.vnetmask = a->mask,
		.vhost = a->host,
		.vnameserver = a->dns,
		.vdhcp_start = a->dhcpstart,
		.in6_enabled = o->ipv6,
		.vprefix_addr6 = a->net6,
		.vprefix_len = a->prefix6,
		.vhost6 = a->host6,
		.vnameserver6 = a->dns6,
		.vhostname = o->hostname,
		.vdomainname = o->domainname,
		.vdnssearch = (const char **)o->dnssearch,
		.tftp_path = o->tftp,
		.tftp_server_name = o->tftp_server_name,
		.bootfile = o->bootfile,
		.if_mtu = o->mtu,
		.if_mru = o->mtu,
	};
	int r;

	u->slirp = slirp_new(&config, &user_callbacks, u);
	if (!u->slirp)
		return err_set(err, -EINVAL, "libslirp %s doesn't take these options",
			       slirp_version_string());
	for (char **rule = o->hostfwd; rule && *rule; rule++) {
		r = user_forward_add(u, *rule, err);
		if (r)
			return r;
	}
	user_begin(u);
	return 0;
}

static void user_close(struct net_backend *net)
{
	struct user *u = user_of(net);

	if (u->slirp)
		slirp_cleanup(u->slirp);
	for (int i = 0; i < 3; i++) {
		int fd = i == 0 ? u->epoll : i == 1 ? u->bell : u->timer;

		if (fd >= 0)
			close(fd);
	}
	free(u->out.bytes);
	user_reass_free(&u->reass);
	free(u->fd);
	free(u->forward);
	pthread_mutex_destroy(&u->lock);
}

static int user_open(struct net_backend *net, struct err *err)
{
	struct user *u = user_of(net);
	int r;

	pthread_mutex_init(&u->lock, NULL);
	u->epoll = u->bell = u->timer = -1;
	u->queue.net = net;
	net->n_queues = 1;
	net->queue[0] = &u->queue;
	r = user_check_options(&u->opt, err);
	if (!r)
		r = user_addresses(&u->opt, &u->addr, err);
	if (!r)
		r = user_prepare(u, err);
	if (!r)
		r = user_open_fds(u, err);
	if (!r)
		r = user_start(u, err);
	if (r) {
		user_close(net);
		return r;
	}
	return user_set_offloads(net, 0, 0);
}

static const struct net_backend_ops user_net_ops = {
	.name = "user",
	.help = "the host's network through sockets; needs no privileges",
	.opts = user_opt_table,
	.size = sizeof(struct user),
	.open = user_open,
	.close = user_close,
	.send = user_send,
	.recv = user_recv,
	.fd = user_fd,
	.set_offloads = user_set_offloads,
	.info = user_info,
	.forward = user_change_forward,
	.connections = user_connections,
};
NET_BACKEND(user_net_ops);
