/*
 * Between virtio.c and virtio_lend.c. All with the device lock held, unless said otherwise.
 */
#ifndef VIREO_VIRTIO_VIRTIO_INTERNAL_H
#define VIREO_VIRTIO_VIRTIO_INTERNAL_H

#include "virtio/virtio.h"

/* virtio.c */

/* Adds 1 to an eventfd. Any thread. */
void virtio_eventfd_ring(int fd);
/* Stops the queue, whoever serves it. */
void virtio_queue_halt(struct virtio_queue *queue);

/* virtio_lend.c */

/* Lends the queue, or parks it, if its model wants that. false: the I/O thread is to serve it. */
bool virtio_lend(struct virtio_queue *queue);
/* Takes a queue back that is lent or parked; queue->position is filled. */
void virtio_lend_end(struct virtio_queue *queue);
/* Has the control thread take back what is lent. Any thread, any locks. */
void virtio_lend_latched(struct virtio_dev *dev);

/* Control thread; dev->lends is set. _destroy: no queue is lent; also after a failed _init. */
int virtio_lend_init(struct virtio_dev *dev, struct err *err);
void virtio_lend_destroy(struct virtio_dev *dev);

#endif
