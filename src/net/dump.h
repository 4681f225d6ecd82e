/*
 * -object filter-dump: a netdev's frames, both ways, into a file that tcpdump and Wireshark read.
 */
#ifndef VIREO_NET_DUMP_H
#define VIREO_NET_DUMP_H

#include "base/counter.h"
#include "base/err.h"
#include "base/opt.h"
#include "net/net.h"

struct net_dump;

struct net_dump_opts {
	char *netdev; /* the caller's to look up */
	char *file;
	uint32_t maxlen; /* bytes of each frame that are kept */
};
extern const struct opt_desc net_dump_opts[];

struct net_dump_counters {
	struct counter frames, bytes, lost;
};
extern const struct counter_desc net_dump_counter_table[];

/* Dumps net's frames from now on; a file that is there already begins anew. NULL with err set. Control thread,
 * as net_filter_add(). */
struct net_dump *net_dump_create(const char *id, struct net_backend *net,
				 const struct net_dump_opts *opts, struct err *err);
/* Before the back end is destroyed. */
void net_dump_destroy(struct net_dump *dump);
const struct net_dump_counters *net_dump_counters(const struct net_dump *dump);

#endif
