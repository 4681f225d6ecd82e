/*
 * Option tables: from the words that were written to the fields of a struct.
 *
 * Set-up only, on the thread that sets up. The list owns copies of all text; a struct that was
 * filled owns its strings until opt_release(). The parsers of single values are opt_value.c.
 *
 * An error names the option as it was written, the key, and what would be right:
 *
 *	-netdev tap,id=n0,vhsot=on: unknown option 'vhsot' (did you mean 'vhost'?)
 */
#include <errno.h>
#include <inttypes.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>

#include "base/opt.h"

/* ---- what was written ---- */

static const char *list_text(const struct opt_list *list)
{
	return list->text ? list->text : "option";
}

/* Takes over key and value, which may be NULL: out of memory. */
static int append(struct opt_list *list, char *key, char *value)
{
	struct opt_pair *pairs = NULL;

	if (key && value)
		pairs = reallocarray(list->pairs, list->n + 1, sizeof(*pairs));
	if (!pairs) {
		free(key);
		free(value);
		return -ENOMEM;
	}
	list->pairs = pairs;
	pairs[list->n++] = (struct opt_pair){.key = key, .value = value};
	return 0;
}

int opt_add(struct opt_list *list, const char *key, const char *value)
{
	return append(list, strdup(key), strdup(value));
}

/* Copies up to the next single comma, with ",," as one; *text goes behind that comma. NULL: out of
 * memory. */
static char *copy_item(const char **text)
{
	const char *p = *text;
	char *item = malloc(strlen(p) + 1);
	size_t n = 0;

	if (!item)
		return NULL;
	for (; *p; p++) {
		if (*p == ',') {
			p++;
			if (*p != ',')
				break;
		}
		item[n++] = *p;
	}
	item[n] = '\0';
	*text = p;
	return item;
}

/* One item: key=value, the implied value, key or nokey. */
static int parse_item(struct opt_list *list, const char **text, const char *implied,
		      struct err *err)
{
	size_t key_len = strcspn(*text, "=,");
	char *item;

	if (key_len == 0) {
		return err_set(err, -EINVAL, "%s: nothing before '%c' (',,' stands for a comma)",
			       list_text(list), **text);
	}
	if ((*text)[key_len] == '=') {
		char *key = strndup(*text, key_len);

		*text += key_len + 1;
		return append(list, key, copy_item(text));
	}
	item = copy_item(text);
	if (!item)
		return -ENOMEM;
	if (implied)
		return append(list, strdup(implied), item);
	if (strlen(item) > 2 && !strncmp(item, "no", 2)) {
		memmove(item, item + 2, strlen(item + 2) + 1);
		return append(list, item, strdup("off"));
	}
	return append(list, item, strdup("on"));
}

int opt_parse(struct opt_list *list, const char *option, const char *text, const char *implied,
	      struct err *err)
{
	int ret = 0;

	memset(list, 0, sizeof(*list));
	if (asprintf(&list->text, "%s%s%s", option, *text ? " " : "", text) < 0) {
		list->text = NULL;
		ret = -ENOMEM;
	}
	while (!ret && *text) {
		ret = parse_item(list, &text, implied, err);
		implied = NULL;
	}
	if (ret == -ENOMEM)
		err_set(err, ret, "%s: out of memory", option);
	if (ret)
		opt_free(list);
	return ret;
}

const char *opt_get(const struct opt_list *list, const char *key)
{
	for (size_t i = list->n; i > 0; i--) {
		if (!strcmp(list->pairs[i - 1].key, key))
			return list->pairs[i - 1].value;
	}
	return NULL;
}

const char *opt_take(struct opt_list *list, const char *key)
{
	const char *value = NULL;

	for (size_t i = 0; i < list->n; i++) {
		if (strcmp(list->pairs[i].key, key))
			continue;
		list->pairs[i].used = true;
		value = list->pairs[i].value;
	}
	return value;
}

