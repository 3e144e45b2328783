// SPDX-License-Identifier: Apache-2.0
/* The load: connections, requests, a stream, lookups. */
#define _GNU_SOURCE
#include "internal.h"

#include <netinet/tcp.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <unistd.h>

#define CONNECTIONS_MAX 256
#define SIZE_MAX_BYTES (1 << 20)

static char buffer[SIZE_MAX_BYTES];

int tload_judge(struct tload_run *run, const struct tload_target *target, char byte)
{
	if (byte == (char)target->expected)
		return 0;
	if (byte == TLOAD_BY_SERVER)
		run->outcome.escaped++;
	else
		run->outcome.strayed++;
	return -EPROTO;
}

/* Reads one byte; the end of the connection is an error. */
static int read_byte(int fd, char *byte)
{
	ssize_t count = OR_ERRNO(recv(fd, byte, 1, 0));

	return count == 0 ? -ECONNRESET : count < 0 ? (int)count : 0;
}

int tload_open(struct tload_run *run, const struct tload_target *target, uint64_t *began,
	       uint64_t *connected)
{
	struct tload_name name = tload_name(target->address, target->port);
	int fd = OR_ERRNO(socket(name.any.sa_family, SOCK_STREAM | SOCK_CLOEXEC, 0));
	int result;
	char byte;

	if (fd < 0)
		return fd;
	result = tload_set_patience(fd);
	*began = tload_now();
	if (result == 0)
		result = OR_ERRNO(connect(fd, &name.any, name.size));
	*connected = tload_now();
	if (result == 0)
		result = read_byte(fd, &byte);
	if (result == 0)
		result = tload_judge(run, target, byte);
	if (result == 0 && target->to_server)
		result = read_byte(fd, &byte);
	if (result == 0)
		return fd;
	close(fd);
	return result;
}

struct tload_outcome tload_connect(struct tload_target target, uint64_t nanoseconds,
				   bool client_closes)
{
	struct tload_run run = tload_begin(nanoseconds);
	uint64_t began, connected;
	char rest;

	do {
		int fd = tload_open(&run, &target, &began, &connected);

		if (fd < 0) {
			connected = tload_now();
			if (tload_failed(&run, fd))
				break;
			continue;
		}
		if (!client_closes && recv(fd, &rest, 1, 0) < 0)
			tload_failed(&run, -errno);
		else
			tload_done(&run, began, connected);
		close(fd);
	} while (connected < run.end);
	return tload_finish(&run);
}

/* --- Requests --- */

struct exchange {
	int fd;
	uint32_t sent, received;
	uint64_t began;
};

static struct exchange exchanges[CONNECTIONS_MAX];

/* Sends what the socket takes of the request. */
static int send_more(struct exchange *exchange, uint32_t size)
{
	while (exchange->sent < size) {
		ssize_t count = OR_ERRNO(send(exchange->fd, buffer, size - exchange->sent,
					      MSG_NOSIGNAL | MSG_DONTWAIT));

		if (count == -EAGAIN)
			return 0;
		if (count < 0)
			return (int)count;
		exchange->sent += count;
	}
	return 0;
}

/* Goes on with one exchange after epoll said it can; begins the next when it is done. */
static int step(struct tload_run *run, struct exchange *exchange, uint32_t size, int flags)
{
	int result = exchange->sent < size ? send_more(exchange, size) : 0;
	ssize_t count;

	if (result < 0)
		return result;
	count = OR_ERRNO(recv(exchange->fd, buffer, size - exchange->received, flags));
	if (count == -EAGAIN && (flags & MSG_DONTWAIT))
		return 0;
	if (count <= 0)
		return count == 0 ? -ECONNRESET : (int)count;
	exchange->received += count;
	if (exchange->received < size)
		return 0;
	uint64_t now = tload_now();

	tload_done(run, exchange->began, now);
	*exchange = (struct exchange){ .fd = exchange->fd, .began = now };
	return now < run->end ? send_more(exchange, size) : 1;
}

/* Waits for whichever has got something back, and lets it go on. */
static int run_many(struct tload_run *run, int epoll, uint32_t size, uint32_t connections)
{
	struct epoll_event events[CONNECTIONS_MAX];
	uint32_t finished = 0;

	while (finished < connections) {
		int count = OR_ERRNO(epoll_wait(epoll, events, CONNECTIONS_MAX,
						(int)tload_patience_seconds * 1000));

		if (count <= 0)
			return count == 0 ? -ETIMEDOUT : count;
		for (int i = 0; i < count; i++) {
			int result = step(run, &exchanges[events[i].data.u32], size, MSG_DONTWAIT);

			if (result < 0)
				return result;
			finished += result;
		}
	}
	return 0;
}

static int run_one(struct tload_run *run, uint32_t size)
{
	int result = 0;

	/* A request that does not fit the buffers is sent while the answer comes. */
	while (result == 0)
		result = step(run, &exchanges[0], size, 0);
	return result < 0 ? result : 0;
}

