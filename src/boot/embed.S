/*
 * See embed.h. EMBED_GUEST and EMBED_DSDT are the paths of the built files, from meson.build.
 */
	.macro	embed name, path
	.globl	\name, \name\()_end
	.type	\name, @object
	.balign	16
\name:
	.incbin	"\path"
\name\()_end:
	.byte	0
	.size	\name, \name\()_end - \name
	.endm

	.section .rodata
	embed	embed_guest, EMBED_GUEST
	embed	embed_dsdt, EMBED_DSDT

	.section .note.GNU-stack, "", @progbits
