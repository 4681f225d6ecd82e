/*
 * The program: from argv to a running machine and back.
 *
 * Signals: SIGINT, SIGTERM and SIGHUP are blocked before any thread exists and read from a signalfd
 * on the control loop, so that every end of vireo takes the same way out (terminal given back,
 * sockets and TAPs removed). While the machine is made nobody reads it: what waits for long then
 * (char/socket.c) lets them through, and fails with EINTR.
 */
#include "ctl/ctl.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/signalfd.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/log.h"
#include "ctl/cmdline.h"
#include "ctl/monitor.h"
#include "ctl/probe_cmd.h"
#include "machine/machine.h"

struct session { /* one run of one VM */
	struct cmdline cl;
	struct machine *machine;
	struct monitor *monitor[CMDLINE_MONITORS_MAX];
	unsigned int n_monitors;
	struct loop_fd signals;
	int ready_fd;	  /* -daemonize: the parent waits on its other end; -1 = none */
	bool has_pidfile; /* it is ours: remove it at the end */
};

/* Descriptors 0 to 2 are somebody's, whoever started us: else the first thing that is opened would
 * be taken for standard output. */
static int fill_standard_fds(void)
{
	/* open() takes the lowest number that is free. */
	for (int fd = 0; fd <= STDERR_FILENO; fd++)
		if (fcntl(fd, F_GETFD) < 0 && open("/dev/null", O_RDWR) < 0)
			return -errno;
	return 0;
}

/* ---- signals ---- */

static void interrupt(int sig)
{
}

static void signal_ready(struct loop_fd *lf, uint32_t events)
{
	struct session *s = lf->opaque;
	struct signalfd_siginfo info;

	if (read(lf->fd, &info, sizeof(info)) != sizeof(info))
		return;
	if (info.ssi_signo != SIGINT)
		log_warn("ending on signal %d from process %d", (int)info.ssi_signo,
			 (int)info.ssi_pid);
	machine_quit(s->machine, 0);
}

static void block_signals(sigset_t *set)
{
	static const int ends[] = {SIGINT, SIGTERM, SIGHUP};
	struct sigaction sa = {.sa_handler = interrupt}, old;

	sigemptyset(set);
	for (size_t i = 0; i < sizeof(ends) / sizeof(ends[0]); i++) {
		sigaddset(set, ends[i]);
		sigaction(ends[i], &sa, &old);
		if (old.sa_handler == SIG_IGN) /* nohup */
			sigaction(ends[i], &old, NULL);
	}
	sigprocmask(SIG_BLOCK, set, NULL);
	signal(SIGPIPE, SIG_IGN); /* a peer that goes away is an error of write(2) */
	signal(SIGXFSZ, SIG_IGN); /* as is a file that may not grow */
}

static int watch_signals(struct session *s, const sigset_t *set, struct err *err)
{
	s->signals.ready = signal_ready;
	s->signals.opaque = s;
	s->signals.fd = signalfd(-1, set, SFD_CLOEXEC | SFD_NONBLOCK);
	if (s->signals.fd < 0)
		return err_errno(err, "signalfd");
	return loop_fd_add(machine_loop(s->machine), &s->signals, EPOLLIN);
}

/* ---- -daemonize, -pidfile ---- */

/* Forks; returns in the child. The parent waits for the child's word that the VM is made, and
 * exits; or a signal (of set) ends it, and the child finds that out when it has the VM. */
static int go_background(struct session *s, const sigset_t *set, struct err *err)
{
	int fds[2];
	char ok = 0;
	pid_t pid;

	if (pipe2(fds, O_CLOEXEC) < 0)
		return err_errno(err, "-daemonize: pipe");
	fflush(NULL);
	pid = fork();
	if (pid < 0)
		return err_errno(err, "-daemonize: fork");
	if (pid > 0) {
		close(fds[1]);
		sigprocmask(SIG_UNBLOCK, set, NULL);
		_exit(read(fds[0], &ok, 1) == 1 ? 0 : 1);
	}
	close(fds[0]);
	s->ready_fd = fds[1];
	setsid();
	return 0;
}

