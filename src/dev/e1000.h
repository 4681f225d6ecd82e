/*
 * The 82540EM's own parts, shared by its files and nobody else:
 *
 *	e1000.c      the model: registers, interrupts, statistics, reset
 *	e1000_phy.c  MDIC and the PHY behind it, link, EEPROM
 *	e1000_rx.c   the receive ring: filter, checksums, VLAN tags
 *	e1000_tx.c   the transmit ring: contexts, offloads
 *
 * Everything runs under the device's lock; dev/nic.h says on which threads.
 */
#ifndef VIREO_DEV_E1000_H
#define VIREO_DEV_E1000_H

#include "bus/pci.h"
#include "bus/posted.h"
#include "dev/e1000_regs.h"
#include "dev/eeprom93xx.h"
#include "dev/mii.h"
#include "dev/moderation.h"
#include "dev/nic.h"

#define E1000_RA_ENTRIES 16
#define E1000_TABLE	 128   /* words of MTA, VFTA */
#define E1000_RX_SLOTS	 64    /* descriptors that one frame can take */
#define E1000_RX_LONGEST 16384 /* bytes, with FCS: the largest buffer (§3.2.2) */

/* A descriptor ring, §3.2.6 and §3.4: registers, and where it is. */
struct e1000_ring {
	uint32_t bal, bah, len, head, tail;
	uint64_t *desc; /* two words a descriptor; NULL: not in RAM, or of length 0. Derived */
	uint32_t n;	/* descriptors. Derived */
};

/* RDTR/RADV and TIDV/TADV, §13.4.30 and following: a cause that waits until nothing has asked for
 * it for a while, or the first one has waited for long. */
struct e1000_delay {
	struct nic_timer timer; /* first */
	uint32_t cause;
	uint64_t first_ns, due_ns; /* due_ns 0: nothing waits */
};

/* A TCP/IP context, §3.3.6 */
struct e1000_context {
	uint8_t ipcss, ipcso, tucss, tucso, tucmd, hdrlen;
	uint16_t ipcse, tucse, mss;
};

/* The frame that is being put together, or waits for room. */
struct e1000_tx {
	struct e1000_context normal, tso;
	bool open;    /* its first descriptor has been read */
	bool waiting; /* it is complete, and the back end is full */
	bool data;    /* data descriptors, not legacy ones */
	bool tse;
	bool early; /* one before the last wants to be reported */
	uint8_t popts, css, cso;
	uint8_t cmd;	   /* of the descriptor that IFCS and VLE count of */
	uint8_t last_cmd;  /* of the last descriptor */
	uint16_t special;  /* goes with cmd */
	uint32_t first;	   /* index of its first descriptor */
	uint32_t segments; /* that it will be on the wire */
	uint32_t header_len;
	bool report, report_later; /* in this round: TXDW, at once or delayed */
	struct net_hdr hdr;
	struct frame frame;
};

struct e1000_rx {
	uint32_t slots;		       /* descriptors that were offered, from head on */
	uint32_t slot[E1000_RX_SLOTS]; /* bytes of each; 0: it has no buffer */
	size_t room;
	uint32_t bsize; /* bytes of a buffer, from RCTL. Derived */
	size_t longest; /* bytes of the longest frame, with FCS. Derived */
};

/* §13.7. The order is that of the registers; 64-bit ones take two. */
struct e1000_stats {
	uint32_t reg[(E1000_STATS_END - E1000_STATS) / 4];
	uint64_t gorc, gotc, tor, tot;
	uint64_t latch[4]; /* of these, as it was when the lower half was read */
	bool latched[4];
};

struct e1000 {
	struct pci_device pci; /* first */
	struct nic nic;

	uint32_t ctrl, ctrl_ext, eecd, eerd, mdic;
	uint32_t fcal, fcah, fct, vet, fcttv, txcw, fcrtl, fcrth;
	uint32_t icr, ims, itr;
	uint32_t rctl, tctl, tipg, aifs, ledctl, pba;
	uint32_t rdfh, rdft, rdfhs, rdfts, rdfpc, tdfh, tdft, tdfhs, tdfts, tdfpc;
	uint32_t rdtr, rxdctl, radv, rsrpd, txdmac, tidv, txdctl, tadv, tspmt, rxcsum;
	uint32_t wuc, wufc, manc, ipav;
	uint32_t mta[E1000_TABLE], vfta[E1000_TABLE], ra[2 * E1000_RA_ENTRIES];
	uint32_t ip4at[4], ip6at[4], fflt[4], ffmt[128], ffvt[128];
	uint32_t ioaddr; /* of the I/O BAR */
	struct e1000_ring tx_ring, rx_ring;
	struct e1000_stats stats;
	struct eeprom93xx eeprom;
	struct mii mii;
	uint16_t phy[16]; /* registers 16 to 31 */

