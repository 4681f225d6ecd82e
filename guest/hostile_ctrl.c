/*
 * Hostile cases of virtio-net's control queue (virtio 1.3 section 5.1.6.5): commands of every size,
 * tables and numbers out of range, chains with no room for the answer. On a card with everything
 * that it offers; what it doesn't offer is to be refused.
 */
#include <linux/virtio_config.h>
#include <linux/virtio_net.h>

#include "hostile.h"
#include "lib.h"
#include "memory.h"
#include "virtio_net_mq.h"

#define CLASSES	 12
#define COMMANDS 8
#define SIZES	 72

#ifndef VIRTIO_NET_F_VQ_NOTF_COAL
#define VIRTIO_NET_F_VQ_NOTF_COAL 52
#endif

/* All that has commands. */
static const uint64_t wanted =
	1ull << VIRTIO_NET_F_CTRL_RX | 1ull << VIRTIO_NET_F_CTRL_RX_EXTRA |
	1ull << VIRTIO_NET_F_CTRL_VLAN | 1ull << VIRTIO_NET_F_CTRL_MAC_ADDR |
	1ull << VIRTIO_NET_F_CTRL_GUEST_OFFLOADS | 1ull << VIRTIO_NET_F_GUEST_CSUM |
	1ull << VIRTIO_NET_F_GUEST_TSO4 | 1ull << VIRTIO_NET_F_MRG_RXBUF |
	1ull << VIRTIO_NET_F_GUEST_ANNOUNCE | 1ull << VIRTIO_NET_F_STATUS |
	1ull << VIRTIO_NET_F_MQ | 1ull << VIRTIO_NET_F_RSS | 1ull << VIRTIO_NET_F_HASH_REPORT |
	1ull << VIRTIO_NET_F_NOTF_COAL | 1ull << VIRTIO_NET_F_VQ_NOTF_COAL;

struct rss {
	uint32_t types;
	uint16_t mask, unclassified, table[128], max_tx;
	uint8_t key_length, key[40];
} __attribute__((packed));

static struct net_mq *begin(struct hostile *h, const char **problem)
{
	struct net_mq *net = memory_alloc(sizeof(*net), 64);

	*problem = net_mq_open(net, h->t.index, h->t.transport, wanted);
	h->t.dev = net->dev; /* whether it has latched is asked there */
	return net;
}

/* Every class and command, every length; detail: the byte that all data are. */
static const char *sizes(struct hostile *h)
{
	const char *problem;
	struct net_mq *net = begin(h, &problem);

	if (problem)
		return problem;
	memset(h->scratch, hostile_now->detail, SIZES);
	for (uint32_t class = 0; class < CLASSES; class ++)
		for (uint32_t command = 0; command < COMMANDS; command++)
			for (uint32_t length = 0; length < SIZES; length++)
				if (net_mq_command(net, class, command, h->scratch, length) > 1)
					return "not-answered";
	return NULL;
}

/* Commands at random, of random lengths. */
static const char *at_random(struct hostile *h)
{
	const char *problem;
	struct net_mq *net = begin(h, &problem);

	if (problem)
		return problem;
	for (uint32_t i = 0; i < h->count; i++) {
		uint64_t r = random_next(&h->seed);
		uint32_t length = (r >> 16) % (r & 0x8000 ? NET_MQ_DATA : 64);

		for (uint32_t j = 0; j < length; j++)
			h->scratch[j] = random_next(&h->seed) >> (j & 1 ? 60 : 8);
		if (net_mq_command(net, r % 10, (r >> 8) % 5, h->scratch, length) > 1)
			return "not-answered";
	}
	return NULL;
}

static const char *pairs(struct hostile *h)
{
	const char *problem;
	struct net_mq *net = begin(h, &problem);
	uint16_t max;

	if (problem)
		return problem;
	max = virtio_has(&net->dev, VIRTIO_NET_F_MQ) ? net->n_pairs : 0;
	for (uint32_t n = 0; n <= 0xffff; n += n < 64 ? 1 : 257) {
		uint32_t want = n && n <= max ? VIRTIO_NET_OK : VIRTIO_NET_ERR;
		uint16_t data = n;

		if (net_mq_command(net, VIRTIO_NET_CTRL_MQ, VIRTIO_NET_CTRL_MQ_VQ_PAIRS_SET, &data,
				   2) != want)
			return n ? "number-out-of-range" : "no-pairs";
	}
	return NULL;
}

/* One field of a table out of range. */
static const char *rss(struct hostile *h)
{
	static const struct {
		uint16_t offset, value;
	} changes[] = {
		{0, 0x200},	   {0, 0xffff},	      {2, 0x8000},	 {4, 126},
		{4, 0xff},	   {4, 0xffff},	      {6, 0x7fff},	 {6, 0x8000},
		{8, 0xffff},	   {8, NET_MQ_PAIRS}, {8 + 254, 0x8000}, {8 + 256, 0},
		{8 + 256, 0xffff}, {8 + 258, 0xff},   {8 + 258, 41},	 {8 + 258, 39},
	};
	struct rss good = {.types = 0x3f, .mask = 127, .max_tx = 1, .key_length = 40}, bad;
	const char *problem;
	struct net_mq *net = begin(h, &problem);
	bool has;

	if (problem)
		return problem;
	has = virtio_has(&net->dev, VIRTIO_NET_F_RSS);
	for (uint32_t i = 0; i < ARRAY_SIZE(changes); i++) {
		if (net_mq_command(net, VIRTIO_NET_CTRL_MQ, VIRTIO_NET_CTRL_MQ_RSS_CONFIG, &good,
				   sizeof(good)) != (has ? VIRTIO_NET_OK : VIRTIO_NET_ERR))
			return "good-table";
		memcpy(&bad, &good, sizeof(bad));
		memcpy((uint8_t *)&bad + changes[i].offset, &changes[i].value, 2);
		if (net_mq_command(net, VIRTIO_NET_CTRL_MQ, VIRTIO_NET_CTRL_MQ_RSS_CONFIG, &bad,
				   sizeof(bad)) != VIRTIO_NET_ERR)
			return "bad-table-taken";
	}
	return NULL;
}

