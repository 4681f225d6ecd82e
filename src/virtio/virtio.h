/*
 * A virtio device behind any transport: features, status, queues and the threads that serve them.
 * Virtio 1.3 §2.1-2.4, §3.1; legacy: the "Legacy Interface" sections. Bits and constants:
 * <linux/virtio_config.h>.
 *
 * A model (net, blk, rng) is one struct virtio_model; it never learns whether PCI or what else
 * carries it. The transport (virtio/pci.c) turns register accesses into the calls of the lower half
 * of this header.
 *
 *	status:  0 -> ACKNOWLEDGE -> DRIVER -> FEATURES_OK -> DRIVER_OK ........ 0 (reset)
 *	                                            |            |
 *	                       offered only, or refused      enabled queues go to their I/O threads
 *
 * A queue is served by its loop: a kick (doorbell's eventfd, or the loop's poller seeing the
 * available index move) calls model->work(queue) until that says there was nothing. While the loop
 * polls, the driver's doorbells are suppressed. The first malformed ring latches the device:
 * DEVICE_NEEDS_RESET, a configuration interrupt, no queue served till reset.
 *
 * Threads. Device lock: registers, status, features, configuration space, `enabled` and `config` of
 * the queues. Each queue's I/O thread: its ring, `running`, `wants_kicks`; no lock. A thread that
 * holds the device lock may wait for an I/O thread (start, reset), so an I/O thread never takes the
 * device lock. Latching and interrupts: any thread, by atomics.
 *
 * A device touches guest memory between queue_start() and queue_stop() only: these come at
 * DRIVER_OK and reset, and also whenever the transport takes the right to do DMA away (PCI: bus
 * master off) and gives it back; the ring goes on where it was.
 *
 * A model may lend a queue to somebody else who serves rings (the host's kernel, another process)
 * instead: then the doorbell's and the interrupt's eventfds go there, and no thread of vireo's has
 * anything to do with it until it is returned, with the position. See virtio_lend.c.
 */
#ifndef VIREO_VIRTIO_VIRTIO_H
#define VIREO_VIRTIO_VIRTIO_H

#include <linux/virtio_config.h>
#include <linux/virtio_ring.h>
#include <stdbool.h>
#include <stdint.h>
#include <string.h>

#include "base/log.h"
#include "base/loop.h"
#include "bus/device.h"
#include "virtio/ring.h"

#define VIRTIO_QUEUES_MAX 64

static inline uint64_t virtio_bit(unsigned int bit)
{
	return UINT64_C(1) << bit;
}

struct virtio_dev;
struct virtio_queue;

/* What somebody else needs to serve a queue, beside queue->config. */
struct virtio_loan {
	uint32_t position; /* where the ring starts, as for virtq_start() */
	int kick_fd;	   /* eventfd of the doorbell */
	int call_fd;	   /* eventfd of the interrupt */
	bool direct; /* the interrupt reaches the driver with no help of vireo's (MSI-X), or is unwanted */
};

enum virtio_lend {
	VIRTIO_LEND_NOT,  /* the I/O thread serves the queue */
	VIRTIO_LEND_DONE, /* somebody else does, until queue_return() */
	VIRTIO_LEND_PARK, /* nobody does: the model will ask for virtio_queue_restart() */
};

struct virtio_model {
	uint16_t id;	      /* device type, virtio 1.3 §5: 1 = network card */
	uint32_t pci_class;   /* 24 bits */
	unsigned int vectors; /* MSI-X vectors that suit it by default */

	/* Fills dev->n_queues, queue[].size_max (a power of two, VIRTQ_SIZE_MAX at most),
	 * queue[].loop, features_offered (device bits), config_size; may change dev->vectors,
	 * set features_limit and lends.
	 * realize may fail, having undone its own work; unrealize undoes it later, when all queues
	 * are stopped. */
	int (*realize)(struct virtio_dev *dev, struct err *err);
	void (*unrealize)(struct virtio_dev *dev);

	/* Device configuration space: little-endian, `size` 1, 2, 4 or 8, within config_size.
	 * Device lock held. config_write may be NULL: read-only. */
	uint64_t (*config_read)(struct virtio_dev *dev, uint32_t offset, unsigned int size);
	void (*config_write)(struct virtio_dev *dev, uint32_t offset, unsigned int size,
			     uint64_t value);