	bool link_up;	   /* as the MAC sees it, and the driver knows */
	bool asserted;	   /* INTx */
	bool looping;	   /* the frame that is being received is its own */
	uint16_t ra_valid; /* entries with AV. Derived */
	struct moderation moderation;
	struct e1000_delay rx_delay, tx_delay;
	struct e1000_tx tx;
	struct e1000_rx rx;
	struct posted posted;

	/* options */
	bool opt_fcs, opt_posted;
};

static inline struct e1000 *e1000_of(struct nic *nic)
{
	return (struct e1000 *)nic->dev;
}

/* A frame that is sent comes back in: §13.4.22 RCTL.LBM, or the PHY's control register. */
static inline bool e1000_loopback(const struct e1000 *e)
{
	return RCTL_LBM(e->rctl) == RCTL_LBM_MAC || e->mii.reg[MII_BMCR] & BMCR_LOOPBACK;
}

/* Head and tail are in it, and there is something between them. */
static inline bool e1000_ring_has(const struct e1000_ring *r)
{
	return r->desc && r->head != r->tail && r->head < r->n && r->tail < r->n;
}

static inline void e1000_ring_next(struct e1000_ring *r)
{
	if (++r->head == r->n)
		r->head = 0;
}

/* Descriptors from head to tail. */
static inline uint32_t e1000_ring_left(const struct e1000_ring *r)
{
	return r->tail >= r->head ? r->tail - r->head : r->tail + r->n - r->head;
}

/* ---- e1000.c ---- */

/* Sets bits of ICR, and the interrupt that comes of it. */
void e1000_cause(struct e1000 *e, uint32_t bits);
/* The same, later: packet and absolute in units of 1.024 us (absolute 0: none). */
void e1000_delay_start(struct e1000_delay *d, uint32_t packet, uint32_t absolute);
void e1000_delay_stop(struct e1000_delay *d);
/* Counts in a 32-bit statistics register, which sticks at its highest value. */
static inline void e1000_count(struct e1000 *e, uint32_t offset, uint32_t n)
{
	uint32_t *v = &e->stats.reg[(offset - E1000_STATS) / 4];

	*v = *v + n < n ? UINT32_MAX : *v + n;
}
/* The registers for a frame's length: base is PRC64 or PTC64, len is with FCS. */
void e1000_count_size(struct e1000 *e, uint32_t base, size_t len, uint32_t n);

/* ---- e1000_phy.c ---- */

/* Power-on state of the PHY. In reset. */
void e1000_phy_init(struct e1000 *e);
/* In realize: the EEPROM, as it leaves the factory with nic.mac in it. */
void e1000_eeprom_init(struct e1000 *e);
/* The PHY after CTRL.PHY_RST or power-on. */
void e1000_phy_reset(struct e1000 *e);
void e1000_mdic_write(struct e1000 *e, uint32_t value);
/* What the EEPROM presets: station address. */
void e1000_eeprom_load(struct e1000 *e);
uint32_t e1000_eecd_read(const struct e1000 *e);
void e1000_eecd_write(struct e1000 *e, uint32_t value);
void e1000_eerd_write(struct e1000 *e, uint32_t value);
uint32_t e1000_status(const struct e1000 *e);
/* struct nic_ops */
void e1000_link_changed(struct nic *nic);

/* ---- e1000_rx.c ---- */

/* RCTL was written. */
void e1000_rx_setup(struct e1000 *e);
/* struct nic_ops */
int e1000_rx_buffers(struct nic *nic, struct iovec *iov, int max);
void e1000_rx_frame(struct nic *nic, struct nic_rx *rx);

/* ---- e1000_tx.c ---- */

/* Sends what there is, up to NIC_TX_BURST frames; the rest later. */
void e1000_tx_run(struct e1000 *e);
/* struct nic_ops */
void e1000_tx_resume(struct nic *nic);
/* The frame that was begun, or waits, is forgotten. */
void e1000_tx_drop(struct e1000 *e);

#endif
