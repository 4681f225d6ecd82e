/*
 * Intel 8255x 10/100 Mbit/s Ethernet controllers: i82551, i82557b, i82559er. i8255x.h names the
 * manual.
 *
 *	SCB command --+--> CU (i8255x_cu.c): command block list: setup, transmit ---> nic_send()
 *	   (here)     +--> RU (i8255x_ru.c): receive frame area <--- rx_frame()
 *	SCB status <--- both: INTA#
 *
 * In this file: the control and status registers (§6.3.1), interrupts, PORT, the serial EEPROM and
 * its contents (§5), the MDI with an 82555 PHY (§7), and what the PCI side has (§4).
 *
 * The three are one model: a table says what they differ in. Registers run on vCPU threads, frames
 * and timers on the I/O thread, all under the device's lock. The only memory is the instance.
 *
 * Not here: flash (BAR 2 reads as ones), CardBus registers, wake-up frames (the bits that enable
 * them are kept; nothing wakes), the TCO port.
 */
#include <errno.h>
#include <string.h>

#include "dev/i8255x.h"

/* Control and status registers: byte offsets. */
enum {
	SCB_STATUS = 0x00,
	SCB_STAT_ACK = 0x01,
	SCB_COMMAND = 0x02,
	SCB_INTERRUPT = 0x03,
	SCB_GENERAL_POINTER = 0x04,
	CSR_PORT = 0x08,
	CSR_EEPROM = 0x0e,
	CSR_MDI = 0x10,
	CSR_RX_BYTE_COUNT = 0x14,
	/* 82558 and later */
	CSR_EARLY_RX = 0x18,
	CSR_FC_THRESHOLD = 0x19,
	CSR_PMDR = 0x1b,
	CSR_GENERAL_CONTROL = 0x1c,
	CSR_GENERAL_STATUS = 0x1d,
	CSR_SIZE = 64,
};

enum {
	/* SCB_INTERRUPT */
	INTERRUPT_M = 0x01,   /* all masked */
	INTERRUPT_SI = 0x02,  /* makes one */
	INTERRUPT_FCP = 0x04, /* masks of causes, this one and up: 82558 and later */
	INTERRUPT_ER = 0x08,
	INTERRUPT_CAUSES = 0xf0, /* of RNR, CNA, FR, CX: as in STAT/ACK */
	/* CSR_PORT, bits 3:0 */
	PORT_SOFTWARE_RESET = 0,
	PORT_SELF_TEST = 1,
	PORT_SELECTIVE_RESET = 2,
	PORT_DUMP = 3,
	/* CSR_EEPROM */
	EEPROM_SK = 0x01,
	EEPROM_CS = 0x02,
	EEPROM_DI = 0x04,
	EEPROM_DO = 0x08,
	/* CSR_PMDR */
	PMDR_LINK = 0x80, /* the link's state changed */
	PMDR_MAGIC = 0x40,
	PMDR_INTERESTING = 0x20,
	PMDR_PME = 0x01,
	/* CSR_GENERAL_STATUS */
	STATUS_LINK = 0x01,
	STATUS_100 = 0x02,
	STATUS_DUPLEX = 0x04,
};

/* CSR_MDI: bits 20:16 register, 25:21 PHY, 27:26 1 = write, 2 = read */
#define MDI_DATA  0x0000ffffu
#define MDI_READY 0x10000000u
#define MDI_IE	  0x20000000u

#define PHY_ADDRESS 1
#define PHY_ID1	    0x02a8 /* Intel 82555 */
#define PHY_ID2	    0x0154
#define PHY_STATUS  16 /* bit 0: full duplex, bit 1: 100 Mbit/s */
#define PHY_SPECIAL 17
#define PHY_ADDR    18
#define PHY_LED	    27
#define PHY_MDIX    28

