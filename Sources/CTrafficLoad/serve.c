// SPDX-License-Identifier: Apache-2.0
/* Servers, and a sidecar: who accepts, says so, and answers or dials on. */
#define _GNU_SOURCE
#include "internal.h"

#include <sys/epoll.h>
#include <unistd.h>

#define LISTENERS_MAX 64
/* linux/netfilter_ipv4.h, and linux/netfilter_ipv6/ip6_tables.h: the same number */
#define SO_ORIGINAL_DST 80

struct listener {
	int fd;
	bool is_sidecar, is_resolver;
	enum tload_accepted answer; /* a resolver's */
	struct tload_sidecar sidecar;
};

static struct listener listeners[LISTENERS_MAX];
static int listener_count;

/* The families do not share a listener, so that neither pays for the other. */
static int set_options(int fd, int family, bool transparent)
{
	int one = 1;
	int result = setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one));

	if (result == 0 && family == AF_INET6)
		result = setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &one, sizeof(one));
	if (result < 0 || !transparent)
		return result;
	if (family == AF_INET6)
		return setsockopt(fd, IPPROTO_IPV6, IPV6_TRANSPARENT, &one, sizeof(one));
	return setsockopt(fd, IPPROTO_IP, IP_TRANSPARENT, &one, sizeof(one));
}

static int add_listener(struct listener listener, int type, struct tload_address address,
			uint16_t port)
{
	struct tload_name name = tload_name(address, port);
	int family = name.any.sa_family;
	int fd = OR_ERRNO(socket(family, type | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
	int result;

	if (fd < 0)
		return fd;
	result = set_options(fd, family, listener.sidecar.transparent);
	if (result == 0)
		result = bind(fd, &name.any, name.size);
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

static struct tload_address any_address(int family)
{
	return (struct tload_address){ 0, family == AF_INET ? (uint64_t)0xffff << 32 : 0 };
}

int tload_add_server(enum tload_service service)
{
	struct listener listener = { .sidecar.port = service };
	int result = add_listener(listener, SOCK_STREAM, any_address(AF_INET), service);

	return result < 0 ? result :
			    add_listener(listener, SOCK_STREAM, any_address(AF_INET6), service);
}

int tload_add_resolver(struct tload_address address, uint16_t port, enum tload_accepted answer)
{
	struct listener listener = { .is_resolver = true, .answer = answer };

	return add_listener(listener, SOCK_DGRAM, address, port);
}

int tload_add_sidecar(struct tload_sidecar sidecar)
{
	struct listener listener = { .is_sidecar = true, .sidecar = sidecar };

	return add_listener(listener, SOCK_STREAM, any_address(tload_family(sidecar.origin)),
			    sidecar.port);
}

/* Where the client was going, and what it is told of that. */
static char find_origin(const struct listener *listener, int fd, struct tload_name *origin)
{
	const struct tload_sidecar *sidecar = &listener->sidecar;
	int level = tload_family(sidecar->origin) == AF_INET ? IPPROTO_IP : IPPROTO_IPV6;
	int result;

	origin->size = level == IPPROTO_IP ? sizeof(origin->ipv4) : sizeof(origin->ipv6);
	result = getsockopt(fd, level, SO_ORIGINAL_DST, &origin->any, &origin->size);
	/* What arrives with its destination has it for its own name. */
	if (result < 0 && sidecar->transparent) {
		origin->size = sizeof(origin->ipv6);
		result = getsockname(fd, &origin->any, &origin->size);
	}
	if (result < 0 || ntohs(origin->ipv4.sin_port) == sidecar->port) {
		*origin = tload_name(sidecar->origin, sidecar->service);
		return TLOAD_BY_SIDECAR_DIALED;
	}
	return tload_equal(tload_address(origin), sidecar->origin) ? TLOAD_BY_SIDECAR :
								     TLOAD_BY_SIDECAR_MISLED;
}

/* Dials on, and waits for it: a client's next step depends on it anyway. */
static int dial(const struct listener *listener, struct tload_name origin)
{
	int family = origin.any.sa_family;
	int fd = OR_ERRNO(socket(family, SOCK_STREAM | SOCK_CLOEXEC, 0));
	int result;

	if (fd < 0)
		return fd;
	if (listener->sidecar.inbound)
		origin = tload_name(tload_loopback(family), ntohs(origin.ipv4.sin_port));
	result = tload_set_patience(fd);
	if (result == 0)
		result = OR_ERRNO(connect(fd, &origin.any, origin.size));
	if (result == 0)
		return fd;
	close(fd);
	return result;
}

/* What a server does with what comes in. */
static int server_end(int fd, uint16_t service)
{
	return service == TLOAD_ECHO ? fd : service == TLOAD_HTTP ? TLOAD_ANSWERING : TLOAD_NOBODY;
}

/* Who stays connected: with the application, itself, or nobody. */
static int connect_on(int epoll, const struct listener *listener, int fd,
		      const struct tload_name *origin)
{
	int to;

	if (ntohs(origin->ipv4.sin_port) == TLOAD_WAIT)
		return tload_join(epoll, fd, TLOAD_WAITING);
	if (!listener->is_sidecar)
		return tload_join(epoll, fd, server_end(fd, listener->sidecar.port));
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
	struct tload_name origin = { .ipv4.sin_port = htons(listener->sidecar.port) };
	char byte = listener->is_sidecar ? find_origin(listener, fd, &origin) : TLOAD_BY_SERVER;
	uint16_t service = ntohs(origin.ipv4.sin_port);
	bool greets = service != TLOAD_HTTP && service != TLOAD_OTHERS;

	if ((greets && send(fd, &byte, 1, MSG_NOSIGNAL) != 1) || byte == TLOAD_BY_SIDECAR_MISLED ||
	    service == TLOAD_GREET || connect_on(epoll, listener, fd, &origin) < 0)
		close(fd);
}

static void answer_queries(const struct listener *listener)
{
	struct tload_name name = { .size = sizeof(name.ipv6) };
	char message[512];
	ssize_t count;

	while ((count = recvfrom(listener->fd, message + 1, sizeof(message) - 1, 0, &name.any,
				 &name.size)) >= 0) {
		message[0] = listener->answer;
		sendto(listener->fd, message, count + 1, 0, &name.any, name.size);
		name.size = sizeof(name.ipv6);
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
