/*
 * virtio/ring.c from the driver's side: good chains, suppression both ways, positions, and every
 * way to be malformed.
 */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "vdriver.h"
#include "virtio/ring.h"

#define LOW  0x10000 /* a range, and another right behind it, and one above 4 GiB */
#define MID  0x20000
#define HIGH UINT64_C(0x100000000)
#define SIZE 8
#define BUF  (LOW + 0x4000)

struct fix {
	struct mem mem;
	struct vdriver d;
	struct virtq q;
	struct virtq_config config;
	unsigned int interrupts, latches;
	const char *reason;
	struct iovec iov[64];
	struct virtq_chain chain;
};

static void notify(struct virtq *q)
{
	((struct fix *)q->opaque)->interrupts++;
}

static void broken(struct virtq *q, const char *reason)
{
	struct fix *f = q->opaque;

	f->latches++;
	f->reason = reason;
}

static struct fix *start(struct fix *f, bool event_idx, bool indirect)
{
	memset(f, 0, sizeof(*f));
	vdriver_ram(&f->mem, LOW, 0x10000);
	vdriver_ram(&f->mem, MID, 0x10000);
	vdriver_ram(&f->mem, HIGH, 0x10000);
	vdriver_init(&f->d, &f->mem, LOW, SIZE);
	f->q.mem = &f->mem;
	f->q.notify = notify;
	f->q.broken = broken;
	f->q.opaque = f;
	f->config = (struct virtq_config){.size = SIZE,
					  .desc = f->d.desc,
					  .avail = f->d.avail,
					  .used = f->d.used,
					  .event_idx = event_idx,
					  .indirect = indirect};
	assert_int_equal(virtq_start(&f->q, &f->config, 0), 0);
	return f;
}

static void finish(struct fix *f)
{
	vdriver_ram_free(&f->mem);
}

static int pop(struct fix *f)
{
	return virtq_pop(&f->q, &f->chain, f->iov, 64);
}

static void *hva(struct fix *f, uint64_t gpa)
{
	return mem_ptr(&f->mem, gpa, 1);
}

/* ---- good ones ---- */

static void test_chain(void **state)
{
	const struct vdriver_buf bufs[] = {
		{BUF, 12, false}, {HIGH + 5, 100, false}, {MID, 1, true}};
	struct vring_used_elem e;
	struct fix f;
	uint16_t head;

	start(&f, false, false);
	assert_int_equal(pop(&f), 0);
	f.d.next_desc = 6; /* the chain goes round the end of the table */
	head = vdriver_add(&f.d, bufs, 3);
	assert_true(virtq_pending(&f.q));
	assert_int_equal(pop(&f), 1);
	assert_int_equal(f.chain.head, head);
	assert_int_equal(f.chain.n_out, 2);
	assert_int_equal(f.chain.n_in, 1);
	assert_int_equal(f.chain.out_bytes, 112);
	assert_int_equal(f.chain.in_bytes, 1);
	assert_ptr_equal(f.iov[0].iov_base, hva(&f, BUF));
	assert_ptr_equal(f.iov[1].iov_base, hva(&f, HIGH + 5));
	assert_int_equal(f.iov[1].iov_len, 100);
	assert_ptr_equal(f.iov[2].iov_base, hva(&f, MID));
	assert_int_equal(pop(&f), 0);
	assert_false(virtq_pending(&f.q));

	virtq_fill(&f.q, &f.chain, 1);
	assert_false(vdriver_take(&f.d, &e)); /* not before the flush */
	virtq_flush(&f.q);
	assert_true(vdriver_take(&f.d, &e));
	assert_int_equal(e.id, head);
	assert_int_equal(e.len, 1);
	assert_int_equal(f.interrupts, 1);
	virtq_flush(&f.q); /* nothing new */
	assert_int_equal(f.interrupts, 1);
	assert_int_equal(f.latches, 0);
	finish(&f);
}

