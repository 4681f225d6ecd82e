/* Character back ends: file, socket, pty, null, the short forms, and the mux: src/char/. */
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
#include <sys/stat.h>
#include <sys/un.h>
#include <termios.h>
#include <unistd.h>

#include <cmocka.h>

#include "char_user.h"

static struct loop *loop;
static char dir[] = "/tmp/test_char.XXXXXX";
static char path[128];
static struct err err;
static char big[1 << 20];

static int setup(void **state)
{
	snprintf(path, sizeof(path), "%s/x", dir);
	return loop_create(&loop, "test", 0, &err);
}

static int teardown(void **state)
{
	loop_destroy(loop);
	unlink(path);
	return 0;
}

static struct char_backend *make(const char *text)
{
	return user_make(loop, text, &err);
}

static void refused(const char *text, const char *why)
{
	struct char_backend *chr = make(text);

	if (chr)
		fail_msg("%s was not refused", text);
	if (!strstr(err.msg, why))
		fail_msg("'%s' isn't in '%s'", why, err.msg);
}

static void test_refused(void **state)
{
	char text[300];

	refused("id=x", "which back end? (-chardev help lists them)");
	refused("scoket,path=x", "-chardev scoket,path=x: no character back end is called 'scoket' "
				 "(there are: file, "
				 "null, pty, socket, stdio)");
	refused("file,pth=x", "unknown option 'pth' (did you mean 'path'?)");
	refused("file", "-chardev file: which file? (path=...)");
	refused("socket,server=on", "which socket? (path=...)");
	refused("file,path=/nowhere/x", "/nowhere/x: No such file or directory");
	refused("file,path=/tmp", "/tmp: Is a directory");
	refused("socket,path=/nowhere/x", "(server=on makes the socket; reconnect=1 waits");
	refused("socket,path=/nowhere/x,server=on,wait=off", "/nowhere/x: No such file");
	refused("socket,path=x,wait=on", "wait=on goes with server=on");
	refused("socket,path=x,server=on,reconnect=2", "reconnect= goes with server=off");
	refused("null,path=x", "unknown option 'path'");
	snprintf(text, sizeof(text), "socket,server=on,wait=off,path=/tmp/%0150d", 1);
	refused(text, "the path of a socket has at most 107 bytes, this one has 155");
}

static void check_short(const char *text, const char *want)
{
	struct opt_list list;
	char got[256];
	bool mux;

	assert_int_equal(char_parse_short("-serial", text, &list, &mux, &err), 0);
	snprintf(got, sizeof(got), "%s", mux ? "mux " : "");
	for (size_t i = 0; i < list.n; i++)
		snprintf(got + strlen(got), sizeof(got) - strlen(got), "[%s|%s]", list.pairs[i].key,
			 list.pairs[i].value);
	assert_string_equal(got, want);
	snprintf(got, sizeof(got), "-serial %s", text);
	assert_string_equal(list.text, got);
	opt_free(&list);
}

static void test_short(void **state)
{
	struct opt_list list;
	bool mux;

	check_short("stdio", "[backend|stdio]");
	check_short("mon:stdio", "mux [backend|stdio][signal|off]");
	check_short("pty", "[backend|pty]");
	check_short("none", "[backend|null]");
	check_short("file:/a,b=c", "[backend|file][path|/a,b=c]");
	check_short("unix:/a,,b,server=on,wait=off",
		    "[path|/a,b][server|on][wait|off][backend|socket]");
	check_short("unix:/a,server,nowait", "[path|/a][server|on][wait|off][backend|socket]");
	check_short("mon:unix:/a", "mux [path|/a][backend|socket]");
	assert_int_equal(char_parse_short("-serial", "tcp::4444", &list, &mux, &err), -EINVAL);
	assert_non_null(strstr(err.msg, "-serial tcp::4444: 'tcp::4444' is not supported (stdio"));
	assert_int_equal(char_parse_short("-serial", "/dev/ttyS0", &list, &mux, &err), -EINVAL);
	assert_non_null(strstr(err.msg, "host device"));
	assert_int_equal(char_parse_short("-serial", "stdoi", &list, &mux, &err), -EINVAL);
	assert_non_null(strstr(err.msg, "'stdoi' is not a character device"));
}

static void test_null(void **state)
{
	struct char_backend *chr = make("null,id=n");
	struct user u = {0};

	assert_non_null(chr);
	assert_string_equal(char_id(chr), "n");
	assert_string_equal(char_describe(chr), "null");
	user_attach(&u, chr);
	assert_int_equal(u.opened, 1);
	assert_int_equal(char_write(chr, "abc", 3), 3);
	assert_int_equal(counter_get(&char_counters(chr)->out), 3);
	char_destroy(chr);
	char_destroy(NULL);
}

