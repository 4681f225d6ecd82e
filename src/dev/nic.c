/*
 * What every emulated NIC has: address, cable, back end, I/O thread. nic.h has the picture.
 *
 * What the I/O thread looks at:
 *
 *	fd readable ........ frames, as long as there are buffers and the driver keeps up
 *	fd writable ........ only while a frame waits for room
 *	bell (eventfd) ..... rung with `kicked` set, and only while the loop sleeps: buffers are free again,
 *			     something is left to send, a timer was set by another thread
 *
 * A frame is read into the buffers that the model offers, and behind them into the device's own memory,
 * so that one that is too long is known as such and not silently cut. While frames come, the back end is
 * asked without waiting for the file descriptor, until it has had none a few times in a row.
 *
 * Memory: buffers are the guest's or the model's; the overflow is this file's, from realize to unrealize.
 */
#include "dev/nic.h"

#include <errno.h>
#include <sched.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "base/iov.h"
#include "dev/eth_filter.h"

#define NIC_RX_BATCH  16   /* frames for which the lock is held in one go */
#define NIC_GIVE_WAY  1024 /* looks at whether a vCPU still waits */
#define NIC_RX_MISSES 8	   /* reads in vain, after which the file descriptor has to tell */

#define NIC_OPT(name_, kind, field, ...)                                                        \
	{                                                                                       \
		.name = name_, .type = kind, .offset = offsetof(struct nic, field), __VA_ARGS__ \
	}

const struct opt_desc nic_opts[] = {
	NIC_OPT("mac", OPT_MAC, mac,
		.help = "the card's own address (none: 52:54:00:12:34:56 and on)"),
	NIC_OPT("netdev", OPT_STRING, opt_netdev, .help = "id of the back end; none: no cable"),
	NIC_OPT("iothread", OPT_STRING, opt_iothread,
		.help = "id of the I/O thread (-object iothread); none: one of its own"),
	{.name = NULL, .type = OPT_END},
};

#define NIC_COUNTER(field, tag, text)                                                     \
	{                                                                                 \
		.name = tag, .offset = offsetof(struct nic_counters, field), .help = text \
	}

static const struct counter_desc nic_counter_table[] = {
	NIC_COUNTER(tx_frames, "tx-frames", "frames that the card sent"),
	NIC_COUNTER(tx_bad, "tx-bad", "lost: too long, of too many pieces, or not in RAM"),
	NIC_COUNTER(tx_no_cable, "tx-no-cable", "lost: no cable"),
	NIC_COUNTER(tx_deferred, "tx-deferred", "times that sending went on on the I/O thread"),
	NIC_COUNTER(rx_frames, "rx-frames", "frames that came to the card"),
	NIC_COUNTER(rx_filtered, "rx-filtered", "lost: not for this card"),
	NIC_COUNTER(rx_too_long, "rx-too-long", "lost: too long for it"),
	NIC_COUNTER(rx_no_buffer, "rx-no-buffer",
		    "times that receiving had to wait for the driver's buffers"),
	NIC_COUNTER(looped, "looped", "frames that the card sent to itself"),
	NIC_COUNTER(interrupts, "interrupts", "interrupts raised"),
	{.name = NULL},
};

static void nic_lock(struct nic *nic)
{
	pthread_mutex_lock(&nic->dev->lock);
}

/* A vCPU waits for the lock, at a register. */
static bool nic_is_wanted(const struct nic *nic)
{
	return __atomic_load_n(&nic->dev->waiters, __ATOMIC_RELAXED);
}

/* Gives way to who waits: this thread would have the lock again before they have woken up. Measured,
 * frames of 64 bytes that e1000's polling driver received a second on a busy machine: 434 k, and 209 k
 * without (medians of 8). */
static void nic_unlock(struct nic *nic)
{
	pthread_mutex_unlock(&nic->dev->lock);
	for (int i = 1; i <= NIC_GIVE_WAY && nic_is_wanted(nic); i++) {
		if (i % 64)
			__builtin_ia32_pause();
		else
			sched_yield();
	}
}

