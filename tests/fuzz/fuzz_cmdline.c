/*
 * The command line: argv from the fuzzer's bytes, one argument a line, through cmdline_parse(). It
 * ends in a description of a VM that adds up, or in one line that says why not; and it opens
 * nothing: the linker puts the functions here in the place of libc's.
 */
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "ctl/cmdline.h"

#define ARGS_MAX 64

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerInitialize(int *argc, char ***argv);
int __real_open(const char *path, int flags, ...);
int __wrap_open(const char *path, int flags, ...);
int __real_stat(const char *path, struct stat *st);
int __wrap_stat(const char *path, struct stat *st);
int __real_socket(int domain, int type, int protocol);
int __wrap_socket(int domain, int type, int protocol);
FILE *__real_fopen(const char *path, const char *mode);
FILE *__wrap_fopen(const char *path, const char *mode);

static void check(bool ok)
{
	if (!ok)
		abort();
}

/* The fuzzer itself has files to open: it is the parser that hasn't. */
static bool parsing;

int __wrap_open(const char *path, int flags, ...)
{
	va_list ap;
	int mode;

	check(!parsing);
	va_start(ap, flags);
	mode = va_arg(ap, int);
	va_end(ap);
	return __real_open(path, flags, mode);
}

int __wrap_stat(const char *path, struct stat *st)
{
	check(!parsing);
	return __real_stat(path, st);
}

int __wrap_socket(int domain, int type, int protocol)
{
	check(!parsing);
	return __real_socket(domain, type, protocol);
}

FILE *__wrap_fopen(const char *path, const char *mode)
{
	check(!parsing);
	return __real_fopen(path, mode);
}

static void check_config(const struct cmdline *cl)
{
	const struct cpu_topology *t = &cl->vm.topology;
	const struct config_item *item;

	check(cl->vm.kernel && cl->vm.memory.size >= 2 << 20 && cl->vm.memory.size % 4096 == 0);
	check(t->cpus && t->cpus == (uint64_t)t->sockets * t->cores * t->threads);
	check(cl->n_monitors <= CMDLINE_MONITORS_MAX);
	for (unsigned int i = 0; i < cl->n_monitors; i++)
		check(cl->monitors[i]);
	TAILQ_FOREACH(item, &cl->vm.items, link) {
		check(item->type && item->list.text);
		for (size_t i = 0; i < item->list.n; i++)
			check(item->list.pairs[i].key && item->list.pairs[i].value);
	}
}

/* Help goes to standard output. */
int LLVMFuzzerInitialize(int *argc, char ***argv)
{
	check(freopen("/dev/null", "w", stdout));
	return 0;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	char *text = strndup((const char *)data, size), *rest = text;
	char *argv[ARGS_MAX] = {(char *)"vireo"};
	struct err err = {0};
	struct cmdline cl;
	int argc = 1, rc;

	while (argc < ARGS_MAX && (argv[argc] = strsep(&rest, "\n")))
		argc++;
	parsing = true;
	rc = cmdline_parse(&cl, argc, argv, &err);
	parsing = false;
	check(rc <= 0);
	if (rc < 0)
		check(err.msg[0] && err.code < 0 && !strpbrk(err.msg, "\n\r\x1b"));
	else if (!cl.done)
		check_config(&cl);
	cmdline_free(&cl);
	free(text);
	return 0;
}
