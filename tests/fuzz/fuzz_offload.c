/*
 * Frames and headers of any kind through net_send_frame(), to back ends that take any part of the
 * offloads and are full at any time; and the checksum of frames that come in. Each piece has memory
 * of its own, so that ASan sees an access beside it.
 *
 * Checked: the frame isn't written to; what is sent has the length that it says; of a frame that is
 * taken, each byte of payload is sent once; nothing takes more calls than there can be segments.
 *
 * Input: offloads_out, then a byte of set-up (bit 0: no header; bits 1-3: frames until the back end
 * is full), the header's 10 bytes, the first piece's length and the others' (16 bits each), how
 * many times the frame's last 64 bytes are repeated (16 bits), the frame.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/iov.h"
#include "input.h"
#include "net/net.h"

#define PIECES_MAX 1100

struct sink {
	struct net_backend net; /* first */
	struct net_queue queue;
	unsigned int room;
	size_t frames, bytes;
	uint8_t frame[NET_FRAME_MAX + sizeof(struct net_hdr)];
};

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static int sink_send(struct net_queue *q, const struct iovec *iov, int n)
{
	struct sink *s = (struct sink *)q->net;
	size_t len;

	if (n < 1 || n > PIECES_MAX)
		abort();
	if (!s->room)
		return -EAGAIN;
	s->room--;
	len = iov_size(iov, (size_t)n);
	if (iov_read(iov, (size_t)n, 0, s->frame, sizeof(s->frame)) != len || len < q->net->hdr_len)
		abort();
	s->frames++;
	s->bytes += len - q->net->hdr_len;
	return 0;
}

static const struct net_backend_ops sink_ops = {.name = "sink", .send = sink_send};

/* The frame with its tail repeated; *len follows. */
static uint8_t *make_frame(const uint8_t *start, size_t *len, unsigned int repeats)
{
	size_t tail = *len < 64 ? *len : 64, whole = *len + repeats * tail;
	uint8_t *frame;

	if (whole > NET_FRAME_MAX + 100)
		whole = NET_FRAME_MAX + 100;
	if (whole < *len)
		whole = *len;
	frame = malloc(whole ? whole : 1);
	for (size_t i = 0; i < whole; i++)
		frame[i] = i < *len ? start[i] : start[*len - tail + (i - *len) % tail];
	*len = whole;
	return frame;
}

static int scatter(struct iovec *iov, const uint8_t *frame, size_t len, size_t first, size_t next)
{
	int n = 1;

	for (size_t at = 0; at < len; n++) {
		size_t want = n == 1 ? first : next;

		if (!want || want > len - at || n == PIECES_MAX - 1)
			want = len - at;
		iov[n].iov_len = want;
		iov[n].iov_base = malloc(want);
		memcpy(iov[n].iov_base, frame + at, want);
		at += want;
	}
	return n;
}

static void send_all(struct sink *s, const struct net_hdr *hdr, struct iovec *iov, int n,
		     unsigned int burst, size_t len)
{
	unsigned int calls = 0;
	uint64_t refused;

	do {
		s->room = burst;
		if (++calls > 2000)
			abort();
	} while (net_send_frame(&s->queue, hdr, iov, n) == -EAGAIN);
	refused = counter_get(&s->queue.counters.tx_dropped_refused);
	if (refused > 1 || s->queue.segments_sent || (!refused && (!s->frames || s->bytes < len)))
		abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static struct iovec iov[PIECES_MAX];
	static struct sink sink;
	struct input in = {data, size};
	struct sink *s = &sink;
	struct net_hdr hdr = {0};
	unsigned int offloads = (unsigned int)input_take(&in, 1) & 31;
	unsigned int how = (unsigned int)input_take(&in, 1);
	size_t first, next, len, at = 0;
	unsigned int repeats;
	uint8_t *frame;
	int n;

	memset(s, 0, offsetof(struct sink, frame));
	s->net.ops = &sink_ops;
	s->queue.net = &s->net;
	s->net.hdr_len = how & 1 ? 0 : 10;
	s->net.offloads_out = how & 1 ? 0 : offloads;
	for (unsigned int i = 0; i < 10; i++)
		((uint8_t *)&hdr)[i] = (uint8_t)input_take(&in, 1);
	first = input_take(&in, 2);
	next = input_take(&in, 2);
	repeats = (unsigned int)input_take(&in, 2);
	len = in.n;
	if (!len)
		return 0;
	frame = make_frame(in.p, &len, repeats);
	n = scatter(iov, frame, len, first, next);
	if (len <= NET_FRAME_MAX)
		send_all(s, &hdr, iov, n, how >> 1 & 7 ? how >> 1 & 7 : ~0u, len);
	for (int i = 1; i < n; at += iov[i++].iov_len)
		if (memcmp(iov[i].iov_base, frame + at, iov[i].iov_len))
			abort();
	net_complete_csum(&hdr, iov + 1, n - 1);
	for (int i = 1; i < n; i++)
		free(iov[i].iov_base);
	free(frame);
	return 0;
}
