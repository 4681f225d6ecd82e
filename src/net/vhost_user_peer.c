/*
 * vhost-user: the peer. It comes, agrees, goes, and comes again. Control thread.
 *
 *	nobody --accept, connect--> greeted --answers GET_FEATURES--> agreed, carrier up --hangs up, fails--> nobody
 *	   ^                           |                 |                                                      |
 *	   +-- closed, after a pause --+ says nothing    + answers wrong, lacks what the guest uses             |
 *	   +------------------------- closed, carrier down ----------------------------------------------------+
 *
 * The first answer is waited for on the loop, because it may take its time: DPDK looks at its listening
 * socket once a second (fdset_event_dispatch(): poll() with 1000 ms), and a peer that is just starting has other
 * things to do. All later ones are for somebody who waits, and so is the peer's time for them
 * (vhost_user_msg.h).
 *
 * One peer at a time; another one waits in the kernel's queue. The listening socket is the chardev's, which also
 * removes its file.
 */
#include <errno.h>
#include <linux/virtio_net.h>
#include <poll.h>
#include <signal.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "net/vhost_user.h"

#define SECOND_NS   1000000000ull
#define GREETING_NS (3 * SECOND_NS) /* for the first answer */

#define VU_PROTOCOLS                                                                  \
	(1u << VU_P_MQ | 1u << VU_P_RARP | 1u << VU_P_REPLY_ACK | 1u << VU_P_CONFIG | \
	 1u << VU_P_INFLIGHT_SHMFD | 1u << VU_P_CONFIGURE_MEM_SLOTS | 1u << VU_P_STATUS)

/* ---- agreeing, with the lock ---- */

static int vu_refuse(struct vu *vu, const char *why)
{
	counter_add(&vu->counters.refused, 1);
	vu_channel_fail(&vu->channel, why);
	return -ENOTSUP;
}

static int vu_ask_protocol(struct vu *vu)
{
	struct vu_channel *c = &vu->channel;
	uint64_t offered;
	int r = vu_ask_u64(c, VU_GET_PROTOCOL_FEATURES, &offered);

	if (r)
		return r;
	r = vu_tell_u64(c, VU_SET_PROTOCOL_FEATURES, offered & VU_PROTOCOLS);
	vu->protocol = offered & VU_PROTOCOLS;
	c->reply_ack = vu_has(vu, VU_P_REPLY_ACK);
	if (!r && vu_has(vu, VU_P_MQ))
		r = vu_ask_u64(c, VU_GET_QUEUE_NUM, &vu->max_queues);
	if (!r && vu_has(vu, VU_P_CONFIGURE_MEM_SLOTS))
		r = vu_ask_u64(c, VU_GET_MAX_MEM_SLOTS, &vu->max_slots);
	if (!r && vu_has(vu, VU_P_CONFIG)) {
		struct vu_net_config ask = {.size = sizeof(ask) -
						    offsetof(struct vu_net_config, mac)};

		r = vu_ask(c, VU_GET_CONFIG, &ask, sizeof(ask), &vu->config, sizeof(vu->config),
			   NULL);
	}
	return r;
}

/* Learns what the peer is, which has answered. 0, or -errno and the channel has failed. */
static int vu_agree(struct vu *vu)
{
	int r = vu_greeted(&vu->channel, &vu->features);

	vu->protocol = 0;
	vu->max_queues = 1;
	vu->max_slots = VU_FDS_MAX;
	vu->config = (struct vu_net_config){0};
	if (!r && vu->features >> VU_F_PROTOCOL_FEATURES & 1)
		r = vu_ask_protocol(vu);
	if (!r)
		r = vu_tell(&vu->channel, VU_SET_OWNER, NULL, 0, NULL, 0);
	if (r)
		return r;
	if (vu->max_queues < vu->n_queues)
		return vu_refuse(vu, "it has fewer queues than queues= asks for");
	if (vu->max_slots < MEM_RANGES_MAX)
		return vu_refuse(vu, "it takes too few ranges of memory");
	if (vu_missing(vu))
		return vu_refuse(vu, "it lacks features that the guest uses");
	vu->agreed = true;
	return 0;
}

/* Tells the network where the guest is now. */
static int vu_announce(struct vu *vu)
{
	uint64_t value = 0;

	memcpy(&value, vu->mac, sizeof(vu->mac));
	if (!value || !vu->shown || !vu_has(vu, VU_P_RARP))
		return 0;
	return vu_tell_u64(&vu->channel, VU_SEND_RARP, value);
}

