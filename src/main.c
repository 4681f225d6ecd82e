/*
 * vireo: the program. Everything is in ctl/ (what a person says) and machine/ (what is run).
 */
#include "ctl/ctl.h"

int main(int argc, char **argv)
{
	return ctl_main(argc, argv);
}
