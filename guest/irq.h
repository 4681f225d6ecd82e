/*
 * Interrupts and exceptions: the IDT, the local APIC, the I/O APIC, sleeping.
 *
 * A vector is an index from 0 to N_IRQ_VECTORS - 1; its handler (gate.S) counts in irq_count[] and
 * acknowledges at the local APIC, no more. Who waits looks at the count.
 */
#ifndef GUEST_IRQ_H
#define GUEST_IRQ_H

#include <stdbool.h>
#include <stdint.h>

#include "gate.h"

#define IRQ_TIMER 0 /* this vector is the timer's */

/*
 * This one is for INTx. Its handler masks the I/O APIC's input: who waits reads the device's
 * status, which ends the level, then calls irq_intx_done().
 */
#define IRQ_INTX 1

/* Builds the IDT, which the gate needs: before any gate_ call. */
void irq_init(void);

/* Masks the i8259s, enables the local APIC and interrupts. */
void irq_start(void);

/* Takes a free vector; all are given back by irq_free_all() between tests. -1 if there is none. */
int irq_alloc(void);
void irq_free_all(void);

/* What a device writes for an MSI at this vector. */
uint64_t irq_msi_address(void);
uint32_t irq_msi_data(int vector);

/* Starts and stops a tick of about 50 ms, so that irq_wait() ends if nothing else comes. */
void irq_tick(bool on);

/* Sleeps until irq_count[vector] differs from seen, or timeout_ns passed. True if it differs. */
bool irq_wait(int vector, uint32_t seen, uint64_t timeout_ns);

/* Interrupts this CPU, by its local APIC. */
void irq_send_self(int vector);

struct pci_device;

/*
 * Routes the device's INTx pin to IRQ_INTX, level triggered: PIIX3 link, I/O APIC. Returns the I/O
 * APIC's input, -1 if the device has no pin. irq_intx_off() masks that input.
 */
int irq_intx_route(const struct pci_device *dev);
void irq_intx_off(int input);
void irq_intx_done(int input);

#endif
