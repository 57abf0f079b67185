// SPDX-License-Identifier: GPL-2.0
/*
 * iommufd and vfio cdev on POWER: DMA of a real device through paging domains, and groups
 * whose owner changes between iommufd, SPAPR containers and the host's driver.
 *
 *	vfio_iommufd_powerpc_test [-f FIXTURE] [-F FIXTURE] [-t TEST] [GROUP]
 *
 *	device	one device in one IOAS: maps, ranges, domains, DMA
 *	two	two devices in one IOAS
 *	owner	changes of a group's owner
 *	pair	a group of two devices: two functions of one slot
 *	ats	a group of an NVMe and a device with an ATS capability, which is reset
 *	lpar	where there are no paging domains
 *
 * The group's devices must be NVMes; THEIR DATA IS OVERWRITTEN.
 */
#define _GNU_SOURCE
#include <poll.h>
#include <pthread.h>
#include <sched.h>
#include <sys/eventfd.h>
#include <sys/utsname.h>

#include "vfio_spapr_kvm.h"
#include "vfio_spapr_nvme.h"
#include "vfio_spapr_sysfs.h"
#include "kselftest_harness.h"
#include "vfio_spapr_dma.h"
#include "vfio_iommufd.h"

/* Emulated machines are slow. */
#undef TEST_TIMEOUT_DEFAULT
#define TEST_TIMEOUT_DEFAULT 120

#define MEMORY		(2 * MiB)
#define QUEUES_AT	(16 * MiB)	/* IOVA */
#define APERTURE	(1ULL << 50)
#define HANDOVERS	8

static unsigned long page;	/* of the kernel, and so of a domain */

/* A device of its own iommufd context with an IOAS, its queues mapped: struct dma's NVMe. */
struct user {
	struct dma d;
	int fd;			/* iommufd */
	__u32 ioas, dev;
};

/* 0 or -errno. @device: a cdev; @at: what is mapped at QUEUES_AT, NVME_MEMORY bytes */
static int user_attach_device(struct user *u, struct nvme *n, int device, __u32 *dev, char *at)
{
	int ret;

	n->device = -1;
	if (device < 0)
		return device;
	ret = do_bind(device, u->fd, dev);
	if (!ret)
		ret = do_attach(device, u->ioas);
	if (ret) {
		close(device);
		return ret;
	}
	return nvme_open_device(n, device, at, QUEUES_AT + (at - u->d.queues));
}

static int user_attach(struct user *u, struct nvme *n, int which, __u32 *dev, char *at)
{
	return user_attach_device(u, n, cdev_open(which), dev, at);
}

static int user_open(struct user *u)
{
	int ret;

	memset(u, 0, sizeof(*u));
	u->d.n.device = -1;
	u->d.pinned = pages_pinned_steady();
	u->fd = iommufd_open();
	if (u->fd < 0)
		return u->fd;
	u->d.queues = anonymous(64 * KiB + MEMORY);
	if (u->d.queues == MAP_FAILED)
		return -ENOMEM;
	u->d.m = u->d.queues + 64 * KiB;
	memset(u->d.m, GUARD, MEMORY);
	ret = do_ioas(u->fd, &u->ioas);
	if (!ret)
		ret = do_ioas_map(u->fd, u->ioas, QUEUES_AT, u->d.queues, 64 * KiB, MAP_RW);
	if (!ret)
		ret = user_attach(u, &u->d.n, 0, &u->dev, u->d.queues);
	return ret;
}

static void user_close(struct user *u)
{
	nvme_close(&u->d.n);
	if (u->fd >= 0)
		close(u->fd);
	u->fd = -1;
	if (u->d.queues)
		munmap(u->d.queues, 64 * KiB + MEMORY);
	u->d.queues = NULL;
}

/* Skips where there is nothing to test with. */
static bool user_setup(struct __test_metadata *_metadata, struct user *u)
{
	int ret = user_open(u);

	if (ret == -ENOENT || ret == -ENODEV)
		SKIP(return false, "no iommufd, no cdev or no NVMe in group %d", groups[0]);
	EXPECT_EQ(0, ret)
		TH_LOG("group %d: %s", groups[0], strerror(-ret));
	return !ret;
}

/* ---- one device ---- */

FIXTURE(device) {
	struct user u;
	struct dma *d;
	struct nvme *n;
	char *m;
	int fd;
	__u32 ioas;
};

FIXTURE_SETUP(device)
{
	self->u.fd = -1;
	if (!user_setup(_metadata, &self->u))
		return;
	self->d = &self->u.d;
	self->n = &self->u.d.n;
	self->m = self->u.d.m;
	self->fd = self->u.fd;
	self->ioas = self->u.ioas;
}

FIXTURE_TEARDOWN(device)
{
	user_close(&self->u);
	EXPECT_EQ(self->u.d.pinned, settle(pages_pinned, self->u.d.pinned));
}

static bool in_ranges(const struct iommu_iova_range *r, int n, __u64 start, __u64 last)
{
	int i;

	for (i = 0; i < n; i++)
		if (start <= r[i].last && last >= r[i].start)
			return true;
	return false;
}

/* Each range maps to its ends, and nothing maps that touches what lies between. */
TEST_F(device, ranges)
{
	struct iommu_iova_range r[MAX_RANGES];
	__u64 align, at;
	int i, n;

	n = do_ranges(self->fd, self->ioas, r, &align);
	ASSERT_LT(1, n);
	EXPECT_EQ(page, align);
	EXPECT_EQ(0, r[0].start);
	EXPECT_EQ(APERTURE - 1, r[n - 1].last);
	for (i = 0; i < n; i++) {
		EXPECT_EQ(0, r[i].start % page);
		EXPECT_EQ(0, (r[i].last + 1) % page);
		at = r[i].start;
		EXPECT_EQ(0, do_ioas_map(self->fd, self->ioas, at, self->m, page, MAP_RW));
		check_both(_metadata, self->d, self->n, r[i].start, self->m, self->m, MEMORY);
		EXPECT_EQ(0, do_ioas_unmap(self->fd, self->ioas, r[i].start, page));
		at = r[i].last + 1 - page;
		EXPECT_EQ(0, do_ioas_map(self->fd, self->ioas, at, self->m, page, MAP_RW));
		check_both(_metadata, self->d, self->n, at, self->m, self->m, MEMORY);
		EXPECT_EQ(0, do_ioas_unmap(self->fd, self->ioas, at, page));
		/* across the end, and just beyond it */
		EXPECT_EQ(-EINVAL, do_ioas_map(self->fd, self->ioas, at, self->m, 2 * page,
					       MAP_RW));
		EXPECT_EQ(-EINVAL, do_ioas_map(self->fd, self->ioas, at + page, self->m, page,
					       MAP_RW));
		if (i) {
			EXPECT_LT(r[i - 1].last, r[i].start - 1);
			EXPECT_EQ(-EINVAL, do_ioas_map(self->fd, self->ioas, r[i].start - page,
						       self->m, 2 * page, MAP_RW));
		}
	}
}

/* Of BAR 0, on the bus */
static __u64 bar_address(void)
{
	const char *bdf = nvme_in_group(groups[0]);
	__u32 low = 0, high = 0;
	char path[128];
	FILE *f;

	/* vfio has BARs of its own making */
	snprintf(path, sizeof(path), "/sys/bus/pci/devices/%s/config", bdf);
	f = fopen(path, "r");
	if (f) {
		if (fseek(f, PCI_BASE_ADDRESS_0, SEEK_SET) || fread(&low, 4, 1, f) != 1 ||
		    fread(&high, 4, 1, f) != 1)
			low = 0;
		fclose(f);
	}
	low = le32toh(low);
	high = le32toh(high);
	return (low & ~15U) | (low & PCI_BASE_ADDRESS_MEM_TYPE_64 ? (__u64)high << 32 : 0);
}

