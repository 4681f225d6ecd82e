/*
 * The monitor: how a line is read, what each command asks of the machine, how answers are printed,
 * and the terminal around it. The machine is a fake below, as only ctl/command.c and ctl/monitor.c
 * are linked.
 */
#include <errno.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/loop.h"
#include "char/char.h"
#include "ctl/command.h"
#include "ctl/monitor.h"
#include "machine/machine.h"
#include "machine/query.h"

/* ---- the machine ---- */

struct machine {
	enum machine_state state;
	char log[256]; /* what was asked of it, in order: "stop cont " */
};

static struct machine machine;

static void asked(struct machine *m, const char *what)
{
	strncat(m->log, what, sizeof(m->log) - strlen(m->log) - 1);
	strncat(m->log, " ", sizeof(m->log) - strlen(m->log) - 1);
}

enum machine_state machine_state(const struct machine *m)
{
	return m->state;
}

void machine_stop(struct machine *m)
{
	asked(m, "stop");
}

void machine_cont(struct machine *m)
{
	asked(m, "cont");
}

void machine_reset(struct machine *m)
{
	asked(m, "reset");
}

void machine_powerdown(struct machine *m)
{
	asked(m, "powerdown");
}

void machine_quit(struct machine *m, int status)
{
	assert_int_equal(status, 0);
	asked(m, "quit");
}

int machine_set_link(struct machine *m, const char *name, bool up)
{
	if (strcmp(name, "n0"))
		return -ENOENT;
	asked(m, up ? "up" : "down");
	return 0;
}

int machine_announce(struct machine *m, const char *name)
{
	if (name && strcmp(name, "n0") && strcmp(name, "rtl"))
		return -ENOENT;
	if (name && strcmp(name, "rtl") == 0)
		return 0;
	asked(m, "announce");
	return 1;
}

int machine_forward(struct machine *m, const char *netdev, const char *rule, bool add,
		    struct err *err)
{
	if (netdev && strcmp(netdev, "n0"))
		return err_set(err, -ENOENT, "no -netdev has the id '%s'", netdev);
	asked(m, add ? "add" : "remove");
	asked(m, netdev ? netdev : "-");
	asked(m, rule);
	return 0;
}

json_t *query_usernet(struct machine *m)
{
	return json_pack("[{s:s, s:[s,s]}]", "id", "n0", "connections", "  Protocol", "  TCP");
}

json_t *query_status(struct machine *m)
{
	static const char *const names[] = {"prelaunch", "running", "paused", "shutdown"};

	return json_pack("{s:s, s:b}", "status", names[m->state], "running",
			 m->state == MACHINE_RUNNING);
}

json_t *query_name(struct machine *m)
{
	return json_pack("{s:s, s:n}", "name", "x", "uuid");
}

json_t *query_network(struct machine *m)
{
	return json_pack("[{s:s, s:{s:s, s:[s,s]}, s:[]}, {s:n}]", "id", "n0", "netdev", "type",
			 "tap", "offloads", "csum", "tso4", "filters", "id");
}

json_t *query_pci(struct machine *m)
{
	return json_pack("[{s:s, s:i, s:i, s:i, s:i, s:i, s:i, s:[{s:s, s:I, s:i, s:b, s:i},"
			 " {s:s, s:I, s:i, s:b, s:b}]}]",
			 "id", "nic", "slot", 3, "function", 1, "vendor", 0x1af4, "device", 0x1000,
			 "class", 0x200, "irq", 11, "bars", "kind", "io", "address",
			 (json_int_t)0xc000, "size", 32, "prefetchable", 0, "bar", 0, "kind",
			 "mem32", "address", (json_int_t)0, "size", 65536, "prefetchable", 0, "rom",
			 1);
}

json_t *query_io(struct machine *m)
{
	return json_pack("{s:{s:{s:i}, s:i}}", "machine", "vcpu 0", "exits", 7, "bus", 2);
}

