/*
 * Serial port: PC16550D UART. National Semiconductor PC16550D data sheet (June 1995), §8 Registers;
 * the PC's wiring of OUT2 as the gate of the interrupt is the IBM PC's.
 *
 * Threads. Registers are accessed on vCPU threads under the device's lock; the character back end
 * lives on the control thread. What the guest transmits goes into a ring, and the control thread
 * empties it into the back end: one wake-up per burst, not per byte. THRE is the flow control: it
 * reads 0 while the ring has no room for another FIFO of 16 bytes, and becomes 1, with its
 * interrupt, when the back end has taken enough. What comes in fills the 16 bytes of the receiver's
 * FIFO; the rest stays in the back end until the guest has read. So no byte is lost in either
 * direction.
 *
 * Time on the line is not modelled: a byte is sent when it is written, and the character time-out
 * interrupt comes at once when bytes below the trigger level are there. Baud rate and frame format
 * are storage. Modem inputs are on (CTS, DSR, DCD). Without a back end, bytes vanish.
 */
#include <errno.h>
#include <string.h>

#include "bus/bus.h"
#include "bus/device.h"
#include "bus/pc.h"
#include "char/char.h"
#include "dev/defer.h"
#include "kvm/vm.h"

#define FIFO_SIZE 16
#define TX_RING	  4096 /* bytes; a power of two */

enum {
	REG_RBR_THR = 0, /* DLAB: DLL */
	REG_IER = 1,	 /* DLAB: DLM */
	REG_IIR_FCR = 2,
	REG_LCR = 3,
	REG_MCR = 4,
	REG_LSR = 5,
	REG_MSR = 6,
	REG_SCR = 7,
	REG_COUNT = 8,

	IER_ERBFI = 0x01, /* received data available, time-out */
	IER_ETBEI = 0x02, /* transmitter holding register empty */
	IER_ELSI = 0x04,  /* receiver line status */
	IER_EDSSI = 0x08, /* modem status */

	IIR_NONE = 0x01,
	IIR_MODEM_STATUS = 0x00,
	IIR_THRE = 0x02,
	IIR_RECEIVED_DATA = 0x04,
	IIR_LINE_STATUS = 0x06,
	IIR_TIMEOUT = 0x0c,
	IIR_FIFOS_ENABLED = 0xc0,

	FCR_ENABLE = 0x01,
	FCR_RX_RESET = 0x02,

	LCR_DLAB = 0x80,

	MCR_DTR = 0x01,
	MCR_RTS = 0x02,
	MCR_OUT1 = 0x04,
	MCR_OUT2 = 0x08,
	MCR_LOOP = 0x10,
	MCR_MASK = 0x1f,

	LSR_DR = 0x01,
	LSR_OE = 0x02,
	LSR_THRE = 0x20,
	LSR_TEMT = 0x40,

	MSR_DCTS = 0x01,
	MSR_DDSR = 0x02,
	MSR_TERI = 0x04,
	MSR_DDCD = 0x08,
	MSR_CTS = 0x10,
	MSR_DSR = 0x20,
	MSR_RI = 0x40,
	MSR_DCD = 0x80,
	MSR_DELTAS = 0x0f,
};

struct uart_counters {
	struct counter tx_bytes, rx_bytes;
	struct counter
		tx_full; /* times that THRE went to 0: the back end was slower than the guest */
};

struct uart {
	struct device dev;
	struct bus_region region;
	struct char_backend *chr; /* NULL: bytes vanish. Control thread's */
	struct defer *to_char;	  /* empties the ring */
	struct defer *from_char;  /* asks the back end for more */

	uint8_t ier, fcr, lcr, mcr, msr, scr, dll, dlm;
	uint8_t lsr_oe;	   /* LSR_OE or 0; cleared by reading LSR */
	bool thre_pending; /* the THRE interrupt's own condition: cleared by reading IIR or writing
			      THR */
	bool line;	   /* the interrupt output */
	uint8_t rx[FIFO_SIZE];
	unsigned int rx_head, rx_count;
	bool rx_stalled; /* the back end was told that the FIFO is full */
	uint8_t tx[TX_RING];
	unsigned int tx_head,
		tx_tail; /* free-running: head is the guest's, tail the control thread's */
	struct uart_counters counters;

	char *opt_chardev;
	uint8_t opt_index, opt_irq;
	uint16_t opt_iobase;
};

/* ---- interrupt ---- */

static unsigned int rx_trigger(const struct uart *u)
{
	static const uint8_t level[4] = {1, 4, 8, 14};

	return u->fcr & FCR_ENABLE ? level[u->fcr >> 6] : 1;
}

