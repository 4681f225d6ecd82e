/*
 * The whole board, with a virtio card of each kind on it, under a guest that reads and writes
 * wherever it likes: every port and address, the cards' rings in RAM, doorbells, resets in between.
 * RAM is of exact size, so that ASan sees any access outside it.
 *
 * Input: operations, one byte each with its operands behind it; zeros after their end. In the end
 * everything is unplugged, and nothing may be left of it in the (fake) VM.
 */
#include <stdlib.h>
#include <string.h>

#include <linux/virtio_pci.h>

#include "fake_platform.h"
#include "input.h"
#include "vblk_fixture.h"
#include "vdriver.h"

#define RAM_SIZE 0x60000
#define RINGS	 0x10000 /* one per card and queue */
#define RING	 0x4000
#define BUFFERS	 0x40000
#define QUEUES	 3
#define RING_MAX 256
#define CARDS	 3
#define OPS_MAX	 500

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

struct fuzz {
	struct fake_platform fp; /* first: the platform is found by its address */
	struct mem mem;
	struct loop *io; /* stands for every I/O thread; runs inside work() */
	struct fake_disk disk;
	struct device *card[CARDS];
	struct vdriver ring[CARDS][QUEUES];
	struct input in;
};

static void check(bool ok)
{
	if (!ok)
		abort();
}

/* ---- what the cards are lent ---- */

static struct loop *thread_get(struct platform *p, const char *id, const char *name,
			       struct err *err)
{
	return ((struct fuzz *)p)->io;
}

static void thread_put(struct platform *p, struct loop *loop)
{
}

static struct blk_backend *blk_get(struct platform *p, const char *id, struct device *user,
				   struct err *err)
{
	return &((struct fuzz *)p)->disk.blk;
}

static void blk_put(struct platform *p, struct blk_backend *blk)
{
}

static void mac_default(struct platform *p, uint8_t mac[6])
{
	memset(mac, 2, 6);
}

/* ---- the guest ---- */

static void quit(void *arg)
{
	loop_quit(arg);
}

/* The I/O threads' and the control thread's turn. */
static void work(struct fuzz *f)
{
	for (int i = 0; i < 2; i++) {
		check(loop_post(f->io, quit, f->io) == 0);
		loop_run(f->io);
	}
	fp_run_posted(&f->fp);
}

/* A write as the kernel takes it: to a doorbell, or else to vireo. */
static void guest_write(struct fuzz *f, bool pio, uint64_t addr, unsigned int size, uint64_t value)
{
	if (fake_vm_guest_write(f->fp.p.vm, pio, addr, size, value))
		return;
	if (pio)
		fp_out(&f->fp, (uint16_t)addr, size, (uint32_t)value);
	else
		fp_store(&f->fp, addr, size, value);
}

/* Where something is, most of the time; else anywhere. */
static uint16_t port(struct fuzz *f)
{
	static const uint16_t ports[] = {0x60,	0x64,  0x70,  0x80,  0x92,  0xb2,  0x2f8,
					 0x3f8, 0x4d0, 0x501, 0x600, 0xcf8, 0xcfc, 0xafe0};
	uint8_t how = (uint8_t)input_take(&f->in, 1);
	uint64_t io;

	if (how >= 0xf0)
		return (uint16_t)input_take(&f->in, 2);
	if (how < 0x80)
		return ports[how % (sizeof(ports) / sizeof(ports[0]))] +
		       (uint16_t)(input_take(&f->in, 1) % 16);
	io = pci_bar_address(pci_of(f->card[how % CARDS]), 0);
	return (uint16_t)(io + input_take(&f->in, 1) % 34);
}

static uint64_t address(struct fuzz *f)
{
	uint8_t how = (uint8_t)input_take(&f->in, 1);
	uint64_t base;

	if (how >= 0xf0)
		return input_take(&f->in, 8);
	base = pci_bar_address(pci_of(f->card[how % CARDS]), (how >> 3) % PCI_BARS);
	return base + input_take(&f->in, 2) % 0x4010;
}

/* What a decent driver does, so that the input doesn't need to find it: the legacy interface. */
static void bring_up(struct fuzz *f, unsigned int card)
{
	uint64_t io = pci_bar_address(pci_of(f->card[card]), 0);

	if (!io || io > 0xff00)
		return;
	fp_out(&f->fp, (uint16_t)io + VIRTIO_PCI_STATUS, 1, 0);
	fp_out(&f->fp, (uint16_t)io + VIRTIO_PCI_STATUS, 1, 3);
	fp_out(&f->fp, (uint16_t)io + VIRTIO_PCI_GUEST_FEATURES, 4,
	       (uint32_t)input_take(&f->in, 4));
	for (unsigned int q = 0; q < QUEUES; q++) {
		struct vdriver *d = &f->ring[card][q];
		uint64_t gpa = RINGS + RING * (uint64_t)(card * QUEUES + q);
		uint32_t size;

		fp_out(&f->fp, (uint16_t)io + VIRTIO_PCI_QUEUE_SEL, 2, q);
		size = fp_in(&f->fp, (uint16_t)io + VIRTIO_PCI_QUEUE_NUM, 2);
		if (!size || size > RING_MAX)
			continue;
		memset(mem_ptr(&f->mem, gpa, RING), 0, RING);
		vdriver_init(d, &f->mem, gpa, (uint16_t)size);
		fp_out(&f->fp, (uint16_t)io + VIRTIO_PCI_QUEUE_PFN, 4, (uint32_t)(gpa / 4096));
	}
	fp_out(&f->fp, (uint16_t)io + VIRTIO_PCI_STATUS, 1, 7);
}

