/*
 * blk-rw: what is written is what is read, in every shape of request. blk-bench: requests per
 * second.
 *
 * The pattern on the disk depends on seed and sector alone, so that a later run, or the host, can
 * check what an earlier one wrote.
 */
#include <linux/virtio_config.h>

#include "clock.h"
#include "irq.h"
#include "lib.h"
#include "memory.h"
#include "serial.h"
#include "stats.h"
#include "test.h"
#include "virtio_blk.h"

#define BUFFER_BYTES (256 << 10)

#define BLK_PARAMS                                                                              \
	{"index", "0", "which of several"}, {"transport", "auto", "auto, modern or legacy"},    \
		{"irq", "0", "0: poll; 1: sleep until the interrupt, MSI-X; intx: by the pin"}, \
		{"queue", "256", "ring entries at most"}, {"queues", "1", "queues at most"},    \
		{"event-index", "1", "use the event index if offered"},                         \
		{"packed", "0", "use packed rings, or fail"},                                   \
	{                                                                                       \
		"indirect", "1", "use indirect descriptors if offered"                          \
	}

static bool open_disk(const struct test *test, const struct test_arg *args, struct blk *blk)
{
	struct blk_config c = {
		.index = test_number(test, args, "index"),
		.queue_size = test_number(test, args, "queue"),
		.queues = test_number(test, args, "queues"),
		.event_index = test_number(test, args, "event-index"),
		.indirect = test_number(test, args, "indirect"),
		.packed = test_number(test, args, "packed"),
	};

	if (!virtio_transport_by_name(test_string(test, args, "transport"), &c.transport) ||
	    !virtio_interrupts_by_name(test_string(test, args, "irq"), &c.interrupts))
		return test_fail(test, "bad-parameter");
	if (!blk_open(blk, &c))
		return test_fail(test, blk->error);
	if (c.interrupts != VIRTIO_POLLED)
		irq_tick(true);
	return true;
}

static void close_disk(struct blk *blk)
{
	blk_close(blk);
	irq_tick(false);
}

static uint64_t pattern(uint64_t seed, uint64_t sector, uint32_t word)
{
	return (seed + 1) * 0x9e3779b97f4a7c15 + sector * 0xbf58476d1ce4e5b9 +
	       word * 0x94d049bb133111eb;
}

static void fill(uint64_t *to, uint64_t seed, uint64_t sector, uint32_t bytes)
{
	for (uint32_t i = 0; i < bytes / 8; i++)
		to[i] = pattern(seed, sector + i / 64, i % 64);
}

static bool matches(const uint64_t *from, uint64_t seed, uint64_t sector, uint32_t bytes)
{
	for (uint32_t i = 0; i < bytes / 8; i++)
		if (from[i] != pattern(seed, sector + i / 64, i % 64))
			return false;
	return true;
}

static bool all_zero(const uint64_t *from, uint32_t bytes)
{
	for (uint32_t i = 0; i < bytes / 8; i++)
		if (from[i])
			return false;
	return true;
}

/* State of one blk-rw run. */
struct rw {
	struct blk *blk;
	const struct test *test;
	uint64_t seed;
	uint8_t *out, *in;
	uint64_t requests, bytes;
	uint32_t problems;
};

#define MAX_PROBLEMS 5 /* lines; the rest is only counted */

static void wrong(struct rw *rw, const char *what, uint64_t sector, uint32_t bytes, int status)
{
	if (rw->problems++ < MAX_PROBLEMS)
		report("test=%s problem=%s sector=%lu bytes=%u status=%d", rw->test->name, what,
		       sector, bytes, status);
}

/* Cuts a buffer in n segments; odd: at addresses and lengths that are multiples of nothing. */
static uint32_t cut(struct ring_segment *segments, uint8_t *buffer, uint32_t bytes, uint32_t n,
		    bool odd)
{
	uint32_t at = 0;

	for (uint32_t i = 0; i < n; i++) {
		uint32_t end = (uint64_t)bytes * (i + 1) / n;

		end = odd ? end | 1 : end & ~(uint32_t)(BLK_SECTOR - 1);
		if (i + 1 == n)
			end = bytes;
		segments[i] = (struct ring_segment){memory_address(buffer + at), end - at};
		at = end;
	}
	return n;
}