/* ---- lines ---- */

static char *answer;

static const char *run(const char *line)
{
	size_t n;
	FILE *f;

	free(answer);
	machine.log[0] = '\0';
	f = open_memstream(&answer, &n);
	command_run_line(&machine, line, f);
	fclose(f);
	return answer;
}

static void check_asks(const char *line, const char *log)
{
	assert_string_equal(run(line), "");
	assert_string_equal(machine.log, log);
}

/* Nothing was asked, and the answer has these words in it. */
static void check_error(const char *line, const char *words)
{
	run(line);
	assert_string_equal(machine.log, "");
	if (!strstr(answer, words))
		fail_msg("%s: no '%s' in '%s'", line, words, answer);
}

static int setup(void **state)
{
	machine = (struct machine){.state = MACHINE_RUNNING};
	return 0;
}

static int teardown(void **state)
{
	free(answer);
	answer = NULL;
	return 0;
}

static void test_asks(void **state)
{
	check_asks("stop", "stop ");
	check_asks("cont", "cont ");
	check_asks("system_reset", "reset ");
	check_asks("system_powerdown", "powerdown ");
	check_asks("quit", "quit ");
	check_asks("set_link n0 on", "up ");
	check_asks("set_link n0 off", "down ");
	check_asks("announce_self", "announce ");
	check_asks("announce_self n0", "announce ");
	check_asks("hostfwd_add tcp::2222-:22", "add - tcp::2222-:22 ");
	check_asks("hostfwd_add n0 tcp::2222-:22", "add n0 tcp::2222-:22 ");
	check_asks("hostfwd_remove n0 tcp::2222", "remove n0 tcp::2222 ");
	check_asks("  set_link\t n0   off  ", "down ");
	check_asks("", "");
	check_asks("   ", "");
}

static void test_cont_of_what_is_over(void **state)
{
	machine.state = MACHINE_SHUTDOWN;
	check_error("cont", "Error: the guest is over: system_reset first\n");
	machine.state = MACHINE_ERROR;
	check_error("cont", "system_reset first");
	machine.state = MACHINE_PRELAUNCH;
	check_asks("cont", "cont ");
}

static void test_refused(void **state)
{
	check_error("frob", "unknown command: 'frob'");
	check_error("frob it", "unknown command: 'frob it'");
	check_error("stopp", "unknown command");
	check_error("sto", "unknown command");
	check_error("info", "unknown command: 'info'");
	check_error("info frob", "unknown command");
	check_error("infostatus", "unknown command");
	check_error("STOP", "unknown command");
	check_error("stop now", "Error: stop: 'now' is one argument too many");
	check_error("set_link", "Error: set_link: needs name (a name)");
	check_error("set_link n0", "Error: set_link: needs up (on or off)");
	check_error("set_link n0 maybe", "'maybe' is not on or off");
	check_error("set_link n0 on x", "too many");
	check_error("set_link n9 on", "Error: no NIC and no netdev has the id 'n9'");
	check_error("announce_self n9", "Error: no NIC and no netdev has the id 'n9'");
	check_error("announce_self rtl", "no driver takes such a request");
}

static void test_answers(void **state)
{
	assert_string_equal(run("info status"), "VM status: running\n");
	machine.state = MACHINE_PAUSED;
	assert_string_equal(run("info   status"), "VM status: paused\n");
	machine.state = MACHINE_SHUTDOWN;
	assert_string_equal(run("info status"), "VM status: paused (shutdown)\n");
	assert_string_equal(run("info name"), "name: x\nuuid: none\n");
	assert_string_equal(run("info pci"), "00:03.1 0200: 1af4:1000 id \"nic\" irq 11\n"
					     "      BAR0: io at 0xc000, 32 bytes\n"
					     "      ROM: mem32, not mapped, 65536 bytes\n");
	assert_string_equal(run("info io"), "machine:\n  vcpu 0:\n    exits: 7\n  bus: 2\n");
	assert_string_equal(run("info usernet"), "n0:\n  Protocol\n  TCP\n");
	assert_non_null(strstr(run("info network"), "netdev:\n  type: tap\n"));
	assert_non_null(strstr(answer, "\nid: none\n"));
}

