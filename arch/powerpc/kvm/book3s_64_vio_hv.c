// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * TCE hypercalls: the tries, one body for all modes, and the entries of real mode.
 *
 * book3s_64_vio.h says what a try is. This object also runs with the MMU off. So it is always
 * built in and never instrumented (see the Makefile), touches nothing outside the linear map,
 * prints nothing, never sleeps, and its loops are bounded.
 *
 * Why a call may be repeated: entries and words of the view are set to values, not changed
 * by differences, so a second time leads to the same state. A list is used only after all of
 * it has been checked, and its addresses are looked up in the memory slots that were there
 * when the call began.
 *
 * Reading order: kvmppc_rm_h_put_tce() > try_put() (H_PUT_TCE), kvmppc_tce_list_check() and
 * try_list() (H_PUT_TCE_INDIRECT), try_stuff() (H_STUFF_TCE); kvmppc_tce_try() is the same for
 * virtual mode.
 */
#include <linux/context_tracking_state.h>
#include <linux/export.h>
#include <linux/mm.h>
#include <linux/nospec.h>
#include <linux/rculist.h>
#include <linux/sizes.h>
#include <linux/string.h>
#include <asm/cache.h>
#include <asm/iommu_levels.h>
#include <asm/iommu_user.h>
#include <asm/kvm_book3s.h>
#include <asm/kvm_ppc.h>
#include <asm/mm_iommu.h>

#include "book3s_64_vio.h"

/* The call lacks something that virtual mode provides, or that only user space can do. */
static long tce_lacks(struct kvmppc_tce_call *c, enum kvmppc_tce_lack lack)
{
	c->lack = lack;
	return H_TOO_HARD;
}

/*
 * LIOBNs by name
 */

static __always_inline int liobn_cmp(void *key, struct latch_tree_node *node)
{
	unsigned long liobn = (unsigned long)key;
	u64 other = container_of(node, struct kvmppc_spapr_tce_table, node)->liobn;

	return liobn < other ? -1 : liobn > other;
}

static const struct latch_tree_ops liobn_ops = { .comp = liobn_cmp };

static __always_inline struct kvmppc_spapr_tce_table *
tce_find(struct kvm *kvm, unsigned long liobn)
{
	struct latch_tree_node *node = latch_tree_find((void *)liobn, &kvm->arch.tce_index,
						       &liobn_ops);

	return node ? container_of(node, struct kvmppc_spapr_tce_table, node) : NULL;
}

/**
 * kvmppc_tce_find() - find a LIOBN of a VM
 * @kvm: the VM
 * @liobn: its name
 *
 * O(log n). Never waits for a change of the index, and never misses a LIOBN that is in it.
 *
 * Context: any, MMU off included; kvm->srcu or kvm->arch.tce_lock held.
 * Return: the LIOBN, NULL if there is none.
 */
struct kvmppc_spapr_tce_table *kvmppc_tce_find(struct kvm *kvm, unsigned long liobn)
{
	return tce_find(kvm, liobn);
}
EXPORT_SYMBOL_GPL(kvmppc_tce_find);

/*
 * The view
 */

/* Are @n TCEs from @ioba on in the window? *@idx is the first, from the window's start. */
static __always_inline bool tce_in_window(const struct kvmppc_spapr_tce_table *stt,
					  unsigned long ioba, unsigned long n,
					  unsigned long *idx)
{
	if (ioba & (BIT(stt->page_shift) - 1))
		return false;
	*idx = (ioba >> stt->page_shift) - stt->offset;
	if (__builtin_constant_p(n) && n == 1)
		return *idx < stt->size;
	return *idx <= stt->size && n <= stt->size - *idx;
}

/**
 * kvmppc_tce_in_window() - are TCEs in a LIOBN's window?
 * @stt: the LIOBN
 * @ioba: bus address of the first
 * @n: how many
 *
 * Context: any.
 * Return: true if @ioba is aligned and all of them are.
 */
bool kvmppc_tce_in_window(const struct kvmppc_spapr_tce_table *stt, unsigned long ioba,
			  unsigned long n)
{
	unsigned long idx;

	return tce_in_window(stt, ioba, n, &idx);
}
EXPORT_SYMBOL_GPL(kvmppc_tce_in_window);

/* The place of TCE @idx in its page of the view */
static __always_inline unsigned long gview_index(unsigned long idx)
{
	return idx & (KVM_TCE_GVIEW_WORDS - 1);
}

