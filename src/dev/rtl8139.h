/*
 * The RTL8139C+: what rtl8139.c (registers), rtl8139_classic.c and rtl8139_cplus.c (the two modes) and
 * rtl8139_posted.c (emulation without exits) share.
 * Sources: Realtek, "RTL8139C(L)+" data sheet, rev. 1.6 (sections 6: registers, 9: C+ descriptors), and
 * "RTL8139D(L)", rev. 1.3, section 5. Registers and their bits have the names of those.
 */
#ifndef VIREO_DEV_RTL8139_H
#define VIREO_DEV_RTL8139_H

#include "bus/pci.h"
#include "bus/posted.h"
#include "dev/eeprom93xx.h"
#include "dev/eth_filter.h"
#include "dev/mii.h"
#include "dev/nic.h"

enum {
	REG_IDR = 0x00,
	REG_MAR = 0x08,
	REG_TSD = 0x10,	  /* classic: 4 words */
	REG_DTCCR = 0x10, /* C+: 64 bits, at the same place */
	REG_TSAD = 0x20,  /* classic: TSAD0-3 */
	REG_TNPDS = 0x20, /* C+ */
	REG_THPDS = 0x28, /* C+ */
	REG_RBSTART = 0x30,
	REG_CR = 0x37,
	REG_CAPR = 0x38,
	REG_CBR = 0x3a,
	REG_IMR = 0x3c,
	REG_ISR = 0x3e,
	REG_TCR = 0x40,
	REG_RCR = 0x44,
	REG_TCTR = 0x48,
	REG_MPC = 0x4c,
	REG_9346CR = 0x50,
	REG_CONFIG0 = 0x51,
	REG_CONFIG1 = 0x52,
	REG_TIMERINT = 0x54,
	REG_MSR = 0x58,
	REG_CONFIG3 = 0x59,
	REG_CONFIG4 = 0x5a,
	REG_MULINT = 0x5c,
	REG_RERID = 0x5e,
	REG_TSAD_SUMMARY = 0x60, /* "TSAD", transmit status of all descriptors */
	REG_BMCR = 0x62,
	REG_BMSR = 0x64,
	REG_ANAR = 0x66,
	REG_ANLPAR = 0x68,
	REG_ANER = 0x6a,
	REG_NWAYTR = 0x70,
	REG_CSCR = 0x74,
	REG_PHY1_PARM = 0x78,
	REG_TW_PARM = 0x7c,
	REG_PHY2_PARM = 0x80,
	REG_CRC = 0x84,
	REG_WAKEUP = 0x8c,
	REG_LSBCRC = 0xcc,
	REG_FLASH = 0xd4,
	REG_CONFIG5 = 0xd8,
	REG_TPPOLL = 0xd9,
	REG_CPCR = 0xe0,
	REG_RDSAR = 0xe4,
	REG_ETTHR = 0xec,
	REG_END = 0x100,
};

enum {
	CR_RST = 0x10,
	CR_RE = 0x08,
	CR_TE = 0x04,
	CR_BUFE = 0x01,
};

/* IMR, ISR */
enum {
	INT_SERR = 0x8000,
	INT_TIMEOUT = 0x4000,
	INT_LENCHG = 0x2000,
	INT_SWINT = 0x0100, /* C+ */
	INT_TDU = 0x0080,   /* C+ */
	INT_FOVW = 0x0040,
	INT_PUN = 0x0020,   /* "PUN/LinkChg": the link's state changed */
	INT_RXOVW = 0x0010, /* C+: RDU, no receive descriptor */
	INT_TER = 0x0008,
	INT_TOK = 0x0004,
	INT_RER = 0x0002,
	INT_ROK = 0x0001,
	INT_CLASSIC = 0xe07f,
	INT_CPLUS = 0xe1ff,
};

enum {
	TCR_LBK = 3 << 17, /* both: loopback */
	RCR_RBLEN_SHIFT = 11,
	RCR_WRAP = 0x80,
	RCR_AB = 0x08,
	RCR_AM = 0x04,
	RCR_APM = 0x02,
	RCR_AAP = 0x01,
};

enum {
	CPCR_RXVLAN = 0x40,
	CPCR_RXCHKSUM = 0x20,
	CPCR_CPRX = 0x02,
	CPCR_CPTX = 0x01,
};

enum {
	TPPOLL_HPQ = 0x80,
	TPPOLL_NPQ = 0x40,
	TPPOLL_FSWINT = 0x01,
};

/* Bytes, FCS included: a frame that is longer is an error (RSR LONG, RWT). */
#define RTL8139_RX_MAX 4096
/* Bytes that a frame may have at most on an ordinary cable: 1500 of payload, tag and FCS included. With
 * less room than that a receiver waits, so that nothing is lost. */