/* What does not reach the TCEs is in no range: MSIs, and where the device's own BAR is. */
TEST_F(device, reserved)
{
	struct iommu_iova_range r[MAX_RANGES];
	unsigned long long start, end;
	__u64 align, bar = bar_address();
	char path[100], type[32];
	bool msi = false, mmio = false;
	FILE *f;
	int n;

	n = do_ranges(self->fd, self->ioas, r, &align);
	ASSERT_LT(0, n);
	EXPECT_FALSE(in_ranges(r, n, 0xffff0000, 0xffffffff));
	ASSERT_NE(0, bar);
	EXPECT_FALSE(in_ranges(r, n, bar, bar))
		TH_LOG("BAR 0 is at 0x%llx on the bus", bar);
	EXPECT_FALSE(in_ranges(r, n, APERTURE, ~0ULL));

	/* sysfs tells the same */
	snprintf(path, sizeof(path), "/sys/kernel/iommu_groups/%d/reserved_regions", groups[0]);
	f = fopen(path, "r");
	ASSERT_NE(NULL, f);
	while (fscanf(f, "%llx %llx %31s", &start, &end, type) == 3) {
		EXPECT_FALSE(in_ranges(r, n, start, end))
			TH_LOG("0x%llx to 0x%llx is %s", start, end, type);
		msi |= start == 0xffff0000 && end == 0xffffffff && !strcmp(type, "msi");
		mmio |= start <= bar && bar <= end && !strcmp(type, "reserved");
	}
	fclose(f);
	EXPECT_TRUE(msi);
	EXPECT_TRUE(mmio);
}

/* At the ends of the aperture, and on both sides of where an index carries. */
TEST_F(device, dma_everywhere)
{
	static const __u64 around[] = {
		32 * MiB, 16 * GiB, 8 * TiB, 4 * GiB + GiB, APERTURE / 2,
	};
	__u64 at[2 * ARRAY_SIZE(around) + 2];
	unsigned int i, n = 0;

	at[n++] = 64 * KiB;
	for (i = 0; i < ARRAY_SIZE(around); i++) {
		at[n++] = around[i] - page;
		at[n++] = around[i];
	}
	at[n++] = APERTURE - page;

	/* every one a page of its own, in memory that is not in a row */
	for (i = 0; i < n; i++) {
		ASSERT_EQ(0, do_ioas_map(self->fd, self->ioas, at[i],
					 self->m + (i * 7 % n) * 2 * page, page, MAP_RW));
	}
	for (i = 0; i < n; i++) {
		char *to = self->m + (i * 7 % n) * 2 * page;

		check_both(_metadata, self->d, self->n, at[i], to, self->m, MEMORY);
		check_both(_metadata, self->d, self->n, at[i] + page - NVME_PAGE,
			   to + page - NVME_PAGE, self->m, MEMORY);
	}
	for (i = 0; i < n; i += 3) {
		ASSERT_EQ(0, do_ioas_unmap(self->fd, self->ioas, at[i], page));
		check_none(_metadata, self->d, self->n, at[i], self->m, MEMORY);
	}
	/* the others are as before, and so they are mapped again */
	for (i = 0; i < n; i++) {
		if (i % 3 == 0)
			ASSERT_EQ(0, do_ioas_map(self->fd, self->ioas, at[i],
						 self->m + i * page, page, MAP_RW));
		check_in(_metadata, self->d, self->n, at[i],
			 i % 3 ? self->m + (i * 7 % n) * 2 * page : self->m + i * page,
			 self->m, MEMORY);
	}
}

TEST_F(device, neighbours_not_reached)
{
	__u64 iova = GiB;

	ASSERT_EQ(0, do_ioas_map(self->fd, self->ioas, iova, self->m + page, page, MAP_RW));
	check_both(_metadata, self->d, self->n, iova, self->m + page, self->m, MEMORY);
	check_none(_metadata, self->d, self->n, iova - NVME_PAGE, self->m, MEMORY);
	check_none(_metadata, self->d, self->n, iova + page, self->m, MEMORY);
	check_none(_metadata, self->d, self->n, APERTURE, self->m, MEMORY);
	check_none(_metadata, self->d, self->n, 1ULL << 59, self->m, MEMORY);
}

TEST_F(device, read_only)
{
	__u64 iova = GiB;

	ASSERT_EQ(0, do_ioas_map(self->fd, self->ioas, iova, self->m, page,
				 IOMMU_IOAS_MAP_READABLE));
	check_out(_metadata, self->d, self->n, iova, self->m);
	check_no_in(_metadata, self->d, self->n, iova, self->m, MEMORY);
}

TEST_F(device, map_and_unmap)
{
	__u64 iova, other;
	int i;

	EXPECT_EQ(0, do_ioas_map_any(self->fd, self->ioas, &iova, self->m, MEMORY));
	check_both(_metadata, self->d, self->n, iova + 3 * page, self->m + 3 * page,
		   self->m, MEMORY);
	EXPECT_EQ(0, do_ioas_map_any(self->fd, self->ioas, &other, self->m, page));
	EXPECT_EQ(-EEXIST, do_ioas_map(self->fd, self->ioas, iova + page, self->m, page, MAP_RW));
	/* not a part of a map */
	EXPECT_EQ(-ENOENT, do_ioas_unmap(self->fd, self->ioas, iova, page));
	check_in(_metadata, self->d, self->n, iova, self->m, self->m, MEMORY);
	EXPECT_EQ(0, do_ioas_unmap(self->fd, self->ioas, iova, MEMORY));
	EXPECT_EQ(-ENOENT, do_ioas_unmap(self->fd, self->ioas, iova, MEMORY));
	check_none(_metadata, self->d, self->n, iova + 3 * page, self->m, MEMORY);
	check_in(_metadata, self->d, self->n, other, self->m, self->m, MEMORY);
	EXPECT_EQ(0, do_ioas_unmap(self->fd, self->ioas, other, page));

	/* less than an IOMMU page, or next to one */
	EXPECT_EQ(-EINVAL, do_ioas_map(self->fd, self->ioas, GiB, self->m, page / 2, MAP_RW));
	EXPECT_EQ(-EINVAL, do_ioas_map(self->fd, self->ioas, GiB + page / 2, self->m, page,
				       MAP_RW));

	/* several leaves, mapped and given back over and over */
	for (i = 0; i < 4; i++) {
		char *big = anonymous(80 * MiB);
		long pins = pages_pinned();

		ASSERT_NE(MAP_FAILED, big);
		memset(big + 79 * MiB, 1, 1);
		ASSERT_EQ(0, do_ioas_map(self->fd, self->ioas, 4 * GiB - MiB + i * page + 2 * MiB,
					 big, 80 * MiB, MAP_RW));
		EXPECT_EQ(80 * MiB / page, pages_pinned() - pins);
		check_out(_metadata, self->d, self->n,
			  4 * GiB - MiB + i * page + 2 * MiB + 79 * MiB, big + 79 * MiB);
		ASSERT_EQ(0, do_ioas_unmap(self->fd, self->ioas,
					   4 * GiB - MiB + i * page + 2 * MiB, 80 * MiB));
		EXPECT_EQ(pins, settle(pages_pinned, pins));
		munmap(big, 80 * MiB);
	}
}

/* Memory stays pinned while either IOAS has it, and is pinned once. */
TEST_F(device, copy)
{
	long pins = pages_pinned();
	__u32 source;

	ASSERT_EQ(0, do_ioas(self->fd, &source));
	ASSERT_EQ(0, do_ioas_map(self->fd, source, 0, self->m, MEMORY, MAP_RW));
	ASSERT_EQ(0, do_ioas_copy(self->fd, self->ioas, 2 * GiB - MEMORY, source, 0, MEMORY));
	check_both(_metadata, self->d, self->n, 2 * GiB - page, self->m + MEMORY - page,
		   self->m, MEMORY);
	EXPECT_EQ(MEMORY / page, pages_pinned() - pins);
	ASSERT_EQ(0, do_ioas_unmap(self->fd, source, 0, MEMORY));
	check_both(_metadata, self->d, self->n, 2 * GiB - page, self->m + MEMORY - page,
		   self->m, MEMORY);
	ASSERT_EQ(0, do_ioas_unmap(self->fd, self->ioas, 2 * GiB - MEMORY, MEMORY));
	check_none(_metadata, self->d, self->n, 2 * GiB - page, self->m, MEMORY);
	EXPECT_EQ(pins, settle(pages_pinned, pins));
	EXPECT_EQ(0, do_destroy(self->fd, source));
}

