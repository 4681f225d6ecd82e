/*
 * net-rtt and net-echo: one frame at a time, there and back.
 */
#include "clock.h"
#include "lib.h"
#include "memory.h"
#include "serial.h"
#include "stats.h"
#include "traffic.h"

#define ECHO_BATCH 16
#define MAX_LOST   4 /* then the test gives up */

static const struct test_param rtt_params[] = {
	{"count", "10000", "round trips"},
	{"size", "64", "bytes of a frame"},
	{"peer", "10000", "wait so long for the peer, milliseconds"},
	{"delay", "0", "wait so long before looking for the peer, milliseconds"},
	{"pair", "0", "the peer is another guest"},
	{"timeout", "5000", "a frame that isn't back by then is lost, milliseconds"},
	{"stop", "1", "send a stop frame at the end"},
	{"gap", "0", "pause after each round trip, microseconds; spent in the guest, not halted"},
	NIC_PARAMS,
	{NULL, NULL, NULL},
};

static void pause_ns(uint64_t ns)
{
	uint64_t start = clock_ns();

	while (clock_ns() - start < ns)
		;
}

/* One round trip. Returns its time in ns, 0 if the frame didn't come back. */
static uint64_t round_trip(struct traffic_sender *s, struct traffic_receiver *r, uint64_t sequence,
			   uint64_t timeout_ns)
{
	uint64_t start = clock_ns(), ns = 0;
	struct nic_frame frame;
	struct frame_header h;

	if (!traffic_send_now(s, FRAME_DATA, sequence))
		return 0;
	while (!ns) {
		if (traffic_receive(r, &frame, &h)) {
			if (h.kind == FRAME_DATA && h.sequence == sequence)
				ns = clock_ns() - start;
			nic_release(r->nic, &frame);
			nic_refill(r->nic);
			continue;
		}
		if (r->nic->broken || clock_ns() - start > timeout_ns)
			break;
		nic_wait(r->nic, false, timeout_ns);
	}
	nic_reap(s->nic);
	return ns;
}

static bool run_rtt(const struct test *test, const struct test_arg *args)
{
	uint64_t count = test_number(test, args, "count"), lost = 0, start;
	uint64_t timeout_ns = test_number(test, args, "timeout") * NS_PER_MS;
	uint64_t gap_ns = test_number(test, args, "gap") * 1000;
	uint32_t size = test_number(test, args, "size"), n = 0;
	struct nic *nic = nic_open(test, args, MAX(size, 128u), false);
	struct traffic_receiver r = {.nic = nic};
	struct traffic_sender s;
	const char *error;
	uint32_t *times;
	bool ok;

	if (!nic)
		return false;
	error = traffic_init(&s, nic, TRAFFIC_PLAIN, size, 0);
	if (error)
		return nic_fail(test, nic, error);
	s.pair = test_number(test, args, "pair");
	traffic_delay(test_number(test, args, "delay"));
	if (!traffic_meet(&s, &r, test_number(test, args, "peer") * NS_PER_MS))
		return nic_fail(test, nic, "no-peer");
	times = memory_alloc(MAX(count, 1u) * sizeof(*times), 64);
	start = clock_ns();
	for (uint64_t i = 0; i < count && lost < MAX_LOST && !nic->broken; i++) {
		uint64_t ns = round_trip(&s, &r, i, timeout_ns);

		if (ns)
			times[n++] = MIN(ns, 0xffffffffu);
		else
			lost++;
		pause_ns(gap_ns);
	}
	start = clock_ns() - start;
	if (test_number(test, args, "stop"))
		traffic_send_now(&s, FRAME_STOP, count);
	ok = n == count && !r.bad && !nic->broken;
	test_result(test, ok);
	say(" round_trips=%u ns=%lu", n, start);
	stats_say(times, n);
	report(" lost=%lu bad=%lu doorbells=%lu interrupts=%lu", lost, r.bad, nic->tx_doorbells,
	       nic->interrupts);
	nic_close(nic);
	return ok;
}

const struct test test_net_rtt = {
	.name = "net-rtt",
	.help = "measures round trips of one frame at a time",
	.params = rtt_params,
	.run = run_rtt,
};

static const struct test_param echo_params[] = {
	{"count", "0", "end after so many frames, 0: at a stop frame or silence"},
	{"peer", "10000", "wait so long for the first frame, milliseconds"},
	{"idle", "5000", "end when no frame came for so long, milliseconds"},
	{"pair", "0", "the peer is another guest"},
	NIC_PARAMS,
	{NULL, NULL, NULL},
};

/* Sends the frame back to where it came from. False if there is no slot: then it is dropped. */
static bool send_back(struct nic *nic, const struct nic_frame *frame)
{
	struct nic_slot slot;
	uint32_t at = 0;

	if (frame->length > nic->frame_max)
		return false;
	nic_reap(nic);
	if (!nic_get(nic, &slot))
		return false;
	for (uint32_t i = 0; i < frame->n_parts; i++) {
		memcpy(slot.frame + at, frame->parts[i].data, frame->parts[i].length);
		at += frame->parts[i].length;
	}
	memcpy(slot.frame, slot.frame + 6, 6);
	memcpy(slot.frame + 6, nic->mac, 6);
	nic_send(nic, &slot, frame->length, NULL);
	return true;
}

static bool run_echo(const struct test *test, const struct test_arg *args)
{
	uint64_t count = test_number(test, args, "count"), dropped = 0, last;
	uint64_t idle_ns = test_number(test, args, "idle") * NS_PER_MS;
	struct nic *nic = nic_open(test, args, FRAME_MAX, false);
	struct traffic_receiver r = {.nic = nic};
	struct traffic_sender s;
	struct nic_frame frame;
	struct frame_header h;
	bool ok;

	if (!nic)
		return false;
	traffic_init(&s, nic, TRAFFIC_PLAIN, 64, 0);
	s.pair = test_number(test, args, "pair");
	if (!traffic_meet(&s, &r, test_number(test, args, "peer") * NS_PER_MS))
		return nic_fail(test, nic, "no-peer");
	last = clock_ns();
	while (!r.stopped && !nic->broken && (!count || r.frames < count)) {
		uint32_t n;

		for (n = 0; n < ECHO_BATCH && traffic_receive(&r, &frame, &h); n++) {
			if (h.kind == FRAME_DATA && !send_back(nic, &frame))
				dropped++;
			nic_release(nic, &frame);
		}
		if (n) {
			nic_flush(nic);
			nic_refill(nic);
			last = clock_ns();
		} else if (clock_ns() - last > idle_ns) {
			break;
		} else {
			nic_wait(nic, false, idle_ns);
		}
	}
	ok = !nic->broken && !r.bad && r.frames && !dropped;
	test_result(test, ok);
	report(" frames=%lu dropped=%lu lost=%lu reordered=%lu bad=%lu doorbells=%lu "
	       "interrupts=%lu",
	       r.frames, dropped, r.lost, r.reordered, r.bad, nic->tx_doorbells, nic->interrupts);
	nic_close(nic);
	return ok;
}

const struct test test_net_echo = {
	.name = "net-echo",
	.help = "sends back what comes in",
	.params = echo_params,
	.run = run_echo,
};
