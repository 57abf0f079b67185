// SPDX-License-Identifier: GPL-2.0
/*
 * Reproducers of faults in the base's own code that the selftests do not show: two functions
 * of a device, allocations that fail, order of calls, the platform's own windows. base/fixes
 * says which one belongs to which fault, and with what they are booted.
 *
 * A kernel with the fault may not survive its case: each is told by name (-t).
 */
#define _GNU_SOURCE
#include "../../tools/testing/selftests/vfio/vfio_spapr_kvm.h"

#include <pthread.h>
#include <sched.h>

#include "kselftest_harness.h"

#define DEVICES		"/sys/bus/pci/devices/"
#define DRIVERS		"/sys/bus/pci/drivers/"
#define REGION		(4 * MiB)
#define LIOBN		0x80000001UL

static int put(const char *path, const char *text)
{
	int fd = open(path, O_WRONLY | O_TRUNC), ret;

	if (fd < 0)
		return -errno;
	ret = write(fd, text, strlen(text)) < 0 ? -errno : 0;
	close(fd);
	return ret;
}

static int put_at(const char *dir, const char *name, const char *file, const char *text)
{
	char path[512];

	snprintf(path, sizeof(path), "%s%s/%s", dir, name, file);
	return put(path, text);
}

static int driver_of(const char *device, char *name, size_t size)
{
	char path[256], link[256];
	ssize_t n;

	snprintf(path, sizeof(path), DEVICES "%s/driver", device);
	n = readlink(path, link, sizeof(link) - 1);
	if (n < 0)
		return -errno;
	link[n] = 0;
	snprintf(name, size, "%s", strrchr(link, '/') + 1);
	return 0;
}

/* From whatever drives it to @driver; 0 if that is so at the end */
static int give_to(const char *device, const char *driver)
{
	char now[64];

	if (!driver_of(device, now, sizeof(now)))
		put_at(DRIVERS, now, "unbind", device);
	put_at(DEVICES, device, "driver_override", driver);
	put("/sys/bus/pci/drivers_probe", device);
	return driver_of(device, now, sizeof(now)) ?: strcmp(now, driver) ? -ENODEV : 0;
}

/* Functions 0 and 1 of one device, both on vfio-pci, in one group */
static int find_pair(char pair[2][32])
{
	char path[300], link[256];
	struct dirent *e;
	DIR *d = opendir(DEVICES);
	int found = -ENODEV, n;

	while (d && found && (e = readdir(d))) {
		size_t len = strlen(e->d_name);

		if (len < 2 || len > 30 || strcmp(e->d_name + len - 2, ".1"))
			continue;
		snprintf(pair[1], 32, "%s", e->d_name);
		snprintf(pair[0], 32, "%.*s.0", (int)len - 2, e->d_name);
		if (driver_of(pair[0], link, sizeof(link)) || strcmp(link, "vfio-pci"))
			continue;
		snprintf(path, sizeof(path), DEVICES "%s/iommu_group", pair[0]);
		n = readlink(path, link, sizeof(link) - 1);
		if (n < 0)
			continue;
		link[n] = 0;
		groups[0] = atoi(strrchr(link, '/') + 1);
		nr_groups = 1;
		found = 0;
	}
	if (d)
		closedir(d);
	return found;
}

/* A function comes back while a user owns its group: the user's window stays the user's. */
TEST(hotplug_into_owned_group)
{
	/* A rescan of an LPAR's bus finds function 0 only. */
	const int comes = !is_pseries();
	struct container c;
	char pair[2][32];
	__u64 start;
	int i;
	char *m;

	if (find_pair(pair))
		SKIP(return, "no device with two functions on vfio-pci");
	ASSERT_EQ(0, container_open(&c, 0, VFIO_SPAPR_TCE_v2_IOMMU));
	m = anonymous(REGION);
	ASSERT_EQ(0, do_register(&c, m, REGION));
	ASSERT_EQ(0, do_remove(&c, c.window));
	ASSERT_EQ(0, do_create(&c, 16, GiB, 1, &start));
	ASSERT_EQ(0, do_map_at(&c, start, m, REGION, RW));
	for (i = 0; i < 2; i++) {
		ASSERT_EQ(0, put_at(DEVICES, pair[comes], "remove", "1"));
		ASSERT_EQ(0, put("/sys/bus/pci/rescan", "1"));
		EXPECT_EQ(0, do_map_at(&c, start, m, REGION, RW));
	}
	EXPECT_EQ(REGION, do_unmap_bytes(&c, start, REGION));
	EXPECT_EQ(0, do_remove(&c, start));
	EXPECT_EQ(0, do_unregister(&c, m, REGION));
	container_close(&c);
}

