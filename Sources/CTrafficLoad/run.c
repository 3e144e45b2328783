// SPDX-License-Identifier: Apache-2.0
/* A load's bookkeeping: latencies, tenths, failures. */
#define _GNU_SOURCE
#include "internal.h"

#include <sched.h>
#include <stdlib.h>
#include <string.h>
#include <sys/time.h>

#define TENTHS 10
/* A load of which so many operations fail is not one to measure. */
#define FAILURES_MAX 1000

/* Longer than anything here takes on a machine that has little else to do. */
uint32_t tload_patience_seconds = 5;

static uint32_t *latencies;
static uint32_t capacity, recorded;
static uint64_t tenths[TENTHS];

int tload_prepare(uint32_t wanted)
{
	latencies = malloc(wanted * sizeof(*latencies));
	if (!latencies)
		return -ENOMEM;
	/* Pages that are touched for the first time while measuring would be measured. */
	memset(latencies, 0xff, wanted * sizeof(*latencies));
	capacity = wanted;
	return 0;
}

uint32_t tload_latencies(void)
{
	return recorded;
}

uint32_t tload_latency(uint32_t index)
{
	return index < recorded ? latencies[index] : 0;
}

uint64_t tload_tenth(uint32_t index)
{
	return index < TENTHS ? tenths[index] : 0;
}

struct tload_run tload_begin(uint64_t nanoseconds)
{
	uint64_t now = tload_now();

	recorded = 0;
	memset(tenths, 0, sizeof(tenths));
	return (struct tload_run){ .start = now, .end = now + nanoseconds };
}

void tload_done(struct tload_run *run, uint64_t start, uint64_t end)
{
	uint64_t tenth = (end - run->start) * TENTHS / (run->end - run->start);
	uint64_t taken = end - start;

	run->outcome.operations++;
	if (tenth < TENTHS)
		tenths[tenth]++;
	if (recorded < capacity)
		latencies[recorded++] = taken < UINT32_MAX ? taken : UINT32_MAX;
}

bool tload_failed(struct tload_run *run, int result)
{
	/* One that has been noted as accepted by somebody else. */
	if (result == -EPROTO)
		return run->outcome.escaped + run->outcome.strayed >= FAILURES_MAX;
	if (run->outcome.failed++ == 0)
		run->outcome.first_error = -result;
	return run->outcome.failed >= FAILURES_MAX;
}

struct tload_outcome tload_finish(struct tload_run *run)
{
	run->outcome.nanoseconds = tload_now() - run->start;
	return run->outcome;
}

void tload_be_patient(uint32_t seconds)
{
	tload_patience_seconds = seconds;
}

int tload_set_patience(int fd)
{
	struct timeval limit = { .tv_sec = tload_patience_seconds };
	int result = setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof(limit));

	if (result == 0)
		result = setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &limit, sizeof(limit));
	return OR_ERRNO(result);
}

int tload_pin(uint32_t cpu)
{
	cpu_set_t set;

	if (cpu >= CPU_SETSIZE)
		return -EINVAL;
	CPU_ZERO(&set);
	CPU_SET(cpu, &set);
	return OR_ERRNO(sched_setaffinity(0, sizeof(set), &set));
}
