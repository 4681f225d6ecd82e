/*
 * A vhost-user peer for tests: a thread that answers as it is told, well or badly, and writes down what it was
 * asked. Written from the protocol's specification, not from vireo's side of it.
 */
#ifndef VIREO_TESTS_VU_PEER_H
#define VIREO_TESTS_VU_PEER_H

#include <poll.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#define VU_PEER_KEPT 512

enum vu_peer_lie {
	PEER_HONEST,
	PEER_SILENT,	   /* never answers */
	PEER_HALF,	   /* half a header, and silence */
	PEER_HALF_PAYLOAD, /* all but the last byte */
	PEER_DRIBBLES,	   /* a byte every 100 ms */
	PEER_CLOSES,
	PEER_VERSION,
	PEER_NO_REPLY_FLAG,
	PEER_OTHER_REQUEST,
	PEER_LONG,  /* a payload of 8 bytes more */
	PEER_HUGE,  /* says that 4 GiB follow */
	PEER_SHORT, /* of 4 bytes less */
	PEER_FDS,   /* with descriptors that nobody asked for */
	PEER_NO_FD, /* without the one that was asked for */
	PEER_REFUSES,
	PEER_LATE, /* after 200 ms, each time */
	PEER_LIES
};

struct vu_peer_msg {
	uint32_t request, flags, size;
	uint8_t payload[512];
	int fd[8];
	unsigned int n_fds;
};

struct vu_peer {
	int fd, listener;
	pthread_t thread;
	uint64_t features, protocol, queues, slots;
	uint16_t config_status;
	uint32_t base[64]; /* what GET_VRING_BASE says */
	uint32_t lie_at;   /* request; 0 = at each that has an answer */
	enum vu_peer_lie lie;
	bool acks;	/* REPLY_ACK was agreed on */
	unsigned int n; /* atomic */
	struct vu_peer_msg msg[VU_PEER_KEPT];
};

static inline bool vu_peer_read(struct vu_peer *p, void *buf, size_t size, struct vu_peer_msg *m)
{
	for (size_t at = 0; at < size;) {
		union {
			struct cmsghdr align;
			char bytes[CMSG_SPACE(8 * sizeof(int))];
		} control;
		struct iovec iov = {(uint8_t *)buf + at, size - at};
		struct msghdr msg = {.msg_iov = &iov,
				     .msg_iovlen = 1,
				     .msg_control = &control,
				     .msg_controllen = sizeof(control)};
		struct pollfd pfd = {.fd = p->fd, .events = POLLIN};
		struct cmsghdr *c;
		ssize_t n;

		poll(&pfd, 1, -1);
		n = recvmsg(p->fd, &msg, MSG_DONTWAIT);
		if (n <= 0)
			return false;
		at += (size_t)n;
		c = CMSG_FIRSTHDR(&msg);
		if (c) {
			m->n_fds = (unsigned int)((c->cmsg_len - CMSG_LEN(0)) / sizeof(int));
			memcpy(m->fd, CMSG_DATA(c), m->n_fds * sizeof(int));
		}
	}
	return true;
}

/* false: the other side has given us up. */
static inline bool vu_peer_write(struct vu_peer *p, const void *buf, size_t size, const int *fds,
				 unsigned int n_fds)
{
	union {
		struct cmsghdr align;
		char bytes[CMSG_SPACE(8 * sizeof(int))];
	} control;
	struct iovec iov = {(void *)buf, size};
	struct msghdr msg = {.msg_iov = &iov, .msg_iovlen = 1};

	if (n_fds) {
		msg.msg_control = &control;
		msg.msg_controllen = CMSG_SPACE(n_fds * sizeof(int));
		memset(&control, 0, sizeof(control));
		CMSG_FIRSTHDR(&msg)->cmsg_level = SOL_SOCKET;
		CMSG_FIRSTHDR(&msg)->cmsg_type = SCM_RIGHTS;
		CMSG_FIRSTHDR(&msg)->cmsg_len = CMSG_LEN(n_fds * sizeof(int));
		memcpy(CMSG_DATA(CMSG_FIRSTHDR(&msg)), fds, n_fds * sizeof(int));
	}
	return sendmsg(p->fd, &msg, MSG_NOSIGNAL) >= 0;
}

