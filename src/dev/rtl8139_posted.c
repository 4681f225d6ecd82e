/*
 * RTL8139: which registers do without exits (bus/posted.h).
 *
 *	classic mode	TSD0-3, TSAD0-3 and CAPR are posted: they say "send this" and "I have read so far"
 *	mode C+		all registers can be read from a page of memory, which put8/16/32() in rtl8139.h keep
 *			up to date; and the usual write to TPPoll rings a doorbell, which the I/O thread serves
 *
 * Neither while transmitter and receiver are off.
 *
 * A doorbell that wakes the I/O thread for a frame or two, each time that one has come in, is slower than an exit, after
 * which the vCPU's thread sends by itself: whoever waits for an answer waits for two wake-ups. So it is judged every
 * BELLS times; if that was what it did mostly, it is taken away, and stands again when there are many exits instead,
 * after a rest that is longer each time, and is judged sooner.
 *
 * One register changes by itself: TCTR. A driver that has touched it or TimerInt since the last reset gets no
 * shadow; for one that reads it for the first time when the shadow stands, the I/O thread keeps it going as long
 * as it is awake.
 *
 * The device's lock is held, but for the functions that the loop calls, which take it.
 */
#include <errno.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "dev/rtl8139.h"

#define MARK_TSD    REG_TSD
#define MARK_SIZE   (REG_RBSTART - REG_TSD) /* TSD0-3, TSAD0-3 */
#define SHADOW_SIZE 4096		    /* a page; the BAR has the first 256 bytes of it */

#define BELLS	    64u
#define BELLS_RETRY 16u /* after a rest */
#define FEW_FRAMES  2u
#define POLLS	    16u /* within POLLS_NS: the doorbell is tried again */
#define POLLS_NS    UINT64_C(1000000)
#define REST_MIN_NS UINT64_C(50000000)
#define REST_MAX_NS UINT64_C(400000000)

static struct bus_region *memory_of(struct rtl8139 *r)
{
	return &r->pci.bar[1].region;
}

static void set_bell(struct rtl8139 *r, bool on)
{
	if (on == r->bell_up)
		return;
	r->bell_up = on;
	/* Where KVM refuses it, writes reach the handler. */
	if (on)
		bus_doorbell_add(memory_of(r), &r->bell);
	else
		bus_doorbell_del(memory_of(r), &r->bell);
}

void rtl8139_posted_update(struct rtl8139 *r)
{
	bool on = r->reg[REG_CR] & (CR_RE | CR_TE);
	bool cplus = rtl8139_cplus_tx(r) && rtl8139_cplus_rx(r);
	enum posted_mode mode = POSTED_NONE;

	if (!r->opt_posted)
		return;
	if (!on)
		r->bell_rests = false;
	if (on && cplus && !r->timer_used)
		mode = POSTED_READS;
	else if (on && !rtl8139_cplus_tx(r) && !rtl8139_cplus_rx(r))
		mode = POSTED_WRITES;
	__atomic_store_n(&r->mode, mode, __ATOMIC_RELAXED); /* tick() looks without the lock */
	posted_set_mode(&r->posted, mode);
	set_bell(r, on && rtl8139_cplus_tx(r) && !r->bell_rests);
}

void rtl8139_posted_polled(struct rtl8139 *r)
{
	uint64_t now;

	if (!r->bell_rests)
		return;
	now = loop_now_ns();
	if (now < r->bell_rests_until)
		return;
	if (now - r->polls_since > POLLS_NS) {
		r->polls_since = now;
		r->polls = 0;
	}
	if (++r->polls < POLLS)
		return;
	r->bell_rests = false;
	rtl8139_posted_update(r);
}

