/*
 * A virtio device behind any transport: see virtio.h for the life cycle and the threads. Virtio 1.3
 * §2.1-2.4, §3.1.
 *
 * How a queue goes up and down. The thread with the device lock (a vCPU in a register access, the
 * control thread in a machine reset) ties the doorbell to the queue's eventfd and has queue_up()
 * run on the queue's loop; downwards the other way round, so that nothing of the device runs on any
 * I/O thread when reset returns.
 *
 *	              doorbell     queue_up        kick ... poll ... poll ... sleep_prepare, epoll
 *	DRIVER_OK --> eventfd ---> ring mapped --> model->work()              doorbells on, look again
 *
 * Latching may happen on any thread, holding anything. So it only sets a bit and rings every
 * queue's eventfd itself: each I/O thread then finds the bit and takes its own queue down. Queues
 * that are lent to somebody else are virtio_lend.c's.
 *
 * What it does not do: know about PCI; hold requests (the models do).
 */
#include <errno.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "base/eventfd.h"
#include "virtio/virtio_internal.h"

#define LEGACY_ONLY  (1u << VIRTIO_F_NOTIFY_ON_EMPTY | 1u << VIRTIO_F_ANY_LAYOUT)
#define S_NEGOTIATED (VIRTIO_CONFIG_S_FEATURES_OK | VIRTIO_CONFIG_S_DRIVER_OK)

static const struct counter_desc virtio_counter_table[] = {
	{"latched", offsetof(struct virtio_dev, latched),
	 "times that a malformed ring or request stopped the device"},
	{"refused", offsetof(struct virtio_dev, refused),
	 "feature sets and queue addresses that were not accepted"},
	{NULL, 0, NULL},
};

static bool status_has(const struct virtio_dev *dev, uint8_t bits)
{
	return __atomic_load_n(&dev->status, __ATOMIC_RELAXED) & bits;
}

/* ---- latching ---- */

void virtio_eventfd_ring(int fd)
{
	/* Fails only when the counter is full, and then the reader has been told already. */
	(void)!eventfd_write(fd, 1);
}

void virtio_latch(struct virtio_dev *dev, const char *reason)
{
	const uint8_t bit = VIRTIO_CONFIG_S_NEEDS_RESET;
	uint8_t old = __atomic_fetch_or(&dev->status, bit, __ATOMIC_SEQ_CST);

	if (old & bit)
		return;
	counter_add_shared(&dev->latched, 1);
	log_limited(&dev->log, "%s: %s; the device stops until its driver resets it",
		    dev->device->id, reason);
	for (unsigned int i = 0; i < dev->n_queues; i++)
		virtio_eventfd_ring(dev->queue[i].kick_fd);
	virtio_lend_latched(dev);
	/* §2.1.2: the driver is told when it has set DRIVER_OK. */
	if (old & VIRTIO_CONFIG_S_DRIVER_OK)
		dev->notify_config(dev);
}

bool virtio_is_latched(const struct virtio_dev *dev)
{
	return status_has(dev, VIRTIO_CONFIG_S_NEEDS_RESET);
}

static void ring_broken(struct virtq *ring, const char *reason)
{
	struct virtio_queue *queue = ring->opaque;

	virtio_latch(queue->dev, reason);
}

static void ring_notify(struct virtq *ring)
{
	struct virtio_queue *queue = ring->opaque;

	queue->dev->notify_queue(queue->dev, queue);
}

/* ---- a queue on its I/O thread ---- */

static void queue_drain(struct virtio_queue *queue)
{
	uint64_t n;

	if (eventfd_take(queue->kick_fd, &n))
		counter_add(&queue->ring.counters.kicks, n);
}

static void queue_down(void *arg)
{
	struct virtio_queue *queue = arg;

	if (!queue->running)
		return;
	loop_poller_del(queue->loop, &queue->poller);
	loop_fd_del(&queue->kick);
	if (queue->dev->model->queue_stop)
		queue->dev->model->queue_stop(queue);
	queue->position = virtq_stop(&queue->ring);
	queue->running = false;
}

static void queue_up(void *arg)
{
	struct virtio_queue *queue = arg;
	uint64_t stale;
	int ret;

	if (queue->running)
		return;
	/* RAM doesn't move, so what queue_enable accepted is still good; unless the driver enabled
	 * the queue first and chose the other ring format afterwards. */
	ret = virtq_start(&queue->ring, &queue->config, queue->position);
	if (ret) {
		virtio_latch(queue->dev,
			     ret == -ENOMEM ? "the host has no memory for a queue"
					    : "a queue's rings are none of the negotiated format");
		return;
	}
	if (loop_fd_add(queue->loop, &queue->kick, EPOLLIN)) {
		virtio_latch(queue->dev, "the host can't watch another doorbell");
		virtq_stop(&queue->ring);
		return;
	}
	(void)eventfd_take(queue->kick_fd, &stale);
	loop_poller_add(queue->loop, &queue->poller);
	queue->wants_kicks = true;
	queue->running = true;
	if (queue->dev->model->queue_start)
		queue->dev->model->queue_start(queue);
	/* What the driver has put in before is found by queue_prepare(), before the loop sleeps. */
}

