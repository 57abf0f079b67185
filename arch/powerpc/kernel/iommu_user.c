// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * User-owned TCE entries: what may sleep.
 *
 * asm/iommu_user.h describes the protocol, iommu_user_try.c implements most of it. This file
 * does what a try cannot: provide what it lacks, change entries that hold pins (v1, see
 * iommu_user_pins.c) and many of a hypervisor's, revoke a table. It also has the loops for callers
 * that may sleep.
 *
 * Reading order: iommu_user_map() calls iommu_user_try_map() for a v2 table in memory. Else it goes
 * on here: map_region() or pins_map() > range_change() > part_change() > section_change() >
 * leaf_part_change() (what changes at once) > lines_change() (locked lines) > entries_change().
 * iommu_user_unmap() and iommu_user_unmap_ua() end in a try, or there, as well.
 *
 * Entries are changed in sections of at most IOMMU_USER_TRY entries, so that
 *
 *   - the result of a walk stays valid (iommu_levels.c frees after a grace period);
 *   - a waiter for a line's lock never waits for a holder that sleeps or is preempted;
 *   - after it_revoked has been set and a grace period has passed, no section that found
 *     the table not revoked is running.
 *
 * The only locks are the lines' lock bits, and tbl->it_grow inside iommu_levels_grow().
 * Pinning takes mmap_lock inside gup. None nests in another.
 */
#include <linux/export.h>
#include <linux/kernel.h>
#include <linux/lockdep.h>
#include <linux/mm.h>
#include <linux/preempt.h>
#include <linux/printk.h>
#include <linux/rcupdate.h>
#include <linux/sched.h>
#include <linux/sched/signal.h>
#include "../mm/book3s64/mm_iommu_core.h"
#include "iommu_user_lines.h"

/* ---- entries that a try does not change ---- */

/* See iommu_user_enter(). */
static void assert_section(void)
{
	lockdep_assert_preemption_disabled();
	RCU_LOCKDEP_WARN(!rcu_read_lock_held(), "entries are changed in sections");
}

/**
 * struct target - where entries are to lead
 * @shift: log2 of the IOMMU page
 * @ua: user address of the first; LIST: to be added to each of @list
 * @list: addresses, if they do not follow each other
 * @mem: the region of all of them (v2), of which each has a reference
 * @hpa: v1: contiguous from here
 * @dir: what the device may do; DMA_NONE to clear
 * @only: to clear: only entries that lead into this range of addresses, if it has a size
 * @most: entries to change at once, see part_change(); 0: as many as possible
 */
struct target {
	unsigned int shift;
	unsigned long ua;
	const u64 *list;
	struct mm_iommu_region *mem;
	unsigned long hpa;
	enum dma_data_direction dir;
	struct {
		unsigned long ua, size;
	} only;
	unsigned long most;
};

static unsigned long target_ua(const struct target *t, unsigned long i)
{
	return t->list ? t->list[i] + t->ua : t->ua + (i << t->shift);
}

/* The view word of entry @i; 0 to clear it */
static u64 target_word(const struct target *t, struct iommu_table *tbl, unsigned long i)
{
	if (t->dir == DMA_NONE)
		return 0;
	return iommu_user_word(tbl, tbl->it_pins ? t->hpa + (i << t->shift) : target_ua(t, i),
			       t->dir);
}

/* Is an entry with this view word to be cleared? */
static bool target_clears(const struct target *t, u64 word)
{
	return word & IOMMU_VIEW_LIVE &&
	       (!t->only.size || (word & IOMMU_VIEW_UA) - t->only.ua < t->only.size);
}

/* Permission bits of the TCEs */
static u64 target_perm(const struct target *t)
{
	return iommu_user_word_perm(iommu_view_word(0, t->dir != DMA_TO_DEVICE));
}

/**
 * struct list_run - the contiguous memory that was found last for an address of a list
 * @ua: its first user address
 * @span: IOMMU pages may begin in so many bytes from there; 0: nothing was found yet
 * @delta: from its user addresses to its host addresses
 */
struct list_run {
	unsigned long ua, span, delta;
};

/* Find the contiguous memory around @ua. False: an IOMMU page cannot lead there. */
static noinline bool list_find(const struct target *t, unsigned long ua, bool dirty,
			       struct list_run *r)
{
	unsigned long size = BIT(t->shift), first, len = size;
	struct mm_iommu_region *mem = t->mem;
	struct mm_iommu_run run;

