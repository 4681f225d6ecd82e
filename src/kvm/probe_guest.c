/*
 * How guest code runs on this host: a throw-away VM with one processor, 64 KiB of memory and a few
 * instructions of each kind. Some KVMs interpret kernel-mode code (0.7 us per instruction, and only
 * those that the interpreter knows); no flag says so, only running does.
 *
 *	guest-physical  0x1000 PML4, 0x2000 PDPT, 0x3000 page directory: 2 MiB pages, all for users
 * too 0x8000 code, 0x9000 scratch data, 0xf000 top of the stack 0x400000 nothing: a store there
 * ends a run, with its result (KVM_EXIT_MMIO)
 *
 * Runs on the caller's thread and owns all it makes until it returns. Entry state: Intel SDM vol.
 *3A §4.5 (paging), §10.8 (long mode); vol. 3C §27.3 for what VMX wants of segments.
 *
 * It has no time-out: the code is fixed, and ends on any processor that runs it at all.
 */
#include "kvm/probe_guest.h"

#include <errno.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#include "kvm/internal.h"

#define MEM_SIZE    0x10000
#define GPA_PML4    0x1000
#define GPA_PDPT    0x2000
#define GPA_PD	    0x3000
#define GPA_CODE    0x8000
#define GPA_SCRATCH 0x9000
#define GPA_STACK   0xf000
#define GPA_END	    0x400000
#define REAL_PORT   0x10
#define LOOP_SHORT  1000
#define LOOP_LONG   200000
#define LOOP_INSNS  3
#define CPUID_SSE2  (1u << 26)
#define CPUID_CX16  (1u << 13)
#define CPUID_XSAVE (1u << 26)
#define CR4_PAE	    (1u << 5)
#define CR4_OSFXSR  (3u << 9) /* and OSXMMEXCPT */
#define CR4_OSXSAVE (1u << 18)

/* The code: on entry rbx = GPA_END, rsi = GPA_SCRATCH (zeros), rcx = count, all else 0. */
#define CODE(name, text)                                                              \
	extern const uint8_t probe_code_##name[], probe_code_##name##_end[];          \
	__asm__(".pushsection .rodata\n"                                              \
		".hidden probe_code_" #name "\n.globl probe_code_" #name "\n"         \
		".hidden probe_code_" #name "_end\n.globl probe_code_" #name "_end\n" \
		"probe_code_" #name ":\n" text "probe_code_" #name "_end:\n"          \
		".code64\n.popsection\n")

CODE(arithmetic, "1: addl %ecx, %eax\n decl %ecx\n jnz 1b\n movl %eax, (%rbx)\n hlt\n");
CODE(cmpxchg16b,
     "lock cmpxchg16b (%rsi)\n setz %al\n movzbl %al, %eax\n movl %eax, (%rbx)\n hlt\n");
CODE(sse, "movl $0x5a5a, %eax\n movd %eax, %xmm0\n movups %xmm0, (%rsi)\n movups (%rsi), %xmm1\n"
	  "movd %xmm1, %eax\n movl %eax, (%rbx)\n hlt\n");
CODE(xgetbv, "xorl %ecx, %ecx\n xgetbv\n andl $1, %eax\n movl %eax, (%rbx)\n hlt\n");
CODE(hlt, "hlt\n");
CODE(real, ".code16\n movb $0x5a, %al\n outb %al, $0x10\n hlt\n");

enum mode {
	MODE_REAL,
	MODE_CPL0,
	MODE_CPL3
};

struct guest {
	int vm_fd, vcpu_fd;
	struct kvm_run *run;
	size_t run_size;
	uint8_t *mem;
	struct kvm_sregs power_on;
	struct kvm_vcpu_events events;
	bool has_events;
	uint32_t cpuid_ecx, cpuid_edx; /* leaf 1 */
};

static uint64_t now_ns(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return ts.tv_sec * UINT64_C(1000000000) + ts.tv_nsec;
}

static void guest_close(struct guest *g)
{
	if (g->run)
		munmap(g->run, g->run_size);
	if (g->vcpu_fd >= 0)
		close(g->vcpu_fd);
	if (g->vm_fd >= 0)
		close(g->vm_fd);
	if (g->mem)
		munmap(g->mem, MEM_SIZE);
}

