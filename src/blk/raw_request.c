/*
 * Requests of a raw image: which io_uring operations each becomes, one after the other. raw_queue.c
 * has the ring.
 *
 * A request is its own state: `progress` says how many bytes are behind it, private[0] which step
 * it is at, private[1] its bounce slot or, while it waits for one, the next that waits. So nothing
 * is allocated, and a short transfer is taken up again where it ended. The iovecs of a continued
 * transfer are built in one scratch array and submitted at once: the kernel has read them when
 * io_uring_enter returns (IORING_FEAT_SUBMIT_STABLE).
 *
 * With direct I/O a request whose buffers aren't aligned goes through a slot of a small pool, a
 * piece at a time. That is the only copy, and it is counted.
 *
 * All on the queue's I/O thread.
 */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/falloc.h>

#include "base/iov.h"
#include "blk/raw_queue.h"

#define RW_MAX (1u << 30) /* bytes of one operation */

enum step {
	STEP_RW, /* BLK_READ, BLK_WRITE */
	STEP_FSYNC,
	STEP_PUNCH,	 /* a hole: discard, or zeros that may be one */
	STEP_ZERO_RANGE, /* zeros that keep their blocks */
	STEP_ZERO_WRITE, /* zeros written, where the file system can't do better */
};

static enum step step_of(const struct blk_request *req)
{
	return (enum step)(uintptr_t)req->private[0];
}

static void set_step(struct blk_request *req, enum step step)
{
	req->private[0] = (void *)(uintptr_t)step;
}

static void start(struct raw_queue *rq, struct blk_request *req);

static void finish(struct raw_queue *rq, struct blk_request *req, int result)
{
	if (result)
		counter_add(&rq->q.counters.errors, 1);
	req->done(req, result);
}

/* ---- bounce slots ---- */

static bool is_aligned(const struct raw *raw, const struct blk_request *req)
{
	if (!raw->is_direct)
		return true;
	for (int i = 0; i < req->n_iov; i++)
		if ((uintptr_t)req->iov[i].iov_base % raw->mem_align ||
		    req->iov[i].iov_len % raw->offset_align)
			return false;
	return true;
}

static uint8_t *slot_of(const struct blk_request *req)
{
	return req->private[1];
}

static bool slot_take(struct raw_queue *rq, struct blk_request *req)
{
	int n = __builtin_ffs(rq->slots_free);

	if (!n) {
		req->private[1] = NULL;
		*rq->waiting_tail = req;
		rq->waiting_tail = &req->private[1];
		return false;
	}
	rq->slots_free &= ~(1u << (n - 1));
	req->private[1] = rq->slots + (size_t)(n - 1) * RAW_SLOT_SIZE;
	if (!req->progress)
		counter_add(&rq->q.counters.bounced, 1);
	return true;
}

/* Gives the request's slot back and lets the next one have it. */
static void slot_give(struct raw_queue *rq, struct blk_request *req)
{
	struct blk_request *next = rq->waiting;

	rq->slots_free |= 1u << ((slot_of(req) - rq->slots) / RAW_SLOT_SIZE);
	req->private[1] = NULL;
	if (!next)
		return;
	rq->waiting = next->private[1];
	if (!rq->waiting)
		rq->waiting_tail = &rq->waiting;
	next->private[1] = NULL;
	start(rq, next);
}

/* ---- reading and writing ---- */

static void prep_bytes(struct io_uring_sqe *sqe, const struct raw *raw,
		       const struct blk_request *req, void *buf, size_t len)
{
	uint64_t offset = req->offset + req->progress;

	if (req->op == BLK_READ)
		io_uring_prep_read(sqe, raw->fd, buf, len, offset);
	else
		io_uring_prep_write(sqe, raw->fd, buf, len, offset);
}

static void prep_pieces(struct io_uring_sqe *sqe, const struct raw *raw,
			const struct blk_request *req, const struct iovec *iov, unsigned int n)
{
	uint64_t offset = req->offset + req->progress;

	if (req->op == BLK_READ)
		io_uring_prep_readv(sqe, raw->fd, iov, n, offset);
	else
		io_uring_prep_writev(sqe, raw->fd, iov, n, offset);
}

