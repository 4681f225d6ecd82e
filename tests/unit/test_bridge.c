/*
 * -netdev bridge with its helper, in a network namespace of this test's own: as root, and as a user to whom the
 * helper's rights are lent. BRIDGE_HELPER_TEST is the helper built with a list in the build folder
 * (BRIDGE_CONF_TEST).
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/wait.h>

#include "hostnet_fixture.h"
#include "net/netlink.h"

static bool no_bridge;

static void list(const char *text, mode_t mode)
{
	FILE *f;

	unlink(BRIDGE_CONF_TEST);
	f = fopen(BRIDGE_CONF_TEST, "w");
	assert_non_null(f);
	fputs(text, f);
	fclose(f);
	assert_int_equal(chmod(BRIDGE_CONF_TEST, mode), 0);
}

static void make_bridge(int mtu)
{
	assert_int_equal(hn_control(SIOCBRADDBR, (void *)"vbr0"), 0);
	hn_set_mtu("vbr0", mtu);
}

static void delete_bridge(void)
{
	hn_set_up("vbr0", false);
	assert_int_equal(hn_control(SIOCBRDELBR, (void *)"vbr0"), 0);
}

/* -netdev bridge with the helper of this build. */
static const char *words(const char *more)
{
	static char text[512];

	snprintf(text, sizeof(text), "bridge,id=n0,helper=%s,br=vbr0%s", BRIDGE_HELPER_TEST, more);
	return text;
}

static void check(struct net_backend *net, bool header)
{
	struct netlink_link link;
	struct err err = {0};
	json_t *object = json_object();
	const char *name;

	net_info(net, object);
	assert_string_equal(json_string_value(json_object_get(object, "type")), "bridge");
	assert_string_equal(json_string_value(json_object_get(object, "br")), "vbr0");
	name = json_string_value(json_object_get(object, "ifname"));
	assert_int_equal(netlink_get(name, 0, &link, &err), 0);
	assert_int_equal(link.master, if_nametoindex("vbr0"));
	assert_true(link.flags & IFF_UP);
	assert_int_equal(link.mtu, 4000);
	assert_int_equal(link.mac[0], 0xfe);
	assert_int_equal(net->frame_max, 4018);
	assert_int_equal(net->has_hdr, header);
	net_destroy(net);
	assert_int_equal(if_nametoindex(link.name), 0);
	json_decref(object);
}

static void test_as_root(void **state)
{
	if (*hn_why_not || no_bridge)
		skip();
	make_bridge(4000);
	list("allow vbr0\n", 0644);
	check(hn_create_or_fail(NULL, words("")), true);
	check(hn_create_or_fail(NULL, words(",vnet_hdr=off")), false);
	delete_bridge();
}

static void test_refusals(void **state)
{
	if (*hn_why_not || no_bridge)
		skip();
	make_bridge(1500);
	list("allow br0\n", 0644);
	hn_refused(words(""), -EACCES, "doesn't allow the bridge vbr0");
	list("allow vbr0\ndeny all\n", 0644);
	hn_refused(words(""), -EACCES, "doesn't allow the bridge vbr0");
	list("allow vbr0\nnonsense\n", 0644);
	hn_refused(words(""), -EACCES, "bridge.conf:2: not a rule");
	unlink(BRIDGE_CONF_TEST);
	hn_refused(words(""), -EACCES, "bridge.conf is not there");
	list("allow all\n", 0644);
	hn_refused("bridge,id=n0,br=nobridge,helper=" BRIDGE_HELPER_TEST, -EACCES,
		   "there is no such interface");
	hn_refused("bridge,id=n0,br=lo,helper=" BRIDGE_HELPER_TEST, -EACCES, "is no bridge");
	hn_refused("bridge,id=n0,br=abcdefghijklmnop", -ENAMETOOLONG, "1 to 15");
	hn_refused("bridge,id=n0,br=", -ENAMETOOLONG, "1 to 15");
	hn_refused(words(",queues=2"), -ENOTSUP, "queues=2");
	hn_refused(words(",helper=/nonexistent/helper"), -ENOENT, "can't be run");
	hn_refused(words(",helper=/bin/true"), -EIO, "ended with status 0 and sent no TAP");
	hn_refused(words(",helper=/bin/false"), -EIO, "ended with status 1");
	delete_bridge();
}

