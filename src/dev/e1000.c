/*
 * e1000: Intel's 82540EM, PCI 8086:100e, Gigabit Ethernet. Source: "PCI/PCI-X Family of Gigabit
 * Ethernet Controllers Software Developer's Manual" (317453, revision 4.0), whose sections the
 * comments name.
 *
 * This file: the model, its registers, interrupts and statistics. e1000.h lists the others.
 *
 *	BAR 0  memory, 128 KiB: registers, of 32 bits each
 *	BAR 1  I/O, 64 bytes: IOADDR and IODATA, the same registers (§13.2.2)
 *
 * A register that only remembers what was written, or does something besides that, is a row of
 * e1000_rows[]; the few whose reads or writes are something else are in e1000_load() and
 * e1000_store(). What has no row reads 0.
 *
 * Threads and the lock: dev/nic.h. Memory: descriptors and buffers are the guest's; rings are
 * looked up when their address or length is written, and stay valid because RAM never moves.
 *
 * While there is traffic, writes to tails and to the interrupt mask are taken without an exit
 * (bus/posted.h).
 *
 * Not here: capabilities in configuration space (power management, MSI), flash memory, the
 * diagnostic window on the packet buffer, SMBus, wake-up, sending PAUSE frames. Their registers
 * remember or read 0.
 */
#include "dev/e1000.h"

#include <string.h>

static const struct opt_desc e1000_opts[] = {
	{.name = "fcs",
	 .type = OPT_BOOL,
	 .offset = offsetof(struct e1000, opt_fcs),
	 .def = "off",
	 .help = "put the right FCS behind received frames, not zeros (costs time)"},
	{.name = "posted",
	 .type = OPT_BOOL,
	 .offset = offsetof(struct e1000, opt_posted),
	 .def = "on",
	 .help = "take register writes without an exit where that can be done"},
	{.name = NULL, .type = OPT_END},
};

/* ---- interrupts, §13.4.17 and following ---- */

/* INTx is the causes that aren't masked. It rises no more often than ITR says, and falls at once. */
static void irq_update(struct e1000 *e)
{
	bool wanted = e->icr & e->ims;

	if (wanted == e->asserted || (wanted && !moderation_ask(&e->moderation)))
		return;
	e->asserted = wanted;
	if (wanted)
		counter_add(&e->nic.counters.interrupts, 1);
	pci_intx_set(&e->pci, wanted);
}

static void irq_due(struct moderation *m)
{
	irq_update(e1000_of(m->timer.nic));
}

void e1000_cause(struct e1000 *e, uint32_t bits)
{
	e->icr |= bits;
	irq_update(e);
}

void e1000_delay_start(struct e1000_delay *d, uint32_t packet, uint32_t absolute)
{
	uint64_t now = loop_now_ns(), latest;

	if (!d->due_ns)
		d->first_ns = now;
	d->due_ns = now + packet * UINT64_C(1024);
	latest = d->first_ns + absolute * UINT64_C(1024);
	if (absolute && d->due_ns > latest)
		d->due_ns = latest;
	/* One that goes off too early finds out and goes on: cheaper than to move it with each
	 * frame. */
	if (!d->timer.deadline_ns || d->timer.deadline_ns > d->due_ns)
		nic_timer_set(&d->timer, d->due_ns);
}

void e1000_delay_stop(struct e1000_delay *d)
{
	d->due_ns = 0;
	nic_timer_cancel(&d->timer);
}

static void delay_expired(struct nic_timer *t)
{
	struct e1000_delay *d = (struct e1000_delay *)t;

	if (d->due_ns > loop_now_ns()) {
		nic_timer_set(t, d->due_ns);
	} else if (d->due_ns) {
		d->due_ns = 0;
		e1000_cause(e1000_of(t->nic), d->cause);
	}
}

static void delay_init(struct e1000_delay *d, struct nic *nic, uint32_t cause)
{
	nic_timer_init(&d->timer, nic, delay_expired);
	d->cause = cause;
}