/* Makes the I/O thread look. Any thread. */
static void nic_kick(struct nic *nic)
{
	/* Pairs with nic_sleep_prepare(): either it sees `kicked`, or we see `asleep`. */
	__atomic_store_n(&nic->kicked, true, __ATOMIC_SEQ_CST);
	if (__atomic_load_n(&nic->asleep, __ATOMIC_SEQ_CST))
		eventfd_write(nic->bell.fd, 1);
}

/* ---- the I/O thread's side; the lock is held unless said otherwise ---- */

/* Watches the back end for what is waited for now. */
static void nic_watch(struct nic *nic)
{
	uint32_t events = 0;

	if (!nic->net)
		return;
	if (!nic->starved && !nic->gone)
		events |= EPOLLIN;
	if (nic->tx_wait && !nic->gone)
		events |= EPOLLOUT;
	if (events != nic->fd.events)
		loop_fd_mod(&nic->fd, events);
}

/* Does what the sender left to do: true if the checksum is right now. */
static bool nic_complete_csum(const struct nic_rx *rx, const struct net_hdr *hdr)
{
	struct iovec piece[NIC_RX_IOV + 1];
	size_t n = iov_slice(piece, NIC_RX_IOV + 1, rx->iov + 1, (size_t)rx->n - 1, 0, rx->len);

	return net_complete_csum(hdr, piece, (int)n);
}

/* A frame's first bytes, and what there is to say about it. */
static void nic_describe(struct nic *nic, struct nic_rx *rx, const struct net_hdr *hdr)
{
	size_t copied;

	rx->csum_ok = hdr->flags & (NET_HDR_NEEDS_CSUM | NET_HDR_DATA_VALID);
	if (hdr->flags & NET_HDR_NEEDS_CSUM)
		rx->csum_ok = nic_complete_csum(rx, hdr);
	if (rx->len < FRAME_MIN) {
		iov_zero(rx->iov + 1, (size_t)rx->n - 1, rx->len, FRAME_MIN - rx->len);
		rx->len = FRAME_MIN;
	}
	copied = iov_read(rx->iov + 1, (size_t)rx->n - 1, 0, rx->start,
			  rx->len < NIC_RX_START ? rx->len : NIC_RX_START);
	memset(rx->start + copied, 0, NIC_RX_START - copied);
	counter_add(&nic->counters.rx_frames, 1);
}

/* The back end has gone: it takes what waits as it takes all else, and loses it. */
static void nic_lost(struct nic *nic)
{
	nic->gone = true;
	nic->readable = false;
	nic->tx_later |= nic->tx_wait;
	nic->tx_wait = false;
	if (nic->tx_later)
		nic_kick(nic);
}

/* Reads a frame into iov[1..n) and gives it to the model; false: there is none. */
static bool nic_read(struct nic *nic, int n)
{
	struct nic_rx rx = {.iov = nic->iov, .n = n};
	struct net_hdr hdr;
	ssize_t r;

	rx.room = iov_size(nic->iov + 1, (size_t)n - 1);
	if (rx.room < net_frame_max(nic->net) || rx.room < FRAME_MIN)
		nic->iov[rx.n++] = (struct iovec){nic->overflow, NET_FRAME_MAX};
	r = net_recv_frame(nic->nq, &hdr, nic->iov, rx.n);
	if (r == -EAGAIN) {
		nic->readable = ++nic->misses < NIC_RX_MISSES;
		return false;
	}
	nic->misses = 0;
	if (r == -ENODEV) {
		nic_lost(nic);
		return false;
	}
	if (r <= 0)
		return r < 0; /* counted by the back end; the next may be a frame */
	rx.len = (size_t)r;
	nic_describe(nic, &rx, &hdr);
	nic->ops->rx_frame(nic, &rx);
	return true;
}

