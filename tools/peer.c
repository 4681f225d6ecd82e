/*
 * peer: the host's end of the built-in guest's network tests, on one interface (a TAP, a bridge,
 * a veth). It makes, checks and returns the frames of guest/frame.h, through a packet socket, and
 * ends with one line of key=value pairs:
 *
 *	peer: mode=sink result=ok frames=100000 ...
 *
 * Modes: sink checks what comes; source sends; echo returns; ping measures round trips to a guest
 * that echoes; floor measures a TAP's bare system calls (peer_floor.c). One thread.
 */
#include "peer.h"

#include <errno.h>
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define NS_PER_S 1000000000ull

/* What came in. */
struct tally {
	uint64_t frames, bytes;
	uint64_t next; /* sequence number expected */
	uint64_t lost, reordered, bad, foreign;
	uint64_t with_csum, with_gso;
	uint64_t announced; /* by the stop frame: how many there were */
	bool stopped;
	uint64_t first_ns, last_ns;
};

static uint64_t deadline(const struct peer_options *o)
{
	return now_ns() + (uint64_t)(o->seconds * NS_PER_S);
}

static uint64_t idle_ns(const struct peer_options *o)
{
	return o->idle * NS_PER_S;
}

static int fail(const struct peer_options *o, const char *what, int error)
{
	printf("peer: mode=%s result=fail reason=%s error=%s\n", o->mode, what,
	       error ? strerror(-error) : "none");
	return 1;
}

static void count_sequence(struct tally *t, uint64_t sequence)
{
	if (sequence >= t->next) {
		t->lost += sequence - t->next;
		t->next = sequence + 1;
	} else {
		t->reordered++;
		if (t->lost)
			t->lost--;
	}
}

/* A TCP frame's checksum is either for an offload to complete, and says so, or right. */
static bool checksum_ok(const uint8_t *frame, uint32_t length, const struct virtio_net_hdr *v)
{
	const uint8_t *ip = frame + FRAME_IP_OFFSET;
	uint32_t ip_length = frame_get16(ip + 2);

	if (ip_length + FRAME_ETHERNET > length || frame_sum(ip, FRAME_IPV4, 0) != 0xffff)
		return false;
	if (v->flags & VIRTIO_NET_HDR_F_NEEDS_CSUM)
		return v->csum_start == FRAME_TCP_OFFSET && v->csum_offset == FRAME_TCP_CHECKSUM &&
		       frame_get16(frame + FRAME_TCP_OFFSET + FRAME_TCP_CHECKSUM) ==
			       frame_pseudo_sum(ip);
	return frame_sum(frame + FRAME_TCP_OFFSET, ip_length - FRAME_IPV4, frame_pseudo_sum(ip)) ==
	       0xffff;
}

/* Looks at received frame i and counts it. Returns its kind, 0 if it is bad or none of ours. */
static int take(struct link *link, uint32_t i, struct tally *t)
{
	const uint8_t *frame = link_in(link, i);
	uint32_t length = link->in_length[i], offset = frame_header_offset(frame, length);
	const struct virtio_net_hdr *v = &link->in_header[i];
	struct frame_header h;

	if (!offset) {
		t->foreign++;
		return 0;
	}
	if (!frame_open(frame, offset, length, &h) || !frame_content_ok(frame, offset, &h) ||
	    (offset == FRAME_TCP_HEADERS && !checksum_ok(frame, length, v))) {
		t->bad++;
		return 0;
	}
	if (h.kind == FRAME_STOP) {
		t->stopped = true;
		t->announced = h.sequence;
	}
	if (h.kind != FRAME_DATA)
		return h.kind;
	t->with_csum += (v->flags & VIRTIO_NET_HDR_F_NEEDS_CSUM) != 0;
	t->with_gso += v->gso_type != VIRTIO_NET_HDR_GSO_NONE;
	t->frames++;
	t->bytes += length;
	count_sequence(t, h.sequence);
	return h.kind;
}

