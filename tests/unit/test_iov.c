/* Walking iovecs: base/iov.c. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "base/iov.h"

static char mem[16];

/* "01" "" "23456" "7" "89": pieces with an empty one between. */
static const struct iovec pieces[] = {
	{mem, 2}, {NULL, 0}, {mem + 2, 5}, {mem + 7, 1}, {mem + 8, 2}};
#define N (sizeof(pieces) / sizeof(pieces[0]))

static int setup(void **state)
{
	memcpy(mem, "0123456789abcdef", 16);
	return 0;
}

static void test_size(void **state)
{
	assert_int_equal(iov_size(pieces, N), 10);
	assert_int_equal(iov_size(pieces, 0), 0);
}

/* Every offset and length against the flat bytes. */
static void test_read(void **state)
{
	for (size_t off = 0; off <= 12; off++) {
		for (size_t len = 0; len <= 12; len++) {
			size_t want = off >= 10 ? 0 : (len < 10 - off ? len : 10 - off);
			char buf[16] = {0};

			assert_int_equal(iov_read(pieces, N, off, buf, len), want);
			assert_memory_equal(buf, mem + off, want);
			assert_int_equal(buf[want], 0);
		}
	}
	assert_int_equal(iov_read(pieces, N, SIZE_MAX, mem, 1), 0);
	assert_int_equal(iov_read(NULL, 0, 0, mem, 1), 0);
}

static void test_write(void **state)
{
	for (size_t off = 0; off <= 11; off++) {
		for (size_t len = 0; len <= 12; len++) {
			size_t want = off >= 10 ? 0 : (len < 10 - off ? len : 10 - off);
			char expected[17] = "0123456789abcdef";

			setup(NULL);
			memcpy(expected + off, "ABCDEFGHIJKL", want);
			assert_int_equal(iov_write(pieces, N, off, "ABCDEFGHIJKL", len), want);
			assert_memory_equal(mem, expected, 16);
		}
	}
}

static void test_zero(void **state)
{
	assert_int_equal(iov_zero(pieces, N, 1, 3), 3);
	assert_memory_equal(mem,
			    "0\0\0\0"
			    "456789abcdef",
			    16);
	assert_int_equal(iov_zero(pieces, N, 9, 100), 1);
	assert_int_equal(mem[9], 0);
	assert_int_equal(mem[10], 'a');
}

static void test_slice(void **state)
{
	struct iovec out[N];

	for (size_t off = 0; off <= 11; off++) {
		for (size_t len = 0; len <= 12; len++) {
			size_t want = off >= 10 ? 0 : (len < 10 - off ? len : 10 - off);
			size_t n = iov_slice(out, N, pieces, N, off, len);
			char buf[16];

			assert_int_equal(iov_size(out, n), want);
			iov_read(out, n, 0, buf, sizeof(buf));
			assert_memory_equal(buf, mem + off, want);
			for (size_t i = 0; i < n; i++)
				assert_int_not_equal(out[i].iov_len, 0);
		}
	}
	/* too few places: what fits */
	assert_int_equal(iov_slice(out, 1, pieces, N, 1, 9), 1);
	assert_int_equal(out[0].iov_len, 1);
	assert_int_equal(iov_slice(out, 0, pieces, N, 0, 10), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup(test_size, setup),  cmocka_unit_test_setup(test_read, setup),
		cmocka_unit_test_setup(test_write, setup), cmocka_unit_test_setup(test_zero, setup),
		cmocka_unit_test_setup(test_slice, setup),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
