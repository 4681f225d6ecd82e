/*
 * rng: reads from a virtio entropy device (virtio 1.3 section 5.4) and checks that it isn't
 * constant.
 */
#include <linux/virtio_config.h>
#include <linux/virtio_ids.h>

#include "clock.h"
#include "irq.h"
#include "lib.h"
#include "memory.h"
#include "ring.h"
#include "serial.h"
#include "test.h"
#include "virtio.h"

#define READ_TIMEOUT (10 * NS_PER_S)

static const struct test_param params[] = {
	{"bytes", "4096", "to read"},
	{"size", "256", "bytes of a request"},
	{"index", "0", "which of several"},
	{"transport", "auto", "auto, modern or legacy"},
	{"packed", "0", "use a packed ring, or fail"},
	{"irq", "0", "0: poll; 1: sleep until the interrupt, MSI-X; intx: by the pin"},
	{NULL, NULL, NULL},
};

/* Reads `bytes` bytes; returns how many came before the device stalled or broke. */
static uint32_t read_entropy(struct virtio_device *dev, struct ring *ring, int vector, uint8_t *to,
			     uint32_t bytes, uint32_t size)
{
	uint32_t got = 0, length = 0;

	while (got < bytes) {
		struct ring_segment s = {memory_address(to + got), MIN(size, bytes - got)};
		uint64_t start = clock_ns();

		ring_add(ring, &s, 0, 1, to);
		ring_publish(ring);
		while (!ring_take(ring, &length)) {
			if (ring->broken || clock_ns() - start > READ_TIMEOUT)
				return got;
			virtio_wait(dev, ring, 1, vector, READ_TIMEOUT);
		}
		if (!length || length > s.length)
			return got;
		got += length;
	}
	return got;
}

/*
 * Random bytes have about half their bits set; 4096 of them stray from that by less than 1 % (3
 * sigma).
 */
static bool looks_random(const uint8_t *bytes, uint32_t n, uint32_t *ones)
{
	uint32_t bits = n * 8;

	*ones = 0;
	for (uint32_t i = 0; i < n; i++)
		for (uint32_t v = bytes[i]; v; v &= v - 1)
			++*ones;
	return *ones > bits / 2 - bits / 16 && *ones < bits / 2 + bits / 16;
}

static bool run(const struct test *test, const struct test_arg *args)
{
	uint64_t features = 1ull << VIRTIO_RING_F_EVENT_IDX;
	uint32_t bytes = test_number(test, args, "bytes"), size = test_number(test, args, "size");
	enum virtio_interrupts interrupts;
	enum virtio_transport transport;
	struct virtio_device dev;
	uint64_t start;
	uint8_t *buffer;
	uint32_t got, ones;
	struct ring ring;
	int vector;
	bool ok;

	if (!virtio_transport_by_name(test_string(test, args, "transport"), &transport) ||
	    !virtio_interrupts_by_name(test_string(test, args, "irq"), &interrupts) || !size)
		return test_fail(test, "bad-parameter");
	if (!virtio_open(&dev, VIRTIO_ID_RNG, test_number(test, args, "index"), transport))
		return test_fail(test, "no-device");
	if (test_number(test, args, "packed"))
		features |= 1ull << VIRTIO_F_RING_PACKED;
	if (!virtio_negotiate(&dev, features) || !virtio_enable_interrupts(&dev, interrupts))
		return test_fail(test, "refused");
	vector = virtio_vector(&dev, 0);
	if (!virtio_queue_setup(&dev, 0, 64, interrupts == VIRTIO_MSIX ? 0 : -1, &ring))
		return test_fail(test, "no-queue");
	virtio_ready(&dev);
	irq_tick(interrupts != VIRTIO_POLLED);
	buffer = memory_alloc(bytes, 64);
	start = clock_ns();
	got = read_entropy(&dev, &ring, vector, buffer, bytes, size);
	start = clock_ns() - start;
	ok = looks_random(buffer, got, &ones) && got == bytes;
	test_result(test, ok);
	report(" bytes=%u ones=%u ns=%lu doorbells=%lu interrupts=%lu", got, ones, start,
	       ring.n_doorbells, dev.n_interrupts);
	virtio_close(&dev);
	irq_tick(false);
	return ok;
}

const struct test test_rng = {
	.name = "rng",
	.help = "reads entropy and checks that it isn't constant",
	.params = params,
	.run = run,
};
