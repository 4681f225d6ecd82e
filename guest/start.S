/*
 * Entry, descriptor tables, page tables.
 *
 * Boot: PVH (Xen's "x86/HVM direct boot ABI", as KVM monitors use it): 32-bit protected mode,
 * paging off, interrupts off, %ebx = address of struct hvm_start_info. With MULTIBOOT defined the
 * image also has a multiboot 1 header (%eax = 0x2badb002, %ebx = multiboot information), and
 * boots both ways.
 *
 * Some KVMs run code at CPL 0 in an instruction emulator, slowly and with few instructions known,
 * and only 64-bit code at CPL 3 natively. So all tables that can be are in the image, ready made,
 * and the way from entry to ring 3 is two dozen plain instructions. Everything in C runs at CPL
 * 3; gate.S has what must be done at CPL 0.
 */
#include "layout.h"

#define CR0_PG	    0x80000000
#define CR4_PAE	    0x20
#define MSR_EFER    0xc0000080
#define EFER_LME    0x100
#define PTE_TABLE   0x67 /* present, writable, user, accessed, dirty */
#define PTE_LARGE   0xe7 /* the same, 2 MiB */
#define PTE_NOCACHE 0x18 /* PCD, PWT */

	.section .note.Xen, "a", @note
	.balign	4
	.long	4, 8, 18		/* name size, data size, XEN_ELFNOTE_PHYS32_ENTRY */
	.asciz	"Xen"
	.quad	start32

#ifdef MULTIBOOT
	.section .multiboot, "a"
	.balign	4
multiboot_header:
	.long	MULTIBOOT_HEAD_MAGIC
	.long	0x10002			/* flags: memory map wanted, addresses below are valid */
	.long	-(MULTIBOOT_HEAD_MAGIC + 0x10002)
	.long	multiboot_header, image_start, image_data_end, image_end, start32
#endif

	.section .text.start, "ax"
	.code32
	.globl	start32
start32:
	lgdt	gdt_pointer
	movl	%eax, boot_magic
	movl	%cr4, %eax
	orl	$CR4_PAE, %eax
	movl	%eax, %cr4
	movl	$pml4, %eax
	movl	%eax, %cr3
	movl	$MSR_EFER, %ecx
	rdmsr
	orl	$EFER_LME, %eax
	wrmsr
	movl	%cr0, %eax
	orl	$CR0_PG, %eax
	movl	%eax, %cr0
	ljmp	$SEL_KERNEL_CODE, $start64

	.code64
start64:
	lidt	idt_pointer
	movl	$SEL_TSS, %eax
	ltr	%ax
	movl	$first_frame, %esp
	iretq

/* Ring 3 from here on; %ebx is still what the loader passed. */
start_user:
	movl	boot_magic, %edi
	movl	%ebx, %esi
	xorl	%ebp, %ebp
	call	guest_main
0:	jmp	0b

	.data
	.balign	16
first_frame:
	.quad	start_user, SEL_USER_CODE, 0x2, user_stack_top, SEL_USER_DATA
boot_magic:
	.long	0

	.balign	8
gdt:
	.quad	0
	.quad	0x00cf9b000000ffff	/* 0x08: 32-bit code, as the loader's own was */
	.quad	0x00af9b000000ffff	/* 0x10: 64-bit code, CPL 0 */
	.quad	0x00cf93000000ffff	/* 0x18: data, CPL 0 */
	.quad	0x00cff3000000ffff	/* 0x20: data, CPL 3 */
	.quad	0x00affb000000ffff	/* 0x28: 64-bit code, CPL 3 */
	.quad	tss_descriptor_low, 0	/* 0x30: TSS, below 4 GiB */
gdt_end:

gdt_pointer:
	.word	gdt_end - gdt - 1
	.long	gdt
	.balign	8
	.word	0, 0, 0
idt_pointer:
	.word	256 * 16 - 1
	.quad	idt

	.balign	16
	.globl	tss
tss:
	.long	0
	.quad	kernel_stack_top	/* RSP0 */
	.fill	22, 4, 0
	.word	0, 0x68			/* no I/O permission bitmap */

	.balign	0x1000
	.globl	pml4
pml4:
	.quad	pdpt + PTE_TABLE
	.fill	510, 8, 0
	.quad	pdpt + PTE_TABLE
	.globl	pdpt
pdpt:
	.quad	pd + PTE_TABLE, pd + 0x1000 + PTE_TABLE
	.quad	pd + 0x2000 + PTE_TABLE, pd + 0x3000 + PTE_TABLE
	.fill	507, 8, 0
	.quad	pd + 0x3000 + PTE_TABLE	/* the last GiB: for sign-extended addresses */
/* 4 GiB in 2 MiB pages; the last GiB, where device memory lies, is not cached. */
pd:
	.set	addr, 0
	.rept	3 * 512
	.quad	addr + PTE_LARGE
	.set	addr, addr + 0x200000
	.endr
	.rept	512
	.quad	addr + PTE_LARGE + PTE_NOCACHE
	.set	addr, addr + 0x200000
	.endr

	.bss
	.balign	0x1000
	.globl	idt
idt:	.skip	256 * 16
	.skip	0x1000
kernel_stack_top:
	.skip	STACK_SIZE
	.globl	user_stack_top
user_stack_top:

	.section .note.GNU-stack, "", @progbits
