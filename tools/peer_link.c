/*
 * Packet sockets (packet(7)) with PACKET_VNET_HDR, so that offloads travel with the frames. One
 * thread uses a link; its buffers belong to it.
 */
#include "peer.h"

#include <arpa/inet.h>
#include <errno.h>
#include <net/if.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#define RECEIVE_BUFFER (512 << 20) /* bytes; a burst must not be lost for want of a CPU */
#define RETRY_NS       20000

/* Set every option that a link needs. */
static int set_options(int fd)
{
	int one = 1, size = RECEIVE_BUFFER;

	if (setsockopt(fd, SOL_PACKET, PACKET_VNET_HDR, &one, sizeof(one)) < 0 ||
	    setsockopt(fd, SOL_PACKET, PACKET_QDISC_BYPASS, &one, sizeof(one)) < 0)
		return -errno;
	/* Without CAP_NET_ADMIN in the first namespace the ordinary limit applies. */
	if (setsockopt(fd, SOL_SOCKET, SO_RCVBUFFORCE, &size, sizeof(size)) < 0 &&
	    setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &size, sizeof(size)) < 0)
		return -errno;
	return 0;
}

static int attach(struct link *link, const char *interface, uint16_t protocol)
{
	struct sockaddr_ll address = {.sll_family = AF_PACKET};
	struct ifreq request = {0};
	int ret;

	if (strlen(interface) >= IFNAMSIZ)
		return -ENODEV;
	strcpy(request.ifr_name, interface);
	address.sll_ifindex = if_nametoindex(interface);
	address.sll_protocol = htons(protocol);
	if (!address.sll_ifindex)
		return -ENODEV;
	ret = set_options(link->fd);
	if (ret)
		return ret;
	if (ioctl(link->fd, SIOCGIFHWADDR, &request) < 0 ||
	    bind(link->fd, (struct sockaddr *)&address, sizeof(address)) < 0)
		return -errno;
	memcpy(link->mac, request.ifr_hwaddr.sa_data, sizeof(link->mac));
	link->to = address;
	return 0;
}

int link_open(struct link *link, const char *interface, uint16_t protocol, bool spin)
{
	int ret;

	memset(link, 0, sizeof(*link));
	link->spin = spin;
	link->stride = (FRAME_MAX + 63) & ~63u;
	link->in = calloc(LINK_BATCH, link->stride);
	link->out = calloc(LINK_BATCH, link->stride);
	/* Protocol 0 until bound: nothing of other interfaces gets in. */
	link->fd = socket(AF_PACKET, SOCK_RAW | SOCK_CLOEXEC, 0);
	if (link->fd < 0)
		ret = -errno;
	else if (!link->in || !link->out)
		ret = -ENOMEM;
	else
		ret = attach(link, interface, protocol);
	if (ret)
		link_close(link);
	return ret;
}

void link_close(struct link *link)
{
	if (link->fd >= 0)
		close(link->fd);
	free(link->in);
	free(link->out);
}

static void prepare(struct link *link, uint32_t i, struct virtio_net_hdr *header, uint8_t *frame,
		    uint32_t length)
{
	link->vectors[i][0] = (struct iovec){header, sizeof(*header)};
	link->vectors[i][1] = (struct iovec){frame, length};
	link->messages[i] = (struct mmsghdr){
		.msg_hdr = {.msg_iov = link->vectors[i], .msg_iovlen = 2},
	};
}

static int wait_readable(struct link *link, uint64_t timeout_ns)
{
	struct pollfd p = {.fd = link->fd, .events = POLLIN};
	struct timespec t = {timeout_ns / 1000000000, timeout_ns % 1000000000};

	if (ppoll(&p, 1, &t, NULL) < 0 && errno != EINTR)
		return -errno;
	return p.revents ? 1 : 0;
}

int link_receive(struct link *link, uint32_t max, uint64_t timeout_ns)
{
	uint64_t start = 0;
	int n, ret;

	for (uint32_t i = 0; i < max; i++)
		prepare(link, i, &link->in_header[i], link_in(link, i), link->stride);
	for (;;) {
		link->system_calls++;
		n = recvmmsg(link->fd, link->messages, max, MSG_DONTWAIT, NULL);
		if (n > 0)
			break;
		if (n < 0 && errno == ENETDOWN)
			continue;
		if (n < 0 && errno != EAGAIN && errno != EINTR)
			return -errno;
		if (!start)
			start = now_ns();
		if (now_ns() - start >= timeout_ns)
			return 0;
		if (link->spin)
			continue;
		ret = wait_readable(link, timeout_ns);
		if (ret < 0)
			return ret;
	}
	for (int i = 0; i < n; i++) {
		uint32_t got = link->messages[i].msg_len;

		link->in_length[i] = got > sizeof(struct virtio_net_hdr)
					     ? got - sizeof(struct virtio_net_hdr)
					     : 0;
	}
	return n;
}

int link_send(struct link *link, uint32_t n, uint64_t deadline_ns)
{
	uint32_t sent = 0;

	for (uint32_t i = 0; i < n; i++)
		prepare(link, i, &link->out_header[i], link_out(link, i), link->out_length[i]);
	/* Segmentation goes by what the socket says the protocol is, not by the frame. */
	link->to.sll_protocol = n ? htons(frame_get16(link_out(link, 0) + 12)) : 0;
	for (uint32_t i = 0; i < n; i++) {
		link->messages[i].msg_hdr.msg_name = &link->to;
		link->messages[i].msg_hdr.msg_namelen = sizeof(link->to);
	}
	while (sent < n) {
		uint64_t start;
		int ret;

		link->system_calls++;
		ret = sendmmsg(link->fd, &link->messages[sent], n - sent, 0);
		if (ret > 0) {
			sent += ret;
			continue;
		}
		if (errno != ENOBUFS && errno != EAGAIN && errno != EINTR)
			return -errno;
		link->retries++;
		start = now_ns();
		if (start > deadline_ns)
			return -ETIMEDOUT;
		while (now_ns() - start < RETRY_NS)
			if (!link->spin)
				usleep(RETRY_NS / 1000);
	}
	return 0;
}

uint64_t link_drops(struct link *link)
{
	struct tpacket_stats stats;
	socklen_t size = sizeof(stats);

	if (getsockopt(link->fd, SOL_PACKET, PACKET_STATISTICS, &stats, &size) < 0)
		return 0;
	return stats.tp_drops;
}
