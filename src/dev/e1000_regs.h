/*
 * Registers and descriptors of the 82540EM, as named in Intel's "PCI/PCI-X Family of Gigabit
 * Ethernet Controllers Software Developer's Manual" (317453, revision 4.0): chapters 3
 * (descriptors), 5 (EEPROM) and 13 (registers). Offsets are in bytes in BAR 0.
 */
#ifndef VIREO_DEV_E1000_REGS_H
#define VIREO_DEV_E1000_REGS_H

/* §13.4 */
enum {
	E1000_CTRL = 0x0,
	E1000_CTRL_SHADOW = 0x4,
	E1000_STATUS = 0x8,
	E1000_EECD = 0x10,
	E1000_EERD = 0x14,
	E1000_CTRL_EXT = 0x18,
	E1000_MDIC = 0x20,
	E1000_FCAL = 0x28,
	E1000_FCAH = 0x2c,
	E1000_FCT = 0x30,
	E1000_VET = 0x38,
	E1000_ICR = 0xc0,
	E1000_ITR = 0xc4,
	E1000_ICS = 0xc8,
	E1000_IMS = 0xd0,
	E1000_IMC = 0xd8,
	E1000_RCTL = 0x100,
	E1000_FCTTV = 0x170,
	E1000_TXCW = 0x178,
	E1000_TCTL = 0x400,
	E1000_TIPG = 0x410,
	E1000_AIFS = 0x458,
	E1000_LEDCTL = 0xe00,
	E1000_PBA = 0x1000,
	E1000_FCRTL = 0x2160,
	E1000_FCRTH = 0x2168,
	E1000_RDFH = 0x2410,
	E1000_RDFT = 0x2418,
	E1000_RDFHS = 0x2420,
	E1000_RDFTS = 0x2428,
	E1000_RDFPC = 0x2430,
	E1000_RDBAL = 0x2800,
	E1000_RDBAH = 0x2804,
	E1000_RDLEN = 0x2808,
	E1000_RDH = 0x2810,
	E1000_RDT = 0x2818,
	E1000_RDTR = 0x2820,
	E1000_RXDCTL = 0x2828,
	E1000_RADV = 0x282c,
	E1000_RSRPD = 0x2c00,
	E1000_TXDMAC = 0x3000,
	E1000_TDFH = 0x3410,
	E1000_TDFT = 0x3418,
	E1000_TDFHS = 0x3420,
	E1000_TDFTS = 0x3428,
	E1000_TDFPC = 0x3430,
	E1000_TDBAL = 0x3800,
	E1000_TDBAH = 0x3804,
	E1000_TDLEN = 0x3808,
	E1000_TDH = 0x3810,
	E1000_TDT = 0x3818,
	E1000_TIDV = 0x3820,
	E1000_TXDCTL = 0x3828,
	E1000_TADV = 0x382c,
	E1000_TSPMT = 0x3830,
	E1000_RXCSUM = 0x5000,
	E1000_MTA = 0x5200,  /* 128 */
	E1000_RA = 0x5400,   /* 16 pairs RAL, RAH */
	E1000_VFTA = 0x5600, /* 128 */
	E1000_WUC = 0x5800,
	E1000_WUFC = 0x5808,
	E1000_MANC = 0x5820,
	E1000_IPAV = 0x5838,
	E1000_IP4AT = 0x5840, /* 4, every 8 bytes */
	E1000_IP6AT = 0x5880, /* 4 */
	E1000_FFLT = 0x5f00,  /* 4, every 8 bytes */
	E1000_FFMT = 0x9000,  /* 128, every 8 bytes */
	E1000_FFVT = 0x9800,  /* 128, every 8 bytes */
};

/* §13.7: statistics. Those that nothing here can count read 0. */
enum {
	E1000_STATS = 0x4000,
	E1000_MPC = 0x4010,
	E1000_PRC64 = 0x405c, /* and 127, 255, 511, 1023, 1522 behind it */
	E1000_GPRC = 0x4074,
	E1000_BPRC = 0x4078,
	E1000_MPRC = 0x407c,
	E1000_GPTC = 0x4080,
	E1000_GORCL = 0x4088,
	E1000_GOTCL = 0x4090,
	E1000_ROC = 0x40ac,
	E1000_TORL = 0x40c0,
	E1000_TOTL = 0x40c8,
	E1000_TPR = 0x40d0,
	E1000_TPT = 0x40d4,
	E1000_PTC64 = 0x40d8,
	E1000_MPTC = 0x40f0,
	E1000_BPTC = 0x40f4,
	E1000_TSCTC = 0x40f8,
	E1000_TSCTFC = 0x40fc,
	E1000_XOFFRXC = 0x4050,
	E1000_XONRXC = 0x4048,
	E1000_FCRUC = 0x4058,
	E1000_STATS_END = 0x4100,
};

/* CTRL, §13.4.1 */
#define CTRL_FD		(1u << 0)
#define CTRL_SLU	(1u << 6)
#define CTRL_SPEED_1000 (2u << 8)
#define CTRL_SPEED(v)	((v) >> 8 & 3)
#define CTRL_FRCSPD	(1u << 11)
#define CTRL_FRCDPX	(1u << 12)
#define CTRL_RST	(1u << 26)
#define CTRL_RFCE	(1u << 27)
#define CTRL_VME	(1u << 30)
#define CTRL_PHY_RST	(1u << 31)

/* STATUS, §13.4.2 */
#define STATUS_FD	   (1u << 0)
#define STATUS_LU	   (1u << 1)
#define STATUS_SPEED_SHIFT 6
#define STATUS_ASDV_SHIFT  8

