/*
 * One virtual processor: thread, run loop, power-on state.
 *
 * The thread is parked, or in the guest, or in a handler. The control thread asks through `want`;
 * so that a request can't fall between the check and KVM_RUN, it also sets kvm_run.immediate_exit
 * (then KVM_RUN returns at once) and sends a signal (then KVM_RUN returns if it was in the guest
 * already).
 *
 * Before it parks, the thread enters KVM_RUN once more with immediate_exit: that completes a port
 * or MMIO read whose answer is still in kvm_run, so that registers can be read and replaced
 * (api.rst, KVM_EXIT_IO).
 */
#include "kvm/vcpu.h"

#include <errno.h>
#include <inttypes.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/log.h"
#include "kvm/internal.h"

#define VCPU_SIGNAL SIGRTMIN

/* Where a processor starts after INIT (SDM vol. 3A, table 9-1). */
#define RESET_RIP     0xfff0
#define RESET_CS_BASE 0xffff0000

#define MSR_MAX		  512
#define MSR_TSC		  0x10
#define MSR_TSC_ADJUST	  0x3b
#define MSR_MTRR_DEF_TYPE 0x2ff

/* What vcpu_reset() puts back. */
struct power_on {
	struct kvm_regs regs;
	struct kvm_sregs sregs;
	struct kvm_fpu fpu;
	struct kvm_xcrs xcrs;
	struct kvm_debugregs debugregs;
	struct kvm_vcpu_events events;
	struct kvm_lapic_state lapic;
	struct kvm_mp_state mp;
	unsigned int n_msrs;
	struct kvm_msr_entry msr[MSR_MAX];
	struct kvm_xsave xsave; /* last: it ends in a flexible array */
};

enum want {
	WANT_RUN,
	WANT_PARK,
	WANT_EXIT
};

struct vcpu {
	struct vm *vm;
	unsigned int index;
	int fd;
	struct kvm_run *run;
	size_t run_size;
	const struct vcpu_ops *ops;
	void *opaque;
	struct vcpu_counters counters;
	struct power_on *power_on;

	pthread_t thread;
	bool has_thread;
	pthread_mutex_t lock; /* want, parked, stopped */
	pthread_cond_t changed;
	enum want want;
	bool parked;
	bool stopped; /* can't go on until a reset */

	struct log_limit shutdowns;
};

const struct counter_desc vcpu_counter_table[] = {
	{"exits", offsetof(struct vcpu_counters, exits), "returns from the guest to vireo"},
	{"pio-in", offsetof(struct vcpu_counters, pio_in), "port reads"},
	{"pio-out", offsetof(struct vcpu_counters, pio_out), "port writes"},
	{"mmio-read", offsetof(struct vcpu_counters, mmio_read), "memory-mapped reads"},
	{"mmio-write", offsetof(struct vcpu_counters, mmio_write), "memory-mapped writes"},
	{"interrupted", offsetof(struct vcpu_counters, interrupted), "returns for a signal"},
	{"other", offsetof(struct vcpu_counters, other), "any other reason"},
	{0},
};

/* ---- exits ---- */

static void handle_io(struct vcpu *v)
{
	struct kvm_run *run = v->run;
	uint8_t *data = (uint8_t *)run + run->io.data_offset;
	unsigned int size = run->io.size;

	for (uint32_t i = 0; i < run->io.count; i++, data += size) {
		uint64_t value = 0;

		if (run->io.direction == KVM_EXIT_IO_OUT) {
			memcpy(&value, data, size);
			v->ops->pio_write(v->opaque, run->io.port, size, value);
		} else {
			value = v->ops->pio_read(v->opaque, run->io.port, size);
			memcpy(data, &value, size);
		}
	}
	counter_add(run->io.direction == KVM_EXIT_IO_OUT ? &v->counters.pio_out
							 : &v->counters.pio_in,
		    run->io.count);
}

static void handle_mmio(struct vcpu *v)
{
	struct kvm_run *run = v->run;
	uint64_t value = 0;

	if (run->mmio.is_write) {
		memcpy(&value, run->mmio.data, run->mmio.len);
		v->ops->mmio_write(v->opaque, run->mmio.phys_addr, run->mmio.len, value);
		counter_add(&v->counters.mmio_write, 1);
	} else {
		value = v->ops->mmio_read(v->opaque, run->mmio.phys_addr, run->mmio.len);
		memcpy(run->mmio.data, &value, run->mmio.len);
		counter_add(&v->counters.mmio_read, 1);
	}
}

