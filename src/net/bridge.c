/*
 * -netdev bridge: a TAP in a bridge of the host's, made by a helper program for users who may not do that
 * themselves.
 *
 *	vireo --- HELPER [--use-vnet] --br=NAME --fd=N --- makes a TAP, puts it into NAME
 *	  ^                                   |
 *	  +--- one byte with SCM_RIGHTS ------+
 *
 * The helper is vireo-bridge-helper (src/bridge_helper), or QEMU's, which takes the same words. What
 * passes through the file descriptor is tap.c's; the TAP vanishes when it is closed.
 *
 * Control thread, set-up only. vireo waits for the helper for HELPER_WAIT_S at most.
 */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "net/tap.h"

/* BRIDGE_HELPER: its path once it is installed, from the build. */

#define HELPER_WAIT_S 30

extern char **environ;

struct bridge {
	struct tap tap; /* first */
	char *helper;	/* option; br is tap's */
};

static const struct opt_desc bridge_opts[] = {
	TAP_OPT(br, OPT_STRING, .def = "br0", .help = "the bridge"),
	{.name = "helper",
	 .type = OPT_STRING,
	 .offset = offsetof(struct bridge, helper),
	 .def = BRIDGE_HELPER,
	 .help = "program that makes the TAP: vireo-bridge-helper or QEMU's"},
	TAP_COMMON_OPTS,
	{.name = NULL, .type = OPT_END},
};

/* Starts it with `s` as its socket and `out` as its standard error. */
static int bridge_spawn(const struct bridge *b, int s, int out, bool vnet, pid_t *pid,
			struct err *err)
{
	char br[64], fd[32];
	char *argv[5] = {b->helper, fd, br, NULL, NULL};
	posix_spawn_file_actions_t files;
	posix_spawnattr_t attr;
	sigset_t none, all;
	int r;

	snprintf(br, sizeof(br), "--br=%s", b->tap.br);
	snprintf(fd, sizeof(fd), "--fd=%d", s);
	if (vnet)
		argv[3] = (char *)"--use-vnet";
	/* vireo's threads block signals; the helper must not inherit that. */
	sigemptyset(&none);
	sigfillset(&all);
	posix_spawnattr_init(&attr);
	posix_spawnattr_setsigmask(&attr, &none);
	posix_spawnattr_setsigdefault(&attr, &all);
	posix_spawnattr_setflags(&attr, POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF);
	posix_spawn_file_actions_init(&files);
	posix_spawn_file_actions_adddup2(&files, out, 2);
	posix_spawn_file_actions_adddup2(&files, s, s); /* no longer closed by exec */
	r = posix_spawn(pid, b->helper, &files, &attr, argv, environ);
	posix_spawn_file_actions_destroy(&files);
	posix_spawnattr_destroy(&attr);
	if (!r)
		return 0;
	errno = r;
	err_errno(err, "helper=%s can't be run", b->helper);
	return err_hint(err, "(install vireo, or helper=PATH)");
}

/* The file descriptor that came with the byte, or -errno: -ENOMSG if none did. */
static int bridge_take_fd(int s)
{
	char byte, control[CMSG_SPACE(sizeof(int))] __attribute__((aligned(8)));
	struct iovec iov = {&byte, 1};
	struct msghdr msg = {.msg_iov = &iov,
			     .msg_iovlen = 1,
			     .msg_control = control,
			     .msg_controllen = sizeof(control)};
	const struct cmsghdr *c;
	ssize_t n;
	int fd;

	do
		n = recvmsg(s, &msg, MSG_CMSG_CLOEXEC);
	while (n < 0 && errno == EINTR);
	if (n < 0)
		return -errno;
	c = CMSG_FIRSTHDR(&msg);
	if (!n || !c || c->cmsg_level != SOL_SOCKET || c->cmsg_type != SCM_RIGHTS ||
	    c->cmsg_len != CMSG_LEN(sizeof(fd)))
		return -ENOMSG;
	memcpy(&fd, CMSG_DATA(c), sizeof(fd));
	return fd;
}

/* What the helper said, its last line, without its own name in front. */
static const char *bridge_words(int out, char *text, size_t size)
{
	ssize_t n = read(out, text, size - 1);
	char *line;

	text[n > 0 ? n : 0] = 0;
	while (n > 0 && text[n - 1] == '\n')
		text[--n] = 0;
	line = strrchr(text, '\n');
	return line ? line + 1 : text;
}