	if (ua - mem->ua >= mem->end - mem->ua ||
	    !mm_iommu_run_pages(mem, ua, t->shift, &run))
		return false;
	r->delta = run.hpa - ua;
	r->ua = ua;
	if (run.shift >= t->shift) {
		/* What the word covers, as far as it is in the region */
		first = ua & ~(BIT(run.shift) - 1);
		r->ua = max(first, mem->ua);
		len = min(first + BIT(run.shift), mem->end) - r->ua;
	}
	r->span = len - size + 1;
	/* dirty-before-entry */
	if (dirty)
		mm_iommu_mark_dirty(mem, r->ua, len);
	return true;
}

/*
 * Translate up to @n addresses of the list to TCEs in @tces, if it is not NULL. Returns for how
 * many it is known where they lead.
 */
static unsigned long list_translate(const struct target *t, unsigned long n, __be64 *tces)
{
	bool dirty = tces && t->dir != DMA_TO_DEVICE;
	struct list_run r = {};
	unsigned long i, ua;

	for (i = 0; i < n; i++) {
		ua = t->list[i] + t->ua;
		if (ua - r.ua >= r.span && !list_find(t, ua, dirty, &r))
			break;
		if (tces)
			iommu_tce_store(tces + i, (ua + r.delta) | target_perm(t));
	}
	return i;
}

/*
 * How many of the @n entries from @i on lead to contiguous memory, which begins at *@hpa? Not for
 * lists. 0: an IOMMU page cannot lead there.
 */
static unsigned long target_run(const struct target *t, unsigned long i, unsigned long n,
				unsigned long *hpa)
{
	unsigned long ua = target_ua(t, i);
	struct mm_iommu_run run;

	if (!t->mem) {
		*hpa = t->hpa + (i << t->shift);
		return n;
	}
	if (ua - t->mem->ua >= t->mem->end - t->mem->ua)
		return 0;
	n = min(n, mm_iommu_run_pages(t->mem, ua, t->shift, &run));
	*hpa = run.hpa;
	return n;
}

/* How many of @n entries can change at once? */
static unsigned long target_part(const struct target *t, const u64 *view, unsigned long n)
{
	unsigned long i, k, hpa;

	if (t->dir == DMA_NONE) {
		/* Those at the end that are clear need no change. */
		while (n && !target_clears(t, READ_ONCE(view[n - 1])))
			n--;
		return n;
	}
	if (t->list)
		return list_translate(t, n, NULL);
	for (i = 0; i < n; i += k) {
		k = target_run(t, i, n - i, &hpa);
		if (!k)
			break;
	}
	return i;
}

/* How many of @n entries of locked lines may change? Up to a live one that is to stay. */
static unsigned long target_upto(const struct target *t, const u64 *view, unsigned long n)
{
	unsigned long i;

	if (!t->only.size)
		return n;
	for (i = 0; i < n; i++)
		if (iommu_view_get(view + i) & IOMMU_VIEW_LIVE &&
		    !target_clears(t, iommu_view_get(view + i)))
			break;
	return i;
}

/* Gather the pin of an old entry with view word @word. False: no room. */
static bool gather_pin(struct iommu_user_gather *g, u64 word)
{
	unsigned long pin = word & (IOMMU_VIEW_UA | IOMMU_VIEW_PIN | IOMMU_VIEW_WRITE);
	struct iommu_user_held *held;

	if (g->nr) {
		held = &g->held[g->nr - 1];
		if (held->addr + (held->nr << g->tbl->it_page_shift) == pin) {
			held->nr++;
			return true;
		}
	}
	if (g->nr == IOMMU_USER_HELD)
		return false;
	held = &g->held[g->nr++];
	held->addr = pin;
	held->nr = 1;
	return true;
}

/* iommu_line_count() for entries that hold pins (v1), too */
static unsigned long held_count(struct iommu_user_gather *g, const u64 *view,
				unsigned long n, int *err)
{
	unsigned long i;
	u64 old;

	if (!g->tbl->it_pins)
		return iommu_line_count(g, view, n, err);
	for (i = 0; i < n; i++) {
		old = READ_ONCE(view[i]);
		if (!(old & IOMMU_VIEW_LIVE))
			continue;
		if (!gather_pin(g, old)) {
			*err = IOMMU_USER_FULL;
			break;
		}
		g->live++;
	}
	return i;
}