/* The page of the view that TCE @idx is in, NULL if it is missing. */
static __always_inline u64 *gview_page(struct kvmppc_spapr_tce_table *stt, unsigned long idx)
{
	unsigned int shift = stt->shift;
	void *p = READ_ONCE(stt->gview);

	while (shift && p) {
		p = READ_ONCE(((void **)p)[gview_index(idx >> shift)]);
		shift -= KVM_TCE_GVIEW_SHIFT;
		/* One or two steps: keep gcc from unrolling the loop. */
		OPTIMIZER_HIDE_VAR(shift);
	}
	return p;
}

static long gview_lacks(struct kvmppc_tce_call *c, unsigned long idx)
{
	c->entry = idx;
	return tce_lacks(c, KVM_TCE_LACK_GVIEW);
}

/* H_SUCCESS if the view has all pages for @n TCEs from @idx on */
static long gview_ready(struct kvmppc_tce_call *c, unsigned long idx, unsigned long n)
{
	unsigned long i;

	for (i = idx; i < idx + n; i = (i | (KVM_TCE_GVIEW_WORDS - 1)) + 1)
		if (!gview_page(c->stt, i))
			return gview_lacks(c, i);
	return H_SUCCESS;
}

/* Words from TCE @idx to the end of its page, @n at most */
static __always_inline unsigned long gview_part(unsigned long idx, unsigned long n)
{
	return min(n, KVM_TCE_GVIEW_WORDS - gview_index(idx));
}

/* Write @n words from TCE @idx on. Their pages exist. */
static void gview_write(struct kvmppc_spapr_tce_table *stt, unsigned long idx,
			const u64 *list, unsigned long n)
{
	unsigned long i, part;
	u64 *word;

	for (; n; n -= part, idx += part, list += part) {
		part = gview_part(idx, n);
		word = gview_page(stt, idx) + gview_index(idx);
		/* User space may read at any time: no word is written in parts. */
#pragma GCC unroll 8
		for (i = 0; i < part; i++)
			WRITE_ONCE(word[i], list[i]);
	}
}

/* Zero @n words, by cache lines. Until it is done a word may read as anything. */
static void gview_zero(u64 *word, unsigned long n)
{
	const unsigned int shift = l1_dcache_shift() - ilog2(sizeof(*word));
	const unsigned long line = BIT(shift);
	unsigned long i;

	for (; n && !IS_ALIGNED((unsigned long)word, line * sizeof(*word)); n--)
		WRITE_ONCE(*word++, 0);
	for (i = n >> shift; i; i--, word += line)
		dcbz(word);
	for (n &= line - 1; n; n--)
		WRITE_ONCE(*word++, 0);
}

/* Write @value to @n words from TCE @idx on. A missing page already reads as zeros. */
static void gview_fill(struct kvmppc_spapr_tce_table *stt, unsigned long idx, u64 value,
		       unsigned long n)
{
	unsigned long part;
	u64 *page;

	for (; n; n -= part, idx += part) {
		part = gview_part(idx, n);
		page = gview_page(stt, idx);
		/* memset64() stores doublewords, as these are aligned. */
		if (page && !value)
			gview_zero(page + gview_index(idx), part);
		else if (page)
			memset64(page + gview_index(idx), value, part);
	}
}

/*
 * Guest memory
 */

/*
 * The memory slot of the last look-up: its first guest address, the range from there in which
 * an IOMMU page may begin, its first user address, and the accesses that devices may make
 */
struct tce_slot {
	unsigned long first;
	unsigned long span;
	unsigned long ua;
	unsigned long perm;
};

/* Is the guest's IOMMU page at @gpa in a memory slot, and may a device access it with @perm? */
static __always_inline bool slot_find(const struct kvmppc_tce_call *c, unsigned long gpa,
				      unsigned long perm, unsigned long size,
				      struct tce_slot *s)
{
	struct kvm_memory_slot *slot;
	unsigned long len;

	if (gpa - s->first < s->span)
		return !(perm & ~s->perm);
	slot = __gfn_to_memslot(c->slots, gpa >> PAGE_SHIFT);
	if (!slot || (slot->flags & KVM_MEMSLOT_INVALID))
		return false;
	len = slot->npages << PAGE_SHIFT;
	s->first = slot->base_gfn << PAGE_SHIFT;
	s->span = len >= size ? len - size + 1 : 0;
	s->ua = slot->userspace_addr;
	s->perm = slot->flags & KVM_MEM_READONLY ? TCE_PCI_READ : KVM_TCE_PERM;
	return gpa - s->first < s->span && !(perm & ~s->perm);
}

/* The user address of @gpa. slot_find() has returned true for it. */
static __always_inline unsigned long slot_ua(const struct tce_slot *s, unsigned long gpa)
{
	return s->ua + array_index_nospec(gpa - s->first, s->span);
}

