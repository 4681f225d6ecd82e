/*
 * The access list of vireo-bridge-helper.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "bridge_helper/acl.h"

static int none(struct acl *acl, const char *path, unsigned int depth, struct err *err)
{
	fail_msg("include %s", path);
	return 0;
}

static bool allows(const char *text, const char *bridge)
{
	struct acl acl = {.bridge = bridge, .include = none};
	struct err err = {0};

	if (acl_text(&acl, text, strlen(text), "list", 0, &err))
		fail_msg("%s", err.msg);
	return acl_allows(&acl);
}

static void refused(const char *text, const char *words)
{
	struct acl acl = {.bridge = "br0", .include = none};
	struct err err = {0};

	assert_int_equal(acl_text(&acl, text, strlen(text), "list", 0, &err), -EINVAL);
	if (!strstr(err.msg, words))
		fail_msg("\"%s\" is not in: %s", words, err.msg);
}

static void test_rules(void **state)
{
	assert_false(allows("", "br0"));
	assert_true(allows("allow br0", "br0"));
	assert_true(allows("allow br0\n", "br0"));
	assert_false(allows("allow br0\n", "br1"));
	assert_false(allows("allow br0\n", "br"));
	assert_false(allows("allow br\n", "br0"));
	assert_true(allows("allow all", "br0"));
	/* a deny wins, wherever it stands */
	assert_false(allows("allow all\ndeny br0\n", "br0"));
	assert_false(allows("deny br0\nallow all\n", "br0"));
	assert_true(allows("deny br0\nallow all\n", "br1"));
	assert_false(allows("allow br0\ndeny all\n", "br0"));
}

static void test_form(void **state)
{
	assert_true(allows("# a comment\n\n \t allow\t br0 \r\n", "br0"));
	assert_true(allows("allow br0# as QEMU's, no blank is needed\n", "br0"));
	assert_false(allows("#allow br0\n", "br0"));
	assert_false(allows("\n\n#\n   \n", "br0"));
	refused("allow", "list:1: not a rule");
	refused("\n\nallow br0 br1\n", "list:3");
	refused("permit br0\n", "\"permit\" is no rule");
	refused("Allow br0\n", "\"Allow\"");
	refused("br0\n", "list:1");
	refused("aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa\001 b\n", "no rule");
}

static char dir[] = "/tmp/vireo-test-XXXXXX";

static const char *file(const char *name, const char *text, mode_t mode)
{
	static char path[64];
	FILE *f;

	snprintf(path, sizeof(path), "%s/%s", dir, name);
	unlink(path);
	f = fopen(path, "w");
	assert_non_null(f);
	fputs(text, f);
	fclose(f);
	assert_int_equal(chmod(path, mode), 0);
	return path;
}

static int read_list(const char *name, bool trusted_only, bool *allowed, struct err *err)
{
	struct acl acl = {.bridge = "br0", .include = acl_file, .trusted_only = trusted_only};
	char path[64];
	int r;

	snprintf(path, sizeof(path), "%s/%s", dir, name);
	memset(err, 0, sizeof(*err));
	r = acl_file(&acl, path, 0, err);
	*allowed = acl_allows(&acl);
	return r;
}

static void test_files(void **state)
{
	char text[256];
	struct err err;
	bool allowed;

	assert_int_equal(read_list("main", false, &allowed, &err), -ENOENT);
	assert_false(allowed);
	snprintf(text, sizeof(text), "include %s\n", file("other", "allow br0\n", 0600));
	file("main", text, 0600);
	assert_int_equal(read_list("main", false, &allowed, &err), 0);
	assert_true(allowed);
	/* one that isn't there says nothing */
	file("main", "allow br0\ninclude /nonexistent/file\n", 0600);
	assert_int_equal(read_list("main", false, &allowed, &err), 0);
	assert_true(allowed);
	/* what is wrong in an included file counts, with its name and line */
	snprintf(text, sizeof(text), "allow br0\ninclude %s\n",
		 file("other", "\ndenny br0\n", 0600));
	file("main", text, 0600);
	assert_int_equal(read_list("main", false, &allowed, &err), -EINVAL);
	assert_non_null(strstr(err.msg, "other:2"));
	/* itself, for ever */
	snprintf(text, sizeof(text), "include %s/main\n", dir);
	file("main", text, 0600);
	assert_int_equal(read_list("main", false, &allowed, &err), -ELOOP);
	/* the current folder is the caller's to choose */
	file("main", "allow br0\ninclude other\n", 0600);
	assert_int_equal(read_list("main", false, &allowed, &err), -EINVAL);
	assert_non_null(strstr(err.msg, "main:2: include other"));
	/* no file */
	snprintf(text, sizeof(text), "include %s\n", dir);
	file("main", text, 0600);
	assert_int_equal(read_list("main", false, &allowed, &err), -EINVAL);
	file("main", "allow br0\n", 0600);
	snprintf(text, sizeof(text), "%s/pipe", dir);
	assert_int_equal(mkfifo(text, 0600), 0);
	assert_int_equal(read_list("pipe", false, &allowed, &err), -EINVAL);
	unlink(text);
	unlink(file("other", "", 0600));
	unlink(file("main", "", 0600));
}

/* For a program with rights that its caller lacks, the list is root's alone. */
static void test_trust(void **state)
{
	struct err err;
	bool allowed;

	file("main", "allow br0\n", 0644);
	if (getuid()) {
		assert_int_equal(read_list("main", true, &allowed, &err), -EPERM);
	} else {
		assert_int_equal(read_list("main", true, &allowed, &err), 0);
		assert_true(allowed);
		assert_int_equal(chown(file("main", "allow br0\n", 0644), 65534, 0), 0);
		assert_int_equal(read_list("main", true, &allowed, &err), -EPERM);
		assert_false(allowed);
	}
	for (mode_t mode = 0664; mode; mode = mode == 0664 ? 0646 : 0) {
		file("main", "allow br0\n", mode);
		assert_int_equal(read_list("main", true, &allowed, &err), -EPERM);
		assert_false(allowed);
		assert_non_null(strstr(err.msg, "chmod go-w"));
	}
	unlink(file("main", "", 0600));
}

static int make_dir(void **state)
{
	return mkdtemp(dir) ? 0 : -1;
}

static int remove_dir(void **state)
{
	return rmdir(dir);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_rules),
		cmocka_unit_test(test_form),
		cmocka_unit_test(test_files),
		cmocka_unit_test(test_trust),
	};

	return cmocka_run_group_tests(tests, make_dir, remove_dir);
}
