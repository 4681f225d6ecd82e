/*
 * RTL8029: registers, interrupts, remote DMA, EEPROM and ID PROM, and the device. See ne2k_pci.h.
 *
 * Registers run on vCPU threads, posted writes to the data port also on the I/O thread.
 *
 * Not here: power-down (its bits are kept), and the boot ROM's own registers.
 */
#include "dev/ne2k_pci.h"

#include <string.h>

static const struct opt_desc ne2k_opts[] = {
	{.name = "rx_wait",
	 .type = OPT_BOOL,
	 .offset = offsetof(struct ne2k, opt_rx_wait),
	 .def = "on",
	 .help = "frames wait while the ring is full; off: they are lost, as on a wire"},
	{.name = "posted",
	 .type = OPT_BOOL,
	 .offset = offsetof(struct ne2k, opt_posted),
	 .def = "on",
	 .help = "writes to the data port don't exit while there is traffic, where KVM can"},
	{.type = OPT_END},
};

/* ---- interrupts ---- */

static void update_irq(struct ne2k *n)
{
	bool level = n->isr & n->imr & ISR_EVENTS;

	if (level && !__atomic_load_n(&n->pci.intx_level, __ATOMIC_RELAXED))
		counter_add(&n->nic.counters.interrupts, 1);
	pci_intx_set(&n->pci, level);
}

void ne2k_raise(struct ne2k *n, uint8_t bits)
{
	n->isr |= bits;
	update_irq(n);
}

/* ---- the receiver ---- */

/* After anything that it depends on: are there free pages now that a frame may wait for? */
static void wake_receiver(struct ne2k *n)
{
	struct iovec iov[4];

	if (ne2k_nic_ops.rx_buffers(&n->nic, iov, 4) > 1)
		nic_rx_kick(&n->nic);
}

/* The driver has taken frames out of the ring. */
static void write_bnry(struct ne2k *n, uint8_t value)
{
	n->bnry = value;
	n->rx_news = true;
	if (n->overflowed && n->cr & CR_STA) {
		n->overflowed = false;
		n->isr &= (uint8_t)~ISR_RST;
	}
}

/* ---- remote DMA: D §9 ---- */

static uint8_t mem_load(const struct ne2k *n, uint16_t address)
{
	if (address < 2 * PROM_SIZE)
		return n->prom[address / 2];
	if (address >= MEM_BASE && address < MEM_BASE + MEM_SIZE)
		return n->mem[address - MEM_BASE];
	return 0xff;
}

/* Steps over a byte; wraps as the ring does. */
static void remote_step(struct ne2k *n)
{
	n->crda++;
	if (n->crda == n->pstop * PAGE)
		n->crda = (uint16_t)(n->pstart * PAGE);
	n->rbcr--;
}

static void remote_done(struct ne2k *n)
{
	if ((n->cr & CR_RD) == CR_RD_SEND) {
		write_bnry(n, n->rd_next);
		wake_receiver(n);
	}
	ne2k_raise(n, ISR_RDC);
}

/* Bytes that an access moves: in word mode one of a byte takes its word with it. */
static unsigned int remote_bytes(const struct ne2k *n, unsigned int size)
{
	if (size == 1 && n->dcr & DCR_WTS)
		size = 2;
	return size < n->rbcr ? size : n->rbcr;
}

static uint32_t data_read(struct ne2k *n, unsigned int size)
{
	uint8_t rd = n->cr & CR_RD;
	unsigned int bytes = remote_bytes(n, size);
	uint32_t value = 0;

	if ((rd != CR_RD_READ && rd != CR_RD_SEND) || !bytes)
		return UINT32_MAX;
	for (unsigned int i = 0; i < bytes; i++) {
		if (i < size)
			value |= (uint32_t)mem_load(n, n->crda) << 8 * i;
		remote_step(n);
	}
	if (!n->rbcr)
		remote_done(n);
	return value;
}

