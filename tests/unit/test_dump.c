/*
 * -object filter-dump and the filters in front of a back end: what passes is in the file, read back by
 * libpcap; and what the file does, the guest never notices.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <pcap/pcap.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <sys/resource.h>
#include <sys/stat.h>

#include "fake_net.h"
#include "net/dump.h"
#include "net/filter.h"

static char dir[] = "/tmp/vireo-test-XXXXXX", path[64];

static struct net_dump *dump(struct fake_net *fake, uint32_t maxlen)
{
	struct net_dump_opts opts = {.netdev = (char *)"n0", .file = path, .maxlen = maxlen};
	struct err err = {0};
	struct net_dump *d = net_dump_create("f0", &fake->net, &opts, &err);

	if (!d)
		fail_msg("%s", err.msg);
	return d;
}

static void refused(struct net_backend *net, const char *file, int code, const char *word)
{
	struct net_dump_opts opts = {.file = (char *)file, .maxlen = 100};
	struct err err = {0};

	assert_null(net_dump_create("f0", net, &opts, &err));
	if (err.code != code || !strstr(err.msg, word))
		fail_msg("expected %d and \"%s\", got %d: %s", code, word, err.code, err.msg);
}

static void fill(uint8_t *frame, size_t len, int seed)
{
	for (size_t i = 0; i < len; i++)
		frame[i] = (uint8_t)(i * 7 + (size_t)seed);
}

/* A frame from the guest, behind a header if there is one, in three pieces. */
static void send_frame(struct fake_net *fake, size_t len, int seed)
{
	static uint8_t frame[70000];
	size_t hdr = fake->net.hdr_len;
	struct iovec iov[3] = {{frame, hdr + 3}, {frame + hdr + 3, 5}, {frame + hdr + 8, len - 8}};

	memset(frame, 0xee, hdr);
	fill(frame + hdr, len, seed);
	assert_int_equal(fake->net.ops->send(fake->net.queue[0], iov, 3), 0);
}

static void receive_frame(struct fake_net *fake, size_t len, int seed)
{
	static uint8_t frame[70000], got[70000];
	struct iovec iov[2] = {{got, 20}, {got + 20, sizeof(got) - 20}};
	struct net_hdr hdr = {.flags = 1};

	fill(frame, len, seed);
	fake_net_incoming(fake, &hdr, frame, len);
	assert_int_equal(fake->net.ops->recv(fake->net.queue[0], iov, 2), fake->net.hdr_len + len);
	assert_memory_equal(got + fake->net.hdr_len, frame, len);
}

static pcap_t *open_file(void)
{
	char why[PCAP_ERRBUF_SIZE];
	pcap_t *p = pcap_open_offline_with_tstamp_precision(path, PCAP_TSTAMP_PRECISION_NANO, why);

	if (!p)
		fail_msg("%s", why);
	assert_int_equal(pcap_datalink(p), DLT_EN10MB);
	return p;
}

static void expect(pcap_t *p, size_t len, size_t kept, int seed)
{
	static uint8_t frame[70000];
	struct pcap_pkthdr *h;
	const u_char *data;

	assert_int_equal(pcap_next_ex(p, &h, &data), 1);
	assert_int_equal(h->len, len);
	assert_int_equal(h->caplen, kept);
	fill(frame, kept, seed);
	assert_memory_equal(data, frame, kept);
	assert_in_range(h->ts.tv_sec, time(NULL) - 100, time(NULL) + 1);
}

static void expect_end(pcap_t *p)
{
	struct pcap_pkthdr *h;
	const u_char *data;

	assert_int_equal(pcap_next_ex(p, &h, &data), PCAP_ERROR_BREAK);
	pcap_close(p);
}

