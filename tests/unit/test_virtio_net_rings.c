/*
 * virtio-net on a back end that serves rings: who serves which queue when, what the back end is told, and
 * what becomes of it when something is in the way. The back end is a fake that writes down what it is
 * asked.
 */
#include "fake_net.h"
#include "vpci_fixture.h"

#include <linux/virtio_net.h>

#define V1     virtio_bit(VIRTIO_F_VERSION_1)
#define PACKED virtio_bit(VIRTIO_F_RING_PACKED)
#define MRG    virtio_bit(VIRTIO_NET_F_MRG_RXBUF)
#define CSUM   virtio_bit(VIRTIO_NET_F_CSUM)

struct ring_fake {
	struct fake_net base; /* first */
	struct net_backend_ops ops;
	const struct mem *mem;
	uint64_t features;
	unsigned int prepares, starts, stops, calls;
	int prepare_result, start_result[NET_RINGS];
	bool running[NET_RINGS];
	struct net_ring ring[NET_RINGS];
	bool taken;
};

static struct ring_fake *fake_of(struct net_backend *net)
{
	return (struct ring_fake *)net;
}

static int fake_prepare(struct net_backend *net, const struct mem *mem, uint64_t features)
{
	struct ring_fake *r = fake_of(net);

	assert_false(r->running[0] || r->running[1]);
	if (mem && r->prepare_result)
		return r->prepare_result;
	r->mem = mem;
	r->features = features;
	r->prepares++;
	return 0;
}

static int fake_start(struct net_queue *q, enum net_ring_index which, const struct net_ring *ring)
{
	struct ring_fake *r = fake_of(q->net);

	assert_non_null(r->mem);
	assert_false(r->running[which]);
	if (r->start_result[which])
		return r->start_result[which];
	r->ring[which] = *ring;
	r->running[which] = true;
	r->starts++;
	return 0;
}

/* Has used as many chains as ring[].position says. */
static void fake_stop(struct net_queue *q, enum net_ring_index which, struct net_ring *ring)
{
	struct ring_fake *r = fake_of(q->net);

	assert_true(r->running[which]);
	r->running[which] = false;
	r->stops++;
	ring->position = r->ring[which].position;
}

static void fake_set_call(struct net_queue *q, enum net_ring_index which, int call_fd)
{
	struct ring_fake *r = fake_of(q->net);

	assert_true(r->running[which]);
	r->ring[which].call_fd = call_fd;
	r->calls++;
}

struct test {
	struct fix *f;
	struct ring_fake r;
};

static struct test *the_test(struct fix *f)
{
	static struct test *t;

	if (f == NULL)
		t = calloc(1, sizeof(*t));
	assert_non_null(t);
	return t;
}

static struct net_backend *get_net(struct platform *p, const char *id, struct device *user,
				   struct err *err)
{
	struct test *t = the_test((struct fix *)p);

	t->r.taken = true;
	return &t->r.base.net;
}

static void put_net(struct platform *p, struct net_backend *net)
{
	assert_null(net->events);
	fake_of(net)->taken = false;
}

static void some_mac(struct platform *p, uint8_t mac[6])
{
	memcpy(mac, "\x52\x54\x00\x12\x34\x56", 6);
}

/* A back end that could take the rings of any Linux guest; the caller may change it before plug_in(). */
static struct test *begin(void)
{
	struct test *t = the_test(NULL);
	struct ring_fake *r = &t->r;

	fake_net_init(&r->base, true, NET_OFFLOAD_CSUM | NET_OFFLOAD_TSO4);
	r->ops = fake_ops;
	r->ops.rings_prepare = fake_prepare;
	r->ops.ring_start = fake_start;
	r->ops.ring_stop = fake_stop;
	r->ops.ring_set_call = fake_set_call;
	r->base.net.ops = &r->ops;
	r->base.net.ring_features = V1 | MRG | CSUM | virtio_bit(VIRTIO_RING_F_EVENT_IDX);
	r->base.net.rings_asked = true;
	t->f = setup(0);
	t->f->fp.p.net_get = get_net;
	t->f->fp.p.net_put = put_net;
	t->f->fp.p.mac_default = some_mac;
	return t;
}

static void plug_in(struct test *t, const char *options)
{
	char text[128] = "netdev=n0";

	if (options)
		snprintf(text, sizeof(text), "netdev=n0,%s", options);
	plug(t->f, "virtio-net-pci", text);
}

