/* SPDX-License-Identifier: GPL-2.0 */
/*
 * What the bench programs share: the clock, which counts instructions under -icount, and memory
 * that is touched in a known order.
 */
#ifndef BENCH_H
#define BENCH_H

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define GIB		(1UL << 30)
#define PAGE		65536UL

static inline void die(const char *what)
{
	fprintf(stderr, "%s: %s\n", what, strerror(errno));
	exit(1);
}

/* Instructions since some time: 1 ns is one. */
static inline long now(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec * 1000000000L + t.tv_nsec;
}

static inline int by_long(const void *a, const void *b)
{
	long x = *(const long *)a, y = *(const long *)b;

	return (x > y) - (x < y);
}

/* Each page of 1 GIB at @m once: in order, or in the same random order every time. */
static inline void touch(char *m, int scattered)
{
	static unsigned int order[GIB / PAGE];
	unsigned int i, j, x, nr = GIB / PAGE;

	for (i = 0; i < nr; i++)
		order[i] = i;
	srand(1);
	for (i = nr - 1; scattered && i > 0; i--) {
		j = rand() % (i + 1);
		x = order[i];
		order[i] = order[j];
		order[j] = x;
	}
	for (i = 0; i < nr; i++)
		m[order[i] * PAGE] = 1;
}

#endif /* BENCH_H */
