/*
 * The PHY behind a NIC's MII: the management registers of IEEE 802.3 clause 22.2.4 (and 28 for
 * auto-negotiation), for 10/100 and 1000BASE-T cards.
 *
 * The link partner offers everything, so negotiation ends with the best that both have. It takes no
 * time unless the model says so (a card whose driver waits for it does that with a timer of its
 * own). Registers 16 and up are the maker's: a model handles those before it asks here. Whoever
 * holds the device's lock.
 */
#ifndef VIREO_DEV_MII_H
#define VIREO_DEV_MII_H

#include <stdbool.h>
#include <stdint.h>

#include <linux/mii.h>

struct mii {
	uint16_t reg[32];
	uint16_t id1, id2;
	bool gigabit;
	bool link;	   /* cable */
	bool latched_down; /* BMSR's link status latches low until it is read */
	/* ANAR and 1000BASE-T control as they were when it was last negotiated */
	uint16_t offered, offered_1000;
};

/* Speeds in Mbit/s. */
struct mii_link {
	bool up, full_duplex;
	unsigned int speed;
};

/* id1, id2: PHYSID1 and PHYSID2. Registers as after power-on, auto-negotiation on. */
void mii_init(struct mii *mii, uint16_t id1, uint16_t id2, bool gigabit);
void mii_reset(struct mii *mii); /* BMCR_RESET, or power-on: the cable stays as it is */
uint16_t mii_read(struct mii *mii, unsigned int reg);
/* BMCR_RESET and BMCR_ANRESTART clear themselves at once. Read-only bits and registers keep.
 * Returns true if the link's state or speed changed by it. */
bool mii_write(struct mii *mii, unsigned int reg, uint16_t value);
void mii_set_link(struct mii *mii, bool up);
/* What the link is at now: resolved from both sides' abilities, or forced by BMCR; down while
 * BMCR has PDOWN or ISOLATE. Loopback (BMCR_LOOPBACK) counts as up. */
struct mii_link mii_state(const struct mii *mii);

#endif
