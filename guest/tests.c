/*
 * The table of tests.
 */
#include <stddef.h>

#include "test.h"

extern const struct test test_hello, test_help, test_net_tx, test_net_rx, test_net_rtt,
	test_net_echo, test_net_ip, test_net_mq, test_blk_rw, test_blk_bench, test_rng, test_irq,
	test_exits, test_hostile, test_hostile_nic, test_posted, test_reboot;

const struct test *const tests[] = {
	&test_hello,	&test_help,   &test_net_tx, &test_net_rx,  &test_net_rtt,
	&test_net_echo, &test_net_ip, &test_net_mq, &test_blk_rw,  &test_blk_bench,
	&test_rng,	&test_irq,    &test_exits,  &test_hostile, &test_hostile_nic,
	&test_posted,	&test_reboot, NULL,
};