	/* Called on the queue's I/O thread when its ring is up (DRIVER_OK), and before it goes down
	 * (reset, latch). May be NULL. Before queue_stop() returns, every chain is filled and
	 * flushed (in flight: finish or wait), or given back by virtq_unpop(); and nothing of the
	 * model's (a file descriptor, a timer) will touch the queue any more. */
	void (*queue_start)(struct virtio_queue *queue);
	void (*queue_stop)(struct virtio_queue *queue);
	/* Work on the queue, one batch, bounded; true = something was done. I/O thread; only
	 * between queue_start() and queue_stop(). The model's own events (its file descriptor is
	 * readable) call virtio_queue_work(), which checks that. */
	bool (*work)(struct virtio_queue *queue);

	/* Where dev->lends: a queue is to be served; or what was lent is taken back, returning the
	 * ring's position: then nobody touches the ring any more, and every chain taken from it has
	 * been used. Device lock held. queue_call: the interrupt goes to another eventfd from now on. */
	enum virtio_lend (*queue_lend)(struct virtio_queue *queue, const struct virtio_loan *loan);
	uint32_t (*queue_return)(struct virtio_queue *queue);
	void (*queue_call)(struct virtio_queue *queue, int call_fd);

	/* After negotiation (FEATURES_OK, or legacy DRIVER_OK), before queues start; lock held. May
	 * be NULL. */
	void (*features_ready)(struct virtio_dev *dev);
	/* All queues are stopped: state as at power-on. Lock held, or vCPUs stand still. May be
	 * NULL. */
	void (*reset)(struct virtio_dev *dev);

	void (*info)(struct virtio_dev *dev, json_t *object);
	void (*counters)(struct virtio_dev *dev, counter_visit *visit, void *opaque);
	void (*set_link)(struct virtio_dev *dev, bool up);
	bool (*announce)(
		struct virtio_dev *dev); /* see struct device_model; lock held. May be NULL */
};

/* One queue: the ring, and who serves it. */
struct virtio_queue {
	struct virtq ring;
	struct virtio_dev *dev;
	uint16_t size_max;	    /* offered; set by the model's realize */
	struct loop *loop;	    /* its I/O thread; set by the model's realize */
	struct virtq_config config; /* as the driver writes it, before it is enabled */
	bool enabled;		    /* by the driver */
	uint32_t position;	    /* of the ring, while it isn't running */
	bool lent, parked;	    /* not the I/O thread's; parked: nobody's */
	int call_fd;		    /* lent: where its interrupt goes now */
	int own_call_fd; /* an eventfd for an interrupt that isn't one; -1: dev->lends is off */
	/* the I/O thread's */
	bool running;	  /* between queue_start and queue_stop */
	bool wants_kicks; /* see virtio_queue_want_kicks() */
	int kick_fd;	  /* eventfd that the doorbell signals */
	struct loop_fd kick;
	struct loop_fd call; /* own_call_fd, while that has to be passed on */
	struct loop_poller poller;
};

/* The instance: starts every virtio model's struct. The transport is in front of it in the same
 * allocation. */
struct virtio_dev {
	const struct virtio_model *model;
	struct device *device; /* the transport's: id, platform, lock */
	unsigned int n_queues;
	struct virtio_queue queue[VIRTIO_QUEUES_MAX];
	uint32_t config_size;	   /* bytes */
	unsigned int vectors;	   /* MSI-X, wanted: model->vectors or what its realize() sets */
	uint64_t features_offered; /* virtio_dev_init() adds those of ring and transport */
	uint64_t features_limit;   /* 0, or nothing else is offered (set by realize) */
	uint64_t features;	   /* the driver's; a subset of the offered ones once negotiated */
	uint8_t status;		   /* atomics: I/O threads latch */
	bool legacy;		   /* the driver uses the legacy interface (since reset) */
	bool started;		   /* DRIVER_OK; queues run if dma, too */
	bool dma;		   /* the transport lets us touch guest memory */
	bool lends;		   /* the model may lend queues (set by realize) */
	uint8_t config_generation; /* atomics */
	int halt_fd; /* lends: tells the control thread to take back what is lent; else -1 */
	struct loop_fd halt;
	struct log_limit log;
	struct counter latched; /* times that it latched; shared */
	struct counter refused; /* feature sets and queue addresses; lock held */

	/* The transport's. Any thread. */
	void (*notify_queue)(struct virtio_dev *dev, struct virtio_queue *queue);
	void (*notify_config)(struct virtio_dev *dev);
	/* Tie the queue's doorbell to kick_fd, or untie it. Lock held. */
	void (*doorbell)(struct virtio_dev *dev, struct virtio_queue *queue, bool on);
	/* The eventfd that is the queue's interrupt; -ENOENT: the driver wants none; -ENOTSUP: it takes
	 * notify_queue(). Lock held. May be NULL: -ENOTSUP. */
	int (*call_fd)(struct virtio_dev *dev, struct virtio_queue *queue);
};

