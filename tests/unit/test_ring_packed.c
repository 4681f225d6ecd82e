/*
 * virtio/ring_packed.c from the driver's side: good chains, wrap counters, suppression both ways,
 * positions, and every way to be malformed.
 */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "pdriver.h"
#include "virtio/ring.h"

#define LOW  0x10000 /* a range, and another right behind it, and one above 4 GiB */
#define MID  0x20000
#define HIGH UINT64_C(0x100000000)
#define SIZE 7 /* not a power of two */
#define BUF  (LOW + 0x4000)

#define ENABLE	VRING_PACKED_EVENT_FLAG_ENABLE
#define DISABLE VRING_PACKED_EVENT_FLAG_DISABLE
#define DESC	VRING_PACKED_EVENT_FLAG_DESC

struct fix {
	struct mem mem;
	struct pdriver d;
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
	pdriver_init(&f->d, &f->mem, LOW, SIZE);
	f->q.mem = &f->mem;
	f->q.notify = notify;
	f->q.broken = broken;
	f->q.opaque = f;
	f->config = (struct virtq_config){.size = SIZE,
					  .packed = true,
					  .desc = f->d.desc,
					  .avail = f->d.driver,
					  .used = f->d.device,
					  .event_idx = event_idx,
					  .indirect = indirect};
	assert_int_equal(virtq_start(&f->q, &f->config, VIRTQ_POSITION_NEW), 0);
	return f;
}

