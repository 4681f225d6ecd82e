/*
 * Am79C970A under a hostile driver: registers in both I/O modes, initialization blocks, rings of
 * any length and place, loopback. nic_fuzz.h has the input's form.
 */
#include "nic_fuzz.h"

NIC_FUZZ("pcnet", "netdev=n0,mac=52:54:00:12:34:56")
