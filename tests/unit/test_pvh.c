/*
 * boot/elf.c, boot/pvh.c, and what boot.c says to files that are no kernels.
 */
#include "boot_fixture.h"

#include <elf.h>
#include <errno.h>

/* One ELF file: header, program headers, a note, 0x300 bytes of text. */
static struct {
	Elf64_Ehdr e;
	Elf64_Phdr p[4];
	struct {
		Elf64_Nhdr other;
		char other_name[8];
		uint32_t other_value;
		Elf64_Nhdr head;
		char name[4];
		uint8_t value[8];
	} note;
	uint8_t text[0x300];
} elf;

static struct boot_config make_elf(void)
{
	memset(&elf, 0, sizeof(elf));
	elf.e = (Elf64_Ehdr){.e_ident = {0x7f, 'E', 'L', 'F', ELFCLASS64, ELFDATA2LSB, 1},
			     .e_type = ET_EXEC,
			     .e_machine = EM_X86_64,
			     .e_entry = 0xffffffff81000000,
			     .e_phoff = offsetof(typeof(elf), p),
			     .e_phentsize = sizeof(Elf64_Phdr),
			     .e_phnum = 3};
	elf.p[0] = (Elf64_Phdr){.p_type = PT_LOAD,
				.p_offset = offsetof(typeof(elf), text),
				.p_vaddr = 0xffffffff81000000,
				.p_paddr = 0x200000,
				.p_filesz = sizeof(elf.text),
				.p_memsz = 0x2000};
	elf.p[1] = (Elf64_Phdr){.p_type = PT_GNU_STACK};
	elf.p[2] = (Elf64_Phdr){.p_type = PT_NOTE,
				.p_offset = offsetof(typeof(elf), note),
				.p_filesz = sizeof(elf.note),
				.p_align = 4};
	elf.note.other = (Elf64_Nhdr){5, 4, 18};
	memcpy(elf.note.other_name, "Xent", 5);
	elf.note.other_value = 0x666;
	elf.note.head = (Elf64_Nhdr){4, 8, 18};
	memcpy(elf.note.name, "Xen", 4);
	elf.note.value[0] = 0x40;
	elf.note.value[2] = 0x20; /* 0x200040 */
	for (size_t i = 0; i < sizeof(elf.text); i++)
		elf.text[i] = i * 5;
	return (struct boot_config){
		.kernel = BOOT_BUILTIN,
		.cmdline = "console=ttyS0",
		.builtin = &elf,
		.builtin_size = sizeof(elf),
		.cpus = 1,
	};
}

struct start_info {
	uint32_t magic, version, flags, nr_modules;
	uint64_t modlist, cmdline, rsdp, memmap;
	uint32_t memmap_entries, reserved;
};

static void test_start_info(void **state)
{
	struct boot_config config = make_elf();
	struct start_info *si;
	struct vcpu_entry entry;
	uint64_t *module, *map;
	struct boot *boot;
	struct mem mem;
	char path[64];
	int fd;

	ram_make(&mem, 16 * MIB, 16 * MIB);
	memset(at(&mem, 0x200000, 0x3000), 0xaa, 0x3000);
	config.initrd = file_make(&fd, 5001, path);
	boot = must_prepare(&config, &mem);
	assert_string_equal(boot_protocol(boot), "PVH");
	entry = must_load(boot);
	assert_int_equal(entry.mode, VCPU_PROTECTED32);
	assert_int_equal(entry.rip, 0x200040);
	assert_memory_equal(at(&mem, 0x200000, sizeof(elf.text)), elf.text, sizeof(elf.text));
	for (uint32_t i = sizeof(elf.text); i < 0x2000; i++) /* bss */
		assert_int_equal(*(uint8_t *)at(&mem, 0x200000 + i, 1), 0);
	assert_int_equal(*(uint8_t *)at(&mem, 0x202000, 1), 0xaa);

	si = at(&mem, entry.rbx, sizeof(*si));
	assert_int_equal(si->magic, 0x336ec578);
	assert_int_equal(si->version, 1);
	assert_int_equal(si->flags, 0);
	assert_string_equal(at(&mem, si->cmdline, 32), "console=ttyS0");
	assert_memory_equal(at(&mem, si->rsdp, 8), "RSD PTR ", 8);
	assert_int_equal(si->nr_modules, 1);
	module = at(&mem, si->modlist, 32);
	assert_int_equal(module[0], 16 * MIB - 2 * 4096); /* below 4 GiB */
	assert_int_equal(module[1], 5001);
	assert_file_at(&mem, module[0], 5001);
	assert_int_equal(si->memmap_entries, 6);
	map = at(&mem, si->memmap, 6 * 24);
	assert_int_equal(map[3 * 3], 0x100000);
	assert_int_equal(map[3 * 3 + 1], 15 * MIB);
	assert_int_equal(map[3 * 3 + 2], 1);
	boot_free(boot);
	close(fd);
	ram_free(&mem);
}

