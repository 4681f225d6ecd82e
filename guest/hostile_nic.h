/*
 * The hostile driver of emulated NICs: everything a guest can do wrong to a card's registers and rings,
 * one case at a time. After each the monitor must be there, no access may have taken longer than a
 * second, and the card must send again once it is reset.
 *
 * hostile_nic.c runs the cases and has those that fit any card; those of a card are in a file of its
 * own.
 */
#ifndef GUEST_HOSTILE_NIC_H
#define GUEST_HOSTILE_NIC_H

#include "hostile.h"
#include "pci.h"
#include "test.h"

struct hostile_nic {
	const struct test *test;
	struct pci_device *pci;
	uint32_t bar;	       /* the one that load() and store() reach */
	uint64_t seed;	       /* of random cases */
	uint32_t count;	       /* steps of random cases */
	uint8_t *scratch;      /* HOSTILE_SCRATCH bytes that a device may write to, and behind */
	uint64_t worst_ns;     /* the longest access of the case */
	uint32_t worst_offset; /* where it was to */
	uint64_t accesses;
};

struct hostile_nic_case {
	const char *name;
	void (*run)(struct hostile_nic *h, uint64_t detail);
	uint64_t detail; /* for functions that serve several cases */
};

/* A model's own cases. */
extern const struct hostile_nic_case hostile_e1000_cases[], hostile_rtl8139_cases[],
	hostile_pcnet_cases[], hostile_i8255x_cases[], hostile_ne2k_cases[];

/*
 * Brings a card back from whatever state and has it send a frame, where there is no driver in nic.h
 * for it. Returns NULL, or what is wrong with it.
 */
const char *hostile_pcnet_prove(struct hostile_nic *h);
const char *hostile_i8255x_prove(struct hostile_nic *h);
const char *hostile_ne2k_prove(struct hostile_nic *h);

/* One access of 1, 2 or 4 bytes to the BAR, timed. */
uint32_t hostile_nic_load(struct hostile_nic *h, uint32_t offset, uint32_t size);
void hostile_nic_store(struct hostile_nic *h, uint32_t offset, uint32_t size, uint32_t value);

/* Gives the monitor's threads time to do what they were told to. */
void hostile_nic_settle(void);

/* Where a ring, a buffer or a list may lie. */
enum hostile_place {
	IN_SCRATCH, /* in its second half, where it does no harm */
	IN_HOLE,    /* where nothing is */
	IN_BAR,	    /* the card's own registers */
	AT_END,	    /* of RAM: all but 64 bytes are behind it */
	AT_WRAP32,  /* 64 bytes before 4 GiB */
	AT_WRAP,    /* 64 bytes before the end of the address space */
};

uint64_t hostile_nic_place(const struct hostile_nic *h, enum hostile_place place);

/* Any address from which and to which the card may copy without harm to the guest. */
uint64_t hostile_nic_address(struct hostile_nic *h);

/* Sends nothing but a valid frame: 64 bytes for nobody, at `at`. */
void hostile_nic_frame(uint8_t *at);

#endif
