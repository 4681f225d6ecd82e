/*
 * vhost-user: guest memory and rings, shown to a peer and taken back.
 *
 *	driver ready:  SET_FEATURES, memory (SET_MEM_TABLE, or ADD_MEM_REG for each range), SET_STATUS;
 *	               SET_VRING_CALL without a descriptor for each ring of a second pair and on
 *	ring starts:   SET_VRING_NUM, _BASE, _ADDR, _ERR, _CALL, _KICK, _ENABLE
 *	ring stops:    GET_VRING_BASE: its answer is where the ring stands, and from then on the peer doesn't
 *	               touch it. Not disabled before: a disabled ring's frames are thrown away
 *	peer dies:     the next one gets all of this again
 *
 * Where a ring goes on after its peer has died: a split ring at the used ring's index, which is in guest memory;
 * what the dead one had taken and not given back is served again, so that no buffer is lost (a
 * frame may be sent twice). A packed ring has no such word; there the inflight region tells, which a peer keeps in
 * memory that we hold on to. So packed rings are offered only with peers that have one. It is read by pread(): a
 * mapping would end in SIGBUS when the peer cuts the file short.
 *
 * A peer that hangs and is given up still has the memory mapped: nothing but its own good behaviour keeps it from
 * writing there. That is so with vhost-user; whoever runs the peer trusts it with the guest's memory.
 */
#include <endian.h>
#include <errno.h>
#include <linux/virtio_config.h>
#include <linux/virtio_net.h>
#include <linux/virtio_ring.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "net/vhost_user.h"

#define VU_STATUS_READY \
	(VIRTIO_CONFIG_S_ACKNOWLEDGE | VIRTIO_CONFIG_S_DRIVER | VIRTIO_CONFIG_S_FEATURES_OK)

static bool vu_is_packed(const struct vu *vu)
{
	return vu->driver_features >> VIRTIO_F_RING_PACKED & 1;
}

uint64_t vu_missing(const struct vu *vu)
{
	return vu->mem ? vu->driver_features & ~vu->features : 0;
}

/* ---- memory ---- */

static struct vu_region vu_region(const struct mem_range *range)
{
	return (struct vu_region){.gpa = range->gpa,
				  .size = range->size,
				  .hva = (uintptr_t)range->hva,
				  .offset = range->file_offset};
}

static int vu_show_mem(struct vu *vu)
{
	const struct mem *mem = vu->mem;
	struct vu_mem_table table = {.n = mem->n_ranges};
	int fds[VU_FDS_MAX], r = 0;

	if (vu_has(vu, VU_P_CONFIGURE_MEM_SLOTS)) {
		for (unsigned int i = 0; i < mem->n_ranges && !r; i++) {
			struct vu_mem_reg reg = {.region = vu_region(&mem->range[i])};

			r = vu_tell(&vu->channel, VU_ADD_MEM_REG, &reg, sizeof(reg), &mem->fd, 1);
		}
		return r;
	}
	for (unsigned int i = 0; i < mem->n_ranges; i++) {
		table.region[i] = vu_region(&mem->range[i]);
		fds[i] = mem->fd;
	}
	return vu_tell(&vu->channel, VU_SET_MEM_TABLE, &table,
		       (uint32_t)(offsetof(struct vu_mem_table, region) +
				  mem->n_ranges * sizeof(struct vu_region)),
		       fds, mem->n_ranges);
}

void vu_hide(struct vu *vu)
{
	const struct mem *mem = vu->mem;

	if (vu->inflight_fd >= 0)
		close(vu->inflight_fd); /* of rings that are no more */
	vu->inflight_fd = -1;
	if (!mem || !vu->shown)
		return;
	vu->shown = false;
	if (vu_has(vu, VU_P_STATUS))
		vu_tell_u64(&vu->channel, VU_SET_STATUS, 0);
	/* A table can only be replaced: without slots the peer keeps it until the next one. */
	for (unsigned int i = 0; vu_has(vu, VU_P_CONFIGURE_MEM_SLOTS) && i < mem->n_ranges; i++) {
		struct vu_mem_reg reg = {.region = vu_region(&mem->range[i])};

		vu_tell(&vu->channel, VU_REM_MEM_REG, &reg, sizeof(reg), NULL, 0);
	}
}

/* ---- the inflight region ---- */

/* Shows the peer the region that one before it has kept, or has it make one. */
static int vu_show_inflight(struct vu *vu)
{
	struct vu_inflight *inflight = &vu->inflight;
	int r;

	if (!vu_has(vu, VU_P_INFLIGHT_SHMFD))
		return 0;
	if (vu->inflight_fd < 0) {
		*inflight = (struct vu_inflight){.num_queues = (uint16_t)(vu->n_queues * NET_RINGS),
						 .queue_size = vu_ring_size_max(vu)};
		r = vu_ask(&vu->channel, VU_GET_INFLIGHT_FD, inflight, sizeof(*inflight), inflight,
			   sizeof(*inflight), &vu->inflight_fd);
		if (r)
			return r;
		inflight->num_queues = (uint16_t)(vu->n_queues * NET_RINGS);
		inflight->queue_size = vu_ring_size_max(vu);
	}
	return vu_tell(&vu->channel, VU_SET_INFLIGHT_FD, inflight, sizeof(*inflight),
		       &vu->inflight_fd, 1);
}