/* Every command is in the list, with what it takes. */
static void test_help(void **state)
{
	static const char *const usages[] = {
		"quit: ",
		"stop: ",
		"cont: ",
		"system_powerdown: ",
		"system_reset: ",
		"info status: ",
		"info network: ",
		"info pci: ",
		"info io: ",
		"help: ",
		"set_link name on|off: ",
	};

	run("help");
	for (size_t i = 0; i < sizeof(usages) / sizeof(usages[0]); i++)
		assert_non_null(strstr(answer, usages[i]));
}

/* ---- the terminal ---- */

struct terminal {
	struct loop *loop;
	struct char_backend *chr;
	struct monitor *mon;
	char path[64];
	int fd; /* the person's end */
	struct loop_fd lf;
	struct loop_timer limit;
	char text[65536];
	size_t n;
	const char *until;
};

static void readable(struct loop_fd *lf, uint32_t events)
{
	struct terminal *t = lf->opaque;
	ssize_t n = read(t->fd, t->text + t->n, sizeof(t->text) - 1 - t->n);

	assert_true(n > 0);
	t->n += (size_t)n;
	t->text[t->n] = '\0';
	if (strstr(t->text, t->until))
		loop_quit(t->loop);
}

static void too_long(struct loop_timer *limit)
{
	struct terminal *t = limit->opaque;

	fail_msg("no '%s' in '%s'", t->until, t->text);
}

/* Runs the loop until the text has come; what came is in t->text. */
static void wait_for(struct terminal *t, const char *text)
{
	t->until = text;
	t->limit = (struct loop_timer){.expired = too_long, .opaque = t};
	loop_timer_set(t->loop, &t->limit, loop_now_ns() + UINT64_C(20000000000));
	if (!strstr(t->text, text))
		loop_run(t->loop);
	loop_timer_cancel(t->loop, &t->limit);
}

static void type(struct terminal *t, const char *keys)
{
	t->n = 0;
	t->text[0] = '\0';
	assert_int_equal(write(t->fd, keys, strlen(keys)), strlen(keys));
}

static void join(struct terminal *t)
{
	struct sockaddr_un addr = {.sun_family = AF_UNIX};

	strcpy(addr.sun_path, t->path);
	t->n = 0;
	t->text[0] = '\0';
	t->fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	assert_int_equal(connect(t->fd, (struct sockaddr *)&addr, sizeof(addr)), 0);
	t->lf = (struct loop_fd){.ready = readable, .opaque = t, .fd = t->fd};
	assert_int_equal(loop_fd_add(t->loop, &t->lf, EPOLLIN), 0);
	wait_for(t, "(qemu) ");
}

static void leave(struct terminal *t)
{
	loop_fd_del(&t->lf);
	close(t->fd);
}

static int terminal_setup(void **state)
{
	static struct terminal t;
	struct opt_list list;
	char text[128];
	struct err err;

	setup(NULL);
	memset(&t, 0, sizeof(t));
	snprintf(t.path, sizeof(t.path), "/tmp/test_command.%d", (int)getpid());
	snprintf(text, sizeof(text), "backend=socket,id=m,path=%s,server=on,wait=off", t.path);
	assert_int_equal(loop_create(&t.loop, "test", 0, &err), 0);
	assert_int_equal(opt_parse(&list, "-chardev", text, NULL, &err), 0);
	t.chr = char_create(t.loop, &list, &err);
	opt_free(&list);
	assert_non_null(t.chr);
	assert_int_equal(monitor_create(&t.mon, &machine, t.chr, &err), 0);
	join(&t);
	*state = &t;
	return 0;
}

