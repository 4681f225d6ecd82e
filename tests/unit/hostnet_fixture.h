/*
 * For tests with interfaces of their own: a network namespace, TAPs that play a wire, and a control loop that
 * runs for as long as a test wants.
 */
#ifndef VIREO_TESTS_UNIT_HOSTNET_FIXTURE_H
#define VIREO_TESTS_UNIT_HOSTNET_FIXTURE_H

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/if_packet.h>
#include <linux/if_tun.h>
#include <linux/sockios.h>
#include <net/if.h>
#include <poll.h>
#include <sched.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include "net/net.h"

static char hn_why_not[128]; /* there are no interfaces; empty: there are */

/* A network namespace of the test's own, where it may make TAPs; where that can't be, hn_why_not says
 * why. */
static inline void hn_enter(void)
{
	if (unshare(CLONE_NEWNET))
		snprintf(hn_why_not, sizeof(hn_why_not),
			 "a network namespace can't be made: %s (run as root)", strerror(errno));
	else if (access("/dev/net/tun", R_OK | W_OK))
		snprintf(hn_why_not, sizeof(hn_why_not), "/dev/net/tun: %s", strerror(errno));
	if (*hn_why_not)
		print_message("skipping what needs interfaces: %s\n", hn_why_not);
}

/* Called first in main(): the same, and new interfaces don't speak by themselves (IPv6's router
 * solicitations). */
static inline void hn_init(void)
{
	static const char *const paths[] = {"/proc/sys/net/ipv6/conf/all/disable_ipv6",
					    "/proc/sys/net/ipv6/conf/default/disable_ipv6"};

	hn_enter();
	if (*hn_why_not)
		return;
	for (int i = 0; i < 2; i++) {
		int fd = open(paths[i], O_WRONLY);

		if (fd < 0)
			continue; /* no IPv6 */
		assert_int_equal(write(fd, "1", 1), 1);
		close(fd);
	}
}

static inline int hn_control(unsigned long request, void *arg)
{
	int s = socket(AF_INET, SOCK_DGRAM, 0), r = ioctl(s, request, arg);

	close(s);
	return r;
}

static inline void hn_set_up(const char *name, bool up)
{
	struct ifreq ifr = {0};

	snprintf(ifr.ifr_name, sizeof(ifr.ifr_name), "%s", name);
	assert_int_equal(hn_control(SIOCGIFFLAGS, &ifr), 0);
	ifr.ifr_flags = (short)(up ? ifr.ifr_flags | IFF_UP : ifr.ifr_flags & ~IFF_UP);
	assert_int_equal(hn_control(SIOCSIFFLAGS, &ifr), 0);
}

static inline short hn_flags(const char *name)
{
	struct ifreq ifr = {0};

	snprintf(ifr.ifr_name, sizeof(ifr.ifr_name), "%s", name);
	assert_int_equal(hn_control(SIOCGIFFLAGS, &ifr), 0);
	return ifr.ifr_flags;
}

static inline void hn_set_mtu(const char *name, int mtu)
{
	struct ifreq ifr = {.ifr_mtu = mtu};

	snprintf(ifr.ifr_name, sizeof(ifr.ifr_name), "%s", name);
	assert_int_equal(hn_control(SIOCSIFMTU, &ifr), 0);
}

/* One queue of a TUN or TAP, which is made if it isn't there; flags: IFF_*. */
static inline int hn_tap(const char *name, int flags)
{
	struct ifreq ifr = {.ifr_flags = (short)flags};
	int fd = open("/dev/net/tun", O_RDWR | O_NONBLOCK | O_CLOEXEC);

	assert_true(fd >= 0);
	snprintf(ifr.ifr_name, sizeof(ifr.ifr_name), "%s", name);
	assert_int_equal(ioctl(fd, TUNSETIFF, &ifr), 0);
	return fd;
}

/* Makes one that stays, as `ip tuntap add` does, or takes that away again. */
static inline void hn_tap_persist(const char *name, int flags, bool on)
{
	int fd = hn_tap(name, flags);

	assert_int_equal(ioctl(fd, TUNSETPERSIST, (unsigned long)on), 0);
	close(fd);
}

