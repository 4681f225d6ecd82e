/*
 * `vireo probe`: what this host can do for guests, as one value of names and numbers, and as text.
 * Capabilities: Linux Documentation/virt/kvm/api.rst. How guest code runs is found by running some
 * (probe_guest.c).
 *
 * Control thread, well under a second; leaves nothing behind.
 */
#include "kvm/probe.h"

#include <dirent.h>
#include <errno.h>
#include <linux/io_uring.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/syscall.h>
#include <sys/utsname.h>
#include <unistd.h>

#include "kvm/internal.h"
#include "kvm/probe_guest.h"

/* A line of the report: the key in the value, and what it means to a person. */
struct probe_row {
	const char *key;
	int cap;
	bool number; /* the capability's value counts; else it is there or not */
	const char *text;
};

static const struct probe_row capabilities[] = {
	{"recommended_vcpus", KVM_CAP_NR_VCPUS, true, "vCPUs, recommended at most"},
	{"max_vcpus", KVM_CAP_MAX_VCPUS, true, "vCPUs, at most"},
	{"max_vcpu_id", KVM_CAP_MAX_VCPU_ID, true, "vCPU (APIC) ids, at most"},
	{"memory_slots", KVM_CAP_NR_MEMSLOTS, true, "memory slots"},
	{"sync_mmu", KVM_CAP_SYNC_MMU, false, "guest memory may be swapped and moved by the host"},
	{"readonly_memory", KVM_CAP_READONLY_MEM, false, "read-only memory slots"},
	{"dirty_log_manual", KVM_CAP_MANUAL_DIRTY_LOG_PROTECT2, false, "dirty log, manual protect"},
	{"dirty_ring_bytes", KVM_CAP_DIRTY_LOG_RING, true, "dirty ring, bytes at most"},
	{"irqchip", KVM_CAP_IRQCHIP, false, "interrupt controllers in the kernel"},
	{"split_irqchip", KVM_CAP_SPLIT_IRQCHIP, false, "local APICs alone in the kernel"},
	{"pit", KVM_CAP_PIT2, false, "timer chip (PIT) in the kernel"},
	{"irq_routes", KVM_CAP_IRQ_ROUTING, true, "interrupt routes"},
	{"irqfd", KVM_CAP_IRQFD, false, "irqfd: interrupts from eventfds"},
	{"irqfd_resample", KVM_CAP_IRQFD_RESAMPLE, false,
	 "irqfd with resample, for level interrupts"},
	{"signal_msi", KVM_CAP_SIGNAL_MSI, false, "MSI"},
	{"x2apic_ids", KVM_CAP_X2APIC_API, true, "32-bit APIC ids (flags)"},
	{"ioeventfd", KVM_CAP_IOEVENTFD, false, "ioeventfd: doorbells to eventfds"},
	{"ioeventfd_any_length", KVM_CAP_IOEVENTFD_ANY_LENGTH, false,
	 "ioeventfd of any length, the fast kind"},
	{"coalesced_mmio", KVM_CAP_COALESCED_MMIO, false, "coalesced MMIO"},
	{"coalesced_pio", KVM_CAP_COALESCED_PIO, false, "coalesced port I/O"},
	{"kvmclock", KVM_CAP_ADJUST_CLOCK, false, "kvmclock"},
	{"tsc_deadline_timer", KVM_CAP_TSC_DEADLINE_TIMER, false, "TSC deadline timer"},
	{"tsc_control", KVM_CAP_TSC_CONTROL, false, "TSC frequency of the guest's own"},
	{"nested_state_bytes", KVM_CAP_NESTED_STATE, true, "nested guests' state, bytes"},
	{"xsave_bytes", KVM_CAP_XSAVE2, true, "XSAVE area, bytes"},
	{"immediate_exit", KVM_CAP_IMMEDIATE_EXIT, false, "immediate exit"},
	{"smm", KVM_CAP_X86_SMM, false, "system management mode"},
	{"disable_exits", KVM_CAP_X86_DISABLE_EXITS, true, "exits that can be turned off (flags)"},
};

/* What the report adds to the capabilities: keys that are filled in below. In the order of the
 * text. */