/* Undo held_count(), from the last entry on. */
static void held_uncount(struct iommu_user_gather *g, const u64 *view, unsigned long n)
{
	struct iommu_user_held *held;
	u64 old;
	int err;

	while (n--) {
		old = READ_ONCE(view[n]);
		if (!(old & IOMMU_VIEW_LIVE))
			continue;
		if (g->tbl->it_pins)
			held = &g->held[g->nr - 1];
		else
			held = iommu_user_held_by(g, old & IOMMU_VIEW_UA, &err);
		held->nr--;
		g->live--;
		/* Empty elements hold no reference on their regions. */
		while (g->nr && !g->held[g->nr - 1].nr)
			g->nr--;
	}
}

/*
 * The change in the number of pages that a line counts, if the entry at @view gets this word: -1,
 * 0 or 1. Only for tables whose pins are counted.
 */
static int line_grows(struct iommu_table *tbl, const u64 *view, u64 word)
{
	u64 old = iommu_view_get(view);
	int more = 0;

	if (!tbl->it_pins || !iommu_user_pins_small(tbl))
		return 0;
	if (word & IOMMU_VIEW_LIVE)
		more += !iommu_line_leads_to(view, word);
	if (old & IOMMU_VIEW_LIVE)
		more -= !iommu_line_leads_to(view, old);
	return more;
}

/* ---- TCEs: in memory, or a hypervisor's, which sets many with one call ---- */

static void fill_target(void *arg, __be64 *tces, unsigned long n)
{
	const struct target *t = arg;
	unsigned long perm = target_perm(t), hpa = 0, i, k, j;

	if (t->list) {
		list_translate(t, n, tces);
		return;
	}
	for (i = 0; i < n; i += k) {
		/* Not 0: see target_part(). */
		k = target_run(t, i, n - i, &hpa) ?: 1;
		/* dirty-before-entry */
		if (t->mem && t->dir != DMA_TO_DEVICE)
			mm_iommu_mark_dirty(t->mem, target_ua(t, i), k << t->shift);
		for (j = 0; j < k; j++)
			iommu_tce_store(tces + i + j, (hpa + (j << t->shift)) | perm);
	}
}

/* How often a busy hypervisor is asked again while preemption is off */
#define BUSY_TRIES	500

struct old_fill {
	struct iommu_table *tbl;
	u64 *view;
	unsigned int tries;
};

/* The TCE for a live view word. The entry's reference or pin keeps the page. */
static u64 old_tce(struct iommu_table *tbl, u64 word)
{
	unsigned long addr = word & IOMMU_VIEW_UA;
	struct mm_iommu_run run = { .hpa = addr };

	if (!tbl->it_pins)
		mm_iommu_resolve(mm_iommu_find(tbl->it_mm, addr), addr, &run);
	return run.hpa | iommu_user_word_perm(word);
}

static void fill_old(void *arg, __be64 *list, unsigned long n)
{
	const struct old_fill *f = arg;
	unsigned long i;
	u64 word;

	for (i = 0; i < n; i++) {
		word = iommu_view_get(f->view + i);
		list[i] = word & IOMMU_VIEW_LIVE ? cpu_to_be64(old_tce(f->tbl, word)) : 0;
	}
}

/*
 * Let the TCEs of @n entries lead to @t. Returns 0 or a hypervisor's error: then some entries
 * may be clear.
 */
static int tces_change(struct iommu_table *tbl, const struct iommu_span *span,
		       unsigned long entry, unsigned long n, struct target *t)
{
	unsigned long i;

	if (!span->tce)
		return tbl->it_ops->set_user(tbl, entry, n,
					     t->dir == DMA_NONE ? NULL : fill_target, t);
	if (t->dir != DMA_NONE)
		fill_target(t, span->tce, n);
	for (i = 0; t->dir == DMA_NONE && i < n; i++)
		iommu_tce_store(span->tce + i, 0);
	return 0;
}

/* ---- changing lines ---- */

/* Lock the lines of up to @n entries in ascending order. Returns how many entries they have. */
static unsigned long lines_lock(u64 *view, unsigned long n, int *err)
{
	u64 *head = iommu_view_head(view);

	*err = iommu_line_lock(head);
	if (*err)
		return 0;
	while ((head += IOMMU_VIEW_LINE) < view + n)
		if (!iommu_view_trylock(head))
			break;
	return min(n, (unsigned long)(head - view));
}