/* The user address of a single page of 2^@shift bytes; 0 if slot_find() fails. */
static __always_inline unsigned long page_ua(const struct kvmppc_tce_call *c,
					     unsigned long gpa, unsigned long perm,
					     unsigned int shift)
{
	struct kvm_memory_slot *slot = __gfn_to_memslot(c->slots, gpa >> PAGE_SHIFT);
	struct tce_slot s = { };

	if (unlikely(!slot))
		return 0;
	if (unlikely(shift > PAGE_SHIFT ||
		     (slot->flags & (KVM_MEMSLOT_INVALID | KVM_MEM_READONLY))))
		return slot_find(c, gpa, perm, BIT(shift), &s) ? slot_ua(&s, gpa) : 0;
	return __gfn_to_hva_memslot(slot, gpa >> PAGE_SHIFT) + offset_in_page(gpa);
}

/**
 * kvmppc_tce_registered() - can entries of a hardware table lead to user memory?
 * @tbl: the table
 * @ua: user address of the first entry
 * @n: entries, contiguous in user memory
 *
 * To be called before anything is changed, so that a call for unregistered memory changes
 * nothing. Whether pages can be pinned (v1) is not known before.
 *
 * Context: RCU read side, or MMU off. One look-up for each contiguous part.
 * Return: true if they can.
 */
bool kvmppc_tce_registered(struct iommu_table *tbl, unsigned long ua, unsigned long n)
{
	unsigned long hpa, mask = BIT(tbl->it_page_shift) - 1;
	unsigned long left = n << tbl->it_page_shift;
	long len;

	if (tbl->it_pins)
		return !(ua & mask);
	for (; left; left -= len, ua += len) {
		len = mm_iommu_translate(tbl->it_mm, ua, &hpa);
		if (len <= (long)mask || ((ua | hpa) & mask))
			return false;
		len = min((unsigned long)len & ~mask, left);
	}
	return true;
}
EXPORT_SYMBOL_GPL(kvmppc_tce_registered);

/*
 * Lists
 */

/**
 * kvmppc_tce_list_args() - check the arguments of H_PUT_TCE_INDIRECT
 * @c: the call
 * @gpa: guest physical address of the list
 *
 * Context: any, MMU off included.
 * Return: H_SUCCESS or H_PARAMETER.
 */
long kvmppc_tce_list_args(struct kvmppc_tce_call *c, unsigned long gpa)
{
	if (c->n > KVM_TCE_LIST || (gpa & (SZ_4K - 1)) ||
	    !kvmppc_tce_in_window(c->stt, c->ioba, c->n))
		return H_PARAMETER;
	return H_SUCCESS;
}
EXPORT_SYMBOL_GPL(kvmppc_tce_list_args);

/*
 * Set *@first and *@span to the guest addresses at which pages of @slot lie wholly in the region
 * of the page at @gpa. False if no region has all of that page.
 */
static __always_inline bool span_in_region(struct mm_struct *mm, const struct tce_slot *slot,
					   unsigned long gpa, unsigned long size,
					   unsigned long *first, unsigned long *span)
{
	unsigned long ua = slot->ua + (gpa - slot->first), start, len, before, after;

	if (!mm_iommu_extent(mm, ua, &start, &len))
		return false;
	before = ua - start;
	after = len - before;
	if (after < size)
		return false;
	after = min(after - size + 1, slot->span - (gpa - slot->first));
	before = min(before, gpa - slot->first);
	*first = gpa - before;
	*span = before + after;
	return true;
}

/*
 * Which entries can be in one batch with @tce, which is aligned and has permissions? Those that
 * are *@from plus 0 to *@last pages. The batch is @tce alone if a device must not reach it.
 */
static __always_inline void list_span(struct kvmppc_tce_call *c, u64 tce, bool regions,
				      struct tce_slot *slot, u64 *from, u64 *last)
{
	const unsigned int shift = c->stt->page_shift;
	unsigned long perm = tce & KVM_TCE_PERM, gpa = tce ^ perm, before;
	unsigned long first = gpa, span = 1;

	if (unlikely(!slot_find(c, gpa, perm, BIT(shift), slot))) {
		c->lack = KVM_TCE_LACK_MEMORY;
	} else if (!regions) {
		first = slot->first;
		span = slot->span;
	} else if (!span_in_region(c->stt->kvm->mm, slot, gpa, BIT(shift), &first, &span)) {
		c->list->unregistered = true;
	}
	before = (gpa - first) >> shift;
	*last = before + ((first + span - 1 - gpa) >> shift);
	*from = tce - (before << shift);
}

/* Does any hardware table of the LIOBN hold regions (v2)? */
static bool tce_has_regions(const struct kvmppc_spapr_tce_table *stt)
{
	struct kvmppc_spapr_tce_iommu_table *hw;

	list_for_each_entry_lockless(hw, &stt->iommu_tables, next)
		if (!hw->tbl->it_pins)
			return true;
	return false;
}

