// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * User-owned TCE entries with the MMU off.
 *
 * For hypercalls of POWER8 guests that the host answers in real mode. Always built
 * in, never instrumented (see the Makefile): text, data and everything reached from
 * here is in the linear map. All of it also works in virtual mode, not preempted and
 * under rcu_read_lock().
 *
 * Real mode makes nothing, and waits for nobody. Every error means: do it in virtual mode
 * (H_TOO_HARD), where the entries not yet counted are just as they were. Which one tells
 * why: -EAGAIN, somebody is at it just now; -ENOENT, a level is missing; -ENODEV, it
 * can't be done here; others are those of mm_iommu_map_get().
 *
 *   - an entry's lock is tried once, a missing level is not made;
 *   - the region of an old entry is looked up before the entry is changed, and
 *     remembered, so that the drop after the invalidation can't fail;
 *   - the pin of an old entry (v1) may turn out to be the page's last reference,
 *     or the page may have to be dirtied. So the entry stays locked from clearing
 *     until the pin is dropped, and is put back if it can't be.
 *
 * Why walkers are safe here: see mm/book3s64/iommu_lookup.c. A core in real mode holds
 * up RCU, so iommu_user_revoke() waits for us; not so with context tracking, and then
 * iommu_user_rm_ready() refuses.
 */
#include <linux/context_tracking_state.h>
#include <linux/mm.h>
#include <linux/page-flags.h>
#include "iommu_user_core.h"

/**
 * iommu_user_rm_ready() - can entries of a table be changed with the MMU off?
 * @tbl: the table
 *
 * Context: any. Return: false if the platform has no invalidation there, the table has
 * been revoked, or RCU does not wait for real mode (context tracking).
 */
bool iommu_user_rm_ready(struct iommu_table *tbl)
{
	return tbl->it_ops->tce_kill_rm && !READ_ONCE(tbl->it_revoked) &&
	       !context_tracking_enabled();
}

/**
 * iommu_user_get_rm() - iommu_user_get() for real mode
 * @tbl: as there
 * @ua: as there
 * @size: as there
 * @write: as there
 * @hpa: as there
 *
 * Context: real mode, or RCU read side. Return: as there; every error means 'ask again
 * in virtual mode'. Pages can't be pinned here (v1): -ENODEV.
 */
long iommu_user_get_rm(struct iommu_table *tbl, unsigned long ua,
		       unsigned long size, bool write, unsigned long *hpa)
{
	if (tbl->it_pins)
		return -ENODEV;
	return mm_iommu_map_get(tbl->it_mm, ua, size, tbl->it_page_shift,
				write, hpa);
}

/**
 * iommu_user_put_rm() - iommu_user_put() for real mode
 * @tbl: as there
 * @ua: as there
 * @n: as there; all in the region that iommu_user_get_rm() found
 *
 * Context: real mode, or RCU read side.
 * Return: 0; -EAGAIN if they could not be dropped and stay held for good: the references
 * keep the region in the index, so the caller's books are wrong then.
 */
int iommu_user_put_rm(struct iommu_table *tbl, unsigned long ua, unsigned long n)
{
	return n && mm_iommu_map_put(tbl->it_mm, ua, n) ? -EAGAIN : 0;
}

/**
 * iommu_user_finish_rm() - iommu_user_finish() for real mode
 * @g: the gather; empty and ready for more afterwards
 *
 * Context: real mode, or RCU read side.
 * Return: 0; -EAGAIN if the platform could not invalidate, which iommu_user_rm_ready()
 * excludes: then nothing was dropped, and what was gathered stays held for good.
 */
int iommu_user_finish_rm(struct iommu_user_gather *g)
{
	struct iommu_table *tbl = g->tbl;
	unsigned int i;

	if (g->end > g->first &&
	    tbl->it_ops->tce_kill_rm(tbl, g->first, g->end - g->first))
		return -EAGAIN;
	/* Can't fail: we own these references. */
	for (i = 0; i < g->nr; i++)
		mm_iommu_put(iommu_user_region(&g->run[i]), g->run[i].nr);
	iommu_user_begin(g, tbl);
	return 0;
}

/* Change up to @n entries; returns how many were, *@err is 0 if all. */
static __always_inline long
range_change(struct iommu_user_gather *g, unsigned long entry, unsigned long n,
	     struct iommu_user_new *new, const bool clear, int *err)
{
	struct iommu_table *tbl = g->tbl;
	unsigned long idx = entry - tbl->it_offset, done = 0, live = 0, k;
	struct iommu_span span;

	for (*err = 0; done < n && !*err; done += k) {
		iommu_levels_walk(tbl, idx + done, &span);
		k = min(span.nr, n - done);
		if (!span.view) {
			/* Nothing to clear; nothing is made here. */
			if (clear)
				continue;
			*err = -ENOENT;
			break;
		}
		if (!span.tce) {
			*err = -EAGAIN;
			break;
		}
		k = iommu_user_change(g, &span, entry + done, k, new, &live, err,
				      clear, true);
		new->word += k * new->step;
		new->hpa += k * new->step;
		if (*err == IOMMU_USER_FULL)
			*err = iommu_user_finish_rm(g);
		else if (*err)
			*err = -EAGAIN;
	}
	return done;
}

/**
 * iommu_user_set_rm() - iommu_user_set() for real mode
 * @g: as there
 * @entry: as there
 * @n: as there; 512 at most
 * @ua: as there
 * @hpa: as there
 * @dir: as there
 *
 * Context: real mode, or RCU read side.
 * Return: how many entries are set; if none: -ENOENT for a missing level, -EAGAIN for a
 * contended entry or an index that is just changing, -ENODEV if the table has been
 * revoked, or for pins (v1).
 */
