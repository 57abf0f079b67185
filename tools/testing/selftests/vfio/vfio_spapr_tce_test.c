// SPDX-License-Identifier: GPL-2.0
/*
 * The ioctls of the VFIO sPAPR TCE containers: accepted and refused arguments, errors,
 * charges, and that a refused call changes nothing.
 *
 *	vfio_spapr_tce_test [-f FIXTURE] [-F FIXTURE] [-t TEST] [GROUP]
 *
 *	uapi	arguments: sizes, flags, alignment, order, whose process; v1 and v2
 *	map	counts of pins and references, bytes unmapped; v1 and v2
 *	create	arguments and charges of windows; v2
 *	shape	windows of every page size the PHB reports, 1 to 5 levels; v2
 *	group	several groups in a container
 *	second	a group that joins a container which has no window yet
 *	waits	a page fault that does not end: which calls wait for it, and which must not
 *	limit	at RLIMIT_MEMLOCK: what was uncharged can be charged again immediately
 *	sparse	windows of 2^25 entries; v2
 *	largest	windows of 2^31 entries; v2
 *	beyond	over the end of the default window; v1 and v2
 *
 * 'largest' and 'beyond' run last and can be left out: the first takes Linux 6.12 many
 * minutes, and the second makes it write past its table.
 */
#define _GNU_SOURCE
#include <poll.h>
#include <pthread.h>

#include "vfio_spapr_memcg.h"
#include "vfio_spapr_tce.h"
#include <linux/userfaultfd.h>
#include "kselftest_harness.h"

/* Emulated machines are slow. */
#undef TEST_TIMEOUT_DEFAULT
#define TEST_TIMEOUT_DEFAULT 120

#define MEMORY		(16 * MiB)
#define SECOND_START	(1ULL << 59)	/* bus address of a second window */
#define LEVEL_SHIFT_MAX	21		/* entries in 16 MiB, the buddy allocator's most */
#define UNMAP_SECONDS	10

/* An address in no window, or a range not within one. */
static bool refused(int ret)
{
	return ret == -EINVAL || ret == -ENXIO;
}

/*
 * Linux up to 6.12 answers UNMAP_DMA with the size it was given. That fails where it is
 * the point (map.unmap_reports_bytes), not wherever else the bytes are looked at.
 */
static bool reports_bytes = true;

static void probe_unmap(void)
{
	long pinned = pages_pinned();
	struct container c;
	int ret;

	if (container_open(&c, 0, VFIO_SPAPR_TCE_v2_IOMMU)) {
		ret = container_open(&c, 0, VFIO_SPAPR_TCE_IOMMU);
		if (ret || do_enable(&c))
			return;
	} else {
		char *m = anonymous(64 * KiB);

		if (m == MAP_FAILED || do_register(&c, m, 64 * KiB))
			return;
	}
	reports_bytes = do_unmap_bytes(&c, c.window, IOMMU_PAGE) == 0;
	container_close(&c);
	settle(pages_pinned, pinned);
	if (!reports_bytes)
		ksft_print_msg("UNMAP_DMA does not tell what it unmapped\n");
}

/* What is mapped in a range, found by unmapping it. */
#define EXPECT_UNMAP(bytes, c, iova, size) do {				\
	long __size = size;						\
									\
	EXPECT_EQ(reports_bytes ? (long)(bytes) : __size,		\
		  do_unmap_bytes(c, iova, __size));			\
} while (0)

/* Runs @what in a child; its exit status. */
#define in_child(what) ({					\
	int __status = -1;					\
	pid_t __pid = fork();					\
								\
	if (!__pid)						\
		_exit(what);					\
	waitpid(__pid, &__status, 0);				\
	WIFEXITED(__status) ? WEXITSTATUS(__status) : -1;	\
})

/* A container that may map MEMORY at @m, in its default window. */
struct ready {
	struct container c;
	long page;
	long pinned;
	long locked;
	char *m;
};

/* Returns why not, or NULL; *error when it is no reason to skip. */
static const char *get_ready(struct ready *r, int type, int *error)
{
	*error = 0;
	r->page = sysconf(_SC_PAGESIZE);
	r->pinned = pages_pinned_steady();
	r->locked = locked();
	*error = container_open(&r->c, 0, type);
	if (*error == -EOPNOTSUPP) {
		*error = 0;
		return "no such sPAPR TCE container here";
	}
	if (*error)
		return "container_open";
	r->m = anonymous(MEMORY);
	if (r->m == MAP_FAILED)
		*error = -ENOMEM;
	else if (type == VFIO_SPAPR_TCE_IOMMU)
		*error = do_enable(&r->c);
	else
		*error = do_register(&r->c, r->m, MEMORY);
	return *error ? "enable or register" : NULL;
}

/* A window's pages for any memory: no larger than the kernel's */
#define PAGE_SHIFT_OF(self)	((unsigned int)__builtin_ctzl((self)->r.page))

#define GET_READY(r, type) do {						\
	int __error;							\
	const char *__why = get_ready(r, type, &__error);		\
									\
	if (__why && !__error)						\
		SKIP(return, "%s", __why);				\
	ASSERT_EQ(0, __error)						\
		TH_LOG("group %d: %s: %s", groups[0], __why, strerror(-__error)); \
} while (0)

static void expect_as_before(struct __test_metadata *_metadata, struct ready *r)
{
	container_close(&r->c);
	EXPECT_EQ(r->pinned, settle(pages_pinned, r->pinned));
	EXPECT_EQ(r->locked, settle(locked, r->locked));
}

/* What a case leaves behind that is skipped after all, the next one must not see. */
#define SKIP_READY(r, fmt, ...) do {					\
	container_close(&(r)->c);					\
	settle(pages_pinned, (r)->pinned);				\
	SKIP(return, fmt, ##__VA_ARGS__);				\
} while (0)

FIXTURE(uapi) {
	struct ready r;
	struct container *c;
	char *m;
};

FIXTURE_VARIANT(uapi) {
	int type;
};

FIXTURE_VARIANT_ADD(uapi, v1) { .type = VFIO_SPAPR_TCE_IOMMU };
FIXTURE_VARIANT_ADD(uapi, v2) { .type = VFIO_SPAPR_TCE_v2_IOMMU };

FIXTURE_SETUP(uapi)
{
	GET_READY(&self->r, variant->type);
	self->c = &self->r.c;
	self->m = self->r.m;
}

FIXTURE_TEARDOWN(uapi)
{
	expect_as_before(_metadata, &self->r);
}

TEST_F(uapi, check_extension)
{
	int eeh, i, unknown[] = { 0, VFIO_TYPE1_IOMMU, VFIO_TYPE1v2_IOMMU, 100,
				  0x7fffffff, -1 };

	EXPECT_EQ(1, ioctl(self->c->fd, VFIO_CHECK_EXTENSION, VFIO_SPAPR_TCE_IOMMU));
	EXPECT_EQ(1, ioctl(self->c->fd, VFIO_CHECK_EXTENSION, VFIO_SPAPR_TCE_v2_IOMMU));
	eeh = ioctl(self->c->fd, VFIO_CHECK_EXTENSION, VFIO_EEH);
	EXPECT_TRUE(eeh == 0 || eeh == 1);
	for (i = 0; i < (int)ARRAY_SIZE(unknown); i++) {
		EXPECT_EQ(0, ioctl(self->c->fd, VFIO_CHECK_EXTENSION, unknown[i]))
			TH_LOG("extension %d", unknown[i]);
	}
}

TEST_F(uapi, get_info)
{
	struct vfio_iommu_spapr_tce_info info = { .argsz = sizeof(info), .flags = ~0U };

	ASSERT_EQ(0, do_get_info(self->c->fd, &info));
	EXPECT_EQ(sizeof(info), info.argsz);
	EXPECT_NE(0, info.dma32_window_size);
	if (variant->type == VFIO_SPAPR_TCE_IOMMU) {
		EXPECT_EQ(0, info.flags);
		EXPECT_EQ(0, info.ddw.pgsizes);
		EXPECT_EQ(0, info.ddw.levels);
		EXPECT_EQ(0, info.ddw.max_dynamic_windows_supported);
	} else {
		EXPECT_EQ(VFIO_IOMMU_SPAPR_INFO_DDW, info.flags);
		EXPECT_NE(0, info.ddw.pgsizes & IOMMU_PAGE);
		EXPECT_LE(1, info.ddw.levels);
		EXPECT_LE(1, info.ddw.max_dynamic_windows_supported);
	}
}

TEST_F(uapi, get_info_argsz)
{
	const unsigned int least = offsetof(struct vfio_iommu_spapr_tce_info, ddw);
	struct {
		struct vfio_iommu_spapr_tce_info info;
		char after[64];
	} a;
	unsigned int argsz, i;

	for (argsz = 0; argsz < least; argsz++) {
		memset(&a, 0x5a, sizeof(a));
		a.info.argsz = argsz;
		EXPECT_EQ(-EINVAL, do_get_info(self->c->fd, &a.info));
	}
	/* As long as it once was: what came later is left alone. */
	for (; argsz < sizeof(a.info); argsz++) {
		memset(&a, 0x5a, sizeof(a));
		a.info.argsz = argsz;
		EXPECT_EQ(0, do_get_info(self->c->fd, &a.info));
		EXPECT_EQ(self->c->window_size, a.info.dma32_window_size);
		for (i = least; i < sizeof(a); i++) {
			EXPECT_EQ(0x5a, ((char *)&a)[i]);
		}
	}
	memset(&a, 0x5a, sizeof(a));
	a.info.argsz = sizeof(a);
	EXPECT_EQ(0, do_get_info(self->c->fd, &a.info));
	EXPECT_EQ(self->c->pgsizes, a.info.ddw.pgsizes);
	for (i = 0; i < sizeof(a.after); i++) {
		EXPECT_EQ(0x5a, a.after[i]);
	}
}

TEST_F(uapi, bad_pointers)
{
	int requests[] = {
		VFIO_IOMMU_SPAPR_TCE_GET_INFO, VFIO_IOMMU_MAP_DMA, VFIO_IOMMU_UNMAP_DMA,
		VFIO_IOMMU_SPAPR_REGISTER_MEMORY, VFIO_IOMMU_SPAPR_UNREGISTER_MEMORY,
		VFIO_IOMMU_SPAPR_TCE_CREATE, VFIO_IOMMU_SPAPR_TCE_REMOVE,
	};
	int i, n = variant->type == VFIO_SPAPR_TCE_IOMMU ? 3 : ARRAY_SIZE(requests);

	for (i = 0; i < n; i++) {
		EXPECT_EQ(-EFAULT, result(ioctl(self->c->fd, requests[i], NULL)))
			TH_LOG("request 0x%x", requests[i]);
		EXPECT_EQ(-EFAULT, result(ioctl(self->c->fd, requests[i], 1UL << 62)))
			TH_LOG("request 0x%x", requests[i]);
	}
}