/* Domains of user space's own: attached, replaced, detached. */
TEST_F(device, hwpt)
{
	__u32 hwpt, other, other_hwpt, refused;
	const __u64 iova = GiB;

	ASSERT_EQ(0, do_ioas(self->fd, &other));
	ASSERT_EQ(0, do_ioas_map(self->fd, other, QUEUES_AT, self->d->queues, 64 * KiB, MAP_RW));
	ASSERT_EQ(0, do_ioas_map(self->fd, other, iova, self->m + page, page, MAP_RW));
	ASSERT_EQ(0, do_ioas_map(self->fd, self->ioas, iova, self->m, page, MAP_RW));
	check_in(_metadata, self->d, self->n, iova, self->m, self->m, MEMORY);

	ASSERT_EQ(0, do_hwpt(self->fd, self->u.dev, self->ioas, 0, &hwpt));
	ASSERT_EQ(0, do_attach(self->n->device, hwpt));
	check_in(_metadata, self->d, self->n, iova, self->m, self->m, MEMORY);
	ASSERT_EQ(0, do_hwpt(self->fd, self->u.dev, other, 0, &other_hwpt));
	ASSERT_EQ(0, do_attach(self->n->device, other_hwpt));
	check_both(_metadata, self->d, self->n, iova, self->m + page, self->m, MEMORY);
	EXPECT_EQ(-EBUSY, do_destroy(self->fd, other_hwpt));
	EXPECT_EQ(0, do_destroy(self->fd, hwpt));
	ASSERT_EQ(0, do_attach(self->n->device, self->ioas));
	EXPECT_EQ(0, do_destroy(self->fd, other_hwpt));
	check_both(_metadata, self->d, self->n, iova, self->m, self->m, MEMORY);

	/* in no domain, then back */
	ASSERT_EQ(0, do_detach(self->n->device));
	EXPECT_NE(0, nvme_rw(self->n, NVME_IO_READ, MEDIUM_PAGE, iova));
	EXPECT_TRUE(guards_hold(self->m, MEMORY, NULL));
	ASSERT_EQ(0, do_attach(self->n->device, self->ioas));
	ASSERT_EQ(0, nvme_recover(self->n));
	check_both(_metadata, self->d, self->n, iova, self->m, self->m, MEMORY);

	/* a TCE has no dirty bit, and one level of translation */
	EXPECT_EQ(-EOPNOTSUPP, do_hwpt(self->fd, self->u.dev, other,
				       IOMMU_HWPT_ALLOC_DIRTY_TRACKING, &refused));
	EXPECT_EQ(-EOPNOTSUPP, do_hwpt(self->fd, self->u.dev, other,
				       IOMMU_HWPT_ALLOC_NEST_PARENT, &refused));
	EXPECT_EQ(0, do_destroy(self->fd, other));
}

/* ---- two devices, most likely on two PHBs ---- */

FIXTURE(two) {
	struct user u;
	struct nvme n2;
	__u32 dev2;
};

FIXTURE_SETUP(two)
{
	int ret;

	self->u.fd = -1;
	self->n2.device = -1;
	if (nr_groups < 2)
		SKIP(return, "needs two groups");
	if (!user_setup(_metadata, &self->u))
		return;
	ret = user_attach(&self->u, &self->n2, 1, &self->dev2, self->u.d.queues + NVME_MEMORY);
	if (ret == -ENODEV)
		SKIP(return, "needs two NVMes");
	EXPECT_EQ(0, ret);
}

FIXTURE_TEARDOWN(two)
{
	nvme_close(&self->n2);
	user_close(&self->u);
	EXPECT_EQ(self->u.d.pinned, settle(pages_pinned, self->u.d.pinned));
}

TEST_F(two, one_ioas)
{
	struct dma *d = &self->u.d;
	const __u64 iova = 8 * GiB;

	ASSERT_EQ(0, do_ioas_map(self->u.fd, self->u.ioas, iova, d->m, 2 * page, MAP_RW));
	check_both(_metadata, d, &d->n, iova, d->m, d->m, MEMORY);
	check_both(_metadata, d, &self->n2, iova + page, d->m + page, d->m, MEMORY);
	/* one leaves, the other stays */
	ASSERT_EQ(0, do_detach(d->n.device));
	check_both(_metadata, d, &self->n2, iova, d->m, d->m, MEMORY);
	EXPECT_NE(0, nvme_rw(&d->n, NVME_IO_READ, MEDIUM_PAGE, iova));
	EXPECT_TRUE(guards_hold(d->m, MEMORY, NULL));
	ASSERT_EQ(0, do_attach(d->n.device, self->u.ioas));
	ASSERT_EQ(0, nvme_recover(&d->n));
	check_both(_metadata, d, &d->n, iova, d->m, d->m, MEMORY);
	/* an unmap reaches both */
	ASSERT_EQ(0, do_ioas_unmap(self->u.fd, self->u.ioas, iova, 2 * page));
	check_none(_metadata, d, &d->n, iova, d->m, MEMORY);
	check_none(_metadata, d, &self->n2, iova + page, d->m, MEMORY);
}

/* An IOAS each in one context: neither sees the other's. */
TEST_F(two, two_ioas)
{
	struct dma *d = &self->u.d;
	const __u64 iova = 8 * GiB;
	__u32 other;

	ASSERT_EQ(0, do_ioas(self->u.fd, &other));
	ASSERT_EQ(0, do_ioas_map(self->u.fd, other, QUEUES_AT, d->queues, 64 * KiB, MAP_RW));
	ASSERT_EQ(0, do_ioas_map(self->u.fd, other, iova, d->m + page, page, MAP_RW));
	ASSERT_EQ(0, do_ioas_map(self->u.fd, self->u.ioas, iova + page, d->m, page, MAP_RW));
	ASSERT_EQ(0, do_attach(self->n2.device, other));
	check_both(_metadata, d, &self->n2, iova, d->m + page, d->m, MEMORY);
	check_none(_metadata, d, &self->n2, iova + page, d->m, MEMORY);
	check_both(_metadata, d, &d->n, iova + page, d->m, d->m, MEMORY);
	check_none(_metadata, d, &d->n, iova, d->m, MEMORY);
}

/* ---- who has the group ---- */

FIXTURE(owner) {
	long pinned;
};

FIXTURE_SETUP(owner)
{
	struct user u;

	if (!user_setup(_metadata, &u))
		return;
	user_close(&u);
	self->pinned = pages_pinned_steady();
}

FIXTURE_TEARDOWN(owner)
{
	EXPECT_EQ(self->pinned, settle(pages_pinned, self->pinned));
}

/* DMA at some IOVA of an iommufd user's */
static void owner_iommufd(struct __test_metadata *_metadata)
{
	struct user u;

	ASSERT_EQ(0, user_open(&u));
	ASSERT_EQ(0, do_ioas_map(u.fd, u.ioas, 8 * GiB, u.d.m, page, MAP_RW));
	check_both(_metadata, &u.d, &u.d.n, 8 * GiB, u.d.m, u.d.m, MEMORY);
	check_none(_metadata, &u.d, &u.d.n, 9 * GiB, u.d.m, MEMORY);
	user_close(&u);
}

