/*
 * boot/bzimage.c: made-up bzImages of several protocol versions, and what boot_params say then.
 */
#include "boot_fixture.h"

#include <asm/bootparam.h>
#include <errno.h>

#define SETUP_SECTS   3
#define PAYLOAD_SIZE  0x5000
#define FILE_SIZE     ((SETUP_SECTS + 1) * 512 + PAYLOAD_SIZE)
#define HEADER_OFFSET 0x1f1

struct kernel {
	uint8_t file[FILE_SIZE + 64];
	struct setup_header *h;
};

/* What Debian's kernels have, in small. */
static void make_kernel(struct kernel *k, uint16_t version)
{
	memset(k->file, 0xee, sizeof(k->file)); /* whatever is no header must not come through */
	for (size_t i = 0; i < PAYLOAD_SIZE; i++)
		k->file[(SETUP_SECTS + 1) * 512 + i] = i * 13;
	k->h = (struct setup_header *)(k->file + HEADER_OFFSET);
	*k->h = (struct setup_header){
		.setup_sects = SETUP_SECTS,
		.syssize = PAYLOAD_SIZE / 16,
		.boot_flag = 0xaa55,
		.jump = 0x6aeb, /* the header ends at 0x202 + 0x6a */
		.header = 0x53726448,
		.version = version,
		.loadflags = LOADED_HIGH,
		.code32_start = 0x100000,
		.initrd_addr_max = 0x7fffffff,
		.kernel_alignment = 0x200000,
		.relocatable_kernel = 1,
		.min_alignment = 21,
		.xloadflags = XLF_KERNEL_64 | XLF_CAN_BE_LOADED_ABOVE_4G,
		.cmdline_size = 2047,
		.setup_data = 0x1234567,
		.pref_address = 0x1000000,
		.init_size = 0x400000,
	};
}

static struct boot_config config_of(const struct kernel *k)
{
	return (struct boot_config){
		.kernel = BOOT_BUILTIN,
		.cmdline = "console=ttyS0 root=/dev/vda",
		.builtin = k->file,
		.builtin_size = FILE_SIZE,
		.cpus = 2,
		.serial_ports = 1,
	};
}

/* The page tables at cr3 translate an address to itself? */
static bool identity_mapped(const struct mem *mem, uint64_t cr3, uint64_t address)
{
	const uint64_t *table = at(mem, cr3, 4096);
	uint64_t e = table[address >> 39 & 511];

	if (!(e & 1))
		return false;
	table = at(mem, e & ~0xfffull, 4096);
	e = table[address >> 30 & 511];
	if (!(e & 1))
		return false;
	table = at(mem, e & ~0xfffull, 4096);
	e = table[address >> 21 & 511];
	return (e & 0x83) == 0x83 && (e & ~0x1fffffull) == (address & ~0x1fffffull);
}

