// SPDX-License-Identifier: GPL-2.0
/*
 * TCE hypercalls of a small KVM-HV guest (vfio_spapr_kvm.h): every result, every TCE that
 * H_GET_TCE returns, and the state of the host afterwards.
 *
 *	vfio_spapr_kvm_test [-f FIXTURE | -v VARIANT | -t TEST ...]
 *
 * Cases with devices use the groups that vfio_spapr_tce.h finds, whose devices are bound to
 * vfio-pci. device_reaches needs an NVMe and overwrites nothing on it. $SEED repeats a stress
 * run.
 *
 * Results are those of LoPAR 14.5.4.2, with two differences that KVM intends: H_STUFF_TCE
 * takes more than 512 TCEs, for old guests, and refuses permission bits. WENT_UP is a call
 * that KVM left to user space.
 *
 * Three checks show the effect of a call in the host: "mapped" of the regions in debugfs,
 * where it exists, is 1 plus the number of live TCEs; regions can be unregistered once their
 * TCEs are clear; and the numbers of pinned and locked pages at the end of a case are those
 * of its beginning.
 */
#define _GNU_SOURCE
#include <limits.h>
#include <pthread.h>
#include <sched.h>
#include <stdint.h>

#include "vfio_spapr_kvm.h"
#include "vfio_spapr_memcg.h"
#include "vfio_spapr_nvme.h"
#include "kselftest_harness.h"

/* Emulated machines are slow, and so is every failure that waits for something. */
#undef TEST_TIMEOUT_DEFAULT
#define TEST_TIMEOUT_DEFAULT 120

#define RAM		(64 * MiB)
#define REGION		(32 * MiB)	/* RAM is two of them */
#define LIOBN		0x80000001UL
#define ENTRIES		16384UL		/* 128 KiB of TCEs: two 64K pages of the guest's view */
#define OUTSIDE_GPA	(256 * MiB)	/* memory of the guest that is not registered */
#define OUTSIDE		MiB
#define NOWHERE_GPA	(512 * MiB)	/* no memory of the guest */
#define POISON		0x5a5a5a5a5a5a5000UL

static __u64 a_page(unsigned long n)	/* of region A; TCE without permission bits */
{
	return MAP_FROM + n % 256 * 64 * KiB;
}

static __u64 b_page(unsigned long n)
{
	return REGION + n % 256 * 64 * KiB;
}

/* Everything is closed: nothing is left of it. */
static void expect_as_before(struct __test_metadata *_metadata, long pinned, long locked_then)
{
	EXPECT_EQ(pinned, settle(pages_pinned, pinned));
	EXPECT_EQ(locked_then, settle(locked, locked_then));
	EXPECT_EQ(0, settle(vms_left, 0));
}

FIXTURE(tce) {
	struct vm vm;
	struct vcpu *v;
	struct container c[2];
	int nr_containers;
	int table;
	unsigned int shift;
	__u64 start;		/* of the window, bytes */
	long per_tce;		/* references that one guest TCE takes */
	char *outside;
	char *a, *b;
	long pinned, locked;
};

FIXTURE_VARIANT(tce) {
	int containers;
	int groups;		/* in all */
	unsigned int shift;	/* of the guest's pages */
	unsigned int io_shift;	/* of the IOMMU's */
	bool high;		/* the window above 1 << 59, two levels */
};

FIXTURE_VARIANT_ADD(tce, emulated) { .shift = 12 };

FIXTURE_VARIANT_ADD(tce, one) {
	.containers = 1, .groups = 1, .shift = 12, .io_shift = 12,
};

FIXTURE_VARIANT_ADD(tce, one_64k_of_4k) {
	.containers = 1, .groups = 1, .shift = 16, .io_shift = 12,
};

FIXTURE_VARIANT_ADD(tce, one_high_64k) {
	.containers = 1, .groups = 1, .shift = 16, .io_shift = 16, .high = true,
};

FIXTURE_VARIANT_ADD(tce, two_groups) {
	.containers = 1, .groups = 2, .shift = 12, .io_shift = 12,
};

FIXTURE_VARIANT_ADD(tce, two_containers) {
	.containers = 2, .groups = 2, .shift = 12, .io_shift = 12,
};

#define SETUP_OR_SKIP(ret)						\
	do {								\
		int _ret = (ret);					\
									\
		if (_ret == -ENODEV)					\
			SKIP(return, "no KVM-HV here");			\
		if (_ret == -EOPNOTSUPP)				\
			SKIP(return, "no sPAPR TCE container here");	\
		ASSERT_EQ(0, _ret)					\
			TH_LOG("%s", strerror(-_ret));			\
	} while (0)

FIXTURE_SETUP(tce)
{
	__u64 size = ENTRIES << variant->shift;
	struct container *c;
	int i, g = 0, ret;

	self->pinned = pages_pinned_steady();
	self->locked = locked();
	self->table = -1;
	for (i = 0; i < 2; i++)
		self->c[i] = NO_CONTAINER;
	if (variant->groups > nr_groups)
		SKIP(return, "needs %d IOMMU groups bound to vfio-pci", variant->groups);
	if (variant->io_shift && 1L << variant->io_shift > sysconf(_SC_PAGESIZE))
		SKIP(return, "memory is not contiguous enough for these IOMMU pages");
	SETUP_OR_SKIP(vm_create(&self->vm, 1, RAM));
	self->v = &self->vm.vcpu[0];
	self->a = self->vm.ram;
	self->b = self->vm.ram + REGION;
	self->shift = variant->shift;
	self->per_tce = variant->containers << (variant->shift - variant->io_shift);
	self->outside = map_memory(OUTSIDE);
	ASSERT_NE(NULL, self->outside);
	ASSERT_EQ(0, vm_slot(&self->vm, 1, OUTSIDE_GPA, self->outside, OUTSIDE));

	for (i = 0; i < variant->containers; i++) {
		c = &self->c[i];
		SETUP_OR_SKIP(container_open(c, g++, VFIO_SPAPR_TCE_v2_IOMMU));
		self->nr_containers++;
		if (variant->groups > variant->containers) {
			c->second = group_join(c, g++);
			if (c->second == -EPERM)
				SKIP(return, "the platform does not share windows");
			ASSERT_LE(0, c->second);
		}
		ASSERT_EQ(0, do_register(c, self->a, REGION));
		ASSERT_EQ(0, do_register(c, self->b, REGION));
		/* Where the default window is wanted, it comes by itself. */
		if (!variant->high)
			ASSERT_EQ(0, do_remove(c, c->window));
		ret = do_create(c, variant->io_shift, size, variant->high ? 2 : 1, &self->start);
		if (ret == -EPERM && c->second >= 0)
			SKIP(return, "the platform does not share windows");
		ASSERT_EQ(0, ret);
	}
	self->table = vm_create_table(&self->vm, LIOBN, variant->shift, self->start, ENTRIES);
	ASSERT_LE(0, self->table);
	for (i = 0; i < variant->containers; i++) {
		ASSERT_EQ(0, vm_group_give(&self->vm, self->c[i].group, self->table));
		if (self->c[i].second >= 0)
			ASSERT_EQ(0, vm_group_give(&self->vm, self->c[i].second, self->table));
	}
}

static __u64 ioba(struct _test_data_tce *self, __u64 index)
{
	return self->start + (index << self->shift);
}

static long put(struct _test_data_tce *self, __u64 index, __u64 tce)
{
	return vcpu_hcall(self->v, H_PUT_TCE, LIOBN, ioba(self, index), tce, 0);
}

static long stuff(struct _test_data_tce *self, __u64 index, __u64 tce, __u64 n)
{
	return vcpu_hcall(self->v, H_STUFF_TCE, LIOBN, ioba(self, index), tce, n);
}

/* With the vcpu's list page */
static long indirect(struct _test_data_tce *self, __u64 index, __u64 n)
{
	return vcpu_hcall(self->v, H_PUT_TCE_INDIRECT, LIOBN, ioba(self, index),
			  self->v->list_gpa, n);
}

static void list_fill(struct vcpu *v, __u64 (*page)(unsigned long), __u64 perm)
{
	unsigned int i;

	for (i = 0; i < TCES_PER_LIST; i++)
		v->list[i] = htobe64(page(i) | perm);
}

/* What H_GET_TCE says; a made-up value if it fails */
static __u64 get(struct _test_data_tce *self, __u64 index)
{
	if (vcpu_hcall(self->v, H_GET_TCE, LIOBN, ioba(self, index), 0, 0))
		return 0xdeaddeaddeaddeadUL;
	return self->v->calls[0].out;
}

/* Entries [@from, @from + @n), all of them by H_GET_TCE, as @page and @perm or as @tce. */
static long wrong(struct _test_data_tce *self, __u64 from, unsigned long n,
		  __u64 (*page)(unsigned long), __u64 tce)
{
	unsigned long i, j, some;
	long bad = 0;
	struct hcall *c = self->v->calls;

	for (i = 0; i < n; i += some) {
		some = n - i < MAX_CALLS ? n - i : MAX_CALLS;
		for (j = 0; j < some; j++)
			hcall_set(&c[j], H_GET_TCE, LIOBN, ioba(self, from + i + j), 0, 0);
		if (vcpu_run(self->v, some))
			return n;
		for (j = 0; j < some; j++)
			bad += c[j].ret != H_SUCCESS ||
			       c[j].out != ((page ? page(i + j) : 0) | tce);
	}
	return bad;
}

/* @a and @b guest TCEs are live in these regions. */
static void expect_live(struct __test_metadata *_metadata, struct _test_data_tce *self,
			long a, long b)
{
	if (!self->nr_containers || region_mapped(self->a) == NO_VIEW)
		return;
	EXPECT_EQ(1 + a * self->per_tce, region_mapped(self->a));
	EXPECT_EQ(1 + b * self->per_tce, region_mapped(self->b));
}

/* Nothing refers to the regions any more, or they could not go. */
static void expect_idle(struct __test_metadata *_metadata, struct _test_data_tce *self)
{
	int i;

	expect_live(_metadata, self, 0, 0);
	for (i = 0; i < self->nr_containers; i++) {
		EXPECT_EQ(0, do_unregister(&self->c[i], self->a, REGION));
		EXPECT_EQ(0, do_unregister(&self->c[i], self->b, REGION));
	}
	EXPECT_EQ(self->pinned, settle(pages_pinned, self->pinned))
		TH_LOG("after every TCE was cleared and every region unregistered");
	for (i = 0; i < self->nr_containers; i++) {
		EXPECT_EQ(0, do_register(&self->c[i], self->a, REGION));
		EXPECT_EQ(0, do_register(&self->c[i], self->b, REGION));
	}
}

FIXTURE_TEARDOWN(tce)
{
	int i;

	if (self->table >= 0)
		close(self->table);
	for (i = 0; i < self->nr_containers; i++)
		container_close(&self->c[i]);
	vm_destroy(&self->vm);
	munmap(self->outside, OUTSIDE);
	expect_as_before(_metadata, self->pinned, self->locked);
}

TEST_F(tce, map_and_clear)
{
	const __u64 at[] = { 0, 1, ENTRIES / 2 - 1, ENTRIES / 2, ENTRIES - 1 };
	const __u64 perm[] = { TCE_READ, TCE_WRITE, TCE_RW };
	unsigned int i, j;

	for (i = 0; i < ARRAY_SIZE(at); i++) {
		EXPECT_EQ(0UL, get(self, at[i]));
		for (j = 0; j < ARRAY_SIZE(perm); j++) {
			EXPECT_EQ(H_SUCCESS, put(self, at[i], a_page(j) | perm[j]));
			EXPECT_EQ(a_page(j) | perm[j], get(self, at[i]));
			expect_live(_metadata, self, 1, 0);
		}
		EXPECT_EQ(H_SUCCESS, put(self, at[i], 0));
		EXPECT_EQ(0UL, get(self, at[i]));
		/* Clearing what is clear is no error. */
		EXPECT_EQ(H_SUCCESS, put(self, at[i], 0));
		expect_live(_metadata, self, 0, 0);
	}
	EXPECT_EQ(0, self->v->went_up);
	expect_idle(_metadata, self);
}

