/*
 * CPUID features by name: `-cpu host,+x,-y`, and what can't stand without what.
 * Names are those of Linux's /proc/cpuinfo (arch/x86/include/asm/cpufeatures.h) and those that
 * people write for QEMU; places are those of Intel SDM vol. 2A CPUID, AMD APM vol. 3 appendix E,
 * and Linux uapi asm/kvm_para.h.
 *
 * Control thread, no allocation, nothing kept.
 */
#include <errno.h>
#include <string.h>

#include "kvm/cpuid_internal.h"

#define BIT(n) (UINT32_C(1) << (n))

/* clang-format off */
const struct cpuid_feature cpuid_features[] = {
#define F(bit, name) {name, 0x1, 0, CPUID_ECX, bit},
	F(0, "sse3") F(0, "pni") F(1, "pclmulqdq") F(1, "pclmuldq") F(2, "dtes64") F(3, "monitor")
	F(4, "ds-cpl") F(5, "vmx") F(6, "smx") F(7, "est") F(8, "tm2") F(9, "ssse3") F(10, "cid")
	F(12, "fma") F(13, "cx16") F(14, "xtpr") F(15, "pdcm") F(17, "pcid") F(18, "dca")
	F(19, "sse4-1") F(20, "sse4-2") F(21, "x2apic") F(22, "movbe") F(23, "popcnt")
	F(24, "tsc-deadline") F(24, "tsc-deadline-timer") F(25, "aes") F(26, "xsave")
	F(27, "osxsave") F(28, "avx") F(29, "f16c") F(30, "rdrand") F(31, "hypervisor")
#undef F
#define F(bit, name) {name, 0x1, 0, CPUID_EDX, bit},
	F(0, "fpu") F(1, "vme") F(2, "de") F(3, "pse") F(4, "tsc") F(5, "msr") F(6, "pae")
	F(7, "mce") F(8, "cx8") F(9, "apic") F(11, "sep") F(12, "mtrr") F(13, "pge") F(14, "mca")
	F(15, "cmov") F(16, "pat") F(17, "pse36") F(18, "pn") F(19, "clflush") F(21, "ds")
	F(21, "dts") F(22, "acpi") F(23, "mmx") F(24, "fxsr") F(25, "sse") F(26, "sse2")
	F(27, "ss") F(28, "ht") F(29, "tm") F(31, "pbe")
#undef F
#define F(bit, name) {name, 0x6, 0, CPUID_EAX, bit},
	F(2, "arat")
#undef F
#define F(bit, name) {name, 0x7, 0, CPUID_EBX, bit},
	F(0, "fsgsbase") F(1, "tsc-adjust") F(3, "bmi1") F(4, "hle") F(5, "avx2")
	F(6, "fdp-excptn-only") F(7, "smep") F(8, "bmi2") F(9, "erms") F(10, "invpcid")
	F(11, "rtm") F(13, "zero-fcs-fds") F(14, "mpx") F(16, "avx512f") F(17, "avx512dq")
	F(18, "rdseed") F(19, "adx") F(20, "smap") F(21, "avx512ifma") F(22, "pcommit")
	F(23, "clflushopt") F(24, "clwb") F(26, "avx512pf") F(27, "avx512er") F(28, "avx512cd")
	F(29, "sha-ni") F(30, "avx512bw") F(31, "avx512vl")
#undef F
#define F(bit, name) {name, 0x7, 0, CPUID_ECX, bit},
	F(1, "avx512vbmi") F(1, "avx512-vbmi") F(2, "umip") F(3, "pku") F(4, "ospke")
	F(5, "waitpkg") F(6, "avx512-vbmi2") F(6, "avx512vbmi2") F(7, "shstk") F(8, "gfni")
	F(9, "vaes") F(10, "vpclmulqdq") F(11, "avx512-vnni") F(11, "avx512vnni")
	F(12, "avx512-bitalg") F(12, "avx512bitalg") F(14, "avx512-vpopcntdq") F(16, "la57")
	F(22, "rdpid") F(24, "bus-lock-detect") F(25, "cldemote") F(27, "movdiri")
	F(28, "movdir64b") F(31, "pks")
#undef F
#define F(bit, name) {name, 0x7, 0, CPUID_EDX, bit},
	F(2, "avx512-4vnniw") F(3, "avx512-4fmaps") F(4, "fsrm") F(8, "avx512-vp2intersect")
	F(10, "md-clear") F(14, "serialize") F(16, "tsx-ldtrk") F(16, "tsxldtrk") F(19, "arch-lbr")
	F(20, "ibt") F(22, "amx-bf16") F(23, "avx512-fp16") F(24, "amx-tile") F(25, "amx-int8")
	F(26, "spec-ctrl") F(27, "stibp") F(28, "flush-l1d") F(29, "arch-capabilities")
	F(30, "core-capability") F(31, "ssbd")
#undef F
#define F(bit, name) {name, 0x7, 1, CPUID_EAX, bit},
	F(0, "sha512") F(1, "sm3") F(2, "sm4") F(4, "avx-vnni") F(5, "avx512-bf16")
	F(7, "cmpccxadd") F(10, "fzrm") F(11, "fsrs") F(12, "fsrc") F(17, "fred") F(18, "lkgs")
	F(19, "wrmsrns") F(21, "amx-fp16") F(23, "avx-ifma") F(26, "lam")
#undef F
#define F(bit, name) {name, 0x7, 1, CPUID_EDX, bit},
	F(4, "avx-vnni-int8") F(5, "avx-ne-convert") F(8, "amx-complex") F(10, "avx-vnni-int16")
	F(14, "prefetchiti") F(19, "avx10")
#undef F
#define F(bit, name) {name, 0x7, 2, CPUID_EDX, bit},
	F(0, "intel-psfd") F(1, "ipred-ctrl") F(2, "rrsba-ctrl") F(3, "ddpd-u") F(4, "bhi-ctrl")
	F(5, "mcdt-no")
#undef F
#define F(bit, name) {name, 0xd, 1, CPUID_EAX, bit},
	F(0, "xsaveopt") F(1, "xsavec") F(2, "xgetbv1") F(3, "xsaves") F(4, "xfd")
#undef F
#define F(bit, name) {name, 0x80000001, 0, CPUID_ECX, bit},
	F(0, "lahf-lm") F(1, "cmp-legacy") F(2, "svm") F(3, "extapic") F(4, "cr8-legacy")
	F(4, "cr8legacy") F(5, "abm") F(5, "lzcnt") F(6, "sse4a") F(7, "misalignsse")
	F(8, "3dnowprefetch") F(9, "osvw") F(10, "ibs") F(11, "xop") F(12, "skinit") F(13, "wdt")
	F(15, "lwp") F(16, "fma4") F(17, "tce") F(19, "nodeid-msr") F(21, "tbm") F(22, "topoext")
	F(23, "perfctr-core") F(24, "perfctr-nb") F(26, "bpext") F(28, "perfctr-llc")
	F(29, "mwaitx")
#undef F
#define F(bit, name) {name, 0x80000001, 0, CPUID_EDX, bit},
	F(11, "syscall") F(19, "mp") F(20, "nx") F(20, "xd") F(22, "mmxext") F(25, "fxsr-opt")
	F(25, "ffxsr") F(26, "pdpe1gb") F(27, "rdtscp") F(29, "lm") F(29, "i64") F(30, "3dnowext")
	F(31, "3dnow")
#undef F
#define F(bit, name) {name, 0x80000007, 0, CPUID_EDX, bit},
	F(8, "invtsc") F(8, "nonstop-tsc") F(8, "constant-tsc")
#undef F
#define F(bit, name) {name, 0x80000007, 0, CPUID_EBX, bit},
	F(0, "overflow-recov") F(1, "succor")
#undef F
#define F(bit, name) {name, 0x80000008, 0, CPUID_EBX, bit},
	F(0, "clzero") F(1, "irperf") F(2, "xsaveerptr") F(4, "rdpru") F(9, "wbnoinvd")
	F(12, "ibpb") F(14, "ibrs") F(15, "amd-stibp") F(17, "stibp-always-on") F(24, "amd-ssbd")
	F(25, "virt-ssbd") F(26, "amd-no-ssb") F(28, "amd-psfd")
#undef F
#define F(bit, name) {name, 0x8000000a, 0, CPUID_EDX, bit},
	F(0, "npt") F(1, "lbrv") F(2, "svm-lock") F(3, "nrip-save") F(4, "tsc-scale")
	F(5, "vmcb-clean") F(6, "flushbyasid") F(7, "decodeassists") F(10, "pause-filter")
	F(10, "pausefilter") F(12, "pfthreshold") F(13, "avic") F(15, "v-vmsave-vmload")
	F(16, "vgif") F(25, "vnmi") F(28, "svme-addr-chk")
#undef F
#define F(bit, name) {name, 0x80000021, 0, CPUID_EAX, bit},
	F(0, "no-nested-data-bp") F(2, "lfence-always-serializing") F(2, "lfence-rdtsc")
	F(6, "null-sel-clr-base") F(8, "auto-ibrs") F(27, "sbpb") F(28, "ibpb-brtype")
	F(29, "srso-no")
#undef F
#define F(bit, name) {name, 0x40000001, 0, CPUID_EAX, bit},
	F(0, "kvmclock") F(1, "kvm-nopiodelay") F(2, "kvm-mmu") F(3, "kvmclock") F(4, "kvm-asyncpf")
	F(5, "kvm-steal-time") F(6, "kvm-pv-eoi") F(7, "kvm-pv-unhalt") F(9, "kvm-pv-tlb-flush")
	F(10, "kvm-asyncpf-vmexit") F(11, "kvm-pv-ipi") F(12, "kvm-poll-control")
	F(13, "kvm-pv-sched-yield") F(14, "kvm-asyncpf-int") F(15, "kvm-msi-ext-dest-id")
	F(24, "kvmclock-stable-bit")
#undef F
	{NULL, 0, 0, 0, 0},
};
/* clang-format on */

