// SPDX-License-Identifier: GPL-2.0
/*
 * What pre-registered regions, TCEs and windows cost, through the ioctls of a VFIO sPAPR
 * TCE v2 container: 'name value' lines, instructions (of -icount: 1 ns = 1 instruction).
 *
 *	region_bench [v1] page64k|thp|scattered|many|bulk|default|window|one|hcalls...
 *
 * page64k, thp, scattered: 1 GIB touched in order without THP, with THP, or page by
 * page in random order. register.* and unregister.* are per 64K page, metadata.* is
 * KiB per GIB as debugfs tells. many: one page with 10 and with 1000 regions there.
 * bulk: 1 GIB of 64K pages in one MAP_DMA or UNMAP_DMA, per TCE of 64K; replace is a map
 * over entries of other pages. window: 2 TIB of 64K pages in 2 levels, made and removed,
 * what that charges to the process and takes from the free memory, in KiB.
 * default: 256 MIB of 4K TCEs in the default window, also of a v1 container.
 * one: what bulk is, of a single 64K page. hcalls: bulk and one between marks, for who counts
 * hypercalls: a mark is the H_PUT_TCE of ioba 0 that maps a page there, and "mark NAME" is
 * said of what lies between this one and the next.
 *
 * Unregistering is the ioctl and what the kernel does later for it. That is found by
 * calling sched_yield() over and over on the only CPU, which is then never idle: each
 * call takes the same time unless something else ran, and the excess is counted. The
 * same is done beforehand with nothing to do, and subtracted: ticks and the like. RCU's
 * own work for the one grace period stays in.
 */
#include <dirent.h>
#include <fcntl.h>
#include <sched.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <unistd.h>
#include <linux/vfio.h>
#include "bench.h"
#include "mark.h"

#define TIB		(1UL << 40)
#define WINDOW_NS	100000000L	/* grace period and unpinning of 1 GIB fit in */
#define ROUNDS		3
#define MAX_YIELDS	1000000

static int container = -1, type = VFIO_SPAPR_TCE_v2_IOMMU;
static uint32_t took[MAX_YIELDS];

/* The mean without the top tenth, which holds ticks. */
static double typical(long *v, int n)
{
	double sum = 0;
	int i, most = n - n / 10;

	qsort(v, n, sizeof(*v), by_long);
	for (i = 0; i < most; i++)
		sum += v[i];
	return sum / most;
}

static void open_container(void)
{
	struct dirent *e;
	char path[300];
	int group = -1;
	DIR *d = opendir("/dev/vfio");

	container = open("/dev/vfio/vfio", O_RDWR);
	while (d && group < 0 && (e = readdir(d))) {
		if (e->d_name[0] < '0' || e->d_name[0] > '9')
			continue;
		snprintf(path, sizeof(path), "/dev/vfio/%s", e->d_name);
		group = open(path, O_RDWR);
	}
	if (container < 0 || group < 0 ||
	    ioctl(group, VFIO_GROUP_SET_CONTAINER, &container) ||
	    ioctl(container, VFIO_SET_IOMMU, type) ||
	    (type == VFIO_SPAPR_TCE_IOMMU && ioctl(container, VFIO_IOMMU_ENABLE)))
		die("no sPAPR TCE container");
}

/* Instructions of one ioctl of the container, marked for the plugin */
static long measured(unsigned long request, void *arg, const char *what)
{
	long began = now(), took;
	int ret;

	mark_begin();
	ret = ioctl(container, request, arg);
	mark_end();
	took = now() - began;
	if (ret)
		die(what);
	return took;
}

/* Instructions of one REGISTER or UNREGISTER */
static long reg(int request, char *addr, unsigned long size)
{
	struct vfio_iommu_spapr_register_memory r = {
		.argsz = sizeof(r), .vaddr = (uint64_t)addr, .size = size,
	};

	return measured(request, &r, request == (int)VFIO_IOMMU_SPAPR_REGISTER_MEMORY ?
			"register" : "unregister");
}