#define RTL8139_RX_USUAL 1522

/* A ring has 64 descriptors at most (data sheet, section 9). */
#define RTL8139_RING 64

/* The 13 tally counters as DTCCR dumps them, little-endian (data sheet, section 6, DTCCR). */
struct rtl8139_tally {
	uint64_t tx_ok, rx_ok, tx_er;
	uint32_t rx_er;
	uint16_t miss_pkt, fae;
	uint32_t tx_1col, tx_mcol;
	uint64_t rx_ok_phy, rx_ok_brd;
	uint32_t rx_ok_mul;
	uint16_t tx_abt, tx_undrn;
} __attribute__((packed));

/* A descriptor that is part of the frame in hand. */
struct rtl8139_slot {
	uint32_t *desc; /* in guest memory */
	uint32_t opts1; /* as it was read */
	uint8_t next;	/* the one that follows */
};

/* The C+ transmitter: one frame at a time, from either queue. */
struct rtl8139_tx {
	uint8_t polled;	      /* TPPOLL_HPQ, TPPOLL_NPQ: queues to look at */
	uint8_t index[2];     /* next descriptor of the normal and of the high priority queue */
	bool waiting;	      /* `frame` is to be sent when there is room */
	unsigned int n_slots; /* what it came from; 0: nobody wants to know any more */
	unsigned int queue;
	struct net_hdr hdr;
	struct rtl8139_slot slot[RTL8139_RING];
};

struct rtl8139 {
	struct pci_device pci; /* first */
	struct nic nic;
	bool opt_cplus, opt_posted;

	uint8_t reg[REG_END]; /* what the driver reads; TCTR apart */
	struct eeprom93xx eeprom;
	struct mii mii;
	struct rtl8139_tally tally;
	uint64_t timer_base_ns; /* when TCTR was 0; relaxed atomics */
	struct nic_timer timer;

	unsigned int tx_next; /* classic: the descriptor that is sent next */
	struct frame frame;   /* being put together, or tx.waiting */
	struct rtl8139_tx tx;

	uint8_t rx_index; /* C+ */
	unsigned int n_rx_slots;
	struct rtl8139_slot rx_slot[RTL8139_RING];
	unsigned int unserved;	   /* writes to ISR that left what interrupts */
	struct nic_timer irq_held; /* runs: no interrupt until then */
	bool rx_dry;		   /* found no receive descriptor, and said so */
	uint64_t rx_retry_ns;
	unsigned int rx_between; /* frames since it was waited for room last */
	struct nic_timer rx_retry;

	struct eth_filter filter; /* from IDR, MAR and RCR */

	/* rtl8139_posted.c's */
	struct posted posted;
	int shadow;	 /* of reg[]; -1: none */
	bool timer_used; /* since the last reset */
	enum posted_mode mode;
	struct loop_poller ticker;
	struct bus_doorbell bell; /* TPPoll */
	struct loop_fd bell_fd;
	bool bell_up, bell_rests;
	unsigned int bells, bells_late; /* since it was judged last */
	uint64_t bell_received;		/* frames by then */
	unsigned int polls;		/* while it rests: exits, since: */
	uint64_t polls_since, bell_rest_ns, bell_rests_until;
};

static inline uint16_t rtl8139_get16(const struct rtl8139 *r, unsigned int reg)
{
	return pci_get16(r->reg + reg);
}

static inline uint32_t rtl8139_get32(const struct rtl8139 *r, unsigned int reg)
{
	return pci_get32(r->reg + reg);
}

static inline uint64_t rtl8139_get64(const struct rtl8139 *r, unsigned int reg)
{
	return rtl8139_get32(r, reg) | (uint64_t)rtl8139_get32(r, reg + 4) << 32;
}

static inline void rtl8139_put8(struct rtl8139 *r, unsigned int reg, uint8_t value)
{
	r->reg[reg] = value;
	if (r->shadow >= 0)
		posted_shadow_set(&r->posted, r->shadow, reg, 1, value);
}

static inline void rtl8139_put16(struct rtl8139 *r, unsigned int reg, uint16_t value)
{
	pci_put16(r->reg + reg, value);
	if (r->shadow >= 0)
		posted_shadow_set(&r->posted, r->shadow, reg, 2, value);
}

static inline void rtl8139_put32(struct rtl8139 *r, unsigned int reg, uint32_t value)
{
	pci_put32(r->reg + reg, value);
	if (r->shadow >= 0)
		posted_shadow_set(&r->posted, r->shadow, reg, 4, value);
}

static inline bool rtl8139_cplus_rx(const struct rtl8139 *r)
{
	return r->reg[REG_CPCR] & CPCR_CPRX;
}

