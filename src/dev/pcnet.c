/*
 * Am79C970A PCnet-PCI II: 10 Mbit/s Ethernet. Data sheet: AMD publication 19436, sections I/O
 * Resources, User Accessible Registers (RAP, CSRs, BCRs, with reset values and who may write what
 * when), EEPROM Interface.
 *
 * 32 bytes of registers, in I/O space (BAR 0) and the same in memory space (BAR 1):
 *
 *	offset	word I/O	dword I/O (BCR18 DWIO: after a 32-bit write to 0x10)
 *	0x00	APROM, 16 bytes: MAC address, checksum, "WW"
 *	0x10	RDP		RDP: the CSR that RAP selects
 *	0x12	RAP		0x14
 *	0x14	Reset (read)	0x18
 *	0x16	BDP		0x1c: the BCR that RAP selects
 *
 * CSR0 runs the card: INIT reads the initialization block, STRT begins, STOP ends, TDMD: look at
 * the transmit ring. Most others may be written only while STOP or CSR5 SPND (suspend) is set; here
 * they can always be read. The rings are pcnet_ring.c's.
 *
 * The link shows in BCR4: LEDOUT under LNKSTE. This card has no MII.
 *
 * Registers run on vCPU threads; rings there and on the I/O thread; all under the device's lock.
 *
 * Not done: the LEDs' activity, Magic Packet and sleep (CSR5's bits are kept), the bus activity
 * timer, parity errors, byte swapping for big-endian hosts (CSR3 BSWP).
 */
#include <linux/pci_regs.h>
#include <string.h>

#include "dev/pcnet.h"

enum {
	APROM_SIZE = 16,
	REG_RDP = 0, /* in this order from offset 0x10 on, every 2 or 4 bytes */
	REG_RAP = 1,
	REG_RESET = 2,
	REG_BDP = 3,
};

/* CSRs that only this file names */
enum {
	CSR_SWS = 58, /* the same as BCR20 */
	CSR_RCVRC = 72,
	CSR_XMTRC = 74,
	CSR_DMATC = 80,
	CSR_IDL = 88,
	CSR_BUSTIMER = 100,
	CSR_RCVCC = 114,
	CSR_TEST = 124,
};

#define CSR0_FLAGS \
	(CSR0_BABL | CSR0_CERR | CSR0_MISS | CSR0_MERR | CSR0_RINT | CSR0_TINT | CSR0_IDON)
#define CSR3_WRITABLE 0x5f7c
#define CSR4_FLAGS    (CSR4_MFCO | CSR4_UINT | CSR4_RCVCCO | CSR4_TXSTRT | CSR4_JAB)
#define CSR4_WRITABLE 0xfd15
#define CSR4_RESET    0x0115 /* all masks set */
#define CSR5_FLAGS    (CSR5_SINT | CSR5_SLPINT | CSR5_EXDINT | CSR5_MPINT)
#define CSR5_WRITABLE 0xc56f
#define CSR15_PORTSEL 0x0180
#define CHIP_ID	      0x02621003 /* version 0, part 0x2621, AMD */

/* BCRs */
enum {
	BCR_MSRDA = 0,
	BCR_MSWRA = 1,
	BCR_MC = 2,
	BCR_LNKST = 4,
	BCR_LED3 = 7,
	BCR_FDC = 9,
	BCR_IOBASEL = 16,
	BCR_IOBASEU = 17,
	BCR_BSBC = 18,
	BCR_EECAS = 19,
	BCR_INTCON = 21,
	BCR_PCILAT = 22,
};

enum {
	MC_APROMWE = 1 << 8,
	MC_LEDPE = 1 << 12,

	LED_LNKSTE = 1 << 6,
	LED_FDLSE = 1 << 8,
	LED_LEDOUT = 1 << 15,

	FDC_FDEN = 1 << 0,

	BSBC_DWIO = 1 << 7,

	EECAS_EDI = 1 << 0,
	EECAS_ESK = 1 << 1,
	EECAS_ECS = 1 << 2,
	EECAS_EEN = 1 << 4,
	EECAS_EEDET = 1 << 13,
	EECAS_PREAD = 1 << 14,
	EECAS_PVALID = 1 << 15,

	SWS_APERREN = 1 << 10,
	SWS_CSRPCNET = 1 << 9,
};

