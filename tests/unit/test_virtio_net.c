/*
 * virtio-net at the level of its rings: what a driver writes, what the back end gets, and the other
 * way round.
 */
#include "offload_packet.h"
#include "vnet_driver.h"

#define GUEST_BIG (F(GUEST_CSUM) | F(GUEST_TSO4) | F(GUEST_TSO6))

static uint8_t pattern[70000]; /* frames: broadcast, then bytes that tell their place */

/* ---- send ---- */

/* A header and a frame, however the driver cuts them into descriptors, arrive as one row of bytes.
 */
static void send_cut(bool legacy, unsigned int hdr_len, const uint32_t *cuts, unsigned int n)
{
	struct vnet_fixture *f = start("netdev=n0", 0, legacy);
	struct vdriver_buf buf[8];
	uint64_t gpa = VNET_BUFFERS;
	uint32_t total = 0;

	assert_int_equal(f->vn->set.hdr_len, hdr_len);
	for (unsigned int i = 0; i < n; i++) {
		buf[i] = (struct vdriver_buf){gpa, cuts[i], false};
		memcpy(at(f, gpa - VNET_BUFFERS), pattern + total, cuts[i]);
		gpa += cuts[i] + 100;
		total += cuts[i];
	}
	vdriver_add(&f->tx, buf, n);
	assert_true(vnet_step(f));
	assert_int_equal(f->fake.n_sent, 1);
	assert_int_equal(f->fake.sent_len, total);
	assert_memory_equal(f->fake.sent, pattern, total);
	assert_int_equal(take(&f->tx).len, 0);
	none(&f->tx);
	assert_int_equal(f->interrupts[VNET_TXQ], 1);
	vnet_fixture_free(f);
}

static void test_send(void **state)
{
	send_cut(false, 12, (const uint32_t[]){12, 64}, 2);
	send_cut(false, 12, (const uint32_t[]){76}, 1);
	send_cut(false, 12, (const uint32_t[]){5, 3, 10, 100}, 4);
	send_cut(true, 10, (const uint32_t[]){10, 1514}, 2);
	send_cut(true, 10, (const uint32_t[]){1524}, 1);
	send_cut(false, 12, (const uint32_t[]){12, 30000, 35000}, 3);
}

static void test_send_without_header(void **state)
{
	struct err err;
	struct vnet_fixture *f = vnet_fixture_new("netdev=n0", false, 0, &err);
	struct vdriver_buf cut[3] = {{VNET_BUFFERS, 5, false},
				     {VNET_BUFFERS + 100, 10, false},
				     {VNET_BUFFERS + 200, 61, false}};

	assert_non_null(f);
	/* what the guest sends, vireo finishes; what it gets is finished */
	assert_int_equal(f->vn->vdev.features_offered &
				 (F(CSUM) | F(GUEST_CSUM) | F(HOST_TSO4) | F(GUEST_TSO4) | F(GSO) |
				  F(CTRL_GUEST_OFFLOADS)),
			 F(CSUM) | F(HOST_TSO4) | F(GSO));
	vnet_driver_ok(f, ~0ull, false, 64);
	memset(at(f, 0), 0, 100);
	memset(at(f, 100 + 7), 0xff, 200);
	memcpy(at(f, 100 + 7), pattern, 3);
	memcpy(at(f, 200), pattern + 3, 61);
	vdriver_add(&f->tx, cut, 3);
	assert_true(vnet_step(f));
	assert_int_equal(f->fake.sent_len, 64);
	assert_memory_equal(f->fake.sent, pattern, 64);
	/* nothing behind the header */
	vdriver_add(&f->tx, &(struct vdriver_buf){VNET_BUFFERS, 12, false}, 1);
	assert_true(vnet_step(f));
	assert_int_equal(f->fake.n_sent, 1);
	assert_int_equal(counter_get(&f->fake.queue.counters.tx_dropped_refused), 1);
	assert_int_equal(vdriver_used_idx(&f->tx), 2);
	vnet_fixture_free(f);
}

