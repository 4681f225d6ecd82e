/*
 * 82540EM: PHY, link and EEPROM. 317453 §13.4.8 (MDIC), chapter 11 and §13.6 (PHY), §5 and §13.4.3
 * (EEPROM).
 *
 * The PHY is a Marvell 88E1011 at MDI address 1: the registers of IEEE 802.3 are dev/mii.h's, the
 * ones from 16 on are here. Negotiation takes no time. A real one takes two seconds; Linux's driver
 * looks at the link when it has set the card up, and if there is none it looks again two seconds
 * later, whatever interrupts say meanwhile. So a link that is up at once is up two seconds earlier.
 * LSC comes whenever it is negotiated anew.
 *
 * The EEPROM is a 93C46: 64 words, reached by EERD or over its four pins in EECD. What a driver
 * writes there stays for as long as the card does. Words that the manual gives no meaning are as
 * erased.
 *
 * STATUS.LU follows the PHY with or without CTRL.SLU, which a driver of the real card has to set.
 */
#include "dev/e1000.h"

#define PHY_ADDRESS 1
#define PHY_ID1	    0x0141 /* Marvell's */
#define PHY_ID2	    0x0c20 /* 88E1011 */

/* §13.6, registers of the PHY's maker */
enum {
	PHY_FIRST = 16,
	PHY_PSCON = 16,
	PHY_PSSTAT = 17,
	PHY_PINTE = 18,
	PHY_PINTS = 19,
	PHY_EPSCON1 = 20,
	PHY_PREC = 21,
};

#define PSCON_RESET    0x0068 /* automatic crossover, CRS as it is */
#define EPSCON1_RESET  0x0d60
#define PSSTAT_SPEED   14
#define PSSTAT_FD      (1u << 13)
#define PSSTAT_SETTLED (1u << 11)
#define PSSTAT_LINK    (1u << 10)

/* Chapter 5: words of the EEPROM */
enum {
	EE_INIT1 = 0x0a,
	EE_SUBSYSTEM = 0x0b,
	EE_SUBVENDOR = 0x0c,
	EE_DEVICE = 0x0d,
	EE_VENDOR = 0x0e,
	EE_INIT2 = 0x0f,
	EE_INIT3 = 0x24,
	EE_CHECKSUM = 0x3f,
	EE_WORDS = 64,
};

#define EE_SUM	   0xbaba /* of all 64 words */
#define EE_INIT1_V 0x4403 /* valid; full duplex; ids and subsystem ids are loaded */
#define EE_INIT2_V 0x3000 /* PAUSE in both directions */

/* ---- link ---- */

/* Tells the driver; again: it went down in between. */
static void link_update(struct e1000 *e, bool again)
{
	bool up = mii_state(&e->mii).up;

	if (up == e->link_up && !(again && up))
		return;
	e->link_up = up;
	if (up)
		nic_rx_kick(&e->nic);
	e1000_cause(e, ICR_LSC);
}

void e1000_link_changed(struct nic *nic)
{
	struct e1000 *e = e1000_of(nic);

	mii_set_link(&e->mii, nic->link);
	link_update(e, false);
	nic_rx_kick(nic);
}

static uint32_t speed_bits(unsigned int speed)
{
	return speed == 1000 ? 2 : speed == 100 ? 1 : 0;
}

/* §13.4.2 */
uint32_t e1000_status(const struct e1000 *e)
{
	struct mii_link link = mii_state(&e->mii);
	uint32_t speed = speed_bits(link.speed), status = 0;
	bool full = link.full_duplex;

	if (e->ctrl & CTRL_FRCDPX)
		full = e->ctrl & CTRL_FD;
	if (link.up)
		status |= STATUS_LU | speed << STATUS_ASDV_SHIFT;
	if (e->ctrl & CTRL_FRCSPD)
		speed = CTRL_SPEED(e->ctrl);
	return status | speed << STATUS_SPEED_SHIFT | (full ? STATUS_FD : 0);
}

/* ---- PHY ---- */

static void phy_registers_reset(struct e1000 *e)
{
	for (unsigned int i = 0; i < 16; i++)
		e->phy[i] = 0;
	e->phy[PHY_PSCON - PHY_FIRST] = PSCON_RESET;
	e->phy[PHY_EPSCON1 - PHY_FIRST] = EPSCON1_RESET;
}

void e1000_phy_init(struct e1000 *e)
{
	mii_init(&e->mii, PHY_ID1, PHY_ID2, true);
	phy_registers_reset(e);
	mii_set_link(&e->mii, e->nic.link);
	e->link_up = mii_state(&e->mii).up;
}

