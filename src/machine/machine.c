/*
 * One VM: made, run, reset, ended.
 *
 * Everything here runs on the control thread, but for what says otherwise: vCPU threads come in
 * through vcpu_ops, devices through struct platform. What they ask (reset, power-off) is posted to
 * the control loop, which makes all vCPUs stand still first; so no handler of a device ever races
 * with a reset.
 */
#include "machine/machine.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "boot/boot.h"
#include "bus/bus.h"
#include "bus/device.h"
#include "bus/pc.h"
#include "bus/pci.h"
#include "char/char.h"
#include "dev/piix4_pm.h"
#include "kvm/vcpu.h"
#include "kvm/vm.h"
#include "machine/board.h"
#include "machine/pool.h"
#include "net/net.h"

struct processor { /* a vCPU and what its callbacks need */
	struct machine *machine;
	unsigned int index;
	struct vcpu *vcpu;
};

struct plugged { /* a device that is in the machine */
	struct device *dev;
	TAILQ_ENTRY(plugged) link;
};

struct machine {
	struct platform platform;
	const struct vm_config *config;
	struct loop *loop;
	struct vm *vm;
	struct mem mem;
	struct bus *bus;
	struct pci_bus *pci;
	struct pool pool;
	struct cpuid *cpuid;
	struct boot *boot;
	struct processor *processor;
	unsigned int n_processors;
	TAILQ_HEAD(plugged_list, plugged) devices;
	struct device *pm;		   /* the one with the power button */
	struct char_backend *monitor_side; /* of the terminal that serial port and monitor share */
	unsigned int n_nics;		   /* for MAC addresses */
	enum machine_state state;
	int status;	     /* for the process. Atomic */
	unsigned int events; /* what devices and vCPUs asked for: bits of enum request. Atomic */
	int exit_value;	     /* of REQUEST_EXIT. Atomic */
};

/* Bits of machine.events. */
enum request {
	REQUEST_RESET = 1,
	REQUEST_POWEROFF = 2,
	REQUEST_EXIT = 4,
	REQUEST_ERROR = 8
};

static struct machine *machine_of(struct platform *p)
{
	return (struct machine *)p;
}

/* ---- life cycle ---- */

static void processors_pause(struct machine *m)
{
	for (unsigned int i = 0; i < m->n_processors; i++)
		if (m->processor[i].vcpu)
			vcpu_pause_request(m->processor[i].vcpu);
	for (unsigned int i = 0; i < m->n_processors; i++)
		if (m->processor[i].vcpu)
			vcpu_pause(m->processor[i].vcpu);
}

static void processors_resume(struct machine *m)
{
	for (unsigned int i = 0; i < m->n_processors; i++)
		vcpu_resume(m->processor[i].vcpu);
}

/* Everything as after power-on, the kernel loaded, the first vCPU at its entry. vCPUs stand still.
 */
static int power_on(struct machine *m, bool first, struct err *err)
{
	struct vcpu_entry entry;
	struct plugged *p;
	int rc = 0;

	TAILQ_FOREACH(p, &m->devices, link)
		device_reset(p->dev);
	if (!first) {
		rc = vm_reset(m->vm);
		for (unsigned int i = 0; i < m->n_processors && rc == 0; i++)
			rc = vcpu_reset(m->processor[i].vcpu);
		if (rc < 0)
			return err_set(err, rc, "reset: KVM: %s", strerror(-rc));
	}
	rc = board_set_up_pci(&m->platform, err);
	if (rc == 0)
		rc = boot_load(m->boot, &entry, err);
	if (rc == 0) {
		rc = vcpu_set_entry(m->processor[0].vcpu, &entry);
		if (rc < 0)
			err_set(err, rc, "first vCPU's registers: %s", strerror(-rc));
	}
	return rc;
}

enum machine_state machine_state(const struct machine *m)
{
	return m->state;
}

const char *machine_state_name(enum machine_state state)
{
	static const char *const names[] = {
		[MACHINE_PRELAUNCH] = "prelaunch",  [MACHINE_RUNNING] = "running",
		[MACHINE_PAUSED] = "paused",	    [MACHINE_SHUTDOWN] = "shutdown",
		[MACHINE_ERROR] = "internal-error", [MACHINE_QUIT] = "quit",
	};

	return names[state];
}

void machine_quit(struct machine *m, int status)
{
	__atomic_store_n(&m->status, status, __ATOMIC_RELAXED);
	loop_quit(m->loop);
}

void machine_stop(struct machine *m)
{
	if (m->state != MACHINE_RUNNING)
		return;
	processors_pause(m);
	m->state = MACHINE_PAUSED;
}

void machine_cont(struct machine *m)
{
	if (m->state != MACHINE_PAUSED && m->state != MACHINE_PRELAUNCH)
		return;
	if (m->state == MACHINE_PAUSED)
		for (unsigned int i = 0; i < m->n_processors; i++)
			vcpu_tell_paused(m->processor[i].vcpu);
	m->state = MACHINE_RUNNING;
	processors_resume(m);
}

void machine_reset(struct machine *m)
{
	struct err err = {0};

	if (m->state == MACHINE_PRELAUNCH)
		return;
	processors_pause(m);
	/* What vCPUs asked for until they stood still is over with the guest that they ran. */
	__atomic_fetch_and(&m->events, ~(REQUEST_RESET | REQUEST_ERROR), __ATOMIC_ACQ_REL);
	if (power_on(m, false, &err) < 0) {
		log_warn("%s", err.msg);
		m->state = MACHINE_ERROR;
		machine_quit(m, 1);
		return;
	}
	if (m->state == MACHINE_SHUTDOWN || m->state == MACHINE_ERROR)
		m->state = MACHINE_PAUSED;
	if (m->state == MACHINE_RUNNING)
		processors_resume(m);
}

