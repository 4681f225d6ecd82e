/*
 * Making and ending devices, the registry, and the simplest device there is.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "fake_platform.h"

static struct fake_platform fp;

struct toy {
	struct device dev;
	uint32_t size;
	char *name;
};

static char trace[64];
static bool fail;

static void note(const char *word)
{
	strcat(trace, word);
}

static int toy_realize(struct device *dev, struct err *err)
{
	note("realize ");
	return fail ? err_set(err, -EIO, "toy: broken") : 0;
}

static void toy_reset(struct device *dev)
{
	assert_int_equal(pthread_mutex_trylock(&dev->lock), EBUSY);
	note("reset ");
}

static void toy_unrealize(struct device *dev)
{
	note("unrealize ");
}

static const struct opt_desc toy_opts[] = {
	{.name = "size", .type = OPT_U32, .offset = offsetof(struct toy, size), .def = "7"},
	{.name = "name", .type = OPT_STRING, .offset = offsetof(struct toy, name)},
	{.type = OPT_END},
};

static const char *const toy_alias[] = {"plaything", NULL};
static const struct device_model toy_model = {
	.name = "toy",
	.alias = toy_alias,
	.help = "a toy",
	.size = sizeof(struct toy),
	.opts = {{toy_opts, 0}},
	.realize = toy_realize,
	.reset = toy_reset,
	.unrealize = toy_unrealize,
};

DEVICE_MODEL(toy_model);

static int setup(void **state)
{
	trace[0] = '\0';
	fail = false;
	fp_init(&fp);
	return 0;
}

static int teardown(void **state)
{
	fp_destroy(&fp);
	return 0;
}

static void test_life(void **state)
{
	struct err err = {0};
	struct device *dev = fp_device(&fp, "plaything", "t0", "name=x", &err);
	struct toy *t = (struct toy *)dev;

	assert_non_null(dev);
	assert_int_equal((uintptr_t)dev % 64, 0);
	assert_string_equal(dev->id, "t0");
	assert_string_equal(t->name, "x");
	assert_int_equal(t->size, 7);
	device_reset(dev);
	device_destroy(dev);
	device_destroy(NULL);
	assert_string_equal(trace, "realize reset reset unrealize ");
	dev = device_create(&fp.p, &toy_model, "t1", NULL, &err);
	assert_non_null(dev);
	device_destroy(dev);
}

static void test_refusals(void **state)
{
	struct err err = {0};

	assert_null(fp_device(&fp, "toy", "t", "size=x", &err));
	assert_null(fp_device(&fp, "toy", "t", "name=a,sice=1", &err));
	assert_non_null(strstr(err.msg, "size"));
	assert_string_equal(trace, "");
	fail = true;
	assert_null(fp_device(&fp, "toy", "t", "name=a", &err));
	assert_string_equal(err.msg, "toy: broken");
	assert_string_equal(trace, "realize ");
}

static bool in_order(const struct device_model *model, void *opaque)
{
	const char **last = opaque;

	assert_true(!*last || strcmp(*last, model->name) < 0);
	*last = model->name;
	return strcmp(model->name, "toy") != 0;
}

static void test_registry(void **state)
{
	const char *last = NULL;

	assert_ptr_equal(device_model_find("toy"), &toy_model);
	assert_ptr_equal(device_model_find("plaything"), &toy_model);
	assert_null(device_model_find("toys"));
	assert_non_null(device_model_find("isa-serial"));
	device_model_each(in_order, &last);
	assert_string_equal(last, "toy");
}

static void test_help(void **state)
{
	char *text = NULL;
	size_t n = 0;
	FILE *f = open_memstream(&text, &n);

	device_help(f, device_model_find("isa-debug-exit"));
	fclose(f);
	assert_non_null(strstr(text, "iobase="));
	assert_non_null(strstr(text, "0x501"));
	free(text);
}

static void test_debug_exit(void **state)
{
	struct err err = {0};
	struct device *dev = fp_device(&fp, "isa-debug-exit", "x", "iobase=0xf4,iosize=4", &err);

	assert_non_null(dev);
	fp_out(&fp, 0xf4, 1, 0x10);
	assert_int_equal(fp.n_events, 1);
	assert_int_equal(fp.event[0], PLATFORM_EXIT);
	assert_int_equal(fp.event_value[0], 0x21);
	assert_int_equal(fp_in(&fp, 0xf4, 4), 0);
	device_destroy(dev);
	fp_out(&fp, 0xf4, 1, 0);
	assert_int_equal(fp.n_events, 1);
	assert_null(fp_device(&fp, "isa-debug-exit", "x", "iobase=0xffff", &err));
	assert_non_null(strstr(err.msg, "iobase=0xffff"));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_life, setup, teardown),
		cmocka_unit_test_setup_teardown(test_refusals, setup, teardown),
		cmocka_unit_test_setup_teardown(test_registry, setup, teardown),
		cmocka_unit_test_setup_teardown(test_help, setup, teardown),
		cmocka_unit_test_setup_teardown(test_debug_exit, setup, teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
