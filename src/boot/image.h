/*
 * Something to load: an open file, or bytes in memory. Offsets and sizes are bytes.
 *
 * A file is read with pread(2) straight to where it belongs, not mapped: a file that is cut short
 * while the VM runs is then an error, not a SIGBUS.
 */
#ifndef VIREO_BOOT_IMAGE_H
#define VIREO_BOOT_IMAGE_H

#include <stddef.h>
#include <stdint.h>

#include "base/err.h"

struct boot_image {
	char *option;	      /* "-kernel PATH", for messages */
	const uint8_t *bytes; /* NULL: a file. The caller's, stays put */
	int fd;		      /* -1: bytes, or nothing */
	uint64_t size;	      /* 0: there is no image */
};

/* Opens a regular file that isn't empty. option: "-kernel". 0 or -errno; image_close() is due in
 * both cases. */
int image_open(struct boot_image *image, const char *option, const char *path, struct err *err);
/* size may be 0: then reading any byte fails. 0 or -ENOMEM. */
int image_bytes(struct boot_image *image, const char *option, const char *name, const void *bytes,
		size_t size, struct err *err);
void image_close(struct boot_image *image);

/* All of [offset, offset+len), or an error: -EINVAL where the image ends before, -errno. err may be
 * NULL. */
int image_read(const struct boot_image *image, uint64_t offset, void *buf, uint64_t len,
	       struct err *err);

#endif
