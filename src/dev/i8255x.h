/*
 * The Intel 8255x family: what the parts of the model share. i8255x.c has the picture.
 *
 * Source for all of it: Intel, "8255x 10/100 Mbps Ethernet Controller Family Open Source Software
 * Developer Manual", revision 1.3 (January 2006), called the manual here; §6.3 registers, §6.4
 * command and receive structures, §6.5 the two units. For flexible receive mode, which it leaves
 * out: the 82596's RBD, from which the 82557's comes (Intel 82596CA data sheet, "Receive Buffer
 * Descriptor").
 *
 * Everything runs under the device's lock (dev/nic.h).
 */
#ifndef VIREO_DEV_I8255X_H
#define VIREO_DEV_I8255X_H

#include "bus/pci.h"
#include "dev/eeprom93xx.h"
#include "dev/eth_filter.h"
#include "dev/frame.h"
#include "dev/mii.h"
#include "dev/nic.h"

#define I8255X_CONFIG_BYTES 32 /* 22 up to the 82559, 32 from the 82550 on */
#define I8255X_DUMP_BYTES   596
#define I8255X_RBDS	    48 /* receive buffers that one frame takes at most */

/* STAT/ACK, the upper byte of the SCB status word (§6.3.2.1). */
enum {
	STAT_FCP = 0x01, /* flow control pause */
	STAT_ER = 0x02,	 /* early receive */
	STAT_SWI = 0x04,
	STAT_MDI = 0x08,
	STAT_RNR = 0x10, /* the RU is not ready any more */
	STAT_CNA = 0x20, /* the CU is not active any more */
	STAT_FR = 0x40,	 /* a frame was received */
	STAT_CX = 0x80,	 /* a command with its I bit set was executed */
};

/* CUS, bits 7:6 of the SCB status word. */
enum i8255x_cu_state {
	CU_IDLE = 0,
	CU_SUSPENDED = 1,
	CU_ACTIVE = 2,
};

/* RUS, bits 5:2. With RUS_NO_RBDS: and there are no receive buffers left (flexible mode). */
enum i8255x_ru_state {
	RU_IDLE = 0,
	RU_SUSPENDED = 1,
	RU_NO_RESOURCES = 2,
	RU_READY = 4,
	RUS_NO_RBDS = 8,
};

/* Bits that command blocks and RFDs have alike, of the first dword's two words. */
enum {
	CB_C = 0x8000, /* status: complete */
	CB_OK = 0x2000,
	CB_U = 0x1000,	/* status of a transmit command: underrun */
	CB_EL = 0x8000, /* command: the last of the list */
	CB_S = 0x4000,	/* suspend after it */
	CB_I = 0x2000,	/* interrupt after it; not in an RFD */
	CB_NC = 0x0010, /* no CRC, no source address insertion */
	CB_SF = 0x0008, /* flexible mode */
};

/* Byte offset / 4 in the statistics dump (§6.3.2.4, table 17). The ones that never count here,
 * because nothing collides on this cable, have no name. */
enum i8255x_stat {
	STAT_TX_GOOD = 0,
	STAT_TX_UNDERRUN = 3,
	STAT_RX_GOOD = 9,
	STAT_RX_RESOURCE = 12,
	STATS_82557 = 16, /* so many there are on each */
	STATS_82558 = 19, /* with flow control */
	STATS_82559 = 20, /* with TCO frames: two words */
};

/* Which chip: all that differs. */
struct i8255x_chip {
	bool extended; /* 82558 or later: extended TCBs, statistics, interrupt masks, PMDR, ... */
	uint8_t controller; /* in the EEPROM: 1 = 82557, 2 = 82558, and so on */
	uint16_t pmc;	    /* PCI power management capabilities; 0: no such capability */
	uint32_t flash;	    /* bytes of BAR 2; no flash is fitted */
	uint8_t config;	    /* configure bytes that it knows */
};

struct i8255x_rbd {
	uint32_t offset, size;
};

struct i8255x_counters {
	struct counter commands, aborted, pauses, no_resources;
};

