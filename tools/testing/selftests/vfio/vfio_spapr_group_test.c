// SPDX-License-Identifier: GPL-2.0
/*
 * A group of several devices that changes its owner, between the host's driver and VFIO, or
 * whose devices leave and rejoin the bus while a user owns the group.
 *
 *	vfio_spapr_group_test [-f FIXTURE | -v VARIANT | -t TEST ...] [GROUP]
 *
 *	live	functions are removed and rescanned while the other does DMA for a user, or a VM
 *		has the group
 *	back	all functions are bound to vfio-pci, used, and bound to the host's driver
 *		again, which must be able to do I/O
 *	windows	all windows that GET_INFO offers can be made, whatever windows the host's
 *		driver had; v2
 *	narrow	a host's driver whose devices address 48 bits: on pSeries its request for a
 *		window fails, on a PHB3 it maps all memory in the place of the default window
 *
 * The group's devices must be two functions of one slot, both NVMes on vfio-pci; THEIR DATA
 * IS OVERWRITTEN. A use of freed memory by the host's driver is detected with slub_debug=P
 * only, and only if the driver maps through a table: iommu=nobypass on powernv, disable_ddw
 * on pseries.
 */
#define _GNU_SOURCE
#include <pthread.h>
#include <sched.h>
#include <sys/auxv.h>
#include <sys/eventfd.h>

#include "vfio_spapr_kvm.h"
#include "vfio_spapr_memcg.h"
#include "vfio_spapr_nvme.h"
#include "vfio_spapr_sysfs.h"
#include <signal.h>
#include "kselftest_harness.h"

/* Emulated machines are slow. */
#undef TEST_TIMEOUT_DEFAULT
#define TEST_TIMEOUT_DEFAULT 120

#define MEMORY		(2 * MiB)
#define QUEUES_AT	(16 * MiB)	/* in the default window */
#define DATA_AT		(32 * MiB)
#define DATA		(16 * 64 * KiB)
#define MEDIUM_PAGE	17		/* where on the NVMe */
#define HOST_AT		(8 * MiB)	/* where the host does its I/O */
#define HOST_IO		MiB
#define WAIT_MS		20000
#define LIOBN		0x80000001UL

static char function[2][32];	/* addresses */

/*
 * Which function leaves the bus. On pSeries only the first is found again: Linux takes all
 * devices of a device tree for single ones, and looks no further then.
 */
static int goes, stays;

static int function_cmp(const void *a, const void *b)
{
	return strcmp(a, b);
}

/* The functions of the group; how many there are */
static int find_functions(int group)
{
	char path[64];
	struct dirent *e;
	int n = 0;
	DIR *d;

	snprintf(path, sizeof(path), "/sys/kernel/iommu_groups/%d/devices", group);
	d = opendir(path);
	while (d && (e = readdir(d)))
		if (e->d_name[0] != '.' && !strcmp(device_link(e->d_name, "driver"), "vfio-pci")) {
			if (n < 2)
				snprintf(function[n], sizeof(function[n]), "%.16s", e->d_name);
			n++;
		}
	if (d)
		closedir(d);
	goes = !access("/proc/device-tree/ibm,opal", F_OK);
	stays = !goes;
	if (n == 2)
		qsort(function, 2, sizeof(function[0]), function_cmp);
	return n;
}

/* ---- data ---- */

static void fill(char *at, unsigned long size, unsigned int seed)
{
	unsigned long i;

	for (i = 0; i < size; i++) {
		seed = seed * 1103515245 + 12345;
		at[i] = seed >> 16;
	}
}

/* The host's disk of a function, opened past the page cache; -ENODEV after a while */
static int disk_open(const char *name)
{
	char path[300], disk[64] = "";
	struct dirent *e;
	int fd, ms;
	DIR *d;

	for (ms = 0; ms < WAIT_MS; ms += 50) {
		snprintf(path, sizeof(path), "/sys/bus/pci/devices/%s/nvme", name);
		d = opendir(path);
		while (d && (e = readdir(d)))
			if (e->d_name[0] != '.')
				snprintf(disk, sizeof(disk), "%.32s", e->d_name);
		if (d)
			closedir(d);
		snprintf(path, sizeof(path), "/dev/%sn1", disk);
		fd = *disk ? open(path, O_RDWR | O_DIRECT) : -1;
		if (fd >= 0)
			return fd;
		usleep(50000);
	}
	return -ENODEV;
}