void opt_free(struct opt_list *list)
{
	for (size_t i = 0; i < list->n; i++) {
		free(list->pairs[i].key);
		free(list->pairs[i].value);
	}
	free(list->pairs);
	free(list->text);
	memset(list, 0, sizeof(*list));
}

/* ---- the nearest name ---- */

#define NAME_MAX_LEN 32

/* Edits (insert, delete, replace, swap neighbours) that make b of a; names longer than NAME_MAX_LEN
 * count as far away. */
static unsigned int distance(const char *a, const char *b)
{
	unsigned int row[3][NAME_MAX_LEN + 1];
	unsigned int *last2 = row[0], *last = row[1], *cur = row[2];
	size_t la = strlen(a), lb = strlen(b);

	if (la > NAME_MAX_LEN || lb > NAME_MAX_LEN)
		return UINT_MAX;
	for (size_t j = 0; j <= lb; j++)
		last[j] = j;
	for (size_t i = 1; i <= la; i++) {
		unsigned int *spare = last2;

		cur[0] = i;
		for (size_t j = 1; j <= lb; j++) {
			unsigned int best = last[j - 1] + (a[i - 1] != b[j - 1]);

			if (last[j] + 1 < best)
				best = last[j] + 1;
			if (cur[j - 1] + 1 < best)
				best = cur[j - 1] + 1;
			if (i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1] &&
			    last2[j - 2] + 1 < best)
				best = last2[j - 2] + 1;
			cur[j] = best;
		}
		last2 = last;
		last = cur;
		cur = spare;
	}
	return last[lb];
}

/* Keeps the name nearest to word: at most a third of its letters wrong. */
struct nearest {
	const char *word;
	const char *name;
	unsigned int distance;
};

static void nearest_try(struct nearest *nearest, const char *name)
{
	unsigned int d = distance(nearest->word, name);

	if (d <= (strlen(name) + 2) / 3 && (!nearest->name || d < nearest->distance)) {
		nearest->name = name;
		nearest->distance = d;
	}
}

static void nearest_hint(const struct nearest *nearest, struct err *err)
{
	if (nearest->name)
		err_hint(err, "(did you mean '%s'?)", nearest->name);
}

static bool at_end(const struct opt_desc *d)
{
	return !d->name || d->type == OPT_END;
}

int opt_all_used(const struct opt_list *list, const struct opt_desc *const *tables, size_t n_tables,
		 struct err *err)
{
	struct nearest nearest = {0};
	size_t known = 0;

	for (size_t i = 0; i < list->n && !nearest.word; i++) {
		if (!list->pairs[i].used)
			nearest.word = list->pairs[i].key;
	}
	if (!nearest.word)
		return 0;
	err_set(err, -EINVAL, "%s: unknown option '%s'", list_text(list), nearest.word);
	for (size_t t = 0; t < n_tables; t++) {
		for (const struct opt_desc *d = tables[t]; d && !at_end(d); d++, known++)
			nearest_try(&nearest, d->name);
	}
	if (!nearest.name && !known)
		err_hint(err, "(there are no options)");
	nearest_hint(&nearest, err);
	return -EINVAL;
}

/* ---- what it may be ---- */

/* Bytes as a person would write them: 64K, 1M, 513. */
static const char *size_text(uint64_t bytes, char buf[24])
{
	static const char suffix[] = "\0KMGT";
	size_t i = 0;

	while (i < 4 && bytes && bytes % 1024 == 0) {
		bytes /= 1024;
		i++;
	}
	snprintf(buf, 24, "%" PRIu64 "%s", bytes, (char[2]){suffix[i], 0});
	return buf;
}

static uint64_t type_max(enum opt_type type)
{
	switch (type) {
	case OPT_U8:
		return UINT8_MAX;
	case OPT_U16:
		return UINT16_MAX;
	case OPT_U32:
		return UINT32_MAX;
	default:
		return UINT64_MAX;
	}
}

