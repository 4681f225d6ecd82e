/*
 * QEMU's command lines as they stand, and the struct vm_config that they mean; and what vireo can't
 * honour, with the words of the refusal. Nothing is opened or run here.
 */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "ctl/cmdline.h"

#define MIB	 (UINT64_C(1) << 20)
#define ARGS_MAX 64
#define RUN	 "-display none -kernel k " /* what every VM needs */

static struct cmdline cl;
static struct err err;

/* Cuts at spaces; '...' keeps its own. */
static int parse(const char *line)
{
	char *argv[ARGS_MAX] = {(char *)"vireo"}, *copy = strdup(line), *at = copy;
	int argc = 1, rc;

	cmdline_free(&cl);
	while (*at) {
		char end = ' ';

		at += strspn(at, " ");
		if (*at == '\'')
			end = *at++;
		if (*at)
			argv[argc++] = at;
		at += strcspn(at, (char[2]){end, '\0'});
		if (*at)
			*at++ = '\0';
		assert_true(argc < ARGS_MAX);
	}
	err = (struct err){0};
	rc = cmdline_parse(&cl, argc, argv, &err);
	free(copy);
	if (rc == 0 && err.msg[0])
		fail_msg("%s: status 0 and '%s'", line, err.msg);
	return rc;
}

static void accept_line(const char *line)
{
	if (parse(line) < 0)
		fail_msg("%s: %s", line, err.msg);
}

/* The line is refused in one sentence that has these words, separated by '|'. */
static void refuse_line(const char *line, const char *words)
{
	char *copy = strdup(words), *rest = copy, *word;

	if (parse(line) == 0)
		fail_msg("%s: accepted", line);
	assert_true(err.code < 0 && !strchr(err.msg, '\n'));
	while ((word = strsep(&rest, "|")))
		if (!strstr(err.msg, word))
			fail_msg("%s: no '%s' in '%s'", line, word, err.msg);
	free(copy);
}

static int setup(void **state)
{
	vm_config_init(&cl.vm);
	TAILQ_INIT(&cl.nets);
	return 0;
}

static int teardown(void **state)
{
	cmdline_free(&cl);
	memset(&cl, 0, sizeof(cl));
	return 0;
}

/* The n-th item of a kind, or NULL. */
static const struct config_item *item(enum config_kind kind, unsigned int n)
{
	const struct config_item *i;

	TAILQ_FOREACH(i, &cl.vm.items, link)
		if (i->kind == kind && n-- == 0)
			return i;
	return NULL;
}

static unsigned int count(enum config_kind kind)
{
	unsigned int n = 0;

	while (item(kind, n))
		n++;
	return n;
}

/* An item of this type and id (NULL: none), with exactly these pairs, in order: "a=1 b=2". */
static void check_item(const struct config_item *i, const char *type, const char *id,
		       const char *pairs)
{
	char text[1024] = "";
	size_t n = 0;

	assert_non_null(i);
	assert_string_equal(i->type, type);
	if (id)
		assert_string_equal(i->id, id);
	else
		assert_null(i->id);
	for (size_t k = 0; k < i->list.n; k++)
		n += snprintf(text + n, sizeof(text) - n, "%s%s=%s", n ? " " : "",
			      i->list.pairs[k].key, i->list.pairs[k].value);
	assert_string_equal(text, pairs);
}

/* ---- what to boot, and the rest that fills fields ---- */

static void test_defaults(void **state)
{
	accept_line("-nodefaults -kernel vmlinuz");
	assert_string_equal(cl.vm.kernel, "vmlinuz");
	assert_null(cl.vm.initrd);
	assert_null(cl.vm.append);
	assert_null(cl.vm.cpu_model);
	assert_null(cl.vm.name);
	assert_int_equal(cl.vm.memory.size, 128 * MIB);
	assert_null(cl.vm.memory.path);
	assert_false(cl.vm.memory.prealloc);
	assert_int_equal(cl.vm.topology.cpus, 1);
	assert_int_equal(cl.vm.rtc_base, RTC_UTC);
	assert_false(cl.vm.no_reboot || cl.vm.no_shutdown || cl.vm.start_paused);
	assert_false(cl.daemonize || cl.done);
	assert_null(TAILQ_FIRST(&cl.vm.items));
	assert_null(cl.vm.serial[0].chardev);
	assert_null(cl.vm.mux_chardev);
	assert_int_equal(cl.n_monitors, 0);
}

