// SPDX-License-Identifier: GPL-2.0
/*
 * What an LPAR loses while a user has it.
 *
 *	unplug	a device is taken away by the hypervisor while it does DMA for a user
 *	phb	a host bridge is removed by DLPAR while KVM holds its group
 *
 * The line
 *
 *	# qmp COMMAND ARGUMENTS
 *
 * is what the emulator's monitor is told (workbench/boot --monitor). The hypervisor takes a
 * device once the LPAR has isolated it, which is what drmgr does by RTAS, and this test.
 * Another group's device must not notice. phb comes last: it takes the other group, too.
 */
#define _GNU_SOURCE
#include "../../tools/testing/selftests/vfio/vfio_spapr_kvm.h"
#include "../../tools/testing/selftests/vfio/vfio_spapr_nvme.h"
#include "../../tools/testing/selftests/vfio/vfio_spapr_sysfs.h"

#include <poll.h>
#include <signal.h>
#include <sys/eventfd.h>
#include <sys/wait.h>

#include "kselftest_harness.h"

#undef TEST_TIMEOUT_DEFAULT
#define TEST_TIMEOUT_DEFAULT 120

#define MEMORY		(4 * MiB)
#define QUEUES_AT	(16 * MiB)	/* in the default window */
#define DATA		(16 * 64 * KiB)
#define MEDIUM_PAGE	17
#define WAIT_MS		30000
#define ISOLATION_STATE	9001		/* LoPAR's indicator */
#define ISOLATE		0
#define DRC_ID		0x0fffffff	/* of a DRC index, the rest is its type */
#define LIOBN		0x80000001UL
#define WINDOWS		"/sys/kernel/debug/powerpc/tce_windows"

struct shared {
	volatile unsigned long transfers;
};

static unsigned int device_tree_cell(const char *path)
{
	__u32 v = 0;
	int fd = open(path, O_RDONLY);

	if (fd < 0 || read(fd, &v, sizeof(v)) != sizeof(v))
		v = 0;
	close(fd);
	return be32toh(v);
}

/* What the hypervisor knows the device's slot by, 0 if it has no name there */
static unsigned int slot_of(const char *name)
{
	char path[160];

	snprintf(path, sizeof(path), "/sys/bus/pci/devices/%s/of_node/ibm,my-drc-index", name);
	return device_tree_cell(path);
}

/* set-indicator; returns what RTAS says */
static int slot_isolate(unsigned int slot)
{
	struct {
		__u32 token, nargs, nret, args[16];
		__u64 rets;
	} rtas = {
		.token = htobe32(device_tree_cell("/proc/device-tree/rtas/set-indicator")),
		.nargs = htobe32(3),
		.nret = htobe32(1),
		.args = { htobe32(ISOLATION_STATE), htobe32(slot), htobe32(ISOLATE) },
	};

	return syscall(__NR_rtas, &rtas) ? -errno : (int)be32toh(rtas.args[3]);
}

/* Does it answer to reads of its configuration? */
static bool device_answers(const char *name)
{
	char path[128];
	__u32 id = ~0U;
	int fd;

	snprintf(path, sizeof(path), "/sys/bus/pci/devices/%s/config", name);
	fd = open(path, O_RDONLY);
	if (fd < 0 || pread(fd, &id, sizeof(id), 0) != sizeof(id))
		id = ~0U;
	close(fd);
	return id != ~0U;
}

/* In a process of its own: "echo 1 > remove", which waits for the user. */
static pid_t device_remove_start(const char *name)
{
	char command[128];
	pid_t pid = fork();

	if (pid)
		return pid;
	/* A new program, for this one has the device open. */
	snprintf(command, sizeof(command), "echo 1 >/sys/bus/pci/devices/%s/remove", name);
	execl("/bin/sh", "sh", "-c", command, NULL);
	_exit(127);
}

/* The device's user is asked to let go of it by this. */
static int request_fd(int device)
{
	struct {
		struct vfio_irq_set set;
		__s32 fd;
	} irq = {
		.set = {
			.argsz = sizeof(irq),
			.flags = VFIO_IRQ_SET_DATA_EVENTFD | VFIO_IRQ_SET_ACTION_TRIGGER,
			.index = VFIO_PCI_REQ_IRQ_INDEX,
			.count = 1,
		},
		.fd = eventfd(0, EFD_CLOEXEC),
	};

	return ioctl(device, VFIO_DEVICE_SET_IRQS, &irq) ? -errno : irq.fd;
}

