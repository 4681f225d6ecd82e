/* The RTL8029 under a hostile driver: nic_fuzz.h has the operations. */
#include "nic_fuzz.h"

NIC_FUZZ("ne2k_pci", size % 2 ? "netdev=n0" : "netdev=n0,rx_wait=off")
