/*
 * A raw image's queue: one io_uring, used by one I/O thread (io_uring(7); liburing). raw_request.c
 * says what goes into it.
 *
 *	submit ---> an entry in the ring ... kick ---> io_uring_enter, once for the batch
 *	                                                 |
 *	done() <--- completion <--- poller (while the loop spins), eventfd (on only while it sleeps)
 *
 * What may block (fallocate, fsync, a buffered write that must wait) io_uring hands to its own
 * kernel threads; the loop waits for nothing but in raw_queue_drain().
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <unistd.h>

#include "blk/raw_queue.h"

#define RING_ENTRIES 256u
#define RING_CQES    2048u /* at least what can be in flight: the front end's queue */
#define REAP_MAX     512u  /* completions taken before others on the loop have their turn */

static struct raw_queue *queue_of(struct blk_queue *q)
{
	return (struct raw_queue *)q;
}

/* ---- the ring ---- */

/* Completions are there to be seen, or io_uring_enter must be called to see them. */
static bool ring_ready(struct raw_queue *rq)
{
	return io_uring_cq_ready(&rq->ring) ||
	       __atomic_load_n(rq->ring.sq.kflags, __ATOMIC_RELAXED) &
		       (IORING_SQ_CQ_OVERFLOW | IORING_SQ_TASKRUN);
}

bool raw_ring_enter(struct raw_queue *rq, bool wait)
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

struct io_uring_sqe *raw_ring_get(struct raw_queue *rq)
{
	struct io_uring_sqe *sqe = io_uring_get_sqe(&rq->ring);

	if (!sqe) { /* full: a batch larger than the ring */
		raw_ring_enter(rq, false);
		sqe = io_uring_get_sqe(&rq->ring);
	}
	return sqe;
}

void raw_ring_put(struct raw_queue *rq, struct io_uring_sqe *sqe, struct blk_request *req)
{
	io_uring_sqe_set_data(sqe, req);
	if (rq->fixed_file) {
		sqe->fd = 0; /* the index */
		sqe->flags |= IOSQE_FIXED_FILE;
	}
	rq->prepared++;
	rq->in_flight++;
}

/* Is there a completion to take? Hands on what was prepared meanwhile (short transfers), and asks
 * the kernel for completions that it holds back. */
static bool reap_more(struct raw_queue *rq)
{
	if (!io_uring_cq_ready(&rq->ring) && (rq->prepared || ring_ready(rq)))
		raw_ring_enter(rq, false);
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
		raw_request_complete(rq, req, res);
	}
	if (n && rq->q.completed)
		rq->q.completed(&rq->q);
	return n > 0;
}

void raw_queue_submit(struct blk_queue *queue, struct blk_request *req)
{
	raw_request_submit(queue_of(queue), req);
}

void raw_queue_kick(struct blk_queue *queue)
{
	struct raw_queue *rq = queue_of(queue);

	if (rq->prepared)
		raw_ring_enter(rq, false);
	reap(rq);
}

void raw_queue_drain(struct blk_queue *queue)
{
	struct raw_queue *rq = queue_of(queue);

	for (;;) {
		reap(rq);
		if (!rq->in_flight)
			break;
		raw_ring_enter(rq, true);
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

/* Not the ring's own fd: that would be readable after each batch that is complete when
 * io_uring_enter returns. */
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
	p = mmap(NULL, (size_t)RAW_SLOTS * RAW_SLOT_SIZE, PROT_READ | PROT_WRITE,
		 MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	if (p == MAP_FAILED)
		return err_errno(err, "disk %s: memory for bounce buffers", rq->raw->blk.id);
	rq->slots = p;
	rq->slots_free = (1u << RAW_SLOTS) - 1;
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
		munmap(rq->slots, (size_t)RAW_SLOTS * RAW_SLOT_SIZE);
	if (rq->ring_up)
		io_uring_queue_exit(&rq->ring);
	if (rq->lf.fd >= 0)
		close(rq->lf.fd);
	free(rq);
}