/* DMA through the default window of a SPAPR container */
static void owner_spapr(struct __test_metadata *_metadata, int type)
{
	struct dma d = { .n.device = -1 };
	int ret;

	ret = container_open(&d.c, 0, type);
	ASSERT_EQ(0, ret);
	d.queues = anonymous(64 * KiB + MEMORY);
	ASSERT_NE(MAP_FAILED, d.queues);
	d.m = d.queues + 64 * KiB;
	memset(d.m, GUARD, MEMORY);
	ret = type == VFIO_SPAPR_TCE_IOMMU ? do_enable(&d.c) :
		do_register(&d.c, d.queues, 64 * KiB + MEMORY);
	ASSERT_EQ(0, ret);
	ASSERT_EQ(0, do_map(&d.c, QUEUES_AT, d.queues, NVME_MEMORY));
	ASSERT_EQ(0, do_map(&d.c, 0, d.m, IOMMU_PAGE));
	ASSERT_EQ(0, nvme_open(&d.n, &d.c, d.c.group, groups[0], d.queues,
			       d.c.window + QUEUES_AT));
	check_both(_metadata, &d, &d.n, d.c.window, d.m, d.m, MEMORY);
	check_none(_metadata, &d, &d.n, d.c.window + MiB, d.m, MEMORY);
	nvme_close(&d.n);
	container_close(&d.c);
	munmap(d.queues, 64 * KiB + MEMORY);
}

TEST_F(owner, in_turn)
{
	int i;

	for (i = 0; i < HANDOVERS; i++) {
		owner_iommufd(_metadata);
		owner_spapr(_metadata, i & 1 ? VFIO_SPAPR_TCE_v2_IOMMU : VFIO_SPAPR_TCE_IOMMU);
	}
}

static int put(const char *path, const char *text)
{
	int fd = open(path, O_WRONLY), ret = 0;

	if (fd < 0)
		return -errno;
	if (write(fd, text, strlen(text)) < 0)
		ret = -errno;
	close(fd);
	return ret;
}

/* The disk of a device that has a host's driver; -ENODEV after a while */
static int host_disk(const char *bdf, int flags)
{
	char path[300], name[64] = "";
	struct dirent *e;
	int fd, ms;
	DIR *d;

	for (ms = 0; !name[0] && ms < SETTLE_MS; ms += 10) {
		usleep(10000);
		d = opendir("/sys/block");
		while (d && (e = readdir(d))) {
			char link[300];
			ssize_t n;

			snprintf(path, sizeof(path), "/sys/block/%s", e->d_name);
			n = readlink(path, link, sizeof(link) - 1);
			if (n < 0)
				continue;
			link[n] = 0;
			if (strstr(link, bdf))
				snprintf(name, sizeof(name), "%.60s", e->d_name);
		}
		if (d)
			closedir(d);
	}
	if (!name[0])
		return -ENODEV;
	snprintf(path, sizeof(path), "/dev/%s", name);
	fd = open(path, flags);
	return fd < 0 ? -errno : fd;
}

/* The first device page of the medium, as the host's driver reads it */
static int host_reads(const char *bdf, char *to)
{
	int fd = host_disk(bdf, O_RDONLY), ret;

	if (fd < 0)
		return fd;
	ret = pread(fd, to, NVME_PAGE, MEDIUM_PAGE * NVME_PAGE) == NVME_PAGE ? 0 : -errno;
	close(fd);
	return ret;
}

/* Back to the host: default window and bypass work, and nothing of ours does. */
TEST_F(owner, host_driver)
{
	const char *bdf = nvme_in_group(groups[0]);
	char driver[100], override[120], data[NVME_PAGE], got[NVME_PAGE];
	struct user u;
	int i, ret;

	if (access("/sys/bus/pci/drivers/nvme", F_OK))
		SKIP(return, "no nvme driver");
	snprintf(override, sizeof(override), "/sys/bus/pci/devices/%s/driver_override", bdf);
	for (i = 0; i < 2; i++) {
		fill((unsigned char *)data, 4711 + i);
		ASSERT_EQ(0, user_open(&u));
		ASSERT_EQ(0, nvme_medium_set(&u.d.n, MEDIUM_PAGE, data));
		user_close(&u);

		ASSERT_EQ(0, put("/sys/bus/pci/drivers/vfio-pci/unbind", bdf));
		ASSERT_EQ(0, put(override, "nvme"));
		ret = put("/sys/bus/pci/drivers_probe", bdf);
		EXPECT_EQ(0, ret);
		memset(got, 0, sizeof(got));
		EXPECT_EQ(0, host_reads(bdf, got));
		EXPECT_EQ(0, memcmp(got, data, sizeof(data)));
		snprintf(driver, sizeof(driver), "/sys/bus/pci/devices/%s/driver/unbind", bdf);
		EXPECT_EQ(0, put(driver, bdf));
		ASSERT_EQ(0, put(override, "vfio-pci"));
		ASSERT_EQ(0, put("/sys/bus/pci/drivers_probe", bdf));
	}
	owner_iommufd(_metadata);
}

/* One at a time. */
TEST_F(owner, only_one)
{
	struct container c;
	struct user u, other;
	char path[64];
	int fd;

	ASSERT_EQ(0, user_open(&u));
	/* not by its group, so in no container; and in no other context */
	snprintf(path, sizeof(path), "/dev/vfio/%d", groups[0]);
	fd = open(path, O_RDWR);
	EXPECT_EQ(-1, fd);
	EXPECT_EQ(EBUSY, errno);
	EXPECT_GT(0, user_open(&other));
	user_close(&other);
	ASSERT_EQ(0, do_ioas_map(u.fd, u.ioas, GiB, u.d.m, page, MAP_RW));
	check_both(_metadata, &u.d, &u.d.n, GiB, u.d.m, u.d.m, MEMORY);
	user_close(&u);

	/* and the other way round */
	ASSERT_EQ(0, container_open(&c, 0, VFIO_SPAPR_TCE_v2_IOMMU));
	EXPECT_GT(0, user_open(&other));
	user_close(&other);
	container_close(&c);
	owner_iommufd(_metadata);
}

/*
 * Until the device has changed nothing three times in a row: an emulated one reads its medium in
 * a thread that may not run for a while. False: it does not stop.
 */
static bool falls_silent(struct user *u)
{
	int i, quiet = 0;

	for (i = 0; i < 6 * NVME_ENTRIES && quiet < 3; i++) {
		memset(u->d.m, GUARD, MEMORY);
		usleep(NVME_GRACE_MS * 1000);
		quiet = guards_hold(u->d.m, MEMORY, NULL) ? quiet + 1 : 0;
	}
	return quiet == 3;
}

/*
 * It leaves the domain while it has commands, and comes back. Those may still arrive: QEMU's device
 * has looked up their memory before. No later one does.
 */
TEST_F(owner, leaves_at_work)
{
	struct nvme_command c;
	unsigned char data[NVME_PAGE];
	struct user u;
	int i, k;

	ASSERT_EQ(0, user_open(&u));
	fill(data, 42);
	ASSERT_EQ(0, nvme_medium_set(&u.d.n, MEDIUM_PAGE, data));
	ASSERT_EQ(0, do_ioas_map(u.fd, u.ioas, GiB, u.d.m, MEMORY, MAP_RW));
	for (i = 0; i < HANDOVERS; i++) {
		for (k = 0; k < NVME_ENTRIES - 1; k++) {
			nvme_rw_command(&u.d.n, &c, NVME_IO_READ, MEDIUM_PAGE,
					GiB + k * 2 * page);
			nvme_submit(&u.d.n, &u.d.n.io, &c);
		}
		ASSERT_EQ(0, do_detach(u.d.n.device));
		ASSERT_TRUE(falls_silent(&u));
		nvme_rw_command(&u.d.n, &c, NVME_IO_READ, MEDIUM_PAGE, GiB);
		nvme_submit(&u.d.n, &u.d.n.io, &c);
		usleep(NVME_GRACE_MS * 1000);
		EXPECT_TRUE(guards_hold(u.d.m, MEMORY, NULL));
		ASSERT_EQ(0, do_attach(u.d.n.device, u.ioas));
		ASSERT_EQ(0, nvme_recover(&u.d.n));
	}
	check_both(_metadata, &u.d, &u.d.n, GiB, u.d.m, u.d.m, MEMORY);
	user_close(&u);
}

/*
 * A child that writes to a device's file when it is told to, as that waits for the device's user.
 * To be made before there is a user: a child has all that its parent had open and mapped.
 */
struct later {
	pid_t pid;
	int go;
};

