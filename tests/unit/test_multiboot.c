/*
 * boot/multiboot.c: made-up multiboot 1 kernels, by header addresses and by ELF.
 */
#include "boot_fixture.h"

#include <elf.h>
#include <errno.h>

#define MAGIC	  0x1badb002
#define FILE_SIZE 0x3000
#define HEADER_AT 0x104
#define LOAD_AT	  0x200000

static uint8_t file[FILE_SIZE];

static struct {
	uint32_t magic, flags, checksum, header_addr, load_addr, load_end_addr, bss_end_addr,
		entry_addr;
} header;

static void put_header(uint32_t flags)
{
	header.magic = MAGIC;
	header.flags = flags;
	header.checksum = -(MAGIC + flags);
	memcpy(file + HEADER_AT, &header, sizeof(header));
}

/* The whole file, from byte 4 on, at LOAD_AT; 0x1000 bytes of bss. */
static struct boot_config make_kludge(void)
{
	for (size_t i = 0; i < sizeof(file); i++)
		file[i] = i * 3;
	header.header_addr = LOAD_AT + HEADER_AT - 4;
	header.load_addr = LOAD_AT;
	header.load_end_addr = 0;
	header.bss_end_addr = LOAD_AT + FILE_SIZE + 0x1000;
	header.entry_addr = LOAD_AT + 0x800;
	put_header(0x10003);
	return (struct boot_config){
		.kernel = BOOT_BUILTIN,
		.cmdline = "a=b",
		.builtin = file,
		.builtin_size = sizeof(file),
		.cpus = 1,
	};
}

struct info {
	uint32_t flags, mem_lower, mem_upper, boot_device, cmdline, mods_count, mods_addr, syms[4],
		mmap_length, mmap_addr, drives_length, drives_addr, config_table, loader_name;
};

static void test_kludge(void **state)
{
	struct boot_config config = make_kludge();
	struct vcpu_entry entry;
	struct info *info;
	struct boot *boot;
	struct mem mem;
	uint32_t *module;
	uint8_t *map;
	char path[64];
	uint64_t word;
	int fd;

	ram_make(&mem, 16 * MIB, 0);
	memset(at(&mem, LOAD_AT, 1 * MIB), 0xaa, 1 * MIB);
	config.initrd = file_make(&fd, 9000, path);
	boot = must_prepare(&config, &mem);
	assert_string_equal(boot_protocol(boot), "multiboot");
	entry = must_load(boot);
	assert_int_equal(entry.mode, VCPU_PROTECTED32);
	assert_int_equal(entry.rip, LOAD_AT + 0x800);
	assert_int_equal(entry.rax, 0x2badb002);
	assert_memory_equal(at(&mem, LOAD_AT, FILE_SIZE - 4), file + 4, FILE_SIZE - 4);
	for (uint32_t i = FILE_SIZE - 4; i < FILE_SIZE + 0x1000; i++)
		assert_int_equal(*(uint8_t *)at(&mem, LOAD_AT + i, 1), 0);

	info = at(&mem, entry.rbx, sizeof(*info));
	assert_int_equal(info->flags, 0x24d);
	assert_int_equal(info->mem_lower, 639);
	assert_int_equal(info->mem_upper, 15 * 1024);
	assert_string_equal(at(&mem, info->cmdline, 4), "a=b");
	assert_string_equal(at(&mem, info->loader_name, 6), "vireo");
	assert_int_equal(info->mods_count, 1);
	module = at(&mem, info->mods_addr, 16);
	assert_int_equal(module[0], LOAD_AT + FILE_SIZE + 0x1000); /* the page behind the kernel */
	assert_int_equal(module[1] - module[0], 9000);
	assert_file_at(&mem, module[0], 9000);
	assert_string_equal(at(&mem, module[2], 1), "");
	map = at(&mem, info->mmap_addr, info->mmap_length);
	assert_int_equal(info->mmap_length % 24, 0);
	assert_int_equal(*map, 20);
	memcpy(&word, map + 12, 8);
	assert_int_equal(word, 0x9fc00);
	boot_free(boot);
	close(fd);
	ram_free(&mem);
}

static void test_kludge_refused(void **state)
{
	struct boot_config config = make_kludge();
	struct mem mem;

	ram_make(&mem, 16 * MIB, 0);
	header.load_addr = header.header_addr + 4;
	put_header(0x10003);
	must_refuse(&config, &mem, -EINVAL, "broken multiboot header");
	header.load_addr = header.header_addr - HEADER_AT - 4;
	put_header(0x10003);
	must_refuse(&config, &mem, -EINVAL, "before the file");
	make_kludge();
	header.load_end_addr = LOAD_AT + FILE_SIZE; /* 4 more than there are */
	put_header(0x10003);
	must_refuse(&config, &mem, -EINVAL, "not in the file");
	make_kludge();
	header.bss_end_addr = LOAD_AT + 1;
	put_header(0x10003);
	must_refuse(&config, &mem, -EINVAL, "bss ends");
	make_kludge();
	header.entry_addr = 0x100000;
	put_header(0x10003);
	must_refuse(&config, &mem, -EINVAL, "entry point 0x100000 is in nothing that is loaded");
	make_kludge();
	header.bss_end_addr = 0xffffffff;
	put_header(0x10003);
	must_refuse(&config, &mem, -EINVAL, "where no RAM is");
	make_kludge();
	put_header(0x10007);
	must_refuse(&config, &mem, -ENOTSUP, "video mode");
	put_header(0x1000b);
	must_refuse(&config, &mem, -ENOTSUP, "unknown features");
	put_header(0x3);
	must_refuse(&config, &mem, -EINVAL, "nor an ELF header");
	header.checksum++;
	memcpy(file + HEADER_AT, &header, sizeof(header));
	must_refuse(&config, &mem, -ENOEXEC, "not a kernel");
	ram_free(&mem);
}

/* Linked to run high, loaded low: the entry point follows its segment. */
static void test_elf(void **state)
{
	Elf32_Ehdr e = {.e_ident = {0x7f, 'E', 'L', 'F', ELFCLASS32, ELFDATA2LSB, 1},
			.e_type = ET_EXEC,
			.e_machine = EM_386,
			.e_entry = 0xc0100040,
			.e_phoff = sizeof(e),
			.e_phentsize = sizeof(Elf32_Phdr),
			.e_phnum = 1};
	Elf32_Phdr p = {.p_type = PT_LOAD,
			.p_offset = 0x1000,
			.p_vaddr = 0xc0100000,
			.p_paddr = 0x100000,
			.p_filesz = 0x100,
			.p_memsz = 0x400};
	struct boot_config config = make_kludge();
	struct vcpu_entry entry;
	struct info *info;
	struct boot *boot;
	struct mem mem;

	put_header(0x3);
	memcpy(file, &e, sizeof(e));
	memcpy(file + sizeof(e), &p, sizeof(p));
	ram_make(&mem, 16 * MIB, 0);
	boot = must_prepare(&config, &mem);
	assert_string_equal(boot_protocol(boot), "multiboot");
	entry = must_load(boot);
	assert_int_equal(entry.rip, 0x100040);
	assert_memory_equal(at(&mem, 0x100000, 0x100), file + 0x1000, 0x100);
	info = at(&mem, entry.rbx, sizeof(*info));
	assert_int_equal(info->flags & 8, 0); /* no modules */
	boot_free(boot);
	ram_free(&mem);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_kludge),
		cmocka_unit_test(test_kludge_refused),
		cmocka_unit_test(test_elf),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