/* Takes frames as long as there are some; true: there was one. */
static bool nic_receive(struct nic *nic)
{
	bool work = false;
	int n;

	for (int i = 0; i < NIC_RX_BATCH && nic->readable; i++) {
		if (work && nic_is_wanted(nic))
			break;
		n = nic->ops->rx_buffers(nic, nic->iov, NIC_RX_IOV);
		if (n <= 1) {
			nic->starved = true;
			nic->readable = false;
			counter_add(&nic->counters.rx_no_buffer, 1);
			break;
		}
		if (!nic_read(nic, n))
			break;
		work = true;
	}
	nic_watch(nic);
	return work;
}

static void nic_resume(struct nic *nic)
{
	counter_add(&nic->counters.tx_deferred, 1);
	nic->ops->tx_resume(nic);
}

/* The loop's timers as they are wanted. */
static void nic_sync_timers(struct nic *nic)
{
	struct nic_timer *t;

	TAILQ_FOREACH(t, &nic->timers, link) {
		if (t->deadline_ns == t->timer.deadline_ns)
			continue;
		if (t->deadline_ns)
			loop_timer_set(nic->loop, &t->timer, t->deadline_ns);
		else
			loop_timer_cancel(nic->loop, &t->timer);
	}
}

/* ---- what the loop calls; the lock is not held ---- */

static void nic_ready(struct loop_fd *fd, uint32_t events)
{
	struct nic *nic = fd->opaque;

	nic_lock(nic);
	if (events & EPOLLIN) {
		nic->readable = !nic->starved;
		nic->misses = 0;
	} else if (events & (EPOLLERR | EPOLLHUP)) {
		nic_lost(nic); /* an error that reading didn't show would be reported for ever */
	}
	if (nic->tx_wait && events & EPOLLOUT) {
		nic->tx_wait = false;
		nic_resume(nic);
	}
	nic_receive(nic);
	nic_unlock(nic);
}

static bool nic_poll(struct loop_poller *p)
{
	struct nic *nic = p->opaque;
	bool work = false;

	if (__atomic_load_n(&nic->kicked, __ATOMIC_RELAXED)) {
		__atomic_store_n(&nic->kicked, false, __ATOMIC_SEQ_CST);
		nic_lock(nic);
		nic_sync_timers(nic);
		if (nic->tx_later) {
			nic->tx_later = false;
			nic_resume(nic);
		}
		nic_watch(nic);
		nic_unlock(nic);
		work = true;
	}
	if (__atomic_load_n(&nic->readable, __ATOMIC_RELAXED)) {
		nic_lock(nic);
		work |= nic_receive(nic);
		nic_unlock(nic);
	}
	return work;
}

static bool nic_sleep_prepare(struct loop_poller *p)
{
	struct nic *nic = p->opaque;

	__atomic_store_n(&nic->asleep, true, __ATOMIC_SEQ_CST);
	return __atomic_load_n(&nic->kicked, __ATOMIC_SEQ_CST);
}

static void nic_woken(struct loop_poller *p)
{
	struct nic *nic = p->opaque;

	__atomic_store_n(&nic->asleep, false, __ATOMIC_RELAXED);
}

/* The loop has looked at the poller already, or will. */
static void nic_bell(struct loop_fd *fd, uint32_t events)
{
	eventfd_t value;

	eventfd_read(fd->fd, &value);
}

static void nic_timer_expired(struct loop_timer *timer)
{
	struct nic_timer *t = timer->opaque;
	struct nic *nic = t->nic;

	nic_lock(nic);
	if (t->deadline_ns && t->deadline_ns <= loop_now_ns()) {
		t->deadline_ns = 0;
		t->expired(t);
	}
	nic_sync_timers(nic); /* it may have been moved meanwhile */
	nic_unlock(nic);
}

/* ---- for the model ---- */

void nic_set_rx_csum(struct nic *nic, bool on)
{
	if (nic->net)
		net_set_frame_offloads(nic->net, on ? NET_OFFLOAD_CSUM : 0);
}

