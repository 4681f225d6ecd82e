/*
 * The packed ring over hostile guest memory: the input is what the guest's RAM holds, where it says
 * its ring is, and what the device does meanwhile. RAM is allocated to the byte, so ASan sees a
 * device that leaves it.
 *
 *	byte 0	   ring's size - 1, low 5 bits; event index 0x20, indirect 0x40
 *	byte 1	   how RAM is split in two ranges
 *	byte 2	   where the ring starts, in 16 bytes; the event structures stand behind it
 *	byte 3	   position: entry (low 5 bits), wrap counter 0x20; 0x40: a new ring
 *	byte 4..   number of actions, actions, then RAM
 */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "../unit/pdriver.h"
#include "virtio/ring.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);

#define SECOND	0x100000 /* where the second range starts */
#define PIECES	40
#define CHAINS	16
#define RAM_MAX 0x20000

struct held {
	struct virtq_chain chain;
	struct iovec iov[PIECES];
};

static void notify(struct virtq *q)
{
}

static void broken(struct virtq *q, const char *reason)
{
	if (!reason || !reason[0])
		abort();
}

/* Reads all that may be read, writes all that may be written: the guest changes its own ring so,
 * too. */
static void use(const struct virtq *q, const struct virtq_chain *chain)
{
	uint64_t out = 0, in = 0;
	unsigned int i;

	for (i = 0; i < chain->n_out; i++) {
		const volatile uint8_t *p = chain->iov[i].iov_base;

		(void)p[0];
		(void)p[chain->iov[i].iov_len - 1];
		out += chain->iov[i].iov_len;
	}
	for (; i < (unsigned int)chain->n_out + chain->n_in; i++) {
		uint8_t *p = chain->iov[i].iov_base;

		p[0] ^= 0x55;
		p[chain->iov[i].iov_len - 1] ^= 0xaa;
		in += chain->iov[i].iov_len;
	}
	if (out != chain->out_bytes || in != chain->in_bytes)
		abort();
	if (chain->head >= q->size || !chain->descs || chain->descs > q->size)
		abort();
}

/* The places of both sides, and what lies between them. */
static void check(const struct virtq *q)
{
	unsigned int ahead = q->avail_at + (q->avail_wrap == q->used_wrap ? 0 : q->size);

	if (q->avail_at >= q->size || q->used_at >= q->size || q->in_flight > q->size ||
	    q->batch > q->in_flight || ahead != q->used_at + (unsigned int)q->in_flight - q->batch)
		abort();
}

static void act(struct virtq *q, struct held *held, unsigned int *n, uint8_t action)
{
	unsigned int max = action >> 3 ? (unsigned int)(action >> 3) : PIECES;

	switch (action & 7) {
	case 0:
	case 1:
	case 2:
		if (*n < CHAINS && virtq_pop(q, &held[*n].chain, held[*n].iov, max) == 1)
			use(q, &held[(*n)++].chain);
		break;
	case 3: /* all, the last one first */
		while (*n)
			virtq_fill(q, &held[--*n].chain, action);
		virtq_flush(q);
		break;
	case 4:
		if (*n) {
			virtq_unpop(q, 1);
			/* A latched queue takes nothing back. */
			*n -= !q->latched;
		}
		break;
	case 5:
		virtq_kicks_off(q);
		break;
	case 6:
		virtq_kicks_on(q);
		break;
	case 7:
		virtq_pending(q);
		break;
	}
	check(q);
}

static void ram(struct mem *mem, uint64_t gpa, const uint8_t *data, size_t len)
{
	if (len)
		memcpy(vdriver_ram(mem, gpa, len), data, len);
}

static uint32_t position_of(uint8_t byte)
{
	uint32_t at = (byte & 31u) | (byte & 32 ? PD_WRAP : 0);

	return byte & 64 ? VIRTQ_POSITION_NEW : at << 16 | at;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
	struct held *held = calloc(CHAINS, sizeof(*held));
	struct mem mem = {0};
	struct virtq q = {.mem = &mem, .notify = notify, .broken = broken};
	struct virtq_config config;
	const uint8_t *actions;
	unsigned int n_actions, n = 0;
	struct pdriver d;
	size_t split;

	if (len < 6 || len > RAM_MAX)
		goto out;
	n_actions = data[4];
	actions = data + 5;
	if (len < 5 + n_actions)
		goto out;
	split = (len - 5 - n_actions) * data[1] / 256;
	ram(&mem, 0, actions + n_actions, split);
	ram(&mem, SECOND, actions + n_actions + split, len - 5 - n_actions - split);

	pdriver_init(&d, &mem, 16 * (uint64_t)data[2], (data[0] & 31) + 1);
	config = (struct virtq_config){
		.size = d.size,
		.packed = true,
		.desc = d.desc,
		.avail = d.driver,
		.used = d.device,
		.event_idx = data[0] & 0x20,
		.indirect = data[0] & 0x40,
	};
	if (virtq_start(&q, &config, position_of(data[3])))
		goto out;
	for (unsigned int i = 0; i < n_actions; i++)
		act(&q, held, &n, actions[i]);
	/* As the device does it in the end: whatever is left, back or done. */
	while (n)
		virtq_fill(&q, &held[--n].chain, 1);
	virtq_flush(&q);
	check(&q);
	virtq_stop(&q);
out:
	vdriver_ram_free(&mem);
	free(held);
	return 0;
}
