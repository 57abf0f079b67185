// SPDX-License-Identifier: GPL-2.0
/*
 * DMA of a real device through VFIO sPAPR TCE containers: data arrives where it is mapped
 * and nowhere else, and the device does not reach what is not mapped.
 *
 *	vfio_spapr_tce_dma_test [-f FIXTURE] [-F FIXTURE] [-t TEST] [GROUP]
 *
 *	window	the default window; v1 and v2
 *	levels	a second window of 1 to 5 levels at every page size: its first, middle and
 *		last leaf; v2
 *	groups	two devices, one container
 *	again	memory that is unmapped while TCEs lead to it, and mapped again at the same
 *		address
 *	largest	as levels, with 2^31 entries
 *
 * The group's device must be an NVMe; ITS DATA IS OVERWRITTEN. 'largest' can be left out:
 * on POWER8 it takes Linux 6.12 many minutes.
 *
 * All memory that any TCE leads to is filled with a guard value. Each transfer is followed by
 * a check of all of it: the page that should have changed, and everything else.
 */
#include <poll.h>
#include <sched.h>
#include <sys/eventfd.h>

#include "vfio_spapr_nvme.h"
#include "kselftest_harness.h"
#include "vfio_spapr_dma.h"

/* Emulated machines are slow. */
#undef TEST_TIMEOUT_DEFAULT
#define TEST_TIMEOUT_DEFAULT 120

#define MEMORY		(2 * MiB)
#define QUEUES_AT	(16 * MiB)	/* in the default window; entry 0 stays empty */
#define SECOND_START	(1ULL << 59)

/* For a set-up that is skipped after all: there is no teardown, and the next case must not see. */
static void dma_leave(struct dma *d)
{
	nvme_close(&d->n);
	container_close(&d->c);
	settle(pages_pinned, d->pinned);
}

static void dma_setup(struct __test_metadata *_metadata, struct dma *d, int type)
{
	int ret;

	d->n.device = -1;
	d->pinned = pages_pinned_steady();
	ret = container_open(&d->c, 0, type);
	if (ret == -EOPNOTSUPP)
		SKIP(return, "no such sPAPR TCE container here");
	ASSERT_EQ(0, ret)
		TH_LOG("group %d: %s", groups[0], strerror(-ret));
	d->queues = anonymous(64 * KiB + MEMORY);
	ASSERT_NE(MAP_FAILED, d->queues);
	d->m = d->queues + 64 * KiB;
	memset(d->m, GUARD, MEMORY);
	if (type == VFIO_SPAPR_TCE_IOMMU) {
		ASSERT_EQ(0, do_enable(&d->c));
	} else {
		ASSERT_EQ(0, do_register(&d->c, d->queues, 64 * KiB + MEMORY));
	}
	ASSERT_EQ(0, do_map(&d->c, QUEUES_AT, d->queues, NVME_MEMORY));
	ret = nvme_open(&d->n, &d->c, d->c.group, groups[0], d->queues, d->c.window + QUEUES_AT);
	if (ret == -ENODEV) {
		dma_leave(d);
		SKIP(return, "group %d has no NVMe", groups[0]);
	}
	ASSERT_EQ(0, ret);
}

static void dma_teardown(struct __test_metadata *_metadata, struct dma *d)
{
	nvme_close(&d->n);
	container_close(&d->c);
	EXPECT_EQ(d->pinned, settle(pages_pinned, d->pinned));
}

FIXTURE(window) {
	struct dma d;
	struct nvme *n;
	char *m;
};

FIXTURE_VARIANT(window) {
	int type;
};

FIXTURE_VARIANT_ADD(window, v1) { .type = VFIO_SPAPR_TCE_IOMMU };
FIXTURE_VARIANT_ADD(window, v2) { .type = VFIO_SPAPR_TCE_v2_IOMMU };

FIXTURE_SETUP(window)
{
	dma_setup(_metadata, &self->d, variant->type);
	self->n = &self->d.n;
	self->m = self->d.m;
}

FIXTURE_TEARDOWN(window)
{
	dma_teardown(_metadata, &self->d);
}

