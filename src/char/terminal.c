/*
 * A terminal in raw mode that is given back as it was, whatever ends the process.
 *
 * An ordinary end goes through terminal_give_back(). For a signal, an abort or a SIGKILL there is a
 * guard: a child process that does nothing but read from a pipe. The write end of the pipe is in
 * this process alone (close-on-exec), so end of file means that the process is gone: then the
 * guard puts the old modes back. It does so only if the modes are still the raw ones: a shell may
 * have been faster, and have its own line editor running by then.
 *
 * The guard blocks all signals (a Ctrl-C or a hang-up reaches the whole process group; and a
 * background process may set modes only with SIGTTOU blocked, tcsetattr(3)), keeps no other
 * descriptor open, and, as the child of a program with threads, calls only async-signal-safe
 * functions.
 *
 * What it does not do: take the terminal again after a stop and a continue.
 */
#include "char/terminal.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

static bool same_modes(const struct termios *a, const struct termios *b)
{
	return a->c_iflag == b->c_iflag && a->c_oflag == b->c_oflag && a->c_cflag == b->c_cflag &&
	       a->c_lflag == b->c_lflag && !memcmp(a->c_cc, b->c_cc, sizeof(a->c_cc));
}

static void __attribute__((noreturn)) guard_main(const struct terminal *t, int pipe_fd)
{
	struct termios now;
	char byte;

	prctl(PR_SET_NAME, "vireo-terminal");
	if (dup2(t->fd, 0) < 0 || dup2(pipe_fd, 1) < 0 || close_range(2, ~0u, 0) < 0)
		_exit(1);
	if (read(1, &byte, 1) == 0 && tcgetattr(0, &now) == 0 && same_modes(&now, &t->raw))
		tcsetattr(0, TCSANOW, &t->before);
	_exit(0);
}

/* Without a guard (no process to be had) the terminal is used all the same. */
static void guard_start(struct terminal *t)
{
	sigset_t all, old;
	int fds[2];

	if (pipe2(fds, O_CLOEXEC) < 0)
		return;
	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &old);
	t->guard = fork();
	if (t->guard == 0)
		guard_main(t, fds[0]);
	pthread_sigmask(SIG_SETMASK, &old, NULL);
	close(fds[0]);
	t->guard_pipe = fds[1];
	if (t->guard < 0) {
		close(fds[1]);
		t->guard = 0;
	}
}

int terminal_take(struct terminal *t, int fd, bool signals, struct err *err)
{
	struct termios raw;

	memset(t, 0, sizeof(*t));
	t->fd = fd;
	if (tcgetattr(fd, &t->before) < 0)
		return err_errno(err, "can't read the terminal's modes");
	raw = t->before;
	/* OPOST stays as it was: our own messages go to the same terminal. */
	raw.c_iflag &= ~(IGNBRK | BRKINT | PARMRK | ISTRIP | INLCR | IGNCR | ICRNL | IXON);
	raw.c_lflag &= ~(ECHO | ECHONL | ICANON | IEXTEN);
	if (!signals)
		raw.c_lflag &= ~ISIG;
	raw.c_cflag &= ~(CSIZE | PARENB);
	raw.c_cflag |= CS8;
	raw.c_cc[VMIN] = 1;
	raw.c_cc[VTIME] = 0;
	if (tcsetattr(fd, TCSANOW, &raw) < 0)
		return err_errno(err, "can't set the terminal's modes");
	/* What it made of them is what the guard compares with. */
	if (tcgetattr(fd, &t->raw) < 0)
		t->raw = raw;
	t->taken = true;
	guard_start(t);
	return 0;
}

void terminal_give_back(struct terminal *t)
{
	if (!t->taken)
		return;
	t->taken = false;
	tcsetattr(t->fd, TCSANOW, &t->before);
	if (!t->guard)
		return;
	if (write(t->guard_pipe, "", 1) < 0)
		kill(t->guard, SIGKILL);
	close(t->guard_pipe);
	while (waitpid(t->guard, NULL, 0) < 0 && errno == EINTR)
		;
	t->guard = 0;
}
