/*
 * RTL8139C+ Fast Ethernet controller: registers, interrupts, link, timer, EEPROM, and what the two modes of
 * operation have in common; of reception that is in rtl8139_rx.c. Classic mode is in rtl8139_classic.c, C+ in
 * rtl8139_cplus.c; rtl8139_posted.c makes accesses cheap. Sources: see rtl8139.h.
 *
 * reg[] is the register file as the driver reads it: whatever changes a register's value changes it there, at
 * once, and reading has no side effect on any. Writes go by a table: width, bits that the driver sets, and a
 * function for what else happens.
 *
 * Frames are sent where the register is written (vCPU, or the I/O thread that takes posted writes) or, when
 * there was no room or too much to send, on the I/O thread; received on the I/O thread; all under the device's
 * lock. Memory is the guest's.
 *
 * Not here: collisions and their counters (the cable is full duplex), early receive interrupts (whole frames
 * arrive), waking the machine (the bits that say what would, are kept), flash memory and boot ROM by register.
 */
#include "dev/rtl8139.h"

#include <string.h>

#define PCI_CLOCK_NS 30 /* TCTR counts these: 33 MHz */

enum {
	EEM = 0xc0, /* 9346CR: operating mode */
	EEM_LOAD = 0x40,
	EEM_PROGRAM = 0x80,
	EEM_CONFIG = 0xc0,
	EECS = 0x08,
	EESK = 0x04,
	EEDI = 0x02,
	EEDO = 0x01,
};

enum {
	MSR_AUX = 0x10,
	MSR_SPEED_10 = 0x08,
	MSR_LINKB = 0x04,
	MSR_WRITABLE = 0xc0,
	CONFIG1_DEFAULT = 0x0c, /* MEMMAP, IOMAP */
	CONFIG3_DEFAULT = 0x01, /* FBtBEn */
	TCR_RESET = 0x03000000, /* IFG */
	BMCR_LOCKED = BMCR_SPEED100 | BMCR_ANENABLE | BMCR_FULLDPLX,
	/* CSCR: Con_status, and two bits that Linux's 8139too knows: link is good, link has changed */
	CSCR_CON_STATUS = 0x0008,
	CSCR_LINK_OK = 0x0400,
	CSCR_LINK_CHANGE = 0x0800,
	CSCR_WRITABLE = 0x03e4,
};

/* TCR's HWVERID and the revision: Linux tells the chips apart by them. */
#define VERSION_CPLUS	 0x74800000
#define VERSION_CLASSIC	 0x74000000
#define REVISION_CPLUS	 0x20
#define REVISION_CLASSIC 0x10

/* ---- interrupts ---- */

/* Linux 6.1's 8139cp may enable receive interrupts while its poll is due: cp_rx_poll() calls napi_complete_done()
 * before it takes its lock, and an interrupt in between begins the next poll, and disables them, just before they are
 * enabled. Its handler then leaves them to a poll which, if it runs in a thread of the kernel, never comes to run: the
 * level interrupts again at once. A guest that stood still was seen once, with the accesses that this would make (two
 * reads and a write for each interrupt); it wasn't traced. So when a handler has left what interrupts for so many
 * times, the line is low until it is acknowledged or for this time. */
#define UNSERVED_MAX 16u
#define IRQ_HELD_NS  UINT64_C(10000000)

static void update_irq(struct rtl8139 *r)
{
	bool level =
		rtl8139_get16(r, REG_ISR) & rtl8139_get16(r, REG_IMR) && !r->irq_held.deadline_ns;

	if (level && !__atomic_load_n(&r->pci.intx_level, __ATOMIC_RELAXED))
		counter_add(&r->nic.counters.interrupts, 1);
	pci_intx_set(&r->pci, level);
}

static void irq_held_over(struct nic_timer *t)
{
	update_irq((struct rtl8139 *)((uint8_t *)t - offsetof(struct rtl8139, irq_held)));
}

