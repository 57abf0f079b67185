/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Shared by the sPAPR TCE selftests: groups, containers, ioctls, and the counters that
 * detect leaks.
 *
 * The wrappers return 0 or -errno, or a positive value if an ioctl wrongly returns one.
 * Groups are named by the address of a device in them (segment:bus:device.function) or by their
 * number: the program's last arguments, or $VFIO_SELFTESTS_BDF, or $VFIO_GROUP. Groups that are
 * not named are the lowest ones in /dev/vfio.
 *
 * The counters are those of the machine (pins) or the process (locked memory), so nothing
 * else may pin pages concurrently. A worker unpins unregistered memory after an RCU grace
 * period, hence the bounded waits.
 */
#ifndef VFIO_SPAPR_TCE_H
#define VFIO_SPAPR_TCE_H

#define __SANE_USERSPACE_TYPES__	/* __u64 is long long */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>
#include <linux/capability.h>
#include <linux/membarrier.h>
#include <linux/types.h>
#include <linux/vfio.h>

#include "kselftest.h"

#ifndef VFIO_UNMAP_ALL
#define VFIO_UNMAP_ALL		9
#define VFIO_DMA_UNMAP_FLAG_ALL	(1 << 1)
#endif

#define KiB		(1UL << 10)
#define MiB		(1UL << 20)
#define GiB		(1UL << 30)
#define TiB		(1UL << 40)
#define IOMMU_PAGE	4096UL		/* of the default window */
#define MAX_LEVELS	5		/* that any PHB takes */
#define SETTLE_MS	5000
#define RW		(VFIO_DMA_MAP_FLAG_READ | VFIO_DMA_MAP_FLAG_WRITE)

/* Group numbers, the one to use first. */
static int groups[2];
static int nr_groups;

struct container {
	int fd;
	int group;
	int second;		/* another group, if it was asked for */
	int type;
	__u64 window;		/* bus address at which the default window starts */
	__u64 window_size;
	__u64 pgsizes;		/* v2: a bit per IOMMU page size */
	__u32 levels;		/* v2: most levels */
};

#define NO_CONTAINER	((struct container){ .fd = -1, .group = -1, .second = -1 })

static inline int result(int ret)
{
	return ret == -1 ? -errno : ret;
}

static inline int do_get_info(int fd, struct vfio_iommu_spapr_tce_info *info)
{
	return result(ioctl(fd, VFIO_IOMMU_SPAPR_TCE_GET_INFO, info));
}

static inline void container_close(struct container *c)
{
	if (c->second >= 0)
		close(c->second);
	if (c->group >= 0)
		close(c->group);
	if (c->fd >= 0)
		close(c->fd);
	c->second = -1;
	c->group = -1;
	c->fd = -1;
}

/* A group may be busy for a moment more: its last user, KVM say, is on the way out. */
static inline int group_open(int which)
{
	char path[64];
	int fd, ms;

	if (which >= nr_groups)
		return -ENODEV;
	snprintf(path, sizeof(path), "/dev/vfio/%d", groups[which]);
	for (ms = 0; (fd = open(path, O_RDWR)) < 0 && errno == EBUSY && ms < SETTLE_MS; ms += 10)
		usleep(10000);
	return fd < 0 ? -errno : fd;
}

/* A group's fd, which is in the container now */
static inline int group_join(struct container *c, int which)
{
	int fd = group_open(which);

	if (fd >= 0 && ioctl(fd, VFIO_GROUP_SET_CONTAINER, &c->fd)) {
		int err = errno;

		close(fd);
		return -err;
	}
	return fd;
}