struct i8255x {
	struct pci_device pci; /* first */
	struct nic nic;
	const struct i8255x_chip *chip;
	struct bus_region csr;
	struct i8255x_counters counters;

	/* registers */
	uint8_t stat_ack, mask;
	uint32_t general_pointer, port, mdi;
	uint32_t rx_byte_count;
	uint8_t early_rx, fc_threshold, pmdr, general_control;
	bool irq;
	uint8_t power_state; /* D0-D3, as it was last; the register is in config space */
	int pm_cap;

	/* configuration, by action commands */
	uint8_t config[I8255X_CONFIG_BYTES];
	struct eth_filter filter; /* follows config; station and table are its own */
	uint32_t stats[STATS_82559];
	uint32_t stats_address;

	/* command unit; offsets are from cu_base */
	enum i8255x_cu_state cu_state;
	uint32_t cu_base, cu_next, cu_last;
	bool cu_resume;		    /* a resume came while it was active */
	struct nic_timer cu_timer;  /* it goes on after a pause */
	struct nic_timer cna_timer; /* a CNA interrupt is due, perhaps */
	uint64_t cna_due_ns;	    /* 0: it isn't */
	struct frame frame;

	/* receive unit; offsets are from ru_base */
	enum i8255x_ru_state ru_state;
	uint32_t ru_base, ru_next;
	bool looping; /* what comes in now was sent by this card */
	/* the RFD that is next, as it was read last */
	uint16_t rfd_command;
	uint32_t rfd_link, rfd_rbd;
	/* flexible mode: buffers for the next frame, and where the chain goes on */
	struct i8255x_rbd rbd[I8255X_RBDS];
	int n_rbds;
	uint32_t rbd_next, rbd_last;
	bool rbd_end; /* the last one that was used had its EL bit set */

	struct mii mii;
	uint16_t phy_vendor[16]; /* PHY registers 16 and up */
	struct eeprom93xx eeprom;
};

static inline struct i8255x *i8255x_of(struct nic *nic)
{
	return (struct i8255x *)((uint8_t *)nic - offsetof(struct i8255x, nic));
}

static inline struct i8255x *i8255x_of_dev(struct device *dev)
{
	return (struct i8255x *)dev;
}

/* A bit of the configure command's bytes. */
static inline bool i8255x_config_bit(const struct i8255x *d, unsigned int byte, unsigned int bit)
{
	return d->config[byte] >> bit & 1;
}

/* DMA; 0, -EFAULT outside RAM, -EPERM while the card may not. Addresses are 32 bits wide. */
int i8255x_dma_read(struct i8255x *d, uint32_t addr, void *buf, size_t len);
int i8255x_dma_write(struct i8255x *d, uint32_t addr, const void *buf, size_t len);

/* Sets bits in STAT/ACK, and INTA# as the mask lets it. */
void i8255x_raise(struct i8255x *d, uint8_t stat);
/* Is what is sent given back by the MAC or the PHY? */
bool i8255x_loops_back(const struct i8255x *d);
/* 596 bytes of the chip's inside, at addr: the dump command, and the PORT's. */
int i8255x_dump(struct i8255x *d, uint32_t addr);

/* i8255x_cu.c. _command: the CUC field. _run: goes on, if it is active. _stop: idle, nothing
 * pending. */
void i8255x_cu_init(struct i8255x *d);
void i8255x_cu_command(struct i8255x *d, unsigned int cuc);
void i8255x_cu_run(struct i8255x *d);
void i8255x_cu_stop(struct i8255x *d);
void i8255x_tx_resume(struct nic *nic);

/* i8255x_ru.c. _command: the RUC field. _configured: after d->config changed. */
void i8255x_ru_command(struct i8255x *d, unsigned int ruc);
void i8255x_ru_stop(struct i8255x *d);
void i8255x_ru_configured(struct i8255x *d);
uint8_t i8255x_ru_status(const struct i8255x *d); /* RUS */
int i8255x_rx_buffers(struct nic *nic, struct iovec *iov, int max);
void i8255x_rx_frame(struct nic *nic, struct nic_rx *rx);

#endif
