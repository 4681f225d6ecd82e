/*
 * net-tx and net-rx: frames one way, as fast as they go, checked for content (by the peer when
 * sent).
 */
#include "clock.h"
#include "lib.h"
#include "serial.h"
#include "traffic.h"

#define STALL_TIMEOUT (10 * NS_PER_S)

/* Rates for a result line; the line goes on. */
static void say_rates(uint64_t frames, uint64_t bytes, uint64_t ns)
{
	ns = MAX(ns, 1u);
	say(" frames=%lu bytes=%lu ns=%lu ns_per_frame=%lu frames_per_s=%lu mbit_per_s=%lu", frames,
	    bytes, ns, ns / MAX(frames, 1u), frames * 1000000 / MAX(ns / 1000, 1u),
	    bytes * 8000 / ns);
}

static const struct test_param tx_params[] = {
	{"count", "100000", "frames to send"},
	{"size", "64", "bytes of a frame, from the destination address on, without FCS"},
	{"batch", "32", "frames for each look at the doorbell"},
	{"csum", "0", "TCP frames whose checksum is left to the device"},
	{"gso", "0", "TCP frames that the device is to cut in segments of so many bytes"},
	{"peer", "0", "wait for the peer first, milliseconds"},
	{"stop", "1", "send a stop frame at the end"},
	{"delay", "0", "wait so long before the first frame, milliseconds"},
	NIC_PARAMS,
	{NULL, NULL, NULL},
};

/*
 * Sends count frames, waits until all are taken back. False if nothing moved for too long.
 *
 * A full ring is left alone until there is room for a batch, or a quarter of the ring, as drivers of
 * operating systems do: else there would be a doorbell for each frame that a device takes while the
 * guest looks on.
 */
static bool send_all(struct traffic_sender *s, uint64_t count, uint32_t batch)
{
	uint64_t sent = 0, done = 0, moved = clock_ns();
	struct nic *nic = s->nic;
	uint32_t room = MIN(batch, MAX(nic->n_slots / 4, 1u));
	struct nic_slot slot;
	bool full = false;

	while (done < count && !nic->broken) {
		uint32_t n = 0, reaped;

		if (nic->n_slots - (sent - done) >= room)
			full = false;
		for (; !full && n < batch && sent < count; n++) {
			full = !nic_get(nic, &slot);
			if (full)
				break;
			traffic_send(s, &slot, FRAME_DATA, sent++);
		}
		if (n)
			nic_flush(nic);
		reaped = nic_reap(nic);
		done += reaped;
		if (n || reaped) {
			moved = 0;
			continue;
		}
		if (!moved)
			moved = clock_ns();
		if (clock_ns() - moved > STALL_TIMEOUT)
			return false;
		pause();
		nic_wait(nic, true, NS_PER_S);
	}
	return !nic->broken;
}

/* Takes back what else is out, the ready frames. */
static void drain(struct nic *nic)
{
	uint64_t start = clock_ns();

	while (!nic_reap(nic) && clock_ns() - start < 50 * NS_PER_MS)
		pause();
	while (nic_reap(nic))
		pause();
}

static bool run_tx(const struct test *test, const struct test_arg *args)
{
	uint64_t count = test_number(test, args, "count"), start, ns, peer_ms, doorbells;
	uint32_t size = test_number(test, args, "size"), gso = test_number(test, args, "gso");
	enum traffic_form form = gso				   ? TRAFFIC_TSO
				 : test_number(test, args, "csum") ? TRAFFIC_CHECKSUM
								   : TRAFFIC_PLAIN;
	struct nic *nic = nic_open(test, args, MAX(size, 128u), form != TRAFFIC_PLAIN);
	struct traffic_receiver r = {.nic = nic};
	struct traffic_sender s;
	const char *error;
	bool ok;

	if (!nic)
		return false;
	error = traffic_init(&s, nic, form, size, gso);
	if (error)
		return nic_fail(test, nic, error);
	peer_ms = test_number(test, args, "peer");
	if (peer_ms) {
		if (!traffic_meet(&s, &r, peer_ms * NS_PER_MS))
			return nic_fail(test, nic, "no-peer");
		drain(nic);
	}
	traffic_delay(test_number(test, args, "delay"));
	doorbells = nic->tx_doorbells;
	start = clock_ns();
	ok = send_all(&s, count, MAX(test_number(test, args, "batch"), 1u));
	ns = clock_ns() - start;
	doorbells = nic->tx_doorbells - doorbells;
	if (ok && test_number(test, args, "stop")) {
		ok = traffic_send_now(&s, FRAME_STOP, count);
		drain(nic);
	}
	test_result(test, ok);
	say_rates(count, count * size, ns);
	report(" size=%u doorbells=%lu interrupts=%lu", size, doorbells, nic->interrupts);
	nic_close(nic);
	return ok;
}

