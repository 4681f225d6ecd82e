/*
 * A virtio device whose queues somebody else serves (vhost): the handing over, and back.
 *
 *	                    served by the I/O thread        lent
 *	doorbell            kick_fd -> loop -> work()       kick_fd -> whoever has it
 *	interrupt, MSI-X    flush -> vector's eventfd       vector's eventfd
 *	interrupt, INTx     flush -> ISR, line              own_call_fd -> loop -> ISR, line
 *
 * The ring's position is all that changes hands: at a position no chain is in flight. Whoever takes
 * over looks into the ring at once, without waiting for a doorbell, and interrupts when it has used
 * something, whatever was asked of the one before.
 *
 * Everything here is done by the thread with the device lock (a vCPU in a register access, the control
 * thread), and so is waiting for the other side to let go. But latching may happen on any thread,
 * holding anything, and no I/O thread would find the bit of a queue that is lent: it signals halt_fd,
 * and the control thread takes the lock and the queues back.
 *
 * An interrupt may be signalled to the old eventfd while the other side is being told of a new one:
 * the new one is signalled, too. A driver that is told too often finds nothing; one that is told too
 * seldom hangs.
 *
 * Whoever has the eventfds may have made them block: they are read by eventfd_take().
 */
#include <errno.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "base/eventfd.h"
#include "virtio/virtio_internal.h"

/* ---- interrupts that are no eventfd: on the queue's I/O thread ---- */

static void call_ready(struct loop_fd *lf, uint32_t events)
{
	struct virtio_queue *queue = lf->opaque;
	uint64_t n;

	if (!eventfd_take(lf->fd, &n))
		return;
	counter_add(&queue->ring.counters.notified, 1);
	queue->dev->notify_queue(queue->dev, queue);
}

static void call_watch(void *arg)
{
	struct virtio_queue *queue = arg;

	if (!queue->call.loop)
		loop_fd_add(queue->loop, &queue->call, EPOLLIN);
}

/* What has been signalled meanwhile is still passed on. */
static void call_unwatch(void *arg)
{
	struct virtio_queue *queue = arg;

	if (!queue->call.loop)
		return;
	loop_fd_del(&queue->call);
	call_ready(&queue->call, EPOLLIN);
}

/* Where the queue's interrupt goes, as the transport has it now. False: own_call_fd has to be passed
 * on, and the host can't watch it. */
static bool call_choose(struct virtio_queue *queue, bool *direct)
{
	struct virtio_dev *dev = queue->dev;
	int fd = dev->call_fd ? dev->call_fd(dev, queue) : -ENOTSUP;

	*direct = fd != -ENOTSUP;
	queue->call_fd = fd >= 0 ? fd : queue->own_call_fd;
	if (*direct)
		return true;
	loop_call(queue->loop, call_watch, queue);
	return queue->call.loop;
}

void virtio_queue_call_changed(struct virtio_queue *queue)
{
	int old = queue->call_fd;
	bool direct;

	if (!queue->lent || queue->parked)
		return;
	if (!call_choose(queue, &direct)) {
		virtio_latch(queue->dev, "the host can't watch another interrupt");
		return;
	}
	if (queue->call_fd != old) {
		queue->dev->model->queue_call(queue, queue->call_fd);
		virtio_eventfd_ring(queue->call_fd);
	}
	if (direct)
		loop_call(queue->loop, call_unwatch, queue);
}

/* ---- lending ---- */

bool virtio_lend(struct virtio_queue *queue)
{
	struct virtio_dev *dev = queue->dev;
	struct virtio_loan loan = {.position = queue->position, .kick_fd = queue->kick_fd};
	enum virtio_lend lend = VIRTIO_LEND_NOT;

	/* A ring that makes no sense is for queue_up() to latch. */
	if (!dev->lends || virtq_config_error(queue->ring.mem, &queue->config))
		return false;
	if (call_choose(queue, &loan.direct)) {
		loan.call_fd = queue->call_fd;
		lend = dev->model->queue_lend(queue, &loan);
	}
	if (lend != VIRTIO_LEND_DONE)
		loop_call(queue->loop, call_unwatch, queue);
	queue->lent = lend != VIRTIO_LEND_NOT;
	queue->parked = lend == VIRTIO_LEND_PARK;
	/* What the driver has put in before. */
	if (lend == VIRTIO_LEND_DONE)
		virtio_eventfd_ring(queue->kick_fd);
	return queue->lent;
}

void virtio_lend_end(struct virtio_queue *queue)
{
	if (!queue->parked) {
		queue->position = queue->dev->model->queue_return(queue);
		loop_call(queue->loop, call_unwatch, queue);
	}
	queue->lent = queue->parked = false;
}

/* ---- latching ---- */

static void halt_ready(struct loop_fd *lf, uint32_t events)
{
	struct virtio_dev *dev = lf->opaque;
	eventfd_t n;

	(void)!eventfd_read(lf->fd, &n);
	pthread_mutex_lock(&dev->device->lock);
	/* The driver may have reset the device meanwhile. */
	for (unsigned int i = 0; virtio_is_latched(dev) && i < dev->n_queues; i++)
		if (dev->queue[i].lent)
			virtio_queue_halt(&dev->queue[i]);
	pthread_mutex_unlock(&dev->device->lock);
}

void virtio_lend_latched(struct virtio_dev *dev)
{
	if (dev->lends)
		virtio_eventfd_ring(dev->halt_fd);
}

/* ---- making and ending ---- */

int virtio_lend_init(struct virtio_dev *dev, struct err *err)
{
	int ret;

	dev->halt_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (dev->halt_fd < 0)
		return err_errno(err, "%s: eventfd", dev->device->id);
	dev->halt = (struct loop_fd){.ready = halt_ready, .opaque = dev, .fd = dev->halt_fd};
	ret = loop_fd_add(dev->device->platform->control, &dev->halt, EPOLLIN);
	if (ret) {
		errno = -ret;
		return err_errno(err, "%s: epoll", dev->device->id);
	}
	for (unsigned int i = 0; i < dev->n_queues; i++) {
		struct virtio_queue *queue = &dev->queue[i];

		queue->own_call_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
		if (queue->own_call_fd < 0)
			return err_errno(err, "%s: eventfd for the interrupt of queue %u",
					 dev->device->id, i);
		queue->call = (struct loop_fd){
			.ready = call_ready, .opaque = queue, .fd = queue->own_call_fd};
	}
	return 0;
}

void virtio_lend_destroy(struct virtio_dev *dev)
{
	loop_fd_del(&dev->halt);
	if (dev->halt_fd >= 0)
		close(dev->halt_fd);
	dev->halt_fd = -1;
	for (unsigned int i = 0; i < dev->n_queues; i++) {
		if (dev->queue[i].own_call_fd >= 0)
			close(dev->queue[i].own_call_fd);
		dev->queue[i].own_call_fd = -1;
	}
}
