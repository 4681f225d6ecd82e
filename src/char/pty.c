/*
 * -chardev pty: a new pseudo-terminal; char_describe() says which.
 *
 * The slave is in raw mode from the start: bytes pass as they are. The peer is whoever has the
 * slave open: without one the master reports a hang-up, and output is dropped. The kernel tells
 * nobody when the slave is opened, so an inotify watch on its device node does; where there can be
 * none (a limit on them), a timer looks every half second.
 */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/inotify.h>
#include <termios.h>
#include <unistd.h>

#include "char/driver.h"
#include "char/stream.h"

#define LOOK_NS 500000000u

struct pty {
	struct char_backend chr;
	int fd, inotify_fd; /* + 1; 0 = none */
	struct char_stream stream;
	struct loop_fd opened; /* inotify */
	struct loop_timer look;
};

static const struct opt_desc pty_opts[] = {{NULL, OPT_END}};

/* The slave has been opened, perhaps: even if it is closed again, what was written to it counts. */
static void pty_look(struct pty *pty)
{
	struct pollfd p = {.fd = pty->fd - 1, .events = POLLIN};

	if (pty->chr.connected)
		return;
	if (poll(&p, 1, 0) >= 0 && (!(p.revents & POLLHUP) || (p.revents & POLLIN))) {
		char_stream_resume(&pty->stream);
		char_set_connected(&pty->chr, true);
		char_rewatch(&pty->chr);
	} else if (!pty->inotify_fd) {
		loop_timer_set(pty->chr.loop, &pty->look, loop_now_ns() + LOOK_NS);
	}
}

static void pty_opened(struct loop_fd *lf, uint32_t events)
{
	char buf[512];

	while (read(lf->fd, buf, sizeof(buf)) > 0)
		;
	pty_look(lf->opaque);
}

static void pty_timer(struct loop_timer *t)
{
	pty_look(t->opaque);
}

static void pty_gone(struct char_stream *s)
{
	struct pty *pty = (struct pty *)s->chr;

	char_set_connected(&pty->chr, false);
	pty_look(pty); /* there may be a new peer already */
}

/* Watches for the slave's being opened. Without success there is the timer. */
static void pty_watch_opens(struct pty *pty, const char *slave)
{
	int fd = inotify_init1(IN_NONBLOCK | IN_CLOEXEC);

	if (fd < 0)
		return;
	pty->opened = (struct loop_fd){.ready = pty_opened, .opaque = pty, .fd = fd};
	if (inotify_add_watch(fd, slave, IN_OPEN) < 0 ||
	    loop_fd_add(pty->chr.loop, &pty->opened, EPOLLIN) < 0) {
		close(fd);
		return;
	}
	pty->inotify_fd = fd + 1;
}

static int pty_open(struct char_backend *chr, struct err *err)
{
	struct pty *pty = (struct pty *)chr;
	struct termios modes;
	char slave[64];
	int fd, ret;

	pty->look = (struct loop_timer){.expired = pty_timer, .opaque = pty};
	fd = posix_openpt(O_RDWR | O_NOCTTY | O_NONBLOCK | O_CLOEXEC);
	if (fd < 0)
		return err_errno(err, "no pseudo-terminal");
	pty->fd = fd + 1;
	if (grantpt(fd) < 0 || unlockpt(fd) < 0 || ptsname_r(fd, slave, sizeof(slave)) ||
	    tcgetattr(fd, &modes) < 0)
		return err_errno(err, "no pseudo-terminal");
	cfmakeraw(&modes);
	if (tcsetattr(fd, TCSANOW, &modes) < 0)
		return err_errno(err, "%s: can't set raw mode", slave);
	/* A slave that was never open counts as connected; one that was closed doesn't. */
	ret = open(slave, O_RDWR | O_NOCTTY | O_CLOEXEC);
	if (ret < 0)
		return err_errno(err, "%s", slave);
	close(ret);
	ret = char_stream_open(&pty->stream, chr, fd, fd, pty_gone);
	if (ret)
		return err_set(err, ret, "%s: %s", slave, strerror(-ret));
	if (asprintf(&chr->description, "pty:%s", slave) < 0)
		chr->description = NULL;
	pty_watch_opens(pty, slave);
	pty_look(pty);
	/* Scripts wait for this line, in QEMU's words, to know which one it is. */
	printf("char device redirected to %s (label %s)\n", slave, chr->id);
	fflush(stdout);
	return 0;
}

static void pty_close(struct char_backend *chr)
{
	struct pty *pty = (struct pty *)chr;

	loop_timer_cancel(chr->loop, &pty->look);
	char_stream_close(&pty->stream);
	if (pty->inotify_fd) {
		loop_fd_del(&pty->opened);
		close(pty->inotify_fd - 1);
	}
	if (pty->fd)
		close(pty->fd - 1);
}

static ssize_t pty_write(struct char_backend *chr, const void *buf, size_t n)
{
	return char_stream_write(&((struct pty *)chr)->stream, buf, n);
}

static void pty_watch(struct char_backend *chr, bool in, bool out)
{
	struct pty *pty = (struct pty *)chr;

	/* With no peer the master hangs up all the time. */
	if (chr->connected)
		char_stream_watch(&pty->stream, in, out);
}

static const struct char_driver pty_driver = {
	.name = "pty",
	.help = "a new pseudo-terminal",
	.opts = pty_opts,
	.size = sizeof(struct pty),
	.open = pty_open,
	.close = pty_close,
	.write = pty_write,
	.watch = pty_watch,
};

CHAR_DRIVER(pty_driver);