static const struct probe_row others[] = {
	{"kernel", 0, false, "host kernel"},
	{"kvm_api_version", 0, true, "KVM API version"},
	{"guest_tsc_khz", 0, true, "TSC of a guest, kHz"},
	{"cpl0_ns_per_instruction", 0, true, "kernel mode, ns per instruction"},
	{"cpl3_ns_per_instruction", 0, true, "user mode, ns per instruction"},
	{"cpl0_arithmetic", 0, false, "kernel mode: arithmetic"},
	{"cpl0_cmpxchg16b", 0, false, "kernel mode: cmpxchg16b"},
	{"cpl0_sse", 0, false, "kernel mode: SSE"},
	{"cpl0_xgetbv", 0, false, "kernel mode: xgetbv"},
	{"cpl0_hlt", 0, false, "kernel mode: hlt"},
	{"cpl3_arithmetic", 0, false, "user mode: arithmetic"},
	{"real_mode", 0, false, "16-bit real mode"},
	{"iommu_groups", 0, true, "IOMMU groups"},
	{"vfio", 0, false, "device assignment (/dev/vfio/vfio)"},
	{"vhost_net", 0, false, "vhost-net (/dev/vhost-net)"},
	{"tun", 0, false, "TAP (/dev/net/tun)"},
	{"io_uring", 0, false, "io_uring"},
};

static void add_capabilities(json_t *value, int kvm_fd)
{
	json_t *missing = json_array();

	for (size_t i = 0; i < sizeof(capabilities) / sizeof(capabilities[0]); i++) {
		const struct probe_row *row = &capabilities[i];
		int n = ioctl(kvm_fd, KVM_CHECK_EXTENSION, row->cap);

		json_object_set_new(value, row->key,
				    row->number ? json_integer(n < 0 ? 0 : n)
						: json_boolean(n > 0));
	}
	for (const struct kvm_need *need = kvm_needs; need->name; need++)
		if (ioctl(kvm_fd, KVM_CHECK_EXTENSION, need->cap) <= 0)
			json_array_append_new(missing, json_string(need->name));
	json_object_set_new(value, "missing", missing);
}

/* The frequency that a new guest's TSC has; 0 = not told. */
static long guest_tsc_khz(int kvm_fd)
{
	int vm = ioctl(kvm_fd, KVM_CREATE_VM, 0);
	int vcpu = vm < 0 ? -1 : ioctl(vm, KVM_CREATE_VCPU, 0);
	long khz = vcpu < 0 ? 0 : ioctl(vcpu, KVM_GET_TSC_KHZ, 0);

	if (vcpu >= 0)
		close(vcpu);
	if (vm >= 0)
		close(vm);
	return khz < 0 ? 0 : khz;
}

/* "yes", or why not. */
static json_t *device_state(const char *path)
{
	if (!access(path, R_OK | W_OK))
		return json_string("yes");
	return json_string(strerror(errno));
}

static json_t *io_uring_state(void)
{
	struct io_uring_params params;
	int fd;

	memset(&params, 0, sizeof(params));
	fd = syscall(SYS_io_uring_setup, 1, &params);
	if (fd < 0)
		return json_string(strerror(errno));
	close(fd);
	return json_string("yes");
}

static unsigned int count_iommu_groups(void)
{
	DIR *dir = opendir("/sys/kernel/iommu_groups");
	const struct dirent *entry;
	unsigned int n = 0;

	while (dir && (entry = readdir(dir)))
		n += entry->d_name[0] != '.';
	if (dir)
		closedir(dir);
	return n;
}

static void add_host(json_t *value)
{
	json_object_set_new(value, "iommu_groups", json_integer(count_iommu_groups()));
	json_object_set_new(value, "vfio", device_state("/dev/vfio/vfio"));
	json_object_set_new(value, "vhost_net", device_state("/dev/vhost-net"));
	json_object_set_new(value, "tun", device_state("/dev/net/tun"));
	json_object_set_new(value, "io_uring", io_uring_state());
}

static double round_ns(double ns)
{
	return (double)(long)(ns * 100 + 0.5) / 100;
}

static void add_guest(json_t *value, const struct probe_guest *p)
{
	const struct {
		const char *key;
		enum probe_outcome outcome;
	} rows[] = {
		{"cpl0_arithmetic", p->arithmetic},
		{"cpl0_cmpxchg16b", p->cmpxchg16b},
		{"cpl0_sse", p->sse},
		{"cpl0_xgetbv", p->xgetbv},
		{"cpl0_hlt", p->hlt},
		{"cpl3_arithmetic", p->user},
		{"real_mode", p->real_mode},
	};

	json_object_set_new(value, "verdict", json_string(probe_verdict_name(p->verdict)));
	json_object_set_new(value, "cpl0_ns_per_instruction", json_real(round_ns(p->cpl0_ns)));
	json_object_set_new(value, "cpl3_ns_per_instruction", json_real(round_ns(p->cpl3_ns)));
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++)
		json_object_set_new(value, rows[i].key,
				    json_string(probe_outcome_name(rows[i].outcome)));
}

