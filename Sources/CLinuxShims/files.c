// SPDX-License-Identifier: Apache-2.0
#include "clinux_shims.h"

#include <errno.h>
#include <stdio.h>
#include <unistd.h>

int clinux_rename(const char *from, const char *to)
{
	return rename(from, to) < 0 ? -errno : 0;
}

int clinux_unlink(const char *path)
{
	return unlink(path) < 0 ? -errno : 0;
}