/* The configure bytes after a reset: each bit's default is in §6.4.2.3. */
static const uint8_t config_default[22] = {
	0x16, 0x08, 0x00, 0x00, 0x00, 0x00, 0x32, 0x03, 0x01, 0x00, 0x2e,
	0x00, 0x60, 0x00, 0xf2, 0xc8, 0x00, 0x40, 0xf2, 0x80, 0x3f, 0x05,
};

/* ---- DMA and interrupts ---- */

int i8255x_dma_read(struct i8255x *d, uint32_t addr, void *buf, size_t len)
{
	return pci_may_dma(&d->pci) ? mem_read(d->pci.dev.platform->mem, addr, buf, len) : -EPERM;
}

int i8255x_dma_write(struct i8255x *d, uint32_t addr, const void *buf, size_t len)
{
	return pci_may_dma(&d->pci) ? mem_write(d->pci.dev.platform->mem, addr, buf, len) : -EPERM;
}

static void irq_update(struct i8255x *d)
{
	uint8_t masked = d->mask & INTERRUPT_CAUSES;
	bool irq;

	if (d->mask & INTERRUPT_ER)
		masked |= STAT_ER;
	if (d->mask & INTERRUPT_FCP)
		masked |= STAT_FCP;
	irq = !(d->mask & INTERRUPT_M) && d->stat_ack & ~masked;
	if (irq == d->irq)
		return;
	d->irq = irq;
	if (irq)
		counter_add(&d->nic.counters.interrupts, 1);
	pci_intx_set(&d->pci, irq);
}

void i8255x_raise(struct i8255x *d, uint8_t stat)
{
	d->stat_ack |= stat;
	irq_update(d);
}

/* ---- EEPROM (§5) ---- */

/* Words that drivers look at; the last one makes the sum of all BABAh. */
static void eeprom_fill(struct i8255x *d)
{
	uint16_t *word = d->eeprom.word, sum = 0xbaba;
	unsigned int last = 63;

	eeprom93xx_init(&d->eeprom, last + 1);
	memset(word, 0, sizeof(*word) * last);
	for (int i = 0; i < 3; i++)
		word[i] = pci_get16(d->nic.mac + 2 * i);
	word[0x3] = 0x0003; /* compatibility: no receiver that locks up, at neither speed */
	word[0x5] = (uint16_t)(d->chip->controller << 8 | 0x01); /* an RJ-45 */
	word[0x6] = (uint16_t)(0x0700 | PHY_ADDRESS);		 /* the primary PHY is an 82555 */
	word[0xa] = 0x4000;					 /* ID: valid; no wake-up */
	word[0xb] = d->pci.dev.model->pci->subsystem;
	word[0xc] = d->pci.dev.model->pci->subsystem_vendor;
	for (unsigned int i = 0; i < last; i++)
		sum -= word[i];
	word[last] = sum;
}

/* ---- PHY (§7) ---- */

static uint16_t phy_read(struct i8255x *d, unsigned int reg)
{
	struct mii_link link = mii_state(&d->mii);

	switch (reg) {
	case PHY_STATUS:
		return (uint16_t)(link.full_duplex | (link.speed == 100) << 1);
	case PHY_SPECIAL:
	case PHY_LED:
	case PHY_MDIX:
		return d->phy_vendor[reg - 16];
	case PHY_ADDR:
		return PHY_ADDRESS;
	default:
		return mii_read(&d->mii, reg);
	}
}

static void phy_write(struct i8255x *d, unsigned int reg, uint16_t value)
{
	if (reg >= 16)
		d->phy_vendor[reg - 16] = value;
	else
		mii_write(&d->mii, reg, value);
}

/* The command is in the register; it is done at once. */
static void mdi_execute(struct i8255x *d)
{
	unsigned int op = d->mdi >> 26 & 3, phy = d->mdi >> 21 & 0x1f, reg = d->mdi >> 16 & 0x1f;

	if (op == 1 && phy == PHY_ADDRESS)
		phy_write(d, reg, (uint16_t)d->mdi);
	else if (op == 2) /* nobody drives the wire for another address: ones */
		d->mdi = (d->mdi & ~MDI_DATA) | (phy == PHY_ADDRESS ? phy_read(d, reg) : MDI_DATA);
	d->mdi |= MDI_READY;
	if (d->mdi & MDI_IE)
		i8255x_raise(d, STAT_MDI);
}

