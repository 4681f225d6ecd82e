/*
 * RTL8139C+, mode C+: descriptor rings. Source: see rtl8139.h; section 9 has the descriptors.
 *
 * A descriptor is 16 bytes: command or status (opts1), VLAN (opts2), 64-bit address. OWN makes it the card's;
 * EOR ends the ring, and so does the 64th.
 *
 *	opts1, transmit: OWN EOR FS LS LGSEN | MSS (LGSEN) or IPCS UDPCS TCPCS | length
 *	                 after:  OWN=0 EOR FS LS UNF TES OWC LNKF EXC
 *	opts1, receive:  OWN EOR | length of the buffer
 *	                 after:  OWN=0 EOR FS LS MAR PAM BAR PID IPF UDPF TCPF | length of the frame, with FCS
 *
 * Sending begins with a write to TPPoll and goes on until a descriptor isn't the card's, NIC_TX_BURST frames in
 * one go; the rest is left to the I/O thread. A frame is put together from all its descriptors, sent, and only
 * then are they given back: so they are the driver's when it sees OWN clear. Checksums and large send are left to
 * the back end. One that has no end within a ring, or isn't in RAM, is dropped, with TES in its descriptors.
 *
 * Receiving looks at as many descriptors as the longest frame takes. A driver needs no register to give some
 * back, so a ring that has run dry is looked at again by a timer, too, at growing intervals; RDU is raised once
 * each time that it runs dry.
 *
 * Device's lock held everywhere. Descriptors are guest memory, read once each.
 */
#include "dev/rtl8139.h"

#include <arpa/inet.h>
#include <errno.h>
#include <string.h>

#include "base/be.h"
#include "base/csum.h"

#define DESC_BYTES   16
#define FCS	     4
#define ETH_HEADER   14
#define VLAN_TAG     4
#define PROTOCOL_TCP 6
#define PROTOCOL_UDP 17
#define TX_MAX	     4118 /* bytes of a frame without large send: 4096 of payload, header and tag */

enum {
	DESC_OWN = (int)0x80000000,
	DESC_EOR = 0x40000000,
	DESC_FS = 0x20000000,
	DESC_LS = 0x10000000,

	TX_LGSEN = 0x08000000,
	TX_MSS_SHIFT = 16,
	TX_MSS = 0x7ff,
	TX_IPCS = 0x00040000,
	TX_UDPCS = 0x00020000,
	TX_TCPCS = 0x00010000,
	TX_LENGTH = 0xffff,
	TX_TES = 0x00800000,
	TX_LNKF = 0x00200000,
	TX_TAGC = 0x00020000, /* in opts2 */

	RX_LENGTH = 0x1fff,
	RX_MAR = 0x04000000,
	RX_PAM = 0x02000000,
	RX_BAR = 0x01000000,
	RX_PID_TCP = 0x00010000,
	RX_PID_UDP = 0x00020000,
	RX_PID_IP = 0x00030000,
	RX_IPF = 0x00008000,
	RX_UDPF = 0x00004000,
	RX_TCPF = 0x00002000,
	RX_TAVA = 0x00010000, /* in opts2 */
};

static struct mem *mem_of(const struct rtl8139 *r)
{
	return r->pci.dev.platform->mem;
}

/* The ring's i-th descriptor; NULL: not in RAM. Rings are aligned to 256 bytes. */
static uint32_t *descriptor(const struct rtl8139 *r, unsigned int ring, unsigned int i)
{
	uint64_t base = rtl8139_get64(r, ring) & ~UINT64_C(0xff);

	return mem_ptr(mem_of(r), base + i * DESC_BYTES, DESC_BYTES);
}

/* The driver writes opts1 last, and so do we: what else is in the descriptor is there when OWN changes. */
static uint32_t take_opts1(const uint32_t *desc)
{
	return __atomic_load_n(&desc[0], __ATOMIC_ACQUIRE);
}

static void give_opts1(uint32_t *desc, uint32_t opts1)
{
	__atomic_store_n(&desc[0], opts1, __ATOMIC_RELEASE);
}

