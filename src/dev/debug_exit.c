/*
 * A port that ends vireo: a write of v makes its exit status (v << 1) | 1, as scripts that run test
 * kernels expect of the device of this name. The status is never 0, which is the guest's power-off.
 * Reads as zero.
 */
#include "bus/bus.h"
#include "bus/device.h"
#include "bus/pc.h"

struct debug_exit {
	struct device dev;
	struct bus_region region;
	uint16_t opt_iobase;
	uint8_t opt_iosize;
};

static uint64_t exit_read(void *opaque, uint64_t offset, unsigned int size)
{
	return 0;
}

static void exit_write(void *opaque, uint64_t offset, unsigned int size, uint64_t value)
{
	struct platform *p = ((struct debug_exit *)opaque)->dev.platform;

	p->event(p, PLATFORM_EXIT, (int)((value << 1 | 1) & 0xff)); /* what a parent process sees */
}

static const struct region_ops exit_ops = {
	.read = exit_read,
	.write = exit_write,
	.min = 1,
	.max = 4,
	.unaligned = true,
};

static int exit_realize(struct device *dev, struct err *err)
{
	struct debug_exit *e = (struct debug_exit *)dev;
	int r;

	bus_region_init(&e->region, "isa-debug-exit", BUS_PIO, e->opt_iosize, &exit_ops, e,
			&dev->lock);
	r = bus_map(dev->platform->bus, &e->region, e->opt_iobase);
	return r ? err_set(err, r, "%s: iobase=0x%x,iosize=%u doesn't fit below 0x10000", dev->id,
			   e->opt_iobase, e->opt_iosize)
		 : 0;
}

static void exit_unrealize(struct device *dev)
{
	bus_unmap(&((struct debug_exit *)dev)->region);
	bus_synchronize(dev->platform->bus);
}

static const struct opt_desc exit_opts[] = {
	{.name = "iobase",
	 .type = OPT_U16,
	 .offset = offsetof(struct debug_exit, opt_iobase),
	 .def = "0x501",
	 .max = 0xffff,
	 .help = "its I/O port"},
	{.name = "iosize",
	 .type = OPT_U8,
	 .offset = offsetof(struct debug_exit, opt_iosize),
	 .def = "2",
	 .min = 1,
	 .max = 8,
	 .help = "how many ports"},
	{.type = OPT_END},
};

static const struct device_model debug_exit_model = {
	.name = "isa-debug-exit",
	.help = "port that ends vireo with a status of the guest's choice",
	.size = sizeof(struct debug_exit),
	.opts = {{exit_opts, 0}},
	.realize = exit_realize,
	.unrealize = exit_unrealize,
};

DEVICE_MODEL(debug_exit_model);