/* The host's driver writes and reads back. */
static void check_host_io(struct __test_metadata *_metadata, const char *name, unsigned int seed)
{
	char *out = anonymous(2 * HOST_IO), *in = out + HOST_IO;
	int fd = disk_open(name);

	ASSERT_NE(MAP_FAILED, out);
	ASSERT_LE(0, fd)
		TH_LOG("%s has no disk: its driver is '%s'", name, device_link(name, "driver"));
	fill(out, HOST_IO, seed);
	memset(in, 0, HOST_IO);
	EXPECT_EQ(HOST_IO, pwrite(fd, out, HOST_IO, HOST_AT));
	EXPECT_EQ(HOST_IO, pread(fd, in, HOST_IO, HOST_AT));
	EXPECT_EQ(0, memcmp(out, in, HOST_IO))
		TH_LOG("%s", name);
	close(fd);
	munmap(out, 2 * HOST_IO);
}

/* A user: a container with the group, and one or both functions at work */
struct user {
	struct container c;
	struct nvme n[2];
	char *memory;	/* 64K of queues, DATA to reach */
	unsigned int seed;
};

static int user_open(struct user *u, int type)
{
	int ret, i;

	for (i = 0; i < 2; i++) {
		u->n[i].device = -1;
		u->n[i].bar = NULL;
	}
	ret = container_open(&u->c, 0, type);
	if (ret)
		return ret;
	u->memory = anonymous(MEMORY);
	if (u->memory == MAP_FAILED)
		return -ENOMEM;
	memset(u->memory, 0, MEMORY);
	return type == VFIO_SPAPR_TCE_IOMMU ? do_enable(&u->c) :
					      do_register(&u->c, u->memory, MEMORY);
}

static void user_close(struct user *u)
{
	int i;

	for (i = 0; i < 2; i++)
		nvme_close(&u->n[i]);
	container_close(&u->c);
	if (u->memory && u->memory != MAP_FAILED)
		munmap(u->memory, MEMORY);
	u->memory = NULL;
}

/* Map the queues of a function and start it. */
static int user_start(struct user *u, int which)
{
	char *queues = u->memory + which * NVME_MEMORY;
	unsigned long at = QUEUES_AT + which * MiB;
	int ret = do_map(&u->c, at, queues, NVME_MEMORY);

	return ret ? ret : nvme_open_named(&u->n[which], &u->c, u->c.group, function[which],
					   queues, u->c.window + at);
}

static char *user_page(struct user *u, unsigned int page)
{
	return u->memory + MiB + page * 64 * KiB;
}

/* The device writes what is on its medium to @iova: it arrives at @at. */
static void check_dma(struct __test_metadata *_metadata, struct user *u, int which, __u64 iova,
		      char *at)
{
	char data[NVME_PAGE];

	fill(data, NVME_PAGE, ++u->seed);
	memset(at, 0, NVME_PAGE);
	ASSERT_EQ(0, nvme_medium_set(&u->n[which], MEDIUM_PAGE, data));
	EXPECT_EQ(0, nvme_rw(&u->n[which], NVME_IO_READ, MEDIUM_PAGE, iova));
	EXPECT_EQ(0, memcmp(at, data, NVME_PAGE))
		TH_LOG("0x%llx", iova);
}

/* ---- live: the bus changes under a user ---- */

/* As many that their leftovers would be seen: more than MEMCG_SLACK */
#define EEH_OPS		20000
#define EEH_NO_OP	10	/* holds the devices as any operation does, and asks no firmware */

static void *remove_thread(void *arg)
{
	return (void *)(long)device_remove(function[goes]);
}

/* The kernel tells by @fd that it waits for the device to be closed. */
static int device_request_irq(int device, int fd)
{
	struct {
		struct vfio_irq_set set;
		__s32 fd;
	} irq = {
		.set = {
			.argsz = sizeof(irq), .index = VFIO_PCI_REQ_IRQ_INDEX, .count = 1,
			.flags = VFIO_IRQ_SET_DATA_EVENTFD | VFIO_IRQ_SET_ACTION_TRIGGER,
		},
		.fd = fd,
	};

	return result(ioctl(device, VFIO_DEVICE_SET_IRQS, &irq));
}

FIXTURE(live) {
	struct user u;
	struct vm vm;
	long pinned;
};

FIXTURE_VARIANT(live) {
	int type;
};

FIXTURE_VARIANT_ADD(live, v1) { .type = VFIO_SPAPR_TCE_IOMMU };
FIXTURE_VARIANT_ADD(live, v2) { .type = VFIO_SPAPR_TCE_v2_IOMMU };

FIXTURE_SETUP(live)
{
	int ret;

	self->vm.vfio = -1;
	self->vm.fd = -1;
	self->vm.kvm = -1;
	if (find_functions(groups[0]) != 2)
		SKIP(return, "group %d is not two functions on vfio-pci", groups[0]);
	self->pinned = pages_pinned_steady();
	ret = user_open(&self->u, variant->type);
	if (ret == -EOPNOTSUPP)
		SKIP(return, "no such sPAPR TCE container here");
	ASSERT_EQ(0, ret)
		TH_LOG("group %d: %s", groups[0], strerror(-ret));
}

