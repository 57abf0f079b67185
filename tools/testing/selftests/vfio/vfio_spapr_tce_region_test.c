// SPDX-License-Identifier: GPL-2.0
/*
 * Pre-registered memory: the UAPI of the VFIO sPAPR TCE v2 container.
 *
 *	vfio_spapr_tce_region_test [-t TEST ...] [GROUP]
 *
 * Cases with two containers need a second group and are skipped without it. At the end of a
 * case the numbers of pinned and locked pages are those of its beginning.
 */
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/stat.h>

#include "vfio_spapr_memcg.h"
#include "vfio_spapr_tce.h"
#include "kselftest_harness.h"

/* Emulated machines are slow, with KASAN more so. */
#undef TEST_TIMEOUT_DEFAULT
#define TEST_TIMEOUT_DEFAULT 120

#define REGION		(16 * MiB)

FIXTURE(region) {
	struct container c;
	long page;
	long pinned;
	long locked;
	/* Three regions' worth; the one in the middle is the usual victim. */
	char *mem;
	char *m;
};

FIXTURE_SETUP(region)
{
	int ret;

	self->page = sysconf(_SC_PAGESIZE);
	self->pinned = pages_pinned_steady();
	self->locked = locked();
	ret = container_open(&self->c, 0, VFIO_SPAPR_TCE_v2_IOMMU);
	if (ret == -EOPNOTSUPP)
		SKIP(return, "no sPAPR TCE v2 container here");
	ASSERT_EQ(0, ret)
		TH_LOG("group %d: %s", groups[0], strerror(-ret));
	self->mem = mmap(NULL, 3 * REGION, PROT_READ | PROT_WRITE,
			 MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	ASSERT_NE(MAP_FAILED, self->mem);
	self->m = self->mem + REGION;
}

FIXTURE_TEARDOWN(region)
{
	container_close(&self->c);
	EXPECT_EQ(self->pinned, settle(pages_pinned, self->pinned));
	EXPECT_EQ(self->locked, settle(locked, self->locked));
}

/* A region that a device can still reach is not given up. */
TEST_F(region, unregister_while_mapped)
{
	ASSERT_EQ(0, do_register(&self->c, self->m, REGION));
	ASSERT_EQ(0, do_map(&self->c, 0, self->m, IOMMU_PAGE));
	EXPECT_EQ(-EBUSY, do_unregister(&self->c, self->m, REGION));
	EXPECT_EQ(-EBUSY, do_unregister(&self->c, self->m, REGION));
	/* It is as usable as before. */
	EXPECT_EQ(0, do_map(&self->c, IOMMU_PAGE, self->m + REGION - IOMMU_PAGE,
			    IOMMU_PAGE));
	EXPECT_EQ(0, do_unmap(&self->c, 0, IOMMU_PAGE));
	EXPECT_EQ(-EBUSY, do_unregister(&self->c, self->m, REGION));
	EXPECT_EQ(0, do_unmap(&self->c, IOMMU_PAGE, IOMMU_PAGE));
	EXPECT_EQ(0, do_unregister(&self->c, self->m, REGION));
	EXPECT_EQ(-ENOENT, do_unregister(&self->c, self->m, REGION));
	EXPECT_EQ(self->pinned, settle(pages_pinned, self->pinned));
}

/* TCEs replaced by others of the same and of another region. */
TEST_F(region, unregister_after_replacing)
{
	char *other = self->m + REGION;

	ASSERT_EQ(0, do_register(&self->c, self->m, REGION));
	ASSERT_EQ(0, do_register(&self->c, other, REGION));
	ASSERT_EQ(0, do_map(&self->c, 0, self->m, 16 * IOMMU_PAGE));
	EXPECT_EQ(0, do_map(&self->c, 0, self->m, 16 * IOMMU_PAGE));
	EXPECT_EQ(0, do_map(&self->c, 0, other, 15 * IOMMU_PAGE));
	EXPECT_EQ(-EBUSY, do_unregister(&self->c, self->m, REGION));
	EXPECT_EQ(0, do_map(&self->c, 15 * IOMMU_PAGE, other, IOMMU_PAGE));
	EXPECT_EQ(0, do_unregister(&self->c, self->m, REGION));
	EXPECT_EQ(-EBUSY, do_unregister(&self->c, other, REGION));
	EXPECT_EQ(0, do_unmap(&self->c, 0, 16 * IOMMU_PAGE));
	EXPECT_EQ(0, do_unregister(&self->c, other, REGION));
}

TEST_F(region, close_while_mapped)
{
	ASSERT_EQ(0, do_register(&self->c, self->m, REGION));
	ASSERT_EQ(0, do_map(&self->c, 0, self->m, MiB));
	container_close(&self->c);
	EXPECT_EQ(self->pinned, settle(pages_pinned, self->pinned));
}

/*
 * A map that fails half way leaves no reference. Where it fails at the first page,
 * bus address 0 is avoided: 6.12 invalidates "no entry before 0" there, for minutes.
 */
TEST_F(region, map_past_region)
{
	ASSERT_EQ(0, do_register(&self->c, self->m, REGION));
	EXPECT_GT(0, do_map(&self->c, 0, self->m + REGION - self->page,
			    2 * self->page));
	EXPECT_GT(0, do_map(&self->c, MiB, self->m - self->page, 2 * self->page));
	EXPECT_GT(0, do_map(&self->c, MiB, self->m + REGION, IOMMU_PAGE));
	EXPECT_EQ(0, do_unregister(&self->c, self->m, REGION));
	EXPECT_GT(0, do_map(&self->c, MiB, self->m, IOMMU_PAGE));
}

TEST_F(region, register_hole)
{
	unsigned long at[] = { 0, REGION / 2, REGION - self->page };
	unsigned int i;

	for (i = 0; i < ARRAY_SIZE(at); i++) {
		ASSERT_EQ(0, munmap(self->m + at[i], self->page));
		EXPECT_EQ(-EFAULT, do_register(&self->c, self->m, REGION))
			TH_LOG("hole at 0x%lx", at[i]);
		EXPECT_EQ(self->locked, settle(locked, self->locked));
		EXPECT_EQ(self->pinned, settle(pages_pinned, self->pinned));
		ASSERT_EQ(self->m + at[i],
			  mmap(self->m + at[i], self->page,
			       PROT_READ | PROT_WRITE,
			       MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0));
	}
	/* The failures have not left the range taken. */
	EXPECT_EQ(0, do_register(&self->c, self->m, REGION));
	EXPECT_EQ(0, do_unregister(&self->c, self->m, REGION));
}

TEST_F(region, register_readonly)
{
	ASSERT_EQ(0, mprotect(self->m, REGION, PROT_READ));
	EXPECT_EQ(-EFAULT, do_register(&self->c, self->m, REGION));
	EXPECT_EQ(self->locked, settle(locked, self->locked));
}

TEST_F(region, register_readonly_tail)
{
	ASSERT_EQ(0, mprotect(self->m + REGION - self->page, self->page,
			      PROT_READ));
	EXPECT_EQ(-EFAULT, do_register(&self->c, self->m, REGION));
	EXPECT_EQ(self->locked, settle(locked, self->locked));
}

TEST_F(region, register_zero)
{
	EXPECT_EQ(-EINVAL, do_register(&self->c, self->m, 0));
	EXPECT_EQ(-EINVAL, do_register(&self->c, NULL, 0));
	EXPECT_EQ(self->locked, locked());
}

TEST_F(region, register_misaligned)
{
	EXPECT_EQ(-EINVAL, do_register(&self->c, self->m + 1, REGION));
	EXPECT_EQ(-EINVAL, do_register(&self->c, self->m + self->page / 2, REGION));
	EXPECT_EQ(-EINVAL, do_register(&self->c, self->m, REGION - 1));
	EXPECT_EQ(-EINVAL, do_register(&self->c, self->m, self->page / 2));
	EXPECT_EQ(self->locked, locked());
}

TEST_F(region, register_wrap)
{
	unsigned long top = -self->page;

	EXPECT_EQ(-EINVAL, do_register(&self->c, (void *)top, self->page));
	EXPECT_EQ(-EINVAL, do_register(&self->c, (void *)top, 2 * self->page));
	EXPECT_EQ(-EINVAL, do_register(&self->c, self->m, top));
	EXPECT_EQ(self->locked, locked());
}

TEST_F(region, register_beyond_user_space)
{
	EXPECT_EQ(-EFAULT, do_register(&self->c, (void *)(1UL << 62), REGION));
	EXPECT_EQ(-EFAULT, do_register(&self->c, (void *)(0xcUL << 60), REGION));
	EXPECT_EQ(self->locked, settle(locked, self->locked));
}

TEST_F(region, overlap)
{
	struct {
		const char *how;
		long start, size;
		int expected;
	} t[] = {
		{ "inside",		self->page,	REGION - 2 * self->page, -EINVAL },
		{ "first page of it",	0,		self->page, -EINVAL },
		{ "last page of it",	REGION - self->page, self->page, -EINVAL },
		{ "same start, longer",	0,		REGION + self->page, -EINVAL },
		{ "same end, longer",	-self->page,	REGION + self->page, -EINVAL },
		{ "around",		-self->page,	REGION + 2 * self->page, -EINVAL },
		{ "into its start by one page",	self->page - REGION, REGION, -EINVAL },
		{ "into its end by one page",	REGION - self->page, REGION, -EINVAL },
		{ "touching its start",	-REGION,	REGION, 0 },
		{ "touching its end",	REGION,		REGION, 0 },
	};
	unsigned int i;

	ASSERT_EQ(0, do_register(&self->c, self->m, REGION));
	for (i = 0; i < ARRAY_SIZE(t); i++) {
		EXPECT_EQ(t[i].expected, do_register(&self->c, self->m + t[i].start,
						     t[i].size))
			TH_LOG("%s", t[i].how);
		if (t[i].expected) {
			EXPECT_EQ(self->locked + (long)REGION, locked());
		}
	}
	EXPECT_EQ(self->locked + 3 * (long)REGION, locked());
	EXPECT_EQ(0, do_unregister(&self->c, self->m, REGION));
	EXPECT_EQ(0, do_unregister(&self->c, self->m - REGION, REGION));
	EXPECT_EQ(0, do_unregister(&self->c, self->m + REGION, REGION));
}

/* An overlap is found before any page is touched. */
TEST_F(region, overlap_pins_nothing)
{
	long before;

	ASSERT_EQ(0, do_register(&self->c, self->m, REGION));
	before = pages_ever_pinned();
	EXPECT_EQ(-EINVAL, do_register(&self->c, self->m - REGION, 2 * REGION));
	EXPECT_EQ(before, pages_ever_pinned());
	EXPECT_EQ(-EINVAL, do_register(&self->c, self->m, self->page));
	EXPECT_EQ(before, pages_ever_pinned());
	EXPECT_EQ(0, do_unregister(&self->c, self->m, REGION));
}

TEST_F(region, same_twice)
{
	ASSERT_EQ(0, do_register(&self->c, self->m, REGION));
	EXPECT_EQ(-EBUSY, do_register(&self->c, self->m, REGION));
	EXPECT_EQ(self->locked + (long)REGION, locked());
	EXPECT_EQ(0, do_unregister(&self->c, self->m, REGION));
	EXPECT_EQ(-ENOENT, do_unregister(&self->c, self->m, REGION));
}

TEST_F(region, unregister_what_is_not)
{
	/* The first registration decides whose container it is. */
	EXPECT_EQ(-EPERM, do_unregister(&self->c, self->m, REGION));
	ASSERT_EQ(0, do_register(&self->c, self->m, REGION));
	EXPECT_EQ(-ENOENT, do_unregister(&self->c, self->m, REGION - self->page));
	EXPECT_EQ(-ENOENT, do_unregister(&self->c, self->m + self->page,
					 REGION - self->page));
	EXPECT_EQ(-ENOENT, do_unregister(&self->c, self->m, 2 * REGION));
	EXPECT_EQ(-EINVAL, do_unregister(&self->c, self->m + 1, REGION));
	EXPECT_EQ(-EINVAL, do_unregister(&self->c, self->m, REGION - 1));
	EXPECT_EQ(0, do_unregister(&self->c, self->m, REGION));
}

TEST_F(region, short_argsz)
{
	struct vfio_iommu_spapr_register_memory r = {
		.argsz = sizeof(r) - 1, .vaddr = (__u64)self->m, .size = REGION,
	};

	EXPECT_EQ(-EINVAL, result(ioctl(self->c.fd, VFIO_IOMMU_SPAPR_REGISTER_MEMORY, &r)));
	ASSERT_EQ(0, do_register(&self->c, self->m, REGION));
	EXPECT_EQ(-EINVAL, result(ioctl(self->c.fd, VFIO_IOMMU_SPAPR_UNREGISTER_MEMORY, &r)));
	EXPECT_EQ(0, do_unregister(&self->c, self->m, REGION));
	EXPECT_EQ(-EFAULT, result(ioctl(self->c.fd, VFIO_IOMMU_SPAPR_REGISTER_MEMORY, NULL)));
}

TEST_F(region, unknown_flags)
{
	struct vfio_iommu_spapr_register_memory r = {
		.argsz = sizeof(r), .vaddr = (__u64)self->m, .size = REGION,
	};
	int bit;

	ASSERT_EQ(0, do_register(&self->c, self->m + REGION, REGION));
	for (bit = 0; bit < 32; bit++) {
		r.flags = 1U << bit;
		r.vaddr = (__u64)self->m;
		EXPECT_EQ(-EINVAL,
			  result(ioctl(self->c.fd, VFIO_IOMMU_SPAPR_REGISTER_MEMORY, &r)));
		r.vaddr = (__u64)self->m + REGION;
		EXPECT_EQ(-EINVAL,
			  result(ioctl(self->c.fd, VFIO_IOMMU_SPAPR_UNREGISTER_MEMORY, &r)));
	}
	EXPECT_EQ(0, do_unregister(&self->c, self->m + REGION, REGION));
}

TEST_F(region, locked_vm_exact)
{
	int i;

	for (i = 0; i < 3; i++) {
		ASSERT_EQ(0, do_register(&self->c, self->m, REGION));
		EXPECT_EQ(self->locked + (long)REGION, locked());
		ASSERT_EQ(0, do_register(&self->c, self->m + REGION, self->page));
		EXPECT_EQ(self->locked + (long)REGION + self->page, locked());
		EXPECT_EQ(0, do_unregister(&self->c, self->m, REGION));
		EXPECT_EQ(self->locked + self->page,
			  settle(locked, self->locked + self->page));
		EXPECT_EQ(0, do_unregister(&self->c, self->m + REGION, self->page));
		EXPECT_EQ(self->locked, settle(locked, self->locked));
	}
}

/* What is being given back does not make the next registration fail. */
TEST_F(region, locked_vm_limit)
{
	struct rlimit limit;
	int i;

	limit.rlim_cur = self->locked + REGION;
	limit.rlim_max = self->locked + REGION;
	ASSERT_EQ(0, setrlimit(RLIMIT_MEMLOCK, &limit));
	ASSERT_EQ(0, drop_ipc_lock());

	EXPECT_EQ(-ENOMEM, do_register(&self->c, self->m, REGION + self->page));
	EXPECT_EQ(self->locked, locked());
	for (i = 0; i < 10; i++) {
		char *at = self->m + i % 2 * REGION;

		ASSERT_EQ(0, do_register(&self->c, at, REGION))
			TH_LOG("round %d", i);
		EXPECT_EQ(-ENOMEM, do_register(&self->c, self->mem, self->page));
		EXPECT_EQ(self->locked + (long)REGION, locked());
		ASSERT_EQ(0, do_unregister(&self->c, at, REGION));
	}
}

/*
 * What UNREGISTER gives back is there for whoever charges next, though its pages are still
 * being unpinned. Locked memory is at its limit in every round.
 */
TEST_F(region, locked_vm_at_once)
{
	__u64 start = 0;
	int i;

	ASSERT_EQ(0, limit_locked(REGION));
	for (i = 0; i < 60; i++) {
		ASSERT_EQ(0, do_register(&self->c, self->m, REGION))
			TH_LOG("round %d", i);
		EXPECT_EQ(-ENOMEM, do_register(&self->c, self->mem, self->page));
		ASSERT_EQ(0, do_unregister(&self->c, self->m, REGION));
		if (i % 2) {
			EXPECT_EQ(0, mlock(self->m, REGION))
				TH_LOG("mlock, round %d: %s", i, strerror(errno));
			EXPECT_EQ(0, munlock(self->m, REGION));
		} else {
			EXPECT_EQ(0, do_register(&self->c, self->m + REGION, REGION))
				TH_LOG("register, round %d", i);
			EXPECT_EQ(0, do_unregister(&self->c, self->m + REGION, REGION));
		}
	}

	/* Tables are charged, too, if only for what their entries tell about user memory. */
	ASSERT_EQ(0, do_register(&self->c, self->m, REGION));
	if (do_create(&self->c, 16, 4 * GiB, 1, &start) != -ENOMEM)
		SKIP(return, "no second window here: creation not tried");
	ASSERT_EQ(0, do_unregister(&self->c, self->m, REGION));
	for (i = 0; i < 20; i++) {
		EXPECT_EQ(0, do_create(&self->c, 16, 4 * GiB, 1, &start))
			TH_LOG("create, round %d", i);
		EXPECT_EQ(0, do_remove(&self->c, start));
		ASSERT_EQ(0, do_register(&self->c, self->m, REGION));
		ASSERT_EQ(0, do_unregister(&self->c, self->m, REGION));
	}
}

/* The same for levels that appear with the first entry in them */
TEST_F(region, locked_vm_at_growth)
{
	unsigned long limit, left;
	__u64 start = 0;
	int i, ret;

	/* An IOMMU page must lie in contiguous memory. */
	if (getpagesize() < 64 * KiB)
		SKIP(return, "pages of the kernel are smaller than the window's");
	/* A level of it is several pages of any size, for 2 GiB of the window. */
	ret = self->c.levels > 1 ? do_create(&self->c, 16, 64 * TiB, 2, &start) : -ENOSPC;
	if (ret)
		SKIP(return, "no window with levels here: %s", strerror(-ret));
	ASSERT_EQ(0, do_register(&self->c, self->mem, 64 * KiB));
	/* Room for levels once the region is gone, for none while it is there */
	limit = locked() + REGION;
	ASSERT_EQ(0, limit_locked(REGION));
	for (i = 0; i < 16; i++) {
		left = limit - locked();
		ASSERT_EQ(0, do_register(&self->c, self->m, left));
		EXPECT_EQ(-ENOMEM, do_map_at(&self->c, start + i * 4 * GiB, self->mem,
					     64 * KiB, RW))
			TH_LOG("round %d: nothing to charge", i);
		ASSERT_EQ(0, do_unregister(&self->c, self->m, left));
		EXPECT_EQ(0, do_map_at(&self->c, start + i * 4 * GiB, self->mem, 64 * KiB, RW))
			TH_LOG("round %d", i);
	}
	EXPECT_EQ(0, do_remove(&self->c, start));
}

/* ... and for ENABLE of a version 1 container, which charges its whole window */
TEST_F(region, locked_vm_at_enable)
{
	struct container d;
	int ret, i;

	ret = container_open(&d, 1, VFIO_SPAPR_TCE_IOMMU);
	if (ret == -ENODEV)
		SKIP(return, "needs a second group");
	ASSERT_EQ(0, ret);
	ASSERT_EQ(0, limit_locked(d.window_size));
	for (i = 0; i < 20; i++) {
		ASSERT_EQ(0, do_register(&self->c, self->m, REGION));
		EXPECT_EQ(-ENOMEM, do_enable(&d));
		ASSERT_EQ(0, do_unregister(&self->c, self->m, REGION));
		ASSERT_EQ(0, do_enable(&d))
			TH_LOG("round %d", i);
		EXPECT_EQ(0, do_disable(&d));
	}
	container_close(&d);
}

struct turns {
	struct container *c;
	char *m;
	int failed;
};

#define TURN	(2 * MiB)

static void *take_turns(void *arg)
{
	struct turns *t = arg;
	int i;

	for (i = 0; i < 300; i++) {
		char *m = t->m + i % 2 * TURN;

		if (do_register(t->c, m, TURN))
			t->failed++;
		else if (do_unregister(t->c, m, TURN))
			t->failed++;
	}
	return NULL;
}

/* Threads that register and unregister in turn, each its share of the limit, never fail. */
TEST_F(region, locked_vm_threads)
{
	struct turns t[4] = {};
	pthread_t thread[4];
	int n, i;

	ASSERT_EQ(0, limit_locked(4 * TURN));
	for (n = 2; n <= 4; n += 2) {
		if (n == 2)
			ASSERT_EQ(0, do_register(&self->c, self->m + 2 * REGION - 2 * TURN,
						 2 * TURN));
		for (i = 0; i < n; i++) {
			t[i] = (struct turns){ .c = &self->c,
						 .m = self->mem + i * 2 * TURN };
			ASSERT_EQ(0, pthread_create(&thread[i], NULL, take_turns, &t[i]));
		}
		for (i = 0; i < n; i++) {
			pthread_join(thread[i], NULL);
			EXPECT_EQ(0, t[i].failed)
				TH_LOG("%d threads", n);
		}
		if (n == 2)
			ASSERT_EQ(0, do_unregister(&self->c, self->m + 2 * REGION - 2 * TURN,
						   2 * TURN));
	}
}

/* A memory cgroup for this process and its children, with a limit; see memcg_leave() */
static int memcg_limit(const char *bytes)
{
	int ret = memcg_enter();

	if (!ret)
		ret = memcg_write(memcg_dir, "memory.max", bytes);
	return ret;
}

/* Sizes far beyond all memory, with nothing there or little, cost an error and nothing else. */
TEST_F(region, huge_sizes)
{
	char *nothing = mmap(NULL, 2 * REGION, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	int shift, ret, status;
	pid_t neighbour;

	ASSERT_NE(MAP_FAILED, nothing);
	/* The last of the three regions is followed by nothing. */
	ASSERT_EQ(0, mprotect(self->m + REGION, REGION, PROT_NONE));
	ret = memcg_limit("100000000");
	if (ret)
		SKIP(return, "no memory cgroup: %s", strerror(-ret));
	neighbour = fork();
	ASSERT_LE(0, neighbour);
	if (!neighbour) {
		/* It has the group, too. */
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		pause();
		_exit(0);
	}
	for (shift = 40; shift < 52; shift++) {
		EXPECT_EQ(-EFAULT, do_register(&self->c, nothing, 1UL << shift))
			TH_LOG("2^%d bytes, nothing there", shift);
		EXPECT_EQ(-EFAULT, do_register(&self->c, self->mem, 1UL << shift))
			TH_LOG("2^%d bytes, little there", shift);
		EXPECT_EQ(self->locked, locked());
	}
	EXPECT_EQ(0, waitpid(neighbour, &status, WNOHANG))
		TH_LOG("a neighbour was killed");
	kill(neighbour, SIGKILL);
	waitpid(neighbour, &status, 0);
	memcg_leave();
}

/* What a child that registers more than there is leaves behind when it is killed */
TEST_F(region, huge_all_there)
{
	unsigned long size = 1UL << 40;
	struct timespec from, to;
	int ret, status, i, ms;
	struct container c;
	pid_t pid;
	char *m;

	container_close(&self->c);
	m = mmap(NULL, size, PROT_READ | PROT_WRITE,
		 MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	ASSERT_NE(MAP_FAILED, m);
	ret = memcg_limit("200000000");
	if (ret)
		SKIP(return, "no memory cgroup: %s", strerror(-ret));
	/*
	 * Killed for want of memory, and by somebody, who then does not wait until all is pinned:
	 * that takes until no memory is left. To unpin what is there takes seconds at most.
	 */
	for (i = 0; i < 2; i++) {
		pid = fork();
		ASSERT_LE(0, pid);
		if (!pid) {
			if (container_open(&c, 0, VFIO_SPAPR_TCE_v2_IOMMU))
				_exit(1);
			do_register(&c, m, size);
			_exit(2);
		}
		for (ms = 0; i && pages_pinned() < self->pinned + 100 && ms < SETTLE_MS; ms++)
			usleep(1000);
		clock_gettime(CLOCK_MONOTONIC, &from);
		if (i)
			kill(pid, SIGKILL);
		ASSERT_EQ(pid, waitpid(pid, &status, 0));
		clock_gettime(CLOCK_MONOTONIC, &to);
		EXPECT_TRUE(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL)
			TH_LOG("status %x", status);
		if (i) {
			ms = (to.tv_sec - from.tv_sec) * 1000 +
			     (to.tv_nsec - from.tv_nsec) / 1000000;
			EXPECT_GE(20000, ms);
		}
		EXPECT_EQ(self->pinned, settle(pages_pinned, self->pinned));
	}
	memcg_leave();
	/* At the limit it is told at once. */
	ASSERT_EQ(0, container_open(&self->c, 0, VFIO_SPAPR_TCE_v2_IOMMU));
	ASSERT_EQ(0, limit_locked(REGION));
	EXPECT_EQ(-ENOMEM, do_register(&self->c, m, size));
	EXPECT_EQ(self->locked, locked());
	munmap(m, size);
}

/* The container is of one mm: a child that inherits it can't pin its own memory. */
TEST_F(region, other_process)
{
	int status;
	pid_t pid;

	ASSERT_EQ(0, do_register(&self->c, self->m, REGION));
	pid = fork();
	ASSERT_LE(0, pid);
	if (!pid) {
		if (do_register(&self->c, self->mem, REGION) != -EPERM)
			_exit(1);
		if (do_unregister(&self->c, self->m, REGION) != -EPERM)
			_exit(2);
		_exit(0);
	}
	ASSERT_EQ(pid, waitpid(pid, &status, 0));
	EXPECT_EQ(0, status);
	EXPECT_EQ(0, do_unregister(&self->c, self->m, REGION));
}

/* One region of the process, known to two containers. */
TEST_F(region, two_containers)
{
	struct container d;
	int ret;

	ret = container_open(&d, 1, VFIO_SPAPR_TCE_v2_IOMMU);
	if (ret == -ENODEV)
		SKIP(return, "needs a second group");
	ASSERT_EQ(0, ret);
	ASSERT_EQ(0, do_register(&self->c, self->m, REGION));
	EXPECT_EQ(-EINVAL, do_register(&d, self->m, self->page));
	EXPECT_EQ(-ENOENT, do_unregister(&d, self->m, REGION));
	ASSERT_EQ(0, do_register(&d, self->m, REGION));
	EXPECT_EQ(-EBUSY, do_register(&d, self->m, REGION));
	EXPECT_EQ(self->locked + (long)REGION, locked());

	/* Either may go first, and the other still maps. */
	EXPECT_EQ(0, do_unregister(&self->c, self->m, REGION));
	EXPECT_EQ(0, do_map(&d, 0, self->m, IOMMU_PAGE));
	EXPECT_EQ(-EBUSY, do_unregister(&d, self->m, REGION));
	EXPECT_EQ(0, do_unmap(&d, 0, IOMMU_PAGE));
	ASSERT_EQ(0, do_register(&self->c, self->m, REGION));
	EXPECT_EQ(0, do_map(&self->c, 0, self->m, IOMMU_PAGE));
	container_close(&d);
	EXPECT_EQ(-EBUSY, do_unregister(&self->c, self->m, REGION));
	EXPECT_EQ(0, do_unmap(&self->c, 0, IOMMU_PAGE));
	EXPECT_EQ(0, do_unregister(&self->c, self->m, REGION));
}

/* The container that registered is closed: what another one maps stays until it is unmapped. */
TEST_F(region, orphan)
{
	struct container d;
	long before;
	int ret;

	ret = container_open(&d, 1, VFIO_SPAPR_TCE_v2_IOMMU);
	if (ret == -ENODEV)
		SKIP(return, "needs a second group");
	ASSERT_EQ(0, ret);
	ASSERT_EQ(0, do_register(&d, self->mem, self->page));
	ASSERT_EQ(0, do_register(&self->c, self->m, REGION));
	ASSERT_EQ(0, do_map(&d, 0, self->m, 2 * IOMMU_PAGE));
	before = locked();
	container_close(&self->c);
	EXPECT_EQ(before, locked());
	EXPECT_LE(self->pinned + (long)(REGION / self->page), pages_pinned());
	/* It can still be mapped, but whose it is can't be said any more. */
	EXPECT_EQ(0, do_map(&d, 2 * IOMMU_PAGE, self->m, IOMMU_PAGE));
	EXPECT_EQ(-EBUSY, do_register(&d, self->m, REGION));
	EXPECT_EQ(-EINVAL, do_register(&d, self->m, self->page));
	EXPECT_EQ(0, do_unmap(&d, 0, 2 * IOMMU_PAGE));
	EXPECT_EQ(before, locked());
	EXPECT_EQ(0, do_unmap(&d, 2 * IOMMU_PAGE, IOMMU_PAGE));
	before -= REGION;
	EXPECT_EQ(before, settle(locked, before));
	ASSERT_EQ(0, do_register(&d, self->m, REGION));
	container_close(&d);
}

/* @n pages at @m, which a TCE keeps after all have unregistered them; then other memory there */
static void refuse(struct __test_metadata *_metadata, struct container *c, char *m,
		   unsigned long size, unsigned long at)
{
	ASSERT_EQ(0, do_register(c, m, size));
	ASSERT_EQ(0, do_map(c, at, m, IOMMU_PAGE));
	ASSERT_EQ(-EBUSY, do_unregister(c, m, size));
	ASSERT_EQ(m, mmap(m, size, PROT_READ | PROT_WRITE,
			  MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0));
}

/*
 * A guest gives memory back that its TCEs lead to, and then gets memory of another size, which
 * happens to be at some of the same addresses.
 */
TEST_F(region, refused_then_others)
{
	const unsigned long page = self->page;
	struct container *c = &self->c;
	char *m = anonymous(64 * page);
	long before;

	ASSERT_NE(MAP_FAILED, m);
	/* The default window is there, and charged. */
	ASSERT_EQ(0, do_register(c, m, page));
	ASSERT_EQ(0, do_unmap(c, 0, IOMMU_PAGE));
	ASSERT_EQ(0, do_unregister(c, m, page));
	before = locked();
	/* A part of it */
	refuse(_metadata, c, m, 16 * page, 0);
	ASSERT_EQ(0, do_register(c, m + 4 * page, 8 * page));
	EXPECT_EQ(0, do_unmap_bytes(c, c->window, IOMMU_PAGE));
	EXPECT_EQ(-ENOENT, do_unregister(c, m, 16 * page));
	EXPECT_EQ(0, do_unregister(c, m + 4 * page, 8 * page));
	/* It and more */
	refuse(_metadata, c, m + 20 * page, 4 * page, 0);
	ASSERT_EQ(0, do_register(c, m + 16 * page, 16 * page));
	EXPECT_EQ(0, do_unmap_bytes(c, c->window, IOMMU_PAGE));
	/* Two of them, one only in part */
	refuse(_metadata, c, m + 34 * page, 4 * page, 0);
	refuse(_metadata, c, m + 44 * page, 8 * page, IOMMU_PAGE);
	ASSERT_EQ(0, do_register(c, m + 32 * page, 16 * page));
	EXPECT_EQ(0, do_unmap_bytes(c, c->window, 2 * IOMMU_PAGE));
	/* What is in use stays. */
	EXPECT_EQ(-EINVAL, do_register(c, m + 16 * page, page));
	EXPECT_EQ(0, do_unregister(c, m + 16 * page, 16 * page));
	EXPECT_EQ(0, do_unregister(c, m + 32 * page, 16 * page));
	EXPECT_EQ(before, locked());
	munmap(m, 64 * page);
}

/* Leave without tidying up, or as DPDK does; a child's part. */
static int leave(bool map, bool unregister)
{
	struct container c;
	char *m;
	int ret;

	ret = container_open(&c, 0, VFIO_SPAPR_TCE_v2_IOMMU);
	if (ret)
		return ret == -EOPNOTSUPP ? KSFT_SKIP : 10;
	m = mmap(NULL, 2 * REGION, PROT_READ | PROT_WRITE,
		 MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (m == MAP_FAILED || do_register(&c, m, REGION) ||
	    do_register(&c, m + REGION, REGION))
		return 11;
	if (map && (do_map(&c, 0, m, REGION) ||
		    do_map(&c, REGION, m + REGION, REGION)))
		return 12;
	if (unregister) {
		/* DPDK unmaps iova 0, size = the address it means. */
		do_unmap(&c, 0, (unsigned long)m);
		do_unregister(&c, m, REGION);
		do_unmap(&c, 0, (unsigned long)m + REGION);
		do_unregister(&c, m + REGION, REGION);
	}
	return 0;
}

static void check_leaving(struct __test_metadata *_metadata, bool map,
			  bool unregister)
{
	long pinned = pages_pinned_steady();
	int status;
	pid_t pid;

	pid = fork();
	ASSERT_LE(0, pid);
	if (!pid)
		_exit(leave(map, unregister));
	ASSERT_EQ(pid, waitpid(pid, &status, 0));
	ASSERT_TRUE(WIFEXITED(status));
	if (WEXITSTATUS(status) == KSFT_SKIP)
		SKIP(return, "no sPAPR TCE v2 container here");
	EXPECT_EQ(0, WEXITSTATUS(status));
	EXPECT_EQ(pinned, settle(pages_pinned, pinned));
}

/* ---- what many regions cost ---- */

#define MANY_REGIONS	4096
#define FEW_REGIONS	(MANY_REGIONS / 8)

static long cpu_ns(void)
{
	struct timespec t;

	clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
	return t.tv_sec * 1000000000L + t.tv_nsec;
}

/* What closing a container with @n regions, each of one page, costs this thread; or -errno */
static long release_ns(unsigned int n)
{
	unsigned long page = sysconf(_SC_PAGESIZE);
	struct container c;
	unsigned int i;
	long ret;
	char *m;

	ret = container_open(&c, 0, VFIO_SPAPR_TCE_v2_IOMMU);
	if (ret)
		return ret;
	m = anonymous(2 * MANY_REGIONS * page);
	for (i = 0; i < n && !ret; i++)
		ret = do_register(&c, m + 2 * i * page, page);
	if (!ret)
		ret = cpu_ns();
	container_close(&c);
	if (ret > 0)
		ret = cpu_ns() - ret;
	munmap(m, 2 * MANY_REGIONS * page);
	return ret;
}

/* A container with eight times as many regions costs eight times as much at its end. */
TEST(release_scales)
{
	long none, few, many;

	if (!getenv("ICOUNT"))
		SKIP(return, "no machine whose time counts instructions");
	none = release_ns(0);
	if (none == -EOPNOTSUPP)
		SKIP(return, "no sPAPR TCE v2 container here");
	few = release_ns(FEW_REGIONS);
	many = release_ns(MANY_REGIONS);
	ASSERT_LT(0, none);
	ASSERT_LT(none, few);
	ASSERT_LT(few, many);
	few = (few - none) / FEW_REGIONS;
	many = (many - none) / MANY_REGIONS;
	TH_LOG("%ld instructions for one of %u regions, %ld for one of %u", few, FEW_REGIONS, many,
	       MANY_REGIONS);
	EXPECT_GT(few * 3 / 2, many);
}

TEST(exit_while_registered)
{
	check_leaving(_metadata, false, false);
}

TEST(exit_while_mapped)
{
	check_leaving(_metadata, true, false);
}

TEST(exit_as_dpdk_does)
{
	check_leaving(_metadata, true, true);
}

#define VIEW	"/sys/kernel/debug/powerpc/mm_iommu"

struct view {
	int pid;
	unsigned long ua, size, pages, chunks, used, metadata;
	long mapped;
};

static bool view_line(const char *line, struct view *v)
{
	return sscanf(line, "%d %*s 0x%lx 0x%lx %lu %lu %lu %ld %lu", &v->pid, &v->ua,
		      &v->size, &v->pages, &v->chunks, &v->used, &v->mapped,
		      &v->metadata) == 8;
}

/* What the kernel tells about our region at @ua: 1, or 0 if it is not there. */
static int view_find(char *ua, struct view *v)
{
	FILE *f = fopen(VIEW, "r");
	char line[300];
	int found = 0;

	while (f && !found && fgets(line, sizeof(line), f))
		found = view_line(line, v) && v->pid == getpid() &&
			v->ua == (unsigned long)ua;
	if (f)
		fclose(f);
	return found;
}

TEST_F(region, view)
{
	struct view v = {};
	struct stat st;
	int status;
	pid_t pid;

	if (stat(VIEW, &st))
		SKIP(return, "no " VIEW);
	EXPECT_EQ(0400, st.st_mode & 07777);
	EXPECT_EQ(0, st.st_uid);
	pid = fork();
	ASSERT_LE(0, pid);
	if (!pid)
		_exit(setuid(65534) || open(VIEW, O_RDONLY) >= 0);
	ASSERT_EQ(pid, waitpid(pid, &status, 0));
	EXPECT_EQ(0, status);

	EXPECT_EQ(0, view_find(self->m, &v));
	ASSERT_EQ(0, do_register(&self->c, self->m, REGION));
	ASSERT_EQ(1, view_find(self->m, &v));
	EXPECT_EQ(REGION, v.size);
	EXPECT_EQ(REGION / self->page, v.pages);
	EXPECT_EQ(1, v.used);
	EXPECT_EQ(1, v.mapped);
	EXPECT_LT(0, v.metadata);
	ASSERT_EQ(0, do_map(&self->c, 0, self->m, 3 * IOMMU_PAGE));
	ASSERT_EQ(1, view_find(self->m, &v));
	EXPECT_EQ(4, v.mapped);
	EXPECT_EQ(0, do_unmap(&self->c, 0, 3 * IOMMU_PAGE));
	EXPECT_EQ(0, do_unregister(&self->c, self->m, REGION));
	EXPECT_EQ(0, view_find(self->m, &v));
}

/* Regions come and go between two reads of a list that is longer than a read, and than a page. */
TEST_F(region, view_in_pieces)
{
	enum { MANY = 1500 };
	unsigned long page = self->page, last = 0;
	int fd, i, found = 0, order = 0;
	char *m, *line, *end, text[600];
	struct view v;
	ssize_t n, have = 0;

	fd = open(VIEW, O_RDONLY);
	if (fd < 0)
		SKIP(return, "no " VIEW);
	m = anonymous(2 * MANY_REGIONS * page);
	ASSERT_NE(MAP_FAILED, m);
	for (i = 0; i < MANY; i++)
		ASSERT_EQ(0, do_register(&self->c, m + 2 * i * page, page));
	for (i = 0; (n = read(fd, text + have, sizeof(text) - 1 - have)) > 0; i++) {
		text[have + n] = 0;
		for (line = text; (end = strchr(line, '\n')); line = end + 1) {
			*end = 0;
			if (!view_line(line, &v) || v.pid != getpid())
				continue;
			order += v.ua <= last;
			last = v.ua;
			found += (v.ua - (unsigned long)m) / page % 2 == 0;
		}
		have = strlen(line);
		memmove(text, line, have + 1);
		/* Those between: they must neither hide nor repeat the others. */
		if (i % 2 == 0 && i / 2 < MANY) {
			EXPECT_EQ(0, do_register(&self->c, m + (i + 1) * page, page));
		}
	}
	close(fd);
	EXPECT_EQ(0, n);
	EXPECT_EQ(MANY, found);
	EXPECT_EQ(0, order);
}

/* Somebody reads while one process after the other comes and goes. */
TEST(view_while_leaving)
{
	time_t end = time(NULL) + 15;	/* enough for a kernel that is slow, KCSAN's say */
	int i, status, pipes[2];
	char line[300], c = 0;
	long lines[2] = {}, reads;
	bool none = false;
	struct view v;
	pid_t pid, reader;
	FILE *f;

	if (access(VIEW, R_OK))
		SKIP(return, "no " VIEW);
	ASSERT_EQ(0, pipe(pipes));
	reader = fork();
	ASSERT_LE(0, reader);
	if (!reader) {
		/* Until the other end of the pipe is closed */
		close(pipes[1]);
		fcntl(pipes[0], F_SETFL, O_NONBLOCK);
		for (reads = 0; read(pipes[0], &c, 1) < 0; reads++) {
			f = fopen(VIEW, "r");
			while (f && fgets(line, sizeof(line), f))
				lines[view_line(line, &v)]++;
			if (f)
				fclose(f);
		}
		/* Regions were seen, and but for the header nothing else. */
		_exit(!lines[1] || lines[0] != reads);
	}
	for (i = 0; i < 40 && time(NULL) < end; i++) {
		pid = fork();
		ASSERT_LE(0, pid);
		if (!pid)
			_exit(leave(i & 1, false));
		ASSERT_EQ(pid, waitpid(pid, &status, 0));
		ASSERT_TRUE(WIFEXITED(status));
		none = WEXITSTATUS(status) == KSFT_SKIP;
		if (none)
			break;
		EXPECT_EQ(0, WEXITSTATUS(status));
	}
	close(pipes[0]);
	close(pipes[1]);
	ASSERT_EQ(reader, waitpid(reader, &status, 0));
	if (none)
		SKIP(return, "no sPAPR TCE v2 container here");
	EXPECT_EQ(0, status);
}

TEST(no_regions_in_v1)
{
	struct container c;
	char *m;
	int ret;

	ret = container_open(&c, 0, VFIO_SPAPR_TCE_IOMMU);
	if (ret == -EOPNOTSUPP)
		SKIP(return, "no sPAPR TCE container here");
	ASSERT_EQ(0, ret);
	m = mmap(NULL, REGION, PROT_READ | PROT_WRITE,
		 MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	ASSERT_NE(MAP_FAILED, m);
	EXPECT_EQ(-ENOTTY, do_register(&c, m, REGION));
	EXPECT_EQ(-ENOTTY, do_unregister(&c, m, REGION));
	container_close(&c);
}

/*
 * The last, because a kernel with the defect may not come to its end.
 *
 * One thread maps a page of a region while another takes the region away, two pages per
 * round that nobody has used before. Who comes a little earlier is different every round.
 */
#define ROUNDS		1500
#define SWEEP		1024	/* turns of an empty loop */

struct race {
	struct container *c;
	char *m;
	long page;
	unsigned int begun, done;	/* rounds */
	int ret;
};

static void wait_until(unsigned int *at, unsigned int round)
{
	unsigned int n;

	for (n = 1; __atomic_load_n(at, __ATOMIC_ACQUIRE) != round; n++)
		if (n % 65536 == 0)
			sched_yield();
}

/* Odd rounds let one wait, even ones the other. */
static void handicap(unsigned int round, unsigned int who)
{
	unsigned int n = round % 2 == who ? round * 37 % SWEEP : 0;

	while (n--)
		__asm__ volatile ("");
}

static void *take_away(void *arg)
{
	struct race *r = arg;
	unsigned int round;

	for (round = 1; round <= ROUNDS; round++) {
		wait_until(&r->begun, round);
		handicap(round, 1);
		r->ret = do_unregister(r->c, r->m + 2 * round * r->page, r->page);
		__atomic_store_n(&r->done, round, __ATOMIC_RELEASE);
	}
	return NULL;
}

/* A page that was mapped is in a region, until it is unmapped. */
TEST_F(region, map_against_unregister)
{
	struct race r = { .c = &self->c, .page = self->page };
	unsigned long size = 2 * (ROUNDS + 1) * self->page;
	long mapped = 0, gone = 0, lost = 0;
	unsigned int round;
	pthread_t other;
	char *m;
	int ret;

	r.m = anonymous(size);
	ASSERT_NE(MAP_FAILED, r.m);
	ASSERT_EQ(0, pthread_create(&other, NULL, take_away, &r));
	for (round = 1; round <= ROUNDS; round++) {
		m = r.m + 2 * round * r.page;
		EXPECT_EQ(0, do_register(&self->c, m, r.page));
		__atomic_store_n(&r.begun, round, __ATOMIC_RELEASE);
		handicap(round, 0);
		ret = do_map(&self->c, 0, m, IOMMU_PAGE);
		wait_until(&r.done, round);
		gone += !r.ret;
		if (!ret) {
			mapped++;
			/* A TCE keeps its region. */
			lost += !r.ret;
			do_unmap(&self->c, 0, IOMMU_PAGE);
		}
		if (r.ret)
			do_unregister(&self->c, m, r.page);
	}
	pthread_join(other, NULL);
	TH_LOG("%ld times mapped, %ld times taken away", mapped, gone);
	EXPECT_EQ(0, lost)
		TH_LOG("MAP_DMA said 0 and had mapped nothing: %ld times", lost);
	munmap(r.m, size);
}

int main(int argc, char **argv)
{
	spapr_tce_init(&argc, argv);
	return test_harness_run(argc, argv);
}