/* TSO to a back end without a header; one that is full in the middle, and a queue that is reset then. */
static void test_segments_without_header(void **state)
{
	struct packet_kind kind = {.gso_type = NET_GSO_TCPV4, .payload = 14480};
	struct packet_check check = {.unit = 1448};
	struct err err;
	struct vnet_fixture *f = vnet_fixture_new("netdev=n0", false, 0, &err);
	struct vdriver_buf buf[2] = {{VNET_BUFFERS, 12, false}, {VNET_BUFFERS + 100, 0, false}};
	struct packet p;

	vnet_driver_ok(f, ~0ull, false, 64);
	packet_make(&p, &kind, 1448);
	check.p = &p;
	buf[1].len = (uint32_t)p.len;
	memcpy(at(f, 0), &p.hdr, 12);
	memcpy(at(f, 100), p.data, p.len);
	vdriver_add(&f->tx, buf, 2);
	assert_true(vnet_step(f));
	assert_int_equal(f->fake.n_sent, 10);
	for (unsigned int i = 0; i < 10; i++)
		packet_check_segment(&check, &f->fake.kept[i]->hdr, f->fake.kept[i]->data,
				     f->fake.kept[i]->len);
	assert_null(check.wrong);
	assert_int_equal(check.done, 14480);
	assert_memory_equal(at(f, 100), p.data, p.len);
	assert_int_equal(vdriver_used_idx(&f->tx), 1);
	f->vn->pair[0].nq->segments_sent = 4;
	vnet_tx_stop(&f->vn->pair[0]);
	assert_int_equal(f->vn->pair[0].nq->segments_sent, 0);
	free(p.data);
	vnet_fixture_free(f);
}

/* Many frames: batches, in order, one flush for up to 64 of them. */
static void test_send_batches(void **state)
{
	struct vnet_fixture *f = start("netdev=n0", 0, false);

	for (unsigned int i = 0; i < 100; i++)
		vdriver_add(&f->tx, &(struct vdriver_buf){VNET_BUFFERS + i, 100, false}, 1);
	assert_true(vnet_step(f));
	assert_int_equal(f->fake.n_sent, 100);
	assert_int_equal(vdriver_used_idx(&f->tx), 100);
	assert_int_equal(counter_get(&f->vn->vdev.queue[VNET_TXQ].ring.counters.batches), 2);
	vnet_fixture_free(f);
}

/* The host is full: the frame waits, nothing is lost, nothing is reordered; a stop gives it back.
 */
static void test_send_blocked(void **state)
{
	struct vnet_fixture *f = start("netdev=n0", 0, false);

	f->fake.full = true;
	memcpy(at(f, 0), pattern, 200);
	vdriver_add(&f->tx, &(struct vdriver_buf){VNET_BUFFERS, 80, false}, 1);
	vdriver_add(&f->tx, &(struct vdriver_buf){VNET_BUFFERS, 90, false}, 1);
	assert_true(vnet_step(f));
	assert_int_equal(vdriver_used_idx(&f->tx), 0);
	assert_true(f->vn->pair[0].lf.events & EPOLLOUT);
	assert_false(f->vn->vdev.queue[VNET_TXQ].wants_kicks);
	f->fake.full = false;
	assert_true(vnet_step(f));
	assert_int_equal(vdriver_used_idx(&f->tx), 2);
	assert_int_equal(f->fake.sent_len, 90);
	assert_int_equal(counter_get(&f->fake.queue.counters.tx_blocked), 1);
	assert_true(f->vn->vdev.queue[VNET_TXQ].wants_kicks);
	assert_int_equal(f->vn->pair[0].lf.events & EPOLLOUT, 0);

	f->fake.full = true;
	vdriver_add(&f->tx, &(struct vdriver_buf){VNET_BUFFERS, 80, false}, 1);
	assert_true(vnet_step(f));
	virtio_set_dma(&f->vn->vdev, false);
	assert_null(f->vn->pair[0].lf.loop);
	assert_int_equal(f->vn->vdev.queue[VNET_TXQ].position, 2);
	f->fake.full = false;
	virtio_set_dma(&f->vn->vdev, true);
	assert_true(vnet_step(f));
	assert_int_equal(vdriver_used_idx(&f->tx), 3);
	vnet_fixture_free(f);
}

