/*
 * Intel 8255x: the receive unit (RU). The manual, §6.4.3 and §6.5.4.
 *
 * The driver's receive frame area is a list of descriptors (RFDs), each for a frame:
 *
 *	+0  status (C, OK, ...)   +2  command (EL, S, SF)   +4  link
 *	+8  first RBD, or ffffffff     +12  actual count (EOF, F)   +14  size   +16  data
 *
 * In simplified mode the frame goes to where `data` is. In flexible mode (SF) it goes to buffers of
 * another list, of receive buffer descriptors (RBDs), as many as it takes; the next frame goes on
 * with the next one:
 *
 *	+0  actual count (EOF, F)   +4  link   +8  buffer's address   +12  size (EL)
 *
 *	idle --start--> ready --EL--> no resources --start--> ready
 *	                  | ^
 *	                  S resume
 *	                  v |
 *	               suspended          leaving "ready" is an RNR interrupt
 *
 * While the unit isn't ready, frames wait in the back end, as many as that keeps; the real card
 * loses them and counts (receive resource errors). Offsets in both lists are relative to the RU
 * base. A descriptor is read anew for each frame, once, and what was read is kept until the frame
 * is there; lists are never walked further than one frame needs, and never more than I8255X_RBDS
 * buffers.
 *
 * Not here: frames with errors of the wire (there are none), header RFDs (load HDS is taken, and
 * then RFDs are used whole), receive DMA redirect, early receive interrupts, pause frames (filtered
 * like any other address), the extended RFD of the 82550 and later.
 */
#include <errno.h>
#include <string.h>

#include "dev/i8255x.h"

/* RFD status (table 52). */
enum {
	RFD_NO_IA_MATCH = 0x0002, /* the destination isn't this card's address */
	RFD_NO_MATCH = 0x0004,	  /* it came in by promiscuous mode only */
	RFD_TYPE = 0x0020,	  /* bytes 12 and 13 are a type, not a length */
	RFD_NO_SPACE = 0x0200,	  /* it didn't fit, and its end is lost */
};

#define RFD_HEADER  16
#define RFD_SIZE    0x3fff
#define COUNT_F	    0x4000 /* the count was written */
#define COUNT_EOF   0x8000 /* the frame ends here */
#define NO_RBD	    0xffffffffu
#define LONGEST	    1514       /* bytes of a frame with 1500 bytes of data, no FCS */
#define WANTED_ROOM (4096 + 4) /* of RBDs, for a frame and its FCS */

uint8_t i8255x_ru_status(const struct i8255x *d)
{
	uint8_t state = (uint8_t)d->ru_state;

	return d->rbd_end && state != RU_IDLE ? state | RUS_NO_RBDS : state;
}

/* ---- states ---- */

static void ru_leave(struct i8255x *d, enum i8255x_ru_state state)
{
	d->ru_state = state;
	if (state == RU_NO_RESOURCES)
		counter_add(&d->counters.no_resources, 1);
	i8255x_raise(d, STAT_RNR);
}

static void ru_go(struct i8255x *d)
{
	d->ru_state = RU_READY;
	nic_rx_kick(&d->nic);
}

void i8255x_ru_stop(struct i8255x *d)
{
	d->ru_state = RU_IDLE;
	d->rbd_end = false;
	d->rbd_next = NO_RBD;
}

/* More buffers stand behind the one that was the last, if its EL bit is clear now. */
static void ru_rbd_resume(struct i8255x *d)
{
	uint8_t rbd[16];

	if (!d->rbd_end || i8255x_dma_read(d, d->ru_base + d->rbd_last, rbd, sizeof(rbd)) ||
	    pci_get16(rbd + 12) & CB_EL)
		return;
	d->rbd_next = pci_get32(rbd + 4);
	d->rbd_end = false;
	if (d->ru_state == RU_NO_RESOURCES)
		ru_go(d);
}

