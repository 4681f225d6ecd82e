/*
 * The RTL8139 in its classic mode (see rtl8139.h for the datasheets) behind the interface
 * of nic.h: four send descriptors in registers, and a receive ring of bytes in memory. By the memory BAR.
 *
 * Sending costs one store to TSDn for each frame. What is sent is learnt from TSAD, which has all
 * four descriptors in one load, and only when all four are in use or nothing else is left to do.
 *
 * Receiving looks at memory: the card puts each frame behind a header of 4 bytes, and CAPR, where
 * the driver has read up to, is stored once for a batch. Everything that is read is zeroed before
 * it is given back, so a header that isn't zero is a new one. That the header is there does not say
 * that the frame is: cards write it last, but there are models of the card that write it first. The
 * frame's last four bytes, its FCS, come behind everything else on any of them; where they stay
 * zero, CBR says how far the card has come.
 *
 * The ring is one of 32 KiB with WRAP set: a frame that starts in it goes on behind its end.
 */
#include "rtl8139.h"

#include <linux/pci_regs.h>

#include "clock.h"
#include "lib.h"
#include "memory.h"

#define N_TX	      4
#define RX_SIZE	      32768
#define RX_RBLEN      2
#define RX_OVERHANG   2048 /* what WRAP lets the card write behind the ring's end, and 16 bytes */
#define RX_HEADER     4
#define FCS	      4
#define RX_ROK	      0x0001
#define CAPR_OFFSET   16 /* CAPR is so many bytes behind what was read */
#define RX_LEN_MAX    (1792 + FCS)
#define RESET_TIMEOUT (100 * NS_PER_MS)

struct classic {
	struct rtl8139 card; /* first */
	uint8_t *ring;
	uint32_t at;	/* where the next header will be, below RX_SIZE */
	uint32_t whole; /* bytes from `at` on that CBR has said to be written */
	uint32_t capr;	/* what was read and zeroed up to, below RX_SIZE */
	bool rx_dirty;	/* capr isn't in the register yet */
	uint64_t sent_at_reap;
};

static struct classic *classic_of(struct nic *nic)
{
	return nic->priv;
}

/* False if the card doesn't come out of it. */
static bool reset(struct rtl8139 *r)
{
	uint64_t start = clock_ns();

	*rtl8139_reg8(r, RTL8139_CR) = RTL8139_CR_RST;
	while (*rtl8139_reg8(r, RTL8139_CR) & RTL8139_CR_RST)
		if (clock_ns() - start > RESET_TIMEOUT)
			return false;
	return true;
}

static void arm(struct nic *nic, bool tx)
{
	*rtl8139_reg16(nic->priv, RTL8139_IMR) = tx ? RTL8139_ISR_SENT : RTL8139_ISR_RECEIVED;
}

/* The load pushes the stores before it through. */
static void disarm(struct nic *nic)
{
	*rtl8139_reg16(nic->priv, RTL8139_IMR) = 0;
	*rtl8139_reg16(nic->priv, RTL8139_ISR) = 0xffff;
	*rtl8139_reg16(nic->priv, RTL8139_ISR);
}

bool rtl8139_start(struct rtl8139 *r, struct nic *nic, const struct nic_config *config,
		   bool (*ready)(struct nic *nic, bool tx))
{
	nic->priv = r;
	r->config = *config;
	r->intx = (struct nic_intx){.ready = ready, .arm = arm, .disarm = disarm};
	r->pci = pci_find(RTL8139_VENDOR, RTL8139_DEVICE, config->index);
	if (!r->pci)
		return nic_refuse(nic, "no-device");
	r->regs = pci_map_bar(r->pci, 1);
	if (!r->regs)
		return nic_refuse(nic, "no-memory-bar");
	pci_command(r->pci, PCI_COMMAND_IO | PCI_COMMAND_MEMORY | PCI_COMMAND_MASTER, 0);
	if (!reset(r))
		return nic_refuse(nic, "no-reset");
	if (!nic_intx_open(&r->intx, nic, r->pci, config->interrupts))
		return false;
	for (uint32_t i = 0; i < 2; i++) {
		uint32_t idr = *rtl8139_reg32(r, RTL8139_IDR + 4 * i);

		memcpy(nic->mac + 4 * i, &idr, i ? 2 : 4);
	}
	*rtl8139_reg16(r, RTL8139_IMR) = 0;
	*rtl8139_reg32(r, RTL8139_MAR) = ~0u;
	*rtl8139_reg32(r, RTL8139_MAR + 4) = ~0u;
	return true;
}

void rtl8139_close(struct nic *nic)
{
	struct rtl8139 *r = nic->priv;

	reset(r);
	nic_intx_close(&r->intx);
}

bool rtl8139_wait(struct nic *nic, bool tx, uint64_t timeout_ns)
{
	struct rtl8139 *r = nic->priv;

	return nic_intx_wait(&r->intx, nic, tx, timeout_ns);
}

uint32_t rtl8139_filter(const struct nic_config *config)
{
	return RTL8139_RCR_APM | RTL8139_RCR_AM | RTL8139_RCR_AB |
	       (config->promiscuous ? RTL8139_RCR_AAP : 0);
}

/* Sent: bits 0 to 3 of TSAD are the descriptors' OWN, which say that the card is done with them. */
static uint32_t sent(struct classic *c)
{
	return *rtl8139_reg16(&c->card, RTL8139_TSAD);
}