static inline bool rtl8139_cplus_tx(const struct rtl8139 *r)
{
	return r->reg[REG_CPCR] & CPCR_CPTX;
}

static inline struct rtl8139 *rtl8139_of(struct nic *nic)
{
	return (struct rtl8139 *)((uint8_t *)nic - offsetof(struct rtl8139, nic));
}

static inline bool rtl8139_is_looped(const struct rtl8139 *r)
{
	return (rtl8139_get32(r, REG_TCR) & TCR_LBK) == TCR_LBK;
}

/* ---- rtl8139.c; the device's lock is held ---- */

/* TCTR as it is now. Any thread. */
uint32_t rtl8139_count(const struct rtl8139 *r);
/* Sets bits of ISR. */
void rtl8139_interrupt(struct rtl8139 *r, uint16_t bits);

/* ---- rtl8139_rx.c; the device's lock is held ---- */

/* In realize, when nic is realized. */
void rtl8139_rx_init(struct rtl8139 *r);
/* IDR, MAR or RCR is another now. */
void rtl8139_update_filter(struct rtl8139 *r);
/* Nothing has come yet, in either mode. */
void rtl8139_stop_rx(struct rtl8139 *r);
/* As struct nic_ops has them. */
int rtl8139_rx_buffers(struct nic *nic, struct iovec *iov, int max);
void rtl8139_rx_frame(struct nic *nic, struct nic_rx *rx);
/* Is the frame for this card? Counts it if not, or if it is too long. */
bool rtl8139_wants(struct rtl8139 *r, const struct nic_rx *rx, enum eth_match *match);
/* A frame that came in well, or that there was no room for. */
void rtl8139_received(struct rtl8139 *r, enum eth_match match);
void rtl8139_missed(struct rtl8139 *r);
/* There is no room for a frame, which waits: sets bits of ISR (0: none), and asks again after a while. Returns 1,
 * for rx_buffers(). */
int rtl8139_rx_wait(struct rtl8139 *r, uint16_t bits);

/* ---- rtl8139_classic.c; the device's lock is held ---- */

/* A write to TSD i. */
void rtl8139_classic_send(struct rtl8139 *r, unsigned int i, uint32_t value);
/* Sends what the driver has given. */
void rtl8139_classic_transmit(struct rtl8139 *r);
/* Transmission begins with TSD0, and there is nothing to send. */
void rtl8139_classic_stop_tx(struct rtl8139 *r);
/* CAPR, or the ring's size, is another now. */
void rtl8139_classic_read(struct rtl8139 *r);
/* The ring is empty, and receiving begins at its start. */
void rtl8139_classic_stop_rx(struct rtl8139 *r);
/* As struct nic_ops has them. */
int rtl8139_classic_rx_buffers(struct rtl8139 *r, struct iovec *iov, int max);
void rtl8139_classic_rx_frame(struct rtl8139 *r, struct nic_rx *rx);

/* ---- rtl8139_cplus.c; the device's lock is held ---- */

/* Rings from their start, nothing to send. A frame that waits for room is forgotten by its descriptors. */
void rtl8139_cplus_stop_tx(struct rtl8139 *r);
/* Receives from the ring's start. */
void rtl8139_cplus_stop_rx(struct rtl8139 *r);
/* A write to TPPoll. */
void rtl8139_cplus_poll(struct rtl8139 *r, uint8_t value);
/* Goes on with what waits or is polled. */
void rtl8139_cplus_transmit(struct rtl8139 *r);
/* As struct nic_ops has them. */
int rtl8139_cplus_rx_buffers(struct rtl8139 *r, struct iovec *iov, int max);
void rtl8139_cplus_rx_frame(struct rtl8139 *r, struct nic_rx *rx);
/* Descriptors may be free again. */
void rtl8139_cplus_rx_again(struct rtl8139 *r);
/* A doorbell took a write of TPPOLL_NPQ. I/O thread. */
void rtl8139_cplus_rung(struct rtl8139 *r);
/* Writes the tally counters to where DTCCR says. */
void rtl8139_cplus_dump_tally(struct rtl8139 *r);

/* ---- rtl8139_posted.c: emulation without exits ---- */

/* In realize, when the BARs are there and nic is realized, and in unrealize, before nic. 0, or -errno with err
 * set and nothing to undo. */
int rtl8139_posted_realize(struct rtl8139 *r, struct err *err);
void rtl8139_posted_unrealize(struct rtl8139 *r);
/* The device's lock is held: CR, CpCR or timer_used may have changed. */
void rtl8139_posted_update(struct rtl8139 *r);
/* The device's lock is held: a write to TPPoll has exited. */
void rtl8139_posted_polled(struct rtl8139 *r);

#endif
