/*
 * `vireo probe`: what this host's KVM can do.
 */
#include "ctl/probe_cmd.h"

#include <stdbool.h>
#include <stdio.h>
#include <string.h>

#include "base/log.h"
#include "kvm/probe.h"

int probe_main(int argc, char **argv)
{
	struct err err = {0};
	bool json = false;
	json_t *v;

	for (int i = 1; i < argc; i++) {
		if (!strcmp(argv[i], "--json")) {
			json = true;
		} else if (!strcmp(argv[i], "--help") || !strcmp(argv[i], "-h")) {
			printf("usage: vireo probe [--json]\n");
			return 0;
		} else {
			log_warn("probe: unknown option '%s' (vireo probe [--json])", argv[i]);
			return 1;
		}
	}
	v = probe_host(&err);
	if (!v) {
		log_warn("%s", err.msg);
		return 1;
	}
	if (json) {
		json_dumpf(v, stdout, JSON_INDENT(2));
		putchar('\n');
	} else {
		probe_print_text(stdout, v);
	}
	json_decref(v);
	return 0;
}
