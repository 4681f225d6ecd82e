/*
 * The command line: one table row per option, in the order in which --help shows them.
 *
 * An option that vireo can't honour is refused with a sentence, never ignored. Options that need
 * more than a few lines have files of their own: cmdline_machine.c, cmdline_char.c, cmdline_net.c,
 * cmdline_blk.c; what all of them use to take words apart is in cmdline_words.c.
 */
#include "ctl/cmdline.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "machine/names.h"

struct option {
	const char *name;
	const char *arg;  /* NULL: takes none */
	const char *help; /* NULL: not listed (a synonym, or refused) */
	int (*take)(struct cmdline *cl, const char *text, struct err *err);
};

/* ---- devices, back ends ---- */

/* bus=pci.0: the only one there is. */
static int take_bus(struct opt_list *list, const char *text, struct err *err)
{
	const char *bus = opt_take(list, "bus");

	if (!bus || !strcmp(bus, "pci.0") || !strcmp(bus, "pci"))
		return 0;
	return err_set(err, -EINVAL, "-device %s: bus=%s: vireo's pc has one bus, pci.0", text,
		       bus);
}

static int take_device(struct cmdline *cl, const char *text, struct err *err)
{
	struct opt_list list = {0};
	char *driver = NULL, *id = NULL;
	int rc;

	if (cmdline_asks_help(cl, text, names_list_devices))
		return 0;
	rc = cmdline_options(&list, "-device", text, "driver", err);
	if (rc < 0)
		return rc;
	driver = cmdline_take(&list, "driver");
	id = cmdline_take(&list, "id");
	if (!driver)
		rc = cmdline_refuse(err, "-device", text,
				    "needs driver=NAME (-device help lists them)");
	else if (opt_get(&list, "help") || opt_get(&list, "?")) {
		rc = names_device_help(stdout, driver, err);
		cl->done = true;
	} else {
		rc = take_bus(&list, text, err);
		cmdline_drop_taken(&list);
		if (rc == 0)
			rc = vm_config_add(&cl->vm, CONFIG_DEVICE, driver, id, &list);
	}
	free(driver);
	free(id);
	opt_free(&list);
	return rc;
}

static int take_object(struct cmdline *cl, const char *text, struct err *err)
{
	if (cmdline_asks_help(cl, text, names_list_objects))
		return 0;
	return cmdline_item(cl, CONFIG_OBJECT, "-object", text, "qom-type", "iothread,id=t0", err);
}

static int take_parallel(struct cmdline *cl, const char *text, struct err *err)
{
	return strcmp(text, "none") ? cmdline_refuse(err, "-parallel", text,
						     "vireo has no parallel port (-parallel none)")
				    : 0;
}

static int take_vga(struct cmdline *cl, const char *text, struct err *err)
{
	return strcmp(text, "none") ? cmdline_refuse(err, "-vga", text,
						     "this version has no display (-vga none)")
				    : 0;
}

static int take_display(struct cmdline *cl, const char *text, struct err *err)
{
	if (strcmp(text, "none"))
		return cmdline_refuse(err, "-display", text,
				      "this version has no display (-display none, or -nographic)");
	cl->display_none = true;
	return 0;
}

static int take_nographic(struct cmdline *cl, const char *text, struct err *err)
{
	cl->nographic = true;
	return 0;
}

static int take_nodefaults(struct cmdline *cl, const char *text, struct err *err)
{
	cl->nodefaults = true;
	return 0;
}

/* Options that ask for what is so anyway. */
static int take_fact(struct cmdline *cl, const char *text, struct err *err)
{
	return 0;
}

static int take_no_reboot(struct cmdline *cl, const char *text, struct err *err)
{
	cl->vm.no_reboot = true;
	return 0;
}

static int take_no_shutdown(struct cmdline *cl, const char *text, struct err *err)
{
	cl->vm.no_shutdown = true;
	return 0;
}

static int take_paused(struct cmdline *cl, const char *text, struct err *err)
{
	cl->vm.start_paused = true;
	return 0;
}

static int take_pidfile(struct cmdline *cl, const char *text, struct err *err)
{
	return cmdline_replace(&cl->pidfile, text);
}

static int take_daemonize(struct cmdline *cl, const char *text, struct err *err)
{
	cl->daemonize = true;
	return 0;
}

static int take_ide(struct cmdline *cl, const char *text, struct err *err)
{
	return err_set(err, -EINVAL, "%s: this version has no IDE disks (-drive file=%s,if=virtio)",
		       text, text);
}