static void stop(struct vcpu *v, enum vcpu_stop why)
{
	pthread_mutex_lock(&v->lock);
	v->stopped = true;
	pthread_mutex_unlock(&v->lock);
	v->ops->stopped(v->opaque, v->index, why);
}

static void say_internal_error(struct vcpu *v)
{
	struct kvm_run *run = v->run;
	struct kvm_regs regs = {0};
	char bytes[64] = "";

	ioctl(v->fd, KVM_GET_REGS, &regs);
	if (run->internal.suberror == KVM_INTERNAL_ERROR_EMULATION &&
	    run->emulation_failure.ndata >= 4 &&
	    run->emulation_failure.flags & KVM_INTERNAL_ERROR_EMULATION_FLAG_INSTRUCTION_BYTES) {
		unsigned int n = run->emulation_failure.insn_size;

		for (unsigned int i = 0; i < n && i < 15; i++)
			snprintf(bytes + 3 * i, 4, " %02x", run->emulation_failure.insn_bytes[i]);
	}
	if (run->internal.suberror == KVM_INTERNAL_ERROR_EMULATION)
		log_warn("vCPU %u: KVM can't emulate the instruction at rip 0x%llx%s%s "
			 "(`vireo probe` says what this host's KVM can run)",
			 v->index, regs.rip, *bytes ? ":" : "", bytes);
	else
		log_warn("vCPU %u: KVM internal error %u at rip 0x%llx", v->index,
			 run->internal.suberror, regs.rip);
}

/* On AMD's processors KVM has put the vCPU into its state after INIT by then (the VMCB is undefined
 * after a shutdown, APM vol. 2 §15.14.3), so that its registers say nothing. */
static void say_shutdown(struct vcpu *v)
{
	struct kvm_regs regs = {0};
	struct kvm_sregs s = {0};

	if (ioctl(v->fd, KVM_GET_REGS, &regs) < 0 || ioctl(v->fd, KVM_GET_SREGS, &s) < 0 ||
	    (regs.rip == RESET_RIP && s.cs.base == RESET_CS_BASE)) {
		log_limited(&v->shutdowns, "vCPU %u: triple fault, which resets the machine",
			    v->index);
		return;
	}
	log_limited(&v->shutdowns,
		    "vCPU %u: triple fault at rip 0x%llx (cs 0x%x, cr0 0x%llx, cr2 0x%llx, "
		    "cr3 0x%llx, cr4 0x%llx, efer 0x%llx), which resets the machine",
		    v->index, regs.rip, s.cs.selector, s.cr0, s.cr2, s.cr3, s.cr4, s.efer);
}

static void handle_exit(struct vcpu *v)
{
	struct kvm_run *run = v->run;

	counter_add(&v->counters.exits, 1);
	switch (run->exit_reason) {
	case KVM_EXIT_IO:
		handle_io(v);
		return;
	case KVM_EXIT_MMIO:
		handle_mmio(v);
		return;
	case KVM_EXIT_INTR:
		counter_add(&v->counters.interrupted, 1);
		return;
	case KVM_EXIT_SHUTDOWN:
		say_shutdown(v);
		stop(v, VCPU_STOP_RESET);
		break;
	case KVM_EXIT_SYSTEM_EVENT:
		stop(v, VCPU_STOP_RESET);
		break;
	case KVM_EXIT_INTERNAL_ERROR:
		say_internal_error(v);
		stop(v, VCPU_STOP_INTERNAL);
		break;
	case KVM_EXIT_FAIL_ENTRY:
		log_warn("vCPU %u: the processor refused to enter the guest (reason 0x%llx)",
			 v->index, run->fail_entry.hardware_entry_failure_reason);
		stop(v, VCPU_STOP_INTERNAL);
		break;
	case KVM_EXIT_HLT: /* only without an in-kernel LAPIC */
	case KVM_EXIT_IRQ_WINDOW_OPEN:
		break;
	default:
		log_warn("vCPU %u: exit reason %u is not known", v->index, run->exit_reason);
		stop(v, VCPU_STOP_INTERNAL);
		break;
	}
	counter_add(&v->counters.other, 1);
}

/* ---- the thread ---- */

static void run_once(struct vcpu *v)
{
	if (ioctl(v->fd, KVM_RUN, 0) == 0) {
		handle_exit(v);
	} else if (errno == EINTR || errno == EAGAIN) {
		counter_add(&v->counters.interrupted, 1);
	} else {
		log_warn("vCPU %u: KVM_RUN: %s", v->index, strerror(errno));
		stop(v, VCPU_STOP_INTERNAL);
	}
}

