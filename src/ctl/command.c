/*
 * The command table, and the reader of its text form.
 */
#include "ctl/command.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/opt.h"
#include "machine/machine.h"
#include "machine/query.h"

/* ---- commands ---- */

static int run_quit(struct machine *m, json_t *args, json_t **result, struct err *err)
{
	machine_quit(m, 0);
	return 0;
}

static int run_stop(struct machine *m, json_t *args, json_t **result, struct err *err)
{
	machine_stop(m);
	return 0;
}

static int run_cont(struct machine *m, json_t *args, json_t **result, struct err *err)
{
	if (machine_state(m) == MACHINE_SHUTDOWN || machine_state(m) == MACHINE_ERROR)
		return err_set(err, -EINVAL, "the guest is over: system_reset first");
	machine_cont(m);
	return 0;
}

static int run_powerdown(struct machine *m, json_t *args, json_t **result, struct err *err)
{
	machine_powerdown(m);
	return 0;
}

static int run_reset(struct machine *m, json_t *args, json_t **result, struct err *err)
{
	machine_reset(m);
	return 0;
}

static int run_set_link(struct machine *m, json_t *args, json_t **result, struct err *err)
{
	const char *name = json_string_value(json_object_get(args, "name"));
	int rc = machine_set_link(m, name, json_is_true(json_object_get(args, "up")));

	return rc < 0 ? err_set(err, rc, "no NIC and no netdev has the id '%s'", name) : 0;
}

static int run_announce(struct machine *m, json_t *args, json_t **result, struct err *err)
{
	const char *name = json_string_value(json_object_get(args, "name"));
	int rc = machine_announce(m, name);

	if (rc == -ENOENT)
		return err_set(err, rc, "no NIC and no netdev has the id '%s'", name);
	if (!rc)
		return err_set(err, -ENOTSUP,
			       "no driver takes such a request (virtio's do, once they are up)");
	return 0;
}

static int run_status(struct machine *m, json_t *args, json_t **result, struct err *err)
{
	*result = query_status(m);
	return 0;
}

static void print_status(FILE *out, json_t *v)
{
	const char *status = json_string_value(json_object_get(v, "status"));

	if (json_is_true(json_object_get(v, "running")) || !strcmp(status, "paused"))
		fprintf(out, "VM status: %s\n", status);
	else
		fprintf(out, "VM status: paused (%s)\n", status);
}

static int run_name(struct machine *m, json_t *args, json_t **result, struct err *err)
{
	*result = query_name(m);
	return 0;
}

static int run_network(struct machine *m, json_t *args, json_t **result, struct err *err)
{
	*result = query_network(m);
	return 0;
}

static int run_usernet(struct machine *m, json_t *args, json_t **result, struct err *err)
{
	*result = query_usernet(m);
	return 0;
}

static void print_usernet(FILE *out, json_t *list)
{
	json_t *net, *line;
	size_t i, k;

	json_array_foreach(list, i, net) {
		fprintf(out, "%s:\n", json_string_value(json_object_get(net, "id")));
		json_array_foreach(json_object_get(net, "connections"), k, line)
			fprintf(out, "%s\n", json_string_value(line));
	}
}

/* With one argument that is the rule. */
static int forward(struct machine *m, json_t *args, bool add, struct err *err)
{
	const char *first = json_string_value(json_object_get(args, "netdev"));
	const char *rule = json_string_value(json_object_get(args, "rule"));

	return machine_forward(m, rule ? first : NULL, rule ? rule : first, add, err);
}

static int run_forward_add(struct machine *m, json_t *args, json_t **result, struct err *err)
{
	return forward(m, args, true, err);
}

static int run_forward_remove(struct machine *m, json_t *args, json_t **result, struct err *err)
{
	return forward(m, args, false, err);
}

static int run_pci(struct machine *m, json_t *args, json_t **result, struct err *err)
{
	*result = query_pci(m);
	return 0;
}

static long long number(json_t *object, const char *name)
{
	return json_integer_value(json_object_get(object, name));
}

