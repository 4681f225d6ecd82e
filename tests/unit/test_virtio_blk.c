/*
 * virtio-blk at the level of its rings: what a driver asks for, what reaches the disk, and what is
 * answered.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "vblk_fixture.h"

#define F(name) (UINT64_C(1) << VIRTIO_BLK_F_##name)
#define ALL	(~UINT64_C(0))
#define HEADER	VBLK_BUFFERS
#define STATUS	(VBLK_BUFFERS + 16)
#define DATA	(VBLK_BUFFERS + 0x1000)

static const struct blk_info plain_info = {
	.size = VBLK_DISK,
	.logical_block = 512,
	.physical_block = 4096,
	.discard = true,
	.write_zeroes = true,
	.write_cache = true,
};

static struct vblk_fixture *start_on(const struct blk_info *info, const char *options,
				     uint64_t features, bool legacy)
{
	struct err err = {0};
	struct vblk_fixture *f = vblk_fixture_new(options, info, &err);

	if (!f)
		fail_msg("%s", err.msg);
	vblk_driver_ok(f, features, legacy, 64);
	assert_true(f->dev->queue[0].running);
	f->disk.eager = true;
	return f;
}

static struct vblk_fixture *start(const char *options)
{
	return start_on(&plain_info, options, ALL, false);
}

static uint8_t *at(struct vblk_fixture *f, uint64_t gpa)
{
	return f->ram + (gpa - VBLK_RAM);
}

static void set_header(struct vblk_fixture *f, uint32_t type, uint64_t sector)
{
	struct virtio_blk_outhdr header = {.type = type, .sector = sector};

	memcpy(at(f, HEADER), &header, sizeof(header));
	*at(f, STATUS) = 0xee;
}

/* Steps, and takes the one answer there must be. */
static struct vring_used_elem take_one(struct vblk_fixture *f)
{
	struct vring_used_elem e;

	assert_true(vblk_step(f));
	assert_true(vdriver_take(&f->ring[0], &e));
	return e;
}

static int ask(struct vblk_fixture *f, uint32_t type, uint64_t sector, uint64_t data, uint32_t len,
	       bool in)
{
	struct vdriver_buf buf[3] = {{HEADER, 16, false}, {data, len, in}, {STATUS, 1, true}};
	struct vring_used_elem e;
	uint16_t head;

	if (!len)
		buf[1] = buf[2];
	set_header(f, type, sector);
	head = vdriver_add(&f->ring[0], buf, len ? 3 : 2);
	e = take_one(f);
	assert_int_equal(e.id, head);
	assert_int_equal(e.len, (in ? len : 0) + 1);
	return *at(f, STATUS);
}

static int ask_range(struct vblk_fixture *f, uint32_t type, uint64_t sector, uint32_t sectors,
		     uint32_t flags)
{
	struct virtio_blk_discard_write_zeroes range = {sector, sectors, flags};

	memcpy(at(f, DATA), &range, sizeof(range));
	return ask(f, type, 0, DATA, sizeof(range), false);
}

static uint64_t config(struct vblk_fixture *f, size_t offset, unsigned int size)
{
	return virtio_config_read(f->dev, offset, size);
}
#define CONFIG(f, field)                                     \
	config(f, offsetof(struct virtio_blk_config, field), \
	       sizeof(((struct virtio_blk_config *)NULL)->field))

static void test_config(void **state)
{
	struct vblk_fixture *f = start("drive=d0,num-queues=2,min_io_size=4096,opt_io_size=65536");

	assert_int_equal(CONFIG(f, capacity), VBLK_DISK / 512);
	assert_int_equal(CONFIG(f, seg_max), 254);
	assert_int_equal(CONFIG(f, blk_size), 512);
	assert_int_equal(CONFIG(f, physical_block_exp), 3);
	assert_int_equal(CONFIG(f, alignment_offset), 0);
	assert_int_equal(CONFIG(f, min_io_size), 8);
	assert_int_equal(CONFIG(f, opt_io_size), 128);
	assert_int_equal(CONFIG(f, num_queues), 2);
	assert_int_equal(CONFIG(f, wce), 1);
	assert_int_equal(CONFIG(f, max_discard_seg), 1);
	assert_int_equal(CONFIG(f, max_write_zeroes_seg), 1);
	assert_int_equal(CONFIG(f, write_zeroes_may_unmap), 1);
	assert_int_equal(f->dev->config_size, 60);
	assert_int_equal(f->dev->vectors, 3);
	assert_int_equal(f->threads, 2);
	assert_int_equal(f->dev->features & 0xffffff, F(SEG_MAX) | F(BLK_SIZE) | F(FLUSH) |
							      F(TOPOLOGY) | F(CONFIG_WCE) | F(MQ) |
							      F(DISCARD) | F(WRITE_ZEROES));
	vblk_fixture_free(f);
}