/* FPD: what waits comes now. */
static void delay_flush(struct e1000 *e, struct e1000_delay *d)
{
	bool waits = d->due_ns;

	e1000_delay_stop(d);
	if (waits)
		e1000_cause(e, d->cause);
}

/* ---- statistics, §13.7 ---- */

void e1000_count_size(struct e1000 *e, uint32_t base, size_t len, uint32_t n)
{
	unsigned int i;

	/* 64 and less; 65-127, 128-255, 256-511, 512-1023, 1024 and more */
	for (i = 0; i < 5 && len >= (i ? 64u << i : 65u); i++)
		;
	e1000_count(e, base + 4 * i, n);
}

/* A pair of registers is one counter, which is read lower half first, and cleared by reading the
 * upper. What is counted in between isn't lost. */
static uint32_t pair_read(struct e1000_stats *s, uint64_t *counter, unsigned int i, bool high)
{
	uint64_t value = s->latched[i] ? s->latch[i] : *counter;

	if (!high) {
		s->latch[i] = *counter;
		s->latched[i] = true;
		return (uint32_t)*counter;
	}
	*counter -= value;
	s->latched[i] = false;
	return (uint32_t)(value >> 32);
}

static uint32_t stats_read(struct e1000 *e, uint32_t offset)
{
	struct e1000_stats *s = &e->stats;
	uint32_t *reg = &s->reg[(offset - E1000_STATS) / 4];
	uint32_t value = *reg;

	switch (offset & ~4u) {
	case E1000_GORCL:
		return pair_read(s, &s->gorc, 0, offset & 4);
	case E1000_GOTCL:
		return pair_read(s, &s->gotc, 1, offset & 4);
	case E1000_TORL:
		return pair_read(s, &s->tor, 2, offset & 4);
	case E1000_TOTL:
		return pair_read(s, &s->tot, 3, offset & 4);
	}
	*reg = 0;
	return value;
}

/* ---- registers that do something ---- */

static void e1000_mac_reset(struct e1000 *e);

/* A ring has to lie in RAM as a whole. */
static void ring_locate(struct e1000 *e, struct e1000_ring *r)
{
	uint64_t base = (uint64_t)r->bah << 32 | r->bal;

	r->n = r->len / E1000_DESC_SIZE;
	r->desc = r->len ? mem_ptr(e->pci.dev.platform->mem, base, r->len) : NULL;
}

static void wrote_tx_place(struct e1000 *e, uint32_t value)
{
	e1000_tx_drop(e);
	ring_locate(e, &e->tx_ring);
	e1000_tx_run(e);
}

static void wrote_rx_place(struct e1000 *e, uint32_t value)
{
	ring_locate(e, &e->rx_ring);
	nic_rx_kick(&e->nic);
}

static void wrote_tdh(struct e1000 *e, uint32_t value)
{
	e1000_tx_drop(e);
}

static void wrote_tx(struct e1000 *e, uint32_t value)
{
	e1000_tx_run(e);
}

static void wrote_tdt(struct e1000 *e, uint32_t value)
{
	nic_tx_kick(&e->nic);
}

static void wrote_rx(struct e1000 *e, uint32_t value)
{
	nic_rx_kick(&e->nic);
}

static void wrote_rx_setup(struct e1000 *e, uint32_t value)
{
	e1000_rx_setup(e);
}

static void wrote_rxcsum(struct e1000 *e, uint32_t value)
{
	nic_set_rx_csum(&e->nic, e->rxcsum & RXCSUM_TUOFLD);
}

static void wrote_rdtr(struct e1000 *e, uint32_t value)
{
	if (value & DELAY_FPD)
		delay_flush(e, &e->rx_delay);
}

static void wrote_tidv(struct e1000 *e, uint32_t value)
{
	if (value & DELAY_FPD)
		delay_flush(e, &e->tx_delay);
}

