/*
 * Am79C970A: initialization block, transmit and receive descriptor rings. Data sheet: AMD
 * publication 19436, "Am79C970A PCnet-PCI II", sections Initialization, Buffer Management,
 * Transmit/Receive Operation, Loopback Operation, and Initialization Block, Receive and Transmit
 * Descriptors.
 *
 * A descriptor is 8 bytes (software style 0) or 16 (1, 2, 3). Here it is (address, length, flags):
 * flags are bits 31-16 of RMD1/TMD1, which has OWN and what goes with it. OWN is read first and
 * written last.
 *
 *	transmit: descriptors from STP to ENP -> frame -> nic_send() -> status, OWN cleared, of each
 *	receive:  descriptors with OWN set -> buffers -> frame -> status, OWN cleared, of those used
 *
 * A descriptor of the transmit ring keeps OWN until the whole frame is gone: the card keeps no
 * copy, and the back end may be full.
 *
 * The card finds out by polling that a ring has descriptors again. Here TDMD and STRT make it look
 * at the transmit ring, any write to CSR0 or CSR3 at the receive ring, and a timer at the pace of
 * CSR47 and CSR49, that runs only where it may find something: for a driver that has never used
 * TDMD, for a while after something was sent, and while a frame waits for a receive descriptor.
 * Such a frame is not lost at once, as on a wire, but after RX_WAITS polls; then it counts as
 * missed.
 *
 * What leaves RAM (ring, buffer) is a master abort: CSR5 SINT, the card stops. A frame that never
 * ends is dropped after PCNET_CHAIN_MAX descriptors, and what follows of it is skipped, since it
 * has no STP.
 *
 * Runs on the vCPU's thread or the I/O thread, under the device's lock. Rings and buffers are the
 * guest's memory; nothing is kept of it beyond a call.
 *
 * Not done: look-ahead packet processing (CSR3 LAPPEN is kept, a frame comes at once), collisions,
 * deferral, underflow for want of bus time.
 */
#include <endian.h>
#include <errno.h>
#include <string.h>

#include "dev/eth_filter.h"
#include "dev/pcnet.h"

/* Flags of RMD1 and TMD1, bits 31-16. */
enum {
	OWN = 1 << 15,
	ERR = 1 << 14,
	STP = 1 << 9,
	ENP = 1 << 8,

	RMD_OFLO = 1 << 12,
	RMD_CRC = 1 << 11,
	RMD_BUFF = 1 << 10,
	RMD_PAM = 1 << 6,
	RMD_LAFM = 1 << 5,
	RMD_BAM = 1 << 4,
	RMD_STATUS = 0x7ff0,

	TMD_ADD_FCS = 1 << 13, /* NO_FCS in the ILACC's style */
	TMD_LTINT = 1 << 12,   /* MORE, once the card has written it */
	TMD_ONE = 1 << 11,
	TMD_DEF = 1 << 10,
	TMD_BPE = 1 << 7,
};

/* Errors of TMD2, bits 31-16 (TMD3 in style 0). */
enum {
	TMD2_BUFF = 1 << 15,
	TMD2_UFLO = 1 << 14,
	TMD2_LCAR = 1 << 11,
	TMD2_RTRY = 1 << 10,
};

#define FCS_SIZE      4
#define FRAME_LONGEST 1518 /* bytes with FCS; more is BABL (CSR0) */
#define MCNT_MAX      4095 /* what the descriptor can say */
#define LENGTH_PADDED 46   /* 802.3 length fields below this have padding behind the data */
#define ETH_HEADER    14
#define CLOCK_NS      30 /* 33 MHz */
#define POLL_NS_MIN   100000
#define TX_POLLS      16
#define RX_WAITS      512 /* a second, unless CSR49 says otherwise */

struct desc {
	uint32_t addr, len;
	uint16_t flags;
};

/* ---- descriptors and initialization block in memory ---- */

static unsigned int style(const struct pcnet *p)
{
	return p->bcr[BCR_SWS] & 0xff;
}

static bool wide(const struct pcnet *p)
{
	return p->bcr[BCR_SWS] & BCR_SSIZE32;
}

/* Bits 31-24 of all addresses in 16-bit structures (BCR20, SSIZE32). */
static uint32_t upper(const struct pcnet *p)
{
	return (uint32_t)(p->csr[2] & 0xff00) << 16;
}

