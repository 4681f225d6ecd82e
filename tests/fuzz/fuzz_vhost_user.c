/*
 * The vhost-user back end, with a peer that answers anything: rings come and go, peers hang up and come again, and
 * each answer is the fuzzer's: right, wrong in one field, cut anywhere, with descriptors or without, late or never.
 *
 * The linker puts the functions here in the place of the system calls on the socket, so that no time passes and
 * no thread is needed: what is sent is checked, what is received is made up.
 *
 * Checked: each message sent is whole and well-formed, and its descriptors are open ones; what ring_stop() says is
 * a position that such a ring can have; no descriptor is left open.
 *
 * Input: a byte of set-up, then operations (run_one()), and within them answers (make_reply()).
 */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/log.h"
#include "input.h"
#include "net/net.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
ssize_t __wrap_sendmsg(int fd, const struct msghdr *msg, int flags);
ssize_t __wrap_recvmsg(int fd, struct msghdr *msg, int flags);
int __wrap_ppoll(struct pollfd *fds, nfds_t n, const struct timespec *time, const sigset_t *mask);
int __wrap_accept4(int fd, struct sockaddr *addr, socklen_t *len, int flags);
void __wrap_log_limited(struct log_limit *limit, const char *fmt, ...);
uint64_t __real_loop_now_ns(void);
uint64_t __wrap_loop_now_ns(void);

struct header {
	uint32_t request, flags, size;
};

/* The other end of the socket; one at a time. */
static struct {
	struct input in;
	struct header last; /* request that was sent */
	size_t sending;	    /* bytes of it that are still to come */
	uint8_t reply[512];
	size_t reply_at, reply_end;
	unsigned int reply_fds;
	int spare_fd; /* copies of it go with answers */
	int next;     /* what accept4() gives; -1 = nobody */
	int error_fd; /* from SET_VRING_ERR */
	unsigned int calls;
} peer;

static void check(bool ok)
{
	if (!ok)
		abort();
}

/* ---- system calls ---- */

ssize_t __wrap_sendmsg(int fd, const struct msghdr *msg, int flags)
{
	size_t len = 0, take;
	unsigned int how = (unsigned int)input_take(&peer.in, 1);

	check(flags & MSG_NOSIGNAL && flags & MSG_DONTWAIT && ++peer.calls < 100000);
	for (size_t i = 0; i < msg->msg_iovlen; i++)
		len += msg->msg_iov[i].iov_len;
	if (how == 255) {
		errno = how & 1 ? EPIPE : EAGAIN;
		return -1;
	}
	if (!peer.sending) {
		check(msg->msg_iov[0].iov_len == sizeof(peer.last));
		memcpy(&peer.last, msg->msg_iov[0].iov_base, sizeof(peer.last));
		check((peer.last.flags & ~8u) == 1 && peer.last.request >= 1 &&
		      peer.last.request <= 39 && len == sizeof(peer.last) + peer.last.size);
		peer.sending = len;
		peer.reply_at = peer.reply_end = 0;
		if (msg->msg_controllen) {
			const struct cmsghdr *c = CMSG_FIRSTHDR(msg);
			size_t n = (c->cmsg_len - CMSG_LEN(0)) / sizeof(int);

			check(n >= 1 && n <= 8);
			for (size_t i = 0; i < n; i++) {
				int passed;

				memcpy(&passed, CMSG_DATA(c) + i * sizeof(int), sizeof(int));
				check(fcntl(passed, F_GETFD) >= 0);
				if (peer.last.request == 14)
					peer.error_fd = passed;
			}
		}
	} else {
		check(!msg->msg_controllen && len == peer.sending);
	}
	take = how >= 240 ? 1 + how % len : len;
	peer.sending -= take;
	return (ssize_t)take;
}

/* An answer to the last request, most of the time. */
static void make_reply(void)
{
	unsigned int how = (unsigned int)input_take(&peer.in, 1);
	struct header h = {peer.last.request, 1 | 4, 8};
	size_t payload = 0;

	if (h.request == 24)
		h.size = peer.last.size;
	if (h.request == 31)
		h.size = 24;
	peer.reply_fds = h.request == 31;
	if ((how & 0xf) == 1)
		h.request = (uint32_t)input_take(&peer.in, 4);
	if ((how & 0xf) == 2)
		h.flags = (uint32_t)input_take(&peer.in, 4);
	if ((how & 0xf) == 3)
		h.size = (uint32_t)input_take(&peer.in, 4);
	if ((how & 0xf) == 4)
		peer.reply_fds = how >> 4;
	memset(peer.reply, 0, sizeof(peer.reply));
	memcpy(peer.reply, &h, sizeof(h));
	payload = h.size < sizeof(peer.reply) - sizeof(h) ? h.size : sizeof(peer.reply) - sizeof(h);
	/* Those that say yes by a zero say it. */
	if (how & 0x80 || h.request == 1 || h.request == 15 || h.request == 11 || h.request == 31)
		for (size_t i = 0; i < payload; i++)
			peer.reply[sizeof(h) + i] = (uint8_t)input_take(&peer.in, 1);
	else if (h.request == 17 || h.request == 36)
		peer.reply[sizeof(h)] = 16;
	peer.reply_at = 0;
	peer.reply_end = sizeof(h) + payload;
}

