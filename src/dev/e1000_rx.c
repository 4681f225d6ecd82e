/*
 * 82540EM: the receive ring. 317453 §3.2 (descriptors, checksums), §8.7 (MAC control), §9 (VLAN)
 * and §13.5 (filter).
 *
 *	rx_buffers: descriptors from head on -> buffers, enough for the longest frame
 *	rx_frame:   filter -> checksums, VLAN tag, FCS -> write back, head moves on -> causes
 *
 * A descriptor's buffer is looked at once, when it is offered; what the driver writes there later,
 * before the frame comes, is seen with the next one. One with no address, or one that isn't RAM,
 * takes no data: it is written back with a length of 0 when its turn comes.
 *
 * The wire ends at the back end: frames have no FCS there, and no errors. An FCS is put behind them
 * unless RCTL.SECRC strips it: four zeros, because no driver looks at it and computing it costs more
 * than the rest of this file does (zlib's crc32(): 113 ns for 60 bytes, 505 ns for 1514; the rest:
 * 48 ns), or the right one with fcs=on.
 *
 * Checksums (§3.2.9): IPv4's header is summed up here. TCP's and UDP's is reported as good only
 * where the back end vouches for it; for the rest TCPCS stays clear, and the driver does it itself.
 * The packet checksum is there for drivers that ask for one, by setting RXCSUM.PCSS.
 *
 * Too long is what has more than 1522 bytes with FCS without RCTL.LPE or SBP, more than 16384 with
 * it, or more than the descriptors of a whole ring hold. Short ones are padded by whoever reads them.
 *
 * Not here: PAUSE frames are counted, and don't stop the transmitter.
 */
#include <errno.h>
#include <string.h>

#include "base/be.h"
#include "base/csum.h"
#include "base/iov.h"
#include "dev/e1000.h"
#include "dev/eth_filter.h"

#define ETH_FCS	      4
#define ETH_LONGEST   1522 /* bytes with FCS and a VLAN tag, §13.4.22 RCTL.LPE */
#define ETH_HEADER    14
#define VLAN_TAG      4
#define TYPE_IPV4     0x0800
#define TYPE_IPV6     0x86dd
#define PROTOCOL_TCP  6
#define PROTOCOL_UDP  17
#define PAUSE_OPCODE  1
#define IPV4_FRAGMENT 0x3fff /* more fragments, or an offset */
#define IPV6_HEADER   40

/* §13.4.22: BSIZE and BSEX; the reserved combination is taken as 16384. */
void e1000_rx_setup(struct e1000 *e)
{
	unsigned int shift = RCTL_BSIZE(e->rctl);
	bool extended = e->rctl & RCTL_BSEX;

	e->rx.bsize = extended ? 32768u >> (shift ? shift : 1) : 2048u >> shift;
	e->rx.longest = e->rctl & (RCTL_LPE | RCTL_SBP) ? E1000_RX_LONGEST : ETH_LONGEST;
	if (e->rctl & RCTL_EN)
		nic_rx_kick(&e->nic);
}

/* ---- buffers ---- */

/* Free descriptors that are left when RXDMT0 comes, §13.4.22 RCTL.RDMTS. */
static uint32_t rx_threshold(const struct e1000 *e)
{
	return e->rx_ring.n >> (1 + RCTL_RDMTS(e->rctl));
}

/* Writes the descriptor at head back, and goes on. The data is there before DD is. */
static void rx_done(struct e1000 *e, uint64_t written)
{
	struct e1000_ring *r = &e->rx_ring;

	__atomic_store_n(&r->desc[2 * (size_t)r->head + 1],
			 written | (uint64_t)RXD_STAT_DD << RXD_STATUS_SHIFT, __ATOMIC_RELEASE);
	e1000_ring_next(r);
}

/* With the cable out the back end throws away what comes, as long as somebody reads it. */
static bool rx_may(const struct e1000 *e)
{
	return e->rctl & RCTL_EN && (e->link_up || !e->nic.link || e->looping) &&
	       pci_may_dma(&e->pci);
}