static bool classic_ready(struct nic *nic, bool tx)
{
	struct classic *c = classic_of(nic);
	const struct nic_slots *slots = &c->card.tx;

	if (!tx)
		return *(volatile uint32_t *)(c->ring + c->at);
	return slots->reaped == slots->sent || sent(c) & 1u << slots->reaped % N_TX;
}

static bool classic_open(struct nic *nic, const struct nic_config *config)
{
	struct classic *c = memory_alloc(sizeof(*c), 64);
	struct rtl8139 *r = &c->card;

	if (!rtl8139_start(r, nic, config, classic_ready))
		return false;
	if (config->offload_tx || config->offload_rx)
		return nic_refuse(nic, "no-offload");
	nic->frame_max = MIN(config->frame_size, (uint32_t)RTL8139_FRAME_MAX);
	nic_slots_init(&r->tx, nic, N_TX);
	c->ring = memory_alloc(RX_SIZE + CAPR_OFFSET + RX_OVERHANG, 4096);

	*rtl8139_reg32(r, RTL8139_RBSTART) = memory_address(c->ring);
	*rtl8139_reg8(r, RTL8139_CR) = RTL8139_CR_RE | RTL8139_CR_TE;
	*rtl8139_reg32(r, RTL8139_RCR) = rtl8139_filter(config) | RTL8139_RCR_WRAP |
					 RTL8139_RCR_MXDMA | RTL8139_RCR_RBLEN(RX_RBLEN) |
					 RTL8139_RCR_RXFTH;
	*rtl8139_reg32(r, RTL8139_TCR) = RTL8139_TCR_IFG | RTL8139_TCR_MXDMA;
	for (uint32_t i = 0; i < N_TX; i++)
		*rtl8139_reg32(r, RTL8139_TSA + 4 * i) =
			memory_address(r->tx.buffers + i * r->tx.stride);
	return true;
}

static bool classic_get(struct nic *nic, struct nic_slot *slot)
{
	return nic_slots_get(&classic_of(nic)->card.tx, slot);
}

/* The early threshold stays 0: the card starts to send when it has 8 bytes. */
static void classic_send(struct nic *nic, const struct nic_slot *slot, uint32_t length,
			 const struct nic_offload *offload)
{
	struct rtl8139 *r = nic->priv;

	barrier();
	*rtl8139_reg32(r, RTL8139_TSD + 4 * slot->number) = length;
	r->tx.sent++;
	nic->tx_doorbells++;
}

static void classic_flush(struct nic *nic)
{
}

/* Descriptors are done in order: the first that the card still owns ends it. */
static uint32_t classic_reap(struct nic *nic)
{
	struct classic *c = classic_of(nic);
	struct nic_slots *tx = &c->card.tx;
	uint32_t n = 0, status;

	if (tx->sent == tx->reaped)
		return 0;
	if (tx->sent - tx->reaped < N_TX && tx->sent != c->sent_at_reap) {
		c->sent_at_reap = tx->sent;
		return 0;
	}
	status = sent(c);
	while (tx->reaped < tx->sent && status & 1u << tx->reaped % N_TX) {
		tx->reaped++;
		n++;
	}
	return n;
}

/* True if all of the frame at c->at, header included, has been written. */
static bool is_whole(struct classic *c, uint32_t bytes)
{
	uint32_t fcs;

	memcpy(&fcs, c->ring + c->at + bytes - FCS, sizeof(fcs));
	barrier();
	if (fcs)
		return true;
	if (bytes > c->whole)
		c->whole = (*rtl8139_reg16(&c->card, RTL8139_CBR) - c->at) % RX_SIZE;
	return bytes <= c->whole;
}

static bool classic_receive(struct nic *nic, struct nic_frame *frame)
{
	struct classic *c = classic_of(nic);
	uint32_t header = *(volatile uint32_t *)(c->ring + c->at), length = header >> 16, step;

	if (!header)
		return false;
	if (!(header & RX_ROK) || length <= FCS || length > RX_LEN_MAX) {
		nic->broken = true;
		return false;
	}
	if (!is_whole(c, RX_HEADER + length))
		return false;
	step = (RX_HEADER + length + 3) & ~3u;
	frame->length = length - FCS;
	frame->n_parts = 1;
	frame->parts[0] = (struct nic_part){c->ring + c->at + RX_HEADER, frame->length};
	frame->has_checksum = false;
	frame->gso_size = 0;
	c->whole -= MIN(c->whole, step);
	c->at = (c->at + step) % RX_SIZE;
	return true;
}

/* Frames are released in the order they came. */
static void classic_release(struct nic *nic, const struct nic_frame *frame)
{
	struct classic *c = classic_of(nic);
	uint32_t step = (RX_HEADER + frame->length + FCS + 3) & ~3u;

	memset(c->ring + c->capr, 0, step);
	c->capr = (c->capr + step) % RX_SIZE;
	c->rx_dirty = true;
}

static void classic_refill(struct nic *nic)
{
	struct classic *c = classic_of(nic);

	if (!c->rx_dirty)
		return;
	c->rx_dirty = false;
	barrier();
	*rtl8139_reg16(&c->card, RTL8139_CAPR) = c->capr - CAPR_OFFSET;
	nic->rx_doorbells++;
}

const struct nic_ops rtl8139_ops = {
	.name = "rtl8139",
	.open = classic_open,
	.close = rtl8139_close,
	.get = classic_get,
	.send = classic_send,
	.flush = classic_flush,
	.reap = classic_reap,
	.receive = classic_receive,
	.release = classic_release,
	.refill = classic_refill,
	.wait = rtl8139_wait,
};