static void test_send_malformed(void **state)
{
	struct vnet_fixture *f = start("netdev=n0", 0, false);

	vdriver_add(&f->tx, &(struct vdriver_buf){VNET_BUFFERS, 11, false}, 1);
	assert_true(vnet_step(f));
	assert_true(virtio_is_latched(&f->vn->vdev));
	assert_int_equal(f->config_interrupts, 1);
	assert_int_equal(f->fake.n_sent, 0);
	assert_false(f->vn->vdev.queue[VNET_RXQ].running);
	/* and it comes back */
	virtio_set_status(&f->vn->vdev, 0, false);
	memset(f->ram, 0, 0x40000);
	vnet_driver_ok(f, 0, false, 256);
	vdriver_add(&f->tx, &(struct vdriver_buf){VNET_BUFFERS, 80, false}, 1);
	assert_true(vnet_step(f));
	assert_int_equal(f->fake.n_sent, 1);
	vnet_fixture_free(f);
}

/* ---- receive ---- */

static void test_receive(void **state)
{
	struct vnet_fixture *f = start("netdev=n0", 0, false);
	struct net_hdr *hdr = (struct net_hdr *)at(f, 0);

	give(f, 0, 1530);
	give(f, 2000, 1530);
	memset(at(f, 0), 0xee, 4000);
	fake_incoming(f, pattern, 64);
	f->fake.incoming[0].hdr = (struct net_hdr){.flags = 2, .csum_start = 7};
	fake_incoming(f, pattern + 1000, 1518);
	assert_true(vnet_step(f));
	assert_int_equal(take(&f->rx).len, 12 + 64);
	assert_int_equal(take(&f->rx).len, 12 + 1518);
	assert_memory_equal(at(f, 12), pattern, 64);
	assert_memory_equal(at(f, 2012), pattern + 1000, 1518);
	assert_int_equal(hdr->num_buffers, 1);
	assert_int_equal(hdr->flags, 0); /* GUEST_CSUM wasn't taken */
	assert_int_equal(at(f, 12 + 64)[0], 0xee);
	assert_int_equal(f->interrupts[VNET_RXQ], 1);
	assert_int_equal(counter_get(&f->vn->vdev.queue[VNET_RXQ].ring.counters.batches), 1);
	/* a plain read: the buffers are long enough for any frame there is */
	assert_int_equal(f->fake.pieces_max, 1);
	vnet_fixture_free(f);
}

static void test_receive_legacy(void **state)
{
	struct vnet_fixture *f = start("netdev=n0", F(GUEST_CSUM), true);
	struct vdriver_buf buf[2] = {{VNET_BUFFERS, 10, true}, {VNET_BUFFERS + 100, 1518, true}};

	assert_int_equal(f->vn->set.hdr_len, 10);
	vdriver_add(&f->rx, buf, 2);
	fake_incoming(f, pattern, 777);
	f->fake.incoming[0].hdr.flags = 2;
	assert_true(vnet_step(f));
	assert_int_equal(take(&f->rx).len, 787);
	assert_memory_equal(at(f, 100), pattern, 777);
	assert_int_equal(at(f, 0)[0], 2);
	assert_int_equal(f->fake.pieces_max, 2);
	vnet_fixture_free(f);
}

static void test_receive_without_header(void **state)
{
	struct err err;
	struct vnet_fixture *f = vnet_fixture_new("netdev=n0", false, 0, &err);
	struct vdriver_buf buf[3] = {{VNET_BUFFERS, 5, true},
				     {VNET_BUFFERS + 10, 7, true},
				     {VNET_BUFFERS + 100, 1518, true}};
	static const uint8_t zero[10];

	vnet_driver_ok(f, F(MRG_RXBUF), false, 64);
	memset(at(f, 0), 0xee, 8192);
	vdriver_add(&f->rx, buf, 3);
	give(f, 4096, 1530);
	fake_incoming(f, pattern, 64);
	fake_incoming(f, pattern, 1514);
	assert_true(vnet_step(f));
	assert_int_equal(take(&f->rx).len, 76);
	assert_int_equal(take(&f->rx).len, 1526);
	assert_memory_equal(at(f, 0), zero, 5);
	assert_memory_equal(at(f, 10), zero, 5);
	assert_int_equal(at(f, 15)[0] | at(f, 15)[1] << 8, 1);
	assert_memory_equal(at(f, 100), pattern, 64);
	assert_memory_equal(at(f, 4096), zero, 10);
	assert_memory_equal(at(f, 4096 + 12), pattern, 1514);
	vnet_fixture_free(f);
}