struct bcr_rule {
	uint16_t reset;
	uint16_t mask; /* bits that can be written */
	bool stopped;  /* only while stopped or suspended */
};

static const struct bcr_rule bcr_rule[PCNET_BCRS] = {
	[BCR_MSRDA] = {.reset = 0x0005},
	[BCR_MSWRA] = {.reset = 0x0005},
	[BCR_MC] = {.reset = 0x0002, .mask = 0x51bf},
	[BCR_LNKST] = {.reset = 0x00c0, .mask = 0x63ff},
	[5] = {.reset = 0x0084, .mask = 0x63ff},
	[6] = {.reset = 0x0088, .mask = 0x63ff},
	[BCR_LED3] = {.reset = 0x0090, .mask = 0x63ff},
	[BCR_FDC] = {.mask = 0x0007},
	[BCR_IOBASEL] =
		{.mask = 0xffe0}, /* these two and INTCON are for other buses: kept, no more */
	[BCR_IOBASEU] = {.mask = 0xffff},
	[BCR_BSBC] = {.reset = 0x9001, .mask = 0xf360},
	[BCR_SWS] = {.reset = SWS_CSRPCNET, .mask = SWS_APERREN, .stopped = true},
	[BCR_INTCON] = {.mask = 0xffff},
	[BCR_PCILAT] = {.reset = 0xff06, .mask = 0xffff, .stopped = true},
};

/* ---- interrupts, start and stop ---- */

void pcnet_update_irq(struct pcnet *p)
{
	uint16_t c4 = p->csr[4], c5 = p->csr[5];
	uint16_t cause = p->csr[0] & CSR3_MASKS & ~p->csr[3];
	bool irq;

	/* In CSR4 a mask is the bit below its flag (UINT has none); in CSR5 that bit enables. */
	cause |= c4 & CSR4_FLAGS & ~((c4 << 1) & ~CSR4_UINT);
	cause |= c5 & CSR5_FLAGS & (c5 << 1);
	if (cause)
		p->csr[0] |= CSR0_INTR;
	else
		p->csr[0] &= (uint16_t)~CSR0_INTR;
	irq = cause && p->csr[0] & CSR0_IENA;
	if (irq == p->irq)
		return;
	p->irq = irq;
	if (irq)
		counter_add(&p->nic.counters.interrupts, 1);
	pci_intx_set(&p->pci, irq);
}

/* May registers be written that the card itself works with? */
static bool at_rest(const struct pcnet *p)
{
	return p->csr[0] & CSR0_STOP || p->csr[5] & CSR5_SPND;
}

void pcnet_stop(struct pcnet *p)
{
	p->csr[0] = CSR0_STOP;
	p->csr[4] &= (uint16_t)~CSR4_FLAGS;
	p->csr[5] &= (uint16_t) ~(CSR5_FLAGS | CSR5_SPND);
	p->csr[CSR_MFC] = p->csr[CSR_RCVCC] = 0;
	p->init_waits = false;
	pcnet_update_irq(p);
}

void pcnet_master_abort(struct pcnet *p)
{
	counter_add(&p->counters.aborts, 1);
	p->pci.config[PCI_STATUS + 1] |= PCI_STATUS_REC_MASTER_ABORT >> 8;
	pcnet_stop(p);
	p->csr[5] |= CSR5_SINT;
	pcnet_update_irq(p);
}

static void init(struct pcnet *p)
{
	p->init_waits = !pci_may_dma(&p->pci);
	if (p->init_waits)
		return;
	if (pcnet_read_init_block(p))
		p->csr[0] |= CSR0_IDON;
	else
		pcnet_master_abort(p);
}

/* From the beginning of both rings (section Re-Initialization). */
static void start(struct pcnet *p)
{
	uint16_t mode = p->csr[CSR_MODE];

	p->csr[0] |=
		(uint16_t)((mode & CSR15_DTX ? 0 : CSR0_TXON) | (mode & CSR15_DRX ? 0 : CSR0_RXON));
	p->rx_at = p->tx_at = 0;
	p->rx_waits = 0;
	p->tdmd_seen = false;
	pcnet_poll_transmit(p);
}

/* ---- CSRs ---- */