/* ---- coming and going ---- */

static void vu_listen(struct vu *vu)
{
	if (vu->socket.server)
		loop_fd_mod(&vu->listener, EPOLLIN);
	else if (vu->socket.reconnect_s)
		loop_timer_set(vu->net.host->control, &vu->retry,
			       loop_now_ns() + vu->socket.reconnect_s * SECOND_NS);
}

/* Ends the connection, and says why; the next peer may come. */
static void vu_drop(struct vu *vu)
{
	bool agreed, failed;

	loop_timer_cancel(vu->net.host->control, &vu->retry);
	loop_fd_del(&vu->watch);
	pthread_mutex_lock(&vu->lock);
	agreed = vu->agreed;
	failed = vu->channel.failed;
	/* With no other to come, that is an error of whoever makes the machine. */
	if (agreed || vu->socket.server || vu->socket.reconnect_s)
		log_limited(&vu->said, "%s: the vhost-user peer on %s is %s: %s", vu->net.id,
			    vu->socket.path, agreed ? "gone" : "refused",
			    failed ? vu->channel.why : "it closed the connection");
	vu->agreed = false;
	vu_rings_lost(vu);
	vu_channel_close(&vu->channel);
	if (agreed)
		counter_add(&vu->counters.disconnects, 1);
	pthread_mutex_unlock(&vu->lock);
	net_set_carrier(&vu->net, false);
	if (!failed || !vu->socket.server)
		vu_listen(vu);
	else /* one that comes again and again, and is never any good, costs no more than this */
		loop_timer_set(vu->net.host->control, &vu->retry, loop_now_ns() + SECOND_NS);
}

/* The peer has answered. 0, or -errno: it was dropped. */
static int vu_meet(struct vu *vu)
{
	int r;

	loop_timer_cancel(vu->net.host->control, &vu->retry);
	pthread_mutex_lock(&vu->lock);
	r = vu_agree(vu);
	if (vu->agreed)
		counter_add(&vu->counters.connects, 1);
	if (!r)
		r = vu_show(vu);
	if (!r)
		r = vu_announce(vu);
	pthread_mutex_unlock(&vu->lock);
	if (r) {
		vu_drop(vu);
		return r;
	}
	/* From now on only its end is watched for: what it says is read by whoever asked. */
	loop_fd_mod(&vu->watch, EPOLLRDHUP);
	net_set_carrier(&vu->net, !(vu->config.size && vu->features >> VIRTIO_NET_F_STATUS & 1 &&
				    !(vu->config.status & VIRTIO_NET_S_LINK_UP)));
	return 0;
}

static void vu_ready(struct loop_fd *lf, uint32_t events)
{
	struct vu *vu = lf->opaque;

	if (vu->agreed || !(events & EPOLLIN))
		vu_drop(vu);
	else
		vu_meet(vu);
}

/* A connected socket, ours from now on. 0, or -errno: the peer was dropped. */
static int vu_take(struct vu *vu, int fd)
{
	int r;

	pthread_mutex_lock(&vu->lock);
	vu_channel_open(&vu->channel, fd, &vu->counters);
	r = vu_greet(&vu->channel);
	if (!r) {
		vu->watch.fd = fd;
		r = loop_fd_add(vu->net.host->control, &vu->watch, EPOLLIN | EPOLLRDHUP);
		if (r)
			vu_channel_fail(&vu->channel, "the host can't watch another socket");
	}
	pthread_mutex_unlock(&vu->lock);
	if (r)
		vu_drop(vu);
	else
		loop_timer_set(vu->net.host->control, &vu->retry, loop_now_ns() + GREETING_NS);
	return r;
}

static void vu_give_up(struct vu *vu)
{
	pthread_mutex_lock(&vu->lock);
	counter_add(&vu->counters.timeouts, 1);
	vu_channel_fail(&vu->channel, "it doesn't answer in time");
	pthread_mutex_unlock(&vu->lock);
	vu_drop(vu);
}

