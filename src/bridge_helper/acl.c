/*
 * The access list: see acl.h. It runs with whatever rights the program has left: none but to read
 * files as the user who called it.
 */
#include "bridge_helper/acl.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* A line's words; more than two is one too many. */
struct words {
	const char *at[3];
	size_t len[3];
	unsigned int n;
};

static bool is_blank(char c)
{
	return c == ' ' || c == '\t' || c == '\r' || c == '\v' || c == '\f';
}

static void split(const char *line, size_t len, struct words *w)
{
	size_t i = 0;

	w->n = 0;
	while (w->n < 3) {
		while (i < len && is_blank(line[i]))
			i++;
		if (i == len || line[i] == '#')
			return;
		w->at[w->n] = line + i;
		while (i < len && !is_blank(line[i]) && line[i] != '#')
			i++;
		w->len[w->n] = (size_t)(line + i - w->at[w->n]);
		w->n++;
	}
}

static bool word_is(const struct words *w, unsigned int i, const char *text)
{
	return w->len[i] == strlen(text) && !memcmp(w->at[i], text, w->len[i]);
}

static int acl_include(struct acl *acl, const struct words *w, unsigned int depth, struct err *err)
{
	char *path;
	int r;

	if (w->at[1][0] != '/')
		return err_set(err, -EINVAL,
			       "include %.*s: not a path from the root (its caller chooses what "
			       "folder the program is in)",
			       w->len[1] > 64 ? 64 : (int)w->len[1], w->at[1]);
	if (depth + 1 >= ACL_DEPTH_MAX)
		return err_set(err, -ELOOP, "more than %d files within files", ACL_DEPTH_MAX);
	path = strndup(w->at[1], w->len[1]);
	if (!path)
		return err_set(err, -ENOMEM, "out of memory");
	r = acl->include(acl, path, depth + 1, err);
	free(path);
	return r;
}

static int acl_rule(struct acl *acl, const struct words *w, unsigned int depth, struct err *err)
{
	bool ours;

	if (w->n != 2)
		return err_set(
			err, -EINVAL,
			"not a rule (allow BRIDGE, deny BRIDGE, allow all, deny all, include "
			"FILE)");
	ours = word_is(w, 1, "all") || word_is(w, 1, acl->bridge);
	if (word_is(w, 0, "allow"))
		acl->allowed |= ours;
	else if (word_is(w, 0, "deny"))
		acl->denied |= ours;
	else if (word_is(w, 0, "include"))
		return acl_include(acl, w, depth, err);
	else
		return err_set(err, -EINVAL, "\"%.*s\" is no rule (allow, deny, include)",
			       w->len[0] > 32 ? 32 : (int)w->len[0], w->at[0]);
	return 0;
}

int acl_text(struct acl *acl, const char *text, size_t len, const char *source, unsigned int depth,
	     struct err *err)
{
	const char *end = text + len;
	unsigned int number = 0;
	struct words w;
	int r;

	while (text < end) {
		const char *newline = memchr(text, '\n', (size_t)(end - text));
		const char *stop = newline ? newline : end;

		number++;
		split(text, (size_t)(stop - text), &w);
		r = w.n ? acl_rule(acl, &w, depth, err) : 0;
		if (r) {
			err_prefix(err, "%s:%u", source, number);
			return r;
		}
		text = newline ? newline + 1 : end;
	}
	return 0;
}

static int acl_check_file(const struct acl *acl, const struct stat *st, const char *path,
			  struct err *err)
{
	if (!S_ISREG(st->st_mode))
		return err_set(err, -EINVAL, "%s is no file", path);
	if (st->st_size > ACL_FILE_MAX)
		return err_set(err, -EFBIG, "%s is larger than 1 MiB", path);
	if (acl->trusted_only && (st->st_uid || st->st_mode & (S_IWGRP | S_IWOTH)))
		return err_set(err, -EPERM, "%s is not root's alone (chown root %s; chmod go-w %s)",
			       path, path, path);
	return 0;
}

int acl_file(struct acl *acl, const char *path, unsigned int depth, struct err *err)
{
	/* O_NONBLOCK: a pipe is found out about, and not waited for. */
	int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK);
	char *text = NULL;
	struct stat st;
	ssize_t n = 0;
	int r;

	if (fd < 0 && depth && (errno == ENOENT || errno == EACCES))
		return 0;
	if (fd < 0)
		return err_errno(err, "%s", path);
	r = fstat(fd, &st) ? err_errno(err, "%s", path) : acl_check_file(acl, &st, path, err);
	if (!r && !(text = malloc((size_t)st.st_size + 1)))
		r = err_set(err, -ENOMEM, "out of memory");
	if (!r && (n = read(fd, text, (size_t)st.st_size)) < 0)
		r = err_errno(err, "%s", path);
	/* A part of it is not what it says: its last line may be a deny. */
	if (!r && n != st.st_size)
		r = err_set(err, -EAGAIN, "%s changes while it is read (try again)", path);
	if (!r)
		r = acl_text(acl, text, (size_t)n, path, depth, err);
	free(text);
	close(fd);
	return r;
}
