// SPDX-License-Identifier: Apache-2.0
/* Servers, and a sidecar: who accepts, says so, and answers or dials on. */
#define _GNU_SOURCE
#include "internal.h"

#include <sys/epoll.h>
#include <unistd.h>

#define LISTENERS_MAX 16
#define SO_ORIGINAL_DST 80 /* linux/netfilter_ipv4.h */

struct listener {
	int fd;
	bool is_sidecar, is_resolver;
	enum tload_accepted answer; /* a resolver's */
	struct tload_sidecar sidecar;
};

static struct listener listeners[LISTENERS_MAX];
static int listener_count;

static int add_listener(struct listener listener, int type, uint32_t address, uint16_t port)
{
	struct sockaddr_in name = tload_name(address, port);
	int fd = OR_ERRNO(socket(AF_INET, type | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
	int one = 1, result;

	if (fd < 0)
		return fd;
	result = setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one));
	if (result == 0 && listener.sidecar.transparent)
		result = setsockopt(fd, IPPROTO_IP, IP_TRANSPARENT, &one, sizeof(one));
	if (result == 0)
		result = bind(fd, (struct sockaddr *)&name, sizeof(name));
	if (result == 0 && type == SOCK_STREAM)
		result = listen(fd, 4096);
	if (result == 0 && listener_count == LISTENERS_MAX) {
		errno = ENOSPC;
		result = -1;
	}
	if (result < 0) {
		result = -errno;
		close(fd);
		return result;
	}
	listener.fd = fd;
	listeners[listener_count++] = listener;
	return 0;
}

int tload_add_server(enum tload_service service)
{
	struct listener listener = { .sidecar.port = service };

	return add_listener(listener, SOCK_STREAM, INADDR_ANY, service);
}

int tload_add_resolver(uint32_t address, uint16_t port, enum tload_accepted answer)
{
	struct listener listener = { .is_resolver = true, .answer = answer };

	return add_listener(listener, SOCK_DGRAM, address, port);
}

int tload_add_sidecar(struct tload_sidecar sidecar)
{
	struct listener listener = { .is_sidecar = true, .sidecar = sidecar };

	return add_listener(listener, SOCK_STREAM, INADDR_ANY, sidecar.port);
}

/* Where the client was going, and what it is told of that. */
static char find_origin(const struct listener *listener, int fd, struct sockaddr_in *origin)
{
	const struct tload_sidecar *sidecar = &listener->sidecar;
	socklen_t size = sizeof(*origin);
	int result = getsockopt(fd, IPPROTO_IP, SO_ORIGINAL_DST, origin, &size);

	/* What arrives with its destination has it for its own name. */
	if (result < 0 && sidecar->transparent) {
		size = sizeof(*origin);
		result = getsockname(fd, (struct sockaddr *)origin, &size);
	}
	if (result < 0 || ntohs(origin->sin_port) == sidecar->port) {
		*origin = tload_name(sidecar->origin, sidecar->service);
		return TLOAD_BY_SIDECAR_DIALED;
	}
	return ntohl(origin->sin_addr.s_addr) == sidecar->origin ? TLOAD_BY_SIDECAR :
								   TLOAD_BY_SIDECAR_MISLED;
}

/* Dials on, and waits for it: a client's next step depends on it anyway. */
static int dial(const struct listener *listener, struct sockaddr_in origin)
{
	int fd = OR_ERRNO(socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
	int result;

	if (fd < 0)
		return fd;
	if (listener->sidecar.inbound)
		origin.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	result = tload_set_patience(fd);
	if (result == 0)
		result = OR_ERRNO(connect(fd, (struct sockaddr *)&origin, sizeof(origin)));
	if (result == 0)
		return fd;
	close(fd);
	return result;
}

/* Who stays connected: with the application, itself, or nobody. */
static int connect_on(int epoll, const struct listener *listener, int fd,
		      const struct sockaddr_in *origin)
{
	int to;

	if (ntohs(origin->sin_port) == TLOAD_WAIT)
		return tload_join(epoll, fd, TLOAD_WAITING);
	if (!listener->is_sidecar)
		return tload_join(epoll, fd,
				  listener->sidecar.port == TLOAD_ECHO ? fd : TLOAD_NOBODY);
	to = dial(listener, *origin);
	if (to < 0)
		return to;
	int result = tload_join(epoll, fd, to);

	if (result < 0)
		close(to);
	return result;
}

static void serve_client(int epoll, const struct listener *listener, int fd)
{
	struct sockaddr_in origin = { .sin_port = htons(listener->sidecar.port) };
	char byte = listener->is_sidecar ? find_origin(listener, fd, &origin) : TLOAD_BY_SERVER;

	if (send(fd, &byte, 1, MSG_NOSIGNAL) != 1 || byte == TLOAD_BY_SIDECAR_MISLED ||
	    ntohs(origin.sin_port) == TLOAD_GREET || connect_on(epoll, listener, fd, &origin) < 0)
		close(fd);
}

static void answer_queries(const struct listener *listener)
{
	struct sockaddr_in name;
	socklen_t size = sizeof(name);
	char message[512];
	ssize_t count;

	while ((count = recvfrom(listener->fd, message + 1, sizeof(message) - 1, 0,
				 (struct sockaddr *)&name, &size)) >= 0) {
		message[0] = listener->answer;
		sendto(listener->fd, message, count + 1, 0, (struct sockaddr *)&name, size);
		size = sizeof(name);
	}
}

/* Descriptors and listeners in one number: listeners are negative. */
static void handle(int epoll, struct epoll_event event)
{
	const struct listener *listener;
	int fd;

	if (event.data.fd >= 0) {
		tload_relay(epoll, event.data.fd, event.events);
		return;
	}
	listener = &listeners[-1 - event.data.fd];
	if (listener->is_resolver) {
		answer_queries(listener);
		return;
	}
	while ((fd = accept4(listener->fd, NULL, NULL, SOCK_CLOEXEC)) >= 0)
		serve_client(epoll, listener, fd);
}

int tload_serve(void)
{
	int epoll = OR_ERRNO(epoll_create1(EPOLL_CLOEXEC));

	if (epoll < 0)
		return epoll;
	for (int i = 0; i < listener_count; i++) {
		struct epoll_event event = { .events = EPOLLIN, .data.fd = -1 - i };
		int result = OR_ERRNO(epoll_ctl(epoll, EPOLL_CTL_ADD, listeners[i].fd, &event));

		if (result < 0)
			return result;
	}
	for (;;) {
		struct epoll_event events[64];
		int count = OR_ERRNO(epoll_wait(epoll, events, 64, -1));

		if (count < 0 && count != -EINTR)
			return count;
		for (int i = 0; i < count; i++)
			handle(epoll, events[i]);
	}
}
