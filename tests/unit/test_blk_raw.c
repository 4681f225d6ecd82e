/*
 * Raw images on real files: what is read, written, zeroed and refused; short transfers, alignment,
 * locks, the loop. No guest, no device model.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "blk/blk.h"

#define KIB 1024u
#define MIB (1024u * KIB)

static char folder[64];
static char path[128];

static void make_file(const char *name, const void *data, size_t len, off_t size)
{
	int fd;

	snprintf(path, sizeof(path), "%s/%s", folder, name);
	fd = open(path, O_RDWR | O_CREAT | O_TRUNC, 0600);
	assert_true(fd >= 0);
	assert_int_equal(write(fd, data, len), (ssize_t)len);
	assert_int_equal(ftruncate(fd, size), 0);
	close(fd);
}

static struct blk_backend *open_blk(const char *words, struct err *err)
{
	struct opt_list list;
	struct blk_backend *blk;
	char text[256];

	memset(err, 0, sizeof(*err));
	snprintf(text, sizeof(text), "filename=%s%s%s", path, *words ? "," : "", words);
	assert_int_equal(opt_parse(&list, "-drive", text, NULL, err), 0);
	blk = blk_create("d0", &list, err);
	opt_free(&list);
	return blk;
}

static void refused(const char *words, int code, const char *says)
{
	struct err err;

	assert_null(open_blk(words, &err));
	if (err.code != code || !strstr(err.msg, says))
		print_error("%d: %s\n", err.code, err.msg);
	assert_int_equal(err.code, code);
	assert_non_null(strstr(err.msg, says));
}

/* A disk with one queue, served by this thread. */
struct disk {
	struct loop *loop;
	struct blk_backend *blk;
	struct blk_queue *queue;
	unsigned int done, completed;
};

static void on_completed(struct blk_queue *queue)
{
	((struct disk *)queue->opaque)->completed++;
}

static void disk_open(struct disk *d, const char *words)
{
	struct err err;

	memset(d, 0, sizeof(*d));
	d->blk = open_blk(words, &err);
	if (!d->blk)
		print_error("%s\n", err.msg);
	assert_non_null(d->blk);
	assert_int_equal(loop_create(&d->loop, "test", 0, &err), 0);
	assert_int_equal(blk_queue_open(d->blk, d->loop, &d->queue, &err), 0);
	d->queue->opaque = d;
	d->queue->completed = on_completed;
}

static void disk_close(struct disk *d)
{
	blk_queue_close(d->queue);
	loop_destroy(d->loop);
	blk_destroy(d->blk);
}

struct io {
	struct blk_request req;
	struct disk *disk;
	int result;
};

static void on_done(struct blk_request *req, int result)
{
	struct io *io = req->opaque;

	io->result = result;
	__atomic_fetch_add(&io->disk->done, 1, __ATOMIC_RELEASE);
}

static void submit(struct disk *d, struct io *io, enum blk_op op, uint64_t offset, uint64_t length,
		   const struct iovec *iov, int n)
{
	io->disk = d;
	io->result = 1;
	io->req.op = op;
	io->req.offset = offset;
	io->req.length = length;
	io->req.iov = iov;
	io->req.n_iov = n;
	io->req.done = on_done;
	io->req.opaque = io;
	blk_submit(d->queue, &io->req);
}

static int transfer(struct disk *d, enum blk_op op, uint64_t offset, const struct iovec *iov, int n)
{
	struct io io = {0};
	uint64_t length = 0;

	for (int i = 0; i < n; i++)
		length += iov[i].iov_len;
	submit(d, &io, op, offset, length, iov, n);
	blk_kick(d->queue);
	blk_drain(d->queue);
	return io.result;
}

static int plain(struct disk *d, enum blk_op op, uint64_t offset, void *buf, size_t len)
{
	struct iovec iov = {buf, len};

	return transfer(d, op, offset, &iov, 1);
}