static void check_both_ways(bool has_hdr, unsigned int hdr_len)
{
	struct fake_net fake;
	struct net_dump *d;
	pcap_t *p;

	fake_net_init(&fake, has_hdr, 0);
	fake.net.ops->set_offloads(&fake.net, 0, hdr_len);
	d = dump(&fake, 65536);
	assert_true(fake.net.filtered);
	send_frame(&fake, 60, 1);
	receive_frame(&fake, 1514, 2);
	receive_frame(&fake, 60, 3);
	send_frame(&fake, 65550, 4);
	/* while vireo runs all of it is there */
	p = open_file();
	expect(p, 60, 60, 1);
	expect(p, 1514, 1514, 2);
	expect(p, 60, 60, 3);
	expect(p, 65550, 65536, 4);
	expect_end(p);
	assert_int_equal(counter_get(&net_dump_counters(d)->frames), 4);
	assert_int_equal(fake.n_sent, 2);
	net_dump_destroy(d);
	assert_false(fake.net.filtered);
	assert_ptr_equal(fake.net.ops, &fake_ops);
	send_frame(&fake, 60, 5);
	p = open_file();
	for (int i = 0; i < 4; i++) {
		struct pcap_pkthdr *h;
		const u_char *data;

		assert_int_equal(pcap_next_ex(p, &h, &data), 1);
	}
	expect_end(p);
	fake_net_end(&fake);
}

static void test_both_ways(void **state)
{
	check_both_ways(false, 0);
	check_both_ways(true, 10);
	check_both_ways(true, 12);
}

static void test_maxlen(void **state)
{
	struct fake_net fake;
	struct net_dump *d;
	pcap_t *p;

	fake_net_init(&fake, false, 0);
	d = dump(&fake, 14);
	send_frame(&fake, 60, 1);
	send_frame(&fake, 14, 2);
	net_dump_destroy(d);
	p = open_file();
	expect(p, 60, 14, 1);
	expect(p, 14, 14, 2);
	expect_end(p);
	fake_net_end(&fake);
}

/* What isn't taken yet, or isn't there, is no frame. */
static void test_no_frames(void **state)
{
	struct fake_net fake;
	struct net_dump *d;
	uint8_t frame[60] = {0};
	struct iovec iov = {frame, sizeof(frame)};

	fake_net_init(&fake, false, 0);
	d = dump(&fake, 100);
	fake.full = true;
	assert_int_equal(fake.net.ops->send(fake.net.queue[0], &iov, 1), -EAGAIN);
	fake.full = false;
	assert_int_equal(fake.net.ops->recv(fake.net.queue[0], &iov, 1), -EAGAIN);
	fake.gone = true;
	assert_int_equal(fake.net.ops->recv(fake.net.queue[0], &iov, 1), -ENODEV);
	net_set_link(&fake.net, false);
	send_frame(&fake, 60, 1);
	net_dump_destroy(d);
	expect_end(open_file());
	fake_net_end(&fake);
}

static int ring_start(struct net_queue *q, enum net_ring_index which, const struct net_ring *ring)
{
	return 0;
}

static void test_rings(void **state)
{
	struct net_backend_ops ops = fake_ops;
	struct fake_net fake;
	struct net_dump *d;

	fake_net_init(&fake, true, 0);
	ops.ring_start = ring_start;
	fake.net.ops = &ops;
	fake.net.ring_features = 1;
	fake.net.rings_forced = true;
	d = dump(&fake, 100);
	assert_null(fake.net.ops->ring_start);
	assert_int_equal(fake.net.ring_features, 0);
	assert_false(fake.net.rings_forced);
	net_dump_destroy(d);
	assert_ptr_equal(fake.net.ops, &ops);
	assert_int_equal(fake.net.ring_features, 1);
	assert_true(fake.net.rings_forced);
	fake.net.rings_only = true;
	refused(&fake.net, path, -ENOTSUP, "pass vireo by");
	fake_net_end(&fake);
}

static void test_errors(void **state)
{
	struct fake_net fake;
	char fifo[80];

	fake_net_init(&fake, false, 0);
	refused(&fake.net, NULL, -EINVAL, "needs file=");
	refused(&fake.net, "/nonexistent/x", -ENOENT, "/nonexistent/x");
	refused(&fake.net, "/dev/null", -EINVAL, "no ordinary file");
	refused(&fake.net, dir, -EISDIR, dir);
	snprintf(fifo, sizeof(fifo), "%s/fifo", dir);
	assert_int_equal(mkfifo(fifo, 0600), 0);
	refused(&fake.net, fifo, -ENXIO, fifo);
	unlink(fifo);
	assert_ptr_equal(fake.net.ops, &fake_ops);
	fake_net_end(&fake);
}

