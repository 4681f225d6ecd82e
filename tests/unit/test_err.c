/* Error messages and run-time log lines: base/err.c, base/log.c. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/err.h"
#include "base/log.h"

static void test_set(void **state)
{
	struct err err = {0};

	assert_int_equal(err_set(&err, -EINVAL, "bad %d", 7), -EINVAL);
	assert_int_equal(err.code, -EINVAL);
	assert_string_equal(err.msg, "bad 7");
	assert_int_equal(err_set(NULL, -ENOENT, "x"), -ENOENT);
	/* its own message as an argument */
	err_set(&err, -EIO, "again: %s", err.msg);
	assert_string_equal(err.msg, "again: bad 7");
}

static void test_errno(void **state)
{
	struct err err = {0};

	errno = ENOENT;
	assert_int_equal(err_errno(&err, "/dev/%s", "vhost-net"), -ENOENT);
	assert_string_equal(err.msg, "/dev/vhost-net: No such file or directory");
	errno = EACCES;
	assert_int_equal(err_errno(NULL, "x"), -EACCES);
}

static void test_both_ends(void **state)
{
	struct err err = {0};

	err_set(&err, -ENOENT, "/dev/vhost-net: missing");
	assert_int_equal(err_hint(&err, "(modprobe %s)", "vhost_net"), -ENOENT);
	assert_int_equal(err_prefix(&err, "-netdev %s", "tap"), -ENOENT);
	assert_string_equal(err.msg, "-netdev tap: /dev/vhost-net: missing (modprobe vhost_net)");
	assert_true(err_prefix(NULL, "x") < 0);
	assert_true(err_hint(NULL, "x") < 0);
}

static void test_one_line(void **state)
{
	struct err err = {0};
	char big[2000];

	err_set(&err, -EINVAL, "a\nb\x1b[2Jc");
	assert_string_equal(err.msg, "a?b?[2Jc");
	memset(big, 'x', sizeof(big) - 1);
	big[sizeof(big) - 1] = '\0';
	err_set(&err, -EINVAL, "%s", big);
	assert_int_equal(strlen(err.msg), sizeof(err.msg) - 1);
	err_prefix(&err, "%s", "front");
	assert_int_equal(strlen(err.msg), sizeof(err.msg) - 1);
	assert_memory_equal(err.msg, "front: xxx", 10);
	err_hint(&err, "tail");
	assert_int_equal(strlen(err.msg), sizeof(err.msg) - 1);
}

/* What fn writes to standard error. */
static void captured(void (*fn)(void *arg), void *arg, char *buf, size_t size)
{
	int saved = dup(STDERR_FILENO);
	int p[2];
	ssize_t n;

	assert_int_equal(pipe(p), 0);
	dup2(p[1], STDERR_FILENO);
	close(p[1]);
	fn(arg);
	dup2(saved, STDERR_FILENO);
	close(saved);
	n = read(p[0], buf, size - 1);
	buf[n > 0 ? n : 0] = '\0';
	close(p[0]);
}

static void say_warn(void *arg)
{
	log_warn("%s is gone", (char *)arg);
}

static void say_limited(void *arg)
{
	for (int i = 0; i < 4; i++)
		log_limited(arg, "bad ring");
}

static void test_log(void **state)
{
	struct log_limit limit = {0};
	char buf[4096], big[2000], text[] = "tap\n0";

	captured(say_warn, text, buf, sizeof(buf));
	assert_string_equal(buf, "vireo: tap?0 is gone\n");

	memset(big, 'y', sizeof(big) - 1);
	big[sizeof(big) - 1] = '\0';
	captured(say_warn, big, buf, sizeof(buf));
	assert_true(strlen(buf) < 1024);
	assert_int_equal(buf[strlen(buf) - 1], '\n');

	captured(say_limited, &limit, buf, sizeof(buf));
	assert_string_equal(buf, "vireo: bad ring\n");
	limit.next_ns = 0; /* the interval is over */
	captured(say_limited, &limit, buf, sizeof(buf));
	assert_string_equal(buf, "vireo: bad ring (3 more)\n");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_set),	  cmocka_unit_test(test_errno),
		cmocka_unit_test(test_both_ends), cmocka_unit_test(test_one_line),
		cmocka_unit_test(test_log),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