static void test_refused(void **state)
{
	struct boot_config config = make_elf();
	struct mem mem;

	ram_make(&mem, 16 * MIB, 0);
	elf.p[0].p_paddr = 16 * MIB - 0x1000;
	must_refuse(&config, &mem, -ENOMEM, "needs RAM up to 17 MiB");
	elf.p[0].p_paddr = 0xfffffffffffff000;
	must_refuse(&config, &mem, -EINVAL, "wraps");
	elf.p[0].p_paddr = 0x7f000;
	must_refuse(&config, &mem, -EINVAL, "over the boot tables");
	elf.p[0].p_paddr = 0x9f000;
	must_refuse(&config, &mem, -EINVAL, "where no RAM is");
	config = make_elf();
	elf.p[0].p_filesz = 0x2001;
	must_refuse(&config, &mem, -EINVAL, "segment 0 is not in the file");
	elf.p[0].p_filesz = 0x301;
	must_refuse(&config, &mem, -EINVAL, "segment 0 is not in the file");
	elf.p[0].p_filesz = 1;
	elf.p[0].p_offset = UINT64_MAX;
	must_refuse(&config, &mem, -EINVAL, "segment 0 is not in the file");
	config = make_elf();
	elf.p[0].p_type = PT_NULL;
	must_refuse(&config, &mem, -EINVAL, "nothing to load");
	config = make_elf();
	elf.note.value[4] = 1;
	must_refuse(&config, &mem, -EINVAL, "not below 4 GiB");
	config = make_elf();
	elf.note.value[2] = 0x30;
	must_refuse(&config, &mem, -EINVAL, "entry point 0x300040");
	config = make_elf();
	elf.e.e_phoff = UINT64_MAX - 10;
	must_refuse(&config, &mem, -EINVAL, "cut short");
	elf.e.e_phoff = sizeof(elf) - 10;
	must_refuse(&config, &mem, -EINVAL, "cut short");
	config = make_elf();
	elf.e.e_phnum = 0;
	must_refuse(&config, &mem, -EINVAL, "without program headers");
	config = make_elf();
	elf.e.e_machine = EM_AARCH64;
	must_refuse(&config, &mem, -EINVAL, "another processor");
	config = make_elf();
	elf.note.head.n_type = 17;
	must_refuse(&config, &mem, -ENOEXEC, "neither a PVH note");
	config = make_elf();
	elf.note.other.n_namesz = 0xfffffff0; /* skips the rest */
	must_refuse(&config, &mem, -ENOEXEC, "neither a PVH note");
	ram_free(&mem);
}

/* 32-bit ELF, and a note whose value has 4 bytes, aligned to 8. */
static void test_elf32(void **state)
{
	struct {
		Elf32_Ehdr e;
		Elf32_Phdr p[2];
		uint32_t pad;
		Elf32_Nhdr head;
		char name[4];
		uint32_t value;
		uint32_t text[16];
	} k = {
		.e = {.e_ident = {0x7f, 'E', 'L', 'F', ELFCLASS32, ELFDATA2LSB, 1},
		      .e_machine = EM_386,
		      .e_phoff = offsetof(typeof(k), p),
		      .e_phentsize = sizeof(Elf32_Phdr),
		      .e_phnum = 2},
		.p = {{.p_type = PT_NOTE,
		       .p_offset = offsetof(typeof(k), head),
		       .p_filesz = 20,
		       .p_align = 8},
		      {.p_type = PT_LOAD,
		       .p_offset = offsetof(typeof(k), text),
		       .p_paddr = 0x7c00, /* low, but off the tables */
		       .p_filesz = 64,
		       .p_memsz = 64}},
		.head = {4, 4, 18},
		.name = "Xen",
		.value = 0x7c04,
	};
	const struct boot_config config = {
		.kernel = BOOT_BUILTIN, .builtin = &k, .builtin_size = sizeof(k), .cpus = 1};
	struct start_info *si;
	struct vcpu_entry entry;
	struct boot *boot;
	struct mem mem;

	ram_make(&mem, 2 * MIB, 0);
	boot = must_prepare(&config, &mem);
	entry = must_load(boot);
	assert_int_equal(entry.rip, 0x7c04);
	si = at(&mem, entry.rbx, sizeof(*si));
	assert_int_equal(si->nr_modules, 0);
	boot_free(boot);
	ram_free(&mem);
}

