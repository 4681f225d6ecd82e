/*
 * The stdio back end, the terminal's modes, and the mux: src/char/stdio.c, terminal.c, mux.c.
 *
 * Each test puts something in the place of descriptors 0 and 1; the teardown puts them back.
 */
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <termios.h>
#include <unistd.h>

#include <cmocka.h>

#include "char_user.h"

static struct loop *loop;
static struct err err;
static int saved[2];
static char big[1 << 18];

static int setup(void **state)
{
	fflush(stdout);
	saved[0] = dup(0);
	saved[1] = dup(1);
	return loop_create(&loop, "test", 0, &err);
}

static int teardown(void **state)
{
	dup2(saved[0], 0);
	dup2(saved[1], 1);
	close(saved[0]);
	close(saved[1]);
	loop_destroy(loop);
	return 0;
}

/* Takes fd over as descriptor 0 or 1. */
static void become(int fd, int as)
{
	assert_true(fd >= 0);
	dup2(fd, as);
	close(fd);
}

static struct char_backend *make(struct user *u)
{
	struct char_backend *chr = user_make(loop, "stdio", &err);

	assert_non_null(chr);
	user_attach(u, chr);
	assert_int_equal(u->opened, 1);
	return chr;
}

/* ---- pipes, sockets, files ---- */

static void test_pipes(void **state)
{
	struct user u = {0};
	struct char_backend *chr;
	int in[2], out[2];
	char buf[8] = "";

	assert_int_equal(pipe(in) | pipe(out), 0);
	become(in[0], 0);
	become(out[1], 1);
	chr = make(&u);
	assert_string_equal(char_describe(chr), "stdio");
	assert_int_equal(write(in[1], "abc", 3), 3);
	user_run(loop, 5);
	assert_string_equal(u.got, "abc");
	assert_int_equal(char_write(chr, "xyz", 3), 3);
	assert_int_equal(read(out[0], buf, sizeof(buf)), 3);
	assert_string_equal(buf, "xyz");
	/* the shared descriptions are as they were */
	assert_int_equal(fcntl(0, F_GETFL) & O_NONBLOCK, 0);
	assert_int_equal(fcntl(1, F_GETFL) & O_NONBLOCK, 0);
	/* the end of the input: output goes on, and nothing spins */
	close(in[1]);
	user_run(loop, 5);
	assert_int_equal(u.opened, 1);
	assert_int_equal(char_write(chr, "xyz", 3), 3);
	assert_true(loop_stats(loop).wakeups < 10);
	/* the end of the output */
	close(out[0]);
	assert_int_equal(char_write(chr, "lost", 4), 4);
	user_run(loop, 5);
	assert_int_equal(char_write(chr, "lost", 4), 4);
	assert_int_equal(counter_get(&char_counters(chr)->dropped), 8);
	assert_true(loop_stats(loop).wakeups < 20);
	char_destroy(chr);
}

/* A reader that doesn't read: back-pressure, then it goes away. */
static void test_pipe_full(void **state)
{
	struct user u = {0};
	struct char_backend *chr;
	int out[2];
	size_t n;

	assert_int_equal(pipe(out), 0);
	become(open("/dev/null", O_RDONLY), 0);
	become(out[1], 1);
	chr = make(&u);
	n = char_write(chr, big, sizeof(big));
	assert_true(n >= 4096 && n < sizeof(big));
	user_run(loop, 5);
	assert_int_equal(u.writable, 0);
	assert_int_equal(read(out[0], big, 8192), 8192);
	user_run(loop, 5);
	assert_int_equal(u.writable, 1);
	while (char_write(chr, big, sizeof(big)))
		;
	close(out[0]);
	user_run(loop, 5);
	assert_int_equal(u.writable, 2);
	assert_int_equal(char_write(chr, big, 9), 9);
	assert_true(loop_stats(loop).wakeups < 20);
	char_destroy(chr);
}