/**
 * kvmppc_tce_list_check() - copy a list and check it before any of it is used
 * @c: the call, with @list and @n
 * @src: the guest's list, or @list->tce itself
 *
 * Reads each entry once, so concurrent changes by the guest have no effect.
 * Entries that clear make batches, and so do entries with the same permissions whose pages are
 * in one slot, in whatever order; where regions matter, in one region too.
 *
 * Context: RCU read side, or MMU off.
 * Return: H_SUCCESS if all are valid; H_PARAMETER; H_TOO_HARD if a device must not reach
 * one of them. Nothing has been changed.
 */
long kvmppc_tce_list_check(struct kvmppc_tce_call *c, const __be64 *src)
{
	const unsigned int shift = c->stt->page_shift, back = BITS_PER_LONG - shift;
	const u64 odd = (BIT(shift) - 1) & ~KVM_TCE_PERM;
	const bool regions = tce_has_regions(c->stt);
	struct kvmppc_tce_list *list = c->list;
	const unsigned long n = c->n;	/* stores to @list do not change it */
	unsigned long i = 0, first;
	struct tce_slot slot = { };
	u64 tce, from, last;

	c->lack = KVM_TCE_LACK_NOTHING;
	list->unregistered = false;
	if (!n)
		return H_SUCCESS;
	tce = iommu_tce_load(src);
	do {
		first = i;
		if (!(tce & KVM_TCE_PERM)) {
			do {
				list->tce[i] = tce;
				if (++i == n)
					break;
				tce = iommu_tce_load(++src);
			} while (!(tce & KVM_TCE_PERM));
		} else {
			if (unlikely(tce & odd))
				return H_PARAMETER;
			list_span(c, tce, regions, &slot, &from, &last);
			do {
				list->tce[i] = tce;
				if (++i == n)
					break;
				tce = iommu_tce_load(++src);
				/* The rotation makes a misaligned address too large. */
			} while (rol64(tce - from, back) <= last);
		}
		list->batch[first] = i - first;
	} while (i < n);

	return c->lack ? H_TOO_HARD : H_SUCCESS;
}
EXPORT_SYMBOL_GPL(kvmppc_tce_list_check);

/* See kvmppc_tce_list_batch(); @slot is the caller's, for the whole list. */
static __always_inline void list_batch(const struct kvmppc_tce_call *c, unsigned long i,
				       struct tce_slot *slot, struct kvmppc_tce_batch *batch)
{
	u64 tce = c->list->tce[i];

	batch->n = c->list->batch[i];
	batch->perm = tce & KVM_TCE_PERM;
	/* Cannot fail: the list check found it in the same slots. */
	if (batch->perm &&
	    slot_find(c, tce ^ batch->perm, batch->perm, BIT(c->stt->page_shift), slot))
		batch->delta = slot_ua(slot, tce ^ batch->perm) - tce;
}

/**
 * kvmppc_tce_list_batch() - a batch of a checked list
 * @c: the call
 * @i: its first entry
 * @batch: the result
 *
 * Context: any, MMU off included.
 */
void kvmppc_tce_list_batch(struct kvmppc_tce_call *c, unsigned long i,
			   struct kvmppc_tce_batch *batch)
{
	struct tce_slot slot = { };

	list_batch(c, i, &slot, batch);
}
EXPORT_SYMBOL_GPL(kvmppc_tce_list_batch);

/* Is all memory of a checked list registered? */
static bool list_registered(struct kvmppc_tce_call *c, struct iommu_table *tbl)
{
	unsigned int sub = c->stt->page_shift - tbl->it_page_shift;
	struct tce_slot slot = { };
	struct kvmppc_tce_batch batch;
	unsigned long i, end;

	for (i = 0; i < c->n; i = end) {
		list_batch(c, i, &slot, &batch);
		end = i + batch.n;
		for (; batch.perm && i < end; i++)
			if (!kvmppc_tce_registered(tbl, c->list->tce[i] + batch.delta, 1UL << sub))
				return false;
	}
	return true;
}

/*
 * Tries
 */

/* A hardware table is not done; @c->entry is the entry at which it stopped. */
static noinline long hw_lacks(struct kvmppc_tce_call *c,
			      struct kvmppc_spapr_tce_iommu_table *hw, int err)
{
	c->hw = hw;
	c->err = err;
	switch (err) {
	case -ENOENT:
		return tce_lacks(c, KVM_TCE_LACK_LEVEL);
	case -EAGAIN:
		return tce_lacks(c, KVM_TCE_LACK_LOCK);
	case -EOPNOTSUPP:
		return tce_lacks(c, KVM_TCE_LACK_SLEEP);
	case -ENODEV:
		return tce_lacks(c, KVM_TCE_LACK_TABLE);
	}
	return tce_lacks(c, KVM_TCE_LACK_REGION);
}

