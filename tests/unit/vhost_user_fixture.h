/*
 * The vhost-user back end and, at the other end of its socket, a peer of the test's own
 * (vu_peer.h): guest memory in two ranges, eventfds for eight rings, the control loop. Nothing runs
 * but what a test has user_run() run, and the peer's thread.
 */
#ifndef VIREO_TESTS_VHOST_USER_FIXTURE_H
#define VIREO_TESTS_VHOST_USER_FIXTURE_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include <cmocka.h>
#include <dirent.h>
#include <errno.h>
#include <sys/un.h>

#include "char_user.h"
#include "net/net.h"
#include "vu_peer.h"

#define MiB    (1ull << 20)
#define HIGH   (1ull << 32)
#define DESC   0x10000ull
#define AVAIL  0x20000ull
#define USED   0x30000ull
#define MODERN (1ull << 32)
#define PACKED (1ull << 34)

struct fixture {
	struct loop *loop;
	struct net_host host;
	struct net_socket socket; /* what the chardev is */
	struct net_backend *net;
	struct vu_peer *peer;
	struct mem mem;
	int kick[8], call[8];
	unsigned int carriers;
	unsigned int fds_before;
	char path[64];
};

static inline unsigned int open_fds(void)
{
	DIR *d = opendir("/proc/self/fd");
	unsigned int n = 0;

	while (readdir(d))
		n++;
	closedir(d);
	return n;
}

static inline int give_socket(const struct net_host *host, const char *chardev,
			      struct net_socket *out, struct err *err)
{
	struct fixture *f = host->opaque;

	if (strcmp(chardev, "c0"))
		return err_set(err, -ENOENT, "no -chardev has the id '%s'", chardev);
	*out = f->socket;
	f->socket.fd = -1;
	return 0;
}

static inline int setup(void **state)
{
	static const struct mem_config config = {.size = 8 * MiB, .shared = true};
	struct fixture *f = calloc(1, sizeof(*f));
	struct err err = {0};

	f->fds_before = open_fds();
	assert_int_equal(loop_create(&f->loop, "control", 0, &err), 0);
	f->host = (struct net_host){.control = f->loop, .socket = give_socket, .opaque = f};
	f->socket = (struct net_socket){.listen_fd = -1, .fd = -1};
	snprintf(f->path, sizeof(f->path), "/tmp/vireo-test-vu-%d", (int)getpid());
	snprintf(f->socket.path, sizeof(f->socket.path), "%s", f->path);
	assert_int_equal(mem_create(&f->mem, &config, &err), 0);
	assert_int_equal(mem_add_range(&f->mem, 0, 4 * MiB, 0), 0);
	assert_int_equal(mem_add_range(&f->mem, HIGH, 4 * MiB, 4 * MiB), 0);
	for (int i = 0; i < 8; i++) {
		f->kick[i] = eventfd(0, EFD_NONBLOCK);
		f->call[i] = eventfd(0, EFD_NONBLOCK);
	}
	*state = f;
	return 0;
}

static inline int teardown(void **state)
{
	struct fixture *f = *state;

	net_destroy(f->net);
	if (f->peer)
		vu_peer_end(f->peer);
	for (int i = 0; i < 8; i++) {
		close(f->kick[i]);
		close(f->call[i]);
	}
	if (f->socket.listen_fd >= 0)
		close(f->socket.listen_fd);
	unlink(f->path);
	mem_destroy(&f->mem);
	loop_destroy(f->loop);
	assert_int_equal(open_fds(), f->fds_before);
	free(f);
	return 0;
}

/* ---- making ---- */

static inline struct net_backend *create(struct fixture *f, const char *text, struct err *err)
{
	struct opt_list list;

	memset(err, 0, sizeof(*err));
	assert_int_equal(opt_parse(&list, "-netdev", text, "type", err), 0);
	opt_take(&list, "type");
	opt_take(&list, "id");
	f->net = net_create(&f->host, "vhost-user", "n0", &list, err);
	opt_free(&list);
	return f->net;
}

static inline void count_carrier(void *opaque)
{
	((struct fixture *)opaque)->carriers++;
}

static inline void create_or_fail(struct fixture *f, const char *text)
{
	static const struct net_events events = {.carrier = count_carrier};
	struct err err;

	if (!create(f, text, &err))
		fail_msg("%s", err.msg);
	f->net->events = &events;
	f->net->events_opaque = f;
}