/* ---- file ---- */

static void file_is(const char *want)
{
	char got[64] = "";
	int fd = open(path, O_RDONLY);

	assert_true(fd >= 0);
	assert_true(read(fd, got, sizeof(got) - 1) >= 0);
	close(fd);
	assert_string_equal(got, want);
}

static void test_file(void **state)
{
	static const char *const how[] = {"", ",append=on", ",append=off"};
	static const char *const want[] = {"one", "oneone", "one"};
	char text[256];

	for (int i = 0; i < 3; i++) {
		struct char_backend *chr;

		snprintf(text, sizeof(text), "file,path=%s%s", path, how[i]);
		chr = make(text);
		assert_non_null(chr);
		assert_int_equal(char_write(chr, "one", 3), 3);
		char_destroy(chr);
		file_is(want[i]);
	}
}

static void test_file_full(void **state)
{
	struct char_backend *chr = make("file,path=/dev/full");

	assert_non_null(chr);
	assert_int_equal(char_write(chr, "abc", 3), 3);
	assert_int_equal(counter_get(&char_counters(chr)->dropped), 3);
	user_run(loop, 2);
	assert_int_equal(char_write(chr, "abc", 3), 3); /* tried again */
	assert_int_equal(counter_get(&char_counters(chr)->dropped), 6);
	char_destroy(chr);
}

/* A named pipe: back-pressure, then a reader that goes away. */
static void test_fifo(void **state)
{
	struct char_backend *chr;
	struct user u = {0};
	char text[256];
	size_t n, more = 0;
	ssize_t got;
	int fd;

	assert_int_equal(mkfifo(path, 0600), 0);
	snprintf(text, sizeof(text), "file,path=%s", path);
	refused(text, "(a named pipe needs its reader first)");
	fd = open(path, O_RDONLY | O_NONBLOCK);
	chr = make(text);
	assert_non_null(chr);
	user_attach(&u, chr);
	n = char_write(chr, big, sizeof(big));
	assert_true(n > 0 && n < sizeof(big));
	assert_int_equal(char_write(chr, big, 1), 0);
	user_run(loop, 5);
	assert_int_equal(u.writable, 0);
	while ((got = read(fd, text, sizeof(text))) > 0)
		more += got;
	assert_int_equal(more, n);
	user_run(loop, 5);
	assert_int_equal(u.writable, 1);
	assert_int_equal(char_write(chr, big, 10), 10);
	close(fd);
	assert_int_equal(char_write(chr, big, 10), 10);
	assert_int_equal(counter_get(&char_counters(chr)->dropped), 10);
	user_run(loop, 5);
	assert_int_equal(u.opened, 0);
	char_destroy(chr);
}

/* ---- socket ---- */

static int dial(void)
{
	struct sockaddr_un addr = {.sun_family = AF_UNIX};
	int fd = socket(AF_UNIX, SOCK_STREAM, 0);

	memcpy(addr.sun_path, path, strlen(path));
	if (connect(fd, (struct sockaddr *)&addr, sizeof(addr)) < 0) {
		close(fd);
		return -1;
	}
	return fd;
}

static struct char_backend *serve(const char *more)
{
	char text[256];

	snprintf(text, sizeof(text), "socket,path=%s,server=on%s", path, more);
	return make(text);
}

static void reads(int fd, const char *want)
{
	char buf[64] = "";

	assert_int_equal(recv(fd, buf, sizeof(buf) - 1, MSG_DONTWAIT), strlen(want));
	assert_string_equal(buf, want);
}

static void test_server(void **state)
{
	struct char_backend *chr = serve(",wait=off");
	struct user u = {0};
	char want[256];
	int a, b;

	assert_non_null(chr);
	snprintf(want, sizeof(want), "unix:%s,server=on", path);
	assert_string_equal(char_describe(chr), want);
	user_attach(&u, chr);
	assert_int_equal(u.opens, 0);
	assert_int_equal(char_write(chr, "lost", 4), 4);
	assert_int_equal(counter_get(&char_counters(chr)->dropped), 4);

	a = dial();
	b = dial(); /* waits in the queue */
	user_run(loop, 5);
	assert_int_equal(u.opened, 1);
	assert_int_equal(char_write(chr, "hello", 5), 5);
	reads(a, "hello");
	assert_int_equal(write(b, "second", 6), 6);
	assert_int_equal(write(a, "first", 5), 5);
	user_run(loop, 5);
	assert_string_equal(u.got, "first");
	close(a);
	user_run(loop, 10);
	assert_int_equal(u.opens, 3); /* came, went, came */
	assert_string_equal(u.got, "firstsecond");
	char_write(chr, "b", 1);
	reads(b, "b");
	close(b);
	user_run(loop, 5);
	assert_int_equal(u.opened, 0);
	a = dial();
	user_run(loop, 5);
	assert_int_equal(u.opened, 1);
	char_destroy(chr);
	close(a);
	assert_int_equal(access(path, F_OK), -1);
}