static void end(struct test *t)
{
	bool was = t->r.prepares;

	finish(t->f);
	assert_false(t->r.taken);
	assert_false(t->r.running[0] || t->r.running[1]);
	if (was)
		assert_null(t->r.mem);
	fake_net_end(&t->r.base);
	free(t);
}

static void expect_vhost(struct test *t, const char *want)
{
	json_t *o = json_object();

	t->f->dev->model->info(t->f->dev, o);
	assert_string_equal(json_string_value(json_object_get(o, "vhost")), want);
	json_decref(o);
}

static void set_link(struct test *t, bool up)
{
	t->f->dev->model->set_link(t->f->dev, up);
}

static bool served_here(struct test *t, unsigned int queue)
{
	return __atomic_load_n(&t->f->vp->vdev->queue[queue].running, __ATOMIC_SEQ_CST);
}

static bool link_is_up(struct test *t)
{
	return fp_load(&t->f->fp, DEVICE + offsetof(struct virtio_net_config, status), 2) & 1;
}

/* Up to DRIVER_OK, with a receive and a send queue. */
static void legacy_driver(struct fix *f, uint32_t features)
{
	fp_out(&f->fp, IO + VIRTIO_PCI_STATUS, 1, 0);
	fp_out(&f->fp, IO + VIRTIO_PCI_STATUS, 1, ACK | DRIVER);
	fp_out(&f->fp, IO + VIRTIO_PCI_GUEST_FEATURES, 4, features);
	for (unsigned int i = 0; i < 2; i++) {
		fp_out(&f->fp, IO + VIRTIO_PCI_QUEUE_SEL, 2, i);
		fp_out(&f->fp, IO + VIRTIO_PCI_QUEUE_PFN, 4, (RING0 + i * 0x8000) >> 12);
	}
	fp_out(&f->fp, IO + VIRTIO_PCI_STATUS, 1, ACK | DRIVER | GO);
}

/* ---- lent ---- */

static void test_lent(void **state)
{
	struct test *t = begin();
	struct ring_fake *r = &t->r;
	struct fix *f = t->f;

	plug_in(t, NULL);
	expect_vhost(t, "off");
	msix_on(f, 3);
	for (unsigned int round = 1; round < 3; round++) {
		modern_up(f, MRG | CSUM | virtio_bit(VIRTIO_NET_F_STATUS) |
				     virtio_bit(VIRTIO_NET_F_CTRL_VQ));
		expect_vhost(t, "on");
		assert_ptr_equal(r->mem, &f->mem);
		assert_int_equal(r->features, V1 | MRG | CSUM);
		for (unsigned int i = 0; i < 2; i++) {
			assert_true(r->running[i]);
			assert_int_equal(r->ring[i].size, TOY_SIZE);
			assert_int_equal(r->ring[i].desc, f->d[i].desc);
			assert_int_equal(r->ring[i].avail, f->d[i].avail);
			assert_int_equal(r->ring[i].used, f->d[i].used);
			assert_int_equal(r->ring[i].position, UINT32_MAX);
			assert_int_equal(r->ring[i].kick_fd, f->vp->vdev->queue[i].kick_fd);
			assert_int_equal(r->ring[i].call_fd, msix_fd(&f->vp->pci, i + 1));
			assert_false(served_here(t, i));
		}
		assert_true(served_here(t, 2)); /* commands are the device's own */
		set_status(f, 0);
		assert_int_equal(r->stops, 2 * round);
		assert_null(r->mem);
		expect_vhost(t, "off");
	}
	assert_int_equal(r->prepares, 4);
	/* The bus master bit; the rings go on where they were. */
	modern_up(f, MRG);
	r->ring[NET_RING_TX].position = 77;
	fp_config_write(&f->fp, SLOT, 0, 4, 2, 3);
	assert_false(r->running[0] || r->running[1]);
	fp_config_write(&f->fp, SLOT, 0, 4, 2, 7);
	assert_true(r->running[0] && r->running[1]);
	assert_int_equal(r->ring[NET_RING_TX].position, 77);
	/* A vector changes. */
	wr(f, VIRTIO_PCI_COMMON_Q_SELECT, 2, 1);
	wr(f, VIRTIO_PCI_COMMON_Q_MSIX, 2, 0);
	assert_int_equal(r->calls, 1);
	assert_int_equal(r->ring[NET_RING_TX].call_fd, msix_fd(&f->vp->pci, 0));
	/* A legacy driver, renegotiating. */
	legacy_driver(f, (uint32_t)MRG);
	assert_true(r->running[0]);
	assert_int_equal(r->features, MRG);
	device_reset(f->dev);
	assert_null(r->mem);
	end(t);
}

