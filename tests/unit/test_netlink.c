/*
 * Interfaces over netlink, in a network namespace of this test's own.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <linux/if_link.h>
#include <signal.h>
#include <sys/wait.h>

#include "hostnet_fixture.h"
#include "net/netlink.h"

static struct netlink_link get(const char *name)
{
	struct netlink_link link;
	struct err err = {0};

	if (netlink_get(name, 0, &link, &err))
		fail_msg("%s: %s", name, err.msg);
	return link;
}

static void test_get(void **state)
{
	struct netlink_link link;
	struct err err = {0};
	int fd;

	if (*hn_why_not)
		skip();
	assert_int_equal(netlink_get("nothing0", 0, &link, &err), -ENODEV);
	assert_int_equal(err.code, -ENODEV);
	assert_int_equal(netlink_get(NULL, 4711, &link, NULL), -ENODEV);
	assert_int_equal(netlink_get("", 0, &link, NULL), -ENODEV);
	assert_int_equal(netlink_get("abcdefghijklmnop", 0, &link, NULL), -ENAMETOOLONG);
	fd = hn_wire("w0");
	link = get("w0");
	assert_int_equal(link.index, if_nametoindex("w0"));
	assert_string_equal(link.name, "w0");
	assert_string_equal(link.kind, "tun");
	assert_int_equal(link.mtu, 1500);
	assert_int_equal(link.master, 0);
	assert_true(link.flags & IFF_UP);
	assert_true(link.carrier);
	assert_int_equal(netlink_get(NULL, link.index, &link, NULL), 0);
	assert_string_equal(link.name, "w0");
	close(fd);
}

static void test_set(void **state)
{
	const uint8_t mac[6] = {2, 0, 0, 0, 0, 9}, group[6] = {3, 0, 0, 0, 0, 9};
	struct netlink_link link;
	struct err err = {0};
	int fd;

	if (*hn_why_not)
		skip();
	fd = hn_wire("w0");
	link = get("w0");
	assert_int_equal(netlink_set_flags(link.index, 0, IFF_UP, &err), 0);
	assert_false(get("w0").flags & IFF_UP);
	assert_int_equal(netlink_set_mtu(link.index, 9000, &err), 0);
	assert_int_equal(get("w0").mtu, 9000);
	assert_int_equal(netlink_set_mac(link.index, mac, &err), 0);
	link = get("w0");
	assert_memory_equal(link.mac, mac, 6);
	/* what the kernel doesn't take, with its words where it has any */
	assert_int_equal(netlink_set_mtu(link.index, 10, &err), -EINVAL);
	assert_non_null(strstr(err.msg, "Invalid argument (")); /* mtu less than device minimum */
	assert_int_equal(netlink_set_mac(link.index, group, &err), -EADDRNOTAVAIL);
	assert_int_equal(netlink_delete(link.index, &err), 0);
	assert_int_equal(netlink_delete(link.index, &err), -ENODEV);
	assert_int_equal(if_nametoindex("w0"), 0);
	close(fd);
}

static void test_master(void **state)
{
	struct netlink_link port, br;
	struct err err = {0};
	int fd;

	if (*hn_why_not || hn_control(SIOCBRADDBR, (void *)"vbr0"))
		skip();
	fd = hn_wire("w0");
	port = get("w0");
	br = get("vbr0");
	assert_string_equal(br.kind, "bridge");
	assert_int_equal(netlink_set_master(port.index, br.index, &err), 0);
	assert_int_equal(get("w0").master, br.index);
	assert_int_equal(netlink_set_master(port.index, br.index, &err), -EBUSY);
	assert_int_equal(netlink_set_master(port.index, 0, &err), 0);
	assert_int_equal(get("w0").master, 0);
	assert_int_equal(netlink_set_master(br.index, port.index, &err), -EOPNOTSUPP);
	assert_int_equal(netlink_delete(br.index, &err), 0);
	close(fd);
}

/* As a user nothing can be changed, all can be seen. */
static void test_permission(void **state)
{
	int fd, status;
	pid_t pid;

	if (*hn_why_not)
		skip();
	fd = hn_wire("w0");
	fflush(NULL);
	pid = fork();
	if (!pid) {
		struct netlink_link link;
		struct err err = {0};

		if (setresuid(65534, 65534, 65534) || netlink_get("w0", 0, &link, &err))
			_exit(1);
		if (netlink_set_mtu(link.index, 9000, &err) != -EPERM ||
		    !strstr(err.msg, "not permitted"))
			_exit(2);
		_exit(netlink_delete(link.index, &err) == -EPERM ? 0 : 3);
	}
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_int_equal(status, 0);
	close(fd);
}

/* ---- watching ---- */

struct seen {
	struct netlink_watch watch;
	struct netlink_link link;
	unsigned int told;
	bool gone;
	unsigned int want_mtu;
};

static void seen_changed(struct netlink_watch *w, const struct netlink_link *link)
{
	struct seen *s = w->opaque;

	s->told++;
	s->gone = !link;
	if (link)
		s->link = *link;
}

static bool was_told(void *arg)
{
	return ((struct seen *)arg)->told;
}

static bool mtu_is(void *arg)
{
	struct seen *s = arg;

	return s->link.mtu == s->want_mtu;
}

static bool is_gone(void *arg)
{
	return ((struct seen *)arg)->gone;
}