/* The VM is made: lets go of the folder, the parent and the terminal. */
static int tell_parent(struct session *s, struct err *err)
{
	char ok = 1;
	int null;

	if (s->ready_fd < 0)
		return 0;
	null = open("/dev/null", O_RDWR | O_CLOEXEC);
	if (null < 0 || chdir("/") < 0 || write(s->ready_fd, &ok, 1) != 1)
		return err_errno(err, "-daemonize");
	for (int fd = 0; fd <= STDERR_FILENO; fd++)
		dup2(null, fd);
	close(null);
	close(s->ready_fd);
	return 0;
}

static int write_pidfile(struct session *s, struct err *err)
{
	char text[32], *full;
	struct stat st;
	int n, fd;

	if (!s->cl.pidfile)
		return 0;
	fd = open(s->cl.pidfile, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
	if (fd < 0)
		return err_errno(err, "-pidfile %s", s->cl.pidfile);
	/* Something like /dev/stdout is not ours to remove. */
	s->has_pidfile = fstat(fd, &st) == 0 && S_ISREG(st.st_mode);
	n = snprintf(text, sizeof(text), "%d\n", (int)getpid());
	errno = ENOSPC; /* of a short write */
	if (write(fd, text, n) != n) {
		err_errno(err, "-pidfile %s", s->cl.pidfile);
		close(fd);
		return err->code;
	}
	close(fd);
	/* -daemonize leaves for the root folder; the file is removed by its full name. */
	full = realpath(s->cl.pidfile, NULL);
	if (full) {
		free(s->cl.pidfile);
		s->cl.pidfile = full;
	}
	return 0;
}

/* ---- a run ---- */

static int start_monitors(struct session *s, struct err *err)
{
	for (unsigned int i = 0; i < s->cl.n_monitors; i++) {
		struct char_backend *chr = machine_monitor_char(s->machine, s->cl.monitors[i], err);

		if (!chr)
			return err_prefix(err, "-monitor");
		if (monitor_create(&s->monitor[s->n_monitors], s->machine, chr, err) < 0)
			return err->code;
		s->n_monitors++;
	}
	return 0;
}

static int run(struct session *s, struct err *err)
{
	sigset_t set;
	int rc = 0;

	block_signals(&set);
	if (s->cl.process_name)
		prctl(PR_SET_NAME, s->cl.process_name);
	if (s->cl.daemonize)
		rc = go_background(s, &set, err);
	if (rc == 0)
		rc = machine_create(&s->machine, &s->cl.vm, err);
	if (rc == 0)
		rc = watch_signals(s, &set, err);
	if (rc == 0)
		rc = start_monitors(s, err);
	if (rc == 0)
		rc = write_pidfile(s, err);
	if (rc == 0)
		rc = tell_parent(s, err);
	return rc < 0 ? rc : machine_run(s->machine);
}

static void clean_up(struct session *s)
{
	for (unsigned int i = 0; i < s->n_monitors; i++)
		monitor_destroy(s->monitor[i]);
	if (s->signals.loop)
		loop_fd_del(&s->signals);
	if (s->signals.fd > 0)
		close(s->signals.fd);
	machine_destroy(s->machine);
	if (s->has_pidfile)
		unlink(s->cl.pidfile);
	cmdline_free(&s->cl);
}

int ctl_main(int argc, char **argv)
{
	struct session s = {.ready_fd = -1};
	struct err err = {0};
	int status = fill_standard_fds();

	if (status < 0)
		return 1; /* and nowhere to say why */
	if (argc > 1 && !strcmp(argv[1], "probe"))
		return probe_main(argc - 1, argv + 1);
	status = cmdline_parse(&s.cl, argc, argv, &err);
	if (status == 0 && !s.cl.done)
		status = run(&s, &err);
	clean_up(&s);
	if (status < 0) {
		log_warn("%s", err.msg);
		return 1;
	}
	return status;
}
