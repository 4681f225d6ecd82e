/*
 * In place of netlink.c and netlink_watch.c in a build without libmnl: what needs netlink is refused.
 */
#include <errno.h>
#include <stddef.h>

#include "net/netlink.h"

static int none(struct err *err)
{
	return err_set(err, -ENOTSUP,
		       "this vireo was built without libmnl, which bridges and MacVTaps need "
		       "(meson configure -Dnetlink=true)");
}

int netlink_get(const char *name, int index, struct netlink_link *out, struct err *err)
{
	return none(err);
}

int netlink_get_stats(int index, struct netlink_link *out, struct err *err)
{
	return none(err);
}

int netlink_set_flags(int index, unsigned int flags, unsigned int mask, struct err *err)
{
	return none(err);
}

int netlink_set_mtu(int index, unsigned int mtu, struct err *err)
{
	return none(err);
}

int netlink_set_mac(int index, const uint8_t mac[6], struct err *err)
{
	return none(err);
}

int netlink_set_master(int index, int master, struct err *err)
{
	return none(err);
}

int netlink_delete(int index, struct err *err)
{
	return none(err);
}

int netlink_add_macvtap(const char *name, int lower, unsigned int mode, const uint8_t *mac,
			struct netlink_link *out, dev_t *dev, struct err *err)
{
	return none(err);
}

int netlink_watch(struct netlink_watch *w, struct loop *control, struct err *err)
{
	return none(err);
}

void netlink_unwatch(struct netlink_watch *w)
{
}

int netlink_guard_start(struct netlink_guard *guard, int index, struct err *err)
{
	return none(err);
}

void netlink_guard_end(struct netlink_guard *guard)
{
}
