/*
 * See irq.h. Local APIC: Intel SDM volume 3, chapter 11; in xAPIC mode, which is there everywhere
 * and lets a handler acknowledge with a single instruction. I/O APIC: 82093AA datasheet.
 */
#include "irq.h"

#include <linux/pci_regs.h>

#include "clock.h"
#include "lib.h"
#include "pci.h"
#include "power.h"
#include "serial.h"

#define MSR_APIC_BASE	  0x1b
#define APIC_BASE_X2APIC  (1 << 10)
#define APIC_BASE_ENABLE  (1 << 11)
#define APIC_ADDRESS	  0xfee00000
#define APIC_ID		  0x20
#define APIC_TPR	  0x80
#define APIC_SVR	  0xf0
#define APIC_SVR_ENABLE	  0x100
#define APIC_ICR	  0x300
#define APIC_ICR_SELF	  0x44000 /* to self, fixed, assert */
#define APIC_LVT_TIMER	  0x320
#define APIC_LVT_LINT0	  0x350
#define APIC_LVT_LINT1	  0x360
#define APIC_TIMER_COUNT  0x380
#define APIC_TIMER_DIV	  0x3e0
#define APIC_TIMER_DIV_16 3
#define APIC_MASKED	  0x10000
#define APIC_PERIODIC	  0x20000
#define TICK_COUNT	  3125000 /* 50 ms where the APIC's clock is 1 GHz, as KVM's is */

#define IOAPIC_ADDRESS	0xfec00000
#define IOREGSEL	0x00
#define IOWIN		0x10
#define IOREDTBL	0x10
#define IOREDTBL_LEVEL	(1 << 15)
#define IOREDTBL_MASKED (1 << 16)

#define PIC1_DATA 0x21
#define PIC2_DATA 0xa1

#define PIIX3_VENDOR   0x8086
#define PIIX3_ISA      0x7000
#define PIIX3_PIRQRC   0x60 /* PIRQ[A:D] route control, PIIX3 datasheet 290550 section 2.2.6 */
#define PIRQRC_OFF     0x80
#define PIRQRC_DEFAULT 10 /* PIRQA and C; B and D have 11 */

struct idt_gate {
	uint16_t offset_low;
	uint16_t selector;
	uint8_t ist;
	uint8_t type;
	uint16_t offset_middle;
	uint32_t offset_high;
	uint32_t reserved;
};

#define IDT_INTERRUPT_GATE 0x8e /* present, DPL 0 */

extern struct idt_gate idt[256];

#define RESERVED_VECTORS (1 << IRQ_TIMER | 1 << IRQ_INTX)

static uint32_t used_vectors = RESERVED_VECTORS;

static volatile uint32_t *apic(uint32_t offset)
{
	return (volatile uint32_t *)(uintptr_t)(APIC_ADDRESS + offset);
}

static void ioapic_write(uint32_t index, uint32_t value)
{
	*(volatile uint32_t *)(IOAPIC_ADDRESS + IOREGSEL) = index;
	*(volatile uint32_t *)(IOAPIC_ADDRESS + IOWIN) = value;
}

static void set_gate(uint32_t vector, uint64_t handler)
{
	idt[vector] = (struct idt_gate){
		.offset_low = handler,
		.selector = SEL_KERNEL_CODE,
		.type = IDT_INTERRUPT_GATE,
		.offset_middle = handler >> 16,
		.offset_high = handler >> 32,
	};
}

static bool has_error_code(uint32_t vector)
{
	return vector == 8 || (vector >= 10 && vector <= 14) || vector == 17 || vector == 21 ||
	       vector == 29 || vector == 30;
}

/* Exceptions that nobody expected end here, in ring 3. */
void __attribute__((noreturn)) trap_report(void);
void trap_report(void)
{
	const uint64_t *frame = trap_frame;
	uint32_t vector = trap_vector;
	uint64_t error = has_error_code(vector) ? *frame++ : 0;

	report("error=exception vector=%u code=0x%lx rip=0x%lx rsp=0x%lx cr2=0x%lx", vector, error,
	       frame[0], frame[3], trap_cr2);
	power_end(POWER_EXIT_TRAP);
}

