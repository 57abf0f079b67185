// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * User-owned TCE entries in virtual mode.
 *
 * The protocol and its invariant are told in asm/iommu_user.h, how an entry is
 * changed in iommu_user_core.h. What is added here: finding leaves and making
 * them, pinning, dropping what was gathered, and revoking a table.
 *
 * Work on ranges is cut into sections of at most IOMMU_USER_BATCH entries of one leaf.
 * A section is an RCU read side and not preempted, so that
 *
 *   - what the walk found stays (iommu_levels.c frees after a grace period);
 *   - who waits for an entry's lock never waits for somebody who sleeps;
 *   - after it_revoked has been set and a grace period has passed, no section
 *     that still took the table for good is under way.
 *
 * No lock is taken but the entries' lock bits, and tbl->it_grow inside
 * iommu_levels_grow(). Pinning takes mmap_lock inside gup. None nests in another.
 */
#include <linux/export.h>
#include <linux/kernel.h>
#include <linux/mm.h>
#include <linux/preempt.h>
#include <linux/rcupdate.h>
#include <linux/sched.h>
#include <linux/sched/signal.h>
#include <linux/vmstat.h>
#include "../mm/book3s64/mm_iommu_core.h"
#include "iommu_user_core.h"

#define IOMMU_USER_BATCH	512UL

/* Entries set between two looks for a fatal signal */
#define IOMMU_USER_SIGNAL	BIT(16)

/* Pages pinned at a time, on the stack */
#define IOMMU_USER_PINS		32UL

/* ---- v1: page pins ---- */

/*
 * Drop the pins of @n entries from @hpa on: one per kernel page, or one per IOMMU
 * page if that is the smaller.
 */
static void pins_drop(struct iommu_table *tbl, unsigned long hpa,
		      unsigned long n, bool dirty)
{
	unsigned int shift = tbl->it_page_shift;
	struct page *page[PAGE_SIZE >> IOMMU_PAGE_SHIFT_4K];
	unsigned long i, k;

	if (shift >= PAGE_SHIFT) {
		unpin_user_page_range_dirty_lock(pfn_to_page(hpa >> PAGE_SHIFT),
						 n << (shift - PAGE_SHIFT), dirty);
		return;
	}
	for (; n; n -= k, hpa += k << shift) {
		k = min(n, (PAGE_SIZE - offset_in_page(hpa)) >> shift);
		for (i = 0; i < k; i++)
			page[i] = pfn_to_page(hpa >> PAGE_SHIFT);
		unpin_user_pages_dirty_lock(page, k, dirty);
	}
}

/* @more pins on a page that has one of ours. */
static int page_pin_more(struct page *page, unsigned long more)
{
	struct folio *folio = page_folio(page);
	unsigned long i;

	if (is_zero_folio(folio))
		return 0;
	/* The count of a small page has room for a million pins: not beyond half. */
	if (folio_ref_count(folio) < 0 || folio_ref_count(folio) > INT_MAX / 2)
		return -ENOMEM;
	for (i = 0; i < more; i++)
		folio_add_pin(folio);
	mod_node_page_state(page_pgdat(page), NR_FOLL_PIN_ACQUIRED, more);
	return 0;
}

/*
 * Pin up to @max pages from @ua on, as far as they are contiguous. Returns how
 * many, which is not 0, or -errno.
 */
static long pages_pin(unsigned long ua, unsigned long max, bool write,
		      struct page **first)
{
	unsigned int gup = FOLL_LONGTERM | (write ? FOLL_WRITE : 0);
	struct page *page[IOMMU_USER_PINS];
	unsigned long have = 0;
	long got, i;

	while (have < max) {
		got = pin_user_pages_fast(ua + (have << PAGE_SHIFT),
					  min(max - have, IOMMU_USER_PINS), gup,
					  page);
		if (got <= 0)
			return have ? have : got ?: -EFAULT;
		if (!have)
			*first = page[0];
		for (i = 0; i < got; i++, have++)
			if (page_to_pfn(page[i]) != page_to_pfn(*first) + have)
				break;
		if (i < got) {
			unpin_user_pages(page + i, got - i);
			break;
		}
		if (fatal_signal_pending(current))
			break;
		cond_resched();
	}
	return have;
}

