/*
 * The e1000 (82540EM; see e1000.h for the manual) behind the interface of nic.h. Both rings are watched
 * in memory, by the descriptors' DD bits; TDT and RDT are stored to once for a batch. Interrupts, if
 * wanted, are for sleeping only.
 *
 * A frame is one legacy descriptor, or several if it is long or segments= wants it cut; with offload it
 * is a context descriptor, then data descriptors. There are as many slots as the ring has room for
 * frames of the longest kind.
 *
 * A monitor may keep stores to RDT back until the guest leaves for some other reason, as a bridge may
 * post writes. A driver that polls memory never does: when most of the ring has been given back and
 * nothing comes, STATUS is read, which pushes them through.
 */
#include "e1000.h"

#include <linux/pci_regs.h>

#include "clock.h"
#include "frame.h"
#include "lib.h"
#include "memory.h"
#include "nic.h"
#include "pci.h"

#define RING_MAX      4096 /* RDLEN and TDLEN have 13 bits in units of 8 descriptors */
#define PIECE	      4096 /* bytes for each data descriptor of a long frame */
#define JUMBO	      16288
#define LINK_TIMEOUT  (5 * NS_PER_S)
#define EERD_TIMEOUT  (50 * NS_PER_MS)
#define RX_BATCH      16	 /* descriptors that are given back at once, at least */
#define PUSH_INTERVAL (50000ull) /* ns without a frame before posted stores are pushed */

struct e1000 {
	const struct pci_device *pci;
	volatile uint8_t *regs;
	struct nic_config config;
	struct nic_intx intx;

	struct nic_slots slots;
	struct e1000_tx_desc *tx;
	uint32_t n_tx;
	uint32_t tx_tail;  /* the next to be used */
	uint32_t *tx_last; /* by slot: the descriptor that ends its frame */
	bool tx_dirty;

	struct e1000_rx_desc *rx;
	uint8_t *rx_buffers;
	uint32_t rx_buffer; /* bytes of each */
	uint32_t n_rx;
	uint32_t rx_next;
	uint32_t rx_tail;     /* the next to be given back */
	uint32_t given;	      /* given back since a load from a register */
	uint64_t quiet_since; /* ns, 0: a frame came */
	uint32_t rx_kept;     /* released, and not given back yet */
};

static struct e1000 *e1000_of(struct nic *nic)
{
	return nic->priv;
}

static volatile uint32_t *reg(const struct e1000 *e, uint32_t offset)
{
	return (volatile uint32_t *)(e->regs + offset);
}

/* Word `address` of the EEPROM (section 13.4.4), -1 if the card doesn't give it. */
static int32_t read_eeprom(const struct e1000 *e, uint32_t address)
{
	uint64_t start = clock_ns();
	uint32_t value;

	*reg(e, E1000_EERD) = address << 8 | E1000_EERD_START;
	while (!((value = *reg(e, E1000_EERD)) & E1000_EERD_DONE))
		if (clock_ns() - start > EERD_TIMEOUT)
			return -1;
	return value >> 16;
}

/* The address is in the first three words, low byte first. */
static bool read_mac(const struct e1000 *e, uint8_t mac[6])
{
	for (uint32_t i = 0; i < 3; i++) {
		int32_t word = read_eeprom(e, i);

		if (word < 0)
			return false;
		mac[2 * i] = word;
		mac[2 * i + 1] = word >> 8;
	}
	return true;
}

/* Stops the card. It takes itself out of reset; its PHY stays as it is, so that is put right by hand. */
static bool reset(const struct e1000 *e)
{
	uint64_t start = clock_ns();

	*reg(e, E1000_IMC) = ~0u;
	*reg(e, E1000_RCTL) = 0;
	*reg(e, E1000_TCTL) = 0;
	*reg(e, E1000_CTRL) = *reg(e, E1000_CTRL) | E1000_CTRL_RST;
	while (*reg(e, E1000_CTRL) & E1000_CTRL_RST)
		if (clock_ns() - start > 100 * NS_PER_MS)
			return false;
	*reg(e, E1000_IMC) = ~0u;
	*reg(e, E1000_MDIC) = E1000_MDIC_WRITE | E1000_MDIC_BMCR | E1000_BMCR_DEFAULT;
	return true;
}