/* The answer, well or badly. */
static inline bool vu_peer_answer(struct vu_peer *p, uint32_t request, const void *data,
				  uint32_t size, int fd)
{
	struct {
		uint32_t request, flags, size;
		uint8_t payload[600];
	} m = {request, 1 | 4, size, {0}};
	enum vu_peer_lie lie = !p->lie_at || p->lie_at == request ? p->lie : PEER_HONEST;
	size_t bytes = 12 + size;
	int fds[3] = {fd, fd, fd};
	unsigned int n_fds = fd >= 0;

	memcpy(m.payload, data, size);
	switch (lie) {
	case PEER_SILENT:
		return true;
	case PEER_HALF:
		bytes = 6;
		break;
	case PEER_HALF_PAYLOAD:
		bytes--;
		break;
	case PEER_CLOSES:
		return false;
	case PEER_VERSION:
		m.flags = 2 | 4;
		break;
	case PEER_NO_REPLY_FLAG:
		m.flags = 1;
		break;
	case PEER_OTHER_REQUEST:
		m.request++;
		break;
	case PEER_LONG:
		m.size += 8;
		bytes += 8;
		break;
	case PEER_HUGE:
		m.size = UINT32_MAX;
		break;
	case PEER_SHORT:
		m.size -= 4;
		bytes -= 4;
		break;
	case PEER_FDS:
		for (int i = 0; i < 3; i++)
			fds[i] = 0;
		n_fds = 3;
		break;
	case PEER_NO_FD:
		n_fds = 0;
		break;
	case PEER_REFUSES:
		m.payload[0] = 1;
		break;
	case PEER_LATE:
		usleep(200000);
		break;
	case PEER_DRIBBLES:
		for (size_t i = 0; i < bytes && vu_peer_write(p, (uint8_t *)&m + i, 1, NULL, 0);
		     i++)
			usleep(100000);
		return true;
	default:
		break;
	}
	vu_peer_write(p, &m, bytes, fds, n_fds);
	return true;
}

static inline bool vu_peer_serve(struct vu_peer *p, struct vu_peer_msg *m)
{
	uint64_t u64 = 0;
	int fd;

	memcpy(&u64, m->payload, m->size < 8 ? m->size : 8);
	switch (m->request) {
	case 1:
		return vu_peer_answer(p, m->request, &p->features, 8, -1);
	case 15:
		return vu_peer_answer(p, m->request, &p->protocol, 8, -1);
	case 16:
		p->acks = u64 >> 3 & 1;
		return true; /* agreed on with this one, not before */
	case 17:
		return vu_peer_answer(p, m->request, &p->queues, 8, -1);
	case 36:
		return vu_peer_answer(p, m->request, &p->slots, 8, -1);
	case 11: {
		uint32_t state[2] = {(uint32_t)u64, p->base[u64 & 63]};

		return vu_peer_answer(p, m->request, state, 8, -1);
	}
	case 24: /* 12 bytes of header, then of virtio-net: mac, status, pairs, mtu */
		memcpy(m->payload + 12 + 6, &p->config_status, 2);
		return vu_peer_answer(p, m->request, m->payload, m->size, -1);
	case 31: {
		uint64_t area[3] = {64 * 1024, 0, 0};
		bool alive;

		fd = memfd_create("inflight", 0);
		if (ftruncate(fd, 64 * 1024))
			abort();
		memcpy(&area[2], m->payload + 16, 8);
		alive = vu_peer_answer(p, m->request, area, 24, fd);
		close(fd);
		return alive;
	}
	default:
		u64 = 0;
		return !(m->flags & 8) || vu_peer_answer(p, m->request, &u64, 8, -1);
	}
}

