/*
 * Intel 8255x: the command unit (CU). The manual, §6.4.1, §6.4.2 and §6.5.3.
 *
 * The driver's commands are blocks in its memory, each with a link to the next:
 *
 *	+0  status (C, OK)   +2  command (EL, S, I, number)   +4  link   +8 ... parameters
 *
 *	idle --start--> active --EL--> idle
 *	                  | ^
 *	                  S resume, if the S bit of the block that it stopped at is clear now
 *	                  v |
 *	               suspended
 *
 * All of it happens at once, in the register write that starts it, but for two cases in which the
 * unit stays active: the back end has no room for a frame (the same block is executed again later),
 * and a list is long. After NIC_TX_BURST blocks there is a pause: a list that never ends (a block
 * linked to itself will do) keeps nobody busy for longer than the burst, nor the I/O thread all the
 * time.
 *
 * Blocks, buffers and tables are the guest's; they are read when they are executed, and once. Not
 * here: the high priority queue (82558), the IPCB (82550 and later), collisions and deferred
 * frames.
 */
#include <errno.h>
#include <string.h>

#include "dev/i8255x.h"

/* A burst of 64 frames of the shortest kind is 430 us of a wire of 100 Mbit/s. */
#define CU_PAUSE_NS 100000
#define CU_CID_NS   8000 /* the CNA interrupt's delay is in units of 8 us */

#define CU_TBD_LAST	 1u /* EL, in a TBD's second dword at bit 16 */
#define CU_TBD_SIZE	 0x3fff
#define CU_DUMP_DONE	 0xa005
#define CU_RESET_DONE	 0xa007
#define CU_EXTENDED_TBDS 2

/* ---- states ---- */

static void cu_cna_later(struct i8255x *d, unsigned int cid)
{
	d->cna_due_ns = loop_now_ns() + cid * (uint64_t)CU_CID_NS;
	/* One that is armed stays as it is: it finds out when it goes off. */
	if (!d->cna_timer.deadline_ns)
		nic_timer_set(&d->cna_timer, d->cna_due_ns);
}

static void cu_cna_expired(struct nic_timer *t)
{
	struct i8255x *d = i8255x_of(t->nic);

	if (!d->cna_due_ns)
		return; /* the CU became active again in time */
	if (d->cna_due_ns > loop_now_ns()) {
		nic_timer_set(t, d->cna_due_ns);
		return;
	}
	d->cna_due_ns = 0;
	i8255x_raise(d, STAT_CNA);
}

static void cu_timer_expired(struct nic_timer *t)
{
	i8255x_cu_run(i8255x_of(t->nic));
}

void i8255x_cu_init(struct i8255x *d)
{
	nic_timer_init(&d->cu_timer, &d->nic, cu_timer_expired);
	nic_timer_init(&d->cna_timer, &d->nic, cu_cna_expired);
}

void i8255x_cu_stop(struct i8255x *d)
{
	d->cu_state = CU_IDLE;
	d->cu_resume = false;
	d->cna_due_ns = 0;
	nic_timer_cancel(&d->cu_timer);
	nic_timer_cancel(&d->cna_timer);
}

static void cu_go(struct i8255x *d)
{
	d->cu_state = CU_ACTIVE;
	d->cu_resume = false;
	d->cna_due_ns = 0;
	i8255x_cu_run(d);
}

/* A block that can't be read: a master abort on the card's bus. */
static void cu_abort(struct i8255x *d)
{
	counter_add(&d->counters.aborted, 1);
	i8255x_cu_stop(d);
	i8255x_raise(d, STAT_CNA);
}

/* Does the block that was executed last still say "suspend"? The driver may have cleared that
 * since. */
static bool cu_still_suspended(struct i8255x *d)
{
	uint8_t word[2];

	if (i8255x_dma_read(d, d->cu_base + d->cu_last + 2, word, 2))
		return true;
	return pci_get16(word) & CB_S;
}

/* ---- transmit (§6.4.2.5) ---- */

/* Up to n TBDs from addr on: false after the one that is marked as the last, or one outside RAM. */
static bool cu_add_tbds(struct i8255x *d, uint32_t addr, unsigned int n)
{
	struct frame *f = &d->frame;
	uint8_t tbd[8];

	for (; n; n--, addr += 8) {
		if (f->bad)
			return false;
		if (i8255x_dma_read(d, addr, tbd, 8)) {
			f->bad = true;
			return false;
		}
		frame_add(f, d->pci.dev.platform->mem, pci_get32(tbd),
			  pci_get16(tbd + 4) & CU_TBD_SIZE);
		if (pci_get16(tbd + 6) & CU_TBD_LAST)
			return false;
	}
	return true;
}

/* The pieces that a TCB names: data behind it, then (flexible mode) those of its TBDs. Of an
 * extended TCB the first two TBDs are part of it. */