static void start_rw(struct raw_queue *rq, struct blk_request *req)
{
	uint64_t rest = req->length - req->progress;
	bool bounce = !is_aligned(rq->raw, req), now = false;
	struct io_uring_sqe *sqe;

	req->private[1] = NULL;
	if (bounce && !slot_take(rq, req))
		return; /* it waits for a slot */
	sqe = raw_ring_get(rq);
	if (!sqe) {
		if (bounce)
			slot_give(rq, req);
		finish(rq, req, -EAGAIN);
		return;
	}
	if (bounce) {
		size_t len = rest < RAW_SLOT_SIZE ? rest : RAW_SLOT_SIZE;

		if (req->op == BLK_WRITE)
			iov_read(req->iov, req->n_iov, req->progress, slot_of(req), len);
		prep_bytes(sqe, rq->raw, req, slot_of(req), len);
	} else if (req->n_iov == 1) {
		prep_bytes(sqe, rq->raw, req, (uint8_t *)req->iov[0].iov_base + req->progress,
			   rest < RW_MAX ? rest : RW_MAX);
	} else if (!req->progress && req->n_iov <= IOV_MAX) {
		prep_pieces(sqe, rq->raw, req, req->iov, req->n_iov);
	} else {
		prep_pieces(sqe, rq->raw, req, rq->scratch,
			    iov_slice(rq->scratch, RAW_PIECES, req->iov, req->n_iov, req->progress,
				      rest));
		now = true;
	}
	if (req->op == BLK_WRITE && req->fua && !rq->raw->is_no_flush)
		sqe->rw_flags = RWF_DSYNC;
	raw_ring_put(rq, sqe, req);
	if (now)
		raw_ring_enter(rq, false);
}

/* A read came to the end of the file: zeros from there on. */
static void finish_at_end(struct raw_queue *rq, struct blk_request *req)
{
	iov_zero(req->iov, req->n_iov, req->progress, req->length - req->progress);
	finish(rq, req, 0);
}

static void rw_complete(struct raw_queue *rq, struct blk_request *req, int res)
{
	if (slot_of(req)) {
		if (res > 0 && req->op == BLK_READ)
			iov_write(req->iov, req->n_iov, req->progress, slot_of(req), res);
		slot_give(rq, req);
	}
	if (res == -EINTR || res == -EAGAIN) {
		start(rq, req);
		return;
	}
	if (res < 0) {
		finish(rq, req, res);
		return;
	}
	if (res == 0) {
		if (req->op == BLK_READ)
			finish_at_end(rq, req);
		else
			finish(rq, req, -ENOSPC);
		return;
	}
	req->progress += res;
	if (req->progress >= req->length)
		finish(rq, req, 0);
	else if (req->op == BLK_READ && (req->offset + req->progress) % rq->raw->offset_align)
		finish_at_end(rq, req); /* direct I/O ends within a block only at the file's end */
	else
		start(rq, req);
}

/* ---- discard, zeros, flush ---- */

static void start_fallocate(struct raw_queue *rq, struct blk_request *req, int mode)
{
	struct io_uring_sqe *sqe = raw_ring_get(rq);

	if (!sqe) {
		finish(rq, req, -EAGAIN);
		return;
	}
	io_uring_prep_fallocate(sqe, rq->raw->fd, mode | FALLOC_FL_KEEP_SIZE, req->offset,
				req->length);
	raw_ring_put(rq, sqe, req);
}

static void start_zero_write(struct raw_queue *rq, struct blk_request *req)
{
	uint64_t rest = req->length - req->progress;
	struct io_uring_sqe *sqe = raw_ring_get(rq);
	unsigned int n = 0;

	if (!sqe) {
		finish(rq, req, -EAGAIN);
		return;
	}
	for (; n < RAW_PIECES && rest; n++) {
		rq->scratch[n].iov_base = rq->raw->zeros;
		rq->scratch[n].iov_len = rest < RAW_ZEROS ? rest : RAW_ZEROS;
		rest -= rq->scratch[n].iov_len;
	}
	io_uring_prep_writev(sqe, rq->raw->fd, rq->scratch, n, req->offset + req->progress);
	raw_ring_put(rq, sqe, req);
	raw_ring_enter(rq, false);
}

