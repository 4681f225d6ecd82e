/*
 * vhost-user messages: see vhost_user_msg.h. Any thread; the caller has the owner's lock.
 *
 *	+---------+-------+------+------------ - -
 *	| request | flags | size | payload            u32 each; size: bytes of payload
 *	+---------+-------+------+------------ - -
 *
 * Descriptors come with the first byte of a message (unix(7)). All that come are taken, so that none
 * that isn't wanted stays open.
 */
#include "net/vhost_user_msg.h"

#include <errno.h>
#include <poll.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/loop.h"

enum {
	VU_VERSION = 1,
	VU_VERSION_MASK = 3,
	VU_REPLY = 1 << 2,
	VU_NEED_REPLY = 1 << 3,
};

struct vu_header {
	uint32_t request, flags, size;
};

union vu_control {
	struct cmsghdr align;
	char bytes[CMSG_SPACE(VU_FDS_MAX * sizeof(int))];
};

void vu_channel_open(struct vu_channel *c, int fd, struct vu_counters *counters)
{
	*c = (struct vu_channel){.fd = fd,
				 .budget_ns = VU_BUDGET_NS,
				 .budget_time = loop_now_ns(),
				 .counters = counters};
}

void vu_channel_close(struct vu_channel *c)
{
	if (c->fd >= 0)
		close(c->fd);
	c->fd = -1;
	c->failed = c->reply_ack = false;
}

void vu_channel_fail(struct vu_channel *c, const char *why)
{
	if (!vu_channel_is_up(c))
		return;
	c->failed = true;
	c->why = why;
	shutdown(c->fd, SHUT_RDWR);
}

static int vu_fail(struct vu_channel *c, int error, const char *why)
{
	vu_channel_fail(c, why);
	return error;
}

static int vu_fail_reply(struct vu_channel *c, const char *why)
{
	counter_add(&c->counters->bad_replies, 1);
	return vu_fail(c, -EPROTO, why);
}

/* Waits until the socket is ready for events, or the budget is used up. */
static int vu_wait(struct vu_channel *c, short events)
{
	struct pollfd p = {.fd = c->fd, .events = events};
	uint64_t start = loop_now_ns(), took;
	struct timespec most;
	int n;

	c->budget_ns += (start - c->budget_time) / VU_REFILL;
	if (c->budget_ns > VU_BUDGET_NS)
		c->budget_ns = VU_BUDGET_NS;
	most = (struct timespec){.tv_nsec = (long)c->budget_ns}; /* less than a second */
	n = ppoll(&p, 1, &most, NULL);
	c->budget_time = loop_now_ns();
	took = c->budget_time - start;
	c->budget_ns -= took < c->budget_ns ? took : c->budget_ns;
	if (n > 0 || (n < 0 && errno == EINTR && c->budget_ns))
		return 0; /* after a signal: the caller finds nothing, and comes again */
	counter_add(&c->counters->timeouts, 1);
	return vu_fail(c, -ETIMEDOUT, "it doesn't answer in time");
}

/* ---- sending ---- */

static int vu_send(struct vu_channel *c, enum vu_request request, bool need_reply,
		   const void *payload, uint32_t size, const int *fds, unsigned int n_fds)
{
	struct vu_header header = {
		.request = request,
		.flags = VU_VERSION | (need_reply ? VU_NEED_REPLY : 0),
		.size = size,
	};
	struct iovec iov[2] = {{&header, sizeof(header)}, {(void *)payload, size}};
	struct msghdr msg = {.msg_iov = iov, .msg_iovlen = size ? 2 : 1};
	size_t left = sizeof(header) + size;
	union vu_control control = {0};
	struct cmsghdr *cmsg;
	ssize_t n;
	int r;

	if (!vu_channel_is_up(c))
		return -ENOTCONN;
	if (n_fds) {
		msg.msg_control = control.bytes;
		msg.msg_controllen = CMSG_SPACE(n_fds * sizeof(int));
		cmsg = CMSG_FIRSTHDR(&msg);
		cmsg->cmsg_level = SOL_SOCKET;
		cmsg->cmsg_type = SCM_RIGHTS;
		cmsg->cmsg_len = CMSG_LEN(n_fds * sizeof(int));
		memcpy(CMSG_DATA(cmsg), fds, n_fds * sizeof(int));
	}
	counter_add(&c->counters->requests, 1);
	while (left) {
		n = sendmsg(c->fd, &msg, MSG_DONTWAIT | MSG_NOSIGNAL);
		if (n < 0 && errno == EAGAIN) {
			r = vu_wait(c, POLLOUT);
			if (r)
				return r;
			continue;
		}
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return vu_fail(c, -errno, "it closed the connection");
		left -= (size_t)n;
		msg.msg_control = NULL; /* went with the first byte */
		msg.msg_controllen = 0;
		for (size_t i = 0; i < msg.msg_iovlen; i++) {
			size_t part = (size_t)n < iov[i].iov_len ? (size_t)n : iov[i].iov_len;

			iov[i].iov_base = (uint8_t *)iov[i].iov_base + part;
			iov[i].iov_len -= part;
			n -= (ssize_t)part;
		}
	}
	return 0;
}

