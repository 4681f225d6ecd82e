/*
 * See stats.h. Heapsort: in place, and no worst case.
 */
#include "stats.h"

#include "serial.h"

static void sift(uint32_t *v, uint32_t root, uint32_t n)
{
	uint32_t value = v[root], child;

	while ((child = 2 * root + 1) < n) {
		if (child + 1 < n && v[child + 1] > v[child])
			child++;
		if (v[child] <= value)
			break;
		v[root] = v[child];
		root = child;
	}
	v[root] = value;
}

void stats_sort(uint32_t *values, uint32_t n)
{
	for (uint32_t i = n / 2; i-- > 0;)
		sift(values, i, n);
	while (n > 1) {
		uint32_t last = values[--n];

		values[n] = values[0];
		values[0] = last;
		sift(values, 0, n);
	}
}

uint32_t stats_at(const uint32_t *values, uint32_t n, uint32_t permille)
{
	return values[(uint64_t)(n - 1) * permille / 1000];
}

void stats_say(uint32_t *values, uint32_t n)
{
	if (!n)
		return;
	stats_sort(values, n);
	say(" min_ns=%u median_ns=%u p99_ns=%u max_ns=%u", values[0], stats_at(values, n, 500),
	    stats_at(values, n, 990), values[n - 1]);
}
