/*
 * The Intel 8255x under a hostile driver. The first byte says which of the three; then as
 * nic_fuzz.h has it.
 */
#include "nic_fuzz.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static const char *const models[] = {"i82551", "i82557b", "i82559er"};

	if (!size)
		return 0;
	return nic_fuzz_one(models[data[0] % 3], "netdev=n0", data + 1, size - 1);
}