/* The file may not grow: the frames before are whole, those behind pass all the same. */
static void test_full(void **state)
{
	struct rlimit old, limit;
	struct fake_net fake;
	struct net_dump *d;
	pcap_t *p;

	signal(SIGXFSZ, SIG_IGN);
	getrlimit(RLIMIT_FSIZE, &old);
	limit = old;
	limit.rlim_cur = 24 + 3 * (16 + 1000) + 500;
	setrlimit(RLIMIT_FSIZE, &limit);
	fake_net_init(&fake, false, 0);
	d = dump(&fake, 65536);
	for (int i = 0; i < 6; i++)
		send_frame(&fake, 1000, i);
	setrlimit(RLIMIT_FSIZE, &old);
	send_frame(&fake, 1000, 6);
	assert_int_equal(fake.n_sent, 7);
	assert_int_equal(counter_get(&net_dump_counters(d)->frames), 3);
	assert_int_equal(counter_get(&net_dump_counters(d)->lost), 4);
	net_dump_destroy(d);
	p = open_file();
	for (int i = 0; i < 3; i++)
		expect(p, 1000, 1000, i);
	expect_end(p);
	fake_net_end(&fake);
}

/* Two filters see the same; either may go first. */
static void test_two(void **state)
{
	struct net_dump_opts opts = {.maxlen = 100};
	struct net_dump *first, *second;
	struct fake_net fake;
	struct err err = {0};
	char other[80];
	struct stat st;

	snprintf(other, sizeof(other), "%s/other.pcap", dir);
	opts.file = other;
	fake_net_init(&fake, false, 0);
	first = dump(&fake, 100);
	second = net_dump_create("f1", &fake.net, &opts, &err);
	assert_non_null(second);
	send_frame(&fake, 100, 0);
	assert_int_equal(fake.n_sent, 1);
	net_dump_destroy(first);
	assert_true(fake.net.filtered);
	send_frame(&fake, 100, 0);
	net_dump_destroy(second);
	assert_ptr_equal(fake.net.ops, &fake_ops);
	assert_int_equal(stat(path, &st), 0);
	assert_int_equal(st.st_size, 24 + 116);
	assert_int_equal(stat(other, &st), 0);
	assert_int_equal(st.st_size, 24 + 2 * 116);
	unlink(other);
	fake_net_end(&fake);
}

/* ---- several queues at a time ---- */

#define THREADS 4
#define EACH	2000

static int take_any(struct net_queue *q, const struct iovec *iov, int n)
{
	return 0;
}

static void *sender(void *arg)
{
	struct net_queue *q = arg;
	uint8_t frame[200];
	struct iovec iov = {frame, 0};

	for (int i = 0; i < EACH; i++) {
		iov.iov_len = 100 + (size_t)i % 100;
		memset(frame, (int)iov.iov_len, iov.iov_len);
		q->net->ops->send(q, &iov, 1);
	}
	return NULL;
}

static void test_threads(void **state)
{
	struct net_backend_ops ops = fake_ops;
	pthread_t thread[THREADS];
	struct pcap_pkthdr *h;
	struct fake_net fake;
	struct net_dump *d;
	const u_char *data;
	int frames = 0;
	pcap_t *p;

	fake_net_init(&fake, false, 0);
	ops.send = take_any;
	fake.net.ops = &ops;
	d = dump(&fake, 65536);
	for (int i = 0; i < THREADS; i++)
		pthread_create(&thread[i], NULL, sender, &fake.queue);
	for (int i = 0; i < THREADS; i++)
		pthread_join(thread[i], NULL);
	net_dump_destroy(d);
	p = open_file();
	for (; pcap_next_ex(p, &h, &data) == 1; frames++)
		for (size_t i = 0; i < h->len; i++)
			assert_int_equal(data[i], h->len);
	pcap_close(p);
	assert_int_equal(frames, THREADS * EACH);
	fake_net_end(&fake);
}

static int setup(void **state)
{
	if (!mkdtemp(dir))
		return -1;
	snprintf(path, sizeof(path), "%s/n0.pcap", dir);
	return 0;
}

static int teardown(void **state)
{
	unlink(path);
	return rmdir(dir);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_both_ways), cmocka_unit_test(test_maxlen),
		cmocka_unit_test(test_no_frames), cmocka_unit_test(test_rings),
		cmocka_unit_test(test_errors),	  cmocka_unit_test(test_full),
		cmocka_unit_test(test_two),	  cmocka_unit_test(test_threads),
	};

	return cmocka_run_group_tests(tests, setup, teardown);
}