/* A peer at the other end of a connected socket. */
static inline void connect_peer(struct fixture *f)
{
	int pair[2];

	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, pair),
			 0);
	f->socket.fd = pair[0];
	vu_peer_start(f->peer, pair[1]);
}

static inline struct sockaddr_un address(const struct fixture *f)
{
	struct sockaddr_un addr = {.sun_family = AF_UNIX};

	memcpy(addr.sun_path, f->path, strlen(f->path) + 1);
	return addr;
}

static inline int listen_there(struct fixture *f)
{
	struct sockaddr_un addr = address(f);
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);

	unlink(f->path);
	assert_int_equal(bind(fd, (struct sockaddr *)&addr, sizeof(addr)), 0);
	assert_int_equal(listen(fd, 4), 0);
	return fd;
}

static inline void be_server(struct fixture *f)
{
	f->socket.server = true;
	f->socket.listen_fd = listen_there(f);
}

/* The peer connects to us. */
static inline void peer_comes(struct fixture *f)
{
	struct sockaddr_un addr = address(f);
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

	assert_int_equal(connect(fd, (struct sockaddr *)&addr, sizeof(addr)), 0);
	vu_peer_start(f->peer, fd);
	user_run(f->loop, 50); /* accepted, greeted, answered */
}

static inline void peer_dies(struct fixture *f)
{
	vu_peer_end(f->peer);
	f->peer = vu_peer_new();
	user_run(f->loop, 10);
}

static inline void start_with_peer(struct fixture *f, const char *text)
{
	be_server(f);
	connect_peer(f);
	create_or_fail(f, text);
}

static inline struct net_ring a_ring(struct fixture *f, unsigned int index)
{
	uint64_t at = index * 0x1000ull;

	return (struct net_ring){.size = 256,
				 .desc = DESC + at,
				 .avail = AVAIL + at,
				 .used = USED + at,
				 .position = UINT32_MAX,
				 .kick_fd = f->kick[index],
				 .call_fd = f->call[index]};
}

static inline void ring_start(struct fixture *f, unsigned int index)
{
	struct net_ring ring = a_ring(f, index);

	assert_int_equal(f->net->ops->ring_start(f->net->queue[index / 2], index % 2, &ring), 0);
}

static inline uint32_t ring_stop(struct fixture *f, unsigned int index)
{
	struct net_ring ring = {0};

	f->net->ops->ring_stop(f->net->queue[index / 2], index % 2, &ring);
	return ring.position;
}

static inline void prepare(struct fixture *f, uint64_t features)
{
	assert_int_equal(f->net->ops->rings_prepare(f->net, &f->mem, features), 0);
}

/* As a driver and a device would have left them. */
static inline void set_index(struct fixture *f, uint64_t area, uint16_t idx)
{
	assert_int_equal(mem_write(&f->mem, area + 2, &idx, 2), 0);
}

static inline uint64_t seen(int fd)
{
	eventfd_t n;

	return eventfd_read(fd, &n) ? 0 : n;
}

static inline void find_counter(void *opaque, const char *owner, const char *part,
				const struct counter_desc *table, const void *base)
{
	struct {
		const char *name;
		uint64_t value;
	} *want = opaque;

	for (; table->name; table++)
		if (part && !strcmp(part, "peer") && !strcmp(table->name, want->name))
			want->value = counter_get(
				(const struct counter *)((const char *)base + table->offset));
}

static inline uint64_t counter_of(struct fixture *f, const char *name)
{
	struct {
		const char *name;
		uint64_t value;
	} want = {name, UINT64_MAX};

	net_counters_each(f->net, find_counter, &want);
	return want.value;
}

static inline void story_is(struct fixture *f, const char *want)
{
	char text[4096];

	/* What has no answer may still be under way. */
	for (int i = 0; i < 1000 && strcmp(vu_peer_story(f->peer, text, sizeof(text)), want); i++)
		usleep(1000);
	assert_string_equal(text, want);
}

static inline void refused(struct fixture *f, const char *text, int code, const char *word)
{
	struct err err;

	assert_null(create(f, text, &err));
	if (err.code != code || !strstr(err.msg, word))
		fail_msg("expected %d and \"%s\", got %d: %s", code, word, err.code, err.msg);
	assert_null(strchr(err.msg, '\n'));
}

/* Every descriptor that a test opens is closed at its end; its main() ignores SIGPIPE. */
#define TEST(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

#endif