bool i8255x_loops_back(const struct i8255x *d)
{
	bool mac = (d->config[10] >> 6 & 3) == 1; /* 2 and 3 are up to the PHY */

	return mac || d->mii.reg[MII_BMCR] & BMCR_LOOPBACK;
}

static void i8255x_link_changed(struct nic *nic)
{
	struct i8255x *d = i8255x_of(nic);

	mii_set_link(&d->mii, nic->link);
	if (d->chip->extended)
		d->pmdr |= PMDR_LINK;
}

/* ---- PORT ---- */

int i8255x_dump(struct i8255x *d, uint32_t addr)
{
	uint8_t image[I8255X_DUMP_BYTES] = {0};

	/* Only what a driver can compare with what it has set; the order of the rest isn't
	 * documented. */
	memcpy(image, d->config, I8255X_CONFIG_BYTES);
	memcpy(image + 0x20, d->filter.station, 6);
	memcpy(image + 0x28, &d->filter.table, 8);
	return i8255x_dma_write(d, addr, image, sizeof(image));
}

static void selective_reset(struct i8255x *d)
{
	i8255x_cu_stop(d);
	i8255x_ru_stop(d);
}

static void software_reset(struct i8255x *d)
{
	selective_reset(d);
	d->stat_ack = d->mask = 0;
	d->general_pointer = d->port = d->rx_byte_count = 0;
	d->mdi = MDI_READY;
	d->early_rx = d->fc_threshold = d->pmdr = d->general_control = 0;
	memset(d->config, 0, sizeof(d->config));
	memcpy(d->config, config_default, sizeof(config_default));
	memset(d->stats, 0, sizeof(d->stats));
	d->stats_address = d->cu_base = d->cu_next = d->cu_last = 0;
	d->ru_base = d->ru_next = 0;
	d->filter.table = 0;
	for (int i = 0; i < 3; i++)
		pci_put16(d->filter.station + 2 * i, d->eeprom.word[i]);
	eeprom93xx_reset(&d->eeprom);
	i8255x_ru_configured(d);
	irq_update(d);
}

static void port_execute(struct i8255x *d)
{
	uint32_t addr = d->port & ~0xfu;
	uint8_t result[8];

	switch (d->port & 0xf) {
	case PORT_SELF_TEST:
		pci_put32(result, 0x00008255); /* the ROM's signature: not 0 */
		pci_put32(result + 4, 0);      /* passed */
		i8255x_dma_write(d, addr, result, sizeof(result));
		software_reset(d);
		break;
	case PORT_SOFTWARE_RESET:
		software_reset(d);
		break;
	case PORT_SELECTIVE_RESET:
		selective_reset(d);
		break;
	case PORT_DUMP:
		i8255x_dump(d, addr);
		break;
	}
}

/* ---- registers ---- */

static uint8_t general_status(const struct i8255x *d)
{
	struct mii_link link = mii_state(&d->mii);

	return (uint8_t)((link.up ? STATUS_LINK : 0) | (link.speed == 100 ? STATUS_100 : 0) |
			 (link.full_duplex ? STATUS_DUPLEX : 0));
}

static uint8_t extended_read(const struct i8255x *d, unsigned int offset)
{
	if (!d->chip->extended)
		return 0;
	switch (offset) {
	case CSR_EARLY_RX:
		return d->early_rx;
	case CSR_FC_THRESHOLD:
		return d->fc_threshold;
	case CSR_PMDR:
		return d->pmdr;
	case CSR_GENERAL_CONTROL:
		return d->general_control;
	case CSR_GENERAL_STATUS:
		return general_status(d);
	default:
		return 0;
	}
}