/* A client that closes before it was accepted, with bytes on the way. */
static void test_server_hit_and_run(void **state)
{
	struct char_backend *chr = serve(",wait=off");
	struct user u = {0};
	int fd = dial();

	assert_int_equal(write(fd, "bye", 3), 3);
	close(fd);
	user_attach(&u, chr);
	user_run(loop, 5);
	assert_string_equal(u.got, "bye");
	assert_int_equal(u.opens, 2);
	assert_int_equal(u.opened, 0);
	char_destroy(chr);
}

static void test_server_backpressure(void **state)
{
	struct char_backend *chr = serve(",wait=off");
	struct user u = {.limit = 10};
	size_t out, in = 0;
	ssize_t n;
	int fd = dial();

	fcntl(fd, F_SETFL, O_NONBLOCK);
	user_attach(&u, chr);
	user_run(loop, 5);
	/* in: the user takes 10 bytes at a time */
	memset(big, 'i', sizeof(big));
	while ((n = write(fd, big, 1000)) > 0)
		in += n;
	user_run(loop, 5);
	assert_int_equal(u.got_len, 10);
	assert_int_equal(u.inputs, 1);
	char_accept(chr);
	assert_int_equal(u.got_len, 20);
	u.limit = 0;
	char_accept(chr);
	user_run(loop, 50);
	assert_int_equal(u.got_len, in);
	/* out: nobody reads, then somebody does */
	out = char_write(chr, big, sizeof(big));
	assert_true(out < sizeof(big));
	user_run(loop, 5);
	assert_int_equal(u.writable, 0);
	while (read(fd, big, sizeof(big)) > 0)
		;
	user_run(loop, 5);
	assert_int_equal(u.writable, 1);
	/* full, and then the client goes: writable tells, and the rest is dropped */
	while (char_write(chr, big, sizeof(big)))
		;
	close(fd);
	user_run(loop, 10);
	assert_int_equal(u.opened, 0);
	assert_int_equal(u.writable, 2);
	assert_int_equal(char_write(chr, big, 5), 5);
	char_destroy(chr);
}

static void test_server_file(void **state)
{
	struct char_backend *chr;
	char text[256];
	int fd;

	/* in use */
	chr = serve(",wait=off");
	snprintf(text, sizeof(text), "socket,path=%s,server=on,wait=off", path);
	refused(text, "is in use by a process that listens on it");
	assert_int_equal(access(path, F_OK), 0);
	/* somebody else's file stays at the end */
	unlink(path);
	fd = open(path, O_CREAT | O_WRONLY, 0600);
	char_destroy(chr);
	assert_int_equal(access(path, F_OK), 0);
	/* no socket */
	refused(text, "is there already, and is no socket");
	close(fd);
	unlink(path);
	/* stale: bound by someone who is gone */
	fd = socket(AF_UNIX, SOCK_STREAM, 0);
	struct sockaddr_un addr = {.sun_family = AF_UNIX};
	memcpy(addr.sun_path, path, strlen(path));
	assert_int_equal(bind(fd, (struct sockaddr *)&addr, sizeof(addr)), 0);
	close(fd);
	chr = serve(",wait=off");
	assert_non_null(chr);
	char_destroy(chr);
}

static void test_server_wait(void **state)
{
	struct char_backend *chr;
	struct user u = {0};
	pid_t pid = fork();
	char byte;

	if (pid == 0) {
		int fd;

		while ((fd = dial()) < 0)
			usleep(1000);
		_exit(write(fd, "w", 1) == 1 && read(fd, &byte, 1) == 1 ? 0 : 1);
	}
	chr = serve(""); /* says a line, and waits */
	assert_non_null(chr);
	user_attach(&u, chr);
	assert_int_equal(u.opened, 1);
	user_run(loop, 20);
	assert_string_equal(u.got, "w");
	char_write(chr, "x", 1);
	user_exited(pid, 0);
	char_destroy(chr);
}