uint32_t pcnet_descriptor(const struct pcnet *p, unsigned int base, uint32_t at)
{
	uint32_t size = wide(p) ? 16 : 8;

	return (pcnet_csr32(p, base) & -size) + at * size;
}

/* false: not in RAM. */
static bool desc_read(struct pcnet *p, uint32_t gpa, struct desc *d)
{
	uint32_t *w = mem_ptr(p->pci.dev.platform->mem, gpa, wide(p) ? 16 : 8);
	uint16_t *h = (uint16_t *)w, bcnt;
	uint32_t md1;

	if (!w)
		return false;
	if (!wide(p)) {
		uint16_t h1 = le16toh(__atomic_load_n(&h[1], __ATOMIC_ACQUIRE));

		d->flags = h1 & 0xff00;
		d->addr = upper(p) | (uint32_t)(h1 & 0xff) << 16 |
			  le16toh(__atomic_load_n(&h[0], __ATOMIC_RELAXED));
		bcnt = le16toh(__atomic_load_n(&h[2], __ATOMIC_RELAXED));
	} else {
		unsigned int n = style(p) == SWSTYLE_PCNET_PCI2 ? 2 : 0;

		md1 = le32toh(__atomic_load_n(&w[1], __ATOMIC_ACQUIRE));
		d->flags = (uint16_t)(md1 >> 16);
		d->addr = le32toh(__atomic_load_n(&w[n], __ATOMIC_RELAXED));
		bcnt = (uint16_t)md1;
	}
	d->len = -bcnt & 0xfff;
	return true;
}

/* Gives a descriptor back, or changes it: flags as they are to be, and, if `more`, the word with
 * MCNT (low half) or the transmitter's errors (high half). Only what the card writes is written. */
static void desc_write(struct pcnet *p, uint32_t gpa, uint16_t flags, bool more, uint32_t word)
{
	uint32_t *w = mem_ptr(p->pci.dev.platform->mem, gpa, wide(p) ? 16 : 8);
	uint16_t *h = (uint16_t *)w;

	if (!w)
		return;
	if (!wide(p)) {
		uint16_t addr = le16toh(__atomic_load_n(&h[1], __ATOMIC_RELAXED)) & 0xff;

		if (more)
			__atomic_store_n(&h[3], htole16((uint16_t)(word | word >> 16)),
					 __ATOMIC_RELAXED);
		__atomic_store_n(&h[1], htole16((flags & 0xff00) | addr), __ATOMIC_RELEASE);
	} else {
		unsigned int n = style(p) == SWSTYLE_PCNET_PCI2 ? 0 : 2;
		uint32_t bcnt = le32toh(__atomic_load_n(&w[1], __ATOMIC_RELAXED)) & 0xffff;

		if (more)
			__atomic_store_n(&w[n], htole32(word), __ATOMIC_RELAXED);
		__atomic_store_n(&w[1], htole32((uint32_t)flags << 16 | bcnt), __ATOMIC_RELEASE);
	}
}

static void set_ring(struct pcnet *p, unsigned int base, unsigned int length, uint32_t addr,
		     unsigned int code)
{
	pcnet_set_csr32(p, base, addr);
	p->csr[length] = (uint16_t)(0x10000 - (1 << (code < 9 ? code : 9)));
}

