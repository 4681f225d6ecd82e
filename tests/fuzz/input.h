/*
 * What a harness that plays a sequence of operations reads them from: the fuzzer's bytes, zeros
 * after their end.
 */
#ifndef VIREO_TESTS_FUZZ_INPUT_H
#define VIREO_TESTS_FUZZ_INPUT_H

#include <stddef.h>
#include <stdint.h>

struct input {
	const uint8_t *p;
	size_t n;
};

/* A little-endian number of `size` bytes. */
static inline uint64_t input_take(struct input *in, unsigned int size)
{
	uint64_t v = 0;

	for (unsigned int i = 0; i < size && in->n; i++, in->p++, in->n--)
		v |= (uint64_t)*in->p << 8 * i;
	return v;
}

#endif
