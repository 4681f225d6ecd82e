/*
 * Network interfaces of the host, over rtnetlink: find, set up, bridge, make, delete, watch.
 *
 * Source: rtnetlink(7), <linux/if_link.h>. What is not done here: addresses and routes, which are
 * their owner's. Everything is about the network namespace that this process is in.
 *
 * Each request is one message and its answer on a socket of its own; it waits for the kernel, so it is
 * for the control thread. Functions return 0 or -errno. Where they fail, err has the errno's
 * text, and behind it in parentheses what the kernel says about the cause, if it does; callers replace
 * that by a sentence for the cases that they know.
 */
#ifndef VIREO_NET_NETLINK_H
#define VIREO_NET_NETLINK_H

#include <net/if.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "base/err.h"
#include "base/loop.h"

/* What the kernel says about an interface. */
struct netlink_link {
	int index;
	char name[IFNAMSIZ];
	char kind[16];	    /* "bridge", "tun", "macvtap"; "" = hardware, or one that has no kind */
	unsigned int flags; /* IFF_UP and others */
	unsigned int mtu;   /* bytes */
	int master;	    /* index of the bridge that it is in, or 0 */
	int lower;	    /* index of the interface below (a macvtap's parent), or 0 */
	bool carrier;	    /* IFLA_CARRIER */
	uint8_t mac[6];
	/* Frames that it has dropped; netlink_get_stats() alone fills these. */
	uint64_t rx_dropped, tx_dropped;
};

/* By name, or by index where name is NULL. -ENODEV: there is none; -ENAMETOOLONG. */
int netlink_get(const char *name, int index, struct netlink_link *out, struct err *err);

/* The same, by index, with what it has counted. */
int netlink_get_stats(int index, struct netlink_link *out, struct err *err);

/* -EPERM without CAP_NET_ADMIN in the namespace, -ENODEV when it is gone. */
int netlink_set_flags(int index, unsigned int flags, unsigned int mask, struct err *err);
int netlink_set_mtu(int index, unsigned int mtu, struct err *err);
int netlink_set_mac(int index, const uint8_t mac[6], struct err *err);
/* Puts it into a bridge; master 0: takes it out of the one it is in. -EOPNOTSUPP: `master` is no
 * bridge, -EBUSY: it is in one already. */
int netlink_set_master(int index, int master, struct err *err);
int netlink_delete(int index, struct err *err);

/* Makes a macvtap on the interface `lower`; name NULL: the kernel picks macvtap0, macvtap1 ...; mode:
 * MACVLAN_MODE_*. out is filled, and *dev with the number of its character device (/dev/tapN), 0 if
 * the kernel didn't tell. -EEXIST: the name is taken; -EBUSY: `lower` is in a bridge, or has one in
 * passthru mode, or the other way round; -EINVAL: `lower` can't have any; -EOPNOTSUPP: the kernel has
 * no macvtap. */
int netlink_add_macvtap(const char *name, int lower, unsigned int mode, const uint8_t *mac,
			struct netlink_link *out, dev_t *dev, struct err *err);

/* ---- changes ---- */

/* Tells of one interface's changes, on the control thread. The owner keeps it alive until
 * netlink_unwatch(). */
struct netlink_watch {
	/* link NULL: it is gone from this namespace, for good. It may be told what it knows already. */
	void (*changed)(struct netlink_watch *w, const struct netlink_link *link);
	void *opaque;
	int index;
	struct loop_fd lf; /* its own */
};

/* index, changed and opaque are set. changed() is first called by the loop, with what is so then.
 * Control thread. */
int netlink_watch(struct netlink_watch *w, struct loop *control, struct err *err);
void netlink_unwatch(struct netlink_watch *w); /* one that is all zero is fine */

/* ---- when this process is gone ---- */

/* A child process that deletes an interface when this process has ended in whatever way, SIGKILL and a
 * crash included, without netlink_guard_end(). It is in a session of its own, so that what ends a
 * process group leaves it; ending the whole cgroup at once ends it, too. */
struct netlink_guard {
	pid_t pid; /* 0: none */
	int pipe;
};

int netlink_guard_start(struct netlink_guard *guard, int index, struct err *err);
void netlink_guard_end(struct netlink_guard *guard); /* without deleting */

#endif