/* One byte of the registers. Reading changes nothing. */
static uint8_t csr_read_byte(const struct i8255x *d, unsigned int offset)
{
	unsigned int shift = 8 * (offset & 3);

	switch (offset) {
	case SCB_STATUS:
		return (uint8_t)(d->cu_state << 6 | i8255x_ru_status(d) << 2);
	case SCB_STAT_ACK:
		return d->stat_ack;
	case SCB_COMMAND:
		return 0; /* commands are accepted at once */
	case SCB_INTERRUPT:
		return d->mask;
	case CSR_EEPROM:
		return (uint8_t)((d->eeprom.sk ? EEPROM_SK : 0) | (d->eeprom.cs ? EEPROM_CS : 0) |
				 (eeprom93xx_out(&d->eeprom) ? EEPROM_DO : 0));
	}
	switch (offset & ~3u) {
	case SCB_GENERAL_POINTER:
		return (uint8_t)(d->general_pointer >> shift);
	case CSR_MDI:
		return (uint8_t)(d->mdi >> shift);
	case CSR_RX_BYTE_COUNT:
		return (uint8_t)(d->rx_byte_count >> shift);
	default:
		return extended_read(d, offset);
	}
}

static uint64_t csr_read(void *opaque, uint64_t offset, unsigned int size)
{
	struct i8255x *d = opaque;
	uint64_t value = 0;

	for (unsigned int i = 0; i < size && offset < CSR_SIZE; i++, offset++)
		value |= (uint64_t)csr_read_byte(d, (unsigned int)offset) << 8 * i;
	return value;
}

static void interrupt_write(struct i8255x *d, uint8_t value)
{
	uint8_t kept = INTERRUPT_M;

	if (d->chip->extended)
		kept |= INTERRUPT_CAUSES | INTERRUPT_ER | INTERRUPT_FCP;
	d->mask = value & kept;
	i8255x_raise(d, value & INTERRUPT_SI ? STAT_SWI : 0);
}

static void eeprom_write(struct i8255x *d, uint8_t value)
{
	eeprom93xx_pins(&d->eeprom, value & EEPROM_CS, value & EEPROM_SK, value & EEPROM_DI);
}

static void extended_write(struct i8255x *d, unsigned int offset, uint8_t value)
{
	if (!d->chip->extended)
		return;
	switch (offset) {
	case CSR_EARLY_RX:
		d->early_rx = value;
		break;
	case CSR_FC_THRESHOLD:
		d->fc_threshold = value & 7;
		break;
	case CSR_PMDR:
		d->pmdr &=
			(uint8_t) ~(value & (PMDR_LINK | PMDR_MAGIC | PMDR_INTERESTING | PMDR_PME));
		break;
	case CSR_GENERAL_CONTROL:
		d->general_control = value & 3;
		break;
	}
}

static uint32_t with_byte(uint32_t word, unsigned int offset, uint8_t value)
{
	unsigned int shift = 8 * (offset & 3);

	return (word & ~(0xffu << shift)) | (uint32_t)value << shift;
}

/* A command of more than a byte is carried out when its last one is written. */
static void csr_write_byte(struct i8255x *d, unsigned int offset, uint8_t value)
{
	switch (offset) {
	case SCB_STAT_ACK:
		d->stat_ack &= (uint8_t)~value;
		irq_update(d);
		return;
	case SCB_COMMAND:
		i8255x_ru_command(d, value & 7);
		i8255x_cu_command(d, value >> 4);
		return;
	case SCB_INTERRUPT:
		interrupt_write(d, value);
		return;
	case CSR_EEPROM:
		eeprom_write(d, value);
		return;
	}
	switch (offset & ~3u) {
	case SCB_GENERAL_POINTER:
		d->general_pointer = with_byte(d->general_pointer, offset, value);
		break;
	case CSR_PORT:
		d->port = with_byte(d->port, offset, value);
		if (offset == CSR_PORT + 3)
			port_execute(d);
		break;
	case CSR_MDI:
		d->mdi = with_byte(d->mdi, offset, value);
		if (offset == CSR_MDI + 3)
			mdi_execute(d);
		break;
	default:
		extended_write(d, offset, value);
	}
}