static void test_builtin(void **state)
{
	const struct boot_config config = {.kernel = BOOT_BUILTIN, .cpus = 1};
	struct boot *boot;
	struct mem mem;

	ram_make(&mem, 16 * MIB, 0);
	boot = must_prepare(&config, &mem);
	assert_string_equal(boot_protocol(boot), "PVH");
	assert_int_equal(must_load(boot).mode, VCPU_PROTECTED32);
	boot_free(boot);
	ram_free(&mem);
}

static void test_no_kernel(void **state)
{
	static const struct {
		const char *bytes;
		size_t n;
		const char *says;
	} files[] = {
		{"", 0, "not a kernel"},	   {"hello", 5, "not a kernel"},
		{"\037\213\010", 3, "gunzip"},	   {"\3757zXZ\0", 6, "unxz"},
		{"\050\265\057\375", 4, "unzstd"}, {"070701", 6, "-initrd"},
		{"QFI\373", 4, "-drive"},	   {"MZ", 2, "EFI"},
	};
	struct boot_config config = {.kernel = BOOT_BUILTIN, .cpus = 1};
	struct mem mem;
	char path[64];
	int fd;

	ram_make(&mem, 16 * MIB, 0);
	for (size_t i = 0; i < sizeof(files) / sizeof(files[0]); i++) {
		config.builtin = files[i].bytes;
		config.builtin_size = files[i].n;
		must_refuse(&config, &mem, -ENOEXEC, files[i].says);
	}
	config = (struct boot_config){.cpus = 1};
	must_refuse(&config, &mem, -EINVAL, "give -kernel FILE");
	config.kernel = "/nonexistent/vmlinuz";
	must_refuse(&config, &mem, -ENOENT, "-kernel /nonexistent/vmlinuz: No such file");
	config.kernel = "/";
	must_refuse(&config, &mem, -EINVAL, "-kernel /: not a regular file");
	config.kernel = file_make(&fd, 0, path);
	must_refuse(&config, &mem, -EINVAL, "the file is empty");
	config.kernel = BOOT_BUILTIN;
	config.initrd = "/nonexistent/initrd";
	must_refuse(&config, &mem, -ENOENT, "-initrd /nonexistent/initrd: No such file");
	config.initrd = path;
	must_refuse(&config, &mem, -EINVAL, "the file is empty");
	config.initrd = NULL;
	config.uuid = "550e8400-e29b-41d4-a716-44665544000";
	must_refuse(&config, &mem, -EINVAL, "not a UUID");
	config.uuid = NULL;
	config.cpus = 5000;
	must_refuse(&config, &mem, -EINVAL, "-smp 5000");
	close(fd);
	ram_free(&mem);
}

static void test_no_ram(void **state)
{
	const struct boot_config config = {.kernel = BOOT_BUILTIN, .cpus = 1};
	struct mem mem;

	ram_make(&mem, 0xf0000, 0);
	must_refuse(&config, &mem, -EINVAL, "less than 1 MiB of RAM");
	ram_free(&mem);
	ram_make(&mem, 1 * MIB, 0);
	must_refuse(&config, &mem, -ENOMEM, "the guest's ends at 1 MiB (give it more with -m)");
	ram_free(&mem);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_start_info), cmocka_unit_test(test_refused),
		cmocka_unit_test(test_elf32),	   cmocka_unit_test(test_builtin),
		cmocka_unit_test(test_no_kernel),  cmocka_unit_test(test_no_ram),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
