/*
 * RTL8029(AS): an NE2000 on PCI. A DP8390 core, 32 KiB of packet memory behind a data port, an ID
 * PROM. What its two files share:
 *
 *	ne2k_pci.c	registers, remote DMA, Realtek's page 3, EEPROM and PROM; the device
 *	ne2k_frames.c	the ring of pages, reception, transmission, loopback
 *
 * Sources: Realtek, "RTL8029AS Realtek PCI Full-Duplex Ethernet Controller with built-in SRAM",
 * preliminary, LS009.0, 1997 (R §5: registers, R §6.2: EEPROM and ID PROM); National Semiconductor,
 * "DP8390D/NS32490D NIC Network Interface Controller", 1995 (D §7 reception, §8 transmission, §9
 * remote DMA, §10 registers, §12 loopback). Registers have their names there. What registers read
 * that don't exist, and the order of the EEPROM's words, are those of two cards whose contents were
 * published (linux-kernel, 2002-07-11).
 *
 *	address	0x0000	ID PROM, each byte twice
 *		0x4000	packet memory: TPSR -> frame to be sent
 *			PSTART -> ring of pages of 256 bytes: [status, next page, length] frame, FCS
 *		0xc000	PSTOP, at most
 *
 *	PSTART ...... BNRY: the driver's	CURR: the card's ...... PSTOP -> PSTART
 *			frames not read yet	free
 *
 * The driver reads and writes that memory through the data port ("remote DMA": RSAR, RBCR), word by
 * word; the card never touches the guest's memory, so bus mastering doesn't matter to it. Frames
 * are sent from packet memory, and received into it, without another copy.
 *
 * A frame to be sent is hundreds of writes to that port: they are posted (bus/posted.h).
 *
 * All under the device's lock. Packet memory is the instance's.
 */
#ifndef VIREO_DEV_NE2K_PCI_H
#define VIREO_DEV_NE2K_PCI_H

#include "bus/pci.h"
#include "bus/posted.h"
#include "dev/eeprom93xx.h"
#include "dev/eth_filter.h"
#include "dev/nic.h"

#define PAGE	   256
#define PROM_SIZE  32	  /* bytes; in twice as many addresses */
#define MEM_BASE   0x4000 /* addresses of packet memory, for remote and local DMA */
#define MEM_SIZE   0x8000
#define RX_HEADER  4 /* in front of a frame in the ring */
#define FCS	   4
#define FRAME_LONG 1518 /* bytes of the longest frame on a wire, VLAN tag included, without FCS */
#define FIFO_SIZE  8

/* Offsets in BAR 0. The registers at 1-15 are in pages, chosen by CR.PS. */
enum {
	REG_CR = 0x00,
	REG_DATA = 0x10,  /* -0x17: remote DMA port */
	REG_RESET = 0x18, /* -0x1f */
	REG_END = 0x20,
	BAR_SIZE = 256,
};

/* CR: R §5.1.2.1, D §10.3. */
enum {
	CR_STP = 0x01,
	CR_STA = 0x02,
	CR_TXP = 0x04,
	CR_RD = 0x38,
	CR_RD_READ = 0x08,
	CR_RD_WRITE = 0x10,
	CR_RD_SEND = 0x18, /* send packet: remote read of the frame at BNRY */
	CR_RD_ABORT = 0x20,
	CR_PS = 0xc0,
};

enum {
	ISR_PRX = 0x01,
	ISR_PTX = 0x02,
	ISR_RXE = 0x04,
	ISR_TXE = 0x08,
	ISR_OVW = 0x10,
	ISR_CNT = 0x20,
	ISR_RDC = 0x40,
	ISR_RST = 0x80, /* a state; no interrupt, and not cleared by writing */
	ISR_EVENTS = 0x7f,
};