static void finish(struct fix *f)
{
	virtq_stop(&f->q);
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

static void expect_used(struct fix *f, uint16_t id, uint32_t len)
{
	struct pdriver_used u = {0};

	assert_true(pdriver_take(&f->d, &u));
	assert_int_equal(u.id, id);
	assert_int_equal(u.wrote, len > 0);
	assert_int_equal(u.len, len);
}

/* ---- good ones ---- */

static void test_chain(void **state)
{
	const struct vdriver_buf bufs[] = {
		{BUF, 12, false}, {HIGH + 5, 100, false}, {MID, 1, true}};
	struct fix f;
	uint16_t id;

	start(&f, false, false);
	assert_int_equal(pop(&f), 0);
	assert_false(virtq_pending(&f.q));
	id = pdriver_add(&f.d, bufs, 3);
	assert_true(virtq_pending(&f.q));
	assert_int_equal(pop(&f), 1);
	assert_int_equal(f.chain.head, id);
	assert_int_equal(f.chain.descs, 3);
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
	assert_false(pdriver_pending(&f.d)); /* not before the flush */
	virtq_flush(&f.q);
	expect_used(&f, id, 1);
	assert_false(pdriver_pending(&f.d));
	assert_int_equal(f.interrupts, 1);
	virtq_flush(&f.q); /* nothing new */
	assert_int_equal(f.interrupts, 1);
	assert_int_equal(f.latches, 0);
	finish(&f);
}

/* The id is the last descriptor's alone. */
static void test_id_of_the_last(void **state)
{
	struct fix f;

	start(&f, false, false);
	pdriver_desc(&f.d, LOW, 1, BUF, 1, 5, PD_AVAIL);
	pdriver_desc(&f.d, LOW, 0, BUF, 1, 0xffff, PD_AVAIL | VRING_DESC_F_NEXT);
	assert_int_equal(pop(&f), 1);
	assert_int_equal(f.chain.head, 5);
	finish(&f);
}

/* 70000 chains of 1 to 3 descriptors, batches that fill the ring, returned in any order: the
 * counters go round 20000 times. */
static void test_wrap(void **state)
{
	const struct vdriver_buf bufs[] = {{BUF, 64, false}, {BUF + 64, 1, false}, {MID, 9, true}};
	unsigned int done = 0, batch = 0;
	struct fix f;

	start(&f, true, false);
	for (; done < 70000; batch++) {
		unsigned int n = 0, room = SIZE - batch % 3;
		struct virtq_chain chain[SIZE];
		uint16_t id[SIZE];

		for (unsigned int len = batch % 3 + 1; len <= room; n++) {
			id[n] = pdriver_add(&f.d, bufs + 3 - len, len);
			room -= len;
			len = len % 3 + 1;
		}
		for (unsigned int i = 0; i < n; i++) {
			assert_int_equal(pop(&f), 1);
			assert_int_equal(f.chain.head, id[i]);
			chain[i] = f.chain;
		}
		assert_int_equal(pop(&f), 0);
		for (unsigned int i = 0; i < n; i++)
			virtq_fill(&f.q, &chain[batch & 1 ? n - 1 - i : i], i);
		assert_false(pdriver_pending(&f.d));
		virtq_flush(&f.q);
		for (unsigned int i = 0; i < n; i++)
			expect_used(&f, id[batch & 1 ? n - 1 - i : i], i);
		assert_false(pdriver_pending(&f.d));
		done += n;
	}
	assert_int_equal(counter_get(&f.q.counters.chains), done);
	assert_int_equal(f.latches, 0);
	finish(&f);
}

/* A ring that is all in the device's hands: nothing is pending, whatever the flags say. */
static void test_full(void **state)
{
	const struct vdriver_buf buf = {BUF, 64, false};
	struct virtq_chain chain[SIZE];
	struct fix f;

	start(&f, false, false);
	for (int i = 0; i < SIZE; i++)
		pdriver_add(&f.d, &buf, 1);
	for (int i = 0; i < SIZE; i++) {
		assert_int_equal(pop(&f), 1);
		chain[i] = f.chain;
	}
	for (uint16_t i = 0; i < SIZE; i++) /* the next round, much too early */
		pdriver_desc(&f.d, LOW, i, BUF, 1, i, PD_USED);
	assert_false(virtq_pending(&f.q));
	assert_int_equal(pop(&f), 0);
	virtq_fill(&f.q, &chain[0], 0);
	assert_int_equal(pop(&f), 0);
	virtq_flush(&f.q);
	assert_int_equal(pop(&f), 0); /* its place is the used descriptor's now */
	assert_int_equal(f.latches, 0);
	finish(&f);
}

/* A buffer that crosses from one range of RAM into the next becomes two pieces. */
static void test_two_ranges(void **state)
{
	const struct vdriver_buf buf = {MID - 16, 48, true};
	struct fix f;

	start(&f, false, false);
	pdriver_add(&f.d, &buf, 1);
	assert_int_equal(virtq_pop(&f.q, &f.chain, f.iov, 1), -E2BIG);
	assert_int_equal(pop(&f), 1);
	assert_int_equal(f.chain.n_in, 2);
	assert_int_equal(f.chain.in_bytes, 48);
	assert_int_equal(f.iov[0].iov_len, 16);
	assert_ptr_equal(f.iov[1].iov_base, hva(&f, MID));
	finish(&f);
}

static void test_indirect(void **state)
{
	const uint64_t table = BUF + 0x1008; /* no alignment is asked for beyond this */
	struct fix f;

	start(&f, false, true);
	/* Longer than the ring; ids and all flags but WRITE mean nothing, on the table WRITE, too.
	 */
	for (uint16_t i = 0; i < 20; i++)
		pdriver_desc(&f.d, table, i, HIGH + i, 1, 0xffff,
			     (uint16_t)(VRING_DESC_F_NEXT | 0x8080 |
					(i >= 15 ? VRING_DESC_F_WRITE : 0)));
	pdriver_put(&f.d, table, 20 * 16, 3, VRING_DESC_F_INDIRECT | VRING_DESC_F_WRITE);
	assert_int_equal(virtq_pop(&f.q, &f.chain, f.iov, 19), -E2BIG);
	assert_int_equal(pop(&f), 1);
	assert_int_equal(f.chain.head, 3);
	assert_int_equal(f.chain.descs, 1);
	assert_int_equal(f.chain.n_out, 15);
	assert_int_equal(f.chain.n_in, 5);
	assert_ptr_equal(f.iov[19].iov_base, hva(&f, HIGH + 19));
	virtq_fill(&f.q, &f.chain, 5);
	virtq_flush(&f.q);
	expect_used(&f, 3, 5);
	finish(&f);
}

static void test_too_big_stays(void **state)
{
	const struct vdriver_buf bufs[] = {{BUF, 1, false}, {BUF, 2, false}, {BUF, 3, true}};
	struct fix f;

	start(&f, false, false);
	pdriver_add(&f.d, bufs, 3);
	assert_int_equal(virtq_pop(&f.q, &f.chain, f.iov, 2), -E2BIG);
	assert_int_equal(virtq_pop(&f.q, &f.chain, f.iov, 0), -E2BIG);
	assert_true(virtq_pending(&f.q));
	assert_int_equal(virtq_pop(&f.q, &f.chain, f.iov, 3), 1);
	assert_int_equal(f.latches, 0);
	finish(&f);
}

/* Chains given back across the end of the ring, then the queue stopped and started there. */
static void test_unpop_and_position(void **state)
{
	const struct vdriver_buf bufs[] = {{BUF, 1, false}, {BUF, 2, false}, {BUF, 3, true}};
	struct virtq_chain chain[2];
	uint32_t position;
	uint16_t id[3];
	struct fix f;

	start(&f, false, false);
	id[0] = pdriver_add(&f.d, bufs, 3);
	id[1] = pdriver_add(&f.d, bufs, 2);
	for (int i = 0; i < 2; i++) {
		assert_int_equal(pop(&f), 1);
		chain[i] = f.chain;
	}
	virtq_fill(&f.q, &chain[1], 0);
	virtq_fill(&f.q, &chain[0], 2);
	virtq_flush(&f.q);
	expect_used(&f, id[1], 0);
	expect_used(&f, id[0], 2);
	id[0] = pdriver_add(&f.d, bufs, 1);
	id[1] = pdriver_add(&f.d, bufs, 3); /* entries 6, 0, 1 */
	id[2] = pdriver_add(&f.d, bufs + 1, 2);
	for (int i = 0; i < 3; i++)
		assert_int_equal(pop(&f), 1);
	assert_int_equal(f.chain.head, id[2]);
	virtq_unpop(&f.q, 2);
	assert_int_equal(pop(&f), 1);
	assert_int_equal(f.chain.head, id[1]);
	virtq_unpop(&f.q, 2);
	position = virtq_stop(&f.q);
	assert_int_equal(position, 0x80058005);

	assert_int_equal(virtq_start(&f.q, &f.config, position), 0);
	for (int i = 0; i < 3; i++) {
		assert_int_equal(pop(&f), 1);
		assert_int_equal(f.chain.head, id[i]);
		virtq_fill(&f.q, &f.chain, 0);
	}
	virtq_flush(&f.q);
	for (int i = 0; i < 3; i++)
		expect_used(&f, id[i], 0);
	position = virtq_stop(&f.q);
	assert_int_equal(position, 0x00040004); /* in the second round */
	assert_int_equal(virtq_start(&f.q, &f.config, position), 0);
	assert_int_equal(pop(&f), 0);
	id[0] = pdriver_add(&f.d, bufs, 3);
	assert_int_equal(pop(&f), 1);
	assert_int_equal(f.chain.head, id[0]);
	assert_int_equal(counter_get(&f.q.counters.chains), 6);
	finish(&f);
}

/* ---- suppression ---- */

static void one(struct fix *f)
{
	const struct vdriver_buf buf = {BUF, 1, false};
	struct pdriver_used u;

	pdriver_take(&f->d, &u);
	pdriver_add(&f->d, &buf, 1);
	assert_int_equal(pop(f), 1);
	virtq_fill(&f->q, &f->chain, 0);
}

static void test_interrupt_flags(void **state)
{
	struct fix f;

	start(&f, false, false);
	pdriver_set_event(&f.d, DISABLE, 0, true);
	one(&f);
	virtq_flush(&f.q);
	assert_int_equal(f.interrupts, 0);
	pdriver_set_event(&f.d, ENABLE, 0, true);
	one(&f);
	virtq_flush(&f.q);
	assert_int_equal(f.interrupts, 1);
	/* Values that are reserved, or not negotiated: better one too many. */
	pdriver_set_event(&f.d, 3, 0, true);
	one(&f);
	virtq_flush(&f.q);
	assert_int_equal(f.interrupts, 2);
	pdriver_set_event(&f.d, DESC, 0, true);
	one(&f);
	virtq_flush(&f.q);
	assert_int_equal(f.interrupts, 3);
	pdriver_set_event(&f.d, DISABLE | 0xfffc, 0, true);
	one(&f);
	virtq_flush(&f.q);
	assert_int_equal(f.interrupts, 3);
	assert_int_equal(counter_get(&f.q.counters.batches), 5);
	assert_int_equal(counter_get(&f.q.counters.suppressed), 2);
	assert_int_equal(counter_get(&f.q.counters.notified), 3);
	finish(&f);
}

/* Every event in two rounds against every batch: it is told exactly once, in its round. */
static void test_interrupt_event(void **state)
{
	struct fix f;

	for (unsigned int event = 0; event < 2 * SIZE; event++) {
		for (unsigned int size = 1; size <= SIZE; size++) {
			struct pdriver_used u;
			unsigned int at = 0;

			start(&f, true, false);
			pdriver_set_event(&f.d, DESC, (uint16_t)(event % SIZE), event < SIZE);
			while (at + size <= 2 * SIZE) {
				unsigned int before = f.interrupts;

				for (unsigned int i = 0; i < size; i++)
					one(&f);
				virtq_flush(&f.q);
				while (pdriver_take(&f.d, &u))
					;
				assert_int_equal(f.interrupts - before,
						 event >= at && event < at + size);
				at += size;
			}
			finish(&f);
		}
	}
	start(&f, true, false);
	pdriver_set_event(&f.d, DESC, SIZE, true); /* no such entry */
	one(&f);
	virtq_flush(&f.q);
	assert_int_equal(f.interrupts, 1);
	finish(&f);
}

/* An event in the middle of a chain is passed with the chain. */
static void test_interrupt_event_in_chain(void **state)
{
	const struct vdriver_buf bufs[] = {{BUF, 1, false}, {BUF, 2, false}, {BUF, 3, true}};
	struct fix f;

	start(&f, true, false);
	pdriver_set_event(&f.d, DESC, 2, true);
	pdriver_add(&f.d, bufs, 3);
	assert_int_equal(pop(&f), 1);
	virtq_fill(&f.q, &f.chain, 0);
	virtq_flush(&f.q);
	assert_int_equal(f.interrupts, 1);
	finish(&f);
}

static void test_kicks(void **state)
{
	const struct vdriver_buf buf = {BUF, 1, false};
	struct fix f;

	start(&f, false, false);
	assert_int_equal(pdriver_device_event(&f.d), DISABLE << 16);
	assert_false(virtq_kicks_on(&f.q));
	assert_int_equal(pdriver_device_event(&f.d), ENABLE << 16);
	virtq_kicks_off(&f.q);
	assert_int_equal(pdriver_device_event(&f.d), DISABLE << 16);
	pdriver_add(&f.d, &buf, 1);
	assert_true(virtq_kicks_on(&f.q));
	finish(&f);

	start(&f, true, false);
	one(&f);
	one(&f);
	assert_int_equal(pdriver_device_event(&f.d), DISABLE << 16);
	assert_false(virtq_kicks_on(&f.q));
	assert_int_equal(pdriver_device_event(&f.d), DESC << 16 | PD_WRAP | 2);
	virtq_kicks_off(&f.q);
	virtq_flush(&f.q);
	for (int i = 2; i < SIZE; i++)
		one(&f);
	virtq_flush(&f.q);
	assert_false(virtq_kicks_on(&f.q));
	assert_int_equal(pdriver_device_event(&f.d), DESC << 16 | 0); /* the second round */
	virtq_kicks_off(&f.q);
	finish(&f);
}

/* ---- configurations ---- */

static void test_config(void **state)
{
	struct virtq_config c;
	struct fix f;

	start(&f, false, false);
#define BAD(field, value)                                                             \
	do {                                                                          \
		c = f.config;                                                         \
		c.field = (value);                                                    \
		assert_non_null(virtq_config_error(&f.mem, &c));                      \
		assert_int_equal(virtq_start(&f.q, &c, VIRTQ_POSITION_NEW), -EINVAL); \
	} while (0)
	assert_null(virtq_config_error(&f.mem, &f.config));
	BAD(size, 0);
	BAD(size, VIRTQ_SIZE_MAX + 1);
	BAD(size, VIRTQ_SIZE_MAX); /* reaches beyond RAM */
	BAD(desc, LOW + 8);
	BAD(avail, LOW + 2);
	BAD(used, LOW + 2);
	BAD(desc, 0);
	BAD(desc, LOW + 0x20000 - 16);
	BAD(desc, MID - 16); /* RAM, but in two pieces */
	BAD(avail, MID + 0x10000);
	BAD(used, MID + 0x10000);
	BAD(used, UINT64_MAX - 3);
	c = f.config;
	c.used = MID + 0x10000 - 4;
	c.size = 1;
	assert_null(virtq_config_error(&f.mem, &c));
	c.size = 1023;
	assert_null(virtq_config_error(&f.mem, &c));
#undef BAD
	virtq_stop(&f.q);
	/* Positions that are none of such a ring. */
	assert_int_equal(virtq_start(&f.q, &f.config, SIZE << 16 | SIZE), -EINVAL);
	assert_int_equal(virtq_start(&f.q, &f.config, 1), -EINVAL);
	assert_int_equal(virtq_start(&f.q, &f.config, 0x80000000), -EINVAL);
	assert_int_equal(virtq_start(&f.q, &f.config, 0), 0);
	finish(&f);
}

/* The largest ring that virtio knows, full, and a size that is no power of two; chains given back
 * across the ring's end. */
static void test_largest(void **state)
{
	const struct vdriver_buf buf = {0x200000, 8, false};
	const uint16_t sizes[] = {VIRTQ_SIZE_MAX, VIRTQ_SIZE_MAX - 1};

	for (unsigned int s = 0; s < 2; s++) {
		struct pdriver_used u = {0};
		struct fix f = {0};

		vdriver_ram(&f.mem, 0x100000, 0x110000);
		pdriver_init(&f.d, &f.mem, 0x100000, sizes[s]);
		f.q = (struct virtq){
			.mem = &f.mem, .notify = notify, .broken = broken, .opaque = &f};
		f.config = (struct virtq_config){.size = sizes[s],
						 .packed = true,
						 .desc = f.d.desc,
						 .avail = f.d.driver,
						 .used = f.d.device};
		assert_int_equal(virtq_start(&f.q, &f.config, VIRTQ_POSITION_NEW), 0);
		for (unsigned int round = 0; round < 5; round++) {
			unsigned int n = round % 2 ? 12345 : sizes[s];

			f.d.next_id = 0;
			for (unsigned int i = 0; i < n; i++)
				pdriver_add(&f.d, &buf, 1);
			for (unsigned int i = 0; i < n; i++)
				assert_int_equal(pop(&f), 1);
			assert_int_equal(pop(&f), 0);
			virtq_unpop(&f.q, (uint16_t)n);
			for (unsigned int i = 0; i < n; i++) {
				assert_int_equal(pop(&f), 1);
				virtq_fill(&f.q, &f.chain, 1);
			}
			virtq_flush(&f.q);
			for (unsigned int i = 0; i < n; i++)
				assert_true(pdriver_take(&f.d, &u));
			assert_false(pdriver_pending(&f.d));
		}
		assert_int_equal(f.latches, 0);
		finish(&f);
	}
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
	finish(f);
}

/* Entries from 0 on, available as they are given. */
#define A PD_AVAIL
#define N VRING_DESC_F_NEXT
#define W VRING_DESC_F_WRITE
#define I VRING_DESC_F_INDIRECT

static void bad_desc(bool indirect, const struct vring_packed_desc *desc, uint16_t n,
		     const char *word)
{
	struct fix f;

	start(&f, false, indirect);
	for (uint16_t i = 0; i < n; i++)
		pdriver_desc(&f.d, f.d.desc, i, desc[i].addr, desc[i].len, desc[i].id,
			     desc[i].flags);
	expect_latch(&f, word);
}

#define BAD(indirect, n, word, ...) \
	bad_desc(indirect, (struct vring_packed_desc[]){__VA_ARGS__}, n, word)

static void test_bad_direct(void **state)
{
	BAD(false, 1, "no length", {BUF, 0, 0, A});
	BAD(false, 2, "no length", {BUF, 4, 0, A | N}, {BUF, 0, 0, A | W});
	BAD(false, 1, "not in RAM", {0, 4, 0, A});
	BAD(false, 1, "not in RAM", {HIGH + 0x10000, 1, 0, A});
	BAD(false, 1, "not in RAM", {HIGH + 0xffff, 2, 0, A});
	BAD(false, 1, "not in RAM", {MID, 0xffffffff, 0, A | W});
	BAD(false, 1, "not in RAM", {UINT64_MAX, 2, 0, A});
	BAD(false, 1, "not in RAM", {UINT64_MAX - 0xffff, 0xffffffff, 0, A});
	BAD(false, 1, "not available", {BUF, 1, 0, A | N});
	BAD(false, 2, "not available", {BUF, 1, 0, A | N}, {BUF, 1, 0, A | PD_USED});
	BAD(false, 2, "not available", {BUF, 1, 0, A | N}, {BUF, 1, 0, PD_USED});
	BAD(false, 2, "readable descriptor", {BUF, 1, 0, A | W | N}, {BUF, 1, 0, A});
	BAD(false, 1, "not negotiated", {BUF, 16, 0, A | I});
	BAD(false, 1, "buffer id", {BUF, 16, SIZE, A});
	BAD(false, 2, "buffer id", {BUF, 16, 0, A | N}, {BUF, 16, 0xffff, A});
}

/* The ring is one chain, or one that is longer than what is free of it. */
static void test_bad_loop(void **state)
{
	const struct vdriver_buf buf = {BUF, 1, false};
	struct fix f;

	start(&f, false, false);
	for (uint16_t i = 0; i < SIZE; i++)
		pdriver_desc(&f.d, LOW, i, BUF, 1, 0, A | N);
	expect_latch(&f, "loops");
	start(&f, false, false);
	pdriver_add(&f.d, &buf, 1);
	pdriver_add(&f.d, &buf, 1);
	assert_int_equal(pop(&f), 1);
	assert_int_equal(pop(&f), 1);
	for (uint16_t i = 0; i < 2; i++)
		pdriver_desc(&f.d, LOW, i, BUF, 1, 0, PD_USED);
	for (uint16_t i = 2; i < SIZE; i++)
		pdriver_desc(&f.d, LOW, i, BUF, 1, 0, A | N);
	expect_latch(&f, "loops");
	/* As long as the ring is fine. */
	start(&f, false, false);
	for (uint16_t i = 0; i < SIZE; i++)
		pdriver_desc(&f.d, LOW, i, BUF, 1, 0, i < SIZE - 1 ? A | N : A);
	assert_int_equal(pop(&f), 1);
	assert_int_equal(f.chain.descs, SIZE);
	finish(&f);
}

static void test_bad_indirect(void **state)
{
	BAD(true, 2, "has a next", {BUF, 16, 0, A | I | N}, {BUF, 1, 0, A});
	BAD(true, 2, "in a chain", {BUF, 16, 0, A | N}, {BUF, 16, 0, A | I});
	BAD(true, 1, "multiple of 16", {BUF, 0, 0, A | I});
	BAD(true, 1, "multiple of 16", {BUF, 17, 0, A | I});
	BAD(true, 1, "multiple of 16", {BUF, 15, 0, A | I});
	BAD(true, 1, "not in RAM", {0, 16, 0, A | I});
	BAD(true, 1, "not in RAM", {HIGH + 0xfff8, 16, 0, A | I});
	BAD(true, 1, "not in RAM", {UINT64_MAX - 15, 32, 0, A | I});
	BAD(true, 1, "not in RAM", {HIGH, 0xfffffff0, 0, A | I});
	/* Tables that are the ring's own. */
	BAD(true, 1, "within an indirect", {LOW, 16, 0, A | I});
	BAD(true, 2, "within an indirect", {LOW + 16, 16, 0, A | I}, {LOW + 16, 16, 0, I});
	BAD(true, 2, "no length", {LOW + 16, 16, 0, A | I}, {BUF, 0, 0, 0});
	BAD(true, 3, "readable descriptor", {LOW + 16, 32, 0, A | I}, {BUF, 1, 0, W},
	    {BUF, 1, 0, 0});
	BAD(true, 2, "buffer id", {LOW + 16, 16, SIZE, A | I}, {BUF, 1, 0, 0});
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
		pdriver_put(&f.d, MID, n * 16, 0, I);
		for (uint16_t i = 0; i < n; i++)
			pdriver_desc(&f.d, MID, i, big, len, 0, 0);
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
		cmocka_unit_test(test_chain),
		cmocka_unit_test(test_id_of_the_last),
		cmocka_unit_test(test_wrap),
		cmocka_unit_test(test_full),
		cmocka_unit_test(test_two_ranges),
		cmocka_unit_test(test_indirect),
		cmocka_unit_test(test_too_big_stays),
		cmocka_unit_test(test_unpop_and_position),
		cmocka_unit_test(test_interrupt_flags),
		cmocka_unit_test(test_interrupt_event),
		cmocka_unit_test(test_interrupt_event_in_chain),
		cmocka_unit_test(test_kicks),
		cmocka_unit_test(test_config),
		cmocka_unit_test(test_largest),
		cmocka_unit_test(test_bad_direct),
		cmocka_unit_test(test_bad_loop),
		cmocka_unit_test(test_bad_indirect),
		cmocka_unit_test(test_bad_total),
		cmocka_unit_test(test_latch_by_device),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
