/*
 * Block back ends: the registry, and the checks that every request passes. See blk.h for who calls
 * what where.
 *
 * Set-up runs on the control thread; blk_submit(), blk_kick() and blk_drain() on the queue's.
 */
#include "blk/blk.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

const struct counter_desc blk_counter_table[] = {
	{"reads", offsetof(struct blk_counters, reads), "read requests"},
	{"writes", offsetof(struct blk_counters, writes), "write requests"},
	{"flushes", offsetof(struct blk_counters, flushes), "flush requests"},
	{"discards", offsetof(struct blk_counters, discards), "discard requests"},
	{"zeroes", offsetof(struct blk_counters, zeroes), "write-zeroes requests"},
	{"errors", offsetof(struct blk_counters, errors), "requests that failed"},
	{"read-bytes", offsetof(struct blk_counters, read_bytes), "bytes asked for by reads"},
	{"write-bytes", offsetof(struct blk_counters, write_bytes), "bytes given by writes"},
	{"syscalls", offsetof(struct blk_counters, syscalls), "calls of io_uring_enter"},
	{"bounced", offsetof(struct blk_counters, bounced),
	 "requests copied because direct=on wants another alignment"},
	{NULL, 0, NULL},
};

/* The registry is a section of the program: pointers put there by BLK_BACKEND(). */
extern const struct blk_ops *const __start_blk_backends[], *const __stop_blk_backends[];

static const struct blk_ops *find_ops(const char *name)
{
	/* A raw image is a file or a device with nothing around it: their names mean the same here.
	 */
	if (!strcmp(name, "file") || !strcmp(name, "host_device"))
		name = "raw";
	for (const struct blk_ops *const *p = __start_blk_backends; p < __stop_blk_backends; p++)
		if (!strcmp((*p)->name, name))
			return *p;
	return NULL;
}

struct blk_backend *blk_create(const char *id, struct opt_list *list, struct err *err)
{
	const char *format = opt_take(list, "format");
	const char *driver = opt_take(list, "driver");
	const struct blk_ops *ops;
	struct blk_backend *blk;

	if (!driver)
		driver = format;
	ops = find_ops(driver ? driver : "raw");
	if (!ops) {
		err_set(err, -EINVAL,
			"%s: no image format '%s' (raw; qemu-img convert -O raw makes one)",
			list->text, driver);
		return NULL;
	}
	blk = calloc(1, ops->size);
	if (blk)
		blk->id = strdup(id);
	if (!blk || !blk->id) {
		free(blk);
		err_set(err, -ENOMEM, "%s: out of memory", list->text);
		return NULL;
	}
	blk->ops = ops;
	blk->format_given = driver != NULL;
	if (opt_apply(ops->opts, blk, list, err) || opt_all_used(list, &ops->opts, 1, err))
		goto fail;
	if (ops->open(blk, err)) {
		err_prefix(err, "%s", list->text);
		goto fail;
	}
	return blk;
fail:
	opt_release(ops->opts, blk);
	free(blk->id);
	free(blk);
	return NULL;
}

void blk_destroy(struct blk_backend *blk)
{
	if (!blk)
		return;
	blk->ops->close(blk);
	opt_release(blk->ops->opts, blk);
	free(blk->id);
	free(blk);
}

void blk_help(FILE *out)
{
	for (const struct blk_ops *const *p = __start_blk_backends; p < __stop_blk_backends; p++) {
		fprintf(out, "%s: %s\n", (*p)->name, (*p)->help);
		opt_help(out, (*p)->opts);
	}
}

int blk_queue_open(struct blk_backend *blk, struct loop *loop, struct blk_queue **queue,
		   struct err *err)
{
	return blk->ops->queue_open(blk, loop, queue, err);
}

void blk_queue_close(struct blk_queue *queue)
{
	if (queue)
		queue->blk->ops->queue_close(queue);
}

static void count(struct blk_queue *queue, const struct blk_request *request)
{
	struct blk_counters *c = &queue->counters;

	switch (request->op) {
	case BLK_READ:
		counter_add(&c->reads, 1);
		counter_add(&c->read_bytes, request->length);
		break;
	case BLK_WRITE:
		counter_add(&c->writes, 1);
		counter_add(&c->write_bytes, request->length);
		break;
	case BLK_FLUSH:
		counter_add(&c->flushes, 1);
		break;
	case BLK_DISCARD:
		counter_add(&c->discards, 1);
		break;
	case BLK_WRITE_ZEROES:
		counter_add(&c->zeroes, 1);
		break;
	}
}

/* 0: give it to the back end; else what it is answered. */
static int check(const struct blk_info *info, const struct blk_request *request)
{
	if (request->op == BLK_FLUSH)
		return 0;
	if (request->offset > info->size || request->length > info->size - request->offset)
		return -EINVAL;
	if (request->op != BLK_READ && info->readonly)
		return -EROFS;
	return 0;
}

void blk_submit(struct blk_queue *queue, struct blk_request *request)
{
	int result = check(&queue->blk->info, request);

	if (!result) {
		count(queue, request);
		if (request->op == BLK_FLUSH || request->length) {
			request->progress = 0;
			queue->blk->ops->submit(queue, request);
			return;
		}
	} else {
		counter_add(&queue->counters.errors, 1);
	}
	request->done(request, result);
}

void blk_kick(struct blk_queue *queue)
{
	queue->blk->ops->kick(queue);
}

void blk_drain(struct blk_queue *queue)
{
	queue->blk->ops->drain(queue);
}
