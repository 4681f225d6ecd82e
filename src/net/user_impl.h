/*
 * -netdev user: one of them, for its own files: user.c has the theory and moves frames, user_slirp.c lets
 * libslirp work, user_ports.c leads ports into the guest.
 */
#ifndef VIREO_NET_USER_IMPL_H
#define VIREO_NET_USER_IMPL_H

#include <pthread.h>
#include <slirp/libslirp.h>

#include "base/log.h"
#include "net/net.h"
#include "net/user.h"
#include "net/user_queue.h"
#include "net/user_reass.h"

/* Bytes of a frame behind an Ethernet header at most, both ways: what libslirp allows for an MTU. */
#define USER_MTU_MAX 65521
#define USER_ETH     14

/* A file descriptor of libslirp's, by its number. */
struct user_fd {
	uint32_t wanted, watched; /* EPOLL* */
	uint32_t ready;
};

struct user {
	struct net_backend net; /* first */
	struct net_queue queue;
	struct user_opts opt;
	struct user_addresses addr;
	Slirp *slirp;
	pthread_mutex_t lock; /* all below */

	int epoll, bell, timer;
	bool bell_rung;
	bool changed;		  /* frames were sent: libslirp may want other sockets and timers */
	uint64_t timer_ns, ra_ns; /* CLOCK_MONOTONIC; 0 = not set */
	uint64_t active_ns;	  /* when something came from outside last */

	struct user_fd *fd;
	unsigned int n_fd;
	unsigned int sockets, sockets_max; /* that libslirp waits for */

	struct user_queue out; /* to the guest */
	struct user_reass reass;
	struct user_forward *forward;
	unsigned int n_forward;
	struct log_limit log;
	uint8_t in[USER_ETH + USER_MTU_MAX]; /* from the guest */
};

static inline struct user *user_of(struct net_backend *net)
{
	return (struct user *)net;
}

/* ---- user_slirp.c; under the lock ---- */

extern const SlirpCb user_callbacks;

/* Makes the file descriptor readable, or lets it be what else makes it so. */
void user_ring(struct user *u, bool on);
/* epoll, bell and timer. 0 or -errno with err set; closed by the caller. */
int user_open_fds(struct user *u, struct err *err);
/* After slirp_new(): it begins. */
void user_begin(struct user *u);
/* Asks libslirp what it waits for, and waits for that. */
void user_watch(struct user *u);
/* Lets libslirp do what is due. */
void user_run(struct user *u);

/* ---- user_ports.c ---- */

int user_forward_add(struct user *u, const char *rule, struct err *err); /* under the lock */
int user_change_forward(struct net_backend *net, const char *rule, bool add, struct err *err);
json_t *user_connections(struct net_backend *net);
void user_info(struct net_backend *net, json_t *object);

#endif