static int later_make(struct later *l, const char *name, const char *file, const char *text)
{
	int go[2];
	char c;

	if (pipe(go))
		return -errno;
	l->pid = fork();
	if (l->pid < 0)
		return -errno;
	if (!l->pid) {
		close(go[1]);
		_exit(read(go[0], &c, 1) != 1 || device_write(name, file, text));
	}
	close(go[0]);
	l->go = go[1];
	return 0;
}

/* It has begun, and most likely waits. */
static void later_begin(struct later *l)
{
	if (write(l->go, "", 1) == 1)
		usleep(200000);
	close(l->go);
}

static bool has_ended(pid_t pid, int *status)
{
	return waitpid(pid, status, WNOHANG) == pid;
}

/* The device is what it was, and works for iommufd and for the host. */
static void check_back(struct __test_metadata *_metadata, const char *bdf)
{
	ASSERT_TRUE(device_is_there(bdf));
	ASSERT_EQ(0, device_give(bdf, "vfio-pci"));
	groups[0] = device_group(bdf);
	owner_iommufd(_metadata);
	owner_spapr(_metadata, VFIO_SPAPR_TCE_v2_IOMMU);
}

/* Its driver is to let go, or it is to leave the bus: its user does not notice until he closes. */
TEST_F(owner, unbound_in_use)
{
	int status = -1;
	struct later l;
	struct user u;
	char bdf[32];

	snprintf(bdf, sizeof(bdf), "%s", nvme_in_group(groups[0]));
	ASSERT_EQ(0, later_make(&l, bdf, "driver/unbind", bdf));
	ASSERT_EQ(0, user_open(&u));
	ASSERT_EQ(0, do_ioas_map(u.fd, u.ioas, GiB, u.d.m, MEMORY, MAP_RW));
	later_begin(&l);
	EXPECT_FALSE(has_ended(l.pid, &status));
	check_both(_metadata, &u.d, &u.d.n, GiB, u.d.m, u.d.m, MEMORY);
	ASSERT_EQ(0, do_detach(u.d.n.device));
	ASSERT_EQ(0, do_attach(u.d.n.device, u.ioas));
	ASSERT_EQ(0, nvme_recover(&u.d.n));
	check_both(_metadata, &u.d, &u.d.n, GiB, u.d.m, u.d.m, MEMORY);
	user_close(&u);
	ASSERT_EQ(l.pid, waitpid(l.pid, &status, 0));
	EXPECT_EQ(0, status);
	EXPECT_STREQ("", device_link(bdf, "driver"));
	check_back(_metadata, bdf);
}

/* A domain outlives the device it was made for, and takes it back when it is found again. */
TEST_F(owner, removed_in_use)
{
	__u32 hwpt, dev;
	int status = -1;
	struct later l;
	struct user u;
	char bdf[32];

	snprintf(bdf, sizeof(bdf), "%s", nvme_in_group(groups[0]));
	ASSERT_EQ(0, later_make(&l, bdf, "remove", "1"));
	ASSERT_EQ(0, user_open(&u));
	ASSERT_EQ(0, do_ioas_map(u.fd, u.ioas, GiB, u.d.m, MEMORY, MAP_RW));
	ASSERT_EQ(0, do_hwpt(u.fd, u.dev, u.ioas, 0, &hwpt));
	ASSERT_EQ(0, do_attach(u.d.n.device, hwpt));
	later_begin(&l);
	EXPECT_FALSE(has_ended(l.pid, &status));
	check_both(_metadata, &u.d, &u.d.n, GiB, u.d.m, u.d.m, MEMORY);
	nvme_close(&u.d.n);
	ASSERT_EQ(l.pid, waitpid(l.pid, &status, 0));
	EXPECT_EQ(0, status);
	EXPECT_FALSE(device_is_there(bdf));

	/* nobody has the domain */
	ASSERT_EQ(0, do_ioas_unmap(u.fd, u.ioas, GiB, MEMORY));
	ASSERT_EQ(0, do_ioas_map(u.fd, u.ioas, 5 * GiB, u.d.m, MEMORY, MAP_RW));

	ASSERT_EQ(0, bus_rescan());
	ASSERT_TRUE(device_is_there(bdf));
	ASSERT_EQ(0, device_give(bdf, "vfio-pci"));
	groups[0] = device_group(bdf);
	ASSERT_EQ(0, user_attach(&u, &u.d.n, 0, &dev, u.d.queues));
	ASSERT_EQ(0, do_attach(u.d.n.device, hwpt));
	check_both(_metadata, &u.d, &u.d.n, 5 * GiB, u.d.m, u.d.m, MEMORY);
	check_none(_metadata, &u.d, &u.d.n, GiB, u.d.m, MEMORY);
	user_close(&u);
	check_back(_metadata, bdf);
}

/* Closed in any order, while mapped and with the device at work. */
TEST_F(owner, close_any_order)
{
	static const int orders[][3] = {
		{ 0, 1, 2 }, { 0, 2, 1 }, { 1, 0, 2 }, { 1, 2, 0 }, { 2, 0, 1 }, { 2, 1, 0 },
	};
	unsigned int i, k;

	if (nr_groups < 2)
		SKIP(return, "needs two groups");
	for (i = 0; i < ARRAY_SIZE(orders); i++) {
		struct nvme n2 = { .device = -1 };
		struct user u;
		__u32 dev2;
		int ret;

		ASSERT_EQ(0, user_open(&u));
		ret = user_attach(&u, &n2, 1, &dev2, u.d.queues + NVME_MEMORY);
		if (ret == -ENODEV) {
			user_close(&u);
			SKIP(return, "needs two NVMes");
		}
		ASSERT_EQ(0, ret);
		ASSERT_EQ(0, do_ioas_map(u.fd, u.ioas, GiB, u.d.m, MEMORY, MAP_RW));
		check_in(_metadata, &u.d, &n2, GiB, u.d.m, u.d.m, MEMORY);
		for (k = 0; k < 3; k++) {
			if (orders[i][k] == 0)
				nvme_close(&u.d.n);
			else if (orders[i][k] == 1)
				nvme_close(&n2);
			else
				close(u.fd);
		}
		u.fd = -1;
		user_close(&u);
		EXPECT_EQ(self->pinned, settle(pages_pinned, self->pinned));
	}
	owner_spapr(_metadata, VFIO_SPAPR_TCE_v2_IOMMU);
}

/* A process that is killed leaves nothing. */
TEST_F(owner, killed)
{
	int ready[2], status;
	struct user u;
	char c;
	pid_t pid;

	ASSERT_EQ(0, pipe(ready));
	pid = fork();
	ASSERT_LE(0, pid);
	if (!pid) {
		c = !user_open(&u) && !do_ioas_map(u.fd, u.ioas, GiB, u.d.m, MEMORY, MAP_RW);
		if (write(ready[1], &c, 1) == 1)
			pause();
		_exit(1);
	}
	ASSERT_EQ(1, read(ready[0], &c, 1));
	EXPECT_EQ(1, c);
	kill(pid, SIGKILL);
	ASSERT_EQ(pid, waitpid(pid, &status, 0));
	EXPECT_EQ(self->pinned, settle(pages_pinned, self->pinned));
	owner_spapr(_metadata, VFIO_SPAPR_TCE_v2_IOMMU);
	owner_iommufd(_metadata);
}

/*
 * What a frozen PE is for its user as far as an emulated machine goes: no DMA. Its registers can
 * be read, as QEMU answers an access that no device takes by a machine check, not by ones.
 */
static int freeze(const char *bdf)
{
	char path[128];
	__u16 command;
	int fd, ret = -EIO;

	snprintf(path, sizeof(path), "/sys/bus/pci/devices/%s/config", bdf);
	fd = open(path, O_RDWR);
	if (fd < 0)
		return -errno;
	if (pread(fd, &command, 2, PCI_COMMAND) == 2) {
		command &= ~htole16(PCI_COMMAND_MASTER);
		ret = pwrite(fd, &command, 2, PCI_COMMAND) == 2 ? 0 : -errno;
	}
	close(fd);
	return ret;
}