/* Consecutive addresses onto pages that are not, at the window's ends and inside. */
TEST_F(window, lands_where_mapped)
{
	__u64 at[] = { 0, MiB, self->d.c.window_size / 2, self->d.c.window_size - 2 * IOMMU_PAGE };
	unsigned int i;

	for (i = 0; i < ARRAY_SIZE(at); i++) {
		char *one = self->m + 64 * KiB * (i + 1) + IOMMU_PAGE;
		char *two = self->m + MEMORY - 64 * KiB * (i + 1) - IOMMU_PAGE;
		__u64 iova = self->d.c.window + at[i];

		ASSERT_EQ(0, do_map(&self->d.c, at[i], one, IOMMU_PAGE));
		ASSERT_EQ(0, do_map(&self->d.c, at[i] + IOMMU_PAGE, two, IOMMU_PAGE));
		check_both(_metadata, &self->d, self->n, iova, one, self->m, MEMORY);
		check_both(_metadata, &self->d, self->n, iova + IOMMU_PAGE, two, self->m, MEMORY);
	}
}

/* Every TCE of a long map, in one command. */
TEST_F(window, every_entry)
{
	unsigned char data[16 * NVME_PAGE];
	__u64 iovas[16], iova = self->d.c.window + 512 * MiB;
	unsigned int i;

	ASSERT_EQ(0, do_map_at(&self->d.c, iova, self->m, MEMORY, RW));
	for (i = 0; i < 16; i++) {
		fill(data + i * NVME_PAGE, 100 + i);
		ASSERT_EQ(0, nvme_medium_set(self->n, MEDIUM_PAGE + i, data + i * NVME_PAGE));
		iovas[i] = iova + (i * 37 + 5) * NVME_PAGE % MEMORY;
	}
	ASSERT_EQ(0, nvme_rw_list(self->n, NVME_IO_READ, MEDIUM_PAGE, iovas, 16));
	for (i = 0; i < 16; i++) {
		char *at = self->m + (iovas[i] - iova);

		EXPECT_EQ(0, memcmp(at, data + i * NVME_PAGE, NVME_PAGE));
		memset(at, GUARD, NVME_PAGE);
	}
	EXPECT_TRUE(guards_hold(self->m, MEMORY, NULL));
}

TEST_F(window, after_unmap)
{
	__u64 iova = self->d.c.window + MiB;
	int i;

	for (i = 0; i < 2; i++) {
		ASSERT_EQ(0, do_map_at(&self->d.c, iova, self->m, 3 * IOMMU_PAGE, RW));
		check_both(_metadata, &self->d, self->n, iova + IOMMU_PAGE, self->m + IOMMU_PAGE,
			   self->m, MEMORY);
		ASSERT_EQ(0, do_unmap(&self->d.c, MiB + IOMMU_PAGE, IOMMU_PAGE));
		check_none(_metadata, &self->d, self->n, iova + IOMMU_PAGE, self->m, MEMORY);
		/* Its neighbours are as before. */
		check_both(_metadata, &self->d, self->n, iova, self->m, self->m, MEMORY);
		check_both(_metadata, &self->d, self->n, iova + 2 * IOMMU_PAGE,
			   self->m + 2 * IOMMU_PAGE, self->m, MEMORY);
	}
}

TEST_F(window, after_replace)
{
	__u64 iova = self->d.c.window + MiB;
	char *to;
	int i;

	for (i = 0; i < 4; i++) {
		to = self->m + i * 5 * 64 * KiB;
		ASSERT_EQ(0, do_map_at(&self->d.c, iova, to, 2 * IOMMU_PAGE, RW));
		check_both(_metadata, &self->d, self->n, iova, to, self->m, MEMORY);
		check_both(_metadata, &self->d, self->n, iova + IOMMU_PAGE, to + IOMMU_PAGE,
			   self->m, MEMORY);
	}
}

