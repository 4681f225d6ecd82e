/*
 * vhost-net; see vhost_net.h.
 *
 *	            vCPU                       kernel's thread                  TAP
 *	out:  doorbell -> kick_fd (ioeventfd) -> reads ring, guest memory -> sendmsg
 *	in:   vector  <- call_fd (irqfd)     <- writes guest memory, ring <- recvmsg
 *
 * While it runs, vireo makes no system call for a frame and isn't woken for one.
 *
 * A ring runs while it has a socket (VHOST_NET_SET_BACKEND). Taking the socket away waits for the
 * kernel's thread, puts frames back that it had taken out of the TAP's queue, and leaves the ring at a
 * position: what was taken from it has been used. So position and socket are all that starting and
 * stopping is about.
 *
 * The header in front of a frame is the TAP's (IFF_VNET_HDR); where that has none, vhost itself puts an
 * empty one there, and takes the guest's away unseen (VHOST_NET_F_VIRTIO_NET_HDR): then the guest must not
 * be offered to leave anything to be done, because nobody would do it.
 *
 * The bit of that feature, 27, is VIRTIO_F_ANY_LAYOUT in a driver's hand: it is never passed on.
 *
 * What the kernel finds wrong in a ring it says by an eventfd (VHOST_SET_VRING_ERR), watched by the
 * control thread. It says it too when the interface is deleted while it sends.
 *
 * Locks: `lock` is for the state of the rings; ring_broken() is called with it, so that a ring which was
 * stopped meanwhile can't be meant. Order: device.lock -> lock.
 *
 * What it does not do: dirty logging, IOMMU, busy polling.
 */
#include "net/vhost_net.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/if_tun.h>
#include <linux/vhost.h>
#include <linux/virtio_config.h>
#include <linux/virtio_net.h>
#include <linux/virtio_ring.h>
#include <net/if.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "base/log.h"

#define VHOST_PATH "/dev/vhost-net"
#define BIT(n)	   (UINT64_C(1) << (n))

/* Bits that vhost itself has to know. */
#define RING_BITS                                                          \
	(BIT(VIRTIO_F_NOTIFY_ON_EMPTY) | BIT(VIRTIO_F_VERSION_1) |         \
	 BIT(VIRTIO_RING_F_INDIRECT_DESC) | BIT(VIRTIO_RING_F_EVENT_IDX) | \
	 BIT(VIRTIO_NET_F_MRG_RXBUF))

/* Bits that are the TAP's business: what may stand in a frame's header. */
#define HDR_BITS                                                                                   \
	(BIT(VIRTIO_NET_F_CSUM) | BIT(VIRTIO_NET_F_GUEST_CSUM) | BIT(VIRTIO_NET_F_GSO) |           \
	 BIT(VIRTIO_NET_F_GUEST_TSO4) | BIT(VIRTIO_NET_F_GUEST_TSO6) |                             \
	 BIT(VIRTIO_NET_F_GUEST_ECN) | BIT(VIRTIO_NET_F_GUEST_UFO) | BIT(VIRTIO_NET_F_HOST_TSO4) | \
	 BIT(VIRTIO_NET_F_HOST_TSO6) | BIT(VIRTIO_NET_F_HOST_ECN) | BIT(VIRTIO_NET_F_HOST_UFO) |   \
	 BIT(VIRTIO_NET_F_CTRL_GUEST_OFFLOADS) | BIT(54) /* GUEST_USO4 */ |                        \
	 BIT(55) /* GUEST_USO6 */ | BIT(56) /* HOST_USO */)

/* Bits that make no difference to who serves a ring. */
#define ANY_BITS (BIT(VIRTIO_F_ANY_LAYOUT) | BIT(VIRTIO_F_RING_RESET))

struct vhost_ring {
	struct vhost_net *v;
	unsigned int pair;
	enum net_ring_index which;
	bool started; /* between ring_start() and ring_stop() */
	bool running; /* has its socket */
	int kick_fd;
	struct loop_fd err;
};

struct vhost_net {
	struct net_backend *net;
	unsigned int n;
	uint64_t supported; /* by the kernel */
	pthread_mutex_t lock;
	const struct mem *mem; /* NULL: not prepared */
	unsigned int active;   /* pairs that move frames */
	struct log_limit log;
	struct vhost_pair {
		int fd;
		bool owned;
		struct vhost_ring ring[NET_RINGS];
	} pair[NET_QUEUES_MAX];
};

