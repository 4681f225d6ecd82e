/*
 * RTL8139, classic mode. Sources: see rtl8139.h.
 *
 * Four transmit descriptors in registers (TSD, TSAD), which are used in turn, and a receive ring of bytes. A
 * frame in it has a header of 4 bytes in front (status, length with FCS) and its FCS behind, and begins at a
 * multiple of 4:
 *
 *	RBSTART            CAPR + 16                 CBR                RBLEN
 *	  |------ free -------|== header, frame, FCS ==|----- free -------|... WRAP ...
 *	                        not read yet
 *
 * With WRAP a frame that begins before the ring's end goes on behind it, for at most RX_OVERHANG bytes;
 * without, at RBSTART.
 *
 * What a driver's misuse does: a frame of more than TX_MAX bytes (TSD's limit) is aborted (TABT), one that isn't
 * in RAM is, too, with a system error (SERR) as after a master abort. The transmitter doesn't stop for that, so
 * TCR.CLRABT has nothing to do. Frames of less than 60 bytes are padded. A frame that came in and is longer than
 * 4 KiB is a receive error (RER), one that is longer than the room there is a missed one (MPC, RXOVW).
 *
 * While there isn't room for an ordinary frame, they wait at the back end. A driver that stops in the midst of
 * the ring (Linux's 8139too does, when its budget is used up) counts on the next frame's interrupt to go on: it
 * comes, and again after a while, as ROK and not as RXOVW, because nothing is lost.
 *
 * Device's lock held everywhere. Memory is the guest's.
 */
#include "dev/rtl8139.h"

#include <errno.h>

#include "base/iov.h"

#define TX_MAX	    1792 /* bytes: TSD, "SIZE" */
#define RX_OVERHANG 1536 /* bytes behind the ring that a driver with WRAP has: RCR, "WRAP" */
#define RX_HEADER   4
#define FCS	    4

enum {
	TSD_CRS = (int)0x80000000,
	TSD_TABT = 0x40000000,
	TSD_TOK = 0x8000,
	TSD_TUN = 0x4000,
	TSD_OWN = 0x2000,
	TSD_SIZE = 0x1fff,
	TSD_WRITABLE = 0x003f3fff,
	N_TSD = 4,
};

enum {
	RSR_MAR = 0x8000,
	RSR_PAM = 0x4000,
	RSR_BAR = 0x2000,
	RSR_ROK = 0x0001,
};

/* ---- transmission ---- */

static void put_tsd(struct rtl8139 *r, unsigned int i, uint32_t value)
{
	uint16_t all = rtl8139_get16(r, REG_TSAD_SUMMARY) & ~(0x1111 << i);

	all |= (value & TSD_TOK ? 0x1000 : 0) << i | (value & TSD_TUN ? 0x0100 : 0) << i;
	all |= (value & TSD_TABT ? 0x0010 : 0) << i | (value & TSD_OWN ? 0x0001 : 0) << i;
	rtl8139_put32(r, REG_TSD + 4 * i, value);
	rtl8139_put16(r, REG_TSAD_SUMMARY, all);
}

/* The frame is gone, well or not. */
static void tsd_done(struct rtl8139 *r, unsigned int i, uint32_t status)
{
	put_tsd(r, i, rtl8139_get32(r, REG_TSD + 4 * i) | status | TSD_OWN);
	r->tx_next = (i + 1) % N_TSD;
}

static void tsd_abort(struct rtl8139 *r, unsigned int i)
{
	bool no_ram = r->frame.bad;

	r->frame.bad = true;
	nic_send(&r->nic, &r->frame, NULL); /* counts it */
	r->tally.tx_er++;
	r->tally.tx_abt++;
	tsd_done(r, i, TSD_TABT);
	rtl8139_interrupt(r, INT_TER | (no_ram ? INT_SERR : 0));
}

/* false: no room, to be tried again. */
static bool tsd_send(struct rtl8139 *r, unsigned int i)
{
	size_t size = rtl8139_get32(r, REG_TSD + 4 * i) & TSD_SIZE;
	struct frame *f = &r->frame;

	frame_reset(f);
	if (size <= TX_MAX)
		frame_add(f, r->pci.dev.platform->mem, rtl8139_get32(r, REG_TSAD + 4 * i), size);
	if (f->bad || size > TX_MAX) {
		tsd_abort(r, i);
		return true;
	}
	if (size)
		frame_pad(f, FRAME_MIN);
	if (rtl8139_is_looped(r))
		nic_loop(&r->nic, f);
	else if (nic_send(&r->nic, f, NULL) == -EAGAIN)
		return false;
	r->tally.tx_ok++;
	tsd_done(r, i, TSD_TOK | (r->nic.link ? 0 : (uint32_t)TSD_CRS));
	rtl8139_interrupt(r, INT_TOK);
	return true;
}

/* Each turn makes a descriptor the driver's again, so there are at most four. */
void rtl8139_classic_transmit(struct rtl8139 *r)
{
	while (r->reg[REG_CR] & CR_TE && !rtl8139_cplus_tx(r) && !r->tx.waiting &&
	       pci_may_dma(&r->pci)) {
		unsigned int i = r->tx_next;

		if (rtl8139_get32(r, REG_TSD + 4 * i) & TSD_OWN || !tsd_send(r, i))
			break;
	}
}

