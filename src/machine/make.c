/*
 * One VM: made and taken apart, and what its parts are lent.
 *
 *	KVM -> RAM -> buses -> back ends -> board -> devices -> kernel -> vCPUs -> power-on
 *
 * Making is the control thread's. Devices come in through struct platform: while they are made and
 * taken apart, on the control thread; platform_event() from any. vCPU threads come in through
 * vcpu_ops.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "boot/boot.h"
#include "bus/bus.h"
#include "bus/pci.h"
#include "char/char.h"
#include "kvm/vcpu.h"
#include "kvm/vm.h"
#include "machine/board.h"
#include "machine/internal.h"

static struct machine *machine_of(struct platform *p)
{
	return (struct machine *)p;
}

/* ---- what devices ask of the machine: struct platform ---- */

static void platform_event(struct platform *p, enum platform_event event, int value)
{
	struct machine *m = machine_of(p);

	switch (event) {
	case PLATFORM_RESET:
		machine_request(m, REQUEST_RESET);
		break;
	case PLATFORM_POWEROFF:
		machine_request(m, REQUEST_POWEROFF);
		break;
	case PLATFORM_EXIT:
		__atomic_store_n(&m->exit_value, value, __ATOMIC_RELAXED);
		machine_request(m, REQUEST_EXIT);
		break;
	}
}

static struct loop *thread_get(struct platform *p, const char *id, const char *name,
			       struct err *err)
{
	return pool_thread_get(&machine_of(p)->pool, id, name, err);
}

static void thread_put(struct platform *p, struct loop *loop)
{
	pool_thread_put(&machine_of(p)->pool, loop);
}

static struct net_backend *net_get(struct platform *p, const char *id, struct device *user,
				   struct err *err)
{
	return pool_claim(&machine_of(p)->pool, POOL_NET, id, user, err);
}

static struct blk_backend *blk_get(struct platform *p, const char *id, struct device *user,
				   struct err *err)
{
	return pool_claim(&machine_of(p)->pool, POOL_BLK, id, user, err);
}

static struct char_backend *char_get(struct platform *p, const char *id, struct device *user,
				     struct err *err)
{
	return pool_claim(&machine_of(p)->pool, POOL_CHAR, id, user, err);
}

static void net_put(struct platform *p, struct net_backend *net)
{
	pool_release(&machine_of(p)->pool, net);
}

static void blk_put(struct platform *p, struct blk_backend *blk)
{
	pool_release(&machine_of(p)->pool, blk);
}

static void char_put(struct platform *p, struct char_backend *chr)
{
	pool_release(&machine_of(p)->pool, chr);
}

static int rng_check(struct platform *p, const char *id, struct err *err)
{
	return pool_need(&machine_of(p)->pool, POOL_RNG, id, err) ? 0 : err->code;
}

static void mac_default(struct platform *p, uint8_t mac[6])
{
	/* A locally administered address, as QEMU's first NIC has it. */
	static const uint8_t first[6] = {0x52, 0x54, 0x00, 0x12, 0x34, 0x56};
	unsigned int last = first[5] + machine_of(p)->n_nics++;

	memcpy(mac, first, 6);
	mac[5] = last;
	mac[4] += last >> 8;
}

/* ---- what vCPUs ask: struct vcpu_ops ---- */

static uint64_t pio_read(void *opaque, uint16_t port, unsigned int size)
{
	struct processor *p = opaque;

	return bus_read(p->machine->bus, p->index, BUS_PIO, port, size);
}

static void pio_write(void *opaque, uint16_t port, unsigned int size, uint64_t value)
{
	struct processor *p = opaque;

	bus_write(p->machine->bus, p->index, BUS_PIO, port, size, value);
}

static uint64_t mmio_read(void *opaque, uint64_t addr, unsigned int size)
{
	struct processor *p = opaque;

	return bus_read(p->machine->bus, p->index, BUS_MMIO, addr, size);
}

static void mmio_write(void *opaque, uint64_t addr, unsigned int size, uint64_t value)
{
	struct processor *p = opaque;

	bus_write(p->machine->bus, p->index, BUS_MMIO, addr, size, value);
}

static void vcpu_stopped(void *opaque, unsigned int index, enum vcpu_stop why)
{
	struct processor *p = opaque;

	machine_request(p->machine, why == VCPU_STOP_RESET ? REQUEST_RESET : REQUEST_ERROR);
}

static const struct vcpu_ops vcpu_ops = {
	.pio_read = pio_read,
	.pio_write = pio_write,
	.mmio_read = mmio_read,
	.mmio_write = mmio_write,
	.stopped = vcpu_stopped,
};

