/*
 * A raw image's queue: one io_uring, owned by one I/O thread (io_uring(7); liburing).
 *
 *	submit ---> an entry in the ring ... kick ---> io_uring_enter, once for the batch
 *	                                                 |
 *	done() <--- completion <--- poller (spinning), or an eventfd that is on only while the loop
 * sleeps
 *
 * A request is its own state: `progress` says how many bytes are behind it, private[0] which step
 * it is at, private[1] its bounce slot or, while it waits for one, the next that waits. So nothing
 * is allocated, and a short transfer is taken up again where it ended. The iovecs of a continued
 * transfer are built in one scratch array and submitted at once: the kernel has read them when
 * io_uring_enter returns (IORING_FEAT_SUBMIT_STABLE).
 *
 * What may block (fallocate, fsync, a buffered write that must wait) io_uring hands to its own
 * kernel threads; the loop waits for nothing but in raw_queue_drain().
 *
 * With direct I/O a request whose buffers aren't aligned goes through a slot of a small pool, a
 * piece at a time. That is the only copy, and it is counted.
 */
#include <errno.h>
#include <fcntl.h>
#include <liburing.h>
#include <limits.h>
#include <linux/falloc.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/iov.h"
#include "blk/raw_internal.h"

#define RING_ENTRIES 256u
#define RING_CQES    2048u /* at least what can be in flight: the front end's queue */
#define REAP_MAX     512u  /* completions taken before others on the loop have their turn */
#define PIECES	     256u  /* iovecs in the scratch array */
#define RW_MAX	     (1u << 30)
#define SLOTS	     4u
#define SLOT_SIZE    (256u << 10)

enum step {
	STEP_RW, /* BLK_READ, BLK_WRITE */
	STEP_FSYNC,
	STEP_PUNCH,	 /* a hole: discard, or zeros that may be one */
	STEP_ZERO_RANGE, /* zeros that keep their blocks */
	STEP_ZERO_WRITE, /* zeros written, where the file system can't do better */
};

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
	struct iovec scratch[PIECES];
	/* bounce slots; waiting requests are linked through private[1] */
	uint8_t *slots;
	unsigned int slots_free;       /* bit per slot */
	void *waiting, **waiting_tail; /* struct blk_request */
};

static struct raw_queue *queue_of(struct blk_queue *q)
{
	return (struct raw_queue *)q;
}

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

/* ---- the ring ---- */

/* Completions are there to be seen, or io_uring_enter must be called to see them. */
static bool ring_ready(struct raw_queue *rq)
{
	return io_uring_cq_ready(&rq->ring) ||
	       __atomic_load_n(rq->ring.sq.kflags, __ATOMIC_RELAXED) &
		       (IORING_SQ_CQ_OVERFLOW | IORING_SQ_TASKRUN);
}

/* Hands what was prepared to the kernel and has it post what is complete. False: it took nothing
 * now (it wants completions to be seen first, or has no memory). wait: sleep until one is complete.
 */
static bool ring_enter(struct raw_queue *rq, bool wait)
{
	int r;

	counter_add(&rq->q.counters.syscalls, 1);
	if (wait)
		r = io_uring_submit_and_wait(&rq->ring, 1);
	else if (rq->prepared)
		r = io_uring_submit_and_get_events(&rq->ring);
	else
		r = io_uring_get_events(&rq->ring);
	if (r < 0)
		return false;
	rq->prepared = io_uring_sq_ready(&rq->ring);
	return !rq->prepared;
}

static struct io_uring_sqe *get_sqe(struct raw_queue *rq)
{
	struct io_uring_sqe *sqe = io_uring_get_sqe(&rq->ring);

	if (!sqe) { /* full: a batch larger than the ring */
		ring_enter(rq, false);
		sqe = io_uring_get_sqe(&rq->ring);
	}
	return sqe;
}

