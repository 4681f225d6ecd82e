/*
 * What the network tests are written against: a NIC that sends from slots and receives frames in
 * parts. Implementations: virtio_net.c, rtl8139.c, rtl8139_cplus.c, e1000.c.
 *
 * Sending: nic_get() a slot (a buffer of the NIC's, whose content stays from one use to the
 * next), write a frame into it, nic_send(); nic_flush() after a batch tells the device.
 * nic_reap() takes back what is sent. Receiving: nic_receive() one frame, look at it,
 * nic_release() it; nic_refill() after a batch gives the buffers to the device again. Nothing
 * sleeps but nic_wait().
 */
#ifndef GUEST_NIC_H
#define GUEST_NIC_H

#include <stdbool.h>
#include <stdint.h>

#include "pci.h"
#include "test.h"
#include "virtio.h"

#define NIC_MAX_PARTS 64

struct nic;

struct nic_config {
	uint32_t index;	     /* which of several */
	uint32_t frame_size; /* the longest to be sent, bytes */
	uint32_t queue_size; /* at most */
	uint32_t rx_buffer;  /* bytes of a receive buffer, where the device lets one choose */
	uint32_t segments;   /* send each frame in so many pieces */
	uint32_t mtu;	     /* bytes; above 1500 the NIC is told to take long frames */
	bool mergeable;
	bool offload_tx; /* checksum and segmentation */
	bool offload_rx;
	bool event_index;
	bool indirect;
	bool packed;
	bool promiscuous; /* take frames to any address; virtio-net always does */
	enum virtio_transport transport;
	enum virtio_interrupts interrupts;
};

struct nic_slot {
	uint8_t *frame;
	uint32_t number; /* below nic->n_slots */
};

/* What the device is to do with a frame, or did: as in struct virtio_net_hdr. */
struct nic_offload {
	bool checksum;
	uint16_t csum_start, csum_offset;
	uint16_t gso_size; /* bytes of TCP payload a segment, 0: none */
	uint16_t header;   /* bytes of headers in front of it */
};

struct nic_part {
	uint8_t *data;
	uint32_t length;
};

struct nic_frame {
	uint32_t length; /* bytes, all parts */
	uint32_t n_parts;
	struct nic_part parts[NIC_MAX_PARTS];
	uint32_t buffers[NIC_MAX_PARTS]; /* the NIC's own */
	bool has_checksum;		 /* checked by the device, or partial */
	uint16_t gso_size;
};

struct nic_ops {
	const char *name;
	bool (*open)(struct nic *nic, const struct nic_config *config);
	void (*close)(struct nic *nic);
	bool (*get)(struct nic *nic, struct nic_slot *slot);
	void (*send)(struct nic *nic, const struct nic_slot *slot, uint32_t length,
		     const struct nic_offload *offload);
	void (*flush)(struct nic *nic);
	uint32_t (*reap)(struct nic *nic);
	bool (*receive)(struct nic *nic, struct nic_frame *frame);
	void (*release)(struct nic *nic, const struct nic_frame *frame);
	void (*refill)(struct nic *nic);
	bool (*wait)(struct nic *nic, bool tx, uint64_t timeout_ns);
};

struct nic {
	const struct nic_ops *ops;
	void *priv;
	uint8_t mac[6];
	uint32_t n_slots;   /* frames that can be on their way out at once */
	uint32_t frame_max; /* bytes of the longest that fits a slot */
	const char *error;  /* why open failed */
	uint64_t tx_doorbells;
	uint64_t rx_doorbells;
	uint64_t interrupts;
	bool broken; /* the device broke the rules; nothing moves any more */
};

extern const struct nic_ops virtio_net_ops, rtl8139_ops, rtl8139_cplus_ops, e1000_ops;

/*
 * Opens the NIC that parameters `nic`, `index` and those of NIC_PARAMS describe; reports a
 * failure.
 */
struct nic *nic_open(const struct test *test, const struct test_arg *args, uint32_t frame_size,
		     bool offload_tx);
void nic_close(struct nic *nic);

/* As a model's open() says that it can't: false. */
bool nic_refuse(struct nic *nic, const char *reason);