static void test_64_bit(void **state)
{
	static struct kernel k;
	struct boot_config config;
	struct vcpu_entry entry;
	struct boot_params *bp;
	struct boot *boot;
	struct mem mem;
	char path[64];
	uint64_t *gdt;
	int fd;

	make_kernel(&k, 0x20f);
	ram_make(&mem, 256 * MIB, 0);
	config = config_of(&k);
	config.initrd = file_make(&fd, 12345, path);
	boot = must_prepare(&config, &mem);
	assert_string_equal(boot_protocol(boot), "bzImage");
	entry = must_load(boot);

	assert_int_equal(entry.mode, VCPU_LONG64);
	assert_int_equal(entry.rip, 0x1000000 + 0x200);
	assert_memory_equal(at(&mem, 0x1000000, PAYLOAD_SIZE), k.file + (SETUP_SECTS + 1) * 512,
			    PAYLOAD_SIZE);
	bp = at(&mem, entry.rsi, sizeof(*bp));
	assert_int_equal(bp->hdr.setup_data, 0x1234567);
	assert_int_equal(bp->hdr.type_of_loader, 0xff);
	assert_int_equal(bp->hdr.version, 0x20f);
	assert_int_equal(bp->sentinel, 0);
	assert_int_equal(bp->screen_info.orig_video_isVGA, 0);
	assert_string_equal(at(&mem, bp->hdr.cmd_line_ptr, 2048), config.cmdline);
	assert_int_equal(bp->hdr.ramdisk_size, 12345);
	assert_int_equal(bp->ext_ramdisk_image, 0);
	assert_int_equal(bp->hdr.ramdisk_image, 256 * MIB - 4 * 4096); /* as high as possible */
	assert_file_at(&mem, bp->hdr.ramdisk_image, 12345);
	assert_memory_equal(at(&mem, bp->acpi_rsdp_addr, 8), "RSD PTR ", 8);

	assert_true(identity_mapped(&mem, entry.cr3, entry.rip));
	assert_true(identity_mapped(&mem, entry.cr3, entry.rsi));
	assert_true(identity_mapped(&mem, entry.cr3, 0xffffffff));
	assert_false(identity_mapped(&mem, entry.cr3, 1ull << 32));
	gdt = at(&mem, entry.gdt_base, entry.gdt_limit + 1);
	assert_int_equal(entry.cs, 0x10);
	assert_int_equal(entry.ds, 0x18);
	assert_int_equal(gdt[2] >> 53 & 1, 1); /* L */
	assert_int_equal(gdt[2] >> 43 & 1, 1); /* code */
	assert_int_equal(gdt[3] >> 43 & 1, 0);
	boot_free(boot);
	close(fd);
	ram_free(&mem);
}

static void test_e820(void **state)
{
	static struct kernel k;
	static const struct boot_e820_entry want[] = {
		{0, 0x9fc00, 1},	  {0x9fc00, 0x400, 2},	      {0xe0000, 0x20000, 2},
		{0x100000, 255 * MIB, 1}, {0xfec00000, 0x1400000, 2}, {1ull << 32, 64 * MIB, 1},
	};
	struct boot_config config;
	struct boot_params *bp;
	struct boot *boot;
	struct mem mem;

	make_kernel(&k, 0x20f);
	ram_make(&mem, 256 * MIB, 64 * MIB);
	config = config_of(&k);
	boot = must_prepare(&config, &mem);
	bp = at(&mem, must_load(boot).rsi, sizeof(*bp));
	assert_int_equal(bp->e820_entries, sizeof(want) / sizeof(want[0]));
	assert_memory_equal(bp->e820_table, want, sizeof(want));
	boot_free(boot);
	ram_free(&mem);
}

/* All of RAM is overwritten by the guest; a reboot starts from the same state. */
static void test_reload(void **state)
{
	static struct kernel k;
	static uint8_t first[0xa0000];
	struct boot_config config;
	struct vcpu_entry a, b;
	struct boot *boot;
	struct mem mem;
	char path[64];
	int fd;

	make_kernel(&k, 0x20c);
	ram_make(&mem, 64 * MIB, 0);
	config = config_of(&k);
	config.initrd = file_make(&fd, 70000, path);
	boot = must_prepare(&config, &mem);
	a = must_load(boot);
	memcpy(first + 0x70000, at(&mem, 0x70000, 0x10000), 0x10000);
	memset(at(&mem, 0, 0xa0000), 0xa5, 0xa0000);
	memset(at(&mem, 0xc0000, 64 * MIB - 0xc0000), 0x5a, 64 * MIB - 0xc0000);
	b = must_load(boot);
	assert_int_equal(a.mode, b.mode);
	assert_int_equal(a.rip, b.rip);
	assert_int_equal(a.rsi, b.rsi);
	assert_int_equal(a.cr3, b.cr3);
	assert_memory_equal(first + 0x71000, at(&mem, 0x71000, 0x8000), 0x8000);
	assert_memory_equal(at(&mem, 0x1000000, PAYLOAD_SIZE), k.file + (SETUP_SECTS + 1) * 512,
			    PAYLOAD_SIZE);
	assert_file_at(&mem, 64 * MIB - 18 * 4096, 70000);

	/* The file has become shorter: an error, not a crash. */
	assert_int_equal(ftruncate(fd, 100), 0);
	assert_int_equal(boot_load(boot, &b, NULL), -EIO);
	boot_free(boot);
	close(fd);
	ram_free(&mem);
}