/* Makes out[j] the answer to in[i]: the same bytes, addresses swapped. */
static void turn_round(struct link *link, uint32_t i, uint32_t j)
{
	const uint8_t *in = link_in(link, i);
	uint8_t *out = link_out(link, j);

	memcpy(out, in, link->in_length[i]);
	memcpy(out, in + 6, 6);
	memcpy(out + 6, link->mac, 6);
	link->out_length[j] = link->in_length[i];
	link->out_header[j] = link->in_header[i];
	/* As sent: the checksum is complete or for the next device to complete, not "checked". */
	link->out_header[j].flags &= VIRTIO_NET_HDR_F_NEEDS_CSUM;
}

static void print_tally(const struct peer_options *o, const struct tally *t, bool ok)
{
	uint64_t ns = t->last_ns > t->first_ns ? t->last_ns - t->first_ns : 1;

	printf("peer: mode=%s result=%s frames=%lu bytes=%lu ns=%lu frames_per_s=%lu "
	       "mbit_per_s=%lu lost=%lu reordered=%lu bad=%lu foreign=%lu csum=%lu gso=%lu "
	       "stopped=%d announced=%lu",
	       o->mode, ok ? "ok" : "fail", t->frames, t->bytes, ns,
	       (uint64_t)(t->frames * 1e9 / ns), (uint64_t)(t->bytes * 8e3 / ns), t->lost,
	       t->reordered, t->bad, t->foreign, t->with_csum, t->with_gso, t->stopped,
	       t->announced);
}

static bool tally_ok(const struct peer_options *o, const struct tally *t)
{
	return t->frames && !t->lost && !t->reordered && !t->bad &&
	       (!o->count || t->frames == o->count) && (!t->stopped || t->announced == t->frames);
}

/*
 * sink and echo: takes frames until a stop frame, the count, silence after the first, or the
 * time.
 */
static int run_receive(const struct peer_options *o, struct link *link, bool echo)
{
	uint64_t end = deadline(o), drops;
	struct tally t = {0};
	bool ok;

	while (!t.stopped && now_ns() < end && (!o->count || t.frames < o->count)) {
		int n = link_receive(link, LINK_BATCH, t.frames ? idle_ns(o) : 100000000), ret;
		uint32_t answers = 0;

		if (n < 0)
			return fail(o, "receive", n);
		if (!n && t.frames)
			break;
		for (int i = 0; i < n; i++) {
			int kind = take(link, i, &t);

			if (kind == FRAME_READY || (echo && kind == FRAME_DATA))
				turn_round(link, i, answers++);
			if (kind == FRAME_DATA && t.frames == 1)
				t.first_ns = now_ns();
		}
		if (n && !t.stopped)
			t.last_ns = now_ns();
		ret = answers ? link_send(link, answers, end) : 0;
		if (ret)
			return fail(o, "send", ret);
	}
	drops = link_drops(link);
	ok = tally_ok(o, &t);
	print_tally(o, &t, ok);
	printf(" socket_drops=%lu system_calls=%lu\n", drops, link->system_calls);
	return !ok;
}

static int run_sink(const struct peer_options *o, struct link *link)
{
	return run_receive(o, link, false);
}

static int run_echo(const struct peer_options *o, struct link *link)
{
	return run_receive(o, link, true);
}

/*
 * Waits for the guest's ready frame and learns its address. Returns its place in in[], -1: none
 * came.
 */
static int wait_ready(const struct peer_options *o, struct link *link, uint8_t mac[6])
{
	uint64_t end = deadline(o);
	struct tally t = {0};

	while (now_ns() < end) {
		int n = link_receive(link, LINK_BATCH, 100000000);

		for (int i = 0; i < n; i++) {
			if (take(link, i, &t) != FRAME_READY)
				continue;
			memcpy(mac, link_in(link, i) + 6, 6);
			return i;
		}
		if (n < 0)
			break;
	}
	return -1;
}

