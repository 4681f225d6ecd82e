/*
 * See image.h. Control thread.
 */
#include "boot/image.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static int set_name(struct boot_image *image, const char *option, const char *name, struct err *err)
{
	*image = (struct boot_image){.fd = -1};
	if (asprintf(&image->option, "%s %s", option, name) < 0) {
		image->option = NULL;
		return err_set(err, -ENOMEM, "%s: out of memory", option);
	}
	return 0;
}

int image_open(struct boot_image *image, const char *option, const char *path, struct err *err)
{
	struct stat st;
	int rc = set_name(image, option, path, err);

	if (rc < 0)
		return rc;
	image->fd = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK);
	if (image->fd < 0 || fstat(image->fd, &st) < 0)
		return err_errno(err, "%s", image->option);
	if (!S_ISREG(st.st_mode))
		return err_set(err, -EINVAL,
			       "%s: not a regular file (it is read again at each reboot)",
			       image->option);
	if (st.st_size == 0)
		return err_set(err, -EINVAL, "%s: the file is empty", image->option);
	image->size = st.st_size;
	return 0;
}

int image_bytes(struct boot_image *image, const char *option, const char *name, const void *bytes,
		size_t size, struct err *err)
{
	int rc = set_name(image, option, name, err);

	if (rc < 0)
		return rc;
	image->bytes = bytes;
	image->size = size;
	return 0;
}

void image_close(struct boot_image *image)
{
	if (image->fd >= 0)
		close(image->fd);
	free(image->option);
	*image = (struct boot_image){.fd = -1};
}

int image_read(const struct boot_image *image, uint64_t offset, void *buf, uint64_t len,
	       struct err *err)
{
	uint8_t *to = buf;

	if (offset > image->size || len > image->size - offset)
		return err_set(err, -EINVAL,
			       "%s: cut short: bytes %llu to %llu are wanted, the file has %llu",
			       image->option, (unsigned long long)offset,
			       (unsigned long long)(offset + len), (unsigned long long)image->size);
	if (image->bytes) {
		if (len)
			memcpy(buf, image->bytes + offset, len);
		return 0;
	}
	while (len) {
		ssize_t n = pread(image->fd, to, len, offset);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return err_errno(err, "%s", image->option);
		if (n == 0)
			return err_set(err, -EIO, "%s: the file has become shorter", image->option);
		to += n;
		offset += n;
		len -= n;
	}
	return 0;
}
