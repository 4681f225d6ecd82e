/*
 * What every emulated NIC has beside its registers: an address, a cable, a back end, an I/O thread.
 *
 * A model has a struct nic in its instance and gives it three functions. It sees frames and free
 * receive buffers, and no back end, no thread and no file descriptor:
 *
 *	send:     driver writes a tail, a command ... -> model's handler -> nic_send() for each frame
 *	receive:  frame at the back end -> rx_buffers() -> read straight into them -> rx_frame()
 *
 * Threads and the lock. device.lock guards everything of the model: registers, rings, the frame being
 * put together. The bus holds it around every register handler; this file takes it around every function
 * of struct nic_ops. So a model's code never runs twice at once, and it needs no atomics. Sending happens
 * where the driver's write arrives: on the vCPU's thread, or on the I/O thread that takes posted writes.
 * Receiving and timers are the I/O thread's. Nobody who holds the lock waits for the I/O thread, which may
 * be waiting for the lock: that is why the rule "an I/O thread never takes a device lock" (docs/design.md)
 * is the other way round for these cards.
 */
#ifndef VIREO_DEV_NIC_H
#define VIREO_DEV_NIC_H

#include "base/counter.h"
#include "base/loop.h"
#include "base/opt.h"
#include "bus/device.h"
#include "dev/frame.h"
#include "net/net.h"

#define NIC_RX_IOV   64 /* pieces of a receive buffer, the header's included */
#define NIC_RX_START 64 /* bytes at the start of a frame that are copied out for the model */
#define NIC_TX_BURST 64 /* frames that a handler should send at most before nic_tx_later() */

struct nic;

/* A frame that has come in. */
struct nic_rx {
	size_t len;  /* bytes, no FCS; at least FRAME_MIN: shorter ones were padded with zeros */
	size_t room; /* bytes that the buffers had. Less than len: the frame's end is lost */
	/* The first bytes, zeros behind a short frame: copied once, so that the guest can't change what is
	 * looked at. */
	uint8_t start[NIC_RX_START];
	bool csum_ok; /* whoever sent it vouches for TCP's or UDP's checksum; the frame has the right one */
	/* for this file: where it lies */
	struct iovec *iov; /* iov[1..n) */
	int n;
};

struct nic_ops {
	/* Where the next frame may go: fills iov[1..max) with free buffers, in order, as many as the card
	 * would use for one frame of the longest kind that it takes (or all that there are, if fewer), and
	 * returns the index behind the last; 1 = there are none, or the receiver is off, or it may not use
	 * DMA. Then it is asked again after nic_rx_kick() only. Called before every frame: look at
	 * descriptors once and keep what was found. */
	int (*rx_buffers)(struct nic *nic, struct iovec *iov, int max);
	/* A frame lies in those buffers. The model filters it (a frame that isn't wanted just leaves the
	 * buffers free), writes descriptors and status, raises its interrupt. */
	void (*rx_frame)(struct nic *nic, struct nic_rx *rx);
	/* Sending goes on: after nic_send() said -EAGAIN, or nic_tx_later(). May be NULL for a card that does
	 * neither. */
	void (*tx_resume)(struct nic *nic);
	/* The cable went in or out: nic->link says which. May be NULL. */
	void (*link_changed)(struct nic *nic);
};

/* A timer of the model's: set and cancelled under the lock on any thread, runs under the lock on the
 * I/O thread. */
struct nic_timer {
	void (*expired)(struct nic_timer *t);
	struct nic *nic;
	uint64_t deadline_ns; /* CLOCK_MONOTONIC, wanted; 0 = not armed */
	/* nic.c's */
	struct loop_timer timer;
	TAILQ_ENTRY(nic_timer) link;
};

struct nic_counters {
	struct counter tx_frames, tx_bad, tx_no_cable, tx_deferred;
	struct counter rx_frames, rx_filtered, rx_too_long, rx_no_buffer;
	struct counter looped, interrupts;
};

struct nic {
	/* nic_opts */
	uint8_t mac[6]; /* as configured; what the driver sets is the model's */
	char *opt_netdev, *opt_iothread;

	const struct nic_ops *ops;
	struct device *dev;
	bool link;		      /* cable in, and a back end at its end. Under the lock */
	struct nic_counters counters; /* rx_filtered, interrupts and so on: the model's to count */

