/*
 * -drive and -blockdev.
 *
 * Both become a CONFIG_BLOCKDEV with blk/'s option names; -drive if=virtio adds the disk as well.
 * Of -blockdev's layers (a format over a file, each a node of its own) the file's options move to
 * where the format names it, as "file.KEY".
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "ctl/cmdline.h"
#include "machine/names.h"

struct cache_mode {
	const char *name;
	bool direct, no_flush, writethrough;
};

static const struct cache_mode cache_modes[] = {
	{"writeback", false, false, false},   {"none", true, false, false},
	{"writethrough", false, false, true}, {"directsync", true, false, true},
	{"unsafe", false, true, false},
};

static int drive_cache(struct opt_list *blk, struct opt_list *dev, const char *mode,
		       const char *text, struct err *err)
{
	const struct cache_mode *m = NULL;
	int rc;

	for (size_t i = 0; i < sizeof(cache_modes) / sizeof(cache_modes[0]); i++)
		if (!strcmp(mode, cache_modes[i].name))
			m = &cache_modes[i];
	if (!m)
		return err_set(
			err, -EINVAL,
			"-drive %s: cache=%s: writeback, none, writethrough, directsync or unsafe",
			text, mode);
	rc = opt_add(blk, "cache.direct", m->direct ? "on" : "off");
	if (rc == 0)
		rc = opt_add(blk, "cache.no-flush", m->no_flush ? "on" : "off");
	if (rc == 0 && m->writethrough)
		rc = opt_add(dev, "write-cache", "off");
	return rc;
}

/* Takes what -drive says about the image into blk, and about the disk into dev. */
static int drive_words(struct opt_list *list, struct opt_list *blk, struct opt_list *dev,
		       const char *text, struct err *err)
{
	static const struct {
		const char *from, *to;
		bool dev;
	} words[] = {
		{"file", "filename", false},
		{"format", "driver", false},
		{"readonly", "read-only", false},
		{"read-only", "read-only", false},
		{"discard", "discard", false},
		{"cache.direct", "cache.direct", false},
		{"cache.no-flush", "cache.no-flush", false},
		{"serial", "serial", true},
		{"addr", "addr", true},
	};
	/* What is so anyway; any other value can't be honoured. aio: io_uring serves them all. */
	static const struct {
		const char *key;
		const char *values[4];
	} facts[] = {
		{"media", {"disk"}},
		{"snapshot", {"off"}},
		{"werror", {"report"}},
		{"rerror", {"report"}},
		{"aio", {"io_uring", "native", "threads"}},
		{"copy-on-read", {"off"}},
		{"detect-zeroes", {"off"}},
	};
	const char *v;
	int rc = 0;

	for (size_t i = 0; rc == 0 && i < sizeof(words) / sizeof(words[0]); i++)
		if ((v = opt_take(list, words[i].from)))
			rc = opt_add(words[i].dev ? dev : blk, words[i].to, v);
	if (rc == 0 && (v = opt_take(list, "cache")))
		rc = drive_cache(blk, dev, v, text, err);
	for (size_t i = 0; rc == 0 && i < sizeof(facts) / sizeof(facts[0]); i++) {
		bool fits = false;

		v = opt_take(list, facts[i].key);
		for (int k = 0; v && k < 4 && facts[i].values[k]; k++)
			fits |= !strcmp(v, facts[i].values[k]);
		if (v && !fits)
			rc = err_set(err, -EINVAL, "-drive %s: vireo has %s=%s", text, facts[i].key,
				     facts[i].values[0]);
	}
	opt_take(list, "index"); /* the order of the command line gives the same */
	return rc;
}

int cmdline_drive(struct cmdline *cl, const char *text, struct err *err)
{
	struct opt_list list = {0}, blk = {0}, dev = {0};
	char made_up[32], *iface = NULL, *id = NULL;
	int rc = cmdline_options(&list, "-drive", text, NULL, err);

	if (rc < 0)
		return rc;
	rc = opt_parse(&blk, list.text, "", NULL, err);
	if (rc == 0)
		rc = opt_parse(&dev, list.text, "", NULL, err);
	if (rc < 0)
		goto out;
	iface = cmdline_take(&list, "if");
	id = cmdline_take(&list, "id");
	if (!iface || (strcmp(iface, "virtio") && strcmp(iface, "none"))) {
		rc = err_set(err, -EINVAL,
			     "-drive %s: if=%s: this version has if=virtio and if=none", text,
			     iface ? iface : "ide (the default)");
		goto out;
	}
	if (!id) {
		cmdline_make_id(cl, iface, made_up, sizeof(made_up));
		id = strdup(made_up);
	}
	rc = drive_words(&list, &blk, &dev, text, err);
	if (rc == 0)
		rc = cmdline_all_taken(&list, err);
	if (rc == 0 && !opt_get(&blk, "filename"))
		rc = err_set(err, -EINVAL, "-drive %s: needs file=", text);
	if (rc == 0)
		rc = vm_config_add(&cl->vm, CONFIG_BLOCKDEV, "drive", id, &blk);
	if (rc == 0 && !strcmp(iface, "virtio")) {
		rc = opt_add(&dev, "drive", id);
		if (rc == 0)
			rc = vm_config_add(&cl->vm, CONFIG_DEVICE, "virtio-blk-pci", NULL, &dev);
	}
out:
	free(iface);
	free(id);
	opt_free(&list);
	opt_free(&blk);
	opt_free(&dev);
	return rc;
}

static struct config_item *find_node(struct cmdline *cl, const char *id)
{
	struct config_item *item;

	TAILQ_FOREACH(item, &cl->vm.items, link)
		if (item->kind == CONFIG_BLOCKDEV && item->id && !strcmp(item->id, id))
			return item;
	return NULL;
}

/* Moves the options of the node `name` into list, as "file.KEY", and takes the node away. */
static int absorb_file(struct cmdline *cl, struct opt_list *list, const char *name, struct err *err)
{
	struct config_item *item = find_node(cl, name);
	char key[256];
	int rc = 0;

	if (!item)
		return err_set(err, -ENOENT,
			       "%s: file=%s: no -blockdev before it has this node-name", list->text,
			       name);
	for (size_t i = 0; rc == 0 && i < item->list.n; i++) {
		snprintf(key, sizeof(key), "file.%s", item->list.pairs[i].key);
		rc = opt_add(list, key, item->list.pairs[i].value);
	}
	TAILQ_REMOVE(&cl->vm.items, item, link);
	free(item->type);
	free(item->id);
	opt_free(&item->list);
	free(item);
	return rc;
}

int cmdline_blockdev(struct cmdline *cl, const char *text, struct err *err)
{
	struct opt_list list = {0};
	char *id, *file;
	int rc;

	if (cmdline_asks_help(cl, text, names_list_blockdevs))
		return 0;
	rc = cmdline_options(&list, "-blockdev", text, "driver", err);
	if (rc < 0)
		return rc;
	id = cmdline_take(&list, "node-name");
	file = cmdline_take(&list, "file");
	cmdline_drop_taken(&list);
	if (!id || !opt_get(&list, "driver"))
		rc = err_set(err, -EINVAL, "%s: needs driver= and node-name=", list.text);
	else if (file)
		rc = absorb_file(cl, &list, file, err);
	if (rc == 0)
		rc = vm_config_add(&cl->vm, CONFIG_BLOCKDEV, "blockdev", id, &list);
	free(id);
	free(file);
	opt_free(&list);
	return rc;
}