static void cu_gather(struct i8255x *d, uint32_t cb, uint16_t command, const uint8_t tcb[8])
{
	bool flexible = command & CB_SF;
	bool extended = flexible && d->chip->extended && !i8255x_config_bit(d, 6, 4);
	unsigned int n = tcb[7], first = n < CU_EXTENDED_TBDS ? n : CU_EXTENDED_TBDS;
	uint32_t data = cb + (extended ? 16 + 8 * CU_EXTENDED_TBDS : 16);

	frame_reset(&d->frame);
	frame_add(&d->frame, d->pci.dev.platform->mem, data, pci_get16(tcb + 4) & CU_TBD_SIZE);
	if (!flexible)
		return;
	if (extended) {
		if (!cu_add_tbds(d, cb + 16, first))
			return;
		n -= first;
	}
	cu_add_tbds(d, pci_get32(tcb), n);
}

/* What the card adds: its address as the source, padding. */
static void cu_complete(struct i8255x *d, uint16_t command)
{
	/* The 82557 pads with 7Eh, later ones with zeros (manual, configure byte 18). */
	static const uint8_t pad[FRAME_MIN] = {[0 ... FRAME_MIN - 1] = 0x7e};
	struct frame *f = &d->frame;
	uint8_t crc[FRAME_FCS];

	if (command & CB_NC) /* the driver gave it itself */
		f->bad = !frame_take_fcs(f, crc);
	else if (!i8255x_config_bit(d, 10, 3) && frame_pull(f, 12))
		memcpy(f->head + 6, d->filter.station, 6);
	if (f->bad || !f->len || f->len >= FRAME_MIN || !i8255x_config_bit(d, 18, 1))
		return;
	if (d->chip->extended)
		frame_pad(f, FRAME_MIN);
	else
		frame_add_host(f, pad, FRAME_MIN - f->len);
}

static int cu_send(struct i8255x *d)
{
	struct frame *f = &d->frame;

	if (f->bad || !f->len) {
		nic_send(&d->nic, f, NULL); /* counts it */
		d->stats[STAT_TX_UNDERRUN]++;
		return -EIO;
	}
	if (i8255x_loops_back(d)) {
		d->looping = true;
		if (!nic_loop(&d->nic, f))
			d->stats[STAT_RX_RESOURCE]++;
		d->looping = false;
	} else if (!mii_state(&d->mii).up) {
		counter_add(&d->nic.counters.tx_no_cable, 1);
	} else if (nic_send(&d->nic, f, NULL) == -EAGAIN) {
		return -EAGAIN;
	}
	d->stats[STAT_TX_GOOD]++;
	return 0;
}

static int cu_transmit(struct i8255x *d, uint32_t cb, uint16_t command)
{
	uint8_t tcb[8];

	if (i8255x_dma_read(d, cb + 8, tcb, sizeof(tcb)))
		return -EFAULT;
	cu_gather(d, cb, command, tcb);
	cu_complete(d, command);
	return cu_send(d);
}

/* ---- the other action commands (§6.4.2) ---- */

static int cu_nop(struct i8255x *d, uint32_t cb, uint16_t command)
{
	return 0;
}

static int cu_set_address(struct i8255x *d, uint32_t cb, uint16_t command)
{
	int r = i8255x_dma_read(d, cb + 8, d->filter.station, 6);

	nic_set_station(&d->nic, d->filter.station);
	return r;
}

/* The first byte says how many there are; those that aren't given stay as they are. */
static int cu_configure(struct i8255x *d, uint32_t cb, uint16_t command)
{
	uint8_t n;
	int r = i8255x_dma_read(d, cb + 8, &n, 1);

	if (r)
		return r;
	n &= 0x3f;
	if (n > d->chip->config)
		n = d->chip->config;
	r = i8255x_dma_read(d, cb + 8, d->config, n);
	i8255x_ru_configured(d);
	return r;
}

/* The card is given addresses and makes its own hash of them, which no driver sees. */
static int cu_set_multicast(struct i8255x *d, uint32_t cb, uint16_t command)
{
	uint8_t word[2], address[6];
	uint64_t table = 0;
	uint32_t at = cb + 10;
	int r = i8255x_dma_read(d, cb + 8, word, 2);

	for (unsigned int n = (pci_get16(word) & 0x3fff) / 6; !r && n; n--, at += 6) {
		r = i8255x_dma_read(d, at, address, 6);
		table |= UINT64_C(1) << eth_hash_index(d->filter.hash, address);
	}
	if (!r)
		d->filter.table = table;
	return r;
}

static int cu_dump(struct i8255x *d, uint32_t cb, uint16_t command)
{
	uint8_t addr[4];
	int r = i8255x_dma_read(d, cb + 8, addr, 4);

	return r ? r : i8255x_dump(d, pci_get32(addr));
}

/* By number. Microcode is taken and not looked at: there is nothing here that it could run on.
 * Diagnose: there is nothing that could fail. */