/* "Inflight I/O tracking", QueueRegionPacked: what stands before its desc[]. */
struct vu_inflight_packed {
	uint64_t features;
	uint16_t version, desc_num, free_head, old_free_head, used_idx, old_used_idx;
	uint8_t used_wrap, old_used_wrap, padding[2];
};

/* The position of a packed ring whose peer has died. false: nobody knows. */
static bool vu_inflight_position(const struct vu *vu, unsigned int index, uint32_t *position)
{
	uint64_t each = vu->inflight.mmap_size / (vu->n_queues * NET_RINGS);
	uint64_t at = vu->inflight.mmap_offset + index * each;
	struct vu_inflight_packed region;
	uint32_t used;

	if (vu->inflight_fd < 0 || each < sizeof(region) || at > INT64_MAX)
		return false;
	if (pread(vu->inflight_fd, &region, sizeof(region), (off_t)at) != sizeof(region))
		return false;
	if (region.version != 1 || region.old_used_idx >= vu->ring[index].ring.size)
		return false;
	used = region.old_used_idx | (region.old_used_wrap & 1u) << 15;
	*position = used | used << 16;
	return true;
}

/* ---- rings ---- */

static uint16_t vu_load_idx(const struct mem *mem, uint64_t area)
{
	/* Both rings begin with 16 bits of flags and 16 of index (virtio 1.3 §2.7.6, §2.7.8). */
	const uint16_t *words = mem_ptr(mem, area, 4);

	return words ? le16toh(__atomic_load_n(&words[1], __ATOMIC_ACQUIRE)) : 0;
}

static uint32_t vu_first(const struct vu *vu)
{
	return vu_is_packed(vu) ? 0x80008000 : 0; /* both wrap counters start at 1 */
}

/* Where a ring that no peer has stands. false: nobody knows. */
static bool vu_ring_position(const struct vu *vu, unsigned int index, uint32_t *position)
{
	const struct vu_ring *ring = &vu->ring[index];

	*position = ring->ring.position == UINT32_MAX ? vu_first(vu) : ring->ring.position;
	if (!ring->served)
		return true;
	if (vu_is_packed(vu))
		return vu_inflight_position(vu, index, position);
	*position = vu_load_idx(vu->mem, ring->ring.used);
	return true;
}

static int vu_tell_state(struct vu *vu, enum vu_request request, unsigned int index, uint32_t num)
{
	struct vu_vring_state state = {.index = index, .num = num};

	return vu_tell(&vu->channel, request, &state, sizeof(state), NULL, 0);
}

static int vu_tell_fd(struct vu *vu, enum vu_request request, unsigned int index, int fd)
{
	uint64_t value = index | (fd < 0 ? VU_VRING_NO_FD : 0);

	return vu_tell(&vu->channel, request, &value, sizeof(value), &fd, fd < 0 ? 0 : 1);
}

static int vu_tell_addr(struct vu *vu, unsigned int index)
{
	const struct net_ring *ring = &vu->ring[index].ring;
	uint64_t n = ring->size;
	uint64_t avail = vu_is_packed(vu) ? 4 : 6 + 2 * n, used = vu_is_packed(vu) ? 4 : 6 + 8 * n;
	struct vu_vring_addr addr = {
		.index = index,
		.desc = (uintptr_t)mem_ptr(vu->mem, ring->desc, 16 * n),
		.avail = (uintptr_t)mem_ptr(vu->mem, ring->avail, avail),
		.used = (uintptr_t)mem_ptr(vu->mem, ring->used, used),
	};

	return vu_tell(&vu->channel, VU_SET_VRING_ADDR, &addr, sizeof(addr), NULL, 0);
}

int vu_ring_enable(struct vu *vu, unsigned int index)
{
	if (!vu->ring[index].running || !(vu->features >> VU_F_PROTOCOL_FEATURES & 1))
		return 0;
	return vu_tell_state(vu, VU_SET_VRING_ENABLE, index, index / NET_RINGS < vu->active);
}

int vu_ring_call(struct vu *vu, unsigned int index)
{
	if (!vu->ring[index].running)
		return 0;
	return vu_tell_fd(vu, VU_SET_VRING_CALL, index, vu->ring[index].ring.call_fd);
}

static void vu_signal(int fd)
{
	if (fd >= 0)
		(void)!eventfd_write(fd, 1); /* full: somebody has been told already */
}

/* Everything is repeated by hand that the peer before may have swallowed: the driver's last doorbell, and the
 * interrupt for what was used last. */
static void vu_ring_wake(const struct net_ring *ring)
{
	vu_signal(ring->kick_fd);
	vu_signal(ring->call_fd);
}

