/*
 * Frames of any kind to -netdev user (restrict=on: nothing leaves the process), and to its reassembly of IP
 * packets by itself. libslirp has no instrumentation of its own; ASan's allocator and copies are under it
 * all the same.
 *
 * Checked: what is made whole is no fragment, has the length that it says and the right checksum, and goes
 * into a frame; frames that come back are as long as promised; the file descriptor is quiet when there is none.
 *
 * Input: for each frame a byte of how (bit 0: an IPv4 header's checksum is put right; bit 1: it starts as a usual
 * frame to the router; bit 2: take what comes back; bits 4-7: its fragment offset and more-fragments
 * bit), its length (16 bits), its bytes.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>

#include "base/csum.h"
#include "input.h"
#include "net/net.h"
#include "net/user_reass.h"

#define ETH	   14
#define FRAMES_MAX 200

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static struct net_backend *create(void)
{
	struct opt_list list;
	struct err err = {0};
	struct net_backend *net;

	if (opt_parse(&list, "-netdev", "restrict=on", NULL, &err))
		abort();
	net = net_create(NULL, "user", "n0", &list, &err);
	opt_free(&list);
	if (!net || net->ops->set_offloads(net, 0, 0))
		abort();
	return net;
}

/* The start of what a guest sends to its router, TCP or UDP. */
static void make_usual(uint8_t *frame, size_t len, unsigned int how)
{
	static const uint8_t start[ETH + 24] = {0x52, 0x55, 10, 0,  2,	  2,  0x52, 0x54, 0, 0x12,
						0x34, 0x56, 8,	0,  0x45, 0,  0,    0,	  0, 1,
						0,    0,    64, 17, 0,	  0,  10,   0,	  2, 15,
						10,   0,    2,	2,  0,	  68, 0,    67};

	if (len < sizeof(start))
		return;
	memcpy(frame, start, sizeof(start));
	frame[ETH + 2] = (uint8_t)((len - ETH) >> 8);
	frame[ETH + 3] = (uint8_t)(len - ETH);
	frame[ETH + 6] = how & 0x80 ? 0x20 : 0;
	frame[ETH + 7] = how >> 4 & 7;
}

static void fix_csum(uint8_t *frame, size_t len)
{
	size_t header = len > ETH ? (frame[ETH] & 15u) * 4 : 0;
	uint16_t csum;

	if (header < 20 || len < ETH + header)
		return;
	memset(frame + ETH + 10, 0, 2);
	csum = csum_finish(csum_add(0, frame + ETH, header));
	memcpy(frame + ETH + 10, &csum, 2);
}

static void reassemble(struct user_reass *r, const uint8_t *frame, size_t len, uint64_t now)
{
	const uint8_t *whole;
	size_t header;

	if (!user_is_fragment(frame, len))
		return;
	whole = user_reass_add(r, frame, &len, now);
	if (!whole)
		return;
	header = (whole[ETH] & 15u) * 4;
	if (user_is_fragment(whole, len) || len > 65535 || header < 20 || len < ETH + header ||
	    (size_t)(whole[ETH + 2] << 8 | whole[ETH + 3]) != len - ETH ||
	    csum_finish(csum_add(0, whole + ETH, header)))
		abort();
}

static void take(struct net_backend *net)
{
	static uint8_t frame[65536];
	struct iovec iov = {frame, sizeof(frame)};
	struct epoll_event ev;
	ssize_t r;

	while ((r = net->ops->recv(net->queue[0], &iov, 1)) >= 0)
		if (r < ETH || (size_t)r > net->frame_max)
			abort();
	if (r != -EAGAIN)
		abort();
	/* A socket or the timer may have become ready; it can't be for long. */
	for (int i = 0; epoll_wait(net->ops->fd(net->queue[0]), &ev, 1, 0) > 0; i++) {
		net->ops->recv(net->queue[0], &iov, 1);
		if (i > 1000)
			abort();
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct net_backend *net = create();
	struct input in = {data, size};
	struct user_reass reass;

	if (user_reass_init(&reass))
		abort();
	for (unsigned int i = 0; in.n && i < FRAMES_MAX; i++) {
		unsigned int how = (unsigned int)input_take(&in, 1);
		size_t len = (size_t)input_take(&in, 2), given = len < in.n ? len : in.n;
		uint8_t *frame = calloc(1, len + 1);
		struct iovec iov = {frame, len};

		if (!frame)
			abort();
		memcpy(frame, in.p, given);
		if (how & 2)
			make_usual(frame, len, how);
		if (how & 1)
			fix_csum(frame, len);
		in.p += given;
		in.n -= given;
		reassemble(&reass, frame, len, i * UINT64_C(1000000000));
		if (net->ops->send(net->queue[0], &iov, 1))
			abort();
		free(frame);
		if (how & 4)
			take(net);
	}
	take(net);
	user_reass_free(&reass);
	net_destroy(net);
	return 0;
}
