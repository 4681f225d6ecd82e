/*
 * One VM: run, reset, ended; and what it answers.
 *
 * Everything here runs on the control thread, but for machine_request() and machine_quit(). What
 * vCPUs and devices ask (reset, power-off) is posted to the control loop, which makes all vCPUs
 * stand still first; so no handler of a device ever races with a reset.
 */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "base/log.h"
#include "boot/boot.h"
#include "bus/bus.h"
#include "bus/pci.h"
#include "dev/piix4_pm.h"
#include "kvm/vcpu.h"
#include "kvm/vm.h"
#include "machine/board.h"
#include "machine/internal.h"
#include "net/net.h"

/* ---- life cycle ---- */

static void processors_pause(struct machine *m)
{
	for (unsigned int i = 0; i < m->n_processors; i++)
		if (m->processor[i].vcpu)
			vcpu_pause_request(m->processor[i].vcpu);
	for (unsigned int i = 0; i < m->n_processors; i++)
		if (m->processor[i].vcpu)
			vcpu_pause(m->processor[i].vcpu);
	/* What they wrote before they stood still is done before anything else is. */
	bus_posted_drain(m->bus);
}

static void processors_resume(struct machine *m)
{
	for (unsigned int i = 0; i < m->n_processors; i++)
		vcpu_resume(m->processor[i].vcpu);
}

int machine_power_on(struct machine *m, bool first, struct err *err)
{
	struct vcpu_entry entry;
	struct plugged *p;
	int rc = 0;

	pci_bus_reset(m->pci);
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
	if (machine_power_on(m, false, &err) < 0) {
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

void machine_request(struct machine *m, enum request request)
{
	/* Pairs with the exchange in take_events(): whoever sets the first bit posts. */
	if (__atomic_fetch_or(&m->events, request, __ATOMIC_ACQ_REL) == 0)
		loop_post(m->loop, take_events, m);
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

int machine_announce(struct machine *m, const char *name)
{
	struct pool_entry *net = name ? pool_find(&m->pool, POOL_NET, name) : NULL;
	bool found = !name;
	struct plugged *p;
	int asked = 0;

	TAILQ_FOREACH(p, &m->devices, link) {
		const struct device_model *model = p->dev->model;

		if (!model->nic ||
		    (name && strcmp(p->dev->id, name) && !(net && net->user == p->dev)))
			continue;
		found = true;
		asked += model->announce && model->announce(p->dev);
	}
	return found ? asked : -ENOENT;
}

/* The one back end that leads ports into its guest. */
static struct net_backend *only_forwarder(struct machine *m, struct err *err)
{
	struct net_backend *found = NULL;
	struct pool_entry *e;

	TAILQ_FOREACH(e, &m->pool.entries, link) {
		struct net_backend *net = e->kind == POOL_NET ? e->object : NULL;

		if (!net || !net->ops->forward)
			continue;
		if (found) {
			err_set(err, -EINVAL, "%s or %s? (the netdev's id goes first)", found->id,
				net->id);
			return NULL;
		}
		found = net;
	}
	if (!found)
		err_set(err, -ENOENT, "there is no netdev of type user");
	return found;
}

int machine_forward(struct machine *m, const char *netdev, const char *rule, bool add,
		    struct err *err)
{
	struct pool_entry *e = netdev ? pool_need(&m->pool, POOL_NET, netdev, err) : NULL;
	struct net_backend *net = e ? e->object : netdev ? NULL : only_forwarder(m, err);

	if (!net)
		return err->code;
	if (!net->ops->forward)
		return err_set(err, -ENOTSUP, "%s is of type %s, and leads no ports into its guest",
			       net->id, net->ops->name);
	return net->ops->forward(net, rule, add, err);
}

struct char_backend *machine_monitor_char(struct machine *m, const char *id, struct err *err)
{
	if (m->config->mux_chardev && !strcmp(id, m->config->mux_chardev))
		return m->monitor_side;
	return pool_claim(&m->pool, POOL_CHAR, id, NULL, err);
}
