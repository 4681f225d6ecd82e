/*
 * Guest memory: what lies where, what is cut where, and what is no RAM; and the files that it can
 * be made of.
 */
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "kvm/mem.h"

#define PAGE 4096u
#define HIGH UINT64_C(0x100000000)

/* 16 pages of RAM: 4 at 0, 4 right behind from another place in the file, a hole of 8, 8 at 4 GiB.
 */
static int setup(void **state)
{
	static const struct mem_config config = {.size = 16 * PAGE};
	static struct mem mem;
	struct err err = {0};

	assert_int_equal(mem_create(&mem, &config, &err), 0);
	assert_int_equal(mem_add_range(&mem, 0, 4 * PAGE, 12 * PAGE), 0);
	assert_int_equal(mem_add_range(&mem, 4 * PAGE, 4 * PAGE, 0), 0);
	assert_int_equal(mem_add_range(&mem, HIGH, 8 * PAGE, 4 * PAGE), 0);
	*state = &mem;
	return 0;
}

static int teardown(void **state)
{
	struct mem *mem = *state;

	mem_destroy(mem);
	assert_int_equal(mem->fd, -1);
	assert_null(mem->map);
	return 0;
}

/* ---- ranges ---- */

static void test_ranges_refused(void **state)
{
	struct mem *mem = *state;
	static const struct {
		uint64_t gpa, size, offset;
	} bad[] = {
		{HIGH + 7 * PAGE, PAGE, 0}, /* overlaps */
		{9 * PAGE, PAGE, 0},	    /* not rising */
		{2 * HIGH + 1, PAGE, 0},    /* not whole pages */
		{2 * HIGH, PAGE + 1, 0},
		{2 * HIGH, PAGE, 1},
		{2 * HIGH, 0, 0},
		{2 * HIGH, 17 * PAGE, 0}, /* more than there is */
		{2 * HIGH, 2 * PAGE, 15 * PAGE},
		{2 * HIGH, PAGE, UINT64_MAX - PAGE + 1}, /* whose sum wraps */
		{UINT64_MAX - PAGE + 1, 2 * PAGE, 0},
	};

	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
		assert_int_equal(mem_add_range(mem, bad[i].gpa, bad[i].size, bad[i].offset),
				 -EINVAL);
	assert_int_equal(mem->n_ranges, 3);
	for (int i = 3; i < MEM_RANGES_MAX; i++)
		assert_int_equal(mem_add_range(mem, (i + 1) * HIGH, PAGE, 0), 0);
	assert_int_equal(mem_add_range(mem, 99 * HIGH, PAGE, 0), -EINVAL);
}

static void test_iov(void **state)
{
	struct mem *mem = *state;
	struct iovec iov[3];

	assert_int_equal(mem_iov(mem, 0, 4 * PAGE, iov, 1), 1);
	assert_ptr_equal(iov[0].iov_base, mem->map + 12 * PAGE);
	assert_int_equal(iov[0].iov_len, 4 * PAGE);

	assert_int_equal(mem_iov(mem, HIGH + 5, 1, iov, 1), 1);
	assert_ptr_equal(iov[0].iov_base, mem->map + 4 * PAGE + 5);
	assert_int_equal(iov[0].iov_len, 1);

	/* Neighbours in the guest that aren't in the file. */
	assert_int_equal(mem_iov(mem, 4 * PAGE - 10, 30, iov, 3), 2);
	assert_ptr_equal(iov[0].iov_base, mem->map + 16 * PAGE - 10);
	assert_int_equal(iov[0].iov_len, 10);
	assert_ptr_equal(iov[1].iov_base, mem->map);
	assert_int_equal(iov[1].iov_len, 20);
	assert_int_equal(mem_iov(mem, 4 * PAGE - 10, 30, iov, 1), -E2BIG);
	assert_int_equal(mem_iov(mem, 4 * PAGE - 10, 10, iov, 1), 1);
	assert_int_equal(mem_iov(mem, 0, 8 * PAGE, iov, 2), 2);
}

static void test_iov_of_nothing(void **state)
{
	struct mem *mem = *state;

	assert_int_equal(mem_iov(mem, 0, 0, NULL, 0), 0);
	assert_int_equal(mem_iov(mem, 5 * HIGH, 0, NULL, 0), 0);
	assert_int_equal(mem_iov(mem, 0, 1, NULL, 0), -E2BIG);
}

