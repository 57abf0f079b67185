/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Devices in sysfs: which group and driver they have, and how they change drivers or leave
 * the bus and come back. Functions return 0 or -errno.
 */
#ifndef VFIO_SPAPR_SYSFS_H
#define VFIO_SPAPR_SYSFS_H

#include "vfio_spapr_tce.h"

static inline int write_text(const char *path, const char *text)
{
	int fd = open(path, O_WRONLY), ret = 0;

	if (fd < 0)
		return -errno;
	if (write(fd, text, strlen(text)) != (ssize_t)strlen(text))
		ret = -errno;
	close(fd);
	return ret;
}

static inline int device_write(const char *name, const char *file, const char *text)
{
	char path[128];

	snprintf(path, sizeof(path), "/sys/bus/pci/devices/%s/%s", name, file);
	return write_text(path, text);
}

static inline bool device_is_there(const char *name)
{
	char path[128];

	snprintf(path, sizeof(path), "/sys/bus/pci/devices/%s", name);
	return !access(path, F_OK);
}

/* The last part of what a link of the device leads to, "" if there is none */
static inline const char *device_link(const char *name, const char *file)
{
	static char to[256];
	char path[320], *last;
	ssize_t n;

	snprintf(path, sizeof(path), "/sys/bus/pci/devices/%s/%s", name, file);
	n = readlink(path, to, sizeof(to) - 1);
	to[n < 0 ? 0 : n] = 0;
	last = strrchr(to, '/');
	return last ? last + 1 : to;
}

static inline int device_group(const char *name)
{
	const char *group = device_link(name, "iommu_group");

	return *group ? atoi(group) : -1;
}

/* To a driver of that name only, or to whoever takes it */
static inline int device_give(const char *name, const char *driver)
{
	int ret = device_write(name, "driver_override", driver ? driver : "\n");

	if (!ret && *device_link(name, "driver"))
		ret = device_write(name, "driver/unbind", name);
	if (!ret)
		ret = write_text("/sys/bus/pci/drivers_probe", name);
	if (!ret && strcmp(device_link(name, "driver"), driver ? driver : "nvme"))
		ret = -ENODEV;
	return ret;
}

static inline int device_remove(const char *name)
{
	int ret = device_write(name, "remove", "1");

	return ret ? ret : device_is_there(name) ? -EBUSY : 0;
}

static inline int bus_rescan(void)
{
	return write_text("/sys/bus/pci/rescan", "1");
}

#endif