/* The frame doesn't reach the back end, nor does what is left of it, if it has a part of it already. */
static int nic_drop(struct nic *nic, struct counter *why)
{
	counter_add(why, 1);
	if (nic->nq)
		nic->nq->segments_sent = 0;
	return 0;
}

int nic_send(struct nic *nic, struct frame *f, const struct net_hdr *hdr)
{
	int r;

	if (f->bad || f->n <= 1)
		return nic_drop(nic, &nic->counters.tx_bad);
	if (!nic->link)
		return nic_drop(nic, &nic->counters.tx_no_cable);
	r = net_send_frame(nic->nq, hdr, f->iov, f->n);
	if (r == -EAGAIN && nic->gone)
		return nic_drop(nic, &nic->counters.tx_no_cable); /* nobody would say when */
	if (r == -EAGAIN) {
		nic->tx_wait = true;
		nic_kick(nic);
		return r;
	}
	counter_add(&nic->counters.tx_frames, 1);
	return 0;
}

void nic_tx_later(struct nic *nic)
{
	nic->tx_later = true;
	nic_kick(nic);
}

void nic_tx_kick(struct nic *nic)
{
	if (loop_is_current(nic->loop))
		nic_tx_later(nic);
	else
		nic->ops->tx_resume(nic);
}

void nic_rx_kick(struct nic *nic)
{
	if (!nic->starved)
		return;
	nic->starved = false;
	__atomic_store_n(&nic->readable, nic->net && !nic->gone,
			 __ATOMIC_RELAXED); /* nic_poll() looks without the lock */
	nic_kick(nic);
}

bool nic_loop(struct nic *nic, const struct frame *f)
{
	static const struct net_hdr none;
	struct nic_rx rx = {.iov = nic->iov, .len = f->len};
	uint8_t part[512];

	if (f->bad || f->n <= 1)
		return false;
	rx.n = nic->ops->rx_buffers(nic, nic->iov, NIC_RX_IOV);
	if (rx.n <= 1) {
		counter_add(&nic->counters.rx_no_buffer, 1);
		return false;
	}
	rx.room = iov_size(nic->iov + 1, (size_t)rx.n - 1);
	nic->iov[rx.n++] = (struct iovec){nic->overflow, NET_FRAME_MAX};
	for (size_t at = 0, n; at < f->len; at += n) {
		n = iov_read(f->iov + 1, (size_t)f->n - 1, at, part, sizeof(part));
		iov_write(nic->iov + 1, (size_t)rx.n - 1, at, part, n);
		if (!n)
			break;
	}
	counter_add(&nic->counters.looped, 1);
	nic_describe(nic, &rx, &none);
	nic->ops->rx_frame(nic, &rx);
	return true;
}

/* ---- for rx_frame() ---- */

void nic_rx_cut(struct nic_rx *rx, size_t offset, size_t len)
{
	size_t count = (size_t)rx->n - 1;
	uint8_t part[512];

	if (offset >= rx->len || len > rx->len - offset)
		return;
	for (size_t at = offset, n; at + len < rx->len; at += n) {
		n = rx->len - len - at;
		n = iov_read(rx->iov + 1, count, at + len, part,
			     n < sizeof(part) ? n : sizeof(part));
		if (!n)
			break;
		iov_write(rx->iov + 1, count, at, part, n);
	}
	rx->len -= len;
}

void nic_rx_append(struct nic_rx *rx, const void *data, size_t len)
{
	iov_write(rx->iov + 1, (size_t)rx->n - 1, rx->len, data, len);
	rx->len += len;
}

void nic_rx_fcs(const struct nic_rx *rx, uint8_t fcs[4])
{
	size_t left = rx->len;
	uint32_t crc = ETH_CRC_START;

	for (int i = 1; i < rx->n && left; i++) {
		size_t n = rx->iov[i].iov_len < left ? rx->iov[i].iov_len : left;

		crc = eth_crc_add(crc, rx->iov[i].iov_base, n);
		left -= n;
	}
	eth_fcs(crc, fcs);
}