/* Buffers that are given again and again lie in a circle of so many bytes. */
#define CIRCLE (1024 * 1536)

/* Checks that the next frame in the used ring is len bytes of the pattern, over buffers of buf_len
 * bytes that were given one after the other; returns how many it took. */
static unsigned int check_merged(struct vnet_fixture *f, uint64_t *offset, uint32_t buf_len,
				 size_t len)
{
	unsigned int n = 0, want = ((const struct net_hdr *)at(f, *offset % CIRCLE))->num_buffers;
	size_t got = 0;

	while (got < len + 12) {
		struct vring_used_elem e = take(&f->rx);
		size_t skip = n ? 0 : 12;

		assert_true(e.len <= buf_len);
		assert_memory_equal(at(f, *offset % CIRCLE + skip), pattern + (got + skip - 12),
				    e.len - skip);
		got += e.len;
		*offset += buf_len;
		n++;
	}
	assert_int_equal(got, len + 12);
	assert_int_equal(n, want);
	return n;
}

static void test_receive_mergeable(void **state)
{
	struct vnet_fixture *f = start("netdev=n0", F(MRG_RXBUF) | GUEST_BIG, false);
	uint64_t offset = 0;

	for (unsigned int i = 0; i < 200; i++)
		give(f, i * 1536, 1536);
	fake_incoming(f, pattern, 64);
	fake_incoming(f, pattern, 65550); /* long ones: the first through the overflow, */
	fake_incoming(f, pattern, 65550); /* the second straight */
	fake_incoming(f, pattern, 1524);
	fake_incoming(f, pattern, 1525);
	assert_true(vnet_step(f));
	assert_int_equal(check_merged(f, &offset, 1536, 64), 1);
	assert_int_equal(f->fake.in_first, f->fake.in_end);
	assert_int_equal(check_merged(f, &offset, 1536, 65550), 43);
	assert_int_equal(check_merged(f, &offset, 1536, 65550), 43);
	assert_int_equal(check_merged(f, &offset, 1536, 1524), 1);
	assert_int_equal(check_merged(f, &offset, 1536, 1525), 2);
	none(&f->rx);
	assert_int_equal(counter_get(&f->vn->pair[0].counters.rx_bounced), 65550 + 12 - 1536);
	/* 43 buffers are room enough for any frame: no overflow behind them */
	assert_int_equal(f->fake.pieces_max, 43);
	vnet_fixture_free(f);
}

/* After long frames the list of pieces gets short again, and the buffers popped meanwhile are used
 * in order. */
static void test_receive_window_shrinks(void **state)
{
	struct vnet_fixture *f = start("netdev=n0", F(MRG_RXBUF) | GUEST_BIG, false);
	uint64_t offset = 0;

	for (unsigned int i = 0; i < 250; i++)
		give(f, i * 1536, 1536);
	fake_incoming(f, pattern, 60000);
	assert_true(vnet_step(f));
	check_merged(f, &offset, 1536, 60000);
	for (unsigned int i = 0; i < 400; i++) {
		give(f, (250 + i) * 1536, 1536);
		if (i == 390)
			f->fake.pieces_max = 0;
		fake_incoming(f, pattern, 100);
		assert_true(vnet_step(f));
		assert_int_equal(check_merged(f, &offset, 1536, 100), 1);
	}
	assert_int_equal(f->fake.pieces_max, 2);
	vnet_fixture_free(f);
}