/* ISR was written: what interrupts now was left as it was. */
static void note_served(struct rtl8139 *r)
{
	if (!(rtl8139_get16(r, REG_ISR) & rtl8139_get16(r, REG_IMR))) {
		r->unserved = 0;
		nic_timer_cancel(&r->irq_held);
	} else if (++r->unserved >= UNSERVED_MAX) {
		r->unserved = 0;
		nic_timer_set(&r->irq_held, loop_now_ns() + IRQ_HELD_NS);
	}
}

void rtl8139_interrupt(struct rtl8139 *r, uint16_t bits)
{
	rtl8139_put16(r, REG_ISR, rtl8139_get16(r, REG_ISR) | bits);
	update_irq(r);
}

/* ---- transmission in either mode ---- */

static void stop_tx(struct rtl8139 *r)
{
	rtl8139_classic_stop_tx(r);
	rtl8139_cplus_stop_tx(r);
}

static void rtl8139_tx_resume(struct nic *nic)
{
	struct rtl8139 *r = rtl8139_of(nic);

	rtl8139_cplus_transmit(r);
	rtl8139_classic_transmit(r);
}

/* ---- link ---- */

/* What the driver reads of the PHY. BMSR's link bit says what is now (data sheet, section 6, BMSR): it doesn't
 * latch. */
static void update_link(struct rtl8139 *r)
{
	struct mii_link link = mii_state(&r->mii);
	uint16_t cscr = rtl8139_get16(r, REG_CSCR) & ~(CSCR_CON_STATUS | CSCR_LINK_OK);

	r->mii.latched_down = false;
	rtl8139_put16(r, REG_BMCR, mii_read(&r->mii, MII_BMCR));
	rtl8139_put16(r, REG_BMSR, mii_read(&r->mii, MII_BMSR));
	rtl8139_put16(r, REG_ANAR, mii_read(&r->mii, MII_ADVERTISE));
	rtl8139_put16(r, REG_ANLPAR, mii_read(&r->mii, MII_LPA));
	rtl8139_put16(r, REG_ANER, mii_read(&r->mii, MII_EXPANSION));
	rtl8139_put16(r, REG_CSCR, cscr | (link.up ? CSCR_CON_STATUS | CSCR_LINK_OK : 0));
	rtl8139_put8(r, REG_MSR,
		     (uint8_t)((r->reg[REG_MSR] & MSR_WRITABLE) | MSR_AUX |
			       (link.up ? 0 : MSR_LINKB) | (link.speed == 10 ? MSR_SPEED_10 : 0)));
}

static void link_interrupt(struct rtl8139 *r)
{
	update_link(r);
	rtl8139_put16(r, REG_CSCR, rtl8139_get16(r, REG_CSCR) | CSCR_LINK_CHANGE);
	rtl8139_interrupt(r, INT_PUN);
}

static void rtl8139_link_changed(struct nic *nic)
{
	struct rtl8139 *r = rtl8139_of(nic);

	mii_set_link(&r->mii, nic->link);
	link_interrupt(r);
}

/* ---- timer ---- */

uint32_t rtl8139_count(const struct rtl8139 *r)
{
	uint64_t base = __atomic_load_n(&r->timer_base_ns, __ATOMIC_RELAXED);

	return (uint32_t)((loop_now_ns() - base) / PCI_CLOCK_NS);
}

static void restart_timer(struct rtl8139 *r)
{
	__atomic_store_n(&r->timer_base_ns, loop_now_ns(), __ATOMIC_RELAXED);
}

/* The driver has something to do with it. */
static void use_timer(struct rtl8139 *r)
{
	if (r->timer_used)
		return;
	r->timer_used = true;
	rtl8139_posted_update(r);
}

/* Arms it for the next time that TCTR reaches TimerInt. */
static void update_timer(struct rtl8139 *r)
{
	uint32_t at = rtl8139_get32(r, REG_TIMERINT);
	uint64_t now = (loop_now_ns() - r->timer_base_ns) / PCI_CLOCK_NS, due;

	if (!at) {
		nic_timer_cancel(&r->timer);
		return;
	}
	due = (now & ~(uint64_t)UINT32_MAX) + at;
	if (due <= now)
		due += UINT64_C(1) << 32;
	nic_timer_set(&r->timer, r->timer_base_ns + due * PCI_CLOCK_NS);
}

