// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * User-owned TCE entries: the tries, one body for both modes.
 *
 * asm/iommu_user.h describes the protocol. This object also runs with the MMU off. So it is
 * always built in and never instrumented (see the Makefile), and its text, its data and
 * everything it reaches are in the linear map. The modes differ in two points only: how TCE
 * caches are invalidated, and that real mode drops pins (v1) one by one, if at all. The
 * gather, or an argument, says which mode it is.
 *
 * Reading order, from the caller inwards: iommu_user_try_map() > leaves_map() (leaves) >
 * leaf_map() (runs, or scattered pages) > leaf_change() (lines) > line_change() (one locked line).
 * iommu_user_try_unmap() and iommu_user_try_map_list() end in leaf_change() as well. One
 * entry has a shorter way: iommu_user_try_map_one() and iommu_user_try_unmap_one() > one_entry() >
 * one_change() (the locked line) > one_judge().
 *
 * Memory ordering, by the litmus tests in Documentation/litmus-tests/powerpc-tce:
 *
 *   hand-over-*         TCE and word are stored between acquire (lwsync after the
 *                       lock's stcx.) and release (lwsync before the unlocking store),
 *                       so the last holder's stores come first.
 *   reference-before-   @mapped is incremented before the lock is taken, or while it is
 *   entry               held. The lock's lwsync, or the unlocking one, orders that before
 *                       the entry for all that find the entry under its line's lock.
 *   dirty-before-entry  The dirty bit of a page's word is stored before the unlocking
 *                       store. A caller that clears the entry locks the line after that,
 *                       then drops the reference (release); unpinning comes after the last
 *                       drop (acquire). A device writes only in between.
 *   invalidate-before-  tce_kill() is surrounded by full barriers: after the stores to the
 *   drop                TCEs, before @mapped is decremented.
 *   region-words        @mapped is read as not 0 before the words of the region are: an
 *                       increment with acquire, or a plain read and the lock's lwsync
 *                       (region-words-plain).
 *   revoke              it_revoked is read in the section that sets entries.
 *
 * Why a walker is safe: what is unlinked is freed after an RCU grace period. Virtual mode
 * calls tries in a section. In real mode RCU waits for the core, see iommu_lookup.c of
 * mm/book3s64; not so with context tracking (nohz_full): iommu_user_try_ready() refuses then.
 */
#include <linux/bitfield.h>
#include <linux/context_tracking_state.h>
#include <linux/export.h>
#include <linux/mm.h>
#include <linux/nospec.h>
#include <linux/page-flags.h>
#include <asm/mm_iommu.h>
#include "../mm/book3s64/mm_iommu_core.h"
#include "iommu_user_lines.h"

/* Reads of a locked line before giving up: some microseconds, several times what a holder needs */
#define LINE_TRIES	1000U

/**
 * iommu_line_wait() - lock a line that was found locked
 * @head: its first view word
 *
 * Context: section, or MMU off. Bounded.
 * Return: 0; -EAGAIN after LINE_TRIES reads; -ENOENT if the leaf is being freed.
 */
noinline int iommu_line_wait(u64 *head)
{
	unsigned int left = LINE_TRIES;
	u64 busy;

	do {
		while ((busy = READ_ONCE(*head) & IOMMU_VIEW_BUSY)) {
			if (busy & IOMMU_VIEW_DEAD) {
				/* dead-line: what was stored before DEAD is read below */
				smp_rmb();
				return -ENOENT;
			}
			if (!left--)
				return -EAGAIN;
			cpu_relax();
		}
	} while (!iommu_view_trylock(head));
	return 0;
}

/* ---- regions and what entries hold of them ---- */

static __always_inline bool region_covers(const struct mm_iommu_region *mem,
					  unsigned long ua)
{
	return ua - mem->ua < mem->end - mem->ua;
}

/**
 * iommu_user_held_by() - where to count what an entry holds of a region
 * @g: gather
 * @ua: where the entry leads
 * @err: IOMMU_USER_FULL; or -EIO, no region is found. Virtual mode finds it: with the MMU
 *	off, orphans are not found
 *
 * A gathered region is alive, as the gather has a reference of it, and live regions do not
 * overlap. So a live entry that leads into it holds a reference of this very region. A
 * region that is not gathered yet is alive by the entry's own reference.
 *
 * Context: the entry's line is locked.
 * Return: NULL if there is no place.
 */
noinline struct iommu_user_held *
iommu_user_held_by(struct iommu_user_gather *g, unsigned long ua, int *err)
{
	struct mm_iommu_region *mem;
	unsigned int i;

	for (i = g->nr; i--; )
		if (region_covers(iommu_user_region(&g->held[i]), ua))
			return &g->held[i];

	if (g->nr == IOMMU_USER_HELD) {
		*err = IOMMU_USER_FULL;
		return NULL;
	}
	mem = mm_iommu_find(g->tbl->it_mm, ua);
	if (unlikely(!mem)) {
		*err = -EIO;
		return NULL;
	}
	g->held[g->nr].addr = (unsigned long)mem;
	g->held[g->nr].nr = 0;
	return &g->held[g->nr++];
}

/**
 * iommu_line_count() - gather what entries of locked lines hold
 * @g: gather, of a table whose entries hold regions (v2)
 * @view: first view word
 * @n: entries
 * @err: see iommu_user_held_by()
 *
 * Context: the lines are locked.
 * Return: how many entries are gathered; if not all, @err is the reason.
 */
noinline unsigned long iommu_line_count(struct iommu_user_gather *g, const u64 *view,
					unsigned long n, int *err)
{
	const struct mm_iommu_region *mem = NULL;
	struct iommu_user_held *held = NULL;
	unsigned long i;
	u64 old;

	for (i = 0; i < n; i++) {
		old = READ_ONCE(view[i]);
		if (!(old & IOMMU_VIEW_LIVE))
			continue;
		if (!mem || !region_covers(mem, old & IOMMU_VIEW_UA)) {
			held = iommu_user_held_by(g, old & IOMMU_VIEW_UA, err);
			if (unlikely(!held))
				break;
			mem = iommu_user_region(held);
		}
		held->nr++;
		g->live++;
	}
	return i;
}

/* ---- what is written into entries ---- */

/* How the next entry's target follows from an entry's */
enum source_kind {
	SOURCE_NONE,		/* entries are cleared */
	SOURCE_RUN,		/* contiguous memory */
	SOURCE_PAGES,		/* pages that follow in ua, wherever they are in memory */
	SOURCE_LIST,		/* pages of one region in any order */
};

/**
 * struct source - where the next entries are to lead
 * @word: view word of the next one (LIST: what is added to the list's address)
 * @tce: its TCE (LIST: what is added to the list's address)
 * @step: RUN: from one entry to the next, in both
 * @perm: PAGES, LIST: permission bits of TCEs
 * @dirty: PAGES, LIST: MM_IOMMU_DIRTY if the device may write
 * @mem: PAGES, LIST: the region
 * @page: PAGES: word of the next page
 * @left: PAGES: words from @page on
 * @list: LIST: the next address, less @delta
 * @delta: LIST: from the list's addresses to user addresses
 * @base: LIST: first address of the contiguous memory that was found last
 * @len: LIST: its length
 * @tces: LIST: TCEs of the next part of a line
 */
struct source {
	u64 word, tce, step;
	u64 perm, dirty;
	struct mm_iommu_region *mem;
	u64 *page;
	unsigned long left;
	const u64 *list;
	unsigned long delta, base, len;
	u64 *tces;
};

/* Find the contiguous memory around @addr of a list. False: it is not in the region. */
static __always_inline bool list_find(struct source *src, u64 addr)
{
	struct mm_iommu_region *mem = src->mem;
	unsigned long size = mem->end - mem->ua, pos = addr + src->delta - mem->ua;
	unsigned long ua, first, start, shift;
	u64 v, *w;

	if (unlikely(pos >= size))
		return false;
	ua = mem->ua + array_index_nospec(pos, size);
	w = mm_iommu_word(mem, ua, &v, &shift);
	if (unlikely(src->dirty & ~v))
		WRITE_ONCE(*w, v | src->dirty);
	first = ua & ~(BIT(shift) - 1);
	src->tce = (v & MM_IOMMU_HPA_MASK) - first + src->delta + src->perm;
	if (shift == PAGE_SHIFT) {
		src->base = first - src->delta;
		src->len = PAGE_SIZE;
		return true;
	}
	/* What a chunk's word covers, as far as it is in the region */
	start = max(first, mem->ua);
	src->base = start - src->delta;
	src->len = min(first + BIT(shift), mem->end) - start;
	return true;
}

/* Do all words of a line lie in [base, base + size)? */
static __always_inline bool line_within(const u64 *word, u64 base, u64 size)
{
	unsigned long i;

#pragma GCC unroll 16
	for (i = 0; i < IOMMU_VIEW_LINE; i++)
		if (unlikely(READ_ONCE(word[i]) - base >= size))
			return false;
	return true;
}

/* Translate up to @n addresses of the list; returns how many are in the region. */
static __always_inline unsigned long list_translate(struct source *src, unsigned long n)
{
	unsigned long base = src->base, len = src->len, i;
	u64 *tces = src->tces, tce = src->tce;
	const u64 *list = src->list;

	if (n == IOMMU_VIEW_LINE && line_within(list, base, len)) {
#pragma GCC unroll 16
		for (i = 0; i < IOMMU_VIEW_LINE; i++)
			tces[i] = tce + list[i];
		return i;
	}
	for (i = 0; i < n; i++) {
		if (list[i] - base >= len) {
			if (unlikely(!list_find(src, list[i])))
				break;
			base = src->base;
			len = src->len;
			tce = src->tce;
		}
		tces[i] = tce + list[i];
	}
	return i;
}

/* For how many of the next @n entries is it known where they lead? */
static __always_inline unsigned long
source_part(struct source *src, unsigned long n, const enum source_kind kind)
{
	if (kind == SOURCE_PAGES) {
		if (!src->left)
			src->page = mm_iommu_page_words(src->mem, src->word & IOMMU_VIEW_UA,
							&src->left);
		return src->page ? min(n, src->left) : 0;
	}
	if (kind == SOURCE_LIST)
		return list_translate(src, n);
	return n;
}

static __always_inline void
source_advance(struct source *src, unsigned long n, const enum source_kind kind)
{
	if (kind == SOURCE_PAGES) {
		src->page += n;
		src->left -= n;
	}
	if (kind == SOURCE_LIST)
		src->list += n;
}

/* Write entry @i of the part that @src is at. @lock: IOMMU_VIEW_LOCK in the head. */
static __always_inline void
entry_write(__be64 *tces, u64 *view, unsigned long i, struct source *src,
	    const enum source_kind kind, u64 lock)
{
	u64 tce, word, v;

	switch (kind) {
	case SOURCE_NONE:
		WRITE_ONCE(tces[i], 0);
		WRITE_ONCE(view[i], lock);
		return;
	case SOURCE_RUN:
		tce = src->tce;
		word = src->word;
		src->tce += src->step;
		src->word += src->step;
		break;
	case SOURCE_PAGES:
		v = READ_ONCE(src->page[i]);
		/* dirty-before-entry */
		if (unlikely(src->dirty & ~v))
			WRITE_ONCE(src->page[i], v | src->dirty);
		tce = (v & MM_IOMMU_HPA_MASK) | src->perm;
		word = src->word;
		src->word += PAGE_SIZE;
		break;
	case SOURCE_LIST:
		tce = src->tces[i];
		word = src->list[i] + src->word;
		break;
	}
	iommu_tce_store(&tces[i], tce);
	WRITE_ONCE(view[i], word | lock);
}

/* ---- changing lines ---- */

/**
 * struct expected - old entries that lead into the region gathered last: they are only counted
 * @g: the gather
 * @held: where they are counted: the element of the gather that was used last
 * @base: what the word of such an entry is at least
 * @size: all of them are below @base + @size. 0: nothing is gathered yet
 * @nr: how many were met, still to be added to @held
 */
struct expected {
	struct iommu_user_gather *g;
	struct iommu_user_held *held;
	u64 base, size;
	unsigned long nr;
};

static __always_inline void expected_load(struct expected *old, struct iommu_user_gather *g)
{
	const struct mm_iommu_region *mem;

	old->g = g;
	old->nr = 0;
	old->size = 0;
	old->held = NULL;
	old->base = 0;
	if (g->nr) {
		old->held = &g->held[g->nr - 1];
		mem = iommu_user_region(old->held);
		/* Clear words are below this, locked or not. */
		old->base = mem->ua | IOMMU_VIEW_LIVE;
		old->size = mem->end - mem->ua;
	}
}

static __always_inline void expected_store(struct expected *old)
{
	if (old->nr) {
		old->held->nr += old->nr;
		old->g->live += old->nr;
	}
}

/* Is all of a locked line as expected, live or clear? Then it is counted. */
static __always_inline bool
line_expected(const u64 *view, struct expected *old, const enum source_kind kind)
{
	if (READ_ONCE(*view) - old->base < old->size) {
		if (!line_within(view, old->base, old->size))
			return false;
		old->nr += IOMMU_VIEW_LINE;
		return true;
	}
	return kind != SOURCE_NONE && iommu_view_line_clear(view);
}

/*
 * Change the @n entries from @view on, of one locked line, as far as they can be gathered.
 * Returns how many are changed.
 */
static __always_inline unsigned long
line_change(__be64 *tces, u64 *view, unsigned long n, struct source *src,
	    struct expected *old, int *err, const enum source_kind kind)
{
	u64 *head = iommu_view_head(view);
	unsigned long i;
	int full = 0;

	if (likely(n == IOMMU_VIEW_LINE) && line_expected(view, old, kind)) {
#pragma GCC unroll 16
		for (i = 0; i < IOMMU_VIEW_LINE; i++)
			entry_write(tces, view, i, src, kind, i ? 0 : IOMMU_VIEW_LOCK);
		return n;
	}

	expected_store(old);
	n = iommu_line_count(old->g, view, n, &full);
	*err = full;
	expected_load(old, old->g);
	/* Not more is invalidated than is changed. */
	while (kind == SOURCE_NONE && n && !(READ_ONCE(view[n - 1]) & IOMMU_VIEW_LIVE))
		n--;
	for (i = 0; i < n; i++)
		entry_write(tces, view, i, src, kind, view + i == head ? IOMMU_VIEW_LOCK : 0);
	return n;
}

/**
 * leaf_change() - change entries of one leaf
 * @g: gather, of a table whose entries hold regions (v2) and are memory
 * @span: the leaf, from @entry on
 * @entry: first entry
 * @n: number of entries, all within @span
 * @src: where they are to lead
 * @err: reason not to have done them all; 0 also if @src does not know the next one
 * @kind: kind of @src; a constant
 *
 * Return: entries that are as wanted, from the first on.
 */
static __always_inline unsigned long
leaf_change(struct iommu_user_gather *g, const struct iommu_span *span, unsigned long entry,
	    unsigned long n, struct source *src, int *err, const enum source_kind kind)
{
	u64 *view = span->view, *end = view + n, *first = view, *last = NULL, *head;
	const long to_tce = (void *)span->tce - (void *)view;
	struct expected old;
	unsigned long k;
	int ret = 0;

	expected_load(&old, g);
	while (view < end && !ret) {
		/* Read without the lock: a concurrent setter comes after us. */
		if (kind == SOURCE_NONE && !(READ_ONCE(*view) & IOMMU_VIEW_LIVE)) {
			view++;
			continue;
		}
		head = iommu_view_head(view);
		k = source_part(src, min(end, head + IOMMU_VIEW_LINE) - view, kind);
		if (!k)
			break;
		ret = iommu_line_lock(head);
		if (unlikely(ret)) {
			/* Nothing is live in a leaf that is being freed: the entry is clear now. */
			if (kind != SOURCE_NONE || ret != -ENOENT)
				break;
			ret = 0;
			continue;
		}
		k = line_change((void *)view + to_tce, view, k, src, &old, &ret, kind);
		iommu_view_unlock(head);
		source_advance(src, k, kind);
		if (kind == SOURCE_NONE && !last)
			first = view;
		view += k;
		if (k)
			last = view;
	}
	expected_store(&old);
	if (last)
		iommu_user_gather_range(g, entry + (first - span->view), last - first);
	*err = ret;
	return view - span->view;
}

/* One function each: the loops need all registers. */
static noinline unsigned long
leaf_clear(struct iommu_user_gather *g, const struct iommu_span *span, unsigned long entry,
	   unsigned long n, int *err)
{
	struct source src __uninitialized;

	return leaf_change(g, span, entry, n, &src, err, SOURCE_NONE);
}

static noinline unsigned long
leaf_set_run(struct iommu_user_gather *g, const struct iommu_span *span, unsigned long entry,
	     unsigned long n, u64 word, u64 tce, int *err)
{
	struct source src = {
		.word = word,
		.tce = tce,
		.step = BIT(g->tbl->it_page_shift),
	};

	return leaf_change(g, span, entry, n, &src, err, SOURCE_RUN);
}

static noinline unsigned long
leaf_set_pages(struct iommu_user_gather *g, const struct iommu_span *span,
	       unsigned long entry, unsigned long n, struct mm_iommu_region *mem, u64 word,
	       int *err)
{
	struct source src = {
		.word = word,
		.mem = mem,
		.perm = iommu_user_word_perm(word),
		.dirty = word & IOMMU_VIEW_WRITE ? MM_IOMMU_DIRTY : 0,
	};

	return leaf_change(g, span, entry, n, &src, err, SOURCE_PAGES);
}

static noinline unsigned long
leaf_set_list(struct iommu_user_gather *g, const struct iommu_span *span,
	      unsigned long entry, unsigned long n, struct source *list, int *err)
{
	u64 tces[IOMMU_VIEW_LINE] __uninitialized;
	struct source src = *list;

	src.tces = tces;
	return leaf_change(g, span, entry, n, &src, err, SOURCE_LIST);
}

/* ---- ranges ---- */

/*
 * Set @n entries of one leaf to what follows @ua in @mem, where @word is the first's. The
 * caller holds @n references. Returns how many are set.
 */
static unsigned long leaf_map(struct iommu_user_gather *g, struct iommu_span *span,
			      unsigned long entry, unsigned long n,
			      struct mm_iommu_region *mem, u64 word, int *err)
{
	unsigned int shift = g->tbl->it_page_shift;
	unsigned long done = 0, k, words, ua;
	struct mm_iommu_run run __uninitialized;
	u64 perm = iommu_user_word_perm(word);

	while (done < n && !*err) {
		k = n - done;
		ua = word & IOMMU_VIEW_UA;
		if (shift == PAGE_SHIFT && mm_iommu_page_words(mem, ua, &words)) {
			k = leaf_set_pages(g, span, entry, k, mem, word, err);
		} else {
			k = min(k, mm_iommu_run_pages(mem, ua, shift, &run));
			if (!k) {
				*err = -EINVAL;
				break;
			}
			if (word & IOMMU_VIEW_WRITE)
				mm_iommu_mark_dirty(mem, ua, k << shift);
			k = leaf_set_run(g, span, entry, k, word, run.hpa | perm, err);
		}
		done += k;
		entry += k;
		word += k << shift;
		span->view += k;
		span->tce += k;
	}
	return done;
}

/* leaf_map() over leaves, and full gathers. Returns how many entries are set. */
static unsigned long leaves_map(struct iommu_user_gather *g, unsigned long entry,
				unsigned long n, struct mm_iommu_region *mem, u64 word,
				int *err)
{
	struct iommu_table *tbl = g->tbl;
	unsigned long done = 0;
	struct iommu_span span __uninitialized;

	while (done < n && !*err) {
		iommu_levels_walk(tbl, entry + done - tbl->it_offset, &span);
		if (unlikely(!span.view)) {
			*err = -ENOENT;
			break;
		}
		done += leaf_map(g, &span, entry + done, min(span.nr, n - done), mem,
				 word + (done << tbl->it_page_shift), err);
		if (*err == IOMMU_USER_FULL) {
			iommu_user_try_finish(g);
			*err = 0;
		}
	}
	return done;
}

/**
 * iommu_user_try_ready() - does a table take tries?
 * @tbl: the table
 * @set: entries are to be set, not to be cleared
 * @mmu_off: real mode
 *
 * Every try checks it; to be asked by callers that must know before they change another
 * table.
 *
 * Context: any.
 * Return: 0; -ENODEV if the table has been revoked; -EOPNOTSUPP if the table's TCEs are a
 * hypervisor's, if its entries hold pins (v1; clearing with the MMU off is tried), or, with
 * the MMU off, if the platform has no invalidation there or RCU does not wait for real
 * mode (context tracking).
 */
int iommu_user_try_ready(struct iommu_table *tbl, bool set, bool mmu_off)
{
	if (set && READ_ONCE(tbl->it_revoked))
		return -ENODEV;
	if (!tbl->it_view_off || (tbl->it_pins && (set || !mmu_off)))
		return -EOPNOTSUPP;
	if (mmu_off && (!tbl->it_ops->tce_kill_rm || context_tracking_enabled()))
		return -EOPNOTSUPP;
	return 0;
}
EXPORT_SYMBOL_GPL(iommu_user_try_ready);

static __always_inline void
entries_kill(struct iommu_table *tbl, unsigned long first, unsigned long n, bool mmu_off)
{
	if (mmu_off)
		tbl->it_ops->tce_kill_rm(tbl, first, n);
	else if (tbl->it_ops->tce_kill)
		tbl->it_ops->tce_kill(tbl, first, n);
}

/**
 * iommu_user_try_finish() - invalidate what was changed, then drop what it held
 * @g: gather without pins; empty and ready for more afterwards
 *
 * One invalidation over the whole range touched, in the form that the platform chooses.
 * Until it is complete a device may use the old translations.
 *
 * Context: section, or MMU off.
 */
void iommu_user_try_finish(struct iommu_user_gather *g)
{
	struct iommu_table *tbl = g->tbl;
	const struct iommu_user_held *held;

	if (g->end > g->first)
		entries_kill(tbl, g->first, g->end - g->first, g->mmu_off);
	/* Cannot fail: these references are the gather's. */
	for (held = g->held; held < g->held + g->nr; held++)
		mm_iommu_put(iommu_user_region(held), held->nr);
	g->first = ~0UL;
	g->end = 0;
	g->nr = 0;
}
EXPORT_SYMBOL_GPL(iommu_user_try_finish);

/**
 * iommu_user_try_map() - set a range of entries
 * @g: gather
 * @entry: first entry
 * @n: number of entries, IOMMU_USER_TRY at most
 * @ua: user address behind the first, a multiple of the IOMMU page size; contiguous
 *	from there
 * @dir: what the device may do
 *
 * One look-up and one reference update per region, one walk per leaf. Live entries are
 * replaced; what they held is gathered. A full gather is flushed.
 *
 * Context: section, or MMU off.
 * Return: 0, or why entry + @g->done is not set; see asm/iommu_user.h.
 */
int iommu_user_try_map(struct iommu_user_gather *g, unsigned long entry, unsigned long n,
		       unsigned long ua, enum dma_data_direction dir)
{
	struct iommu_table *tbl = g->tbl;
	struct mm_iommu_region *mem;
	unsigned long got, set;
	int err = iommu_user_try_ready(tbl, true, g->mmu_off);

	if (unlikely(ua & (BIT(tbl->it_page_shift) - 1)))
		err = err ?: -EINVAL;
	for (g->done = 0; !err && g->done < n; g->done += set) {
		mem = mm_iommu_find(tbl->it_mm, ua);
		if (unlikely(!mem))
			return -EFAULT;
		got = min(n - g->done, (mem->end - ua) >> tbl->it_page_shift);
		if (unlikely(!got))
			return -EINVAL;
		if (unlikely(!mm_iommu_get(mem, got)))
			return -ENXIO;
		set = leaves_map(g, entry + g->done, got, mem,
				 iommu_view_word(ua, dir != DMA_TO_DEVICE), &err);
		if (unlikely(set < got))
			mm_iommu_put(mem, got - set);
		ua += set << tbl->it_page_shift;
	}
	return err;
}
EXPORT_SYMBOL_GPL(iommu_user_try_map);

/*
 * Set up to @n entries to the addresses of a list, as long as they are in @src->mem, of
 * which the caller holds @n references. Returns how many are set.
 */
static unsigned long region_map_list(struct iommu_user_gather *g, unsigned long entry,
				     unsigned long n, struct source *src, int *err)
{
	struct iommu_table *tbl = g->tbl;
	struct iommu_span span __uninitialized;
	unsigned long done = 0, k, part;

	/* Where each entry must be checked on its own */
	if (tbl->it_page_shift > PAGE_SHIFT || src->mem->dev)
		return leaves_map(g, entry, 1, src->mem, src->word + *src->list, err);

	while (done < n && !*err) {
		iommu_levels_walk(tbl, entry + done - tbl->it_offset, &span);
		if (unlikely(!span.view)) {
			*err = -ENOENT;
			break;
		}
		part = min(span.nr, n - done);
		k = leaf_set_list(g, &span, entry + done, part, src, err);
		done += k;
		src->list += k;
		if (*err == IOMMU_USER_FULL) {
			iommu_user_try_finish(g);
			*err = 0;
		} else if (k < part) {
			break;
		}
	}
	return done;
}

/**
 * iommu_user_try_map_list() - set entries to pages that need not follow each other
 * @g: gather
 * @entry: first entry
 * @n: number of entries, IOMMU_USER_TRY at most
 * @list: where each is to lead, less @delta
 * @delta: to be added to each of @list for the user address, a multiple of the IOMMU
 *	page size then
 * @dir: what the device may do
 *
 * One look-up and one reference update for neighbours in one region.
 *
 * Context: section, or MMU off.
 * Return: 0, or why entry + @g->done is not set; see asm/iommu_user.h.
 */
int iommu_user_try_map_list(struct iommu_user_gather *g, unsigned long entry,
			    unsigned long n, const u64 *list, unsigned long delta,
			    enum dma_data_direction dir)
{
	struct iommu_table *tbl = g->tbl;
	struct source src __uninitialized;
	unsigned long left, set;
	u64 flags = iommu_view_word(0, dir != DMA_TO_DEVICE);
	int err = iommu_user_try_ready(tbl, true, g->mmu_off);

	src.delta = delta;
	/* @delta has low bits if the list has. */
	src.word = flags + delta;
	src.perm = iommu_user_word_perm(flags);
	src.dirty = flags & IOMMU_VIEW_WRITE ? MM_IOMMU_DIRTY : 0;
	for (g->done = 0; !err && g->done < n; g->done += set) {
		left = n - g->done;
		src.list = list + g->done;
		src.base = 0;
		src.len = 0;
		src.tce = 0;
		src.mem = mm_iommu_find(tbl->it_mm, *src.list + delta);
		if (unlikely(!src.mem))
			return -EFAULT;
		if (unlikely(!mm_iommu_get(src.mem, left)))
			return -ENXIO;
		set = region_map_list(g, entry + g->done, left, &src, &err);
		if (unlikely(set < left))
			mm_iommu_put(src.mem, left - set);
	}
	return err;
}
EXPORT_SYMBOL_GPL(iommu_user_try_map_list);

/* ---- pins (v1) with the MMU off ---- */

/**
 * iommu_line_leads_to() - does another entry of a line hold a pin of the same page?
 * @view: view word of an entry of a table whose entries hold pins; not looked at
 * @hpa: in the page
 *
 * Context: the line is locked.
 */
bool iommu_line_leads_to(const u64 *view, unsigned long hpa)
{
	const u64 *head = iommu_view_head((u64 *)view), *v;

	for (v = head; v < head + IOMMU_VIEW_LINE; v++)
		if (v != view && READ_ONCE(*v) & IOMMU_VIEW_LIVE &&
		    !((READ_ONCE(*v) ^ hpa) & PAGE_MASK))
			return true;
	return false;
}

/* Drop one pin, unless that needs virtual mode. */
static bool pin_drop(unsigned long hpa, bool dirty)
{
	struct page *head;

	/* gup neither counts pins of the zero page nor drops them */
	if (is_zero_pfn(hpa >> PAGE_SHIFT))
		return true;
	head = realmode_pfn_to_head(hpa >> PAGE_SHIFT);
	/* No DMA any more: if it is dirty now, then with what the device wrote. */
	if (!head || (dirty && !folio_test_dirty((struct folio *)head)))
		return false;
	return unpin_user_page_unless_last(head);
}

/*
 * Clear one entry that holds a pin. The line stays locked until the pin is dropped, as it
 * may turn out to be the page's last reference, or the page may have to be dirtied: then
 * the entry is put back.
 */
static int pinned_clear(struct iommu_table *tbl, __be64 *tce, u64 *view, unsigned long entry)
{
	u64 *head = iommu_view_head(view), old, was;
	int ret;

	if (!(READ_ONCE(*view) & IOMMU_VIEW_LIVE))
		return 0;
	/* Several pages' pins cannot be dropped as one. */
	if (tbl->it_page_shift > PAGE_SHIFT)
		return -EOPNOTSUPP;
	ret = iommu_line_lock(head);
	if (ret)
		return ret == -ENOENT ? 0 : ret;
	old = iommu_view_get(view);
	if (!(old & IOMMU_VIEW_LIVE))
		goto unlock;

	was = iommu_tce_load(tce);
	iommu_tce_store(tce, 0);
	tbl->it_ops->tce_kill_rm(tbl, entry, 1);
	if (pin_drop(was & IOMMU_LINK_PA, old & IOMMU_VIEW_WRITE)) {
		iommu_view_set(view, 0);
		if (iommu_user_pins_small(tbl) && !iommu_line_leads_to(view, was))
			atomic_long_inc(&tbl->it_pin_room);
		ret = 1;
	} else {
		/* Still pinned, and nobody else could change it: put it back. */
		iommu_tce_store(tce, was);
		tbl->it_ops->tce_kill_rm(tbl, entry, 1);
		ret = -EOPNOTSUPP;
	}
unlock:
	iommu_view_unlock(head);
	return ret;
}

/* Clear up to @n entries of one leaf that hold pins. Returns how many are clear. */
static unsigned long leaf_clear_pinned(struct iommu_user_gather *g,
				       const struct iommu_span *span, unsigned long entry,
				       unsigned long n, int *err)
{
	unsigned long i;
	int ret;

	for (i = 0; i < n; i++) {
		ret = pinned_clear(g->tbl, span->tce + i, span->view + i, entry + i);
		if (ret < 0) {
			*err = ret;
			break;
		}
		g->live += ret;
	}
	return i;
}

/**
 * iommu_user_try_unmap() - clear a range of entries
 * @g: gather
 * @entry: first entry
 * @n: number of entries, IOMMU_USER_TRY at most
 *
 * What live entries held is gathered. A full gather is flushed. A pin (v1, MMU off) is
 * dropped at once, unless it is the page's last reference: -EOPNOTSUPP.
 *
 * Context: section, or MMU off.
 * Return: 0, or why entry + @g->done is not clear; see asm/iommu_user.h.
 */
int iommu_user_try_unmap(struct iommu_user_gather *g, unsigned long entry, unsigned long n)
{
	struct iommu_table *tbl = g->tbl;
	struct iommu_span span __uninitialized;
	unsigned long k;
	int err = iommu_user_try_ready(tbl, false, g->mmu_off);

	for (g->done = 0; !err && g->done < n; g->done += k) {
		iommu_levels_walk(tbl, entry + g->done - tbl->it_offset, &span);
		k = min(span.nr, n - g->done);
		if (!span.view)
			continue;
		if (unlikely(tbl->it_pins))
			k = leaf_clear_pinned(g, &span, entry + g->done, k, &err);
		else
			k = leaf_clear(g, &span, entry + g->done, k, &err);
		if (err == IOMMU_USER_FULL) {
			iommu_user_try_finish(g);
			err = 0;
		}
	}
	return err;
}
EXPORT_SYMBOL_GPL(iommu_user_try_unmap);

/* ---- one entry ---- */

/* A device may write to the IOMMU page at @ua from now on: dirty-before-entry */
static __always_inline void
one_dirty(struct iommu_table *tbl, struct mm_iommu_region *mem, unsigned long ua,
	  const struct mm_iommu_run *run)
{
	u64 v;

	if (unlikely(tbl->it_page_shift > run->shift)) {
		mm_iommu_mark_dirty(mem, ua, BIT(tbl->it_page_shift));
		return;
	}
	v = READ_ONCE(*run->word);
	if (!(v & MM_IOMMU_DIRTY))
		WRITE_ONCE(*run->word, v | MM_IOMMU_DIRTY);
}

/*
 * May an entry with view word @old, whose line is locked, get @word? That leads into @mem, by
 * *@tce; without @mem the entry is to be cleared. Returns whether it is live, or why not. On
 * success the new entry has its reference, and *@drop is the region of which the old entry holds
 * one that the new entry has no use for.
 */
static __always_inline int
one_judge(struct iommu_table *tbl, u64 old, u64 word, struct mm_iommu_region *mem, u64 *tce,
	  struct mm_iommu_region **drop)
{
	unsigned long ua = word & IOMMU_VIEW_UA;
	struct mm_iommu_run run __uninitialized;
	struct mm_iommu_region *held = NULL;
	bool keep = false;

	if (mem) {
		/* region-words: its @mapped was read before the lock was taken */
		if (unlikely(!mm_iommu_run_pages(mem, ua, tbl->it_page_shift, &run)))
			return -EINVAL;
		*tce = run.hpa | iommu_user_word_perm(word);
	}
	if (old & IOMMU_VIEW_LIVE) {
		/* Live regions do not overlap: then the old entry has what the new one needs. */
		keep = mem && region_covers(mem, old & IOMMU_VIEW_UA) &&
		       atomic64_read(&mem->mapped);
		if (!keep) {
			held = mm_iommu_find(tbl->it_mm, old & IOMMU_VIEW_UA);
			if (unlikely(!held))
				return -EIO;
		}
	}
	/* reference-before-entry: the line's unlocking comes between */
	if (mem && !keep && unlikely(!mm_iommu_get_relaxed(mem, 1)))
		return -ENXIO;
	if (word & IOMMU_VIEW_WRITE)
		one_dirty(tbl, mem, ua, &run);
	*drop = held;
	return FIELD_GET(IOMMU_VIEW_LIVE, old);
}

static void fill_one(void *arg, __be64 *list, unsigned long n)
{
	list[0] = cpu_to_be64(*(u64 *)arg);
}

/*
 * Lock the line, judge, change the entry, unlock. @call: the TCE is a hypervisor's. If its call
 * fails, the entry is as it was, and *@drop is the reference that was taken for @word, or NULL.
 */
static __always_inline int
one_change(struct iommu_table *tbl, unsigned long entry, const struct iommu_span *span, u64 word,
	   struct mm_iommu_region *mem, struct mm_iommu_region **drop, const bool call)
{
	u64 *head = iommu_view_head(span->view), tce = 0;
	int ret = iommu_line_lock(head), err;

	if (unlikely(ret))
		/* Nothing is live in a leaf that is being freed. */
		return ret == -ENOENT && !mem ? 0 : ret;
	ret = one_judge(tbl, READ_ONCE(*span->view), word, mem, &tce, drop);
	if (unlikely(ret < 0 || (!ret && !mem)))
		goto unlock;
	if (call) {
		err = tbl->it_ops->set_user(tbl, entry, 1, mem ? fill_one : NULL, &tce);
		if (unlikely(err)) {
			*drop = ret && !*drop ? NULL : mem;
			/* The slow path tries again, and says why. */
			ret = err == -EAGAIN ? err : -EOPNOTSUPP;
			goto unlock;
		}
	} else {
		iommu_tce_store(span->tce, tce);
	}
	iommu_view_set_unlock(span->view, word);
	return ret;
unlock:
	iommu_view_unlock(head);
	return ret;
}

/*
 * All of an operation on one entry: see iommu_user_try_map_one(). @set: it gets @word, else it is
 * cleared. @call: its TCE is a hypervisor's.
 */
static __always_inline int
one_entry(struct iommu_table *tbl, unsigned long entry, u64 word, const bool set,
	  const bool call, bool mmu_off)
{
	struct mm_iommu_region *mem = NULL, *drop = NULL;
	struct iommu_span span __uninitialized;
	int ret;

	iommu_levels_walk(tbl, entry - tbl->it_offset, &span);
	if (unlikely(!span.view))
		return set ? -ENOENT : 0;
	if (set) {
		mem = mm_iommu_find(tbl->it_mm, word & IOMMU_VIEW_UA);
		if (unlikely(!mem))
			return -EFAULT;
		if (unlikely(!atomic64_read(&mem->mapped)))
			return -ENXIO;
	} else {
		if (!(READ_ONCE(*span.view) & IOMMU_VIEW_LIVE))
			return 0;
		if (unlikely(tbl->it_pins))
			return pinned_clear(tbl, span.tce, span.view, entry);
	}
	ret = one_change(tbl, entry, &span, word, mem, &drop, call);
	if (likely(set ? ret >= 0 : ret > 0)) {
		entries_kill(tbl, entry, 1, mmu_off);
		/* Not before the invalidation is over. A cleared entry always had a region. */
		if (!set || drop)
			mm_iommu_put(drop, 1);
	} else if (call && drop) {
		mm_iommu_put(drop, 1);
	}
	return ret;
}

/*
 * What iommu_user_try_ready() refused with @err is done here, if the TCEs are a hypervisor's: by
 * one hypercall. @word is 0 to clear the entry.
 */
static noinline int one_hypercall(struct iommu_table *tbl, unsigned long entry, u64 word,
				  bool mmu_off, int err)
{
	if (err != -EOPNOTSUPP || mmu_off || tbl->it_view_off || tbl->it_pins)
		return err;
	return one_entry(tbl, entry, word, word, true, false);
}

/**
 * iommu_user_try_map_one() - set one entry
 * @tbl: the table
 * @entry: the entry
 * @word: iommu_view_word() of the user address it is to lead to, a multiple of the IOMMU
 *	page size
 * @mmu_off: real mode
 *
 * A whole operation, from the reference to the drop after the invalidation, without a
 * gather: there is nothing to gather. In virtual mode also for a hypervisor's TCE (v2), by one
 * hypercall.
 *
 * Context: section, or MMU off.
 * Return: 1 if the entry was live before, 0 if it was clear. Or why nothing was changed,
 * see asm/iommu_user.h.
 */
int iommu_user_try_map_one(struct iommu_table *tbl, unsigned long entry, u64 word, bool mmu_off)
{
	int err = iommu_user_try_ready(tbl, true, mmu_off);

	if (unlikely(err))
		return one_hypercall(tbl, entry, word, mmu_off, err);
	return one_entry(tbl, entry, word, true, false, mmu_off);
}
EXPORT_SYMBOL_GPL(iommu_user_try_map_one);

/**
 * iommu_user_try_unmap_one() - clear one entry
 * @tbl: the table
 * @entry: the entry
 * @mmu_off: real mode
 *
 * See iommu_user_try_map_one().
 *
 * Context: section, or MMU off.
 * Return: 1 if the entry was live before, 0 if it was clear. Or why nothing was changed,
 * see asm/iommu_user.h.
 */
int iommu_user_try_unmap_one(struct iommu_table *tbl, unsigned long entry, bool mmu_off)
{
	int err = iommu_user_try_ready(tbl, false, mmu_off);

	if (unlikely(err))
		return one_hypercall(tbl, entry, 0, mmu_off, err);
	return one_entry(tbl, entry, 0, false, false, mmu_off);
}
EXPORT_SYMBOL_GPL(iommu_user_try_unmap_one);
