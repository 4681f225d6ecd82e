/*
 * See traffic.h.
 */
#include "traffic.h"

#include "clock.h"
#include "lib.h"
#include "memory.h"

#define READY_INTERVAL (100 * NS_PER_MS)
#define SLOT_TIMEOUT   NS_PER_S

const char *traffic_init(struct traffic_sender *s, struct nic *nic, enum traffic_form form,
			 uint32_t size, uint32_t gso_size)
{
	static const uint8_t peer[6] = FRAME_PEER_MAC;

	*s = (struct traffic_sender){.nic = nic, .form = form, .size = size};
	memcpy(s->peer, peer, sizeof(peer));
	s->offset = form == TRAFFIC_PLAIN ? FRAME_ETHERNET : FRAME_TCP_HEADERS;
	if (size < (form == TRAFFIC_PLAIN ? FRAME_MIN : FRAME_MIN_TCP))
		return "size-too-small";
	if (size > MIN(nic->frame_max, (uint32_t)FRAME_MAX))
		return "size-too-big";
	s->filled = memory_alloc(nic->n_slots * sizeof(*s->filled), 64);
	if (form != TRAFFIC_PLAIN)
		s->offload = (struct nic_offload){
			.checksum = true,
			.csum_start = FRAME_TCP_OFFSET,
			.csum_offset = FRAME_TCP_CHECKSUM,
			.gso_size = form == TRAFFIC_TSO ? gso_size : 0,
			.header = FRAME_TCP_HEADERS,
		};
	return NULL;
}

/* What stays the same in a slot from one frame to the next. */
static void fill_slot(struct traffic_sender *s, const struct nic_slot *slot, uint32_t length)
{
	uint8_t *frame = slot->frame;
	uint32_t body = s->offset + sizeof(struct frame_header);

	if (s->form == TRAFFIC_PLAIN)
		frame_put16(frame + 12, FRAME_ETHERTYPE);
	else
		frame_put_tcp(frame, length, 0);
	frame_fill_body(frame + body, length - body - FRAME_TRAILER, slot->number);
	memcpy(frame, s->peer, 6);
	memcpy(frame + 6, s->nic->mac, 6);
	s->filled[slot->number] = length;
}

uint32_t traffic_send(struct traffic_sender *s, const struct nic_slot *slot, enum frame_kind kind,
		      uint64_t sequence)
{
	uint32_t length = s->size;
	bool segmented;

	if (kind != FRAME_DATA)
		length = s->form == TRAFFIC_PLAIN ? MAX(FRAME_MIN, 60u) : FRAME_MIN_TCP;
	if (s->filled[slot->number] != length)
		fill_slot(s, slot, length);
	frame_seal(slot->frame, s->offset, length, kind, slot->number, sequence);
	segmented = length > (uint32_t)s->offload.gso_size + FRAME_TCP_HEADERS;
	if (s->form == TRAFFIC_PLAIN) {
		nic_send(s->nic, slot, length, NULL);
	} else {
		struct nic_offload o = s->offload;

		if (!segmented)
			o.gso_size = 0;
		nic_send(s->nic, slot, length, &o);
	}
	return length;
}

bool traffic_send_now(struct traffic_sender *s, enum frame_kind kind, uint64_t sequence)
{
	uint64_t start = clock_ns();
	struct nic_slot slot;

	while (!nic_get(s->nic, &slot)) {
		nic_reap(s->nic);
		if (s->nic->broken || clock_ns() - start > SLOT_TIMEOUT)
			return false;
	}
	traffic_send(s, &slot, kind, sequence);
	nic_flush(s->nic);
	return true;
}

/* Checks the body from where it starts in the first part, over all parts, and the trailer. */
static bool content_ok(const struct nic_frame *frame, uint32_t offset, const struct frame_header *h)
{
	uint32_t body = offset + sizeof(*h), at = 0, end = h->length - FRAME_TRAILER;
	uint8_t trailer[FRAME_TRAILER];

	for (uint32_t i = 0; i < frame->n_parts; i++) {
		const struct nic_part *p = &frame->parts[i];
		uint32_t from = MAX(at, body), to = MIN(at + p->length, end);

		if (from < to &&
		    !frame_body_ok(p->data + from - at, to - from, h->salt, from - body))
			return false;
		for (uint32_t j = MAX(at, end); j < at + p->length; j++)
			trailer[j - end] = p->data[j - at];
		at += p->length;
	}
	return !memcmp(trailer, &h->check, sizeof(trailer));
}

static void count_sequence(struct traffic_receiver *r, uint64_t sequence)
{
	if (sequence >= r->next) {
		r->lost += sequence - r->next;
		r->next = sequence + 1;
	} else {
		r->reordered++;
		if (r->lost)
			r->lost--;
	}
}

bool traffic_receive(struct traffic_receiver *r, struct nic_frame *frame, struct frame_header *h)
{
	uint32_t offset;

	if (!nic_receive(r->nic, frame))
		return false;
	h->kind = 0;
	offset = frame_header_offset(frame->parts[0].data, frame->parts[0].length);
	if (!offset) {
		r->foreign++;
		return true;
	}
	if (!frame_open(frame->parts[0].data, offset, frame->length, h) ||
	    !content_ok(frame, offset, h)) {
		r->bad++;
		h->kind = 0;
		return true;
	}
	if (h->kind == FRAME_DATA) {
		r->frames++;
		r->bytes += frame->length;
		r->segmented += frame->gso_size != 0;
		count_sequence(r, h->sequence);
	} else if (h->kind == FRAME_STOP) {
		r->stopped = true;
	}
	return true;
}

bool traffic_meet(struct traffic_sender *s, struct traffic_receiver *r, uint64_t timeout_ns)
{
	uint64_t start = clock_ns(), last = 0;
	struct nic_frame frame;
	struct frame_header h;

	/* Its address isn't known, and no network floods frames for all. */
	if (s->pair)
		memset(s->peer, 0xff, sizeof(s->peer));
	while (!s->nic->broken && clock_ns() - start < timeout_ns) {
		if (clock_ns() - last > READY_INTERVAL) {
			last = clock_ns();
			traffic_send_now(s, FRAME_READY, 0);
		}
		nic_wait(s->nic, false, READY_INTERVAL);
		while (traffic_receive(r, &frame, &h)) {
			if (h.kind)
				memcpy(s->peer, frame.parts[0].data + 6, 6);
			nic_release(r->nic, &frame);
			if (h.kind == FRAME_READY || h.kind == FRAME_DATA) {
				nic_refill(r->nic);
				memset(s->filled, 0, s->nic->n_slots * sizeof(*s->filled));
				/* A stop frame before it was an earlier test's. */
				r->stopped = false;
				/* It may not have seen us, as it asks; or see data first. */
				if (s->pair && h.kind == FRAME_READY)
					traffic_send_now(s, FRAME_READY, 0);
				return true;
			}
		}
		nic_refill(s->nic);
		nic_reap(s->nic);
	}
	return false;
}

void traffic_delay(uint64_t ms)
{
	uint64_t start = clock_ns();

	while (clock_ns() - start < ms * NS_PER_MS)
		pause();
}