TEST_F(uapi, unknown_commands)
{
	int nr;

	/* VFIO_BASE + 22 on is nobody's; 100 is the container's own. */
	for (nr = VFIO_BASE + 22; nr < 256; nr += 7) {
		EXPECT_EQ(-ENOTTY, result(ioctl(self->c->fd, _IO(VFIO_TYPE, nr), self->m)))
			TH_LOG("VFIO_BASE + %d", nr - VFIO_BASE);
	}
	EXPECT_EQ(-ENOTTY, result(ioctl(self->c->fd, _IO('X', VFIO_BASE + 13), self->m)));
	EXPECT_EQ(-ENOTTY, result(ioctl(self->c->fd, 0, self->m)));
}

TEST_F(uapi, other_version)
{
	if (variant->type == VFIO_SPAPR_TCE_IOMMU) {
		__u64 start;

		EXPECT_EQ(-ENOTTY, do_register(self->c, self->m, MEMORY));
		EXPECT_EQ(-ENOTTY, do_unregister(self->c, self->m, MEMORY));
		EXPECT_EQ(-ENOTTY, do_create(self->c, 16, GiB, 1, &start));
		EXPECT_EQ(-ENOTTY, do_remove(self->c, 0));
	} else {
		EXPECT_EQ(-ENOTTY, do_enable(self->c));
		EXPECT_EQ(-ENOTTY, do_disable(self->c));
	}
}

TEST_F(uapi, map_argsz)
{
	struct vfio_iommu_type1_dma_map m = {
		.flags = RW, .vaddr = (__u64)self->m, .iova = self->c->window,
		.size = IOMMU_PAGE,
	};
	struct vfio_iommu_type1_dma_unmap u = {
		.iova = self->c->window, .size = IOMMU_PAGE,
	};

	for (m.argsz = 0; m.argsz < sizeof(m); m.argsz++) {
		EXPECT_EQ(-EINVAL, result(ioctl(self->c->fd, VFIO_IOMMU_MAP_DMA, &m)));
	}
	m.argsz = 4096;
	EXPECT_EQ(0, result(ioctl(self->c->fd, VFIO_IOMMU_MAP_DMA, &m)));
	for (u.argsz = 0; u.argsz < sizeof(u); u.argsz++) {
		EXPECT_EQ(-EINVAL, result(ioctl(self->c->fd, VFIO_IOMMU_UNMAP_DMA, &u)));
	}
	u.argsz = 4096;
	EXPECT_EQ(0, result(ioctl(self->c->fd, VFIO_IOMMU_UNMAP_DMA, &u)));
	EXPECT_EQ(IOMMU_PAGE, u.size);
}

TEST_F(uapi, map_flags)
{
	__u64 at = self->c->window;
	int bit;

	EXPECT_EQ(-EINVAL, do_map_at(self->c, at, self->m, IOMMU_PAGE, 0));
	for (bit = 2; bit < 32; bit++) {
		EXPECT_EQ(-EINVAL, do_map_at(self->c, at, self->m, IOMMU_PAGE, 1U << bit))
			TH_LOG("bit %d", bit);
		EXPECT_EQ(-EINVAL, do_map_at(self->c, at, self->m, IOMMU_PAGE,
					     RW | 1U << bit));
	}
	EXPECT_UNMAP(0, self->c, at, IOMMU_PAGE);
	EXPECT_EQ(0, do_map_at(self->c, at, self->m, IOMMU_PAGE, VFIO_DMA_MAP_FLAG_READ));
	EXPECT_EQ(0, do_map_at(self->c, at, self->m, IOMMU_PAGE, VFIO_DMA_MAP_FLAG_WRITE));
	EXPECT_UNMAP(IOMMU_PAGE, self->c, at, IOMMU_PAGE);
}

TEST_F(uapi, unmap_flags)
{
	int bit;

	ASSERT_EQ(0, do_map(self->c, 0, self->m, IOMMU_PAGE));
	for (bit = 0; bit < 32; bit++) {
		__u64 size = IOMMU_PAGE, none = 0;

		EXPECT_EQ(-EINVAL, do_unmap_at(self->c, self->c->window, &size, 1U << bit))
			TH_LOG("bit %d", bit);
		if (1 << bit == VFIO_DMA_UNMAP_FLAG_ALL)
			continue;
		EXPECT_EQ(-EINVAL, do_unmap_at(self->c, 0, &none,
					       VFIO_DMA_UNMAP_FLAG_ALL | 1U << bit));
	}
	EXPECT_UNMAP(IOMMU_PAGE, self->c, self->c->window, IOMMU_PAGE);
}

/* As type1 does: iova and size must be 0. */
TEST_F(uapi, unmap_all)
{
	__u64 size = 0;

	ASSERT_EQ(1, ioctl(self->c->fd, VFIO_CHECK_EXTENSION, VFIO_UNMAP_ALL));
	EXPECT_EQ(0, do_unmap_at(self->c, 0, &size, VFIO_DMA_UNMAP_FLAG_ALL));
	EXPECT_EQ(0, size);
	ASSERT_EQ(0, do_map(self->c, 0, self->m, MiB));
	ASSERT_EQ(0, do_map(self->c, 512 * MiB, self->m, MiB));
	ASSERT_EQ(0, do_map(self->c, self->c->window_size - IOMMU_PAGE, self->m, IOMMU_PAGE));
	size = IOMMU_PAGE;
	EXPECT_EQ(-EINVAL, do_unmap_at(self->c, 0, &size, VFIO_DMA_UNMAP_FLAG_ALL));
	size = 0;
	EXPECT_EQ(-EINVAL, do_unmap_at(self->c, IOMMU_PAGE, &size, VFIO_DMA_UNMAP_FLAG_ALL));
	EXPECT_EQ(0, do_unmap_at(self->c, 0, &size, VFIO_DMA_UNMAP_FLAG_ALL));
	EXPECT_EQ(2 * MiB + IOMMU_PAGE, size);
	size = 0;
	EXPECT_EQ(0, do_unmap_at(self->c, 0, &size, VFIO_DMA_UNMAP_FLAG_ALL));
	EXPECT_EQ(0, size);
}

TEST_F(uapi, misaligned)
{
	__u64 at = self->c->window + MiB;
	unsigned long off[] = { 1, 8, 512, IOMMU_PAGE / 2, IOMMU_PAGE - 1 };
	unsigned int i;

	for (i = 0; i < ARRAY_SIZE(off); i++) {
		EXPECT_EQ(-EINVAL, do_map_at(self->c, at + off[i], self->m, IOMMU_PAGE, RW))
			TH_LOG("%lu", off[i]);
		EXPECT_EQ(-EINVAL, do_map_at(self->c, at, self->m + off[i], IOMMU_PAGE, RW))
			TH_LOG("%lu", off[i]);
		EXPECT_EQ(-EINVAL, do_map_at(self->c, at, self->m, IOMMU_PAGE + off[i], RW))
			TH_LOG("%lu", off[i]);
		EXPECT_EQ(-EINVAL, do_map_at(self->c, at, self->m, off[i], RW))
			TH_LOG("%lu", off[i]);
	}
	EXPECT_UNMAP(0, self->c, at, 2 * IOMMU_PAGE);
	ASSERT_EQ(0, do_map_at(self->c, at, self->m, 2 * IOMMU_PAGE, RW));
	for (i = 0; i < ARRAY_SIZE(off); i++) {
		EXPECT_EQ(-EINVAL, do_unmap_bytes(self->c, at + off[i], IOMMU_PAGE))
			TH_LOG("%lu", off[i]);
		EXPECT_EQ(-EINVAL, do_unmap_bytes(self->c, at, IOMMU_PAGE + off[i]))
			TH_LOG("%lu", off[i]);
		EXPECT_EQ(-EINVAL, do_unmap_bytes(self->c, at, off[i]))
			TH_LOG("%lu", off[i]);
	}
	EXPECT_UNMAP(2 * IOMMU_PAGE, self->c, at, 2 * IOMMU_PAGE);
}

/* Not at bus address 0: 6.12 invalidates "no entry before 0" there, for minutes. */
TEST_F(uapi, zero)
{
	EXPECT_EQ(-EINVAL, do_map(self->c, MiB, self->m, 0));
	EXPECT_EQ(-EINVAL, do_unmap(self->c, MiB, 0));
}

TEST_F(uapi, outside)
{
	struct {
		__u64 iova, size;
	} t[] = {
		{ self->c->window + self->c->window_size, IOMMU_PAGE },
		{ self->c->window + self->c->window_size, MiB },
		{ 1ULL << 32, IOMMU_PAGE },
		{ 1ULL << 40, IOMMU_PAGE },
		{ SECOND_START, IOMMU_PAGE },
		{ 1ULL << 63, IOMMU_PAGE },
		{ -IOMMU_PAGE, IOMMU_PAGE },
		{ -IOMMU_PAGE, 2 * IOMMU_PAGE },
		{ -MiB, 2 * MiB },
	};
	unsigned int i;

	for (i = 0; i < ARRAY_SIZE(t); i++) {
		EXPECT_TRUE(refused(do_map_at(self->c, t[i].iova, self->m, t[i].size, RW)))
			TH_LOG("0x%llx + 0x%llx", t[i].iova, t[i].size);
		EXPECT_TRUE(refused(do_unmap_bytes(self->c, t[i].iova, t[i].size)))
			TH_LOG("0x%llx + 0x%llx", t[i].iova, t[i].size);
	}
}

/* User addresses that wrap, are the kernel's, or are nowhere. */
TEST_F(uapi, bad_addresses)
{
	unsigned long t[] = { 0, 1UL << 62, 0xcUL << 60, -MiB, -IOMMU_PAGE };
	unsigned int i;

	for (i = 0; i < ARRAY_SIZE(t); i++) {
		EXPECT_GT(0, do_map(self->c, MiB, (void *)t[i], 2 * IOMMU_PAGE))
			TH_LOG("0x%lx", t[i]);
	}
	EXPECT_UNMAP(0, self->c, self->c->window, 2 * MiB);
}

static int ioctls_of_child(struct container *c, char *m)
{
	struct vfio_iommu_spapr_tce_info info = { .argsz = sizeof(info) };
	bool v1 = c->type == VFIO_SPAPR_TCE_IOMMU;
	__u64 start, none = 0;

	if (do_map(c, MiB, m, IOMMU_PAGE) != -EPERM)
		return 1;
	if (do_unmap(c, 0, IOMMU_PAGE) != -EPERM)
		return 2;
	if (do_unmap_at(c, 0, &none, VFIO_DMA_UNMAP_FLAG_ALL) != -EPERM)
		return 3;
	if (do_get_info(c->fd, &info) != -EPERM)
		return 4;
	if (v1 ? do_disable(c) != -EPERM || do_enable(c) != -EPERM :
		 do_create(c, 16, GiB, 1, &start) != -EPERM ||
		 do_remove(c, c->window) != -EPERM)
		return 5;
	if (!v1 && (do_register(c, m + MEMORY, MiB) != -EPERM ||
		    do_unregister(c, m, MEMORY) != -EPERM))
		return 6;
	return 0;
}

/* The container is of one mm; a child that inherits its fd may only close it. */
TEST_F(uapi, other_process)
{
	ASSERT_EQ(0, do_map(self->c, 0, self->m, IOMMU_PAGE));
	EXPECT_EQ(0, in_child(ioctls_of_child(self->c, self->m)));
	EXPECT_EQ(0, in_child((close(self->c->fd), 0)));
	EXPECT_UNMAP(IOMMU_PAGE, self->c, self->c->window, IOMMU_PAGE);
}