static void store_number(const struct opt_desc *d, void *field, uint64_t v)
{
	switch (d->type) {
	case OPT_U8:
		*(uint8_t *)field = v;
		break;
	case OPT_U16:
		*(uint16_t *)field = v;
		break;
	case OPT_U32:
		*(uint32_t *)field = v;
		break;
	default:
		*(uint64_t *)field = v;
	}
}

static int set_number(const struct opt_desc *d, void *field, const char *value, struct err *err)
{
	bool size = d->type == OPT_SIZE;
	uint64_t max = d->max && d->max < type_max(d->type) ? d->max : type_max(d->type);
	char lo[24], hi[24];
	uint64_t v;
	int ret = size ? opt_parse_size(value, 1, &v) : opt_parse_u64(value, &v);

	if (ret == -EINVAL) {
		return err_set(err, ret, "'%s' is not a %s", value,
			       size ? "size in bytes (such as 4096, 64K, 1M or 2G)"
				    : "number (decimal, or hexadecimal after 0x)");
	}
	if (ret || v < d->min || v > max) {
		if (size)
			err_set(err, -ERANGE, "%s is out of range (%s to %s)", value,
				size_text(d->min, lo), size_text(max, hi));
		else
			err_set(err, -ERANGE, "%s is out of range (%" PRIu64 " to %" PRIu64 ")",
				value, d->min, max);
		return -ERANGE;
	}
	store_number(d, field, v);
	return 0;
}

static int set_enum(const struct opt_desc *d, int *field, const char *value, struct err *err)
{
	struct nearest nearest = {.word = value};

	for (int i = 0; d->names[i]; i++) {
		if (!strcmp(d->names[i], value)) {
			*field = i;
			return 0;
		}
		nearest_try(&nearest, d->names[i]);
	}
	err_set(err, -EINVAL, "'%s' is not one of", value);
	for (int i = 0; d->names[i]; i++)
		err_hint(err, d->names[i + 1] ? "%s," : "%s", d->names[i]);
	nearest_hint(&nearest, err);
	return -EINVAL;
}

static int set_bool(const struct opt_desc *d, void *field, const char *value, struct err *err)
{
	bool on;

	if (d->type == OPT_TRI && !strcmp(value, "auto")) {
		*(enum opt_tri *)field = OPT_AUTO;
		return 0;
	}
	if (opt_parse_bool(value, &on) < 0) {
		return err_set(err, -EINVAL, "'%s' is not %s", value,
			       d->type == OPT_TRI ? "on, off or auto" : "on or off");
	}
	if (d->type == OPT_TRI)
		*(enum opt_tri *)field = on ? OPT_ON : OPT_OFF;
	else
		*(bool *)field = on;
	return 0;
}

static int set_string(char **field, const char *value, struct err *err)
{
	*field = strdup(value);
	return *field ? 0 : err_set(err, -ENOMEM, "out of memory");
}

static int set_strings(char ***field, const struct opt_list *list, const char *key, struct err *err)
{
	size_t n = 0;

	*field = calloc(list->n + 1, sizeof(**field));
	if (!*field)
		return err_set(err, -ENOMEM, "out of memory");
	for (size_t i = 0; i < list->n; i++) {
		if (strcmp(list->pairs[i].key, key))
			continue;
		if (set_string(&(*field)[n++], list->pairs[i].value, err))
			return -ENOMEM;
	}
	return 0;
}

static int set_value(const struct opt_desc *d, void *field, const char *value, struct err *err)
{
	switch (d->type) {
	case OPT_STRING:
		return set_string(field, value, err);
	case OPT_BOOL:
	case OPT_TRI:
		return set_bool(d, field, value, err);
	case OPT_MAC:
		if (opt_parse_mac(value, field) == 0)
			return 0;
		return err_set(err, -EINVAL,
			       "'%s' is not a MAC address (such as 52:54:00:12:34:56)", value);
	case OPT_ENUM:
		return set_enum(d, field, value, err);
	default:
		return set_number(d, field, value, err);
	}
}