static void test_config_readonly(void **state)
{
	struct blk_info info = {.size = VBLK_DISK + 512,
				.logical_block = 4096,
				.physical_block = 512,
				.readonly = true};
	struct vblk_fixture *f =
		start_on(&info, "drive=d0,queue-size=128,config-wce=off", ALL, false);

	assert_int_equal(f->dev->features & 0xffffff,
			 F(SEG_MAX) | F(BLK_SIZE) | F(FLUSH) | F(TOPOLOGY) | F(RO));
	assert_int_equal(CONFIG(f, capacity), VBLK_DISK / 512); /* whole blocks */
	assert_int_equal(CONFIG(f, seg_max), 126);
	assert_int_equal(CONFIG(f, blk_size), 4096);
	assert_int_equal(CONFIG(f, physical_block_exp), 0);
	assert_int_equal(ask(f, VIRTIO_BLK_T_OUT, 0, DATA, 4096, false), VIRTIO_BLK_S_IOERR);
	assert_int_equal(ask(f, VIRTIO_BLK_T_IN, 1, DATA, 4096, true), VIRTIO_BLK_S_IOERR);
	assert_int_equal(ask(f, VIRTIO_BLK_T_IN, 8, DATA, 512, true), VIRTIO_BLK_S_IOERR);
	assert_int_equal(ask(f, VIRTIO_BLK_T_IN, 8, DATA, 4096, true), VIRTIO_BLK_S_OK);
	vblk_fixture_free(f);
}

static void test_refused(void **state)
{
	static const struct {
		const char *options, *says;
	} rows[] = {
		{"serial=x", "which disk?"},
		{"drive=d1", "no drive d1"},
		{"drive=d0,iothread=io7", "no iothread io7"},
		{"drive=d0,queue-size=100", "queue-size=100"},
		{"drive=d0,logical_block_size=100", "logical_block_size=100"},
		{"drive=d0,logical_block_size=256", "logical_block_size=256"},
		{"drive=d0,physical_block_size=5000", "physical_block_size=5000"},
		{"drive=d0,serial=123456789012345678901", "longer than 20"},
		{"drive=d0,num-queues=0", "num-queues"},
		{"drive=d0,num-queues=65", "num-queues"},
	};

	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		struct err err = {0};

		assert_null(vblk_fixture_new(rows[i].options, &plain_info, &err));
		assert_true(err.code < 0);
		if (!strstr(err.msg, rows[i].says))
			fail_msg("%s: %s", rows[i].options, err.msg);
	}
}

static void test_read_write(void **state)
{
	struct vblk_fixture *f = start("drive=d0");

	for (int i = 0; i < 4096; i++)
		*at(f, DATA + i) = (uint8_t)(i * 3 + 1);
	assert_int_equal(ask(f, VIRTIO_BLK_T_OUT, 16, DATA, 4096, false), VIRTIO_BLK_S_OK);
	assert_memory_equal(f->disk.data + 8192, at(f, DATA), 4096);
	assert_int_equal(f->disk.n_fua, 0);
	assert_int_equal(ask(f, VIRTIO_BLK_T_IN, 17, DATA + 0x2000, 1024, true), VIRTIO_BLK_S_OK);
	assert_memory_equal(at(f, DATA + 0x2000), at(f, DATA + 512), 1024);
	assert_int_equal(ask(f, VIRTIO_BLK_T_FLUSH, 0, 0, 0, false), VIRTIO_BLK_S_OK);
	assert_int_equal(f->disk.n_flush, 1);
	assert_int_equal(f->disk.n_kicks, 3);
	assert_int_equal(f->interrupts[0], 1); /* used_event is 0: only the first is told */
	vblk_fixture_free(f);
}