TEST_F(uapi, eeh_arguments)
{
	struct vfio_eeh_pe_op op = { .argsz = sizeof(op), .op = VFIO_EEH_PE_GET_STATE };
	const unsigned int least = offsetof(struct vfio_eeh_pe_op, op) + sizeof(op.op);
	unsigned int argsz, bit;
	int ret;

	if (ioctl(self->c->fd, VFIO_CHECK_EXTENSION, VFIO_EEH) != 1)
		SKIP(return, "no EEH here");
	ret = result(ioctl(self->c->fd, VFIO_EEH_PE_OP, &op));
	if (ret == -ENODEV)
		SKIP(return, "this group has no EEH PE");
	EXPECT_EQ(VFIO_EEH_PE_STATE_NORMAL, ret);
	for (argsz = 0; argsz < least; argsz++) {
		op.argsz = argsz;
		EXPECT_EQ(-EINVAL, result(ioctl(self->c->fd, VFIO_EEH_PE_OP, &op)));
	}
	op.argsz = sizeof(op);
	for (bit = 0; bit < 32; bit++) {
		op.flags = 1U << bit;
		EXPECT_EQ(-EINVAL, result(ioctl(self->c->fd, VFIO_EEH_PE_OP, &op)));
	}
	op.flags = 0;
	op.op = 10;
	EXPECT_EQ(-EINVAL, result(ioctl(self->c->fd, VFIO_EEH_PE_OP, &op)));
	op.op = VFIO_EEH_PE_INJECT_ERR;
	op.argsz = least;
	EXPECT_EQ(-EINVAL, result(ioctl(self->c->fd, VFIO_EEH_PE_OP, &op)));
	op.op = VFIO_EEH_PE_GET_STATE;
	EXPECT_EQ(VFIO_EEH_PE_STATE_NORMAL, result(ioctl(self->c->fd, VFIO_EEH_PE_OP, &op)));
}

FIXTURE(map) {
	struct ready r;
	struct container *c;
	char *m;
	bool v1;
};

FIXTURE_VARIANT(map) {
	int type;
};

FIXTURE_VARIANT_ADD(map, v1) { .type = VFIO_SPAPR_TCE_IOMMU };
FIXTURE_VARIANT_ADD(map, v2) { .type = VFIO_SPAPR_TCE_v2_IOMMU };

FIXTURE_SETUP(map)
{
	GET_READY(&self->r, variant->type);
	self->c = &self->r.c;
	self->m = self->r.m;
	self->v1 = variant->type == VFIO_SPAPR_TCE_IOMMU;
}

FIXTURE_TEARDOWN(map)
{
	expect_as_before(_metadata, &self->r);
}

/* v1: one pin per entry. v2: what was registered, whatever is mapped. */
static long pins(struct ready *r, bool v1, long entries)
{
	return r->pinned + (v1 ? entries : (long)MEMORY / r->page);
}

TEST_F(map, counts)
{
	long n;

	for (n = 1; n <= 256; n *= 4) {
		ASSERT_EQ(0, do_map(self->c, 0, self->m, n * IOMMU_PAGE));
		EXPECT_EQ(pins(&self->r, self->v1, n), pages_pinned());
		EXPECT_UNMAP(n * IOMMU_PAGE, self->c, self->c->window, n * IOMMU_PAGE);
		EXPECT_EQ(pins(&self->r, self->v1, 0),
			  settle(pages_pinned, pins(&self->r, self->v1, 0)));
	}
	if (!self->v1) {
		EXPECT_EQ(0, do_unregister(self->c, self->m, MEMORY));
	}
}

TEST_F(map, unmap_reports_bytes)
{
	__u64 w = self->c->window;

	ASSERT_EQ(0, do_map(self->c, 4 * IOMMU_PAGE, self->m, 8 * IOMMU_PAGE));
	/* Around, into either end, the middle: what was mapped there. */
	EXPECT_EQ(2 * IOMMU_PAGE, do_unmap_bytes(self->c, w, 6 * IOMMU_PAGE));
	EXPECT_EQ(IOMMU_PAGE, do_unmap_bytes(self->c, w + 8 * IOMMU_PAGE, IOMMU_PAGE));
	EXPECT_EQ(2 * IOMMU_PAGE,
		  do_unmap_bytes(self->c, w + 10 * IOMMU_PAGE, 100 * IOMMU_PAGE));
	EXPECT_EQ(3 * IOMMU_PAGE, do_unmap_bytes(self->c, w, self->c->window_size));
	EXPECT_EQ(0, do_unmap_bytes(self->c, w, self->c->window_size));
}

/* No error, even as the first thing done to the window. */
TEST_F(map, unmap_what_is_not)
{
	EXPECT_UNMAP(0, self->c, self->c->window, IOMMU_PAGE);
	EXPECT_UNMAP(0, self->c, self->c->window, self->c->window_size);
	EXPECT_UNMAP(0, self->c, self->c->window + self->c->window_size -
				    IOMMU_PAGE, IOMMU_PAGE);
}

TEST_F(map, over_existing)
{
	long n = 64;
	int i;

	ASSERT_EQ(0, do_map(self->c, 0, self->m, n * IOMMU_PAGE));
	for (i = 0; i < 3; i++) {
		EXPECT_EQ(0, do_map(self->c, 0, self->m + i * MiB, n * IOMMU_PAGE));
		EXPECT_EQ(pins(&self->r, self->v1, n),
			  settle(pages_pinned, pins(&self->r, self->v1, n)));
	}
	/* Half of it over, half new. */
	EXPECT_EQ(0, do_map(self->c, n / 2 * IOMMU_PAGE, self->m, n * IOMMU_PAGE));
	EXPECT_UNMAP(n * 3 / 2 * IOMMU_PAGE, self->c, self->c->window, 2 * n * IOMMU_PAGE);
	if (!self->v1) {
		EXPECT_EQ(0, do_unregister(self->c, self->m, MEMORY));
	}
}

TEST_F(map, same_page_everywhere)
{
	long n;

	for (n = 0; n < 32; n++) {
		ASSERT_EQ(0, do_map(self->c, n * 16 * MiB, self->m, IOMMU_PAGE));
	}
	EXPECT_EQ(pins(&self->r, self->v1, n), pages_pinned());
	EXPECT_UNMAP(n * IOMMU_PAGE, self->c, self->c->window, self->c->window_size);
}

TEST_F(map, first_and_last_entry)
{
	unsigned long last = self->c->window_size - IOMMU_PAGE;

	EXPECT_EQ(0, do_map(self->c, 0, self->m, IOMMU_PAGE));
	EXPECT_EQ(0, do_map(self->c, last, self->m, IOMMU_PAGE));
	EXPECT_UNMAP(IOMMU_PAGE, self->c, self->c->window + last, IOMMU_PAGE);
	EXPECT_UNMAP(IOMMU_PAGE, self->c, self->c->window, self->c->window_size);
}

/* A map that fails half way leaves nothing. */
TEST_F(map, fails_half_way)
{
	long hole = MEMORY - self->r.page;
	int ret;

	if (self->v1) {
		ASSERT_EQ(0, munmap(self->m + hole, self->r.page));
	} else {
		hole = MEMORY;	/* where registered memory ends */
	}
	ret = do_map(self->c, MiB, self->m + hole - MiB, MiB + self->r.page);
	if (self->v1) {
		EXPECT_EQ(-EFAULT, ret);
	}
	EXPECT_GT(0, ret);
	EXPECT_EQ(pins(&self->r, self->v1, 0),
		  settle(pages_pinned, pins(&self->r, self->v1, 0)));
	if (!self->v1) {
		EXPECT_EQ(0, do_unregister(self->c, self->m, MEMORY));
	}
	EXPECT_UNMAP(0, self->c, self->c->window, self->c->window_size);
}

/* The same over existing entries: whatever is left there is counted. */
TEST_F(map, fails_half_way_over_existing)
{
	long hole = MEMORY - self->r.page;

	ASSERT_EQ(0, do_map(self->c, MiB, self->m, 2 * MiB));
	if (self->v1) {
		ASSERT_EQ(0, munmap(self->m + hole, self->r.page));
	} else {
		hole = MEMORY;
	}
	EXPECT_GT(0, do_map(self->c, MiB, self->m + hole - MiB, MiB + self->r.page));
	EXPECT_LE(0, do_unmap_bytes(self->c, self->c->window, self->c->window_size));
	EXPECT_EQ(pins(&self->r, self->v1, 0),
		  settle(pages_pinned, pins(&self->r, self->v1, 0)));
	if (!self->v1) {
		EXPECT_EQ(0, do_unregister(self->c, self->m, MEMORY));
	}
}

TEST_F(map, close_while_mapped)
{
	ASSERT_EQ(0, do_map(self->c, 0, self->m, 4 * MiB));
	container_close(self->c);
	EXPECT_EQ(self->r.pinned, settle(pages_pinned, self->r.pinned));
}

/* The group goes, the container stays. */
TEST_F(map, detach_while_mapped)
{
	ASSERT_EQ(0, do_map(self->c, 0, self->m, MiB));
	EXPECT_EQ(0, result(ioctl(self->c->group, VFIO_GROUP_UNSET_CONTAINER)));
	EXPECT_EQ(self->r.pinned, settle(pages_pinned, self->r.pinned));
	EXPECT_GT(0, do_map(self->c, 0, self->m, IOMMU_PAGE));
	EXPECT_GT(0, do_unmap(self->c, 0, IOMMU_PAGE));
}

TEST_F(map, readonly_memory)
{
	int ret;

	if (!self->v1)
		SKIP(return, "v2 checks at registration");
	ASSERT_EQ(0, mprotect(self->m, MEMORY, PROT_READ));
	EXPECT_EQ(-EFAULT, do_map(self->c, MiB, self->m, IOMMU_PAGE));
	EXPECT_EQ(-EFAULT, do_map_at(self->c, self->c->window + MiB, self->m, IOMMU_PAGE,
				     VFIO_DMA_MAP_FLAG_WRITE));
	ret = do_map_at(self->c, self->c->window + MiB, self->m, IOMMU_PAGE,
			VFIO_DMA_MAP_FLAG_READ);
	EXPECT_EQ(0, ret);
	EXPECT_EQ(self->r.pinned + !ret, pages_pinned());
}

TEST_F(map, order)
{
	if (self->v1) {
		EXPECT_EQ(-EBUSY, do_enable(self->c));
		EXPECT_EQ(0, do_disable(self->c));
		EXPECT_EQ(-EPERM, do_map(self->c, MiB, self->m, IOMMU_PAGE));
		EXPECT_EQ(-EPERM, do_unmap(self->c, MiB, IOMMU_PAGE));
		EXPECT_EQ(0, do_disable(self->c));
		EXPECT_EQ(0, do_enable(self->c));
	} else {
		EXPECT_EQ(0, do_unregister(self->c, self->m, MEMORY));
		EXPECT_GT(0, do_map(self->c, MiB, self->m, IOMMU_PAGE));
		EXPECT_UNMAP(0, self->c, self->c->window + MiB, IOMMU_PAGE);
		EXPECT_EQ(0, do_register(self->c, self->m, MEMORY));
	}
	EXPECT_EQ(0, do_map(self->c, MiB, self->m, IOMMU_PAGE));
}