/* The cause of highest priority, table 5 of the data sheet. */
static uint8_t interrupt_id(const struct uart *u)
{
	if (u->ier & IER_ELSI && u->lsr_oe)
		return IIR_LINE_STATUS;
	if (u->ier & IER_ERBFI && u->rx_count >= rx_trigger(u))
		return IIR_RECEIVED_DATA;
	if (u->ier & IER_ERBFI && u->rx_count)
		return IIR_TIMEOUT;
	if (u->ier & IER_ETBEI && u->thre_pending)
		return IIR_THRE;
	if (u->ier & IER_EDSSI && u->msr & MSR_DELTAS)
		return IIR_MODEM_STATUS;
	return IIR_NONE;
}

/* The PC's interrupt line is driven while OUT2 is on; in loop-back mode OUT2's pin is off. */
static void update_line(struct uart *u)
{
	bool line = (u->mcr & (MCR_OUT2 | MCR_LOOP)) == MCR_OUT2 && interrupt_id(u) != IIR_NONE;

	if (line == u->line)
		return;
	u->line = line;
	vm_irq_set(u->dev.platform->vm, u->opt_irq, line);
}

/* ---- transmit ---- */

static unsigned int tx_used(const struct uart *u)
{
	return u->tx_head - u->tx_tail;
}

static bool tx_ready(const struct uart *u)
{
	return TX_RING - tx_used(u) >= FIFO_SIZE;
}

static void rx_put(struct uart *u, uint8_t byte)
{
	unsigned int room = u->fcr & FCR_ENABLE ? FIFO_SIZE : 1;

	if (u->rx_count >= room) {
		u->lsr_oe = LSR_OE;
		return;
	}
	u->rx[(u->rx_head + u->rx_count++) % FIFO_SIZE] = byte;
}

static void transmit(struct uart *u, uint8_t byte)
{
	if (u->mcr & MCR_LOOP) {
		rx_put(u, byte);
		u->thre_pending = true;
		return;
	}
	counter_add(&u->counters.tx_bytes, 1);
	if (u->to_char && tx_used(u) < TX_RING) {
		u->tx[u->tx_head++ % TX_RING] = byte;
		defer_kick(u->to_char);
	}
	u->thre_pending = tx_ready(u);
	if (!u->thre_pending)
		counter_add(&u->counters.tx_full, 1);
}

/* Control thread: empties the ring into the back end, as far as that takes it. */
static void drain(void *opaque)
{
	struct uart *u = opaque;
	uint8_t buf[256];
	unsigned int n;
	size_t taken;
	bool was_ready;

	do {
		pthread_mutex_lock(&u->dev.lock);
		for (n = 0; n < sizeof(buf) && n < tx_used(u); n++)
			buf[n] = u->tx[(u->tx_tail + n) % TX_RING];
		pthread_mutex_unlock(&u->dev.lock);
		/* Not under the lock: a vCPU must not wait for a system call here. */
		taken = n ? char_write(u->chr, buf, n) : 0;

		pthread_mutex_lock(&u->dev.lock);
		was_ready = tx_ready(u);
		u->tx_tail += (unsigned int)taken;
		if (!was_ready && tx_ready(u))
			u->thre_pending = true;
		update_line(u);
		pthread_mutex_unlock(&u->dev.lock);
	} while (n && taken == n);
}

/* ---- receive ---- */

/* Control thread. */
static size_t char_input(void *opaque, const uint8_t *buf, size_t n)
{
	struct uart *u = opaque;
	size_t taken = 0, room;

	pthread_mutex_lock(&u->dev.lock);
	room = u->mcr & MCR_LOOP ? 0 : u->fcr & FCR_ENABLE ? FIFO_SIZE : 1;
	while (taken < n && u->rx_count < room)
		rx_put(u, buf[taken++]);
	counter_add(&u->counters.rx_bytes, taken);
	u->rx_stalled = taken < n;
	update_line(u);
	pthread_mutex_unlock(&u->dev.lock);
	return taken;
}

static void accept_more(void *opaque)
{
	struct uart *u = opaque;

	char_accept(u->chr);
}

/* The FIFO has room again, or is connected again. */
static void rx_resume(struct uart *u)
{
	if (!u->rx_stalled || u->rx_count || u->mcr & MCR_LOOP)
		return;
	u->rx_stalled = false;
	defer_kick(u->from_char);
}

static uint8_t rx_take(struct uart *u)
{
	uint8_t byte = 0;

	if (u->rx_count) {
		byte = u->rx[u->rx_head];
		u->rx_head = (u->rx_head + 1) % FIFO_SIZE;
		u->rx_count--;
	}
	rx_resume(u);
	return byte;
}

/* ---- registers ---- */

