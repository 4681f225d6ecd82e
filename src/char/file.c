/*
 * -chardev file: output into a file, a named pipe or a device. No input.
 *
 * A regular file takes everything; with a full disk the bytes are dropped and counted, and later
 * ones are tried again. On a named pipe a full pipe means back-pressure; when its reader has gone,
 * output is dropped.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "char/driver.h"
#include "char/stream.h"

struct file {
	struct char_backend chr;
	char *path;
	bool append;
	int fd; /* + 1; 0 = none */
	struct char_stream out;
};

static const struct opt_desc file_opts[] = {
	{"path", OPT_STRING, offsetof(struct file, path), NULL, "the file; made if it isn't there"},
	{"append", OPT_BOOL, offsetof(struct file, append), "off",
	 "write behind what the file holds; off: empty it first"},
	{NULL, OPT_END},
};

static void file_gone(struct char_stream *s)
{
	char_set_connected(s->chr, false);
}

static int file_open(struct char_backend *chr, struct err *err)
{
	struct file *f = (struct file *)chr;
	int flags = O_WRONLY | O_CREAT | O_CLOEXEC | O_NOCTTY | O_NONBLOCK;
	int fd, ret;

	if (!f->path || !f->path[0])
		return err_set(err, -EINVAL, "which file? (path=...)");
	fd = open(f->path, flags | (f->append ? O_APPEND : O_TRUNC), 0666);
	if (fd < 0) {
		ret = err_errno(err, "%s", f->path);
		if (ret == -ENXIO)
			err_hint(err, "(a named pipe needs its reader first)");
		return ret;
	}
	f->fd = fd + 1;
	ret = char_stream_open(&f->out, chr, fd, fd, file_gone);
	if (ret)
		return err_set(err, ret, "%s: %s", f->path, strerror(-ret));
	if (asprintf(&chr->description, "file:%s", f->path) < 0)
		chr->description = NULL;
	chr->connected = true;
	return 0;
}

static void file_close(struct char_backend *chr)
{
	struct file *f = (struct file *)chr;

	char_stream_close(&f->out);
	if (f->fd)
		close(f->fd - 1);
}

static ssize_t file_write(struct char_backend *chr, const void *buf, size_t n)
{
	return char_stream_write(&((struct file *)chr)->out, buf, n);
}

static void file_watch(struct char_backend *chr, bool in, bool out)
{
	char_stream_watch(&((struct file *)chr)->out, false, out);
}

static const struct char_driver file_driver = {
	.name = "file",
	.help = "output into a file",
	.opts = file_opts,
	.size = sizeof(struct file),
	.open = file_open,
	.close = file_close,
	.write = file_write,
	.watch = file_watch,
};

CHAR_DRIVER(file_driver);
