/*
 * The RTL8139C+ in its C+ mode (see rtl8139.h for the datasheets) behind the interface of
 * nic.h: rings of 64 descriptors each way. By the memory BAR.
 *
 * Both rings are watched in memory, by the descriptors' OWN bits; the one register that is stored to
 * is TPPoll, once for a batch that is sent. Sending by large send (gso=) is for TCP over IPv4, as the
 * card has it.
 */
#include "rtl8139.h"

#include "lib.h"
#include "memory.h"

#define RING	  64 /* descriptors, as many as the card takes */
#define RX_BUFFER 2048
#define FCS	  4

#define DESC_OWN   0x80000000
#define DESC_EOR   0x40000000
#define DESC_FS	   0x20000000
#define DESC_LS	   0x10000000
#define TX_LGSEN   0x08000000
#define TX_MSS(m)  ((uint32_t)(m) << 16)
#define TX_MSS_MAX 0x7ff
#define TX_IPCS	   0x00040000
#define TX_TCPCS   0x00010000
#define RX_RES	   0x00200000 /* error summary */
#define RX_LENGTH  0x1fff

#define CPCR_TXE   0x0001
#define CPCR_RXE   0x0002
#define CPCR_MULRW 0x0008
#define CPCR_RXCHK 0x0020
#define TPPOLL_NPQ 0x40
#define MTPS_LARGE 0x3b /* early threshold in 128-byte units: beyond any frame */

struct descriptor {
	volatile uint32_t command; /* then status */
	volatile uint32_t vlan;
	volatile uint64_t address;
};

struct cplus {
	struct rtl8139 card; /* first */
	struct descriptor *tx, *rx;
	uint8_t *rx_buffers;
	uint64_t received, released;
	bool unpolled; /* sent since the last store to TPPoll */
};

static struct cplus *cplus_of(struct nic *nic)
{
	return nic->priv;
}

static uint32_t end_of_ring(uint32_t i)
{
	return i == RING - 1 ? DESC_EOR : 0;
}

static void give_rx(struct cplus *c, uint32_t i)
{
	barrier();
	c->rx[i].command = DESC_OWN | end_of_ring(i) | RX_BUFFER;
}

static void put_address(struct cplus *c, uint32_t offset, const void *p)
{
	*rtl8139_reg32(&c->card, offset + 4) = memory_address(p) >> 32;
	*rtl8139_reg32(&c->card, offset) = memory_address(p);
}

static bool cplus_ready(struct nic *nic, bool tx)
{
	const struct cplus *c = cplus_of(nic);
	const struct nic_slots *slots = &c->card.tx;

	if (!tx)
		return !(c->rx[c->received % RING].command & DESC_OWN);
	return slots->reaped == slots->sent || !(c->tx[slots->reaped % RING].command & DESC_OWN);
}

static bool cplus_open(struct nic *nic, const struct nic_config *config)
{
	struct cplus *c = memory_alloc(sizeof(*c), 64);
	struct rtl8139 *r = &c->card;

	if (!rtl8139_start(r, nic, config, cplus_ready))
		return false;
	/* Only large send takes what is longer than a packet of the wire. */
	nic->frame_max =
		MIN(config->frame_size, config->offload_tx ? 0xffffu : (uint32_t)RTL8139_FRAME_MAX);
	nic_slots_init(&r->tx, nic, RING);
	c->tx = memory_alloc(RING * sizeof(*c->tx), 256);
	c->rx = memory_alloc(RING * sizeof(*c->rx), 256);
	c->rx_buffers = memory_alloc(RING * RX_BUFFER, 4096);
	for (uint32_t i = 0; i < RING; i++) {
		c->rx[i].address = memory_address(c->rx_buffers + i * RX_BUFFER);
		give_rx(c, i);
		c->tx[i].address = memory_address(r->tx.buffers + i * r->tx.stride);
		c->tx[i].command = end_of_ring(i);
	}

	*rtl8139_reg16(r, RTL8139_CPCR) =
		CPCR_TXE | CPCR_RXE | CPCR_MULRW | (config->offload_rx ? CPCR_RXCHK : 0);
	put_address(c, RTL8139_RDSAR, c->rx);
	put_address(c, RTL8139_TNPDS, c->tx);
	*rtl8139_reg8(r, RTL8139_CR) = RTL8139_CR_RE | RTL8139_CR_TE;
	*rtl8139_reg8(r, RTL8139_MTPS) = MTPS_LARGE;
	*rtl8139_reg32(r, RTL8139_RCR) =
		rtl8139_filter(config) | RTL8139_RCR_MXDMA | RTL8139_RCR_RXFTH;
	*rtl8139_reg32(r, RTL8139_TCR) = RTL8139_TCR_IFG | RTL8139_TCR_MXDMA;
	return true;
}