/* As vu_take(), and waits for its answer: before the guest runs. */
static int vu_take_now(struct vu *vu, int fd)
{
	struct pollfd p = {.fd = fd, .events = POLLIN};
	int r = vu_take(vu, fd);

	if (r)
		return r;
	if (poll(&p, 1, (int)(GREETING_NS / 1000000)) > 0)
		return vu_meet(vu);
	vu_give_up(vu);
	return -ETIMEDOUT;
}

/* A peer's socket, or -errno. */
static int vu_accept(struct vu *vu)
{
	int fd = accept4(vu->socket.listen_fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);

	if (fd < 0)
		return -errno;
	loop_fd_mod(&vu->listener, 0);
	return fd;
}

static void vu_accept_ready(struct loop_fd *lf, uint32_t events)
{
	struct vu *vu = lf->opaque;
	int r = vu_accept(vu);

	if (r >= 0)
		vu_take(vu, r);
	if (r != -EMFILE && r != -ENFILE && r != -ENOMEM && r != -ENOBUFS)
		return;
	log_limited(&vu->said, "%s: can't accept a vhost-user peer: %s", vu->net.id, strerror(-r));
	loop_fd_mod(lf, 0);
	loop_timer_set(vu->net.host->control, &vu->retry, loop_now_ns() + SECOND_NS);
}

static int vu_connect(struct vu *vu)
{
	struct sockaddr_un addr = {.sun_family = AF_UNIX};
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0), r;

	if (fd < 0)
		return -errno;
	memcpy(addr.sun_path, vu->socket.path, sizeof(addr.sun_path));
	if (connect(fd, (struct sockaddr *)&addr, sizeof(addr))) {
		r = -errno;
		close(fd);
		return r;
	}
	return vu_take(vu, fd);
}

static void vu_retry(struct loop_timer *t)
{
	struct vu *vu = t->opaque;

	if (vu->channel.fd >= 0)
		vu_give_up(vu);
	/* A peer that came and was dropped has set the timer. */
	else if (vu->socket.server || (vu_connect(vu) && !t->deadline_ns))
		vu_listen(vu);
}

/* ---- beginning and end ---- */

/* server, wait=on: until a peer has agreed. */
static int vu_wait_for_peer(struct vu *vu, struct err *err)
{
	struct pollfd p = {.fd = vu->socket.listen_fd, .events = POLLIN};
	sigset_t none;
	int r;

	sigemptyset(&none);
	log_warn("%s: waiting for a vhost-user peer on %s", vu->net.id, vu->socket.path);
	do { /* any signal ends it, also one that is blocked elsewhere */
		if (ppoll(&p, 1, NULL, &none) < 0)
			return err_errno(err, "no vhost-user peer on %s", vu->socket.path);
		r = vu_accept(vu);
		if (r >= 0)
			r = vu_take_now(vu, r);
	} while (r);
	return 0;
}

int vu_peer_begin(struct vu *vu, struct err *err)
{
	struct net_socket *s = &vu->socket;
	int r = -ENOTCONN;

	vu->listener = (struct loop_fd){.ready = vu_accept_ready, .opaque = vu, .fd = s->listen_fd};
	vu->watch = (struct loop_fd){.ready = vu_ready, .opaque = vu, .fd = -1};
	vu->retry = (struct loop_timer){.expired = vu_retry, .opaque = vu};
	vu->net.no_carrier = true;
	if (s->server) {
		r = loop_fd_add(vu->net.host->control, &vu->listener, s->fd < 0 ? EPOLLIN : 0);
		if (r)
			return err_set(err, r, "%s: %s", s->path, strerror(-r));
		r = -ENOTCONN;
	}
	if (s->fd >= 0)
		r = vu_take_now(vu, s->fd);
	s->fd = -1;
	if (!r)
		return 0;
	if (s->server)
		return s->wait ? vu_wait_for_peer(vu, err) : 0;
	if (!s->reconnect_s)
		return err_set(err, r, "the peer on %s is no vhost-user back end that will do: %s",
			       s->path,
			       vu->channel.why ? vu->channel.why : "it closed the connection");
	vu_listen(vu);
	return 0;
}

void vu_peer_end(struct vu *vu)
{
	if (vu->net.host)
		loop_timer_cancel(vu->net.host->control, &vu->retry);
	loop_fd_del(&vu->watch);
	loop_fd_del(&vu->listener);
	vu_channel_close(&vu->channel);
	if (vu->socket.fd >= 0)
		close(vu->socket.fd);
	vu->socket.fd = -1;
}