static uint64_t address(const uint32_t *desc)
{
	uint32_t low = __atomic_load_n(&desc[2], __ATOMIC_RELAXED);
	uint32_t high = __atomic_load_n(&desc[3], __ATOMIC_RELAXED);

	return low | (uint64_t)high << 32;
}

static uint8_t next_of(unsigned int i, uint32_t opts1)
{
	return opts1 & DESC_EOR ? 0 : (uint8_t)((i + 1) % RTL8139_RING);
}

/* ---- transmission ---- */

enum tx_result {
	TX_NONE,
	TX_SENT,
	TX_FULL,
};

void rtl8139_cplus_stop_tx(struct rtl8139 *r)
{
	r->tx.index[0] = r->tx.index[1] = 0;
	r->tx.polled = 0;
	r->tx.n_slots = 0;
}

/* Puts the queue's next frame together; false: there is none, or it isn't complete. */
static bool gather(struct rtl8139 *r, unsigned int queue)
{
	struct rtl8139_tx *tx = &r->tx;
	uint32_t *desc, opts1 = 0;
	unsigned int i = tx->index[queue];

	frame_reset(&r->frame);
	for (tx->n_slots = 0; tx->n_slots < RTL8139_RING && !(opts1 & DESC_LS); tx->n_slots++) {
		desc = descriptor(r, queue ? REG_THPDS : REG_TNPDS, i);
		if (!desc) {
			rtl8139_interrupt(r, INT_SERR);
			return false;
		}
		opts1 = take_opts1(desc);
		if (!(opts1 & DESC_OWN))
			return false;
		frame_add(&r->frame, mem_of(r), address(desc), opts1 & TX_LENGTH);
		i = next_of(i, opts1);
		tx->slot[tx->n_slots] = (struct rtl8139_slot){desc, opts1, (uint8_t)i};
	}
	if (!(opts1 & DESC_LS))
		r->frame.bad = true;
	tx->queue = queue;
	return true;
}

/* Where the packet begins in the frame: behind a tag that the driver has put there itself. */
static size_t find_l3(struct frame *f)
{
	if (!frame_pull(f, ETH_HEADER))
		return ETH_HEADER;
	return be16_get(f->head + 12) == 0x8100 ? ETH_HEADER + VLAN_TAG : ETH_HEADER;
}

static bool large_send(struct frame *f, unsigned int mss, struct net_hdr *hdr)
{
	size_t l3 = find_l3(f), l4, header;

	if (!frame_pull(f, l3 + 20))
		return false;
	l4 = l3 + (f->head[l3] & 0xf) * 4u;
	if (f->head[l3] >> 4 != 4 || f->head[l3 + 9] != PROTOCOL_TCP || !frame_pull(f, l4 + 20))
		return false;
	header = l4 + (f->head[l4 + 12] >> 4) * 4u;
	return frame_want_tso(f, l3, l4, header, mss, hdr);
}

/* Anew, whatever the driver left in the field. */
static void ip_checksum(struct frame *f, size_t l3)
{
	size_t header;

	if (!frame_pull(f, l3 + 20) || f->head[l3] >> 4 != 4)
		return;
	header = (f->head[l3] & 0xf) * 4u;
	if (header < 20 || !frame_pull(f, l3 + header))
		return;
	memset(f->head + l3 + 10, 0, 2);
	frame_insert_csum(f, l3, l3 + 10, l3 + header);
}

