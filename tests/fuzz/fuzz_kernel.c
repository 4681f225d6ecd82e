/*
 * Kernel loaders (boot/): any bytes as a kernel, for a guest of 16 MiB and 1 MiB above 4 GiB.
 *
 * Input: one byte of options, then the kernel. Bit 0: with an initial RAM disk of two pages; bit 1:
 * with a long command line; bit 2: 64 processors. Each range of RAM is an allocation of its own, so
 * that the sanitizer sees what leaves it. What is accepted must load twice, and start in RAM.
 */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "boot/boot.h"
#include "bus/pc.h"

#define OPTION_INITRD  1
#define OPTION_CMDLINE 2
#define OPTION_CPUS    4

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static struct mem ram;
static char initrd_path[64];

static void add_range(uint64_t gpa, uint64_t size)
{
	struct mem_range *r = &ram.range[ram.n_ranges++];

	*r = (struct mem_range){.gpa = gpa, .size = size, .hva = aligned_alloc(4096, size)};
	if (!r->hva)
		abort();
	memset(r->hva, 0, size);
	ram.size += size;
}

static void set_up(void)
{
	int fd = memfd_create("initrd", 0);

	if (fd < 0 || ftruncate(fd, 8192) < 0)
		abort();
	snprintf(initrd_path, sizeof(initrd_path), "/proc/self/fd/%d", fd);
	ram.fd = -1;
	add_range(0, PC_LOW_RAM_END);
	add_range(PC_HIGH_RAM, (16 << 20) - PC_HIGH_RAM);
	add_range(PC_RAM_ABOVE_HOLE, 1 << 20);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static char line[3000];
	struct vcpu_entry first, second;
	struct boot_config config = {.kernel = BOOT_BUILTIN, .cpus = 1};
	struct boot *boot;
	struct err err;

	if (ram.n_ranges == 0) {
		set_up();
		memset(line, 'x', sizeof(line) - 1);
	}
	if (size == 0)
		return 0;
	config.builtin = data + 1;
	config.builtin_size = size - 1;
	if (data[0] & OPTION_INITRD)
		config.initrd = initrd_path;
	if (data[0] & OPTION_CMDLINE)
		config.cmdline = line;
	if (data[0] & OPTION_CPUS)
		config.cpus = 64;
	if (boot_prepare(&boot, &config, &ram, &err) < 0)
		return 0;
	if (boot_load(boot, &first, &err) < 0 || boot_load(boot, &second, &err) < 0 ||
	    first.rip != second.rip || first.mode != second.mode || !mem_ptr(&ram, first.rip, 1))
		abort();
	boot_free(boot);
	return 0;
}