/* 0 or -errno; -ENODEV if there are not so many groups, -EOPNOTSUPP without TCEs. */
static inline int container_open(struct container *c, int which, int type)
{
	struct vfio_iommu_spapr_tce_info info = { .argsz = sizeof(info) };
	int ret;

	*c = NO_CONTAINER;
	c->type = type;
	if (which >= nr_groups)
		return -ENODEV;
	c->fd = open("/dev/vfio/vfio", O_RDWR);
	if (c->fd < 0)
		return -errno;
	c->group = group_join(c, which);
	if (c->group < 0) {
		ret = c->group;
	} else if (ioctl(c->fd, VFIO_CHECK_EXTENSION, type) != 1) {
		ret = -EOPNOTSUPP;
	} else if (ioctl(c->fd, VFIO_SET_IOMMU, type)) {
		/* A platform without dynamic windows has v1 only. */
		ret = type == VFIO_SPAPR_TCE_v2_IOMMU && errno == EINVAL ?
			-EOPNOTSUPP : -errno;
	} else {
		ret = do_get_info(c->fd, &info);
		c->window = info.dma32_window_start;
		c->window_size = info.dma32_window_size;
		c->pgsizes = info.ddw.pgsizes;
		c->levels = info.ddw.levels;
		if (!ret)
			return 0;
	}
	container_close(c);
	return ret;
}

static inline int do_enable(struct container *c)
{
	return result(ioctl(c->fd, VFIO_IOMMU_ENABLE));
}

static inline int do_disable(struct container *c)
{
	return result(ioctl(c->fd, VFIO_IOMMU_DISABLE));
}

static inline int do_register(struct container *c, void *addr, unsigned long size)
{
	struct vfio_iommu_spapr_register_memory r = {
		.argsz = sizeof(r), .vaddr = (__u64)addr, .size = size,
	};

	return result(ioctl(c->fd, VFIO_IOMMU_SPAPR_REGISTER_MEMORY, &r));
}

static inline int do_unregister(struct container *c, void *addr, unsigned long size)
{
	struct vfio_iommu_spapr_register_memory r = {
		.argsz = sizeof(r), .vaddr = (__u64)addr, .size = size,
	};

	return result(ioctl(c->fd, VFIO_IOMMU_SPAPR_UNREGISTER_MEMORY, &r));
}

static inline int do_map_at(struct container *c, __u64 iova, void *addr,
			    unsigned long size, __u32 flags)
{
	struct vfio_iommu_type1_dma_map m = {
		.argsz = sizeof(m), .flags = flags,
		.vaddr = (__u64)addr, .iova = iova, .size = size,
	};

	return result(ioctl(c->fd, VFIO_IOMMU_MAP_DMA, &m));
}

/* @size: in, what to unmap; out, what was, if @size isn't NULL; left alone on error */
static inline int do_unmap_at(struct container *c, __u64 iova, __u64 *size, __u32 flags)
{
	struct vfio_iommu_type1_dma_unmap u = {
		.argsz = sizeof(u), .flags = flags, .iova = iova, .size = *size,
	};
	int ret = result(ioctl(c->fd, VFIO_IOMMU_UNMAP_DMA, &u));

	if (!ret)
		*size = u.size;
	return ret;
}

/* @at: offset in the default window */
static inline int do_map(struct container *c, unsigned long at, void *addr,
			 unsigned long size)
{
	return do_map_at(c, c->window + at, addr, size, RW);
}

static inline int do_unmap(struct container *c, unsigned long at, unsigned long size)
{
	__u64 n = size;

	return do_unmap_at(c, c->window + at, &n, 0);
}

/* Bytes that were mapped there, or -errno. */
static inline long do_unmap_bytes(struct container *c, __u64 iova, unsigned long size)
{
	__u64 n = size;
	int ret = do_unmap_at(c, iova, &n, 0);

	return ret ? ret : (long)n;
}

static inline int do_create(struct container *c, unsigned int page_shift, __u64 size,
			    unsigned int levels, __u64 *start)
{
	struct vfio_iommu_spapr_tce_create w = {
		.argsz = sizeof(w), .page_shift = page_shift,
		.window_size = size, .levels = levels,
	};
	int ret = result(ioctl(c->fd, VFIO_IOMMU_SPAPR_TCE_CREATE, &w));

	if (!ret && start)
		*start = w.start_addr;
	return ret;
}