TEST_F(map, v1_charge)
{
	long before = self->r.locked, enabled;
	int i;

	if (!self->v1)
		SKIP(return, "v2 charges what is registered");
	enabled = before + self->c->window_size;
	EXPECT_EQ(enabled, locked());
	ASSERT_EQ(0, do_map(self->c, 0, self->m, MEMORY));
	/* The table itself comes on top, no more than an entry and a view word per page. */
	EXPECT_LE(enabled, locked());
	EXPECT_GE(enabled + 16 * (long)(self->c->window_size / IOMMU_PAGE), locked());
	enabled = locked();
	ASSERT_EQ(0, do_map(self->c, 0, self->m, MEMORY));
	EXPECT_EQ(enabled, locked());
	ASSERT_EQ(0, do_unmap(self->c, 0, MEMORY));
	for (i = 0; i < 3; i++) {
		EXPECT_EQ(0, do_disable(self->c));
		EXPECT_LE(locked(), enabled - (long)self->c->window_size);
		EXPECT_EQ(0, do_disable(self->c));
		EXPECT_LE(before, locked());
		EXPECT_EQ(0, do_enable(self->c));
	}
	EXPECT_GE(enabled, locked());
}

TEST_F(map, v1_charge_limit)
{
	if (!self->v1)
		SKIP(return, "v2 charges what is registered");
	ASSERT_EQ(0, do_disable(self->c));
	ASSERT_EQ(self->r.locked, locked());
	ASSERT_EQ(0, limit_locked(self->c->window_size - self->r.page));
	EXPECT_EQ(-ENOMEM, do_enable(self->c));
	EXPECT_EQ(-EPERM, do_map(self->c, MiB, self->m, IOMMU_PAGE));
	EXPECT_EQ(self->r.locked, locked());
}

FIXTURE(create) {
	struct ready r;
	struct container *c;
	long charge;	/* of the default window and the region */
};

FIXTURE_SETUP(create)
{
	GET_READY(&self->r, VFIO_SPAPR_TCE_v2_IOMMU);
	self->c = &self->r.c;
	/* The default window is made by the first use. */
	ASSERT_EQ(0, do_unmap(self->c, 0, IOMMU_PAGE));
	self->charge = locked();
}

FIXTURE_TEARDOWN(create)
{
	expect_as_before(_metadata, &self->r);
}

TEST_F(create, and_remove)
{
	__u64 start = 1;
	int i;

	for (i = 0; i < 3; i++) {
		EXPECT_EQ(0, do_create(self->c, 16, GiB, 1, &start));
		EXPECT_EQ(SECOND_START, start);
		EXPECT_LT(self->charge, locked());
		EXPECT_EQ(0, do_remove(self->c, start));
		EXPECT_EQ(self->charge, locked());
		EXPECT_EQ(-EINVAL, do_remove(self->c, start));
	}
}

/* QEMU removes the default window before it is there, then expects its own at 0. */
TEST_F(create, instead_of_pending)
{
	__u64 start = 1, second = 1;
	long before;

	container_close(self->c);
	ASSERT_EQ(self->r.locked, settle(locked, self->r.locked));
	ASSERT_EQ(0, container_open(self->c, 0, VFIO_SPAPR_TCE_v2_IOMMU));
	ASSERT_EQ(0, do_register(self->c, self->r.m, MEMORY));
	before = locked();
	EXPECT_EQ(0, do_remove(self->c, self->c->window));
	EXPECT_EQ(-EINVAL, do_remove(self->c, self->c->window));
	EXPECT_EQ(before, locked());
	EXPECT_TRUE(refused(do_map(self->c, 0, self->r.m, IOMMU_PAGE)));
	EXPECT_TRUE(refused(do_unmap(self->c, 0, IOMMU_PAGE)));
	EXPECT_EQ(0, do_create(self->c, 12, GiB, 1, &start));
	EXPECT_EQ(0, start);
	EXPECT_EQ(0, do_create(self->c, 16, GiB, 1, &second));
	EXPECT_EQ(SECOND_START, second);
	EXPECT_EQ(0, do_remove(self->c, start));
	EXPECT_EQ(0, do_remove(self->c, second));
	EXPECT_EQ(before, locked());
}

TEST_F(create, one_too_many)
{
	__u64 start = 1, third = 77;
	long two;
	int ret;

	ASSERT_EQ(0, do_create(self->c, 16, GiB, 1, &start));
	two = locked();
	EXPECT_GT(0, do_create(self->c, 16, GiB, 1, &third));
	EXPECT_EQ(two, locked());
	EXPECT_EQ(0, do_remove(self->c, self->c->window));
	ret = do_create(self->c, 16, GiB, 1, &third);
	if (self->c->levels == 1 && (ret == -EPERM || ret == -ENOSPC)) {
		EXPECT_EQ(0, do_remove(self->c, start));
		SKIP_READY(&self->r, "the platform has no first window beside a second");
	}
	EXPECT_EQ(0, ret);
	EXPECT_EQ(0, third);
}

TEST_F(create, argsz_and_flags)
{
	struct vfio_iommu_spapr_tce_create w = {
		.page_shift = 16, .window_size = GiB, .levels = 1, .start_addr = 77,
	};
	struct vfio_iommu_spapr_tce_remove x = { .start_addr = self->c->window };
	int bit;

	for (w.argsz = 0; w.argsz < sizeof(w); w.argsz++) {
		EXPECT_EQ(-EINVAL, result(ioctl(self->c->fd, VFIO_IOMMU_SPAPR_TCE_CREATE, &w)));
	}
	for (x.argsz = 0; x.argsz < sizeof(x); x.argsz++) {
		EXPECT_EQ(-EINVAL, result(ioctl(self->c->fd, VFIO_IOMMU_SPAPR_TCE_REMOVE, &x)));
	}
	x.argsz = sizeof(x);
	for (bit = 0; bit < 32; bit++) {
		w.flags = 1U << bit;
		EXPECT_EQ(-EINVAL, result(ioctl(self->c->fd, VFIO_IOMMU_SPAPR_TCE_CREATE, &w)));
		x.flags = 1U << bit;
		EXPECT_EQ(-EINVAL, result(ioctl(self->c->fd, VFIO_IOMMU_SPAPR_TCE_REMOVE, &x)));
	}
	EXPECT_EQ(77, w.start_addr);
	EXPECT_EQ(self->charge, locked());
	w.argsz = 4096;
	w.flags = 0;
	EXPECT_EQ(0, result(ioctl(self->c->fd, VFIO_IOMMU_SPAPR_TCE_CREATE, &w)));
	EXPECT_EQ(SECOND_START, w.start_addr);
}

TEST_F(create, page_shifts_not_there)
{
	__u32 shifts[] = { 64, 64 + 12, 64 + 16, 128 + 16, 255, 256 + 16, 1U << 16,
			   (1U << 31) + 16, ~0U };
	unsigned int i;

	for (i = 0; i < 64; i++) {
		if (self->c->pgsizes & 1ULL << i)
			continue;
		EXPECT_EQ(-EINVAL, do_create(self->c, i, GiB, 1, NULL))
			TH_LOG("page shift %u", i);
	}
	for (i = 0; i < ARRAY_SIZE(shifts); i++) {
		EXPECT_EQ(-EINVAL, do_create(self->c, shifts[i], GiB, 1, NULL))
			TH_LOG("page shift %u", shifts[i]);
	}
	EXPECT_EQ(self->charge, locked());
}

TEST_F(create, sizes_that_are_none)
{
	__u64 sizes[] = { 0, 1, 4096, 32768, 3 * GiB, GiB + 65536, GiB - 65536, GiB + 1,
			  (1ULL << 63) + GiB, ~0ULL, ~0ULL << 16 };
	unsigned int i;

	for (i = 0; i < ARRAY_SIZE(sizes); i++) {
		EXPECT_EQ(-EINVAL, do_create(self->c, 16, sizes[i], 1, NULL))
			TH_LOG("size 0x%llx", sizes[i]);
		EXPECT_EQ(self->charge, locked());
	}
}

TEST_F(create, levels_not_there)
{
	__u32 levels[] = { MAX_LEVELS + 1, 7, 64, 1000, 1U << 31, ~0U };
	unsigned int i;

	for (i = 0; i < ARRAY_SIZE(levels); i++) {
		EXPECT_EQ(-EINVAL, do_create(self->c, 16, GiB, levels[i], NULL))
			TH_LOG("levels %u", levels[i]);
		EXPECT_EQ(self->charge, locked());
	}
	/* pSeries, with its one level, is given 0 by QEMU. */
	if (self->c->levels > 1) {
		EXPECT_EQ(-EINVAL, do_create(self->c, 16, GiB, 0, NULL));
	}
	EXPECT_EQ(self->charge, locked());
}

/* What the platform can't do: nothing is charged, the argument is not changed. */
TEST_F(create, too_large)
{
	struct vfio_iommu_spapr_tce_create w = {
		.argsz = sizeof(w), .page_shift = 16, .levels = 1, .start_addr = 77,
	};
	struct vfio_iommu_spapr_tce_create before;
	int shift = 16 + LEVEL_SHIFT_MAX + 5;

	/* QEMU's hypervisor dies of the request after one it could not fulfil. */
	if (self->c->levels == 1)
		SKIP(return, "the hypervisor's tables, and its limits");
	for (; shift < 64; shift++) {
		w.window_size = 1ULL << shift;
		before = w;
		EXPECT_GT(0, result(ioctl(self->c->fd, VFIO_IOMMU_SPAPR_TCE_CREATE, &w)))
			TH_LOG("1 << %d in one level", shift);
		EXPECT_EQ(0, memcmp(&before, &w, sizeof(w)));
		EXPECT_EQ(self->charge, locked())
			TH_LOG("1 << %d in one level", shift);
	}
	for (shift = 60; shift < 64; shift++) {
		EXPECT_GT(0, do_create(self->c, 16, 1ULL << shift, 5, NULL));
		EXPECT_EQ(self->charge, locked())
			TH_LOG("1 << %d in 5 levels", shift);
	}
	/* And one that works is none the worse for it. */
	EXPECT_EQ(0, do_create(self->c, 16, GiB, 1, NULL));
}

TEST_F(create, over_the_limit)
{
	__u64 start = 0;

	if (self->c->levels == 1)
		SKIP(return, "the hypervisor's tables; the view grows");
	/* A table for 64 GiB of 64K pages takes 8 MiB, and its view as much. */
	ASSERT_EQ(0, limit_locked(4 * MiB));
	EXPECT_EQ(-ENOMEM, do_create(self->c, 16, 64 * GiB, 1, NULL));
	EXPECT_EQ(self->charge, locked());
	EXPECT_EQ(0, do_create(self->c, 16, GiB, 1, &start));
	EXPECT_EQ(0, do_remove(self->c, start));
	EXPECT_EQ(self->charge, locked());
}

