/*
 * Keyboard controller: the 8042 of the IBM PC/AT, with no keyboard and no mouse plugged in; and the
 * PIIX3's fast A20 and reset port (0x92). IBM PC/AT Technical Reference (6183355), "Keyboard
 * Controller"; Intel 82371SB PIIX3 (290550) §2.5.6.
 *
 * What is left of it in a PC without PS/2 devices: self tests, the command byte, and the output
 * port that drives the processor's reset and the A20 gate. A20 is storage: the address line is
 * always there. A command to the absent keyboard or mouse is answered at once with "resend" and the
 * time-out flag, as a controller does that waited for its clock in vain; so that a driver that
 * probes for devices gives up at the first byte.
 *
 * Runs on vCPU threads under the device's lock.
 */
#include <errno.h>

#include "bus/bus.h"
#include "bus/device.h"
#include "bus/pc.h"
#include "kvm/vm.h"

#define PORT_92 0x92

enum {
	STATUS_OBF = 0x01,
	STATUS_SYS = 0x04,
	STATUS_CMD = 0x08, /* the last write was a command */
	STATUS_UNLOCKED = 0x10,
	STATUS_AUX = 0x20,
	STATUS_TIMEOUT = 0x40,

	CCB_KBD_INT = 0x01,
	CCB_AUX_INT = 0x02,
	CCB_SYS = 0x04,
	CCB_KBD_DISABLE = 0x10,
	CCB_AUX_DISABLE = 0x20,

	OUTPUT_NOT_RESET = 0x01,
	OUTPUT_A20 = 0x02,
	OUTPUT_MASK = 0xcf, /* without the two interrupt lines */

	CMD_READ_RAM = 0x20, /* to 0x3f; byte 0 is the command byte */
	CMD_WRITE_RAM = 0x60,
	CMD_AUX_DISABLE = 0xa7,
	CMD_AUX_ENABLE = 0xa8,
	CMD_AUX_TEST = 0xa9,
	CMD_SELF_TEST = 0xaa,
	CMD_KBD_TEST = 0xab,
	CMD_KBD_DISABLE = 0xad,
	CMD_KBD_ENABLE = 0xae,
	CMD_READ_INPUT = 0xc0,
	CMD_READ_OUTPUT = 0xd0,
	CMD_WRITE_OUTPUT = 0xd1,
	CMD_WRITE_KBD_BUFFER = 0xd2,
	CMD_WRITE_AUX_BUFFER = 0xd3,
	CMD_WRITE_AUX = 0xd4,
	CMD_A20_OFF = 0xdd,
	CMD_A20_ON = 0xdf,
	CMD_PULSE = 0xf0, /* to 0xff: a 0 in bits 3:0 pulses that line low */

	SELF_TEST_OK = 0x55,
	KBD_TEST_OK = 0x00,
	AUX_TEST_CLOCK_LOW = 0x01, /* nothing there */
	INPUT_UNLOCKED = 0x80,
	ANSWER_RESEND = 0xfe,

	PORT_92_RESET = 0x01,
	PORT_92_A20 = 0x02,
};

struct i8042 {
	struct device dev;
	struct bus_region data, command, port92;
	uint8_t status;
	uint8_t out;	 /* output buffer */
	uint8_t pending; /* command that waits for its byte at the data port; 0 = none */
	uint8_t ram[32]; /* [0] is the command byte */
	uint8_t output;	 /* output port */
	bool irq1, irq12;
};

static void update_lines(struct i8042 *k)
{
	struct vm *vm = k->dev.platform->vm;
	bool full = k->status & STATUS_OBF, aux = k->status & STATUS_AUX;
	bool irq1 = full && !aux && k->ram[0] & CCB_KBD_INT;
	bool irq12 = full && aux && k->ram[0] & CCB_AUX_INT;

	if (irq1 != k->irq1)
		vm_irq_set(vm, PC_IRQ_KEYBOARD, irq1);
	if (irq12 != k->irq12)
		vm_irq_set(vm, PC_IRQ_MOUSE, irq12);
	k->irq1 = irq1;
	k->irq12 = irq12;
}