static void test_watch(void **state)
{
	struct seen s = {0};
	struct err err = {0};
	struct loop *loop;
	int fd, other;

	if (*hn_why_not)
		skip();
	assert_int_equal(loop_create(&loop, "control", 0, &err), 0);
	netlink_unwatch(&s.watch); /* nothing yet */
	fd = hn_wire("w0");
	other = hn_wire("w1");
	s.watch = (struct netlink_watch){
		.changed = seen_changed, .opaque = &s, .index = (int)if_nametoindex("w0")};
	assert_int_equal(netlink_watch(&s.watch, loop, &err), 0);
	/* what is so comes without a change */
	assert_true(hn_run_until(loop, was_told, &s));
	assert_string_equal(s.link.name, "w0");
	assert_int_equal(s.link.mtu, 1500);
	assert_true(s.link.flags & IFF_UP);
	s.want_mtu = 4000;
	hn_set_mtu("w1", 2000);
	hn_set_mtu("w0", 4000);
	assert_true(hn_run_until(loop, mtu_is, &s));
	/* too much at once for the socket: the last word still comes */
	for (int i = 0; i < 3000; i++)
		hn_set_mtu("w0", 2000 + i % 2);
	s.want_mtu = 3500;
	hn_set_mtu("w0", 3500);
	assert_true(hn_run_until(loop, mtu_is, &s));
	close(fd);
	assert_true(hn_run_until(loop, is_gone, &s));
	netlink_unwatch(&s.watch);
	/* one that is gone already */
	s.gone = false;
	assert_int_equal(netlink_watch(&s.watch, loop, &err), 0);
	assert_true(hn_run_until(loop, is_gone, &s));
	netlink_unwatch(&s.watch);
	close(other);
	loop_destroy(loop);
}

/* ---- macvtap and guard ---- */

static void test_macvtap(void **state)
{
	const uint8_t mac[6] = {2, 0, 0, 0, 0, 9};
	struct netlink_link link, second;
	struct err err = {0};
	dev_t dev, dev2;
	int fd, r;

	if (*hn_why_not)
		skip();
	fd = hn_wire("w0");
	r = netlink_add_macvtap("mv0", get("w0").index, MACVLAN_MODE_BRIDGE, mac, &link, &dev,
				&err);
	if (r == -EOPNOTSUPP) {
		close(fd);
		skip(); /* no macvtap */
	}
	assert_int_equal(r, 0);
	assert_string_equal(link.name, "mv0");
	assert_string_equal(link.kind, "macvtap");
	assert_memory_equal(link.mac, mac, 6);
	assert_int_equal(link.lower, get("w0").index);
	assert_int_not_equal(dev, 0);
	assert_int_equal(netlink_add_macvtap("mv0", get("w0").index, MACVLAN_MODE_BRIDGE, NULL,
					     &second, &dev2, &err),
			 -EEXIST);
	/* names of the kernel's kind, devices of their own */
	assert_int_equal(netlink_add_macvtap(NULL, get("w0").index, MACVLAN_MODE_BRIDGE, NULL,
					     &second, &dev2, &err),
			 0);
	assert_string_equal(second.name, "macvtap0");
	assert_int_not_equal(dev, dev2);
	assert_int_equal(netlink_add_macvtap("abcdefghijklmnop", get("w0").index,
					     MACVLAN_MODE_BRIDGE, NULL, &second, &dev2, &err),
			 -ENAMETOOLONG);
	assert_int_equal(netlink_delete(link.index, &err), 0);
	close(fd); /* and takes the other one with it */
	assert_int_equal(if_nametoindex("macvtap0"), 0);
}

static bool has_gone(void *arg)
{
	return !if_nametoindex(arg);
}

/* A process that ends without a word takes its interface with it; one that ends in order doesn't. */
static void test_guard(void **state)
{
	struct ifreq ifr = {.ifr_flags = IFF_TAP | IFF_NO_PI, .ifr_name = "g0"};
	struct netlink_guard guard = {0};
	struct err err = {0};
	int tap, fds[2];
	struct loop *loop;
	pid_t pid;
	char byte;

	if (*hn_why_not)
		skip();
	tap = open("/dev/net/tun", O_RDWR);
	assert_int_equal(ioctl(tap, TUNSETIFF, &ifr), 0);
	netlink_guard_end(&guard); /* none */
	assert_int_equal(netlink_guard_start(&guard, (int)if_nametoindex("g0"), &err), 0);
	assert_int_not_equal(guard.pid, 0);
	netlink_guard_end(&guard);
	assert_int_equal(guard.pid, 0);
	assert_int_not_equal(if_nametoindex("g0"), 0);

	assert_int_equal(pipe2(fds, O_CLOEXEC), 0);
	fflush(NULL);
	pid = fork();
	if (!pid) {
		close(fds[0]);
		if (netlink_guard_start(&guard, (int)if_nametoindex("g0"), &err) ||
		    write(fds[1], "", 1) != 1)
			_exit(1);
		pause();
	}
	close(fds[1]);
	assert_int_equal(read(fds[0], &byte, 1), 1);
	kill(pid, SIGKILL);
	waitpid(pid, NULL, 0);
	assert_int_equal(loop_create(&loop, "control", 0, &err), 0);
	assert_true(hn_run_until(loop, has_gone, (void *)"g0"));
	loop_destroy(loop);
	close(fds[0]);
	close(tap);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_get),    cmocka_unit_test(test_set),
		cmocka_unit_test(test_master), cmocka_unit_test(test_permission),
		cmocka_unit_test(test_watch),  cmocka_unit_test(test_macvtap),
		cmocka_unit_test(test_guard),
	};

	hn_init();
	return cmocka_run_group_tests(tests, NULL, NULL);
}
