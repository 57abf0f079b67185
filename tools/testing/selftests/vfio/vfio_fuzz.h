/* SPDX-License-Identifier: GPL-2.0 */
/*
 * What the programs of random calls share: chance that a seed replays, the model's objections,
 * and main().
 *
 *	PROGRAM [-s SEED] [-n CALLS] [-p PROGRAM] [GROUP]
 *
 * One run is many programs, of some hundred calls each, until CALLS were made or three programs
 * went wrong. The seed is printed; -s SEED -p PROGRAM replays one program.
 */
#ifndef VFIO_FUZZ_H
#define VFIO_FUZZ_H

#include <getopt.h>

#include "vfio_spapr_tce.h"

#define MAX_LISTED	64	/* last calls, told when one goes wrong */

static unsigned int seed = 1, program;
static unsigned long calls_left = 10000, calls_made;
static bool wrong;
static char said[MAX_LISTED][96];
static unsigned int nr_said;

/* Before the first call, so that nothing waits to be given back */
static struct {
	long pinned, locked, regions;
} at_first;

static inline unsigned int draw_from(__u64 *state, unsigned int below)
{
	*state = *state * 6364136223846793005ULL + 1442695040888963407ULL;
	return (*state >> 33) % below;
}

/* Remember a call, so that what led to a wrong answer can be told. */
#define say(...) snprintf(said[nr_said++ % MAX_LISTED], sizeof(said[0]), __VA_ARGS__)

/* The first objection to a program */
static inline void tell(const char *what, long wanted, long got)
{
	unsigned int i;

	if (wrong)
		return;
	wrong = true;
	for (i = nr_said < MAX_LISTED ? 0 : nr_said - MAX_LISTED; i < nr_said; i++)
		ksft_print_msg("  %s\n", said[i % MAX_LISTED]);
	ksft_print_msg("seed %u program %u: %s: wanted %ld, got %ld\n", seed, program, what,
		       wanted, got);
}

static inline void must(const char *what, long wanted, long got)
{
	if (wanted != got)
		tell(what, wanted, got);
}

/* A counter that is as before, soon */
static inline void same(const char *what, long before, long (*value)(void))
{
	must(what, before, settle(value, before));
}

/* All that a program took is given back, soon. */
static inline void nothing_left(void)
{
	same("pinned pages", at_first.pinned, pages_pinned);
	same("locked bytes", at_first.locked, locked);
	if (at_first.regions >= 0)
		same("regions", at_first.regions, regions_known);
}

/*
 * Run programs; @run_program makes calls, counts them in calls_made, and looks for what is left.
 * Reports one test result.
 */
static inline void fuzz_run(bool one, void (*run_program)(void))
{
	unsigned int bad = 0, begun = program;

	ksft_print_msg("seed %u\n", seed);
	do {
		wrong = false;
		nr_said = 0;
		run_program();
		bad += wrong;
		program++;
		if (!(program % 64))
			ksft_print_msg("%lu calls, %u programs\n", calls_made, program - begun);
	} while (!one && calls_made < calls_left && bad < 3);
	ksft_print_msg("%lu calls, %u programs\n", calls_made, program - begun);
	ksft_test_result(!bad && calls_made, "what the model says, and nothing left\n");
}

/*
 * What main() does first: options, groups, and a try of @set_up and @tear_down. Ends the program
 * where @set_up fails; as skipped, with @missing as the reason, where there is nothing to test.
 * Returns whether one program is to be replayed.
 */
static inline bool fuzz_begin(int argc, char **argv, unsigned int tests, const char *missing,
			      int (*set_up)(void), void (*tear_down)(void))
{
	bool one = false;
	int o, ret;

	spapr_tce_init(&argc, argv);
	while ((o = getopt(argc, argv, "s:n:p:")) > 0) {
		switch (o) {
		case 's':
			seed = atoi(optarg);
			break;
		case 'n':
			calls_left = atol(optarg);
			break;
		case 'p':
			program = atoi(optarg);
			one = true;
			break;
		default:
			exit(KSFT_FAIL);
		}
	}
	ksft_print_header();
	at_first.pinned = pages_pinned_steady();
	at_first.locked = locked();
	at_first.regions = regions_known();
	ret = set_up();
	tear_down();
	if (ret == -ENODEV || ret == -ENOENT || ret == -EOPNOTSUPP)
		ksft_exit_skip("%s\n", missing);
	if (ret)
		ksft_exit_fail_msg("set-up: %s\n", strerror(-ret));
	ksft_set_plan(tests);
	return one;
}

/* Memory that programs use, there and not zero */
static inline char *fuzz_memory(unsigned long size)
{
	char *memory = anonymous(size);

	if (memory == MAP_FAILED)
		ksft_exit_fail_msg("no memory\n");
	return memset(memory, 1, size);
}

#endif