static void data_write(struct ne2k *n, unsigned int size, uint32_t value)
{
	unsigned int bytes = remote_bytes(n, size);

	if ((n->cr & CR_RD) != CR_RD_WRITE || !bytes)
		return;
	for (unsigned int i = 0; i < bytes; i++) {
		if (i < size && n->crda >= MEM_BASE && n->crda < MEM_BASE + MEM_SIZE)
			n->mem[n->crda - MEM_BASE] = (uint8_t)(value >> 8 * i);
		remote_step(n);
	}
	if (!n->rbcr)
		remote_done(n);
}

/* Send packet: the frame at BNRY, whose header says how long it is and where the next one
 * starts. */
static void remote_send_packet(struct ne2k *n)
{
	uint16_t start = (uint16_t)(n->bnry * PAGE);

	n->crda = start;
	n->rd_next = mem_load(n, (uint16_t)(start + 1));
	n->rbcr = (uint16_t)(mem_load(n, (uint16_t)(start + 2)) | mem_load(n, (uint16_t)(start + 3))
									  << 8);
}

/* ---- CR and reset ---- */

static void stop(struct ne2k *n)
{
	n->cr = (n->cr & (uint8_t) ~(CR_STA | CR_TXP)) | CR_STP;
	n->tx_waits = false; /* cut; the driver finds neither PTX nor TXE */
	n->isr |= ISR_RST;
}

static void start(struct ne2k *n)
{
	n->cr = (n->cr & (uint8_t)~CR_STP) | CR_STA;
	n->overflowed = false;
	n->isr &= (uint8_t)~ISR_RST;
}

/* Bits that are 0 in STP and STA, and 000 in RD, change nothing there. */
static void write_cr(struct ne2k *n, uint8_t value)
{
	uint8_t rd = value & CR_RD;

	if (rd & CR_RD_ABORT)
		rd = CR_RD_ABORT;
	if (rd == CR_RD_SEND && !(n->dcr & DCR_ARM))
		rd = 0;
	if (rd)
		n->cr = (n->cr & (uint8_t)~CR_RD) | rd;
	n->cr = (n->cr & (uint8_t)~CR_PS) | (value & CR_PS);
	if (value & CR_STP)
		stop(n);
	else if (value & CR_STA)
		start(n);
	if (rd == CR_RD_SEND)
		remote_send_packet(n);
	if (rd && rd != CR_RD_ABORT && !n->rbcr)
		remote_done(n);
	if (value & CR_TXP && n->cr & CR_STA && !(n->cr & CR_TXP))
		ne2k_transmit(n);
}

/* What the reset port does: D §11, "Reset". Everything else stays. */
static void reset_chip(struct ne2k *n)
{
	n->cr = CR_RD_ABORT;
	stop(n);
	n->isr = ISR_RST;
	n->imr = 0;
	n->tcr &= (uint8_t)~TCR_LB;
	update_irq(n);
}

/* ---- page 3: Realtek's own ---- */

/* What the chip takes from its EEPROM: CONFIG2 and 3, station address, product id. R §6.2. */
static void load_eeprom(struct ne2k *n)
{
	static const uint8_t marks[2] = {'W', 'B'}; /* wide, and byte-wide slot */
	const uint16_t *word = n->eeprom.word;

	n->config2 = (uint8_t)word[0];
	n->config3 = (uint8_t)(word[0] >> 8);
	for (unsigned int i = 0; i < PROM_SIZE; i++) {
		unsigned int k = i % (PROM_SIZE / 2);

		n->prom[i] = k < 14 ? (uint8_t)(word[1 + k / 2] >> 8 * (k % 2))
				    : marks[i / (PROM_SIZE / 2)];
	}
}

static void fill_eeprom(struct ne2k *n)
{
	const struct pci_identity *id = n->pci.dev.model->pci;
	uint16_t *word = n->eeprom.word;

	eeprom93xx_init(&n->eeprom, 64);
	word[0] = CONFIG3_LEDS << 8; /* CONFIG2 = 0: the cable that has a link */
	for (int i = 0; i < 3; i++)
		word[1 + i] = pci_get16(n->nic.mac + 2 * i);
	memset(word + 4, 0, 4 * sizeof(word[0]));
	word[60] = id->vendor;
	word[61] = id->device;
	word[62] = id->subsystem_vendor;
	word[63] = id->subsystem;
}