/* §13.4.18: in units of 256 ns. One that waits by the old interval doesn't with none. */
static void wrote_itr(struct e1000 *e, uint32_t value)
{
	if (!e->itr)
		moderation_reset(&e->moderation);
	e->moderation.interval_ns = e->itr * UINT64_C(256);
	irq_update(e);
}

/* §13.4.34: RXA is set, TXA is the rest of 64 KiB. */
static void wrote_pba(struct e1000 *e, uint32_t value)
{
	uint32_t rxa = e->pba & 0x7f;

	e->pba = (rxa < 64 ? 64 - rxa : 0) << 16 | rxa;
}

static void wrote_ra(struct e1000 *e, uint32_t value)
{
	uint8_t station[6];

	e->ra_valid = 0;
	for (unsigned int i = 0; i < E1000_RA_ENTRIES; i++) {
		e->ra[2 * i + 1] &= 0x8003ffff;
		if (e->ra[2 * i + 1] & RAH_AV)
			e->ra_valid |= (uint16_t)(1u << i);
	}
	pci_put32(station, e->ra[0]);
	pci_put16(station + 4, (uint16_t)e->ra[1]);
	if (e->ra_valid & 1)
		nic_set_station(&e->nic, station);
}

static void wrote_ctrl_ext(struct e1000 *e, uint32_t value)
{
	if (value & CTRL_EXT_EE_RST)
		e1000_eeprom_load(e);
}

static void wrote_ctrl(struct e1000 *e, uint32_t value)
{
	if (value & CTRL_RST)
		e1000_mac_reset(e);
	else if (value & CTRL_PHY_RST)
		e1000_phy_reset(e);
}

/* ---- the table ---- */

struct e1000_row {
	uint16_t offset, n, stride; /* n registers, every stride bytes */
	uint32_t mask;		    /* bits that can be written */
	uint32_t reset;
	uint16_t field;					  /* in struct e1000; uint32_t[n] */
	bool kept;					  /* by CTRL.RST */
	void (*written)(struct e1000 *e, uint32_t value); /* after it was stored */
};

#define ROW(reg, field_, mask_, ...)                                         \
	{                                                                    \
		.offset = E1000_##reg, .n = 1, .stride = 4, .mask = (mask_), \
		.field = offsetof(struct e1000, field_), __VA_ARGS__         \
	}
#define ARRAY(reg, field_, n_, stride_, mask_, ...)                                     \
	{                                                                               \
		.offset = E1000_##reg, .n = (n_), .stride = (stride_), .mask = (mask_), \
		.field = offsetof(struct e1000, field_), __VA_ARGS__                    \
	}

