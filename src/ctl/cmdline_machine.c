/*
 * What to boot, processors, memory, the board: options that fill fields of struct vm_config.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "ctl/cmdline.h"

#define MIB (UINT64_C(1) << 20)

int cmdline_kernel(struct cmdline *cl, const char *text, struct err *err)
{
	return cmdline_replace(&cl->vm.kernel, text);
}

int cmdline_initrd(struct cmdline *cl, const char *text, struct err *err)
{
	return cmdline_replace(&cl->vm.initrd, text);
}

int cmdline_append(struct cmdline *cl, const char *text, struct err *err)
{
	return cmdline_replace(&cl->vm.append, text);
}

int cmdline_memory(struct cmdline *cl, const char *text, struct err *err)
{
	struct opt_list list = {0};
	uint64_t slots = 0, size = 0;
	const char *v;
	int rc = cmdline_options(&list, "-m", text, "size", err);

	if (rc < 0)
		return rc;
	v = opt_take(&list, "size");
	if (v && (opt_parse_size(v, MIB, &size) < 0 || size < 2 * MIB || size % 4096))
		rc = err_set(err, -EINVAL,
			     "-m %s: '%s' is not a memory size (MiB, or with a "
			     "suffix: 512, 512M, 5G; at least 2)",
			     text, v);
	v = opt_take(&list, "slots");
	if (rc == 0 && v && (opt_parse_u64(v, &slots) < 0 || slots))
		rc = err_set(err, -EINVAL,
			     "-m %s: vireo has no memory hot plug (leave slots= away)", text);
	if (rc == 0 && (v = opt_take(&list, "maxmem"))) {
		uint64_t max = 0;

		if (opt_parse_size(v, MIB, &max) < 0 || max != size)
			rc = err_set(err, -EINVAL,
				     "-m %s: vireo has no memory hot plug (leave maxmem= away)",
				     text);
	}
	if (rc == 0)
		rc = cmdline_all_taken(&list, err);
	if (rc == 0 && size)
		cl->vm.memory.size = size;
	opt_free(&list);
	return rc;
}

int cmdline_mem_path(struct cmdline *cl, const char *text, struct err *err)
{
	return cmdline_replace((char **)&cl->vm.memory.path, text);
}

int cmdline_mem_prealloc(struct cmdline *cl, const char *text, struct err *err)
{
	cl->vm.memory.prealloc = true;
	return 0;
}

#define CPUS_MAX 4096 /* more than any KVM has: what can be made is found out when it is */

enum smp_key {
	SMP_CPUS,
	SMP_SOCKETS,
	SMP_DIES,
	SMP_CORES,
	SMP_THREADS,
	SMP_MAXCPUS,
	SMP_KEYS
};

/* What isn't given (0) follows: threads 1, one socket, and the rest are cores (as QEMU has it since
 * 6.2). */
static int smp_topology(struct cpu_topology *t, const uint64_t *n, const char *text,
			struct err *err)
{
	uint64_t cpus = n[SMP_CPUS] ? n[SMP_CPUS] : n[SMP_MAXCPUS];
	uint64_t sockets = n[SMP_SOCKETS], cores = n[SMP_CORES];
	uint64_t threads = n[SMP_THREADS] ? n[SMP_THREADS] : 1;

	if (!cpus)
		cpus = (sockets ? sockets : 1) * (cores ? cores : 1) * threads;
	if (!sockets)
		sockets = cores && cpus >= cores * threads ? cpus / (cores * threads) : 1;
	if (!cores)
		cores = cpus >= sockets * threads ? cpus / (sockets * threads) : 1;
	if (cpus > CPUS_MAX)
		return err_set(err, -EINVAL, "-smp %s: %" PRIu64 " CPUs are too many", text, cpus);
	if (n[SMP_DIES] > 1)
		return err_set(err, -EINVAL,
			       "-smp %s: dies=%" PRIu64 ": vireo has one die per socket", text,
			       n[SMP_DIES]);
	if (n[SMP_MAXCPUS] && n[SMP_MAXCPUS] != cpus)
		return err_set(err, -EINVAL,
			       "-smp %s: vireo has no CPU hot plug: maxcpus must be %" PRIu64, text,
			       cpus);
	if (sockets * cores * threads != cpus)
		return err_set(err, -EINVAL,
			       "-smp %s: %" PRIu64 " sockets * %" PRIu64 " cores * %" PRIu64
			       " threads is not %" PRIu64 " CPUs",
			       text, sockets, cores, threads, cpus);
	*t = (struct cpu_topology){
		.cpus = cpus, .sockets = sockets, .cores = cores, .threads = threads};
	return 0;
}