static void csr_write(void *opaque, uint64_t offset, unsigned int size, uint64_t value)
{
	struct i8255x *d = opaque;

	for (unsigned int i = 0; i < size && offset < CSR_SIZE; i++, offset++)
		csr_write_byte(d, (unsigned int)offset, (uint8_t)(value >> 8 * i));
}

static const struct region_ops csr_ops = {
	.read = csr_read,
	.write = csr_write,
	.min = 1,
	.max = 4,
};

/* ---- PCI (§4) ---- */

/* From D3 to D0 is a reset of the chip (PCI Power Management 1.1 §5.4.1). */
static void config_written(struct pci_device *pci, unsigned int offset, unsigned int size)
{
	struct i8255x *d = i8255x_of_dev(&pci->dev);
	uint8_t state;

	if (!d->pm_cap)
		return;
	state = pci->config[d->pm_cap + 4] & 3;
	if (d->power_state == 3 && state == 0)
		software_reset(d);
	d->power_state = state;
}

static void bus_master_changed(struct pci_device *pci, bool on)
{
	struct i8255x *d = i8255x_of_dev(&pci->dev);

	if (on)
		nic_rx_kick(&d->nic);
}

static int add_power_management(struct i8255x *d)
{
	struct pci_device *pci = &d->pci;
	int cap;

	if (!d->chip->pmc)
		return 0;
	cap = pci_cap_add(pci, 0x01, 8);
	if (cap < 0)
		return cap;
	d->pm_cap = cap;
	pci_put16(pci->config + cap + 2, d->chip->pmc);
	pci_put16(pci->wmask + cap + 4, 0x0103);   /* power state, PME enable */
	pci_put16(pci->w1cmask + cap + 4, 0x8000); /* PME status */
	return 0;
}

static int add_bars(struct i8255x *d)
{
	struct pci_device *pci = &d->pci;
	int r;

	bus_region_init(&d->csr, "i8255x.csr", BUS_MMIO, 4096, &csr_ops, d, &pci->dev.lock);
	r = pci_bar_add_space(pci, 0, PCI_BAR_MEM32, true, 4096);
	if (!r)
		r = pci_bar_add_region(pci, 0, 0, &d->csr);
	if (!r)
		r = pci_bar_add(pci, 1, PCI_BAR_IO, CSR_SIZE, "i8255x.io", &csr_ops, d);
	if (!r)
		r = pci_bar_add_space(pci, 2, PCI_BAR_MEM32, false, d->chip->flash);
	return r;
}

/* ---- the device ---- */

#define I8255X_COUNTER(field, tag, text)                                                     \
	{                                                                                    \
		.name = tag, .offset = offsetof(struct i8255x_counters, field), .help = text \
	}

static const struct counter_desc i8255x_counter_table[] = {
	I8255X_COUNTER(commands, "commands", "command blocks executed"),
	I8255X_COUNTER(aborted, "aborted", "command lists that left RAM"),
	I8255X_COUNTER(pauses, "pauses", "times that a long command list had to wait"),
	I8255X_COUNTER(no_resources, "no-resources", "times that the receive frame area ended"),
	{.name = NULL},
};

static const struct nic_ops i8255x_nic_ops = {
	.rx_buffers = i8255x_rx_buffers,
	.rx_frame = i8255x_rx_frame,
	.tx_resume = i8255x_tx_resume,
	.link_changed = i8255x_link_changed,
};