/* Descriptors that can't be opened again: sockets, here with nobody reading either. */
static void test_sockets(void **state)
{
	struct user u = {0};
	struct char_backend *chr;
	int sv[2];
	size_t n;

	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, sv), 0);
	become(dup(sv[0]), 0);
	become(sv[0], 1);
	chr = make(&u);
	assert_int_equal(write(sv[1], "abc", 3), 3);
	user_run(loop, 5);
	assert_string_equal(u.got, "abc");
	n = char_write(chr, big, sizeof(big) - 1);
	while (n < sizeof(big) - 1 && char_write(chr, big, 1))
		n++;
	assert_int_equal(fcntl(1, F_GETFL) & O_NONBLOCK, 0);
	close(sv[1]);
	user_run(loop, 5);
	assert_int_equal(char_write(chr, big, 9), 9);
	char_destroy(chr);
}

static void test_files(void **state)
{
	struct user u = {.limit = 1000};
	struct char_backend *chr;
	char name[] = "/tmp/test_char.XXXXXX";
	int fd = mkstemp(name);

	memset(big, 'f', 20000);
	assert_int_equal(write(fd, big, 20000), 20000);
	lseek(fd, 0, SEEK_SET);
	become(fd, 0);
	become(open("/dev/full", O_WRONLY), 1);
	chr = make(&u);
	user_run(loop, 5);
	assert_int_equal(u.got_len, 1000);
	u.limit = 0;
	char_accept(chr);
	user_run(loop, 20);
	assert_int_equal(u.got_len, 20000);
	assert_int_equal(char_write(chr, "abc", 3), 3);
	assert_int_equal(counter_get(&char_counters(chr)->dropped), 3);
	char_destroy(chr);
	unlink(name);
}

static void test_dev_null(void **state)
{
	struct user u = {0};
	struct char_backend *chr;
	uint64_t before;

	become(open("/dev/null", O_RDONLY), 0);
	become(open("/dev/null", O_WRONLY), 1);
	chr = make(&u);
	user_run(loop, 5);
	assert_int_equal(u.inputs, 0);
	before = loop_stats(loop).wakeups;
	user_run(loop, 30);
	assert_true(loop_stats(loop).wakeups - before <= 3);
	assert_int_equal(char_write(chr, "abc", 3), 3);
	char_destroy(chr);
}

static void test_closed(void **state)
{
	close(0);
	assert_null(user_make(loop, "stdio", &err));
	assert_string_equal(err.msg, "-chardev stdio: standard input: Bad file descriptor");
}

static void test_two_users(void **state)
{
	struct user u = {0};
	struct char_backend *chr;
	int in[2];

	assert_int_equal(pipe(in), 0);
	become(in[0], 0);
	chr = make(&u);
	user_run(loop, 1);
	assert_null(user_make(loop, "stdio", &err));
	assert_string_equal(err.msg, "-chardev stdio: standard input has another user already");
	char_destroy(chr);
	close(in[1]);
}

/* ---- terminals ---- */

/* A pseudo-terminal in the place of 0 and 1; the master. */
static int tty(void)
{
	int master = posix_openpt(O_RDWR | O_NOCTTY | O_CLOEXEC);
	int slave;

	assert_true(master >= 0);
	assert_int_equal(grantpt(master) | unlockpt(master), 0);
	slave = open(ptsname(master), O_RDWR | O_NOCTTY);
	become(dup(slave), 0);
	become(slave, 1);
	return master;
}

static bool is_raw(void)
{
	struct termios t;

	assert_int_equal(tcgetattr(0, &t), 0);
	return !(t.c_lflag & ICANON);
}

