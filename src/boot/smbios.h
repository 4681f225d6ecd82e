/*
 * SMBIOS tables, so that a guest sees the UUID that it was given (dmidecode, DMI in Linux's sysfs).
 * DMTF DSP0134, version 2.8: entry point, types 0 (BIOS), 1 (system), 127 (end).
 */
#ifndef VIREO_BOOT_SMBIOS_H
#define VIREO_BOOT_SMBIOS_H

#include <stddef.h>
#include <stdint.h>

#include "base/err.h"

/* "8-4-4-4-12" hexadecimal digits to 16 bytes in the order written. 0, or -EINVAL with a message.
 * NULL text: zeros. */
int smbios_parse_uuid(const char *text, uint8_t uuid[16], struct err *err);

/* Writes entry point and tables as they are to lie at guest-physical address base (a multiple of
 * 16, below 1 MiB, where guests look for it). uuid: as smbios_parse_uuid() gives it; all zeros =
 * none set. Returns the bytes used, or -ENOSPC. */
long smbios_build(const uint8_t uuid[16], uint32_t base, uint8_t *buf, size_t size);

#endif