const struct test test_net_tx = {
	.name = "net-tx",
	.help = "sends frames, waits until all are sent",
	.params = tx_params,
	.run = run_tx,
};

static const struct test_param rx_params[] = {
	{"count", "100000", "frames to wait for"},
	{"size", "0", "bytes that the frames are to have, 0: any"},
	{"peer", "10000", "wait so long for the first frame, milliseconds"},
	{"idle", "5000", "end when no frame came for so long, milliseconds"},
	{"lossy", "0", "lost frames are no failure"},
	NIC_PARAMS,
	{NULL, NULL, NULL},
};

#define REFILL_BATCH 32

/* Receives until count frames, a stop frame, or silence. Returns when the last one came. */
static uint64_t receive_all(struct traffic_receiver *r, uint64_t count, uint64_t idle_ns,
			    uint32_t size, uint64_t *wrong_size)
{
	uint64_t last = clock_ns();
	struct nic_frame frame;
	struct frame_header h;
	bool waiting = false;

	while (r->frames < count && !r->stopped && !r->nic->broken) {
		uint32_t n;

		for (n = 0; n < REFILL_BATCH && r->frames < count; n++) {
			if (!traffic_receive(r, &frame, &h))
				break;
			if (h.kind == FRAME_DATA && size && frame.length != size)
				++*wrong_size;
			nic_release(r->nic, &frame);
		}
		if (n) {
			nic_refill(r->nic);
			waiting = false;
			continue;
		}
		if (!waiting)
			last = clock_ns();
		waiting = true;
		if (clock_ns() - last > idle_ns)
			return last;
		pause();
		nic_wait(r->nic, false, idle_ns);
	}
	return waiting ? last : clock_ns();
}

static bool run_rx(const struct test *test, const struct test_arg *args)
{
	uint64_t count = test_number(test, args, "count"), wrong_size = 0, start, ns;
	uint64_t idle_ns = test_number(test, args, "idle") * NS_PER_MS;
	struct nic *nic = nic_open(test, args, 128, false);
	struct traffic_receiver r = {.nic = nic};
	struct traffic_sender s;
	bool ok;

	if (!nic)
		return false;
	traffic_init(&s, nic, TRAFFIC_PLAIN, 64, 0);
	if (!traffic_meet(&s, &r, test_number(test, args, "peer") * NS_PER_MS))
		return nic_fail(test, nic, "no-peer");
	start = clock_ns();
	ns = receive_all(&r, count, idle_ns, test_number(test, args, "size"), &wrong_size) - start;
	ok = !nic->broken && !r.bad && !wrong_size && r.frames && !r.reordered;
	if (!test_number(test, args, "lossy"))
		ok = ok && r.frames == count && !r.lost;
	test_result(test, ok);
	say_rates(r.frames, r.bytes, ns);
	say(" lost=%lu reordered=%lu bad=%lu wrong_size=%lu foreign=%lu segmented=%lu", r.lost,
	    r.reordered, r.bad, wrong_size, r.foreign, r.segmented);
	report(" doorbells=%lu interrupts=%lu", nic->rx_doorbells, nic->interrupts);
	nic_close(nic);
	return ok;
}

const struct test test_net_rx = {
	.name = "net-rx",
	.help = "receives frames and checks order and content",
	.params = rx_params,
	.run = run_rx,
};
