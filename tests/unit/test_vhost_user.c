/*
 * The vhost-user back end against peers of this test's own: agreeing, memory and rings, several queues, a peer
 * that dies and comes again, and all ways to answer badly.
 */
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

static unsigned int open_fds(void)
{
	DIR *d = opendir("/proc/self/fd");
	unsigned int n = 0;

	while (readdir(d))
		n++;
	closedir(d);
	return n;
}

static int give_socket(const struct net_host *host, const char *chardev, struct net_socket *out,
		       struct err *err)
{
	struct fixture *f = host->opaque;

	if (strcmp(chardev, "c0"))
		return err_set(err, -ENOENT, "no -chardev has the id '%s'", chardev);
	*out = f->socket;
	f->socket.fd = -1;
	return 0;
}

static int setup(void **state)
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

static int teardown(void **state)
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

static struct net_backend *create(struct fixture *f, const char *text, struct err *err)
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

static void count_carrier(void *opaque)
{
	((struct fixture *)opaque)->carriers++;
}

static void create_or_fail(struct fixture *f, const char *text)
{
	static const struct net_events events = {.carrier = count_carrier};
	struct err err;

	if (!create(f, text, &err))
		fail_msg("%s", err.msg);
	f->net->events = &events;
	f->net->events_opaque = f;
}

/* A peer at the other end of a connected socket. */
static void connect_peer(struct fixture *f)
{
	int pair[2];

	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, pair),
			 0);
	f->socket.fd = pair[0];
	vu_peer_start(f->peer, pair[1]);
}

static struct sockaddr_un address(const struct fixture *f)
{
	struct sockaddr_un addr = {.sun_family = AF_UNIX};

	memcpy(addr.sun_path, f->path, strlen(f->path) + 1);
	return addr;
}

static int listen_there(struct fixture *f)
{
	struct sockaddr_un addr = address(f);
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);

	unlink(f->path);
	assert_int_equal(bind(fd, (struct sockaddr *)&addr, sizeof(addr)), 0);
	assert_int_equal(listen(fd, 4), 0);
	return fd;
}

static void be_server(struct fixture *f)
{
	f->socket.server = true;
	f->socket.listen_fd = listen_there(f);
}

/* The peer connects to us. */
static void peer_comes(struct fixture *f)
{
	struct sockaddr_un addr = address(f);
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

	assert_int_equal(connect(fd, (struct sockaddr *)&addr, sizeof(addr)), 0);
	vu_peer_start(f->peer, fd);
	user_run(f->loop, 50); /* accepted, greeted, answered */
}

static void peer_dies(struct fixture *f)
{
	vu_peer_end(f->peer);
	f->peer = vu_peer_new();
	user_run(f->loop, 10);
}

static void start_with_peer(struct fixture *f, const char *text)
{
	be_server(f);
	connect_peer(f);
	create_or_fail(f, text);
}

static struct net_ring a_ring(struct fixture *f, unsigned int index)
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

static void ring_start(struct fixture *f, unsigned int index)
{
	struct net_ring ring = a_ring(f, index);

	assert_int_equal(f->net->ops->ring_start(f->net->queue[index / 2], index % 2, &ring), 0);
}

static uint32_t ring_stop(struct fixture *f, unsigned int index)
{
	struct net_ring ring = {0};

	f->net->ops->ring_stop(f->net->queue[index / 2], index % 2, &ring);
	return ring.position;
}

static void prepare(struct fixture *f, uint64_t features)
{
	assert_int_equal(f->net->ops->rings_prepare(f->net, &f->mem, features), 0);
}

/* As a driver and a device would have left them. */
static void set_index(struct fixture *f, uint64_t area, uint16_t idx)
{
	assert_int_equal(mem_write(&f->mem, area + 2, &idx, 2), 0);
}

static uint64_t seen(int fd)
{
	eventfd_t n;

	return eventfd_read(fd, &n) ? 0 : n;
}

