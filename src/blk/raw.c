/*
 * Raw images: a regular file or a block device whose bytes are the disk's. Opening and checking;
 * raw_queue.c moves the data.
 *
 * Everything here runs on the control thread. The image is closed by raw_close(); its lock goes
 * with it.
 *
 * Locks: an open-file-description lock (fcntl(2), F_OFD_SETLK) over the whole file, shared for
 * readers, exclusive for a writer, so that no two VMs write one image, whatever program runs the
 * other. A block device that is written is opened with O_EXCL, which a mount holds, too.
 *
 * Direct I/O's alignment: statx(2) STATX_DIOALIGN (Linux 6.1), else the device's logical block,
 * else found by trying.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/fs.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "blk/raw_internal.h"

#define SECTOR 512u

static const char *const discard_names[] = {"ignore", "unmap", NULL};
static const char *const aio_names[] = {"io_uring", "threads", "native", NULL};
static const char *const file_drivers[] = {"file", "host_device", NULL};
static const char *const off_names[] = {"off", NULL};

#define AT(field) offsetof(struct raw, field)
static const struct opt_desc raw_opts[] = {
	{"filename", OPT_STRING, AT(filename), NULL, "the image: a file or a block device"},
	{"read-only", OPT_TRI, AT(readonly), NULL, "the guest can't write (default: off)"},
	{"cache.direct", OPT_TRI, AT(direct), NULL,
	 "past the host's page cache, O_DIRECT (default: off)"},
	{"cache.no-flush", OPT_TRI, AT(no_flush), NULL,
	 "ignore flushes: fast, and a crash of the host costs the image (default: off)"},
	{"discard", OPT_ENUM, AT(discard), "ignore",
	 "what the guest discards: kept (ignore) or given back to the host (unmap)", 0, 0,
	 discard_names},
	{"locking", OPT_TRI, AT(locking), NULL,
	 "lock the image against other users (default: auto, where the host can)"},
	{"aio", OPT_ENUM, AT(aio), "io_uring", "taken for compatibility: it is io_uring always", 0,
	 0, aio_names},
	{"detect-zeroes", OPT_ENUM, AT(detect_zeroes), "off", "zeros are written as zeros", 0, 0,
	 off_names},
	{"file.driver", OPT_ENUM, AT(driver), "file", "what holds the image", 0, 0, file_drivers},
	{"file.filename", OPT_STRING, AT(file_filename), NULL, "same as filename"},
	{"file.read-only", OPT_TRI, AT(file_readonly), NULL, "same as read-only"},
	{"file.cache.direct", OPT_TRI, AT(file_direct), NULL, "same as cache.direct"},
	{"file.cache.no-flush", OPT_TRI, AT(file_no_flush), NULL, "same as cache.no-flush"},
	{"file.discard", OPT_ENUM, AT(file_discard), "ignore", "same as discard", 0, 0,
	 discard_names},
	{"file.locking", OPT_TRI, AT(file_locking), NULL, "same as locking"},
	{"file.aio", OPT_ENUM, AT(file_aio), "io_uring", "same as aio", 0, 0, aio_names},
	{NULL, OPT_END, 0, NULL, NULL},
};

static bool either_on(int a, int b)
{
	return a == OPT_ON || b == OPT_ON;
}

static const char *raw_path(const struct raw *raw)
{
	return raw->filename ? raw->filename : raw->file_filename;
}

/* ---- guards ---- */

/* What the first bytes say that a raw disk hardly says. Sources: the formats' own specifications
 * (qcow2: docs of QEMU; VMDK, VHDX, VDI: of their makers). */
static const struct {
	const char *format, *magic;
	unsigned int offset, len;
} foreign[] = {
	{"qcow2", "QFI\xfb", 0, 4}, {"vmdk", "KDMV", 0, 4},    {"vmdk", "# Disk Descriptor", 0, 17},
	{"vhdx", "vhdxfile", 0, 8}, {"vhd", "conectix", 0, 8}, {"vdi", "\x7f\x10\xda\xbe", 64, 4},
	{"qed", "QED\0", 0, 4},
};

static int guard_format(struct raw *raw, struct err *err)
{
	uint8_t *head;
	ssize_t n;
	int r = 0;

	if (raw->blk.format_given)
		return 0;
	head = aligned_alloc(4096, 4096); /* the file may be open for direct I/O */
	if (!head)
		return err_set(err, -ENOMEM, "out of memory");
	n = pread(raw->fd, head, 4096, 0);
	for (size_t i = 0; i < sizeof(foreign) / sizeof(foreign[0]); i++) {
		if (n < (ssize_t)(foreign[i].offset + foreign[i].len) ||
		    memcmp(head + foreign[i].offset, foreign[i].magic, foreign[i].len))
			continue;
		r = err_set(err, -EINVAL,
			    "%s looks like a %s image, and vireo reads raw ones (qemu-img convert "
			    "-O raw makes one; format=raw if it is a raw disk all the same)",
			    raw_path(raw), foreign[i].format);
		break;
	}
	free(head);
	return r;
}