static bool bring_up_link(const struct e1000 *e)
{
	uint64_t start = clock_ns();

	*reg(e, E1000_CTRL) = *reg(e, E1000_CTRL) | E1000_CTRL_SLU | E1000_CTRL_FD;
	while (!(*reg(e, E1000_STATUS) & E1000_STATUS_LU))
		if (clock_ns() - start > LINK_TIMEOUT)
			return false;
	return true;
}

/* Descriptors for the data of a frame of so many bytes. */
static uint32_t n_pieces(const struct e1000 *e, uint32_t length)
{
	return MAX((length + PIECE - 1) / PIECE, e->config.segments);
}

static bool set_up_tx(struct nic *nic)
{
	struct e1000 *e = e1000_of(nic);
	uint32_t per_slot = n_pieces(e, nic->frame_max) + e->config.offload_tx;

	e->n_tx = MIN(MAX(e->config.queue_size & ~7u, 8u), (uint32_t)RING_MAX);
	/* Full, the ring still has one descriptor to spare: TDH = TDT says that it is empty. */
	if (per_slot >= e->n_tx)
		return false;
	e->tx = memory_alloc(e->n_tx * sizeof(*e->tx), 4096);
	nic_slots_init(&e->slots, nic, (e->n_tx - 1) / per_slot);
	e->tx_last = memory_alloc(nic->n_slots * sizeof(*e->tx_last), 64);
	*reg(e, E1000_TDBAL) = memory_address(e->tx);
	*reg(e, E1000_TDBAH) = memory_address(e->tx) >> 32;
	*reg(e, E1000_TDLEN) = e->n_tx * sizeof(*e->tx);
	*reg(e, E1000_TDH) = 0;
	*reg(e, E1000_TDT) = 0;
	*reg(e, E1000_TIPG) = E1000_TIPG_IPG;
	*reg(e, E1000_TCTL) = E1000_TCTL_EN | E1000_TCTL_PSP | E1000_TCTL_CT | E1000_TCTL_COLD;
	return true;
}

/* BSIZE and BSEX for receive buffers of this many bytes, ~0: the card has no such size. */
static uint32_t buffer_bits(uint32_t bytes)
{
	for (uint32_t i = 0; i < 4; i++) {
		if (bytes == 2048u >> i)
			return E1000_RCTL_BSIZE(i);
		if (i && bytes == 2048u * 16 >> i)
			return E1000_RCTL_BSIZE(i) | E1000_RCTL_BSEX;
	}
	return ~0u;
}

static void set_up_rx(struct e1000 *e)
{
	uint32_t control = E1000_RCTL_EN | E1000_RCTL_BAM | E1000_RCTL_MPE | E1000_RCTL_SECRC |
			   buffer_bits(e->rx_buffer);

	e->n_rx = MIN(MAX(e->config.queue_size & ~7u, 8u), (uint32_t)RING_MAX);
	e->rx = memory_alloc(e->n_rx * sizeof(*e->rx), 4096);
	e->rx_buffers = memory_alloc((uint64_t)e->n_rx * e->rx_buffer, 4096);
	for (uint32_t i = 0; i < e->n_rx; i++)
		e->rx[i].address = memory_address(e->rx_buffers + (uint64_t)i * e->rx_buffer);
	*reg(e, E1000_RDBAL) = memory_address(e->rx);
	*reg(e, E1000_RDBAH) = memory_address(e->rx) >> 32;
	*reg(e, E1000_RDLEN) = e->n_rx * sizeof(*e->rx);
	*reg(e, E1000_RDH) = 0;
	e->rx_tail = e->n_rx - 1;
	*reg(e, E1000_RDT) = e->rx_tail;
	if (e->config.mtu > 1500)
		control |= E1000_RCTL_LPE;
	if (e->config.promiscuous)
		control |= E1000_RCTL_UPE;
	if (e->config.offload_rx)
		*reg(e, E1000_RXCSUM) = E1000_RXCSUM_OFFLOAD;
	*reg(e, E1000_RCTL) = control;
}

static bool is_ready(struct nic *nic, bool tx)
{
	const struct e1000 *e = e1000_of(nic);
	const struct nic_slots *slots = &e->slots;

	if (!tx)
		return e->rx[e->rx_next].status & E1000_RXD_DD;
	return slots->reaped == slots->sent ||
	       e->tx[e->tx_last[slots->reaped % slots->n]].status & E1000_TXD_DD;
}

static void arm(struct nic *nic, bool tx)
{
	*reg(e1000_of(nic), E1000_IMS) =
		tx ? E1000_ICR_TXDW : E1000_ICR_RXDMT0 | E1000_ICR_RXO | E1000_ICR_RXT0;
}