FIXTURE(slow) { };
FIXTURE_SETUP(slow) { }
FIXTURE_TEARDOWN(slow) { }

struct eeh {
	int fd;
	bool stop;
	long done;
};

static void *reset_on(void *arg)
{
	struct vfio_eeh_pe_op op = { .argsz = sizeof(op) };
	struct eeh *e = arg;

	while (!__atomic_load_n(&e->stop, __ATOMIC_RELAXED)) {
		op.op = VFIO_EEH_PE_RESET_HOT;
		ioctl(e->fd, VFIO_EEH_PE_OP, &op);
		op.op = VFIO_EEH_PE_RESET_DEACTIVATE;
		ioctl(e->fd, VFIO_EEH_PE_OP, &op);
		__atomic_add_fetch(&e->done, 1, __ATOMIC_RELAXED);
	}
	return NULL;
}

/* The PCI address of a device of this group */
static int device_of(int group, char *name, size_t size)
{
	char path[64];
	struct dirent *e;
	int ret = -ENODEV;
	DIR *d;

	snprintf(path, sizeof(path), "/sys/kernel/iommu_groups/%d/devices", group);
	d = opendir(path);
	while (d && ret && (e = readdir(d))) {
		if (e->d_name[0] == '.')
			continue;
		snprintf(name, size, "%s", e->d_name);
		ret = 0;
	}
	if (d)
		closedir(d);
	return ret;
}

/*
 * The owner resets the devices of @wanted groups in a loop; the administrator takes one device
 * away. The container is left without a group, or with the other one.
 */
static void reset_against_unbind(struct __test_metadata *_metadata, int wanted)
{
	char device[256];
	struct container c;
	struct eeh e;
	pthread_t t;
	int round;
	long was;

	for (round = 0; round < 4; round++) {
		ASSERT_EQ(0, device_of(groups[round % wanted], device, sizeof(device)));
		ASSERT_EQ(0, container_open(&c, 0, VFIO_SPAPR_TCE_v2_IOMMU));
		if (wanted > 1) {
			c.second = group_join(&c, 1);
			ASSERT_LE(0, c.second);
		}
		e = (struct eeh){ .fd = c.fd };
		ASSERT_EQ(0, pthread_create(&t, NULL, reset_on, &e));
		usleep(100000);
		EXPECT_EQ(0, put(DRIVERS "vfio-pci/unbind", device));
		was = __atomic_load_n(&e.done, __ATOMIC_RELAXED);
		while (__atomic_load_n(&e.done, __ATOMIC_RELAXED) < was + 2)
			usleep(1000);
		__atomic_store_n(&e.stop, true, __ATOMIC_RELAXED);
		pthread_join(t, NULL);
		container_close(&c);
		EXPECT_EQ(0, give_to(device, "vfio-pci"));
	}
}

TEST_F_TIMEOUT(slow, eeh_reset_against_unbind, 120)
{
	if (!nr_groups)
		SKIP(return, "no device on vfio-pci");
	reset_against_unbind(_metadata, 1);
}

TEST_F_TIMEOUT(slow, eeh_reset_of_two_groups, 120)
{
	if (nr_groups < 2)
		SKIP(return, "needs two IOMMU groups on vfio-pci");
	reset_against_unbind(_metadata, 2);
}

/* Free blocks of the largest order, the size of a leaf below: 16 MiB with pages of 64K */
static long largest_free(void)
{
	FILE *f = fopen("/proc/buddyinfo", "r");
	char line[256];
	long n = 0;

	while (f && fgets(line, sizeof(line), f)) {
		char *last = line + strlen(line);

		while (last > line && (last[-1] == '\n' || last[-1] == ' '))
			*--last = 0;
		while (last > line && last[-1] != ' ')
			last--;
		n += atol(last);
	}
	if (f)
		fclose(f);
	return n;
}

