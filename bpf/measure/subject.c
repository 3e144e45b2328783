// SPDX-License-Identifier: Apache-2.0
/*
 * subject.c - client and sidecar in one thread: connecting over loopback, all that both ends do at
 * connect(2) happens before it returns, on one processor.
 */
#define _GNU_SOURCE
#include "measure.h"
#include <arpa/inet.h>
#include <fcntl.h>
#include <net/if.h>
#include <netinet/in.h>
#include <sched.h>
#include <signal.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define CONNECTIONS 200 /* a round */
#define SO_ORIGINAL_DST 80
#define POD_ADDRESS "10.244.0.2"
#define PEER_ADDRESS "192.0.2.7"

static double now(void)
{
	struct timespec time;

	clock_gettime(CLOCK_MONOTONIC_RAW, &time);
	return time.tv_sec * 1e9 + time.tv_nsec;
}

static int by_size(const void *a, const void *b)
{
	double left = *(const double *)a, right = *(const double *)b;

	return (left > right) - (left < right);
}

static struct sockaddr_in endpoint(const char *address, unsigned short port)
{
	struct sockaddr_in name = { .sin_family = AF_INET, .sin_port = htons(port) };

	name.sin_addr.s_addr = inet_addr(address);
	return name;
}

/* Brings lo up, with the pod's address on it; everything is routed there. */
static void configure(int fd)
{
	struct ifreq request = { .ifr_name = "lo" };
	struct sockaddr_in name = endpoint(POD_ADDRESS, 0);

	request.ifr_flags = IFF_UP;
	if (ioctl(fd, SIOCSIFFLAGS, &request))
		DIE("lo up");
	strcpy(request.ifr_name, "lo:1");
	memcpy(&request.ifr_addr, &name, sizeof(name));
	if (ioctl(fd, SIOCSIFADDR, &request))
		DIE("address");
}

/* Enters the cgroup and a new namespace; returns the namespace's cookie. */
static unsigned long long enter(const struct subject *subject)
{
	char path[160];
	unsigned long long cookie;
	socklen_t size = sizeof(cookie);
	int fd;

	prctl(PR_SET_PDEATHSIG, SIGKILL);
	snprintf(path, sizeof(path), "%s/cgroup.procs", subject->cgroup);
	fd = open(path, O_WRONLY);
	if (fd < 0 || write(fd, "0", 1) != 1 || unshare(CLONE_NEWNET))
		DIE("enter");
	close(fd);
	fd = socket(AF_INET, SOCK_DGRAM, 0);
	configure(fd);
	if (getsockopt(fd, SOL_SOCKET, SO_NETNS_COOKIE, &cookie, &size))
		DIE("cookie");
	close(fd);
	return cookie;
}

/* One connection; `times` are those of its steps. */
static void connect_once(enum kind kind, int listener, const struct sockaddr_in *to,
			 double times[STEPS])
{
	struct linger reset = { .l_onoff = 1 };
	struct sockaddr_in origin = {};
	socklen_t size = sizeof(origin);
	int client, server, failed;
	double begin = now(), made, connected, accepted, asked;

	client = socket(AF_INET, SOCK_STREAM, 0);
	made = now();
	if (connect(client, (const struct sockaddr *)to, sizeof(*to)))
		DIE("connect");
	connected = now();
	server = accept(listener, NULL, NULL);
	accepted = now();
	failed = getsockopt(server, SOL_IP, SO_ORIGINAL_DST, &origin, &size);
	asked = now();
	if (kind == KIND_REDIRECTED && (failed || memcmp(&origin, to, 8)))
		DIE("a wrong origin");
	/* The sidecar first; no TIME_WAIT, or the ports would soon be used up. */
	setsockopt(client, SOL_SOCKET, SO_LINGER, &reset, sizeof(reset));
	times[STEP_SOCKET] = made - begin;
	times[STEP_CONNECT] = connected - made;
	times[STEP_ORIGIN] = asked - accepted;
	begin = now();
	close(server);
	close(client);
	times[STEP_CLOSE] = now() - begin;
}

/* The lower quartile of each step: what interrupts only ever adds. */
static void run_round(const struct subject *subject, int listener, const struct sockaddr_in *to)
{
	double all[STEPS][CONNECTIONS], times[STEPS];
	int i, step;

	for (i = 0; i < CONNECTIONS; i++) {
		connect_once(subject->kind, listener, to, times);
		for (step = 0; step < STEPS; step++)
			all[step][i] = times[step];
	}
	for (step = 0; step < STEPS; step++) {
		qsort(all[step], CONNECTIONS, sizeof(double), by_size);
		times[step] = all[step][CONNECTIONS / 4];
	}
	if (write(subject->answers[1], times, sizeof(times)) != sizeof(times))
		exit(1);
}

void run_subject(const struct subject *subject)
{
	unsigned long long cookie = enter(subject);
	struct sockaddr_in any = endpoint("0.0.0.0", OUTBOUND_PORT);
	struct sockaddr_in to = endpoint("127.0.0.1", OUTBOUND_PORT);
	int listener = socket(AF_INET, SOCK_STREAM, 0);
	char command;

	if (subject->kind == KIND_REDIRECTED)
		to = endpoint(PEER_ADDRESS, 80);
	else if (subject->kind == KIND_UNMANAGED)
		to = endpoint(POD_ADDRESS, OUTBOUND_PORT);
	if (bind(listener, (struct sockaddr *)&any, sizeof(any)) || listen(listener, 64))
		DIE("listen");
	if (write(subject->answers[1], &cookie, sizeof(cookie)) != sizeof(cookie))
		exit(1);
	while (read(subject->commands[0], &command, 1) == 1)
		run_round(subject, listener, &to);
	exit(0);
}