/* A stream of long frames: the window never gets empty, and moves through its arrays many times. */
static void test_receive_stream(void **state)
{
	struct vnet_fixture *f = start("netdev=n0", F(MRG_RXBUF) | GUEST_BIG, false);
	uint64_t offset = 0, given = 0;

	for (unsigned int i = 0; i < 100; i++) {
		for (; given < offset + 250 * 1536; given += 1536)
			give(f, given % CIRCLE, 1536);
		fake_incoming(f, pattern, 60000 + i);
		assert_true(vnet_step(f));
		assert_int_equal(check_merged(f, &offset, 1536, 60000 + i), 40);
	}
	assert_int_equal(counter_get(&f->vn->pair[0].counters.rx_too_long), 0);
	vnet_fixture_free(f);
}

/* The same with buffers of two pieces each. */
static void test_receive_stream_of_pieces(void **state)
{
	struct vnet_fixture *f = start("netdev=n0", F(MRG_RXBUF) | GUEST_BIG, false);
	uint64_t offset = 0, given = 0;

	for (unsigned int i = 0; i < 100; i++) {
		for (; given < offset + 120 * 1536; given += 1536) {
			struct vdriver_buf buf[2] = {
				{VNET_BUFFERS + given % CIRCLE, 700, true},
				{VNET_BUFFERS + given % CIRCLE + 700, 836, true}};

			vdriver_add(&f->rx, buf, 2);
		}
		fake_incoming(f, pattern, 60000 + i);
		assert_true(vnet_step(f));
		assert_int_equal(check_merged(f, &offset, 1536, 60000 + i), 40);
	}
	vnet_fixture_free(f);
}

/* A frame for which there isn't room yet waits, half read, and loses nothing. */
static void test_receive_held(void **state)
{
	struct vnet_fixture *f = start("netdev=n0", F(MRG_RXBUF) | GUEST_BIG, false);
	uint64_t offset = 0;

	give(f, 0, 1000);
	give(f, 1000, 1000);
	fake_incoming(f, pattern, 3500);
	fake_incoming(f, pattern, 500);
	assert_true(vnet_step(f));
	none(&f->rx);
	assert_int_equal(counter_get(&f->vn->pair[0].counters.rx_held), 1);
	assert_true(f->vn->vdev.queue[VNET_RXQ].wants_kicks);
	give(f, 2000, 1000);
	assert_true(vnet_step(f));
	none(&f->rx);
	give(f, 3000, 1000);
	assert_true(vnet_step(f));
	assert_int_equal(check_merged(f, &offset, 1000, 3500), 4);
	none(&f->rx);
	give(f, 4000, 1000);
	assert_true(vnet_step(f));
	assert_int_equal(check_merged(f, &offset, 1000, 500), 1);
	assert_int_equal(counter_get(&f->vn->pair[0].counters.rx_held), 1);
	assert_int_equal(counter_get(&f->vn->pair[0].counters.rx_too_long), 0);
	vnet_fixture_free(f);
}

/* The whole ring isn't enough: waiting would be for ever. */
static void test_receive_longer_than_the_ring(void **state)
{
	struct err err;
	struct vnet_fixture *f = vnet_fixture_new("netdev=n0", true, ALL_OFFLOADS, &err);
	uint64_t offset = 0;

	vnet_driver_ok(f, F(MRG_RXBUF) | GUEST_BIG, false, 16);
	for (unsigned int i = 0; i < 16; i++)
		give(f, i * 100, 100);
	fake_incoming(f, pattern, 3000);
	fake_incoming(f, pattern, 500);
	assert_true(vnet_step(f));
	assert_int_equal(counter_get(&f->vn->pair[0].counters.rx_too_long), 1);
	assert_int_equal(check_merged(f, &offset, 100, 500), 6);
	vnet_fixture_free(f);
}

