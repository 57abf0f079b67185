/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Check DMA by an NVMe: data arrives where it is mapped and nowhere else, and the device
 * does not reach what is not mapped. For programs of kselftest_harness.h.
 *
 * All memory that any TCE leads to is filled with a guard value. Each transfer is followed by
 * a check of all of it: the page that should have changed, and everything else.
 */
#ifndef VFIO_SPAPR_DMA_H
#define VFIO_SPAPR_DMA_H

#include "vfio_spapr_nvme.h"

#define GUARD		0xa5
#define MEDIUM_PAGE	17		/* where on the NVMe */

/* Memory a device may reach: the driver's pages first, then what is tested. */
struct dma {
	struct container c;
	struct nvme n;
	long pinned;
	char *queues;	/* 64K */
	char *m;	/* all guard */
	unsigned int seed;
};

static inline void fill(unsigned char *page, unsigned int seed)
{
	unsigned int i;

	for (i = 0; i < NVME_PAGE; i++) {
		seed = seed * 1103515245 + 12345;
		page[i] = seed >> 16;
	}
}

static inline bool is_all(const char *at, unsigned long size, unsigned char value)
{
	return (unsigned char)at[0] == value && !memcmp(at, at + 1, size - 1);
}

/* Nothing but the device page @but, if any, has changed in @size bytes at @m. */
static inline bool guards_hold(const char *m, unsigned long size, const char *but)
{
	if (!but)
		return is_all(m, size, GUARD);
	return (but == m || is_all(m, but - m, GUARD)) &&
	       (but + NVME_PAGE == m + size ||
		is_all(but + NVME_PAGE, m + size - but - NVME_PAGE, GUARD));
}

/* The device writes to @iova: it must arrive at @at and nowhere else in @size at @m. */
static inline void check_in(struct __test_metadata *_metadata, struct dma *d, struct nvme *n,
			    __u64 iova, char *at, char *m, unsigned long size)
{
	unsigned char data[NVME_PAGE];

	fill(data, ++d->seed);
	memset(m, GUARD, size);
	ASSERT_EQ(0, nvme_medium_set(n, MEDIUM_PAGE, data));
	EXPECT_EQ(0, nvme_rw(n, NVME_IO_READ, MEDIUM_PAGE, iova))
		TH_LOG("0x%llx", iova);
	EXPECT_EQ(0, memcmp(at, data, NVME_PAGE))
		TH_LOG("0x%llx", iova);
	EXPECT_TRUE(guards_hold(m, size, at))
		TH_LOG("0x%llx", iova);
	memset(at, GUARD, NVME_PAGE);
}

/* The device reads from @iova: it must get what is at @at. */
static inline void check_out(struct __test_metadata *_metadata, struct dma *d, struct nvme *n,
			     __u64 iova, char *at)
{
	unsigned char data[NVME_PAGE], got[NVME_PAGE];

	fill(data, ++d->seed);
	memset(got, 0, sizeof(got));
	ASSERT_EQ(0, nvme_medium_set(n, MEDIUM_PAGE, got));
	memcpy(at, data, NVME_PAGE);
	EXPECT_EQ(0, nvme_rw(n, NVME_IO_WRITE, MEDIUM_PAGE, iova))
		TH_LOG("0x%llx", iova);
	EXPECT_EQ(0, nvme_medium_get(n, MEDIUM_PAGE, got));
	EXPECT_EQ(0, memcmp(got, data, NVME_PAGE))
		TH_LOG("0x%llx", iova);
	memset(at, GUARD, NVME_PAGE);
}

static inline void check_both(struct __test_metadata *_metadata, struct dma *d, struct nvme *n,
			      __u64 iova, char *at, char *m, unsigned long size)
{
	check_in(_metadata, d, n, iova, at, m, size);
	check_out(_metadata, d, n, iova, at);
}

/* The device may not write to @iova: nothing changes in all @size at @m. */
static inline void check_no_in(struct __test_metadata *_metadata, struct dma *d, struct nvme *n,
			       __u64 iova, char *m, unsigned long size)
{
	unsigned char data[NVME_PAGE];

	fill(data, ++d->seed);
	memset(m, GUARD, size);
	ASSERT_EQ(0, nvme_medium_set(n, MEDIUM_PAGE, data));
	EXPECT_EQ(0, nvme_try(n, NVME_IO_READ, MEDIUM_PAGE, iova));
	EXPECT_TRUE(is_all(m, size, GUARD))
		TH_LOG("0x%llx", iova);
	ASSERT_EQ(0, nvme_recover(n));
}

/*
 * The device may not read from @iova: the medium keeps what it had, or gets what a PHB
 * answers instead of data: one value all over, never what is in our memory.
 */
static inline void check_no_out(struct __test_metadata *_metadata, struct dma *d, struct nvme *n,
				__u64 iova)
{
	unsigned char data[NVME_PAGE], got[NVME_PAGE];

	fill(data, ++d->seed);
	ASSERT_EQ(0, nvme_medium_set(n, MEDIUM_PAGE, data));
	EXPECT_EQ(0, nvme_try(n, NVME_IO_WRITE, MEDIUM_PAGE, iova));
	ASSERT_EQ(0, nvme_recover(n));
	memset(got, 0, sizeof(got));
	EXPECT_EQ(0, nvme_medium_get(n, MEDIUM_PAGE, got));
	EXPECT_TRUE(!memcmp(got, data, NVME_PAGE) ||
		    (got[0] != GUARD && is_all((char *)got, NVME_PAGE, got[0])))
		TH_LOG("0x%llx: the medium holds %02x %02x %02x %02x...", iova,
		       got[0], got[1], got[2], got[3]);
}

static inline void check_none(struct __test_metadata *_metadata, struct dma *d, struct nvme *n,
			      __u64 iova, char *m, unsigned long size)
{
	check_no_in(_metadata, d, n, iova, m, size);
	check_no_out(_metadata, d, n, iova);
}

#endif