/* ---- the words ---- */

/* Puts a word into the tables' spelling: small letters, '_' and '.' as '-'. -1 when it doesn't fit.
 */
static int normalise(char *out, size_t size, const char *text, size_t len)
{
	if (!len || len >= size)
		return -1;
	for (size_t i = 0; i < len; i++) {
		char c = text[i];

		if (c >= 'A' && c <= 'Z')
			c += 'a' - 'A';
		out[i] = c == '_' || c == '.' ? '-' : c;
	}
	out[len] = 0;
	return 0;
}

static int on_off(const char *text, size_t len, bool *on)
{
	static const struct {
		const char *word;
		bool on;
	} words[] = {{"on", true},  {"off", false}, {"yes", true},
		     {"no", false}, {"true", true}, {"false", false}};

	for (size_t i = 0; i < sizeof(words) / sizeof(words[0]); i++) {
		if (strlen(words[i].word) == len && !strncmp(words[i].word, text, len)) {
			*on = words[i].on;
			return 0;
		}
	}
	return -1;
}

/* Words that are no bits: what QEMU's users write about the processor as a whole. 1 = it was one.
 */
static int apply_property(struct cpuid_table *table, const char *name, bool on, const char *model,
			  struct err *err)
{
	struct kvm_cpuid_entry2 *e;

