/*
 * virtio-net: receive-side scaling, a frame's pair chosen by its hash, and hash reports. Virtio 1.3
 * §5.1.6.5.7, §5.1.6.5.6.4.
 *
 * The back end has spread the frames over its queues already, by other rules. So a frame that pair i
 * has read may be pair j's. It is copied into one of pair i's slots, and the slot goes into pair j's
 * inbox; pair j's thread copies it into the guest's buffers and gives the slot back. That is the price
 * of a table that the host knows nothing of; both ways, and what didn't find a free slot, are counted.
 *
 *	pair i                      pair j
 *	slots  [ ][ ][x][ ]   --->  inbox [x][ ][ ][ ] ---> buffers
 *	        free again   <---------------'
 *
 * The inbox has as many cells as there are slots in all, so there is always a cell for a slot: whoever
 * has a ticket (`tail`) owns the cell of that number till it is emptied. Tickets are taken by an atomic
 * addition, cells and slots change hands by release and acquire; nobody waits for anybody. (Why the cell of
 * ticket t is empty: at most all slots are under way, the inbox is emptied in order, and each slot that
 * was used again tells that its cell had been emptied before, to whoever takes a later ticket.)
 */
#include <endian.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/iov.h"
#include "dev/virtio_net.h"

#define RSS_SLOTS 32 /* of a pair */
#define RSS_CELLS (RSS_SLOTS * NET_QUEUES_MAX)

struct vnet_slot {
	bool busy; /* atomic; set by the pair that owns it, cleared by the one that has read it */
	uint32_t len;
	struct vnet_hash hash;
	uint8_t data[VNET_HDR_MAX + NET_FRAME_MAX];
};

struct vnet_handover {
	struct vnet_slot *cell[RSS_CELLS]; /* inbox; atomic */
	uint32_t tail;			   /* the next ticket; atomic */
	bool open;			   /* the queue runs; atomic */
	uint32_t head;			   /* the next cell to be emptied */
	struct loop_poller poller;
	unsigned int next; /* slot that is tried first */
	struct vnet_slot slot[RSS_SLOTS];
};

/* ---- inbox ---- */

/* Whether or not there is something: sequentially consistent, as loop_kick() wants it. */
bool vnet_rss_waiting(const struct vnet_pair *p)
{
	const struct vnet_handover *h = p->handover;

	return __atomic_load_n(&h->cell[h->head % RSS_CELLS], __ATOMIC_SEQ_CST);
}

static struct vnet_slot *inbox_get(struct vnet_handover *h)
{
	struct vnet_slot **cell = &h->cell[h->head % RSS_CELLS];
	struct vnet_slot *slot = __atomic_load_n(cell, __ATOMIC_ACQUIRE);

	if (!slot)
		return NULL;
	__atomic_store_n(cell, NULL, __ATOMIC_RELAXED);
	h->head++;
	return slot;
}

static void inbox_put(struct vnet_pair *to, struct vnet_slot *slot)
{
	struct vnet_handover *h = to->handover;
	uint32_t ticket = __atomic_fetch_add(&h->tail, 1, __ATOMIC_ACQ_REL);

	__atomic_store_n(&h->cell[ticket % RSS_CELLS], slot, __ATOMIC_SEQ_CST);
	loop_kick(to->loop);
}

bool vnet_rss_take(struct vnet_pair *p, struct vnet_frame *f)
{
	struct vnet_slot *slot = inbox_get(p->handover);

	if (!slot)
		return false;
	f->len = slot->len;
	f->direct = 0;
	f->rest = slot->data;
	f->hash = slot->hash;
	f->slot = slot;
	return true;
}

void vnet_rss_done(struct vnet_slot *slot)
{
	__atomic_store_n(&slot->busy, false, __ATOMIC_RELEASE);
}

/* What is there is lost: handed over to a queue that no longer runs. */
static void inbox_clear(struct vnet_pair *p)
{
	struct vnet_slot *slot;

	while ((slot = inbox_get(p->handover))) {
		counter_add(&p->counters.rx_dropped_reset, 1);
		vnet_rss_done(slot);
	}
}

/* The queue's own poller looks for work; this one sees to it that the loop doesn't sleep over it. */
static bool rss_poll(struct loop_poller *poller)
{
	return false;
}

static bool rss_prepare(struct loop_poller *poller)
{
	const struct vnet_pair *p = poller->opaque;

	return vnet_rss_waiting(p) && p->active && !p->rx.starved &&
	       !virtio_is_latched(&p->vn->vdev);
}

void vnet_rss_open(struct vnet_pair *p)
{
	struct vnet_handover *h = p->handover;

	if (!h)
		return;
	inbox_clear(p);
	h->poller.poll = rss_poll;
	h->poller.sleep_prepare = rss_prepare;
	h->poller.opaque = p;
	loop_poller_add(p->loop, &h->poller);
	__atomic_store_n(&h->open, true, __ATOMIC_RELAXED);
}

void vnet_rss_close(struct vnet_pair *p)
{
	struct vnet_handover *h = p->handover;

	if (!h || !__atomic_load_n(&h->open, __ATOMIC_RELAXED))
		return;
	/* What is put in later is found when it opens again. */
	__atomic_store_n(&h->open, false, __ATOMIC_RELAXED);
	loop_poller_del(p->loop, &h->poller);
	inbox_clear(p);
}

/* ---- a frame's way ---- */