static int set_cpuid(struct guest *g, int kvm_fd, struct err *err)
{
	enum {
		MAX = 256
	};
	struct kvm_cpuid2 *cpuid = calloc(1, sizeof(*cpuid) + MAX * sizeof(cpuid->entries[0]));
	int r = 0;

	if (!cpuid)
		return err_set(err, -ENOMEM, "no memory for the CPUID table");
	cpuid->nent = MAX;
	if (ioctl(kvm_fd, KVM_GET_SUPPORTED_CPUID, cpuid) ||
	    ioctl(g->vcpu_fd, KVM_SET_CPUID2, cpuid))
		r = err_errno(err, "/dev/kvm: KVM_SET_CPUID2");
	for (uint32_t i = 0; !r && i < cpuid->nent; i++) {
		if (cpuid->entries[i].function == 1) {
			g->cpuid_ecx = cpuid->entries[i].ecx;
			g->cpuid_edx = cpuid->entries[i].edx;
		}
	}
	free(cpuid);
	return r;
}

static int guest_open(struct guest *g, int kvm_fd, struct err *err)
{
	struct kvm_userspace_memory_region slot = {.memory_size = MEM_SIZE};
	int size = ioctl(kvm_fd, KVM_GET_VCPU_MMAP_SIZE, 0);
	void *p;

	do {
		g->vm_fd = ioctl(kvm_fd, KVM_CREATE_VM, 0);
	} while (g->vm_fd < 0 && errno == EINTR);
	if (g->vm_fd < 0)
		return err_errno(err, "/dev/kvm: KVM_CREATE_VM");
	/* Three pages that Intel's real mode needs, out of the way; others don't mind. */
	ioctl(g->vm_fd, KVM_SET_TSS_ADDR, 0xfffbd000);
	p = mmap(NULL, MEM_SIZE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (p == MAP_FAILED)
		return err_errno(err, "memory for the probe's VM");
	g->mem = p;
	slot.userspace_addr = (uintptr_t)p;
	if (ioctl(g->vm_fd, KVM_SET_USER_MEMORY_REGION, &slot))
		return err_errno(err, "/dev/kvm: KVM_SET_USER_MEMORY_REGION");
	g->vcpu_fd = ioctl(g->vm_fd, KVM_CREATE_VCPU, 0);
	if (g->vcpu_fd < 0)
		return err_errno(err, "/dev/kvm: KVM_CREATE_VCPU");
	p = size < (int)sizeof(*g->run)
		    ? MAP_FAILED
		    : mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED, g->vcpu_fd, 0);
	if (p == MAP_FAILED)
		return err_errno(err, "/dev/kvm: mapping a vCPU's kvm_run");
	g->run = p;
	g->run_size = size;
	if (ioctl(g->vcpu_fd, KVM_GET_SREGS, &g->power_on))
		return err_errno(err, "/dev/kvm: KVM_GET_SREGS");
	g->has_events = !ioctl(g->vcpu_fd, KVM_GET_VCPU_EVENTS, &g->events);
	return set_cpuid(g, kvm_fd, err);
}

static void put64(struct guest *g, uint64_t gpa, uint64_t value)
{
	memcpy(g->mem + gpa, &value, sizeof(value)); /* the host is x86 too */
}

static void set_flat(struct kvm_segment *s, bool code, unsigned int dpl)
{
	*s = (struct kvm_segment){
		.limit = 0xffffffff,
		.selector = (code ? 0x08 : 0x10) | dpl,
		.type = code ? 0xb : 0x3, /* execute-read, read-write; accessed */
		.present = 1,
		.dpl = dpl,
		.db = !code,
		.s = 1,
		.l = code,
		.g = 1,
	};
}

/* Registers for a run. 0, or -1 when KVM doesn't take them. */
static int guest_enter(struct guest *g, enum mode mode, uint32_t cr4, uint64_t count)
{
	struct kvm_sregs s = g->power_on;
	struct kvm_regs r = {
		.rip = GPA_CODE,
		.rsp = GPA_STACK,
		.rflags = 2,
		.rbx = GPA_END,
		.rsi = GPA_SCRATCH,
		.rcx = count,
	};

	memset(g->mem, 0, MEM_SIZE);
	if (mode == MODE_REAL) {
		s.cs.base = 0;
		s.cs.selector = 0;
	} else {
		unsigned int dpl = mode == MODE_CPL3 ? 3 : 0;

		set_flat(&s.cs, true, dpl);
		set_flat(&s.ds, false, dpl);
		s.es = s.fs = s.gs = s.ss = s.ds;
		s.idt.limit = 0; /* any exception ends in a triple fault */
		put64(g, GPA_PML4, GPA_PDPT | 7);
		put64(g, GPA_PDPT, GPA_PD | 7);
		for (unsigned int i = 0; i < 3; i++) /* present, writable, user, 2 MiB */
			put64(g, GPA_PD + 8 * i, UINT64_C(0x200000) * i | 0x87);
		s.cr3 = GPA_PML4;
		s.cr4 = CR4_PAE | cr4;
		s.cr0 = 0x80000033; /* PG, NE, ET, MP, PE */
		s.efer |= 0x500;    /* LMA, LME */
	}
	if (g->has_events && ioctl(g->vcpu_fd, KVM_SET_VCPU_EVENTS, &g->events))
		return -1;
	if (ioctl(g->vcpu_fd, KVM_SET_SREGS, &s) || ioctl(g->vcpu_fd, KVM_SET_REGS, &r))
		return -1;
	return 0;
}

