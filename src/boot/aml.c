/*
 * See aml.h. Control thread.
 */
#include "boot/aml.h"

#include <string.h>

#define AML_NAME_OP	 0x08
#define AML_DWORD_PREFIX 0x0c
#define AML_STRING	 0x0d
#define AML_SCOPE_OP	 0x10
#define AML_EXT_PREFIX	 0x5b
#define AML_DEVICE_OP	 0x82 /* after AML_EXT_PREFIX */

#define PKG_LENGTH_BYTES 4 /* the longest form, so that a length can be filled in afterwards */

static void put(struct aml *aml, const void *bytes, size_t n)
{
	if (aml->full || n > aml->size - aml->len) {
		aml->full = true;
		return;
	}
	memcpy(aml->buf + aml->len, bytes, n);
	aml->len += n;
}

static void put_byte(struct aml *aml, uint8_t byte)
{
	put(aml, &byte, 1);
}

static void put_name(struct aml *aml, const char *name)
{
	char segment[4] = {'_', '_', '_', '_'};

	if (*name == '\\')
		put_byte(aml, *name++);
	memcpy(segment, name, strnlen(name, sizeof(segment)));
	put(aml, segment, sizeof(segment));
}

static struct aml_block open_block(struct aml *aml, const char *name)
{
	struct aml_block block = {aml->len};

	put(aml, "\0\0\0\0", PKG_LENGTH_BYTES);
	put_name(aml, name);
	return block;
}

struct aml_block aml_scope(struct aml *aml, const char *name)
{
	put_byte(aml, AML_SCOPE_OP);
	return open_block(aml, name);
}

struct aml_block aml_device(struct aml *aml, const char *name)
{
	put_byte(aml, AML_EXT_PREFIX);
	put_byte(aml, AML_DEVICE_OP);
	return open_block(aml, name);
}

/* §20.2.4: the top two bits of the first byte say how many follow; its low four are the length's.
 */
void aml_end(struct aml *aml, struct aml_block block)
{
	size_t length = aml->len - block.length_at;
	uint8_t *at = aml->buf + block.length_at;

	if (aml->full)
		return;
	at[0] = (PKG_LENGTH_BYTES - 1) << 6 | (length & 0xf);
	at[1] = length >> 4 & 0xff;
	at[2] = length >> 12 & 0xff;
	at[3] = length >> 20 & 0xff;
}

void aml_name_integer(struct aml *aml, const char *name, uint32_t value)
{
	put_byte(aml, AML_NAME_OP);
	put_name(aml, name);
	put_byte(aml, AML_DWORD_PREFIX);
	put(aml, &value, sizeof(value)); /* little-endian, as this processor */
}

void aml_name_string(struct aml *aml, const char *name, const char *value)
{
	put_byte(aml, AML_NAME_OP);
	put_name(aml, name);
	put_byte(aml, AML_STRING);
	put(aml, value, strlen(value) + 1);
}