/* Unlock the lines whose heads are in [@head, @end). */
static void lines_unlock(u64 *head, const u64 *end)
{
	for (; head < end; head += IOMMU_VIEW_LINE)
		iommu_view_unlock(head);
}

/* Set a view word. it_pin_room may become negative. */
static void view_change(struct iommu_table *tbl, u64 *view, u64 word)
{
	int more = line_grows(tbl, view, word);

	if (more)
		atomic_long_sub(more, &tbl->it_pin_room);
	iommu_view_set(view, word);
}

/*
 * Reserve room for the pages that @n entries will lead to: at most one for each line and one for
 * each page, and one more of both, as the range may begin inside of one. view_change() takes the
 * room that is needed, so the caller returns the whole reservation. Returns its size, or -EDQUOT.
 */
static long room_take(struct iommu_table *tbl, const u64 *view, unsigned long n,
		      const struct target *t)
{
	long want;

	if (!tbl->it_pins || !iommu_user_pins_small(tbl) || t->dir == DMA_NONE)
		return 0;
	if (n == 1)
		want = max(0, line_grows(tbl, view, target_word(t, tbl, 0)));
	else
		want = 2 + n / IOMMU_VIEW_LINE + (n << tbl->it_page_shift >> PAGE_SHIFT);
	if (want && atomic_long_sub_return(want, &tbl->it_pin_room) < 0) {
		atomic_long_add(want, &tbl->it_pin_room);
		return -EDQUOT;
	}
	return want;
}

/*
 * Set @n entries to what their view words say, or clear them. A busy hypervisor is asked again,
 * but not without end, as preemption is off.
 */
static int restore_set(struct old_fill *f, unsigned long entry, unsigned long n, bool live)
{
	int err;

	do
		err = f->tbl->it_ops->set_user(f->tbl, entry, n, live ? fill_old : NULL, f);
	while (err == -EAGAIN && f->tries && f->tries--);
	return err;
}

/*
 * Put back entry @i of @t. If the hypervisor refuses that, clear the entry and log it. If it also
 * refuses to clear the entry, the entry may lead where it should have led: then it holds that
 * page, too, besides what it held before. Returns false in that case.
 */
static bool one_restore(struct iommu_user_gather *g, struct old_fill *f, unsigned long entry,
			const struct target *t, unsigned long i)
{
	u64 old = iommu_view_get(f->view), new = target_word(t, g->tbl, i);
	bool live = old & IOMMU_VIEW_LIVE;
	int err = 0;

	if (old == new || !restore_set(f, entry, 1, live))
		return true;
	if (!live || restore_set(f, entry, 1, false)) {
		pr_warn_ratelimited("iommu: TCE %lx is unknown, memory stays pinned\n", entry);
		if (t->mem)
			mm_iommu_get(t->mem, 1);
		else
			iommu_user_pin_more(pfn_to_page((new & IOMMU_VIEW_UA) >> PAGE_SHIFT), 1);
		if (!live)
			view_change(g->tbl, f->view, new);
		return false;
	}
	pr_warn_ratelimited("iommu: TCE %lx could not be restored\n", entry);
	if (held_count(g, f->view, 1, &err)) {
		view_change(g->tbl, f->view, 0);
		iommu_user_gather_range(g, entry, 1);
	}
	return true;
}

/*
 * Put back the @n entries of locked lines that a failed call should have set, from their view
 * words: with one call, or one by one if that fails, too. Returns false if some stay unknown.
 */
static bool many_restore(struct iommu_user_gather *g, u64 *view, unsigned long entry,
			 unsigned long n, const struct target *t)
{
	struct old_fill f = { .tbl = g->tbl, .view = view, .tries = BUSY_TRIES };
	bool known = true;
	unsigned long i;

	if (!restore_set(&f, entry, n, true))
		return true;
	f.tries = BUSY_TRIES;
	for (i = 0; i < n; i++, f.view++)
		known &= one_restore(g, &f, entry + i, t, i);
	return known;
}

/*
 * Change @n entries of locked lines; what they held has been counted. Returns 0 or an error.
 * After an error the view words still match the entries.
 */