TEST_F(tce, replace)
{
	int i;

	for (i = 0; i < 10; i++) {
		EXPECT_EQ(H_SUCCESS, put(self, 5, a_page(i) | TCE_RW));
		expect_live(_metadata, self, 1, 0);
		EXPECT_EQ(H_SUCCESS, put(self, 5, a_page(i) | TCE_READ));
		expect_live(_metadata, self, 1, 0);
		EXPECT_EQ(H_SUCCESS, put(self, 5, b_page(i) | TCE_RW));
		EXPECT_EQ(b_page(i) | TCE_RW, get(self, 5));
		expect_live(_metadata, self, 0, 1);
	}
	EXPECT_EQ(H_SUCCESS, put(self, 6, b_page(0) | TCE_WRITE));
	expect_live(_metadata, self, 0, 2);
	EXPECT_EQ(H_SUCCESS, put(self, 5, 0));
	EXPECT_EQ(b_page(0) | TCE_WRITE, get(self, 6));
	expect_live(_metadata, self, 0, 1);
	EXPECT_EQ(H_SUCCESS, put(self, 6, 0));
	EXPECT_EQ(0, self->v->went_up);
	expect_idle(_metadata, self);
}

TEST_F(tce, ioba)
{
	const __u64 page = 1UL << self->shift;
	struct {
		const char *what;
		__u64 ioba;
	} bad[] = {
		{ "misaligned by 1", self->start + 1 },
		{ "misaligned by half a page", self->start + page / 2 },
		{ "misaligned, the last", ioba(self, ENTRIES) - 1 },
		{ "one past", ioba(self, ENTRIES) },
		{ "twice as far", ioba(self, 2 * ENTRIES) },
		{ "far", self->start + (1UL << 48) },
		{ "other window", self->start ^ (1UL << 59) },
		{ "one before", self->start - page },
		{ "sign", self->start + (1UL << 63) },
		{ "end", -page },
		{ "all ones", -1UL },
	};
	unsigned int i;

	list_fill(self->v, a_page, TCE_RW);
	EXPECT_EQ(H_SUCCESS, put(self, 0, b_page(0) | TCE_RW));
	EXPECT_EQ(H_SUCCESS, put(self, ENTRIES - 1, b_page(1) | TCE_RW));
	for (i = 0; i < ARRAY_SIZE(bad); i++) {
		EXPECT_EQ(H_PARAMETER, vcpu_hcall(self->v, H_PUT_TCE, LIOBN, bad[i].ioba,
						  a_page(0) | TCE_RW, 0))
			TH_LOG("H_PUT_TCE, %s", bad[i].what);
		EXPECT_EQ(H_PARAMETER, vcpu_hcall(self->v, H_PUT_TCE, LIOBN, bad[i].ioba, 0, 0))
			TH_LOG("H_PUT_TCE to clear, %s", bad[i].what);
		EXPECT_EQ(H_PARAMETER, vcpu_hcall(self->v, H_GET_TCE, LIOBN, bad[i].ioba, 0, 0))
			TH_LOG("H_GET_TCE, %s", bad[i].what);
		EXPECT_EQ(H_PARAMETER, vcpu_hcall(self->v, H_STUFF_TCE, LIOBN, bad[i].ioba, 0, 1))
			TH_LOG("H_STUFF_TCE, %s", bad[i].what);
		EXPECT_EQ(H_PARAMETER, vcpu_hcall(self->v, H_PUT_TCE_INDIRECT, LIOBN,
						  bad[i].ioba, self->v->list_gpa, 1))
			TH_LOG("H_PUT_TCE_INDIRECT, %s", bad[i].what);
	}
	EXPECT_EQ(b_page(0) | TCE_RW, get(self, 0));
	EXPECT_EQ(b_page(1) | TCE_RW, get(self, ENTRIES - 1));
	EXPECT_EQ(0, wrong(self, 1, ENTRIES - 2, NULL, 0));
	expect_live(_metadata, self, 0, 2);
	EXPECT_EQ(0, self->v->went_up);
}

TEST_F(tce, count_indirect)
{
	list_fill(self->v, a_page, TCE_RW);
	EXPECT_EQ(H_SUCCESS, indirect(self, 10, 0));
	EXPECT_EQ(0UL, get(self, 10));
	expect_live(_metadata, self, 0, 0);

	EXPECT_EQ(H_SUCCESS, indirect(self, 10, 1));
	EXPECT_EQ(0, wrong(self, 10, 1, a_page, TCE_RW));
	EXPECT_EQ(0UL, get(self, 9));
	EXPECT_EQ(0UL, get(self, 11));
	expect_live(_metadata, self, 1, 0);

	/* Across two pages of the guest's view */
	EXPECT_EQ(H_SUCCESS, indirect(self, ENTRIES / 2 - 100, 512));
	EXPECT_EQ(0, wrong(self, ENTRIES / 2 - 100, 512, a_page, TCE_RW));
	EXPECT_EQ(0UL, get(self, ENTRIES / 2 - 101));
	EXPECT_EQ(0UL, get(self, ENTRIES / 2 + 412));
	expect_live(_metadata, self, 513, 0);

	EXPECT_EQ(H_SUCCESS, indirect(self, ENTRIES - 512, 512));
	EXPECT_EQ(0, wrong(self, ENTRIES - 512, 512, a_page, TCE_RW));
	expect_live(_metadata, self, 1025, 0);

	list_fill(self->v, b_page, TCE_RW);
	EXPECT_EQ(H_PARAMETER, indirect(self, 10, 513));
	EXPECT_EQ(H_PARAMETER, indirect(self, 10, 1UL << 32 | 1));
	EXPECT_EQ(H_PARAMETER, indirect(self, 10, 1UL << 63));
	EXPECT_EQ(H_PARAMETER, indirect(self, 10, -1UL));
	/* One more than there is: not even the first is touched. */
	EXPECT_EQ(H_PARAMETER, indirect(self, ENTRIES - 511, 512));
	EXPECT_EQ(H_PARAMETER, indirect(self, ENTRIES - 1, 2));
	EXPECT_EQ(0, wrong(self, ENTRIES - 512, 512, a_page, TCE_RW));
	EXPECT_EQ(0, wrong(self, 10, 1, a_page, TCE_RW));
	expect_live(_metadata, self, 1025, 0);
	EXPECT_EQ(0, self->v->went_up);

	EXPECT_EQ(H_SUCCESS, stuff(self, 0, 0, ENTRIES));
	expect_idle(_metadata, self);
}

TEST_F(tce, count_stuff)
{
	unsigned int i;

	list_fill(self->v, a_page, TCE_RW);
	for (i = 0; i < 4; i++)
		EXPECT_EQ(H_SUCCESS, indirect(self, 512 * i, 512));
	EXPECT_EQ(H_SUCCESS, stuff(self, 0, 0, 0));
	EXPECT_EQ(0, wrong(self, 0, 2048, a_page, TCE_RW));
	expect_live(_metadata, self, 2048, 0);
	EXPECT_EQ(H_SUCCESS, stuff(self, 0, 0, 1));
	EXPECT_EQ(0UL, get(self, 0));
	EXPECT_EQ(a_page(1) | TCE_RW, get(self, 1));
	expect_live(_metadata, self, 2047, 0);
	EXPECT_EQ(H_SUCCESS, stuff(self, 1, 0, 512));
	EXPECT_EQ(0, wrong(self, 0, 513, NULL, 0));
	EXPECT_EQ(a_page(513) | TCE_RW, get(self, 513));
	expect_live(_metadata, self, 1535, 0);
	/* More than LoPAR allows, which old guests do */
	EXPECT_EQ(H_SUCCESS, stuff(self, 513, 0, 513));
	EXPECT_EQ(0, wrong(self, 0, 1026, NULL, 0));
	EXPECT_EQ(a_page(1026) | TCE_RW, get(self, 1026));
	expect_live(_metadata, self, 1022, 0);

	EXPECT_EQ(H_PARAMETER, stuff(self, 1, 0, ENTRIES));
	EXPECT_EQ(H_PARAMETER, stuff(self, ENTRIES - 1, 0, 2));
	EXPECT_EQ(H_PARAMETER, stuff(self, 1026, 0, -1UL));
	EXPECT_EQ(H_PARAMETER, stuff(self, 1026, 0, 1UL << 63));
	EXPECT_EQ(H_PARAMETER, stuff(self, 1026, 0, -(self->start >> self->shift) - 1026));
	EXPECT_EQ(a_page(1026) | TCE_RW, get(self, 1026));
	EXPECT_EQ(0, wrong(self, 1280, 768, a_page, TCE_RW));
	expect_live(_metadata, self, 1022, 0);

	EXPECT_EQ(H_SUCCESS, stuff(self, 0, 0, ENTRIES));
	EXPECT_EQ(0, wrong(self, 0, ENTRIES, NULL, 0));
	EXPECT_EQ(0, self->v->went_up);
	expect_idle(_metadata, self);
}

/* A value without permission bits is kept as it is, and maps nothing. */
TEST_F(tce, poison)
{
	const __u64 poison[] = { POISON, POISON | 0xffc, 4, 0x800, 1UL << 63, ~TCE_RW };
	unsigned int i;

	for (i = 0; i < ARRAY_SIZE(poison); i++) {
		EXPECT_EQ(H_SUCCESS, put(self, 3, a_page(0) | TCE_RW));
		EXPECT_EQ(H_SUCCESS, put(self, 3, poison[i]));
		EXPECT_EQ(poison[i], get(self, 3));
		expect_live(_metadata, self, 0, 0);

		EXPECT_EQ(H_SUCCESS, put(self, 3, a_page(0) | TCE_RW));
		EXPECT_EQ(H_SUCCESS, stuff(self, 2, poison[i], 3));
		EXPECT_EQ(0, wrong(self, 2, 3, NULL, poison[i]));
		EXPECT_EQ(H_SUCCESS, stuff(self, 2, poison[i], 600));
		EXPECT_EQ(0, wrong(self, 2, 600, NULL, poison[i]));
		expect_live(_metadata, self, 0, 0);
	}
	EXPECT_EQ(H_SUCCESS, put(self, 3, a_page(0) | TCE_RW));
	for (i = 1; i <= TCE_RW; i++)
		EXPECT_EQ(H_PARAMETER, stuff(self, 2, a_page(1) | i, 3));
	EXPECT_EQ(a_page(0) | TCE_RW, get(self, 3));
	expect_live(_metadata, self, 1, 0);
	EXPECT_EQ(H_SUCCESS, put(self, 3, 0));
	EXPECT_EQ(0, self->v->went_up);
	expect_idle(_metadata, self);
}

/* An entry of the list may clear, too. */
TEST_F(tce, indirect_permissions)
{
	const __u64 perm[] = { 0, TCE_READ, TCE_WRITE, TCE_RW };
	unsigned int i, round;

	for (round = 0; round < 8; round++) {
		for (i = 0; i < 512; i++)
			self->v->list[i] = htobe64(a_page(i) | perm[(i + round) % 4]);
		EXPECT_EQ(H_SUCCESS, indirect(self, 100, 512));
		for (i = 0; i < 8; i++)
			EXPECT_EQ(a_page(i) | perm[(i + round) % 4], get(self, 100 + i));
		expect_live(_metadata, self, 384, 0);
	}
	for (i = 0; i < 512; i++)
		self->v->list[i] = htobe64(i % 2 ? 0 : POISON);
	EXPECT_EQ(H_SUCCESS, indirect(self, 100, 512));
	EXPECT_EQ(POISON, get(self, 100));
	EXPECT_EQ(0UL, get(self, 101));
	expect_live(_metadata, self, 0, 0);
	EXPECT_EQ(0, self->v->went_up);
	expect_idle(_metadata, self);
}

TEST_F(tce, list_address)
{
	const __u64 last = RAM - LIST_SIZE;
	struct {
		const char *what;
		__u64 gpa;
	} bad[] = {
		{ "misaligned by 8", self->v->list_gpa + 8 },
		{ "misaligned by 1", self->v->list_gpa + 1 },
		{ "misaligned, end of RAM", RAM - 8 },
		{ "first after RAM", RAM },
		{ "no memory", NOWHERE_GPA },
		{ "far", 1UL << 56 },
		{ "sign", 1UL << 63 },
		{ "end", -LIST_SIZE },
		{ "all ones", -1UL },
	};
	__be64 *list = (__be64 *)(self->vm.ram + last);
	unsigned int i;

	for (i = 0; i < ARRAY_SIZE(bad); i++) {
		EXPECT_EQ(H_PARAMETER, vcpu_hcall(self->v, H_PUT_TCE_INDIRECT, LIOBN,
						  ioba(self, 0), bad[i].gpa, 1))
			TH_LOG("%s", bad[i].what);
		EXPECT_EQ(0UL, get(self, 0));
	}

	for (i = 0; i < 512; i++)
		list[i] = htobe64(a_page(i) | TCE_RW);
	EXPECT_EQ(H_SUCCESS, vcpu_hcall(self->v, H_PUT_TCE_INDIRECT, LIOBN, ioba(self, 0),
					last, 512));
	EXPECT_EQ(0, wrong(self, 0, 512, a_page, TCE_RW));
	expect_live(_metadata, self, 512, 0);

	/* The list need not be in memory that devices may reach, nor be there yet. */
	EXPECT_EQ(H_SUCCESS, vcpu_hcall(self->v, H_PUT_TCE_INDIRECT, LIOBN, ioba(self, 0),
					OUTSIDE_GPA + OUTSIDE - LIST_SIZE, 512));
	EXPECT_EQ(0, wrong(self, 0, 512, NULL, 0));
	expect_idle(_metadata, self);
}

