/*
 * `vireo probe` as a value and as text: from a value made here, and, where there is a /dev/kvm for
 * us, from the host.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "kvm/probe.h"

static char *text_of(const json_t *value)
{
	char *text = NULL;
	size_t size;
	FILE *out = open_memstream(&text, &size);

	assert_non_null(out);
	probe_print_text(out, value);
	fclose(out);
	return text;
}

static void test_text(void **state)
{
	json_t *value = json_pack("{s:i, s:b, s:f, s:s, s:[s, s]}", "max_vcpus", 288, "irqfd", 1,
				  "cpl0_ns_per_instruction", 0.25, "cpl0_sse", "ok", "summary",
				  "It can.", "It could more.");
	char *text;

	assert_non_null(value);
	text = text_of(value);
	assert_true(!strncmp(text, "It can.\nIt could more.\n\n", 24));
	assert_non_null(strstr(text, " 288\n"));
	assert_non_null(strstr(text, " 0.25\n"));
	assert_non_null(strstr(text, " ok\n"));
	free(text);
	json_decref(value);
}

static void test_host(void **state)
{
	static const char *const keys[] = {"kvm_api_version",
					   "max_vcpus",
					   "irqfd",
					   "ioeventfd",
					   "signal_msi",
					   "dirty_ring_bytes",
					   "iommu_groups",
					   "tun",
					   "vhost_net",
					   "io_uring",
					   "verdict",
					   "real_mode",
					   "cpl0_ns_per_instruction",
					   "missing",
					   "summary"};
	enum probe_verdict verdict;
	struct err err = {0};
	const char *name;
	char why[256], *text;
	json_t *value;

	if (access("/dev/kvm", R_OK | W_OK))
		skip(); /* no KVM for us */
	value = probe_host(&err);
	if (!value)
		fail_msg("%s", err.msg);
	for (size_t i = 0; i < sizeof(keys) / sizeof(keys[0]); i++)
		if (!json_object_get(value, keys[i]))
			fail_msg("no %s", keys[i]);
	assert_int_equal(json_integer_value(json_object_get(value, "kvm_api_version")), 12);
	assert_true(json_array_size(json_object_get(value, "summary")) > 0);

	/* The same verdict, and the sentence opens the text. */
	assert_int_equal(probe_guest_code(&verdict, why, sizeof(why), &err), 0);
	name = json_string_value(json_object_get(value, "verdict"));
	assert_non_null(name);
	assert_string_equal(name, verdict == PROBE_ORDINARY   ? "ordinary"
				  : verdict == PROBE_EMULATED ? "emulated"
							      : "broken");
	text = text_of(value);
	assert_true(!strncmp(text, "this KVM ", 9) && !strncmp(why, "this KVM ", 9));
	free(text);
	json_decref(value);
}

int main(void)
{
	const struct CMUnitTest tests[] = {cmocka_unit_test(test_text),
					   cmocka_unit_test(test_host)};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
