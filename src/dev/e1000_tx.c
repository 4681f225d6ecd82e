/*
 * 82540EM: the transmit ring. 317453 §3.3 (descriptors), §3.4 (ring), §3.5 (TCP segmentation),
 * §9.2.1 (VLAN).
 *
 *	descriptor:  legacy | context (sets offsets, takes no data) | data (uses them)
 *
 *	read, head moves on -> last of its frame? -> offloads -> nic_send() -> write back
 *
 * A frame is pieces of guest memory until its last descriptor has been read; then checksums,
 * segmentation and the VLAN tag are either done in its first bytes, which are copied for that, or
 * left to the back end. Descriptors are written back (DD) when their frame has gone, not before: its
 * memory is the driver's from then on. A frame that the back end has no room for waits, and TDH then
 * shows its first descriptor.
 *
 * There are two contexts, for frames with and without segmentation (§3.3.6).
 *
 * Differences from the card: descriptors aren't prefetched, and are written back one by one, so the
 * thresholds in TXDCTL but LWTHRESH mean nothing; flow control doesn't hold back sending.
 */
#include <errno.h>

#include "base/iov.h"
#include "dev/e1000.h"
#include "dev/eth_filter.h"

/* Descriptors that are read before others get their turn. */
#define TX_DESC_BURST 1024

static struct e1000_context tx_context(uint64_t lo, uint64_t hi)
{
	return (struct e1000_context){
		.ipcss = (uint8_t)lo,
		.ipcso = (uint8_t)(lo >> 8),
		.ipcse = (uint16_t)(lo >> 16),
		.tucss = (uint8_t)(lo >> 32),
		.tucso = (uint8_t)(lo >> 40),
		.tucse = (uint16_t)(lo >> 48),
		.tucmd = TXD_CMD(hi),
		.hdrlen = (uint8_t)(hi >> 40),
		.mss = (uint16_t)(hi >> 48),
	};
}

/* ---- writing back ---- */

/* DD, which tells the driver that the descriptor and its buffer are its own again: what was read of
 * them has been read. */
static void tx_done(struct e1000_ring *r, uint32_t index)
{
	uint8_t *status = (uint8_t *)(r->desc + 2 * (size_t)index) + TXD_STATUS_BYTE;
	uint8_t old = __atomic_load_n(status, __ATOMIC_RELAXED);

	__atomic_store_n(status, (uint8_t)((old & 0xf0) | TXD_STAT_DD), __ATOMIC_RELEASE);
}

/* A descriptor with RS: TXDW at once, or together with others (§3.3.3.1, IDE). */
static void tx_reported(struct e1000 *e, uint8_t cmd)
{
	if (cmd & TXD_CMD_IDE && e->tidv & 0xffff)
		e->tx.report_later = true;
	else
		e->tx.report = true;
}

/* The frame's descriptors that want it. */
static void tx_write_back(struct e1000 *e)
{
	struct e1000_ring *r = &e->tx_ring;
	struct e1000_tx *tx = &e->tx;
	uint32_t i = tx->first, last = r->head ? r->head - 1 : r->n - 1;

	if (!r->desc || tx->first >= r->n || r->head >= r->n)
		return;
	if (tx->last_cmd & TXD_CMD_RS) {
		if (!tx->early)
			tx_done(r, last);
		tx_reported(e, tx->last_cmd);
	}
	if (!tx->early)
		return;
	/* Not more than once around. */
	for (; i != r->head; i = i + 1 == r->n ? 0 : i + 1) {
		uint64_t d = __atomic_load_n(&r->desc[2 * (size_t)i + 1], __ATOMIC_RELAXED);

		if (TXD_CMD(d) & TXD_CMD_RS)
			tx_done(r, i);
	}
}

/* ---- a whole frame ---- */

/* The checksum over [start, end) at `at`; end 0 is the frame's. Out of the frame there is none
 * (§3.3.3.1, §3.5.8). One that goes to the end is left to whoever takes the frame, but for one that
 * stays here. */
static void tx_csum(struct e1000 *e, size_t start, size_t at, size_t end)
{
	struct e1000_tx *tx = &e->tx;

	if (start >= tx->frame.len || at + 2 > tx->frame.len)
		return;
	if (end || e1000_loopback(e) || tx->hdr.flags ||
	    !frame_want_csum(&tx->frame, start, at, &tx->hdr))
		frame_insert_csum(&tx->frame, start, at, end);
}

static void tx_offload_data(struct e1000 *e)
{
	const struct e1000_context *c = &e->tx.normal;

	if (e->tx.popts & TXD_POPTS_IXSM)
		frame_insert_csum(&e->tx.frame, c->ipcss, c->ipcso,
				  c->ipcse ? (size_t)c->ipcse + 1 : 0);
	if (e->tx.popts & TXD_POPTS_TXSM)
		tx_csum(e, c->tucss, c->tucso, c->tucse ? (size_t)c->tucse + 1 : 0);
}