enum {
	DCR_WTS = 0x01,
	DCR_BOS = 0x02,
	DCR_ARM = 0x10,
	DCR_WRITABLE = 0x7f,
	TCR_CRC = 0x01, /* inhibits it */
	TCR_LB = 0x06,
	TCR_WRITABLE = 0x1f,
	TSR_PTX = 0x01,
	TSR_ALWAYS = 0x02,
	TSR_ABT = 0x08,
	TSR_CRS = 0x10,
	TSR_CDH = 0x40,
	RCR_AB = 0x04,
	RCR_AM = 0x08,
	RCR_PRO = 0x10,
	RCR_MON = 0x20,
	RCR_WRITABLE = 0x3f,
	RSR_PRX = 0x01,
	RSR_CRC = 0x02,
	RSR_MPA = 0x10,
	RSR_PHY = 0x20,
	RSR_DIS = 0x40,
	CNTR_STOP = 0xc0, /* tally counters stay there; half way (bit 7) they say ISR.CNT */
	CNTR_WARN = 0x80,
};

/* Page 3: R §5.1.2.2. */
enum {
	EE_EEM = 0xc0, /* 9346CR: mode */
	EE_LOAD = 0x40,
	EE_PROGRAM = 0x80,
	EE_CONFIG = 0xc0, /* CONFIG2 and 3 can be written */
	EE_CS = 0x08,
	EE_SK = 0x04,
	EE_DI = 0x02,
	EE_DO = 0x01,
	EE_WRITABLE = EE_EEM | EE_CS | EE_SK | EE_DI,
	EE_ONES = 0x30,
	CONFIG0_BNC = 0x04, /* the coaxial cable is in use */
	CONFIG2_PL = 0xc0,  /* which one is: 00 = twisted pair, if it has a link */
	CONFIG2_PL_BNC = 0xc0,
	CONFIG2_WRITABLE = 0xe0,
	CONFIG3_LEDS = 0x30,
	CONFIG3_WRITABLE = 0x46, /* FUDUP, SLEEP, PWRDN */
};

struct ne2k {
	struct pci_device pci; /* first */
	struct nic nic;
	struct posted posted;

	uint8_t cr, isr, imr, dcr, tcr, tsr, rcr, rsr;
	uint8_t pstart, pstop, bnry, curr, tpsr;
	uint16_t tbcr;
	uint16_t clda;	 /* where the last local DMA ended */
	uint16_t crda;	 /* written as RSAR */
	uint16_t rbcr;	 /* counts down */
	uint8_t rd_next; /* page behind the frame that "send packet" reads */
	uint8_t cntr2;	 /* missed frames; CNTR0 and 1 count what can't happen */
	uint8_t par[6], mar[8];
	uint8_t ee_cr, config2, config3;
	uint8_t prom[PROM_SIZE];
	struct eeprom93xx eeprom;

	uint8_t fifo[FIFO_SIZE], fifo_at; /* what a frame that was looped back has left */
	bool rx_news;	 /* a frame came, or was read, since PRX was acknowledged */
	bool overflowed; /* the receiver waits for the driver to make room */
	bool tx_waits;	 /* `frame` waits for the back end */
	struct frame frame;
	struct eth_filter filter;      /* of RCR, PAR and MAR */
	uint8_t scratch[NIC_RX_START]; /* for frames that are only looked at */
	uint8_t mem[MEM_SIZE];

	bool opt_rx_wait, opt_posted;
};

static inline struct ne2k *ne2k_of(struct nic *nic)
{
	return (struct ne2k *)((uint8_t *)nic - offsetof(struct ne2k, nic));
}

/* Sets bits of ISR, and the interrupt line by it. */
void ne2k_raise(struct ne2k *n, uint8_t bits);
/* CR.TXP was written: sends the frame at TPSR, TBCR bytes. */
void ne2k_transmit(struct ne2k *n);
/* Are there frames that the driver has not read? */
bool ne2k_ring_has_frames(const struct ne2k *n);
extern const struct nic_ops ne2k_nic_ops;

#endif
