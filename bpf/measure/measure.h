/* SPDX-License-Identifier: Apache-2.0 */
/* measure.h - what the parts of the measurement have in common. */
#ifndef SWERVE_MEASURE_H
#define SWERVE_MEASURE_H

#include <errno.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/types.h>

/* What is timed of a connection. */
enum step { STEP_SOCKET, STEP_CONNECT, STEP_ORIGIN, STEP_CLOSE, STEPS };

enum kind {
	KIND_MANUAL, /* dials the sidecar itself */
	KIND_REDIRECTED, /* dials elsewhere, and comes to the sidecar */
	KIND_UNMANAGED, /* has no plan, and dials its own address */
};

#define OUTBOUND_PORT 15001

/* A pod in a process: a network namespace and a cgroup of its own. */
struct subject {
	const char *name;
	const char *objects; /* files, with commas between; NULL: none */
	enum kind kind;
	char cgroup[128];
	pid_t pid;
	int commands[2];
	int answers[2];
	unsigned long long key; /* its namespace's cookie */
	double *times[STEPS]; /* a round each */
};

#define DIE(what)                                                                              \
	do {                                                                                   \
		fprintf(stderr, "%s:%d: %s: %s\n", __FILE__, __LINE__, what, strerror(errno)); \
		exit(1);                                                                       \
	} while (0)

/* subject.c: makes connections as it is told to, until its commands end. */
void run_subject(const struct subject *subject);

/* programs.c: attaches the subject's programs, and gives it a plan. */
void attach_programs(const struct subject *subject);

#endif