static void test_client(void **state)
{
	struct char_backend *server, *client;
	struct user us = {0}, uc = {0};
	char text[256];

	snprintf(text, sizeof(text), "socket,path=%s", path);
	refused(text, "(server=on makes the socket; reconnect=1 waits for a server)");
	strcat(text, ",reconnect=1");
	client = make(text);
	assert_non_null(client);
	user_attach(&uc, client);
	assert_int_equal(uc.opened, 0);
	server = serve(",wait=off");
	user_attach(&us, server);
	user_run(loop, 1100);
	assert_int_equal(uc.opened, 1);
	assert_int_equal(us.opened, 1);
	char_write(client, "ping", 4);
	char_write(server, "pong", 4);
	user_run(loop, 5);
	assert_string_equal(us.got, "ping");
	assert_string_equal(uc.got, "pong");
	char_destroy(server);
	user_run(loop, 5);
	assert_int_equal(uc.opened, 0);
	char_destroy(client);
}

/* ---- pty ---- */

static void test_pty(void **state)
{
	struct char_backend *chr = make("pty");
	struct user u = {0};
	const char *slave;
	struct termios modes;
	char buf[16] = "";
	size_t n;
	int fd;

	assert_non_null(chr);
	assert_memory_equal(char_describe(chr), "pty:/dev/pts/", 13);
	slave = char_describe(chr) + 4;
	user_attach(&u, chr);
	user_run(loop, 30);
	assert_int_equal(u.opened, 0);
	assert_int_equal(char_write(chr, "lost", 4), 4);
	for (int i = 1; i <= 2; i++) { /* comes, goes, comes again */
		fd = open(slave, O_RDWR | O_NOCTTY | O_NONBLOCK);
		assert_true(fd >= 0);
		user_run(loop, 30);
		assert_int_equal(u.opened, 1);
		assert_int_equal(tcgetattr(fd, &modes), 0);
		assert_int_equal(modes.c_lflag & (ICANON | ECHO), 0);
		memset(buf, 0, sizeof(buf));
		assert_int_equal(char_write(chr, "a\nb", 3), 3);
		assert_int_equal(read(fd, buf, sizeof(buf)), 3);
		assert_string_equal(buf, "a\nb");
		assert_int_equal(write(fd, "x\n\x03", 3), 3);
		user_run(loop, 30);
		assert_int_equal(u.got_len, 3 * i);
		/* nobody reads: full, not lost */
		if (i == 2) {
			n = char_write(chr, big, sizeof(big));
			assert_true(n < sizeof(big));
			while (char_write(chr, big, 1))
				;
		}
		close(fd);
		user_run(loop, 30);
		assert_int_equal(u.opened, 0);
		assert_int_equal(u.opens, 2 * i);
	}
	assert_true(u.writable >= 1); /* gone: what waited may be dropped now */
	/* opens, says something and is gone before anyone looks: it counts */
	fd = open(slave, O_RDWR | O_NOCTTY);
	assert_int_equal(write(fd, "z", 1), 1);
	close(fd);
	user_run(loop, 30);
	assert_int_equal(u.got[6], 'z');
	assert_int_equal(u.opened, 0);
	char_destroy(chr);
}

/* With nobody there, and nothing to do, it must not wake the loop. */
static void test_pty_idle(void **state)
{
	struct char_backend *chr = make("pty");
	struct user u = {0};
	uint64_t before;

	user_attach(&u, chr);
	user_run(loop, 5);
	before = loop_stats(loop).wakeups;
	user_run(loop, 50);
	assert_true(loop_stats(loop).wakeups - before <= 3);
	char_destroy(chr);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_refused, setup, teardown),
		cmocka_unit_test_setup_teardown(test_short, setup, teardown),
		cmocka_unit_test_setup_teardown(test_null, setup, teardown),
		cmocka_unit_test_setup_teardown(test_file, setup, teardown),
		cmocka_unit_test_setup_teardown(test_file_full, setup, teardown),
		cmocka_unit_test_setup_teardown(test_fifo, setup, teardown),
		cmocka_unit_test_setup_teardown(test_server, setup, teardown),
		cmocka_unit_test_setup_teardown(test_server_hit_and_run, setup, teardown),
		cmocka_unit_test_setup_teardown(test_server_backpressure, setup, teardown),
		cmocka_unit_test_setup_teardown(test_server_file, setup, teardown),
		cmocka_unit_test_setup_teardown(test_server_wait, setup, teardown),
		cmocka_unit_test_setup_teardown(test_client, setup, teardown),
		cmocka_unit_test_setup_teardown(test_pty, setup, teardown),
		cmocka_unit_test_setup_teardown(test_pty_idle, setup, teardown),
	};
	int ret;

	signal(SIGPIPE, SIG_IGN);
	if (!mkdtemp(dir))
		return 1;
	ret = cmocka_run_group_tests(tests, NULL, NULL);
	rmdir(dir);
	return ret;
}
