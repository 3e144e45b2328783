/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Linux, as Swift sees it: the calls that Swift cannot make by itself.
 *
 * Each function says why it exists:
 *   [errno]     only C can read errno before anything else runs
 *   [variadic]  Swift cannot call C functions with variable arguments
 *   [macro]     the constant or function is a macro
 *   [nolibc]    the C library has no wrapper, or Swift's importer hides it
 *   [fork]      the child of a threaded process may only do what C spells out
 *
 * All return a value >= 0, or a negative errno.
 */
#ifndef CLINUX_SHIMS_H
#define CLINUX_SHIMS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

/* [variadic] [errno] open(2), always with O_CLOEXEC. */
int clinux_open(const char *_Nonnull path, int flags, mode_t mode);

/* [errno] close(2). */
int clinux_close(int fd);

/* [variadic] [errno] fcntl(F_DUPFD_CLOEXEC): a new descriptor for the same thing. */
int clinux_duplicate(int fd);

/*
 * [errno] How many descriptors the process may have open, setrlimit(RLIMIT_NOFILE): `wanted`, or as
 * many as it is allowed to want when that is less; returns how many.
 */
int64_t clinux_limit_files(uint64_t wanted);

/* [errno] pipe2(O_CLOEXEC). */
int clinux_pipe(int *_Nonnull reader, int *_Nonnull writer);

/* [errno] read(2) and write(2). */
ssize_t clinux_read(int fd, void *_Nonnull buffer, size_t size);
ssize_t clinux_write(int fd, const void *_Nonnull bytes, size_t size);

/* [errno] flock(LOCK_EX | LOCK_NB): -EWOULDBLOCK while another has the lock. */
int clinux_lock(int fd);

/*
 * [errno] rename(2); renameat2(2) that fails with -EEXIST if there is something, or leaves each file
 * under the other's name; unlink(2).
 */
int clinux_rename(const char *_Nonnull from, const char *_Nonnull to);
int clinux_rename_new(const char *_Nonnull from, const char *_Nonnull to);
int clinux_exchange(const char *_Nonnull one, const char *_Nonnull other);
int clinux_unlink(const char *_Nonnull path);

/* [errno] fsync(2), fchmod(2), fchown(2). */
int clinux_sync(int fd);
int clinux_set_mode(int fd, mode_t mode);
int clinux_set_owner(int fd, uid_t uid, gid_t gid);

/* [errno] [macro] The mode, kind included, owner and group of what is open. */
int clinux_file_owner(int fd, mode_t *_Nonnull mode, uid_t *_Nonnull uid, gid_t *_Nonnull gid);

/*
 * [macro] [errno] Whether anybody has the file open for writing: -EAGAIN if so. `fd` is for reading
 * alone.
 */
int clinux_check_unwritten(int fd);

/* [errno] mkdir(2), rmdir(2), chown(2). */
int clinux_mkdir(const char *_Nonnull path, mode_t mode);
int clinux_rmdir(const char *_Nonnull path);
int clinux_chown(const char *_Nonnull path, uid_t uid, gid_t gid);

/* [errno] The inode number of an open file; a namespace's identity. */
int clinux_inode(int fd, uint64_t *_Nonnull inode);

/* What tells a file from another one of its name: its number, and when it was last changed. */
struct clinux_file_version {
	uint64_t inode;
	int64_t seconds;
	int64_t nanoseconds;
	int64_t bytes;
};

/* [errno] The version of a file. */
int clinux_file_version(const char *_Nonnull path, struct clinux_file_version *_Nonnull version);

/* [errno] setns(CLONE_NEWNET) and unshare(CLONE_NEWNET), for the calling thread. */
int clinux_enter_netns(int fd);
int clinux_unshare_netns(void);

/* [errno] socket(2), always with SOCK_CLOEXEC. */
int clinux_socket(int domain, int type, int protocol);

/*
 * [errno] Calls that take or give a sockaddr. Addresses are 16 bytes, IPv4 mapped into IPv6; the
 * socket's own domain decides which sockaddr the kernel sees.
 */
int clinux_bind(int fd, const uint8_t *_Nonnull address, uint16_t port, uint32_t scope);
int clinux_connect(int fd, const uint8_t *_Nonnull address, uint16_t port, uint32_t scope);
int clinux_accept(int fd, int flags, uint8_t *_Nonnull address, uint16_t *_Nonnull port);
int clinux_local_name(int fd, uint8_t *_Nonnull address, uint16_t *_Nonnull port);
int clinux_peer_name(int fd, uint8_t *_Nonnull address, uint16_t *_Nonnull port);

/*
 * [errno] [macro] A stream to the unix socket at `path`, waited for at most so long; -EAGAIN when
 * that passes while the listener's queue is full.
 */
int clinux_connect_unix(const char *_Nonnull path, int milliseconds);

/* [errno] [macro] send(2) that neither waits nor raises SIGPIPE. */
ssize_t clinux_send_now(int fd, const void *_Nonnull bytes, size_t size);

/* [errno] listen(2), shutdown(2). */
int clinux_listen(int fd, int backlog);
int clinux_shutdown(int fd, int how);