bool virtio_queue_work(struct virtio_queue *queue)
{
	if (!queue->running || virtio_is_latched(queue->dev))
		return false;
	virtq_kicks_off(&queue->ring);
	return queue->dev->model->work(queue);
}

void virtio_queue_want_kicks(struct virtio_queue *queue, bool want)
{
	queue->wants_kicks = want;
}

/* The doorbell, or virtio_latch(). */
static void queue_kicked(struct loop_fd *lf, uint32_t events)
{
	struct virtio_queue *queue = lf->opaque;

	queue_drain(queue);
	if (virtio_is_latched(queue->dev))
		queue_down(queue);
	else
		virtio_queue_work(queue);
}

static bool queue_poll(struct loop_poller *p)
{
	return virtio_queue_work(p->opaque);
}

static bool queue_prepare(struct loop_poller *p)
{
	struct virtio_queue *queue = p->opaque;

	if (!queue->wants_kicks || virtio_is_latched(queue->dev))
		return false;
	return virtq_kicks_on(&queue->ring);
}

/* ---- queues, from the thread with the lock ---- */

static void queue_go(struct virtio_queue *queue)
{
	struct virtio_dev *dev = queue->dev;

	if (!dev->dma || virtio_is_latched(dev))
		return;
	queue->config.packed = virtio_has(dev, VIRTIO_F_RING_PACKED);
	queue->config.event_idx = virtio_has(dev, VIRTIO_RING_F_EVENT_IDX);
	queue->config.indirect = virtio_has(dev, VIRTIO_RING_F_INDIRECT_DESC);
	queue->config.notify_on_empty = virtio_has(dev, VIRTIO_F_NOTIFY_ON_EMPTY);
	dev->doorbell(dev, queue, true);
	if (!virtio_lend(queue))
		loop_call(queue->loop, queue_up, queue);
}

void virtio_queue_halt(struct virtio_queue *queue)
{
	queue->dev->doorbell(queue->dev, queue, false);
	if (queue->lent)
		virtio_lend_end(queue);
	else
		loop_call(queue->loop, queue_down, queue);
}

static void queues_go(struct virtio_dev *dev)
{
	for (unsigned int i = 0; dev->started && i < dev->n_queues; i++) {
		if (dev->queue[i].enabled)
			queue_go(&dev->queue[i]);
	}
}

static void queues_halt(struct virtio_dev *dev)
{
	for (unsigned int i = 0; dev->started && i < dev->n_queues; i++) {
		if (dev->queue[i].enabled)
			virtio_queue_halt(&dev->queue[i]);
	}
}

void virtio_queue_enable(struct virtio_queue *queue)
{
	struct virtio_dev *dev = queue->dev;
	const char *wrong;

	if (queue->enabled)
		return;
	queue->config.packed = virtio_has(dev, VIRTIO_F_RING_PACKED);
	wrong = queue->config.size > queue->size_max
			? "the queue's size is more than was offered"
			: virtq_config_error(queue->ring.mem, &queue->config);
	if (wrong) {
		/* A driver can't be told by this register; DEVICE_NEEDS_RESET it can see. */
		counter_add(&dev->refused, 1);
		virtio_latch(dev, wrong);
		return;
	}
	queue->enabled = true;
	queue->position = VIRTQ_POSITION_NEW;
	if (dev->started)
		queue_go(queue);
}

void virtio_queue_disable(struct virtio_queue *queue)
{
	if (!queue->enabled)
		return;
	if (queue->dev->started)
		virtio_queue_halt(queue);
	queue->enabled = false;
}

void virtio_queue_restart(struct virtio_queue *queue)
{
	if (!queue->dev->started || !queue->enabled)
		return;
	virtio_queue_halt(queue);
	queue_go(queue);
}

static void queue_default(struct virtio_queue *queue)
{
	queue->enabled = false;
	queue->position = 0;
	queue->config = (struct virtq_config){.size = queue->size_max};
}

