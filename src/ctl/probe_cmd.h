/*
 * `vireo probe`.
 */
#ifndef VIREO_CTL_PROBE_CMD_H
#define VIREO_CTL_PROBE_CMD_H

/* argv[0] is "probe"; prints what this host's KVM can do, as text or with --json. 0, or 1 where
 * there is no usable KVM. */
int probe_main(int argc, char **argv);

#endif