FIXTURE_TEARDOWN(live)
{
	vm_destroy(&self->vm);
	user_close(&self->u);
	EXPECT_EQ(self->pinned, settle(pages_pinned, self->pinned));
	if (function[1][0]) {
		if (!device_is_there(function[goes]))
			bus_rescan();
		device_give(function[goes], "vfio-pci");
	}
}

/* A function goes and comes: it is the group's again, and nobody's but the user's. */
static void check_remove_rescan(struct __test_metadata *_metadata)
{
	ASSERT_EQ(0, device_remove(function[goes]));
	ASSERT_EQ(0, bus_rescan());
	ASSERT_TRUE(device_is_there(function[goes]));
	ASSERT_EQ(groups[0], device_group(function[goes]));
	EXPECT_STREQ("", device_link(function[goes], "driver"));
}

TEST_F(live, mapped_before)
{
	struct user *u = &self->u;
	__u64 iova = u->c.window + DATA_AT;
	int i;

	ASSERT_EQ(0, user_start(u, stays));
	for (i = 0; i < 2; i++) {
		ASSERT_EQ(0, do_map_at(&u->c, iova, user_page(u, 0), DATA / 2, RW));
		check_dma(_metadata, u, stays, iova, user_page(u, 0));
		check_remove_rescan(_metadata);
		/* As if nothing had been: what was mapped, over it, gone, and anew */
		check_dma(_metadata, u, stays, iova, user_page(u, 0));
		ASSERT_EQ(0, do_map_at(&u->c, iova, user_page(u, 1), DATA / 2, RW));
		check_dma(_metadata, u, stays, iova, user_page(u, 1));
		ASSERT_EQ(DATA / 2, do_unmap_bytes(&u->c, iova, DATA / 2));
		ASSERT_EQ(0, do_map_at(&u->c, iova, user_page(u, 2), DATA / 2, RW));
		check_dma(_metadata, u, stays, iova, user_page(u, 2));
		ASSERT_EQ(DATA / 2, do_unmap_bytes(&u->c, iova, DATA / 2));
	}
}

/*
 * A device that is being removed waits for its user, and the bus is locked meanwhile. EEH
 * operations hold devices of the group, and leave no memory behind that waits for the bus.
 */
TEST_F(live, eeh_while_removed)
{
	struct vfio_eeh_pe_op op = { .argsz = sizeof(op), .op = EEH_NO_OP };
	struct user *u = &self->u;
	pthread_t remover;
	int request, i;
	long before;
	__u64 asked;
	void *ret;

	if (ioctl(u->c.fd, VFIO_CHECK_EXTENSION, VFIO_EEH) != 1)
		SKIP(return, "no EEH here");
	ASSERT_EQ(0, user_start(u, goes));
	request = eventfd(0, 0);
	ASSERT_LE(0, request);
	ASSERT_EQ(0, device_request_irq(u->n[goes].device, request));
	ASSERT_EQ(0, pthread_create(&remover, NULL, remove_thread, NULL));
	ASSERT_EQ((ssize_t)sizeof(asked), read(request, &asked, sizeof(asked)));

	if (memcg_enter())
		SKIP(goto out, "no memory cgroups here");
	before = memcg_kernel();
	for (i = 0; i < EEH_OPS; i++)
		ASSERT_EQ(-EINVAL, result(ioctl(u->c.fd, VFIO_EEH_PE_OP, &op)));
	memcg_gather();
	EXPECT_CHARGED(before);
	memcg_leave();
out:
	EXPECT_EQ(EBUSY, pthread_tryjoin_np(remover, &ret));
	nvme_close(&u->n[goes]);
	ASSERT_EQ(0, pthread_join(remover, &ret));
	EXPECT_EQ(NULL, ret);
	close(request);
}

/* Between two windows the group has none at all. */
TEST_F(live, no_window)
{
	struct user *u = &self->u;
	__u64 start = 1;

	if (variant->type == VFIO_SPAPR_TCE_IOMMU)
		SKIP(return, "v1 has its window always");
	ASSERT_EQ(0, do_remove(&u->c, u->c.window));
	check_remove_rescan(_metadata);
	ASSERT_EQ(0, do_create(&u->c, 12, u->c.window_size, 1, &start));
	ASSERT_EQ(u->c.window, start);
	check_remove_rescan(_metadata);
	ASSERT_EQ(0, user_start(u, stays));
	ASSERT_EQ(0, do_map(&u->c, DATA_AT, user_page(u, 0), 64 * KiB));
	check_dma(_metadata, u, stays, u->c.window + DATA_AT, user_page(u, 0));
	ASSERT_EQ(0, do_remove(&u->c, start));
	check_remove_rescan(_metadata);
}