/* What the descriptor asks for. A packet that doesn't fit its checksum bits is sent as it is. */
static void prepare(struct rtl8139 *r, uint32_t opts1, uint32_t opts2)
{
	struct frame *f = &r->frame;
	struct net_hdr *hdr = &r->tx.hdr;
	size_t l3;

	memset(hdr, 0, sizeof(*hdr));
	if (f->bad)
		return;
	if (opts1 & TX_LGSEN) {
		if (!large_send(f, opts1 >> TX_MSS_SHIFT & TX_MSS, hdr))
			f->bad = true;
	} else if (f->len > TX_MAX) {
		f->bad = true;
	} else if (opts1 & (TX_IPCS | TX_UDPCS | TX_TCPCS)) {
		l3 = find_l3(f);
		if (opts1 & TX_IPCS)
			ip_checksum(f, l3);
		if (opts1 & TX_TCPCS)
			frame_want_l4_csum(f, l3, PROTOCOL_TCP, hdr);
		else if (opts1 & TX_UDPCS)
			frame_want_l4_csum(f, l3, PROTOCOL_UDP, hdr);
	}
	if (opts2 & TX_TAGC)
		frame_insert_vlan(f, ntohs((uint16_t)opts2), hdr);
	if (!f->len)
		f->bad = true;
	else
		frame_pad(f, FRAME_MIN);
}

/* The card's own receiver sees whole checksums, and no frame that would have to be cut. */
static void loop(struct rtl8139 *r)
{
	struct frame *f = &r->frame;

	if (r->tx.hdr.gso_type || (r->tx.hdr.flags & NET_HDR_NEEDS_CSUM &&
				   !net_complete_csum(&r->tx.hdr, f->iov + 1, f->n - 1)))
		f->bad = true;
	if (!nic_loop(&r->nic, f) && f->bad)
		counter_add(&r->nic.counters.tx_bad, 1);
}

/* Gives the descriptors back, the first one last: a driver that finds that one free finds them all free. */
static void give_back(struct rtl8139 *r, uint32_t status)
{
	struct rtl8139_tx *tx = &r->tx;

	for (unsigned int i = tx->n_slots; i-- > 0;) {
		uint32_t keep = DESC_EOR | DESC_FS | DESC_LS | TX_LENGTH;

		give_opts1(tx->slot[i].desc, (tx->slot[i].opts1 & keep) | status);
	}
	if (tx->n_slots)
		tx->index[tx->queue] = tx->slot[tx->n_slots - 1].next;
	tx->n_slots = 0;
}

/* Sends r->frame. */
static enum tx_result send_frame(struct rtl8139 *r)
{
	bool looped = rtl8139_is_looped(r);
	uint32_t status = 0;

	if (looped && !r->tx.waiting)
		loop(r);
	else if (nic_send(&r->nic, &r->frame, &r->tx.hdr) == -EAGAIN) {
		r->tx.waiting = true;
		return TX_FULL;
	}
	r->tx.waiting = false;
	if (r->frame.bad)
		status = TX_TES;
	else if (!looped && !r->nic.link)
		status = TX_TES | TX_LNKF;
	if (status)
		r->tally.tx_er++;
	else
		r->tally.tx_ok++;
	give_back(r, status);
	rtl8139_put16(r, REG_ISR, rtl8139_get16(r, REG_ISR) | (status ? INT_TER : INT_TOK));
	return TX_SENT;
}

static enum tx_result send_next(struct rtl8139 *r, unsigned int queue)
{
	const struct rtl8139_slot *last;

	if (!gather(r, queue)) {
		r->tx.n_slots = 0;
		return TX_NONE;
	}
	last = &r->tx.slot[r->tx.n_slots - 1];
	prepare(r, last->opts1, __atomic_load_n(&last->desc[1], __ATOMIC_RELAXED));
	return send_frame(r);
}

void rtl8139_cplus_transmit(struct rtl8139 *r)
{
	unsigned int left = NIC_TX_BURST;
	enum tx_result result = TX_NONE;
	bool sent = false;

	if (r->tx.waiting) {
		result = send_frame(r);
		sent = result == TX_SENT;
	}
	while (result != TX_FULL && r->tx.polled && r->reg[REG_CR] & CR_TE && rtl8139_cplus_tx(r) &&
	       pci_may_dma(&r->pci)) {
		uint8_t queue = r->tx.polled & TPPOLL_HPQ ? TPPOLL_HPQ : TPPOLL_NPQ;

		if (!left--) {
			nic_tx_later(&r->nic);
			break;
		}
		result = send_next(r, queue == TPPOLL_HPQ);
		if (result == TX_SENT)
			sent = true;
		else if (result == TX_NONE)
			r->tx.polled &= (uint8_t)~queue;
	}
	if (sent) /* what the frames have set in ISR, too */
		rtl8139_interrupt(r, r->tx.polled ? 0 : INT_TDU);
}

