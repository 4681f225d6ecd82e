/*
 * See virtio_net_mq.h.
 */
#include "virtio_net_mq.h"

#include <linux/virtio_config.h>
#include <linux/virtio_ids.h>
#include <linux/virtio_net.h>

#include "clock.h"
#include "lib.h"
#include "memory.h"

#define QUEUE_SIZE     64
#define ANSWER_TIMEOUT (2 * NS_PER_S)
#define MULTI	       (1ull << VIRTIO_NET_F_MQ | 1ull << VIRTIO_NET_F_RSS)

#define CONFIG_MAX_PAIRS 8 /* offset of max_virtqueue_pairs */

const char *net_mq_open(struct net_mq *net, uint32_t index, enum virtio_transport transport,
			uint64_t wanted)
{
	struct virtio_device *dev = &net->dev;

	wanted |= 1ull << VIRTIO_NET_F_CTRL_VQ | 1ull << VIRTIO_F_ANY_LAYOUT;
	if (!virtio_open(dev, VIRTIO_ID_NET, index, transport))
		return "no-device";
	if (!virtio_negotiate(dev, wanted))
		return "features-refused";
	if (!virtio_has(dev, VIRTIO_NET_F_CTRL_VQ))
		return "no-control-queue";
	net->n_pairs = dev->features & MULTI ? virtio_config16(dev, CONFIG_MAX_PAIRS) : 1;
	if (!net->n_pairs || net->n_pairs > NET_MQ_PAIRS)
		return "bad-number-of-pairs";
	for (uint32_t i = 0; i < net->n_pairs; i++)
		if (!virtio_queue_setup(dev, 2 * i, QUEUE_SIZE, -1, &net->rx[i]) ||
		    !virtio_queue_setup(dev, 2 * i + 1, QUEUE_SIZE, -1, &net->tx[i]))
			return "no-queues";
	if (!virtio_queue_setup(dev, 2 * net->n_pairs, QUEUE_SIZE, -1, &net->ctrl))
		return "no-control-queue";
	net->command = memory_alloc(2 + NET_MQ_DATA, 4096);
	net->answer = memory_alloc(4096, 4096);
	virtio_ready(dev);
	return NULL;
}

void net_mq_close(struct net_mq *net)
{
	virtio_close(&net->dev);
}

uint32_t net_mq_answer(struct net_mq *net)
{
	uint64_t start = clock_ns();
	uint32_t length;

	while (!ring_take(&net->ctrl, &length)) {
		if (net->ctrl.broken || virtio_needs_reset(&net->dev) ||
		    clock_ns() - start > ANSWER_TIMEOUT)
			return NET_MQ_NO_ANSWER;
		pause();
	}
	return *(volatile uint8_t *)net->answer;
}

uint32_t net_mq_command(struct net_mq *net, uint8_t class, uint8_t command, const void *data,
			uint32_t length)
{
	const struct ring_segment segments[2] = {{memory_address(net->command), 2 + length},
						 {memory_address(net->answer), 9}};

	net->command[0] = class;
	net->command[1] = command;
	memcpy(net->command + 2, data, length);
	net->answer[0] = 0xee;
	if (!ring_add(&net->ctrl, segments, 1, 1, net))
		return NET_MQ_NO_ANSWER;
	ring_publish(&net->ctrl);
	return net_mq_answer(net);
}