/* iommu_user_get() of a table whose entries hold pins */
static long pins_get(struct iommu_table *tbl, unsigned long ua,
		     unsigned long size, bool write, unsigned long *hpa)
{
	unsigned int shift = tbl->it_page_shift;
	unsigned long mask = BIT(shift) - 1;
	unsigned long off = offset_in_page(ua), bytes, n, done;
	struct page *first;
	long pages;
	int ret;

	if (!tbl->it_mm || tbl->it_mm != current->mm)
		return -EPERM;
	/* One batch, or one IOMMU page if that is more: the caller comes again. */
	size = min(size, max(IOMMU_USER_PINS << PAGE_SHIFT, mask + 1));
	pages = pages_pin(ua & PAGE_MASK, PAGE_ALIGN(off + size) >> PAGE_SHIFT,
			  write, &first);
	if (pages <= 0)
		return pages;

	*hpa = page_to_phys(first) + off;
	bytes = min(size, ((unsigned long)pages << PAGE_SHIFT) - off) & ~mask;
	if (!bytes || ((ua | *hpa) & mask)) {
		unpin_user_page_range_dirty_lock(first, pages, false);
		return -EINVAL;
	}
	if (shift >= PAGE_SHIFT) {
		n = bytes >> PAGE_SHIFT;
		if (n < pages)
			unpin_user_page_range_dirty_lock(pfn_to_page(page_to_pfn(first) + n),
							 pages - n, false);
		return bytes;
	}

	/* Smaller IOMMU pages: as many pins of a page as it has entries here. */
	for (done = 0; done < bytes; done += n << shift) {
		n = min(bytes - done, PAGE_SIZE - offset_in_page(*hpa + done)) >> shift;
		ret = page_pin_more(pfn_to_page((*hpa + done) >> PAGE_SHIFT), n - 1);
		if (!ret)
			continue;
		n = (off + done) >> PAGE_SHIFT;
		unpin_user_page_range_dirty_lock(pfn_to_page(page_to_pfn(first) + n),
						 pages - n, false);
		if (!done)
			return ret;
		break;
	}
	return done;
}

/* ---- references ---- */

/**
 * iommu_user_get() - translate for entries to be set, and hold what they need
 * @tbl: the table
 * @ua: user address, a multiple of the IOMMU page size
 * @size: bytes wanted from there, a multiple of the IOMMU page size, not 0
 * @write: the device may write
 * @hpa: host physical address of @ua on success
 *
 * Takes one reference (v2: @mapped of the region; v1: page pins) for each IOMMU page
 * of the answer, which iommu_user_set() takes over and iommu_user_put() gives back.
 * The answer ends where physical contiguity or the region does: call again from there.
 * Contiguity is that of what is pinned, not of a page table.
 *
 * Context: v2: any in virtual mode. v1: may sleep, in the table's mm.
 * Return: bytes, a positive multiple of the IOMMU page size; -EFAULT if nothing is
 * registered (v2) or can be pinned (v1) there; -EINVAL if the memory is not contiguous
 * and aligned enough for one IOMMU page; -ENXIO if the region is on its way in or out;
 * -EPERM in a foreign mm (v1); -ENOMEM.
 */
long iommu_user_get(struct iommu_table *tbl, unsigned long ua,
		    unsigned long size, bool write, unsigned long *hpa)
{
	if (tbl->it_pins)
		return pins_get(tbl, ua, size, write, hpa);
	guard(rcu)();
	return mm_iommu_map_get(tbl->it_mm, ua, size, tbl->it_page_shift, write, hpa);
}
EXPORT_SYMBOL_GPL(iommu_user_get);

static void regions_put(struct iommu_table *tbl, unsigned long ua, unsigned long n)
{
	/* An entry's reference keeps the region in the index: it is found. */
	guard(rcu)();
	WARN_ON_ONCE(mm_iommu_map_put(tbl->it_mm, ua, n));
}