static int print_help(struct cmdline *cl, const char *text, struct err *err);
static int print_version(struct cmdline *cl, const char *text, struct err *err);

/* A row with no name is a heading. */
static const struct option options[] = {
	{NULL, NULL, "What to boot"},
	{"kernel", "FILE",
	 "a Linux bzImage or vmlinux, a multiboot kernel, or builtin: for vireo's own guest",
	 cmdline_kernel},
	{"initrd", "FILE", "initial RAM disk", cmdline_initrd},
	{"append", "TEXT", "kernel command line", cmdline_append},
	{NULL, NULL, "Processors and memory"},
	{"m", "SIZE", "memory in MiB, or with a suffix: 1024, 512M, 5G (default: 128)",
	 cmdline_memory},
	{"smp", "N[,sockets=,cores=,threads=]", "processors (default: 1)", cmdline_smp},
	{"cpu", "host|max[,+FEATURE,-FEATURE]",
	 "what the guest sees of the host's processor (default: host)", cmdline_cpu},
	{"mem-path", "PATH", "RAM in this file, or in a file of this folder (hugetlbfs, say)",
	 cmdline_mem_path},
	{"mem-prealloc", NULL, "take all RAM from the host at start", cmdline_mem_prealloc},
	{NULL, NULL, "Network"},
	{"netdev", "TYPE,id=ID[,...]", "a way out of the host (-netdev help)", cmdline_netdev},
	{"device", "MODEL[,netdev=ID][,...]",
	 "a device (-device help; -device MODEL,help); also JSON", take_device},
	{"net", "nic[,model=M][,macaddr=A] | TYPE[,...]",
	 "the older form: a NIC, and what it is joined to", cmdline_net},
	{"nic", "TYPE[,model=M][,mac=A][,...]", "both in one option", cmdline_nic},
	{NULL, NULL, "Disks"},
	{"drive", "file=F[,format=raw][,if=virtio|none][,...]",
	 "an image and, with if=virtio, its disk", cmdline_drive},
	{"blockdev", "driver=raw,node-name=ID,...", "an image; also JSON", cmdline_blockdev},
	{NULL, NULL, "Console, monitor, terminal"},
	{"nographic", NULL,
	 "first serial port and monitor on the terminal; Ctrl-a h helps, Ctrl-a x quits",
	 take_nographic},
	{"serial", "DEV",
	 "serial port on stdio, mon:stdio, pty, file:F, unix:PATH[,server=on,wait=off], null, "
	 "chardev:ID",
	 cmdline_serial},
	{"monitor", "DEV", "monitor on the same kinds of device", cmdline_monitor},
	{"chardev", "TYPE,id=ID[,...]", "a character device for the above", cmdline_chardev},
	{"display", "none", "no display", take_display},
	{"vga", "none", "no display adapter", take_vga},
	{"parallel", "none", "no parallel port", take_parallel},
	{NULL, NULL, "Running"},
	{"S", NULL, "make everything, but don't start (cont in the monitor does)", take_paused},
	{"no-reboot", NULL, "end when the guest reboots", take_no_reboot},
	{"no-shutdown", NULL, "keep vireo when the guest powers off", take_no_shutdown},
	{"daemonize", NULL, "go to the background once the VM is made", take_daemonize},
	{"pidfile", "FILE", "write the process id here", take_pidfile},
	{"name", "NAME[,process=P]", "name of the VM", cmdline_name},
	{"uuid", "UUID", "system UUID, as SMBIOS shows it", cmdline_uuid},
	{"rtc", "base=utc|localtime|DATE", "what the clock shows at start", cmdline_rtc},
	{"object", "TYPE,id=ID[,...]", "iothread[,poll-max-ns=N], rng-random", take_object},
	{NULL, NULL, "The machine"},
	{"machine", "pc[,...]", "the PC: 440FX, PIIX3", cmdline_machine},
	{"M", "pc[,...]", NULL, cmdline_machine},
	{"accel", "kvm", "always KVM", cmdline_accel},
	{"enable-kvm", NULL, "the same", take_fact},
	{"nodefaults", NULL, "nothing that wasn't asked for", take_nodefaults},
	{"no-user-config", NULL, "vireo reads no configuration files", take_fact},
	{"nodefconfig", NULL, NULL, take_fact},
	{"no-hpet", NULL, NULL, take_fact},
	{"hda", "FILE", NULL, take_ide},
	{"hdb", "FILE", NULL, take_ide},
	{"hdc", "FILE", NULL, take_ide},
	{"hdd", "FILE", NULL, take_ide},
	{"cdrom", "FILE", NULL, take_ide},
	{NULL, NULL, "Help"},
	{"help", NULL, "this text", print_help},
	{"h", NULL, NULL, print_help},
	{"version", NULL, "the version", print_version},
};
#define N_OPTIONS (sizeof(options) / sizeof(options[0]))

