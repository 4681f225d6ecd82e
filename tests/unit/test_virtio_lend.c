/*
 * virtio over PCI: queues that somebody else serves. The borrower is the test itself, on the ring code
 * that vireo has: where it starts, what it gives back, where its interrupts go; latching, reset of a
 * device and of one queue, and going back and forth between it and the I/O thread.
 */
#include <poll.h>
#include <sys/eventfd.h>

#include "vpci_fixture.h"

/* ---- a device like the toy, whose queues can be lent ---- */

struct borrowed {
	bool has;
	struct virtq ring;
	struct virtio_loan loan;
	unsigned int loans, returns, calls;
};

struct lender {
	struct toy toy; /* first */
	enum virtio_lend policy;
	bool needs_direct;
	struct borrowed queue[QUEUES];
};

static struct lender *lender_of(struct fix *f)
{
	return (struct lender *)f->toy;
}

static void borrowed_notify(struct virtq *q)
{
	struct borrowed *b = q->opaque;

	eventfd_write(b->loan.call_fd, 1);
}

static void borrowed_broken(struct virtq *q, const char *reason)
{
}

static enum virtio_lend lend(struct virtio_queue *queue, const struct virtio_loan *loan)
{
	struct lender *l = (struct lender *)queue->dev;
	struct borrowed *b = &l->queue[queue->ring.index];

	assert_false(b->has);
	if (l->policy == VIRTIO_LEND_DONE && l->needs_direct && !loan->direct)
		return VIRTIO_LEND_NOT;
	b->loan = *loan;
	if (l->policy != VIRTIO_LEND_DONE)
		return l->policy;
	b->ring = (struct virtq){.mem = queue->ring.mem,
				 .notify = borrowed_notify,
				 .broken = borrowed_broken,
				 .opaque = b};
	assert_int_equal(virtq_start(&b->ring, &queue->config, loan->position), 0);
	b->has = true;
	b->loans++;
	return VIRTIO_LEND_DONE;
}

static uint32_t give_back(struct virtio_queue *queue)
{
	struct borrowed *b = &((struct lender *)queue->dev)->queue[queue->ring.index];

	assert_true(b->has);
	b->has = false;
	b->returns++;
	return virtq_stop(&b->ring);
}

static void new_call(struct virtio_queue *queue, int call_fd)
{
	struct borrowed *b = &((struct lender *)queue->dev)->queue[queue->ring.index];

	assert_true(b->has);
	b->loan.call_fd = call_fd;
	b->calls++;
}

static int lender_realize(struct virtio_dev *dev, struct err *err)
{
	struct lender *l = (struct lender *)dev;

	l->policy = VIRTIO_LEND_DONE;
	dev->lends = true;
	dev->features_limit = ~virtio_bit(VIRTIO_RING_F_INDIRECT_DESC);
	return toy_realize(dev, err);
}

static const struct virtio_model lender = {
	.id = VIRTIO_ID_NET,
	.pci_class = 0x020000,
	.vectors = 3,
	.realize = lender_realize,
	.config_read = toy_config_read,
	.queue_start = toy_start,
	.queue_stop = toy_stop,
	.work = toy_work,
	.queue_lend = lend,
	.queue_return = give_back,
	.queue_call = new_call,
};

VIRTIO_PCI_MODEL(lender, "test-lender-pci", NULL, "lends", struct lender, toy_opts, NULL);

static struct fix *start_lender(const char *options)
{
	return plug(setup(0), "test-lender-pci", options);
}

/* What the other side does when its doorbell was rung. */
static unsigned int serve(struct fix *f, unsigned int i)
{
	struct borrowed *b = &lender_of(f)->queue[i];
	struct pollfd p = {.fd = b->loan.kick_fd, .events = POLLIN};
	struct iovec iov[8];
	struct virtq_chain c;
	uint8_t buf[64];
	unsigned int n = 0;
	eventfd_t count;

	assert_true(b->has);
	assert_int_equal(poll(&p, 1, 10000), 1);
	assert_int_equal(eventfd_read(p.fd, &count), 0);
	for (; virtq_pop(&b->ring, &c, iov, 8) == 1; n++) {
		size_t len = iov_read(c.iov, c.n_out, 0, buf, sizeof(buf));

		virtq_fill(&b->ring, &c, (uint32_t)iov_write(c.iov + c.n_out, c.n_in, 0, buf, len));
	}
	virtq_flush(&b->ring);
	return n;
}