/* What was never mapped, next to what is; and just past the end. */
TEST_F(window, not_mapped)
{
	struct container *c = &self->d.c;
	__u64 w = c->window;

	ASSERT_EQ(0, do_map(c, MiB, self->m, IOMMU_PAGE));
	ASSERT_EQ(0, do_map(c, c->window_size - IOMMU_PAGE, self->m + IOMMU_PAGE, IOMMU_PAGE));
	check_none(_metadata, &self->d, self->n, w + MiB - IOMMU_PAGE, self->m, MEMORY);
	check_none(_metadata, &self->d, self->n, w + MiB + IOMMU_PAGE, self->m, MEMORY);
	check_none(_metadata, &self->d, self->n, w + c->window_size, self->m, MEMORY);
	check_none(_metadata, &self->d, self->n, SECOND_START, self->m, MEMORY);
	check_both(_metadata, &self->d, self->n, w + MiB, self->m, self->m, MEMORY);
}

TEST_F(window, read_only)
{
	__u64 iova = self->d.c.window + MiB;

	ASSERT_EQ(0, do_map_at(&self->d.c, iova, self->m, IOMMU_PAGE, VFIO_DMA_MAP_FLAG_READ));
	check_out(_metadata, &self->d, self->n, iova, self->m);
	check_no_in(_metadata, &self->d, self->n, iova, self->m, MEMORY);
	/* Over it, for writing; and back. */
	ASSERT_EQ(0, do_map_at(&self->d.c, iova, self->m, IOMMU_PAGE, RW));
	check_in(_metadata, &self->d, self->n, iova, self->m, self->m, MEMORY);
	ASSERT_EQ(0, do_map_at(&self->d.c, iova, self->m, IOMMU_PAGE, VFIO_DMA_MAP_FLAG_READ));
	check_no_in(_metadata, &self->d, self->n, iova, self->m, MEMORY);
}

/* A map that fails half way leaves nothing a device could reach. */
TEST_F(window, failed_map)
{
	__u64 iova = self->d.c.window + MiB;

	ASSERT_EQ(0, munmap(self->m + MEMORY - 64 * KiB, 64 * KiB));
	if (variant->type == VFIO_SPAPR_TCE_IOMMU) {
		EXPECT_GT(0, do_map_at(&self->d.c, iova, self->m, MEMORY, RW));
	} else {
		/* Registered memory stays pinned: go past it. */
		EXPECT_GT(0, do_map_at(&self->d.c, iova, self->m, MEMORY + 64 * KiB, RW));
	}
	check_none(_metadata, &self->d, self->n, iova, self->m, MEMORY - 64 * KiB);
	check_none(_metadata, &self->d, self->n, iova + MiB, self->m, MEMORY - 64 * KiB);
}

/* The first vector signals an eventfd of its own from now on, which is returned. */
static int vector_signal(int device)
{
	struct {
		struct vfio_irq_set set;
		__s32 fd;
	} irq = {
		.set = {
			.argsz = sizeof(irq),
			.flags = VFIO_IRQ_SET_DATA_EVENTFD | VFIO_IRQ_SET_ACTION_TRIGGER,
			.index = VFIO_PCI_MSIX_IRQ_INDEX,
			.count = 1,
		},
		.fd = eventfd(0, EFD_CLOEXEC),
	};

	return ioctl(device, VFIO_DEVICE_SET_IRQS, &irq) ? -errno : irq.fd;
}

/* A vector that is given to another eventfd, as QEMU does when a guest unmasks it */
TEST_F(window, interrupts)
{
	struct dma *d = &self->d;
	struct pollfd p = { .events = POLLIN };
	int i, fd[3];

	for (i = 0; i < 3; i++) {
		fd[i] = vector_signal(d->n.device);
		ASSERT_LE(0, fd[i]);
		/* with some commands, each of which ends in an interrupt */
		ASSERT_EQ(0, nvme_start(&d->n));
		p.fd = fd[i];
		EXPECT_EQ(1, poll(&p, 1, 5000))
			TH_LOG("eventfd %d", i);
	}
	for (i = 0; i < 3; i++)
		close(fd[i]);
}

/* Where data goes is decided at map time, whatever becomes of the process's own pages. */
TEST_F(window, pinned_page)
{
	__u64 iova = self->d.c.window + MiB;
	char *fresh;

	ASSERT_EQ(0, do_map_at(&self->d.c, iova, self->m, IOMMU_PAGE, RW));
	fresh = mmap(self->m, 64 * KiB, PROT_READ | PROT_WRITE,
		     MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0);
	ASSERT_EQ(self->m, fresh);
	memset(fresh, GUARD, 64 * KiB);
	/* The old page is nobody's but the device's. */
	EXPECT_EQ(0, nvme_rw(self->n, NVME_IO_READ, MEDIUM_PAGE, iova));
	EXPECT_TRUE(guards_hold(self->m, MEMORY, NULL));
	ASSERT_EQ(0, do_unmap_at(&self->d.c, iova, &(__u64){ IOMMU_PAGE }, 0));
}