long iommu_user_set_rm(struct iommu_user_gather *g, unsigned long entry,
		       unsigned long n, unsigned long ua, unsigned long hpa,
		       enum dma_data_direction dir)
{
	struct iommu_table *tbl = g->tbl;
	struct iommu_user_new new = {
		.word = iommu_user_word(tbl, ua, dir),
		.hpa = hpa,
		.perm = iommu_user_perm(dir),
		.step = BIT(tbl->it_page_shift),
		.dir = dir,
	};
	long done;
	int err;

	if (READ_ONCE(tbl->it_revoked) || tbl->it_pins)
		return -ENODEV;
	done = range_change(g, entry, n, &new, false, &err);
	return done ? done : err;
}

/**
 * iommu_user_map_list_rm() - iommu_user_map_list() for real mode
 * @g: as there
 * @entry: as there
 * @n: as there
 * @list: as there
 * @delta: as there
 * @dir: as there
 *
 * Context: real mode, or RCU read side. Return: as there.
 */
unsigned long iommu_user_map_list_rm(struct iommu_user_gather *g, unsigned long entry,
				     unsigned long n, const u64 *list,
				     unsigned long delta, enum dma_data_direction dir)
{
	return __iommu_user_map_list(g, entry, n, list, delta, dir, true);
}

/* The head of the page at @hpa, at an address real mode has; NULL if there is none */
static struct page *head_find_rm(unsigned long hpa)
{
	struct page *page = realmode_pfn_to_page(hpa >> PAGE_SHIFT), *head;

	/* With it, a tail page stores a mask, not its head's address. */
	BUILD_BUG_ON(IS_ENABLED(CONFIG_HUGETLB_PAGE_OPTIMIZE_VMEMMAP));

	if (!page)
		return NULL;
	/* A tail page tells its head by its vmemmap address. */
	head = compound_head(page);
	return head == page ? page : realmode_pfn_to_page(page_to_pfn(head));
}

/* Drop one pin, unless that needs virtual mode */
static bool pin_drop_rm(unsigned long hpa, bool dirty)
{
	struct page *head;

	/* gup neither counts pins of the zero page nor drops them */
	if (is_zero_pfn(hpa >> PAGE_SHIFT))
		return true;
	head = head_find_rm(hpa);
	/* No DMA any more: if it is dirty now, then with what the device wrote. */
	if (!head || (dirty && !folio_test_dirty((struct folio *)head)))
		return false;
	return unpin_user_page_unless_last(head);
}

/*
 * Clear one entry that holds a pin: 1 if it is clear now. It is as it was if somebody is
 * at it, -EAGAIN, or if its pin can't be dropped here, -ENODEV. Real mode owns no other
 * lock meanwhile, and takes one invalidation's time.
 */
static int pinned_clear_rm(struct iommu_table *tbl, __be64 *tce, u64 *view,
			   unsigned long entry)
{
	u64 old = READ_ONCE(*view), was;

	if (!old || (old & IOMMU_VIEW_DEAD))
		return 1;
	/* Several pages' pins can't be dropped as one. */
	if (tbl->it_page_shift > PAGE_SHIFT)
		return -ENODEV;
	if ((old & IOMMU_VIEW_LOCK) ||
	    cmpxchg_acquire(view, old, old | IOMMU_VIEW_LOCK) != old)
		return -EAGAIN;

	was = iommu_tce_load(tce);
	iommu_tce_store(tce, 0);
	if (!tbl->it_ops->tce_kill_rm(tbl, entry, 1) &&
	    pin_drop_rm(was & IOMMU_LINK_PA, old & IOMMU_VIEW_WRITE)) {
		iommu_user_unlock(view, 0);
		return 1;
	}
	/* Still pinned by us, and nobody else could change it: let it be. */
	iommu_tce_store(tce, was);
	tbl->it_ops->tce_kill_rm(tbl, entry, 1);
	iommu_user_unlock(view, old);
	return -ENODEV;
}

/**
 * iommu_user_unmap_rm() - iommu_user_unmap() for real mode
 * @g: as there
 * @entry: as there
 * @n: as there; 512 at most
 * @done: how many entries, counted from the first, are clear now
 *
 * Context: real mode, or RCU read side.
 * Return: 0 if all of them. Else virtual mode must go on after @done: -EAGAIN if somebody
 * is at that entry, -ENODEV if its pin can't be dropped here (v1).
 */
long iommu_user_unmap_rm(struct iommu_user_gather *g, unsigned long entry,
			 unsigned long n, unsigned long *done)
{
	struct iommu_user_new new = { .dir = DMA_NONE };
	struct iommu_table *tbl = g->tbl;
	struct iommu_span span;
	unsigned long k, i;
	int ret;

	if (!tbl->it_pins) {
		*done = range_change(g, entry, n, &new, true, &ret);
		return ret;
	}

	for (*done = 0; *done < n; *done += k) {
		iommu_levels_walk(tbl, entry - tbl->it_offset + *done, &span);
		k = min(span.nr, n - *done);
		if (!span.view)
			continue;
		for (i = 0; i < k; i++) {
			ret = span.tce ? pinned_clear_rm(tbl, span.tce + i,
							 span.view + i,
							 entry + *done + i) : -EAGAIN;
			if (ret < 0) {
				*done += i;
				return ret;
			}
		}
	}
	return 0;
}