/* Writes frame i of the batch, whole. */
static void make_frame(const struct peer_options *o, struct link *link, uint32_t i,
		       const uint8_t mac[6], uint32_t length)
{
	bool tcp = o->gso || o->csum;
	uint32_t offset = tcp ? FRAME_TCP_HEADERS : FRAME_ETHERNET;
	uint32_t body = offset + sizeof(struct frame_header);
	uint8_t *frame = link_out(link, i);

	if (tcp) {
		frame_put_tcp(frame, length, 0);
		link->out_header[i] = (struct virtio_net_hdr){
			.flags = VIRTIO_NET_HDR_F_NEEDS_CSUM,
			.csum_start = FRAME_TCP_OFFSET,
			.csum_offset = FRAME_TCP_CHECKSUM,
		};
		if (o->gso && length > o->gso + FRAME_TCP_HEADERS) {
			link->out_header[i].gso_type = VIRTIO_NET_HDR_GSO_TCPV4;
			link->out_header[i].gso_size = o->gso;
			link->out_header[i].hdr_len = FRAME_TCP_HEADERS;
		}
	} else {
		frame_put16(frame + 12, FRAME_ETHERTYPE);
		link->out_header[i] = (struct virtio_net_hdr){0};
	}
	memcpy(frame, mac, 6);
	memcpy(frame + 6, link->mac, 6);
	frame_fill_body(frame + body, length - body - FRAME_TRAILER, i);
	link->out_length[i] = length;
}

static void seal(const struct peer_options *o, struct link *link, uint32_t i, int kind,
		 uint64_t sequence)
{
	uint32_t offset = o->gso || o->csum ? FRAME_TCP_HEADERS : FRAME_ETHERNET;

	frame_seal(link_out(link, i), offset, link->out_length[i], kind, i, sequence);
}

/* Several, since this one isn't waited for. */
static int send_stop(const struct peer_options *o, struct link *link, const uint8_t mac[6],
		     uint64_t count)
{
	struct peer_options plain = *o;

	plain.gso = plain.csum = 0;
	for (uint32_t i = 0; i < 3; i++) {
		make_frame(&plain, link, i, mac, 64);
		seal(&plain, link, i, FRAME_STOP, count);
	}
	return link_send(link, 3, now_ns() + NS_PER_S);
}

/* Keeps to o->rate: sleeps or spins until it is time for frame number `sent`. */
static void pace(const struct peer_options *o, uint64_t start, uint64_t sent)
{
	uint64_t due = start + sent * NS_PER_S / o->rate, now;

	while ((now = now_ns()) < due)
		if (!o->spin && due - now > 100000)
			usleep((due - now) / 2000);
}

static int run_source(const struct peer_options *o, struct link *link)
{
	uint64_t end = deadline(o), sent = 0, start, ns;
	uint8_t mac[6] = FRAME_PEER_MAC;
	uint32_t batch = LINK_BATCH;
	int ret = 0;

	if (o->wait && wait_ready(o, link, mac) < 0)
		return fail(o, "no-ready-frame", 0);
	if (o->rate && o->rate / 1000 < batch)
		batch = o->rate / 1000 ? o->rate / 1000 : 1;
	for (uint32_t i = 0; i < batch; i++)
		make_frame(o, link, i, mac, o->size);
	start = now_ns();
	while (!ret && (!o->count || sent < o->count) && now_ns() < end) {
		uint32_t n = batch;

		if (o->count && o->count - sent < n)
			n = o->count - sent;
		if (o->rate)
			pace(o, start, sent);
		for (uint32_t i = 0; i < n; i++)
			seal(o, link, i, FRAME_DATA, sent + i);
		ret = link_send(link, n, end);
		if (!ret)
			sent += n;
	}
	ns = now_ns() - start;
	if (!ret)
		ret = send_stop(o, link, mac, sent);
	if (ret)
		return fail(o, "send", ret);
	printf("peer: mode=source result=%s frames=%lu bytes=%lu ns=%lu frames_per_s=%lu "
	       "mbit_per_s=%lu retries=%lu system_calls=%lu\n",
	       !o->count || sent == o->count ? "ok" : "fail", sent, sent * o->size, ns,
	       (uint64_t)(sent * 1e9 / ns), (uint64_t)(sent * o->size * 8e3 / ns), link->retries,
	       link->system_calls);
	return o->count && sent != o->count;
}