static void lent_echo(struct fix *f, unsigned int i, uint8_t tag)
{
	put(f, i, tag);
	kick(f, i);
	assert_true(serve(f, i) >= 1);
	expect_echo(f, i, tag);
}

static void restart(struct fix *f, unsigned int i)
{
	pthread_mutex_lock(&f->dev->lock);
	virtio_queue_restart(&f->vp->vdev->queue[i]);
	pthread_mutex_unlock(&f->dev->lock);
}

static void set_queue_vector(struct fix *f, unsigned int i, uint16_t vector)
{
	wr(f, VIRTIO_PCI_COMMON_Q_SELECT, 2, i);
	wr(f, VIRTIO_PCI_COMMON_Q_MSIX, 2, vector);
}

static void bus_master(struct fix *f, bool on)
{
	fp_config_write(&f->fp, SLOT, 0, 4, 2, on ? 7 : 3);
}

static void msix_control(struct fix *f, uint16_t value)
{
	unsigned int cap = fp_config_read(&f->fp, SLOT, 0, 0x34, 1);

	while (fp_config_read(&f->fp, SLOT, 0, cap, 1) != 0x11)
		cap = fp_config_read(&f->fp, SLOT, 0, cap + 1, 1);
	fp_config_write(&f->fp, SLOT, 0, cap + 2, 2, value);
}

/* ---- lending ---- */

/* No thread of vireo's has to do with a queue that is lent. */
static void test_msix(void **state)
{
	struct fix *f = start_lender(NULL);
	struct lender *l = lender_of(f);

	assert_int_equal(offered(f) & virtio_bit(VIRTIO_RING_F_INDIRECT_DESC), 0);
	assert_true(offered(f) & virtio_bit(VIRTIO_RING_F_EVENT_IDX));
	msix_on(f, 3);
	modern_up(f, 0);
	for (unsigned int i = 0; i < QUEUES; i++) {
		assert_true(l->queue[i].has);
		assert_true(l->queue[i].loan.direct);
		assert_int_equal(l->queue[i].loan.position, VIRTQ_POSITION_NEW);
		assert_int_equal(l->queue[i].loan.call_fd, msix_fd(&f->vp->pci, i ? 2 : 1));
		/* What is in there already is looked at without a doorbell of the driver's. */
		assert_int_equal(serve(f, i), 0);
	}
	assert_int_equal(fake_vm_doorbells(f->fp.p.vm), QUEUES);
	for (uint8_t tag = 0; tag < 50; tag++)
		lent_echo(f, tag % QUEUES, tag);
	assert_true(messages(f, 0x41));
	assert_true(messages(f, 0x42));
	assert_int_equal(f->toy->starts, 0);
	assert_false(intx(f));
	set_status(f, 0);
	for (unsigned int i = 0; i < QUEUES; i++) {
		assert_int_equal(l->queue[i].returns, 1);
		assert_false(f->vp->vdev->queue[i].lent);
	}
	assert_int_equal(fake_vm_doorbells(f->fp.p.vm), 0);
	modern_up(f, 0);
	assert_int_equal(l->queue[0].loan.position, VIRTQ_POSITION_NEW);
	lent_echo(f, 0, 1);
	finish(f); /* lent */
}

/* Bus mastering off and on; and from one side to the other and back: the ring goes on where it was, and
 * nothing in it is lost or done twice. */
static void test_back_and_forth(void **state)
{
	struct fix *f = start_lender(NULL);
	struct lender *l = lender_of(f);
	unsigned int done = 0;

	msix_on(f, 3);
	modern_up(f, virtio_bit(VIRTIO_RING_F_EVENT_IDX));
	for (unsigned int round = 0; round < 30; round++) {
		uint8_t tag = (uint8_t)round;

		lent_echo(f, 0, tag);
		done++;
		/* Left behind without having been looked at. */
		put(f, 0, tag);
		kick(f, 0);
		if (round % 3 == 0) {
			bus_master(f, false);
			assert_false(l->queue[0].has);
			bus_master(f, true);
		} else {
			l->policy = VIRTIO_LEND_NOT;
			restart(f, 0);
			assert_false(l->queue[0].has);
			expect_echo(f, 0, tag); /* by the I/O thread */
			done++;
			put(f, 0, (uint8_t)(tag + 100));
			kick(f, 0);
			expect_echo(f, 0, (uint8_t)(tag + 100));
			done++;
			l->policy = VIRTIO_LEND_DONE;
			restart(f, 0);
		}
		assert_true(l->queue[0].has);
		assert_int_equal(l->queue[0].loan.position, done);
		if (round % 3 == 0) {
			assert_int_equal(serve(f, 0), 1);
			expect_echo(f, 0, tag);
			done++;
		}
	}
	assert_int_equal(vdriver_used_idx(&f->d[0]), done);
	assert_int_equal(f->toy->starts, 20);
	assert_int_equal(f->toy->stops, 20);
	finish(f);
}