static void test_no_msix(void **state)
{
	struct test *t = begin();

	plug_in(t, NULL);
	modern_up(t->f, MRG);
	assert_int_equal(t->r.starts, 0);
	assert_true(served_here(t, 0) && served_here(t, 1));
	expect_vhost(t, "fallback: no MSI-X");
	/* The next driver uses it. */
	set_status(t->f, 0);
	msix_on(t->f, 3);
	modern_up(t->f, MRG);
	expect_vhost(t, "on");
	end(t);

	t = begin();
	t->r.base.net.rings_forced = true;
	plug_in(t, NULL);
	modern_up(t->f, MRG);
	expect_vhost(t, "on");
	/* Its interrupt gets through. */
	eventfd_write(t->r.ring[NET_RING_RX].call_fd, 1);
	eventually(intx(t->f));
	end(t);
}

/* ---- features ---- */

static void test_features(void **state)
{
	struct test *t = begin();

	/* Offered, and taken: not lent. */
	plug_in(t, "packed=on");
	msix_on(t->f, 3);
	assert_true(offered(t->f) & PACKED);
	modern_up(t->f, PACKED);
	expect_vhost(t, "fallback: packed rings");
	assert_true(served_here(t, 0));
	modern_up(t->f, virtio_bit(VIRTIO_NET_F_GUEST_CSUM));
	expect_vhost(t, "fallback: a feature that it doesn't know");
	modern_up(t->f, 0);
	expect_vhost(t, "on");
	end(t);

	/* Forced: what it doesn't know isn't offered. */
	t = begin();
	t->r.base.net.rings_forced = true;
	plug_in(t, "packed=on");
	assert_int_equal(offered(t->f) & (PACKED | virtio_bit(VIRTIO_NET_F_GUEST_CSUM) |
					  virtio_bit(VIRTIO_RING_F_INDIRECT_DESC)),
			 0);
	assert_true(offered(t->f) & virtio_bit(VIRTIO_NET_F_CTRL_VQ));
	assert_true(offered(t->f) & virtio_bit(VIRTIO_F_RING_RESET));
	modern_up(t->f, offered(t->f));
	expect_vhost(t, "on");
	end(t);

	/* No header behind it: nobody would fill in checksums. */
	t = begin();
	t->r.base.net.has_hdr = false;
	t->r.base.net.offloads_out = t->r.base.net.offloads_in = 0;
	t->r.base.net.ring_features &= ~CSUM;
	plug_in(t, NULL);
	msix_on(t->f, 3);
	assert_int_equal(offered(t->f) & (CSUM | virtio_bit(VIRTIO_NET_F_HOST_TSO4) |
					  virtio_bit(VIRTIO_NET_F_GSO)),
			 0);
	modern_up(t->f, 0);
	expect_vhost(t, "on");
	end(t);

	/* Where rings can't be served at all (a filter), it isn't a matter of vhost. */
	t = begin();
	t->r.ops.ring_start = NULL;
	t->r.base.net.ring_features = 0;
	plug_in(t, NULL);
	msix_on(t->f, 3);
	assert_true(offered(t->f) & CSUM);
	modern_up(t->f, 0);
	assert_true(served_here(t, 0));
	end(t);
}

/* ---- failures ---- */

static void test_start_fails(void **state)
{
	for (unsigned int which = 0; which < NET_RINGS; which++) {
		struct test *t = begin();

		t->r.start_result[which] = -EBUSY;
		plug_in(t, NULL);
		msix_on(t->f, 3);
		modern_up(t->f, MRG);
		/* Not half here and half there. */
		assert_true(served_here(t, 0) && served_here(t, 1));
		assert_int_equal(t->r.starts, t->r.stops);
		expect_vhost(t, "fallback: starting a ring failed: Device or resource busy");
		set_link(t, false);
		set_link(t, true);
		assert_true(served_here(t, 0) && served_here(t, 1));
		t->r.start_result[which] = 0;
		modern_up(t->f, MRG);
		expect_vhost(t, "on");
		end(t);
	}
}