static void write_9346cr(struct ne2k *n, uint8_t value)
{
	bool program = (value & EE_EEM) == EE_PROGRAM;

	n->ee_cr = value & EE_WRITABLE;
	eeprom93xx_pins(&n->eeprom, program && value & EE_CS, program && value & EE_SK,
			program && value & EE_DI);
	if ((value & EE_EEM) == EE_LOAD) {
		load_eeprom(n);
		n->ee_cr &= (uint8_t)~EE_EEM;
	}
}

static uint8_t read_page3(const struct ne2k *n, unsigned int reg)
{
	switch (reg) {
	case 0x1:
		return n->ee_cr | EE_ONES |
		       ((n->ee_cr & EE_EEM) == EE_PROGRAM && eeprom93xx_out(&n->eeprom) ? EE_DO
											: 0);
	case 0x3:
		if ((n->config2 & CONFIG2_PL) == CONFIG2_PL_BNC)
			return CONFIG0_BNC;
		return n->config2 & CONFIG2_PL || n->nic.link ? 0 : CONFIG0_BNC;
	case 0x5:
		return n->config2;
	case 0x6:
		return n->config3;
	case 0xe: /* 8029ASID0, 1 */
		return 0x29;
	case 0xf:
		return 0x80;
	default:
		return 0xff;
	}
}

static void write_page3(struct ne2k *n, unsigned int reg, uint8_t value)
{
	bool writable = (n->ee_cr & EE_EEM) == EE_CONFIG;

	if (reg == 0x1)
		write_9346cr(n, value);
	if (reg == 0x5 && writable)
		n->config2 = (n->config2 & (uint8_t)~CONFIG2_WRITABLE) | (value & CONFIG2_WRITABLE);
	if (reg == 0x6 && writable)
		n->config3 = (n->config3 & (uint8_t)~CONFIG3_WRITABLE) | (value & CONFIG3_WRITABLE);
}

/* ---- pages 0 to 2: R §5.1.1, D §10.2 ---- */

static uint8_t read_fifo(struct ne2k *n)
{
	uint8_t value = n->fifo[n->fifo_at];

	n->fifo_at = (n->fifo_at + 1) % FIFO_SIZE;
	return value;
}

static uint8_t read_page0(struct ne2k *n, unsigned int reg)
{
	uint8_t value;

	switch (reg) {
	case 0x1:
		return (uint8_t)n->clda;
	case 0x2:
		return (uint8_t)(n->clda >> 8);
	case 0x3:
		return n->bnry;
	case 0x4:
		return n->tsr | TSR_ALWAYS;
	case 0x5: /* NCR */
		return 0;
	case 0x6:
		return read_fifo(n);
	case 0x7:
		return n->isr;
	case 0x8:
		return (uint8_t)n->crda;
	case 0x9:
		return (uint8_t)(n->crda >> 8);
	case 0xa: /* 8029ID0, 1 */
		return 'P';
	case 0xb:
		return 'C';
	case 0xc:
		return n->rsr;
	case 0xf:
		value = n->cntr2;
		n->cntr2 = 0;
		return value;
	default: /* CNTR0 and 1 */
		return 0;
	}
}

static uint8_t read_page1(const struct ne2k *n, unsigned int reg)
{
	if (reg == 0x7)
		return n->curr;
	return reg < 0x7 ? n->par[reg - 1] : n->mar[reg - 8];
}

static uint8_t read_page2(const struct ne2k *n, unsigned int reg)
{
	switch (reg) {
	case 0x1:
		return n->pstart;
	case 0x2:
		return n->pstop;
	case 0x4:
		return n->tpsr;
	case 0xc:
		return n->rcr | (uint8_t)~RCR_WRITABLE;
	case 0xd:
		return n->tcr | (uint8_t)~TCR_WRITABLE;
	case 0xe:
		return n->dcr | (uint8_t)~DCR_WRITABLE;
	case 0xf:
		return n->imr | (uint8_t)~ISR_EVENTS;
	default:
		return 0xff;
	}
}