/* A chain of up to 4 pieces, most of them in RAM, and the doorbell. */
static void offer(struct fuzz *f, unsigned int card)
{
	uint8_t how = (uint8_t)input_take(&f->in, 1);
	unsigned int q = how % QUEUES, n = 1 + (how >> 2) % 4;
	struct vdriver *d = &f->ring[card][q];
	uint16_t head = d->size ? d->next_desc % d->size : 0;

	if (!d->mem)
		return;
	for (unsigned int i = 0; i < n; i++) {
		uint16_t what = (uint16_t)input_take(&f->in, 2), at = d->next_desc++ % d->size;
		uint64_t gpa = what & 0x8000 ? input_take(&f->in, 8) : BUFFERS + (what & 0xff0u);
		uint16_t flags = what & (VRING_DESC_F_WRITE | VRING_DESC_F_INDIRECT);

		if (i + 1 < n)
			flags |= VRING_DESC_F_NEXT;
		vdriver_desc(d, d->desc, at, gpa, (uint32_t)input_take(&f->in, what & 1 ? 4 : 1),
			     flags, d->next_desc % d->size);
	}
	vdriver_offer(d, head);
	guest_write(f, true, pci_bar_address(pci_of(f->card[card]), 0) + VIRTIO_PCI_QUEUE_NOTIFY, 2,
		    q);
}

static void operation(struct fuzz *f)
{
	uint8_t op = (uint8_t)input_take(&f->in, 1);
	unsigned int bytes = 1u << (op >> 3 & 3), card = (op >> 5) % CARDS;
	unsigned int port_bytes = bytes > 4 ? 4 : bytes;
	uint64_t addr;

	switch (op & 7) {
	case 0:
		addr = port(f);
		guest_write(f, true, addr, port_bytes, input_take(&f->in, port_bytes));
		break;
	case 1:
		fp_in(&f->fp, port(f), port_bytes);
		break;
	case 2:
		addr = address(f);
		guest_write(f, false, addr, bytes, input_take(&f->in, bytes));
		break;
	case 3:
		fp_load(&f->fp, address(f), bytes);
		break;
	case 4:
		bring_up(f, card);
		break;
	case 5:
		offer(f, card);
		break;
	case 6:
		addr = input_take(&f->in, 3) % RAM_SIZE;
		*(uint8_t *)mem_ptr(&f->mem, addr, 1) = (uint8_t)input_take(&f->in, 1);
		break;
	default:
		if (bytes == 8)
			device_reset(f->card[card]);
		work(f);
		break;
	}
}

/* ---- a run ---- */

static const char *const board[][2] = {
	{"i440FX", "addr=0"},	  {"PIIX3", "addr=1"},	    {"piix3-ide", "addr=1.1"},
	{"PIIX4_PM", "addr=1.3"}, {"i8042", NULL},	    {"mc146818rtc", NULL},
	{"isa-serial", NULL},	  {"isa-debug-exit", NULL},
};
#define BOARD (sizeof(board) / sizeof(board[0]))

static void make(struct fuzz *f, struct device **dev)
{
	static const char *const cards[CARDS][2] = {
		{"virtio-net-pci", "tx_queue_size=64,rx_queue_size=64"},
		{"virtio-blk-pci", "drive=d0,num-queues=2,queue-size=64"},
		{"virtio-rng-pci", "max-bytes=4096,period=1000"}};
	static const struct pci_windows windows = {0xc000, 0x3f00, 0xc0000000, 0x3ec00000};
	static const uint8_t gsi[4] = {10, 10, 11, 11};
	struct err err;

	fp_init(&f->fp);
	check(loop_create(&f->io, "io", 0, NULL) == 0);
	vdriver_ram(&f->mem, 0, RAM_SIZE);
	f->fp.p.mem = &f->mem;
	f->fp.p.io_thread_get = thread_get;
	f->fp.p.io_thread_put = thread_put;
	f->fp.p.blk_get = blk_get;
	f->fp.p.blk_put = blk_put;
	f->fp.p.mac_default = mac_default;
	f->disk.blk = (struct blk_backend){
		.ops = &fake_disk_ops,
		.id = (char *)"d0",
		.info = {.size = VBLK_DISK, .logical_block = 512, .physical_block = 512},
	};
	f->disk.eager = true;
	for (size_t i = 0; i < BOARD; i++) {
		dev[i] = fp_device(&f->fp, board[i][0], board[i][0], board[i][1], &err);
		check(dev[i]);
	}
	for (int i = 0; i < CARDS; i++) {
		f->card[i] = fp_device(&f->fp, cards[i][0], cards[i][0], cards[i][1], &err);
		check(f->card[i]);
	}
	check(pci_bus_assign(f->fp.p.pci, &windows, gsi, &err) == 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct fuzz *f = calloc(1, sizeof(*f));
	struct device *dev[BOARD];

	check(f);
	make(f, dev);
	f->in = (struct input){data, size};
	for (int i = 0; f->in.n && i < OPS_MAX; i++)
		operation(f);
	work(f);
	for (int i = CARDS; i-- > 0;)
		device_destroy(f->card[i]);
	check(!fake_vm_irqfds(f->fp.p.vm) && !fake_vm_routes(f->fp.p.vm));
	check(!fake_vm_doorbells(f->fp.p.vm));
	for (size_t i = BOARD; i-- > 0;)
		device_destroy(dev[i]);
	fp_run_posted(&f->fp);
	loop_destroy(f->io);
	fp_destroy(&f->fp);
	vdriver_ram_free(&f->mem);
	free(f);
	return 0;
}
