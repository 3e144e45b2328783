// SPDX-License-Identifier: Apache-2.0
#define _GNU_SOURCE
#include "clinux_shims.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <grp.h>
#include <netinet/in.h>
#include <sched.h>
#include <signal.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/file.h>
#include <sys/mount.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <sys/utsname.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#ifndef SO_NETNS_COOKIE
#define SO_NETNS_COOKIE 71
#endif

#define OR_ERRNO(call)                             \
	({                                         \
		__typeof__(call) result_ = (call); \
		result_ < 0 ? -errno : result_;    \
	})

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

int clinux_enter_netns(int fd)
{
	return OR_ERRNO(setns(fd, CLONE_NEWNET));
}

int clinux_unshare_netns(void)
{
	return OR_ERRNO(unshare(CLONE_NEWNET));
}

int clinux_socket(int domain, int type, int protocol)
{
	return OR_ERRNO(socket(domain, type | SOCK_CLOEXEC, protocol));
}

/* Fills `storage` for the socket's own domain and returns its size, or a negative errno. */
static int make_name(int fd, const uint8_t *address, uint16_t port, uint32_t scope,
		     struct sockaddr_storage *storage)
{
	struct sockaddr_in6 *v6 = (struct sockaddr_in6 *)storage;
	struct sockaddr_in *v4 = (struct sockaddr_in *)storage;
	socklen_t size = sizeof(int);
	int domain;

	if (getsockopt(fd, SOL_SOCKET, SO_DOMAIN, &domain, &size) < 0)
		return -errno;
	memset(storage, 0, sizeof(*storage));
	storage->ss_family = domain;
	if (domain == AF_INET) {
		v4->sin_port = htons(port);
		memcpy(&v4->sin_addr, address + 12, 4);
		return sizeof(*v4);
	}
	v6->sin6_port = htons(port);
	v6->sin6_scope_id = scope;
	memcpy(&v6->sin6_addr, address, 16);
	return sizeof(*v6);
}

/* The reverse: 16 bytes of address, IPv4 mapped, and the port in host order. */
static void take_name(const struct sockaddr_storage *storage, uint8_t *address, uint16_t *port)
{
	const struct sockaddr_in6 *v6 = (const struct sockaddr_in6 *)storage;
	const struct sockaddr_in *v4 = (const struct sockaddr_in *)storage;

	memset(address, 0, 16);
	*port = ntohs(v6->sin6_port);
	if (storage->ss_family == AF_INET6) {
		memcpy(address, &v6->sin6_addr, 16);
	} else {
		address[10] = address[11] = 0xff;
		memcpy(address + 12, &v4->sin_addr, 4);
	}
}

int clinux_bind(int fd, const uint8_t *address, uint16_t port, uint32_t scope)
{
	struct sockaddr_storage name;
	int size = make_name(fd, address, port, scope, &name);

	return size < 0 ? size : OR_ERRNO(bind(fd, (struct sockaddr *)&name, size));
}

int clinux_connect(int fd, const uint8_t *address, uint16_t port, uint32_t scope)
{
	struct sockaddr_storage name;
	int size = make_name(fd, address, port, scope, &name);

	return size < 0 ? size : OR_ERRNO(connect(fd, (struct sockaddr *)&name, size));
}

int clinux_accept(int fd, int flags, uint8_t *address, uint16_t *port)
{
	struct sockaddr_storage name = {};
	socklen_t size = sizeof(name);
	int accepted = OR_ERRNO(accept4(fd, (struct sockaddr *)&name, &size, flags | SOCK_CLOEXEC));

	if (accepted >= 0)
		take_name(&name, address, port);
	return accepted;
}

int clinux_local_name(int fd, uint8_t *address, uint16_t *port)
{
	struct sockaddr_storage name = {};
	socklen_t size = sizeof(name);
	int result = OR_ERRNO(getsockname(fd, (struct sockaddr *)&name, &size));

	if (result == 0)
		take_name(&name, address, port);
	return result;
}

int clinux_peer_name(int fd, uint8_t *address, uint16_t *port)
{
	struct sockaddr_storage name = {};
	socklen_t size = sizeof(name);
	int result = OR_ERRNO(getpeername(fd, (struct sockaddr *)&name, &size));

	if (result == 0)
		take_name(&name, address, port);
	return result;
}

