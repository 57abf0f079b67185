/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Pre-registered DMA memory: pin user memory once, map it for DMA cheaply.
 *
 * A *region* is a range of a process's address space (ua, size) whose pages
 * are pinned and whose host physical addresses (hpa) are kept in the mm. Two
 * counters rule its life:
 *
 *   used    registrations: one per mm_iommu_register(), under the store's lock
 *   mapped  1 while the region lives, plus 1 per live TCE that reaches into it
 *
 *   state     used  mapped  in index  what may happen
 *   CLAIMED   1     0       yes       being pinned: overlaps are refused, no translation
 *   LIVE      >= 1  1       yes       translated, mapped, registered again
 *   BUSY      >= 1  > 1     yes       as LIVE; the last unregister gets -EBUSY
 *   STALE     1     >= 1    yes       that has happened: translated, mapped; not registered
 *                                     again before it has gone
 *   ORPHAN    0     > 1     yes       abandoned: translated, mapped; not registered again
 *   DEAD      0     0       no        waits for RCU readers, then its pages are unpinned
 *
 * Functions that register or end a region may sleep. Those that look up, translate or
 * count references never do: they need an RCU read side in virtual mode, and work with
 * the MMU off as well (iommu_lookup.c).
 */
#ifndef _ASM_POWERPC_MM_IOMMU_H
#define _ASM_POWERPC_MM_IOMMU_H

#include <linux/types.h>

struct mm_struct;
struct page;
struct mm_iommu_region;

#ifdef CONFIG_SPAPR_TCE_IOMMU

int mm_iommu_register(struct mm_struct *mm, unsigned long ua,
		      unsigned long size,
		      struct mm_iommu_region **pregion);
int mm_iommu_register_dev(struct mm_struct *mm, unsigned long ua,
			  unsigned long size, unsigned long hpa,
			  struct mm_iommu_region **pregion);
int mm_iommu_unregister(struct mm_struct *mm, struct mm_iommu_region *region);
int mm_iommu_unregister_last(struct mm_struct *mm, struct mm_iommu_region *region);
void mm_iommu_abandon(struct mm_struct *mm, struct mm_iommu_region *region);

long mm_iommu_map_get(struct mm_struct *mm, unsigned long ua,
		      unsigned long size, unsigned int shift, bool write,
		      unsigned long *hpa);
int mm_iommu_map_put(struct mm_struct *mm, unsigned long ua, unsigned long n);
long mm_iommu_translate(struct mm_struct *mm, unsigned long ua,
			unsigned long *hpa);
bool mm_iommu_extent(struct mm_struct *mm, unsigned long ua,
		     unsigned long *start, unsigned long *size);

void mm_iommu_init(struct mm_struct *mm);
void mm_iommu_exit(struct mm_struct *mm);

#else

static inline void mm_iommu_init(struct mm_struct *mm) { }
static inline void mm_iommu_exit(struct mm_struct *mm) { }

#endif /* CONFIG_SPAPR_TCE_IOMMU */

struct page *realmode_pfn_to_page(unsigned long pfn);
bool put_page_unless_one(struct page *head);
bool unpin_user_page_unless_last(struct page *head);

#endif /* _ASM_POWERPC_MM_IOMMU_H */
