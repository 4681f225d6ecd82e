/*
 * The hostile driver: everything a guest can do wrong to a virtio device, one case at a time.
 * After each the monitor must be there, and the device work again once it is reset.
 *
 * Cases are tables in hostile_ring.c (what is in the ring), hostile_setup.c (features, status,
 * where the queues are), hostile_pci.c (BARs, configuration space, random writes), hostile_ctrl.c
 * (commands of a net device) and, for packed rings, hostile_packed.c; hostile.c runs them.
 */
#ifndef GUEST_HOSTILE_H
#define GUEST_HOSTILE_H

#include "target.h"

enum hostile_latch {
	MAY_LATCH,  /* ignoring it, or carrying on, is as good */
	MUST_LATCH, /* the device is to set DEVICE_NEEDS_RESET (virtio 1.3 section 2.1.2) */
};

enum hostile_needs {
	NEEDS_NOTHING = 0,
	NEEDS_INDIRECT = 1, /* VIRTIO_RING_F_INDIRECT_DESC negotiated */
	NEEDS_MODERN = 2,   /* the modern transport's registers */
	NEEDS_NET = 4,	    /* a net device's send queue */
	NEEDS_CTRL = 16,    /* a net device's control queue */
	NEEDS_FRESH = 8,    /* the case brings the device up itself, from reset */
};

struct hostile {
	struct target t;
	const struct test *test;
	uint64_t seed;	  /* of random cases */
	uint32_t count;	  /* steps of random cases */
	bool refused;	  /* the device would not enable the queue: as good as latching */
	uint8_t *scratch; /* HOSTILE_SCRATCH bytes that a device may write to, and behind */
};

#define HOSTILE_SCRATCH (1 << 20)

struct hostile_case {
	const char *name;
	enum hostile_latch latch;
	uint32_t needs;
	/* Does it. Returns NULL, or what the device did wrong there and then. */
	const char *(*run)(struct hostile *h);
	uint64_t detail; /* for functions that serve several cases */
};

extern const struct hostile_case hostile_ring_cases[], hostile_setup_cases[], hostile_pci_cases[],
	hostile_ctrl_cases[], hostile_packed_cases[];

/* The case that runs: for its detail. */
extern const struct hostile_case *hostile_now;

/* Writes descriptor i of the target's ring. */
void hostile_desc(struct hostile *h, uint16_t i, uint64_t address, uint32_t length, uint16_t flags,
		  uint16_t next);

/* Makes this descriptor the next available one; hostile_kick() tells the device of all. */
void hostile_offer(struct hostile *h, uint16_t head);
void hostile_kick(struct hostile *h);

/* An address that is no RAM and no device's. */
uint64_t hostile_hole(void);

/* A random number: small, an address in scratch memory, or a large one. */
uint32_t hostile_value(struct hostile *h);

/* A random address that isn't the guest's own memory: scratch, or beyond 3 GiB. */
uint64_t hostile_address(struct hostile *h);

#endif