/**
 * iommu_user_put() - give back references that were not set
 * @tbl: the table
 * @ua: where they start
 * @hpa: the translation of @ua by iommu_user_get()
 * @n: IOMMU pages
 * @write: as in iommu_user_get()
 *
 * No device has seen these pages, so nothing is dirtied.
 *
 * Context: v2: any in virtual mode. v1: may sleep.
 */
void iommu_user_put(struct iommu_table *tbl, unsigned long ua,
		    unsigned long hpa, unsigned long n, bool write)
{
	if (!n)
		return;
	if (tbl->it_pins)
		pins_drop(tbl, hpa, n, false);
	else
		regions_put(tbl, ua, n);
}
EXPORT_SYMBOL_GPL(iommu_user_put);

/* ---- entries ---- */

/**
 * iommu_user_finish() - invalidate what was changed, then drop what it held
 * @g: the gather; empty and ready for more afterwards
 *
 * One invalidation over the whole range touched: the platform picks its form. Until
 * it is complete a device may go on using the old translations, so nothing is
 * unpinned or released before.
 *
 * Context: may sleep.
 */
void iommu_user_finish(struct iommu_user_gather *g)
{
	struct iommu_table *tbl = g->tbl;
	const struct iommu_user_run *run;

	if (g->end > g->first && tbl->it_ops->tce_kill)
		tbl->it_ops->tce_kill(tbl, g->first, g->end - g->first);

	for (run = g->run; run < g->run + g->nr; run++) {
		if (run->flags & IOMMU_VIEW_PIN) {
			pins_drop(tbl, run->addr, run->nr,
				  run->flags & IOMMU_VIEW_WRITE);
		} else {
			guard(rcu)();
			WARN_ON_ONCE(mm_iommu_put(iommu_user_region(run), run->nr));
		}
		cond_resched();
	}
	iommu_user_begin(g, tbl);
}
EXPORT_SYMBOL_GPL(iommu_user_finish);

static void section_enter(void)
	__acquires(RCU)
{
	preempt_disable();
	rcu_read_lock();
}

static void section_leave(void)
	__releases(RCU)
{
	rcu_read_unlock();
	preempt_enable();
}

/* Where the memory is that entries are to lead to */
struct source {
	unsigned long ua;
	unsigned long hpa;		/* contiguous there, if @mem is NULL */
	struct mm_iommu_region *mem;
	enum dma_data_direction dir;
};

/*
 * iommu_user_swap() with the addresses from the words of a region's pages. No device
 * writes to a page whose word is not dirty yet: marked before the entry is set.
 */
static noinline unsigned long
pages_swap(__be64 *tce, u64 *view, unsigned long n, u64 expect, u64 estep,
	   u64 word, u64 *page, u64 perm)
{
	u64 dirty = perm & TCE_PCI_WRITE ? MM_IOMMU_DIRTY : 0, hpa;
	unsigned long i;

	for (i = 0; i < n; i++) {
		hpa = READ_ONCE(page[i]);
		if (unlikely(dirty & ~hpa))
			WRITE_ONCE(page[i], hpa | dirty);
		if (!iommu_user_trylock(&view[i], expect))
			break;
		iommu_tce_store(&tce[i], (hpa & MM_IOMMU_HPA_MASK) | perm);
		iommu_user_unlock(&view[i], word);
		expect += estep;
		word += PAGE_SIZE;
	}
	return i;
}

/*
 * The fast path for memory that is not contiguous: sets entries as long as they are
 * like the first, clear or live in a row, and the region's chunks are scattered.
 * Returns how many that were, possibly none.
 */