static void test_32_bit(void **state)
{
	static struct kernel k;
	struct boot_config config;
	struct vcpu_entry entry;
	struct boot *boot;
	struct mem mem;
	uint64_t *gdt;

	make_kernel(&k, 0x20f);
	k.h->xloadflags = 0;
	ram_make(&mem, 64 * MIB, 0);
	config = config_of(&k);
	boot = must_prepare(&config, &mem);
	entry = must_load(boot);
	assert_int_equal(entry.mode, VCPU_PROTECTED32);
	assert_int_equal(entry.rip, 0x1000000);
	assert_int_equal(entry.rbx, 0);
	gdt = at(&mem, entry.gdt_base, entry.gdt_limit + 1);
	assert_int_equal(gdt[2] >> 53 & 1, 0);
	assert_int_equal(gdt[2] >> 54 & 1, 1); /* D */
	boot_free(boot);
	ram_free(&mem);
}

/* Fields that an old protocol lacks are not believed. */
static void test_old_protocols(void **state)
{
	static struct kernel k;
	struct boot_config config;
	struct boot_params *bp;
	struct vcpu_entry entry;
	struct boot *boot;
	struct mem mem;
	char path[64];
	int fd;

	make_kernel(&k, 0x202);
	k.h->syssize = 0xffff0001; /* only 16 bits before 2.04 */
	ram_make(&mem, 1024 * MIB, 0);
	config = config_of(&k);
	config.initrd = file_make(&fd, 5000, path);
	boot = must_prepare(&config, &mem);
	entry = must_load(boot);
	assert_int_equal(entry.mode, VCPU_PROTECTED32);
	assert_int_equal(entry.rip, 0x100000);
	bp = at(&mem, entry.rsi, sizeof(*bp));
	assert_int_equal(bp->hdr.ramdisk_image, 0x38000000 - 2 * 4096);
	boot_free(boot);
	close(fd);

	config.initrd = NULL;
	config.cmdline = NULL;
	k.h->version = 0x201;
	must_refuse(&config, &mem, -ENOTSUP, "boot protocol 2.01 is too old");
	k.h->version = 0x202;
	k.h->loadflags = 0;
	must_refuse(&config, &mem, -ENOTSUP, "zImage");
	ram_free(&mem);
}

static void test_command_line(void **state)
{
	static struct kernel k;
	static char line[4096];
	struct boot_config config;
	struct boot_params *bp;
	struct boot *boot;
	struct mem mem;

	make_kernel(&k, 0x20f);
	ram_make(&mem, 64 * MIB, 0);
	config = config_of(&k);
	memset(line, 'x', 2048);
	config.cmdline = line;
	must_refuse(&config, &mem, -E2BIG, "has 2048 characters, the kernel takes 2047");
	line[2047] = 0;
	boot = must_prepare(&config, &mem);
	bp = at(&mem, must_load(boot).rsi, sizeof(*bp));
	assert_string_equal(at(&mem, bp->hdr.cmd_line_ptr, 4096), line);
	boot_free(boot);
	config.cmdline = NULL;
	boot = must_prepare(&config, &mem);
	bp = at(&mem, must_load(boot).rsi, sizeof(*bp));
	assert_string_equal(at(&mem, bp->hdr.cmd_line_ptr, 1), "");
	boot_free(boot);
	ram_free(&mem);
}

static void test_initrd_above_4g(void **state)
{
	static struct kernel k;
	struct boot_config config;
	struct boot_params *bp;
	struct boot *boot;
	struct mem mem;
	char path[64];
	int fd;

	make_kernel(&k, 0x20f);
	ram_make(&mem, 32 * MIB, 32 * MIB);
	config = config_of(&k);
	config.initrd = file_make(&fd, 20 * MIB + 1, path);
	boot = must_prepare(&config, &mem);
	bp = at(&mem, must_load(boot).rsi, sizeof(*bp));
	assert_int_equal(bp->ext_ramdisk_image, 1);
	assert_int_equal(bp->hdr.ramdisk_image, 32 * MIB - 20 * MIB - 4096);
	assert_file_at(&mem, (1ull << 32) + bp->hdr.ramdisk_image, 20 * MIB + 1);
	boot_free(boot);

	k.h->xloadflags = XLF_KERNEL_64;
	must_refuse(&config, &mem, -ENOMEM, "21 MiB don't fit");
	close(fd);
	ram_free(&mem);
}

