/*
 * Posted and shadowed registers on the real kernel: a VM with two processors that run a few
 * instructions in ring 3, where every KVM runs them natively. Each writes numbers into a register of
 * its own, which is posted while the I/O thread polls, and between them reads back by accesses that
 * exit how many of its own and of the other's have arrived. What it costs is printed, for
 * docs/design.md. Skipped where there is no /dev/kvm.
 *
 *	guest-physical	0x1000 PML4, 0x2000 PDPT, 0x3000 and 0x4000 page directories
 *			0x8000 code, 0x9000 two words by which the processors tell each other
 *			BAR: registers
 */
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/loop.h"
#include "bus/bus.h"
#include "bus/posted.h"
#include "kvm/internal.h"
#include "kvm/mem.h"

#define BAR	 UINT64_C(0xe0000000)
#define PML4	 0x1000
#define PDPT	 0x2000
#define PD_LOW	 0x3000
#define PD_BAR	 0x4000
#define CODE_AT	 0x8000
#define TOLD	 0x9000
#define MEM_SIZE 0x10000

/* Registers of processor i, at 16 * i. */
enum {
	NUMBER = 0x0, /* write: the next number. Posted */
	COUNT = 0x4,  /* read: how many came */
	END = 0x8,    /* write: the program is over; 0 = all was well */
	STRIDE = 16
};
#define BELL 0x80 /* write: an ioeventfd's */