/* Modem inputs: the cable's, or in loop-back mode the modem outputs. */
static uint8_t modem_inputs(const struct uart *u)
{
	if (!(u->mcr & MCR_LOOP))
		return MSR_CTS | MSR_DSR | MSR_DCD;
	return (u->mcr & MCR_RTS ? MSR_CTS : 0) | (u->mcr & MCR_DTR ? MSR_DSR : 0) |
	       (u->mcr & MCR_OUT1 ? MSR_RI : 0) | (u->mcr & MCR_OUT2 ? MSR_DCD : 0);
}

static void update_modem(struct uart *u)
{
	uint8_t now = modem_inputs(u), changed = (uint8_t)((u->msr ^ now) & ~MSR_DELTAS);

	u->msr = (uint8_t)(now | (u->msr & MSR_DELTAS));
	u->msr |= (changed & MSR_CTS ? MSR_DCTS : 0) | (changed & MSR_DSR ? MSR_DDSR : 0) |
		  (changed & MSR_RI && !(now & MSR_RI) ? MSR_TERI : 0) |
		  (changed & MSR_DCD ? MSR_DDCD : 0);
}

static uint8_t read_iir(struct uart *u)
{
	uint8_t id = interrupt_id(u);

	if (id == IIR_THRE)
		u->thre_pending = false;
	return id | (u->fcr & FCR_ENABLE ? IIR_FIFOS_ENABLED : 0);
}

static uint8_t read_lsr(struct uart *u)
{
	uint8_t value = u->lsr_oe | (u->rx_count ? LSR_DR : 0);

	if (tx_ready(u))
		value |= LSR_THRE | LSR_TEMT;
	u->lsr_oe = 0;
	return value;
}

static uint8_t read_register(struct uart *u, uint64_t reg)
{
	uint8_t value;

	switch (reg) {
	case REG_RBR_THR:
		return u->lcr & LCR_DLAB ? u->dll : rx_take(u);
	case REG_IER:
		return u->lcr & LCR_DLAB ? u->dlm : u->ier;
	case REG_IIR_FCR:
		return read_iir(u);
	case REG_LCR:
		return u->lcr;
	case REG_MCR:
		return u->mcr;
	case REG_LSR:
		return read_lsr(u);
	case REG_MSR:
		value = u->msr;
		u->msr &= (uint8_t)~MSR_DELTAS;
		return value;
	default:
		return u->scr;
	}
}

static void write_ier(struct uart *u, uint8_t value)
{
	uint8_t was = u->ier;

	u->ier = value & (IER_ERBFI | IER_ETBEI | IER_ELSI | IER_EDSSI);
	/* Enabling it while the register is empty is a cause: drivers start to send that way. */
	if (!(was & IER_ETBEI) && u->ier & IER_ETBEI && tx_ready(u))
		u->thre_pending = true;
}

static void write_fcr(struct uart *u, uint8_t value)
{
	/* Switching FIFO mode resets both. What was transmitted is on its way already. */
	if ((u->fcr ^ value) & FCR_ENABLE || value & FCR_RX_RESET)
		u->rx_count = 0;
	u->fcr = value & FCR_ENABLE ? value & 0xc1 : 0;
	rx_resume(u);
}

static void write_mcr(struct uart *u, uint8_t value)
{
	u->mcr = value & MCR_MASK;
	update_modem(u);
	rx_resume(u);
}

static void write_register(struct uart *u, uint64_t reg, uint8_t value)
{
	switch (reg) {
	case REG_RBR_THR:
		if (u->lcr & LCR_DLAB)
			u->dll = value;
		else
			transmit(u, value);
		break;
	case REG_IER:
		if (u->lcr & LCR_DLAB)
			u->dlm = value;
		else
			write_ier(u, value);
		break;
	case REG_IIR_FCR:
		write_fcr(u, value);
		break;
	case REG_LCR:
		u->lcr = value;
		break;
	case REG_MCR:
		write_mcr(u, value);
		break;
	case REG_SCR:
		u->scr = value;
		break;
	default: /* LSR and MSR are read-only but for factory tests */
		break;
	}
}

static uint64_t uart_read(void *opaque, uint64_t offset, unsigned int size)
{
	struct uart *u = opaque;
	uint8_t value = read_register(u, offset);

	update_line(u);
	return value;
}

static void uart_write(void *opaque, uint64_t offset, unsigned int size, uint64_t value)
{
	struct uart *u = opaque;

	write_register(u, offset, (uint8_t)value);
	update_line(u);
}

static const struct region_ops uart_ops = {
	.read = uart_read,
	.write = uart_write,
	.min = 1,
	.max = 1,
};

/* ---- model ---- */

static const struct char_events uart_char_events = {
	.input = char_input,
	.writable = drain,
};

