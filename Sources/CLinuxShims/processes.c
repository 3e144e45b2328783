// SPDX-License-Identifier: Apache-2.0
/* Processes: owners, birth, end, signals. */
#define _GNU_SOURCE
#include "clinux_shims.h"
#include "or_errno.h"

#include <fcntl.h>
#include <grp.h>
#include <sched.h>
#include <signal.h>
#include <sys/mount.h>
#include <sys/signalfd.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

int clinux_assume_owner(uid_t uid, gid_t gid)
{
	/* Only uid 0 may change the group, so it is the first to go and the last to return. */
	if (uid == 0 && syscall(SYS_setresuid, 0, 0, 0) < 0)
		return -errno;
	if (syscall(SYS_setresgid, gid, gid, 0) < 0)
		return -errno;
	return uid == 0 ? 0 : OR_ERRNO((int)syscall(SYS_setresuid, uid, uid, 0));
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