static int (*const cu_actions[8])(struct i8255x *d, uint32_t cb, uint16_t command) = {
	cu_nop,	     cu_set_address, cu_configure, cu_set_multicast,
	cu_transmit, cu_nop,	     cu_dump,	   cu_nop,
};
#define CU_TRANSMIT 4

/* ---- the list ---- */

/* After a block: where it leads. */
static void cu_advance(struct i8255x *d, uint16_t command)
{
	unsigned int cid = command >> 8 & 0x1f;

	if (command & CB_EL) {
		d->cu_state = CU_IDLE;
		i8255x_raise(d, STAT_CNA);
		return;
	}
	if (!(command & CB_S))
		return;
	if (d->cu_resume && !cu_still_suspended(d)) {
		d->cu_resume = false;
		return;
	}
	d->cu_state = CU_SUSPENDED;
	if (i8255x_config_bit(d, 6, 3))
		return; /* CI: an interrupt when it goes idle, only */
	if (cid && d->chip->extended)
		cu_cna_later(d, cid);
	else
		i8255x_raise(d, STAT_CNA);
}

/* Executes a block; -EAGAIN: later. */
static int cu_step(struct i8255x *d)
{
	uint32_t cb = d->cu_base + d->cu_next;
	uint8_t header[8], done[2];
	uint16_t command, status = CB_C;
	int r;

	if (i8255x_dma_read(d, cb, header, sizeof(header))) {
		cu_abort(d);
		return 0;
	}
	command = pci_get16(header + 2);
	r = cu_actions[command & 7](d, cb, command);
	if (r == -EAGAIN)
		return r;
	counter_add(&d->counters.commands, 1);
	if (!r)
		status |= CB_OK;
	else if ((command & 7) == CU_TRANSMIT)
		status |= CB_U;
	pci_put16(done, status);
	i8255x_dma_write(d, cb, done, sizeof(done));
	d->cu_last = d->cu_next;
	d->cu_next = pci_get32(header + 4);
	if (command & CB_I)
		i8255x_raise(d, STAT_CX);
	cu_advance(d, command);
	return 0;
}

void i8255x_cu_run(struct i8255x *d)
{
	for (unsigned int n = 0; d->cu_state == CU_ACTIVE; n++) {
		if (n == NIC_TX_BURST) {
			counter_add(&d->counters.pauses, 1);
			nic_timer_set(&d->cu_timer, loop_now_ns() + CU_PAUSE_NS);
			return;
		}
		if (cu_step(d) == -EAGAIN)
			return;
	}
}

void i8255x_tx_resume(struct nic *nic)
{
	i8255x_cu_run(i8255x_of(nic));
}

/* ---- control commands (§6.3.2.2, §6.5.3) ---- */

/* Statistics as the driver has configured them (byte 6), and a word that says that they are all
 * there. */
static void cu_dump_stats(struct i8255x *d, bool reset)
{
	uint8_t image[4 * (STATS_82559 + 1)];
	unsigned int n = STATS_82557;

	if (d->chip->extended && i8255x_config_bit(d, 6, 2))
		n = STATS_82559; /* TCO */
	else if (d->chip->extended && !i8255x_config_bit(d, 6, 5))
		n = STATS_82558;
	for (unsigned int i = 0; i < n; i++)
		pci_put32(image + 4 * i, d->stats[i]);
	pci_put32(image + 4 * n, reset ? CU_RESET_DONE : CU_DUMP_DONE);
	i8255x_dma_write(d, d->stats_address, image, 4 * (n + 1));
	if (reset)
		memset(d->stats, 0, sizeof(d->stats));
}

/* The S bit of the block that it stopped at is read again; the link was remembered. */
static void cu_resume(struct i8255x *d)
{
	if (d->cu_state == CU_ACTIVE)
		d->cu_resume = true;
	else if (d->cu_state == CU_SUSPENDED && !cu_still_suspended(d))
		cu_go(d);
}

void i8255x_cu_command(struct i8255x *d, unsigned int cuc)
{
	switch (cuc) {
	case 1: /* CU start; prohibited while it is active (table 54) */
		if (d->cu_state == CU_ACTIVE)
			break;
		d->cu_next = d->general_pointer;
		cu_go(d);
		break;
	case 2: /* CU resume */
		cu_resume(d);
		break;
	case 4: /* load dump counters address */
		d->stats_address = d->general_pointer;
		break;
	case 5: /* dump statistical counters */
		cu_dump_stats(d, false);
		break;
	case 6: /* load CU base */
		d->cu_base = d->general_pointer;
		break;
	case 7: /* dump and reset statistical counters */
		cu_dump_stats(d, true);
		break;
	case 10: /* CU static resume (82558 and later): whatever the S bit says */
		if (d->chip->extended && d->cu_state == CU_SUSPENDED)
			cu_go(d);
		break;
	}
}