static int ranged(struct disk *d, enum blk_op op, uint64_t offset, uint64_t length, bool may_unmap)
{
	struct io io = {.req.may_unmap = may_unmap};

	submit(d, &io, op, offset, length, NULL, 0);
	blk_kick(d->queue);
	blk_drain(d->queue);
	return io.result;
}

static uint8_t pattern(size_t i)
{
	return (uint8_t)(i * 7 + i / 251 + 1);
}

static void fill(uint8_t *buf, size_t len, size_t from)
{
	for (size_t i = 0; i < len; i++)
		buf[i] = pattern(from + i);
}

static void expect(const uint8_t *buf, size_t len, size_t from)
{
	for (size_t i = 0; i < len; i++)
		if (buf[i] != pattern(from + i))
			fail_msg("byte %zu is %u, not %u", i, buf[i], pattern(from + i));
}

static void expect_zeros(const uint8_t *buf, size_t len)
{
	for (size_t i = 0; i < len; i++)
		if (buf[i])
			fail_msg("byte %zu is %u, not 0", i, buf[i]);
}

/* ---- tests ---- */

static void test_refused(void **state)
{
	static const char qcow2[512] = "QFI\xfb\0\0\0\3";
	struct err err;
	struct blk_backend *blk;

	snprintf(path, sizeof(path), "%s/nothing", folder);
	refused("", -ENOENT, "truncate -s");
	snprintf(path, sizeof(path), "%s", folder);
	refused("", -EINVAL, "is a folder");
	snprintf(path, sizeof(path), "/dev/null");
	refused("", -EINVAL, "character device");

	make_file("q", qcow2, sizeof(qcow2), sizeof(qcow2));
	refused("", -EINVAL, "looks like a qcow2 image");
	refused("format=qcow2", -EINVAL, "no image format 'qcow2'");
	refused("driver=raw,discard=maybe", -EINVAL, "discard");
	refused("driver=raw,colour=blue", -EINVAL, "colour");
	refused("driver=raw,aio=magic", -EINVAL, "aio");
	blk = open_blk("driver=raw", &err);
	assert_non_null(blk);
	blk_destroy(blk);
	blk = open_blk("driver=host_device,file.driver=file", &err);
	assert_non_null(blk);
	blk_destroy(blk);
}

static void test_locks(void **state)
{
	struct err err;
	struct blk_backend *a, *b;

	make_file("locked", "x", 1, 4096);
	a = open_blk("", &err);
	assert_non_null(a);
	refused("", -EBUSY, "in use");
	refused("read-only=on", -EBUSY, "in use");
	b = open_blk("locking=off", &err);
	assert_non_null(b);
	blk_destroy(b);
	blk_destroy(a);
	a = open_blk("read-only=on", &err);
	b = open_blk("read-only=on", &err);
	assert_non_null(a);
	assert_non_null(b);
	blk_destroy(a);
	blk_destroy(b);
}

/* The lock is free as soon as a disk that was used is closed, whatever io_uring still holds. */
static void test_reopen(void **state)
{
	uint8_t buf[512];
	struct disk d;

	make_file("again", "x", 1, 4096);
	for (int i = 0; i < 20; i++) {
		disk_open(&d, "locking=on");
		assert_int_equal(plain(&d, BLK_READ, 0, buf, sizeof(buf)), 0);
		disk_close(&d);
	}
}