int clinux_listen(int fd, int backlog)
{
	return OR_ERRNO(listen(fd, backlog));
}

int clinux_shutdown(int fd, int how)
{
	return OR_ERRNO(shutdown(fd, how));
}

int clinux_getsockopt(int fd, int level, int name, void *value, uint32_t *size)
{
	return OR_ERRNO(getsockopt(fd, level, name, value, size));
}

int clinux_setsockopt(int fd, int level, int name, const void *value, uint32_t size)
{
	return OR_ERRNO(setsockopt(fd, level, name, value, size));
}

int clinux_set_timeouts(int fd, int milliseconds)
{
	struct timeval limit = { .tv_sec = milliseconds / 1000,
				 .tv_usec = milliseconds % 1000 * 1000 };

	if (setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof(limit)) < 0)
		return -errno;
	return OR_ERRNO(setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &limit, sizeof(limit)));
}

int clinux_netns_cookie(int fd, uint64_t *cookie)
{
	socklen_t size = sizeof(*cookie);

	return OR_ERRNO(getsockopt(fd, SOL_SOCKET, SO_NETNS_COOKIE, cookie, &size));
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

/* Room for the one control message of clinux_receive and clinux_send. */
union packet_info {
	struct cmsghdr header;
	char bytes[CMSG_SPACE(sizeof(struct in6_pktinfo))];
};

ssize_t clinux_receive(int fd, void *buffer, size_t size, uint8_t *peer, uint16_t *port,
		       uint8_t *local)
{
	struct sockaddr_storage name = {};
	struct iovec vector = { .iov_base = buffer, .iov_len = size };
	union packet_info info;
	struct msghdr message = { .msg_name = &name,
				  .msg_namelen = sizeof(name),
				  .msg_iov = &vector,
				  .msg_iovlen = 1,
				  .msg_control = &info,
				  .msg_controllen = sizeof(info) };
	ssize_t result = OR_ERRNO(recvmsg(fd, &message, 0));
	struct cmsghdr *control;

	if (result < 0)
		return result;
	take_name(&name, peer, port);
	for (control = CMSG_FIRSTHDR(&message); control; control = CMSG_NXTHDR(&message, control)) {
		struct in6_pktinfo *found = (struct in6_pktinfo *)CMSG_DATA(control);

		if (control->cmsg_level == IPPROTO_IPV6 && control->cmsg_type == IPV6_PKTINFO)
			memcpy(local, &found->ipi6_addr, 16);
	}
	return result;
}

ssize_t clinux_send(int fd, const void *bytes, size_t size, const uint8_t *peer, uint16_t port,
		    const uint8_t *local)
{
	struct sockaddr_storage name;
	int length = make_name(fd, peer, port, 0, &name);
	struct iovec vector = { .iov_base = (void *)bytes, .iov_len = size };
	union packet_info info = {};
	struct msghdr message = {
		.msg_name = &name, .msg_namelen = length, .msg_iov = &vector, .msg_iovlen = 1
	};

	if (length < 0)
		return length;
	if (local) {
		struct in6_pktinfo *source = (struct in6_pktinfo *)CMSG_DATA(&info.header);

		info.header.cmsg_len = CMSG_LEN(sizeof(*source));
		info.header.cmsg_level = IPPROTO_IPV6;
		info.header.cmsg_type = IPV6_PKTINFO;
		memcpy(&source->ipi6_addr, local, 16);
		message.msg_control = &info;
		message.msg_controllen = sizeof(info);
	}
	return OR_ERRNO(sendmsg(fd, &message, MSG_NOSIGNAL));
}

int clinux_assume_owner(uid_t uid, gid_t gid)
{
	/* Only uid 0 may change the group, so it is the first to go and the last to return. */
	if (uid == 0 && syscall(SYS_setresuid, 0, 0, 0) < 0)
		return -errno;
	if (syscall(SYS_setresgid, gid, gid, 0) < 0)
		return -errno;
	return uid == 0 ? 0 : OR_ERRNO((int)syscall(SYS_setresuid, uid, uid, 0));
}

uint64_t clinux_monotonic_nanoseconds(void)
{
	struct timespec now = {};

	clock_gettime(CLOCK_MONOTONIC, &now);
	return now.tv_sec * 1000000000ULL + now.tv_nsec;
}

int clinux_kill(pid_t pid, int signal)
{
	return OR_ERRNO(kill(pid, signal));
}

int clinux_become(uid_t uid, gid_t gid)
{
	if (setgroups(0, NULL) < 0 || setresgid(gid, gid, gid) < 0)
		return -errno;
	return OR_ERRNO(setresuid(uid, uid, uid));
}

/* Shows `file` as /etc/hosts to this process and its children alone. */
static int see_hosts(const char *file)
{
	if (unshare(CLONE_NEWNS) < 0 || mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) < 0)
		return -errno;
	return OR_ERRNO(mount(file, "/etc/hosts", NULL, MS_BIND, NULL));
}