static long free_kib(void)
{
	return number_in("/proc/meminfo", "MemFree:");
}

/* Takes memory until @left blocks of the largest order are free, then gives back single pages. */
static int take_large_blocks(long left)
{
	const unsigned long page = sysconf(_SC_PAGESIZE), size = free_kib() * KiB;
	unsigned long i = 0, j;
	char *m = anonymous(size);

	if (m == MAP_FAILED)
		return -ENOMEM;
	madvise(m, size, MADV_NOHUGEPAGE);
	put("/proc/sys/vm/min_free_kbytes", "1024");
	while (i < size && largest_free() > left && free_kib() > 4096)
		for (j = 0; j < (free_kib() > 131072 ? 64 : 1) && i < size; j++, i += page)
			m[i] = 1;
	for (j = 2; j < 256 && j * page < i && !left; j += 2)
		madvise(m + i - j * page, page, MADV_DONTNEED);
	return largest_free() == left ? 0 : -EBUSY;
}

/*
 * Memory for a leaf of the view, none for one of the table: an error, nothing mapped, nothing
 * held.
 */
TEST_F_TIMEOUT(slow, no_memory_for_a_level, 120)
{
	struct container c;
	__u64 start, other;
	char *m;

	if (sysconf(_SC_PAGESIZE) != 64 * KiB)
		SKIP(return, "the largest order is not that of a leaf");
	ASSERT_EQ(0, container_open(&c, 0, VFIO_SPAPR_TCE_v2_IOMMU));
	m = anonymous(REGION);
	ASSERT_EQ(0, do_register(&c, m, REGION));
	ASSERT_EQ(0, do_remove(&c, c.window));
	/* Leaves are of 16 MiB; the other window's table and the view of it are two of that. */
	ASSERT_EQ(0, do_create(&c, 12, 1UL << 54, 2, &start));
	ASSERT_EQ(0, do_create(&c, 12, 8 * GiB, 1, &other));
	ASSERT_EQ(0, take_large_blocks(0));
	ASSERT_EQ(0, do_remove(&c, other));
	ASSERT_EQ(0, take_large_blocks(1));
	EXPECT_EQ(-ENOMEM, do_map_at(&c, start + 64 * KiB, m, 64 * KiB, RW));
	/* No entry is there that could hold the region. */
	EXPECT_EQ(0, do_remove(&c, start));
	EXPECT_EQ(0, do_unregister(&c, m, REGION));
	EXPECT_EQ(0, do_register(&c, m, REGION));
	EXPECT_EQ(0, do_unregister(&c, m, REGION));
	container_close(&c);
}

/* Memory that is not registered, at address 0: refused, and the CPU comes back. */
TEST(refused_at_zero)
{
	struct container c;
	char *m;

	ASSERT_EQ(0, container_open(&c, 0, VFIO_SPAPR_TCE_v2_IOMMU));
	m = anonymous(REGION);
	ASSERT_EQ(0, do_register(&c, m, REGION));
	EXPECT_GT(0, do_map_at(&c, 0, m + REGION, IOMMU_PAGE, RW));
	EXPECT_EQ(0, do_unregister(&c, m, REGION));
	container_close(&c);
}

/* A group that cannot share windows is refused, or shares them. */
TEST(second_group)
{
	struct container c;
	char *m;

	if (nr_groups < 2)
		SKIP(return, "needs two IOMMU groups on vfio-pci");
	ASSERT_EQ(0, container_open(&c, 0, VFIO_SPAPR_TCE_v2_IOMMU));
	c.second = group_join(&c, 1);
	m = anonymous(REGION);
	ASSERT_EQ(0, do_register(&c, m, REGION));
	EXPECT_EQ(0, do_map(&c, 0, m, REGION));
	EXPECT_EQ(0, do_unmap(&c, 0, REGION));
	EXPECT_EQ(0, do_unregister(&c, m, REGION));
	container_close(&c);
}

/* The host's driver has got no 64-bit window: that is no reason to give the user none. */
TEST(window_after_host_had_none)
{
	struct container c;
	char *m;

	ASSERT_EQ(0, container_open(&c, 0, VFIO_SPAPR_TCE_v2_IOMMU));
	m = anonymous(REGION);
	ASSERT_EQ(0, do_register(&c, m, REGION));
	EXPECT_EQ(0, do_map(&c, 0, m, REGION));
	EXPECT_EQ(0, do_unmap(&c, 0, REGION));
	EXPECT_EQ(0, do_unregister(&c, m, REGION));
	container_close(&c);
}