/* ---- ioctls ---- */

static int vhost_ioctl(const struct vhost_pair *p, unsigned long request, void *arg)
{
	return ioctl(p->fd, request, arg) ? -errno : 0;
}

static int set_state(const struct vhost_pair *p, unsigned long request, unsigned int index,
		     unsigned int num)
{
	struct vhost_vring_state state = {.index = index, .num = num};

	return vhost_ioctl(p, request, &state);
}

static int set_file(const struct vhost_pair *p, unsigned long request, unsigned int index, int fd)
{
	struct vhost_vring_file file = {.index = index, .fd = fd};

	return vhost_ioctl(p, request, &file);
}

static int set_memory(const struct vhost_pair *p, const struct mem *mem)
{
	union {
		struct vhost_memory table;
		uint8_t room[sizeof(struct vhost_memory) +
			     MEM_RANGES_MAX * sizeof(struct vhost_memory_region)];
	} m = {.table.nregions = mem ? mem->n_ranges : 0};

	for (unsigned int i = 0; i < m.table.nregions; i++)
		m.table.regions[i] = (struct vhost_memory_region){
			.guest_phys_addr = mem->range[i].gpa,
			.memory_size = mem->range[i].size,
			.userspace_addr = (uintptr_t)mem->range[i].hva,
		};
	return vhost_ioctl(p, VHOST_SET_MEM_TABLE, &m.table);
}

static int own(struct vhost_pair *p)
{
	int r = p->owned ? 0 : vhost_ioctl(p, VHOST_SET_OWNER, NULL);

	p->owned |= !r;
	return r;
}

/* ---- rings; under lock ---- */

static int ring_run(struct vhost_ring *ring)
{
	struct vhost_net *v = ring->v;
	int r;

	if (ring->running)
		return 0;
	r = set_file(&v->pair[ring->pair], VHOST_NET_SET_BACKEND, ring->which,
		     v->net->ops->fd(v->net->queue[ring->pair]));
	ring->running = !r;
	/* Whatever the driver has put in meanwhile rang no bell that anybody heard. */
	if (!r)
		(void)!eventfd_write(ring->kick_fd, 1);
	return r;
}

static void ring_pause(struct vhost_ring *ring)
{
	struct vhost_net *v = ring->v;

	if (ring->running)
		set_file(&v->pair[ring->pair], VHOST_NET_SET_BACKEND, ring->which, -1);
	ring->running = false;
}

/* Addresses of ours: the kernel's thread has our page tables. */
static int ring_addresses(const struct vhost_net *v, const struct net_ring *ring,
			  struct vhost_vring_addr *addr)
{
	uint64_t n = ring->size;
	void *desc = mem_ptr(v->mem, ring->desc, n * sizeof(struct vring_desc));
	void *avail = mem_ptr(v->mem, ring->avail, (3 + n) * sizeof(uint16_t));
	void *used = mem_ptr(v->mem, ring->used,
			     3 * sizeof(uint16_t) + n * sizeof(struct vring_used_elem));

	if (!desc || !avail || !used)
		return -EFAULT;
	addr->desc_user_addr = (uintptr_t)desc;
	addr->avail_user_addr = (uintptr_t)avail;
	addr->used_user_addr = (uintptr_t)used;
	return 0;
}

static void ring_detach(const struct vhost_ring *ring)
{
	const struct vhost_pair *p = &ring->v->pair[ring->pair];
	eventfd_t stale;

	set_file(p, VHOST_SET_VRING_KICK, ring->which, -1);
	set_file(p, VHOST_SET_VRING_CALL, ring->which, -1);
	set_file(p, VHOST_SET_VRING_ERR, ring->which, -1);
	(void)!eventfd_read(ring->err.fd, &stale);
}

static int ring_attach(const struct vhost_ring *ring, const struct net_ring *r)
{
	const struct vhost_pair *p = &ring->v->pair[ring->pair];
	struct vhost_vring_addr addr = {.index = ring->which};
	int code = ring_addresses(ring->v, r, &addr);

	if (!code)
		code = set_state(p, VHOST_SET_VRING_NUM, ring->which, r->size);
	if (!code)
		code = set_state(p, VHOST_SET_VRING_BASE, ring->which,
				 r->position == UINT32_MAX ? 0 : (uint16_t)r->position);
	if (!code)
		code = vhost_ioctl(p, VHOST_SET_VRING_ADDR, &addr);
	if (!code)
		code = set_file(p, VHOST_SET_VRING_KICK, ring->which, r->kick_fd);
	if (!code)
		code = set_file(p, VHOST_SET_VRING_CALL, ring->which, r->call_fd);
	if (!code)
		code = set_file(p, VHOST_SET_VRING_ERR, ring->which, ring->err.fd);
	return code;
}