static void test_transfer(void **state)
{
	static uint8_t out[MIB], in[MIB];
	struct iovec iov[3] = {{in, 512}, {in + 512, 300001}, {in + 300513, MIB - 300513}};
	struct disk d;

	make_file("disk", "", 0, 4 * MIB);
	disk_open(&d, "");
	assert_int_equal(d.blk->info.size, 4 * MIB);
	assert_int_equal(d.blk->info.logical_block, 512);
	assert_false(d.blk->info.readonly);
	fill(out, sizeof(out), 0);
	assert_int_equal(plain(&d, BLK_WRITE, MIB, out, sizeof(out)), 0);
	assert_int_equal(ranged(&d, BLK_FLUSH, 0, 0, false), 0);
	assert_int_equal(transfer(&d, BLK_READ, MIB, iov, 3), 0);
	expect(in, sizeof(in), 0);
	assert_int_equal(plain(&d, BLK_READ, 0, in, MIB), 0);
	expect_zeros(in, MIB);
	assert_int_equal(counter_get(&d.queue->counters.reads), 2);
	assert_int_equal(counter_get(&d.queue->counters.writes), 1);
	assert_int_equal(counter_get(&d.queue->counters.flushes), 1);
	assert_int_equal(counter_get(&d.queue->counters.read_bytes), 2 * MIB);
	assert_int_equal(counter_get(&d.queue->counters.errors), 0);
	assert_true(d.completed > 0);
	disk_close(&d);
}

static void test_range(void **state)
{
	uint8_t buf[1024];
	struct disk d;

	make_file("small", "", 0, 8192);
	disk_open(&d, "");
	assert_int_equal(plain(&d, BLK_READ, 8192 - 512, buf, 1024), -EINVAL);
	assert_int_equal(plain(&d, BLK_WRITE, UINT64_MAX - 511, buf, 512), -EINVAL);
	assert_int_equal(plain(&d, BLK_READ, UINT64_MAX, buf, 1), -EINVAL);
	assert_int_equal(ranged(&d, BLK_DISCARD, 0, 8193, false), -EINVAL);
	assert_int_equal(plain(&d, BLK_READ, 8192, buf, 0), 0);
	assert_int_equal(counter_get(&d.queue->counters.errors), 4);
	assert_int_equal(counter_get(&d.queue->counters.syscalls), 0);
	disk_close(&d);

	disk_open(&d, "read-only=on");
	assert_true(d.blk->info.readonly);
	assert_false(d.blk->info.write_zeroes);
	assert_int_equal(plain(&d, BLK_WRITE, 0, buf, 512), -EROFS);
	assert_int_equal(ranged(&d, BLK_WRITE_ZEROES, 0, 512, false), -EROFS);
	assert_int_equal(plain(&d, BLK_READ, 0, buf, 512), 0);
	assert_int_equal(ranged(&d, BLK_FLUSH, 0, 0, false), 0);
	disk_close(&d);
}

/* A file that ends within a sector: that sector is there, and reads as zeros behind the end. */
static void end_of_file(const char *words)
{
	uint8_t data[1000], *in;
	struct iovec iov[2];
	struct disk d;

	in = aligned_alloc(4096, 8192);
	assert_non_null(in);
	fill(data, sizeof(data), 0);
	make_file("odd", data, sizeof(data), sizeof(data));
	disk_open(&d, words);
	assert_int_equal(d.blk->info.size, 1024);
	memset(in, 0xee, 8192);
	iov[0] = (struct iovec){in, 512};
	iov[1] = (struct iovec){in + 4096, 512};
	assert_int_equal(transfer(&d, BLK_READ, 0, iov, 2), 0);
	expect(in, 512, 0);
	expect(in + 4096, 488, 512);
	expect_zeros(in + 4096 + 488, 24);
	assert_int_equal(in[4096 + 512], 0xee);
	disk_close(&d);
	free(in);
}

static bool direct_works(const char *words)
{
	struct err err;
	struct blk_backend *blk = open_blk(words, &err);

	if (blk)
		blk_destroy(blk);
	return blk;
}

static void test_end_of_file(void **state)
{
	end_of_file("");
	end_of_file("cache.no-flush=on");
}

static off_t blocks(void)
{
	struct stat st;

	assert_int_equal(stat(path, &st), 0);
	return st.st_blocks;
}