/* The end of a process, or -ETIMEDOUT and it is killed */
static int wait_end(pid_t pid)
{
	int status, ms;

	for (ms = 0; ms < WAIT_MS; ms += 20) {
		if (waitpid(pid, &status, WNOHANG) == pid)
			return status;
		usleep(20000);
	}
	kill(pid, SIGKILL);
	waitpid(pid, &status, 0);
	return -ETIMEDOUT;
}

FIXTURE(unplug) {
	struct container c;
	struct nvme n;
	char name[32];
	char *memory;		/* queues, then DATA to reach */
	struct shared *shared;
	__u64 start;		/* of a second window */
	long pinned, regions;
};

static int user_open(struct container *c, struct nvme *n, int which, char *memory)
{
	int ret = container_open(c, which, VFIO_SPAPR_TCE_v2_IOMMU);

	if (!ret)
		ret = do_register(c, memory, MEMORY);
	if (!ret)
		ret = do_map(c, QUEUES_AT, memory, NVME_MEMORY);
	return ret ? ret : nvme_open(n, c, c->group, groups[which], memory,
				     c->window + QUEUES_AT);
}

FIXTURE_SETUP(unplug)
{
	int ret;

	self->c = NO_CONTAINER;
	self->n.device = -1;
	if (!is_pseries() || !getenv("MONITOR"))
		SKIP(return, "no hypervisor that can be told to take a device");
	if (nr_groups < 2)
		SKIP(return, "needs two groups");
	snprintf(self->name, sizeof(self->name), "%s", nvme_in_group(groups[0]) ?: "");
	self->pinned = pages_pinned_steady();
	self->regions = regions_known();
	self->memory = mmap(NULL, MEMORY, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS,
			    -1, 0);
	ASSERT_NE(MAP_FAILED, self->memory);
	self->shared = mmap(NULL, 65536, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS,
			    -1, 0);
	ASSERT_NE(MAP_FAILED, self->shared);
	ret = user_open(&self->c, &self->n, 0, self->memory);
	ASSERT_EQ(0, ret)
		TH_LOG("%s: %s", self->name, strerror(-ret));
	ASSERT_EQ(0, do_create(&self->c, 16, 256 * MiB, 1, &self->start));
	ASSERT_EQ(0, do_map_at(&self->c, self->start, self->memory + MiB, DATA, RW));
}

FIXTURE_TEARDOWN(unplug)
{
	container_close(&self->c);
}

/*
 * DMA without end, in a process of its own: QEMU answers an access to a device that is gone
 * by a machine check, from which the process does not get away.
 */
static pid_t dma_start(struct nvme *n, __u64 iova, struct shared *shared)
{
	pid_t pid = fork();
	unsigned int i;

	if (pid)
		return pid;
	for (i = 0; !nvme_rw(n, i & 1 ? NVME_IO_WRITE : NVME_IO_READ, MEDIUM_PAGE,
			     iova + i % 16 * 64 * KiB); i++)
		shared->transfers++;
	_exit(0);
}

/* The second group's device still moves data. */
static void check_other(struct __test_metadata *_metadata)
{
	struct container c = NO_CONTAINER;
	struct nvme n = { .device = -1 };
	char data[NVME_PAGE], *memory = anonymous(MEMORY);
	int i;

	ASSERT_NE(MAP_FAILED, memory);
	for (i = 0; i < NVME_PAGE; i++)
		data[i] = i * 7 + i / 251;
	ASSERT_EQ(0, user_open(&c, &n, 1, memory));
	ASSERT_EQ(0, do_map(&c, 2 * QUEUES_AT, memory + MiB, DATA));
	ASSERT_EQ(0, nvme_medium_set(&n, MEDIUM_PAGE, data));
	EXPECT_EQ(0, nvme_rw(&n, NVME_IO_READ, MEDIUM_PAGE, c.window + 2 * QUEUES_AT));
	EXPECT_EQ(0, memcmp(memory + MiB, data, NVME_PAGE));
	nvme_close(&n);
	container_close(&c);
	munmap(memory, MEMORY);
}