static inline void *vu_peer_run(void *arg)
{
	struct vu_peer *p = arg;

	if (p->fd < 0) {
		struct pollfd pfd = {.fd = p->listener, .events = POLLIN};

		poll(&pfd, 1, -1);
		p->fd = accept(p->listener, NULL, NULL);
	}
	for (;;) {
		struct vu_peer_msg *m = &p->msg[p->n];

		memset(m, 0, sizeof(*m));
		if (p->n == VU_PEER_KEPT - 1 || !vu_peer_read(p, m, 12, m) ||
		    m->size > sizeof(m->payload) || !vu_peer_read(p, m->payload, m->size, m))
			break;
		/* The count first, so that whoever gets an answer finds its message. */
		__atomic_store_n(&p->n, p->n + 1, __ATOMIC_SEQ_CST);
		if (!vu_peer_serve(p, m))
			break;
	}
	shutdown(p->fd, SHUT_RDWR);
	return NULL;
}

/* A good one with all that there is; change it before vu_peer_start(). */
static inline struct vu_peer *vu_peer_new(void)
{
	struct vu_peer *p = calloc(1, sizeof(*p));

	if (!p)
		abort();
	p->fd = -1;
	p->features = 1ull << 32 | 1 << 30 | 1 << 29 | 1 << 28 | 1 << 15 | 1 << 0 | 1 << 1 |
		      1 << 11 | 1 << 22;
	p->protocol = 1 << 0 | 1 << 3;
	p->queues = 8;
	p->slots = 8;
	return p;
}

/* Serves fd, which is the peer's from now on. */
static inline void vu_peer_start(struct vu_peer *p, int fd)
{
	p->fd = fd;
	if (pthread_create(&p->thread, NULL, vu_peer_run, p))
		abort();
}

/* Serves the first one to connect to listener. */
static inline void vu_peer_start_at(struct vu_peer *p, int listener)
{
	p->listener = listener;
	vu_peer_start(p, -1);
}

/* Dies, and is forgotten, with all descriptors that it was given. */
static inline void vu_peer_end(struct vu_peer *p)
{
	if (p->thread) {
		shutdown(p->fd, SHUT_RDWR);
		pthread_join(p->thread, NULL);
		close(p->fd);
	}
	for (unsigned int i = 0; i <= p->n; i++)
		for (unsigned int k = 0; k < p->msg[i].n_fds; k++)
			close(p->msg[i].fd[k]);
	free(p);
}

/* The message of that kind which came last, or the one before it (back = 1) ...; NULL: there is none. */
static inline struct vu_peer_msg *vu_peer_last(struct vu_peer *p, uint32_t request,
					       unsigned int back)
{
	for (unsigned int i = __atomic_load_n(&p->n, __ATOMIC_SEQ_CST); i; i--)
		if (p->msg[i - 1].request == request && !back--)
			return &p->msg[i - 1];
	return NULL;
}

static inline uint64_t vu_peer_u64(const struct vu_peer_msg *m, unsigned int at)
{
	uint64_t v;

	memcpy(&v, m->payload + at, 8);
	return v;
}

static inline uint32_t vu_peer_u32(const struct vu_peer_msg *m, unsigned int at)
{
	uint32_t v;

	memcpy(&v, m->payload + at, 4);
	return v;
}

/* "1 15 16": the requests in the order in which they came. */
static inline const char *vu_peer_story(struct vu_peer *p, char *text, size_t size)
{
	size_t used = 0;

	text[0] = 0;
	for (unsigned int i = 0; i < __atomic_load_n(&p->n, __ATOMIC_SEQ_CST) && used < size; i++)
		used += (size_t)snprintf(text + used, size - used, "%s%u", i ? " " : "",
					 p->msg[i].request);
	return text;
}

#endif
