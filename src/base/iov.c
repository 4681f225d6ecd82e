/*
 * Walking iovecs: see iov.h. Pure functions over the caller's memory; any thread.
 *
 * The memory behind the pieces may be a guest's, changing while it is copied: nothing here looks
 * at what it copies. Offsets are kept below the sum of the lengths, so nothing overflows.
 */
#include <string.h>

#include "base/iov.h"

size_t iov_size(const struct iovec *iov, size_t n)
{
	size_t size = 0;

	for (size_t i = 0; i < n; i++)
		size += iov[i].iov_len;
	return size;
}

/* Steps through bytes [offset, offset+len): the next piece into *base; its length, 0 at the end. */
struct walk {
	const struct iovec *iov;
	size_t n, offset, len;
};

static size_t walk_next(struct walk *w, void **base)
{
	for (; w->n && w->len; w->iov++, w->n--) {
		size_t piece = w->iov->iov_len;

		if (w->offset >= piece) {
			w->offset -= piece;
			continue;
		}
		*base = (char *)w->iov->iov_base + w->offset;
		piece -= w->offset;
		if (piece > w->len)
			piece = w->len;
		w->len -= piece;
		w->offset = 0;
		w->iov++;
		w->n--;
		return piece;
	}
	return 0;
}

size_t iov_read(const struct iovec *iov, size_t n, size_t offset, void *buf, size_t len)
{
	struct walk w = {iov, n, offset, len};
	size_t done = 0, piece;
	void *base;

	while ((piece = walk_next(&w, &base))) {
		memcpy((char *)buf + done, base, piece);
		done += piece;
	}
	return done;
}

size_t iov_write(const struct iovec *iov, size_t n, size_t offset, const void *buf, size_t len)
{
	struct walk w = {iov, n, offset, len};
	size_t done = 0, piece;
	void *base;

	while ((piece = walk_next(&w, &base))) {
		memcpy(base, (const char *)buf + done, piece);
		done += piece;
	}
	return done;
}

size_t iov_zero(const struct iovec *iov, size_t n, size_t offset, size_t len)
{
	struct walk w = {iov, n, offset, len};
	size_t done = 0, piece;
	void *base;

	while ((piece = walk_next(&w, &base))) {
		memset(base, 0, piece);
		done += piece;
	}
	return done;
}

size_t iov_slice(struct iovec *dst, size_t max, const struct iovec *src, size_t n, size_t offset,
		 size_t len)
{
	struct walk w = {src, n, offset, len};
	size_t used = 0, piece;
	void *base;

	while (used < max && (piece = walk_next(&w, &base))) {
		dst[used].iov_base = base;
		dst[used].iov_len = piece;
		used++;
	}
	return used;
}