bool virtio_queue_reset(struct virtio_queue *queue)
{
	struct virtio_dev *dev = queue->dev;

	if (!status_has(dev, VIRTIO_CONFIG_S_FEATURES_OK) || !virtio_has(dev, VIRTIO_F_RING_RESET))
		return false;
	virtio_queue_disable(queue);
	queue_default(queue);
	return true;
}

/* ---- features and status ---- */

uint64_t virtio_features_offered(const struct virtio_dev *dev, bool legacy)
{
	if (legacy) /* 32 bits is all there is */
		return dev->features_offered & UINT32_MAX;
	return dev->features_offered & ~(uint64_t)LEGACY_ONLY;
}

static void start(struct virtio_dev *dev)
{
	if (dev->legacy) {
		dev->features &= virtio_features_offered(dev, true);
		if (dev->model->features_ready)
			dev->model->features_ready(dev);
	}
	dev->started = true;
	queues_go(dev);
}

void virtio_set_features(struct virtio_dev *dev, uint64_t features)
{
	bool early = dev->legacy && dev->started;

	if (status_has(dev, S_NEGOTIATED))
		return;
	/* §3.1.2: a legacy driver may use its queues before it writes features. */
	if (early)
		queues_halt(dev);
	dev->features = features;
	if (early)
		start(dev);
}

/* FEATURES_OK: is it a subset of the offer, and a modern driver's? §2.2.2, §6.1. */
static bool negotiate(struct virtio_dev *dev)
{
	uint64_t extra = dev->features & ~virtio_features_offered(dev, false);

	if (extra || !virtio_has(dev, VIRTIO_F_VERSION_1)) {
		counter_add(&dev->refused, 1);
		log_limited(&dev->log, "%s: features 0x%llx are refused: %s 0x%llx",
			    dev->device->id, (unsigned long long)dev->features,
			    extra ? "not offered:" : "missing: VERSION_1,",
			    (unsigned long long)(extra ? extra : virtio_bit(VIRTIO_F_VERSION_1)));
		return false;
	}
	if (dev->model->features_ready)
		dev->model->features_ready(dev);
	return true;
}

void virtio_set_status(struct virtio_dev *dev, uint8_t status, bool legacy)
{
	uint8_t old = virtio_get_status(dev);
	uint8_t add = status & ~old & ~VIRTIO_CONFIG_S_NEEDS_RESET;

	if (!status) {
		virtio_reset(dev);
		return;
	}
	if (!(old & S_NEGOTIATED))
		dev->legacy = legacy;
	if (dev->legacy) {
		add &= ~VIRTIO_CONFIG_S_FEATURES_OK; /* §3.1.2: no such bit there */
	} else {
		if (add & VIRTIO_CONFIG_S_FEATURES_OK && !negotiate(dev))
			add &= ~VIRTIO_CONFIG_S_FEATURES_OK;
		if (!((old | add) & VIRTIO_CONFIG_S_FEATURES_OK))
			add &= ~VIRTIO_CONFIG_S_DRIVER_OK;
	}
	__atomic_fetch_or(&dev->status, add, __ATOMIC_SEQ_CST);
	if (add & VIRTIO_CONFIG_S_DRIVER_OK && !dev->started)
		start(dev);
}

uint8_t virtio_get_status(const struct virtio_dev *dev)
{
	return __atomic_load_n(&dev->status, __ATOMIC_RELAXED);
}

void virtio_queue_kick(struct virtio_queue *queue)
{
	struct virtio_dev *dev = queue->dev;

	if (!queue->enabled)
		return;
	/* §3.1.2: a transitional device supports a legacy driver that uses it before DRIVER_OK. */
	if (dev->legacy && !dev->started)
		start(dev);
	if (dev->started)
		virtio_eventfd_ring(queue->kick_fd);
}

void virtio_set_dma(struct virtio_dev *dev, bool on)
{
	if (dev->dma == on)
		return;
	if (!on)
		queues_halt(dev);
	dev->dma = on;
	if (on)
		queues_go(dev);
}

void virtio_reset(struct virtio_dev *dev)
{
	queues_halt(dev);
	dev->started = false;
	dev->legacy = false;
	dev->features = 0;
	for (unsigned int i = 0; i < dev->n_queues; i++)
		queue_default(&dev->queue[i]);
	if (dev->model->reset)
		dev->model->reset(dev);
	__atomic_store_n(&dev->status, 0, __ATOMIC_SEQ_CST);
}

/* ---- configuration space ---- */

void virtio_config_changed(struct virtio_dev *dev)
{
	__atomic_fetch_add(&dev->config_generation, 1, __ATOMIC_SEQ_CST);
	if (status_has(dev, VIRTIO_CONFIG_S_DRIVER_OK))
		dev->notify_config(dev);
}

