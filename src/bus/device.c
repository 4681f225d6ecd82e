/*
 * Devices: making, resetting and ending instances, and the registry of models.
 *
 * The registry is the linker's section "device_models": DEVICE_MODEL() puts a pointer into it, so
 * that a new model is one file and no list has to name it.
 *
 * Runs on the control thread. An instance's memory is owned here: device_create() allocates,
 * device_destroy() frees; what realize() made is unrealize()'s.
 */
#include "bus/device.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "bus/pci.h"

/* Bounds of the section, made by the linker; weak, because a program may be linked without any
 * model. */
extern const struct device_model *const __start_device_models[] __attribute__((weak));
extern const struct device_model *const __stop_device_models[] __attribute__((weak));

#define DEVICE_ALIGN 64 /* of an instance: a cache line */

static void release_options(struct device *dev)
{
	const struct device_opts *o = dev->model->opts;

	for (unsigned int i = 0; i < DEVICE_OPTS_MAX && o[i].table; i++)
		opt_release(o[i].table, (char *)dev + o[i].offset);
}

static int apply_options(struct device *dev, struct opt_list *list, struct err *err)
{
	const struct device_opts *o = dev->model->opts;
	const struct opt_desc *tables[DEVICE_OPTS_MAX];
	unsigned int n;
	int r;

	for (n = 0; n < DEVICE_OPTS_MAX && o[n].table; n++) {
		tables[n] = o[n].table;
		r = opt_apply(o[n].table, (char *)dev + o[n].offset, list, err);
		if (r)
			return r;
	}
	return opt_all_used(list, tables, n, err);
}

static struct device *device_alloc(struct platform *p, const struct device_model *model,
				   const char *id, struct err *err)
{
	size_t size = (model->size + DEVICE_ALIGN - 1) & ~(size_t)(DEVICE_ALIGN - 1);
	struct device *dev = aligned_alloc(DEVICE_ALIGN, size);
	pthread_mutexattr_t attr;

	if (dev) {
		memset(dev, 0, size);
		dev->id = strdup(id ? id : model->name);
	}
	if (!dev || !dev->id) {
		free(dev);
		err_set(err, -ENOMEM, "%s: no memory for the device", model->name);
		return NULL;
	}
	dev->model = model;
	dev->platform = p;
	/* A vCPU and the I/O thread of an emulated NIC take turns with it: worth a short spin. */
	pthread_mutexattr_init(&attr);
	pthread_mutexattr_settype(&attr, PTHREAD_MUTEX_ADAPTIVE_NP);
	pthread_mutex_init(&dev->lock, &attr);
	pthread_mutexattr_destroy(&attr);
	return dev;
}

static void device_free(struct device *dev)
{
	release_options(dev);
	pthread_mutex_destroy(&dev->lock);
	free(dev->id);
	free(dev);
}

struct device *device_create(struct platform *p, const struct device_model *model, const char *id,
			     struct opt_list *list, struct err *err)
{
	struct device *dev = device_alloc(p, model, id, err);
	struct opt_list none = {.text = (char *)model->name};

	if (!dev)
		return NULL;
	if (apply_options(dev, list ? list : &none, err))
		goto fail_free;
	if (model->pci && pci_device_plug(pci_of(dev), err))
		goto fail_free;
	if (model->realize && model->realize(dev, err))
		goto fail_unplug;
	device_reset(dev);
	if (model->pci && pci_device_show(pci_of(dev), err))
		goto fail_unrealize;
	return dev;

fail_unrealize:
	if (model->unrealize)
		model->unrealize(dev);
fail_unplug:
	if (model->pci)
		pci_device_unplug(pci_of(dev));
fail_free:
	device_free(dev);
	return NULL;
}

void device_reset(struct device *dev)
{
	pthread_mutex_lock(&dev->lock);
	if (dev->model->pci)
		pci_device_reset(pci_of(dev));
	if (dev->model->reset)
		dev->model->reset(dev);
	pthread_mutex_unlock(&dev->lock);
}

void device_destroy(struct device *dev)
{
	if (!dev)
		return;
	if (dev->model->pci)
		pci_device_hide(pci_of(dev));
	if (dev->model->unrealize)
		dev->model->unrealize(dev);
	if (dev->model->pci)
		pci_device_unplug(pci_of(dev));
	device_free(dev);
}

void device_help(FILE *out, const struct device_model *model)
{
	const struct device_opts *o = model->opts;

	fprintf(out, "%s: %s\n", model->name, model->help ? model->help : "");
	for (unsigned int i = 0; i < DEVICE_OPTS_MAX && o[i].table; i++)
		opt_help(out, o[i].table);
}

static bool answers_to(const struct device_model *model, const char *name)
{
	if (!strcmp(model->name, name))
		return true;
	for (const char *const *a = model->alias; a && *a; a++) {
		if (!strcmp(*a, name))
			return true;
	}
	return false;
}

static size_t model_count(void)
{
	return (size_t)(__stop_device_models - __start_device_models);
}

const struct device_model *device_model_find(const char *name)
{
	for (size_t i = 0; i < model_count(); i++) {
		if (answers_to(__start_device_models[i], name))
			return __start_device_models[i];
	}
	return NULL;
}

/* The model that comes next in order of name after `last` (NULL: the first); NULL at the end.
 * Quadratic over some dozens of models, and needs no memory. */
static const struct device_model *model_after(const struct device_model *last)
{
	const struct device_model *best = NULL;

	for (size_t i = 0; i < model_count(); i++) {
		const struct device_model *m = __start_device_models[i];

		if (last && strcmp(m->name, last->name) <= 0)
			continue;
		if (!best || strcmp(m->name, best->name) < 0)
			best = m;
	}
	return best;
}

void device_model_each(bool (*fn)(const struct device_model *model, void *opaque), void *opaque)
{
	const struct device_model *m = NULL;

	while ((m = model_after(m)) && fn(m, opaque))
		;
}