static int compare_times(const void *a, const void *b)
{
	uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;

	return x < y ? -1 : x > y;
}

/* One frame there and back: ns, 0 if it was lost. */
static uint64_t round_trip(const struct peer_options *o, struct link *link, struct tally *t,
			   uint64_t sequence)
{
	uint64_t start, before = t->frames;

	seal(o, link, 0, FRAME_DATA, sequence);
	start = now_ns();
	if (link_send(link, 1, start + NS_PER_S))
		return 0;
	while (now_ns() - start < NS_PER_S) {
		int n = link_receive(link, 1, NS_PER_S);

		if (n < 1)
			return 0;
		if (take(link, 0, t) == FRAME_DATA && t->frames > before && t->next == sequence + 1)
			return now_ns() - start;
	}
	return 0;
}

static int run_ping(const struct peer_options *o, struct link *link)
{
	uint64_t count = o->count ? o->count : 10000, end = deadline(o), n = 0, lost = 0, start;
	uint64_t *times = calloc(count, sizeof(*times));
	uint8_t mac[6] = FRAME_PEER_MAC;
	struct tally t = {0};
	int ready;

	if (!times)
		return fail(o, "memory", -ENOMEM);
	ready = wait_ready(o, link, mac);
	if (ready < 0) {
		free(times);
		return fail(o, "no-ready-frame", 0);
	}
	/* The answer to the ready frame: from now on the guest echoes. */
	turn_round(link, ready, 0);
	link_send(link, 1, end);
	make_frame(o, link, 0, mac, o->size);
	start = now_ns();
	for (uint64_t i = 0; i < count && lost < 4 && now_ns() < end; i++) {
		uint64_t ns = round_trip(o, link, &t, i);

		if (ns)
			times[n++] = ns;
		else
			lost++;
	}
	start = now_ns() - start;
	send_stop(o, link, mac, count);
	qsort(times, n, sizeof(*times), compare_times);
	printf("peer: mode=ping result=%s round_trips=%lu ns=%lu lost=%lu bad=%lu",
	       n == count && !t.bad ? "ok" : "fail", n, start, lost, t.bad);
	if (n)
		printf(" min_ns=%lu median_ns=%lu p99_ns=%lu max_ns=%lu", times[0], times[n / 2],
		       times[(n - 1) * 99 / 100], times[n - 1]);
	printf("\n");
	free(times);
	return n != count || t.bad;
}

static const struct mode {
	const char *name;
	int (*run)(const struct peer_options *o, struct link *link);
	const char *help;
} modes[] = {
	{"sink", run_sink, "check every frame that comes"},
	{"source", run_source, "send frames"},
	{"echo", run_echo, "return every frame that comes"},
	{"ping", run_ping, "measure round trips to a guest that echoes"},
	{"floor", NULL, "measure bare write() or, with --read, read() on the TAP IFACE"},
};

static const char usage_options[] =
	"  --count N      frames to send or to wait for (default 100000; 0: no limit)\n"
	"  --size N       bytes of a frame to send, without FCS (default 64)\n"
	"  --rate N       frames per second to send (default: as fast as they go)\n"
	"  --seconds S    end after this time at the latest (default 60)\n"
	"  --idle S       end when nothing came for so long after the first frame (default 5)\n"
	"  --gso N        send TCP frames to be cut into segments of N bytes\n"
	"  --csum         send TCP frames whose checksum is to be completed\n"
	"  --tcp          sink and echo: expect TCP frames\n"
	"  --spin         poll, for latency\n"
	"  --no-wait      source: don't wait for the guest's ready frame\n"
	"  --read         floor: the reading side\n"
	"  --vnet-hdr     floor: a TAP with virtio_net_hdr\n";

