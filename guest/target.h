/*
 * Any virtio queue that can be given a small request: net (a frame to send), net-ctrl (a command
 * on the control queue), blk (a sector to read), rng (bytes to fill), all completed by the device
 * alone; and net-rx (a buffer), completed by the next frame from the host, of which there have to
 * be many. What the interrupt and the hostile tests work on.
 */
#ifndef GUEST_TARGET_H
#define GUEST_TARGET_H

#include "ring.h"
#include "test.h"
#include "virtio.h"

#define TARGET_QUEUE_SIZE 64
#define TARGET_MSIX_ENTRY 0

struct target {
	const char *name;
	uint16_t type;
	uint32_t index;
	enum virtio_transport transport;
	struct virtio_device dev;
	struct ring ring;
	uint16_t queue;	   /* the one that the requests go to */
	uint64_t features; /* that the queue needs */
	int vector;
	uint8_t *buffer; /* a page, for the request */
};

/* Reads parameters device= and index= (TARGET_PARAMS) and finds the device. False: reported. */
bool target_choose(struct target *t, const struct test *test, const struct test_arg *args);

/*
 * Resets the device and brings it up to DRIVER_OK, one queue, with these ring features (bits
 * VIRTIO_RING_F_*) where offered. False if that fails.
 */
bool target_start(struct target *t, uint64_t features, enum virtio_interrupts interrupts);
void target_stop(struct target *t);

/* The segments of a good request; returns how many are read by the device, *n_in: written. */
uint32_t target_request(struct target *t, struct ring_segment segments[3], uint32_t *n_in);

/* Adds a good request and publishes it. target_finish() polls for its end. */
bool target_submit(struct target *t);
bool target_finish(struct target *t, uint64_t timeout_ns);

/* Both: true if the device does its work. */
bool target_works(struct target *t);

#define TARGET_PARAMS                                           \
	{"device", "net", "net, net-rx, net-ctrl, blk or rng"}, \
	{                                                       \
		"index", "0", "which of several"                \
	}

#endif