static void test_prepare_fails(void **state)
{
	struct test *t = begin();

	t->r.prepare_result = -E2BIG;
	plug_in(t, NULL);
	msix_on(t->f, 3);
	modern_up(t->f, MRG);
	assert_true(served_here(t, 0) && served_here(t, 1));
	expect_vhost(t, "fallback: preparing it failed: Argument list too long");
	end(t);
}

/* ---- link ---- */

/* While the cable is out frames are thrown away where they are counted. */
static void test_link(void **state)
{
	struct test *t = begin();
	struct ring_fake *r = &t->r;

	plug_in(t, NULL);
	msix_on(t->f, 3);
	modern_up(t->f, MRG | virtio_bit(VIRTIO_NET_F_STATUS));
	assert_true(link_is_up(t));
	r->ring[NET_RING_TX].position = 0;
	for (unsigned int i = 0; i < 3; i++) {
		set_link(t, false);
		assert_false(link_is_up(t));
		assert_false(r->running[0] || r->running[1]);
		assert_true(served_here(t, 0) && served_here(t, 1));
		expect_vhost(t, "fallback: the cable is out");
		put(t->f, 1, 1); /* 16 bytes: the header, and a frame */
		kick(t->f, 1);
		eventually(vdriver_used_idx(&t->f->d[1]) == i + 1);
		set_link(t, true);
		assert_true(link_is_up(t));
		assert_true(r->running[0] && r->running[1]);
		assert_int_equal(r->ring[NET_RING_TX].position, i + 1);
		expect_vhost(t, "on");
	}
	/* The back end's own carrier changes nothing of that; the driver is told. */
	net_set_carrier(&r->base.net, false);
	assert_true(r->running[0]);
	assert_false(link_is_up(t));
	eventually(messages(t->f, 0x40));
	net_set_carrier(&r->base.net, true);
	assert_true(link_is_up(t));
	end(t);
}

/* ---- what the back end finds wrong ---- */

static void test_broken(void **state)
{
	struct test *t = begin();
	struct net_backend *net = &t->r.base.net;

	plug_in(t, NULL);
	msix_on(t->f, 3);
	modern_up(t->f, MRG);
	net->events->ring_broken(net->events_opaque, net->queue[0], NET_RING_TX);
	assert_true(status(t->f) & NEEDS_RESET);
	fp_run(&t->f->fp, 20);
	assert_false(t->r.running[0] || t->r.running[1]);
	assert_non_null(t->r.mem); /* till the reset */
	modern_up(t->f, MRG);
	assert_true(t->r.running[0]);
	net->events->ring_broken(net->events_opaque, net->queue[0], NET_RING_RX);
	end(t);
}

/* ---- a back end that does nothing else ---- */

static void test_rings_only(void **state)
{
	struct test *t = begin();
	struct net_backend *net = &t->r.base.net;

	net->rings_only = true;
	net->ring_features = V1 | MRG;
	t->r.ops.send = NULL;
	t->r.ops.recv = NULL;
	t->r.ops.fd = NULL;
	plug_in(t, "packed=on");
	assert_int_equal(offered(t->f) & (PACKED | virtio_bit(VIRTIO_RING_F_EVENT_IDX)), 0);
	modern_up(t->f, MRG); /* no MSI-X: lent all the same */
	expect_vhost(t, "on");
	set_link(t, false);
	assert_false(t->r.running[0] || t->r.running[1]);
	assert_false(served_here(t, 0) || served_here(t, 1));
	put(t->f, 1, 1);
	kick(t->f, 1);
	expect_vhost(t, "fallback: the cable is out");
	set_link(t, true);
	expect_vhost(t, "on");
	/* It can't be taken: nobody serves it, and nothing breaks. */
	t->r.start_result[NET_RING_TX] = -EIO;
	modern_up(t->f, MRG);
	assert_false(t->r.running[0] || t->r.running[1]);
	assert_false(served_here(t, 0) || served_here(t, 1));
	fp_config_write(&t->f->fp, SLOT, 0, 4, 2, 3);
	fp_config_write(&t->f->fp, SLOT, 0, 4, 2, 7);
	t->r.start_result[NET_RING_TX] = 0;
	modern_up(t->f, MRG);
	expect_vhost(t, "on");
	end(t);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_lent),	      cmocka_unit_test(test_no_msix),
		cmocka_unit_test(test_features),      cmocka_unit_test(test_start_fails),
		cmocka_unit_test(test_prepare_fails), cmocka_unit_test(test_link),
		cmocka_unit_test(test_broken),	      cmocka_unit_test(test_rings_only),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