static __always_inline unsigned long
section_set_pages(struct iommu_user_gather *g, const struct iommu_span *span,
		  unsigned long entry, unsigned long n, const struct source *src,
		  unsigned long ua)
{
	u64 old = READ_ONCE(*span->view), expect = old, step;
	u64 word = iommu_user_word(g->tbl, ua, src->dir);
	u64 perm = iommu_user_perm(src->dir), *page;
	struct mm_iommu_region *was;
	struct iommu_user_run *run = NULL;
	unsigned long done = 0, k, set;

	if (g->tbl->it_page_shift != PAGE_SHIFT || !span->tce ||
	    (old && !(old & IOMMU_VIEW_LIVE)) ||
	    (old & (IOMMU_VIEW_LOCK | IOMMU_VIEW_PIN)) ||
	    g->nr == IOMMU_USER_RUNS)
		return 0;
	step = old ? PAGE_SIZE : 0;
	if (old) {
		/* What they hold must be of one region that is gathered already. */
		run = iommu_user_gathered(g, old & IOMMU_VIEW_UA);
		if (!run)
			return 0;
		was = iommu_user_region(run);
		n = min(n, (was->end - (old & IOMMU_VIEW_UA)) >> PAGE_SHIFT);
	}

	do {
		page = mm_iommu_page_words(src->mem, ua, &k);
		if (!page)
			break;
		k = min(k, n - done);
		set = pages_swap(span->tce + done, span->view + done, k, expect, step,
				 word, page, perm);
		done += set;
		ua += set << PAGE_SHIFT;
		word += set << PAGE_SHIFT;
		expect += set * step;
	} while (set == k && done < n);

	if (done) {
		iommu_user_gather_range(g, entry, done);
		if (run)
			iommu_user_gather_more(g, run, done);
	}
	return done;
}

/*
 * One section's work: set up to @n entries from @entry on, in one leaf. Returns how
 * many; *@err is 0 if they are all, or if it is just worth while to come again.
 */
static __always_inline unsigned long
section_set(struct iommu_user_gather *g, struct iommu_span *span,
	    unsigned long entry, unsigned long n, const struct source *src,
	    unsigned long ua, unsigned long hpa, int *err)
{
	unsigned int shift = g->tbl->it_page_shift;
	struct iommu_user_new new = {
		.word = iommu_user_word(g->tbl, ua, src->dir),
		.hpa = hpa,
		.perm = iommu_user_perm(src->dir),
		.step = BIT(shift),
		.dir = src->dir,
	};
	unsigned long live = 0, done;
	long ret;

	if (src->mem) {
		done = section_set_pages(g, span, entry, n, src, ua);
		if (done) {
			*err = 0;
			return done;
		}
		ret = mm_iommu_run_get(src->mem, ua, n << shift, shift,
				       src->dir != DMA_TO_DEVICE,
				       (unsigned long *)&new.hpa);
		if (ret < 0) {
			*err = ret;
			return 0;
		}
		n = (unsigned long)ret >> shift;
	}
	return iommu_user_change(g, span, entry, n, &new, &live, err, false, false);
}

/* Set @n entries; returns how many are, and why not all in *@err. */
static unsigned long entries_set(struct iommu_user_gather *g, unsigned long entry,
				 unsigned long n, const struct source *src, int *err)
{
	struct iommu_table *tbl = g->tbl;
	unsigned long idx = entry - tbl->it_offset, done = 0;
	struct iommu_span span;

	for (;;) {
		section_enter();
		*err = -ENODEV;
		if (likely(!READ_ONCE(tbl->it_revoked))) {
			iommu_levels_walk(tbl, idx + done, &span);
			*err = IOMMU_USER_STALE;
			if (likely(span.view))
				done += section_set(g, &span, entry + done,
						    min3(span.nr, n - done,
							 IOMMU_USER_BATCH),
						    src,
						    src->ua + (done << tbl->it_page_shift),
						    src->hpa + (done << tbl->it_page_shift),
						    err);
		}
		section_leave();

		if (*err == IOMMU_USER_FULL) {
			iommu_user_finish(g);
			*err = 0;
		} else if (*err == IOMMU_USER_STALE) {
			*err = iommu_levels_grow(tbl, idx + done);
		}
		if (*err || done == n)
			return done;
		cond_resched();
	}
}