static void update_filter(struct ne2k *n)
{
	struct eth_filter *f = &n->filter;

	f->unicast = true;
	f->broadcast = n->rcr & RCR_AB;
	f->multicast = n->rcr & RCR_AM;
	f->hash = ETH_HASH_BE_TOP6;
	memcpy(f->station, n->par, 6);
	nic_set_station(&n->nic, f->station);
	memcpy(&f->table, n->mar, 8);
}

/*
 * Drivers read frames until the ring is empty, or until they have read enough for once (Linux: 9),
 * and acknowledge PRX then; what came in between is found with the next frame. On a wire the time
 * between is short; here it is an exit or two, and frames come in groups. So PRX stays while there
 * are frames, once for each frame that came or was read: a driver that acknowledges before it reads
 * is interrupted once more.
 */
static void write_isr(struct ne2k *n, uint8_t value)
{
	if (value & ISR_PRX) {
		if (n->rx_news && ne2k_ring_has_frames(n))
			value &= (uint8_t)~ISR_PRX;
		n->rx_news = false;
	}
	n->isr &= ~value | ISR_RST;
}

static void set_byte(uint16_t *word, bool high, uint8_t value)
{
	*word = high ? (uint16_t)((*word & 0xff) | value << 8)
		     : (uint16_t)((*word & 0xff00) | value);
}

static void write_page0(struct ne2k *n, unsigned int reg, uint8_t value)
{
	switch (reg) {
	case 0x1:
		n->pstart = value;
		break;
	case 0x2:
		n->pstop = value;
		break;
	case 0x3:
		write_bnry(n, value);
		break;
	case 0x4:
		n->tpsr = value;
		break;
	case 0x5:
	case 0x6:
		set_byte(&n->tbcr, reg == 0x6, value);
		break;
	case 0x7:
		write_isr(n, value);
		break;
	case 0x8: /* RSAR0, 1 */
	case 0x9:
		set_byte(&n->crda, reg == 0x9, value);
		break;
	case 0xa:
	case 0xb:
		set_byte(&n->rbcr, reg == 0xb, value);
		break;
	case 0xc:
		n->rcr = value & RCR_WRITABLE;
		break;
	case 0xd:
		n->tcr = value & TCR_WRITABLE;
		break;
	case 0xe:
		n->dcr = value & DCR_WRITABLE;
		break;
	default:
		n->imr = value & ISR_EVENTS;
		break;
	}
}

static void write_page1(struct ne2k *n, unsigned int reg, uint8_t value)
{
	if (reg == 0x7)
		n->curr = value;
	else if (reg < 0x7)
		n->par[reg - 1] = value;
	else
		n->mar[reg - 8] = value;
}

static uint8_t read_register(struct ne2k *n, unsigned int reg)
{
	if (reg == REG_CR)
		return n->cr;
	switch (n->cr >> 6) {
	case 0:
		return read_page0(n, reg);
	case 1:
		return read_page1(n, reg);
	case 2:
		return read_page2(n, reg);
	default:
		return read_page3(n, reg);
	}
}

static void write_register(struct ne2k *n, unsigned int reg, uint8_t value)
{
	if (reg == REG_CR)
		write_cr(n, value);
	else if (n->cr >> 6 == 0)
		write_page0(n, reg, value);
	else if (n->cr >> 6 == 1)
		write_page1(n, reg, value);
	else if (n->cr >> 6 == 3)
		write_page3(n, reg, value);
	update_filter(n);
	update_irq(n);
	wake_receiver(n);
}

static uint64_t ne2k_read(void *opaque, uint64_t offset, unsigned int size)
{
	struct ne2k *n = opaque;
	uint64_t value = 0;

	if (offset >= REG_END)
		return 0;
	if (offset >= REG_RESET) {
		reset_chip(n);
		return 0;
	}
	if (offset >= REG_DATA)
		return data_read(n, size);
	for (unsigned int i = 0; i < size; i++)
		value |= (uint64_t)read_register(n, (unsigned int)offset + i) << 8 * i;
	return value;
}