/* It works, too, once it has been given back to VFIO. */
TEST_F(live, found_function_works)
{
	struct user *u = &self->u;
	__u64 iova = u->c.window + DATA_AT;

	ASSERT_EQ(0, user_start(u, stays));
	check_remove_rescan(_metadata);
	ASSERT_EQ(0, device_give(function[goes], "vfio-pci"));
	ASSERT_EQ(0, user_start(u, goes));
	ASSERT_EQ(0, do_map_at(&u->c, iova, user_page(u, 0), DATA / 2, RW));
	check_dma(_metadata, u, goes, iova, user_page(u, 0));
	check_dma(_metadata, u, stays, iova + 64 * KiB, user_page(u, 1));
}

/* A guest's hypercalls change the window meanwhile. */
TEST_F(live, hypercalls)
{
	const unsigned long ram = 32 * MiB, entry = MAP_FROM >> 12;
	struct user *u = &self->u;
	struct vcpu *v;
	int ret, table, i;

	ret = vm_create(&self->vm, 1, ram);
	if (ret == -ENODEV)
		SKIP(return, "no KVM-HV here");
	ASSERT_EQ(0, ret);
	if (variant->type == VFIO_SPAPR_TCE_v2_IOMMU)
		ASSERT_EQ(0, do_register(&u->c, self->vm.ram, ram));
	v = &self->vm.vcpu[0];
	ASSERT_EQ(0, user_start(u, stays));
	table = vm_create_table(&self->vm, LIOBN, 12, u->c.window, u->c.window_size >> 12);
	ASSERT_LE(0, table);
	ASSERT_EQ(0, vm_group_give(&self->vm, u->c.group, table));

	for (i = 0; i < 2; i++) {
		__u64 ioba = u->c.window + ((entry + i) << 12);
		__u64 gpa = MAP_FROM + i * MiB;

		ASSERT_EQ(H_SUCCESS, vcpu_hcall(v, H_PUT_TCE, LIOBN, ioba, gpa | TCE_RW, 0));
		check_remove_rescan(_metadata);
		check_dma(_metadata, u, stays, ioba, self->vm.ram + gpa);
		gpa += 64 * KiB;
		ASSERT_EQ(H_SUCCESS, vcpu_hcall(v, H_PUT_TCE, LIOBN, ioba, gpa | TCE_RW, 0));
		check_dma(_metadata, u, stays, ioba, self->vm.ram + gpa);
		ASSERT_EQ(H_SUCCESS, vcpu_hcall(v, H_STUFF_TCE, LIOBN, ioba, 0, 16));
		ASSERT_EQ(0, do_unmap_bytes(&u->c, ioba, IOMMU_PAGE));
	}
	close(table);
}

/*
 * KVM still has the group when all its devices have left the bus. They come back in another
 * group, which the end of the first does not touch.
 *
 * Not on a PHB3: the host's driver of the first function is bound before the second function is
 * found, and with iommu=nobypass PowerNV maps all memory for it in the place of the PE's table.
 * The second function, which has the table, then has no DMA.
 */
TEST_F(live, outlives_its_devices)
{
	struct user *u = &self->u;
	int ret, table, i, group;

	if (access("/proc/device-tree/ibm,opal", F_OK))
		SKIP(return, "here only one function is found again");
	if (!strcmp((const char *)getauxval(AT_BASE_PLATFORM), "power8"))
		SKIP(return, "a PHB3 has no DMA for functions that are found one by one");
	ret = vm_create(&self->vm, 1, 16 * MiB);
	if (ret == -ENODEV)
		SKIP(return, "no KVM-HV here");
	ASSERT_EQ(0, ret);
	/* the first map makes the window */
	ASSERT_EQ(0, do_map(&u->c, DATA_AT, user_page(u, 0), 64 * KiB));
	table = vm_create_table(&self->vm, LIOBN, 12, u->c.window, u->c.window_size >> 12);
	ASSERT_LE(0, table);
	ASSERT_EQ(0, vm_group_give(&self->vm, u->c.group, table));
	user_close(u);

	for (i = 0; i < 2; i++)
		ASSERT_EQ(0, device_remove(function[i]));
	ASSERT_EQ(0, bus_rescan());
	group = device_group(function[0]);
	EXPECT_LE(0, group);
	EXPECT_NE(groups[0], group);
	close(table);
	vm_destroy(&self->vm);
	/* its PE still knows the new one */
	ASSERT_EQ(0, device_remove(function[1]));
	ASSERT_EQ(0, bus_rescan());
	EXPECT_EQ(group, device_group(function[1]));

	/* and again, for the next test: the lowest number is the first group's */
	for (i = 0; i < 2; i++)
		ASSERT_EQ(0, device_remove(function[i]));
	ASSERT_EQ(0, bus_rescan());
	EXPECT_EQ(groups[0], device_group(function[0]));
	for (i = 0; i < 2; i++)
		ASSERT_EQ(0, device_give(function[i], "vfio-pci"));
}

