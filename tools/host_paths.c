/*
 * host-paths NAME IFNAME PEER FRAMES SIZE: what it costs to move frames between a process and an
 * interface of the host by one way, as a line of JSON. bench/host-paths makes the interfaces, runs all
 * ways by turns and prints a table.
 *
 * The process moves frames on processor 0. For ways in, a child on processor 1 sends as fast as it can,
 * so the way in is always full; what it can't take is lost at the interface and costs the child, not us.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <linux/if_packet.h>
#include <net/if.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "host_paths.h"

#define WARM_UP 20000 /* frames before the clock starts */

static const struct path *const paths[] = {
	&path_tap_out,	       &path_tap_napi_out, &path_tap_queues_out, &path_packet_out,
	&path_packet_ring_out, &path_xdp_out,	   &path_tap_in,	 &path_packet_in,
	&path_packet_ring_in,  &path_xdp_in,
};

void path_fail(const char *what)
{
	fprintf(stderr, "host-paths: %s: %s\n", what, strerror(errno));
	exit(1);
}

bool path_wait(struct path_run *run, int fd)
{
	struct pollfd p = {.fd = fd, .events = POLLIN};

	run->syscalls++;
	return poll(&p, 1, 1000) > 0;
}

int path_packet_socket(const char *ifname)
{
	struct sockaddr_ll addr = {
		.sll_family = AF_PACKET,
		.sll_protocol = htons(PATH_ETHERTYPE),
		.sll_ifindex = (int)if_nametoindex(ifname),
	};
	int fd = socket(AF_PACKET, SOCK_RAW, 0), one = 1;

	if (fd < 0)
		path_fail("AF_PACKET");
	if (setsockopt(fd, SOL_PACKET, PACKET_QDISC_BYPASS, &one, sizeof(one)))
		path_fail("PACKET_QDISC_BYPASS");
	if (bind(fd, (struct sockaddr *)&addr, sizeof(addr)))
		path_fail(ifname);
	return fd;
}

static void pin(int cpu)
{
	cpu_set_t set;

	CPU_ZERO(&set);
	CPU_SET(cpu, &set);
	if (sched_setaffinity(0, sizeof(set), &set))
		path_fail("a processor of its own for each side (two are needed)");
}

/* The child: sends on the interface for ever. */
static void flood(const struct path_run *run)
{
	int fd = path_packet_socket(run->peer);
	struct iovec iov = {(void *)run->frame, run->size};
	struct mmsghdr msgs[PATH_BATCH] = {0};

	for (int i = 0; i < PATH_BATCH; i++) {
		msgs[i].msg_hdr.msg_iov = &iov;
		msgs[i].msg_hdr.msg_iovlen = 1;
	}
	pin(1);
	for (;;)
		(void)!sendmmsg(fd, msgs, PATH_BATCH, 0); /* ENOBUFS: it is full, as it should be */
}

static pid_t start_flood(const struct path_run *run)
{
	pid_t pid = fork();

	if (pid < 0)
		path_fail("fork");
	if (pid)
		return pid;
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	flood(run);
	return 0;
}

static double seconds(clockid_t clock)
{
	struct timespec t;

	clock_gettime(clock, &t);
	return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

/* Time that the machine's processors didn't idle: other processes' and interrupts' too. */
static double busy_seconds(void)
{
	unsigned long long user, nice, system, idle, iowait, irq, softirq;
	FILE *stat = fopen("/proc/stat", "re");

	if (!stat || fscanf(stat, "cpu %llu %llu %llu %llu %llu %llu %llu", &user, &nice, &system,
			    &idle, &iowait, &irq, &softirq) != 7)
		path_fail("/proc/stat");
	fclose(stat);
	return (double)(user + nice + system + irq + softirq) / (double)sysconf(_SC_CLK_TCK);
}

static void report(const struct path *path, const struct path_run *run, uint64_t moved,
		   uint64_t syscalls, double wall, double cpu, double busy)
{
	const double n = (double)moved;

	if (!moved) {
		fprintf(stderr, "host-paths: %s moved no frame\n", path->name);
		exit(1);
	}
	printf("{\"path\": \"%s\", \"size\": %zu, \"frames\": %llu, \"frames_per_s\": %.0f, "
	       "\"cpu_ns\": %.1f, \"machine_ns\": %.1f, \"syscalls\": %.4f}\n",
	       path->name, run->size, (unsigned long long)moved, n / wall, cpu / n * 1e9,
	       busy / n * 1e9, (double)syscalls / n);
}

static void measure(const struct path *path, struct path_run *run)
{
	pid_t child = 0;
	double wall, cpu, busy;
	uint64_t moved, syscalls;

	path->open(run);
	if (path->in)
		child = start_flood(run);
	pin(0);
	path->move(run, WARM_UP);
	moved = run->moved;
	syscalls = run->syscalls;
	wall = seconds(CLOCK_MONOTONIC);
	cpu = seconds(CLOCK_PROCESS_CPUTIME_ID);
	busy = busy_seconds();
	path->move(run, moved + run->frames);
	busy = busy_seconds() - busy;
	cpu = seconds(CLOCK_PROCESS_CPUTIME_ID) - cpu;
	wall = seconds(CLOCK_MONOTONIC) - wall;
	if (child) {
		kill(child, SIGKILL);
		waitpid(child, NULL, 0);
	}
	report(path, run, run->moved - moved, run->syscalls - syscalls, wall, cpu, busy);
}

int main(int argc, char **argv)
{
	struct path_run run = {.fd = {-1, -1}};
	const struct path *path = NULL;

	for (size_t i = 0; argc > 1 && i < sizeof(paths) / sizeof(paths[0]); i++)
		if (!strcmp(paths[i]->name, argv[1]))
			path = paths[i];
	if (argc != 6 || !path) {
		fprintf(stderr, "usage: host-paths NAME IFNAME PEER FRAMES SIZE\nNAME:");
		for (size_t i = 0; i < sizeof(paths) / sizeof(paths[0]); i++)
			fprintf(stderr, " %s", paths[i]->name);
		fputc('\n', stderr);
		return 2;
	}
	run.ifname = argv[2];
	run.peer = argv[3];
	run.frames = strtoull(argv[4], NULL, 0);
	run.size = strtoul(argv[5], NULL, 0);
	if (run.size < 14 || run.size > PATH_FRAME_MAX) {
		fprintf(stderr, "host-paths: a frame has 14 to %d bytes\n", PATH_FRAME_MAX);
		return 2;
	}
	memset(run.frame, 0xff, 6); /* to everybody */
	memcpy(run.frame + 6, "\x02\0\0\0\0\x01\x88\xb5", 8);
	measure(path, &run);
	return 0;
}