bool pcnet_read_init_block(struct pcnet *p)
{
	const struct mem *mem = p->pci.dev.platform->mem;
	uint32_t gpa = pcnet_csr32(p, 1);
	uint8_t b[28];

	if (mem_read(mem, gpa, b, wide(p) ? 28 : 24))
		return false;
	p->csr[CSR_MODE] = pci_get16(b);
	if (wide(p)) {
		for (unsigned int i = 0; i < 3; i++)
			p->csr[CSR_PADR + i] = pci_get16(b + 4 + 2 * i);
		for (unsigned int i = 0; i < 4; i++)
			p->csr[CSR_LADRF + i] = pci_get16(b + 12 + 2 * i);
		set_ring(p, CSR_BADR, CSR_RCVRL, pci_get32(b + 20) & ~15u, b[2] >> 4);
		set_ring(p, CSR_BADX, CSR_XMTRL, pci_get32(b + 24) & ~15u, b[3] >> 4);
		p->csr[6] = (uint16_t)((b[3] & 0xf0) << 8 | (b[2] & 0xf0) << 4);
	} else {
		for (unsigned int i = 0; i < 3; i++)
			p->csr[CSR_PADR + i] = pci_get16(b + 2 + 2 * i);
		for (unsigned int i = 0; i < 4; i++)
			p->csr[CSR_LADRF + i] = pci_get16(b + 8 + 2 * i);
		set_ring(p, CSR_BADR, CSR_RCVRL, upper(p) | (pci_get32(b + 16) & 0xfffff8),
			 b[19] >> 5);
		set_ring(p, CSR_BADX, CSR_XMTRL, upper(p) | (pci_get32(b + 20) & 0xfffff8),
			 b[23] >> 5);
		p->csr[6] = (uint16_t)((b[23] & 0xe0) << 7 | (b[19] & 0xe0) << 3);
	}
	nic_set_station(&p->nic, b + (wide(p) ? 4 : 2));
	p->csr[CSR_TXPOLLINT] = p->csr[CSR_RXPOLLINT] = 0;
	return true;
}

/* ---- polling ---- */

static void arm(struct pcnet *p, struct nic_timer *t, uint16_t interval)
{
	uint64_t ns = (0x10000 - (uint64_t)interval) * CLOCK_NS;

	if (!t->deadline_ns)
		nic_timer_set(t, loop_now_ns() + (ns < POLL_NS_MIN ? POLL_NS_MIN : ns));
}

static bool may_transmit(const struct pcnet *p)
{
	return p->csr[0] & CSR0_TXON && !(p->csr[5] & CSR5_SPND) && pci_may_dma(&p->pci);
}

static void arm_tx_poll(struct pcnet *p)
{
	if (may_transmit(p) && !(p->csr[4] & CSR4_TXDPOLL) && (!p->tdmd_seen || p->tx_polls))
		arm(p, &p->tx_poll, p->csr[CSR_TXPOLLINT]);
}

static void tx_poll(struct nic_timer *t)
{
	struct pcnet *p = pcnet_of(t->nic);

	if (p->tx_polls)
		p->tx_polls--;
	pcnet_transmit(p);
}

static void rx_poll(struct nic_timer *t)
{
	nic_rx_kick(t->nic);
}

void pcnet_ring_realize(struct pcnet *p)
{
	nic_timer_init(&p->tx_poll, &p->nic, tx_poll);
	nic_timer_init(&p->rx_poll, &p->nic, rx_poll);
}

void pcnet_poll_transmit(struct pcnet *p)
{
	p->tx_polls = TX_POLLS;
	pcnet_transmit(p);
}

/* ---- transmit ---- */

static uint32_t next(uint32_t at, uint32_t length)
{
	return at + 1 < length ? at + 1 : 0;
}

/* Gives `n` descriptors back, from tx_at on; the last one with these errors of TMD2. */
static void tx_done(struct pcnet *p, unsigned int n, uint16_t errors)
{
	uint32_t length = pcnet_ring_length(p, CSR_XMTRL);
	struct desc d = {0};

	for (unsigned int i = 0; i < n; i++) {
		uint32_t gpa = pcnet_descriptor(p, CSR_BADX, p->tx_at);
		bool last = i == n - 1;

		if (!desc_read(p, gpa, &d))
			return;
		desc_write(p, gpa,
			   (uint16_t)((d.flags &
				       ~(OWN | ERR | TMD_LTINT | TMD_ONE | TMD_DEF | TMD_BPE)) |
				      (last && errors ? ERR : 0)),
			   last, (uint32_t)errors << 16);
		p->tx_at = next(p->tx_at, length);
	}
	if (errors ||
	    (!(p->csr[5] & CSR5_TOKINTD) && (!(p->csr[5] & CSR5_LTINTEN) || d.flags & TMD_LTINT)))
		p->csr[0] |= CSR0_TINT;
}

/* The receiver hears the transmitter. */
static void tx_loop(struct pcnet *p)
{
	p->looping = true;
	nic_loop(&p->nic, &p->tx);
	p->looping = false;
}

/* Sends p->tx, all of a frame; `first` and `last`: its descriptors. 0 with errors of TMD2, or
 * -EAGAIN. */