/* In order of how often drivers write them, the hot ones; then by offset. */
static const struct e1000_row e1000_rows[] = {
	ROW(TDT, tx_ring.tail, 0xffff, .written = wrote_tdt),
	ROW(RDT, rx_ring.tail, 0xffff, .written = wrote_rx),
	ROW(ITR, itr, 0xffff, .written = wrote_itr),
	ROW(CTRL, ctrl, 0xdbfc1bed, .reset = CTRL_FD | CTRL_SPEED_1000, .written = wrote_ctrl),
	ROW(CTRL_SHADOW, ctrl, 0xdbfc1bed, .reset = CTRL_FD | CTRL_SPEED_1000,
	    .written = wrote_ctrl),
	ROW(CTRL_EXT, ctrl_ext, 0xf0c7ff, .written = wrote_ctrl_ext),
	ROW(FCAL, fcal, 0xffffffff),
	ROW(FCAH, fcah, 0xffff),
	ROW(FCT, fct, 0xffff),
	ROW(VET, vet, 0xffff),
	ROW(RCTL, rctl, RCTL_BITS, .written = wrote_rx_setup),
	ROW(FCTTV, fcttv, 0xffff),
	ROW(TXCW, txcw, 0xc000ffff),
	ROW(TCTL, tctl, 0x03fffffa, .written = wrote_tx),
	ROW(TIPG, tipg, 0x3fffffff),
	ROW(AIFS, aifs, 0xffff),
	ROW(LEDCTL, ledctl, 0xcfcfcfcf, .reset = 0x07061302),
	ROW(PBA, pba, 0x7f, .reset = 0x00100030, .kept = true, .written = wrote_pba),
	ROW(FCRTL, fcrtl, 0x8000fff8),
	ROW(FCRTH, fcrth, 0x8000fff8),
	ROW(RDFH, rdfh, 0x1fff),
	ROW(RDFT, rdft, 0x1fff),
	ROW(RDFHS, rdfhs, 0x1fff),
	ROW(RDFTS, rdfts, 0x1fff),
	ROW(RDFPC, rdfpc, 0x1fff),
	ROW(RDBAL, rx_ring.bal, 0xfffffff0, .written = wrote_rx_place),
	ROW(RDBAH, rx_ring.bah, 0xffffffff, .written = wrote_rx_place),
	ROW(RDLEN, rx_ring.len, 0xfff80, .written = wrote_rx_place),
	ROW(RDH, rx_ring.head, 0xffff, .written = wrote_rx),
	ROW(RDTR, rdtr, 0xffff, .written = wrote_rdtr),
	ROW(RXDCTL, rxdctl, 0x013f3f3f, .reset = 0x00010000),
	ROW(RADV, radv, 0xffff),
	ROW(RSRPD, rsrpd, 0xfff),
	ROW(TXDMAC, txdmac, 0x1, .reset = 0x1),
	ROW(TDFH, tdfh, 0x7ff, .reset = 0x600),
	ROW(TDFT, tdft, 0x7ff, .reset = 0x600),
	ROW(TDFHS, tdfhs, 0x7ff, .reset = 0x600),
	ROW(TDFTS, tdfts, 0x7ff, .reset = 0x600),
	ROW(TDFPC, tdfpc, 0x7ff),
	ROW(TDBAL, tx_ring.bal, 0xfffffff0, .written = wrote_tx_place),
	ROW(TDBAH, tx_ring.bah, 0xffffffff, .written = wrote_tx_place),
	ROW(TDLEN, tx_ring.len, 0xfff80, .written = wrote_tx_place),
	ROW(TDH, tx_ring.head, 0xffff, .written = wrote_tdh),
	ROW(TIDV, tidv, 0xffff, .written = wrote_tidv),
	ROW(TXDCTL, txdctl, 0xff3f3f3f),
	ROW(TADV, tadv, 0xffff),
	ROW(TSPMT, tspmt, 0xffffffff, .reset = 0x01000400),
	ROW(RXCSUM, rxcsum, 0x7ff, .written = wrote_rxcsum),
	ARRAY(MTA, mta, E1000_TABLE, 4, 0xffffffff, .kept = true),
	ARRAY(RA, ra, 2 * E1000_RA_ENTRIES, 4, 0xffffffff, .written = wrote_ra),
	ARRAY(VFTA, vfta, E1000_TABLE, 4, 0xffffffff, .kept = true),
	ROW(WUC, wuc, 0x8000000b, .kept = true),
	ROW(WUFC, wufc, 0xf80ff, .kept = true),
	ROW(MANC, manc, 0xffffff00, .kept = true),
	ROW(IPAV, ipav, 0x1000f, .kept = true),
	ARRAY(IP4AT, ip4at, 4, 8, 0xffffffff, .kept = true),
	ARRAY(IP6AT, ip6at, 4, 4, 0xffffffff, .kept = true),
	ARRAY(FFLT, fflt, 4, 8, 0x7ff, .kept = true),
	ARRAY(FFMT, ffmt, 128, 8, 0xf, .kept = true),
	ARRAY(FFVT, ffvt, 128, 8, 0xffffffff, .kept = true),
};

#define ROWS (sizeof(e1000_rows) / sizeof(e1000_rows[0]))