static void put_sqe(struct raw_queue *rq, struct io_uring_sqe *sqe, struct blk_request *req)
{
	io_uring_sqe_set_data(sqe, req);
	if (rq->fixed_file) {
		sqe->fd = 0; /* the index */
		sqe->flags |= IOSQE_FIXED_FILE;
	}
	rq->prepared++;
	rq->in_flight++;
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
	req->private[1] = rq->slots + (size_t)(n - 1) * SLOT_SIZE;
	if (!req->progress)
		counter_add(&rq->q.counters.bounced, 1);
	return true;
}

/* Gives the request's slot back and lets the next one have it. */
static void slot_give(struct raw_queue *rq, struct blk_request *req)
{
	struct blk_request *next = rq->waiting;

	rq->slots_free |= 1u << ((slot_of(req) - rq->slots) / SLOT_SIZE);
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
	sqe = get_sqe(rq);
	if (!sqe) {
		if (bounce)
			slot_give(rq, req);
		finish(rq, req, -EAGAIN);
		return;
	}
	if (bounce) {
		size_t len = rest < SLOT_SIZE ? rest : SLOT_SIZE;

		if (req->op == BLK_WRITE)
			iov_read(req->iov, req->n_iov, req->progress, slot_of(req), len);
		prep_bytes(sqe, rq->raw, req, slot_of(req), len);
	} else if (req->n_iov == 1) {
		prep_bytes(sqe, rq->raw, req, (uint8_t *)req->iov[0].iov_base + req->progress,
			   rest < RW_MAX ? rest : RW_MAX);
	} else if (!req->progress && req->n_iov <= IOV_MAX) {
		prep_pieces(sqe, rq->raw, req, req->iov, req->n_iov);
	} else {
		prep_pieces(
			sqe, rq->raw, req, rq->scratch,
			iov_slice(rq->scratch, PIECES, req->iov, req->n_iov, req->progress, rest));
		now = true;
	}
	if (req->op == BLK_WRITE && req->fua && !rq->raw->is_no_flush)
		sqe->rw_flags = RWF_DSYNC;
	put_sqe(rq, sqe, req);
	if (now)
		ring_enter(rq, false);
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
	struct io_uring_sqe *sqe = get_sqe(rq);

	if (!sqe) {
		finish(rq, req, -EAGAIN);
		return;
	}
	io_uring_prep_fallocate(sqe, rq->raw->fd, mode | FALLOC_FL_KEEP_SIZE, req->offset,
				req->length);
	put_sqe(rq, sqe, req);
}

