/* Option lists and tables: base/opt.c, base/opt_value.c. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/opt.h"

struct fields {
	char *name, *path;
	bool vhost;
	enum opt_tri csum;
	uint8_t u8;
	uint16_t queues;
	uint32_t u32;
	uint64_t u64, size;
	uint8_t mac[6];
	int mode;
};

static const char *const modes[] = {"threads", "native", "io_uring", NULL};

#define FIELD(f) offsetof(struct fields, f)
static const struct opt_desc table[] = {
	{"name", OPT_STRING, FIELD(name), NULL, "what it is called"},
	{"path", OPT_STRING, FIELD(path), "/dev/null", "where it is"},
	{"vhost", OPT_BOOL, FIELD(vhost), NULL, "in the kernel"},
	{"csum", OPT_TRI, FIELD(csum), NULL, "checksum offload"},
	{"u8", OPT_U8, FIELD(u8), NULL, "a byte"},
	{"queues", OPT_U16, FIELD(queues), "1", "queue pairs", 1, 16},
	{"u32", OPT_U32, FIELD(u32), "0x10", "a word"},
	{"u64", OPT_U64, FIELD(u64), NULL, "a long word"},
	{"size", OPT_SIZE, FIELD(size), "64K", "bytes", 512, 1u << 30},
	{"mac", OPT_MAC, FIELD(mac), NULL, "the address"},
	{"mode", OPT_ENUM, FIELD(mode), "native", "how", .names = modes},
	{NULL, OPT_END},
};

static struct err err;

static int apply(const char *text, struct fields *f)
{
	const struct opt_desc *const tables[] = {table};
	struct opt_list list;
	int ret = opt_parse(&list, "-netdev", text, "type", &err);

	memset(f, 0xff, sizeof(*f));
	if (ret)
		return ret;
	opt_take(&list, "type");
	ret = opt_apply(table, f, &list, &err);
	if (!ret) {
		ret = opt_all_used(&list, tables, 1, &err);
		if (ret)
			opt_release(table, f);
	}
	opt_free(&list);
	return ret;
}

static void fails(const char *text, int code, const char *msg)
{
	struct fields f;

	assert_int_equal(apply(text, &f), code);
	assert_string_equal(err.msg, msg);
	assert_int_equal(err.code, code);
	if (f.name != (char *)UINTPTR_MAX)
		assert_null(f.name);
}

static void check_parse(const char *text, const char *implied, const char *want)
{
	struct opt_list list;
	char got[256] = "";

	assert_int_equal(opt_parse(&list, "-x", text, implied, &err), 0);
	for (size_t i = 0; i < list.n; i++)
		snprintf(got + strlen(got), sizeof(got) - strlen(got), "[%s|%s]", list.pairs[i].key,
			 list.pairs[i].value);
	assert_string_equal(got, want);
	opt_free(&list);
	opt_free(&list); /* twice is fine */
}

static void test_parse(void **state)
{
	struct opt_list list;

	check_parse("tap,id=n0,vhost=on", "type", "[type|tap][id|n0][vhost|on]");
	check_parse("id=n0,type=tap", "type", "[id|n0][type|tap]");
	check_parse("unix:/a,server,nowait", "path", "[path|unix:/a][server|on][wait|off]");
	check_parse("file=a,,b,,,x=1", NULL, "[file|a,b,][x|1]");
	check_parse("a,,b=c", "path", "[path|a,b=c]");
	check_parse("k=a=b", NULL, "[k|a=b]");
	check_parse("k=", NULL, "[k|]");
	check_parse("no", NULL, "[no|on]");
	check_parse("a=1,", NULL, "[a|1]");
	check_parse("", "type", "");
	assert_int_equal(opt_parse(&list, "-x", "=1", NULL, &err), -EINVAL);
	assert_int_equal(opt_parse(&list, "-x", ",a", NULL, &err), -EINVAL);
	assert_string_equal(err.msg, "-x ,a: nothing before ',' (',,' stands for a comma)");
	assert_null(list.pairs);
}

