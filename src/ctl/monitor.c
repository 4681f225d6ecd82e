/*
 * The monitor's terminal: a line editor of the simplest kind, an output queue, and the prompt.
 *
 * Terminals are in raw mode (the serial console may share them), so what is typed is echoed here
 * and lines end in CR LF. Output that can't be written at once waits in a buffer. Control thread.
 */
#include "ctl/monitor.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "char/char.h"
#include "ctl/command.h"
#include "machine/machine.h"

#define PROMPT	"(qemu) " /* what scripts wait for */
#define OUT_MAX (1 << 20) /* bytes that may wait for a peer that doesn't read */

struct monitor {
	struct machine *machine;
	struct char_backend *chr;
	char line[1024];
	size_t len;
	bool last_cr; /* a LF that follows belongs to it */
	char *out;
	size_t out_len, out_sent;
};

static void flush_out(struct monitor *mon)
{
	if (!mon->out)
		return;
	mon->out_sent +=
		char_write(mon->chr, mon->out + mon->out_sent, mon->out_len - mon->out_sent);
	if (mon->out_sent < mon->out_len)
		return;
	free(mon->out);
	mon->out = NULL;
	mon->out_len = mon->out_sent = 0;
}

/* Queues n bytes, LF as CR LF. */
static void put(struct monitor *mon, const char *text, size_t n)
{
	char *bigger;

	if (mon->out_len + 2 * n > OUT_MAX)
		return;
	bigger = realloc(mon->out, mon->out_len + 2 * n + 1);
	if (!bigger)
		return;
	mon->out = bigger;
	for (size_t i = 0; i < n; i++) {
		if (text[i] == '\n')
			mon->out[mon->out_len++] = '\r';
		mon->out[mon->out_len++] = text[i];
	}
	flush_out(mon);
}

static void puts_out(struct monitor *mon, const char *text)
{
	put(mon, text, strlen(text));
}

static void run_line(struct monitor *mon)
{
	char *text = NULL;
	size_t n = 0;
	FILE *f;

	puts_out(mon, "\n");
	mon->line[mon->len] = '\0';
	mon->len = 0;
	f = open_memstream(&text, &n);
	if (!f)
		return;
	command_run_line(mon->machine, mon->line, f);
	fclose(f);
	put(mon, text, n);
	free(text);
	puts_out(mon, PROMPT);
}

static void rub_out(struct monitor *mon, size_t n)
{
	for (; n && mon->len; n--) {
		mon->len--;
		puts_out(mon, "\b \b");
	}
}

static void take_key(struct monitor *mon, uint8_t c)
{
	bool after_cr = mon->last_cr;
	char echo = c;

	mon->last_cr = c == '\r';
	switch (c) {
	case '\n':
		if (after_cr)
			return;
		/* fall through */
	case '\r':
		run_line(mon);
		return;
	case 0x08: /* BS */
	case 0x7f: /* DEL */
		rub_out(mon, 1);
		return;
	case 0x15: /* Ctrl-u */
	case 0x03: /* Ctrl-c */
		rub_out(mon, mon->len);
		return;
	}
	if (c < ' ' || mon->len == sizeof(mon->line) - 1)
		return;
	mon->line[mon->len++] = c;
	put(mon, &echo, 1);
}

static size_t input(void *opaque, const uint8_t *buf, size_t n)
{
	for (size_t i = 0; i < n; i++)
		take_key(opaque, buf[i]);
	return n;
}

static void writable(void *opaque)
{
	flush_out(opaque);
}

static void opened(void *opaque, bool is_open)
{
	struct monitor *mon = opaque;

	mon->len = 0;
	free(mon->out);
	mon->out = NULL;
	mon->out_len = mon->out_sent = 0;
	if (is_open)
		puts_out(mon,
			 "vireo " VIREO_VERSION " monitor - type 'help' for the commands\n" PROMPT);
}

static const struct char_events events = {
	.input = input,
	.writable = writable,
	.opened = opened,
};

int monitor_create(struct monitor **out, struct machine *machine, struct char_backend *chr,
		   struct err *err)
{
	struct monitor *mon = calloc(1, sizeof(*mon));

	*out = mon;
	if (!mon)
		return err_set(err, -ENOMEM, "out of memory");
	mon->machine = machine;
	mon->chr = chr;
	char_attach(chr, &events, mon);
	return 0;
}

void monitor_destroy(struct monitor *mon)
{
	if (!mon)
		return;
	flush_out(mon);
	char_attach(mon->chr, NULL, NULL);
	free(mon->out);
	free(mon);
}