/* 70000 chains in batches of up to 8: all indexes go round. */
static void test_wrap(void **state)
{
	const struct vdriver_buf buf = {BUF, 64, false};
	struct vring_used_elem e;
	unsigned int done = 0;
	struct fix f;

	start(&f, true, false);
	while (done < 70000) {
		unsigned int n = done % SIZE + 1;
		uint16_t heads[SIZE];

		for (unsigned int i = 0; i < n; i++)
			heads[i] = vdriver_add(&f.d, &buf, 1);
		for (unsigned int i = 0; i < n; i++) {
			assert_int_equal(pop(&f), 1);
			assert_int_equal(f.chain.head, heads[i]);
			virtq_fill(&f.q, &f.chain, i);
		}
		assert_int_equal(pop(&f), 0);
		virtq_flush(&f.q);
		for (unsigned int i = 0; i < n; i++) {
			assert_true(vdriver_take(&f.d, &e));
			assert_int_equal(e.id, heads[i]);
			assert_int_equal(e.len, i);
		}
		assert_false(vdriver_take(&f.d, &e));
		done += n;
	}
	assert_int_equal(counter_get(&f.q.counters.chains), done);
	finish(&f);
}

/* A buffer that crosses from one range of RAM into the next becomes two pieces. */
static void test_two_ranges(void **state)
{
	const struct vdriver_buf buf = {MID - 16, 48, true};
	struct fix f;

	start(&f, false, false);
	vdriver_add(&f.d, &buf, 1);
	assert_int_equal(virtq_pop(&f.q, &f.chain, f.iov, 1), -E2BIG);
	assert_int_equal(pop(&f), 1);
	assert_int_equal(f.chain.n_in, 2);
	assert_int_equal(f.chain.in_bytes, 48);
	assert_ptr_equal(f.iov[0].iov_base, hva(&f, MID - 16));
	assert_int_equal(f.iov[0].iov_len, 16);
	assert_ptr_equal(f.iov[1].iov_base, hva(&f, MID));
	assert_int_equal(f.iov[1].iov_len, 32);
	finish(&f);
}

static void test_indirect(void **state)
{
	const uint64_t table = BUF + 0x1008; /* no alignment is asked for beyond this */
	struct fix f;

	start(&f, false, true);
	for (uint16_t i = 0; i < 20; i++) /* longer than the ring */
		vdriver_desc(&f.d, table, i, HIGH + i, 1,
			     (uint16_t)((i < 19 ? VRING_DESC_F_NEXT : 0) |
					(i >= 15 ? VRING_DESC_F_WRITE : 0)),
			     (uint16_t)(i + 1));
	/* A direct one in front of it (§2.7.5.3.2), and WRITE on the table's, which means nothing.
	 */
	vdriver_desc(&f.d, f.d.desc, 0, BUF, 10, VRING_DESC_F_NEXT, 5);
	vdriver_desc(&f.d, f.d.desc, 5, table, 20 * 16, VRING_DESC_F_INDIRECT | VRING_DESC_F_WRITE,
		     0);
	vdriver_offer(&f.d, 0);
	assert_int_equal(pop(&f), 1);
	assert_int_equal(f.chain.n_out, 16);
	assert_int_equal(f.chain.n_in, 5);
	assert_int_equal(f.chain.out_bytes, 25);
	assert_ptr_equal(f.iov[20].iov_base, hva(&f, HIGH + 19));
	finish(&f);
}

static void test_too_big_stays(void **state)
{
	const struct vdriver_buf bufs[] = {{BUF, 1, false}, {BUF, 2, false}, {BUF, 3, true}};
	struct fix f;

	start(&f, false, false);
	vdriver_add(&f.d, bufs, 3);
	assert_int_equal(virtq_pop(&f.q, &f.chain, f.iov, 2), -E2BIG);
	assert_int_equal(virtq_pop(&f.q, &f.chain, f.iov, 0), -E2BIG);
	assert_true(virtq_pending(&f.q));
	assert_int_equal(virtq_pop(&f.q, &f.chain, f.iov, 3), 1);
	assert_int_equal(f.latches, 0);
	finish(&f);
}

