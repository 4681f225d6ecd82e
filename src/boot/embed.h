/*
 * Files that the build puts into vireo (embed.S): the built-in guest and the compiled DSDT.
 */
#ifndef VIREO_BOOT_EMBED_H
#define VIREO_BOOT_EMBED_H

#include <stdint.h>

extern const uint8_t embed_guest[], embed_guest_end[]; /* an ELF file, see guest/ */
extern const uint8_t embed_dsdt[], embed_dsdt_end[];   /* AML, header included */

#endif
