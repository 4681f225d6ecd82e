/*
 * Am79C970A: what its registers (pcnet.c) and its rings (pcnet_ring.c) share. Whoever holds the
 * device's lock.
 *
 * The card's state is its registers, as a driver may read and (stopped or suspended) write them: an
 * initialization block is only another way to fill them in. Beside them stands where in the rings
 * the card is.
 */
#ifndef VIREO_DEV_PCNET_H
#define VIREO_DEV_PCNET_H

#include "bus/pci.h"
#include "dev/eeprom93xx.h"
#include "dev/nic.h"

/* CSR0, Controller Status and Control */
enum {
	CSR0_INIT = 1 << 0,
	CSR0_STRT = 1 << 1,
	CSR0_STOP = 1 << 2,
	CSR0_TDMD = 1 << 3,
	CSR0_TXON = 1 << 4,
	CSR0_RXON = 1 << 5,
	CSR0_IENA = 1 << 6,
	CSR0_INTR = 1 << 7,
	CSR0_IDON = 1 << 8,
	CSR0_TINT = 1 << 9,
	CSR0_RINT = 1 << 10,
	CSR0_MERR = 1 << 11,
	CSR0_MISS = 1 << 12,
	CSR0_CERR = 1 << 13,
	CSR0_BABL = 1 << 14,
	CSR0_ERR = 1 << 15,
};

/* CSR3, Interrupt Masks and Deferral Control: a mask stands where the flag stands in CSR0 */
enum {
	CSR3_DXSUFLO = 1 << 6,
	CSR3_MASKS = CSR0_BABL | CSR0_MISS | CSR0_MERR | CSR0_RINT | CSR0_TINT | CSR0_IDON,
};

/* CSR4, Test and Features Control */
enum {
	CSR4_JAB = 1 << 1,
	CSR4_TXSTRT = 1 << 3,
	CSR4_RCVCCO = 1 << 5,
	CSR4_UINT = 1 << 6,
	CSR4_UINTCMD = 1 << 7,
	CSR4_MFCO = 1 << 9,
	CSR4_ASTRP_RCV = 1 << 10,
	CSR4_APAD_XMT = 1 << 11,
	CSR4_TXDPOLL = 1 << 12,
	CSR4_DMAPLUS = 1 << 14,
	CSR4_EN124 = 1 << 15,
};

/* CSR5, Extended Control and Interrupt */
enum {
	CSR5_SPND = 1 << 0,
	CSR5_MPINT = 1 << 4,
	CSR5_EXDINT = 1 << 7,
	CSR5_SLPINT = 1 << 9,
	CSR5_SINT = 1 << 11,
	CSR5_LTINTEN = 1 << 14,
	CSR5_TOKINTD = 1 << 15,
};

/* CSR15, Mode; also the first word of the initialization block */
enum {
	CSR15_DRX = 1 << 0,
	CSR15_DTX = 1 << 1,
	CSR15_LOOP = 1 << 2,
	CSR15_DXMTFCS = 1 << 3,
	CSR15_FCOLL = 1 << 4,
	CSR15_INTL = 1 << 6,
	CSR15_DLNKTST = 1 << 12,
	CSR15_DRCVPA = 1 << 13,
	CSR15_DRCVBC = 1 << 14,
	CSR15_PROM = 1 << 15,
};

/* Registers that more than one place names. Addresses of 32 bits take two, the lower half first. */
enum {
	CSR_LADRF = 8,
	CSR_PADR = 12,
	CSR_MODE = 15,
	CSR_BADR = 24, /* start of the receive ring */
	CSR_BADX = 30, /* and of the transmit ring */
	CSR_TXPOLLINT = 47,
	CSR_RXPOLLINT = 49,
	CSR_RCVRL = 76, /* lengths of the rings, two's complement */
	CSR_XMTRL = 78,
	CSR_MFC = 112,	   /* missed frames */
	CSR_RCVALGN = 122, /* bit 0: 2 bytes stay free in front of a received frame */

	BCR_SWS = 20,
	BCR_SSIZE32 = 1 << 8,
	SWSTYLE_LANCE = 0, /* 16 bits */
	SWSTYLE_ILACC = 1,
	SWSTYLE_PCNET_PCI = 2,
	SWSTYLE_PCNET_PCI2 = 3, /* like 2, with other words first: for bursts */
};

