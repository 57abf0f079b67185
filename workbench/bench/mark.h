/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Marks for the plugin kinds.c, which counts the kinds of instructions between them, and lines
 * that tell workbench/bench/run which samples belong to a row.
 */
#ifndef BENCH_MARK_H
#define BENCH_MARK_H

#include <stdio.h>

/* Samples so far: the next mark_end() is number @mark_samples of the plugin's file, from 0. */
static unsigned long mark_samples;

static inline void mark_begin(void)
{
	asm volatile("ori 0,0,0x5a5b" : : : "r0", "memory");
}

static inline void mark_end(void)
{
	asm volatile("ori 0,0,0x5a5c" : : : "r0", "memory");
	mark_samples++;
}

/* Row @name: @n samples from @first on, every @step'th, each of @per things. */
static inline void mark_row(const char *name, unsigned long first, unsigned long step,
			    unsigned long n, unsigned long per)
{
	printf("kinds %s %lu %lu %lu %lu\n", name, first, step, n, per);
}

#endif /* BENCH_MARK_H */
