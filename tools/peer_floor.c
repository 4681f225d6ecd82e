/*
 * The floor: one write() per frame into a TAP, or one read() per frame out of it, with nothing
 * around. No monitor that uses these calls is faster; the distance from here is what it costs
 * itself. The TAP is opened, or made, as a monitor would do it. Reading needs traffic: a second
 * thread sends it through a packet socket, like `peer source`.
 */
#include "peer.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/if_tun.h>
#include <net/if.h>
#include <poll.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/uio.h>
#include <unistd.h>

#define HEADER_BYTES 12 /* virtio_net_hdr_mrg_rxbuf, as virtio 1.x drivers have it */

struct sender {
	const struct peer_options *options;
	atomic_bool stop;
};

static uint64_t thread_cpu_ns(void)
{
	struct timespec t;

	clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
	return t.tv_sec * 1000000000ull + t.tv_nsec;
}

static int set_up(const char *interface)
{
	struct ifreq request = {0};
	int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0), ret = 0;

	if (fd < 0)
		return -errno;
	strncpy(request.ifr_name, interface, IFNAMSIZ - 1);
	if (ioctl(fd, SIOCGIFFLAGS, &request) < 0) {
		ret = -errno;
	} else {
		request.ifr_flags |= IFF_UP;
		if (ioctl(fd, SIOCSIFFLAGS, &request) < 0)
			ret = -errno;
	}
	close(fd);
	return ret;
}

/* Opens or makes the TAP, and sets it up. Returns its descriptor or -errno. */
static int open_tap(const struct peer_options *o)
{
	struct ifreq request = {.ifr_flags = IFF_TAP | IFF_NO_PI};
	int fd, header = HEADER_BYTES, ret;

	if (strlen(o->interface) >= IFNAMSIZ)
		return -ENODEV;
	fd = open("/dev/net/tun", O_RDWR | O_CLOEXEC | O_NONBLOCK);
	if (fd < 0)
		return -errno;
	strcpy(request.ifr_name, o->interface);
	if (o->vnet_hdr)
		request.ifr_flags |= IFF_VNET_HDR;
	if (ioctl(fd, TUNSETIFF, &request) < 0 ||
	    (o->vnet_hdr && ioctl(fd, TUNSETVNETHDRSZ, &header) < 0))
		ret = -errno;
	else
		ret = set_up(o->interface);
	if (!ret)
		return fd;
	close(fd);
	return ret;
}

static void print_result(const struct peer_options *o, uint64_t n, uint64_t ns, uint64_t cpu_ns)
{
	uint64_t frames = n ? n : 1;

	printf("peer: mode=floor result=%s side=%s frames=%lu size=%u ns=%lu ns_per_frame=%lu "
	       "cpu_ns_per_frame=%lu frames_per_s=%lu\n",
	       n == o->count ? "ok" : "fail", o->read ? "read" : "write", n, o->size, ns,
	       ns / frames, cpu_ns / frames, (uint64_t)(n * 1e9 / (ns ? ns : 1)));
}

static int floor_write(const struct peer_options *o, int fd)
{
	static uint8_t buffer[HEADER_BYTES + FRAME_MAX];
	uint8_t *frame = buffer + (o->vnet_hdr ? HEADER_BYTES : 0);
	size_t length = o->size + (frame - buffer);
	uint64_t n = 0, start, cpu;

	memcpy(frame, (uint8_t[6])FRAME_PEER_MAC, 6);
	memcpy(frame + 6, "\x52\x54\x00\x12\x34\x56", 6);
	frame_put16(frame + 12, FRAME_ETHERTYPE);
	start = now_ns();
	cpu = thread_cpu_ns();
	for (; n < o->count; n++)
		if (write(fd, buffer, length) < 0 && errno != EAGAIN)
			break;
	print_result(o, n, now_ns() - start, thread_cpu_ns() - cpu);
	return n != o->count;
}

static void *send_thread(void *argument)
{
	struct sender *s = argument;
	static struct link link;

	if (link_open(&link, s->options->interface, 0, true))
		return NULL;
	for (uint32_t i = 0; i < LINK_BATCH; i++) {
		memcpy(link_out(&link, i), (uint8_t[6])FRAME_PEER_MAC, 6);
		frame_put16(link_out(&link, i) + 12, FRAME_ETHERTYPE);
		link.out_length[i] = s->options->size;
	}
	while (!atomic_load(&s->stop))
		if (link_send(&link, LINK_BATCH, now_ns() + 1000000000))
			break;
	link_close(&link);
	return NULL;
}

static int floor_read(const struct peer_options *o, int fd)
{
	static uint8_t buffer[HEADER_BYTES + FRAME_MAX];
	struct sender s = {.options = o};
	struct pollfd p = {.fd = fd, .events = POLLIN};
	uint64_t n = 0, start, cpu, waited = 0;
	pthread_t thread;

	if (pthread_create(&thread, NULL, send_thread, &s))
		return 1;
	poll(&p, 1, 5000);
	start = now_ns();
	cpu = thread_cpu_ns();
	while (n < o->count) {
		if (read(fd, buffer, sizeof(buffer)) > 0) {
			n++;
			continue;
		}
		if (errno != EAGAIN)
			break;
		/* Empty polls are not part of the price of a frame. */
		uint64_t before = thread_cpu_ns();

		if (poll(&p, 1, 5000) <= 0)
			break;
		waited += thread_cpu_ns() - before;
	}
	print_result(o, n, now_ns() - start, thread_cpu_ns() - cpu - waited);
	atomic_store(&s.stop, true);
	close(fd);
	pthread_join(thread, NULL);
	return n != o->count;
}

int peer_floor(const struct peer_options *o)
{
	int fd = open_tap(o), ret;

	if (fd < 0) {
		printf("peer: mode=floor result=fail reason=%s error=%s\n", o->interface,
		       strerror(-fd));
		return 1;
	}
	if (o->read)
		return floor_read(o, fd);
	ret = floor_write(o, fd);
	close(fd);
	return ret;
}