static int entries_change(struct iommu_user_gather *g, const struct iommu_span *span,
			  unsigned long entry, unsigned long n, struct target *t)
{
	long room = room_take(g->tbl, span->view, n, t);
	int ret = room < 0 ? room : tces_change(g->tbl, span, entry, n, t);
	unsigned long i;

	if (unlikely(ret)) {
		held_uncount(g, span->view, n);
		/*
		 * Some entries may have been cleared. Clearing them is repeated. But a busy
		 * hypervisor must not be asked again and again where each time more stays held.
		 */
		if (room >= 0 && n > 1 && t->dir != DMA_NONE &&
		    !many_restore(g, span->view, entry, n, t))
			ret = -EIO;
	} else {
		for (i = 0; i < n; i++)
			view_change(g->tbl, span->view + i, target_word(t, g->tbl, i));
		iommu_user_gather_range(g, entry, n);
	}
	if (room > 0)
		atomic_long_add(room, &g->tbl->it_pin_room);
	return ret;
}

/* Lock, count, change, unlock. Returns how many entries are as wanted. */
static unsigned long lines_change(struct iommu_user_gather *g, const struct iommu_span *span,
				  unsigned long entry, unsigned long n, struct target *t,
				  int *err)
{
	unsigned long locked = lines_lock(span->view, n, err);

	if (!locked)
		return 0;
	n = held_count(g, span->view, target_upto(t, span->view, locked), err);
	if (n) {
		*err = entries_change(g, span, entry, n, t) ?: *err;
		if (*err && *err != IOMMU_USER_FULL)
			n = 0;
	}
	lines_unlock(iommu_view_head(span->view), span->view + locked);
	return n;
}

/* Entries that change at once, at most: one or two lines, or one hypercall */
static unsigned long change_most(struct iommu_table *tbl)
{
	return tbl->it_view_off ? IOMMU_VIEW_LINE : tbl->it_ops->set_user_max;
}

/*
 * Change up to @n entries of one leaf, or skip those that are clear already. Only the first
 * line is waited for. The view words say what the old entries hold, so no hypercall
 * reads them. Returns how many entries are as wanted.
 */
static unsigned long leaf_part_change(struct iommu_user_gather *g,
				      const struct iommu_span *span, unsigned long entry,
				      unsigned long n, struct target *t, int *err)
{
	unsigned long part = 0;

	assert_section();
	while (t->dir == DMA_NONE && part < n && !target_clears(t, READ_ONCE(span->view[part])))
		part++;
	if (part)
		return part;

	part = target_part(t, span->view, min(n, t->most ?: change_most(g->tbl)));
	if (!part) {
		*err = t->dir == DMA_NONE ? 0 : -EINVAL;
		return 0;
	}
	part = lines_change(g, span, entry, part, t, err);
	if (*err == -ENOENT && t->dir == DMA_NONE)
		*err = 0;	/* nothing is live in a leaf that is being freed */
	return part;
}

/* ---- loops ---- */

/* One section for entries that no try changes. Returns how many are as wanted. */
static unsigned long section_change(struct iommu_user_gather *g, unsigned long entry,
				    unsigned long n, struct target *t, int *err)
{
	struct iommu_table *tbl = g->tbl;
	struct iommu_span span;
	unsigned long k = 0;

	*err = 0;
	iommu_user_enter();
	iommu_levels_walk(tbl, entry - tbl->it_offset, &span);
	if (t->dir != DMA_NONE && READ_ONCE(tbl->it_revoked)) {
		*err = -ENODEV;
	} else if (!span.view) {
		if (t->dir == DMA_NONE)
			k = min(span.nr, n);
		else
			*err = -ENOENT;
	} else {
		k = leaf_part_change(g, &span, entry, min3(span.nr, n, IOMMU_USER_TRY), t,
				     err);
	}
	iommu_user_leave();

	if (*err == IOMMU_USER_FULL) {
		iommu_user_finish(g);
		*err = 0;
	}
	cond_resched();
	return k;
}

/*
 * section_change(). If a change is refused, by the hypervisor or as pages would have to be
 * charged, repeat with half as many entries, down to the single entry that is refused. After
 * that entry the number grows again.
 */
static unsigned long part_change(struct iommu_user_gather *g, unsigned long entry,
				 unsigned long n, struct target *t, int *err)
{
	unsigned long max = change_most(g->tbl), most = min(n, t->most ?: max);
	unsigned long k = section_change(g, entry, n, t, err);

	if (k) {
		t->most = min(2 * most, max);
	} else if (most > 1 && *err && *err != -EAGAIN && *err != -ENOENT) {
		t->most = most / 2;
		*err = 0;
	}
	return k;
}