/* ---- back: the host's driver after a user ---- */

FIXTURE(back) {
	struct user u;
};

FIXTURE_VARIANT(back) {
	int type;
	int first;	/* which function goes back first */
};

FIXTURE_VARIANT_ADD(back, v1) { .type = VFIO_SPAPR_TCE_IOMMU };
FIXTURE_VARIANT_ADD(back, v2) { .type = VFIO_SPAPR_TCE_v2_IOMMU };
FIXTURE_VARIANT_ADD(back, v2_second_first) { .type = VFIO_SPAPR_TCE_v2_IOMMU, .first = 1 };

FIXTURE_SETUP(back)
{
	if (find_functions(groups[0]) != 2)
		SKIP(return, "group %d is not two functions on vfio-pci", groups[0]);
}

FIXTURE_TEARDOWN(back)
{
	user_close(&self->u);
	if (function[1][0]) {
		device_give(function[0], "vfio-pci");
		device_give(function[1], "vfio-pci");
	}
}

static int use_both(struct __test_metadata *_metadata, struct user *u, int type)
{
	__u64 iova;
	int ret, i;

	ret = user_open(u, type);
	if (ret)
		return ret;
	iova = u->c.window + DATA_AT;
	EXPECT_EQ(0, do_map_at(&u->c, iova, user_page(u, 0), DATA / 2, RW));
	for (i = 0; i < 2; i++) {
		ret = user_start(u, i);
		if (ret)
			return ret;
		check_dma(_metadata, u, i, iova + i * 64 * KiB, user_page(u, i));
	}
	user_close(u);
	return 0;
}

TEST_F(back, to_the_host)
{
	int round, i, which, ret;

	for (round = 0; round < 2; round++) {
		ret = use_both(_metadata, &self->u, variant->type);
		if (ret == -EOPNOTSUPP)
			SKIP(return, "no such sPAPR TCE container here");
		ASSERT_EQ(0, ret)
			TH_LOG("%s", strerror(-ret));
		/* One at a time, each tried before the next goes */
		for (i = 0; i < 2; i++) {
			which = i ^ variant->first;
			ASSERT_EQ(0, device_give(function[which], NULL))
				TH_LOG("round %d: %s", round, function[which]);
			check_host_io(_metadata, function[which], 10 * round + which);
		}
		for (i = 0; i < 2; i++)
			check_host_io(_metadata, function[i], 10 * round + 5 + i);
		for (i = 0; i < 2; i++)
			ASSERT_EQ(0, device_give(function[i], "vfio-pci"));
	}
}

/* ---- windows: what the platform says, and gives ---- */

FIXTURE(windows) {
	struct user u;
	struct vfio_iommu_spapr_tce_info info;
	unsigned int shift;	/* largest page that any memory will do for */
};

FIXTURE_SETUP(windows)
{
	int ret;

	find_functions(groups[0]);
	ret = user_open(&self->u, VFIO_SPAPR_TCE_v2_IOMMU);
	if (ret == -EOPNOTSUPP)
		SKIP(return, "the platform has its default window only");
	ASSERT_EQ(0, ret);
	self->info.argsz = sizeof(self->info);
	ASSERT_EQ(0, do_get_info(self->u.c.fd, &self->info));
	ASSERT_NE(0, self->info.flags & VFIO_IOMMU_SPAPR_INFO_DDW);
	self->shift = self->info.ddw.pgsizes & sysconf(_SC_PAGESIZE) & 64 * KiB ? 16 : 12;
}

FIXTURE_TEARDOWN(windows)
{
	user_close(&self->u);
}

static void check_window(struct __test_metadata *_metadata, struct user *u, __u64 start)
{
	ASSERT_EQ(0, do_map_at(&u->c, start + DATA_AT, user_page(u, 0), DATA / 2, RW));
	check_dma(_metadata, u, 0, start + DATA_AT + 3 * 64 * KiB, user_page(u, 3));
	ASSERT_EQ(DATA / 2, do_unmap_bytes(&u->c, start + DATA_AT, DATA / 2));
}

#define WINDOWS_VIEW	"/sys/kernel/debug/powerpc/tce_windows"

/* A line of the view of windows, its owner apart */
struct window_line {
	unsigned long long start, size, page_size;
	unsigned long levels, bytes, live;
};

