/*
 * -chardev stdio: the process's standard input and output.
 *
 * A terminal is put into raw mode, and given back (char/terminal.h). Anything else is taken as it
 * is: pipes, sockets, regular files, /dev/null. The end of the input is just that: output goes on.
 * When nobody reads the output any more, it is dropped, and input goes on.
 *
 * Terminals and pipes are opened a second time, by /proc/self/fd, to have an open file description
 * of our own that can be non-blocking without changing the one that others share. Where that can't
 * be done, char/stream.c is careful instead. The loop watches the originals: a second stdio back
 * end on the same loop is refused by that.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "char/driver.h"
#include "char/stream.h"
#include "char/terminal.h"

struct stdio {
	struct char_backend chr;
	bool signals;
	struct char_stream in, out;
	int in_own, out_own; /* descriptors of our own + 1; 0 = none */
	struct terminal terminal;
};

static const struct opt_desc stdio_opts[] = {
	{"signal", OPT_BOOL, offsetof(struct stdio, signals), "on",
	 "Ctrl-C, Ctrl-Z and Ctrl-\\ act on vireo; off: they are input"},
	{NULL, OPT_END},
};

/* A non-blocking description of our own of what fd is; -1 = there can't be one. */
static int own_description(int fd, int access)
{
	struct stat st;
	char path[32];

	if (fstat(fd, &st) < 0 || !(S_ISFIFO(st.st_mode) || isatty(fd)))
		return -1;
	snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	return open(path, access | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);
}

static void stdin_gone(struct char_stream *s)
{
	/* No more input; the stream is quiet by itself. */
}

static void stdout_gone(struct char_stream *s)
{
	struct stdio *io = (struct stdio *)s->chr;

	/* Still connected where input comes: then char_stream_write() refuses, and it is dropped.
	 */
	char_writable(&io->chr);
}

static int stream_begin(struct char_backend *chr, struct char_stream *s, int fd, int access,
			int *own, void (*gone)(struct char_stream *s), struct err *err)
{
	const char *name = fd == STDIN_FILENO ? "standard input" : "standard output";
	int mine = own_description(fd, access);
	int ret;

	if (mine >= 0)
		*own = mine + 1;
	ret = char_stream_open(s, chr, mine >= 0 ? mine : fd, fd, gone);
	if (ret == -EEXIST)
		return err_set(err, ret, "%s has another user already", name);
	if (ret)
		return err_set(err, ret, "%s: %s", name, strerror(-ret));
	return 0;
}

static int stdio_open(struct char_backend *chr, struct err *err)
{
	struct stdio *io = (struct stdio *)chr;
	int ret;

	chr->description = strdup("stdio");
	ret = stream_begin(chr, &io->in, STDIN_FILENO, O_RDONLY, &io->in_own, stdin_gone, err);
	if (!ret)
		ret = stream_begin(chr, &io->out, STDOUT_FILENO, O_WRONLY, &io->out_own,
				   stdout_gone, err);
	if (!ret && isatty(STDIN_FILENO))
		ret = terminal_take(&io->terminal, STDIN_FILENO, io->signals, err);
	chr->connected = true;
	return ret;
}

static void stdio_close(struct char_backend *chr)
{
	struct stdio *io = (struct stdio *)chr;

	char_stream_close(&io->in);
	char_stream_close(&io->out);
	if (io->in_own)
		close(io->in_own - 1);
	if (io->out_own)
		close(io->out_own - 1);
	terminal_give_back(&io->terminal);
}

static ssize_t stdio_write(struct char_backend *chr, const void *buf, size_t n)
{
	return char_stream_write(&((struct stdio *)chr)->out, buf, n);
}

static void stdio_watch(struct char_backend *chr, bool in, bool out)
{
	struct stdio *io = (struct stdio *)chr;

	char_stream_watch(&io->in, in, false);
	char_stream_watch(&io->out, false, out);
}

static const struct char_driver stdio_driver = {
	.name = "stdio",
	.help = "standard input and output",
	.opts = stdio_opts,
	.size = sizeof(struct stdio),
	.open = stdio_open,
	.close = stdio_close,
	.write = stdio_write,
	.watch = stdio_watch,
};

CHAR_DRIVER(stdio_driver);
