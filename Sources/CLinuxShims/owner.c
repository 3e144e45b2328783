/* SPDX-License-Identifier: Apache-2.0 */
#include "clinux_shims.h"

#include <errno.h>
#include <sys/fsuid.h>

int clinux_assume_filesystem_owner(uid_t uid, gid_t gid)
{
	/* They tell of no failure, but of what was there before. */
	setfsgid(gid);
	setfsuid(uid);
	return setfsgid(-1) == (int)gid && setfsuid(-1) == (int)uid ? 0 : -EPERM;
}