static void test_get(void **state)
{
	struct opt_list list = {0};

	assert_int_equal(opt_add(&list, "a", "1"), 0);
	assert_int_equal(opt_add(&list, "a", "2"), 0);
	assert_string_equal(opt_get(&list, "a"), "2");
	assert_false(list.pairs[0].used);
	assert_null(opt_get(&list, "b"));
	assert_null(opt_take(&list, "b"));
	assert_string_equal(opt_take(&list, "a"), "2");
	assert_true(list.pairs[0].used && list.pairs[1].used);
	opt_free(&list);
}

static void test_defaults(void **state)
{
	struct fields f;

	assert_int_equal(apply("tap", &f), 0);
	assert_null(f.name);
	assert_string_equal(f.path, "/dev/null");
	assert_false(f.vhost);
	assert_int_equal(f.csum, OPT_AUTO);
	assert_int_equal(f.queues, 1);
	assert_int_equal(f.u32, 16);
	assert_int_equal(f.size, 65536);
	assert_int_equal(f.mode, 1);
	assert_memory_equal(f.mac, "\0\0\0\0\0\0", 6);
	opt_release(table, &f);
	assert_null(f.path);
}

static void test_values(void **state)
{
	struct fields f;

	assert_int_equal(apply("tap,name=x,path=a,path=b,vhost,csum=off,u8=255,queues=16,"
			       "u32=0xffffffff,u64=18446744073709551615,size=1G,"
			       "mac=52:54:0:12:Ab:56,mode=io_uring",
			       &f),
			 0);
	assert_string_equal(f.name, "x");
	assert_string_equal(f.path, "b");
	assert_true(f.vhost);
	assert_int_equal(f.csum, OPT_OFF);
	assert_int_equal(f.u8, 255);
	assert_int_equal(f.queues, 16);
	assert_int_equal(f.u32, UINT32_MAX);
	assert_true(f.u64 == UINT64_MAX);
	assert_int_equal(f.size, 1 << 30);
	assert_memory_equal(f.mac, "\x52\x54\x00\x12\xab\x56", 6);
	assert_int_equal(f.mode, 2);
	opt_release(table, &f);
}

static void test_errors(void **state)
{
	fails("tap,id=n0,vhsot=on", -EINVAL, "-netdev tap,id=n0,vhsot=on: unknown option 'id'");
	fails("tap,vhsot=on", -EINVAL,
	      "-netdev tap,vhsot=on: unknown option 'vhsot' (did you mean 'vhost'?)");
	fails("tap,que=on", -EINVAL, "-netdev tap,que=on: unknown option 'que'");
	fails("tap,name=a,queues=99", -ERANGE,
	      "-netdev tap,name=a,queues=99: queues: 99 is out of range (1 to 16)");
	fails("tap,u8=256", -ERANGE, "-netdev tap,u8=256: u8: 256 is out of range (0 to 255)");
	fails("tap,size=511", -ERANGE,
	      "-netdev tap,size=511: size: 511 is out of range (512 to 1G)");
	fails("tap,size=99999999999999999999", -ERANGE,
	      "-netdev tap,size=99999999999999999999: size: 99999999999999999999 is out of range "
	      "(512 to 1G)");
	fails("tap,u64=-1", -EINVAL,
	      "-netdev tap,u64=-1: u64: '-1' is not a number (decimal, or hexadecimal after 0x)");
	fails("tap,vhost=maybe", -EINVAL,
	      "-netdev tap,vhost=maybe: vhost: 'maybe' is not on or off");
	fails("tap,csum=x", -EINVAL, "-netdev tap,csum=x: csum: 'x' is not on, off or auto");
	fails("tap,mac=1:2:3", -EINVAL,
	      "-netdev tap,mac=1:2:3: mac: '1:2:3' is not a MAC address (such as "
	      "52:54:00:12:34:56)");
	fails("tap,mode=iouring", -EINVAL,
	      "-netdev tap,mode=iouring: mode: 'iouring' is not one of threads, native, io_uring "
	      "(did you mean 'io_uring'?)");
}