static bool is_locked(const struct raw *raw)
{
	return raw->locking != OPT_OFF && raw->file_locking != OPT_OFF;
}

static int lock_image(struct raw *raw, struct err *err)
{
	struct flock lock = {
		.l_type = raw->blk.info.readonly ? F_RDLCK : F_WRLCK,
		.l_whence = SEEK_SET,
	};
	bool must = either_on(raw->locking, raw->file_locking);

	if (!is_locked(raw))
		return 0;
	if (!fcntl(raw->fd, F_OFD_SETLK, &lock))
		return 0;
	if (errno == EAGAIN || errno == EACCES)
		return err_set(
			err, -EBUSY,
			"%s is in use by another disk or program%s (two writers would ruin it; "
			"end the other, or read-only=on for all)",
			raw_path(raw), raw->blk.info.readonly ? " that writes it" : "");
	if (!must)
		return 0; /* some file systems have no locks */
	return err_errno(err, "locking=on: %s", raw_path(raw));
}

/* ---- sizes and alignment ---- */

static bool can_read(int fd, void *buf, size_t len)
{
	ssize_t n;

	do {
		n = pread(fd, buf, len, 0);
	} while (n < 0 && errno == EINTR);
	return n >= 0;
}

/* For a host that can't say: the least that a read at 0 needs. */
static int try_alignment(struct raw *raw, struct err *err)
{
	uint8_t *buf = aligned_alloc(65536, 131072);
	uint32_t align;

	if (!buf)
		return err_set(err, -ENOMEM, "out of memory");
	for (align = SECTOR; align <= 65536; align *= 2)
		if (can_read(raw->fd, buf + align % 65536, align))
			break;
	free(buf);
	if (align > 65536)
		return err_set(err, -EINVAL, "%s: direct I/O doesn't work there (cache.direct=off)",
			       raw_path(raw));
	raw->mem_align = raw->offset_align = align;
	return 0;
}

static int find_alignment(struct raw *raw, struct err *err)
{
	raw->mem_align = raw->offset_align = 1;
	if (!raw->is_direct)
		return 0;
#ifdef STATX_DIOALIGN
	struct statx stx;

	memset(&stx, 0, sizeof(stx));
	if (!statx(raw->fd, "", AT_EMPTY_PATH, STATX_DIOALIGN, &stx) &&
	    stx.stx_mask & STATX_DIOALIGN && stx.stx_dio_offset_align) {
		raw->mem_align = stx.stx_dio_mem_align;
		raw->offset_align = stx.stx_dio_offset_align;
		return 0;
	}
#endif
	if (raw->block_device) {
		int size;

		if (!ioctl(raw->fd, BLKSSZGET, &size) && size >= (int)SECTOR) {
			raw->mem_align = raw->offset_align = size;
			return 0;
		}
	}
	return try_alignment(raw, err);
}

static int find_size(struct raw *raw, const struct stat *st, struct err *err)
{
	struct blk_info *info = &raw->blk.info;

	info->logical_block = SECTOR;
	info->physical_block = SECTOR;
	if (raw->block_device) {
		int logical;
		unsigned int physical;

		if (ioctl(raw->fd, BLKGETSIZE64, &info->size))
			return err_errno(err, "%s: its size", raw_path(raw));
		if (!ioctl(raw->fd, BLKSSZGET, &logical) && logical > (int)SECTOR)
			info->logical_block = logical;
		if (!ioctl(raw->fd, BLKPBSZGET, &physical) && physical > SECTOR)
			info->physical_block = physical;
	} else {
		/* A last sector that isn't whole is one all the same; it reads as zeros behind the
		 * end. */
		info->size = ((uint64_t)st->st_size + SECTOR - 1) / SECTOR * SECTOR;
		if (st->st_blksize > (blksize_t)SECTOR && st->st_blksize <= 65536 &&
		    !(st->st_blksize & (st->st_blksize - 1)))
			info->physical_block = st->st_blksize;
	}
	if (raw->offset_align > info->logical_block)
		info->logical_block = raw->offset_align;
	if (info->physical_block < info->logical_block)
		info->physical_block = info->logical_block;
	return 0;
}

/* ---- opening ---- */