/* ---- interrupts ---- */

static void test_no_msix(void **state)
{
	struct fix *f = start_lender(NULL);
	struct lender *l = lender_of(f);

	/* One that needs MSI-X isn't lent. */
	l->needs_direct = true;
	modern_up(f, 0);
	assert_false(l->queue[0].has);
	echo(f, 0, 1);
	eventually(intx(f));
	assert_int_equal(fp_load(&f->fp, ISR, 1), 1);
	/* One that doesn't is, and its interrupts are passed on. */
	l->needs_direct = false;
	modern_up(f, 0);
	for (uint8_t tag = 0; tag < 10; tag++) {
		assert_true(l->queue[1].has);
		assert_false(l->queue[1].loan.direct);
		lent_echo(f, 1, tag);
		eventually(intx(f));
		assert_int_equal(fp_load(&f->fp, ISR, 1), 1);
		assert_false(intx(f));
	}
	/* One that was on its way when the queue came back is not lost. */
	put(f, 1, 9);
	kick(f, 1);
	assert_int_equal(serve(f, 1), 1);
	bus_master(f, false);
	assert_true(intx(f));
	bus_master(f, true);
	legacy_up(f, 0);
	lent_echo(f, 2, 3);
	eventually(intx(f));
	finish(f);
}

static void test_vector_changes(void **state)
{
	struct fix *f = start_lender(NULL);
	struct borrowed *b = &lender_of(f)->queue[0];

	msix_on(f, 3);
	modern_up(f, 0);
	lent_echo(f, 0, 1);
	assert_int_equal(messages(f, 0x41), 1);
	set_queue_vector(f, 0, 2);
	assert_int_equal(b->calls, 1);
	assert_int_equal(b->loan.call_fd, msix_fd(&f->vp->pci, 2));
	/* One may have been on its way to the old vector: the new one is signalled, to be sure. */
	assert_int_equal(messages(f, 0x42), 1);
	lent_echo(f, 0, 2);
	assert_int_equal(messages(f, 0x42), 2);
	set_queue_vector(f, 0, 2); /* the same */
	assert_int_equal(b->calls, 1);
	/* None at all: the driver polls. */
	set_queue_vector(f, 0, 0xffff);
	lent_echo(f, 0, 3);
	assert_int_equal(messages(f, 0x41) + messages(f, 0x42), 3);
	assert_false(intx(f));
	set_queue_vector(f, 0, 1000); /* there is no such */
	set_queue_vector(f, 0, 1);
	assert_int_equal(messages(f, 0x41), 2);
	lent_echo(f, 0, 4);
	assert_int_equal(messages(f, 0x41), 3);
	/* MSI-X goes: the line; and comes again. */
	msix_control(f, 0);
	eventually(intx(f));
	fp_load(&f->fp, ISR, 1);
	/* all three queues are told that something may have come; it may be one after another */
	for (unsigned int i = 0; i < 1000; i++) {
		sched_yield();
		fp_load(&f->fp, ISR, 1);
	}
	lent_echo(f, 0, 5);
	eventually(intx(f));
	msix_control(f, 0x8000);
	assert_false(intx(f));
	lent_echo(f, 0, 6);
	assert_int_equal(b->loan.call_fd, msix_fd(&f->vp->pci, 1));
	assert_true(messages(f, 0x41) >= 4);
	set_status(f, 0);
	assert_false(intx(f));
	finish(f);
}

/* Masked, the eventfd's count is the pending bit, whoever wrote it. */
static void test_mask(void **state)
{
	struct fix *f = start_lender(NULL);

	msix_on(f, 3);
	modern_up(f, 0);
	for (unsigned int i = 0; i < 20; i++) {
		fp_store(&f->fp, TAB + 16 + 12, 4, 1);
		lent_echo(f, 0, 1);
		lent_echo(f, 0, 2);
		assert_int_equal(messages(f, 0x41), i);
		assert_int_equal(fp_load(&f->fp, TAB + 0x800, 4), 2);
		fp_store(&f->fp, TAB + 16 + 12, 4, 0);
		eventually(messages(f, 0x41) == i + 1);
		assert_int_equal(fp_load(&f->fp, TAB + 0x800, 4), 0);
	}
	/* The function's mask; and a vector that is chosen while it is masked. */
	msix_control(f, 0xc000);
	lent_echo(f, 0, 1);
	set_queue_vector(f, 0, 2);
	lent_echo(f, 0, 1);
	assert_int_equal(messages(f, 0x42), 0);
	msix_control(f, 0x8000);
	eventually(messages(f, 0x42) == 1);
	finish(f);
}

