// SPDX-License-Identifier: GPL-2.0
/*
 * Tracepoints of sPAPR TCE containers and of KVM's TCE hypercalls: each call is traced with its
 * arguments and its result. A kprobe counts the grace periods that a container waits for.
 *
 * Needs CONFIG_FTRACE with event tracing, and is skipped without it. Uses a trace instance
 * of its own.
 */
#include <sys/mount.h>
#include <sys/stat.h>

#include "vfio_spapr_kvm.h"
#include "kselftest_harness.h"

#undef TEST_TIMEOUT_DEFAULT
#define TEST_TIMEOUT_DEFAULT 120

#define MEMORY		(16 * MiB)
#define TRACEFS		"/sys/kernel/tracing"

static char instance[100];

static int trace_write(const char *file, const char *text)
{
	char path[200];
	int fd, ret;

	snprintf(path, sizeof(path), "%s/%s", instance, file);
	fd = open(path, O_WRONLY | O_TRUNC);
	if (fd < 0)
		return -errno;
	ret = write(fd, text, strlen(text)) < 0 ? -errno : 0;
	close(fd);
	return ret;
}

/* An instance with all events of @system on; -errno: there are none in this kernel. */
static int trace_begin(const char *system)
{
	char path[100];

	if (access(TRACEFS "/instances", F_OK) && mount("none", TRACEFS, "tracefs", 0, NULL))
		return -errno;
	snprintf(instance, sizeof(instance), TRACEFS "/instances/vfio_spapr.%d", getpid());
	if (mkdir(instance, 0700))
		return -errno;
	snprintf(path, sizeof(path), "events/%s/enable", system);
	return trace_write(path, "1");
}

static void trace_end(void)
{
	if (instance[0])
		rmdir(instance);
	instance[0] = 0;
}

/* Lines of the trace that have @want: an event, and its fields but for the container's hash */
static int lines_with(const char *want)
{
	char path[200], line[500], *field, *rest;
	FILE *f;
	int n = 0;

	snprintf(path, sizeof(path), "%s/trace", instance);
	f = fopen(path, "r");
	while (f && fgets(line, sizeof(line), f)) {
		field = strstr(line, "container=");
		rest = field ? strchr(field, ' ') : NULL;
		if (rest)
			memmove(field, rest + 1, strlen(rest));
		n += !!strstr(line, want);
	}
	if (f)
		fclose(f);
	return n;
}

#define EXPECT_TRACED(event, fields, ...) do {				\
	char __want[300];						\
									\
	snprintf(__want, sizeof(__want), event ": " fields, ##__VA_ARGS__); \
	EXPECT_EQ(1, lines_with(__want))				\
		TH_LOG("%s", __want);					\
} while (0)