/* Change @n entries section by section; @g->done tells how far it came. */
static int range_change(struct iommu_user_gather *g, unsigned long entry, unsigned long n,
			const struct target *t)
{
	struct target at = *t;
	unsigned long k;
	int err = 0;

	for (g->done = 0; !err && g->done < n; g->done += k) {
		k = part_change(g, entry + g->done, n - g->done, &at, &err);
		if (at.list)
			at.list += k;
		else
			at.ua += k << at.shift;
		at.hpa += k << at.shift;
		if (err)
			err = iommu_user_provide(g->tbl, entry + g->done + k, err);
	}
	return err;
}

/**
 * iommu_user_provide() - supply what a try lacks
 * @tbl: the table
 * @entry: the entry at which it stopped
 * @err: why
 *
 * Allocates the level of the entry (-ENOENT), charges one more page (-EDQUOT), or reschedules, as
 * another task may have locked the entry's line (-EAGAIN).
 *
 * Context: may sleep; not in a section, not under mmap_lock.
 * Return: 0 to try again; -ENOMEM: no memory for a level, or over the limit; -ENODEV: the table
 * has been revoked; -EINTR on a fatal signal; any other @err unchanged.
 */
int iommu_user_provide(struct iommu_table *tbl, unsigned long entry, int err)
{
	might_sleep();
	if (err == -ENOENT)
		return iommu_levels_grow(tbl, entry - tbl->it_offset);
	if (err == -EDQUOT)
		return iommu_user_pins_charge(tbl);
	if (err != -EAGAIN)
		return err;
	if (fatal_signal_pending(current))
		return -EINTR;
	cond_resched();
	return 0;
}
EXPORT_SYMBOL_GPL(iommu_user_provide);

/**
 * iommu_user_finish() - invalidate what was changed, then drop what it held
 * @g: the gather; empty and ready for more afterwards
 *
 * As iommu_user_try_finish(), but also drops pins.
 *
 * Context: may sleep.
 */
void iommu_user_finish(struct iommu_user_gather *g)
{
	struct iommu_table *tbl = g->tbl;
	const struct iommu_user_held *held;

	might_sleep();
	if (!tbl->it_pins) {
		iommu_user_enter();
		iommu_user_try_finish(g);
		iommu_user_leave();
		return;
	}
	if (g->end > g->first && tbl->it_ops->tce_kill)
		tbl->it_ops->tce_kill(tbl, g->first, g->end - g->first);
	for (held = g->held; held < g->held + g->nr; held++) {
		iommu_user_pins_drop(tbl, held->addr & IOMMU_LINK_PA, held->nr,
				     held->addr & IOMMU_VIEW_WRITE);
		cond_resched();
	}
	g->first = ~0UL;
	g->end = 0;
	g->nr = 0;
}
EXPORT_SYMBOL_GPL(iommu_user_finish);

/* Take @n references of the region that covers @ua, for entries to be set. */
static struct mm_iommu_region *region_hold(struct iommu_table *tbl, unsigned long ua,
					   unsigned long n)
{
	struct mm_iommu_region *mem;

	rcu_read_lock();
	mem = mm_iommu_find(tbl->it_mm, ua);
	if (!mem)
		mem = ERR_PTR(-EFAULT);
	else if (!mm_iommu_get(mem, n))
		mem = ERR_PTR(-ENXIO);
	rcu_read_unlock();
	return mem;
}

static void region_put(struct mm_iommu_region *mem, unsigned long n)
{
	rcu_read_lock();
	WARN_ON_ONCE(mm_iommu_put(mem, n));
	rcu_read_unlock();
}

/* Map the part of the range that lies in one region, in a table that takes no tries. */
static int map_region(struct iommu_user_gather *g, unsigned long entry, unsigned long n,
		      struct target *t)
{
	unsigned long ua = target_ua(t, 0), in;
	int err;

	t->mem = region_hold(g->tbl, ua, n);
	if (IS_ERR(t->mem)) {
		g->done = 0;
		return PTR_ERR(t->mem);
	}
	err = range_change(g, entry, n, t);
	if (g->done == n)
		return 0;
	in = target_ua(t, g->done) - t->mem->ua;
	/* Not an error if the next entry is in another region. */
	if (err == -EINVAL && g->done && in >= t->mem->end - t->mem->ua)
		err = 0;
	region_put(t->mem, n - g->done);
	return err;
}

/*
 * Pin and map one contiguous run of at most *@ask entries. Returns 0, or why not all pinned pages
 * are mapped.
 */
