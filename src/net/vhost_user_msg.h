/*
 * vhost-user on the wire: one request and its answer at a time, within a bounded time.
 *
 * Source: "Vhost-user Protocol" (docs/interop/vhost-user.rst of QEMU), which both sides implement. We are the
 * front-end there: whoever has the rings and asks. Numbers have the machine's own byte order.
 *
 * The peer is another program, and is not believed: an answer is checked (version, reply flag, request, size,
 * number of descriptors) before its payload is read, and the first that is wrong ends the connection.
 *
 * Time. Whoever asks may hold a device's lock, so that a vCPU waits. All waiting for a peer together
 * comes out of one budget of VU_BUDGET_NS, which is filled again by 1/VU_REFILL of the time that
 * passes: a peer that doesn't answer costs the budget once, one that answers each time at the last
 * moment costs no more. When it is used up, the peer has failed.
 *
 * The owner serialises calls (struct vu: its lock).
 */
#ifndef VIREO_NET_VHOST_USER_MSG_H
#define VIREO_NET_VHOST_USER_MSG_H

#include <stdbool.h>
#include <stdint.h>

#include "base/counter.h"

#define VU_BUDGET_NS 700000000ull
#define VU_REFILL    8
#define VU_FDS_MAX   8 /* descriptors in a message */

/* "Front-end message types" */
enum vu_request {
	VU_GET_FEATURES = 1,
	VU_SET_FEATURES = 2,
	VU_SET_OWNER = 3,
	VU_SET_MEM_TABLE = 5,
	VU_SET_VRING_NUM = 8,
	VU_SET_VRING_ADDR = 9,
	VU_SET_VRING_BASE = 10,
	VU_GET_VRING_BASE = 11,
	VU_SET_VRING_KICK = 12,
	VU_SET_VRING_CALL = 13,
	VU_SET_VRING_ERR = 14,
	VU_GET_PROTOCOL_FEATURES = 15,
	VU_SET_PROTOCOL_FEATURES = 16,
	VU_GET_QUEUE_NUM = 17,
	VU_SET_VRING_ENABLE = 18,
	VU_SEND_RARP = 19,
	VU_GET_CONFIG = 24,
	VU_GET_INFLIGHT_FD = 31,
	VU_SET_INFLIGHT_FD = 32,
	VU_GET_MAX_MEM_SLOTS = 36,
	VU_ADD_MEM_REG = 37,
	VU_REM_MEM_REG = 38,
	VU_SET_STATUS = 39,
};

#define VU_F_PROTOCOL_FEATURES 30 /* feature bit: the ones below can be asked for */

/* "Protocol features", bits. */
enum vu_protocol {
	VU_P_MQ = 0,
	VU_P_RARP = 2,
	VU_P_REPLY_ACK = 3,
	VU_P_CONFIG = 9,
	VU_P_INFLIGHT_SHMFD = 12,
	VU_P_CONFIGURE_MEM_SLOTS = 15,
	VU_P_STATUS = 16,
};

#define VU_VRING_NO_FD (1u << 8) /* SET_VRING_KICK, _CALL, _ERR: no descriptor comes with it */

struct vu_vring_state {
	uint32_t index, num;
};

struct vu_vring_addr {
	uint32_t index, flags;
	uint64_t desc, used, avail, log; /* where we have them mapped; log: unused */
};

struct vu_region {
	uint64_t gpa, size, hva, offset; /* offset: in the descriptor that comes with it */
};

struct vu_mem_table {
	uint32_t n, padding;
	struct vu_region region[VU_FDS_MAX];
};

struct vu_mem_reg {
	uint64_t padding;
	struct vu_region region;
};

struct vu_inflight {
	uint64_t mmap_size, mmap_offset;
	uint16_t num_queues, queue_size;
	uint32_t padding; /* the structure's, but everybody sends it */
};

/* GET_CONFIG, with what of virtio-net's (virtio 1.3 §5.1.4) there is to learn. */
struct vu_net_config {
	uint32_t offset, size, flags;
	uint8_t mac[6];
	uint16_t status, max_virtqueue_pairs, mtu;
};

struct vu_counters {
	struct counter connects;    /* peers that came, and agreed */
	struct counter disconnects; /* of these, that went */
	struct counter refused;	    /* peers that lack what the guest uses, or what was asked for */
	struct counter requests;    /* messages sent */
	struct counter bad_replies; /* answers that broke the protocol, or said that it failed */
	struct counter timeouts;    /* answers that didn't come in time */
	struct counter ring_errors; /* rings that the peer said it can't work with */
};

/* A connection. */
struct vu_channel {
	int fd;		      /* non-blocking; -1 = none */
	bool failed;	      /* fd is shut down: it only waits to be closed */
	bool reply_ack;	      /* negotiated: every request is answered */
	const char *why;      /* it failed */
	uint64_t budget_ns;   /* that may be waited */
	uint64_t budget_time; /* CLOCK_MONOTONIC, as of which */
	struct vu_counters *counters;
};

/* A connected stream socket, which is the channel's from now on. */
void vu_channel_open(struct vu_channel *c, int fd, struct vu_counters *counters);
/* Closes fd; nobody watches it any more. */
void vu_channel_close(struct vu_channel *c);
static inline bool vu_channel_is_up(const struct vu_channel *c)
{
	return c->fd >= 0 && !c->failed;
}

/* No request reaches the peer any more, and whoever watches fd sees it hang up. why: a constant, for
 * the log; the first one stays. */
void vu_channel_fail(struct vu_channel *c, const char *why);

/* Sends a request that has no answer of its own, with n_fds descriptors (VU_FDS_MAX at most); waits for the
 * acknowledgement where that was negotiated. 0, or -errno and the channel has failed. */
int vu_tell(struct vu_channel *c, enum vu_request request, const void *payload, uint32_t size,
	    const int *fds, unsigned int n_fds);
int vu_tell_u64(struct vu_channel *c, enum vu_request request, uint64_t value);

/* Sends a request and waits for its answer of reply_size bytes (GET_CONFIG: or none; reply is left as it is
 * then), which must come with one descriptor if fd isn't NULL (fd: the caller's then, close-on-exec) and with none
 * otherwise. 0, or -errno and the channel has failed. */
int vu_ask(struct vu_channel *c, enum vu_request request, const void *payload, uint32_t size,
	   void *reply, uint32_t reply_size, int *fd);
int vu_ask_u64(struct vu_channel *c, enum vu_request request, uint64_t *value);

/* GET_FEATURES in two halves: fd is readable when there is an answer. */
int vu_greet(struct vu_channel *c);
int vu_greeted(struct vu_channel *c, uint64_t *features);

#endif
