/*
 * virtio-rng: random bytes from the host. Virtio 1.3 §5.4.
 *
 * One queue of empty buffers; each comes back with at least one byte, written by getrandom(2)
 * straight into guest memory. Runs on the queue's I/O thread. max-bytes= and period= bound what a
 * guest can draw; when the share of a period is used up the queue rests until the next.
 *
 * What it does not do: pass on one particular source (-object rng-random,filename=/dev/hwrng): the
 * host kernel's generator, which such sources feed, is what the guest gets.
 */
#include <errno.h>
#include <linux/virtio_ids.h>
#include <sys/random.h>

#include "base/loop.h"
#include "virtio/pci.h"

#define QUEUE_SIZE 8
#define PIECES	   64
#define CHAIN_MAX  65536 /* bytes per request, so that no request keeps the thread for long */
#define BATCH	   QUEUE_SIZE
#define NS_PER_MS  1000000u

struct rng_counters {
	struct counter bytes, waits;
};

struct virtio_rng {
	struct virtio_dev vdev;
	struct rng_counters counters;
	struct loop_timer timer; /* end of the period; armed while resting */
	uint64_t period_end_ns;
	uint64_t left; /* bytes, in this period */
	/* options */
	char *opt_rng, *opt_iothread;
	uint64_t opt_max_bytes;
	uint32_t opt_period; /* ms */
};

static const struct counter_desc rng_counter_table[] = {
	{"bytes", offsetof(struct rng_counters, bytes), "random bytes given to the guest"},
	{"waits", offsetof(struct rng_counters, waits), "times that max-bytes= held requests back"},
	{NULL, 0, NULL},
};

static const struct opt_desc rng_opts[] = {
	{.name = "rng",
	 .type = OPT_STRING,
	 .offset = offsetof(struct virtio_rng, opt_rng),
	 .help = "id of an -object rng-random; the bytes come from the host kernel's generator"},
	{.name = "iothread",
	 .type = OPT_STRING,
	 .offset = offsetof(struct virtio_rng, opt_iothread),
	 .help = "id of an -object iothread that serves it; without it: one of its own"},
	{.name = "max-bytes",
	 .type = OPT_U64,
	 .offset = offsetof(struct virtio_rng, opt_max_bytes),
	 .def = "0x7fffffffffffffff",
	 .min = 1,
	 .max = INT64_MAX,
	 .help = "bytes that the guest may draw per period"},
	{.name = "period",
	 .type = OPT_U32,
	 .offset = offsetof(struct virtio_rng, opt_period),
	 .def = "65536",
	 .min = 1,
	 .max = UINT32_MAX,
	 .help = "length of a period, in ms"},
	{.type = OPT_END},
};

static struct virtio_rng *rng_of(struct virtio_dev *vdev)
{
	return (struct virtio_rng *)vdev;
}

/* Up to `max` bytes into the pieces; how many. The host's generator is seeded long before a VM
 * runs, so this can't block. */
static uint32_t rng_fill(const struct iovec *iov, unsigned int n, uint64_t max)
{
	uint32_t done = 0;

	for (unsigned int i = 0; i < n && max; i++) {
		size_t len = iov[i].iov_len < max ? iov[i].iov_len : max;
		ssize_t got = getrandom(iov[i].iov_base, len, 0);

		if (got <= 0)
			break;
		done += (uint32_t)got;
		max -= (uint64_t)got;
		if ((size_t)got < len)
			break;
	}
	return done;
}

/* Begins a new period when the old one is over. True if there is something left to give. */
static bool rng_may(struct virtio_rng *rng)
{
	uint64_t now;

	if (rng->left || rng->opt_max_bytes == INT64_MAX)
		return true;
	now = loop_now_ns();
	if (now < rng->period_end_ns)
		return false;
	rng->left = rng->opt_max_bytes;
	rng->period_end_ns = now + (uint64_t)rng->opt_period * NS_PER_MS;
	return true;
}

static void rng_rest(struct virtio_rng *rng, struct virtio_queue *queue)
{
	counter_add(&rng->counters.waits, 1);
	virtio_queue_want_kicks(queue, false);
	loop_timer_set(queue->loop, &rng->timer, rng->period_end_ns);
}

static bool rng_work(struct virtio_queue *queue)
{
	struct virtio_rng *rng = rng_of(queue->dev);
	struct virtq *ring = &queue->ring;
	struct iovec iov[PIECES];
	struct virtq_chain chain;
	unsigned int n = 0;
	int ret;

	if (rng->timer.deadline_ns) /* resting */
		return false;
	while (n < BATCH && virtq_pending(ring)) {
		uint64_t max = CHAIN_MAX;
		uint32_t done;

		if (!rng_may(rng)) {
			rng_rest(rng, queue);
			break;
		}
		ret = virtq_pop(ring, &chain, iov, PIECES);
		if (ret == -E2BIG)
			virtq_latch(ring, "a request for random bytes in too many pieces");
		if (ret <= 0)
			break;
		if (rng->opt_max_bytes != INT64_MAX && rng->left < max)
			max = rng->left;
		done = rng_fill(chain.iov + chain.n_out, chain.n_in, max);
		if (rng->opt_max_bytes != INT64_MAX)
			rng->left -= done;
		counter_add(&rng->counters.bytes, done);
		virtq_fill(ring, &chain, done);
		n++;
	}
	virtq_flush(ring);
	return n > 0;
}

static void rng_period_over(struct loop_timer *t)
{
	struct virtio_queue *queue = t->opaque;

	virtio_queue_want_kicks(queue, true);
	virtio_queue_work(queue);
}

static void rng_queue_stop(struct virtio_queue *queue)
{
	loop_timer_cancel(queue->loop, &rng_of(queue->dev)->timer);
}

static uint64_t rng_config_read(struct virtio_dev *vdev, uint32_t offset, unsigned int size)
{
	return 0; /* it has none */
}

static int rng_realize(struct virtio_dev *vdev, struct err *err)
{
	struct virtio_rng *rng = rng_of(vdev);
	struct platform *p = vdev->device->platform;
	struct loop *loop;

	if (rng->opt_rng && p->rng_check(p, rng->opt_rng, err) < 0)
		return err->code;
	loop = p->io_thread_get(p, rng->opt_iothread, "rng", err);
	if (!loop)
		return err_prefix(err, "%s", vdev->device->id);
	vdev->n_queues = 1;
	vdev->queue[0].size_max = QUEUE_SIZE;
	vdev->queue[0].loop = loop;
	rng->timer.expired = rng_period_over;
	rng->timer.opaque = &vdev->queue[0];
	return 0;
}

static void rng_unrealize(struct virtio_dev *vdev)
{
	struct platform *p = vdev->device->platform;

	p->io_thread_put(p, vdev->queue[0].loop);
}

static void rng_counters(struct virtio_dev *vdev, counter_visit *visit, void *opaque)
{
	visit(opaque, vdev->device->id, NULL, rng_counter_table, &rng_of(vdev)->counters);
}

static const struct virtio_model virtio_rng = {
	.id = VIRTIO_ID_RNG,
	.pci_class = 0x00ff00,
	.vectors = 2,
	.realize = rng_realize,
	.unrealize = rng_unrealize,
	.config_read = rng_config_read,
	.queue_stop = rng_queue_stop,
	.work = rng_work,
	.counters = rng_counters,
};

static const char *const vrng_aliases[] = {"virtio-rng", NULL};
VIRTIO_PCI_MODEL(virtio_rng, "virtio-rng-pci", vrng_aliases, "random bytes from the host",
		 struct virtio_rng, rng_opts, NULL);
