/*
 * virtio-net: the receive filter, and the commands that set it. Virtio 1.3 §5.1.6.5.1-3.
 *
 * The filter is the guest's wish, not a wall: a host that wants a wall filters on the TAP.
 *
 * Commands run on pair 0's thread and change virtio_net.set; a pair's thread asks its own copy.
 */
#include <string.h>

#include "base/iov.h"
#include "dev/virtio_net.h"

bool vnet_ctrl_rx(struct virtio_net *vn, struct vnet_command *c)
{
	struct vnet_filter *f = &vn->set.filter;
	bool *const modes[] = {
		[VIRTIO_NET_CTRL_RX_PROMISC] = &f->promisc,
		[VIRTIO_NET_CTRL_RX_ALLMULTI] = &f->allmulti,
		[VIRTIO_NET_CTRL_RX_ALLUNI] = &f->alluni,
		[VIRTIO_NET_CTRL_RX_NOMULTI] = &f->nomulti,
		[VIRTIO_NET_CTRL_RX_NOUNI] = &f->nouni,
		[VIRTIO_NET_CTRL_RX_NOBCAST] = &f->nobcast,
	};
	unsigned int needs = c->command <= VIRTIO_NET_CTRL_RX_ALLMULTI ? VIRTIO_NET_F_CTRL_RX
								       : VIRTIO_NET_F_CTRL_RX_EXTRA;
	uint8_t on;

	if (c->command >= sizeof(modes) / sizeof(modes[0]) || !virtio_has(&vn->vdev, needs) ||
	    !vnet_take(c, &on, 1) || !vnet_at_end(c))
		return false;
	*modes[c->command] = on;
	return true;
}

/* A table of addresses: a 32-bit count, then 6 bytes each. Longer ones than fit are read over. */
static bool filter_take_table(struct vnet_command *c, uint8_t table[][6], unsigned int *n)
{
	size_t left;
	uint32_t count;

	if (!vnet_take(c, &count, sizeof(count)))
		return false;
	left = iov_size(c->iov, c->n) - c->offset;
	if (count > left / 6)
		return false;
	if (count > VNET_MAC_TABLE) {
		c->offset += 6 * (size_t)count;
		*n = VNET_MAC_TABLE + 1;
		return true;
	}
	*n = count;
	return vnet_take(c, table, 6 * (size_t)count);
}

bool vnet_ctrl_mac(struct virtio_net *vn, struct vnet_command *c)
{
	struct vnet_filter *f = &vn->set.filter;
	struct vnet_filter fresh = {0};
	uint64_t mac = 0;

	if (c->command == VIRTIO_NET_CTRL_MAC_ADDR_SET) {
		if (!virtio_has(&vn->vdev, VIRTIO_NET_F_CTRL_MAC_ADDR) || !vnet_take(c, &mac, 6) ||
		    !vnet_at_end(c))
			return false;
		vnet_set_mac(vn, mac);
		return true;
	}
	if (c->command != VIRTIO_NET_CTRL_MAC_TABLE_SET ||
	    !virtio_has(&vn->vdev, VIRTIO_NET_F_CTRL_RX) ||
	    !filter_take_table(c, fresh.uni, &fresh.n_uni) ||
	    !filter_take_table(c, fresh.multi, &fresh.n_multi) || !vnet_at_end(c))
		return false;
	f->n_uni = fresh.n_uni;
	f->n_multi = fresh.n_multi;
	memcpy(f->uni, fresh.uni, sizeof(f->uni));
	memcpy(f->multi, fresh.multi, sizeof(f->multi));
	return true;
}

bool vnet_ctrl_vlan(struct virtio_net *vn, struct vnet_command *c)
{
	struct vnet_filter *f = &vn->set.filter;
	uint16_t id;

	if (!virtio_has(&vn->vdev, VIRTIO_NET_F_CTRL_VLAN) || !vnet_take(c, &id, sizeof(id)) ||
	    !vnet_at_end(c) || id >= 4096)
		return false;
	if (c->command == VIRTIO_NET_CTRL_VLAN_ADD)
		f->vlans[id / 64] |= UINT64_C(1) << id % 64;
	else if (c->command == VIRTIO_NET_CTRL_VLAN_DEL)
		f->vlans[id / 64] &= ~(UINT64_C(1) << id % 64);
	else
		return false;
	return true;
}

void vnet_filter_reset(struct vnet_filter *f)
{
	memset(f, 0, sizeof(*f));
	f->promisc = true;
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

bool vnet_filter_passes(const struct vnet_filter *f, const uint64_t *own, const uint8_t start[18])
{
	static const uint8_t broadcast[6] = {0xff, 0xff, 0xff, 0xff, 0xff, 0xff};
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
	mac = __atomic_load_n(own, __ATOMIC_RELAXED);
	return f->alluni || !memcmp(start, &mac, 6) || filter_in_table(f->uni, f->n_uni, start);
}
