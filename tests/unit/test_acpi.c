/*
 * boot/acpi.c, aml.c, dsdt.asl, smbios.c: the tables as a guest finds them, and what iasl's
 * disassembler and ACPICA's interpreter make of the AML.
 */
#include "boot_fixture.h"

#include <errno.h>

#include "boot/acpi.h"
#include "boot/smbios.h"

#define BASE 0xe0000
#define ROOM 0x10000

static uint8_t tables[ROOM] __attribute__((aligned(64)));

static uint8_t sum(const void *p, size_t n)
{
	const uint8_t *byte = p;
	uint8_t s = 0;

	while (n--)
		s += *byte++;
	return s;
}

static uint64_t get(const uint8_t *p, size_t n)
{
	uint64_t value = 0;

	memcpy(&value, p, n);
	return value;
}

/* The table at a guest-physical address, checked: in the buffer, its checksum right. */
static uint8_t *table_at(uint64_t address, const char *signature, long used)
{
	uint8_t *t = tables + (address - BASE);
	uint32_t length;

	assert_in_range(address, BASE, BASE + used - 36);
	assert_int_equal(address % 16, 0);
	length = get(t + 4, 4);
	assert_in_range(length, 36, used - (t - tables));
	if (signature)
		assert_memory_equal(t, signature, 4);
	if (memcmp(t, "FACS", 4))
		assert_int_equal(sum(t, length), 0);
	return t;
}

/* Finds a table by the XSDT, after checking that the RSDT says the same. */
static uint8_t *find(const char *signature, long used)
{
	uint8_t *rsdp = tables, *rsdt, *xsdt;
	unsigned int n;

	assert_memory_equal(rsdp, "RSD PTR ", 8);
	assert_int_equal(sum(rsdp, 20), 0);
	assert_int_equal(get(rsdp + 20, 4), 36);
	assert_int_equal(sum(rsdp, 36), 0);
	assert_int_equal(rsdp[15], 2);
	rsdt = table_at(get(rsdp + 16, 4), "RSDT", used);
	xsdt = table_at(get(rsdp + 24, 8), "XSDT", used);
	n = (get(xsdt + 4, 4) - 36) / 8;
	assert_int_equal((get(rsdt + 4, 4) - 36) / 4, n);
	for (unsigned int i = 0; i < n; i++) {
		uint8_t *t = table_at(get(xsdt + 36 + i * 8, 8), NULL, used);

		assert_int_equal(get(rsdt + 36 + i * 4, 4), get(xsdt + 36 + i * 8, 8));
		if (!memcmp(t, signature, 4))
			return t;
	}
	fail_msg("no %s", signature);
	return NULL;
}

static void test_fadt(void **state)
{
	struct acpi_config config = {.cpus = 1, .serial_ports = 1};
	long used = acpi_build(&config, BASE, tables, sizeof(tables));
	uint8_t *fadt, *facs, *dsdt;

	assert_true(used > 0);
	fadt = find("FACP", used);
	facs = table_at(get(fadt + 36, 4), "FACS", used);
	assert_int_equal((facs - tables) % 64, 0);
	dsdt = table_at(get(fadt + 40, 4), "DSDT", used);
	assert_ptr_equal(dsdt, table_at(get(fadt + 140, 8), "DSDT", used));
	assert_int_equal(get(fadt + 46, 2), 9);	    /* SCI_INT */
	assert_int_equal(get(fadt + 48, 4), 0);	    /* SMI_CMD */
	assert_int_equal(get(fadt + 56, 4), 0x600); /* PM1a_EVT_BLK */
	assert_int_equal(get(fadt + 64, 4), 0x604);
	assert_int_equal(get(fadt + 76, 4), 0x608);
	assert_int_equal(get(fadt + 80, 4), 0xafe0);
	assert_int_equal(fadt[108], 0x32);
	assert_int_equal(get(fadt + 109, 2) & 2, 0); /* no 8042 */
	assert_int_equal(get(fadt + 112, 4) & (1 << 4 | 1 << 10), 1 << 10);
	assert_int_equal(get(fadt + 120, 8), 0xcf9);
	assert_int_equal(fadt[128], 6);
	config.keyboard = true;
	used = acpi_build(&config, BASE, tables, sizeof(tables));
	assert_int_equal(get(find("FACP", used) + 109, 2) & 2, 2);
}