static void timer_expired(struct nic_timer *t)
{
	struct rtl8139 *r = rtl8139_of(t->nic);

	rtl8139_interrupt(r, INT_TIMEOUT);
	update_timer(r);
}

/* ---- EEPROM ---- */

/* What the card takes from it at power-on. */
static void autoload(struct rtl8139 *r)
{
	for (unsigned int i = 0; i < 3; i++)
		rtl8139_put16(r, REG_IDR + 2 * i, r->eeprom.word[7 + i]);
	rtl8139_update_filter(r);
}

static void fill_eeprom(struct rtl8139 *r)
{
	uint16_t *word = r->eeprom.word;

	eeprom93xx_init(&r->eeprom, 64);
	memset(word, 0, 64 * sizeof(*word));
	word[0] = 0x8129;
	word[1] = pci_get16(r->pci.config + 0x00);
	word[2] = pci_get16(r->pci.config + 0x02);
	word[3] = pci_get16(r->pci.config + 0x2c);
	word[4] = pci_get16(r->pci.config + 0x2e);
	word[5] = 0x4020; /* MXLAT, MNGNT */
	for (unsigned int i = 0; i < 3; i++)
		word[7 + i] = pci_get16(r->nic.mac + 2 * i);
}

static void written_9346cr(struct rtl8139 *r, unsigned int reg, uint32_t old, uint32_t value)
{
	bool program = (value & EEM) == EEM_PROGRAM;

	eeprom93xx_pins(&r->eeprom, program && value & EECS, program && value & EESK,
			program && value & EEDI);
	value &= EEM | EECS | EESK | EEDI;
	if ((value & EEM) == EEM_LOAD) {
		autoload(r); /* and back to normal mode */
		value &= ~(uint32_t)EEM;
	}
	rtl8139_put8(r, REG_9346CR,
		     (uint8_t)(value | (program && eeprom93xx_out(&r->eeprom) ? EEDO : 0)));
}

/* ---- registers ---- */

static void clear_regs(struct rtl8139 *r, unsigned int start, unsigned int end)
{
	for (unsigned int i = start; i < end; i++)
		rtl8139_put8(r, i, 0);
}

/* CR.RST and power-on. IDR, MAR, CONFIG0-5, the EEPROM and the PHY stay (data sheet, section 6, CR). */
static void soft_reset(struct rtl8139 *r)
{
	nic_reset(&r->nic);
	r->tx.waiting = false;
	clear_regs(r, REG_TSAD, REG_CR);
	clear_regs(r, REG_IMR, REG_9346CR);
	clear_regs(r, REG_CPCR, REG_END);
	rtl8139_put32(r, REG_TIMERINT, 0);
	rtl8139_put16(r, REG_MULINT, 0);
	rtl8139_put8(r, REG_CR, CR_BUFE);
	rtl8139_put32(r, REG_TCR, TCR_RESET | (r->opt_cplus ? VERSION_CPLUS : VERSION_CLASSIC));
	restart_timer(r);
	r->timer_used = false;
	r->unserved = 0;
	nic_timer_cancel(&r->irq_held);
	stop_tx(r);
	rtl8139_stop_rx(r);
	rtl8139_update_filter(r);
	update_irq(r);
	rtl8139_posted_update(r);
}

static void written_cr(struct rtl8139 *r, unsigned int reg, uint32_t old, uint32_t value)
{
	if (value & CR_RST) {
		soft_reset(r);
		return;
	}
	if (~old & value & CR_TE)
		stop_tx(r);
	if (~old & value & CR_RE) {
		rtl8139_stop_rx(r);
		nic_rx_kick(&r->nic);
	}
	rtl8139_posted_update(r);
}

/* In classic mode the transmission status is cleared, and clearing OWN sends. */
static void written_tsd(struct rtl8139 *r, unsigned int reg, uint32_t old, uint32_t value)
{
	if (rtl8139_cplus_tx(r)) {
		if (reg == REG_DTCCR)
			rtl8139_cplus_dump_tally(r);
		return;
	}
	rtl8139_classic_send(r, (reg - REG_TSD) / 4, value);
}