static void test_fields(void **state)
{
	accept_line("--kernel vmlinuz -initrd rd.gz -append 'console=ttyS0 quiet' -S -no-reboot "
		    "-no-shutdown -daemonize -pidfile /run/x.pid -mem-path /dev/hugepages "
		    "-mem-prealloc -cpu host,+avx,-x2apic -display none -vga none -parallel none "
		    "-no-user-config -nodefconfig -no-hpet -enable-kvm "
		    "-uuid 01234567-89ab-cdef-0123-456789ABCDEF -name guest=a,process=b,"
		    "debug-threads=on");
	assert_string_equal(cl.vm.kernel, "vmlinuz");
	assert_string_equal(cl.vm.initrd, "rd.gz");
	assert_string_equal(cl.vm.append, "console=ttyS0 quiet");
	assert_true(cl.vm.start_paused && cl.vm.no_reboot && cl.vm.no_shutdown && cl.daemonize);
	assert_string_equal(cl.pidfile, "/run/x.pid");
	assert_string_equal(cl.vm.memory.path, "/dev/hugepages");
	assert_true(cl.vm.memory.prealloc);
	assert_string_equal(cl.vm.cpu_model, "host,+avx,-x2apic");
	assert_string_equal(cl.vm.uuid, "01234567-89ab-cdef-0123-456789ABCDEF");
	assert_string_equal(cl.vm.name, "a");
	assert_string_equal(cl.process_name, "b");
	/* The last of an option wins. */
	accept_line(RUN "-kernel k2 -name x -name y -m 64 -m 65 -cpu host -cpu max");
	assert_string_equal(cl.vm.kernel, "k2");
	assert_string_equal(cl.vm.name, "y");
	assert_int_equal(cl.vm.memory.size, 65 * MIB);
	assert_string_equal(cl.vm.cpu_model, "max");
}

static void test_memory(void **state)
{
	static const struct {
		const char *line;
		uint64_t size;
	} good[] = {
		{"-m 1024", 1024 * MIB},
		{"-m 512M", 512 * MIB},
		{"-m 5G", 5120 * MIB},
		{"-m 4096k", 4 * MIB},
		{"-m 2", 2 * MIB},
		{"-m size=300", 300 * MIB},
		{"-m 64,slots=0,maxmem=64M", 64 * MIB},
		{"-m 1T", MIB * MIB},
	};

	for (size_t i = 0; i < sizeof(good) / sizeof(good[0]); i++) {
		char line[128];

		snprintf(line, sizeof(line), RUN "%s", good[i].line);
		accept_line(line);
		assert_int_equal(cl.vm.memory.size, good[i].size);
	}
	refuse_line(RUN "-m 0", "-m 0|memory size");
	refuse_line(RUN "-m 1", "-m 1|at least 2");
	refuse_line(RUN "-m 4097k", "-m 4097k");
	refuse_line(RUN "-m -1", "-m -1");
	refuse_line(RUN "-m 16777216T", "-m 16777216T");
	refuse_line(RUN "-m 64,slots=1", "slots|hot plug");
	refuse_line(RUN "-m 64,maxmem=128", "maxmem|hot plug");
	refuse_line(RUN "-m 64,share=on", "share");
}