/* A buffer of n pieces of len bytes each, by an indirect table. */
static void give_pieces(struct vnet_fixture *f, uint64_t offset, unsigned int n, uint32_t len)
{
	struct vdriver *d = &f->rx;
	uint16_t head = d->next_desc++ % d->size;
	uint64_t table = VNET_BUFFERS + offset, data = table + 16 * (uint64_t)n;

	for (unsigned int i = 0; i < n; i++)
		vdriver_desc(d, table, (uint16_t)i, data + (uint64_t)i * len, len,
			     (uint16_t)(VRING_DESC_F_WRITE | (i + 1 < n ? VRING_DESC_F_NEXT : 0)),
			     (uint16_t)(i + 1));
	vdriver_desc(d, d->desc, head, table, 16 * n, VRING_DESC_F_INDIRECT, 0);
	vdriver_offer(d, head);
}

/* A frame waits for more buffers, and what comes then has more pieces than there is place for: the frame
 * is lost, and the queue goes on with that buffer. It must not be waited for. */
static void test_receive_too_many_pieces(void **state)
{
	struct vnet_fixture *f =
		start("netdev=n0",
		      F(MRG_RXBUF) | GUEST_BIG | virtio_bit(VIRTIO_RING_F_INDIRECT_DESC), false);

	give_pieces(f, 0, 600, 1);
	fake_incoming(f, pattern, 3000);
	assert_true(vnet_step(f));
	assert_true(f->vn->pair[0].rx.held);
	assert_true(vnet_sleeps(f));
	give_pieces(f, 0x10000, 600, 2);
	assert_true(vnet_step(f));
	assert_true(vnet_sleeps(f));
	assert_false(f->vn->pair[0].rx.held);
	assert_int_equal(counter_get(&f->vn->pair[0].counters.rx_too_long), 1);
	/* both buffers are good for frames that fit */
	fake_incoming(f, pattern, 500);
	fake_incoming(f, pattern, 1100);
	assert_true(vnet_step(f));
	assert_int_equal(take(&f->rx).len, 512);
	assert_int_equal(take(&f->rx).len, 1112);
	assert_memory_equal(at(f, 600 * 16 + 12), pattern, 500);
	assert_memory_equal(at(f, 0x10000 + 600 * 16 + 12), pattern, 1100);
	assert_false(virtio_is_latched(&f->vn->vdev));
	vnet_fixture_free(f);
}

/* Without mergeable buffers, a frame that is longer than its buffer is lost, and the buffer is not.
 */
static void test_receive_too_long(void **state)
{
	struct vnet_fixture *f = start("netdev=n0", GUEST_BIG, false);

	give(f, 0, 1000);
	give(f, 1000, 1000);
	fake_incoming(f, pattern, 1000);
	fake_incoming(f, pattern, 60000);
	fake_incoming(f, pattern, 988);
	assert_true(vnet_step(f));
	assert_int_equal(take(&f->rx).len, 1000);
	none(&f->rx);
	assert_memory_equal(at(f, 12), pattern, 988);
	assert_int_equal(counter_get(&f->vn->pair[0].counters.rx_too_long), 2);
	vnet_fixture_free(f);
}

/* No buffers: the back end is left alone until the driver rings. */
static void test_receive_starved(void **state)
{
	struct vnet_fixture *f = start("netdev=n0", 0, false);
	struct virtio_queue *queue = &f->vn->vdev.queue[VNET_RXQ];

	assert_true(vnet_step(f));
	fake_incoming(f, pattern, 100);
	assert_true(vnet_step(f));
	assert_int_equal(counter_get(&f->vn->pair[0].counters.rx_no_buffer), 1);
	assert_true(queue->wants_kicks);
	assert_null(f->vn->pair[0].lf.loop);
	assert_int_equal(f->fake.in_first, 0);
	assert_false(queue->poller.sleep_prepare(&queue->poller));
	give(f, 0, 1530);
	assert_true(queue->poller.sleep_prepare(
		&queue->poller)); /* came in before the doorbell was on */
	assert_true(vnet_step(f));
	assert_int_equal(take(&f->rx).len, 112);
	/* the buffer is used up, and that is found when the next frame comes */
	fake_incoming(f, pattern, 200);
	assert_true(vnet_step(f));
	assert_int_equal(counter_get(&f->vn->pair[0].counters.rx_no_buffer), 2);
	give(f, 2000, 1530);
	assert_true(vnet_step(f));
	assert_int_equal(take(&f->rx).len, 212);
	vnet_fixture_free(f);
}