static void test_parsers(void **state)
{
	static const char *const bad_numbers[] = {"",	" 1",  "+1", "-1", "1 ",
						  "0x", "0xg", "1k", "x1", "0x-1"};
	static const char *const bad_macs[] = {"",	     "1:2:3:4:5",     "1:2:3:4:5:6:",
					       "1:2:3:4:5:", "123:2:3:4:5:6", "1:2:3:4:5:g",
					       "1-2-3-4-5-6"};
	uint8_t mac[6];
	uint64_t v;
	bool b;

	for (size_t i = 0; i < sizeof(bad_numbers) / sizeof(*bad_numbers); i++)
		assert_int_equal(opt_parse_u64(bad_numbers[i], &v), -EINVAL);
	assert_int_equal(opt_parse_u64("010", &v), 0);
	assert_int_equal(v, 10);
	assert_int_equal(opt_parse_u64("18446744073709551616", &v), -ERANGE);
	assert_int_equal(opt_parse_u64("0x10000000000000000", &v), -ERANGE);
	assert_int_equal(opt_parse_size("2", 1024 * 1024, &v), 0);
	assert_int_equal(v, 2 << 20);
	assert_int_equal(opt_parse_size("512M", 1024 * 1024, &v), 0);
	assert_int_equal(v, 512 << 20);
	assert_int_equal(opt_parse_size("1t", 1, &v), 0);
	assert_true(v == 1ull << 40);
	assert_int_equal(opt_parse_size("7B", 1024, &v), 0);
	assert_int_equal(v, 7);
	assert_int_equal(opt_parse_size("16777216T", 1, &v), -ERANGE);
	assert_int_equal(opt_parse_size("1Mx", 1, &v), -EINVAL);
	assert_int_equal(opt_parse_size("M", 1, &v), -EINVAL);
	for (size_t i = 0; i < sizeof(bad_macs) / sizeof(*bad_macs); i++)
		assert_int_equal(opt_parse_mac(bad_macs[i], mac), -EINVAL);
	assert_int_equal(opt_parse_bool("yes", &b), 0);
	assert_true(b);
	assert_int_equal(opt_parse_bool("false", &b), 0);
	assert_false(b);
	assert_int_equal(opt_parse_bool("ON", &b), -EINVAL);
}

static void test_help(void **state)
{
	char *text = NULL;
	size_t n;
	FILE *out = open_memstream(&text, &n);

	opt_help(out, table);
	fclose(out);
	assert_non_null(strstr(text, "  name=<text>  what it is called\n"));
	assert_non_null(strstr(text, "  queues=<1..16>  queue pairs (default: 1)\n"));
	assert_non_null(strstr(text, "  size=<size 512..1G>  bytes (default: 64K)\n"));
	assert_non_null(strstr(text, "  mode=threads|native|io_uring  how (default: native)\n"));
	free(text);
}

/* An option that may stand any number of times. */
static void test_strings(void **state)
{
	struct {
		char **names, **none;
	} o;
	static const struct opt_desc table[] = {
		{.name = "name", .type = OPT_STRINGS, .offset = 0},
		{.name = "none", .type = OPT_STRINGS, .offset = sizeof(char **)},
		{.name = NULL, .type = OPT_END},
	};
	static const struct opt_desc *const tables[] = {table};
	struct opt_list list;
	struct err err = {0};

	assert_int_equal(opt_parse(&list, "-x", "name=a,name=b,,c,name=", NULL, &err), 0);
	assert_int_equal(opt_apply(table, &o, &list, &err), 0);
	assert_int_equal(opt_all_used(&list, tables, 1, &err), 0);
	opt_free(&list);
	assert_string_equal(o.names[0], "a");
	assert_string_equal(o.names[1], "b,c");
	assert_string_equal(o.names[2], "");
	assert_null(o.names[3]);
	assert_null(o.none);
	opt_release(table, &o);
	assert_null(o.names);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_strings), cmocka_unit_test(test_parse),
		cmocka_unit_test(test_get),	cmocka_unit_test(test_defaults),
		cmocka_unit_test(test_values),	cmocka_unit_test(test_errors),
		cmocka_unit_test(test_parsers), cmocka_unit_test(test_help),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