/* One bad entry, wherever it is: nothing has changed. */
TEST_F(tce, list_garbage)
{
	const __u64 bad[] = {
		b_page(1) | 0x800 | TCE_RW,	/* misaligned */
		b_page(1) | 4 | TCE_READ,
		NOWHERE_GPA | TCE_RW,
		1UL << 62 | TCE_RW,
		POISON | TCE_WRITE,
		~0UL,
		OUTSIDE_GPA | TCE_RW,		/* not registered */
	};
	const unsigned int at[] = { 0, 1, 255, 511 };
	unsigned int i, j;
	long ret;

	list_fill(self->v, a_page, TCE_RW);
	EXPECT_EQ(H_SUCCESS, indirect(self, 0, 512));
	for (i = 0; i < ARRAY_SIZE(bad); i++) {
		/* To an emulated device all the guest's memory is good. */
		if ((bad[i] & ~TCE_RW) == OUTSIDE_GPA && !self->nr_containers)
			continue;
		for (j = 0; j < ARRAY_SIZE(at); j++) {
			list_fill(self->v, b_page, TCE_RW);
			self->v->list[at[j]] = htobe64(bad[i]);
			ret = indirect(self, 0, 512);
			EXPECT_TRUE(ret == H_PARAMETER || ret == WENT_UP)
				TH_LOG("0x%lx at %u: %ld", (unsigned long)bad[i], at[j], ret);
			EXPECT_EQ(0, wrong(self, 0, 512, a_page, TCE_RW))
				TH_LOG("0x%lx at %u", (unsigned long)bad[i], at[j]);
			expect_live(_metadata, self, 512, 0);
		}
	}
	/* A bad one beyond the count is not looked at. */
	list_fill(self->v, b_page, TCE_RW);
	self->v->list[256] = htobe64(~0UL);
	EXPECT_EQ(H_SUCCESS, indirect(self, 0, 256));
	EXPECT_EQ(0, wrong(self, 0, 256, b_page, TCE_RW));
	expect_live(_metadata, self, 256, 256);
	EXPECT_EQ(H_SUCCESS, stuff(self, 0, 0, 512));
	expect_idle(_metadata, self);
}

TEST_F(tce, bad_page)
{
	const __u64 page = 1UL << self->shift;
	const __u64 misaligned[] = { 4, 0x800, page / 2, page - 4 };
	const __u64 nowhere[] = { RAM, NOWHERE_GPA, 1UL << 56, 1UL << 60, -page };
	unsigned int i, perm;
	long ret;

	EXPECT_EQ(H_SUCCESS, put(self, 0, b_page(0) | TCE_RW));
	for (perm = 1; perm <= TCE_RW; perm++) {
		for (i = 0; i < ARRAY_SIZE(misaligned); i++) {
			EXPECT_EQ(H_PARAMETER, put(self, 0, a_page(1) | misaligned[i] | perm))
				TH_LOG("by 0x%lx", (unsigned long)misaligned[i]);
		}
		/* Only user space knows what else it has put at guest addresses. */
		for (i = 0; i < ARRAY_SIZE(nowhere); i++) {
			ret = put(self, 0, nowhere[i] | perm);
			EXPECT_TRUE(ret == H_PARAMETER || ret == WENT_UP)
				TH_LOG("0x%lx: %ld", (unsigned long)nowhere[i], ret);
		}
		EXPECT_EQ(b_page(0) | TCE_RW, get(self, 0));
		expect_live(_metadata, self, 0, 1);
		EXPECT_EQ(self->nr_containers ? WENT_UP : H_SUCCESS,
			  put(self, 1, OUTSIDE_GPA | perm));
		EXPECT_EQ(self->nr_containers ? 0 : OUTSIDE_GPA | perm, get(self, 1));
	}
	expect_live(_metadata, self, 0, 1);
	EXPECT_EQ(H_SUCCESS, stuff(self, 0, 0, 2));
	expect_idle(_metadata, self);
}

TEST_F(tce, unknown_liobn)
{
	const __u64 liobn[] = { 0, LIOBN + 1, LIOBN & 0xffff, LIOBN | 1UL << 32, -LIOBN, -1UL };
	unsigned int i;

	list_fill(self->v, a_page, TCE_RW);
	for (i = 0; i < ARRAY_SIZE(liobn); i++) {
		EXPECT_EQ(WENT_UP, vcpu_hcall(self->v, H_PUT_TCE, liobn[i], ioba(self, 0),
					      a_page(0) | TCE_RW, 0));
		EXPECT_EQ(WENT_UP, vcpu_hcall(self->v, H_GET_TCE, liobn[i], ioba(self, 0), 0, 0));
		EXPECT_EQ(WENT_UP, vcpu_hcall(self->v, H_STUFF_TCE, liobn[i], ioba(self, 0),
					      0, 1));
		EXPECT_EQ(WENT_UP, vcpu_hcall(self->v, H_PUT_TCE_INDIRECT, liobn[i],
					      ioba(self, 0), self->v->list_gpa, 512));
	}
	EXPECT_EQ(0, wrong(self, 0, 512, NULL, 0));
	expect_live(_metadata, self, 0, 0);
}

/* What user space sees of the table is its own to change. */
TEST_F(tce, mmap)
{
	const size_t size = ENTRIES * sizeof(__u64);
	unsigned int i;
	__u64 *view;

	view = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED, self->table, 0);
	ASSERT_NE(MAP_FAILED, view);
	list_fill(self->v, a_page, TCE_RW);
	EXPECT_EQ(H_SUCCESS, indirect(self, 0, 512));
	for (i = 0; i < 512; i++)
		ASSERT_EQ(a_page(i) | TCE_RW, view[i]);
	EXPECT_EQ(0UL, view[512]);
	EXPECT_EQ(0UL, view[ENTRIES - 1]);
	view[ENTRIES - 1] = POISON;
	EXPECT_EQ(POISON, get(self, ENTRIES - 1));

	/* Lies about what is mapped confuse no count. */
	for (i = 0; i < 512; i++)
		view[i] = i % 2 ? 0 : OUTSIDE_GPA | TCE_RW;
	view[600] = b_page(0) | TCE_RW;
	expect_live(_metadata, self, 512, 0);
	EXPECT_EQ(H_SUCCESS, put(self, 0, b_page(0) | TCE_RW));
	EXPECT_EQ(H_SUCCESS, put(self, 1, 0));
	expect_live(_metadata, self, 510, 1);
	EXPECT_EQ(H_SUCCESS, stuff(self, 0, 0, ENTRIES));
	for (i = 0; i < ENTRIES; i++)
		if (view[i])
			break;
	EXPECT_EQ(ENTRIES, i);
	ASSERT_EQ(0, munmap(view, size));
	expect_idle(_metadata, self);
}

/* Who did the calls, as the VM's statistics say. */
TEST_F(tce, handled_where)
{
	static const char * const call[] = { "put", "indirect", "stuff", "get" };
	static const char * const mode[] = { "rm", "virt", "user" };
	const bool has_hw = self->nr_containers, split = self->per_tce > self->nr_containers;
	long before[4][3], by[3], want;
	char name[64];
	int i, j;
	bool rm;

	if (vm_stat(&self->vm, "tce_put_virt") < 0)
		SKIP(return, "this kernel does not count TCE hypercalls");
	rm = vcpu_real_mode(self->v, LIOBN, ioba(self, 0));
	EXPECT_TRUE(rm || !real_mode_expected());
	/* The first use of a place may have to allocate. */
	list_fill(self->v, a_page, TCE_RW);
	EXPECT_EQ(H_SUCCESS, indirect(self, 0, 512));
	for (i = 0; i < 4; i++)
		for (j = 0; j < 3; j++) {
			snprintf(name, sizeof(name), "tce_%s_%s", call[i], mode[j]);
			before[i][j] = vm_stat(&self->vm, name);
			ASSERT_LE(0, before[i][j])
				TH_LOG("no %s", name);
		}
	for (i = 0; i < 10; i++) {
		EXPECT_EQ(H_SUCCESS, put(self, 0, a_page(i) | TCE_RW));
		EXPECT_EQ(H_SUCCESS, put(self, 0, b_page(i) | TCE_RW));
		EXPECT_EQ(H_SUCCESS, put(self, 0, 0));
		EXPECT_EQ(H_SUCCESS, indirect(self, 0, 512));
		EXPECT_EQ(H_SUCCESS, stuff(self, 0, 0, 512));
		EXPECT_EQ(0UL, get(self, 0));
	}
	for (i = 0; i < 4; i++) {
		for (j = 0; j < 3; j++) {
			snprintf(name, sizeof(name), "tce_%s_%s", call[i], mode[j]);
			by[j] = vm_stat(&self->vm, name) - before[i][j];
		}
		TH_LOG("%s: real mode %ld, virtual mode %ld, user space %ld", call[i], by[0], by[1],
		       by[2]);
		want = i == 0 ? 30 : 10;
		EXPECT_EQ(want, by[0] + by[1]);
		EXPECT_EQ(0, by[2]);
		/*
		 * Real mode reads lists only where memory is registered, and changes 512 TCEs of
		 * a device at most.
		 */
		if (!rm || (i == 1 && !has_hw) ||
		    ((i == 1 || i == 2) && split))
			want = 0;
		EXPECT_EQ(want, by[0]);
	}
	EXPECT_EQ(0, self->v->went_up);

	if (self->nr_containers) {
		EXPECT_EQ(WENT_UP, put(self, 0, OUTSIDE_GPA | TCE_RW));
		EXPECT_EQ(before[0][2] + 1, vm_stat(&self->vm, "tce_put_user"));
	}
}

/* Live TCEs when things go, in different orders: the teardown looks for what is left. */
TEST_F(tce, close_table_first)
{
	list_fill(self->v, a_page, TCE_RW);
	EXPECT_EQ(H_SUCCESS, indirect(self, 0, 512));
	close(self->table);
	self->table = -1;
	EXPECT_EQ(WENT_UP, put(self, 0, 0));
}

TEST_F(tce, close_container_first)
{
	int i;

	list_fill(self->v, a_page, TCE_RW);
	EXPECT_EQ(H_SUCCESS, indirect(self, 0, 512));
	for (i = 0; i < self->nr_containers; i++)
		container_close(&self->c[i]);
	/* KVM holds the groups until the VM goes: the guest may go on. */
	put(self, 0, 0);
	put(self, 1, b_page(0) | TCE_RW);
}

TEST_F(tce, close_vm_first)
{
	list_fill(self->v, a_page, TCE_RW);
	EXPECT_EQ(H_SUCCESS, indirect(self, 0, 512));
	vm_destroy(&self->vm);
}

/* Things that need a set-up of their own: one VM, and what the case makes of it. */
FIXTURE(vm) {
	struct vm vm;
	struct vcpu *v;
	struct container c;
	int table;
	char *a, *b;
	long pinned, locked;
};

FIXTURE_SETUP(vm)
{
	self->pinned = pages_pinned_steady();
	self->locked = locked();
	self->table = -1;
	self->c = NO_CONTAINER;
	SETUP_OR_SKIP(vm_create(&self->vm, 2, RAM));
	self->v = &self->vm.vcpu[0];
	self->a = self->vm.ram;
	self->b = self->vm.ram + REGION;
}

FIXTURE_TEARDOWN(vm)
{
	if (self->table >= 0)
		close(self->table);
	container_close(&self->c);
	vm_destroy(&self->vm);
	expect_as_before(_metadata, self->pinned, self->locked);
}

/* A container with RAM registered, its only window with @entries of 1 << @io_shift. */
static int open_window(struct _test_data_vm *self, unsigned int io_shift, __u64 entries, int levels)
{
	__u64 start;
	int ret;

	if (!nr_groups)
		return -ENXIO;
	ret = container_open(&self->c, 0, VFIO_SPAPR_TCE_v2_IOMMU);
	if (ret)
		return ret;
	ret = do_register(&self->c, self->a, REGION) ?: do_register(&self->c, self->b, REGION) ?:
	      do_remove(&self->c, self->c.window) ?:
	      do_create(&self->c, io_shift, entries << io_shift, levels, &start);
	return ret ?: start ? -ERANGE : 0;
}