int cmdline_smp(struct cmdline *cl, const char *text, struct err *err)
{
	static const char *const keys[SMP_KEYS] = {"cpus",  "sockets", "dies",
						   "cores", "threads", "maxcpus"};
	uint64_t n[SMP_KEYS] = {0};
	struct opt_list list = {0};
	int rc = cmdline_options(&list, "-smp", text, "cpus", err);

	if (rc < 0)
		return rc;
	for (int i = 0; i < SMP_KEYS && rc == 0; i++) {
		const char *v = opt_take(&list, keys[i]);

		if (v && (opt_parse_u64(v, &n[i]) < 0 || !n[i] || n[i] > CPUS_MAX))
			rc = err_set(err, -EINVAL, "-smp %s: %s=%s: a number from 1 to %d", text,
				     keys[i], v, CPUS_MAX);
	}
	if (rc == 0)
		rc = cmdline_all_taken(&list, err);
	opt_free(&list);
	return rc < 0 ? rc : smp_topology(&cl->vm.topology, n, text, err);
}

int cmdline_cpu(struct cmdline *cl, const char *text, struct err *err)
{
	if (!strcmp(text, "help") || !strcmp(text, "?")) {
		printf("host                 the host's processor, as far as KVM can show it "
		       "(default)\n"
		       "max                  the same\n");
		cl->done = true;
		return 0;
	}
	return cmdline_replace(&cl->vm.cpu_model, text);
}

int cmdline_accel(struct cmdline *cl, const char *text, struct err *err)
{
	struct opt_list list = {0};
	int rc = cmdline_options(&list, "-accel", text, "accel", err);
	const char *v;

	if (rc < 0)
		return rc;
	v = opt_take(&list, "accel");
	/* What stands behind -accel kvm is for hosts without, which vireo hasn't. */
	if (!cl->accel_kvm && (!v || strcmp(v, "kvm")))
		rc = cmdline_refuse(err, "-accel", text, "vireo runs on KVM only (-accel kvm)");
	else if (cl->accel_kvm && v && strcmp(v, "kvm"))
		goto out;
	cl->accel_kvm = true;
	v = opt_take(&list, "kernel-irqchip");
	if (rc == 0 && v && strcmp(v, "on"))
		rc = cmdline_refuse(err, "-accel", text,
				    "the interrupt controller is the kernel's (kernel-irqchip=on)");
	if (rc == 0)
		rc = cmdline_all_taken(&list, err);
out:
	opt_free(&list);
	return rc;
}

/* Options of -machine that ask for what is so anyway; any other value can't be honoured. */
static const struct {
	const char *key, *value;
} machine_facts[] = {
	{"accel", "kvm"},
	{"usb", "off"},
	{"vmport", "off"},
	{"graphics", "off"},
	{"kernel_irqchip", "on"},
	{"kernel-irqchip", "on"},
	{"dump-guest-core", "off"},
	{"mem-merge", "off"},
	{"acpi", "on"},
	{"hpet", "off"},
	{"smm", "off"},
	{"pit", "on"},
	{"nvdimm", "off"},
	{"suppress-vmdesc", "on"},
};