/* Instructions of one MAP_DMA or UNMAP_DMA */
static long map(uint64_t iova, char *addr, unsigned long size)
{
	struct vfio_iommu_type1_dma_map m = {
		.argsz = sizeof(m), .flags = VFIO_DMA_MAP_FLAG_READ | VFIO_DMA_MAP_FLAG_WRITE,
		.vaddr = (uint64_t)addr, .iova = iova, .size = size,
	};

	return measured(VFIO_IOMMU_MAP_DMA, &m, "map");
}

static long unmap(uint64_t iova, unsigned long size)
{
	struct vfio_iommu_type1_dma_unmap u = {
		.argsz = sizeof(u), .iova = iova, .size = size,
	};

	return measured(VFIO_IOMMU_UNMAP_DMA, &u, "unmap");
}

static long create(uint64_t size, uint32_t levels, uint64_t *start)
{
	struct vfio_iommu_spapr_tce_create w = {
		.argsz = sizeof(w), .page_shift = 16, .window_size = size, .levels = levels,
	};
	long took = measured(VFIO_IOMMU_SPAPR_TCE_CREATE, &w, "window of 64K pages");

	*start = w.start_addr;
	return took;
}

static long destroy(uint64_t start)
{
	struct vfio_iommu_spapr_tce_remove w = { .argsz = sizeof(w), .start_addr = start };

	return measured(VFIO_IOMMU_SPAPR_TCE_REMOVE, &w, "remove");
}

static long pages_pinned(void)
{
	long pinned = 0;
	char line[200];
	int fd = open("/proc/sys/vm/stat_refresh", O_RDONLY);
	FILE *f;

	/* Counters are per CPU and gathered lazily: gather them now. */
	while (fd >= 0 && read(fd, line, 1) > 0)
		;
	close(fd);
	f = fopen("/proc/vmstat", "r");
	while (f && fgets(line, sizeof(line), f)) {
		if (!strncmp(line, "nr_foll_pin_acquired ", 21))
			pinned += atol(line + 21);
		if (!strncmp(line, "nr_foll_pin_released ", 21))
			pinned -= atol(line + 21);
	}
	fclose(f);
	return pinned;
}

/* What others ran during the next WINDOW_NS. */
static long others(void)
{
	long began = now(), t = began, n, excess = 0;
	uint32_t least = ~0U;
	int i, nr = 0;

	while (t < began + WINDOW_NS && nr < MAX_YIELDS) {
		sched_yield();
		n = now();
		took[nr] = n - t;
		if (took[nr] < least)
			least = took[nr];
		nr++;
		t = n;
	}
	/* The clock's own steps are some instructions long. */
	for (i = 0; i < nr; i++)
		if (took[i] > least + 200)
			excess += took[i] - least;
	return excess;
}

static double metadata_kib(unsigned long ua)
{
	unsigned long at, bytes;
	char line[300];
	double kib = -1;
	FILE *f = fopen("/sys/kernel/debug/powerpc/mm_iommu", "r");

	while (f && fgets(line, sizeof(line), f))
		if (sscanf(line, "%*d %*s 0x%lx 0x%*x %*u %*u %*u %*d %lu", &at, &bytes) == 2 &&
		    at == ua)
			kib = bytes / 1024.0;
	if (f)
		fclose(f);
	return kib;
}

