/*
 * What a test is. The command line names tests and sets parameters:
 *
 *	net-tx count=100000 size=64 hostile what=ring-loop end=poweroff
 *
 * They run in that order. A parameter belongs to the test before it; end= and exit-code= are the
 * guest's own and may stand anywhere.
 */
#ifndef GUEST_TEST_H
#define GUEST_TEST_H

#include <stdbool.h>
#include <stdint.h>

#define TEST_MAX_ARGS 24

struct test_param {
	const char *name;
	const char *value; /* default, as it would be on the command line */
	const char *help;
};

struct test_arg {
	const char *name;
	const char *value;
};

struct test {
	const char *name;
	const char *help;
	const struct test_param *params; /* ends with a NULL name; may be NULL */
	/*
	 * Runs the test and prints its result line or lines with test_result(). True if it passed.
	 * Memory and interrupt vectors taken meanwhile are given back by the caller.
	 */
	bool (*run)(const struct test *test, const struct test_arg *args);
};

/*
 * The value that a parameter has: from the command line, else its default. Numbers: see
 * parse_number().
 */
uint64_t test_number(const struct test *test, const struct test_arg *args, const char *name);
const char *test_string(const struct test *test, const struct test_arg *args, const char *name);

/* Starts a result line, "test=NAME result=ok|fail"; report() ends it. Returns ok. */
bool test_result(const struct test *test, bool ok);

/*
 * A result line for a test that can't run here: "test=NAME result=skip reason=...". Returns true.
 */
bool test_skip(const struct test *test, const char *reason);

/* A result line "test=NAME result=fail reason=...". Returns false. */
bool test_fail(const struct test *test, const char *reason);

/* All tests, ending with NULL: tests.c. */
extern const struct test *const tests[];

#endif
