/*
 * ACPI machine language, as much of it as the SSDT takes: scopes, devices, names with integers or
 * strings. ACPI 6.4 §20.2. What is fixed stands in dsdt.asl and is compiled by iasl; this is for
 * what depends on the VM.
 *
 * Words go to a buffer of the caller's; one that doesn't fit sets `full`, and nothing is written
 * from then on.
 */
#ifndef VIREO_BOOT_AML_H
#define VIREO_BOOT_AML_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct aml {
	uint8_t *buf;
	size_t size, len; /* bytes */
	bool full;
};

/* A package that was opened: where its length goes. */
struct aml_block {
	size_t length_at;
};

/* name: a NameString as it is written in ASL, of one segment, with or without '\': "\\_SB", "C001",
 * "_HID". */
struct aml_block aml_scope(struct aml *aml, const char *name);
struct aml_block aml_device(struct aml *aml, const char *name);
void aml_end(struct aml *aml, struct aml_block block);

void aml_name_integer(struct aml *aml, const char *name, uint32_t value);
void aml_name_string(struct aml *aml, const char *name, const char *value);

#endif