static void test_smp(void **state)
{
	static const struct {
		const char *line;
		unsigned int cpus, sockets, cores, threads;
	} good[] = {
		{"-smp 1", 1, 1, 1, 1},
		{"-smp 4", 4, 1, 4, 1},
		{"-smp cpus=4", 4, 1, 4, 1},
		{"-smp 4,sockets=2", 4, 2, 2, 1},
		{"-smp 4,sockets=2,cores=2,threads=1", 4, 2, 2, 1},
		{"-smp 8,cores=2", 8, 4, 2, 1},
		{"-smp 8,threads=2", 8, 1, 4, 2},
		{"-smp sockets=2,cores=3,threads=2", 12, 2, 3, 2},
		{"-smp 2,maxcpus=2", 2, 1, 2, 1},
		{"-smp maxcpus=4", 4, 1, 4, 1},
		{"-smp 6,dies=1,cores=3", 6, 2, 3, 1},
		{"-smp 4096", 4096, 1, 4096, 1},
	};

	for (size_t i = 0; i < sizeof(good) / sizeof(good[0]); i++) {
		char line[128];

		snprintf(line, sizeof(line), RUN "%s", good[i].line);
		accept_line(line);
		assert_int_equal(cl.vm.topology.cpus, good[i].cpus);
		assert_int_equal(cl.vm.topology.sockets, good[i].sockets);
		assert_int_equal(cl.vm.topology.cores, good[i].cores);
		assert_int_equal(cl.vm.topology.threads, good[i].threads);
	}
	refuse_line(RUN "-smp 0", "-smp 0|1 to 4096");
	refuse_line(RUN "-smp 4097", "-smp 4097");
	refuse_line(RUN "-smp x", "-smp x");
	refuse_line(RUN "-smp 4,cores=3", "-smp 4,cores=3|is not 4 CPUs");
	refuse_line(RUN "-smp 2,cores=4", "1 sockets * 4 cores * 1 threads is not 2 CPUs");
	refuse_line(RUN "-smp 2,threads=4", "is not 2 CPUs");
	refuse_line(RUN "-smp 2,maxcpus=4", "maxcpus|hot plug");
	refuse_line(RUN "-smp 2,dies=2", "dies=2");
	refuse_line(RUN "-smp 2,clusters=2", "clusters");
	/* Products that don't fit in 32 bits. */
	refuse_line(RUN "-smp sockets=4096,cores=4096,threads=256", "4294967296 CPUs");
	refuse_line(RUN "-smp sockets=4096,cores=4096,threads=4096", "too many");
}

static void test_rtc(void **state)
{
	accept_line(RUN "-rtc base=localtime");
	assert_int_equal(cl.vm.rtc_base, RTC_LOCALTIME);
	accept_line(RUN "-rtc base=utc,clock=host,driftfix=none");
	assert_int_equal(cl.vm.rtc_base, RTC_UTC);
	accept_line(RUN "-rtc base=2026-01-31T12:00:01");
	assert_int_equal(cl.vm.rtc_base, RTC_DATE);
	assert_int_equal(cl.vm.rtc_date, 1769860801);
	accept_line(RUN "-rtc base=1999-12-31");
	assert_int_equal(cl.vm.rtc_date, 946598400);
	refuse_line(RUN "-rtc base=tomorrow", "tomorrow|localtime");
	refuse_line(RUN "-rtc base=2026-01-31T12", "2026-01-31T12");
	refuse_line(RUN "-rtc base=2026-01-31x", "2026-01-31x");
	refuse_line(RUN "-rtc clock=vm", "clock=host");
	refuse_line(RUN "-rtc driftfix=slew", "driftfix");
	refuse_line(RUN "-rtc utc", "utc");
}

static void test_machine(void **state)
{
	accept_line(RUN "-M pc");
	accept_line(RUN "-machine pc-i440fx-7.2,accel=kvm,usb=off,vmport=off,dump-guest-core=off,"
			"kernel_irqchip=on,graphics=off");
	accept_line(RUN "-machine type=pc,accel=kvm:tcg");
	accept_line(RUN "-machine accel=kvm -accel kvm,kernel-irqchip=on");
	accept_line(RUN "-accel kvm -accel tcg"); /* the second is for hosts without KVM */
	refuse_line(RUN "-M q35", "-machine q35|pc");
	refuse_line(RUN "-M microvm", "microvm");
	refuse_line(RUN "-machine pc,accel=tcg", "accel=kvm");
	refuse_line(RUN "-machine pc,kernel_irqchip=split", "kernel_irqchip=on");
	refuse_line(RUN "-machine pc,acpi=off", "acpi=on");
	refuse_line(RUN "-machine pc,nonsense=1", "nonsense");
	refuse_line(RUN "-accel tcg", "-accel tcg|KVM");
	refuse_line(RUN "-accel tcg -accel kvm", "-accel tcg");
	refuse_line(RUN "-accel kvm,thread=single", "thread");
	refuse_line(RUN "-accel kvm,kernel-irqchip=off", "kernel-irqchip");
}