/*
 * The line of the group's window at @start that @owner has; any window of @owner's if the group is
 * negative. How many lines there are; -1 if a line is not as documented.
 */
static int window_line(int group, const char *owner, __u64 start, struct window_line *w)
{
	FILE *f = fopen(WINDOWS_VIEW, "r");
	struct window_line l;
	char line[300], who[32];
	int n = 0, of, end;

	if (!f || !fgets(line, sizeof(line), f) ||
	    strncmp(line, "group owner     start ", 22))
		n = -1;
	while (n >= 0 && fgets(line, sizeof(line), f)) {
		end = 0;
		if (sscanf(line, "%d %31s 0x%llx 0x%llx 0x%llx %lu %lu %lu%n", &of, who, &l.start,
			   &l.size, &l.page_size, &l.levels, &l.bytes, &l.live, &end) != 8 ||
		    strcmp(line + end, "\n")) {
			n = -1;
		} else if (!strcmp(who, owner) &&
			   (group < 0 || (of == group && l.start == start))) {
			*w = l;
			n++;
		}
	}
	if (f)
		fclose(f);
	return n;
}

static const char *own_pid(void)
{
	static char pid[16];

	snprintf(pid, sizeof(pid), "%d", getpid());
	return pid;
}

/* The line of our window must be this; @bytes: at least, at most. */
static void check_line(struct __test_metadata *_metadata, __u64 start, __u64 size,
		       unsigned int shift, unsigned long levels, unsigned long live,
		       unsigned long *bytes)
{
	struct window_line w = { 0 };

	ASSERT_EQ(1, window_line(groups[0], own_pid(), start, &w));
	EXPECT_EQ(size, w.size);
	EXPECT_EQ(1ULL << shift, w.page_size);
	EXPECT_EQ(levels, w.levels);
	EXPECT_EQ(live, w.live);
	*bytes = w.bytes;
}

TEST_F(windows, in_debugfs)
{
	unsigned long before, bytes, entries = DATA / 2 >> self->shift;
	struct user *u = &self->u;
	struct window_line w;
	__u64 start = 1;

	if (access(WINDOWS_VIEW, R_OK))
		SKIP(return, "this kernel does not show its windows");
	EXPECT_EQ(0, window_line(groups[0], own_pid(), u->c.window, &w));
	EXPECT_EQ(0, window_line(groups[0], "host", u->c.window, &w));
	/* The workbench's own devices have a driver of the host's. */
	EXPECT_LE(1, window_line(-1, "host", 0, &w));
	EXPECT_NE(0, w.size);

	ASSERT_EQ(0, do_create(&u->c, self->shift, GiB, 2, &start));
	check_line(_metadata, start, GiB, self->shift, 2, 0, &before);
	ASSERT_EQ(0, do_map_at(&u->c, start + DATA_AT, user_page(u, 0), DATA / 2, RW));
	check_line(_metadata, start, GiB, self->shift, 2, entries, &bytes);
	EXPECT_LE(before + entries * 8, bytes);
	ASSERT_EQ(0, do_map_at(&u->c, start + DATA_AT + GiB / 2, user_page(u, 0), DATA / 2, RW));
	check_line(_metadata, start, GiB, self->shift, 2, 2 * entries, &bytes);
	ASSERT_EQ(DATA / 2, do_unmap_bytes(&u->c, start + DATA_AT, DATA));
	check_line(_metadata, start, GiB, self->shift, 2, entries, &bytes);

	ASSERT_EQ(0, do_map(&u->c, DATA_AT, user_page(u, 0), DATA / 2));
	ASSERT_EQ(1, window_line(groups[0], own_pid(), u->c.window, &w));
	EXPECT_EQ(u->c.window_size, w.size);
	EXPECT_EQ(IOMMU_PAGE, w.page_size);
	EXPECT_EQ(DATA / 2 / IOMMU_PAGE, w.live);

	ASSERT_EQ(0, do_remove(&u->c, start));
	EXPECT_EQ(0, window_line(groups[0], own_pid(), start, &w));
	ASSERT_EQ(DATA / 2, do_unmap_bytes(&u->c, u->c.window, u->c.window_size));
	ASSERT_EQ(1, window_line(groups[0], own_pid(), u->c.window, &w));
	EXPECT_EQ(0, w.live);
	user_close(u);
	EXPECT_EQ(0, window_line(groups[0], own_pid(), u->c.window, &w));
}

/* Windows are read while they come and go, until the parent has seen enough. */
static void read_windows(int report)
{
	struct window_line w;
	char ok;

	do {
		ok = window_line(groups[0], own_pid(), 0, &w) >= 0;
	} while (write(report, &ok, 1) == 1 && ok);
	_exit(1);
}