	if (!strcmp(name, "kvm")) {
		if (!on) {
			cpuid_drop(table, 0x40000000);
			cpuid_drop(table, 0x40000001);
		}
		return 1;
	}
	if (!strcmp(name, "pmu")) {
		if (!on) {
			cpuid_drop(table, 0xa);
			cpuid_drop(table, 0x80000022);
			e = cpuid_find(table, 1, 0);
			if (e)
				e->ecx &= ~BIT(15); /* PDCM */
			e = cpuid_find(table, 0x80000001, 0);
			if (e)
				e->ecx &= ~(BIT(23) | BIT(24) | BIT(28)); /* PerfCtrExt* */
		}
		return 1;
	}
	if (!strcmp(name, "migratable")) {
		e = cpuid_find(table, 0x80000007, 0);
		if (on && e)
			e->edx &= ~BIT(8); /* another host's TSC needn't tick at this rate */
		return 1;
	}
	if (!strcmp(name, "host-phys-bits") || !strcmp(name, "enforce") || !strcmp(name, "check")) {
		if (on)
			return 1; /* that is what vireo does */
		return err_set(err, -ENOTSUP, "-cpu %s: %s can't be turned off", model, name);
	}
	return 0;
}

static int apply_word(struct cpuid_table *table, const struct cpuid_table *host, const char *name,
		      bool on, const char *model, struct err *err)
{
	bool known = false, have = false;

	for (const struct cpuid_feature *f = cpuid_features; f->name; f++) {
		struct kvm_cpuid_entry2 *e;

		if (strcmp(f->name, name))
			continue;
		known = true;
		e = cpuid_find(table, f->leaf, f->subleaf);
		if (!e)
			continue;
		if (!on) {
			*cpuid_reg(e, f->reg) &= ~BIT(f->bit);
		} else if (cpuid_test((struct cpuid_table *)host, f->leaf, f->subleaf, f->reg,
				      f->bit)) {
			*cpuid_reg(e, f->reg) |= BIT(f->bit);
			have = true;
		}
	}
	if (!known) {
		int r = apply_property(table, name, on, model, err);

		if (r)
			return r < 0 ? r : 0;
		return err_set(err, -EINVAL,
			       "-cpu %s: no CPU feature '%s' is known (names are those of "
			       "/proc/cpuinfo, as in +avx2,-svm)",
			       model, name);
	}
	if (on && !have)
		return err_set(err, -ENOTSUP,
			       "-cpu %s: this host's KVM doesn't offer '%s' to guests (leave it "
			       "out, or use a host that has it)",
			       model, name);
	return 0;
}