static void print_pci(FILE *out, json_t *list)
{
	json_t *f, *bar;
	size_t i, k;

	json_array_foreach(list, i, f) {
		fprintf(out, "00:%02llx.%llx %04llx: %04llx:%04llx id \"%s\"", number(f, "slot"),
			number(f, "function"), number(f, "class"), number(f, "vendor"),
			number(f, "device"), json_string_value(json_object_get(f, "id")));
		if (number(f, "irq"))
			fprintf(out, " irq %lld", number(f, "irq"));
		fputc('\n', out);
		json_array_foreach(json_object_get(f, "bars"), k, bar) {
			const char *kind = json_string_value(json_object_get(bar, "kind"));

			if (json_object_get(bar, "rom"))
				fprintf(out, "      ROM");
			else
				fprintf(out, "      BAR%lld", number(bar, "bar"));
			if (number(bar, "address"))
				fprintf(out, ": %s at 0x%llx, %lld bytes\n", kind,
					number(bar, "address"), number(bar, "size"));
			else
				fprintf(out, ": %s, not mapped, %lld bytes\n", kind,
					number(bar, "size"));
		}
	}
}

static int run_io(struct machine *m, json_t *args, json_t **result, struct err *err)
{
	*result = query_io(m);
	return 0;
}

static int run_help(struct machine *m, json_t *args, json_t **result, struct err *err);

static const struct command commands[] = {
	{"help", {{0}}, "this list", run_help},
	{"info status", {{0}}, "is the VM running?", run_status, print_status},
	{"info name", {{0}}, "-name and -uuid", run_name},
	{"info network", {{0}}, "NICs and what they are joined to", run_network},
	{"info usernet", {{0}}, "connections of netdevs of type user", run_usernet, print_usernet},
	{"info pci", {{0}}, "PCI functions and where their BARs are", run_pci, print_pci},
	{"info io",
	 {{0}},
	 "every counter: exits, doorbells, interrupts, packets, system calls, drops",
	 run_io},
	{"stop", {{0}}, "make the vCPUs stand still", run_stop},
	{"cont", {{0}}, "let them go on", run_cont},
	{"system_powerdown", {{0}}, "press the power button (ACPI)", run_powerdown},
	{"system_reset", {{0}}, "press the reset button", run_reset},
	{"set_link",
	 {{"name", ARG_STRING}, {"up", ARG_BOOL}},
	 "plug a NIC's cable in (on) or out (off)",
	 run_set_link},
	{"announce_self",
	 {{"name", ARG_STRING, .optional = true}},
	 "have the guest tell the network where its addresses are: of one NIC, or all",
	 run_announce},
	{"hostfwd_add",
	 {{"netdev", ARG_STRING}, {"rule", ARG_STRING, .optional = true}},
	 "lead a port of the host's into the guest; netdev may be left out",
	 run_forward_add},
	{"hostfwd_remove",
	 {{"netdev", ARG_STRING}, {"rule", ARG_STRING, .optional = true}},
	 "no longer: [tcp|udp]:[hostaddr]:hostport; netdev may be left out",
	 run_forward_remove},
	{"quit", {{0}}, "end vireo; the guest is not asked", run_quit},
};
#define N_COMMANDS (sizeof(commands) / sizeof(commands[0]))

static int run_help(struct machine *m, json_t *args, json_t **result, struct err *err)
{
	*result = json_object();
	for (size_t i = 0; i < N_COMMANDS; i++) {
		const struct command *c = &commands[i];
		char usage[128];
		size_t n = snprintf(usage, sizeof(usage), "%s", c->name);

		for (const struct command_arg *a = c->args; a->name && n < sizeof(usage); a++)
			n += snprintf(usage + n, sizeof(usage) - n, " %s%s",
				      a->type == ARG_BOOL ? "on|off" : a->name,
				      a->optional ? "?" : "");
		json_object_set_new(*result, usage, json_string(c->help));
	}
	return 0;
}

/* ---- printing ---- */

static bool is_container(json_t *v)
{
	return json_is_object(v) || json_is_array(v);
}

static void print_scalar(FILE *out, json_t *v)
{
	if (json_is_string(v))
		fprintf(out, "%s", json_string_value(v));
	else if (json_is_boolean(v))
		fprintf(out, "%s", json_is_true(v) ? "on" : "off");
	else if (json_is_integer(v))
		fprintf(out, "%" JSON_INTEGER_FORMAT, json_integer_value(v));
	else if (json_is_real(v))
		fprintf(out, "%g", json_real_value(v));
	else
		fprintf(out, "none");
}