static int redirect(int from, int to)
{
	return from < 0 ? 0 : OR_ERRNO(dup2(from, to));
}

/* Everything between fork(2) and execve(2), in the child. Returns only on failure. */
static int be_born(const struct clinux_birth *birth)
{
	sigset_t none;
	int result = 0;

	if (birth->new_session)
		setsid();
	if (birth->cgroup_procs >= 0)
		result = OR_ERRNO(write(birth->cgroup_procs, "0", 1));
	if (result >= 0 && birth->netns >= 0)
		result = clinux_enter_netns(birth->netns);
	if (result >= 0 && birth->hosts)
		result = see_hosts(birth->hosts);
	if (result >= 0)
		result = redirect(birth->input, 0);
	if (result >= 0)
		result = redirect(birth->output, 1);
	if (result >= 0)
		result = redirect(birth->error, 2);
	if (result >= 0 && birth->drops_privileges)
		result = clinux_become(birth->uid, birth->gid);
	if (result < 0)
		return result;

	sigemptyset(&none);
	sigprocmask(SIG_SETMASK, &none, NULL);
	signal(SIGPIPE, SIG_DFL);
	syscall(SYS_close_range, 3U, ~0U, 4U /* CLOSE_RANGE_CLOEXEC */);
	execvpe(birth->arguments[0], (char *const *)birth->arguments,
		(char *const *)birth->environment);
	return -errno;
}

pid_t clinux_spawn(const struct clinux_birth *birth)
{
	int failure = 0, reader, writer;
	int result = clinux_pipe(&reader, &writer);
	pid_t pid;

	if (result < 0)
		return result;
	pid = OR_ERRNO(fork());
	if (pid == 0) {
		failure = be_born(birth);
		(void)!write(writer, &failure, sizeof(failure));
		_exit(127);
	}
	close(writer);
	/* Nothing to read means that execve closed the pipe: the child lives. */
	if (pid > 0 && read(reader, &failure, sizeof(failure)) == sizeof(failure)) {
		waitpid(pid, NULL, 0);
		pid = failure;
	}
	close(reader);
	return pid;
}

pid_t clinux_wait(pid_t pid, bool blocking, int *status)
{
	int raw = 0;
	pid_t result;

	do {
		result = OR_ERRNO(waitpid(pid, &raw, blocking ? 0 : WNOHANG));
	} while (result == -EINTR);
	*status = WIFSIGNALED(raw) ? 128 + WTERMSIG(raw) : WEXITSTATUS(raw);
	return result;
}

int clinux_pidfd_open(pid_t pid)
{
	return OR_ERRNO((int)syscall(SYS_pidfd_open, pid, 0));
}

int clinux_pidfd_getfd(int pidfd, int fd)
{
	return OR_ERRNO((int)syscall(SYS_pidfd_getfd, pidfd, fd, 0));
}

int clinux_signal_descriptor(const int *signals, size_t count)
{
	sigset_t set;
	size_t i;

	sigemptyset(&set);
	for (i = 0; i < count; i++)
		sigaddset(&set, signals[i]);
	if (sigprocmask(SIG_BLOCK, &set, NULL) < 0)
		return -errno;
	return OR_ERRNO(signalfd(-1, &set, SFD_CLOEXEC));
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
