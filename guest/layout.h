/*
 * Constants that the assembly and the C of the guest share: segment selectors, vectors, stacks.
 */
#ifndef GUEST_LAYOUT_H
#define GUEST_LAYOUT_H

#define SEL_KERNEL_CODE 0x10
#define SEL_KERNEL_DATA 0x18
#define SEL_USER_DATA	0x23
#define SEL_USER_CODE	0x2b
#define SEL_TSS		0x30

#define PVH_START_MAGIC	      0x336ec578 /* hvm_start_info.magic, Xen's public start_info.h */
#define MULTIBOOT_HEAD_MAGIC  0x1badb002 /* multiboot 0.6.96 section 3.1.2 */
#define MULTIBOOT_START_MAGIC 0x2badb002 /* %eax at entry, section 3.2 */

#define VECTOR_UD	 6
#define N_EXCEPTIONS	 32
#define IRQ_VECTOR_FIRST 0x40 /* interrupts: one vector each for up to N_IRQ_VECTORS sources */
#define N_IRQ_VECTORS	 16
#define SPURIOUS_VECTOR	 0xff

#define STACK_SIZE 0x8000

#endif