TEST_F(windows, in_debugfs_meanwhile)
{
	struct user *u = &self->u;
	int report[2], i, seen;
	char ok[64];
	__u64 start;
	pid_t pid;

	if (access(WINDOWS_VIEW, R_OK))
		SKIP(return, "this kernel does not show its windows");
	user_close(u);
	ASSERT_EQ(0, pipe2(report, O_NONBLOCK));
	ASSERT_EQ(0, fcntl(report[1], F_SETFL, 0));
	pid = fork();
	ASSERT_LE(0, pid);
	if (!pid)
		read_windows(report[1]);
	close(report[1]);

	/* Twenty readings and twenty containers, whichever takes longer */
	for (i = seen = 0; i < 20 || seen < 20; i++) {
		ASSERT_EQ(0, user_open(u, VFIO_SPAPR_TCE_v2_IOMMU));
		ASSERT_EQ(0, do_create(&u->c, self->shift, GiB, 2, &start));
		ASSERT_EQ(0, do_map_at(&u->c, start + DATA_AT, user_page(u, 0), DATA / 2, RW));
		ASSERT_EQ(0, do_map(&u->c, DATA_AT, user_page(u, 0), DATA / 2));
		if (i & 1)
			ASSERT_EQ(0, do_remove(&u->c, start));
		user_close(u);
		for (;;) {
			ssize_t n = read(report[0], ok, sizeof(ok));

			ASSERT_NE(0, n);	/* it has ended */
			if (n < 0)
				break;
			EXPECT_EQ(NULL, memchr(ok, 0, n));
			seen += n;
		}
	}
	kill(pid, SIGKILL);
	waitpid(pid, NULL, 0);
	close(report[0]);
}

/* The first window, which QEMU's guests have, and one at 1 << 59, where QEMU expects it */
TEST_F(windows, default_and_high)
{
	struct user *u = &self->u;
	__u64 start = 1;

	ASSERT_LE(2, self->info.ddw.max_dynamic_windows_supported);
	ASSERT_EQ(0, user_start(u, 0));
	ASSERT_EQ(0, do_create(&u->c, self->shift, GiB, 1, &start));
	EXPECT_EQ(1ULL << 59, start);
	check_window(_metadata, u, u->c.window);
	check_window(_metadata, u, start);
}

/* So many of one's own, in the place of the default window, too; and that again afterwards */
TEST_F(windows, as_many_as_told)
{
	unsigned int n = self->info.ddw.max_dynamic_windows_supported, i;
	struct user *u = &self->u;
	__u64 start[2] = { 1, 1 };

	ASSERT_LE(1, n);
	ASSERT_GE(2, n);
	ASSERT_EQ(0, do_remove(&u->c, u->c.window));
	for (i = 0; i < n; i++) {
		ASSERT_EQ(0, do_create(&u->c, self->shift, GiB, 1, &start[i]))
			TH_LOG("window %u of %u", i + 1, n);
	}
	/* DPDK wants it there. */
	EXPECT_EQ(u->c.window, start[0]);
	EXPECT_NE(start[0], start[1]);
	EXPECT_GT(0, do_create(&u->c, self->shift, GiB, 1, NULL));
	for (i = 0; i < n; i++)
		ASSERT_EQ(0, do_remove(&u->c, start[i]));
	ASSERT_EQ(0, do_create(&u->c, 12, u->c.window_size, 1, &start[0]));
	ASSERT_EQ(u->c.window, start[0]);
	ASSERT_EQ(0, user_start(u, 0));
	check_window(_metadata, u, u->c.window);
}

/* QEMU asks for two above 128 GiB, wherever it runs. */
TEST_F(windows, levels)
{
	struct user *u = &self->u;
	unsigned int levels;
	__u64 start;

	for (levels = 1; levels <= MAX_LEVELS; levels++) {
		ASSERT_EQ(0, do_create(&u->c, self->shift, GiB, levels, &start))
			TH_LOG("%u levels", levels);
		ASSERT_EQ(0, do_map_at(&u->c, start, user_page(u, 0), 64 * KiB, RW));
		ASSERT_EQ(64 * KiB, do_unmap_bytes(&u->c, start, GiB));
		ASSERT_EQ(0, do_remove(&u->c, start));
	}
}

/* Pages of 16 GiB, from a hypervisor that has them: the last of a mask that is no int. */
TEST_F(windows, pages_of_16_gib)
{
	char line[1024] = "";
	FILE *f = fopen("/proc/cmdline", "r");

	if (f) {
		if (!fgets(line, sizeof(line), f))
			line[0] = 0;
		fclose(f);
	}
	if (!strstr(line, "pages16G"))
		SKIP(return, "needs a machine that has them: pages16G");
	EXPECT_TRUE(self->info.ddw.pgsizes & 16 * GiB);
}

