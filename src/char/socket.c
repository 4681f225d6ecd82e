/*
 * -chardev socket: a stream socket in the file system, as server or client.
 *
 * A server has one client at a time; another one waits in the kernel's queue until that has gone.
 * A client that has lost its server stays unconnected, or tries again every `reconnect` seconds.
 *
 * The socket's file: an old one is replaced if it is a socket that nobody listens on (what a
 * process leaves behind that was killed), and nothing else is. Ours is removed at the end, if the
 * file is still the one that we made.
 */
#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/log.h"
#include "char/driver.h"
#include "char/stream.h"

#define SECOND_NS 1000000000ull

struct sock {
	struct char_backend chr;
	char *path;
	bool server;
	enum opt_tri wait;
	uint32_t reconnect; /* s */

	int listen_fd, fd; /* + 1; 0 = none */
	struct loop_fd listener;
	struct char_stream stream;
	struct loop_timer retry; /* a client's next attempt, a server's next accept() */
	bool bound;
	dev_t dev; /* of the file that bind() made */
	ino_t ino;
	struct log_limit said;
};

static const struct opt_desc sock_opts[] = {
	{"path", OPT_STRING, offsetof(struct sock, path), NULL, "the socket in the file system"},
	{"server", OPT_BOOL, offsetof(struct sock, server), "off",
	 "on: make the socket and listen; off: connect to it"},
	{"wait", OPT_TRI, offsetof(struct sock, wait), NULL,
	 "server: wait for the first client before the VM starts (auto: on)"},
	{"reconnect", OPT_U32, offsetof(struct sock, reconnect), "0",
	 "client: seconds between attempts to connect; 0 = one attempt", 0, 86400},
	{NULL, OPT_END},
};

static struct sock *sock_of(struct char_backend *chr)
{
	return (struct sock *)chr;
}

static int address(const char *path, struct sockaddr_un *addr, struct err *err)
{
	size_t n = strlen(path);

	memset(addr, 0, sizeof(*addr));
	addr->sun_family = AF_UNIX;
	if (n >= sizeof(addr->sun_path)) {
		return err_set(err, -ENAMETOOLONG,
			       "%s: the path of a socket has at most %zu bytes, this one has %zu",
			       path, sizeof(addr->sun_path) - 1, n);
	}
	memcpy(addr->sun_path, path, n);
	return 0;
}

/* ---- a connection ---- */

static void sock_listen_again(struct sock *so)
{
	loop_fd_mod(&so->listener, EPOLLIN);
}

static void sock_gone(struct char_stream *s)
{
	struct sock *so = sock_of(s->chr);

	char_stream_close(s);
	close(so->fd - 1);
	so->fd = 0;
	if (so->server)
		sock_listen_again(so);
	else if (so->reconnect)
		loop_timer_set(so->chr.loop, &so->retry, loop_now_ns() + so->reconnect * SECOND_NS);
	char_set_connected(&so->chr, false);
}

/* Takes over a connected descriptor. */
static int sock_begin(struct sock *so, int fd)
{
	int ret = char_stream_open(&so->stream, &so->chr, fd, fd, sock_gone);

	if (ret) {
		close(fd);
		return ret;
	}
	so->fd = fd + 1;
	char_set_connected(&so->chr, true);
	char_rewatch(&so->chr);
	return 0;
}

/* ---- server ---- */

/* 0, -EAGAIN = there is none, or a negative errno. */
static int sock_take_client(struct sock *so)
{
	int fd = accept4(so->listener.fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);

	if (fd < 0)
		return errno == EINTR || errno == ECONNABORTED ? -EAGAIN : -errno;
	loop_fd_mod(&so->listener, 0); /* one client at a time */
	return sock_begin(so, fd);
}

static void sock_accept(struct loop_fd *lf, uint32_t events)
{
	struct sock *so = lf->opaque;
	int ret = sock_take_client(so);

	if (!ret || ret == -EAGAIN)
		return;
	/* No descriptors left, most likely: the client stays in the queue for a while. */
	loop_fd_mod(lf, 0);
	log_limited(&so->said, "%s: can't accept a client: %s", so->chr.id, strerror(-ret));
	loop_timer_set(so->chr.loop, &so->retry, loop_now_ns() + SECOND_NS);
}

/* Makes room for our socket. */
static int remove_stale(const struct sockaddr_un *addr, struct err *err)
{
	const char *path = addr->sun_path;
	struct stat st;
	int fd, ret;

	if (lstat(path, &st) < 0)
		return 0;
	if (!S_ISSOCK(st.st_mode))
		return err_set(err, -EEXIST, "%s is there already, and is no socket", path);
	fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	if (fd < 0)
		return err_errno(err, "socket");
	ret = connect(fd, (const struct sockaddr *)addr, sizeof(*addr)) < 0 ? -errno : 0;
	close(fd);
	if (ret != -ECONNREFUSED) {
		return err_set(err, -EADDRINUSE, "%s is in use%s%s", path, ret ? ": " : "",
			       ret ? strerror(-ret) : " by a process that listens on it");
	}
	if (unlink(path) < 0)
		return err_errno(err, "%s: can't remove the old socket", path);
	return 0;
}