/* The load takes back the causes, and pushes the store before it through. */
static void disarm(struct nic *nic)
{
	*reg(e1000_of(nic), E1000_IMC) = ~0u;
	*reg(e1000_of(nic), E1000_ICR);
}

static bool e1000_open(struct nic *nic, const struct nic_config *config)
{
	struct e1000 *e = memory_alloc(sizeof(*e), 64);
	uint32_t frame_max = config->offload_tx ? FRAME_MAX : JUMBO;

	nic->priv = e;
	e->config = *config;
	e->config.segments = MAX(config->segments, 1u);
	e->intx = (struct nic_intx){.ready = is_ready, .arm = arm, .disarm = disarm};
	e->rx_buffer = config->rx_buffer;
	e->pci = pci_find(E1000_VENDOR, E1000_DEVICE, config->index);
	if (!e->pci)
		return nic_refuse(nic, "no-device");
	if (buffer_bits(e->rx_buffer) == ~0u)
		return nic_refuse(nic, "no-such-buffer-size");
	e->regs = pci_map_bar(e->pci, 0);
	if (!e->regs)
		return nic_refuse(nic, "no-memory-bar");
	pci_command(e->pci, PCI_COMMAND_MEMORY | PCI_COMMAND_MASTER, 0);
	if (!reset(e))
		return nic_refuse(nic, "no-reset");
	if (!nic_intx_open(&e->intx, nic, e->pci, config->interrupts))
		return false;
	if (!read_mac(e, nic->mac))
		return nic_refuse(nic, "no-eeprom");
	if (!bring_up_link(e))
		return nic_refuse(nic, "no-link");
	nic->frame_max = MIN(config->frame_size, frame_max);
	if (!set_up_tx(nic))
		return nic_refuse(nic, "ring-too-short");
	set_up_rx(e);
	return true;
}

static void e1000_close(struct nic *nic)
{
	reset(nic->priv);
	nic_intx_close(&e1000_of(nic)->intx);
}

static bool e1000_get(struct nic *nic, struct nic_slot *slot)
{
	return nic_slots_get(&e1000_of(nic)->slots, slot);
}

/* Fills the next descriptor of the ring. */
static void put(struct e1000 *e, uint64_t address, uint32_t command, uint32_t status)
{
	struct e1000_tx_desc *d = &e->tx[e->tx_tail];

	d->address = address;
	d->command = command;
	d->status = status;
	e->tx_tail = e->tx_tail + 1 == e->n_tx ? 0 : e->tx_tail + 1;
}

/* Where the checksums go and come from (section 3.3.6), in the frames of frame.h. */
static void put_context(struct e1000 *e, uint32_t length, const struct nic_offload *o)
{
	uint64_t ip = FRAME_IP_OFFSET | (FRAME_IP_OFFSET + 10) << 8 | (FRAME_TCP_OFFSET - 1) << 16;
	uint64_t tcp = o->csum_start | (o->csum_start + o->csum_offset) << 8;
	uint32_t command = E1000_TXD_DEXT | E1000_TXD_IP | E1000_TXD_TCP, segments = 0;

	if (o->gso_size) {
		command |= E1000_TXD_TSE | (length - o->header);
		segments = (uint32_t)o->gso_size << 16 | o->header << 8;
	}
	put(e, tcp << 32 | ip, command, segments);
}

/*
 * What the card wants to find in the headers of what it is to cut (section 3.5.7): no length, no
 * checksum, and a pseudo header's sum without the length.
 */
static void prepare_headers(uint8_t *frame)
{
	uint8_t *ip = frame + FRAME_IP_OFFSET;

	frame_put16(ip + 2, 0);
	frame_put16(ip + 10, 0);
	frame_put16(frame + FRAME_TCP_OFFSET + FRAME_TCP_CHECKSUM, frame_sum(ip + 12, 8, 6));
}

