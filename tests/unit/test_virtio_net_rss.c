/*
 * virtio-net's receive-side scaling and hash reports: commands, which pair a frame goes to, how it gets
 * from one to another, what is lost when that one is behind.
 */
#include <netinet/in.h>

#define VNET_PAIRS     4
#define VNET_RING_SIZE 64
#include "vnet_driver.h"

#define TYPES (VIRTIO_NET_RSS_HASH_TYPE_UDPv4 | VIRTIO_NET_RSS_HASH_TYPE_IPv4)
#define RSS   (F(CTRL_VQ) | F(MQ) | F(RSS) | F(MRG_RXBUF))

struct rss_config {
	uint32_t types;
	uint16_t mask, unclassified;
	uint16_t table[8];
	uint16_t max_tx;
	uint8_t key_len;
	uint8_t key[40];
} __attribute__((packed));

static uint8_t frame[2000];

static struct vdriver *rx_ring(struct vnet_fixture *f, unsigned int i)
{
	return i ? &f->more[2 * i - 2] : &f->rx;
}

static uint8_t mq_command(struct vnet_fixture *f, uint8_t what, const void *data, uint32_t len)
{
	return command(f, VIRTIO_NET_CTRL_MQ, what, data, len);
}

static struct rss_config config(void)
{
	struct rss_config c = {.types = TYPES,
			       .mask = 7,
			       .unclassified = 2,
			       .table = {0, 1, 2, 3, 0, 1, 2, 3},
			       .max_tx = 4,
			       .key_len = 40};

	for (unsigned int i = 0; i < 40; i++)
		c.key[i] = (uint8_t)(i * 37 + 11);
	return c;
}

static uint8_t set_rss(struct vnet_fixture *f, const struct rss_config *c)
{
	return mq_command(f, VIRTIO_NET_CTRL_MQ_RSS_CONFIG, c, sizeof(*c));
}

/* A UDP datagram of this port; returns its hash. */
static uint32_t make(uint16_t port)
{
	uint8_t fields[12] = {10, 0, 0, 1, 10, 0, 0, 2, 0x30, 0x39};
	struct rss_config c = config();

	memset(frame, 0, sizeof(frame));
	memset(frame, 0xff, 6);
	frame[12] = 8;
	frame[14] = 0x45;
	frame[23] = IPPROTO_UDP;
	fields[10] = (uint8_t)(port >> 8);
	fields[11] = (uint8_t)port;
	memcpy(frame + 26, fields, 12);
	for (unsigned int i = 60; i < sizeof(frame); i++)
		frame[i] = (uint8_t)(i + port);
	return vnet_toeplitz(c.key, fields, sizeof(fields));
}

static void give_pair(struct vnet_fixture *f, unsigned int pair, uint32_t len)
{
	vdriver_add(rx_ring(f, pair),
		    &(struct vdriver_buf){VNET_BUFFERS + 0x10000 * (pair + 1), len, true}, 1);
}

static void comes_on(struct vnet_fixture *f, unsigned int queue, size_t len)
{
	fake_incoming(f, frame, len);
	f->fake.incoming[(f->fake.in_end - 1) % 64].queue = queue;
	assert_true(vnet_step(f));
	assert_true(vnet_sleeps(f));
	assert_int_equal(f->fake.in_first, f->fake.in_end);
}

/* The pair that got the frame, with all of it; -1: none. */
static int taken_by(struct vnet_fixture *f, size_t hdr, size_t len)
{
	struct vring_used_elem e;
	int pair = -1;

	for (unsigned int i = 0; i < VNET_PAIRS; i++) {
		if (!rx_ring(f, i)->mem || !vdriver_take(rx_ring(f, i), &e))
			continue;
		assert_int_equal(pair, -1);
		assert_int_equal(e.len, hdr + len);
		assert_memory_equal(at(f, 0x10000 * (i + 1)) + hdr, frame, len);
		pair = (int)i;
	}
	return pair;
}