/* Counts the MADT's entries by type and checks processors' ids. */
static void check_madt(const struct acpi_config *config, unsigned int n_of[16])
{
	long used = acpi_build(config, BASE, tables, sizeof(tables));
	uint8_t *madt, *end;
	unsigned int cpu = 0;

	assert_true(used > 0);
	madt = find("APIC", used);
	assert_int_equal(get(madt + 36, 4), 0xfee00000);
	end = madt + get(madt + 4, 4);
	memset(n_of, 0, 16 * sizeof(n_of[0]));
	for (uint8_t *e = madt + 44; e < end; e += e[1]) {
		assert_true(e[0] < 16 && e[1] >= 6 && e + e[1] <= end);
		n_of[e[0]]++;
		if (e[0] == 0 || e[0] == 9) {
			uint32_t id = e[0] ? get(e + 4, 4) : e[3];

			assert_int_equal(e[0] ? get(e + 12, 4) : e[2], cpu);
			assert_int_equal(id, config->apic_ids ? config->apic_ids[cpu] : cpu);
			assert_int_equal(get(e + (e[0] ? 8 : 4), 4), 1);
			cpu++;
		}
	}
	assert_int_equal(cpu, config->cpus);
}

static void test_madt(void **state)
{
	static const uint32_t ids[] = {0, 1, 4, 5, 300};
	struct acpi_config config = {.cpus = 4, .apic_ids = ids};
	unsigned int n_of[16];

	check_madt(&config, n_of);
	assert_int_equal(n_of[0], 4);
	assert_int_equal(n_of[1], 1); /* IOAPIC */
	assert_int_equal(n_of[2], 5); /* IRQ 0, and 4 level-triggered */
	assert_int_equal(n_of[4], 1);
	assert_int_equal(n_of[9] + n_of[10], 0);
	config.cpus = 5;
	check_madt(&config, n_of);
	assert_int_equal(n_of[0], 4);
	assert_int_equal(n_of[9], 1);
	assert_int_equal(n_of[10], 1);
	config = (struct acpi_config){.cpus = ACPI_CPUS_MAX};
	check_madt(&config, n_of);
	assert_int_equal(n_of[0], 255);
	config.cpus++;
	assert_int_equal(acpi_build(&config, BASE, tables, sizeof(tables)), -EINVAL);
	config.cpus = 0;
	assert_int_equal(acpi_build(&config, BASE, tables, sizeof(tables)), -EINVAL);
}

/* A buffer that is too small is refused, whatever its size, and not written beyond. */
static void test_no_room(void **state)
{
	const struct acpi_config config = {.cpus = 3};
	const long used = acpi_build(&config, BASE, tables, sizeof(tables));

	for (long size = 0; size < used; size++) {
		uint8_t *buf = aligned_alloc(64, (size + 128) & ~63l);

		memset(buf, 0x77, (size + 128) & ~63l);
		assert_int_equal(acpi_build(&config, BASE, buf, size), -ENOSPC);
		for (long i = size; i < ((size + 128) & ~63l); i++)
			assert_int_equal(buf[i], 0x77);
		free(buf);
	}
	assert_int_equal(acpi_build(&config, BASE, tables, used), used);
}

/* ---- with ACPICA's tools ---- */

static char folder[] = "/tmp/vireo-acpi-XXXXXX";

static void save(const char *name, const uint8_t *table)
{
	char path[64];
	FILE *f;

	snprintf(path, sizeof(path), "%s/%s.aml", folder, name);
	f = fopen(path, "w");
	assert_non_null(f);
	assert_int_equal(fwrite(table, get(table + 4, 4), 1, f), 1);
	assert_int_equal(fclose(f), 0);
}

/* Runs a shell command in the folder; its output is kept for `said`. */
static char output[0x20000];

static int run(const char *command)
{
	char line[512];
	size_t n;
	FILE *f;

	snprintf(line, sizeof(line), "cd %s && { %s; } 2>&1", folder, command);
	f = popen(line, "r");
	assert_non_null(f);
	n = fread(output, 1, sizeof(output) - 1, f);
	output[n] = 0;
	return pclose(f);
}

static void said(const char *text)
{
	if (!strstr(output, text))
		fail_msg("no \"%s\" in: %s", text, output);
}

static void save_tables(const struct acpi_config *config)
{
	long used = acpi_build(config, BASE, tables, sizeof(tables));
	uint8_t *fadt = find("FACP", used);

	save("dsdt", table_at(get(fadt + 40, 4), "DSDT", used));
	save("ssdt", find("SSDT", used));
	save("apic", find("APIC", used));
	save("facp", fadt);
}

