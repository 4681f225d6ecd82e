/*
 * A byte stream on a file descriptor: see stream.h. The loop's thread.
 *
 * O_NONBLOCK belongs to the open file description, which stdin and stdout share with the shell that
 * started us and with everything else on that terminal: it is never set here. A socket has
 * MSG_DONTWAIT; others are asked by poll() first, and then written in pieces that can't block: a
 * pipe that is writable has room for PIPE_BUF bytes (pipe(7)), a terminal for one.
 */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "char/driver.h"
#include "char/stream.h"

static bool can(const struct char_stream *s, short events)
{
	struct pollfd p = {.fd = s->fd, .events = events};

	return poll(&p, 1, 0) > 0;
}

static void stream_end(struct char_stream *s)
{
	char_stream_watch(s, false, false);
	s->failed = true;
	s->gone(s);
}

static void stream_readable(struct char_stream *s)
{
	uint8_t buf[CHAR_BUFFER];
	size_t room = char_room(s->chr);
	ssize_t n;

	if (room > sizeof(buf))
		room = sizeof(buf);
	if (!room || (s->may_block && !can(s, POLLIN)))
		return;
	if (s->is_socket)
		n = recv(s->fd, buf, room, MSG_DONTWAIT);
	else
		n = read(s->fd, buf, room);
	if (n > 0)
		char_push(s->chr, buf, n);
	else if (n == 0 || (errno != EAGAIN && errno != EINTR))
		stream_end(s);
}

static void stream_ready(struct loop_fd *lf, uint32_t events)
{
	struct char_stream *s = lf->opaque;

	if (s->want_in && (events & (EPOLLIN | EPOLLHUP | EPOLLERR)))
		stream_readable(s);
	/* That may have ended it, or made it want less. */
	if (s->want_out && (events & (EPOLLOUT | EPOLLHUP | EPOLLERR)))
		char_writable(s->chr);
}

static void stream_timer(struct loop_timer *t)
{
	struct char_stream *s = t->opaque;

	if (s->failed) {
		stream_end(s);
		return;
	}
	if (s->want_out)
		char_writable(s->chr);
	if (s->want_in)
		stream_readable(s);
	if (s->want_in || s->want_out)
		loop_timer_set(s->chr->loop, t, loop_now_ns());
}

int char_stream_open(struct char_stream *s, struct char_backend *chr, int fd, int watched,
		     void (*gone)(struct char_stream *s))
{
	struct stat st;
	int ret;

	*s = (struct char_stream){.gone = gone, .chr = chr, .fd = -1};
	s->lf = (struct loop_fd){.ready = stream_ready, .opaque = s, .fd = watched};
	s->timer = (struct loop_timer){.expired = stream_timer, .opaque = s};
	if (fstat(fd, &st) < 0)
		return -errno;
	s->is_socket = S_ISSOCK(st.st_mode);
	s->is_tty = isatty(fd);
	ret = loop_fd_add(chr->loop, &s->lf, 0);
	if (ret == -EPERM)
		s->always_ready = true;
	else if (ret)
		return ret;
	s->may_block = !s->always_ready && !s->is_socket && !(fcntl(fd, F_GETFL) & O_NONBLOCK);
	s->fd = fd;
	return 0;
}

void char_stream_watch(struct char_stream *s, bool in, bool out)
{
	if (s->fd < 0 || s->failed)
		return;
	s->want_in = in;
	s->want_out = out;
	if (!s->always_ready)
		loop_fd_mod(&s->lf, (in ? EPOLLIN : 0) | (out ? EPOLLOUT : 0));
	else if (in || out)
		loop_timer_set(s->chr->loop, &s->timer, loop_now_ns());
	else
		loop_timer_cancel(s->chr->loop, &s->timer);
}

/* A full disk may have room later; all else is the end. The user hears of it from the loop, not in
 * the middle of its write. */
static void write_failed(struct char_stream *s, int error)
{
	if (error == ENOSPC || error == EDQUOT || error == EFBIG)
		return;
	char_stream_watch(s, false, false);
	s->failed = true;
	loop_timer_set(s->chr->loop, &s->timer, loop_now_ns());
}

/* One write of n bytes at most. 0 = full. */
static ssize_t write_piece(const struct char_stream *s, const void *buf, size_t n)
{
	ssize_t ret;

	if (s->may_block) {
		size_t most = s->is_tty ? 1 : PIPE_BUF;

		if (!can(s, POLLOUT))
			return 0;
		n = n < most ? n : most;
	}
	do {
		if (s->is_socket)
			ret = send(s->fd, buf, n, MSG_DONTWAIT | MSG_NOSIGNAL);
		else
			ret = write(s->fd, buf, n);
	} while (ret < 0 && errno == EINTR);
	if (ret < 0)
		return errno == EAGAIN ? 0 : -errno;
	return ret ? ret : -EIO;
}

ssize_t char_stream_write(struct char_stream *s, const void *buf, size_t n)
{
	size_t done = 0;
	ssize_t ret = 0;

	if (s->fd < 0 || s->failed)
		return -EPIPE;
	while (done < n) {
		ret = write_piece(s, (const char *)buf + done, n - done);
		if (ret <= 0)
			break;
		done += ret;
	}
	if (ret < 0)
		write_failed(s, -ret);
	/* If some bytes were taken before an error, the rest is tried, and refused, later. */
	return ret < 0 && !done ? ret : (ssize_t)done;
}

void char_stream_close(struct char_stream *s)
{
	if (s->fd < 0 || !s->chr)
		return;
	loop_timer_cancel(s->chr->loop, &s->timer);
	loop_fd_del(&s->lf);
	s->fd = -1;
}

void char_stream_resume(struct char_stream *s)
{
	s->failed = false;
}