/* Waits for the answer, and for the helper's end; returns the file descriptor or -errno. */
static int bridge_answer(const struct bridge *b, int s, int out, pid_t pid, struct err *err)
{
	struct pollfd p = {.fd = s, .events = POLLIN};
	uint64_t deadline = loop_now_ns() + HELPER_WAIT_S * UINT64_C(1000000000);
	char text[400];
	const char *words;
	int fd, status = 0, r;

	do
		r = poll(&p, 1, (int)((deadline - loop_now_ns()) / 1000000));
	while (r < 0 && errno == EINTR && loop_now_ns() < deadline);
	if (r <= 0)
		kill(pid, SIGKILL);
	fd = r > 0 ? bridge_take_fd(s) : -ETIMEDOUT;
	while (waitpid(pid, &status, 0) < 0 && errno == EINTR)
		;
	if (fd >= 0)
		return fd;
	if (fd == -ETIMEDOUT)
		return err_set(err, fd, "helper=%s: no answer in %d s", b->helper, HELPER_WAIT_S);
	words = bridge_words(out, text, sizeof(text));
	if (*words)
		return err_set(err, -EACCES, "%s", words);
	if (WIFSIGNALED(status))
		return err_set(err, -EIO, "helper=%s was ended by signal %d", b->helper,
			       WTERMSIG(status));
	return err_set(err, -EIO, "helper=%s ended with status %d and sent no TAP", b->helper,
		       WEXITSTATUS(status));
}

static int bridge_call(const struct bridge *b, bool vnet, struct err *err)
{
	int s[2] = {-1, -1}, out[2] = {-1, -1}, fd = -1;
	pid_t pid;

	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, s) || pipe2(out, O_CLOEXEC)) {
		fd = err_errno(err, "a socket to the helper");
		goto end;
	}
	fd = bridge_spawn(b, s[1], out[1], vnet, &pid, err);
	/* Its end of these is now its own, so that its end ends them. */
	close(s[1]);
	close(out[1]);
	s[1] = out[1] = -1;
	if (!fd)
		fd = bridge_answer(b, s[0], out[0], pid, err);
end:
	for (int i = 0; i < 2; i++) {
		if (s[i] >= 0)
			close(s[i]);
		if (out[i] >= 0)
			close(out[i]);
	}
	return fd;
}

static int bridge_check(struct bridge *b, bool *vnet, struct err *err)
{
	int fd, r = tap_check_common(&b->tap, err);
	bool can = true;

	if (r)
		return r;
	if (!*b->tap.br || strlen(b->tap.br) >= IFNAMSIZ)
		return err_set(err, -ENAMETOOLONG,
			       "br=%s: the name of an interface has 1 to 15 characters", b->tap.br);
	if (b->tap.queues > 1)
		return err_set(
			err, -ENOTSUP,
			"queues=%u: the helper makes TAPs of one queue (queues=1, or -netdev "
			"tap,br=)",
			b->tap.queues);
	/* Who may not open it doesn't know; all kernels of the last decade have it. */
	fd = tapdev_open_control(NULL);
	if (fd >= 0) {
		can = tapdev_has_vnet_hdr(fd);
		close(fd);
	}
	if (b->tap.vnet_hdr == OPT_ON && !can)
		return err_set(err, -ENOTSUP,
			       "vnet_hdr=on: this host's TAP has no IFF_VNET_HDR (vnet_hdr=off)");
	*vnet = can && b->tap.vnet_hdr != OPT_OFF;
	return 0;
}

static int bridge_open(struct net_backend *net, struct err *err)
{
	struct bridge *b = (struct bridge *)net;
	bool vnet = false;
	int r, fd;

	b->tap.dev.fd = -1;
	r = bridge_check(b, &vnet, err);
	if (r)
		return r;
	fd = bridge_call(b, vnet, err);
	if (fd < 0)
		return fd;
	r = tapdev_adopt(&b->tap.dev, fd, err);
	if (r) {
		close(fd);
		return err_prefix(err, "helper=%s sent something else than a TAP", b->helper);
	}
	/* It has been put into the bridge already, and goes with its file descriptor. */
	b->tap.bridged = b->tap.dev.created = true;
	return tap_start(&b->tap, err);
}

static const struct net_backend_ops bridge_ops = {
	.name = "bridge",
	.help = "a TAP in a bridge, made by a helper program: for ordinary users",
	.opts = bridge_opts,
	.size = sizeof(struct bridge),
	.open = bridge_open,
	.close = tap_close,
	.info = tap_info,
	TAP_COMMON_OPS,
};
NET_BACKEND(bridge_ops);
