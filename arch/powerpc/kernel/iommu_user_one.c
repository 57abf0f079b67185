// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * User-owned TCE entries: one entry at a time, for H_PUT_TCE.
 *
 * The protocol of asm/iommu_user.h without a gather, since there is nothing to gather. It
 * does the common case only, and changes nothing where it can't.
 *
 * Always built in, never instrumented (see the Makefile): for both modes. Everything that
 * real mode reaches from here is in the linear map.
 */
#include <linux/context_tracking_state.h>
#include <linux/export.h>
#include <linux/preempt.h>
#include "iommu_user_core.h"
#include "../mm/book3s64/mm_iommu_core.h"

/* The region behind @ua, if an IOMMU page may lead there. It isn't held yet. */
static __always_inline struct mm_iommu_region *
one_find(struct iommu_table *tbl, unsigned long ua, struct mm_iommu_run *run)
{
	struct mm_iommu_store *store = mm_iommu_store(tbl->it_mm);
	unsigned long size = BIT(tbl->it_page_shift);
	struct mm_iommu_region *mem;

	mem = store ? mm_iommu_find(store, ua) : NULL;
	/* The words are valid only once @mapped is not 0. */
	if (!mem || !atomic64_read_acquire(&mem->mapped))
		return NULL;
	mm_iommu_resolve(mem, ua, run);
	if (run->len < size || ((ua | run->hpa) & (size - 1)))
		return NULL;
	return mem;
}

static __always_inline void
one_dirty(struct iommu_table *tbl, struct mm_iommu_region *mem,
	  unsigned long ua, struct mm_iommu_run *run)
{
	u64 v;

	/* A device's memory has neither words nor a shift. */
	if (unlikely(!run->word))
		return;
	if (unlikely(tbl->it_page_shift > run->shift)) {
		mm_iommu_mark_dirty(mem, ua, BIT(tbl->it_page_shift), run);
	} else {
		v = READ_ONCE(*run->word);
		if (!(v & MM_IOMMU_DIRTY))
			WRITE_ONCE(*run->word, v | MM_IOMMU_DIRTY);
	}
}

static __always_inline bool one_covers(struct mm_iommu_region *mem, u64 word)
{
	return (word & IOMMU_VIEW_UA) - mem->ua < mem->end - mem->ua;
}

/*
 * Change the entry; *@held is the region of which it held a reference that the new entry
 * has no use for. Returns 0 with *@changed, or nothing was changed.
 */
static __always_inline long
one_swap(struct iommu_table *tbl, unsigned long entry, unsigned long ua,
	 enum dma_data_direction dir, bool *changed,
	 struct mm_iommu_region **held)
{
	struct mm_iommu_region *mem = NULL;
	struct mm_iommu_run run __uninitialized;
	struct iommu_span span __uninitialized;
	u64 tce = 0, word = 0, old;
	long ret = -EAGAIN;

	iommu_levels_walk(tbl, entry - tbl->it_offset, &span);
	if (unlikely(!span.view))
		return dir == DMA_NONE ? 0 : -ENOENT;
	if (unlikely(!span.tce || tbl->it_pins))
		return -EAGAIN;

	if (dir != DMA_NONE) {
		if (unlikely(READ_ONCE(tbl->it_revoked)))
			return -ENODEV;
		mem = one_find(tbl, ua, &run);
		if (unlikely(!mem))
			return -EFAULT;
		tce = run.hpa | iommu_user_perm(dir);
		word = iommu_user_word(tbl, ua, dir);
	}

	old = READ_ONCE(*span.view);
	if (!(old | word))
		return 0;
	if (unlikely(old & (IOMMU_VIEW_LOCK | IOMMU_VIEW_DEAD)) ||
	    unlikely(!iommu_user_trylock(span.view, old)))
		return -EAGAIN;

	/* Ours alone from here on, and so is what it holds. */
	if (old) {
		smp_rmb(); /* the lock before what it keeps from changing */
		/* Two live regions don't overlap: this is the one it holds. */
		if (mem && one_covers(mem, old) && atomic64_read(&mem->mapped))
			goto set;
		*held = mm_iommu_find(mm_iommu_store(tbl->it_mm),
				      old & IOMMU_VIEW_UA);
		if (unlikely(!*held))
			goto unlock;
	}
	ret = -EFAULT;
	if (mem && unlikely(!atomic64_add_unless(&mem->mapped, 1, 0)))
		goto unlock;
set:
	if (word & IOMMU_VIEW_WRITE)
		one_dirty(tbl, mem, ua, &run);
	iommu_tce_store(span.tce, tce);
	iommu_user_unlock(span.view, word);
	*changed = true;
	return 0;

unlock:
	*held = NULL;
	iommu_user_unlock(span.view, old);
	return ret;
}

/**
 * iommu_user_put_one() - set or clear one entry, if that is simple
 * @tbl: the table
 * @entry: the entry
 * @ua: user address it is to lead to
 * @dir: what the device may do; DMA_NONE to clear it
 *
 * All of the protocol, from the reference to the drop after the invalidation.
 *
 * Context: any in which locks may be taken. Never waits.
 * Return: 0. Otherwise nothing was changed: -EFAULT not registered, not contiguous or on
 * its way out, or the index is just changing; -ENOENT no level; -ENODEV revoked; -EAGAIN
 * contended, or not simple: iommu_user_map() and iommu_user_unmap() know or do it.
 */
long iommu_user_put_one(struct iommu_table *tbl, unsigned long entry,
			unsigned long ua, enum dma_data_direction dir)
{
	struct mm_iommu_region *held = NULL;
	bool changed = false;
	long ret;

	preempt_disable();
	rcu_read_lock();
	ret = one_swap(tbl, entry, ua, dir, &changed, &held);
	rcu_read_unlock();
	preempt_enable();
	if (!changed)
		return ret;

	if (tbl->it_ops->tce_kill)
		tbl->it_ops->tce_kill(tbl, entry, 1);
	/* The reference we own now has kept it. */
	if (held) {
		rcu_read_lock();
		mm_iommu_put(held, 1);
		rcu_read_unlock();
	}
	return 0;
}
EXPORT_SYMBOL_GPL(iommu_user_put_one);

/**
 * iommu_user_put_one_rm() - iommu_user_put_one() for real mode
 * @tbl: as there
 * @entry: as there
 * @ua: as there
 * @dir: as there
 *
 * Context: real mode.
 * Return: as there; -ENODEV also if the table's entries can't be changed with the MMU
 * off, see iommu_user_rm_ready().
 */
long iommu_user_put_one_rm(struct iommu_table *tbl, unsigned long entry,
			   unsigned long ua, enum dma_data_direction dir)
{
	struct mm_iommu_region *held = NULL;
	bool changed = false;
	long ret;

	if (unlikely(!tbl->it_ops->tce_kill_rm) || context_tracking_enabled())
		return -ENODEV;
	ret = one_swap(tbl, entry, ua, dir, &changed, &held);
	if (!changed)
		return ret;

	tbl->it_ops->tce_kill_rm(tbl, entry, 1);
	if (held)
		mm_iommu_put(held, 1);
	return 0;
}