/* A field with neither a value nor a default. */
static void set_zero(const struct opt_desc *d, void *field)
{
	static const uint8_t no_mac[6];

	switch (d->type) {
	case OPT_STRING:
		*(char **)field = NULL;
		break;
	case OPT_STRINGS:
		*(char ***)field = NULL;
		break;
	case OPT_BOOL:
		*(bool *)field = false;
		break;
	case OPT_TRI:
		*(enum opt_tri *)field = OPT_AUTO;
		break;
	case OPT_MAC:
		memcpy(field, no_mac, sizeof(no_mac));
		break;
	case OPT_ENUM:
		*(int *)field = 0;
		break;
	default:
		store_number(d, field, 0);
	}
}

static void *field_of(const struct opt_desc *d, void *base)
{
	return (char *)base + d->offset;
}

int opt_apply(const struct opt_desc *table, void *base, struct opt_list *list, struct err *err)
{
	int ret;

	/* All of them first, so that opt_release() is good from here on. */
	for (const struct opt_desc *d = table; !at_end(d); d++)
		set_zero(d, field_of(d, base));
	for (const struct opt_desc *d = table; !at_end(d); d++) {
		const char *value = opt_take(list, d->name);

		if (!value)
			value = d->def;
		if (!value)
			continue;
		if (d->type == OPT_STRINGS)
			ret = set_strings(field_of(d, base), list, d->name, err);
		else
			ret = set_value(d, field_of(d, base), value, err);
		if (ret) {
			err_prefix(err, "%s: %s", list_text(list), d->name);
			opt_release(table, base);
			return ret;
		}
	}
	return 0;
}

static void release_strings(char ***field)
{
	for (size_t i = 0; *field && (*field)[i]; i++)
		free((*field)[i]);
	free(*field);
	*field = NULL;
}

void opt_release(const struct opt_desc *table, void *base)
{
	for (const struct opt_desc *d = table; !at_end(d); d++) {
		if (d->type == OPT_STRING) {
			char **field = field_of(d, base);

			free(*field);
			*field = NULL;
		} else if (d->type == OPT_STRINGS) {
			release_strings(field_of(d, base));
		}
	}
}

static void help_type(FILE *out, const struct opt_desc *d)
{
	uint64_t max = d->max && d->max < type_max(d->type) ? d->max : type_max(d->type);
	char lo[24], hi[24];

	switch (d->type) {
	case OPT_STRING:
		fputs("<text>", out);
		break;
	case OPT_STRINGS:
		fputs("<text> (any number of times)", out);
		break;
	case OPT_BOOL:
		fputs("on|off", out);
		break;
	case OPT_TRI:
		fputs("on|off|auto", out);
		break;
	case OPT_MAC:
		fputs("<MAC>", out);
		break;
	case OPT_ENUM:
		for (int i = 0; d->names[i]; i++)
			fprintf(out, "%s%s", i ? "|" : "", d->names[i]);
		break;
	case OPT_SIZE:
		if (d->max)
			fprintf(out, "<size %s..%s>", size_text(d->min, lo), size_text(max, hi));
		else
			fputs("<size>", out);
		break;
	default:
		if (d->max)
			fprintf(out, "<%" PRIu64 "..%" PRIu64 ">", d->min, max);
		else
			fputs("<number>", out);
	}
}

void opt_help(FILE *out, const struct opt_desc *table)
{
	for (const struct opt_desc *d = table; !at_end(d); d++) {
		fprintf(out, "  %s=", d->name);
		help_type(out, d);
		fprintf(out, "  %s", d->help ? d->help : "");
		if (d->def)
			fprintf(out, " (default: %s)", d->def);
		fputc('\n', out);
	}
}
