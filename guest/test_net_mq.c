/*
 * net-mq: a virtio-net card with several queue pairs. Sets 1, 2, ... pairs, and sends on each queue;
 * what isn't in use must not send, and what waited there goes out when it is.
 */
#include <linux/virtio_net.h>

#include "clock.h"
#include "frame.h"
#include "lib.h"
#include "memory.h"
#include "serial.h"
#include "test.h"
#include "virtio_net_mq.h"

#define SEND_TIMEOUT (5 * NS_PER_S)
#define IDLE_TIME    (20 * NS_PER_MS)
#define FRAME_SIZE   (sizeof(struct virtio_net_hdr_mrg_rxbuf) + 60)

static const struct test_param params[] = {
	{"index", "0", "which card"},
	{"count", "1000", "frames on each queue, for each number of queues"},
	{"transport", "auto", "auto, modern or legacy"},
	{NULL, NULL, NULL},
};

static uint32_t set_pairs(struct net_mq *net, uint16_t n)
{
	return net_mq_command(net, VIRTIO_NET_CTRL_MQ, VIRTIO_NET_CTRL_MQ_VQ_PAIRS_SET, &n,
			      sizeof(n));
}

/* Sends count frames on queues [0, n), all at the same time. */
static bool send_on(struct net_mq *net, uint32_t n, uint64_t count, const uint8_t *frame)
{
	const struct ring_segment s = {memory_address(frame), FRAME_SIZE};
	uint64_t sent[NET_MQ_PAIRS] = {0}, done = 0, start = clock_ns();
	uint32_t length;

	while (done < n * count) {
		for (uint32_t i = 0; i < n; i++) {
			while (sent[i] < count && ring_add(&net->tx[i], &s, 1, 0, net))
				sent[i]++;
			ring_publish(&net->tx[i]);
			while (ring_take(&net->tx[i], &length))
				done++;
			if (net->tx[i].broken)
				return false;
		}
		if (clock_ns() - start > SEND_TIMEOUT)
			return false;
		pause();
	}
	return true;
}

static bool is_sent(struct net_mq *net, uint32_t i, uint64_t timeout_ns)
{
	uint64_t start = clock_ns();
	uint32_t length;

	while (!ring_take(&net->tx[i], &length)) {
		if (clock_ns() - start > timeout_ns)
			return false;
		pause();
	}
	return true;
}

static const char *run_pairs(struct net_mq *net, uint64_t count, const uint8_t *frame)
{
	const struct ring_segment s = {memory_address(frame), FRAME_SIZE};

	for (uint16_t n = 1; n <= net->n_pairs; n++) {
		if (set_pairs(net, n) != VIRTIO_NET_OK)
			return "pairs-refused";
		if (!send_on(net, n, count, frame))
			return "not-sent";
		if (n == net->n_pairs)
			break;
		ring_add(&net->tx[n], &s, 1, 0, net);
		ring_publish(&net->tx[n]);
		if (is_sent(net, n, IDLE_TIME))
			return "sent-on-a-queue-not-in-use";
		if (set_pairs(net, n + 1) != VIRTIO_NET_OK)
			return "pairs-refused";
		if (!is_sent(net, n, SEND_TIMEOUT))
			return "not-sent-when-in-use";
	}
	if (set_pairs(net, 0) != VIRTIO_NET_ERR ||
	    set_pairs(net, net->n_pairs + 1) != VIRTIO_NET_ERR)
		return "bad-number-taken";
	return set_pairs(net, 1) == VIRTIO_NET_OK ? NULL : "pairs-refused";
}

static bool run(const struct test *test, const struct test_arg *args)
{
	struct net_mq *net = memory_alloc(sizeof(*net), 64);
	uint8_t *frame = memory_alloc(4096, 4096);
	enum virtio_transport transport;
	const char *problem;

	if (!virtio_transport_by_name(test_string(test, args, "transport"), &transport))
		return test_fail(test, "bad-parameter");
	problem = net_mq_open(net, test_number(test, args, "index"), transport,
			      1ull << VIRTIO_NET_F_MQ | 1ull << VIRTIO_NET_F_MRG_RXBUF);
	if (!problem && !virtio_has(&net->dev, VIRTIO_NET_F_MQ))
		problem = "no-multi-queue";
	if (problem)
		return test_fail(test, problem);
	memcpy(frame + sizeof(struct virtio_net_hdr_mrg_rxbuf), (const uint8_t[6])FRAME_PEER_MAC,
	       6);
	frame[sizeof(struct virtio_net_hdr_mrg_rxbuf) + 6] = 0x02;
	frame_put16(frame + sizeof(struct virtio_net_hdr_mrg_rxbuf) + 12, FRAME_ETHERTYPE);
	problem = run_pairs(net, test_number(test, args, "count"), frame);
	test_result(test, !problem);
	report(" pairs=%u problem=%s", net->n_pairs, problem ? problem : "none");
	net_mq_close(net);
	return !problem;
}

const struct test test_net_mq = {
	.name = "net-mq",
	.help = "sends on every queue of a virtio card with several",
	.params = params,
	.run = run,
};