/* ---- making ---- */

static bool id_taken(struct machine *m, const char *id)
{
	struct plugged *p;

	TAILQ_FOREACH(p, &m->devices, link)
		if (!strcmp(p->dev->id, id))
			return true;
	return false;
}

/* The name of a device that was given none: "virtio-net-pci.0". */
static void make_id(struct machine *m, const char *model, char *id, size_t size)
{
	for (unsigned int n = 0;; n++) {
		snprintf(id, size, "%s.%u", model, n);
		if (!id_taken(m, id))
			return;
	}
}

static struct device *plug(struct machine *m, const struct device_model *model, const char *id,
			   struct opt_list *list, struct err *err)
{
	struct plugged *p = calloc(1, sizeof(*p));
	char made_up[64];

	if (!p) {
		err_set(err, -ENOMEM, "out of memory");
		return NULL;
	}
	if (!id) {
		make_id(m, model->name, made_up, sizeof(made_up));
		id = made_up;
	}
	p->dev = device_create(&m->platform, model, id, list, err);
	if (!p->dev) {
		free(p);
		return NULL;
	}
	TAILQ_INSERT_TAIL(&m->devices, p, link);
	return p->dev;
}

static struct device *plug_board(void *opaque, const char *name, const char *options,
				 struct err *err)
{
	const struct device_model *model = device_model_find(name);
	struct machine *m = opaque;
	struct opt_list list = {0};
	struct device *dev = NULL;

	if (!model)
		err_set(err, -ENOENT, "the board's %s isn't in this build", name);
	else if (opt_parse(&list, name, options ? options : "", NULL, err) == 0)
		dev = plug(m, model, NULL, &list, err);
	opt_free(&list);
	if (dev && !strcmp(name, "PIIX4_PM"))
		m->pm = dev;
	return dev;
}

static int plug_item(struct machine *m, struct config_item *item, struct err *err)
{
	const struct device_model *model = device_model_find(item->type);

	if (!model || model->internal)
		return err_set(err, -ENOENT, "%s: no device model '%s' (-device help lists them)",
			       item->list.text, item->type);
	if (item->id && id_taken(m, item->id))
		return err_set(err, -EEXIST, "%s: the id '%s' is taken already", item->list.text,
			       item->id);
	if (plug(m, model, item->id, &item->list, err))
		return 0;
	if (strncmp(err->msg, item->list.text, strlen(item->list.text)))
		err_prefix(err, "%s", item->list.text);
	return err->code;
}

static void mux_quit(void *opaque)
{
	machine_quit(opaque, 0);
}

/* Splits the terminal between the first serial port and the monitor. */
static int make_mux(struct machine *m, struct err *err)
{
	struct pool_entry *e = pool_find(&m->pool, POOL_CHAR, m->config->mux_chardev);
	struct char_backend *serial;
	int rc;

	if (!e)
		return err_set(err, -ENOENT, "-nographic: no -chardev has the id '%s'",
			       m->config->mux_chardev);
	rc = char_mux(e->object, mux_quit, m, &serial, &m->monitor_side, err);
	if (rc == 0)
		e->object = serial;
	return rc;
}

static int make_items(struct machine *m, struct err *err)
{
	struct config_item *item;
	int rc = 0;

	/* What devices refer to by id comes first, wherever it stands on the command line. */
	for (unsigned int turn = 0; turn < POOL_TURNS; turn++)
		TAILQ_FOREACH(item, &m->config->items, link)
			if (rc == 0 && item->kind != CONFIG_DEVICE && pool_turn(item) == turn)
				rc = pool_open(&m->pool, item, err);
	if (rc == 0 && m->config->mux_chardev)
		rc = make_mux(m, err);
	if (rc == 0)
		rc = board_create(m->config, plug_board, m, err);
	TAILQ_FOREACH(item, &m->config->items, link)
		if (rc == 0 && item->kind == CONFIG_DEVICE)
			rc = plug_item(m, item, err);
	return rc;
}

static int make_boot(struct machine *m, struct err *err)
{
	const struct vm_config *c = m->config;
	uint32_t apic_ids[BUS_READERS_MAX];
	struct boot_config boot = {
		.kernel = c->kernel,
		.initrd = c->initrd,
		.cmdline = c->append,
		.cpus = m->n_processors,
		.apic_ids = apic_ids,
		.uuid = c->uuid,
	};

	for (unsigned int i = 0; i < m->n_processors; i++)
		apic_ids[i] = cpuid_apic_id(m->cpuid, i);
	for (unsigned int i = 0; i < 4; i++)
		if (c->serial[i].chardev)
			boot.serial_ports |= 1 << i;
	return boot_prepare(&m->boot, &boot, &m->mem, err);
}