/* §3.5. UDP can't be sent so here: no back end has what the card makes of it. */
static void tx_offload_tso(struct e1000 *e)
{
	const struct e1000_context *c = &e->tx.tso;
	struct e1000_tx *tx = &e->tx;
	size_t len = tx->frame.len;

	if (!(c->tucmd & TXD_TUCMD_TCP) || e1000_loopback(e) ||
	    !frame_want_tso(&tx->frame, c->ipcss, c->tucss, c->hdrlen, c->mss, &tx->hdr)) {
		e1000_count(e, E1000_TSCTFC, 1);
		tx->frame.bad = true;
		return;
	}
	e1000_count(e, E1000_TSCTC, 1);
	tx->header_len = c->hdrlen;
	tx->segments = (uint32_t)((len - c->hdrlen + c->mss - 1) / c->mss);
}

/* §9.2.1: the type comes from VET. */
static void tx_vlan(struct e1000 *e)
{
	struct frame *f = &e->tx.frame;

	if (!frame_insert_vlan(f, e->tx.special, &e->tx.hdr)) {
		f->bad = true;
		return;
	}
	f->head[12] = (uint8_t)(e->vet >> 8);
	f->head[13] = (uint8_t)e->vet;
	if (e->tx.header_len)
		e->tx.header_len += 4;
}

/* All descriptors have been read: makes it what goes onto the wire. */
static void tx_complete(struct e1000 *e)
{
	struct e1000_tx *tx = &e->tx;
	bool vlan = tx->cmd & TXD_CMD_VLE && e->ctrl & CTRL_VME;

	tx->hdr = (struct net_hdr){0};
	tx->segments = 1;
	tx->header_len = 0;
	/* The driver's own FCS goes: frames have none on their way to the back end. With TSE every
	 * segment gets one; Linux's driver doesn't set IFCS where §3.3.7.1 has it count. */
	if (!(tx->cmd & TXD_CMD_IFCS) && !vlan && !tx->tse)
		frame_cut(&tx->frame, FRAME_FCS, NULL);
	if (tx->tse)
		tx_offload_tso(e);
	else if (tx->data)
		tx_offload_data(e);
	else if (tx->last_cmd & TXD_CMD_IC)
		tx_csum(e, tx->css, tx->cso, 0);
	if (vlan)
		tx_vlan(e);
	if (e->tctl & TCTL_PSP && tx->frame.len)
		frame_pad(&tx->frame, FRAME_MIN);
}

static void tx_count(struct e1000 *e)
{
	const struct e1000_tx *tx = &e->tx;
	const struct frame *f = &tx->frame;
	size_t headers = (size_t)(tx->segments - 1) * tx->header_len;
	uint64_t bytes = f->len + headers + (size_t)tx->segments * FRAME_FCS;
	uint8_t first = f->n > 1 && f->iov[1].iov_len ? *(const uint8_t *)f->iov[1].iov_base : 0;

	e1000_count(e, E1000_GPTC, tx->segments);
	e1000_count(e, E1000_TPT, tx->segments);
	e->stats.gotc += bytes;
	e->stats.tot += bytes;
	e1000_count_size(e, E1000_PTC64, bytes / tx->segments, tx->segments);
	if (first & 1) {
		uint8_t to[6];

		iov_read(f->iov + 1, (size_t)f->n - 1, 0, to, sizeof(to));
		e1000_count(e, eth_is_broadcast(to) ? E1000_BPTC : E1000_MPTC, tx->segments);
	}
}

static int tx_give(struct e1000 *e)
{
	struct e1000_tx *tx = &e->tx;

	if (!e1000_loopback(e))
		return nic_send(&e->nic, &tx->frame, &tx->hdr);
	if (tx->frame.bad) {
		counter_add(&e->nic.counters.tx_bad, 1);
		return 0;
	}
	e->looping = true;
	nic_loop(&e->nic, &tx->frame);
	e->looping = false;
	return 0;
}

/* false: the back end is full. */
static bool tx_send(struct e1000 *e)
{
	struct e1000_tx *tx = &e->tx;

	tx->waiting = tx_give(e) == -EAGAIN;
	if (tx->waiting)
		return false;
	if (!tx->frame.bad && tx->frame.len)
		tx_count(e);
	tx->open = false;
	tx_write_back(e);
	return true;
}

/* ---- descriptors ---- */

