/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * User-owned TCE entries: what tries and everything else share to change lines.
 *
 * Whoever changes entries does so line by line, or several lines of a leaf at once
 * in ascending order:
 *
 *   iommu_line_lock()    nobody else changes the line, or frees the leaf
 *   iommu_line_count()   gather what the old entries hold; decides how many can change
 *   store TCEs and words
 *   iommu_view_unlock()
 *
 * All of this may run with the MMU off: iommu_user_try.c.
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

/* Inside only: the gather has no room, iommu_user_try_finish() makes some */
#define IOMMU_USER_FULL		(-ENOSPC)

/* The view word of an entry that leads to @ua */
static __always_inline u64 iommu_user_word(struct iommu_table *tbl, unsigned long ua,
					   enum dma_data_direction dir)
{
	u64 word = (ua & IOMMU_VIEW_UA) | IOMMU_VIEW_LIVE;

	if (tbl->it_pins)
		word |= IOMMU_VIEW_PIN;
	if (dir != DMA_TO_DEVICE)
		word |= IOMMU_VIEW_WRITE;
	return word;
}

/* Permission bits of a TCE: IODA wants read permission wherever there is write permission. */
static __always_inline u64 iommu_user_perm(enum dma_data_direction dir)
{
	return dir == DMA_TO_DEVICE ? TCE_PCI_READ : TCE_PCI_READ | TCE_PCI_WRITE;
}

/* The same of an entry with this view word */
static __always_inline u64 iommu_user_word_perm(u64 word)
{
	return word & IOMMU_VIEW_WRITE ? TCE_PCI_READ | TCE_PCI_WRITE : TCE_PCI_READ;
}

static __always_inline void
iommu_user_gather_range(struct iommu_user_gather *g, unsigned long entry, unsigned long n)
{
	g->first = min(g->first, entry);
	g->end = max(g->end, entry + n);
}

static __always_inline struct mm_iommu_region *
iommu_user_region(const struct iommu_user_held *held)
{
	return (struct mm_iommu_region *)held->addr;
}

int iommu_line_wait(u64 *head);

/* Lock a line: 0; -EAGAIN if it stays locked; -ENOENT if the leaf is being freed. */
static __always_inline int iommu_line_lock(u64 *head)
{
	return likely(iommu_view_trylock(head)) ? 0 : iommu_line_wait(head);
}

struct iommu_user_held *iommu_user_held_by(struct iommu_user_gather *g, unsigned long ua,
					   int *why);
unsigned long iommu_line_count(struct iommu_user_gather *g, const u64 *view,
			       unsigned long n, int *why);

#endif /* IOMMU_USER_LINES_H */