/* Passes n descriptors, as far as there is room. */
static void pass_fds(struct msghdr *msg, unsigned int n)
{
	unsigned int room = (unsigned int)((msg->msg_controllen - CMSG_LEN(0)) / sizeof(int));
	struct cmsghdr *c = (struct cmsghdr *)msg->msg_control;

	if (n > room) {
		msg->msg_flags |= MSG_CTRUNC;
		n = room;
	}
	c->cmsg_level = SOL_SOCKET;
	c->cmsg_type = SCM_RIGHTS;
	c->cmsg_len = CMSG_LEN(n * sizeof(int));
	msg->msg_controllen = CMSG_SPACE(n * sizeof(int));
	for (unsigned int i = 0; i < n; i++) {
		int fd = fcntl(peer.spare_fd, F_DUPFD_CLOEXEC, 0);

		check(fd >= 0);
		memcpy(CMSG_DATA(c) + i * sizeof(int), &fd, sizeof(int));
	}
}

ssize_t __wrap_recvmsg(int fd, struct msghdr *msg, int flags)
{
	unsigned int how = (unsigned int)input_take(&peer.in, 1);
	size_t n;

	check(flags & MSG_CMSG_CLOEXEC && flags & MSG_DONTWAIT && ++peer.calls < 100000);
	msg->msg_flags = 0;
	if (!peer.in.n || how == 254)
		return 0;
	if (how == 255) {
		errno = EAGAIN;
		return -1;
	}
	if (peer.reply_at == peer.reply_end)
		make_reply();
	if (peer.reply_fds)
		pass_fds(msg, peer.reply_fds);
	else
		msg->msg_controllen = 0;
	peer.reply_fds = 0;
	n = peer.reply_end - peer.reply_at;
	if (n > msg->msg_iov[0].iov_len)
		n = msg->msg_iov[0].iov_len;
	if (how >= 240)
		n = 1 + how % n;
	memcpy(msg->msg_iov[0].iov_base, peer.reply + peer.reply_at, n);
	peer.reply_at += n;
	return (ssize_t)n;
}

int __wrap_ppoll(struct pollfd *fds, nfds_t n, const struct timespec *time, const sigset_t *mask)
{
	unsigned int how = (unsigned int)input_take(&peer.in, 1);

	check(time && time->tv_sec == 0 && time->tv_nsec < 1000000000);
	if (how & 1) {
		errno = EINTR;
		return -1;
	}
	return how & 2 ? 1 : 0;
}

int __wrap_accept4(int fd, struct sockaddr *addr, socklen_t *len, int flags)
{
	int next = peer.next;

	peer.next = -1;
	if (next < 0)
		errno = EAGAIN;
	return next;
}

void __wrap_log_limited(struct log_limit *limit, const char *fmt, ...)
{
}

/* For the back end it is two seconds ago, so that no timer of its makes us wait. */
uint64_t __wrap_loop_now_ns(void)
{
	return __real_loop_now_ns() - 2000000000;
}

/* ---- the machine ---- */

static struct {
	struct mem mem;
	struct loop *loop;
	struct net_host host;
	struct net_socket socket;
	struct net_backend *net;
	int bell, listener; /* eventfds */
	int other;	    /* the socket's other end */
	bool started[8];
	struct loop_fd quit;
	unsigned int rounds;
	uint64_t features; /* the driver's */
} vm;

static int give_socket(const struct net_host *host, const char *chardev, struct net_socket *out,
		       struct err *err)
{
	*out = vm.socket;
	vm.socket.fd = -1;
	return 0;
}

/* Readable all the time: ends the run when the loop has looked at its descriptors a few times. */
static void quit(struct loop_fd *lf, uint32_t events)
{
	if (!--vm.rounds)
		loop_quit(vm.loop);
}

static void set_up_once(void)
{
	static const struct mem_config config = {.size = 2 << 20, .shared = true};
	struct err err;

	if (vm.loop)
		return;
	check(!mem_create(&vm.mem, &config, &err) && !mem_add_range(&vm.mem, 0, 1 << 20, 0) &&
	      !mem_add_range(&vm.mem, 1ull << 32, 1 << 20, 1 << 20));
	check(!loop_create(&vm.loop, "fuzz", 0, &err));
	vm.host = (struct net_host){.control = vm.loop, .socket = give_socket};
	vm.bell = eventfd(0, EFD_NONBLOCK);
	vm.listener = eventfd(0, EFD_NONBLOCK);
	vm.quit = (struct loop_fd){.ready = quit, .fd = eventfd(1, 0)};
	check(!loop_fd_add(vm.loop, &vm.quit, 0));
	peer.spare_fd = memfd_create("inflight", 0);
	check(!ftruncate(peer.spare_fd, 1 << 16));
}

/* A connected socket of which both ends are here. */
static int new_socket(void)
{
	int pair[2];

	check(!socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, pair));
	if (vm.other >= 0)
		close(vm.other);
	vm.other = pair[1];
	peer.sending = 0;
	/* There seems to be an answer; what it is, recvmsg() says. */
	check(write(pair[1], "", 1) == 1);
	return pair[0];
}