#define SLOW_DISK	"/dev/vda"	/* takes a moment for each read */

static void *put_list(void *arg)
{
	struct vcpu *v = arg;

	vcpu_hcall(v, H_PUT_TCE_INDIRECT, LIOBN, 0, v->list_gpa, 512);
	return NULL;
}

/* A table's fd is closed while a hypercall waits for the list that it is given. */
TEST(close_table_during_hypercall)
{
	struct vm vm;
	pthread_t t;
	int table, disk = open(SLOW_DISK, O_RDONLY);
	struct vcpu *v = &vm.vcpu[0];

	if (disk < 0)
		SKIP(return, "no slow disk");
	if (vm_create(&vm, 1, 32 * MiB))
		SKIP(return, "no KVM-HV");
	ASSERT_NE(MAP_FAILED, mmap(v->list, sysconf(_SC_PAGESIZE), PROT_READ,
				   MAP_PRIVATE | MAP_FIXED, disk, 16 * MiB));
	table = vm_create_table(&vm, LIOBN, 12, 0, 512);
	ASSERT_LE(0, table);
	ASSERT_EQ(0, vcpu_run(v, 0));
	ASSERT_EQ(0, pthread_create(&t, NULL, put_list, v));
	usleep(100000);
	close(table);
	pthread_join(t, NULL);
	vm_destroy(&vm);
}

#define MANY_TABLES	4000

static void stay_on(int cpu)
{
	cpu_set_t set;

	CPU_ZERO(&set);
	CPU_SET(cpu, &set);
	sched_setaffinity(0, sizeof(set), &set);
}

static long now_ns(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec * 1000000000 + t.tv_nsec;
}

struct closer {
	int table[MANY_TABLES];
	long woken;		/* how often */
	enum { BEFORE, WALKING, AFTER } state;	/* of the group's way out of the VM */
	bool met;		/* the tables are closed in the middle of that */
};

/*
 * Takes the CPU from the walk, closes all tables, and keeps the CPU for as long as a grace
 * period takes. A kernel that keeps the tables for the walk does not return from close()
 * before the walk has ended.
 */
static void *close_all(void *arg)
{
	const struct timespec moment = { .tv_nsec = 200000 };
	struct sched_param p = { .sched_priority = 1 };
	struct closer *c = arg;
	long end;
	int i;

	stay_on(0);
	if (sched_setscheduler(0, SCHED_FIFO, &p))
		return NULL;
	while (__atomic_load_n(&c->state, __ATOMIC_ACQUIRE) == BEFORE) {
		nanosleep(&moment, NULL);
		__atomic_add_fetch(&c->woken, 1, __ATOMIC_RELEASE);
	}
	c->met = __atomic_load_n(&c->state, __ATOMIC_ACQUIRE) == WALKING;
	if (!c->met)
		return NULL;
	for (i = 0; i < MANY_TABLES; i++)
		close(c->table[i]);
	end = now_ns() + 500000000;
	while (__atomic_load_n(&c->state, __ATOMIC_ACQUIRE) == WALKING && now_ns() < end)
		;
	return NULL;
}

/* Waits for @c to be woken, which is by a timer, and says when that was. */
static long woken(struct closer *c)
{
	long was = __atomic_load_n(&c->woken, __ATOMIC_ACQUIRE);

	while (__atomic_load_n(&c->woken, __ATOMIC_ACQUIRE) == was)
		;
	return now_ns();
}

/* Waits until @part of 64 of a period are left before @c is woken. */
static void wait_for_tick(struct closer *c, int part)
{
	long first = woken(c), second = woken(c);

	while (now_ns() < second + (second - first) / 64 * (64 - part))
		;
}

/*
 * The walk over a VM's tables is interrupted, and they are closed meanwhile. It takes a kernel
 * that is not preemptible in an RCU read-side section.
 */
