/*
 * virtio-net: the control queue. Virtio 1.3 §5.1.6.5.
 *
 * A command is a chain: class and command (a byte each) and data, which the driver wrote, then a
 * byte for the answer and, after it, what a command gives back. What can't be done is answered with an
 * error, and changes nothing; a chain without room for class, command and answer latches the device.
 *
 * Runs on pair 0's thread. A command changes virtio_net.set; before it is answered, every pair's thread
 * has taken that over (vnet_apply()). The others wait for nobody, so waiting for them ends.
 */
#include <errno.h>

#include "base/iov.h"
#include "dev/virtio_net.h"

#define CTRL_BATCH 16

bool vnet_take(struct vnet_command *c, void *buf, size_t len)
{
	size_t got = iov_read(c->iov, c->n, c->offset, buf, len);

	c->offset += got;
	return got == len;
}

bool vnet_at_end(const struct vnet_command *c)
{
	return c->offset == iov_size(c->iov, c->n);
}

/* ---- commands: true = done ---- */

static bool ctrl_announce(struct virtio_net *vn, struct vnet_command *c)
{
	if (c->command != VIRTIO_NET_CTRL_ANNOUNCE_ACK ||
	    !virtio_has(&vn->vdev, VIRTIO_NET_F_GUEST_ANNOUNCE) || !vnet_at_end(c))
		return false;
	__atomic_and_fetch(&vn->status, (uint16_t)~VIRTIO_NET_S_ANNOUNCE, __ATOMIC_RELAXED);
	counter_add(&vn->counters.announced, 1);
	return true;
}

static bool ctrl_guest_offloads(struct virtio_net *vn, struct vnet_command *c)
{
	uint64_t offloads;

	if (c->command != VIRTIO_NET_CTRL_GUEST_OFFLOADS_SET ||
	    !virtio_has(&vn->vdev, VIRTIO_NET_F_CTRL_GUEST_OFFLOADS) ||
	    !vnet_take(c, &offloads, sizeof(offloads)) || !vnet_at_end(c))
		return false;
	/* Only what was negotiated can be turned off and on (§5.1.6.5.8). */
	if (offloads & ~vn->vdev.features)
		return false;
	return !vnet_set_guest_offloads(vn, offloads);
}

static bool (*const ctrl_classes[])(struct virtio_net *vn, struct vnet_command *c) = {
	[VIRTIO_NET_CTRL_RX] = vnet_ctrl_rx,
	[VIRTIO_NET_CTRL_MAC] = vnet_ctrl_mac,
	[VIRTIO_NET_CTRL_VLAN] = vnet_ctrl_vlan,
	[VIRTIO_NET_CTRL_ANNOUNCE] = ctrl_announce,
	[VIRTIO_NET_CTRL_MQ] = vnet_ctrl_mq,
	[VIRTIO_NET_CTRL_GUEST_OFFLOADS] = ctrl_guest_offloads,
	[VIRTIO_NET_CTRL_NOTF_COAL] = vnet_ctrl_coal,
};

static uint8_t ctrl_command(struct virtio_net *vn, struct vnet_command *c)
{
	counter_add(&vn->counters.ctrl_commands, 1);
	if (c->class < sizeof(ctrl_classes) / sizeof(ctrl_classes[0]) &&
	    ctrl_classes[c->class](vn, c)) {
		vnet_apply(vn);
		return VIRTIO_NET_OK;
	}
	c->result_len = 0;
	counter_add(&vn->counters.ctrl_refused, 1);
	return VIRTIO_NET_ERR;
}

bool vnet_ctrl_work(struct virtio_net *vn)
{
	struct virtq *q = &vn->vdev.queue[vn->ctrl].ring;
	struct virtq_chain chain;
	int n = 0;

	for (; n < CTRL_BATCH; n++) {
		int r = virtq_pop(q, &chain, vn->ctrl_iov, VNET_IOV);
		struct vnet_command c = {.iov = vn->ctrl_iov};
		const struct iovec *in = vn->ctrl_iov;
		uint8_t answer;

		if (r == -E2BIG)
			virtq_latch(q, "a control command of too many pieces");
		if (r <= 0)
			break;
		c.n = chain.n_out;
		in += chain.n_out;
		if (!vnet_take(&c, &c.class, 1) || !vnet_take(&c, &c.command, 1) ||
		    !chain.in_bytes) {
			virtq_latch(q,
				    "a control command with no class, or no room for the answer");
			break;
		}
		answer = ctrl_command(vn, &c);
		iov_write(in, chain.n_in, 0, &answer, 1);
		r = (int)iov_write(in, chain.n_in, 1, c.result, c.result_len);
		virtq_fill(q, &chain, 1 + (uint32_t)r);
	}
	virtq_flush(q);
	return n > 0;
}