	/* nic.c's */
	uint8_t station[6]; /* the address that the back end knows of */
	struct loop *loop;
	struct net_backend *net; /* NULL: no cable */
	struct net_queue *nq;
	struct loop_fd fd, bell;
	struct loop_poller poller;
	TAILQ_HEAD(, nic_timer) timers;
	bool kicked;   /* something for the I/O thread to look at. Atomic */
	bool asleep;   /* the I/O thread needs the bell to wake. Atomic */
	bool starved;  /* no buffers: not watching for frames */
	bool readable; /* the back end may have a frame */
	bool gone;     /* and will never have one again */
	bool tx_wait, tx_later;
	unsigned int misses;
	struct iovec iov[NIC_RX_IOV + 1];
	uint8_t *overflow; /* where a frame goes on that is longer than its buffers */
};

/* 0, or -EINVAL with err set: the address of a card isn't a group's. */
int nic_check_mac(const uint8_t mac[6], struct err *err);

/* Options of every NIC: mac, netdev, iothread. A model names it in its opts with the offset of its
 * struct nic. */
extern const struct opt_desc nic_opts[];

/* In realize and unrealize. ops lives as long as the nic; dev is the device that it is part of. _realize
 * fills nic->mac (a default where none was given) and nic->link; 0, or -errno with err set and nothing to
 * undo. Takes no frame before the first rx_buffers() finds one. */
int nic_realize(struct nic *nic, struct device *dev, const struct nic_ops *ops, struct err *err);
void nic_unrealize(struct nic *nic);
/* In reset: nothing waits any more, timers are off. The model has reset its own state. */
void nic_reset(struct nic *nic);

/* What the model takes when it receives: with csum, frames whose checksum was never computed are completed
 * here and csum_ok is set for them (a driver that has receive checksum offload on). Off at first. */
void nic_set_rx_csum(struct nic *nic, bool on);

/* The driver has given the card this address, or a part of it so far; what is none is ignored. */
void nic_set_station(struct nic *nic, const uint8_t mac[6]);

/* Bytes of the longest frame that the back end gives, no FCS: a receiver need not look for room for more. */
static inline size_t nic_frame_max(const struct nic *nic)
{
	return nic->net ? net_frame_max(nic->net) : 0;
}

/* Sends the frame, which nic takes as it is: no padding, no FCS; hdr: what is left to do (NULL: nothing).
 * 0: gone, or lost and counted (bad, empty, no cable); -EAGAIN: no room, keep it, tx_resume() comes.
 * The frame is the caller's to reset. */
int nic_send(struct nic *nic, struct frame *f, const struct net_hdr *hdr);
/* Gives the frame to the card's own receiver instead, by a copy: internal loopback. Not from rx_frame().
 * false: there were no buffers, and it is lost. */
bool nic_loop(struct nic *nic, const struct frame *f);
/* The driver has given frames: calls tx_resume(), now on a vCPU's thread; on the I/O thread, which takes posted
 * writes (bus/posted.h), soon, when it has taken all of them. From a register handler. */
void nic_tx_kick(struct nic *nic);
/* There is more to send, but not on this thread: tx_resume() comes soon, on the I/O thread. */
void nic_tx_later(struct nic *nic);
/* Receive buffers may be free that weren't, or the receiver is on now. Cheap when nothing waits for them. */
void nic_rx_kick(struct nic *nic);

/* For rx_frame(): removes len bytes at offset from the frame (a VLAN tag), writes into it, or behind its
 * end as far as there is room (an FCS); rx->len follows. */
void nic_rx_cut(struct nic_rx *rx, size_t offset, size_t len);
void nic_rx_append(struct nic_rx *rx, const void *data, size_t len);
/* The frame's FCS, 4 bytes as they are on the wire. */
void nic_rx_fcs(const struct nic_rx *rx, uint8_t fcs[4]);

/* deadline_ns: CLOCK_MONOTONIC (loop_now_ns()). One that is set again moves. */
void nic_timer_init(struct nic_timer *t, struct nic *nic, void (*expired)(struct nic_timer *t));
void nic_timer_set(struct nic_timer *t, uint64_t deadline_ns);
void nic_timer_cancel(struct nic_timer *t);

/* For the model's table: what `info network` and `info io` say, and set_link. */
void nic_info(const struct nic *nic, json_t *object);
void nic_counters(struct nic *nic, counter_visit *visit, void *opaque);
void nic_set_link(struct nic *nic, bool up);

#endif