/* Helpers that do what they shouldn't; each is a shell script. */
static void odd_helper(const char *script, int code, const char *say)
{
	char path[] = "/tmp/vireo-test-XXXXXX", text[128];
	int fd = mkstemp(path);

	assert_true(fd >= 0);
	assert_int_equal(write(fd, script, strlen(script)), strlen(script));
	assert_int_equal(fchmod(fd, 0755), 0);
	close(fd);
	snprintf(text, sizeof(text), "bridge,id=n0,br=vbr0,helper=%s", path);
	hn_refused(text, code, say);
	unlink(path);
}

static void test_odd_helpers(void **state)
{
	if (*hn_why_not)
		skip();
	odd_helper("#!/bin/sh\necho one >&2; echo two >&2; exit 1\n", -EACCES, "two");
	odd_helper("#!/bin/sh\nkill -9 $$\n", -EIO, "ended by signal 9");
	/* the byte without the file descriptor; $1 is --fd=N */
	odd_helper("#!/bin/bash\neval \"printf x >&${1#--fd=}\"\n", -EIO, "sent no TAP");
}

/* What the helper itself refuses, from whoever calls it. */
static int run_helper(const char *a, const char *b, const char *c)
{
	int status;
	pid_t pid;

	fflush(NULL);
	pid = fork();
	if (!pid) {
		int null = open("/dev/null", O_RDWR);

		dup2(null, 2);
		execl(BRIDGE_HELPER_TEST, "helper", a, b, c, NULL);
		_exit(99);
	}
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_true(WIFEXITED(status));
	return WEXITSTATUS(status);
}

static void test_helper_words(void **state)
{
	char fd[32];
	int s[2];

	if (*hn_why_not || no_bridge)
		skip();
	make_bridge(1500);
	list("allow all\n", 0644);
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, s), 0);
	snprintf(fd, sizeof(fd), "--fd=%d", s[1]);
	assert_int_equal(run_helper("--br=vbr0", fd, NULL), 0);
	assert_int_equal(run_helper(fd, "--br=vbr0", "--use-vnet"), 0);
	assert_int_equal(run_helper("--br=vbr0", NULL, NULL), 1);
	assert_int_equal(run_helper(fd, NULL, NULL), 1);
	assert_int_equal(run_helper(fd, "--br=", NULL), 1);
	assert_int_equal(run_helper(fd, "--br=vbr0", "--more"), 1);
	assert_int_equal(run_helper("--fd=1x", "--br=vbr0", NULL), 1);
	assert_int_equal(run_helper("--fd=-1", "--br=vbr0", NULL), 1);
	assert_int_equal(run_helper("--fd=2", "--br=vbr0", NULL), 1);	/* no socket */
	assert_int_equal(run_helper("--fd=999", "--br=vbr0", NULL), 1); /* nothing */
	close(s[0]);
	close(s[1]);
	delete_bridge();
}

/* A user, and what he is told. */
static int as_user(const char *text, int code, const char *say)
{
	int status;
	pid_t pid;

	fflush(NULL);
	pid = fork();
	if (!pid) {
		struct net_backend *net;
		struct err err = {0};

		if (setresgid(65534, 65534, 65534) || setresuid(65534, 65534, 65534))
			_exit(1);
		/* of no use to a program with rights */
		setenv("LD_PRELOAD", "/nonexistent.so", 1);
		net = hn_create(NULL, text, &err);
		if (!code) {
			if (!net) {
				fprintf(stderr, "%s\n", err.msg);
				_exit(2);
			}
			check(net, true);
			_exit(0);
		}
		if (!net && err.code == code && strstr(err.msg, say))
			_exit(0);
		fprintf(stderr, "expected %d and \"%s\", got %d: %s\n", code, say, err.code,
			err.msg);
		_exit(3);
	}
	waitpid(pid, &status, 0);
	return status;
}

