// SPDX-License-Identifier: Apache-2.0
/*
 * What comes in at one end goes out at the other, both ways, with each end's end.
 *
 * A descriptor has what came in at it and has not gone out yet; it is read from only when that is
 * nothing, so a slow reader slows its writer down and nothing piles up.
 */
#define _GNU_SOURCE
#include "internal.h"

#include <netinet/tcp.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <unistd.h>

#define DESCRIPTORS_MAX 4096
#define CHUNK (128 << 10)
#define CLOSED -4 /* the end is nobody's */

struct end {
	int to; /* where what comes in goes out, or TLOAD_NOBODY and the like */
	uint32_t interest;
	bool ended; /* nothing more comes in */
	uint64_t swallowed;
	size_t waiting, taken; /* what came in last, and how much of it has gone out */
	char bytes[CHUNK];
};

static struct end *ends[DESCRIPTORS_MAX];

static struct end *add(int fd, int to)
{
	struct end *end;

	if (fd < 0 || fd >= DESCRIPTORS_MAX)
		return NULL;
	/* Kept for who has the number next: connections come and go. */
	if (!ends[fd])
		ends[fd] = malloc(sizeof(*end));
	end = ends[fd];
	if (!end)
		return NULL;
	memset(end, 0, offsetof(struct end, bytes));
	end->to = to;
	return end;
}

/* Asks for what can be done with this end: read, when its room is free; write, when others wait. */
static void update(int epoll, int fd, int from)
{
	struct end *own = ends[fd];
	struct epoll_event event = { .data.fd = fd };

	if (!own->ended && own->waiting == 0)
		event.events |= EPOLLIN;
	if (from >= 0 && ends[from]->waiting > 0)
		event.events |= EPOLLOUT;
	if (event.events == own->interest)
		return;
	own->interest = event.events;
	epoll_ctl(epoll, EPOLL_CTL_MOD, fd, &event);
}

int tload_join(int epoll, int from, int to)
{
	struct epoll_event event = { .events = EPOLLIN };
	struct end *ours = add(from, to), *theirs = to == from || to < 0 ? ours : add(to, from);
	int one = 1, result;

	if (!ours || !theirs)
		return -EMFILE;
	ours->interest = theirs->interest = EPOLLIN;
	event.data.fd = from;
	result = OR_ERRNO(epoll_ctl(epoll, EPOLL_CTL_ADD, from, &event));
	setsockopt(from, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
	if (result < 0 || theirs == ours)
		return result;
	setsockopt(to, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
	event.data.fd = to;
	return OR_ERRNO(epoll_ctl(epoll, EPOLL_CTL_ADD, to, &event));
}

/* Sends what has come in at `from`; a negative errno ends the connection. */
static int pass_on(int from)
{
	struct end *end = ends[from];

	while (end->taken < end->waiting) {
		ssize_t count =
			OR_ERRNO(send(end->to, end->bytes + end->taken, end->waiting - end->taken,
				      MSG_NOSIGNAL | MSG_DONTWAIT));

		if (count == -EAGAIN)
			return 0;
		if (count < 0)
			return (int)count;
		end->taken += count;
	}
	end->waiting = end->taken = 0;
	return 0;
}

/* The end of what came in: said to the other side, or, by a sink, answered with the count. */
static int pass_end_on(int from)
{
	struct end *end = ends[from];

	end->ended = true;
	if (end->to >= 0)
		return OR_ERRNO(shutdown(end->to, SHUT_WR));
	if (end->to == TLOAD_WAITING || end->to == TLOAD_ANSWERING)
		return 0;
	return (int)OR_ERRNO(send(from, &end->swallowed, sizeof(end->swallowed), MSG_NOSIGNAL));
}

/*
 * Answers a request of HTTP/1.1; a client here sends one at a time, in one piece. An error where the
 * client wants it to be the last, for an error closes the connection.
 */
static int answer(int fd, size_t size)
{
	static const char more[] = "HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\n1";
	static const char last[] = "HTTP/1.1 200 OK\r\nContent-Length: 1\r\nConnection: "
				   "close\r\n\r\n1";
	bool is_last = memmem(ends[fd]->bytes, size, "Connection: close", 17) != NULL;
	const char *text = is_last ? last : more;
	ssize_t count = OR_ERRNO(send(fd, text, strlen(text), MSG_NOSIGNAL));

	return is_last ? -ESHUTDOWN : count < 0 ? (int)count : 0;
}

static int take_in(int fd)
{
	struct end *end = ends[fd];
	ssize_t count = OR_ERRNO(recv(fd, end->bytes, CHUNK, MSG_DONTWAIT));

	if (count == -EAGAIN)
		return 0;
	if (count < 0)
		return (int)count;
	if (count == 0)
		return pass_end_on(fd);
	if (end->to == TLOAD_ANSWERING)
		return answer(fd, count);
	if (end->to < 0) {
		end->swallowed += count;
		return 0;
	}
	end->waiting = count;
	return pass_on(fd);
}

/* Closes both ends; close(2) takes them out of the epoll set. */
static void end_both(int fd)
{
	int to = ends[fd]->to;

	ends[fd]->to = CLOSED;
	close(fd);
	if (to >= 0 && to != fd) {
		ends[to]->to = CLOSED;
		close(to);
	}
}

/* Whether nothing will go through here any more. */
static bool is_over(const struct end *own)
{
	const struct end *other = own->to >= 0 ? ends[own->to] : own;

	return own->ended && own->waiting == 0 && other->ended && other->waiting == 0;
}

/* The error that the kernel speaks of, if it is still this connection's. */
static int pending_error(int fd)
{
	socklen_t size = sizeof(int);
	int error = 0;

	getsockopt(fd, SOL_SOCKET, SO_ERROR, &error, &size);
	return -error;
}

void tload_relay(int epoll, int fd, uint32_t events)
{
	struct end *own = ends[fd];
	int other = own->to, result = 0;

	/* Told of twice in one go, and closed the first time. */
	if (other == CLOSED)
		return;
	if (events & EPOLLERR)
		result = pending_error(fd);
	/* Both ways are closed, and not by us: it was reset after its end had come. */
	if ((events & EPOLLHUP) && own->ended && !is_over(own))
		result = -ECONNRESET;
	if (result == 0 && (events & EPOLLOUT) && other >= 0)
		result = pass_on(other);
	if (result >= 0 && own->waiting == 0 && !own->ended)
		result = take_in(fd);
	if (result < 0 || is_over(own)) {
		end_both(fd);
		return;
	}
	update(epoll, fd, other);
	if (other >= 0 && other != fd)
		update(epoll, other, fd);
}