static void test_refused_fields(void **state)
{
	refuse_line("-display none", "-kernel");
	refuse_line("-kernel k", "no display|-nographic");
	refuse_line(RUN "-uuid 1234", "-uuid 1234");
	refuse_line(RUN "-uuid 01234567-89ab-cdef-0123-456789abcdef0", "not a UUID");
	refuse_line(RUN "-uuid 01234567-89ab-cdef-0123-456789abcdeg", "not a UUID");
	refuse_line(RUN "-name a,frob=1", "frob");
	refuse_line(RUN "-vga std", "-vga std");
	refuse_line(RUN "-parallel stdio", "-parallel");
	refuse_line(RUN "-display sdl", "-display sdl|none");
	refuse_line(RUN "-hda x.img", "x.img|if=virtio");
	refuse_line(RUN "-cdrom x.iso", "x.iso");
	refuse_line(RUN "x.img", "x.img|-drive");
	refuse_line(RUN "-frob", "-frob|unknown option|--help");
	refuse_line(RUN "-", "unknown option");
	refuse_line(RUN "--", "unknown option");
	refuse_line(RUN "-append", "-append|needs an argument");
	refuse_line("-nographic -daemonize -kernel k", "-daemonize|-nographic");
	refuse_line(RUN "-daemonize -serial stdio", "-daemonize|-serial stdio");
	refuse_line(RUN "-daemonize -monitor stdio", "-daemonize|-monitor stdio");
}

/* ---- network ---- */

static void test_net_pair(void **state)
{
	static const struct {
		const char *nic, *device;
	} models[] = {{"virtio", "virtio-net-pci"}, {"rtl8139", "rtl8139"},   {"e1000", "e1000"},
		      {"pcnet", "pcnet"},	    {"ne2k_pci", "ne2k_pci"}, {"i82551", "i82551"},
		      {"i82557b", "i82557b"},	    {"i82559er", "i82559er"}};

	accept_line(RUN "-net nic,model=virtio,macaddr=00:16:3e:22:22:22 -net tap,ifname=tap0,"
			"script=no");
	check_item(item(CONFIG_DEVICE, 0), "virtio-net-pci", NULL,
		   "mac=00:16:3e:22:22:22 netdev=tap0");
	check_item(item(CONFIG_NETDEV, 0), "tap", "tap0", "ifname=tap0 script=no");
	/* The other way round, and the NIC alone. */
	accept_line(RUN "-net tap,vnet_hdr=off -net nic,addr=0x5");
	check_item(item(CONFIG_DEVICE, 0), "rtl8139", NULL, "addr=0x5 netdev=tap0");
	accept_line(RUN "-net nic");
	check_item(item(CONFIG_DEVICE, 0), "rtl8139", NULL, "");
	for (unsigned int i = 0; i < sizeof(models) / sizeof(models[0]); i++) {
		char line[64];

		snprintf(line, sizeof(line), RUN "-net nic,model=%s", models[i].nic);
		accept_line(line);
		check_item(item(CONFIG_DEVICE, 0), models[i].device, NULL, "");
	}
	accept_line(RUN "-net none");
	assert_int_equal(count(CONFIG_DEVICE), 0);
	/* Two pairs, each on a hub of its own; a NIC that says itself what it is joined to. */
	accept_line(RUN
		    "-net nic,vlan=0 -net nic,vlan=1,model=virtio,vectors=0 -net tap,vlan=1,id=b "
		    "-net tap,vlan=0,name=a -netdev tap,id=c -net nic,netdev=c");
	check_item(item(CONFIG_DEVICE, 0), "rtl8139", NULL, "netdev=a");
	check_item(item(CONFIG_DEVICE, 1), "virtio-net-pci", NULL, "vectors=0 netdev=b");
	check_item(item(CONFIG_DEVICE, 2), "rtl8139", NULL, "netdev=c");
	assert_int_equal(count(CONFIG_NETDEV), 3);
}