static int transfer(struct rw *rw, uint32_t type, uint64_t sector, uint8_t *buffer, uint32_t bytes,
		    uint32_t n_segments, bool odd)
{
	struct ring_segment segments[BLK_MAX_SEGMENTS];

	n_segments = MIN(n_segments, rw->blk->max_segments);
	if (n_segments > bytes / BLK_SECTOR && !odd)
		n_segments = bytes / BLK_SECTOR;
	cut(segments, buffer, bytes, n_segments, odd);
	rw->requests++;
	rw->bytes += bytes;
	return blk_do(rw->blk, type, sector, segments, n_segments, type == VIRTIO_BLK_T_OUT);
}

static void check_read(struct rw *rw, uint64_t sector, uint32_t bytes, uint32_t segments, bool odd)
{
	int status;

	memset(rw->in, 0xa5, bytes);
	status = transfer(rw, VIRTIO_BLK_T_IN, sector, rw->in, bytes, segments, odd);
	if (status)
		wrong(rw, "read", sector, bytes, status);
	else if (!matches((uint64_t *)rw->in, rw->seed, sector, bytes))
		wrong(rw, "content", sector, bytes, status);
}

static void write_pattern(struct rw *rw, uint64_t sector, uint32_t bytes, uint32_t segments,
			  bool odd)
{
	int status;

	fill((uint64_t *)rw->out, rw->seed, sector, bytes);
	status = transfer(rw, VIRTIO_BLK_T_OUT, sector, rw->out, bytes, segments, odd);
	if (status)
		wrong(rw, "write", sector, bytes, status);
}

/* Sizes and cuts, each at a place of its own; writing first unless verify only. */
static void check_shapes(struct rw *rw, bool write, bool odd)
{
	static const uint32_t sizes[] = {512, 1024, 4096, 8192, 12288, 65536, 131072, BUFFER_BYTES};
	static const uint32_t cuts[] = {1, 2, 3, 7, 16, 32};
	uint64_t sector = 0;

	for (uint32_t pass = write ? 0 : 1; pass < 2; pass++) {
		sector = 0;
		for (uint32_t i = 0; i < ARRAY_SIZE(sizes); i++) {
			for (uint32_t j = 0; j < ARRAY_SIZE(cuts); j++) {
				if (sector + sizes[i] / BLK_SECTOR > rw->blk->sectors)
					return;
				if (pass)
					check_read(rw, sector, sizes[i],
						   cuts[ARRAY_SIZE(cuts) - 1 - j], odd);
				else
					write_pattern(rw, sector, sizes[i], cuts[j], odd);
				sector += sizes[i] / BLK_SECTOR + 1;
			}
		}
		if (!pass && virtio_has(&rw->blk->dev, VIRTIO_BLK_F_FLUSH)) {
			int status = blk_do(rw->blk, VIRTIO_BLK_T_FLUSH, 0, NULL, 0, true);

			if (status)
				wrong(rw, "flush", 0, 0, status);
		}
	}
}

/* Discard and write zeroes: the range's own sectors, and not their neighbours. */
static void check_range(struct rw *rw, uint32_t type, const char *name, uint64_t sector)
{
	const uint32_t bytes = 64 << 10, n = bytes / BLK_SECTOR;
	struct virtio_blk_discard_write_zeroes *range = memory_alloc(sizeof(*range), 64);
	struct ring_segment s = {memory_address(range), sizeof(*range)};
	int status;

	write_pattern(rw, sector, 3 * bytes, 1, false);
	range->sector = sector + n;
	range->num_sectors = n;
	status = blk_do(rw->blk, type, 0, &s, 1, true);
	if (status) {
		wrong(rw, name, sector, bytes, status);
		return;
	}
	check_read(rw, sector, bytes, 1, false);
	check_read(rw, sector + 2 * n, bytes, 1, false);
	status = transfer(rw, VIRTIO_BLK_T_IN, sector + n, rw->in, bytes, 1, false);
	if (status || (type == VIRTIO_BLK_T_WRITE_ZEROES && !all_zero((uint64_t *)rw->in, bytes)))
		wrong(rw, name, sector + n, bytes, status);
	write_pattern(rw, sector, 3 * bytes, 1, false);
}

static void check_status(struct rw *rw, const char *what, int status, int expected)
{
	if (status != expected)
		wrong(rw, what, 0, 0, status);
}

