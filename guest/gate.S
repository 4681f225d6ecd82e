/*
 * Everything that runs at CPL 0 after boot: the privileged services, interrupts, exceptions.
 *
 * The gate: `int n` and SYSCALL are not to be had on every KVM (see start.S), an invalid opcode
 * is. A service is called by executing the one UD2 at gate_ud2 with the address of a CPL 0
 * routine in %r11 and its operands in other registers. There is no protection in this: the rings
 * are for speed only. Every instruction here may cost most of a microsecond, hence their small
 * number.
 *
 * The C side of the services is in gate.h. Calling convention: System V.
 */
#include "layout.h"

#define APIC_EOI 0xfffffffffee000b0 /* the local APIC's EOI register, by way of pdpt[511] */

#define IOREGSEL 0xfffffffffec00000 /* likewise, the I/O APIC's */
#define IOWIN	 0xfffffffffec00010

	.text
	.macro	service name
	.globl	gate_\name
gate_\name:
	.endm

	.macro	enter routine
	movl	$\routine, %r11d
	jmp	gate_ud2
	.endm

	service	null
	enter	k_null
	service	in8
	movl	%edi, %edx
	xorl	%eax, %eax
	enter	k_in8
	service	in16
	movl	%edi, %edx
	xorl	%eax, %eax
	enter	k_in16
	service	in32
	movl	%edi, %edx
	enter	k_in32
	service	out8
	movl	%edi, %edx
	movl	%esi, %eax
	enter	k_out8
	service	out16
	movl	%edi, %edx
	movl	%esi, %eax
	enter	k_out16
	service	out32
	movl	%edi, %edx
	movl	%esi, %eax
	enter	k_out32
	service	out8s			/* (port, bytes, count) */
	movl	%edx, %ecx
	movl	%edi, %edx
	enter	k_out8s
	service	rdmsr
	movl	%edi, %ecx
	movl	$k_rdmsr, %r11d
	call	gate_ud2
	shlq	$32, %rdx
	movl	%eax, %eax
	orq	%rdx, %rax
	ret
	service	wrmsr
	movl	%edi, %ecx
	movl	%esi, %eax
	movq	%rsi, %rdx
	shrq	$32, %rdx
	enter	k_wrmsr
	service	cpuid			/* (leaf, subleaf, u32 regs[4]: eax, ebx, ecx, edx) */
	pushq	%rbx
	movq	%rdx, %r8
	movl	%edi, %eax
	movl	%esi, %ecx
	movl	$k_cpuid, %r11d
	call	gate_ud2
	movl	%eax, (%r8)
	movl	%ebx, 4(%r8)
	movl	%ecx, 8(%r8)
	movl	%edx, 12(%r8)
	popq	%rbx
	ret
	service	hlt_while		/* (const volatile u32 *counter, value) */
	enter	k_hlt_while
	service	hlt_forever
	enter	k_hlt_forever
	service	irq_enable
	enter	k_irq_enable
	service	irq_disable
	enter	k_irq_disable
	service	invlpg
	enter	k_invlpg
	service	triple_fault
	movl	$empty_idt, %edi
	enter	k_triple_fault

gate_ud2:
	ud2
gate_return:
	ret

/* CPL 0 from here on. */
k_null:	iretq
k_in8:	inb	%dx, %al
	iretq
k_in16:	inw	%dx, %ax
	iretq
k_in32:	inl	%dx, %eax
	iretq
k_out8:	outb	%al, %dx
	iretq
k_out16:
	outw	%ax, %dx
	iretq
k_out32:
	outl	%eax, %dx
	iretq
k_out8s:
	rep outsb
	iretq
k_rdmsr:
	rdmsr
	iretq
k_wrmsr:
	wrmsr
	iretq
k_cpuid:
	cpuid
	iretq
k_hlt_while:				/* interrupts are off: a wake-up is not lost */
	cmpl	%esi, (%rdi)
	jne	1f
	sti
	hlt
	cli
1:	iretq
k_hlt_forever:
	cli
	hlt
	jmp	k_hlt_forever
k_irq_enable:
	orl	$0x200, 16(%rsp)
	iretq
k_irq_disable:
	andl	$~0x200, 16(%rsp)
	iretq
k_invlpg:
	invlpg	(%rdi)
	iretq
k_triple_fault:
	lidt	(%rdi)
	movb	$0, (-1)

	.globl	trap_invalid_opcode
trap_invalid_opcode:
	cmpq	$gate_ud2, (%rsp)
	jne	trap_6
	movq	$gate_return, (%rsp)
	jmp	*%r11

/*
 * Exceptions: note which, leave the frame on the CPL 0 stack for trap_report() to read, and go
 * there at CPL 3 on a fresh stack. None comes back.
 */
	.macro	trap vector
trap_\vector:
	movl	$\vector, trap_vector
	jmp	trap_common
	.endm
	.altmacro
	.set	i, 0
	.rept	N_EXCEPTIONS
	trap	%i
	.set	i, i + 1
	.endr

trap_common:
	movq	%rsp, trap_frame
	movq	%cr2, %rax
	movq	%rax, trap_cr2
	movl	$report_frame, %esp
	iretq

	.macro	irq index
irq_\index:
	incl	irq_count + 4 * \index
	movl	$0, APIC_EOI
	iretq
	.endm
	.set	i, 0
	.rept	N_IRQ_VECTORS
	irq	%i
	.set	i, i + 1
	.endr

/*
 * INTx: masks the I/O APIC's input before it acknowledges, or a level that is still asserted
 * would interrupt again at once, and ring 3 never get to quieten the device. (To leave out the
 * EOI instead isn't enough: there are KVMs where the interrupt comes again all the same.)
 */
	.globl	irq_level, irq_stray, irq_spurious
irq_level:
	incl	irq_count + 4 * 1
	pushq	%rax
	movl	irq_level_select, %eax
	movl	%eax, IOREGSEL
	movl	irq_level_masked, %eax
	movl	%eax, IOWIN
	popq	%rax
	movl	$0, APIC_EOI
	iretq
irq_stray:				/* at a vector that nobody asked for */
	movl	$0, APIC_EOI
irq_spurious:
	incl	irq_spurious_count
	iretq

	.section .rodata
	.macro	address prefix, index
	.quad	\prefix\()_\index
	.endm
	.globl	trap_entries, irq_entries
trap_entries:
	.set	i, 0
	.rept	N_EXCEPTIONS
	address	trap, %i
	.set	i, i + 1
	.endr
irq_entries:
	.set	i, 0
	.rept	N_IRQ_VECTORS
	address	irq, %i
	.set	i, i + 1
	.endr

	.data
	.balign	8
report_frame:
	.quad	trap_report, SEL_USER_CODE, 0x2, trap_stack_top, SEL_USER_DATA
empty_idt:
	.word	0
	.quad	0

	.bss
	.balign	64
	.globl	irq_level_select, irq_level_masked
irq_level_select:
	.skip	4
irq_level_masked:
	.skip	4
	.balign	64
	.globl	irq_count, irq_spurious_count, trap_vector, trap_frame, trap_cr2
irq_count:
	.skip	4 * N_IRQ_VECTORS
irq_spurious_count:
	.skip	4
trap_vector:
	.skip	4
trap_frame:
	.skip	8
trap_cr2:
	.skip	8
	.balign	16
	.skip	0x2000
	.skip	8			/* trap_report() is entered as if called */
trap_stack_top:
	.skip	8

	.section .note.GNU-stack, "", @progbits
