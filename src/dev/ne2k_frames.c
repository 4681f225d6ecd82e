/*
 * RTL8029: the ring of pages, reception, transmission, loopback. See ne2k_pci.h.
 *
 * A full ring: a wire of 10 Mbit/s can't outrun a driver for long, a back end can. So frames wait
 * there while the ring has no room for a full-sized one, and the driver never meets the overflow
 * (OVW), whose cure costs Linux 10 ms and what is on the way. rx_wait=off has frames lost, with
 * OVW, as the card does it (D §7, "Buffer Ring Overflow").
 *
 * Sending runs on the vCPU's thread that asked for it, or on the I/O thread when the back end was
 * full; receiving on the I/O thread.
 *
 * Not here: collisions and what counts them (the cable has one sender at each end), and errors of
 * reception (frames come without an FCS that could be wrong).
 */
#include "dev/ne2k_pci.h"

#include <errno.h>
#include <string.h>

/* Pages that a frame of the longest kind takes up. */
#define PAGES_MAX ((RX_HEADER + FRAME_LONG + FCS + PAGE - 1) / PAGE)
/* A ring that can hold one; a smaller one can only overflow. */
#define RING_MIN (PAGES_MAX + 1)

/* What eth_crc_le() gives for a frame with its right FCS behind it. */
#define FCS_RESIDUE UINT32_C(0xdebb20e3)

/* A frame was for this card, and is lost. D §10.3, "Network Tally Counters". */
static void count_missed(struct ne2k *n)
{
	if (n->cntr2 < CNTR_STOP)
		n->cntr2++;
	if (n->cntr2 >= CNTR_WARN)
		ne2k_raise(n, ISR_CNT);
}

/* ---- the ring of pages ---- */

/* In packet memory, and CURR within? The chip would walk through anything. */
static bool ring_ok(const struct ne2k *n)
{
	return n->pstart >= MEM_BASE / PAGE && n->pstop <= (MEM_BASE + MEM_SIZE) / PAGE &&
	       n->pstart <= n->curr && n->curr < n->pstop;
}

/* Pages from CURR on that are free. A frame never takes all of them, for then CURR would be
 * BNRY, which says that all of them are. */
static unsigned int ring_free(const struct ne2k *n)
{
	unsigned int size = n->pstop - n->pstart, bnry = n->bnry;

	/* Linux writes PSTART - 1 where PSTOP - 1 is meant. The chip meets no other page outside
	 * the ring either. */
	if (bnry + 1u == n->pstart)
		bnry = n->pstop - 1u;
	if (bnry < n->pstart || bnry >= n->pstop)
		return size;
	return bnry > n->curr ? bnry - n->curr : size - n->curr + bnry;
}

static unsigned int ring_next(const struct ne2k *n, unsigned int page, unsigned int pages)
{
	page += pages;
	return page < n->pstop ? page : page - n->pstop + n->pstart;
}

/* A page that lies between BNRY and CURR without a frame is how drivers say that they have read
 * all. */
bool ne2k_ring_has_frames(const struct ne2k *n)
{
	return ring_ok(n) && ring_free(n) + 1 < (unsigned int)(n->pstop - n->pstart);
}

static uint8_t *page_data(struct ne2k *n, unsigned int page)
{
	return &n->mem[page * PAGE - MEM_BASE];
}

/* ---- reception: D §7 ---- */

static bool is_receiving(const struct ne2k *n)
{
	return n->cr & CR_STA && !(n->tcr & TCR_LB) && !n->overflowed;
}