/*
 * Set @n entries from @entry on to lead to @ua, or clear them if @perm is 0. Out of line, as it
 * needs a gather on the stack. Returns 0, or why entry @c->entry was not changed.
 */
static noinline int hw_range(struct kvmppc_tce_call *c, struct iommu_table *tbl,
			     unsigned long entry, unsigned long n, unsigned long ua,
			     unsigned long perm)
{
	struct iommu_user_gather g __uninitialized;
	int err;

	c->entry = entry;
	if (n > IOMMU_USER_TRY)
		return -EOPNOTSUPP;
	if (perm && !kvmppc_tce_registered(tbl, ua, n))
		return iommu_user_try_ready(tbl, true, c->mmu_off) ?: -EFAULT;
	iommu_user_begin(&g, tbl, c->mmu_off);
	if (perm)
		err = iommu_user_try_map(&g, entry, n, ua, kvmppc_tce_dir(perm));
	else
		err = iommu_user_try_unmap(&g, entry, n);
	c->entry = entry + g.done;
	iommu_user_try_finish(&g);
	return err;
}

/* H_GET_TCE */
static __always_inline long try_get(struct kvmppc_tce_call *c, unsigned long ioba)
{
	unsigned long idx;
	u64 *page;

	if (!tce_in_window(c->stt, ioba, 1, &idx))
		return H_PARAMETER;
	page = gview_page(c->stt, idx);
	c->value = page ? READ_ONCE(page[gview_index(idx)]) : 0;
	return H_SUCCESS;
}

/* Change TCE @idx in a hardware table. Returns 0 or more, or why not: see hw_range(). */
static __always_inline int hw_put(struct kvmppc_tce_call *c, struct iommu_table *tbl,
				  unsigned long idx, unsigned long ua, unsigned long perm,
				  bool mmu_off)
{
	unsigned int sub = c->stt->page_shift - tbl->it_page_shift;
	unsigned long entry = (c->stt->offset + idx) << sub;
	int err;

	if (unlikely(sub))
		return hw_range(c, tbl, entry, 1UL << sub, ua, perm);
	if (perm)
		err = iommu_user_try_map_one(tbl, entry,
					     iommu_view_word(ua, perm & TCE_PCI_WRITE), mmu_off);
	else
		err = iommu_user_try_unmap_one(tbl, entry, mmu_off);
	if (unlikely(err < 0))
		c->entry = entry;
	return err;
}

/* *@ua: where a TCE with permissions leads. Returns H_SUCCESS, or the result of the call. */
static __always_inline long put_ua(struct kvmppc_tce_call *c, unsigned long tce, unsigned long perm,
				   unsigned long *ua)
{
	const unsigned int shift = c->stt->page_shift;
	unsigned long gpa = tce ^ perm;

	if (gpa & (BIT(shift) - 1))
		return H_PARAMETER;
	*ua = page_ua(c, gpa, perm, shift);
	return likely(*ua) ? H_SUCCESS : tce_lacks(c, KVM_TCE_LACK_MEMORY);
}

/* H_PUT_TCE; real mode does not fill in all of @c */
static __always_inline long try_put(struct kvmppc_tce_call *c, unsigned long ioba,
				    unsigned long tce, bool mmu_off)
{
	struct kvmppc_spapr_tce_table *stt = c->stt;
	unsigned long perm = tce & KVM_TCE_PERM, idx, ua = 0;
	struct kvmppc_spapr_tce_iommu_table *hw;
	long ret = H_SUCCESS;
	struct list_head *at;
	u64 *page;
	int err;

	if (!tce_in_window(stt, ioba, 1, &idx))
		return H_PARAMETER;
	if (perm)
		ret = put_ua(c, tce, perm, &ua);
	if (unlikely(ret != H_SUCCESS))
		return ret;
	/* The view's page comes first: after the last hardware table nothing may fail. */
	page = gview_page(stt, idx);
	if (unlikely(!page && tce))
		return gview_lacks(c, idx);

	/* With the MMU off no try is repeated. */
	at = mmu_off ? &stt->iommu_tables : c->at;
	hw = list_entry(at, struct kvmppc_spapr_tce_iommu_table, next);
	list_for_each_entry_continue_rcu(hw, &stt->iommu_tables, next) {
		/* At most one hypercall of ours in a section: preemption is off. */
		if (!mmu_off && unlikely(c->at != at) && !hw->tbl->it_view_off)
			err = -EAGAIN;
		else
			err = hw_put(c, hw->tbl, idx, ua, perm, mmu_off);
		if (unlikely(err < 0)) {
			c->ua = ua;
			return hw_lacks(c, hw, err);
		}
		if (!mmu_off)
			c->at = &hw->next;
	}
	if (page)
		WRITE_ONCE(page[gview_index(idx)], tce);
	return H_SUCCESS;
}

