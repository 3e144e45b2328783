/* SPDX-License-Identifier: Apache-2.0 */
/* What the parts of the load have in common. */
#ifndef CTRAFFIC_LOAD_INTERNAL_H
#define CTRAFFIC_LOAD_INTERNAL_H

#include "ctraffic_load.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <time.h>

#define OR_ERRNO(call)                             \
	({                                         \
		__typeof__(call) result_ = (call); \
		result_ < 0 ? -errno : result_;    \
	})

/* How long a socket waits for its peer; see tload_be_patient. */
extern uint32_t tload_patience_seconds;

static inline uint64_t tload_now(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (uint64_t)now.tv_sec * 1000000000 + now.tv_nsec;
}

/* A socket's name; the port is at the same place in both families. */
struct tload_name {
	union {
		struct sockaddr any;
		struct sockaddr_in ipv4;
		struct sockaddr_in6 ipv6;
	};
	socklen_t size;
};

struct tload_name tload_name(struct tload_address address, uint16_t port);
struct tload_address tload_address(const struct tload_name *name);
struct tload_address tload_loopback(int family);

static inline int tload_family(struct tload_address address)
{
	return address.high == 0 && address.low >> 32 == 0xffff ? AF_INET : AF_INET6;
}

static inline bool tload_equal(struct tload_address left, struct tload_address right)
{
	return left.high == right.high && left.low == right.low;
}

/* --- A load's bookkeeping --- */

struct tload_run {
	struct tload_outcome outcome;
	uint64_t start, end;
};

struct tload_run tload_begin(uint64_t nanoseconds);
void tload_done(struct tload_run *run, uint64_t start, uint64_t end);
/* Notes -result, an errno; true when so much has failed that going on shows nothing. */
bool tload_failed(struct tload_run *run, int result);
struct tload_outcome tload_finish(struct tload_run *run);

/*
 * Opens a connection that gives up in time, and learns who accepted it; *connected: when connect(2)
 * returned. -EPROTO after noting that it was another than expected.
 */
int tload_open(struct tload_run *run, const struct tload_target *target, uint64_t *began,
	       uint64_t *connected);
int tload_judge(struct tload_run *run, const struct tload_target *target, char byte);
int tload_set_patience(int fd);

/* --- Connections of a server or a sidecar --- */

/* What comes in is counted, and the count sent at the end; its end alone is expected; is HTTP. */
#define TLOAD_NOBODY -1
#define TLOAD_WAITING -2
#define TLOAD_ANSWERING -3

/* Takes an accepted connection: what comes in goes out at `to`, itself for an echo, or see above. */
int tload_join(int epoll, int from, int to);
void tload_relay(int epoll, int fd, uint32_t events);

#endif