/* The buffer of a descriptor as pieces: how many, 0 = it has none, -E2BIG. */
static int rx_buffer(const struct e1000 *e, uint32_t index, struct iovec *iov, int max)
{
	uint64_t address = __atomic_load_n(&e->rx_ring.desc[2 * (size_t)index], __ATOMIC_RELAXED);
	int r = 0;

	if (address)
		r = mem_iov(e->pci.dev.platform->mem, address, e->rx.bsize, iov, max);
	return r == -EFAULT ? 0 : r;
}

/* A frame that needs several descriptors is better off where it is until the driver has given them: on
 * the card it would wait in the packet buffer. Unless there will never be more, or not all are taken that
 * there are. */
static bool rx_waits(const struct e1000 *e)
{
	size_t need = nic_frame_max(&e->nic) + ETH_FCS;
	uint32_t left = e1000_ring_left(&e->rx_ring);

	if (need > e->rx.longest)
		need = e->rx.longest;
	return e->rx.room < need && e->rx.slots == left && left < e->rx_ring.n - 1 && !e->looping;
}

int e1000_rx_buffers(struct nic *nic, struct iovec *iov, int max)
{
	struct e1000 *e = e1000_of(nic);
	struct e1000_ring *r = &e->rx_ring;
	uint32_t index;
	int n = 1, pieces;

	e->rx.slots = 0;
	e->rx.room = 0;
	if (!rx_may(e))
		return 1;
	while (e1000_ring_has(r) && rx_buffer(e, r->head, iov + 1, max - 1) == 0)
		rx_done(e, 0);
	if (!e1000_ring_has(r))
		return 1;
	for (index = r->head; index != r->tail && e->rx.room < e->rx.longest;
	     index = index + 1 == r->n ? 0 : index + 1) {
		pieces = e->rx.slots < E1000_RX_SLOTS ? rx_buffer(e, index, iov + n, max - n) : -1;
		if (pieces < 0)
			break;
		e->rx.slot[e->rx.slots++] = pieces ? e->rx.bsize : 0;
		e->rx.room += pieces ? e->rx.bsize : 0;
		n += pieces;
	}
	return rx_waits(e) ? 1 : n;
}

/* ---- filter ---- */

/* §13.5.2, §13.5.3: one of the sixteen addresses; most cards have one or two that are valid. */
static bool rx_exact(const struct e1000 *e, const uint8_t *frame)
{
	for (unsigned int valid = e->ra_valid; valid; valid &= valid - 1) {
		const uint32_t *ra = &e->ra[2 * __builtin_ctz(valid)];
		const uint8_t *address = frame + (RAH_AS(ra[1]) == 1 ? 6 : 0);
		uint16_t high = (uint16_t)ra[1];

		if (RAH_AS(ra[1]) <= 1 && !memcmp(address, &ra[0], 4) &&
		    !memcmp(address + 4, &high, 2))
			return true;
	}
	return false;
}

/* §13.5.1: 12 bits of the address, from one of four places, index a table of 4096 bits. */
static bool rx_hashed(const struct e1000 *e, const uint8_t *frame)
{
	static const uint8_t shift[4] = {4, 3, 2, 0};
	unsigned int bit =
		((unsigned int)frame[5] << 8 | frame[4]) >> shift[RCTL_MO(e->rctl)] & 0xfff;

	return e->mta[bit >> 5] >> (bit & 31) & 1;
}

/* Its type is VET's: an 802.1Q frame, §9.1. */
static bool rx_tagged(const struct e1000 *e, const uint8_t *frame)
{
	return e->vet && be16_get(frame + 12) == e->vet;
}

/* §9.3 */
static bool rx_vlan_passes(const struct e1000 *e, const uint8_t *frame)
{
	uint16_t tci;

	if (!(e->rctl & RCTL_VFE) || !rx_tagged(e, frame))
		return true;
	tci = be16_get(frame + 14);
	if (e->rctl & RCTL_CFIEN && (tci >> 12 & 1) != !!(e->rctl & RCTL_CFI))
		return false;
	return e->vfta[(tci & 0xfff) >> 5] >> (tci & 31) & 1;
}