/* Every page size of GET_INFO can be had. */
TEST_F(windows, page_sizes)
{
	struct user *u = &self->u;
	unsigned int shift;
	__u64 start;

	for (shift = 0; shift < 64; shift++) {
		if (!(self->info.ddw.pgsizes & 1ULL << shift))
			continue;
		ASSERT_EQ(0, do_create(&u->c, shift, 16ULL << shift, 1, &start))
			TH_LOG("pages of 2^%u", shift);
		EXPECT_GT(0, do_map_at(&u->c, start + (16ULL << shift), user_page(u, 0),
				       1ULL << shift, RW));
		ASSERT_EQ(0, do_remove(&u->c, start));
	}
}

/* ---- narrow: a host's driver whose devices address 48 bits ---- */

#define NARROW		48
#define QUIRK_BITS_48	0x10000		/* of the host's NVMe driver */

FIXTURE(narrow) {
	struct user u;
	char id[80];
};

/* The first two words of @id: what the device is */
static int device_id(const char *name, char *id, size_t size)
{
	unsigned int word[2], i;
	char path[96];
	FILE *f;
	int got;

	for (i = 0; i < 2; i++) {
		snprintf(path, sizeof(path), "/sys/bus/pci/devices/%.32s/%s", name,
			 i ? "device" : "vendor");
		f = fopen(path, "r");
		got = f ? fscanf(f, "%x", &word[i]) : 0;
		if (f)
			fclose(f);
		if (got != 1)
			return -ENODEV;
	}
	snprintf(id, size, "%x %x", word[0], word[1]);
	return 0;
}

FIXTURE_SETUP(narrow)
{
	char quirk[120];

	if (find_functions(groups[0]) != 2)
		SKIP(return, "group %d is not two functions on vfio-pci", groups[0]);
	ASSERT_EQ(0, device_id(function[0], self->id, sizeof(self->id)));
	snprintf(quirk, sizeof(quirk), "%s ffffffff ffffffff 0 0 %x", self->id, QUIRK_BITS_48);
	ASSERT_EQ(0, write_text("/sys/bus/pci/drivers/nvme/new_id", quirk));
}

FIXTURE_TEARDOWN(narrow)
{
	int i;

	user_close(&self->u);
	if (!self->id[0])
		return;
	write_text("/sys/bus/pci/drivers_autoprobe", "1");
	if (!device_is_there(function[goes]))
		bus_rescan();
	for (i = 0; i < 2; i++)
		EXPECT_EQ(0, device_give(function[i], "vfio-pci"));
	EXPECT_EQ(0, write_text("/sys/bus/pci/drivers/nvme/remove_id", self->id));
}

static void check_narrow(struct __test_metadata *_metadata, const char *name)
{
	char path[96];

	ASSERT_EQ(0, device_give(name, NULL));
	snprintf(path, sizeof(path), "/sys/bus/pci/devices/%.32s/dma_mask_bits", name);
	ASSERT_EQ(NARROW, number_in(path, ""));
	check_host_io(_metadata, name, NARROW);
}

/* What the host's driver did not get does not keep VFIO from its windows. */
TEST_F(narrow, then_a_user)
{
	struct user *u = &self->u;
	__u64 start = 1;
	int round, ret;

	for (round = 0; round < 2; round++) {
		check_narrow(_metadata, function[0]);
		ASSERT_EQ(0, device_give(function[0], "vfio-pci"));
		ret = user_open(u, VFIO_SPAPR_TCE_v2_IOMMU);
		if (ret == -EOPNOTSUPP)
			SKIP(return, "the platform has its default window only");
		ASSERT_EQ(0, ret);
		ASSERT_EQ(0, user_start(u, 0));
		check_window(_metadata, u, u->c.window);
		ASSERT_EQ(0, do_create(&u->c, 12, GiB, 1, &start));
		EXPECT_EQ(1ULL << 59, start);
		check_window(_metadata, u, start);
		user_close(u);
	}
}

/* The other function is found while the first one's driver works. */
TEST_F(narrow, found_function)
{
	ASSERT_EQ(0, device_remove(function[goes]));
	check_narrow(_metadata, function[stays]);
	ASSERT_EQ(0, write_text("/sys/bus/pci/drivers_autoprobe", "0"));
	ASSERT_EQ(0, bus_rescan());
	ASSERT_TRUE(device_is_there(function[goes]));
	EXPECT_EQ(device_group(function[stays]), device_group(function[goes]));
	check_host_io(_metadata, function[stays], 1);
}

int main(int argc, char **argv)
{
	spapr_tce_init(&argc, argv);
	return test_harness_run(argc, argv);
}