static void test_offer(void **state)
{
	struct err err;
	struct vnet_fixture *f =
		vnet_fixture_new("netdev=n0,mq=on,rss=on,hash=on", true, ALL_OFFLOADS, &err);

	assert_int_equal(f->vn->vdev.features_offered & (F(RSS) | F(HASH_REPORT)),
			 F(RSS) | F(HASH_REPORT));
	assert_int_equal(f->vn->vdev.config_size, 24);
	assert_int_equal(virtio_config_read(&f->vn->vdev, 17, 1), 40);
	assert_int_equal(virtio_config_read(&f->vn->vdev, 18, 2), 128);
	assert_int_equal(virtio_config_read(&f->vn->vdev, 20, 4), 0x1ff);
	vnet_fixture_free(f);
	f = vnet_fixture_new("netdev=n0,mq=on", true, ALL_OFFLOADS, &err);
	assert_int_equal(f->vn->vdev.features_offered & (F(RSS) | F(HASH_REPORT)), 0);
	vnet_fixture_free(f);
}

/* Every flow on every queue of the back end: it goes where the table says. */
static void test_steer(void **state)
{
	struct vnet_fixture *f = start("netdev=n0,mq=on,rss=on", RSS, false);
	struct rss_config c = config();
	uint64_t steered = 0;

	assert_int_equal(set_rss(f, &c), VIRTIO_NET_OK);
	assert_int_equal(f->fake.n_active, 4);
	for (uint16_t port = 1; port < 60; port++)
		for (unsigned int queue = 0; queue < VNET_PAIRS; queue++) {
			unsigned int to = c.table[make(port) & 7];
			size_t len = queue == 3 ? 1900 : 64; /* through the overflow, too */

			for (unsigned int i = 0; i < VNET_PAIRS; i++)
				if (vdriver_used_idx(rx_ring(f, i)) == rx_ring(f, i)->avail_idx)
					give_pair(f, i, 2000);
			comes_on(f, queue, len);
			assert_int_equal(taken_by(f, 12, len), (int)to);
			steered += to != queue;
		}
	for (unsigned int i = 0; i < VNET_PAIRS; i++)
		steered -= counter_get(&f->vn->pair[i].counters.rx_steered);
	assert_int_equal(steered, 0);
	/* what has no hash */
	make(1);
	frame[12] = 9;
	give_pair(f, 2, 2000);
	comes_on(f, 0, 60);
	assert_int_equal(taken_by(f, 12, 60), 2);
	/* no types: nothing has */
	c.types = 0;
	assert_int_equal(set_rss(f, &c), VIRTIO_NET_OK);
	make(1);
	give_pair(f, 2, 2000);
	comes_on(f, 1, 60);
	assert_int_equal(taken_by(f, 12, 60), 2);
	/* automatic steering again: it stays where it came in */
	assert_int_equal(mq_command(f, VIRTIO_NET_CTRL_MQ_VQ_PAIRS_SET, &(uint16_t){3}, 2), 0);
	assert_int_equal(f->fake.n_active, 3);
	for (unsigned int i = 0; i < 3; i++) {
		give_pair(f, i, 2000);
		comes_on(f, i, 60);
		assert_int_equal(taken_by(f, 12, 60), (int)i);
	}
	vnet_fixture_free(f);
}

/* The pair that a frame is for has no buffers: so many wait, the rest is lost, and all of these come when
 * there are buffers again. */
static void test_behind(void **state)
{
	struct vnet_fixture *f = start("netdev=n0,mq=on,rss=on", RSS, false);
	struct rss_config c = config();
	struct vring_used_elem e;
	unsigned int waiting, got = 0;

	for (unsigned int i = 0; i < 8; i++)
		c.table[i] = 3;
	assert_int_equal(set_rss(f, &c), VIRTIO_NET_OK);
	give_pair(f, 0, 2000);
	make(1);
	for (unsigned int i = 0; i < 50; i++)
		comes_on(f, 0, 100);
	waiting = (unsigned int)counter_get(&f->vn->pair[0].counters.rx_steered);
	assert_int_equal(counter_get(&f->vn->pair[0].counters.rx_steer_full), 50 - waiting);
	assert_true(waiting >= 16 && waiting < 50);
	for (unsigned int i = 0; i < 50; i++) {
		give_pair(f, 3, 60); /* two for each frame */
		assert_true(vnet_step(f));
		assert_true(vnet_sleeps(f));
	}
	while (vdriver_take(&f->more[4], &e))
		got++;
	assert_int_equal(got, 50);
	/* a reset frees what waits */
	virtio_set_status(&f->vn->vdev, 0, false);
	memset(f->ram, 0, VNET_BUFFERS - VNET_RAM);
	vnet_driver_ok(f, RSS, false, 64);
	assert_int_equal(set_rss(f, &c), VIRTIO_NET_OK);
	give_pair(f, 0, 2000);
	for (unsigned int i = 0; i < waiting; i++)
		comes_on(f, 0, 100);
	assert_int_equal(counter_get(&f->vn->pair[0].counters.rx_steered), 2 * waiting);
	vnet_fixture_free(f);
}