void i8255x_ru_command(struct i8255x *d, unsigned int ruc)
{
	switch (ruc) {
	case 1: /* RU start */
		i8255x_ru_stop(d);
		d->ru_next = d->general_pointer;
		ru_go(d);
		break;
	case 2: /* RU resume */
		if (d->ru_state == RU_SUSPENDED)
			ru_go(d);
		break;
	case 4: /* RU abort */
		if (d->ru_state == RU_READY)
			ru_leave(d, RU_IDLE);
		i8255x_ru_stop(d);
		break;
	case 6: /* load RU base */
		d->ru_base = d->general_pointer;
		break;
	case 7: /* RBD resume */
		ru_rbd_resume(d);
		break;
	}
}

/* ---- buffers for the next frame ---- */

/* Flexible mode: the chain's buffers from the next one on, as many as a frame may need. */
static int ru_rbds(struct i8255x *d, struct iovec *iov, int max)
{
	uint32_t offset = d->rfd_rbd != NO_RBD ? d->rfd_rbd : d->rbd_next;
	bool end = d->rfd_rbd == NO_RBD && (d->rbd_end || offset == NO_RBD);
	uint32_t room = 0;
	uint8_t rbd[16];
	int n = 1;

	d->n_rbds = 0;
	while (!end && d->n_rbds < I8255X_RBDS && room < WANTED_ROOM) {
		uint32_t size;
		int r;

		if (i8255x_dma_read(d, d->ru_base + offset, rbd, sizeof(rbd)))
			break;
		size = pci_get16(rbd + 12) & RFD_SIZE;
		r = mem_iov(d->pci.dev.platform->mem, pci_get32(rbd + 8), size, iov + n, max - n);
		if (r < 0)
			break;
		n += r;
		room += size;
		d->rbd[d->n_rbds++] = (struct i8255x_rbd){offset, size};
		end = pci_get16(rbd + 12) & CB_EL;
		offset = pci_get32(rbd + 4);
	}
	d->rbd_end |= n == 1;
	return n;
}

int i8255x_rx_buffers(struct nic *nic, struct iovec *iov, int max)
{
	struct i8255x *d = i8255x_of(nic);
	uint32_t addr = d->ru_base + d->ru_next;
	uint8_t rfd[RFD_HEADER];
	int n = 1;

	if (d->ru_state != RU_READY || !pci_may_dma(&d->pci))
		return 1;
	if (!i8255x_dma_read(d, addr, rfd, sizeof(rfd))) {
		d->rfd_command = pci_get16(rfd + 2);
		d->rfd_link = pci_get32(rfd + 4);
		d->rfd_rbd = pci_get32(rfd + 8);
		if (d->rfd_command & CB_SF)
			n = ru_rbds(d, iov, max);
		else
			n += mem_iov(d->pci.dev.platform->mem, addr + RFD_HEADER,
				     pci_get16(rfd + 14) & RFD_SIZE, iov + 1, max - 1);
	}
	/* An RFD without room is left alone: drivers keep one of size 0 and with EL set in front
	 * of the one whose link they are going to write. */
	if (n <= 1) {
		ru_leave(d, RU_NO_RESOURCES);
		return 1;
	}
	return n;
}

/* ---- a frame ---- */

void i8255x_ru_configured(struct i8255x *d)
{
	d->filter.promiscuous = i8255x_config_bit(d, 15, 0);
	d->filter.broadcast = !i8255x_config_bit(d, 15, 1);
	d->filter.all_multicast = i8255x_config_bit(d, 21, 3);
	d->filter.unicast = d->filter.multicast = true;
	d->filter.hash = ETH_HASH_LE_TOP6;
	nic_rx_kick(&d->nic);
}

/* RFD status for this destination; -1: not for this card. */
static int ru_match(const struct i8255x *d, const uint8_t *to)
{
	enum eth_match match = eth_filter_match(&d->filter, to);

	/* Multiple IA: station addresses are in the table, too. */
	if ((match == ETH_NO_MATCH || match == ETH_MATCH_PROMISCUOUS) &&
	    i8255x_config_bit(d, 20, 6) && !eth_is_multicast(to) &&
	    d->filter.table >> eth_hash_index(d->filter.hash, to) & 1)
		return RFD_NO_IA_MATCH;
	switch (match) {
	case ETH_NO_MATCH:
		return -1;
	case ETH_MATCH_STATION:
		return 0;
	case ETH_MATCH_PROMISCUOUS:
		return RFD_NO_MATCH | RFD_NO_IA_MATCH;
	default:
		return RFD_NO_IA_MATCH;
	}
}