/* Below the kernel where there is no room above it. */
static void test_initrd_below_kernel(void **state)
{
	static struct kernel k;
	struct boot_config config;
	struct boot_params *bp;
	struct boot *boot;
	struct mem mem;
	char path[64];
	int fd;

	make_kernel(&k, 0x20f);
	ram_make(&mem, 20 * MIB, 0);
	config = config_of(&k);
	config.initrd = file_make(&fd, 4096, path);
	boot = must_prepare(&config, &mem);
	bp = at(&mem, must_load(boot).rsi, sizeof(*bp));
	assert_int_equal(bp->hdr.ramdisk_image, 16 * MIB - 4096);
	boot_free(boot);
	close(fd);
	ram_free(&mem);
}

static void test_place(void **state)
{
	static struct kernel k;
	struct boot_config config;
	struct boot *boot;
	struct mem mem;

	make_kernel(&k, 0x20f);
	config = config_of(&k);
	ram_make(&mem, 19 * MIB, 0);
	must_refuse(&config, &mem, -ENOMEM, "needs RAM up to 20 MiB, the guest's ends at 19 MiB");
	ram_free(&mem);

	ram_make(&mem, 64 * MIB, 0);
	k.h->pref_address = 0x90000; /* on the tables: it can be moved */
	boot = must_prepare(&config, &mem);
	assert_int_equal(must_load(boot).rip, 0x200000 + 0x200);
	boot_free(boot);
	k.h->relocatable_kernel = 0;
	must_refuse(&config, &mem, -EINVAL, "where no RAM is");
	k.h->pref_address = 0xfffffffffffff000;
	must_refuse(&config, &mem, -EINVAL, "above 4 GiB");
	k.h->relocatable_kernel = 1;
	must_refuse(&config, &mem, -EINVAL, "above 4 GiB");
	k.h->kernel_alignment = 0x300000;
	must_refuse(&config, &mem, -EINVAL, "power of two");
	ram_free(&mem);
}

static void test_truncated(void **state)
{
	static struct kernel k;
	struct boot_config config;
	struct boot *boot;
	struct mem mem;

	make_kernel(&k, 0x20f);
	ram_make(&mem, 64 * MIB, 0);
	config = config_of(&k);
	config.builtin_size = FILE_SIZE - 15; /* the last paragraph needn't be whole */
	boot_free(must_prepare(&config, &mem));
	config.builtin_size = FILE_SIZE - 16;
	must_refuse(&config, &mem, -EINVAL, "cut short");
	config.builtin_size = (SETUP_SECTS + 1) * 512;
	must_refuse(&config, &mem, -EINVAL, "cut short");
	for (config.builtin_size = 0; config.builtin_size < 0x300; config.builtin_size++) {
		assert_true(boot_prepare(&boot, &config, &mem, NULL) < 0);
		assert_null(boot);
	}
	/* A signature behind the kernel is not loaded. */
	config.builtin_size = FILE_SIZE + 64;
	boot = must_prepare(&config, &mem);
	must_load(boot);
	assert_int_equal(*(uint8_t *)at(&mem, 0x1000000 + PAYLOAD_SIZE, 1), 0);
	boot_free(boot);
	ram_free(&mem);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_64_bit),		cmocka_unit_test(test_e820),
		cmocka_unit_test(test_reload),		cmocka_unit_test(test_32_bit),
		cmocka_unit_test(test_old_protocols),	cmocka_unit_test(test_command_line),
		cmocka_unit_test(test_initrd_above_4g), cmocka_unit_test(test_initrd_below_kernel),
		cmocka_unit_test(test_place),		cmocka_unit_test(test_truncated),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
