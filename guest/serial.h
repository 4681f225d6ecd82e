/*
 * Output on COM1, polled, and the line format that everything the guest says has:
 *
 *	vireo-guest: test=net-tx result=ok frames=100000 ns=116500000 ...
 */
#ifndef GUEST_SERIAL_H
#define GUEST_SERIAL_H

#include <stdint.h>

/* Sets the UART up: 8n1, FIFO on, no interrupts. Output before it is lost. */
void serial_init(void);

/* Writes count bytes; gives up on a transmitter that stays busy. */
void serial_write(const char *bytes, uint32_t count);

/*
 * Appends to the line being built, without printing it. Knows %c %s %d %u %x with flag 0, a width
 * and the length l; * and precision are not known. Text beyond 1023 bytes is cut.
 */
void say(const char *format, ...) __attribute__((format(printf, 1, 2)));

/* Appends as say() does, ends the line, and prints it behind "vireo-guest: ". */
void report(const char *format, ...) __attribute__((format(printf, 1, 2)));

#endif
