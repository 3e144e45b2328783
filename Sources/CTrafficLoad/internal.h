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

static inline struct sockaddr_in tload_name(uint32_t address, uint16_t port)
{
	return (struct sockaddr_in){ .sin_family = AF_INET,
				     .sin_port = htons(port),
				     .sin_addr.s_addr = htonl(address) };
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

/* What comes in is counted, and the count sent at the end; or it is not expected, but its end. */
#define TLOAD_NOBODY -1
#define TLOAD_WAITING -2

/* Takes an accepted connection: what comes in goes out at `to`, itself for an echo, or see above. */
int tload_join(int epoll, int from, int to);
void tload_relay(int epoll, int fd, uint32_t events);

#endif