static void test_discard(void **state)
{
	static uint8_t buf[MIB];
	struct disk d;
	off_t full;

	fill(buf, MIB, 0);
	make_file("holes", buf, MIB, MIB);
	disk_open(&d, "");
	assert_false(d.blk->info.discard);
	assert_int_equal(ranged(&d, BLK_DISCARD, 0, MIB, false), 0);
	assert_int_equal(plain(&d, BLK_READ, 0, buf, MIB), 0);
	expect(buf, MIB, 0); /* ignored */
	disk_close(&d);

	disk_open(&d, "discard=unmap");
	assert_true(d.blk->info.discard);
	full = blocks();
	assert_int_equal(ranged(&d, BLK_DISCARD, 256 * KIB, 512 * KIB, false), 0);
	assert_int_equal(plain(&d, BLK_READ, 0, buf, MIB), 0);
	expect(buf, 256 * KIB, 0);
	expect_zeros(buf + 256 * KIB, 512 * KIB);
	expect(buf + 768 * KIB, 256 * KIB, 768 * KIB);
	assert_true(blocks() < full);
	disk_close(&d);
}

static void zeroes(const char *words, bool may_unmap)
{
	static uint8_t buf[MIB];
	struct disk d;

	fill(buf, MIB, 0);
	make_file("zeros", buf, MIB, 64 * MIB);
	disk_open(&d, words);
	assert_true(d.blk->info.write_zeroes);
	assert_int_equal(ranged(&d, BLK_WRITE_ZEROES, 512, 300 * KIB, may_unmap), 0);
	assert_int_equal(plain(&d, BLK_READ, 0, buf, MIB), 0);
	expect(buf, 512, 0);
	expect_zeros(buf + 512, 300 * KIB);
	expect(buf + 300 * KIB + 512, 512 * KIB, 300 * KIB + 512);
	/* More than one piece of scratch can hold. */
	assert_int_equal(ranged(&d, BLK_WRITE_ZEROES, 0, 40 * MIB, may_unmap), 0);
	assert_int_equal(plain(&d, BLK_READ, 0, buf, MIB), 0);
	expect_zeros(buf, MIB);
	disk_close(&d);
}

static void test_zeroes(void **state)
{
	char saved[sizeof(folder)];

	zeroes("", false);
	zeroes("", true);
	zeroes("discard=unmap", true);
	/* tmpfs has no FALLOC_FL_ZERO_RANGE: zeros are written. */
	strcpy(saved, folder);
	strcpy(folder, "/dev/shm/vireo-test-XXXXXX");
	if (mkdtemp(folder)) {
		zeroes("", false);
		unlink(path);
		rmdir(folder);
	}
	strcpy(folder, saved);
}

/* More requests than the ring has entries, more pieces than one call takes. */
static void test_many(void **state)
{
	enum {
		N = 700,
		PIECES = 3000
	};
	static struct io io[N];
	static uint8_t out[N * 512], in[PIECES * 512];
	static struct iovec iov[PIECES];
	struct disk d;

	make_file("many", "", 0, 4 * MIB);
	disk_open(&d, "");
	fill(out, sizeof(out), 0);
	for (int i = 0; i < N; i++) {
		iov[i] = (struct iovec){out + i * 512, 512};
		submit(&d, &io[i], BLK_WRITE, i * 512, 512, &iov[i], 1);
	}
	blk_kick(d.queue);
	assert_true(counter_get(&d.queue->counters.syscalls) < N / 4);
	blk_drain(d.queue);
	assert_int_equal(d.done, N);
	for (int i = 0; i < N; i++)
		assert_int_equal(io[i].result, 0);

	for (int i = 0; i < PIECES; i++)
		iov[i] = (struct iovec){in + i * 512, 512};
	assert_int_equal(transfer(&d, BLK_READ, 0, iov, PIECES), 0);
	expect(in, sizeof(out), 0);
	expect_zeros(in + sizeof(out), sizeof(in) - sizeof(out));
	disk_close(&d);
}