static int ne2k_rx_buffers(struct nic *nic, struct iovec *iov, int max)
{
	struct ne2k *n = ne2k_of(nic);
	unsigned int pages;
	size_t room, first;

	if (!is_receiving(n))
		return 1;
	if (n->rcr & RCR_MON) {
		iov[1] = (struct iovec){n->scratch, sizeof(n->scratch)};
		return 2;
	}
	if (!ring_ok(n))
		return 1;
	pages = ring_free(n);
	if (pages <= PAGES_MAX && n->opt_rx_wait && n->pstop - n->pstart >= RING_MIN)
		return 1;
	if (pages > PAGES_MAX)
		pages = PAGES_MAX;
	/* From CURR's page, behind the header, to PSTOP, and on at PSTART. */
	room = (size_t)pages * PAGE;
	first = (size_t)(n->pstop - n->curr) * PAGE;
	if (first > room)
		first = room;
	iov[1] = (struct iovec){page_data(n, n->curr) + RX_HEADER, first - RX_HEADER};
	if (room == first)
		return 2;
	iov[2] = (struct iovec){page_data(n, n->pstart), room - first};
	return 3;
}

/* RSR of a frame for this card, 0 for others. */
static uint8_t rx_status(const struct ne2k *n, const uint8_t destination[6])
{
	if (eth_filter_match(&n->filter, destination) != ETH_NO_MATCH)
		return eth_is_multicast(destination) ? RSR_PRX | RSR_PHY : RSR_PRX;
	/* PRO: "all packets with physical destination address" */
	return n->rcr & RCR_PRO && !eth_is_multicast(destination) ? RSR_PRX : 0;
}

static void rx_overflow(struct ne2k *n)
{
	n->overflowed = true;
	n->rsr = RSR_MPA;
	count_missed(n);
	ne2k_raise(n, ISR_OVW | ISR_RST);
}

static void ne2k_rx_frame(struct nic *nic, struct nic_rx *rx)
{
	struct ne2k *n = ne2k_of(nic);
	uint8_t status = rx_status(n, rx->start), *header;
	size_t len = rx->len + FCS; /* as the header has it */
	unsigned int pages = (unsigned int)((RX_HEADER + len + PAGE - 1) / PAGE);
	uint8_t fcs[FCS];

	if (!status) {
		counter_add(&nic->counters.rx_filtered, 1);
		return;
	}
	if (rx->len > FRAME_LONG) {
		/* No wire would have brought it: IEEE 802.3 §3.2.7. The chip itself has no
		 * limit. */
		counter_add(&nic->counters.rx_too_long, 1);
		return;
	}
	if (n->rcr & RCR_MON) {
		n->rsr = status | RSR_DIS;
		count_missed(n);
		return;
	}
	if (pages >= ring_free(n)) {
		rx_overflow(n);
		return;
	}
	nic_rx_fcs(rx, fcs);
	nic_rx_append(rx, fcs, sizeof(fcs));
	header = page_data(n, n->curr);
	n->clda = (uint16_t)(ring_next(n, n->curr, (unsigned int)(RX_HEADER + len) / PAGE) * PAGE +
			     (RX_HEADER + len) % PAGE);
	n->curr = (uint8_t)ring_next(n, n->curr, pages);
	n->rsr = status;
	header[0] = status;
	header[1] = n->curr;
	pci_put16(header + 2, (uint16_t)len);
	n->rx_news = true;
	ne2k_raise(n, ISR_PRX);
}

/* ---- transmission: D §8 ---- */

static void tx_done(struct ne2k *n, uint8_t tsr)
{
	n->tx_waits = false;
	n->cr &= (uint8_t)~CR_TXP;
	n->tsr = tsr;
	n->clda = (uint16_t)(n->tpsr * PAGE + n->tbcr);
	ne2k_raise(n, tsr & TSR_ABT ? ISR_TXE : ISR_PTX);
}

/* TCR.CRC: the driver has put the FCS behind the frame. Is it right? */
static bool fcs_is_right(const uint8_t *data, size_t len)
{
	return len >= FCS && eth_crc_le(data, len) == FCS_RESIDUE;
}

static void tx_go_on(struct ne2k *n)
{
	n->tx_waits = nic_send(&n->nic, &n->frame, NULL) == -EAGAIN;
	/* Without a cable there is no carrier to be sensed, and nobody who would say that the
	 * frame is lost. */
	if (!n->tx_waits)
		tx_done(n, TSR_PTX | (n->nic.link ? 0 : TSR_CRS));
}