static int attach(struct _test_data_vm *self, unsigned int shift, __u64 entries)
{
	self->table = vm_create_table(&self->vm, LIOBN, shift, 0, entries);
	if (self->table < 0)
		return self->table;
	return vm_group_give(&self->vm, self->c.group, self->table);
}

#define DEVICE_OR_SKIP(ret)						\
	do {								\
		int _dev = (ret);					\
									\
		if (_dev == -ENXIO)					\
			SKIP(return, "no IOMMU group bound to vfio-pci");	\
		SETUP_OR_SKIP(_dev);					\
	} while (0)

static long vm_put(struct vcpu *v, __u64 ioba, __u64 tce)
{
	return vcpu_hcall(v, H_PUT_TCE, LIOBN, ioba, tce, 0);
}

/*
 * Does a TCE of a device refer to the region? Where there is no view to tell, what can't
 * be unpinned does; that ends the region's use.
 */
static bool region_live(struct container *c, char *addr)
{
	long mapped = region_mapped(addr), pinned;

	if (mapped != NO_VIEW)
		return mapped > 1;
	pinned = pages_pinned();
	if (do_unregister(c, addr, REGION))
		return true;
	settle(pages_pinned, pinned - REGION / sysconf(_SC_PAGESIZE));
	return pages_pinned() == pinned;
}

/*
 * The only witness of what is in the hardware's table is a device: an NVMe controller
 * writes its identity (NVMe base specification 5.17) where the TCE says. Its status, or
 * -errno if there is none.
 */
static int identify_to(struct nvme *n, __u64 iova)
{
	struct nvme_command c = {
		.opcode_cid = NVME_ADMIN_IDENTIFY, .prp1 = htole64(iova),
		.cdw10 = { htole32(1) },
	};
	unsigned int cid, status;
	int ret;

	nvme_submit(n, &n->admin, &c);
	ret = nvme_completed(n, &n->admin, 2000, &cid, &status);
	return ret ? ret : (int)status;
}

/* Is there an identity? Its first two bytes are the vendor, never 0. The page is cleared. */
static bool arrived(char *page)
{
	bool yes = page[0] || page[1];

	memset(page, 0, NVME_PAGE);
	return yes;
}

TEST_F(vm, device_reaches)
{
	const __u64 queues = RAM - 64 * KiB, data = NVME_MEMORY;
	char *pa = self->vm.ram + a_page(0), *pb = self->vm.ram + b_page(0);
	struct nvme n;
	__u64 i;
	int ret;

	DEVICE_OR_SKIP(open_window(self, 12, ENTRIES, 1));
	ASSERT_EQ(0, attach(self, 12, ENTRIES));
	for (i = 0; i < NVME_MEMORY; i += NVME_PAGE)
		EXPECT_EQ(H_SUCCESS, vm_put(self->v, i, (queues + i) | TCE_RW));
	ret = nvme_open(&n, &self->c, self->c.group, groups[0], self->vm.ram + queues, 0);
	if (ret == -ENODEV)
		SKIP(return, "group %d has no NVMe", groups[0]);
	ASSERT_EQ(0, ret);

	EXPECT_EQ(H_SUCCESS, vm_put(self->v, data, a_page(0) | TCE_RW));
	EXPECT_EQ(0, identify_to(&n, data));
	EXPECT_TRUE(arrived(pa));
	EXPECT_EQ(H_SUCCESS, vm_put(self->v, data, b_page(0) | TCE_WRITE));
	EXPECT_EQ(0, identify_to(&n, data));
	EXPECT_TRUE(arrived(pb));
	EXPECT_FALSE(arrived(pa));
	/* The middle one of a list, and not its neighbours */
	list_fill(self->v, a_page, TCE_RW);
	EXPECT_EQ(H_SUCCESS, vcpu_hcall(self->v, H_PUT_TCE_INDIRECT, LIOBN, data,
					self->v->list_gpa, 512));
	EXPECT_EQ(0, identify_to(&n, data + 255 * 4096));
	EXPECT_TRUE(arrived(self->vm.ram + a_page(255)));
	EXPECT_FALSE(arrived(self->vm.ram + a_page(254)));
	EXPECT_FALSE(arrived(self->vm.ram + a_page(256)));
	EXPECT_EQ(0, identify_to(&n, data));
	EXPECT_TRUE(arrived(pa));
	EXPECT_FALSE(arrived(pb));

	/* From here on a real PHB freezes the device: what counts is that nothing arrives. */
	EXPECT_EQ(H_SUCCESS, vm_put(self->v, data, a_page(0) | TCE_READ));
	identify_to(&n, data);
	EXPECT_FALSE(arrived(pa));
	EXPECT_EQ(H_SUCCESS, vm_put(self->v, data, a_page(0)));
	identify_to(&n, data);
	EXPECT_FALSE(arrived(pa));
	EXPECT_EQ(H_SUCCESS, vcpu_hcall(self->v, H_STUFF_TCE, LIOBN, data, 0, 512));
	identify_to(&n, data + 255 * 4096);
	EXPECT_FALSE(arrived(self->vm.ram + a_page(255)));
	EXPECT_FALSE(arrived(pb));

	nvme_close(&n);
}

/* The table is another process's: its addresses mean nothing in this one. */
TEST_F(vm, foreign_container)
{
	char *theirs = self->b, byte = 0;
	int to[2], from[2], status;
	__u64 start;
	pid_t pid;

	if (!nr_groups)
		SKIP(return, "no IOMMU group bound to vfio-pci");
	ASSERT_EQ(0, pipe(to));
	ASSERT_EQ(0, pipe(from));
	self->c.fd = open("/dev/vfio/vfio", O_RDWR);
	ASSERT_LE(0, self->c.fd);
	self->c.group = group_join(&self->c, 0);
	ASSERT_LE(0, self->c.group);
	pid = fork();
	ASSERT_LE(0, pid);
	if (!pid) {
		if (ioctl(self->c.fd, VFIO_SET_IOMMU, VFIO_SPAPR_TCE_v2_IOMMU) ||
		    do_register(&self->c, theirs, REGION) || do_remove(&self->c, 0) ||
		    do_create(&self->c, 12, ENTRIES << 12, 1, &start))
			_exit(1);
		if (write(from[1], &byte, 1) != 1 || read(to[0], &byte, 1) != 1)
			_exit(2);
		_exit(0);
	}
	close(from[1]);
	ASSERT_EQ(1, read(from[0], &byte, 1));
	self->table = vm_create_table(&self->vm, LIOBN, 12, 0, ENTRIES);
	ASSERT_LE(0, self->table);
	ASSERT_EQ(0, vm_group_add(&self->vm, self->c.group));
	EXPECT_GT(0, vm_group_attach(&self->vm, self->c.group, self->table));
	vm_put(self->v, 0, b_page(0) | TCE_RW);
	vm_put(self->v, 0, 0);
	ASSERT_EQ(1, write(to[1], &byte, 1));
	ASSERT_EQ(pid, waitpid(pid, &status, 0));
	EXPECT_EQ(0, status);
}

/* Attaching again is no error, and takes no more than is given back. */
TEST_F(vm, attach_twice)
{
	const __u64 entries = 1UL << 20;	/* 8 MiB of TCEs */
	long before = 0, after, lost;
	int i, j;

	for (i = 0; i < 10; i++) {
		DEVICE_OR_SKIP(open_window(self, 12, entries, 1));
		ASSERT_EQ(0, attach(self, 12, ENTRIES));
		for (j = 0; j < 3; j++)
			EXPECT_EQ(0, vm_group_attach(&self->vm, self->c.group, self->table));
		for (j = 0; j < 8; j++)
			EXPECT_EQ(H_SUCCESS, vm_put(self->v, j << 12, a_page(j) | TCE_RW));
		EXPECT_EQ(0, vm_group_del(&self->vm, self->c.group));
		close(self->table);
		self->table = -1;
		EXPECT_EQ(0, do_remove(&self->c, 0));
		container_close(&self->c);
		settle(pages_pinned, self->pinned);
		after = number_in("/proc/meminfo", "MemFree:");
		if (i == 1)
			before = after;
	}
	lost = before - after;
	/* A table is 16 MiB with its view; huge pages on per-cpu lists are not free, either. */
	EXPECT_GT(65536, lost)
		TH_LOG("%ld KiB less memory free after 8 rounds", lost);
}

/* However often it was attached: it is detached with its group. */
TEST_F(vm, attached_twice_goes)
{
	DEVICE_OR_SKIP(open_window(self, 12, ENTRIES, 1));
	ASSERT_EQ(0, attach(self, 12, ENTRIES));
	ASSERT_EQ(0, vm_group_attach(&self->vm, self->c.group, self->table));
	ASSERT_EQ(0, vm_group_del(&self->vm, self->c.group));
	EXPECT_EQ(H_SUCCESS, vm_put(self->v, 0, b_page(0) | TCE_RW));
	EXPECT_FALSE(region_live(&self->c, self->b))
		TH_LOG("H_PUT_TCE reaches the window of a group that has left");
}

/* VFIO takes the window away: nothing is left of it here, and nothing can be set. */
TEST_F(vm, window_goes)
{
	DEVICE_OR_SKIP(open_window(self, 12, ENTRIES, 1));
	ASSERT_EQ(0, attach(self, 12, ENTRIES));
	EXPECT_EQ(H_SUCCESS, vm_put(self->v, 0, a_page(0) | TCE_RW));
	ASSERT_EQ(0, do_remove(&self->c, 0));
	EXPECT_EQ(WENT_UP, vm_put(self->v, 1UL << 12, b_page(0) | TCE_RW));
	/* To clear is right at any time. */
	EXPECT_EQ(H_SUCCESS, vm_put(self->v, 0, 0));
	EXPECT_FALSE(region_live(&self->c, self->b));
	EXPECT_FALSE(region_live(&self->c, self->a));
}

/* Detached means detached: the group's own window is left alone, the guest's TCEs are not. */
TEST_F(vm, detach)
{
	DEVICE_OR_SKIP(open_window(self, 12, ENTRIES, 1));
	ASSERT_EQ(0, attach(self, 12, ENTRIES));
	EXPECT_EQ(H_SUCCESS, vm_put(self->v, 0, a_page(0) | TCE_RW));
	ASSERT_EQ(0, vm_group_del(&self->vm, self->c.group));
	EXPECT_EQ(-ENOENT, vm_group_attach(&self->vm, self->c.group, self->table));
	/* Emulated only from now on */
	EXPECT_EQ(H_SUCCESS, vm_put(self->v, 1UL << 12, b_page(0) | TCE_RW));
	EXPECT_FALSE(region_live(&self->c, self->b));
	EXPECT_TRUE(region_live(&self->c, self->a));
}

/* A group that came later and was never attached goes: the first one is still served. */
TEST_F(vm, other_group_goes)
{
	if (nr_groups < 2)
		SKIP(return, "needs two IOMMU groups bound to vfio-pci");
	DEVICE_OR_SKIP(open_window(self, 12, ENTRIES, 1));
	ASSERT_EQ(0, attach(self, 12, ENTRIES));
	self->c.second = group_join(&self->c, 1);
	ASSERT_LE(0, self->c.second);
	ASSERT_EQ(0, vm_group_add(&self->vm, self->c.second));
	ASSERT_EQ(0, vm_group_del(&self->vm, self->c.second));
	EXPECT_EQ(H_SUCCESS, vm_put(self->v, 0, b_page(0) | TCE_RW));
	EXPECT_TRUE(region_live(&self->c, self->b))
		TH_LOG("H_PUT_TCE did nothing to the device that is left");
}

/* As QEMU does it: a group joins the container, is added but not attached, the first goes. */
TEST_F(vm, first_group_goes)
{
	long ret;

	if (nr_groups < 2)
		SKIP(return, "needs two IOMMU groups bound to vfio-pci");
	DEVICE_OR_SKIP(open_window(self, 12, ENTRIES, 1));
	ASSERT_EQ(0, attach(self, 12, ENTRIES));
	self->c.second = group_join(&self->c, 1);
	ASSERT_LE(0, self->c.second);
	ASSERT_EQ(0, vm_group_add(&self->vm, self->c.second));
	ASSERT_EQ(0, vm_group_del(&self->vm, self->c.group));
	ret = vm_put(self->v, 0, b_page(0) | TCE_RW);
	if (ret != WENT_UP) {
		EXPECT_EQ(H_SUCCESS, ret);
		EXPECT_TRUE(region_live(&self->c, self->b))
			TH_LOG("H_PUT_TCE did nothing to the device that is left");
	}
}

