/*
 * The CPUID template from made-up hosts: names, refusals, consistency, topology of both vendors.
 * No KVM is needed: the tables are built here.
 */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "kvm/cpuid_internal.h"

static struct kvm_cpuid_entry2 *put(struct cpuid_table *t, uint32_t leaf, uint32_t subleaf,
				    bool indexed)
{
	struct kvm_cpuid_entry2 *e = cpuid_get(t, leaf, subleaf, indexed);

	assert_non_null(e);
	return e;
}

/* A host with AVX-512, AMX bits that may not be used, SGX, its own topology, and KVM's leaves. */
static void make_host(struct cpuid_table *t, bool amd)
{
	const char *vendor = amd ? "AuthenticAMD" : "GenuineIntel";
	struct kvm_cpuid_entry2 *e;

	memset(t, 0, sizeof(*t));
	e = put(t, 0, 0, false);
	e->eax = 0x20;
	memcpy(&e->ebx, vendor, 4);
	memcpy(&e->edx, vendor + 4, 4);
	memcpy(&e->ecx, vendor + 8, 4);
	e = put(t, 1, 0, false);
	e->ebx = 0x77550800;
	e->ecx = 1u << 0 | 1u << 12 | 1u << 13 | 1u << 21 | 1u << 26 | 1u << 28 | 1u << 29;
	e->edx = 0x178bfbff;
	if (!amd) {
		for (unsigned int i = 0; i < 4; i++) {
			static const uint32_t eax[] = {0xfc000121, 0xfc000122, 0xfc004143,
						       0xfc1fc163};

			put(t, 4, i, true)->eax = eax[i];
		}
	}
	e = put(t, 7, 0, true);
	e->ebx = 1u << 2 | 1u << 5 | 1u << 16 | 1u << 17;
	e->ecx = 1u << 3 | 1u << 9;
	e->edx = 1u << 22 | 1u << 24 | 1u << 29;
	put(t, 0xb, 0, true)->ebx = 99;
	e = put(t, 0xd, 0, true);
	e->eax = 0x2e7;
	e->ebx = 2696;
	put(t, 0xd, 1, true)->eax = 0xf;
	put(t, 0xd, 2, true)->eax = 256;
	put(t, 0xd, 5, true)->eax = 64;
	put(t, 0xd, 9, true)->eax = 8;
	put(t, 0x12, 0, true)->eax = 1;
	put(t, 0x1f, 0, true)->ebx = 99;
	put(t, 0x8, 0, false); /* zeros */
	e = put(t, 0x80000000, 0, false);
	e->eax = 0x80000026;
	e = put(t, 0x80000001, 0, false);
	e->ecx = 1u << 0 | 1u << 2 | (amd ? 1u << 22 : 0);
	e->edx = 1u << 11 | 1u << 20 | 1u << 29 | (amd ? 0x183f3ff : 0);
	put(t, 0x80000007, 0, false)->edx = 1u << 8;
	put(t, 0x80000008, 0, false)->eax = 0x3030;
	if (amd) {
		static const uint32_t eax[] = {0x121, 0x122, 0x143, 0x3c163};

		put(t, 0x80000008, 0, false)->ecx = 0x707f;
		put(t, 0x8000000a, 0, false)->edx = 1;
		for (unsigned int i = 0; i < 4; i++)
			put(t, 0x8000001d, i, true)->eax = eax[i];
		put(t, 0x8000001e, 0, false)->ebx = 0x1ff;
		put(t, 0x8000001f, 0, false)->eax = 3;
	}
	put(t, 0x40000000, 0, false)->eax = 0x40000001;
	put(t, 0x40000001, 0, false)->eax = 0x01000009;
}

static const struct cpu_topology one = {1, 1, 1, 1};

static int build(struct cpuid *c, bool amd, const char *model, const struct cpu_topology *t,
		 struct err *err)
{
	static struct cpuid_table host;

