/*
 * Ways through AF_XDP sockets (Documentation/networking/af_xdp.rst): four rings shared with the kernel
 * and an area of frames. The XDP program that leads an interface's frames to the socket is a call of
 * one helper, so it is written here as instructions.
 */
#include <errno.h>
#include <linux/bpf.h>
#include <linux/if_link.h>
#include <linux/if_xdp.h>
#include <linux/netlink.h>
#include <linux/rtnetlink.h>
#include <net/if.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "host_paths.h"

#define RING	   1024
#define AREA	   (2 * RING) /* frames of the area: half to receive into */
#define AREA_BYTES ((size_t)AREA * PATH_FRAME_MAX)

struct xdp_ring {
	uint32_t *producer, *consumer, *flags;
	void *entries;
	uint32_t at; /* ours: next entry to write, or to read */
};

struct xdp {
	uint8_t *area;
	struct xdp_ring fill, completion, rx, tx;
	uint32_t in_flight; /* frames given to tx that didn't come back */
};

static void ring_map(int fd, struct xdp_ring *ring, uint64_t page, size_t entry,
		     const struct xdp_ring_offset *at)
{
	uint8_t *map = mmap(NULL, at->desc + RING * entry, PROT_READ | PROT_WRITE,
			    MAP_SHARED | MAP_POPULATE, fd, (off_t)page);

	if (map == MAP_FAILED)
		path_fail("an AF_XDP ring");
	ring->producer = (uint32_t *)(map + at->producer);
	ring->consumer = (uint32_t *)(map + at->consumer);
	ring->flags = (uint32_t *)(map + at->flags);
	ring->entries = map + at->desc;
}

static void set_ring(int fd, int which)
{
	int n = RING;

	if (setsockopt(fd, SOL_XDP, which, &n, sizeof(n)))
		path_fail("an AF_XDP ring");
}

static int bpf(enum bpf_cmd cmd, union bpf_attr *attr)
{
	return (int)syscall(SYS_bpf, cmd, attr, sizeof(*attr));
}

/* bpf_redirect_map(map, 0, XDP_PASS) */
static int load_program(int map)
{
	const struct bpf_insn code[] = {
		{.code = BPF_LD | BPF_DW | BPF_IMM,
		 .dst_reg = 1,
		 .src_reg = BPF_PSEUDO_MAP_FD,
		 .imm = map},
		{0},
		{.code = BPF_ALU64 | BPF_MOV | BPF_K, .dst_reg = 2, .imm = 0},
		{.code = BPF_ALU64 | BPF_MOV | BPF_K, .dst_reg = 3, .imm = XDP_PASS},
		{.code = BPF_JMP | BPF_CALL, .imm = BPF_FUNC_redirect_map},
		{.code = BPF_JMP | BPF_EXIT},
	};
	union bpf_attr attr = {
		.prog_type = BPF_PROG_TYPE_XDP,
		.insns = (uint64_t)(uintptr_t)code,
		.insn_cnt = sizeof(code) / sizeof(code[0]),
		.license = (uint64_t)(uintptr_t) "Dual BSD/GPL",
	};
	int fd = bpf(BPF_PROG_LOAD, &attr);

	if (fd < 0)
		path_fail("an XDP program");
	return fd;
}

/* The kernel takes it away with the last file descriptor of the link. */
static void attach(const char *ifname, int program)
{
	union bpf_attr attr = {
		.link_create = {.prog_fd = (uint32_t)program,
				.target_ifindex = if_nametoindex(ifname),
				.attach_type = BPF_XDP},
	};

	if (bpf(BPF_LINK_CREATE, &attr) < 0)
		path_fail("an XDP program on the interface");
}

static void redirect(const char *ifname, int fd)
{
	union bpf_attr make = {
		.map_type = BPF_MAP_TYPE_XSKMAP, .key_size = 4, .value_size = 4, .max_entries = 1};
	union bpf_attr put = {0};
	uint32_t key = 0;
	int map = bpf(BPF_MAP_CREATE, &make);

	if (map < 0)
		path_fail("an XSKMAP");
	put.map_fd = (uint32_t)map;
	put.key = (uint64_t)(uintptr_t)&key;
	put.value = (uint64_t)(uintptr_t)&fd;
	if (bpf(BPF_MAP_UPDATE_ELEM, &put))
		path_fail("an XSKMAP");
	attach(ifname, load_program(map));
}

static void xdp_bind(struct path_run *run, int fd)
{
	struct sockaddr_xdp addr = {
		.sxdp_family = AF_XDP,
		.sxdp_ifindex = if_nametoindex(run->ifname),
		.sxdp_flags = XDP_COPY,
	};

	if (bind(fd, (struct sockaddr *)&addr, sizeof(addr)))
		path_fail("AF_XDP on the interface");
}

static struct xdp *xdp_open(struct path_run *run)
{
	static struct xdp xdp;
	struct xdp_mmap_offsets at;
	socklen_t len = sizeof(at);
	int fd = run->fd[0] = socket(AF_XDP, SOCK_RAW, 0);
	struct xdp_umem_reg reg = {.len = AREA_BYTES, .chunk_size = PATH_FRAME_MAX};

