/*
 * For the tests of boot/: guest RAM without KVM, kernels made up in memory, and the usual calls.
 *
 * RAM has the ranges that the machine gives it, [0, 640 KiB), [768 KiB, low), [4 GiB, +high), in
 * anonymous memory that nothing has touched yet.
 */
#ifndef VIREO_TESTS_BOOT_FIXTURE_H
#define VIREO_TESTS_BOOT_FIXTURE_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cmocka.h>

#include "boot/boot.h"
#include "bus/pc.h"

#define MIB (1ull << 20)

static inline void ram_make(struct mem *mem, uint64_t low, uint64_t high)
{
	uint8_t *map = mmap(NULL, low + high, PROT_READ | PROT_WRITE,
			    MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

	assert_ptr_not_equal(map, MAP_FAILED);
	*mem = (struct mem){.fd = -1, .map = map, .size = low + high};
	mem->range[mem->n_ranges++] = (struct mem_range){.gpa = 0, .size = 0xa0000, .hva = map};
	mem->range[mem->n_ranges++] =
		(struct mem_range){.gpa = 0xc0000, .size = low - 0xc0000, .hva = map + 0xc0000};
	if (high)
		mem->range[mem->n_ranges++] =
			(struct mem_range){.gpa = 1ull << 32, .size = high, .hva = map + low};
}

static inline void ram_free(struct mem *mem)
{
	munmap(mem->map, mem->size);
}

/* A pointer to guest RAM that must be there. */
static inline void *at(const struct mem *mem, uint64_t gpa, uint64_t len)
{
	void *p = mem_ptr(mem, gpa, len);

	assert_non_null(p);
	return p;
}

/* A file with `size` bytes, byte i being i * 7 + i / 256; give its path to -initrd. Close *fd. */
static inline const char *file_make(int *fd, uint64_t size, char path[64])
{
	*fd = memfd_create("initrd", 0);
	assert_true(*fd >= 0);
	for (uint64_t i = 0; i < size; i += 4096) {
		uint8_t page[4096];
		uint64_t n = size - i < sizeof(page) ? size - i : sizeof(page);

		for (uint64_t j = 0; j < n; j++)
			page[j] = (i + j) * 7 + (i + j) / 256;
		assert_int_equal(write(*fd, page, n), n);
	}
	snprintf(path, 64, "/proc/self/fd/%d", *fd);
	return path;
}

static inline void assert_file_at(const struct mem *mem, uint64_t gpa, uint64_t size)
{
	const uint8_t *p = at(mem, gpa, size);

	for (uint64_t i = 0; i < size; i++)
		assert_int_equal(p[i], (uint8_t)(i * 7 + i / 256));
}

static inline struct boot *must_prepare(const struct boot_config *config, struct mem *mem)
{
	struct boot *boot;
	struct err err = {0};
	int rc = boot_prepare(&boot, config, mem, &err);

	if (rc < 0)
		fail_msg("boot_prepare: %s", err.msg);
	return boot;
}

static inline struct vcpu_entry must_load(struct boot *boot)
{
	struct vcpu_entry entry;
	struct err err = {0};
	int rc = boot_load(boot, &entry, &err);

	if (rc < 0)
		fail_msg("boot_load: %s", err.msg);
	return entry;
}

/* boot_prepare() fails with this code and a message of one line that contains `text`. */
static inline void must_refuse(const struct boot_config *config, struct mem *mem, int code,
			       const char *text)
{
	struct boot *boot = (struct boot *)1;
	struct err err = {0};

	assert_int_equal(boot_prepare(&boot, config, mem, &err), code);
	assert_null(boot);
	assert_int_equal(err.code, code);
	if (!strstr(err.msg, text))
		fail_msg("\"%s\" doesn't say \"%s\"", err.msg, text);
	assert_null(strchr(err.msg, '\n'));
	assert_true(strlen(err.msg) < sizeof(err.msg) - 1); /* not cut */
}

#endif
