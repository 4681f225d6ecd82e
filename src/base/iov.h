/*
 * Walking iovecs: a frame or a request is a list of pieces of guest memory, never flattened.
 * All lengths and offsets are in bytes. Nothing here fails: a copy moves what there is.
 */
#ifndef VIREO_BASE_IOV_H
#define VIREO_BASE_IOV_H

#include <stddef.h>
#include <sys/uio.h>

/* Sum of the lengths of n pieces. */
size_t iov_size(const struct iovec *iov, size_t n);

/* Copy len bytes at most between buf and the pieces, from offset on; returns the bytes copied. */
size_t iov_read(const struct iovec *iov, size_t n, size_t offset, void *buf, size_t len);
size_t iov_write(const struct iovec *iov, size_t n, size_t offset, const void *buf, size_t len);

/* Sets len bytes at most to zero, from offset on; returns the bytes set. */
size_t iov_zero(const struct iovec *iov, size_t n, size_t offset, size_t len);

/* The pieces of bytes [offset, offset+len) of src, put into dst (max pieces at most).
 * Returns the pieces used; the result is shorter than len where src ends or max is reached. */
size_t iov_slice(struct iovec *dst, size_t max, const struct iovec *src, size_t n, size_t offset,
		 size_t len);

#endif