static void test_report(void **state)
{
	for (unsigned int rss = 0; rss < 2; rss++) {
		struct vnet_fixture *f = start("netdev=n0,mq=on,rss=on,hash=on",
					       F(CTRL_VQ) | F(MQ) | F(HASH_REPORT) | F(MRG_RXBUF) |
						       (rss ? F(RSS) : 0),
					       false);
		struct rss_config c = config();
		struct {
			uint32_t types;
			uint16_t reserved[4];
			uint8_t key_len, key[40];
		} __attribute__((packed)) hash = {.types = TYPES, .key_len = 40};
		const struct virtio_net_hdr_v1_hash *hdr;
		uint32_t value = make(77);
		unsigned int to = rss ? c.table[value & 7] : 0;

		memcpy(hash.key, c.key, 40);
		assert_int_equal(f->vn->set.hdr_len, 20);
		assert_int_equal(f->fake.net.hdr_len, 20);
		/* nothing is hashed until the driver says so */
		hdr = (const struct virtio_net_hdr_v1_hash *)at(f, 0x10000);
		give_pair(f, 0, 2000);
		memset(at(f, 0x10000), 0xee, 20);
		comes_on(f, 0, 100);
		assert_int_equal(taken_by(f, 20, 100), 0);
		assert_int_equal(hdr->hash_value, 0);
		assert_int_equal(hdr->hash_report, VIRTIO_NET_HASH_REPORT_NONE);
		assert_int_equal(hdr->hdr.num_buffers, 1);
		if (rss)
			assert_int_equal(set_rss(f, &c), VIRTIO_NET_OK);
		else
			assert_int_equal(
				mq_command(f, VIRTIO_NET_CTRL_MQ_HASH_CONFIG, &hash, sizeof(hash)),
				VIRTIO_NET_OK);
		hdr = (const struct virtio_net_hdr_v1_hash *)at(f, 0x10000 * (to + 1));
		give_pair(f, 0, 2000);
		if (to)
			give_pair(f, to, 2000);
		comes_on(f, 0, 100);
		assert_int_equal(taken_by(f, 20, 100), (int)to);
		assert_int_equal(hdr->hash_value, value);
		assert_int_equal(hdr->hash_report, VIRTIO_NET_HASH_REPORT_UDPv4);
		/* sent frames have the long header, too */
		vdriver_add(&f->tx, &(struct vdriver_buf){VNET_BUFFERS + 4096, 120, false}, 1);
		assert_true(vnet_step(f));
		assert_int_equal(f->fake.kept[0]->len, 100);
		vnet_fixture_free(f);
	}
}

/* A back end without headers: the guest has its own, all zero, and the hash. */
static void test_report_without_header(void **state)
{
	struct vnet_fixture *f = vnet_fixture_new("netdev=n0,hash=on", false, 0, NULL);
	static const uint8_t zero[10];

	vnet_driver_ok(f, F(CTRL_VQ) | F(HASH_REPORT), false, 64);
	make(1);
	give_pair(f, 0, 2000);
	memset(at(f, 0x10000), 0xee, 20);
	comes_on(f, 0, 100);
	assert_int_equal(taken_by(f, 20, 100), 0);
	assert_memory_equal(at(f, 0x10000), zero, 10);
	assert_memory_equal(at(f, 0x10000 + 12), zero, 8);
	memset(at(f, 4096), 0, 20);
	memcpy(at(f, 4096 + 20), frame, 100);
	vdriver_add(&f->tx, &(struct vdriver_buf){VNET_BUFFERS + 4096, 120, false}, 1);
	assert_true(vnet_step(f));
	assert_int_equal(f->fake.sent_len, 100);
	assert_memory_equal(f->fake.sent, frame, 100);
	vnet_fixture_free(f);
}

