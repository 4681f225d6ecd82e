/*
 * Questions about a machine, answered as values: the monitor prints them.
 */
#include "machine/query.h"

#include <pthread.h>
#include <stdio.h>
#include <string.h>

#include "bus/device.h"
#include "bus/pci.h"
#include "machine/machine.h"
#include "net/net.h"

json_t *query_status(struct machine *machine)
{
	enum machine_state state = machine_state(machine);

	return json_pack("{s:s, s:b}", "status", machine_state_name(state), "running",
			 state == MACHINE_RUNNING);
}

json_t *query_name(struct machine *machine)
{
	const struct vm_config *config = machine_config(machine);

	return json_pack("{s:s?, s:s?}", "name", config->name, "uuid", config->uuid);
}

static json_t *member(json_t *object, const char *name)
{
	json_t *o = json_object_get(object, name);

	if (!o) {
		o = json_object();
		json_object_set_new(object, name, o);
	}
	return o;
}

/* ---- network ---- */

/* Of a set of counters, those of lost frames, where there are any. */
static void add_losses(void *opaque, const char *owner, const char *part,
		       const struct counter_desc *table, const void *base)
{
	const size_t tag = strlen(COUNTER_LOST);
	char where[64];

	snprintf(where, sizeof(where), "%s%s%s", owner, part ? " " : "", part ? part : "");
	for (; table->name; table++) {
		const struct counter *c = (const void *)((const char *)base + table->offset);
		uint64_t n = counter_get(c);

		if (n && !strncmp(table->help, COUNTER_LOST, tag))
			json_object_set_new(member(opaque, where), table->name,
					    json_integer((json_int_t)n));
	}
}

static json_t *describe_net(struct net_backend *net)
{
	json_t *o = json_object();

	net_info(net, o);
	return o;
}

struct net_query {
	struct device *dev; /* whose back end is looked for */
	json_t *found;
	json_t *lost;
};

static void match_net(struct net_backend *net, struct device *user, void *opaque)
{
	struct net_query *q = opaque;

	if (user != q->dev)
		return;
	q->found = describe_net(net);
	net_counters_each(net, add_losses, q->lost);
}

struct net_list {
	struct machine *machine;
	json_t *list;
};

static void add_nic(struct device *dev, void *opaque)
{
	struct net_list *l = opaque;
	struct net_query q = {.dev = dev};
	json_t *o;

	if (!dev->model->nic)
		return;
	q.lost = json_object();
	if (dev->model->counters)
		dev->model->counters(dev, add_losses, q.lost);
	machine_each_net(l->machine, match_net, &q);
	o = json_pack("{s:s, s:s}", "id", dev->id, "model", dev->model->name);
	if (dev->model->info)
		dev->model->info(dev, o);
	json_object_set_new(o, "netdev", q.found ? q.found : json_null());
	if (json_object_size(q.lost))
		json_object_set(o, "lost", q.lost);
	json_decref(q.lost);
	json_array_append_new(l->list, o);
}

static void add_idle_net(struct net_backend *net, struct device *user, void *opaque)
{
	struct net_list *l = opaque;

	if (!user)
		json_array_append_new(l->list,
				      json_pack("{s:n, s:o}", "id", "netdev", describe_net(net)));
}

json_t *query_network(struct machine *machine)
{
	struct net_list l = {.machine = machine, .list = json_array()};

	machine_each_device(machine, add_nic, &l);
	machine_each_net(machine, add_idle_net, &l);
	return l.list;
}

static void add_connections(struct net_backend *net, struct device *user, void *opaque)
{
	if (net->ops->connections)
		json_array_append_new(opaque, json_pack("{s:s, s:o}", "id", net->id, "connections",
							net->ops->connections(net)));
}

json_t *query_usernet(struct machine *machine)
{
	json_t *list = json_array();

	machine_each_net(machine, add_connections, list);
	return list;
}

/* ---- PCI ---- */

static json_t *describe_bar(struct pci_device *pci, unsigned int index)
{
	static const char *const kinds[] = {"none", "io", "mem32", "mem64"};
	const struct pci_bar *bar = &pci->bar[index];
	json_t *o = json_pack("{s:s, s:I, s:I, s:b}", "kind", kinds[bar->kind], "address",
			      (json_int_t)pci_bar_address(pci, index), "size",
			      (json_int_t)bar->size, "prefetchable", bar->prefetchable);

	if (index == PCI_BAR_ROM)
		json_object_set_new(o, "rom", json_true());
	else
		json_object_set_new(o, "bar", json_integer(index));
	return o;
}

static void add_function(struct pci_device *pci, void *opaque)
{
	json_t *bars = json_array(), *o;

	pthread_mutex_lock(&pci->dev.lock); /* the guest may be writing them */
	for (unsigned int i = 0; i < PCI_BARS; i++)
		if (pci->bar[i].kind != PCI_BAR_NONE)
			json_array_append_new(bars, describe_bar(pci, i));
	o = json_pack(
		"{s:s, s:i, s:i, s:i, s:i, s:i, s:i, s:o}", "id", pci->dev.id, "slot", pci->slot,
		"function", pci->function, "vendor", pci->config[0] | pci->config[1] << 8, "device",
		pci->config[2] | pci->config[3] << 8, "class",
		pci->config[10] | pci->config[11] << 8, "irq", pci->config[0x3c], "bars", bars);
	pthread_mutex_unlock(&pci->dev.lock);
	json_array_append_new(opaque, o);
}

json_t *query_pci(struct machine *machine)
{
	json_t *list = json_array();

	pci_bus_each(machine_pci(machine), add_function, list);
	return list;
}

/* ---- counters ---- */

static void add_counters(void *opaque, const char *owner, const char *part,
			 const struct counter_desc *table, const void *base)
{
	json_t *o = member(opaque, owner);

	if (part)
		o = member(o, part);
	for (; table->name; table++) {
		const struct counter *c = (const void *)((const char *)base + table->offset);

		json_object_set_new(o, table->name, json_integer(counter_get(c)));
	}
}

json_t *query_io(struct machine *machine)
{
	json_t *o = json_object();

	machine_each_counter(machine, add_counters, o);
	return o;
}
