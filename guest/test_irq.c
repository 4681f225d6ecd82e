/*
 * irq-test: a device's interrupts. MSI-X: delivered; kept pending while the entry or the function
 * is masked, seen in the pending bits, delivered at unmask; none without a vector. INTx:
 * delivered, ISR status reads 1 then 0, held back by the command register's bit 10.
 */
#include <linux/pci_regs.h>

#include "clock.h"
#include "irq.h"
#include "lib.h"
#include "pci.h"
#include "serial.h"
#include "target.h"

#define ISR_QUEUE 0x1		   /* ISR status: a queue, section 4.1.4.5 */
#define SOON	  (1 * NS_PER_S)   /* an interrupt that is due comes by then */
#define NEVER	  (20 * NS_PER_MS) /* one that hasn't come by then is not coming */

static const struct test_param params[] = {
	TARGET_PARAMS,
	{"irq", "1", "1: MSI-X; intx: by the pin"},
	{"transport", "auto", "auto, modern or legacy"},
	{NULL, NULL, NULL},
};

struct irq_run {
	struct target t;
	const struct test *test;
	uint32_t checks, problems;
};

static void check(struct irq_run *r, bool ok, const char *what)
{
	r->checks++;
	if (ok)
		return;
	r->problems++;
	report("test=%s problem=%s", r->test->name, what);
}

/* Does one request to its end. Returns true if an interrupt came within the time. */
static bool interrupts(struct irq_run *r, uint64_t timeout_ns)
{
	uint32_t seen = irq_count[r->t.vector];
	bool came;

	ring_arm(&r->t.ring, 1);
	if (!target_submit(&r->t))
		return false;
	came = irq_wait(r->t.vector, seen, timeout_ns);
	check(r, target_finish(&r->t, SOON), "request-not-done");
	return came;
}

static bool pending(struct irq_run *r)
{
	return r->t.dev.msix_pending[0] >> TARGET_MSIX_ENTRY & 1;
}

static void set_function_mask(struct irq_run *r, bool masked)
{
	pci_write16(r->t.dev.pci, r->t.dev.msix + PCI_MSIX_FLAGS,
		    PCI_MSIX_FLAGS_ENABLE | (masked ? PCI_MSIX_FLAGS_MASKALL : 0));
}

static void mask_entry(struct irq_run *r, bool masked)
{
	virtio_msix_mask(&r->t.dev, TARGET_MSIX_ENTRY, masked);
}

/* Masked by one way or the other: pending, and delivered once when unmasked. */
static void check_mask(struct irq_run *r, void (*mask)(struct irq_run *, bool), const char *what)
{
	uint32_t seen;

	mask(r, true);
	check(r, !interrupts(r, NEVER), what);
	check(r, pending(r), "pending-bit-not-set");
	seen = irq_count[r->t.vector];
	mask(r, false);
	check(r, irq_wait(r->t.vector, seen, SOON), "lost-at-unmask");
	check(r, !pending(r), "pending-bit-not-cleared");
	check(r, irq_count[r->t.vector] == seen + 1, "more-than-one-at-unmask");
	check(r, interrupts(r, SOON), "none-after-unmask");
}

static void check_msix(struct irq_run *r)
{
	uint32_t seen;

	for (uint32_t i = 0; i < 100; i++)
		check(r, interrupts(r, SOON), "msix-not-delivered");
	check_mask(r, mask_entry, "came-while-entry-masked");
	check_mask(r, set_function_mask, "came-while-function-masked");
	/* The entry rewritten, masked meanwhile: the next one comes at the new vector. */
	r->t.vector = virtio_vector(&r->t.dev, TARGET_MSIX_ENTRY);
	check(r, interrupts(r, SOON), "none-at-new-vector");
	ring_disarm(&r->t.ring);
	seen = irq_count[r->t.vector];
	check(r, target_works(&r->t), "request-not-done");
	check(r, !irq_wait(r->t.vector, seen, NEVER), "came-though-suppressed");
}

static void check_intx(struct irq_run *r)
{
	const struct virtio_device *dev = &r->t.dev;
	uint32_t seen;

	for (uint32_t i = 0; i < 100; i++) {
		check(r, interrupts(r, SOON), "intx-not-delivered");
		check(r, virtio_isr(dev) == ISR_QUEUE, "isr-not-1");
		check(r, virtio_isr(dev) == 0, "isr-not-cleared-by-read");
		irq_intx_done(dev->intx_input);
	}
	pci_command(dev->pci, PCI_COMMAND_INTX_DISABLE, 0);
	seen = irq_count[IRQ_INTX];
	check(r, !interrupts(r, NEVER), "came-though-disabled");
	check(r, pci_read16(dev->pci, PCI_STATUS) & PCI_STATUS_INTERRUPT, "status-bit-not-set");
	pci_command(dev->pci, 0, PCI_COMMAND_INTX_DISABLE);
	check(r, irq_wait(IRQ_INTX, seen, SOON), "lost-at-enable");
	check(r, virtio_isr(dev) == ISR_QUEUE, "isr-not-1");
	check(r, !(pci_read16(dev->pci, PCI_STATUS) & PCI_STATUS_INTERRUPT), "status-bit-stuck");
	irq_intx_done(dev->intx_input);
	check(r, interrupts(r, SOON), "none-after-enable");
	virtio_isr(dev);
	irq_intx_done(dev->intx_input);
}

static bool run(const struct test *test, const struct test_arg *args)
{
	struct irq_run r = {.test = test};
	enum virtio_transport transport;
	enum virtio_interrupts kind;

	if (!virtio_interrupts_by_name(test_string(test, args, "irq"), &kind) ||
	    kind == VIRTIO_POLLED ||
	    !virtio_transport_by_name(test_string(test, args, "transport"), &transport))
		return test_fail(test, "bad-parameter");
	if (!target_choose(&r.t, test, args))
		return false;
	r.t.transport = transport;
	if (!target_start(&r.t, 1ull << VIRTIO_RING_F_EVENT_IDX, kind))
		return test_fail(test, "no-interrupts");
	irq_tick(true);
	if (kind == VIRTIO_MSIX)
		check_msix(&r);
	else
		check_intx(&r);
	irq_tick(false);
	target_stop(&r.t);
	test_result(test, !r.problems);
	report(" device=%s checks=%u problems=%u spurious=%u", r.t.name, r.checks, r.problems,
	       irq_spurious_count);
	return !r.problems;
}

const struct test test_irq = {
	.name = "irq-test",
	.help = "checks MSI-X masking and pending bits, or INTx and the ISR status",
	.params = params,
	.run = run,
};