static void csr0_write(struct pcnet *p, uint16_t v)
{
	uint16_t before = p->csr[0];

	p->csr[0] &= (uint16_t) ~(v & CSR0_FLAGS);
	p->csr[0] = (uint16_t)((p->csr[0] & ~CSR0_IENA) | (v & CSR0_IENA));
	if (v & CSR0_STOP) {
		pcnet_stop(p);
		return;
	}
	if (v & (CSR0_INIT | CSR0_STRT)) {
		p->csr[0] &= (uint16_t)~CSR0_STOP;
		p->csr[0] |= v & (CSR0_INIT | CSR0_STRT);
	}
	if (v & CSR0_INIT && !(before & CSR0_INIT))
		init(p);
	if (p->csr[0] & CSR0_STRT && !(before & CSR0_STRT) && !p->init_waits)
		start(p);
	if (v & CSR0_TDMD && p->csr[0] & CSR0_TXON) {
		p->tdmd_seen = true;
		pcnet_poll_transmit(p);
	}
	pcnet_update_irq(p);
	pcnet_poll_receive(p);
}

static uint16_t csr0_read(const struct pcnet *p)
{
	bool err = p->csr[0] & (CSR0_BABL | CSR0_CERR | CSR0_MISS | CSR0_MERR);

	return p->csr[0] | (err ? CSR0_ERR : 0);
}

static void csr4_write(struct pcnet *p, uint16_t v)
{
	uint16_t flags = p->csr[4] & CSR4_FLAGS & (uint16_t)~v;

	if (v & CSR4_UINTCMD)
		flags |= CSR4_UINT;
	p->csr[4] = (uint16_t)((v & CSR4_WRITABLE) | flags);
	pcnet_update_irq(p);
}

static void csr5_write(struct pcnet *p, uint16_t v)
{
	uint16_t flags = p->csr[5] & CSR5_FLAGS & (uint16_t)~v;

	p->csr[5] = (uint16_t)((v & CSR5_WRITABLE) | flags);
	pcnet_update_irq(p);
	if (!(v & CSR5_SPND)) {
		nic_rx_kick(&p->nic);
		pcnet_transmit(p);
	}
}

static void sws_write(struct pcnet *p, uint16_t v)
{
	unsigned int style = v & 0xff;
	uint16_t sws = v & SWS_APERREN;

	switch (style) {
	case SWSTYLE_ILACC:
		sws |= BCR_SSIZE32 | SWSTYLE_ILACC;
		break;
	case SWSTYLE_PCNET_PCI:
	case SWSTYLE_PCNET_PCI2:
		sws |= (uint16_t)(BCR_SSIZE32 | SWS_CSRPCNET | style);
		break;
	default: /* what is reserved is taken for the LANCE's */
		sws |= SWS_CSRPCNET | SWSTYLE_LANCE;
	}
	if (at_rest(p))
		p->bcr[BCR_SWS] = sws;
}

/* A number that counts a ring up: its two's complement length at the first descriptor. */
static uint16_t ring_counter(const struct pcnet *p, uint32_t at, unsigned int length)
{
	return (uint16_t)(at + p->csr[length]);
}

static uint32_t ring_place(const struct pcnet *p, uint16_t counter, unsigned int length)
{
	uint32_t at = (uint16_t)(counter - p->csr[length]);

	return at < pcnet_ring_length(p, length) ? at : 0;
}

/* Addresses of descriptors: the current one and the next. */
static uint32_t csr_descriptor(const struct pcnet *p, unsigned int n)
{
	bool tx = n >= 30;
	uint32_t at = tx ? p->tx_at : p->rx_at;
	uint32_t length = pcnet_ring_length(p, tx ? CSR_XMTRL : CSR_RCVRL);

	if (n == 26 || n == 32)
		at = at + 1 < length ? at + 1 : 0;
	return pcnet_descriptor(p, tx ? CSR_BADX : CSR_BADR, at);
}

static uint16_t csr_read(const struct pcnet *p, unsigned int n)
{
	switch (n) {
	case 0:
		return csr0_read(p);
	case 16: /* IADR again */
	case 17:
		return p->csr[n - 15];
	case 26:
	case 28:
	case 32:
	case 34:
		return (uint16_t)csr_descriptor(p, n);
	case 27:
	case 29:
	case 33:
	case 35:
		return (uint16_t)(csr_descriptor(p, n - 1) >> 16);
	case CSR_SWS:
		return p->bcr[BCR_SWS];
	case CSR_RCVRC:
		return ring_counter(p, p->rx_at, CSR_RCVRL);
	case CSR_XMTRC:
		return ring_counter(p, p->tx_at, CSR_XMTRL);
	case CSR_IDL:
		return (uint16_t)CHIP_ID;
	case CSR_IDL + 1:
		return CHIP_ID >> 16;
	case CSR_TEST:
		return p->csr[4] & CSR4_EN124 ? p->csr[n] : 0;
	default:
		return n < PCNET_CSRS ? p->csr[n] : 0;
	}
}