/**
 * iommu_user_set() - install entries whose references the caller holds
 * @g: gather
 * @entry: first entry
 * @n: number of entries, contiguous in @ua and @hpa; not 0
 * @ua: user address behind the first
 * @hpa: its translation by iommu_user_get()
 * @dir: what the device may do
 *
 * Live entries are replaced; what they held is gathered. Missing levels are made.
 * When the gather is full it is flushed.
 *
 * Context: may sleep, reschedules; not under mmap_lock.
 * Return: how many entries are set; their references are theirs now, the others still
 * the caller's. If none: -ENOMEM for a level (or its charge), -ENODEV if the table
 * has been revoked, -EIO and others from a hypervisor.
 */
long iommu_user_set(struct iommu_user_gather *g, unsigned long entry,
		    unsigned long n, unsigned long ua, unsigned long hpa,
		    enum dma_data_direction dir)
{
	struct source src = { .ua = ua, .hpa = hpa, .dir = dir };
	unsigned long done;
	int err;

	done = entries_set(g, entry, n, &src, &err);
	return done ? done : err;
}
EXPORT_SYMBOL_GPL(iommu_user_set);

/* Map as much of the range as lies in one region; *@done grows by what is set. */
static int regions_map(struct iommu_user_gather *g, unsigned long entry,
		       unsigned long n, unsigned long ua,
		       enum dma_data_direction dir, unsigned long *done)
{
	struct iommu_table *tbl = g->tbl;
	unsigned int shift = tbl->it_page_shift;
	struct source src = { .dir = dir };
	unsigned long got, set, k, part;
	int err = 0;
	long ret;

	rcu_read_lock();
	ret = mm_iommu_map_get_range(tbl->it_mm, ua, n << shift, shift, &src.mem);
	rcu_read_unlock();
	if (ret < 0)
		return ret;
	got = (unsigned long)ret >> shift;

	for (set = 0; !err && set < got; set += k) {
		src.ua = ua + (set << shift);
		part = min(got - set, IOMMU_USER_SIGNAL);
		k = entries_set(g, entry + set, part, &src, &err);
		if (!err && fatal_signal_pending(current))
			err = -EINTR;
	}
	*done += set;
	if (set < got)
		regions_put(tbl, ua + (set << shift), got - set);
	return err;
}

/* The same for page pins, for one contiguous run of at most *@ask entries */
static int pins_map(struct iommu_user_gather *g, unsigned long entry,
		    unsigned long n, unsigned long ua,
		    enum dma_data_direction dir, unsigned long *done,
		    unsigned long *ask)
{
	unsigned int shift = g->tbl->it_page_shift;
	struct source src = { .ua = ua, .dir = dir };
	bool write = dir != DMA_TO_DEVICE;
	unsigned long got, set;
	int err = 0;
	long ret;

	/* Seen again where it counts; here, that nothing is pinned for nothing. */
	if (READ_ONCE(g->tbl->it_revoked))
		return -ENODEV;
	n = min(n, *ask);
	ret = pins_get(g->tbl, ua, n << shift, write, &src.hpa);
	if (ret < 0)
		return ret;
	got = (unsigned long)ret >> shift;
	/* As much as was contiguous, then more: the rest would be pinned in vain. */
	*ask = got < n ? got : 2 * got;

	set = entries_set(g, entry, got, &src, &err);
	*done += set;
	iommu_user_put(g->tbl, ua + (set << shift), src.hpa + (set << shift),
		       got - set, write);
	if (!err && fatal_signal_pending(current))
		err = -EINTR;
	return err;
}

/**
 * iommu_user_map() - get and set a range
 * @g: gather
 * @entry: first entry
 * @n: number of entries
 * @ua: user address behind the first; contiguous from there
 * @dir: what the device may do
 * @done: how many entries from the first on are set, on error too
 *
 * One look-up and one reference update per region, one walk per leaf. On error the
 * caller decides what becomes of the entries that are set.
 *
 * Context: may sleep, reschedules; not under mmap_lock. v1: in the table's mm.
 * Return: 0, -EINTR on a fatal signal, or see iommu_user_get() and iommu_user_set().
 */
