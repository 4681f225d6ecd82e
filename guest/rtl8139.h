/*
 * What the two drivers of the RTL8139 share: rtl8139.c (classic mode) and rtl8139_cplus.c (C+
 * mode). Registers are named as in Realtek's datasheets of the RTL8139D(L) and the RTL8139C+.
 */
#ifndef GUEST_RTL8139_H
#define GUEST_RTL8139_H

#include "nic.h"
#include "pci.h"

#define RTL8139_VENDOR 0x10ec
#define RTL8139_DEVICE 0x8139

enum rtl8139_register {
	RTL8139_IDR = 0x00,
	RTL8139_MAR = 0x08,
	RTL8139_TSD = 0x10,   /* four, classic */
	RTL8139_TSA = 0x20,   /* four, classic: TSAD0-3 */
	RTL8139_TNPDS = 0x20, /* 64 bits, C+ */
	RTL8139_THPDS = 0x28, /* 64 bits, C+ */
	RTL8139_RBSTART = 0x30,
	RTL8139_CR = 0x37,
	RTL8139_CAPR = 0x38,
	RTL8139_CBR = 0x3a,
	RTL8139_IMR = 0x3c,
	RTL8139_ISR = 0x3e,
	RTL8139_TCR = 0x40,
	RTL8139_RCR = 0x44,
	RTL8139_TCTR = 0x48,
	RTL8139_9346CR = 0x50,
	RTL8139_CONFIG1 = 0x52,
	RTL8139_TIMERINT = 0x54,
	RTL8139_TSAD = 0x60, /* status of all four descriptors */
	RTL8139_BMCR = 0x62,
	RTL8139_TPPOLL = 0xd9, /* C+ */
	RTL8139_CPCR = 0xe0,   /* C+ */
	RTL8139_RDSAR = 0xe4,  /* 64 bits, C+ */
	RTL8139_MTPS = 0xec,   /* C+ */
};

#define RTL8139_CR_RST	0x10
#define RTL8139_CR_RE	0x08
#define RTL8139_CR_TE	0x04
#define RTL8139_CR_BUFE 0x01

#define RTL8139_ISR_RECEIVED 0x0053 /* ROK, RER, Rx Buffer Overflow, Rx FIFO Overflow */
#define RTL8139_ISR_SENT     0x008c /* TOK, TER, TDU */

#define RTL8139_RCR_AAP	       0x01 /* all unicast */
#define RTL8139_RCR_APM	       0x02
#define RTL8139_RCR_AM	       0x04
#define RTL8139_RCR_AB	       0x08
#define RTL8139_RCR_WRAP       0x80
#define RTL8139_RCR_MXDMA      0x700	     /* no limit */
#define RTL8139_RCR_RBLEN(log) ((log) << 11) /* 8 KiB << log, and 16 bytes */
#define RTL8139_RCR_RXFTH      0xe000	     /* whole frames */

#define RTL8139_TCR_MXDMA 0x700
#define RTL8139_TCR_IFG	  0x3000000

/* What may be sent by one classic descriptor: TSD bits 12-0, up to 1792. */
#define RTL8139_FRAME_MAX 1792

struct rtl8139 {
	const struct pci_device *pci;
	volatile uint8_t *regs;
	struct nic_config config;
	struct nic_slots tx;
	struct nic_intx intx;
};

/*
 * Finds the card, enables and resets it, reads its address. nic->priv is r. ready: for struct nic_intx.
 * False with nic->error set.
 */
bool rtl8139_start(struct rtl8139 *r, struct nic *nic, const struct nic_config *config,
		   bool (*ready)(struct nic *nic, bool tx));

/* Resets the card: it stops. */
void rtl8139_close(struct nic *nic);
bool rtl8139_wait(struct nic *nic, bool tx, uint64_t timeout_ns);

/* RCR's filter bits for this configuration. */
uint32_t rtl8139_filter(const struct nic_config *config);

static inline volatile uint8_t *rtl8139_reg8(const struct rtl8139 *r, uint32_t offset)
{
	return r->regs + offset;
}

static inline volatile uint16_t *rtl8139_reg16(const struct rtl8139 *r, uint32_t offset)
{
	return (volatile uint16_t *)(r->regs + offset);
}

static inline volatile uint32_t *rtl8139_reg32(const struct rtl8139 *r, uint32_t offset)
{
	return (volatile uint32_t *)(r->regs + offset);
}

#endif