/* Map a batch of a list, from @entry on; see hw_range(). */
static __always_inline int hw_batch(struct kvmppc_tce_call *c, struct iommu_user_gather *g,
				    unsigned long entry, const u64 *tce,
				    const struct kvmppc_tce_batch *batch)
{
	unsigned int sub = c->stt->page_shift - g->tbl->it_page_shift;
	enum dma_data_direction dir = kvmppc_tce_dir(batch->perm);
	unsigned long i;
	int err = 0;

	c->entry = entry;
	if (!batch->perm) {
		err = iommu_user_try_unmap(g, entry, batch->n << sub);
	} else if (likely(!sub)) {
		err = iommu_user_try_map_list(g, entry, batch->n, tce, batch->delta, dir);
	} else {
		for (i = 0; i < batch->n && !err; i++) {
			c->entry = entry + (i << sub);
			err = iommu_user_try_map(g, c->entry, 1UL << sub,
						 tce[i] + batch->delta, dir);
		}
	}
	c->entry += g->done;
	return err;
}

/* Apply a checked list to a hardware table, by batches; see hw_range(). */
static noinline int hw_list(struct kvmppc_tce_call *c, struct iommu_table *tbl,
			    unsigned long idx)
{
	unsigned int sub = c->stt->page_shift - tbl->it_page_shift;
	struct iommu_user_gather g __uninitialized;
	struct kvmppc_tce_batch batch;
	struct tce_slot slot = { };
	unsigned long i;
	int err = 0;

	if (c->n << sub > IOMMU_USER_TRY)
		return -EOPNOTSUPP;
	iommu_user_begin(&g, tbl, c->mmu_off);
	for (i = 0; i < c->n && !err; i += batch.n) {
		list_batch(c, i, &slot, &batch);
		err = hw_batch(c, &g, (c->stt->offset + idx + i) << sub, c->list->tce + i, &batch);
	}
	iommu_user_try_finish(&g);
	return err;
}

/*
 * Is all memory of a checked list registered? To be called before anything is changed. The list
 * check may have decided it. Lists that no try takes are checked by the slow path.
 */
static __always_inline bool hw_takes_list(struct kvmppc_tce_call *c, struct iommu_table *tbl)
{
	unsigned int sub = c->stt->page_shift - tbl->it_page_shift;

	if (likely(!c->list->unregistered && tbl->it_page_shift <= PAGE_SHIFT))
		return true;
	return tbl->it_pins || c->n << sub > IOMMU_USER_TRY || list_registered(c, tbl);
}

/* H_PUT_TCE_INDIRECT, after kvmppc_tce_list_check() returned H_SUCCESS */
static long try_list(struct kvmppc_tce_call *c)
{
	struct kvmppc_spapr_tce_table *stt = c->stt;
	struct kvmppc_spapr_tce_iommu_table *hw;
	unsigned long idx;
	long ret;
	int err;

	if (!tce_in_window(stt, c->ioba, c->n, &idx))
		return H_PARAMETER;
	ret = gview_ready(c, idx, c->n);
	if (ret != H_SUCCESS)
		return ret;
	list_for_each_entry_lockless(hw, &stt->iommu_tables, next)
		if (unlikely(!hw_takes_list(c, hw->tbl)))
			return tce_lacks(c, KVM_TCE_LACK_REGION);

	hw = list_entry(c->at, struct kvmppc_spapr_tce_iommu_table, next);
	list_for_each_entry_continue_rcu(hw, &stt->iommu_tables, next) {
		err = hw_list(c, hw->tbl, idx);
		if (unlikely(err))
			return hw_lacks(c, hw, err);
		c->at = &hw->next;
	}
	gview_write(stt, idx, c->list->tce, c->n);
	return H_SUCCESS;
}