static void tx_begin(struct e1000_tx *tx, uint32_t index, uint64_t hi)
{
	uint8_t cmd = TXD_CMD(hi);

	frame_reset(&tx->frame);
	tx->open = true;
	tx->early = false;
	tx->first = index;
	tx->data = cmd & TXD_CMD_DEXT;
	tx->tse = tx->data && cmd & TXD_CMD_TSE;
	tx->popts = TXD_POPTS(hi);
	tx->css = TXD_CSS(hi);
	tx->cso = TXD_CSO(hi);
	tx->cmd = cmd;
	tx->special = TXD_SPECIAL(hi);
}

/* One that has data, or none; true: it was the last of its frame. */
static bool tx_data(struct e1000 *e, uint32_t index, uint64_t address, uint64_t hi)
{
	struct e1000_tx *tx = &e->tx;
	uint8_t cmd = TXD_CMD(hi);

	if (!tx->open)
		tx_begin(tx, index, hi);
	/* §3.3.3.1 note 3: without an address nothing is transferred. */
	if (address)
		frame_add(&tx->frame, e->pci.dev.platform->mem, address,
			  cmd & TXD_CMD_DEXT ? TXD_LEN(hi) : TXD_LEGACY_LEN(hi));
	if (!(cmd & TXD_CMD_EOP)) {
		tx->early |= cmd & TXD_CMD_RS;
		return false;
	}
	/* §3.3.7.1, note: with TSE, those of the first descriptor count; else the last one's. */
	if (!tx->tse) {
		tx->cmd = cmd;
		tx->special = TXD_SPECIAL(hi);
	}
	tx->last_cmd = cmd;
	return true;
}

/* Reads the next descriptor; true: a frame is complete. */
static bool tx_step(struct e1000 *e)
{
	struct e1000_ring *r = &e->tx_ring;
	uint32_t index = r->head;
	const uint64_t *d = r->desc + 2 * (size_t)index;
	uint64_t lo = __atomic_load_n(d, __ATOMIC_RELAXED);
	uint64_t hi = __atomic_load_n(d + 1, __ATOMIC_RELAXED);
	uint8_t cmd = TXD_CMD(hi);

	e1000_ring_next(r);
	if (!(cmd & TXD_CMD_DEXT) || TXD_DTYP(hi) != TXD_DTYP_CONTEXT)
		return tx_data(e, index, lo, hi);
	if (cmd & TXD_CMD_TSE)
		e->tx.tso = tx_context(lo, hi);
	else
		e->tx.normal = tx_context(lo, hi);
	if (cmd & TXD_CMD_RS) {
		tx_done(r, index);
		tx_reported(e, cmd);
	}
	return false;
}

/* Interrupts for what was done; left: descriptors in the ring before. */
static void tx_tell(struct e1000 *e, uint32_t left)
{
	struct e1000_ring *r = &e->tx_ring;
	uint32_t low = TXDCTL_LWTHRESH(e->txdctl), now = e1000_ring_left(r);
	uint32_t causes = 0;

	if (e->tx.report) {
		e1000_delay_stop(&e->tx_delay);
		causes |= ICR_TXDW;
	} else if (e->tx.report_later) {
		e1000_delay_start(&e->tx_delay, e->tidv & 0xffff, e->tadv);
	}
	e->tx.report = e->tx.report_later = false;
	if (!now)
		causes |= ICR_TXQE;
	if (low && left > low && now <= low)
		causes |= ICR_TXD_LOW;
	if (causes)
		e1000_cause(e, causes);
}

static bool tx_may(const struct e1000 *e)
{
	return e->tctl & TCTL_EN && pci_may_dma(&e->pci);
}

void e1000_tx_run(struct e1000 *e)
{
	struct e1000_ring *r = &e->tx_ring;
	unsigned int frames = 0, descs = 0;
	uint32_t left;

	if (!tx_may(e) || !(e->tx.waiting || e1000_ring_has(r)))
		return;
	left = e1000_ring_left(r);
	if (e->tx.waiting && !tx_send(e))
		return;
	while (e1000_ring_has(r)) {
		if (frames == NIC_TX_BURST || descs == TX_DESC_BURST) {
			nic_tx_later(&e->nic);
			break;
		}
		descs++;
		if (!tx_step(e))
			continue;
		frames++;
		tx_complete(e);
		if (!tx_send(e))
			break;
	}
	tx_tell(e, left);
}

void e1000_tx_resume(struct nic *nic)
{
	e1000_tx_run(e1000_of(nic));
}

void e1000_tx_drop(struct e1000 *e)
{
	e->tx.open = e->tx.waiting = false;
	e->tx.report = e->tx.report_later = false;
	frame_reset(&e->tx.frame);
	if (e->nic.nq)
		e->nic.nq->segments_sent = 0;
}
