/*
 * See smbios.h. Section numbers are those of DSP0134 3.1.1, which keeps the 2.8 forms. Control
 * thread.
 */
#include "boot/smbios.h"

#include <ctype.h>
#include <errno.h>
#include <stdbool.h>
#include <string.h>

#define PACKED __attribute__((packed))

struct entry_point { /* §5.2.1 */
	char anchor[4];
	uint8_t checksum, length, major, minor;
	uint16_t max_structure_size;
	uint8_t revision, formatted_area[5];
	char intermediate_anchor[5];
	uint8_t intermediate_checksum; /* from intermediate_anchor on */
	uint16_t table_length;
	uint32_t table_address;
	uint16_t n_structures;
	uint8_t bcd_revision;
} PACKED;
_Static_assert(sizeof(struct entry_point) == 31, "§5.2.1");

struct bios { /* §7.1, type 0 */
	uint8_t type, length;
	uint16_t handle;
	uint8_t vendor, version; /* numbers of strings */
	uint16_t start_segment;
	uint8_t release_date, rom_size; /* rom_size: 64 KiB * (n + 1) */
	uint64_t characteristics;
	uint8_t extension[2];
	uint8_t major, minor, controller_major, controller_minor;
} PACKED;
_Static_assert(sizeof(struct bios) == 0x18, "§7.1");

#define BIOS_NO_CHARACTERISTICS (1 << 3)
#define BIOS_EXT2_VIRTUAL	(1 << 4)
#define BIOS_NO_CONTROLLER	0xff

struct system { /* §7.2, type 1 */
	uint8_t type, length;
	uint16_t handle;
	uint8_t manufacturer, product, version, serial;
	uint8_t uuid[16];
	uint8_t wake_up, sku, family;
} PACKED;
_Static_assert(sizeof(struct system) == 0x1b, "§7.2");

#define WAKE_UP_POWER_SWITCH 6

struct end { /* §7.45, type 127 */
	uint8_t type, length;
	uint16_t handle;
} PACKED;

int smbios_parse_uuid(const char *text, uint8_t uuid[16], struct err *err)
{
	unsigned int digits = 0, at;

	memset(uuid, 0, 16);
	if (!text)
		return 0;
	for (at = 0; at < 36 && text[at]; at++) {
		bool dash = at == 8 || at == 13 || at == 18 || at == 23;
		const char c = text[at];

		if (dash ? c != '-' : !isxdigit((unsigned char)c))
			break;
		if (!dash) {
			uint8_t value = isdigit((unsigned char)c) ? c - '0' : (c | 0x20) - 'a' + 10;

			uuid[digits / 2] |= value << (digits % 2 ? 0 : 4);
			digits++;
		}
	}
	if (at != 36 || text[at])
		return err_set(err, -EINVAL,
			       "-uuid %s: not a UUID (it looks like "
			       "550e8400-e29b-41d4-a716-446655440000)",
			       text);
	return 0;
}

static uint8_t checksum(const void *p, size_t n)
{
	const uint8_t *byte = p;
	uint8_t sum = 0;

	while (n--)
		sum += *byte++;
	return -sum;
}

struct table {
	uint8_t *buf;
	size_t size, len, largest;
	unsigned int n;
	bool full;
};

/* A structure is its fields, then its strings, each with its NUL, then a NUL more (§6.1.3):
 * `strings` holds them with a NUL between two; sizeof counts the literal's own last NUL. */
static void add(struct table *t, const void *fields, size_t n, const char *strings,
		size_t strings_size)
{
	size_t total = n + strings_size + 1;

	if (t->full || total > t->size - t->len) {
		t->full = true;
		return;
	}
	memcpy(t->buf + t->len, fields, n);
	memcpy(t->buf + t->len + n, strings, strings_size);
	t->buf[t->len + total - 1] = 0;
	t->len += total;
	t->n++;
	if (total > t->largest)
		t->largest = total;
}

/* §7.2.1: the first three fields of a UUID are little-endian. */
static void put_uuid(uint8_t to[16], const uint8_t uuid[16])
{
	static const uint8_t from[16] = {3, 2, 1, 0, 5, 4, 7, 6, 8, 9, 10, 11, 12, 13, 14, 15};

	for (unsigned int i = 0; i < 16; i++)
		to[i] = uuid[from[i]];
}

long smbios_build(const uint8_t uuid[16], uint32_t base, uint8_t *buf, size_t size)
{
	static const char bios_strings[] = "vireo\0"
					   "1\0"
					   "01/01/2026";
	static const char system_strings[] = "vireo\0"
					     "virtual machine\0"
					     "1";
	struct bios bios = {
		.length = sizeof(bios),
		.handle = 0,
		.vendor = 1,
		.version = 2,
		.start_segment = 0xe000,
		.release_date = 3,
		.characteristics = BIOS_NO_CHARACTERISTICS,
		.extension = {0, BIOS_EXT2_VIRTUAL},
		.major = 1,
		.controller_major = BIOS_NO_CONTROLLER,
		.controller_minor = BIOS_NO_CONTROLLER,
	};
	struct system system = {
		.type = 1,
		.length = sizeof(system),
		.handle = 0x100,
		.manufacturer = 1,
		.product = 2,
		.version = 3,
		.wake_up = WAKE_UP_POWER_SWITCH,
	};
	struct end end = {127, sizeof(end), 0x7f00};
	struct entry_point *e = (struct entry_point *)buf;
	const size_t tables_at = 32; /* the entry point, rounded up to 16 */
	struct table t = {.buf = buf + tables_at};

	if (size < tables_at)
		return -ENOSPC;
	t.size = size - tables_at;
	put_uuid(system.uuid, uuid);
	add(&t, &bios, sizeof(bios), bios_strings, sizeof(bios_strings));
	add(&t, &system, sizeof(system), system_strings, sizeof(system_strings));
	add(&t, &end, sizeof(end), "", 1);
	if (t.full)
		return -ENOSPC;

	memset(buf, 0, tables_at);
	memcpy(e->anchor, "_SM_", 4);
	e->length = sizeof(*e);
	e->major = 2;
	e->minor = 8;
	e->max_structure_size = t.largest;
	memcpy(e->intermediate_anchor, "_DMI_", 5);
	e->table_length = t.len;
	e->table_address = base + tables_at;
	e->n_structures = t.n;
	e->bcd_revision = 0x28;
	e->intermediate_checksum = checksum(&e->intermediate_anchor, sizeof(*e) - 16);
	e->checksum = checksum(e, sizeof(*e));
	return tables_at + t.len;
}