/* The PE of its device freezes: errors, no hang, and nothing of it for the next user. */
TEST_F(owner, frozen)
{
	struct {
		struct vfio_irq_set set;
		__s32 fd;
	} err = {
		.set = {
			.argsz = sizeof(err), .count = 1, .index = VFIO_PCI_ERR_IRQ_INDEX,
			.flags = VFIO_IRQ_SET_DATA_EVENTFD | VFIO_IRQ_SET_ACTION_TRIGGER,
		},
	};
	struct vfio_eeh_pe_op op = { .argsz = sizeof(op), .op = VFIO_EEH_PE_GET_STATE };
	const __u64 iova = GiB;
	struct pollfd event;
	struct user u;
	char bdf[32];
	__u32 hwpt;

	snprintf(bdf, sizeof(bdf), "%s", nvme_in_group(groups[0]));
	ASSERT_EQ(0, user_open(&u));
	event.fd = eventfd(0, 0);
	event.events = POLLIN;
	err.fd = event.fd;
	EXPECT_EQ(0, result(ioctl(u.d.n.device, VFIO_DEVICE_SET_IRQS, &err)));
	ASSERT_EQ(0, do_ioas_map(u.fd, u.ioas, iova, u.d.m, MEMORY, MAP_RW));
	check_both(_metadata, &u.d, &u.d.n, iova, u.d.m, u.d.m, MEMORY);

	ASSERT_EQ(0, freeze(bdf));
	EXPECT_GT(0, nvme_rw(&u.d.n, NVME_IO_READ, MEDIUM_PAGE, iova));
	EXPECT_TRUE(guards_hold(u.d.m, MEMORY, NULL));
	/* what is not the device's goes on */
	EXPECT_EQ(0, do_ioas_unmap(u.fd, u.ioas, iova, MEMORY));
	EXPECT_EQ(0, do_ioas_map(u.fd, u.ioas, iova, u.d.m, MEMORY, MAP_RW));
	EXPECT_EQ(0, do_hwpt(u.fd, u.dev, u.ioas, 0, &hwpt));
	EXPECT_EQ(0, do_attach(u.d.n.device, hwpt));
	EXPECT_EQ(0, do_detach(u.d.n.device));
	EXPECT_EQ(0, do_attach(u.d.n.device, u.ioas));
	/* a reset comes to an end, whatever it says */
	ioctl(u.d.n.device, VFIO_DEVICE_RESET);
	EXPECT_EQ(-ENOTTY, result(ioctl(u.d.n.device, VFIO_EEH_PE_OP, &op)));
	EXPECT_EQ(-ENOTTY, result(ioctl(u.fd, VFIO_EEH_PE_OP, &op)));
	EXPECT_EQ(0, poll(&event, 1, 0));
	user_close(&u);
	close(event.fd);
	EXPECT_EQ(self->pinned, settle(pages_pinned, self->pinned));

	owner_iommufd(_metadata);
	owner_spapr(_metadata, VFIO_SPAPR_TCE_v2_IOMMU);
}

/* KVM would serve H_PUT_TCE for a table that is not the user's. */
static void check_kvm_refuses(struct __test_metadata *_metadata, int group)
{
	struct vm vm;
	int table = -1;

	if (vm_create(&vm, 1, 16 * MiB))
		TH_LOG("no KVM-HV to ask");
	else
		table = vm_create_table(&vm, 0x80000001UL, 12, 0, 256);
	if (table >= 0) {
		EXPECT_EQ(0, vm_group_add(&vm, group));
		EXPECT_EQ(-EINVAL, vm_group_attach(&vm, group, table));
		close(table);
	}
	vm_destroy(&vm);
}

/* A type1 client: /dev/iommu in place of /dev/vfio/vfio. */
TEST_F(owner, type1_compatible)
{
	struct vfio_iommu_type1_info info = { .argsz = sizeof(info) };
	struct dma d = { .n.device = -1, .c = NO_CONTAINER };
	__u64 size = MEMORY;
	int native;

	native = open("/dev/vfio/vfio", O_RDWR);
	ASSERT_LE(0, native);
	EXPECT_EQ(0, ioctl(native, VFIO_CHECK_EXTENSION, VFIO_TYPE1_IOMMU));
	EXPECT_EQ(0, ioctl(native, VFIO_CHECK_EXTENSION, VFIO_TYPE1v2_IOMMU));
	close(native);

	d.c.fd = iommufd_open();
	ASSERT_LE(0, d.c.fd);
	EXPECT_EQ(1, ioctl(d.c.fd, VFIO_CHECK_EXTENSION, VFIO_TYPE1v2_IOMMU));
	EXPECT_EQ(0, ioctl(d.c.fd, VFIO_CHECK_EXTENSION, VFIO_SPAPR_TCE_v2_IOMMU));
	d.c.group = group_join(&d.c, 0);
	ASSERT_LE(0, d.c.group);
	ASSERT_EQ(0, result(ioctl(d.c.fd, VFIO_SET_IOMMU, VFIO_TYPE1v2_IOMMU)));
	d.queues = anonymous(64 * KiB + MEMORY);
	ASSERT_NE(MAP_FAILED, d.queues);
	d.m = d.queues + 64 * KiB;
	memset(d.m, GUARD, MEMORY);
	ASSERT_EQ(0, do_map_at(&d.c, QUEUES_AT, d.queues, 64 * KiB, RW));
	ASSERT_EQ(0, nvme_open(&d.n, NULL, d.c.group, groups[0], d.queues, QUEUES_AT));
	EXPECT_EQ(0, result(ioctl(d.c.fd, VFIO_IOMMU_GET_INFO, &info)));
	EXPECT_EQ(VFIO_IOMMU_INFO_PGSIZES, info.flags & VFIO_IOMMU_INFO_PGSIZES);
	EXPECT_EQ(page, info.iova_pgsizes & -info.iova_pgsizes);

	ASSERT_EQ(0, do_map_at(&d.c, 8 * GiB, d.m, MEMORY, RW));
	check_both(_metadata, &d, &d.n, 8 * GiB + page, d.m + page, d.m, MEMORY);
	ASSERT_EQ(0, do_unmap_at(&d.c, 8 * GiB, &size, 0));
	EXPECT_EQ(MEMORY, size);
	check_none(_metadata, &d, &d.n, 8 * GiB + page, d.m, MEMORY);
	check_kvm_refuses(_metadata, d.c.group);
	nvme_close(&d.n);
	container_close(&d.c);
	munmap(d.queues, 64 * KiB + MEMORY);
}

/* ---- two functions of a slot are a group ---- */

FIXTURE(pair) {
	struct user u;
	struct nvme n2;
	__u32 dev2;
	char bdf[2][32];
};

/* Both functions on vfio-pci, the first in an IOAS */
FIXTURE_SETUP(pair)
{
	char path[64];
	struct dirent *e;
	int n = 0, k;
	DIR *d;

	self->u.fd = -1;
	self->u.d.n.device = -1;
	self->n2.device = -1;
	snprintf(path, sizeof(path), "/sys/kernel/iommu_groups/%d/devices", groups[0]);
	d = opendir(path);
	while (d && (e = readdir(d)))
		if (e->d_name[0] != '.' && !strcmp(device_link(e->d_name, "driver"), "vfio-pci") &&
		    n++ < 2)
			snprintf(self->bdf[n - 1], sizeof(self->bdf[0]), "%.16s", e->d_name);
	if (d)
		closedir(d);
	if (n != 2)
		SKIP(return, "group %d is not two functions on vfio-pci", groups[0]);
	/* the one that nvme_in_group() finds is the first */
	k = !!strcmp(self->bdf[0], nvme_in_group(groups[0]));
	snprintf(path, sizeof(path), "%s", self->bdf[k]);
	snprintf(self->bdf[k], sizeof(self->bdf[0]), "%s", self->bdf[0]);
	snprintf(self->bdf[0], sizeof(self->bdf[0]), "%.31s", path);
	user_setup(_metadata, &self->u);
}