/* rbx own registers, r12 the other's; rsi, rdi: words in memory, own and the other's; ecx how many. */
#define CODE(name, text)                                                \
	extern const uint8_t code_##name[], code_##name##_end[];        \
	__asm__(".pushsection .rodata\n.code64\ncode_" #name ":\n" text \
		"1: movl %eax, 8(%rbx)\n jmp 1b\ncode_" #name "_end:\n.popsection\n")

CODE(order, "xorl %eax, %eax\n"
	    "2: incl %eax\n"
	    "movl %eax, (%rbx)\n"
	    "movl %eax, (%rsi)\n"
	    "testl $15, %eax\n jnz 3f\n"
	    "movl 4(%rbx), %edx\n cmpl %eax, %edx\n jne 1f\n"
	    "movl (%rdi), %r8d\n movl 4(%r12), %r9d\n cmpl %r8d, %r9d\n jb 1f\n"
	    "3: cmpl %ecx, %eax\n jb 2b\n"
	    "xorl %eax, %eax\n");
CODE(store, "xorl %eax, %eax\n2: incl %eax\n movl %eax, (%rbx)\n cmpl %ecx, %eax\n jb 2b\n"
	    "xorl %eax, %eax\n");
CODE(load, "2: movl 4(%rbx), %eax\n decl %ecx\n jnz 2b\n xorl %eax, %eax\n");
CODE(bell, "2: movl $1, 0x80(%rbx)\n decl %ecx\n jnz 2b\n xorl %eax, %eax\n");

struct processor {
	struct fixture *f;
	unsigned int index;
	int fd;
	struct kvm_run *run;
	size_t run_size;
	pthread_t thread;
	bool failed;
	unsigned int exits;
	/* the registers' */
	uint32_t number, count, result;
	bool bad, over;
};

struct fixture {
	struct vm *vm;
	struct mem mem;
	struct bus *bus;
	struct loop *loop;
	pthread_mutex_t lock;
	struct bus_region region;
	struct posted posted;
	int shadow;
	struct processor cpu[2];
};

static uint64_t reg_read(void *opaque, uint64_t offset, unsigned int size)
{
	struct fixture *f = opaque;

	return offset < 2 * STRIDE && offset % STRIDE == COUNT ? f->cpu[offset / STRIDE].count : 0;
}

static void reg_write(void *opaque, uint64_t offset, unsigned int size, uint64_t value)
{
	struct fixture *f = opaque;
	struct processor *p = &f->cpu[offset / STRIDE % 2];

	if (offset >= 2 * STRIDE)
		return;
	if (offset % STRIDE == NUMBER) {
		p->bad |= value != p->number + 1;
		p->number = (uint32_t)value;
		p->count++;
	} else if (offset % STRIDE == END) {
		p->over = true;
		p->result = (uint32_t)value;
	}
}

static const struct region_ops reg_ops = {.read = reg_read, .write = reg_write, .max = 4};

/* ---- processors ---- */

static void handle(struct processor *p)
{
	struct kvm_run *run = p->run;
	uint64_t value = 0;

	p->exits++;
	if (run->exit_reason != KVM_EXIT_MMIO) {
		p->failed = p->over = true;
		return;
	}
	if (run->mmio.is_write) {
		memcpy(&value, run->mmio.data, run->mmio.len);
		bus_write(p->f->bus, p->index, BUS_MMIO, run->mmio.phys_addr, run->mmio.len, value);
	} else {
		value = bus_read(p->f->bus, p->index, BUS_MMIO, run->mmio.phys_addr, run->mmio.len);
		memcpy(run->mmio.data, &value, run->mmio.len);
	}
}

static void *processor_thread(void *arg)
{
	struct processor *p = arg;
	int r;

	while (!p->over) {
		r = ioctl(p->fd, KVM_RUN, 0);
		if (r == 0)
			handle(p);
		else if (errno != EINTR && errno != EAGAIN)
			p->failed = p->over = true;
	}
	p->run->immediate_exit = 1; /* completes the store */
	ioctl(p->fd, KVM_RUN, 0);
	p->run->immediate_exit = 0;
	return NULL;
}

static struct kvm_segment flat(bool code)
{
	return (struct kvm_segment){
		.limit = 0xffffffff,
		.selector = (code ? 0x08 : 0x10) | 3,
		.type = code ? 0xb : 0x3,
		.present = 1,
		.dpl = 3,
		.db = !code,
		.s = 1,
		.l = code,
		.g = 1,
	};
}

static void enter(struct processor *p, uint32_t count)
{
	uint64_t own = STRIDE * (uint64_t)p->index, other = STRIDE - own;
	struct kvm_regs r = {
		.rip = CODE_AT,
		.rsp = MEM_SIZE,
		.rflags = 2,
		.rbx = BAR + own,
		.r12 = BAR + other,
		.rsi = TOLD + own,
		.rdi = TOLD + other,
		.rcx = count,
	};
	struct kvm_sregs s;

	assert_int_equal(ioctl(p->fd, KVM_GET_SREGS, &s), 0);
	s.cs = flat(true);
	s.ds = s.es = s.fs = s.gs = s.ss = flat(false);
	s.idt.limit = 0;
	s.cr3 = PML4;
	s.cr4 = 0x20;
	s.cr0 = 0x80000033;
	s.efer |= 0x500;
	assert_int_equal(ioctl(p->fd, KVM_SET_SREGS, &s), 0);
	assert_int_equal(ioctl(p->fd, KVM_SET_REGS, &r), 0);
	/* A sanitizer can't see that the guest's stores come after this. */
	pthread_mutex_lock(&p->f->lock);
	p->failed = p->over = p->bad = false;
	p->exits = p->number = p->count = p->result = 0;
	pthread_mutex_unlock(&p->f->lock);
}

static void processor_make(struct fixture *f, unsigned int index)
{
	struct kvm_mp_state runnable = {.mp_state = KVM_MP_STATE_RUNNABLE};
	struct processor *p = &f->cpu[index];
	struct kvm_cpuid2 *cpuid = calloc(1, sizeof(*cpuid) + 256 * sizeof(cpuid->entries[0]));

	assert_non_null(cpuid);
	p->f = f;
	p->index = index;
	p->fd = ioctl(f->vm->vm_fd, KVM_CREATE_VCPU, (unsigned long)index);
	assert_true(p->fd >= 0);
	vm_ring_attach(f->vm, p->fd);
	p->run_size = ioctl(f->vm->kvm_fd, KVM_GET_VCPU_MMAP_SIZE, 0);
	p->run = mmap(NULL, p->run_size, PROT_READ | PROT_WRITE, MAP_SHARED, p->fd, 0);
	assert_true(p->run != MAP_FAILED);
	cpuid->nent = 256;
	assert_int_equal(ioctl(f->vm->kvm_fd, KVM_GET_SUPPORTED_CPUID, cpuid), 0);
	assert_int_equal(ioctl(p->fd, KVM_SET_CPUID2, cpuid), 0);
	assert_int_equal(ioctl(p->fd, KVM_SET_MP_STATE, &runnable), 0);
	free(cpuid);
}

/* Runs a program on the first n processors, to its end; how many ns it took. */
static uint64_t run(struct fixture *f, unsigned int n, const uint8_t *code, const uint8_t *end,
		    uint32_t count)
{
	uint64_t start;

	memset(f->mem.map + TOLD, 0, 64);
	memcpy(f->mem.map + CODE_AT, code, end - code);
	for (unsigned int i = 0; i < n; i++)
		enter(&f->cpu[i], count);
	start = loop_now_ns();
	for (unsigned int i = 0; i < n; i++)
		assert_int_equal(
			pthread_create(&f->cpu[i].thread, NULL, processor_thread, &f->cpu[i]), 0);
	for (unsigned int i = 0; i < n; i++)
		pthread_join(f->cpu[i].thread, NULL);
	return loop_now_ns() - start;
}
#define RUN(f, n, name, count) run(f, n, code_##name, code_##name##_end, count)

/* ---- the machine ---- */

static void put64(struct fixture *f, uint64_t gpa, uint64_t value)
{
	memcpy(f->mem.map + gpa, &value, sizeof(value));
}

static int set_up(void **state)
{
	struct fixture *f = calloc(1, sizeof(*f));
	struct mem_config config = {.size = MEM_SIZE};
	struct err err = {0};

	assert_non_null(f);
	assert_int_equal(vm_create(&f->vm, &err), 0);
	assert_int_equal(mem_create(&f->mem, &config, &err), 0);
	assert_int_equal(mem_add_range(&f->mem, 0, MEM_SIZE, 0), 0);
	assert_int_equal(vm_set_memory(f->vm, &f->mem, &err), 0);
	put64(f, PML4, PDPT | 7);
	put64(f, PDPT, PD_LOW | 7);
	put64(f, PDPT + 8 * 3, PD_BAR | 7);
	put64(f, PD_LOW, 0x87);
	put64(f, PD_BAR + 8 * 256, BAR | 0x87);
	assert_int_equal(bus_create(&f->bus, f->vm, &err), 0);
	for (unsigned int i = 0; i < 2; i++)
		processor_make(f, i);

	assert_int_equal(loop_create(&f->loop, "io", 32768, &err), 0);
	assert_int_equal(loop_start(f->loop, &err), 0);
	pthread_mutex_init(&f->lock, NULL);
	bus_region_init(&f->region, "test", BUS_MMIO, 0x100, &reg_ops, f, &f->lock);
	posted_init(&f->posted, f->bus, f->loop);
	for (unsigned int i = 0; i < 2; i++)
		assert_int_equal(
			posted_mark(&f->posted, &f->region, NUMBER + STRIDE * (uint64_t)i, 4), 0);
	f->shadow = posted_shadow(&f->posted, &f->region, 0, 4096);
	assert_true(f->shadow >= 0);
	assert_int_equal(bus_map(f->bus, &f->region, BAR), 0);
	*state = f;
	return 0;
}

static int tear_down(void **state)
{
	struct fixture *f = *state;

	bus_unmap(&f->region);
	bus_synchronize(f->bus);
	posted_fini(&f->posted);
	loop_join(f->loop);
	loop_destroy(f->loop);
	for (unsigned int i = 0; i < 2; i++) {
		munmap(f->cpu[i].run, f->cpu[i].run_size);
		close(f->cpu[i].fd);
	}
	bus_destroy(f->bus);
	vm_destroy(f->vm);
	mem_destroy(&f->mem);
	pthread_mutex_destroy(&f->lock);
	free(f);
	return 0;
}

static bool has(struct fixture *f, int cap)
{
	return ioctl(f->vm->vm_fd, KVM_CHECK_EXTENSION, cap) > 0;
}

/* ---- tests ---- */

static void check_order(struct fixture *f, uint32_t count)
{
	for (unsigned int i = 0; i < 2; i++) {
		struct processor *p = &f->cpu[i];

		assert_false(p->failed);
		assert_int_equal(p->result, 0);
	}
	bus_posted_drain(f->bus);
	for (unsigned int i = 0; i < 2; i++) {
		assert_false(f->cpu[i].bad);
		assert_int_equal(f->cpu[i].count, count);
	}
}

/* Two processors that write posted registers and read back by exits: each finds its own writes done,
 * and those that the other has told it of. */
static void test_order(void **state)
{
	struct fixture *f = *state;
	uint64_t posted;

	RUN(f, 2, order, 2000);
	check_order(f, 2000);
	assert_int_equal(counter_get(&f->posted.counters.posted), 0);

	posted_set_mode(&f->posted, POSTED_WRITES);
	for (unsigned int round = 0; round < 5; round++) {
		RUN(f, 2, order, 20000);
		check_order(f, 20000);
	}
	posted = counter_get(&f->posted.counters.posted);
	print_message("order: %llu of 200000 writes posted, %llu engagements\n",
		      (unsigned long long)posted,
		      (unsigned long long)counter_get(&f->posted.counters.engagements));
	assert_true(!has(f, KVM_CAP_COALESCED_MMIO) || posted > 10000);
	assert_int_equal(counter_get(&bus_counters(f->bus)->posted_lost), 0);
}

/* The same while mode and mapping change all the time. */
static void *disturb(void *arg)
{
	struct fixture *f = arg;

	for (unsigned int i = 0; i < 10; i++) {
		posted_set_mode(&f->posted, i & 1 ? POSTED_WRITES : POSTED_NONE);
		usleep(3000);
	}
	return NULL;
}

static void test_order_disturbed(void **state)
{
	struct fixture *f = *state;
	pthread_t thread;

	posted_set_mode(&f->posted, POSTED_WRITES);
	assert_int_equal(pthread_create(&thread, NULL, disturb, f), 0);
	RUN(f, 2, order, 10000);
	pthread_join(thread, NULL);
	check_order(f, 10000);
}

/* The guest's own view of a shadow, and of a write to the page that it is in. */
static void test_shadow(void **state)
{
	struct fixture *f = *state;

	posted_set_mode(&f->posted, POSTED_READS);
	posted_shadow_set(&f->posted, f->shadow, COUNT, 4, 5);
	RUN(f, 1, load, 100);
	usleep(20000);
	if (!posted_stands(&f->posted)) {
		assert_false(has(f, KVM_CAP_READONLY_MEM));
		return;
	}
	RUN(f, 1, load, 1000);
	assert_int_equal(f->cpu[0].exits, 1); /* the end's */
	RUN(f, 1, store, 50);
	assert_int_equal(f->cpu[0].count, 50);
	assert_int_equal(f->cpu[0].exits, 51);
	assert_false(f->cpu[0].bad);
}

static void say(const char *what, struct fixture *f, uint64_t ns, uint32_t count)
{
	print_message("cost: %-28s %8.1f ns, %5.3f exits each\n", what, (double)ns / count,
		      (double)(f->cpu[0].exits - 1) / count);
}

static void test_cost(void **state)
{
	struct fixture *f = *state;
	struct bus_doorbell bell = {
		.offset = BELL, .size = 4, .match = true, .value = 1, .fd = eventfd(0, 0)};
	uint64_t before;

	say("store that exits", f, RUN(f, 1, store, 2000), 2000);
	say("load that exits", f, RUN(f, 1, load, 2000), 2000);
	assert_int_equal(bus_doorbell_add(&f->region, &bell), 0);
	say("store that rings a bell", f, RUN(f, 1, bell, 20000), 20000);
	bus_doorbell_del(&f->region, &bell);
	close(bell.fd);

	posted_set_mode(&f->posted, POSTED_WRITES);
	RUN(f, 1, store, 1000); /* engages */
	before = counter_get(&f->posted.counters.posted);
	say("store that is posted", f, RUN(f, 1, store, 20000), 20000);
	print_message("cost: %-28s %8.3f of all\n", "  of these without an exit",
		      (double)(counter_get(&f->posted.counters.posted) - before) / 20000);

	posted_set_mode(&f->posted, POSTED_READS);
	RUN(f, 1, load, 200);
	usleep(20000);
	say("load from a shadow", f, RUN(f, 1, load, 20000000), 20000000);
	say("store into a shadow's page", f, RUN(f, 1, store, 2000), 2000);
}

int main(void)
{
#define T(name) cmocka_unit_test_setup_teardown(test_##name, set_up, tear_down)
	const struct CMUnitTest tests[] = {T(order), T(order_disturbed), T(shadow), T(cost)};
	int fd = open("/dev/kvm", O_RDWR | O_CLOEXEC);

	if (fd < 0) {
		printf("SKIP: /dev/kvm: %s\n", strerror(errno));
		return 77;
	}
	close(fd);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
