/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * User-owned TCE entries: changing them, compiled twice.
 *
 * iommu_user.c includes this for virtual mode, iommu_user_rm.c for real mode (MMU
 * off, not instrumented). So nothing here may sleep, print, touch vmalloc or
 * vmemmap, or use per-cpu data; every pointer leads into the linear map.
 *
 * The caller is an RCU reader that can't be preempted, or has the MMU off, and
 * has seen that the table is not revoked.
 *
 * The fast path predicts. Entries changed together were mostly set together: if
 * the first is clear the next ones are too, and if it leads to ua then the next one
 * leads to the IOMMU page after. So the cmpxchg that takes the lock is also the
 * look at the old word, and a run of entries that were as predicted needs no books
 * but its length. Where a prediction fails, the word is read and judged.
 *
 * Order for one entry:
 *
 *   cmpxchg(old -> old | LOCK)    the stores below depend on its success, so they
 *   store the TCE                 can't be seen before it
 *   store the new word, release   whoever gets the lock next comes after the TCE
 */
#ifndef IOMMU_USER_CORE_H
#define IOMMU_USER_CORE_H

#include <linux/atomic.h>
#include <linux/dma-direction.h>
#include <asm/iommu.h>
#include <asm/iommu_levels.h>
#include <asm/iommu_user.h>
#include <asm/mm_iommu.h>
#include <asm/tce.h>

/**
 * struct iommu_user_new - what to write into entries
 * @word: view word of the first, 0 to clear
 * @hpa: host physical address of the first
 * @perm: TCE permission bits
 * @step: from one entry to the next, in @word and @hpa; 0 to clear
 * @dir: the same as @perm, for a hypervisor; DMA_NONE to clear
 */
struct iommu_user_new {
	u64 word;
	u64 hpa;
	u64 perm;
	u64 step;
	enum dma_data_direction dir;
};

/* Why iommu_user_change() stopped short */
#define IOMMU_USER_FULL		(-ENOSPC)	/* no room in the gather: flush it */
#define IOMMU_USER_STALE	(-ESTALE)	/* the leaf is being given back: walk again */