/* Those that are plain storage, or that the card looks at when it needs them; only at rest. */
static bool csr_stores(unsigned int n)
{
	return n == 1 || n == 2 || (n >= CSR_LADRF && n <= 49) || (n >= 60 && n <= 67) ||
	       n == CSR_RCVRL || n == CSR_XMTRL || n == CSR_DMATC || (n >= 82 && n <= 86) ||
	       n == CSR_BUSTIMER || n == CSR_MFC || n == CSR_RCVCC || n == CSR_RCVALGN;
}

static void csr_write(struct pcnet *p, unsigned int n, uint16_t v)
{
	switch (n) {
	case 0:
		csr0_write(p, v);
		return;
	case 3:
		p->csr[3] = v & CSR3_WRITABLE;
		pcnet_update_irq(p);
		pcnet_poll_receive(p);
		return;
	case 4:
		csr4_write(p, v);
		return;
	case 5:
		csr5_write(p, v);
		return;
	case 16:
	case 17:
		n -= 15;
		break;
	case CSR_SWS:
		sws_write(p, v);
		return;
	case CSR_TEST:
		if (p->csr[4] & CSR4_EN124)
			p->csr[n] = v;
		return;
	default:
		break;
	}
	if (!at_rest(p))
		return;
	if (n == CSR_RCVRC)
		p->rx_at = ring_place(p, v, CSR_RCVRL);
	else if (n == CSR_XMTRC)
		p->tx_at = ring_place(p, v, CSR_XMTRL);
	else if (csr_stores(n))
		p->csr[n] = v;
}

/* ---- BCRs ---- */

/* What the serial EEPROM holds goes into the APROM, if its first 36 bytes sum up to ffh. */
static void eeprom_load(struct pcnet *p)
{
	uint8_t sum = 0;

	for (unsigned int i = 0; i < 18; i++)
		sum += (uint8_t)(p->eeprom.word[i] + (p->eeprom.word[i] >> 8));
	p->bcr[BCR_EECAS] = EECAS_EEDET | (sum == 0xff ? EECAS_PVALID : 0);
	if (sum != 0xff)
		return;
	for (unsigned int i = 0; i < APROM_SIZE / 2; i++)
		pci_put16(p->aprom + 2 * i, p->eeprom.word[i]);
}

static void eecas_write(struct pcnet *p, uint16_t v)
{
	const uint16_t pins = EECAS_EEN | EECAS_ECS | EECAS_ESK | EECAS_EDI;
	bool on = v & EECAS_EEN;

	if (v & EECAS_PREAD && at_rest(p))
		eeprom_load(p);
	p->bcr[BCR_EECAS] = (uint16_t)((p->bcr[BCR_EECAS] & ~pins) | (v & pins));
	eeprom93xx_pins(&p->eeprom, on && v & EECAS_ECS, on && v & EECAS_ESK, on && v & EECAS_EDI);
}

static uint16_t bcr_read(const struct pcnet *p, unsigned int n)
{
	uint16_t v = n < PCNET_BCRS ? p->bcr[n] : 0;

	if (n >= BCR_LNKST && n <= BCR_LED3 && p->nic.link &&
	    (v & LED_LNKSTE || (v & LED_FDLSE && p->bcr[BCR_FDC] & FDC_FDEN)))
		v |= LED_LEDOUT;
	if (n == BCR_EECAS && v & EECAS_EEN)
		v = (uint16_t)((v & ~EECAS_EDI) | (eeprom93xx_out(&p->eeprom) ? EECAS_EDI : 0));
	return v;
}

static void bcr_write(struct pcnet *p, unsigned int n, uint16_t v)
{
	const struct bcr_rule *rule = &bcr_rule[n % PCNET_BCRS];

	if (n >= PCNET_BCRS || (rule->stopped && !at_rest(p)))
		return;
	if (n >= BCR_LNKST && n <= BCR_LED3 && !(p->bcr[BCR_MC] & MC_LEDPE))
		return;
	if (n == BCR_SWS) {
		sws_write(p, v);
		return;
	}
	if (n == BCR_EECAS) {
		eecas_write(p, v);
		return;
	}
	p->bcr[n] = (uint16_t)((p->bcr[n] & ~rule->mask) | (v & rule->mask));
	if (n == BCR_PCILAT)
		pci_put16(p->pci.config + PCI_MIN_GNT, p->bcr[n]);
}