static void apic_init(void)
{
	uint64_t base = gate_rdmsr(MSR_APIC_BASE);

	if (base & APIC_BASE_X2APIC) /* the way back to xAPIC mode leads over "disabled" */
		gate_wrmsr(MSR_APIC_BASE, base & ~(uint64_t)(APIC_BASE_X2APIC | APIC_BASE_ENABLE));
	gate_wrmsr(MSR_APIC_BASE, APIC_ADDRESS | (base & 0x100) | APIC_BASE_ENABLE);
	*apic(APIC_SVR) = APIC_SVR_ENABLE | SPURIOUS_VECTOR;
	*apic(APIC_LVT_LINT0) = APIC_MASKED;
	*apic(APIC_LVT_LINT1) = APIC_MASKED;
	*apic(APIC_LVT_TIMER) = APIC_MASKED;
	*apic(APIC_TPR) = 0;
}

void irq_init(void)
{
	for (uint32_t i = 0; i < N_EXCEPTIONS; i++)
		set_gate(i, trap_entries[i]);
	set_gate(VECTOR_UD, (uintptr_t)trap_invalid_opcode);
	for (uint32_t i = N_EXCEPTIONS; i < 256; i++)
		set_gate(i, (uintptr_t)irq_stray);
	for (uint32_t i = 0; i < N_IRQ_VECTORS; i++)
		set_gate(IRQ_VECTOR_FIRST + i, irq_entries[i]);
	set_gate(IRQ_VECTOR_FIRST + IRQ_INTX, (uintptr_t)irq_level);
	set_gate(SPURIOUS_VECTOR, (uintptr_t)irq_spurious);
}

void irq_start(void)
{
	gate_out8(PIC1_DATA, 0xff);
	gate_out8(PIC2_DATA, 0xff);
	apic_init();
	gate_irq_enable();
}

int irq_alloc(void)
{
	for (int i = 0; i < N_IRQ_VECTORS; i++) {
		if (!(used_vectors & 1u << i)) {
			used_vectors |= 1u << i;
			return i;
		}
	}
	return -1;
}

void irq_free_all(void)
{
	used_vectors = RESERVED_VECTORS;
}

uint64_t irq_msi_address(void)
{
	return APIC_ADDRESS | (*apic(APIC_ID) >> 24) << 12;
}

uint32_t irq_msi_data(int vector)
{
	return IRQ_VECTOR_FIRST + vector;
}

void irq_tick(bool on)
{
	*apic(APIC_TIMER_DIV) = APIC_TIMER_DIV_16;
	*apic(APIC_LVT_TIMER) =
		on ? APIC_PERIODIC | (IRQ_VECTOR_FIRST + IRQ_TIMER) : (uint32_t)APIC_MASKED;
	*apic(APIC_TIMER_COUNT) = on ? TICK_COUNT : 0;
}

void irq_send_self(int vector)
{
	*apic(APIC_ICR) = APIC_ICR_SELF | (IRQ_VECTOR_FIRST + vector);
}

bool irq_wait(int vector, uint32_t seen, uint64_t timeout_ns)
{
	uint64_t start = clock_ns();

	while (irq_count[vector] == seen) {
		gate_hlt_while(&irq_count[vector], seen);
		if (irq_count[vector] == seen && clock_ns() - start > timeout_ns)
			return false;
	}
	return true;
}

int irq_intx_route(const struct pci_device *dev)
{
	struct pci_device *piix3 = pci_find(PIIX3_VENDOR, PIIX3_ISA, 0);
	uint32_t link, input;

	if (!dev->interrupt_pin || !piix3)
		return -1;
	/* The wiring of the 440FX PC: the pins of slot 1 start at PIRQA, of slot 2 at PIRQB ... */
	link = (dev->slot + dev->interrupt_pin - 1 - 1) & 3;
	input = pci_read8(piix3, PIIX3_PIRQRC + link);
	if (input & PIRQRC_OFF || !(input & 0xf)) {
		input = PIRQRC_DEFAULT + (link & 1);
		pci_write8(piix3, PIIX3_PIRQRC + link, input);
	}
	input &= 0xf;
	irq_level_select = IOREDTBL + 2 * input;
	irq_level_masked = IOREDTBL_MASKED | IOREDTBL_LEVEL | (IRQ_VECTOR_FIRST + IRQ_INTX);
	ioapic_write(IOREDTBL + 2 * input + 1, *apic(APIC_ID));
	irq_intx_done(input);
	return input;
}

void irq_intx_off(int input)
{
	if (input >= 0)
		ioapic_write(IOREDTBL + 2 * input, IOREDTBL_MASKED);
}

void irq_intx_done(int input)
{
	ioapic_write(IOREDTBL + 2 * input, IOREDTBL_LEVEL | (IRQ_VECTOR_FIRST + IRQ_INTX));
}
