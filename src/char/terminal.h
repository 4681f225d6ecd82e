/* A terminal in raw mode that is given back as it was, whatever ends the process: terminal.c. */
#ifndef VIREO_CHAR_TERMINAL_H
#define VIREO_CHAR_TERMINAL_H

#include <stdbool.h>
#include <sys/types.h>
#include <termios.h>

#include "base/err.h"

struct terminal {
	int fd;
	bool taken;
	struct termios before, raw;
	pid_t guard;	/* process that gives it back if this one dies; 0 = none */
	int guard_pipe; /* its sign of life from us */
};

/* Puts the terminal fd into raw mode; signals: Ctrl-C, Ctrl-\ and Ctrl-Z go on making signals. 0 or
 * a negative errno with err set. */
int terminal_take(struct terminal *t, int fd, bool signals, struct err *err);
/* Does nothing on a zeroed one, or the second time. */
void terminal_give_back(struct terminal *t);

#endif