static void test_net_refused(void **state)
{
	refuse_line(RUN "-net nic -net nic", "two NICs|hub 0");
	refuse_line(RUN "-net nic -net tap -net tap", "two back ends|hub 0");
	refuse_line(RUN "-net nic,vlan=x", "vlan=x");
	refuse_line(RUN "-net nic,model=frob", "-net nic,model=frob|frob|model=?");
	refuse_line(RUN "-net nic,frob=1", "-net nic,frob=1|unknown option 'frob'");
	refuse_line(RUN "-net vlan=1", "-net vlan=1|type");
	/* A type of any length makes ids that differ. */
	accept_line(RUN "-net tap-of-a-kind-whose-name-is-long,vlan=1 "
			"-net tap-of-a-kind-whose-name-is-long");
	assert_string_not_equal(item(CONFIG_NETDEV, 0)->id, item(CONFIG_NETDEV, 1)->id);
	refuse_line(RUN "-netdev tap", "-netdev tap|id=");
	refuse_line(RUN "-netdev id=x", "type");
	refuse_line(RUN "-nic model=virtio", "type");
	refuse_line(RUN "-nic tap,model=frob", "frob");
}

static void test_nic(void **state)
{
	accept_line(RUN "-nic tap,ifname=t0,script=no,model=virtio,mac=52:54:00:00:00:01,addr=0x7");
	check_item(item(CONFIG_NETDEV, 0), "tap", "nic0", "ifname=t0 script=no");
	check_item(item(CONFIG_DEVICE, 0), "virtio-net-pci", NULL,
		   "mac=52:54:00:00:00:01 addr=0x7 netdev=nic0");
	accept_line(RUN "-nic tap,id=a -nic tap -nic none");
	check_item(item(CONFIG_NETDEV, 0), "tap", "a", "");
	check_item(item(CONFIG_NETDEV, 1), "tap", "nic0", "");
	check_item(item(CONFIG_DEVICE, 1), "e1000", NULL, "netdev=nic0");
	assert_int_equal(count(CONFIG_DEVICE), 2);
}

static void test_netdev(void **state)
{
	accept_line(RUN "-netdev tap,id=n0,ifname=a,,b -device virtio-net-pci,netdev=n0,id=net0,"
			"mac=52:54:00:00:00:01,bus=pci.0,addr=0x3.0x1");
	check_item(item(CONFIG_NETDEV, 0), "tap", "n0", "ifname=a,b");
	check_item(item(CONFIG_DEVICE, 0), "virtio-net-pci", "net0",
		   "netdev=n0 mac=52:54:00:00:00:01 addr=0x3.0x1");
	assert_string_equal(item(CONFIG_NETDEV, 0)->list.text, "-netdev tap,id=n0,ifname=a,,b");
	accept_line(RUN "-netdev {\"type\":\"tap\",\"id\":\"n1\",\"fd\":\"7\",\"vhost\":false}");
	check_item(item(CONFIG_NETDEV, 0), "tap", "n1", "fd=7 vhost=off");
}

/* ---- devices ---- */

static void test_device_json(void **state)
{
	accept_line(RUN "-device {\"driver\":\"virtio-blk-pci\",\"id\":\"d\",\"num-queues\":2,"
			"\"write-cache\":true,\"a\":{\"b\":{\"c\":false}},\"bus\":\"pci.0\"}");
	check_item(item(CONFIG_DEVICE, 0), "virtio-blk-pci", "d",
		   "num-queues=2 write-cache=on a.b.c=off");
	refuse_line(RUN "-device {\"driver\":", "-device|not valid JSON");
	refuse_line(RUN "-device {\"driver\":\"x\",\"y\":[1]}", "-device|strings, numbers");
	refuse_line(RUN "-device {\"driver\":\"x\",\"y\":null}", "-device|strings, numbers");
	refuse_line(RUN "-device {\"driver\":\"x\",\"driver\":\"y\"}", "JSON|duplicate");
	refuse_line(RUN "-device {\"id\":\"x\"}", "driver=NAME");
	refuse_line(RUN "-device {}{}", "JSON");
}