/* Every table disassembles, and the AML compiles again without an error. */
static void test_iasl(void **state)
{
	const struct acpi_config config = {.cpus = 64, .serial_ports = 0xf};

	save_tables(&config);
	assert_int_equal(run("iasl -p facp -d facp.aml"), 0);
	assert_null(strstr(output, "rror"));
	assert_int_equal(run("grep -i -e invalid -e warning -e '\\*\\*\\*\\*' facp.dsl"), 256);
	assert_int_equal(run("iasl -p apic -d apic.aml"), 0);
	assert_int_equal(run("grep -i -e invalid -e warning -e '\\*\\*\\*\\*' apic.dsl"), 256);
	assert_int_equal(run("iasl -p d -e ssdt.aml -d dsdt.aml && iasl -vs -p d2 d.dsl"), 0);
	said("0 Errors");
	assert_int_equal(run("iasl -p s -d ssdt.aml && iasl -we -vs -p s2 s.dsl"), 0);
	said("0 Errors");
}

static void write_file(const char *name, const char *text)
{
	char path[64];
	FILE *f;

	snprintf(path, sizeof(path), "%s/%s", folder, name);
	f = fopen(path, "w");
	assert_non_null(f);
	assert_true(fputs(text, f) >= 0);
	assert_int_equal(fclose(f), 0);
}

/* The next `text` of the output, from `from` on; returns what follows it. */
static const char *then(const char *from, const char *text)
{
	const char *found = strstr(from, text);

	if (!found)
		fail_msg("no \"%s\" after \"%.200s\"", text, from);
	return found + strlen(text);
}

/* Each pin of each slot leads to the link of the PIRQ that the board wires it to. */
static void check_routing(const char *from)
{
	char text[32];

	for (unsigned int slot = 0; slot < 32; slot++)
		for (unsigned int pin = 0; pin < 4; pin++) {
			snprintf(text, sizeof(text), "(00) 0x%016X", slot << 16 | 0xffff);
			from = then(from, text);
			snprintf(text, sizeof(text), "(01) 0x%016X", pin);
			from = then(from, text);
			from = then(from, "(02) Reference");
			from = then(from, "LNK");
			assert_int_equal(*from, 'A' + pc_pirq(slot, pin + 1));
			from = then(from, "(03) 0x0000000000000000");
		}
}

/* What the methods do when they are run, a table with a few more of the test's own beside them. */
static void test_methods(void **state)
{
	static const char asl[] =
		"DefinitionBlock (\"\", \"SSDT\", 2, \"TEST\", \"TEST\", 1) {\n"
		"External (\\_SB.PCI0._PRT, MethodObj)\n"
		"External (\\_SB.PCI0.ISA.RCB, FieldUnitObj)\n"
		"External (\\_SB.LNKB._SRS, MethodObj)\n"
		"External (\\_SB.LNKB._CRS, MethodObj)\n"
		"External (\\_SB.LNKB._STA, MethodObj)\n"
		"External (\\_SB.LNKB._DIS, MethodObj)\n"
		"Name (NUM, 0)\n"
		"Method (PRT, 0, Serialized) {\n"
		" Local0 = \\_SB.PCI0._PRT ()\n"
		" While (NUM < SizeOf (Local0)) {\n"
		"  Local1 = DerefOf (Local0[NUM])\n"
		"  Debug = Local1\n"
		"  NUM++\n"
		" }\n"
		" Return (NUM)\n"
		"}\n"
		"Method (LNK) {\n"
		" \\_SB.LNKB._SRS (ResourceTemplate () {\n"
		"  Interrupt (ResourceConsumer, Level, ActiveHigh, Shared) {11}})\n"
		" Local0 = \\_SB.LNKB._CRS ()\n"
		" CreateDWordField (Local0, 5, IRQ)\n"
		" Local1 = (\\_SB.PCI0.ISA.RCB << 8) | IRQ | (\\_SB.LNKB._STA () << 16)\n"
		" \\_SB.LNKB._DIS ()\n"
		" Return (Local1 | (\\_SB.LNKB._STA () << 24))\n"
		"}\n"
		"}\n";
	const struct acpi_config config = {.cpus = 3, .serial_ports = 0x5};
	const char *from;

	save_tables(&config);
	write_file("test.asl", asl);
	write_file("commands", "evaluate \\LNK\n"
			       "evaluate \\_SB.PCI0.ISA.COM1._STA\n"
			       "evaluate \\_SB.PCI0.ISA.COM2._STA\n"
			       "evaluate \\_SB.PCI0.ISA.COM3._STA\n"
			       "evaluate \\_SB.PCI0.ISA.KBD._STA\n"
			       "evaluate \\_SB.C002._UID\n"
			       "evaluate \\_S5\n"
			       "evaluate \\PRT\n"
			       "quit\n");
	if (run("iasl -vs -p test test.asl"))
		fail_msg("%s", output);

	/* PCI config space is memory of the interpreter's own, zero at first. */
	assert_int_equal(run("acpiexec -dt dsdt.aml ssdt.aml test.aml < commands"), 0);
	assert_null(strstr(output, "ACPI Error"));
	from = then(output, "Evaluating \\LNK");
	from = then(from, "[Integer] = 00000000090B0B0B");
	from = then(from, "[Integer] = 000000000000000F");
	from = then(from, "[Integer] = 0000000000000000");
	from = then(from, "[Integer] = 000000000000000F");
	from = then(from, "[Integer] = 0000000000000000");
	from = then(from, "[Integer] = 0000000000000002");
	from = then(from, "Package] Contains 4 Elements");
	from = then(from, "Evaluating \\PRT");
	check_routing(from);
	then(from, "[Integer] = 0000000000000080");
}

