/*
 * The 82540EM under a hostile driver: registers, rings and descriptors, frames from outside.
 */
#include "nic_fuzz.h"

NIC_FUZZ("e1000", "mac=52:54:00:aa:bb:cc,netdev=n0")