static void test_unpop_and_position(void **state)
{
	const struct vdriver_buf buf = {BUF, 1, false};
	uint16_t heads[5];
	uint32_t position;
	struct fix f;

	start(&f, false, false);
	for (int i = 0; i < 5; i++)
		heads[i] = vdriver_add(&f.d, &buf, 1);
	for (int i = 0; i < 4; i++)
		assert_int_equal(pop(&f), 1);
	virtq_unpop(&f.q, 2);
	assert_int_equal(pop(&f), 1);
	assert_int_equal(f.chain.head, heads[2]);
	virtq_unpop(&f.q, 1);
	for (uint16_t i = 0; i < 2; i++) {
		f.chain.head = heads[i];
		virtq_fill(&f.q, &f.chain, 0);
	}
	virtq_flush(&f.q);
	position = virtq_stop(&f.q);
	assert_int_equal(position, 2);

	assert_int_equal(virtq_start(&f.q, &f.config, position), 0);
	for (int i = 2; i < 5; i++) {
		assert_int_equal(pop(&f), 1);
		assert_int_equal(f.chain.head, heads[i]);
		virtq_fill(&f.q, &f.chain, 0);
	}
	virtq_flush(&f.q);
	assert_int_equal(vdriver_used_idx(&f.d), 5);
	finish(&f);
}

/* ---- suppression ---- */

static void one(struct fix *f)
{
	const struct vdriver_buf buf = {BUF, 1, false};

	vdriver_add(&f->d, &buf, 1);
	assert_int_equal(pop(f), 1);
	virtq_fill(&f->q, &f->chain, 0);
}

static void test_interrupt_flag(void **state)
{
	struct fix f;

	start(&f, false, false);
	vdriver_set_avail_flags(&f.d, VRING_AVAIL_F_NO_INTERRUPT);
	one(&f);
	virtq_flush(&f.q);
	assert_int_equal(f.interrupts, 0);
	vdriver_set_avail_flags(&f.d, 0);
	one(&f);
	virtq_flush(&f.q);
	assert_int_equal(f.interrupts, 1);
	assert_int_equal(counter_get(&f.q.counters.batches), 2);
	assert_int_equal(counter_get(&f.q.counters.suppressed), 1);
	assert_int_equal(counter_get(&f.q.counters.notified), 1);
	finish(&f);
}

static void test_interrupt_event(void **state)
{
	struct fix f;

	start(&f, true, false);
	vdriver_set_avail_flags(&f.d, VRING_AVAIL_F_NO_INTERRUPT); /* means nothing here */
	vdriver_set_used_event(&f.d, 0);
	one(&f);
	virtq_flush(&f.q); /* 0 -> 1 passes entry 0 */
	assert_int_equal(f.interrupts, 1);
	one(&f);
	virtq_flush(&f.q); /* 1 -> 2: the driver still waits for 0 */
	assert_int_equal(f.interrupts, 1);
	vdriver_set_used_event(&f.d, 4);
	one(&f);
	one(&f);
	virtq_flush(&f.q); /* 2 -> 4 */
	assert_int_equal(f.interrupts, 1);
	one(&f);
	one(&f);
	virtq_flush(&f.q); /* 4 -> 6 passes 4 in one batch */
	assert_int_equal(f.interrupts, 2);
	finish(&f);
}

static void test_notify_on_empty(void **state)
{
	const struct vdriver_buf buf = {BUF, 1, false};
	struct fix f;

	start(&f, false, false);
	f.config.notify_on_empty = true;
	assert_int_equal(virtq_start(&f.q, &f.config, 0), 0);
	vdriver_set_avail_flags(&f.d, VRING_AVAIL_F_NO_INTERRUPT);
	one(&f);
	vdriver_add(&f.d, &buf, 1);
	virtq_flush(&f.q);
	assert_int_equal(f.interrupts, 0); /* one is still waiting */
	assert_int_equal(pop(&f), 1);
	virtq_fill(&f.q, &f.chain, 0);
	virtq_flush(&f.q);
	assert_int_equal(f.interrupts, 1);
	finish(&f);
}

static void test_kicks_flag(void **state)
{
	const struct vdriver_buf buf = {BUF, 1, false};
	struct fix f;

	start(&f, false, false);
	assert_int_equal(vdriver_used_flags(&f.d), VRING_USED_F_NO_NOTIFY);
	assert_false(virtq_kicks_on(&f.q));
	assert_int_equal(vdriver_used_flags(&f.d), 0);
	virtq_kicks_off(&f.q);
	assert_int_equal(vdriver_used_flags(&f.d), VRING_USED_F_NO_NOTIFY);
	vdriver_add(&f.d, &buf, 1);
	assert_true(virtq_kicks_on(&f.q));
	finish(&f);
}

