/*
 * -netdev user: ports of the host's that lead into the guest, and what there is to say about one.
 *
 * Control thread; takes user.lock.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "net/user_impl.h"

static struct user_forward *user_find_forward(struct user *u, const struct user_forward *f)
{
	for (unsigned int i = 0; i < u->n_forward; i++)
		if (u->forward[i].udp == f->udp && u->forward[i].host.s_addr == f->host.s_addr &&
		    u->forward[i].host_port == f->host_port)
			return &u->forward[i];
	return NULL;
}

int user_forward_add(struct user *u, const char *rule, struct err *err)
{
	struct user_forward f, *list;
	int r = user_forward_parse(rule, true, &u->addr, &f, err);

	if (r)
		return r;
	list = reallocarray(u->forward, u->n_forward + 1, sizeof(*list));
	if (!list)
		return err_set(err, -ENOMEM, "out of memory");
	u->forward = list;
	if (slirp_add_hostfwd(u->slirp, f.udp, f.host, f.host_port, f.guest, f.guest_port) < 0) {
		r = err_errno(err, "hostfwd=%s: %s port %u of the host", rule,
			      f.udp ? "UDP" : "TCP", f.host_port);
		if (r == -EADDRINUSE)
			err_hint(err, "(somebody has it: take another, or 0 for any)");
		else if (r == -EACCES)
			err_hint(err, "(a user's ports begin at 1024)");
		return r;
	}
	list[u->n_forward++] = f;
	return 0;
}

static int user_forward_remove(struct user *u, const char *rule, struct err *err)
{
	struct user_forward f, *found;
	int r = user_forward_parse(rule, false, &u->addr, &f, err);

	if (r)
		return r;
	if (slirp_remove_hostfwd(u->slirp, f.udp, f.host, f.host_port) < 0)
		return err_set(err, -ENOENT, "hostfwd=%s: is not forwarded (info usernet)", rule);
	found = user_find_forward(u, &f);
	f.host_port = 0; /* it may be one that the kernel has picked */
	if (!found)
		found = user_find_forward(u, &f);
	if (found)
		*found = u->forward[--u->n_forward];
	return 0;
}

int user_change_forward(struct net_backend *net, const char *rule, bool add, struct err *err)
{
	struct user *u = user_of(net);
	int r;

	pthread_mutex_lock(&u->lock);
	r = add ? user_forward_add(u, rule, err) : user_forward_remove(u, rule, err);
	if (!r)
		user_watch(u);
	pthread_mutex_unlock(&u->lock);
	return r;
}

static void user_add_lines(json_t *list, char *text)
{
	char *line;

	while ((line = strsep(&text, "\n"))) {
		line[strcspn(line, "\r")] = '\0';
		if (*line)
			json_array_append_new(list, json_string(line));
	}
}

json_t *user_connections(struct net_backend *net)
{
	struct user *u = user_of(net);
	json_t *list = json_array();
	char *text;

	pthread_mutex_lock(&u->lock);
	text = slirp_connection_info(u->slirp);
	pthread_mutex_unlock(&u->lock);
	user_add_lines(list, text);
	free(text); /* GLib's allocator is the C library's since 2.46 */
	return list;
}

void user_info(struct net_backend *net, json_t *object)
{
	struct user *u = user_of(net);
	json_t *list = json_array();
	char text[USER_FORWARD_TEXT];

	json_object_set_new(object, "net", json_string(u->opt.net));
	json_object_set_new(object, "restrict", json_boolean(u->opt.restricted));
	pthread_mutex_lock(&u->lock);
	for (unsigned int i = 0; i < u->n_forward; i++) {
		user_forward_text(&u->forward[i], text, sizeof(text));
		json_array_append_new(list, json_string(text));
	}
	json_object_set_new(object, "sockets", json_integer(u->sockets));
	pthread_mutex_unlock(&u->lock);
	json_object_set_new(object, "hostfwd", list);
}
