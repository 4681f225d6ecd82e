/* The registry of network back ends, and what net_create(NULL, ) makes of options. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "net/net.h"

/* A back end that exists for these tests only. */
struct cable {
	struct net_backend net;
	struct net_queue queue[2];
	uint32_t length;
	bool broken;
};

static int cables_open;

static const struct opt_desc cable_opts[] = {
	{.name = "length", .type = OPT_U32, .offset = offsetof(struct cable, length), .def = "3"},
	{.name = "broken", .type = OPT_BOOL, .offset = offsetof(struct cable, broken)},
	{.name = NULL, .type = OPT_END},
};

static int cable_open(struct net_backend *net, struct err *err)
{
	struct cable *cable = (struct cable *)net;

	if (cable->broken)
		return err_set(err, -EIO, "the cable is broken (buy a new one)");
	net->n_queues = 2;
	net->queue[0] = &cable->queue[0];
	net->queue[1] = &cable->queue[1];
	cables_open++;
	return 0;
}

static void cable_close(struct net_backend *net)
{
	cables_open--;
}

static const struct net_backend_ops cable_ops = {
	.name = "cable",
	.help = "a cable",
	.opts = cable_opts,
	.size = sizeof(struct cable),
	.open = cable_open,
	.close = cable_close,
};
NET_BACKEND(cable_ops);

static struct net_backend *create(const char *text, struct err *err)
{
	struct opt_list list;
	struct net_backend *net;
	char *type;

	memset(err, 0, sizeof(*err));
	assert_int_equal(opt_parse(&list, "-netdev", text, "type", err), 0);
	type = strdup(opt_take(&list, "type"));
	opt_take(&list, "id");
	net = net_create(NULL, type, "n0", &list, err);
	free(type);
	opt_free(&list);
	return net;
}

static void test_create(void **state)
{
	struct err err;
	struct net_backend *net = create("cable,id=n0,length=7", &err);

	assert_non_null(net);
	assert_string_equal(net->id, "n0");
	assert_int_equal(((struct cable *)net)->length, 7);
	assert_int_equal(cables_open, 1);
	assert_false(net_link_is_down(net));
	net_set_link(net, false);
	assert_true(net_link_is_down(net));
	net_destroy(net);
	assert_int_equal(cables_open, 0);
	net_destroy(NULL);
}

static void test_errors(void **state)
{
	struct err err;

	assert_null(create("rope,id=n0", &err));
	assert_int_equal(err.code, -EINVAL);
	assert_non_null(strstr(err.msg, "-netdev rope"));
	assert_non_null(strstr(err.msg, "cable"));
	assert_non_null(strstr(err.msg, "tap"));

	assert_null(create("cable,id=n0,broken=on", &err));
	assert_int_equal(err.code, -EIO);
	assert_non_null(strstr(err.msg, "-netdev cable"));
	assert_non_null(strstr(err.msg, "buy a new one"));

	assert_null(create("cable,id=n0,colour=red", &err));
	assert_int_equal(err.code, -EINVAL);
	assert_non_null(strstr(err.msg, "colour"));

	assert_null(create("cable,id=n0,length=long", &err));
	assert_non_null(strstr(err.msg, "length"));
	assert_int_equal(cables_open, 0);
}

static void count_visit(void *opaque, const char *owner, const char *part,
			const struct counter_desc *table, const void *base)
{
	unsigned int *n = opaque;

	assert_string_equal(owner, "n0");
	assert_string_equal(part, *n ? "queue 1" : "queue 0");
	assert_ptr_equal(table, net_counter_table);
	(*n)++;
}

static void test_visits(void **state)
{
	struct err err;
	struct net_backend *net = create("cable,id=n0", &err);
	json_t *object = json_object();
	unsigned int n = 0;

	net_counters_each(net, count_visit, &n);
	assert_int_equal(n, 2);
	net_info(net, object);
	assert_string_equal(json_string_value(json_object_get(object, "type")), "cable");
	assert_true(json_is_true(json_object_get(object, "link")));
	json_decref(object);
	net_destroy(net);
}

/* Every counter of struct net_counters has its row. */
static void test_counter_table(void **state)
{
	unsigned int rows = 0;

	while (net_counter_table[rows].name)
		rows++;
	assert_int_equal(rows, sizeof(struct net_counters) / sizeof(struct counter));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_create),
		cmocka_unit_test(test_errors),
		cmocka_unit_test(test_visits),
		cmocka_unit_test(test_counter_table),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
