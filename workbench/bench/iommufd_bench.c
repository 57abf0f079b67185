// SPDX-License-Identifier: GPL-2.0
/*
 * What iommufd costs on top of a paging domain: 'name value' lines, instructions per 64K
 * (of -icount: 1 ns = 1 instruction).
 *
 *	iommufd_bench thp|page64k|scattered...
 *
 * 1 GIB of memory is mapped and unmapped in an IOAS with one device, then copied to it from
 * another IOAS, whose domain keeps it pinned. ioas.map and ioas.unmap pin and unpin, ioas.copy
 * and ioas.uncopy do not. Memory: with THP, without, or touched page by page in random order.
 */
#include <dirent.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <unistd.h>
#include <linux/vfio.h>
#include <linux/iommufd.h>
#include "bench.h"

#ifndef VFIO_DEVICE_BIND_IOMMUFD	/* headers before Linux 6.6 */
struct vfio_device_bind_iommufd {
	__u32 argsz;
	__u32 flags;
	__s32 iommufd;
	__u32 out_devid;
};

struct vfio_device_attach_iommufd_pt {
	__u32 argsz;
	__u32 flags;
	__u32 pt_id;
};

#define VFIO_DEVICE_BIND_IOMMUFD	_IO(VFIO_TYPE, VFIO_BASE + 18)
#define VFIO_DEVICE_ATTACH_IOMMUFD_PT	_IO(VFIO_TYPE, VFIO_BASE + 19)
#endif

#define IOVA		(8 * GIB)
#define ROUNDS		3

static int iommufd = -1;
static __u32 ioas, other;

static long did(int request, void *arg, const char *what)
{
	long from = now();

	if (ioctl(iommufd, request, arg))
		die(what);
	return now() - from;
}

static __u32 make_ioas(void)
{
	struct iommu_ioas_alloc a = { .size = sizeof(a) };

	did(IOMMU_IOAS_ALLOC, &a, "IOAS_ALLOC");
	return a.out_ioas_id;
}

static void open_device(void)
{
	struct vfio_device_bind_iommufd b = { .argsz = sizeof(b) };
	struct vfio_device_attach_iommufd_pt a = { .argsz = sizeof(a) };
	struct iommu_hwpt_alloc h = { .size = sizeof(h) };
	DIR *d = opendir("/dev/vfio/devices");
	struct dirent *e;
	char path[300];
	int device = -1;

	iommufd = open("/dev/iommu", O_RDWR);
	while (d && device < 0 && (e = readdir(d))) {
		if (strncmp(e->d_name, "vfio", 4))
			continue;
		snprintf(path, sizeof(path), "/dev/vfio/devices/%s", e->d_name);
		device = open(path, O_RDWR);
	}
	b.iommufd = iommufd;
	if (iommufd < 0 || device < 0 || ioctl(device, VFIO_DEVICE_BIND_IOMMUFD, &b))
		die("no device for iommufd");
	ioas = make_ioas();
	other = make_ioas();
	a.pt_id = ioas;
	if (ioctl(device, VFIO_DEVICE_ATTACH_IOMMUFD_PT, &a))
		die("ATTACH_IOMMUFD_PT");
	/* Without a domain nothing is pinned. */
	h.dev_id = b.out_devid;
	h.pt_id = other;
	did(IOMMU_HWPT_ALLOC, &h, "HWPT_ALLOC");
}

static long map(__u32 id, char *m)
{
	struct iommu_ioas_map a = {
		.size = sizeof(a), .ioas_id = id, .user_va = (unsigned long)m,
		.length = GIB, .iova = IOVA, .flags = IOMMU_IOAS_MAP_FIXED_IOVA |
			 IOMMU_IOAS_MAP_READABLE | IOMMU_IOAS_MAP_WRITEABLE,
	};

	return did(IOMMU_IOAS_MAP, &a, "IOAS_MAP");
}

static long unmap(__u32 id)
{
	struct iommu_ioas_unmap a = {
		.size = sizeof(a), .ioas_id = id, .iova = IOVA, .length = GIB,
	};

	return did(IOMMU_IOAS_UNMAP, &a, "IOAS_UNMAP");
}

static long copy(void)
{
	struct iommu_ioas_copy a = {
		.size = sizeof(a), .dst_ioas_id = ioas, .src_ioas_id = other,
		.length = GIB, .dst_iova = IOVA, .src_iova = IOVA,
		.flags = IOMMU_IOAS_MAP_FIXED_IOVA |
			 IOMMU_IOAS_MAP_READABLE | IOMMU_IOAS_MAP_WRITEABLE,
	};

	return did(IOMMU_IOAS_COPY, &a, "IOAS_COPY");
}

static void row(const char *what, const char *memory, long *v)
{
	qsort(v, ROUNDS, sizeof(*v), by_long);
	printf("ioas.%s.%s %.2f\n", what, memory, (double)v[ROUNDS / 2] / (GIB / PAGE));
}

static void bench(const char *memory)
{
	long t[4][ROUNDS];
	char *m;
	int i;

	m = mmap(NULL, GIB + (16UL << 20), PROT_READ | PROT_WRITE,
		 MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (m == MAP_FAILED)
		die("mmap");
	m = (char *)(((unsigned long)m + (16UL << 20) - 1) & ~((16UL << 20) - 1));
	if (madvise(m, GIB, strcmp(memory, "thp") ? MADV_NOHUGEPAGE : MADV_HUGEPAGE))
		die("madvise");
	touch(m, !strcmp(memory, "scattered"));
	for (i = 0; i < ROUNDS; i++) {
		t[0][i] = map(ioas, m);
		t[1][i] = unmap(ioas);
	}
	map(other, m);
	for (i = 0; i < ROUNDS; i++) {
		t[2][i] = copy();
		t[3][i] = unmap(ioas);
	}
	unmap(other);
	row("map", memory, t[0]);
	row("unmap", memory, t[1]);
	row("copy", memory, t[2]);
	row("uncopy", memory, t[3]);
	munmap(m, GIB);
}

int main(int argc, char **argv)
{
	int i;

	open_device();
	for (i = 1; i < argc; i++)
		bench(argv[i]);
	return 0;
}
