/*
 * Registers and descriptors of the 82540EM as the guest uses them, named as in Intel's "PCI/PCI-X
 * Family of Gigabit Ethernet Controllers Software Developer's Manual" (317453), chapters 3 and 13.
 */
#ifndef GUEST_E1000_H
#define GUEST_E1000_H

#include <stdint.h>

#define E1000_VENDOR 0x8086
#define E1000_DEVICE 0x100e

enum e1000_register {
	E1000_CTRL = 0x0000,
	E1000_STATUS = 0x0008,
	E1000_EECD = 0x0010,
	E1000_EERD = 0x0014,
	E1000_MDIC = 0x0020,
	E1000_ICR = 0x00c0,
	E1000_ICS = 0x00c8,
	E1000_IMS = 0x00d0,
	E1000_IMC = 0x00d8,
	E1000_RCTL = 0x0100,
	E1000_TCTL = 0x0400,
	E1000_TIPG = 0x0410,
	E1000_RDBAL = 0x2800,
	E1000_RDBAH = 0x2804,
	E1000_RDLEN = 0x2808,
	E1000_RDH = 0x2810,
	E1000_RDT = 0x2818,
	E1000_TDBAL = 0x3800,
	E1000_TDBAH = 0x3804,
	E1000_TDLEN = 0x3808,
	E1000_TDH = 0x3810,
	E1000_TDT = 0x3818,
	E1000_RXCSUM = 0x5000,
	E1000_MTA = 0x5200, /* 128 words */
	E1000_RAL = 0x5400,
	E1000_RAH = 0x5404,
};

#define E1000_CTRL_FD	0x00000001
#define E1000_CTRL_SLU	0x00000040
#define E1000_CTRL_RST	0x04000000
#define E1000_STATUS_LU 0x2

#define E1000_MDIC_WRITE   (1u << 26 | 1u << 21) /* PHY 1 */
#define E1000_MDIC_BMCR	   0			 /* its register 0 */
#define E1000_BMCR_DEFAULT 0x1140 /* auto-negotiation, full duplex, 1000 Mb/s; no loopback */
#define E1000_BMCR_LOOP	   0x4140

#define E1000_EERD_START 0x01
#define E1000_EERD_DONE	 0x10

#define E1000_ICR_TXDW	 0x01
#define E1000_ICR_RXDMT0 0x10
#define E1000_ICR_RXO	 0x40
#define E1000_ICR_RXT0	 0x80

#define E1000_RCTL_EN	    0x00000002
#define E1000_RCTL_UPE	    0x00000008
#define E1000_RCTL_MPE	    0x00000010
#define E1000_RCTL_LPE	    0x00000020
#define E1000_RCTL_LBM_PHY  0x000000c0
#define E1000_RCTL_BAM	    0x00008000
#define E1000_RCTL_BSIZE(n) ((uint32_t)(n) << 16) /* 2048 >> n bytes, BSEX: times 16 */
#define E1000_RCTL_BSEX	    0x02000000
#define E1000_RCTL_SECRC    0x04000000

#define E1000_TCTL_EN	0x00000002
#define E1000_TCTL_PSP	0x00000008
#define E1000_TCTL_CT	0x000000f0
#define E1000_TCTL_COLD 0x00040000
#define E1000_TIPG_IPG	0x00602008

#define E1000_RXCSUM_OFFLOAD 0x300 /* IP, TCP and UDP */

/* Receive descriptor, section 3.2.3. */
struct e1000_rx_desc {
	volatile uint64_t address;
	volatile uint16_t length;
	volatile uint16_t checksum;
	volatile uint8_t status;
	volatile uint8_t errors;
	volatile uint16_t special;
};

#define E1000_RXD_DD	0x01
#define E1000_RXD_EOP	0x02
#define E1000_RXD_IXSM	0x04
#define E1000_RXD_TCPCS 0x20

#define E1000_RXE_FRAME 0x9f /* all errors but those of checksums */

/*
 * Transmit descriptors, section 3.3: legacy, context and data. `command` has length and DCMD or TUCMD,
 * `status` what the card writes back and options.
 */
struct e1000_tx_desc {
	volatile uint64_t address; /* context: offsets of the checksums */
	volatile uint32_t command;
	volatile uint32_t status; /* context: MSS << 16, HDRLEN << 8 */
};

#define E1000_TXD_EOP  0x01000000
#define E1000_TXD_IFCS 0x02000000
#define E1000_TXD_TSE  0x04000000
#define E1000_TXD_RS   0x08000000
#define E1000_TXD_DEXT 0x20000000
#define E1000_TXD_DATA 0x00100000 /* DTYP of a data descriptor; a context's is 0 */
#define E1000_TXD_TCP  0x01000000 /* TUCMD of a context */
#define E1000_TXD_IP   0x02000000 /* likewise: IPv4 */
#define E1000_TXD_DD   0x1
#define E1000_TXD_IXSM 0x100 /* POPTS: insert the IPv4 header's checksum */
#define E1000_TXD_TXSM 0x200 /* POPTS: insert TCP's or UDP's */

#endif
