/*
 * -netdev user: lets libslirp work, and waits for what it waits for. user.c has the picture.
 *
 * Under user.lock, on whatever thread send() and recv() are called; set-up and the monitor's commands on the control
 * thread.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/timerfd.h>

#include "net/user_impl.h"

#define NS_PER_MS 1000000u

#define USER_EVENTS  64 /* of the epoll, at a time */
#define USER_IDLE_NS UINT64_C(300000000000)
#define USER_SLOW_MS 1000 /* libslirp's time-out when it waits for nothing */

/* What an epoll event is of. */
#define USER_KEY_BELL  UINT64_MAX
#define USER_KEY_TIMER (UINT64_MAX - 1)

/* ---- the bell: readable while there is something for recv() ---- */

void user_ring(struct user *u, bool on)
{
	eventfd_t value;

	if (on == u->bell_rung)
		return;
	u->bell_rung = on;
	if (on)
		eventfd_write(u->bell, 1);
	else
		eventfd_read(u->bell, &value);
}

/* ---- what libslirp calls; under the lock ---- */

static ssize_t user_cb_send(const void *frame, size_t len, void *opaque)
{
	struct user *u = opaque;

	if (len > USER_ETH + USER_MTU_MAX || !user_queue_put(&u->out, frame, (uint32_t)len))
		counter_add(&u->queue.counters.rx_dropped_full, 1);
	return (ssize_t)len;
}

static void user_cb_error(const char *msg, void *opaque)
{
	struct user *u = opaque;

	log_limited(&u->log, "%s: %s", u->net.id, msg);
}

static int64_t user_cb_clock(void *opaque)
{
	return (int64_t)loop_now_ns();
}

/* There is one timer: of router advertisements. */
static void *user_cb_timer_new(SlirpTimerId id, void *cb_opaque, void *opaque)
{
	return opaque;
}

static void user_cb_timer_free(void *timer, void *opaque)
{
	((struct user *)opaque)->ra_ns = 0;
}

static void user_cb_timer_mod(void *timer, int64_t expire_ms, void *opaque)
{
	((struct user *)opaque)->ra_ns = (uint64_t)expire_ms * NS_PER_MS;
}

/* A number may come back for another socket before it is waited for again. */
static void user_cb_fd(int fd, void *opaque)
{
	struct user *u = opaque;

	if (fd < 0 || (unsigned int)fd >= u->n_fd)
		return;
	if (u->fd[fd].watched)
		epoll_ctl(u->epoll, EPOLL_CTL_DEL, fd, NULL);
	u->fd[fd] = (struct user_fd){0};
}

static void user_cb_notify(void *opaque)
{
	((struct user *)opaque)->changed = true;
}

const SlirpCb user_callbacks = {
	.send_packet = user_cb_send,
	.guest_error = user_cb_error,
	.clock_get_ns = user_cb_clock,
	.timer_new_opaque = user_cb_timer_new,
	.timer_free = user_cb_timer_free,
	.timer_mod = user_cb_timer_mod,
	.register_poll_fd = user_cb_fd,
	.unregister_poll_fd = user_cb_fd,
	.notify = user_cb_notify,
};

/* ---- what it waits for ---- */

static const struct {
	int slirp;
	uint32_t epoll;
} user_events[] = {
	{SLIRP_POLL_IN, EPOLLIN},   {SLIRP_POLL_OUT, EPOLLOUT}, {SLIRP_POLL_PRI, EPOLLPRI},
	{SLIRP_POLL_ERR, EPOLLERR}, {SLIRP_POLL_HUP, EPOLLHUP},
};
#define USER_N_EVENTS (sizeof(user_events) / sizeof(user_events[0]))

static bool user_fd_grow(struct user *u, unsigned int n)
{
	struct user_fd *fd = reallocarray(u->fd, n, sizeof(*fd));

	if (!fd)
		return false;
	memset(fd + u->n_fd, 0, (n - u->n_fd) * sizeof(*fd));
	u->fd = fd;
	u->n_fd = n;
	return true;
}

static int user_add_poll(int fd, int events, void *opaque)
{
	struct user *u = opaque;

	if ((unsigned int)fd >= u->n_fd && !user_fd_grow(u, (unsigned int)fd + 64))
		return -1;
	for (size_t i = 0; i < USER_N_EVENTS; i++)
		if (events & user_events[i].slirp)
			u->fd[fd].wanted |= user_events[i].epoll;
	u->sockets++;
	return fd;
}

static int user_get_events(int fd, void *opaque)
{
	struct user *u = opaque;
	int events = 0;

	for (size_t i = 0; i < USER_N_EVENTS; i++)
		if (u->fd[fd].ready & user_events[i].epoll)
			events |= user_events[i].slirp;
	return events;
}