/* The framing is the driver's: header in three pieces, one of them with data; data and status in
 * one. */
static void test_any_layout(void **state)
{
	struct vdriver_buf write[] = {{HEADER, 5, false},
				      {HEADER + 5, 10, false},
				      {HEADER + 15, 1 + 100, false},
				      {DATA, 412, false},
				      {STATUS + 0x100, 1, true}};
	struct vdriver_buf read[] = {
		{HEADER, 16, false}, {DATA + 0x1000, 100, true}, {DATA + 0x2000, 413, true}};
	struct vblk_fixture *f = start("drive=d0");

	memset(at(f, HEADER + 16), 0xa1, 100);
	memset(at(f, DATA), 0xb2, 412);
	set_header(f, VIRTIO_BLK_T_OUT, 3);
	memset(at(f, HEADER + 16), 0xa1, 100);
	vdriver_add(&f->ring[0], write, 5);
	assert_int_equal(take_one(f).len, 1);
	assert_int_equal(*at(f, STATUS + 0x100), 0);
	assert_int_equal(f->disk.data[3 * 512], 0xa1);
	assert_int_equal(f->disk.data[3 * 512 + 99], 0xa1);
	assert_int_equal(f->disk.data[3 * 512 + 100], 0xb2);

	set_header(f, VIRTIO_BLK_T_IN, 3);
	*at(f, DATA + 0x2000 + 412) = 0xee;
	vdriver_add(&f->ring[0], read, 3);
	assert_int_equal(take_one(f).len, 513);
	assert_int_equal(*at(f, DATA + 0x1000 + 99), 0xa1);
	assert_int_equal(*at(f, DATA + 0x2000), 0xb2);
	assert_int_equal(*at(f, DATA + 0x2000 + 412), 0);
	vblk_fixture_free(f);
}

static void test_bad_requests(void **state)
{
	struct vblk_fixture *f = start("drive=d0");

	assert_int_equal(ask(f, VIRTIO_BLK_T_IN, VBLK_DISK / 512, DATA, 512, true),
			 VIRTIO_BLK_S_IOERR);
	assert_int_equal(ask(f, VIRTIO_BLK_T_IN, VBLK_DISK / 512 - 1, DATA, 1024, true),
			 VIRTIO_BLK_S_IOERR);
	assert_int_equal(ask(f, VIRTIO_BLK_T_OUT, UINT64_MAX, DATA, 512, false),
			 VIRTIO_BLK_S_IOERR);
	assert_int_equal(ask(f, VIRTIO_BLK_T_OUT, UINT64_MAX / 512 + 1, DATA, 512, false),
			 VIRTIO_BLK_S_IOERR);
	assert_int_equal(ask(f, VIRTIO_BLK_T_IN, 0, DATA, 513, true), VIRTIO_BLK_S_IOERR);
	assert_int_equal(ask(f, VIRTIO_BLK_T_SCSI_CMD, 0, DATA, 512, true), VIRTIO_BLK_S_UNSUPP);
	assert_int_equal(ask(f, 0x80000001, 0, DATA, 512, false), VIRTIO_BLK_S_UNSUPP);
	assert_int_equal(ask(f, 77, 0, DATA, 512, true), VIRTIO_BLK_S_UNSUPP);
	assert_int_equal(ask(f, VIRTIO_BLK_T_IN, 0, 0, 0, true),
			 VIRTIO_BLK_S_OK); /* nothing, done */
	f->disk.result = -EIO;
	assert_int_equal(ask(f, VIRTIO_BLK_T_IN, 0, DATA, 512, true), VIRTIO_BLK_S_IOERR);
	f->disk.result = -EOPNOTSUPP;
	assert_int_equal(ask(f, VIRTIO_BLK_T_FLUSH, 0, 0, 0, false), VIRTIO_BLK_S_UNSUPP);
	assert_false(virtio_is_latched(f->dev));
	vblk_fixture_free(f);
}

