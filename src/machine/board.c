/*
 * The PC's board: 440FX, PIIX3, clock, keyboard controller, serial ports (bus/pc.h has the
 * addresses).
 */
#include "machine/board.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>

#include "bus/pc.h"
#include "bus/pci.h"

/* The ISA interrupts that the links A-D are given: level-triggered, and used by nothing else on the
 * board. */
static const uint8_t pirq_irq[4] = {10, 10, 11, 11};

int board_map_ram(struct mem *mem, struct err *err)
{
	uint64_t low = mem->size < PC_RAM_HOLE ? mem->size : PC_RAM_HOLE;
	int rc;

	if (mem->size < 2 << 20)
		return err_set(err, -EINVAL, "-m: at least 2 MiB");
	rc = mem_add_range(mem, 0, PC_LOW_RAM_END, 0);
	if (rc == 0)
		rc = mem_add_range(mem, PC_HIGH_RAM, low - PC_HIGH_RAM, PC_HIGH_RAM);
	if (rc == 0 && mem->size > low)
		rc = mem_add_range(mem, PC_RAM_ABOVE_HOLE, mem->size - low, low);
	return rc < 0 ? err_set(err, rc, "-m: can't lay out %" PRIu64 " MiB", mem->size >> 20) : 0;
}

static void rtc_options(const struct vm_config *config, char *buf, size_t n)
{
	uint64_t low = config->memory.size < PC_RAM_HOLE ? config->memory.size : PC_RAM_HOLE;
	char base[32];

	if (config->rtc_base == RTC_DATE)
		snprintf(base, sizeof(base), "%lld", (long long)config->rtc_date);
	else
		snprintf(base, sizeof(base), "%s",
			 config->rtc_base == RTC_LOCALTIME ? "localtime" : "utc");
	snprintf(buf, n, "base=%s,ram-below-4g=%" PRIu64 ",ram-above-4g=%" PRIu64, base, low,
		 config->memory.size - low);
}

int board_create(const struct vm_config *config,
		 struct device *(*plug)(void *opaque, const char *model, const char *options,
					struct err *err),
		 void *opaque, struct err *err)
{
	static const struct {
		const char *model, *options;
	} parts[] = {
		{"i440FX", "addr=0.0"},	   {"PIIX3", "addr=1.0,multifunction=on"},
		{"piix3-ide", "addr=1.1"}, {"PIIX4_PM", "addr=1.3"},
		{"i8042", NULL},
	};
	char options[128];

	for (size_t i = 0; i < sizeof(parts) / sizeof(parts[0]); i++)
		if (!plug(opaque, parts[i].model, parts[i].options, err))
			return err->code;
	rtc_options(config, options, sizeof(options));
	if (!plug(opaque, "mc146818rtc", options, err))
		return err->code;
	for (int i = 0; i < 4; i++) {
		if (!config->serial[i].chardev)
			continue;
		snprintf(options, sizeof(options), "index=%d,chardev=%s", i,
			 config->serial[i].chardev);
		if (!plug(opaque, "isa-serial", options, err))
			return err->code;
	}
	return 0;
}

int board_set_up_pci(struct platform *platform, struct err *err)
{
	static const struct pci_windows windows = {
		.io_base = PC_PCI_IO_BASE,
		.io_size = PC_PCI_IO_SIZE,
		.mem_base = PC_PCI_MEM_BASE,
		.mem_size = PC_PCI_MEM_SIZE,
	};

	return pci_bus_assign(platform->pci, &windows, pirq_irq, err);
}