/* Objects go on in the lines below their name, deeper; so do arrays of them, with a line between
 * two. An array of plain values stands on the line of its name. */
static void print_value(FILE *out, json_t *v, int depth)
{
	const char *key;
	json_t *member;
	size_t i;

	json_object_foreach(v, key, member) {
		bool below = is_container(member) &&
			     !(json_is_array(member) && !is_container(json_array_get(member, 0)));

		fprintf(out, "%*s%s:%s", 2 * depth, "", key, below ? "\n" : " ");
		print_value(out, member, depth + 1);
	}
	json_array_foreach(v, i, member) {
		if (is_container(member)) {
			fprintf(out, "%s", i ? "\n" : "");
			print_value(out, member, depth);
		} else {
			fprintf(out, "%s", i ? " " : "");
			print_scalar(out, member);
		}
	}
	if (!is_container(v))
		print_scalar(out, v);
	if (!is_container(v) || (json_is_array(v) && !is_container(json_array_get(v, 0))))
		fputc('\n', out);
}

void command_print_value(FILE *out, json_t *value)
{
	print_value(out, value, 0);
}

/* ---- a line of text ---- */

static bool is_blank(char c)
{
	return c == ' ' || c == '\t';
}

/* The command whose words the line starts with; *rest: what follows. */
static const struct command *find(const char *line, const char **rest)
{
	const struct command *best = NULL;

	for (size_t i = 0; i < N_COMMANDS; i++) {
		const char *l = line, *n = commands[i].name;

		while (*n) {
			if (*n == ' ' && is_blank(*l)) {
				while (is_blank(*l))
					l++;
				n++;
			} else if (*n == *l) {
				n++, l++;
			} else {
				break;
			}
		}
		if (!*n && (!*l || is_blank(*l))) {
			best = &commands[i];
			*rest = l;
		}
	}
	return best;
}

static json_t *parse_arg(const struct command_arg *arg, const char *word)
{
	uint64_t n;
	bool on;

	switch (arg->type) {
	case ARG_BOOL:
		return opt_parse_bool(word, &on) == 0 ? json_boolean(on) : NULL;
	case ARG_INT:
		return opt_parse_u64(word, &n) == 0 ? json_integer(n) : NULL;
	default:
		return json_string(word);
	}
}

static int parse_args(const struct command *c, const char *text, json_t *args, struct err *err)
{
	static const char *const wants[] = {"a name", "on or off", "a number"};
	char *copy = strdup(text), *at = copy, *word;
	const struct command_arg *a = c->args;
	int rc = copy ? 0 : -ENOMEM;

	while (rc == 0 && (word = strsep(&at, " \t"))) {
		json_t *v;

		if (!*word)
			continue;
		if (!a->name) {
			rc = err_set(err, -EINVAL, "%s: '%s' is one argument too many", c->name,
				     word);
			break;
		}
		v = parse_arg(a, word);
		if (!v)
			rc = err_set(err, -EINVAL, "%s: %s: '%s' is not %s", c->name, a->name, word,
				     wants[a->type]);
		else
			json_object_set_new(args, a->name, v);
		a++;
	}
	if (rc == 0 && a->name && !a->optional)
		rc = err_set(err, -EINVAL, "%s: needs %s (%s)", c->name, a->name, wants[a->type]);
	free(copy);
	return rc;
}

void command_run_line(struct machine *machine, const char *line, FILE *out)
{
	json_t *args = json_object(), *result = NULL;
	const struct command *c;
	struct err err = {0};
	const char *rest;
	int rc;

	while (is_blank(*line))
		line++;
	if (!*line)
		goto out;
	c = find(line, &rest);
	if (!c) {
		fprintf(out, "unknown command: '%s' (help lists them)\n", line);
		goto out;
	}
	rc = parse_args(c, rest, args, &err);
	if (rc == 0)
		rc = c->run(machine, args, &result, &err);
	if (rc < 0)
		fprintf(out, "Error: %s\n", err.msg);
	else if (result && c->print)
		c->print(out, result);
	else if (result)
		command_print_value(out, result);
out:
	json_decref(args);
	json_decref(result);
}
