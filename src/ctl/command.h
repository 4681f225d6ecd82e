/*
 * The commands of the monitor: one table for text and, over the same rows, other languages.
 *
 * A command has typed arguments and answers with a JSON value; how a value is shown is the
 * printer's business.
 */
#ifndef VIREO_CTL_COMMAND_H
#define VIREO_CTL_COMMAND_H

#include <jansson.h>
#include <stdbool.h>
#include <stdio.h>

#include "base/err.h"

struct machine;

struct command_arg {
	const char *name;
	enum {
		ARG_STRING,
		ARG_BOOL,
		ARG_INT
	} type; /* ARG_BOOL: on|off */
	bool optional;
};

#define COMMAND_ARGS_MAX 4

struct command {
	const char *name;			   /* "quit", "info status" */
	struct command_arg args[COMMAND_ARGS_MAX]; /* ends with name NULL */
	const char *help;
	/* args: an object with every argument that was given. *result: the answer, owned by the
	 * caller; NULL = nothing to say. Control thread. 0 or -errno with err set. */
	int (*run)(struct machine *machine, json_t *args, json_t **result, struct err *err);
	/* Prints the answer for people; NULL: command_print_value(). */
	void (*print)(FILE *out, json_t *result);
};

/* Runs a line of text ("set_link n0 off") and prints the answer, or the error, to out. */
void command_run_line(struct machine *machine, const char *line, FILE *out);

/* Indented "name: value" lines. */
void command_print_value(FILE *out, json_t *value);

#endif