static struct vhost_ring *ring_of(struct vhost_net *v, const struct net_queue *q,
				  enum net_ring_index which)
{
	return &v->pair[q->index].ring[which];
}

int vhost_net_start(struct vhost_net *v, struct net_queue *q, enum net_ring_index which,
		    const struct net_ring *r)
{
	struct vhost_ring *ring;
	int code;

	if (q->index >= v->n || !v->mem)
		return -EINVAL;
	ring = ring_of(v, q, which);
	pthread_mutex_lock(&v->lock);
	ring->kick_fd = r->kick_fd;
	code = ring_attach(ring, r);
	if (!code && ring->pair < v->active)
		code = ring_run(ring);
	if (code)
		ring_detach(ring);
	ring->started = !code;
	pthread_mutex_unlock(&v->lock);
	return code;
}

void vhost_net_stop(struct vhost_net *v, struct net_queue *q, enum net_ring_index which,
		    struct net_ring *r)
{
	struct vhost_ring *ring = ring_of(v, q, which);
	struct vhost_vring_state base = {.index = which};

	pthread_mutex_lock(&v->lock);
	ring_pause(ring);
	/* Fails for none of the reasons there are: the index is right, and we are the owner. */
	vhost_ioctl(&v->pair[ring->pair], VHOST_GET_VRING_BASE, &base);
	r->position = (uint16_t)base.num;
	ring_detach(ring);
	ring->started = false;
	pthread_mutex_unlock(&v->lock);
}

void vhost_net_set_call(struct vhost_net *v, struct net_queue *q, enum net_ring_index which,
			int call_fd)
{
	set_file(&v->pair[q->index], VHOST_SET_VRING_CALL, which, call_fd);
}

int vhost_net_set_queues(struct vhost_net *v, unsigned int n)
{
	int code = 0, r;

	pthread_mutex_lock(&v->lock);
	v->active = n;
	for (unsigned int i = 0; i < v->n; i++) {
		for (unsigned int w = 0; w < NET_RINGS; w++) {
			struct vhost_ring *ring = &v->pair[i].ring[w];

			r = 0;
			if (i >= n)
				ring_pause(ring);
			else if (ring->started)
				r = ring_run(ring);
			code = code ? code : r;
		}
	}
	pthread_mutex_unlock(&v->lock);
	return code;
}

int vhost_net_prepare(struct vhost_net *v, const struct mem *mem, uint64_t features)
{
	int r = 0;

	features &= RING_BITS & v->supported;
	if (!v->net->has_hdr)
		features |= BIT(VHOST_NET_F_VIRTIO_NET_HDR);
	pthread_mutex_lock(&v->lock);
	for (unsigned int i = 0; i < v->n && !r; i++) {
		struct vhost_pair *p = &v->pair[i];

		if (!mem && !p->owned)
			continue;
		r = own(p);
		if (!r && mem)
			r = vhost_ioctl(p, VHOST_SET_FEATURES, &features);
		if (!r)
			r = set_memory(p, mem);
	}
	v->mem = r ? NULL : mem;
	pthread_mutex_unlock(&v->lock);
	return r;
}

uint64_t vhost_net_features(const struct vhost_net *v)
{
	return (v->supported & RING_BITS) | ANY_BITS | (v->net->has_hdr ? HDR_BITS : 0);
}

/* ---- what the kernel finds wrong; control thread ---- */

static void ring_err(struct loop_fd *lf, uint32_t events)
{
	struct vhost_ring *ring = lf->opaque;
	struct vhost_net *v = ring->v;
	struct net_queue *q = v->net->queue[ring->pair];
	struct ifreq ifr;
	eventfd_t n;

	pthread_mutex_lock(&v->lock);
	if (eventfd_read(lf->fd, &n) || !ring->started)
		;
	else if (ioctl(v->net->ops->fd(q), TUNGETIFF, &ifr))
		log_limited(&v->log, "%s: the interface is gone: frames are lost", v->net->id);
	else if (v->net->events && v->net->events->ring_broken)
		v->net->events->ring_broken(v->net->events_opaque, q, ring->which);
	pthread_mutex_unlock(&v->lock);
}