/* Puts a byte into the output buffer; flags: STATUS_AUX, STATUS_TIMEOUT. */
static void answer(struct i8042 *k, uint8_t byte, uint8_t flags)
{
	k->out = byte;
	k->status &= (uint8_t) ~(STATUS_AUX | STATUS_TIMEOUT);
	k->status |= STATUS_OBF | flags;
}

static void reset_machine(struct i8042 *k)
{
	k->dev.platform->event(k->dev.platform, PLATFORM_RESET, 0);
}

static void write_output_port(struct i8042 *k, uint8_t value)
{
	k->output = value & OUTPUT_MASK;
	if (!(value & OUTPUT_NOT_RESET))
		reset_machine(k);
}

static void command_byte_set(struct i8042 *k, uint8_t value)
{
	k->ram[0] = value;
	k->status = (uint8_t)((k->status & ~STATUS_SYS) | (value & CCB_SYS ? STATUS_SYS : 0));
}

static void command(struct i8042 *k, uint8_t cmd)
{
	k->pending = 0;
	if (cmd >= CMD_PULSE) {
		if (!(cmd & OUTPUT_NOT_RESET))
			reset_machine(k);
		return;
	}
	if (cmd >= CMD_READ_RAM && cmd < CMD_READ_RAM + sizeof(k->ram)) {
		answer(k, k->ram[cmd - CMD_READ_RAM], 0);
		return;
	}
	if (cmd >= CMD_WRITE_RAM && cmd < CMD_WRITE_RAM + sizeof(k->ram)) {
		k->pending = cmd;
		return;
	}
	switch (cmd) {
	case CMD_AUX_DISABLE:
		k->ram[0] |= CCB_AUX_DISABLE;
		break;
	case CMD_AUX_ENABLE:
		k->ram[0] &= (uint8_t)~CCB_AUX_DISABLE;
		break;
	case CMD_AUX_TEST:
		answer(k, AUX_TEST_CLOCK_LOW, 0);
		break;
	case CMD_SELF_TEST:
		k->status |= STATUS_SYS;
		k->ram[0] |= CCB_SYS;
		answer(k, SELF_TEST_OK, 0);
		break;
	case CMD_KBD_TEST:
		answer(k, KBD_TEST_OK, 0);
		break;
	case CMD_KBD_DISABLE:
		k->ram[0] |= CCB_KBD_DISABLE;
		break;
	case CMD_KBD_ENABLE:
		k->ram[0] &= (uint8_t)~CCB_KBD_DISABLE;
		break;
	case CMD_READ_INPUT:
		answer(k, INPUT_UNLOCKED, 0);
		break;
	case CMD_READ_OUTPUT:
		answer(k, k->output, 0);
		break;
	case CMD_WRITE_OUTPUT:
	case CMD_WRITE_KBD_BUFFER:
	case CMD_WRITE_AUX_BUFFER:
	case CMD_WRITE_AUX:
		k->pending = cmd;
		break;
	case CMD_A20_OFF:
		k->output &= (uint8_t)~OUTPUT_A20;
		break;
	case CMD_A20_ON:
		k->output |= OUTPUT_A20;
		break;
	default: /* the chip ignores what it doesn't know */
		break;
	}
}

static void data(struct i8042 *k, uint8_t value)
{
	uint8_t cmd = k->pending;

	k->pending = 0;
	switch (cmd) {
	case 0: /* to the keyboard, which isn't there */
		answer(k, ANSWER_RESEND, STATUS_TIMEOUT);
		break;
	case CMD_WRITE_OUTPUT:
		write_output_port(k, value);
		break;
	case CMD_WRITE_KBD_BUFFER:
		answer(k, value, 0);
		break;
	case CMD_WRITE_AUX_BUFFER:
		/* Not marked as the mouse's: there is no such port. */
		answer(k, value, 0);
		break;
	case CMD_WRITE_AUX:
		answer(k, ANSWER_RESEND, STATUS_TIMEOUT | STATUS_AUX);
		break;
	case CMD_WRITE_RAM:
		command_byte_set(k, value);
		break;
	default:
		k->ram[cmd - CMD_WRITE_RAM] = value;
		break;
	}
}

