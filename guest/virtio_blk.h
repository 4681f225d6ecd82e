/*
 * virtio-blk (virtio 1.3 section 5.2): requests over one or several queues.
 */
#ifndef GUEST_VIRTIO_BLK_H
#define GUEST_VIRTIO_BLK_H

#include <linux/virtio_blk.h>
#include <stdbool.h>
#include <stdint.h>

#include "ring.h"
#include "virtio.h"

#define BLK_SECTOR	 512
#define BLK_MAX_QUEUES	 8
#define BLK_MAX_SEGMENTS 32

struct blk_config {
	uint32_t index;	     /* which of several */
	uint32_t queue_size; /* at most */
	uint32_t queues;     /* at most */
	bool event_index, indirect, packed;
	enum virtio_transport transport;
	enum virtio_interrupts interrupts;
};

struct blk {
	struct virtio_device dev;
	struct ring rings[BLK_MAX_QUEUES];
	uint32_t n_queues;
	uint32_t next_queue; /* where the next request goes */
	int vector;
	uint64_t sectors;
	uint32_t max_segments; /* of data, in a request */
	bool read_only;
	const char *error; /* why blk_open() failed */
};

/* A request, in guest memory that the device reaches. The caller's, from start to end. */
struct blk_request {
	struct virtio_blk_outhdr header;
	uint8_t status;
	bool done;
	uint32_t written; /* bytes, by the device, the status among them */
	uint64_t started; /* for the caller */
	void *cookie;	  /* for the caller */
};

bool blk_open(struct blk *blk, const struct blk_config *config);
void blk_close(struct blk *blk);

/*
 * Queues a request of this type (VIRTIO_BLK_T_*), data in n segments; to_device: the device reads
 * them. False if the ring is full. blk_kick() tells the device.
 */
bool blk_submit(struct blk *blk, struct blk_request *request, uint32_t type, uint64_t sector,
		const struct ring_segment *data, uint32_t n, bool to_device);
void blk_kick(struct blk *blk);

/* A finished request, NULL if there is none. */
struct blk_request *blk_poll(struct blk *blk);

/* Sleeps until one is finished, if the device was opened for interrupts. */
bool blk_wait(struct blk *blk, uint64_t timeout_ns);

/* Submits and waits. Returns the status (VIRTIO_BLK_S_*), or -1 if the device never answered. */
int blk_do(struct blk *blk, uint32_t type, uint64_t sector, const struct ring_segment *data,
	   uint32_t n, bool to_device);

uint64_t blk_doorbells(const struct blk *blk);

#endif
