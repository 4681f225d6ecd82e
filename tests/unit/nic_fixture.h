/*
 * An emulated NIC without a VM: the model on the real buses, guest memory from calloc(), a back end that
 * lives in memory (fake_net.h). A test plays the driver, on the card's registers and rings.
 *
 * Nothing runs by itself: nf_run() does what the I/O thread would, until there is nothing left to do.
 */
#ifndef VIREO_TESTS_NIC_FIXTURE_H
#define VIREO_TESTS_NIC_FIXTURE_H

#include <stdio.h>

#include "dev/nic.h"
#include "fake_net.h"
#include "fake_platform.h"
#include "vdriver.h"

#ifndef NF_RAM_SIZE
#define NF_RAM_SIZE (16u << 20) /* bytes, from guest-physical 0 */
#endif
#define NF_IO_BASE   0xc000
#define NF_MMIO_BASE 0xe0000000u

struct nic_fixture {
	struct fake_platform fp;
	struct mem mem;
	uint8_t *ram;
	struct fake_net fake;
	struct device *dev;
	struct nic *nic;
	int io_bar, mem_bar; /* the first of each kind; -1: none */
};

static inline struct nic_fixture *nf_of(struct platform *p)
{
	return (struct nic_fixture *)p;
}

static inline struct loop *nf_thread_get(struct platform *p, const char *id, const char *name,
					 struct err *err)
{
	return p->control;
}

static inline void nf_thread_put(struct platform *p, struct loop *loop)
{
}

static inline struct net_backend *nf_net_get(struct platform *p, const char *id,
					     struct device *user, struct err *err)
{
	if (strcmp(id, "n0") != 0) {
		err_set(err, -ENOENT, "there is no netdev %s", id);
		return NULL;
	}
	return &nf_of(p)->fake.net;
}

static inline void nf_net_put(struct platform *p, struct net_backend *net)
{
}

static inline void nf_mac_default(struct platform *p, uint8_t mac[6])
{
	static const uint8_t first[6] = {0x52, 0x54, 0, 0x12, 0x34, 0x56};

	memcpy(mac, first, 6);
}

static inline struct nic *nf_find_nic(struct device *dev)
{
	for (const struct device_opts *o = dev->model->opts; o->table; o++)
		if (o->table == nic_opts)
			return (struct nic *)((uint8_t *)dev + o->offset);
	abort();
}

/* Gives every BAR an address as firmware does, and turns on decoding and bus mastering. */
static inline void nf_place_bars(struct nic_fixture *nf)
{
	struct pci_device *pci = pci_of(nf->dev);

	nf->io_bar = nf->mem_bar = -1;
	for (int i = 5; i >= 0; i--) {
		bool io = pci->bar[i].kind == PCI_BAR_IO;

		if (pci->bar[i].kind == PCI_BAR_NONE)
			continue;
		*(io ? &nf->io_bar : &nf->mem_bar) = i;
		fp_config_write(&nf->fp, pci->slot, 0, 0x10 + 4 * (unsigned int)i, 4,
				io ? NF_IO_BASE + 0x400u * (unsigned int)i
				   : NF_MMIO_BASE + 0x1000000u * (unsigned int)i);
	}
	fp_config_write(&nf->fp, pci->slot, 0, 4, 2, 7);
}

/* has_hdr, offloads: what the back end can do. */
static inline struct nic_fixture *nf_new_with(const char *model, const char *options, bool has_hdr,
					      unsigned int offloads)
{
	struct nic_fixture *nf = calloc(1, sizeof(*nf));
	struct platform *p = &nf->fp.p;
	struct err err = {0};
	char words[256];

	/* Not what happens to be installed here. */
	snprintf(words, sizeof(words), "romfile=,%s", options ? options : "rombar=0");
	fp_init(&nf->fp);
	nf->ram = vdriver_ram(&nf->mem, 0, NF_RAM_SIZE);
	fake_net_init(&nf->fake, has_hdr, offloads);
	p->mem = &nf->mem;
	p->io_thread_get = nf_thread_get;
	p->io_thread_put = nf_thread_put;
	p->net_get = nf_net_get;
	p->net_put = nf_net_put;
	p->mac_default = nf_mac_default;
	nf->dev = fp_device(&nf->fp, model, "nic0", words, &err);
	if (!nf->dev) {
		fprintf(stderr, "%s: %s\n", model, err.msg);
		abort();
	}
	nf->nic = nf_find_nic(nf->dev);
	nf_place_bars(nf);
	return nf;
}

#define NF_OFFLOADS (NET_OFFLOAD_CSUM | NET_OFFLOAD_TSO4 | NET_OFFLOAD_TSO6 | NET_OFFLOAD_ECN)

/* Options as on a command line: "netdev=n0" for a card with a cable. */
static inline struct nic_fixture *nf_new(const char *model, const char *options)
{
	return nf_new_with(model, options, true, NF_OFFLOADS);
}

static inline void nf_free(struct nic_fixture *nf)
{
	device_destroy(nf->dev);
	fp_destroy(&nf->fp);
	fake_net_end(&nf->fake);
	vdriver_ram_free(&nf->mem);
	free(nf);
}

/* ---- the driver's accesses ---- */