static void test_kicks_event(void **state)
{
	const struct vdriver_buf buf = {BUF, 1, false};
	struct fix f;

	start(&f, true, false);
	one(&f);
	one(&f);
	assert_int_equal(vdriver_avail_event(&f.d), 0); /* left behind while polling */
	assert_false(virtq_kicks_on(&f.q));
	assert_int_equal(vdriver_avail_event(&f.d), 2);
	virtq_kicks_off(&f.q);
	vdriver_add(&f.d, &buf, 1);
	assert_true(virtq_kicks_on(&f.q));
	assert_int_equal(vdriver_used_flags(&f.d), 0);
	finish(&f);
}

/* ---- configurations ---- */

static void test_config(void **state)
{
	struct virtq_config c;
	struct fix f;

	start(&f, false, false);
#define BAD(field, value)                                            \
	do {                                                         \
		c = f.config;                                        \
		c.field = (value);                                   \
		assert_non_null(virtq_config_error(&f.mem, &c));     \
		assert_int_equal(virtq_start(&f.q, &c, 0), -EINVAL); \
	} while (0)
	assert_null(virtq_config_error(&f.mem, &f.config));
	BAD(size, 0);
	BAD(size, 3);
	BAD(size, VIRTQ_SIZE_MAX - 1);
	BAD(size, 0x8000);
	BAD(desc, LOW + 8);
	BAD(avail, LOW + 1);
	BAD(used, LOW + 2);
	BAD(desc, 0);
	BAD(desc, LOW + 0x20000 - 16);
	BAD(desc, MID - 16); /* RAM, but in two pieces */
	BAD(avail, MID + 0x10000 - 20);
	BAD(used, MID + 0x10000 - 68);
	BAD(used, UINT64_MAX - 3);
	c = f.config;
	c.used = MID + 0x10000 - 72; /* 70 bytes: just fits */
	assert_null(virtq_config_error(&f.mem, &c));
#undef BAD
	finish(&f);
}

/* The largest ring that virtio knows, full, more than twice round. */
static void test_largest(void **state)
{
	const struct vdriver_buf buf = {0x200000, 8, false};
	struct vring_used_elem e = {0};
	struct fix f = {0};

	vdriver_ram(&f.mem, 0x100000, 0x110000);
	vdriver_init(&f.d, &f.mem, 0x100000, VIRTQ_SIZE_MAX);
	f.q = (struct virtq){.mem = &f.mem, .notify = notify, .broken = broken, .opaque = &f};
	f.config = (struct virtq_config){.size = VIRTQ_SIZE_MAX,
					 .desc = f.d.desc,
					 .avail = f.d.avail,
					 .used = f.d.used,
					 .event_idx = true};
	assert_int_equal(virtq_start(&f.q, &f.config, 0), 0);
	for (unsigned int round = 0; round < 3; round++) {
		for (unsigned int i = 0; i < VIRTQ_SIZE_MAX; i++)
			vdriver_add(&f.d, &buf, 1);
		for (unsigned int i = 0; i < VIRTQ_SIZE_MAX; i++)
			assert_int_equal(pop(&f), 1);
		assert_int_equal(pop(&f), 0);
		virtq_unpop(&f.q, VIRTQ_SIZE_MAX);
		for (unsigned int i = 0; i < VIRTQ_SIZE_MAX; i++) {
			assert_int_equal(pop(&f), 1);
			virtq_fill(&f.q, &f.chain, i);
		}
		virtq_flush(&f.q);
		for (unsigned int i = 0; i < VIRTQ_SIZE_MAX; i++) {
			assert_true(vdriver_take(&f.d, &e));
			assert_int_equal(e.id, i);
			assert_int_equal(e.len, i);
		}
		assert_false(vdriver_take(&f.d, &e));
	}
	assert_int_equal(f.latches, 0);
	virtq_stop(&f.q);
	finish(&f);
}