TEST_F_TIMEOUT(slow, tables_closed_during_walk, 120)
{
	struct rlimit files = { MANY_TABLES + 100, MANY_TABLES + 100 };
	static struct closer c;
	int round, met = 0, i;
	struct container co;
	struct vm vm;
	__u64 start;
	pthread_t t;

	if (vm_create(&vm, 1, 32 * MiB))
		SKIP(return, "no KVM-HV");
	stay_on(0);
	ASSERT_EQ(0, setrlimit(RLIMIT_NOFILE, &files));
	ASSERT_EQ(0, container_open(&co, 0, VFIO_SPAPR_TCE_v2_IOMMU));
	ASSERT_EQ(0, do_remove(&co, co.window));
	ASSERT_EQ(0, do_create(&co, 12, 64 * MiB, 1, &start));
	for (round = 0, c.met = true; round < 100 && met < 2; round++) {
		for (i = 0; i < MANY_TABLES && c.met; i++) {
			c.table[i] = vm_create_table(&vm, LIOBN + i, 12, start, 512);
			ASSERT_LE(0, c.table[i]);
		}
		ASSERT_EQ(0, vm_group_give(&vm, co.group, c.table[0]));
		c.state = BEFORE;
		ASSERT_EQ(0, pthread_create(&t, NULL, close_all, &c));
		wait_for_tick(&c, round % 16 + 1);
		__atomic_store_n(&c.state, WALKING, __ATOMIC_RELEASE);
		EXPECT_EQ(0, vm_group_del(&vm, co.group));
		__atomic_store_n(&c.state, AFTER, __ATOMIC_RELEASE);
		pthread_join(t, NULL);
		met += c.met;
	}
	TH_LOG("%d of %d walks were interrupted", met, round);
	vm_destroy(&vm);
	container_close(&co);
	if (!met)
		SKIP(return, "no walk was interrupted");
}

static void *stuff(void *arg)
{
	struct vcpu *v = arg;

	vcpu_hcall(v, H_STUFF_TCE, LIOBN, 0, 0, 1UL << 20);
	return NULL;
}

/* A group leaves while a hypercall goes through the entries of its window. */
TEST_F_TIMEOUT(slow, group_leaves_during_hypercall, 120)
{
	struct container co;
	struct vm vm;
	pthread_t t;
	__u64 start;
	int table;

	if (vm_create(&vm, 1, 32 * MiB))
		SKIP(return, "no KVM-HV");
	ASSERT_EQ(0, container_open(&co, 0, VFIO_SPAPR_TCE_v2_IOMMU));
	ASSERT_EQ(0, do_remove(&co, co.window));
	ASSERT_EQ(0, do_create(&co, 16, 1UL << 36, 2, &start));
	table = vm_create_table(&vm, LIOBN, 16, start, 1UL << 20);
	ASSERT_LE(0, table);
	ASSERT_EQ(0, vm_group_give(&vm, co.group, table));
	ASSERT_EQ(0, vcpu_run(&vm.vcpu[0], 0));
	ASSERT_EQ(0, pthread_create(&t, NULL, stuff, &vm.vcpu[0]));
	usleep(100000);
	EXPECT_EQ(0, vm_group_del(&vm, co.group));
	pthread_join(t, NULL);
	EXPECT_EQ(H_SUCCESS, vm.vcpu[0].calls[0].ret);
	close(table);
	vm_destroy(&vm);
	container_close(&co);
}