#define PCNET_CSRS	128
#define PCNET_BCRS	32
#define PCNET_CHAIN_MAX 63 /* descriptors of one frame */

struct pcnet_rx_desc {
	uint32_t gpa; /* of the descriptor */
	uint32_t len; /* of its buffer, bytes */
};

struct pcnet_counters {
	struct counter rx_missed, aborts;
};

struct pcnet {
	struct pci_device pci; /* first */
	struct nic nic;
	struct pcnet_counters counters;

	/* registers */
	uint16_t csr[PCNET_CSRS];
	uint16_t bcr[PCNET_BCRS];
	uint16_t rap;
	uint8_t aprom[16];
	struct eeprom93xx eeprom;

	/* the card's place in its rings: 0 to length - 1 */
	uint32_t rx_at, tx_at;
	/* INIT was written, and the bus may not be used yet */
	bool init_waits;
	/* the driver has used TDMD since it started the card; else it counts on polling */
	bool tdmd_seen;
	uint16_t tx_polls; /* how often the card polls on where it was told by TDMD */
	uint16_t rx_waits; /* times in a row that frames found no descriptor */

	/* between rx_buffers() and rx_frame() */
	struct pcnet_rx_desc rx_desc[PCNET_CHAIN_MAX];
	unsigned int n_rx_desc;	      /* 0: the frame is missed */
	uint8_t missed[NIC_RX_START]; /* where the start of such a one goes */

	/* the frame that is being sent, and what of it a loopback needs to know */
	struct frame tx;
	bool looping;
	bool loop_has_fcs;
	uint8_t loop_fcs[4];

	struct nic_timer tx_poll, rx_poll;
	bool irq; /* INTA#, as driven last */
};

static inline struct pcnet *pcnet_of(struct nic *nic)
{
	return (struct pcnet *)((char *)nic - offsetof(struct pcnet, nic));
}

static inline uint32_t pcnet_csr32(const struct pcnet *p, unsigned int n)
{
	return p->csr[n] | (uint32_t)p->csr[n + 1] << 16;
}

static inline void pcnet_set_csr32(struct pcnet *p, unsigned int n, uint32_t value)
{
	p->csr[n] = (uint16_t)value;
	p->csr[n + 1] = (uint16_t)(value >> 16);
}

/* Length of a ring in descriptors, 1 to 65536: n is CSR_RCVRL or CSR_XMTRL. */
static inline uint32_t pcnet_ring_length(const struct pcnet *p, unsigned int n)
{
	return 0x10000 - (uint32_t)p->csr[n];
}

/* ---- pcnet.c ---- */

/* Drives INTA# as CSR0, CSR3, CSR4 and CSR5 say now: after a change of theirs. */
void pcnet_update_irq(struct pcnet *p);
/* Setting STOP: transmitter and receiver off, CSR0 is STOP alone. */
void pcnet_stop(struct pcnet *p);
/* What the card wanted of memory isn't there (section Master Abort): CSR5 SINT, and it stops. */
void pcnet_master_abort(struct pcnet *p);

/* ---- pcnet_ring.c ---- */

/* Reads the initialization block that CSR1 and CSR2 point to. false: it isn't in RAM. */
bool pcnet_read_init_block(struct pcnet *p);
/* Guest-physical address of descriptor `at` of the ring that starts in CSR `base` (CSR_BADR,
 * CSR_BADX). */
uint32_t pcnet_descriptor(const struct pcnet *p, unsigned int base, uint32_t at);
/* Sends what the ring has, as far as the card may; a bounded piece of it, the rest on the I/O
 * thread. */
void pcnet_transmit(struct pcnet *p);
/* Arms the timers with which the card polls its rings. */
void pcnet_ring_realize(struct pcnet *p);
/* The transmitter was started or told to look. */
void pcnet_poll_transmit(struct pcnet *p);
/* The driver may have given receive descriptors back. Cheap. */
void pcnet_poll_receive(struct pcnet *p);

/* struct nic_ops */
void pcnet_tx_resume(struct nic *nic);
int pcnet_rx_buffers(struct nic *nic, struct iovec *iov, int max);
void pcnet_rx_frame(struct nic *nic, struct nic_rx *rx);

#endif