static void start_zero_write(struct raw_queue *rq, struct blk_request *req)
{
	uint64_t rest = req->length - req->progress;
	struct io_uring_sqe *sqe = get_sqe(rq);
	unsigned int n = 0;

	if (!sqe) {
		finish(rq, req, -EAGAIN);
		return;
	}
	for (; n < PIECES && rest; n++) {
		rq->scratch[n].iov_base = rq->raw->zeros;
		rq->scratch[n].iov_len = rest < RAW_ZEROS ? rest : RAW_ZEROS;
		rest -= rq->scratch[n].iov_len;
	}
	io_uring_prep_writev(sqe, rq->raw->fd, rq->scratch, n, req->offset + req->progress);
	put_sqe(rq, sqe, req);
	ring_enter(rq, false);
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
	struct io_uring_sqe *sqe = get_sqe(rq);

	if (!sqe) {
		finish(rq, req, -EAGAIN);
		return;
	}
	io_uring_prep_fsync(sqe, rq->raw->fd, IORING_FSYNC_DATASYNC);
	put_sqe(rq, sqe, req);
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

static void complete(struct raw_queue *rq, struct blk_request *req, int res)
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

/* Is there a completion to take? Hands on what was prepared meanwhile (short transfers), and asks
 * the kernel for completions that it holds back. */
static bool reap_more(struct raw_queue *rq)
{
	if (!io_uring_cq_ready(&rq->ring) && (rq->prepared || ring_ready(rq)))
		ring_enter(rq, false);
	return io_uring_cq_ready(&rq->ring);
}

/* Takes what is complete, a bounded number; true = there was something. */
static bool reap(struct raw_queue *rq)
{
	unsigned int n = 0;

	while (n < REAP_MAX && reap_more(rq)) {
		struct blk_request *req;
		struct io_uring_cqe *cqe;
		int res;

		if (io_uring_peek_cqe(&rq->ring, &cqe))
			break;
		req = io_uring_cqe_get_data(cqe);
		res = cqe->res;
		/* Before the call, which may reap as well. */
		io_uring_cqe_seen(&rq->ring, cqe);
		rq->in_flight--;
		n++;
		complete(rq, req, res);
	}
	if (n && rq->q.completed)
		rq->q.completed(&rq->q);
	return n > 0;
}

void raw_queue_submit(struct blk_queue *queue, struct blk_request *req)
{
	struct raw_queue *rq = queue_of(queue);
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

void raw_queue_kick(struct blk_queue *queue)
{
	struct raw_queue *rq = queue_of(queue);

	if (rq->prepared)
		ring_enter(rq, false);
	reap(rq);
}

void raw_queue_drain(struct blk_queue *queue)
{
	struct raw_queue *rq = queue_of(queue);

	for (;;) {
		reap(rq);
		if (!rq->in_flight)
			break;
		ring_enter(rq, true);
	}
}

/* ---- the loop ---- */

static void ring_signalled(struct loop_fd *lf, uint32_t events)
{
	struct raw_queue *rq = lf->opaque;
	eventfd_t n;

	(void)eventfd_read(lf->fd, &n);
	reap(rq);
}

static bool ring_poll(struct loop_poller *p)
{
	struct raw_queue *rq = p->opaque;

	return rq->in_flight && (rq->prepared || ring_ready(rq)) && reap(rq);
}

/* The eventfd on, then look again: what completes later signals it. The kernel's half is in
 * io_eventfd_signal(). */
static bool ring_prepare_sleep(struct loop_poller *p)
{
	struct raw_queue *rq = p->opaque;

	if (!rq->in_flight)
		return false;
	io_uring_cq_eventfd_toggle(&rq->ring, true);
	__atomic_thread_fence(__ATOMIC_SEQ_CST);
	return rq->prepared || ring_ready(rq);
}

static void ring_woken(struct loop_poller *p)
{
	struct raw_queue *rq = p->opaque;

	io_uring_cq_eventfd_toggle(&rq->ring, false);
}

struct attach {
	struct raw_queue *rq;
	int result;
};

static void attach_here(void *arg)
{
	struct attach *a = arg;

	a->result = loop_fd_add(a->rq->loop, &a->rq->lf, EPOLLIN);
	if (!a->result)
		loop_poller_add(a->rq->loop, &a->rq->poller);
}

static void detach_here(void *arg)
{
	struct raw_queue *rq = arg;

	loop_poller_del(rq->loop, &rq->poller);
	loop_fd_del(&rq->lf);
}

/* ---- opening and closing ---- */

static int ring_open(struct raw_queue *rq, struct err *err)
{
	/* COOP_TASKRUN (Linux 5.19): completions wait for this thread's next system call instead of
	 * interrupting it, and TASKRUN_FLAG says that there are some. DEFER_TASKRUN was measured
	 * and gained nothing here, and it would tie the ring to one thread. */
	static const unsigned int flags[] = {IORING_SETUP_COOP_TASKRUN | IORING_SETUP_TASKRUN_FLAG,
					     0};
	const char *hint = NULL;
	int r = -EINVAL;

	for (size_t i = 0; r == -EINVAL && i < sizeof(flags) / sizeof(flags[0]); i++) {
		struct io_uring_params params = {
			.flags = flags[i] | IORING_SETUP_CQSIZE,
			.cq_entries = RING_CQES,
		};

		r = io_uring_queue_init_params(RING_ENTRIES, &rq->ring, &params);
		if (!r && !(params.features & IORING_FEAT_SUBMIT_STABLE)) {
			io_uring_queue_exit(&rq->ring);
			r = -ENOSYS;
		}
	}
	if (!r) {
		rq->ring_up = true;
		io_uring_cq_eventfd_toggle(&rq->ring, false);
		rq->fixed_file = !io_uring_register_files(&rq->ring, &rq->raw->fd, 1);
		return 0;
	}
	if (r == -ENOSYS || r == -EINVAL)
		hint = "(the kernel has none, or one too old: Linux 5.10 or later is needed)";
	else if (r == -EPERM || r == -EACCES)
		hint = "(sysctl kernel.io_uring_disabled=0; in a container, a seccomp profile that "
		       "allows io_uring_setup)";
	else if (r == -ENOMEM)
		hint = "(raise the limit of locked memory: ulimit -l)";
	err_set(err, r, "disk %s: io_uring: %s", rq->raw->blk.id, strerror(-r));
	return hint ? err_hint(err, "%s", hint) : r;
}

/* Not the ring's own fd: that would be readable after each batch that is complete when io_uring_enter returns. */
static int eventfd_open(struct raw_queue *rq, struct err *err)
{
	int r;

	rq->lf.fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
	if (rq->lf.fd < 0)
		return err_errno(err, "disk %s: eventfd", rq->raw->blk.id);
	r = io_uring_register_eventfd(&rq->ring, rq->lf.fd);
	if (r)
		return err_set(err, r, "disk %s: io_uring's eventfd: %s", rq->raw->blk.id,
			       strerror(-r));
	return 0;
}

static int slots_open(struct raw_queue *rq, struct err *err)
{
	void *p;

	rq->waiting_tail = &rq->waiting;
	if (!rq->raw->is_direct)
		return 0;
	/* Costs memory only when it is used. */
	p = mmap(NULL, (size_t)SLOTS * SLOT_SIZE, PROT_READ | PROT_WRITE,
		 MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	if (p == MAP_FAILED)
		return err_errno(err, "disk %s: memory for bounce buffers", rq->raw->blk.id);
	rq->slots = p;
	rq->slots_free = (1u << SLOTS) - 1;
	return 0;
}

int raw_queue_open(struct blk_backend *blk, struct loop *loop, struct blk_queue **queue,
		   struct err *err)
{
	struct raw_queue *rq = calloc(1, sizeof(*rq));
	struct attach attach = {rq, 0};
	int r;

	*queue = NULL;
	if (!rq)
		return err_set(err, -ENOMEM, "disk %s: out of memory", blk->id);
	rq->q.blk = blk;
	rq->raw = (struct raw *)blk;
	rq->loop = loop;
	rq->lf.fd = -1;
	r = ring_open(rq, err);
	if (!r)
		r = eventfd_open(rq, err);
	if (!r)
		r = slots_open(rq, err);
	if (!r) {
		rq->lf.ready = ring_signalled;
		rq->lf.opaque = rq;
		rq->poller.poll = ring_poll;
		rq->poller.sleep_prepare = ring_prepare_sleep;
		rq->poller.woken = ring_woken;
		rq->poller.opaque = rq;
		loop_call(loop, attach_here, &attach);
		r = attach.result;
		if (r)
			err_set(err, r, "disk %s: watching its io_uring: %s", blk->id,
				strerror(-r));
	}
	if (r) {
		raw_queue_close(&rq->q);
		return r;
	}
	*queue = &rq->q;
	return 0;
}

void raw_queue_close(struct blk_queue *queue)
{
	struct raw_queue *rq = queue_of(queue);

	if (rq->lf.loop)
		loop_call(rq->loop, detach_here, rq);
	if (rq->slots)
		munmap(rq->slots, (size_t)SLOTS * SLOT_SIZE);
	if (rq->ring_up)
		io_uring_queue_exit(&rq->ring);
	if (rq->lf.fd >= 0)
		close(rq->lf.fd);
	free(rq);
}