static void written_ring(struct rtl8139 *r, unsigned int reg, uint32_t old, uint32_t value)
{
	if (reg >= REG_RDSAR)
		rtl8139_cplus_stop_rx(r);
	else if (rtl8139_cplus_tx(r))
		rtl8139_cplus_stop_tx(r);
}

static void written_rbstart(struct rtl8139 *r, unsigned int reg, uint32_t old, uint32_t value)
{
	nic_rx_kick(&r->nic);
}

static void written_capr(struct rtl8139 *r, unsigned int reg, uint32_t old, uint32_t value)
{
	rtl8139_classic_read(r);
}

/* What a driver writes after it has given descriptors back, if anything. */
static void written_imr(struct rtl8139 *r, unsigned int reg, uint32_t old, uint32_t value)
{
	/* 8139too ends a poll after 64 frames with ROK acknowledged, whatever is left in the ring, and counts on
	 * the next frame's interrupt. Where the other side waits for an answer, none comes: so it is told again. */
	if (value & INT_ROK && !rtl8139_cplus_rx(r) && r->reg[REG_CR] & CR_RE &&
	    !(r->reg[REG_CR] & CR_BUFE))
		rtl8139_put16(r, REG_ISR, rtl8139_get16(r, REG_ISR) | INT_ROK);
	update_irq(r);
	rtl8139_cplus_rx_again(r);
}

static void written_isr(struct rtl8139 *r, unsigned int reg, uint32_t old, uint32_t value)
{
	rtl8139_put16(r, REG_ISR, (uint16_t)(old & ~value));
	if (value & INT_PUN)
		rtl8139_put16(r, REG_CSCR, rtl8139_get16(r, REG_CSCR) & ~CSCR_LINK_CHANGE);
	note_served(r);
	update_irq(r);
	rtl8139_cplus_rx_again(r);
}

static void written_filter(struct rtl8139 *r, unsigned int reg, uint32_t old, uint32_t value)
{
	rtl8139_update_filter(r);
	if (reg != REG_RCR)
		return;
	rtl8139_classic_read(r); /* the ring's size may be another */
}

static void written_tctr(struct rtl8139 *r, unsigned int reg, uint32_t old, uint32_t value)
{
	use_timer(r);
	restart_timer(r);
	update_timer(r);
}

static void written_timerint(struct rtl8139 *r, unsigned int reg, uint32_t old, uint32_t value)
{
	use_timer(r);
	update_timer(r);
}

static void written_mpc(struct rtl8139 *r, unsigned int reg, uint32_t old, uint32_t value)
{
	rtl8139_put32(r, REG_MPC, 0);
}

static void written_mii(struct rtl8139 *r, unsigned int reg, uint32_t old, uint32_t value)
{
	bool locked = (r->reg[REG_9346CR] & EEM) != EEM_CONFIG, changed;

	if (reg == REG_ANAR) {
		changed = mii_write(&r->mii, MII_ADVERTISE, (uint16_t)value);
	} else {
		if (locked && !(value & BMCR_RESET))
			value = (value & ~(uint32_t)BMCR_LOCKED) | (old & BMCR_LOCKED);
		value &= BMCR_RESET | BMCR_ANRESTART | BMCR_LOCKED;
		changed = mii_write(&r->mii, MII_BMCR, (uint16_t)value);
	}
	if (changed)
		link_interrupt(r);
	else
		update_link(r);
}

static void written_cpcr(struct rtl8139 *r, unsigned int reg, uint32_t old, uint32_t value)
{
	if ((old ^ value) & CPCR_CPTX)
		stop_tx(r);
	if ((old ^ value) & (CPCR_RXCHKSUM | CPCR_CPRX))
		nic_set_rx_csum(&r->nic, value & CPCR_RXCHKSUM && value & CPCR_CPRX);
	if (~old & value & CPCR_CPRX)
		nic_rx_kick(&r->nic);
	rtl8139_posted_update(r);
}

static void written_tppoll(struct rtl8139 *r, unsigned int reg, uint32_t old, uint32_t value)
{
	rtl8139_cplus_poll(r, (uint8_t)value);
	rtl8139_posted_polled(r);
}