static int pins_map(struct iommu_user_gather *g, unsigned long entry, unsigned long n,
		    struct target *t, unsigned long *ask)
{
	unsigned int shift = t->shift;
	unsigned long got;
	long ret;
	int err;

	g->done = 0;
	/* Each section checks it again. Here it avoids useless pins. */
	if (READ_ONCE(g->tbl->it_revoked))
		return -ENODEV;
	/* A page is pinned as a whole, whatever is asked for. */
	n = min(n, max(*ask, (PAGE_SIZE - offset_in_page(t->ua)) >> shift));
	ret = iommu_user_pins_get(g->tbl, t->ua, n << shift, t->dir != DMA_TO_DEVICE, &t->hpa);
	if (ret < 0)
		return ret;
	got = (unsigned long)ret >> shift;
	/* Pin no more than was contiguous last time, but grow: the rest would be unpinned again. */
	*ask = got < n ? got : 2 * got;

	err = range_change(g, entry, got, t);
	if (g->done < got)
		iommu_user_pins_drop(g->tbl, t->hpa + (g->done << shift), got - g->done, false);
	return err;
}

/* ---- maps and unmaps ---- */

/**
 * iommu_user_map() - set a range of entries
 * @g: gather
 * @entry: first entry
 * @n: number of entries
 * @ua: user address of the first entry, a multiple of the IOMMU page size; the others
 *	follow contiguously
 * @dir: what the device may do
 * @done: how many entries from the first on are set, also on error
 *
 * The loop of try and provide, and everything that no try does. On error the entries that
 * have been set stay set: the caller may clear them.
 *
 * Context: may sleep, reschedules; not under mmap_lock. v1: in the table's mm.
 * Return: 0, or why entry + *@done is not set; see asm/iommu_user.h.
 */
int iommu_user_map(struct iommu_user_gather *g, unsigned long entry, unsigned long n,
		   unsigned long ua, enum dma_data_direction dir, unsigned long *done)
{
	struct iommu_table *tbl = g->tbl;
	struct target t = { .shift = tbl->it_page_shift, .dir = dir };
	unsigned long ask = 1;
	int err = 0;

	might_sleep();
	for (*done = 0; !err && *done < n; *done += g->done) {
		t.ua = ua + (*done << t.shift);
		if (tbl->it_pins) {
			err = pins_map(g, entry + *done, n - *done, &t, &ask);
		} else if (!tbl->it_view_off) {
			err = map_region(g, entry + *done, n - *done, &t);
		} else {
			iommu_user_enter();
			err = iommu_user_try_map(g, entry + *done,
						 min(n - *done, IOMMU_USER_TRY), t.ua, dir);
			iommu_user_leave();
			if (err)
				err = iommu_user_provide(tbl, entry + *done + g->done, err);
			cond_resched();
		}
		if (!err && fatal_signal_pending(current))
			err = -EINTR;
	}
	return err;
}
EXPORT_SYMBOL_GPL(iommu_user_map);

/* How many addresses of a list follow each other? */
static unsigned long list_row(const u64 *list, unsigned long n, unsigned long size)
{
	unsigned long i = 1;

	while (i < n && list[i] == list[i - 1] + size)
		i++;
	return i;
}

/**
 * iommu_user_map_list() - set entries to pages that need not follow each other
 * @g: gather
 * @entry: first entry
 * @n: number of entries, IOMMU_USER_TRY at most
 * @list: for each entry its user address, less @delta
 * @delta: added to an element of @list, it gives a multiple of the IOMMU page size
 * @dir: what the device may do
 *
 * iommu_user_try_map_list() for tables that take no tries: contiguous addresses are pinned
 * together, and a hypervisor's entries are set by as few hypercalls as possible.
 *
 * Context: may sleep, reschedules; not under mmap_lock. v1: in the table's mm.
 * Return: 0, or why entry + @g->done is not set; see asm/iommu_user.h.
 */
int iommu_user_map_list(struct iommu_user_gather *g, unsigned long entry,
			unsigned long n, const u64 *list, unsigned long delta,
			enum dma_data_direction dir)
{
	struct iommu_table *tbl = g->tbl;
	struct target t = { .shift = tbl->it_page_shift, .dir = dir, .ua = delta };
	unsigned long done = 0, k;
	int err = 0;