/* [errno] getsockopt(2) and setsockopt(2). */
int clinux_getsockopt(int fd, int level, int name, void *_Nullable value, uint32_t *_Nonnull size);
int clinux_setsockopt(int fd, int level, int name, const void *_Nonnull value, uint32_t size);

/* [errno] [macro] SO_RCVTIMEO and SO_SNDTIMEO, in milliseconds. */
int clinux_set_timeouts(int fd, int milliseconds);

/*
 * [errno] The id of the cgroup whose directory is open, all 64 bits of it: of a file handle
 * (name_to_handle_at(2)), for before Linux 5.5 its inode number has only half of them.
 */
int clinux_cgroup_id(int fd, uint64_t *_Nonnull id);

/* [errno] [macro] SO_NETNS_COOKIE (Linux 5.14). */
int clinux_netns_cookie(int fd, uint64_t *_Nonnull cookie);

/* [errno] poll(2) on one descriptor for input. Returns 0 on timeout, else revents. */
int clinux_poll_input(int fd, int milliseconds);

/*
 * [errno] poll(2) on several descriptors for `events`. Returns 0 on timeout, else one more than the
 * index of the first that is ready.
 */
int clinux_poll_first(const int *_Nonnull fds, size_t count, short events, int milliseconds);

/* [errno] [macro] A descriptor with input whenever one of `fds` has: epoll_create1(2). */
int clinux_poll_set(const int *_Nonnull fds, size_t count);

/* [macro] What clinux_poll_first waits for: POLLIN, POLLOUT. */
extern const short clinux_input, clinux_output;

/*
 * [macro] [errno] Datagrams with both ends named, recvmsg(2) and sendmsg(2), for IPv6 sockets that
 * asked for IPV6_RECVPKTINFO; for others, `local` stays as it is, and must be NULL when sending.
 */
ssize_t clinux_receive(int fd, void *_Nonnull buffer, size_t size, uint8_t *_Nonnull peer,
		       uint16_t *_Nonnull port, uint8_t *_Nonnull local);
ssize_t clinux_send(int fd, const void *_Nonnull bytes, size_t size, const uint8_t *_Nonnull peer,
		    uint16_t port, const uint8_t *_Nullable local);

/*
 * [nolibc] [errno] The owner of what the calling *thread* does next; libc's setresuid(2) would
 * change every thread. The saved ids stay 0, so that 0, 0 leads back.
 */
int clinux_assume_owner(uid_t uid, gid_t gid);

/*
 * [nolibc] [errno] The same for the filesystem user and group alone, which a socket's owner is; Swift's
 * Glibc has no setfsuid(2).
 */
int clinux_assume_filesystem_owner(uid_t uid, gid_t gid);

/* [macro] CLOCK_MONOTONIC in nanoseconds, the clock of bpf_ktime_get_ns(). */
uint64_t clinux_monotonic_nanoseconds(void);

/* [errno] kill(2). */
int clinux_kill(pid_t pid, int signal);

/* What a child process is born with. A descriptor of -1 means the parent's own. */
struct clinux_birth {
	const char *const _Nullable *_Nonnull arguments; /* NULL-terminated */
	const char *const _Nullable *_Nonnull environment; /* NULL-terminated */
	int netns; /* network namespace to enter */
	int cgroup_procs; /* cgroup.procs to write itself into */
	int input, output, error;
	uid_t uid;
	gid_t gid;
	bool drops_privileges; /* whether uid and gid apply */
	bool new_session; /* setsid(2): out of the terminal's signals */
	const char *_Nullable hosts; /* a file to see as /etc/hosts, in a mount namespace */
};

/*
 * [fork] Starts a process. Returns its pid, or the negative errno of the step that failed in
 * the child, execve(2) included.
 */
pid_t clinux_spawn(const struct clinux_birth *_Nonnull birth);

/* [errno] [macro] waitpid(2). *status: the exit code, or 128 + the signal. 0: still running. */
pid_t clinux_wait(pid_t pid, bool blocking, int *_Nonnull status);

/* [nolibc] [errno] pidfd_open(2) (5.3) and pidfd_getfd(2) (5.6). */
int clinux_pidfd_open(pid_t pid);
int clinux_pidfd_getfd(int pidfd, int fd);

/* [macro] [errno] Blocks `signals` in this thread and returns a signalfd for them. */
int clinux_signal_descriptor(const int *_Nonnull signals, size_t count);

/* [errno] Becomes another user for good, supplementary groups dropped, in every thread. */
int clinux_become(uid_t uid, gid_t gid);

/* [errno] [macro] An inotify(7) descriptor that is readable after each write to `path`. */
int clinux_watch_file(const char *_Nonnull path);

/*
 * [errno] [macro] An inotify(7) descriptor that is readable after a file in the directory `path` has
 * been written and closed, has come, gone or changed its name, or the directory itself has gone.
 */
int clinux_watch_directory(const char *_Nonnull path);

/* [errno] [macro] uname(2): the kernel's release, cut to `size` with its terminating NUL. */
int clinux_kernel_release(char *_Nonnull release, size_t size);

#endif