enum {
	ON_CPLUS = 1, /* only the C+ has it */
	LOCKED = 2,   /* writable while 9346CR says so */
	COMMAND = 4,  /* bytes that aren't written count as 0 */
};

struct reg_desc {
	uint8_t offset, size, flags;
	uint32_t writable;
	/* reg[] holds the new value of the writable bits. value: as written, all bits. */
	void (*written)(struct rtl8139 *r, unsigned int reg, uint32_t old, uint32_t value);
};

/* Those of the data path first. What isn't here, ignores writes. */
static const struct reg_desc regs[] = {
	{REG_TPPOLL, 1, ON_CPLUS | COMMAND, 0, written_tppoll},
	{REG_ISR, 2, COMMAND, 0, written_isr},
	{REG_CAPR, 2, 0, 0xffff, written_capr},
	{REG_TSD + 0, 4, 0, 0xffffffff, written_tsd},
	{REG_TSD + 4, 4, 0, 0xffffffff, written_tsd},
	{REG_TSD + 8, 4, 0, 0xffffffff, written_tsd},
	{REG_TSD + 12, 4, 0, 0xffffffff, written_tsd},
	{REG_IMR, 2, 0, INT_CPLUS, written_imr},
	{REG_TSAD + 0, 4, 0, 0xffffffff, written_ring},
	{REG_TSAD + 4, 4, 0, 0xffffffff, written_ring},
	{REG_TSAD + 8, 4, 0, 0xffffffff, written_ring},
	{REG_TSAD + 12, 4, 0, 0xffffffff, written_ring},
	{REG_IDR, 4, 0, 0xffffffff, written_filter},
	{REG_IDR + 4, 4, 0, 0x0000ffff, written_filter},
	{REG_MAR, 4, 0, 0xffffffff, written_filter},
	{REG_MAR + 4, 4, 0, 0xffffffff, written_filter},
	{REG_RBSTART, 4, 0, 0xffffffff, written_rbstart},
	{REG_CR, 1, 0, CR_RE | CR_TE, written_cr},
	{REG_TCR, 4, 0, 0x030f07f0, NULL},
	{REG_RCR, 4, 0, 0x0f03ffbf, written_filter},
	{REG_TCTR, 4, 0, 0, written_tctr},
	{REG_MPC, 4, 0, 0, written_mpc},
	{REG_9346CR, 1, 0, 0, written_9346cr},
	{REG_CONFIG0, 1, LOCKED, 0xf8, NULL},
	{REG_CONFIG1, 1, LOCKED, 0xf3, NULL},
	{REG_TIMERINT, 4, 0, 0xffffffff, written_timerint},
	{REG_MSR, 1, 0, MSR_WRITABLE, NULL},
	{REG_CONFIG3, 1, LOCKED, 0x74, NULL},
	{REG_CONFIG4, 1, LOCKED, 0xf5, NULL},
	{REG_MULINT, 2, 0, 0x0fff, NULL},
	{REG_BMCR, 2, 0, 0, written_mii},
	{REG_ANAR, 2, 0, 0, written_mii},
	{REG_NWAYTR, 2, 0, 0x00ff, NULL},
	{REG_CSCR, 2, 0, CSCR_WRITABLE, NULL},
	{REG_PHY1_PARM, 4, 0, 0xffffffff, NULL},
	{REG_TW_PARM, 4, 0, 0xffffffff, NULL},
	{REG_PHY2_PARM, 1, 0, 0xff, NULL},
	{REG_CONFIG5, 1, 0, 0x7f, NULL},
	{REG_CPCR, 2, ON_CPLUS, 0x007b, written_cpcr},
	{REG_RDSAR, 4, ON_CPLUS, 0xffffffff, written_ring},
	{REG_RDSAR + 4, 4, ON_CPLUS, 0xffffffff, written_ring},
	{REG_ETTHR, 1, ON_CPLUS, 0x3f, NULL},
};

static const struct reg_desc *find_reg(unsigned int offset)
{
	for (size_t i = 0; i < sizeof(regs) / sizeof(regs[0]); i++)
		if (offset - regs[i].offset < regs[i].size)
			return &regs[i];
	return NULL;
}