/* ---- timers ---- */

void nic_timer_init(struct nic_timer *t, struct nic *nic, void (*expired)(struct nic_timer *t))
{
	*t = (struct nic_timer){.expired = expired,
				.nic = nic,
				.timer = {.expired = nic_timer_expired, .opaque = t}};
	TAILQ_INSERT_TAIL(&nic->timers, t, link);
}

void nic_timer_set(struct nic_timer *t, uint64_t deadline_ns)
{
	t->deadline_ns = deadline_ns;
	if (loop_is_current(t->nic->loop))
		nic_sync_timers(t->nic);
	else
		nic_kick(t->nic);
}

void nic_timer_cancel(struct nic_timer *t)
{
	t->deadline_ns = 0; /* the loop's goes off in vain, if it was set */
}

/* ---- life ---- */

int nic_check_mac(const uint8_t mac[6], struct err *err)
{
	if (!(mac[0] & 1))
		return 0;
	return err_set(err, -EINVAL,
		       "mac=%02x:%02x:%02x:%02x:%02x:%02x is a group address (the first byte of a "
		       "card's own is even)",
		       mac[0], mac[1], mac[2], mac[3], mac[4], mac[5]);
}

/* On the I/O thread, or before it. */
static void nic_attach(void *arg)
{
	struct nic *nic = arg;

	loop_poller_add(nic->loop, &nic->poller);
	loop_fd_add(nic->loop, &nic->bell, EPOLLIN);
	if (nic->net)
		loop_fd_add(nic->loop, &nic->fd, EPOLLIN);
}

static void nic_detach(void *arg)
{
	struct nic *nic = arg;
	struct nic_timer *t;

	loop_fd_del(&nic->fd);
	loop_fd_del(&nic->bell);
	loop_poller_del(nic->loop, &nic->poller);
	TAILQ_FOREACH(t, &nic->timers, link)
		loop_timer_cancel(nic->loop, &t->timer);
}

static void nic_release(struct nic *nic)
{
	struct platform *p = nic->dev->platform;

	if (nic->net) {
		nic->net->events = NULL;
		p->net_put(p, nic->net);
	}
	if (nic->loop)
		p->io_thread_put(p, nic->loop);
	if (nic->bell.fd >= 0)
		close(nic->bell.fd);
	free(nic->overflow);
	nic->net = NULL;
	nic->loop = NULL;
	nic->bell.fd = -1;
	nic->overflow = NULL;
}

/* Takes back end, I/O thread and what else can fail; nic_release() undoes it, also a part of it. */
static int nic_acquire(struct nic *nic, struct err *err)
{
	struct platform *p = nic->dev->platform;
	static const uint8_t no_mac[6];
	char name[16];
	int r = nic_check_mac(nic->mac, err);

	if (r)
		return r;
	if (!memcmp(nic->mac, no_mac, 6))
		p->mac_default(p, nic->mac);
	nic->overflow = malloc(NET_FRAME_MAX);
	if (!nic->overflow)
		return err_set(err, -ENOMEM, "out of memory");
	nic->bell.fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
	if (nic->bell.fd < 0)
		return err_errno(err, "eventfd");
	if (nic->opt_netdev) {
		nic->net = p->net_get(p, nic->opt_netdev, nic->dev, err);
		if (!nic->net)
			return err ? err->code : -ENODEV;
		if (nic->net->rings_only)
			return err_set(
				err, -ENOTSUP,
				"netdev=%s: a %s back end serves the rings of virtio devices "
				"and passes no frames (virtio-net-pci, or another -netdev)",
				nic->net->id, nic->net->ops->name);
		if (nic->net->rings_asked)
			return err_set(
				err, -ENOTSUP,
				"netdev=%s: vhost=on serves the rings of virtio devices, which "
				"this card has not (vhost=off, or virtio-net-pci)",
				nic->net->id);
		nic->nq = nic->net->queue[0];
		nic->fd.fd = nic->net->ops->fd(nic->nq);
		r = net_set_frame_offloads(nic->net, 0);
		if (r)
			return err_set(err, r, "netdev %s doesn't take a plain card's settings",
				       nic->net->id);
		r = net_set_mac(nic->net, nic->mac, err);
		if (r)
			return r;
		memcpy(nic->station, nic->mac, 6);
	}
	snprintf(name, sizeof(name), "io-%s", nic->dev->id);
	nic->loop = p->io_thread_get(p, nic->opt_iothread, name, err);
	return nic->loop ? 0 : err ? err->code : -ENOMEM;
}

