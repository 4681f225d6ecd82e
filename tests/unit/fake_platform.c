/*
 * A platform for tests; see fake_platform.h.
 */
#include "fake_platform.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void must(int r, const struct err *err)
{
	if (r) {
		fprintf(stderr, "fake platform: %s\n", err->msg);
		abort();
	}
}

static struct fake_platform *fp_of(struct platform *p)
{
	return (struct fake_platform *)p;
}

static void event(struct platform *p, enum platform_event what, int value)
{
	struct fake_platform *fp = fp_of(p);
	unsigned int i = __atomic_fetch_add(&fp->n_events, 1, __ATOMIC_RELAXED);

	if (i < FP_EVENTS) {
		fp->event[i] = what;
		fp->event_value[i] = value;
	}
}

static struct char_backend *char_get(struct platform *p, const char *id, struct device *user,
				     struct err *err)
{
	if (!fp_of(p)->chr)
		err_set(err, -2, "chardev '%s' not found", id);
	return fp_of(p)->chr;
}

static void char_put(struct platform *p, struct char_backend *chr)
{
}

void fp_init(struct fake_platform *fp)
{
	struct err err = {0};

	memset(fp, 0, sizeof(*fp));
	must(vm_create(&fp->p.vm, &err), &err);
	must(bus_create(&fp->p.bus, fp->p.vm, &err), &err);
	must(pci_bus_create(&fp->p.pci, fp->p.bus, &err), &err);
	must(loop_create(&fp->p.control, "test", 0, &err), &err);
	fp->p.event = event;
	fp->p.char_get = char_get;
	fp->p.char_put = char_put;
}

void fp_destroy(struct fake_platform *fp)
{
	loop_destroy(fp->p.control);
	pci_bus_destroy(fp->p.pci);
	bus_destroy(fp->p.bus);
	vm_destroy(fp->p.vm);
}

struct device *fp_device_of(struct fake_platform *fp, const struct device_model *model,
			    const char *id, const char *options, struct err *err)
{
	struct opt_list list = {0};
	struct device *dev;

	if (opt_parse(&list, "-device", options ? options : "", NULL, err))
		return NULL;
	dev = device_create(&fp->p, model, id, &list, err);
	opt_free(&list);
	return dev;
}

struct device *fp_device(struct fake_platform *fp, const char *model, const char *id,
			 const char *options, struct err *err)
{
	const struct device_model *m = device_model_find(model);

	if (!m) {
		err_set(err, -2, "no model %s", model);
		return NULL;
	}
	return fp_device_of(fp, m, id, options, err);
}

uint32_t fp_in(struct fake_platform *fp, uint16_t port, unsigned int size)
{
	return (uint32_t)bus_read(fp->p.bus, 0, BUS_PIO, port, size);
}

void fp_out(struct fake_platform *fp, uint16_t port, unsigned int size, uint32_t value)
{
	bus_write(fp->p.bus, 0, BUS_PIO, port, size, value);
}

uint64_t fp_load(struct fake_platform *fp, uint64_t addr, unsigned int size)
{
	return bus_read(fp->p.bus, 0, BUS_MMIO, addr, size);
}

void fp_store(struct fake_platform *fp, uint64_t addr, unsigned int size, uint64_t value)
{
	bus_write(fp->p.bus, 0, BUS_MMIO, addr, size, value);
}

static void config_select(struct fake_platform *fp, unsigned int slot, unsigned int function,
			  unsigned int offset)
{
	fp_out(fp, 0xcf8, 4, 0x80000000U | slot << 11 | function << 8 | (offset & 0xfc));
}

uint32_t fp_config_read(struct fake_platform *fp, unsigned int slot, unsigned int function,
			unsigned int offset, unsigned int size)
{
	config_select(fp, slot, function, offset);
	return fp_in(fp, (uint16_t)(0xcfc + (offset & 3)), size);
}

void fp_config_write(struct fake_platform *fp, unsigned int slot, unsigned int function,
		     unsigned int offset, unsigned int size, uint32_t value)
{
	config_select(fp, slot, function, offset);
	fp_out(fp, (uint16_t)(0xcfc + (offset & 3)), size, value);
}

static void stop(struct loop_timer *t)
{
	loop_quit(t->opaque);
}

void fp_run(struct fake_platform *fp, unsigned int ms)
{
	fp->stop = (struct loop_timer){.expired = stop, .opaque = fp->p.control};
	loop_timer_set(fp->p.control, &fp->stop, loop_now_ns() + ms * UINT64_C(1000000));
	loop_run(fp->p.control);
}

static void quit(void *arg)
{
	loop_quit(arg);
}

void fp_run_posted(struct fake_platform *fp)
{
	if (loop_post(fp->p.control, quit, fp->p.control))
		abort();
	loop_run(fp->p.control);
}