/* ---- resets ---- */

/* S_RESET: reading the Reset register. BCRs stay. */
static void soft_reset(struct pcnet *p)
{
	pcnet_stop(p);
	p->rap = 0;
	p->csr[3] = 0;
	p->csr[4] = CSR4_RESET;
	p->csr[5] = 0;
	p->csr[CSR_MODE] &= CSR15_PORTSEL;
	p->csr[CSR_DMATC] = 0x1410;
	p->csr[CSR_BUSTIMER] = 0x0200;
	p->csr[CSR_RCVALGN] = p->csr[CSR_TEST] = 0;
	for (unsigned int i = 0; i < 3; i++)
		p->csr[CSR_PADR + i] = pci_get16(p->aprom + 2 * i);
	pcnet_update_irq(p);
}

/* The APROM's image (section Address PROM Space), in the EEPROM it is read from. */
static void fill_eeprom(struct pcnet *p)
{
	uint8_t image[36] = {[9] = 0x11 /* hardware id */, [14] = 'W', [15] = 'W'};
	uint16_t sum = 0;
	uint8_t bytes = 0;

	memcpy(image, p->nic.mac, 6);
	for (unsigned int i = 0; i < APROM_SIZE; i++)
		sum += image[i];
	pci_put16(image + 12, sum);
	for (unsigned int i = 0; i < sizeof(image); i++)
		bytes += image[i];
	image[31] = (uint8_t)~bytes;
	eeprom93xx_init(&p->eeprom, 64);
	for (unsigned int i = 0; i < sizeof(image) / 2; i++)
		p->eeprom.word[i] = pci_get16(image + 2 * i);
}

/* H_RESET. */
static void pcnet_reset(struct device *dev)
{
	struct pcnet *p = (struct pcnet *)dev;

	memset(p->csr, 0, sizeof(p->csr));
	for (unsigned int i = 0; i < PCNET_BCRS; i++)
		p->bcr[i] = bcr_rule[i].reset;
	pci_put16(p->pci.config + PCI_MIN_GNT, p->bcr[BCR_PCILAT]);
	p->pci.config[PCI_STATUS + 1] &= (uint8_t) ~(PCI_STATUS_REC_MASTER_ABORT >> 8);
	eeprom93xx_reset(&p->eeprom);
	eeprom_load(p);
	p->rx_at = p->tx_at = 0;
	p->tx_polls = p->rx_waits = 0;
	p->tdmd_seen = false;
	p->n_rx_desc = 0;
	p->irq = false;
	frame_reset(&p->tx);
	soft_reset(p);
	nic_reset(&p->nic);
}

/* ---- I/O and memory space ---- */

static bool dwio(const struct pcnet *p)
{
	return p->bcr[BCR_BSBC] & BSBC_DWIO;
}

/* Which of REG_*; -1: none, or not with this size in this mode. */
static int reg_of(const struct pcnet *p, uint64_t offset, unsigned int size)
{
	unsigned int step = dwio(p) ? 4 : 2;
	uint64_t n = (offset - APROM_SIZE) / step;

	return size == step && n <= REG_BDP ? (int)n : -1;
}

static uint64_t pcnet_read(void *opaque, uint64_t offset, unsigned int size)
{
	struct pcnet *p = opaque;
	uint64_t v = 0;

	if (offset < APROM_SIZE) {
		memcpy(&v, p->aprom + offset, size);
		return v;
	}
	switch (reg_of(p, offset, size)) {
	case REG_RDP:
		return csr_read(p, p->rap);
	case REG_RAP:
		return p->rap;
	case REG_RESET:
		soft_reset(p);
		return 0;
	case REG_BDP:
		return bcr_read(p, p->rap);
	default:
		return 0;
	}
}

