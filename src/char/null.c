/*
 * -chardev null: takes all output, has no input.
 */
#include <string.h>

#include "char/driver.h"

static const struct opt_desc null_opts[] = {{NULL, OPT_END}};

static int null_open(struct char_backend *chr, struct err *err)
{
	chr->description = strdup("null");
	chr->connected = true;
	return 0;
}

static void null_close(struct char_backend *chr)
{
}

static ssize_t null_write(struct char_backend *chr, const void *buf, size_t n)
{
	return n;
}

static void null_watch(struct char_backend *chr, bool in, bool out)
{
}

static const struct char_driver null_driver = {
	.name = "null",
	.help = "output is discarded, input never comes",
	.opts = null_opts,
	.size = sizeof(struct char_backend),
	.open = null_open,
	.close = null_close,
	.write = null_write,
	.watch = null_watch,
};

CHAR_DRIVER(null_driver);
