/*
 * The registries, as lists for people.
 */
#include "machine/names.h"

#include <errno.h>
#include <string.h>

#include "blk/blk.h"
#include "bus/device.h"
#include "char/char.h"
#include "machine/pool.h"
#include "net/net.h"

static bool print_device(const struct device_model *model, void *opaque)
{
	FILE *out = opaque;

	if (model->internal)
		return true;
	fprintf(out, "%-20s", model->name);
	for (size_t i = 0; model->alias && model->alias[i]; i++)
		fprintf(out, " (%s)", model->alias[i]);
	fprintf(out, " %s\n", model->help);
	return true;
}

void names_list_devices(FILE *out)
{
	device_model_each(print_device, out);
}

int names_device_help(FILE *out, const char *name, struct err *err)
{
	const struct device_model *model = device_model_find(name);

	if (!model || model->internal)
		return err_set(err, -ENOENT,
			       "-device %s,help: no such model (-device help lists them)", name);
	device_help(out, model);
	return 0;
}

struct nics {
	FILE *out;
	unsigned int n, rank;
};

static bool print_nic(const struct device_model *model, void *opaque)
{
	struct nics *nics = opaque;

	if (model->nic && model->nic_rank == nics->rank)
		fprintf(nics->out, "%s%s", nics->n++ ? "," : "", model->nic);
	return true;
}

void names_list_nics(FILE *out)
{
	struct nics nics = {.out = out};

	for (nics.rank = 1; nics.rank <= UINT8_MAX; nics.rank++)
		device_model_each(print_nic, &nics);
	nics.rank = 0;
	device_model_each(print_nic, &nics);
	fputc('\n', out);
}

struct nic_search {
	const char *name;
	const struct device_model *found;
};

static bool match_nic(const struct device_model *model, void *opaque)
{
	struct nic_search *s = opaque;

	if (!model->nic || strcmp(model->nic, s->name))
		return true;
	s->found = model;
	return false;
}

const char *names_nic_model(const char *name)
{
	struct nic_search s = {.name = name};

	device_model_each(match_nic, &s);
	if (!s.found) {
		s.found = device_model_find(name);
		if (s.found && !s.found->nic)
			s.found = NULL;
	}
	return s.found ? s.found->name : NULL;
}

void names_list_netdevs(FILE *out)
{
	net_help(out);
}

void names_list_blockdevs(FILE *out)
{
	blk_help(out);
}

void names_list_chardevs(FILE *out)
{
	char_help(out);
}

void names_list_objects(FILE *out)
{
	pool_object_help(out);
}