/* What a run is to end with. */
enum ending {
	END_STORE,
	END_HLT,
	END_PORT
};

static enum probe_outcome judge(const struct kvm_run *run, enum ending ending, uint32_t want)
{
	uint32_t value;

	switch (run->exit_reason) {
	case KVM_EXIT_MMIO:
		memcpy(&value, run->mmio.data, sizeof(value));
		if (ending == END_STORE && run->mmio.is_write && run->mmio.len == 4 &&
		    run->mmio.phys_addr == GPA_END && value == want)
			return PROBE_RAN;
		return PROBE_FAULTED;
	case KVM_EXIT_HLT:
		return ending == END_HLT ? PROBE_RAN : PROBE_FAULTED;
	case KVM_EXIT_IO:
		if (ending == END_PORT && run->io.port == REAL_PORT && run->io.size == 1 &&
		    ((const uint8_t *)run)[run->io.data_offset] == want)
			return PROBE_RAN;
		return PROBE_FAULTED;
	case KVM_EXIT_INTERNAL_ERROR:
		return PROBE_INTERNAL_ERROR;
	case KVM_EXIT_FAIL_ENTRY:
		return PROBE_REFUSED;
	default:
		return PROBE_FAULTED;
	}
}

/* Runs code once; *ns (may be NULL) gets how long KVM_RUN took. */
static enum probe_outcome guest_run(struct guest *g, enum mode mode, uint32_t cr4,
				    const uint8_t *code, const uint8_t *end, uint64_t count,
				    enum ending ending, uint32_t want, uint64_t *ns)
{
	enum probe_outcome outcome;
	uint64_t start;
	int r;

	if (guest_enter(g, mode, cr4, count))
		return PROBE_REFUSED;
	memcpy(g->mem + GPA_CODE, code, end - code);
	start = now_ns();
	do {
		r = ioctl(g->vcpu_fd, KVM_RUN, 0);
	} while (r < 0 && (errno == EINTR || errno == EAGAIN));
	if (ns)
		*ns = now_ns() - start;
	if (r < 0)
		return PROBE_REFUSED;
	outcome = judge(g->run, ending, want);
	/* KVM finishes a store or an OUT at the next KVM_RUN: let it, before registers are set
	 * again. */
	g->run->immediate_exit = 1;
	ioctl(g->vcpu_fd, KVM_RUN, 0);
	g->run->immediate_exit = 0;
	return outcome;
}

/* The loop `count` times around, less once around: what entering and leaving cost cancels out. The
 * least of three of each. */
static enum probe_outcome time_loop_of(struct guest *g, enum mode mode, uint64_t count,
				       double *ns_per_insn)
{
	uint64_t best[2] = {UINT64_MAX, UINT64_MAX};

	for (unsigned int i = 0; i < 6; i++) {
		uint64_t n = i & 1 ? count + 1 : 1, ns = 0;
		enum probe_outcome r;

		r = guest_run(g, mode, 0, probe_code_arithmetic, probe_code_arithmetic_end, n,
			      END_STORE, n * (n + 1) / 2, &ns);
		if (r != PROBE_RAN)
			return r;
		if (ns < best[i & 1])
			best[i & 1] = ns;
	}
	*ns_per_insn = best[1] > best[0] ? (double)(best[1] - best[0]) / (count * LOOP_INSNS) : 0;
	return PROBE_RAN;
}

/* A short loop first: where it is quick, a longer one to measure it by. */
static enum probe_outcome time_loop(struct guest *g, enum mode mode, double *ns_per_insn)
{
	enum probe_outcome r = time_loop_of(g, mode, LOOP_SHORT, ns_per_insn);

	if (r == PROBE_RAN && *ns_per_insn < PROBE_EMULATED_NS)
		r = time_loop_of(g, mode, LOOP_LONG, ns_per_insn);
	return r;
}

