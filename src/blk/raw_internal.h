/*
 * Inside src/blk: a raw image, as its opening (raw.c) and its queues (raw_queue.c) see it.
 */
#ifndef VIREO_BLK_RAW_INTERNAL_H
#define VIREO_BLK_RAW_INTERNAL_H

#include "blk/blk.h"

struct raw {
	struct blk_backend blk;
	int fd;
	bool block_device;
	/* With direct: what buffers, and offsets and lengths, must be multiples of, bytes. Else 1.
	 */
	uint32_t mem_align, offset_align;
	/* RAW_ZEROS bytes of zeros, page-aligned, that cost no memory (never written) */
	uint8_t *zeros;
	/* options */
	char *filename, *file_filename;
	int driver, discard, file_discard, aio, file_aio, detect_zeroes;
	int readonly, file_readonly, direct, file_direct, no_flush,
		file_no_flush; /* enum opt_tri */
	int locking, file_locking;
	/* what they come to */
	bool is_direct, is_no_flush, is_discard;
};

#define RAW_ZEROS 65536u

int raw_queue_open(struct blk_backend *blk, struct loop *loop, struct blk_queue **queue,
		   struct err *err);
void raw_queue_close(struct blk_queue *queue);
void raw_queue_submit(struct blk_queue *queue, struct blk_request *request);
void raw_queue_kick(struct blk_queue *queue);
void raw_queue_drain(struct blk_queue *queue);

#endif
