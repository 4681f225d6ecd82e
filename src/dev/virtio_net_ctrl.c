/*
 * virtio-net: the control queue, and the receive filter. Virtio 1.3 §5.1.6.5.
 *
 * A command is a chain: class and command (a byte each) and data, which the driver wrote, then a
 * byte for the answer. What can't be done is answered with an error; a chain without room for
 * class, command and answer latches the device.
 *
 * The filter is the guest's wish, not a wall: a host that wants a wall filters on the TAP.
 */
#include <errno.h>
#include <string.h>

#include "base/iov.h"
#include "dev/virtio_net.h"

#define CTRL_BATCH 16

/* What follows class and command. */
struct ctrl_data {
	const struct iovec *iov;
	unsigned int n;
	size_t offset; /* of the next byte to take */
};

static bool ctrl_take(struct ctrl_data *data, void *buf, size_t len)
{
	size_t got = iov_read(data->iov, data->n, data->offset, buf, len);

	data->offset += got;
	return got == len;
}

static bool ctrl_at_end(const struct ctrl_data *data)
{
	return data->offset == iov_size(data->iov, data->n);
}

/* ---- commands: true = done ---- */

static bool ctrl_rx_mode(struct virtio_net *vn, uint8_t command, struct ctrl_data *data)
{
	struct vnet_filter *f = &vn->filter;
	bool *const modes[] = {
		[VIRTIO_NET_CTRL_RX_PROMISC] = &f->promisc,
		[VIRTIO_NET_CTRL_RX_ALLMULTI] = &f->allmulti,
		[VIRTIO_NET_CTRL_RX_ALLUNI] = &f->alluni,
		[VIRTIO_NET_CTRL_RX_NOMULTI] = &f->nomulti,
		[VIRTIO_NET_CTRL_RX_NOUNI] = &f->nouni,
		[VIRTIO_NET_CTRL_RX_NOBCAST] = &f->nobcast,
	};
	unsigned int needs = command <= VIRTIO_NET_CTRL_RX_ALLMULTI ? VIRTIO_NET_F_CTRL_RX
								    : VIRTIO_NET_F_CTRL_RX_EXTRA;
	uint8_t on;

	if (command >= sizeof(modes) / sizeof(modes[0]) || !virtio_has(&vn->vdev, needs) ||
	    !ctrl_take(data, &on, 1) || !ctrl_at_end(data))
		return false;
	*modes[command] = on;
	return true;
}

/* A table of addresses: a 32-bit count, then 6 bytes each. Longer ones than fit are read over. */
static bool ctrl_take_table(struct ctrl_data *data, uint8_t table[][6], unsigned int *n)
{
	size_t left;
	uint32_t count;

	if (!ctrl_take(data, &count, sizeof(count)))
		return false;
	left = iov_size(data->iov, data->n) - data->offset;
	if (count > left / 6)
		return false;
	if (count > VNET_MAC_TABLE) {
		data->offset += 6 * (size_t)count;
		*n = VNET_MAC_TABLE + 1;
		return true;
	}
	*n = count;
	return ctrl_take(data, table, 6 * (size_t)count);
}

static bool ctrl_mac(struct virtio_net *vn, uint8_t command, struct ctrl_data *data)
{
	struct vnet_filter *f = &vn->filter;
	struct vnet_filter fresh = {0};
	uint64_t mac = 0;

	if (command == VIRTIO_NET_CTRL_MAC_ADDR_SET) {
		if (!virtio_has(&vn->vdev, VIRTIO_NET_F_CTRL_MAC_ADDR) ||
		    !ctrl_take(data, &mac, 6) || !ctrl_at_end(data))
			return false;
		__atomic_store_n(&vn->mac, mac, __ATOMIC_RELAXED);
		return true;
	}
	if (command != VIRTIO_NET_CTRL_MAC_TABLE_SET ||
	    !virtio_has(&vn->vdev, VIRTIO_NET_F_CTRL_RX) ||
	    !ctrl_take_table(data, fresh.uni, &fresh.n_uni) ||
	    !ctrl_take_table(data, fresh.multi, &fresh.n_multi) || !ctrl_at_end(data))
		return false;
	f->n_uni = fresh.n_uni;
	f->n_multi = fresh.n_multi;
	memcpy(f->uni, fresh.uni, sizeof(f->uni));
	memcpy(f->multi, fresh.multi, sizeof(f->multi));
	return true;
}