static void test_device(void **state)
{
	accept_line(RUN "-device virtio-rng-pci -device driver=isa-debug-exit,iobase=0xf4,"
			"iosize=4 -device virtio-rng-pci,rng=r0,id=x -object rng-random,"
			"id=r0,filename=/dev/urandom -object iothread,id=t0,poll-max-ns=0");
	check_item(item(CONFIG_DEVICE, 0), "virtio-rng-pci", NULL, "");
	check_item(item(CONFIG_DEVICE, 1), "isa-debug-exit", NULL, "iobase=0xf4 iosize=4");
	check_item(item(CONFIG_DEVICE, 2), "virtio-rng-pci", "x", "rng=r0");
	check_item(item(CONFIG_OBJECT, 0), "rng-random", "r0", "filename=/dev/urandom");
	check_item(item(CONFIG_OBJECT, 1), "iothread", "t0", "poll-max-ns=0");
	refuse_line(RUN "-device id=x", "driver=NAME|-device help");
	refuse_line(RUN "-device virtio-rng-pci,bus=pci.1", "bus=pci.1|pci.0");
	refuse_line(RUN "-object iothread", "id=");
	refuse_line(RUN "-object id=x", "type");
}

/* ---- disks ---- */

static void test_drive(void **state)
{
	accept_line(RUN "-drive file=disk.img,format=raw,if=virtio");
	check_item(item(CONFIG_BLOCKDEV, 0), "drive", "virtio0", "filename=disk.img driver=raw");
	check_item(item(CONFIG_DEVICE, 0), "virtio-blk-pci", NULL, "drive=virtio0");
	accept_line(RUN "-drive if=none,id=d,file=/a,,b,readonly=on,cache=none,aio=native,"
			"discard=unmap,media=disk,snapshot=off,index=0 -device virtio-blk-pci,"
			"drive=d,serial=s");
	check_item(item(CONFIG_BLOCKDEV, 0), "drive", "d",
		   "filename=/a,b read-only=on discard=unmap cache.direct=on cache.no-flush=off");
	check_item(item(CONFIG_DEVICE, 0), "virtio-blk-pci", NULL, "drive=d serial=s");
	accept_line(RUN "-drive if=virtio,file=a,cache=writethrough,serial=x,addr=0x4 "
			"-drive if=virtio,file=b,cache=unsafe");
	check_item(item(CONFIG_DEVICE, 0), "virtio-blk-pci", NULL,
		   "serial=x addr=0x4 write-cache=off drive=virtio0");
	check_item(item(CONFIG_BLOCKDEV, 1), "drive", "virtio1",
		   "filename=b cache.direct=off cache.no-flush=on");
	refuse_line(RUN "-drive file=a", "if=ide|if=virtio");
	refuse_line(RUN "-drive file=a,if=scsi", "if=scsi");
	refuse_line(RUN "-drive if=virtio", "file=");
	refuse_line(RUN "-drive file=a,if=virtio,cache=frob", "cache=frob|writeback");
	refuse_line(RUN "-drive file=a,if=virtio,media=cdrom", "media=disk");
	refuse_line(RUN "-drive file=a,if=virtio,snapshot=on", "snapshot=off");
	refuse_line(RUN "-drive file=a,if=virtio,iops=5", "iops");
}

