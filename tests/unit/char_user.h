/* A user of a character back end that writes down what it is told. For test_char*.c. */
#ifndef VIREO_TESTS_CHAR_USER_H
#define VIREO_TESTS_CHAR_USER_H

#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>

#include "char/char.h"

struct user {
	char got[1 << 20]; /* a string, as long as no zeros come */
	size_t got_len;
	size_t limit; /* bytes that input() takes at a time; 0 = all, SIZE_MAX = none */
	int inputs, writable;
	int opens; /* calls of opened() */
	bool opened;
};

static size_t user_input(void *opaque, const uint8_t *buf, size_t n)
{
	struct user *u = opaque;

	u->inputs++;
	if (u->limit == SIZE_MAX)
		return 0;
	if (u->limit && n > u->limit)
		n = u->limit;
	assert_true(u->got_len + n < sizeof(u->got));
	memcpy(u->got + u->got_len, buf, n);
	u->got_len += n;
	return n;
}

static void user_writable(void *opaque)
{
	((struct user *)opaque)->writable++;
}

static void user_opened(void *opaque, bool opened)
{
	struct user *u = opaque;

	assert_true(u->opened != opened);
	u->opens++;
	u->opened = opened;
}

static inline void user_attach(struct user *u, struct char_backend *chr)
{
	static const struct char_events events = {user_input, user_writable, user_opened};

	char_attach(chr, &events, u);
}

/* From what stands after -chardev. */
static inline struct char_backend *user_make(struct loop *loop, const char *text, struct err *err)
{
	struct opt_list list;
	struct char_backend *chr;

	assert_int_equal(opt_parse(&list, "-chardev", text, "backend", err), 0);
	chr = char_create(loop, &list, err);
	opt_free(&list);
	return chr;
}

struct user_clock {
	struct loop_timer t;
	struct loop *loop;
	bool last;
};

static void user_tick(struct loop_timer *t)
{
	struct user_clock *c = t->opaque;

	if (c->last)
		loop_quit(c->loop);
	c->last = true;
	loop_timer_set(c->loop, t, loop_now_ns() + 1000000);
}

/* Runs the loop for ms milliseconds and one more, so that it looks around at least once, however
 * long somebody else had the processor. */
static inline void user_run(struct loop *loop, unsigned int ms)
{
	struct user_clock c = {.t = {.expired = user_tick, .opaque = &c}, .loop = loop};

	loop_timer_set(loop, &c.t, loop_now_ns() + ms * 1000000ull);
	loop_run(loop);
	loop_timer_cancel(loop, &c.t);
}

static inline void user_exited(pid_t pid, int want)
{
	int status;

	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_true(WIFEXITED(status));
	assert_int_equal(WEXITSTATUS(status), want);
}

#endif
