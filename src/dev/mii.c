/*
 * The PHY behind a NIC's MII: IEEE 802.3 clause 22.2.4 (registers 0, 1, 15), 28.2.4 (4 to 8) and
 * 40.5.1 (9, 10).
 *
 * Negotiation happens at a moment (cable in, reset, enabled, restarted), and what the driver
 * advertised then is kept: what it writes to ANAR later counts when it restarts, as on the wire.
 * The partner offers all there is, so the result is the best of what this side offered; if it
 * offered nothing, there is no link. Without negotiation the partner follows whatever BMCR forces.
 *
 * Whoever holds the device's lock. Not here: next pages (register 7 keeps what is written), test
 * modes, and the time that a real one takes.
 */
#include "dev/mii.h"

#include <string.h>

#define BMSR_ABILITIES \
	(BMSR_100FULL | BMSR_100HALF | BMSR_10FULL | BMSR_10HALF | BMSR_ANEGCAPABLE | BMSR_ERCAP)
#define PARTNER_LPA \
	(ADVERTISE_CSMA | ADVERTISE_ALL | ADVERTISE_PAUSE_CAP | ADVERTISE_PAUSE_ASYM | LPA_LPACK)
#define PARTNER_1000 (LPA_1000LOCALRXOK | LPA_1000REMRXOK | LPA_1000FULL | LPA_1000HALF)

static bool has_partner(const struct mii *mii)
{
	return mii->link && !(mii->reg[MII_BMCR] & (BMCR_PDOWN | BMCR_ISOLATE));
}

static bool negotiated(const struct mii *mii)
{
	return has_partner(mii) && mii->reg[MII_BMCR] & BMCR_ANENABLE;
}

static void negotiate(struct mii *mii)
{
	mii->offered = mii->reg[MII_ADVERTISE];
	mii->offered_1000 = mii->reg[MII_CTRL1000];
}

/* 802.3 annex 28B.3: the order of precedence. */
static struct mii_link best_of(uint16_t offered, uint16_t offered_1000)
{
	if (offered_1000 & (ADVERTISE_1000FULL | ADVERTISE_1000HALF))
		return (struct mii_link){true, offered_1000 & ADVERTISE_1000FULL, 1000};
	if (offered & (ADVERTISE_100FULL | ADVERTISE_100HALF))
		return (struct mii_link){true, offered & ADVERTISE_100FULL, 100};
	if (offered & (ADVERTISE_10FULL | ADVERTISE_10HALF))
		return (struct mii_link){true, offered & ADVERTISE_10FULL, 10};
	return (struct mii_link){false, false, 10};
}

/* BMCR's bit 6 and 13 are one number: 1000, 100, 10; both set is reserved and taken as 1000. */
static struct mii_link forced(uint16_t bmcr)
{
	unsigned int speed = bmcr & BMCR_SPEED1000 ? 1000 : bmcr & BMCR_SPEED100 ? 100 : 10;

	return (struct mii_link){true, bmcr & BMCR_FULLDPLX, speed};
}

struct mii_link mii_state(const struct mii *mii)
{
	uint16_t bmcr = mii->reg[MII_BMCR];
	struct mii_link link;

	if (bmcr & BMCR_ANENABLE)
		link = best_of(mii->offered, mii->offered_1000);
	else
		link = forced(bmcr);
	link.up = bmcr & BMCR_LOOPBACK || (has_partner(mii) && link.up);
	return link;
}

void mii_init(struct mii *mii, uint16_t id1, uint16_t id2, bool gigabit)
{
	*mii = (struct mii){.id1 = id1, .id2 = id2, .gigabit = gigabit};
	mii_reset(mii);
}

void mii_reset(struct mii *mii)
{
	memset(mii->reg, 0, sizeof(mii->reg));
	mii->reg[MII_BMCR] =
		BMCR_ANENABLE | BMCR_FULLDPLX | (mii->gigabit ? BMCR_SPEED1000 : BMCR_SPEED100);
	mii->reg[MII_ADVERTISE] = ADVERTISE_CSMA | ADVERTISE_ALL;
	if (mii->gigabit) {
		mii->reg[MII_ADVERTISE] |= ADVERTISE_PAUSE_CAP | ADVERTISE_PAUSE_ASYM;
		mii->reg[MII_CTRL1000] = ADVERTISE_1000FULL | ADVERTISE_1000HALF;
	}
	mii->latched_down = false;
	negotiate(mii);
}

static uint16_t read_status(struct mii *mii)
{
	struct mii_link link = mii_state(mii);
	uint16_t value = BMSR_ABILITIES | (mii->gigabit ? BMSR_ESTATEN : 0);

	if (negotiated(mii))
		value |= BMSR_ANEGCOMPLETE;
	if (link.up && !mii->latched_down)
		value |= BMSR_LSTATUS;
	mii->latched_down = false;
	return value;
}

uint16_t mii_read(struct mii *mii, unsigned int reg)
{
	switch (reg) {
	case MII_BMSR:
		return read_status(mii);
	case MII_PHYSID1:
		return mii->id1;
	case MII_PHYSID2:
		return mii->id2;
	case MII_LPA:
		return negotiated(mii) ? PARTNER_LPA : 0;
	case MII_EXPANSION:
		return negotiated(mii) ? EXPANSION_NWAY : 0;
	case MII_STAT1000:
		return mii->gigabit && negotiated(mii) ? PARTNER_1000 : 0;
	case MII_ESTATUS:
		return mii->gigabit ? ESTATUS_1000_TFULL | ESTATUS_1000_THALF : 0;
	default:
		return reg < 16 ? mii->reg[reg] : 0;
	}
}

static void write_control(struct mii *mii, uint16_t value)
{
	uint16_t old = mii->reg[MII_BMCR];
	uint16_t keep = BMCR_LOOPBACK | BMCR_SPEED100 | BMCR_ANENABLE | BMCR_PDOWN | BMCR_ISOLATE |
			BMCR_FULLDPLX | BMCR_CTST | (mii->gigabit ? BMCR_SPEED1000 : 0);

	if (value & BMCR_RESET) {
		mii_reset(mii);
		return;
	}
	mii->reg[MII_BMCR] = value & keep;
	/* Negotiation starts over when it is told to, switched on, or when the PHY wakes. */
	if (value & BMCR_ANENABLE && (value & BMCR_ANRESTART || !(old & BMCR_ANENABLE) ||
				      old & ~value & (BMCR_PDOWN | BMCR_ISOLATE)))
		negotiate(mii);
}

bool mii_write(struct mii *mii, unsigned int reg, uint16_t value)
{
	struct mii_link old = mii_state(mii), new;

	switch (reg) {
	case MII_BMCR:
		write_control(mii, value);
		break;
	case MII_ADVERTISE:
		mii->reg[reg] = value & ~ADVERTISE_LPACK;
		break;
	case MII_CTRL1000:
		if (mii->gigabit)
			mii->reg[reg] = value;
		break;
	case 7: /* next page transmit */
		mii->reg[reg] = value & ~ADVERTISE_LPACK;
		break;
	}
	new = mii_state(mii);
	if (old.up && !new.up)
		mii->latched_down = true;
	return old.up != new.up || old.speed != new.speed || old.full_duplex != new.full_duplex;
}

void mii_set_link(struct mii *mii, bool up)
{
	bool was_up = mii_state(mii).up;

	if (up && !mii->link)
		negotiate(mii);
	mii->link = up;
	if (was_up && !mii_state(mii).up)
		mii->latched_down = true;
}