/* Opens all connections; their first requests are sent when all are there. */
static int open_all(struct tload_run *run, const struct tload_target *target, int epoll,
		    uint32_t connections)
{
	uint64_t began, connected;
	int one = 1, result = 0;

	for (uint32_t i = 0; i < connections; i++) {
		struct epoll_event event = { .events = EPOLLIN, .data.u32 = i };
		int fd = tload_open(run, target, &began, &connected);

		if (fd < 0)
			return fd;
		exchanges[i] = (struct exchange){ .fd = fd };
		setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
		result = OR_ERRNO(epoll_ctl(epoll, EPOLL_CTL_ADD, fd, &event));
		if (result < 0)
			return result;
	}
	return 0;
}

static int request(struct tload_run *run, const struct tload_target *target, int epoll,
		   uint64_t nanoseconds, uint32_t size, uint32_t connections)
{
	int result = open_all(run, target, epoll, connections);

	if (result < 0)
		return result;
	/* What it took to open them is no part of it. */
	run->start = tload_now();
	run->end = run->start + nanoseconds;
	for (uint32_t i = 0; i < connections; i++) {
		exchanges[i].began = tload_now();
		result = send_more(&exchanges[i], size);
		if (result < 0)
			return result;
	}
	return connections == 1 ? run_one(run, size) : run_many(run, epoll, size, connections);
}

struct tload_outcome tload_request(struct tload_target target, uint64_t nanoseconds, uint32_t size,
				   uint32_t connections)
{
	struct tload_run run = tload_begin(nanoseconds);
	int epoll = OR_ERRNO(epoll_create1(EPOLL_CLOEXEC));
	int result = epoll;

	for (uint32_t i = 0; i < CONNECTIONS_MAX; i++)
		exchanges[i].fd = -1;
	if (size == 0 || size > SIZE_MAX_BYTES || connections == 0 || connections > CONNECTIONS_MAX)
		result = -EINVAL;
	if (result >= 0)
		result = request(&run, &target, epoll, nanoseconds, size, connections);
	if (result < 0)
		tload_failed(&run, result);
	struct tload_outcome outcome = tload_finish(&run);

	for (uint32_t i = 0; i < CONNECTIONS_MAX; i++)
		if (exchanges[i].fd >= 0)
			close(exchanges[i].fd);
	if (epoll >= 0)
		close(epoll);
	return outcome;
}

/* --- A stream --- */

static int stream(struct tload_run *run, int fd, uint64_t nanoseconds)
{
	uint64_t now = tload_now(), arrived = 0;

	run->start = now;
	run->end = now + nanoseconds;
	while (now < run->end) {
		uint64_t before = now;
		ssize_t count = OR_ERRNO(send(fd, buffer, 128 << 10, MSG_NOSIGNAL));

		if (count < 0)
			return (int)count;
		now = tload_now();
		tload_done(run, before, now);
	}
	int result = OR_ERRNO(shutdown(fd, SHUT_WR));

	if (result < 0)
		return result;
	ssize_t count = OR_ERRNO(recv(fd, &arrived, sizeof(arrived), MSG_WAITALL));

	if (count != sizeof(arrived))
		return count < 0 ? (int)count : -ECONNRESET;
	run->outcome.bytes = arrived;
	return 0;
}

struct tload_outcome tload_stream(struct tload_target target, uint64_t nanoseconds)
{
	struct tload_run run = tload_begin(nanoseconds);
	uint64_t began, connected;
	int fd = tload_open(&run, &target, &began, &connected);
	int result = fd < 0 ? fd : stream(&run, fd, nanoseconds);

	if (result < 0)
		tload_failed(&run, result);
	struct tload_outcome outcome = tload_finish(&run);

	if (fd >= 0)
		close(fd);
	return outcome;
}

/* --- Lookups --- */

/* A query of the usual size; what it asks is nobody's business here. */
static const char query[40] = "a name that somebody wants to look up";

static int ask(struct tload_run *run, const struct tload_target *target, int fd)
{
	struct tload_name name = tload_name(target->address, target->port);
	char answer[64];
	int result = tload_set_patience(fd);

	if (result == 0)
		result = OR_ERRNO(connect(fd, &name.any, name.size));
	if (result == 0)
		result = OR_ERRNO((int)send(fd, query, sizeof(query), 0));
	if (result >= 0)
		result = OR_ERRNO((int)recv(fd, answer, sizeof(answer), 0));
	if (result >= 0)
		result = tload_judge(run, target, answer[0]);
	return result;
}

struct tload_outcome tload_lookup(struct tload_target target, uint64_t nanoseconds)
{
	struct tload_run run = tload_begin(nanoseconds);
	uint64_t now;

	do {
		uint64_t began = tload_now();
		int fd = OR_ERRNO(
			socket(tload_family(target.address), SOCK_DGRAM | SOCK_CLOEXEC, 0));
		int result = fd < 0 ? fd : ask(&run, &target, fd);

		if (fd >= 0)
			close(fd);
		now = tload_now();
		if (result == 0)
			tload_done(&run, began, now);
		else if (tload_failed(&run, result))
			break;
	} while (now < run.end);
	return tload_finish(&run);
}