static inline int do_remove(struct container *c, __u64 start)
{
	struct vfio_iommu_spapr_tce_remove w = {
		.argsz = sizeof(w), .start_addr = start,
	};

	return result(ioctl(c->fd, VFIO_IOMMU_SPAPR_TCE_REMOVE, &w));
}

static inline long number_in(const char *path, const char *key)
{
	char line[256];
	long value = -1;
	FILE *f = fopen(path, "r");
	size_t n = strlen(key);

	if (!f)
		return -1;
	while (value < 0 && fgets(line, sizeof(line), f))
		if (!strncmp(line, key, n))
			value = atol(line + n);
	fclose(f);
	return value;
}

/* Counters are per CPU and gathered lazily: gather them now. */
static inline void gather_vmstat(void)
{
	char c;
	int fd = open("/proc/sys/vm/stat_refresh", O_RDONLY);

	if (fd < 0)
		return;
	while (read(fd, &c, 1) > 0)
		;
	close(fd);
}

static inline long pages_ever_pinned(void)
{
	gather_vmstat();
	return number_in("/proc/vmstat", "nr_foll_pin_acquired ");
}

static inline long pages_pinned(void)
{
	return pages_ever_pinned() -
	       number_in("/proc/vmstat", "nr_foll_pin_released ");
}

/*
 * The same, once what came before has been unpinned. A count that stays may be that of a worker
 * which waits for a grace period: let two pass, as it may have missed the beginning of one. With
 * one CPU the calls don't wait, and the readings have to tell.
 */
static inline long pages_pinned_steady(void)
{
	long now, before;
	int same = 0, ms;

	syscall(SYS_membarrier, MEMBARRIER_CMD_GLOBAL, 0, 0);
	syscall(SYS_membarrier, MEMBARRIER_CMD_GLOBAL, 0, 0);
	now = pages_pinned();
	for (ms = 0; same < 10 && ms < SETTLE_MS; ms += 10) {
		usleep(10000);
		before = now;
		now = pages_pinned();
		same = now == before ? same + 1 : 0;
	}
	return now;
}

/* Bytes */
static inline long locked(void)
{
	return number_in("/proc/self/status", "VmLck:") * 1024;
}

/* Regions of every process that the kernel knows; -1 if it doesn't tell. */
static inline long regions_known(void)
{
	char line[300];
	long n = 0;
	FILE *f = fopen("/sys/kernel/debug/powerpc/mm_iommu", "r");

	if (!f)
		return -1;
	while (fgets(line, sizeof(line), f))
		n += !!strstr(line, "0x");
	fclose(f);
	return n;
}

static inline long settle(long (*value)(void), long expected)
{
	long now;
	int ms;

	for (ms = 0; (now = value()) != expected && ms < SETTLE_MS; ms += 10)
		usleep(10000);
	return now;
}

static inline int drop_ipc_lock(void)
{
	struct __user_cap_header_struct h = { .version = _LINUX_CAPABILITY_VERSION_3 };
	struct __user_cap_data_struct d[2];

	if (syscall(SYS_capget, &h, d))
		return -errno;
	d[0].effective &= ~(1U << CAP_IPC_LOCK);
	return result(syscall(SYS_capset, &h, d));
}

/* From here on locked memory is limited to @more bytes than now. */
static inline int limit_locked(unsigned long more)
{
	struct rlimit limit = { locked() + more, locked() + more };

	return setrlimit(RLIMIT_MEMLOCK, &limit) ? -errno : drop_ipc_lock();
}

/*
 * Can a huge page be pinned? With hash translation and pages of 4K, one of 16M is behind
 * eight PMDs, of which gup knows the first only: it tries again and again.
 */
