/*
 * The access list of vireo-bridge-helper. Includes go to the rest of the input, cut in two, so that they
 * nest; a deny that stands on a line of its own must win, whatever stands around it.
 */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "bridge_helper/acl.h"

static const char *rest;
static size_t rest_len;

static int include(struct acl *acl, const char *path, unsigned int depth, struct err *err)
{
	const char *text = rest;
	size_t len = rest_len / 2;

	if (depth >= ACL_DEPTH_MAX)
		abort();
	rest += len;
	rest_len -= len;
	return acl_text(acl, text, len, path, depth, err);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static const char deny[] = "\ndeny br0\n";
	struct acl acl = {.bridge = "br0", .include = include};
	struct err err = {0};
	char *text = malloc(size + sizeof(deny)), *copy = malloc(size ? size : 1);

	if (!text || !copy)
		abort();
	memcpy(copy, data, size); /* exactly as long: reading on is seen */
	rest = copy;
	rest_len = size;
	acl_text(&acl, copy, size, "list", 0, &err);

	memcpy(text, deny, sizeof(deny) - 1);
	memcpy(text + sizeof(deny) - 1, data, size);
	rest_len = 0;
	acl = (struct acl){.bridge = "br0", .include = include};
	acl_text(&acl, text, size + sizeof(deny) - 1, "list", 0, &err);
	if (acl_allows(&acl))
		abort();
	free(copy);
	free(text);
	return 0;
}
