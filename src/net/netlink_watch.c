/*
 * What becomes of an interface while vireo runs: changes, told by the kernel (RTNLGRP_LINK), and a guard
 * process that deletes it when vireo is gone.
 *
 * Whoever watches is told of what is so, never of what was: a message is only a reason to ask the
 * kernel. Messages may be lost (ENOBUFS) or be old when they are read.
 */
#include <errno.h>
#include <fcntl.h>
#include <libmnl/libmnl.h>
#include <linux/rtnetlink.h>
#include <pthread.h>
#include <signal.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "net/netlink_impl.h"

/* Messages taken at most before others of the loop get their turn. */
#define WATCH_MAX 64

static void watch_ask(struct netlink_watch *w)
{
	struct netlink_link link;
	struct err err = {0};

	if (!netlink_get(NULL, w->index, &link, &err))
		w->changed(w, &link);
	else if (err.code == -ENODEV)
		w->changed(w, NULL);
}

/* Is there a message about the interface among these? */
static bool watch_concerns(const struct netlink_watch *w, const struct nlmsghdr *nlh, ssize_t left)
{
	int n = (int)left;

	for (; mnl_nlmsg_ok(nlh, n); nlh = mnl_nlmsg_next(nlh, &n)) {
		const struct ifinfomsg *ifi = mnl_nlmsg_get_payload(nlh);

		/* the answer to netlink_watch()'s question: there is none */
		if (nlh->nlmsg_type == NLMSG_ERROR)
			return true;
		if (mnl_nlmsg_get_payload_len(nlh) >= sizeof(*ifi) && ifi->ifi_index == w->index)
			return true;
	}
	return false;
}

static void watch_ready(struct loop_fd *lf, uint32_t events)
{
	struct netlink_watch *w = lf->opaque;
	uint8_t buf[32768] __attribute__((aligned(NLMSG_ALIGNTO)));
	bool news = false;

	for (int i = 0; i < WATCH_MAX; i++) {
		struct sockaddr_nl from = {.nl_pid = 1};
		socklen_t len = sizeof(from);
		ssize_t n = recvfrom(lf->fd, buf, sizeof(buf), 0, (struct sockaddr *)&from, &len);

		if (n < 0 && errno == ENOBUFS)
			news = true;
		else if (n < 0 && errno != EINTR)
			break;
		else if (n > 0 && !from.nl_pid)
			news |= watch_concerns(w, (struct nlmsghdr *)buf, n);
	}
	if (news)
		watch_ask(w);
}

int netlink_watch(struct netlink_watch *w, struct loop *control, struct err *err)
{
	struct sockaddr_nl groups = {.nl_family = AF_NETLINK, .nl_groups = RTMGRP_LINK};
	struct {
		struct nlmsghdr nlh;
		struct ifinfomsg ifi;
	} ask = {.nlh = {.nlmsg_len = sizeof(ask),
			 .nlmsg_type = RTM_GETLINK,
			 .nlmsg_flags = NLM_F_REQUEST},
		 .ifi = {.ifi_family = AF_UNSPEC, .ifi_index = w->index}};
	int fd = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC | SOCK_NONBLOCK, NETLINK_ROUTE);
	int r = fd < 0 || bind(fd, (struct sockaddr *)&groups, sizeof(groups)) ? -errno : 0;

	/* The answer makes for the first call of changed(). */
	if (!r && send(fd, &ask, sizeof(ask), 0) < 0)
		r = -errno;
	w->lf = (struct loop_fd){.ready = watch_ready, .opaque = w, .fd = fd};
	if (!r)
		r = loop_fd_add(control, &w->lf, EPOLLIN);
	if (!r)
		return 0;
	if (fd >= 0)
		close(fd);
	w->lf.opaque = NULL;
	errno = -r;
	return err_errno(err, "netlink");
}

void netlink_unwatch(struct netlink_watch *w)
{
	if (!w->lf.opaque)
		return;
	loop_fd_del(&w->lf);
	close(w->lf.fd);
	w->lf.opaque = NULL;
}

/* ---- the guard ---- */

/* The child of a program with threads: async-signal-safe functions only. */
static void __attribute__((noreturn))
guard_main(int pipe_fd, int netlink_fd, const void *message, size_t len)
{
	char byte;
	ssize_t n;

	prctl(PR_SET_NAME, "vireo-macvtap");
	setsid();
	/* Neither of them may be 0 or 1 itself when these are replaced. */
	pipe_fd = fcntl(pipe_fd, F_DUPFD, 3);
	netlink_fd = fcntl(netlink_fd, F_DUPFD, 3);
	if (dup2(pipe_fd, 0) < 0 || dup2(netlink_fd, 1) < 0 || close_range(2, ~0u, 0) < 0)
		_exit(1);
	/* End of file: the process is gone, and with it the other end of the pipe. */
	do
		n = read(0, &byte, 1);
	while (n < 0 && errno == EINTR);
	if (n == 0)
		send(1, message, len, 0);
	_exit(0);
}

int netlink_guard_start(struct netlink_guard *guard, int index, struct err *err)
{
	uint8_t message[64] __attribute__((aligned(NLMSG_ALIGNTO)));
	size_t len = netlink_put_delete(message, index);
	int s = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_ROUTE);
	sigset_t all, old;
	int fds[2];

	*guard = (struct netlink_guard){0};
	if (s < 0)
		return err_errno(err, "netlink");
	if (pipe2(fds, O_CLOEXEC) < 0) {
		err_errno(err, "a pipe");
		close(s);
		return err ? err->code : -EMFILE;
	}
	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &old);
	guard->pid = fork();
	if (guard->pid == 0)
		guard_main(fds[0], s, message, len);
	pthread_sigmask(SIG_SETMASK, &old, NULL);
	close(fds[0]);
	close(s);
	guard->pipe = fds[1];
	if (guard->pid < 0) {
		err_errno(err, "a guard process");
		close(fds[1]);
		guard->pid = 0;
		return err ? err->code : -EAGAIN;
	}
	return 0;
}

void netlink_guard_end(struct netlink_guard *guard)
{
	if (!guard->pid)
		return;
	if (write(guard->pipe, "", 1) < 0)
		kill(guard->pid, SIGKILL);
	close(guard->pipe);
	while (waitpid(guard->pid, NULL, 0) < 0 && errno == EINTR)
		;
	guard->pid = 0;
}