/* A TAP, up: what the host sends on it is read from the file descriptor, as from a wire. */
static inline int hn_wire(const char *name)
{
	int fd = hn_tap(name, IFF_TAP | IFF_NO_PI);

	hn_set_up(name, true);
	return fd;
}

static inline bool hn_readable(int fd, int ms)
{
	struct pollfd p = {.fd = fd, .events = POLLIN};

	return poll(&p, 1, ms) == 1 && p.revents & POLLIN;
}

/* ---- frames, and the host's side of an interface ---- */

#define HN_ETHERTYPE 0x88b5 /* local experimental: no stack answers it */

static inline void hn_frame(uint8_t *frame, size_t len, uint8_t seed)
{
	static const uint8_t start[14] = {0x52, 0x54, 0, 1, 2, 3, 2, 0, 0, 0, 0, 1, 0x88, 0xb5};

	memcpy(frame, start, sizeof(start));
	for (size_t i = sizeof(start); i < len; i++)
		frame[i] = (uint8_t)(seed + i);
}

/* Sends out of the interface and receives what comes in there, of that EtherType. */
static inline int hn_packet_socket(const char *name, uint16_t ethertype)
{
	struct sockaddr_ll ll = {.sll_family = AF_PACKET,
				 .sll_protocol = htons(ethertype),
				 .sll_ifindex = (int)if_nametoindex(name)};
	int s = socket(AF_PACKET, SOCK_RAW, htons(ethertype));

	assert_true(s >= 0);
	assert_int_equal(bind(s, (struct sockaddr *)&ll, sizeof(ll)), 0);
	return s;
}

/* ---- the control loop ---- */

static inline void hn_tick(struct loop_timer *t)
{
	loop_quit(t->opaque);
}

/* Runs it until done(arg), for 2 s at most. */
static inline bool hn_run_until(struct loop *loop, bool (*done)(void *arg), void *arg)
{
	const uint64_t end = loop_now_ns() + 2000000000;

	while (!done(arg) && loop_now_ns() < end) {
		struct loop_timer t = {.expired = hn_tick, .opaque = loop};

		loop_timer_set(loop, &t, loop_now_ns() + 5000000);
		loop_run(loop);
		loop_timer_cancel(loop, &t);
	}
	return done(arg);
}

/* For that long. */
static inline void hn_run(struct loop *loop, unsigned int ms)
{
	struct loop_timer t = {.expired = hn_tick, .opaque = loop};

	loop_timer_set(loop, &t, loop_now_ns() + ms * UINT64_C(1000000));
	loop_run(loop);
}

/* ---- back ends ---- */

/* "TYPE,id=n0,..." as behind -netdev. */
static inline struct net_backend *hn_create(const struct net_host *host, const char *text,
					    struct err *err)
{
	struct opt_list list;
	struct net_backend *net;
	const char *type;

	memset(err, 0, sizeof(*err));
	assert_int_equal(opt_parse(&list, "-netdev", text, "type", err), 0);
	type = opt_take(&list, "type");
	opt_take(&list, "id");
	net = net_create(host, type, "n0", &list, err);
	if (!net) {
		/* One line, and it says what was asked. */
		assert_non_null(strstr(err->msg, list.text));
		assert_null(strchr(err->msg, '\n'));
	}
	opt_free(&list);
	return net;
}

static inline struct net_backend *hn_create_or_fail(const struct net_host *host, const char *text)
{
	struct err err;
	struct net_backend *net = hn_create(host, text, &err);

	if (!net)
		fail_msg("%s", err.msg);
	return net;
}

static inline void hn_refused_by(const struct net_host *host, const char *text, int code,
				 const char *words)
{
	struct err err;

	assert_null(hn_create(host, text, &err));
	if (err.code != code || !strstr(err.msg, words))
		fail_msg("%s: expected %d and \"%s\", got %d: %s", text, code, words, err.code,
			 err.msg);
}

static inline void hn_refused(const char *text, int code, const char *words)
{
	hn_refused_by(NULL, text, code, words);
}

#endif