static bool is_yes(const json_t *value, const char *key)
{
	const char *text = json_string_value(json_object_get(value, key));

	return text && !strcmp(text, "yes");
}

static void say(json_t *summary, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
static void say(json_t *summary, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	json_array_append_new(summary, json_vsprintf(fmt, ap));
	va_end(ap);
}

static void add_summary(json_t *value, const struct probe_guest *p)
{
	json_t *summary = json_array();
	const json_t *missing = json_object_get(value, "missing");

	say(summary, "%s.", p->why);
	if (p->verdict == PROBE_EMULATED && p->user == PROBE_RAN)
		say(summary,
		    "user-mode code runs at %s speed (%.2f ns per instruction): vireo's built-in "
		    "guest runs here, a Linux guest needs a host with an ordinary KVM.",
		    p->cpl3_ns < PROBE_EMULATED_NS ? "full" : "low", p->cpl3_ns);
	for (size_t i = 0; i < json_array_size(missing); i++)
		say(summary, "this KVM has no %s, which vireo needs (a newer kernel).",
		    json_string_value(json_array_get(missing, i)));
	if (!is_yes(value, "tun"))
		say(summary, "no TAP: /dev/net/tun: %s.",
		    json_string_value(json_object_get(value, "tun")));
	if (!is_yes(value, "vhost_net"))
		say(summary, "no vhost-net (/dev/vhost-net: %s): vireo itself moves the packets.",
		    json_string_value(json_object_get(value, "vhost_net")));
	if (!is_yes(value, "io_uring"))
		say(summary, "no io_uring (%s): no disks.",
		    json_string_value(json_object_get(value, "io_uring")));
	if (!json_integer_value(json_object_get(value, "iommu_groups")) || !is_yes(value, "vfio"))
		say(summary, "no IOMMU groups or no VFIO: no device can be assigned to a guest.");
	json_object_set_new(value, "summary", summary);
}

json_t *probe_host(struct err *err)
{
	struct probe_guest guest;
	struct utsname uts;
	json_t *value;
	int fd = kvm_open(err);

	if (fd < 0)
		return NULL;
	if (probe_guest_run(&guest, fd, err)) {
		close(fd);
		return NULL;
	}
	value = json_object();
	if (!uname(&uts))
		json_object_set_new(value, "kernel", json_string(uts.release));
	json_object_set_new(value, "kvm_api_version", json_integer(KVM_API_VERSION));
	add_guest(value, &guest);
	add_capabilities(value, fd);
	json_object_set_new(value, "guest_tsc_khz", json_integer(guest_tsc_khz(fd)));
	add_host(value);
	add_summary(value, &guest);
	close(fd);
	return value;
}

int probe_guest_code(enum probe_verdict *verdict, char *why, size_t n, struct err *err)
{
	struct probe_guest guest;
	int fd = kvm_open(err);
	int r;

	if (fd < 0)
		return fd;
	r = probe_guest_run(&guest, fd, err);
	close(fd);
	if (r)
		return r;
	*verdict = guest.verdict;
	snprintf(why, n, "%s", guest.why);
	return 0;
}

static void print_rows(FILE *out, const json_t *value, const struct probe_row *rows, size_t n)
{
	for (size_t i = 0; i < n; i++) {
		const json_t *v = json_object_get(value, rows[i].key);

		fprintf(out, "  %-54s ", rows[i].text);
		if (json_is_integer(v))
			fprintf(out, "%lld\n", (long long)json_integer_value(v));
		else if (json_is_real(v))
			fprintf(out, "%.2f\n", json_real_value(v));
		else if (json_is_string(v))
			fprintf(out, "%s\n", json_string_value(v));
		else
			fprintf(out, "%s\n", json_is_true(v) ? "yes" : "no");
	}
}

void probe_print_text(FILE *out, const json_t *value)
{
	const json_t *summary = json_object_get(value, "summary");

	for (size_t i = 0; i < json_array_size(summary); i++)
		fprintf(out, "%s\n", json_string_value(json_array_get(summary, i)));
	fputc('\n', out);
	print_rows(out, value, others, sizeof(others) / sizeof(others[0]));
	print_rows(out, value, capabilities, sizeof(capabilities) / sizeof(capabilities[0]));
}