static inline bool gup_finds(unsigned long huge_page)
{
	FILE *f = fopen("/proc/cpuinfo", "r");
	char line[128];
	bool hash = false;

	while (f && fgets(line, sizeof(line), f))
		hash |= !strncmp(line, "MMU", 3) && strstr(line, "Hash");
	if (f)
		fclose(f);
	return !hash || sysconf(_SC_PAGESIZE) != 4096 || huge_page <= 2 * MiB;
}

/* A hypervisor's guest: TCEs are the hypervisor's. */
static inline bool is_pseries(void)
{
	FILE *f = fopen("/proc/cpuinfo", "r");
	bool found = false;
	char line[128];

	while (f && fgets(line, sizeof(line), f))
		found |= !strncmp(line, "platform", 8) && strstr(line, "pSeries");
	if (f)
		fclose(f);
	return found;
}

static inline char *anonymous(unsigned long size)
{
	return mmap(NULL, size, PROT_READ | PROT_WRITE,
		    MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
}

/* The group that a device's address or a number names; -1 if it names none. */
static inline int group_of(const char *name)
{
	unsigned int segment, bus, device, function;
	char path[64], target[256], c;
	int n, length = 0;

	if (sscanf(name, "%d%c", &n, &c) == 1)
		return n;
	if (sscanf(name, "%4x:%2x:%2x.%1x%n", &segment, &bus, &device, &function, &length) != 4 ||
	    name[length])
		return -1;
	snprintf(path, sizeof(path), "/sys/bus/pci/devices/%s/iommu_group", name);
	n = readlink(path, target, sizeof(target) - 1);
	if (n <= 0)
		return -1;
	target[n] = 0;
	return atoi(strrchr(target, '/') + 1);
}

static inline void add_group(int group)
{
	if (nr_groups < 2 && !(nr_groups && groups[0] == group))
		groups[nr_groups++] = group;
}

/* Takes names of groups off the arguments, and adds what is in /dev/vfio. */
static inline void find_groups(int *argc, char **argv)
{
	const char *bdf = getenv("VFIO_SELFTESTS_BDF"), *number = getenv("VFIO_GROUP");
	int lowest[3] = { -1, -1, -1 }, i, j, n;
	struct dirent *e;
	DIR *d;
	char c;

	/* "-t 30" names none */
	for (i = *argc; i > 1 && group_of(argv[i - 1]) >= 0; i--)
		if (i > 2 && argv[i - 2][0] == '-')
			break;
	for (n = i; n < *argc; n++)
		add_group(group_of(argv[n]));
	*argc = i;
	if (!nr_groups && (bdf || number)) {
		n = group_of(bdf ? bdf : number);
		if (n < 0) {
			ksft_print_header();
			ksft_exit_skip("%s: no device in an IOMMU group\n", bdf ? bdf : number);
		}
		add_group(n);
	}
	d = opendir("/dev/vfio");
	if (!d)
		return;
	while ((e = readdir(d))) {
		if (sscanf(e->d_name, "%d%c", &n, &c) != 1)
			continue;
		for (i = 0; i < 3 && lowest[i] >= 0 && lowest[i] < n; i++)
			;
		for (j = 2; j > i; j--)
			lowest[j] = lowest[j - 1];
		if (i < 3)
			lowest[i] = n;
	}
	closedir(d);
	for (i = 0; i < 3; i++)
		if (lowest[i] >= 0)
			add_group(lowest[i]);
}

/*
 * What main() does first: finds the groups. Ends the program, as skipped, where nothing
 * can be tested.
 */
static inline void spapr_tce_init(int *argc, char **argv)
{
	const char *why = NULL;

	/* What a check says about its failure belongs to the result. */
	dup2(STDOUT_FILENO, STDERR_FILENO);
	find_groups(argc, argv);
	if (!nr_groups)
		why = "no IOMMU group in /dev/vfio: bind a device to vfio-pci";
	else if (access("/proc/vmstat", R_OK) || pages_pinned() < 0)
		why = "no nr_foll_pin counters in /proc/vmstat";
	if (why) {
		ksft_print_header();
		ksft_exit_skip("%s\n", why);
	}
}

#endif
