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

/**
 * DOC: Words
 *
 * ua, hpa, gpa, ioba
 *     A user, host physical, guest physical and bus address.
 * region
 *     One registered range of a process's address space, page aligned. Regions of one mm
 *     never overlap.
 * store
 *     All regions of one mm. The first charge or registration allocates it; it is freed
 *     with the mm.
 * chunk
 *     The range of user addresses that a PMD maps: 16M with hash and 64K pages, else 2M.
 * word
 *     64 bits: where one chunk, or one page of a scattered chunk, is in host physical
 *     memory.
 * run
 *     Physically contiguous memory behind contiguous user addresses.
 * orphan
 *     A region without a registration that TCEs of others still lead into.
 * TCE
 *     One 64-bit IOMMU entry: host physical address and permission bits.
 * table
 *     The TCEs of one window: a tree of 1 to 5 equal levels. KVM calls it the *hardware
 *     table* of a LIOBN.
 * leaf, link, hole
 *     A level of TCEs; a word that leads to the level below; a word that leads nowhere.
 * window
 *     A bus address range that a table serves. All groups of a container have the same
 *     windows.
 * view word
 *     64 bits beside each TCE of a user's table: the user address that the TCE leads to,
 *     and what it holds (a reference on a region or, in version 1, a pin).
 * entry
 *     A TCE and its view word. It is *live* or *clear*. To *lead* to a page is to let a
 *     device reach it.
 * line
 *     The 16 view words of one cache line and their TCEs. They share one lock bit, in the
 *     first of the words, the *head*.
 * try
 *     A function that both modes call: it neither sleeps nor allocates, waits a bounded
 *     time, and either completes or returns what it lacks.
 * section
 *     Where virtual mode runs tries: an RCU read side with preemption disabled.
 * gather
 *     The references and pins of replaced and cleared entries, to be dropped after the
 *     invalidation.
 * revoked
 *     Of a table: no entry can be set any more.
 * container
 *     A VFIO IOMMU context: groups, windows, and the registrations that it owns.
 * LIOBN
 *     A guest's number for a window. It has a guest view and no, one or several hardware
 *     tables.
 * guest view
 *     The TCEs of a LIOBN as the guest wrote them; gview in names of KVM's code.
 */
#ifndef _ASM_POWERPC_MM_IOMMU_H
#define _ASM_POWERPC_MM_IOMMU_H

#include <linux/errno.h>
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

long mm_iommu_translate(struct mm_struct *mm, unsigned long ua,
			unsigned long *hpa);
bool mm_iommu_extent(struct mm_struct *mm, unsigned long ua,
		     unsigned long *start, unsigned long *size);

int mm_iommu_charge(struct mm_struct *mm, unsigned long pages);
void mm_iommu_uncharge(struct mm_struct *mm, unsigned long pages);

void mm_iommu_init(struct mm_struct *mm);
void mm_iommu_exit(struct mm_struct *mm);

#else

/* Without VFIO no table has an owner. */
static inline int mm_iommu_charge(struct mm_struct *mm, unsigned long pages)
{
	return -EOPNOTSUPP;
}

static inline void mm_iommu_uncharge(struct mm_struct *mm, unsigned long pages) { }

static inline void mm_iommu_init(struct mm_struct *mm) { }
static inline void mm_iommu_exit(struct mm_struct *mm) { }

#endif /* CONFIG_SPAPR_TCE_IOMMU */

struct page *realmode_pfn_to_page(unsigned long pfn);
struct page *realmode_pfn_to_head(unsigned long pfn);
bool put_page_unless_one(struct page *head, int refs);
bool unpin_user_page_unless_last(struct page *head);

#endif /* _ASM_POWERPC_MM_IOMMU_H */