/* A second window, of some shape; 1 << entries_shift pages. */
struct shape {
	unsigned int page_shift;
	unsigned int levels;
	unsigned int entries_shift;
};

/* An IOMMU page each, one guard for them all; NULL if there are no pages so large. */
static char *pages_for(struct dma *d, unsigned long page, unsigned int nr)
{
	const unsigned long kib = page / KiB;
	char path[100];
	FILE *f;
	char *m;

	if (page <= (unsigned long)sysconf(_SC_PAGESIZE))
		return d->m;
	if (!gup_finds(page))
		return NULL;
	snprintf(path, sizeof(path), "/sys/kernel/mm/hugepages/hugepages-%lukB/nr_hugepages", kib);
	f = fopen(path, "w");
	if (f) {
		fprintf(f, "%u\n", nr);
		fclose(f);
	}
	m = mmap(NULL, nr * page, PROT_READ | PROT_WRITE,
		 MAP_PRIVATE | MAP_ANONYMOUS | MAP_HUGETLB | __builtin_ctzl(page) << 26, -1, 0);
	if (m == MAP_FAILED || do_register(&d->c, m, nr * page))
		return NULL;
	memset(m, GUARD, nr * page);
	return m;
}

static void check_shape(struct __test_metadata *_metadata, struct dma *d, const struct shape *s)
{
	const __u64 page = 1ULL << s->page_shift, size = page << s->entries_shift;
	const unsigned long last = page - NVME_PAGE;
	__u64 at[] = { 0, size / 2, size - page };
	struct container *c = &d->c;
	unsigned int i;
	__u64 start;
	char *m;

	if (!(c->pgsizes & page))
		SKIP(return, "the PHB has no such IOMMU pages");
	if (s->levels > c->levels)
		SKIP(return, "the platform has tables of %u level(s)", c->levels);
	m = pages_for(d, page, ARRAY_SIZE(at));
	if (!m)
		SKIP(return, "no huge pages of this size");
	ASSERT_EQ(0, do_create(c, s->page_shift, size, s->levels, &start));

	/* Before anything is mapped, and no level exists yet. */
	check_none(_metadata, d, &d->n, start, m, ARRAY_SIZE(at) * page);
	for (i = 0; i < ARRAY_SIZE(at); i++) {
		ASSERT_EQ(0, do_map_at(c, start + at[i], m + i * page, page, RW));
	}
	for (i = 0; i < ARRAY_SIZE(at); i++) {
		check_both(_metadata, d, &d->n, start + at[i], m + i * page,
			   m, ARRAY_SIZE(at) * page);
		if (last) {
			check_both(_metadata, d, &d->n, start + at[i] + last, m + i * page + last,
				   m, ARRAY_SIZE(at) * page);
		}
	}
	/* Cleared: the first by itself, the others with their whole leaves. */
	ASSERT_EQ(0, do_unmap_at(c, start, &(__u64){ page }, 0));
	check_none(_metadata, d, &d->n, start, m, ARRAY_SIZE(at) * page);
	/* Just outside: as large as was asked for, whatever the table is. */
	check_none(_metadata, d, &d->n, start + size, m, ARRAY_SIZE(at) * page);
	check_both(_metadata, d, &d->n, start + at[2], m + 2 * page, m, ARRAY_SIZE(at) * page);
	ASSERT_EQ(0, do_unmap_at(c, start + size / 2, &(__u64){ size / 2 }, 0));
	check_none(_metadata, d, &d->n, start + at[1], m, ARRAY_SIZE(at) * page);
	check_none(_metadata, d, &d->n, start + at[2] + last, m, ARRAY_SIZE(at) * page);
	/* And again where a level may have gone meanwhile. */
	ASSERT_EQ(0, do_map_at(c, start + at[2], m, page, RW));
	check_both(_metadata, d, &d->n, start + at[2], m, m, ARRAY_SIZE(at) * page);
	ASSERT_EQ(0, do_remove(c, start));
	check_none(_metadata, d, &d->n, start + at[2], m, ARRAY_SIZE(at) * page);
}