static void test_smbios(void **state)
{
	static const uint8_t want[16] = {0x00, 0x84, 0x0e, 0x55, 0x9b, 0xe2, 0xd4, 0x41,
					 0xa7, 0x16, 0x44, 0x66, 0x55, 0x44, 0xab, 0xCD};
	uint8_t uuid[16], buf[1024], *t;
	struct err err;
	long n;

	assert_int_equal(smbios_parse_uuid("550e8400-e29b-41d4-a716-44665544abCD", uuid, &err), 0);
	n = smbios_build(uuid, 0xf0000, buf, sizeof(buf));
	assert_true(n > 0);
	assert_memory_equal(buf, "_SM_", 4);
	assert_int_equal(sum(buf, buf[5]), 0);
	assert_memory_equal(buf + 16, "_DMI_", 5);
	assert_int_equal(sum(buf + 16, 15), 0);
	assert_int_equal(get(buf + 24, 4), 0xf0020);
	assert_int_equal(get(buf + 22, 2), n - 32);
	assert_int_equal(get(buf + 28, 2), 3);
	t = buf + 32;
	for (int i = 0; i < 3; i++) { /* fields, strings, two NULs */
		if (t[0] == 1) {
			assert_int_equal(get(t + 8, 4), 0x550e8400);
			assert_memory_equal(t + 8, want, 16);
		}
		assert_int_equal(t[0], i == 2 ? 127 : i);
		t += t[1];
		while (t[0] || t[1])
			t++;
		t += 2;
	}
	assert_ptr_equal(t, buf + n);
	for (long size = 0; size < n; size++)
		assert_int_equal(smbios_build(uuid, 0xf0000, buf, size), -ENOSPC);

	assert_int_equal(smbios_parse_uuid("550e8400e29b41d4a716446655440000", uuid, &err),
			 -EINVAL);
	assert_int_equal(smbios_parse_uuid("", uuid, &err), -EINVAL);
	assert_int_equal(smbios_parse_uuid("550e8400-e29b-41d4-a716-4466554400000", uuid, &err),
			 -EINVAL);
	assert_int_equal(smbios_parse_uuid("550e8400-e29b-41d4-a716-44665544000g", uuid, &err),
			 -EINVAL);
	assert_int_equal(smbios_parse_uuid(NULL, uuid, &err), 0);
	assert_int_equal(sum(uuid, 16), 0);
}

static int make_folder(void **state)
{
	return mkdtemp(folder) ? 0 : -1;
}

static int remove_folder(void **state)
{
	char command[64];

	snprintf(command, sizeof(command), "rm -r %s", folder);
	return system(command);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_fadt),	cmocka_unit_test(test_madt),
		cmocka_unit_test(test_no_room), cmocka_unit_test(test_iasl),
		cmocka_unit_test(test_methods), cmocka_unit_test(test_smbios),
	};

	return cmocka_run_group_tests(tests, make_folder, remove_folder);
}
