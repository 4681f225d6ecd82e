/*
 * A virtio-net card with all its queues and its control queue (virtio 1.3 sections 5.1.2 and
 * 5.1.6.5), for the tests that command it. Polled.
 */
#ifndef GUEST_VIRTIO_NET_MQ_H
#define GUEST_VIRTIO_NET_MQ_H

#include "ring.h"
#include "virtio.h"

#define NET_MQ_PAIRS 16
#define NET_MQ_DATA  4096 /* bytes of a command */

/* Answers of net_mq_command(), beside VIRTIO_NET_OK and VIRTIO_NET_ERR. */
#define NET_MQ_NO_ANSWER 0x100

struct net_mq {
	struct virtio_device dev;
	uint16_t n_pairs; /* what the device has */
	struct ring rx[NET_MQ_PAIRS], tx[NET_MQ_PAIRS], ctrl;
	uint8_t *command; /* class, command, data */
	uint8_t *answer;  /* a page: the answer and what is behind it */
};

/*
 * Brings up the index-th card with those of the wanted device features (bits VIRTIO_NET_F_*) that
 * it offers, with all queues that it has then. NULL, or what is wrong.
 */
const char *net_mq_open(struct net_mq *net, uint32_t index, enum virtio_transport transport,
			uint64_t wanted);
void net_mq_close(struct net_mq *net);

/* Sends a command with these data; returns the answer. */
uint32_t net_mq_command(struct net_mq *net, uint8_t class, uint8_t command, const void *data,
			uint32_t length);

/* Waits for the answer to what was added to net->ctrl. */
uint32_t net_mq_answer(struct net_mq *net);

#endif