	if (fd < 0)
		path_fail("AF_XDP");
	xdp.area = mmap(NULL, AREA_BYTES, PROT_READ | PROT_WRITE,
			MAP_PRIVATE | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);
	reg.addr = (uint64_t)(uintptr_t)xdp.area;
	if (xdp.area == MAP_FAILED || setsockopt(fd, SOL_XDP, XDP_UMEM_REG, &reg, sizeof(reg)))
		path_fail("the area of frames of AF_XDP");
	set_ring(fd, XDP_UMEM_FILL_RING);
	set_ring(fd, XDP_UMEM_COMPLETION_RING);
	set_ring(fd, XDP_RX_RING);
	set_ring(fd, XDP_TX_RING);
	if (getsockopt(fd, SOL_XDP, XDP_MMAP_OFFSETS, &at, &len))
		path_fail("AF_XDP's offsets");
	ring_map(fd, &xdp.fill, XDP_UMEM_PGOFF_FILL_RING, 8, &at.fr);
	ring_map(fd, &xdp.completion, XDP_UMEM_PGOFF_COMPLETION_RING, 8, &at.cr);
	ring_map(fd, &xdp.rx, XDP_PGOFF_RX_RING, sizeof(struct xdp_desc), &at.rx);
	ring_map(fd, &xdp.tx, XDP_PGOFF_TX_RING, sizeof(struct xdp_desc), &at.tx);
	run->state = &xdp;
	return &xdp;
}

static uint32_t load(const uint32_t *p)
{
	return __atomic_load_n(p, __ATOMIC_ACQUIRE);
}

static void store(uint32_t *p, uint32_t value)
{
	__atomic_store_n(p, value, __ATOMIC_RELEASE);
}

static void xdp_open_out(struct path_run *run)
{
	xdp_open(run);
	xdp_bind(run, run->fd[0]);
}

static void xdp_open_in(struct path_run *run)
{
	struct xdp *xdp = xdp_open(run);
	uint64_t *entries = xdp->fill.entries;

	for (uint32_t i = 0; i < RING; i++)
		entries[i] = (uint64_t)i * PATH_FRAME_MAX;
	xdp->fill.at = RING;
	store(xdp->fill.producer, RING);
	xdp_bind(run, run->fd[0]);
	redirect(run->ifname, run->fd[0]);
}

static void xdp_reap(struct xdp *xdp)
{
	uint32_t done = load(xdp->completion.producer) - xdp->completion.at;

	xdp->completion.at += done;
	store(xdp->completion.consumer, xdp->completion.at);
	xdp->in_flight -= done;
}

static void xdp_out(struct path_run *run, uint64_t until)
{
	struct xdp *xdp = run->state;
	struct xdp_desc *entries = xdp->tx.entries;

	while (run->moved < until) {
		xdp_reap(xdp);
		for (int i = 0; i < PATH_BATCH && xdp->in_flight < RING; i++) {
			uint64_t where = (uint64_t)(RING + xdp->tx.at % RING) * PATH_FRAME_MAX;

			memcpy(xdp->area + where, run->frame, run->size);
			entries[xdp->tx.at % RING] =
				(struct xdp_desc){.addr = where, .len = (uint32_t)run->size};
			xdp->tx.at++;
			xdp->in_flight++;
			run->moved++;
		}
		store(xdp->tx.producer, xdp->tx.at);
		run->syscalls++;
		if (sendto(run->fd[0], NULL, 0, MSG_DONTWAIT, NULL, 0) < 0 && errno != EAGAIN &&
		    errno != EBUSY && errno != ENOBUFS)
			path_fail("send by AF_XDP");
	}
}

static void xdp_in(struct path_run *run, uint64_t until)
{
	struct xdp *xdp = run->state;
	const struct xdp_desc *entries = xdp->rx.entries;
	uint64_t *fill = xdp->fill.entries;
	static uint8_t buf[PATH_FRAME_MAX];

	while (run->moved < until) {
		uint32_t n = load(xdp->rx.producer) - xdp->rx.at;

		if (!n && !path_wait(run, run->fd[0]))
			return;
		for (uint32_t i = 0; i < n; i++) {
			struct xdp_desc d = entries[xdp->rx.at++ % RING];

			/* Into the guest's buffer it has to be copied. */
			memcpy(buf, xdp->area + d.addr, d.len < sizeof(buf) ? d.len : sizeof(buf));
			fill[xdp->fill.at++ % RING] = d.addr;
		}
		store(xdp->rx.consumer, xdp->rx.at);
		store(xdp->fill.producer, xdp->fill.at);
		run->moved += n;
	}
}

const struct path path_xdp_out = {"xdp-out", false, xdp_open_out, xdp_out};
const struct path path_xdp_in = {"xdp-in", true, xdp_open_in, xdp_in};