/* Where software for older members of the family looks for them (§13.4, "alias offset"). */
static const struct {
	uint16_t from, bytes, to;
} e1000_aliases[] = {
	{0x40, 0x80, E1000_RA},	 {0x108, 4, E1000_RDTR},  {0x110, 8, E1000_RDBAL},
	{0x118, 4, E1000_RDLEN}, {0x120, 4, E1000_RDH},	  {0x128, 4, E1000_RDT},
	{0x160, 4, E1000_FCRTH}, {0x168, 4, E1000_FCRTL}, {0x200, 0x200, E1000_MTA},
	{0x420, 8, E1000_TDBAL}, {0x428, 4, E1000_TDLEN}, {0x430, 4, E1000_TDH},
	{0x438, 4, E1000_TDT},	 {0x440, 4, E1000_TIDV},  {0x600, 0x200, E1000_VFTA},
	{0x8000, 4, E1000_RDFH}, {0x8008, 4, E1000_RDFT}, {0x8010, 4, E1000_TDFH},
	{0x8018, 4, E1000_TDFT},
};

static uint32_t without_alias(uint32_t offset)
{
	if (offset >= 0x800 && offset < 0x8000)
		return offset;
	for (size_t i = 0; i < sizeof(e1000_aliases) / sizeof(e1000_aliases[0]); i++)
		if (offset - e1000_aliases[i].from < e1000_aliases[i].bytes)
			return e1000_aliases[i].to + (offset - e1000_aliases[i].from);
	return offset;
}

/* The row, and the register in it; NULL: none. */
static const struct e1000_row *row_find(struct e1000 *e, uint32_t offset, uint32_t **reg)
{
	for (const struct e1000_row *row = e1000_rows; row < e1000_rows + ROWS; row++) {
		uint32_t at = offset - row->offset;

		if (at >= (uint32_t)row->n * row->stride || at % row->stride)
			continue;
		*reg = (uint32_t *)((uint8_t *)e + row->field) + at / row->stride;
		return row;
	}
	return NULL;
}

static uint32_t e1000_load(struct e1000 *e, uint32_t offset)
{
	const struct e1000_row *row;
	uint32_t *reg, value;

	switch (offset) {
	case E1000_ICR:
		value = e->icr;
		e->icr = 0;
		irq_update(e);
		return value;
	case E1000_STATUS:
		return e1000_status(e);
	case E1000_IMS:
		return e->ims;
	case E1000_TDH:
		return e->tx.waiting ? e->tx.first : e->tx_ring.head;
	case E1000_EECD:
		return e1000_eecd_read(e);
	case E1000_EERD:
		return e->eerd;
	case E1000_MDIC:
		return e->mdic;
	}
	if (offset >= E1000_STATS && offset < E1000_STATS_END)
		return stats_read(e, offset);
	row = row_find(e, without_alias(offset), &reg);
	return row ? *reg : 0;
}

static void e1000_store(struct e1000 *e, uint32_t offset, uint32_t value)
{
	const struct e1000_row *row;
	uint32_t *reg;

	switch (offset) {
	case E1000_ICR: /* writing 1 clears, too */
		e->icr &= ~value;
		irq_update(e);
		return;
	case E1000_ICS:
		e1000_cause(e, value & ICR_BITS);
		return;
	case E1000_IMS:
		e->ims |= value & ICR_BITS;
		irq_update(e);
		return;
	case E1000_IMC:
		e->ims &= ~value;
		irq_update(e);
		return;
	case E1000_EECD:
		e1000_eecd_write(e, value);
		return;
	case E1000_EERD:
		e1000_eerd_write(e, value);
		return;
	case E1000_MDIC:
		e1000_mdic_write(e, value);
		return;
	}
	row = row_find(e, without_alias(offset), &reg);
	if (!row)
		return;
	*reg = value & row->mask;
	if (row->written)
		row->written(e, value);
}

/* ---- the two BARs ---- */

static uint64_t mem_read_reg(void *opaque, uint64_t offset, unsigned int size)
{
	return e1000_load(opaque, (uint32_t)offset);
}