/* Can that user reach the helper at all, and are its rights honoured there? */
static bool can_lend(void)
{
	return getuid() == 0 && !as_user("bridge,id=n0,br=vbr0,helper=" BRIDGE_HELPER_TEST, -EACCES,
					 "no permission");
}

static void test_as_user(void **state)
{
	if (*hn_why_not || no_bridge)
		skip();
	make_bridge(4000);
	list("allow vbr0\n", 0644);
	if (!can_lend()) {
		print_message("skipped: a user can't run %s\n", BRIDGE_HELPER_TEST);
		delete_bridge();
		skip();
	}
	assert_int_equal(chmod(BRIDGE_HELPER_TEST, 04755), 0);
	if (as_user(words(""), 0, NULL)) {
		assert_int_equal(chmod(BRIDGE_HELPER_TEST, 0755), 0);
		fail_msg("the helper with rights made nothing");
	}
	/* The list is believed only if it is root's alone, and read as the user. */
	list("allow vbr0\n", 0666);
	assert_int_equal(as_user(words(""), -EACCES, "is not root's alone"), 0);
	list("allow vbr0\n", 0644);
	assert_int_equal(chown(BRIDGE_CONF_TEST, 65534, 65534), 0);
	assert_int_equal(as_user(words(""), -EACCES, "is not root's alone"), 0);
	list("allow vbr0\n", 0600);
	assert_int_equal(as_user(words(""), -EACCES, "Permission denied"), 0);
	list("allow other\n", 0644);
	assert_int_equal(as_user(words(""), -EACCES, "doesn't allow"), 0);
	assert_int_equal(chmod(BRIDGE_HELPER_TEST, 0755), 0);
	delete_bridge();
}

static bool lost_bridge(void *arg)
{
	struct netlink_link link;

	return netlink_get(arg, 0, &link, NULL) || !link.master;
}

/* The bridge is deleted while the guest runs: the TAP stays, and the frames come to nothing. */
static void test_bridge_gone(void **state)
{
	struct net_host host = {0};
	struct net_backend *net;
	struct err err = {0};
	uint8_t buf[12 + 64] = {0};
	struct iovec iov = {buf, sizeof(buf)};
	char text[128];

	if (*hn_why_not || no_bridge)
		skip();
	assert_int_equal(loop_create(&host.control, "control", 0, &err), 0);
	make_bridge(4000);
	net = hn_create_or_fail(&host, "tap,id=n0,ifname=vt0,br=vbr0");
	assert_int_equal(net->ops->set_offloads(net, 0, 12), 0);
	hn_run(host.control, 20);
	assert_false(lost_bridge((void *)"vt0"));
	delete_bridge();
	assert_true(hn_run_until(host.control, lost_bridge, (void *)"vt0"));
	hn_run(host.control, 20);
	memset(buf + 12, 0xff, 6);
	assert_int_equal(net->ops->send(net->queue[0], &iov, 1), 0);
	assert_int_equal(counter_get(&net->queue[0]->counters.tx_packets), 1);
	snprintf(text, sizeof(text), "tap,id=n0,ifname=vt1,br=vbr0");
	hn_refused(text, -ENODEV, "ip link add vbr0 type bridge");
	net_destroy(net);
	loop_destroy(host.control);
}

static int end(void **state)
{
	unlink(BRIDGE_CONF_TEST);
	return 0;
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_as_root),	    cmocka_unit_test(test_refusals),
		cmocka_unit_test(test_odd_helpers), cmocka_unit_test(test_helper_words),
		cmocka_unit_test(test_as_user),	    cmocka_unit_test(test_bridge_gone),
	};

	hn_init();
	if (!*hn_why_not) {
		no_bridge = hn_control(SIOCBRADDBR, (void *)"vbr0");
		if (no_bridge)
			print_message("skipping: no bridge: %s\n", strerror(errno));
		else
			hn_control(SIOCBRDELBR, (void *)"vbr0");
	}
	return cmocka_run_group_tests(tests, NULL, end);
}
