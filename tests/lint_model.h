/*
 * What the static analyzer, which sees one file at a time, can't know: these return an error. tests/lint
 * has it included before the sources of src/ and guest/, but for the two that define them.
 */
#if __has_include("base/err.h")
#include "base/err.h"

#define err_set(err, code, ...) (err_set(err, code, __VA_ARGS__), (code))
#define err_errno(err, ...)	(err_errno(err, __VA_ARGS__), -1)
#define err_prefix(err, ...)	(err_prefix(err, __VA_ARGS__), -1)
#define err_hint(err, ...)	(err_hint(err, __VA_ARGS__), -1)
#else
#include "../guest/test.h"

#define test_fail(test, reason) (test_fail(test, reason), false)
#endif