static void test_iov_refused(void **state)
{
	struct mem *mem = *state;
	struct iovec iov[8];
	static const struct {
		uint64_t gpa, len;
	} bad[] = {
		{8 * PAGE, 1},	   /* the hole: its first byte, */
		{HIGH - 1, 1},	   /* its last, */
		{8 * PAGE - 1, 2}, /* and what runs into it, */
		{HIGH - 1, 2},	   /* and out of it */
		{0, HIGH + 1},
		{HIGH + 8 * PAGE, 1},
		{HIGH + 8 * PAGE - 1, 2},
		{0, UINT64_MAX},
		{UINT64_MAX, 1},
		{UINT64_MAX, 2}, /* wraps to what is RAM */
		{HIGH, UINT64_MAX - HIGH + 2},
	};

	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		assert_int_equal(mem_iov(mem, bad[i].gpa, bad[i].len, iov, 8), -EFAULT);
		assert_null(mem_ptr(mem, bad[i].gpa, bad[i].len));
	}
}

static void test_ptr(void **state)
{
	struct mem *mem = *state;

	assert_ptr_equal(mem_ptr(mem, 4 * PAGE, 4 * PAGE), mem->map);
	assert_ptr_equal(mem_ptr(mem, HIGH + 8 * PAGE - 1, 1), mem->map + 12 * PAGE - 1);
	assert_null(mem_ptr(mem, 4 * PAGE - 1, 2)); /* two pieces */
	assert_non_null(mem_ptr(mem, 0, 0));
	assert_null(mem_ptr(mem, 8 * PAGE, 0));
}

static void test_copies(void **state)
{
	struct mem *mem = *state;
	uint8_t in[64], out[64] = {0};

	for (size_t i = 0; i < sizeof(in); i++)
		in[i] = (uint8_t)(i + 1);
	assert_int_equal(mem_write(mem, 4 * PAGE - 20, in, sizeof(in)), 0);
	assert_int_equal(mem_read(mem, 4 * PAGE - 20, out, sizeof(out)), 0);
	assert_memory_equal(in, out, sizeof(in));
	assert_memory_equal(mem->map + 16 * PAGE - 20, in, 20);
	assert_memory_equal(mem->map, in + 20, 44);
	assert_int_equal(mem_write(mem, 0, NULL, 0), 0);
}

/* Nothing is moved when not everything can be. */
static void test_copies_refused(void **state)
{
	struct mem *mem = *state;
	uint8_t in[8] = {1, 2, 3, 4, 5, 6, 7, 8}, zero[8] = {0};

	assert_int_equal(mem_write(mem, 8 * PAGE - 4, in, sizeof(in)), -EFAULT);
	assert_memory_equal(mem->map + 4 * PAGE - 4, zero, 4);
	memset(mem->map + 4 * PAGE - 4, 0x55, 4);
	assert_int_equal(mem_read(mem, 8 * PAGE - 4, zero, sizeof(zero)), -EFAULT);
	for (size_t i = 0; i < sizeof(zero); i++)
		assert_int_equal(zero[i], 0);
}

/* ---- what it is made of ---- */

static char folder[64];

static int folder_setup(void **state)
{
	strcpy(folder, "/tmp/test_mem.XXXXXX");
	assert_non_null(mkdtemp(folder));
	return 0;
}

static int folder_teardown(void **state)
{
	assert_int_equal(rmdir(folder), 0); /* and nothing is left in it */
	return 0;
}

static const char *path_of(const char *name)
{
	static char path[128];

	snprintf(path, sizeof(path), "%s/%s", folder, name);
	return path;
}

static int create(struct mem *mem, const char *path, uint64_t pages, bool prealloc, struct err *err)
{
	struct mem_config config = {
		.size = pages * PAGE, .path = path, .shared = true, .prealloc = prealloc};

	*err = (struct err){0};
	return mem_create(mem, &config, err);
}

static void test_memfd(void **state)
{
	struct stat st;
	struct mem mem;
	struct err err;

	assert_int_equal(create(&mem, NULL, 8, true, &err), 0);
	assert_int_equal(mem.size, 8 * PAGE);
	assert_int_equal(mem.n_ranges, 0);
	assert_int_equal(fstat(mem.fd, &st), 0);
	assert_true(st.st_blocks >= 8 * PAGE / 512);
	assert_int_equal(fcntl(mem.fd, F_GETFD), FD_CLOEXEC);
	assert_int_equal(ftruncate(mem.fd, 0), -1); /* nobody can pull it away */
	/* nor keep it from others */
	assert_int_equal(fcntl(mem.fd, F_ADD_SEALS, F_SEAL_FUTURE_WRITE), -1);
	assert_int_equal(errno, EPERM);
	mem_destroy(&mem);
}

