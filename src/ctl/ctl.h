/*
 * What a person says: the command line, and from there everything else.
 */
#ifndef VIREO_CTL_CTL_H
#define VIREO_CTL_CTL_H

/* The whole program. Returns the exit status: 0 after the guest's power-off or quit, 1 on errors
 * (one line was said on standard error), isa-debug-exit's status where the guest used it. */
int ctl_main(int argc, char **argv);

#endif
