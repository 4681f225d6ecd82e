/*
 * Deferred work: a function that a device's registers, written on a vCPU's thread, want run on the
 * control thread, where timers and character devices live.
 *
 * Kicks that come before it ran are one. The device can go away while a kick is on its way.
 */
#ifndef VIREO_DEV_DEFER_H
#define VIREO_DEV_DEFER_H

#include "base/loop.h"

struct defer;

/* fn(opaque) is what will run, on loop's thread, with no lock held. NULL = no memory. */
struct defer *defer_create(struct loop *loop, void (*fn)(void *opaque), void *opaque);
/* Makes fn run soon. Any thread, any locks. */
void defer_kick(struct defer *d);
/* fn doesn't run any more. Loop's thread, and nobody kicks any longer. NULL is fine. */
void defer_destroy(struct defer *d);

#endif