/* Closes the NIC of a test that can't go on, and does as test_fail(). */
bool nic_fail(const struct test *test, struct nic *nic, const char *reason);

/* The parameters that nic_open() takes from a test's. */
#define NIC_PARAMS                                                                              \
	{"nic", "virtio-net", "model of NIC"}, {"index", "0", "which of several"},              \
		{"transport", "auto", "auto, modern or legacy"},                                \
		{"irq", "0", "0: poll; 1: sleep until the interrupt, MSI-X; intx: by the pin"}, \
		{"queue", "256", "ring entries at most"},                                       \
		{"event-index", "1", "use the event index if offered"},                         \
		{"indirect", "1", "use indirect descriptors if offered"},                       \
		{"packed", "0", "use packed rings, or fail"},                                   \
		{"segments", "1", "descriptors for each frame sent"},                           \
		{"mrg", "1", "mergeable receive buffers"},                                      \
		{"buffer", "2048", "bytes of a receive buffer"},                                \
		{"mtu", "1500",                                                                 \
		 "bytes; above 1500: take long frames, where the NIC wants to know"},           \
		{"promisc", "1", "take frames to any address, where the NIC has a filter"},     \
	{                                                                                       \
		"offload", "0", "take checksum and TSO offload for frames received"             \
	}

/*
 * The send slots of a NIC that sends in order: slot i is number i of a ring. Numbers only grow;
 * `sent` may be used to know what was handed over.
 */
struct nic_slots {
	uint8_t *buffers;
	uint32_t stride; /* bytes from one slot to the next */
	uint32_t n;
	uint64_t got, sent, reaped;
};

/* Allocates n slots of nic->frame_max bytes each; sets nic->n_slots. */
void nic_slots_init(struct nic_slots *slots, struct nic *nic, uint32_t n);
bool nic_slots_get(struct nic_slots *slots, struct nic_slot *slot);

/*
 * Sleeping until the pin of a card without MSI-X: what wait() of its nic_ops is made of. The card's
 * interrupts are on while it sleeps, and at no other time.
 */
struct nic_intx {
	bool (*ready)(struct nic *nic, bool tx); /* has it already happened? */
	void (*arm)(struct nic *nic, bool tx);	 /* lets the card interrupt for that */
	void (*disarm)(struct nic *nic);	 /* keeps it from that, and forgets why it would */
	/* nic.c's */
	int input;	       /* of the I/O APIC; -1: polled */
	uint32_t acknowledged; /* of irq_count[] */
};

/* False, with nic->error set, where there is no such interrupt. Does nothing for polling. */
bool nic_intx_open(struct nic_intx *intx, struct nic *nic, const struct pci_device *pci,
		   enum virtio_interrupts interrupts);
void nic_intx_close(struct nic_intx *intx);
bool nic_intx_wait(struct nic_intx *intx, struct nic *nic, bool tx, uint64_t timeout_ns);

static inline bool nic_get(struct nic *nic, struct nic_slot *slot)
{
	return nic->ops->get(nic, slot);
}

/* length: bytes of the frame. offload may be NULL. */
static inline void nic_send(struct nic *nic, const struct nic_slot *slot, uint32_t length,
			    const struct nic_offload *offload)
{
	nic->ops->send(nic, slot, length, offload);
}

static inline void nic_flush(struct nic *nic)
{
	nic->ops->flush(nic);
}

/* Returns how many frames were taken back. */
static inline uint32_t nic_reap(struct nic *nic)
{
	return nic->ops->reap(nic);
}

/* False if there is no frame. */
static inline bool nic_receive(struct nic *nic, struct nic_frame *frame)
{
	return nic->ops->receive(nic, frame);
}

static inline void nic_release(struct nic *nic, const struct nic_frame *frame)
{
	nic->ops->release(nic, frame);
}

static inline void nic_refill(struct nic *nic)
{
	nic->ops->refill(nic);
}

/*
 * Sleeps until a frame is in (tx: until a good part of the sent ones are back), if the NIC was
 * opened for interrupts; else returns at once. False: nothing happened in timeout_ns.
 */
static inline bool nic_wait(struct nic *nic, bool tx, uint64_t timeout_ns)
{
	return nic->ops->wait(nic, tx, timeout_ns);
}

#endif
