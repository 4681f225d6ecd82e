/*
 * Between ring.c, ring_split.c and ring_packed.c. All on the queue's I/O thread, but for the
 * configuration checks.
 */
#ifndef VIREO_VIRTIO_RING_INTERNAL_H
#define VIREO_VIRTIO_RING_INTERNAL_H

#include <errno.h>

#include "virtio/ring.h"

/* The formats' parts of the functions in ring.h. The configuration has been checked, q->config,
 * size, packed and near are set. */
const char *virtq_split_config_error(const struct mem *mem, const struct virtq_config *config);
int virtq_split_start(struct virtq *q, uint32_t position);
uint32_t virtq_split_stop(struct virtq *q);
const char *virtq_packed_config_error(const struct mem *mem, const struct virtq_config *config);
int virtq_packed_start(struct virtq *q, uint32_t position);
uint32_t virtq_packed_stop(struct virtq *q);

/* Latches; returns -EPROTO. */
int virtq_malformed(struct virtq *q, const char *reason);

/* An indirect table may stand at any address (§2.7.5.3 asks for no alignment). */
struct virtq_any64 {
	uint64_t v;
} __attribute__((packed, may_alias));

/* A store before it is seen by others before a load after it is done. */
static inline void virtq_full_barrier(void)
{
	__asm__ volatile("lock; addl $0, -4(%%rsp)" ::: "memory", "cc");
}

/* len bytes at gpa in one piece, or NULL; remembers the range. */
static inline void *virtq_piece(struct virtq *q, uint64_t gpa, uint64_t len)
{
	const struct mem_range *r = q->near;
	uint64_t offset = gpa - r->gpa;

	if (offset < r->size && len <= r->size - offset)
		return r->hva + offset;
	for (unsigned int i = 0; i < q->mem->n_ranges; i++) {
		r = &q->mem->range[i];
		offset = gpa - r->gpa;
		if (offset < r->size && len <= r->size - offset) {
			q->near = r;
			return r->hva + offset;
		}
	}
	return NULL;
}

/* The buffer at gpa, not of length 0, into iov; the number of pieces (nearly always 1), -E2BIG,
 * -EFAULT. */
static inline int virtq_buffer(struct virtq *q, uint64_t gpa, uint32_t len, struct iovec *iov,
			       unsigned int max)
{
	void *hva;

	if (!max)
		return -E2BIG;
	hva = virtq_piece(q, gpa, len);
	if (!hva)
		return mem_iov(q->mem, gpa, len, iov, (int)max);
	iov->iov_base = hva;
	iov->iov_len = len;
	return 1;
}

#endif
