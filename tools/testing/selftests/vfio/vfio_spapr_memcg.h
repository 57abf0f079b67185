/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Kernel memory that is charged to a process: a memory cgroup (v2) of its own counts it,
 * "kernel" in memory.stat, in bytes.
 *
 * The counter is in whole pages, each CPU caches up to a page of charge, and statistics are
 * updated every two seconds. So compare large amounts, allow MEMCG_SLACK, and wait:
 * memcg_settle(). Page tables are counted, too: touch memory before memcg_enter().
 */
#ifndef VFIO_SPAPR_MEMCG_H
#define VFIO_SPAPR_MEMCG_H

#include "vfio_spapr_tce.h"

#include <sys/mount.h>
#include <sys/stat.h>

#define MEMCG_SLACK	((long)(512 * KiB))

static char memcg_root[100];	/* the hierarchy */
static bool memcg_mounted;	/* by us */
static char memcg_dir[200];

static inline int memcg_write(const char *dir, const char *file, const char *text)
{
	char path[300];
	int fd, ret;

	snprintf(path, sizeof(path), "%s/%s", dir, file);
	fd = open(path, O_WRONLY);
	if (fd < 0)
		return -errno;
	ret = write(fd, text, strlen(text)) < 0 ? -errno : 0;
	close(fd);
	return ret;
}

static inline int memcg_find_root(void)
{
	char line[400], type[40];
	FILE *f = fopen("/proc/self/mounts", "r");
	bool found = false;

	while (f && !found && fgets(line, sizeof(line), f))
		found = sscanf(line, "%*s %99s %39s", memcg_root, type) == 2 &&
			!strcmp(type, "cgroup2");
	if (f)
		fclose(f);
	if (found)
		return 0;
	snprintf(memcg_root, sizeof(memcg_root), "/tmp/cgroup.XXXXXX");
	if (!mkdtemp(memcg_root))
		return -errno;
	memcg_mounted = !mount("none", memcg_root, "cgroup2", 0, NULL);
	return memcg_mounted ? 0 : -errno;
}

/* Back to where one may be, and the group away. */
static inline void memcg_leave(void)
{
	if (memcg_dir[0]) {
		memcg_write(memcg_root, "cgroup.procs", "0");
		rmdir(memcg_dir);
		memcg_dir[0] = 0;
	}
	if (memcg_mounted)
		umount2(memcg_root, MNT_DETACH);
	if (!strncmp(memcg_root, "/tmp/", 5))
		rmdir(memcg_root);
	memcg_mounted = false;
	memcg_root[0] = 0;
}

/* From here on this process is charged to a group of its own; -errno if there is none. */
static inline int memcg_enter(void)
{
	int ret = memcg_find_root();

	if (!ret)
		ret = memcg_write(memcg_root, "cgroup.subtree_control", "+memory");
	if (!ret) {
		snprintf(memcg_dir, sizeof(memcg_dir), "%s/vfio_spapr.%d", memcg_root, getpid());
		if (mkdir(memcg_dir, 0700)) {
			ret = -errno;
			memcg_dir[0] = 0;
		}
	}
	if (!ret)
		ret = memcg_write(memcg_dir, "cgroup.procs", "0");
	if (ret)
		memcg_leave();
	return ret;
}

static inline long memcg_kernel(void)
{
	char path[300];

	snprintf(path, sizeof(path), "%s/memory.stat", memcg_dir);
	return number_in(path, "kernel ");
}

/* The next reading includes all of now: statistics are updated every two seconds. */
static inline void memcg_gather(void)
{
	sleep(5);
}

/* Wait until so many bytes are charged, more or less; then what really is. */
static inline long memcg_settle(long bytes)
{
	long now;
	int ms;

	for (ms = 0; labs((now = memcg_kernel()) - bytes) > MEMCG_SLACK && ms < SETTLE_MS; ms += 10)
		usleep(10000);
	return now;
}

#define EXPECT_CHARGED(bytes) do {					\
	long __bytes = bytes;						\
									\
	EXPECT_GE(MEMCG_SLACK, labs(memcg_settle(__bytes) - __bytes))	\
		TH_LOG("%ld bytes charged, not %ld", memcg_kernel(), __bytes); \
} while (0)

#endif
