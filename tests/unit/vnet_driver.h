/*
 * The driver's part of the tests of virtio-net: a device that is up, buffers given and taken back,
 * commands.
 */
#ifndef VIREO_TESTS_VNET_DRIVER_H
#define VIREO_TESTS_VNET_DRIVER_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "vnet_fixture.h"

#ifndef VNET_RING_SIZE
#define VNET_RING_SIZE 256 /* descriptors, of start()'s rings */
#endif

#define ALL_OFFLOADS \
	(NET_OFFLOAD_CSUM | NET_OFFLOAD_TSO4 | NET_OFFLOAD_TSO6 | NET_OFFLOAD_ECN | NET_OFFLOAD_UFO)
#define F(name) (UINT64_C(1) << VIRTIO_NET_F_##name)

/* A device with these options on a back end that can do all, and a driver that takes `features`. */
static inline struct vnet_fixture *start(const char *options, uint64_t features, bool legacy)
{
	struct err err;
	struct vnet_fixture *f = vnet_fixture_new(options, true, ALL_OFFLOADS, &err);

	if (!f)
		fail_msg("%s", err.msg);
	vnet_driver_ok(f, features, legacy, VNET_RING_SIZE);
	assert_true(f->vn->vdev.queue[VNET_RXQ].running);
	return f;
}

/* The test's memory. */
static inline uint8_t *at(struct vnet_fixture *f, uint64_t offset)
{
	return f->ram + (VNET_BUFFERS - VNET_RAM) + offset;
}

/* A receive buffer of len bytes at VNET_BUFFERS + offset. */
static inline void give(struct vnet_fixture *f, uint64_t offset, uint32_t len)
{
	struct vdriver_buf buf = {VNET_BUFFERS + offset, len, true};

	vdriver_add(&f->rx, &buf, 1);
}

static inline struct vring_used_elem take(struct vdriver *d)
{
	struct vring_used_elem e;

	assert_true(vdriver_take(d, &e));
	return e;
}

static inline void none(struct vdriver *d)
{
	struct vring_used_elem e;

	assert_false(vdriver_take(d, &e));
}

/* Sends a command with its data, and with room for `more` bytes (up to 15) behind the answer, at
 * at(f, 9); returns the answer, or 0xee when there was none. */
static inline uint8_t command_more(struct vnet_fixture *f, uint8_t class, uint8_t what,
				   const void *data, uint32_t len, uint32_t more)
{
	struct vdriver_buf buf[3] = {{VNET_BUFFERS, 2, false},
				     {VNET_BUFFERS + 32, len, false},
				     {VNET_BUFFERS + 8, 1 + more, true}};

	at(f, 0)[0] = class;
	at(f, 0)[1] = what;
	memset(at(f, 8), 0xee, 16);
	if (len)
		memcpy(at(f, 32), data, len);
	else
		buf[1] = buf[2];
	vdriver_add(&f->ctrl, buf, len ? 3 : 2);
	assert_true(vnet_step(f));
	if (!virtio_is_latched(&f->vn->vdev))
		assert_in_range(take(&f->ctrl).len, 1, 1 + more);
	return at(f, 0)[8];
}

static inline uint8_t command(struct vnet_fixture *f, uint8_t class, uint8_t what, const void *data,
			      uint32_t len)
{
	return command_more(f, class, what, data, len, 0);
}

#endif