static int print_help(struct cmdline *cl, const char *text, struct err *err)
{
	printf("vireo: a KVM virtual machine monitor whose point is I/O\n\n"
	       "usage: vireo -kernel FILE [option ...]   run a VM (QEMU's options)\n"
	       "       vireo probe [--json]              what this host's KVM can do\n");
	for (size_t i = 0; i < N_OPTIONS; i++) {
		const struct option *o = &options[i];
		int n;

		if (!o->name) {
			printf("\n%s\n", o->help);
			continue;
		}
		if (!o->help)
			continue;
		n = printf("  -%s%s%s", o->name, o->arg ? " " : "", o->arg ? o->arg : "");
		printf("%s%*s%s\n", n > 33 ? "\n" : "", n > 33 ? 34 : 34 - n, "", o->help);
	}
	printf("\nvireo(1) has the details.\n");
	cl->done = true;
	return 0;
}

static int print_version(struct cmdline *cl, const char *text, struct err *err)
{
	printf("vireo " VIREO_VERSION "\n");
	cl->done = true;
	return 0;
}

/* ---- all together ---- */

static int check(struct cmdline *cl, struct err *err)
{
	int rc = cmdline_net_finish(cl, err);

	if (rc == 0)
		rc = cmdline_char_defaults(cl, err);
	if (rc == 0 && cl->daemonize && cl->nographic)
		rc = err_set(err, -EINVAL,
			     "-daemonize: -nographic needs the terminal (-display none doesn't)");
	if (rc == 0 && cl->daemonize && cl->stdio_user)
		rc = err_set(err, -EINVAL, "-daemonize: %s stdio needs the terminal",
			     cl->stdio_user);
	if (rc == 0 && !cl->vm.kernel)
		rc = err_set(err, -EINVAL,
			     "nothing to boot: -kernel FILE is needed (this version starts "
			     "kernels, not disk images)");
	if (rc == 0 && cl->vm.mux_chardev)
		rc = cmdline_replace(&cl->monitors[cl->n_monitors++], cl->vm.mux_chardev);
	return rc;
}

static const struct option *find_option(const char *word)
{
	const char *name = word + 1 + (word[1] == '-');

	for (size_t i = 0; i < N_OPTIONS; i++)
		if (options[i].name && !strcmp(options[i].name, name))
			return &options[i];
	return NULL;
}

int cmdline_parse(struct cmdline *cl, int argc, char **argv, struct err *err)
{
	int rc = 0;

	memset(cl, 0, sizeof(*cl));
	vm_config_init(&cl->vm);
	TAILQ_INIT(&cl->nets);
	if (argc < 2)
		return print_help(cl, NULL, err);
	for (int i = 1; i < argc && rc == 0 && !cl->done; i++) {
		const struct option *o;

		if (argv[i][0] != '-')
			return err_set(err, -EINVAL,
				       "%s: this version boots kernels (-kernel), not disk images; "
				       "a disk is -drive file=%s,if=virtio",
				       argv[i], argv[i]);
		o = find_option(argv[i]);
		if (!o)
			return err_set(err, -EINVAL, "%s: unknown option (vireo --help lists them)",
				       argv[i]);
		if (o->arg && i + 1 == argc)
			return err_set(err, -EINVAL, "%s: needs an argument: %s", argv[i], o->arg);
		rc = o->take(cl, o->arg ? argv[++i] : argv[i], err);
	}
	if (rc == 0 && !cl->done)
		rc = check(cl, err);
	if (rc == -ENOMEM && !err->code)
		err_set(err, rc, "out of memory");
	return rc;
}

void cmdline_free(struct cmdline *cl)
{
	cmdline_net_free(cl);
	vm_config_free(&cl->vm);
	for (unsigned int i = 0; i < cl->n_monitors; i++)
		free(cl->monitors[i]);
	free(cl->pidfile);
	free(cl->process_name);
}