static inline bool virtio_has(const struct virtio_dev *dev, unsigned int bit)
{
	return dev->features >> bit & 1;
}

/* ---- for models ---- */

/* Tells the driver that configuration space has changed: call it after the change, with the device
 * lock held (so that a driver's read never sees half of one). */
void virtio_config_changed(struct virtio_dev *dev);
/* Latches: sets DEVICE_NEEDS_RESET, says why once in a while, stops serving. Any thread. */
void virtio_latch(struct virtio_dev *dev, const char *reason);
bool virtio_is_latched(const struct virtio_dev *dev);

/* Does a batch of work if the queue is running and not latched; true = something was done. I/O
 * thread. For the model's own events: model->work() runs with the driver's doorbells suppressed. */
bool virtio_queue_work(struct virtio_queue *queue);
/* Can a doorbell make new work? True at queue_start(). While false, no doorbell is asked for and
 * the loop sleeps even though chains are waiting: the model waits for something else (a receive
 * queue that has buffers waits for a frame; a send queue whose back end is full waits until that is
 * writable). I/O thread. */
void virtio_queue_want_kicks(struct virtio_queue *queue, bool want);

/* Stops the queue, if it runs, and lets it go on where it was: the model is asked anew who serves it.
 * Device lock held. */
void virtio_queue_restart(struct virtio_queue *queue);

/* `size` bytes at offset of a model's configuration structure, as a number: what config_read()
 * returns. */
static inline uint64_t virtio_config_load(const void *config, uint32_t offset, unsigned int size)
{
	uint64_t value = 0;

	memcpy(&value, (const uint8_t *)config + offset, size);
	return value;
}

/* ---- for transports: device lock held, unless said otherwise ---- */

/* After model->realize: adds ring_features (VIRTIO_RING_F_*, VIRTIO_F_VERSION_1, legacy bits) to
 * the offer, makes the kick eventfds. */
int virtio_dev_init(struct virtio_dev *dev, uint64_t ring_features, struct err *err);
void virtio_dev_destroy(struct virtio_dev *dev);

/* What is offered through the legacy, or the modern, interface. */
uint64_t virtio_features_offered(const struct virtio_dev *dev, bool legacy);
/* The driver's features, 64 bits. Bits that weren't offered make FEATURES_OK fail (legacy: they are
 * dropped). Ignored after FEATURES_OK and DRIVER_OK. */
void virtio_set_features(struct virtio_dev *dev, uint64_t features);
/* Device status written, by the legacy interface or not. Bits are only ever added; 0 resets: waits
 * until every I/O thread has let go. */
void virtio_set_status(struct virtio_dev *dev, uint8_t status, bool legacy);
uint8_t virtio_get_status(const struct virtio_dev *dev); /* any thread */
/* queue->config is complete: the driver enables it. When it makes no sense the queue stays disabled
 * and the device latches. */
void virtio_queue_enable(struct virtio_queue *queue);
/* The driver takes one queue back (legacy: page frame number 0). */
void virtio_queue_disable(struct virtio_queue *queue);
/* A modern driver resets one queue (VIRTIO_F_RING_RESET, virtio 1.3 §2.6.1): it stops and is as after
 * a reset of the device; false: this wasn't negotiated. */
bool virtio_queue_reset(struct virtio_queue *queue);
/* What call_fd() says of the queue has changed. */
void virtio_queue_call_changed(struct virtio_queue *queue);
/* The doorbell was rung through an exit. */
void virtio_queue_kick(struct virtio_queue *queue);
/* May guest memory be touched? When off it returns only after every I/O thread has let go; on lets
 * them go on. */
void virtio_set_dma(struct virtio_dev *dev, bool on);
void virtio_reset(struct virtio_dev *dev);

/* Configuration space, for any access: bytes outside read as 0 and swallow writes. size: 1, 2, 4 or
 * 8 bytes. */
uint64_t virtio_config_read(struct virtio_dev *dev, uint64_t offset, unsigned int size);
void virtio_config_write(struct virtio_dev *dev, uint64_t offset, unsigned int size,
			 uint64_t value);

/* The parts of `info` and of the counters that all have; the model's own after them. Control
 * thread. */
void virtio_info(struct virtio_dev *dev, json_t *object);
void virtio_counters(struct virtio_dev *dev, counter_visit *visit, void *opaque);

#endif
