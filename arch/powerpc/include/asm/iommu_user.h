/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * User-owned TCE entries: the one protocol by which VFIO and KVM change them.
 *
 * Invariant, true whenever anyone else can look: a hardware entry that lets a
 * device reach a page has, in its view word (asm/iommu_levels.h), the ua of a
 * region on which it holds one @mapped reference (v2), or holds a pin of that
 * page (v1, tbl->it_pins). So:
 *
 *   1. the new reference (pin) is taken first: iommu_user_get();
 *   2. TCE and view word change together, under the word's lock bit. Holders
 *      neither sleep nor are preempted. Real mode only tries;
 *   3. what the old entry held goes into a gather, and is dropped only after
 *      the TCE caches have been invalidated: iommu_user_finish().
 *
 * One operation of a caller is: begin, any number of get/set/map/unmap on one
 * table, finish. References that were got but not set are given back by put.
 *
 * Entries are numbered as on the bus, ioba >> it_page_shift. The caller has
 * checked the whole range against the table (iommu_tce_check_ioba()), holds a
 * reference on the table and runs in the mm of the table (v1) or on behalf of it.
 *
 * (RCU read side: who may sleep must not be called in one)
 *
 *   function                       may sleep  RCU read side  MMU off
 *   iommu_user_begin()             no         not needed     yes
 *   iommu_user_get()               yes (v1)   taken inside   iommu_user_get_rm()
 *   iommu_user_put()               yes (v1)   taken inside   iommu_user_put_rm()
 *   iommu_user_set()               yes        taken inside   iommu_user_set_rm()
 *   iommu_user_map()               yes        taken inside   no
 *   iommu_user_map_list()          no         taken inside   iommu_user_map_list_rm()
 *   iommu_user_put_one()           no         taken inside   iommu_user_put_one_rm()
 *   iommu_user_unmap()             yes        taken inside   iommu_user_unmap_rm()
 *   iommu_user_finish()            yes        taken inside   iommu_user_finish_rm()
 *   iommu_user_revoke()            yes        no             no
 */
#ifndef _ASM_POWERPC_IOMMU_USER_H
#define _ASM_POWERPC_IOMMU_USER_H

#include <linux/dma-direction.h>
#include <linux/types.h>

struct iommu_table;

#define IOMMU_USER_RUNS		32

/**
 * struct iommu_user_run - what some old entries held
 * @addr: the region of all of them (v2), or hpa of the first (v1)
 * @nr: entries; hpas go on contiguously
 * @flags: IOMMU_USER_REGION (v2), or IOMMU_VIEW_PIN and perhaps IOMMU_VIEW_WRITE (v1)
 */
struct iommu_user_run {
	unsigned long addr;
	unsigned int nr;
	unsigned int flags;
};

#define IOMMU_USER_REGION	0x1000	/* @addr is a struct mm_iommu_region */

/**
 * struct iommu_user_gather - entries changed, and what they held before
 * @tbl: the table
 * @first: lowest entry changed since the last invalidation
 * @end: the one after the highest; nothing to invalidate when not above @first
 * @nr: runs gathered
 * @run: what to drop after the invalidation
 *
 * One per table and operation, on the caller's stack, in real mode too. Declare it
 * __uninitialized: iommu_user_begin() sets what must be set, and @run is large.
 */
struct iommu_user_gather {
	struct iommu_table *tbl;
	unsigned long first;
	unsigned long end;
	unsigned int nr;
	struct iommu_user_run run[IOMMU_USER_RUNS];
};

/**
 * iommu_user_begin() - start an operation
 * @g: the gather, uninitialised
 * @tbl: the table
 *
 * Context: any.
 */
static inline void iommu_user_begin(struct iommu_user_gather *g,
				    struct iommu_table *tbl)
{
	g->tbl = tbl;
	g->first = ~0UL;
	g->end = 0;
	g->nr = 0;
}

long iommu_user_get(struct iommu_table *tbl, unsigned long ua,
		    unsigned long size, bool write, unsigned long *hpa);
void iommu_user_put(struct iommu_table *tbl, unsigned long ua,
		    unsigned long hpa, unsigned long n, bool write);
long iommu_user_set(struct iommu_user_gather *g, unsigned long entry,
		    unsigned long n, unsigned long ua, unsigned long hpa,
		    enum dma_data_direction dir);
int iommu_user_map(struct iommu_user_gather *g, unsigned long entry,
		   unsigned long n, unsigned long ua,
		   enum dma_data_direction dir, unsigned long *done);
unsigned long iommu_user_map_list(struct iommu_user_gather *g, unsigned long entry,
				  unsigned long n, const u64 *list, unsigned long delta,
				  enum dma_data_direction dir);
long iommu_user_unmap(struct iommu_user_gather *g, unsigned long entry,
		      unsigned long n);
void iommu_user_finish(struct iommu_user_gather *g);
void iommu_user_revoke(struct iommu_table *tbl);

long iommu_user_put_one(struct iommu_table *tbl, unsigned long entry,
			unsigned long ua, enum dma_data_direction dir);
long iommu_user_put_one_rm(struct iommu_table *tbl, unsigned long entry,
			   unsigned long ua, enum dma_data_direction dir);

bool iommu_user_rm_ready(struct iommu_table *tbl);
long iommu_user_get_rm(struct iommu_table *tbl, unsigned long ua,
		       unsigned long size, bool write, unsigned long *hpa);
int iommu_user_put_rm(struct iommu_table *tbl, unsigned long ua,
		      unsigned long n);
long iommu_user_set_rm(struct iommu_user_gather *g, unsigned long entry,
		       unsigned long n, unsigned long ua, unsigned long hpa,
		       enum dma_data_direction dir);
unsigned long iommu_user_map_list_rm(struct iommu_user_gather *g, unsigned long entry,
				     unsigned long n, const u64 *list,
				     unsigned long delta, enum dma_data_direction dir);
long iommu_user_unmap_rm(struct iommu_user_gather *g, unsigned long entry,
			 unsigned long n, unsigned long *done);
int iommu_user_finish_rm(struct iommu_user_gather *g);

#endif /* _ASM_POWERPC_IOMMU_USER_H */
