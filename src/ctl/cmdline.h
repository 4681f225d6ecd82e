/*
 * QEMU's command line, turned into a struct vm_config.
 */
#ifndef VIREO_CTL_CMDLINE_H
#define VIREO_CTL_CMDLINE_H

#include <stdbool.h>
#include <stdio.h>

#include "base/err.h"
#include "machine/config.h"

#define CMDLINE_MONITORS_MAX 5 /* 4 of -monitor, and the one that shares the first serial port */

/* What the command line says besides the VM itself. */
struct cmdline {
	struct vm_config vm;
	char *pidfile;
	char *process_name;		      /* -name process= */
	char *monitors[CMDLINE_MONITORS_MAX]; /* ids of chardevs */
	unsigned int n_monitors;
	bool daemonize;
	bool done; /* help or version was printed: nothing to run */

	/* Used while parsing. */
	bool nographic, display_none, nodefaults, has_serial, has_monitor, accel_kvm;
	unsigned int n_serial;
	const char *stdio_user;	       /* the option that has stdio */
	TAILQ_HEAD(, legacy_net) nets; /* -net nic and -net tap, until they are paired */
};

/* Parses argv[1..). 0, or a negative errno with one line in err. cmdline_free() in both cases. */
int cmdline_parse(struct cmdline *cl, int argc, char **argv, struct err *err);
void cmdline_free(struct cmdline *cl);

/* ---- cmdline_words.c, for the files that take single options apart: 0 or -errno with err set ---- */

/* Parses "key=value,..." or, where the text starts with '{', JSON: nested members become "a.b",
 * booleans on and off. */
int cmdline_options(struct opt_list *list, const char *option, const char *text,
		    const char *implied, struct err *err);
/* Is text "help" or "?"? Then `list` prints what there is, and nothing is run. */
bool cmdline_asks_help(struct cmdline *cl, const char *text, void (*list)(FILE *out));
/* Takes `key` out of the list (marks it used) as a copy; NULL when absent. */
char *cmdline_take(struct opt_list *list, const char *key);
/* Fails when list has pairs that nobody took. */
int cmdline_all_taken(const struct opt_list *list, struct err *err);
/* Drops the pairs that were taken, so that the rest can be given to its owner. */
void cmdline_drop_taken(struct opt_list *list);
/* An id "prefixN" that no item has yet: tap0, serial1. */
void cmdline_make_id(struct cmdline *cl, const char *prefix, char *id, size_t size);

/* An option that is an item as it stands: "TYPE,id=ID[,...]"; in JSON the type is type_key's. */
int cmdline_item(struct cmdline *cl, enum config_kind kind, const char *option, const char *text,
		 const char *type_key, const char *example, struct err *err);
/* field = a copy of text. 0 or -ENOMEM. */
int cmdline_replace(char **field, const char *text);
/* "OPTION TEXT: why"; returns -EINVAL. */
int cmdline_refuse(struct err *err, const char *option, const char *text, const char *why);

/* ---- one function per option, by file; text: its argument ---- */

/* cmdline_machine.c */
int cmdline_kernel(struct cmdline *cl, const char *text, struct err *err);
int cmdline_initrd(struct cmdline *cl, const char *text, struct err *err);
int cmdline_append(struct cmdline *cl, const char *text, struct err *err);
int cmdline_memory(struct cmdline *cl, const char *text, struct err *err);
int cmdline_mem_path(struct cmdline *cl, const char *text, struct err *err);
int cmdline_mem_prealloc(struct cmdline *cl, const char *text, struct err *err);
int cmdline_smp(struct cmdline *cl, const char *text, struct err *err);
int cmdline_cpu(struct cmdline *cl, const char *text, struct err *err);
int cmdline_accel(struct cmdline *cl, const char *text, struct err *err);
int cmdline_machine(struct cmdline *cl, const char *text, struct err *err);
int cmdline_name(struct cmdline *cl, const char *text, struct err *err);
int cmdline_uuid(struct cmdline *cl, const char *text, struct err *err);
int cmdline_rtc(struct cmdline *cl, const char *text, struct err *err);

/* cmdline_char.c */
int cmdline_chardev(struct cmdline *cl, const char *text, struct err *err);
int cmdline_serial(struct cmdline *cl, const char *text, struct err *err);
int cmdline_monitor(struct cmdline *cl, const char *text, struct err *err);
/* The console and monitor that a VM has without having asked for them. */
int cmdline_char_defaults(struct cmdline *cl, struct err *err);

/* cmdline_net.c and cmdline_blk.c */
int cmdline_net(struct cmdline *cl, const char *text, struct err *err);	   /* -net */
int cmdline_nic(struct cmdline *cl, const char *text, struct err *err);	   /* -nic */
int cmdline_netdev(struct cmdline *cl, const char *text, struct err *err); /* -netdev */
int cmdline_net_finish(struct cmdline *cl, struct err *err); /* pairs what -net gave */
void cmdline_net_free(struct cmdline *cl);
int cmdline_drive(struct cmdline *cl, const char *text, struct err *err);    /* -drive */
int cmdline_blockdev(struct cmdline *cl, const char *text, struct err *err); /* -blockdev */

#endif