#define REFUSED(change)                                           \
	do {                                                      \
		struct rss_config c = config();                   \
		change;                                           \
		assert_int_equal(set_rss(f, &c), VIRTIO_NET_ERR); \
	} while (0)

/* Tables that make no sense are refused, and leave what was. */
static void test_bad_tables(void **state)
{
	struct vnet_fixture *f = start("netdev=n0,mq=on,rss=on", RSS, false);
	struct rss_config good = config();
	uint8_t data[600];

	assert_int_equal(set_rss(f, &good), VIRTIO_NET_OK);
	REFUSED(c.types |= 0x200);
	REFUSED(c.mask = 6);
	REFUSED(c.mask = 15); /* then everything behind it is in the wrong place */
	REFUSED(c.mask = 0xffff);
	REFUSED(c.mask = 0xff);
	REFUSED(c.unclassified = 4);
	REFUSED(c.unclassified = 0x8000);
	REFUSED(c.table[7] = 4);
	REFUSED(c.table[0] = 0xffff);
	REFUSED(c.max_tx = 0);
	REFUSED(c.max_tx = 5);
	REFUSED(c.key_len = 41);
	REFUSED(c.key_len = 39); /* a byte too many */
	for (uint32_t len = 1; len <= sizeof(data); len++) {
		memset(data, 0, sizeof(data));
		memcpy(data, &good, sizeof(good));
		if (len != sizeof(good))
			assert_int_equal(mq_command(f, VIRTIO_NET_CTRL_MQ_RSS_CONFIG, data, len),
					 VIRTIO_NET_ERR);
	}
	assert_int_equal(mq_command(f, VIRTIO_NET_CTRL_MQ_HASH_CONFIG, data, 12), VIRTIO_NET_ERR);
	assert_true(f->vn->pair[1].set.rss.steer);
	assert_memory_equal(f->vn->pair[1].set.rss.key, good.key, 40);
	/* a back end that refuses more queues */
	assert_int_equal(mq_command(f, VIRTIO_NET_CTRL_MQ_VQ_PAIRS_SET, &(uint16_t){1}, 2), 0);
	f->fake.set_queues_result = -EBADFD;
	assert_int_equal(set_rss(f, &good), VIRTIO_NET_ERR);
	assert_false(f->vn->pair[0].set.rss.on);
	assert_false(virtio_is_latched(&f->vn->vdev));
	vnet_fixture_free(f);
	/* not negotiated */
	f = start("netdev=n0,mq=on,rss=on", F(CTRL_VQ) | F(MQ), false);
	assert_int_equal(set_rss(f, &good), VIRTIO_NET_ERR);
	vnet_fixture_free(f);
}

/* A short key is one that ends in zeros; a table of one entry and of the longest that there may be. */
static void test_sizes(void **state)
{
	struct vnet_fixture *f = start("netdev=n0,mq=on,rss=on", RSS, false);
	struct {
		uint32_t types;
		uint16_t mask, unclassified, table[128], max_tx;
		uint8_t key_len, key[10];
	} __attribute__((packed)) big = {.types = TYPES, .mask = 127, .max_tx = 1, .key_len = 10};
	struct {
		uint32_t types;
		uint16_t mask, unclassified, table[1], max_tx;
		uint8_t key_len;
	} __attribute__((packed)) small = {.types = TYPES, .table = {1}, .max_tx = 1};

	/* pairs that the table names receive, although they don't send */
	assert_int_equal(mq_command(f, VIRTIO_NET_CTRL_MQ_RSS_CONFIG, &small, sizeof(small)), 0);
	assert_int_equal(f->fake.n_active, 2);
	make(1);
	give_pair(f, 0, 2000);
	give_pair(f, 1, 2000);
	comes_on(f, 0, 60);
	assert_int_equal(taken_by(f, 12, 60), 1);
	big.table[127] = 3;
	memset(big.key, 0xff, sizeof(big.key));
	assert_int_equal(mq_command(f, VIRTIO_NET_CTRL_MQ_RSS_CONFIG, &big, sizeof(big)), 0);
	assert_int_equal(f->vn->pair[0].set.rss.table[127], 3);
	assert_int_equal(f->vn->pair[0].set.rss.key[9], 0xff);
	assert_int_equal(f->vn->pair[0].set.rss.key[10], 0);
	assert_int_equal(f->fake.n_active, 4);
	/* fewer are not meant: see ctrl_rss() */
	assert_int_equal(mq_command(f, VIRTIO_NET_CTRL_MQ_RSS_CONFIG, &small, sizeof(small)), 0);
	assert_int_equal(f->fake.n_active, 4);
	vnet_fixture_free(f);
}