static int i8255x_realize(struct device *dev, struct err *err)
{
	struct i8255x *d = i8255x_of_dev(dev);
	int r;

	d->chip = dev->model->data;
	d->pci.config[0x06] |= 0x80; /* status: fast back-to-back, medium DEVSEL */
	d->pci.config[0x07] |= 0x02;
	d->pci.config[0x3e] = 0x08; /* MIN_GNT and MAX_LAT, in units of 250 ns */
	d->pci.config[0x3f] = 0x18;
	r = add_power_management(d);
	if (!r)
		r = add_bars(d);
	if (r)
		return err_set(err, r, "%s: BARs and capabilities can't be made", dev->id);
	d->pci.config_written = config_written;
	d->pci.bus_master_changed = bus_master_changed;
	r = nic_realize(&d->nic, dev, &i8255x_nic_ops, err);
	if (r)
		return r;
	i8255x_cu_init(d);
	eeprom_fill(d);
	return 0;
}

static void i8255x_unrealize(struct device *dev)
{
	nic_unrealize(&i8255x_of_dev(dev)->nic);
}

static void i8255x_reset(struct device *dev)
{
	struct i8255x *d = i8255x_of_dev(dev);

	mii_init(&d->mii, PHY_ID1, PHY_ID2, false);
	mii_set_link(&d->mii, d->nic.link);
	memset(d->phy_vendor, 0, sizeof(d->phy_vendor));
	d->power_state = 0;
	software_reset(d);
	nic_reset(&d->nic);
}

static void i8255x_info(struct device *dev, json_t *object)
{
	nic_info(&i8255x_of_dev(dev)->nic, object);
}

static void i8255x_counters(struct device *dev, counter_visit *visit, void *opaque)
{
	struct i8255x *d = i8255x_of_dev(dev);

	nic_counters(&d->nic, visit, opaque);
	visit(opaque, dev->id, "8255x", i8255x_counter_table, &d->counters);
}

static void i8255x_set_link(struct device *dev, bool up)
{
	nic_set_link(&i8255x_of_dev(dev)->nic, up);
}

#define I8255X_MODEL(id, name_, help_, device_, revision_, rank_)                         \
	static const struct pci_identity id##_identity = {                                \
		.vendor = 0x8086,                                                         \
		.device = device_,                                                        \
		.revision = revision_,                                                    \
		.subsystem_vendor = 0x1af4,                                               \
		.subsystem = 0x1100,                                                      \
		.class = 0x020000,                                                        \
		.interrupt_pin = 1,                                                       \
		.rom = "efi-eepro100.rom",                                                \
	};                                                                                \
	static const struct device_model id##_model = {                                   \
		.name = name_,                                                            \
		.help = help_,                                                            \
		.size = sizeof(struct i8255x),                                            \
		.opts = {{pci_device_opts, 0}, {nic_opts, offsetof(struct i8255x, nic)}}, \
		.pci = &id##_identity,                                                    \
		.nic = name_,                                                             \
		.nic_rank = rank_,                                                        \
		.data = &id##_chip,                                                       \
		.realize = i8255x_realize,                                                \
		.reset = i8255x_reset,                                                    \
		.unrealize = i8255x_unrealize,                                            \
		.info = i8255x_info,                                                      \
		.counters = i8255x_counters,                                              \
		.set_link = i8255x_set_link,                                              \
	};                                                                                \
	DEVICE_MODEL(id##_model)

static const struct i8255x_chip i82551_chip = {
	.extended = true, .controller = 3, .pmc = 0x7e22, .flash = 128 << 10, .config = 32};
static const struct i8255x_chip i82557b_chip = {
	.extended = false, .controller = 1, .pmc = 0, .flash = 1 << 20, .config = 22};
static const struct i8255x_chip i82559er_chip = {
	.extended = true, .controller = 3, .pmc = 0x7e21, .flash = 128 << 10, .config = 22};

I8255X_MODEL(i82551, "i82551", "Intel 82551 10/100 Mbit/s Ethernet card", 0x1209, 0x0f, 2);
I8255X_MODEL(i82557b, "i82557b", "Intel 82557B 10/100 Mbit/s Ethernet card", 0x1229, 0x02, 3);
I8255X_MODEL(i82559er, "i82559er", "Intel 82559ER 10/100 Mbit/s Ethernet card", 0x1209, 0x09, 4);