static void test_ranges(void **state)
{
	struct vblk_fixture *f = start("drive=d0");

	memset(f->disk.data, 0x55, VBLK_DISK);
	assert_int_equal(ask_range(f, VIRTIO_BLK_T_DISCARD, 8, 8, 0), VIRTIO_BLK_S_OK);
	assert_int_equal(f->disk.n_discard, 1);
	assert_int_equal(ask_range(f, VIRTIO_BLK_T_WRITE_ZEROES, 8, 8, 0), VIRTIO_BLK_S_OK);
	assert_int_equal(f->disk.n_unmap, 0);
	assert_int_equal(f->disk.data[8 * 512 - 1], 0x55);
	assert_int_equal(f->disk.data[8 * 512], 0);
	assert_int_equal(f->disk.data[16 * 512], 0x55);
	assert_int_equal(ask_range(f, VIRTIO_BLK_T_WRITE_ZEROES, 8, 8, 1), VIRTIO_BLK_S_OK);
	assert_int_equal(f->disk.n_unmap, 1);
	assert_int_equal(ask_range(f, VIRTIO_BLK_T_DISCARD, 8, 8, 1), VIRTIO_BLK_S_UNSUPP);
	assert_int_equal(ask_range(f, VIRTIO_BLK_T_WRITE_ZEROES, 8, 8, 2), VIRTIO_BLK_S_UNSUPP);
	assert_int_equal(ask_range(f, VIRTIO_BLK_T_DISCARD, 8, UINT32_MAX, 0), VIRTIO_BLK_S_IOERR);
	assert_int_equal(ask_range(f, VIRTIO_BLK_T_DISCARD, UINT64_MAX, 8, 0), VIRTIO_BLK_S_IOERR);
	assert_int_equal(ask_range(f, VIRTIO_BLK_T_WRITE_ZEROES, VBLK_DISK / 512, 1, 0),
			 VIRTIO_BLK_S_IOERR);
	assert_int_equal(ask(f, VIRTIO_BLK_T_DISCARD, 0, DATA, 32, false), VIRTIO_BLK_S_IOERR);
	assert_int_equal(ask(f, VIRTIO_BLK_T_DISCARD, 0, DATA, 15, false), VIRTIO_BLK_S_IOERR);
	assert_int_equal(ask(f, VIRTIO_BLK_T_WRITE_ZEROES, 0, 0, 0, false), VIRTIO_BLK_S_IOERR);
	vblk_fixture_free(f);

	f = start("drive=d0,discard=off,write-zeroes=off");
	assert_int_equal(ask_range(f, VIRTIO_BLK_T_DISCARD, 8, 8, 0), VIRTIO_BLK_S_UNSUPP);
	assert_int_equal(ask_range(f, VIRTIO_BLK_T_WRITE_ZEROES, 8, 8, 0), VIRTIO_BLK_S_UNSUPP);
	vblk_fixture_free(f);
}

static void test_id(void **state)
{
	struct vblk_fixture *f = start("drive=d0,serial=12345678901234567890");

	memset(at(f, DATA), 0xee, 64);
	assert_int_equal(ask(f, VIRTIO_BLK_T_GET_ID, 0, DATA, 20, true), VIRTIO_BLK_S_OK);
	assert_memory_equal(at(f, DATA), "12345678901234567890\xee", 21);
	assert_int_equal(ask(f, VIRTIO_BLK_T_GET_ID, 0, DATA + 64, 8, true), VIRTIO_BLK_S_OK);
	assert_memory_equal(at(f, DATA + 64), "12345678", 8);
	assert_int_equal(*at(f, DATA + 72), 0);
	vblk_fixture_free(f);

	f = start("drive=d0,serial=ab");
	memset(at(f, DATA), 0xee, 64);
	assert_int_equal(ask(f, VIRTIO_BLK_T_GET_ID, 0, DATA, 20, true), VIRTIO_BLK_S_OK);
	assert_memory_equal(at(f, DATA), "ab\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\xee", 21);
	vblk_fixture_free(f);
}

