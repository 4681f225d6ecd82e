/*
 * Inside src/blk: the queue of a raw image, shared by its ring (raw_queue.c) and its requests
 * (raw_request.c).
 */
#ifndef VIREO_BLK_RAW_QUEUE_H
#define VIREO_BLK_RAW_QUEUE_H

#include <liburing.h>

#include "blk/raw_internal.h"

#define RAW_PIECES    256u /* iovecs in the scratch array */
#define RAW_SLOTS     4u
#define RAW_SLOT_SIZE (256u << 10)

struct raw_queue {
	struct blk_queue q;
	struct raw *raw;
	struct loop *loop;
	struct io_uring ring;
	bool ring_up, fixed_file;
	struct loop_fd lf;
	struct loop_poller poller;
	unsigned int in_flight, prepared;
	bool no_punch, no_zero_range; /* learnt: the file system hasn't it */
	struct iovec scratch[RAW_PIECES];
	/* bounce slots; waiting requests are linked through private[1] */
	uint8_t *slots;
	unsigned int slots_free;       /* bit per slot */
	void *waiting, **waiting_tail; /* struct blk_request */
};

/* Hands what was prepared to the kernel and has it post what is complete. False: it took nothing
 * now (it wants completions to be seen first, or has no memory). wait: sleep until one is complete.
 * */
bool raw_ring_enter(struct raw_queue *rq, bool wait);
/* An entry to fill in; NULL when the ring stays full. Then hand it back with the request that it is
 * for. */
struct io_uring_sqe *raw_ring_get(struct raw_queue *rq);
void raw_ring_put(struct raw_queue *rq, struct io_uring_sqe *sqe, struct blk_request *req);

/* Begins a request; an operation of it has come back with res. */
void raw_request_submit(struct raw_queue *rq, struct blk_request *req);
void raw_request_complete(struct raw_queue *rq, struct blk_request *req, int res);

#endif