int cpuid_apply_words(struct cpuid_table *table, const char *model, const char *words,
		      struct err *err)
{
	const struct cpuid_table host = *table; /* what a + may ask for */

	while (*words) {
		size_t len = strcspn(words, ",");
		size_t name_len = len;
		const char *text = words;
		const char *equals = memchr(words, '=', len);
		bool on = true;
		char name[40];
		int r;

		if (*text == '+' || *text == '-') {
			on = *text == '+';
			text++;
			name_len--;
			if (equals)
				return err_set(err, -EINVAL,
					       "-cpu %s: '%.*s' has both a sign and a value", model,
					       (int)len, words);
		} else if (equals) {
			name_len = equals - text;
			if (on_off(equals + 1, words + len - equals - 1, &on))
				return err_set(err, -EINVAL, "-cpu %s: '%.*s' must be on or off",
					       model, (int)len, words);
		}
		if (normalise(name, sizeof(name), text, name_len))
			return err_set(err, -EINVAL, "-cpu %s: '%.*s' is no CPU feature", model,
				       (int)len, words);
		r = apply_word(table, &host, name, on, model, err);
		if (r)
			return r;
		words += len;
		words += *words == ',';
	}
	return 0;
}

/* ---- what needs what ---- */

struct need {
	uint32_t leaf, subleaf;
	enum cpuid_reg reg;
	uint8_t bit; /* where this isn't there ... */
	uint32_t off_leaf, off_subleaf;
	enum cpuid_reg off_reg;
	uint32_t off_mask; /* ... these can't be */
};

/* SDM vol. 1 §13.1-13.5 (XSAVE and what it manages), §14-16 (AVX and later need their states). In
 * order: a row's consequences are seen by the rows after it. */
static const struct need needs[] = {
	/* XSAVE */
	{1, 0, CPUID_ECX, 26, 1, 0, CPUID_ECX, BIT(27) | BIT(28) | BIT(29) | BIT(12)},
	{1, 0, CPUID_ECX, 26, 7, 0, CPUID_EBX, BIT(14)},
	{1, 0, CPUID_ECX, 26, 7, 0, CPUID_ECX, BIT(3) | BIT(4)},
	{1, 0, CPUID_ECX, 26, 0xd, 1, CPUID_EAX, 0x1f},
	/* AVX */
	{1, 0, CPUID_ECX, 28, 1, 0, CPUID_ECX, BIT(12) | BIT(29)},
	{1, 0, CPUID_ECX, 28, 7, 0, CPUID_EBX, BIT(5) | BIT(16)},
	{1, 0, CPUID_ECX, 28, 7, 0, CPUID_ECX, BIT(9) | BIT(10)},
	{1, 0, CPUID_ECX, 28, 7, 1, CPUID_EAX, BIT(4) | BIT(23)},
	{1, 0, CPUID_ECX, 28, 7, 1, CPUID_EDX, BIT(4) | BIT(5) | BIT(10) | BIT(19)},
	{1, 0, CPUID_ECX, 28, 0x80000001, 0, CPUID_ECX, BIT(11) | BIT(16)},
	/* AVX-512 F */
	{7, 0, CPUID_EBX, 16, 7, 0, CPUID_EBX,
	 BIT(17) | BIT(21) | BIT(26) | BIT(27) | BIT(28) | BIT(30) | BIT(31)},
	{7, 0, CPUID_EBX, 16, 7, 0, CPUID_ECX, BIT(1) | BIT(6) | BIT(11) | BIT(12) | BIT(14)},
	{7, 0, CPUID_EBX, 16, 7, 0, CPUID_EDX, BIT(2) | BIT(3) | BIT(8) | BIT(23)},
	{7, 0, CPUID_EBX, 16, 7, 1, CPUID_EAX, BIT(5)},
	/* AMX: its tile */
	{7, 0, CPUID_EDX, 24, 7, 0, CPUID_EDX, BIT(22) | BIT(25)},
	{7, 0, CPUID_EDX, 24, 7, 1, CPUID_EAX, BIT(21)},
	{7, 0, CPUID_EDX, 24, 7, 1, CPUID_EDX, BIT(8)},
	/* APIC */
	{1, 0, CPUID_EDX, 9, 1, 0, CPUID_ECX, BIT(21) | BIT(24)},
	/* SVM */
	{0x80000001, 0, CPUID_ECX, 2, 0x8000000a, 0, CPUID_EDX, 0xffffffff},
};

