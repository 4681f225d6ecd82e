/*
 * Guest memory: (guest-physical address, length), and it can fail.
 *
 * RAM is one mapping (anonymous, of a memfd or of a file under -mem-path); it is shown to the guest in a few
 * ranges (below the VGA hole, above it, above 4 GiB). Everything that reaches guest memory does
 * it through the functions here; none of them can leave RAM. Addresses and lengths are bytes.
 *
 * The ranges are fixed before the first vCPU runs (memory hot plug will replace the table as a
 * whole), so look-ups take no lock and work on any thread.
 */
#ifndef VIREO_KVM_MEM_H
#define VIREO_KVM_MEM_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/uio.h>

#include "base/err.h"

#define MEM_RANGES_MAX 8

struct mem_range {
	uint64_t gpa;	      /* guest-physical start */
	uint64_t size;	      /* bytes */
	uint8_t *hva;	      /* where it is mapped here */
	uint64_t file_offset; /* of the range in fd */
};

struct mem {
	struct mem_range range[MEM_RANGES_MAX]; /* sorted by gpa */
	unsigned int n_ranges;
	int fd;	       /* memfd or file, which other processes can map; -1: private to this one */
	uint8_t *map;  /* all of it */
	uint64_t size; /* bytes of RAM */
};

struct mem_config {
	uint64_t size; /* bytes, a multiple of 4096 */
	/* -mem-path; NULL = no file. A folder: a file is made in it and unlinked. A file: made if it
	 * isn't there; one that holds something must be as long as RAM and keeps its length. */
	const char *path;
	/* Other processes will be given it: a memfd. Without a file and this it is private, which has the
	 * host's transparent huge pages; for shared memory Linux's default is to have none. */
	bool shared;
	bool prealloc; /* touch every page now; failure is an error, not a SIGBUS later */
};

/* Allocates RAM and maps it. No range is visible yet: mem_add_range() says where. After an error
 * there is nothing to release; the message names the option. */
int mem_create(struct mem *mem, const struct mem_config *config, struct err *err);
/* Shows bytes [file_offset, +size) of RAM at gpa. Page-aligned, in rising order, no overlap; else
 * -EINVAL. */
int mem_add_range(struct mem *mem, uint64_t gpa, uint64_t size, uint64_t file_offset);
void mem_destroy(struct mem *mem);

/* The one function that turns guest memory into iovecs. Splits at range ends. Returns the number of
 * pieces (0 for len 0), -EFAULT when any byte of [gpa, gpa+len) isn't RAM or the sum wraps, -E2BIG
 * when max isn't enough for what was looked at so far. */
int mem_iov(const struct mem *mem, uint64_t gpa, uint64_t len, struct iovec *iov, int max);

/* len bytes in one piece, or NULL. For rings and tables; valid while the mem lives. */
void *mem_ptr(const struct mem *mem, uint64_t gpa, uint64_t len);

/* Copies; 0, or -EFAULT and then nothing was moved. */
int mem_read(const struct mem *mem, uint64_t gpa, void *buf, uint64_t len);
int mem_write(const struct mem *mem, uint64_t gpa, const void *buf, uint64_t len);

#endif
