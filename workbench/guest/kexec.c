// SPDX-License-Identifier: GPL-2.0
/*
 * Start the next kernel while a device works in this process's windows:
 *
 *	kexec KERNEL INITRD "KERNEL ARGUMENTS"
 *	kexec now KERNEL INITRD "KERNEL ARGUMENTS"
 *	kexec take
 *
 * The NVMe of the first group on vfio-pci has its queues in the default window, and data in a
 * second, large one; both stay mapped, and the NVMe enabled, when this kernel ends. Returns
 * only if something fails before. now: the host has all devices. take: returns with the
 * windows made and the device used, no kexec.
 */
#include <stdbool.h>
#include <stdio.h>
#include <sys/reboot.h>
#include <sys/syscall.h>
#include <unistd.h>
#include <linux/reboot.h>
#include <vfio/vfio_spapr_nvme.h>

#define MEMORY		(16 * MiB)
#define DATA		(8 * MiB)	/* in it; below are the queues */
#define WINDOW		(64 * GiB)

static int fails(const char *what, int ret)
{
	printf("note %s: %s\n", what, strerror(-ret));
	return 1;
}

static int load(char **argv)
{
	int kernel = open(argv[1], O_RDONLY), initrd = open(argv[2], O_RDONLY);

	if (kernel < 0 || initrd < 0)
		return -errno;
	return result(syscall(SYS_kexec_file_load, kernel, initrd, strlen(argv[3]) + 1, argv[3],
			      0UL));
}

static int start(char **argv)
{
	int ret = load(argv);

	if (ret)
		return fails("kexec_file_load", ret);
	reboot(LINUX_REBOOT_CMD_KEXEC);
	return fails("reboot", -errno);
}

int main(int argc, char **argv)
{
	static unsigned char page[NVME_PAGE];
	struct container c;
	__u64 at = 0;
	struct nvme n;
	int none = 1;	/* no group is named */
	bool take;
	char *m;
	int ret;

	setlinebuf(stdout);
	if (argc == 5 && !strcmp(argv[1], "now"))
		return start(argv + 1);
	take = argc == 2 && !strcmp(argv[1], "take");
	if (!take && argc != 4)
		return 2;
	find_groups(&none, argv);
	ret = container_open(&c, 0, VFIO_SPAPR_TCE_v2_IOMMU);
	if (ret)
		return fails("container", ret);
	m = anonymous(MEMORY);
	ret = do_register(&c, m, MEMORY) ?: do_map(&c, 0, m, MEMORY);
	if (ret)
		return fails("default window", ret);
	ret = do_create(&c, 16, WINDOW, 1, &at);
	if (ret == -EINVAL)
		ret = do_create(&c, 12, WINDOW, 1, &at);
	if (!ret)
		ret = do_map_at(&c, at, m, MEMORY, RW);
	if (ret)
		return fails("64-bit window", ret);
	ret = nvme_open(&n, &c, c.group, groups[0], m, c.window);
	if (ret)
		return fails("NVMe", ret);
	memset(m + DATA, 0x5a, NVME_PAGE);
	ret = nvme_rw(&n, NVME_IO_WRITE, 3, at + DATA);
	memset(m + DATA, 0, NVME_PAGE);
	ret = ret ?: nvme_rw(&n, NVME_IO_READ, 3, at + DATA);
	memset(page, 0x5a, sizeof(page));
	if (ret || memcmp(m + DATA, page, NVME_PAGE))
		return fails("DMA", ret);
	printf("note windows at %llx and %llx, %lu MiB mapped in each, DMA in both\n",
	       c.window, at, MEMORY / MiB);
	/* Now: the next kernel's device tree has the windows that the host has at this time. */
	return take ? 0 : start(argv);
}