/* EECD and EERD, §13.4.3, §13.4.4 */
#define EECD_SK	  (1u << 0)
#define EECD_CS	  (1u << 1)
#define EECD_DI	  (1u << 2)
#define EECD_DO	  (1u << 3)
#define EECD_FWE  (3u << 4)
#define EECD_REQ  (1u << 6)
#define EECD_GNT  (1u << 7)
#define EECD_PRES (1u << 8)

#define EERD_START (1u << 0)
#define EERD_DONE  (1u << 4)

/* CTRL_EXT, §13.4.6 */
#define CTRL_EXT_EE_RST (1u << 13)

/* MDIC, §13.4.8 */
#define MDIC_OP_WRITE 1
#define MDIC_OP_READ  2
#define MDIC_READY    (1u << 28)
#define MDIC_INT      (1u << 29)
#define MDIC_ERROR    (1u << 30)

/* ICR and its sisters, §13.4.17. Reserved bits are there, too: drivers' self-tests set them. */
#define ICR_TXDW    (1u << 0)
#define ICR_TXQE    (1u << 1)
#define ICR_LSC	    (1u << 2)
#define ICR_RXDMT0  (1u << 4)
#define ICR_RXO	    (1u << 6)
#define ICR_RXT0    (1u << 7)
#define ICR_MDAC    (1u << 9)
#define ICR_TXD_LOW (1u << 15)
#define ICR_SRPD    (1u << 16)
#define ICR_BITS    0x1ffffu

/* RCTL, §13.4.22 */
#define RCTL_EN	      (1u << 1)
#define RCTL_SBP      (1u << 2)
#define RCTL_UPE      (1u << 3)
#define RCTL_MPE      (1u << 4)
#define RCTL_LPE      (1u << 5)
#define RCTL_LBM(v)   ((v) >> 6 & 3)
#define RCTL_LBM_MAC  1
#define RCTL_RDMTS(v) ((v) >> 8 & 3)
#define RCTL_MO(v)    ((v) >> 12 & 3)
#define RCTL_BAM      (1u << 15)
#define RCTL_BSIZE(v) ((v) >> 16 & 3)
#define RCTL_VFE      (1u << 18)
#define RCTL_CFIEN    (1u << 19)
#define RCTL_CFI      (1u << 20)
#define RCTL_DPF      (1u << 22)
#define RCTL_PMCF     (1u << 23)
#define RCTL_BSEX     (1u << 25)
#define RCTL_SECRC    (1u << 26)
#define RCTL_BITS     0x06dfb3feu

/* TCTL, §13.4.33 */
#define TCTL_EN	 (1u << 1)
#define TCTL_PSP (1u << 3)

/* RDTR and TIDV, §13.4.30, §13.4.44 */
#define DELAY_FPD (1u << 31)

/* TXDCTL, §13.4.45: LWTHRESH in units of 8 descriptors */
#define TXDCTL_LWTHRESH(v) (((v) >> 25) * 8)

/* RXCSUM, §13.4.47 */
#define RXCSUM_PCSS(v) ((v)&0xff)
#define RXCSUM_IPOFLD  (1u << 8)
#define RXCSUM_TUOFLD  (1u << 9)

/* RAH, §13.5.3 */
#define RAH_AV	  (1u << 31)
#define RAH_AS(v) ((v) >> 16 & 3)

/* Receive descriptor, §3.2.3: the address, then length, checksum, status, errors, special. */
#define RXD_LEN_SHIFT	  0
#define RXD_CSUM_SHIFT	  16
#define RXD_STATUS_SHIFT  32
#define RXD_ERRORS_SHIFT  40
#define RXD_SPECIAL_SHIFT 48

#define RXD_STAT_DD    (1u << 0)
#define RXD_STAT_EOP   (1u << 1)
#define RXD_STAT_IXSM  (1u << 2)
#define RXD_STAT_VP    (1u << 3)
#define RXD_STAT_TCPCS (1u << 5)
#define RXD_STAT_IPCS  (1u << 6)
#define RXD_STAT_PIF   (1u << 7)

#define RXD_ERR_IPE (1u << 6)

/* Transmit descriptors, §3.3: the second quadword. A data descriptor's length has 20 bits, and its
 * type is in bits 20-23; legacy ones have 16 and CSO there. */
#define TXD_LEGACY_LEN(d) ((uint32_t)(d)&0xffff)
#define TXD_CSO(d)	  ((uint8_t)((d) >> 16))
#define TXD_LEN(d)	  ((uint32_t)(d)&0xfffff)
#define TXD_DTYP(d)	  ((d) >> 20 & 0xf)
#define TXD_DTYP_CONTEXT  0
#define TXD_DTYP_DATA	  1
#define TXD_CMD(d)	  ((uint8_t)((d) >> 24))
#define TXD_CSS(d)	  ((uint8_t)((d) >> 40))
#define TXD_POPTS(d)	  ((uint8_t)((d) >> 40))
#define TXD_SPECIAL(d)	  ((uint16_t)((d) >> 48))

#define TXD_CMD_EOP  (1u << 0)
#define TXD_CMD_IFCS (1u << 1)
#define TXD_CMD_IC   (1u << 2) /* legacy */
#define TXD_CMD_TSE  (1u << 2)
#define TXD_CMD_RS   (1u << 3)
#define TXD_CMD_DEXT (1u << 5)
#define TXD_CMD_VLE  (1u << 6)
#define TXD_CMD_IDE  (1u << 7)

/* TUCMD of a context descriptor, §3.3.6.1 */
#define TXD_TUCMD_TCP (1u << 0)

#define TXD_POPTS_IXSM (1u << 0)
#define TXD_POPTS_TXSM (1u << 1)

#define TXD_STATUS_BYTE 12 /* in the descriptor */
#define TXD_STAT_DD	(1u << 0)

#define E1000_DESC_SIZE 16

#endif