int iommu_user_map(struct iommu_user_gather *g, unsigned long entry,
		   unsigned long n, unsigned long ua,
		   enum dma_data_direction dir, unsigned long *done)
{
	struct iommu_table *tbl = g->tbl;
	unsigned long at, ask = 1;
	int err = 0;

	for (*done = 0; !err && *done < n; ) {
		at = ua + (*done << tbl->it_page_shift);
		if (tbl->it_pins)
			err = pins_map(g, entry + *done, n - *done, at, dir, done,
				       &ask);
		else
			err = regions_map(g, entry + *done, n - *done, at, dir, done);
	}
	return err;
}
EXPORT_SYMBOL_GPL(iommu_user_map);

/**
 * iommu_user_map_list() - set entries to pages that need not follow each other
 * @g: gather
 * @entry: first entry
 * @n: number of entries, 512 at most; not 0
 * @list: where each is to lead, less @delta; all in one region
 * @delta: to be added to each of @list for the user address, a multiple of the IOMMU
 *	page size then
 * @dir: what the device may do
 *
 * One look-up and one reference update for all of them. It does what is simple, and stops
 * at what is not: pins, device memory, IOMMU pages larger than the kernel's, a
 * hypervisor's entries, a missing level, a contended entry, an old entry of another
 * region than was gathered last. Do that one with iommu_user_map() and come again.
 *
 * Context: any in virtual mode. Never waits.
 * Return: how many entries from the first on are set.
 */
unsigned long iommu_user_map_list(struct iommu_user_gather *g, unsigned long entry,
				  unsigned long n, const u64 *list, unsigned long delta,
				  enum dma_data_direction dir)
{
	unsigned long done;

	section_enter();
	done = __iommu_user_map_list(g, entry, n, list, delta, dir, false);
	section_leave();
	return done;
}
EXPORT_SYMBOL_GPL(iommu_user_map_list);

/**
 * iommu_user_unmap() - clear a range
 * @g: gather; flushed when full
 * @entry: first entry
 * @n: number of entries
 *
 * Levels that don't exist are skipped as a whole. Never fails for VFIO on bare
 * metal; an entry that a hypervisor refuses to clear stays, with what it holds.
 *
 * Context: may sleep, reschedules.
 * Return: how many entries were live.
 */
long iommu_user_unmap(struct iommu_user_gather *g, unsigned long entry,
		      unsigned long n)
{
	static const struct iommu_user_new new = { .dir = DMA_NONE };
	struct iommu_table *tbl = g->tbl;
	unsigned long idx = entry - tbl->it_offset, done = 0, live = 0, k;
	struct iommu_span span;
	int err;

	while (done < n) {
		err = 0;
		section_enter();
		iommu_levels_walk(tbl, idx + done, &span);
		k = min(span.nr, n - done);
		if (span.view)
			k = iommu_user_change(g, &span, entry + done,
					      min(k, IOMMU_USER_BATCH), &new,
					      &live, &err, true, false);
		section_leave();

		done += k;
		if (err == IOMMU_USER_FULL)
			iommu_user_finish(g);
		else if (err)
			done++;
		cond_resched();
	}
	return live;
}
EXPORT_SYMBOL_GPL(iommu_user_unmap);

/**
 * iommu_user_revoke() - let nobody set entries of a table any more
 * @tbl: the table, of which the caller holds a reference
 *
 * When this returns, no setter is under way and none can start, in virtual or real
 * mode, whoever else may hold the table: it can be cleared for good. Clearing goes
 * on working. The table's owner may clear it_revoked again.
 *
 * Context: may sleep, for an RCU grace period.
 */
void iommu_user_revoke(struct iommu_table *tbl)
{
	WRITE_ONCE(tbl->it_revoked, true);
	/* Pairs with the RCU sections in which it_revoked is read. */
	synchronize_rcu();
}
EXPORT_SYMBOL_GPL(iommu_user_revoke);