static void test_tty(void **state)
{
	struct user u = {0};
	struct char_backend *chr;
	struct termios before, raw, after;
	char buf[16] = "";
	int master = tty();
	size_t n;

	tcgetattr(0, &before);
	chr = make(&u);
	tcgetattr(0, &raw);
	assert_int_equal(raw.c_lflag & (ICANON | ECHO), 0);
	assert_int_equal(raw.c_lflag & ISIG, ISIG);
	assert_int_equal(raw.c_oflag, before.c_oflag);
	assert_int_equal(write(master, "k\r", 2), 2);
	user_run(loop, 5);
	assert_string_equal(u.got, "k\r");
	assert_int_equal(char_write(chr, "o", 1), 1);
	assert_int_equal(read(master, buf, sizeof(buf)), 1);
	assert_string_equal(buf, "o");
	n = char_write(chr, big, sizeof(big)); /* nobody reads: doesn't block */
	assert_true(n < sizeof(big));
	assert_int_equal(fcntl(0, F_GETFL) & O_NONBLOCK, 0);
	char_destroy(chr);
	tcgetattr(0, &after);
	assert_memory_equal(&before, &after, offsetof(struct termios, c_cc) + sizeof(after.c_cc));
	close(master);
}

static void test_tty_no_signals(void **state)
{
	struct char_backend *chr;
	struct termios t;
	int master = tty();

	chr = user_make(loop, "stdio,signal=off", &err);
	assert_non_null(chr);
	tcgetattr(0, &t);
	assert_int_equal(t.c_lflag & ISIG, 0);
	char_destroy(chr);
	assert_false(is_raw());
	close(master);
}

/* Killed in the hardest way: the guard gives the terminal back. */
static void test_tty_killed(void **state)
{
	int master = tty();
	int ready[2];
	pid_t pid;
	char byte;

	assert_int_equal(pipe(ready), 0);
	assert_false(is_raw());
	pid = fork();
	if (pid == 0) {
		struct user u = {0};
		ssize_t n;

		make(&u);
		n = write(ready[1], "", 1);
		(void)n;
		pause();
		_exit(0);
	}
	assert_int_equal(read(ready[0], &byte, 1), 1);
	assert_true(is_raw());
	kill(pid, SIGKILL);
	waitpid(pid, NULL, 0);
	for (int i = 0; i < 2000 && is_raw(); i++)
		usleep(1000);
	assert_false(is_raw());
	close(ready[0]);
	close(ready[1]);
	close(master);
}

/* ---- mux ---- */

struct muxed {
	struct char_backend *console, *monitor;
	struct user uc, um;
	int in, out; /* the terminal's other side */
	int quits;
};

static void count_quit(void *opaque)
{
	((struct muxed *)opaque)->quits++;
}

static int mux_setup(void **state)
{
	struct muxed *m = calloc(1, sizeof(*m));
	struct char_backend *chr;
	int in[2], out[2];

	setup(NULL);
	assert_int_equal(pipe(in) | pipe(out), 0);
	become(in[0], 0);
	become(out[1], 1);
	m->in = in[1];
	m->out = out[0];
	fcntl(m->out, F_SETFL, O_NONBLOCK);
	chr = user_make(loop, "stdio,id=t", &err);
	assert_non_null(chr);
	assert_int_equal(char_mux(chr, count_quit, m, &m->console, &m->monitor, &err), 0);
	assert_int_equal(char_mux(chr, NULL, NULL, &chr, &chr, &err), -EBUSY);
	user_attach(&m->uc, m->console);
	user_attach(&m->um, m->monitor);
	*state = m;
	return 0;
}

static int mux_teardown(void **state)
{
	struct muxed *m = *state;

	char_destroy(m->console);
	close(m->in);
	close(m->out);
	free(m);
	return teardown(NULL);
}

static void type(struct muxed *m, const char *keys)
{
	assert_int_equal(write(m->in, keys, strlen(keys)), strlen(keys));
	user_run(loop, 5);
}

static void test_mux_keys(void **state)
{
	struct muxed *m = *state;
	char buf[512] = "";

	assert_true(m->uc.opened);
	assert_false(m->um.opened);
	assert_string_equal(char_describe(m->console), "stdio");
	type(m, "ab\x01\x01"
		"c\x01"
		"ad\x01zxe");
	assert_string_equal(m->uc.got, "ab\x01"
				       "c\x01"
				       "dxe");
	assert_int_equal(m->quits, 0);
	type(m, "\x01");
	type(m, "h");
	assert_true(read(m->out, buf, sizeof(buf)) > 0);
	assert_non_null(strstr(buf, "Ctrl-a x       quit vireo\r\n"));
	type(m, "\x01xf");
	assert_int_equal(m->quits, 1);
	assert_string_equal(m->uc.got + 8, "f");
}

