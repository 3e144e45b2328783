// SPDX-License-Identifier: Apache-2.0
/* Files that are replaced whole or watched, and the unix socket of the agent. */
#define _GNU_SOURCE
#include "clinux_shims.h"
#include "or_errno.h"

#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/inotify.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

int clinux_rename(const char *from, const char *to)
{
	return OR_ERRNO(rename(from, to));
}

int clinux_rename_new(const char *from, const char *to)
{
	return OR_ERRNO(renameat2(AT_FDCWD, from, AT_FDCWD, to, RENAME_NOREPLACE));
}

int clinux_exchange(const char *one, const char *other)
{
	return OR_ERRNO(renameat2(AT_FDCWD, one, AT_FDCWD, other, RENAME_EXCHANGE));
}

int clinux_unlink(const char *path)
{
	return OR_ERRNO(unlink(path));
}

int clinux_sync(int fd)
{
	return OR_ERRNO(fsync(fd));
}

int clinux_set_mode(int fd, mode_t mode)
{
	return OR_ERRNO(fchmod(fd, mode));
}

int clinux_set_owner(int fd, uid_t uid, gid_t gid)
{
	return OR_ERRNO(fchown(fd, uid, gid));
}

int clinux_file_owner(int fd, mode_t *mode, uid_t *uid, gid_t *gid)
{
	struct stat status;

	if (fstat(fd, &status) < 0)
		return -errno;
	*mode = status.st_mode;
	*uid = status.st_uid;
	*gid = status.st_gid;
	return 0;
}

int clinux_check_unwritten(int fd)
{
	int result;

	/*
	 * A read lease is granted when there is no writer. Breaking one raises a signal that would
	 * end us, unless it is one that nobody minds.
	 */
	if (fcntl(fd, F_SETSIG, SIGURG) < 0)
		return -errno;
	result = OR_ERRNO(fcntl(fd, F_SETLEASE, F_RDLCK));
	if (result == 0)
		result = OR_ERRNO(fcntl(fd, F_SETLEASE, F_UNLCK));
	return result;
}

static int watch(const char *path, uint32_t events)
{
	int fd = OR_ERRNO(inotify_init1(IN_CLOEXEC));
	int result;

	if (fd < 0)
		return fd;
	result = OR_ERRNO(inotify_add_watch(fd, path, events));
	if (result < 0) {
		close(fd);
		return result;
	}
	return fd;
}

int clinux_watch_file(const char *path)
{
	return watch(path, IN_MODIFY);
}

int clinux_watch_directory(const char *path)
{
	return watch(path, IN_CLOSE_WRITE | IN_MOVE | IN_DELETE | IN_DELETE_SELF | IN_MOVE_SELF |
				   IN_ONLYDIR);
}

int clinux_connect_unix(const char *path, int milliseconds)
{
	struct sockaddr_un address = { .sun_family = AF_UNIX };
	size_t length = strlen(path);
	int fd, result;

	if (length >= sizeof(address.sun_path))
		return -ENAMETOOLONG;
	memcpy(address.sun_path, path, length);
	fd = clinux_socket(AF_UNIX, SOCK_STREAM, 0);
	if (fd < 0)
		return fd;
	result = clinux_set_timeouts(fd, milliseconds);
	if (result == 0)
		result = OR_ERRNO(connect(fd, (struct sockaddr *)&address, sizeof(address)));
	if (result < 0) {
		close(fd);
		return result;
	}
	return fd;
}

ssize_t clinux_send_now(int fd, const void *bytes, size_t size)
{
	ssize_t sent = send(fd, bytes, size, MSG_NOSIGNAL | MSG_DONTWAIT);

	return sent < 0 ? -errno : sent;
}

int64_t clinux_limit_files(uint64_t wanted)
{
	struct rlimit limit;

	if (getrlimit(RLIMIT_NOFILE, &limit) != 0)
		return -errno;
	limit.rlim_cur = wanted < limit.rlim_max ? wanted : limit.rlim_max;
	if (setrlimit(RLIMIT_NOFILE, &limit) != 0)
		return -errno;
	return limit.rlim_cur < INT64_MAX ? (int64_t)limit.rlim_cur : INT64_MAX;
}
