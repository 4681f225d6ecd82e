/*
 * Network back ends by name, and what all of them share: options, link state, counters.
 *
 * A back end is made and destroyed on the control thread; its queues run on I/O threads.
 */
#include "net/net.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define NET_COUNTER(field, tag, text)                                                     \
	{                                                                                 \
		.name = tag, .offset = offsetof(struct net_counters, field), .help = text \
	}

const struct counter_desc net_counter_table[] = {
	NET_COUNTER(tx_packets, "tx-packets", "frames the host took"),
	NET_COUNTER(tx_bytes, "tx-bytes", "bytes of them, Ethernet header included"),
	NET_COUNTER(rx_packets, "rx-packets", "frames given to the guest's card"),
	NET_COUNTER(rx_bytes, "rx-bytes", "bytes of them, Ethernet header included"),
	NET_COUNTER(tx_syscalls, "tx-syscalls", "system calls that sent"),
	NET_COUNTER(rx_syscalls, "rx-syscalls", "system calls that received, or found nothing"),
	NET_COUNTER(tx_dropped_down, "tx-dropped-down", "lost: link or interface down, or gone"),
	NET_COUNTER(tx_dropped_refused, "tx-dropped-refused", "lost: the host refused the frame"),
	NET_COUNTER(tx_blocked, "tx-blocked", "waits for the host's full queue; nothing lost"),
	NET_COUNTER(rx_dropped_down, "rx-dropped-down", "lost: link down"),
	NET_COUNTER(rx_dropped_error, "rx-dropped-error", "lost: the host gave an error"),
	NET_COUNTER(rx_dropped_full, "rx-dropped-full",
		    "lost: the guest took them too slowly, and the queue was full"),
	{.name = NULL},
};

/* The linker's names for the section that NET_BACKEND() fills. */
extern const struct net_backend_ops *const __start_net_backends[];
extern const struct net_backend_ops *const __stop_net_backends[];

static const struct net_backend_ops *net_find(const char *type)
{
	for (const struct net_backend_ops *const *o = __start_net_backends; o < __stop_net_backends;
	     o++)
		if (!strcmp((*o)->name, type))
			return *o;
	return NULL;
}

bool net_type_shares_memory(const char *type)
{
	const struct net_backend_ops *ops = net_find(type);

	return ops && ops->shares_memory;
}

static int net_unknown_type(const char *type, struct err *err)
{
	char names[256] = "";
	size_t used = 0;

	for (const struct net_backend_ops *const *o = __start_net_backends;
	     o < __stop_net_backends && used < sizeof(names); o++)
		used += (size_t)snprintf(names + used, sizeof(names) - used, "%s%s",
					 used ? ", " : "", (*o)->name);
	return err_set(err, -EINVAL, "there is no network back end \"%s\" (there is: %s)", type,
		       names);
}

static void net_free(struct net_backend *net)
{
	opt_release(net->ops->opts, net);
	free(net->id);
	free(net);
}

struct net_backend *net_create(const struct net_host *host, const char *type, const char *id,
			       struct opt_list *list, struct err *err)
{
	const struct net_backend_ops *ops = net_find(type);
	struct net_backend *net;

	if (!ops) {
		net_unknown_type(type, err);
		err_prefix(err, "%s", list->text);
		return NULL;
	}
	net = calloc(1, ops->size);
	if (!net) {
		err_set(err, -ENOMEM, "%s: out of memory", list->text);
		return NULL;
	}
	net->ops = ops;
	net->host = host;
	net->id = strdup(id);
	if (!net->id) {
		err_set(err, -ENOMEM, "%s: out of memory", list->text);
		free(net);
		return NULL;
	}
	/* These two name list->text themselves. */
	if (opt_apply(ops->opts, net, list, err) || opt_all_used(list, &ops->opts, 1, err)) {
		net_free(net);
		return NULL;
	}
	if (ops->open(net, err)) {
		err_prefix(err, "%s", list->text);
		net_free(net);
		return NULL;
	}
	return net;
}

void net_destroy(struct net_backend *net)
{
	if (!net)
		return;
	net->ops->close(net);
	net_free(net);
}

void net_help(FILE *out)
{
	for (const struct net_backend_ops *const *o = __start_net_backends; o < __stop_net_backends;
	     o++) {
		fprintf(out, "-netdev %s,id=ID: %s\n", (*o)->name, (*o)->help);
		opt_help(out, (*o)->opts);
	}
}

void net_set_link(struct net_backend *net, bool up)
{
	__atomic_store_n(&net->link_down, !up, __ATOMIC_RELAXED);
}

void net_set_carrier(struct net_backend *net, bool up)
{
	bool was_down = __atomic_exchange_n(&net->no_carrier, !up, __ATOMIC_RELAXED);

	if (was_down == up && net->events && net->events->carrier)
		net->events->carrier(net->events_opaque);
}

int net_set_mac(struct net_backend *net, const uint8_t mac[6], struct err *err)
{
	return net->ops->set_mac && !(mac[0] & 1) ? net->ops->set_mac(net, mac, err) : 0;
}

static json_t *net_offload_names(unsigned int offloads)
{
	static const struct {
		unsigned int bit;
		const char *name;
	} names[] = {
		{NET_OFFLOAD_CSUM, "csum"}, {NET_OFFLOAD_TSO4, "tso4"}, {NET_OFFLOAD_TSO6, "tso6"},
		{NET_OFFLOAD_ECN, "ecn"},   {NET_OFFLOAD_UFO, "ufo"},	{NET_OFFLOAD_USO, "uso"},
	};
	json_t *array = json_array();

	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++)
		if (offloads & names[i].bit)
			json_array_append_new(array, json_string(names[i].name));
	return array;
}

void net_info(struct net_backend *net, json_t *object)
{
	json_object_set_new(object, "id", json_string(net->id));
	json_object_set_new(object, "type", json_string(net->ops->name));
	json_object_set_new(object, "link", json_boolean(!net_link_is_down(net)));
	json_object_set_new(object, "queues", json_integer(net->n_queues));
	json_object_set_new(object, "header",
			    json_integer(__atomic_load_n(&net->hdr_len, __ATOMIC_RELAXED)));
	json_object_set_new(object, "offloads-out", net_offload_names(net->offloads_out));
	json_object_set_new(object, "offloads-in", net_offload_names(net->offloads_in));
	if (net->ops->info)
		net->ops->info(net, object);
}

void net_counters_each(struct net_backend *net, counter_visit *visit, void *opaque)
{
	char part[24];

	for (unsigned int i = 0; i < net->n_queues; i++) {
		snprintf(part, sizeof(part), "queue %u", i);
		visit(opaque, net->id, part, net_counter_table, &net->queue[i]->counters);
	}
	if (net->ops->counters)
		net->ops->counters(net, visit, opaque);
}