uint64_t virtio_config_read(struct virtio_dev *dev, uint64_t offset, unsigned int size)
{
	uint64_t value = 0;

	if (offset <= dev->config_size && size <= dev->config_size - offset)
		return dev->model->config_read(dev, (uint32_t)offset, size);
	for (unsigned int i = 0; i < size && offset + i < dev->config_size; i++)
		value |= dev->model->config_read(dev, (uint32_t)offset + i, 1) << 8 * i;
	return value;
}

void virtio_config_write(struct virtio_dev *dev, uint64_t offset, unsigned int size, uint64_t value)
{
	if (!dev->model->config_write)
		return;
	if (offset <= dev->config_size && size <= dev->config_size - offset)
		dev->model->config_write(dev, (uint32_t)offset, size, value);
}

/* ---- making and ending ---- */

static int queue_init(struct virtio_queue *queue, struct virtio_dev *dev, unsigned int index,
		      struct err *err)
{
	queue->dev = dev;
	queue->kick_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (queue->kick_fd < 0)
		return err_errno(err, "%s: eventfd for the doorbell of queue %u", dev->device->id,
				 index);
	queue->config.size = queue->size_max;
	queue->ring.index = (uint16_t)index;
	queue->ring.mem = dev->device->platform->mem;
	queue->ring.notify = ring_notify;
	queue->ring.broken = ring_broken;
	queue->ring.opaque = queue;
	queue->kick.ready = queue_kicked;
	queue->kick.opaque = queue;
	queue->kick.fd = queue->kick_fd;
	queue->poller.poll = queue_poll;
	queue->poller.sleep_prepare = queue_prepare;
	queue->poller.opaque = queue;
	return 0;
}

int virtio_dev_init(struct virtio_dev *dev, uint64_t ring_features, struct err *err)
{
	int ret = 0;

	dev->features_offered |= ring_features;
	if (dev->features_limit)
		dev->features_offered &= dev->features_limit;
	dev->halt_fd = -1;
	for (unsigned int i = 0; i < VIRTIO_QUEUES_MAX; i++)
		dev->queue[i].kick_fd = dev->queue[i].own_call_fd = -1;
	for (unsigned int i = 0; i < dev->n_queues && !ret; i++)
		ret = queue_init(&dev->queue[i], dev, i, err);
	if (!ret && dev->lends)
		ret = virtio_lend_init(dev, err);
	if (ret)
		virtio_dev_destroy(dev);
	return ret;
}

void virtio_dev_destroy(struct virtio_dev *dev)
{
	queues_halt(dev);
	dev->started = false;
	virtio_lend_destroy(dev);
	for (unsigned int i = 0; i < dev->n_queues; i++) {
		if (dev->queue[i].kick_fd >= 0)
			close(dev->queue[i].kick_fd);
		dev->queue[i].kick_fd = -1;
	}
}

/* ---- what a person sees ---- */

void virtio_info(struct virtio_dev *dev, json_t *object)
{
	char features[24];
	unsigned int enabled = 0, lent = 0;

	pthread_mutex_lock(&dev->device->lock);
	for (unsigned int i = 0; i < dev->n_queues; i++) {
		enabled += dev->queue[i].enabled;
		lent += dev->queue[i].lent && !dev->queue[i].parked;
	}
	snprintf(features, sizeof(features), "0x%llx", (unsigned long long)dev->features);
	json_object_set_new(object, "status", json_integer(virtio_get_status(dev)));
	json_object_set_new(object, "running", json_boolean(dev->started));
	json_object_set_new(object, "latched", json_boolean(virtio_is_latched(dev)));
	json_object_set_new(object, "interface",
			    json_string(!virtio_get_status(dev) ? "none"
					: dev->legacy		? "legacy"
								: "modern"));
	json_object_set_new(object, "features", json_string(features));
	json_object_set_new(object, "queues", json_integer(dev->n_queues));
	json_object_set_new(object, "queues-enabled", json_integer(enabled));
	json_object_set_new(object, "queues-lent", json_integer(lent));
	pthread_mutex_unlock(&dev->device->lock);
	if (dev->model->info)
		dev->model->info(dev, object);
}

void virtio_counters(struct virtio_dev *dev, counter_visit *visit, void *opaque)
{
	char part[24];

	visit(opaque, dev->device->id, NULL, virtio_counter_table, dev);
	for (unsigned int i = 0; i < dev->n_queues; i++) {
		snprintf(part, sizeof(part), "queue %u", i);
		visit(opaque, dev->device->id, part, virtq_counter_table,
		      &dev->queue[i].ring.counters);
	}
	if (dev->model->counters)
		dev->model->counters(dev, visit, opaque);
}