/* ---- malformed rings ---- */

/* The next pop latches, and says something with `word` in it; so does every later one, quietly. */
static void expect_latch(struct fix *f, const char *word)
{
	assert_int_equal(pop(f), -EPROTO);
	assert_int_equal(f->latches, 1);
	assert_non_null(strstr(f->reason, word));
	assert_int_equal(pop(f), -EPROTO);
	assert_int_equal(f->latches, 1);
	assert_false(virtq_pending(&f->q));
	assert_false(virtq_kicks_on(&f->q));
	virtq_unpop(&f->q, 0);
	virtq_flush(&f->q);
	assert_int_equal(counter_get(&f->q.counters.malformed), 1);
	assert_int_equal(f->interrupts, 0);
	virtq_stop(&f->q);
	finish(f);
}

/* One chain at entry 0, made of what the macro's arguments say. */
#define N VRING_DESC_F_NEXT
#define W VRING_DESC_F_WRITE
#define I VRING_DESC_F_INDIRECT

static void bad_desc(bool indirect, const struct vring_desc *desc, uint16_t n, const char *word)
{
	struct fix f;

	start(&f, false, indirect);
	for (uint16_t i = 0; i < n; i++)
		vdriver_desc(&f.d, f.d.desc, i, desc[i].addr, desc[i].len, desc[i].flags,
			     desc[i].next);
	vdriver_offer(&f.d, 0);
	expect_latch(&f, word);
}

static void test_bad_direct(void **state)
{
	bad_desc(false, (struct vring_desc[]){{BUF, 0, 0, 0}}, 1, "no length");
	bad_desc(false, (struct vring_desc[]){{BUF, 4, N, 1}, {BUF, 0, W, 0}}, 2, "no length");
	bad_desc(false, (struct vring_desc[]){{0, 4, 0, 0}}, 1, "not in RAM");
	bad_desc(false, (struct vring_desc[]){{HIGH + 0x10000, 1, 0, 0}}, 1, "not in RAM");
	bad_desc(false, (struct vring_desc[]){{HIGH + 0xffff, 2, 0, 0}}, 1, "not in RAM");
	bad_desc(false, (struct vring_desc[]){{MID, 0xffffffff, W, 0}}, 1, "not in RAM");
	bad_desc(false, (struct vring_desc[]){{UINT64_MAX, 2, 0, 0}}, 1, "not in RAM");
	bad_desc(false, (struct vring_desc[]){{UINT64_MAX - 0xffff, 0xffffffff, 0, 0}}, 1,
		 "not in RAM");
	bad_desc(false, (struct vring_desc[]){{BUF, 1, N, 0}}, 1, "loops");
	bad_desc(false, (struct vring_desc[]){{BUF, 1, N, 1}, {BUF, 1, N, 0}}, 2, "loops");
	bad_desc(false, (struct vring_desc[]){{BUF, 1, N, SIZE}}, 1, "next index");
	bad_desc(false, (struct vring_desc[]){{BUF, 1, N, 0xffff}}, 1, "next index");
	bad_desc(false, (struct vring_desc[]){{BUF, 1, W | N, 1}, {BUF, 1, 0, 0}}, 2,
		 "readable descriptor");
	bad_desc(false, (struct vring_desc[]){{BUF, 16, I, 0}}, 1, "not negotiated");
}