static void e1000_send(struct nic *nic, const struct nic_slot *slot, uint32_t length,
		       const struct nic_offload *offload)
{
	struct e1000 *e = e1000_of(nic);
	uint32_t command = E1000_TXD_IFCS, options = 0, at = 0, n = n_pieces(e, length);

	if (offload) {
		put_context(e, length, offload);
		command |= E1000_TXD_DEXT | E1000_TXD_DATA;
		options = E1000_TXD_TXSM;
		if (offload->gso_size) {
			prepare_headers(slot->frame);
			command |= E1000_TXD_TSE;
			options |= E1000_TXD_IXSM;
		}
	}
	for (uint32_t i = 0; i < n; i++) {
		uint32_t end = (uint64_t)length * (i + 1) / n;

		if (i == n - 1) {
			command |= E1000_TXD_EOP | E1000_TXD_RS;
			e->tx_last[slot->number] = e->tx_tail;
		}
		put(e, memory_address(slot->frame + at), command | (end - at), options);
		at = end;
	}
	e->slots.sent++;
	e->tx_dirty = true;
}

static void e1000_flush(struct nic *nic)
{
	struct e1000 *e = e1000_of(nic);

	if (!e->tx_dirty)
		return;
	e->tx_dirty = false;
	barrier();
	*reg(e, E1000_TDT) = e->tx_tail;
	nic->tx_doorbells++;
}

static uint32_t e1000_reap(struct nic *nic)
{
	struct e1000 *e = e1000_of(nic);
	struct nic_slots *slots = &e->slots;
	uint32_t n = 0;

	while (slots->reaped < slots->sent &&
	       e->tx[e->tx_last[slots->reaped % slots->n]].status & E1000_TXD_DD) {
		slots->reaped++;
		n++;
	}
	return n;
}

/* Nothing has come: has everything that was stored to RDT got through? */
static void push(struct e1000 *e)
{
	uint64_t now;

	if (e->given < e->n_rx / 2)
		return;
	now = clock_ns();
	if (!e->quiet_since) {
		e->quiet_since = now;
	} else if (now - e->quiet_since > PUSH_INTERVAL) {
		*reg(e, E1000_STATUS);
		e->given = 0;
		e->quiet_since = 0;
	}
}

static bool e1000_receive(struct nic *nic, struct nic_frame *frame)
{
	struct e1000 *e = e1000_of(nic);
	uint32_t i = e->rx_next, bytes = 0;
	uint8_t status;

	frame->n_parts = 0;
	do {
		struct e1000_rx_desc *d = &e->rx[i];

		status = d->status;
		if (!(status & E1000_RXD_DD)) {
			push(e);
			return false;
		}
		barrier();
		if (d->errors & E1000_RXE_FRAME || d->length > e->rx_buffer ||
		    frame->n_parts == NIC_MAX_PARTS) {
			nic->broken = true;
			return false;
		}
		frame->parts[frame->n_parts] =
			(struct nic_part){e->rx_buffers + (uint64_t)i * e->rx_buffer, d->length};
		frame->buffers[frame->n_parts++] = i;
		bytes += d->length;
		i = (i + 1) % e->n_rx;
	} while (!(status & E1000_RXD_EOP));
	frame->length = bytes;
	frame->has_checksum = (status & (E1000_RXD_TCPCS | E1000_RXD_IXSM)) == E1000_RXD_TCPCS;
	frame->gso_size = 0;
	e->rx_next = i;
	e->quiet_since = 0;
	return true;
}

/* Frames are released in the order they came. */
static void e1000_release(struct nic *nic, const struct nic_frame *frame)
{
	struct e1000 *e = e1000_of(nic);

	for (uint32_t i = 0; i < frame->n_parts; i++)
		e->rx[frame->buffers[i]].status = 0;
	e->rx_tail = (e->rx_tail + frame->n_parts) % e->n_rx;
	e->rx_kept += frame->n_parts;
}

static void e1000_refill(struct nic *nic)
{
	struct e1000 *e = e1000_of(nic);

	if (e->rx_kept < MIN((uint32_t)RX_BATCH, e->n_rx / 4))
		return;
	e->given += e->rx_kept;
	e->rx_kept = 0;
	barrier();
	*reg(e, E1000_RDT) = e->rx_tail;
	nic->rx_doorbells++;
}

static bool e1000_wait(struct nic *nic, bool tx, uint64_t timeout_ns)
{
	return nic_intx_wait(&e1000_of(nic)->intx, nic, tx, timeout_ns);
}

const struct nic_ops e1000_ops = {
	.name = "e1000",
	.open = e1000_open,
	.close = e1000_close,
	.get = e1000_get,
	.send = e1000_send,
	.flush = e1000_flush,
	.reap = e1000_reap,
	.receive = e1000_receive,
	.release = e1000_release,
	.refill = e1000_refill,
	.wait = e1000_wait,
};
