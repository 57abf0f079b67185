/* SPDX-License-Identifier: GPL-2.0 */
/*
 * iommufd and vfio cdev for the tests on powerpc. To be included after vfio_spapr_tce.h, which
 * finds the groups, and vfio_spapr_nvme.h.
 */
#ifndef VFIO_IOMMUFD_H
#define VFIO_IOMMUFD_H

#include "vfio_spapr_nvme.h"

#include <linux/iommufd.h>

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

struct vfio_device_detach_iommufd_pt {
	__u32 argsz;
	__u32 flags;
};

#define VFIO_DEVICE_BIND_IOMMUFD	_IO(VFIO_TYPE, VFIO_BASE + 18)
#define VFIO_DEVICE_ATTACH_IOMMUFD_PT	_IO(VFIO_TYPE, VFIO_BASE + 19)
#define VFIO_DEVICE_DETACH_IOMMUFD_PT	_IO(VFIO_TYPE, VFIO_BASE + 20)
#endif

#define MAX_RANGES	16
#define MAP_RW		(IOMMU_IOAS_MAP_READABLE | IOMMU_IOAS_MAP_WRITEABLE)

/* The ioctls: 0 or -errno */

static inline int iommufd_open(void)
{
	int fd = open("/dev/iommu", O_RDWR);

	return fd < 0 ? -errno : fd;
}

static inline int do_destroy(int fd, __u32 id)
{
	struct iommu_destroy d = { .size = sizeof(d), .id = id };

	return result(ioctl(fd, IOMMU_DESTROY, &d));
}

static inline int do_ioas(int fd, __u32 *id)
{
	struct iommu_ioas_alloc a = { .size = sizeof(a) };
	int ret = result(ioctl(fd, IOMMU_IOAS_ALLOC, &a));

	*id = a.out_ioas_id;
	return ret;
}

static inline int do_ioas_map(int fd, __u32 ioas, __u64 iova, void *addr,
			      unsigned long size, __u32 flags)
{
	struct iommu_ioas_map m = {
		.size = sizeof(m), .flags = flags | IOMMU_IOAS_MAP_FIXED_IOVA,
		.ioas_id = ioas, .user_va = (__u64)addr, .length = size, .iova = iova,
	};

	return result(ioctl(fd, IOMMU_IOAS_MAP, &m));
}

/* Where the kernel chooses */
static inline int do_ioas_map_any(int fd, __u32 ioas, __u64 *iova, void *addr, unsigned long size)
{
	struct iommu_ioas_map m = {
		.size = sizeof(m), .flags = MAP_RW,
		.ioas_id = ioas, .user_va = (__u64)addr, .length = size,
	};
	int ret = result(ioctl(fd, IOMMU_IOAS_MAP, &m));

	*iova = m.iova;
	return ret;
}

static inline int do_ioas_unmap(int fd, __u32 ioas, __u64 iova, unsigned long size)
{
	struct iommu_ioas_unmap u = {
		.size = sizeof(u), .ioas_id = ioas, .iova = iova, .length = size,
	};

	return result(ioctl(fd, IOMMU_IOAS_UNMAP, &u));
}

static inline int do_ioas_copy(int fd, __u32 to, __u64 to_iova, __u32 from, __u64 from_iova,
			       unsigned long size)
{
	struct iommu_ioas_copy c = {
		.size = sizeof(c), .flags = MAP_RW | IOMMU_IOAS_MAP_FIXED_IOVA,
		.dst_ioas_id = to, .src_ioas_id = from, .length = size,
		.dst_iova = to_iova, .src_iova = from_iova,
	};

	return result(ioctl(fd, IOMMU_IOAS_COPY, &c));
}

/* Number of ranges or -errno */
static inline int do_ranges(int fd, __u32 ioas, struct iommu_iova_range *ranges, __u64 *align)
{
	struct iommu_ioas_iova_ranges r = {
		.size = sizeof(r), .ioas_id = ioas, .num_iovas = MAX_RANGES,
		.allowed_iovas = (__u64)ranges,
	};
	int ret = result(ioctl(fd, IOMMU_IOAS_IOVA_RANGES, &r));

	*align = r.out_iova_alignment;
	return ret ? ret : (int)r.num_iovas;
}

static inline int do_hwpt(int fd, __u32 dev, __u32 pt, __u32 flags, __u32 *id)
{
	struct iommu_hwpt_alloc a = {
		.size = sizeof(a), .flags = flags, .dev_id = dev, .pt_id = pt,
	};
	int ret = result(ioctl(fd, IOMMU_HWPT_ALLOC, &a));

	*id = a.out_hwpt_id;
	return ret;
}

static inline int do_bind(int device, int iommufd, __u32 *id)
{
	struct vfio_device_bind_iommufd b = { .argsz = sizeof(b), .iommufd = iommufd };
	int ret = result(ioctl(device, VFIO_DEVICE_BIND_IOMMUFD, &b));

	*id = b.out_devid;
	return ret;
}

/* @pt: an IOAS or a hwpt */
static inline int do_attach(int device, __u32 pt)
{
	struct vfio_device_attach_iommufd_pt a = { .argsz = sizeof(a), .pt_id = pt };

	return result(ioctl(device, VFIO_DEVICE_ATTACH_IOMMUFD_PT, &a));
}

static inline int do_detach(int device)
{
	struct vfio_device_detach_iommufd_pt d = { .argsz = sizeof(d) };

	return result(ioctl(device, VFIO_DEVICE_DETACH_IOMMUFD_PT, &d));
}

/* The cdev of a device, or -errno; busy for a moment after its last user. */
static inline int cdev_open_named(const char *bdf)
{
	int fd = -ENODEV, n, ms;
	char path[320];
	struct dirent *e;
	DIR *d;

	snprintf(path, sizeof(path), "/sys/bus/pci/devices/%s/vfio-dev", bdf);
	d = opendir(path);
	if (!d)
		return -ENOENT;
	while ((e = readdir(d))) {
		if (sscanf(e->d_name, "vfio%d", &n) != 1)
			continue;
		snprintf(path, sizeof(path), "/dev/vfio/devices/%s", e->d_name);
		for (ms = 0; ms < SETTLE_MS; ms += 10) {
			fd = open(path, O_RDWR);
			if (fd >= 0 || errno != EBUSY)
				break;
			usleep(10000);
		}
		if (fd < 0)
			fd = -errno;
	}
	closedir(d);
	return fd;
}

/* The same of a group's NVMe */
static inline int cdev_open(int which)
{
	const char *bdf = which < nr_groups ? nvme_in_group(groups[which]) : NULL;

	return bdf ? cdev_open_named(bdf) : -ENODEV;
}

#endif