/* Direct I/O: aligned buffers go as they are, others through the pool, more of them at once than it
 * has slots. */
static void test_direct(void **state)
{
	enum {
		N = 12,
		LEN = 600 * KIB
	};
	static struct io io[N];
	static struct iovec iov[N][2];
	uint8_t *buf = aligned_alloc(4096, (N + 1) * (size_t)MIB);
	struct disk d;

	assert_non_null(buf);
	make_file("direct", "", 0, 16 * MIB);
	if (!direct_works("cache.direct=on")) {
		free(buf);
		skip();
	}
	disk_open(&d, "cache.direct=on");
	fill(buf, MIB, 0);
	assert_int_equal(plain(&d, BLK_WRITE, 0, buf, MIB), 0);
	assert_int_equal(counter_get(&d.queue->counters.bounced), 0);
	memset(buf, 0, MIB);
	assert_int_equal(plain(&d, BLK_READ, 0, buf, MIB), 0);
	assert_int_equal(counter_get(&d.queue->counters.bounced), 0);
	expect(buf, MIB, 0);

	for (unsigned int i = 0; i < N; i++) {
		uint8_t *p = buf + i * MIB + 1;

		fill(p, LEN, i);
		iov[i][0] = (struct iovec){p, 777};
		iov[i][1] = (struct iovec){p + 777, LEN - 777};
		submit(&d, &io[i], BLK_WRITE, (i + 1) * MIB, LEN, iov[i], 2);
	}
	blk_kick(d.queue);
	blk_drain(d.queue);
	assert_int_equal(d.done, N + 2);
	assert_int_equal(counter_get(&d.queue->counters.bounced), N);
	memset(buf, 0, N * (size_t)MIB);
	for (unsigned int i = 0; i < N; i++)
		submit(&d, &io[i], BLK_READ, (i + 1) * MIB, LEN, iov[i], 2);
	blk_kick(d.queue);
	blk_drain(d.queue);
	for (unsigned int i = 0; i < N; i++) {
		assert_int_equal(io[i].result, 0);
		expect(buf + i * MIB + 1, LEN, i);
	}
	assert_int_equal(ranged(&d, BLK_WRITE_ZEROES, 0, MIB, false), 0);
	assert_int_equal(plain(&d, BLK_READ, 0, buf, MIB), 0);
	expect_zeros(buf, MIB);
	disk_close(&d);
	end_of_file("cache.direct=on");
	free(buf);
}

/* What reaches the medium when: a write with fua, a flush, and no flush at all. */
static void test_flushes(void **state)
{
	uint8_t buf[512] = {1};
	struct disk d;
	struct io io = {.req.fua = true};
	struct iovec iov = {buf, 512};

	make_file("flush", "", 0, 4096);
	disk_open(&d, "");
	submit(&d, &io, BLK_WRITE, 0, 512, &iov, 1);
	blk_drain(d.queue);
	assert_int_equal(io.result, 0);
	assert_int_equal(ranged(&d, BLK_FLUSH, 0, 0, false), 0);
	assert_true(counter_get(&d.queue->counters.syscalls) >= 2);
	disk_close(&d);

	disk_open(&d, "cache.no-flush=on");
	assert_int_equal(ranged(&d, BLK_FLUSH, 0, 0, false), 0);
	assert_int_equal(counter_get(&d.queue->counters.syscalls), 0);
	disk_close(&d);
}

/* The kernel refuses io_uring_setup() as a container's profile does: a sentence, and nothing left
 * behind. */