static void test_blockdev(void **state)
{
	accept_line(RUN "-blockdev driver=raw,node-name=d,file.driver=file,file.filename=x");
	check_item(item(CONFIG_BLOCKDEV, 0), "blockdev", "d",
		   "driver=raw file.driver=file file.filename=x");
	/* A format over a file, as two nodes: one is left. */
	accept_line(RUN "-blockdev {\"driver\":\"file\",\"filename\":\"x\",\"node-name\":\"f\","
			"\"cache\":{\"direct\":true}} -blockdev driver=file,node-name=g,filename=y "
			"-blockdev {\"driver\":\"raw\",\"file\":\"f\",\"node-name\":\"d\","
			"\"read-only\":true}");
	assert_int_equal(count(CONFIG_BLOCKDEV), 2);
	check_item(item(CONFIG_BLOCKDEV, 0), "blockdev", "g", "driver=file filename=y");
	check_item(item(CONFIG_BLOCKDEV, 1), "blockdev", "d",
		   "driver=raw read-only=on file.driver=file file.filename=x file.cache.direct=on");
	refuse_line(RUN "-blockdev driver=raw,node-name=d,file=f", "file=f|node-name");
	refuse_line(RUN "-blockdev driver=raw,node-name=d,file=d", "file=d");
	refuse_line(RUN "-blockdev driver=raw", "node-name=");
	refuse_line(RUN "-blockdev node-name=d", "driver=");
}

/* ---- console and monitor ---- */

static void test_nographic(void **state)
{
	accept_line("-nographic -kernel k");
	check_item(item(CONFIG_CHARDEV, 0), "stdio", "serial0",
		   "backend=stdio signal=off id=serial0");
	assert_string_equal(cl.vm.serial[0].chardev, "serial0");
	assert_string_equal(cl.vm.mux_chardev, "serial0");
	assert_int_equal(cl.n_monitors, 1);
	assert_string_equal(cl.monitors[0], "serial0");
	/* One of the two was put elsewhere: the other has the terminal for itself. */
	accept_line("-nographic -kernel k -serial null");
	assert_null(cl.vm.mux_chardev);
	check_item(item(CONFIG_CHARDEV, 1), "stdio", "monitor0", "backend=stdio id=monitor0");
	assert_string_equal(cl.monitors[0], "monitor0");
	accept_line("-nographic -kernel k -monitor none");
	assert_null(cl.vm.mux_chardev);
	check_item(item(CONFIG_CHARDEV, 0), "stdio", "serial0", "backend=stdio id=serial0");
	assert_int_equal(cl.n_monitors, 0);
	accept_line("-nographic -nodefaults -kernel k");
	assert_int_equal(count(CONFIG_CHARDEV), 0);
	/* Somebody else has it. */
	accept_line("-nographic -kernel k -chardev stdio,id=c");
	assert_int_equal(count(CONFIG_CHARDEV), 2);
	assert_int_equal(cl.n_monitors, 0);
}

static void test_serial(void **state)
{
	accept_line(RUN);
	check_item(item(CONFIG_CHARDEV, 0), "null", "serial0", "backend=null id=serial0");
	accept_line(RUN "-serial none");
	assert_null(cl.vm.serial[0].chardev);
	accept_line(RUN "-serial pty -serial file:/a,b -serial unix:/x,server=on,wait=off "
			"-serial chardev:c -chardev null,id=c");
	check_item(item(CONFIG_CHARDEV, 0), "pty", "serial0", "backend=pty id=serial0");
	check_item(item(CONFIG_CHARDEV, 1), "file", "serial1", "backend=file path=/a,b id=serial1");
	check_item(item(CONFIG_CHARDEV, 2), "socket", "serial2",
		   "path=/x server=on wait=off backend=socket id=serial2");
	assert_string_equal(cl.vm.serial[3].chardev, "c");
	accept_line(RUN "-serial mon:stdio");
	assert_string_equal(cl.vm.mux_chardev, "serial0");
	assert_int_equal(cl.n_monitors, 1);
	refuse_line(RUN "-serial frob", "-serial frob");
	refuse_line(RUN "-serial tcp::4444", "tcp::4444|not supported");
	refuse_line(RUN "-serial null -serial null -serial null -serial null -serial null",
		    "four serial ports");
	refuse_line(RUN "-serial null -serial mon:stdio", "first serial port");
	refuse_line(RUN "-serial stdio -chardev stdio,id=c", "-chardev: stdio is taken by -serial");
}

