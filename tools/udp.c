/*
 * UDP that one side sends faster than the other takes it, for the losses that docs/udp-losses.md tells of.
 *
 *	udp send ADDRESS PORT COUNT SIZE [RATE [SEGMENT]]
 *		sends COUNT datagrams of SIZE bytes, RATE in a second (0, or none: as fast as it can), and
 *		says how many the kernel took. SEGMENT: each is handed to the kernel as one, to be cut into
 *		datagrams of so many bytes (UDP_SEGMENT, udp(7))
 *	udp take PORT [PASSES [BUFFER]]
 *		takes datagrams, and adds up the bytes of each PASSES times: so much work it is. BUFFER: bytes
 *		for SO_RCVBUF. Ends with SIGTERM
 *
 * The sender hands over up to 64 datagrams at a time (sendmmsg). Losses are counted by the kernels on the way, which
 * is the point: nothing here numbers or counts what comes.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/udp.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define BATCH	     64
#define SIZE_MAX_UDP 65507

static int failed(const char *what)
{
	fprintf(stderr, "udp: %s: %s\n", what, strerror(errno));
	return 1;
}

static double now(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec + t.tv_nsec / 1e9;
}

static void wait_until(double due)
{
	struct timespec t = {.tv_sec = (time_t)due, .tv_nsec = (long)((due - (time_t)due) * 1e9)};

	while (clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &t, NULL) == EINTR)
		;
}

static int udp_send(const char *address, unsigned int port, unsigned long count, size_t size,
		    double rate, int segment)
{
	struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons((uint16_t)port)};
	static char data[SIZE_MAX_UDP];
	struct iovec iov = {data, size};
	struct mmsghdr m[BATCH];
	/* At a rate, a hundredth of a second's worth at a time. */
	unsigned long batch = rate > 0 && rate < 100 * BATCH ? (unsigned long)(rate / 100) : BATCH;
	unsigned long sent = 0, refused = 0;
	int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	double began = now();

	if (fd < 0 || inet_pton(AF_INET, address, &to.sin_addr) != 1 ||
	    connect(fd, (struct sockaddr *)&to, sizeof(to)))
		return failed(address);
	if (segment && setsockopt(fd, IPPROTO_UDP, UDP_SEGMENT, &segment, sizeof(segment)))
		return failed("UDP_SEGMENT");
	for (unsigned int i = 0; i < BATCH; i++)
		m[i] = (struct mmsghdr){.msg_hdr = {.msg_iov = &iov, .msg_iovlen = 1}};
	batch = batch ? batch : 1;
	while (sent + refused < count) {
		unsigned long left = count - sent - refused;
		int n = sendmmsg(fd, m, (unsigned int)(left < batch ? left : batch), 0);

		if (n > 0)
			sent += (unsigned long)n;
		else
			refused++;
		if (rate > 0)
			wait_until(began + (double)(sent + refused) / rate);
	}
	printf("sent=%lu refused=%lu seconds=%.3f\n", sent, refused, now() - began);
	return 0;
}

static int udp_take(unsigned int port, unsigned long passes, int buffer)
{
	struct sockaddr_in own = {.sin_family = AF_INET, .sin_port = htons((uint16_t)port)};
	static uint8_t data[SIZE_MAX_UDP];
	int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	uint32_t sum = 0;
	ssize_t n;

	if (fd < 0 || (buffer && setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &buffer, sizeof(buffer))) ||
	    bind(fd, (struct sockaddr *)&own, sizeof(own)))
		return failed("the socket");
	while ((n = recv(fd, data, sizeof(data), 0)) >= 0) {
		for (unsigned long pass = 0; pass < passes; pass++)
			for (ssize_t i = 0; i < n; i++)
				sum = sum * 31 + data[i];
		__asm__ volatile("" : : "r"(sum)); /* somebody wants to know */
	}
	return failed("recv");
}

static unsigned long number(int argc, char **argv, int index)
{
	return index < argc ? strtoul(argv[index], NULL, 10) : 0;
}

int main(int argc, char **argv)
{
	if (argc >= 6 && !strcmp(argv[1], "send") && number(argc, argv, 5) <= SIZE_MAX_UDP)
		return udp_send(argv[2], (unsigned int)number(argc, argv, 3), number(argc, argv, 4),
				number(argc, argv, 5), (double)number(argc, argv, 6),
				(int)number(argc, argv, 7));
	if (argc >= 3 && !strcmp(argv[1], "take"))
		return udp_take((unsigned int)number(argc, argv, 2), number(argc, argv, 3),
				(int)number(argc, argv, 4));
	fprintf(stderr, "udp send ADDRESS PORT COUNT SIZE [RATE [SEGMENT]]\nudp take PORT [PASSES "
			"[BUFFER]]\n");
	return 2;
}