#define EXPECT_VFIO(event, fields, ...)					\
	EXPECT_TRACED("vfio_spapr_tce_" event, fields, ##__VA_ARGS__)

FIXTURE(trace) {
	struct container c;
	struct vm vm;
	char *m;
};

FIXTURE_SETUP(trace)
{
	int ret;

	self->c = NO_CONTAINER;
	self->vm.vfio = -1;
	self->vm.fd = -1;
	self->vm.kvm = -1;
	ret = container_open(&self->c, 0, VFIO_SPAPR_TCE_v2_IOMMU);
	if (ret == -EOPNOTSUPP)
		SKIP(return, "no sPAPR TCE v2 container here");
	ASSERT_EQ(0, ret);
	self->m = anonymous(MEMORY);
	ASSERT_NE(MAP_FAILED, self->m);
}

FIXTURE_TEARDOWN(trace)
{
	container_close(&self->c);
	vm_destroy(&self->vm);
	trace_end();
}

TEST_F(trace, container)
{
	const unsigned long m = (unsigned long)self->m, at = self->c.window + MiB;
	__u64 start = self->c.window;
	int ret;

	ret = trace_begin("vfio_spapr_tce");
	if (ret)
		SKIP(return, "no event tracing: %s", strerror(-ret));
	ASSERT_EQ(0, do_register(&self->c, self->m, MEMORY));
	EXPECT_VFIO("register", "vaddr=0x%lx size=0x%lx ret=0", m, MEMORY);
	ASSERT_EQ(0, do_map_at(&self->c, at, self->m + 4096, 5 * IOMMU_PAGE,
			       VFIO_DMA_MAP_FLAG_READ));
	EXPECT_VFIO("map", "iova=0x%lx size=0x5000 vaddr=0x%lx flags=0x1 ret=0", at, m + 4096);
	EXPECT_EQ(-EINVAL, do_map_at(&self->c, at + 1, self->m, IOMMU_PAGE, RW));
	EXPECT_VFIO("map", "iova=0x%lx size=0x1000 vaddr=0x%lx flags=0x3 ret=-22", at + 1, m);
	EXPECT_EQ(-EBUSY, do_unregister(&self->c, self->m, MEMORY));
	EXPECT_VFIO("unregister", "vaddr=0x%lx size=0x%lx ret=-16", m, MEMORY);
	EXPECT_EQ(5 * (long)IOMMU_PAGE, do_unmap_bytes(&self->c, at, MiB));
	EXPECT_VFIO("unmap", "iova=0x%lx size=0x100000 flags=0x0 unmapped=0x5000 ret=0", at);
	ASSERT_EQ(0, do_remove(&self->c, start));
	EXPECT_VFIO("window_remove", "start=0x%lx", (long)start);
	ASSERT_EQ(0, do_create(&self->c, 12, 64 * MiB, 1, &start));
	EXPECT_VFIO("window_create", "start=0x%lx size=0x4000000 page_shift=12 levels=1 ret=0",
		    (long)start);
	EXPECT_EQ(0, do_unregister(&self->c, self->m, MEMORY));
	EXPECT_VFIO("unregister", "vaddr=0x%lx size=0x%lx ret=0", m, MEMORY);
}

/*
 * A trace of the grace periods that this process waits for, and of where it lets others have
 * the CPU; -errno: no kprobes here.
 */
static int grace_begin(void)
{
	static const char probe[] = "p:vfio_spapr/gp synchronize_rcu\n"
				    "p:vfio_spapr/gp_now synchronize_rcu_expedited\n"
				    "p:vfio_spapr/gives_way __cond_resched\n";
	char pid[20];
	int fd, ret;

	if (access(TRACEFS "/instances", F_OK) && mount("none", TRACEFS, "tracefs", 0, NULL))
		return -errno;
	fd = open(TRACEFS "/kprobe_events", O_WRONLY | O_APPEND);
	if (fd < 0)
		return -errno;
	ret = write(fd, probe, strlen(probe)) < 0 ? -errno : 0;
	close(fd);
	snprintf(pid, sizeof(pid), "%d", getpid());
	return ret ?: trace_begin("vfio_spapr") ?: trace_write("set_event_pid", pid);
}

static void grace_end(void)
{
	int fd = open(TRACEFS "/kprobe_events", O_WRONLY | O_TRUNC);

	if (fd >= 0)
		close(fd);
}

/* Grace periods of the container's last close, with a window in each of @windows slots */
static int grace_periods(struct __test_metadata *_metadata, struct container *c, char *m,
			 int windows)
{
	__u64 start;
	int before;

	EXPECT_EQ(0, do_register(c, m, MEMORY));
	EXPECT_EQ(0, do_map(c, 0, m, MiB));
	if (windows > 1)
		EXPECT_EQ(0, do_create(c, 12, 64 * MiB, 1, &start));
	before = lines_with("gp: (synchronize_rcu");
	container_close(c);
	return lines_with("gp: (synchronize_rcu") - before;
}

/* All windows go with the wait for one grace period. */
TEST_F(trace, one_grace_period)
{
	int ret = grace_begin(), one, two;

	if (ret)
		SKIP(return, "no kprobe events: %s", strerror(-ret));
	one = grace_periods(_metadata, &self->c, self->m, 1);
	EXPECT_LE(1, one);
	ASSERT_EQ(0, container_open(&self->c, 0, VFIO_SPAPR_TCE_v2_IOMMU));
	two = grace_periods(_metadata, &self->c, self->m, 2);
	EXPECT_EQ(one, two);
	EXPECT_EQ(0, trace_write("events/vfio_spapr/enable", "0"));
	trace_end();
	grace_end();
}

/* A registration that fails half way waits for none, and bothers no other CPU for one. */
TEST_F(trace, failed_register)
{
	char *m = anonymous(MEMORY);
	int ret, i;

	ASSERT_NE(MAP_FAILED, m);
	ASSERT_EQ(0, munmap(m + MEMORY / 2, MEMORY / 2));
	ret = grace_begin();
	if (ret)
		SKIP(return, "no kprobe events: %s", strerror(-ret));
	for (i = 0; i < 10; i++)
		EXPECT_EQ(-EFAULT, do_register(&self->c, m, MEMORY));
	EXPECT_EQ(0, lines_with(": (synchronize_rcu"));
	/* The container's end does: the probes work. */
	ASSERT_EQ(0, do_register(&self->c, self->m, MEMORY));
	ASSERT_EQ(0, do_map(&self->c, 0, self->m, MiB));
	container_close(&self->c);
	EXPECT_LE(1, lines_with(": (synchronize_rcu"));
	EXPECT_EQ(0, trace_write("events/vfio_spapr/enable", "0"));
	trace_end();
	grace_end();
	munmap(m, MEMORY / 2);
}

/* How often the process gives way while a container with @n regions is released */
static int release_gives_way(struct __test_metadata *_metadata, struct container *c, char *m,
			     int n)
{
	const long page = sysconf(_SC_PAGESIZE);
	int ret, i;

	ret = container_open(c, 0, VFIO_SPAPR_TCE_v2_IOMMU);
	EXPECT_EQ(0, ret);
	for (i = 0; !ret && i < n; i++)
		ret = do_register(c, m + 2 * i * page, page);
	EXPECT_EQ(0, ret);
	EXPECT_EQ(0, trace_write("trace", ""));
	container_close(c);
	EXPECT_EQ(0, trace_write("tracing_on", "0"));
	ret = lines_with("gives_way: (__cond_resched");
	EXPECT_EQ(0, trace_write("tracing_on", "1"));
	return ret;
}

/* A container's end with many regions does not keep the CPU from others. */
TEST_F(trace, release_gives_way)
{
	enum { FEW = 2, MANY = 100 };
	char *m = anonymous(2 * MANY * sysconf(_SC_PAGESIZE));
	int ret, few, many;

	ASSERT_NE(MAP_FAILED, m);
	container_close(&self->c);
	ret = grace_begin();
	if (ret)
		SKIP(return, "no kprobe events: %s", strerror(-ret));
	few = release_gives_way(_metadata, &self->c, m, FEW);
	many = release_gives_way(_metadata, &self->c, m, MANY);
	EXPECT_LE(few + (MANY - FEW) / 2, many);
	EXPECT_EQ(0, trace_write("events/vfio_spapr/enable", "0"));
	trace_end();
	grace_end();
}

/* Virtual mode's, and which table is behind a LIOBN for which group */
TEST_F(trace, hypercalls)
{
	const unsigned long liobn = 0x80000001, page = MAP_FROM, start = self->c.window;
	struct vcpu *v = &self->vm.vcpu[0];
	int ret, table;
	bool rm;

	if (access("/dev/kvm", R_OK | W_OK))
		SKIP(return, "no /dev/kvm");
	ret = vm_create(&self->vm, 1, MEMORY);
	if (ret == -ENODEV)
		SKIP(return, "no KVM-HV here");
	ASSERT_EQ(0, ret);
	ASSERT_EQ(0, do_register(&self->c, self->vm.ram, MEMORY));
	ASSERT_EQ(0, do_map(&self->c, 0, self->vm.ram, IOMMU_PAGE));
	ret = trace_begin("kvm_vio");
	if (ret)
		SKIP(return, "no event tracing: %s", strerror(-ret));
	table = vm_create_table(&self->vm, liobn, 12, start, 4096);
	ASSERT_LE(0, table);
	ASSERT_EQ(0, vm_group_give(&self->vm, self->c.group, table));
	EXPECT_TRACED("kvm_tce_table", "liobn=0x%lx group=%d attached=1", liobn, groups[0]);

	rm = vcpu_real_mode(v, liobn, start);
	/* Nothing is there yet, so virtual mode does these on every machine. */
	EXPECT_EQ(H_SUCCESS, vcpu_hcall(v, H_PUT_TCE, liobn, start + 0x3000, page | TCE_RW, 0));
	EXPECT_TRACED("kvm_tce_hcall",
		      "H_PUT_TCE liobn=0x%lx ioba=0x%lx value=0x%lx npages=1 ret=0 lack=%s",
		      liobn, start + 0x3000, page | TCE_RW, rm ? "view" : "nothing");
	v->list[0] = htobe64(page | TCE_RW);
	EXPECT_EQ(H_SUCCESS, vcpu_hcall(v, H_PUT_TCE_INDIRECT, liobn, start, v->list_gpa, 2));
	EXPECT_TRACED("kvm_tce_hcall",
		      "H_PUT_TCE_INDIRECT liobn=0x%lx ioba=0x%lx value=0x%lx npages=2 ret=0 lack=%s",
		      liobn, start, (long)v->list_gpa, rm ? "sleep" : "nothing");
	EXPECT_EQ(H_SUCCESS, vcpu_hcall(v, H_STUFF_TCE, liobn, start, 0x770, 600));
	EXPECT_TRACED("kvm_tce_hcall",
		      "H_STUFF_TCE liobn=0x%lx ioba=0x%lx value=0x770 npages=600 ret=0 lack=%s",
		      liobn, start, rm ? "sleep" : "nothing");
	EXPECT_EQ(WENT_UP, vcpu_hcall(v, H_GET_TCE, liobn + 1, start, 0, 0));
	EXPECT_TRACED("kvm_tce_hcall",
		      "H_GET_TCE liobn=0x%lx ioba=0x%lx value=0x0 npages=1 ret=9999 lack=liobn",
		      liobn + 1, start);
	ASSERT_EQ(0, vm_group_del(&self->vm, self->c.group));
	EXPECT_TRACED("kvm_tce_table", "liobn=0x%lx group=%d attached=0", liobn, groups[0]);
	close(table);
}

int main(int argc, char **argv)
{
	spapr_tce_init(&argc, argv);
	return test_harness_run(argc, argv);
}
