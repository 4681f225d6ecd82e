/*
 * The Internet checksum; see csum.h. The inner loop adds words of 8 bytes and brings each carry round.
 */
#include "base/csum.h"

#include <stdbool.h>
#include <string.h>

static uint64_t add_carry(uint64_t sum, uint64_t word)
{
	sum += word;
	return sum + (sum < word);
}

uint64_t csum_add(uint64_t sum, const void *data, size_t len)
{
	const uint8_t *p = data;
	uint64_t word;

	for (; len >= sizeof(word); p += sizeof(word), len -= sizeof(word)) {
		memcpy(&word, p, sizeof(word));
		sum = add_carry(sum, word);
	}
	word = 0;
	if (len)
		memcpy(&word, p, len);
	return add_carry(sum, word);
}

uint64_t csum_add_iov(uint64_t sum, const struct iovec *iov, size_t n, size_t offset, size_t len)
{
	bool odd = false;

	for (size_t i = 0; i < n && len; i++) {
		const uint8_t *p = iov[i].iov_base;
		size_t left = iov[i].iov_len;

		if (offset >= left) {
			offset -= left;
			continue;
		}
		p += offset;
		left -= offset;
		offset = 0;
		if (left > len)
			left = len;
		/* A piece that begins in the middle of a word counts with its bytes swapped. */
		if (odd)
			sum = add_carry(sum, __builtin_bswap16(csum_fold(csum_add(0, p, left))));
		else
			sum = csum_add(sum, p, left);
		odd ^= left & 1;
		len -= left;
	}
	return sum;
}
