/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Traffic to measure with: the load, the servers it goes to, and a sidecar in between.
 *
 * In C so that what is measured is the kernel: no operation allocates, takes a lock or makes a
 * system call that an ordinary client or proxy would not make. One load or one set of servers a
 * process, so what they are told and what they find needs no pointers. Addresses and ports are in
 * host order. Functions return a value >= 0, or a negative errno.
 */
#ifndef CTRAFFIC_LOAD_H
#define CTRAFFIC_LOAD_H

#include <stdbool.h>
#include <stdint.h>

/* An address as a number of 128 bits; IPv4 is the range ::ffff:0:0/96. */
struct tload_address {
	uint64_t high, low;
};

/*
 * --- Servers ---
 *
 * The first byte a client gets says who accepted it: a server, or a sidecar that knows where the
 * client was going, does not know (it was dialed itself), or knows wrongly.
 */
enum tload_accepted {
	TLOAD_BY_SERVER = 'D',
	TLOAD_BY_SIDECAR = 'S',
	TLOAD_BY_SIDECAR_DIALED = 's',
	TLOAD_BY_SIDECAR_MISLED = 'x',
};

/*
 * What is served on a port; a sidecar tells by the port of the origin whether to dial on. The last
 * two are for loads that others have written: no byte comes before what they expect.
 */
enum tload_service {
	TLOAD_GREET = 9000, /* the byte, and the end of the connection */
	TLOAD_ECHO = 9001, /* the byte, and back comes what goes there */
	TLOAD_SINK = 9002, /* the byte, and at the end how many bytes came: 8 bytes, host order */
	TLOAD_WAIT = 9003, /* the byte, and the end when the client has ended */
	TLOAD_HTTP = 9004, /* an answer to every request, and the end where that is asked for */
	TLOAD_OTHERS = 9005, /* whatever another program serves there */
};

/* Each opens one port, of both families; to be called before tload_serve. */
int tload_add_server(enum tload_service service);
/*
 * Answers datagrams with the byte and what they said. A sidecar's is at loopback, where redirection
 * leads: of an answer from any other address NAT would not know what it answers.
 */
int tload_add_resolver(struct tload_address address, uint16_t port, enum tload_accepted answer);

/*
 * A sidecar's listener, of its origin's family. It takes connections to `origin`, or those of
 * clients that dial it instead of the port `service` there. Inbound it dials the application at
 * loopback.
 */
struct tload_sidecar {
	uint16_t port;
	struct tload_address origin;
	uint16_t service;
	bool inbound;
	bool transparent;
};
int tload_add_sidecar(struct tload_sidecar sidecar);

/* Serves until the process is ended; returns only what went wrong. */
int tload_serve(void);

/* --- Load --- */

struct tload_target {
	struct tload_address address;
	uint16_t port;
	enum tload_accepted expected;
	bool to_server; /* whether a server's own byte follows the sidecar's */
};

struct tload_outcome {
	uint64_t nanoseconds;
	uint64_t operations; /* done and accepted by whom they should be */
	uint64_t bytes; /* that a sink has received */
	uint64_t escaped; /* accepted by a server where a sidecar was expected */
	uint64_t strayed; /* accepted by another than expected, else */
	uint64_t failed;
	int first_error; /* errno of the first that failed */
};

/* Makes room for so many latencies, and touches it; later ones are counted alone. */
int tload_prepare(uint32_t latencies);
/* The latencies of the last load, in nanoseconds. */
uint32_t tload_latencies(void);
uint32_t tload_latency(uint32_t index);
/* How many operations fell into each tenth of the last load. */
uint64_t tload_tenth(uint32_t index);

/*
 * Opens and closes connections, one after the other. A latency is connect(2) alone. Who closes first
 * has the port that waits: the client where it has the service TLOAD_WAIT (`client_closes`), else
 * the server.
 */
struct tload_outcome tload_connect(struct tload_target target, uint64_t nanoseconds,
				   bool client_closes);

/* Sends `size` bytes and waits until they are back, on each of `connections` at once. */
struct tload_outcome tload_request(struct tload_target target, uint64_t nanoseconds, uint32_t size,
				   uint32_t connections);

/* Sends as much as one connection takes, and ends when all of it has arrived. */
struct tload_outcome tload_stream(struct tload_target target, uint64_t nanoseconds);

/* Asks from a new socket each time, as resolver libraries do. A latency is the whole of it. */
struct tload_outcome tload_lookup(struct tload_target target, uint64_t nanoseconds);

/* Keeps the process on one CPU. */
int tload_pin(uint32_t cpu);

/* How long sockets that are opened from now on wait for their peers before that is a failure. */
void tload_be_patient(uint32_t seconds);

#endif
