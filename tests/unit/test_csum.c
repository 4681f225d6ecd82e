/* The Internet checksum, against RFC 1071's example and a sum done word by word. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <stdlib.h>
#include <string.h>

#include "base/csum.h"

/* As RFC 1071 §1 describes it: 16-bit words in network order, carries brought round. */
static uint16_t simple(const uint8_t *p, size_t len)
{
	uint32_t sum = 0;

	for (size_t i = 0; i < len; i++) {
		sum += i & 1 ? p[i] : (uint32_t)p[i] << 8;
		sum = (sum & 0xffff) + (sum >> 16);
	}
	return (uint16_t)~sum;
}

static uint16_t stored(uint16_t csum)
{
	uint8_t bytes[2];

	memcpy(bytes, &csum, 2);
	return (uint16_t)(bytes[0] << 8 | bytes[1]);
}

static void test_rfc(void **state)
{
	static const uint8_t data[] = {0x00, 0x01, 0xf2, 0x03, 0xf4, 0xf5, 0xf6, 0xf7}; /* §3 */

	assert_int_equal(stored(csum_fold(csum_add(0, data, 8))), 0xddf2);
	assert_int_equal(stored(csum_finish(csum_add(0, data, 8))), 0x220d);
	assert_int_equal(csum_finish(0), 0xffff);
	assert_int_equal(csum_finish(0xffff), 0);
	assert_int_equal(csum_fold(~0ull), 0xffff);
}

static void test_pieces(void **state)
{
	uint8_t *data = malloc(3000);

	for (size_t i = 0; i < 3000; i++)
		data[i] = (uint8_t)(rand() >> 7);
	for (unsigned int i = 0; i < 2000; i++) {
		struct iovec iov[9];
		size_t start = (size_t)rand() % 100, len = (size_t)rand() % 2000, at = 0;

		for (int k = 0; k < 9; k++) {
			iov[k].iov_base = data + at;
			iov[k].iov_len = k == 8 ? 3000 - at : (size_t)rand() % (i & 1 ? 5 : 300);
			at += iov[k].iov_len;
		}
		assert_int_equal(stored(csum_finish(csum_add_iov(0, iov, 9, start, len))),
				 simple(data + start, len));
		assert_int_equal(stored(csum_finish(csum_add(0, data + start, len))),
				 simple(data + start, len));
	}
	free(data);
}

static void test_ends(void **state)
{
	uint8_t data[5] = {1, 2, 3, 4, 5};
	struct iovec iov[2] = {{data, 3}, {data + 3, 2}};

	assert_int_equal(csum_add_iov(7, iov, 2, 5, 10), 7);
	assert_int_equal(csum_add_iov(7, iov, 0, 0, 10), 7);
	assert_int_equal(stored(csum_finish(csum_add_iov(0, iov, 2, 1, ~(size_t)0))),
			 simple(data + 1, 4));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_rfc),
		cmocka_unit_test(test_pieces),
		cmocka_unit_test(test_ends),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
