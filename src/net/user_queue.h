/*
 * -netdev user: frames on their way to the guest, one behind the other in a ring of bytes.
 *
 *	| len | frame ........ | len | frame ... | free ................ | len | frame ..... | end mark |
 *	                                           ^ tail                 ^ head
 *
 * A frame lies in one piece. When the last one is taken both ends go back to the start, so that as much
 * memory is touched as frames have ever waited at a time. Whoever uses it has a lock around it.
 */
#ifndef VIREO_NET_USER_QUEUE_H
#define VIREO_NET_USER_QUEUE_H

#include <stdbool.h>
#include <stdint.h>
#include <string.h>

/* Some 1300 frames of 1514 bytes: what the hosts's ends of 30 TCP connections send at once into the guest's
 * windows of 64 KiB. */
#define USER_QUEUE_BYTES (2u << 20)

#define USER_QUEUE_END UINT32_MAX

struct user_queue {
	uint8_t *bytes; /* USER_QUEUE_BYTES */
	uint32_t head, tail;
	uint32_t frames;
};

/* Bytes that a frame takes; lengths stand at multiples of 4. */
static inline uint32_t user_queue_need(uint32_t len)
{
	return (uint32_t)sizeof(uint32_t) + ((len + 3) & ~UINT32_C(3));
}

/* false: no room. */
static inline bool user_queue_put(struct user_queue *q, const void *frame, uint32_t len)
{
	uint32_t need = user_queue_need(len), end = USER_QUEUE_END;

	if (!q->frames)
		q->head = q->tail = 0;
	if (q->tail >= q->head && (q->frames == 0 || q->tail > q->head)) {
		/* A length is always left for the end mark. */
		if (USER_QUEUE_BYTES - q->tail < need + sizeof(end)) {
			if (q->head < need)
				return false;
			memcpy(q->bytes + q->tail, &end, sizeof(end));
			q->tail = 0;
		}
	} else if (q->head - q->tail < need) {
		return false;
	}
	memcpy(q->bytes + q->tail, &len, sizeof(len));
	memcpy(q->bytes + q->tail + sizeof(len), frame, len);
	q->tail += need;
	q->frames++;
	return true;
}

/* Takes the next frame, which stays where it is until the next call here; NULL: there is none. */
static inline const uint8_t *user_queue_take(struct user_queue *q, uint32_t *len)
{
	uint32_t at;

	if (!q->frames)
		return NULL;
	memcpy(len, q->bytes + q->head, sizeof(*len));
	if (*len == USER_QUEUE_END) {
		q->head = 0;
		memcpy(len, q->bytes, sizeof(*len));
	}
	at = q->head + (uint32_t)sizeof(*len);
	q->head += user_queue_need(*len);
	q->frames--;
	return q->bytes + at;
}

#endif