/* What the device has to refuse. */
static void check_refusals(struct rw *rw)
{
	struct ring_segment s = {memory_address(rw->in), BLK_SECTOR};
	uint64_t last = rw->blk->sectors;

	check_status(rw, "read-beyond-end", blk_do(rw->blk, VIRTIO_BLK_T_IN, last, &s, 1, false),
		     VIRTIO_BLK_S_IOERR);
	check_status(rw, "read-far-beyond",
		     blk_do(rw->blk, VIRTIO_BLK_T_IN, ~0ull - 1, &s, 1, false), VIRTIO_BLK_S_IOERR);
	check_status(rw, "read-at-end", blk_do(rw->blk, VIRTIO_BLK_T_IN, last - 1, &s, 1, false),
		     VIRTIO_BLK_S_OK);
	s.length = 2 * BLK_SECTOR;
	check_status(rw, "read-across-end",
		     blk_do(rw->blk, VIRTIO_BLK_T_IN, last - 1, &s, 1, false), VIRTIO_BLK_S_IOERR);
	s.length = BLK_SECTOR;
	check_status(rw, "unknown-type", blk_do(rw->blk, 0x7654, 0, &s, 1, false),
		     VIRTIO_BLK_S_UNSUPP);
	if (rw->blk->read_only)
		check_status(rw, "write-to-read-only",
			     blk_do(rw->blk, VIRTIO_BLK_T_OUT, 0, &s, 1, true), VIRTIO_BLK_S_IOERR);
}

static const struct test_param rw_params[] = {
	{"seed", "1", "of the pattern"},
	{"write", "1", "0: only check what an earlier run with this seed wrote"},
	{"odd", "0", "segments at odd addresses, of odd lengths"},
	{"refuse", "1", "check that bad requests are refused"},
	BLK_PARAMS,
	{NULL, NULL, NULL},
};

static bool run_rw(const struct test *test, const struct test_arg *args)
{
	struct blk blk;
	struct rw rw = {.blk = &blk, .test = test};
	bool write, odd, discard, zeroes;
	uint64_t start = clock_ns();
	struct ring_segment s;
	uint8_t *serial;

	if (!open_disk(test, args, &blk))
		return false;
	rw.seed = test_number(test, args, "seed");
	odd = test_number(test, args, "odd");
	write = test_number(test, args, "write") && !blk.read_only;
	rw.out = memory_alloc(BUFFER_BYTES, 4096);
	rw.in = memory_alloc(BUFFER_BYTES, 4096);
	serial = memory_alloc(VIRTIO_BLK_ID_BYTES + 1, 64);
	s = (struct ring_segment){memory_address(serial), VIRTIO_BLK_ID_BYTES};
	check_status(&rw, "get-id", blk_do(&blk, VIRTIO_BLK_T_GET_ID, 0, &s, 1, false),
		     VIRTIO_BLK_S_OK);
	/* What is on a read-only disk is only known if the caller says so. */
	if (write || !test_number(test, args, "write"))
		check_shapes(&rw, write, odd);
	discard = write && virtio_has(&blk.dev, VIRTIO_BLK_F_DISCARD);
	zeroes = write && virtio_has(&blk.dev, VIRTIO_BLK_F_WRITE_ZEROES);
	if (blk.sectors > 40960 && discard)
		check_range(&rw, VIRTIO_BLK_T_DISCARD, "discard", blk.sectors - 4096);
	if (blk.sectors > 40960 && zeroes)
		check_range(&rw, VIRTIO_BLK_T_WRITE_ZEROES, "write-zeroes", blk.sectors - 2048);
	if (test_number(test, args, "refuse"))
		check_refusals(&rw);
	test_result(test, !rw.problems);
	say(" serial=%s sectors=%lu read_only=%d queues=%u", (char *)serial, blk.sectors,
	    blk.read_only, blk.n_queues);
	say(" flush=%d discard=%d write_zeroes=%d", virtio_has(&blk.dev, VIRTIO_BLK_F_FLUSH),
	    discard, zeroes);
	report(" problems=%u requests=%lu bytes=%lu ns=%lu doorbells=%lu interrupts=%lu",
	       rw.problems, rw.requests, rw.bytes, clock_ns() - start, blk_doorbells(&blk),
	       blk.dev.n_interrupts);
	close_disk(&blk);
	return !rw.problems;
}