static int ring_init(struct vhost_net *v, unsigned int pair, unsigned int which, struct err *err)
{
	struct vhost_ring *ring = &v->pair[pair].ring[which];
	int r;

	ring->v = v;
	ring->pair = pair;
	ring->which = which;
	ring->err = (struct loop_fd){.ready = ring_err, .opaque = ring};
	ring->err.fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (ring->err.fd < 0)
		return err_errno(err, "eventfd");
	r = loop_fd_add(v->net->host->control, &ring->err, EPOLLIN);
	if (!r)
		return 0;
	errno = -r;
	return err_errno(err, "epoll");
}

/* ---- making and ending ---- */

static int open_device(struct err *err)
{
	int fd = open(VHOST_PATH, O_RDWR | O_CLOEXEC);

	if (fd >= 0)
		return fd;
	err_errno(err, VHOST_PATH);
	if (errno == ENOENT || errno == ENODEV || errno == ENXIO)
		err_hint(err, "(modprobe vhost_net, or vhost=off)");
	else if (errno == EACCES || errno == EPERM)
		err_hint(err, "(ask for access to it, have it opened by somebody else and use "
			      "vhostfd=, or vhost=off)");
	return err ? err->code : -ENODEV;
}

/* Is it a vhost-net device, and nobody else's? given: it came from outside. */
static int check_device(struct vhost_net *v, struct vhost_pair *p, bool given, bool owner,
			struct err *err)
{
	uint64_t features = 0;
	int r;

	if (given && fcntl(p->fd, F_SETFD, FD_CLOEXEC))
		return err_set(err, -EBADF, "vhostfd=%d: no file is open under that number", p->fd);
	r = vhost_ioctl(p, VHOST_GET_FEATURES, &features);
	/* Other kinds of vhost answer, too; only this one knows that bit. */
	if (r || !(features & BIT(VIRTIO_NET_F_MRG_RXBUF))) {
		if (given)
			return err_set(err, -EINVAL, "vhostfd=%d: not an open " VHOST_PATH, p->fd);
		return err_set(err, -EINVAL, VHOST_PATH " is not a vhost-net device (vhost=off)");
	}
	v->supported &= features;
	r = owner ? own(p) : 0;
	if (r == -EBUSY)
		return err_set(err, r, "vhostfd=%d: it is in use already", p->fd);
	if (r) {
		errno = -r;
		return err_errno(err, VHOST_PATH ": VHOST_SET_OWNER");
	}
	return 0;
}

static void close_fds(struct vhost_net *v, bool keep_devices)
{
	for (unsigned int i = 0; i < v->n; i++) {
		struct vhost_pair *p = &v->pair[i];

		for (unsigned int w = 0; w < NET_RINGS; w++) {
			loop_fd_del(&p->ring[w].err);
			if (p->ring[w].err.fd > 0)
				close(p->ring[w].err.fd);
		}
		if (p->fd >= 0 && !keep_devices)
			close(p->fd);
	}
}

static void vhost_net_free(struct vhost_net *v)
{
	pthread_mutex_destroy(&v->lock);
	free(v);
}

int vhost_net_open(struct vhost_net **out, struct net_backend *net, unsigned int n, const int *fds,
		   bool owner, struct err *err)
{
	struct vhost_net *v = calloc(1, sizeof(*v));
	int r = 0;

	if (!v)
		return err_set(err, -ENOMEM, "out of memory");
	*v = (struct vhost_net){.net = net, .active = 1, .supported = UINT64_MAX};
	pthread_mutex_init(&v->lock, NULL);
	while (v->n < n && !r) {
		struct vhost_pair *p = &v->pair[v->n];

		p->fd = fds ? fds[v->n] : open_device(err);
		if (p->fd < 0) {
			r = p->fd;
			break;
		}
		v->n++;
		r = check_device(v, p, fds != NULL, owner, err);
		for (unsigned int w = 0; w < NET_RINGS && !r; w++)
			r = ring_init(v, v->n - 1, w, err);
	}
	if (r) {
		close_fds(v, fds != NULL);
		vhost_net_free(v);
		return r;
	}
	*out = v;
	return 0;
}

void vhost_net_close(struct vhost_net *v)
{
	if (!v)
		return;
	close_fds(v, false);
	vhost_net_free(v);
}