/* ---- ports ---- */

static uint64_t data_read(void *opaque, uint64_t offset, unsigned int size)
{
	struct i8042 *k = opaque;

	k->status &= (uint8_t) ~(STATUS_OBF | STATUS_AUX | STATUS_TIMEOUT);
	update_lines(k);
	return k->out;
}

static void data_write(void *opaque, uint64_t offset, unsigned int size, uint64_t value)
{
	struct i8042 *k = opaque;

	k->status &= (uint8_t)~STATUS_CMD;
	data(k, (uint8_t)value);
	update_lines(k);
}

static uint64_t status_read(void *opaque, uint64_t offset, unsigned int size)
{
	return ((const struct i8042 *)opaque)->status | STATUS_UNLOCKED;
}

static void command_write(void *opaque, uint64_t offset, unsigned int size, uint64_t value)
{
	struct i8042 *k = opaque;

	k->status |= STATUS_CMD;
	command(k, (uint8_t)value);
	update_lines(k);
}

static uint64_t port92_read(void *opaque, uint64_t offset, unsigned int size)
{
	return ((const struct i8042 *)opaque)->output & OUTPUT_A20 ? PORT_92_A20 : 0;
}

static void port92_write(void *opaque, uint64_t offset, unsigned int size, uint64_t value)
{
	struct i8042 *k = opaque;

	k->output = (uint8_t)((k->output & ~OUTPUT_A20) | (value & PORT_92_A20 ? OUTPUT_A20 : 0));
	if (value & PORT_92_RESET)
		reset_machine(k);
}

static const struct region_ops data_ops = {
	.read = data_read,
	.write = data_write,
	.min = 1,
	.max = 1,
};

static const struct region_ops command_ops = {
	.read = status_read,
	.write = command_write,
	.min = 1,
	.max = 1,
};

static const struct region_ops port92_ops = {
	.read = port92_read,
	.write = port92_write,
	.min = 1,
	.max = 1,
};

/* ---- model ---- */

static void i8042_unrealize(struct device *dev)
{
	struct i8042 *k = (struct i8042 *)dev;

	bus_unmap(&k->data);
	bus_unmap(&k->command);
	bus_unmap(&k->port92);
	bus_synchronize(dev->platform->bus);
}

static int i8042_realize(struct device *dev, struct err *err)
{
	struct i8042 *k = (struct i8042 *)dev;
	struct bus *bus = dev->platform->bus;

	bus_region_init(&k->data, "i8042.data", BUS_PIO, 1, &data_ops, k, &dev->lock);
	bus_region_init(&k->command, "i8042.command", BUS_PIO, 1, &command_ops, k, &dev->lock);
	bus_region_init(&k->port92, "port92", BUS_PIO, 1, &port92_ops, k, &dev->lock);
	if (bus_map(bus, &k->data, PC_PORT_I8042_DATA) ||
	    bus_map(bus, &k->command, PC_PORT_I8042_COMMAND) || bus_map(bus, &k->port92, PORT_92)) {
		i8042_unrealize(dev);
		return err_set(err, -ENOMEM, "%s: no memory", dev->id);
	}
	return 0;
}

static void i8042_reset(struct device *dev)
{
	struct i8042 *k = (struct i8042 *)dev;

	k->status = 0;
	k->out = 0;
	k->pending = 0;
	for (unsigned int i = 0; i < sizeof(k->ram); i++)
		k->ram[i] = 0;
	k->output = OUTPUT_NOT_RESET | OUTPUT_A20;
	update_lines(k);
}

static const struct device_model i8042_model = {
	.name = "i8042",
	.help = "keyboard controller without keyboard and mouse",
	.size = sizeof(struct i8042),
	.internal = true,
	.realize = i8042_realize,
	.reset = i8042_reset,
	.unrealize = i8042_unrealize,
};

DEVICE_MODEL(i8042_model);