	might_sleep();
	for (; !err && done < n; done += k) {
		if (tbl->it_pins) {
			k = list_row(list + done, n - done, BIT(tbl->it_page_shift));
			err = iommu_user_map(g, entry + done, k, list[done] + delta, dir, &k);
		} else {
			t.list = list + done;
			err = map_region(g, entry + done, n - done, &t);
			k = g->done;
		}
	}
	g->done = done;
	return err;
}
EXPORT_SYMBOL_GPL(iommu_user_map_list);

/* Clear a part of the range; @g->done tells how much. */
static int unmap_part(struct iommu_user_gather *g, unsigned long entry, unsigned long n,
		      struct target *t)
{
	struct iommu_table *tbl = g->tbl;
	struct iommu_span span;
	int err = 0;

	if (tbl->it_pins || !tbl->it_view_off) {
		g->done = part_change(g, entry, n, t, &err);
		return err;
	}
	iommu_user_enter();
	iommu_levels_walk(tbl, entry - tbl->it_offset, &span);
	g->done = min(n, span.nr);
	if (span.view)
		err = iommu_user_try_unmap(g, entry, min(n, IOMMU_USER_TRY));
	iommu_user_leave();
	cond_resched();
	return err;
}

/**
 * iommu_user_unmap() - clear a range of entries
 * @g: gather; flushed when full
 * @entry: first entry
 * @n: number of entries
 *
 * Missing levels are skipped as a whole. Never fails on bare metal. An entry that a hypervisor
 * refuses to clear keeps its reference or pin.
 *
 * Context: may sleep, reschedules.
 * Return: how many entries were live.
 */
long iommu_user_unmap(struct iommu_user_gather *g, unsigned long entry, unsigned long n)
{
	struct target t = { .shift = g->tbl->it_page_shift, .dir = DMA_NONE };
	unsigned long live = g->live, done;
	int err;

	might_sleep();
	for (done = 0; done < n; done += g->done) {
		err = unmap_part(g, entry + done, n - done, &t);
		WARN_ON_ONCE(err == -EIO && g->tbl->it_view_off);
		/* Wait for a locked line. Skip an entry for any other reason. */
		if (err && err != -EAGAIN)
			g->done++;
	}
	return g->live - live;
}
EXPORT_SYMBOL_GPL(iommu_user_unmap);

/**
 * iommu_user_unmap_ua() - clear the entries that lead into a range of user addresses
 * @tbl: table whose entries hold regions (v2)
 * @ua: first address
 * @size: bytes
 *
 * Reads every entry that has a leaf. An entry that is set concurrently may be missed. One that is
 * concurrently set to lead elsewhere stays.
 *
 * Context: may sleep, reschedules.
 * Return: how many entries were cleared; -EINTR on a fatal signal.
 */
long iommu_user_unmap_ua(struct iommu_table *tbl, unsigned long ua, unsigned long size)
{
	struct target t = {
		.shift = tbl->it_page_shift,
		.dir = DMA_NONE,
		.only = { .ua = ua, .size = size },
	};
	struct iommu_user_gather g __uninitialized;
	unsigned long done = 0;
	int err;

	iommu_user_begin(&g, tbl, false);
	while (done < tbl->it_size && !fatal_signal_pending(current)) {
		done += part_change(&g, tbl->it_offset + done, tbl->it_size - done, &t, &err);
		if (err && err != -EAGAIN)
			done++;
	}
	iommu_user_finish(&g);
	return done < tbl->it_size ? -EINTR : g.live;
}
EXPORT_SYMBOL_GPL(iommu_user_unmap_ua);

/**
 * iommu_user_revoke() - refuse new entries in tables
 * @tbl: tables that the caller holds references of; NULLs are skipped
 * @nr: how many
 *
 * When this returns, no setter is running and none can start, in virtual or real mode, even
 * if others reference the tables: an entry that is cleared then stays clear. Clearing still
 * works. A table's owner may reset it_revoked.
 *
 * Context: may sleep, for one RCU grace period in all.
 */
void iommu_user_revoke(struct iommu_table *const *tbl, unsigned int nr)
{
	bool any = false;

	for (; nr; nr--, tbl++) {
		if (!*tbl)
			continue;
		WRITE_ONCE((*tbl)->it_revoked, true);
		any = true;
	}
	/* revoke: wait for the sections that have read it_revoked as false. */
	if (any)
		synchronize_rcu();
}
EXPORT_SYMBOL_GPL(iommu_user_revoke);
