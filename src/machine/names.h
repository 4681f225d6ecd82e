/*
 * Names that can be given on a command line, for help and for the older forms of options.
 */
#ifndef VIREO_MACHINE_NAMES_H
#define VIREO_MACHINE_NAMES_H

#include <stdio.h>

#include "base/err.h"

void names_list_devices(FILE *out);
/* The options of a model. 0, or -ENOENT with err set. */
int names_device_help(FILE *out, const char *model, struct err *err);
/* "e1000,rtl8139,virtio": what -net nic,model= takes. */
void names_list_nics(FILE *out);
/* The device model for -net nic,model=NAME (or for -device's name of it); NULL = none. */
const char *names_nic_model(const char *name);
void names_list_netdevs(FILE *out);
void names_list_blockdevs(FILE *out);
void names_list_chardevs(FILE *out);
void names_list_objects(FILE *out);

#endif