void machine_powerdown(struct machine *m)
{
	piix4_pm_power_button(m->pm);
}

/* A vCPU can't go on. Somebody who has a monitor may want to look; without one there is nothing to
 * wait for. */
static void internal_error(struct machine *m)
{
	processors_pause(m);
	m->state = MACHINE_ERROR;
	if (!m->config->no_shutdown)
		machine_quit(m, 1);
}

/* The guest is over, with this status; -no-shutdown keeps it to be looked at. */
static void guest_ended(struct machine *m)
{
	processors_pause(m);
	m->state = MACHINE_SHUTDOWN;
	if (!m->config->no_shutdown)
		machine_quit(m, 0);
}

static void take_events(void *arg)
{
	struct machine *m = arg;
	unsigned int events = __atomic_exchange_n(&m->events, 0, __ATOMIC_ACQ_REL);

	if (m->state == MACHINE_SHUTDOWN || m->state == MACHINE_ERROR)
		return;
	if (events & REQUEST_EXIT) {
		processors_pause(m);
		machine_quit(m, __atomic_load_n(&m->exit_value, __ATOMIC_RELAXED));
	} else if (events & REQUEST_POWEROFF) {
		guest_ended(m);
	} else if (events & REQUEST_ERROR) {
		internal_error(m);
	} else if (events & REQUEST_RESET) {
		if (m->config->no_reboot)
			guest_ended(m);
		else
			machine_reset(m);
	}
}

static void post_event(struct machine *m, enum request request)
{
	/* Pairs with the exchange in take_events(): whoever sets the first bit posts. */
	if (__atomic_fetch_or(&m->events, request, __ATOMIC_ACQ_REL) == 0)
		loop_post(m->loop, take_events, m);
}

/* ---- what devices ask of the machine: struct platform ---- */

static void platform_event(struct platform *p, enum platform_event event, int value)
{
	struct machine *m = machine_of(p);

	switch (event) {
	case PLATFORM_RESET:
		post_event(m, REQUEST_RESET);
		break;
	case PLATFORM_POWEROFF:
		post_event(m, REQUEST_POWEROFF);
		break;
	case PLATFORM_EXIT:
		__atomic_store_n(&m->exit_value, value, __ATOMIC_RELAXED);
		post_event(m, REQUEST_EXIT);
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

	post_event(p->machine, why == VCPU_STOP_RESET ? REQUEST_RESET : REQUEST_ERROR);
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
	TAILQ_FOREACH(item, &m->config->items, link)
		if (rc == 0 && item->kind != CONFIG_DEVICE)
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
		rc = mem_create(&m->mem, &c->memory, err);
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
		rc = power_on(m, true, err);
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

int machine_run(struct machine *m)
{
	if (!m->config->start_paused)
		machine_cont(m);
	loop_run(m->loop);
	processors_pause(m);
	m->state = MACHINE_QUIT;
	return __atomic_load_n(&m->status, __ATOMIC_RELAXED);
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
	loop_destroy(m->loop);
	free(m->processor);
	free(m);
}

/* ---- what there is ---- */

struct loop *machine_loop(struct machine *m)
{
	return m->loop;
}

const struct vm_config *machine_config(const struct machine *m)
{
	return m->config;
}

struct pci_bus *machine_pci(struct machine *m)
{
	return m->pci;
}

void machine_each_device(struct machine *m, void (*fn)(struct device *dev, void *opaque),
			 void *opaque)
{
	struct plugged *p;

	TAILQ_FOREACH(p, &m->devices, link)
		fn(p->dev, opaque);
}

void machine_each_net(struct machine *m,
		      void (*fn)(struct net_backend *net, struct device *user, void *opaque),
		      void *opaque)
{
	struct pool_entry *e;

	TAILQ_FOREACH(e, &m->pool.entries, link)
		if (e->kind == POOL_NET)
			fn(e->object, e->user, opaque);
}

void machine_each_counter(struct machine *m, counter_visit *visit, void *opaque)
{
	struct plugged *p;
	char part[32];

	for (unsigned int i = 0; i < m->n_processors; i++) {
		snprintf(part, sizeof(part), "vcpu %u", i);
		visit(opaque, "machine", part, vcpu_counter_table,
		      vcpu_counters(m->processor[i].vcpu));
	}
	visit(opaque, "machine", "bus", bus_counter_table, bus_counters(m->bus));
	TAILQ_FOREACH(p, &m->devices, link)
		if (p->dev->model->counters)
			p->dev->model->counters(p->dev, visit, opaque);
	pool_each_counter(&m->pool, visit, opaque);
}

int machine_set_link(struct machine *m, const char *name, bool up)
{
	struct pool_entry *net = pool_find(&m->pool, POOL_NET, name);
	struct plugged *p;

	TAILQ_FOREACH(p, &m->devices, link) {
		if (!p->dev->model->nic)
			continue;
		if (!strcmp(p->dev->id, name) || (net && net->user == p->dev)) {
			p->dev->model->set_link(p->dev, up);
			return 0;
		}
	}
	if (!net)
		return -ENOENT;
	net_set_link(net->object, up);
	return 0;
}

struct char_backend *machine_monitor_char(struct machine *m, const char *id, struct err *err)
{
	if (m->config->mux_chardev && !strcmp(id, m->config->mux_chardev))
		return m->monitor_side;
	return pool_claim(&m->pool, POOL_CHAR, id, NULL, err);
}