void e1000_phy_reset(struct e1000 *e)
{
	mii_reset(&e->mii);
	phy_registers_reset(e);
	link_update(e, true);
}

static uint16_t phy_status(const struct e1000 *e)
{
	struct mii_link link = mii_state(&e->mii);

	if (!link.up)
		return 0;
	return (uint16_t)(speed_bits(link.speed) << PSSTAT_SPEED |
			  (link.full_duplex ? PSSTAT_FD : 0) | PSSTAT_SETTLED | PSSTAT_LINK);
}

static uint16_t phy_read(struct e1000 *e, unsigned int reg)
{
	if (reg < PHY_FIRST)
		return mii_read(&e->mii, reg);
	if (reg == PHY_PSSTAT)
		return phy_status(e);
	return e->phy[reg - PHY_FIRST];
}

static void phy_write(struct e1000 *e, unsigned int reg, uint16_t value)
{
	bool again = reg == MII_BMCR && value & (BMCR_RESET | BMCR_ANRESTART);

	if (reg < PHY_FIRST) {
		mii_write(&e->mii, reg, value);
		/* The PHY's own settings survive BMCR_RESET. */
		link_update(e, again);
	} else if (reg != PHY_PSSTAT && reg != PHY_PINTS && reg != PHY_PREC) {
		e->phy[reg - PHY_FIRST] = value;
	}
}

/* An access is over at once. */
void e1000_mdic_write(struct e1000 *e, uint32_t value)
{
	unsigned int reg = value >> 16 & 0x1f, op = value >> 26 & 3;

	e->mdic = (value & ~(MDIC_READY | MDIC_ERROR)) & 0x3fffffff;
	if ((value >> 21 & 0x1f) != PHY_ADDRESS || (op != MDIC_OP_READ && op != MDIC_OP_WRITE))
		e->mdic |= MDIC_ERROR;
	else if (op == MDIC_OP_READ)
		e->mdic = (e->mdic & 0xffff0000) | phy_read(e, reg);
	else
		phy_write(e, reg, (uint16_t)value);
	e->mdic |= MDIC_READY;
	if (value & MDIC_INT)
		e1000_cause(e, ICR_MDAC);
}

/* ---- EEPROM ---- */

void e1000_eeprom_init(struct e1000 *e)
{
	const struct pci_identity *id = e->pci.dev.model->pci;
	uint16_t *word = e->eeprom.word, sum = 0;

	eeprom93xx_init(&e->eeprom, EE_WORDS);
	for (unsigned int i = 0; i < 3; i++)
		word[i] = (uint16_t)(e->nic.mac[2 * i] | e->nic.mac[2 * i + 1] << 8);
	word[EE_INIT1] = EE_INIT1_V;
	word[EE_SUBSYSTEM] = id->subsystem;
	word[EE_SUBVENDOR] = id->subsystem_vendor;
	word[EE_DEVICE] = id->device;
	word[EE_VENDOR] = id->vendor;
	word[EE_INIT2] = EE_INIT2_V;
	word[EE_INIT3] = 0; /* no wake-up by magic packets */
	for (unsigned int i = 0; i < EE_CHECKSUM; i++)
		sum = (uint16_t)(sum + word[i]);
	word[EE_CHECKSUM] = (uint16_t)(EE_SUM - sum);
}

void e1000_eeprom_load(struct e1000 *e)
{
	const uint16_t *word = e->eeprom.word;

	e->ra[0] = word[0] | (uint32_t)word[1] << 16;
	e->ra[1] = word[2] | RAH_AV;
	e->ra_valid |= 1;
}

uint32_t e1000_eecd_read(const struct e1000 *e)
{
	uint32_t value = e->eecd | EECD_PRES;

	if (e->eecd & EECD_REQ)
		value |= EECD_GNT; /* nobody else wants it */
	if (eeprom93xx_out(&e->eeprom))
		value |= EECD_DO;
	return value;
}

void e1000_eecd_write(struct e1000 *e, uint32_t value)
{
	e->eecd = value & (EECD_SK | EECD_CS | EECD_DI | EECD_FWE | EECD_REQ);
	eeprom93xx_pins(&e->eeprom, value & EECD_CS, value & EECD_SK, value & EECD_DI);
}

/* §13.4.4: address in bits 15:8, data in 31:16; done at once. */
void e1000_eerd_write(struct e1000 *e, uint32_t value)
{
	uint8_t address = (uint8_t)(value >> 8);

	e->eerd = value & 0xff00;
	if (value & EERD_START)
		e->eerd |= EERD_DONE | (uint32_t)e->eeprom.word[address % EE_WORDS] << 16;
}
