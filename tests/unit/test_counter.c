/* Counters: base/counter.h. */
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/counter.h"

#define ROUNDS 20000

struct owner {
	struct counter packets, shared;
};

static const struct counter_desc table[] = {
	{"packets", offsetof(struct owner, packets), "frames"},
	{"shared", offsetof(struct owner, shared), "what two threads count"},
	{NULL},
};

static void *add(void *arg)
{
	struct owner *o = arg;

	for (int i = 0; i < ROUNDS; i++)
		counter_add_shared(&o->shared, 1);
	return NULL;
}

static void test_add(void **state)
{
	struct owner o = {0};
	pthread_t thread;

	pthread_create(&thread, NULL, add, &o);
	for (int i = 0; i < ROUNDS; i++) {
		counter_add(&o.packets, 2);
		counter_add_shared(&o.shared, 1);
	}
	pthread_join(thread, NULL);
	assert_int_equal(counter_get(&o.packets), 2 * ROUNDS);
	assert_int_equal(counter_get(&o.shared), 2 * ROUNDS);
}

static void test_table(void **state)
{
	struct owner o = {.packets = {3}, .shared = {4}};
	uint64_t sum = 0;
	int n = 0;

	for (const struct counter_desc *d = table; d->name; d++, n++)
		sum += counter_get((const void *)((const char *)&o + d->offset));
	assert_int_equal(n, 2);
	assert_int_equal(sum, 7);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_add),
		cmocka_unit_test(test_table),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