static void bench_big(const char *name)
{
	long in[ROUNDS], out[ROUNDS], later[ROUNDS], pinned = pages_pinned(), quiet;
	int thp = !strcmp(name, "thp"), i, tries;
	unsigned long first = mark_samples;
	char row[40];
	double kib;
	char *m;

	m = mmap(NULL, GIB + (16UL << 20), PROT_READ | PROT_WRITE,
		 MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (m == MAP_FAILED)
		die("mmap");
	m = (char *)(((unsigned long)m + (16UL << 20) - 1) & ~((16UL << 20) - 1));
	if (madvise(m, GIB, thp ? MADV_HUGEPAGE : MADV_NOHUGEPAGE))
		die("madvise");
	touch(m, !strcmp(name, "scattered"));

	for (i = 0; i < ROUNDS; i++) {
		in[i] = reg(VFIO_IOMMU_SPAPR_REGISTER_MEMORY, m, GIB);
		kib = metadata_kib((unsigned long)m);
		quiet = others();
		out[i] = reg(VFIO_IOMMU_SPAPR_UNREGISTER_MEMORY, m, GIB);
		later[i] = 0;
		for (tries = 0; !tries || pages_pinned() != pinned; tries++) {
			if (tries == 50) {
				fprintf(stderr, "region_bench: never unpinned\n");
				exit(1);
			}
			later[i] += others() - quiet;
		}
		fprintf(stderr, "%s: in %ld out %ld later %ld (%d) quiet %ld metadata %.2f\n",
			name, in[i], out[i], later[i], tries, quiet, kib);
		out[i] += later[i];
	}
	qsort(in, ROUNDS, sizeof(in[0]), by_long);
	qsort(out, ROUNDS, sizeof(out[0]), by_long);
	qsort(later, ROUNDS, sizeof(later[0]), by_long);
	printf("register.%s %.2f\n", name, (double)in[ROUNDS / 2] / (GIB / PAGE));
	printf("unregister.%s %.2f\n", name, (double)out[ROUNDS / 2] / (GIB / PAGE));
	printf("unregister.%s.deferred %.2f\n", name, (double)later[ROUNDS / 2] / (GIB / PAGE));
	/* REGISTER and UNREGISTER in turn; what is unpinned later is not in it */
	snprintf(row, sizeof(row), "register.%s", name);
	mark_row(row, first, 2, ROUNDS, GIB / PAGE);
	if (kib >= 0)
		printf("metadata.%s %.2f\n", name, kib);
	munmap(m, GIB);
}

#define SAMPLES 100

/* @nr regions of a page each, every other page; the samples go over all of them. */
static void bench_among(char *m, int nr, uint64_t window64k)
{
	static const char * const ops[] = { "map4k", "unmap4k", "map64k", "unmap64k", "register" };
	long in[SAMPLES], map4k[SAMPLES], map64k[SAMPLES], unmap4k[SAMPLES], unmap64k[SAMPLES];
	unsigned long first = mark_samples;
	char *at, name[40];
	int i;

	for (i = 0; i < SAMPLES; i++) {
		at = m + (long)i * nr / SAMPLES * 2 * PAGE;
		map4k[i] = map(0, at, 4096);
		unmap4k[i] = unmap(0, 4096);
		map64k[i] = map(window64k, at, PAGE);
		unmap64k[i] = unmap(window64k, PAGE);
		in[i] = reg(VFIO_IOMMU_SPAPR_REGISTER_MEMORY, at + PAGE, PAGE);
		reg(VFIO_IOMMU_SPAPR_UNREGISTER_MEMORY, at + PAGE, PAGE);
	}
	printf("register.among%d %.0f\n", nr, typical(in, SAMPLES));
	printf("map4k.among%d %.0f\n", nr, typical(map4k, SAMPLES));
	printf("map64k.among%d %.0f\n", nr, typical(map64k, SAMPLES));
	printf("unmap4k.among%d %.0f\n", nr, typical(unmap4k, SAMPLES));
	printf("unmap64k.among%d %.0f\n", nr, typical(unmap64k, SAMPLES));
	/* six ioctls a round, the last an UNREGISTER */
	for (i = 0; i < 5; i++) {
		snprintf(name, sizeof(name), "%s.among%d", ops[i], nr);
		mark_row(name, first + i, 6, SAMPLES, 1);
	}
	others();
}

static void bench_many(void)
{
	uint64_t start;
	char *m;
	int i;

	m = mmap(NULL, 2000 * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (m == MAP_FAILED || madvise(m, 2000 * PAGE, MADV_NOHUGEPAGE))
		die("mmap");
	memset(m, 1, 2000 * PAGE);
	for (i = 0; i < 10; i++)
		reg(VFIO_IOMMU_SPAPR_REGISTER_MEMORY, m + i * 2 * PAGE, PAGE);
	create(GIB, 1, &start);
	bench_among(m, 10, start);
	for (; i < 1000; i++)
		reg(VFIO_IOMMU_SPAPR_REGISTER_MEMORY, m + i * 2 * PAGE, PAGE);
	bench_among(m, 1000, start);
	destroy(start);
	for (i = 0; i < 1000; i++)
		reg(VFIO_IOMMU_SPAPR_UNREGISTER_MEMORY, m + i * 2 * PAGE, PAGE);
	others();
}

static char *bulk_memory(void)
{
	char *m = mmap(NULL, GIB + PAGE, PROT_READ | PROT_WRITE,
		       MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	if (m == MAP_FAILED || madvise(m, GIB + PAGE, MADV_NOHUGEPAGE))
		die("mmap");
	touch(m, 0);
	reg(VFIO_IOMMU_SPAPR_REGISTER_MEMORY, m, GIB + PAGE);
	return m;
}

static void bench_bulk(void)
{
	long cost[3][ROUNDS];
	unsigned long first;
	uint64_t start;
	char *m = bulk_memory();
	int i;

	create(GIB, 1, &start);
	first = mark_samples;
	for (i = 0; i < ROUNDS; i++) {
		cost[0][i] = map(start, m, GIB);
		cost[1][i] = map(start, m + PAGE, GIB);
		cost[2][i] = unmap(start, GIB);
	}
	for (i = 0; i < 3; i++)
		qsort(cost[i], ROUNDS, sizeof(cost[i][0]), by_long);
	printf("map.bulk %.2f\n", (double)cost[0][ROUNDS / 2] / (GIB / PAGE));
	printf("replace.bulk %.2f\n", (double)cost[1][ROUNDS / 2] / (GIB / PAGE));
	printf("unmap.bulk %.2f\n", (double)cost[2][ROUNDS / 2] / (GIB / PAGE));
	mark_row("map.bulk", first, 3, ROUNDS, GIB / PAGE);
	mark_row("replace.bulk", first + 1, 3, ROUNDS, GIB / PAGE);
	mark_row("unmap.bulk", first + 2, 3, ROUNDS, GIB / PAGE);
	destroy(start);
	reg(VFIO_IOMMU_SPAPR_UNREGISTER_MEMORY, m, GIB + PAGE);
	others();
	munmap(m, GIB + PAGE);
}

#define SMALL		4096UL
#define DEFAULT_BYTES	(256UL << 20)

static void bench_default(void)
{
	const double entries = DEFAULT_BYTES / SMALL;
	long cost[3][ROUNDS];
	char *m;
	int i;

	m = mmap(NULL, DEFAULT_BYTES + PAGE, PROT_READ | PROT_WRITE,
		 MAP_PRIVATE | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);
	if (m == MAP_FAILED)
		die("mmap");
	if (type == VFIO_SPAPR_TCE_v2_IOMMU)
		reg(VFIO_IOMMU_SPAPR_REGISTER_MEMORY, m, DEFAULT_BYTES + PAGE);
	for (i = 0; i < ROUNDS; i++) {
		cost[0][i] = map(0, m, DEFAULT_BYTES);
		cost[1][i] = map(0, m + PAGE, DEFAULT_BYTES);
		cost[2][i] = unmap(0, DEFAULT_BYTES);
	}
	for (i = 0; i < 3; i++)
		qsort(cost[i], ROUNDS, sizeof(cost[i][0]), by_long);
	printf("map.default %.2f\n", cost[0][ROUNDS / 2] / entries);
	printf("replace.default %.2f\n", cost[1][ROUNDS / 2] / entries);
	printf("unmap.default %.2f\n", cost[2][ROUNDS / 2] / entries);
	if (type == VFIO_SPAPR_TCE_v2_IOMMU)
		reg(VFIO_IOMMU_SPAPR_UNREGISTER_MEMORY, m, DEFAULT_BYTES + PAGE);
	munmap(m, DEFAULT_BYTES + PAGE);
}

static void bench_one(void)
{
	long cost[3][SAMPLES];
	char *m = bulk_memory();
	uint64_t start;
	int i;

	create(GIB, 1, &start);
	for (i = 0; i < SAMPLES; i++) {
		cost[0][i] = map(start + i * PAGE, m, PAGE);
		cost[1][i] = map(start + i * PAGE, m + PAGE, PAGE);
		cost[2][i] = unmap(start + i * PAGE, PAGE);
	}
	printf("map.one %.0f\n", typical(cost[0], SAMPLES));
	printf("replace.one %.0f\n", typical(cost[1], SAMPLES));
	printf("unmap.one %.0f\n", typical(cost[2], SAMPLES));
	destroy(start);
	reg(VFIO_IOMMU_SPAPR_UNREGISTER_MEMORY, m, GIB + PAGE);
	munmap(m, GIB + PAGE);
}

static void mark(char *m, const char *name)
{
	printf("%s %s\n", "mark", name);
	map(0, m, 4096);
}

static void bench_hcalls(void)
{
	char *m = bulk_memory();
	uint64_t start;

	map(0, m, 4096);
	unmap(0, 4096);
	create(4 * GIB, 1, &start);
	mark(m, "map.bulk");
	map(start, m, GIB);
	mark(m, "replace.bulk");
	map(start, m + PAGE, GIB);
	mark(m, "unmap.bulk");
	unmap(start, GIB);
	mark(m, "map.one");
	map(start, m, PAGE);
	mark(m, "replace.one");
	map(start, m + PAGE, PAGE);
	mark(m, "unmap.one");
	unmap(start, PAGE);
	mark(m, "unmap.empty");
	unmap(start, 4 * GIB);
	mark(m, "window.remove");
	map(start, m, GIB);
	destroy(start);
	mark(m, "end");
	unmap(0, 4096);
	reg(VFIO_IOMMU_SPAPR_UNREGISTER_MEMORY, m, GIB + PAGE);
	munmap(m, GIB + PAGE);
}

static long kib_in(const char *path, const char *key)
{
	char line[200];
	long kib = -1;
	FILE *f = fopen(path, "r");

	while (f && kib < 0 && fgets(line, sizeof(line), f))
		if (!strncmp(line, key, strlen(key)))
			kib = atol(line + strlen(key));
	if (f)
		fclose(f);
	return kib;
}

static void bench_window(void)
{
	long made, gone, locked, free;
	uint64_t start;

	/* The first time also makes the default window. */
	create(GIB, 1, &start);
	destroy(start);
	others();
	pages_pinned();
	locked = kib_in("/proc/self/status", "VmLck:");
	free = kib_in("/proc/meminfo", "MemFree:");
	made = create(2 * TIB, 2, &start);
	pages_pinned();
	locked = kib_in("/proc/self/status", "VmLck:") - locked;
	free -= kib_in("/proc/meminfo", "MemFree:");
	gone = destroy(start);
	printf("window.create %ld\n", made);
	printf("window.remove %ld\n", gone);
	printf("window.charged %ld\n", locked);
	printf("window.allocated %ld\n", free);
}

int main(int argc, char **argv)
{
	int i;

	setlinebuf(stdout);
	if (argc > 1 && !strcmp(argv[1], "v1"))
		type = VFIO_SPAPR_TCE_IOMMU;
	open_container();
	for (i = 1; i < argc; i++) {
		if (!strcmp(argv[i], "v1"))
			continue;
		else if (!strcmp(argv[i], "default"))
			bench_default();
		else if (!strcmp(argv[i], "many"))
			bench_many();
		else if (!strcmp(argv[i], "bulk"))
			bench_bulk();
		else if (!strcmp(argv[i], "one"))
			bench_one();
		else if (!strcmp(argv[i], "hcalls"))
			bench_hcalls();
		else if (!strcmp(argv[i], "window"))
			bench_window();
		else
			bench_big(argv[i]);
	}
	return 0;
}