static inline uint32_t nf_in(struct nic_fixture *nf, unsigned int offset, unsigned int size)
{
	uint64_t base = pci_bar_address(pci_of(nf->dev), (unsigned int)nf->io_bar);

	return fp_in(&nf->fp, (uint16_t)(base + offset), size);
}

static inline void nf_out(struct nic_fixture *nf, unsigned int offset, unsigned int size,
			  uint32_t value)
{
	uint64_t base = pci_bar_address(pci_of(nf->dev), (unsigned int)nf->io_bar);

	fp_out(&nf->fp, (uint16_t)(base + offset), size, value);
}

static inline uint64_t nf_load(struct nic_fixture *nf, uint64_t offset, unsigned int size)
{
	uint64_t base = pci_bar_address(pci_of(nf->dev), (unsigned int)nf->mem_bar);

	return fp_load(&nf->fp, base + offset, size);
}

static inline void nf_store(struct nic_fixture *nf, uint64_t offset, unsigned int size,
			    uint64_t value)
{
	uint64_t base = pci_bar_address(pci_of(nf->dev), (unsigned int)nf->mem_bar);

	fp_store(&nf->fp, base + offset, size, value);
}

static inline uint32_t nf_config_read(struct nic_fixture *nf, unsigned int offset,
				      unsigned int size)
{
	return fp_config_read(&nf->fp, pci_of(nf->dev)->slot, 0, offset, size);
}

static inline void nf_config_write(struct nic_fixture *nf, unsigned int offset, unsigned int size,
				   uint32_t value)
{
	fp_config_write(&nf->fp, pci_of(nf->dev)->slot, 0, offset, size, value);
}

/* INTx as the card drives it. */
static inline bool nf_irq(struct nic_fixture *nf)
{
	return __atomic_load_n(&pci_of(nf->dev)->intx_level, __ATOMIC_RELAXED);
}

/* Little-endian words in guest memory. */
static inline void nf_put(struct nic_fixture *nf, uint64_t gpa, unsigned int size, uint64_t value)
{
	if (gpa > NF_RAM_SIZE - size)
		abort();
	memcpy(nf->ram + gpa, &value, size);
}

static inline uint64_t nf_get(struct nic_fixture *nf, uint64_t gpa, unsigned int size)
{
	uint64_t value = 0;

	if (gpa > NF_RAM_SIZE - size)
		abort();
	memcpy(&value, nf->ram + gpa, size);
	return value;
}

/* ---- the other end of the cable ---- */

/* A frame for the guest; data must live until it is read. */
static inline void nf_rx_hdr(struct nic_fixture *nf, const struct net_hdr *hdr, const void *data,
			     size_t len)
{
	fake_net_incoming(&nf->fake, hdr, data, len);
}

static inline void nf_rx(struct nic_fixture *nf, const void *data, size_t len)
{
	nf_rx_hdr(nf, &(struct net_hdr){0}, data, len);
}

static inline unsigned int nf_n_sent(const struct nic_fixture *nf)
{
	return nf->fake.n_sent;
}

/* The i-th frame that was sent since nf_forget_sent(). */
static inline const struct fake_sent *nf_sent(const struct nic_fixture *nf, unsigned int i)
{
	if (i >= nf->fake.n_sent || i >= FAKE_NET_KEPT)
		abort();
	return nf->fake.kept[i];
}

static inline void nf_forget_sent(struct nic_fixture *nf)
{
	fake_net_forget_sent(&nf->fake);
}

static inline void nf_full(struct nic_fixture *nf, bool full)
{
	nf->fake.full = full;
}

static inline void nf_link(struct nic_fixture *nf, bool up)
{
	nf->dev->model->set_link(nf->dev, up);
}

/* ---- the I/O thread ---- */

/* What the I/O thread does until it would sleep; aborts when that took more than 100000 rounds. Timers
 * that are due go off. */
static inline void nf_run(struct nic_fixture *nf)
{
	struct nic *nic = nf->nic;
	struct nic_timer *t;
	bool work = true;

	for (unsigned int rounds = 0; work; rounds++) {
		uint32_t ready = 0;

		if (rounds > 100000)
			abort();
		work = nic->poller.poll(&nic->poller);
		work |= nic->kicked; /* as sleep_prepare() says */
		if (nf->fake.in_first != nf->fake.in_end || nf->fake.gone)
			ready |= EPOLLIN;
		if (!nf->fake.full)
			ready |= EPOLLOUT;
		ready &= nic->fd.events;
		if (nic->fd.loop && ready) {
			nic->fd.ready(&nic->fd, ready);
			work = true;
		}
		TAILQ_FOREACH(t, &nic->timers, link) {
			if (!t->timer.deadline_ns || t->timer.deadline_ns > loop_now_ns())
				continue;
			loop_timer_cancel(nic->loop, &t->timer);
			t->timer.expired(&t->timer);
			work = true;
		}
	}
}

/* The same, again and again for so many ms: timers. */
static inline void nf_run_ms(struct nic_fixture *nf, unsigned int ms)
{
	uint64_t end = loop_now_ns() + ms * UINT64_C(1000000);

	do
		nf_run(nf);
	while (loop_now_ns() < end);
}

#endif