static bool ctrl_vlan(struct virtio_net *vn, uint8_t command, struct ctrl_data *data)
{
	struct vnet_filter *f = &vn->filter;
	uint16_t id;

	if (!virtio_has(&vn->vdev, VIRTIO_NET_F_CTRL_VLAN) || !ctrl_take(data, &id, sizeof(id)) ||
	    !ctrl_at_end(data) || id >= 4096)
		return false;
	if (command == VIRTIO_NET_CTRL_VLAN_ADD)
		f->vlans[id / 64] |= UINT64_C(1) << id % 64;
	else if (command == VIRTIO_NET_CTRL_VLAN_DEL)
		f->vlans[id / 64] &= ~(UINT64_C(1) << id % 64);
	else
		return false;
	return true;
}

static bool ctrl_guest_offloads(struct virtio_net *vn, uint8_t command, struct ctrl_data *data)
{
	uint64_t offloads;

	if (command != VIRTIO_NET_CTRL_GUEST_OFFLOADS_SET ||
	    !virtio_has(&vn->vdev, VIRTIO_NET_F_CTRL_GUEST_OFFLOADS) ||
	    !ctrl_take(data, &offloads, sizeof(offloads)) || !ctrl_at_end(data))
		return false;
	/* Only what was negotiated can be turned off and on (§5.1.6.5.6). */
	if (offloads & ~vn->vdev.features)
		return false;
	return !vnet_set_guest_offloads(vn, offloads);
}

static bool ctrl_command(struct virtio_net *vn, uint8_t class, uint8_t command,
			 struct ctrl_data *data)
{
	switch (class) {
	case VIRTIO_NET_CTRL_RX:
		return ctrl_rx_mode(vn, command, data);
	case VIRTIO_NET_CTRL_MAC:
		return ctrl_mac(vn, command, data);
	case VIRTIO_NET_CTRL_VLAN:
		return ctrl_vlan(vn, command, data);
	case VIRTIO_NET_CTRL_GUEST_OFFLOADS:
		return ctrl_guest_offloads(vn, command, data);
	default:
		return false;
	}
}

bool vnet_ctrl_work(struct virtio_net *vn)
{
	struct virtq *q = &vn->vdev.queue[VNET_CTRLQ].ring;
	struct virtq_chain chain;
	int n = 0;

	for (; n < CTRL_BATCH; n++) {
		int r = virtq_pop(q, &chain, vn->ctrl_iov, VNET_IOV);
		struct ctrl_data data = {vn->ctrl_iov, 0, 0};
		uint8_t what[2], answer;

		if (r == -E2BIG)
			virtq_latch(q, "a control command of too many pieces");
		if (r <= 0)
			break;
		data.n = chain.n_out;
		if (!ctrl_take(&data, what, sizeof(what)) || !chain.in_bytes) {
			virtq_latch(q,
				    "a control command with no class, or no room for the answer");
			break;
		}
		counter_add(&vn->counters.ctrl_commands, 1);
		answer = VIRTIO_NET_OK;
		if (!ctrl_command(vn, what[0], what[1], &data)) {
			answer = VIRTIO_NET_ERR;
			counter_add(&vn->counters.ctrl_refused, 1);
		}
		iov_write(vn->ctrl_iov + chain.n_out, chain.n_in, 0, &answer, 1);
		virtq_fill(q, &chain, 1);
	}
	virtq_flush(q);
	return n > 0;
}

/* ---- the filter ---- */

void vnet_filter_reset(struct virtio_net *vn)
{
	memset(&vn->filter, 0, sizeof(vn->filter));
	vn->filter.promisc = true;
}

static bool filter_in_table(const uint8_t table[][6], unsigned int n, const uint8_t mac[6])
{
	if (n > VNET_MAC_TABLE)
		return true;
	for (unsigned int i = 0; i < n; i++)
		if (!memcmp(table[i], mac, 6))
			return true;
	return false;
}

bool vnet_filter_passes(const struct virtio_net *vn, const uint8_t start[18])
{
	static const uint8_t broadcast[6] = {0xff, 0xff, 0xff, 0xff, 0xff, 0xff};
	const struct vnet_filter *f = &vn->filter;
	uint64_t mac;

	if (f->vlans_on && start[12] == 0x81 && start[13] == 0x00) {
		unsigned int id = (start[14] & 0x0fu) << 8 | start[15];

		if (!(f->vlans[id / 64] >> id % 64 & 1))
			return false;
	}
	if (f->promisc)
		return true;
	if (!memcmp(start, broadcast, 6))
		return !f->nobcast;
	if (start[0] & 1)
		return !f->nomulti && (f->allmulti || filter_in_table(f->multi, f->n_multi, start));
	if (f->nouni)
		return false;
	mac = __atomic_load_n(&vn->mac, __ATOMIC_RELAXED);
	return f->alluni || !memcmp(start, &mac, 6) || filter_in_table(f->uni, f->n_uni, start);
}