/* The second half of a guest page cannot be mapped: nothing is left of the first half. */
TEST(half_a_page)
{
	const __u64 bad = 16 * MiB | TCE_RW, good = 32 * MiB | TCE_RW;
	long pinned = pages_pinned_steady();
	struct container co;
	struct vm vm;
	int table, i;
	__u64 start;

	if (vm_create(&vm, 1, 64 * MiB))
		SKIP(return, "no KVM-HV");
	ASSERT_EQ(0, container_open(&co, 0, VFIO_SPAPR_TCE_v2_IOMMU));
	ASSERT_EQ(0, do_register(&co, vm.ram, 24 * MiB));
	ASSERT_EQ(0, do_register(&co, vm.ram + 32 * MiB, 32 * MiB));
	ASSERT_EQ(0, do_remove(&co, co.window));
	ASSERT_EQ(0, do_create(&co, 12, 256 * MiB, 1, &start));
	table = vm_create_table(&vm, LIOBN, 24, start, 16);
	ASSERT_LE(0, table);
	ASSERT_EQ(0, vm_group_give(&vm, co.group, table));
	for (i = 0; i < 2; i++) {
		long ret = vcpu_hcall(&vm.vcpu[0], H_PUT_TCE, LIOBN, start, bad, 0);

		EXPECT_TRUE(ret == WENT_UP || ret == H_PARAMETER);
		EXPECT_EQ(H_SUCCESS, vcpu_hcall(&vm.vcpu[0], H_PUT_TCE, LIOBN, start, good, 0));
	}
	EXPECT_EQ(H_SUCCESS, vcpu_hcall(&vm.vcpu[0], H_PUT_TCE, LIOBN, start, 0, 0));
	EXPECT_EQ(0, do_unregister(&co, vm.ram, 24 * MiB));
	EXPECT_EQ(0, do_unregister(&co, vm.ram + 32 * MiB, 32 * MiB));
	EXPECT_EQ(pinned, settle(pages_pinned, pinned));
	close(table);
	vm_destroy(&vm);
	container_close(&co);
}

/* A group is added to a VM and taken away without a table: nothing to warn about */
TEST(group_without_table)
{
	struct container co;
	struct vm vm;

	if (vm_create(&vm, 1, 32 * MiB))
		SKIP(return, "no KVM-HV");
	ASSERT_EQ(0, container_open(&co, 0, VFIO_SPAPR_TCE_v2_IOMMU));
	ASSERT_EQ(0, vm_group_add(&vm, co.group));
	EXPECT_EQ(0, vm_group_del(&vm, co.group));
	vm_destroy(&vm);
	container_close(&co);
}

/* These two only make the calls: whoever boots looks in which order the host's functions ran. */
TEST(order_of_ioctls)
{
	struct container c;
	char *m;

	ASSERT_EQ(0, container_open(&c, 0, VFIO_SPAPR_TCE_v2_IOMMU));
	m = anonymous(REGION);
	ASSERT_EQ(0, do_register(&c, m, REGION));
	ASSERT_EQ(0, do_map(&c, 0, m, 64 * IOMMU_PAGE));
	EXPECT_EQ(0, do_map(&c, 0, m + 64 * KiB, 64 * IOMMU_PAGE));
	EXPECT_EQ(0, do_unmap(&c, 0, 64 * IOMMU_PAGE));
	container_close(&c);
}

TEST(order_of_hypercalls)
{
	struct container co;
	struct vm vm;
	int table, i;
	__u64 start;

	if (vm_create(&vm, 1, 32 * MiB))
		SKIP(return, "no KVM-HV");
	ASSERT_EQ(0, container_open(&co, 0, VFIO_SPAPR_TCE_v2_IOMMU));
	ASSERT_EQ(0, do_register(&co, vm.ram, 32 * MiB));
	ASSERT_EQ(0, do_remove(&co, co.window));
	ASSERT_EQ(0, do_create(&co, 12, 64 * MiB, 1, &start));
	table = vm_create_table(&vm, LIOBN, 12, start, 512);
	ASSERT_LE(0, table);
	ASSERT_EQ(0, vm_group_give(&vm, co.group, table));
	for (i = 0; i < 8; i++)
		EXPECT_EQ(H_SUCCESS, vcpu_hcall(&vm.vcpu[0], H_PUT_TCE, LIOBN, start + (i << 12),
						(16 * MiB + (i << 12)) | TCE_RW, 0));
	for (i = 0; i < 8; i++)
		EXPECT_EQ(H_SUCCESS, vcpu_hcall(&vm.vcpu[0], H_PUT_TCE, LIOBN, start + (i << 12),
						(17 * MiB + (i << 12)) | TCE_RW, 0));
	EXPECT_EQ(H_SUCCESS, vcpu_hcall(&vm.vcpu[0], H_STUFF_TCE, LIOBN, start, 0, 8));
	close(table);
	vm_destroy(&vm);
	container_close(&co);
}

int main(int argc, char **argv)
{
	/* What a check says about its failure belongs to the result. */
	dup2(STDOUT_FILENO, STDERR_FILENO);
	find_groups(&argc, argv);
	return test_harness_run(argc, argv);
}