/* The view word of an entry that leads to @ua */
static __always_inline u64 iommu_user_word(struct iommu_table *tbl,
					   unsigned long ua,
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

static __always_inline void
iommu_user_gather_range(struct iommu_user_gather *g, unsigned long entry,
			unsigned long n)
{
	if (entry < g->first)
		g->first = entry;
	if (entry + n > g->end)
		g->end = entry + n;
}

/* Remember @n old entries. There is room for a run: see iommu_user_change(). */
static __always_inline void
iommu_user_gather_add(struct iommu_user_gather *g, unsigned long addr,
		      unsigned int n, unsigned int flags)
{
	struct iommu_user_run *run = g->run + g->nr;

	if (g->nr) {
		unsigned long size = 0;

		run--;
		if (!(flags & IOMMU_USER_REGION))
			size = (unsigned long)run->nr << g->tbl->it_page_shift;
		if (run->flags == flags && run->addr + size == addr &&
		    run->nr + n >= n) {
			run->nr += n;
			return;
		}
		run++;
	}
	run->addr = addr;
	run->nr = n;
	run->flags = flags;
	g->nr++;
}

/*
 * Get the lock of an entry whose word is @old, for stores only: see the top. The
 * compiler's view of cmpxchg() compares twice.
 */
static __always_inline bool iommu_user_trylock(u64 *view, u64 old)
{
	asm goto("1:	ldarx	%%r0,%y0\n"
		 "	cmpd	%%r0,%1\n"
		 "	bne-	%l[busy]\n"
		 "	stdcx.	%2,%y0\n"
		 "	bne-	1b\n"
		 : : "Z" (*view), "r" (old), "r" (old | IOMMU_VIEW_LOCK)
		 : "r0", "cr0", "memory" : busy);
	return true;
busy:
	return false;
}

/* Set the word, which gives the lock back. */
static __always_inline void iommu_user_unlock(u64 *view, u64 word)
{
	/* The TCE before the lock: pairs with the cmpxchg of the next holder. */
	smp_store_release(view, word);
}

/*
 * Change up to @n entries whose words are predicted to be @expect, @expect + @estep
 * and so on. Returns how many were; the next one was not, or there is none.
 */
static __always_inline unsigned long
iommu_user_swap(__be64 *tce, u64 *view, unsigned long n, u64 expect, u64 estep,
		u64 word, u64 newtce, u64 step)
{
	unsigned long i;

	for (i = 0; i < n; i++) {
		if (!iommu_user_trylock(&view[i], expect))
			break;
		iommu_tce_store(&tce[i], newtce);
		iommu_user_unlock(&view[i], word);
		expect += estep;
		newtce += step;
		word += step;
	}
	return i;
}

/*
 * Change one entry that was read as @old, live or clear, with the lock held over
 * whatever this needs. 1: done; 0: it is not @old any more; or -errno.
 */
static __always_inline int
iommu_user_change_one(struct iommu_user_gather *g, const struct iommu_span *span,
		      unsigned long i, unsigned long entry, u64 old,
		      const struct iommu_user_new *new, bool rm)
{
	unsigned int flags = old & (IOMMU_VIEW_PIN | IOMMU_VIEW_WRITE);
	unsigned long hpa = new->hpa + i * new->step;
	enum dma_data_direction dir = new->dir;
	struct iommu_table *tbl = g->tbl;
	unsigned long addr = old & IOMMU_VIEW_UA;
	u64 *view = span->view + i;
	int ret;
	u64 was;

	/* Acquire: the TCE is read. */
	if (cmpxchg_acquire(view, old, old | IOMMU_VIEW_LOCK) != old)
		return 0;

	if (rm && old) {
		/*
		 * Found now or never: once the entry is changed, there must be no
		 * need for a look-up that may miss. Our lock keeps the region.
		 */
		addr = (unsigned long)mm_iommu_find_rm(tbl->it_mm, addr);
		if (!addr) {
			ret = -EAGAIN;
			goto unlock;
		}
		flags = IOMMU_USER_REGION;
	}

	if (span->tce) {
		was = iommu_tce_load(span->tce + i);
		iommu_tce_store(span->tce + i, hpa | new->perm);
		hpa = was & IOMMU_LINK_PA;
	} else {
		/* The hypervisor's entry: its state is exactly as before on error. */
		ret = tbl->it_ops->xchg_no_kill(tbl, entry, &hpa, &dir);
		if (ret)
			goto unlock;
	}
	iommu_user_unlock(view, new->word ? new->word + i * new->step : 0);

	iommu_user_gather_range(g, entry, 1);
	if (old)
		iommu_user_gather_add(g, old & IOMMU_VIEW_PIN ? hpa : addr, 1, flags);
	return 1;

unlock:
	iommu_user_unlock(view, old);
	return ret;
}

/**
 * iommu_user_change() - change entries of one leaf
 * @g: gather
 * @span: the leaf, from @entry on
 * @entry: first entry
 * @n: entries, all within @span
 * @new: what to write
 * @live: number of entries that were live before is added
 * @err: why fewer than @n were changed: -EAGAIN (real mode only), IOMMU_USER_FULL,
 *	IOMMU_USER_STALE, or what the hypervisor says
 * @clear: @new is all zero
 * @rm: real mode
 *
 * Return: entries that are as wanted now.
 */
static __always_inline unsigned long
iommu_user_change(struct iommu_user_gather *g, const struct iommu_span *span,
		  unsigned long entry, unsigned long n,
		  const struct iommu_user_new *new, unsigned long *live,
		  int *err, const bool clear, bool rm)
{
	const u64 page = BIT(g->tbl->it_page_shift);
	unsigned long i = 0, k;
	int ret;
	u64 old;

	*err = 0;
	while (i < n) {
		old = READ_ONCE(span->view[i]);
		if (!old || (clear && (old & IOMMU_VIEW_DEAD))) {
			if (clear) {
				i++;
				continue;
			}
			if (span->tce) {
				k = iommu_user_swap(span->tce + i, span->view + i,
						    n - i, 0, 0,
						    new->word + i * new->step,
						    (new->hpa | new->perm) + i * new->step,
						    new->step);
				if (k)
					iommu_user_gather_range(g, entry + i, k);
				i += k;
				continue;
			}
		} else if (old & IOMMU_VIEW_DEAD) {
			*err = IOMMU_USER_STALE;
			break;
		} else if (old & IOMMU_VIEW_LOCK) {
			if (rm) {
				*err = -EAGAIN;
				break;
			}
			cpu_relax();
			continue;
		} else if (g->nr == IOMMU_USER_RUNS) {
			*err = IOMMU_USER_FULL;
			break;
		} else if (!rm && span->tce && !(old & IOMMU_VIEW_PIN)) {
			k = iommu_user_swap(span->tce + i, span->view + i, n - i,
					    old, page,
					    clear ? 0 : new->word + i * new->step,
					    clear ? 0 : (new->hpa | new->perm) + i * new->step,
					    clear ? 0 : new->step);
			if (k) {
				iommu_user_gather_range(g, entry + i, k);
				iommu_user_gather_add(g, old & IOMMU_VIEW_UA, k,
						      old & IOMMU_VIEW_WRITE);
				*live += k;
				i += k;
			}
			continue;
		}

		ret = iommu_user_change_one(g, span, i, entry + i, old, new, rm);
		if (ret < 0) {
			*err = ret;
			break;
		}
		if (ret && old)
			++*live;
		i += ret;
		if (rm && ret && old && i < n) {
			/*
			 * What we hold of the region now keeps it: entries that go on
			 * within it need no look-up.
			 */
			unsigned long mem = g->run[g->nr - 1].addr;
			u64 left = mm_iommu_end_rm((void *)mem) - (old & IOMMU_VIEW_UA);

			k = (left >> g->tbl->it_page_shift) - 1;
			k = iommu_user_swap(span->tce + i, span->view + i, min(k, n - i),
					    old + page, page,
					    clear ? 0 : new->word + i * new->step,
					    clear ? 0 : (new->hpa | new->perm) + i * new->step,
					    clear ? 0 : new->step);
			if (k) {
				iommu_user_gather_range(g, entry + i, k);
				iommu_user_gather_add(g, mem, k, IOMMU_USER_REGION);
				*live += k;
				i += k;
			}
		}
	}
	return i;
}

#endif /* IOMMU_USER_CORE_H */