/* PAUSE and other MAC control frames, §8.7. 1: it passes, 0: it doesn't, -1: the filter says. */
static int rx_mac_control(struct e1000 *e, const uint8_t *frame)
{
	if (!e->fct || be16_get(frame + 12) != e->fct)
		return -1;
	if (be16_get(frame + 14) != PAUSE_OPCODE)
		return e->rctl & RCTL_PMCF ? 1 : -1;
	if (!(e->ctrl & CTRL_RFCE))
		e1000_count(e, E1000_FCRUC, 1);
	else
		e1000_count(e, be16_get(frame + 16) ? E1000_XOFFRXC : E1000_XONRXC, 1);
	return e->rctl & RCTL_DPF ? 0 : -1;
}

/* Is it for this card? inexact: by nothing but a hash or a promiscuous mode (PIF). */
static bool rx_passes(struct e1000 *e, const uint8_t *frame, bool *inexact)
{
	int control;

	*inexact = false;
	if (!rx_vlan_passes(e, frame))
		return false;
	control = rx_mac_control(e, frame);
	if (control >= 0)
		return control;
	if (rx_exact(e, frame) || (eth_is_broadcast(frame) && e->rctl & RCTL_BAM))
		return true;
	*inexact = true;
	if (eth_is_multicast(frame))
		return e->rctl & RCTL_MPE || rx_hashed(e, frame);
	return e->rctl & RCTL_UPE;
}

/* ---- what is said of it ---- */

/* Status and errors of a frame with IP at `at`; what lies beyond the start that was copied isn't
 * checked. */
static uint32_t rx_ipv4(const struct e1000 *e, const struct nic_rx *rx, size_t at, uint32_t *errors)
{
	const uint8_t *ip = rx->start + at;
	size_t header = (size_t)(ip[0] & 0xf) * 4;
	uint32_t status = 0;

	if (ip[0] >> 4 != 4 || header < 20 || at + header > NIC_RX_START)
		return 0;
	if (e->rxcsum & RXCSUM_IPOFLD) {
		status |= RXD_STAT_IPCS;
		if (csum_finish(csum_add(0, ip, header)))
			*errors |= RXD_ERR_IPE;
	}
	if (e->rxcsum & RXCSUM_TUOFLD && rx->csum_ok && !(be16_get(ip + 6) & IPV4_FRAGMENT) &&
	    (ip[9] == PROTOCOL_TCP || ip[9] == PROTOCOL_UDP))
		status |= RXD_STAT_TCPCS;
	return status;
}

static uint32_t rx_checksums(const struct e1000 *e, const struct nic_rx *rx, uint32_t *errors)
{
	uint16_t type = be16_get(rx->start + 12);
	size_t at = ETH_HEADER;
	uint32_t status = 0;

	if (rx_tagged(e, rx->start)) {
		type = be16_get(rx->start + 16);
		at += VLAN_TAG;
	}
	if (type == TYPE_IPV4)
		status = rx_ipv4(e, rx, at, errors);
	else if (type == TYPE_IPV6 && e->rxcsum & RXCSUM_TUOFLD && rx->csum_ok &&
		 at + IPV6_HEADER <= NIC_RX_START &&
		 (rx->start[at + 6] == PROTOCOL_TCP || rx->start[at + 6] == PROTOCOL_UDP))
		status = RXD_STAT_TCPCS;
	return status ? status : RXD_STAT_IXSM;
}

/* §13.4.47 PCSS. */
static uint16_t rx_packet_csum(const struct e1000 *e, const struct nic_rx *rx)
{
	size_t from = RXCSUM_PCSS(e->rxcsum);

	if (!from || from >= rx->len)
		return 0;
	return csum_fold(csum_add_iov(0, rx->iov + 1, (size_t)rx->n - 1, from, rx->len - from));
}

static void rx_append_fcs(const struct e1000 *e, struct nic_rx *rx)
{
	uint8_t fcs[ETH_FCS] = {0};

	if (e->rctl & RCTL_SECRC)
		return;
	if (e->opt_fcs)
		nic_rx_fcs(rx, fcs);
	nic_rx_append(rx, fcs, sizeof(fcs));
}