/* ---- latching ---- */

static void *latch_thread(void *arg)
{
	virtio_latch(arg, "the other side finds nonsense");
	return NULL;
}

static void latch(struct fix *f)
{
	pthread_t t;

	assert_int_equal(pthread_create(&t, NULL, latch_thread, f->vp->vdev), 0);
	pthread_join(t, NULL);
}

static void test_latch(void **state)
{
	struct fix *f = start_lender(NULL);
	struct lender *l = lender_of(f);

	msix_on(f, 3);
	modern_up(f, 0);
	lent_echo(f, 0, 1);
	latch(f);
	assert_true(status(f) & NEEDS_RESET);
	eventually(messages(f, 0x40) == 1);
	fp_run(&f->fp, 20);
	for (unsigned int i = 0; i < QUEUES; i++)
		assert_false(l->queue[i].has);
	assert_int_equal(fake_vm_doorbells(f->fp.p.vm), 0);
	/* Nothing brings them back but a reset. */
	kick(f, 0);
	restart(f, 0);
	bus_master(f, false);
	bus_master(f, true);
	assert_false(l->queue[0].has);
	modern_up(f, 0);
	lent_echo(f, 0, 2);
	/* The driver resets before the control thread comes to it. */
	latch(f);
	modern_up(f, 0);
	fp_run(&f->fp, 20);
	assert_true(l->queue[0].has);
	lent_echo(f, 0, 3);
	/* One queue lent, the others not, all latched by one of those. */
	l->policy = VIRTIO_LEND_NOT;
	restart(f, 1);
	restart(f, 2);
	l->policy = VIRTIO_LEND_DONE;
	vdriver_desc(&f->d[1], f->d[1].desc, 0, UINT64_MAX - 3, 16, 0, 0);
	vdriver_offer(&f->d[1], 0);
	kick(f, 1);
	eventually(status(f) & NEEDS_RESET);
	fp_run(&f->fp, 20);
	assert_false(l->queue[0].has);
	modern_up(f, 0);
	lent_echo(f, 1, 4);
	latch(f);
	finish(f); /* latched, and not yet halted */
}

/* A ring that makes no sense in the format that was negotiated is never lent. */
static void test_nonsense(void **state)
{
	struct fix *f = start_lender("packed=on");
	const uint64_t v1 = virtio_bit(VIRTIO_F_VERSION_1);

	set_status(f, 0);
	set_status(f, ACK | DRIVER);
	set_features(f, v1 | virtio_bit(VIRTIO_F_RING_PACKED));
	queue_addresses(f, 0);
	wr(f, VIRTIO_PCI_COMMON_Q_SIZE, 2, TOY_SIZE - 3);
	wr(f, VIRTIO_PCI_COMMON_Q_ENABLE, 2, 1);
	set_features(f, v1);
	set_status(f, ACK | DRIVER | OK);
	set_status(f, ACK | DRIVER | OK | GO);
	eventually(status(f) & NEEDS_RESET);
	assert_int_equal(lender_of(f)->queue[0].loans, 0);
	fp_run(&f->fp, 5);
	modern_up(f, 0);
	lent_echo(f, 0, 1);
	finish(f);
}

/* ---- parking ---- */

static void test_park(void **state)
{
	struct fix *f = start_lender(NULL);
	struct lender *l = lender_of(f);

	l->policy = VIRTIO_LEND_PARK;
	modern_up(f, 0);
	put(f, 0, 1);
	kick(f, 0);
	for (int i = 0; i < 100; i++)
		sched_yield();
	assert_int_equal(vdriver_used_idx(&f->d[0]), 0);
	assert_int_equal(f->toy->starts, 0);
	set_queue_vector(f, 0, 0xffff);
	bus_master(f, false);
	bus_master(f, true);
	l->policy = VIRTIO_LEND_DONE;
	restart(f, 0);
	assert_int_equal(l->queue[0].loan.position, VIRTQ_POSITION_NEW);
	assert_int_equal(serve(f, 0), 1);
	expect_echo(f, 0, 1);
	l->policy = VIRTIO_LEND_PARK;
	restart(f, 0);
	put(f, 0, 2);
	l->policy = VIRTIO_LEND_NOT;
	restart(f, 0);
	expect_echo(f, 0, 2);
	l->policy = VIRTIO_LEND_PARK;
	restart(f, 0);
	latch(f);
	fp_run(&f->fp, 5);
	set_status(f, 0);
	assert_int_equal(l->queue[0].returns, 1);
	finish(f);
}

