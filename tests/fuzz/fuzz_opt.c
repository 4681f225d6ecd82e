/*
 * The option parser: opt_parse() and opt_apply() over a table with every type. The input's first
 * line is the option's text; the rest are values for the single parsers.
 */
#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "base/opt.h"

struct fields {
	char *s, *sd;
	bool b;
	enum opt_tri t;
	uint8_t u8;
	uint16_t u16;
	uint32_t u32;
	uint64_t u64, size;
	uint8_t mac[6];
	int e;
	uint64_t guard;
};

static const char *const names[] = {"raw", "qcow2", "auto", NULL};

#define FIELD(f) offsetof(struct fields, f)
static const struct opt_desc table[] = {
	{"s", OPT_STRING, FIELD(s), NULL, "text"},
	{"string", OPT_STRING, FIELD(sd), "default", "text"},
	{"b", OPT_BOOL, FIELD(b), "on", "bool"},
	{"tri", OPT_TRI, FIELD(t), NULL, "tri"},
	{"u8", OPT_U8, FIELD(u8), NULL, "u8"},
	{"u16", OPT_U16, FIELD(u16), "4", "u16", 1, 16},
	{"u32", OPT_U32, FIELD(u32), NULL, "u32"},
	{"u64", OPT_U64, FIELD(u64), NULL, "u64"},
	{"size", OPT_SIZE, FIELD(size), "1M", "size", 512, 1u << 30},
	{"mac", OPT_MAC, FIELD(mac), NULL, "mac"},
	{"enum", OPT_ENUM, FIELD(e), "raw", "enum", .names = names},
	{NULL, OPT_END},
};

static void check_list(const char *text)
{
	const struct opt_desc *const tables[] = {table};
	struct fields f = {.guard = 0x5aa5};
	struct opt_list list;
	struct err err = {0};

	if (opt_parse(&list, "-fuzz", text, text[0] == 'x' ? NULL : "type", &err) == 0) {
		for (size_t i = 0; i < list.n; i++)
			assert(list.pairs[i].key[0]);
		opt_take(&list, "type");
		err.msg[0] = '\0';
		if (opt_apply(table, &f, &list, &err) == 0) {
			assert(f.sd && f.u16 >= 1 && f.u16 <= 16);
			assert(f.size >= 512 && f.size <= 1u << 30 && f.e >= 0 && f.e < 3);
			if (opt_all_used(&list, tables, 1, &err) < 0)
				assert(err.msg[0]);
			opt_release(table, &f);
		} else {
			assert(err.msg[0] && err.code < 0);
		}
		assert(f.guard == 0x5aa5 && !f.s && !f.sd);
		opt_free(&list);
	} else {
		assert(err.msg[0] && err.code < 0 && !list.pairs);
	}
	assert(!strpbrk(err.msg, "\n\r\x1b"));
}

static void check_value(const char *text)
{
	uint64_t v;
	uint8_t mac[6];
	bool b;

	opt_parse_u64(text, &v);
	opt_parse_size(text, 1 << 20, &v);
	opt_parse_bool(text, &b);
	opt_parse_mac(text, mac);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	char *text = strndup((const char *)data, size);
	char *rest = text, *line;

	for (int i = 0; (line = strsep(&rest, "\n")); i++) {
		if (i == 0)
			check_list(line);
		check_value(line);
	}
	free(text);
	return 0;
}