void nic_set_station(struct nic *nic, const uint8_t mac[6])
{
	static const uint8_t none[6];

	if (!nic->net || !memcmp(mac, nic->station, 6) || !memcmp(mac, none, 6))
		return;
	memcpy(nic->station, mac, 6);
	net_set_mac(nic->net, mac, NULL);
}

static void nic_update_link(struct nic *nic)
{
	bool link = nic->net && !net_link_is_down(nic->net);

	nic_lock(nic);
	if (nic->link != link) {
		nic->link = link;
		if (nic->ops->link_changed)
			nic->ops->link_changed(nic);
	}
	nic_unlock(nic);
}

static void nic_carrier(void *opaque)
{
	nic_update_link(opaque);
}

static const struct net_events nic_events = {.carrier = nic_carrier};

int nic_realize(struct nic *nic, struct device *dev, const struct nic_ops *ops, struct err *err)
{
	int r;

	nic->dev = dev;
	nic->ops = ops;
	nic->bell.fd = -1;
	TAILQ_INIT(&nic->timers);
	r = nic_acquire(nic, err);
	if (r) {
		nic_release(nic);
		return r;
	}
	nic->fd.ready = nic_ready;
	nic->bell.ready = nic_bell;
	nic->fd.opaque = nic->bell.opaque = nic->poller.opaque = nic;
	nic->poller.poll = nic_poll;
	nic->poller.sleep_prepare = nic_sleep_prepare;
	nic->poller.woken = nic_woken;
	nic->link = nic->net && !net_link_is_down(nic->net);
	if (nic->net) {
		nic->net->events = &nic_events;
		nic->net->events_opaque = nic;
	}
	nic->starved = true; /* until the model says that there are buffers */
	loop_call(nic->loop, nic_attach, nic);
	return 0;
}

void nic_unrealize(struct nic *nic)
{
	loop_call(nic->loop, nic_detach, nic);
	nic_release(nic);
}

void nic_reset(struct nic *nic)
{
	struct nic_timer *t;

	nic->tx_wait = nic->tx_later = false;
	if (nic->nq)
		nic->nq->segments_sent = 0; /* the frame that waited is gone */
	TAILQ_FOREACH(t, &nic->timers, link)
		t->deadline_ns = 0;
	nic_set_rx_csum(nic, false);
}

/* ---- for people ---- */

void nic_set_link(struct nic *nic, bool up)
{
	if (nic->net)
		net_set_link(nic->net, up);
	nic_update_link(nic);
}

void nic_info(const struct nic *nic, json_t *object)
{
	const uint8_t *mac = nic->mac;
	char text[18];

	snprintf(text, sizeof(text), "%02x:%02x:%02x:%02x:%02x:%02x", mac[0], mac[1], mac[2],
		 mac[3], mac[4], mac[5]);
	json_object_set_new(object, "mac", json_string(text));
	json_object_set_new(object, "link", json_boolean(nic->link));
}

void nic_counters(struct nic *nic, counter_visit *visit, void *opaque)
{
	visit(opaque, nic->dev->id, NULL, nic_counter_table, &nic->counters);
}
