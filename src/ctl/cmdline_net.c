/*
 * -netdev, -nic and the older -net.
 *
 * `-net nic` and `-net tap` meet on a hub (`vlan=N`, 0 if not given). vireo joins one NIC and one
 * back end straight to each other, which is what such a hub of two amounts to; more on one hub is
 * refused.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "ctl/cmdline.h"
#include "machine/names.h"

/* The model of a card whose model isn't said: under -net nic as it has been since that option is there,
 * under the newer -nic what the machine type pc has had since. */
#define LEGACY_NIC_MODEL "rtl8139"
#define NIC_MODEL	 "e1000"

struct legacy_net {
	bool nic;
	uint64_t vlan;
	char *netdev;		  /* back end: its id */
	struct config_item *item; /* NIC: the device that gets netdev=; NULL: it has one */
	TAILQ_ENTRY(legacy_net) link;
};

/* model=? */
static bool asks_for_nics(struct cmdline *cl, const struct opt_list *list)
{
	const char *model = opt_get(list, "model");

	return model && cmdline_asks_help(cl, model, names_list_nics);
}

/* Adds the NIC that `list` describes in -net nic's or -nic's words; usual: the model if it names none;
 * netdev NULL: none yet. */
static int add_nic(struct cmdline *cl, struct opt_list *list, const char *usual, const char *netdev,
		   struct err *err)
{
	static const struct {
		const char *from, *to;
	} words[] = {{"macaddr", "mac"}, {"mac", "mac"}, {"addr", "addr"}, {"vectors", "vectors"}};
	const char *model = opt_take(list, "model"), *name, *v;
	struct opt_list dev = {0};
	int rc;

	if (!model)
		model = usual;
	name = names_nic_model(model);
	if (!name) {
		err_set(err, -EINVAL, "%s: no NIC model '%s' (-net nic,model=? lists them)",
			list->text, model);
		return -EINVAL;
	}
	rc = opt_parse(&dev, list->text, "", NULL, err);
	for (size_t i = 0; rc == 0 && i < sizeof(words) / sizeof(words[0]); i++)
		if ((v = opt_take(list, words[i].from)))
			rc = opt_add(&dev, words[i].to, v);
	if (rc == 0 && netdev)
		rc = opt_add(&dev, "netdev", netdev);
	if (rc == 0)
		rc = vm_config_add(&cl->vm, CONFIG_DEVICE, name, NULL, &dev);
	opt_free(&dev);
	return rc;
}

int cmdline_netdev(struct cmdline *cl, const char *text, struct err *err)
{
	if (cmdline_asks_help(cl, text, names_list_netdevs))
		return 0;
	return cmdline_item(cl, CONFIG_NETDEV, "-netdev", text, "type", "tap,id=n0", err);
}

int cmdline_nic(struct cmdline *cl, const char *text, struct err *err)
{
	struct opt_list list = {0}, nic = {0};
	static const char *const nic_words[] = {"model", "mac", "macaddr", "addr", "vectors"};
	char *type, *id, made_up[32];
	int rc = cmdline_options(&list, "-nic", text, "type", err);

	if (rc < 0)
		return rc;
	if (asks_for_nics(cl, &list)) {
		opt_free(&list);
		return 0;
	}
	type = cmdline_take(&list, "type");
	id = cmdline_take(&list, "id");
	if (!type) {
		rc = err_set(err, -EINVAL, "%s: needs a type (tap, bridge, macvtap, user, none)",
			     list.text);
		goto out;
	}
	if (!strcmp(type, "none"))
		goto out;
	if (!id) {
		cmdline_make_id(cl, "nic", made_up, sizeof(made_up));
		id = strdup(made_up);
	}
	rc = opt_parse(&nic, list.text, "", NULL, err);
	for (size_t i = 0; rc == 0 && i < sizeof(nic_words) / sizeof(nic_words[0]); i++) {
		const char *v = opt_take(&list, nic_words[i]);

		if (v)
			rc = opt_add(&nic, nic_words[i], v);
	}
	cmdline_drop_taken(&list);
	if (rc == 0)
		rc = vm_config_add(&cl->vm, CONFIG_NETDEV, type, id, &list);
	if (rc == 0)
		rc = add_nic(cl, &nic, NIC_MODEL, id, err);
out:
	free(type);
	free(id);
	opt_free(&list);
	opt_free(&nic);
	return rc;
}