/* ---- a frame ---- */

static void rx_count(struct e1000 *e, const uint8_t *frame, size_t len)
{
	e1000_count(e, E1000_GPRC, 1);
	e->stats.gorc += len;
	e1000_count_size(e, E1000_PRC64, len, 1);
	if (eth_is_multicast(frame))
		e1000_count(e, eth_is_broadcast(frame) ? E1000_BPRC : E1000_MPRC, 1);
}

/* Writes the descriptors of a frame back, the last with what is said of the whole. */
static void rx_write_back(struct e1000 *e, size_t len, uint64_t last)
{
	for (uint32_t i = 0; i < e->rx.slots; i++) {
		size_t n = len < e->rx.slot[i] ? len : e->rx.slot[i];

		len -= n;
		if (!len && n) {
			rx_done(e, last | n);
			return;
		}
		rx_done(e, n);
	}
}

/* RXT0, at once or after RDTR (§13.4.30); RXDMT0 when the driver should fill up; SRPD. */
static void rx_tell(struct e1000 *e, size_t len, uint32_t left)
{
	uint32_t threshold = rx_threshold(e), causes = 0;

	if (e->rdtr & 0xffff)
		e1000_delay_start(&e->rx_delay, e->rdtr & 0xffff, e->radv);
	else
		causes |= ICR_RXT0;
	if (left > threshold && e1000_ring_left(&e->rx_ring) <= threshold)
		causes |= ICR_RXDMT0;
	if (e->rsrpd && len <= e->rsrpd)
		causes |= ICR_SRPD;
	if (causes)
		e1000_cause(e, causes);
}

/* The frame's end is lost: its buffers stay free. */
static void rx_overrun(struct e1000 *e)
{
	e1000_count(e, E1000_MPC, 1);
	counter_add(&e->nic.counters.rx_too_long, 1);
	e1000_cause(e, ICR_RXO);
}

/* It is this card's: status and all. */
static void rx_store(struct e1000 *e, struct nic_rx *rx, bool inexact)
{
	uint32_t left = e1000_ring_left(&e->rx_ring), status = RXD_STAT_EOP, errors = 0;
	size_t wire = rx->len + ETH_FCS;
	uint16_t special = 0;
	uint64_t csum;

	status |= rx_checksums(e, rx, &errors);
	if (inexact)
		status |= RXD_STAT_PIF;
	if (e->ctrl & CTRL_VME && rx_tagged(e, rx->start)) {
		status |= RXD_STAT_VP;
		special = be16_get(rx->start + 14);
		nic_rx_cut(rx, 12, VLAN_TAG);
	}
	rx_append_fcs(e, rx);
	csum = rx_packet_csum(e, rx);
	if (rx->len > e->rx.room) {
		rx_overrun(e);
		return;
	}
	rx_count(e, rx->start, wire);
	rx_write_back(e, rx->len,
		      csum << RXD_CSUM_SHIFT | (uint64_t)status << RXD_STATUS_SHIFT |
			      (uint64_t)errors << RXD_ERRORS_SHIFT |
			      (uint64_t)special << RXD_SPECIAL_SHIFT);
	rx_tell(e, wire, left);
}

void e1000_rx_frame(struct nic *nic, struct nic_rx *rx)
{
	struct e1000 *e = e1000_of(nic);
	size_t wire = rx->len + ETH_FCS;
	bool inexact;

	e1000_count(e, E1000_TPR, 1);
	e->stats.tor += wire;
	/* In loopback the wire is cut. */
	if (e1000_loopback(e) != e->looping || !rx_passes(e, rx->start, &inexact)) {
		counter_add(&nic->counters.rx_filtered, 1);
		return;
	}
	if (wire > e->rx.longest) {
		e1000_count(e, E1000_ROC, 1);
		counter_add(&nic->counters.rx_too_long, 1);
		return;
	}
	if (rx->len > rx->room) {
		rx_overrun(e);
		return;
	}
	rx_store(e, rx, inexact);
}