static void ne2k_write(void *opaque, uint64_t offset, unsigned int size, uint64_t value)
{
	struct ne2k *n = opaque;

	if (offset >= REG_RESET)
		return; /* ends the reset, which is over already */
	if (offset >= REG_DATA) {
		data_write(n, size, (uint32_t)value);
		return;
	}
	for (unsigned int i = 0; i < size; i++)
		write_register(n, (unsigned int)offset + i, (uint8_t)(value >> 8 * i));
}

static const struct region_ops ne2k_ops = {
	.read = ne2k_read,
	.write = ne2k_write,
	.max = 4,
};

/* ---- the device ---- */

static int make_bar(struct ne2k *n)
{
	int r = pci_bar_add(&n->pci, 0, PCI_BAR_IO, BAR_SIZE, "ne2k_pci", &ne2k_ops, n);

	posted_init(&n->posted, n->pci.dev.platform->bus, n->nic.loop);
	if (!r)
		r = posted_mark(&n->posted, &n->pci.bar[0].region, REG_DATA, REG_RESET - REG_DATA);
	posted_set_mode(&n->posted, n->opt_posted ? POSTED_WRITES : POSTED_NONE);
	return r;
}

static int ne2k_realize(struct device *dev, struct err *err)
{
	struct ne2k *n = (struct ne2k *)dev;
	int r = nic_realize(&n->nic, dev, &ne2k_nic_ops, err);

	if (r)
		return r;
	fill_eeprom(n);
	r = make_bar(n);
	if (!r)
		return 0;
	posted_fini(&n->posted);
	nic_unrealize(&n->nic);
	return err_set(err, r, "%s: BAR 0 can't be made", dev->id);
}

static void ne2k_unrealize(struct device *dev)
{
	struct ne2k *n = (struct ne2k *)dev;

	posted_fini(&n->posted);
	nic_unrealize(&n->nic);
}

/* Power-on. The datasheets leave most registers open; they are 0. */
static void ne2k_reset(struct device *dev)
{
	struct ne2k *n = (struct ne2k *)dev;
	size_t first = offsetof(struct ne2k, cr), end = offsetof(struct ne2k, prom);

	memset((uint8_t *)n + first, 0, end - first);
	memset(n->fifo, 0, sizeof(n->fifo));
	memset(n->mem, 0, sizeof(n->mem));
	n->fifo_at = 0;
	n->overflowed = n->rx_news = false;
	eeprom93xx_reset(&n->eeprom);
	load_eeprom(n);
	update_filter(n);
	reset_chip(n);
	nic_reset(&n->nic);
}

static void ne2k_info(struct device *dev, json_t *object)
{
	nic_info(&((struct ne2k *)dev)->nic, object);
}

static void ne2k_counters(struct device *dev, counter_visit *visit, void *opaque)
{
	struct ne2k *n = (struct ne2k *)dev;

	nic_counters(&n->nic, visit, opaque);
	visit(opaque, dev->id, "posted", posted_counter_table, &n->posted.counters);
}

static void ne2k_set_link(struct device *dev, bool up)
{
	nic_set_link(&((struct ne2k *)dev)->nic, up);
}

static const struct pci_identity ne2k_identity = {
	.vendor = 0x10ec,
	.device = 0x8029,
	.subsystem_vendor = 0x1af4,
	.subsystem = 0x1100,
	.class = 0x020000,
	.interrupt_pin = 1,
	.rom = "efi-ne2k_pci.rom",
};

static const struct device_model ne2k_model = {
	.name = "ne2k_pci",
	.help = "Realtek RTL8029: NE2000 on PCI, 10 Mbit/s",
	.size = sizeof(struct ne2k),
	.opts = {{pci_device_opts, 0}, {nic_opts, offsetof(struct ne2k, nic)}, {ne2k_opts, 0}},
	.pci = &ne2k_identity,
	.nic = "ne2k_pci",
	.nic_rank = 1,
	.realize = ne2k_realize,
	.reset = ne2k_reset,
	.unrealize = ne2k_unrealize,
	.info = ne2k_info,
	.counters = ne2k_counters,
	.set_link = ne2k_set_link,
};

DEVICE_MODEL(ne2k_model);