/* H_STUFF_TCE */
static __always_inline long try_stuff(struct kvmppc_tce_call *c)
{
	struct kvmppc_spapr_tce_table *stt = c->stt;
	struct kvmppc_spapr_tce_iommu_table *hw;
	unsigned long idx;
	unsigned int sub;
	long ret;
	int err;

	if ((c->value & KVM_TCE_PERM) || !tce_in_window(stt, c->ioba, c->n, &idx))
		return H_PARAMETER;
	if (c->mmu_off && c->n > KVM_TCE_LIST)
		return tce_lacks(c, KVM_TCE_LACK_SLEEP);
	if (c->value) {
		ret = gview_ready(c, idx, c->n);
		if (ret != H_SUCCESS)
			return ret;
	}
	hw = list_entry(c->at, struct kvmppc_spapr_tce_iommu_table, next);
	list_for_each_entry_continue_rcu(hw, &stt->iommu_tables, next) {
		sub = stt->page_shift - hw->tbl->it_page_shift;
		err = hw_range(c, hw->tbl, (stt->offset + idx) << sub, c->n << sub, 0, 0);
		if (unlikely(err))
			return hw_lacks(c, hw, err);
		c->at = &hw->next;
	}
	gview_fill(stt, idx, c->value, c->n);
	return H_SUCCESS;
}

/* Set up a call for a try. */
static __always_inline bool tce_begin(struct kvmppc_tce_call *c, struct kvm *kvm,
				      unsigned long liobn, bool mmu_off)
{
	c->mmu_off = mmu_off;
	c->slots = rcu_dereference_raw_check(kvm->memslots[0]);
	c->stt = tce_find(kvm, liobn);
	if (unlikely(!c->stt)) {
		c->lack = KVM_TCE_LACK_LIOBN;
		return false;
	}
	c->at = &c->stt->iommu_tables;
	return true;
}

/**
 * kvmppc_tce_begin() - begin a hypercall
 * @c: the call, uninitialised
 * @kvm: the VM
 * @nr: H_*
 * @liobn: which window
 * @ioba: bus address of the first TCE
 * @value: TCE, or what to stuff
 * @n: TCEs
 *
 * Context: kvm->srcu held, until the call is done.
 * Return: false if the VM has no such LIOBN: user space must serve the call.
 */
bool kvmppc_tce_begin(struct kvmppc_tce_call *c, struct kvm *kvm, unsigned long nr,
		      unsigned long liobn, unsigned long ioba, unsigned long value,
		      unsigned long n)
{
	c->nr = nr;
	c->ioba = ioba;
	c->value = value;
	c->n = n;
	return tce_begin(c, kvm, liobn, false);
}
EXPORT_SYMBOL_GPL(kvmppc_tce_begin);

/**
 * kvmppc_tce_try() - try a hypercall
 * @c: the call, begun; for H_PUT_TCE_INDIRECT with a checked list
 *
 * A repeated try continues after the last hardware table that is done.
 *
 * Context: kvm->srcu held, and in a section (iommu_user_enter()), or MMU off.
 * Return: the guest's result; or H_TOO_HARD, and @c says what is lacking.
 */
long kvmppc_tce_try(struct kvmppc_tce_call *c)
{
	switch (c->nr) {
	case H_GET_TCE:
		return try_get(c, c->ioba);
	case H_PUT_TCE_INDIRECT:
		return try_list(c);
	case H_STUFF_TCE:
		/* Of a single entry it is the H_PUT_TCE that clears. */
		if (c->n != 1 || c->value & KVM_TCE_PERM)
			return try_stuff(c);
	}
	return try_put(c, c->ioba, c->value, c->mmu_off);
}
EXPORT_SYMBOL_GPL(kvmppc_tce_try);

#ifdef CONFIG_KVM_BOOK3S_HV_POSSIBLE
/*
 * Real mode
 */

/* With context tracking RCU does not wait for this core. */
static __always_inline bool rm_begin(struct kvmppc_tce_call *c, struct kvm_vcpu *vcpu,
				     unsigned long liobn)
{
	if (unlikely(context_tracking_enabled())) {
		c->lack = KVM_TCE_LACK_SLEEP;
		return false;
	}
	return tce_begin(c, vcpu->kvm, liobn, true);
}

static __always_inline long rm_end(struct kvm_vcpu *vcpu, const struct kvmppc_tce_call *c,
				   long ret, u64 *count)
{
	if (likely(ret != H_TOO_HARD))
		(*count)++;
	else
		vcpu->arch.tce_rm_lack = c->lack;
	return ret;
}

/**
 * kvmppc_rm_h_get_tce() - H_GET_TCE in real mode
 * @vcpu: the caller
 * @liobn: which window
 * @ioba: bus address of the TCE
 *
 * Context: hypervisor real mode, from hcall_real_table.
 * Return: H_* code; the TCE in the guest's r4.
 */
long kvmppc_rm_h_get_tce(struct kvm_vcpu *vcpu, unsigned long liobn,
			 unsigned long ioba)
{
	struct kvmppc_tce_call c __uninitialized;
	long ret = H_TOO_HARD;

	if (rm_begin(&c, vcpu, liobn))
		ret = try_get(&c, ioba);
	if (ret == H_SUCCESS)
		vcpu->arch.regs.gpr[4] = c.value;
	return rm_end(vcpu, &c, ret, &vcpu->stat.tce_get_rm);
}

