/*
 * Opening /dev/kvm, and the reason in words when that doesn't do. Control thread; keeps nothing.
 */
#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "kvm/internal.h"

const struct kvm_need kvm_needs[] = {
	{KVM_CAP_USER_MEMORY, "KVM_CAP_USER_MEMORY"},
	{KVM_CAP_IRQCHIP, "KVM_CAP_IRQCHIP"},
	{KVM_CAP_IRQ_ROUTING, "KVM_CAP_IRQ_ROUTING"},
	{KVM_CAP_IRQFD, "KVM_CAP_IRQFD"},
	{KVM_CAP_IOEVENTFD, "KVM_CAP_IOEVENTFD"},
	{KVM_CAP_PIT2, "KVM_CAP_PIT2"},
	{KVM_CAP_PIT_STATE2, "KVM_CAP_PIT_STATE2"},
	{KVM_CAP_MP_STATE, "KVM_CAP_MP_STATE"},
	{KVM_CAP_EXT_CPUID, "KVM_CAP_EXT_CPUID"},
	{KVM_CAP_VCPU_EVENTS, "KVM_CAP_VCPU_EVENTS"},
	{KVM_CAP_IMMEDIATE_EXIT, "KVM_CAP_IMMEDIATE_EXIT"},
	{0, NULL},
};

/* What /proc/cpuinfo says about the first processor's flags. */
struct cpu_flags {
	bool vmx, svm, hypervisor;
};

static struct cpu_flags read_cpu_flags(void)
{
	struct cpu_flags flags = {false, false, false};
	FILE *f = fopen("/proc/cpuinfo", "re");
	char line[8192];

	while (f && fgets(line, sizeof(line), f)) {
		char *save, *word;

		if (strncmp(line, "flags", 5))
			continue;
		for (word = strtok_r(line, " \t\n", &save); word;
		     word = strtok_r(NULL, " \t\n", &save)) {
			flags.vmx |= !strcmp(word, "vmx");
			flags.svm |= !strcmp(word, "svm");
			flags.hypervisor |= !strcmp(word, "hypervisor");
		}
		break;
	}
	if (f)
		fclose(f);
	return flags;
}

static int explain_absent(struct err *err)
{
	struct cpu_flags flags = read_cpu_flags();

	if (flags.vmx || flags.svm)
		return err_hint(err,
				"(the processor can do it: modprobe %s, or a kernel with KVM; in a "
				"container, give it the device /dev/kvm)",
				flags.vmx ? "kvm_intel" : "kvm_amd");
	if (flags.hypervisor)
		return err_hint(err, "(this machine is a virtual one, and its host passes no "
				     "virtualization on: ask for nested virtualization there)");
	return err_hint(err,
			"(the processor shows no virtualization, vmx or svm: turn it on in the "
			"firmware's set-up)");
}

static int explain_permission(struct err *err, int code)
{
	char name[64] = "kvm";
	struct group group, *found = NULL;
	struct stat st;
	char buf[1024];

	if (code == -EPERM || geteuid() == 0)
		return err_hint(err, "(a container or sandbox forbids the device: it must be given "
				     "/dev/kvm)");
	if (!stat("/dev/kvm", &st) && st.st_gid && (st.st_mode & S_IRGRP) &&
	    !getgrgid_r(st.st_gid, &group, buf, sizeof(buf), &found) && found)
		snprintf(name, sizeof(name), "%s", found->gr_name);
	return err_hint(err, "(join the group that may: usermod -aG %s USER, and log in again)",
			name);
}

int kvm_open(struct err *err)
{
	int fd = open("/dev/kvm", O_RDWR | O_CLOEXEC);
	int version;

	if (fd < 0) {
		int code = -errno;

		err_set(err, code, "/dev/kvm: %s", strerror(-code));
		if (code == -ENOENT || code == -ENODEV || code == -ENXIO)
			explain_absent(err);
		else if (code == -EACCES || code == -EPERM)
			explain_permission(err, code);
		return code;
	}
	version = ioctl(fd, KVM_GET_API_VERSION, 0);
	if (version != KVM_API_VERSION) {
		close(fd);
		return err_set(err, -ENOTSUP,
			       "/dev/kvm: its API version is %d, and only %d is in use since Linux "
			       "2.6.22 (another kernel)",
			       version, KVM_API_VERSION);
	}
	return fd;
}