static void pcnet_write(void *opaque, uint64_t offset, unsigned int size, uint64_t value)
{
	struct pcnet *p = opaque;

	if (offset < APROM_SIZE) {
		if (p->bcr[BCR_MC] & MC_APROMWE)
			memcpy(p->aprom + offset, &value, size);
		return;
	}
	if (!dwio(p) && offset == APROM_SIZE && size == 4) {
		p->bcr[BCR_BSBC] |= BSBC_DWIO;
		return;
	}
	switch (reg_of(p, offset, size)) {
	case REG_RDP:
		csr_write(p, p->rap, (uint16_t)value);
		break;
	case REG_RAP:
		p->rap = value & 0xff;
		break;
	case REG_BDP:
		bcr_write(p, p->rap, (uint16_t)value);
		break;
	default:
		break;
	}
}

static const struct region_ops pcnet_ops = {
	.read = pcnet_read,
	.write = pcnet_write,
	.min = 1,
	.max = 4,
};

/* ---- the device ---- */

static void pcnet_bus_master_changed(struct pci_device *pci, bool on)
{
	struct pcnet *p = (struct pcnet *)pci;

	if (!on)
		return;
	if (p->init_waits) {
		init(p);
		if (p->csr[0] & CSR0_STRT)
			start(p);
		pcnet_update_irq(p);
	}
	nic_rx_kick(&p->nic);
	pcnet_transmit(p);
}

static const struct nic_ops pcnet_nic_ops = {
	.rx_buffers = pcnet_rx_buffers,
	.rx_frame = pcnet_rx_frame,
	.tx_resume = pcnet_tx_resume,
};

static int pcnet_realize(struct device *dev, struct err *err)
{
	struct pcnet *p = (struct pcnet *)dev;
	int r = nic_realize(&p->nic, dev, &pcnet_nic_ops, err);

	if (r)
		return r;
	pcnet_ring_realize(p);
	fill_eeprom(p);
	p->pci.bus_master_changed = pcnet_bus_master_changed;
	pci_put16(p->pci.config + PCI_STATUS, PCI_STATUS_FAST_BACK | PCI_STATUS_DEVSEL_MEDIUM);
	r = pci_bar_add(&p->pci, 0, PCI_BAR_IO, 32, "pcnet", &pcnet_ops, p);
	if (!r)
		r = pci_bar_add(&p->pci, 1, PCI_BAR_MEM32, 32, "pcnet.mem", &pcnet_ops, p);
	if (!r)
		return 0;
	nic_unrealize(&p->nic);
	return err_set(err, r, "%s: a BAR can't be made", dev->id);
}

static void pcnet_unrealize(struct device *dev)
{
	nic_unrealize(&((struct pcnet *)dev)->nic);
}

static void pcnet_info(struct device *dev, json_t *object)
{
	nic_info(&((struct pcnet *)dev)->nic, object);
}

static const struct counter_desc pcnet_counter_table[] = {
	{"rx-missed", offsetof(struct pcnet_counters, rx_missed),
	 "lost: no descriptor for too long (CSR112)"},
	{"aborts", offsetof(struct pcnet_counters, aborts),
	 "times that a ring or buffer wasn't in RAM, and the card stopped"},
	{0},
};

static void pcnet_visit(struct device *dev, counter_visit *visit, void *opaque)
{
	struct pcnet *p = (struct pcnet *)dev;

	nic_counters(&p->nic, visit, opaque);
	visit(opaque, dev->id, NULL, pcnet_counter_table, &p->counters);
}

static void pcnet_set_link(struct device *dev, bool up)
{
	nic_set_link(&((struct pcnet *)dev)->nic, up);
}

/* The card has no subsystem ids: they read as 0. */
static const struct pci_identity pcnet_identity = {
	.vendor = 0x1022,
	.device = 0x2000,
	.class = 0x020000,
	.revision = 0x10,
	.interrupt_pin = 1,
	.rom = "efi-pcnet.rom",
};

static const struct device_model pcnet_model = {
	.name = "pcnet",
	.help = "AMD Am79C970A PCnet-PCI II, 10 Mbit/s",
	.size = sizeof(struct pcnet),
	.opts = {{pci_device_opts, 0}, {nic_opts, offsetof(struct pcnet, nic)}},
	.pci = &pcnet_identity,
	.nic = "pcnet",
	.nic_rank = 7,
	.realize = pcnet_realize,
	.reset = pcnet_reset,
	.unrealize = pcnet_unrealize,
	.info = pcnet_info,
	.counters = pcnet_visit,
	.set_link = pcnet_set_link,
};

DEVICE_MODEL(pcnet_model);
