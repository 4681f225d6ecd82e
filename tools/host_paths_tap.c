/*
 * Ways through a TAP: one write() or read() per frame, plainly, with IFF_NAPI, and with two queues.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/if_tun.h>
#include <net/if.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "host_paths.h"

static int tap_open(const char *ifname, short flags)
{
	struct ifreq ifr = {.ifr_flags = (short)(IFF_TAP | IFF_NO_PI | flags)};
	int fd = open("/dev/net/tun", O_RDWR | O_NONBLOCK | O_CLOEXEC), size = INT32_MAX;

	strncpy(ifr.ifr_name, ifname, IFNAMSIZ - 1);
	if (fd < 0 || ioctl(fd, TUNSETIFF, &ifr) || ioctl(fd, TUNSETSNDBUF, &size))
		path_fail(ifname);
	return fd;
}

static void tap_plain(struct path_run *run)
{
	run->fd[0] = tap_open(run->ifname, 0);
}

static void tap_napi(struct path_run *run)
{
	run->fd[0] = tap_open(run->ifname, IFF_NAPI);
}

static void tap_queues(struct path_run *run)
{
	run->fd[0] = tap_open(run->ifname, IFF_MULTI_QUEUE);
	run->fd[1] = tap_open(run->ifname, IFF_MULTI_QUEUE);
}

static void tap_write(struct path_run *run, int fd)
{
	run->syscalls++;
	if (write(fd, run->frame, run->size) > 0)
		run->moved++;
	else if (errno != EAGAIN)
		path_fail("write to the TAP");
}

static void tap_out(struct path_run *run, uint64_t until)
{
	while (run->moved < until)
		tap_write(run, run->fd[0]);
}

/* One thread, two queues by turns: what a monitor with one queue pair could do. */
static void tap_out_turns(struct path_run *run, uint64_t until)
{
	for (unsigned int i = 0; run->moved < until; i++)
		tap_write(run, run->fd[i & 1]);
}

static void tap_in(struct path_run *run, uint64_t until)
{
	uint8_t buf[PATH_FRAME_MAX];

	while (run->moved < until) {
		run->syscalls++;
		if (read(run->fd[0], buf, sizeof(buf)) > 0)
			run->moved++;
		else if (errno != EAGAIN)
			path_fail("read from the TAP");
		else if (!path_wait(run, run->fd[0]))
			return;
	}
}

const struct path path_tap_out = {"tap-out", false, tap_plain, tap_out};
const struct path path_tap_napi_out = {"tap-napi-out", false, tap_napi, tap_out};
const struct path path_tap_queues_out = {"tap-queues-out", false, tap_queues, tap_out_turns};
const struct path path_tap_in = {"tap-in", true, tap_plain, tap_in};