static uint32_t get_reg(const struct rtl8139 *r, const struct reg_desc *d)
{
	uint32_t value = 0;

	memcpy(&value, r->reg + d->offset, d->size);
	return value;
}

/* n bytes from `offset` on lie within the register. */
static void write_reg(struct rtl8139 *r, const struct reg_desc *d, unsigned int offset,
		      unsigned int n, uint32_t value)
{
	unsigned int shift = (offset - d->offset) * 8;
	uint32_t bytes = (n == 4 ? UINT32_MAX : (1u << n * 8) - 1) << shift;
	uint32_t old = get_reg(r, d), new;

	if ((d->flags & ON_CPLUS && !r->opt_cplus) ||
	    (d->flags & LOCKED && (r->reg[REG_9346CR] & EEM) != EEM_CONFIG))
		return;
	value = (value << shift & bytes) | (d->flags & COMMAND ? 0 : old & ~bytes);
	new = (old & ~d->writable) | (value & d->writable);
	if (d->size == 4)
		rtl8139_put32(r, d->offset, new);
	else if (d->size == 2)
		rtl8139_put16(r, d->offset, (uint16_t) new);
	else
		rtl8139_put8(r, d->offset, (uint8_t) new);
	if (d->written)
		d->written(r, d->offset, old, value);
}

/* Wake-up frames, their CRCs and the flash register are kept, and that is all. */
static bool is_storage(unsigned int offset)
{
	return offset >= REG_CRC && offset < REG_CONFIG5;
}

static void rtl8139_write(void *opaque, uint64_t offset, unsigned int size, uint64_t value)
{
	struct rtl8139 *r = opaque;
	const struct reg_desc *d;
	unsigned int n;

	for (unsigned int at = (unsigned int)offset, end = at + size; at < end; at += n) {
		uint32_t part = (uint32_t)(value >> (at - offset) * 8);

		n = 1;
		d = find_reg(at);
		if (is_storage(at)) {
			rtl8139_put8(r, at, (uint8_t)part);
		} else if (d) {
			n = d->offset + d->size - at;
			n = n < end - at ? n : end - at;
			write_reg(r, d, at, n, part);
		}
	}
}

static uint64_t rtl8139_read(void *opaque, uint64_t offset, unsigned int size)
{
	struct rtl8139 *r = opaque;
	uint64_t value = 0;

	if (offset / 4 == REG_TCTR / 4) {
		use_timer(r);
		rtl8139_put32(r, REG_TCTR, rtl8139_count(r));
	}
	memcpy(&value, r->reg + offset, size);
	return value;
}

static const struct region_ops rtl8139_region_ops = {
	.read = rtl8139_read,
	.write = rtl8139_write,
	.min = 1,
	.max = 4,
};

/* ---- life ---- */

static const struct nic_ops rtl8139_nic_ops = {
	.rx_buffers = rtl8139_rx_buffers,
	.rx_frame = rtl8139_rx_frame,
	.tx_resume = rtl8139_tx_resume,
	.link_changed = rtl8139_link_changed,
};

static void bus_master_changed(struct pci_device *pci, bool on)
{
	if (on)
		nic_rx_kick(&((struct rtl8139 *)pci)->nic);
}

static int rtl8139_realize(struct device *dev, struct err *err)
{
	struct rtl8139 *r = (struct rtl8139 *)dev;
	int e;

	r->pci.config[0x08] = r->opt_cplus ? REVISION_CPLUS : REVISION_CLASSIC;
	r->pci.config[0x3e] = 0x20; /* MIN_GNT, MAX_LAT */
	r->pci.config[0x3f] = 0x40;
	r->pci.bus_master_changed = bus_master_changed;
	e = pci_bar_add(&r->pci, 0, PCI_BAR_IO, REG_END, "rtl8139-io", &rtl8139_region_ops, r);
	if (!e)
		e = pci_bar_add(&r->pci, 1, PCI_BAR_MEM32, REG_END, "rtl8139", &rtl8139_region_ops,
				r);
	if (e)
		return err_set(err, e, "%s: BARs can't be made", dev->id);
	e = nic_realize(&r->nic, dev, &rtl8139_nic_ops, err);
	if (e)
		return e;
	e = rtl8139_posted_realize(r, err);
	if (e) {
		nic_unrealize(&r->nic);
		return e;
	}
	nic_timer_init(&r->timer, &r->nic, timer_expired);
	rtl8139_rx_init(r);
	nic_timer_init(&r->irq_held, &r->nic, irq_held_over);
	fill_eeprom(r);
	return 0;
}