/* A table of addresses whose count is a lie, or more than fits anywhere. */
static const char *mac_table(struct hostile *h)
{
	static const uint32_t counts[] = {1,	      0x2aaaaaaa, 0x2aaaaaab,
					  0x7fffffff, 0x80000000, 0xffffffff};
	const char *problem;
	struct net_mq *net = begin(h, &problem);
	uint32_t data[2] = {0};

	if (problem)
		return problem;
	for (uint32_t i = 0; i < ARRAY_SIZE(counts); i++) {
		data[0] = counts[i];
		if (net_mq_command(net, VIRTIO_NET_CTRL_MAC, VIRTIO_NET_CTRL_MAC_TABLE_SET, data,
				   sizeof(data)) != VIRTIO_NET_ERR)
			return "count-believed";
	}
	return NULL;
}

/* All of scratch memory as one command's data. */
static const char *huge(struct hostile *h)
{
	const char *problem;
	struct net_mq *net = begin(h, &problem);
	const struct ring_segment s[3] = {
		{memory_address(net->command), 2},
		{memory_address(h->scratch), HOSTILE_SCRATCH},
		{memory_address(net->answer), 1},
	};

	if (problem)
		return problem;
	*(uint32_t *)h->scratch = (HOSTILE_SCRATCH - 8) / 6;
	for (uint32_t class = 0; class < CLASSES; class ++) {
		net->command[0] = class;
		net->command[1] = 0;
		if (!ring_add(&net->ctrl, s, 2, 1, net))
			return "ring-full";
		ring_publish(&net->ctrl);
		if (net_mq_answer(net) > 1)
			return "not-answered";
	}
	return NULL;
}

/* detail: bytes that the device reads, and bytes << 8 that it may write. */
static const char *no_room(struct hostile *h)
{
	const char *problem;
	struct net_mq *net = begin(h, &problem);
	uint32_t out = hostile_now->detail & 0xff, in = hostile_now->detail >> 8;
	struct ring_segment s[2] = {{memory_address(net->command), out},
				    {memory_address(net->answer), in}};

	if (problem)
		return problem;
	if (!out)
		s[0] = s[1];
	ring_add(&net->ctrl, s, out != 0, in != 0, net);
	ring_publish(&net->ctrl);
	return NULL;
}

/* Queues come and go in use by commands while others send on them: nothing waits for ever. */
static const char *busy(struct hostile *h)
{
	const char *problem;
	struct net_mq *net = begin(h, &problem);
	const struct ring_segment s = {memory_address(h->scratch), 80};
	uint32_t length;

	if (problem)
		return problem;
	for (uint32_t i = 0; i < h->count; i++) {
		uint16_t n = 1 + random_next(&h->seed) % net->n_pairs;

		for (uint32_t q = 0; q < net->n_pairs; q++) {
			while (ring_take(&net->tx[q], &length))
				;
			ring_add(&net->tx[q], &s, 1, 0, net);
			ring_publish(&net->tx[q]);
		}
		if (net_mq_command(net, VIRTIO_NET_CTRL_MQ, VIRTIO_NET_CTRL_MQ_VQ_PAIRS_SET, &n,
				   2) > 1)
			return "not-answered";
	}
	return NULL;
}

#define FRESH (NEEDS_CTRL | NEEDS_FRESH)

const struct hostile_case hostile_ctrl_cases[] = {
	{"ctrl-sizes-zero", MAY_LATCH, FRESH, sizes, 0},
	{"ctrl-sizes-one", MAY_LATCH, FRESH, sizes, 1},
	{"ctrl-sizes-ff", MAY_LATCH, FRESH, sizes, 0xff},
	{"ctrl-random", MAY_LATCH, FRESH, at_random, 0},
	{"ctrl-pairs", MAY_LATCH, FRESH, pairs, 0},
	{"ctrl-rss", MAY_LATCH, FRESH, rss, 0},
	{"ctrl-mac-table", MAY_LATCH, FRESH, mac_table, 0},
	{"ctrl-huge", MAY_LATCH, FRESH, huge, 0},
	{"ctrl-busy", MAY_LATCH, FRESH, busy, 0},
	{"ctrl-no-answer", MUST_LATCH, FRESH, no_room, 16},
	{"ctrl-no-class", MUST_LATCH, FRESH, no_room, 1 << 8},
	{"ctrl-no-command", MUST_LATCH, FRESH, no_room, 1 << 8 | 1},
	{NULL, MAY_LATCH, 0, NULL, 0},
};
