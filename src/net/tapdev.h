/*
 * TAP interfaces of Linux: make or attach, bridge, hand to a script. Set-up only, control thread.
 *
 * Source: Linux Documentation/networking/tuntap.rst, <linux/if_tun.h>.
 * No program is run for any of it but the user's own script=.
 */
#ifndef VIREO_NET_TAPDEV_H
#define VIREO_NET_TAPDEV_H

#include <net/if.h>
#include <stdbool.h>

#include "base/err.h"

struct tapdev {
	int fd;		     /* non-blocking, close-on-exec; a frame per read and write */
	char name[IFNAMSIZ]; /* of the interface */
	int index;	     /* of the interface; 0: in another network namespace */
	bool created;	     /* by this call: it vanishes when fd is closed */
	bool raised;	     /* it was down, and tapdev_bridge_add() has set it up */
	bool vnet_hdr;	     /* frames carry struct net_hdr */
};

/* Does this host's TUN driver know IFF_VNET_HDR? fd: an open /dev/net/tun. */
bool tapdev_has_vnet_hdr(int fd);

/* Opens /dev/net/tun; returns the fd or -errno with advice in err. */
int tapdev_open_control(struct err *err);

/* Makes the TAP `name`, or attaches to the one that is there; name NULL: the kernel picks tap0,
 * tap1 ... fd, from tapdev_open_control(), is dev's from now on, in failure too (closed). */
int tapdev_attach(struct tapdev *dev, int fd, const char *name, bool vnet_hdr, struct err *err);
/* The same, of a TAP with several queues: fd is the first one's. */
int tapdev_attach_multi(struct tapdev *dev, int fd, const char *name, bool vnet_hdr,
			struct err *err);
/* Another queue of it. Returns its fd, or -errno. */
int tapdev_add_queue(const struct tapdev *dev, struct err *err);
/* A queue of a TAP or MacVTap that has several carries frames, or doesn't. 0 or -errno. */
int tapdev_use_queue(int fd, bool on);

/* Takes over a TAP or MacVTap that somebody else opened. On failure fd is left as it is. */
int tapdev_adopt(struct tapdev *dev, int fd, struct err *err);

/* Puts the interface into a bridge, one that was created with the bridge's MTU, and sets it up. 0 or -errno. */
int tapdev_bridge_add(struct tapdev *dev, const char *bridge, struct err *err);
/* Takes one that wasn't created out again, and leaves it up or down as it was. */
void tapdev_bridge_remove(const struct tapdev *dev, const char *bridge);

/* Runs `path NAME` and waits for it; a status other than 0 is an error. */
int tapdev_script(const struct tapdev *dev, const char *path, struct err *err);

/* The interface's MTU in bytes; 0 where it can't be told (it lives in another network namespace).
 */
unsigned int tapdev_mtu(const struct tapdev *dev);

#endif