static int tx_send(struct pcnet *p, const struct desc *first, const struct desc *last,
		   uint16_t *errors)
{
	uint16_t mode = p->csr[CSR_MODE];
	bool ilacc = style(p) == SWSTYLE_ILACC;
	bool pad = p->csr[4] & CSR4_APAD_XMT;
	bool add_fcs = pad || (!ilacc && first->flags & TMD_ADD_FCS) ||
		       (!(mode & CSR15_DXMTFCS) && !(ilacc && last->flags & TMD_ADD_FCS));
	bool good = true;
	int r = 0;

	*errors = 0;
	if (pad)
		frame_pad(&p->tx, FRAME_MIN);
	p->loop_has_fcs = !add_fcs;
	if (!add_fcs)
		good = frame_take_fcs(&p->tx, p->loop_fcs);
	p->csr[4] |= CSR4_TXSTRT;
	if ((mode & (CSR15_LOOP | CSR15_INTL)) == (CSR15_LOOP | CSR15_INTL)) {
		if (mode & CSR15_FCOLL)
			*errors = TMD2_RTRY;
		else
			tx_loop(p);
		return 0;
	}
	/* Nobody on the wire takes one with a wrong FCS. */
	r = good ? nic_send(&p->nic, &p->tx, NULL) : 0;
	if (r)
		return r;
	if (!good)
		counter_add(&p->nic.counters.tx_bad, 1);
	if (!p->nic.link && !(mode & CSR15_DLNKTST))
		*errors = TMD2_LCAR;
	if (p->tx.len + FCS_SIZE > FRAME_LONGEST)
		p->csr[0] |= CSR0_BABL;
	if (mode & CSR15_LOOP)
		tx_loop(p);
	return 0;
}

/* The chain ends without ENP: the transmitter runs dry (TMD2, BUFF). */
static void tx_underflow(struct pcnet *p, unsigned int n)
{
	counter_add(&p->nic.counters.tx_bad, 1);
	tx_done(p, n, TMD2_BUFF | TMD2_UFLO);
	if (!(p->csr[3] & CSR3_DXSUFLO))
		p->csr[0] &= (uint16_t)~CSR0_TXON;
}

/* Adds a descriptor's buffer to the frame; false: it isn't in RAM, and the card has stopped. */
static bool tx_add(struct pcnet *p, const struct desc *d)
{
	const struct mem *mem = p->pci.dev.platform->mem;
	bool was_bad = p->tx.bad;
	struct iovec iov[2];

	frame_add(&p->tx, mem, d->addr, d->len);
	if (!p->tx.bad || was_bad || mem_iov(mem, d->addr, d->len, iov, 2) > 0)
		return true;
	counter_add(&p->nic.counters.tx_bad, 1);
	pcnet_master_abort(p);
	return false;
}

/* Puts the frame that starts at d (tx_at) together. Returns its descriptors, d being the last; 0:
 * none, the chain was malformed and is dealt with. */
static unsigned int tx_gather(struct pcnet *p, struct desc *d)
{
	uint32_t length = pcnet_ring_length(p, CSR_XMTRL), at = p->tx_at;

	frame_reset(&p->tx);
	for (unsigned int n = 1;; n++) {
		if (!tx_add(p, d))
			return 0;
		if (d->flags & ENP)
			return n;
		if (n == PCNET_CHAIN_MAX) {
			counter_add(&p->nic.counters.tx_bad, 1);
			tx_done(p, n, TMD2_UFLO);
			return 0;
		}
		at = next(at, length);
		if (!desc_read(p, pcnet_descriptor(p, CSR_BADX, at), d)) {
			pcnet_master_abort(p);
			return 0;
		}
		/* The ring has come round to a descriptor that is part of the frame already, or the
		 * driver hasn't filled in the next. */
		if (at == p->tx_at || !(d->flags & OWN)) {
			tx_underflow(p, n);
			return 0;
		}
	}
}

/* Sends a frame, or skips a descriptor; false: there is none, or it has to wait. */
static bool tx_one(struct pcnet *p)
{
	uint32_t gpa = pcnet_descriptor(p, CSR_BADX, p->tx_at);
	struct desc first, last;
	uint16_t errors;
	unsigned int n;

	if (!may_transmit(p))
		return false;
	if (!desc_read(p, gpa, &first)) {
		pcnet_master_abort(p);
		return false;
	}
	if (!(first.flags & OWN))
		return false;
	if (!(first.flags & STP)) {
		desc_write(p, gpa, first.flags & (uint16_t)~OWN, false, 0);
		p->tx_at = next(p->tx_at, pcnet_ring_length(p, CSR_XMTRL));
		return true;
	}
	last = first;
	n = tx_gather(p, &last);
	if (!n)
		return true;
	if (tx_send(p, &first, &last, &errors))
		return false;
	tx_done(p, n, errors);
	p->tx_polls = TX_POLLS;
	return true;
}

