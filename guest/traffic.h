/*
 * Making and checking the frames of frame.h over a NIC: what the network tests have in common.
 */
#ifndef GUEST_TRAFFIC_H
#define GUEST_TRAFFIC_H

#include "frame.h"
#include "nic.h"

/* The kinds of frame a traffic_sender makes, by what the device has to do. */
enum traffic_form {
	TRAFFIC_PLAIN,
	TRAFFIC_CHECKSUM,
	TRAFFIC_TSO
};

struct traffic_sender {
	struct nic *nic;
	enum traffic_form form;
	uint32_t size;	 /* bytes of a frame */
	uint32_t offset; /* of the frame_header */
	struct nic_offload offload;
	uint8_t peer[6];
	bool pair;	  /* traffic_meet(): the peer is another guest */
	uint32_t *filled; /* by slot: bytes of the frame its body was written for, 0: none */
};

struct traffic_receiver {
	struct nic *nic;
	uint64_t next; /* sequence number expected */
	uint64_t frames, bytes;
	uint64_t lost, reordered, bad, foreign; /* foreign: no test frame at all */
	uint64_t segmented;			/* frames with a gso_size */
	bool stopped;				/* a stop frame came */
};

/* Why these parameters can't be, or NULL: size in bytes. */
const char *traffic_init(struct traffic_sender *s, struct nic *nic, enum traffic_form form,
			 uint32_t size, uint32_t gso_size);

/*
 * Writes a frame into the slot and hands it to the NIC. Returns its length: stop and ready are
 * short.
 */
uint32_t traffic_send(struct traffic_sender *s, const struct nic_slot *slot, enum frame_kind kind,
		      uint64_t sequence);

/* Sends one frame and tells the device; waits for a free slot for up to a second. */
bool traffic_send_now(struct traffic_sender *s, enum frame_kind kind, uint64_t sequence);

/*
 * Receives and checks a frame, and counts it. Returns true if there was one; its header is in *h
 * (kind 0 if it was bad or foreign), and it is in *frame until nic_release().
 */
bool traffic_receive(struct traffic_receiver *r, struct nic_frame *frame, struct frame_header *h);

/*
 * Announces the guest with ready frames until the peer answers with anything of ours, and learns
 * its address. Returns false after timeout_ns. A data frame that comes as the answer is counted.
 */
bool traffic_meet(struct traffic_sender *s, struct traffic_receiver *r, uint64_t timeout_ns);

/* Waits: before a test, for whoever looks at counters or gets a peer ready. */
void traffic_delay(uint64_t ms);

#endif
