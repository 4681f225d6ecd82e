/*
 * Options: what a person wrote (`tap,id=n0,vhost=on`), and tables that say what it may be.
 *
 * Whoever owns an option owns one row of a table: name, type, place in its struct, default, help.
 * The same table fills the struct, answers `-device NAME,help`, and feeds the manual page.
 */
#ifndef VIREO_BASE_OPT_H
#define VIREO_BASE_OPT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include "base/err.h"

/* ---- what was written ---- */

struct opt_pair {
	char *key;
	char *value;
	bool used; /* some table took it */
};

struct opt_list {
	char *text; /* as it was written, option included: "-netdev tap,id=n0"; for messages */
	struct opt_pair *pairs;
	size_t n;
};

/* Splits "value,key=value,flag,noflag" into pairs; ",," stands for a comma in a value. A first item
 * without '=' gets the key `implied` (NULL: none); any other item without '=' is key=on, or key=off
 * when written nokey. option is the command line's word ("-netdev"). Returns 0, -EINVAL or -ENOMEM.
 */
int opt_parse(struct opt_list *list, const char *option, const char *text, const char *implied,
	      struct err *err);
int opt_add(struct opt_list *list, const char *key, const char *value); /* 0 or -ENOMEM */
/* The value; the last one wins; NULL = not there. _take marks it used, too. */
const char *opt_get(const struct opt_list *list, const char *key);
const char *opt_take(struct opt_list *list, const char *key);
void opt_free(struct opt_list *list);

/* -EINVAL, naming the first pair that no table took, its nearest known name of the tables given;
 * else 0. */
struct opt_desc;
int opt_all_used(const struct opt_list *list, const struct opt_desc *const *tables, size_t n_tables,
		 struct err *err);

/* ---- what it may be ---- */

enum opt_type {
	OPT_STRING,  /* char *, strdup'ed; NULL without default */
	OPT_STRINGS, /* char **, of every time that it was written, in order, NULL behind the last;
			NULL if it wasn't; no default */
	OPT_BOOL,    /* bool: on/off/yes/no/true/false */
	OPT_TRI,     /* enum opt_tri: on, off, auto */
	OPT_U8,
	OPT_U16,
	OPT_U32, /* decimal or 0x hex, within [min, max] where max is not 0 */
	OPT_U64,
	OPT_SIZE, /* uint64_t bytes: 4096, 64K, 1M, 2G, 1T; plain = bytes */
	OPT_MAC,  /* uint8_t[6]: 52:54:00:12:34:56 */
	OPT_ENUM, /* int: the index in names[] */
	OPT_END
};

enum opt_tri {
	OPT_AUTO,
	OPT_ON,
	OPT_OFF
};

struct opt_desc {
	const char *name;
	enum opt_type type;
	size_t offset;		  /* of the field in the struct that the table fills */
	const char *def;	  /* default, as text; NULL = zero */
	const char *help;	  /* one line: meaning and unit */
	uint64_t min, max;	  /* numbers and sizes */
	const char *const *names; /* OPT_ENUM: ends with NULL */
};

/* Writes every field of the table in base: the pair's value where there is one (and marks it used),
 * else the default. Errors name list->text, the key and what would be right. Returns 0, -EINVAL,
 * -ERANGE or -ENOMEM; after an error there is nothing to release. */
int opt_apply(const struct opt_desc *table, void *base, struct opt_list *list, struct err *err);
/* Frees what opt_apply() allocated (OPT_STRING, OPT_STRINGS). */
void opt_release(const struct opt_desc *table, void *base);
/* "  name=<type>  help (default: ...)", a line each. */
void opt_help(FILE *out, const struct opt_desc *table);

/* The parsers behind the types; 0, -EINVAL or -ERANGE. */
int opt_parse_u64(const char *text, uint64_t *value);
/* unit: of a number with no suffix, in bytes. */
int opt_parse_size(const char *text, uint64_t unit, uint64_t *value);
int opt_parse_bool(const char *text, bool *value);
int opt_parse_mac(const char *text, uint8_t mac[6]);

#endif
