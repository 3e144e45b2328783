// SPDX-License-Identifier: Apache-2.0
/*
 * measure.c - what programs cost a connection: the same connections with others attached, in turn.
 *
 * Usage: measure ROUNDS NAME=KIND[:OBJECT,OBJECT...]...
 *
 * KIND is manual, redirected or unmanaged (measure.h); an OBJECT is the path of an object file. Prints the
 * median time of each step, in nanoseconds, and the median over rounds of what it is more than the
 * first subject's. Needs root, Linux 5.15, and a cgroup2 hierarchy (CGROUP2 says where).
 */
#include "measure.h"
#include <signal.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#define SUBJECTS 32

static struct subject subjects[SUBJECTS];
static pid_t measurer;

static const char *const steps[STEPS] = { "socket", "connect", "origin", "close" };

static int by_size(const void *a, const void *b)
{
	double left = *(const double *)a, right = *(const double *)b;

	return (left > right) - (left < right);
}

static double median(double *values, int count)
{
	qsort(values, count, sizeof(*values), by_size);
	return values[count / 2];
}

/* NAME=KIND[:OBJECTS] */
static void parse(struct subject *subject, char *text)
{
	static const char *const kinds[] = { "manual", "redirected", "unmanaged" };
	char *kind = strchr(text, '='), *objects;

	errno = EINVAL;
	if (!kind)
		DIE(text);
	*kind++ = 0;
	objects = strchr(kind, ':');
	if (objects)
		*objects++ = 0;
	subject->name = text;
	subject->objects = objects;
	for (subject->kind = 0; subject->kind < 3; subject->kind++) {
		if (!strcmp(kind, kinds[subject->kind]))
			return;
	}
	DIE(kind);
}

static void start(int number, int rounds)
{
	struct subject *subject = &subjects[number];
	const char *root = getenv("CGROUP2");
	int i;

	snprintf(subject->cgroup, sizeof(subject->cgroup), "%s/swerve-measure-%d-%d",
		 root ? root : "/sys/fs/cgroup", getpid(), number);
	if (mkdir(subject->cgroup, 0755) || pipe(subject->commands) || pipe(subject->answers))
		DIE(subject->cgroup);
	subject->pid = fork();
	if (!subject->pid) {
		for (i = 0; i <= number; i++)
			close(subjects[i].commands[1]);
		run_subject(subject);
	}
	close(subject->answers[1]);
	if (read(subject->answers[0], &subject->key, 8) != 8)
		DIE(subject->name);
	attach_programs(subject);
	for (i = 0; i < STEPS; i++)
		subject->times[i] = calloc(rounds, sizeof(double));
}

static void run_round(struct subject *subject, int round)
{
	double times[STEPS];
	int i;

	if (write(subject->commands[1], "r", 1) != 1 ||
	    read(subject->answers[0], times, sizeof(times)) != sizeof(times))
		DIE(subject->name);
	for (i = 0; i < STEPS && round >= 0; i++)
		subject->times[i][round] = times[i];
}

static void print(int count, int rounds)
{
	double *more = calloc(rounds, sizeof(double)), *values = calloc(rounds, sizeof(double));
	int i, step, round;

	printf("%-16s", "");
	for (step = 0; step < STEPS; step++)
		printf("%16s", steps[step]);
	printf("\n");
	for (i = 0; i < count; i++) {
		printf("%-16s", subjects[i].name);
		for (step = 0; step < STEPS; step++) {
			for (round = 0; round < rounds; round++) {
				values[round] = subjects[i].times[step][round];
				more[round] = values[round] - subjects[0].times[step][round];
			}
			printf("%9.0f %+6.0f", median(values, rounds), median(more, rounds));
		}
		printf("\n");
	}
	free(values);
	free(more);
}

static void finish(struct subject *subject)
{
	int tries;

	if (!*subject->cgroup)
		return;
	if (subject->pid > 0) {
		close(subject->commands[1]);
		kill(subject->pid, SIGKILL);
		waitpid(subject->pid, NULL, 0);
	}
	for (tries = 0; rmdir(subject->cgroup) && tries < 100; tries++)
		usleep(10000);
}

/* However it ends: a subject comes this way, too, and leaves it to us. */
static void finish_all(void)
{
	int i;

	for (i = 0; i < SUBJECTS && getpid() == measurer; i++)
		finish(&subjects[i]);
}

int main(int argc, char **argv)
{
	int rounds = argc > 1 ? atoi(argv[1]) : 0, count = argc - 2, i, round;

	if (rounds < 1 || count < 1 || count > SUBJECTS) {
		fprintf(stderr, "usage: measure ROUNDS NAME=KIND[:OBJECT,OBJECT...]...\n");
		return 2;
	}
	for (i = 0; i < count; i++)
		parse(&subjects[i], argv[i + 2]);
	measurer = getpid();
	atexit(finish_all);
	for (i = 0; i < count; i++)
		start(i, rounds);
	/* Who goes first changes from round to round; the first two only warm up. */
	for (round = -2; round < rounds; round++) {
		for (i = 0; i < count; i++)
			run_round(&subjects[(i + round + 2) % count], round);
	}
	print(count, rounds);
	return 0;
}