/* ---- with threads ---- */

#define STRESS_FRAMES 20000

struct stress {
	struct vnet_pair *pair;
	unsigned int sent; /* atomic: STRESS_FRAMES + 1 when it is through */
};

/* What a pair's thread does with frames that are another one's. */
static void *hand_over(void *arg)
{
	struct stress *s = arg;
	uint32_t data[300];
	struct vnet_frame frame = {.len = sizeof(data), .rest = (const uint8_t *)data};

	for (uint32_t i = 1; i <= STRESS_FRAMES; i++) {
		for (unsigned int j = 0; j < 300; j++)
			data[j] = i * 300 + j;
		data[0] = s->pair->index;
		data[1] = i;
		if (vnet_rss_keeps(s->pair, &frame))
			abort();
		if (i % 16 == 0)
			usleep(20);
	}
	__atomic_store_n(&s->sent, STRESS_FRAMES + 1, __ATOMIC_RELEASE);
	return NULL;
}

/* Three pairs' threads hand frames to the fourth's, faster than it takes them: each comes whole, once and in
 * order, or is counted as lost. */
static void test_threads(void **state)
{
	struct vnet_fixture *f = start("netdev=n0,mq=on,rss=on", RSS, false);
	struct rss_config c = config();
	struct stress s[3] = {{0}};
	uint32_t last[3] = {0};
	unsigned int got = 0, lost = 0, through = 0;
	pthread_t thread[3];

	for (unsigned int i = 0; i < 8; i++)
		c.table[i] = 3;
	c.unclassified = 3;
	assert_int_equal(set_rss(f, &c), VIRTIO_NET_OK);
	for (unsigned int i = 0; i < 3; i++) {
		s[i].pair = &f->vn->pair[i];
		assert_int_equal(pthread_create(&thread[i], NULL, hand_over, &s[i]), 0);
	}
	while (through < 3 || vnet_rss_waiting(&f->vn->pair[3])) {
		struct vnet_frame frame;
		const uint32_t *data;

		through = 0;
		for (unsigned int i = 0; i < 3; i++)
			through += __atomic_load_n(&s[i].sent, __ATOMIC_ACQUIRE) != 0;
		if (!vnet_rss_take(&f->vn->pair[3], &frame))
			continue;
		data = (const uint32_t *)frame.rest;
		assert_int_equal(frame.len, 1200);
		assert_true(data[0] < 3 && data[1] > last[data[0]]);
		last[data[0]] = data[1];
		for (unsigned int j = 2; j < 300; j++)
			assert_int_equal(data[j], data[1] * 300 + j);
		vnet_rss_done(frame.slot);
		got++;
	}
	for (unsigned int i = 0; i < 3; i++) {
		pthread_join(thread[i], NULL);
		lost += (unsigned int)counter_get(&f->vn->pair[i].counters.rx_steer_full);
	}
	assert_int_equal(got + lost, 3 * STRESS_FRAMES);
	assert_true(got > 1000);
	vnet_fixture_free(f);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_threads),	   cmocka_unit_test(test_offer),
		cmocka_unit_test(test_steer),	   cmocka_unit_test(test_behind),
		cmocka_unit_test(test_report),	   cmocka_unit_test(test_report_without_header),
		cmocka_unit_test(test_bad_tables), cmocka_unit_test(test_sizes),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