/* A frame with a length in bytes 12 and 13 loses its padding; any gets its FCS, if the driver
 * wants it. */
static void ru_trim(struct i8255x *d, struct nic_rx *rx)
{
	unsigned int type = (unsigned int)rx->start[12] << 8 | rx->start[13];
	uint8_t fcs[4];

	if (i8255x_config_bit(d, 18, 0) && type <= 1500 && 14 + type < rx->len)
		rx->len = 14 + type;
	if (i8255x_config_bit(d, 18, 2)) {
		nic_rx_fcs(rx, fcs);
		nic_rx_append(rx, fcs, sizeof(fcs));
	}
}

/* Counts in the RBDs that the frame went into. */
static void ru_write_rbds(struct i8255x *d, uint32_t len)
{
	uint8_t word[2], rbd[16];

	for (int i = 0; i < d->n_rbds; i++) {
		uint32_t addr = d->ru_base + d->rbd[i].offset;
		uint32_t count = len < d->rbd[i].size ? len : d->rbd[i].size;
		bool last;

		len -= count;
		last = !len || i == d->n_rbds - 1;
		pci_put16(word, (uint16_t)(count | COUNT_F | (last ? COUNT_EOF : 0)));
		if (last && !i8255x_dma_read(d, addr, rbd, sizeof(rbd))) {
			d->rbd_last = d->rbd[i].offset;
			d->rbd_next = pci_get32(rbd + 4);
			d->rbd_end = pci_get16(rbd + 12) & CB_EL;
		}
		i8255x_dma_write(d, addr, word, 2);
		if (last)
			break;
	}
}

static void ru_write_rfd(struct i8255x *d, uint32_t len, uint16_t status)
{
	uint32_t addr = d->ru_base + d->ru_next;
	uint8_t word[4];

	if (d->rfd_command & CB_SF) {
		ru_write_rbds(d, len);
		if (d->rfd_rbd == NO_RBD && d->n_rbds) {
			pci_put32(word, d->rbd[0].offset);
			i8255x_dma_write(d, addr + 8, word, 4);
		}
		len = 0; /* of it, in the RFD */
	}
	pci_put16(word, (uint16_t)(len | COUNT_F | COUNT_EOF));
	i8255x_dma_write(d, addr + 12, word, 2);
	pci_put16(word, status); /* last: then the driver may look */
	i8255x_dma_write(d, addr, word, 2);
}

void i8255x_rx_frame(struct nic *nic, struct nic_rx *rx)
{
	struct i8255x *d = i8255x_of(nic);
	bool save_bad = i8255x_config_bit(d, 6, 7);
	bool too_long = rx->len > LONGEST && !(d->chip->extended && i8255x_config_bit(d, 18, 3));
	bool deaf = !d->looping && (i8255x_loops_back(d) || !mii_state(&d->mii).up);
	int status = deaf ? -1 : ru_match(d, rx->start);
	uint16_t command = d->rfd_command;
	bool cut;

	if (status < 0) {
		counter_add(&nic->counters.rx_filtered, 1);
		return;
	}
	if (too_long)
		counter_add(&nic->counters.rx_too_long, 1);
	if (too_long && !save_bad)
		return;
	if ((rx->start[12] << 8 | rx->start[13]) > 1500)
		status |= RFD_TYPE;
	ru_trim(d, rx);
	cut = rx->len > rx->room;
	if (cut) {
		status |= RFD_NO_SPACE;
		d->stats[STAT_RX_RESOURCE]++;
	} else if (!too_long) {
		d->stats[STAT_RX_GOOD]++;
	}
	d->rx_byte_count = (uint32_t)(cut ? rx->room : rx->len);
	ru_write_rfd(d, d->rx_byte_count,
		     (uint16_t)(CB_C | (cut || too_long ? 0 : CB_OK) | status));

	d->ru_next = d->rfd_link;
	if (command & CB_EL)
		ru_leave(d, RU_NO_RESOURCES);
	else if (command & CB_S)
		ru_leave(d, RU_SUSPENDED);
	i8255x_raise(d, STAT_FR);
}
