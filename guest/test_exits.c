/*
 * exits: what it costs a guest to leave: medians, each of `count` times.
 *
 *	gate		UD2, through the CPL 0 handler and back: a part of others below
 *	cpuid		gate, and an exit that the kernel answers
 *	pio_read	gate, and an exit to the monitor: configuration address port
 *	mmio_read	exit to the monitor: device status of a virtio device
 *	mmio_write	the same, a store: feature select
 *	doorbell	the store to a queue's doorbell, which an ioeventfd takes where there is one
 *	pio_doorbell	gate, and the legacy doorbell port
 *	self_irq	an interrupt to oneself, until its handler has run
 */
#include "clock.h"
#include "gate.h"
#include "irq.h"
#include "lib.h"
#include "memory.h"
#include "serial.h"
#include "stats.h"
#include "target.h"

#define CONFIG_ADDRESS 0xcf8

static const struct test_param params[] = {
	TARGET_PARAMS,
	{"count", "1000", "of each kind"},
	{NULL, NULL, NULL},
};

struct exits {
	struct target t;
	int vector;
};

static void do_gate(struct exits *e)
{
	gate_null();
}

static void do_cpuid(struct exits *e)
{
	uint32_t regs[4];

	gate_cpuid(0, 0, regs);
}

static void do_pio_read(struct exits *e)
{
	gate_in32(CONFIG_ADDRESS);
}

static void do_mmio_read(struct exits *e)
{
	(void)e->t.dev.common->device_status;
}

static void do_mmio_write(struct exits *e)
{
	e->t.dev.common->device_feature_select = 0;
}

static void do_doorbell(struct exits *e)
{
	ring_bell(&e->t.ring);
}

static void do_self_irq(struct exits *e)
{
	uint32_t seen = irq_count[e->vector];

	irq_send_self(e->vector);
	while (irq_count[e->vector] == seen)
		pause();
}

static uint32_t median(struct exits *e, void (*what)(struct exits *e), uint32_t *times,
		       uint32_t count)
{
	for (uint32_t i = 0; i < count; i++) {
		uint64_t start = clock_ticks();

		what(e);
		times[i] = clock_ticks_to_ns(clock_ticks() - start);
	}
	stats_sort(times, count);
	return stats_at(times, count, 500);
}

static bool run(const struct test *test, const struct test_arg *args)
{
	static const struct {
		const char *name;
		void (*what)(struct exits *e);
		bool modern;
	} kinds[] = {
		{"gate", do_gate, false},
		{"cpuid", do_cpuid, false},
		{"pio_read", do_pio_read, false},
		{"mmio_read", do_mmio_read, true},
		{"mmio_write", do_mmio_write, true},
		{"doorbell", do_doorbell, true},
		{"self_irq", do_self_irq, false},
	};
	uint32_t count = MAX(test_number(test, args, "count"), 1u);
	uint32_t *times = memory_alloc(count * sizeof(*times), 64), ns[ARRAY_SIZE(kinds)],
		 legacy = 0;
	struct exits e = {.vector = irq_alloc()};

	if (!target_choose(&e.t, test, args))
		return false;
	if (!target_start(&e.t, 0, VIRTIO_POLLED))
		return test_fail(test, "no-start");
	for (uint32_t i = 0; i < ARRAY_SIZE(kinds); i++) {
		ns[i] = 0;
		if (!e.t.dev.legacy || !kinds[i].modern)
			ns[i] = median(&e, kinds[i].what, times, count);
	}
	target_stop(&e.t);
	e.t.transport = VIRTIO_LEGACY;
	if (target_start(&e.t, 0, VIRTIO_POLLED)) {
		legacy = median(&e, do_doorbell, times, count);
		target_stop(&e.t);
	}
	test_result(test, true);
	for (uint32_t i = 0; i < ARRAY_SIZE(kinds); i++)
		say(" %s_ns=%u", kinds[i].name, ns[i]);
	report(" pio_doorbell_ns=%u count=%u device=%s", legacy, count, e.t.name);
	return true;
}

const struct test test_exits = {
	.name = "exits",
	.help = "measures what exits cost",
	.params = params,
	.run = run,
};