static void rtl8139_unrealize(struct device *dev)
{
	struct rtl8139 *r = (struct rtl8139 *)dev;

	rtl8139_posted_unrealize(r);
	nic_unrealize(&r->nic);
}

static void rtl8139_reset(struct device *dev)
{
	struct rtl8139 *r = (struct rtl8139 *)dev;

	clear_regs(r, 0, REG_END);
	memset(&r->tally, 0, sizeof(r->tally));
	eeprom93xx_reset(&r->eeprom);
	rtl8139_put8(r, REG_CONFIG1, CONFIG1_DEFAULT);
	rtl8139_put8(r, REG_CONFIG3, CONFIG3_DEFAULT);
	rtl8139_put8(r, REG_RERID, r->pci.config[0x08]);
	mii_init(&r->mii, 0, 0, false);
	mii_set_link(&r->mii, r->nic.link);
	autoload(r);
	soft_reset(r);
	update_link(r);
}

static void rtl8139_info(struct device *dev, json_t *object)
{
	const struct rtl8139 *r = (struct rtl8139 *)dev;
	bool cplus;

	pthread_mutex_lock(&dev->lock);
	cplus = rtl8139_cplus_tx(r);
	pthread_mutex_unlock(&dev->lock);
	nic_info(&r->nic, object);
	json_object_set_new(object, "mode", json_string(cplus ? "C+" : "classic"));
}

static void rtl8139_visit(struct device *dev, counter_visit *visit, void *opaque)
{
	struct rtl8139 *r = (struct rtl8139 *)dev;

	nic_counters(&r->nic, visit, opaque);
	if (r->opt_posted)
		visit(opaque, dev->id, "posted", posted_counter_table, &r->posted.counters);
}

static void rtl8139_set_link(struct device *dev, bool up)
{
	nic_set_link(&((struct rtl8139 *)dev)->nic, up);
}

static const struct opt_desc rtl8139_opts[] = {
	{.name = "cplus",
	 .type = OPT_BOOL,
	 .offset = offsetof(struct rtl8139, opt_cplus),
	 .def = "on",
	 .help = "on: an RTL8139C+ (Linux: 8139cp); off: an RTL8139C (Linux: 8139too)"},
	{.name = "posted",
	 .type = OPT_BOOL,
	 .offset = offsetof(struct rtl8139, opt_posted),
	 .def = "on",
	 .help = "take register accesses without an exit where that can be done"},
	{.type = OPT_END},
};

static const struct pci_identity rtl8139_identity = {
	.vendor = 0x10ec,
	.device = 0x8139,
	.subsystem_vendor = 0x1af4,
	.subsystem = 0x1100,
	.class = 0x020000,
	.revision = REVISION_CPLUS,
	.interrupt_pin = 1,
	.rom = "efi-rtl8139.rom",
};

static const struct device_model rtl8139_model = {
	.name = "rtl8139",
	.help = "Realtek RTL8139C+ Fast Ethernet",
	.size = sizeof(struct rtl8139),
	.opts = {{pci_device_opts, 0},
		 {nic_opts, offsetof(struct rtl8139, nic)},
		 {rtl8139_opts, 0}},
	.pci = &rtl8139_identity,
	.nic = "rtl8139",
	.nic_rank = 5,
	.realize = rtl8139_realize,
	.reset = rtl8139_reset,
	.unrealize = rtl8139_unrealize,
	.info = rtl8139_info,
	.counters = rtl8139_visit,
	.set_link = rtl8139_set_link,
};

DEVICE_MODEL(rtl8139_model);