static bool failed(enum probe_outcome outcome)
{
	return outcome != PROBE_RAN && outcome != PROBE_NOT_TRIED;
}

static void set_verdict(struct probe_guest *p)
{
	const char *lacks = failed(p->cmpxchg16b) ? "cmpxchg16b"
			    : failed(p->sse)	  ? "SSE"
			    : failed(p->xgetbv)	  ? "xgetbv"
			    : failed(p->hlt)	  ? "hlt"
						  : NULL;

	if (p->arithmetic != PROBE_RAN && p->user != PROBE_RAN) {
		p->verdict = PROBE_BROKEN;
		snprintf(p->why, sizeof(p->why),
			 "this KVM doesn't run even a few instructions in 64-bit mode (%s)",
			 probe_outcome_name(p->arithmetic));
	} else if (p->arithmetic != PROBE_RAN) {
		p->verdict = PROBE_EMULATED;
		snprintf(p->why, sizeof(p->why),
			 "this KVM runs user-mode code, but not kernel-mode code (%s): ordinary "
			 "kernels can't run on it",
			 probe_outcome_name(p->arithmetic));
	} else if (p->cpl0_ns >= PROBE_EMULATED_NS) {
		p->verdict = PROBE_EMULATED;
		snprintf(p->why, sizeof(p->why),
			 "this KVM interprets kernel-mode code (%.0f ns per instruction%s%s): "
			 "ordinary kernels can't run on it",
			 p->cpl0_ns, lacks ? ", without " : "", lacks ? lacks : "");
	} else if (lacks) {
		p->verdict = PROBE_EMULATED;
		snprintf(p->why, sizeof(p->why),
			 "this KVM fails on %s in kernel mode: ordinary kernels can't run on it",
			 lacks);
	} else {
		p->verdict = PROBE_ORDINARY;
		snprintf(p->why, sizeof(p->why),
			 "this KVM runs kernel-mode code on the processor itself: ordinary "
			 "kernels run on it%s",
			 failed(p->real_mode) ? ", but not 16-bit code (one processor, no firmware)"
					      : "");
	}
}

int probe_guest_run(struct probe_guest *p, int kvm_fd, struct err *err)
{
	struct guest g = {.vm_fd = -1, .vcpu_fd = -1};
	int r = guest_open(&g, kvm_fd, err);

	memset(p, 0, sizeof(*p));
	if (r) {
		guest_close(&g);
		return r;
	}
	p->arithmetic = time_loop(&g, MODE_CPL0, &p->cpl0_ns);
	p->user = time_loop(&g, MODE_CPL3, &p->cpl3_ns);
	p->cmpxchg16b = p->sse = p->xgetbv = PROBE_NOT_TRIED;
	if (g.cpuid_ecx & CPUID_CX16)
		p->cmpxchg16b = guest_run(&g, MODE_CPL0, 0, probe_code_cmpxchg16b,
					  probe_code_cmpxchg16b_end, 0, END_STORE, 1, NULL);
	if (g.cpuid_edx & CPUID_SSE2)
		p->sse = guest_run(&g, MODE_CPL0, CR4_OSFXSR, probe_code_sse, probe_code_sse_end, 0,
				   END_STORE, 0x5a5a, NULL);
	if (g.cpuid_ecx & CPUID_XSAVE)
		p->xgetbv = guest_run(&g, MODE_CPL0, CR4_OSFXSR | CR4_OSXSAVE, probe_code_xgetbv,
				      probe_code_xgetbv_end, 0, END_STORE, 1, NULL);
	p->hlt = guest_run(&g, MODE_CPL0, 0, probe_code_hlt, probe_code_hlt_end, 0, END_HLT, 0,
			   NULL);
	p->real_mode = guest_run(&g, MODE_REAL, 0, probe_code_real, probe_code_real_end, 0,
				 END_PORT, 0x5a, NULL);
	set_verdict(p);
	guest_close(&g);
	return 0;
}

const char *probe_outcome_name(enum probe_outcome outcome)
{
	static const char *const names[] = {
		[PROBE_RAN] = "ok",
		[PROBE_INTERNAL_ERROR] = "emulation failure",
		[PROBE_FAULTED] = "fault or wrong result",
		[PROBE_REFUSED] = "not started",
		[PROBE_NOT_TRIED] = "not offered",
	};

	return names[outcome];
}

const char *probe_verdict_name(enum probe_verdict verdict)
{
	static const char *const names[] = {
		[PROBE_ORDINARY] = "ordinary",
		[PROBE_EMULATED] = "emulated",
		[PROBE_BROKEN] = "broken",
	};

	return names[verdict];
}