/* Completes what the last exit left open (see the head of the file). */
static void complete_io(struct vcpu *v)
{
	__atomic_store_n(&v->run->immediate_exit, 1, __ATOMIC_RELAXED);
	while (!v->stopped && ioctl(v->fd, KVM_RUN, 0) == 0)
		handle_exit(v);
}

static bool park(struct vcpu *v)
{
	bool go;

	complete_io(v);
	pthread_mutex_lock(&v->lock);
	v->parked = true;
	pthread_cond_broadcast(&v->changed);
	while (v->want == WANT_PARK || (v->want == WANT_RUN && v->stopped))
		pthread_cond_wait(&v->changed, &v->lock);
	v->parked = false;
	go = v->want == WANT_RUN;
	__atomic_store_n(&v->run->immediate_exit, 0, __ATOMIC_RELAXED);
	pthread_mutex_unlock(&v->lock);
	return go;
}

static bool must_park(struct vcpu *v)
{
	/* Pairs with the release in request(): 0 here is no promise, KVM_RUN looks again. */
	return __atomic_load_n(&v->run->immediate_exit, __ATOMIC_ACQUIRE) || v->stopped;
}

static void *vcpu_thread(void *arg)
{
	struct vcpu *v = arg;

	while (park(v))
		while (!must_park(v))
			run_once(v);
	return NULL;
}

static void ignore(int sig)
{
}

static int start_thread(struct vcpu *v, struct err *err)
{
	struct sigaction sa = {.sa_handler = ignore};
	sigset_t all, old;
	char name[16];
	int rc;

	sigaction(VCPU_SIGNAL, &sa, NULL);
	/* The process's signals are the control thread's; a vCPU takes its own only. */
	sigfillset(&all);
	sigdelset(&all, VCPU_SIGNAL);
	pthread_sigmask(SIG_SETMASK, &all, &old);
	rc = pthread_create(&v->thread, NULL, vcpu_thread, v);
	pthread_sigmask(SIG_SETMASK, &old, NULL);
	if (rc)
		return err_set(err, -rc, "vCPU %u: thread: %s", v->index, strerror(rc));
	v->has_thread = true;
	snprintf(name, sizeof(name), "vcpu%u", v->index);
	pthread_setname_np(v->thread, name);
	return 0;
}

static void request(struct vcpu *v, enum want want)
{
	pthread_mutex_lock(&v->lock);
	v->want = want;
	if (want == WANT_RUN || v->parked) {
		pthread_cond_broadcast(&v->changed);
	} else {
		__atomic_store_n(&v->run->immediate_exit, 1, __ATOMIC_RELEASE);
		pthread_kill(v->thread, VCPU_SIGNAL);
	}
	pthread_mutex_unlock(&v->lock);
}

void vcpu_resume(struct vcpu *v)
{
	request(v, WANT_RUN);
}

void vcpu_pause_request(struct vcpu *v)
{
	request(v, WANT_PARK);
}

void vcpu_pause(struct vcpu *v)
{
	request(v, WANT_PARK);
	pthread_mutex_lock(&v->lock);
	while (!v->parked)
		pthread_cond_wait(&v->changed, &v->lock);
	pthread_mutex_unlock(&v->lock);
}

void vcpu_tell_paused(struct vcpu *v)
{
	/* Guests that have no kvmclock give EINVAL. */
	ioctl(v->fd, KVM_KVMCLOCK_CTRL, 0);
}

/* ---- state ---- */

/* Reads n MSRs; those that KVM can't give are left out. Returns how many there are now. */
static unsigned int msrs_get(struct vcpu *v, struct kvm_msr_entry *e, unsigned int n)
{
	struct kvm_msrs *req = calloc(1, sizeof(*req) + n * sizeof(*e));
	unsigned int kept = 0, at = 0;

	while (req && at < n) {
		int got;

		req->nmsrs = n - at;
		memcpy(req->entries, e + at, (n - at) * sizeof(*e));
		got = ioctl(v->fd, KVM_GET_MSRS, req);
		if (got < 0)
			break;
		memmove(e + kept, req->entries, got * sizeof(*e));
		kept += got;
		at += got + 1; /* it stopped at one it doesn't have: past that */
	}
	free(req);
	return kept;
}

static void msrs_list(struct vcpu *v, struct power_on *p)
{
	struct kvm_msr_list *list = calloc(1, sizeof(*list) + MSR_MAX * sizeof(uint32_t));

	if (!list)
		return;
	list->nmsrs = MSR_MAX;
	if (ioctl(v->vm->kvm_fd, KVM_GET_MSR_INDEX_LIST, list) == 0) {
		for (unsigned int i = 0; i < list->nmsrs; i++)
			/* The TSC goes on over a reset, as guests' clocks expect. */
			if (list->indices[i] != MSR_TSC && list->indices[i] != MSR_TSC_ADJUST)
				p->msr[p->n_msrs++].index = list->indices[i];
		p->n_msrs = msrs_get(v, p->msr, p->n_msrs);
	}
	free(list);
}

