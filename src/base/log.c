/*
 * Messages at run time, on standard error.
 *
 * Any thread. A line is one write(), so that lines of several threads don't mix; what can't be
 * written is lost (standard error is the last place to complain). Control characters are
 * replaced: a text may quote what a guest or a peer said.
 */
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "base/log.h"

#define LOG_INTERVAL_NS 5000000000ull

static void say(uint64_t more, const char *fmt, va_list ap) __attribute__((format(printf, 2, 0)));

static void say(uint64_t more, const char *fmt, va_list ap)
{
	static const char start[] = "vireo: ";
	char line[1024] = "vireo: ";
	size_t n = sizeof(start) - 1;
	size_t room = sizeof(line) - 64; /* the count and the newline always fit */
	int len = vsnprintf(line + n, room - n, fmt, ap);

	if (len < 0)
		len = 0;
	n += (size_t)len < room - n ? (size_t)len : room - n - 1;
	for (size_t i = 0; i < n; i++) {
		unsigned char c = line[i];

		if (c < 0x20 || c == 0x7f)
			line[i] = '?';
	}
	if (more)
		n += snprintf(line + n, sizeof(line) - n, " (%llu more)", (unsigned long long)more);
	line[n++] = '\n';
	if (write(STDERR_FILENO, line, n) < 0)
		return;
}

void log_warn(const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	say(0, fmt, ap);
	va_end(ap);
}

void log_limited(struct log_limit *limit, const char *fmt, ...)
{
	uint64_t next = __atomic_load_n(&limit->next_ns, __ATOMIC_RELAXED);
	struct timespec ts;
	uint64_t now;
	va_list ap;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	now = (uint64_t)ts.tv_sec * 1000000000u + ts.tv_nsec;
	if (now < next ||
	    !__atomic_compare_exchange_n(&limit->next_ns, &next, now + LOG_INTERVAL_NS, false,
					 __ATOMIC_RELAXED, __ATOMIC_RELAXED)) {
		__atomic_fetch_add(&limit->suppressed, 1, __ATOMIC_RELAXED);
		return;
	}
	va_start(ap, fmt);
	say(__atomic_exchange_n(&limit->suppressed, 0, __ATOMIC_RELAXED), fmt, ap);
	va_end(ap);
}