static int open_failed(const struct raw *raw, struct err *err)
{
	int code = errno;
	const char *path = raw_path(raw);

	err_set(err, -code, "%s: %s", path, strerror(code));
	switch (code) {
	case ENOENT:
		err_hint(err, "(truncate -s 10G %s makes an empty disk)", path);
		break;
	case EACCES:
	case EROFS:
		err_hint(err, "(read-only=on, if the guest needn't write)");
		break;
	case EBUSY:
		err_hint(err, "(mounted, part of a volume, or in use by another VM)");
		break;
	case EINVAL:
		if (raw->is_direct)
			err_hint(err, "(its file system has no direct I/O: cache.direct=off)");
		break;
	}
	return -code;
}

static int check_kind(struct raw *raw, struct stat *st, struct err *err)
{
	const char *path = raw_path(raw);

	/* Before opening, so that a FIFO or a tape isn't opened at all; the open file is checked
	 * again by its user's choice of path, not by a guest's. */
	if (stat(path, st))
		return open_failed(raw, err);
	if (S_ISREG(st->st_mode))
		return 0;
	if (S_ISBLK(st->st_mode)) {
		raw->block_device = true;
		return 0;
	}
	return err_set(err, -EINVAL, "%s is %s, not a disk image (a file or a block device)", path,
		       S_ISDIR(st->st_mode)   ? "a folder"
		       : S_ISCHR(st->st_mode) ? "a character device"
					      : "a pipe or socket");
}

static void raw_close(struct blk_backend *blk)
{
	struct raw *raw = (struct raw *)blk;
	struct flock unlock = {.l_type = F_UNLCK, .l_whence = SEEK_SET};

	if (raw->zeros)
		munmap(raw->zeros, RAW_ZEROS);
	/* An io_uring that is being torn down may still hold the file, and with it the lock. */
	fcntl(raw->fd, F_OFD_SETLK, &unlock);
	close(raw->fd);
}

static int map_zeros(struct raw *raw, struct err *err)
{
	void *p = mmap(NULL, RAW_ZEROS, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	if (p == MAP_FAILED)
		return err_errno(err, "memory for zeros");
	raw->zeros = p;
	return 0;
}

/* Opens and locks. -EBUSY: somebody else has it, or had it a moment ago. */
static int open_image(struct raw *raw, struct err *err)
{
	bool readonly = raw->blk.info.readonly;
	int flags = O_CLOEXEC | (readonly ? O_RDONLY : O_RDWR) | (raw->is_direct ? O_DIRECT : 0);
	int r;

	if (raw->block_device && !readonly && is_locked(raw))
		flags |= O_EXCL;
	raw->fd = open(raw_path(raw), flags);
	if (raw->fd < 0)
		return open_failed(raw, err);
	r = lock_image(raw, err);
	if (r) {
		close(raw->fd);
		raw->fd = -1;
	}
	return r;
}

static int raw_open(struct blk_backend *blk, struct err *err)
{
	const struct timespec pause = {.tv_nsec = 10000000};
	struct raw *raw = (struct raw *)blk;
	struct blk_info *info = &blk->info;
	struct stat st;
	int r;

	raw->fd = -1;
	raw->zeros = NULL;
	if (!raw_path(raw))
		return err_set(err, -EINVAL, "which image? (filename=PATH)");
	info->readonly = either_on(raw->readonly, raw->file_readonly);
	raw->is_direct = either_on(raw->direct, raw->file_direct);
	raw->is_no_flush = either_on(raw->no_flush, raw->file_no_flush);
	raw->is_discard = (raw->discard || raw->file_discard) && !info->readonly;
	r = check_kind(raw, &st, err);
	/* The kernel takes a moment to let go of the files of a process that was killed: try for
	 * 0.3 s. */
	for (unsigned int i = 0; !r && raw->fd < 0; i++) {
		r = open_image(raw, err);
		if (r == -EBUSY && i < 30) {
			nanosleep(&pause, NULL);
			r = 0;
		}
	}
	if (r)
		return r;
	r = find_alignment(raw, err);
	if (!r)
		r = find_size(raw, &st, err);
	if (!r)
		r = guard_format(raw, err);
	if (!r)
		r = map_zeros(raw, err);
	if (r)
		raw_close(blk);
	info->discard = raw->is_discard;
	info->write_zeroes = !info->readonly;
	info->write_cache = true;
	return r;
}

static const struct blk_ops raw_ops = {
	.name = "raw",
	.help = "a raw image: a file or a block device, through io_uring",
	.opts = raw_opts,
	.size = sizeof(struct raw),
	.open = raw_open,
	.close = raw_close,
	.queue_open = raw_queue_open,
	.queue_close = raw_queue_close,
	.submit = raw_queue_submit,
	.kick = raw_queue_kick,
	.drain = raw_queue_drain,
};
BLK_BACKEND(raw_ops);