	memset(c, 0, sizeof(*c));
	memset(err, 0, sizeof(*err));
	make_host(&host, amd);
	return cpuid_build(c, &host, true, model, t, err);
}

static uint32_t reg(struct cpuid_table *t, uint32_t leaf, uint32_t subleaf, enum cpuid_reg r)
{
	struct kvm_cpuid_entry2 *e = cpuid_find(t, leaf, subleaf);

	return e ? *cpuid_reg(e, r) : 0;
}

static void test_host(void **state)
{
	struct cpuid c;
	struct err err;

	assert_int_equal(build(&c, false, NULL, &one, &err), 0);
	assert_true(cpuid_test(&c.table, 1, 0, CPUID_ECX, 31));	 /* hypervisor */
	assert_true(cpuid_test(&c.table, 1, 0, CPUID_ECX, 24));	 /* TSC deadline */
	assert_false(cpuid_test(&c.table, 1, 0, CPUID_EDX, 28)); /* HTT: a single processor */
	assert_false(cpuid_test(&c.table, 7, 0, CPUID_EBX, 2));	 /* SGX */
	assert_null(cpuid_find(&c.table, 0x12, 0));
	assert_null(cpuid_find(&c.table, 8, 0));		 /* was all zeros */
	assert_true(cpuid_test(&c.table, 7, 0, CPUID_EDX, 29));	 /* Intel has ARCH_CAPABILITIES */
	assert_true(cpuid_test(&c.table, 7, 0, CPUID_EBX, 16));	 /* AVX-512 F */
	assert_false(cpuid_test(&c.table, 7, 0, CPUID_EDX, 24)); /* AMX: XCR0 hasn't its bits */
	assert_false(cpuid_test(&c.table, 7, 0, CPUID_EDX, 22));
	assert_int_equal(reg(&c.table, 0xd, 0, CPUID_EAX), 0x2e7);
	assert_int_equal(reg(&c.table, 0x80000000, 0, CPUID_EAX), 0x80000008);
	assert_int_equal(reg(&c.table, 0x40000001, 0, CPUID_EAX), 0x01000009);

	assert_int_equal(build(&c, true, "max", &one, &err), 0);
	assert_false(cpuid_test(&c.table, 7, 0, CPUID_EDX, 29)); /* AMD has no such MSR */
	assert_null(cpuid_find(&c.table, 0x8000001f, 0));
	assert_int_equal(reg(&c.table, 0x80000008, 0, CPUID_ECX), 0);
}

static void test_words(void **state)
{
	struct cpuid c;
	struct err err;

	assert_int_equal(build(&c, true, "host,-svm,-X2APIC,sse3=off,invtsc=off", &one, &err), 0);
	assert_false(cpuid_test(&c.table, 0x80000001, 0, CPUID_ECX, 2));
	assert_int_equal(reg(&c.table, 0x8000000a, 0, CPUID_EDX), 0);
	assert_false(cpuid_test(&c.table, 1, 0, CPUID_ECX, 21));
	assert_false(cpuid_test(&c.table, 1, 0, CPUID_ECX, 0));
	assert_int_equal(reg(&c.table, 0x80000007, 0, CPUID_EDX), 0);

	/* Both bits of a name, both spellings, and the copy that AMD keeps. */
	assert_int_equal(
		build(&c, true, "host,-kvmclock,-tsc_deadline,lahf_lm=on,-pat", &one, &err), 0);
	assert_int_equal(reg(&c.table, 0x40000001, 0, CPUID_EAX), 0x01000000);
	assert_false(cpuid_test(&c.table, 1, 0, CPUID_ECX, 24));
	assert_true(cpuid_test(&c.table, 0x80000001, 0, CPUID_ECX, 0));
	assert_false(cpuid_test(&c.table, 0x80000001, 0, CPUID_EDX, 16));

	/* The last word counts; what a word took away can be given back. */
	assert_int_equal(build(&c, false, "host,-avx2,+avx2", &one, &err), 0);
	assert_true(cpuid_test(&c.table, 7, 0, CPUID_EBX, 5));

	assert_int_equal(build(&c, false, "host,kvm=off", &one, &err), 0);
	assert_null(cpuid_find(&c.table, 0x40000000, 0));
	assert_int_equal(build(&c, false, "host,migratable=on", &one, &err), 0);
	assert_int_equal(reg(&c.table, 0x80000007, 0, CPUID_EDX), 0);
}