static void test_mux_switch(void **state)
{
	struct muxed *m = *state;
	char buf[64] = "";

	assert_int_equal(char_write(m->monitor, "lost", 4), 4);
	type(m, "a\x01"
		"cb\x01"
		"cc");
	assert_string_equal(m->uc.got, "ac");
	assert_string_equal(m->um.got, "b");
	assert_int_equal(m->um.opens, 2);
	assert_true(m->uc.opened);
	assert_int_equal(read(m->out, buf, sizeof(buf)), 2); /* the line that a switch begins */
	type(m, "\x01"
		"c");
	assert_true(m->um.opened);
	assert_int_equal(char_write(m->monitor, "m", 1), 1);
	assert_int_equal(char_write(m->console, "c", 1), 1);
	assert_int_equal(read(m->out, buf, sizeof(buf)), 4);
	assert_memory_equal(buf, "\r\nmc", 4);
	assert_int_equal(counter_get(&char_counters(m->monitor)->dropped), 4);
}

/* A guest that doesn't read its port: the keys work, and nothing is lost. */
static void test_mux_stuck(void **state)
{
	struct muxed *m = *state;

	m->uc.limit = SIZE_MAX;
	memset(big, 'k', 3000);
	big[3000] = '\0';
	type(m, big);
	type(m, "\x01x");
	assert_int_equal(m->quits, 1);
	type(m, "\x01"
		"cm\x01"
		"c");
	assert_string_equal(m->um.got, "m");
	type(m, big); /* more than is held: waits in the pipe */
	type(m, big);
	type(m, "end");
	assert_int_equal(m->uc.got_len, 0);
	m->uc.limit = 0;
	char_accept(m->console);
	user_run(loop, 10);
	assert_int_equal(m->uc.got_len, 9003);
	assert_string_equal(m->uc.got + 9000, "end");
	assert_int_equal(counter_get(&char_counters(m->console)->dropped), 0);
}

static void test_mux_full(void **state)
{
	struct muxed *m = *state;

	type(m, "\x01"
		"c");
	while (char_write(m->console, big, sizeof(big)))
		;
	assert_int_equal(char_write(m->monitor, big, 1), 0);
	while (read(m->out, big, sizeof(big)) > 0)
		;
	user_run(loop, 5);
	assert_int_equal(m->uc.writable, 1);
	assert_int_equal(m->um.writable, 1);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_pipes, setup, teardown),
		cmocka_unit_test_setup_teardown(test_pipe_full, setup, teardown),
		cmocka_unit_test_setup_teardown(test_sockets, setup, teardown),
		cmocka_unit_test_setup_teardown(test_files, setup, teardown),
		cmocka_unit_test_setup_teardown(test_dev_null, setup, teardown),
		cmocka_unit_test_setup_teardown(test_closed, setup, teardown),
		cmocka_unit_test_setup_teardown(test_two_users, setup, teardown),
		cmocka_unit_test_setup_teardown(test_tty, setup, teardown),
		cmocka_unit_test_setup_teardown(test_tty_no_signals, setup, teardown),
		cmocka_unit_test_setup_teardown(test_tty_killed, setup, teardown),
		cmocka_unit_test_setup_teardown(test_mux_keys, mux_setup, mux_teardown),
		cmocka_unit_test_setup_teardown(test_mux_switch, mux_setup, mux_teardown),
		cmocka_unit_test_setup_teardown(test_mux_stuck, mux_setup, mux_teardown),
		cmocka_unit_test_setup_teardown(test_mux_full, mux_setup, mux_teardown),
	};

	signal(SIGPIPE, SIG_IGN);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
