/*
 * Taking an option's words apart: key=value lists and JSON, and what every option does with them.
 */
#include <errno.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "ctl/cmdline.h"

int cmdline_replace(char **field, const char *text)
{
	free(*field);
	*field = strdup(text);
	return *field ? 0 : -ENOMEM;
}

static int json_flatten(struct opt_list *list, json_t *value, const char *prefix)
{
	const char *key;
	json_t *member;
	int rc = 0;

	json_object_foreach(value, key, member) {
		char name[256], number[64];

		if (snprintf(name, sizeof(name), "%s%s%s", prefix, *prefix ? "." : "", key) >=
		    (int)sizeof(name))
			return -EINVAL;
		if (json_is_object(member)) {
			rc = json_flatten(list, member, name);
		} else if (json_is_string(member)) {
			rc = opt_add(list, name, json_string_value(member));
		} else if (json_is_boolean(member)) {
			rc = opt_add(list, name, json_is_true(member) ? "on" : "off");
		} else if (json_is_integer(member)) {
			snprintf(number, sizeof(number), "%" JSON_INTEGER_FORMAT,
				 json_integer_value(member));
			rc = opt_add(list, name, number);
		} else {
			rc = -EINVAL;
		}
		if (rc < 0)
			break;
	}
	return rc;
}

static int json_options(struct opt_list *list, const char *option, const char *text,
			struct err *err)
{
	json_error_t error;
	json_t *value = json_loads(text, JSON_REJECT_DUPLICATES, &error);
	size_t n = strlen(option) + strlen(text) + 2;
	int rc;

	if (!value)
		return err_set(err, -EINVAL, "%s: not valid JSON: %s (column %d)", option,
			       error.text, error.column);
	memset(list, 0, sizeof(*list));
	list->text = malloc(n);
	if (!list->text) {
		json_decref(value);
		return err_set(err, -ENOMEM, "out of memory");
	}
	snprintf(list->text, n, "%s %s", option, text);
	rc = json_is_object(value) ? json_flatten(list, value, "") : -EINVAL;
	json_decref(value);
	if (rc < 0) {
		err_set(err, rc, "%s: members are strings, numbers, booleans and objects", option);
		opt_free(list);
	}
	return rc;
}

int cmdline_options(struct opt_list *list, const char *option, const char *text,
		    const char *implied, struct err *err)
{
	if (*text == '{')
		return json_options(list, option, text, err);
	return opt_parse(list, option, text, implied, err);
}

bool cmdline_asks_help(struct cmdline *cl, const char *text, void (*list)(FILE *out))
{
	if (strcmp(text, "help") && strcmp(text, "?"))
		return false;
	list(stdout);
	cl->done = true;
	return true;
}

char *cmdline_take(struct opt_list *list, const char *key)
{
	const char *value = opt_take(list, key);

	return value ? strdup(value) : NULL;
}

int cmdline_all_taken(const struct opt_list *list, struct err *err)
{
	for (size_t i = 0; i < list->n; i++)
		if (!list->pairs[i].used)
			return err_set(err, -EINVAL, "%s: unknown option '%s'", list->text,
				       list->pairs[i].key);
	return 0;
}

void cmdline_drop_taken(struct opt_list *list)
{
	size_t kept = 0;

	for (size_t i = 0; i < list->n; i++) {
		if (list->pairs[i].used) {
			free(list->pairs[i].key);
			free(list->pairs[i].value);
		} else {
			list->pairs[kept++] = list->pairs[i];
		}
	}
	list->n = kept;
}

void cmdline_make_id(struct cmdline *cl, const char *prefix, char *id, size_t size)
{
	const struct config_item *item;
	unsigned int n = 0;

	do { /* the number always fits */
		snprintf(id, size, "%.*s%u", (int)size - 11, prefix, n++);
		TAILQ_FOREACH(item, &cl->vm.items, link)
			if (item->id && !strcmp(item->id, id))
				break;
	} while (item);
}

int cmdline_item(struct cmdline *cl, enum config_kind kind, const char *option, const char *text,
		 const char *type_key, const char *example, struct err *err)
{
	struct opt_list list = {0};
	char *type, *id;
	int rc = cmdline_options(&list, option, text, type_key, err);

	if (rc < 0)
		return rc;
	type = cmdline_take(&list, type_key);
	id = cmdline_take(&list, "id");
	cmdline_drop_taken(&list);
	if (!type || !id)
		rc = err_set(err, -EINVAL, "%s %s: needs a type and id= (%s)", option, text,
			     example);
	else
		rc = vm_config_add(&cl->vm, kind, type, id, &list);
	free(type);
	free(id);
	opt_free(&list);
	return rc;
}

int cmdline_refuse(struct err *err, const char *option, const char *text, const char *why)
{
	return err_set(err, -EINVAL, "%s %s: %s", option, text, why);
}
