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
 * but its length. Where a prediction fails, the word is read and judged: entries of a
 * region that is gathered already, of which a reference is just one more in its count,
 * wherever in it they lead (a scatter list's), or else whatever there is.
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
#include <linux/nospec.h>
#include <asm/iommu.h>
#include <asm/iommu_levels.h>
#include <asm/iommu_user.h>
#include <asm/mm_iommu.h>
#include <asm/tce.h>
#include "../mm/book3s64/mm_iommu_core.h"

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

static __always_inline struct mm_iommu_region *
iommu_user_region(const struct iommu_user_run *run)
{
	return (struct mm_iommu_region *)run->addr;
}

/*
 * The run of the region that covers @ua, or NULL. A gathered region is alive, as one
 * reference of it is ours, and live regions don't overlap: so what a live entry holds
 * that leads there is a reference of just this region. The last one is looked at first.
 */
static __always_inline struct iommu_user_run *
iommu_user_gathered(struct iommu_user_gather *g, unsigned long ua)
{
	struct mm_iommu_region *mem;
	unsigned int i;

	for (i = g->nr; i--; ) {
		if (!(g->run[i].flags & IOMMU_USER_REGION))
			return NULL;
		mem = iommu_user_region(&g->run[i]);
		if (ua - mem->ua < mem->end - mem->ua)
			return &g->run[i];
	}
	return NULL;
}

/* A new run. There is room: see iommu_user_change(). */
static __always_inline void
iommu_user_gather_new(struct iommu_user_gather *g, unsigned long addr,
		      unsigned int n, unsigned int flags)
{
	struct iommu_user_run *run = g->run + g->nr++;

	run->addr = addr;
	run->nr = n;
	run->flags = flags;
}

/* Remember @n references of a region that is gathered already. There is room for a run. */
static __always_inline void
iommu_user_gather_more(struct iommu_user_gather *g, struct iommu_user_run *run,
		       unsigned int n)
{
	if (likely(run->nr + n >= n))
		run->nr += n;
	else
		iommu_user_gather_new(g, run->addr, n, run->flags);
}

/* Remember the page pin of one old entry. There is room for a run. */
static __always_inline void
iommu_user_gather_pin(struct iommu_user_gather *g, unsigned long hpa, unsigned int flags)
{
	struct iommu_user_run *run;

	if (g->nr) {
		run = &g->run[g->nr - 1];
		if (run->flags == flags && run->nr + 1 &&
		    run->addr + ((unsigned long)run->nr << g->tbl->it_page_shift) == hpa) {
			run->nr++;
			return;
		}
	}
	iommu_user_gather_new(g, hpa, 1, flags);
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

/* So few entries that were as predicted: what follows is looked at one by one. */
#define IOMMU_USER_FEW		8

/*
 * Change up to @n entries as long as they are live and hold references of @mem: in a row
 * from the first, which was read as @old, or else scattered over the region. Returns how
 * many were.
 */
static __always_inline unsigned long
iommu_user_swap_live(const struct mm_iommu_region *mem, unsigned int shift,
		     __be64 *tce, u64 *view, unsigned long n, u64 old, u64 word,
		     u64 newtce, u64 step)
{
	unsigned long ua = mem->ua, size = mem->end - ua, i;

	i = (mem->end - (old & IOMMU_VIEW_UA)) >> shift;
	i = iommu_user_swap(tce, view, min(i, n), old, BIT(shift), word, newtce, step);
	if (i >= IOMMU_USER_FEW)
		return i;
	newtce += i * step;
	word += i * step;
	for (; i < n; i++) {
		old = READ_ONCE(view[i]);
		/* The flags are less than a page: they take nothing out of the region. */
		if ((old & (IOMMU_VIEW_LIVE | IOMMU_VIEW_LOCK | IOMMU_VIEW_DEAD)) !=
		    IOMMU_VIEW_LIVE || old - ua >= size)
			break;
		if (!iommu_user_trylock(&view[i], old))
			break;
		iommu_tce_store(&tce[i], newtce);
		iommu_user_unlock(&view[i], word);
		newtce += step;
		word += step;
	}
	return i;
}

/* Both out of line, or else the loops run out of registers. */
static noinline unsigned long
iommu_user_replace_live(const struct mm_iommu_region *mem, unsigned int shift,
			__be64 *tce, u64 *view, unsigned long n, u64 old, u64 word,
			u64 newtce)
{
	return iommu_user_swap_live(mem, shift, tce, view, n, old, word, newtce, BIT(shift));
}

static noinline unsigned long
iommu_user_clear_live(const struct mm_iommu_region *mem, unsigned int shift,
		      __be64 *tce, u64 *view, unsigned long n, u64 old)
{
	u64 zero = 0;

	/* Or else it is loaded for each entry. */
	OPTIMIZER_HIDE_VAR(zero);
	return iommu_user_swap_live(mem, shift, tce, view, n, old, zero, zero, 0);
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
	struct mm_iommu_region *mem = NULL;
	unsigned long hpa = new->hpa + i * new->step;
	enum dma_data_direction dir = new->dir;
	struct iommu_table *tbl = g->tbl;
	struct iommu_user_run *run = NULL;
	u64 *view = span->view + i;
	int ret;
	u64 was;

	/* Acquire: the TCE is read. */
	if (cmpxchg_acquire(view, old, old | IOMMU_VIEW_LOCK) != old)
		return 0;

	if (old && !(old & IOMMU_VIEW_PIN)) {
		/* Our lock keeps its reference, and so the region. */
		run = iommu_user_gathered(g, old & IOMMU_VIEW_UA);
		if (!run) {
			mem = mm_iommu_find(mm_iommu_store(tbl->it_mm),
					    old & IOMMU_VIEW_UA);
			if (unlikely(!mem)) {
				/* It holds a reference, so this can't be. */
				WARN_ON_ONCE(!rm);
				ret = -EAGAIN;
				goto unlock;
			}
		}
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
	if (run)
		iommu_user_gather_more(g, run, 1);
	else if (mem)
		iommu_user_gather_new(g, (unsigned long)mem, 1, IOMMU_USER_REGION);
	else if (old)
		iommu_user_gather_pin(g, hpa, flags);
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
	unsigned int shift = g->tbl->it_page_shift;
	struct iommu_user_run *run;
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
		} else if (span->tce && !(old & IOMMU_VIEW_PIN)) {
			run = iommu_user_gathered(g, old & IOMMU_VIEW_UA);
			k = 0;
			if (run && clear)
				k = iommu_user_clear_live(iommu_user_region(run), shift,
							  span->tce + i, span->view + i,
							  n - i, old);
			else if (run)
				k = iommu_user_replace_live(iommu_user_region(run), shift,
							    span->tce + i, span->view + i,
							    n - i, old,
							    new->word + i * new->step,
							    (new->hpa | new->perm) +
							    i * new->step);
			if (k) {
				iommu_user_gather_range(g, entry + i, k);
				iommu_user_gather_more(g, run, k);
				*live += k;
				i += k;
				continue;
			}
		}

		ret = iommu_user_change_one(g, span, i, entry + i, old, new, rm);
		if (ret < 0) {
			*err = ret;
			break;
		}
		if (ret && old)
			++*live;
		i += ret;
	}
	return i;
}

/*
 * Set up to @n entries of one leaf to pages scattered over one region, of which the
 * caller holds @n references: entry i to @list[i] + @delta. Does what is simple, see
 * iommu_user_map_list(), and returns how many that were.
 */
static __always_inline unsigned long
iommu_user_set_list(struct iommu_user_gather *g, const struct iommu_span *span,
		    unsigned long entry, unsigned long n, const u64 *list,
		    unsigned long delta, struct mm_iommu_region *mem,
		    enum dma_data_direction dir)
{
	unsigned long start = mem->ua, size = mem->end - start, mask, lead, at, pos;
	unsigned long base = 0, len = 0, off, before, from = 0, reach = 0, live = 0, i;
	u64 perm = iommu_user_perm(dir), flags = iommu_user_word(g->tbl, 0, dir);
	u64 dirty = perm & TCE_PCI_WRITE ? MM_IOMMU_DIRTY : 0;
	u64 tce = 0, word = 0, old, v, *w, *view = span->view, *end = view + n;
	unsigned int shift = mem->chunk_shift;
	__be64 *slot = span->tce;

	mask = BIT(shift) - 1;
	lead = start & mask;
	if (g->nr) {
		/* Old entries may hold references of the region gathered last. */
		const struct mm_iommu_region *was;

		was = iommu_user_region(&g->run[g->nr - 1]);
		from = was->ua;
		reach = was->end - from;
	}

	for (; view < end; view++, slot++, list++) {
		off = *list - base;
		if (off >= len) {
			/* What one word of the region describes: a chunk, or a page */
			pos = *list + delta - start;
			if (unlikely(pos >= size))
				break;
			pos = array_index_nospec(pos, size);
			at = pos + lead;
			w = &mem->block[at >> shift >> MM_IOMMU_BLOCK_SHIFT]
				       [(at >> shift) & (MM_IOMMU_BLOCK_WORDS - 1)];
			v = READ_ONCE(*w);
			if (v & MM_IOMMU_CONTIG) {
				off = at & mask;
				/* as far as the region goes */
				before = min(off, pos);
				len = before + min(mask + 1 - off, size - pos);
				tce = (v & MM_IOMMU_HPA_MASK) + off - before;
			} else {
				w = (u64 *)v + ((at & mask) >> PAGE_SHIFT);
				v = READ_ONCE(*w);
				before = offset_in_page(at);
				len = PAGE_SIZE;
				tce = v & MM_IOMMU_HPA_MASK;
			}
			/* No device writes to a page whose word is not dirty yet. */
			if (unlikely(dirty & ~v))
				WRITE_ONCE(*w, v | dirty);
			tce += perm;
			word = start + pos - before + flags;
			base = *list - before;
			off = before;
		}

		if (unlikely(!iommu_user_trylock(view, 0))) {
			old = READ_ONCE(*view);
			if ((old & (IOMMU_VIEW_LIVE | IOMMU_VIEW_LOCK |
				    IOMMU_VIEW_DEAD)) != IOMMU_VIEW_LIVE ||
			    old - from >= reach ||
			    !iommu_user_trylock(view, old))
				break;
			live++;
		}
		iommu_tce_store(slot, tce + off);
		iommu_user_unlock(view, word + off);
	}
	i = view - span->view;
	if (i)
		iommu_user_gather_range(g, entry, i);
	if (live)
		iommu_user_gather_more(g, &g->run[g->nr - 1], live);
	return i;
}

/* See iommu_user_map_list(). The caller can't be preempted, or has the MMU off. */
static __always_inline unsigned long
__iommu_user_map_list(struct iommu_user_gather *g, unsigned long entry,
		      unsigned long n, const u64 *list, unsigned long delta,
		      enum dma_data_direction dir, bool rm)
{
	struct iommu_table *tbl = g->tbl;
	struct mm_iommu_store *store = mm_iommu_store(tbl->it_mm);
	struct mm_iommu_region *mem;
	unsigned long done;
	struct iommu_span span;

	if (tbl->it_pins || tbl->it_page_shift > PAGE_SHIFT || !store ||
	    g->nr == IOMMU_USER_RUNS || READ_ONCE(tbl->it_revoked))
		return 0;
	iommu_levels_walk(tbl, entry - tbl->it_offset, &span);
	if (!span.tce || !span.view)
		return 0;
	mem = mm_iommu_find(store, list[0] + delta);
	if (!mem || mem->dev)
		return 0;
	n = min(n, span.nr);
	/* The words are valid only once @mapped is not 0. */
	if (!atomic64_add_unless(&mem->mapped, n, 0))
		return 0;
	done = iommu_user_set_list(g, &span, entry, n, list, delta, mem, dir);
	if (unlikely(done < n))
		mm_iommu_put(mem, n - done);
	return done;
}

#endif /* IOMMU_USER_CORE_H */