/* A window that grows: what does not fit any more is not mapped, all else stays. */
TEST_F(create, grows_to_the_limit)
{
	const unsigned long step = 2 * TiB / 4096;
	__u64 start;
	long n, room;
	int ret = 0;

	if (self->c->levels < 2)
		SKIP(return, "tables of one level don't grow");
	ASSERT_EQ(0, do_create(self->c, PAGE_SHIFT_OF(self), 2 * TiB, 2, &start));
	room = 4 * MiB;
	ASSERT_EQ(0, limit_locked(room));
	for (n = 0; n < 256 && !ret; n++)
		ret = do_map_at(self->c, start + n * step, self->r.m, 64 * KiB, RW);
	EXPECT_EQ(-ENOMEM, ret)
		TH_LOG("after %ld levels", n);
	EXPECT_UNMAP((n - 1) * 64 * KiB, self->c, start, 2 * TiB);
	EXPECT_EQ(0, do_map_at(self->c, start, self->r.m, 64 * KiB, RW));
	EXPECT_EQ(0, do_remove(self->c, start));
	EXPECT_EQ(self->charge, locked());
}

TEST_F(create, remove_what_is_not)
{
	__u64 start, not[] = { self->c->window + self->c->window_size, 1ULL << 40,
			       SECOND_START, 1ULL << 63, ~0ULL };
	unsigned int i;

	for (i = 0; i < ARRAY_SIZE(not); i++) {
		EXPECT_EQ(-EINVAL, do_remove(self->c, not[i]))
			TH_LOG("0x%llx", not[i]);
	}
	/* A window is named by its start. */
	ASSERT_EQ(0, do_create(self->c, PAGE_SHIFT_OF(self), GiB, 1, &start));
	EXPECT_EQ(-EINVAL, do_remove(self->c, start + 64 * KiB));
	EXPECT_EQ(-EINVAL, do_remove(self->c, start + GiB));
	EXPECT_EQ(-EINVAL, do_remove(self->c, self->c->window + IOMMU_PAGE));
	EXPECT_EQ(0, do_map_at(self->c, start, self->r.m, 64 * KiB, RW));
	EXPECT_EQ(0, do_remove(self->c, start));
}

TEST_F(create, remove_while_mapped)
{
	__u64 start;

	ASSERT_EQ(0, do_create(self->c, PAGE_SHIFT_OF(self), GiB, 1, &start));
	ASSERT_EQ(0, do_map_at(self->c, start, self->r.m, MEMORY, RW));
	ASSERT_EQ(0, do_map(self->c, 0, self->r.m, MiB));
	EXPECT_EQ(-EBUSY, do_unregister(self->c, self->r.m, MEMORY));
	EXPECT_EQ(0, do_remove(self->c, start));
	EXPECT_EQ(-EBUSY, do_unregister(self->c, self->r.m, MEMORY));
	EXPECT_EQ(0, do_remove(self->c, self->c->window));
	EXPECT_EQ(0, do_unregister(self->c, self->r.m, MEMORY));
	EXPECT_EQ(self->r.locked, settle(locked, self->r.locked));
}

TEST_F(create, ranges_over_two_windows)
{
	__u64 start, w = self->c->window;

	ASSERT_EQ(0, do_create(self->c, PAGE_SHIFT_OF(self), GiB, 1, &start));
	ASSERT_EQ(0, do_map_at(self->c, start, self->r.m, 64 * KiB, RW));
	EXPECT_TRUE(refused(do_unmap_bytes(self->c, w, start - w + 64 * KiB)));
	EXPECT_TRUE(refused(do_unmap_bytes(self->c, w + self->c->window_size - IOMMU_PAGE,
					   start - w - self->c->window_size + MiB)));
	EXPECT_UNMAP(64 * KiB, self->c, start, GiB);
}

/* Each flag and field of both windows: the same iova - start, but not the same TCE. */
TEST_F(create, windows_are_apart)
{
	__u64 start, size = 0;

	ASSERT_EQ(0, do_create(self->c, PAGE_SHIFT_OF(self), GiB, 1, &start));
	ASSERT_EQ(0, do_map(self->c, 0, self->r.m, MiB));
	EXPECT_UNMAP(0, self->c, start, GiB);
	ASSERT_EQ(0, do_map_at(self->c, start, self->r.m, 2 * MiB, RW));
	EXPECT_UNMAP(MiB, self->c, self->c->window, self->c->window_size);
	EXPECT_UNMAP(2 * MiB, self->c, start, GiB);
	ASSERT_EQ(0, do_map(self->c, 0, self->r.m, MiB));
	ASSERT_EQ(0, do_map_at(self->c, start, self->r.m, 2 * MiB, RW));
	EXPECT_EQ(0, do_unmap_at(self->c, 0, &size, VFIO_DMA_UNMAP_FLAG_ALL));
	EXPECT_EQ(3 * MiB, size);
	EXPECT_EQ(0, do_unregister(self->c, self->r.m, MEMORY));
}

/* A v2 container without windows, and an IOMMU page of memory. */
struct shape {
	struct ready r;
	unsigned int page_shift;
	unsigned int levels;
	char *m;		/* registered; NULL if there is no page so large */
	long charge;
};

/* @size bytes that are contiguous and aligned in memory. */
static char *huge_page(unsigned long size)
{
	char path[100];
	FILE *f;
	void *m;

	if (!gup_finds(size))
		return NULL;
	snprintf(path, sizeof(path),
		 "/sys/kernel/mm/hugepages/hugepages-%lukB/nr_hugepages", size / KiB);
	f = fopen(path, "w");
	if (f) {
		fprintf(f, "1\n");
		fclose(f);
	}
	m = mmap(NULL, size, PROT_READ | PROT_WRITE,
		 MAP_PRIVATE | MAP_ANONYMOUS | MAP_HUGETLB | __builtin_ctzl(size) << 26, -1, 0);
	return m == MAP_FAILED ? NULL : m;
}

static void window_setup(struct __test_metadata *_metadata, struct shape *s,
			 unsigned int page_shift, unsigned int levels)
{
	unsigned long size = 1UL << page_shift;

	s->page_shift = page_shift;
	s->levels = levels;
	GET_READY(&s->r, VFIO_SPAPR_TCE_v2_IOMMU);
	if (!(s->r.c.pgsizes & size))
		SKIP_READY(&s->r, "the PHB has no such IOMMU pages");
	if (levels > s->r.c.levels)
		SKIP_READY(&s->r, "the platform has tables of %u level(s)", s->r.c.levels);
	if (size <= (unsigned long)s->r.page) {
		s->m = s->r.m;
	} else {
		s->m = huge_page(size);
		if (s->m) {
			ASSERT_EQ(0, do_register(&s->r.c, s->m, size));
		}
	}
	ASSERT_EQ(0, do_remove(&s->r.c, s->r.c.window));
	s->charge = locked();
}

/*
 * A window of 1 << @n pages: made, charged with the top level of the table and of its
 * view, exactly as large as was asked for, removed without a trace.
 */
static void check_window(struct __test_metadata *_metadata, struct shape *s, int n)
{
	const __u64 page = 1ULL << s->page_shift, size = page << n;
	const __u64 middle = size / 2 / page * page;
	unsigned int levels = s->levels, bits;
	struct container *c = &s->r.c;
	__u64 start = 1;
	long top;
	int ret;

	/* Not more than the buddy allocator gives, nor than fits below the second window. */
	if ((c->levels > 1 && n > (int)s->levels * LEVEL_SHIFT_MAX) || n + s->page_shift > 52)
		return;
	/* Levels have 512 words at least; fewer of them where a PHB could not count so far. */
	for (;; levels--) {
		bits = (n + levels - 1) / levels;
		if (bits < 9)
			bits = 9;
		if (levels == 1 || levels * bits + s->page_shift < 55)
			break;
	}
	top = 8L << bits;
	if (top < s->r.page)
		top = s->r.page;
	ret = do_create(c, s->page_shift, size, s->levels, &start);
	EXPECT_EQ(0, ret)
		TH_LOG("2^%d entries", n);
	EXPECT_GE(s->charge + (ret ? 0 : 2 * top), locked())
		TH_LOG("2^%d entries", n);
	if (ret) {
		s->charge = locked();
		return;
	}
	/* On pSeries, with its one level, a hypervisor chooses. */
	EXPECT_TRUE(start == 0 || (c->levels == 1 && start != 1));
	EXPECT_TRUE(refused(do_unmap_bytes(c, start + size, page)))
		TH_LOG("2^%d entries", n);
	EXPECT_TRUE(refused(do_unmap_bytes(c, start + size - page, 2 * page)))
		TH_LOG("2^%d entries", n);
	if (s->m) {
		EXPECT_EQ(0, do_map_at(c, start, s->m, page, RW))
			TH_LOG("2^%d entries", n);
		EXPECT_EQ(0, do_map_at(c, start + middle, s->m, page, RW))
			TH_LOG("2^%d entries", n);
		EXPECT_EQ(0, do_map_at(c, start + size - page, s->m, page, RW))
			TH_LOG("2^%d entries", n);
		EXPECT_TRUE(refused(do_map_at(c, start + size, s->m, page, RW)))
			TH_LOG("2^%d entries", n);
		EXPECT_UNMAP(page, c, start, page);
		EXPECT_EQ(0, do_map_at(c, start + middle, s->m, page, RW));
		EXPECT_UNMAP(page, c, start + middle, page);
		EXPECT_EQ(0, do_map_at(c, start, s->m, page, RW));
	}
	EXPECT_EQ(0, do_remove(c, start));
	EXPECT_EQ(s->charge, locked())
		TH_LOG("2^%d entries", n);
	s->charge = locked();
}