/* The one that was not attached goes last, both are in the container still: it is detached. */
TEST_F(vm, last_group_goes)
{
	if (nr_groups < 2)
		SKIP(return, "needs two IOMMU groups bound to vfio-pci");
	DEVICE_OR_SKIP(open_window(self, 12, ENTRIES, 1));
	ASSERT_EQ(0, attach(self, 12, ENTRIES));
	self->c.second = group_join(&self->c, 1);
	ASSERT_LE(0, self->c.second);
	ASSERT_EQ(0, vm_group_add(&self->vm, self->c.second));
	ASSERT_EQ(0, vm_group_del(&self->vm, self->c.group));
	ASSERT_EQ(0, vm_group_del(&self->vm, self->c.second));
	EXPECT_EQ(H_SUCCESS, vm_put(self->v, 0, b_page(0) | TCE_RW));
	EXPECT_FALSE(region_live(&self->c, self->b))
		TH_LOG("H_PUT_TCE reaches the window of groups that have left");
}

TEST_F(vm, both_attached_one_goes)
{
	if (nr_groups < 2)
		SKIP(return, "needs two IOMMU groups bound to vfio-pci");
	DEVICE_OR_SKIP(open_window(self, 12, ENTRIES, 1));
	self->c.second = group_join(&self->c, 1);
	ASSERT_LE(0, self->c.second);
	ASSERT_EQ(0, attach(self, 12, ENTRIES));
	ASSERT_EQ(0, vm_group_give(&self->vm, self->c.second, self->table));
	EXPECT_EQ(H_SUCCESS, vm_put(self->v, 1UL << 12, a_page(0) | TCE_RW));
	ASSERT_EQ(0, vm_group_del(&self->vm, self->c.group));
	EXPECT_EQ(H_SUCCESS, vm_put(self->v, 0, b_page(0) | TCE_RW));
	EXPECT_TRUE(region_live(&self->c, self->b));
	EXPECT_TRUE(region_live(&self->c, self->a));
}

/* The second half of a guest page can't be mapped: then the first is not, either. */
TEST_F(vm, half_a_page)
{
	const __u64 good = REGION | TCE_RW, bad = 16 * MiB | TCE_RW;
	long ret;

	DEVICE_OR_SKIP(open_window(self, 12, 16 * 16 * MiB >> 12, 1));
	ASSERT_EQ(0, attach(self, 24, 16));
	ASSERT_EQ(0, do_unregister(&self->c, self->a, REGION));
	ASSERT_EQ(0, do_register(&self->c, self->a, 24 * MiB));

	ret = vm_put(self->v, 0, bad);
	EXPECT_TRUE(ret == WENT_UP || ret == H_PARAMETER);
	if (region_mapped(self->a) != NO_VIEW)
		EXPECT_EQ(1, region_mapped(self->a));
	EXPECT_EQ(H_SUCCESS, vm_put(self->v, 0, good));
	if (region_mapped(self->b) != NO_VIEW)
		EXPECT_EQ(4097, region_mapped(self->b));
	ret = vm_put(self->v, 0, bad);
	EXPECT_TRUE(ret == WENT_UP || ret == H_PARAMETER);
	self->v->list[0] = htobe64(REGION | TCE_READ);
	self->v->list[1] = htobe64(bad);
	ret = vcpu_hcall(self->v, H_PUT_TCE_INDIRECT, LIOBN, 0, self->v->list_gpa, 2);
	EXPECT_TRUE(ret == WENT_UP || ret == H_PARAMETER);
	if (region_mapped(self->b) != NO_VIEW) {
		EXPECT_EQ(4097, region_mapped(self->b));
		EXPECT_EQ(1, region_mapped(self->a));
	}
	EXPECT_EQ(H_SUCCESS, vcpu_hcall(self->v, H_GET_TCE, LIOBN, 0, 0, 0));
	EXPECT_EQ(good, self->v->calls[0].out);

	EXPECT_EQ(H_SUCCESS, vm_put(self->v, 0, 0));
	EXPECT_EQ(0, do_unregister(&self->c, self->a, 24 * MiB));
	EXPECT_EQ(0, do_unregister(&self->c, self->b, REGION));
	EXPECT_EQ(self->pinned, settle(pages_pinned, self->pinned))
		TH_LOG("after every TCE was cleared and every region unregistered");
}

/* A page of the IOMMU's that is larger than what is contiguous behind it: no splat, no access. */
TEST_F(vm, not_contiguous)
{
	long page = sysconf(_SC_PAGESIZE), i, ret;

	ASSERT_EQ(0, madvise(self->vm.ram, RAM, MADV_NOHUGEPAGE));
	/* Pages that are touched in order may well be contiguous. */
	for (i = 0; i < (long)RAM / page; i++)
		self->vm.ram[(i * 37 % ((long)RAM / page) + 1) * page - 1] = 0;
	DEVICE_OR_SKIP(open_window(self, 12, 16, 1));
	if (!(self->c.pgsizes & 16 * MiB))
		SKIP(return, "this IOMMU has no 16M pages");
	ASSERT_EQ(0, do_remove(&self->c, 0));
	ASSERT_EQ(0, do_create(&self->c, 24, 1024 * 16 * MiB, 1, NULL));
	ASSERT_EQ(0, attach(self, 24, 1024));
	/* Not the first: that was touched with the VM. */
	for (i = 1; i < 4; i++) {
		__u64 gpa = i * 16 * MiB;

		ret = vm_put(self->v, gpa, gpa | TCE_RW);
		EXPECT_TRUE(ret == WENT_UP || ret == H_PARAMETER);
		self->v->list[0] = htobe64(gpa | TCE_RW);
		self->v->list[1] = htobe64(gpa);
		ret = vcpu_hcall(self->v, H_PUT_TCE_INDIRECT, LIOBN, 0, self->v->list_gpa, 2);
		EXPECT_TRUE(ret == WENT_UP || ret == H_PARAMETER);
		self->v->list[0] = htobe64(gpa);
		EXPECT_EQ(H_SUCCESS, vcpu_hcall(self->v, H_PUT_TCE_INDIRECT, LIOBN, 0,
						self->v->list_gpa, 1));
	}
	EXPECT_FALSE(region_live(&self->c, self->b));
	EXPECT_FALSE(region_live(&self->c, self->a));
}