static void run_loop(void)
{
	vm.rounds = 4;
	loop_fd_mod(&vm.quit, EPOLLIN);
	loop_run(vm.loop);
	loop_fd_mod(&vm.quit, 0);
}

static void count_carrier(void *opaque)
{
	++*(unsigned int *)opaque;
}

/* Of a peer that may be none: false. */
static bool make(unsigned int how)
{
	struct opt_list list;
	struct err err = {0};

	vm.socket = (struct net_socket){.path = "p",
					.server = how & 1,
					.reconnect_s = how & 2,
					.listen_fd = vm.listener,
					.fd = how & 4 ? new_socket() : -1};
	check(!opt_parse(&list, "-netdev",
			 how & 8 ? "vhost-user,chardev=c,queues=4" : "vhost-user,chardev=c", "type",
			 &err));
	opt_take(&list, "type");
	vm.net = net_create(&vm.host, "vhost-user", "n0", &list, &err);
	opt_free(&list);
	check(vm.net || err.code < 0);
	return vm.net;
}

static void ring_start(unsigned int index)
{
	struct net_ring ring = {
		.size = (uint16_t)(1u << (input_take(&peer.in, 1) & 7)),
		.desc = input_take(&peer.in, 2) << 4,
		.avail = input_take(&peer.in, 2) << 4,
		.used = input_take(&peer.in, 5),
		.position =
			input_take(&peer.in, 1) ? UINT32_MAX : (uint32_t)input_take(&peer.in, 2),
		.kick_fd = vm.bell,
		.call_fd = index & 1 ? vm.bell : -1,
	};

	if (!vm.net->ops->ring_start(vm.net->queue[index / 2], index % 2, &ring))
		vm.started[index] = true;
}

static void ring_stop(unsigned int index)
{
	struct net_ring ring = {0};

	vm.net->ops->ring_stop(vm.net->queue[index / 2], index % 2, &ring);
	vm.started[index] = false;
	check(vm.features >> 34 & 1 ? ring.position != UINT32_MAX : ring.position <= UINT16_MAX);
}

static void stop_all(void)
{
	for (unsigned int i = 0; i < 8; i++)
		if (vm.started[i])
			ring_stop(i);
	check(!vm.net->ops->rings_prepare(vm.net, NULL, 0));
}

static void run_one(void)
{
	unsigned int op = (unsigned int)input_take(&peer.in, 1);
	unsigned int index = (op >> 4) % (vm.net->n_queues * 2);
	uint16_t word;
	json_t *info;

	switch (op & 0xf) {
	case 0:
	case 1:
		if (vm.started[index])
			ring_stop(index);
		else
			ring_start(index);
		break;
	case 2:
	case 3:
		stop_all();
		vm.features = vm.net->ring_features & ~input_take(&peer.in, 8);
		check(!vm.net->ops->rings_prepare(vm.net, &vm.mem, vm.features));
		break;
	case 4:
		if (vm.started[index])
			vm.net->ops->ring_set_call(vm.net->queue[index / 2], index % 2,
						   op & 16 ? vm.bell : -1);
		break;
	case 5:
		vm.net->ops->set_queues(vm.net, op >> 4);
		break;
	case 6: /* a word of the guest's */
		word = (uint16_t)input_take(&peer.in, 2);
		mem_write(&vm.mem, input_take(&peer.in, 2) << 1, &word, 2);
		break;
	case 7: /* hangs up */
		if (vm.other >= 0)
			close(vm.other);
		vm.other = -1;
		run_loop();
		break;
	case 8: /* another one */
	case 9:
		run_loop();
		if (!vm.socket.server || !net_link_is_down(vm.net))
			break;
		peer.next = new_socket();
		eventfd_write(vm.listener, 1);
		run_loop();
		if (peer.next >= 0)
			close(peer.next);
		peer.next = -1;
		break;
	case 10:
		if (peer.error_fd >= 0)
			eventfd_write(peer.error_fd, 1);
		run_loop();
		break;
	default:
		info = json_object();
		net_info(vm.net, info);
		json_decref(info);
		break;
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static const struct net_events events = {.carrier = count_carrier};
	unsigned int carriers = 0;
	eventfd_t n;
	int before, after;

	set_up_once();
	peer.in = (struct input){data, size};
	peer.sending = peer.reply_at = peer.reply_end = peer.calls = 0;
	peer.next = peer.error_fd = vm.other = -1;
	memset(vm.started, 0, sizeof(vm.started));
	eventfd_read(vm.listener, &n);
	before = dup(vm.bell);
	close(before);
	if (make((unsigned int)input_take(&peer.in, 1))) {
		vm.net->events = &events;
		vm.net->events_opaque = &carriers;
		while (peer.in.n)
			run_one();
		stop_all();
		net_destroy(vm.net);
	}
	if (vm.other >= 0)
		close(vm.other);
	eventfd_read(vm.bell, &n);
	after = dup(vm.bell);
	close(after);
	check(before == after);
	return 0;
}