/* What firmware leaves behind: all memory is write-back where no other range says so. A kernel that
 * finds MTRRs off doesn't use the PAT either. (SDM vol. 3A §12.11.2.1; not every KVM lets it be
 * set, and none needs it.) */
static void mtrr_default(struct vcpu *v)
{
	uint64_t buf[(sizeof(struct kvm_msrs) + sizeof(struct kvm_msr_entry)) / 8] = {0};
	struct kvm_msrs *one = (struct kvm_msrs *)buf;

	one->nmsrs = 1;
	one->entries[0].index = MSR_MTRR_DEF_TYPE;
	one->entries[0].data = 1 << 11 | 6; /* enabled, write-back */
	ioctl(v->fd, KVM_SET_MSRS, one);
}

static int state_get(struct vcpu *v, struct power_on *p, struct err *err)
{
	if (ioctl(v->fd, KVM_GET_REGS, &p->regs) < 0 ||
	    ioctl(v->fd, KVM_GET_SREGS, &p->sregs) < 0 || ioctl(v->fd, KVM_GET_FPU, &p->fpu) < 0 ||
	    ioctl(v->fd, KVM_GET_LAPIC, &p->lapic) < 0 ||
	    ioctl(v->fd, KVM_GET_MP_STATE, &p->mp) < 0 ||
	    ioctl(v->fd, KVM_GET_VCPU_EVENTS, &p->events) < 0 ||
	    ioctl(v->fd, KVM_GET_DEBUGREGS, &p->debugregs) < 0)
		return err_errno(err, "/dev/kvm: registers of vCPU %u", v->index);
	/* Hosts without XSAVE have the FPU state above and nothing more. */
	if (ioctl(v->fd, KVM_GET_XSAVE, &p->xsave) < 0 || ioctl(v->fd, KVM_GET_XCRS, &p->xcrs) < 0)
		p->xcrs.nr_xcrs = 0;
	msrs_list(v, p);
	return 0;
}

/* Writes back the MSRs that the guest has changed: the others may be read-only. */
static int msrs_restore(struct vcpu *v)
{
	const struct power_on *p = v->power_on;
	struct kvm_msr_entry now[MSR_MAX];
	unsigned int n;
	int rc = 0;

	memcpy(now, p->msr, sizeof(now));
	n = msrs_get(v, now, p->n_msrs);
	for (unsigned int i = 0; i < n && i < p->n_msrs; i++) {
		uint64_t buf[(sizeof(struct kvm_msrs) + sizeof(struct kvm_msr_entry)) / 8] = {0};
		struct kvm_msrs *one = (struct kvm_msrs *)buf;

		if (now[i].index != p->msr[i].index || now[i].data == p->msr[i].data)
			continue;
		one->nmsrs = 1;
		one->entries[0] = p->msr[i];
		if (ioctl(v->fd, KVM_SET_MSRS, one) != 1)
			rc = -EIO;
	}
	return rc;
}

int vcpu_reset(struct vcpu *v)
{
	const struct power_on *p = v->power_on;

	if (ioctl(v->fd, KVM_SET_MP_STATE, &p->mp) < 0 ||
	    ioctl(v->fd, KVM_SET_SREGS, &p->sregs) < 0 || ioctl(v->fd, KVM_SET_REGS, &p->regs) < 0)
		return -errno;
	if (p->xcrs.nr_xcrs ? ioctl(v->fd, KVM_SET_XSAVE, &p->xsave) < 0 ||
				      ioctl(v->fd, KVM_SET_XCRS, &p->xcrs) < 0
			    : ioctl(v->fd, KVM_SET_FPU, &p->fpu) < 0)
		return -errno;
	if (ioctl(v->fd, KVM_SET_LAPIC, &p->lapic) < 0 ||
	    ioctl(v->fd, KVM_SET_VCPU_EVENTS, &p->events) < 0 ||
	    ioctl(v->fd, KVM_SET_DEBUGREGS, &p->debugregs) < 0)
		return -errno;
	/* Some MSRs can't be written back on some hosts; the guest's kernel sets what it uses. */
	msrs_restore(v);
	pthread_mutex_lock(&v->lock);
	v->stopped = false;
	pthread_mutex_unlock(&v->lock);
	return 0;
}

