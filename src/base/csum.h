/*
 * The Internet checksum (RFC 1071): the ones' complement sum of 16-bit words.
 *
 * Sums are in memory order: words are added as the host reads them, and what csum_fold() and csum_finish()
 * return is stored by memcpy(). The sum comes out right in either byte order (RFC 1071 §2B). A number that
 * goes into a sum (a length, a protocol) is brought into network order first, by htons().
 */
#ifndef VIREO_BASE_CSUM_H
#define VIREO_BASE_CSUM_H

#include <stddef.h>
#include <stdint.h>
#include <sys/uio.h>

/* sum, and the bytes of memory; a sum begins with 0. Each part but the last has an even length. */
uint64_t csum_add(uint64_t sum, const void *data, size_t len);
/* The same for bytes [offset, offset + len) of n pieces of any length, as far as there are any. */
uint64_t csum_add_iov(uint64_t sum, const struct iovec *iov, size_t n, size_t offset, size_t len);

/* The sum in 16 bits. */
static inline uint16_t csum_fold(uint64_t sum)
{
	sum = (sum & 0xffffffff) + (sum >> 32);
	sum = (sum & 0xffffffff) + (sum >> 32);
	sum = (sum & 0xffff) + (sum >> 16);
	return (uint16_t)((sum & 0xffff) + (sum >> 16));
}

/* The checksum for a header: the complement of the sum. */
static inline uint16_t csum_finish(uint64_t sum)
{
	return (uint16_t)~csum_fold(sum);
}

#endif