static int terminal_teardown(void **state)
{
	struct terminal *t = *state;

	leave(t);
	monitor_destroy(t->mon);
	char_destroy(t->chr);
	loop_destroy(t->loop);
	assert_int_equal(access(t->path, F_OK), -1);
	return 0;
}

static void test_terminal(void **state)
{
	struct terminal *t = *state;

	assert_non_null(strstr(t->text, "monitor"));
	type(t, "info status\n");
	wait_for(t, "\r\n(qemu) ");
	assert_string_equal(t->text, "info status\r\nVM status: running\r\n(qemu) ");
	/* CR, LF and CR LF end a line, once each. */
	type(t, "stop\rcont\nstop\r\nquit\r\n");
	wait_for(t, "quit\r\n(qemu) ");
	assert_string_equal(machine.log, "stop cont stop quit ");
	assert_string_equal(t->text,
			    "stop\r\n(qemu) cont\r\n(qemu) stop\r\n(qemu) quit\r\n(qemu) ");
}

static void test_editing(void **state)
{
	struct terminal *t = *state;

	type(t, "\b\x7f"
		"stopp\b\r"); /* more rubbed out than there is, first */
	wait_for(t, "(qemu) ");
	assert_string_equal(machine.log, "stop ");
	type(t, "garbage\x15"
		"frob\x03"
		"co\x01\x1bnt\r");
	wait_for(t, "(qemu) ");
	assert_string_equal(machine.log, "stop cont ");
}

/* More than fits is cut, and costs nothing else. */
static void test_long_line(void **state)
{
	struct terminal *t = *state;
	char line[5002];

	memset(line, 'x', 5000);
	strcpy(line + 5000, "\r");
	type(t, line);
	wait_for(t, "unknown command: ");
	wait_for(t, "(qemu) ");
	type(t, "cont\r");
	wait_for(t, "(qemu) ");
	assert_string_equal(machine.log, "cont ");
}

/* What the peer before has left half typed isn't the next one's. */
static void test_next_peer(void **state)
{
	struct terminal *t = *state;

	type(t, "qui");
	wait_for(t, "qui");
	leave(t);
	join(t);
	type(t, "t\r");
	wait_for(t, "unknown command: 't'");
	assert_string_equal(machine.log, "");
}

/* A peer that types and never reads: the monitor drops what is too much, and is there again. */
static void test_peer_that_reads_late(void **state)
{
	struct terminal *t = *state;
	char lines[4096];

	for (size_t i = 0; i < sizeof(lines); i += 8)
		memcpy(lines + i, "help\r\r\r\r", 8);
	loop_fd_mod(&t->lf, 0);
	for (int i = 0; i < 64; i++) {
		ssize_t n = send(t->fd, lines, sizeof(lines), MSG_DONTWAIT);

		assert_true(n > 0 || errno == EAGAIN);
		loop_quit(t->loop);
		loop_run(t->loop);
	}
	loop_fd_mod(&t->lf, EPOLLIN);
	t->n = 0;
	t->text[0] = '\0';
	wait_for(t, "(qemu) ");
}

#define CASE(t)		 cmocka_unit_test_setup_teardown(t, setup, teardown)
#define TERMINAL_CASE(t) cmocka_unit_test_setup_teardown(t, terminal_setup, terminal_teardown)

int main(void)
{
	static const struct CMUnitTest tests[] = {
		CASE(test_asks),
		CASE(test_cont_of_what_is_over),
		CASE(test_refused),
		CASE(test_answers),
		CASE(test_help),
		TERMINAL_CASE(test_terminal),
		TERMINAL_CASE(test_editing),
		TERMINAL_CASE(test_long_line),
		TERMINAL_CASE(test_next_peer),
		TERMINAL_CASE(test_peer_that_reads_late),
	};

	signal(SIGPIPE, SIG_IGN);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
