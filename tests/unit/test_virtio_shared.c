/*
 * virtio over PCI: who is lent a queue holds its eventfds, and their flags with them (O_NONBLOCK belongs to the
 * open file, not to the descriptor). One who makes them block must not make vireo wait: an alarm ends the test.
 */
#include <fcntl.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "vpci_fixture.h"

#define SECONDS 20 /* of which a busy host may need some; a read that blocks takes all */

struct lender {
	struct toy toy; /* first */
	bool lends;
};

static void make_it_block(int fd)
{
	int flags = fcntl(fd, F_GETFL);

	assert_true(flags >= 0);
	assert_int_equal(fcntl(fd, F_SETFL, flags & ~O_NONBLOCK), 0);
}

static enum virtio_lend lend(struct virtio_queue *queue, const struct virtio_loan *loan)
{
	eventfd_t n;

	if (!((struct lender *)queue->dev)->lends)
		return VIRTIO_LEND_NOT;
	/* What somebody who serves the ring would have read. */
	(void)!eventfd_read(loan->kick_fd, &n);
	make_it_block(loan->kick_fd);
	make_it_block(loan->call_fd);
	return VIRTIO_LEND_DONE;
}

static uint32_t give_back(struct virtio_queue *queue)
{
	eventfd_t n = 1;

	/* The bell that was rung when it was lent. */
	(void)!eventfd_write(queue->kick_fd, n);
	(void)!eventfd_read(queue->kick_fd, &n);
	return 0;
}

static void new_call(struct virtio_queue *queue, int call_fd)
{
	make_it_block(call_fd);
}

static int lender_realize(struct virtio_dev *dev, struct err *err)
{
	dev->lends = true;
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

static struct fix *start_lender(void)
{
	struct fix *f = plug(setup(0), "test-lender-pci", NULL);

	((struct lender *)f->toy)->lends = true;
	alarm(SECONDS);
	return f;
}

static void end(struct fix *f)
{
	/* They were made to block; served by vireo again, all is as ever. */
	((struct lender *)f->toy)->lends = false;
	modern_up(f, 0);
	for (uint8_t tag = 0; tag < 9; tag++)
		echo(f, tag % QUEUES, tag);
	finish(f);
	alarm(0);
}

/* Interrupts that vireo passes on: whatever has come is taken when the queue comes back, and nothing has. */
static void test_line(void **state)
{
	struct fix *f = start_lender();

	modern_up(f, 0);
	assert_true(f->vp->vdev->queue[0].lent);
	set_status(f, 0);
	assert_false(f->vp->vdev->queue[0].lent);
	end(f);
}

static void msix_control(struct fix *f, uint16_t value)
{
	unsigned int cap = fp_config_read(&f->fp, SLOT, 0, 0x34, 1);

	while (fp_config_read(&f->fp, SLOT, 0, cap, 1) != 0x11)
		cap = fp_config_read(&f->fp, SLOT, 0, cap + 1, 1);
	fp_config_write(&f->fp, SLOT, 0, cap + 2, 2, value);
}

/* Vectors: a driver that comes after finds nothing pending of the time before, which is looked for. */
static void test_vectors(void **state)
{
	struct fix *f = start_lender();

	msix_on(f, 3);
	modern_up(f, 0);
	assert_true(f->vp->vdev->queue[0].lent);
	set_status(f, 0);
	msix_control(f, 0);
	msix_control(f, 0x8000);
	device_reset(f->dev);
	map(f);
	end(f);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_line),
		cmocka_unit_test(test_vectors),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