int cmdline_machine(struct cmdline *cl, const char *text, struct err *err)
{
	struct opt_list list = {0};
	int rc = cmdline_options(&list, "-machine", text, "type", err);
	const char *v;

	if (rc < 0)
		return rc;
	v = opt_take(&list, "type");
	if (v && (!strcmp(v, "help") || !strcmp(v, "?"))) {
		printf("pc                   PC: 440FX host bridge, PIIX3 (default)\n");
		cl->done = true;
	} else if (v && strcmp(v, "pc") && strncmp(v, "pc-i440fx-", 10)) {
		rc = cmdline_refuse(err, "-machine", text,
				    "vireo's machine is pc (440FX and PIIX3)");
	}
	for (size_t i = 0; rc == 0 && i < sizeof(machine_facts) / sizeof(machine_facts[0]); i++) {
		v = opt_take(&list, machine_facts[i].key);
		if (v && strcmp(v, machine_facts[i].value) &&
		    !(!strcmp(machine_facts[i].key, "accel") && !strncmp(v, "kvm:", 4)))
			rc = err_set(err, -EINVAL, "-machine %s: vireo's pc has %s=%s", text,
				     machine_facts[i].key, machine_facts[i].value);
	}
	if (rc == 0)
		rc = cmdline_all_taken(&list, err);
	opt_free(&list);
	return rc;
}

int cmdline_name(struct cmdline *cl, const char *text, struct err *err)
{
	struct opt_list list = {0};
	int rc = cmdline_options(&list, "-name", text, "guest", err);
	char *v;

	if (rc < 0)
		return rc;
	v = cmdline_take(&list, "guest");
	if (v) {
		free(cl->vm.name);
		cl->vm.name = v;
	}
	v = cmdline_take(&list, "process");
	if (v) {
		free(cl->process_name);
		cl->process_name = v;
	}
	opt_take(&list, "debug-threads"); /* vireo's threads always have names */
	rc = cmdline_all_taken(&list, err);
	opt_free(&list);
	return rc;
}

int cmdline_uuid(struct cmdline *cl, const char *text, struct err *err)
{
	for (int i = 0; i < 37; i++) {
		bool dash = i == 8 || i == 13 || i == 18 || i == 23;

		if (i == 36 ? text[i] != '\0'
		    : dash  ? text[i] != '-'
			    : !text[i] || !strchr("0123456789abcdefABCDEF", text[i]))
			return cmdline_refuse(err, "-uuid", text,
					      "not a UUID (xxxxxxxx-xxxx-xxxx-xxxx-xxxxxxxxxxxx)");
	}
	return cmdline_replace(&cl->vm.uuid, text);
}

static int rtc_date(struct cmdline *cl, const char *text)
{
	struct tm tm = {0};
	const char *end = strptime(text, "%Y-%m-%dT%H:%M:%S", &tm);

	if (!end || *end) {
		memset(&tm, 0, sizeof(tm));
		end = strptime(text, "%Y-%m-%d", &tm);
	}
	if (!end || *end)
		return -EINVAL;
	cl->vm.rtc_base = RTC_DATE;
	cl->vm.rtc_date = timegm(&tm);
	return 0;
}

int cmdline_rtc(struct cmdline *cl, const char *text, struct err *err)
{
	struct opt_list list = {0};
	int rc = cmdline_options(&list, "-rtc", text, NULL, err);
	const char *v;

	if (rc < 0)
		return rc;
	v = opt_take(&list, "base");
	if (v && !strcmp(v, "utc"))
		cl->vm.rtc_base = RTC_UTC;
	else if (v && !strcmp(v, "localtime"))
		cl->vm.rtc_base = RTC_LOCALTIME;
	else if (v && rtc_date(cl, v) < 0)
		rc = cmdline_refuse(err, "-rtc", text,
				    "base is utc, localtime, 2026-01-31 or 2026-01-31T12:00:00");
	v = opt_take(&list, "clock");
	if (rc == 0 && v && strcmp(v, "host"))
		rc = cmdline_refuse(err, "-rtc", text, "the clock follows the host (clock=host)");
	v = opt_take(&list, "driftfix");
	if (rc == 0 && v && strcmp(v, "none"))
		rc = cmdline_refuse(err, "-rtc", text,
				    "lost ticks are not made up for (driftfix=none)");
	if (rc == 0)
		rc = cmdline_all_taken(&list, err);
	opt_free(&list);
	return rc;
}
