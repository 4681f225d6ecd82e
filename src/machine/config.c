/*
 * The description of a VM: lists of what was asked for.
 */
#include "machine/config.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define MIB (UINT64_C(1) << 20)

void vm_config_init(struct vm_config *config)
{
	memset(config, 0, sizeof(*config));
	config->topology = (struct cpu_topology){.cpus = 1, .sockets = 1, .cores = 1, .threads = 1};
	config->memory.size = 128 * MIB;
	TAILQ_INIT(&config->items);
}

static void item_free(struct config_item *item)
{
	free(item->type);
	free(item->id);
	opt_free(&item->list);
	free(item);
}

int vm_config_add(struct vm_config *config, enum config_kind kind, const char *type, const char *id,
		  struct opt_list *list)
{
	struct config_item *item = calloc(1, sizeof(*item));

	if (!item)
		return -ENOMEM;
	item->kind = kind;
	item->type = strdup(type);
	item->id = id ? strdup(id) : NULL;
	if (!item->type || (id && !item->id)) {
		item_free(item);
		return -ENOMEM;
	}
	item->list = *list;
	memset(list, 0, sizeof(*list));
	TAILQ_INSERT_TAIL(&config->items, item, link);
	return 0;
}

void vm_config_free(struct vm_config *config)
{
	struct config_item *item;

	while ((item = TAILQ_FIRST(&config->items))) {
		TAILQ_REMOVE(&config->items, item, link);
		item_free(item);
	}
	free(config->name);
	free(config->uuid);
	free(config->cpu_model);
	free((char *)config->memory.path);
	free(config->kernel);
	free(config->initrd);
	free(config->append);
	for (size_t i = 0; i < sizeof(config->serial) / sizeof(config->serial[0]); i++)
		free(config->serial[i].chardev);
	free(config->mux_chardev);
	vm_config_init(config);
}
