/*
 * The RTL8139C+ under a hostile driver, in both of its modes: nic_fuzz.h has the input's format.
 */
#include "nic_fuzz.h"

NIC_FUZZ("rtl8139", "netdev=n0")
