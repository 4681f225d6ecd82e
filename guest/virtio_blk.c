/*
 * See virtio_blk.h.
 */
#include "virtio_blk.h"

#include <linux/virtio_config.h>
#include <linux/virtio_ids.h>

#include "clock.h"
#include "lib.h"
#include "memory.h"

#define REQUEST_TIMEOUT (20 * NS_PER_S)

#define CONFIG(field) __builtin_offsetof(struct virtio_blk_config, field)

static bool fail(struct blk *blk, const char *reason)
{
	blk->error = reason;
	return false;
}

static bool set_up_queues(struct blk *blk, const struct blk_config *config)
{
	blk->n_queues = 1;
	if (virtio_has(&blk->dev, VIRTIO_BLK_F_MQ))
		blk->n_queues = MIN(virtio_config16(&blk->dev, CONFIG(num_queues)),
				    MIN(config->queues, BLK_MAX_QUEUES));
	if (!virtio_enable_interrupts(&blk->dev, config->interrupts))
		return false;
	blk->vector = virtio_vector(&blk->dev, 0);
	for (uint32_t i = 0; i < blk->n_queues; i++)
		if (!virtio_queue_setup(&blk->dev, i, config->queue_size,
					config->interrupts == VIRTIO_MSIX ? 0 : -1, &blk->rings[i]))
			return false;
	return true;
}

bool blk_open(struct blk *blk, const struct blk_config *config)
{
	struct virtio_device *dev = &blk->dev;
	uint64_t wanted = 1ull << VIRTIO_BLK_F_SEG_MAX | 1ull << VIRTIO_BLK_F_RO |
			  1ull << VIRTIO_BLK_F_FLUSH | 1ull << VIRTIO_BLK_F_DISCARD |
			  1ull << VIRTIO_BLK_F_WRITE_ZEROES | 1ull << VIRTIO_F_ANY_LAYOUT;

	if (config->event_index)
		wanted |= 1ull << VIRTIO_RING_F_EVENT_IDX;
	if (config->indirect)
		wanted |= 1ull << VIRTIO_RING_F_INDIRECT_DESC;
	if (config->packed)
		wanted |= 1ull << VIRTIO_F_RING_PACKED;
	if (config->queues > 1)
		wanted |= 1ull << VIRTIO_BLK_F_MQ;
	*blk = (struct blk){.error = NULL};
	if (!virtio_open(dev, VIRTIO_ID_BLOCK, config->index, config->transport))
		return fail(blk, "no-device");
	if (!virtio_negotiate(dev, wanted))
		return fail(blk, "features-refused");
	if (!set_up_queues(blk, config))
		return fail(blk, "no-queues");
	blk->sectors = virtio_config64(dev, CONFIG(capacity));
	blk->read_only = virtio_has(dev, VIRTIO_BLK_F_RO);
	blk->max_segments = 1;
	if (virtio_has(dev, VIRTIO_BLK_F_SEG_MAX))
		blk->max_segments = virtio_config32(dev, CONFIG(seg_max));
	blk->max_segments = MIN(MAX(blk->max_segments, 1u), BLK_MAX_SEGMENTS);
	virtio_ready(dev);
	return true;
}

void blk_close(struct blk *blk)
{
	virtio_close(&blk->dev);
}

bool blk_submit(struct blk *blk, struct blk_request *request, uint32_t type, uint64_t sector,
		const struct ring_segment *data, uint32_t n, bool to_device)
{
	struct ring *ring = &blk->rings[blk->next_queue];
	struct ring_segment segments[BLK_MAX_SEGMENTS + 2];

	if (n > BLK_MAX_SEGMENTS)
		return false;
	request->header = (struct virtio_blk_outhdr){.type = type, .sector = sector};
	request->status = 0xff;
	request->done = false;
	segments[0] =
		(struct ring_segment){memory_address(&request->header), sizeof(request->header)};
	for (uint32_t i = 0; i < n; i++)
		segments[1 + i] = data[i];
	segments[1 + n] = (struct ring_segment){memory_address(&request->status), 1};
	if (!ring_add(ring, segments, 1 + (to_device ? n : 0), 1 + (to_device ? 0 : n), request))
		return false;
	blk->next_queue = (blk->next_queue + 1) % blk->n_queues;
	return true;
}

void blk_kick(struct blk *blk)
{
	for (uint32_t i = 0; i < blk->n_queues; i++)
		ring_publish(&blk->rings[i]);
}

struct blk_request *blk_poll(struct blk *blk)
{
	for (uint32_t i = 0; i < blk->n_queues; i++) {
		uint32_t length;
		struct blk_request *request = ring_take(&blk->rings[i], &length);

		if (request) {
			request->written = length;
			request->done = true;
			return request;
		}
	}
	return NULL;
}

bool blk_wait(struct blk *blk, uint64_t timeout_ns)
{
	/*
	 * All queues share the vector; arm the others, sleep on the one that has something to do.
	 */
	for (uint32_t i = 1; i < blk->n_queues; i++)
		if (!ring_arm(&blk->rings[i], 1))
			return true;
	return virtio_wait(&blk->dev, &blk->rings[0], 1, blk->vector, timeout_ns);
}

int blk_do(struct blk *blk, uint32_t type, uint64_t sector, const struct ring_segment *data,
	   uint32_t n, bool to_device)
{
	uint64_t mark = memory_mark(), start = clock_ns();
	struct blk_request *request = memory_alloc(sizeof(*request), 64);
	int status = -1;

	if (blk_submit(blk, request, type, sector, data, n, to_device)) {
		blk_kick(blk);
		while (!request->done && clock_ns() - start < REQUEST_TIMEOUT)
			if (!blk_poll(blk))
				blk_wait(blk, REQUEST_TIMEOUT);
		if (request->done)
			status = request->status;
	}
	memory_release(mark);
	return status;
}

uint64_t blk_doorbells(const struct blk *blk)
{
	uint64_t n = 0;

	for (uint32_t i = 0; i < blk->n_queues; i++)
		n += blk->rings[i].n_doorbells;
	return n;
}