static void mem_write_reg(void *opaque, uint64_t offset, unsigned int size, uint64_t value)
{
	e1000_store(opaque, (uint32_t)offset, (uint32_t)value);
}

static const struct region_ops mem_ops = {
	.read = mem_read_reg,
	.write = mem_write_reg,
	.min = 4,
	.max = 4,
};

#define E1000_MEM_SIZE (128u << 10)
#define E1000_IO_SIZE  64
#define IOADDR	       0
#define IODATA	       4

static uint64_t io_read_reg(void *opaque, uint64_t offset, unsigned int size)
{
	struct e1000 *e = opaque;

	if (offset == IOADDR)
		return e->ioaddr;
	return offset == IODATA && e->ioaddr < E1000_MEM_SIZE ? e1000_load(e, e->ioaddr) : 0;
}

static void io_write_reg(void *opaque, uint64_t offset, unsigned int size, uint64_t value)
{
	struct e1000 *e = opaque;

	if (offset == IOADDR)
		e->ioaddr = (uint32_t)value & 0xffffc;
	else if (offset == IODATA && e->ioaddr < E1000_MEM_SIZE)
		e1000_store(e, e->ioaddr, (uint32_t)value);
}

static const struct region_ops io_ops = {
	.read = io_read_reg,
	.write = io_write_reg,
	.min = 4,
	.max = 4,
};

/* ---- the model ---- */

static void rows_reset(struct e1000 *e, bool all)
{
	for (const struct e1000_row *row = e1000_rows; row < e1000_rows + ROWS; row++) {
		uint32_t *reg = (uint32_t *)((uint8_t *)e + row->field);

		for (unsigned int i = 0; i < row->n && (all || !row->kept); i++)
			reg[i] = row->reset;
	}
}

/* CTRL.RST, §14.9: all but the PHY, configuration space, and what is kept. */
static void e1000_mac_reset(struct e1000 *e)
{
	rows_reset(e, false);
	e->icr = e->ims = 0;
	e->eerd = e->mdic = e->eecd = 0;
	eeprom93xx_reset(&e->eeprom);
	memset(&e->stats, 0, sizeof(e->stats));
	nic_reset(&e->nic);
	moderation_reset(&e->moderation);
	e1000_delay_stop(&e->rx_delay);
	e1000_delay_stop(&e->tx_delay);
	e1000_tx_drop(e);
	e->tx.normal = e->tx.tso = (struct e1000_context){0};
	ring_locate(e, &e->tx_ring);
	ring_locate(e, &e->rx_ring);
	wrote_ra(e, 0);
	e1000_eeprom_load(e);
	e1000_rx_setup(e);
	irq_update(e);
}

static void e1000_reset(struct device *dev)
{
	struct e1000 *e = (struct e1000 *)dev;

	rows_reset(e, true);
	e->ioaddr = 0;
	e->asserted = false;
	e1000_phy_init(e);
	e1000_mac_reset(e);
}

static void e1000_bus_master_changed(struct pci_device *pci, bool on)
{
	struct e1000 *e = (struct e1000 *)pci;

	if (!on)
		return;
	e1000_tx_run(e);
	nic_rx_kick(&e->nic);
}

static const struct nic_ops e1000_nic_ops = {
	.rx_buffers = e1000_rx_buffers,
	.rx_frame = e1000_rx_frame,
	.tx_resume = e1000_tx_resume,
	.link_changed = e1000_link_changed,
};

/* Tails, and the interrupt mask, which drivers read back when it matters (a read of any register
 * pushes what was written before). ICR clears when it is read, and stays synchronous. */
static int posted_marks(struct e1000 *e)
{
	static const uint32_t marks[] = {E1000_TDT, E1000_RDT, E1000_IMS, E1000_IMC};
	int r = 0;

	posted_init(&e->posted, e->pci.dev.platform->bus, e->nic.loop);
	for (unsigned int i = 0; i < 4 && !r; i++)
		r = posted_mark(&e->posted, &e->pci.bar[0].region, marks[i], 4);
	posted_set_mode(&e->posted, e->opt_posted ? POSTED_WRITES : POSTED_NONE);
	return r;
}