static void test_bad_indirect(void **state)
{
	bad_desc(true, (struct vring_desc[]){{BUF, 16, I | N, 1}}, 1, "has a next");
	bad_desc(true, (struct vring_desc[]){{BUF, 0, I, 0}}, 1, "multiple of 16");
	bad_desc(true, (struct vring_desc[]){{BUF, 17, I, 0}}, 1, "multiple of 16");
	bad_desc(true, (struct vring_desc[]){{BUF, 15, I, 0}}, 1, "multiple of 16");
	bad_desc(true, (struct vring_desc[]){{0, 16, I, 0}}, 1, "not in RAM");
	bad_desc(true, (struct vring_desc[]){{HIGH + 0xfff8, 16, I, 0}}, 1, "not in RAM");
	bad_desc(true, (struct vring_desc[]){{UINT64_MAX - 15, 32, I, 0}}, 1, "not in RAM");
	bad_desc(true, (struct vring_desc[]){{HIGH, 0xfffffff0, I, 0}}, 1, "not in RAM");
	/* Tables that are the ring's own: nested, looping, next outside. */
	bad_desc(true, (struct vring_desc[]){{LOW + 16, 16, I, 0}, {LOW + 16, 16, I, 0}}, 2,
		 "within an indirect");
	bad_desc(true, (struct vring_desc[]){{LOW, 16, I, 0}}, 1, "within an indirect");
	bad_desc(true, (struct vring_desc[]){{LOW + 16, 16, I, 0}, {BUF, 1, N, 0}}, 2, "loops");
	bad_desc(true, (struct vring_desc[]){{LOW + 16, 16, I, 0}, {BUF, 1, N, 1}}, 2,
		 "next index");
	bad_desc(true,
		 (struct vring_desc[]){{BUF, 1, N | W, 1}, {LOW + 32, 16, I, 0}, {BUF, 1, 0, 0}}, 3,
		 "readable descriptor");
}

static void test_bad_avail(void **state)
{
	struct fix f;

	start(&f, false, false);
	vdriver_offer(&f.d, SIZE);
	expect_latch(&f, "head");
	start(&f, false, false);
	vdriver_publish(&f.d, SIZE + 1);
	expect_latch(&f, "jumps");
	start(&f, false, false);
	vdriver_publish(&f.d, 0xffff); /* backwards */
	expect_latch(&f, "jumps");
	/* As much as the size is fine, though every entry is head 0, with a good descriptor there.
	 */
	start(&f, false, false);
	vdriver_desc(&f.d, f.d.desc, 0, BUF, 1, 0, 0);
	vdriver_publish(&f.d, SIZE);
	for (int i = 0; i < SIZE; i++)
		assert_int_equal(pop(&f), 1);
	assert_int_equal(pop(&f), 0);
	finish(&f);
}

/* 4 GiB by many descriptors over the same memory. */
static void test_bad_total(void **state)
{
	const uint64_t big = 2 * HIGH;
	const uint32_t len = 0x100000;
	struct iovec *iov = calloc(4096, sizeof(*iov));
	struct fix f;

	for (unsigned int n = 4095; n <= 4096; n++) {
		start(&f, false, true);
		vdriver_ram(&f.mem, big, len);
		vdriver_desc(&f.d, f.d.desc, 0, MID, n * 16, I, 0);
		for (uint16_t i = 0; i < n; i++)
			vdriver_desc(&f.d, MID, i, big, len, i < n - 1 ? N : 0, (uint16_t)(i + 1));
		vdriver_offer(&f.d, 0);
		assert_int_equal(virtq_pop(&f.q, &f.chain, iov, 4096), n < 4096 ? 1 : -EPROTO);
		if (n < 4096)
			assert_int_equal(f.chain.out_bytes, n * len);
		else
			assert_non_null(strstr(f.reason, "4 GiB"));
		finish(&f);
	}
	free(iov);
}

static void test_latch_by_device(void **state)
{
	struct fix f;

	start(&f, false, false);
	virtq_latch(&f.q, "a header is too short");
	virtq_latch(&f.q, "again");
	expect_latch(&f, "too short");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_chain),		cmocka_unit_test(test_wrap),
		cmocka_unit_test(test_two_ranges),	cmocka_unit_test(test_indirect),
		cmocka_unit_test(test_too_big_stays),	cmocka_unit_test(test_unpop_and_position),
		cmocka_unit_test(test_interrupt_flag),	cmocka_unit_test(test_interrupt_event),
		cmocka_unit_test(test_notify_on_empty), cmocka_unit_test(test_kicks_flag),
		cmocka_unit_test(test_kicks_event),	cmocka_unit_test(test_config),
		cmocka_unit_test(test_largest),		cmocka_unit_test(test_bad_direct),
		cmocka_unit_test(test_bad_indirect),	cmocka_unit_test(test_bad_avail),
		cmocka_unit_test(test_bad_total),	cmocka_unit_test(test_latch_by_device),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