static struct kvm_segment flat(uint16_t selector, uint8_t type, bool code64)
{
	return (struct kvm_segment){
		.selector = selector,
		.limit = 0xffffffff,
		.type = type,
		.present = 1,
		.s = 1,
		.g = 1,
		.db = !code64,
		.l = code64,
	};
}

int vcpu_set_entry(struct vcpu *v, const struct vcpu_entry *entry)
{
	struct kvm_regs regs = {
		.rip = entry->rip,
		.rsp = entry->rsp,
		.rsi = entry->rsi,
		.rax = entry->rax,
		.rbx = entry->rbx,
		.rflags = 2,
	};
	struct kvm_sregs sregs = v->power_on->sregs;
	bool code64 = entry->mode == VCPU_LONG64;

	if (entry->mode != VCPU_REAL16) {
		sregs.cs = flat(entry->cs, 0xb, code64); /* code, read, accessed */
		sregs.ds = sregs.es = sregs.ss = sregs.fs = sregs.gs =
			flat(entry->ds, 3, false); /* data, write */
		sregs.tr.type = 0xb; /* busy TSS: what entering protected mode needs */
		sregs.tr.present = 1;
		sregs.gdt.base = entry->gdt_base;
		sregs.gdt.limit = entry->gdt_limit;
		sregs.idt.limit = 0;
		sregs.cr0 = 0x11; /* PE, ET */
	}
	if (code64) {
		sregs.cr3 = entry->cr3;
		sregs.cr4 = 0x20;	  /* PAE */
		sregs.efer = 0x500;	  /* LME, LMA */
		sregs.cr0 |= 0x80000000u; /* PG */
	}
	if (ioctl(v->fd, KVM_SET_SREGS, &sregs) < 0 || ioctl(v->fd, KVM_SET_REGS, &regs) < 0)
		return -errno;
	return 0;
}

/* ---- making and ending ---- */

int vcpu_create(struct vcpu **out, struct vm *vm, unsigned int index, const struct cpuid *cpuid,
		const struct vcpu_ops *ops, void *opaque, struct err *err)
{
	struct vcpu *v = calloc(1, sizeof(*v));
	int rc;

	*out = NULL;
	if (!v)
		return err_set(err, -ENOMEM, "out of memory");
	v->vm = vm;
	v->index = index;
	v->ops = ops;
	v->opaque = opaque;
	v->want = WANT_PARK;
	v->run = MAP_FAILED;
	pthread_mutex_init(&v->lock, NULL);
	pthread_cond_init(&v->changed, NULL);
	v->fd = -1;
	v->power_on = calloc(1, sizeof(*v->power_on));
	if (!v->power_on) {
		rc = err_set(err, -ENOMEM, "out of memory");
		goto fail;
	}
	/* KVM's id of a vCPU is its APIC id. */
	v->fd = ioctl(vm->vm_fd, KVM_CREATE_VCPU, (unsigned long)cpuid_apic_id(cpuid, index));
	if (v->fd < 0) {
		rc = err_errno(err, "-smp: vCPU %u: KVM_CREATE_VCPU", index);
		goto fail;
	}
	v->run_size = ioctl(vm->kvm_fd, KVM_GET_VCPU_MMAP_SIZE, 0);
	v->run = mmap(NULL, v->run_size, PROT_READ | PROT_WRITE, MAP_SHARED, v->fd, 0);
	if (v->run == MAP_FAILED) {
		rc = err_errno(err, "vCPU %u: mmap", index);
		goto fail;
	}
	vm_ring_attach(vm, v->fd);
	rc = cpuid_install(cpuid, v->fd, index);
	if (rc < 0) {
		err_set(err, rc, "vCPU %u: KVM_SET_CPUID2: %s", index, strerror(-rc));
		goto fail;
	}
	mtrr_default(v);
	rc = state_get(v, v->power_on, err);
	if (rc < 0)
		goto fail;
	rc = start_thread(v, err);
	if (rc < 0)
		goto fail;
	*out = v;
	return 0;
fail:
	vcpu_destroy(v);
	return rc;
}

void vcpu_destroy(struct vcpu *v)
{
	if (!v)
		return;
	if (v->has_thread) {
		request(v, WANT_EXIT);
		pthread_join(v->thread, NULL);
	}
	if (v->run != MAP_FAILED)
		munmap(v->run, v->run_size);
	if (v->fd >= 0)
		close(v->fd);
	pthread_cond_destroy(&v->changed);
	pthread_mutex_destroy(&v->lock);
	free(v->power_on);
	free(v);
}

const struct vcpu_counters *vcpu_counters(const struct vcpu *v)
{
	return &v->counters;
}