void pcnet_transmit(struct pcnet *p)
{
	int n = 0;

	while (n < NIC_TX_BURST && tx_one(p))
		n++;
	if (n == NIC_TX_BURST)
		nic_tx_later(&p->nic);
	pcnet_update_irq(p);
	arm_tx_poll(p);
}

void pcnet_tx_resume(struct nic *nic)
{
	pcnet_transmit(pcnet_of(nic));
}

/* ---- receive ---- */

static bool may_receive(const struct pcnet *p)
{
	uint16_t loop = p->csr[CSR_MODE] & (CSR15_LOOP | CSR15_INTL);

	return p->csr[0] & CSR0_RXON && !(p->csr[5] & CSR5_SPND) && pci_may_dma(&p->pci) &&
	       (p->looping || loop != (CSR15_LOOP | CSR15_INTL));
}

/* There is no descriptor: frames wait for one, and after a while they are missed. */
static int rx_wait(struct pcnet *p, struct iovec *iov)
{
	if (p->rx_waits < RX_WAITS && !p->looping) {
		p->rx_waits++;
		arm(p, &p->rx_poll, p->csr[CSR_RXPOLLINT]);
		return 1;
	}
	iov[1] = (struct iovec){p->missed, sizeof(p->missed)};
	return 2;
}

int pcnet_rx_buffers(struct nic *nic, struct iovec *iov, int max)
{
	struct pcnet *p = pcnet_of(nic);
	uint32_t length = pcnet_ring_length(p, CSR_RCVRL), at = p->rx_at, room = 0;
	struct pcnet_rx_desc *found = p->rx_desc;
	struct desc d;
	int n = 1, r;

	p->n_rx_desc = 0;
	if (!may_receive(p))
		return 1;
	while (room < MCNT_MAX && p->n_rx_desc < PCNET_CHAIN_MAX && n < max) {
		found->gpa = pcnet_descriptor(p, CSR_BADR, at);
		if (!desc_read(p, found->gpa, &d)) {
			pcnet_master_abort(p);
			return 1;
		}
		if (!(d.flags & OWN))
			break;
		if (n == 1 && p->csr[CSR_RCVALGN] & 1 && d.len > 2) {
			d.addr += 2;
			d.len -= 2;
		}
		r = mem_iov(p->pci.dev.platform->mem, d.addr, d.len, iov + n, max - n);
		if (r == -EFAULT) {
			pcnet_master_abort(p);
			return 1;
		}
		if (r < 0)
			break;
		n += r;
		found++->len = d.len;
		room += d.len;
		p->n_rx_desc++;
		at = next(at, length);
		if (at == p->rx_at)
			break;
	}
	if (n == 1) {
		p->n_rx_desc = 0;
		return rx_wait(p, iov);
	}
	p->rx_waits = 0;
	return n;
}

void pcnet_poll_receive(struct pcnet *p)
{
	struct desc d;

	/* Frames wait: is it worth waking the I/O thread? */
	if (p->rx_waits && desc_read(p, pcnet_descriptor(p, CSR_BADR, p->rx_at), &d) &&
	    !(d.flags & OWN))
		return;
	nic_rx_kick(&p->nic);
}

/* Is the frame for this card? *flags: how RMD1 puts it. */
static bool rx_match(struct pcnet *p, const struct nic_rx *rx, uint16_t *flags)
{
	uint16_t mode = p->csr[CSR_MODE];
	struct eth_filter f = {
		.promiscuous = mode & CSR15_PROM,
		.broadcast = !(mode & CSR15_DRCVBC),
		.unicast = !(mode & CSR15_DRCVPA),
		.multicast = true,
		.hash = ETH_HASH_LE_TOP6,
		.table = pcnet_csr32(p, CSR_LADRF) | (uint64_t)pcnet_csr32(p, CSR_LADRF + 2) << 32,
	};
	static const uint16_t match[] = {
		[ETH_MATCH_STATION] = RMD_PAM,
		[ETH_MATCH_MULTICAST] = RMD_LAFM,
		[ETH_MATCH_BROADCAST] = RMD_BAM,
		[ETH_MATCH_PROMISCUOUS] = 0,
	};
	enum eth_match m;

	for (unsigned int i = 0; i < 3; i++)
		pci_put16(f.station + 2 * i, p->csr[CSR_PADR + i]);
	m = eth_filter_match(&f, rx->start);
	*flags = match[m];
	return m != ETH_NO_MATCH;
}