/* sent: frames, for this ring of the doorbell. */
static void judge_bell(struct rtl8139 *r, uint64_t sent)
{
	uint64_t received = counter_get(&r->nic.counters.rx_frames);
	unsigned int enough = r->bell_rest_ns ? BELLS_RETRY : BELLS;

	if (sent <= FEW_FRAMES && received != r->bell_received && loop_had_slept(r->nic.loop))
		r->bells_late++;
	r->bell_received = received;
	if (++r->bells < enough)
		return;
	if (r->bells_late >= enough - enough / 4) {
		r->bell_rest_ns = r->bell_rest_ns ? r->bell_rest_ns * 2 : REST_MIN_NS;
		if (r->bell_rest_ns > REST_MAX_NS)
			r->bell_rest_ns = REST_MAX_NS;
		r->bell_rests_until = loop_now_ns() + r->bell_rest_ns;
		r->bell_rests = r->bell_up;
		set_bell(r, false);
	} else {
		r->bell_rest_ns = 0;
	}
	r->bells = r->bells_late = 0;
}

/* ---- I/O thread ---- */

static void rung(struct loop_fd *fd, uint32_t events)
{
	struct rtl8139 *r = fd->opaque;
	uint64_t before;
	eventfd_t value;

	if (eventfd_read(fd->fd, &value))
		return;
	posted_bell(&r->posted);
	pthread_mutex_lock(&r->pci.dev.lock);
	before = counter_get(&r->nic.counters.tx_frames);
	rtl8139_cplus_rung(r);
	judge_bell(r, counter_get(&r->nic.counters.tx_frames) - before);
	pthread_mutex_unlock(&r->pci.dev.lock);
}

/* Without the lock, which vCPUs want: a word of the shadow, that is all. */
static bool tick(struct loop_poller *p)
{
	struct rtl8139 *r = p->opaque;

	if (__atomic_load_n(&r->mode, __ATOMIC_RELAXED) == POSTED_READS)
		posted_shadow_set(&r->posted, r->shadow, REG_TCTR, 4, rtl8139_count(r));
	return false;
}

static void attach(void *arg)
{
	struct rtl8139 *r = arg;

	loop_fd_add(r->nic.loop, &r->bell_fd, EPOLLIN);
	loop_poller_add(r->nic.loop, &r->ticker);
}

static void detach(void *arg)
{
	struct rtl8139 *r = arg;

	loop_fd_del(&r->bell_fd);
	loop_poller_del(r->nic.loop, &r->ticker);
}

/* ---- life ---- */

static int make_marks(struct rtl8139 *r)
{
	int e = 0;

	for (unsigned int i = 0; i < 2 && !e; i++) {
		struct bus_region *region = &r->pci.bar[i].region;

		e = posted_mark(&r->posted, region, MARK_TSD, MARK_SIZE);
		if (!e)
			e = posted_mark(&r->posted, region, REG_CAPR, 2);
	}
	if (!e)
		e = r->shadow = posted_shadow(&r->posted, memory_of(r), 0, SHADOW_SIZE);
	return e < 0 ? e : 0;
}

int rtl8139_posted_realize(struct rtl8139 *r, struct err *err)
{
	int e;

	r->shadow = -1;
	r->bell_fd.fd = -1;
	if (!r->opt_posted)
		return 0;
	posted_init(&r->posted, r->pci.dev.platform->bus, r->nic.loop);
	e = make_marks(r);
	if (!e) {
		r->bell_fd.fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
		e = r->bell_fd.fd < 0 ? -errno : 0;
	}
	if (e) {
		r->shadow = -1;
		posted_fini(&r->posted);
		return err_set(err, e, "%s: its registers can't be made", r->pci.dev.id);
	}
	r->bell = (struct bus_doorbell){.offset = REG_TPPOLL,
					.size = 1,
					.match = true,
					.value = TPPOLL_NPQ,
					.fd = r->bell_fd.fd};
	r->bell_fd.ready = rung;
	r->bell_fd.opaque = r->ticker.opaque = r;
	r->ticker.poll = tick;
	loop_call(r->nic.loop, attach, r);
	return 0;
}

void rtl8139_posted_unrealize(struct rtl8139 *r)
{
	if (!r->opt_posted)
		return;
	loop_call(r->nic.loop, detach, r); /* from now on nobody else takes the doorbell away */
	set_bell(r, false);
	close(r->bell_fd.fd);
	/* Frames still come in, and set registers. */
	pthread_mutex_lock(&r->pci.dev.lock);
	r->shadow = -1;
	pthread_mutex_unlock(&r->pci.dev.lock);
	posted_fini(&r->posted);
}