static void fifo_push(struct ne2k *n, size_t byte)
{
	n->fifo[n->fifo_at] = (uint8_t)byte;
	n->fifo_at = (n->fifo_at + 1) % FIFO_SIZE;
}

/*
 * Loopback: D §12. The frame goes through the FIFO and the receiver's checks, not into memory, so
 * the last bytes in the FIFO are what the driver can look at. The CRC logic serves one side: with
 * an FCS of the chip's own (TCR.CRC = 0) the receiver finds it wrong. In word mode every second
 * byte of memory takes part.
 */
static void tx_loop(struct ne2k *n, const uint8_t *data, size_t len)
{
	static const uint8_t tsr[] = {0, TSR_PTX | TSR_CRS | TSR_CDH, TSR_PTX | TSR_CDH, TSR_PTX};
	size_t step = n->dcr & DCR_WTS ? 2 : 1, count = 0;
	uint8_t to[6] = {0}, fcs[FCS], status;
	uint32_t crc = ETH_CRC_START;
	bool wrong = true;

	memset(n->fifo, 0, sizeof(n->fifo));
	n->fifo_at = 3; /* so that 8n + 5 bytes and their length end where reading begins */
	for (size_t i = step == 2 && !(n->dcr & DCR_BOS); i < len; i += step, count++) {
		if (count < sizeof(to))
			to[count] = data[i];
		crc = eth_crc_add(crc, data + i, 1);
		fifo_push(n, data[i]);
	}
	if (n->tcr & TCR_CRC) {
		wrong = crc != FCS_RESIDUE;
	} else {
		eth_fcs(crc, fcs);
		for (int i = 0; i < FCS; i++, count++)
			fifo_push(n, fcs[i]);
	}
	fifo_push(n, count);
	fifo_push(n, count >> 8);
	fifo_push(n, count >> 8);
	n->fifo_at = 0;
	counter_add(&n->nic.counters.looped, 1);
	/* A frame that isn't for this card isn't checked. */
	status = rx_status(n, to);
	n->rsr = status ? status : RSR_PRX;
	if (status && wrong) {
		n->rsr = (status & (uint8_t)~RSR_PRX) | RSR_CRC;
		n->isr |= ISR_RXE;
	}
	tx_done(n, tsr[(n->tcr & TCR_LB) >> 1]);
}

void ne2k_transmit(struct ne2k *n)
{
	size_t start = (size_t)n->tpsr * PAGE, len = n->tbcr;
	const uint8_t *data;

	n->cr |= CR_TXP;
	/* There is no memory to send it from: as if it had met a collision every time. */
	if (start < MEM_BASE || start + len > MEM_BASE + MEM_SIZE) {
		counter_add(&n->nic.counters.tx_bad, 1);
		tx_done(n, TSR_ABT);
		return;
	}
	data = page_data(n, n->tpsr);
	if (n->tcr & TCR_LB) {
		tx_loop(n, data, len);
		return;
	}
	if (n->tcr & TCR_CRC)
		len = fcs_is_right(data, len) ? len - FCS : 0;
	/* The chip pads nothing and cuts nothing, and finds nothing wrong with what it has sent.
	 * But what is longer than a frame, or has a wrong FCS, ends at the next station. */
	if (!len || len > FRAME_LONG) {
		counter_add(&n->nic.counters.tx_bad, 1);
		tx_done(n, TSR_PTX);
		return;
	}
	frame_reset(&n->frame);
	frame_add_host(&n->frame, data, len);
	tx_go_on(n);
}

static void ne2k_tx_resume(struct nic *nic)
{
	struct ne2k *n = ne2k_of(nic);

	if (n->tx_waits)
		tx_go_on(n);
}

const struct nic_ops ne2k_nic_ops = {
	.rx_buffers = ne2k_rx_buffers,
	.rx_frame = ne2k_rx_frame,
	.tx_resume = ne2k_tx_resume,
};