static void test_refused(void **state)
{
	static const struct {
		const char *model, *says;
		int code;
	} rows[] = {
		{"qemu64", "no CPU model 'qemu64'", -EINVAL},
		{"hostx,+avx", "no CPU model", -EINVAL},
		{"host,+frobnicate", "no CPU feature 'frobnicate'", -EINVAL},
		{"host,-frobnicate", "no CPU feature 'frobnicate'", -EINVAL},
		{"host,+sse4.2", "doesn't offer 'sse4-2'", -ENOTSUP},
		{"host,+amx-fp16", "doesn't offer 'amx-fp16'", -ENOTSUP},
		{"host,avx2=perhaps", "must be on or off", -EINVAL},
		{"host,+avx2=on", "both a sign and a value", -EINVAL},
		{"host,,", "is no CPU feature", -EINVAL},
		{"host,+", "is no CPU feature", -EINVAL},
		{"host,+a_name_that_is_longer_than_any_feature_has_ever_had", "is no CPU", -EINVAL},
		{"host,enforce=off", "can't be turned off", -ENOTSUP},
	};
	struct cpuid c;
	struct err err;

	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		assert_int_equal(build(&c, false, rows[i].model, &one, &err), rows[i].code);
		assert_non_null(strstr(err.msg, rows[i].says));
		assert_non_null(strstr(err.msg, "-cpu "));
	}
}

static void test_consistent(void **state)
{
	struct cpuid c;
	struct err err;

	assert_int_equal(build(&c, false, "host,-avx512f", &one, &err), 0);
	assert_false(cpuid_test(&c.table, 7, 0, CPUID_EBX, 17));
	assert_int_equal(reg(&c.table, 0xd, 0, CPUID_EAX), 0x207);
	assert_non_null(cpuid_find(&c.table, 0xd, 2));
	assert_null(cpuid_find(&c.table, 0xd, 5));

	assert_int_equal(build(&c, false, "host,-avx", &one, &err), 0);
	assert_false(cpuid_test(&c.table, 1, 0, CPUID_ECX, 12)); /* FMA */
	assert_false(cpuid_test(&c.table, 7, 0, CPUID_EBX, 5));	 /* AVX2 */
	assert_false(cpuid_test(&c.table, 7, 0, CPUID_EBX, 17)); /* AVX-512 DQ */
	assert_int_equal(reg(&c.table, 0xd, 0, CPUID_EAX), 0x203);

	assert_int_equal(build(&c, false, "host,-xsave", &one, &err), 0);
	assert_null(cpuid_find(&c.table, 0xd, 0));
	assert_null(cpuid_find(&c.table, 0xd, 1));
	assert_false(cpuid_test(&c.table, 1, 0, CPUID_ECX, 28));
	assert_false(cpuid_test(&c.table, 7, 0, CPUID_ECX, 3));
}

/* 2 sockets of 3 cores of 2 threads: ids with a hole, as the power-of-two fields want. */
static void test_apic_ids(void **state)
{
	static const struct cpu_topology t = {12, 2, 3, 2};
	static const uint32_t want[] = {0, 1, 2, 3, 4, 5, 8, 9, 10, 11, 12, 13};
	struct cpuid c;
	struct err err;

	assert_int_equal(build(&c, false, NULL, &t, &err), 0);
	for (unsigned int i = 0; i < 12; i++)
		assert_int_equal(cpuid_apic_id(&c, i), want[i]);
}