static int without_io_uring(int error)
{
	struct sock_filter filter[] = {
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_io_uring_setup, 0, 1),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | (unsigned int)error),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
	};
	struct sock_fprog program = {sizeof(filter) / sizeof(filter[0]), filter};
	struct blk_queue *queue;
	struct blk_backend *blk;
	struct loop *loop;
	struct err err = {0};
	int r;

	if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) ||
	    prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program))
		return 77;
	blk = open_blk("", &err);
	if (!blk || loop_create(&loop, "test", 0, &err))
		return 1;
	r = blk_queue_open(blk, loop, &queue, &err);
	loop_destroy(loop);
	blk_destroy(blk);
	if (r != -error || queue || !strstr(err.msg, error == EPERM ? "io_uring_disabled" : "5.10"))
		return 2;
	return 0;
}

static void test_no_io_uring(void **state)
{
	static const int errors[] = {EPERM, ENOSYS};

	make_file("none", "", 0, 4096);
	for (int i = 0; i < 2; i++) {
		int status;
		pid_t child = fork();

		if (!child)
			_exit(without_io_uring(errors[i]));
		assert_int_equal(waitpid(child, &status, 0), child);
		if (WIFEXITED(status) && WEXITSTATUS(status) == 77)
			skip(); /* no seccomp here */
		assert_int_equal(status, 0);
	}
}

/* ---- on a loop's thread ---- */

static void loop_submit(void *arg)
{
	struct io *io = arg;

	blk_submit(io->disk->queue, &io->req);
	blk_kick(io->disk->queue);
}

static void on_loop(const char *words, uint64_t poll_max_ns)
{
	static uint8_t buf[64 * KIB];
	struct iovec iov = {buf, sizeof(buf)};
	struct disk d;
	struct err err;

	fill(buf, sizeof(buf), 0);
	make_file("loop", buf, sizeof(buf), sizeof(buf));
	disk_open(&d, words);
	loop_set_poll_max(d.loop, poll_max_ns);
	assert_int_equal(loop_start(d.loop, &err), 0);
	for (int i = 0; i < 200; i++) {
		struct io io = {.disk = &d, .result = 1};

		/* The flush is never done inline: its completion finds the loop asleep. */
		io.req = (struct blk_request){
			.op = i & 1 ? BLK_FLUSH : BLK_READ,
			.length = i & 1 ? 0 : sizeof(buf),
			.iov = &iov,
			.n_iov = 1,
			.done = on_done,
			.opaque = &io,
		};
		if (!(i & 1))
			memset(buf, 0, sizeof(buf));
		loop_call(d.loop, loop_submit, &io);
		for (int ms = 0; __atomic_load_n(&d.done, __ATOMIC_ACQUIRE) <= (unsigned int)i;
		     ms++) {
			assert_true(ms < 20000);
			usleep(500);
		}
		assert_int_equal(io.result, 0);
		if (!(i & 1))
			expect(buf, sizeof(buf), 0);
	}
	blk_queue_close(d.queue); /* while the loop runs */
	loop_join(d.loop);
	loop_destroy(d.loop);
	blk_destroy(d.blk);
}

static void test_on_loop(void **state)
{
	on_loop("", 0);
	on_loop("", 50000);
}

static int set_up(void **state)
{
	const char *where = getenv("VIREO_TEST_DIR");

	snprintf(folder, sizeof(folder), "%s/vireo-test-XXXXXX", where ? where : ".");
	return mkdtemp(folder) ? 0 : -1;
}

static int tear_down(void **state)
{
	char command[128];

	snprintf(command, sizeof(command), "rm -rf '%s'", folder);
	return system(command);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_refused),	    cmocka_unit_test(test_locks),
		cmocka_unit_test(test_reopen),	    cmocka_unit_test(test_transfer),
		cmocka_unit_test(test_range),	    cmocka_unit_test(test_end_of_file),
		cmocka_unit_test(test_discard),	    cmocka_unit_test(test_zeroes),
		cmocka_unit_test(test_many),	    cmocka_unit_test(test_direct),
		cmocka_unit_test(test_flushes),	    cmocka_unit_test(test_on_loop),
		cmocka_unit_test(test_no_io_uring),
	};

	return cmocka_run_group_tests(tests, set_up, tear_down);
}
