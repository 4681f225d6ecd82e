/*
 * Shared by netlink.c and netlink_watch.c.
 */
#ifndef VIREO_NET_NETLINK_IMPL_H
#define VIREO_NET_NETLINK_IMPL_H

#include <linux/netlink.h>
#include <stddef.h>

#include "net/netlink.h"

/* Fills link from an RTM_NEWLINK; false: it is something else. */
bool netlink_parse_link(const struct nlmsghdr *nlh, struct netlink_link *link);

/* A message that asks to delete an interface, of 64 bytes at most; returns its length. */
size_t netlink_put_delete(void *buf, int index);

#endif
