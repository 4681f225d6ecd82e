/*
 * Privileged services, called from ring 3 through the gate (gate.S). Each is an exit or more:
 * set-up, serial output and sleeping use them, data paths don't.
 */
#ifndef GUEST_GATE_H
#define GUEST_GATE_H

#include <stdint.h>

#include "layout.h"

/* Goes through the gate and does nothing: what the gate itself costs. */
void gate_null(void);

uint8_t gate_in8(uint16_t port);
uint16_t gate_in16(uint16_t port);
uint32_t gate_in32(uint16_t port);
void gate_out8(uint16_t port, uint8_t value);
void gate_out16(uint16_t port, uint16_t value);
void gate_out32(uint16_t port, uint32_t value);

/* REP OUTSB of count bytes to port. */
void gate_out8s(uint16_t port, const void *bytes, uint32_t count);

uint64_t gate_rdmsr(uint32_t msr);
void gate_wrmsr(uint32_t msr, uint64_t value);

/* regs: EAX, EBX, ECX, EDX. The gate is needed because CPUID at ring 3 may show the host's. */
void gate_cpuid(uint32_t leaf, uint32_t subleaf, uint32_t regs[4]);

/* Sleeps until an interrupt comes, if *counter still is value; atomic towards interrupts. */
void gate_hlt_while(const volatile uint32_t *counter, uint32_t value);

void gate_hlt_forever(void) __attribute__((noreturn));
void gate_irq_enable(void);
void gate_irq_disable(void);
void gate_invlpg(const void *address);
void gate_triple_fault(void) __attribute__((noreturn));

/* What gate.S keeps. irq_count[i] counts interrupts at vector IRQ_VECTOR_FIRST + i. */
extern volatile uint32_t irq_count[N_IRQ_VECTORS];
extern volatile uint32_t irq_spurious_count; /* at other vectors */
/* For irq_level: index of the I/O APIC's register, and its value with the mask bit set. */
extern volatile uint32_t irq_level_select, irq_level_masked;
extern const uint64_t trap_entries[N_EXCEPTIONS];
extern const uint64_t irq_entries[N_IRQ_VECTORS];
extern volatile uint32_t trap_vector;
extern uint64_t *volatile trap_frame;
extern volatile uint64_t trap_cr2;
void trap_invalid_opcode(void);
void irq_stray(void);
void irq_spurious(void);
void irq_level(void);

#endif