/* The transmission status is cleared, and clearing OWN sends. */
void rtl8139_classic_send(struct rtl8139 *r, unsigned int i, uint32_t value)
{
	put_tsd(r, i, value & TSD_WRITABLE);
	nic_tx_kick(&r->nic);
}

void rtl8139_classic_stop_tx(struct rtl8139 *r)
{
	for (unsigned int i = 0; i < N_TSD; i++)
		put_tsd(r, i, rtl8139_cplus_tx(r) ? 0 : TSD_OWN); /* DTCCR is there, too */
	r->tx_next = 0;
}

/* ---- reception ---- */

static uint32_t ring_size(const struct rtl8139 *r)
{
	return 8192u << (rtl8139_get32(r, REG_RCR) >> RCR_RBLEN_SHIFT & 3);
}

/* Bytes from CBR to what the driver has read; all of the ring if there is nothing to read. */
static uint32_t ring_free(const struct rtl8139 *r)
{
	uint32_t size = ring_size(r);
	uint32_t n = (rtl8139_get16(r, REG_CAPR) + 16u - rtl8139_get16(r, REG_CBR)) & (size - 1);

	return n ? n : size;
}

/* Bytes that may be written so that the ring, when full, doesn't look empty. */
static uint32_t ring_room(const struct rtl8139 *r)
{
	return (ring_free(r) - 1) & ~3u;
}

static bool has_room(const struct rtl8139 *r)
{
	return ring_room(r) >= RX_HEADER + ((RTL8139_RX_USUAL + 3) & ~3u);
}

static void update_bufe(struct rtl8139 *r)
{
	bool empty = ring_free(r) == ring_size(r);

	rtl8139_put8(r, REG_CR, (uint8_t)((r->reg[REG_CR] & ~CR_BUFE) | (empty ? CR_BUFE : 0)));
}

int rtl8139_classic_rx_buffers(struct rtl8139 *r, struct iovec *iov, int max)
{
	uint32_t size = ring_size(r), at = rtl8139_get16(r, REG_CBR) & (size - 1);
	uint32_t to_end = size - at - RX_HEADER, len = ring_room(r) - RX_HEADER, first;
	uint64_t start = rtl8139_get32(r, REG_RBSTART);
	const struct mem *mem = r->pci.dev.platform->mem;
	int n, rest = 0;

	if (!has_room(r))
		return rtl8139_rx_wait(r, INT_ROK);
	if (rtl8139_get32(r, REG_RCR) & RCR_WRAP && size < 65536) {
		len = len < to_end + RX_OVERHANG ? len : to_end + RX_OVERHANG;
		to_end = len;
	}
	len = len < RTL8139_RX_MAX ? len : RTL8139_RX_MAX;
	first = len < to_end ? len : to_end;
	n = mem_iov(mem, start + at + RX_HEADER, first, iov + 1, max - 1);
	if (n >= 0)
		rest = mem_iov(mem, start, len - first, iov + 1 + n, max - 1 - n);
	return n < 0 || rest < 0 ? 1 : 1 + n + rest;
}

/* A frame that isn't taken leaves no bytes where a driver, which has zeroed what it has read, looks for the next
 * header. */
static void wipe(const struct nic_rx *rx)
{
	iov_zero(rx->iov + 1, (size_t)rx->n - 1, 0, rx->len < rx->room ? rx->len : rx->room);
}

void rtl8139_classic_rx_frame(struct rtl8139 *r, struct nic_rx *rx)
{
	static const uint16_t status[] = {
		[ETH_MATCH_STATION] = RSR_PAM,
		[ETH_MATCH_MULTICAST] = RSR_MAR,
		[ETH_MATCH_BROADCAST] = RSR_BAR,
	};
	uint32_t at = rtl8139_get16(r, REG_CBR) & (ring_size(r) - 1), len;
	enum eth_match match;
	uint8_t fcs[FCS], header[RX_HEADER];

	if (!rtl8139_wants(r, rx, &match)) {
		wipe(rx);
		return;
	}
	if (rx->len + FCS > rx->room) {
		wipe(rx);
		rtl8139_missed(r);
		return;
	}
	nic_rx_fcs(rx, fcs);
	nic_rx_append(rx, fcs, FCS);
	len = (uint32_t)rx->len;
	pci_put16(header, RSR_ROK | status[match]);
	pci_put16(header + 2, (uint16_t)len);
	/* A driver that looks at the header, and not at BUFE, finds the frame behind it. */
	__atomic_thread_fence(__ATOMIC_RELEASE);
	mem_write(r->pci.dev.platform->mem, (uint64_t)rtl8139_get32(r, REG_RBSTART) + at, header,
		  RX_HEADER);
	at = (at + RX_HEADER + len + 3) & ~3u & (ring_size(r) - 1);
	rtl8139_put16(r, REG_CBR, (uint16_t)at);
	update_bufe(r);
	rtl8139_received(r, match);
}

void rtl8139_classic_read(struct rtl8139 *r)
{
	update_bufe(r);
	if (has_room(r))
		nic_rx_kick(&r->nic);
}

void rtl8139_classic_stop_rx(struct rtl8139 *r)
{
	rtl8139_put16(r, REG_CAPR, 0xfff0);
	rtl8139_put16(r, REG_CBR, 0);
	update_bufe(r);
}