static void find_counter(void *opaque, const char *owner, const char *part,
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

static uint64_t counter_of(struct fixture *f, const char *name)
{
	struct {
		const char *name;
		uint64_t value;
	} want = {name, UINT64_MAX};

	net_counters_each(f->net, find_counter, &want);
	return want.value;
}

static void story_is(struct fixture *f, const char *want)
{
	char text[4096];

	/* What has no answer may still be under way. */
	for (int i = 0; i < 1000 && strcmp(vu_peer_story(f->peer, text, sizeof(text)), want); i++)
		usleep(1000);
	assert_string_equal(text, want);
}

/* ---- agreeing ---- */

static void test_agree(void **state)
{
	struct fixture *f = *state;
	json_t *info = json_object();

	f->peer = vu_peer_new();
	f->peer->features |= PACKED | 1ull << 33 | 1 << 26;
	f->peer->protocol |= 1 << 5 | 1 << 10; /* requests by the peer: not taken */
	start_with_peer(f, "vhost-user,id=n0,chardev=c0");
	assert_true(f->net->rings_only);
	assert_true(f->net->has_hdr);
	assert_null(f->net->ops->send);
	assert_false(net_link_is_down(f->net));
	/* VERSION_1, EVENT_IDX, INDIRECT, MQ, MRG_RXBUF, HOST_TSO4, both CSUMs: no packed rings, no IOMMU. */
	assert_int_equal(f->net->ring_features, MODERN | 0x30000000 | 1 << 22 | 0x8803);
	assert_int_equal(f->net->offloads_out, NET_OFFLOAD_CSUM | NET_OFFLOAD_TSO4);
	assert_int_equal(f->net->offloads_in, NET_OFFLOAD_CSUM);
	story_is(f, "1 15 16 17 3");
	assert_int_equal(vu_peer_u64(vu_peer_last(f->peer, 16, 0), 0), 1 << 0 | 1 << 3);
	assert_int_equal(vu_peer_last(f->peer, 16, 0)->flags, 1);
	assert_int_equal(vu_peer_last(f->peer, 3, 0)->flags, 1 | 8);
	net_info(f->net, info);
	assert_true(json_is_true(json_object_get(info, "peer")));
	assert_int_equal(json_integer_value(json_object_get(info, "peer-queues")), 8);
	assert_int_equal(json_array_size(json_object_get(info, "peer-protocol")), 2);
	json_decref(info);
	assert_int_equal(counter_of(f, "connects"), 1);
	assert_int_equal(counter_of(f, "requests"), 5);
}

static void test_plain_peer(void **state)
{
	struct fixture *f = *state;

	f->peer = vu_peer_new();
	f->peer->features = MODERN;
	start_with_peer(f, "vhost-user,id=n0,chardev=c0");
	story_is(f, "1 3");
	assert_int_equal(f->net->ring_features, MODERN);
	prepare(f, MODERN);
	ring_start(f, 0);
	ring_stop(f, 0); /* its answer tells that all before it has arrived */
	story_is(f, "1 3 2 5 8 10 9 14 13 12 11"); /* no ENABLE there */
	assert_int_equal(vu_peer_last(f->peer, 8, 0)->flags, 1);
	assert_int_equal(vu_peer_u64(vu_peer_last(f->peer, 2, 0), 0), MODERN);
}

static void test_config(void **state)
{
	struct fixture *f = *state;

	f->peer = vu_peer_new();
	f->peer->protocol |= 1 << 9;
	f->peer->features |= 1 << 16;
	f->peer->config_status = 0; /* its own link is down */
	start_with_peer(f, "vhost-user,id=n0,chardev=c0");
	story_is(f, "1 15 16 17 24 3");
	assert_true(net_link_is_down(f->net));
	peer_dies(f);
	f->peer->protocol |= 1 << 9;
	f->peer->features |= 1 << 16;
	f->peer->config_status = 1;
	peer_comes(f);
	assert_false(net_link_is_down(f->net));
}

static void refused(struct fixture *f, const char *text, int code, const char *word)
{
	struct err err;

	assert_null(create(f, text, &err));
	if (err.code != code || !strstr(err.msg, word))
		fail_msg("expected %d and \"%s\", got %d: %s", code, word, err.code, err.msg);
	assert_null(strchr(err.msg, '\n'));
}

static void test_options(void **state)
{
	struct fixture *f = *state;

	refused(f, "vhost-user,id=n0", -EINVAL, "chardev=ID");
	refused(f, "vhost-user,id=n0,chardev=c1", -ENOENT, "'c1'");
	refused(f, "vhost-user,id=n0,chardev=c0,queues=17", -ERANGE, "queues");
	refused(f, "vhost-user,id=n0,chardev=c0,queues=0", -ERANGE, "queues");
	refused(f, "vhost-user,id=n0,chardev=c0,vhostforce=off", -EINVAL, "no other way");
	f->host.socket = NULL;
	refused(f, "vhost-user,id=n0,chardev=c0", -ENOTSUP, "character devices");
}

/* ---- rings ---- */

static void test_rings(void **state)
{
	struct fixture *f = *state;
	const struct vu_peer_msg *m;

	f->peer = vu_peer_new();
	start_with_peer(f, "vhost-user,id=n0,chardev=c0");
	assert_int_equal(f->net->ops->rings_prepare(f->net, &f->mem, MODERN | 1 << 7), -EINVAL);
	prepare(f, MODERN | 1 << 15);
	ring_start(f, 0);
	ring_start(f, 1);
	story_is(f, "1 15 16 17 3 2 5 8 10 9 14 13 12 18 8 10 9 14 13 12 18");
	assert_int_equal(vu_peer_u64(vu_peer_last(f->peer, 2, 0), 0), MODERN | 1 << 15 | 1 << 30);

	m = vu_peer_last(f->peer, 5, 0);
	assert_int_equal(m->size, 8 + 2 * 32);
	assert_int_equal(vu_peer_u32(m, 0), 2);
	assert_int_equal(m->n_fds, 2);
	assert_int_equal(vu_peer_u64(m, 8), 0);
	assert_int_equal(vu_peer_u64(m, 16), 4 * MiB);
	assert_int_equal(vu_peer_u64(m, 24), (uintptr_t)f->mem.range[0].hva);
	assert_int_equal(vu_peer_u64(m, 40), HIGH);
	assert_int_equal(vu_peer_u64(m, 40 + 24), 4 * MiB);

	m = vu_peer_last(f->peer, 8, 0);
	assert_int_equal(vu_peer_u32(m, 0), 1);
	assert_int_equal(vu_peer_u32(m, 4), 256);
	assert_int_equal(vu_peer_u32(vu_peer_last(f->peer, 10, 0), 4), 0);
	m = vu_peer_last(f->peer, 9, 0);
	assert_int_equal(m->size, 40);
	assert_int_equal(vu_peer_u64(m, 8), (uintptr_t)f->mem.range[0].hva + DESC + 0x1000);
	assert_int_equal(vu_peer_u64(m, 16), (uintptr_t)f->mem.range[0].hva + USED + 0x1000);
	assert_int_equal(vu_peer_u64(m, 24), (uintptr_t)f->mem.range[0].hva + AVAIL + 0x1000);

	/* The eventfds are those of ring 0. */
	m = vu_peer_last(f->peer, 12, 1);
	assert_int_equal(vu_peer_u64(m, 0), 0);
	eventfd_write(m->fd[0], 5);
	assert_int_equal(seen(f->kick[0]), 5);
	eventfd_write(vu_peer_last(f->peer, 13, 1)->fd[0], 6);
	assert_int_equal(seen(f->call[0]), 6);
	assert_int_equal(vu_peer_u32(vu_peer_last(f->peer, 18, 0), 4), 1);

	/* An interrupt that goes elsewhere, and nowhere. */
	f->net->ops->ring_set_call(f->net->queue[0], NET_RING_TX, f->call[5]);
	m = vu_peer_last(f->peer, 13, 0);
	assert_int_equal(vu_peer_u64(m, 0), 1);
	eventfd_write(m->fd[0], 7);
	assert_int_equal(seen(f->call[5]), 7);
	f->net->ops->ring_set_call(f->net->queue[0], NET_RING_TX, -1);
	m = vu_peer_last(f->peer, 13, 0);
	assert_int_equal(vu_peer_u64(m, 0), 1 | 1 << 8);
	assert_int_equal(m->n_fds, 0);
}

static void test_stop_and_go(void **state)
{
	struct fixture *f = *state;
	struct net_ring ring;

	f->peer = vu_peer_new();
	start_with_peer(f, "vhost-user,id=n0,chardev=c0");
	prepare(f, MODERN);
	ring_start(f, 0);
	set_index(f, AVAIL, 80);
	set_index(f, USED, 77);
	f->peer->base[0] = 77;
	assert_int_equal(ring_stop(f, 0), 77);
	/* Bus mastering comes back, say: where it was, whatever the used ring says. */
	ring = a_ring(f, 0);
	ring.position = 77;
	assert_int_equal(f->net->ops->ring_start(f->net->queue[0], NET_RING_RX, &ring), 0);
	assert_int_equal(vu_peer_u32(vu_peer_last(f->peer, 10, 0), 4), 77);
	/* A position that can't be: the used ring's is taken. */
	f->peer->base[0] = 81;
	assert_int_equal(ring_stop(f, 0), 77);
	user_run(f->loop, 10);
	assert_false(net_link_is_down(f->net));
	assert_int_equal(f->carriers, 0);
}

static void test_ring_errors(void **state)
{
	struct fixture *f = *state;
	struct net_ring ring = a_ring(f, 0);
	struct net_queue *q;

	f->peer = vu_peer_new();
	start_with_peer(f, "vhost-user,id=n0,chardev=c0");
	q = f->net->queue[0];
	assert_int_equal(f->net->ops->ring_start(q, NET_RING_RX, &ring), -EINVAL); /* no memory */
	prepare(f, MODERN);
	ring.used = 4 * MiB - 64;
	assert_int_equal(f->net->ops->ring_start(q, NET_RING_RX, &ring), -EFAULT);
	ring = a_ring(f, 0);
	ring.desc = UINT64_MAX - 7;
	assert_int_equal(f->net->ops->ring_start(q, NET_RING_RX, &ring), -EFAULT);
	ring_start(f, 0);
	ring = a_ring(f, 0);
	assert_int_equal(f->net->ops->ring_start(q, NET_RING_RX, &ring), -EINVAL); /* twice */
	/* The peer finds fault with it: counted, and no more. */
	eventfd_write(vu_peer_last(f->peer, 14, 0)->fd[0], 1);
	user_run(f->loop, 10);
	assert_int_equal(counter_of(f, "ring-errors"), 1);
	assert_false(net_link_is_down(f->net));
}

static void test_memory_slots(void **state)
{
	struct fixture *f = *state;
	const struct vu_peer_msg *m;

	f->peer = vu_peer_new();
	f->peer->protocol |= 1 << 15 | 1 << 16;
	start_with_peer(f, "vhost-user,id=n0,chardev=c0");
	prepare(f, MODERN);
	ring_start(f, 0);
	ring_stop(f, 0);
	assert_int_equal(f->net->ops->rings_prepare(f->net, NULL, 0), 0);
	/* Status: FEATURES_OK, DRIVER_OK, reset. */
	story_is(f, "1 15 16 17 36 3 2 37 37 39 8 10 9 14 13 12 18 39 11 39 38 38");
	m = vu_peer_last(f->peer, 37, 0);
	assert_int_equal(m->size, 40);
	assert_int_equal(m->n_fds, 1);
	assert_int_equal(vu_peer_u64(m, 8), HIGH);
	assert_int_equal(vu_peer_last(f->peer, 38, 0)->n_fds, 0);
	assert_int_equal(vu_peer_u64(vu_peer_last(f->peer, 39, 1), 0), 1 | 2 | 8 | 4);
	assert_int_equal(vu_peer_u64(vu_peer_last(f->peer, 39, 0), 0), 0);
	/* The driver again. */
	prepare(f, MODERN);
	assert_int_equal(vu_peer_last(f->peer, 39, 0)->payload[0], 1 | 2 | 8);
}

static void test_few_slots(void **state)
{
	struct fixture *f = *state;

	f->peer = vu_peer_new();
	f->peer->protocol |= 1 << 15;
	f->peer->slots = 2;
	connect_peer(f);
	refused(f, "vhost-user,id=n0,chardev=c0", -ENOTSUP, "too few ranges");
}

static void test_queues(void **state)
{
	struct fixture *f = *state;
	unsigned int n;

	f->peer = vu_peer_new();
	start_with_peer(f, "vhost-user,id=n0,chardev=c0,queues=3");
	assert_int_equal(f->net->n_queues, 3);
	prepare(f, MODERN | 1 << 22);
	for (unsigned int i = 0; i < 6; i++)
		ring_start(f, i);
	/* The first pair alone, until the driver asks for more. */
	assert_int_equal(vu_peer_u32(vu_peer_last(f->peer, 18, 0), 4), 0);
	assert_int_equal(vu_peer_u32(vu_peer_last(f->peer, 18, 4), 4), 1);
	assert_int_equal(f->net->ops->set_queues(f->net, 2), 0);
	assert_int_equal(vu_peer_u64(vu_peer_last(f->peer, 18, 5), 0), 1ull << 32);
	assert_int_equal(vu_peer_u64(vu_peer_last(f->peer, 18, 2), 0), 3 | 1ull << 32);
	assert_int_equal(vu_peer_u64(vu_peer_last(f->peer, 18, 1), 0), 4);
	n = f->peer->n;
	assert_int_equal(f->net->ops->set_queues(f->net, 2), 0);
	assert_int_equal(f->peer->n, n);
	assert_int_equal(f->net->ops->set_queues(f->net, 4), -EINVAL);
	assert_int_equal(f->net->ops->set_queues(f->net, 0), -EINVAL);
}

static void test_few_queues(void **state)
{
	struct fixture *f = *state;

	f->peer = vu_peer_new();
	f->peer->queues = 1;
	connect_peer(f);
	refused(f, "vhost-user,id=n0,chardev=c0,queues=2", -ENOTSUP, "fewer queues");
	vu_peer_end(f->peer);
	f->peer = vu_peer_new();
	f->peer->protocol = 0;
	connect_peer(f);
	refused(f, "vhost-user,id=n0,chardev=c0,queues=2", -ENOTSUP, "fewer queues");
}

/* ---- peers that die, and come again ---- */

static void test_dies_and_comes(void **state)
{
	struct fixture *f = *state;

	f->peer = vu_peer_new();
	start_with_peer(f, "vhost-user,id=n0,chardev=c0");
	prepare(f, MODERN);
	ring_start(f, 0);
	ring_start(f, 1);
	set_index(f, AVAIL, 100);
	set_index(f, USED, 42);
	peer_dies(f);
	assert_true(net_link_is_down(f->net));
	assert_int_equal(f->carriers, 1);
	assert_int_equal(seen(f->call[0]), 0);
	peer_comes(f);
	assert_false(net_link_is_down(f->net));
	assert_int_equal(f->carriers, 2);
	story_is(f, "1 15 16 17 3 2 5 8 10 9 14 13 12 18 8 10 9 14 13 12 18");
	assert_int_equal(vu_peer_u32(vu_peer_last(f->peer, 10, 1), 4), 42);
	assert_int_equal(vu_peer_u32(vu_peer_last(f->peer, 10, 0), 4), 0);
	/* What the dead one may have swallowed. */
	assert_int_equal(seen(f->kick[0]), 1);
	assert_int_equal(seen(f->call[0]), 1);
	assert_int_equal(counter_of(f, "connects"), 2);
	assert_int_equal(counter_of(f, "disconnects"), 1);
	/* Dies again; the driver resets meanwhile. */
	peer_dies(f);
	set_index(f, USED, 43);
	assert_int_equal(ring_stop(f, 0), 43);
	assert_int_equal(ring_stop(f, 1), 0);
	assert_int_equal(f->net->ops->rings_prepare(f->net, NULL, 0), 0);
	peer_comes(f);
	story_is(f, "1 15 16 17 3");
	prepare(f, MODERN);
	ring_start(f, 0);
	assert_int_equal(vu_peer_u32(vu_peer_last(f->peer, 10, 0), 4), 0);
}

static void test_none_yet(void **state)
{
	struct fixture *f = *state;

	f->peer = vu_peer_new();
	be_server(f); /* wait=off */
	create_or_fail(f, "vhost-user,id=n0,chardev=c0");
	assert_true(net_link_is_down(f->net));
	assert_int_equal(f->net->ring_features, MODERN | 0x30000000 | 1 << 22 | 1 << 15);
	assert_int_equal(f->net->offloads_out, 0);
	prepare(f, MODERN);
	ring_start(f, 0);
	peer_comes(f);
	assert_false(net_link_is_down(f->net));
	story_is(f, "1 15 16 17 3 2 5 8 10 9 14 13 12 18");
}

static void test_lacks_features(void **state)
{
	struct fixture *f = *state;

	f->peer = vu_peer_new();
	start_with_peer(f, "vhost-user,id=n0,chardev=c0");
	prepare(f, MODERN | 1 << 15);
	ring_start(f, 0);
	peer_dies(f);
	f->peer->features &= ~(1ull << 15);
	peer_comes(f);
	assert_true(net_link_is_down(f->net));
	assert_int_equal(counter_of(f, "refused"), 1);
	/* It may agree with a driver that uses less. */
	ring_stop(f, 0);
	assert_int_equal(f->net->ops->rings_prepare(f->net, NULL, 0), 0);
	prepare(f, MODERN);
	ring_start(f, 0);
	vu_peer_end(f->peer);
	f->peer = vu_peer_new();
	f->peer->features &= ~(1ull << 15);
	peer_comes(f);
	user_run(f->loop, 1100); /* after one that was no good there is a pause */
	assert_false(net_link_is_down(f->net));
	ring_stop(f, 0);
	/* And is given up for one that uses more. */
	prepare(f, MODERN | 1 << 15);
	user_run(f->loop, 10);
	assert_true(net_link_is_down(f->net));
	assert_int_equal(counter_of(f, "refused"), 2);
}

static void test_client(void **state)
{
	struct fixture *f = *state;
	int listener;

	f->socket.reconnect_s = 1;
	f->peer = vu_peer_new();
	create_or_fail(f, "vhost-user,id=n0,chardev=c0"); /* nobody there */
	assert_true(net_link_is_down(f->net));
	user_run(f->loop, 1100);
	assert_true(net_link_is_down(f->net));
	listener = listen_there(f);
	vu_peer_start_at(f->peer, listener);
	user_run(f->loop, 1100);
	assert_false(net_link_is_down(f->net));
	peer_dies(f);
	assert_true(net_link_is_down(f->net));
	vu_peer_start_at(f->peer, listener);
	user_run(f->loop, 1100);
	assert_false(net_link_is_down(f->net));
	assert_int_equal(counter_of(f, "connects"), 2);
	close(listener);
	/* Without reconnect= it stays away. */
	f->socket.reconnect_s = 0;
	net_destroy(f->net);
	vu_peer_end(f->peer);
	f->peer = vu_peer_new();
	connect_peer(f);
	create_or_fail(f, "vhost-user,id=n0,chardev=c0");
	peer_dies(f);
	assert_true(net_link_is_down(f->net));
}

static void test_announce(void **state)
{
	static const uint8_t mac[6] = {2, 3, 4, 5, 6, 7};
	struct fixture *f = *state;

	f->peer = vu_peer_new();
	f->peer->protocol |= 1 << 2;
	start_with_peer(f, "vhost-user,id=n0,chardev=c0");
	net_set_mac(f->net, mac, NULL);
	prepare(f, MODERN);
	ring_start(f, 0);
	assert_null(vu_peer_last(f->peer, 19, 0));
	peer_dies(f);
	f->peer->protocol |= 1 << 2;
	peer_comes(f);
	assert_non_null(vu_peer_last(f->peer, 19, 0));
	assert_memory_equal(vu_peer_last(f->peer, 19, 0)->payload, mac, 6);
}

/* ---- the inflight region ---- */

static void test_inflight(void **state)
{
	struct fixture *f = *state;
	/* version 1, 256 entries, ..., used_idx, old_used_idx; the wrap counters */
	uint16_t region[12] = {0, 0, 0, 0, 1, 256, 0, 0, 8, 7, 0x0101};
	const struct vu_peer_msg *m;

	f->peer = vu_peer_new();
	f->peer->protocol |= 1 << 12;
	f->peer->features |= PACKED;
	start_with_peer(f, "vhost-user,id=n0,chardev=c0");
	assert_true(f->net->ring_features & PACKED);
	prepare(f, MODERN | PACKED);
	ring_start(f, 0);
	ring_start(f, 1);
	story_is(f, "1 15 16 17 3 2 5 31 32 8 10 9 14 13 12 18 8 10 9 14 13 12 18");
	assert_int_equal(vu_peer_u32(vu_peer_last(f->peer, 10, 0), 4), 0x80008000);
	m = vu_peer_last(f->peer, 32, 0);
	assert_int_equal(m->size, 24);
	assert_int_equal(vu_peer_u64(m, 0), 64 * 1024);
	assert_int_equal(vu_peer_u32(m, 16), 2 | 1024 << 16);
	assert_int_equal(m->n_fds, 1);
	assert_int_equal(pwrite(m->fd[0], region, sizeof(region), 0), sizeof(region));
	region[9] = 300; /* ring 1's makes no sense */
	assert_int_equal(pwrite(m->fd[0], region, sizeof(region), 32 * 1024), sizeof(region));

	/* The next peer gets the same region, and the position in it; ring 1's nobody knows. */
	peer_dies(f);
	ring_stop(f, 1);
	f->peer->protocol |= 1 << 12;
	f->peer->features |= PACKED;
	peer_comes(f);
	story_is(f, "1 15 16 17 3 2 5 32 8 10 9 14 13 12 18");
	assert_int_equal(vu_peer_u32(vu_peer_last(f->peer, 10, 0), 4), 0x80078007);
	f->peer->base[0] = 0x00090008; /* stopped well: no region needed */
	assert_int_equal(ring_stop(f, 0), 0x00090008);
	ring_start(f, 1);
	/* Cut short, by a peer that means no good. */
	assert_int_equal(ftruncate(vu_peer_last(f->peer, 32, 0)->fd[0], 100), 0);
	peer_dies(f);
	f->peer->protocol |= 1 << 12;
	f->peer->features |= PACKED;
	peer_comes(f);
	assert_true(net_link_is_down(f->net));
	/* A new driver has a new region. */
	ring_stop(f, 1);
	assert_int_equal(f->net->ops->rings_prepare(f->net, NULL, 0), 0);
	prepare(f, MODERN);
	vu_peer_end(f->peer);
	f->peer = vu_peer_new();
	f->peer->protocol |= 1 << 12;
	peer_comes(f);
	user_run(f->loop, 1100);
	assert_non_null(vu_peer_last(f->peer, 31, 0));
}

/* ---- peers that lie ---- */

/* A vCPU doesn't wait for a second; what a busy host adds to that isn't ours. */
#define LIMIT_MS 2500

static uint64_t now_ms(void)
{
	return loop_now_ns() / 1000000;
}

/* While the VM is made. */
static void test_lies_at_first(void **state)
{
	static const uint32_t at[] = {1, 15, 17, 3};
	struct fixture *f = *state;
	uint64_t start = now_ms();

	for (unsigned int lie = PEER_HONEST + 1; lie < PEER_LATE; lie++) {
		for (unsigned int i = 0; i < 4; i++) {
			struct err err;

			if (lie == PEER_NO_FD || (lie == PEER_REFUSES && at[i] != 3))
				continue; /* nothing to see */
			if (lie <= PEER_DRIBBLES && i != lie % 2 * 3)
				continue; /* they take their time */
			f->peer = vu_peer_new();
			f->peer->lie = lie;
			f->peer->lie_at = at[i];
			connect_peer(f);
			start = now_ms();
			if (create(f, "vhost-user,id=n0,chardev=c0", &err))
				fail_msg("lie %u at %u is believed", lie, at[i]);
			if (now_ms() - start > LIMIT_MS)
				fail_msg("lie %u at %u took %d ms", lie, at[i],
					 (int)(now_ms() - start));
			assert_non_null(strstr(err.msg, f->path));
			vu_peer_end(f->peer);
			f->peer = NULL;
		}
	}
}

/* While a driver starts its rings: all of it takes less than a second, and succeeds. */
static void test_lies_later(void **state)
{
	static const uint32_t at[] = {2, 5, 8, 10, 9, 13, 12, 18, 11};
	struct fixture *f = *state;

	for (unsigned int lie = PEER_HONEST + 1; lie < PEER_LIES; lie++) {
		for (unsigned int i = 0; i < sizeof(at) / sizeof(at[0]); i++) {
			uint64_t start;

			if (lie == PEER_NO_FD || (lie == PEER_REFUSES && at[i] == 11))
				continue;
			if ((lie <= PEER_DRIBBLES || lie == PEER_LATE) && i != 2 * (lie % 5))
				continue;
			f->peer = vu_peer_new();
			connect_peer(f);
			create_or_fail(f, "vhost-user,id=n0,chardev=c0,queues=3");
			f->peer->lie_at = lie == PEER_LATE ? 0 : at[i];
			f->peer->lie = lie;
			start = now_ms();
			prepare(f, MODERN);
			for (unsigned int k = 0; k < 6; k++)
				ring_start(f, k);
			for (unsigned int k = 0; k < 6; k++)
				assert_int_equal(ring_stop(f, k), 0);
			if (now_ms() - start > LIMIT_MS)
				fail_msg("lie %u at %u took %d ms", lie, at[i],
					 (int)(now_ms() - start));
			user_run(f->loop, 2);
			if (!net_link_is_down(f->net))
				fail_msg("lie %u at %u is believed", lie, at[i]);
			assert_int_equal(f->carriers, 1);
			f->carriers = 0;
			net_destroy(f->net);
			f->net = NULL;
			vu_peer_end(f->peer);
			f->peer = NULL;
		}
	}
}

/* One that comes back only to be silent: nobody waits for it, and the next one gets its turn. */
static void test_comes_and_is_silent(void **state)
{
	struct fixture *f = *state;
	uint64_t start;

	f->peer = vu_peer_new();
	start_with_peer(f, "vhost-user,id=n0,chardev=c0");
	prepare(f, MODERN);
	ring_start(f, 0);
	peer_dies(f);
	f->peer->lie = PEER_SILENT;
	start = now_ms();
	peer_comes(f);
	ring_stop(f, 0);
	ring_start(f, 0);
	assert_true(now_ms() - start < 500);
	assert_int_equal(counter_of(f, "timeouts"), 0);
	user_run(f->loop, 3000);
	assert_int_equal(counter_of(f, "timeouts"), 1);
	assert_true(net_link_is_down(f->net));
	vu_peer_end(f->peer);
	f->peer = vu_peer_new();
	/* This one says hello, and no more: that is less than a second. */
	f->peer->lie = PEER_SILENT;
	f->peer->lie_at = 2;
	start = now_ms();
	peer_comes(f);
	assert_true(now_ms() - start <
		    500); /* it waits: after one that was no good there is a pause */
	user_run(f->loop, 1000);
	assert_true(now_ms() - start < 1000 + LIMIT_MS);
	assert_int_equal(counter_of(f, "timeouts"), 2);
	vu_peer_end(f->peer);
	f->peer = vu_peer_new();
	peer_comes(f);
	user_run(f->loop, 1100);
	assert_false(net_link_is_down(f->net));
	assert_non_null(vu_peer_last(f->peer, 12, 0));
}

static void test_inflight_lies(void **state)
{
	static const enum vu_peer_lie lies[] = {PEER_FDS, PEER_NO_FD, PEER_SHORT, PEER_CLOSES};
	struct fixture *f = *state;

	for (unsigned int i = 0; i < 4; i++) {
		f->peer = vu_peer_new();
		f->peer->protocol |= 1 << 12;
		f->peer->lie = lies[i];
		f->peer->lie_at = 31;
		connect_peer(f);
		create_or_fail(f, "vhost-user,id=n0,chardev=c0");
		prepare(f, MODERN);
		user_run(f->loop, 2);
		assert_true(net_link_is_down(f->net));
		net_destroy(f->net);
		f->net = NULL;
		vu_peer_end(f->peer);
		f->peer = NULL;
	}
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(test_agree),	  TEST(test_plain_peer),
		TEST(test_config),	  TEST(test_options),
		TEST(test_rings),	  TEST(test_stop_and_go),
		TEST(test_ring_errors),	  TEST(test_memory_slots),
		TEST(test_few_slots),	  TEST(test_queues),
		TEST(test_few_queues),	  TEST(test_dies_and_comes),
		TEST(test_none_yet),	  TEST(test_lacks_features),
		TEST(test_client),	  TEST(test_announce),
		TEST(test_inflight),	  TEST(test_lies_at_first),
		TEST(test_lies_later),	  TEST(test_comes_and_is_silent),
		TEST(test_inflight_lies),
	};

	signal(SIGPIPE, SIG_IGN);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