static void user_watch_fd(struct user *u, int fd, struct user_fd *f)
{
	struct epoll_event ev = {.events = f->wanted, .data.u64 = (uint64_t)fd};
	int op = f->watched ? f->wanted ? EPOLL_CTL_MOD : EPOLL_CTL_DEL : EPOLL_CTL_ADD;
	int r = epoll_ctl(u->epoll, op, fd, &ev);

	/* Closed, or closed and opened again, without a word. */
	if (r && op == EPOLL_CTL_MOD && errno == ENOENT)
		r = epoll_ctl(u->epoll, EPOLL_CTL_ADD, fd, &ev);
	else if (r && op == EPOLL_CTL_ADD && errno == EEXIST)
		r = epoll_ctl(u->epoll, EPOLL_CTL_MOD, fd, &ev);
	f->watched = r ? 0 : f->wanted;
}

/* Sooner is as good: then it is looked at what is due. */
static void user_set_timer(struct user *u, uint64_t now, uint64_t deadline)
{
	struct itimerspec t = {0};

	if (!deadline || (u->timer_ns > now && u->timer_ns <= deadline))
		return;
	u->timer_ns = deadline;
	t.it_value.tv_sec = (time_t)(deadline / 1000000000u);
	t.it_value.tv_nsec = (long)(deadline % 1000000000u);
	timerfd_settime(u->timer, TFD_TIMER_ABSTIME, &t, NULL);
}

/* Asks libslirp what it waits for, and waits for that. */
void user_watch(struct user *u)
{
	uint64_t now = loop_now_ns(), deadline = u->ra_ns;
	uint32_t timeout_ms = UINT32_MAX;

	u->sockets = 0;
	slirp_pollfds_fill(u->slirp, &timeout_ms, user_add_poll, u);
	for (unsigned int fd = 0; fd < u->n_fd; fd++) {
		struct user_fd *f = &u->fd[fd];

		if (f->wanted != f->watched)
			user_watch_fd(u, (int)fd, f);
		f->wanted = f->ready = 0;
	}
	if (timeout_ms < USER_SLOW_MS && now - u->active_ns < USER_IDLE_NS) {
		uint64_t at = now + (uint64_t)timeout_ms * NS_PER_MS;

		if (!deadline || at < deadline)
			deadline = at;
	}
	user_set_timer(u, now, deadline);
	u->changed = false;
}

/* Lets libslirp do what is due. */
void user_run(struct user *u)
{
	struct epoll_event ev[USER_EVENTS];
	int n = epoll_wait(u->epoll, ev, USER_EVENTS, 0);
	bool due = u->changed;

	counter_add(&u->queue.counters.rx_syscalls, 1);
	for (int i = 0; i < n; i++) {
		if (ev[i].data.u64 == USER_KEY_BELL)
			continue;
		due = true;
		if (ev[i].data.u64 == USER_KEY_TIMER)
			continue;
		u->fd[ev[i].data.u64].ready = ev[i].events;
		u->active_ns = loop_now_ns();
	}
	if (!due)
		return;
	if (u->ra_ns && u->ra_ns <= loop_now_ns()) {
		u->ra_ns = 0;
		slirp_handle_timer(u->slirp, SLIRP_TIMER_RA, NULL);
	}
	slirp_pollfds_poll(u->slirp, 0, user_get_events, u);
	user_watch(u);
}

/* ---- set-up ---- */

static int user_watch_own(struct user *u, int fd, uint64_t key)
{
	/* The timer's is edge-triggered: nobody reads it, and each setting starts anew. */
	struct epoll_event ev = {.events = EPOLLIN | (key == USER_KEY_TIMER ? EPOLLET : 0),
				 .data.u64 = key};

	return epoll_ctl(u->epoll, EPOLL_CTL_ADD, fd, &ev);
}

int user_open_fds(struct user *u, struct err *err)
{
	u->epoll = epoll_create1(EPOLL_CLOEXEC);
	u->bell = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	u->timer = timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC | TFD_NONBLOCK);
	if (u->epoll < 0 || u->bell < 0 || u->timer < 0 ||
	    user_watch_own(u, u->bell, USER_KEY_BELL) ||
	    user_watch_own(u, u->timer, USER_KEY_TIMER))
		return err_errno(err, "epoll, eventfd, timerfd");
	return 0;
}

void user_begin(struct user *u)
{
	u->active_ns = loop_now_ns();
	/* Sets libslirp's clock, which it looks at when it counts on time-outs. */
	slirp_pollfds_poll(u->slirp, 1, user_get_events, u);
	user_watch(u);
}