static int sock_serve(struct sock *so, const struct sockaddr_un *addr, struct err *err)
{
	struct stat st;
	int fd, ret;

	ret = remove_stale(addr, err);
	if (ret)
		return ret;
	fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	if (fd < 0)
		return err_errno(err, "socket");
	so->listen_fd = fd + 1;
	if (bind(fd, (const struct sockaddr *)addr, sizeof(*addr)) < 0)
		return err_errno(err, "%s", so->path);
	so->bound = stat(so->path, &st) == 0;
	so->dev = st.st_dev;
	so->ino = st.st_ino;
	if (listen(fd, 1) < 0)
		return err_errno(err, "%s", so->path);
	so->listener = (struct loop_fd){.ready = sock_accept, .opaque = so, .fd = fd};
	ret = loop_fd_add(so->chr.loop, &so->listener, EPOLLIN);
	if (ret)
		return err_set(err, ret, "%s: %s", so->path, strerror(-ret));
	if (asprintf(&so->chr.description, "unix:%s,server=on", so->path) < 0)
		return err_set(err, -ENOMEM, "out of memory");
	return 0;
}

/* wait=on: until there is a client. */
static int sock_wait(struct sock *so, struct err *err)
{
	struct pollfd p = {.fd = so->listen_fd - 1, .events = POLLIN};
	sigset_t none;
	int ret;

	sigemptyset(&none);
	log_warn("waiting for a connection to %s", so->chr.description);
	do {
		/* Any signal ends it, also one that is blocked elsewhere. */
		if (ppoll(&p, 1, NULL, &none) < 0)
			return err_errno(err, "no connection to %s", so->path);
		ret = sock_take_client(so);
	} while (ret == -EAGAIN);
	return ret ? err_set(err, ret, "%s: %s", so->path, strerror(-ret)) : 0;
}

/* ---- client ---- */

static int sock_connect(struct sock *so, const struct sockaddr_un *addr)
{
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	int ret;

	if (fd < 0)
		return -errno;
	if (connect(fd, (const struct sockaddr *)addr, sizeof(*addr)) < 0) {
		ret = -errno; /* EAGAIN: the server's queue is full */
		close(fd);
		return ret;
	}
	return sock_begin(so, fd);
}

static void sock_retry(struct loop_timer *t)
{
	struct sock *so = t->opaque;
	struct sockaddr_un addr;

	if (so->server) {
		sock_listen_again(so);
		return;
	}
	if (address(so->path, &addr, NULL) == 0 && sock_connect(so, &addr) == 0)
		return;
	loop_timer_set(so->chr.loop, t, loop_now_ns() + so->reconnect * SECOND_NS);
}

static int sock_call(struct sock *so, const struct sockaddr_un *addr, struct err *err)
{
	int ret;

	if (asprintf(&so->chr.description, "unix:%s", so->path) < 0)
		return err_set(err, -ENOMEM, "out of memory");
	ret = sock_connect(so, addr);
	if (!ret)
		return 0;
	if (so->reconnect) {
		loop_timer_set(so->chr.loop, &so->retry, loop_now_ns() + so->reconnect * SECOND_NS);
		return 0;
	}
	err_set(err, ret, "%s: %s", so->path, strerror(-ret));
	if (ret == -ENOENT || ret == -ECONNREFUSED)
		err_hint(err, "(server=on makes the socket; reconnect=1 waits for a server)");
	return ret;
}

/* ---- the driver ---- */

static int sock_open(struct char_backend *chr, struct err *err)
{
	struct sock *so = sock_of(chr);
	struct sockaddr_un addr;
	int ret;

	so->retry = (struct loop_timer){.expired = sock_retry, .opaque = so};
	if (!so->path || !so->path[0])
		return err_set(err, -EINVAL, "which socket? (path=...)");
	if (!so->server && so->wait == OPT_ON)
		return err_set(err, -EINVAL, "wait=on goes with server=on");
	if (so->server && so->reconnect)
		return err_set(err, -EINVAL, "reconnect= goes with server=off");
	ret = address(so->path, &addr, err);
	if (ret)
		return ret;
	if (!so->server)
		return sock_call(so, &addr, err);
	ret = sock_serve(so, &addr, err);
	if (!ret && so->wait != OPT_OFF)
		ret = sock_wait(so, err);
	return ret;
}

static void sock_close(struct char_backend *chr)
{
	struct sock *so = sock_of(chr);
	struct stat st;

	loop_timer_cancel(chr->loop, &so->retry);
	char_stream_close(&so->stream);
	if (so->fd)
		close(so->fd - 1);
	loop_fd_del(&so->listener);
	if (so->bound && lstat(so->path, &st) == 0 && st.st_dev == so->dev && st.st_ino == so->ino)
		unlink(so->path);
	if (so->listen_fd)
		close(so->listen_fd - 1);
}

static ssize_t sock_write(struct char_backend *chr, const void *buf, size_t n)
{
	return char_stream_write(&sock_of(chr)->stream, buf, n);
}

static void sock_watch(struct char_backend *chr, bool in, bool out)
{
	if (sock_of(chr)->fd)
		char_stream_watch(&sock_of(chr)->stream, in, out);
}

static void sock_take(struct char_backend *chr, struct char_socket *out)
{
	struct sock *so = sock_of(chr);

	*out = (struct char_socket){
		.path = so->path,
		.server = so->server,
		.wait = so->server && so->wait != OPT_OFF,
		.reconnect_s = so->reconnect,
		.listen_fd = so->listen_fd - 1,
		.fd = so->fd - 1,
	};
	loop_timer_cancel(chr->loop, &so->retry);
	loop_fd_del(&so->listener);
	char_stream_close(&so->stream);
	so->stream.fd = -1;
	so->fd = 0;
	char_set_connected(chr, false);
}

static const struct char_driver sock_driver = {
	.name = "socket",
	.help = "a unix socket, as server or client",
	.opts = sock_opts,
	.size = sizeof(struct sock),
	.open = sock_open,
	.close = sock_close,
	.write = sock_write,
	.watch = sock_watch,
	.take = sock_take,
};

CHAR_DRIVER(sock_driver);