/* Many at once, finished in another order: each gets its own answer, and all one interrupt. */
static void test_order(void **state)
{
	struct vblk_fixture *f = start("drive=d0");
	struct vdriver *d = &f->ring[0];
	struct vring_used_elem e;
	uint16_t heads[16];

	f->disk.eager = false;
	for (unsigned int i = 0; i < 16; i++) {
		struct virtio_blk_outhdr header = {.type = VIRTIO_BLK_T_IN, .sector = i};
		struct vdriver_buf buf[3] = {{HEADER + i * 32, 16, false},
					     {DATA + i * 512, 512, true},
					     {HEADER + i * 32 + 16, 1, true}};

		memset(f->disk.data + i * 512, (int)i + 1, 512);
		memcpy(at(f, HEADER + i * 32), &header, sizeof(header));
		*at(f, HEADER + i * 32 + 16) = 0xee;
		heads[i] = vdriver_add(d, buf, 3);
	}
	assert_true(vblk_step(f));
	assert_int_equal(f->disk.n_held, 16);
	assert_int_equal(f->disk.n_kicks, 2); /* by eights */
	assert_int_equal(vdriver_used_idx(d), 0);
	for (unsigned int i = 0; i < 16; i++)
		fake_disk_complete(&f->disk, 15 - i);
	assert_int_equal(vdriver_used_idx(d), 0); /* not yet told */
	fake_disk_complete_all(&f->disk);
	assert_int_equal(f->interrupts[0], 1);
	for (unsigned int i = 0; i < 16; i++) {
		assert_true(vdriver_take(d, &e));
		assert_int_equal(e.id, heads[15 - i]);
		assert_int_equal(e.len, 513);
		assert_int_equal(*at(f, HEADER + i * 32 + 16), 0);
		assert_int_equal(*at(f, DATA + i * 512 + 511), i + 1);
	}
	vblk_fixture_free(f);
}

/* What is in flight is finished before a reset returns. */
static void test_reset(void **state)
{
	struct vblk_fixture *f = start("drive=d0");
	struct vdriver_buf buf[3] = {{HEADER, 16, false}, {DATA, 512, true}, {STATUS, 1, true}};

	f->disk.eager = false;
	set_header(f, VIRTIO_BLK_T_IN, 0);
	vdriver_add(&f->ring[0], buf, 3);
	assert_true(vblk_step(f));
	assert_int_equal(f->disk.n_held, 1);
	virtio_set_status(f->dev, 0, false);
	assert_int_equal(f->disk.n_held, 0);
	assert_int_equal(*at(f, STATUS), 0);
	assert_int_equal(vdriver_used_idx(&f->ring[0]), 1);
	memset(f->ram, 0, 0x10000);
	vblk_driver_ok(f, ALL, false, 64);
	f->disk.eager = true;
	assert_int_equal(ask(f, VIRTIO_BLK_T_FLUSH, 0, 0, 0, false), VIRTIO_BLK_S_OK);
	vblk_fixture_free(f);
}

/* No header, or no room for the answer: the device latches, and a reset makes it good. */
static void test_latch(void **state)
{
	struct vdriver_buf cases[4][2] = {
		{{HEADER, 15, false}, {STATUS, 1, true}},
		{{HEADER, 16, false}, {DATA, 512, false}},
		{{STATUS, 1, true}, {STATUS, 1, true}},
		{{HEADER, 16, false}, {0x10, 1, true}}, /* outside RAM */
	};

	for (unsigned int i = 0; i < 4; i++) {
		struct vblk_fixture *f = start("drive=d0");

		f->disk.eager = false;
		set_header(f, VIRTIO_BLK_T_IN, 0);
		vdriver_add(&f->ring[0], cases[i], 2);
		assert_true(vblk_step(f));
		assert_true(virtio_is_latched(f->dev));
		assert_false(f->dev->queue[0].running);
		assert_int_equal(f->config_interrupts, 1);
		assert_int_equal(f->disk.n_held, 0);
		virtio_set_status(f->dev, 0, false);
		memset(f->ram, 0, 0x10000);
		vblk_driver_ok(f, ALL, false, 64);
		f->disk.eager = true;
		assert_int_equal(ask(f, VIRTIO_BLK_T_IN, 0, DATA, 512, true), VIRTIO_BLK_S_OK);
		vblk_fixture_free(f);
	}
}

/* A driver that offers one buffer again and again has no more in flight than the queue has entries.
 * */
