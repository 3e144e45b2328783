// SPDX-License-Identifier: Apache-2.0
/* Descriptors of any kind, and what the kernel says of itself. */
#define _GNU_SOURCE
#include "clinux_shims.h"
#include "or_errno.h"

#include <fcntl.h>
#include <poll.h>
#include <sched.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/file.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/utsname.h>
#include <time.h>
#include <unistd.h>

int clinux_open(const char *path, int flags, mode_t mode)
{
	return OR_ERRNO(open(path, flags | O_CLOEXEC, mode));
}

int clinux_close(int fd)
{
	return OR_ERRNO(close(fd));
}

int clinux_duplicate(int fd)
{
	return OR_ERRNO(fcntl(fd, F_DUPFD_CLOEXEC, 0));
}

int clinux_pipe(int *reader, int *writer)
{
	int ends[2];
	int result = OR_ERRNO(pipe2(ends, O_CLOEXEC));

	if (result == 0) {
		*reader = ends[0];
		*writer = ends[1];
	}
	return result;
}

ssize_t clinux_read(int fd, void *buffer, size_t size)
{
	return OR_ERRNO(read(fd, buffer, size));
}

ssize_t clinux_write(int fd, const void *bytes, size_t size)
{
	/* A socket's closed peer is an error to report, not a signal to die of. */
	ssize_t result = send(fd, bytes, size, MSG_NOSIGNAL);

	if (result < 0 && errno == ENOTSOCK)
		result = write(fd, bytes, size);
	return result < 0 ? -errno : result;
}

int clinux_lock(int fd)
{
	return OR_ERRNO(flock(fd, LOCK_EX | LOCK_NB));
}

int clinux_mkdir(const char *path, mode_t mode)
{
	return OR_ERRNO(mkdir(path, mode));
}

int clinux_rmdir(const char *path)
{
	return OR_ERRNO(rmdir(path));
}

int clinux_chown(const char *path, uid_t uid, gid_t gid)
{
	return OR_ERRNO(chown(path, uid, gid));
}

int clinux_inode(int fd, uint64_t *inode)
{
	struct stat status;
	int result = OR_ERRNO(fstat(fd, &status));

	if (result == 0)
		*inode = status.st_ino;
	return result;
}

int clinux_file_version(const char *path, struct clinux_file_version *version)
{
	struct stat status;
	int result = OR_ERRNO(stat(path, &status));

	if (result == 0)
		*version = (struct clinux_file_version){
			.inode = status.st_ino,
			.seconds = status.st_ctim.tv_sec,
			.nanoseconds = status.st_ctim.tv_nsec,
			.bytes = status.st_size,
		};
	return result;
}

int clinux_enter_netns(int fd)
{
	return OR_ERRNO(setns(fd, CLONE_NEWNET));
}

int clinux_unshare_netns(void)
{
	return OR_ERRNO(unshare(CLONE_NEWNET));
}

int clinux_cgroup_id(int fd, uint64_t *id)
{
	struct {
		struct file_handle handle;
		uint64_t id;
	} room = { .handle = { .handle_bytes = sizeof(room.id) } };
	int mount;
	int status = OR_ERRNO(name_to_handle_at(fd, "", &room.handle, &mount, AT_EMPTY_PATH));

	memcpy(id, room.handle.f_handle, sizeof(*id));
	return status;
}

int clinux_poll_input(int fd, int milliseconds)
{
	struct pollfd poller = { .fd = fd, .events = POLLIN };
	int result = OR_ERRNO(poll(&poller, 1, milliseconds));

	return result > 0 ? poller.revents : result;
}

const short clinux_input = POLLIN, clinux_output = POLLOUT;

int clinux_poll_first(const int *fds, size_t count, short events, int milliseconds)
{
	struct pollfd pollers[64];
	int result;
	size_t i;

	if (count > sizeof(pollers) / sizeof(pollers[0]))
		return -EINVAL;
	for (i = 0; i < count; i++)
		pollers[i] = (struct pollfd){ .fd = fds[i], .events = events };
	result = OR_ERRNO(poll(pollers, count, milliseconds));
	if (result <= 0)
		return result;
	for (i = 0; !pollers[i].revents; i++)
		;
	return i + 1;
}

int clinux_poll_set(const int *fds, size_t count)
{
	struct epoll_event event = { .events = EPOLLIN };
	int set = OR_ERRNO(epoll_create1(EPOLL_CLOEXEC));
	size_t i;

	for (i = 0; i < count && set >= 0; i++) {
		int status = OR_ERRNO(epoll_ctl(set, EPOLL_CTL_ADD, fds[i], &event));

		if (status < 0) {
			close(set);
			return status;
		}
	}
	return set;
}

uint64_t clinux_monotonic_nanoseconds(void)
{
	struct timespec now = {};

	clock_gettime(CLOCK_MONOTONIC, &now);
	return now.tv_sec * 1000000000ULL + now.tv_nsec;
}

int clinux_kernel_release(char *release, size_t size)
{
	struct utsname name;
	int result = OR_ERRNO(uname(&name));
	size_t length;

	if (result < 0)
		return result;
	length = strnlen(name.release, size - 1);
	memcpy(release, name.release, length);
	release[length] = 0;
	return 0;
}
