/*
 * A byte stream on a file descriptor that never blocks, whatever the descriptor is: what stdio,
 * pty, file and socket have in common.
 *
 * The stream watches the descriptor, feeds char_push() and calls char_writable(). It owns neither
 * the descriptor nor the back end.
 */
#ifndef VIREO_CHAR_STREAM_H
#define VIREO_CHAR_STREAM_H

#include <sys/types.h>

#include "base/loop.h"

struct char_backend;

struct char_stream {
	/* End of file, or an error: the stream is quiet from here on. On the loop's thread, never
	 * from inside char_stream_write(). */
	void (*gone)(struct char_stream *s);
	struct char_backend *chr;
	int fd;		   /* read and written; -1 = closed */
	struct loop_fd lf; /* watches it, or the descriptor that it is a copy of */
	/* Fires for what epoll can't watch (always ready), and for an error met in a write. */
	struct loop_timer timer;
	bool want_in, want_out;
	bool always_ready; /* a regular file, /dev/null */
	bool is_socket;
	bool may_block; /* O_NONBLOCK is off: ask poll() first, and write little */
	bool is_tty;
	bool failed;
};

/* Begins with fd; watched is the descriptor to wait for (fd itself, or the one that fd was opened
 * from). 0 or a negative errno: -EEXIST = somebody else watches it on this loop. */
int char_stream_open(struct char_stream *s, struct char_backend *chr, int fd, int watched,
		     void (*gone)(struct char_stream *s));
void char_stream_watch(struct char_stream *s, bool in, bool out);
/* As char_driver.write. */
ssize_t char_stream_write(struct char_stream *s, const void *buf, size_t n);
/* Goes on after gone(), on the same descriptor. */
void char_stream_resume(struct char_stream *s);
/* Stops watching; the descriptor stays open. Does nothing on a closed or zeroed stream. */
void char_stream_close(struct char_stream *s);

#endif