/* ---- reset of one queue ---- */

#define Q_RESET 58

static void reset_queue(struct fix *f, unsigned int i)
{
	wr(f, VIRTIO_PCI_COMMON_Q_SELECT, 2, i);
	wr(f, Q_RESET, 2, 1);
}

static void expect_reset(struct fix *f)
{
	assert_int_equal(rd(f, Q_RESET, 2), 0);
	assert_int_equal(rd(f, VIRTIO_PCI_COMMON_Q_ENABLE, 2), 0);
	assert_int_equal(rd(f, VIRTIO_PCI_COMMON_Q_SIZE, 2), TOY_SIZE);
	assert_int_equal(rd(f, VIRTIO_PCI_COMMON_Q_DESCLO, 4), 0);
	assert_int_equal(rd(f, VIRTIO_PCI_COMMON_Q_MSIX, 2), 0xffff);
}

/* By whoever it is served; the others go on. */
static void test_queue_reset(void **state)
{
	for (int lent = 0; lent < 2; lent++) {
		struct fix *f = start_lender(NULL);
		struct lender *l = lender_of(f);

		l->policy = lent ? VIRTIO_LEND_DONE : VIRTIO_LEND_NOT;
		msix_on(f, 3);
		assert_true(offered(f) & virtio_bit(VIRTIO_F_RING_RESET));
		modern_up(f, virtio_bit(VIRTIO_F_RING_RESET));
		for (uint8_t round = 0; round < 10; round++) {
			(lent ? lent_echo : echo)(f, 0, 1);
			(lent ? lent_echo : echo)(f, 1, 2);
			reset_queue(f, 1);
			expect_reset(f);
			assert_false(l->queue[1].has);
			kick(f, 1);
			(lent ? lent_echo : echo)(f, 0, 3);
			queue_addresses(f, 1); /* begins anew, at 0 */
			if (round % 2) {
				vdriver_init(&f->d[1], &f->mem, RING0 + RING, TOY_SIZE / 2);
				wr(f, VIRTIO_PCI_COMMON_Q_SIZE, 2, TOY_SIZE / 2);
				wr(f, VIRTIO_PCI_COMMON_Q_AVAILLO, 4, (uint32_t)f->d[1].avail);
				wr(f, VIRTIO_PCI_COMMON_Q_USEDLO, 4, (uint32_t)f->d[1].used);
			}
			wr(f, VIRTIO_PCI_COMMON_Q_MSIX, 2, 2);
			wr(f, VIRTIO_PCI_COMMON_Q_ENABLE, 2, 1);
			assert_int_equal(l->queue[1].has, lent);
			if (lent)
				assert_int_equal(l->queue[1].loan.position, VIRTQ_POSITION_NEW);
		}
		assert_false(status(f) & NEEDS_RESET);
		/* Not while the driver has not enabled it: nothing to be done. And other values are
		 * none. */
		wr(f, Q_RESET, 2, 2);
		wr(f, Q_RESET, 1, 1);
		assert_int_equal(rd(f, VIRTIO_PCI_COMMON_Q_ENABLE, 2), 1);
		reset_queue(f, 1);
		reset_queue(f, 1);
		reset_queue(f, 1000);
		set_status(f, 0);
		/* Not negotiated. */
		modern_up(f, 0);
		reset_queue(f, 1);
		assert_int_equal(rd(f, VIRTIO_PCI_COMMON_Q_ENABLE, 2), 1);
		(lent ? lent_echo : echo)(f, 1, 4);
		finish(f);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_msix),	    cmocka_unit_test(test_back_and_forth),
		cmocka_unit_test(test_no_msix),	    cmocka_unit_test(test_vector_changes),
		cmocka_unit_test(test_mask),	    cmocka_unit_test(test_latch),
		cmocka_unit_test(test_nonsense),    cmocka_unit_test(test_park),
		cmocka_unit_test(test_queue_reset),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
