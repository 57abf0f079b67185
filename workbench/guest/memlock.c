// SPDX-License-Identifier: GPL-2.0
/*
 * Run a program that may lock so much memory and no more, as root without CAP_IPC_LOCK:
 *
 *	memlock KIB PROGRAM [ARGUMENT...]
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <unistd.h>
#include <linux/capability.h>

int main(int argc, char **argv)
{
	struct rlimit limit;

	if (argc < 3)
		return 2;
	limit.rlim_cur = strtoul(argv[1], NULL, 10) * 1024;
	limit.rlim_max = limit.rlim_cur;
	/* Root's programs get what is in the bounding set when they start. */
	if (setrlimit(RLIMIT_MEMLOCK, &limit) || prctl(PR_CAPBSET_DROP, CAP_IPC_LOCK, 0, 0, 0)) {
		perror("memlock");
		return 1;
	}
	execvp(argv[2], argv + 2);
	fprintf(stderr, "%s: %s\n", argv[2], strerror(errno));
	return 1;
}