const struct test test_blk_rw = {
	.name = "blk-rw",
	.help = "writes and reads a disk in requests of every shape, and checks",
	.params = rw_params,
	.run = run_rw,
};

static const struct test_param bench_params[] = {
	{"op", "read", "read or write (which destroys what is on the disk)"},
	{"count", "20000", "requests"},
	{"size", "4096", "bytes of a request"},
	{"depth", "1", "requests at once"},
	{"sequential", "0", "in order, not at random"},
	{"seed", "1", "of the random places"},
	BLK_PARAMS,
	{NULL, NULL, NULL},
};

struct bench {
	struct blk *blk;
	bool write, sequential;
	uint32_t size, depth;
	uint64_t count, started, done, errors, seed;
	uint32_t *times;
};

static void bench_start(struct bench *b, struct blk_request *request)
{
	struct ring_segment s = {memory_address(request->cookie), b->size};
	uint64_t places = b->blk->sectors * BLK_SECTOR / b->size, place;

	place = (b->sequential ? b->started : random_next(&b->seed)) % places;
	request->started = clock_ns();
	if (blk_submit(b->blk, request, b->write ? VIRTIO_BLK_T_OUT : VIRTIO_BLK_T_IN,
		       place * (b->size / BLK_SECTOR), &s, 1, b->write))
		b->started++;
}

/* Keeps depth requests going until count are done. False if the device stalls. */
static bool bench_loop(struct bench *b)
{
	uint64_t moved = clock_ns();

	while (b->done < b->count) {
		struct blk_request *request;
		uint64_t now = 0;

		while ((request = blk_poll(b->blk))) {
			now = clock_ns();
			b->times[b->done++] = now - request->started;
			b->errors += request->status != VIRTIO_BLK_S_OK;
			if (b->started < b->count)
				bench_start(b, request);
		}
		if (now) {
			blk_kick(b->blk);
			moved = now;
		} else {
			if (clock_ns() - moved > 20 * NS_PER_S)
				return false;
			blk_wait(b->blk, NS_PER_S);
		}
	}
	return true;
}

static bool run_bench(const struct test *test, const struct test_arg *args)
{
	struct blk blk;
	struct bench b = {
		.blk = &blk,
		.write = !strcmp(test_string(test, args, "op"), "write"),
		.sequential = test_number(test, args, "sequential"),
		.size = test_number(test, args, "size"),
		.depth = test_number(test, args, "depth"),
		.count = test_number(test, args, "count"),
		.seed = test_number(test, args, "seed"),
	};
	uint64_t start;
	bool ok;

	if (!b.size || b.size % BLK_SECTOR || !b.depth || !b.count)
		return test_fail(test, "bad-parameter");
	if (!open_disk(test, args, &blk))
		return false;
	if (blk.sectors * BLK_SECTOR < b.size) {
		close_disk(&blk);
		return test_fail(test, "disk-too-small");
	}
	b.times = memory_alloc(b.count * sizeof(*b.times), 64);
	start = clock_ns();
	for (uint32_t i = 0; i < b.depth && b.started < b.count; i++) {
		struct blk_request *request = memory_alloc(sizeof(*request), 64);

		request->cookie = memory_alloc(b.size, 4096);
		fill(request->cookie, b.seed, i, b.size);
		bench_start(&b, request);
	}
	blk_kick(&blk);
	ok = bench_loop(&b) && !b.errors;
	start = clock_ns() - start;
	test_result(test, ok);
	say(" op=%s size=%u depth=%u requests=%lu errors=%lu ns=%lu iops=%lu mbyte_per_s=%lu",
	    b.write ? "write" : "read", b.size, b.depth, b.done, b.errors, start,
	    b.done * 1000000 / MAX(start / 1000, 1u), b.done * b.size * 1000 / MAX(start, 1u));
	stats_say(b.times, b.done);
	report(" doorbells=%lu interrupts=%lu", blk_doorbells(&blk), blk.dev.n_interrupts);
	close_disk(&blk);
	return ok;
}

const struct test test_blk_bench = {
	.name = "blk-bench",
	.help = "measures requests per second, and their times",
	.params = bench_params,
	.run = run_bench,
};
