/*
 * See serial.h. 16550 registers by the names of the PC16550D datasheet, section 8.
 */
#include "serial.h"

#include <stdarg.h>

#include "gate.h"
#include "lib.h"

#define COM1	 0x3f8
#define THR	 0 /* transmitter holding */
#define IER	 1 /* interrupt enable */
#define FCR	 2 /* FIFO control, write */
#define IIR	 2 /* interrupt identification, read */
#define LCR	 3 /* line control */
#define MCR	 4 /* modem control */
#define LSR	 5 /* line status */
#define LSR_THRE 0x20

#define FIFO_BYTES 16
#define MAX_POLLS  200000 /* of LSR, per chunk: seconds, on any machine */

static char line[1024];
static uint32_t line_length;
static uint32_t chunk = 1;

void serial_init(void)
{
	gate_out8(COM1 + IER, 0);
	gate_out8(COM1 + LCR, 0x03);
	gate_out8(COM1 + FCR, 0x07);
	gate_out8(COM1 + MCR, 0x03);
	chunk = (gate_in8(COM1 + IIR) & 0xc0) == 0xc0 ? FIFO_BYTES : 1;
}

void serial_write(const char *bytes, uint32_t count)
{
	while (count) {
		uint32_t n = MIN(count, chunk), polls = 0;

		while (!(gate_in8(COM1 + LSR) & LSR_THRE))
			if (++polls == MAX_POLLS)
				return;
		gate_out8s(COM1 + THR, bytes, n);
		bytes += n;
		count -= n;
	}
}

static void put(char c)
{
	if (line_length < sizeof(line) - 1)
		line[line_length++] = c;
}

static void put_number(uint64_t value, unsigned base, int width, char pad)
{
	char digits[24];
	int n = 0;

	do {
		digits[n++] = "0123456789abcdef"[value % base];
		value /= base;
	} while (value);
	for (; width > n; width--)
		put(pad);
	while (n)
		put(digits[--n]);
}

static void put_string(const char *s, int width)
{
	for (; *s; s++, width--)
		put(*s);
	for (; width > 0; width--)
		put(' ');
}

/* One conversion, f just behind the '%'; returns a pointer to its last character. */
static const char *put_conversion(const char *f, va_list *args)
{
	char pad = ' ';
	int width = 0;
	bool is_long = false;
	int64_t v;

	if (*f == '0')
		pad = *f++;
	for (; *f >= '0' && *f <= '9'; f++)
		width = width * 10 + *f - '0';
	for (; *f == 'l'; f++)
		is_long = true;
	switch (*f) {
	case 'c':
		put(va_arg(*args, int));
		break;
	case 's':
		put_string(va_arg(*args, const char *), width);
		break;
	case 'd':
		v = is_long ? va_arg(*args, int64_t) : va_arg(*args, int);
		if (v < 0)
			put('-');
		put_number(v < 0 ? -(uint64_t)v : (uint64_t)v, 10, width, pad);
		break;
	case 'u':
	case 'x':
		put_number(is_long ? va_arg(*args, uint64_t) : va_arg(*args, uint32_t),
			   *f == 'u' ? 10 : 16, width, pad);
		break;
	default:
		put(*f);
	}
	return f;
}

static void put_format(const char *f, va_list *args)
{
	if (!line_length)
		put_string("vireo-guest: ", 0);
	for (; *f; f++) {
		if (*f == '%')
			f = put_conversion(f + 1, args);
		else
			put(*f);
	}
}

void say(const char *format, ...)
{
	va_list args;

	va_start(args, format);
	put_format(format, &args);
	va_end(args);
}

void report(const char *format, ...)
{
	va_list args;

	va_start(args, format);
	put_format(format, &args);
	va_end(args);
	line[line_length++] = '\n';
	serial_write(line, line_length);
	line_length = 0;
}