static void latched_by(uint64_t features, const struct vdriver_buf *buf, unsigned int n)
{
	struct vnet_fixture *f = start("netdev=n0", features, false);

	vdriver_add(&f->rx, buf, n);
	fake_incoming(f, pattern, 64);
	assert_true(vnet_step(f));
	assert_true(virtio_is_latched(&f->vn->vdev));
	none(&f->rx);
	assert_null(f->vn->pair[0].lf.loop);
	vnet_fixture_free(f);
}

static void test_receive_malformed(void **state)
{
	/* shorter than the header */
	latched_by(0, &(struct vdriver_buf){VNET_BUFFERS, 11, true}, 1);
	/* not writable */
	latched_by(0, &(struct vdriver_buf){VNET_BUFFERS, 1530, false}, 1);
	/* outside RAM */
	latched_by(F(MRG_RXBUF), &(struct vdriver_buf){VNET_RAM + VNET_RAM_SIZE - 1, 2, true}, 1);
}

/* A reset while buffers are in the window and a frame is held gives all of them back. */
static void test_receive_reset(void **state)
{
	struct vnet_fixture *f = start("netdev=n0", F(MRG_RXBUF) | GUEST_BIG, false);
	struct virtio_queue *queue = &f->vn->vdev.queue[VNET_RXQ];
	uint64_t offset = 0;

	for (unsigned int i = 0; i < 10; i++)
		give(f, i * 1000, 1000);
	fake_incoming(f, pattern, 20000);
	assert_true(vnet_step(f));
	none(&f->rx);
	/* bus master off and on: the ring goes on where it was */
	virtio_set_dma(&f->vn->vdev, false);
	assert_false(queue->running);
	assert_int_equal(queue->position, 0);
	assert_int_equal(counter_get(&f->vn->pair[0].counters.rx_dropped_reset), 1);
	virtio_set_dma(&f->vn->vdev, true);
	fake_incoming(f, pattern, 5000);
	assert_true(vnet_step(f));
	assert_int_equal(check_merged(f, &offset, 1000, 5000), 6);
	vnet_fixture_free(f);
}

/* The interface is deleted: the file descriptor isn't watched any more, sending goes on being
 * counted. */
static void test_gone(void **state)
{
	struct vnet_fixture *f = start("netdev=n0", 0, false);

	give(f, 0, 1530);
	f->fake.gone = true;
	assert_true(vnet_step(f));
	assert_null(f->vn->pair[0].lf.loop);
	assert_false(virtio_is_latched(&f->vn->vdev));
	vdriver_add(&f->tx, &(struct vdriver_buf){VNET_BUFFERS, 80, false}, 1);
	assert_true(vnet_step(f));
	assert_int_equal(vdriver_used_idx(&f->tx), 1);
	vnet_fixture_free(f);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_send),
		cmocka_unit_test(test_send_without_header),
		cmocka_unit_test(test_segments_without_header),
		cmocka_unit_test(test_send_batches),
		cmocka_unit_test(test_send_blocked),
		cmocka_unit_test(test_send_malformed),
		cmocka_unit_test(test_receive),
		cmocka_unit_test(test_receive_legacy),
		cmocka_unit_test(test_receive_without_header),
		cmocka_unit_test(test_receive_mergeable),
		cmocka_unit_test(test_receive_window_shrinks),
		cmocka_unit_test(test_receive_stream),
		cmocka_unit_test(test_receive_stream_of_pieces),
		cmocka_unit_test(test_receive_held),
		cmocka_unit_test(test_receive_longer_than_the_ring),
		cmocka_unit_test(test_receive_too_many_pieces),
		cmocka_unit_test(test_receive_too_long),
		cmocka_unit_test(test_receive_starved),
		cmocka_unit_test(test_receive_malformed),
		cmocka_unit_test(test_receive_reset),
		cmocka_unit_test(test_gone),
	};

	for (size_t i = 6; i < sizeof(pattern); i++)
		pattern[i] = (uint8_t)(i * 7 + i / 251);
	memset(pattern, 0xff, 6);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