FIXTURE_TEARDOWN(pair)
{
	nvme_close(&self->n2);
	user_close(&self->u);
	EXPECT_EQ(self->u.d.pinned, settle(pages_pinned, self->u.d.pinned));
	if (self->bdf[1][0]) {
		if (!device_is_there(self->bdf[1]))
			bus_rescan();
		device_give(self->bdf[1], "vfio-pci");
	}
}

static int pair_second(struct user *u, struct nvme *n2, const char *bdf, __u32 *dev2)
{
	return user_attach_device(u, n2, cdev_open_named(bdf), dev2, u->d.queues + NVME_MEMORY);
}

/* A group is in one domain: a second device can't join in another, and where one goes all go. */
TEST_F(pair, one_domain)
{
	struct user *u = &self->u;
	const __u64 iova = 8 * GiB;
	__u32 other;
	int device;

	ASSERT_EQ(0, do_ioas(u->fd, &other));
	ASSERT_EQ(0, do_ioas_map(u->fd, other, QUEUES_AT, u->d.queues, 64 * KiB, MAP_RW));
	ASSERT_EQ(0, do_ioas_map(u->fd, other, iova, u->d.m + page, page, MAP_RW));
	ASSERT_EQ(0, do_ioas_map(u->fd, u->ioas, iova, u->d.m, 2 * page, MAP_RW));

	device = cdev_open_named(self->bdf[1]);
	ASSERT_LE(0, device);
	ASSERT_EQ(0, do_bind(device, u->fd, &self->dev2));
	EXPECT_EQ(-EINVAL, do_attach(device, other));
	ASSERT_EQ(0, do_attach(device, u->ioas));
	ASSERT_EQ(0, nvme_open_device(&self->n2, device, u->d.queues + NVME_MEMORY,
				      QUEUES_AT + NVME_MEMORY));
	check_both(_metadata, &u->d, &u->d.n, iova, u->d.m, u->d.m, MEMORY);
	check_both(_metadata, &u->d, &self->n2, iova + page, u->d.m + page, u->d.m, MEMORY);

	/* iommufd replaces a group's domain, not a device's */
	ASSERT_EQ(0, do_attach(self->n2.device, other));
	check_both(_metadata, &u->d, &self->n2, iova, u->d.m + page, u->d.m, MEMORY);
	check_both(_metadata, &u->d, &u->d.n, iova, u->d.m + page, u->d.m, MEMORY);
	ASSERT_EQ(0, do_attach(u->d.n.device, u->ioas));
	check_both(_metadata, &u->d, &self->n2, iova, u->d.m, u->d.m, MEMORY);

	/* either may leave; the one that stays goes on */
	ASSERT_EQ(0, do_detach(u->d.n.device));
	check_both(_metadata, &u->d, &self->n2, iova, u->d.m, u->d.m, MEMORY);
	ASSERT_EQ(0, do_attach(u->d.n.device, u->ioas));
	ASSERT_EQ(0, do_detach(self->n2.device));
	check_both(_metadata, &u->d, &u->d.n, iova, u->d.m, u->d.m, MEMORY);
	/* both, and the group reaches nothing */
	ASSERT_EQ(0, do_detach(u->d.n.device));
	EXPECT_NE(0, nvme_rw(&u->d.n, NVME_IO_READ, MEDIUM_PAGE, iova));
	EXPECT_NE(0, nvme_rw(&self->n2, NVME_IO_READ, MEDIUM_PAGE, iova));
	EXPECT_TRUE(guards_hold(u->d.m, MEMORY, NULL));
	/* the other one is the first this time */
	ASSERT_EQ(0, do_attach(self->n2.device, other));
	EXPECT_EQ(-EINVAL, do_attach(u->d.n.device, u->ioas));
	ASSERT_EQ(0, do_attach(u->d.n.device, other));
	ASSERT_EQ(0, nvme_recover(&self->n2));
	ASSERT_EQ(0, nvme_recover(&u->d.n));
	check_both(_metadata, &u->d, &self->n2, iova, u->d.m + page, u->d.m, MEMORY);
	check_both(_metadata, &u->d, &u->d.n, iova, u->d.m + page, u->d.m, MEMORY);
}

/* All of a group is one owner's: another context, a container or a host's driver are refused. */
TEST_F(pair, one_owner)
{
	int fd = iommufd_open(), device;
	char path[64];
	__u32 dev;

	ASSERT_LE(0, fd);
	device = cdev_open_named(self->bdf[1]);
	ASSERT_LE(0, device);
	EXPECT_EQ(-EPERM, do_bind(device, fd, &dev));
	close(device);
	close(fd);
	snprintf(path, sizeof(path), "/dev/vfio/%d", groups[0]);
	EXPECT_EQ(-1, open(path, O_RDWR));
	EXPECT_EQ(EBUSY, errno);
	if (!access("/sys/bus/pci/drivers/nvme", F_OK))
		EXPECT_NE(0, device_give(self->bdf[1], "nvme"));
	EXPECT_STREQ("", device_link(self->bdf[1], "driver"));

	/* and the other way round: the host has one */
	user_close(&self->u);
	if (access("/sys/bus/pci/drivers/nvme", F_OK))
		return;
	ASSERT_EQ(0, device_give(self->bdf[1], "nvme"));
	fd = iommufd_open();
	device = cdev_open_named(self->bdf[0]);
	EXPECT_EQ(-EPERM, do_bind(device, fd, &dev));
	close(device);
	close(fd);
}

/* A function that comes to the bus finds its group in the domain. */
TEST_F(pair, found_in_domain)
{
	struct user *u = &self->u;
	const __u64 iova = 8 * GiB;

	ASSERT_EQ(0, do_ioas_map(u->fd, u->ioas, iova, u->d.m, 2 * page, MAP_RW));
	ASSERT_EQ(0, device_remove(self->bdf[1]));
	check_both(_metadata, &u->d, &u->d.n, iova, u->d.m, u->d.m, MEMORY);
	ASSERT_EQ(0, bus_rescan());
	ASSERT_TRUE(device_is_there(self->bdf[1]));
	EXPECT_EQ(groups[0], device_group(self->bdf[1]));
	/* nobody's driver takes it */
	EXPECT_STREQ("", device_link(self->bdf[1], "driver"));
	check_both(_metadata, &u->d, &u->d.n, iova, u->d.m, u->d.m, MEMORY);
	ASSERT_EQ(0, device_give(self->bdf[1], "vfio-pci"));
	ASSERT_EQ(0, pair_second(u, &self->n2, self->bdf[1], &self->dev2));
	check_both(_metadata, &u->d, &self->n2, iova + page, u->d.m + page, u->d.m, MEMORY);
	nvme_close(&self->n2);
	check_both(_metadata, &u->d, &u->d.n, iova, u->d.m, u->d.m, MEMORY);
}

/* ---- a device with ATS is reset: the rest of its group works on ---- */

FIXTURE(ats) {
	char nvme[32], other[32];	/* functions of a group; @other has the capability */
	char *page;
	long pinned;
};

/* Does a device have an extended capability? */
static bool has_ext_cap(const char *bdf, unsigned int id)
{
	unsigned int at = PCI_CFG_SPACE_SIZE, left = 100;
	__u32 header = 0;
	char path[128];
	int fd;

	snprintf(path, sizeof(path), "/sys/bus/pci/devices/%.16s/config", bdf);
	fd = open(path, O_RDONLY);
	while (fd >= 0 && at >= PCI_CFG_SPACE_SIZE && left-- && pread(fd, &header, 4, at) == 4) {
		header = le32toh(header);
		if (PCI_EXT_CAP_ID(header) == id)
			break;
		at = PCI_EXT_CAP_NEXT(header);
		header = 0;
	}
	if (fd >= 0)
		close(fd);
	return header && PCI_EXT_CAP_ID(header) == id;
}