/* One huge page, then as much in small ones; NULL if that cannot be had */
static char *huge_then_small(unsigned long huge)
{
	char *m = mmap(NULL, 3 * huge, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	const int prot = PROT_READ | PROT_WRITE;
	char path[100];
	FILE *f;

	snprintf(path, sizeof(path), "/sys/kernel/mm/hugepages/hugepages-%lukB/nr_hugepages",
		 huge / KiB);
	f = fopen(path, "w");
	if (!f || m == MAP_FAILED)
		return NULL;
	fprintf(f, "1\n");
	fclose(f);
	m = (char *)(((unsigned long)m + huge - 1) & -huge);
	if (mmap(m, huge, prot, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED | MAP_HUGETLB |
		 __builtin_ctzl(huge) << 26, -1, 0) == MAP_FAILED ||
	    mmap(m + huge, huge, prot, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0) ==
	    MAP_FAILED || madvise(m + huge, huge, MADV_NOHUGEPAGE))
		return NULL;
	return m;
}

/* What is behind a huge page in a region is not huge: one page of it is all that is the user's. */
TEST_F(vm, huge_then_small)
{
	unsigned long huge = 2 * MiB;
	char *m = NULL;
	long ret;

	DEVICE_OR_SKIP(open_window(self, 12, 16, 1));
	if (!(self->c.pgsizes & huge))
		huge = 16 * MiB;
	if (self->c.pgsizes & huge && gup_finds(huge))
		m = huge_then_small(huge);
	if (!m)
		SKIP(return, "no huge page of the size of an IOMMU page");
	ASSERT_EQ(0, do_register(&self->c, m, 2 * huge));
	ASSERT_EQ(0, vm_slot(&self->vm, 1, OUTSIDE_GPA, m, 2 * huge));
	ASSERT_EQ(0, do_remove(&self->c, 0));
	ASSERT_EQ(0, do_create(&self->c, __builtin_ctzl(huge), 16 * huge, 1, NULL));
	ASSERT_EQ(0, attach(self, __builtin_ctzl(huge), 16));
	ret = vm_put(self->v, huge, (OUTSIDE_GPA + huge) | TCE_RW);
	EXPECT_TRUE(ret == WENT_UP || ret == H_PARAMETER)
		TH_LOG("H_PUT_TCE returns %ld", ret);
	self->v->list[0] = htobe64((OUTSIDE_GPA + huge) | TCE_RW);
	ret = vcpu_hcall(self->v, H_PUT_TCE_INDIRECT, LIOBN, huge, self->v->list_gpa, 1);
	EXPECT_TRUE(ret == WENT_UP || ret == H_PARAMETER)
		TH_LOG("H_PUT_TCE_INDIRECT returns %ld", ret);
	EXPECT_EQ(0, do_unregister(&self->c, m, 2 * huge));
	munmap(m, 2 * huge);
}

/* What threads tell each other */
static bool ended(const bool *flag)
{
	return __atomic_load_n(flag, __ATOMIC_ACQUIRE);
}

static void end(bool *flag)
{
	__atomic_store_n(flag, true, __ATOMIC_RELEASE);
}

/* How often somebody else gets the CPU, who wants it every millisecond */
struct turns {
	bool stop;
	long n;
	int cpu;
};

static long now_ns(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec * 1000000000L + t.tv_nsec;
}

static void stay_on(int cpu)
{
	cpu_set_t set;

	CPU_ZERO(&set);
	CPU_SET(cpu, &set);
	sched_setaffinity(0, sizeof(set), &set);
}

static void *count_turns(void *arg)
{
	const struct timespec ms = { .tv_nsec = 1000000 };
	struct turns *t = arg;

	stay_on(t->cpu);
	while (!ended(&t->stop)) {
		nanosleep(&ms, NULL);
		__atomic_add_fetch(&t->n, 1, __ATOMIC_RELAXED);
	}
	return NULL;
}

/* Others' turns while a whole window is cleared in one call, and how long it @took. */
static long turns_in_stuff(struct vcpu *v, __u64 entries, long *took)
{
	struct turns t = { .cpu = sched_getcpu() };
	pthread_t other;
	long turns, ret;

	stay_on(t.cpu);
	if (pthread_create(&other, NULL, count_turns, &t))
		return -1;
	*took = now_ns();
	turns = __atomic_load_n(&t.n, __ATOMIC_RELAXED);
	ret = vcpu_hcall(v, H_STUFF_TCE, LIOBN, 0, 0, entries);
	turns = __atomic_load_n(&t.n, __ATOMIC_RELAXED) - turns;
	*took = now_ns() - *took;
	end(&t.stop);
	pthread_join(other, NULL);
	return ret == H_SUCCESS ? turns : -1;
}

/*
 * Old guests clear a whole window in one call. Live entries take longest. A machine that does not
 * run for a while has a long call with few turns: that is no fault, and does not happen each time.
 */
TEST_F_TIMEOUT(vm, long_stuff_yields, 200)
{
	long took, shortest = LONG_MAX, turns, most = 0;
	const __u64 entries = 1UL << 21;
	int round;
	__u64 i, j;

	if (64 * KiB > sysconf(_SC_PAGESIZE))
		SKIP(return, "memory is not contiguous enough for these IOMMU pages");
	DEVICE_OR_SKIP(open_window(self, 16, entries, 2));
	ASSERT_EQ(0, attach(self, 16, entries));
	EXPECT_EQ(H_SUCCESS, vcpu_hcall(self->v, H_STUFF_TCE, LIOBN, 0, POISON, entries));
	list_fill(self->v, a_page, TCE_RW);
	/* Two turns there may be on the way into the call and out of it. */
	for (round = 0; round < 5 && most <= 2; round++) {
		for (i = 0; i < entries; i += MAX_CALLS * TCES_PER_LIST) {
			for (j = 0; j < MAX_CALLS; j++)
				hcall_set(&self->v->calls[j], H_PUT_TCE_INDIRECT, LIOBN,
					  (i + j * TCES_PER_LIST) << 16, self->v->list_gpa,
					  TCES_PER_LIST);
			ASSERT_EQ(0, vcpu_run(self->v, MAX_CALLS));
		}
		if (region_mapped(self->a) != NO_VIEW)
			EXPECT_EQ(1 + (long)entries, region_mapped(self->a));

		turns = turns_in_stuff(self->v, entries, &took);
		ASSERT_LE(0, turns);
		TH_LOG("%ld ms, others had %ld turns", took / 1000000, turns);
		most = turns > most ? turns : most;
		shortest = took < shortest ? took : shortest;
	}
	/* In 20 ms the scheduler looks five times. A machine may be too fast to tell. */
	if (shortest > 20000000)
		EXPECT_LT(2, most);
	EXPECT_FALSE(region_live(&self->c, self->a));
}

/* A table's fd is closed, another of the same LIOBN made, while both vcpus use it. */
struct hammer {
	struct vcpu *v;
	bool stop;
	long calls, strange;
};

static void *hammer(void *arg)
{
	struct hammer *h = arg;
	struct vcpu *v = h->v;
	unsigned int i;

	for (i = 0; i < TCES_PER_LIST; i++)
		v->list[i] = htobe64(a_page(i) | TCE_RW);
	while (!ended(&h->stop)) {
		for (i = 0; i < 64; i += 4) {
			hcall_set(&v->calls[i], H_PUT_TCE, LIOBN, i << 12, b_page(i) | TCE_RW, 0);
			hcall_set(&v->calls[i + 1], H_PUT_TCE_INDIRECT, LIOBN, 0, v->list_gpa, 32);
			hcall_set(&v->calls[i + 2], H_GET_TCE, LIOBN, i << 12, 0, 0);
			hcall_set(&v->calls[i + 3], H_STUFF_TCE, LIOBN, 0, 0, 32);
		}
		if (vcpu_run(v, 64)) {
			h->strange++;
			break;
		}
		for (i = 0; i < 64; i++)
			h->strange += v->calls[i].ret != H_SUCCESS && v->calls[i].ret != WENT_UP;
		h->calls += 64;
	}
	return NULL;
}

static void run_hammers(struct __test_metadata *_metadata, struct _test_data_vm *self,
			bool groups_too)
{
	struct hammer h[2] = { { .v = &self->vm.vcpu[0] }, { .v = &self->vm.vcpu[1] } };
	int table[2], round, i;
	pthread_t t[2];

	for (i = 0; i < 2; i++)
		ASSERT_EQ(0, pthread_create(&t[i], NULL, hammer, &h[i]));
	for (round = 0; round < 100; round++) {
		table[0] = vm_create_table(&self->vm, LIOBN, 12, 0, ENTRIES);
		EXPECT_LE(0, table[0]);
		if (groups_too) {
			EXPECT_EQ(0, vm_group_give(&self->vm, self->c.group, table[0]));
		}
		EXPECT_EQ(-EBUSY, vm_create_table(&self->vm, LIOBN, 12, 0, ENTRIES));
		usleep(2000);
		if (groups_too && round % 2)
			EXPECT_EQ(0, vm_group_del(&self->vm, self->c.group));
		close(table[0]);
		if (groups_too && round % 2 == 0)
			EXPECT_EQ(0, vm_group_del(&self->vm, self->c.group));
	}
	for (i = 0; i < 2; i++) {
		end(&h[i].stop);
		pthread_join(t[i], NULL);
		EXPECT_EQ(0, h[i].strange);
		EXPECT_LT(0, h[i].calls);
	}
}

TEST_F(vm, close_table_in_use)
{
	DEVICE_OR_SKIP(open_window(self, 12, ENTRIES, 1));
	run_hammers(_metadata, self, true);
}

TEST_F(vm, close_emulated_table_in_use)
{
	run_hammers(_metadata, self, false);
}

/* Maps pages of 64K over TCEs of 4K: for a moment, regions are held and no TCE is set yet. */
static void *map_on(void *arg)
{
	struct hammer *h = arg;
	struct vcpu *v = h->v;
	unsigned int i;

	while (!ended(&h->stop)) {
		for (i = 0; i < 16; i++)
			hcall_set(&v->calls[i], H_PUT_TCE, LIOBN, i << 16, b_page(i) | TCE_RW, 0);
		if (vcpu_run(v, 16)) {
			h->strange++;
			break;
		}
		h->calls += 16;
	}
	return NULL;
}

/* The container goes under running hypercalls: what they held just then is let go of, too. */
TEST_F(vm, container_goes_in_use)
{
	struct hammer h[2];
	pthread_t t[2];
	int round, i;

	for (round = 0; round < 100; round++) {
		DEVICE_OR_SKIP(open_window(self, 12, ENTRIES, 1));
		ASSERT_EQ(0, attach(self, 16, ENTRIES >> 4));
		for (i = 0; i < 2; i++) {
			h[i] = (struct hammer){ .v = &self->vm.vcpu[i] };
			ASSERT_EQ(0, pthread_create(&t[i], NULL, map_on, &h[i]));
		}
		usleep(1000 + round % 8 * 200);
		EXPECT_EQ(0, result(ioctl(self->c.group, VFIO_GROUP_UNSET_CONTAINER)));
		for (i = 0; i < 2; i++) {
			end(&h[i].stop);
			pthread_join(t[i], NULL);
			EXPECT_EQ(0, h[i].strange);
		}
		EXPECT_EQ(0, vm_group_del(&self->vm, self->c.group));
		close(self->table);
		self->table = -1;
		container_close(&self->c);
	}
	EXPECT_EQ(self->pinned, settle(pages_pinned, self->pinned));
}

/* A table larger than one allocation can hold pointers for, of which nothing is there yet */
TEST_F(vm, huge_table)
{
	const unsigned int bits = 34;
	const __u64 entries = 1UL << bits, start = 1UL << 59;
	long before = number_in("/proc/meminfo", "MemFree:");
	unsigned int i;

	self->table = vm_create_table(&self->vm, LIOBN, 16, start, entries);
	ASSERT_LE(0, self->table);
	/* No two of these are taken for each other. */
	for (i = 0; i <= bits; i++)
		EXPECT_EQ(H_SUCCESS, vm_put(self->v, start + (((1UL << i) - 1) << 16),
					    4 * (i + 1)));
	for (i = 0; i <= bits; i++) {
		EXPECT_EQ(H_SUCCESS, vcpu_hcall(self->v, H_GET_TCE, LIOBN,
						start + (((1UL << i) - 1) << 16), 0, 0));
		EXPECT_EQ(4 * (i + 1), self->v->calls[0].out);
	}
	EXPECT_EQ(H_PARAMETER, vm_put(self->v, start + (entries << 16), 0));
	EXPECT_GT(64 * 1024, before - number_in("/proc/meminfo", "MemFree:"));
}

/*
 * The guest's view is charged as locked memory, whole and at once; its pages are charged to
 * the process's group as they come.
 */
TEST_F(vm, view_charged)
{
	const unsigned long page = sysconf(_SC_PAGESIZE), pages = 256;
	long before, locked_then = locked();
	unsigned long i;
	int ret;

	self->table = vm_create_table(&self->vm, LIOBN, 16, 0, pages * page / 8);
	ASSERT_LE(0, self->table);
	/* One page leads to the others. */
	EXPECT_EQ((long)((pages + 1) * page), locked() - locked_then);
	/* The way to the first page, and what else comes with a first call */
	EXPECT_EQ(H_SUCCESS, vm_put(self->v, 0, POISON));
	ret = memcg_enter();
	if (ret)
		SKIP(return, "no memory cgroup (v2): %s", strerror(-ret));
	before = memcg_kernel();
	for (i = 1; i < pages; i++)
		EXPECT_EQ(H_SUCCESS, vm_put(self->v, (i * page / 8) << 16, POISON));
	EXPECT_CHARGED(before + (pages - 1) * page);
	EXPECT_EQ((long)((pages + 1) * page), locked() - locked_then);
	close(self->table);
	self->table = -1;
	EXPECT_EQ(locked_then, locked());
	EXPECT_CHARGED(before);
	memcg_leave();
}

/*
 * At the limit of locked memory: a table is refused, or nothing that is done with it meets the
 * limit. QEMU's reset writes all of the view, its migration reads all of it.
 */
TEST_F(vm, view_limit)
{
	const unsigned long page = sysconf(_SC_PAGESIZE), pages = 16, n = page / 8;
	volatile __u64 *view;
	unsigned long i;
	int round;

	/* One page leads to the others. */
	ASSERT_EQ(0, limit_locked((pages + 1) * page));
	EXPECT_EQ(-ENOMEM, vm_create_table(&self->vm, LIOBN, 12, 0, pages * n + 1));
	EXPECT_EQ(self->locked, locked());
	for (round = 0; round < 3; round++) {
		self->table = vm_create_table(&self->vm, LIOBN, 12, 0, pages * n);
		ASSERT_LE(0, self->table);
		EXPECT_EQ(self->locked + (long)((pages + 1) * page), locked());
		EXPECT_EQ(-ENOMEM, vm_create_table(&self->vm, LIOBN + 1, 12, 0, 1));

		view = mmap(NULL, pages * page, PROT_READ | PROT_WRITE, MAP_SHARED, self->table, 0);
		ASSERT_NE(MAP_FAILED, view);
		for (i = 0; i < pages * n; i += n) {
			if (round == 0)
				EXPECT_EQ(H_SUCCESS, vm_put(self->v, i << 12, POISON));
			EXPECT_EQ(round == 0 ? POISON : 0, view[i]);
		}
		if (round == 1)
			memset((void *)view, 0, pages * page);
		EXPECT_EQ(H_SUCCESS, vm_put(self->v, (pages * n - 1) << 12, a_page(0) | TCE_RW));
		EXPECT_EQ(a_page(0) | TCE_RW, view[pages * n - 1]);
		EXPECT_EQ(0, munmap((void *)view, pages * page));
		close(self->table);
		self->table = -1;
		/* At once: QEMU makes the next one at this limit. */
		EXPECT_EQ(self->locked, locked());
	}
}

/*
 * A guest reboots at the limit of locked memory: QEMU removes the window, closes its LIOBN and
 * makes both anew, in microseconds.
 */
TEST_F(vm, next_window_at_the_limit)
{
	const unsigned long leaf = 512;
	unsigned long i, most;
	__u64 start;
	int round;

	DEVICE_OR_SKIP(open_window(self, 12, ENTRIES, 2));
	ASSERT_EQ(0, attach(self, 12, ENTRIES));
	for (i = 0; i < ENTRIES; i += leaf)
		ASSERT_EQ(H_SUCCESS, vm_put(self->v, i << 12, a_page(0) | TCE_RW));
	most = locked();
	ASSERT_EQ(0, limit_locked(0));
	for (round = 0; round < 20; round++) {
		ASSERT_EQ(0, do_remove(&self->c, 0));
		/* KVM still has the table: all but the top level is uncharged. */
		EXPECT_LE(locked(), most - (ENTRIES - leaf) * 16);
		close(self->table);
		self->table = vm_create_table(&self->vm, LIOBN, 12, 0, ENTRIES);
		ASSERT_LE(0, self->table);
		ASSERT_EQ(0, do_create(&self->c, 12, ENTRIES << 12, 2, &start));
		ASSERT_EQ(0, vm_group_attach(&self->vm, self->c.group, self->table));
		for (i = 0; i < ENTRIES; i += leaf)
			ASSERT_EQ(H_SUCCESS, vm_put(self->v, i << 12, a_page(0) | TCE_RW));
		EXPECT_EQ(most, locked());
	}
}

/* Ticks of the guest's time base that an H_GET_TCE takes, at best */
static __u64 get_ticks(struct vcpu *v, __u64 liobn)
{
	__u64 best = -1;
	int i;

	for (i = 0; i < 64; i++)
		hcall_set(&v->calls[i], H_GET_TCE, liobn, 0, 0, 0);
	if (vcpu_run(v, 64))
		return -1;
	for (i = 0; i < 64; i++)
		if (v->calls[i].ret == H_SUCCESS && v->calls[i].ticks < best)
			best = v->calls[i].ticks;
	return best;
}

/* As many tables as there may be: a hypercall still finds its own, and each closes soon. */
TEST_F(vm, many_tables)
{
	const int n = 20000;
	struct rlimit files;
	__u64 few, many;
	int *fd, i;
	long took;

	ASSERT_EQ(0, getrlimit(RLIMIT_NOFILE, &files));
	files.rlim_cur = n + 100;
	if (files.rlim_max < files.rlim_cur)
		files.rlim_max = files.rlim_cur;
	if (setrlimit(RLIMIT_NOFILE, &files))
		SKIP(return, "no %d open files: %s", n, strerror(errno));
	fd = calloc(n, sizeof(*fd));
	ASSERT_NE(NULL, fd);
	self->table = vm_create_table(&self->vm, LIOBN, 12, 0, 1);
	ASSERT_LE(0, self->table);
	few = get_ticks(self->v, LIOBN);
	for (i = 0; i < n; i++) {
		fd[i] = vm_create_table(&self->vm, LIOBN + 1 + i, 12, 0, 1);
		ASSERT_LE(0, fd[i]);
	}
	many = 0;
	for (i = 0; i < n; i += n / 8) {
		__u64 t = get_ticks(self->v, LIOBN + 1 + i);

		many = t > many ? t : many;
	}
	took = now_ns();
	for (i = 0; i < n; i++)
		close(fd[i]);
	took = (now_ns() - took) / 1000000;
	free(fd);
	TH_LOG("H_GET_TCE of one table %llu ticks, of %d %llu; closing took %ld ms",
	       (unsigned long long)few, n, (unsigned long long)many, took);
	/*
	 * A walk of all takes seven times as long in virtual mode, and much more in real mode.
	 * Colder caches make it twice, on a machine of any speed.
	 */
	EXPECT_GT(3 * few + 5000, many);
	/* 1 ms each where it waits for a grace period, and more */
	EXPECT_GT(n / 2, took);
}

/* The older ioctl: 32-bit windows of 4K pages */
TEST_F(vm, old_table)
{
	struct kvm_create_spapr_tce t = { .liobn = LIOBN, .window_size = 64 * MiB };

	self->table = result(ioctl(self->vm.fd, KVM_CREATE_SPAPR_TCE, &t));
	ASSERT_LE(0, self->table);
	EXPECT_EQ(-EBUSY, result(ioctl(self->vm.fd, KVM_CREATE_SPAPR_TCE, &t)));
	EXPECT_EQ(H_SUCCESS, vm_put(self->v, 64 * MiB - 4096, a_page(0) | TCE_RW));
	EXPECT_EQ(H_SUCCESS, vcpu_hcall(self->v, H_GET_TCE, LIOBN, 64 * MiB - 4096, 0, 0));
	EXPECT_EQ(a_page(0) | TCE_RW, self->v->calls[0].out);
	EXPECT_EQ(H_PARAMETER, vm_put(self->v, 64 * MiB, a_page(0) | TCE_RW));
}

TEST_F(vm, bad_table)
{
	struct {
		unsigned int shift;
		__u64 start, entries;
	} bad[] = {
		{ 11, 0, ENTRIES }, { 0, 0, ENTRIES }, { 35, 0, ENTRIES }, { 63, 0, 1 },
		{ 12, 0, 0 }, { 12, 0, 1UL << 53 }, { 12, 0, -1UL }, { 12, -4096UL, 2 },
		{ 16, 1UL << 59, 1UL << 48 },
	};
	unsigned int i;

	for (i = 0; i < ARRAY_SIZE(bad); i++) {
		EXPECT_GT(0, vm_create_table(&self->vm, LIOBN, bad[i].shift, bad[i].start,
					     bad[i].entries))
			TH_LOG("case %u", i);
		EXPECT_EQ(self->locked, locked());
	}
}

/* The next leaf of a hardware table: virtual mode makes it, once. */
TEST_F(vm, missing_level)
{
	/* With 64K pages, the third is in the same page of the guest's view as the first. */
	const __u64 index[] = { 0, 1, 6000, 6001 };
	long before, now;
	__u64 start;
	bool rm;
	int i;

	if (!nr_groups)
		SKIP(return, "no IOMMU group bound to vfio-pci");
	if (64 * KiB > sysconf(_SC_PAGESIZE))
		SKIP(return, "memory is not contiguous enough for these IOMMU pages");
	SETUP_OR_SKIP(container_open(&self->c, 0, VFIO_SPAPR_TCE_v2_IOMMU));
	ASSERT_EQ(0, do_register(&self->c, self->a, REGION));
	ASSERT_EQ(0, do_create(&self->c, 16, (1UL << 22) << 16, 2, &start));
	self->table = vm_create_table(&self->vm, LIOBN, 16, start, 1UL << 22);
	ASSERT_LE(0, self->table);
	ASSERT_EQ(0, vm_group_give(&self->vm, self->c.group, self->table));
	if (vm_stat(&self->vm, "tce_put_virt") < 0)
		SKIP(return, "this kernel does not count TCE hypercalls");

	rm = vcpu_real_mode(self->v, LIOBN, start);
	for (i = 0; i < 4; i++) {
		before = vm_stat(&self->vm, "tce_put_virt");
		EXPECT_EQ(H_SUCCESS, vm_put(self->v, start + (index[i] << 16),
					    a_page(0) | TCE_RW));
		now = vm_stat(&self->vm, "tce_put_virt");
		/* The first of a leaf is virtual mode's; the next one is not, with real mode. */
		EXPECT_EQ(!rm || !(i % 2), now - before)
			TH_LOG("%d", i);
	}
}

/* A v1 container pins page by page: that can be done for the guest, too. */
TEST_F(vm, v1)
{
	long page = sysconf(_SC_PAGESIZE), pinned, virt;
	unsigned int i;

	if (!nr_groups)
		SKIP(return, "no IOMMU group bound to vfio-pci");
	SETUP_OR_SKIP(container_open(&self->c, 0, VFIO_SPAPR_TCE_IOMMU));
	ASSERT_EQ(0, do_enable(&self->c));
	/* The window comes with its first use. */
	ASSERT_EQ(0, do_map(&self->c, 0, self->a, IOMMU_PAGE));
	ASSERT_EQ(0, do_unmap(&self->c, 0, IOMMU_PAGE));
	ASSERT_EQ(0, attach(self, 12, ENTRIES));
	pinned = settle(pages_pinned, self->pinned);
	/* The first call makes a page of the view. */
	EXPECT_EQ(H_SUCCESS, vm_put(self->v, 0, POISON));
	virt = vm_stat(&self->vm, "tce_put_virt");
	/* 4K TCEs of one page each pin it */
	for (i = 0; i < 8; i++)
		ASSERT_EQ(H_SUCCESS, vm_put(self->v, i << 12, (MAP_FROM + i * 4096) | TCE_RW));
	EXPECT_EQ(pinned + 8, pages_pinned());
	/* Real mode can't. */
	EXPECT_EQ(8, vm_stat(&self->vm, "tce_put_virt") - virt);
	for (i = 0; i < 8; i++)
		EXPECT_EQ(H_SUCCESS, vm_put(self->v, i << 12, (REGION + i * page) | TCE_READ));
	EXPECT_EQ(pinned + 8, settle(pages_pinned, pinned + 8));
	EXPECT_EQ(H_SUCCESS, vcpu_hcall(self->v, H_STUFF_TCE, LIOBN, 0, 0, 4));
	EXPECT_EQ(pinned + 4, settle(pages_pinned, pinned + 4));
	for (i = 0; i < 512; i++)
		self->v->list[i] = htobe64(a_page(i) | TCE_RW);
	EXPECT_EQ(H_SUCCESS, vcpu_hcall(self->v, H_PUT_TCE_INDIRECT, LIOBN, 0,
					self->v->list_gpa, 512));
	EXPECT_EQ(pinned + 512, settle(pages_pinned, pinned + 512));
	EXPECT_EQ(H_SUCCESS, vcpu_hcall(self->v, H_STUFF_TCE, LIOBN, 0, 0, 256));
	EXPECT_EQ(pinned + 256, settle(pages_pinned, pinned + 256));
	EXPECT_EQ(0, self->v->went_up);
	/* The rest is for whoever closes the container. */
}

/* What the guest has pinned is charged by ENABLE: nothing is before that, or after DISABLE. */
TEST_F(vm, v1_not_enabled)
{
	long charged, window = 0;
	int i;

	if (!nr_groups)
		SKIP(return, "no IOMMU group bound to vfio-pci");
	SETUP_OR_SKIP(container_open(&self->c, 0, VFIO_SPAPR_TCE_IOMMU));
	for (i = 0; i < 512; i++)
		self->v->list[i] = htobe64(a_page(i) | TCE_RW);

	for (i = 0; i < 3; i++) {
		ASSERT_EQ(0, do_enable(&self->c));
		charged = locked();
		EXPECT_LT(self->locked, charged);
		if (i) {
			EXPECT_EQ(H_SUCCESS, vm_put(self->v, 0, a_page(0) | TCE_RW));
			EXPECT_EQ(H_SUCCESS, vcpu_hcall(self->v, H_PUT_TCE_INDIRECT, LIOBN, 0,
							self->v->list_gpa, 512));
			EXPECT_EQ(self->pinned + 512, settle(pages_pinned, self->pinned + 512));
			EXPECT_EQ(charged, locked());
		} else {
			ASSERT_EQ(0, do_map(&self->c, 0, self->a, IOMMU_PAGE));
			window = locked() - charged;
		}
		ASSERT_EQ(0, do_disable(&self->c));
		/* The tables themselves stay. */
		EXPECT_EQ(self->locked + window, locked());
		EXPECT_EQ(self->pinned, settle(pages_pinned, self->pinned));

		/* Attached now: the first ENABLE that it sees is the second. */
		if (!i) {
			ASSERT_EQ(0, attach(self, 12, ENTRIES));
			window = locked() - self->locked;
		}
		EXPECT_EQ(WENT_UP, vm_put(self->v, 0, a_page(0) | TCE_RW));
		EXPECT_EQ(WENT_UP, vcpu_hcall(self->v, H_PUT_TCE_INDIRECT, LIOBN, 0,
					      self->v->list_gpa, 512));
		EXPECT_EQ(H_SUCCESS, vm_put(self->v, 0, 0));
		EXPECT_EQ(self->pinned, pages_pinned());
	}
}

/* The same, while vcpus map all the time: whatever they were at just then is undone. */
TEST_F(vm, v1_disabled_in_use)
{
	struct hammer h[2];
	pthread_t t[2];
	long charged;
	int round, i;

	if (!nr_groups)
		SKIP(return, "no IOMMU group bound to vfio-pci");
	SETUP_OR_SKIP(container_open(&self->c, 0, VFIO_SPAPR_TCE_IOMMU));
	ASSERT_EQ(0, do_enable(&self->c));
	ASSERT_EQ(0, do_map(&self->c, 0, self->a, IOMMU_PAGE));
	ASSERT_EQ(0, attach(self, 12, ENTRIES));
	charged = locked();
	for (i = 0; i < 2; i++) {
		h[i] = (struct hammer){ .v = &self->vm.vcpu[i] };
		ASSERT_EQ(0, pthread_create(&t[i], NULL, map_on, &h[i]));
	}
	for (round = 0; round < 50; round++) {
		usleep(1000 + round % 8 * 200);
		EXPECT_EQ(0, do_disable(&self->c));
		/* Some page may be pinned for a moment, to find that it can't be mapped. */
		EXPECT_EQ(self->pinned, settle(pages_pinned, self->pinned));
		EXPECT_GT(charged, locked());
		EXPECT_EQ(0, do_enable(&self->c));
		EXPECT_EQ(charged, locked());
	}
	for (i = 0; i < 2; i++) {
		end(&h[i].stop);
		pthread_join(t[i], NULL);
		EXPECT_EQ(0, h[i].strange);
	}
}

/*
 * All vcpus at once on the same and on neighbouring TCEs, while memory comes and goes
 * like a DIMM. The first SHARED entries are everybody's; of the others vcpu n of m has
 * every m-th, so what H_GET_TCE says of these is what the device sees.
 */
#define SHARED		64
#define OWN		112
#define STRESSED	(SHARED + OWN * MAX_VCPUS)
#define DIMM_GPA	(512 * MiB)
#define DIMM		(64 * MiB)
#define BATCH		256
#define BATCHES		60

FIXTURE(stress) {
	struct vm vm;
	struct container c;
	int table;
	char *dimm;
	long pinned, locked;
};

FIXTURE_VARIANT(stress) {
	int vcpus;
	bool put_only;	/* map A, map B and clear, of the shared entries */
};

FIXTURE_VARIANT_ADD(stress, put_2) { .vcpus = 2, .put_only = true };
FIXTURE_VARIANT_ADD(stress, put_4) { .vcpus = 4, .put_only = true };
FIXTURE_VARIANT_ADD(stress, all_2) { .vcpus = 2 };
FIXTURE_VARIANT_ADD(stress, all_4) { .vcpus = 4 };

FIXTURE_SETUP(stress)
{
	__u64 start;

	self->pinned = pages_pinned_steady();
	self->locked = locked();
	self->table = -1;
	self->c = NO_CONTAINER;
	if (!nr_groups)
		SKIP(return, "no IOMMU group bound to vfio-pci");
	SETUP_OR_SKIP(vm_create(&self->vm, variant->vcpus, RAM));
	SETUP_OR_SKIP(container_open(&self->c, 0, VFIO_SPAPR_TCE_v2_IOMMU));
	self->dimm = map_memory(DIMM);
	ASSERT_NE(NULL, self->dimm);
	ASSERT_EQ(0, do_register(&self->c, self->vm.ram, REGION));
	ASSERT_EQ(0, do_register(&self->c, self->vm.ram + REGION, REGION));
	ASSERT_EQ(0, do_remove(&self->c, self->c.window));
	ASSERT_EQ(0, do_create(&self->c, 12, ENTRIES << 12, 1, &start));
	self->table = vm_create_table(&self->vm, LIOBN, 12, start, ENTRIES);
	ASSERT_LE(0, self->table);
	ASSERT_EQ(0, vm_group_give(&self->vm, self->c.group, self->table));
}

FIXTURE_TEARDOWN(stress)
{
	close(self->table);
	container_close(&self->c);
	vm_destroy(&self->vm);
	munmap(self->dimm, DIMM);
	expect_as_before(_metadata, self->pinned, self->locked);
}

struct worker {
	struct vcpu *v;
	unsigned int nr, of;
	bool put_only;
	__u64 random;
	bool *dimm;	/* there is one: it may be used */
	int *running;
	bool may_fail[BATCH];
	long wrong, went_up;
	char first_wrong[128];
};

/* splitmix64 */
static __u64 next_random(__u64 *state)
{
	__u64 z = *state += 0x9e3779b97f4a7c15UL;

	z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9UL;
	z = (z ^ (z >> 27)) * 0x94d049bb133111ebUL;
	return z ^ (z >> 31);
}

static __u64 random_tce(struct worker *w, bool dimm, bool *may_fail)
{
	__u64 r = next_random(&w->random), n = r >> 32, perm = 1 + (r >> 8) % 3;

	switch (r % (w->put_only ? 3 : 8)) {
	case 0:
		return a_page(n) | perm;
	case 1:
		return b_page(n) | perm;
	case 2:
		return 0;
	case 3:
		return POISON;
	case 4:
	case 5:
		if (!dimm)
			return a_page(n) | perm;
		*may_fail = true;
		return (DIMM_GPA + n % (DIMM / 4096) * 4096) | perm;
	default:
		return (r & 64 ? a_page(n) : b_page(n)) | perm;
	}
}

static __u64 own_entry(struct worker *w, __u64 n)
{
	return SHARED + n % OWN * w->of + w->nr;
}

static void random_call(struct worker *w, unsigned int i, bool dimm)
{
	__u64 r = next_random(&w->random), at = (r >> 32) % SHARED, n, j, tce;
	struct hcall *c = &w->v->calls[i];
	/* Each of the last lists has a page of its own. */
	__be64 *list = w->v->list + i % 64 * TCES_PER_LIST;

	w->may_fail[i] = false;
	switch (w->put_only ? 0 : r % 10) {
	case 0 ... 2:
		tce = random_tce(w, dimm, &w->may_fail[i]);
		hcall_set(c, H_PUT_TCE, LIOBN, at << 12, tce, 0);
		break;
	case 3 ... 5:
		tce = random_tce(w, dimm, &w->may_fail[i]);
		hcall_set(c, H_PUT_TCE, LIOBN, own_entry(w, r >> 32) << 12, tce, 0);
		break;
	case 6:
		hcall_set(c, H_GET_TCE, LIOBN, at << 12, 0, 0);
		break;
	case 7:
	case 8:
		if (i < BATCH - 64)	/* its list would be overwritten before it is read */
			goto put;
		n = 1 + (r >> 16) % (SHARED - at);
		for (j = 0; j < n; j++)
			list[j] = htobe64(random_tce(w, dimm, &w->may_fail[i]));
		hcall_set(c, H_PUT_TCE_INDIRECT, LIOBN, at << 12,
			  w->v->list_gpa + i % 64 * LIST_SIZE, n);
		break;
	case 9:
		n = (r >> 16) % (SHARED - at + 1);
		hcall_set(c, H_STUFF_TCE, LIOBN, at << 12, r & 1 << 12 ? 0 : POISON, n);
		break;
	default:
put:
		hcall_set(c, H_PUT_TCE, LIOBN, at << 12, a_page(r) | TCE_RW, 0);
	}
}

static void *stress_worker(void *arg)
{
	struct worker *w = arg;
	struct hcall *c = w->v->calls;
	unsigned int batch, i;
	bool dimm;

	for (batch = 0; batch < BATCHES; batch++) {
		dimm = __atomic_load_n(w->dimm, __ATOMIC_ACQUIRE);
		i = 0;
		if (!dimm && !w->put_only) {
			/* Let go of it */
			w->may_fail[i] = false;
			hcall_set(&c[i++], H_STUFF_TCE, LIOBN, 0, 0, SHARED);
			for (; i <= OWN; i++) {
				w->may_fail[i] = false;
				hcall_set(&c[i], H_PUT_TCE, LIOBN, own_entry(w, i) << 12, 0, 0);
			}
		}
		for (; i < BATCH; i++)
			random_call(w, i, dimm);
		if (vcpu_run(w->v, BATCH)) {
			w->wrong++;
			break;
		}
		for (i = 0; i < BATCH; i++) {
			w->went_up += c[i].ret == WENT_UP;
			if (c[i].ret == H_SUCCESS ||
			    (w->may_fail[i] && (c[i].ret == WENT_UP || c[i].ret == H_PARAMETER)))
				continue;
			if (!w->wrong++)
				snprintf(w->first_wrong, sizeof(w->first_wrong),
					 "0x%lx(0x%lx, 0x%lx, 0x%lx) = %ld", (long)c[i].nr,
					 (long)c[i].arg[1], (long)c[i].arg[2], (long)c[i].arg[3],
					 (long)c[i].ret);
		}
	}
	__atomic_sub_fetch(w->running, 1, __ATOMIC_SEQ_CST);
	return NULL;
}

/* The DIMM goes in and out until the workers are done; is it in at the end? */
static bool plug_and_unplug(struct __test_metadata *_metadata, struct _test_data_stress *self,
			    bool *dimm, int *running, int *rounds)
{
	int ret;

	for (;; ++*rounds) {
		EXPECT_EQ(0, vm_slot(&self->vm, 1, DIMM_GPA, self->dimm, DIMM));
		ret = do_register(&self->c, self->dimm, DIMM);
		EXPECT_EQ(0, ret);
		if (ret)
			return false;
		__atomic_store_n(dimm, true, __ATOMIC_RELEASE);
		usleep(5000);
		__atomic_store_n(dimm, false, __ATOMIC_RELEASE);
		while ((ret = do_unregister(&self->c, self->dimm, DIMM)) == -EBUSY) {
			if (!__atomic_load_n(running, __ATOMIC_ACQUIRE))
				return true;
			usleep(500);
		}
		EXPECT_EQ(0, ret);
		EXPECT_EQ(0, vm_slot(&self->vm, 1, DIMM_GPA, self->dimm, 0));
		if (ret || !__atomic_load_n(running, __ATOMIC_ACQUIRE))
			return false;
	}
}

static long in_view(struct hcall *c, __u64 from, __u64 size)
{
	long found = 0;
	unsigned int i;

	for (i = 0; i < STRESSED; i++)
		found += (c[i].out & TCE_RW) && c[i].out >= from && c[i].out < from + size;
	return found;
}

TEST_F_TIMEOUT(stress, same_and_neighbouring, 300)
{
	char *a = self->vm.ram, *b = self->vm.ram + REGION;
	__u64 seed = getenv("SEED") ? strtoull(getenv("SEED"), NULL, 0) : (__u64)now_ns();
	struct vcpu *v = &self->vm.vcpu[0];
	int running = variant->vcpus;
	struct worker w[MAX_VCPUS] = {};
	bool dimm = false;
	pthread_t t[MAX_VCPUS];
	int i, rounds = 0;
	bool in;

	TH_LOG("SEED=%lu", (unsigned long)seed);
	for (i = 0; i < variant->vcpus; i++) {
		w[i] = (struct worker){
			.v = &self->vm.vcpu[i], .nr = i, .of = variant->vcpus,
			.put_only = variant->put_only, .random = seed + i,
			.dimm = &dimm, .running = &running,
		};
		ASSERT_EQ(0, pthread_create(&t[i], NULL, stress_worker, &w[i]));
	}
	in = plug_and_unplug(_metadata, self, &dimm, &running, &rounds);
	for (i = 0; i < variant->vcpus; i++) {
		pthread_join(t[i], NULL);
		EXPECT_EQ(0, w[i].wrong)
			TH_LOG("vcpu %d: %s", i, w[i].first_wrong);
	}
	TH_LOG("memory came and went %d times; %ld calls of vcpu 0 went up", rounds, w[0].went_up);

	/* Who wrote a shared entry last is not known: without them, the counts are. */
	EXPECT_EQ(H_SUCCESS, vcpu_hcall(v, H_STUFF_TCE, LIOBN, 0, 0, SHARED));
	for (i = 0; i < STRESSED; i++)
		hcall_set(&v->calls[i], H_GET_TCE, LIOBN, (__u64)i << 12, 0, 0);
	ASSERT_EQ(0, vcpu_run(v, STRESSED));
	if (region_mapped(a) != NO_VIEW) {
		EXPECT_EQ(1 + in_view(v->calls, 0, REGION), region_mapped(a));
		EXPECT_EQ(1 + in_view(v->calls, REGION, REGION), region_mapped(b));
		if (in)
			EXPECT_EQ(1 + in_view(v->calls, DIMM_GPA, DIMM), region_mapped(self->dimm));
	}
	for (i = 0; i < STRESSED; i++)
		hcall_set(&v->calls[i], H_PUT_TCE, LIOBN, (__u64)i << 12, a_page(i) | TCE_RW, 0);
	ASSERT_EQ(0, vcpu_run(v, STRESSED));
	if (region_mapped(a) != NO_VIEW) {
		EXPECT_EQ(1 + STRESSED, region_mapped(a));
		EXPECT_EQ(1, region_mapped(b));
	}
	if (in) {
		EXPECT_EQ(0, do_unregister(&self->c, self->dimm, DIMM));
		EXPECT_EQ(0, vm_slot(&self->vm, 1, DIMM_GPA, self->dimm, 0));
	}
	EXPECT_EQ(H_SUCCESS, vcpu_hcall(v, H_STUFF_TCE, LIOBN, 0, 0, STRESSED));
	if (region_mapped(a) != NO_VIEW)
		EXPECT_EQ(1, region_mapped(a));
	EXPECT_EQ(0, do_unregister(&self->c, a, REGION));
	EXPECT_EQ(0, do_unregister(&self->c, b, REGION));
	EXPECT_EQ(self->pinned, settle(pages_pinned, self->pinned))
		TH_LOG("after every TCE was cleared and every region unregistered");
}

/*
 * The last, because a kernel with the defect does not survive it: a list entry without
 * permission bits, but with others set.
 */
TEST_F(tce, indirect_poison)
{
	const __u64 poison[] = { 4, 0x800, POISON | 0xffc, ~TCE_RW, NOWHERE_GPA | 0x10 };
	unsigned int i, j;

	list_fill(self->v, a_page, TCE_RW);
	EXPECT_EQ(H_SUCCESS, indirect(self, 0, 512));
	for (i = 0; i < ARRAY_SIZE(poison); i++) {
		for (j = 0; j < 512; j++)
			self->v->list[j] = htobe64(poison[i]);
		EXPECT_EQ(H_SUCCESS, indirect(self, 0, 512));
		EXPECT_EQ(0, wrong(self, 0, 512, NULL, poison[i]));
		expect_live(_metadata, self, 0, 0);
		list_fill(self->v, b_page, TCE_RW);
		self->v->list[7] = htobe64(poison[i]);
		EXPECT_EQ(H_SUCCESS, indirect(self, 0, 512));
		EXPECT_EQ(poison[i], get(self, 7));
		expect_live(_metadata, self, 0, 511);
	}
	EXPECT_EQ(H_SUCCESS, stuff(self, 0, 0, 512));
	EXPECT_EQ(0, self->v->went_up);
	expect_idle(_metadata, self);
}

int main(int argc, char **argv)
{
	/* What a check says about its failure belongs to the result. */
	dup2(STDOUT_FILENO, STDERR_FILENO);
	if (access("/dev/kvm", R_OK | W_OK)) {
		ksft_print_header();
		ksft_exit_skip("no /dev/kvm\n");
	}
	find_groups(&argc, argv);
	return test_harness_run(argc, argv);
}