void rtl8139_cplus_poll(struct rtl8139 *r, uint8_t value)
{
	if (value & TPPOLL_FSWINT)
		rtl8139_interrupt(r, INT_SWINT);
	r->tx.polled |= value & (TPPOLL_HPQ | TPPOLL_NPQ);
	nic_tx_kick(&r->nic);
	rtl8139_cplus_rx_again(r);
}

void rtl8139_cplus_rung(struct rtl8139 *r)
{
	r->tx.polled |= TPPOLL_NPQ;
	rtl8139_cplus_transmit(r);
	rtl8139_cplus_rx_again(r);
}

/* ---- reception ---- */

void rtl8139_cplus_stop_rx(struct rtl8139 *r)
{
	r->rx_index = 0;
	r->rx_dry = false;
	if (rtl8139_cplus_rx(r))
		nic_rx_kick(&r->nic);
}

void rtl8139_cplus_rx_again(struct rtl8139 *r)
{
	const uint32_t *desc;

	if (!r->nic.starved || !rtl8139_cplus_rx(r))
		return;
	/* 8139cp acknowledges before it gives descriptors back: it isn't to be interrupted for nothing. */
	desc = descriptor(r, REG_RDSAR, r->rx_index);
	if (desc && take_opts1(desc) & DESC_OWN)
		nic_rx_kick(&r->nic);
}

/* Says so once, until a frame has come in again. */
static int run_dry(struct rtl8139 *r)
{
	uint16_t bits = r->rx_dry ? 0 : INT_RXOVW;

	r->rx_dry = true;
	return rtl8139_rx_wait(r, bits);
}

/* Bytes of room that the longest frame takes, FCS included; one of the card's own may be longer. */
static size_t room_wanted(const struct rtl8139 *r)
{
	size_t longest = nic_frame_max(&r->nic) + FCS;

	if (longest > RTL8139_RX_MAX || rtl8139_is_looped(r))
		return RTL8139_RX_MAX;
	return longest > RTL8139_RX_USUAL ? longest : RTL8139_RX_USUAL;
}

int rtl8139_cplus_rx_buffers(struct rtl8139 *r, struct iovec *iov, int max)
{
	unsigned int i = r->rx_index, k = 0;
	size_t total = 0, wanted = room_wanted(r);
	int n = 1, pieces;

	do {
		uint32_t *desc = descriptor(r, REG_RDSAR, i), opts1;

		opts1 = desc ? take_opts1(desc) : 0;
		if (!(opts1 & DESC_OWN))
			break;
		pieces = mem_iov(mem_of(r), address(desc), opts1 & RX_LENGTH, iov + n, max - n);
		if (pieces < 0)
			break;
		n += pieces;
		total += opts1 & RX_LENGTH;
		i = next_of(i, opts1);
		r->rx_slot[k++] = (struct rtl8139_slot){desc, opts1, (uint8_t)i};
	} while (i != r->rx_index && k < RTL8139_RING && total < wanted);
	r->n_rx_slots = k;
	/* The whole ring, or room for an ordinary frame: less than that may be on its way back. */
	if (!total || (total < RTL8139_RX_USUAL && (i != r->rx_index || !k)))
		return run_dry(r);
	return n;
}