static int e1000_realize(struct device *dev, struct err *err)
{
	struct e1000 *e = (struct e1000 *)dev;
	int r = nic_realize(&e->nic, dev, &e1000_nic_ops, err);

	if (r)
		return r;
	moderation_init(&e->moderation, &e->nic, irq_due);
	delay_init(&e->rx_delay, &e->nic, ICR_RXT0);
	delay_init(&e->tx_delay, &e->nic, ICR_TXDW);
	e1000_eeprom_init(e);
	e->pci.bus_master_changed = e1000_bus_master_changed;
	r = pci_bar_add(&e->pci, 0, PCI_BAR_MEM32, E1000_MEM_SIZE, "e1000", &mem_ops, e);
	if (!r)
		r = pci_bar_add(&e->pci, 1, PCI_BAR_IO, E1000_IO_SIZE, "e1000.io", &io_ops, e);
	if (!r)
		r = posted_marks(e);
	if (!r)
		return 0;
	posted_fini(&e->posted);
	nic_unrealize(&e->nic);
	return err_set(err, r, "%s: its BARs can't be made", dev->id);
}

static void e1000_unrealize(struct device *dev)
{
	struct e1000 *e = (struct e1000 *)dev;

	posted_fini(&e->posted);
	nic_unrealize(&e->nic);
}

static json_t *ring_info(const struct e1000_ring *r, bool enabled)
{
	return json_pack("{s:b, s:b, s:I, s:I, s:I}", "enabled", enabled, "in-ram", r->desc != NULL,
			 "descriptors", (json_int_t)r->n, "head", (json_int_t)r->head, "tail",
			 (json_int_t)r->tail);
}

static void e1000_info(struct device *dev, json_t *object)
{
	struct e1000 *e = (struct e1000 *)dev;

	pthread_mutex_lock(&dev->lock);
	nic_info(&e->nic, object);
	json_object_set_new(object, "tx-ring", ring_info(&e->tx_ring, e->tctl & TCTL_EN));
	json_object_set_new(object, "rx-ring", ring_info(&e->rx_ring, e->rctl & RCTL_EN));
	pthread_mutex_unlock(&dev->lock);
}

static void e1000_visit(struct device *dev, counter_visit *visit, void *opaque)
{
	struct e1000 *e = (struct e1000 *)dev;

	nic_counters(&e->nic, visit, opaque);
	visit(opaque, dev->id, "posted", posted_counter_table, &e->posted.counters);
}

static void e1000_set_link(struct device *dev, bool up)
{
	nic_set_link(&((struct e1000 *)dev)->nic, up);
}

static const struct pci_identity e1000_identity = {
	.vendor = 0x8086,
	.device = 0x100e,
	.subsystem_vendor = 0x1af4,
	.subsystem = 0x1100,
	.class = 0x020000,
	.revision = 3,
	.interrupt_pin = 1,
	.rom = "efi-e1000.rom",
};

static const char *const e1000_names[] = {"e1000-82540em", NULL};

static const struct device_model e1000_model = {
	.name = "e1000",
	.alias = e1000_names,
	.help = "Intel 82540EM, Gigabit Ethernet",
	.size = sizeof(struct e1000),
	.opts = {{pci_device_opts, 0}, {nic_opts, offsetof(struct e1000, nic)}, {e1000_opts, 0}},
	.pci = &e1000_identity,
	.nic = "e1000",
	.nic_rank = 6,
	.realize = e1000_realize,
	.reset = e1000_reset,
	.unrealize = e1000_unrealize,
	.info = e1000_info,
	.counters = e1000_visit,
	.set_link = e1000_set_link,
};

DEVICE_MODEL(e1000_model);