static void zero_write_complete(struct raw_queue *rq, struct blk_request *req, int res)
{
	if (res > 0)
		req->progress += res;
	if (res == 0)
		finish(rq, req, -ENOSPC);
	else if (res < 0 && res != -EINTR && res != -EAGAIN)
		finish(rq, req, res);
	else if (req->progress >= req->length)
		finish(rq, req, 0);
	else
		start(rq, req);
}

/* The file or device can't do it this way. */
static bool not_supported(int res)
{
	return res == -EOPNOTSUPP || res == -ENOSYS || res == -EINVAL || res == -ENODEV;
}

static void fallocate_complete(struct raw_queue *rq, struct blk_request *req, int res)
{
	if (res == -EINTR || res == -EAGAIN) {
		start(rq, req);
		return;
	}
	if (res >= 0 || !not_supported(res)) {
		finish(rq, req, res < 0 ? res : 0);
		return;
	}
	if (step_of(req) == STEP_PUNCH) {
		rq->no_punch = res == -EOPNOTSUPP;
		if (req->op == BLK_DISCARD) {
			finish(rq, req, 0); /* a hint, no more */
			return;
		}
		set_step(req, STEP_ZERO_RANGE);
	} else {
		rq->no_zero_range = res == -EOPNOTSUPP;
		set_step(req, STEP_ZERO_WRITE);
	}
	start(rq, req);
}

static void start_fsync(struct raw_queue *rq, struct blk_request *req)
{
	struct io_uring_sqe *sqe = raw_ring_get(rq);

	if (!sqe) {
		finish(rq, req, -EAGAIN);
		return;
	}
	io_uring_prep_fsync(sqe, rq->raw->fd, IORING_FSYNC_DATASYNC);
	raw_ring_put(rq, sqe, req);
}

/* ---- requests ---- */

/* Prepares the request's next step. */
static void start(struct raw_queue *rq, struct blk_request *req)
{
	switch (step_of(req)) {
	case STEP_RW:
		start_rw(rq, req);
		break;
	case STEP_FSYNC:
		start_fsync(rq, req);
		break;
	case STEP_PUNCH:
		start_fallocate(rq, req, FALLOC_FL_PUNCH_HOLE);
		break;
	case STEP_ZERO_RANGE:
		if (rq->no_zero_range) {
			set_step(req, STEP_ZERO_WRITE);
			start_zero_write(rq, req);
		} else {
			start_fallocate(rq, req, FALLOC_FL_ZERO_RANGE);
		}
		break;
	case STEP_ZERO_WRITE:
		start_zero_write(rq, req);
		break;
	}
}

void raw_request_complete(struct raw_queue *rq, struct blk_request *req, int res)
{
	switch (step_of(req)) {
	case STEP_RW:
		rw_complete(rq, req, res);
		break;
	case STEP_FSYNC:
		if (res == -EINTR || res == -EAGAIN)
			start(rq, req);
		else
			finish(rq, req, res);
		break;
	case STEP_PUNCH:
	case STEP_ZERO_RANGE:
		fallocate_complete(rq, req, res);
		break;
	case STEP_ZERO_WRITE:
		zero_write_complete(rq, req, res);
		break;
	}
}

void raw_request_submit(struct raw_queue *rq, struct blk_request *req)
{
	const struct raw *raw = rq->raw;

	switch (req->op) {
	case BLK_READ:
	case BLK_WRITE:
		set_step(req, STEP_RW);
		break;
	case BLK_FLUSH:
		if (raw->is_no_flush || raw->blk.info.readonly) {
			finish(rq, req, 0);
			return;
		}
		set_step(req, STEP_FSYNC);
		break;
	case BLK_DISCARD:
		if (!raw->is_discard || rq->no_punch) {
			finish(rq, req, 0);
			return;
		}
		set_step(req, STEP_PUNCH);
		break;
	case BLK_WRITE_ZEROES:
		set_step(req, req->may_unmap && raw->is_discard && !rq->no_punch ? STEP_PUNCH
										 : STEP_ZERO_RANGE);
		break;
	}
	start(rq, req);
}