static int legacy_nic(struct cmdline *cl, struct opt_list *list, struct legacy_net *net,
		      struct err *err)
{
	char *netdev = cmdline_take(list, "netdev");
	int rc = add_nic(cl, list, LEGACY_NIC_MODEL, netdev, err);

	if (rc == 0 && !netdev)
		net->item = TAILQ_LAST(&cl->vm.items, config_items);
	free(netdev);
	return rc == 0 ? cmdline_all_taken(list, err) : rc;
}

static int legacy_backend(struct cmdline *cl, const char *type, struct opt_list *list,
			  struct legacy_net *net, struct err *err)
{
	char made_up[32];

	net->netdev = cmdline_take(list, "id");
	if (!net->netdev)
		net->netdev = cmdline_take(list, "name");
	if (!net->netdev) {
		cmdline_make_id(cl, type, made_up, sizeof(made_up));
		net->netdev = strdup(made_up);
	}
	cmdline_drop_taken(list);
	return vm_config_add(&cl->vm, CONFIG_NETDEV, type, net->netdev, list);
}

int cmdline_net(struct cmdline *cl, const char *text, struct err *err)
{
	struct opt_list list = {0};
	struct legacy_net *net;
	const char *v;
	char *type;
	int rc = cmdline_options(&list, "-net", text, "type", err);

	if (rc < 0)
		return rc;
	type = cmdline_take(&list, "type");
	if (!type || asks_for_nics(cl, &list) || !strcmp(type, "none")) {
		rc = type ? 0
			  : err_set(err, -EINVAL,
				    "-net %s: needs a type (nic, tap, bridge, macvtap, user)",
				    text);
		goto out;
	}
	net = calloc(1, sizeof(*net));
	if (!net) {
		rc = -ENOMEM;
		goto out;
	}
	TAILQ_INSERT_TAIL(&cl->nets, net, link);
	net->nic = !strcmp(type, "nic");
	v = opt_take(&list, "vlan");
	if (v && opt_parse_u64(v, &net->vlan) < 0)
		rc = err_set(err, -EINVAL, "-net %s: vlan=%s: a number", text, v);
	else if (net->nic)
		rc = legacy_nic(cl, &list, net, err);
	else
		rc = legacy_backend(cl, type, &list, net, err);
out:
	free(type);
	opt_free(&list);
	return rc;
}

/* A NIC that named its back end is on no hub. */
static bool on_same_hub(const struct legacy_net *a, const struct legacy_net *b)
{
	return a->vlan == b->vlan && !(a->nic && !a->item) && !(b->nic && !b->item);
}

int cmdline_net_finish(struct cmdline *cl, struct err *err)
{
	struct legacy_net *a, *b;

	TAILQ_FOREACH(a, &cl->nets, link) {
		for (b = TAILQ_NEXT(a, link); b; b = TAILQ_NEXT(b, link)) {
			struct legacy_net *nic = a->nic ? a : b, *end = a->nic ? b : a;

			if (!on_same_hub(a, b))
				continue;
			if (a->nic == b->nic)
				return err_set(err, -EINVAL,
					       "-net: two %s on hub %llu (give each pair its own "
					       "vlan=, or use -nic, "
					       "or -netdev and -device)",
					       a->nic ? "NICs" : "back ends",
					       (unsigned long long)a->vlan);
			if (opt_add(&nic->item->list, "netdev", end->netdev) < 0)
				return err_set(err, -ENOMEM, "out of memory");
		}
	}
	return 0;
}

void cmdline_net_free(struct cmdline *cl)
{
	struct legacy_net *net;

	while ((net = TAILQ_FIRST(&cl->nets))) {
		TAILQ_REMOVE(&cl->nets, net, link);
		free(net->netdev);
		free(net);
	}
}