static struct uart *uart_of(struct device *dev)
{
	return (struct uart *)dev;
}

static int attach(struct uart *u, struct err *err)
{
	struct platform *p = u->dev.platform;

	u->chr = p->char_get(p, u->opt_chardev, &u->dev, err);
	if (!u->chr)
		return -ENOENT;
	u->to_char = defer_create(p->control, drain, u);
	u->from_char = defer_create(p->control, accept_more, u);
	if (!u->to_char || !u->from_char)
		return err_set(err, -ENOMEM, "%s: no memory", u->dev.id);
	char_attach(u->chr, &uart_char_events, u);
	return 0;
}

static void detach(struct uart *u)
{
	if (!u->chr)
		return;
	if (u->to_char)
		drain(u); /* its last words */
	char_attach(u->chr, NULL, NULL);
	defer_destroy(u->to_char);
	defer_destroy(u->from_char);
	u->dev.platform->char_put(u->dev.platform, u->chr);
	u->chr = NULL;
}

static int uart_realize(struct device *dev, struct err *err)
{
	static const uint16_t ports[4] = {PC_PORT_COM1, PC_PORT_COM2, PC_PORT_COM3, PC_PORT_COM4};
	static const uint8_t irqs[4] = {PC_IRQ_COM1, PC_IRQ_COM2, PC_IRQ_COM1, PC_IRQ_COM2};
	struct uart *u = uart_of(dev);
	int r;

	if (!u->opt_iobase)
		u->opt_iobase = ports[u->opt_index];
	if (!u->opt_irq)
		u->opt_irq = irqs[u->opt_index];
	if (u->opt_chardev) {
		r = attach(u, err);
		if (r) {
			detach(u);
			return r;
		}
	}
	bus_region_init(&u->region, "isa-serial", BUS_PIO, REG_COUNT, &uart_ops, u, &dev->lock);
	r = bus_map(dev->platform->bus, &u->region, u->opt_iobase);
	if (r) {
		detach(u);
		return err_set(err, r, "%s: no serial port at I/O port 0x%x", dev->id,
			       u->opt_iobase);
	}
	return 0;
}

static void uart_unrealize(struct device *dev)
{
	struct uart *u = uart_of(dev);

	bus_unmap(&u->region);
	bus_synchronize(dev->platform->bus);
	detach(u);
}

/* Master reset, table 3 of the data sheet; SCR and the divisor keep what they have. */
static void uart_reset(struct device *dev)
{
	struct uart *u = uart_of(dev);

	u->ier = u->fcr = u->lcr = u->mcr = 0;
	u->lsr_oe = 0;
	u->rx_count = 0;
	u->thre_pending = true;
	u->msr = modem_inputs(u);
	update_line(u);
	rx_resume(u);
}

static const struct counter_desc uart_counter_table[] = {
	{"tx-bytes", offsetof(struct uart_counters, tx_bytes), "bytes that the guest sent"},
	{"rx-bytes", offsetof(struct uart_counters, rx_bytes), "bytes given to the guest"},
	{"tx-full", offsetof(struct uart_counters, tx_full),
	 "times that the guest had to wait for the back end"},
	{0},
};

static void uart_counters_visit(struct device *dev, counter_visit *visit, void *opaque)
{
	visit(opaque, dev->id, NULL, uart_counter_table, &uart_of(dev)->counters);
}

static const struct opt_desc uart_opts[] = {
	{.name = "chardev",
	 .type = OPT_STRING,
	 .offset = offsetof(struct uart, opt_chardev),
	 .help = "id of the -chardev that it is connected to"},
	{.name = "index",
	 .type = OPT_U8,
	 .offset = offsetof(struct uart, opt_index),
	 .def = "0",
	 .max = 3,
	 .help = "0 to 3: ports and interrupt of COM1 to COM4"},
	{.name = "iobase",
	 .type = OPT_U16,
	 .offset = offsetof(struct uart, opt_iobase),
	 .def = "0",
	 .max = 0xfff8,
	 .help = "first of its eight I/O ports; 0 = by index"},
	{.name = "irq",
	 .type = OPT_U8,
	 .offset = offsetof(struct uart, opt_irq),
	 .def = "0",
	 .max = 15,
	 .help = "ISA interrupt; 0 = by index"},
	{.type = OPT_END},
};

static const struct device_model uart_model = {
	.name = "isa-serial",
	.help = "16550A serial port",
	.size = sizeof(struct uart),
	.opts = {{uart_opts, 0}},
	.realize = uart_realize,
	.unrealize = uart_unrealize,
	.reset = uart_reset,
	.counters = uart_counters_visit,
};

DEVICE_MODEL(uart_model);
