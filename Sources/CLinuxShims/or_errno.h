/* SPDX-License-Identifier: Apache-2.0 */
/* What a call returns, or -errno where it failed; within this library only. */
#ifndef CLINUX_OR_ERRNO_H
#define CLINUX_OR_ERRNO_H

#include <errno.h>

#define OR_ERRNO(call)                             \
	({                                         \
		__typeof__(call) result_ = (call); \
		result_ < 0 ? -errno : result_;    \
	})

#endif