TEST_F(unplug, under_dma)
{
	unsigned int slot = slot_of(self->name);
	struct container *c = &self->c;
	unsigned long before;
	struct pollfd request;
	pid_t dma, remover;
	int ms, ret;
	__u64 start;

	ASSERT_NE(0, slot);
	request.events = POLLIN;
	request.fd = request_fd(self->n.device);
	ASSERT_LE(0, request.fd);
	dma = dma_start(&self->n, self->start, self->shared);
	for (ms = 0; self->shared->transfers < 50 && ms < WAIT_MS; ms += 10)
		usleep(10000);
	before = self->shared->transfers;
	ASSERT_LE(50, before);

	/* The hypervisor takes it as soon as it has been told to and the slot is isolated. */
	printf("# qmp device_del {\"id\": \"dev1\"}\n");
	fflush(stdout);
	for (ms = 0; device_answers(self->name) && ms < WAIT_MS; ms += 10) {
		usleep(10000);
		ret = slot_isolate(slot);
		ASSERT_EQ(0, ret);
	}
	ASSERT_FALSE(device_answers(self->name));
	EXPECT_LT(before, self->shared->transfers);
	kill(dma, SIGKILL);
	EXPECT_NE(-ETIMEDOUT, wait_end(dma));

	/* Its window is the user's as before. */
	EXPECT_EQ(0, do_map_at(c, self->start + DATA, self->memory + 2 * MiB, DATA, RW));
	EXPECT_EQ(0, do_map_at(c, self->start, self->memory + 2 * MiB, DATA, RW));
	EXPECT_EQ(DATA, do_unmap_bytes(c, self->start + DATA, DATA));

	/* Linux's device goes when its user lets go. */
	remover = device_remove_start(self->name);
	ASSERT_LT(0, remover);
	ASSERT_EQ(1, poll(&request, 1, WAIT_MS));
	munmap((void *)self->n.bar, self->n.bar_size);
	self->n.bar = NULL;
	close(self->n.device);
	self->n.device = -1;
	close(request.fd);
	EXPECT_EQ(0, wait_end(remover));
	EXPECT_FALSE(device_is_there(self->name));

	/* With its last device the group has left the container, and took its windows along. */
	EXPECT_GT(0, do_unmap_bytes(c, self->start, DATA / 2));
	EXPECT_GT(0, do_remove(c, self->start));
	EXPECT_GT(0, do_create(c, 16, 256 * MiB, 1, &start));
	container_close(c);
	munmap(self->memory, MEMORY);
	EXPECT_EQ(self->pinned, settle(pages_pinned, self->pinned));
	EXPECT_EQ(self->regions, settle(regions_known, self->regions));
	check_other(_metadata);
}

/* ---- a host bridge goes ---- */

/* Remove a device node after its children, as drmgr does. */
static int node_remove(const char *path)
{
	char name[400], command[400];
	struct dirent *e;
	int ret = 0;
	DIR *d;

	snprintf(name, sizeof(name), "/proc/device-tree%s", path);
	d = opendir(name);
	if (!d)
		return -errno;
	while (!ret && (e = readdir(d))) {
		if (e->d_type != DT_DIR || e->d_name[0] == '.')
			continue;
		snprintf(name, sizeof(name), "%.128s/%.128s", path, e->d_name);
		ret = node_remove(name);
	}
	closedir(d);
	snprintf(command, sizeof(command), "remove_node %s", path);
	return ret ? ret : write_text("/proc/powerpc/ofdt", command);
}

/* A process that reads all windows until it is killed; how often is in @shared. */
static pid_t windows_read(struct shared *shared)
{
	char line[4096];
	pid_t pid = fork();
	int fd;

	if (pid)
		return pid;
	for (;;) {
		fd = open(WINDOWS, O_RDONLY);
		while (fd >= 0 && read(fd, line, sizeof(line)) > 0)
			;
		close(fd);
		shared->transfers++;
	}
}

static bool group_is_there(int group)
{
	char path[64];

	snprintf(path, sizeof(path), "/sys/kernel/iommu_groups/%d", group);
	return !access(path, F_OK);
}

FIXTURE(phb) {
	struct container c;
	struct vm vm;
	char name[32], node[128], slot[128];	/* the device; its PHB: node, name for DLPAR */
	struct shared *shared;
	pid_t reader;
	int table;
	long pinned, regions;
};

/* The PHB of a device: its node in the device tree, and its name for DLPAR */
static int phb_find(const char *name, char *node, char *slot, size_t size)
{
	char path[160], to[256], *at, *last;
	ssize_t n;

	snprintf(path, sizeof(path), "/sys/bus/pci/devices/%s/of_node", name);
	n = readlink(path, to, sizeof(to) - 1);
	to[n < 0 ? 0 : n] = 0;
	at = strstr(to, "/pci@");
	last = strrchr(to, '/');
	if (!at || last == at)
		return -ENODEV;
	*last = 0;
	snprintf(node, size, "%s", at);
	snprintf(path, sizeof(path), "/proc/device-tree%.100s/ibm,my-drc-index", node);
	snprintf(slot, size, "PHB %u", device_tree_cell(path) & DRC_ID);
	return 0;
}

