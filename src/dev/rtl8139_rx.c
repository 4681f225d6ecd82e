/*
 * RTL8139: reception, as far as it is the same in either mode: the filter, statistics, and frames for which there is
 * no room yet. The device's lock is held.
 */
#include <string.h>

#include "dev/rtl8139.h"

#define FCS	     4
#define RETRY_MIN_NS UINT64_C(20000)
#define RETRY_FEW_NS UINT64_C(5000000)
#define RETRY_MAX_NS UINT64_C(1000000000)
#define RETRY_FRAMES 32u

void rtl8139_update_filter(struct rtl8139 *r)
{
	uint32_t rcr = rtl8139_get32(r, REG_RCR);
	struct eth_filter *f = &r->filter;

	memcpy(f->station, r->reg + REG_IDR, 6);
	nic_set_station(&r->nic, f->station);
	f->table = rtl8139_get64(r, REG_MAR);
	f->hash = ETH_HASH_BE_TOP6;
	f->broadcast = rcr & RCR_AB;
	f->multicast = rcr & RCR_AM;
	f->unicast = rcr & (RCR_APM | RCR_AAP);
}

bool rtl8139_wants(struct rtl8139 *r, const struct nic_rx *rx, enum eth_match *match)
{
	*match = eth_filter_match(&r->filter, rx->start);
	/* AAP is about unicast alone */
	if (*match == ETH_NO_MATCH && rtl8139_get32(r, REG_RCR) & RCR_AAP &&
	    !eth_is_multicast(rx->start))
		*match = ETH_MATCH_PROMISCUOUS;
	if (*match == ETH_NO_MATCH) {
		counter_add(&r->nic.counters.rx_filtered, 1);
		return false;
	}
	if (rx->len + FCS <= RTL8139_RX_MAX)
		return true;
	counter_add(&r->nic.counters.rx_too_long, 1);
	r->tally.rx_er++;
	rtl8139_interrupt(r, INT_RER);
	return false;
}

void rtl8139_received(struct rtl8139 *r, enum eth_match match)
{
	r->tally.rx_ok++;
	if (match == ETH_MATCH_STATION)
		r->tally.rx_ok_phy++;
	else if (match == ETH_MATCH_MULTICAST)
		r->tally.rx_ok_mul++;
	else if (match == ETH_MATCH_BROADCAST)
		r->tally.rx_ok_brd++;
	rtl8139_interrupt(r, INT_ROK);
}

void rtl8139_missed(struct rtl8139 *r)
{
	counter_add(&r->nic.counters.rx_too_long, 1);
	r->tally.rx_er++;
	r->tally.miss_pkt++;
	rtl8139_put32(r, REG_MPC, (rtl8139_get32(r, REG_MPC) + 1) & 0xffffff);
	rtl8139_interrupt(r, INT_RXOVW);
}

int rtl8139_rx_wait(struct rtl8139 *r, uint16_t bits)
{
	uint64_t most = r->rx_between ? RETRY_FEW_NS : RETRY_MAX_NS;

	if (!r->rx_retry.deadline_ns) {
		/* Sooner only where it is worth while: waking up for each descriptor that a busy driver gives back
		 * takes the time that it needs. */
		if (r->rx_between >= RETRY_FRAMES)
			r->rx_retry_ns /= 2;
		else
			r->rx_retry_ns *= 2;
		if (r->rx_retry_ns < RETRY_MIN_NS)
			r->rx_retry_ns = RETRY_MIN_NS;
		if (r->rx_retry_ns > most)
			r->rx_retry_ns = most;
		nic_timer_set(&r->rx_retry, loop_now_ns() + r->rx_retry_ns);
		r->rx_between = 0;
	}
	if (bits)
		rtl8139_interrupt(r, bits);
	return 1;
}

static void rx_retry(struct nic_timer *t)
{
	nic_rx_kick(t->nic);
}

/* Some drivers turn the receiver on before they say where the ring is: until then frames wait, and don't go to
 * address 0. */
static bool has_ring(const struct rtl8139 *r)
{
	return rtl8139_cplus_rx(r) ? rtl8139_get64(r, REG_RDSAR) : rtl8139_get32(r, REG_RBSTART);
}

int rtl8139_rx_buffers(struct nic *nic, struct iovec *iov, int max)
{
	struct rtl8139 *r = rtl8139_of(nic);
	int n;

	if (!(r->reg[REG_CR] & CR_RE) || !has_ring(r) || !pci_may_dma(&r->pci))
		return 1;
	n = rtl8139_cplus_rx(r) ? rtl8139_cplus_rx_buffers(r, iov, max)
				: rtl8139_classic_rx_buffers(r, iov, max);
	if (n > 1) {
		r->rx_between++;
		nic_timer_cancel(&r->rx_retry);
	}
	return n;
}

void rtl8139_rx_frame(struct nic *nic, struct nic_rx *rx)
{
	struct rtl8139 *r = rtl8139_of(nic);

	if (rtl8139_cplus_rx(r))
		rtl8139_cplus_rx_frame(r, rx);
	else
		rtl8139_classic_rx_frame(r, rx);
}

void rtl8139_stop_rx(struct rtl8139 *r)
{
	r->rx_retry_ns = 0;
	r->rx_between = 0;
	nic_timer_cancel(&r->rx_retry);
	rtl8139_classic_stop_rx(r);
	rtl8139_cplus_stop_rx(r);
}

void rtl8139_rx_init(struct rtl8139 *r)
{
	nic_timer_init(&r->rx_retry, &r->nic, rx_retry);
}
