/*
 * Block back ends: the contract between a disk model and an image.
 *
 * A back end is an open image. A queue is one I/O thread's way into it (its io_uring): requests are
 * submitted in batches and complete on that thread. A request is iovecs over guest memory: no
 * bounce copy, except where direct=on wants an alignment that the guest's buffers don't have.
 * Offsets and lengths are in bytes. Results are 0 or a negative errno.
 */
#ifndef VIREO_BLK_BLK_H
#define VIREO_BLK_BLK_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/uio.h>

#include "base/counter.h"
#include "base/err.h"
#include "base/loop.h"
#include "base/opt.h"

struct blk_backend;
struct blk_queue;

enum blk_op {
	BLK_READ,
	BLK_WRITE,
	BLK_FLUSH,
	BLK_DISCARD,
	BLK_WRITE_ZEROES
};

/* Owned by the caller until done() runs. */
struct blk_request {
	enum blk_op op;
	uint64_t offset, length;
	const struct iovec *iov; /* BLK_READ, BLK_WRITE: sums up to length */
	int n_iov;
	bool may_unmap; /* BLK_WRITE_ZEROES: holes are fine */
	bool fua;	/* BLK_WRITE: done when it is on stable storage */
	void (*done)(struct blk_request *request, int result);
	void *opaque;
	/* the back end's own, so that it needs no allocation */
	uint64_t progress;
	void *private[2];
};

struct blk_info {
	uint64_t size;		 /* bytes */
	uint32_t logical_block;	 /* bytes: smallest request */
	uint32_t physical_block; /* bytes */
	bool readonly, discard, write_zeroes, write_cache;
};

struct blk_counters {
	struct counter reads, writes, flushes, discards, zeroes, errors;
	struct counter read_bytes, write_bytes;
	struct counter syscalls; /* io_uring_enter */
	struct counter bounced;	 /* requests copied for alignment */
};
extern const struct counter_desc blk_counter_table[];

struct blk_ops {
	const char *name; /* driver: "raw" */
	const char *help;
	const struct opt_desc *opts;
	size_t size; /* of the instance; starts with struct blk_backend */
	int (*open)(struct blk_backend *blk, struct err *err);
	void (*close)(struct blk_backend *blk);
	int (*queue_open)(struct blk_backend *blk, struct loop *loop, struct blk_queue **queue,
			  struct err *err);
	void (*queue_close)(struct blk_queue *queue); /* its thread, nothing in flight */
	void (*submit)(struct blk_queue *queue, struct blk_request *request); /* queue's thread */
	void (*kick)(struct blk_queue *queue); /* hands the batch to the kernel: one system call */
	/* Waits until nothing is in flight; queue's thread. */
	void (*drain)(struct blk_queue *queue);
};

struct blk_backend {
	const struct blk_ops *ops;
	char *id;
	bool format_given; /* else an image that looks like another format is refused */
	struct blk_info info;
};

struct blk_queue {
	struct blk_backend *blk;
	struct blk_counters counters;
	/* Set by the front end, may be NULL: called on the queue's thread after a run of done()
	 * calls, so that it can tell the guest of all of them at once. Also from within blk_kick()
	 * and blk_drain(). */
	void (*completed)(struct blk_queue *queue);
	void *opaque;
};

/* Makes a back end from -blockdev / -drive's options (driver/format, filename/file.filename,
 * cache.direct, read-only ...), as prepared by ctl/. list's text names it in errors. */
struct blk_backend *blk_create(const char *id, struct opt_list *list, struct err *err);
void blk_destroy(struct blk_backend *blk);
void blk_help(FILE *out);

/* Opens and closes the way in of an I/O thread. Any thread: what must run on the loop's does
 * (loop_call()). Closing: nothing is in flight. */
int blk_queue_open(struct blk_backend *blk, struct loop *loop, struct blk_queue **queue,
		   struct err *err);
void blk_queue_close(struct blk_queue *queue);

/* On the queue's thread. Submit checks the range against info.size and readonly first (done() with
 * -EINVAL / -EROFS); done() may run before it returns. What was submitted starts at the next kick,
 * which may call done() of any request. */
void blk_submit(struct blk_queue *queue, struct blk_request *request);
void blk_kick(struct blk_queue *queue);
void blk_drain(struct blk_queue *queue);

/* Last line of a back end's file. */
#define BLK_BACKEND(o)                               \
	static const struct blk_ops *const o##_entry \
		__attribute__((used, section("blk_backends"))) = &(o)

#endif