FIXTURE(levels) {
	struct dma d;
};

FIXTURE_VARIANT(levels) {
	struct shape s;
};

#define SHAPES(fixture, name, shift, entries)					\
FIXTURE_VARIANT_ADD(fixture, name##_1) { .s = { shift, 1, entries } };		\
FIXTURE_VARIANT_ADD(fixture, name##_2) { .s = { shift, 2, entries } };		\
FIXTURE_VARIANT_ADD(fixture, name##_3) { .s = { shift, 3, entries } };		\
FIXTURE_VARIANT_ADD(fixture, name##_4) { .s = { shift, 4, entries } };		\
FIXTURE_VARIANT_ADD(fixture, name##_5) { .s = { shift, 5, entries } }

SHAPES(levels, 4k, 12, 20);
SHAPES(levels, 64k, 16, 20);
SHAPES(levels, 2m, 21, 20);
SHAPES(levels, 16m, 24, 20);

FIXTURE_SETUP(levels)
{
	dma_setup(_metadata, &self->d, VFIO_SPAPR_TCE_v2_IOMMU);
}

FIXTURE_TEARDOWN(levels)
{
	dma_teardown(_metadata, &self->d);
}

TEST_F(levels, every_leaf)
{
	check_shape(_metadata, &self->d, &variant->s);
}

FIXTURE(groups) {
	struct dma d;
	struct nvme n2;
	int second;
};

FIXTURE_SETUP(groups)
{
	int ret;

	self->second = -1;
	self->n2.device = -1;
	if (nr_groups < 2)
		SKIP(return, "needs a second group");
	dma_setup(_metadata, &self->d, VFIO_SPAPR_TCE_v2_IOMMU);
	if (self->d.n.device < 0)
		return;
	self->second = group_join(&self->d.c, 1);
	if (self->second == -EPERM && is_pseries()) {
		dma_leave(&self->d);
		SKIP(return, "the platform does not share windows");
	}
	ASSERT_LE(0, self->second);
	ASSERT_EQ(0, do_map(&self->d.c, QUEUES_AT + MiB, self->d.queues + NVME_MEMORY,
			    NVME_MEMORY));
	ret = nvme_open(&self->n2, &self->d.c, self->second, groups[1],
			self->d.queues + NVME_MEMORY, self->d.c.window + QUEUES_AT + MiB);
	if (ret == -ENODEV) {
		close(self->second);
		dma_leave(&self->d);
		SKIP(return, "group %d has no NVMe", groups[1]);
	}
	ASSERT_EQ(0, ret);
}

FIXTURE_TEARDOWN(groups)
{
	nvme_close(&self->n2);
	if (self->second >= 0)
		close(self->second);
	dma_teardown(_metadata, &self->d);
}

/* One window, two devices: both see each map and each unmap. */
TEST_F(groups, share_windows)
{
	struct dma *d = &self->d;
	__u64 iova = d->c.window + MiB, start;

	ASSERT_EQ(0, do_map_at(&d->c, iova, d->m, IOMMU_PAGE, RW));
	check_both(_metadata, d, &d->n, iova, d->m, d->m, MEMORY);
	check_both(_metadata, d, &self->n2, iova, d->m, d->m, MEMORY);
	ASSERT_EQ(0, do_unmap_at(&d->c, iova, &(__u64){ IOMMU_PAGE }, 0));
	check_none(_metadata, d, &d->n, iova, d->m, MEMORY);
	check_none(_metadata, d, &self->n2, iova, d->m, MEMORY);
	/* whose pages are the kernel's */
	ASSERT_EQ(0, do_create(&d->c, __builtin_ctzl(sysconf(_SC_PAGESIZE)), GiB, 1, &start));
	ASSERT_EQ(0, do_map_at(&d->c, start, d->m, 64 * KiB, RW));
	check_both(_metadata, d, &d->n, start, d->m, d->m, MEMORY);
	check_both(_metadata, d, &self->n2, start, d->m, d->m, MEMORY);
}

/* One leaves, by hot unplug: the other's DMA goes on, its own ends. */
TEST_F(groups, one_leaves)
{
	struct dma *d = &self->d;
	__u64 iova = d->c.window + MiB;

	ASSERT_EQ(0, do_map_at(&d->c, iova, d->m, IOMMU_PAGE, RW));
	check_both(_metadata, d, &self->n2, iova, d->m, d->m, MEMORY);
	nvme_close(&self->n2);
	ASSERT_EQ(0, result(ioctl(self->second, VFIO_GROUP_UNSET_CONTAINER)));
	check_both(_metadata, d, &d->n, iova, d->m, d->m, MEMORY);
	/* It comes back, and reaches what is mapped now. */
	ASSERT_EQ(0, result(ioctl(self->second, VFIO_GROUP_SET_CONTAINER, &d->c.fd)));
	ASSERT_EQ(0, nvme_open(&self->n2, &d->c, self->second, groups[1],
			       d->queues + NVME_MEMORY, d->c.window + QUEUES_AT + MiB));
	check_both(_metadata, d, &self->n2, iova, d->m, d->m, MEMORY);
}

/*
 * A guest gives memory back that its TCEs still lead to, and gets other memory at the
 * same address: QEMU's calls, none of which but the first unregister may fail.
 */
FIXTURE(again) {
	struct dma d;
	char *dimm;
};

FIXTURE_SETUP(again)
{
	dma_setup(_metadata, &self->d, VFIO_SPAPR_TCE_v2_IOMMU);
	self->dimm = anonymous(MEMORY);
	ASSERT_NE(MAP_FAILED, self->dimm);
}

FIXTURE_TEARDOWN(again)
{
	dma_teardown(_metadata, &self->d);
}

static void replug(struct __test_metadata *_metadata, char *dimm)
{
	ASSERT_EQ(0, munmap(dimm, MEMORY));
	ASSERT_EQ(dimm, mmap(dimm, MEMORY, PROT_READ | PROT_WRITE,
			     MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0));
	memset(dimm, GUARD, MEMORY);
}

TEST_F(again, memory_at_the_same_address)
{
	struct dma *d = &self->d;
	const __u64 old = d->c.window + MiB, new = d->c.window + 2 * MiB;
	char *dimm = self->dimm;

	memset(dimm, GUARD, MEMORY);
	ASSERT_EQ(0, do_register(&d->c, dimm, MEMORY));
	ASSERT_EQ(0, do_map_at(&d->c, old, dimm, 64 * KiB, RW));
	check_both(_metadata, d, &d->n, old, dimm, dimm, MEMORY);
	EXPECT_EQ(-EBUSY, do_unregister(&d->c, dimm, MEMORY));
	replug(_metadata, dimm);

	ASSERT_EQ(0, do_register(&d->c, dimm, MEMORY));
	/* What led to the old memory leads nowhere now; what is mapped leads to the new. */
	check_none(_metadata, d, &d->n, old, dimm, MEMORY);
	ASSERT_EQ(0, do_map_at(&d->c, new, dimm, 64 * KiB, RW));
	check_both(_metadata, d, &d->n, new, dimm, dimm, MEMORY);
	EXPECT_EQ(-EBUSY, do_register(&d->c, dimm, MEMORY));
	ASSERT_EQ(0, do_unmap_at(&d->c, new, &(__u64){ 64 * KiB }, 0));
	EXPECT_EQ(0, do_unregister(&d->c, dimm, MEMORY));
}

/*
 * QEMU has a container per host bridge and tells each of the memory. Whose TCE it is that leads
 * to the old one, and whose unregistration is refused for it, makes no difference.
 */
static void replug_two(struct __test_metadata *_metadata, struct dma *d,
		       struct container *other, char *dimm, bool others_tce)
{
	const __u64 old = d->c.window + MiB, new = d->c.window + 2 * MiB;

	memset(dimm, GUARD, MEMORY);
	ASSERT_EQ(0, do_register(&d->c, dimm, MEMORY));
	ASSERT_EQ(0, do_register(other, dimm, MEMORY));
	if (others_tce) {
		ASSERT_EQ(0, do_map(other, MiB, dimm, 64 * KiB));
	} else {
		ASSERT_EQ(0, do_map_at(&d->c, old, dimm, 64 * KiB, RW));
	}
	EXPECT_EQ(0, do_unregister(&d->c, dimm, MEMORY));
	EXPECT_EQ(-EBUSY, do_unregister(other, dimm, MEMORY));
	replug(_metadata, dimm);

	ASSERT_EQ(0, do_register(&d->c, dimm, MEMORY));
	ASSERT_EQ(0, do_register(other, dimm, MEMORY));
	check_none(_metadata, d, &d->n, old, dimm, MEMORY);
	ASSERT_EQ(0, do_map_at(&d->c, new, dimm, 64 * KiB, RW));
	check_both(_metadata, d, &d->n, new, dimm, dimm, MEMORY);
	ASSERT_EQ(0, do_unmap_at(&d->c, new, &(__u64){ 64 * KiB }, 0));
	EXPECT_EQ(0, do_unmap(other, MiB, 64 * KiB));
	EXPECT_EQ(0, do_unregister(&d->c, dimm, MEMORY));
	EXPECT_EQ(0, do_unregister(other, dimm, MEMORY));
	/* It is nobody's now. */
	EXPECT_EQ(-ENOENT, do_unregister(&d->c, dimm, MEMORY));
	EXPECT_EQ(-ENOENT, do_unregister(other, dimm, MEMORY));
}

TEST_F(again, in_two_containers)
{
	struct dma *d = &self->d;
	struct container other;
	int ret;

	ret = container_open(&other, 1, VFIO_SPAPR_TCE_v2_IOMMU);
	if (ret == -ENODEV)
		SKIP(return, "needs a second group");
	ASSERT_EQ(0, ret);
	replug_two(_metadata, d, &other, self->dimm, false);
	replug_two(_metadata, d, &other, self->dimm, true);
	container_close(&other);
}

/* Another container has it, and has not given it back: it is one memory for both. */
TEST_F(again, anothers_keep_it)
{
	struct dma *d = &self->d;
	struct container other;
	int ret;

	ret = container_open(&other, 1, VFIO_SPAPR_TCE_v2_IOMMU);
	if (ret == -ENODEV)
		SKIP(return, "needs a second group");
	ASSERT_EQ(0, ret);
	ASSERT_EQ(0, do_register(&other, self->dimm, MEMORY));
	ASSERT_EQ(0, do_register(&d->c, self->dimm, MEMORY));
	ASSERT_EQ(0, do_map_at(&d->c, d->c.window + MiB, self->dimm, 64 * KiB, RW));
	EXPECT_EQ(0, do_unregister(&other, self->dimm, MEMORY));
	EXPECT_EQ(0, do_register(&other, self->dimm, MEMORY));
	check_both(_metadata, d, &d->n, d->c.window + MiB, self->dimm, self->dimm, MEMORY);
	EXPECT_EQ(0, do_unmap_at(&d->c, d->c.window + MiB, &(__u64){ 64 * KiB }, 0));
	container_close(&other);
}

FIXTURE(largest) {
	struct dma d;
};

FIXTURE_VARIANT(largest) {
	struct shape s;
};

FIXTURE_VARIANT_ADD(largest, 64k_2) { .s = { 16, 2, 31 } };
FIXTURE_VARIANT_ADD(largest, 64k_3) { .s = { 16, 3, 31 } };
FIXTURE_VARIANT_ADD(largest, 64k_4) { .s = { 16, 4, 31 } };
FIXTURE_VARIANT_ADD(largest, 64k_5) { .s = { 16, 5, 31 } };

FIXTURE_SETUP(largest)
{
	dma_setup(_metadata, &self->d, VFIO_SPAPR_TCE_v2_IOMMU);
}

FIXTURE_TEARDOWN(largest)
{
	dma_teardown(_metadata, &self->d);
}

TEST_F(largest, every_leaf)
{
	check_shape(_metadata, &self->d, &variant->s);
}

int main(int argc, char **argv)
{
	spapr_tce_init(&argc, argv);
	return test_harness_run(argc, argv);
}