static void rx_missed(struct pcnet *p)
{
	counter_add(&p->counters.rx_missed, 1);
	p->csr[0] |= CSR0_MISS;
	if (!++p->csr[CSR_MFC])
		p->csr[4] |= CSR4_MFCO;
	pcnet_update_irq(p);
}

/* Automatic pad stripping (section Automatic Pad Stripping): only what has a length, and a short
 * one. The frame's own FCS goes with the pad. */
static bool rx_strip(const struct pcnet *p, struct nic_rx *rx)
{
	unsigned int length = (unsigned int)rx->start[12] << 8 | rx->start[13];

	if (!(p->csr[4] & CSR4_ASTRP_RCV) || length >= LENGTH_PADDED ||
	    rx->len < ETH_HEADER + length)
		return false;
	rx->len = ETH_HEADER + length;
	return true;
}

/* Puts the FCS behind the frame; returns RMD_CRC where it is one that the driver got wrong. */
static uint16_t rx_add_fcs(struct pcnet *p, struct nic_rx *rx, bool stripped)
{
	uint8_t fcs[FCS_SIZE];
	uint16_t flags = 0;

	if (p->looping && p->loop_has_fcs) {
		nic_rx_fcs(rx, fcs);
		if (memcmp(fcs, p->loop_fcs, FCS_SIZE) != 0)
			flags = RMD_CRC;
		if (!stripped)
			nic_rx_append(rx, p->loop_fcs, FCS_SIZE);
	} else if (!stripped) {
		nic_rx_fcs(rx, fcs);
		nic_rx_append(rx, fcs, FCS_SIZE);
	}
	return flags;
}

/* Gives the descriptors back that the frame fills. */
static void rx_done(struct pcnet *p, const struct nic_rx *rx, uint16_t flags)
{
	uint32_t length = pcnet_ring_length(p, CSR_RCVRL);
	size_t left = rx->len;
	struct desc d;

	for (unsigned int i = 0; i < p->n_rx_desc; i++) {
		const struct pcnet_rx_desc *found = &p->rx_desc[i];
		bool ends = left <= found->len;
		uint16_t status = i == 0 ? STP : 0;

		if (ends)
			status |= ENP | flags | (flags & RMD_CRC ? ERR : 0);
		else if (i == p->n_rx_desc - 1)
			status |= ERR | RMD_BUFF | RMD_OFLO;
		if (!desc_read(p, found->gpa, &d))
			return;
		desc_write(p, found->gpa, (uint16_t)((d.flags & ~(OWN | RMD_STATUS)) | status),
			   ends, (uint32_t)rx->len & MCNT_MAX);
		p->rx_at = next(p->rx_at, length);
		if (ends)
			break;
		left -= found->len;
	}
}

void pcnet_rx_frame(struct nic *nic, struct nic_rx *rx)
{
	struct pcnet *p = pcnet_of(nic);
	uint16_t flags;
	bool stripped;

	if (!rx_match(p, rx, &flags)) {
		counter_add(&nic->counters.rx_filtered, 1);
		return;
	}
	if (!p->n_rx_desc) {
		rx_missed(p);
		return;
	}
	if (p->looping)
		rx->len = p->tx.len; /* runts are accepted (section Loopback Operation) */
	if (rx->len + FCS_SIZE > rx->room || rx->len + FCS_SIZE > MCNT_MAX)
		counter_add(&nic->counters.rx_too_long, 1);
	if (rx->len + FCS_SIZE > MCNT_MAX)
		return; /* no descriptor can say how long it is */
	stripped = rx_strip(p, rx);
	flags |= rx_add_fcs(p, rx, stripped);
	rx_done(p, rx, flags);
	p->csr[0] |= CSR0_RINT;
	pcnet_update_irq(p);
}