static int make_processors(struct machine *m, struct err *err)
{
	int rc = 0;

	for (unsigned int i = 0; i < m->n_processors && rc == 0; i++) {
		struct processor *p = &m->processor[i];

		p->machine = m;
		p->index = i;
		rc = vcpu_create(&p->vcpu, m->vm, i, m->cpuid, &vcpu_ops, p, err);
	}
	return rc;
}

static int make_buses(struct machine *m, struct err *err)
{
	int rc = bus_create(&m->bus, m->vm, err);

	if (rc == 0)
		rc = pci_bus_create(&m->pci, m->bus, err);
	m->platform = (struct platform){
		.vm = m->vm,
		.mem = &m->mem,
		.bus = m->bus,
		.pci = m->pci,
		.control = m->loop,
		.event = platform_event,
		.io_thread_get = thread_get,
		.io_thread_put = thread_put,
		.net_get = net_get,
		.blk_get = blk_get,
		.char_get = char_get,
		.net_put = net_put,
		.blk_put = blk_put,
		.char_put = char_put,
		.rng_check = rng_check,
		.mac_default = mac_default,
	};
	return rc;
}

static int make_memory(struct machine *m, struct err *err)
{
	struct mem_config memory = m->config->memory;
	const struct config_item *item;

	TAILQ_FOREACH(item, &m->config->items, link)
		memory.shared |= item->kind == CONFIG_NETDEV && net_type_shares_memory(item->type);
	return mem_create(&m->mem, &memory, err);
}

static int make(struct machine *m, struct err *err)
{
	const struct vm_config *c = m->config;
	int rc;

	if (c->topology.cpus > BUS_READERS_MAX)
		return err_set(err, -EINVAL, "-smp %u: at most %u vCPUs", c->topology.cpus,
			       BUS_READERS_MAX);
	m->n_processors = c->topology.cpus;
	m->processor = calloc(m->n_processors, sizeof(*m->processor));
	if (!m->processor)
		return err_set(err, -ENOMEM, "out of memory");
	rc = vm_create(&m->vm, err);
	if (rc == 0)
		rc = make_memory(m, err);
	if (rc == 0)
		rc = board_map_ram(&m->mem, err);
	if (rc == 0)
		rc = vm_set_memory(m->vm, &m->mem, err);
	if (rc == 0)
		rc = cpuid_create(&m->cpuid, m->vm, c->cpu_model, &c->topology, err);
	if (rc == 0)
		rc = make_buses(m, err);
	if (rc == 0)
		rc = make_items(m, err);
	if (rc == 0)
		rc = make_boot(m, err);
	if (rc == 0)
		rc = make_processors(m, err);
	if (rc == 0)
		rc = machine_power_on(m, true, err);
	return rc;
}

int machine_create(struct machine **out, const struct vm_config *config, struct err *err)
{
	struct machine *m = calloc(1, sizeof(*m));
	int rc;

	*out = NULL;
	if (!m)
		return err_set(err, -ENOMEM, "out of memory");
	m->config = config;
	m->mem.fd = -1;
	TAILQ_INIT(&m->devices);
	rc = loop_create(&m->loop, "vireo", 0, err);
	pool_init(&m->pool, m->loop);
	if (rc == 0)
		rc = make(m, err);
	if (rc < 0) {
		machine_destroy(m);
		return rc;
	}
	*out = m;
	return 0;
}

/* What devices that are gone had posted frees itself when it runs; what vCPUs had asked for is
 * void. */
static void run_posted(struct machine *m)
{
	if (!m->loop)
		return;
	__atomic_store_n(&m->events, 0, __ATOMIC_RELAXED);
	loop_quit(m->loop);
	loop_run(m->loop);
}

void machine_destroy(struct machine *m)
{
	struct plugged *p;

	if (!m)
		return;
	for (unsigned int i = 0; i < m->n_processors && m->processor; i++)
		vcpu_destroy(m->processor[i].vcpu);
	while ((p = TAILQ_LAST(&m->devices, plugged_list))) {
		TAILQ_REMOVE(&m->devices, p, link);
		device_destroy(p->dev);
		free(p);
	}
	pool_destroy(&m->pool);
	boot_free(m->boot);
	if (m->pci)
		pci_bus_destroy(m->pci);
	bus_destroy(m->bus);
	cpuid_destroy(m->cpuid);
	vm_destroy(m->vm);
	mem_destroy(&m->mem);
	run_posted(m);
	loop_destroy(m->loop);
	free(m->processor);
	free(m);
}
