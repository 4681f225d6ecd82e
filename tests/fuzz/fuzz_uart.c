/*
 * The serial port between a hostile guest and a slow terminal.
 *
 * Input: operations, one byte each with its operands behind it: register accesses, bytes that the
 * terminal sends, bytes that it is ready to take. What the guest transmitted while THRE was set
 * must come out, in order, whatever else happens.
 */
#include <stdlib.h>
#include <string.h>

#include "char/driver.h"
#include "fake_platform.h"
#include "input.h"

#define COM1 0x3f8
#define SENT 65536

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

struct terminal {
	struct char_backend chr;
	size_t credit; /* bytes that it takes */
	size_t got;
	uint8_t text[SENT];
};

static int terminal_open(struct char_backend *chr, struct err *err)
{
	chr->description = strdup("terminal");
	chr->connected = true;
	return 0;
}

static void terminal_close(struct char_backend *chr)
{
}

static ssize_t terminal_write(struct char_backend *chr, const void *buf, size_t n)
{
	struct terminal *t = (struct terminal *)chr;

	if (n > t->credit)
		n = t->credit;
	if (n > SENT - t->got)
		abort();
	memcpy(t->text + t->got, buf, n);
	t->got += n;
	t->credit -= n;
	return (ssize_t)n;
}

static void terminal_watch(struct char_backend *chr, bool in, bool out)
{
}

static const struct opt_desc terminal_opts[] = {{.type = OPT_END}};

static const struct char_driver terminal_driver = {
	.name = "terminal",
	.opts = terminal_opts,
	.size = sizeof(struct terminal),
	.open = terminal_open,
	.close = terminal_close,
	.write = terminal_write,
	.watch = terminal_watch,
};

CHAR_DRIVER(terminal_driver);

struct run {
	struct fake_platform fp;
	struct terminal *terminal;
	size_t sent;
	uint8_t text[SENT];
};

/* The guest's THR write, if it may: so that nothing is allowed to be lost. */
static void transmit(struct run *r, uint8_t byte)
{
	bool line = !(fp_in(&r->fp, COM1 + 4, 1) & 0x10) && !(fp_in(&r->fp, COM1 + 3, 1) & 0x80);

	if (line && (r->sent == SENT || !(fp_in(&r->fp, COM1 + 5, 1) & 0x20)))
		return;
	if (line)
		r->text[r->sent++] = byte;
	fp_out(&r->fp, COM1, 1, byte);
}

static void take(struct run *r, size_t n)
{
	r->terminal->credit += n;
	char_writable(&r->terminal->chr);
}

static void operation(struct run *r, struct input *in)
{
	uint8_t op = (uint8_t)input_take(in, 1), buf[32];
	unsigned int reg = op >> 3 & 7, n;

	switch (op & 7) {
	case 0:
		fp_in(&r->fp, COM1 + (uint16_t)reg, 1);
		break;
	case 1:
		if (reg)
			fp_out(&r->fp, COM1 + (uint16_t)reg, 1, (uint32_t)input_take(in, 1));
		else
			transmit(r, (uint8_t)input_take(in, 1));
		break;
	case 2:
		n = (unsigned int)input_take(in, 2) % 5000;
		for (unsigned int i = 0; i < n; i++)
			transmit(r, (uint8_t)i);
		break;
	case 3:
		n = op >> 3;
		for (unsigned int i = 0; i < n; i++)
			buf[i] = (uint8_t)input_take(in, 1);
		if (n > char_room(&r->terminal->chr))
			n = (unsigned int)char_room(&r->terminal->chr);
		char_push(&r->terminal->chr, buf, n);
		break;
	case 4:
		take(r, input_take(in, 2));
		break;
	default:
		fp_run_posted(&r->fp);
		break;
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct input in = {data, size};
	struct run *r = calloc(1, sizeof(*r));
	struct opt_list list = {0};
	struct device *uart;
	struct err err;

	fp_init(&r->fp);
	if (opt_parse(&list, "-chardev", "backend=terminal,id=c", NULL, &err))
		abort();
	r->fp.chr = char_create(r->fp.p.control, &list, &err);
	r->terminal = (struct terminal *)r->fp.chr;
	opt_free(&list);
	uart = r->fp.chr ? fp_device(&r->fp, "isa-serial", "u", "chardev=c", &err) : NULL;
	if (!uart)
		abort();

	for (unsigned int i = 0; in.n && i < 1000; i++)
		operation(r, &in);

	take(r, SENT);
	device_destroy(uart);
	if (r->terminal->got != r->sent || memcmp(r->terminal->text, r->text, r->sent))
		abort();
	fp_run_posted(&r->fp);
	char_destroy(r->fp.chr);
	fp_destroy(&r->fp);
	free(r);
	return 0;
}