/* PID and what is wrong with the checksums (CpCR.RxChkSum). */
static uint32_t checksums(const struct nic_rx *rx)
{
	size_t l3 = be16_get(rx->start + 12) == 0x8100 ? ETH_HEADER + VLAN_TAG : ETH_HEADER;
	const uint8_t *ip = rx->start + l3;
	size_t header = (ip[0] & 0xf) * 4u, total = be16_get(ip + 2), pieces = (size_t)rx->n - 1;
	bool tcp = ip[9] == PROTOCOL_TCP;
	uint64_t sum;

	if (be16_get(ip - 2) != 0x0800 || ip[0] >> 4 != 4 || header < 20 || total < header ||
	    total > rx->len - l3)
		return 0;
	if (csum_fold(csum_add_iov(0, rx->iov + 1, pieces, l3, header)) != 0xffff)
		return RX_PID_IP | RX_IPF;
	if (be16_get(ip + 6) & 0x3fff || (!tcp && ip[9] != PROTOCOL_UDP))
		return RX_PID_IP;
	if (!rx->csum_ok) {
		sum = csum_add(0, ip + 12, 8);
		sum += (uint64_t)htons(ip[9]) + htons((uint16_t)(total - header));
		sum = csum_add_iov(sum, rx->iov + 1, pieces, l3 + header, total - header);
		if (csum_fold(sum) != 0xffff)
			return tcp ? RX_PID_TCP | RX_TCPF : RX_PID_UDP | RX_UDPF;
	}
	return tcp ? RX_PID_TCP : RX_PID_UDP;
}

/* Writes the descriptors of a frame of len bytes back, the first one last. */
static void fill(struct rtl8139 *r, size_t len, uint32_t status, uint32_t opts2)
{
	unsigned int last = 0;
	size_t before = 0;
	uint32_t opts1;

	while (before + (r->rx_slot[last].opts1 & RX_LENGTH) < len && last + 1 < r->n_rx_slots)
		before += r->rx_slot[last++].opts1 & RX_LENGTH;
	r->rx_index = r->rx_slot[last].next;
	for (unsigned int i = last + 1; i-- > 0;) {
		const struct rtl8139_slot *slot = &r->rx_slot[i];

		opts1 = slot->opts1 & DESC_EOR;
		if (i == last)
			opts1 |= DESC_LS | status | (uint32_t)len;
		else
			opts1 |= slot->opts1 & RX_LENGTH;
		__atomic_store_n(&slot->desc[1], i == last ? opts2 : 0, __ATOMIC_RELAXED);
		give_opts1(slot->desc, opts1 | (i ? 0 : DESC_FS));
	}
}

void rtl8139_cplus_rx_frame(struct rtl8139 *r, struct nic_rx *rx)
{
	static const uint32_t bits[] = {
		[ETH_MATCH_STATION] = RX_PAM,
		[ETH_MATCH_MULTICAST] = RX_MAR,
		[ETH_MATCH_BROADCAST] = RX_BAR,
	};
	uint16_t cpcr = rtl8139_get16(r, REG_CPCR);
	uint32_t status, opts2 = 0;
	enum eth_match match;
	uint8_t fcs[FCS];

	if (!rtl8139_wants(r, rx, &match))
		return;
	if (rx->len + FCS > rx->room) {
		rtl8139_missed(r);
		return;
	}
	status = bits[match] | (cpcr & CPCR_RXCHKSUM ? checksums(rx) : 0);
	nic_rx_fcs(rx, fcs);
	if (cpcr & CPCR_RXVLAN && be16_get(rx->start + 12) == 0x8100) {
		/* The tag's bytes as they are on the wire */
		opts2 = RX_TAVA | pci_get16(rx->start + ETH_HEADER);
		nic_rx_cut(rx, 12, VLAN_TAG);
	}
	nic_rx_append(rx, fcs, FCS);
	fill(r, rx->len, status, opts2);
	r->rx_dry = false;
	rtl8139_received(r, match);
}

/* ---- statistics ---- */

void rtl8139_cplus_dump_tally(struct rtl8139 *r)
{
	uint32_t low = rtl8139_get32(r, REG_DTCCR);
	uint64_t to = (uint64_t)rtl8139_get32(r, REG_DTCCR + 4) << 32 | (low & ~0x3fu);

	_Static_assert(sizeof(r->tally) == 64, "data sheet, section 6, DTCCR");
	if (!(low & 8))
		return;
	if (!pci_may_dma(&r->pci) || mem_write(mem_of(r), to, &r->tally, sizeof(r->tally)))
		rtl8139_interrupt(r, INT_SERR);
	rtl8139_put32(r, REG_DTCCR, low & ~8u);
}
