/*
 * Ways between a process and a network interface of the host, measured: what is common to them.
 */
#ifndef VIREO_TOOLS_HOST_PATHS_H
#define VIREO_TOOLS_HOST_PATHS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define PATH_BATCH     64
#define PATH_FRAME_MAX 2048 /* bytes */

/* What one run is about, and what came of it. */
struct path_run {
	const char *ifname; /* the interface that the process has */
	const char *peer;   /* veth: its other end, where frames come from */
	size_t size;	    /* bytes of a frame, Ethernet header included, no FCS */
	uint64_t frames;    /* to be moved */
	uint8_t frame[PATH_FRAME_MAX];

	int fd[2];
	void *state;	   /* of the path */
	uint64_t moved;	   /* frames that the host took, or gave */
	uint64_t syscalls; /* that moved something, or tried to */
};

/* One way. open() says what is missing and ends the program when it can't be done. */
struct path {
	const char *name;
	bool in; /* frames come from the interface; else they go out */
	void (*open)(struct path_run *run);
	/* Moves frames until run->moved is at least `until`, or nothing came for a second. */
	void (*move)(struct path_run *run, uint64_t until);
};

extern const struct path path_tap_out, path_tap_napi_out, path_tap_queues_out, path_packet_out,
	path_packet_ring_out, path_xdp_out;
extern const struct path path_tap_in, path_packet_in, path_packet_ring_in, path_xdp_in;

/* Ends the program with a message of what and errno. */
void path_fail(const char *what) __attribute__((noreturn));
/* Waits until fd is readable; false: nothing for a second. */
bool path_wait(struct path_run *run, int fd);
/* An AF_PACKET socket on an interface for the frames' EtherType; qdiscs are passed by. */
int path_packet_socket(const char *ifname);

#define PATH_ETHERTYPE 0x88b5 /* IEEE 802 local experimental: no stack takes it */

#endif