#define SHAPES(fixture, name, shift)	\
FIXTURE_VARIANT_ADD(fixture, name##_1) { .page_shift = shift, .levels = 1 };	\
FIXTURE_VARIANT_ADD(fixture, name##_2) { .page_shift = shift, .levels = 2 };	\
FIXTURE_VARIANT_ADD(fixture, name##_3) { .page_shift = shift, .levels = 3 };	\
FIXTURE_VARIANT_ADD(fixture, name##_4) { .page_shift = shift, .levels = 4 };	\
FIXTURE_VARIANT_ADD(fixture, name##_5) { .page_shift = shift, .levels = 5 }

FIXTURE(shape) {
	struct shape s;
};

FIXTURE_VARIANT(shape) {
	unsigned int page_shift;
	unsigned int levels;
};

SHAPES(shape, 4k, 12);
SHAPES(shape, 64k, 16);
SHAPES(shape, 2m, 21);
SHAPES(shape, 16m, 24);
SHAPES(shape, 256m, 28);
SHAPES(shape, 1g, 30);

FIXTURE_SETUP(shape)
{
	window_setup(_metadata, &self->s, variant->page_shift, variant->levels);
}

FIXTURE_TEARDOWN(shape)
{
	expect_as_before(_metadata, &self->s.r);
}

TEST_F(shape, one_page)
{
	check_window(_metadata, &self->s, 0);
}

/* Around what a level of 4K holds. */
TEST_F(shape, small)
{
	check_window(_metadata, &self->s, 1);
	check_window(_metadata, &self->s, 8);
	check_window(_metadata, &self->s, 9);
	check_window(_metadata, &self->s, 10);
}

/* Around what a level of 64K holds, and the largest level. */
TEST_F(shape, large)
{
	check_window(_metadata, &self->s, 13);
	check_window(_metadata, &self->s, 14);
	check_window(_metadata, &self->s, LEVEL_SHIFT_MAX);
}

/* Memory in which no IOMMU page is contiguous: a device would reach too far. */
TEST_F(shape, only_whole_pages)
{
	const unsigned long page = 1UL << variant->page_shift, small = self->s.r.page;
	struct container *c = &self->s.r.c;
	char *m, *aside;
	__u64 start;

	if (page <= small)
		SKIP_READY(&self->s.r, "the kernel's pages are as large");
	if (page > MEMORY)
		SKIP_READY(&self->s.r, "takes too much memory");
	if (do_create(c, variant->page_shift, 4 * page, variant->levels, &start))
		SKIP_READY(&self->s.r, "the kernel makes no such window");
	m = anonymous(3 * page);
	ASSERT_NE(MAP_FAILED, m);
	m = (char *)(((unsigned long)m + page - 1) & -page);
	ASSERT_EQ(0, madvise(m, 2 * page, MADV_NOHUGEPAGE));
	memset(m, 1, 2 * page);
	/* The first two pages change places. */
	aside = mremap(m, small, small, MREMAP_MAYMOVE | MREMAP_FIXED, anonymous(small));
	ASSERT_NE(MAP_FAILED, aside);
	ASSERT_EQ(m, mremap(m + small, small, small, MREMAP_MAYMOVE | MREMAP_FIXED, m));
	ASSERT_EQ(m + small, mremap(aside, small, small, MREMAP_MAYMOVE | MREMAP_FIXED,
				    m + small));
	ASSERT_EQ(0, do_register(c, m, 2 * page));
	EXPECT_GT(0, do_map_at(c, start, m, page, RW));
	EXPECT_GT(0, do_map_at(c, start, m, small, RW));
	EXPECT_GT(0, do_map_at(c, start, m + small, page, RW));
	EXPECT_UNMAP(0, c, start, 4 * page);
	EXPECT_EQ(0, do_unregister(c, m, 2 * page));
	EXPECT_EQ(0, do_remove(c, start));
}

FIXTURE(group) {
	struct ready r;
	struct container *c;
	int second;
};

FIXTURE_SETUP(group)
{
	if (nr_groups < 2)
		SKIP(return, "needs a second group");
	GET_READY(&self->r, VFIO_SPAPR_TCE_v2_IOMMU);
	self->c = &self->r.c;
	self->second = group_open(1);
	ASSERT_LE(0, self->second);
	if (is_pseries())
		SKIP_READY(&self->r, "the platform does not share windows");
}

FIXTURE_TEARDOWN(group)
{
	if (self->second >= 0)
		close(self->second);
	expect_as_before(_metadata, &self->r);
}

static int attach(int group, struct container *c)
{
	return result(ioctl(group, VFIO_GROUP_SET_CONTAINER, &c->fd));
}

static int detach(int group)
{
	return result(ioctl(group, VFIO_GROUP_UNSET_CONTAINER));
}

/* The second group takes over all windows; one that leaves takes nothing with it. */
TEST_F(group, detach_leaves_the_others_mappings)
{
	__u64 start;

	ASSERT_EQ(0, do_map(self->c, 0, self->r.m, MiB));
	ASSERT_EQ(0, do_create(self->c, PAGE_SHIFT_OF(self), GiB, 1, &start));
	ASSERT_EQ(0, do_map_at(self->c, start, self->r.m, MiB, RW));
	ASSERT_EQ(0, attach(self->second, self->c));
	ASSERT_EQ(0, detach(self->second));
	EXPECT_EQ(-EBUSY, do_unregister(self->c, self->r.m, MEMORY));
	EXPECT_UNMAP(MiB, self->c, self->c->window, MiB);
	EXPECT_UNMAP(MiB, self->c, start, GiB);
	EXPECT_EQ(0, do_unregister(self->c, self->r.m, MEMORY));
}

/* The group that came first goes first. */
TEST_F(group, first_one_leaves)
{
	__u64 start;

	ASSERT_EQ(0, attach(self->second, self->c));
	ASSERT_EQ(0, do_create(self->c, PAGE_SHIFT_OF(self), GiB, 1, &start));
	ASSERT_EQ(0, do_map_at(self->c, start, self->r.m, MiB, RW));
	ASSERT_EQ(0, detach(self->c->group));
	EXPECT_UNMAP(MiB, self->c, start, GiB);
	EXPECT_EQ(0, do_map_at(self->c, start, self->r.m, MiB, RW));
	ASSERT_EQ(0, attach(self->c->group, self->c));
	EXPECT_EQ(0, do_map_at(self->c, start + MiB, self->r.m, MiB, RW));
	ASSERT_EQ(0, detach(self->second));
	EXPECT_UNMAP(2 * MiB, self->c, start, GiB);
}

TEST_F(group, comes_and_goes)
{
	long charge;
	int i;

	ASSERT_EQ(0, do_map(self->c, 0, self->r.m, MiB));
	charge = locked();
	for (i = 0; i < 10; i++) {
		ASSERT_EQ(0, attach(self->second, self->c));
		EXPECT_EQ(charge, locked());
		EXPECT_EQ(0, do_map(self->c, MiB, self->r.m, MiB));
		ASSERT_EQ(0, detach(self->second));
		EXPECT_EQ(charge, locked());
	}
	EXPECT_UNMAP(2 * MiB, self->c, self->c->window, self->c->window_size);
}

TEST_F(group, attached_twice)
{
	EXPECT_GT(0, attach(self->c->group, self->c));
	ASSERT_EQ(0, attach(self->second, self->c));
	EXPECT_GT(0, attach(self->second, self->c));
	EXPECT_EQ(0, do_map(self->c, 0, self->r.m, MiB));
	ASSERT_EQ(0, detach(self->second));
	EXPECT_GT(0, detach(self->second));
}

/* With the last group go the windows, and their charge. */
TEST_F(group, none_left)
{
	ASSERT_EQ(0, attach(self->second, self->c));
	ASSERT_EQ(0, do_map(self->c, 0, self->r.m, MiB));
	ASSERT_EQ(0, detach(self->c->group));
	ASSERT_EQ(0, detach(self->second));
	EXPECT_EQ(self->r.pinned, settle(pages_pinned, self->r.pinned));
	EXPECT_EQ(self->r.locked, settle(locked, self->r.locked));
	EXPECT_GT(0, do_map(self->c, 0, self->r.m, IOMMU_PAGE));
	/* The same container again, from nothing. */
	ASSERT_EQ(0, attach(self->second, self->c));
	ASSERT_EQ(0, result(ioctl(self->c->fd, VFIO_SET_IOMMU, VFIO_SPAPR_TCE_v2_IOMMU)));
	ASSERT_EQ(0, do_register(self->c, self->r.m, MEMORY));
	EXPECT_EQ(0, do_map(self->c, 0, self->r.m, MiB));
}

TEST_F(group, one_in_v1)
{
	container_close(self->c);
	ASSERT_EQ(0, container_open(self->c, 0, VFIO_SPAPR_TCE_IOMMU));
	EXPECT_EQ(-EBUSY, attach(self->second, self->c));
	EXPECT_EQ(0, do_enable(self->c));
	EXPECT_EQ(-EBUSY, attach(self->second, self->c));
	EXPECT_EQ(0, do_map(self->c, 0, self->r.m, MiB));
	EXPECT_UNMAP(MiB, self->c, self->c->window, MiB);
}

/* 2 TiB of 64K pages. */
FIXTURE(sparse) {
	struct shape s;
};

FIXTURE_VARIANT(sparse) {
	unsigned int page_shift;
	unsigned int levels;
};

SHAPES(sparse, 4k, 12);
SHAPES(sparse, 64k, 16);
SHAPES(sparse, 2m, 21);

FIXTURE_SETUP(sparse)
{
	window_setup(_metadata, &self->s, variant->page_shift, variant->levels);
}

FIXTURE_TEARDOWN(sparse)
{
	expect_as_before(_metadata, &self->s.r);
}

TEST_F(sparse, entries_2_25)
{
	if (variant->levels == 1 && self->s.r.c.levels > 1)
		SKIP_READY(&self->s.r, "a level is not so large");
	check_window(_metadata, &self->s, 25);
}

/*
 * QEMU's largest window: what a guest maps in it is unmapped in one call, and it goes
 * in no time, empty or not.
 */
FIXTURE(largest) {
	struct shape s;
};

FIXTURE_VARIANT(largest) {
	unsigned int page_shift;
	unsigned int levels;
};

SHAPES(largest, 64k, 16);

FIXTURE_SETUP(largest)
{
	window_setup(_metadata, &self->s, variant->page_shift, variant->levels);
}

FIXTURE_TEARDOWN(largest)
{
	expect_as_before(_metadata, &self->s.r);
}

TEST_F(largest, entries_2_31)
{
	const __u64 size = 1ULL << (16 + 31);
	struct container *c = &self->s.r.c;
	struct timespec began, ended;
	char *m = self->s.r.m;
	__u64 start;

	if (variant->levels == 1 && self->s.r.c.levels > 1)
		SKIP_READY(&self->s.r, "a level is not so large");
	ASSERT_EQ(0, do_create(c, 16, size, variant->levels, &start));
	ASSERT_EQ(0, do_map_at(c, start, m, MiB, RW));
	ASSERT_EQ(0, do_map_at(c, start + size / 2, m, MiB, RW));
	ASSERT_EQ(0, do_map_at(c, start + size - MiB, m, MiB, RW));
	clock_gettime(CLOCK_MONOTONIC, &began);
	EXPECT_UNMAP(3 * MiB, c, start, size);
	EXPECT_UNMAP(0, c, start, size);
	EXPECT_EQ(0, do_map_at(c, start, m, MiB, RW));
	EXPECT_EQ(0, do_remove(c, start));
	clock_gettime(CLOCK_MONOTONIC, &ended);
	EXPECT_GT(UNMAP_SECONDS, ended.tv_sec - began.tv_sec);
	EXPECT_EQ(self->s.charge, locked());
}

/* What the kernel allocates for a container's regions and tables is the process's. */
FIXTURE(memcg) {
	struct container c;
	char *m;
	long before;
	long pinned;
};

/* The same scattered pages many times over: 8 bytes of metadata for each 64K. */
#define SHARED_PAGES	(16 * MiB)
#define SHARED_TIMES	512UL

FIXTURE_SETUP(memcg)
{
	unsigned long page = sysconf(_SC_PAGESIZE), n = SHARED_PAGES / page, i;
	int ret, fd;

	self->c = NO_CONTAINER;
	self->pinned = pages_pinned_steady();
	ret = container_open(&self->c, 0, VFIO_SPAPR_TCE_v2_IOMMU);
	if (ret == -EOPNOTSUPP)
		SKIP(return, "no such sPAPR TCE container here");
	ASSERT_EQ(0, ret);
	self->m = mmap(NULL, SHARED_TIMES * SHARED_PAGES, PROT_NONE,
		       MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	ASSERT_NE(MAP_FAILED, self->m);
	fd = memfd_create("vfio_spapr", 0);
	ASSERT_LE(0, fd);
	ASSERT_EQ(0, ftruncate(fd, SHARED_PAGES));
	/* Neighbours are seldom those that were allocated in a row. */
	for (i = 0; i < n; i++)
		ASSERT_EQ(1, pwrite(fd, "x", 1, i * 37 % n * page));
	for (i = 0; i < SHARED_TIMES; i++)
		ASSERT_NE(MAP_FAILED, mmap(self->m + i * SHARED_PAGES, SHARED_PAGES,
					   PROT_READ | PROT_WRITE,
					   MAP_SHARED | MAP_FIXED | MAP_POPULATE, fd, 0));
	close(fd);
	ret = memcg_enter();
	if (ret) {
		container_close(&self->c);
		SKIP(return, "no memory cgroup (v2): %s", strerror(-ret));
	}
	self->before = memcg_kernel();
	ASSERT_LE(0, self->before);
}

FIXTURE_TEARDOWN(memcg)
{
	container_close(&self->c);
	memcg_leave();
	EXPECT_EQ(self->pinned, settle(pages_pinned, self->pinned));
}

TEST_F(memcg, regions)
{
	unsigned long size = SHARED_TIMES * SHARED_PAGES;

	ASSERT_EQ(0, do_register(&self->c, self->m, size));
	EXPECT_CHARGED(self->before + size / sysconf(_SC_PAGESIZE) * 8);
	EXPECT_EQ(0, do_unregister(&self->c, self->m, size));
	EXPECT_CHARGED(self->before);
}

TEST_F(memcg, levels)
{
	/* Two levels of 2^13: a leaf has 64K of TCEs and as much to tell where they lead. */
	const unsigned long leaf = 128 * KiB, reach = 1UL << (13 + 16), leaves = 128;
	unsigned long i;
	__u64 start;

	if (self->c.levels < 2 || !(self->c.pgsizes & (64 * KiB)))
		SKIP(return, "no tables of two levels with 64K pages");
	if (64 * KiB > sysconf(_SC_PAGESIZE))
		SKIP(return, "memory is not contiguous enough for these IOMMU pages");
	ASSERT_EQ(0, do_register(&self->c, self->m, MiB));
	ASSERT_EQ(0, do_remove(&self->c, self->c.window));
	ASSERT_EQ(0, do_create(&self->c, 16, reach << 13, 2, &start));
	EXPECT_CHARGED(self->before);
	for (i = 0; i < leaves; i++)
		ASSERT_EQ(0, do_map_at(&self->c, start + i * reach, self->m, 64 * KiB, RW));
	EXPECT_CHARGED(self->before + leaves * leaf);
	EXPECT_UNMAP(leaves * 64 * KiB, &self->c, start, reach << 13);
	EXPECT_CHARGED(self->before);
	EXPECT_EQ(0, do_remove(&self->c, start));
}

/* A window of a hypervisor's belongs to one group, which is said when another one comes. */
FIXTURE(second) {
	struct ready r;
	int group;
};

FIXTURE_SETUP(second)
{
	if (nr_groups < 2)
		SKIP(return, "needs a second group");
	GET_READY(&self->r, VFIO_SPAPR_TCE_v2_IOMMU);
	self->group = group_open(1);
	ASSERT_LE(0, self->group);
}

FIXTURE_TEARDOWN(second)
{
	if (self->group >= 0)
		close(self->group);
	expect_as_before(_metadata, &self->r);
}

TEST_F(second, joins_or_is_refused_at_once)
{
	struct container *c = &self->r.c;
	__u64 start = 0;

	EXPECT_EQ(is_pseries() ? -EPERM : 0, attach(self->group, c));
	/* Either way the container goes on working. */
	EXPECT_EQ(0, do_map(c, 0, self->r.m, MiB));
	EXPECT_UNMAP(MiB, c, c->window, MiB);
	EXPECT_EQ(0, do_remove(c, c->window));
	ASSERT_EQ(0, do_create(c, 12, 64 * MiB, 1, &start));
	EXPECT_EQ(0, do_map_at(c, start, self->r.m, MiB, RW));
}

/* ---- memory that does not come ---- */

#define SOON_MS		8000	/* a call that waits for nothing has returned by then */

/* A call in a thread of its own */
struct call {
	pthread_t thread;
	int (*fn)(struct call *call);
	struct container *c;
	char *m;
	int ret;
	pid_t tid;
};

static void *call_thread(void *arg)
{
	struct call *call = arg;

	__atomic_store_n(&call->tid, (pid_t)syscall(SYS_gettid), __ATOMIC_RELEASE);
	call->ret = call->fn(call);
	return NULL;
}

static void call_start(struct call *call, struct container *c, char *m,
		       int (*fn)(struct call *call))
{
	*call = (struct call){ .c = c, .m = m, .fn = fn };
	if (pthread_create(&call->thread, NULL, call_thread, call))
		call->fn = NULL;
}

/* What it returned, or -ETIMEDOUT: it is waiting */
static int call_end(struct call *call, unsigned int ms)
{
	struct timespec t;

	if (!call->fn)
		return -EAGAIN;
	clock_gettime(CLOCK_REALTIME, &t);
	t.tv_sec += ms / 1000;
	t.tv_nsec += ms % 1000 * 1000000L;
	if (t.tv_nsec >= 1000000000L) {
		t.tv_nsec -= 1000000000L;
		t.tv_sec++;
	}
	if (pthread_timedjoin_np(call->thread, NULL, &t))
		return -ETIMEDOUT;
	/* Joined once only. */
	call->fn = NULL;
	return call->ret;
}

/* Until the thread sleeps in the kernel, or has ended: no more is known of it outside. */
static void call_sleeps(struct call *call)
{
	char path[64], line[256];
	pid_t tid;
	FILE *f;
	int ms;

	for (ms = 0; ms < SOON_MS; ms++) {
		usleep(1000);
		tid = __atomic_load_n(&call->tid, __ATOMIC_ACQUIRE);
		if (!tid)
			continue;
		snprintf(path, sizeof(path), "/proc/self/task/%d/stat", tid);
		f = fopen(path, "r");
		if (!f)
			return;
		if (!fgets(line, sizeof(line), f))
			line[0] = 0;
		fclose(f);
		if (strstr(line, ") S ") || strstr(line, ") D "))
			return;
	}
}

FIXTURE(waits) {
	struct ready r;
	struct container *c;
	char *late;		/* MEMORY that comes when userfaultfd is told to */
	int uffd;
};

FIXTURE_VARIANT(waits) {
	int type;
};

FIXTURE_VARIANT_ADD(waits, v1) { .type = VFIO_SPAPR_TCE_IOMMU };
FIXTURE_VARIANT_ADD(waits, v2) { .type = VFIO_SPAPR_TCE_v2_IOMMU };

FIXTURE_SETUP(waits)
{
	struct uffdio_api api = { .api = UFFD_API };
	struct uffdio_register reg = { .mode = UFFDIO_REGISTER_MODE_MISSING };

	GET_READY(&self->r, variant->type);
	self->c = &self->r.c;
	self->uffd = syscall(SYS_userfaultfd, O_CLOEXEC | O_NONBLOCK);
	if (self->uffd < 0)
		SKIP_READY(&self->r, "no userfaultfd");
	self->late = anonymous(MEMORY);
	ASSERT_NE(MAP_FAILED, self->late);
	ASSERT_EQ(0, ioctl(self->uffd, UFFDIO_API, &api));
	reg.range.start = (unsigned long)self->late;
	reg.range.len = MEMORY;
	ASSERT_EQ(0, ioctl(self->uffd, UFFDIO_REGISTER, &reg));
}

FIXTURE_TEARDOWN(waits)
{
	close(self->uffd);
	munmap(self->late, MEMORY);
	expect_as_before(_metadata, &self->r);
}

/* The call waits for the first page of @late. */
static bool waits_for_page(int uffd)
{
	struct pollfd p = { .fd = uffd, .events = POLLIN };
	struct uffd_msg msg;

	return poll(&p, 1, SOON_MS) == 1 && read(uffd, &msg, sizeof(msg)) == sizeof(msg);
}

static void pages_come(int uffd, char *m)
{
	struct uffdio_zeropage zero = { .range = { (unsigned long)m, MEMORY } };

	ioctl(uffd, UFFDIO_ZEROPAGE, &zero);
}

static int call_register(struct call *call)
{
	return do_register(call->c, call->m, MEMORY);
}

static int call_map(struct call *call)
{
	return do_map(call->c, 0, call->m, MiB);
}

static int call_unmap(struct call *call)
{
	return do_unmap_bytes(call->c, call->c->window, MiB) == MiB ? 0 : -EIO;
}

static int call_create(struct call *call)
{
	__u64 start;

	return do_create(call->c, 12, 64 * MiB, 1, &start) ?: do_remove(call->c, start);
}

static int call_disable(struct call *call)
{
	return do_disable(call->c);
}

static int call_detach(struct call *call)
{
	return detach(call->c->group);
}

/* What pins waits; what changes windows, then what maps elsewhere, does not. */
TEST_F(waits, others_go_on)
{
	bool v1 = variant->type == VFIO_SPAPR_TCE_IOMMU;
	struct call pins, changes, maps, unmaps;

	call_start(&pins, self->c, self->late, v1 ? call_map : call_register);
	ASSERT_TRUE(waits_for_page(self->uffd));
	call_start(&changes, self->c, NULL, v1 ? call_disable : call_create);
	call_sleeps(&changes);
	if (v1)
		EXPECT_EQ(0, call_end(&changes, SOON_MS));
	call_start(&maps, self->c, self->r.m, call_map);
	EXPECT_EQ(v1 ? -EPERM : 0, call_end(&maps, SOON_MS));
	call_start(&unmaps, self->c, NULL, call_unmap);
	EXPECT_EQ(v1 ? -EIO : 0, call_end(&unmaps, SOON_MS));
	if (!v1)
		EXPECT_EQ(0, call_end(&changes, SOON_MS));

	/* The first one has waited all the time, and ends when the pages are there. */
	EXPECT_EQ(-ETIMEDOUT, call_end(&pins, 1));
	pages_come(self->uffd, self->late);
	EXPECT_EQ(v1 ? -ENODEV : 0, call_end(&pins, SOON_MS));
	/* Whoever still waits for another, in a kernel that makes them wait */
	call_end(&maps, SOON_MS);
	call_end(&unmaps, SOON_MS);
	call_end(&changes, SOON_MS);
}

/* The last group leaves, and is not held up; the call ends without its container. */
TEST_F(waits, group_leaves)
{
	bool v1 = variant->type == VFIO_SPAPR_TCE_IOMMU;
	struct call pins, leaves;

	call_start(&pins, self->c, self->late, v1 ? call_map : call_register);
	ASSERT_TRUE(waits_for_page(self->uffd));
	call_start(&leaves, self->c, NULL, call_detach);
	EXPECT_EQ(0, call_end(&leaves, SOON_MS));
	EXPECT_EQ(-ETIMEDOUT, call_end(&pins, 1));
	pages_come(self->uffd, self->late);
	EXPECT_EQ(v1 ? -ENODEV : 0, call_end(&pins, SOON_MS));
	call_end(&leaves, SOON_MS);
}

/*
 * At RLIMIT_MEMLOCK. What a call gives back is there when it returns, whoever wants it:
 * libvirt lowers the limit then, QEMU goes on with something else.
 */
#define CHARGE		(4 * MiB)
#define LIMIT_ROUNDS	60

FIXTURE(limit) {
	struct container c;
	char *a, *b;
	long pinned, locked;
};

FIXTURE_SETUP(limit)
{
	int ret;

	self->pinned = pages_pinned_steady();
	self->locked = locked();
	ret = container_open(&self->c, 0, VFIO_SPAPR_TCE_v2_IOMMU);
	if (ret == -EOPNOTSUPP)
		SKIP(return, "no such sPAPR TCE container here");
	ASSERT_EQ(0, ret);
	self->a = anonymous(2 * CHARGE);
	ASSERT_NE(MAP_FAILED, self->a);
	memset(self->a, 1, 2 * CHARGE);
	self->b = self->a + CHARGE;
}

FIXTURE_TEARDOWN(limit)
{
	container_close(&self->c);
	EXPECT_EQ(self->pinned, settle(pages_pinned, self->pinned));
	EXPECT_EQ(self->locked, locked());
}

/* A window of a level whose table is about as large as CHARGE, and one that grows by a bit. */
static int charge_window(struct container *c, bool grows)
{
	const unsigned int shift = __builtin_ctzl(sysconf(_SC_PAGESIZE));
	__u64 start = 0;
	int ret;

	if (!grows)
		ret = do_create(c, shift, 1ULL << (shift + 17), 1, &start);
	else
		ret = do_create(c, shift, 1ULL << (shift + 25), 2, &start);
	return ret ?: do_remove(c, start);
}

static const char * const charge_name[] = { "register", "mlock", "create", "create of levels" };

static int charge(struct container *c, char *m, unsigned int how)
{
	switch (how) {
	case 0:
		return do_register(c, m, CHARGE) ?: do_unregister(c, m, CHARGE);
	case 1:
		return result(mlock(m, CHARGE)) ?: result(munlock(m, CHARGE));
	case 2:
		return charge_window(c, false);
	default:
		return c->levels > 1 ? charge_window(c, true) : 0;
	}
}

TEST_F(limit, unregister_gives_back)
{
	unsigned int i, how, failed[4] = {};

	ASSERT_EQ(0, do_remove(&self->c, self->c.window));
	ASSERT_EQ(0, do_register(&self->c, self->a, CHARGE));
	ASSERT_EQ(0, limit_locked(0));
	for (i = 0; i < LIMIT_ROUNDS; i++) {
		how = i % 4;
		ASSERT_EQ(0, do_unregister(&self->c, self->a, CHARGE));
		failed[how] += !!charge(&self->c, self->b, how);
		ASSERT_EQ(0, do_register(&self->c, self->a, CHARGE));
	}
	for (how = 0; how < 4; how++) {
		EXPECT_EQ(0, failed[how])
			TH_LOG("%s failed", charge_name[how]);
	}
}

TEST_F(limit, remove_gives_back)
{
	const unsigned int shift = __builtin_ctzl(sysconf(_SC_PAGESIZE));
	const __u64 size = 1ULL << (shift + 17);
	unsigned int i, how, failed[4] = {};
	__u64 start;
	long before;

	ASSERT_EQ(0, do_register(&self->c, self->a, CHARGE));
	ASSERT_EQ(0, do_remove(&self->c, self->c.window));
	before = locked();
	ASSERT_EQ(0, do_create(&self->c, shift, size, 1, &start));
	if (locked() - before < (long)MiB)
		SKIP(return, "a window of this size is charged %ld bytes only",
		     locked() - before);
	ASSERT_EQ(0, limit_locked(0));
	for (i = 0; i < LIMIT_ROUNDS; i++) {
		how = 1 + i % 2;
		ASSERT_EQ(0, do_map_at(&self->c, start, self->a, MiB, RW));
		ASSERT_EQ(0, do_remove(&self->c, start));
		failed[how] += how == 1 ? !!result(mlock(self->b, MiB)) :
					  !!charge(&self->c, self->b, how);
		munlock(self->b, MiB);
		ASSERT_EQ(0, do_create(&self->c, shift, size, 1, &start));
	}
	EXPECT_EQ(0, failed[1] + failed[2]);
}

TEST_F(limit, release_gives_back)
{
	unsigned int i;

	ASSERT_EQ(0, do_register(&self->c, self->a, CHARGE));
	ASSERT_EQ(0, do_map(&self->c, 0, self->a, MiB));
	ASSERT_EQ(0, limit_locked(0));
	for (i = 0; i < LIMIT_ROUNDS / 3; i++) {
		container_close(&self->c);
		ASSERT_EQ(0, container_open(&self->c, 0, VFIO_SPAPR_TCE_v2_IOMMU));
		ASSERT_EQ(0, do_register(&self->c, i % 2 ? self->a : self->b, CHARGE));
		ASSERT_EQ(0, do_unregister(&self->c, i % 2 ? self->a : self->b, CHARGE));
		ASSERT_EQ(0, do_register(&self->c, self->a, CHARGE));
		ASSERT_EQ(0, do_map(&self->c, 0, self->a, MiB));
	}
}

TEST_F(limit, disable_gives_back)
{
	unsigned int i;

	container_close(&self->c);
	ASSERT_EQ(0, container_open(&self->c, 0, VFIO_SPAPR_TCE_IOMMU));
	ASSERT_EQ(0, do_enable(&self->c));
	ASSERT_EQ(0, do_map(&self->c, 0, self->a, MiB));
	ASSERT_EQ(0, limit_locked(0));
	for (i = 0; i < LIMIT_ROUNDS / 3; i++) {
		ASSERT_EQ(0, do_map(&self->c, 0, self->a, MiB));
		ASSERT_EQ(0, do_disable(&self->c));
		ASSERT_EQ(0, result(mlock(self->b, CHARGE)));
		ASSERT_EQ(0, munlock(self->b, CHARGE));
		ASSERT_EQ(0, do_enable(&self->c));
		if (i % 4)
			continue;
		container_close(&self->c);
		ASSERT_EQ(0, container_open(&self->c, 0, VFIO_SPAPR_TCE_IOMMU));
		ASSERT_EQ(0, do_enable(&self->c));
	}
}

struct turns {
	struct container *c;
	pthread_mutex_t lock;
	unsigned int failed;
};

struct turn {
	pthread_t thread;
	struct turns *turns;
	char *m;
};

static void *take_turns(void *arg)
{
	struct turn *turn = arg;
	struct turns *turns = turn->turns;
	unsigned int i;

	for (i = 0; i < LIMIT_ROUNDS; i++) {
		pthread_mutex_lock(&turns->lock);
		if (do_register(turns->c, turn->m, MiB) || do_unregister(turns->c, turn->m, MiB))
			turns->failed++;
		pthread_mutex_unlock(&turns->lock);
	}
	return NULL;
}

/* Threads that take turns with memory of which only one can have its own. */
TEST_F(limit, threads_in_turn)
{
	struct turns turns = { .c = &self->c, .lock = PTHREAD_MUTEX_INITIALIZER };
	struct turn turn[4];
	unsigned int n, i;

	ASSERT_EQ(0, limit_locked(MiB));
	for (n = 2; n <= 4; n += 2) {
		for (i = 0; i < n; i++) {
			turn[i].turns = &turns;
			turn[i].m = self->a + i * MiB;
			ASSERT_EQ(0, pthread_create(&turn[i].thread, NULL, take_turns,
						    &turn[i]));
		}
		for (i = 0; i < n; i++)
			pthread_join(turn[i].thread, NULL);
		EXPECT_EQ(0, turns.failed);
	}
}

FIXTURE(beyond) {
	struct ready r;
	struct container *c;
	__u64 end;
};

FIXTURE_VARIANT(beyond) {
	int type;
};

FIXTURE_VARIANT_ADD(beyond, v1) { .type = VFIO_SPAPR_TCE_IOMMU };
FIXTURE_VARIANT_ADD(beyond, v2) { .type = VFIO_SPAPR_TCE_v2_IOMMU };

FIXTURE_SETUP(beyond)
{
	GET_READY(&self->r, variant->type);
	self->c = &self->r.c;
	self->end = self->c->window + self->c->window_size;
	/* The default window is there. */
	ASSERT_EQ(0, do_unmap(self->c, 0, IOMMU_PAGE));
}

FIXTURE_TEARDOWN(beyond)
{
	expect_as_before(_metadata, &self->r);
}

static void check_beyond(struct __test_metadata *_metadata, struct ready *r, bool v1,
			 unsigned long into, unsigned long size)
{
	struct container *c = &r->c;
	__u64 at = c->window + c->window_size - into;

	EXPECT_TRUE(refused(do_map_at(c, at, r->m, size, RW)));
	EXPECT_TRUE(refused(do_unmap_bytes(c, at, size)));
	EXPECT_EQ(pins(r, v1, 0), pages_pinned());
	EXPECT_UNMAP(0, c, c->window, c->window_size);
}

TEST_F(beyond, by_a_page)
{
	check_beyond(_metadata, &self->r, variant->type == VFIO_SPAPR_TCE_IOMMU,
		     IOMMU_PAGE, 2 * IOMMU_PAGE);
}

TEST_F(beyond, by_15_mib)
{
	check_beyond(_metadata, &self->r, variant->type == VFIO_SPAPR_TCE_IOMMU, MiB, MEMORY);
}

TEST_F(beyond, unmap_by_a_lot)
{
	EXPECT_TRUE(refused(do_unmap_bytes(self->c, self->c->window, 2 * self->c->window_size)));
	EXPECT_TRUE(refused(do_unmap_bytes(self->c, self->c->window, 1ULL << 62)));
	EXPECT_TRUE(refused(do_unmap_bytes(self->c, self->c->window, 1ULL << 63)));
	EXPECT_TRUE(refused(do_unmap_bytes(self->c, self->c->window, -IOMMU_PAGE)));
	EXPECT_TRUE(refused(do_unmap_bytes(self->c, self->end - IOMMU_PAGE, -IOMMU_PAGE)));
}

TEST_F(beyond, map_wraps)
{
	EXPECT_GT(0, do_map_at(self->c, self->end - IOMMU_PAGE, self->r.m, -IOMMU_PAGE, RW));
	EXPECT_GT(0, do_map_at(self->c, self->end - IOMMU_PAGE, self->r.m,
			       -(self->end - 2 * IOMMU_PAGE), RW));
	EXPECT_GT(0, do_map_at(self->c, self->c->window, (void *)-MiB, MEMORY, RW));
	EXPECT_UNMAP(0, self->c, self->c->window, self->c->window_size);
}

int main(int argc, char **argv)
{
	spapr_tce_init(&argc, argv);
	probe_unmap();
	return test_harness_run(argc, argv);
}
