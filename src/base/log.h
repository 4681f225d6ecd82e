/*
 * Messages at run time: one line on standard error, "vireo: ...".
 *
 * Anything that a guest or a peer can cause is said through log_limited(), which lets one line
 * through in each interval and counts the rest, so that no guest can flood the host's log.
 */
#ifndef VIREO_BASE_LOG_H
#define VIREO_BASE_LOG_H

#include <stdint.h>

struct log_limit {
	uint64_t next_ns;    /* CLOCK_MONOTONIC before which nothing is said */
	uint64_t suppressed; /* lines swallowed since the last one that was said */
};

/* Says a line, whatever the rate. For what the user's own actions cause. */
void log_warn(const char *fmt, ...) __attribute__((format(printf, 1, 2)));

/* Says at most one line every 5 s per limit (zero-initialised); "(N more)" tells what was
 * swallowed. May be called from any thread; a race costs at most one extra line. */
void log_limited(struct log_limit *limit, const char *fmt, ...)
	__attribute__((format(printf, 2, 3)));

#endif