static struct vnet_slot *slot_get(struct vnet_handover *h)
{
	for (unsigned int i = 0; i < RSS_SLOTS; i++) {
		struct vnet_slot *slot = &h->slot[h->next++ % RSS_SLOTS];

		if (!__atomic_load_n(&slot->busy, __ATOMIC_ACQUIRE)) {
			slot->busy = true;
			return slot;
		}
	}
	return NULL;
}

static void hand_over(struct vnet_pair *p, struct vnet_pair *to, const struct vnet_frame *f)
{
	struct vnet_slot *slot = NULL;

	if (f->len <= sizeof(slot->data) && __atomic_load_n(&to->handover->open, __ATOMIC_RELAXED))
		slot = slot_get(p->handover);
	if (!slot) {
		counter_add(&p->counters.rx_steer_full, 1);
		return;
	}
	slot->len = (uint32_t)vnet_rx_peek(p, f, 0, slot->data, f->len);
	slot->hash = f->hash;
	counter_add(&p->counters.rx_steered, 1);
	inbox_put(to, slot);
}

bool vnet_rss_keeps(struct vnet_pair *p, struct vnet_frame *f)
{
	const struct vnet_rss *rss = &p->set.rss;
	uint8_t head[VNET_HASH_HEAD];
	unsigned int to = rss->unclassified;
	size_t n;

	n = rss->types ? vnet_rx_peek(p, f, p->set.hdr_len, head, sizeof(head)) : 0;
	if (vnet_hash(rss->types, rss->key, head, n, &f->hash))
		to = rss->table[le32toh(f->hash.value) & rss->mask];
	if (!rss->steer || to == p->index)
		return true;
	hand_over(p, &p->vn->pair[to], f);
	return false;
}

/* ---- commands: pair 0's thread ---- */

static bool take_key(struct vnet_command *c, struct vnet_rss *rss)
{
	uint8_t len;

	memset(rss->key, 0, sizeof(rss->key));
	return vnet_take(c, &len, 1) && len <= sizeof(rss->key) && vnet_take(c, rss->key, len) &&
	       vnet_at_end(c);
}

static bool take_types(struct vnet_command *c, struct vnet_rss *rss)
{
	return vnet_take(c, &rss->types, sizeof(rss->types)) && !(rss->types & ~vnet_hash_types);
}

/* A receive queue by half its index. *pairs: grows to have it. */
static bool take_pair(struct virtio_net *vn, struct vnet_command *c, uint8_t *to,
		      unsigned int *pairs)
{
	uint16_t id;

	if (!vnet_take(c, &id, sizeof(id)) || id >= vn->n_pairs)
		return false;
	*to = (uint8_t)id;
	if (*pairs <= id)
		*pairs = id + 1u;
	return true;
}

/* max_tx_vq says how many send queues the driver may use, but that of Linux 6.1 stays at what it was when the
 * driver was loaded, whatever `ethtool -L` has said since. So pairs get in use by a table, and out of
 * use by VQ_PAIRS_SET alone. */
static bool ctrl_rss(struct virtio_net *vn, struct vnet_command *c)
{
	struct vnet_rss rss = {.on = true, .steer = true, .report = vn->set.rss.report};
	unsigned int pairs = vn->set.pairs;
	uint16_t max_tx;

	if (!take_types(c, &rss) || !vnet_take(c, &rss.mask, sizeof(rss.mask)) ||
	    rss.mask >= VNET_RSS_TABLE || rss.mask & (rss.mask + 1) ||
	    !take_pair(vn, c, &rss.unclassified, &pairs))
		return false;
	for (unsigned int i = 0; i <= rss.mask; i++)
		if (!take_pair(vn, c, &rss.table[i], &pairs))
			return false;
	if (!vnet_take(c, &max_tx, sizeof(max_tx)) || !max_tx || max_tx > vn->n_pairs ||
	    !take_key(c, &rss))
		return false;
	if (vnet_set_pairs(vn, max_tx > pairs ? max_tx : pairs))
		return false;
	vn->set.rss = rss;
	return true;
}

static bool ctrl_hash(struct virtio_net *vn, struct vnet_command *c)
{
	struct vnet_rss rss = vn->set.rss;
	uint16_t reserved[4];

	if (!take_types(c, &rss) || !vnet_take(c, reserved, sizeof(reserved)) || !take_key(c, &rss))
		return false;
	vn->set.rss = rss;
	return true;
}

bool vnet_ctrl_rss(struct virtio_net *vn, struct vnet_command *c)
{
	if (c->command == VIRTIO_NET_CTRL_MQ_RSS_CONFIG)
		return virtio_has(&vn->vdev, VIRTIO_NET_F_RSS) && ctrl_rss(vn, c);
	if (c->command == VIRTIO_NET_CTRL_MQ_HASH_CONFIG)
		return virtio_has(&vn->vdev, VIRTIO_NET_F_HASH_REPORT) && ctrl_hash(vn, c);
	return false;
}

/* ---- life ---- */

int vnet_rss_make(struct virtio_net *vn, struct err *err)
{
	for (unsigned int i = 0; i < vn->n_pairs; i++) {
		/* Memory that no frame needs is never touched. */
		vn->pair[i].handover = calloc(1, sizeof(struct vnet_handover));
		if (!vn->pair[i].handover)
			return err_set(err, -ENOMEM, "out of memory");
	}
	return 0;
}

void vnet_rss_free(struct virtio_net *vn)
{
	for (unsigned int i = 0; vn->pair && i < vn->n_pairs; i++) {
		free(vn->pair[i].handover);
		vn->pair[i].handover = NULL;
	}
}