int vu_ring_go(struct vu *vu, unsigned int index)
{
	struct vu_ring *ring = &vu->ring[index];
	bool again = ring->served;
	uint32_t position;
	int r;

	if (!ring->started || ring->running || !vu->shown || !vu_channel_is_up(&vu->channel))
		return 0;
	if (!vu_ring_position(vu, index, &position)) {
		vu_channel_fail(&vu->channel,
				"nobody knows where the peer before it has left a ring");
		return -EPROTO;
	}
	ring->ring.position = position;
	r = vu_tell_state(vu, VU_SET_VRING_NUM, index, ring->ring.size);
	if (!r)
		r = vu_tell_state(vu, VU_SET_VRING_BASE, index, position);
	if (!r)
		r = vu_tell_addr(vu, index);
	if (!r)
		r = vu_tell_fd(vu, VU_SET_VRING_ERR, index, vu->error_fd);
	if (r)
		return r;
	ring->running = ring->served = true; /* from the kick on the peer may use it */
	r = vu_ring_call(vu, index);
	if (!r)
		r = vu_tell_fd(vu, VU_SET_VRING_KICK, index, ring->ring.kick_fd);
	if (!r)
		r = vu_ring_enable(vu, index);
	if (!r && vu_has(vu, VU_P_STATUS))
		r = vu_tell_u64(&vu->channel, VU_SET_STATUS,
				VU_STATUS_READY | VIRTIO_CONFIG_S_DRIVER_OK);
	if (!r && again)
		vu_ring_wake(&ring->ring);
	return r;
}

/* Is it a position that such a ring can have? */
static bool vu_position_is_sane(const struct vu *vu, const struct net_ring *ring, uint32_t position)
{
	uint16_t used, taken;

	if (vu_is_packed(vu))
		return (position & 0x7fff) < ring->size && (position >> 16 & 0x7fff) < ring->size;
	/* No further than what the driver has put in, and not behind what was given back. */
	used = vu_load_idx(vu->mem, ring->used);
	taken = (uint16_t)(position - used);
	return position <= UINT16_MAX &&
	       taken <= (uint16_t)(vu_load_idx(vu->mem, ring->avail) - used);
}

void vu_ring_halt(struct vu *vu, unsigned int index)
{
	struct vu_ring *ring = &vu->ring[index];
	struct vu_vring_state state = {.index = index};
	uint32_t position;
	int r = -ENOTCONN;

	if (ring->running)
		r = vu_ask(&vu->channel, VU_GET_VRING_BASE, &state, sizeof(state), &state,
			   sizeof(state), NULL);
	ring->running = false;
	if (!r && state.index == index && vu_position_is_sane(vu, &ring->ring, state.num)) {
		ring->ring.position = state.num;
		ring->served = false;
		return;
	}
	if (!r && state.index != index) {
		counter_add(&vu->counters.bad_replies, 1);
		vu_channel_fail(&vu->channel, "it said something else than was asked");
	}
	/* A position that can't be is the peer's mistake, or that of a guest which has put something
	 * else there before it reset the device: nobody is to blame. */
	if (vu_ring_position(vu, index, &position))
		ring->ring.position = position;
}

/* ---- all of it ---- */

/*
 * Names the rings of the pairs beyond the first, which has yet to come to life. Open vSwitch counts the rings that it
 * has heard of when that happens (new_device() in its lib/netdev-dpdk.c), and polls no others later.
 */
static int vu_name_rings(struct vu *vu)
{
	int r = 0;

	if (!(vu->driver_features >> VIRTIO_NET_F_MQ & 1))
		return 0;
	for (unsigned int i = NET_RINGS; i < vu->n_queues * NET_RINGS && !r; i++)
		r = vu_tell_fd(vu, VU_SET_VRING_CALL, i, -1);
	return r;
}

int vu_show(struct vu *vu)
{
	uint64_t features = vu->driver_features;
	int r;

	if (!vu->mem || !vu->agreed || !vu_channel_is_up(&vu->channel))
		return 0;
	if (vu->features >> VU_F_PROTOCOL_FEATURES & 1)
		features |= UINT64_C(1) << VU_F_PROTOCOL_FEATURES;
	r = vu_tell_u64(&vu->channel, VU_SET_FEATURES, features);
	if (!r)
		r = vu_show_mem(vu);
	if (!r)
		r = vu_show_inflight(vu);
	if (!r && vu_has(vu, VU_P_STATUS))
		r = vu_tell_u64(&vu->channel, VU_SET_STATUS, VU_STATUS_READY);
	if (!r)
		r = vu_name_rings(vu);
	vu->shown = !r;
	for (unsigned int i = 0; i < vu->n_queues * NET_RINGS && !r; i++)
		r = vu_ring_go(vu, i);
	return r;
}

void vu_rings_lost(struct vu *vu)
{
	vu->shown = false;
	for (unsigned int i = 0; i < VU_RINGS_MAX; i++)
		vu->ring[i].running = false;
}