static void drop_dependents(struct cpuid_table *table)
{
	for (size_t i = 0; i < sizeof(needs) / sizeof(needs[0]); i++) {
		const struct need *n = &needs[i];
		struct kvm_cpuid_entry2 *e = cpuid_find(table, n->off_leaf, n->off_subleaf);

		if (e && !cpuid_test(table, n->leaf, n->subleaf, n->reg, n->bit))
			*cpuid_reg(e, n->off_reg) &= ~n->off_mask;
	}
}

/* XCR0's bits (leaf 0xd.0 EAX) as the features need them; their subleaves go with them. */
static void match_xcr0(struct cpuid_table *table)
{
	struct kvm_cpuid_entry2 *xcr0 = cpuid_find(table, 0xd, 0);
	struct kvm_cpuid_entry2 *seven = cpuid_find(table, 7, 0);
	unsigned int kept = 0;
	uint32_t mask = 0x3; /* x87, SSE */

	if (!xcr0)
		return;
	/* What KVM doesn't let a guest save (AMX before it was asked for) the guest can't have. */
	if (seven && (xcr0->eax & 0x60000) != 0x60000)
		seven->edx &= ~BIT(24);
	if (seven && (xcr0->eax & 0xe0) != 0xe0)
		seven->ebx &= ~BIT(16);
	if (!(xcr0->eax & 0x4)) {
		struct kvm_cpuid_entry2 *one = cpuid_find(table, 1, 0);

		if (one)
			one->ecx &= ~BIT(28);
	}
	drop_dependents(table);

	if (!cpuid_test(table, 1, 0, CPUID_ECX, 26)) {
		cpuid_drop(table, 0xd);
		return;
	}
	if (cpuid_test(table, 1, 0, CPUID_ECX, 28))
		mask |= 0x4;
	if (cpuid_test(table, 7, 0, CPUID_EBX, 14))
		mask |= 0x18; /* MPX */
	if (cpuid_test(table, 7, 0, CPUID_EBX, 16))
		mask |= 0xe0;
	if (cpuid_test(table, 7, 0, CPUID_ECX, 3))
		mask |= 0x200; /* PKRU */
	if (cpuid_test(table, 7, 0, CPUID_EDX, 24)) {
		mask |= 0x60000;
	} else {
		cpuid_drop(table, 0x1d);
		cpuid_drop(table, 0x1e);
	}
	xcr0 = cpuid_find(table, 0xd, 0);
	xcr0->eax &= mask;
	for (unsigned int i = 0; i < table->n; i++) {
		const struct kvm_cpuid_entry2 *e = &table->entry[i];
		bool user = e->function == 0xd && e->index >= 2 && !(e->ecx & 1); /* not of XSS */

		if (!user || (e->index < 32 && xcr0->eax >> e->index & 1))
			table->entry[kept++] = *e;
	}
	table->n = kept;
}

void cpuid_make_consistent(struct cpuid_table *table)
{
	/* The bits of leaf 1 that AMD has again in 0x80000001 (APM vol. 3 E.4.2). */
	const uint32_t shared = 0x0183f3ff;
	struct kvm_cpuid_entry2 *one = cpuid_find(table, 1, 0);
	struct kvm_cpuid_entry2 *ext = cpuid_find(table, 0x80000001, 0);

	drop_dependents(table);
	match_xcr0(table);
	if (one && ext && cpuid_is_amd(table))
		ext->edx &= one->edx | ~shared;
}