FIXTURE_SETUP(phb)
{
	int ret;

	self->c = NO_CONTAINER;
	self->vm.vfio = -1;
	self->vm.fd = -1;
	self->vm.kvm = -1;
	if (!is_pseries() || nr_groups < 2)
		SKIP(return, "no LPAR with two groups");
	if (access("/sys/bus/pci/slots/control/remove_slot", W_OK))
		SKIP(return, "no DLPAR of host bridges in this kernel");
	snprintf(self->name, sizeof(self->name), "%s", nvme_in_group(groups[1]) ?: "");
	ASSERT_EQ(0, phb_find(self->name, self->node, self->slot, sizeof(self->node)))
		TH_LOG("%s", self->name);
	self->pinned = pages_pinned_steady();
	self->regions = regions_known();
	self->shared = mmap(NULL, 65536, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS,
			    -1, 0);
	ASSERT_NE(MAP_FAILED, self->shared);
	/* Before anything is open that it would keep */
	self->reader = windows_read(self->shared);
	ASSERT_LT(0, self->reader);
	ret = vm_create(&self->vm, 1, 16 * MiB);
	if (ret == -ENODEV)
		SKIP(return, "no KVM-HV here");
	ASSERT_EQ(0, ret);
	ASSERT_EQ(0, container_open(&self->c, 1, VFIO_SPAPR_TCE_v2_IOMMU));
	ASSERT_EQ(0, do_register(&self->c, self->vm.ram, 16 * MiB));
	/* The first use makes the default window. */
	ASSERT_EQ(0, do_map(&self->c, 0, self->vm.ram + MAP_FROM, IOMMU_PAGE));
	self->table = vm_create_table(&self->vm, LIOBN, 12, self->c.window, 4096);
	ASSERT_LE(0, self->table);
	ASSERT_EQ(0, vm_group_give(&self->vm, self->c.group, self->table));
}

FIXTURE_TEARDOWN(phb)
{
	if (self->reader > 0)
		kill(self->reader, SIGKILL);
	container_close(&self->c);
	vm_destroy(&self->vm);
}

/*
 * KVM's VFIO device keeps the group's file and the group. The PHB, its node in the device tree
 * and the group's windows are gone before that, and nobody who looks at them meanwhile falls.
 */
TEST_F(phb, under_kvm)
{
	struct vcpu *v = &self->vm.vcpu[0];
	int ms;

	EXPECT_EQ(H_SUCCESS, vcpu_hcall(v, H_PUT_TCE, LIOBN, self->c.window,
					MAP_FROM | TCE_RW, 0));
	container_close(&self->c);
	for (ms = 0; !self->shared->transfers && ms < WAIT_MS; ms += 10)
		usleep(10000);

	ASSERT_EQ(0, device_remove(self->name));
	EXPECT_EQ(0, write_text("/sys/bus/pci/slots/control/remove_slot", self->slot))
		TH_LOG("%s: %s", self->slot, strerror(errno));
	ASSERT_EQ(0, node_remove(self->node))
		TH_LOG("%s", self->node);
	EXPECT_EQ(group_is_there(groups[1]), true);

	/* The window has left the user. */
	EXPECT_EQ(WENT_UP, vcpu_hcall(v, H_PUT_TCE, LIOBN, self->c.window + 4096,
				      MAP_FROM | TCE_RW, 0));
	close(self->table);
	vm_destroy(&self->vm);
	for (ms = 0; group_is_there(groups[1]) && ms < WAIT_MS; ms += 10)
		usleep(10000);
	EXPECT_EQ(group_is_there(groups[1]), false);
	EXPECT_EQ(0, kill(self->reader, SIGKILL));
	EXPECT_NE(-ETIMEDOUT, wait_end(self->reader));
	self->reader = 0;
	EXPECT_EQ(self->pinned, settle(pages_pinned, self->pinned));
	EXPECT_EQ(self->regions, settle(regions_known, self->regions));
}

int main(int argc, char **argv)
{
	spapr_tce_init(&argc, argv);
	return test_harness_run(argc, argv);
}
