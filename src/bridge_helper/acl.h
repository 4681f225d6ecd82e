/*
 * Which bridges users may put a TAP into: the access list of vireo-bridge-helper.
 *
 * A text file, one rule a line; blanks around words, empty lines, and what follows a # don't count:
 *
 *	allow br0
 *	deny br1
 *	allow all
 *	deny all
 *	include FILE            its path from the root
 *
 * What no rule allows is denied, and a deny wins over any allow, wherever either stands. So an included
 * file can take away, too. The same words with the same meaning as in QEMU's bridge.conf.
 */
#ifndef VIREO_BRIDGE_HELPER_ACL_H
#define VIREO_BRIDGE_HELPER_ACL_H

#include <stdbool.h>
#include <stddef.h>

#include "base/err.h"

/* What the rules say about one bridge; all zero at first. */
struct acl {
	const char *bridge;
	bool allowed, denied;
	/* Takes the rules of `path` (acl_file(), usually): fails like acl_text(). */
	int (*include)(struct acl *acl, const char *path, unsigned int depth, struct err *err);
	bool trusted_only; /* acl_file(): the file has to be root's, and no one else may write to it */
};

#define ACL_DEPTH_MAX 8		/* files within files */
#define ACL_FILE_MAX  (1 << 20) /* bytes of a file */

/* Takes rules from text[0..len), no 0 needed behind it; source and depth of the file for messages and
 * includes. 0, or -errno with err set at a line that is no rule, or an include that fails. */
int acl_text(struct acl *acl, const char *text, size_t len, const char *source, unsigned int depth,
	     struct err *err);

/* The same from a file. One that isn't there or that may not be read is an error at depth 0, and says
 * nothing as an include: so a file that only some users may read is a rule for those. */
int acl_file(struct acl *acl, const char *path, unsigned int depth, struct err *err);

/* What came out of it. */
static inline bool acl_allows(const struct acl *acl)
{
	return acl->allowed && !acl->denied;
}

#endif
