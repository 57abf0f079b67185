/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * User-owned TCE entries: how lines are changed, in a try and elsewhere.
 *
 * Entries are changed line by line, or several lines of a leaf at once in ascending order:
 *
 *   iommu_line_lock()    excludes other changes of the line, and freeing the leaf
 *   iommu_line_count()   gathers what the old entries hold, and says how many can change
 *   store TCEs and words
 *   iommu_view_unlock()
 *
 * Four functions do it, as what can fail under the lock differs. The first three may run with the
 * MMU off:
 *
 *   leaf_change()      many entries, by a try. Nothing fails after a line has been counted.
 *   one_change()       one entry, by a try. It needs no gather: at most one reference is
 *                      dropped. A hypervisor may refuse: then the entry is as it was.
 *   pinned_clear()     one entry with a pin (v1), with the MMU off. The pin is dropped under
 *                      the lock: if it is the page's last reference, the entry is put back.
 *   entries_change()   pins and many entries of a hypervisor's, in virtual mode. A change may
 *                      be refused half way: then it is undone.
 */
#ifndef IOMMU_USER_LINES_H
#define IOMMU_USER_LINES_H

#include <linux/compiler.h>
#include <linux/dma-direction.h>
#include <linux/errno.h>
#include <asm/iommu.h>
#include <asm/iommu_levels.h>
#include <asm/iommu_user.h>
#include <asm/tce.h>

struct mm_iommu_region;
struct page;

/* Inside only: the gather has no room, iommu_user_try_finish() makes some */
#define IOMMU_USER_FULL		(-ENOSPC)

/* The view word of an entry that leads to @ua */
static inline u64 iommu_user_word(struct iommu_table *tbl, unsigned long ua,
				  enum dma_data_direction dir)
{
	return iommu_view_word(ua, dir != DMA_TO_DEVICE) | (tbl->it_pins ? IOMMU_VIEW_PIN : 0);
}

/*
 * Permission bits of the TCE for a view word: IODA wants read permission wherever there is write
 * permission.
 */
static inline u64 iommu_user_word_perm(u64 word)
{
	return TCE_PCI_READ | (word & IOMMU_VIEW_WRITE);
}

static inline void
iommu_user_gather_range(struct iommu_user_gather *g, unsigned long entry, unsigned long n)
{
	g->first = min(g->first, entry);
	g->end = max(g->end, entry + n);
}

static inline struct mm_iommu_region *
iommu_user_region(const struct iommu_user_held *held)
{
	return (struct mm_iommu_region *)held->addr;
}

/* v1: may an IOMMU page be smaller than the page that it pins? */
static __always_inline bool iommu_user_pins_small(struct iommu_table *tbl)
{
	return tbl->it_page_shift < PAGE_SHIFT;
}

int iommu_line_wait(u64 *head);
bool iommu_line_leads_to(const u64 *view, unsigned long hpa);

/* Lock a line: 0; -EAGAIN if it stays locked; -ENOENT if the leaf is being freed. */
static __always_inline int iommu_line_lock(u64 *head)
{
	return likely(iommu_view_trylock(head)) ? 0 : iommu_line_wait(head);
}

struct iommu_user_held *iommu_user_held_by(struct iommu_user_gather *g, unsigned long ua,
					   int *err);
unsigned long iommu_line_count(struct iommu_user_gather *g, const u64 *view,
			       unsigned long n, int *err);

/* iommu_user_pins.c: entries of version 1 */
void iommu_user_pins_drop(struct iommu_table *tbl, unsigned long hpa, unsigned long n,
			  bool dirty);
int iommu_user_pin_more(struct page *page, unsigned long more);
long iommu_user_pins_get(struct iommu_table *tbl, unsigned long ua, unsigned long size,
			 bool write, unsigned long *hpa);
int iommu_user_pins_charge(struct iommu_table *tbl);

#endif /* IOMMU_USER_LINES_H */