static void usage(FILE *to)
{
	fprintf(to, "usage: peer IFACE MODE [option...]\n");
	for (size_t i = 0; i < sizeof(modes) / sizeof(modes[0]); i++)
		fprintf(to, "  %-14s %s\n", modes[i].name, modes[i].help);
	fputs(usage_options, to);
}

static int parse_options(int argc, char **argv, struct peer_options *o)
{
	enum {
		COUNT = 1,
		SIZE,
		RATE,
		SECONDS,
		IDLE,
		GSO,
		CSUM,
		TCP,
		SPIN,
		NO_WAIT,
		READ,
		VNET,
		HELP
	};
	static const struct option options[] = {
		{"count", required_argument, NULL, COUNT},
		{"size", required_argument, NULL, SIZE},
		{"rate", required_argument, NULL, RATE},
		{"seconds", required_argument, NULL, SECONDS},
		{"idle", required_argument, NULL, IDLE},
		{"gso", required_argument, NULL, GSO},
		{"csum", no_argument, NULL, CSUM},
		{"tcp", no_argument, NULL, TCP},
		{"spin", no_argument, NULL, SPIN},
		{"no-wait", no_argument, NULL, NO_WAIT},
		{"read", no_argument, NULL, READ},
		{"vnet-hdr", no_argument, NULL, VNET},
		{"help", no_argument, NULL, HELP},
		{NULL, 0, NULL, 0},
	};
	int c;

	*o = (struct peer_options){
		.count = 100000, .size = 64, .seconds = 60, .idle = 5, .wait = true};
	while ((c = getopt_long(argc, argv, "", options, NULL)) != -1) {
		switch (c) {
		case COUNT:
			o->count = strtoull(optarg, NULL, 0);
			break;
		case SIZE:
			o->size = strtoul(optarg, NULL, 0);
			break;
		case RATE:
			o->rate = strtoull(optarg, NULL, 0);
			break;
		case SECONDS:
			o->seconds = strtod(optarg, NULL);
			break;
		case IDLE:
			o->idle = strtod(optarg, NULL);
			break;
		case GSO:
			o->gso = strtoul(optarg, NULL, 0);
			break;
		case CSUM:
			o->csum = true;
			break;
		case TCP:
			o->tcp = true;
			break;
		case SPIN:
			o->spin = true;
			break;
		case NO_WAIT:
			o->wait = false;
			break;
		case READ:
			o->read = true;
			break;
		case VNET:
			o->vnet_hdr = true;
			break;
		case HELP:
			usage(stdout);
			exit(0);
		default:
			return -EINVAL;
		}
	}
	if (argc - optind != 2)
		return -EINVAL;
	o->interface = argv[optind];
	o->mode = argv[optind + 1];
	if (o->size < (o->gso || o->csum ? FRAME_MIN_TCP : FRAME_MIN) || o->size > FRAME_MAX) {
		fprintf(stderr, "peer: --size %u: from %zu (TCP: %zu) to %d\n", o->size, FRAME_MIN,
			FRAME_MIN_TCP, FRAME_MAX);
		return -EINVAL;
	}
	return 0;
}

int main(int argc, char **argv)
{
	static struct link link;
	struct peer_options o;
	int ret;

	setvbuf(stdout, NULL, _IOLBF, 0);
	if (parse_options(argc, argv, &o)) {
		usage(stderr);
		return 2;
	}
	for (size_t i = 0; i < sizeof(modes) / sizeof(modes[0]); i++) {
		if (strcmp(modes[i].name, o.mode))
			continue;
		if (!modes[i].run)
			return peer_floor(&o);
		ret = link_open(&link, o.interface, o.tcp ? 0x0800 : FRAME_ETHERTYPE, o.spin);
		if (ret)
			return fail(&o, o.interface, ret);
		ret = modes[i].run(&o, &link);
		link_close(&link);
		return ret;
	}
	fprintf(stderr, "peer: %s: no such mode\n", o.mode);
	usage(stderr);
	return 2;
}