static void test_same_buffer(void **state)
{
	struct vblk_fixture *f = start("drive=d0,queue-size=64");
	struct vdriver_buf buf[3] = {{HEADER, 16, false}, {DATA, 512, true}, {STATUS, 1, true}};
	struct vdriver *d = &f->ring[0];
	uint16_t head;

	f->disk.eager = false;
	set_header(f, VIRTIO_BLK_T_IN, 0);
	head = vdriver_add(d, buf, 3);
	for (unsigned int n = 0; n < 200; n++) {
		if (n)
			vdriver_offer(d, head);
		assert_true(vblk_step(f));
		assert_false(virtio_is_latched(f->dev));
		assert_true(f->disk.n_held <= 64);
		if (f->disk.n_held == 64 && n % 3 == 0) {
			assert_false(f->dev->queue[0].wants_kicks && n < 65);
			fake_disk_complete_all(&f->disk);
			assert_true(f->dev->queue[0].wants_kicks);
		}
	}
	fake_disk_complete_all(&f->disk);
	assert_true(vblk_step(f));
	fake_disk_complete_all(&f->disk);
	assert_int_equal(vdriver_used_idx(d), 200);
	vblk_fixture_free(f);
}

static void test_cache(void **state)
{
	size_t wce = offsetof(struct virtio_blk_config, wce);
	struct vblk_fixture *f = start("drive=d0");

	virtio_config_write(f->dev, wce, 1, 0);
	assert_int_equal(CONFIG(f, wce), 0);
	assert_int_equal(ask(f, VIRTIO_BLK_T_OUT, 0, DATA, 512, false), VIRTIO_BLK_S_OK);
	assert_int_equal(f->disk.n_fua, 1);
	virtio_config_write(f->dev, wce, 1, 1);
	virtio_config_write(f->dev, 0, 8, 0); /* the rest is read-only */
	assert_int_equal(CONFIG(f, capacity), VBLK_DISK / 512);
	assert_int_equal(ask(f, VIRTIO_BLK_T_OUT, 0, DATA, 512, false), VIRTIO_BLK_S_OK);
	assert_int_equal(f->disk.n_fua, 1);
	vblk_fixture_free(f);

	/* A driver that knows no flush can't ask for one. */
	f = start_on(&plain_info, "drive=d0", F(SEG_MAX), true);
	assert_int_equal(ask(f, VIRTIO_BLK_T_OUT, 0, DATA, 512, false), VIRTIO_BLK_S_OK);
	assert_int_equal(f->disk.n_fua, 1);
	vblk_fixture_free(f);

	f = start("drive=d0,write-cache=off");
	assert_int_equal(CONFIG(f, wce), 0);
	assert_int_equal(ask(f, VIRTIO_BLK_T_OUT, 0, DATA, 512, false), VIRTIO_BLK_S_OK);
	assert_int_equal(f->disk.n_fua, 1);
	vblk_fixture_free(f);
}

static void test_queues(void **state)
{
	struct vblk_fixture *f = start("drive=d0,num-queues=2,iothread=io0");
	struct vdriver_buf buf[2] = {{HEADER, 16, false}, {STATUS, 1, true}};
	struct vring_used_elem e;

	set_header(f, VIRTIO_BLK_T_FLUSH, 0);
	vdriver_add(&f->ring[1], buf, 2);
	assert_true(vblk_step(f));
	assert_true(vdriver_take(&f->ring[1], &e));
	assert_int_equal(*at(f, STATUS), 0);
	assert_int_equal(f->interrupts[0], 0);
	assert_int_equal(f->interrupts[1], 1);
	assert_int_equal(counter_get(&f->disk.queue[0].counters.flushes), 0);
	assert_int_equal(counter_get(&f->disk.queue[1].counters.flushes), 1);
	vblk_fixture_free(f);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_config),	   cmocka_unit_test(test_config_readonly),
		cmocka_unit_test(test_refused),	   cmocka_unit_test(test_read_write),
		cmocka_unit_test(test_any_layout), cmocka_unit_test(test_bad_requests),
		cmocka_unit_test(test_ranges),	   cmocka_unit_test(test_id),
		cmocka_unit_test(test_order),	   cmocka_unit_test(test_reset),
		cmocka_unit_test(test_latch),	   cmocka_unit_test(test_same_buffer),
		cmocka_unit_test(test_cache),	   cmocka_unit_test(test_queues),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
