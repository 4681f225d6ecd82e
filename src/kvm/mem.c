/*
 * Guest RAM: one mapping (anonymous, of a memfd or a file), shown in ranges.
 */
#include "kvm/mem.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <linux/magic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/statfs.h>
#include <unistd.h>

#define HUGE_PAGE (UINT64_C(2) << 20) /* x86: bytes of one */

/* A file of no name in folder `path`, or the file `path` itself, made if need be (*made). */
static int open_path(const char *path, bool *made, struct err *err)
{
	char name[4096];
	struct stat st;
	int fd;

	*made = false;
	if (stat(path, &st) == 0 && S_ISDIR(st.st_mode)) {
		if (snprintf(name, sizeof(name), "%s/vireo-ram-XXXXXX", path) >= (int)sizeof(name))
			return err_set(err, -ENAMETOOLONG, "-mem-path %s: name too long", path);
		fd = mkostemp(name, O_CLOEXEC);
		if (fd >= 0)
			unlink(name);
	} else {
		fd = open(path, O_RDWR | O_CLOEXEC);
		if (fd < 0 && errno == ENOENT) {
			fd = open(path, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
			*made = fd >= 0;
		}
	}
	return fd < 0 ? err_errno(err, "-mem-path %s", path) : fd;
}

/* Makes the file of -mem-path as long as RAM; one that holds something already is left as it is. */
static int size_file(struct mem *mem, const char *path, struct err *err)
{
	uint64_t page = 4096;
	struct statfs fs;
	struct stat st;

	if (fstat(mem->fd, &st) < 0)
		return err_errno(err, "-mem-path %s", path);
	if (!S_ISREG(st.st_mode))
		return err_set(err, -EINVAL, "-mem-path %s: neither a file nor a folder", path);
	/* On hugetlbfs the file's length and the mapping must be whole huge pages. */
	if (fstatfs(mem->fd, &fs) == 0 && fs.f_type == HUGETLBFS_MAGIC)
		page = fs.f_bsize;
	if (mem->size % page)
		return err_set(err, -EINVAL,
			       "-m %" PRIu64
			       "M: not a multiple of the page size of -mem-path %s (%" PRIu64 "K)",
			       mem->size >> 20, path, page >> 10);
	if (st.st_size && (uint64_t)st.st_size < mem->size)
		return err_set(err, -EINVAL,
			       "-mem-path %s: the file has %" PRIu64 " MiB and -m asks for %" PRIu64
			       " (a larger file, an empty one, or a folder)",
			       path, (uint64_t)st.st_size >> 20, mem->size >> 20);
	if (!st.st_size && ftruncate(mem->fd, mem->size) < 0)
		return err_errno(err, "-mem-path %s: -m %" PRIu64 "M", path, mem->size >> 20);
	return 0;
}

static int size_memfd(struct mem *mem, struct err *err)
{
	if (ftruncate(mem->fd, mem->size) < 0)
		return err_errno(err, "-m %" PRIu64 "M: guest RAM", mem->size >> 20);
	/* Whoever is given it can't make it shorter (a SIGBUS here), and can't seal it against those who are given
	 * it next. */
	fcntl(mem->fd, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL);
	return 0;
}

/* Anonymous memory that starts where a huge page does, so that guest and host see the same ones. */
static void *map_anonymous(uint64_t size)
{
	uint8_t *map = mmap(NULL, size + HUGE_PAGE, PROT_NONE,
			    MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	uint64_t head;

	if (map == MAP_FAILED)
		return map;
	head = -(uintptr_t)map & (HUGE_PAGE - 1);
	if (head)
		munmap(map, head);
	munmap(map + head + size, HUGE_PAGE - head);
	if (!mprotect(map + head, size, PROT_READ | PROT_WRITE))
		return map + head;
	munmap(map + head, size);
	errno = ENOMEM;
	return MAP_FAILED;
}

static int map(struct mem *mem, const char *path, struct err *err)
{
	/* Huge pages are the one kind that can be reserved now; without that the guest's first
	 * touch of one that isn't there would be a SIGBUS. */
	int flags = path ? MAP_SHARED : MAP_SHARED | MAP_NORESERVE;

	mem->map = mem->fd < 0 ? map_anonymous(mem->size)
			       : mmap(NULL, mem->size, PROT_READ | PROT_WRITE, flags, mem->fd, 0);
	if (mem->map == MAP_FAILED) {
		mem->map = NULL;
		err_errno(err, "-m %" PRIu64 "M: guest RAM", mem->size >> 20);
		if (path)
			err_prefix(err, "-mem-path %s", path);
		return err_hint(err, "(less -m%s)", path ? ", or more huge pages" : "");
	}
	/* Guests with large pages cost the host fewer faults; where they aren't allowed nothing is
	 * lost. A child has no business with it, and would make us copy what we write. */
	madvise(mem->map, mem->size, MADV_HUGEPAGE);
	madvise(mem->map, mem->size, MADV_DONTDUMP);
	madvise(mem->map, mem->size, MADV_DONTFORK);
	return 0;
}

static int preallocate(struct mem *mem, struct err *err)
{
	int rc = mem->fd < 0 ? 0 : -posix_fallocate(mem->fd, 0, mem->size);

	/* Linux before 5.14 doesn't know the advice (EINVAL): the pages are there, and are mapped
	 * when they are used. */
	if (rc == 0 && madvise(mem->map, mem->size, MADV_POPULATE_WRITE) < 0 && errno != EINVAL)
		rc = -errno;
	if (rc < 0)
		err_set(err, rc,
			"-mem-prealloc: %" PRIu64 " MiB: %s (less -m, or no -mem-prealloc)",
			mem->size >> 20, strerror(-rc));
	return rc;
}

/* What RAM is a mapping of, if of anything. */
static int open_file(struct mem *mem, const struct mem_config *config, bool *made, struct err *err)
{
	if (!config->path && !config->shared)
		return 0;
	if (config->path)
		mem->fd = open_path(config->path, made, err);
	else
		mem->fd = memfd_create("vireo-ram", MFD_CLOEXEC | MFD_ALLOW_SEALING);
	if (mem->fd < 0)
		return config->path ? mem->fd : err_errno(err, "guest RAM: memfd_create");
	return config->path ? size_file(mem, config->path, err) : size_memfd(mem, err);
}

int mem_create(struct mem *mem, const struct mem_config *config, struct err *err)
{
	bool made = false;
	int rc;

	memset(mem, 0, sizeof(*mem));
	mem->size = config->size;
	mem->fd = -1;
	rc = open_file(mem, config, &made, err);
	if (rc == 0)
		rc = map(mem, config->path, err);
	if (rc == 0 && config->prealloc)
		rc = preallocate(mem, err);
	if (rc == 0)
		return 0;
	if (made)
		unlink(config->path);
	mem_destroy(mem);
	return rc;
}

int mem_add_range(struct mem *mem, uint64_t gpa, uint64_t size, uint64_t file_offset)
{
	struct mem_range *r;

	if ((gpa | size | file_offset) & 4095 || !size || size > mem->size ||
	    file_offset > mem->size - size || gpa + size < gpa || mem->n_ranges == MEM_RANGES_MAX)
		return -EINVAL;
	if (mem->n_ranges) {
		r = &mem->range[mem->n_ranges - 1];
		if (gpa < r->gpa + r->size)
			return -EINVAL;
	}
	r = &mem->range[mem->n_ranges++];
	*r = (struct mem_range){gpa, size, mem->map + file_offset, file_offset};
	return 0;
}

void mem_destroy(struct mem *mem)
{
	if (mem->map)
		munmap(mem->map, mem->size);
	if (mem->fd >= 0)
		close(mem->fd);
	memset(mem, 0, sizeof(*mem));
	mem->fd = -1;
}

/* The range that holds gpa; there are a handful, and the largest stand last. */
static const struct mem_range *find(const struct mem *mem, uint64_t gpa)
{
	for (unsigned int i = mem->n_ranges; i-- > 0;)
		if (gpa >= mem->range[i].gpa)
			return gpa - mem->range[i].gpa < mem->range[i].size ? &mem->range[i] : NULL;
	return NULL;
}

int mem_iov(const struct mem *mem, uint64_t gpa, uint64_t len, struct iovec *iov, int max)
{
	int n = 0;

	if (gpa + len < gpa)
		return -EFAULT;
	while (len) {
		const struct mem_range *r = find(mem, gpa);
		uint64_t offset, part;

		if (!r)
			return -EFAULT;
		if (n == max)
			return -E2BIG;
		offset = gpa - r->gpa;
		part = r->size - offset < len ? r->size - offset : len;
		iov[n].iov_base = r->hva + offset;
		iov[n++].iov_len = part;
		gpa += part;
		len -= part;
	}
	return n;
}

void *mem_ptr(const struct mem *mem, uint64_t gpa, uint64_t len)
{
	const struct mem_range *r = find(mem, gpa);

	if (!r || len > r->size - (gpa - r->gpa))
		return NULL;
	return r->hva + (gpa - r->gpa);
}

int mem_read(const struct mem *mem, uint64_t gpa, void *buf, uint64_t len)
{
	struct iovec iov[MEM_RANGES_MAX];
	int n = mem_iov(mem, gpa, len, iov, MEM_RANGES_MAX);
	uint8_t *to = buf;

	for (int i = 0; i < n; i++) {
		memcpy(to, iov[i].iov_base, iov[i].iov_len);
		to += iov[i].iov_len;
	}
	return n < 0 ? n : 0;
}

int mem_write(const struct mem *mem, uint64_t gpa, const void *buf, uint64_t len)
{
	struct iovec iov[MEM_RANGES_MAX];
	int n = mem_iov(mem, gpa, len, iov, MEM_RANGES_MAX);
	const uint8_t *from = buf;

	for (int i = 0; i < n; i++) {
		memcpy(iov[i].iov_base, from, iov[i].iov_len);
		from += iov[i].iov_len;
	}
	return n < 0 ? n : 0;
}