static bool cplus_get(struct nic *nic, struct nic_slot *slot)
{
	return nic_slots_get(&cplus_of(nic)->card.tx, slot);
}

static void cplus_send(struct nic *nic, const struct nic_slot *slot, uint32_t length,
		       const struct nic_offload *offload)
{
	struct cplus *c = cplus_of(nic);
	uint32_t command = DESC_OWN | DESC_FS | DESC_LS | end_of_ring(slot->number) | length;

	if (offload && offload->gso_size)
		command |= TX_LGSEN | TX_MSS(MIN(offload->gso_size, TX_MSS_MAX));
	else if (offload && offload->checksum)
		command |= TX_IPCS | TX_TCPCS;
	barrier();
	c->tx[slot->number].command = command;
	c->card.tx.sent++;
	c->unpolled = true;
}

static void cplus_flush(struct nic *nic)
{
	struct cplus *c = cplus_of(nic);

	if (!c->unpolled)
		return;
	c->unpolled = false;
	barrier();
	*rtl8139_reg8(&c->card, RTL8139_TPPOLL) = TPPOLL_NPQ;
	nic->tx_doorbells++;
}

static uint32_t cplus_reap(struct nic *nic)
{
	struct cplus *c = cplus_of(nic);
	struct nic_slots *tx = &c->card.tx;
	uint32_t n = 0;

	while (tx->reaped < tx->sent && !(c->tx[tx->reaped % RING].command & DESC_OWN)) {
		tx->reaped++;
		n++;
	}
	return n;
}

static bool cplus_receive(struct nic *nic, struct nic_frame *frame)
{
	struct cplus *c = cplus_of(nic);
	uint32_t i = c->received % RING, status = c->rx[i].command, length = status & RX_LENGTH;

	if (status & DESC_OWN || c->received - c->released == RING)
		return false;
	barrier();
	if ((status & (DESC_FS | DESC_LS | RX_RES)) != (DESC_FS | DESC_LS) || length <= FCS ||
	    length > RX_BUFFER) {
		nic->broken = true;
		return false;
	}
	frame->length = length - FCS;
	frame->n_parts = 1;
	frame->parts[0] = (struct nic_part){c->rx_buffers + i * RX_BUFFER, frame->length};
	frame->buffers[0] = i;
	frame->has_checksum = false;
	frame->gso_size = 0;
	c->received++;
	return true;
}

static void cplus_release(struct nic *nic, const struct nic_frame *frame)
{
	struct cplus *c = cplus_of(nic);

	give_rx(c, frame->buffers[0]);
	c->released++;
}

/* The card finds free descriptors by itself. */
static void cplus_refill(struct nic *nic)
{
}

const struct nic_ops rtl8139_cplus_ops = {
	.name = "rtl8139c+",
	.open = cplus_open,
	.close = rtl8139_close,
	.get = cplus_get,
	.send = cplus_send,
	.flush = cplus_flush,
	.reap = cplus_reap,
	.receive = cplus_receive,
	.release = cplus_release,
	.refill = cplus_refill,
	.wait = rtl8139_wait,
};