/**
 * kvmppc_rm_h_put_tce() - H_PUT_TCE in real mode
 * @vcpu: the caller
 * @liobn: which window
 * @ioba: bus address
 * @tce: guest physical address and permission bits
 *
 * Context: hypervisor real mode, from hcall_real_table.
 * Return: H_* code.
 */
long kvmppc_rm_h_put_tce(struct kvm_vcpu *vcpu, unsigned long liobn,
			 unsigned long ioba, unsigned long tce)
{
	struct kvmppc_tce_call c __uninitialized;
	long ret = H_TOO_HARD;

	if (rm_begin(&c, vcpu, liobn))
		ret = try_put(&c, ioba, tce, true);
	return rm_end(vcpu, &c, ret, &vcpu->stat.tce_put_rm);
}

/*
 * The guest's list at an address that real mode can access: in a region, whose pages are pinned,
 * and in RAM, not in device memory. NULL: only virtual mode can access it. There a memory error
 * is an exception that copy_from_user() survives, with the MMU off it ends the host.
 */
static const __be64 *rm_list(struct kvmppc_tce_call *c, unsigned long gpa)
{
	struct page *page, *head;
	struct tce_slot slot = { };
	unsigned long hpa;

	if (!slot_find(c, gpa, 0, SZ_4K, &slot)) {
		c->lack = KVM_TCE_LACK_MEMORY;
		return NULL;
	}
	c->lack = KVM_TCE_LACK_REGION;
	if (mm_iommu_translate(c->stt->kvm->mm, slot_ua(&slot, gpa), &hpa) < (long)SZ_4K)
		return NULL;
	page = realmode_pfn_to_page(hpa >> PAGE_SHIFT);
	head = realmode_pfn_to_head(hpa >> PAGE_SHIFT);
	if (!head || PageHWPoison(page) || PageHWPoison(head))
		return NULL;
	return __va(hpa);
}

static long rm_put_list(struct kvmppc_tce_call *c, struct kvmppc_tce_list *list,
			unsigned long gpa)
{
	long ret = kvmppc_tce_list_args(c, gpa);
	const __be64 *src;

	if (ret != H_SUCCESS)
		return ret;
	/* Virtual mode allocates the copy at a vCPU's first call. */
	if (!list)
		return tce_lacks(c, KVM_TCE_LACK_SLEEP);
	src = rm_list(c, gpa);
	if (!src)
		return H_TOO_HARD;
	c->list = list;
	ret = kvmppc_tce_list_check(c, src);
	return ret == H_SUCCESS ? try_list(c) : ret;
}

/**
 * kvmppc_rm_h_put_tce_indirect() - H_PUT_TCE_INDIRECT in real mode
 * @vcpu: the caller
 * @liobn: which window
 * @ioba: bus address of the first
 * @tce_list: guest physical address of a 4K page of TCEs
 * @npages: how many TCEs
 *
 * Context: hypervisor real mode, from hcall_real_table.
 * Return: H_* code.
 */
long kvmppc_rm_h_put_tce_indirect(struct kvm_vcpu *vcpu, unsigned long liobn,
				  unsigned long ioba, unsigned long tce_list,
				  unsigned long npages)
{
	struct kvmppc_tce_call c __uninitialized;
	long ret = H_TOO_HARD;

	c.ioba = ioba;
	c.n = npages;
	if (rm_begin(&c, vcpu, liobn))
		ret = rm_put_list(&c, vcpu->arch.tce_list, tce_list);
	return rm_end(vcpu, &c, ret, &vcpu->stat.tce_indirect_rm);
}

/**
 * kvmppc_rm_h_stuff_tce() - H_STUFF_TCE in real mode
 * @vcpu: the caller
 * @liobn: which window
 * @ioba: bus address of the first
 * @tce_value: what to put, without permission bits
 * @npages: how many TCEs; virtual mode serves more than 512
 *
 * Context: hypervisor real mode, from hcall_real_table.
 * Return: H_* code.
 */
long kvmppc_rm_h_stuff_tce(struct kvm_vcpu *vcpu, unsigned long liobn,
			   unsigned long ioba, unsigned long tce_value,
			   unsigned long npages)
{
	struct kvmppc_tce_call c __uninitialized;
	long ret = H_TOO_HARD;

	c.ioba = ioba;
	c.value = tce_value;
	c.n = npages;
	if (rm_begin(&c, vcpu, liobn))
		ret = try_stuff(&c);
	return rm_end(vcpu, &c, ret, &vcpu->stat.tce_stuff_rm);
}
#endif /* CONFIG_KVM_BOOK3S_HV_POSSIBLE */
