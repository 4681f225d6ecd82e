/*
 * Port and memory I/O: which region answers an access.
 *
 * A region is a piece of a device: a BAR, a block of ports. Its handlers get an offset within it
 * and never learn where it sits. The tables that map addresses to regions are snapshots: whoever
 * maps or unmaps makes a new table and swaps the pointer; vCPU threads look up without a lock. A
 * table that was replaced is freed when no vCPU can be using it any more.
 *
 *	vCPU exit -> bus_read/_write -> table (binary search) -> region -> device's lock -> handler
 *
 * Doorbells (ioeventfds) belong to a region as (offset, size, value); the bus ties them to KVM
 * while the region is mapped, and moves them with it.
 *
 * Registers of a region can also be marked as posted or shadowed: see bus/posted.h.
 *
 * An access that no region answers reads as all ones and writes to nowhere, as on a PC.
 */
#ifndef VIREO_BUS_BUS_H
#define VIREO_BUS_BUS_H

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/queue.h>

#include "base/counter.h"
#include "base/err.h"

struct vm;

enum bus_space {
	BUS_PIO,
	BUS_MMIO,
	BUS_SPACES
};

/* Handlers of a region. offset + size never leaves the region; size is 1, 2, 4 or 8. value is
 * little-endian as a number. The bus cuts an access into naturally aligned pieces of at most `max`
 * bytes, lowest address first (`unaligned`: whole, wherever it starts); a piece smaller than `min`
 * is read as part of the min-sized word around it, and dropped as a write. Called with the region's
 * lock held, on a vCPU's thread; a posted write on that of whoever drains. NULL: reads as ones,
 * writes go nowhere. */
struct region_ops {
	uint64_t (*read)(void *opaque, uint64_t offset, unsigned int size);
	void (*write)(void *opaque, uint64_t offset, unsigned int size, uint64_t value);
	uint8_t min, max; /* sizes in bytes that the handlers take, powers of two; 0 = no limit */
	bool unaligned;
};

struct bus;
struct posted;

struct bus_region {
	const char *name; /* "virtio-pci.common", for info and logs */
	const struct region_ops *ops;
	void *opaque;
	pthread_mutex_t *lock; /* the device's; held around its handlers. NULL = none needed */
	uint64_t size;	       /* bytes */
	enum bus_space space;
	unsigned int *waiters; /* how many wait for the lock, for who holds it often; may be NULL */
	/* the bus's */
	struct bus *bus; /* set while mapped */
	uint64_t base;
	TAILQ_ENTRY(bus_region) link;
	TAILQ_HEAD(, bus_doorbell) doorbells;
	struct posted *posted; /* whose marks are on its registers; NULL: none */
};

struct bus_doorbell {
	uint64_t offset;
	uint8_t size; /* as struct vm_doorbell */
	bool match;
	uint64_t value;
	int fd;
	TAILQ_ENTRY(bus_doorbell) link;
};

struct bus_counters {
	struct counter reads[BUS_SPACES], writes[BUS_SPACES], unclaimed[BUS_SPACES];
	struct counter posted[BUS_SPACES], posted_lost;
};
extern const struct counter_desc bus_counter_table[];

int bus_create(struct bus **bus, struct vm *vm, struct err *err);
void bus_destroy(struct bus *bus); /* every region is unmapped already */

/* Fills a region in; it is not mapped. size > 0. */
void bus_region_init(struct bus_region *region, const char *name, enum bus_space space,
		     uint64_t size, const struct region_ops *ops, void *opaque,
		     pthread_mutex_t *lock);

/* Makes the region answer at [base, base+size), and nowhere else. Where regions overlap, the one
 * mapped last answers (a guest may program BARs so; nothing breaks). -EINVAL when the range leaves
 * the space: nothing changes; -ENOMEM: it is unmapped. Any thread; one at a time per region. */
int bus_map(struct bus *bus, struct bus_region *region, uint64_t base);
/* Takes it away; handlers may still be running on other vCPUs until bus_synchronize(). No-op when
 * not mapped. */
void bus_unmap(struct bus_region *region);
/* Waits until no handler of a region that was unmapped before can be running. Not from a handler.
 */
void bus_synchronize(struct bus *bus);

/* Adds/removes a doorbell, mapped or not. The struct is the caller's and stays put. A negative
 * errno says that KVM doesn't take it where the region is now: it belongs to the region all the
 * same, and such a write reaches the handler. */
int bus_doorbell_add(struct bus_region *region, struct bus_doorbell *bell);
void bus_doorbell_del(struct bus_region *region, struct bus_doorbell *bell);

/* What a vCPU exit is. reader: which vCPU (its index) asks; BUS_READERS_MAX at most. */
#define BUS_READERS_MAX 256
uint64_t bus_read(struct bus *bus, unsigned int reader, enum bus_space space, uint64_t addr,
		  unsigned int size);
void bus_write(struct bus *bus, unsigned int reader, enum bus_space space, uint64_t addr,
	       unsigned int size, uint64_t value);

/* Carries out the posted writes that were made up to now, in order, and waits for them if another
 * thread is at it; returns how many this call did (at most VM_POSTED_MAX). Nothing but a load when
 * nothing was ever posted. Any thread, but not from a handler, nor with a device's lock held. What an
 * exit needs of it happens by itself; others call it before they look at what the guest has written:
 * an I/O thread that serves a doorbell (posted_bell()), and the machine when the vCPUs stand still. */
unsigned int bus_posted_drain(struct bus *bus);

const struct bus_counters *bus_counters(const struct bus *bus);

#endif