FIXTURE_SETUP(ats)
{
	char path[64];
	struct dirent *e;
	DIR *d;

	snprintf(path, sizeof(path), "/sys/kernel/iommu_groups/%d/devices", groups[0]);
	d = opendir(path);
	while (d && (e = readdir(d)))
		if (e->d_name[0] != '.' && has_ext_cap(e->d_name, PCI_EXT_CAP_ID_ATS))
			snprintf(self->other, sizeof(self->other), "%.16s", e->d_name);
	if (d)
		closedir(d);
	if (!self->other[0] || !nvme_in_group(groups[0]))
		SKIP(return, "group %d has no NVMe and another function with ATS", groups[0]);
	snprintf(self->nvme, sizeof(self->nvme), "%s", nvme_in_group(groups[0]));
	self->page = aligned_alloc(NVME_PAGE, NVME_PAGE);
	self->pinned = pages_pinned_steady();
}

FIXTURE_TEARDOWN(ats)
{
	free(self->page);
	if (self->other[0])
		EXPECT_EQ(self->pinned, settle(pages_pinned, self->pinned));
}

/* Transfers, over and over until they are to stop; how many, and whether one failed */
struct transfers {
	int (*one)(struct transfers *t);
	bool stop, failed;
	unsigned int done, seed;
	int fd;			/* host's */
	struct user *u;
	char *page;
};

static int transfer_host(struct transfers *t)
{
	unsigned char data[NVME_PAGE];

	fill(data, ++t->seed);
	memcpy(t->page, data, NVME_PAGE);
	if (pwrite(t->fd, t->page, NVME_PAGE, MEDIUM_PAGE * NVME_PAGE) != NVME_PAGE)
		return -errno;
	memset(t->page, 0, NVME_PAGE);
	if (pread(t->fd, t->page, NVME_PAGE, MEDIUM_PAGE * NVME_PAGE) != NVME_PAGE)
		return -errno;
	return memcmp(t->page, data, NVME_PAGE) ? -EIO : 0;
}

static int transfer_user(struct transfers *t)
{
	unsigned char data[NVME_PAGE];
	struct nvme *n = &t->u->d.n;
	int ret;

	fill(data, ++t->seed);
	memcpy(t->u->d.m, data, NVME_PAGE);
	ret = nvme_rw(n, NVME_IO_WRITE, MEDIUM_PAGE, GiB);
	memset(t->u->d.m, 0, NVME_PAGE);
	if (!ret)
		ret = nvme_rw(n, NVME_IO_READ, MEDIUM_PAGE, GiB);
	return ret ? ret : memcmp(t->u->d.m, data, NVME_PAGE) ? -EIO : 0;
}

static void *transfers_run(void *arg)
{
	struct transfers *t = arg;

	while (!__atomic_load_n(&t->stop, __ATOMIC_RELAXED) && !t->failed) {
		t->failed = t->one(t);
		__atomic_fetch_add(&t->done, 1, __ATOMIC_RELAXED);
	}
	return NULL;
}

/* So many more have been done, or one has failed. */
static void transfers_wait(struct transfers *t, unsigned int more)
{
	unsigned int from = __atomic_load_n(&t->done, __ATOMIC_RELAXED);

	while (__atomic_load_n(&t->done, __ATOMIC_RELAXED) - from < more &&
	       !__atomic_load_n(&t->failed, __ATOMIC_RELAXED))
		usleep(1000);
}

/* The other function is reset by @reset while the NVMe works. */
static void check_resets(struct __test_metadata *_metadata, struct transfers *t,
			 int (*reset)(void *), void *arg)
{
	pthread_t thread;
	int i;

	ASSERT_EQ(0, pthread_create(&thread, NULL, transfers_run, t));
	for (i = 0; i < 3; i++) {
		transfers_wait(t, 10);
		EXPECT_EQ(0, reset(arg));
	}
	transfers_wait(t, 10);
	t->stop = true;
	pthread_join(thread, NULL);
	EXPECT_FALSE(t->failed);
	EXPECT_LE(40, t->done);
}

static int reset_by_sysfs(void *bdf)
{
	return device_write(bdf, "reset", "1");
}

static int reset_by_vfio(void *device)
{
	return result(ioctl(*(int *)device, VFIO_DEVICE_RESET));
}

/* Both functions have their host's drivers. */
TEST_F(ats, reset_at_the_hosts)
{
	struct transfers t = { .one = transfer_host, .page = self->page }, other = t;
	struct utsname kernel;

	ASSERT_EQ(0, device_give(self->nvme, NULL));
	t.fd = host_disk(self->nvme, O_RDWR | O_DIRECT);
	ASSERT_LE(0, t.fd);
	other.fd = host_disk(self->other, O_RDWR | O_DIRECT);
	ASSERT_LE(0, other.fd)
		TH_LOG("%s has no disk: its driver is '%s'", self->other,
		       device_link(self->other, "driver"));
	ASSERT_EQ(0, transfer_host(&other));
	check_resets(_metadata, &t, reset_by_sysfs, self->other);
	/* virtio's older drivers do not survive their device's reset */
	uname(&kernel);
	if (atoi(kernel.release) >= 7 || strcmp(device_link(self->other, "driver"), "virtio-pci"))
		EXPECT_EQ(0, transfer_host(&other));
	close(other.fd);
	close(t.fd);
	ASSERT_EQ(0, device_give(self->nvme, "vfio-pci"));
}

/* Both are in one IOAS. */
TEST_F(ats, reset_by_its_user)
{
	struct transfers t = { .one = transfer_user, .page = self->page };
	struct user u;
	__u32 dev;
	int other;

	ASSERT_EQ(0, device_give(self->other, "vfio-pci"));
	ASSERT_EQ(0, user_open(&u));
	other = cdev_open_named(self->other);
	ASSERT_LE(0, other);
	ASSERT_EQ(0, do_bind(other, u.fd, &dev));
	ASSERT_EQ(0, do_attach(other, u.ioas));
	ASSERT_EQ(0, do_ioas_map(u.fd, u.ioas, GiB, u.d.m, MEMORY, MAP_RW));
	t.u = &u;
	check_resets(_metadata, &t, reset_by_vfio, &other);
	check_both(_metadata, &u.d, &u.d.n, GiB, u.d.m, u.d.m, MEMORY);
	/* it is in the IOAS as before: leaving needs both */
	ASSERT_EQ(0, do_detach(u.d.n.device));
	ASSERT_EQ(0, do_attach(u.d.n.device, u.ioas));
	close(other);
	check_both(_metadata, &u.d, &u.d.n, GiB, u.d.m, u.d.m, MEMORY);
	user_close(&u);
}

/* ---- pSeries has no paging domains: refused at once, and nothing is lost by asking ---- */

FIXTURE(lpar) {
	long pinned;
};

FIXTURE_SETUP(lpar)
{
	if (!access("/proc/device-tree/ibm,opal", F_OK))
		SKIP(return, "not in an LPAR");
	if (access("/dev/iommu", F_OK))
		SKIP(return, "no iommufd");
	self->pinned = pages_pinned_steady();
}

FIXTURE_TEARDOWN(lpar)
{
	EXPECT_EQ(self->pinned, settle(pages_pinned, self->pinned));
}

TEST_F(lpar, refused)
{
	struct container c = NO_CONTAINER;
	int fd, device;
	__u32 dev;

	/* a cdev: MSIs are not known to be isolated */
	fd = iommufd_open();
	ASSERT_LE(0, fd);
	device = cdev_open(0);
	ASSERT_LE(0, device);
	EXPECT_EQ(-EPERM, do_bind(device, fd, &dev));
	close(device);
	close(fd);

	/* a type1 program's way */
	c.fd = iommufd_open();
	c.group = group_join(&c, 0);
	ASSERT_LE(0, c.group);
	EXPECT_EQ(0, result(ioctl(c.fd, VFIO_SET_IOMMU, VFIO_TYPE1v2_IOMMU)));
	EXPECT_GT(0, ioctl(c.group, VFIO_GROUP_GET_DEVICE_FD, nvme_in_group(groups[0])));
	EXPECT_EQ(EPERM, errno);
	container_close(&c);

	owner_spapr(_metadata, VFIO_SPAPR_TCE_v2_IOMMU);
}

int main(int argc, char **argv)
{
	page = sysconf(_SC_PAGESIZE);
	spapr_tce_init(&argc, argv);
	return test_harness_run(argc, argv);
}