static void test_private(void **state)
{
	struct mem_config config = {.size = 8 * PAGE, .prealloc = true};
	unsigned char there[8];
	struct err err = {0};
	struct mem mem;

	assert_int_equal(mem_create(&mem, &config, &err), 0);
	assert_int_equal(mem.fd, -1);
	assert_int_equal(mincore(mem.map, 8 * PAGE, there), 0);
	for (int i = 0; i < 8; i++)
		assert_true(there[i] & 1);
	assert_int_equal(mem_add_range(&mem, 0, 8 * PAGE, 0), 0);
	assert_ptr_equal(mem_ptr(&mem, PAGE, 1), mem.map + PAGE);
	mem_destroy(&mem);
}

static void test_folder(void **state)
{
	struct mem mem;
	struct err err;

	assert_int_equal(create(&mem, folder, 4, false, &err), 0);
	assert_int_equal(fcntl(mem.fd, F_GETFD), FD_CLOEXEC);
	memset(mem.map, 1, mem.size);
	mem_destroy(&mem);
}

static void test_new_file(void **state)
{
	const char *path = path_of("ram");
	struct stat st;
	struct mem mem;
	struct err err;

	assert_int_equal(create(&mem, path, 4, true, &err), 0);
	mem.map[PAGE] = 7;
	mem_destroy(&mem);
	assert_int_equal(stat(path, &st), 0);
	assert_int_equal(st.st_size, 4 * PAGE);
	/* There now, and of the right size: it is used again, as it is. */
	assert_int_equal(create(&mem, path, 4, false, &err), 0);
	assert_int_equal(mem.map[PAGE], 7);
	mem_destroy(&mem);
	/* Less RAM than it has bytes: none is cut off. */
	assert_int_equal(create(&mem, path, 2, false, &err), 0);
	mem_destroy(&mem);
	assert_int_equal(stat(path, &st), 0);
	assert_int_equal(st.st_size, 4 * PAGE);
	/* More: said. */
	assert_int_equal(create(&mem, path, 5, false, &err), -EINVAL);
	assert_non_null(strstr(err.msg, path));
	assert_int_equal(stat(path, &st), 0);
	unlink(path);
}

static void test_not_a_file(void **state)
{
	const char *path = path_of("fifo");
	struct mem mem;
	struct err err;

	assert_int_equal(mkfifo(path, 0600), 0);
	assert_int_equal(create(&mem, path, 4, false, &err), -EINVAL);
	assert_non_null(strstr(err.msg, "neither"));
	assert_int_equal(create(&mem, "/dev/null", 4, false, &err), -EINVAL);
	unlink(path);
	assert_int_equal(create(&mem, path_of("no/such"), 4, false, &err), -ENOENT);
	assert_non_null(strstr(err.msg, "-mem-path"));
	assert_true(mem.fd < 0);
}

/* No room: said when RAM is made, and what was begun is taken back. */
static void test_no_room(void **state)
{
	const char *path = path_of("ram");
	struct rlimit old, small;
	struct stat st;
	struct mem mem;
	struct err err;

	assert_int_equal(getrlimit(RLIMIT_FSIZE, &old), 0);
	small = old;
	small.rlim_cur = 2 * PAGE;
	assert_int_equal(setrlimit(RLIMIT_FSIZE, &small), 0);
	assert_int_equal(create(&mem, path, 4, true, &err), -EFBIG);
	assert_int_equal(setrlimit(RLIMIT_FSIZE, &old), 0);
	assert_non_null(strstr(err.msg, path));
	assert_int_equal(stat(path, &st), -1);
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_ranges_refused, setup, teardown),
		cmocka_unit_test_setup_teardown(test_iov, setup, teardown),
		cmocka_unit_test_setup_teardown(test_iov_of_nothing, setup, teardown),
		cmocka_unit_test_setup_teardown(test_iov_refused, setup, teardown),
		cmocka_unit_test_setup_teardown(test_ptr, setup, teardown),
		cmocka_unit_test_setup_teardown(test_copies, setup, teardown),
		cmocka_unit_test_setup_teardown(test_copies_refused, setup, teardown),
		cmocka_unit_test(test_memfd),
		cmocka_unit_test(test_private),
		cmocka_unit_test_setup_teardown(test_folder, folder_setup, folder_teardown),
		cmocka_unit_test_setup_teardown(test_new_file, folder_setup, folder_teardown),
		cmocka_unit_test_setup_teardown(test_not_a_file, folder_setup, folder_teardown),
		cmocka_unit_test_setup_teardown(test_no_room, folder_setup, folder_teardown),
	};

	signal(SIGXFSZ, SIG_IGN);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