static void test_monitor(void **state)
{
	accept_line(RUN "-monitor unix:/m,server=on,wait=off -monitor stdio -monitor none "
			"-monitor chardev:c -chardev pty,id=c");
	assert_int_equal(cl.n_monitors, 3);
	assert_string_equal(cl.monitors[2], "c");
	/* Four, and the one that shares the serial port. */
	accept_line(RUN "-monitor null -monitor null -monitor null -monitor null "
			"-serial mon:stdio");
	assert_int_equal(cl.n_monitors, CMDLINE_MONITORS_MAX);
	assert_string_equal(cl.monitors[4], "serial0");
	refuse_line(RUN "-monitor null -monitor null -monitor null -monitor null -monitor null",
		    "at most 4");
	refuse_line(RUN "-monitor mon:stdio", "-serial mon:stdio");
	refuse_line(RUN "-chardev null", "-chardev null|id=");
	refuse_line(RUN "-chardev id=x", "back end");
}

/* ---- help ---- */

/* Runs the line with standard output in a file, whose text is returned. */
static const char *said(const char *line)
{
	static char text[32768];
	FILE *f = tmpfile();
	int old;

	fflush(stdout);
	old = dup(STDOUT_FILENO);
	dup2(fileno(f), STDOUT_FILENO);
	accept_line(line);
	fflush(stdout);
	dup2(old, STDOUT_FILENO);
	close(old);
	rewind(f);
	text[fread(text, 1, sizeof(text) - 1, f)] = '\0';
	fclose(f);
	assert_true(cl.done);
	return text;
}

static void test_help(void **state)
{
	static const char *const lines[] = {
		"-device help",
		"-device ?",
		"-netdev help",
		"-blockdev help",
		"-chardev help",
		"-object help",
		"-machine help",
		"-M ?",
		"-cpu help",
		"-net nic,model=?",
		"-nic tap,model=help",
		"-device virtio-net-pci,help",
		"-version",
		"-h",
		"",
	};

	for (size_t i = 0; i < sizeof(lines) / sizeof(lines[0]); i++)
		assert_true(strlen(said(lines[i])) > 5);
	assert_string_equal(said("-net nic,model=?"),
			    "ne2k_pci,i82551,i82557b,i82559er,rtl8139,e1000,pcnet,virtio\n");
	/* What follows isn't looked at any more. */
	said("-device help -frobnicate");
	refuse_line("-device frob,help", "frob");
}

/* Every option that --help shows is one, and the lines fit a terminal. */
static void test_help_is_true(void **state)
{
	char *text = strdup(said("--help")), *rest = text, *line;
	unsigned int n = 0;

	while ((line = strsep(&rest, "\n"))) {
		char name[32], *argv[] = {(char *)"vireo", name};

		assert_true(strlen(line) <= 130);
		if (sscanf(line, "  %31[-a-zA-Z]", name) != 1 || name[0] != '-')
			continue;
		n++;
		if (!strcmp(name, "-help") || !strcmp(name, "-version"))
			continue;
		cmdline_free(&cl);
		err = (struct err){0};
		if (cmdline_parse(&cl, 2, argv, &err) < 0)
			assert_null(strstr(err.msg, "unknown option"));
	}
	assert_true(n > 30);
	free(text);
}

#define CASE(t) cmocka_unit_test_setup_teardown(t, setup, teardown)

int main(void)
{
	static const struct CMUnitTest tests[] = {
		CASE(test_defaults),
		CASE(test_fields),
		CASE(test_memory),
		CASE(test_smp),
		CASE(test_rtc),
		CASE(test_machine),
		CASE(test_refused_fields),
		CASE(test_net_pair),
		CASE(test_net_refused),
		CASE(test_nic),
		CASE(test_netdev),
		CASE(test_device_json),
		CASE(test_device),
		CASE(test_drive),
		CASE(test_blockdev),
		CASE(test_nographic),
		CASE(test_serial),
		CASE(test_monitor),
		CASE(test_help),
		CASE(test_help_is_true),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