static void test_topology_intel(void **state)
{
	static const struct cpu_topology t = {12, 2, 3, 2};
	struct cpuid_table v;
	struct cpuid c;
	struct err err;

	assert_int_equal(build(&c, false, NULL, &t, &err), 0);
	cpuid_for_vcpu(&c, 9, &v);
	assert_int_equal(reg(&v, 1, 0, CPUID_EBX), 11u << 24 | 6 << 16 | 0x0800);
	assert_true(cpuid_test(&v, 1, 0, CPUID_EDX, 28));
	for (uint32_t leaf = 0xb; leaf <= 0x1f; leaf += 0x14) {
		assert_int_equal(reg(&v, leaf, 0, CPUID_EAX), 1);
		assert_int_equal(reg(&v, leaf, 0, CPUID_EBX), 2);
		assert_int_equal(reg(&v, leaf, 0, CPUID_ECX), 0x100);
		assert_int_equal(reg(&v, leaf, 0, CPUID_EDX), 11);
		assert_int_equal(reg(&v, leaf, 1, CPUID_EAX), 3);
		assert_int_equal(reg(&v, leaf, 1, CPUID_EBX), 6);
		assert_int_equal(reg(&v, leaf, 1, CPUID_ECX), 0x201);
		assert_int_equal(reg(&v, leaf, 1, CPUID_EDX), 11);
	}
	/* L1 is shared by 2 ids, L3 by 8; 4 core ids in the package */
	assert_int_equal(reg(&v, 4, 0, CPUID_EAX), 3u << 26 | 1 << 14 | 0x121);
	assert_int_equal(reg(&v, 4, 3, CPUID_EAX), 3u << 26 | 7 << 14 | 0x163);
}

static void test_topology_amd(void **state)
{
	static const struct cpu_topology t = {8, 2, 2, 2};
	struct cpuid_table v;
	struct cpuid c;
	struct err err;

	assert_int_equal(build(&c, true, NULL, &t, &err), 0);
	cpuid_for_vcpu(&c, 7, &v);
	assert_int_equal(reg(&v, 0x8000001e, 0, CPUID_EAX), 7);
	assert_int_equal(reg(&v, 0x8000001e, 0, CPUID_EBX), 0x101);
	assert_int_equal(reg(&v, 0x8000001e, 0, CPUID_ECX), 1);
	assert_int_equal(reg(&v, 0x80000008, 0, CPUID_ECX), 0x2003);
	assert_true(cpuid_test(&v, 0x80000001, 0, CPUID_ECX, 1));
	assert_int_equal(reg(&v, 0x8000001d, 3, CPUID_EAX), 3 << 14 | 0x163);
	assert_int_equal(reg(&v, 0x8000001d, 0, CPUID_EAX), 1 << 14 | 0x121);
}

static void test_topology_refused(void **state)
{
	static const struct cpu_topology none = {0, 1, 1, 1}, few = {4, 1, 1, 1},
					 wide = {3, 1, 1, 512}, many = {255, 255, 1, 1},
					 last = {254, 254, 1, 1};
	struct cpuid c;
	struct err err;

	assert_int_equal(build(&c, false, NULL, &none, &err), -EINVAL);
	assert_int_equal(build(&c, false, NULL, &few, &err), -EINVAL);
	assert_int_equal(build(&c, false, NULL, &wide, &err), -EINVAL);
	assert_int_equal(build(&c, false, NULL, &last, &err), 0);
	assert_int_equal(build(&c, false, NULL, &many, &err), 0); /* the last id is 254 */
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_host),	     cmocka_unit_test(test_words),
		cmocka_unit_test(test_refused),	     cmocka_unit_test(test_consistent),
		cmocka_unit_test(test_apic_ids),     cmocka_unit_test(test_topology_intel),
		cmocka_unit_test(test_topology_amd), cmocka_unit_test(test_topology_refused),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
