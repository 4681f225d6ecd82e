/*
 * The guest's main program: ring 3, one CPU. Sets up, runs the tests that the command line names,
 * ends.
 */
#include "boot.h"
#include "clock.h"
#include "irq.h"
#include "lib.h"
#include "memory.h"
#include "pci.h"
#include "power.h"
#include "serial.h"
#include "test.h"

#define MAX_TOKENS 128

void guest_main(uint32_t magic, uint32_t info) __attribute__((noreturn));

static char words[sizeof(boot.command_line)]; /* the command line, cut up */
static char *tokens[MAX_TOKENS];
static uint32_t n_tokens;
static uint32_t n_passed, n_failed;

uint64_t test_number(const struct test *test, const struct test_arg *args, const char *name)
{
	const char *s = test_string(test, args, name);
	uint64_t value = 0;

	if (!parse_number(s, strlen(s), &value)) {
		report("error=bad-number test=%s parameter=%s value=%s", test->name, name, s);
		power_end(POWER_EXIT_ERROR);
	}
	return value;
}

const char *test_string(const struct test *test, const struct test_arg *args, const char *name)
{
	for (; args->name; args++)
		if (!strcmp(args->name, name))
			return args->value;
	for (const struct test_param *p = test->params; p->name; p++)
		if (!strcmp(p->name, name))
			return p->value;
	report("error=no-such-parameter test=%s parameter=%s", test->name, name);
	power_end(POWER_EXIT_ERROR);
}

bool test_result(const struct test *test, bool ok)
{
	say("test=%s result=%s", test->name, ok ? "ok" : "fail");
	return ok;
}

bool test_skip(const struct test *test, const char *reason)
{
	report("test=%s result=skip reason=%s", test->name, reason);
	return true;
}

bool test_fail(const struct test *test, const char *reason)
{
	report("test=%s result=fail reason=%s", test->name, reason);
	return false;
}

static void split_command_line(void)
{
	char *p = memcpy(words, boot.command_line, sizeof(words));

	while (*p && n_tokens < MAX_TOKENS) {
		while (*p == ' ')
			*p++ = '\0';
		if (*p)
			tokens[n_tokens++] = p;
		while (*p && *p != ' ')
			p++;
	}
}

static const struct test *find_test(const char *name)
{
	for (uint32_t i = 0; tests[i]; i++)
		if (!strcmp(tests[i]->name, name))
			return tests[i];
	return NULL;
}

/* Cuts "name=value" in two; false if there is no '='. */
static bool split_argument(char *token, struct test_arg *arg)
{
	for (char *p = token; *p; p++) {
		if (*p == '=') {
			*p = '\0';
			*arg = (struct test_arg){token, p + 1};
			return true;
		}
	}
	return false;
}

static void set_end(const char *value)
{
	static const struct {
		const char *name;
		enum power_way way;
	} ways[] = {
		{"auto", POWER_AUTO},	 {"exit", POWER_EXIT},
		{"poweroff", POWER_OFF}, {"reboot", POWER_REBOOT},
		{"halt", POWER_HALT},	 {"triple-fault", POWER_TRIPLE_FAULT},
	};

	for (uint32_t i = 0; i < ARRAY_SIZE(ways); i++) {
		if (!strcmp(ways[i].name, value)) {
			power_choose(ways[i].way, power_chosen_value());
			return;
		}
	}
	report("error=bad-value parameter=end value=%s", value);
	power_end(POWER_EXIT_ERROR);
}

/* The guest's own settings. Returns true if the argument was one. */
static bool set_global(const struct test_arg *arg)
{
	uint64_t value;

	if (!strcmp(arg->name, "end")) {
		set_end(arg->value);
		return true;
	}
	if (!strcmp(arg->name, "exit-code")) {
		if (!parse_number(arg->value, strlen(arg->value), &value))
			return false;
		power_choose(power_chosen_way(), value);
		return true;
	}
	return false;
}

static bool has_parameter(const struct test *test, const char *name)
{
	for (const struct test_param *p = test->params; p && p->name; p++)
		if (!strcmp(p->name, name))
			return true;
	return false;
}

static void complain(const char *what, const char *token)
{
	report("error=%s token=%s", what, token);
	n_failed++;
}

static void run_test(const struct test *test, const struct test_arg *args)
{
	uint64_t mark = memory_mark();

	if (test->run(test, args))
		n_passed++;
	else
		n_failed++;
	pci_quiesce();
	irq_tick(false);
	memory_release(mark);
	irq_free_all();
}

/*
 * Takes the parameters behind tokens[*i], a test's name, and runs it; leaves *i at the next test.
 */
static void run_token(uint32_t *i)
{
	struct test_arg args[TEST_MAX_ARGS + 1];
	const struct test *test = find_test(tokens[*i]);
	uint32_t n = 0;

	if (!test)
		complain("unknown-test", tokens[*i]);
	for (++*i; *i < n_tokens && split_argument(tokens[*i], &args[n]); ++*i) {
		if (set_global(&args[n]) || !test)
			continue;
		if (!has_parameter(test, args[n].name))
			complain("unknown-parameter", args[n].name);
		else if (n < TEST_MAX_ARGS)
			n++;
	}
	args[n] = (struct test_arg){NULL, NULL};
	if (test)
		run_test(test, args);
}

static void run_all(void)
{
	struct test_arg arg;
	uint32_t i = 0;

	/* Multiboot loaders put the kernel's name first. */
	if (n_tokens && !strcmp(boot.protocol, "multiboot") && !find_test(tokens[0]))
		i++;
	for (; i < n_tokens && split_argument(tokens[i], &arg); i++)
		if (!set_global(&arg))
			complain("unknown-parameter", arg.name);
	if (i == n_tokens)
		run_test(find_test("hello"), &(struct test_arg){NULL, NULL});
	while (i < n_tokens)
		run_token(&i);
}

void guest_main(uint32_t magic, uint32_t info)
{
	irq_init();
	serial_init();
	report("alive tsc=%lu", clock_ticks());
	boot_parse(magic, info);
	memory_init();
	clock_init();
	irq_start();
	pci_scan();
	report("ready boot=%s tsc_hz=%lu tsc_source=%s ram_low=%lu ram_high=%lu devices=%u",
	       boot.protocol, clock_hz(), clock_source(), boot_low_ram_end(), boot_high_ram_end(),
	       pci_count());
	split_command_line();
	run_all();
	report("done passed=%u failed=%u", n_passed, n_failed);
	power_end(n_failed ? POWER_EXIT_FAILED : POWER_EXIT_OK);
}