/* ---- receiving ---- */

/* What came: the first descriptor, and how many. */
struct vu_fds {
	int first;
	unsigned int n;
};

static void vu_take_fds(struct msghdr *msg, struct vu_fds *fds)
{
	for (struct cmsghdr *cmsg = CMSG_FIRSTHDR(msg); cmsg; cmsg = CMSG_NXTHDR(msg, cmsg)) {
		unsigned int n = (unsigned int)((cmsg->cmsg_len - CMSG_LEN(0)) / sizeof(int));

		if (cmsg->cmsg_level != SOL_SOCKET || cmsg->cmsg_type != SCM_RIGHTS)
			continue;
		for (unsigned int i = 0; i < n; i++) {
			int fd;

			memcpy(&fd, CMSG_DATA(cmsg) + i * sizeof(int), sizeof(int));
			if (fds->n++)
				close(fd);
			else
				fds->first = fd;
		}
	}
	if (msg->msg_flags & MSG_CTRUNC) /* there were more, which the kernel has closed */
		fds->n = VU_FDS_MAX + 1;
}

static int vu_receive(struct vu_channel *c, void *buf, size_t size, struct vu_fds *fds)
{
	for (size_t at = 0; at < size;) {
		struct iovec iov = {(uint8_t *)buf + at, size - at};
		union vu_control control;
		struct msghdr msg = {.msg_iov = &iov,
				     .msg_iovlen = 1,
				     .msg_control = control.bytes,
				     .msg_controllen = sizeof(control.bytes)};
		ssize_t n = recvmsg(c->fd, &msg, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);
		int r = 0;

		if (n > 0) {
			vu_take_fds(&msg, fds);
			at += (size_t)n;
		} else if (!n) {
			return vu_fail(c, -ECONNRESET, "it closed the connection");
		} else if (errno == EAGAIN) {
			r = vu_wait(c, POLLIN);
		} else if (errno != EINTR) {
			return vu_fail(c, -errno, "it closed the connection");
		}
		if (r)
			return r;
	}
	return 0;
}

static int vu_check(struct vu_channel *c, const struct vu_header *header, enum vu_request request,
		    uint32_t size)
{
	if ((header->flags & VU_VERSION_MASK) != VU_VERSION)
		return vu_fail_reply(c, "it speaks another version of the protocol");
	if (!(header->flags & VU_REPLY) || header->request != (uint32_t)request)
		return vu_fail_reply(c, "it said something else than was asked");
	/* GET_CONFIG: no payload means that there is nothing to tell. */
	if (header->size != size && (header->size || request != VU_GET_CONFIG))
		return vu_fail_reply(c, "its answer has a wrong size");
	return 0;
}

/* fds: what has to be closed when this fails, also. */
static int vu_answer(struct vu_channel *c, enum vu_request request, void *reply, uint32_t size,
		     struct vu_fds *fds, unsigned int want_fds)
{
	struct vu_header header;
	int r = vu_receive(c, &header, sizeof(header), fds);

	if (!r)
		r = vu_check(c, &header, request, size);
	if (!r)
		r = vu_receive(c, reply, header.size, fds);
	if (!r && fds->n != want_fds)
		r = vu_fail_reply(c, "its answer has a wrong number of file descriptors");
	return r;
}

int vu_ask(struct vu_channel *c, enum vu_request request, const void *payload, uint32_t size,
	   void *reply, uint32_t reply_size, int *fd)
{
	struct vu_fds fds = {.first = -1};
	int r = vu_send(c, request, false, payload, size, NULL, 0);

	if (!r)
		r = vu_answer(c, request, reply, reply_size, &fds, fd ? 1 : 0);
	if (r && fds.first >= 0)
		close(fds.first);
	if (!r && fd)
		*fd = fds.first;
	return r;
}

int vu_ask_u64(struct vu_channel *c, enum vu_request request, uint64_t *value)
{
	return vu_ask(c, request, NULL, 0, value, sizeof(*value), NULL);
}

int vu_greet(struct vu_channel *c)
{
	return vu_send(c, VU_GET_FEATURES, false, NULL, 0, NULL, 0);
}

int vu_greeted(struct vu_channel *c, uint64_t *features)
{
	struct vu_fds none = {.first = -1};
	int r = vu_answer(c, VU_GET_FEATURES, features, sizeof(*features), &none, 0);

	if (none.first >= 0)
		close(none.first);
	return r;
}

int vu_tell(struct vu_channel *c, enum vu_request request, const void *payload, uint32_t size,
	    const int *fds, unsigned int n_fds)
{
	struct vu_fds none = {.first = -1};
	uint64_t result = 0;
	int r = vu_send(c, request, c->reply_ack, payload, size, fds, n_fds);

	if (r || !c->reply_ack)
		return r;
	r = vu_answer(c, request, &result, sizeof(result), &none, 0);
	if (none.first >= 0)
		close(none.first);
	if (!r && result)
		return vu_fail_reply(c, "it can't do what was asked");
	return r;
}

int vu_tell_u64(struct vu_channel *c, enum vu_request request, uint64_t value)
{
	return vu_tell(c, request, &value, sizeof(value), NULL, 0);
}
