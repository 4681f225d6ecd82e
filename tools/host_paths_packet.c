/*
 * Ways through packet sockets: a system call for many frames (sendmmsg, recvmmsg), and rings that the
 * kernel and the process share (Documentation/networking/packet_mmap.rst, TPACKET_V2).
 */
#include <arpa/inet.h>
#include <errno.h>
#include <linux/if_packet.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>

#include "host_paths.h"

#define RING_FRAMES 1024
#define RING_BLOCK  (RING_FRAMES * PATH_FRAME_MAX)

static void packet_open(struct path_run *run)
{
	run->fd[0] = path_packet_socket(run->ifname);
}

static void fill(struct mmsghdr msgs[PATH_BATCH], struct iovec iov[PATH_BATCH])
{
	memset(msgs, 0, PATH_BATCH * sizeof(msgs[0]));
	for (int i = 0; i < PATH_BATCH; i++) {
		msgs[i].msg_hdr.msg_iov = &iov[i];
		msgs[i].msg_hdr.msg_iovlen = 1;
	}
}

static void packet_out(struct path_run *run, uint64_t until)
{
	struct mmsghdr msgs[PATH_BATCH];
	struct iovec iov[PATH_BATCH];

	for (int i = 0; i < PATH_BATCH; i++)
		iov[i] = (struct iovec){run->frame, run->size};
	fill(msgs, iov);
	while (run->moved < until) {
		int n = sendmmsg(run->fd[0], msgs, PATH_BATCH, 0);

		run->syscalls++;
		if (n > 0)
			run->moved += (unsigned int)n;
		else if (errno != ENOBUFS && errno != EAGAIN)
			path_fail("sendmmsg");
	}
}

static void packet_in(struct path_run *run, uint64_t until)
{
	static uint8_t buf[PATH_BATCH][PATH_FRAME_MAX];
	struct mmsghdr msgs[PATH_BATCH];
	struct iovec iov[PATH_BATCH];

	for (int i = 0; i < PATH_BATCH; i++)
		iov[i] = (struct iovec){buf[i], sizeof(buf[i])};
	fill(msgs, iov);
	while (run->moved < until) {
		int n = recvmmsg(run->fd[0], msgs, PATH_BATCH, MSG_DONTWAIT, NULL);

		run->syscalls++;
		if (n > 0)
			run->moved += (unsigned int)n;
		else if (errno != EAGAIN)
			path_fail("recvmmsg");
		else if (!path_wait(run, run->fd[0]))
			return;
	}
}

/* ---- rings ---- */

static void ring_open(struct path_run *run, int which)
{
	struct tpacket_req req = {
		.tp_block_size = RING_BLOCK,
		.tp_block_nr = 1,
		.tp_frame_size = PATH_FRAME_MAX,
		.tp_frame_nr = RING_FRAMES,
	};
	int version = TPACKET_V2;

	packet_open(run);
	if (setsockopt(run->fd[0], SOL_PACKET, PACKET_VERSION, &version, sizeof(version)) ||
	    setsockopt(run->fd[0], SOL_PACKET, which, &req, sizeof(req)))
		path_fail("a packet socket's ring");
	run->state = mmap(NULL, RING_BLOCK, PROT_READ | PROT_WRITE, MAP_SHARED, run->fd[0], 0);
	if (run->state == MAP_FAILED)
		path_fail("a packet socket's ring");
}

static void ring_open_in(struct path_run *run)
{
	ring_open(run, PACKET_RX_RING);
}

static void ring_open_out(struct path_run *run)
{
	ring_open(run, PACKET_TX_RING);
}

static struct tpacket2_hdr *ring_slot(const struct path_run *run, unsigned int i)
{
	return (struct tpacket2_hdr *)((uint8_t *)run->state +
				       (size_t)(i % RING_FRAMES) * PATH_FRAME_MAX);
}

static uint32_t slot_status(struct tpacket2_hdr *slot)
{
	return __atomic_load_n(&slot->tp_status, __ATOMIC_ACQUIRE);
}

static void ring_out(struct path_run *run, uint64_t until)
{
	static unsigned int next;

	while (run->moved < until) {
		unsigned int n = 0;

		for (; n < PATH_BATCH; n++) {
			struct tpacket2_hdr *slot = ring_slot(run, next);

			if (slot_status(slot) != TP_STATUS_AVAILABLE)
				break;
			slot->tp_len = (uint32_t)run->size;
			memcpy((uint8_t *)slot + TPACKET2_HDRLEN - sizeof(struct sockaddr_ll),
			       run->frame, run->size);
			__atomic_store_n(&slot->tp_status, TP_STATUS_SEND_REQUEST,
					 __ATOMIC_RELEASE);
			next++;
		}
		run->syscalls++;
		if (send(run->fd[0], NULL, 0, MSG_DONTWAIT) < 0 && errno != EAGAIN &&
		    errno != ENOBUFS)
			path_fail("send by a ring");
		run->moved += n;
	}
}

static void ring_in(struct path_run *run, uint64_t until)
{
	static unsigned int next;
	static uint8_t buf[PATH_FRAME_MAX];

	while (run->moved < until) {
		struct tpacket2_hdr *slot = ring_slot(run, next);

		if (!(slot_status(slot) & TP_STATUS_USER)) {
			if (!path_wait(run, run->fd[0]))
				return;
			continue;
		}
		/* Into the guest's buffer it has to be copied. */
		memcpy(buf, (uint8_t *)slot + slot->tp_mac,
		       slot->tp_snaplen < sizeof(buf) ? slot->tp_snaplen : sizeof(buf));
		__atomic_store_n(&slot->tp_status, TP_STATUS_KERNEL, __ATOMIC_RELEASE);
		next++;
		run->moved++;
	}
}

const struct path path_packet_out = {"packet-out", false, packet_open, packet_out};
const struct path path_packet_in = {"packet-in", true, packet_open, packet_in};
const struct path path_packet_ring_out = {"packet-ring-out", false, ring_open_out, ring_out};
const struct path path_packet_ring_in = {"packet-ring-in", true, ring_open_in, ring_in};
