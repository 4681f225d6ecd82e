/*
 * hello: what the guest finds itself on: command line, memory map, CPU, PCI functions. help: the
 * tests there are.
 */
#include "boot.h"
#include "gate.h"
#include "lib.h"
#include "pci.h"
#include "serial.h"
#include "test.h"

static void report_cpu(void)
{
	uint32_t regs[4], vendor[4] = {0}, hypervisor[4] = {0}, brand[13] = {0};

	gate_cpuid(0, 0, regs);
	vendor[0] = regs[1];
	vendor[1] = regs[3];
	vendor[2] = regs[2];
	gate_cpuid(0x40000000, 0, regs);
	memcpy(hypervisor, &regs[1], 12);
	gate_cpuid(0x80000000, 0, regs);
	for (uint32_t i = 0; regs[0] >= 0x80000004 && i < 3; i++)
		gate_cpuid(0x80000002 + i, 0, &brand[4 * i]);
	gate_cpuid(1, 0, regs);
	report("cpu vendor=%s signature=0x%x features=0x%x:0x%x hypervisor=%s name=\"%s\"",
	       (char *)vendor, regs[0], regs[3], regs[2], (char *)hypervisor, (char *)brand);
}

static void report_pci(const struct pci_device *dev)
{
	report("pci at=%02x:%02x.%u id=%04x:%04x subsystem=%04x:%04x class=%06x revision=%u pin=%u",
	       dev->bus, dev->slot, dev->function, dev->vendor, dev->device, dev->subsystem_vendor,
	       dev->subsystem, dev->class, dev->revision, dev->interrupt_pin);
	for (uint32_t i = 0; i < PCI_N_BARS; i++) {
		const struct pci_bar *bar = &dev->bars[i];

		if (bar->size)
			report("bar at=%02x:%02x.%u index=%u kind=%s address=0x%lx size=%lu",
			       dev->bus, dev->slot, dev->function, i,
			       bar->is_io      ? "io"
			       : bar->is_64bit ? "memory64"
					       : "memory32",
			       bar->address, bar->size);
	}
}

static bool run(const struct test *test, const struct test_arg *args)
{
	report("command-line %s", boot.command_line);
	for (uint32_t i = 0; i < boot.n_ranges; i++)
		report("memory address=0x%lx size=%lu type=%u", boot.ranges[i].address,
		       boot.ranges[i].size, boot.ranges[i].type);
	report_cpu();
	for (uint32_t i = 0; i < pci_count(); i++)
		report_pci(pci_get(i));
	test_result(test, true);
	report(" ranges=%u pci=%u", boot.n_ranges, pci_count());
	return true;
}

const struct test test_hello = {
	.name = "hello",
	.help = "prints memory map, command line, CPU and PCI functions",
	.run = run,
};

static bool run_help(const struct test *test, const struct test_arg *args)
{
	uint32_t n = 0;

	for (; tests[n]; n++) {
		report("help test=%s: %s", tests[n]->name, tests[n]->help);
		for (const struct test_param *p = tests[n]->params; p && p->name; p++)
			report("help   %s=%s: %s", p->name, p->value, p->help);
	}
	test_result(test, true);
	report(" tests=%u", n);
	return true;
}

const struct test test_help = {
	.name = "help",
	.help = "prints the tests and their parameters with defaults",
	.run = run_help,
};
