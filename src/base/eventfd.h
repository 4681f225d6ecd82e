/*
 * An eventfd that somebody else holds, too: another process may have made it block, for O_NONBLOCK belongs to what
 * is open and not to the descriptor. Reading one that is empty must not wait for that somebody.
 */
#ifndef VIREO_BASE_EVENTFD_H
#define VIREO_BASE_EVENTFD_H

#include <errno.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/uio.h>
#include <unistd.h>

/* Takes what has been signalled, at once; false: nothing. *n: how often. Any thread. */
static inline bool eventfd_take(int fd, uint64_t *n)
{
	struct iovec iov = {n, sizeof(*n)};
	ssize_t r = preadv2(fd, &iov, 1, -1, RWF_NOWAIT);

	if (r < 0 && (errno == EOPNOTSUPP || errno == ENOSYS)) /* a kernel older than 5.8 */
		r = read(fd, n, sizeof(*n));
	return r == sizeof(*n);
}

#endif
